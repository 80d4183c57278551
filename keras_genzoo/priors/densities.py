"""Priors p(z) over codes in closed form, mixtures fitted to codes, and mixtures trained with a model."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import divergences, mixtures
from keras_genzoo.core.checks import image_size, whole
from keras_genzoo.core.serialization import Part


@keras.saving.register_keras_serializable("keras_genzoo")
class StandardNormal(Part):
    """N(0, I).

    Args:
        latent_dim: int.
    """

    standard = True  # what has a closed form for N(0, I) uses it

    def __init__(self, latent_dim, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.latent_dim = latent_dim

    def sample(self, n, random, temperature=1.0):
        """n codes, float32 `(n, latent_dim)`, with the noise of `random` (`randomness.Stream` or `RowStream`); deviations times
        `temperature`."""
        return temperature * random.normal((n, self.latent_dim))

    def log_prob(self, z):
        """Nats, `(batch,)`."""
        return -0.5 * ops.sum(ops.square(z) + math.log(2 * math.pi), axis=-1)


class Fitted(Part):
    """Base: a density that is fitted to codes after training."""

    def _add_flag(self):
        # Each replica's step of training clears it alike.
        flag = dict(shape=(), dtype="float32", initializer="zeros", trainable=False, aggregation="mean")
        self.is_fitted = self.add_weight(name="is_fitted", **flag)

    @property
    def fitted(self):
        """Whether `fit` has been called, on this model or on the one that was saved, and no training since."""
        with tf.init_scope():  # known where a graph is made, too
            return bool(tf.convert_to_tensor(self.is_fitted))

    def forget(self):
        """Take the fit for out of date, as after a step of training."""
        self.is_fitted.assign(0.0)

    def _number(self, components):
        if components is not None and not 1 <= components <= self.components:
            raise ValueError(f"components is {components}, but this prior was built for 1 to {self.components}.")

    def _enough(self, codes, components):
        least = 2 * (components or 1)
        if len(codes) < least:
            raise ValueError(f"there are {len(codes)} codes for {components or 1} components, expected at least two each.")


@keras.saving.register_keras_serializable("keras_genzoo")
class GaussianMixture(Fitted):
    """A mixture of Gaussians, sum_k w_k N(mu_k, L_k L_k^T), fitted to codes after training.

    This is the ex-post density of Ghosh et al. 2020 (arXiv:1903.12436, section 4). Until it is fitted it is N(0, I), and
    `fitted` is False.

    Args:
        latent_dim: int.
        components: int. The most components it can hold; one makes it a single Gaussian. Defaults to 10.
    """

    def __init__(self, latent_dim, components=10, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.latent_dim, self.components = latent_dim, components = whole(latent_dim=latent_dim, components=components)
        weight = dict(dtype="float32", trainable=False)
        self.log_weights = self.add_weight(shape=(components,), initializer="zeros", name="log_weights", **weight)
        self.means = self.add_weight(shape=(components, latent_dim), initializer="zeros", name="means", **weight)
        self.factors = self.add_weight(shape=(components, latent_dim, latent_dim), initializer="zeros", name="factors", **weight)
        self._add_flag()
        self._assign(np.ones(1), np.zeros((1, latent_dim)), np.eye(latent_dim)[None])

    def _assign(self, weights, means, factors):
        used = len(weights)
        # An unused component has no weight; its covariance is the identity, so that log_prob stays finite.
        log_weights = np.full(self.components, -1e9)
        log_weights[:used] = np.log(weights)
        all_means, all_factors = np.zeros(self.means.shape), np.tile(np.eye(self.latent_dim), (self.components, 1, 1))
        all_means[:used], all_factors[:used] = means, factors
        self.log_weights.assign(log_weights)
        self.means.assign(all_means)
        self.factors.assign(all_factors)

    def fit(self, codes, components=None, seed=0):
        """Fit to codes by expectation maximisation, from k-means.

        A fifth of the codes is held out (none of fewer than ten). The number of components, 1, 3, 10, 30, ... up to one for 20
        codes, and full or diagonal covariances are those under which the held-out codes are the most likely.

        Args:
            codes: float array `(n, latent_dim)`.
            components: int or None. The number of components, with full covariances; None chooses both. Defaults to None.
            seed: int. Of the codes held out and of the k-means start. Defaults to 0.

        Returns:
            dict of the number of `components`, their `kind` ("full" or "diagonal"), and the mean log densities in nats under
            which they were chosen: `log_prob` of the codes that the mixture was fitted to, and `held_out_log_prob`, NaN where
            no code was held out. The mixture then takes further steps on all codes.

        Raises:
            ValueError: codes that are not finite, or fewer than two a component.
        """
        codes = np.asarray(codes, np.float64)
        self._number(components)
        if codes.ndim != 2 or codes.shape[1] != self.latent_dim or not np.isfinite(codes).all():
            raise ValueError(f"codes have shape {codes.shape}, expected finite numbers of shape (n, {self.latent_dim}).")
        self._enough(codes, components)
        found = mixtures.gaussian(codes, components, self.components, seed)
        weights, means, covariances = found.parameters
        self._assign(weights, means, np.linalg.cholesky(covariances))
        self.is_fitted.assign(1.0)
        return found.report()

    def sample(self, n, random, temperature=1.0):
        """n codes, float32 `(n, latent_dim)`, with the noise of `random` (`randomness.Stream` or `RowStream`); each component's
        deviations times `temperature`."""
        index = _component(self.log_weights, n, random)
        factors = temperature * tf.gather(tf.convert_to_tensor(self.factors), index)
        noise = random.normal((n, self.latent_dim))
        return tf.gather(tf.convert_to_tensor(self.means), index) + tf.einsum("nij,nj->ni", factors, noise)

    def log_prob(self, z):
        """Nats, `(batch,)`."""
        factors = tf.convert_to_tensor(self.factors)
        centred = tf.transpose(z[:, None, :] - tf.convert_to_tensor(self.means)[None], (1, 2, 0))
        white = tf.linalg.triangular_solve(factors, centred)
        log_volume = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(factors)), axis=-1)
        log_normal = -0.5 * tf.reduce_sum(white**2, axis=1) - log_volume[:, None] - 0.5 * self.latent_dim * math.log(2 * math.pi)
        log_weights = tf.nn.log_softmax(tf.convert_to_tensor(self.log_weights))
        return tf.reduce_logsumexp(log_weights[:, None] + log_normal, axis=0)


@keras.saving.register_keras_serializable("keras_genzoo")
class CategoricalMixture(Fitted):
    """A mixture of products of categorical distributions over a grid of codes, fitted to grids after training.

        p(c) = sum_k w_k prod_j p_k(c_j)

    with c_j the number of the codebook's vector at position j: given the component, positions are independent. It has
    `components * positions * size` numbers. Until it is fitted it is uniform, and `fitted` is False.

    Args:
        positions: int. Number of positions of a grid.
        size: int. Number of vectors in the codebook.
        components: int. The most components it can hold. Defaults to 50.
    """

    discrete = True  # it is over numbers of vectors

    def __init__(self, positions, size, components=50, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.positions, self.size, self.components = whole(positions=positions, size=size, components=components)
        uniform = keras.initializers.Constant(1.0 / self.size)
        shape, weight = (self.components, self.positions, self.size), dict(dtype="float32", trainable=False)
        self.log_weights = self.add_weight(shape=shape[:1], initializer="zeros", name="log_weights", **weight)
        self.probabilities = self.add_weight(shape=shape, initializer=uniform, name="probabilities", **weight)
        self._add_flag()

    def fit(self, codes, components=None, seed=0):
        """Fit to grids by expectation maximisation, from k-means.

        A fifth of the grids is held out (none of fewer than ten). The number of components, 1, 3, 10, 30, ... up to one for 20
        grids, is the one under which they are the most likely.

        Args:
            codes: int array `(n, positions)` of numbers below `size`.
            components: int or None. The number of components; None chooses it. Defaults to None.
            seed: int. Of the grids held out and of the k-means start. Defaults to 0.

        Returns:
            dict as of `GaussianMixture.fit`, with log probabilities of grids; `kind` is "categorical".

        Raises:
            ValueError: codes of another shape or beyond the codebook, or fewer than two a component.
        """
        codes = np.asarray(codes)
        self._number(components)
        if codes.ndim != 2 or codes.shape[1] != self.positions or not ((codes >= 0) & (codes < self.size)).all():
            raise ValueError(
                f"codes have shape {codes.shape}, expected (n, {self.positions}), each a whole number between 0 and "
                f"{self.size - 1}."
            )
        self._enough(codes, components)
        found = mixtures.categorical(codes, self.size, components, self.components, seed)
        weights, probabilities = found.parameters
        # An unused component has no weight.
        self.log_weights.assign(np.pad(np.log(weights), (0, self.components - len(weights)), constant_values=-1e9))
        every = np.full(self.probabilities.shape, 1.0 / self.size, np.float32)
        every[: len(weights)] = probabilities
        self.probabilities.assign(every)
        self.is_fitted.assign(1.0)
        return found.report()

    def sample(self, n, random):
        """n grids, int64 `(n, positions)`, with the noise of `random` (`randomness.Stream` or `RowStream`)."""
        component, uniform = _component(self.log_weights, n, random), random.uniform((n, self.positions))
        if tf.is_tensor(n):  # within a graph
            return tf.map_fn(
                lambda row: self._draw(row[0][None], row[1][None])[0], (component, uniform), fn_output_signature=tf.int64
            )
        rows = max(1, 2**24 // (self.positions * self.size))  # at a time: each needs its component's whole table
        parts = [self._draw(component[start : start + rows], uniform[start : start + rows]) for start in range(0, n, rows)]
        return tf.concat(parts, axis=0)

    def _draw(self, component, uniform):
        cumulative = tf.cumsum(tf.gather(tf.convert_to_tensor(self.probabilities), component), axis=-1)
        return tf.reduce_sum(tf.cast(uniform[..., None] >= cumulative[..., :-1], tf.int64), axis=-1)

    def log_prob(self, z):
        """Nats, `(batch,)`, of grids `(batch, positions)`."""
        table = tf.math.log(tf.transpose(self.probabilities, (1, 2, 0)))
        numbers = tf.cast(z, tf.int32)
        each = tf.gather_nd(table, tf.stack([tf.broadcast_to(tf.range(self.positions), tf.shape(numbers)), numbers], axis=-1))
        log_weights = tf.nn.log_softmax(tf.convert_to_tensor(self.log_weights))
        return tf.reduce_logsumexp(log_weights + tf.reduce_sum(each, axis=1), axis=-1)


def _component(log_weights, n, random):
    """Numbers of components by their weights, `(n,)`."""
    cumulative = tf.cumsum(tf.nn.softmax(tf.convert_to_tensor(log_weights)))
    # Rounding may leave the sum just under 1: the last bound is never compared with.
    return tf.searchsorted(cumulative[:-1], random.uniform((n,)), side="right")


class _TrainedMixture(Part):
    """Base: a mixture of Gaussians with diagonal covariances that is trained with a model."""

    def sample(self, n, random, *encoder, temperature=1.0):
        """n codes, float32 `(n, latent_dim)`, with the noise of `random` (`randomness.Stream` or `RowStream`); each component's
        deviations times `temperature`."""
        log_weights, mu, log_variance = self.parts(*encoder)
        cumulative = tf.cumsum(tf.exp(log_weights))
        index = tf.searchsorted(cumulative[:-1], random.uniform((n,)), side="right")
        spread = temperature * tf.exp(0.5 * tf.gather(log_variance, index))
        return tf.gather(mu, index) + spread * random.normal((n, self.latent_dim))

    def log_prob(self, z, *encoder):
        """Nats, `(batch,)`."""
        log_weights, mu, log_variance = self.parts(*encoder)
        return ops.logsumexp(log_weights + divergences.gaussian_log_prob(z[:, None], mu, log_variance), axis=1)


@keras.saving.register_keras_serializable("keras_genzoo")
class TrainedMixture(_TrainedMixture):
    """A mixture of Gaussians whose weights, means and diagonal variances are trained with the model, as in Dilokthanakul et al.
    2016 (arXiv:1611.02648) and the baseline "MoG" of Tomczak and Welling 2018. Use it as the `prior` of a `VAE`.

    Args:
        latent_dim: int.
        components: int. Defaults to 50.
    """

    def __init__(self, latent_dim, components=50, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.latent_dim, self.components = latent_dim, components = whole(latent_dim=latent_dim, components=components)
        self.logits = self.add_weight(shape=(components,), initializer="zeros", dtype="float32", name="logits")
        start = keras.initializers.RandomNormal(stddev=1.0)  # apart, else they would stay alike
        self.means = self.add_weight(shape=(components, latent_dim), initializer=start, dtype="float32", name="means")
        self.log_variances = self.add_weight(
            shape=(components, latent_dim), initializer="zeros", dtype="float32", name="log_variances"
        )

    def parts(self):
        """Logarithms of the weights, means and logarithms of the variances."""
        log_variances = 10.0 * ops.tanh(self.log_variances / 10.0)
        return ops.log_softmax(ops.convert_to_tensor(self.logits)), ops.convert_to_tensor(self.means), log_variances


@keras.saving.register_keras_serializable("keras_genzoo")
class VampPrior(_TrainedMixture):
    """The mean of the posteriors of trained pseudo-images u_k, p(z) = 1/K sum_k q(z|u_k) (Tomczak and Welling 2018,
    arXiv:1705.07120). The encoder is the model's own, which hands it over with every call.

    The pseudo-images are kept in [0, 1] by a sigmoid and begin as images of the first batch that `fit` sees, slightly pale.

    Args:
        image_shape: `(height, width, channels)`.
        latent_dim: int.
        components: int. Number of pseudo-images, K. Defaults to 50.
    """

    needs_encoder = True

    def __init__(self, image_shape, latent_dim, components=50, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.image_shape = image_shape = image_size(image_shape)
        self.latent_dim, self.components = latent_dim, components = whole(latent_dim=latent_dim, components=components)
        start = keras.initializers.RandomNormal(stddev=1.0)
        self.logits = self.add_weight(shape=(components, *image_shape), initializer=start, dtype="float32", name="pseudo_images")

    def prepare(self, images):
        """Begin with images from all over these, float32 in [0, 1], some of them again where there are too few."""
        index = np.arange(self.components) * len(images) // self.components
        pale = 0.05 + 0.9 * np.asarray(images)[index]
        # Images that come twice must not stay alike.
        noise = np.random.default_rng(0).normal(0.0, 0.1, pale.shape)
        self.logits.assign(np.log(pale / (1.0 - pale)) + noise)

    def parts(self, encoder):
        mu, log_variance = encoder(ops.sigmoid(self.logits), training=False)[:2]
        return tf.fill((self.components,), -math.log(self.components)), mu, log_variance
