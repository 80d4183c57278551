"""Densities that learn from the codes of a trained encoder by gradients, in the place of a mixture."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import divergences, mixtures
from keras_genzoo.core import randomness
from keras_genzoo.core.checks import check_output, check_posterior, input_shapes, real, whole
from keras_genzoo.priors.densities import Fitted

SEGMENTS = 10  # looks at codes that were held out
NORM = 10.0  # of the gradient, at most
SEEN = 4096  # codes that a look is of, at most
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # of Adam
LEAST = 1e-6  # deviation of a code


class Learned(Fitted):
    """Base: a density of codes, less their mean and divided by their deviation, whose networks learn in `fit`.

    A family gives `costs(z, key)`, what is lowered, of standardised codes `(batch, latent_dim)` with the noise of a key, in nats
    `(batch,)`; and `networks`, its parts that learn. They are no part of what the model trains.

    Args:
        latent_dim: int.
        steps: int. Steps of Adam in `fit`, along half a cosine to a rate of 0. Defaults to 2,000.
        batch_size: int. Codes a step. Defaults to 256.
        learning_rate: float above 0. Defaults to 1e-3.
    """

    kind = None  # what `fit` reports

    def __init__(self, latent_dim, steps=2000, batch_size=256, learning_rate=1e-3, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.latent_dim, self.steps, self.batch_size = whole(latent_dim=latent_dim, steps=steps, batch_size=batch_size)
        self.learning_rate = real(above=0, learning_rate=learning_rate)
        weight = dict(shape=(self.latent_dim,), dtype="float32", trainable=False)
        self.mean = self.add_weight(initializer="zeros", name="mean", **weight)
        self.deviation = self.add_weight(initializer="ones", name="deviation", **weight)
        self._add_flag()

    @property
    def networks(self):
        raise NotImplementedError

    def costs(self, z, key):
        raise NotImplementedError

    def standardised(self, z):
        """Codes less their mean, over their deviation."""
        return (tf.cast(z, tf.float32) - tf.convert_to_tensor(self.mean)) / tf.convert_to_tensor(self.deviation)

    def restored(self, z):
        """Standardised codes as they were."""
        return tf.convert_to_tensor(self.mean) + tf.convert_to_tensor(self.deviation) * tf.cast(z, tf.float32)

    def fit(self, codes, components=None, seed=0):
        """Learn from codes. A further fit goes on from the weights of the one before.

        A fifth of the codes is held out (none of fewer than ten). Of ten looks at them the best weights are kept.

        Args:
            codes: float array `(n, latent_dim)`.
            components: 1 takes the mean and the deviation of the codes alone, and makes no step. Defaults to None.
            seed: int. Of the codes held out, the batches and the noise. Defaults to 0.

        Returns:
            dict of `components`, 1, the `kind`, and mean log densities in nats, or lower bounds, as the family has them:
            `log_prob` of the codes that it learned from, and `held_out_log_prob`, NaN where no code was held out.

        Raises:
            ValueError: codes that are not finite or of another shape, or fewer than two.
        """
        codes = np.asarray(codes, np.float32)
        if codes.ndim != 2 or codes.shape[1] != self.latent_dim or not np.isfinite(codes).all():
            raise ValueError(f"codes have shape {codes.shape}, expected finite numbers of shape (n, {self.latent_dim}).")
        self._enough(codes, None)
        own, held = mixtures.split(codes, seed)
        self.mean.assign(own.mean(axis=0))
        self.deviation.assign(np.maximum(own.std(axis=0), LEAST))
        own, held = self.standardised(own), self.standardised(held)
        if components is None:
            self._learn(own, held if len(held) else own, seed)
        self.is_fitted.assign(1.0)
        volume = float(tf.reduce_sum(tf.math.log(tf.convert_to_tensor(self.deviation))))
        values = self._values()
        scores = [-self._mean_loss(values, each, seed) - volume if len(each) else math.nan for each in (own, held)]
        return {"components": 1, "kind": self.kind, "log_prob": scores[0], "held_out_log_prob": scores[1]}

    def _weights(self):
        return [variable for part in self.networks for variable in part.variables]

    def _values(self):
        return [tf.convert_to_tensor(variable) for variable in self._weights()]

    def _costs_of(self, values, z, key):
        """The costs with these values in the places of the variables, which a strategy may hold in copies."""
        with keras.StatelessScope(state_mapping=list(zip(self._weights(), values, strict=True))):
            return self.costs(z, key)

    def _mean_loss(self, values, z, seed):
        return float(tf.reduce_mean(self._costs_of(values, z[:SEEN], randomness.make_key(seed, 1))))

    def _learn(self, codes, held, seed):
        """Give the variables the weights, of those that Adam passes by, under which held-out codes are the likeliest."""
        each = -(-self.steps // SEGMENTS)
        segment = tf.function(lambda begin, *state: self._descended(codes, begin, each, seed, *state), autograph=False)
        values = self._values()
        zeros = [tf.zeros_like(value) for value in values]
        best, least, state = values, self._mean_loss(values, held, seed), (values, zeros, zeros)
        for index in range(SEGMENTS):
            state = segment(tf.constant(index * each), *state)
            found = self._mean_loss(state[0], held, seed)
            if found < least:
                best, least = state[0], found
        for variable, value in zip(self._weights(), best, strict=True):
            variable.assign(value)

    def _descended(self, codes, begin, count, seed, values, first, second):
        """Values and moments after so many steps of Adam."""

        def step(index, values, first, second):
            key = randomness.make_key(seed, 2, index)
            rows = tf.gather(codes, tf.cast(randomness.uniform(key, (self.batch_size,)) * len(codes), tf.int32))
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(values)
                loss = tf.reduce_mean(self._costs_of(values, rows, randomness.fold(key, 1)))
            slopes, _ = tf.clip_by_global_norm(tape.gradient(loss, values, unconnected_gradients="zero"), NORM)
            t = tf.cast(index + 1, tf.float32)
            rate = self.learning_rate * (0.5 + 0.5 * tf.cos(math.pi * tf.minimum(1.0, t / self.steps)))
            first = [BETA_1 * m + (1 - BETA_1) * g for m, g in zip(first, slopes, strict=True)]
            second = [BETA_2 * s + (1 - BETA_2) * tf.square(g) for s, g in zip(second, slopes, strict=True)]
            scale = rate / (1 - BETA_1**t), 1 - BETA_2**t
            moved = [v - scale[0] * m / (tf.sqrt(s / scale[1]) + EPSILON) for v, m, s in zip(values, first, second, strict=True)]
            return index + 1, moved, first, second

        start = begin, list(values), list(first), list(second)
        return tf.while_loop(lambda index, *_: index < begin + count, step, start, maximum_iterations=count)[1:]


@keras.saving.register_keras_serializable("keras_genzoo")
class FlowPrior(Learned):
    """A flow of codes, learned by their likelihood: p(z) = N(f(z); 0, I) |det df/dz| with an invertible map f.

    Args:
        bijector: `bijectors.Bijector` of vectors `(batch, latent_dim)`, of none that takes its values from data.
        latent_dim: int.
        **settings: `steps` of Adam in `fit`, 2,000 unless given, along half a cosine to a rate of 0; `batch_size`, 256 codes;
            `learning_rate`, 1e-3; `name`, `dtype`.

    Example:

    >>> layers = gz.flows.couplings(4, 4, width=32, depth=2, elementwise="spline")
    >>> density = gz.priors.FlowPrior(gz.bijectors.Chain(layers), 4, steps=20)
    >>> vae = gz.models.VAE(*pair, fitted_prior=density)  # doctest: +SKIP
    >>> vae.fit_prior(images)["kind"]  # doctest: +SKIP
    'flow'
    """

    kind = "flow"

    def __init__(self, bijector, latent_dim, **settings):
        super().__init__(latent_dim, **settings)
        fitted = [type(each).__name__ for each in bijector._flatten_layers() if getattr(each, "fitted", False)]
        if fitted:
            raise ValueError(f"{fitted[0]} takes its values from data, and codes are standardised already; leave it out.")
        self.bijector = bijector
        bijector.trainable = False  # by the model's steps

    @property
    def networks(self):
        return [self.bijector]

    def costs(self, z, key):
        y, log_det = self.bijector.forward(ops.cast(z, self.bijector.variable_dtype))
        y, log_det = tf.cast(y, tf.float32), tf.cast(log_det, tf.float32)
        return 0.5 * tf.reduce_sum(tf.square(y) + math.log(2 * math.pi), axis=-1) - log_det

    def log_prob(self, z):
        """Nats, `(batch,)`."""
        volume = tf.reduce_sum(tf.math.log(tf.convert_to_tensor(self.deviation)))
        return -self.costs(self.standardised(z), None) - volume

    def sample(self, n, random, temperature=1.0):
        """n codes, float32 `(n, latent_dim)`, with the noise of `random` (`randomness.Stream` or `RowStream`), which is times
        `temperature`."""
        noise = temperature * random.normal((n, self.latent_dim))
        return self.restored(self.bijector.inverse(ops.cast(noise, self.bijector.variable_dtype)))


@keras.saving.register_keras_serializable("keras_genzoo")
class TwoStagePrior(Learned):
    """A VAE of codes (Dai and Wipf 2019, arXiv:1903.05789, section 4), for any model with codes:

        z ~ N(decoder(u), s^2 I),  u ~ N(0, I);    loss = -E_q(u|z)[log p(z|u)] + KL(q(u|z) || N(0, I))

    with a learned s. `TwoStageVAE` has such a VAE too, which learns in the same steps as its first one.

    Args:
        encoder: keras.Model. Codes `(latent_dim,)` to the pair `(mu, log_variance)` of q(u|z).
        decoder: keras.Model. u to the mean of p(z|u).
        latent_dim: int.
        **settings: as in `FlowPrior`. What `fit` reports are lower bounds.

    Example:

    >>> heads = ("mu", "log_variance")
    >>> encoder, decoder = gz.networks.mlp(4, 4, width=32, heads=heads), gz.networks.mlp(4, 4, width=32)
    >>> density = gz.priors.TwoStagePrior(encoder, decoder, 4, steps=20)
    >>> density.fitted
    False
    """

    kind = "two_stage"

    def __init__(self, encoder, decoder, latent_dim, **settings):
        super().__init__(latent_dim, **settings)
        (self._second,) = input_shapes(decoder, "decoder")[0]
        check_posterior(encoder, "encoder", (self._second,))
        check_output(decoder, "decoder", (self.latent_dim,))
        self.encoder, self.decoder = encoder, decoder
        encoder.trainable = decoder.trainable = False  # by the model's steps
        small = keras.initializers.Constant(-2.0)  # with a large scale at first, codes of codes tell nothing and stay so
        self.log_scale = self.add_weight(shape=(), dtype="float32", initializer=small, trainable=False, name="log_scale")

    @property
    def networks(self):
        return [self.encoder, self.decoder]

    def _weights(self):
        return [*super()._weights(), self.log_scale]

    def costs(self, z, key):
        mu, log_variance = self.encoder(z, training=False)
        u = mu + ops.exp(0.5 * log_variance) * randomness.normal(key, ops.shape(mu))
        spread = 2.0 * tf.convert_to_tensor(self.log_scale)
        return divergences.gaussian_kl(mu, log_variance) - divergences.gaussian_log_prob(z, self.decoder(u), spread)

    def sample(self, n, random, temperature=1.0):
        """n codes, float32 `(n, latent_dim)`, with the noise of `random` (`randomness.Stream` or `RowStream`), which is times
        `temperature`."""
        u, noise = (temperature * random.normal((n, size)) for size in (self._second, self.latent_dim))
        spread = tf.exp(tf.convert_to_tensor(self.log_scale))
        return self.restored(self.decoder(u, training=False) + spread * noise)
