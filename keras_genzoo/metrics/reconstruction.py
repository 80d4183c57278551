"""How far a reconstruction is from its image. Images are `uint8` or floats in [0, 1]; all numbers are of the range [0, 1]."""

import numpy as np

from keras_genzoo.core.images import check_images, to_unit

WINDOW = 11  # pixels of SSIM's Gaussian window, sigma 1.5 cut off at 3.5 sigma
BATCH = 256


def mse(x, y):
    """Mean squared error over all images, pixels and channels, in the range [0, 1].

    Args:
        x: array `(n, height, width, channels)`. Images.
        y: array of the same shape. Their reconstructions.

    Returns:
        float.

    Raises:
        ValueError: see `check_images`; unequal shapes, or no images.
    """
    return float(_errors(x, y).mean())


def psnr(x, y):
    """Peak signal-to-noise ratio in decibels: -10 log10 of each image's mean squared error, then the mean over images.

    The mean of the logarithms, as papers on restoration have it, is more than the logarithm of the mean error. One image
    without any error makes it infinite.

    Args and errors as `mse`.
    """
    with np.errstate(divide="ignore"):
        return float(-10 * np.log10(_errors(x, y)).mean())


def ssim(x, y):
    """Mean structural similarity (Wang et al. 2004), with that paper's Gaussian window of 11 pixels and sigma 1.5.

    The mean over channels, pixels and images of scikit-image's `structural_similarity`.

    Args and errors as `mse`; also a ValueError for images smaller than the window.

    Returns:
        float, 1 for equal images.
    """
    from skimage.metrics import structural_similarity

    x, y = _pair(x, y)
    if not _fits_window(x):
        raise ValueError(f"images of {x.shape[1]}x{x.shape[2]} pixels are smaller than SSIM's window of {WINDOW}x{WINDOW}.")
    settings = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=-1)
    border = WINDOW // 2  # where a window leaves the image, and scikit-image's mean leaves it out
    total = 0.0
    for start in range(0, len(x), BATCH):
        batch = x[start : start + BATCH], y[start : start + BATCH]
        # One tall image of the whole batch, many times as fast: inside the border no window sees a neighbour.
        _, similarity = structural_similarity(*(each.reshape(-1, *x.shape[2:]) for each in batch), full=True, **settings)
        similarity = similarity.reshape(batch[0].shape)[:, border:-border, border:-border]
        total += similarity.mean(axis=(1, 2, 3)).sum()
    return float(total / len(x))


def reconstruction_scores(x, y):
    """`mse`, `psnr` and `ssim` as a dict; `ssim` is left out where images are smaller than its window.

    Example:

    >>> keras_genzoo.metrics.reconstruction_scores(images, model.reconstruct(images))
    """
    x, y = _pair(x, y)
    scores = {"mse": mse(x, y), "psnr": psnr(x, y)}
    return scores | {"ssim": ssim(x, y)} if _fits_window(x) else scores


def _pair(x, y):
    """Both as float64 in [0, 1], checked."""
    for images, what in ((x, "images"), (y, "reconstructions")):
        check_images(images, what)
    if np.shape(x) != np.shape(y):
        raise ValueError(f"images have shape {np.shape(x)} and reconstructions {np.shape(y)}, expected equal shapes.")
    if not np.size(x):
        raise ValueError(f"images have shape {np.shape(x)}: there is nothing to compare.")
    return tuple(np.asarray(to_unit(images), "float64") for images in (x, y))


def _errors(x, y):
    """Mean squared error of each image, `(n,)`."""
    x, y = _pair(x, y)
    return ((x - y) ** 2).mean(axis=(1, 2, 3))


def _fits_window(images):
    return min(images.shape[1:3]) >= WINDOW
