"""Exponential moving averages of a model's weights, by which it computes in everything but the training step."""

import contextlib

import keras
import tensorflow as tf

from keras_genzoo.core import randomness
from keras_genzoo.core.ramps import HalfLife

PREFIX, STEPS = "average_", "average_steps_of_"  # of the names of a model's own variables
UNKNOWN = 2**31  # steps of averages in files that do not tell: they go on with their full decay


class Pairs:
    """Variables and their averages. An object of our own, for Keras would take those in a list for variables of the model itself.

    Attributes:
        all: list of (variable, average).
        steps: dict from names of the optimizers to the number of steps that the averages of their variables have taken.
        clocks: dict from the ids of variables to those of these that count for them.
    """

    def __init__(self, pairs, steps, clocks):
        self.all, self.steps, self.clocks = pairs, steps, clocks

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

    def loaded(self, store):
        """After reading a file: version 0.1.0, which numbers variables, did not keep the steps; others may have no averages."""
        for steps in self.steps.values():
            if steps.name not in store.keys():
                steps.assign(UNKNOWN if "0" in store else 0)


def _averaged(model):
    """The floating-point variables of a model's `averaged` arguments, if it keeps averages."""
    return [] if model.ema is None else _floats(model)


def _floats(model):
    return [v for v in model._variables_of(model.averaged, "variables") if "float" in v.dtype]


def pairs(model):
    """Add an average to the model for each floating-point variable of its `averaged` arguments, as `Pairs`."""
    averaged = _averaged(model)
    made = [(variable, _average(model, variable)) for variable in averaged]
    steps = {name: randomness.counter(model, f"{STEPS}{name}") for name in model.optimizers if made}
    return Pairs(made, steps, _clocks(model, averaged, steps))


def _average(model, variable):
    average = model.add_weight(shape=variable.shape, dtype=variable.dtype, trainable=False, name=f"{PREFIX}{variable.name}")
    average.assign(variable.value)
    return average


def _clocks(model, averaged, steps):
    clocks = {}
    for argument in steps:
        clocks |= {id(v): steps[argument] for v in model._variables_of(model.optimizers[argument], "variables")}
    for variable in averaged:  # those that no optimizer trains, as statistics, go with the first
        clocks.setdefault(id(variable), steps["optimizer"])
    return clocks


def renew(model, settled=False):
    """Take in the variables that the parts have got since, as by `enable_lora`; their averages begin with the values they have.

    Args:
        model: `GenerativeModel`.
        settled: bool. Whether the weights stand at their averages, so that nothing is lost with variables that are gone.

    Raises:
        ValueError: variables are gone, as by `quantize` of a part, and their averages with them.
    """
    averaged, known = _averaged(model), {id(variable): average for variable, average in model._averages.all}
    if [id(variable) for variable in averaged] == list(known):
        return
    gone = [variable for variable, _ in model._averages.all if all(variable is not each for each in averaged)]
    if gone and not settled:
        raise ValueError(
            f"{gone[0].path} is gone, and its average would be lost; quantize the model itself, which takes the averages for its "
            f"weights first, and not a part of it."
        )
    values = {key: tf.identity(average._value) for key, average in known.items()}
    model._tracker.unlock()
    for average in known.values():
        model._untrack_variable(average)
    made = [(variable, _average(model, variable)) for variable in averaged]  # all of them, as files number them by their order
    for variable, average in made:
        if id(variable) in values:
            average.assign(values[id(variable)])
    model._averages = Pairs(made, model._averages.steps, _clocks(model, averaged, model._averages.steps))


def take(model, found):
    """Give the weights of a model without averages the values of those in a file, where these have begun.

    Args:
        model: `GenerativeModel`.
        found: dict of names, as of `_own_variables`, to arrays.
    """
    if not any(found[name] for name in found if name.startswith(STEPS)):
        return
    counts = {}
    for variable in _floats(model):
        name = f"{PREFIX}{variable.name}"
        count = counts[name] = counts.get(name, -1) + 1
        variable.assign(found[f"{name}#{count}" if count else name])


def begun(model):
    """The averages that have begun: dict of the ids of their variables to arrays."""
    pairs = ((variable, average) for variable, average in model._averages.all)
    return {id(v): average.numpy() for v, average in pairs if int(model._averages.clocks[id(v)].numpy())}


def settle(model):
    """Give the weights the values of their averages, where these have begun."""
    for variable, average in model._averages.all:
        if int(model._averages.clocks[id(variable)].numpy()):
            variable.assign(average.value)


def update(model, networks, moved):
    """Move the averages of these networks towards their weights: in step t, from 0, by 1 - min(ema, t / (t + 10)), or as their
    half-life says.

    Args:
        networks: names of the arguments that were trained.
        moved: bool scalar. Whether their weights moved; if not, this is no step.
    """
    if not model._averages.all:
        return
    steps = next(model._averages.steps[name] for name, names in model.optimizers.items() if set(networks) & set(names))
    count = tf.identity(tf.convert_to_tensor(steps))
    if isinstance(model.ema, HalfLife):
        kept = model.ema.kept(model._place.now(), model._place.rows)
    else:
        kept = tf.minimum(model.ema, tf.cast(count / (count + 10), tf.float32))
    share = (1 - kept) * tf.cast(moved, tf.float32)
    trained = {id(v) for v in model._variables_of(networks, "variables")}
    for variable, average in model._averages.all:
        if id(variable) in trained:
            value = tf.cast(average.value, tf.float32)
            average.assign(value + share * (tf.cast(variable.value, tf.float32) - value))
    steps.assign(count + tf.cast(moved, count.dtype))


@contextlib.contextmanager
def in_place(model):
    """Inside the block the networks compute with the averages of their weights, where the model keeps any and was trained."""
    if not model._averages.all or model._as_trained:
        yield
        return
    begun = {id(steps): tf.convert_to_tensor(steps) > 0 for steps in model._averages.steps.values()}
    values = [  # as they are stored: where Keras calls us in half precision, `value` would be rounded
        (variable, tf.where(begun[id(model._averages.clocks[id(variable)])], average._value, variable._value))
        for variable, average in model._averages.all
    ]
    averaged = {id(variable) for variable, _ in values}
    # Keras looks here for what regularisers are of, and nowhere else.
    values += [(v, v._value) for v in model.trainable_variables if v.regularizer is not None and id(v) not in averaged]
    with keras.StatelessScope(state_mapping=values, collect_losses=True) as scope:
        yield
    for counter in model._counters.values():  # the scope kept every assignment to itself
        value = scope.get_current_value(counter)
        if value is not None:
            counter.assign(value)
