"""Residual convolutional networks (He et al. 2016, arXiv:1603.05027: normalisation and activation before convolution)."""

import keras
from keras import layers

from keras_genzoo.core.checks import image_size, whole
from keras_genzoo.networks.common import coarse_grid, code_heads, convolution, crop, normalized


def residual_block(x, filters, activation, normalization, name, spectral=False):
    """x + conv(act(norm(conv(act(norm(x)))))), with a 1x1 convolution on the shortcut where the channels change."""
    shortcut = x
    if x.shape[-1] != filters:
        shortcut = convolution(spectral)(filters, 1, name=f"{name}_shortcut")(x)
    for index in (1, 2):
        x = normalized(x, normalization, activation, f"{name}_{index}")
        x = convolution(spectral)(filters, 3, padding="same", name=f"{name}_conv{index}")(x)
    return layers.Add(name=name)([shortcut, x])


def residual_encoder(
    image_shape,
    latent_dim,
    width=32,
    depth=2,
    blocks=1,
    activation="relu",
    normalization="batch",
    heads=("code",),
    spectral=False,
    head_bias=True,
    name="encoder",
):
    """Images to codes: `depth` strided convolutions, each with `blocks` residual blocks behind it, then dense heads.

    Args:
        blocks: int. Residual blocks a level. Defaults to 1.
        image_shape, latent_dim, width, depth, activation, normalization, heads, spectral, head_bias, name: as in `conv_encoder`.

    Returns:
        A built `keras.Model`, images to float32 `(batch, latent_dim)`, or a tuple of these for several heads.
    """
    width, depth, blocks = whole(width=width, depth=depth, blocks=blocks)
    inputs = x = keras.Input(image_size(image_shape), name="image")
    for level in range(depth):
        x = convolution(spectral)(width * 2**level, 4, strides=2, padding="same", name=f"down{level + 1}")(x)
        for block in range(blocks):
            x = residual_block(x, width * 2**level, activation, normalization, f"down{level + 1}_block{block + 1}", spectral)
    x = normalized(x, normalization, activation, "last")
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, code_heads(x, latent_dim, heads, spectral, head_bias), name=name)


def residual_decoder(
    latent_dim,
    image_shape,
    width=32,
    depth=2,
    blocks=1,
    activation="relu",
    normalization="batch",
    output_activation=None,
    name="decoder",
):
    """Codes to images: the mirror of `residual_encoder`, cropped to sizes that 2^depth does not divide.

    Args:
        blocks: int. Residual blocks a level. Defaults to 1.
        latent_dim, image_shape, width, depth, activation, normalization, output_activation, name: as in `conv_decoder`.

    Returns:
        A built `keras.Model`, codes to float32 `(batch, height, width, channels)`.
    """
    latent_dim, width, depth, blocks = whole(latent_dim=latent_dim, width=width, depth=depth, blocks=blocks)
    height, columns, channels = image_size(image_shape)
    inputs = keras.Input((latent_dim,), name="code")
    x = coarse_grid(inputs, image_shape, depth, width * 2 ** (depth - 1))
    for level in range(depth, 0, -1):
        filters = width * 2 ** (level - 1)
        for block in range(blocks):
            x = residual_block(x, filters, activation, normalization, f"up{level}_block{block + 1}")
        if level > 1:
            x = layers.Conv2DTranspose(filters // 2, 4, strides=2, padding="same", name=f"up{level}")(x)
    x = normalized(x, normalization, activation, "last")
    x = layers.Conv2DTranspose(channels, 4, strides=2, padding="same", dtype="float32", name="up1")(x)
    x = crop(x, height, columns)
    if output_activation is not None:
        x = layers.Activation(output_activation, dtype="float32", name="output")(x)
    return keras.Model(inputs, x, name=name)
