"""Densities of codes by a condition: one for each class, or a mixture by a vector of numbers."""

import math

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.core.checks import whole
from keras_genzoo.priors.densities import Fitted, GaussianMixture

FEWEST = 20  # codes of a class that gets a density of its own


def mixture_for(latent_dim, components=10, num_classes=None, condition_dim=None):
    """The mixture of Gaussians for the codes of a model: by class, by vector, by both, or of all codes together.

    Args:
        latent_dim: int.
        components: int. The most components, of each class. Defaults to 10.
        num_classes, condition_dim: ints or None, those of the model. Default to None.

    Returns:
        `ByClass`, `ConditionalMixture` or `GaussianMixture`.

    Example:

    >>> [len(mixture_for(3, num_classes=2).parts), mixture_for(3, condition_dim=5).condition_dim]
    [2, 5]
    """
    if num_classes is not None:
        return ByClass([mixture_for(latent_dim, components, None, condition_dim) for _ in range(num_classes)])
    if condition_dim is not None:
        return ConditionalMixture(latent_dim, condition_dim, components)
    return GaussianMixture(latent_dim, components)


@keras.saving.register_keras_serializable("keras_genzoo")
class ByClass(Fitted):
    """A density of codes for each class. Classes of fewer than 20 codes get the one that fits all codes.

    Args:
        parts: list of densities to be fitted, such as `GaussianMixture`, one for each class. Where they know of conditions, they
            are told what stands behind the class.
    """

    knows_conditions = True

    def __init__(self, parts, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.parts = list(parts)
        if not self.parts:
            raise ValueError("parts are none, expected a density for each class.")
        self._add_flag()

    @property
    def discrete(self):
        """Whether it is over numbers of a codebook's vectors."""
        return getattr(self.parts[0], "discrete", False)

    def _rest(self, condition):
        """What parts are told beside the codes."""
        knows = getattr(self.parts[0], "knows_conditions", False)
        return {"condition": condition[:, len(self.parts) :]} if knows else {}

    def fit(self, codes, components=None, seed=0, condition=None):
        """Fit to the codes of each class.

        Args:
            codes: array `(n, ...)`, as the parts take it.
            components, seed: as of the parts.
            condition: float array `(n, classes + ...)`, the one-hot labels first.

        Returns:
            dict as of `GaussianMixture.fit`: the `components` of all classes together, the `kind` "by class", and log densities
            of codes given their class.
        """
        codes, condition = np.asarray(codes), np.asarray(_given(self, condition))
        labels, rest = condition[:, : len(self.parts)].argmax(axis=1), self._rest(condition)
        counts, found = np.bincount(labels, minlength=len(self.parts)), []
        for number, part in enumerate(self.parts):
            rows = labels == number if counts[number] >= FEWEST else slice(None)
            found.append(part.fit(codes[rows], components, seed, **{name: value[rows] for name, value in rest.items()}))
        self.is_fitted.assign(1.0)
        met = [(count / len(codes), report) for count, report in zip(counts, found, strict=True) if count]
        means = {name: float(sum(share * report[name] for share, report in met)) for name in ("log_prob", "held_out_log_prob")}
        return {"components": sum(report["components"] for report in found), "kind": "by class", **means}

    def _chosen(self, each, condition):
        """Of one result `(n, ...)` a class the rows of each row's own class."""
        labels = tf.argmax(condition[:, : len(self.parts)], axis=1)
        return tf.gather(tf.stack(each, axis=1), labels, axis=1, batch_dims=1)

    def sample(self, n, random, condition=None):
        """n codes, one for each row of the condition, with the noise of `random`."""
        condition = tf.convert_to_tensor(_given(self, condition))
        rest = self._rest(condition)
        return self._chosen([part.sample(n, random, **rest) for part in self.parts], condition)

    def log_prob(self, z, condition=None):
        """Nats given the condition, `(batch,)`."""
        condition = tf.convert_to_tensor(_given(self, condition))
        rest = self._rest(condition)
        return self._chosen([part.log_prob(z, **rest) for part in self.parts], condition)


@keras.saving.register_keras_serializable("keras_genzoo")
class ConditionalMixture(Fitted):
    """A mixture of Gaussians of codes z by a vector c: that of both together, given c.

        p(c, z) = sum_k w_k N((c, z); mu_k, L_k L_k^T),    p(z | c) = sum_k w_k(c) N(z; m_k(c), S_k)

    With L in blocks and a_k = L_cc^-1 (c - mu_c), w_k(c) is in proportion to w_k N(c; mu_c, L_cc L_cc^T), m_k(c) is
    mu_z + L_zc a_k and S_k is L_zz L_zz^T.

    Args:
        latent_dim: int.
        condition_dim: int. Length of the vectors.
        components: int. The most components it can hold. Defaults to 10.
    """

    knows_conditions = True

    def __init__(self, latent_dim, condition_dim, components=10, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.latent_dim, self.condition_dim, self.components = whole(
            latent_dim=latent_dim, condition_dim=condition_dim, components=components
        )
        self.joint = GaussianMixture(self.condition_dim + self.latent_dim, self.components, name="joint")
        weight = dict(shape=(self.condition_dim,), dtype="float32", trainable=False)
        self.centre = self.add_weight(initializer="zeros", name="centre", **weight)
        self.spread = self.add_weight(initializer="ones", name="spread", **weight)
        self._add_flag()

    def fit(self, codes, components=None, seed=0, condition=None):
        """Fit to codes and vectors together, which are brought to the codes' own spread first.

        Args:
            codes: float array `(n, latent_dim)`.
            components, seed: as of `GaussianMixture.fit`.
            condition: float array `(n, condition_dim)`.

        Returns:
            dict as of `GaussianMixture.fit`, with log densities of codes and vectors together.
        """
        codes, condition = np.asarray(codes, np.float64), np.asarray(_given(self, condition), np.float64)
        deviation, own = condition.std(axis=0), float(codes.std()) or 1.0
        self.centre.assign(condition.mean(axis=0))
        self.spread.assign(np.where(deviation > 0, deviation / own, 1.0))
        report = self.joint.fit(np.concatenate([np.asarray(self._scaled(condition)), codes], axis=1), components, seed)
        self.is_fitted.assign(1.0)
        return report

    def _scaled(self, condition):
        return (tf.cast(condition, tf.float32) - self.centre) / self.spread

    def _by_vector(self, c):
        """log w_k(c), but for a constant, `(batch, components)`, and a_k, `(batch, components, condition_dim)`."""
        size = self.condition_dim
        factors = tf.convert_to_tensor(self.joint.factors)[:, :size, :size]
        centred = tf.transpose(c[:, None] - tf.convert_to_tensor(self.joint.means)[None, :, :size], (1, 2, 0))
        white = tf.linalg.triangular_solve(factors, centred)
        log_volume = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(factors)), axis=-1) + 0.5 * size * math.log(2 * math.pi)
        log_weights = tf.nn.log_softmax(tf.convert_to_tensor(self.joint.log_weights)) - log_volume
        return tf.transpose(log_weights[:, None] - 0.5 * tf.reduce_sum(white**2, axis=1)), tf.transpose(white, (2, 0, 1))

    def sample(self, n, random, condition=None):
        """n codes, one for each row of the condition, float32 `(n, latent_dim)`, with the noise of `random`."""
        size = self.condition_dim
        log_weights, white = self._by_vector(self._scaled(_given(self, condition)))
        # Rounding may leave the sum just under 1: the last bound is never compared with.
        passed = random.uniform((n,))[:, None] >= tf.cumsum(tf.nn.softmax(log_weights), axis=1)[:, :-1]
        index = tf.reduce_sum(tf.cast(passed, tf.int32), axis=1)
        factors = tf.gather(tf.convert_to_tensor(self.joint.factors), index)[:, size:]
        both = tf.concat([tf.gather(white, index, axis=1, batch_dims=1), random.normal((n, self.latent_dim))], axis=1)
        return tf.gather(tf.convert_to_tensor(self.joint.means), index)[:, size:] + tf.einsum("nij,nj->ni", factors, both)

    def log_prob(self, z, condition=None):
        """Nats given the condition, `(batch,)`."""
        c = self._scaled(_given(self, condition))
        return self.joint.log_prob(tf.concat([c, z], axis=1)) - tf.reduce_logsumexp(self._by_vector(c)[0], axis=1)


def _given(density, condition):
    """A condition, unless there is none."""
    if condition is None:
        raise ValueError(f"{type(density).__name__} is of codes by their condition and was given none; pass condition=.")
    return condition
