"""The networks of R3GAN (Huang et al. 2024, arXiv:2501.05441, section 4 and appendix on architectures): residual blocks without
normalisation, whose inner convolution is grouped, between learned bases of the coarsest grid and bilinear changes of size."""

import math

import keras
import tensorflow as tf
from keras import initializers, layers, ops

from keras_genzoo.core.checks import image_size, whole, whole_or_none
from keras_genzoo.networks.common import crop

_registered = keras.saving.register_keras_serializable("keras_genzoo")
SLOPE = 0.2  # of the leaky ReLU below 0
TOGETHER = 128  # channels of a convolution on a CPU, of groups beside each other
FULL = 4  # coarsest stages of the full width; each finer one has half the channels


@_registered
class GroupedConv2D(layers.Conv2D):
    """`keras.layers.Conv2D` of stride 1 with `groups`, padded by zeros to the same size.

    TensorFlow has no such convolution on a CPU, and Keras compiles each call of one anew. There it is an ordinary convolution
    whose kernel is zero between the groups, of as many groups at a time as have `TOGETHER` channels.
    """

    def __init__(self, filters, kernel_size, padding="same", **kwargs):
        super().__init__(filters, kernel_size, padding=padding, **kwargs)
        steps = {*self.strides, *self.dilation_rate, *(size % 2 for size in self.kernel_size)}
        if self.padding != "same" or steps != {1}:
            raise ValueError(
                f"{self.name} has kernels of {self.kernel_size}, strides of {self.strides}, dilation of {self.dilation_rate} and "
                f"padding {self.padding!r}, expected odd kernels, 1, 1 and 'same'; take keras.layers.Conv2D."
            )

    def convolution_op(self, inputs, kernel):
        if tf.config.list_logical_devices("GPU"):
            return super().convolution_op(inputs, kernel)
        own = self.filters // self.groups
        together = max(
            count for count in range(1, self.groups + 1) if self.groups % count == 0 and (count == 1 or count * own <= TOGETHER)
        )
        kernel = ops.cast(ops.convert_to_tensor(kernel), inputs.dtype)
        parts = ops.split(inputs, self.groups // together, axis=-1), ops.split(kernel, self.groups // together, axis=-1)
        found = [ops.conv(x, _apart(part, together), padding="same") for x, part in zip(*parts, strict=True)]
        return found[0] if len(found) == 1 else ops.concatenate(found, axis=-1)


def _apart(kernel, groups):
    """A kernel of groups, `(rows, columns, inputs of a group, outputs)`, as that of all inputs: zero between groups."""
    rows, columns, inputs, outputs = kernel.shape
    kernel = ops.reshape(kernel, (rows, columns, 1, inputs, groups, outputs // groups))
    blocks = kernel * ops.reshape(ops.eye(groups, dtype=kernel.dtype), (groups, 1, groups, 1))
    return ops.reshape(blocks, (rows, columns, groups * inputs, outputs))


def _beside(x, axis):
    """Along an axis, what stands before each pixel and what stands behind it; zeros beyond the edges."""
    padded = ops.pad(x, [(1, 1) if each == axis else (0, 0) for each in range(4)])
    cut = lambda part: padded[(slice(None),) * axis + (part,)]  # noqa: E731
    return cut(slice(None, -2)), cut(slice(2, None))


@_registered
class BilinearUp(layers.Layer):
    """Twice the sides by the filter (1, 3, 3, 1) / 4 along each: bilinear interpolation, with zeros beyond the edges."""

    def call(self, x):
        for axis in (1, 2):
            before, after = _beside(x, axis)
            shape = [-1, *ops.shape(x)[1:]]
            shape[axis] = 2 * shape[axis]
            x = ops.reshape(ops.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1), shape)
        return x

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        return batch, *(side and 2 * side for side in sides), channels


@_registered
class BilinearDown(layers.Layer):
    """Half the sides, which are even, by the filter (1, 3, 3, 1) / 8 along each, with zeros beyond the edges."""

    def call(self, x):
        for axis in (1, 2):
            before, after = _beside(x, axis)
            even, odd = (
                each[(slice(None),) * axis + (slice(first, None, 2),)]
                for first, each in ((0, 0.375 * x + 0.125 * before), (1, 0.375 * x + 0.125 * after))
            )
            x = even + odd
        return x

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        return batch, *(side and side // 2 for side in sides), channels


@_registered
class Basis(layers.Layer):
    """Numbers `(batch, channels)` to maps `(batch, rows, columns, channels)`: each is the factor of a learned map.

    Args:
        rows, columns: ints.
    """

    def __init__(self, rows, columns, **kwargs):
        super().__init__(**kwargs)
        self.rows, self.columns = rows, columns

    def build(self, input_shape):
        shape = (self.rows, self.columns, input_shape[-1])
        self.basis = self.add_weight(shape=shape, initializer=initializers.RandomNormal(stddev=1.0), name="basis")

    def call(self, x):
        return ops.multiply(x[:, None, None], self.basis)

    def compute_output_shape(self, input_shape):
        return input_shape[0], self.rows, self.columns, input_shape[-1]

    def get_config(self):
        return {**super().get_config(), "rows": self.rows, "columns": self.columns}


@_registered
class Coefficients(layers.Layer):
    """Maps `(batch, rows, columns, channels)` to numbers `(batch, channels)`: the product of each with a learned map."""

    def build(self, input_shape):
        rows, columns, _ = shape = input_shape[1:]
        deviation = 1.0 / math.sqrt(rows * columns)
        self.basis = self.add_weight(shape=shape, initializer=initializers.RandomNormal(stddev=deviation), name="basis")

    def call(self, x):
        return ops.sum(ops.multiply(x, self.basis), axis=(1, 2))

    def compute_output_shape(self, input_shape):
        return input_shape[0], input_shape[-1]


def _msr(gain=1.0):
    """Kernels that keep the variance, times the square of the gain (He et al. 2015, arXiv:1502.01852)."""
    return initializers.VarianceScaling(gain**2, "fan_in", "untruncated_normal")


def _linear(filters, name, **settings):
    """A 1x1 convolution without bias."""
    return layers.Conv2D(filters, 1, name=name, **{"use_bias": False, "kernel_initializer": _msr(), **settings})


def _block(x, expansion, group, total, name):
    """x + linear(act(grouped(act(linear(x))))), wider inside, the last beginning at zero; the gain of the others falls with the
    number of all blocks, `total`^(-1/4) (Zhang et al. 2019, arXiv:1901.09321)."""
    channels, gain = x.shape[-1], math.sqrt(2 / (1 + SLOPE**2)) * total**-0.25
    wide = channels * expansion
    y = _linear(wide, f"{name}_expand", use_bias=True, kernel_initializer=_msr(gain))(x)
    y = layers.LeakyReLU(SLOPE, name=f"{name}_act1")(y)
    groups = wide // math.gcd(wide, group)
    y = GroupedConv2D(wide, 3, groups=groups, kernel_initializer=_msr(gain), name=f"{name}_grouped")(y)
    y = layers.LeakyReLU(SLOPE, name=f"{name}_act2")(y)
    return layers.Add(name=name)([x, _linear(channels, f"{name}_reduce", kernel_initializer="zeros")(y)])


def _channels(width, stage):
    """Channels of a stage, 0 the coarsest."""
    return max(1, width >> max(0, stage - FULL + 1))


def r3gan_generator(
    latent_dim, image_shape, num_classes=None, width=64, depth=3, blocks=2, expansion=2, group=16, name="generator"
):
    """Noise to images, about in [-1, 1] and not bounded: the factors of a learned basis of the coarsest grid, and stages of
    residual blocks, of which each but the first doubles the sides.

    Args:
        latent_dim: int. Dimensions of the noise.
        image_shape: `(height, width, channels)`, any sizes.
        num_classes: int or None. With classes the network takes the pair of noise and one-hot labels, of which it joins as many
            learned numbers to the noise. Defaults to None.
        width: int. Channels of the four coarsest stages; each finer one has half as many. Defaults to 64.
        depth: int. Number of doublings. Defaults to 3.
        blocks: int. Residual blocks a stage. Defaults to 2.
        expansion: int. How many times as many channels the inner convolution has. Defaults to 2.
        group: int. Channels of a group of the inner convolution, at most. Defaults to 16.
        name: str. Defaults to "generator".

    Returns:
        A built `keras.Model`, to float32 `(batch, height, width, channels)`.

    Example:

    >>> gz.networks.r3gan_generator(64, (32, 32, 3)).output_shape
    (None, 32, 32, 3)
    """
    latent_dim, width, depth, blocks = whole(latent_dim=latent_dim, width=width, depth=depth, blocks=blocks)
    expansion, group, num_classes = *whole(expansion=expansion, group=group), whole_or_none(num_classes=num_classes)
    height, columns, channels = image_size(image_shape)
    inputs = [keras.Input((latent_dim,), name="noise")]
    x = inputs[0]
    if num_classes is not None:
        inputs.append(keras.Input((num_classes,), name="labels"))
        of_class = layers.Dense(latent_dim, use_bias=False, kernel_initializer=_msr(), name="class")(inputs[1])
        x = layers.Concatenate(name="noise_and_class")([x, of_class])
    x = layers.Dense(width, use_bias=False, kernel_initializer=_msr(), name="factors")(x)
    x = Basis(*(math.ceil(side / 2**depth) for side in (height, columns)), name="basis")(x)
    for stage in range(depth + 1):
        if x.shape[-1] != _channels(width, stage):
            x = _linear(_channels(width, stage), f"up{stage}_channels")(x)
        x = BilinearUp(name=f"up{stage}")(x) if stage else x
        for block in range(1, blocks + 1):
            x = _block(x, expansion, group, blocks * (depth + 1), f"stage{stage}_block{block}")
    x = _linear(channels, "image", dtype="float32")(x)
    return keras.Model(inputs, crop(x, height, columns), name=name)


def r3gan_critic(image_shape, num_classes=None, width=64, depth=3, blocks=2, expansion=2, group=16, name="critic"):
    """Images in [-1, 1] to a score: the mirror of `r3gan_generator`.

    Args:
        image_shape: `(height, width, channels)`, any sizes.
        num_classes: int or None. With classes the network takes the pair of images and one-hot labels, and the score is the
            product of `width` features with a learned vector of the class. Defaults to None.
        width, depth, blocks, expansion, group: as of `r3gan_generator`.
        name: str. Defaults to "critic".

    Returns:
        A built `keras.Model`, to float32 `(batch, 1)`.

    Example:

    >>> gz.networks.r3gan_critic((32, 32, 3)).output_shape
    (None, 1)
    """
    width, depth, blocks = whole(width=width, depth=depth, blocks=blocks)
    expansion, group, num_classes = *whole(expansion=expansion, group=group), whole_or_none(num_classes=num_classes)
    height, columns, _ = image_shape = image_size(image_shape)
    inputs = [keras.Input(image_shape, name="image")]
    x = inputs[0]
    over = [-side % 2**depth for side in (height, columns)]
    if any(over):
        x = layers.ZeroPadding2D([(each // 2, each - each // 2) for each in over], name="pad")(x)
    x = _linear(_channels(width, depth), "first")(x)
    for stage in range(depth, -1, -1):
        for block in range(1, blocks + 1):
            x = _block(x, expansion, group, blocks * (depth + 1), f"stage{stage}_block{block}")
        x = BilinearDown(name=f"down{stage}")(x) if stage else x
        if stage and x.shape[-1] != _channels(width, stage - 1):
            x = _linear(_channels(width, stage - 1), f"down{stage}_channels")(x)
    settings = {"use_bias": False, "dtype": "float32"}
    x = Coefficients(name="coefficients")(x)
    if num_classes is None:
        score = layers.Dense(1, kernel_initializer=_msr(), name="score", **settings)(x)
        return keras.Model(inputs, score, name=name)
    inputs.append(keras.Input((num_classes,), name="labels"))
    features = layers.Dense(width, kernel_initializer=_msr(), name="features", **settings)(x)
    of_class = layers.Dense(width, kernel_initializer=_msr(1.0 / math.sqrt(width)), name="class", **settings)(inputs[1])
    return keras.Model(inputs, layers.Dot(1, dtype="float32", name="score")([features, of_class]), name=name)
