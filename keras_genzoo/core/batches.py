"""What a batch is, and the first look at data."""

import itertools
import types

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.core.images import check_images


def unpack(data):
    """The pair of images and labels, None where there are none, of what `fit` or a user hands over.

    Args:
        data: images, `(images,)`, `(images, labels)`, or `(images, extras)`, a dict by name.

    Raises:
        ValueError: a dict alone, or more than two things.
    """
    if isinstance(data, dict):
        raise ValueError(f"batches are dicts with keys {sorted(data)}, expected images or (images, labels); map the data set.")
    if isinstance(data, (tuple, list)):
        while len(data) > 1 and data[-1] is None:  # as train_on_batch hands over what it was not given
            data = data[:-1]
        if not 1 <= len(data) <= 2:
            raise ValueError(
                f"batches hold {len(data)} things, expected images or (images, labels); there are no sample weights here."
            )
        second = data[1] if len(data) == 2 else None
        return data[0], (second.get("labels") if isinstance(second, dict) else second)
    return data, None


def extra(data, name):
    """A named extra of a batch `(images, extras)`, or None."""
    extras = data[1] if isinstance(data, (tuple, list)) and len(data) == 2 else None
    return extras.get(name) if isinstance(extras, dict) else None


def first_batch(x, y, batch_size):
    """The first batch of anything `fit` takes, and `x` with that batch put back where reading used it up."""
    if isinstance(x, keras.utils.PyDataset):
        return x[0], x
    if isinstance(x, (tf.data.Dataset, tf.distribute.DistributedDataset)):
        first = next(iter(x), None)
        return tf.nest.map_structure(_local, first), x
    if isinstance(x, types.GeneratorType):
        first = next(x, None)
        return first, (batch for batch in itertools.chain([first], x))
    if isinstance(x, dict):
        return x, x
    if x is None or not len(x):
        return None, x
    size = batch_size or 32
    return (x[:size] if y is None else (x[:size], y[:size])), x


def _local(value):
    return value.values[0] if isinstance(value, tf.distribute.DistributedValues) else value


def some_images(dataset, first, count=1000, seed=0):
    """About `count` images of what `fit` was given, for what depends on data and is done once. Nothing is used up.

    Of arrays and of a `PyDataset` they are drawn from all over it, of other data sets they are the first ones. Of a generator,
    whose batches are gone when they are read, they are the first batch alone.

    Args:
        dataset: what `fit` was given, or None for the first batch alone.
        first: the first batch, as `prepare` is given it.
        count: int. Whole batches are read until there are as many. Defaults to 1,000.
        seed: int. Of the draw. Defaults to 0.

    Returns:
        Array `(n, height, width, channels)`, uint8 or floats as they came.

    Raises:
        ValueError: images that are NaN or out of range.
    """
    found = []
    for batch in _spread(dataset, first, count, np.random.default_rng(seed)):
        found.append(np.asarray(unpack(batch)[0]))
        if sum(map(len, found)) >= count:
            break
    found = np.concatenate(found)
    check_images(found)
    return found


def _spread(dataset, first, count, random):
    """Batches of `some_images`."""
    if isinstance(dataset, keras.utils.PyDataset) and dataset.num_batches is not None:
        return (dataset[index] for index in random.permutation(dataset.num_batches).tolist())
    if isinstance(dataset, (tf.data.Dataset, tf.distribute.DistributedDataset)):
        return (tf.nest.map_structure(_local, batch) for batch in dataset)
    if not isinstance(dataset, (np.ndarray, tf.Tensor)):
        return [first]
    rows = np.sort(random.permutation(len(dataset))[:count])
    return [dataset[rows] if isinstance(dataset, np.ndarray) else tf.gather(dataset, rows)]


def count(dataset, first):
    """How many images `fit` was given, or None.

    Args:
        dataset: what `fit` was given.
        first: images of its first batch.
    """
    if getattr(dataset, "images_count", None):
        return dataset.images_count
    if isinstance(dataset, tf.data.Dataset):
        batches = int(dataset.cardinality())
        return batches * first.shape[0] if batches >= 0 else None
    return len(dataset) if isinstance(dataset, (np.ndarray, tf.Tensor)) else None


def check_batch(model, batch, what):
    """Raise one sentence unless a first batch is what the model takes.

    Args:
        model: `GenerativeModel`.
        batch: what `first_batch` gave.
        what: str. What its images are called in the message.
    """
    if batch is None:
        raise ValueError(f"there are no {what}: the data set is empty.")
    images, labels = unpack(batch)
    check_images(images, what)
    model.images_of(images)
    for name in set(model.data_needs) - {"labels"}:
        model.extra_of(batch, name)
    if model.conditional:
        labels = np.asarray(model.labels_of((images, labels)))
        if model.num_classes and (labels.min(initial=0) < 0 or labels.max(initial=0) >= model.num_classes):
            raise ValueError(
                f"the labels of {what} lie between {labels.min()} and {labels.max()}, expected classes between 0 and "
                f"{model.num_classes - 1}; build the model with num_classes={labels.max() + 1}."
            )
