"""Networks of autoregressive models: the parameters of a pixel's distribution from the pixels before it, all pixels at once."""

import keras
from keras import layers

from keras_genzoo.causal import (
    AppendOnes,
    CausalConv2D,
    CausalConv2DTranspose,
    ConcatELU,
    Gate,
    LevelEmbedding,
    Shift,
)
from keras_genzoo.core.checks import image_size, whole, whole_or_none
from keras_genzoo.networks.conditions import condition_input


def _inputs(image_shape, num_classes, condition_dim):
    """The inputs, and a function that adds to maps what a condition says, if there is one."""
    inputs, condition = [keras.Input(image_size(image_shape), name="image")], condition_input(num_classes, condition_dim)
    if condition is None:
        return inputs, lambda x, name, **settings: x
    inputs.append(condition)

    def told(x, name, **settings):
        told = layers.Dense(x.shape[-1], use_bias=False, name=f"{name}_class", **settings)(inputs[1])
        return layers.Add(name=f"{name}_told")([x, layers.Reshape((1, 1, x.shape[-1]), name=f"{name}_class_map")(told)])

    return inputs, told


def _model(inputs, outputs, name):
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs, name=name)


def gated_pixelcnn(
    image_shape,
    outputs,
    width=32,
    depth=6,
    kernel=3,
    first_kernel=7,
    ordered=True,
    embedded=None,
    num_classes=None,
    name="pixelcnn",
    condition_dim=None,
):
    """Gated PixelCNN (van den Oord et al. 2016, arXiv:1606.05328, section 2 and figure 2): a vertical stack sees the rows above,
    and a horizontal one, with residual connections, the pixels to the left and what the vertical one makes of the row above.

        y = tanh(W_f * x + V_f h) * sigmoid(W_g * x + V_g h)     (eq. 2, and eq. 4 with the condition h)

    Args:
        image_shape: `(height, width, channels)`, any sizes.
        outputs: int. Parameters of a pixel.
        width: int. Channels of the features. Defaults to 32.
        depth: int. Number of layers. Defaults to 6.
        kernel: odd int. Columns of the kernels; those of the vertical stack have half as many rows, rounded up. Defaults to 3.
        first_kernel: odd int. Those of the first layer. Defaults to 7.
        ordered: bool. Whether a channel of a pixel also sees the channels before it. The outputs are then those of the first
            channel, those of the second and so on, as many of each. Else they see no channel of the pixel. Defaults to True.
        embedded: int or None. With so many levels, images have one channel and their levels are names, see
            `causal.LevelEmbedding`. Defaults to None.
        num_classes: int or None. With classes a second input takes one-hot labels. Defaults to None.
        name: str. Defaults to "pixelcnn".
        condition_dim: int or None. Length of a vector that the second input takes, behind the label if there is one. Defaults to
            None.

    Returns:
        A built `keras.Model` of images in [-1, 1], or of `(images, condition)`, to float32 `(batch, height, width, outputs)`.

    Raises:
        ValueError: an even kernel; outputs that channels in order cannot share; levels to embed of images of several channels.

    Example:

    >>> gated_pixelcnn((33, 21, 3), 3 * 256, width=16, depth=2)
    """
    outputs, width, depth = whole(outputs=outputs, width=width, depth=depth)
    kernel, first_kernel = whole(kernel=kernel, first_kernel=first_kernel)
    if kernel % 2 == 0 or first_kernel % 2 == 0:
        raise ValueError(f"kernel is {kernel} and first_kernel is {first_kernel}, expected odd numbers.")
    embedded = whole_or_none(2, embedded=embedded)
    inputs, told = _inputs(image_shape, num_classes, condition_dim)
    channels = inputs[0].shape[-1]
    if embedded is not None and channels != 1:
        raise ValueError(f"embedded is {embedded} and images have {channels} channels, expected one channel, or embedded=None.")
    groups = channels if ordered else 1
    if outputs % groups:
        raise ValueError(f"outputs is {outputs} for {groups} channels in order, expected a multiple, or ordered=False.")

    def pixelwise(x, filters, name, **settings):
        return CausalConv2D(filters, (1, 1), mask="B", mask_groups=groups, name=name, **settings)(x)

    vertical = horizontal = inputs[0] if embedded is None else LevelEmbedding(embedded, width, name="embedding")(inputs[0])
    for index in range(1, depth + 1):
        named, columns = f"layer{index}", kernel if index > 1 else first_kernel
        rows = (columns + 1) // 2
        above = CausalConv2D(2 * width, (rows, columns), wide=True, name=f"{named}_vertical")(vertical)
        vertical = Gate("tanh", name=f"{named}_vertical_gate")(told(above, f"{named}_vertical"))
        mask = {"mask": "A" if index == 1 else "B", "mask_groups": groups, "mask_parts": 2}
        left = CausalConv2D(2 * width, (1, rows), name=f"{named}_horizontal", **mask)(horizontal)
        link = CausalConv2D(2 * width, (1, 1), use_bias=False, name=f"{named}_link")(Shift("down", name=f"{named}_shift")(above))
        both = told(layers.Add(name=f"{named}_both")([left, link]), f"{named}_horizontal")
        change = pixelwise(Gate("tanh", name=f"{named}_horizontal_gate")(both), width, f"{named}_change")
        horizontal = change if index == 1 else layers.Add(name=named)([horizontal, change])
    x = layers.Activation("relu", name="last_relu")(horizontal)
    x = layers.Activation("relu", name="hidden_relu")(pixelwise(x, 2 * width, "hidden"))
    return _model(inputs, pixelwise(x, outputs, "parameters", dtype="float32"), name)


def pixelcnn_pp(
    image_shape,
    outputs,
    width=32,
    blocks=1,
    halvings=2,
    dropout=0.0,
    num_classes=None,
    name="pixelcnn_pp",
    condition_dim=None,
):
    """PixelCNN++ (Salimans et al. 2017, arXiv:1701.05517, section 2): two streams of gated residual blocks, one of the rows above
    and one of the pixels to the left too, go down to coarser grids and back up, where each block sees one of the way down.
    Weights are normalised. Parameters of a pixel depend on no channel of the pixel itself.

    Args:
        image_shape: `(height, width, channels)`, any sizes.
        outputs: int. Parameters of a pixel.
        width: int. Channels of the features. Defaults to 32.
        blocks: int. Residual blocks at each size on the way down; there is one more on the way up, but at the coarsest. Defaults
            to 1.
        halvings: int. How often the sides are halved. Defaults to 2.
        dropout: float. Rate of dropout inside of blocks. Defaults to 0.
        num_classes: int or None. With classes a second input takes one-hot labels. Defaults to None.
        name: str. Defaults to "pixelcnn_pp".
        condition_dim: int or None. Length of a vector that the second input takes, behind the label if there is one. Defaults to
            None.

    Returns:
        A built `keras.Model` of images in [-1, 1], or of `(images, condition)`, to float32 `(batch, height, width, outputs)`.

    Example:

    >>> pixelcnn_pp((33, 21, 3), 100, width=16)
    """
    outputs, width, blocks = whole(outputs=outputs, width=width, blocks=blocks)
    halvings = whole(0, halvings=halvings)
    inputs, told = _inputs(image_shape, num_classes, condition_dim)
    height, columns, _ = image_size(image_shape)
    sizes = [(-(-height // 2**level), -(-columns // 2**level)) for level in range(halvings + 1)]
    normal = lambda: keras.initializers.RandomNormal(stddev=0.05)  # noqa: E731 (one draws the same every time)

    def convolution(x, filters, kernel, name, kind=CausalConv2D, **settings):
        return kind(filters, kernel, kernel_initializer=normal(), normalized=True, name=name, **settings)(x)

    def elu(x, name):
        return ConcatELU(name=f"{name}_elu")(x)

    def block(x, other, wide, name):
        """x + gate(convolution(convolution(x) + other)), where "other" is what the block sees beside x, or None."""
        kernel = (2, 3) if wide else (2, 2)
        y = convolution(elu(x, f"{name}_1"), width, kernel, f"{name}_conv1", wide=wide)
        if other is not None:
            other = convolution(elu(other, f"{name}_other"), width, (1, 1), f"{name}_other")
            y = layers.Add(name=f"{name}_with_other")([y, other])
        y = elu(y, f"{name}_2")
        if dropout:
            y = layers.Dropout(dropout, name=f"{name}_dropout")(y)
        y = convolution(y, 2 * width, kernel, f"{name}_conv2", wide=wide, scale=0.1)
        y = told(y, name, kernel_initializer=normal())
        return layers.Add(name=name)([x, Gate(name=f"{name}_gate")(y)])

    x = AppendOnes(name="with_ones")(inputs[0])
    rows = convolution(x, width, (2, 3), "first_rows", wide=True)
    above = convolution(x, width, (1, 3), "first_above", wide=True)
    left = convolution(x, width, (2, 1), "first_left")
    # The stream of the rows above, and that of the pixels to the left too.
    u = Shift("down", name="rows")(rows)
    ul = layers.Add(name="pixels")([Shift("down", name="above")(above), Shift("right", name="left")(left)])
    seen = [(u, ul)]
    for level in range(halvings + 1):
        for index in range(blocks):
            u = block(u, None, True, f"down{level}_{index}_rows")
            ul = block(ul, u, False, f"down{level}_{index}_pixels")
            seen.append((u, ul))
        if level < halvings:
            u = convolution(u, width, (2, 3), f"halve{level}_rows", wide=True, strides=2)
            ul = convolution(ul, width, (2, 2), f"halve{level}_pixels", strides=2)
            seen.append((u, ul))
    seen.pop()
    for level in reversed(range(halvings + 1)):
        for index in range(blocks + (level < halvings)):
            before = seen.pop()
            name = f"up{level}_{index}"
            u = block(u, before[0], True, f"{name}_rows")
            both = layers.Concatenate(name=f"{name}_seen")([u, before[1]])
            ul = block(ul, both, False, f"{name}_pixels")
        if level:
            back = {"kind": CausalConv2DTranspose, "size": sizes[level - 1], "strides": 2}
            u = convolution(u, width, (2, 3), f"double{level}_rows", wide=True, **back)
            ul = convolution(ul, width, (2, 2), f"double{level}_pixels", **back)
    x = layers.Activation("elu", name="last_elu")(ul)
    return _model(inputs, convolution(x, outputs, (1, 1), "parameters", dtype="float32"), name)
