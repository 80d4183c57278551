"""What the factories share: sizes, normalisation, heads."""

import math
import warnings

import keras
from keras import layers

from keras_genzoo.core.checks import whole
from keras_genzoo.layers import (
    BatchNormalization,
    ChannelNormalization,
    Rematerialized,
    SoftBound,
    SpectralConv2D,
    SpectralConv2DTranspose,
    SpectralDense,
    SynchronizedBatchNormalization,
)

NORMALIZATIONS = (None, "batch", "synchronized_batch", "layer", "channel")
LARGE = 2**28  # bytes that the attention of an image holds, beyond which a warning says so


def normalized(x, normalization, activation, name):
    """Normalisation, if any, and activation.

    Args:
        normalization: None, "batch" (on several replicas of each one's part), "synchronized_batch" (of all parts), "layer"
            (over the channels of each pixel or the units of a layer) or "channel" (over a whole image, scale and offset per
            channel).
    """
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization is {normalization!r}, expected one of {NORMALIZATIONS}.")
    if normalization == "batch":
        x = BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    elif normalization == "synchronized_batch":
        x = SynchronizedBatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    elif normalization == "layer":
        x = layers.LayerNormalization(name=f"{name}_norm")(x)
    elif normalization == "channel":
        x = ChannelNormalization(name=f"{name}_norm")(x)
    return layers.Activation(activation, name=f"{name}_{activation if isinstance(activation, str) else 'activation'}")(x)


def widths_of(width, depth):
    """The units of so many hidden layers, a list: of one number for all, or of one for each."""
    widths = list(width) if hasattr(width, "__len__") else [width] * depth
    if len(widths) != depth:
        raise ValueError(f"width holds {len(widths)} numbers for depth={depth}, expected one number or {depth}.")
    return [whole(width=each) for each in widths]


def convolution(spectral):
    """The class of convolutions, with a kernel of spectral norm 1 or without."""
    return SpectralConv2D if spectral else layers.Conv2D


def up_convolution(spectral):
    """The class of transposed convolutions, likewise."""
    return SpectralConv2DTranspose if spectral else layers.Conv2DTranspose


def dense(spectral):
    """The class of dense layers, likewise."""
    return SpectralDense if spectral else layers.Dense


def code_heads(x, latent_dim, heads, spectral=False, use_bias=True, activation=None):
    """One float32 dense layer a head on flat features, with an activation or none; "log_variance" is bounded to +-10.

    Returns:
        A tensor `(batch, latent_dim)`, or a tuple of them for several heads.
    """
    latent_dim = whole(latent_dim=latent_dim)
    outputs = []
    for head in heads:
        z = dense(spectral)(latent_dim, activation, use_bias=use_bias, dtype="float32", name=head)(x)
        if head == "log_variance":
            z = SoftBound(10.0, dtype="float32", name="log_variance_bound")(z)
        outputs.append(z)
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def projection(features, labels, units, spectral=False, use_bias=False, kernel=None):
    """Scores of features and classes (Miyato and Koyama 2018, arXiv:1802.05637, eq. 3): a linear function of the features, plus
    the product with a learned vector of the class. Each of several scores is such a projection, with vectors of its own. Of
    vectors of numbers the product is with a linear function of them: the best critic is one where they are normal given an image.

    Args:
        features: tensor of Keras, `(batch, width)`.
        labels: one-hot labels or another condition, a tensor of Keras, `(batch, classes)`.
        units: int. Number of scores.
        spectral: bool. Whether the kernels have spectral norm 1. Defaults to False.
        use_bias: bool. Whether the linear function has a bias. Defaults to False.
        kernel: function without arguments that makes an initializer of a kernel; None is the layers' own. Defaults to None.

    Returns:
        A float32 tensor `(batch, units)`.
    """
    width = features.shape[-1]

    def linear(units, use_bias, name):
        settings = {} if kernel is None else {"kernel_initializer": kernel()}
        return dense(spectral)(units, use_bias=use_bias, dtype="float32", name=name, **settings)

    score = linear(units, use_bias, "score")(features)
    of_class = linear(width * units, False, "class")(labels)
    if units > 1:
        of_class = layers.Reshape((width, units), dtype="float32", name="class_features")(of_class)
    product = layers.Dot(1, dtype="float32", name="projection")([features, of_class])
    return layers.Add(dtype="float32", name="total")([score, product])


def channels_of(width, level):
    """Channels at a level, doubled at each but never more than eight times the first's, as in DCGAN."""
    return width * 2 ** min(level, 3)


def pad(x, multiple):
    """Images with rows and columns of zeros around them, so that a number divides their sides; `crop` cuts these off again."""
    over = [-size % multiple for size in x.shape[1:3]]
    if not any(over):
        return x
    return layers.ZeroPadding2D(tuple((each // 2, each - each // 2) for each in over), name="pad")(x)


def crop(x, height, width):
    """Cut the surplus rows and columns that sizes off the grid of strides leave, as evenly as can be."""
    rows, columns = x.shape[1] - height, x.shape[2] - width
    if rows == columns == 0:
        return x
    cropping = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2))
    return layers.Cropping2D(cropping, dtype="float32", name="crop")(x)


def coarse_grid(z, image_shape, depth, filters, spectral=False, name="grid", **settings):
    """Codes to a feature map of the image's size divided by 2^depth, rounded up; `settings` are of the dense layer."""
    height, width, _ = image_shape
    rows, columns = math.ceil(height / 2**depth), math.ceil(width / 2**depth)
    x = dense(spectral)(rows * columns * filters, name=f"{name}_dense", **settings)(z)
    return layers.Reshape((rows, columns, filters), name=name)(x)


def again(inputs, x, name):
    """A tensor again, by a layer that computes it anew of its inputs for the gradient; see `layers.Rematerialized`."""
    return Rematerialized(keras.Model(inputs, x, name=f"{name}_inner"), dtype=x.dtype, name=name)(inputs)


def check_attention(sides, heads):
    """Warn, before anything is built, of attention that holds too much."""
    held = 4 * heads * math.prod(sides) ** 2  # bytes an image, of numbers that say how much a pixel looks at another
    if held > LARGE:
        warnings.warn(
            f"attention among {sides[0]}x{sides[1]} pixels holds {held / 2**30:.1f} GiB for each image of a batch; attend at a "
            f"level of fewer pixels, or set a larger patch.",
            stacklevel=3,
        )
