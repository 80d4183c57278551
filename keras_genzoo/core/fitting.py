"""`fit`: one look at the data, where it begins in them, and how it goes on after a stop."""

import contextlib
import math
import types

import numpy as np
import tensorflow as tf

from keras_genzoo.core import memory, optimizers, order, progress, streams, workers
from keras_genzoo.core.batches import (
    apart,
    check_batch,
    check_labels,
    check_rows,
    check_vectors,
    first_batch,
    joined,
    rows_of,
    told_of,
    unpack,
)
from keras_genzoo.core.tracking import point


class Fitting:
    """The part of `GenerativeModel` that is `fit`.

    The model counts the passes over its data, and the batches of the pass that it has taken, in variables that are saved with
    it. So a model that is loaded sees the images in the order in which it would have seen them.
    """

    def fit(self, x=None, y=None, *args, **kwargs):
        """`keras.Model.fit` after one look at the data: range, shape, `survey`, `prepare`.

        Args:
            x: an array of images, or anything that yields batches of images or of pairs `(images, labels)`: a `tf.data.Dataset`,
                a `keras.utils.PyDataset`, PyTorch's `DataLoader`, a list, a generator, or a function that gives one anew for
                every epoch. `validation_data` likewise, or a pair of arrays.
            y: labels beside an array, or a dict of `labels` and `conditions`, of conditional models. Defaults to None.
            **kwargs: as in `keras.Model.fit`.

        Learning rates are those that the model was built with: constant, unless a recipe was told `total_steps`.

        Raises:
            ValueError: images of `x` or of `validation_data` are not what the model takes; sample or class weights. Arrays are
                looked at whole, and other data as they come: the sentence then names the batch.
            MemoryError: that of the device or of the machine is used up.
        """
        if args:
            raise TypeError("fit() takes x and y by position and everything else by keyword.")
        for name in ("sample_weight", "class_weight"):
            if kwargs.get(name) is not None:
                raise ValueError(f"{name} was given, but generative models weigh all images alike; repeat images instead.")
        x, y = streams.taken(x, y)
        first, x = first_batch(x, y, kwargs.get("batch_size"))
        check_batch(self, first, "images")
        streams.check_whole(x, "images")
        if not isinstance(x, tf.distribute.DistributedDataset):  # of which the first batch is a replica's share
            check_rows(self, first, "images")
        told = {} if y is None else told_of(joined(x, y))  # all of them, while they are at hand
        if self.conditional and "labels" in told:
            check_labels(self, told["labels"], "the labels")
        if self.condition_dim is not None and "conditions" in told:
            check_vectors(self, told["conditions"], "the conditions", len(x))
        validation = kwargs["validation_data"] = streams.taken_beside(kwargs.get("validation_data"))
        if validation is not None and not isinstance(validation, types.GeneratorType):
            batch, _ = first_batch(*apart(validation), kwargs.get("batch_size"))
            check_batch(self, batch, "validation images")
            check_rows(self, batch, "validation images")
            streams.check_whole(unpack(validation)[0], "validation images")
        if isinstance(x, (tf.data.Dataset, tf.distribute.DistributedDataset, types.GeneratorType)) or streams.endless(x):
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
        size = len(tf.nest.flatten(first)[0])
        with (
            memory.enough(f"training in batches of {size}", "take smaller batches, images or networks, or mixed precision"),
            streams.Watch() as watch,
            keeper.opened(self, kwargs.get("epochs", 1)) if keeper else contextlib.nullcontext() as state,
        ):
            self.survey(first, joined(x, y))
            self._prepare_once(first, joined(x, y))
            if self.compiled:
                workers.agree(self)
            self.validation_data = None if isinstance(validation, types.GeneratorType) else validation  # for callbacks
            x, y = _ordered(self, x, y, kwargs)
            x = self.supplement(x)
            kwargs["validation_data"] = watch.over(_held_once(self, kwargs), "validation images")
            try:
                placed = progress.placed(self, x, callbacks, keeper, state, kwargs)
                return super().fit(watch.over(x, "images"), y, **kwargs, **placed)
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
                progress.read_on(self)


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
        settings["validation_data"] = x[cut:] if y is None else (x[cut:], rows_of(y, slice(cut, None)))
        x, y = x[:cut], None if y is None else rows_of(y, slice(cut))
    size = settings.pop("batch_size", None) or 32
    settings.setdefault("validation_batch_size", size)
    shuffled, settings["shuffle"] = bool(settings.get("shuffle", True)), False
    return order.from_arrays(x, y, size, shuffled, model.seed), None


def _held_once(model, settings):
    """The `validation_data` among the settings of `fit`; arrays as a data set, for Keras would copy them."""
    data, size = settings["validation_data"], settings.get("validation_batch_size") or settings.get("batch_size")
    images, beside = apart(data)
    if not isinstance(images, (np.ndarray, tf.Tensor)):
        return data
    return order.from_arrays(images, beside, size or 32, shuffled=False, seed=model.seed)
