"""Restricted Boltzmann machines."""

import math

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo.chains import Gibbs, loop
from keras_genzoo.core import randomness
from keras_genzoo.core.batches import some_images
from keras_genzoo.core.checks import whole, whole_or_none
from keras_genzoo.core.inference import batched, inference
from keras_genzoo.models.chained import Chained
from keras_genzoo.replay import ReplayBuffer


@keras.saving.register_keras_serializable("keras_genzoo")
class RBM(Chained):
    """A restricted Boltzmann machine: visible and hidden units that are independent given each other (Hinton 2002, "Training
    products of experts by minimizing contrastive divergence").

    With the free energy F(v) = -log sum_h exp(-E(v, h)),

        loss = E_data[F(v)] - E_chains[F(v)],

    whose gradient is that of the negative log-likelihood if the chains have reached the machine's distribution. They are `k`
    sweeps of Gibbs sampling from the data (contrastive divergence), or from where they ended in the last step (persistent
    contrastive divergence, Tieleman 2008). The loss tells nothing of success, and `reconstruction_loss`, the squared error of one
    pass summed over pixels, little.

    Args:
        machine: `machines.BernoulliMachine` for binary images (pixels of gray ones are probabilities, of which every step draws
            anew), or `machines.GaussianMachine`.
        k: int. Sweeps of the chains a step. Defaults to 1.
        chains: int or None. Number of persistent chains, of which each step moves as many as the batch has images; None is
            contrastive divergence. Defaults to None.
        sample_steps: int. Sweeps of `sample`, from noise. Defaults to 200.
        **kwargs: `seed`, `ema`, `name`, `dtype`, as in `GenerativeModel`.

    Example:

    >>> model = gz.build("rbm", image_shape=(28, 28, 1), hidden=10)
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.reconstruct(images).shape
    TensorShape([64, 28, 28, 1])
    >>> estimate, error = model.log_partition(steps=2000)
    >>> abs(float(estimate) - model.machine.exact_log_partition()) < 0.1
    True
    """

    terms = ("reconstruction_loss", "real_energy", "sample_energy")
    monitor = None
    optimizers = {"optimizer": ("machine",)}
    averaged = ("machine",)
    log_prob_label = "ais"

    def __init__(self, machine, k=1, chains=None, sample_steps=200, **kwargs):
        super().__init__(**kwargs)
        k, sample_steps = whole(k=k, sample_steps=sample_steps)
        chains = whole_or_none(chains=chains)
        self.machine = machine
        self.k, self.chains, self.sample_steps = k, chains, sample_steps
        self.sampler = Gibbs(machine.sweep)
        self._buffer = None if chains is None else ReplayBuffer(chains, (machine.dimensions,), "random_uniform")

    @property
    def image_shape(self):
        return self.machine.image_shape

    @property
    def support(self):
        return self.machine.support

    def prepare(self, first_batch, dataset):
        """Let the visible units begin with the mean of about 1,000 images, and of two of even noise, so that no pixel is taken
        for a constant."""
        noise = randomness.latin_hypercube(2, self.image_shape, self.seed)
        self.machine.adapt(tf.concat([self.images_of(some_images(dataset, first_batch)), noise], axis=0))

    # Training

    def visible(self, data, random):
        x = self.images_of(data)
        return self.machine.visible(x, random.uniform(ops.shape(x)))

    def terms_of(self, real, samples, key):
        reconstruction = self.machine.mean_visible(self.machine.draw_hidden(real, key))
        energies = [ops.mean(self.machine.free_energy(v)) for v in (real, samples)]
        return {
            "loss": energies[0] - energies[1],
            "reconstruction_loss": ops.sum(ops.square(ops.stop_gradient(reconstruction) - real), axis=-1),
            "real_energy": energies[0],
            "sample_energy": energies[1],
        }

    def moved(self, v, key):
        """Chains after k sweeps."""
        return loop(self.sampler, self.machine.free_energy, v, self.k, key)[0]

    def train_step(self, data):
        real = self.visible(data, self.random)
        start = real if self._buffer is None else self._buffer.take(ops.shape(real)[0])
        samples = self.moved(start, self.random.key())
        if self._buffer is not None:
            self._buffer.put(samples)
        key = self.random.key()
        return self.track(self.minimize(lambda: self.terms_of(real, samples, key), ("machine",), self.optimizer))

    def test_step(self, data):
        real = self.visible(data, self.random_test)
        start = real if self._buffer is None else self._buffer.peek(ops.shape(real)[0])

        def terms_of():
            return self.terms_of(real, self.moved(start, self.random_test.key()), self.random_test.key())

        return self.track(self.measure(terms_of, ("machine",)))

    # What it can be asked

    def _units(self, x, draw=0, seed=0):
        x = self.images_of(x)
        return self.machine.visible(x, randomness.uniform(self.noise_key(seed, draw), ops.shape(x)))

    @batched
    def energy(self, x):
        """The free energy of images in nats, -log p(x) - log Z, `(batch,)`; gray pixels of a binary machine as probabilities."""
        x = self.images_of(x)
        if self.support == "binary":
            return self.machine.free_energy(ops.reshape(x, (-1, self.machine.dimensions)))
        return self.machine.free_energy(self.machine.visible(x, 0.5))

    def call(self, x):
        """The free energy of images, `(batch,)`."""
        return self.energy(x)

    @batched
    def encode(self, x):
        """Probabilities of the hidden units of images, `(batch, hidden)`."""
        return ops.sigmoid(self.machine.hidden_logits(self._units(x)))

    @batched
    def reconstruct(self, x, seed=0):
        """One pass of Gibbs sampling: hidden units drawn given the images, and the mean of the visible ones given these."""
        h = self.machine.draw_hidden(self._units(x, 0, seed), self.noise_key(seed, 1))
        return self.machine.to_images(self.machine.mean_visible(h))

    @inference
    def _annealed(self, samples, steps, key):
        return self.machine.annealed_log_weights(samples, steps, key), self.machine.log_base()

    def log_partition(self, samples=100, steps=1000, seed=0):
        """An estimate of log Z by annealed importance sampling, see `machines.Machine.annealed_log_weights`.

        E[estimate] <= log Z, by Jensen's inequality: too few steps or runs make it too small.

        Args:
            samples: int. Number of runs. Defaults to 100.
            steps: int. Inverse temperatures of a run. Defaults to 1,000.
            seed: int. Defaults to 0.

        Returns:
            The estimate and its standard error over the runs, float32 scalars. The error knows nothing of what no run has met; of
            one run it is not known.
        """
        samples, steps = whole(samples=samples, steps=steps)
        run = self._graph("annealed", self._annealed)
        weights, log_base = run(samples, tf.constant(steps), randomness.make_key(seed, 2))
        log_mean = ops.logsumexp(weights) - math.log(samples)
        error = ops.std(ops.exp(weights - log_mean)) / math.sqrt(samples - 1) if samples > 1 else tf.constant(math.nan)
        return log_base + log_mean, error

    @inference
    def exact_log_partition(self):
        """log Z by going through all states of the hidden units, or of binary visible ones where these are fewer; a float.

        Raises:
            ValueError: more than 20 units on the smaller side.
        """
        return self.machine.exact_log_partition()

    @batched
    def relative_log_prob(self, x, seed=0):
        """log p(x) + log Z in nats, `(batch,)`, of the images that `log_prob` takes."""
        return -self.machine.free_energy(self._units(x, 0, seed))

    def log_prob(self, x, samples=100, seed=0, log_partition=None, batch_size=256):
        """An estimate of log p(x), -F(x) - log Z with log Z by annealed importance sampling.

        It errs upwards, since the estimate of log Z errs downwards: it is not to be ranked with lower bounds. Its standard error
        is that of `log_partition`, and is the same for all images.

        Args:
            x: images, binary ones for binary units. For Gaussian ones it is a density on the unit cube at the dequantised image.
            samples: int. Runs of annealed importance sampling, of 1,000 steps. Defaults to 100.
            seed: int. Defaults to 0.
            log_partition: scalar or None. log Z where it is known, from `log_partition` or `exact_log_partition`, which spares
                estimating it again. Defaults to None.
            batch_size: int. Images computed at a time. Defaults to 256.

        Returns:
            Nats per image, float32 `(batch,)`.

        Raises:
            ValueError: gray images under a machine of binary ones.
        """
        relative = self.relative_log_prob(x, seed=seed, batch_size=batch_size)
        log_z = self.log_partition(samples, seed=seed)[0] if log_partition is None else ops.cast(log_partition, "float32")
        return relative - log_z

    # Sampling

    def chain_energy(self, n, seed):
        return self.machine.free_energy

    def draw_latents(self, n, random):
        """n times uniform noise, one number a visible unit."""
        return random.uniform((n, self.machine.dimensions))

    def start(self, latents):
        """Visible units from which chains begin: each 0 or 1 with equal chances, or anywhere on the unit cube."""
        return ops.cast(latents < 0.5, "float32") if self.support == "binary" else latents

    @inference
    def generate(self, latents, key):
        """The means of the visible units in the last of `sample_steps` sweeps."""
        v, _, _ = loop(self.sampler, self.machine.free_energy, self.start(latents), self.sample_steps - 1, key)
        h = self.machine.draw_hidden(v, randomness.fold(key, self.sample_steps))
        return self.machine.to_images(self.machine.mean_visible(h))
