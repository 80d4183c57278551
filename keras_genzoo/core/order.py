"""In which order images come: a pure function of a seed, the number of the pass, and the position in it.

A training that was stopped sees the images that it would have seen, since nothing but these numbers has to be known.
"""

import functools
import zlib

import numpy as np
import tensorflow as tf

from keras_genzoo.core.randomness import fold, make_key, uniform

BLANK = np.int64(-1)  # the index of rows of a blank batch, which nobody looks at


class Passes:
    """Which pass over the data an iteration of a data set is: the next one, each time, from a variable that `fit` sets.

    Args:
        batches: int or None. Batches of a pass, where that is known.
        mark: anything with a `repr`. By which orders are told apart.
    """

    def __init__(self, batches, mark):
        self.batches, self.mark = batches, zlib.crc32(repr(mark).encode())
        with tf.device("CPU:0"):
            self._pass, self._skip = (tf.Variable(0, dtype=tf.int64, trainable=False) for _ in range(2))

    def start(self, number, skip=0):
        """Let the next iteration be this pass, whose first batches so many may come blank: they are read and left alone."""
        self._pass.assign(number)
        self._skip.assign(skip)

    def _next(self):
        """Number of this pass, and how many batches of it are blank, int64 `(2,)`."""
        state = tf.stack([self._pass.read_value(), self._skip.read_value()])
        with tf.control_dependencies([state]):
            changed = self._pass.assign_add(1), self._skip.assign(0)
        with tf.control_dependencies(changed):
            return tf.identity(state)

    def shuffled(self, stream, buffer, seed, flip=False):
        """The elements of a data set, shuffled in a buffer, in an order that follows from a seed and the pass.

        Args:
            stream: `tf.data.Dataset` of images, or of tuples that begin with one.
            buffer: int. Elements in it; 1 leaves them in their order.
            seed: int.
            flip: bool. Whether to mirror images at random, by the seed, the pass and the position. Defaults to False.
        """

        def flipped(element, mirrored):
            image, *others = element if isinstance(element, tuple) else (element,)
            image = tf.cond(mirrored, lambda: tf.reverse(image, [-2]), lambda: image)
            return (image, *others) if others else image

        def one_pass(number):
            # `Dataset.shuffle` takes no seed that is known only then.
            pair = make_key(seed, number)
            variant = tf.raw_ops.ShuffleDataset(
                input_dataset=tf.data.experimental.to_variant(stream),
                buffer_size=tf.constant(buffer, tf.int64),
                seed=pair[0],
                seed2=pair[1],
                output_types=[spec.dtype for spec in tf.nest.flatten(stream.element_spec)],
                output_shapes=[spec.shape for spec in tf.nest.flatten(stream.element_spec)],
                reshuffle_each_iteration=False,
            )
            images = tf.data.experimental.from_variant(variant, stream.element_spec)
            if not flip:
                return images
            key = make_key(seed, number, 1)  # many coins at a time: to make a key takes longer than to mirror an image
            coins = tf.data.Dataset.range(2**32).map(lambda block: uniform(fold(key, block), (1024,)) < 0.5).unbatch()
            return tf.data.Dataset.zip((images, coins)).map(flipped, tf.data.AUTOTUNE)

        passes = tf.data.Dataset.from_tensors(0).map(lambda _: self._next()[0]).flat_map(one_pass)
        count = int(stream.cardinality())
        return passes.apply(tf.data.experimental.assert_cardinality(count)) if count >= 0 else passes


class Order(Passes):
    """The batches of indices of `count` images, pass after pass.

    Args:
        count: int. Number of images.
        batch_size: int. Rows of a batch.
        shuffled: bool. Whether each pass has an order of its own; else they come as they are.
        seed: int.
        drop_remainder: bool. Whether to leave out a last batch that is not full.
        row: int. Images of a row; the last images, too few for a row, are left out. Defaults to 1.
        flip: bool. Whether to mirror images at random, by the seed, the pass and the position: the index of one that is mirrored
            is `count` more than its own, see `columns`. Defaults to False.
    """

    def __init__(self, count, batch_size, shuffled, seed, drop_remainder, row=1, flip=False):
        self.count, self.shuffled, self.seed, self.row, self.flip = count, shuffled, seed, row, flip
        self.used, self.size = count // row * row, batch_size * row  # images of a pass and of a batch
        self.full = self.used % self.size == 0 or drop_remainder  # whether all batches are
        batches = self.used // self.size if self.full else -(-self.used // self.size)
        super().__init__(batches, (count, batch_size, shuffled, seed, batches, row, *(["flip"] if flip else [])))
        self._of = functools.lru_cache(2)(self._of)  # a pass and the one that is fetched ahead

    def dataset(self):
        """`tf.data.Dataset` of int64 indices `(batch,)`, or `(batch, row)` where there are several images a row."""
        # Of batches, so that their number and size are known to TensorFlow, which shares them out among replicas.
        positions = tf.data.Dataset.range(self.used).batch(self.size, drop_remainder=self.full)
        return positions.scan(tf.constant([-1, 0], tf.int64), self._begun).map(self._indices)

    def _begun(self, state, positions):
        """Which pass an iteration is, asked with its first batch."""
        state = tf.cond(state[0] < 0, self._next, lambda: state)
        return state, (positions, state)

    def _indices(self, positions, state):
        chosen = lambda number, first: self._of(int(number))[first : first + self.size]  # noqa: E731
        indices = tf.numpy_function(chosen, [state[0], positions[0]], tf.int64)
        indices = tf.where(positions[0] // self.size < state[1], tf.fill(tf.shape(indices), BLANK), indices)
        shape = (self.size if self.full else None,)
        if self.row > 1:
            indices, shape = tf.reshape(indices, (-1, self.row)), (shape[0] and shape[0] // self.row, self.row)
        return tf.ensure_shape(indices, shape)

    def _of(self, number):
        """The indices of a pass, int64. TensorFlow's own function of this kind, `index_shuffle`, is far from even."""
        indices = np.arange(self.used)
        if self.shuffled:
            indices = np.argsort(self._bits(self.count, number), kind="stable")[: self.used]
        return indices + self.count * (self._bits(self.used, number, 1) >> 63).astype(np.int64) if self.flip else indices

    def _bits(self, count, *numbers):
        # Raw bits, which stay the same with any version of NumPy.
        return np.random.PCG64(np.random.SeedSequence([self.seed % 2**64, *numbers])).random_raw(count)

    def columns(self, columns):
        """Columns for `taken` of the indices of this order, given those of the images."""
        return [self._flipped(*each) for each in columns] if self.flip else columns

    def _flipped(self, rows, spec):
        def read(indices):
            found, mirrored = rows(indices % self.count), indices >= self.count
            if spec.shape.rank >= 3:  # images, and not their labels
                found[mirrored] = found[mirrored][..., ::-1, :]
            return found

        return read, spec


def taken(dataset, columns, combine, parallel=None):
    """Batches of rows by the indices of a data set. Nothing is copied but the rows.

    Args:
        dataset: as `Order.dataset` gives it.
        columns: list of pairs of a function of indices `(n,)` to rows `(n, ...)`, and a `tf.TensorSpec` of a row.
        combine: function of the rows of each, in order, to the batch.
        parallel: int. Batches that are read at a time. Defaults to one.

    Returns:
        `tf.data.Dataset`.
    """

    def read(indices):
        if indices.flat[0] == BLANK:
            return [np.zeros((*indices.shape, *spec.shape), spec.dtype.as_numpy_dtype) for _, spec in columns]
        return [rows(indices.reshape(-1)).reshape(*indices.shape, *spec.shape) for rows, spec in columns]

    def batch(indices):
        found = tf.numpy_function(read, [indices], [spec.dtype for _, spec in columns], stateful=False)
        shapes = [(*indices.shape, *spec.shape) for _, spec in columns]
        return combine(*(tf.ensure_shape(rows, shape) for rows, shape in zip(found, shapes, strict=True)))

    return dataset.map(batch, parallel)


def column(array):
    """The rows of an array, for `taken`."""
    return array.__getitem__, tf.TensorSpec(array.shape[1:], array.dtype)


def from_arrays(images, labels, batch_size, shuffled, seed):
    """What `fit` takes of arrays: batches in an `Order`, of images or of pairs with labels, or with a dict of extras."""
    order = Order(len(images), batch_size, shuffled, seed, drop_remainder=False)
    extras = labels if isinstance(labels, dict) else {}
    columns = [column(np.asarray(each)) for each in (images, *(extras.values() if extras else [labels])) if each is not None]

    def combine(images, *others):
        pair = (dict(zip(extras, others, strict=True)),) if extras else others
        return (images, *pair) if pair else images

    dataset = taken(order.dataset(), columns, combine).prefetch(tf.data.AUTOTUNE)
    dataset.order, dataset.images_count, dataset.made_of = order, len(images), (columns, combine, None)
    return dataset


def by_number(dataset):
    """How to find an image of a data set that was made of numbers of images.

    Args:
        dataset: what `fit` takes. One with columns of images has an attribute `made_of`, the arguments of `taken` behind the
            first.

    Returns:
        A function of numbers `(n,)` to images `(n, height, width, channels)`, and how many numbers there are; None where images
        have no numbers, or rows several. Where images are mirrored, those with higher numbers are the mirror images.
    """
    made_of = getattr(dataset, "made_of", None)
    if made_of is None or dataset.order.row > 1:
        return None
    return made_of[0][0][0], dataset.order.count * (1 + dataset.order.flip)


def with_extra(dataset, name, rows):
    """The same batches in the same order, with a row of an array beside each image as a named extra.

    Args:
        dataset: one of which `by_number` knows the images.
        name: str. Of the extra.
        rows: array, one row for each of the numbers.

    Returns:
        `tf.data.Dataset` of pairs `(images, extras)`.
    """
    columns, combine, parallel = dataset.made_of

    def combined(*batch):
        *batch, own = batch
        found = combine(*batch)
        images, extras = found if isinstance(found, tuple) else (found, {})
        return images, {**(extras if isinstance(extras, dict) else {"labels": extras}), name: own}

    made = taken(dataset.order.dataset(), [*columns, column(rows)], combined, parallel)
    made = made.with_options(dataset.options()).prefetch(tf.data.AUTOTUNE)
    for attribute in ("order", "images_count", "data_name", "watch", "digest"):
        if hasattr(dataset, attribute):
            setattr(made, attribute, getattr(dataset, attribute))
    return made


def of(dataset):
    """The `Passes` of a data set, or of what it was made from; None where there is none."""
    while isinstance(dataset, tf.data.Dataset):
        if getattr(dataset, "order", None) is not None:
            return dataset.order
        inputs = dataset._inputs()
        dataset = inputs[0] if len(inputs) == 1 else None
    return None
