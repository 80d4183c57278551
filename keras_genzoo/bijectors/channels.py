"""Layers that act on the channels of every pixel, or on a vector."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo.bijectors.base import Bijector, no_change
from keras_genzoo.core.randomness import random_seed

ENOUGH = 32  # numbers for the variance of a channel
LARGEST_SCALE = 100.0  # of the beginning
_registered = keras.saving.register_keras_serializable("keras_genzoo")


@_registered
class ActNorm(Bijector):
    """y = (x + bias) exp(log_scale), a channel each; of the rows of data that it first sees, mean 0 and variance 1 (Glow, Kingma
    and Dhariwal 2018, arXiv:1807.03039, section 3.1).

    Where a channel has fewer than 32 numbers, its variance is drawn towards the mean of all channels', the more the fewer it has.
    Where no channel varies at all, all are taken to have variance 1. Scales begin at 100 at most.

    Args:
        channels: int.
        from_data: bool. Whether it begins so; else it begins as the identity. Defaults to True.
    """

    def __init__(self, channels, from_data=True, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self.from_data = self.fitted = from_data
        self.bias, self.log_scale = (
            self.add_weight(shape=(channels,), initializer="zeros", name=name) for name in ("bias", "log_scale")
        )

    def forward(self, x, training=False):
        log_scale = ops.convert_to_tensor(self.log_scale)
        pixels = math.prod(x.shape[1:-1])
        y = (x + self.bias) * ops.exp(log_scale)
        return y, pixels * ops.sum(log_scale) + no_change(x)

    def inverse(self, y):
        return y * ops.exp(-ops.convert_to_tensor(self.log_scale)) - self.bias

    def initialize(self, x):
        if not self.from_data:
            return super().initialize(x)
        axes = tuple(range(len(x.shape) - 1))
        mean, variance = ops.moments(x, axes)
        pooled, numbers = ops.mean(variance), ops.cast(ops.size(x) / self.channels, x.dtype)
        thin = ops.maximum(1.0 - numbers / ENOUGH, 0.0)
        variance = variance + thin * (pooled - variance)
        variance = ops.where(pooled > 1e-12 * ops.mean(ops.square(mean)), variance, 1.0)
        self.bias.assign(-mean)
        self.log_scale.assign(-0.5 * ops.log(ops.maximum(variance, LARGEST_SCALE**-2)))
        return super().initialize(x)


@_registered
class InvertibleConvolution(Bijector):
    """y = W x at every pixel, W = P L (U + diag(sign exp(log_scale))), from a random rotation on (Glow, section 3.2, eq. 10).

    Args:
        channels: int.
    """

    def __init__(self, channels, **kwargs):
        import scipy.linalg

        super().__init__(**kwargs)
        self.channels = channels
        rotation = np.linalg.qr(np.random.default_rng(random_seed()).normal(size=(channels, channels)))[0]
        permutation, lower, upper = scipy.linalg.lu(rotation)
        diagonal = np.diag(upper)
        values = {"lower": lower, "upper": upper, "log_scale": np.log(np.abs(diagonal))}
        fixed = {"permutation": permutation, "sign": np.sign(diagonal)}
        for name, value in {**values, **fixed}.items():
            # By an initializer, since several workers share what variables begin with, and not what is assigned to them.
            initial = lambda shape, dtype, value=value: ops.convert_to_tensor(value, dtype)  # noqa: E731
            setattr(self, name, self.add_weight(shape=value.shape, initializer=initial, trainable=name in values, name=name))

    def _factors(self):
        lower, upper, log_scale = (ops.convert_to_tensor(v) for v in (self.lower, self.upper, self.log_scale))
        ones = ops.eye(self.channels, dtype=lower.dtype)
        lower = ops.tril(lower, -1) + ones
        return lower, ops.triu(upper, 1) + ops.diag(self.sign * ops.exp(log_scale)), log_scale

    def forward(self, x, training=False):
        lower, upper, log_scale = self._factors()
        matrix = ops.matmul(self.permutation, ops.matmul(lower, upper))
        return ops.matmul(x, ops.transpose(matrix)), math.prod(x.shape[1:-1]) * ops.sum(log_scale) + no_change(x)

    def inverse(self, y):
        lower, upper, _ = self._factors()
        columns = ops.transpose(ops.reshape(y, (-1, self.channels)))
        columns = tf.linalg.triangular_solve(lower, ops.matmul(ops.transpose(self.permutation), columns))
        columns = tf.linalg.triangular_solve(upper, columns, lower=False)
        return ops.reshape(ops.transpose(columns), ops.shape(y))


@_registered
class Permutation(Bijector):
    """The channels in another order.

    Args:
        order: list of ints, of each channel of y that of x.
    """

    def __init__(self, order, **kwargs):
        super().__init__(**kwargs)
        if sorted(order) != list(range(len(order))):
            raise ValueError(f"order is {list(order)}, expected each number from 0 to {len(order) - 1} once.")
        self.order = [int(channel) for channel in order]

    def forward(self, x, training=False):
        return ops.take(x, self.order, axis=-1), no_change(x)

    def inverse(self, y):
        return ops.take(y, np.argsort(self.order).tolist(), axis=-1)
