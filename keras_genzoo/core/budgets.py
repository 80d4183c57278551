"""Training for a budget of seconds, compilation and measurements not counted."""

import math
import statistics
import time

import keras

SEGMENTS = 10  # at least as many points in a learning curve, where there are steps for it


class Clock(keras.callbacks.Callback):
    """Training seconds; pauses for compilation, and for `measure` after every segment (an epoch of Keras).

    Reading the logs at the end of a segment waits for the device, which may lag behind Python.

    Args:
        measure: callable of `(segment, steps, seconds, logs)`, or None. Defaults to None.
        progress: callable of the number of executions begun, or None. Defaults to None.
    """

    def __init__(self, measure=None, progress=None):
        super().__init__()
        self.measure, self.progress = measure, progress
        self.first = None  # seconds of the first execution, in which Keras compiles
        self.laps = []  # seconds of each segment, without the first execution
        self.executions = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.perf_counter()

    # Not on_train_batch_end: a callback there makes Keras read the logs of every batch.
    def on_train_batch_begin(self, batch, logs=None):
        if self.executions == 1 and self.first is None:
            int(self.model.optimizer.iterations)  # waits for the device
            self._end_first()
        self.executions += 1
        if self.progress:
            self.progress(self.executions)

    def _end_first(self):
        now = time.perf_counter()
        self.first, self.began = now - self.began, now

    def on_epoch_end(self, epoch, logs=None):
        if self.first is None:
            self._end_first()
        self.laps.append(time.perf_counter() - self.began)
        if getattr(self.model, "stop_training", False):
            return  # by a callback that says why
        loss = logs["loss"]
        if not math.isfinite(loss):
            raise FloatingPointError(f"the training loss became {loss} in segment {epoch + 1}; lower the learning rate.")
        if self.measure:
            self.measure(epoch, int(self.model.optimizer.iterations), sum(self.laps), logs)

    def train_seconds(self):
        """Seconds of all executions, the first counted as an average one; None if there was no other."""
        return sum(self.laps) * self.executions / (self.executions - 1) if self.executions > 1 else None

    def compile_seconds(self):
        """Seconds that the first execution took longer than an average one."""
        return max(0.0, self.first - (self.train_seconds() or 0.0) / self.executions)


def seconds_per_execution(model, train, budget):
    """Time some steps of a throwaway model, compilation excluded: the median of five laps.

    Args:
        model: compiled model.
        train: endless `tf.data.Dataset`.
        budget: float. Seconds; the laps take some hundredths of it, between half a second and ten.
    """
    clock = Clock()
    model.fit(train, steps_per_epoch=2 * model.steps_per_execution, epochs=1, verbose=0, callbacks=[clock])
    lap = min(max(budget / 20, 0.5), 10.0) / 5
    executions = max(1, round(lap / clock.laps[0]))
    clock = Clock()
    model.fit(train, steps_per_epoch=executions * model.steps_per_execution, epochs=6, verbose=0, callbacks=[clock])
    return statistics.median(clock.laps[1:]) / executions


def segment_length(executions):
    """Executions a segment, for 10 to 20 segments of which few executions are left over; 1 where there are fewer."""
    lengths = range(-(-executions // (2 * SEGMENTS)), max(1, executions // SEGMENTS) + 1)
    return min(lengths, key=lambda length: executions % length)
