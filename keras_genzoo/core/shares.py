"""The share of a batch that a replica gets: none is without images, and none counts twice.

A last batch with fewer images than replicas leaves some without any. There means are NaN, and some layers of Keras fail. Such a
replica computes with the images that the others have, so that the mean of the replicas' losses stays that of the batch; what is
gathered or counted leaves it out.
"""

import threading

import tensorflow as tf

_replica = threading.local()  # TensorFlow runs each replica in a thread of its own


def _context():
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def share(rows):
    """These rows of a batch, or the first one of each other replica where this one has none. Sets what `counts` says of it.

    Args:
        rows: tensor `(n, ...)`, images, or what goes with them, in the same number.
    """
    context = _context()
    if context is None:
        _replica.counts = None
        return rows
    rows = tf.convert_to_tensor(rows)
    if rows.shape.rank and rows.shape[0]:  # of full batches alone
        _replica.counts = None
        return rows
    sent = tf.cast(rows[:1], tf.int32) if rows.dtype.is_integer and rows.dtype.size < 4 else rows[:1]  # bytes cannot be sent
    others = tf.cast(context.all_gather(sent, axis=0), rows.dtype)
    _replica.counts = tf.shape(rows)[0] > 0
    return tf.ensure_shape(tf.cond(_replica.counts, lambda: rows, lambda: others), (None, *rows.shape[1:]))


def counts():
    """Whether the replica has images of its own, a scalar tensor; None where each one has."""
    return getattr(_replica, "counts", None) if _context() is not None else None


def gather(rows):
    """The rows of all replicas, on each of them: a statistic of a batch, such as a discrepancy, is no sum over replicas."""
    context = _context()
    if context is None:
        return rows
    own = counts()
    if own is not None:
        rows = rows[: tf.where(own, tf.shape(rows)[0], 0)]
    return tf.ensure_shape(context.all_gather(rows, axis=0), (None, *rows.shape[1:]))
