"""Energy-based models: p(x) is proportional to exp(-E(x)), and Markov chains draw from it."""

import functools
import math
import types

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import randomness, samplers
from keras_genzoo.base import GenerativeModel, check_output, inference
from keras_genzoo.regularizers import check_unmixed
from keras_genzoo.serialization import Part, named


class ReplayBuffer(Part):
    """Chains that training goes on with, in turns.

    Every replica holds all of them: each takes rows of its own, and what the replicas made of them is gathered before it is
    written, so that the buffer is the same on all and is saved whole.

    Args:
        size: int. Number of chains.
        shape: tuple of ints, of one of them.
        initializer: Keras initializer of the chains.
    """

    def __init__(self, size, shape, initializer, name="buffer"):
        super().__init__(name=name)
        self.size, self.shape, self.initializer = size, tuple(shape), initializer
        settings = dict(dtype="float32", initializer=initializer, trainable=False)
        self.chains = self.add_weight(shape=(size, *self.shape), name="chains", **settings)
        self.position = randomness.counter(self, "position")

    def _rows(self, start, n):
        return tf.cast((start + tf.range(n, dtype=tf.int64)) % self.size, tf.int32)

    def _position(self):
        return tf.identity(tf.convert_to_tensor(self.position))

    def take(self, n):
        """The next chains, float32 `(n, ...)`, or fewer where there are not so many."""
        context = tf.distribute.get_replica_context()
        replicas = context.num_replicas_in_sync
        if self.size < replicas:
            raise ValueError(f"there are {self.size} chains for {replicas} replicas, expected at least one each.")
        n = tf.minimum(tf.cast(n, tf.int64), self.size // replicas)
        before = tf.constant(0, tf.int64)
        if replicas > 1:  # whose parts of a last batch may differ
            before = tf.reduce_sum(context.all_gather(n[None], axis=0)[: context.replica_id_in_sync_group])
        return tf.gather(self.chains, self._rows(self._position() + before, n))

    def put(self, chains):
        """Write back, in the place of those that were taken, and move on."""
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync > 1:
            chains = context.all_gather(chains, axis=0)
        n = tf.shape(chains, tf.int64)[0]
        rows = self._rows(self._position(), n)
        self.chains.value.scatter_update(tf.IndexedSlices(chains, rows))
        self.position.assign((self._position() + n) % self.size)

    def peek(self, n):
        """Chains, float32 `(n, ...)`, always the same unless training goes on; the buffer stays as it is."""
        return tf.gather(self.chains, self._rows(tf.constant(0, tf.int64), tf.cast(n, tf.int64)))


class _WithChains(GenerativeModel):
    """What models of energies share: the report of the chains that `sample` runs.

    A family defines `sampler`, a chain of `samplers`, `sample_steps`, `chain_energy`, and `start`, the beginning of chains.
    """

    keyed = True

    @property
    def evaluations_per_sample(self):
        """How often `sample` evaluates the energy for an image unless told otherwise."""
        return self.sampler.evaluations(self.sample_steps)

    def chain_report(self, n=64, seed=0):
        """What the chains of `sample` are worth.

        Args:
            n: int. Number of chains. Defaults to 64.
            seed: int. Defaults to 0.

        Returns:
            dict: `chain_steps`, those of `sample`; `chain_ess`, to how many independent draws the energies of one chain amount
            in as many further steps (`samplers.effective_sample_size`); `chain_acceptance` where the chain refuses steps.
        """
        x = self.start(self.draw_latents(n, randomness.RowStream(seed, 0)))

        @tf.function
        def run(x, key):
            with self.averaged_weights():
                watch = self.chain_energy
                x, _, _ = samplers.run_chain(self.sampler, watch, x, self.sample_steps, randomness.fold(key, 0))
                return samplers.run_chain(self._settled, watch, x, max(self.sample_steps, 4), randomness.fold(key, 1), watch)[1:]

        acceptance, energies = run(x, randomness.make_key(seed))
        report = {"chain_steps": self.sample_steps, "chain_ess": samplers.effective_sample_size(energies) / n}
        return {**report, "chain_acceptance": float(acceptance)} if self.sampler.rejects else report

    @property
    def _settled(self):
        """The chain when its annealing is over."""
        return self.sampler


@keras.saving.register_keras_serializable("keras_genzoo")
class RBM(_WithChains):
    """A restricted Boltzmann machine: visible and hidden units that are independent given each other (Hinton 2002, "Training
    products of experts by minimizing contrastive divergence").

    With the free energy F(v) = -log sum_h exp(-E(v, h)),

        loss = E_data[F(v)] - E_chains[F(v)],

    whose gradient is that of the negative log-likelihood if the chains have reached the machine's distribution. They are `k`
    sweeps of Gibbs sampling from the data (contrastive divergence), or from where they ended in the last step (persistent
    contrastive divergence, Tieleman 2008). The loss tells nothing of success, and `reconstruction_loss`, the squared error of one
    pass summed over pixels, little.

    Args:
        machine: `boltzmann.BernoulliMachine` for binary images (pixels of gray ones are probabilities, of which every step draws
            anew), or `boltzmann.GaussianMachine`.
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
        for name, value in {"k": k, "chains": 1 if chains is None else chains, "sample_steps": sample_steps}.items():
            _check_count(name, value)
        self.machine = machine
        self.k, self.chains, self.sample_steps = k, chains, sample_steps
        self.sampler = samplers.Gibbs(machine.sweep)
        self._buffer = None if chains is None else ReplayBuffer(chains, (machine.dimensions,), "random_uniform")

    @property
    def image_shape(self):
        return self.machine.image_shape

    @property
    def support(self):
        return self.machine.support

    def prepare(self, first_batch, dataset):
        """Let the visible units begin with the mean of a first batch."""
        self.machine.adapt(self.images_of(first_batch))

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
        return samplers.run_chain(self.sampler, self.machine.free_energy, v, self.k, key)[0]

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
        return self.machine.visible(x, randomness.uniform(randomness.make_key(seed, draw), ops.shape(x)))

    @inference
    def energy(self, x):
        """The free energy of images in nats, -log p(x) - log Z, `(batch,)`; gray pixels of a binary machine as probabilities."""
        x = self.images_of(x)
        if self.support == "binary":
            return self.machine.free_energy(ops.reshape(x, (-1, self.machine.dimensions)))
        return self.machine.free_energy(self.machine.visible(x, 0.5))

    def call(self, x):
        """The free energy of images, `(batch,)`."""
        return self.energy(x)

    @inference
    def encode(self, x):
        """Probabilities of the hidden units of images, `(batch, hidden)`."""
        return ops.sigmoid(self.machine.hidden_logits(self._units(x)))

    @inference
    def reconstruct(self, x, seed=0):
        """One pass of Gibbs sampling: hidden units drawn given the images, and the mean of the visible ones given these."""
        h = self.machine.draw_hidden(self._units(x, 0, seed), randomness.make_key(seed, 1))
        return self.machine.to_images(self.machine.mean_visible(h))

    @functools.cached_property
    def _annealed(self):
        def log_weights(samples, steps, key):
            with self.averaged_weights():
                return self.machine.annealed_log_weights(samples, steps, key), self.machine.log_base()

        return tf.function(log_weights)

    def log_partition(self, samples=100, steps=1000, seed=0):
        """An estimate of log Z by annealed importance sampling, see `boltzmann.Machine.annealed_log_weights`.

        E[estimate] <= log Z, by Jensen's inequality: too few steps or runs make it too small.

        Args:
            samples: int. Number of runs. Defaults to 100.
            steps: int. Inverse temperatures of a run. Defaults to 1,000.
            seed: int. Defaults to 0.

        Returns:
            The estimate and its standard error over the runs, float32 scalars. The error knows nothing of what no run has met; of
            one run it is not known.
        """
        for name, value in {"samples": samples, "steps": steps}.items():
            _check_count(name, value)
        weights, log_base = self._annealed(samples, tf.constant(steps), randomness.make_key(seed, 2))
        log_mean = ops.logsumexp(weights) - math.log(samples)
        error = ops.std(ops.exp(weights - log_mean)) / math.sqrt(samples - 1) if samples > 1 else tf.constant(math.nan)
        return log_base + log_mean, error

    @inference
    def exact_log_partition(self):
        """log Z by going through all states of the hidden units, of which there may be 20; a float."""
        return self.machine.exact_log_partition()

    @inference
    def log_prob(self, x, samples=100, seed=0, log_partition=None):
        """An estimate of log p(x), -F(x) - log Z with log Z by annealed importance sampling.

        It errs upwards, since the estimate of log Z errs downwards: it is not to be ranked with lower bounds. Its standard error
        is that of `log_partition`, and is the same for all images.

        Args:
            x: images, binary ones for binary units. For Gaussian ones it is a density on the unit cube at the dequantised image.
            samples: int. Runs of annealed importance sampling, of 1,000 steps. Defaults to 100.
            seed: int. Defaults to 0.
            log_partition: scalar or None. log Z where it is known, from `log_partition` or `exact_log_partition`, which spares
                estimating it again. Defaults to None.

        Returns:
            Nats per image, float32 `(batch,)`.

        Raises:
            ValueError: gray images under a machine of binary ones.
        """
        if self.support == "binary" and tf.executing_eagerly() and not np.isin(self.images_of(x), (0, 1)).all():
            raise ValueError("the machine is of binary images and these are not; pass `(images >= 0.5).astype('float32')`.")
        log_z = self.log_partition(samples, seed=seed)[0] if log_partition is None else ops.cast(log_partition, "float32")
        return -self.machine.free_energy(self._units(x, 0, seed)) - log_z

    # Sampling

    chain_energy = property(lambda self: self.machine.free_energy)

    def draw_latents(self, n, random):
        """n times uniform noise, one number a visible unit."""
        return random.uniform((n, self.machine.dimensions))

    def start(self, latents):
        """Visible units from which chains begin: each 0 or 1 with equal chances, or anywhere on the unit cube."""
        return ops.cast(latents < 0.5, "float32") if self.support == "binary" else latents

    @inference
    def generate(self, latents, key):
        """The means of the visible units in the last of `sample_steps` sweeps."""
        v, _, _ = samplers.run_chain(self.sampler, self.chain_energy, self.start(latents), self.sample_steps - 1, key)
        h = self.machine.draw_hidden(v, randomness.fold(key, self.sample_steps))
        return self.machine.to_images(self.machine.mean_visible(h))


OBJECTIVES = "contrastive", "score"


def annealed(noise_levels, step_size=0.2):
    """Langevin dynamics for an energy learned by its score: at each noise level, which is the temperature, of steps of a share of
    its variance."""
    low, high = noise_levels
    return samplers.Langevin(step_size * low, low, start=high, start_step_size=step_size * high)


@keras.saving.register_keras_serializable("keras_genzoo")
class EnergyModel(_WithChains):
    """A network whose output is the energy of an image: p(x) is proportional to exp(-E(x) / T), T the sampler's temperature.

    Objective "contrastive": the gradient of the log-likelihood, with its expectation over the model taken by short runs of a
    Markov chain that begin where earlier ones ended (Du and Mordatch 2019, arXiv:1903.08689, algorithm 1),

        loss = E_data[E(x + noise)] - E_chains[E(x)] + energy_weight (E_data[E^2] + E_chains[E^2])

    Objective "score": denoising score matching at noise levels sigma, geometric between the two of `noise_levels` (Vincent 2011;
    Song and Ermon 2020, arXiv:2006.09011, technique 3: the network is not told sigma, and E / sigma is the energy at it),

        loss = E[|grad E(x + sigma epsilon) - epsilon|^2]   (mean over pixels)

    so that at the temperature sigma the density is that of images with this noise, and annealed Langevin dynamics samples.

    Energies have no scale by which to be compared with another model's, and there is no `log_prob`: Z is unknown. In healthy
    training of the contrastive objective `contrastive_loss`, the difference of `real_energy` and `sample_energy`, stays near 0.
    Where it runs away, chains no longer follow the energy; `callbacks.StopOnDivergence` stops at `limits`.

    Args:
        network: keras.Model. Images `(batch, height, width, channels)` in [-1, 1] to energies `(batch, 1)`; see
            `networks.critic`. Without batch normalisation, by which the images of a batch would depend on each other.
        objective: "contrastive" or "score". Defaults to "contrastive".
        sampler: name of `samplers.CHAINS` or `samplers.Chain`, of images in [-1, 1]. None is "langevin", and for the score
            Langevin dynamics annealed from the higher of `noise_levels` to the lower. Defaults to None.
        steps: int. Steps of the chains a training step. Defaults to 20.
        sample_steps: int. Steps of `sample`, from noise: about `steps / restart`, as many as chains of training make before they
            begin anew, give the images that training saw. Defaults to 200.
        buffer_size: int. Number of chains that are kept. One is gone on with every `buffer_size / batch size` steps; with many
            and few steps of training, chains stay young. Defaults to 10,000.
        restart: float in [0, 1]. Share of the chains that begin anew, from noise, each time. Defaults to 0.05.
        data_noise: float. Standard deviation of noise on the data. Defaults to 0.03.
        energy_weight: float. Defaults to 0.1.
        noise_levels: pair of floats. Smallest and largest sigma of the objective "score". Defaults to `(0.05, 1.0)`.
        **kwargs: `seed`, `ema`, `name`, `dtype`, as in `GenerativeModel`.

    Raises:
        ValueError: an unknown objective, a number out of its range, a network of another output.

    Example:

    >>> model = gz.build("ebm", image_shape=(28, 28, 1), width=8, steps=2, sample_steps=4, buffer_size=64)
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.energy(images).shape
    TensorShape([64])
    >>> model.sample(4, seed=0).shape
    (4, 28, 28, 1)
    """

    optimizers = {"optimizer": ("network",)}
    averaged = ("network",)
    limits = types.MappingProxyType({"contrastive_loss": 10.0})

    def __init__(
        self,
        network,
        objective="contrastive",
        sampler=None,
        steps=20,
        sample_steps=200,
        buffer_size=10_000,
        restart=0.05,
        data_noise=0.03,
        energy_weight=0.1,
        noise_levels=(0.05, 1.0),
        **kwargs,
    ):
        super().__init__(**kwargs)
        if objective not in OBJECTIVES:
            raise ValueError(f"objective is {objective!r}, expected one of {', '.join(OBJECTIVES)}.")
        for name, value in {"steps": steps, "sample_steps": sample_steps, "buffer_size": buffer_size}.items():
            _check_count(name, value)
        if not 0 <= restart <= 1 or data_noise < 0 or energy_weight < 0:
            raise ValueError(
                f"restart is {restart}, data_noise {data_noise} and energy_weight {energy_weight}, expected a share from 0 to 1 "
                f"and two numbers of at least 0."
            )
        if not 0 < noise_levels[0] < noise_levels[1]:
            raise ValueError(f"noise_levels is {noise_levels!r}, expected two rising numbers above 0, as (0.05, 1.0).")
        self.network = network
        check_output(network, "network", (1,))
        check_unmixed(network, "network")
        self.objective = objective
        if sampler is None:
            sampler = "langevin" if objective == "contrastive" else annealed(noise_levels)
        self.sampler = named(sampler, samplers.CHAINS, samplers.Chain, "sampler")
        self.steps, self.sample_steps = steps, sample_steps
        self.buffer_size, self.restart = buffer_size, restart
        self.data_noise, self.energy_weight, self.noise_levels = data_noise, energy_weight, tuple(noise_levels)
        self.diagnostics = ("network_gradient_norm",)
        if objective == "score":
            self.terms, self.monitor, self._buffer = ("real_energy",), "loss", None
        else:
            self.terms, self.monitor = ("contrastive_loss", "energy_loss", "real_energy", "sample_energy"), None
            self.diagnostics += ("acceptance",) if self.sampler.rejects else ()
            self._buffer = ReplayBuffer(buffer_size, self.image_shape, keras.initializers.RandomNormal(stddev=1.0))

    @property
    def image_shape(self):
        return tuple(self.network.input_shape[1:])

    # Training

    def energies(self, x, training=False):
        """Of images in [-1, 1], `(batch,)`."""
        return self.network(x, training=training)[:, 0]

    @property
    def chain_energy(self):
        return self.energies

    def contrast(self, real, samples, training):
        energies = self.energies(ops.concatenate([real, samples], axis=0), training)
        real_energies, sample_energies = energies[: ops.shape(real)[0]], energies[ops.shape(real)[0] :]
        contrastive = ops.mean(real_energies) - ops.mean(sample_energies)
        size = ops.mean(ops.square(real_energies)) + ops.mean(ops.square(sample_energies))
        return {
            "loss": contrastive + self.energy_weight * size,
            "contrastive_loss": contrastive,
            "energy_loss": size,
            "real_energy": real_energies,
            "sample_energy": sample_energies,
        }

    def score_terms(self, x, random, training):
        n = ops.shape(x)[0]
        low, high = self.noise_levels
        # Even over the batch, which makes losses vary less than draws one by one.
        place = (random.uniform(()) + ops.arange(n, dtype="float32") / ops.cast(n, "float32")) % 1.0
        sigma = ops.reshape(low * (high / low) ** place, (-1, 1, 1, 1))
        epsilon = random.normal(ops.shape(x))
        noisy = x + sigma * epsilon
        with tf.GradientTape() as tape:
            tape.watch(noisy)
            energies = self.energies(noisy, training)
        gradient = tape.gradient(energies, noisy)
        return {"loss": ops.mean(ops.square(gradient - epsilon), axis=(1, 2, 3)), "real_energy": energies}

    def train_step(self, data):
        x = 2.0 * self.images_of(data) - 1.0
        if self.objective == "score":
            terms = self.minimize(lambda: self.score_terms(x, self.random, True), ("network",), self.optimizer)
            return self.track(terms)
        chains = self._buffer.take(ops.shape(x)[0])
        fresh = ops.reshape(self.random.uniform((ops.shape(chains)[0],)) < self.restart, (-1, 1, 1, 1))
        chains = ops.where(fresh, self.random.normal(ops.shape(chains)), chains)
        samples, acceptance, _ = samplers.run_chain(self.sampler, self.energies, chains, self.steps, self.random.key())
        self._buffer.put(samples)
        real = x + self.data_noise * self.random.normal(ops.shape(x))
        terms = self.minimize(lambda: self.contrast(real, samples, training=True), ("network",), self.optimizer)
        return self.track({**terms, "acceptance": acceptance})

    def test_step(self, data):
        x = 2.0 * self.images_of(data) - 1.0
        random = self.random_test

        def terms_of():
            if self.objective == "score":
                return self.score_terms(x, random, training=False)
            real = x + self.data_noise * random.normal(ops.shape(x))
            return self.contrast(real, self._buffer.peek(ops.shape(x)[0]), training=False)

        return self.track(self.measure(terms_of, ("network",)))

    # What it can be asked

    @inference
    def energy(self, x):
        """Energies of images, `(batch,)`: -T log p(x) but for a constant that is unknown; lower is likelier."""
        return self.energies(2.0 * self.images_of(x) - 1.0)

    def call(self, x):
        """Energies of images, `(batch,)`."""
        return self.energy(x)

    # Sampling

    def draw_latents(self, n, random):
        """n times standard normal noise of the images' shape."""
        return random.normal((n, *self.image_shape))

    def start(self, latents):
        """Images in [-1, 1], about, from which chains begin."""
        return self.noise_levels[1] * latents if self.objective == "score" else latents

    def sample(self, n, seed=None, batch_size=256, labels=None, averaged=True, steps=None):
        """Draw images: chains of the model's sampler from noise.

        Args:
            n, seed, batch_size, averaged: as in `GenerativeModel.sample`.
            labels: None; the model has no classes.
            steps: int or None. Steps of the chains; None is `sample_steps`.

        Returns:
            float32 array `(n, height, width, channels)` in [0, 1].
        """
        steps = self.sample_steps if steps is None else steps
        _check_count("steps", steps)
        return super().sample(n, seed, batch_size, labels, averaged, steps=tf.constant(steps, tf.int32))

    @inference
    def generate(self, latents, key, steps=None):
        steps = self.sample_steps if steps is None else steps
        x, _, _ = samplers.run_chain(self.sampler, self.energies, self.start(latents), steps, key)
        if self.objective == "score":  # and the image that is seen in the noise that is left
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                energies = self.energies(x)
            x -= self.noise_levels[0] * tape.gradient(energies, x)
        return ops.clip(0.5 * (x + 1.0), 0.0, 1.0)

    @property
    def _settled(self):
        if not isinstance(self.sampler, samplers.Langevin):
            return self.sampler
        return type(self.sampler).from_config({**self.sampler.get_config(), "start": None, "start_step_size": None})


def _check_count(name, value):
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1.")
