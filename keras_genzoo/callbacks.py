"""Callbacks of `fit`: pictures and the Frechet distance while training, and a stop where it diverges."""

import math
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from keras_genzoo.core import sheets
from keras_genzoo.core.batches import unpack
from keras_genzoo.core.checkpoints import Checkpoint
from keras_genzoo.core.checks import whole
from keras_genzoo.core.files import replacing
from keras_genzoo.core.images import tile, write_png
from keras_genzoo.evaluation import SampleDistance, taken_by

__all__ = ["Checkpoint", "FrechetDistanceMonitor", "SampleGrid", "StopOnDivergence", "pairs"]


class SampleGrid(keras.callbacks.Callback):
    """Writes a sheet of samples as PNG after each epoch, always of the same noise, so that sheets compare. Of a model with
    classes, each of the first ten has a row.

    Args:
        folder: str or Path. Gets `samples-0001.png` and so on; made if missing.
        n: int. Number of samples; the most, where rows of classes are to be full. Defaults to 64.
        images: array or None. Images whose reconstructions are shown too, under each row of them, as
            `reconstructions-0001.png`; for a conditional model a batch, as `(images, labels)`. Required of models that cannot
            sample while they train. Defaults to None.
        every: int. Epochs between sheets. Defaults to 1.
        seed: int. Of the noise. Defaults to 0.
        tensorboard: str, Path or None. A log folder of TensorBoard that gets the same sheets. Defaults to None.
        raw: bool. Whether to show samples of the weights as trained too, as `samples-raw-0001.png`, beside those of their
            averages. Defaults to False.
        animate: bool. Whether to join the sheets as `samples.gif`, and so on, at the end of training. Defaults to False.

    Raises:
        ValueError: at the start of training, if there would be nothing to show.

    Example:

    >>> model.fit(train, epochs=2, callbacks=[SampleGrid("runs/vae")])
    """

    def __init__(self, folder, n=64, images=None, every=1, seed=0, tensorboard=None, raw=False, animate=False):
        super().__init__()
        self.raw, self.animate, self.shown = raw, animate, set()
        self.folder, self.images, self.seed = Path(folder), images, seed
        self.n, self.every = whole(n=n, every=every)
        self.writer = None if tensorboard is None else tf.summary.create_file_writer(str(tensorboard))

    def on_train_begin(self, logs=None):
        if self.images is None and not hasattr(self.model, "sample"):
            raise ValueError(
                f"{type(self.model).__name__} cannot sample before its prior is fitted; call fit_prior, or give it images="
            )
        if self.raw and self.model.ema is None:
            raise ValueError(f"raw=True was given, but {type(self.model).__name__} keeps no averages; build it with ema=0.999.")

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            if hasattr(self.model, "sample"):
                self._show("samples", epoch, *sheets.samples(self.model, self.n, self.seed))
                if self.raw:
                    self._show("samples-raw", epoch, *sheets.samples(self.model, self.n, self.seed, averaged=False))
            if self.images is not None:
                self._show("reconstructions", epoch, *pairs(self.model, self.images))

    def on_train_end(self, logs=None):
        if self.animate:
            for name, last in self.shown:
                # Those of a training before this one, that it goes on from, too.
                animate(self.folder / f"{name}.gif", [path for path in self._sheets(name) if _epoch(path) <= last])
            self.shown = set()

    def _sheets(self, name):
        return sorted(self.folder.glob(f"{name}-[0-9][0-9][0-9][0-9]*.png"), key=_epoch)

    def _show(self, name, epoch, images, columns):
        path = self.folder / f"{name}-{epoch + 1:04d}.png"
        write_png(path, images, columns)
        self.shown = {(each, last) for each, last in self.shown if each != name} | {(name, epoch + 1)}
        if self.writer is not None:
            sheet = tile(images, columns)
            with self.writer.as_default():
                tf.summary.image(name, sheet.reshape(1, *sheet.shape[:2], -1), step=epoch + 1)


def _epoch(sheet):
    """The epoch of a sheet, by its name: names of 10,000 epochs and more do not sort as text."""
    return int(sheet.stem.rpartition("-")[2])


class FrechetDistanceMonitor(keras.callbacks.Callback):
    """Puts the Frechet distance of samples from the validation images into the logs, as `val_fd`, for other callbacks to act on.

    It is in the logs of every epoch: measured after the first epoch and then every few, in between the last value stands.
    Callbacks that use it (ModelCheckpoint, EarlyStopping, with `mode="min"`) go behind this one in the list. Samples are
    those of `model.sample`, so of the averaged weights where the model has them, always of the same noise; statistics of
    real images are kept on disk. A distance chosen by on the validation split is no longer a fair score there: tables take
    the test split.

    Args:
        images: array or `tf.data.Dataset` of real images; None is the `validation_data` of `fit`. Defaults to None.
        every: int. Epochs between measurements. Defaults to 1.
        n: int. Number of samples, and of real images, drawn from all, the same every time; of fewer images all. Distances compare
            at one n alone. Defaults to 2,000.
        features: str, extractor or None, see `metrics.get`; None is `metrics.default_features()` of the data. Defaults to None.
        seed: int. Of the samples. Defaults to 0.

    Raises:
        ValueError: at the start of training, without validation images or if the model cannot sample.

    Example:

    >>> best = keras.callbacks.ModelCheckpoint("best.keras", monitor="val_fd", mode="min", save_best_only=True)
    >>> monitor = FrechetDistanceMonitor(every=5, features="fashion-cnn")
    >>> model.fit(train, validation_data=validation, epochs=2, callbacks=[monitor, best])  # doctest: +SKIP
    """

    def __init__(self, images=None, every=1, n=2000, features=None, seed=0):
        super().__init__()
        self.every, self.n = whole(every=every), whole(2, n=n)
        self.images, self.features, self.seed = images, features, seed
        self.value = None

    def on_train_begin(self, logs=None):
        if not hasattr(self.model, "sample"):
            raise ValueError(
                f"{type(self.model).__name__} cannot sample before its prior is fitted by fit_prior, so it has no val_fd yet."
            )
        images = self.model.validation_data if self.images is None else self.images
        if images is None:
            raise ValueError("FrechetDistanceMonitor has no images to compare with: give fit validation_data=, or it images=.")
        self.value = None  # of an earlier training
        self.measure = SampleDistance(images, self.features, self.n, self.seed)

    def get_state(self):
        return {"value": self.value}

    def set_state(self, state):
        self.value = state["value"]

    def on_epoch_end(self, epoch, logs=None):
        if self.value is None or (epoch + 1) % self.every == 0:
            self.value = self.measure(self.model)
            if math.isnan(self.value):
                warnings.warn(f"epoch {epoch + 1}: samples hold NaN or infinite values, so val_fd is NaN.", stacklevel=2)
        if logs is not None:
            logs["val_fd"] = self.value


class StopOnDivergence(keras.callbacks.Callback):
    """Stops a training whose terms become NaN, infinite or larger than a healthy run's, and puts back the last good weights.

    The terms of training are looked at, as means since the epoch began. Weights (with averages, replay buffers and optimizers)
    are kept at the start and after every epoch whose terms were all good.

    Args:
        limits: dict of names of terms to the largest absolute value that is healthy, or None, those of the model (`limits`; of
            most families there are none, and only NaN and infinity stop). Defaults to None.
        every: int. Batches between two looks; there is one at the end of every epoch too. Looking waits for the device. Defaults
            to 50.

    Attributes:
        reason: str or None. What went bad and when, once training was stopped.

    Example:

    >>> guard = StopOnDivergence({"kl_loss": 1e4})
    >>> history = model.fit(images, epochs=1, verbose=0, callbacks=[guard])
    >>> guard.reason is None
    True
    """

    def __init__(self, limits=None, every=50):
        super().__init__()
        self.limits, self.every = limits, whole(every=every)
        self.reason = None

    def on_train_begin(self, logs=None):
        self.reason, self._begun = None, 0
        self._chosen = self.model.limits if self.limits is None else self.limits
        self._keep(0)

    def _state(self):
        optimizers = [variable for name in self.model.optimizers for variable in getattr(self.model, name).variables]
        return [*self.model.weights, *optimizers]

    def _keep(self, epochs):
        self._kept, self._epochs, self._current = [variable.numpy() for variable in self._state()], epochs, True

    def get_state(self):
        kept = None if self._current else self._kept
        return {"begun": self._begun, "epochs": self._epochs, "kept": kept, "reason": self.reason}

    def set_state(self, state):
        self._begun, self._epochs, self.reason = state["begun"], state["epochs"], state["reason"]
        if state["kept"] is not None:  # else it is what the model has
            self._kept, self._current = state["kept"], False

    # Not on_train_batch_end: a callback there makes Keras read the logs of every batch.
    def on_train_batch_begin(self, batch, logs=None):
        if batch and self._begun % self.every == 0:
            self._look({metric.name: metric.result() for metric in self.model.metrics}, f"batch {batch}")
        self._begun += 1
        self._current = False

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1

    def on_epoch_end(self, epoch, logs=None):
        self._look(logs, "its end")
        if self.reason is None:
            self._keep(epoch + 1)
        else:  # now: Keras made one more step after it was told to stop
            for variable, value in zip(self._state(), self._kept, strict=True):
                variable.assign(value)

    def _look(self, terms, where):
        watched = dict.fromkeys([*(metric.name for metric in self.model.metrics), *self._chosen])
        values = {name: float(terms[name]) for name in watched if name in (terms or {})}
        bad = [name for name, value in values.items() if not abs(value) <= self._chosen.get(name, sys.float_info.max)]
        if not bad or self.reason is not None:
            return
        beyond = lambda name: f", beyond {self._chosen[name]:g}" if math.isfinite(values[name]) else ""  # noqa: E731
        first, *others = [f"{name} became {values[name]:.3g}{beyond(name)}" for name in bad]
        also = f" ({', '.join(others)})" if others else ""
        good = f"the end of epoch {self._epochs}" if self._epochs else "the start"
        self.reason = (
            f"the training {first}{also} in epoch {self._epoch}, at {where}; the run was "
            f"stopped and the weights of {good} put back. Lower the learning rate."
        )
        warnings.warn(self.reason, stacklevel=2)
        self.model.stop_training = True


def animate(path, sheets, seconds=10.0):
    """Join pictures of equal sizes as an animation that repeats.

    Args:
        path: Path of the GIF to write.
        sheets: list of Paths of pictures.
        seconds: float. How long it takes, about; a picture stays for 0.05 to 0.5 s. Defaults to 10.
    """
    frames = [Image.open(sheet) for sheet in sheets]
    stay = int(1000 * min(0.5, max(0.05, seconds / len(frames))))
    with replacing(path) as temporary:
        frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=[stay] * (len(frames) - 1) + [2000], loop=0)


def pairs(model, images, columns=8, reconstructions=None):
    """Rows of images with the rows of their reconstructions under them, and the number of columns, for `images.tile`.

    Args:
        model: a model with `reconstruct`, or with reconstructions from elsewhere any.
        images: `(n, height, width, channels)`; for a conditional model a batch, as `(images, labels)`.
        columns: int. Images a row. Defaults to 8.
        reconstructions: `(n, height, width, channels)` in [0, 1]; None are those of the model. Defaults to None.

    Returns:
        float32 array `(2n, height, width, channels)` and the number of columns; the last row is filled up with white.
    """
    told = model.settings_of(images) if isinstance(images, tuple) and hasattr(model, "settings_of") else {}
    told = taken_by(getattr(model, "encode", None) or model.reconstruct, told) if reconstructions is None else {}
    images = unpack(images)[0]
    columns = min(columns, len(images))
    made = model.reconstruct(images, **told) if reconstructions is None else reconstructions
    both = [np.asarray(model.images_of(images)), np.asarray(made)]
    blank = np.ones((-len(images) % columns, *model.image_shape), "float32")
    rows = [np.concatenate([each, blank]).reshape(-1, 1, columns, *model.image_shape) for each in both]
    return np.concatenate(rows, axis=1).reshape(-1, *model.image_shape), columns
