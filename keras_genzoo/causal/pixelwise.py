"""Layers that see a pixel alone."""

import keras
from keras import ops

_registered = keras.saving.register_keras_serializable("keras_genzoo")


@_registered
class Gate(keras.layers.Layer):
    """activation(a) * sigmoid(b), with a the first half of the channels and b the second (van den Oord et al. 2016,
    arXiv:1606.05328, eq. 2).

    Args:
        activation: name, callable or None. Defaults to None, as in Salimans et al. 2017.
    """

    def __init__(self, activation=None, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)

    def call(self, x):
        a, b = ops.split(x, 2, axis=-1)
        return self.activation(a) * ops.sigmoid(b)

    def compute_output_shape(self, input_shape):
        return *input_shape[:-1], input_shape[-1] // 2

    def get_config(self):
        return {**super().get_config(), "activation": keras.activations.serialize(self.activation)}


@_registered
class ConcatELU(keras.layers.Layer):
    """elu of x and of -x, one behind the other along the channels (after Shang et al. 2016, arXiv:1603.05201)."""

    def call(self, x):
        return ops.elu(ops.concatenate([x, -x], axis=-1))

    def compute_output_shape(self, input_shape):
        return *input_shape[:-1], 2 * input_shape[-1]


@_registered
class AppendOnes(keras.layers.Layer):
    """One more channel, of ones: behind a padding by zeros it tells pixels from what lies around the image."""

    def call(self, x):
        return ops.concatenate([x, ops.ones_like(x[..., :1])], axis=-1)

    def compute_output_shape(self, input_shape):
        return *input_shape[:-1], input_shape[-1] + 1


@_registered
class LevelEmbedding(keras.layers.Layer):
    """A trained vector for each level of an image of one channel in [-1, 1], for levels that are names rather than amounts, such
    as the numbers of a codebook.

    Args:
        levels: int. Level k is the number 2 k / (levels - 1) - 1.
        dim: int. Dimensions of a vector.
    """

    def __init__(self, levels, dim, **kwargs):
        # Half precision does not tell some thousand levels apart.
        super().__init__(dtype="float32", **{key: value for key, value in kwargs.items() if key != "dtype"})
        self.levels, self.dim = levels, dim

    def build(self, input_shape):
        shape = (self.levels, self.dim)
        self.vectors = self.add_weight(shape=shape, initializer=keras.initializers.RandomNormal(stddev=1.0), name="vectors")

    def call(self, x):
        index = ops.cast(ops.round(0.5 * (x[..., 0] + 1.0) * (self.levels - 1)), "int32")
        return ops.matmul(ops.one_hot(index, self.levels, dtype="float32"), self.vectors)

    def compute_output_shape(self, input_shape):
        return *input_shape[:-1], self.dim

    def get_config(self):
        return {**super().get_config(), "levels": self.levels, "dim": self.dim}
