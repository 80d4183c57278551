"""The doors of a model beside `fit`: each looks at its images as `fit` does, and misses no state that `fit` sets."""

import contextlib
import functools

import numpy as np
import tensorflow as tf

from keras_genzoo.core import order, shares, streams
from keras_genzoo.core.batches import check_batch, check_rows, first_batch, joined


def _of_a_batch(step, counts):
    """A step no part of which runs before its batch is there: at the end of data of unknown length TensorFlow would count one
    more."""

    @functools.wraps(step)
    def awaited(self, data):
        with tf.control_dependencies([part for part in tf.nest.flatten(data) if tf.is_tensor(part)]):
            with shares.taken(data) as shared, self._place.step(shares.rows(data)) if counts else contextlib.nullcontext():
                results = step(self, data)
                if shared and counts:
                    shares.settle(self._statistics)
                return results

    return awaited


class Doors:
    """The part of `GenerativeModel` that takes batches for training and validation, and the hooks for what depends on data."""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name in {"train_step", "test_step"} & set(vars(cls)):
            setattr(cls, name, _of_a_batch(vars(cls)[name], counts=name == "train_step"))

    def train_on_batch(self, x, y=None, **kwargs):
        """`keras.Model.train_on_batch`, which checks the batch as `fit` does; the first of a model's life goes to `prepare`."""
        batch = self._checked(x, y)
        if not tf.convert_to_tensor(self._prepared):
            check_rows(self, batch, "images")
        self._prepare_once(batch, batch)
        return super().train_on_batch(x, y, **kwargs)

    def test_on_batch(self, x, y=None, **kwargs):
        """`keras.Model.test_on_batch`, which checks the batch as `fit` does."""
        self._checked(x, y)
        return super().test_on_batch(x, y, **kwargs)

    def _checked(self, x, y):
        batch = joined(x, y)
        check_batch(self, batch, "images")
        self.check_surveyed()
        return batch

    def _prepare_once(self, batch, dataset):
        if not tf.convert_to_tensor(self._prepared):
            self.prepare(batch, dataset)
            self._prepared.assign(1)

    def prepare(self, first_batch, dataset):
        """Hook, called once in the model's life, before its first step: data-dependent initialisation.

        Args:
            first_batch: images, `(images, labels)` or `(images, extras)`.
            dataset: what `fit` was given, a pair where labels stood beside an array; of `train_on_batch` its batch.
        """

    def survey(self, first_batch, dataset):
        """Hook, called at the start of each `fit`: statistics of the data set, which another one has to set anew.

        Args:
            first_batch: images, `(images, labels)` or `(images, extras)`.
            dataset: what `fit` was given, a pair where labels stood beside an array.
        """

    def supplement(self, dataset):
        """Hook, called at the start of each `fit`, after `prepare`: the data set that training reads, which may have more beside
        the images, as what takes long to compute of them and stays as it is (`core.order.with_extra`).

        Args:
            dataset: what `fit` was given; of arrays a `tf.data.Dataset` of their batches.
        """
        return dataset

    def check_surveyed(self):
        """Hook of `train_on_batch`, `test_on_batch` and `evaluate`: raise one sentence if they miss what `survey` sets."""

    def evaluate(self, x=None, y=None, batch_size=None, *args, **kwargs):
        """`keras.Model.evaluate` after one look at the data, as `fit` takes them.

        A model that was never trained is evaluated as it was built: `prepare` belongs to training.
        """
        by_fit = kwargs.get("_use_cached_eval_dataset")  # which has looked at them
        with contextlib.nullcontext() if by_fit else streams.Watch() as watch:
            if watch:
                x, y = streams.taken(x, y)
                batch, x = first_batch(x, y, batch_size)
                check_batch(self, batch, "images")
                check_rows(self, batch, "images")
                streams.check_whole(x, "images")
                self.check_surveyed()
                if isinstance(x, (np.ndarray, tf.Tensor)):  # of which Keras would make a copy
                    x, y, batch_size = order.from_arrays(x, y, batch_size or 32, False, self.seed), None, None
                x = watch.over(x, "images")
            # The same noise in every validation, so that epochs compare.
            self._counters["random_test"].assign(0)
            return super().evaluate(x, y, batch_size, *args, **kwargs)
