"""What callbacks know of a training beside their arguments."""

from pathlib import Path

import keras

from keras_genzoo.core.files import replacing

# What callbacks of Keras know beside their arguments.
KNOWN = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    keras.callbacks.ModelCheckpoint: ("best", "_batches_seen_since_last_saving", "_last_batch_seen"),
    keras.callbacks.ReduceLROnPlateau: ("best", "wait", "cooldown_counter"),
}
STATELESS = (
    keras.callbacks.BackupAndRestore,
    keras.callbacks.CSVLogger,
    keras.callbacks.LambdaCallback,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.TensorBoard,
    keras.callbacks.TerminateOnNaN,
)
STATELESS_ELSEWHERE = ("WandbMetricsLogger", "MlflowCallback")  # of packages that may be missing


def by_name(callbacks):
    """Pairs of callbacks and names: their class, and a number where there are several."""
    names = {}
    for callback in callbacks:
        name = f"{type(callback).__module__}.{type(callback).__name__}"
        names[name] = names.get(name, 0) + 1
        yield callback, f"{name}#{names[name]}"


def _attributes(callback):
    return next((names for cls, names in KNOWN.items() if isinstance(callback, cls)), ())


def taken(callback):
    if hasattr(callback, "get_state"):
        return callback.get_state()
    return {name: getattr(callback, name, None) for name in _attributes(callback)}


def put(callback, state):
    if hasattr(callback, "set_state"):
        callback.set_state(state)
        return
    for name in _attributes(callback):
        setattr(callback, name, state[name])


def speaks(callback):
    """Whether a callback has nothing that would be lost, as far as one can know."""
    own = type(callback).__module__.startswith("keras_genzoo.")
    return (
        own
        or isinstance(callback, (*KNOWN, *STATELESS))
        or type(callback).__name__ in STATELESS_ELSEWHERE
        or (hasattr(callback, "get_state") and hasattr(callback, "set_state"))
    )


def cut(logger, epoch):
    """Let a CSVLogger go on with its file, without the lines of epochs that come again."""
    path = Path(logger.filename)
    if path.exists():
        first, *lines = path.read_text().splitlines(keepends=True) or [""]
        kept = [line for line in lines if line.partition(logger.sep)[0].isdigit() and int(line.partition(logger.sep)[0]) < epoch]
        with replacing(path) as temporary:
            temporary.write_text("".join([first, *kept]))
        logger.append = True
