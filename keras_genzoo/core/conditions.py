"""What a model is told beside images: classes and vectors of numbers, which reach its networks as one tensor."""

import inspect
import math

import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo.core import randomness
from keras_genzoo.core.batches import check_vectors, extra, one_hot, some_batch, told_of
from keras_genzoo.core.checks import whole, whole_or_none
from keras_genzoo.core.images import check_images
from keras_genzoo.core.inference import available_if, inference
from keras_genzoo.core.latents import checked

KEPT = 1000  # vectors of training images that a model keeps, to sample by
NAMES = {"labels": "a class an image", "conditions": "a vector an image"}


def beside(x, condition):
    """What a network is called with: its input, and the condition beside it where there is one."""
    return x if condition is None else [tf.convert_to_tensor(x), tf.convert_to_tensor(condition)]


def parted(latents):
    """What `generate` takes as a pair: latents, and the condition or None."""
    return latents if isinstance(latents, tuple) else (latents, None)


def condition_from(num_classes, labels=None, conditions=None):
    """The tensor that networks are told, float32 `(batch, units)`: labels one-hot, and vectors behind them; None of nothing."""
    parts = [] if labels is None else [tf.one_hot(tf.cast(labels, tf.int32), num_classes)]
    parts += [] if conditions is None else [tf.cast(conditions, tf.float32)]
    return tf.concat(parts, axis=1) if parts else None


class Told:
    """Labels and vectors, all checked, which `sample` cuts as it cuts labels.

    Args:
        make: callable of both to the condition `(n, units)`, as `Conditional.told`.
        *given: the labels and the vectors, None where there are none.
    """

    def __init__(self, make, *given):
        self.make, self.given = make, given

    def __getitem__(self, cut):
        return Told(self.make, *(None if each is None else each[cut] for each in self.given))

    @property
    def rows(self):
        return self.make(*self.given)


class Conditional:
    """Mixin of a `GenerativeModel` whose networks may be told a class, a vector of numbers, or both, as their last input.

    Networks are told the condition, float32 `(batch, condition_units)`: the label one-hot, and the vector behind it. A family
    takes it of a batch by `condition_of`, and of the `labels` and `conditions` of a method by `told`. It writes
    `images_from(z, condition)`, which makes images of what `draw_latents` drew.

    Args:
        num_classes: int or None. Number of classes. Batches are then `(images, labels)`. Defaults to None.
        condition_dim: int or None. Length of a vector that goes with each image, best of numbers around 0 with deviations around
            1. Batches are then `(images, extras)` with the vectors as `conditions`. Defaults to None.

    Class attributes of a family:
        marked: whether a 1 stands behind vectors, as networks see it from which the condition may be kept: all is 0 then, and a
            vector of zeros is something else. Defaults to False.
    """

    marked = False
    _seen_vectors = None  # the variable of vectors of training images

    def __init__(self, num_classes=None, condition_dim=None, **kwargs):
        super().__init__(**kwargs)
        num_classes, condition_dim = whole_or_none(num_classes=num_classes, condition_dim=condition_dim)
        self.num_classes, self.condition_dim = num_classes, condition_dim
        if condition_dim is not None:
            settings = {"dtype": "float32", "initializer": "zeros", "trainable": False}
            self._seen_vectors = self.add_weight(shape=(KEPT, condition_dim), name="seen_vectors", **settings)

    @property
    def condition_units(self):
        """How many numbers the networks are told; 0 where they are told none."""
        return (self.num_classes or 0) + (self.condition_dim or 0) + self._has_mark

    @property
    def _has_mark(self):
        return self.marked and self.condition_dim is not None

    def _marked(self, condition):
        return tf.pad(condition, ((0, 0), (0, 1)), constant_values=1.0) if self._has_mark else condition

    @property
    def data_needs(self):
        """Arguments of `gz.data.load` that give what the model trains on beside images. In the place of `conditions=True`, those
        of the source itself, may stand an array or a file."""
        return super().data_needs | ({} if self.condition_dim is None else {"conditions": True})

    # Of batches

    def condition_of(self, data):
        """The condition of a batch, float32 `(batch, condition_units)`; None of a model without one."""
        parts = [] if self.num_classes is None else [one_hot(self.labels_of(data), self.num_classes)]
        if self.condition_dim is not None:
            vectors = tf.cast(self.extra_of(data, "conditions"), tf.float32)
            parts.append(tf.ensure_shape(vectors, (None, self.condition_dim)))
        return self._marked(tf.concat(parts, axis=1) if parts else None)

    def settings_of(self, data):
        """The labels and vectors of a batch as keywords of methods, those that the model takes."""
        return {name: rows for name, rows in told_of(data).items() if self._takes(name)}

    def _prepare_once(self, batch, dataset):
        if self.condition_dim is not None and not tf.convert_to_tensor(self._prepared):
            rows = np.asarray(extra(some_batch(dataset, batch), "conditions"), np.float32)
            self._seen_vectors.assign(np.resize(rows, (KEPT, self.condition_dim)))
        super()._prepare_once(batch, dataset)

    # Of what a method is given

    def told(self, labels=None, conditions=None):
        """The condition of images by their labels and vectors, as `condition_of` gives that of a batch.

        Raises:
            ValueError: one of them is missing, or the model takes none.
        """
        self._check_given("labels", labels)
        self._check_given("conditions", conditions)
        return self._marked(condition_from(self.num_classes, labels, conditions))

    def _check_given(self, name, rows):
        if rows is not None and not self._takes(name):
            raise ValueError(f"{name} were given, but {type(self).__name__} {self.name!r} takes none.")
        if rows is None and self._takes(name):
            raise ValueError(
                f"no {name} were given, which {type(self).__name__} {self.name!r} has to be told; pass {name}=, {NAMES[name]}."
            )

    def _takes(self, name):
        return (self.num_classes if name == "labels" else self.condition_dim) is not None

    def over_classes(self, log_prob, n, labels=None, conditions=None):
        """Log-probabilities of n images, `(n,)`, given what `log_prob` makes of a condition. Without labels of a model with
        classes they are of images of `sample`, whose labels are uniform: the mean of the probabilities over all classes."""
        if labels is not None or self.num_classes is None:
            return log_prob(self.told(labels, conditions))

        def add_class(index, total):
            return index + 1, ops.logaddexp(total, log_prob(self.told(tf.fill((n,), index), conditions)))

        _, total = tf.while_loop(lambda index, _: index < self.num_classes, add_class, (0, tf.fill((n,), -math.inf)))
        return total - math.log(self.num_classes)

    # Sampling

    @available_if(lambda self: hasattr(self, "draw_latents"), lambda self: self.sample_needs)
    def sample(self, n=None, seed=None, batch_size=256, labels=None, averaged=True, latents=None, *, conditions=None, **settings):
        """Draw images, of a model that is told classes or vectors by these.

        Args:
            n, seed, batch_size, labels, averaged, latents: as in `GenerativeModel.sample`.
            conditions: float array `(n, condition_dim)`, for models that are told vectors alone; None draws vectors of training
                images, by the seed too (`draw_conditions` says which). Defaults to None.
            **settings: of the family's `generate`.

        Returns:
            float32 array `(n, height, width, channels)` in [0, 1]. Inside a `tf.function`, where `n` and `seed` may be scalar
            tensors and `seed` has to be given, a tensor of all images at once.

        Raises:
            ValueError: labels or vectors of another number or shape, beyond the classes, or for a model that takes none.
        """
        latents, n = checked(self, latents, n)
        if not tf.inside_function():
            seed = randomness.random_seed() if seed is None else whole(0, seed=seed)
        told = labels if seed is None else self._told(n, seed, labels, conditions)
        return super().sample(n, seed, batch_size, told, averaged, latents, **settings)

    @available_if(lambda self: hasattr(self, "sample"), lambda self: self.sample_needs)
    def sample_batches(self, n=None, seed=None, batch_size=256, labels=None, latents=None, *, conditions=None, **settings):
        """The images of `sample`, one batch after the other, for more of them than memory holds. Arguments as in `sample`."""
        latents, n = checked(self, latents, n)
        seed = randomness.random_seed() if seed is None else seed
        return super().sample_batches(n, seed, batch_size, self._told(n, seed, labels, conditions), latents, **settings)

    def latent_shapes(self):
        """The shapes of the latents that `sample` takes, without the batch axis, as a list of tuples."""
        condition = tf.zeros((1, self.condition_units)) if self.condition_units else None
        latents, _ = parted(self.latents_for(1, randomness.RowStream(0, 0), condition))
        return [tuple(latents.shape[1:])]

    @available_if(lambda self: self.condition_dim is not None, "it takes no vectors")
    def draw_conditions(self, n, seed):
        """The vectors of `sample(n, seed)`, float32 `(n, condition_dim)`: those of some 1,000 training images, each as likely.

        Raises:
            ValueError: the model was never trained.
        """
        return self._draw_conditions(n, seed).numpy()

    def _draw_conditions(self, n, seed):
        with tf.init_scope():  # known where a graph is made, too
            trained = bool(tf.convert_to_tensor(self._prepared))
        if not trained:
            raise ValueError(
                f"no conditions were given, and {type(self).__name__} {self.name!r}, which was never trained, has seen none; "
                f"pass conditions=, {NAMES['conditions']}."
            )
        chosen = tf.cast(randomness.uniform(randomness.make_key(seed, 4), (n,)) * KEPT, tf.int32)
        return tf.gather(tf.convert_to_tensor(self._seen_vectors), chosen)

    def _told(self, n, seed, labels, conditions):
        """What goes in the place of labels through `sample`: the condition of n images, of labels and vectors that are given and
        else drawn, or None."""
        if isinstance(labels, Told):
            return labels
        if tf.inside_function():
            labels = self._draw_labels(n, seed) if labels is None and self.num_classes is not None else labels
        else:
            n = whole(n=n)
            labels = super()._labels(n, seed, labels)
            conditions = None if conditions is None else check_vectors(self, conditions, "conditions", n)
        if conditions is None and self.condition_dim is not None:
            conditions = self._draw_conditions(n, seed)
        told = Told(self.told, labels, conditions)
        return None if told[:1].rows is None else told

    def _told_of_images(self, images, seed, labels, conditions):
        """A seed, drawn unless it is given, and what `_told` makes of the labels and vectors of images, which are checked."""
        check_images(images, expected=self.image_shape)
        seed = randomness.random_seed() if seed is None else whole(0, seed=seed)
        return seed, self._told(len(images), seed, labels, conditions)

    def _labels(self, n, seed, labels):
        return labels if isinstance(labels, Told) else super()._labels(n, seed, labels)

    def _drawn(self, n, random, labels, settings, given=None):
        if not isinstance(labels, Told):
            return super()._drawn(n, random, labels, settings, given)
        latents = self.latents_for(n, random, labels.rows) if given is None else (tf.convert_to_tensor(given), labels.rows)
        return latents, {**settings, "key": random.key()} if self.keyed else settings

    def latents_for(self, n, random, condition=None):
        """What `generate` takes: what `draw_latents` draws, and in a pair with it the condition `(n, condition_units)` if any."""
        if condition is None:
            return self.draw_latents(n, random)
        by = {"condition": condition} if "condition" in inspect.signature(self.draw_latents).parameters else {}
        return self.draw_latents(n, random, **by), condition

    @inference
    def generate(self, latents):
        """Images of what `draw_latents` drew, in a pair with the condition where there is one; the compiled part of `sample`."""
        return self.images_from(*parted(latents))
