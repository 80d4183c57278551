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


def interval(pair, name):
    """A pair of numbers from low to high as floats, the higher one infinite at most."""
    try:
        low, high = (float(end) for end in pair)
        fits = 0 <= low < high
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(f"{name} is {pair!r}, expected two numbers (low, high) with 0 <= low < high.")
    return low, high


def image_size(image_shape):
    """`(height, width, channels)` as three positive whole numbers of Python, or one sentence that says what came."""
    try:
        height, width, channels = image_shape
        return tuple(whole(height=height, width=width, channels=channels))
    except (TypeError, ValueError):
        raise ValueError(
            f"image_shape is {image_shape!r}, expected (height, width, channels), each at least 1, as (28, 28, 1)."
        ) from None


def input_shapes(network, name, any_size=False):
    """The shapes of a network's inputs, as it was built for, a list of tuples without the batch axis.

    Args:
        network: built keras.Model: functional, sequential, or a subclass that was called once.
        name: str. What the network is called.
        any_size: bool. Whether axes may be of any size, None. Defaults to False.

    Raises:
        ValueError: it is not built, has inputs by name, or an axis of any size.
    """
    check_built(network, name)
    inputs = _symbolic(network, "input")
    if isinstance(inputs, dict):
        raise ValueError(f"{name} takes a dict of inputs, {', '.join(inputs)}, expected one tensor or a list of them.")
    if inputs is not None:
        shapes = [tensor.shape for tensor in _listed(inputs)]
    else:  # as Keras recorded it
        config = network.get_build_config() or {}
        recorded = config.get("input_shape")
        shapes = [recorded] if _is_shape(recorded) else list(recorded or ())
        if not shapes or not all(map(_is_shape, shapes)):
            raise ValueError(
                f"{name} was built for {config.get('shapes_dict', recorded)}, expected one tensor or a list of them as the first "
                f"argument of its call."
            )
    shapes = [tuple(shape[1:]) for shape in shapes]
    if not any_size and any(None in shape for shape in shapes):
        came = " and ".join(map(str, shapes))
        raise ValueError(f"{name} takes shape {came}, expected a size for every axis; give it keras.Input((28, 28, 1)), say.")
    return shapes


def output_shapes(network, name):
    """The shapes of what a network puts out for the inputs it was built for, as `input_shapes` gives those of the inputs.

    Raises:
        ValueError: as `input_shapes`, or it puts out a dict.
    """
    check_built(network, name)
    outputs = _symbolic(network, "output")
    if outputs is None:
        inputs = [keras.KerasTensor((None, *shape)) for shape in input_shapes(network, name, any_size=True)]
        outputs = network.compute_output_spec(inputs if len(inputs) > 1 else inputs[0])
    if isinstance(outputs, dict):
        wanted = ", ".join(f"outputs[{key!r}]" for key in sorted(outputs, key=_place))
        raise ValueError(
            f"{name} puts out a dict, expected a tensor or a list of them; end it in keras.Model(inputs, [{wanted}])."
        )
    return [tuple(tensor.shape[1:]) for tensor in _listed(outputs)]


def _symbolic(network, which):
    """The tensors of a functional or sequential model as it was given them; None for other layers."""
    network = getattr(network, "_functional", None) or network
    return getattr(network, which) if hasattr(network, "operations") else None


def operations(network):
    """The steps of a functional or sequential model but its inputs, layers and other functions; None for other layers."""
    found = _symbolic(network, "operations")
    return None if found is None else [each for each in found if not isinstance(each, keras.layers.InputLayer)]


def _listed(tensors):
    return list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]


def _is_shape(shape):
    return isinstance(shape, (list, tuple)) and all(size is None or isinstance(size, int) for size in shape)


def check_told(network, name, units, place=1):
    """Raise one sentence unless a network takes the condition of a model as its last input, and none where the model has none.

    Args:
        network: keras.Model.
        name: str. What the network is called.
        units: int. Numbers of the condition; 0 is none.
        place: int. How many inputs come before it. Defaults to 1.
    """
    shapes = input_shapes(network, name, any_size=True)
    if shapes[place:] == ([(units,)] if units else []):
        return
    came = f"{len(shapes)} inputs" if len(shapes) != place + 1 else f"a last input of shape {shapes[place]}"
    if units:
        wanted = f"{place + 1}, the last of shape ({units},), for what num_classes= and condition_dim= say that it is told"
        raise ValueError(f"{name} takes {came}, expected {wanted}; networks.told makes such a network.")
    raise ValueError(f"{name} takes {came}, expected {place}; if it is told a condition, give num_classes= or condition_dim=.")


def check_output(network, name, *expected):
    """Raise one sentence unless a network puts out tensors of the expected shapes, the batch axis left out.

    Args:
        network: keras.Model.
        name: str. What the network is called.
        *expected: tuples of ints, or None for any number, one an output.
    """
    shapes = output_shapes(network, name)
    if len(shapes) != len(expected) or not all(map(_fits, shapes, expected)):
        came, wanted = (" and ".join(map(str, these)) for these in (shapes, expected))
        raise ValueError(f"{name} puts out shape {came}, expected {wanted}; change its last layer or its input.")


def _fits(shape, expected):
    return len(shape) == len(expected) and all(wanted in (None, size) for size, wanted in zip(shape, expected, strict=True))


POSTERIOR = "mu", "log_variance", "context"


def _place(name):
    """Where an output of this name stands in the encoder of a posterior; the last where the name tells nothing."""
    return next((place for place, known in enumerate(POSTERIOR) if name.startswith(known)), len(POSTERIOR))


def check_posterior(encoder, name, code, count=2):
    """Raise one sentence unless an encoder puts out `mu`, `log_variance` and, of a count of 3, a context, in this order.

    Args:
        encoder: keras.Model. Its outputs are known by their names, where these begin so.
        name: str. What the encoder is called.
        code: tuple of ints. The shape of each output.
        count: int. Number of outputs. Defaults to 2.
    """
    check_output(encoder, name, *[code] * count)
    names = getattr(encoder, "output_names", [])
    if any(_place(each) not in (place, len(POSTERIOR)) for place, each in enumerate(names)):
        wanted = ", ".join(POSTERIOR[:count])
        raise ValueError(f"{name} puts out {', '.join(names)}, expected the order {wanted}; exchange its outputs.")


def check_built(network, name):
    """Raise one sentence unless this is a layer, and built."""
    if not isinstance(network, keras.layers.Layer):
        raise ValueError(f"{name} is {network!r}, expected a built keras.Model.")
    if not network.built:
        raise ValueError(f"{name} is not built; call it once on a batch, or make it a functional keras.Model with an Input.")


def check_network(network, name):
    """Raise one sentence unless a network is built and can be saved."""
    if isinstance(network, keras.Model):
        check_built(network, name)
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.Lambda):
            raise ValueError(
                f"{name} holds the Lambda layer {layer.name!r}, which cannot be saved and loaded safely; "
                f"write it as a keras.layers.Layer with @keras.saving.register_keras_serializable()."
            )


def check_precision(part, name):
    """Raise one sentence if what is to be trained is kept in 16 bits."""
    for variable in part.trainable_variables:
        if variable.dtype in ("float16", "bfloat16"):
            raise ValueError(
                f"the weights of {name} are in {variable.dtype}, where small steps are rounded away; take the dtype policy "
                f"'mixed_{variable.dtype}', which computes in it and keeps weights in float32."
            )


def check_unshared(parts):
    """Raise one sentence if a layer with weights is in two parts of a model: files of Keras do not keep it one.

    Args:
        parts: list of (name, layer).
    """
    holders = {}
    for number, (name, part) in enumerate(parts):
        for layer in part._flatten_layers():
            first = holders.setdefault(id(layer), (number, name))
            if first[0] != number and layer.weights:
                raise ValueError(
                    f"the layer {layer.name!r} is in {first[1]} and in {name}, and a saved model could not be loaded; give each "
                    f"of them a layer of its own."
                )
