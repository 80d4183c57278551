"""Energy-based models: p(x) is proportional to exp(-E(x)), and Markov chains draw from it."""

import functools
import types

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import chains
from keras_genzoo.core.batches import unpack
from keras_genzoo.core.checks import check_output, check_told, input_shapes, real, whole
from keras_genzoo.core.conditions import Conditional, beside, condition_from, parted
from keras_genzoo.core.inference import available_if, batched, inference
from keras_genzoo.core.serialization import named
from keras_genzoo.core.shares import places
from keras_genzoo.models.chained import Chained
from keras_genzoo.regularizers import check_unmixed
from keras_genzoo.replay import ReplayBuffer

OBJECTIVES = "contrastive", "score"


def annealed(noise_levels, step_size=0.2):
    """Langevin dynamics for an energy learned by its score: at each noise level, which is the temperature, of steps of a share of
    its variance."""
    low, high = noise_levels
    return chains.Langevin(step_size * low, low, start=high, start_step_size=step_size * high)


class _Moving(keras.callbacks.Callback):
    """Says once that the chains of training hardly move."""

    said = False

    def on_epoch_end(self, epoch, logs=None):
        acceptance = (logs or {}).get("acceptance", 1.0)
        if not self.said and acceptance < chains.STUCK:
            chains.warn_of_stuck(self.model.sampler, float(acceptance), 100, f" in epoch {epoch + 1}")
            self.said = True


@keras.saving.register_keras_serializable("keras_genzoo")
class EnergyModel(Conditional, Chained):
    """A network whose output is the energy of an image: p(x) is proportional to exp(-E(x) / T), T the sampler's temperature.

    Objective "contrastive": the gradient of the log-likelihood, with its expectation over the model taken by short runs of a
    Markov chain that begin where earlier ones ended (Du and Mordatch 2019, arXiv:1903.08689, algorithm 1),

        loss = E_data[E(x + noise)] - E_chains[E(x)] + energy_weight (E_data[E^2] + E_chains[E^2])

    Objective "score": denoising score matching at noise levels sigma, geometric between the two of `noise_levels` (Vincent 2011;
    Song and Ermon 2020, arXiv:2006.09011, technique 3: the network is not told sigma, and E / sigma is the energy at it),

        loss = E[|grad E(x + sigma epsilon) - epsilon|^2]   (mean over pixels)

    so that at the temperature sigma the density is that of images with this noise, and annealed Langevin dynamics samples.

    With classes the network is a classifier: its outputs are logits f(x), of which the energies are made (JEM, Grathwohl et al.
    2020, arXiv:1912.03263, section 3),

        E(x, y) = -f(x)[y],    E(x) = -log sum_y exp f(x)[y],    p(y | x) = softmax f(x),

    the contrastive loss is of E(x), and classification_weight E_data[-log p(y | x)] is added. `sample(labels=)` runs chains of
    E(x, y), `classify` gives p(y | x), and `fit` prints `accuracy`.

    With vectors c the network sees these too. All of it is then given c, as E(x, c) of p(x | c), and each chain keeps the vector
    of the image that it began with.

    Energies have no scale by which to be compared with another model's, and there is no `log_prob`: Z is unknown. In healthy
    training of the contrastive objective `contrastive_loss`, the difference of `real_energy` and `sample_energy`, stays near 0.
    Where it runs away, chains no longer follow the energy; `callbacks.StopOnDivergence` stops at `limits`.

    Args:
        network: keras.Model. Images `(batch, height, width, channels)` in [-1, 1] to energies `(batch, 1)`, or to logits `(batch,
            num_classes)`; see `networks.critic`. With vectors these are its second input, as `networks.told` makes it. Without
            batch normalisation, by which the images of a batch would depend on each other.
        objective: "contrastive" or "score". Defaults to "contrastive".
        sampler: name of `chains.CHAINS` or `chains.Chain`, of images in [-1, 1]. None is "langevin", and for the score
            Langevin dynamics annealed from the higher of `noise_levels` to the lower. Defaults to None.
        steps: int. Steps of the chains a training step. Defaults to 20.
        sample_steps: int. Steps of `sample`, from noise: about `steps / restart`, as many as chains of training make before they
            begin anew, give the images that training saw. Defaults to 200.
        buffer_size: int. Number of chains that are kept. One is gone on with every `buffer_size / batch size` steps; with many
            and few steps of training, chains stay young. Defaults to 10,000.
        restart: float in [0, 1]. Share of the chains that begin anew, from noise, each time. Defaults to 0.05.
        data_noise: float. Standard deviation of noise on the data. Defaults to 0.03.
        energy_weight: float, at least 0. Weight of the squared energies, which keeps them near 0. Defaults to 0.1.
        noise_levels: pair of floats. Smallest and largest sigma of the objective "score". Defaults to `(0.05, 1.0)`.
        classification_weight: float, at least 0. Weight of the cross-entropy of models with classes. Defaults to 1.
        **kwargs: `num_classes`, of the contrastive objective, and `condition_dim`; `seed`, `ema`, `name`, `dtype`, as in
            `GenerativeModel`.

    Raises:
        ValueError: an unknown objective, a number out of its range, a network of another input or output; classes of the
            objective "score".

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
        classification_weight=1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if objective not in OBJECTIVES:
            raise ValueError(f"objective is {objective!r}, expected one of {', '.join(OBJECTIVES)}.")
        steps, sample_steps, buffer_size = whole(steps=steps, sample_steps=sample_steps, buffer_size=buffer_size)
        if not 0 <= restart <= 1 or data_noise < 0 or energy_weight < 0:
            raise ValueError(
                f"restart is {restart}, data_noise {data_noise} and energy_weight {energy_weight}, expected a share from 0 to 1 "
                f"and two numbers of at least 0."
            )
        if not 0 < noise_levels[0] < noise_levels[1]:
            raise ValueError(f"noise_levels is {noise_levels!r}, expected two rising numbers above 0, as (0.05, 1.0).")
        if self.num_classes is not None and objective == "score":
            raise ValueError(
                f"the objective is {objective!r} and num_classes is {self.num_classes}, expected classes of the objective "
                f"'contrastive' alone."
            )
        self.network = network
        check_told(network, "network", self.condition_dim or 0)
        check_output(network, "network", (self.num_classes or 1,))
        check_unmixed(network, "network")
        self.objective = objective
        if sampler is None:
            sampler = "langevin" if objective == "contrastive" else annealed(noise_levels)
        self.sampler = named(sampler, chains.CHAINS, chains.Chain, "sampler")
        self.steps, self.sample_steps = steps, sample_steps
        self.buffer_size, self.restart = buffer_size, restart
        self.data_noise, self.energy_weight, self.noise_levels = data_noise, energy_weight, tuple(noise_levels)
        self.classification_weight = real(at_least=0, classification_weight=classification_weight)
        self._moves = types.SimpleNamespace(counts=None)  # of a running `sample`, and of no file: steps accepted and proposed
        self.diagnostics = ("network_gradient_norm",)
        if objective == "score":
            self.terms, self.monitor, self._buffer, self._kept_vectors = ("real_energy",), "loss", None, None
        else:
            self.terms, self.monitor = ("contrastive_loss", "energy_loss", "real_energy", "sample_energy"), None
            if self.num_classes is not None:
                self.terms, self.rising = (*self.terms, "classification_loss", "accuracy"), ("accuracy",)
            self.diagnostics += ("acceptance",) if self.sampler.rejects else ()
            self._buffer = ReplayBuffer(buffer_size, self.image_shape, keras.initializers.RandomNormal(stddev=1.0))
            told = self.condition_dim is not None
            self._kept_vectors = ReplayBuffer(buffer_size, (self.condition_dim,), "zeros", "kept_vectors") if told else None

    @property
    def image_shape(self):
        return input_shapes(self.network, "network")[0]

    # Training

    def prepare(self, first_batch, dataset):
        """Let chains, which begin as noise, begin with the vectors of some training images."""
        if self._kept_vectors is not None:
            rows = np.resize(np.asarray(self._seen_vectors), (self.buffer_size, self.condition_dim))
            self._kept_vectors.chains.assign(rows)

    def energies(self, x, training=False, classes=None, vectors=None):
        """Of images in [-1, 1], `(batch,)`: E(x), or where one-hot labels are given E(x, y); given their vectors, if any."""
        return self.energies_of(self.network(beside(x, vectors), training=training), classes)

    def energies_of(self, outputs, classes=None):
        """Energies of what the network puts out, `(batch,)`."""
        if self.num_classes is None:
            return outputs[:, 0]
        return -ops.logsumexp(outputs, axis=1) if classes is None else -ops.sum(outputs * classes, axis=1)

    def energy_of(self, **told):
        """The energy as a function of images in [-1, 1], by their `classes` and `vectors`, as `energies` takes them."""
        return functools.partial(self.energies, **told) if told else self.energies

    @property
    def chain_energy(self):
        return self.energies

    def energy_of_chains(self, n, seed):
        if self.condition_dim is None:
            return self.chain_energy
        return self.energy_of(vectors=self._draw_conditions(n, seed))

    def contrast(self, real, samples, training, classes=None, vectors=None):
        """The terms of the loss of real images and samples; `vectors` are of both, one after the other."""
        both, n, told = ops.concatenate([real, samples], axis=0), ops.shape(real)[0], {}
        if classes is None:
            energies = self.energies(both, training, **({} if vectors is None else {"vectors": vectors}))
        else:
            logits = self.network(beside(both, vectors), training=training)
            energies, told = self.energies_of(logits), self.classification(logits[:n], classes)
        real_energies, sample_energies = energies[:n], energies[n:]
        contrastive = ops.mean(real_energies) - ops.mean(sample_energies)
        size = ops.mean(ops.square(real_energies)) + ops.mean(ops.square(sample_energies))
        more = self.classification_weight * ops.mean(told["classification_loss"]) if told else 0.0
        return {
            "loss": contrastive + self.energy_weight * size + more,
            "contrastive_loss": contrastive,
            "energy_loss": size,
            "real_energy": real_energies,
            "sample_energy": sample_energies,
            **told,
        }

    def classification(self, logits, classes):
        """-log p(y | x) of one-hot labels, and whether y is the likeliest class, each `(batch,)`."""
        right = ops.argmax(logits, axis=1) == ops.argmax(classes, axis=1)
        loss = -ops.sum(classes * ops.log_softmax(logits, axis=1), axis=1)
        return {"classification_loss": loss, "accuracy": ops.cast(right, "float32")}

    def score_terms(self, x, random, training, **told):
        n = ops.shape(x)[0]
        low, high = self.noise_levels
        # Even over the batch, which makes losses vary less than draws one by one.
        place = (random.uniform(()) + places(n)) % 1.0
        sigma = ops.reshape(low * (high / low) ** place, (-1, 1, 1, 1))
        epsilon = random.normal(ops.shape(x))
        noisy = x + sigma * epsilon
        with tf.GradientTape() as tape:
            tape.watch(noisy)
            energies = self.energies(noisy, training, **told)
        gradient = tape.gradient(energies, noisy)
        return {"loss": ops.mean(ops.square(gradient - epsilon), axis=(1, 2, 3)), "real_energy": energies}

    def fit(self, x=None, y=None, *args, **kwargs):
        given = kwargs.get("callbacks") or []
        if "acceptance" in self.diagnostics and not isinstance(given, keras.callbacks.CallbackList):
            kwargs["callbacks"] = [*(given if isinstance(given, (list, tuple)) else [given]), _Moving()]
        return super().fit(x, y, *args, **kwargs)

    def _apart(self, condition):
        """One-hot labels and vectors of a condition by the names that `energies` has for them, of those that there are."""
        if condition is None:
            return {}
        count = self.num_classes or 0
        classes = {"classes": condition[:, :count]} if count else {}
        return classes | ({} if self.condition_dim is None else {"vectors": condition[:, count:]})

    def _with_chains(self, told, of_chains):
        """What `contrast` is told: classes of the real images, and vectors of them and of the chains."""
        both = {name: ops.concatenate([told[name], rows], axis=0) for name, rows in of_chains.items()}
        return {**told, **both}

    def train_step(self, data):
        x, told = 2.0 * self.images_of(data) - 1.0, self._apart(self.condition_of(data))
        if self.objective == "score":
            terms = self.minimize(lambda: self.score_terms(x, self.random, True, **told), ("network",), self.optimizer)
            return self.track(terms)
        kept = self._buffer.take(ops.shape(x)[0])
        fresh = ops.reshape(self.random.uniform((ops.shape(kept)[0],)) < self.restart, (-1, 1, 1, 1))
        start = ops.where(fresh, self.random.normal(ops.shape(kept)), kept)
        of_chains = {}
        if self._kept_vectors is not None:
            n = ops.shape(kept)[0]
            begun, going = told["vectors"][:n], self._kept_vectors.take(ops.shape(x)[0])
            of_chains["vectors"] = ops.where(ops.reshape(fresh, (-1, 1)), begun, going)
            self._kept_vectors.put(of_chains["vectors"])
        samples, acceptance, _ = chains.loop(self.sampler, self.energy_of(**of_chains), start, self.steps, self.random.key())
        self._buffer.put(samples)
        real, told = x + self.data_noise * self.random.normal(ops.shape(x)), self._with_chains(told, of_chains)
        terms = self.minimize(lambda: self.contrast(real, samples, True, **told), ("network",), self.optimizer)
        return self.track({**terms, "acceptance": acceptance})

    def test_step(self, data):
        x, told = 2.0 * self.images_of(data) - 1.0, self._apart(self.condition_of(data))
        random, n = self.random_test, ops.shape(x)[0]

        def terms_of():
            if self.objective == "score":
                return self.score_terms(x, random, False, **told)
            real = x + self.data_noise * random.normal(ops.shape(x))
            of_chains = {} if self._kept_vectors is None else {"vectors": self._kept_vectors.peek(n)}
            return self.contrast(real, self._buffer.peek(n), False, **self._with_chains(told, of_chains))

        return self.track(self.measure(terms_of, ("network",)))

    # What it can be asked

    @batched
    def energy(self, x, labels=None, conditions=None):
        """Energies of images, `(batch,)`: -T log p(x) but for a constant that is unknown; lower is likelier.

        Args:
            x: images.
            labels: int `(batch,)`, of models with classes alone: E(x, y) in the place of E(x). Defaults to None.
            conditions: float `(batch, condition_dim)`, of models that are told vectors, which need them. Defaults to None.
        """
        self._check_given("conditions", conditions)
        told = {"classes": condition_from(self.num_classes, labels), "vectors": conditions}
        energies = self.energy_of(**{name: rows for name, rows in told.items() if rows is not None})
        return energies(2.0 * self.images_of(x) - 1.0)

    @available_if(lambda self: self.num_classes is not None, "it has no classes; build it with num_classes=")
    @batched
    def classify(self, x, conditions=None):
        """The probabilities of the classes of images, p(y | x), `(batch, num_classes)`; given their vectors, if any."""
        self._check_given("conditions", conditions)
        return ops.softmax(self.network(beside(2.0 * self.images_of(x) - 1.0, conditions), training=False), axis=1)

    def call(self, x):
        """Energies E(x) of images, `(batch,)`; models that are told vectors take a batch, as `(images, extras)`."""
        told = self.settings_of(x)
        return self.energy(unpack(x)[0], **{name: rows for name, rows in told.items() if name == "conditions"})

    # Sampling

    def draw_latents(self, n, random):
        """n times standard normal noise of the images' shape."""
        return random.normal((n, *self.image_shape))

    def start(self, latents):
        """Images in [-1, 1], about, from which chains begin."""
        return self.noise_levels[1] * latents if self.objective == "score" else latents

    def sample(self, n=None, seed=None, batch_size=256, labels=None, averaged=True, steps=None, latents=None, conditions=None):
        """Draw images: chains of the model's sampler from noise.

        Args:
            n, seed, batch_size, labels, averaged, latents, conditions: as in `Conditional.sample`.
            steps: int or None. Steps of the chains; None is `sample_steps`.

        Returns:
            float32 array `(n, height, width, channels)` in [0, 1].
        """
        steps = tf.constant(whole(steps=self.sample_steps if steps is None else steps), tf.int32)
        given, told, moves = (n, seed, batch_size, labels, averaged, latents), {"conditions": conditions}, self._moves
        if tf.inside_function():  # which gives no warnings
            counts, moves.counts = moves.counts, None
            try:
                return super().sample(*given, steps=steps, **told)
            finally:
                moves.counts = counts
        if self.sampler.rejects:
            moves.counts = tf.Variable([0.0, 0.0], trainable=False) if moves.counts is None else moves.counts
            moves.counts.assign([0.0, 0.0])
        found = super().sample(*given, steps=steps, **told)
        if self.sampler.rejects:
            accepted, proposed = moves.counts.numpy()
            chains.warn_of_stuck(self.sampler, accepted / proposed, proposed)
        return found

    @inference
    def generate(self, latents, key, steps=None):
        steps = self.sample_steps if steps is None else steps
        latents, condition = parted(latents)
        told = self._apart(condition)
        x, acceptance, _ = chains.loop(self.sampler, self.energy_of(**told), self.start(latents), steps, key)
        if self._moves.counts is not None:
            proposed = tf.cast(tf.shape(x)[0] * steps, tf.float32)
            self._moves.counts.assign_add([acceptance * proposed, proposed])
        if self.objective == "score":  # and the image that is seen in the noise that is left
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                energies = self.energies(x, **told)
            x -= self.noise_levels[0] * tape.gradient(energies, x)
        return ops.clip(0.5 * (x + 1.0), 0.0, 1.0)

    @property
    def _settled(self):
        if not isinstance(self.sampler, chains.Langevin):
            return self.sampler
        return type(self.sampler).from_config({**self.sampler.get_config(), "start": None, "start_step_size": None})
