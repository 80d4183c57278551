"""Random numbers that a model can save, that differ between replicas, and that XLA does not change.

Every draw is a pure function of a key, made from the integers of the Philox generator: TensorFlow's own floating-point draws,
and its automatic choice of algorithm, give other numbers under XLA.
"""

import contextlib
import functools
import random
import threading

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.core import shares
from keras_genzoo.core.seed_sequence import key_of

ALGORITHM = "philox"
BLOCK = 64  # rows of a RowStream that are drawn together


def make_key(*numbers):
    """A key, `(2,)` int64, from integers or integer tensors; other numbers or another order give an unrelated key."""
    return fold(tf.constant([0, 0], tf.int64), *numbers)


def row_key(start, *numbers):
    """A key, `(3,)` int64, with which row i of a draw depends on `start + i` and the numbers alone, not on the batch."""
    return tf.concat([make_key(*numbers), [tf.cast(start, tf.int64)]], axis=0)


def fold(key, *numbers):
    """A key from a key and further integers or integer tensors; that of rows stays one."""
    pair, start = key[:2], key[2:]
    for number in numbers:
        pair = tf.random.experimental.stateless_fold_in(pair, tf.cast(number, tf.int64), alg=ALGORITHM)
    return tf.concat([pair, start], axis=0)


def _bits(key, shape, count):
    """The `count` highest bits of random 32, as float32: integers are what every device and XLA draw alike."""
    draw = _rows if key.shape[0] == 3 else tf.random.stateless_uniform
    bits = draw(shape, key, minval=None, maxval=None, dtype=tf.uint32, alg=ALGORITHM)
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(32 - count, tf.uint32)), tf.float32)


def _rows(shape, key, alg, dtype, **_):
    """What `stateless_uniform` draws of more rows, from row `key[2]` on: Philox makes four integers of a count of its counter."""
    shape = tf.cast(shape, tf.int64)
    first, count = key[2] * tf.reduce_prod(shape[1:]), tf.reduce_prod(shape)
    philox = functools.partial(tf.raw_ops.StatelessRandomUniformFullIntV2, alg=tf.random.Algorithm.PHILOX.value, dtype=dtype)
    # As `stateless_uniform` mixes a seed; the operation that promises the same, StatelessRandomGetKeyCounter, does not under XLA.
    mixed = philox(shape=[4], key=tf.constant([0x02461E293EC8F720], tf.uint64), counter=tf.cast(key[:2], tf.uint64))
    mixed = tf.bitcast(tf.reshape(mixed, (2, 2)), tf.uint64)
    counter = tf.stack([tf.cast(first // 4, tf.uint64), mixed[1]])
    bits = philox(shape=[count + 3], key=mixed[:1], counter=counter)
    # Of a shape that XLA knows whatever the row.
    return tf.reshape(tf.slice(bits, [first % 4], [count]), shape)


def uniform(key, shape):
    """Uniform numbers in [0, 1), float32."""
    return _bits(key, shape, 24) * 2.0**-24


def normal(key, shape):
    """Standard normal numbers, float32, within +-5.4: the inverse distribution function of numbers strictly in (0, 1)."""
    return tf.math.ndtri((_bits(key, shape, 23) + 0.5) * 2.0**-23)


def latin_hypercube(n, shape, seed):
    """n points of the unit cube of a shape, of each of whose coordinates they divide the range evenly, in an order of its own
    (McKay et al. 1979, "A comparison of three methods for selecting values of input variables").

    Returns:
        float32 array `(n, *shape)`.
    """
    order = np.argsort(np.random.default_rng(seed).random((n, *shape)), axis=0)
    return ((order + 0.5) / n).astype("float32")


class Stream:
    """Draws for training: every call advances a counter, and row i of a draw is of image i of the whole batch.

    So replicas draw together what one device would.

    Args:
        seed: int.
        counter: scalar int64 keras.Variable, not trainable. Held by the model, so that it is saved and restored with it.
    """

    def __init__(self, seed, counter):
        self.seed = seed
        self.counter = counter

    def key(self, rows=None):
        """A fresh key for the pure functions of this module, of noise for each image.

        Args:
            rows: int or scalar tensor. Rows of the draws, as many for each image; None is one each. Defaults to None.
        """
        own, context = shares.current(), tf.distribute.get_replica_context()
        if own is not None:
            return row_key(own.start if rows is None else shares.first_of(rows), self.seed, self._next(), 0)
        return make_key(self.seed, self._next(), 0 if context is None else context.replica_id_in_sync_group)

    def shared_key(self):
        """A fresh key that is the same on every replica, for what they draw of all of their rows together."""
        return make_key(self.seed, self._next(), -1)

    def _next(self):
        count = tf.identity(tf.convert_to_tensor(self.counter))
        self.counter.assign(count + 1)
        return count

    def _key_of(self, shape, shared):
        if shares.current() is None:
            return self.key()
        shape = tf.cast(shape, tf.int64)
        if shared or shape.shape[0] == 0:
            return make_key(self.seed, self._next(), 0)
        return self.key(shape[0])

    def normal(self, shape, shared=False):
        """Standard normal numbers, float32.

        Args:
            shape: of the draw, with as many rows for each image of the batch; or `()`, one number for all.
            shared: bool. Whether its rows are not of images, and the same on every replica. Defaults to False.
        """
        return normal(self._key_of(shape, shared), shape)

    def uniform(self, shape, shared=False):
        """Uniform numbers in [0, 1), float32; arguments as in `normal`."""
        return uniform(self._key_of(shape, shared), shape)


class RowStream:
    """Draws for sampling: row i of a draw depends on the seed and i alone, whatever the size of the batch.

    Rows are drawn in aligned blocks, of which the wanted ones are cut out.

    Args:
        seed: int, or inside a graph a scalar tensor.
        start: int. The number of the first row.
    """

    def __init__(self, seed, start):
        self.seed = seed
        self.start = start
        self.draws = 0

    def _rows(self, draw, shape):
        count, *row = shape
        self.draws += 1
        first, last = self.start // BLOCK, (self.start + count - 1) // BLOCK
        skip = self.start - first * BLOCK
        if tf.is_tensor(self.seed) or tf.is_tensor(count):
            keys = key_of(self.seed, self.draws, tf.cast(tf.range(first, last + 1), tf.int64))
            blocks = tf.map_fn(lambda key: draw(key, (BLOCK, *row)), keys, fn_output_signature=tf.float32)
            return tf.reshape(blocks, (-1, *row))[skip : skip + count]
        blocks = [draw(self._key(block), (BLOCK, *row)) for block in range(first, last + 1)]
        return tf.concat(blocks, axis=0)[skip : skip + count]

    def _key(self, block):
        # Of numbers that Python knows: NumPy mixes them far faster than a chain of TensorFlow operations.
        return np.random.SeedSequence([self.seed, self.draws, block]).generate_state(2, "uint64").view("int64")

    def key(self):
        """The key of noise of these rows, for the pure functions of this module."""
        return row_key(self.start, self.seed, 3, 0)

    def normal(self, shape):
        return self._rows(normal, shape)

    def uniform(self, shape):
        return self._rows(uniform, shape)


class KeyStream:
    """Draws of a key, one after the other, for code that takes a stream and is compiled.

    Args:
        key: tensor, such as `row_key` gives it.
    """

    def __init__(self, key):
        self.key, self.draws = key, 0

    def normal(self, shape):
        self.draws += 1
        return normal(fold(self.key, self.draws), shape)


def counter(model, name):
    """A counter for a `Stream`, as a weight of `model`. int64: TensorFlow keeps int32 variables off the GPU."""
    return model.add_weight(shape=(), dtype="int64", initializer="zeros", trainable=False, name=name)


def random_seed():
    """A seed from Keras's global state, so that `keras.utils.set_random_seed` makes a script repeatable; inside `seeded` by its
    seed."""
    if _build.generator is not None:
        return int(_build.generator.integers(2**31 - 1))
    return int(keras.random.randint((), 0, 2**31 - 1, dtype="int32"))


class _Build(threading.local):
    generator = None


_build = _Build()


@contextlib.contextmanager
def seeded(seed):
    """Inside the block everything that begins at random depends on the seed alone; global generators stand as before after it.

    Args:
        seed: int, or None: nothing is changed.
    """
    if seed is None:
        yield
        return
    state, outer = random.getstate(), _build.generator
    random.seed(seed)  # Keras's initializers and layers draw their seeds of Python's generator, and of nothing else
    _build.generator = np.random.default_rng(seed % 2**64)
    try:
        yield
    finally:
        random.setstate(state)
        _build.generator = outer
