"""Several workers: processes, as a rule on machines of their own, that train one model together.

Each runs the same script under `tf.distribute.MultiWorkerMirroredStrategy`, and everything in which they talk to each other must
be done by all of them, in one order.
"""

import functools
import time

import numpy as np
import tensorflow as tf


def count(strategy):
    """Number of workers under a strategy; 1 of all strategies but that of several workers."""
    replicas = strategy.num_replicas_in_sync
    return 1 if replicas == 1 else replicas // len(strategy.extended.worker_devices)


def is_chief(strategy):
    """Whether this process writes the files: one of several workers does, and every process that works alone."""
    if count(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    chief = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (chief, 0)


def summed(strategy, values):
    """The sum of the workers' arrays, int64, on each of them. All must call it; it waits for the last.

    Args:
        strategy: `tf.distribute.Strategy`.
        values: array of integers, of one shape on all workers.
    """
    values = np.asarray(values, np.int64)
    return strategy.experimental_local_results(_sum_of(strategy)(tf.constant(values)))[0].numpy()


@functools.lru_cache(1)
def _sum_of(strategy):
    local = len(strategy.extended.worker_devices)

    def each(values):
        context = tf.distribute.get_replica_context()
        own = tf.cast(context.replica_id_in_sync_group % local == 0, tf.int64)  # one replica speaks for its worker
        return context.all_reduce(tf.distribute.ReduceOp.SUM, own * values)

    return tf.function(lambda values: strategy.run(each, (values,)), autograph=False, reduce_retracing=True)


class Looks:
    """Looks of workers at each other, about once a second, after the same steps."""

    def __init__(self, strategy):
        self.strategy, self.chief = strategy, is_chief(strategy)
        self._steps, self._gap, self._clock = 0, 1, time.monotonic()

    def __call__(self, values, now=False):
        """The sums of the workers' integers, a list, where it is time for a look, or `now`; else None. Called once a step."""
        self._steps += 1
        if self._steps < self._gap and not now:
            return None
        clock = time.monotonic()
        pace = int(self._steps / max(clock - self._clock, 1e-3))  # steps of a second
        *sums, self._gap = summed(self.strategy, [*values, max(1, pace) if self.chief else 0]).tolist()
        self._steps, self._clock = 0, clock
        return sums


def alike(strategy, numbers):
    """Whether a tuple of integers is the same on all workers."""
    chiefs = from_chief(strategy, [np.array(numbers)])[0]
    return not summed(strategy, [int((chiefs != numbers).any())])[0]


def from_chief(strategy, arrays):
    """The chief's arrays, on each worker, bit by bit.

    Args:
        strategy: `tf.distribute.Strategy`.
        arrays: list of arrays, of the same shapes and types on all workers.
    """
    sent = b"".join(each.tobytes() for each in arrays)
    numbers = np.frombuffer(sent + bytes(-len(sent) % 8), np.int64)
    received = summed(strategy, numbers if is_chief(strategy) else np.zeros_like(numbers)).tobytes()
    ends = np.cumsum([each.nbytes for each in arrays])
    parts = (received[end - each.nbytes : end] for each, end in zip(arrays, ends, strict=True))
    return [np.frombuffer(part, each.dtype).reshape(each.shape) for part, each in zip(parts, arrays, strict=True)]


def agree(model):
    """Let the model of each worker be the chief's: its seed, weights and optimizers. Where there is one worker nothing is done.

    TensorFlow sends what variables begin with, and not what is assigned to them: by a file, or by what a model computes of the
    data that a worker sees first.
    """
    strategy = model.distribute_strategy
    if count(strategy) > 1:
        variables = [*model.weights, *(v for name in model.optimizers for v in getattr(model, name).variables)]
        variables = list({id(variable): variable for variable in variables}.values())
        seed, *values = from_chief(strategy, [np.array(model.seed), *(variable.numpy() for variable in variables)])
        model.reseed(int(seed))
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
