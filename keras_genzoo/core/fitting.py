"""`fit`: one look at the data, where it begins in them, and how it goes on after a stop."""

import contextlib
import math
import types

import numpy as np
import tensorflow as tf

from keras_genzoo.core import optimizers, order, progress, workers
from keras_genzoo.core.batches import check_batch, check_labels, check_rows, first_batch, unpack
from keras_genzoo.core.tracking import point


class Fitting:
    """The part of `GenerativeModel` that is `fit`.

    The model counts the passes over its data, and the batches of the pass that it has taken, in variables that are saved with
    it. So a model that is loaded sees the images in the order in which it would have seen them.
    """

    def fit(self, x=None, y=None, *args, **kwargs):
        """`keras.Model.fit` after one look at the first batch: range, shape, `survey`, `prepare`.

        Raises:
            ValueError: the first batch of `x` or of `validation_data` is not what the model takes; sample or class weights.
        """
        if args:
            raise TypeError("fit() takes x and y by position and everything else by keyword.")
        for name in ("sample_weight", "class_weight"):
            if kwargs.get(name) is not None:
                raise ValueError(f"{name} was given, but generative models weigh all images alike; repeat images instead.")
        first, x = first_batch(x, y, kwargs.get("batch_size"))
        check_batch(self, first, "images")
        if not isinstance(x, tf.distribute.DistributedDataset):  # of which the first batch is a replica's share
            check_rows(self, first, "images")
        if y is not None and self.conditional:
            check_labels(self, y, "the labels")  # all of them, while they are at hand
        validation = kwargs.get("validation_data")
        if validation is not None and not isinstance(validation, types.GeneratorType):
            batch, _ = first_batch(*(unpack(validation)), kwargs.get("batch_size"))
            check_batch(self, batch, "validation images")
            check_rows(self, batch, "validation images")
        if isinstance(x, (tf.data.Dataset, tf.distribute.DistributedDataset, types.GeneratorType)):
            kwargs.setdefault("shuffle", False)  # Keras warns that its default, True, cannot be kept
        callbacks = _listed(kwargs.pop("callbacks", None))
        point(self, callbacks)
        if self.compiled and len(self.optimizers) > 1:
            callbacks.append(optimizers.Following(callbacks))
        keepers = [each for each in callbacks if isinstance(each, progress.Keeper)]
        if len(keepers) > 1:
            raise ValueError(f"there are {len(keepers)} callbacks that keep the state of the training, expected one at most.")
        keeper = keepers[0] if keepers and self.compiled else None  # Keras says what is wrong with a model that is not compiled
        callbacks = [each for each in callbacks if each not in keepers]
        with keeper.opened(self, kwargs.get("epochs", 1)) if keeper else contextlib.nullcontext() as state:
            self.survey(first, x)
            self._prepare_once(first, x)
            if self.compiled:
                workers.agree(self)
            self.validation_data = None if isinstance(validation, types.GeneratorType) else validation  # for callbacks
            x, y = _ordered(self, x, y, kwargs)
            try:
                placed = progress.placed(self, x, callbacks, keeper, state, kwargs)
                return super().fit(x, y, **kwargs, **placed)
            except BaseException as error:
                self._place.batches.assign(0)  # what is in memory goes on with a whole epoch
                if isinstance(error, tf.errors.UnavailableError) and workers.count(self.distribute_strategy) > 1:
                    raise RuntimeError(
                        "another worker is gone, and training needs all of them; start all again: with callbacks.Checkpoint they "
                        "go on from its last state."
                    ) from error
                raise
            finally:
                self.validation_data = None


def _listed(callbacks):
    """The callbacks of `fit` as a list."""
    callbacks = getattr(callbacks, "callbacks", callbacks)
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [] if callbacks is None else [callbacks]


def _ordered(model, x, y, settings):
    """Arrays as a data set in an order that follows from the model's seed; anything else as it is. Changes the settings of `fit`
    to go with it."""
    if not isinstance(x, (np.ndarray, tf.Tensor)):
        return x, y
    share = settings.pop("validation_split", 0.0)
    if share and settings.get("validation_data") is None:
        cut = math.floor(len(x) * (1 - share))
        if not 0 < cut < len(x):
            raise ValueError(f"validation_split is {share:g} of {len(x)} images, expected some images on both sides.")
        settings["validation_data"] = x[cut:] if y is None else (x[cut:], y[cut:])
        x, y = x[:cut], None if y is None else y[:cut]
    size = settings.pop("batch_size", None) or 32
    settings.setdefault("validation_batch_size", size)
    shuffled, settings["shuffle"] = bool(settings.get("shuffle", True)), False
    return order.from_arrays(x, y, size, shuffled, model.seed), None
