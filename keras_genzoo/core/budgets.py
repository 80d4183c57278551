"""Training for a budget of seconds, compilation and measurements not counted."""

import math
import statistics
import time

import keras

SEGMENTS = 6  # at least as many points in a learning curve, where there are steps for it


class Clock(keras.callbacks.Callback):
    """Training seconds; pauses for compilation, and for `measure` after every segment (an epoch of Keras).

    Reading the logs at the end of a segment waits for the device, which may lag behind Python. A training that goes on in another
    process is compiled there again.

    Args:
        measure: callable of `(segment, steps, seconds, logs)`, or None. Defaults to None.
        progress: callable of the number of executions begun, or None. Defaults to None.

    Attributes:
        laps: list of the seconds of each segment, without those of the first execution in a process.
        executions: int. How many there were.
        points: list of what `measure` gave.
    """

    def __init__(self, measure=None, progress=None):
        super().__init__()
        self.measure, self.progress = measure, progress
        self.firsts = []  # seconds of the first execution in each process, in which Keras compiles
        self.laps, self.executions, self.points = [], 0, []
        self._begun, self._compiling = 0, True  # executions in this process, and whether the first one runs
        self._carried, self._open = 0.0, False  # seconds of the segment at hand in other processes, and whether there is one

    def get_state(self):
        known = {"firsts": self.firsts, "laps": self.laps, "executions": self.executions, "points": self.points}
        return known | {"elapsed": self._elapsed() if self._open else 0.0}

    def set_state(self, state):
        self.firsts, self.laps = list(state["firsts"]), list(state["laps"])
        self.executions, self.points = state["executions"], list(state["points"])
        self._carried = state.get("elapsed", 0.0)

    def _elapsed(self):
        """Seconds of the segment at hand, without a first execution."""
        return self._carried + (0.0 if self._compiling else time.perf_counter() - self.began)

    def on_epoch_begin(self, epoch, logs=None):
        self.began, self._open = time.perf_counter(), True

    # Not on_train_batch_end: a callback there makes Keras read the logs of every batch.
    def on_train_batch_begin(self, batch, logs=None):
        if self._begun == 1 and self._compiling:
            int(self.model.optimizer.iterations)  # waits for the device
            self._end_first()
        self._begun += 1
        self.executions += 1
        if self.progress:
            self.progress(self.executions)

    def _end_first(self):
        now = time.perf_counter()
        self.firsts.append(now - self.began)
        self.began, self._compiling = now, False

    def on_epoch_end(self, epoch, logs=None):
        if self._compiling:
            self._end_first()
        self.laps.append(self._elapsed())
        self._carried, self._open = 0.0, False
        if getattr(self.model, "stop_training", False):
            return  # by a callback that says why
        loss = logs["loss"]
        if not math.isfinite(loss):
            raise FloatingPointError(f"the training loss became {loss} in segment {epoch + 1}; lower the learning rate.")
        if self.measure:
            self.points.append(self.measure(epoch, int(self.model.optimizer.iterations), sum(self.laps), logs))

    def train_seconds(self):
        """Seconds of all executions, the first of a process counted as an average one; None if there was no other."""
        timed = self.executions - len(self.firsts)
        return sum(self.laps) * self.executions / timed if timed > 0 else None

    def compile_seconds(self):
        """Seconds that the first execution took longer than an average one, of each process."""
        return max(0.0, sum(self.firsts) - len(self.firsts) * (self.train_seconds() or 0.0) / self.executions)


def seconds_per_execution(model, train, budget):
    """Time some steps of a throwaway model, compilation excluded: the median of five laps.

    Args:
        model: compiled model.
        train: endless `tf.data.Dataset`.
        budget: float. Seconds; the laps take a tenth of it, and at least two seconds.
    """
    clock = Clock()
    model.fit(train, steps_per_epoch=2 * model.steps_per_execution, epochs=1, verbose=0, callbacks=[clock])
    lap = max(budget / 10, 2.0) / 5
    executions = max(1, round(lap / clock.laps[0]))
    clock = Clock()
    model.fit(train, steps_per_epoch=executions * model.steps_per_execution, epochs=6, verbose=0, callbacks=[clock])
    return statistics.median(clock.laps[1:]) / executions


def segment_length(executions):
    """Executions a segment, for 6 to 12 segments of which few executions are left over; 1 where there are fewer."""
    lengths = range(-(-executions // (2 * SEGMENTS)), max(1, executions // SEGMENTS) + 1)
    return min(lengths, key=lambda length: executions % length)
