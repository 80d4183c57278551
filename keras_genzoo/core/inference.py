"""What every trained model can be asked: images drawn, coded and told again, and likelihoods in bits."""

import functools
import math
import types

import numpy as np
import tensorflow as tf

from keras_genzoo.core import images as image_convention
from keras_genzoo.core import randomness
from keras_genzoo.core.checks import whole


def available_if(condition, reason):
    """Make a method that exists only while `condition(self)` holds, so that `hasattr` says whether the call works.

    Args:
        condition: callable of the model, to bool.
        reason: str, or callable of the model to one. What the method needs; ends the message of the AttributeError.
    """

    def decorate(method):
        @functools.wraps(method)
        def bound(self):
            if not condition(self):
                why = reason(self) if callable(reason) else reason
                raise AttributeError(f"{type(self).__name__} {self.name!r} has no `{method.__name__}`: {why}.")
            return types.MethodType(method, self)

        return property(bound, doc=method.__doc__)

    return decorate


def inference(method):
    """Make a method of a model compute with the averaged weights: the mark of everything but the training step."""

    @functools.wraps(method)
    def averaged(self, *args, **kwargs):
        with self.averaged_weights():
            return method(self, *args, **kwargs)

    return averaged


class Inference:
    """The part of `GenerativeModel` that is made of a family's `draw_latents`, `generate`, `encode`, `decode` and `log_prob`."""

    sample_needs = "it has no distribution to draw from"  # what `sample` says where it is absent

    @available_if(lambda self: hasattr(self, "draw_latents"), lambda self: self.sample_needs)
    def sample(self, n, seed=None, batch_size=256, labels=None, averaged=True, **settings):
        """Draw images.

        Args:
            n: int. Number of images.
            seed: int or None. The same seed gives the same images; image i starts from noise that depends on the seed and
                i alone. None draws a seed from Keras's global state. Defaults to None.
            batch_size: int. Images computed at a time. Defaults to 256.
            labels: int array `(n,)` of classes, for conditional models alone; None draws them uniformly, by the seed too
                (`draw_labels` says which). Defaults to None.
            averaged: bool. Whether to use the averages of the weights, where the model keeps any, or the weights as trained.
                Defaults to True.
            **settings: of the family's `generate`.

        Returns:
            float32 array `(n, height, width, channels)` in [0, 1].

        Raises:
            ValueError: labels of another number, beyond the classes, or for a model that takes none.
        """
        n, batch_size = whole(n=n, batch_size=batch_size)
        seed = randomness.random_seed() if seed is None else seed
        labels = self._labels(n, seed, labels)
        images = np.empty((n, *self.image_shape), np.float32)
        for start in range(0, n, batch_size):
            random = randomness.RowStream(seed, start)
            latents = self.draw_latents(min(batch_size, n - start), random)
            if labels is not None:
                latents = (latents, tf.one_hot(labels[start : start + batch_size], self.num_classes))
            if self.keyed:
                settings["key"] = random.key()
            images[start : start + batch_size] = self._generate(latents, averaged, settings)
        return images

    @available_if(lambda self: self.num_classes is not None, "it does not sample by class")
    def draw_labels(self, n, seed):
        """The classes of `sample(n, seed)`, int64 `(n,)`, uniform."""
        # Of a stream of its own: the noise of an image does not depend on whether its label was drawn.
        uniform = randomness.uniform(randomness.make_key(seed, 2), (n,)).numpy()
        return (uniform * self.num_classes).astype(np.int64)

    def _labels(self, n, seed, labels):
        if self.num_classes is None:
            if labels is not None:
                raise ValueError(f"labels were given, but {type(self).__name__} {self.name!r} has no classes.")
            return None
        labels = self.draw_labels(n, seed) if labels is None else np.asarray(labels)
        if labels.shape != (n,) or not np.isin(labels, np.arange(self.num_classes)).all():
            raise ValueError(
                f"labels have shape {labels.shape} and lie between {labels.min(initial=0)} and {labels.max(initial=0)}, expected "
                f"({n},) and classes between 0 and {self.num_classes - 1}."
            )
        return labels

    def _generate(self, *arguments):
        # Of any number of rows (and of steps): one graph however many images are asked for.
        specs = tf.nest.map_structure(
            lambda x: tf.TensorSpec([None, *x.shape[1:]] if x.shape.rank else [], x.dtype) if tf.is_tensor(x) else x, arguments
        )
        if self.keyed:
            specs[-1]["key"] = tf.TensorSpec([3], tf.int64)
        return self._compiled_generate.get_concrete_function(*specs)(*arguments)

    @functools.cached_property
    def _compiled_generate(self):
        def generate(latents, averaged, settings):
            self._as_trained = not averaged
            try:
                return self.generate(latents, **settings)
            finally:
                self._as_trained = False

        return tf.function(generate, autograph=False)  # as Keras traces steps; converting the code takes longer than tracing it

    @inference
    def generate(self, latents):
        """Images from what `draw_latents` drew; the compiled part of `sample`. Defaults to `decode`."""
        return self.decode(latents)

    @available_if(lambda self: hasattr(self, "encode") and hasattr(self, "decode"), "it needs both encode and decode")
    def reconstruct(self, x):
        """Images through the code and back: float32 in [0, 1], shape as `x`."""
        return self.decode(self.encode(x))

    @available_if(lambda self: hasattr(self, "encode") and hasattr(self, "decode"), "it needs both encode and decode")
    def interpolate(self, x0, x1, steps=8):
        """Images along the straight lines between the codes of two batches.

        Args:
            x0, x1: images `(batch, height, width, channels)`.
            steps: int. Images a line, both ends included. Defaults to 8.

        Returns:
            float32 array `(batch, steps, height, width, channels)` in [0, 1].
        """
        steps = whole(steps=steps)
        z0, z1 = self.encode(x0), self.encode(x1)
        line = [self.decode(z0 + (z1 - z0) * position) for position in np.linspace(0, 1, steps, dtype="float32")]
        return np.stack(line, axis=1)

    @available_if(
        lambda self: hasattr(self, "log_prob") and self.support != "binary",
        "it needs a log_prob of gray or colour images",
    )
    def bits_per_dim(self, x, **kwargs):
        """-log2 P(x) per pixel and channel of images of 256 levels, `(batch,)`; bounds as `log_prob` does.

        A density p on the unit cube gives log P(x) >= E_u[log p((x + u) / 256)] - dimensions * log 256 (Theis et al. 2016,
        arXiv:1511.01844, eq. 3); a probability mass is taken as it is.
        """
        return self.to_bits_per_dim(self.log_prob(x, **kwargs))

    def to_bits_per_dim(self, log_prob):
        """What `log_prob` returned, in bits per dimension."""
        bits = -log_prob / (math.prod(self.image_shape) * math.log(2))
        return bits + math.log2(image_convention.LEVELS) if self.support == "continuous" else bits
