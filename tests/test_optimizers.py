"""What a user does to the optimizers of a model: freezing, compiling again, gathering gradients, changing a learning rate."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_case import SHAPE, build
from toy import build_toy

import keras_genzoo as gz
from keras_genzoo.core.adam import Adam

TWO = {"toy": ("encoder", "classifier"), "gan": ("generator", "critic"), "wae_gan": ("encoder", "divergence")}
TWO |= {"two_stage_vae": ("decoder", "second_decoder"), "latent_diffusion": ("diffusion", "autoencoder")}


@pytest.fixture
def batches():
    images = np.random.default_rng(0).random((12, *SHAPE), dtype="float32")
    return gz.data.load((images, np.arange(12) % 3), batch_size=4, shuffle=False, labels=True)


def second(model):
    """The second optimizer, and its name."""
    name = list(model.optimizers)[1]
    return getattr(model, name), name


def rates(model):
    return [float(getattr(model, name).learning_rate) for name in model.optimizers]


def weights(part):
    return [v.numpy() for v in part.trainable_variables + part.non_trainable_variables if "seed" not in v.path]


def moved(before, part):
    """Whether weights moved."""
    return any(np.abs(a - b).max() > 0 for a, b in zip(before, weights(part), strict=True))


@pytest.mark.parametrize("name", TWO)
@pytest.mark.parametrize("frozen", (0, 1))
def test_a_part_that_is_frozen_stays_and_the_other_learns(name, frozen, batches):
    model = build(name)
    parts = [getattr(model, part) for part in TWO[name]]
    parts[frozen].trainable = False
    model.compile(run_eagerly=True)
    before = [weights(part) for part in parts]
    history = model.fit(batches, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert not moved(before[frozen], parts[frozen])
    assert moved(before[1 - frozen], parts[1 - frozen])


def test_all_frozen_is_evaluation_and_what_thaws_later_asks_for_compile(batches):
    model = build("gan")
    model.generator.trainable = model.critic.trainable = False
    model.compile()
    before = weights(model.generator)
    assert np.isfinite(model.fit(batches, verbose=0).history["loss"]).all() and not moved(before, model.generator)
    model.generator.trainable = True
    model.train_function = None
    with pytest.raises(ValueError, match="was not trainable when the model was compiled, and is now; call compile\\(\\) again"):
        model.fit(batches, verbose=0)


@pytest.mark.parametrize("name", TWO)
def test_one_optimizer_that_is_given_is_that_of_both_in_the_ratio_of_before(name, batches):
    model = build(name)
    ratio = rates(model)[1] / rates(model)[0]
    model.compile(keras.optimizers.RMSprop(1e-5, rho=0.8), run_eagerly=True)
    optimizer, _ = second(model)
    assert isinstance(optimizer, keras.optimizers.RMSprop) and optimizer.rho == 0.8
    np.testing.assert_allclose(rates(model), [1e-5, ratio * 1e-5], rtol=1e-6)
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-3, 1, 0.5)
    model.compile(keras.optimizers.SGD(schedule), run_eagerly=True)
    model.fit(batches, verbose=0)
    np.testing.assert_allclose(rates(model), [1e-3 / 8, ratio * 1e-3 / 8], rtol=1e-5)


@pytest.mark.parametrize("name", TWO)
def test_one_object_for_two_optimizers_is_refused(name):
    model, adam = build(name), keras.optimizers.Adam()
    _, argument = second(model)
    with pytest.raises(ValueError, match=f"{argument} and optimizer are one object|optimizer and {argument} are one object"):
        model.compile(adam, **{argument: adam})


class Halving(keras.callbacks.Callback):
    """A callback of a user's own, which acts before each batch."""

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = 0.5 * float(self.model.optimizer.learning_rate)


@pytest.mark.parametrize(
    "make, factor",
    (
        (lambda: keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.1 * rate), 0.01),
        (lambda: keras.callbacks.ReduceLROnPlateau("loss", 0.1, patience=0, min_delta=1e9, cooldown=0), 0.1),
        (Halving, 0.5**6),
    ),
    ids=("LearningRateScheduler", "ReduceLROnPlateau", "each batch"),
)
@pytest.mark.parametrize("name", ("toy", pytest.param("gan", marks=pytest.mark.slow)))
def test_callbacks_move_both_learning_rates(name, make, factor, batches):
    model = build(name)
    before = rates(model)
    model.fit(batches, epochs=2, callbacks=[make()], verbose=0)
    np.testing.assert_allclose(rates(model), [factor * rate for rate in before], rtol=1e-5)


def test_learning_rates_set_by_hand_are_each_its_own_and_callbacks_keep_their_ratio(batches):
    model = build("gan")
    model.optimizer.learning_rate, model.critic_optimizer.learning_rate = 1e-4, 5e-4
    model.fit(batches, callbacks=keras.callbacks.LearningRateScheduler(lambda epoch: 1e-5), verbose=0)
    np.testing.assert_allclose(rates(model), [1e-5, 5e-5], rtol=1e-5)


def test_a_rate_set_by_hand_in_training_is_the_ratio_from_there_on(batches):
    class Own(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.critic_optimizer.learning_rate = 0.08
            if epoch == 2:
                self.model.optimizer.learning_rate = 0.0005

    model = build_toy(SHAPE)
    model.compile(keras.optimizers.SGD(0.001), critic_optimizer=keras.optimizers.SGD(0.002))
    model.fit(batches, epochs=3, callbacks=[Own()], verbose=0)
    np.testing.assert_allclose(rates(model), [0.0005, 0.04], rtol=1e-5)


def test_the_ratio_to_a_schedule_is_kept_in_files(batches, tmp_path):
    model = build_toy(SHAPE)
    ratio = rates(model)[1] / rates(model)[0]
    assert ratio != 1
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(1e-3, 1, 0.5)))
    model.fit(batches, verbose=0)
    model.save(tmp_path / "toy.keras")
    np.testing.assert_allclose(rates(gz.load(tmp_path / "toy.keras")), [1e-3 / 8, ratio * 1e-3 / 8], rtol=1e-5)


# Averages


def averages_by_hand(steps, first, values, ema):
    """The average after each of the values: of step t, from 0, by 1 - min(ema, t / (t + 10))."""
    average = first
    for step, value in zip(steps, values, strict=True):
        average = average + (1 - min(ema, step / (step + 10))) * (value - average)
    return average


def average_of(model, variable):
    return next(average.numpy() for v, average in model._averages.all if v is variable)


class Watch(keras.callbacks.Callback):
    """The values of a variable after each batch."""

    def __init__(self, variable):
        super().__init__()
        self.variable, self.values = variable, []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(self.variable.numpy())


def test_averages_count_by_themselves_through_compile_saving_and_loading(batches, tmp_path):
    model = build_toy(SHAPE, ema=0.9)
    variable = model.encoder.trainable_variables[0]
    first, watch = variable.numpy(), Watch(variable)
    model.fit(batches, callbacks=[watch], verbose=0)
    model.compile(keras.optimizers.SGD(0.1))
    model.fit(batches, callbacks=[watch], verbose=0)
    np.testing.assert_allclose(average_of(model, variable), averages_by_hand(range(6), first, watch.values, 0.9), atol=1e-6)
    model.save(tmp_path / "toy.keras")
    loaded = gz.load(tmp_path / "toy.keras")
    last, watch = average_of(model, variable), Watch(loaded.encoder.trainable_variables[0])
    loaded.compile()
    loaded.fit(batches, callbacks=[watch], verbose=0)
    expected = averages_by_hand(range(6, 9), last, watch.values, 0.9)
    np.testing.assert_allclose(average_of(loaded, watch.variable), expected, atol=1e-6)


def test_gathered_gradients_are_one_step_of_the_averages(batches):
    model = build_toy(SHAPE, ema=0.9)
    adam = keras.optimizers.Adam(1e-2, gradient_accumulation_steps=3)
    model.compile(adam)
    variable = model.encoder.trainable_variables[0]
    first, watch = variable.numpy(), Watch(variable)
    model.fit(batches, epochs=2, callbacks=[watch], verbose=0)
    assert np.array_equal(watch.values[0], first) and not np.array_equal(watch.values[2], first)
    values = [watch.values[2], watch.values[5]]
    np.testing.assert_allclose(average_of(model, variable), averages_by_hand(range(2), first, values, 0.9), atol=1e-6)


def test_a_step_that_the_loss_scale_skips_is_none_of_the_averages(batches):
    model = build_toy(SHAPE, ema=0.9, dtype="mixed_float16")
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1e-3), initial_scale=2.0**120))
    variable = model.encoder.trainable_variables[0]
    first = variable.numpy()
    model.fit(batches, verbose=0)
    assert np.array_equal(variable.numpy(), first) and np.array_equal(average_of(model, variable), first)
    assert int(model._averages.steps["optimizer"]) == 0


@pytest.mark.parametrize("name", ("gan", "vae"))
def test_weights_loaded_into_a_part_of_a_new_model_are_those_that_it_samples_with(name):
    model, other = build(name, ema=0.9), build(name, ema=0.9, seed=1)
    for mine, theirs in zip(model.trainable_variables, other.trainable_variables, strict=True):
        mine.assign(theirs + 0.05)
    np.testing.assert_allclose(model.sample(3, seed=0), model.sample(3, seed=0, averaged=False), atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{}, {"beta_1": 0.0, "beta_2": 0.9}, {"amsgrad": True}, {"weight_decay": 0.1, "clipnorm": 0.5}]
)
def test_adam_steps_as_that_of_keras(settings):
    random, found = np.random.default_rng(0), []
    start, gradients = random.normal(size=(3, 2)), random.normal(size=(20, 3, 2)) * np.logspace(-6, 2, 20)[:, None, None]
    rate = keras.optimizers.schedules.CosineDecay(0.1, 20)
    for kind in (Adam, keras.optimizers.Adam):
        weight, optimizer = keras.Variable(start), kind(rate, **settings)
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient, "float32")], [weight])
        found.append(weight.numpy())
        assert int(optimizer.iterations) == 20
    np.testing.assert_allclose(*found, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", ["vae", "gan"])
@pytest.mark.parametrize("again", [False, True])
def test_models_step_by_one_operation_a_variable(name, again, batches):
    model = build(name, jit_compile=False, steps_per_execution=1)
    if again:
        model.compile()  # by the default
    model.fit(batches, verbose=0)
    graph = tf.function(model.train_step).get_concrete_function(next(iter(batches))).graph
    found = [operation for operation in graph.get_operations() if operation.type == "ResourceApplyAdam"]
    assert len(found) == len(model.trainable_variables)
