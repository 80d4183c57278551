"""Normalizing flows (Rezende and Mohamed 2015; Dinh et al. 2017, arXiv:1605.08803): exact likelihoods, exact inverses."""

import inspect
import math
import numbers

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo.bijectors import Chain
from keras_genzoo.bijectors.base import as_of, forward_of
from keras_genzoo.core import codes, images, randomness
from keras_genzoo.core.batches import some_batch
from keras_genzoo.core.checks import image_size, input_shapes, whole
from keras_genzoo.core.conditions import Conditional
from keras_genzoo.core.inference import batched
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.priors import StandardNormal

NOISE = 2  # images of even noise among them


@keras.saving.register_keras_serializable("keras_genzoo")
class Flow(Conditional, GenerativeModel):
    """An invertible map f from images to noise, which gives images their exact density by the change of variables.

    With x the image on the unit cube, dequantised as (level + u) / 256,

        loss = -log p(x) = -log prior(f(x)) - log |det df/dx|     (eq. 2 and 3 of Dinh et al.)

    in nats per image; `bits_per_dim` stands beside it in the log. The mean of the loss bounds the negative log-likelihood of the
    levels from above (Theis et al. 2016, arXiv:1511.01844, eq. 3), more closely where a network draws u: then log q(u | x) is
    added to the loss. With classes or vectors c, f is another map for each c, and all of it is log p(x | c).

    Args:
        bijectors: list of `bijectors.Bijector`, the first of images on the unit cube `(batch, height, width, channels)`, the last
            to vectors. With classes or vectors some of them depend on a context of as many units as the condition has
            (`networks.conv_coupling(..., context=10)`).
        image_shape: `(height, width, channels)`.
        prior: object with `sample(n, random, temperature=1.0)` and `log_prob(z)`; None is N(0, I). Defaults to None.
        dequantisation: `bijectors.VariationalDequantisation`, which draws u; None draws it evenly. Defaults to None.
        bits: int from 1 to 8. Bits of a number that the density is of: with 5 it is of 32 levels, 8 neighbours of the 256 taken
            for one, as in Glow's published CelebA-HQ and LSUN. Fewer bits have fewer bits a dimension, so that these do not
            compare: scores say "5bit". Defaults to 8.
        **kwargs: `num_classes`, `condition_dim`, what the context is made of; `seed`, `ema`, `name`, `dtype`, as in
            `GenerativeModel`.

    Raises:
        ValueError: bijectors that do not take such images to vectors of as many dimensions, or whose context is another than the
            condition; bits that are no number from 1 to 8.

    Example:

    >>> model = gz.build("glow", image_shape=(28, 28, 1), width=8, steps=1)
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.bits_per_dim(images).shape
    TensorShape([64])
    >>> float(np.abs(model.reconstruct(x) - x).max()) < 1e-3
    True
    """

    terms = ("bits_per_dim",)
    optimizers = {"optimizer": ("bijectors", "prior", "dequantisation")}
    averaged = ("bijectors", "prior", "dequantisation")
    _temperature = 1.0  # of the draws of a running `sample`

    def __init__(self, bijectors, image_shape, prior=None, dequantisation=None, bits=8, **kwargs):
        super().__init__(**kwargs)
        self.bijectors = list(bijectors)
        self._image_shape = image_size(image_shape)
        self.prior = StandardNormal(math.prod(image_shape)) if prior is None else prior
        self.dequantisation = dequantisation
        self.bits = whole(bits=bits)
        if self.bits > 8:
            raise ValueError(f"bits is {bits}, expected at most 8, as images have 256 levels.")
        self._chain = Chain(self.bijectors, dtype=self.bijectors[0].dtype_policy if self.bijectors else None)
        self._check_context()
        zeros = [tf.zeros((1, self.condition_units))] if self.condition_units else []
        shape = tuple(forward_of(self._chain, tf.fill((1, *self._image_shape), 0.5), False, *zeros)[0].shape[1:])
        if shape != (math.prod(image_shape),):
            raise ValueError(
                f"the bijectors put out shape {shape}, expected ({math.prod(image_shape)},): vectors of as many dimensions as an "
                f"image; end with bijectors.Flatten."
            )

    def _check_context(self):
        units, conditional = self.condition_units, self._chain.conditional
        if conditional and not units:
            raise ValueError(
                "a bijector depends on a context, which images have none of; give num_classes= or condition_dim=, or build it "
                "without context=."
            )
        parts = [each for each in self._chain._flatten_layers() if getattr(each, "conditional", False)]
        networks = [each.network for each in parts if hasattr(each, "network")]
        known = {input_shapes(each, "the network", any_size=True)[-1][0] for each in networks}
        others = (known | {each.context for each in parts if hasattr(each, "context")}) - {units}
        if units and (others or not conditional):
            came = f"a context of {others.pop()} numbers" if others else "no context"
            raise ValueError(f"the condition has {units} numbers, and the flow takes {came}; build it with context={units}.")

    @property
    def image_shape(self):
        return self._image_shape

    @property
    def support(self):
        return "continuous"

    @property
    def log_prob_label(self):
        return None if self.bits == 8 else f"{self.bits}bit"

    def to_bits_per_dim(self, log_prob, *support):
        return super().to_bits_per_dim(log_prob, *support) - (8 - self.bits)  # which counts 256 levels

    def prepare(self, first_batch, dataset):
        """Let layers that depend on data, as `ActNorm`, take their values from `some_images`.

        Two images of even noise are among them, so that no pixel is taken for a constant: what is black in all of these images
        may be white in others.
        """
        some = some_batch(dataset, first_batch)
        x, condition = self.images_of(some), self.condition_of(some)
        points = images.dequantise(x, self.random.uniform(tf.shape(x)), 2**self.bits)
        noise = randomness.latin_hypercube(NOISE, self.image_shape, self.seed)
        context = []
        if condition is not None:  # of the noise that of some images
            context = [tf.concat([condition, tf.gather(condition, tf.range(NOISE) % len(condition))], axis=0)]
        self._chain.initialize(*as_of(self._chain, tf.concat([points, noise], axis=0), *context))

    def _inverse(self, z, *context):
        return ops.cast(self._chain.inverse(*as_of(self._chain, z, *context)), "float32")

    def log_density(self, points, training=False, condition=None):
        """log p of points of the unit cube, in nats, `(batch,)`."""
        z, log_det = forward_of(self._chain, points, training, *_listed(condition))
        return self.prior.log_prob(z) + log_det

    def dequantised_log_prob(self, x, uniform, training=False, condition=None):
        """log p(x) - log q(u | x) of images with noise u, made of uniform noise of their shape, in nats, `(batch,)`."""
        u, log_q = (uniform, 0.0) if self.dequantisation is None else self.dequantisation(x, uniform, training)
        return self.log_density(images.dequantise(x, u, 2**self.bits), training, condition) - log_q

    def terms_of(self, data, random, training):
        x = self.images_of(data)
        log_prob = self.dequantised_log_prob(x, random.uniform(ops.shape(x)), training, self.condition_of(data))
        return {"loss": -log_prob, "bits_per_dim": self.to_bits_per_dim(log_prob)}

    def train_step(self, data):
        terms_of = lambda: self.terms_of(data, self.random, training=True)  # noqa: E731
        return self.track(self.minimize(terms_of, self.optimizers["optimizer"], self.optimizer))

    def test_step(self, data):
        terms_of = lambda: self.terms_of(data, self.random_test, training=False)  # noqa: E731
        return self.track(self.measure(terms_of, self.optimizers["optimizer"]))

    @batched
    def encode(self, x, labels=None, conditions=None):
        """Images to noise `(batch, height * width * channels)`, of a conditional model by their labels and vectors; of each level
        the middle is taken."""
        points = images.to_cube(self.images_of(x), 2**self.bits)
        return forward_of(self._chain, points, False, *_listed(self.told(labels, conditions)))[0]

    @batched
    def decode(self, z, labels=None, conditions=None):
        """Noise to images in [0, 1], of a conditional model by labels and vectors; the exact inverse of `encode`."""
        return self.images_from(z, self.told(labels, conditions))

    def images_from(self, z, condition=None):
        """Noise, and the condition if there is one, to images in [0, 1]."""
        return images.from_cube(self._inverse(z, *_listed(condition)))

    def between(self, z0, z1, position):
        # Another prior's draws need not lie on a sphere.
        way = codes.spherical if isinstance(self.prior, StandardNormal) else codes.straight
        return way(z0, z1, position)

    def call(self, x):
        """log p of the middles of the images' levels, in nats, `(batch,)`; conditional models take a batch, as `(images,
        labels)`."""
        with self.averaged_weights():
            return self.log_density(images.to_cube(self.images_of(x), 2**self.bits), condition=self.condition_of(x))

    def draw_latents(self, n, random):
        """n draws of the prior."""
        return self.prior.sample(n, random, **({} if self._temperature == 1 else {"temperature": self._temperature}))

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
            n, seed, batch_size, labels, averaged, latents, conditions: as in `Conditional.sample`.
            temperature: float of at least 0. What the prior multiplies its deviations with: below 1, images are more typical and
                less varied (Kingma and Dhariwal 2018, section 6). Defaults to 1.

        Returns:
            float32 array `(n, height, width, channels)` in [0, 1].

        Raises:
            ValueError: a temperature that is no number of at least 0, or that the prior does not take; one beside latents, which
                it would scale as they are drawn.
        """
        self._temperature = self._checked_temperature(temperature, latents)
        try:
            return super().sample(n, seed, batch_size, labels, averaged, latents, conditions=conditions)
        finally:
            self._temperature = 1.0

    def _checked_temperature(self, temperature, latents):
        if not (isinstance(temperature, numbers.Real) and 0 <= temperature < math.inf):  # false for NaN
            raise ValueError(f"temperature is {temperature!r}, expected a number of at least 0, as 0.7.")
        if temperature != 1 and "temperature" not in inspect.signature(self.prior.sample).parameters:
            raise ValueError(
                f"temperature is {temperature!r}, but {type(self.prior).__name__}.sample takes none; give it an argument "
                f"temperature=1.0 that scales its deviations."
            )
        if temperature != 1 and latents is not None:
            raise ValueError(f"temperature is {temperature!r}, but latents were given; scale these, and leave temperature out.")
        return float(temperature)

    def mass_inside(self, n=1000, seed=0):
        """The share of the model's mass within the unit cube, by n draws of the prior: 1 where the first bijectors end there, as
        `Untruncate` does; with `Logit`, less."""
        inside = lambda points: tf.reduce_all((points >= 0) & (points <= 1), axis=(1, 2, 3))  # noqa: E731
        found = []
        with self.averaged_weights():
            for start in range(0, whole(n=n), 256):
                count = min(256, n - start)
                told = self._told(count, seed + start, None, None)
                z = self.prior.sample(count, randomness.RowStream(seed, start))
                found.append(inside(self._inverse(z, *_listed(told and told.rows))))
        return float(np.mean(np.concatenate(found)))

    @batched
    def log_prob(self, x, samples=1, seed=0, labels=None, conditions=None):
        """The exact log density at the dequantised image, less that of noise which a network draws, averaged over draws of the
        dequantisation.

        The density is over all that the bijectors make of noise. Recipes with `marginals` end in the unit cube. Behind a `Logit`
        it is over a cube that is a little larger: of the unit cube it is then a lower bound, by the logarithm of `mass_inside`.

        Args:
            x: images.
            samples: int. Draws of the dequantisation per image. Defaults to 1.
            seed: int. Of the draws. Defaults to 0.
            labels, conditions: arrays `(batch,)` and `(batch, condition_dim)`, of conditional models alone: log p(x | c). Without
                labels it is the density of images of `sample`, whose labels are uniform. Default to None.

        Returns:
            Nats per image, float32 `(batch,)`.
        """
        samples = whole(samples=samples)
        x = self.images_of(x)

        def add_draw(draw, total):
            uniform = randomness.uniform(self.noise_key(seed, draw), tf.shape(x))
            given = lambda condition: self.dequantised_log_prob(x, uniform, condition=condition)  # noqa: E731
            return draw + 1, total + self.over_classes(given, tf.shape(x)[0], labels, conditions)

        return tf.while_loop(lambda draw, _: draw < samples, add_draw, (0, tf.zeros(tf.shape(x)[:1])))[1] / samples


def _listed(condition):
    """The context that bijectors are handed, none or one."""
    return [] if condition is None else [condition]
