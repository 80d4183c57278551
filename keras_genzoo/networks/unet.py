"""The U-Net of diffusion models (Ronneberger et al. 2015; as in Ho et al. 2020, arXiv:2006.11239, appendix B), DDPM++ (Song et
al. 2021, arXiv:2011.13456, appendix H) and ADM (Dhariwal and Nichol 2021, arXiv:2105.05233, section 4)."""

import dataclasses
import math

import keras
from keras import layers

from keras_genzoo.augmentation import TOLD
from keras_genzoo.core.checks import image_size, whole, whole_or_none
from keras_genzoo.layers import DepthToSpace, GroupNormalization, SelfAttention, SpaceToDepth, TimeEmbedding
from keras_genzoo.networks.common import again, check_attention, crop, pad
from keras_genzoo.networks.conditioning import ScaleShift
from keras_genzoo.networks.conditions import told_vector
from keras_genzoo.networks.residual import residual_block

KINDS = "ddpm", "ddpm++", "adm"


@dataclasses.dataclass(frozen=True)
class _Style:
    """What blocks of one network have in common."""

    kind: str
    groups: int
    group_width: int
    epsilon: float
    heads: int
    head_width: int | None
    dropout: float
    scale_shift: bool
    remat: bool

    def norm(self, x, name):
        # The largest number of groups that divides the channels and leaves enough in each: a group of one channel forgets what
        # time added to it.
        most = max(min(self.groups, x.shape[-1] // self.group_width), 1)
        groups = next(count for count in range(most, 0, -1) if x.shape[-1] % count == 0)
        return GroupNormalization(groups, epsilon=self.epsilon, name=name)(x)

    def sum(self, x, change, name):
        """x + change; in DDPM++ over sqrt(2), so that variances stay."""
        x = layers.Add(name=name)([x, change])
        return layers.Rescaling(math.sqrt(0.5), name=f"{name}_rescaled")(x) if self.kind == "ddpm++" else x

    def block(self, x, embedded, filters, name, resize=None):
        """A `residual_block` to which the time is told between its convolutions, of which the second begins at zero, so that a
        fresh block is its shortcut."""
        told = layers.Dense(filters * (1 + self.scale_shift), name=f"{name}_time")(embedded)

        def activate(x, name):
            x = self.norm(x, f"{name}_norm")
            if self.scale_shift and name.endswith("_2"):
                x = ScaleShift(name=f"{name}_scaled")([x, told])
            return layers.Activation("silu", name=f"{name}_act")(x)

        def shifted(x):
            return layers.Add(name=f"{name}_shifted")([x, layers.Reshape((1, 1, filters), name=f"{name}_shift")(told)])

        settings = {"resize": resize, "dropout": self.dropout, "initializer": "zeros", "project": self.kind != "adm"}
        settings["between"] = None if self.scale_shift else shifted
        # Dropout stays outside: it would be another one the second time.
        settings["keep"] = (lambda y: again([x, embedded], y, f"{name}_again")) if self.remat else None
        return self.sum(*residual_block(x, filters, activate, name, **settings), name)

    def heads_of(self, channels):
        return max(channels // self.head_width, 1) if self.head_width else self.heads

    def attention(self, x, name):
        """Every pixel looks at every other; the change begins at zero."""
        rows, columns, channels = x.shape[1:]
        y = layers.Reshape((rows * columns, channels), name=f"{name}_flat")(self.norm(x, f"{name}_norm"))
        y = SelfAttention(self.heads_of(channels), name=f"{name}_heads")(y)
        y = layers.Reshape((rows, columns, channels), name=f"{name}_pixels")(y)
        y = again([x], y, f"{name}_again") if self.remat else y
        return self.sum(x, y, name)


def _convolution(filters, kernel, name, **settings):
    return layers.Conv2D(filters, kernel, padding="same", name=name, **settings)


def _halving(x, centred, name):
    """A convolution that halves sides; padded around instead of behind, as PyTorch does, it sees other pixels."""
    if centred:
        x = layers.ZeroPadding2D(1, name=f"{name}_padded")(x)
    return layers.Conv2D(x.shape[-1], 3, strides=2, padding="valid" if centred else "same", name=name)(x)


def _embedding(width, time_embedding, num_classes, condition_dim, augmented, spans):
    """The inputs beside the image, and what blocks are told of them."""
    inputs = [keras.Input((), name="time"), *([keras.Input((), name="span")] if spans else [])]
    told = TimeEmbedding(width, **(time_embedding or {}), name="time_embedding")(inputs[0])
    how = keras.Input((TOLD,), name="augmented") if augmented else None
    if augmented:
        told = layers.Add(name="time_and_how")([told, layers.Dense(width, use_bias=False, name="how")(how)])
    embedded = layers.Dense(4 * width, "silu", name="time_1")(told)
    embedded = layers.Dense(4 * width, name="time_2")(embedded)
    if spans:
        of_span = TimeEmbedding(width, **(time_embedding or {}), name="span_embedding")(inputs[1])
        of_span = layers.Dense(4 * width, name="span_2")(layers.Dense(4 * width, "silu", name="span_1")(of_span))
        embedded = layers.Add(name="time_and_span")([embedded, of_span])
    if condition_dim is not None:
        condition, of_condition = told_vector(num_classes, condition_dim, 4 * width)
        inputs.append(condition)
        embedded = layers.Add(name="time_and_told")([embedded, of_condition])
    elif num_classes is not None:
        inputs.append(keras.Input((num_classes,), name="labels"))
        of_class = layers.Dense(4 * width, use_bias=False, name="class")(inputs[-1])
        embedded = layers.Add(name="time_and_class")([embedded, of_class])
    return [*inputs, *([how] if augmented else [])], layers.Activation("silu", name="condition")(embedded)


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
    scale_shift=False,
    head_width=None,
    attention_sides=(),
    middle_attention=None,
    time_embedding=None,
    group_width=4,
    epsilon=1e-6,
    centred=False,
    augmented=False,
    spans=False,
    name="unet",
    condition_dim=None,
):
    """Noisy images and times to outputs of the images' shape, such as the noise or the velocity.

    Args:
        image_shape: `(height, width, channels)`, any sizes; sides that do not halve are padded inside.
        width: int. Channels of the first level. Defaults to 32.
        multipliers: numbers. Channels of each level over `width`; each level but the first halves the sides. Defaults to
            (1, 2, 2).
        blocks: int. Residual blocks a level on the way down; one more on the way up. Defaults to 1.
        attention: ints. Levels, from 0, at which every block is followed by self-attention; the middle has one whenever there
            are any. Defaults to none.
        heads: int. Heads of the attention. Defaults to 1.
        groups: int. Groups of the normalisation, at most; of at least four channels. Defaults to 8.
        dropout: float. Rate of dropout inside the blocks. Defaults to 0.
        patch: int. Side of the squares of pixels that are joined to channels before the first level, and taken apart after the
            last: with 2, a quarter of the work. Defaults to 1.
        kind: "ddpm"; "adm": blocks halve and double the sides instead of single convolutions; or "ddpm++": these blocks have a
            convolution on the shortcut, sums with a shortcut are divided by sqrt(2), and on the way up there is attention after a
            level's last block only. Defaults to "ddpm".
        num_classes: int or None. With classes a third input takes one-hot labels; zeros stand for no label. Defaults to None.
        scale_shift: bool. Whether time and class scale and shift what is normalised inside a block, as in ADM, instead of being
            added before. Defaults to False.
        head_width: int or None. Channels of a head of attention, of which wider levels then have more; None is `heads` at every
            level. Defaults to None.
        attention_sides: ints. Longer sides of feature maps at which there is attention too, whatever level has them, as (32, 16,
            8) in ADM. Defaults to none.
        middle_attention: bool or None. Whether the middle has attention; None is whenever a level has. Defaults to None.
        time_embedding: dict or None. Arguments of `layers.TimeEmbedding`: `scale` (1000), `offset`, `shift` and `cosines_first`.
            Defaults to None, none of them.
        group_width: int. Least channels of a group of the normalisation. Defaults to 4.
        epsilon: float. Of the normalisation. Defaults to 1e-6.
        centred: bool. Whether convolutions that halve the sides see a pixel of zeros on each side, as PyTorch pads, instead of
            one behind. Of the kind "ddpm". Defaults to False.
        augmented: bool. Whether a last input takes nine numbers that tell how training changed an image, see `Diffusion`.
            Defaults to False.
        spans: bool. Whether a third input takes the spans of time that `MeanFlow` goes at once, before labels. Defaults to False.
        learned_variance: bool. Whether it puts out the variance of each number behind the prediction, as twice the channels, of
            models with `timesteps`. Defaults to False.
        remat: bool. Whether what blocks and attention hold inside is computed again for the gradient and not kept: less memory, a
            third more time. Defaults to False.
        name: str. Defaults to "unet".
        condition_dim: int or None. Length of a vector that the third input takes, behind the label if there is one; the input
            ends in a 1, and zeros stand for no condition (`condition_input(spared=True)`). Defaults to None.

    Returns:
        A built `keras.Model` of `(images, times)`, or `(images, times, condition)`, with times `(batch,)` of about 0 to 1, to
        float32 `(batch, height, width, channels)`, or twice the channels. A fresh one puts out zeros.

    Raises:
        ValueError: an unknown kind, levels of attention that there are not, sizes that are no positive whole numbers.

    Example:

    >>> unet((33, 21, 5), width=16, multipliers=(1, 2), attention=(1,))
    """
    width, blocks, heads, groups, patch = whole(width=width, blocks=blocks, heads=heads, groups=groups, patch=patch)
    num_classes, head_width, condition_dim = whole_or_none(
        num_classes=num_classes, head_width=head_width, condition_dim=condition_dim
    )
    height, columns, channels = image_size(image_shape)
    levels = len(multipliers)
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(map(repr, KINDS))}.")
    if not levels or not set(attention) <= set(range(levels)):
        raise ValueError(f"attention is {attention} and multipliers {multipliers}, expected levels from 0 to {levels - 1}.")
    style = _Style(kind, groups, whole(group_width=group_width), epsilon, heads, head_width, dropout, bool(scale_shift), remat)
    finest = [-(-side // (patch * 2 ** (levels - 1))) * 2 ** (levels - 1) for side in (height, columns)]
    attended = [level in attention or max(finest) // 2**level in attention_sides for level in range(levels)]
    if any(attended):
        level = attended.index(True)
        check_attention([side // 2**level for side in finest], style.heads_of(round(width * multipliers[level])))
    told, embedded = _embedding(width, time_embedding, num_classes, condition_dim, augmented, spans)
    inputs = [keras.Input((height, columns, channels), name="image"), *told]

    def block(x, filters, name, resize=None):
        return style.block(x, embedded, filters, name, resize)

    def stage(x, level, name, attend=True):
        x = block(x, round(width * multipliers[level]), name)
        return style.attention(x, f"{name}_attention") if attend and attended[level] else x

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
            if kind == "ddpm":
                x = _halving(x, centred, f"down{level}_halve")
            else:
                x = block(x, x.shape[-1], f"down{level}_halve", layers.AveragePooling2D(2, name=f"down{level}_pool"))
            skips.append(x)
    last = round(width * multipliers[-1])
    x = block(x, last, "middle_1")
    x = style.attention(x, "middle_attention") if (any(attended) if middle_attention is None else middle_attention) else x
    x = block(x, last, "middle_2")
    for level in reversed(range(levels)):
        for index in range(blocks + 1):
            x = layers.Concatenate(name=f"up{level}_{index}_skip")([x, skips.pop()])
            x = stage(x, level, f"up{level}_{index}", attend=kind != "ddpm++" or index == blocks)
        if level:
            double = layers.UpSampling2D(name=f"up{level}_double")
            if kind == "ddpm":
                x = _convolution(x.shape[-1], 3, f"up{level}_conv")(double(x))
            else:
                x = block(x, x.shape[-1], f"up{level}_conv", double)
    x = layers.Activation("silu", name="last_act")(style.norm(x, "last_norm"))
    channels *= 1 + bool(learned_variance)
    x = _convolution(channels * patch**2, 3, "last", kernel_initializer="zeros", dtype="float32")(x)
    if patch > 1:
        x = DepthToSpace(patch, dtype="float32", name="pixels")(x)
    return keras.Model(inputs, crop(x, height, columns), name=name)
