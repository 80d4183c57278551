"""Layers of whole vectors, inverted by bisection."""

import math

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo.bijectors.base import Bijector
from keras_genzoo.core.randomness import random_seed

_registered = keras.saving.register_keras_serializable("keras_genzoo")


def _bisect(rising, slope, low, high, steps):
    """Where a rising function of one number, of this slope, is 0, `(batch, 1)`, between bounds."""

    def halve(index, low, high):
        middle = 0.5 * (low + high)
        above = rising(middle) > 0
        return index + 1, ops.where(above, low, middle), ops.where(above, middle, high)

    _, low, high = tf.while_loop(lambda index, *_: index < steps, halve, (0, low, high))
    root = ops.stop_gradient(0.5 * (low + high))
    return root - rising(root) / slope(root)  # Newton's step, which brings the gradient of the root


def _steps(dtype):
    return 80 if tf.as_dtype(dtype) == tf.float64 else 40  # halvings until no bit is left


@_registered
class Planar(Bijector):
    """y = x + u tanh(w x + b) of vectors (Rezende and Mohamed 2015, arXiv:1505.05770, eq. 10), u so that it is invertible
    (appendix A.1, with the softplus shifted so that a small u stays small).

    Args:
        dimensions: int.
        context: int or None. With units of a context, u, w and b are a linear function of it, for every vector its own.
            Defaults to None.
    """

    def __init__(self, dimensions, context=None, **kwargs):
        super().__init__(**kwargs)
        self.dimensions = dimensions
        self.context = context
        normal = keras.initializers.RandomNormal(stddev=0.1, seed=random_seed())
        self.values = self.add_weight(shape=(2 * dimensions + 1,), initializer=normal, name="values")
        if context is not None:
            self.of_context = self.add_weight(shape=(context, 2 * dimensions + 1), initializer="zeros", name="of_context")

    @property
    def conditional(self):
        return self.context is not None

    def _constants(self, context=None):
        """u and w, `(1 or batch, dimensions)`, 1 + u w and b, `(1 or batch, 1)`."""
        self._check_context(context)
        values = ops.convert_to_tensor(self.values)[None]
        if context is not None:
            values = values + ops.matmul(context, self.of_context)
        u, w, b = ops.split(values, [self.dimensions, 2 * self.dimensions], axis=-1)
        product = ops.sum(u * w, axis=-1, keepdims=True)
        above = ops.softplus(product + math.log(math.e - 1.0)) + 1e-30  # 1 + u w, which must be above 0
        return u + (above - 1.0 - product) * w / (ops.sum(w * w, axis=-1, keepdims=True) + 1e-12), w, above, b

    def forward(self, x, training=False, context=None):
        u, w, above, b = self._constants(context)
        bent = ops.tanh(ops.sum(x * w, axis=-1, keepdims=True) + b)
        return x + u * bent, ops.log(self._slope(bent, above))[:, 0]

    @staticmethod
    def _slope(bent, above):
        """1 + (u w) tanh', written so that nothing cancels where u w is near -1."""
        return bent**2 + (1.0 - bent**2) * above

    def inverse(self, y, context=None):
        u, w, above, b = self._constants(context)
        along = ops.sum(y * w, axis=-1, keepdims=True)
        # w x = a solves a + (w u) tanh(a + b) = w y; the left side rises with a, since w u > -1.
        rising = lambda a: a + (above - 1.0) * ops.tanh(a + b) - along  # noqa: E731
        slope = lambda a: self._slope(ops.tanh(a + b), above)  # noqa: E731
        reach = ops.abs(above - 1.0) + 1.0
        a = _bisect(rising, slope, along - reach, along + reach, _steps(y.dtype))
        return y - u * ops.tanh(a + b)


@_registered
class Radial(Bijector):
    """y = x + beta (x - x0) / (alpha + |x - x0|) of vectors (Rezende and Mohamed 2015, eq. 14), beta > -alpha (appendix A.2).

    Args:
        dimensions: int.
    """

    def __init__(self, dimensions, **kwargs):
        super().__init__(**kwargs)
        self.dimensions = dimensions
        normal = keras.initializers.RandomNormal(seed=random_seed())
        self.centre = self.add_weight(shape=(dimensions,), initializer=normal, name="centre")
        self.log_alpha = self.add_weight(shape=(), initializer="zeros", name="log_alpha")
        self.strength = self.add_weight(shape=(), initializer=keras.initializers.Constant(0.5413), name="strength")

    def _constants(self):
        alpha = ops.exp(ops.convert_to_tensor(self.log_alpha))
        return alpha, ops.softplus(ops.convert_to_tensor(self.strength)) - alpha

    def forward(self, x, training=False):
        alpha, beta = self._constants()
        away = x - self.centre
        radius = ops.sqrt(ops.sum(away**2, axis=-1, keepdims=True) + 1e-30)
        share = beta / (alpha + radius)
        along = 1.0 + share - share * radius / (alpha + radius)  # of the radius; all other directions stretch by 1 + share
        log_det = (self.dimensions - 1) * ops.log1p(share) + ops.log(along)
        return x + share * away, log_det[:, 0]

    def inverse(self, y):
        alpha, beta = self._constants()
        away = y - self.centre
        reached = ops.sqrt(ops.sum(away**2, axis=-1, keepdims=True) + 1e-30)
        rising = lambda radius: radius * (1.0 + beta / (alpha + radius)) - reached  # noqa: E731
        slope = lambda radius: 1.0 + alpha * beta / (alpha + radius) ** 2  # noqa: E731
        radius = _bisect(rising, slope, ops.zeros_like(reached), reached + ops.maximum(-beta, 0.0), _steps(y.dtype))
        return self.centre + away / (1.0 + beta / (alpha + radius))
