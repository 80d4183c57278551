"""Diffusion in the codes of an autoencoder."""

import math

import keras
import numpy as np
from keras import ops

from keras_genzoo.core import memory, order
from keras_genzoo.core.batches import extra
from keras_genzoo.core.checks import input_shapes
from keras_genzoo.core.conditions import Conditional
from keras_genzoo.core.inference import batched, inference
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.layers import SynchronizedBatchNormalization
from keras_genzoo.models.autoencoder import Autoencoder, KLAutoencoder

CODES = "codes"  # the name of the extra of batches whose codes are known
SHARE = 0.5  # of the free memory, that codes may take
PIECE = 1024  # images that are encoded together


class BatchNormalization(SynchronizedBatchNormalization):
    """Of all replicas' codes. Keras stores it by its class's name, which in files of version 0.1.0 is this."""


@keras.saving.register_keras_serializable("keras_genzoo")
class LatentDiffusion(Conditional, GenerativeModel):
    """A diffusion model of the codes of an autoencoder (Rombach et al. 2022, arXiv:2112.10752).

    Codes are vectors, or they have space: grids of vectors, `(rows, columns, channels)`. Each element of vectors, and each
    channel of grids, is brought to mean 0 and variance 1 by running averages. The paper divides grids by one deviation, that of
    the first batch (appendix G). Of random codes the means are taken, and of quantised ones what the encoder puts out before, so
    that the decoder quantises. The autoencoder comes trained and stays as it is; or it learns in the same steps by its own loss,
    `autoencoder_loss`, and optimizer, and no gradient of the diffusion model's loss reaches it.

    Args:
        autoencoder: `Autoencoder` or `KLAutoencoder`, without a `game` and without `ema` of its own; or, with
            `train_autoencoder=False`, any trained model of this zoo that encodes images and decodes codes, as a `VAE` or a
            `VQVAE`.
        diffusion: `Diffusion` of images of the shape of the codes that the decoder takes, not clipped, without `ema` of its own.
            Vectors, and grids that are to be taken for vectors, have the shape `(1, 1, numbers)`.
        train_autoencoder: bool. Whether the autoencoder learns along. Defaults to True.
        cache_codes: bool. Whether `fit` encodes the images once, of an autoencoder that does not learn along, and trains on their
            codes in the same order as on the images. It does so with arrays, and with what `gz.data.load` gives where images have
            numbers, mirrored ones (`flip=True`) too; where the codes take at most half of the free memory. Images of any other
            data, as of a pipeline that augments them, are encoded in every step. Defaults to True.
        **kwargs: `seed`, `ema` (of both), `name`, `dtype`, as in `GenerativeModel`.

    Classes and vectors are those of the diffusion model; the autoencoder is told nothing.

    Raises:
        ValueError: an autoencoder that cannot learn along, or is told classes or vectors; a diffusion model of another shape than
            the codes, or one that clips; a part with `ema`.

    Example:

    >>> model = gz.build("latent_diffusion", image_shape=(28, 28, 1), width=64, autoencoder_width=64)
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.sample(4, seed=0, steps=20).shape
    (4, 28, 28, 1)
    """

    optimizers = {"optimizer": ("diffusion",), "autoencoder_optimizer": ("autoencoder",)}
    averaged = ("autoencoder", "diffusion", "normalize")
    keyed = marked = True

    def __init__(self, autoencoder, diffusion, train_autoencoder=True, cache_codes=True, **kwargs):
        told = {"num_classes": diffusion.num_classes, "condition_dim": diffusion.condition_dim}
        if others := [name for name, number in told.items() if kwargs.get(name, number) != number]:
            raise ValueError(
                f"{others[0]} is {kwargs[others[0]]}, and that of the diffusion model is {told[others[0]]}; leave it out."
            )
        super().__init__(**kwargs | told)
        self.autoencoder = autoencoder
        self.diffusion = diffusion
        self.train_autoencoder = train_autoencoder
        self.cache_codes = cache_codes
        self._check_learning()
        self._code = input_shapes(autoencoder.decoder, "decoder")[0]
        flat = 1, 1, math.prod(self._code)
        self._grid, expected = diffusion.image_shape, self._code if len(self._code) == 3 else flat
        if self._grid not in (expected, flat) or diffusion.clip:
            raise ValueError(
                f"the diffusion model is of shape {self._grid} with clip={diffusion.clip}, expected {expected}, the "
                f"autoencoder's codes, which have no bounds, and clip=False."
            )
        if diffusion.learns_variance:
            raise ValueError(
                "the diffusion model learns its variance by the levels of pixels, and codes have none; give it a network that "
                "puts out as many channels as it takes."
            )
        if diffusion.dequantise:
            raise ValueError("dequantise is True, and codes have no levels within which to draw noise; take dequantise=False.")
        if diffusion.augment is not None:
            raise ValueError(f"augment is {diffusion.augment!r}, and codes have no sides to mirror; take augment=None.")
        if units := getattr(autoencoder, "condition_units", 0):
            raise ValueError(
                f"the autoencoder is told {units} numbers of classes and vectors, expected none; tell the diffusion model alone."
            )
        for part in (autoencoder, diffusion):
            if part.ema is not None:
                raise ValueError(f"{type(part).__name__} has ema={part.ema} of its own; give ema to LatentDiffusion alone.")
        self.normalize = BatchNormalization(center=False, scale=False, dtype="float32", name="normalize")
        self.normalize.build((None, *self._grid))

    def _check_learning(self):
        """Raise one sentence if the autoencoder is to learn along and cannot."""
        if not self.train_autoencoder:
            return
        if type(self.autoencoder) not in (Autoencoder, KLAutoencoder):
            raise ValueError(
                f"a {type(self.autoencoder).__name__} cannot learn along, as an Autoencoder can; train it first and pass "
                f"train_autoencoder=False."
            )
        if self.autoencoder.game is not None:
            raise ValueError(
                "the autoencoder has a game, and cannot learn along; train it first and pass train_autoencoder=False."
            )

    @property
    def terms(self):
        return ("reconstruction_loss", "autoencoder_loss") if self.train_autoencoder else ()

    @property
    def image_shape(self):
        return self.autoencoder.image_shape

    @property
    def evaluations_per_sample(self):
        """How often `sample` evaluates the network for an image unless told otherwise."""
        return self.diffusion.evaluations_per_sample

    @batched
    def encode(self, x):
        """Images to the autoencoder's codes, `(batch, latent_dim)` or `(batch, rows, columns, channels)`."""
        return self._encoded(x)

    @batched
    def decode(self, z):
        """Codes to images in [0, 1]."""
        return self.autoencoder.decode(z)

    def call(self, x):
        """The autoencoder's reconstruction of `x`."""
        return self.reconstruct(self.images_of(x))

    def sample(
        self,
        n=None,
        seed=None,
        batch_size=256,
        labels=None,
        averaged=True,
        steps=None,
        sampler=None,
        guidance=None,
        spacing=None,
        guidance_interval=None,
        latents=None,
        conditions=None,
    ):
        """Draw images; arguments as in `Diffusion.sample`."""
        settings = self.diffusion.sampling_settings(steps, sampler, guidance, spacing, guidance_interval)
        return super().sample(n, seed, batch_size, labels, averaged, latents, conditions=conditions, **settings)

    def draw_latents(self, n, random):
        """n times standard normal noise of the codes' shape, `(n, rows, columns, channels)`, or `(n, 1, 1, latent_dim)`."""
        return self.diffusion.draw_latents(n, random)

    @inference
    def generate(self, latents, **settings):
        spread = ops.sqrt(self.normalize.moving_variance + self.normalize.epsilon)
        codes = self.diffusion.walk(latents, **settings) * spread + self.normalize.moving_mean
        return self.autoencoder.decode(ops.reshape(codes, (-1, *self._code)))

    # Training

    def _encoded(self, x):
        return getattr(self.autoencoder, "encode_continuous", self.autoencoder.encode)(x)

    def supplement(self, dataset):
        found = None if self.train_autoencoder or not self.cache_codes else order.by_number(dataset)
        if found is None or 4 * found[1] * math.prod(self._code) > SHARE * memory.free():
            return dataset
        images_of, count = found
        codes = np.empty((count, *self._code), np.float32)
        for start in range(0, count, PIECE):
            numbers = np.arange(start, min(start + PIECE, count))
            codes[numbers] = self._encoded(images_of(numbers))
        return order.with_extra(dataset, CODES, codes)

    def _codes_of(self, data):
        """The codes of a batch, in the shape of the diffusion model's images."""
        known = extra(data, CODES) is not None
        codes = self.extra_of(data, CODES) if known else ops.stop_gradient(self._encoded(self.images_of(data)))
        return ops.reshape(codes, (-1, *self._grid))

    def _diffusion_terms(self, data, labels, random, training):
        codes = self.normalize(self._codes_of(data), training=training)
        error, factor, t = self.diffusion.errors(codes, labels, random, training)
        if training:
            self.diffusion.time_sampling.update(t, ops.stop_gradient(error), self.diffusion.schedule)
        return {"loss": factor * error}

    def _reconstruction_terms(self, x, random, training):
        terms = self.autoencoder.objective(x, random, training)
        return {**terms, "autoencoder_loss": terms["loss"]}

    def train_step(self, data):
        labels, reconstruction = self.condition_of(data), {}
        if self.train_autoencoder:
            objective = lambda: self._reconstruction_terms(self.images_of(data), self.random, True)  # noqa: E731
            reconstruction = self.minimize(objective, ("autoencoder",), self.autoencoder_optimizer)
        terms = self.minimize(
            lambda: self._diffusion_terms(data, labels, self.random, True), ("diffusion", "normalize"), self.optimizer
        )
        return self.track({**reconstruction, **terms})

    def test_step(self, data):
        labels, reconstruction = self.condition_of(data), {}
        if self.train_autoencoder:
            objective = lambda: self._reconstruction_terms(self.images_of(data), self.random_test, False)  # noqa: E731
            reconstruction = self.measure(objective, ("autoencoder",))
        terms_of = lambda: self._diffusion_terms(data, labels, self.random_test, False)  # noqa: E731
        return self.track({**reconstruction, **self.measure(terms_of, ("diffusion", "normalize"))})
