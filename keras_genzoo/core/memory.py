"""Memory that is used up, in one sentence."""

import contextlib

import tensorflow as tf


@contextlib.contextmanager
def enough(doing, remedy):
    """Inside the block, memory of the device or of the machine that is used up is a MemoryError of one sentence.

    Args:
        doing: str. What needs it, as "training in batches of 128".
        remedy: str. What takes less.
    """
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        if getattr(error, "said", False):
            raise
        device = "device" if isinstance(error, tf.errors.ResourceExhaustedError) else "machine"
        sentence = MemoryError(f"{doing} needs more memory than the {device} has; {remedy}.")
        sentence.said = True
        raise sentence from error
