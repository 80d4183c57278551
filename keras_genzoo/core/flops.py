"""Floating-point operations, counted in what a function really computes."""

import contextlib
import math
import re

import tensorflow as tf
from tensorflow.python.framework import op_callbacks

# The other image of a gradient is its first or second input, or given by its shape alone.
CONVOLUTIONS = "Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter"
DEPTHWISE = tuple(f"DepthwiseConv2dNative{kind}" for kind in ("", "BackpropInput", "BackpropFilter"))
# What moves numbers, or makes none.
MOVING = re.compile(
    r"Read|Assign|Identity|Reshape|ExpandDims|Squeeze|Slice|Concat|Split|^Pack|Unpack|Transpose$|Pad|Gather|Tile|Fill|Const|Cast|"
    r"Shape|Zeros|Ones|StopGradient|Broadcast|Reverse|Roll|Where|Select|Iterator|Dataset|VarHandle|Variable|TensorList|SpaceTo|ToSpace"
)


def count(function, *args, **kwargs):
    """Call a function, and count its floating-point operations.

    It runs operation by operation, without graphs and compilation, so that loops count as often as they are gone through, and
    gradients as what they compute. In matrix products and convolutions a multiplication and an addition are two operations,
    padding included; whatever else computes, a sum or an exponential, counts one for each number that it takes or gives.

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
        if graph is None:  # what is traced does not run yet
            settings = zip(map(_text, attributes[::2]), attributes[1::2], strict=True)
            counted[0] += _operations(_text(kind), inputs, dict(settings), outputs)

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
        equation = _text(attributes["equation"])
        sizes, others = {}, 1
        for term, each in zip(equation.split("->")[0].split(","), inputs, strict=True):
            head, _, tail = term.partition("...")
            rest = each.shape[len(head) : len(each.shape) - len(tail)] if "..." in term else ()
            others = max(others, math.prod(rest))
            sizes |= dict(zip(head + tail, (*each.shape[: len(head)], *each.shape[len(head) + len(rest) :]), strict=True))
        return 2 * others * math.prod(sizes.values()) if len(inputs) > 1 else 0
    if kind in CONVOLUTIONS + DEPTHWISE:
        # Each number at the output's places meets a kernel's window, in the gradients as well.
        grid, kernel = {
            "": lambda: (outputs[0].shape, inputs[1].shape),
            "BackpropInput": lambda: (inputs[2].shape, inputs[1].shape),
            "BackpropFilter": lambda: (inputs[2].shape, outputs[0].shape),
        }[kind.removeprefix("DepthwiseConv2dNative").removeprefix("Conv2D")]()
        places = math.prod(grid) // grid[_channels(attributes)]
        return 2 * places * math.prod(kernel)
    floating = [[_size(each) for each in tensors if _is_floating(each)] for tensors in (inputs, outputs)]
    return 0 if MOVING.search(kind) or not floating[1] else max(map(max, filter(None, floating)))


def _channels(attributes):
    return _text(attributes.get("data_format") or "NHWC").index("C")


def _size(tensor):
    return math.prod(tensor.shape)


def _is_floating(tensor):
    return tf.is_tensor(tensor) and tensor.dtype.is_floating


def _text(name):
    return name.decode() if isinstance(name, bytes) else name
