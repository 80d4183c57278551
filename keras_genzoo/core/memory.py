"""How much memory is left, what a step takes of it, and one sentence where it is used up."""

import contextlib
from pathlib import Path

import tensorflow as tf

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None

PROCESS = Path("/proc/self/cgroup")  # the control groups of this process
# Of versions 2 and 1 of control groups: their name there, where they lie, the files of the limit and of what is used, and the
# entry of memory.stat for pages of files, which can go.
GROUPS = (
    ("", Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    ("memory", Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free():
    """Bytes of memory that this process may still take: of the machine, of its control groups (as of a container or of a job of
    SLURM), and by `ulimit`."""
    import psutil

    return max(0, min([psutil.virtual_memory().available, *_left_of_groups(), *_left_of_limits(psutil.Process())]))


def _left_of_groups():
    lines = [line.split(":", 2) for line in PROCESS.read_text().splitlines()] if PROCESS.exists() else []
    for _, controllers, place in lines:
        for name, top, *files in GROUPS:
            if name in controllers.split(","):
                folder = top / place.lstrip("/")
                inside = [each for each in (folder, *folder.parents) if each == top or top in each.parents]
                yield from (left for each in inside if (left := _left(each, *files)) is not None)


def _left(group, limit, used, pages):
    """Bytes that a control group has left; None where it has no limit, or is not there, as seen from within a container."""
    try:
        most, taken = (group / limit).read_text().strip(), int((group / used).read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:
        return None
    return None if most == "max" else int(most) - taken + int(counts.get(pages, 0))


def _left_of_limits(process):
    if resource is None:
        return []
    used = process.memory_info()
    limits = (resource.RLIMIT_AS, used.vms), (resource.RLIMIT_DATA, getattr(used, "data", used.rss))
    found = [(resource.getrlimit(kind)[0], taken) for kind, taken in limits]
    return [most - taken for most, taken in found if most != resource.RLIM_INFINITY]


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
