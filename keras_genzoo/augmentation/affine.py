"""Images moved, turned and stretched by affine maps.

Places are (x, y, 1) from the centre of the image, in pixels, x to the right and y down. A matrix `(n, 3, 3)` says of each place
of the result where in the image it comes from. Beyond its borders the image is mirrored.
"""

import math

import numpy as np
import tensorflow as tf

# The scaling filter of the wavelet sym6 (Daubechies 1992, "Ten lectures on wavelets", section 8.1, as PyWavelets has it). The sum
# of its squares is 1 and it is at right angles to itself two taps on, so that what it doubles and halves again is as it was.
SYM6 = np.array(
    [
        *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
        *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252),
        *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
    ]
)
TAPS = len(SYM6)
CENTRE = float(np.arange(TAPS) @ SYM6 / SYM6.sum())  # pixel x of a side stands at place 2 x + CENTRE of the doubled side


def _matrix(*rows):
    """Matrices of rows of numbers and tensors `(n,)`."""
    like = next(each for row in rows for each in row if tf.is_tensor(each))
    entries = [each if tf.is_tensor(each) else each * tf.ones_like(like) for row in rows for each in row]
    return tf.reshape(tf.stack(entries, axis=-1), (-1, 3, 3))


def scaling(x, y):
    """Matrices that multiply x and y by numbers `(n,)`."""
    return _matrix((x, 0.0, 0.0), (0.0, y, 0.0), (0.0, 0.0, 1.0))


def shift(x, y):
    """Matrices that add numbers `(n,)` of pixels to x and y."""
    return _matrix((1.0, 0.0, x), (0.0, 1.0, y), (0.0, 0.0, 1.0))


def rotation(cosine, sine):
    """Matrices that turn by angles of these cosines and sines `(n,)`."""
    return _matrix((cosine, -sine, 0.0), (sine, cosine, 0.0), (0.0, 0.0, 1.0))


def _origins(matrices, rows, columns, height, width):
    """Where in an image places of the result come from: its rows and columns, each `(n, rows, columns)`.

    Args:
        matrices: tensor `(n, 3, 3)`.
        rows, columns: arrays of the rows and columns of the result, whole or not.
        height, width: ints. The sides of the image.
    """
    x, y = np.meshgrid(columns - (width - 1) / 2, rows - (height - 1) / 2)
    grid = tf.constant(np.stack([x, y, np.ones_like(x)]), tf.float32)
    found = tf.einsum("nij,jrc->nirc", matrices, grid)
    return found[:, 1] + (height - 1) / 2, found[:, 0] + (width - 1) / 2


def _mirrored(places, size):
    """Places beyond the first and the last pixel of a side, mirrored at these back into [0, size - 1]."""
    if size == 1:
        return tf.zeros_like(places)
    period = 2.0 * (size - 1)
    within = tf.math.floormod(places, period)
    return tf.minimum(within, period - within)


def _pixels(images, rows, columns):
    """The pixels at whole rows and columns inside an image, each `(n, ...)`: `(n, ..., channels)`."""
    height, width, channels = images.shape[1:]
    index = tf.cast(rows, tf.int32) * width + tf.cast(columns, tf.int32)
    return tf.gather(tf.reshape(images, (-1, height * width, channels)), index, axis=1, batch_dims=1)


def moved(images, matrices):
    """Images whose pixels change places alone, by maps of whole pixels and quarter turns.

    Args:
        images: `(n, height, width, channels)`.
        matrices: float32 tensor `(n, 3, 3)`.
    """
    height, width = images.shape[1:3]
    rows, columns = _origins(matrices, np.arange(height), np.arange(width), height, width)
    return _pixels(images, tf.round(_mirrored(rows, height)), tf.round(_mirrored(columns, width)))


def _doubling(size):
    """The matrix that doubles a side, mirrored at its ends, with places for all taps: `(2 size + TAPS - 2, size)`."""
    matrix = np.zeros((2 * size + TAPS - 2, size), "float32")
    period = max(2 * (size - 1), 1)
    for place in range(len(matrix)):
        for tap in range(place % 2, TAPS, 2):
            pixel = (place - tap) // 2 % period
            matrix[place, min(pixel, period - pixel) if size > 1 else 0] += math.sqrt(2) * SYM6[tap]
    return matrix


def _halving(size):
    """The matrix that halves a doubled side again: `(size, 2 size + TAPS - 2)`."""
    matrix = np.zeros((size, 2 * size + TAPS - 2), "float32")
    for pixel in range(size):
        matrix[pixel, 2 * pixel : 2 * pixel + TAPS] = SYM6 / math.sqrt(2)
    return matrix


def _both_sides(rows, images, columns):
    """The product with a matrix along each side."""
    return tf.einsum("sw,nrwc->nrsc", columns, tf.einsum("rh,nhwc->nrwc", rows, images))


def _doubled(places, size):
    """Where pixels' places stand on the doubled side; those beyond its ends are mirrored."""
    last = 2.0 * size + TAPS - 3
    exact = 2.0 * places + CENTRE
    within = tf.clip_by_value(exact, 0.0, last)
    return tf.where(tf.abs(exact - within) < 0.5, within, 2.0 * _mirrored(places, size) + CENTRE)


def transformed(images, matrices):
    """Images transformed by any affine maps: doubled by the wavelet sym6, interpolated, and halved again, so that little is lost
    (Karras et al. 2020, arXiv:2006.06676, appendix B.1). The identity leaves images as they are.

    Args:
        images: `(n, height, width, channels)`.
        matrices: float32 tensor `(n, 3, 3)`.
    """
    height, width = images.shape[1:3]
    larger = _both_sides(_doubling(height), images, _doubling(width))
    places = ((np.arange(2 * side + TAPS - 2) - CENTRE) / 2 for side in (height, width))
    rows, columns = _origins(matrices, *places, height, width)
    rows, columns = _doubled(rows, height), _doubled(columns, width)
    top, left = (tf.minimum(tf.floor(each), size - 2.0) for each, size in zip((rows, columns), larger.shape[1:3], strict=True))
    below, right = (rows - top)[..., None], (columns - left)[..., None]
    upper = _pixels(larger, top, left) * (1.0 - right) + _pixels(larger, top, left + 1.0) * right
    lower = _pixels(larger, top + 1.0, left) * (1.0 - right) + _pixels(larger, top + 1.0, left + 1.0) * right
    return _both_sides(_halving(height), upper * (1.0 - below) + lower * below, _halving(width))
