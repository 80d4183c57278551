"""Energies of images with classes, by a classifier's logits, and with vectors of numbers."""

import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo.core.batches import extra, some_batch, unpack
from keras_genzoo.core.conditions import Conditional, beside
from keras_genzoo.core.inference import available_if, batched


class ConditionalEnergy(Conditional):
    """The part of `EnergyModel` that makes energies of what its network puts out, by classes and vectors where there are any."""

    def prepare(self, first_batch, dataset):
        """Let the chains begin with vectors of training images, where there are any."""
        if self._vectors is not None:
            rows = np.asarray(extra(some_batch(dataset, first_batch), "conditions"), np.float32)
            self._vectors.chains.assign(np.resize(rows, self._vectors.chains.shape))

    def outputs(self, x, training=False, vectors=None):
        """What the network puts out for images in [-1, 1], `(batch, 1)`; where there are classes logits `(batch, classes)`."""
        return self.network(beside(x, vectors), training=training)

    def energies(self, x, training=False, classes=None, vectors=None):
        """Of images in [-1, 1], `(batch,)`; where there are classes E(x, y) if these are given, one-hot, and else E(x)."""
        return self.energies_of(self.outputs(x, training, vectors), classes)

    def energies_of(self, outputs, classes=None):
        """Energies of what the network puts out, `(batch,)`."""
        if self.num_classes is None:
            return outputs[:, 0]
        return -ops.logsumexp(outputs, axis=1) if classes is None else -ops.sum(outputs * classes, axis=1)

    def energy_by(self, classes, vectors):
        """The energy as a function of images in [-1, 1], and of `training`, by classes and vectors, each of which may be None."""
        given = {name: value for name, value in (("classes", classes), ("vectors", vectors)) if value is not None}
        return lambda x, *training: self.energies(x, *training, **given)

    def chain_energy(self, n, seed):
        return self.energy_by(None, self.parts_of(self.told(n, **self.rows_to_sample(n, seed)))[1])

    def vectors_of_chains(self, fresh, vectors):
        """The vectors that chains go on with, or None: their own, and of those that begin anew those of images of the batch."""
        if vectors is None:
            return None
        kept = self._vectors.take(ops.shape(vectors)[0])
        return ops.where(fresh[:, 0, 0], vectors[: ops.shape(kept)[0]], kept)

    def classification(self, logits, classes):
        """-log p(y | x), and whether y is the likeliest class."""
        right = ops.argmax(logits, axis=1) == ops.argmax(classes, axis=1)
        return {
            "classification_loss": -ops.sum(classes * ops.log_softmax(logits, axis=1), axis=1),
            "accuracy": ops.cast(right, "float32"),
        }

    @batched
    def energy(self, x, labels=None, conditions=None):
        """Energies of images, `(batch,)`: -T log p(x) but for a constant that is unknown; lower is likelier.

        Args:
            x: images.
            labels: int `(batch,)`, of models with classes alone: E(x, y) instead of E(x). Defaults to None.
            conditions: float `(batch, condition_dim)`, of models that are told vectors. Defaults to None.
        """
        x, (classes, vectors) = 2.0 * self.images_of(x) - 1.0, self._given(labels, conditions)
        return self.energy_by(classes, vectors)(x)

    @available_if(lambda self: self.num_classes is not None, "it has no classes; build it with num_classes=")
    @batched
    def classify(self, x, conditions=None):
        """The probabilities of the classes of images, p(y | x), `(batch, num_classes)`."""
        x, (_, vectors) = 2.0 * self.images_of(x) - 1.0, self._given(None, conditions)
        return ops.softmax(self.outputs(x, vectors=vectors), axis=1)

    def _given(self, labels, conditions):
        """One-hot labels, which may be missing, and vectors, which may not."""
        self._refuse(labels, conditions)
        self._miss({"conditions": conditions})
        return None if labels is None else tf.one_hot(tf.cast(labels, tf.int32), self.num_classes), conditions

    def call(self, x):
        """Energies of images, `(batch,)`; of a model that is told vectors, of a batch `(images, extras)`."""
        told = self.settings_of(x)
        return self.energy(unpack(x)[0], **({"conditions": told["conditions"]} if "conditions" in told else {}))
