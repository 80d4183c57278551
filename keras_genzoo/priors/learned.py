"""Densities of codes that are learned by gradient descent after training: a flow, and a second VAE."""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import divergences, likelihoods, mixtures
from keras_genzoo.bijectors.base import as_of, forward_of
from keras_genzoo.core import randomness
from keras_genzoo.core.checks import check_output, check_posterior, check_told, input_shapes, real, whole
from keras_genzoo.core.conditions import beside
from keras_genzoo.priors.densities import _Fitted

LOOKS = 20  # at the held-out codes, in a fit
FIRST = 1000  # codes that a bijector takes its first values from
CLIPNORM = 10.0  # of the gradient


class Learned(_Fitted):
    """Base: a density of codes that are brought to mean 0 and variance 1, which is learned by Adam after training.

    A derived class writes `log_density(z, key, training, condition)` of standardised codes, in nats, `(batch,)`, and `drawn(n,
    random, condition)` of such codes. Nothing of it is trained along with a model.

    Args:
        latent_dim: int.
        steps: int. Steps of a fit; the learning rate falls to 0 over them by half a cosine. Defaults to 2,000.
        batch_size: int. Codes in a step. Defaults to 256.
        learning_rate: float above 0. Defaults to 1e-3.
    """

    knows_conditions = False

    def __init__(self, latent_dim, steps=2000, batch_size=256, learning_rate=1e-3, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.latent_dim, self.steps, self.batch_size = whole(latent_dim=latent_dim, steps=steps, batch_size=batch_size)
        self.learning_rate = real(above=0, learning_rate=learning_rate)
        weight = dict(shape=(self.latent_dim,), dtype="float32", trainable=False)
        self.centre = self.add_weight(initializer="zeros", name="centre", **weight)
        self.spread = self.add_weight(initializer="ones", name="spread", **weight)
        self._add_flag()

    def finish(self):
        super().finish()
        self.trainable = False

    def log_density(self, z, key, training, condition=None):
        raise NotImplementedError

    def drawn(self, n, random, condition=None):
        raise NotImplementedError

    def begin(self, z, condition=None):
        """Hook, called with the first codes of a fit."""

    def fit(self, codes, components=None, seed=0, condition=None):
        """Learn anew, from fresh weights. A fifth of the codes is held out (none of fewer than ten), and the weights under which
        they were the most likely are kept.

        Args:
            codes: float array `(n, latent_dim)`.
            components: None or 1; it has none to choose.
            seed: int. Of the codes held out, the first weights and the batches. Defaults to 0.
            condition: float array `(n, units)`, where it knows of conditions. Defaults to None.

        Returns:
            dict as of `GaussianMixture.fit`: `components` 1, the `kind`, and mean log densities in nats, or bounds on them.

        Raises:
            ValueError: codes of another shape or that are not finite; several components.
        """
        codes = np.asarray(codes, np.float32)
        if components not in (None, 1):
            raise ValueError(f"components is {components}, expected None: a {type(self).__name__} has none to choose.")
        if codes.ndim != 2 or codes.shape[1] != self.latent_dim or not np.isfinite(codes).all():
            raise ValueError(f"codes have shape {codes.shape}, expected finite numbers of shape (n, {self.latent_dim}).")
        centre, spread = codes.mean(axis=0), codes.std(axis=0)
        spread = np.where(spread > 1e-6, spread, 1.0).astype("float32")
        with randomness.seeded(seed):
            learner = type(self).from_config(self.get_config())  # its variables are of one device, whatever those here are
        found = learner.learn((codes - centre) / spread, condition, seed)
        for variable, value in zip(self.variables, learner.variables, strict=True):
            variable.assign(np.asarray(value))
        for variable, value in ((self.centre, centre), (self.spread, spread), (self.is_fitted, 1.0)):
            variable.assign(value)
        volume = float(np.log(spread).sum())
        return {"components": 1, "kind": self.kind} | {name: value - volume for name, value in found.items()}

    def learn(self, z, condition, seed):
        """Adam's steps on standardised codes; the log densities of `fit`, without the change of scale."""
        self.trainable = True
        kept, held = mixtures.split(np.arange(len(z)), seed)
        columns = [z, *([] if condition is None else [np.asarray(condition, np.float32)])]
        some = lambda rows: [tf.constant(column[rows]) for column in columns]  # noqa: E731
        variables, random, best, values = self.trainable_variables, np.random.default_rng(seed), -np.inf, None
        self.begin(*some(kept[:FIRST]))
        rates = keras.optimizers.schedules.CosineDecay(self.learning_rate, self.steps)
        optimizer = keras.optimizers.Adam(rates, global_clipnorm=CLIPNORM)
        optimizer.build(variables)

        @functools.partial(tf.function, autograph=False)
        def step(index, z, *told):
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(self.log_density(z, randomness.make_key(seed, index), True, *told))
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

        @functools.partial(tf.function, autograph=False)
        def score(z, *told):
            return tf.reduce_mean(self.log_density(z, randomness.make_key(seed, -1), False, *told))

        for index in range(self.steps):
            step(tf.constant(index, tf.int64), *some(kept[random.integers(len(kept), size=self.batch_size)]))
            if len(held) and (index + 1) % max(1, self.steps // LOOKS) == 0:
                now = float(score(*some(held)))
                if now > best:
                    best, values = now, [variable.numpy() for variable in variables]
        if values is not None:
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        return {"log_prob": float(score(*some(kept))), "held_out_log_prob": best if len(held) else float("nan")}

    def sample(self, n, random, condition=None):
        """n codes, float32 `(n, latent_dim)`, with the noise of `random` (`randomness.Stream` or `RowStream`)."""
        return self.drawn(n, random, condition) * self.spread + self.centre


@keras.saving.register_keras_serializable("keras_genzoo")
class FlowPrior(Learned):
    """A normalizing flow of codes, fitted after training: log p(z) = log N(f(z); 0, I) + log |det df/dz| (Rezende and Mohamed
    2015, arXiv:1505.05770).

    Args:
        bijector: `bijectors.Bijector` of vectors `(batch, latent_dim)`, from codes to noise, such as a `bijectors.Chain`. One
            that depends on a context is told the condition.
        latent_dim: int.
        **kwargs: `steps`, `batch_size`, `learning_rate` of the fit (2,000, 256, 1e-3); `name`, `dtype`.

    Example:

    >>> network = gz.networks.dense_coupling(2, 4, width=16)
    >>> prior = FlowPrior(gz.bijectors.Coupling(network), 4, steps=10)
    >>> prior.fit(np.random.default_rng(0).normal(size=(100, 4)))["kind"]
    'flow'
    """

    kind = "flow"

    def __init__(self, bijector, latent_dim, **kwargs):
        super().__init__(latent_dim, **kwargs)
        self.bijector = bijector

    @property
    def knows_conditions(self):
        return self.bijector.conditional

    def begin(self, z, condition=None):
        self.bijector.initialize(*as_of(self.bijector, *self._beside(z, condition)))

    def _beside(self, z, condition):
        return [z] if condition is None else [z, condition]

    def log_density(self, z, key, training, condition=None):
        z, *context = self._beside(z, condition)
        u, log_det = forward_of(self.bijector, z, training, *context)
        return divergences.gaussian_log_prob(u, ops.zeros_like(u), ops.zeros_like(u)) + log_det

    def drawn(self, n, random, condition=None):
        u = random.normal((n, self.latent_dim))
        return ops.cast(self.bijector.inverse(*as_of(self.bijector, *self._beside(u, condition))), "float32")

    def log_prob(self, z, condition=None):
        """Nats, `(batch,)`."""
        z = (z - self.centre) / self.spread
        return self.log_density(z, None, False, condition) - ops.sum(ops.log(ops.convert_to_tensor(self.spread)))


def second_stage(encoder, decoder, likelihood, z, noise, training, condition=None):
    """The loss of a VAE of codes, -log p(z|u) + KL(q(u|z) || N(0, I)) with one u of q(u|z), and log p(z, u) / q(u|z).

    Args:
        encoder: keras.Model. Codes z to the pair `(mu, log_variance)` of q(u|z).
        decoder: keras.Model. u to the mean of p(z|u).
        likelihood: `likelihoods.Gaussian` around it.
        z: codes `(batch, latent_dim)`.
        noise: standard normal, of the shape of u.
        training: bool.
        condition: `(batch, units)`, the second input of both networks, or None. Defaults to None.

    Returns:
        dict of "loss" and "log_weight", in nats, each `(batch,)`.
    """
    mu, log_variance = encoder(beside(z, condition), training=training)
    u = mu + ops.exp(0.5 * log_variance) * noise
    log_likelihood = likelihood.training_log_prob if training else likelihood.log_prob
    reconstruction = -log_likelihood(z, decoder(beside(u, condition), training=training))
    log_prior = divergences.gaussian_log_prob(u, ops.zeros_like(u), ops.zeros_like(u))
    log_ratio = log_prior - divergences.gaussian_log_prob(u, mu, log_variance)
    loss = reconstruction + divergences.gaussian_kl(mu, log_variance)
    return {"loss": loss, "log_weight": log_ratio - reconstruction}


@keras.saving.register_keras_serializable("keras_genzoo")
class SecondStage(Learned):
    """A second VAE, of the codes, fitted after training (Dai and Wipf 2019, arXiv:1903.05789, section 4): z ~ N(decoder(u), s^2
    I) with u ~ N(0, I), s learned. `models.TwoStageVAE` trains one along with the first.

    Its density has no closed form. What `fit` reports are lower bounds.

    Args:
        encoder: keras.Model. Codes `(batch, latent_dim)` to the pair `(mu, log_variance)` of q(u|z), each `(batch, units)`. A
            second input of both networks is the condition.
        decoder: keras.Model. u to codes.
        **kwargs: `steps`, `batch_size`, `learning_rate` of the fit (2,000, 256, 1e-3); `name`, `dtype`.
    """

    kind = "second stage"

    def __init__(self, encoder, decoder, **kwargs):
        (latent_dim,), *told = input_shapes(encoder, "the second encoder")
        super().__init__(latent_dim, **kwargs)
        self.encoder, self.decoder = encoder, decoder
        self.likelihood = likelihoods.Gaussian("learned")
        self.units = input_shapes(decoder, "the second decoder")[0][0]
        check_posterior(encoder, "the second encoder", (self.units,))
        check_output(decoder, "the second decoder", (latent_dim,))
        check_told(decoder, "the second decoder", told[0][0] if told else 0)

    @property
    def knows_conditions(self):
        return len(input_shapes(self.encoder, "the second encoder")) > 1

    def log_density(self, z, key, training, condition=None):
        noise = randomness.normal(key, (ops.shape(z)[0], self.units))
        return -second_stage(self.encoder, self.decoder, self.likelihood, z, noise, training, condition)["loss"]

    def drawn(self, n, random, condition=None):
        u, noise = random.normal((n, self.units)), random.normal((n, self.latent_dim))
        return self.decoder(beside(u, condition), training=False) + self.likelihood.current_scale * noise
