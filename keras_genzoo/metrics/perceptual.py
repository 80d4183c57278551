"""How alike two images look to a network, how smoothly images change along a path, and how sharp they are."""

import numpy as np
import tensorflow as tf

from keras_genzoo.core.images import check_images, on_levels, to_unit
from keras_genzoo.metrics.extractors import get
from keras_genzoo.metrics.features import batch_size

BATCH = 64  # images at a time, of extractors that take no fewer
EPSILON = 1e-10  # below the square of any activation that counts


def perceptual_distance(x, y, features="fashion-cnn"):
    """Distance of each image to another in the layers of a network (Zhang et al. 2018, arXiv:1801.03924, eq. 1).

        sum over layers of the mean over places of |a(x) - a(y)|^2,  a the activations scaled to length 1 over channels

    This is LPIPS without its learned weights: the name LPIPS belongs to the networks and weights of that paper, and this
    number is called `PD[features]`. Images are first brought to the 256 levels, as for every distance of features.

    Args:
        x, y: arrays `(n, height, width, channels)`, `uint8` or floats in [0, 1].
        features: str or extractor with `activations`, see `get`. Defaults to "fashion-cnn".

    Returns:
        float64 array `(n,)`, 0 for equal images, at most 4 a layer.

    Raises:
        ValueError: see `check_images`; unequal shapes; an extractor without layers to look at.

    Example:

    >>> keras_genzoo.metrics.perceptual_distance(images, images).max().item()
    0.0
    """
    return _perceived(x, y, features, lambda images: on_levels(to_unit(images)))


def _perceived(x, y, features, prepared=to_unit):
    """`perceptual_distance` of images prepared by a function, to floats in [0, 1]."""
    features = get(features)
    check_images(x, "images")
    check_images(y, "images compared with")
    if np.shape(x) != np.shape(y):
        raise ValueError(f"images have shape {np.shape(x)} and those compared with {np.shape(y)}, expected equal shapes.")
    if not hasattr(features, "activations"):
        raise ValueError(f"extractor {features.name!r} has no `activations`, expected one as FeatureExtractor makes.")
    distances = np.zeros(len(x))
    size = batch_size(len(x), min(BATCH, getattr(features, "batch_size", BATCH)))
    for start in range(0, len(x), size):
        pair = [prepared(images[start : start + size]) for images in (x, y)]
        n = len(pair[0])
        both = [features.activations(tf.pad(each, [[0, size - n], [0, 0], [0, 0], [0, 0]])) for each in pair]
        distances[start : start + n] = sum(_difference(a, b) for a, b in zip(*both, strict=True))[:n]
    return distances


@tf.function(reduce_retracing=True)
def _difference(a, b):
    a, b = (each * tf.math.rsqrt(tf.reduce_sum(each**2, axis=-1, keepdims=True) + EPSILON) for each in (a, b))
    squares = tf.reduce_sum((a - b) ** 2, axis=-1)
    return tf.reduce_mean(tf.reshape(squares, (tf.shape(squares)[0], -1)), axis=1)


def perceptual_path_length(decode, codes, ends, features="fashion-cnn", step=1e-2, seed=0):
    """How much images change along the straight lines between codes (Karras et al. 2019, arXiv:1812.04948, section 4.1).

        mean of d(decode(z_t), decode(z_(t + step))) / step^2,  z_t = (1 - t) z_0 + t z_1,  t uniform on [0, 1 - step]

    with d the perceptual distance. Small where images change evenly; jumps between kinds make it large. It depends on the
    codes, so it compares models whose codes are drawn alike.

    Args:
        decode: callable. Codes to images, floats in [0, 1].
        codes, ends: arrays of codes `(n, ...)`, the two ends of each path.
        features: str or extractor, see `perceptual_distance`. Defaults to "fashion-cnn".
        step: float in (0, 1). Defaults to 0.01: at the 1e-4 of the paper the rounding errors of float32 show.
        seed: int. Of the places on the paths. Defaults to 0.

    Returns:
        float.
    """
    codes, ends = np.asarray(codes), np.asarray(ends)
    if codes.shape != ends.shape or not len(codes):
        raise ValueError(f"codes have shapes {codes.shape} and {ends.shape}, expected equal ones of at least one code.")
    t = np.random.default_rng(seed).uniform(0, 1 - step, (len(codes), *[1] * (codes.ndim - 1))).astype(codes.dtype)
    here, there = ((codes + place * (ends - codes)) for place in (t, t + step))
    images = [np.clip(np.asarray(decode(each)), 0, 1) for each in (here, there)]
    # Not on levels: over so small a step these would be all that changes.
    return float(_perceived(*images, features).mean() / step**2)


def sharpness(images):
    """Variance of the Laplacian of each image, its channels averaged (Pech-Pacheco et al. 2000): small for blurred images.

    Images are first brought to the 256 levels, as for every distance of features.

    Args:
        images: array `(n, height, width, channels)`, `uint8` or floats in [0, 1].

    Returns:
        float64 array `(n,)`.

    Example:

    >>> sharpness = keras_genzoo.metrics.sharpness
    >>> ratio = sharpness(model.sample(64)).mean() / sharpness(images).mean()  # 1: as sharp as the data
    """
    from scipy.ndimage import laplace

    check_images(images)
    gray = np.asarray(on_levels(to_unit(images)), "float64").mean(axis=-1)
    return np.array([laplace(image).var() for image in gray])
