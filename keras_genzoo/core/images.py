"""The image convention of the package, stated once: layout, range, and how the 256 levels map to real numbers.

Outside a model an image is `uint8` 0..255, `uint16` 0..65535 or floating point in [0, 1], `(batch, height, width, channels)`;
level k is the number k / 255. Densities live on the unit cube, where level k owns the interval [k / 256, (k + 1) / 256).
Likelihoods are of 256 levels: of other numbers they take the nearest level.
"""

import math

import numpy as np
import tensorflow as tf

from keras_genzoo.core.files import replacing

LEVELS = 256
WIDTHS = {tf.uint8: LEVELS - 1, tf.uint16: 65535}  # the number that is white


ROWS = 1000  # images that are looked at together for the one that is bad


def check_images(images, what="images", first=0, batch=None, expected=None):
    """Raise one sentence unless `images` are images by the convention above. Nothing is copied.

    Args:
        images: array or eager tensor.
        what: str. What the images are called in the message.
        first: int. The number of the first of them, for the message. Defaults to 0.
        batch: int or None. The number of the batch that they are, for the message. Defaults to None.
        expected: `(height, width, channels)` or None. The shape that an image has, for the message. Defaults to None.

    Raises:
        ValueError: the rank is not 4, the dtype is neither `uint8`, `uint16` nor floating, or a value is NaN, infinite or
            outside [0, 1].
    """
    images = np.asarray(images)
    if images.ndim != 4:
        hint = "; add the channel axis with `images[..., None]`" if images.ndim == 3 else ""
        if images.shape == expected:
            hint = "; that is one image: add the batch axis with `image[None]`, or to a data set by `.batch(128)`"
        raise ValueError(f"{what} have shape {images.shape}, expected (batch, height, width, channels){hint}.")
    check_dtype(images.dtype, what)
    if tf.as_dtype(images.dtype) in WIDTHS or not images.size:
        return
    low, high = float(images.min()), float(images.max())  # NaN if any value is NaN
    if 0 <= low and high <= 1:
        return
    number = first + _first_bad(images)
    where = f"image {number}" if batch is None else f"image {number} of batch {batch}"
    where = f" (the first is {where}, counted from 0)" if number or batch else ""
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{what} hold NaN or infinite values{where}, expected numbers in [0, 1]; remove or repair them.")
    if low >= -1:
        fix = "use `images / 255`, or `images.astype('uint8')`" if high > 1 else "use `(images + 1) / 2` if they are in [-1, 1]"
    else:
        fix = "scale them to [0, 1]"
    raise ValueError(
        f"{what} are floats between {low:g} and {high:g}{where}, expected floats in [0, 1] or uint8 in 0..255; {fix}."
    )


def _first_bad(images):
    """The number of the first image with a number that is not in [0, 1]."""
    for start in range(0, len(images), ROWS):
        rows = images[start : start + ROWS]
        bad = ~((rows >= 0) & (rows <= 1)).all(axis=(1, 2, 3))  # NaN too
        if bad.any():
            return start + int(bad.argmax())


def check_scale(images, what="images"):
    """Raise one sentence if levels are 0 and 1 alone, which is binary images that were not scaled; of all images at hand.

    Args:
        images: array.
        what: str. What the images are called in the message.
    """
    if images.dtype == np.uint8 and images.size and images.max() == 1:
        raise ValueError(f"{what} are uint8 of 0 and 1 alone, which is all but black; use `255 * images`, or floats.")


def check_layout(shape, what="images"):
    """Raise one sentence if a shape looks like that of images with their channels first.

    Args:
        shape: `(height, width, channels)`, as they came; None where a size is not known.
        what: str. What the images are called in the message.
    """
    first, *others = shape
    if first in (1, 3) and all(size is not None and size > 4 for size in others):
        raise ValueError(
            f"{what} have shape {tuple(shape)} each, expected (height, width, channels); channels come last: use "
            f"`images.transpose(0, 2, 3, 1)`."
        )


def check_dtype(dtype, what="images"):
    """Raise one sentence unless images of this dtype are taken: `uint8`, `uint16` or floating."""
    dtype = tf.as_dtype(dtype)
    if dtype not in WIDTHS and not dtype.is_floating:
        raise ValueError(
            f"{what} are {dtype.name}, expected uint8 in 0..255, uint16 in 0..65535 or floats in [0, 1]; convert levels "
            f"of 0..255 with `.astype('uint8')`, and others by the number that is white, as in `images / 1023`."
        )


def to_unit(images):
    """`uint8` or `uint16` numbers, or floats in [0, 1], to float32 in [0, 1]."""
    images = tf.convert_to_tensor(images)
    check_dtype(images.dtype)
    scaled = tf.cast(images, tf.float32)
    return scaled / WIDTHS[images.dtype] if images.dtype in WIDTHS else scaled


def to_levels(images):
    """Floats in [0, 1] to the nearest of the 256 levels, `uint8`; levels as they are."""
    images = tf.convert_to_tensor(images)
    if images.dtype == tf.uint8:
        return images
    if images.dtype == tf.uint16:
        images = to_unit(images)
    return tf.cast(tf.round(tf.clip_by_value(images, 0, 1) * (LEVELS - 1)), tf.uint8)


def on_levels(images, levels=LEVELS):
    """Floats in [0, 1] at the nearest of the levels, k / 255 unless there are fewer."""
    return tf.round(images * (levels - 1)) / (levels - 1)


def full_mask(mask, shape):
    """A mask of known pixels, `(height, width)` or of what broadcasts to the shape of images, as bool array of that shape.

    Raises:
        ValueError: other values than 0 and 1, or another shape.
    """
    mask = np.asarray(mask)
    mask = mask[..., None] if mask.ndim == 2 else mask
    if not np.isin(mask, (0, 1)).all():
        raise ValueError("mask holds other values than 0 and 1, expected 1 where pixels are known and 0 where they are missing.")
    try:
        return np.broadcast_to(mask, shape).astype(bool)
    except ValueError:
        raise ValueError(f"mask has shape {mask.shape}, expected one that broadcasts to {tuple(shape)}.") from None


def coarse(images, levels):
    """Images in [0, 1] to numbers of coarser levels, which share the 256 among them evenly: 0 to `levels` - 1, as floats."""
    return tf.floor(tf.round(images * (LEVELS - 1)) * (levels / LEVELS))


def dequantise(images, uniform, levels=LEVELS):
    """Images in [0, 1] to points of the unit cube, (k + u) / 256, with k the nearest level and u uniform on [0, 1) (Uria et al.
    2013); never 0 or 1, of which a logit is infinite and to which float32 would round the ends of u. Of fewer levels, a power of
    2, they are (k + u) / levels."""
    return tf.clip_by_value((coarse(images, levels) + uniform) / levels, 2.0**-33, 1.0 - 2.0**-24)


def to_cube(images, levels=LEVELS):
    """Images in [0, 1] to the points of the unit cube where the intervals of levels are centred, (k + 1 / 2) / 256."""
    numbers = images * (LEVELS - 1) if levels == LEVELS else coarse(images, levels)
    return (numbers + 0.5) / levels


def from_cube(points):
    """A point of the unit cube to the image in [0, 1] whose level's interval is centred there; clipped."""
    return tf.clip_by_value((points * LEVELS - 0.5) / (LEVELS - 1), 0.0, 1.0)


def _columns(n):
    """Images a row of a sheet of n that is about square, without gaps in the last row unless it became twice as wide."""
    least = math.ceil(math.sqrt(n))
    return next((columns for columns in range(least, int(2 * math.sqrt(n)) + 1) if n % columns == 0), least)


def tile(images, columns=None, gap=1):
    """Images side by side on one sheet, row by row, with a white line between them.

    Args:
        images: `uint8`, or floats in [0, 1], `(n, height, width, channels)`; of other channels than 1 and 3 the mean is shown.
        columns: int or None. Images a row; None makes the sheet about square, with full rows if it can. Defaults to None.
        gap: int. Width of the line in pixels. Defaults to 1.

    Returns:
        uint8 `(rows, columns)` in gray, `(rows, columns, 3)` in colour.
    """
    images = to_levels(images).numpy()
    if images.shape[-1] not in (1, 3):
        images = images.mean(axis=-1, keepdims=True).round().astype("uint8")
    n, height, width, channels = images.shape
    columns = min(n, columns or _columns(n))
    rows = math.ceil(n / columns)
    cells = np.full((rows * columns, height + gap, width + gap, channels), 255, np.uint8)
    cells[:n, :height, :width] = images
    sheet = cells.reshape(rows, columns, height + gap, width + gap, channels).swapaxes(1, 2)
    sheet = sheet.reshape(rows * (height + gap), columns * (width + gap), channels)[: -gap or None, : -gap or None]
    return sheet[..., 0] if channels == 1 else sheet


def write_png(path, images, columns=None, scale=2):
    """Write a sheet of images (`tile`) as PNG, each pixel `scale` times as large. A crash leaves the old file or the new."""
    from PIL import Image

    sheet = Image.fromarray(tile(images, columns))
    with replacing(path) as temporary:
        sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST).save(temporary, format="PNG")
