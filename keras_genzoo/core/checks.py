"""The questions that are asked in many places, once each: the value comes back, or one sentence says what is wrong."""

import numbers as kinds

import keras
import numpy as np


def whole(low=1, **numbers):
    """Whole numbers by name, as Python's own; those of NumPy are taken too.

    Args:
        low: int. The smallest that is allowed. Defaults to 1.
        **numbers: what is checked, by the names that a message gives them.

    Returns:
        int, or a list of ints where several were given.

    Raises:
        ValueError: one is no whole number, or is below `low`.

    Example:

    >>> whole(width=np.int64(3))
    3
    """
    found = []
    for name, number in numbers.items():
        if isinstance(number, (bool, np.bool)) or not isinstance(number, kinds.Integral) or number < low:
            raise ValueError(f"{name} is {number!r}, expected a whole number of at least {low}.")
        found.append(int(number))
    return found if len(found) > 1 else found[0]


def whole_or_none(low=1, **numbers):
    """As `whole`, of numbers that may be None too."""
    try:
        found = [None if number is None else whole(low, **{name: number}) for name, number in numbers.items()]
    except ValueError as error:
        raise ValueError(str(error).replace("expected a whole", "expected None or a whole")) from None
    return found if len(found) > 1 else found[0]


def image_size(image_shape):
    """`(height, width, channels)` as three positive whole numbers of Python, or one sentence that says what came."""
    try:
        height, width, channels = image_shape
        return tuple(whole(height=height, width=width, channels=channels))
    except (TypeError, ValueError):
        raise ValueError(
            f"image_shape is {image_shape!r}, expected (height, width, channels), each at least 1, as (28, 28, 1)."
        ) from None


def check_output(network, name, *expected):
    """Raise one sentence unless a network puts out tensors of the expected shapes, the batch axis left out.

    Args:
        network: keras.Model.
        name: str. What the network is called.
        *expected: tuples of ints, or None for any number, one an output.
    """
    shapes = network.output_shape if isinstance(network.output_shape, list) else [network.output_shape]
    shapes = [tuple(shape[1:]) for shape in shapes]
    if len(shapes) != len(expected) or not all(map(_fits, shapes, expected)):
        came, wanted = (" and ".join(map(str, these)) for these in (shapes, expected))
        raise ValueError(f"{name} puts out shape {came}, expected {wanted}; change its last layer or its input.")


def _fits(shape, expected):
    return len(shape) == len(expected) and all(wanted in (None, size) for size, wanted in zip(shape, expected, strict=True))


def check_network(network, name):
    """Raise one sentence unless a network is built and can be saved."""
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.Lambda):
            raise ValueError(
                f"{name} holds the Lambda layer {layer.name!r}, which cannot be saved and loaded safely; "
                f"write it as a keras.layers.Layer with @keras.saving.register_keras_serializable()."
            )
    if isinstance(network, keras.Model) and not network.built:
        raise ValueError(f"{name} is not built; call it once on a batch, or make it a functional keras.Model with an Input.")
