"""What a model is told beside images: classes and vectors of numbers, which reach its networks as one tensor."""

import numpy as np
import tensorflow as tf

from keras_genzoo.core import randomness, shares
from keras_genzoo.core.batches import check_vectors, extra, one_hot, some_batch, told_of, unpack
from keras_genzoo.core.checks import whole_or_none
from keras_genzoo.core.inference import available_if, inference

KEPT = 1000  # vectors of training images that a model keeps, to sample by
WIDEST = 20  # classes that stand side by side on a sheet
SEEN = "seen_vectors"  # the name of the variable that holds them


def beside(x, condition):
    """What a network is called with: its input, and the condition beside it where there is one."""
    return x if condition is None else [x, condition]


def parted(latents):
    """What `generate` takes as a pair: latents, and the condition or None."""
    return latents if isinstance(latents, tuple) else (latents, None)


def sample_sheet(model, n, seed, **settings):
    """About n samples, and how many columns a sheet of them has (`images.tile`): of some classes one each, else None.

    Args:
        model: `GenerativeModel`.
        n, seed: ints.
        **settings: others of `sample`.
    """
    classes = model.num_classes
    if classes is None or classes > WIDEST:
        return model.sample(n, seed=seed, **settings), None
    rows = max(1, round(n / classes))
    return model.sample(rows * classes, seed=seed, labels=np.tile(np.arange(classes), rows), **settings), classes


class Conditions:
    """The part of `GenerativeModel` that takes classes and vectors.

    Networks are told the condition, float32 `(batch, condition_units)`: the label one-hot, and the vector behind it.
    """

    num_classes = None
    condition_dim = None
    conditional = False
    flagged = False  # whether a 1 stands behind a vector, so that zeros tell nothing
    _seen_vectors = None  # the variable of vectors of training images

    @property
    def condition_units(self):
        """How many numbers the networks are told; 0 where they are told none."""
        vector = 0 if self.condition_dim is None else self.condition_dim + self.flagged
        return (self.num_classes or 0) + vector

    @property
    def data_needs(self):
        """Arguments of `gz.data.load` that give what the model trains on beside images. In the place of `conditions=True`, those
        of the source itself, may stand an array or a file."""
        labels = {"labels": True} if self.conditional else {}
        return labels | ({} if self.condition_dim is None else {"conditions": True})

    # Of batches

    def labels_of(self, data):
        """The labels of a batch `(images, labels)`; raises where a conditional model is given none."""
        labels = unpack(data)[1]
        if labels is None:
            raise ValueError(
                f"{type(self).__name__} is conditional and was given images alone, expected batches (images, labels); "
                f"load the data with labels=True."
            )
        return shares.share(labels)

    def extra_of(self, data, name):
        """A named extra of a batch `(images, extras)`; raises where there is none."""
        value = extra(data, name)
        if value is None:
            needs = ", ".join(f"{key}={value!r}" for key, value in self.data_needs.items())
            raise ValueError(
                f"{type(self).__name__} needs batches (images, extras) with {name!r} among the extras, and was given none; "
                f"load the data with gz.data.load(..., {needs})."
            )
        return shares.share(value)

    def condition_of(self, data):
        """The condition of a batch, float32 `(batch, condition_units)`; None of a model without one."""
        parts = [one_hot(self.labels_of(data), self.num_classes)] if self.conditional and self.num_classes is not None else []
        if self.condition_dim is not None:
            parts.append(self._flag(self.extra_of(data, "conditions")))
        return tf.concat(parts, axis=1) if parts else None

    def _flag(self, vectors):
        vectors = tf.ensure_shape(tf.cast(vectors, tf.float32), (None, self.condition_dim))
        return tf.concat([vectors, tf.ones_like(vectors[:, :1])], axis=1) if self.flagged else vectors

    def keep_vectors(self, first_batch, dataset):
        """Keep vectors of training images, which `sample` draws from where it is given none."""
        if self.condition_dim is not None:
            rows = np.asarray(extra(some_batch(dataset, first_batch), "conditions"), np.float32)
            self._seen_vectors.assign(np.resize(rows, (KEPT, self.condition_dim)))

    # Of what a method is given

    def told(self, n, labels=None, conditions=None):
        """The condition of n images by their labels and vectors, as `condition_of` gives that of a batch.

        Raises:
            ValueError: one of them is missing, or the model takes none.
        """
        self._refuse(labels, conditions)
        if not self.condition_units:
            return None
        self._miss({"labels": labels, "conditions": conditions})
        parts = [] if labels is None else [tf.one_hot(tf.cast(labels, tf.int32), self.num_classes)]
        return tf.concat(parts if conditions is None else [*parts, self._flag(conditions)], axis=1)

    def settings_of(self, data):
        """The labels and vectors of a batch as keywords of methods, those that the model takes."""
        return {name: rows for name, rows in told_of(data).items() if self._takes(name)}

    def parts_of(self, condition):
        """The one-hot labels and the vectors in a condition, each None where the model has none."""
        count = self.num_classes or 0
        classes = None if condition is None or not count else condition[:, :count]
        return classes, None if condition is None or self.condition_dim is None else condition[:, count:]

    def _takes(self, name):
        return (self.num_classes if name == "labels" else self.condition_dim) is not None

    def _wanted(self, name):
        return "a class an image" if name == "labels" else f"{self.condition_dim} numbers an image"

    def _miss(self, given):
        missing = [name for name, value in given.items() if value is None and self._takes(name)]
        if missing:
            raise ValueError(
                f"no {missing[0]} were given, which {type(self).__name__} {self.name!r} has to be told; pass {missing[0]}=, "
                f"{self._wanted(missing[0])}."
            )

    def _refuse(self, labels, conditions):
        if labels is not None and self.num_classes is None:
            raise ValueError(f"labels were given, but {type(self).__name__} {self.name!r} has no classes.")
        if conditions is not None and self.condition_dim is None:
            raise ValueError(
                f"conditions were given, but {type(self).__name__} {self.name!r} takes none; build it with condition_dim=."
            )

    def checked_rows(self, n, told):
        """Labels and vectors of n images by name, as arrays.

        Raises:
            ValueError: another number of them, beyond the classes, of another length or not finite, or for a model without.
        """
        self._refuse(told.get("labels"), told.get("conditions"))
        found = {}
        if told.get("labels") is not None:
            labels = np.asarray(told["labels"])
            if labels.shape != (n,) or not np.isin(labels, np.arange(self.num_classes)).all():
                raise ValueError(
                    f"labels have shape {labels.shape} and lie between {labels.min(initial=0)} and {labels.max(initial=0)}, "
                    f"expected ({n},) and classes between 0 and {self.num_classes - 1}."
                )
            found["labels"] = labels.astype(np.int64)
        if told.get("conditions") is not None:
            found["conditions"] = check_vectors(self, told["conditions"], "conditions", n)
        return found

    def rows_to_sample(self, n, seed, labels=None, conditions=None):
        """Labels and vectors of n samples by name: those that are given, checked, and else those that are drawn."""
        found = self.checked_rows(n, {"labels": labels, "conditions": conditions})
        if self.num_classes is not None and labels is None:
            found["labels"] = self.draw_labels(n, seed)
        if self.condition_dim is not None and conditions is None:
            found["conditions"] = self.draw_conditions(n, seed)
        return found

    @available_if(lambda self: self.num_classes is not None, "it does not sample by class")
    def draw_labels(self, n, seed):
        """The classes of `sample(n, seed)`, int64 `(n,)`, uniform."""
        return self._draw_labels(n, seed).numpy()

    @available_if(lambda self: self.condition_dim is not None, "it takes no vectors")
    def draw_conditions(self, n, seed):
        """The vectors of `sample(n, seed)`, float32 `(n, condition_dim)`: those of some 1,000 training images, each as likely.

        Raises:
            ValueError: the model was never trained.
        """
        return self._draw_conditions(n, seed).numpy()

    def _draw_labels(self, n, seed):
        # Of a stream of its own: the noise of an image does not depend on whether its label was drawn.
        return tf.cast(randomness.uniform(randomness.make_key(seed, 2), (n,)) * self.num_classes, tf.int64)

    def _draw_conditions(self, n, seed):
        with tf.init_scope():  # known where a graph is made, too
            trained = bool(tf.convert_to_tensor(self._prepared))
        if not trained:
            raise ValueError(
                f"no conditions were given, and {type(self).__name__} {self.name!r}, which was never trained, has seen none; "
                f"pass conditions=, {self._wanted('conditions')}."
            )
        chosen = tf.cast(randomness.uniform(randomness.make_key(seed, 4), (n,)) * KEPT, tf.int32)
        return tf.gather(tf.convert_to_tensor(self._seen_vectors), chosen)


class Conditional:
    """Mixin of a `GenerativeModel` whose networks may be told a class, a vector of numbers, or both, as a second input.

    Codes become images by `images_from(z, condition)`, which a family writes.

    Args:
        num_classes: int or None. Number of classes. Batches are then `(images, labels)`. Defaults to None.
        condition_dim: int or None. Length of a vector that goes with each image, best of numbers around 0 with deviations around
            1. Batches are then `(images, extras)` with the vectors as `conditions`. Defaults to None.
    """

    def __init__(self, num_classes=None, condition_dim=None, **kwargs):
        super().__init__(**kwargs)
        num_classes, condition_dim = whole_or_none(num_classes=num_classes, condition_dim=condition_dim)
        self.num_classes, self.condition_dim = num_classes, condition_dim
        if condition_dim is not None:
            settings = {"dtype": "float32", "initializer": "zeros", "trainable": False}
            self._seen_vectors = self.add_weight(shape=(KEPT, condition_dim), name=SEEN, **settings)

    @property
    def conditional(self):
        return self.num_classes is not None

    @inference
    def generate(self, latents):
        """Images from what `draw_latents` drew, beside it the condition where there is one; the compiled part of `sample`."""
        return self.images_from(*parted(latents))
