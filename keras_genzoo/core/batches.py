"""What a batch is, and the first look at data."""

import itertools
import math
import types

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.core.images import check_images, check_scale

NUMBERS = 2**24  # of the images that something takes its first values from: 64 MiB of floats


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
    _, extras = apart(data)
    return extras.get(name) if isinstance(extras, dict) else None


TOLD = "labels", "conditions"


def told_of(data):
    """What a batch tells beside images, a dict of its `labels` and `conditions`, of those that are there."""
    found = {"labels": unpack(data)[1], "conditions": extra(data, "conditions")}
    return {name: rows for name, rows in found.items() if rows is not None}


def with_told(images, told):
    """A batch of images with a dict as `told_of` gives it; the images alone where it is empty."""
    return (images, dict(told)) if told else images


def joined(x, y=None):
    """Images and what stands beside them, labels or a dict of extras, as one pair; images alone where nothing does."""
    return x if y is None else (x, y if hasattr(y, "shape") or isinstance(y, dict) else np.asarray(y))


def apart(data):
    """Images, and what stands beside them: labels, a dict of extras, or None."""
    images, labels = unpack(data)
    beside = data[1] if isinstance(data, (tuple, list)) and len(data) > 1 else None
    return images, beside if isinstance(beside, dict) else labels


def rows_of(array, cut):
    """Some rows of an array, or of each array of a dict."""
    return {name: rows[cut] for name, rows in array.items()} if isinstance(array, dict) else array[cut]


def first_batch(x, y, batch_size):
    """The first batch of anything `fit` takes, and `x` with that batch put back where reading used it up."""
    if isinstance(x, keras.utils.PyDataset):
        return x[0], x
    if isinstance(x, (tf.data.Dataset, tf.distribute.DistributedDataset)):
        # Of shuffled streams there is a look that does not fill the buffer.
        first = next(iter(getattr(x, "looked_at", x)), None)
        return tf.nest.map_structure(_local, first), x
    if isinstance(x, types.GeneratorType):
        first = next(x, None)
        return first, (batch for batch in itertools.chain([first], x))
    if isinstance(x, dict):
        return x, x
    if x is None or not len(x):
        return None, x
    size = batch_size or 32
    return (x[:size] if y is None else (x[:size], rows_of(y, slice(size)))), x


def pieces(rows, size, are_images, given=None):
    """Images or codes, so many at a time.

    Args:
        rows: array or tensor, or a data set, `keras.utils.PyDataset` or generator of batches. Images may come in pairs with
            labels, or with a dict of extras; codes may be tuples of arrays.
        size: int. The most rows of a piece.
        are_images: bool. Whether a pair is one of images and what goes with them.
        given: dict of arrays with a row for each row, by the names of `TOLD`, or None.

    Yields:
        The number of the first row, the rows, a dict of what goes with them, and whether there are more than this piece.

    Raises:
        ValueError: no rows, another number of labels, or a `PyDataset` without an end.
    """
    what, start, given = "images" if are_images else "codes", 0, given or {}
    streams = isinstance(rows, (tf.data.Dataset, keras.utils.PyDataset, types.GeneratorType))
    if streams and given:
        named = next(iter(given))
        pair = "(images, labels)" if named == "labels" else "(images, extras)"
        raise ValueError(f"{named} were given beside a data set; give a data set of {pair}.")
    if isinstance(rows, keras.utils.PyDataset) and rows.num_batches is None:
        raise ValueError("the data set has no end; give one that says its num_batches, or an array.")
    batches = (rows[i] for i in range(rows.num_batches)) if isinstance(rows, keras.utils.PyDataset) else rows
    for batch in batches if streams else [rows]:
        known = given or (told_of(batch) if are_images else {})
        known = {name: np.atleast_1d(value) for name, value in known.items()}
        batch = unpack(batch)[0] if are_images else batch
        batch = tf.nest.map_structure(lambda x: x if hasattr(x, "shape") else np.asarray(x), batch)
        count = tf.nest.flatten(batch)[0].shape[0]
        for name, value in known.items():
            if len(value) != count:
                raise ValueError(f"there are {len(value)} {name} of {count} {what}, expected one each.")
        for first in range(0, count, size):
            cut = slice(first, first + size)
            piece = tf.nest.map_structure(lambda x, cut=cut: x[cut], batch)
            yield start + first, piece, rows_of(known, cut), streams or count > size
        start += count
    if not start:
        raise ValueError(f"there are no {what}: what was given is empty.")


def _local(value):
    return value.values[0] if isinstance(value, tf.distribute.DistributedValues) else value


def some_images(dataset, first, count=1000, seed=0):
    """The images of `some_batch` alone, array `(n, height, width, channels)`."""
    return unpack(some_batch(dataset, first, count, seed))[0]


def some_batch(dataset, first, count=1000, seed=0):
    """About `count` images of what `fit` was given, fewer large ones, for what depends on data once. Nothing is used up.

    Of arrays and of a `PyDataset` they are drawn from all over it, of other data sets they are the first ones. Of a generator,
    whose batches are gone when they are read, they are the first batch alone.

    Args:
        dataset: what `fit` was given, a pair where labels stood beside an array, or None for the first batch alone.
        first: the first batch, as `prepare` is given it.
        count: int. Whole batches are read until there are as many, or 64 MiB of floats. Defaults to 1,000.
        seed: int. Of the draw. Defaults to 0.

    Returns:
        Array `(n, height, width, channels)`, uint8 or floats as they came; with labels or vectors the pair of it and a dict of
        these.

    Raises:
        ValueError: images that are NaN or out of range.
    """
    found, told = [], []
    count = min(count, max(1, NUMBERS // math.prod(unpack(first)[0].shape[1:])))
    for batch in _spread(dataset, first, count, np.random.default_rng(seed)):
        found.append(np.asarray(unpack(batch)[0]))
        told.append(told_of(batch))
        if sum(map(len, found)) >= count:
            break
    found = np.concatenate(found)
    check_images(found)
    names = [name for name in TOLD if all(name in each for each in told)]
    return with_told(found, {name: np.concatenate([np.asarray(each[name]) for each in told]) for name in names})


def _spread(dataset, first, count, random):
    """Batches of `some_batch`."""
    if isinstance(dataset, keras.utils.PyDataset) and dataset.num_batches is not None:
        return (dataset[index] for index in random.permutation(dataset.num_batches).tolist())
    if isinstance(dataset, (tf.data.Dataset, tf.distribute.DistributedDataset)):
        return (tf.nest.map_structure(_local, batch) for batch in dataset)
    images = dataset[0] if isinstance(dataset, tuple) else dataset
    if not isinstance(images, (np.ndarray, tf.Tensor)):
        return [first]
    rows = np.sort(random.permutation(len(images))[:count])
    return [tf.nest.map_structure(lambda each: each[rows] if isinstance(each, np.ndarray) else tf.gather(each, rows), dataset)]


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
    if isinstance(dataset, keras.utils.PyDataset):
        return len(dataset) * first.shape[0] if dataset.num_batches is not None else None
    dataset = dataset[0] if isinstance(dataset, tuple) else dataset
    return len(dataset) if isinstance(dataset, (np.ndarray, tf.Tensor)) else None


def check_rows(model, batch, what):
    """Raise one sentence if a first batch is too small for what the model compares within a batch (`least_rows`)."""
    rows = len(unpack(batch)[0])
    if rows < model.least_rows:
        raise ValueError(
            f"the first batch of {what} holds {rows} of them, expected at least {model.least_rows}, as {type(model).__name__} "
            f"compares the images of a batch with each other; make the batches larger."
        )


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
    if not len(images):
        raise ValueError(f"there are no {what}: the first batch is empty.")
    check_images(images, what, expected=model.image_shape)
    check_scale(np.asarray(images), what)
    model.images_of(images)
    for name in set(model.data_needs) - {"labels", *model.data_spared}:
        model.extra_of(batch, name)
    if model.conditional:
        check_labels(model, model.labels_of((images, labels)), f"the labels of {what}")
    if model.condition_dim is not None:
        check_vectors(model, model.extra_of(batch, "conditions"), f"the conditions of {what}", len(images))


def check_labels(model, labels, what):
    """Raise one sentence unless labels that a user hands over are what a conditional model takes.

    Args:
        model: `GenerativeModel`.
        labels: an array.
        what: str. What they are called in the message.
    """
    if not model.num_classes:
        return
    labels = np.asarray(class_numbers(labels, what))
    check_whole_numbers(labels, what)
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= model.num_classes:
        raise ValueError(
            f"{what} lie between {labels.min()} and {labels.max()}, expected classes between 0 and {model.num_classes - 1}; "
            f"build the model with num_classes={int(labels.max()) + 1}."
        )


def check_vectors(model, vectors, what, n=None):
    """Vectors that a user hands over, as a float32 array.

    Args:
        model: `GenerativeModel`.
        vectors: an array.
        what: str. What they are called in the message.
        n: int or None. How many there have to be; None is any number. Defaults to None.

    Raises:
        ValueError: a model without a `condition_dim`; another shape than `(n, condition_dim)`, no numbers, or NaN or infinite
            ones.
    """
    if model.condition_dim is None:
        raise ValueError(f"{what} were given, but {type(model).__name__} {model.name!r} takes none.")
    vectors = np.asarray(vectors)
    rows = n if n is not None or not vectors.ndim else len(vectors)
    if vectors.shape != (rows, model.condition_dim):
        other = vectors.ndim == 2 and len(vectors) == rows
        fix = f"; build the model with condition_dim={vectors.shape[1]}" if other else ""
        raise ValueError(
            f"{what} have shape {vectors.shape}, expected ({rows}, {model.condition_dim}), a vector for each image{fix}."
        )
    if vectors.dtype.kind not in "iufb":
        raise ValueError(f"{what} are {vectors.dtype}, as {str(vectors.flat[0])!r}, expected numbers.")
    vectors = vectors.astype(np.float32)
    if not np.isfinite(vectors).all():
        row = int(np.argmin(np.isfinite(vectors).all(axis=1)))
        raise ValueError(f"{what} hold NaN or infinite values (the first in row {row}), expected finite numbers.")
    return vectors


def by_row(model, told, given):
    """Labels and vectors of some rows as checked tensors by name. Left out are those that stand in a data set, and that the model
    does not need.

    Args:
        model: `GenerativeModel`.
        told: dict of arrays.
        given: the names that a user gave apart from the images.
    """
    found = {}
    if "labels" in told and (model.conditional or "labels" in given):
        found["labels"] = tf.constant(model._labels(len(told["labels"]), None, told["labels"]), tf.int64)
    if "conditions" in told and (model.condition_dim is not None or "conditions" in given):
        found["conditions"] = tf.constant(check_vectors(model, told["conditions"], "conditions", len(told["conditions"])))
    return found


def check_whole_numbers(labels, what):
    """Raise one sentence unless labels are whole numbers."""
    if labels.dtype.kind not in "iufb":
        raise ValueError(
            f"{what} are {labels.dtype}, as {str(labels.flat[0])!r}, expected whole numbers; use "
            f"`numpy.unique(labels, return_inverse=True)[1]`."
        )
    if labels.dtype.kind == "f" and (labels != np.round(labels)).any():
        raise ValueError(f"{what} hold {labels[labels != np.round(labels)][0]}, expected whole numbers.")


def class_numbers(labels, what="labels"):
    """Labels `(batch,)` of labels `(batch,)` or `(batch, 1)`; raises one sentence for other shapes."""
    shape = labels.shape if hasattr(labels, "shape") else np.shape(labels)
    if len(shape) == 2 and shape[1] == 1:
        return labels[:, 0]
    if len(shape) != 1:
        raise ValueError(
            f"{what} have shape {tuple(shape)}, expected a class number an image, (batch,) or (batch, 1); "
            f"turn one-hot labels into numbers by labels.argmax(axis=-1)."
        )
    return labels


def one_hot(labels, classes):
    """Class numbers as float32 `(batch, classes)`.

    Raises:
        ValueError: another shape than `(batch,)` or `(batch, 1)`.
        tf.errors.InvalidArgumentError: a label that is no class. XLA leaves the question out: there its row is NaN, and so is
            the loss.
    """
    labels = tf.convert_to_tensor(labels)
    # Keras traces a step for any rank once it has met two; the first look at data has refused others.
    labels = tf.reshape(labels, (-1,)) if labels.shape.rank is None else class_numbers(labels)
    numbers = tf.cast(labels, tf.float32)
    known = (numbers >= 0) & (numbers < classes) & (numbers == tf.round(numbers))
    tf.debugging.Assert(
        tf.reduce_all(known),
        [f"labels are none of the classes 0 to {classes - 1}; build the model with more num_classes", labels],
    )
    return tf.where(known[:, None], tf.one_hot(tf.cast(labels, tf.int32), classes), math.nan)
