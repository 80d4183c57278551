"""Layers of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958): convolutions that a style modulates, kernels whose learning rates
are equalised, noise, and the filter (1, 3, 3, 1) around changes of size."""

import math

import keras
from keras import initializers, layers, ops

from keras_genzoo.core import randomness
from keras_genzoo.core.checks import whole

_registered = keras.saving.register_keras_serializable("keras_genzoo")
EPSILON = 1e-8


def filtered(x, pad, gain=1.0):
    """Maps through the filter (1, 3, 3, 1) / 8 along both sides, times `gain` along each, with `pad` zeros around them."""
    for axis in (1, 2):
        padded = ops.pad(x, [(pad, pad) if each == axis else (0, 0) for each in range(4)])
        cut = lambda first: padded[(slice(None),) * axis + (slice(first, first - 3 or None),)]  # noqa: B023, E731
        x = (cut(0) + cut(3)) * (gain / 8) + (cut(1) + cut(2)) * (3 * gain / 8)
    return x


def _per_pixel(vectors):
    """Vectors `(batch, channels)` as maps of one pixel."""
    return vectors[:, None, None]


@_registered
class Blur(layers.Layer):
    """The filter (1, 3, 3, 1) / 8 along both sides, before a convolution that halves them.

    Args:
        pad: int. Zeros before the first and behind the last pixel of a side, which becomes `2 * pad - 3` longer.
    """

    def __init__(self, pad, **kwargs):
        super().__init__(**kwargs)
        self.pad = pad

    def call(self, x):
        return filtered(x, self.pad)

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        return batch, *(side and side + 2 * self.pad - 3 for side in sides), channels

    def get_config(self):
        return {**super().get_config(), "pad": self.pad}


@_registered
class ScaledLeakyReLU(layers.LeakyReLU):
    """Leaky ReLU of slope 0.2 below 0, times the square root of 2."""

    def __init__(self, negative_slope=0.2, **kwargs):
        super().__init__(negative_slope, **kwargs)

    def call(self, x):
        return super().call(x) * math.sqrt(2)


@_registered
class PixelNormalization(layers.Layer):
    """Vectors over the root of their mean square (Karras et al. 2018, arXiv:1710.10196, section 4.2)."""

    def call(self, x):
        return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + EPSILON)

    def compute_output_shape(self, input_shape):
        return input_shape


@_registered
class Row(layers.Layer):
    """One row of `(batch, rows, dim)`: the style of a layer.

    Args:
        index: int.
    """

    def __init__(self, index, **kwargs):
        super().__init__(**kwargs)
        self.index = index

    def call(self, x):
        return x[:, self.index]

    def compute_output_shape(self, input_shape):
        return input_shape[0], input_shape[2]

    def get_config(self):
        return {**super().get_config(), "index": self.index}


@_registered
class LearnedConstant(layers.Layer):
    """The same learned maps `(rows, columns, channels)` for every row of an input, which is not looked at.

    Args:
        rows, columns, channels: ints.
    """

    def __init__(self, rows, columns, channels, **kwargs):
        super().__init__(**kwargs)
        self.shape_of_maps = rows, columns, channels

    def build(self, input_shape):
        self.constant = self.add_weight(
            shape=self.shape_of_maps, initializer=initializers.RandomNormal(stddev=1.0), name="constant"
        )

    def call(self, x):
        return ops.tile(ops.convert_to_tensor(self.constant)[None], (ops.shape(x)[0], 1, 1, 1))

    def compute_output_shape(self, input_shape):
        return input_shape[0], *self.shape_of_maps

    def get_config(self):
        return {**super().get_config(), **dict(zip(("rows", "columns", "channels"), self.shape_of_maps, strict=True))}


@_registered
class EqualizedDense(layers.Layer):
    """A dense layer that computes with `rate / sqrt(inputs)` times its kernel and `rate` times its bias (Karras et al. 2018,
    arXiv:1710.10196, section 4.1): a kernel is about 1, so that Adam changes all of them equally fast.

    Args:
        units: int.
        rate: float above 0. How much faster it learns than others. Defaults to 1.
        offset: float. What the bias is at first. Defaults to 0.
    """

    def __init__(self, units, rate=1.0, offset=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units, self.rate, self.offset = units, rate, offset

    def build(self, input_shape):
        kernel = initializers.RandomNormal(stddev=1.0 / self.rate)
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), initializer=kernel, name="kernel")
        offset = initializers.Constant(self.offset / self.rate)
        self.bias = self.add_weight(shape=(self.units,), initializer=offset, name="bias")

    def call(self, x):
        gain = self.rate / math.sqrt(self.kernel.shape[0])
        return ops.matmul(x, self.kernel * gain) + self.bias * self.rate

    def compute_output_shape(self, input_shape):
        return *input_shape[:-1], self.units

    def get_config(self):
        return {**super().get_config(), "units": self.units, "rate": self.rate, "offset": self.offset}


@_registered
class EqualizedConv2D(layers.Conv2D):
    """`keras.layers.Conv2D` that computes with 1 / sqrt(all inputs) times its kernel, which is standard normal at first."""

    def __init__(self, filters, kernel_size, padding="same", kernel_initializer=None, **kwargs):
        if kernel_initializer is None:
            kernel_initializer = initializers.RandomNormal(stddev=1.0)
        super().__init__(filters, kernel_size, padding=padding, kernel_initializer=kernel_initializer, **kwargs)

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel * (1.0 / math.sqrt(math.prod(kernel.shape[:-1]))))


@_registered
class ModulatedConv2D(layers.Layer):
    """A convolution whose kernel w a style modulates, for each image of its own, and demodulates (Karras et al. 2020,
    arXiv:1912.04958, section 2.2, eq. 1 and 3):

        w'_ijk  = s_i w_ijk
        w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2 + epsilon)

    Here i is the input channel, j the output channel and k a place of the kernel. So channels of independent inputs with variance
    1 leave with variance 1. As a convolution is linear, the input is scaled by s_i and the output by the root, which needs no
    kernel for each image. The learning rate is equalised as that of `EqualizedConv2D`. It takes the list of maps
    `(batch, height, width, channels)` and style `(batch, channels)`.

    Args:
        filters: int.
        kernel_size: int.
        up: bool. Whether it doubles the sides: a transposed convolution, and the filter (1, 3, 3, 1) after it. Defaults to False.
        demodulate: bool. Defaults to True.
    """

    def __init__(self, filters, kernel_size, up=False, demodulate=True, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.up, self.demodulate = filters, kernel_size, up, demodulate
        if up and kernel_size != 3:
            raise ValueError(f"{self.name} has up=True and a kernel_size of {kernel_size}, expected 3.")

    def build(self, input_shape):
        shape = (self.kernel_size, self.kernel_size, input_shape[0][-1], self.filters)
        self.kernel = self.add_weight(shape=shape, initializer=initializers.RandomNormal(stddev=1.0), name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, inputs):
        x, style = inputs
        kernel = self.kernel * (1.0 / math.sqrt(math.prod(self.kernel.shape[:-1])))
        x = x * _per_pixel(style)
        if self.up:
            x = ops.conv_transpose(x, ops.swapaxes(kernel, -1, -2), strides=2, padding="valid", data_format="channels_last")
            x = filtered(x, pad=1, gain=2.0)
        else:
            x = ops.conv(x, kernel, padding="same", data_format="channels_last")
        if self.demodulate:
            style, kernel = (ops.square(ops.cast(each, "float32")) for each in (style, kernel))
            norm = ops.rsqrt(ops.matmul(style, ops.sum(kernel, axis=(0, 1))) + EPSILON)
            x = x * _per_pixel(ops.cast(norm, x.dtype))
        return x + self.bias

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape[0]
        return batch, *(side and side * (2 if self.up else 1) for side in sides), self.filters

    def get_config(self):
        names = "filters", "kernel_size", "up", "demodulate"
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@_registered
class NoiseInjection(layers.Layer):
    """x + strength * noise, one map of normal noise for all channels, with a learned strength that is 0 at first (Karras et al.
    2019, arXiv:1812.04948, section 2).

    In training each image has new noise in every call. Otherwise all have the same, which is drawn with the weights, so that an
    image follows from its latents.

    Args:
        seed: int or None. None draws one. Defaults to None.
    """

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = randomness.random_seed() if seed is None else whole(0, seed=seed)

    def build(self, input_shape):
        self.strength = self.add_weight(shape=(), initializer="zeros", name="strength")
        constant = initializers.RandomNormal(stddev=1.0)
        self.map = self.add_weight(shape=(*input_shape[1:3], 1), initializer=constant, trainable=False, name="map")
        self.random = randomness.Stream(self.seed, randomness.counter(self, "drawn"))

    def call(self, x, training=False):
        noise = self.random.normal((*ops.shape(x)[:3], 1)) if training else ops.convert_to_tensor(self.map)
        return x + self.strength * ops.cast(noise, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


@_registered
class MinibatchStd(layers.Layer):
    """One more channel, the same in all pixels of an image: how much the images of its group differ (Karras et al. 2018,
    arXiv:1710.10196, section 3). It is the standard deviation over the group of each number of the maps, averaged over these.

    Of n images there are n // group groups, at least one, and image i is of group i modulo their number. On several replicas
    groups are of each one's images.

    Args:
        group: int. Images a group, or more where n is no multiple of it. Defaults to 4.
    """

    def __init__(self, group=4, **kwargs):
        super().__init__(**kwargs)
        self.group = whole(group=group)

    def call(self, x):
        n = ops.shape(x)[0]
        place = ops.arange(n) % ops.maximum(n // self.group, 1)
        same = ops.cast(place[:, None] == place[None], "float32")
        mean_of_group = same / ops.sum(same, axis=1, keepdims=True)
        values = ops.reshape(ops.cast(x, "float32"), (n, -1))
        centred = values - ops.matmul(mean_of_group, values)
        deviation = ops.sqrt(ops.matmul(mean_of_group, ops.square(centred)) + EPSILON)
        deviation = ops.cast(ops.mean(deviation, axis=1, keepdims=True), x.dtype)
        return ops.concatenate([x, ops.ones_like(x[..., :1]) * _per_pixel(deviation)], axis=-1)

    def compute_output_shape(self, input_shape):
        *others, channels = input_shape
        return *others, channels + 1

    def get_config(self):
        return {**super().get_config(), "group": self.group}
