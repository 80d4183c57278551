"""Where Markov chains rest between the steps of training."""

import tensorflow as tf

from keras_genzoo.core import randomness, shares
from keras_genzoo.core.serialization import Part


class ReplayBuffer(Part):
    """Chains that training goes on with, in turns.

    Every replica holds all of them: each takes rows of its own, and what the replicas made of them is gathered before it is
    written, so that the buffer is the same on all and is saved whole.

    Args:
        size: int. Number of chains.
        shape: tuple of ints, of one of them.
        initializer: Keras initializer of the chains.
    """

    def __init__(self, size, shape, initializer, name="buffer"):
        super().__init__(name=name)
        self.size, self.shape, self.initializer = size, tuple(shape), initializer
        settings = dict(dtype="float32", initializer=initializer, trainable=False)
        self.chains = self.add_weight(shape=(size, *self.shape), name="chains", **settings)
        self.position = randomness.counter(self, "position")

    def _rows(self, start, n):
        return tf.cast((start + tf.range(n, dtype=tf.int64)) % self.size, tf.int32)

    def _position(self):
        return tf.identity(tf.convert_to_tensor(self.position))

    def take(self, n):
        """The next chains, float32 `(n, ...)`, or fewer where there are not so many."""
        context = tf.distribute.get_replica_context()
        replicas = context.num_replicas_in_sync
        if self.size < replicas:
            raise ValueError(f"there are {self.size} chains for {replicas} replicas, expected at least one each.")
        n = tf.minimum(tf.cast(n, tf.int64), self.size // replicas)
        before = tf.constant(0, tf.int64)
        if replicas > 1:  # whose shares of a last batch may differ
            own = shares.counts()
            counted = n if own is None else tf.where(own, n, 0)
            before = tf.reduce_sum(context.all_gather(counted[None], axis=0)[: context.replica_id_in_sync_group])
        return tf.gather(self.chains, self._rows(self._position() + before, n))

    def put(self, chains):
        """Write back, in the place of those that were taken, and move on."""
        chains = shares.gather(chains)
        n = tf.shape(chains, tf.int64)[0]
        rows = self._rows(self._position(), n)
        self.chains.value.scatter_update(tf.IndexedSlices(chains, rows))
        self.position.assign((self._position() + n) % self.size)

    def peek(self, n):
        """Chains, float32 `(n, ...)`, always the same unless training goes on; the buffer stays as it is."""
        return tf.gather(self.chains, self._rows(shares.first_of(n), tf.cast(n, tf.int64)))
