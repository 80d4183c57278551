"""A seeded draw of images from all over a data set, for what is fitted after training."""

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.core.batches import apart, rows_of, told_of, unpack
from keras_genzoo.core.images import check_images

BATCH = 256  # images at a time, of arrays
COUNTED = 50  # a data set of fewer batches is read to count its images


def draw_images(dataset, most, seed=0):
    """Yield the images of `draw_rows` alone, arrays `(n, height, width, channels)`.

    Example:

    >>> sum(map(len, draw_images(images, 10)))
    10
    """
    return (images for images, _ in draw_rows(dataset, most, seed))


def draw_rows(dataset, most, seed=0):
    """Yield batches of images and what is told beside them, at most `most` in all, drawn from all over a data set in its order.

    Each image has the same chance. The exception are data sets without an end, and iterators, which can be read but once:
    of these the first images are taken, each once where the data set has an `images_count`. A data set of unknown length, or of
    few batches, is read twice.

    Args:
        dataset: array of images, `(images, labels)`, `tf.data.Dataset` or `keras.utils.PyDataset` of batches, or another iterable
            of batches.
        most: int.
        seed: int. Of the draw. Defaults to 0.

    Yields:
        Pairs of an array `(n, height, width, channels)`, uint8 or floats as they came, and a dict of its `labels` and
        `conditions`, of those that there are.

    Raises:
        ValueError: there are no images; images that are NaN or out of range.
    """
    rows, batches = _rows_and_batches(dataset)
    if rows is None:  # once round at most, of a data set that repeats a number of images that it knows
        most = min(most, getattr(dataset, "images_count", None) or most)
    chosen = None
    if rows is not None:
        chosen = np.zeros(rows, bool)
        chosen[np.random.default_rng(seed).permutation(rows)[:most]] = True
    position = drawn = 0
    for batch in batches:
        images = np.asarray(unpack(batch)[0])
        cut = slice(most - drawn) if chosen is None else np.flatnonzero(chosen[position : position + len(images)])
        picked, told = images[cut], {name: np.asarray(value)[cut] for name, value in told_of(batch).items()}
        position, drawn = position + len(images), drawn + len(picked)
        check_images(picked)
        if len(picked):
            yield picked, told
        if drawn >= most:
            break
    if not drawn:
        raise ValueError("there are no images: the data set is empty.")


def _rows_and_batches(dataset):
    """How many images there are, None where that is not known, and an iterable of batches."""
    if isinstance(dataset, keras.utils.PyDataset):
        count = dataset.num_batches
        return (None if count is None else count * _size(dataset[0])), (dataset[index] for index in _numbers(count))
    if isinstance(dataset, tf.data.Dataset):
        return _length(dataset), dataset
    images, beside = apart(dataset)
    if hasattr(images, "shape"):
        cuts = (slice(start, start + BATCH) for start in range(0, len(images), BATCH))
        return len(images), (images[cut] if beside is None else (images[cut], rows_of(beside, cut)) for cut in cuts)
    return None, dataset


def _numbers(count):
    return iter(int, 1) if count is None else range(count)


def _size(batch):
    return len(unpack(batch)[0])


def _length(dataset):
    batches = int(dataset.cardinality())
    if batches == tf.data.INFINITE_CARDINALITY:
        return None
    if batches < COUNTED:  # or unknown, which is negative
        return sum(map(_size, dataset))
    # The last batch may be smaller: a few places of the draw are then empty.
    return sum(batches * _size(batch) for batch in dataset.take(1))
