"""The diffusion transformer, DiT (Peebles and Xie 2023, arXiv:2212.09748)."""

import functools

import keras
from keras import layers

from keras_genzoo.core.checks import image_size, whole, whole_or_none
from keras_genzoo.layers import DepthToSpace, SelfAttention, SpaceToDepth, TimeEmbedding
from keras_genzoo.networks.common import again, check_attention, crop, pad
from keras_genzoo.networks.conditioning import ClassEmbedding, PositionEmbedding, ScaleShift, approximate_gelu
from keras_genzoo.networks.conditions import told_vector

_zeros = functools.partial(layers.Dense, kernel_initializer="zeros")


def _small(units, **settings):
    return layers.Dense(units, kernel_initializer=keras.initializers.RandomNormal(stddev=0.02), **settings)


def _normalized(x, condition, name):
    """Layer normalisation, scaled and shifted by what is made of the condition; by nothing at first."""
    told = _zeros(2 * x.shape[-1], name=f"{name}_told")(condition)
    x = layers.LayerNormalization(epsilon=1e-6, center=False, scale=False, name=f"{name}_norm")(x)
    return ScaleShift(name=f"{name}_scaled")([x, told])


def _change(x, change, condition, name):
    """x and a change of it times a gate that the condition opens; it is closed at first (adaLN-zero)."""
    gate = layers.Reshape((1, x.shape[-1]), name=f"{name}_gate")(_zeros(x.shape[-1], name=f"{name}_opens")(condition))
    return layers.Add(name=name)([x, layers.Multiply(name=f"{name}_gated")([change, gate])])


def _block(x, condition, heads, ratio, name):
    """Attention between all places, and then a network of two layers at each of them."""
    width = x.shape[-1]
    y = _normalized(x, condition, f"{name}_attention")
    x = _change(x, SelfAttention(heads, "glorot_uniform", name=f"{name}_heads")(y), condition, f"{name}_seen")
    y = _normalized(x, condition, f"{name}_mlp")
    y = layers.Dense(ratio * width, activation=approximate_gelu, name=f"{name}_mlp_1")(y)
    return _change(x, layers.Dense(width, name=f"{name}_mlp_2")(y), condition, name)


def dit(
    image_shape,
    width=384,
    depth=12,
    heads=6,
    patch=2,
    ratio=4,
    learned_variance=False,
    num_classes=None,
    remat=False,
    time_embedding=None,
    name="dit",
    condition_dim=None,
):
    """Noisy images, or codes with height and width, and times to outputs of the images' shape, by a transformer of patches.

    The published sizes have `patch=2`, and `(width, depth, heads)` of (384, 12, 6) for S, (768, 12, 12) for B, (1024, 24, 16) for
    L and (1152, 28, 16) for XL (table 1).

    Args:
        image_shape: `(height, width, channels)`, any sizes; sides that `patch` does not divide are padded inside.
        width: int. Channels of a patch, a multiple of 4 and of `heads`. Defaults to 384.
        depth: int. Number of blocks. Defaults to 12.
        heads: int. Heads of the attention. Defaults to 6.
        patch: int. Side of the squares of pixels that become one place: with twice the side there are a quarter of the places.
            Defaults to 2.
        ratio: int. Units of the layers between attentions, over `width`. Defaults to 4.
        learned_variance: bool. Whether to put out twice the channels, of which the second half tells variances, see `Diffusion`.
            Defaults to False.
        num_classes: int or None. With classes a third input takes one-hot labels; zeros stand for no label. Defaults to None.
        remat: bool. Whether what a block holds inside is computed again for the gradient and not kept: less memory, a third more
            time. Defaults to False.
        time_embedding: dict or None. Arguments of `layers.TimeEmbedding`, as `{"offset": -1.0}` where steps are counted from 0.
            Defaults to None, cosines first and frequencies that do not reach 1 / 10000.
        name: str. Defaults to "dit".
        condition_dim: int or None. As of `unet`. Defaults to None.

    Returns:
        A built `keras.Model` of `(images, times)`, or `(images, times, condition)`, with times `(batch,)` of about 0 to 1, to
        float32 `(batch, height, width, channels)`, or twice the channels. A fresh one puts out zeros.

    Raises:
        ValueError: sizes that are no positive whole numbers; a width that is no multiple of 4 and of the heads.

    Example:

    >>> dit((33, 21, 5), width=32, depth=2, heads=4)
    """
    width, depth, heads, patch, ratio = whole(width=width, depth=depth, heads=heads, patch=patch, ratio=ratio)
    num_classes, condition_dim = whole_or_none(num_classes=num_classes, condition_dim=condition_dim)
    height, columns, channels = image_size(image_shape)
    if width % heads or width % 4:
        raise ValueError(f"width is {width} and heads {heads}, expected a width that is a multiple of 4 and of the heads.")
    check_attention([-(-side // patch) for side in (height, columns)], heads)
    inputs = [keras.Input((height, columns, channels), name="image"), keras.Input((), name="time")]
    settings = {"shift": 0.0, "cosines_first": True} | (time_embedding or {})
    told = TimeEmbedding(256, **settings, name="time_embedding")(inputs[1])
    told = _small(width, name="time_2")(_small(width, activation="silu", name="time_1")(told))
    if condition_dim is not None:
        condition, of_condition = told_vector(num_classes, condition_dim, width)
        inputs.append(condition)
        told = layers.Add(name="time_and_told")([told, of_condition])
    elif num_classes is not None:
        inputs.append(keras.Input((num_classes,), name="labels"))
        told = layers.Add(name="time_and_class")([told, ClassEmbedding(width, name="class")(inputs[2])])
    condition = layers.Activation("silu", name="condition")(told)
    x = pad(inputs[0], patch)
    x = SpaceToDepth(patch, name="squares")(x) if patch > 1 else x
    x = PositionEmbedding(name="places")(layers.Dense(width, name="patches")(x))
    rows, across = x.shape[1:3]
    x = layers.Reshape((rows * across, width), name="flat")(x)
    for index in range(1, depth + 1):
        y = _block(x, condition, heads, ratio, f"block{index}")
        x = again([x, condition], y, f"block{index}_again") if remat else y
    x = _normalized(x, condition, "last")
    x = _zeros(patch**2 * channels * (1 + bool(learned_variance)), dtype="float32", name="last")(x)
    x = layers.Reshape((rows, across, x.shape[-1]), dtype="float32", name="grid")(x)
    x = DepthToSpace(patch, dtype="float32", name="pixels")(x) if patch > 1 else x
    return keras.Model(inputs, crop(x, height, columns), name=name)
