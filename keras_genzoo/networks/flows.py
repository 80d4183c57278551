"""The networks inside of flows. All put out zeros when fresh, so that a fresh flow of couplings changes nothing."""

import keras
import numpy as np
from keras import layers

from keras_genzoo.core.checks import image_size, whole
from keras_genzoo.layers import MaskedDense
from keras_genzoo.networks.common import normalized, widths_of
from keras_genzoo.networks.residual import plain_block


def conv_coupling(image_shape, outputs, width=64, kernels=(3, 1, 3), activation="relu", context=None, name="coupling"):
    """Images to the parameters of a coupling by a few convolutions (Kingma and Dhariwal 2018, arXiv:1807.03039, appendix B).

    Args:
        image_shape: `(height, width, channels)` of what the network sees.
        outputs: int. Channels that it puts out.
        width: int. Channels in between. Defaults to 64.
        kernels: ints. Sizes of the convolutions' kernels. Defaults to (3, 1, 3), Glow's.
        activation: name or callable. Defaults to "relu".
        context: int or None. Units of a second input, `(batch, context)`, that all parameters depend on. Defaults to None.
        name: str. Defaults to "coupling".

    Returns:
        A built `keras.Model`, to `(batch, height, width, outputs)` in at least float32.
    """
    outputs, width = whole(outputs=outputs, width=width)
    if not kernels:
        raise ValueError(f"kernels is {kernels!r}, expected sizes of at least one convolution, as (3, 1, 3).")
    kernels = [whole(kernels=kernel) for kernel in kernels]
    inputs, x = _inputs(image_size(image_shape), context)
    for index, kernel in enumerate(kernels[:-1], 1):
        x = layers.Conv2D(width, kernel, padding="same", activation=activation, name=f"conv{index}")(x)
    x = layers.Conv2D(outputs, kernels[-1], padding="same", kernel_initializer="zeros", dtype=_head(), name="parameters")(x)
    return keras.Model(inputs, x, name=name)


def residual_coupling(
    image_shape, outputs, width=64, blocks=8, activation="relu", normalization="batch", context=None, name="coupling"
):
    """Images to the parameters of a coupling by residual blocks, each seen by the output (Dinh et al. 2017, arXiv:1605.08803,
    section 4.1).

    Args:
        blocks: int. Residual blocks of two convolutions. Defaults to 8.
        normalization: None, "batch", "synchronized_batch", "layer" or "channel". Defaults to "batch".
        image_shape, outputs, width, activation, context, name: as in `conv_coupling`.

    Returns:
        A built `keras.Model`, to `(batch, height, width, outputs)` in at least float32.
    """
    outputs, width, blocks = whole(outputs=outputs, width=width, blocks=blocks)
    inputs, x = _inputs(image_size(image_shape), context)
    x = layers.Conv2D(width, 3, padding="same", name="first")(x)
    seen = [layers.Conv2D(width, 1, name="skip")(x)]
    for index in range(1, blocks + 1):
        x = plain_block(x, width, activation, normalization, f"block{index}")
        seen.append(layers.Conv2D(width, 1, name=f"skip{index}")(x))
    x = normalized(layers.Add(name="skips")(seen), normalization, activation, "last")
    x = layers.Conv2D(outputs, 1, kernel_initializer="zeros", dtype=_head(), name="parameters")(x)
    return keras.Model(inputs, x, name=name)


def dense_coupling(dimensions, outputs, width=256, depth=2, activation="relu", context=None, name="coupling"):
    """Vectors to the parameters of a coupling, by a fully connected network.

    Args:
        dimensions: int. Of the vectors.
        outputs: int. Numbers that it puts out.
        width: int or sequence of `depth` ints. Units of the hidden layers. Defaults to 256.
        depth: int. Number of hidden layers. Defaults to 2.
        activation: name or callable. Defaults to "relu".
        context: int or None. Units of a second input, `(batch, context)`, that all parameters depend on. Defaults to None.
        name: str. Defaults to "coupling".

    Returns:
        A built `keras.Model`, `(batch, dimensions)` to `(batch, outputs)` in at least float32.
    """
    dimensions, outputs, depth = whole(dimensions=dimensions, outputs=outputs, depth=depth)
    inputs, x = _inputs((dimensions,), context)
    for index, units in enumerate(widths_of(width, depth), 1):
        x = layers.Dense(units, activation=activation, name=f"hidden{index}")(x)
    x = layers.Dense(outputs, kernel_initializer="zeros", dtype=_head(), name="parameters")(x)
    return keras.Model(inputs, x, name=name)


def dense_velocity(dimensions, width=64, depth=2, activation="tanh", context=None, name="velocity"):
    """Vectors and times to the rates of `bijectors.Continuous`, by a fully connected network.

    Args:
        dimensions: int. Of the vectors.
        width: int or sequence of `depth` ints. Units of the hidden layers. Defaults to 64.
        depth: int. Number of hidden layers. Defaults to 2.
        activation: name or callable, smooth, as solvers suppose. Defaults to "tanh".
        context: int or None. Units of a third input, `(batch, context)`. Defaults to None.
        name: str. Defaults to "velocity".

    Returns:
        A built `keras.Model` of `(batch, dimensions)`, times `(batch,)` and, if any, the context, to `(batch, dimensions)` in at
        least float32. A fresh one puts out zeros.
    """
    dimensions, depth = whole(dimensions=dimensions, depth=depth)
    inputs = [keras.Input((dimensions,), dtype=_head(), name="vector"), keras.Input((), dtype=_head(), name="time")]
    first, *others = widths_of(width, depth)
    # A layer for each input, for XLA compiles no gradient of a concatenation within the loop of a solver.
    time = layers.Reshape((1,), name="time_as_vector")(inputs[1])
    seen = [layers.Dense(first, name="hidden1")(inputs[0]), layers.Dense(first, use_bias=False, name="of_time")(time)]
    if context is not None:
        inputs.append(keras.Input((whole(context=context),), dtype=_head(), name="context"))
        seen.append(layers.Dense(first, use_bias=False, name="of_context")(inputs[-1]))
    x = layers.Activation(activation, name="activation1")(layers.Add(name="seen")(seen))
    for index, units in enumerate(others, 2):
        x = layers.Dense(units, activation=activation, name=f"hidden{index}")(x)
    x = layers.Dense(dimensions, kernel_initializer="zeros", dtype=_head(), name="rate")(x)
    return keras.Model(inputs, x, name=name)


def made(dimensions, parameters, width=256, depth=2, activation="relu", context=None, name="made"):
    """Vectors to parameters that depend, for each element, on none but the elements before it (MADE, Germain et al. 2015,
    arXiv:1502.03509, section 4).

    Args:
        dimensions: int.
        parameters: int. How many for an element.
        width: int or sequence of `depth` ints. Units of a hidden layer; their degrees go evenly through the dimensions. Defaults
            to 256.
        depth: int. Number of hidden layers. Defaults to 2.
        activation: name or callable. Defaults to "relu".
        context: int or None. Units of a second input that all parameters depend on. Defaults to None.
        name: str. Defaults to "made".

    Returns:
        A built `keras.Model`, `(batch, dimensions)`, or a list of this and `(batch, context)`, to `(batch, dimensions *
        parameters)`, those of an element side by side.
    """
    dimensions, parameters, depth = whole(dimensions=dimensions, parameters=parameters, depth=depth)
    widths = widths_of(width, depth)
    # Of an input the element's own number: how many elements what follows may see. A unit of degree d sees the first d elements;
    # none may see the last, on which nothing depends. Those of degree 0, for the first element, see the context alone.
    least = 1 if context is None else 0
    spread = lambda units: (least + np.arange(units) * (dimensions - least) // units).tolist()  # noqa: E731
    degrees = [np.arange(1, dimensions + 1).tolist(), *map(spread, widths)]
    hidden = [MaskedDense(units, *degrees[i : i + 2], name=f"hidden{i + 1}") for i, units in enumerate(widths)]
    activations = [layers.Activation(activation, name=f"activation{index + 1}") for index in range(depth)]
    of_element = np.repeat(np.arange(dimensions), parameters).tolist()  # element i sees i elements
    last = MaskedDense(
        dimensions * parameters, degrees[-1], of_element, kernel_initializer="zeros", dtype=_head(), name="parameters"
    )
    inputs = keras.Input((dimensions,), dtype=_head(), name="vector")
    told = None if context is None else keras.Input((whole(context=context),), dtype=_head(), name="context")
    x = inputs
    for index in range(depth):
        x = hidden[index](x)
        if told is not None and index == 0:
            x = layers.Add(name="with_context")([x, layers.Dense(widths[0], use_bias=False, name="of_context")(told)])
        x = activations[index](x)
    return keras.Model(inputs if told is None else [inputs, told], last(x), name=name)


def _inputs(shape, context):
    """The inputs of a coupling's network, and what its first layer sees: what stays and, where there is one, the context, which
    every pixel sees."""
    stays = keras.Input(shape, name="stays")
    if context is None:
        return stays, stays
    told = keras.Input((whole(context=context),), name="context")
    seen = told
    if len(shape) == 3:
        seen = layers.UpSampling2D(shape[:2], name="at_each_pixel")(layers.Reshape((1, 1, context), name="as_pixel")(told))
    return [stays, told], layers.Concatenate(name="with_context")([stays, seen])


def _head():
    """The dtype of densities: float32, also where networks compute in less; more where asked for."""
    return "float64" if keras.config.dtype_policy().name == "float64" else "float32"
