"""Autoencoders (Hinton and Salakhutdinov 2006)."""

import keras
import numpy as np
from keras import ops

from keras_genzoo import distances
from keras_genzoo.base import GenerativeModel, available_if, check_output, inference


@keras.saving.register_keras_serializable("keras_genzoo")
class Autoencoder(GenerativeModel):
    """A code from which the image can be told again.

    The loss is the mean distance between images and their reconstructions, summed over pixels and channels:

        loss = E_x[dist(x, decoder(encoder(x)))]

    An autoencoder is no distribution. With `prior`, a mixture of Gaussians is fitted to the codes after training
    (Ghosh et al. 2020, section 4), and `sample` decodes its draws.

    Args:
        encoder: keras.Model. Images `(batch, height, width, channels)` in [0, 1] to codes `(batch, latent_dim)`.
        decoder: keras.Model. Codes to images of the same shape.
        distance: "l1", "l2" (the squared one), a dict of weights such as `{"l1": 0.5, "l2": 0.5}`, or a registered callable
            `(x, y) -> (batch,)`. Defaults to "l2".
        prior: `priors.GaussianMixture` over the codes, or None. Defaults to None.
        **kwargs: `seed`, `ema`, `name`, `dtype`, as in `GenerativeModel`.

    Example:

    >>> model = gz.build("autoencoder", image_shape=(28, 28, 1))
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.reconstruct(images).shape
    TensorShape([64, 28, 28, 1])
    >>> model.fit_prior(images, "gaussian")
    >>> model.sample(16, seed=0).shape
    (16, 28, 28, 1)
    """

    terms = ("reconstruction_loss",)
    optimizers = {"optimizer": ("encoder", "decoder")}
    averaged = ("encoder", "decoder")

    def __init__(self, encoder, decoder, distance="l2", prior=None, **kwargs):
        super().__init__(**kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.distance = distance
        self.prior = prior
        self._dist = distances.get(distance)
        check_output(encoder, "encoder", tuple(decoder.input_shape[1:]))
        check_output(decoder, "decoder", self.image_shape)

    @inference
    def encode(self, x):
        """Images to codes `(batch, latent_dim)`."""
        return self.encoder(self.images_of(x), training=False)

    @inference
    def decode(self, z):
        """Codes to images in [0, 1]."""
        return ops.clip(self.decoder(z, training=False), 0.0, 1.0)

    def call(self, x):
        """The reconstruction of `x`."""
        return self.reconstruct(x)

    @available_if(lambda self: self.prior is not None, "it was built without a prior")
    def fit_prior(self, dataset, kind="mixture", seed=0):
        """Fit the prior to the codes of a data set, so that the model can sample.

        Args:
            dataset: images, or a `tf.data.Dataset` of batches; at most 20,000 images are used.
            kind: "mixture", with all components of the prior, or "gaussian", with one. Defaults to "mixture".
            seed: int. Of the fit. Defaults to 0.
        """
        if kind not in ("gaussian", "mixture"):
            raise ValueError(f"kind is {kind!r}, expected 'gaussian' or 'mixture'.")
        codes = []
        for batch in dataset if hasattr(dataset, "element_spec") else np.array_split(dataset, -(-len(dataset) // 256)):
            codes.append(self.encode(batch))
            if sum(map(len, codes)) >= 20_000:
                break
        self.prior.fit(np.concatenate(codes), components=1 if kind == "gaussian" else None, seed=seed)

    @available_if(
        lambda self: self.prior is not None and getattr(self.prior, "fitted", True),
        "its prior over codes is not fitted",
    )
    def draw_latents(self, n, random):
        """n codes from the prior."""
        return self.prior.sample(n, random)

    def distance_terms(self, x, training):
        reconstruction = self._dist(x, self.decoder(self.encoder(x, training=training), training=training))
        return {"loss": reconstruction, "reconstruction_loss": reconstruction}

    def train_step(self, data):
        x = self.images_of(data)
        terms = self.minimize(lambda: self.distance_terms(x, training=True), ("encoder", "decoder"), self.optimizer)
        return self.track(terms)

    def test_step(self, data):
        x = self.images_of(data)
        return self.track(self.measure(lambda: self.distance_terms(x, training=False), ("encoder", "decoder")))
