"""Strided convolutions down to a code and transposed ones back up, in the manner of DCGAN (Radford et al. 2015)."""

import keras
from keras import layers

from keras_genzoo.core.checks import image_size, whole
from keras_genzoo.layers import SoftBound
from keras_genzoo.networks.common import (
    channels_of,
    coarse_grid,
    code_heads,
    convolution,
    crop,
    dense,
    normalized,
    up_convolution,
)
from keras_genzoo.networks.residual import plain_block


def _down(x, width, depth, activation, normalization, spectral=False):
    """`depth` strided convolutions that halve the sides and double the channels, up to eight times `width`."""
    for level in range(depth):
        x = convolution(spectral)(
            channels_of(width, level), 4, strides=2, padding="same", use_bias=normalization is None, name=f"down{level + 1}"
        )(x)
        x = normalized(x, normalization, activation, f"down{level + 1}")
    return x


def _up(x, image_shape, width, depth, activation, normalization, output_activation, spectral=False):
    """`depth` transposed convolutions that double the sides, the last to an image in float32."""
    height, columns, channels = image_shape
    for level in range(depth - 1, 0, -1):
        x = up_convolution(spectral)(
            channels_of(width, level - 1),
            4,
            strides=2,
            padding="same",
            use_bias=normalization is None,
            name=f"up{level + 1}",
        )(x)
        x = normalized(x, normalization, activation, f"up{level + 1}")
    x = up_convolution(spectral)(channels, 4, strides=2, padding="same", dtype="float32", name="up1")(x)
    x = crop(x, height, columns)
    return x if output_activation is None else layers.Activation(output_activation, dtype="float32", name="output")(x)


def _from_codes(latent_dim, image_shape, width, depth, activation, normalization, hidden, spectral):
    """The input of codes, and the coarsest feature map that a decoder begins with."""
    latent_dim = whole(latent_dim=latent_dim)
    inputs = x = keras.Input((latent_dim,), name="code")
    if hidden:
        x = normalized(dense(spectral)(hidden, name="hidden")(x), None, activation, "hidden")
    x = coarse_grid(x, image_shape, depth, channels_of(width, depth - 1), spectral)
    return inputs, normalized(x, normalization, activation, "grid")


def conv_encoder(
    image_shape,
    latent_dim,
    width=32,
    depth=2,
    activation="relu",
    normalization="batch",
    hidden=0,
    heads=("code",),
    spectral=False,
    head_bias=True,
    name="encoder",
):
    """Images to codes: `depth` strided convolutions that halve the sides and double the channels, up to eight times `width`, then
    dense heads.

    Args:
        image_shape: `(height, width, channels)`, any sizes.
        latent_dim: int. Dimensions of the code.
        width: int. Channels of the first convolution. Defaults to 32.
        depth: int. Number of halvings. Defaults to 2.
        activation: name or callable. Defaults to "relu".
        normalization: None, "batch", "synchronized_batch", "layer" or "channel". Defaults to "batch".
        hidden: int. Units of a dense layer before the heads; 0 is none. Defaults to 0.
        heads: names of the outputs; "log_variance" is bounded to +-10. Defaults to `("code",)`.
        spectral: bool. Whether the kernels have spectral norm 1 (`layers.SpectralConv2D`). Defaults to False.
        head_bias: bool. Whether the heads have a bias. Defaults to True.
        name: str. Name of the network. Defaults to "encoder".

    Returns:
        A built `keras.Model`, images to float32 `(batch, latent_dim)`, or a tuple of these for several heads.

    Example:

    >>> conv_encoder((33, 21, 5), 16, heads=("mu", "log_variance"))
    """
    width, depth = whole(width=width, depth=depth)
    inputs = x = keras.Input(image_size(image_shape), name="image")
    x = layers.Flatten(name="flatten")(_down(x, width, depth, activation, normalization, spectral))
    if hidden:
        x = normalized(dense(spectral)(hidden, name="hidden")(x), None, activation, "hidden")
    return keras.Model(inputs, code_heads(x, latent_dim, heads, spectral, head_bias), name=name)


def conv_decoder(
    latent_dim,
    image_shape,
    width=32,
    depth=2,
    activation="relu",
    normalization="batch",
    hidden=0,
    output_activation=None,
    spectral=False,
    name="decoder",
):
    """Codes to images: the mirror of `conv_encoder`, cropped to sizes that 2^depth does not divide.

    Args:
        latent_dim: int. Dimensions of the code.
        image_shape: `(height, width, channels)` of the output; the channels may be a likelihood's several per channel.
        width: int. Channels before the last layer. Defaults to 32.
        depth: int. Number of doublings. Defaults to 2.
        activation, normalization: of the layers before the last, as in `conv_encoder`.
        hidden: int. Units of a dense layer on the codes; 0 is none. Defaults to 0.
        output_activation: name, callable or None. Defaults to None.
        spectral: bool. Whether the kernels have spectral norm 1. Defaults to False.
        name: str. Name of the network. Defaults to "decoder".

    Returns:
        A built `keras.Model`, codes to float32 `(batch, height, width, channels)`.
    """
    image_shape = image_size(image_shape)
    width, depth = whole(width=width, depth=depth)
    inputs, x = _from_codes(latent_dim, image_shape, width, depth, activation, normalization, hidden, spectral)
    x = _up(x, image_shape, width, depth, activation, normalization, output_activation, spectral)
    return keras.Model(inputs, x, name=name)


def skip_decoder(
    latent_dim,
    image_shape,
    width=32,
    depth=2,
    activation="relu",
    normalization="batch",
    hidden=0,
    output_activation=None,
    spectral=False,
    name="decoder",
):
    """Codes to images: the sum of one image of each size, enlarged (the output skips of StyleGAN2, Karras et al. 2020,
    arXiv:1912.04958, section 4.1).

    Features and images are doubled by bilinear interpolation, and convolved after, so that no pattern of strides is seen, as that
    of transposed convolutions is. A step takes longer than of `conv_decoder`.

    Args:
        latent_dim, image_shape, width, depth, activation, normalization, hidden, output_activation, spectral, name: as in
            `conv_decoder`.

    Returns:
        A built `keras.Model`, codes to float32 `(batch, height, width, channels)`.
    """
    height, columns, channels = image_shape = image_size(image_shape)
    width, depth = whole(width=width, depth=depth)
    inputs, x = _from_codes(latent_dim, image_shape, width, depth, activation, normalization, hidden, spectral)
    image = convolution(spectral)(channels, 3, padding="same", dtype="float32", name="image")(x)
    for level in range(depth, 0, -1):
        x = layers.UpSampling2D(interpolation="bilinear", name=f"larger{level}")(x)
        filters = channels_of(width, max(level - 2, 0))
        x = convolution(spectral)(filters, 3, padding="same", use_bias=normalization is None, name=f"up{level}")(x)
        x = normalized(x, normalization, activation, f"up{level}")
        image = layers.UpSampling2D(interpolation="bilinear", dtype="float32", name=f"larger_image{level}")(image)
        detail = convolution(spectral)(channels, 3, padding="same", dtype="float32", name=f"detail{level}")(x)
        image = layers.Add(dtype="float32", name=f"image{level}")([image, detail])
    x = crop(image, height, columns)
    if output_activation is not None:
        x = layers.Activation(output_activation, dtype="float32", name="output")(x)
    return keras.Model(inputs, x, name=name)


def grid_encoder(
    image_shape,
    channels,
    width=32,
    depth=2,
    activation="relu",
    normalization="batch",
    blocks=0,
    heads=("grid",),
    name="encoder",
):
    """Images to a grid of vectors: as `conv_encoder`, with 1x1 convolutions in the place of the dense heads.

    Args:
        image_shape: `(height, width, channels)`, any sizes.
        channels: int. Dimensions of a vector.
        width, depth, activation, normalization: as in `conv_encoder`.
        blocks: int. Residual blocks at the size of the grid. Defaults to 0.
        heads: names of the outputs; "log_variance" is bounded to +-10. Defaults to `("grid",)`.
        name: str. Name of the network. Defaults to "encoder".

    Returns:
        A built `keras.Model`, to float32 `(batch, height / 2^depth, width / 2^depth, channels)`, sides rounded up, or a tuple of
        these for several heads.
    """
    channels, width, depth = whole(channels=channels, width=width, depth=depth)
    inputs = keras.Input(image_size(image_shape), name="image")
    x = _blocks(_down(inputs, width, depth, activation, normalization), blocks, activation, normalization)
    outputs = []
    for head in heads:
        z = layers.Conv2D(channels, 1, dtype="float32", name=head)(x)
        outputs.append(SoftBound(10.0, dtype="float32", name=f"{head}_bound")(z) if head == "log_variance" else z)
    return keras.Model(inputs, outputs[0] if len(outputs) == 1 else tuple(outputs), name=name)


def grid_decoder(
    image_shape,
    channels,
    width=32,
    depth=2,
    activation="relu",
    normalization="batch",
    output_activation=None,
    blocks=0,
    name="decoder",
):
    """A grid of vectors to images: the mirror of `grid_encoder`; arguments as there and in `conv_decoder`.

    Returns:
        A built `keras.Model`, to float32 `(batch, height, width, channels)`.
    """
    channels, width, depth = whole(channels=channels, width=width, depth=depth)
    height, columns, _ = image_shape = image_size(image_shape)
    grid = -(-height // 2**depth), -(-columns // 2**depth), channels
    inputs = keras.Input(grid, name="code")
    x = layers.Conv2D(channels_of(width, depth - 1), 3, padding="same", use_bias=normalization is None, name="grid")(inputs)
    x = _blocks(normalized(x, normalization, activation, "grid"), blocks, activation, normalization)
    return keras.Model(inputs, _up(x, image_shape, width, depth, activation, normalization, output_activation), name=name)


def _blocks(x, blocks, activation, normalization):
    """So many residual blocks, and what makes of their sum what a layer behind an activation is."""
    for index in range(1, whole(0, blocks=blocks) + 1):
        x = plain_block(x, x.shape[-1], activation, normalization, f"block{index}")
    return normalized(x, normalization, activation, "blocks") if blocks else x
