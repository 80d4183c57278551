"""The U-Net of diffusion models (Ronneberger et al. 2015; as in Ho et al. 2020, arXiv:2006.11239, appendix B), and DDPM++ (Song
et al. 2021, arXiv:2011.13456, appendix H)."""

import math

import keras
from keras import layers

from keras_genzoo.core.checks import image_size, whole, whole_or_none
from keras_genzoo.layers import DepthToSpace, GroupNormalization, SelfAttention, SpaceToDepth, TimeEmbedding
from keras_genzoo.networks.common import again, check_attention, crop, pad
from keras_genzoo.networks.residual import residual_block


def _norm(x, groups, name):
    # The largest number of groups up to `groups` that divides the channels and leaves four in each: a group of one channel
    # forgets what time added to it.
    groups = next(count for count in range(max(min(groups, x.shape[-1] // 4), 1), 0, -1) if x.shape[-1] % count == 0)
    return GroupNormalization(groups, epsilon=1e-6, name=name)(x)


def _convolution(filters, kernel, name, **settings):
    return layers.Conv2D(filters, kernel, padding="same", name=name, **settings)


def _sum(x, change, kind, name):
    """x + change; in DDPM++ over sqrt(2), so that variances stay."""
    x = layers.Add(name=name)([x, change])
    return layers.Rescaling(math.sqrt(0.5), name=f"{name}_rescaled")(x) if kind == "ddpm++" else x


def _block(x, embedded, filters, groups, dropout, kind, name, resize=None, remat=False):
    """A `residual_block` to which the time is told between its convolutions, of which the second begins at zero, so that a
    fresh block is its shortcut."""

    def activate(x, name):
        return layers.Activation("silu", name=f"{name}_act")(_norm(x, groups, f"{name}_norm"))

    def shifted(x):
        shift = layers.Dense(filters, name=f"{name}_time")(embedded)
        return layers.Add(name=f"{name}_shifted")([x, layers.Reshape((1, 1, filters), name=f"{name}_shift")(shift)])

    # Dropout stays outside: it would be another one the second time.
    keep = (lambda y: again([x, embedded], y, f"{name}_again")) if remat else None
    settings = {"resize": resize, "between": shifted, "dropout": dropout, "initializer": "zeros", "keep": keep}
    return _sum(*residual_block(x, filters, activate, name, **settings), kind, name)


def _attention(x, heads, groups, kind, name, remat=False):
    """Every pixel looks at every other; the change begins at zero."""
    rows, columns, channels = x.shape[1:]
    y = layers.Reshape((rows * columns, channels), name=f"{name}_flat")(_norm(x, groups, f"{name}_norm"))
    y = SelfAttention(heads, name=f"{name}_heads")(y)
    y = layers.Reshape((rows, columns, channels), name=f"{name}_pixels")(y)
    y = again([x], y, f"{name}_again") if remat else y
    return _sum(x, y, kind, name)


def unet(
    image_shape,
    width=32,
    multipliers=(1, 2, 2),
    blocks=1,
    attention=(),
    heads=1,
    groups=8,
    dropout=0.0,
    num_classes=None,
    patch=1,
    kind="ddpm",
    learned_variance=False,
    remat=False,
    name="unet",
):
    """Noisy images and times to outputs of the images' shape, such as the noise or the velocity.

    Args:
        image_shape: `(height, width, channels)`, any sizes; sides that do not halve are padded inside.
        width: int. Channels of the first level. Defaults to 32.
        multipliers: ints. Channels of each level over `width`; each level but the first halves the sides. Defaults to
            (1, 2, 2).
        blocks: int. Residual blocks a level on the way down; one more on the way up. Defaults to 1.
        attention: ints. Levels, from 0, at which every block is followed by self-attention; the middle has one whenever there
            are any. Defaults to none.
        heads: int. Heads of the attention. Defaults to 1.
        groups: int. Groups of the normalisation, at most; of at least four channels. Defaults to 8.
        dropout: float. Rate of dropout inside the blocks. Defaults to 0.
        patch: int. Side of the squares of pixels that are joined to channels before the first level, and taken apart after the
            last: with 2, a quarter of the work. Defaults to 1.
        kind: "ddpm", or "ddpm++": blocks halve and double the sides instead of single convolutions, sums with a shortcut are
            divided by sqrt(2), and on the way up there is attention after a level's last block only. Defaults to "ddpm".
        remat: bool. Whether what blocks and attention hold inside is computed again for the gradient and not kept: less memory, a
            third more time. Defaults to False.
        num_classes: int or None. With classes a third input takes one-hot labels; zeros stand for no label. Defaults to None.
        learned_variance: bool. Whether it puts out the variance of each number behind the prediction, as twice the channels, of
            models with `timesteps`. Defaults to False.
        name: str. Defaults to "unet".

    Returns:
        A built `keras.Model` of `(images, times)`, or `(images, times, labels)`, with times `(batch,)` of about 0 to 1, to
        float32 `(batch, height, width, channels)`, or twice the channels. A fresh one puts out zeros.

    Example:

    >>> unet((33, 21, 5), width=16, multipliers=(1, 2), attention=(1,))
    """
    width, blocks, heads, groups, patch = whole(width=width, blocks=blocks, heads=heads, groups=groups, patch=patch)
    num_classes = whole_or_none(num_classes=num_classes)
    height, columns, channels = image_size(image_shape)
    levels = len(multipliers)
    if kind not in ("ddpm", "ddpm++"):
        raise ValueError(f"kind is {kind!r}, expected 'ddpm' or 'ddpm++'.")
    if not levels or not set(attention) <= set(range(levels)):
        raise ValueError(f"attention is {attention} and multipliers {multipliers}, expected levels from 0 to {levels - 1}.")
    if attention:
        check_attention([-(-side // (patch * 2 ** min(attention))) for side in (height, columns)], heads)
    inputs = [keras.Input((height, columns, channels), name="image"), keras.Input((), name="time")]
    embedded = layers.Dense(4 * width, "silu", name="time_1")(TimeEmbedding(width, name="time_embedding")(inputs[1]))
    embedded = layers.Dense(4 * width, name="time_2")(embedded)
    if num_classes is not None:
        inputs.append(keras.Input((num_classes,), name="labels"))
        of_class = layers.Dense(4 * width, use_bias=False, name="class")(inputs[2])
        embedded = layers.Add(name="time_and_class")([embedded, of_class])
    embedded = layers.Activation("silu", name="condition")(embedded)

    plus = kind == "ddpm++"

    def block(x, filters, name, resize=None):
        return _block(x, embedded, filters, groups, dropout, kind, name, resize, remat)

    def stage(x, level, name, attend=True):
        x = block(x, width * multipliers[level], name)
        return _attention(x, heads, groups, kind, f"{name}_attention", remat) if attend and level in attention else x

    x = pad(inputs[0], patch * 2 ** (levels - 1))
    if patch > 1:
        x = SpaceToDepth(patch, name="patches")(x)
    x = _convolution(width, 3, "first")(x)
    skips = [x]
    for level in range(levels):
        for index in range(blocks):
            x = stage(x, level, f"down{level}_{index}")
            skips.append(x)
        if level < levels - 1:
            if plus:
                x = block(x, x.shape[-1], f"down{level}_halve", layers.AveragePooling2D(2, name=f"down{level}_pool"))
            else:
                x = _convolution(x.shape[-1], 3, f"down{level}_halve", strides=2)(x)
            skips.append(x)
    last = width * multipliers[-1]
    x = block(x, last, "middle_1")
    x = _attention(x, heads, groups, kind, "middle_attention", remat) if attention else x
    x = block(x, last, "middle_2")
    for level in reversed(range(levels)):
        for index in range(blocks + 1):
            x = layers.Concatenate(name=f"up{level}_{index}_skip")([x, skips.pop()])
            x = stage(x, level, f"up{level}_{index}", attend=not plus or index == blocks)
        if level:
            double = layers.UpSampling2D(name=f"up{level}_double")
            if plus:
                x = block(x, x.shape[-1], f"up{level}_conv", double)
            else:
                x = _convolution(x.shape[-1], 3, f"up{level}_conv")(double(x))
    x = layers.Activation("silu", name="last_act")(_norm(x, groups, "last_norm"))
    channels *= 2 if learned_variance else 1
    x = _convolution(channels * patch**2, 3, "last", kernel_initializer="zeros", dtype="float32")(x)
    if patch > 1:
        x = DepthToSpace(patch, dtype="float32", name="pixels")(x)
    return keras.Model(inputs, crop(x, height, columns), name=name)
