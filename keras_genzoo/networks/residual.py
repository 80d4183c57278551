"""Residual convolutional networks (He et al. 2016, arXiv:1603.05027: normalisation and activation before convolution)."""

import keras
from keras import layers

from keras_genzoo.core.checks import image_size, whole
from keras_genzoo.networks.common import channels_of, coarse_grid, code_heads, convolution, crop, normalized


def residual_block(
    x,
    filters,
    activate,
    name,
    spectral=False,
    resize=None,
    between=None,
    dropout=0.0,
    initializer=None,
    pool=None,
    conv=None,
    keep=None,
    project=True,
):
    """x + conv(activate(conv(activate(x)))), with a 1x1 convolution on a shortcut that changes channels or sides.

    Args:
        x: tensor of Keras, `(batch, height, width, channels)`.
        filters: int. Channels that come out.
        activate: callable of a tensor and a name: normalisation and activation.
        name: str. Of the sum; the layers are named after it.
        spectral: bool. Whether the kernels have spectral norm 1. Defaults to False.
        resize: layer or None. Changes the sides, after the first activation. Defaults to None.
        between: callable of a tensor, called after the first convolution, or None. Defaults to None.
        dropout: float. Rate before the last convolution. Defaults to 0.
        initializer: Keras initializer of the last convolution's kernel; None is the layer's own. Defaults to None.
        pool: layer or None. Changes the sides, after the last convolution. Defaults to None.
        conv: class of convolutions, or a function that makes them; None is by `spectral`. Defaults to None.
        keep: callable of the tensor before dropout to what takes its place, as one of which less is kept, or None. Defaults to
            None.
        project: bool. Whether a shortcut that changes sides alone has a convolution too. Defaults to True.

    Returns:
        The pair of shortcut and change, to be added.
    """
    conv, shortcut = conv or convolution(spectral), x
    x = activate(x, f"{name}_1")
    if resize is not None:
        x, shortcut = resize(x), resize(shortcut)
    x = conv(filters, 3, padding="same", name=f"{name}_conv1")(x)
    x = activate(x if between is None else between(x), f"{name}_2")
    x = x if keep is None else keep(x)
    if dropout:
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    settings = {} if initializer is None else {"kernel_initializer": initializer}
    x = conv(filters, 3, padding="same", name=f"{name}_conv2", **settings)(x)
    if pool is not None:  # a 1x1 convolution may as well come behind it
        x, shortcut = pool(x), pool(shortcut)
    if shortcut.shape[-1] != filters or (project and (resize is not None or pool is not None)):
        shortcut = conv(filters, 1, padding="same", name=f"{name}_shortcut")(shortcut)
    return shortcut, x


def plain_block(x, filters, activation, normalization, name, spectral=False, resize=None):
    """A `residual_block` that is added up."""
    activate = lambda x, name: normalized(x, normalization, activation, name)  # noqa: E731
    return layers.Add(name=name)(residual_block(x, filters, activate, name, spectral, resize))


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
    """Images to codes: `depth` levels of residual blocks, of which the first halves the sides by the mean of 2x2 pixels and
    doubles the channels, up to eight times `width`; then dense heads.

    Args:
        blocks: int. Residual blocks a level. Defaults to 1.
        image_shape, latent_dim, width, depth, activation, normalization, heads, spectral, head_bias, name: as in `conv_encoder`.

    Returns:
        A built `keras.Model`, images to float32 `(batch, latent_dim)`, or a tuple of these for several heads.
    """
    width, depth, blocks = whole(width=width, depth=depth, blocks=blocks)
    inputs = keras.Input(image_size(image_shape), name="image")
    x = convolution(spectral)(width, 3, padding="same", name="first")(inputs)
    for level in range(depth):
        for block in range(blocks):
            name, half = f"down{level + 1}_block{block + 1}", None
            if block == 0:
                half = layers.AveragePooling2D(2, padding="same", name=f"down{level + 1}")
            x = plain_block(x, channels_of(width, level), activation, normalization, name, spectral, half)
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
    """Codes to images: the mirror of `residual_encoder`, whose levels end with a doubling by bilinear interpolation, cropped to
    sizes that 2^depth does not divide.

    Args:
        blocks: int. Residual blocks a level. Defaults to 1.
        latent_dim, image_shape, width, depth, activation, normalization, output_activation, name: as in `conv_decoder`.

    Returns:
        A built `keras.Model`, codes to float32 `(batch, height, width, channels)`.
    """
    latent_dim, width, depth, blocks = whole(latent_dim=latent_dim, width=width, depth=depth, blocks=blocks)
    height, columns, channels = image_size(image_shape)
    inputs = keras.Input((latent_dim,), name="code")
    x = coarse_grid(inputs, image_shape, depth, channels_of(width, depth - 1))
    for level in range(depth, 0, -1):
        for block in range(blocks):
            name, double = f"up{level}_block{block + 1}", None
            if block == blocks - 1:
                double = layers.UpSampling2D(interpolation="bilinear", name=f"up{level}")
            x = plain_block(x, channels_of(width, max(level - 2, 0)), activation, normalization, name, resize=double)
    x = normalized(x, normalization, activation, "last")
    x = layers.Conv2D(channels, 3, padding="same", dtype="float32", name="image")(x)
    x = crop(x, height, columns)
    if output_activation is not None:
        x = layers.Activation(output_activation, dtype="float32", name="output")(x)
    return keras.Model(inputs, x, name=name)
