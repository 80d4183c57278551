"""How networks are told a condition: a class, a vector of numbers, or both."""

import math
import numbers

import keras
from keras import layers

from keras_genzoo.core.checks import whole_or_none


def condition_input(num_classes=None, condition_dim=None, spared=False):
    """The input of what a network is told, `(batch, units)`: the one-hot label, and the vector behind it.

    Args:
        num_classes, condition_dim: ints or None. Number of classes, and length of the vectors. Default to None.
        spared: bool. Whether the condition may be kept from the network. Then there is one more number, 1, and all are 0 where
            nothing is told, for a vector of zeros tells something. Defaults to False.

    Returns:
        A `keras.Input` of the name "told", or None where there is nothing to tell.
    """
    num_classes, condition_dim = whole_or_none(num_classes=num_classes, condition_dim=condition_dim)
    units = (num_classes or 0) + (condition_dim or 0) + bool(spared)
    return keras.Input((units,), name="told") if units else None


def told_vector(num_classes, condition_dim, units):
    """An input of what diffusion models are told by vectors, as `condition_input(spared=True)`, and what two layers make of it,
    `(batch, units)`."""
    inputs = condition_input(num_classes, condition_dim, spared=True)
    return inputs, layers.Dense(units, name="told_2")(layers.Dense(units, "silu", name="told_1")(inputs))


def told(make, shape, num_classes=None, condition_dim=None, name="network"):
    """A network that is told a condition beside its input, of a factory of networks that are told nothing.

    A vector gets the condition behind its own numbers. An image, or a grid of vectors, gets one more channel: a picture that is a
    linear function of the condition.

    Args:
        make: callable of the shape of what a network sees, to a built `keras.Model`.
        shape: int, the length of vectors, or `(height, width, channels)`.
        num_classes: int or None. Number of classes, of one-hot labels. Defaults to None.
        condition_dim: int or None. Length of a vector of numbers. Defaults to None.
        name: str. Defaults to "network".

    Returns:
        A built `keras.Model` of the list of its input and the condition, `(batch, num_classes + condition_dim)`; what
        `make(shape)` gives where there is nothing to tell.

    Example:

    >>> encoder = told(lambda shape: gz.networks.mlp(shape, 16, width=64), (28, 28, 1), num_classes=10, name="encoder")
    >>> [each.shape for each in encoder.inputs]
    [(None, 28, 28, 1), (None, 10)]
    """
    condition = condition_input(num_classes, condition_dim)
    if condition is None:
        return make(shape)
    if isinstance(shape, numbers.Integral):
        inputs, seen, wider = keras.Input((shape,), name="seen"), condition, shape + condition.shape[-1]
    else:
        height, width, channels = shape
        inputs, wider = keras.Input((height, width, channels), name="seen"), (height, width, channels + 1)
        seen = layers.Dense(math.prod((height, width)), use_bias=False, dtype="float32", name="told_pixels")(condition)
        seen = layers.Reshape((height, width, 1), dtype="float32", name="told_channel")(seen)
    joined = layers.Concatenate(dtype="float32", name="with_told")([inputs, seen])
    return keras.Model([inputs, condition], make(wider)(joined), name=name)
