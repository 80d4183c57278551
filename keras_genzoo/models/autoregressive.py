"""Autoregressive models (van den Oord et al. 2016, arXiv:1601.06759): exact likelihoods of levels, pixel after pixel."""

import math
import numbers

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo import causal, likelihoods
from keras_genzoo.core import images, randomness
from keras_genzoo.core.batches import some_batch
from keras_genzoo.core.checks import check_output, check_told, input_shapes, real, whole
from keras_genzoo.core.conditions import Conditional, beside, parted
from keras_genzoo.core.inference import batched, inference
from keras_genzoo.core.model import GenerativeModel

START = 100  # images from which normalised weights take their first values, at most
START_PIXELS = 2**17  # of these images together
NOISE = 2  # images of even noise among them


@keras.saving.register_keras_serializable("keras_genzoo")
class AutoregressiveModel(Conditional, GenerativeModel):
    """The probability of an image as a product over its pixels, each given those before it, in rows from the top left.

        log P(x) = sum_i log p(x_i | x_1, ..., x_(i - 1)),    loss = -log P(x)

    in nats per image, exact for the levels of the pixels; `bits_per_dim` stands beside it in the log. A network sees the image
    and puts out the parameters of all pixels at once. What belongs to a pixel may depend on pixels before it alone, and with a
    likelihood whose channels are independent, as "categorical", on channels before it. `networks.gated_pixelcnn` and
    `networks.pixelcnn_pp` make such networks; layers for others are in `causal`.

    `sample` draws rows from the top down in one compiled loop. The pixels of some rows are guessed together, and guessed again
    until nothing changes, in which the first pixels are right first. The result is what drawing them one after the other gives
    (fixed-point iteration, Wiggers and Hoogeboom 2020, "Predictive sampling with forecasting autoregressive models").

    Args:
        network: keras.Model. Images `(batch, height, width, channels)` in [-1, 1], of a conditional model with the condition as
            second input, to parameters `(batch, height, width, likelihood.parameter_count(channels))`.
        likelihood: "logistic_mixture", "categorical" or a `likelihoods.Likelihood` with `draw`. Defaults to "logistic_mixture".
        **kwargs: `num_classes`, `condition_dim`, what the network is told; without them a second input is of one-hot labels;
            `seed`, `ema`, `name`, `dtype`, as in `GenerativeModel`.

    Raises:
        ValueError: a likelihood that is not of levels; a network that puts out another number of parameters.

    Example:

    >>> model = gz.build("pixelcnn_pp", image_shape=(28, 28, 1), width=8)
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.bits_per_dim(images).shape
    TensorShape([64])
    >>> model.complete(images[:2], known=20, seed=0).shape
    (2, 28, 28, 1)
    """

    terms = ("bits_per_dim",)
    optimizers = {"optimizer": ("network",)}
    averaged = ("network",)
    support = "levels"

    def __init__(self, network, likelihood="logistic_mixture", **kwargs):
        inputs = input_shapes(network, "network")
        if len(inputs) == 2 and kwargs.get("num_classes") is None and kwargs.get("condition_dim") is None:
            kwargs["num_classes"] = inputs[1][0]
        super().__init__(**kwargs)
        self.network = network
        self.likelihood = likelihoods.get(likelihood)
        if not hasattr(self.likelihood, "draw"):
            raise ValueError(
                f"likelihood is {likelihood!r}, expected one of levels that can be drawn: 'logistic_mixture', 'categorical' or a "
                f"likelihoods.Likelihood with draw."
            )
        check_told(network, "network", self.condition_units)
        height, width, channels = self.image_shape
        check_output(network, "network", (height, width, self.likelihood.parameter_count(channels)))

    @property
    def image_shape(self):
        return input_shapes(self.network, "network")[0]

    def prepare(self, first_batch, dataset):
        """Let layers of normalised weights take their first values from some images, two of even noise among them, so that no
        pixel is taken for a constant."""
        if not causal.is_normalized(self.network):
            return
        count = min(START, max(8, START_PIXELS // math.prod(self.image_shape[:2])))
        some = some_batch(dataset, first_batch, count)
        x, condition = self.images_of(some)[:count], self.condition_of(some)
        x = tf.concat([x, randomness.latin_hypercube(NOISE, self.image_shape, self.seed)], axis=0)
        if condition is not None:  # of the noise that of some images
            condition = tf.gather(condition, tf.range(len(x)) % len(x[NOISE:]))
        with causal.first_values():
            self.network(self._seen(images.on_levels(x, self.likelihood.levels), condition), training=False)

    # Likelihood

    @staticmethod
    def _seen(x, condition):
        """What the network takes of images in [0, 1] and the condition or None."""
        return beside(2.0 * x - 1.0, condition)

    def log_mass(self, x, condition=None, training=False):
        """log P of images in [0, 1], of which the nearest levels are taken, given the condition or None, in nats, `(batch,)`."""
        x = images.on_levels(x, self.likelihood.levels)
        return self.likelihood.log_prob(x, self.network(self._seen(x, condition), training=training))

    def terms_of(self, data, training):
        log_prob = self.log_mass(self.images_of(data), self.condition_of(data), training)
        return {"loss": -log_prob, "bits_per_dim": self.to_bits_per_dim(log_prob)}

    def train_step(self, data):
        return self.track(self.minimize(lambda: self.terms_of(data, training=True), ("network",), self.optimizer))

    def test_step(self, data):
        return self.track(self.measure(lambda: self.terms_of(data, training=False), ("network",)))

    @inference
    def call(self, x):
        """log P of images, in nats, `(batch,)`; of a conditional model, of `(images, labels)`."""
        return self.log_mass(self.images_of(x), self.condition_of(x))

    @batched
    def log_prob(self, x, labels=None, conditions=None):
        """The exact log-probability of the levels of images.

        Args:
            x: images.
            labels: int `(batch,)`, of conditional models alone. None is the probability of images of `sample`, whose labels are
                uniform: the mean over all classes. Defaults to None.
            conditions: float `(batch, condition_dim)`, of models that are told vectors alone. Defaults to None.

        Returns:
            Nats per image, float32 `(batch,)`.
        """
        x = self.images_of(x)
        return self.over_classes(lambda condition: self.log_mass(x, condition), tf.shape(x)[0], labels, conditions)

    # Sampling

    @property
    def evaluations_per_sample(self):
        """How often the network would be evaluated to draw an image number by number; `sample` needs fewer."""
        return math.prod(self.image_shape)

    def draw_latents(self, n, random):
        """Uniform noise of which n images are drawn, `(n, height, width, likelihood.noise_count(channels))`."""
        height, width, channels = self.image_shape
        return random.uniform((n, height, width, self.likelihood.noise_count(channels)))

    def sample(
        self,
        n=None,
        seed=None,
        batch_size=256,
        labels=None,
        averaged=True,
        temperature=1.0,
        latents=None,
        conditions=None,
    ):
        """Draw images.

        Args:
            n, seed, batch_size, labels, averaged, latents, conditions: as in `Conditional.sample`. The last bits of the network's
                outputs may depend on the batch size. Where they decide between two levels, the rest of the image differs.
            temperature: float of at least 0. Below 1, images are more typical and less varied: the logits of components or
                levels are divided by it, and scales are multiplied with it. Defaults to 1.

        Returns:
            float32 array `(n, height, width, channels)` in [0, 1], on the levels.

        Raises:
            ValueError: a temperature that is no number of at least 0.
        """
        settings = self._settings(temperature)
        return super().sample(n, seed, batch_size, labels, averaged, latents, conditions=conditions, **settings)

    @staticmethod
    def _settings(temperature):
        # A tensor, so that there is one graph for all.
        return {"temperature": tf.constant(real(at_least=0, temperature=temperature), tf.float32)}

    def complete(self, images, known, seed=None, labels=None, temperature=1.0, batch_size=256, conditions=None):
        """Draw the pixels of images that are missing, given those before them.

        Of images whose first rows are known, the rest is drawn from its exact distribution given these. With another mask, what
        is drawn follows the known pixels before it and not those behind it.

        Args:
            images: `(n, height, width, channels)`; what stands at missing pixels does not matter, but it must be in range.
            known: int, the number of the first rows that are known; or a mask, bool or 1 where pixels are known, `(height,
                width)` or anything that broadcasts to the shape of the images.
            seed, labels, temperature, batch_size, conditions: as in `sample`.

        Returns:
            float32 array of the shape of `images`, in [0, 1]; known pixels are those of the images.

        Raises:
            ValueError: images or a mask of another shape or range; more known rows than images have; what `sample` refuses.
        """
        height, width, _ = self.image_shape
        if isinstance(known, numbers.Integral) and not isinstance(known, (bool, np.bool)):
            if whole(0, known=known) > height:
                raise ValueError(f"known is {known}, expected at most {height}, the rows of an image.")
            known = np.repeat(np.arange(height)[:, None] < known, width, axis=1)
        seed, told = self._told_of_images(images, seed, labels, conditions)
        return self._filled(images, known, seed, told, batch_size, self._settings(temperature))

    @inference
    def generate(self, latents, temperature=1.0, known=None, mask=None):
        """Images of noise.

        Args:
            latents: as `draw_latents` gives them, of conditional models in a pair with the condition.
            temperature: as of `sample`.
            known, mask: images in [0, 1], and bool, True where they are kept; both `(batch, height, width, channels)`, or None.
        """
        return self.draw_levels(latents, temperature, known, mask) / (self.likelihood.levels - 1)

    def draw_levels(self, latents, temperature=1.0, known=None, mask=None):
        """Levels of images, whole numbers as float32; arguments as of `generate`."""
        noise, condition = parted(latents)
        rows, (height, width, channels) = causal.Rows(self.network, self.image_shape[0]), self.image_shape
        n, blocks, most = tf.shape(noise)[0], -(-height // rows.count), self.likelihood.levels - 1

        def by_blocks(x):
            """Maps with rows below, so that blocks of rows are even: `(batch, blocks, rows, width, ...)`."""
            x = tf.pad(x, ((0, 0), (0, blocks * rows.count - height), (0, 0), (0, 0)))
            return tf.reshape(x, (-1, blocks, rows.count, width, x.shape[-1]))

        noise = by_blocks(noise)
        kept = None if known is None else (by_blocks(tf.round(known * most)), by_blocks(tf.cast(mask, tf.float32)) > 0)

        def draw(index, found, above):
            """A block of rows, guessed until a guess makes itself; and what the network remembers of it."""
            of_block = tf.gather(noise, index, axis=1)

            def guess(levels, before, remembered):
                parameters, remembered = rows(self._seen(levels / most, condition), above)
                drawn = self.likelihood.draw(parameters, of_block, temperature)
                if kept is not None:
                    drawn = tf.where(*(tf.gather(each, index, axis=1) for each in (kept[1], kept[0])), drawn)
                return drawn, levels, remembered

            changes = lambda levels, before, _: tf.reduce_any(levels != before)  # noqa: E731
            start = tf.zeros((n, rows.count, width, channels))
            # The first k numbers are right after k guesses.
            enough = rows.count * width * channels + 1
            levels, _, above = tf.while_loop(changes, guess, (start, start - 1.0, above), maximum_iterations=enough)
            here = (tf.range(blocks) == index)[None, :, None, None, None]
            return index + 1, tf.where(here, levels[:, None], found), above

        found = tf.zeros((n, blocks, rows.count, width, channels))
        more = lambda index, *_: index < blocks  # noqa: E731
        _, found, _ = tf.while_loop(more, draw, (0, found, rows.above(n)), maximum_iterations=blocks)
        return tf.reshape(found, (-1, blocks * rows.count, width, channels))[:, :height]
