"""Diffusion in the codes of an autoencoder."""

import math

import keras
from keras import ops

from keras_genzoo import distances
from keras_genzoo.core.checks import input_shapes
from keras_genzoo.core.conditions import Conditional
from keras_genzoo.core.inference import batched, inference
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.layers import SynchronizedBatchNormalization
from keras_genzoo.models.autoencoder import Autoencoder


class BatchNormalization(SynchronizedBatchNormalization):
    """Of all replicas' codes. Keras stores it by its class's name, which in files of version 0.1.0 is this."""


@keras.saving.register_keras_serializable("keras_genzoo")
class LatentDiffusion(Conditional, GenerativeModel):
    """A diffusion model of the codes of an autoencoder (Rombach et al. 2022, arXiv:2112.10752).

    Codes are brought to mean 0 and variance 1 by running averages. The autoencoder comes trained, or learns in the same steps
    by its own loss, `autoencoder_loss`, and optimizer; no gradient of the diffusion model's loss reaches it.

    Args:
        autoencoder: `Autoencoder`, without `ema` of its own; or, with `train_autoencoder=False`, any trained model of this zoo
            that encodes images to vectors and decodes them, as a `VAE`, of whose codes the means are taken.
        diffusion: `Diffusion` of images of shape `(1, 1, latent_dim)`, not clipped, without `ema` of its own.
        train_autoencoder: bool. Whether the autoencoder learns along. Defaults to True.
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

    def __init__(self, autoencoder, diffusion, train_autoencoder=True, **kwargs):
        told = {"num_classes": diffusion.num_classes, "condition_dim": diffusion.condition_dim}
        if others := [name for name, number in told.items() if kwargs.get(name, number) != number]:
            raise ValueError(
                f"{others[0]} is {kwargs[others[0]]}, and that of the diffusion model is {told[others[0]]}; leave it out."
            )
        super().__init__(**kwargs | told)
        self.autoencoder = autoencoder
        self.diffusion = diffusion
        self.train_autoencoder = train_autoencoder
        if train_autoencoder and type(autoencoder) is not Autoencoder:
            raise ValueError(
                f"a {type(autoencoder).__name__} cannot learn along, as an Autoencoder can; train it first and pass "
                f"train_autoencoder=False."
            )
        self._distance = distances.get(getattr(autoencoder, "distance", "l2"))
        codes = math.prod(input_shapes(autoencoder.decoder, "decoder")[0])
        if diffusion.image_shape != (1, 1, codes) or diffusion.clip:
            raise ValueError(
                f"the diffusion model is of shape {diffusion.image_shape} with clip={diffusion.clip}, expected (1, 1, {codes}), "
                f"the autoencoder's codes, which have no bounds, and clip=False."
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
        self.normalize.build((None, codes))

    @property
    def terms(self):
        return ("reconstruction_loss", *(["autoencoder_loss"] if self.train_autoencoder else []))

    @property
    def image_shape(self):
        return self.autoencoder.image_shape

    @property
    def evaluations_per_sample(self):
        """How often `sample` evaluates the network for an image unless told otherwise."""
        return self.diffusion.evaluations_per_sample

    @batched
    def encode(self, x):
        """Images to the autoencoder's codes, `(batch, latent_dim)`."""
        return self.autoencoder.encode(x)

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
        """n times standard normal noise of the codes' shape, `(n, 1, 1, latent_dim)`."""
        return self.diffusion.draw_latents(n, random)

    @inference
    def generate(self, latents, **settings):
        codes = self.diffusion.walk(latents, **settings)[:, 0, 0]
        spread = ops.sqrt(self.normalize.moving_variance + self.normalize.epsilon)
        return self.autoencoder.decode(codes * spread + self.normalize.moving_mean)

    def _diffusion_terms(self, x, labels, random, training):
        codes = ops.stop_gradient(self.autoencoder.encode(x))
        codes = self.normalize(codes, training=training)[:, None, None, :]
        error, factor, t = self.diffusion.errors(codes, labels, random, training)
        if training:
            self.diffusion.time_sampling.update(t, ops.stop_gradient(error), self.diffusion.schedule)
        return {"loss": factor * error}

    def _reconstruction_terms(self, x, random, training):
        if self.train_autoencoder:
            terms = self.autoencoder.objective(x, random, training)
            return {**terms, "autoencoder_loss": terms["loss"]}
        return {"reconstruction_loss": self._distance(x, self.autoencoder.reconstruct(x))}

    def train_step(self, data):
        x, labels = self.images_of(data), self.condition_of(data)
        objective = lambda: self._reconstruction_terms(x, self.random, True)  # noqa: E731
        if self.train_autoencoder:
            reconstruction = self.minimize(objective, ("autoencoder",), self.autoencoder_optimizer)
        else:
            reconstruction = objective()
        terms = self.minimize(
            lambda: self._diffusion_terms(x, labels, self.random, True), ("diffusion", "normalize"), self.optimizer
        )
        return self.track({**reconstruction, **terms})

    def test_step(self, data):
        x, labels = self.images_of(data), self.condition_of(data)

        reconstruction_of = lambda: {"loss": 0.0, **self._reconstruction_terms(x, self.random_test, False)}  # noqa: E731
        reconstruction = self.measure(reconstruction_of, ("autoencoder",))
        terms_of = lambda: self._diffusion_terms(x, labels, self.random_test, False)  # noqa: E731
        return self.track({**reconstruction, **self.measure(terms_of, ("diffusion", "normalize"))})
