"""Exponential moving averages of a model's weights, by which it computes in everything but the training step."""

import contextlib

import keras
import tensorflow as tf


class Pairs:
    """Variables and their averages. An object of our own, for Keras would take those in a list for variables of the model itself.

    Attributes:
        all: list of (variable, average).
    """

    def __init__(self, pairs):
        self.all = pairs

    def numbered(self, others):
        """Own variables of a model in the order in which files of version 0.1.0 number them: weights stood among them.

        Args:
            others: list of the model's own variables that are no averages.
        """
        trainable, rest = [], list(others)
        for variable, average in self.all:
            rest.append(average)
            (trainable if variable.trainable else rest).append(variable)
        return [*trainable, *rest]


def pairs(model):
    """Add an average to the model for each floating-point variable of its `averaged` arguments, as `Pairs`."""
    made = []
    for variable in model._variables_of(model.averaged, "variables") if model.ema is not None else ():
        if "float" in variable.dtype:
            average = model.add_weight(
                shape=variable.shape, dtype=variable.dtype, trainable=False, name=f"average_{variable.name}"
            )
            average.assign(variable)
            made.append((variable, average))
    return Pairs(made)


def update(model, networks, optimizer):
    """Move the averages of these networks towards their weights: in step t, from 0, by 1 - min(ema, t / (t + 10))."""
    if model._averages.all and any(name in model.averaged for name in networks):
        step = tf.cast(optimizer.iterations - 1, tf.float32)
        decay = tf.minimum(model.ema, step / (step + 10.0))
        trained = {id(v) for v in model._variables_of(networks, "variables")}
        for variable, average in model._averages.all:
            if id(variable) in trained:
                value = tf.cast(average.value, tf.float32)
                average.assign(value + (1 - decay) * (tf.cast(variable.value, tf.float32) - value))


@contextlib.contextmanager
def in_place(model):
    """Inside the block the networks compute with the averages of their weights, where the model keeps any."""
    if not model._averages.all or model._as_trained:
        yield
        return
    with keras.StatelessScope(state_mapping=model._averages.all) as scope:
        yield
    for counter in model._counters.values():  # the scope kept every assignment to itself
        value = scope.get_current_value(counter)
        if value is not None:
            counter.assign(value)
