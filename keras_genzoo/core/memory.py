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


def of_step(model, batches):
    """Bytes that a step of training holds at once, at least: variables, and the tensors of its graph that are alive together.

    The step is traced and not run. What kernels take for themselves beside it, and TensorFlow, is not known here: trainings were
    measured to grow by 1.5 to 2 times as much.

    Args:
        model: compiled model.
        batches: `tf.data.Dataset` of batches of one size.

    Returns:
        int.
    """
    step = tf.function(model.train_step, autograph=False).get_concrete_function(batches.element_spec)
    optimizers = (getattr(model, name) for name in model.optimizers)
    variables = {id(v): v for v in [*model.variables, *(v for each in optimizers if each is not None for v in each.variables)]}
    return sum(_bytes(each.value) for each in variables.values()) + _peak(step.graph)


# What makes no number of its own.
VIEWS = ("Reshape", "Identity", "IdentityN", "ReadVariableOp", "Squeeze", "ExpandDims", "StopGradient", "PreventGradient")
CALLED = ("f", "body", "cond", "then_branch", "else_branch")


def _bytes(tensor):
    count = tensor.shape.num_elements()
    return 0 if count is None or tensor.dtype in (tf.resource, tf.variant, tf.string) else count * tensor.dtype.size


def _peak(graph):
    """Bytes of the tensors that are alive together at most, operation by operation, each until it is last read."""
    operations, source, last = graph.get_operations(), {}, {}

    def origin(tensor):
        return source.get(id(tensor), id(tensor))

    for index, operation in enumerate(operations):
        if operation.type in VIEWS and operation.inputs:
            source |= {id(each): origin(operation.inputs[0]) for each in operation.outputs}
        last |= {origin(each): index for each in operation.inputs}
    held, alive, most = {}, 0, 0
    for index, operation in enumerate(operations):
        called = [operation.get_attr(name).name for name in CALLED if name in operation.node_def.attr]
        inner = max((_peak(graph._get_function(name).graph) for name in called), default=0)
        if operation.type not in VIEWS and operation.type not in ("Placeholder", "Const"):
            held |= {id(each): _bytes(each) for each in operation.outputs}
            alive += sum(_bytes(each) for each in operation.outputs)
        most = max(most, alive + inner)
        done = {key for key in (origin(each) for each in operation.inputs) if last[key] == index}
        done |= {id(each) for each in operation.outputs if id(each) not in last}
        alive -= sum(held.pop(key, 0) for key in done)
    return most
