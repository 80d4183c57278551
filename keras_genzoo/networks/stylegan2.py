"""The networks of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958, sections 2 and 4): a mapping of noise to styles, a generator
of modulated convolutions with output skips, and a residual critic."""

import math

import keras
from keras import layers

from keras_genzoo.core.checks import image_size, real, whole
from keras_genzoo.networks.common import crop
from keras_genzoo.networks.r3gan import BilinearDown, BilinearUp
from keras_genzoo.networks.styled import (
    Blur,
    EqualizedConv2D,
    EqualizedDense,
    LearnedConstant,
    MinibatchStd,
    ModulatedConv2D,
    NoiseInjection,
    PixelNormalization,
    Row,
    ScaledLeakyReLU,
)


def _channels(width, full, stage):
    """Channels of a stage, 0 the coarsest."""
    return max(1, width >> max(0, stage - full + 1))


def stylegan2_mapping(latent_dim, style_dim=64, depth=2, rate=0.01, name="mapping"):
    """Noise to styles: fully connected layers on noise of mean square 1 (Karras et al. 2019, arXiv:1812.04948, section 2).

    Args:
        latent_dim: int. Dimensions of the noise.
        style_dim: int. Dimensions of a style, and units of every layer. Defaults to 64.
        depth: int. Number of layers. Defaults to 2.
        rate: float above 0. How much faster the layers learn than others. Defaults to 0.01.
        name: str. Defaults to "mapping".

    Returns:
        A built `keras.Model`, to float32 `(batch, style_dim)`.

    Example:

    >>> gz.networks.stylegan2_mapping(64).output_shape
    (None, 64)
    """
    latent_dim, style_dim, depth = whole(latent_dim=latent_dim, style_dim=style_dim, depth=depth)
    rate = real(above=0, rate=rate)
    noise = keras.Input((latent_dim,), name="noise")
    x = PixelNormalization(dtype="float32", name="normalised")(noise)
    for layer in range(1, depth + 1):
        x = EqualizedDense(style_dim, rate, dtype="float32", name=f"dense{layer}")(x)
        x = ScaledLeakyReLU(dtype="float32", name=f"dense{layer}_act")(x)
    return keras.Model(noise, x, name=name)


def _modulated(x, styles, row, filters, size, name, **settings):
    """A modulated convolution with an affine map of its style, of which the bias is 1 at first."""
    style = Row(row, dtype="float32", name=f"{name}_style")(styles)
    style = EqualizedDense(x.shape[-1], offset=1.0, dtype="float32", name=f"{name}_affine")(style)
    return ModulatedConv2D(filters, size, name=name, **settings)([x, style])


def _styled(x, styles, row, filters, name, up=False):
    x = _modulated(x, styles, row, filters, 3, name, up=up)
    return ScaledLeakyReLU(name=f"{name}_act")(NoiseInjection(name=f"{name}_noise")(x))


def stylegan2_generator(style_dim, image_shape, width=32, depth=3, full=4, name="generator"):
    """Styles to images, about in [-1, 1] and not bounded: each stage but the first doubles the sides, and an image is the sum of
    what every stage puts out, enlarged by the filter (1, 3, 3, 1).

    Args:
        style_dim: int. Dimensions of a style.
        image_shape: `(height, width, channels)`, any sizes.
        width: int. Channels of the coarsest stages. Defaults to 32.
        depth: int. Number of doublings. Defaults to 3.
        full: int. How many coarsest stages have all channels; each finer one has half as many. Defaults to 4.
        name: str. Defaults to "generator".

    Returns:
        A built `keras.Model`, from styles of `2 * depth + 2` layers, `(batch, layers, style_dim)`, to float32
        `(batch, height, width, channels)`.

    Example:

    >>> gz.networks.stylegan2_generator(64, (32, 32, 3)).output_shape
    (None, 32, 32, 3)
    """
    style_dim, width, depth, full = whole(style_dim=style_dim, width=width, depth=depth, full=full)
    height, columns, channels = image_size(image_shape)
    styles = keras.Input((2 * depth + 2, style_dim), name="styles")
    grid = (math.ceil(side / 2**depth) for side in (height, columns))
    x, image = LearnedConstant(*grid, _channels(width, full, 0), name="constant")(styles), None
    for stage in range(depth + 1):
        filters = _channels(width, full, stage)
        if stage:
            x = _styled(x, styles, 2 * stage - 1, filters, f"stage{stage}_up", up=True)
        x = _styled(x, styles, 2 * stage, filters, f"stage{stage}_conv")
        shown = _modulated(x, styles, 2 * stage + 1, channels, 1, f"stage{stage}_image", demodulate=False, dtype="float32")
        if image is not None:
            image = BilinearUp(dtype="float32", name=f"stage{stage}_enlarged")(image)
            shown = layers.Add(dtype="float32", name=f"stage{stage}_sum")([image, shown])
        image = shown
    return keras.Model(styles, crop(image, height, columns), name=name)


def _conv(x, filters, size, name, **settings):
    return ScaledLeakyReLU(name=f"{name}_act")(EqualizedConv2D(filters, size, name=name, **settings)(x))


def _down(x, filters, residual, name):
    """Half the sides: two convolutions, and with `residual` beside them one of 1x1 pixels, of all of which the sum has the
    variance of one."""
    y = _conv(x, x.shape[-1], 3, f"{name}_conv1")
    y = _conv(Blur(2, name=f"{name}_blur")(y), filters, 3, f"{name}_conv2", strides=2, padding="valid")
    if not residual:
        return y
    x = BilinearDown(name=f"{name}_smaller")(x)
    x = EqualizedConv2D(filters, 1, use_bias=False, name=f"{name}_skip")(x)
    return layers.Rescaling(math.sqrt(0.5), name=name)(layers.Add(name=f"{name}_sum")([x, y]))


def stylegan2_critic(image_shape, width=32, depth=3, full=4, residual=True, group=4, name="critic"):
    """Images in [-1, 1] to a score: residual blocks that halve the sides, the standard deviation of groups of images as one more
    channel, and two fully connected layers.

    Args:
        image_shape: `(height, width, channels)`, any sizes.
        width, depth, full: as of `stylegan2_generator`, of halvings.
        residual: bool. Whether blocks have a shortcut. Defaults to True.
        group: int. Images of a group, see `MinibatchStd`. Defaults to 4.
        name: str. Defaults to "critic".

    Returns:
        A built `keras.Model`, to float32 `(batch, 1)`.

    Example:

    >>> gz.networks.stylegan2_critic((32, 32, 3)).output_shape
    (None, 1)
    """
    width, depth, full, group = whole(width=width, depth=depth, full=full, group=group)
    height, columns, _ = image_shape = image_size(image_shape)
    image = x = keras.Input(image_shape, name="image")
    over = [-side % 2**depth for side in (height, columns)]
    if any(over):
        x = layers.ZeroPadding2D([(each // 2, each - each // 2) for each in over], name="pad")(x)
    x = _conv(x, _channels(width, full, depth), 1, "first")
    for stage in range(depth, 0, -1):
        x = _down(x, _channels(width, full, stage - 1), residual, f"stage{stage}")
    x = MinibatchStd(group, dtype="float32", name="deviation")(x)
    x = EqualizedConv2D(_channels(width, full, 0), 3, dtype="float32", name="last")(x)
    x = layers.Flatten(dtype="float32", name="flat")(ScaledLeakyReLU(dtype="float32", name="last_act")(x))
    x = EqualizedDense(_channels(width, full, 0), dtype="float32", name="features")(x)
    x = ScaledLeakyReLU(dtype="float32", name="features_act")(x)
    return keras.Model(image, EqualizedDense(1, dtype="float32", name="score")(x), name=name)
