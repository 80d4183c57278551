"""Trainings that are stopped and go on, through `fit`."""

import json
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
import test_case as case

import keras_genzoo as gz
from keras_genzoo.core import order

FIRST = ("loaded", (1, 3)), ("repeated", (1, 3)), ("arrays", (2, 0))  # the others are slow tests
IMAGES = np.random.default_rng(0).integers(0, 256, (22, 8, 8, 1), dtype=np.uint8)


class Stop(keras.callbacks.Callback):
    """Ends a training as a crash would, before a batch of an epoch."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at, self.epoch = (epoch, batch), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise RuntimeError("stopped")


def build(recipe="dense_autoencoder", **settings):
    return gz.build(recipe, (8, 8, 1), seed=3, jit_compile=False, **{"steps_per_execution": 1, **settings})


def data_of(kind):
    """Images as `fit` takes them, made anew as in a new process."""
    if kind == "arrays":
        return IMAGES
    if kind == "stream":
        return gz.data.load(tf.data.Dataset.from_tensor_slices(IMAGES), batch_size=4, seed=1)
    loaded = gz.data.load(IMAGES, batch_size=4, seed=1, drop_remainder=False)
    return {
        "loaded": loaded,
        "mapped": loaded.map(lambda x: x[:, ::-1]),
        "unordered": tf.data.Dataset.from_tensor_slices(IMAGES).batch(4),
        "repeated": loaded.repeat(),
    }[kind]


def train(model, folder, kind="loaded", callbacks=(), epochs=3, **settings):
    if kind == "arrays":
        settings["batch_size"] = 4
    if kind == "repeated":
        settings["steps_per_epoch"] = 4
    keeper = [gz.callbacks.Checkpoint(folder, every_steps=1)] if folder else []
    validation = tf.data.Dataset.from_tensor_slices(IMAGES[:6]).batch(3)
    return model.fit(
        data_of(kind), validation_data=validation, epochs=epochs, verbose=0, callbacks=[*callbacks, *keeper], **settings
    ).history


def assert_equal(model, other):
    for ours, theirs in zip(state(model), state(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def state(model):
    optimizers = [variable for name in model.optimizers for variable in getattr(model, name).variables]
    return [tf.convert_to_tensor(variable).numpy() for variable in (*model.weights, *optimizers)]


@pytest.mark.parametrize(
    "kind, at",
    [
        pytest.param(kind, at, id=f"{kind}-{at}", marks=[] if (kind, at) in FIRST else [pytest.mark.slow])
        for kind in ("arrays", "loaded", "mapped", "stream", "unordered", "repeated")
        for at in ((1, 3), (2, 0))
    ],
)
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, kind, at):
    whole = build(ema=0.9)
    history = train(whole, None, kind)
    with pytest.raises(RuntimeError, match="stopped"):
        train(build(ema=0.9), tmp_path, kind, [Stop(*at)])
    again = build(ema=0.9)
    assert train(again, tmp_path, kind) == history
    assert_equal(again, whole)


@pytest.mark.parametrize(
    "recipe",
    ["vqvae", *(pytest.param(name, marks=pytest.mark.slow) for name in ("toy", "gan", "glow", "flow_matching", "ebm", "rbm"))],
)
def test_a_model_of_each_family_goes_on_in_the_middle_of_an_epoch(tmp_path, recipe):
    labels = np.arange(len(IMAGES)) % 3

    def trained(folder, *stops):
        keras.utils.set_random_seed(0)  # of the toy's weights
        model = case.build(recipe, "two_steps", ema=0.9) if recipe != "rbm" else case.build(recipe, "two_steps")
        model.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, 20)), steps_per_execution=2, jit_compile=False
        )
        data = gz.data.load((IMAGES, labels), batch_size=4, labels=True, seed=1)
        keeper = [gz.callbacks.Checkpoint(folder, every_steps=2)] if folder else []
        return model, model.fit(data, validation_data=data, epochs=2, verbose=0, callbacks=[*stops, *keeper]).history

    whole, history = trained(None)
    with pytest.raises(RuntimeError, match="stopped"):
        trained(tmp_path, Stop(1, 4))
    again, after = trained(tmp_path)
    assert after == history
    assert_equal(again, whole)


@pytest.mark.slow
def test_a_script_that_leaves_the_seed_to_chance_goes_on_with_that_of_its_first_run(tmp_path):
    def built():
        return gz.build("vae", (8, 8, 1), **case.TINY["vae"], jit_compile=False, steps_per_execution=1)

    whole = built()
    seed, weights = whole.seed, [tf.convert_to_tensor(each).numpy() for each in whole.weights]
    history = train(whole, None, "arrays")
    first, again = built(), built()
    first.set_weights(weights)
    first.reseed(seed)
    with pytest.raises(RuntimeError, match="stopped"):
        train(first, tmp_path, "arrays", [Stop(1, 3)])
    assert again.seed != seed
    assert train(again, tmp_path, "arrays") == history
    assert_equal(again, whole)


def test_callbacks_go_on_too(tmp_path):
    def callbacks(folder):
        return [
            keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=1e6, restore_best_weights=True, mode="min"),
            keras.callbacks.ReduceLROnPlateau("val_loss", patience=2, min_delta=1e6, factor=0.5, mode="min"),
            keras.callbacks.ModelCheckpoint(str(folder / "best.keras"), "val_loss", save_best_only=True),
            keras.callbacks.CSVLogger(str(folder / "log.csv")),
            Counting(),
        ]

    folders = [tmp_path / name for name in ("whole", "stopped")]
    for folder in folders:
        folder.mkdir()
    whole, again = build(), build()
    history = train(whole, None, callbacks=callbacks(folders[0]), epochs=4)
    assert len(history["loss"]) == 2  # the second epoch is not better by a million
    with pytest.raises(RuntimeError, match="stopped"):
        train(build(), tmp_path / "state", callbacks=[*callbacks(folders[1]), Stop(1, 3)], epochs=4)
    after = callbacks(folders[1])
    assert train(again, tmp_path / "state", callbacks=after, epochs=4) == history
    assert_equal(again, whole)
    assert after[-1].batches == 2 * 6
    assert (folders[0] / "log.csv").read_text() == (folders[1] / "log.csv").read_text()
    # The training was ended by a callback, whatever number of epochs is asked for.
    finished = build()
    assert train(finished, tmp_path / "state", callbacks=callbacks(folders[1]), epochs=9) == history
    assert_equal(finished, whole)


class Counting(keras.callbacks.Callback):
    """A user's own, with a state."""

    def __init__(self):
        super().__init__()
        self.batches = 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1

    def get_state(self):
        return {"batches": self.batches}

    def set_state(self, state):
        self.batches = state["batches"]


@pytest.mark.parametrize("kind", ["loaded", pytest.param("repeated", marks=pytest.mark.slow)])
def test_more_epochs_go_on_and_a_finished_training_stays(tmp_path, kind):
    whole = build()
    history = train(whole, None, kind, epochs=4)
    train(build(), tmp_path, kind, epochs=2)
    finished = build()
    steps = {"steps_per_epoch": 4} if kind == "repeated" else {}
    keeper = gz.callbacks.Checkpoint(tmp_path)
    two = finished.fit(data_of(kind), epochs=2, verbose=0, callbacks=[keeper], **steps).history
    assert keeper.finished and keeper.begun == (2, 0) and two == {name: values[:2] for name, values in history.items()}
    assert train(finished, tmp_path, kind, epochs=4) == history
    assert_equal(finished, whole)


@pytest.mark.slow
def test_a_fresh_training_leaves_what_is_there_alone(tmp_path):
    whole = build()
    history = train(whole, None)
    train(build("vae"), tmp_path, epochs=1)
    with pytest.raises(ValueError, match="another model"):
        train(build(), tmp_path)
    model, keeper = build(), gz.callbacks.Checkpoint(tmp_path, fresh=True)
    validation = tf.data.Dataset.from_tensor_slices(IMAGES[:6]).batch(3)
    settings = {"epochs": 3, "verbose": 0, "validation_data": validation, "callbacks": [keeper]}
    assert model.fit(data_of("loaded"), **settings).history == history
    assert_equal(model, whole)
    again = build()
    assert again.fit(data_of("loaded"), **settings).history == history and keeper.finished  # which is there now


def test_callbacks_without_a_state_are_named(tmp_path, capsys):
    train(build(), tmp_path, callbacks=[Stop(9, 9), keras.callbacks.TerminateOnNaN(), gz.callbacks.StopOnDivergence()], epochs=1)
    assert "keeps no state of Stop, for want of get_state()" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["state.json", *(pytest.param(name, marks=pytest.mark.slow) for name in ("state.weights.h5", "arrays.npz"))]
)
def test_a_damaged_state_gives_way_to_the_one_before(tmp_path, name):
    train(build(), tmp_path, epochs=2)
    newest = sorted(tmp_path.glob("checkpoint-*"))[-1]
    content = bytearray((newest / name).read_bytes())
    content[len(content) // 2] ^= 1
    (newest / name).write_bytes(content)
    whole, again = build(), build()
    history = train(whole, None)
    with pytest.warns(UserWarning, match=f"{newest.name} is damaged .*; the training goes on from checkpoint-"):
        assert train(again, tmp_path) == history
    assert_equal(again, whole)


def test_states_that_are_all_damaged_and_those_of_another_model_are_refused(tmp_path):
    train(build(), tmp_path, epochs=1)
    with pytest.raises(ValueError, match=r"holds the state of another model than this Autoencoder .*; build that one"):
        train(build(latent_dim=5), tmp_path, epochs=1)
    for folder in tmp_path.glob("checkpoint-*"):
        (folder / "state.json").write_text("{")
    with pytest.raises(ValueError, match=r"is damaged .*, and there is none before; remove"):
        train(build(), tmp_path, epochs=1)


def test_a_write_that_fails_is_said_and_the_training_goes_on(tmp_path, monkeypatch):
    model, written = build(), type(build()).save_weights

    def full(self, path, *args, **kwargs):
        written(self, path, *args, **kwargs)
        raise OSError(28, "No space left on device")

    train(model, tmp_path, epochs=1)
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr(type(model), "save_weights", full)
    with pytest.warns(UserWarning, match=f"could not be kept in {tmp_path} .No space left on device.; the training goes on"):
        assert len(train(build(), tmp_path, epochs=2)["loss"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    monkeypatch.undo()
    assert len(train(build(), tmp_path, epochs=2)["loss"]) == 2


@pytest.mark.parametrize("what", ["tempfile.mkdtemp", "sync"])
def test_neither_a_lost_folder_nor_bytes_lost_on_the_way_end_a_training(tmp_path, monkeypatch, what):
    def lost(path=None, **kwargs):
        if path is None:
            raise OSError(28, "No space left on device")
        if path.name == "arrays.npz":
            path.write_bytes(path.read_bytes()[:-9])

    monkeypatch.setattr(f"keras_genzoo.core.checkpoints.{what}", lost)
    with pytest.warns(UserWarning, match=r"could not be kept in .*(No space left|is damaged).*; the training goes on"):
        assert len(train(build(), tmp_path, epochs=1)["loss"]) == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_second_training_in_a_folder_is_refused(tmp_path):
    class Second(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            with pytest.raises(ValueError, match=r"another process trains in .*; wait for it or choose another folder"):
                train(build(), tmp_path, epochs=1)

    train(build(), tmp_path, callbacks=[Second()], epochs=1)


@pytest.mark.parametrize(
    "where, number, error",
    [
        ("on_train_batch_begin", signal.SIGTERM, SystemExit),
        ("on_epoch_end", signal.SIGINT, KeyboardInterrupt),
        pytest.param("on_train_batch_begin", signal.SIGINT, KeyboardInterrupt, marks=pytest.mark.slow),
        pytest.param("on_test_batch_begin", signal.SIGTERM, SystemExit, marks=pytest.mark.slow),
        pytest.param("on_epoch_end", signal.SIGTERM, SystemExit, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_the_training_with_its_state_kept(tmp_path, number, error, where):
    whole, again = build(), build()
    history = train(whole, None)
    sent = keras.callbacks.LambdaCallback()
    setattr(sent, where, lambda index, logs=None: index == 1 and not sent.done and sent.send())
    sent.done = False
    sent.send = lambda: (setattr(sent, "done", True), os.kill(os.getpid(), number))
    with pytest.raises(error) as raised:
        train(build(), tmp_path, callbacks=[sent])
    assert getattr(raised.value, "code", 143) == 143
    assert train(again, tmp_path) == history
    assert_equal(again, whole)


def test_old_states_go(tmp_path):
    train(build(), tmp_path, epochs=2)
    left = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert len(left) == 2 and json.loads((tmp_path / left[-1] / "state.json").read_text())["files"]


def test_short_epochs_keep_no_state_but_the_last(tmp_path):
    keeper = gz.callbacks.Checkpoint(tmp_path, least_seconds=1000)
    history = train(build(), None, callbacks=[keeper])
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-000001"]
    assert train(build(), None, callbacks=[keeper]) == history and keeper.finished


REFUSED = [("every_epochs", 0), ("every_steps", 1.5), ("every_seconds", 0), ("least_seconds", -1), ("keep", 0)]


@pytest.mark.parametrize("name, value", REFUSED)
def test_numbers_are_checked(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        gz.callbacks.Checkpoint(tmp_path, **{name: value})


def test_orders_are_even():
    """Each place holds each image alike often over passes: chi-square over 7 x 7 places and images, 5 standard deviations."""
    passes = order.Order(100, 100, True, 0, False)
    orders = np.array([passes._of(number) for number in range(2000)])[:, :7]
    counts = np.array([[np.sum(orders[:, place] == image) for image in range(7)] for place in range(7)])
    assert abs((np.square(counts - 20) / (20 * 0.99)).sum() - 49) < 5 * np.sqrt(2 * 49)


def test_an_interrupted_model_in_memory_begins_its_epoch_anew():
    model, orders = build(), []
    look = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: orders.append(model._place.get()[:2]))
    with pytest.raises(RuntimeError, match="stopped"):
        train(model, None, callbacks=[Stop(1, 3)])
    train(model, None, callbacks=[look], epochs=1)
    assert orders == [(1, 0)] and model._place.get()[:2] == (2, 0)


def test_a_model_saved_in_the_middle_of_an_epoch_sees_the_rest_of_it(tmp_path):
    whole = build()
    train(whole, None)
    saved = keras.callbacks.ModelCheckpoint(str(tmp_path / "model.keras"), save_freq=9)
    with pytest.raises(RuntimeError, match="stopped"):
        train(build(), None, callbacks=[saved, Stop(1, 4)])
    model = gz.load(tmp_path / "model.keras")
    train(model, None, initial_epoch=1)
    assert_equal(model, whole)
