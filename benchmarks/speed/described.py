"""A network of Keras as a list of operations and arrays, from which another library builds the same one.

Images are `(height, width, channels)` here and `(channels, height, width)` there, so the rows of a dense layer after a
flattening, and the columns of one before a reshape, are put in the other order.
"""

import numpy as np

ACTIVATIONS = ("linear", "relu", "leaky_relu", "tanh", "sigmoid", "silu")


def described(network):
    """The operations of a functional network in order, and its weights.

    Args:
        network: built `keras.Model` of dense and convolutional layers.

    Returns:
        A dict of "operations", dicts with "name", "kind", "inputs" and what the kind needs, and of "inputs" and "outputs", lists
        of names; and a dict of arrays, named "operation/index".

    Raises:
        ValueError: a layer that no rule is there for.
    """
    tensors = {id(tensor): _source(tensor) for tensor in network.inputs}
    operations, arrays = [], {}
    for layer in network.operations:
        node = layer._inbound_nodes[0]
        inputs = [_source(tensor) for tensor in node.input_tensors]
        kind = type(layer).__name__
        if kind not in RULES:
            raise ValueError(f"{network.name} has a layer {layer.name} of kind {kind}, expected one of {', '.join(RULES)}.")
        fields, weights = RULES[kind](layer, node)
        operations.append({"name": layer.name, "kind": kind, "inputs": inputs, **fields})
        arrays |= {f"{layer.name}/{index}": each for index, each in enumerate(weights)}
    outputs = [_source(tensor) for tensor in network.outputs]
    return {"operations": operations, "inputs": list(tensors.values()), "outputs": outputs}, arrays


def _source(tensor):
    return tensor._keras_history.operation.name


def _activation(layer):
    name = getattr(layer.activation, "__name__", str(layer.activation))
    if name not in ACTIVATIONS:
        raise ValueError(f"{layer.name} has the activation {name}, expected one of {', '.join(ACTIVATIONS)}.")
    return name


def _before(node):
    """The operation before, and the shape that it takes, without the batch."""
    operation = node.input_tensors[0]._keras_history.operation
    before = operation._inbound_nodes[0].input_tensors
    return operation, before[0].shape[1:] if before else None


def _after(layer):
    """The shape that a reshape right behind a layer gives, without the batch; None where there is none."""
    following = [node.operation for node in layer._outbound_nodes]
    shapes = [each.target_shape for each in following if type(each).__name__ == "Reshape"]
    return shapes[0] if len(following) == len(shapes) == 1 and len(shapes[0]) == 3 else None


def _dense(layer, node):
    weights = [np.array(each) for each in layer.get_weights()]
    operation, taken = _before(node)
    if type(operation).__name__ == "Flatten" and len(taken) == 3:
        kernel = weights[0].reshape(*taken, -1)
        weights[0] = np.moveaxis(kernel, 2, 0).reshape(weights[0].shape)
    if shape := _after(layer):
        weights = [np.moveaxis(each.reshape(*each.shape[:-1], *shape), -1, -3).reshape(each.shape) for each in weights]
    return {"units": layer.units, "bias": layer.use_bias, "activation": _activation(layer)}, weights


def _padding(node, layer, transposed):
    """Rows and columns that "same" adds before and behind, or of a transposed convolution cuts off."""
    image, pairs = (node.output_tensors if transposed else node.input_tensors)[0].shape[1:3], []
    for size, kernel, stride in zip(image, layer.kernel_size, layer.strides, strict=True):
        whole = max((-(-size // stride) - 1) * stride + kernel - size, 0) if layer.padding == "same" else 0
        pairs.append([whole // 2, whole - whole // 2])
    return pairs


def _convolution(layer, node, transposed=False):
    fields = {"filters": layer.filters, "kernel": layer.kernel_size, "strides": layer.strides, "bias": layer.use_bias}
    fields |= {"padding": _padding(node, layer, transposed), "activation": _activation(layer)}
    weights = [np.array(each) for each in layer.get_weights()]
    weights[0] = weights[0].transpose(3, 2, 0, 1)  # out, in, rows, columns; of transposed ones in, out
    return fields | {"channels": node.input_tensors[0].shape[-1]}, weights


def _batch_normalization(layer, node):
    shape = node.input_tensors[0].shape
    fields = {"size": shape[-1], "flat": len(shape) == 2, "momentum": 1 - layer.momentum, "epsilon": layer.epsilon}
    return fields, layer.get_weights()


def _layer_normalization(layer, node):
    shape = node.input_tensors[0].shape
    if len(shape) != 2:
        raise ValueError(f"{layer.name} normalises over {shape[1:]}, expected vectors.")
    return {"size": shape[-1], "epsilon": layer.epsilon}, layer.get_weights()


RULES = {
    "InputLayer": lambda layer, node: ({}, []),
    "Dense": _dense,
    "Conv2D": _convolution,
    "Conv2DTranspose": lambda layer, node: _convolution(layer, node, transposed=True),
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "Activation": lambda layer, node: ({"activation": _activation(layer)}, []),
    "Flatten": lambda layer, node: ({}, []),
    "Reshape": lambda layer, node: ({"shape": [layer.target_shape[-1], *layer.target_shape[:-1]]}, []),
    "Cropping2D": lambda layer, node: ({"cropping": layer.cropping}, []),
    "UpSampling2D": lambda layer, node: ({"interpolation": layer.interpolation}, []),
    "Add": lambda layer, node: ({}, []),
    "SoftBound": lambda layer, node: ({"limit": layer.limit}, []),
}
