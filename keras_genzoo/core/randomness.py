"""Random numbers that a model can save, that differ between replicas, and that XLA does not change.

Every draw is a pure function of a key, made from the integers of the Philox generator: TensorFlow's own floating-point draws,
and its automatic choice of algorithm, give other numbers under XLA.
"""

import keras
import numpy as np
import tensorflow as tf

ALGORITHM = "philox"
BLOCK = 64  # rows of a RowStream that are drawn together


def make_key(*numbers):
    """A key, `(2,)` int64, from integers or integer tensors; other numbers or another order give an unrelated key."""
    return fold(tf.constant([0, 0], tf.int64), *numbers)


def fold(key, *numbers):
    """A key from a key and further integers or integer tensors."""
    for number in numbers:
        key = tf.random.experimental.stateless_fold_in(key, tf.cast(number, tf.int64), alg=ALGORITHM)
    return key


def _bits(key, shape, count):
    """The `count` highest bits of random 32, as float32: integers are what every device and XLA draw alike."""
    bits = tf.random.stateless_uniform(shape, key, minval=None, maxval=None, dtype=tf.uint32, alg=ALGORITHM)
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(32 - count, tf.uint32)), tf.float32)


def uniform(key, shape):
    """Uniform numbers in [0, 1), float32."""
    return _bits(key, shape, 24) * 2.0**-24


def normal(key, shape):
    """Standard normal numbers, float32, within +-5.4: the inverse distribution function of numbers strictly in (0, 1)."""
    return tf.math.ndtri((_bits(key, shape, 23) + 0.5) * 2.0**-23)


class Stream:
    """Draws for training: every call advances a counter, and every replica sees its own numbers.

    Args:
        seed: int.
        counter: scalar int64 keras.Variable, not trainable. Held by the model, so that it is saved and restored with it.
    """

    def __init__(self, seed, counter):
        self.seed = seed
        self.counter = counter

    def key(self):
        """A fresh key for the pure functions of this module."""
        count = tf.identity(tf.convert_to_tensor(self.counter))
        self.counter.assign(count + 1)
        context = tf.distribute.get_replica_context()
        replica = 0 if context is None else context.replica_id_in_sync_group
        return make_key(self.seed, count, replica)

    def normal(self, shape):
        return normal(self.key(), shape)

    def uniform(self, shape):
        return uniform(self.key(), shape)


class RowStream:
    """Draws for sampling: row i of a draw depends on the seed and i alone, whatever the size of the batch.

    Rows are drawn in aligned blocks, of which the wanted ones are cut out.

    Args:
        seed: int.
        start: int. The number of the first row.
    """

    def __init__(self, seed, start):
        self.seed = seed
        self.start = start
        self.draws = 0

    def _rows(self, draw, shape):
        count, *row = (int(size) for size in shape)
        self.draws += 1
        first, last = self.start // BLOCK, (self.start + count - 1) // BLOCK
        blocks = [draw(self._key(block), (BLOCK, *row)) for block in range(first, last + 1)]
        skip = self.start - first * BLOCK
        return tf.concat(blocks, axis=0)[skip : skip + count]

    def _key(self, block):
        # Of numbers that Python knows: NumPy mixes them far faster than a chain of TensorFlow operations.
        return np.random.SeedSequence([self.seed, self.draws, block]).generate_state(2, "uint64").view("int64")

    def key(self):
        """The key of noise that depends on the seed and on where the batch begins; for the pure functions of this module."""
        return make_key(self.seed, 3, self.start)

    def normal(self, shape):
        return self._rows(normal, shape)

    def uniform(self, shape):
        return self._rows(uniform, shape)


def counter(model, name):
    """A counter for a `Stream`, as a weight of `model`. int64: TensorFlow keeps int32 variables off the GPU."""
    return model.add_weight(shape=(), dtype="int64", initializer="zeros", trainable=False, name=name)


def random_seed():
    """A seed from Keras's global state, so that `keras.utils.set_random_seed` makes a script repeatable."""
    return int(keras.random.randint((), 0, 2**31 - 1, dtype="int32"))
