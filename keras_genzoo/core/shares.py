"""The share of a batch that a replica computes: where it stands in the whole batch, and what it counts for.

A batch of N images is shared out, n_i of them to replica i. A mean over images is then the sum of the shares' means, each times
n_i / N. A last batch with fewer images than replicas leaves some without any. There means are NaN, and some layers of Keras fail.
Such a replica computes with images that the others have and counts nothing: n_i is 0.
"""

import contextlib
import threading
from typing import NamedTuple

import keras
import tensorflow as tf
from keras import ops

_replica = threading.local()  # TensorFlow runs each replica in a thread of its own


class Share(NamedTuple):
    """Of a replica in a step.

    Attributes:
        start: int64 scalar. The place of its first image in the whole batch.
        count: int64 scalar. Its images.
        total: int64 scalar. Images of the whole batch.
        even: bool. Whether all replicas have as many, as is known before the step.
    """

    start: tf.Tensor
    count: tf.Tensor
    total: tf.Tensor
    even: bool


def _context():
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def current():
    """The `Share` in the step that runs; None on one device, and outside of a step."""
    return getattr(_replica, "share", None)


@contextlib.contextmanager
def taken(data):
    """A context around a step on this share of a batch; gives whether it is the outermost one of several replicas."""
    context = _context()
    if context is None or current() is not None:
        yield False
        return
    _replica.share = _of(context, next(part for part in tf.nest.flatten(data) if hasattr(part, "shape")))
    try:
        yield True
    finally:
        _replica.share = None


def _of(context, rows):
    replica, replicas = tf.cast(context.replica_id_in_sync_group, tf.int64), context.num_replicas_in_sync
    if rows.shape[0] is not None and not tf.executing_eagerly():  # of full batches alone
        count = tf.constant(rows.shape[0], tf.int64)
        return Share(replica * count, count, replicas * count, True)
    count = tf.shape(rows, tf.int64)[0]
    counts = context.all_gather(count[None], axis=0)
    return Share(starts(counts, len(context.strategy.extended.worker_devices))[replica], count, tf.reduce_sum(counts), False)


def rows(data):
    """Images of the whole batch in a step, an int64 scalar.

    Args:
        data: what the step was given.
    """
    own = current()
    if own is not None:
        return own.total
    first = next((part for part in tf.nest.flatten(data) if hasattr(part, "shape")), ())
    return tf.reduce_prod(tf.shape(first, tf.int64)[:1])


def starts(counts, local):
    """The place of the first image of each share in the whole batch, int64 `(replicas,)`.

    Args:
        counts: int64 `(replicas,)`. Images of the shares.
        local: int. Replicas of a worker. TensorFlow deals shares to one worker after the other, round by round.
    """
    order = tf.reshape(tf.transpose(tf.reshape(tf.range(tf.size(counts)), (-1, local))), (-1,))
    dealt = tf.cumsum(tf.gather(counts, order), exclusive=True)
    return tf.gather(dealt, tf.argsort(order))


def share(rows):
    """These rows of a batch, or the first one of each other replica where this one has none.

    Args:
        rows: tensor `(n, ...)`, images, or what goes with them, in the same number.
    """
    own = current()
    if own is None or own.even:
        return rows
    rows = tf.convert_to_tensor(rows)
    sent = tf.cast(rows[:1], tf.int32) if rows.dtype.is_integer and rows.dtype.size < 4 else rows[:1]  # bytes cannot be sent
    others = tf.cast(_context().all_gather(sent, axis=0), rows.dtype)
    return tf.ensure_shape(tf.cond(tf.shape(rows)[0] > 0, lambda: rows, lambda: others), (None, *rows.shape[1:]))


def weight():
    """What a mean over the replica's images counts in the mean of the batch, a float or a float32 scalar."""
    own, context = current(), _context()
    if own is None or own.even:
        return 1.0 if context is None else 1.0 / context.num_replicas_in_sync
    return tf.cast(own.count, tf.float32) / tf.cast(own.total, tf.float32)


def counts():
    """Whether the replica has images of its own, a scalar tensor; None where each one has."""
    own = current()
    return None if own is None or own.even else own.count > 0


def first_of(rows):
    """The place in the whole batch's draw of the first of so many rows, the same number for each image; 0 on one device.

    Args:
        rows: int or scalar tensor.
    """
    own = current()
    if own is None:
        return tf.constant(0, tf.int64)
    return own.start * (tf.cast(rows, tf.int64) // tf.maximum(own.count, 1))


def places(n):
    """The places of the replica's n images in the whole batch as shares of it, in [0, 1), float32 `(n,)`."""
    own = current()
    if own is None:
        return ops.arange(n, dtype="float32") / ops.cast(n, "float32")
    return tf.cast(own.start + tf.range(n, dtype=tf.int64), tf.float32) / tf.cast(own.total, tf.float32)


def gather(rows):
    """The rows of all replicas, on each of them: a statistic of a batch, such as a discrepancy, is no sum over replicas."""
    context = _context()
    if context is None:
        return rows
    own = counts()
    if own is not None:
        rows = rows[: tf.where(own, tf.shape(rows)[0], 0)]
    return tf.ensure_shape(context.all_gather(rows, axis=0), (None, *rows.shape[1:]))


def settle(variables):
    """Give variables, which each replica changed by its own share, the mean of their values, weighted by images."""
    if variables:
        parts = [variable.value * tf.cast(weight(), variable.value.dtype) for variable in variables]
        means = _context().all_reduce(tf.distribute.ReduceOp.SUM, parts)
        for variable, mean in zip(variables, means, strict=True):
            variable.assign(mean)


def statistics(layers):
    """The variables of batch normalisation that replicas change each by its own share."""
    layers = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    return [v for layer in layers if layer.trainable and not layer.synchronized for v in layer.non_trainable_variables]
