"""Several optimizers of one model: what is done to the first is done to all of them."""

import keras
import tensorflow as tf

from keras_genzoo.core import shares
from keras_genzoo.core.adam import Adam
from keras_genzoo.core.ramps import RampedAdam


def companions(model, given):
    """An optimizer for each name in `model.optimizers`.

    Those that are not given are copies of the first, with learning rates in the ratio that they had in an earlier `compile`;
    where the first is not given either, Adam with a learning rate of 1e-3.

    Args:
        model: `GenerativeModel`.
        given: dict from names to optimizers, their names, or None.

    Returns:
        dict from names to `keras.optimizers.Optimizer`.

    Raises:
        ValueError: one object in two places, or one that was built for other variables.
    """
    ratios = ratios_of(model) if model.compiled else {}
    chosen = {name: keras.optimizers.get(value) for name, value in given.items() if value is not None}
    main = chosen.get("optimizer")
    for name in model.optimizers:
        if name not in chosen:
            chosen[name] = Adam() if main is None else _scaled(main, ratios.get(name, 1.0))
        others = [other for other, optimizer in chosen.items() if optimizer is chosen[name] and other != name]
        if others:
            raise ValueError(f"{name} and {others[0]} are one object, which has room for the state of one; give two optimizers.")
    return {name: chosen[name] for name in model.optimizers}


def _scaled(optimizer, ratio):
    """A new optimizer as this one, with `ratio` times its learning rate."""
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    if ratio != 1.0:
        inner = _inner(copy)
        rate = inner._learning_rate
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            inner._learning_rate = Scaled(rate, ratio)
        else:
            inner.learning_rate = ratio * _number(rate)
    return copy


@keras.saving.register_keras_serializable("keras_genzoo")
class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    """`factor` times another schedule of the learning rate."""

    def __init__(self, schedule, factor):
        super().__init__()
        self.schedule, self.factor = schedule, factor

    def __call__(self, step):
        return self.factor * self.schedule(step)

    def get_config(self):
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "factor": self.factor}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["factor"])


def _inner(optimizer):
    return optimizer.inner_optimizer if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) else optimizer


def _number(rate):
    return float(tf.convert_to_tensor(rate))  # NumPy deprecates how Keras hands over a variable


def known_variables(optimizer):
    """The ids of the variables that an optimizer was built for."""
    return {id(variable) for variable in _inner(optimizer)._trainable_variables}


def tell(optimizer, seen):
    """Let an optimizer with ramps know how much its model has seen: images and steps, int64 `(2,)`."""
    inner = _inner(optimizer)
    if isinstance(inner, RampedAdam):
        inner.seen.assign(seen)


def rates(model):
    """The learning rates by the names of the optimizers; None where a schedule gives it."""
    found = {name: _inner(getattr(model, name)) for name in model.optimizers}
    fixed = {
        name: not isinstance(each._learning_rate, keras.optimizers.schedules.LearningRateSchedule) for name, each in found.items()
    }
    return {name: _number(each.learning_rate) if fixed[name] else None for name, each in found.items()}


def ratios_of(model):
    """The learning rates as multiples of the first optimizer's, at their first step; without those that have no ratio."""
    first, *others = [(name, _number(_inner(getattr(model, name)).learning_rate)) for name in model.optimizers]
    return {name: rate / first[1] for name, rate in others if first[1] > 0}


class Following(keras.callbacks.Callback):
    """Keeps the ratio of the learning rates when somebody changes that of `model.optimizer` alone, as Keras's callbacks do.

    It comes after the other callbacks, and looks at the beginning and the end of each epoch; before each batch only if one of the
    others acts on batches, for a look costs a wait for the device.

    Args:
        others: list of the other callbacks.
    """

    def __init__(self, others):
        super().__init__()
        foreign = [each for each in others if not type(each).__module__.startswith(("keras.", "keras_genzoo."))]
        names = ("on_train_batch_begin", "on_batch_begin", "on_train_batch_end", "on_batch_end")
        self._on_batches = any(
            getattr(type(each), n) is not getattr(keras.callbacks.Callback, n) for each in foreign for n in names
        )

    def on_train_begin(self, logs=None):
        # What was set before, by hand or from a backup, was set for each: these are the ratios from here on.
        self.model._rates, self.model._rate_ratios = rates(self.model), ratios_of(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        follow(self.model)

    def on_epoch_end(self, epoch, logs=None):
        follow(self.model)

    def on_train_batch_begin(self, batch, logs=None):
        if self._on_batches:
            follow(self.model)


def follow(model):
    """Move the other learning rates with that of `model.optimizer`, if it alone has changed since the last look."""
    now, before = rates(model), model._rates
    first = now["optimizer"]
    for name in now:
        if name != "optimizer" and None not in (first, now[name], before[name]) and before["optimizer"] is not None:
            if now[name] == before[name] and first != before["optimizer"] and name in model._rate_ratios:
                _inner(getattr(model, name)).learning_rate = first * model._rate_ratios[name]
            elif first > 0:
                model._rate_ratios[name] = now[name] / first
    model._rates = rates(model)


def global_norm(gradients):
    """Of gradients of any precision, float32."""
    return tf.linalg.global_norm([None if each is None else tf.cast(each, tf.float32) for each in gradients])


def clip_together(gradients, optimizer, replicas):
    """Clip the whole batch's gradient, not every replica's share of it, as on one device."""
    precisions = {each.dtype for each in gradients if each is not None}
    if len(precisions) > 1 and _inner(optimizer).global_clipnorm:  # Keras takes their norm in one; steps are in the variable's
        widest = max(precisions, key=lambda precision: precision.size)
        gradients = [None if each is None else tf.cast(each, widest) for each in gradients]
    clips = (optimizer.clipnorm, optimizer.global_clipnorm, optimizer.clipvalue)
    if replicas == 1 or not any(clips) or isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return gradients
    context = tf.distribute.get_replica_context()
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
    # Every replica hands over an equal share, which the optimizer's own clipping leaves alone and its sum restores.
    return [gradient / replicas for gradient in optimizer._clip_gradients(total)]


def step_every(model, every, loss_of, networks, optimizer):
    """Lazy regularisation: a gradient step of its own, in one of so many steps of a model, on a loss times that number
    (Karras et al. 2020, arXiv:1912.04958, section 3.1).

    On average over steps the gradient is that of the loss. The optimizer makes more steps than the model, and `lazy` says how its
    rates make up for it. The averages of the weights take this step in with the next one of `minimize`.

    Args:
        model: `GenerativeModel`, in a training step.
        every: int. The steps 0, `every`, `2 * every` and so on are those.
        loss_of: callable without arguments, to the loss and a further number, scalars or one an image. It is called in those
            steps alone, so it may draw noise, but gather nothing from other replicas.
        networks: names of the constructor arguments to train.
        optimizer: the optimizer of these.

    Returns:
        Three scalars: whether the step is made; the loss times `every`, and the further number; both are 0 where it is not made.
    """
    variables, weight = model._variables_of(networks, "trainable_variables"), shares.weight()
    seen = model._place.now()
    due = tf.equal(seen[1] % every, 0)

    def of_step():
        with tf.GradientTape() as tape:
            loss, told = (tf.reduce_mean(tf.cast(each, tf.float32)) for each in loss_of())
            objective = optimizer.scale_loss(every * loss * weight)
        found = tape.gradient(objective, variables)
        zeros = lambda v: tf.zeros(v.shape, v.dtype)  # noqa: E731
        return every * loss, told, [zeros(v) if g is None else tf.cast(g, v.dtype) for g, v in zip(found, variables, strict=True)]

    def of_none():
        return tf.constant(0.0), tf.constant(0.0), [tf.zeros(v.shape, v.dtype) for v in variables]

    loss, told, gradients = tf.cond(due, of_step, of_none)
    if variables:
        tell(optimizer, seen)
        gradients = clip_together(gradients, optimizer, model.distribute_strategy.num_replicas_in_sync)
        _apply_if(due, optimizer, gradients, variables)
    return due, loss, told


def _apply_if(due, optimizer, gradients, variables):
    def apply(gradients):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def chosen(due, act):
        tf.cond(due, lambda: (act(), tf.constant(True))[1], lambda: tf.constant(False))

    def across(strategy, due, gradients):
        due = strategy.experimental_local_results(due)[0]  # the same on all
        chosen(due, lambda: strategy.extended.call_for_each_replica(apply, args=(gradients,)))

    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        chosen(due, lambda: apply(gradients))
    else:  # within a condition no replica may wait for the others
        context.merge_call(across, args=(due, gradients))


def lazy(every, learning_rate, *betas):
    """Rates of an Adam that makes `every + 1` steps in `every` steps of a model, as with `step_every`: to the power of
    c = every / (every + 1), and the learning rate times c (Karras et al. 2020, arXiv:1912.04958, appendix B).

    Example:

    >>> [round(rate, 4) for rate in lazy(4, 0.0025, 0.0, 0.99)]
    [0.002, 0.0, 0.992]
    """
    share = every / (every + 1)
    return [share * learning_rate, *(beta**share for beta in betas)]
