"""Data that come batch by batch: whatever yields batches as `fit` takes it, and a look at every batch on its way."""

import types

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.core.batches import unpack
from keras_genzoo.core.images import check_images

AS_THEY_ARE = (np.ndarray, tf.Tensor, tf.data.Dataset, tf.distribute.DistributedDataset, keras.utils.PyDataset, dict, tuple)


def taken(x, y=None):
    """Images and labels that a user hands to `fit`, as Keras takes them.

    Args:
        x: anything. PyTorch's `DataLoader`, a list of batches, a function that gives a generator, and other iterables become a
            `tf.data.Dataset`, which begins anew in every epoch. Batches of generators and iterators become tuples, and arrays of
            other packages NumPy's. All else stays as it is.
        y: labels beside an array, or None. Defaults to None.

    Returns:
        The pair of both; that of a pair `(images, labels)`, or `(images, extras)`, of arrays too.

    Raises:
        ValueError: it is neither images nor yields any, or is a list of anything but batches.
    """
    ranks = [len(getattr(part, "shape", ())) for part in x] if y is None and isinstance(x, (tuple, list)) else []
    if ranks == [4, 1] or (ranks == [4, 0] and isinstance(x[1], dict)):
        x, y = x
    return _taken(x), y


def taken_beside(data):
    """The same of `validation_data`: a pair of images and labels, or what has both."""
    if isinstance(data, tuple):
        return _taken(data[0]), *data[1:]
    images, labels = taken(data)
    return images if labels is None else (images, labels)


def _taken(x):
    if x is None or isinstance(x, AS_THEY_ARE):
        return x
    if hasattr(x, "__array__"):
        return _array(x)
    if isinstance(x, list):
        _check_list(x)
    if hasattr(x, "__next__"):
        return (_batch(each) for each in x)
    if hasattr(x, "__iter__") and not isinstance(x, (str, bytes)):
        return _dataset(x.__iter__, x)
    if callable(x):
        return _dataset(x, x)
    raise ValueError(
        f"images came as {type(x).__name__}, expected an array, a data set, or something that yields batches; load a folder or a "
        "file with gz.data.load."
    )


def _check_list(batches):
    for each in batches:
        if not isinstance(each, (tuple, list, dict)) and np.ndim(each) != 4:
            fix = "join single images with `np.stack(images)`" if np.ndim(each) == 3 else "pass one of these"
            raise ValueError(
                f"images are a list that holds shape {np.shape(each)}, expected an array or a list of batches; {fix}."
            )


def _array(x):
    return np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)  # of PyTorch


def _batch(batch):
    """A batch as a tuple of arrays."""
    unpack(batch)  # which says what does not fit
    parts = batch if isinstance(batch, (tuple, list)) else (batch,)
    return tf.nest.map_structure(_array, tuple(part for part in parts if part is not None))


def _dataset(begin, x):
    """A `tf.data.Dataset` of the batches of an iterable, given by a function without arguments."""
    first = next(iter(begin()), None)
    if first is None:
        raise ValueError("there are no images: the data set is empty.")
    first = _batch(first)
    spec = tf.nest.map_structure(lambda part: tf.TensorSpec((None, *part.shape[1:]), part.dtype), first)
    data = tf.data.Dataset.from_generator(lambda: map(_batch, begin()), output_signature=spec)
    try:
        data = data.apply(tf.data.experimental.assert_cardinality(len(x)))
    except TypeError:
        pass  # its length is not known
    options = tf.data.Options()
    options.autotune.enabled = False  # the end of an iterator can wait for seconds for the thread that tunes
    data = data.prefetch(2).with_options(options)
    data.looked_at = [first]
    return data


def check_whole(x, what):
    """Raise one sentence unless all images of an array are good; other data are looked at as they come (`Watch`)."""
    if isinstance(x, (np.ndarray, tf.Tensor)):
        check_images(x, what)


def endless(x):
    """Whether this is a `PyDataset` without an end."""
    return isinstance(x, keras.utils.PyDataset) and x.num_batches is None


class Watch:
    """Looks at every image of a stream before it is trained on: a context around the training.

    Attributes:
        found: the ValueError of the first image that was NaN or out of range, which names it, or None.

    Raises:
        ValueError: this one.
    """

    def __init__(self):
        self.found, self._number, self._others = None, None, []

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        found = [each.found for each in (self, *self._others) if each.found is not None]
        if found and isinstance(error, tf.errors.OpError):  # in which TensorFlow has wrapped it
            raise found[0] from None

    def over(self, data, what):
        """The same data, which are looked at as they come; those of which all is known already as they are.

        Args:
            data: what `fit` takes.
            what: str. What its images are called in the message.
        """
        if getattr(data, "watch", None):  # of a pipeline that `gz.data.load` looks at
            data.watch.found = None
            self._others.append(data.watch)
        if isinstance(data, tf.data.Dataset) and getattr(data, "order", None) is None:
            if not unpack(data.element_spec)[0].dtype.is_floating:
                return data

            def look(number, batch):
                with tf.control_dependencies([self.check(number, unpack(batch)[0], what, batch=True)]):
                    return tf.nest.map_structure(tf.identity, batch)

            return data.enumerate().map(look)
        if isinstance(data, types.GeneratorType):
            return (self.see(number, batch, what) for number, batch in enumerate(data))
        return _Watched(data, self, what) if isinstance(data, keras.utils.PyDataset) else data

    def check(self, number, images, what, batch):
        """An operation that fails where one of the images is bad.

        Args:
            number: scalar tensor. The number of the batch that they are, or of the first of them.
            images: tensor of floats.
            what: str. What they are called in the message.
            batch: bool. Whether the number is that of a batch.
        """
        look = lambda number, images: self._good(int(number), images, what, batch)  # noqa: E731
        good = tf.reduce_all((images >= 0) & (images <= 1))  # false for NaN
        good = tf.cond(good, lambda: True, lambda: tf.numpy_function(look, [number, images], tf.bool))
        kind = "batch" if batch else "image"
        return tf.debugging.Assert(good, [f"{what} hold NaN or values outside [0, 1] in {kind}", number])

    def see(self, number, batch, what):
        """A batch, unless one of its images is bad."""
        if not self._good(number, unpack(batch)[0], what, batch=True):
            raise self.found
        return batch

    def _good(self, number, images, what, batch):
        try:
            check_images(images, what, **({"batch": number} if batch else {"first": number}))
        except ValueError as error:
            if self.found is None or number < self._number:  # some are read ahead, or at the same time
                self.found, self._number = error, number
            return False
        return True


class _Watched(keras.utils.PyDataset):
    """A `PyDataset` at whose batches a `Watch` looks."""

    def __init__(self, data, watch, what):
        super().__init__(data.workers, data.use_multiprocessing, data.max_queue_size)
        self._data, self._watch, self._what = data, watch, what

    @property
    def num_batches(self):
        return self._data.num_batches

    def __getitem__(self, index):
        return self._watch.see(index, self._data[index], self._what)

    def on_epoch_begin(self):
        self._data.on_epoch_begin()

    def on_epoch_end(self):
        self._data.on_epoch_end()
