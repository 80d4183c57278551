"""The questions that are asked in many places, once each: the value comes back, or one sentence says what is wrong."""

import math
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


def real(at_least=-math.inf, above=-math.inf, at_most=math.inf, below=math.inf, **numbers):
    """Finite numbers by name, as Python's own; those of NumPy are taken too.

    Args:
        at_least, at_most: floats. The smallest and the largest that are allowed. Default to no limit.
        above, below: floats. Limits that are not allowed themselves. Default to no limit.
        **numbers: what is checked, by the names that a message gives them.

    Returns:
        float, or a list of floats where several were given.

    Raises:
        ValueError: one is no number, is NaN or infinite, or is beyond a limit.

    Example:

    >>> real(at_least=0, churn=np.float32(0.5))
    0.5
    """
    found = []
    for name, number in numbers.items():
        fits = isinstance(number, kinds.Real) and not isinstance(number, (bool, np.bool)) and math.isfinite(number)
        if not (fits and at_least <= number <= at_most and above < number < below):
            limits = {"of at least": at_least, "above": above, "of at most": at_most, "below": below}
            told = " and ".join(f"{words} {limit:g}" for words, limit in limits.items() if math.isfinite(limit))
            raise ValueError(f"{name} is {number!r}, expected a finite number{told and ' '}{told}.")
        found.append(float(number))
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
