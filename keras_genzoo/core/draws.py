"""A seeded draw of images from all over a data set, for what is fitted after training."""

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.core.batches import unpack
from keras_genzoo.core.images import check_images

BATCH = 256  # images at a time, of arrays
COUNTED = 50  # a data set of fewer batches is read to count its images


def draw_images(dataset, most, seed=0):
    """Yield batches of images, at most `most` in all, drawn from all over a data set in its order.

    Each image has the same chance. The exception are data sets without an end, and iterators, which can be read but once:
    of these the first images are taken, each once where the data set has an `images_count`. A data set of unknown length, or of
    few batches, is read twice.

    Args:
        dataset: array of images, `(images, labels)`, `tf.data.Dataset` or `keras.utils.PyDataset` of batches, or another iterable
            of batches.
        most: int.
        seed: int. Of the draw. Defaults to 0.

    Yields:
        Arrays `(n, height, width, channels)`, uint8 or floats as they came.

    Raises:
        ValueError: there are no images; images that are NaN or out of range.

    Example:

    >>> sum(map(len, draw_images(images, 10)))
    10
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
        picked = (
            images[: most - drawn] if chosen is None else images[: rows - position][chosen[position : position + len(images)]]
        )
        position, drawn = position + len(images), drawn + len(picked)
        check_images(picked)
        if len(picked):
            yield picked
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
    images = unpack(dataset)[0]
    if hasattr(images, "shape"):
        return len(images), (images[start : start + BATCH] for start in range(0, len(images), BATCH))
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
