"""Small layers that the network factories share."""

import keras
from keras import ops

_registered = keras.saving.register_keras_serializable("keras_genzoo")


@_registered
class SoftBound(keras.layers.Layer):
    """`limit * tanh(x / limit)`: the identity near zero, and never beyond the limit, so that an exponential stays finite.

    Args:
        limit: float. The bound.
    """

    def __init__(self, limit, **kwargs):
        super().__init__(**kwargs)
        self.limit = limit

    def call(self, x):
        return self.limit * ops.tanh(x / self.limit)

    def get_config(self):
        return {**super().get_config(), "limit": self.limit}


@_registered
class ChannelNormalization(keras.layers.LayerNormalization):
    """Layer normalisation over all but the batch axis, with a scale and an offset per channel (group norm, one group)."""

    def call(self, x):
        axes = tuple(range(1, len(x.shape)))
        x32 = ops.cast(x, "float32")
        mean, variance = ops.moments(x32, axes, keepdims=True)
        y = (x32 - mean) * ops.rsqrt(variance + self.epsilon) * self.gamma + self.beta
        return ops.cast(y, self.compute_dtype)
