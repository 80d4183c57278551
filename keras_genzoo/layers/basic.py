"""Small layers that the network factories share."""

import functools
import math

import keras
import numpy as np
import tensorflow as tf
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

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "limit": self.limit}


@_registered
class SelfAttention(keras.layers.Layer):
    """Every row of `(batch, rows, channels)` looks at every other. A fresh one puts out zeros, so that a shortcut around it is
    the identity.

    Keras's `MultiHeadAttention` has one initializer for all of its projections. Here the last begins at zero, as in the code of
    Ho et al. 2020 (arXiv:2006.11239).

    Args:
        heads: int. Each works in channels // heads dimensions.
        initializer: name of the Keras initializer of the last projection's kernel. Defaults to "zeros".
    """

    def __init__(self, heads, initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.heads, self.initializer = heads, initializer

    def build(self, input_shape):
        channels = input_shape[-1]
        self.size = channels // self.heads
        if not self.size:
            raise ValueError(f"heads is {self.heads}, expected at most the {channels} channels.")
        dense = functools.partial(keras.layers.Dense, dtype=self.dtype_policy)
        self.projections = [dense(self.heads * self.size, name=name) for name in ("query", "key", "value")]
        self.last = dense(channels, kernel_initializer=self.initializer, name="last")
        for projection in self.projections:
            projection.build(input_shape)
        self.last.build((*input_shape[:-1], self.heads * self.size))

    def call(self, x):
        rows = ops.shape(x)[1]  # an int where it is known
        flat = ops.reshape(x, (-1, x.shape[-1]))  # products of matrices are a few operations of a graph, of tensors thirty
        query, key, value = (ops.reshape(each(flat), (-1, rows, self.heads, self.size)) for each in self.projections)
        likeness = ops.einsum("bqhd,bkhd->bhqk", query * self.size**-0.5, key)
        seen = ops.softmax(ops.cast(likeness, "float32"), axis=-1)
        mixed = ops.einsum("bhqk,bkhd->bqhd", ops.cast(seen, value.dtype), value)
        return ops.reshape(self.last(ops.reshape(mixed, (-1, self.heads * self.size))), (-1, rows, x.shape[-1]))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "initializer": self.initializer}


@_registered
class Rematerialized(keras.layers.Layer):
    """A network of which nothing inside is kept for the gradient: going back, it computes it once more (Chen et al. 2016,
    arXiv:1604.06174). Memory falls, and time rises by that of a forward pass; values and gradients are the same.

    Args:
        network: keras.Model, or what keeps its config, of floating tensors to one tensor; see `check_rematerialized`.
    """

    def __init__(self, network, **kwargs):
        super().__init__(**kwargs)
        if isinstance(network, dict):
            network = keras.saving.deserialize_keras_object(network)
        self.network = check_rematerialized(network)
        self.built = True

    def call(self, inputs, training=False):
        inputs = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        return keras.remat(lambda *each: self.network(list(each), training=training))(*inputs)

    def compute_output_shape(self, input_shape):
        shapes = input_shape if isinstance(input_shape[0], (list, tuple)) else [input_shape]
        return self.network.compute_output_shape(list(shapes))

    def get_config(self):
        return {**super().get_config(), "network": keras.saving.serialize_keras_object(self.network)}


def check_rematerialized(network):
    """The network, after a ValueError is raised if computing it twice would change it, as batch statistics and dropout do."""
    trained = {id(each) for each in network.trainable_variables}
    counted = [each.path for each in network.variables if id(each) not in trained]
    if counted and network.trainable:
        raise ValueError(
            f"remat computes {network.name} twice, which would change {counted[0]} twice; take a normalization that is not of "
            f"batches and no dropout, or remat=False."
        )
    return network


@_registered
class SpaceToDepth(keras.layers.Layer):
    """Squares of `size` x `size` pixels to channels, `(batch, height / size, width / size, channels * size^2)`."""

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, x):
        return tf.nn.space_to_depth(x, self.size)

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        return batch, *(side and side // self.size for side in sides), channels * self.size**2

    def get_config(self):
        return {**super().get_config(), "size": self.size}


@_registered
class DepthToSpace(SpaceToDepth):
    """The inverse of `SpaceToDepth`."""

    def call(self, x):
        return tf.nn.depth_to_space(x, self.size)

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        return batch, *(side and side * self.size for side in sides), channels // self.size**2


class _Unquantized:
    """Mixin of a layer that computes with another kernel than the one it holds, which a quantised call would not know."""

    def quantize(self, mode=None, **kwargs):
        raise NotImplementedError(
            f"{type(self).__name__} {self.name!r} cannot be quantised to {mode}, as it makes its kernel anew in each call, and "
            f"stays as it is; other layers can."
        )

    def build(self, input_shape):
        if isinstance(self.dtype_policy, keras.dtype_policies.QuantizedDTypePolicy):
            raise ValueError(
                f"the dtype policy of {type(self).__name__} {self.name!r} is {self.dtype_policy.name!r}, expected one that "
                f"is not quantised, such as 'float32', as it makes its kernel anew in each call."
            )
        super().build(input_shape)


class _Spectral(_Unquantized):
    """Mixin of a layer with a kernel: computes with W / sigma(W), sigma its largest singular value as a matrix of all inputs by
    outputs (Miyato et al. 2018, arXiv:1802.05957, section 2.1), by one power iteration a training call. The gradient sees
    sigma too."""

    def build(self, input_shape):
        rank = getattr(self, "lora_rank", None)
        if rank:  # which Keras would enable in `build`, and then let nobody add a weight
            self.lora_rank = None
        super().build(input_shape)
        outputs = self.as_matrix(self._kernel).shape[-1]
        self.direction = self.add_weight(
            shape=(outputs,), dtype="float32", initializer="random_normal", trainable=False, name="direction"
        )
        if rank:
            self.enable_lora(rank, lora_alpha=self.lora_alpha)

    def as_matrix(self, kernel):
        """All inputs by outputs."""
        return ops.reshape(kernel, (-1, kernel.shape[-1]))

    def call(self, x, training=False):
        matrix = self.as_matrix(ops.cast(ops.convert_to_tensor(self.kernel), "float32"))
        constant = ops.stop_gradient(matrix)
        u = ops.convert_to_tensor(self.direction)
        v = _unit(ops.matmul(constant, u))
        if training:
            u = _unit(ops.matmul(v, constant))
            self.direction.assign(u)
            v = _unit(ops.matmul(constant, u))
        else:
            u = _unit(u)
        self._sigma = ops.sum(v * ops.matmul(matrix, u))
        try:
            return super().call(x)
        finally:
            self._sigma = None

    @property
    def kernel(self):
        kernel = getattr(super(), "kernel", None)  # with LoRA, where that is enabled
        kernel = self._kernel if kernel is None else kernel
        return kernel if self._sigma is None else kernel / ops.cast(self._sigma, kernel.dtype)

    @kernel.setter
    def kernel(self, kernel):
        self._kernel = kernel  # as most of Keras's layers call it themselves

    _sigma = None  # of the call that is being traced

    # Keras's own of these layers know of kernels and biases alone.

    def save_own_variables(self, store):
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        keras.layers.Layer.load_own_variables(self, store)


def _unit(v):
    return v / (ops.norm(v) + 1e-12)


@_registered
class SpectralConv2D(_Spectral, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with a kernel of spectral norm 1. The layer of Keras of that name overwrites the weights instead."""


@_registered
class SpectralConv2DTranspose(_Spectral, keras.layers.Conv2DTranspose):
    """A transposed convolution whose kernel has spectral norm 1."""

    def as_matrix(self, kernel):
        return super().as_matrix(ops.swapaxes(kernel, -1, -2))  # which has the outputs before the inputs


@_registered
class SpectralDense(_Spectral, keras.layers.Dense):
    """`keras.layers.Dense` with a kernel of spectral norm 1."""


@_registered
class TimeEmbedding(keras.layers.Layer):
    """Sines and cosines of times, of geometric frequencies (Vaswani et al. 2017, arXiv:1706.03762, section 3.5), `(batch, dim)`.

    Args:
        dim: int.
        scale: float. What times are multiplied with first, so that times of 0 to 1 are told apart as well as DDPM's 1,000
            steps. Defaults to 1000.
        offset: float. What is added then: -1 counts 1,000 steps from 0. Defaults to 0.
        shift: float. The frequencies are 10000^(-i / (n - shift)) for i from 0 to n - 1. With 1 they end at 1 / 10000. Defaults
            to 1.
        cosines_first: bool. Whether cosines stand before sines. Defaults to False.
    """

    def __init__(self, dim, scale=1000.0, offset=0.0, shift=1.0, cosines_first=False, **kwargs):
        super().__init__(dtype="float32", **{key: value for key, value in kwargs.items() if key != "dtype"})
        self.dim, self.scale, self.offset, self.shift, self.cosines_first = dim, scale, offset, shift, cosines_first

    def call(self, t):
        half = (self.dim + 1) // 2
        over = half - self.shift if half > self.shift else 1.0
        frequencies = ops.exp(-math.log(10000.0) * ops.arange(half, dtype="float32") / over)
        angles = (self.scale * ops.cast(t, "float32")[:, None] + self.offset) * frequencies
        pair = [ops.sin(angles), ops.cos(angles)]
        return ops.concatenate(pair[::-1] if self.cosines_first else pair, axis=-1)[:, : self.dim]

    def compute_output_shape(self, input_shape):
        return input_shape[0], self.dim

    def get_config(self):
        own = {name: getattr(self, name) for name in ("dim", "scale", "offset", "shift", "cosines_first")}
        return {**super().get_config(), **own}


@_registered
class MaskedDense(_Unquantized, keras.layers.Dense):
    """`keras.layers.Dense` of which unit j sees input i only where `inputs[i] <= outputs[j]` (Germain et al. 2015,
    arXiv:1502.03509, eq. 12).

    Args:
        units: int.
        inputs, outputs: lists of ints, the degrees of inputs and units.
        **kwargs: of `keras.layers.Dense`.
    """

    def __init__(self, units, inputs, outputs, **kwargs):
        super().__init__(units, **kwargs)
        self.degrees = inputs, outputs
        self._mask = (np.asarray(inputs)[:, None] <= np.asarray(outputs)[None]).astype("float32")

    def call(self, x, training=None):
        y = ops.matmul(x, self.kernel * ops.cast(self._mask, self.compute_dtype))
        return self.activation(y + self.bias if self.use_bias else y)

    # Keras casts inputs and variables to the compute dtype in `call` alone.

    def _cast(self, *tensors):
        return [ops.cast(ops.convert_to_tensor(each), self.compute_dtype) for each in tensors]

    def of_input(self, index):
        """What a unit of input `index` adds to each output before the activation, `(units,)`, in the compute dtype."""
        kernel, mask = self._cast(tf.gather(ops.convert_to_tensor(self.kernel), index), tf.gather(self._mask, index))
        return kernel * mask

    def some(self, x, start, count):
        """The outputs `start` to `start + count` alone, `(batch, count)`, as `call` computes them."""
        part = lambda each: tf.slice(ops.convert_to_tensor(each), (0, start), (-1, count))  # noqa: E731
        x, kernel, mask = self._cast(x, part(self.kernel), part(self._mask))
        y = ops.matmul(x, kernel * mask)
        if self.use_bias:
            y = y + self._cast(tf.slice(ops.convert_to_tensor(self.bias), (start,), (count,)))[0]
        return self.activation(y)

    def get_config(self):
        return {**super().get_config(), "inputs": self.degrees[0], "outputs": self.degrees[1]}
