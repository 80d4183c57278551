"""From batches to arrays."""

import heapq
import itertools

import numpy as np
import tensorflow as tf

from keras_genzoo.core.batches import TOLD, with_told


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
    columns = _collected(dataset, n, seed)
    return columns if len(columns) > 1 else columns[0]


def as_batch(dataset, n=None, seed=None):
    """Collect a data set in memory as one batch, with the labels and vectors that a conditional model is told.

    Args:
        dataset, n, seed: as in `as_array`.

    Returns:
        Array `(n, height, width, channels)`, or the pair of it and a dict of `labels` and `conditions`, of those that there are.

    Example:

    >>> images, told = gz.data.as_batch(gz.data.load(split="test", labels=True), n=100, seed=0)
    >>> told["labels"].shape
    (100,)
    """
    spec = getattr(dataset, "element_spec", dataset)
    beside = spec[1] if isinstance(spec, (tuple, list)) and len(spec) > 1 else None
    names = [] if beside is None else ["labels"]
    if isinstance(beside, dict):
        names = [name for name in TOLD if name in beside]
    images, *told = _collected(dataset, n, seed, names)
    return with_told(images, dict(zip(names, told, strict=True)))


def _collected(dataset, n, seed, names=()):
    """The columns of a data set as arrays: images, labels where they stand in a pair, and extras of these names."""
    if n is not None and seed is not None:
        return _drawn(dataset, n, np.random.default_rng(seed), names)
    if not isinstance(dataset, tf.data.Dataset):
        return tuple(each[:n] for each in next(_columns(dataset, names)))
    batches, seen = [], 0
    for batch in _columns(dataset, names):
        batches.append(batch)
        seen += len(batch[0])
        if n is not None and seen >= n:
            break
    if not batches:
        raise ValueError("The data set yields no batches, expected one at least.")
    return tuple(np.concatenate(parts)[:n] for parts in zip(*batches, strict=True))


def _columns(dataset, names=()):
    """The batches of a data set, or the one that arrays are, as tuples of images, labels where they stand in a pair, and extras
    of these names."""
    stream = isinstance(dataset, tf.data.Dataset)
    for batch in dataset.as_numpy_iterator() if stream else [tuple(dataset) if isinstance(dataset, list) else dataset]:
        batch = batch if isinstance(batch, tuple) else (batch,)
        extras = next((each for each in batch if isinstance(each, dict)), {})
        yield (*(each for each in batch if not isinstance(each, dict)), *(extras[name] for name in names if name in extras))


def _drawn(dataset, n, random, names):
    """n images, and what goes with them, in their order: those that get the smallest numbers. Holds n of them and a batch."""
    if isinstance(dataset, tf.data.Dataset) and dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("images are drawn from a data set without an end; give one that ends, as before `.repeat()`.")
    kept, place = [], itertools.count()  # a heap, the largest number first
    for batch in _columns(dataset, names):
        for number, *row in zip(random.random(len(batch[0])), *batch, strict=True):
            position = next(place)
            if len(kept) < n:
                heapq.heappush(kept, (-number, position, [np.array(each) for each in row]))
            elif -number > kept[0][0]:
                heapq.heapreplace(kept, (-number, position, [np.array(each) for each in row]))
    if not kept:
        raise ValueError("The data set yields no images, expected one at least.")
    return tuple(np.stack(parts) for parts in zip(*(row for _, _, row in sorted(kept, key=lambda one: one[1])), strict=True))
