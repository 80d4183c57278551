"""Pictures and the Frechet distance while training."""

import copy
import math

import keras
import numpy as np
import pytest
from PIL import Image

import keras_genzoo as gz
from keras_genzoo.callbacks import FrechetDistanceMonitor, SampleGrid, StopOnDivergence
from keras_genzoo.core import sheets
from keras_genzoo.metrics import features
from keras_genzoo.testing import variables


@pytest.fixture
def some_images():
    return np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)


@pytest.fixture
def rows():
    """An extractor that costs nothing: the mean of each row of pixels."""

    class Rows:
        name, hash, resize, dim = "rows", "none", "none", 8

        def __call__(self, images):
            return np.asarray(images, "float32").mean(axis=(2, 3)) / (255 if images.dtype == np.uint8 else 1)

    return Rows()


def vae(**kwargs):
    settings = dict(width=8, depth=1, latent_dim=2, seed=0, jit_compile=False, steps_per_execution=1)
    return gz.build("vae", (8, 8, 1), **settings | kwargs)


def distance_of(model, images, extractor, seed=0):
    distance = gz.metrics.FrechetDistance(extractor)
    distance.update_real(images)
    distance.update_generated(model.sample(len(images), seed=seed))
    return distance.result()


def test_val_fd_is_in_the_logs_of_every_epoch_and_stands_between_measurements(some_images, rows):
    monitor = FrechetDistanceMonitor(some_images, every=3, features=rows)
    model = vae()
    history = model.fit(some_images, epochs=7, batch_size=20, verbose=0, callbacks=[monitor]).history["val_fd"]
    assert len(history) == 7 and all(math.isfinite(value) for value in history)
    assert history[0] == history[1] != history[2] == history[3] == history[4] != history[5] == history[6]


def test_val_fd_is_the_distance_of_samples_from_the_validation_images_of_fit(some_images, rows):
    for validation in (some_images[:30], gz.data.load(some_images[:30], "test", batch_size=7)):
        model = vae()
        given = (validation,) if isinstance(validation, np.ndarray) else validation
        callbacks = [FrechetDistanceMonitor(features=rows)]
        history = model.fit(some_images, validation_data=given, epochs=1, batch_size=20, verbose=0, callbacks=callbacks).history
        assert history["val_fd"][-1] == pytest.approx(distance_of(model, some_images[:30], rows), rel=1e-6)


def test_val_fd_looks_at_no_more_images_than_asked_for(some_images, rows):
    model, monitor = vae(), FrechetDistanceMonitor(some_images, n=25, features=rows, seed=3)
    history = model.fit(some_images, epochs=1, batch_size=20, verbose=0, callbacks=[monitor]).history["val_fd"]
    assert monitor.measure.distance.n_real == monitor.measure.distance.n_generated == 25
    assert history[-1] == pytest.approx(distance_of(model, gz.data.as_array(some_images, 25, seed=0), rows, seed=3), rel=1e-6)


def test_val_fd_is_that_of_the_averaged_weights(some_images, rows):
    model = vae(ema=0.999, learning_rate=0.03)
    monitor = FrechetDistanceMonitor(some_images, features=rows)
    history = model.fit(some_images, epochs=3, batch_size=8, verbose=0, callbacks=[monitor]).history["val_fd"]
    assert history[-1] == pytest.approx(distance_of(model, some_images, rows), rel=1e-6)
    plain = vae()
    plain.encoder.set_weights(model.encoder.get_weights())
    plain.decoder.set_weights(model.decoder.get_weights())
    assert history[-1] != pytest.approx(distance_of(plain, some_images, rows), rel=1e-3)


def test_keras_callbacks_act_on_val_fd(some_images, rows, tmp_path):
    class Scripted(FrechetDistanceMonitor):
        def on_train_begin(self, logs=None):
            super().on_train_begin(logs)
            values = iter([3.0, 1.0, 2.0, 2.5, 2.6, 2.7])
            self.measure = lambda model: next(values)

        def _measure(self, samples):
            return next(self.values)

    path = tmp_path / "best.keras"
    callbacks = [
        Scripted(some_images, features=rows),
        keras.callbacks.ModelCheckpoint(path, monitor="val_fd", mode="min", save_best_only=True),
        keras.callbacks.EarlyStopping(monitor="val_fd", mode="min", patience=2),
    ]
    model = vae()
    weights = []
    callbacks.append(keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(model.decoder.get_weights())))
    history = model.fit(some_images, epochs=6, batch_size=20, verbose=0, callbacks=callbacks).history
    assert history["val_fd"] == [3.0, 1.0, 2.0, 2.5]
    for found, expected in zip(gz.load(path).decoder.get_weights(), weights[1], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_samples_that_are_not_finite_give_nan_and_a_warning_and_training_goes_on(some_images, rows):
    model = vae()
    model.decoder.weights[-1].assign(np.full(model.decoder.weights[-1].shape, np.nan))
    monitor = FrechetDistanceMonitor(some_images, features=rows)
    with pytest.warns(UserWarning, match="val_fd is NaN"):
        history = model.fit(some_images, epochs=2, batch_size=20, verbose=0, callbacks=[monitor]).history
    assert len(history["loss"]) == 2 and all(math.isnan(value) for value in history["val_fd"])


def test_statistics_of_the_validation_images_are_computed_once_for_all_trainings(some_images, monkeypatch):
    calls = []
    call = features.FeatureExtractor.__call__
    monkeypatch.setattr(
        features.FeatureExtractor, "__call__", lambda self, images: calls.append(len(images)) or call(self, images)
    )
    for _ in range(2):
        monitor = FrechetDistanceMonitor(some_images[5:], features="fashion-cnn")
        with pytest.warns(UserWarning, match="biased"):
            vae().fit(some_images, epochs=1, batch_size=20, verbose=0, callbacks=[monitor])
    assert calls == [35, 35, 35]  # the real ones once, and the samples of each training


def test_the_monitor_can_be_copied_as_tuners_do(rows, some_images):
    monitor = copy.deepcopy(FrechetDistanceMonitor(some_images, features=gz.metrics.get("fashion-cnn"), every=4))
    assert monitor.every == 4 and monitor.features is gz.metrics.get("fashion-cnn")


def test_what_the_monitor_cannot_do_is_said_at_the_start(some_images, rows):
    with pytest.raises(ValueError, match="give fit validation_data="):
        vae().fit(some_images, epochs=1, verbose=0, callbacks=[FrechetDistanceMonitor(features=rows)])
    autoencoder = gz.build("dense_autoencoder", (8, 8, 1), width=8, components=2, jit_compile=False)
    with pytest.raises(ValueError, match="before its prior is fitted"):
        autoencoder.fit(some_images, epochs=1, verbose=0, callbacks=[FrechetDistanceMonitor(some_images, features=rows)])
    with pytest.raises(ValueError, match="every is 0"):
        FrechetDistanceMonitor(every=0)


def assert_shown(path, images, columns=None):
    """That the picture in a file is the sheet of these images."""
    gz.images.write_png(path.parent / "expected" / path.name, images, columns)
    np.testing.assert_array_equal(*(np.asarray(Image.open(each)) for each in (path, path.parent / "expected" / path.name)))


def test_a_sheet_of_the_same_noise_is_written_after_every_second_epoch(some_images, tmp_path):
    grid = SampleGrid(tmp_path, n=4, images=some_images[:3], every=2, seed=5, tensorboard=tmp_path / "logs")
    model = vae()
    model.fit(some_images, epochs=4, batch_size=20, verbose=0, callbacks=[grid])
    names = sorted(path.name for path in tmp_path.glob("*.png"))
    assert names == [f"{kind}-{epoch:04d}.png" for kind in ("reconstructions", "samples") for epoch in (2, 4)]
    assert Image.open(tmp_path / "samples-0004.png").size == (34, 34)  # 2 x 2 images of 8 and a line, twice as large
    assert list((tmp_path / "logs").glob("events*"))
    assert_shown(tmp_path / "samples-0004.png", model.sample(4, seed=5))
    both = np.concatenate([some_images[:3] / np.float32(255), model.reconstruct(some_images[:3])])
    assert_shown(tmp_path / "reconstructions-0004.png", both, 3)


def test_the_grid_of_a_model_with_classes_has_a_row_for_each(some_images, tmp_path):
    model = gz.build("conditional_gan", (8, 8, 1), width=4, depth=1, ema=0.999, seed=0)
    grid = SampleGrid(tmp_path, n=25, raw=True, seed=2)
    model.fit(some_images, np.arange(40) % 10, batch_size=10, verbose=0, callbacks=[grid])
    labels = np.repeat(np.arange(10), 2)
    assert_shown(tmp_path / "samples-0001.png", model.sample(20, seed=2, labels=labels), 2)
    assert_shown(tmp_path / "samples-raw-0001.png", model.sample(20, seed=2, labels=labels, averaged=False), 2)


@pytest.mark.parametrize(
    "classes, n, labels, columns",
    [(3, 7, [0, 0, 1, 1, 2, 2], 2), (100, 20, [i // 2 for i in range(20)], 2), (10, 3, [0, 1, 2], 1)],
)
def test_rows_of_classes_are_full(classes, n, labels, columns):
    found, row = sheets.class_rows(classes, n)
    assert found.tolist() == labels and row == columns


def test_grids_show_the_weights_as_trained_if_asked(some_images, tmp_path):
    model = gz.build("gan", (8, 8, 1), width=4, depth=1, ema=0.999, seed=0)
    model.fit(some_images, epochs=2, batch_size=10, verbose=0, callbacks=[SampleGrid(tmp_path, n=4, raw=True, seed=2)])
    assert_shown(tmp_path / "samples-raw-0002.png", model.sample(4, seed=2, averaged=False))
    averaged, raw = (np.asarray(Image.open(tmp_path / f"{name}-0002.png")) for name in ("samples", "samples-raw"))
    assert not np.array_equal(averaged, raw)
    for variable, average in model._averages.all:
        average.assign(variable)
    np.testing.assert_allclose(model.sample(4, seed=0), model.sample(4, seed=0, averaged=False), atol=1e-6)
    with pytest.raises(ValueError, match="raw=True was given, but VAE keeps no averages; build it with ema"):
        vae(ema=None).fit(some_images, verbose=0, callbacks=[SampleGrid(tmp_path, raw=True)])


def test_a_training_that_becomes_nan_is_stopped_with_every_bad_term_named(some_images):
    model = vae(learning_rate=1e30)
    start = model.get_weights()
    guard = StopOnDivergence(every=1)
    with pytest.warns(UserWarning, match="the training loss became"):
        history = model.fit(some_images, epochs=5, batch_size=4, verbose=0, callbacks=[guard]).history
    assert len(history["loss"]) == 1
    assert "reconstruction_loss became" in guard.reason and "the weights of the start put back" in guard.reason
    for before, now in zip(start, model.get_weights()[: len(start)], strict=True):
        if before.ndim:  # of the scalars one says that training has begun
            np.testing.assert_array_equal(before, now)


def test_the_weights_put_back_are_those_of_the_last_good_epoch(some_images):
    model, good = vae(), []

    def begin(epoch, logs=None):
        if epoch == 2:
            good.extend(variable.numpy() for variable in variables(model))
            model.optimizer.learning_rate = 1e30

    guard = StopOnDivergence(every=1)
    callbacks = [guard, keras.callbacks.LambdaCallback(on_epoch_begin=begin)]
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    with pytest.warns(UserWarning, match="in epoch 3, at .*the weights of the end of epoch 2 put back"):
        model.fit(some_images, epochs=5, batch_size=10, verbose=0, callbacks=callbacks)
    for before, now in zip(good, variables(model), strict=True):
        if "learning_rate" not in now.path:
            np.testing.assert_array_equal(before, now, err_msg=now.path)


def test_both_optimizers_of_a_game_that_diverged_are_put_back(some_images):
    model = gz.build("gan", (8, 8, 1), kind="dense", width=4, depth=1, latent_dim=2, penalties=(), seed=0, run_eagerly=True)
    model.fit(some_images, batch_size=20, verbose=0)
    model.optimizer.learning_rate = model.critic_optimizer.learning_rate = 1e30
    start = [variable.numpy() for variable in variables(model)]
    with pytest.warns(UserWarning, match="put back"):
        model.fit(some_images, batch_size=20, verbose=0, callbacks=[StopOnDivergence(every=1)])
    for before, now in zip(start, variables(model), strict=True):
        np.testing.assert_array_equal(before, now, err_msg=now.path)


def test_limits_may_be_given_and_a_healthy_training_goes_on(some_images):
    guard = StopOnDivergence({"kl_loss": 1e6})
    assert len(vae().fit(some_images, epochs=3, batch_size=20, verbose=0, callbacks=[guard]).history["loss"]) == 3
    assert guard.reason is None
    guard = StopOnDivergence({"kl_loss": 1e-9})
    with pytest.warns(UserWarning, match=r"kl_loss became [\d.e+-]+, beyond 1e-09 in epoch 1, at its end"):
        vae().fit(some_images, epochs=3, batch_size=20, verbose=0, callbacks=[guard])
    with pytest.raises(ValueError, match="every is 0"):
        StopOnDivergence(every=0)


def test_a_step_that_the_loss_scale_skips_stops_nothing_and_has_no_gradient_norm(some_images):
    tiny = dict(kind="dense", width=8, depth=1, latent_dim=2, seed=0, dtype="mixed_float16", jit_compile=False)
    model = gz.build("gan", (8, 8, 1), steps_per_execution=1, **tiny)
    scaled = lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3), initial_scale=2.0**24)  # noqa: E731
    model.compile(scaled(), critic_optimizer=scaled(), jit_compile=False)
    guard = StopOnDivergence(every=1)
    history = model.fit(some_images, epochs=3, batch_size=4, verbose=0, callbacks=[guard]).history
    assert float(model.optimizer.dynamic_scale) < 2.0**24  # a step was skipped
    assert guard.reason is None and len(history["loss"]) == 3
    assert np.isfinite(history["generator_gradient_norm"]).all() and history["generator_gradient_norm"][-1] > 0
    assert int(model.optimizer.iterations) > 0
