"""How far a training is: in its data, and in the loop of `fit`; and how a loop begins in the middle."""

import contextlib
import functools
import threading
import warnings

import keras
import tensorflow as tf

from keras_genzoo.core import order, ramps, randomness

NAMES = "passes", "batches_taken", "order_mark", "seen"


class Place:
    """Where a model is in its data: variables of the model, saved with it.

    Attributes:
        passes: number of passes that it has ended.
        batches: batches that it has taken of the next one.
        mark: `Order.mark` of these data; 0 of others, of which nothing is known.
        seen: images and steps of all trainings, those of the step at hand not counted; int64 `(2,)`.
    """

    def __init__(self, model):
        self.passes, self.batches, self.mark = (randomness.counter(model, name) for name in NAMES[:3])
        self.seen = ramps.clock(model)
        self._local = threading.local()  # TensorFlow runs each replica in a thread of its own

    @contextlib.contextmanager
    def step(self, rows):
        """Count a batch of so many images, once where a step calls that of its base."""
        outer = not getattr(self._local, "stepping", False)
        self._local.stepping = True
        if outer:
            self._local.rows = rows
        try:
            if outer:
                self.batches.assign(tf.convert_to_tensor(self.batches) + 1)
            yield
            if outer:
                self.seen.assign(self.now() + tf.stack([tf.cast(rows, tf.int64), tf.constant(1, tf.int64)]))
        finally:
            if outer:
                self._local.stepping = False

    def now(self):
        """`seen` as a tensor."""
        return tf.identity(tf.convert_to_tensor(self.seen))

    @property
    def rows(self):
        """Images of the whole batch of the step at hand; 1 outside of any."""
        return self._local.rows if getattr(self._local, "stepping", False) else 1

    def set(self, passes, batches, mark):
        for variable, value in zip((self.passes, self.batches, self.mark), (passes, batches, mark), strict=True):
            variable.assign(value)

    def settle(self, data):
        """Count whole passes of data as such, where it is known how many batches they have."""
        passes, batches, mark = self.get()
        if data.batches:
            self.set(passes + batches // data.batches, batches % data.batches, mark)

    def get(self):
        """Passes, batches and mark, ints."""
        return tuple(int(tf.convert_to_tensor(each)) for each in (self.passes, self.batches, self.mark))


class Keeper(keras.callbacks.Callback):
    """Base of a callback that keeps the state of a training, so that `fit` goes on where one was stopped.

    `fit` puts it behind all the others.
    """

    def opened(self, model, epochs):
        """A context around a training up to so many epochs, in which the model has its state back; gives a dict, or None.

        It holds `epoch`, the first one to train, `batch`, how many of its batches are done, `stopped`, whether a callback ended
        the training, and what `restore` needs.
        """
        raise NotImplementedError

    def watch(self, callbacks, history, state):
        """The other callbacks, and that of the history, before the training begins."""

    def restore(self, state):
        """Put back what `fit` has begun anew, metrics and callbacks, as the first epoch begins."""

    def before_batch(self, epoch, batch):
        """A moment to keep the state: so many batches of an epoch are done."""

    def before_validation(self, epoch):
        """All batches of an epoch are done, and the metrics are still those of training."""

    def before_validation_batch(self, epoch):
        """A moment to keep the state, if it must be now."""


class Placing(keras.callbacks.Callback):
    """Tells the data which pass is next, and the model where it is; the first of the callbacks.

    Args:
        data: the `Order` of the data, or None.
        whole: bool. Whether an epoch is a pass; else `fit` was given steps, and a pass goes on in the next epoch.
        skipping: function of the model to what takes the place of its training function at first, or None.
        blank: int. Batches of the first pass that need not be read.
        keeper: `Keeper` or None.
        resume: callable without arguments, called as the first epoch begins, or None.
    """

    def __init__(self, data, whole, skipping, blank, keeper, resume):
        super().__init__()
        self.data, self.whole, self.skipping, self.blank = data, whole, skipping, blank
        self.keeper, self.resume = keeper, resume

    def on_train_begin(self, logs=None):
        self._first = True
        if self.skipping:
            self.model.train_function = self.skipping(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        if self.data is not None and (self.whole or self._first):
            self.data.start(self.model._place.get()[0], self.blank if self._first else 0)
        if self._first and self.resume:
            self.resume()
        self._first = False

    # Not on_train_batch_end: a callback there makes Keras read the logs of every batch.
    def on_train_batch_begin(self, batch, logs=None):
        if self.keeper and batch:
            self.keeper.before_batch(self._epoch, batch)

    def on_test_begin(self, logs=None):
        if self.keeper:
            self.keeper.before_validation(self._epoch)

    def on_test_batch_begin(self, batch, logs=None):
        if self.keeper:
            self.keeper.before_validation_batch(self._epoch)

    def on_train_end(self, logs=None):
        if self._first and self.resume:  # there was nothing left to train
            self.resume()

    def on_epoch_end(self, epoch, logs=None):
        if self.whole:
            passes, _, mark = self.model._place.get()
            self.model._place.set(passes + 1, 0, mark)
        elif self.data is not None:
            self.model._place.settle(self.data)


class _Skipping:
    """Takes the place of a model's training function until it is where it stopped.

    Args:
        read: int. Batches that come again, and are read and left alone.
        done: int. Batches of the epoch that were trained on.
    """

    def __init__(self, model, read, done):
        self.model, self.read, self.function = model, read, model.train_function
        self.left = -(-done // model.steps_per_execution)

    def __call__(self, iterator):
        for _ in range(self.read):
            next(iterator)
        self.read = 0
        if not self.left:
            self.model.train_function = self.function
            return self.function(iterator)
        self.left -= 1
        return self.model.get_metrics_result()


def read_on(model):
    """End what is left of the skipping, where a training ended before it came to that."""
    if isinstance(model.train_function, _Skipping):
        model.train_function = model.train_function.function


class _Callbacks(keras.callbacks.CallbackList):
    """Says nothing of the batches that are skipped."""

    def on_train_batch_begin(self, batch, logs=None):
        self._skips = isinstance(self.model.train_function, _Skipping) and self.model.train_function.left
        if not self._skips:
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        if not self._skips:
            super().on_train_batch_end(batch, logs)


def placed(model, x, callbacks, keeper, state, settings):
    """Arguments of Keras's `fit` by which it begins where the model is.

    Args:
        model: `GenerativeModel`.
        x: the data, as `fit` hands them over.
        callbacks: list of the other callbacks.
        keeper: `Keeper`, or None.
        state: what it found, or None.
        settings: dict of the other arguments of `fit`.

    Returns:
        dict.
    """
    data, whole = order.of(x), not settings.get("steps_per_epoch")
    own = whole and data is not None and getattr(x, "order", None) is data
    mark = data.mark if data is not None else 0
    passes, batches, known = model._place.get()
    done = state["batch"] if state else batches if whole else 0
    if known != mark or not (state or own):  # other data, or such as would have to be read again
        if done and state:
            warnings.warn(f"the state that was found is of other data: epoch {state['epoch'] + 1} begins anew.", stacklevel=3)
        passes, batches, done = passes + (batches > 0 and known == mark), 0, 0
    model._place.set(passes, batches, mark)
    if data is not None and not whole:
        model._place.settle(data)
    read = model._place.get()[1]
    history = next((each for each in callbacks if isinstance(each, keras.callbacks.History)), None) or keras.callbacks.History()
    others = [each for each in callbacks if each is not history]
    first = Placing(
        data,
        whole,
        skipping=functools.partial(_Skipping, read=read, done=done) if read or done else None,
        blank=read if own else 0,
        keeper=keeper,
        resume=functools.partial(keeper.restore, state) if state else None,
    )
    everything = [first, *others, history, *([keeper] if keeper else [])]
    begun = {}
    if keeper:
        keeper.watch(others, history, state)
    if state:
        begun["initial_epoch"] = max(state["epoch"], settings.pop("initial_epoch", 0))
        if state["stopped"]:
            begun["initial_epoch"] = max(begun["initial_epoch"], settings.get("epochs", 1))
    if not done:
        return {"callbacks": everything, **begun}
    verbose, steps = settings.get("verbose", "auto"), settings.get("steps_per_epoch")
    if steps is None and isinstance(x, tf.data.Dataset):
        steps = int(x.cardinality())
    loop = {"verbose": verbose, "epochs": settings.get("epochs", 1), "steps": steps if steps and steps > 0 else None}
    return {"callbacks": _Callbacks(everything, add_progbar=verbose != 0, model=model, **loop), **begun}
