"""Floating-point operations, counted in what a function really computes."""

import contextlib
import math

import tensorflow as tf
from tensorflow.python.framework import op_callbacks

# The other image of a gradient is its first or second input, or given by its shape alone.
CONVOLUTIONS = "Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter"
DEPTHWISE = tuple(f"DepthwiseConv2dNative{kind}" for kind in ("", "BackpropInput", "BackpropFilter"))


def count(function, *args, **kwargs):
    """Call a function, and count the floating-point operations of its matrix products and convolutions.

    It runs operation by operation, without graphs and compilation, so that loops count as often as they are gone through, and
    gradients as what they compute. A multiplication and an addition are two operations. What is done for each number by itself,
    as activations, normalisation and the optimizer's step, is left out: with real networks that is a hundredth.

    Args:
        function: callable. What it changes, as the weights by a step of training, stays changed.
        *args, **kwargs: its arguments.

    Returns:
        int.

    Example:

    >>> count(tf.matmul, tf.ones((2, 3)), tf.ones((3, 5)))
    60
    """
    counted = [0]

    def add(kind, inputs, attributes, outputs, op_name=None, graph=None):
        if graph is None:  # what is traced runs elsewhere
            counted[0] += _operations(kind, inputs, dict(zip(attributes[::2], attributes[1::2], strict=True)), outputs)

    with _eagerly():
        op_callbacks.add_op_callback(add)
        try:
            function(*args, **kwargs)
        finally:
            op_callbacks.remove_op_callback(add)
    return counted[0]


@contextlib.contextmanager
def _eagerly():
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _operations(kind, inputs, attributes, outputs):
    if kind in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        transposed = attributes.get("transpose_a", attributes.get("adj_x", False))
        return 2 * _size(outputs[0]) * inputs[0].shape[-2 if transposed else -1]
    if kind == "Einsum":
        equation = attributes["equation"]
        equation = equation.decode() if isinstance(equation, bytes) else equation
        sizes = {}
        for term, each in zip(equation.split("->")[0].split(","), inputs, strict=True):
            if "." in term:
                raise NotImplementedError(f"the operations of tf.einsum({equation!r}) are not counted; name all of its axes.")
            sizes |= dict(zip(term, each.shape, strict=True))
        return 2 * math.prod(sizes.values()) if len(inputs) > 1 else 0
    if kind in CONVOLUTIONS + DEPTHWISE:
        # Each number at the output's places meets a kernel's window, in the gradients as well.
        grid, kernel = {
            "": lambda: (outputs[0].shape, inputs[1].shape),
            "BackpropInput": lambda: (inputs[2].shape, inputs[1].shape),
            "BackpropFilter": lambda: (inputs[2].shape, outputs[0].shape),
        }[kind.removeprefix("DepthwiseConv2dNative").removeprefix("Conv2D")]()
        places = math.prod(grid) // grid[_channels(attributes)]
        return 2 * places * math.prod(kernel)
    return 0


def _channels(attributes):
    layout = attributes.get("data_format", "NHWC")
    return (layout.decode() if isinstance(layout, bytes) else layout).index("C")


def _size(tensor):
    return math.prod(tensor.shape)
