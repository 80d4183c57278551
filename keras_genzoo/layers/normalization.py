"""Normalisation of activations: over batches, groups of channels, and whole images."""

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo.core import shares

_registered = keras.saving.register_keras_serializable("keras_genzoo")


@_registered
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's layer, which trains on images `(batch, height, width, channels)` by one fused operation in the place of a dozen."""

    def call(self, inputs, training=None, mask=None):
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        plain = mask is None and not self.renorm and not self.synchronized
        if not (training and self.trainable and plain and len(x.shape) == 4 and self.axis in (-1, 3) and x.dtype == "float32"):
            return super().call(inputs, training=training, mask=mask)
        channels = x.shape[-1]
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=ops.convert_to_tensor(self.gamma) if self.scale else tf.ones(channels),
            offset=ops.convert_to_tensor(self.beta) if self.center else tf.zeros(channels),
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=self.epsilon,
            is_training=True,
        )
        count = ops.cast(tf.size(x) / channels, "float32")
        variance = variance * (count - 1) / count  # of the batch, as Keras has it, and not the estimate of all images'
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return ops.cast(outputs, self.compute_dtype)


@_registered
class SynchronizedBatchNormalization(keras.layers.BatchNormalization):
    """Keras's layer with `synchronized=True`, by the statistics of the whole batch on several replicas; one without images of
    its own adds nothing to them."""

    def __init__(self, synchronized=True, **kwargs):
        super().__init__(synchronized=synchronized, **kwargs)

    def _moments(self, inputs, mask):
        own = shares.counts()
        if own is None or mask is not None:
            return super()._moments(inputs, mask)
        count = ops.cast(own, inputs.dtype) * ops.cast(tf.size(inputs) / inputs.shape[self.axis], inputs.dtype)
        mean, square = (ops.mean(each, axis=self._reduction_axes) for each in (inputs, ops.square(inputs)))
        context = tf.distribute.get_replica_context()
        total, mean, square = context.all_reduce(tf.distribute.ReduceOp.SUM, [count, count * mean, count * square])
        mean, square = mean / total, square / total
        return mean, ops.maximum(square - ops.square(mean), 0.0)


@_registered
class GroupNormalization(keras.layers.GroupNormalization):
    """Keras's layer for images `(batch, height, width, channels)` and vectors `(batch, channels)`, in one pass for the moments
    and one for the result: twice as fast on a CPU.

    The variance is E[x^2] - E[x]^2 in float32, so it is for activations whose mean is not thousands of deviations.
    """

    def call(self, x):
        channels = x.shape[-1]
        pixels = tuple(range(1, len(x.shape) - 1))
        values = ops.cast(x, "float32")
        grouped = self.groups, channels // self.groups

        def of_groups(each):
            each = ops.mean(each, axis=pixels) if pixels else each
            return ops.mean(ops.reshape(each, (-1, *grouped)), axis=-1, keepdims=True)

        mean = of_groups(values)
        variance = of_groups(ops.square(values)) - ops.square(mean)
        inverse = ops.rsqrt(ops.maximum(variance, 0.0) + self.epsilon)
        gamma, beta = (ops.reshape(ops.cast(each, "float32"), grouped) for each in (self.gamma, self.beta))
        # By broadcasting: to repeat the groups' moments takes 60 operations of a graph.
        scale = inverse * gamma
        shift = beta - mean * scale
        scale, shift = (ops.reshape(each, (-1, *(1 for _ in pixels), channels)) for each in (scale, shift))
        return ops.cast(values * scale + shift, self.compute_dtype)


@_registered
class ChannelNormalization(GroupNormalization):
    """Normalisation over all but the batch axis, with a scale and an offset per channel: one group."""

    def __init__(self, groups=1, **kwargs):
        super().__init__(groups=groups, **kwargs)

    @classmethod
    def from_config(cls, config):
        # In files of version 0.1.0 it is a LayerNormalization of Keras.
        return cls(**{name: value for name, value in config.items() if name not in ("axis", "rms_scaling")})
