"""From batches to arrays."""

import heapq
import itertools

import numpy as np
import tensorflow as tf


def as_array(dataset, n=None, seed=None):
    """Collect the batches of a data set in memory.

    Args:
        dataset: `tf.data.Dataset` of batches of images or of pairs (images, labels), as `load` gives them; or arrays already.
            Named extras are left out.
        n: int. At most so many images. Defaults to all.
        seed: int or None. Which n: drawn from all over the data set by this seed, whatever its batches are, in their order there;
            None takes the first, which of sorted images are of one kind. Defaults to None.

    Returns:
        Array `(n, height, width, channels)`, or a pair with the labels `(n,)`.

    Raises:
        ValueError: no images, or a draw from a data set without an end.

    Example:

    >>> gz.data.as_array(gz.data.load(split="test"), n=100, seed=0).shape
    (100, 28, 28, 1)
    """
    if n is not None and seed is not None:
        return _drawn(dataset, n, np.random.default_rng(seed))
    if not isinstance(dataset, tf.data.Dataset):
        return tuple(each[:n] for each in dataset) if isinstance(dataset, (tuple, list)) else dataset[:n]
    batches, seen = [], 0
    for batch in _columns(dataset):
        batches.append(batch)
        seen += len(batch[0])
        if n is not None and seen >= n:
            break
    if not batches:
        raise ValueError("The data set yields no batches, expected one at least.")
    columns = tuple(np.concatenate(parts)[:n] for parts in zip(*batches, strict=True))
    return columns if len(columns) > 1 else columns[0]


def _columns(dataset):
    """The batches of a data set, or the one that arrays are, as tuples of images, and labels where there are any."""
    stream = isinstance(dataset, tf.data.Dataset)
    for batch in dataset.as_numpy_iterator() if stream else [tuple(dataset) if isinstance(dataset, list) else dataset]:
        yield tuple(each for each in (batch if isinstance(batch, tuple) else (batch,)) if not isinstance(each, dict))


def _drawn(dataset, n, random):
    """n images, and labels, in their order: those that get the smallest numbers. Holds n of them and a batch."""
    if isinstance(dataset, tf.data.Dataset) and dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("images are drawn from a data set without an end; give one that ends, as before `.repeat()`.")
    kept, place = [], itertools.count()  # a heap, the largest number first
    for batch in _columns(dataset):
        for number, *row in zip(random.random(len(batch[0])), *batch, strict=True):
            position = next(place)
            if len(kept) < n:
                heapq.heappush(kept, (-number, position, [np.array(each) for each in row]))
            elif -number > kept[0][0]:
                heapq.heapreplace(kept, (-number, position, [np.array(each) for each in row]))
    if not kept:
        raise ValueError("The data set yields no images, expected one at least.")
    columns = tuple(np.stack(parts) for parts in zip(*(row for _, _, row in sorted(kept, key=lambda one: one[1])), strict=True))
    return columns if len(columns) > 1 else columns[0]
