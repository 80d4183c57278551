"""Residual generators and critics of one width, as SNGAN (Miyato et al. 2018, arXiv:1802.05957, table 4), WGAN-GP (Gulrajani et
al. 2017, arXiv:1704.00028, appendix on CIFAR-10) and BigGAN (Brock et al. 2018, arXiv:1809.11096, in its authors' script for
CIFAR-10) have them."""

import functools

import keras
from keras import initializers, layers

from keras_genzoo.core.checks import image_size, whole
from keras_genzoo.layers import BatchNormalization, SynchronizedBatchNormalization
from keras_genzoo.networks.common import coarse_grid, convolution, crop, dense, projection
from keras_genzoo.networks.conditions import condition_input
from keras_genzoo.networks.residual import residual_block


def _kernel(deviation, scale=1.0):
    """An initializer: normal of this deviation, or where it is None, Glorot's uniform with `scale` times its variance."""
    if deviation is None:
        return initializers.VarianceScaling(scale, "fan_avg", "uniform")
    return initializers.RandomNormal(stddev=deviation)


def _convolutions(spectral, deviation):
    """A function that makes convolutions; those of 3x3 pixels precede or follow a ReLU, which halves the variance."""

    def conv(filters, size, **settings):
        settings = {"kernel_initializer": _kernel(deviation, 2.0 if size > 1 else 1.0), **settings}
        return convolution(spectral)(filters, size, **settings)

    return conv


def _normalized(x, labels, normalization, deviation, name):
    """Batch normalisation and ReLU; with labels, the scale and the offset are linear functions of these."""
    own = labels is None
    norm = BatchNormalization if normalization == "batch" else SynchronizedBatchNormalization
    x = norm(momentum=0.9, epsilon=1e-5, center=own, scale=own, name=f"{name}_norm")(x)
    if not own:
        of_class = {}
        for what in ("scale", "offset"):
            linear = layers.Dense(x.shape[-1], use_bias=False, kernel_initializer=_kernel(deviation), name=f"{name}_{what}")
            of_class[what] = layers.Reshape((1, 1, x.shape[-1]), name=f"{name}_{what}_map")(linear(labels))
        factor = layers.Rescaling(1.0, 1.0, name=f"{name}_factor")(of_class["scale"])  # 1 + scale
        x = layers.Multiply(name=f"{name}_scaled")([x, factor])
        x = layers.Add(name=f"{name}_class")([x, of_class["offset"]])
    return layers.Activation("relu", name=f"{name}_relu")(x)


def resnet_generator(
    latent_dim,
    image_shape,
    num_classes=None,
    width=256,
    depth=3,
    normalization="batch",
    spectral=False,
    deviation=None,
    name="generator",
    condition_dim=None,
):
    """Noise to images in [-1, 1]: a dense layer to the coarsest grid, and a residual block for each doubling of its sides, by
    repeated pixels.

    Args:
        latent_dim: int. Dimensions of the noise.
        image_shape: `(height, width, channels)`, any sizes.
        num_classes: int or None. With classes the network takes the pair of noise and one-hot labels; batch normalisation in the
            blocks has a scale and an offset of each class. Defaults to None.
        width: int. Channels of every block. Defaults to 256.
        depth: int. Number of doublings. Defaults to 3.
        normalization: "batch" (on several replicas of each one's part) or "synchronized_batch" (of all parts). Defaults to
            "batch".
        spectral: bool. Whether all kernels, but those of the classes, have spectral norm 1. Defaults to False.
        deviation: float or None. Of the initial kernels, which are normal then; None is Glorot's uniform, with twice the variance
            in the blocks. Defaults to None.
        name: str. Defaults to "generator".
        condition_dim: int or None. Length of a vector behind the label, if there is one, of which scales and offsets are linear
            functions too. Defaults to None.

    Returns:
        A built `keras.Model`, to float32 `(batch, height, width, channels)`.

    Example:

    >>> gz.networks.resnet_generator(128, (32, 32, 3)).output_shape
    (None, 32, 32, 3)
    """
    latent_dim, width, depth = whole(latent_dim=latent_dim, width=width, depth=depth)
    labels = condition_input(num_classes, condition_dim)
    height, columns, channels = image_shape = image_size(image_shape)
    if normalization not in ("batch", "synchronized_batch"):
        raise ValueError(f"normalization is {normalization!r}, expected 'batch' or 'synchronized_batch'.")
    inputs = [keras.Input((latent_dim,), name="noise"), *([] if labels is None else [labels])]
    conv = _convolutions(spectral, deviation)
    x = coarse_grid(inputs[0], image_shape, depth, width, spectral, kernel_initializer=_kernel(deviation))
    activate = lambda x, name, labels=labels: _normalized(x, labels, normalization, deviation, name)  # noqa: E731
    for level in range(depth, 0, -1):
        larger = layers.UpSampling2D(name=f"up{level}_larger")
        x = layers.Add(name=f"up{level}")(residual_block(x, width, activate, f"up{level}", resize=larger, conv=conv))
    x = activate(x, "last", labels=None)
    last = {"padding": "same", "dtype": "float32", "kernel_initializer": _kernel(deviation)}
    x = crop(conv(channels, 3, name="image", **last)(x), height, columns)
    return keras.Model(inputs, layers.Activation("tanh", dtype="float32", name="output")(x), name=name)


def resnet_critic(
    image_shape,
    units=1,
    num_classes=None,
    width=128,
    depth=2,
    blocks=2,
    spectral=True,
    pooling="sum",
    head_bias=False,
    deviation=None,
    name="critic",
    condition_dim=None,
):
    """Images in [-1, 1] to a score: residual blocks that halve the sides by means of 2x2 pixels after their convolutions, and
    blocks that do not; the sum or the mean of what is left over the pixels; and a linear function of it.

    Args:
        image_shape: `(height, width, channels)`, any sizes.
        units: int. 1, a score, or the number of features for objectives that take these. Defaults to 1.
        num_classes: int or None. With classes the network takes the pair of images and one-hot labels, and the score is a
            projection. Defaults to None.
        width: int. Channels of every block. Defaults to 128.
        depth: int. Number of halvings. Defaults to 2.
        blocks: int. Blocks after them. Defaults to 2.
        spectral: bool. Whether all kernels have spectral norm 1. Defaults to True.
        pooling: "sum" or "mean" over the pixels. Defaults to "sum".
        head_bias: bool. Whether the score has a bias. Defaults to False.
        deviation: float or None. As of `resnet_generator`. Defaults to None.
        name: str. Defaults to "critic".
        condition_dim: int or None. Length of a vector behind the label, if there is one. Defaults to None.

    Returns:
        A built `keras.Model`, to float32 `(batch, units)`.

    Example:

    >>> gz.networks.resnet_critic((32, 32, 3)).output_shape
    (None, 1)
    """
    units, width, depth, blocks = whole(units=units, width=width, depth=depth, blocks=blocks)
    labels = condition_input(num_classes, condition_dim)
    if pooling not in ("sum", "mean"):
        raise ValueError(f"pooling is {pooling!r}, expected 'sum' or 'mean'.")
    inputs, conv = [keras.Input(image_size(image_shape), name="image")], _convolutions(spectral, deviation)

    def activate(x, name):  # the first convolution sees the image itself
        return x if name == "block1_1" else layers.Activation("relu", name=f"{name}_relu")(x)

    x = inputs[0]
    for block in range(1, depth + blocks + 1):
        half = layers.AveragePooling2D(2, padding="same", name=f"block{block}_half") if block <= depth else None
        x = layers.Add(name=f"block{block}")(residual_block(x, width, activate, f"block{block}", pool=half, conv=conv))
    pixels = x.shape[1] * x.shape[2]
    x = layers.Activation("relu", name="last_relu")(x)
    x = layers.GlobalAveragePooling2D(dtype="float32", name="mean")(x)
    if pooling == "sum":
        x = layers.Rescaling(float(pixels), dtype="float32", name="sum")(x)
    if labels is None:
        head = dense(spectral)(units, use_bias=head_bias, kernel_initializer=_kernel(deviation), dtype="float32", name="score")
        return keras.Model(inputs, head(x), name=name)
    kernel = functools.partial(_kernel, deviation)
    return keras.Model([*inputs, labels], projection(x, labels, units, spectral, head_bias, kernel), name=name)
