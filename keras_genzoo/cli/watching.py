"""What `genzoo train` shows of a training while it runs, and to whom else it reports."""

import importlib
import sys
import uuid

import keras

from keras_genzoo.core.files import read_json, replacing, to_json

TENSORBOARD, IDS = "tensorboard", "tracking.json"  # in the folder of a run


class Stages(keras.callbacks.Callback):
    """On a terminal, tells what happens between the steps: validation and the drawing of samples.

    Args:
        every: int. Epochs between two sheets of samples.
        batches: int. Of the validation, below 1 where that is not known.
        stream: text stream, a terminal. Defaults to stderr.
    """

    def __init__(self, every, batches, stream=None):
        super().__init__()
        self.every, self.batches, self.stream = every, batches, stream or sys.stderr

    def _show(self, text):
        # The line is wiped again: Keras goes on in it.
        self.stream.write(f"\r\033[K{text}")
        self.stream.flush()

    def on_test_begin(self, logs=None):
        self._show("validating")

    def on_test_batch_end(self, batch, logs=None):
        # Keras counts whole executions of several steps.
        self._show(f"validating: {min(batch + 1, self.batches)} of {self.batches} batches" if self.batches > 0 else "validating")

    def on_test_end(self, logs=None):
        self._show("")

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            self._show("drawing samples")

    def on_epoch_begin(self, epoch, logs=None):
        self._show("")

    def on_train_end(self, logs=None):
        self._show("")


def trackers(chosen, out, record, fresh):
    """Callbacks that report a run to other programs, in which it goes on as one run.

    Args:
        chosen: list of names of STARTED.
        out: Path. The run's folder.
        record: dict. What the run is.
        fresh: bool. Whether it begins anew.

    Raises:
        ValueError: a package is missing, or cannot be used.
    """
    for name in chosen:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ValueError(
                f"--{name} needs a package that is missing ({error}); pip install 'keras_genzoo[{name}]'."
            ) from error
    ids = {} if fresh else read_json(out / IDS)
    callbacks = []
    for name in chosen:
        try:
            callbacks.append(STARTED[name](out, record, ids))
        except (ValueError, OSError):
            raise
        except Exception as error:  # of the other program, as where its server does not answer
            raise ValueError(f"--{name} cannot be used: {error}") from error
    if ids:
        with replacing(out / IDS) as temporary:
            temporary.write_text(to_json(ids))
    return callbacks


def _tensorboard(out, record, ids):
    return keras.callbacks.TensorBoard(out / TENSORBOARD)


def _wandb(out, record, ids):
    import wandb
    from wandb.integration.keras import WandbMetricsLogger

    ids.setdefault("wandb", uuid.uuid4().hex[:8])
    wandb.init(project="keras_genzoo", name=out.name, id=ids["wandb"], dir=out, config=record, resume="allow")
    return WandbMetricsLogger()


def _mlflow(out, record, ids):
    import mlflow
    from mlflow.keras import MlflowCallback

    run = mlflow.start_run(run_id=ids.get("mlflow"), run_name=None if "mlflow" in ids else out.name)
    if "mlflow" not in ids:
        mlflow.log_dict(record, "run.json")
    ids["mlflow"] = run.info.run_id
    return MlflowCallback()


STARTED = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
