"""Checkpoints: everything by which a training goes on as if it had never stopped."""

import contextlib
import hashlib
import json
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.core import callback_states as states
from keras_genzoo.core import workers
from keras_genzoo.core.checks import whole, whole_or_none
from keras_genzoo.core.files import locked, sync
from keras_genzoo.core.progress import Keeper

WEIGHTS, ARRAYS, STATE = "state.weights.h5", "arrays.npz", "state.json"
PREFIX = "checkpoint-"


class Damaged(ValueError):
    """Files are not what was written, in one sentence."""


class Checkpoint(Keeper):
    """Keeps the whole state of a training in a folder, from which the same `fit` goes on exactly where it was stopped.

    The state holds weights, averages, optimizers, counters of noise, buffers and priors, the place in the data, the history, and
    the metrics in the middle of an epoch; of callbacks what EarlyStopping, ModelCheckpoint and ReduceLROnPlateau know, and what
    others give by `get_state()`, a dict of numbers, strings, lists and arrays, which `set_state(state)` is given back. A callback
    that changes and has neither is named once.

    Images come in the order in which they would have come, where they are arrays or come from `gz.data.load`. Other data are
    read forward to the place, which is exact only if they repeat themselves. Operations of TensorFlow that do
    not repeat themselves to the last bit do so under `tf.config.experimental.enable_op_determinism()`.

    A state is written beside the older ones, checked, and moved into place. Where that fails, as on a full disk, one warning says
    so and the training goes on. A state that is damaged gives way to the one before it, with a warning. SIGTERM and Ctrl-C end
    the training after the step at hand, with its state kept: as SystemExit(143) and KeyboardInterrupt. A second one ends it at
    once.

    Several workers have the callback each, on a folder that they share: the chief writes there, and all read. A signal to one of
    them ends the training of all.

    Args:
        folder: str or Path. Made if missing. One training at a time may use it.
        every_epochs: int or None. Epochs between two states. Defaults to 1.
        every_steps: int or None. Batches of an epoch between two states. Defaults to None.
        every_seconds: float or None. A state is kept before the next batch once so many seconds are over since the last. Defaults
            to None.
        least_seconds: float. Seconds that must be over since the last state before the end of an epoch keeps another: epochs of
            few steps may take less time than a state. The last epoch keeps one in any case. Defaults to 0.
        keep: int. States that stay. Defaults to 2.
        fresh: bool. Whether the first `fit` begins anew, and removes the states that are there. Defaults to False.

    Attributes:
        begun: tuple of the epoch and the batch where the last `fit` began, `(0, 0)` at the start.
        finished: whether it found that the training had come to its end.

    Raises:
        ValueError: as `fit` begins: another process trains in the folder, the state is of another model, or none can be read;
            workers do not share the folder.

    Example:

    >>> keeper = Checkpoint("runs/vae/state", every_seconds=300)
    >>> history = model.fit(images, epochs=2, verbose=0, callbacks=[keeper])
    >>> keeper = Checkpoint("runs/vae/state")
    >>> model.fit(images, epochs=2, verbose=0, callbacks=[keeper]).history["loss"] == history.history["loss"]
    True
    """

    def __init__(self, folder, every_epochs=1, every_steps=None, every_seconds=None, least_seconds=0, keep=2, fresh=False):
        super().__init__()
        self.folder, self.keep, self.fresh = Path(folder), whole(keep=keep), fresh
        self.every_epochs, self.every_steps = whole_or_none(every_epochs=every_epochs), whole_or_none(every_steps=every_steps)
        if every_seconds is not None and not every_seconds > 0:
            raise ValueError(f"every_seconds is {every_seconds!r}, expected None or a number above 0.")
        if not least_seconds >= 0:
            raise ValueError(f"least_seconds is {least_seconds!r}, expected 0 or a number above.")
        self.every_seconds, self.least_seconds = every_seconds, least_seconds
        self.begun, self.finished, self._heard, self._signal = (0, 0), False, None, None

    # What `fit` asks

    @contextlib.contextmanager
    def opened(self, model, epochs):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.set_model(model)
        self._strategy = model.distribute_strategy
        self._chief, self._several = workers.is_chief(self._strategy), workers.count(self._strategy) > 1
        lock = f"another process trains in {self.folder}"
        with locked(self.folder, ValueError, lock) if self._chief else contextlib.nullcontext(), self._signals():
            for left in self.folder.glob(f".{PREFIX}*") if self._chief else ():  # by a process that was killed
                shutil.rmtree(left)
            self._saved, self._looks = time.monotonic(), workers.Looks(self._strategy)
            state = None if self.fresh else self._newest()
            self.begun, self.finished = (0, 0), False
            if state:
                self.begun = state["epoch"], state["batch"]
                self.finished = state["stopped"] or state["epoch"] >= epochs
            if self._several and not workers.alike(self._strategy, (state is None, *self.begun)):
                raise ValueError(
                    f"workers find different states in {self.folder}, expected those of one; give a folder that they share."
                )
            yield state

    def clear(self):
        """Remove all states."""
        for path in self._all() if self._chief else ():
            shutil.rmtree(path)

    def on_train_begin(self, logs=None):
        if self.fresh:  # not before: the data may be refused
            self.clear()
        self.fresh = False

    def watch(self, callbacks, history, state):
        self._others, self._history = callbacks, history
        for callback in callbacks if state else []:
            if isinstance(callback, keras.callbacks.CSVLogger):
                states.cut(callback, state["epoch"])
        silent = [type(each).__name__ for each in callbacks if not states.speaks(each)]
        if silent:
            print(
                f"Checkpoint keeps no state of {', '.join(silent)}, for want of get_state() and set_state(state).",
                file=sys.stderr,
            )

    def restore(self, state):
        self._history.epoch = list(state["epochs"])
        self._history.history = {name: list(values) for name, values in state["history"].items()}
        for metric, values in zip(self.model.metrics, state["metrics"] or [], strict=bool(state["metrics"])):
            for variable, value in zip(metric.variables, values, strict=True):
                variable.assign(value)
        for callback, name in states.by_name(self._others):
            if name in state["callbacks"]:
                states.put(callback, state["callbacks"][name])

    def before_batch(self, epoch, batch):
        begun = (epoch, batch) == self.begun
        passed = self.every_steps and batch % self.every_steps < self.model.steps_per_execution
        late = self._agreed(self.every_seconds and time.monotonic() - self._saved > self.every_seconds)
        if self._signal or ((passed or late) and not begun):
            self._keep(epoch, batch, self._metrics())
        self._end_on_signal()

    def before_validation(self, epoch):
        self._trained = self._metrics()

    def before_validation_batch(self, epoch):
        self._agreed()
        if self._signal:
            self._keep(epoch, self.model._place.get()[1], self._trained)
        self._end_on_signal()

    def on_epoch_end(self, epoch, logs=None):
        stopped, last = bool(self.model.stop_training), epoch + 1 >= self.params["epochs"]
        rested = self._agreed(time.monotonic() - self._saved >= self.least_seconds, now=True)
        if self._signal or stopped or last or (rested and self.every_epochs and (epoch + 1) % self.every_epochs == 0):
            self._keep(epoch + 1, 0, None, stopped)
        self._end_on_signal()

    # Signals

    @contextlib.contextmanager
    def _signals(self):
        self._heard = self._signal = None
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._noted) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._heard:  # when there was no step any more
            self._signal = self._heard
            self._end_on_signal()

    def _noted(self, number, frame):
        again, self._heard = self._heard is not None, number
        if again:
            self._signal = number
            self._end_on_signal()
        print(f"{signal.Signals(number).name}: the training ends after this step, and keeps its state", file=sys.stderr)

    def _agreed(self, late=False, now=False):
        """Whether it is late by the clock of the chief. The signal that one worker has heard becomes that of all."""
        if not self._several:
            self._signal = self._heard
            return late
        numbers = signal.SIGTERM, signal.SIGINT
        found = self._looks([self._chief and bool(late), *(self._heard == each for each in numbers)], now)
        late, *heard = found or (False, False, False)
        self._signal = next((number for number, each in zip(numbers, heard, strict=True) if each), None)
        return late

    def _end_on_signal(self):
        number = self._signal if self._several else self._heard
        if number:
            self._heard = self._signal = None
        if number == signal.SIGTERM:
            raise SystemExit(128 + number)
        if number is not None:
            raise KeyboardInterrupt

    # Files

    def _metrics(self):
        return [[tf.convert_to_tensor(each).numpy().tolist() for each in metric.variables] for metric in self.model.metrics]

    def _keep(self, epoch, batch, metrics, stopped=False):
        """Write the state; a warning where that fails. Of several workers the chief does, and the others wait for it."""
        self._saved = time.monotonic()
        if self._chief:
            self._write_state(epoch, batch, metrics, stopped)
        if self._several:
            workers.summed(self._strategy, [0])

    def _write_state(self, epoch, batch, metrics, stopped):
        state = {
            "version": 1,
            "epoch": epoch,
            "batch": batch,
            "stopped": stopped,
            "seed": self.model.seed,
            "metrics": metrics,
            "epochs": self._history.epoch,
            "history": self._history.history,
            "callbacks": {name: states.taken(callback) for callback, name in states.by_name(self._others)},
        }
        made = []
        try:
            number = max([0, *(_number(path) for path in self._all())]) + 1
            made += [self.folder / f"{PREFIX}{number:06d}", Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=self.folder))]
            new, temporary = made
            self._write(temporary, state)
            temporary.replace(new)
            sync(self.folder)
            _read(new)
        except (OSError, Damaged) as error:
            for path in made:
                shutil.rmtree(path, ignore_errors=True)
            reason = getattr(error, "strerror", None) or error
            warnings.warn(
                f"the state of epoch {epoch + 1} could not be kept in {self.folder} ({reason}); the training goes on without it. "
                f"Make room there.",
                stacklevel=3,
            )
            return
        for old in self._all()[: -self.keep]:
            shutil.rmtree(old)

    def _write(self, folder, state):
        arrays = {}
        text = json.dumps(_packed(state, arrays))
        self.model.save_weights(folder / WEIGHTS)
        np.savez(folder / ARRAYS, **arrays)
        digests = {name: _digest(folder / name) for name in (WEIGHTS, ARRAYS)}
        (folder / STATE).write_text(
            json.dumps({"files": digests, "sha256": hashlib.sha256(text.encode()).hexdigest(), "state": text})
        )
        for name in (WEIGHTS, ARRAYS, STATE):
            sync(folder / name)

    def _all(self):
        return sorted((path for path in self.folder.glob(f"{PREFIX}*") if path.is_dir()), key=_number)

    def _newest(self):
        """The state of the newest checkpoint that is whole, and its weights into the model; None where there is none."""
        damaged = []
        for path in reversed(self._all()):
            try:
                state = _read(path)
            except Damaged as error:
                damaged.append(str(error))
                continue
            if damaged:
                warnings.warn(f"{'; '.join(damaged)}; the training goes on from {path.name}, the one before.", stacklevel=2)
            try:
                self.model.load_weights(path / WEIGHTS)
            except ValueError as error:
                reason = str(error).splitlines()[0]
                raise ValueError(
                    f"{path} holds the state of another model than this {type(self.model).__name__} ({reason}); build that one, "
                    f"or choose another folder."
                ) from error
            self.model.reseed(state["seed"])  # a script may leave the seed to chance
            return state
        if damaged:
            raise ValueError(f"{'; '.join(damaged)}, and there is none before; remove {self.folder} to begin anew.")
        return None


def _number(path):
    return int(path.name.removeprefix(PREFIX))


def _digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path):
    """The state in a folder; `Damaged` if one of its files is not what was written."""
    try:
        stored = json.loads((path / STATE).read_text())
        whole = hashlib.sha256(stored["state"].encode()).hexdigest() == stored["sha256"]
        if not whole or any(_digest(path / name) != digest for name, digest in stored["files"].items()):
            raise ValueError("its checksum differs")
        with np.load(path / ARRAYS, allow_pickle=False) as arrays:
            return _unpacked(json.loads(stored["state"]), arrays)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise Damaged(f"{path} is damaged ({error})") from error


def _packed(value, arrays):
    """A value for JSON, with its arrays put aside under their numbers."""
    if isinstance(value, dict):
        return {name: _packed(each, arrays) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_packed(each, arrays) for each in value]
    if isinstance(value, (np.ndarray, np.generic)):
        arrays[str(len(arrays))] = value
        return {"array": str(len(arrays) - 1)}
    return value


def _unpacked(value, arrays):
    if isinstance(value, dict):
        return (
            arrays[value["array"]][()] if set(value) == {"array"} else {k: _unpacked(each, arrays) for k, each in value.items()}
        )
    return [_unpacked(each, arrays) for each in value] if isinstance(value, list) else value
