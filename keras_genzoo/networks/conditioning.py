"""Layers that tell a network what an image is conditioned on: places, classes, and scales and shifts made of them."""

import keras
import numpy as np
from keras import ops

_registered = keras.saving.register_keras_serializable("keras_genzoo")


@_registered
def approximate_gelu(x):
    """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), the GELU of transformers (Hendrycks and Gimpel 2016, arXiv:1606.08415,
    section 2)."""
    return ops.gelu(x, approximate=True)


@_registered
class ScaleShift(keras.layers.Layer):
    """`x * (1 + scale) + shift`, of a pair of x `(batch, ..., channels)` and of shift and scale side by side, `(batch, 2 *
    channels)`.

    Behind a normalisation it is the adaptive one of Dhariwal and Nichol 2021 (arXiv:2105.05233, section 4.3) and of Peebles and
    Xie 2023 (arXiv:2212.09748, section 3.2).
    """

    def call(self, inputs):
        x, told = inputs
        told = ops.expand_dims(told, tuple(range(1, len(x.shape) - 1)))
        shift, scale = ops.split(told, 2, axis=-1)
        return x * (1.0 + scale) + shift

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@_registered
class PositionEmbedding(keras.layers.Layer):
    """Adds fixed sines and cosines of its column and its row to every place of a grid `(batch, rows, columns, channels)`.

    Of the channels, a quarter each are sines and cosines of the column, and of the row, with frequencies from 1 down to 1 / 10000
    (Peebles and Xie 2023, arXiv:2212.09748, section 3.2, as their published code has them). The channels are a multiple of four.
    """

    def build(self, input_shape):
        shape = tuple(input_shape[1:])
        if shape[-1] % 4:
            raise ValueError(
                f"there are {shape[-1]} channels, expected a multiple of 4 for sines and cosines of rows and columns."
            )
        table = sines_of_places(*shape)
        self.table = self.add_weight(
            shape=shape, initializer=lambda shape, dtype: ops.convert_to_tensor(table, dtype), trainable=False, name="table"
        )

    def call(self, x):
        return x + ops.cast(self.table, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


def sines_of_places(rows, columns, channels):
    """The table of `PositionEmbedding`, float64 `(rows, columns, channels)`."""
    frequencies = 10000.0 ** -(np.arange(channels // 4) / (channels // 4))
    row, column = np.indices((rows, columns))[..., None] * frequencies
    return np.concatenate([np.sin(column), np.cos(column), np.sin(row), np.cos(row)], axis=-1)


@_registered
class ClassEmbedding(keras.layers.Layer):
    """One-hot labels `(batch, classes)` to a learned vector each, `(batch, units)`; zeros, no label, to one more.

    Args:
        units: int.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        shape = (input_shape[-1] + 1, self.units)
        self.table = self.add_weight(shape=shape, initializer=keras.initializers.RandomNormal(stddev=0.02), name="table")

    def call(self, labels):
        without = 1.0 - ops.sum(labels, axis=-1, keepdims=True)
        return ops.matmul(ops.concatenate([labels, without], axis=-1), self.table)

    def compute_output_shape(self, input_shape):
        return input_shape[0], self.units

    def get_config(self):
        return {**super().get_config(), "units": self.units}
