"""Pairs of a generator and a critic, made of the encoders and decoders, with classes where asked for."""

import keras
from keras import layers

from keras_genzoo.core.checks import image_size, whole
from keras_genzoo.networks.common import channels_of, normalized, projection
from keras_genzoo.networks.conditions import condition_input
from keras_genzoo.networks.convolutional import conv_decoder, conv_encoder, skip_decoder
from keras_genzoo.networks.mlp import mlp
from keras_genzoo.networks.residual import residual_decoder, residual_encoder

# By kind: from codes to images, and from images to codes.
KINDS = {
    "dense": (mlp, mlp),
    "convolutional": (conv_decoder, conv_encoder),
    "skip": (skip_decoder, conv_encoder),
    "residual": (residual_decoder, residual_encoder),
}


def _factory(kind, index):
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}.")
    return KINDS[kind][index]


def generator(latent_dim, image_shape, num_classes=None, kind="convolutional", name="generator", condition_dim=None, **settings):
    """Noise to images in [-1, 1].

    Args:
        latent_dim: int. Dimensions of the noise.
        image_shape: `(height, width, channels)`, any sizes.
        num_classes: int or None. With classes the network takes the pair of noise and one-hot labels, joined. Defaults to
            None.
        kind: "convolutional" (`conv_decoder`), "skip" (`skip_decoder`), "residual" (`residual_decoder`) or "dense" (`mlp`).
            Defaults to "convolutional".
        name: str. Defaults to "generator".
        condition_dim: int or None. Length of a vector that is joined too, behind the label if there is one. Defaults to None.
        **settings: of that factory: `width`, `depth`, `activation`, `normalization`, ...

    Returns:
        A built `keras.Model`, to float32 `(batch, height, width, channels)`.
    """
    latent_dim, condition = whole(latent_dim=latent_dim), condition_input(num_classes, condition_dim)
    decoder = _factory(kind, 0)
    if condition is None:
        return decoder(latent_dim, image_shape, output_activation="tanh", name=name, **settings)
    body = decoder(latent_dim + condition.shape[-1], image_shape, output_activation="tanh", name="body", **settings)
    inputs = keras.Input((latent_dim,), name="noise"), condition
    return keras.Model(inputs, body(layers.Concatenate(name="noise_and_labels")(inputs)), name=name)


def critic(
    image_shape,
    units=1,
    num_classes=None,
    kind="convolutional",
    spectral=False,
    name="critic",
    condition_dim=None,
    **settings,
):
    """Images in [-1, 1] to a score, or to features.

    With classes the score is a projection (Miyato and Koyama 2018, arXiv:1802.05637, eq. 3): a linear function of 128 features
    phi(x), plus the product of phi(x) with a learned vector of the class. Each of several features is such a projection, with
    vectors of its own. With vectors of numbers the product is with a linear function of them.

    Args:
        image_shape: `(height, width, channels)`, any sizes.
        units: int. 1, a score, or the number of features for objectives that take these. Defaults to 1.
        num_classes: int or None. With classes the network takes the pair of images and one-hot labels. Defaults to None.
        kind: "convolutional" or "skip" (`conv_encoder`), "residual" (`residual_encoder`) or "dense" (`mlp`). Defaults to
            "convolutional".
        spectral: bool. Whether all kernels have spectral norm 1. Defaults to False.
        name: str. Defaults to "critic".
        condition_dim: int or None. Length of a vector behind the label, if there is one. Defaults to None.
        **settings: of that factory: `width`, `depth`, `activation`, `normalization`, ...

    Returns:
        A built `keras.Model`, to float32 `(batch, units)`.
    """
    units, condition = whole(units=units), condition_input(num_classes, condition_dim)
    encoder = _factory(kind, 1)
    # A score without a bias: most objectives look at differences of scores alone, and would never train it.
    settings = {"activation": "leaky_relu", "normalization": None, "head_bias": False, **settings}
    if condition is None:
        head = "score" if units == 1 else "features"
        return encoder(image_shape, units, heads=(head,), spectral=spectral, name=name, **settings)
    body = encoder(image_shape, 128, heads=("features",), spectral=spectral, name="body", **settings | {"head_bias": True})
    inputs = keras.Input(body.input_shape[1:], name="image"), condition
    features = layers.Activation(settings["activation"], dtype="float32", name="phi")(body(inputs[0]))
    return keras.Model(inputs, projection(features, inputs[1], units, spectral), name=name)


def patch_critic(image_shape, width=64, depth=3, normalization="batch", name="critic"):
    """Images in [-1, 1] to a score of each patch of them (PatchGAN, Isola et al. 2017, arXiv:1611.07004, appendix 6.1.2).

    `depth` convolutions halve the sides and double the channels, and two more do not. A score sees 16 x 16 pixels with a depth of
    1, 34 x 34 with 2, and 70 x 70 with 3, the published size.

    Args:
        image_shape: `(height, width, channels)`, any sizes.
        width: int. Channels of the first convolution. Defaults to 64.
        depth: int. Number of halvings. Defaults to 3.
        normalization: None, "batch", "synchronized_batch", "layer" or "channel", of all hidden layers but the first. Defaults to
            "batch".
        name: str. Defaults to "critic".

    Returns:
        A built `keras.Model`, to float32 `(batch, rows, columns, 1)`. The last convolution has no bias, which the hinge loss
        would leave where it begins.

    Example:

    >>> gz.networks.patch_critic((32, 32, 3), width=8, depth=1).output_shape
    (None, 16, 16, 1)
    """
    width, depth = whole(width=width, depth=depth)
    inputs = x = keras.Input(image_size(image_shape), name="image")
    settings = {"padding": "same", "kernel_initializer": keras.initializers.RandomNormal(stddev=0.02)}
    for level in range(depth + 1):
        kind = normalization if level else None
        strides, label = (2, f"down{level + 1}") if level < depth else (1, "hidden")
        x = layers.Conv2D(channels_of(width, level), 4, strides=strides, use_bias=kind is None, name=label, **settings)(x)
        x = normalized(x, kind, "leaky_relu", label)
    x = layers.Conv2D(1, 4, use_bias=False, dtype="float32", name="scores", **settings)(x)
    return keras.Model(inputs, x, name=name)
