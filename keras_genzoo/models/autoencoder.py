"""Autoencoders (Hinton and Salakhutdinov 2006), and what keeps them from learning the identity."""

import keras
from keras import ops

from keras_genzoo import distances, regularizers
from keras_genzoo.core.batches import unpack
from keras_genzoo.core.checks import check_output, check_told, input_shapes
from keras_genzoo.core.conditions import Conditional, beside
from keras_genzoo.core.images import to_unit
from keras_genzoo.core.inference import available_if, batched
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.models.coded import Coded
from keras_genzoo.regularizers import get_corruption


@keras.saving.register_keras_serializable("keras_genzoo")
class Autoencoder(Coded, Conditional, GenerativeModel):
    """A code from which the image can be told again.

    The loss is the mean distance between images and their reconstructions, summed over pixels and channels:

        loss = E_x[dist(x, decoder(encoder(x)))] + sum_i weight_i regularizer_i

    With `corruption` the encoder sees corrupted images and the loss still compares with the clean ones (Vincent et al. 2008),
    in validation too. One linear layer each way and "l2" learn the subspace of principal component analysis (Baldi and Hornik
    1989). A plain autoencoder does not define a distribution. With `prior`, `fit_prior` fits a mixture of Gaussians to the codes
    after training (Ghosh et al. 2020, section 4), and `sample` decodes its draws. Further training makes the fit out of date and
    clears it.

    Args:
        encoder: keras.Model. Images `(batch, height, width, channels)` in [0, 1] to codes `(batch, latent_dim)`. With classes or
            vectors its second input is the condition, as `networks.told` makes it; the decoder's too.
        decoder: keras.Model. Codes to images of the same shape.
        distance: "l1", "l2" (the squared one), a dict of weights such as `{"l1": 0.5, "l2": 0.5}`, or a registered callable
            `(x, y) -> (batch,)`. Defaults to "l2".
        prior: what `fit_prior` fits to the codes: `priors.GaussianMixture`, of a conditional model what `priors.mixture_for`
            gives; or None. Defaults to None.
        regularizers: list of `regularizers.Regularizer`, each of another term, or a dict of weights by name, such as
            `{"code_norm": 0.1}`. Defaults to none.
        corruption: "gaussian", "masking", "salt_and_pepper", a `regularizers.Corruption` or None. Defaults to None.
        **kwargs: `num_classes`, `condition_dim`, what the networks are told; `seed`, `ema`, `name`, `dtype`, as in
            `GenerativeModel`.

    Example:

    >>> model = gz.build("autoencoder", image_shape=(28, 28, 1))
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.reconstruct(images).shape
    TensorShape([64, 28, 28, 1])
    >>> fitted = model.fit_prior(images, "gaussian")
    >>> model.sample(16, seed=0).shape
    (16, 28, 28, 1)
    """

    optimizers = {"optimizer": ("encoder", "decoder")}
    averaged = ("encoder", "decoder")

    def __init__(self, encoder, decoder, distance="l2", prior=None, regularizers=(), corruption=None, **kwargs):
        super().__init__(**kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.distance = distance
        self.prior = prior
        self.regularizers = _checked(regularizers, encoder, decoder)
        self.corruption = get_corruption(corruption)
        self._dist = distances.get(distance)
        self.check_encoder(input_shapes(decoder, "decoder")[0])
        check_output(decoder, "decoder", self.image_shape)
        for name in ("encoder", "decoder"):
            check_told(getattr(self, name), name, self.condition_units)

    def check_encoder(self, code):
        """Raise one sentence unless the encoder puts out codes of this shape."""
        check_output(self.encoder, "encoder", code)

    @property
    def terms(self):
        return ("reconstruction_loss", *(each.term for each in self.regularizers))

    @property
    def least_rows(self):
        return max((each.least_rows for each in self.regularizers), default=1)

    @batched
    def encode(self, x, labels=None, conditions=None):
        """Images to codes `(batch, latent_dim)`; of a conditional model by their labels and vectors."""
        x = self.images_of(x)
        return self.encoder(beside(x, self.told(labels, conditions)), training=False)

    @batched
    def decode(self, z, labels=None, conditions=None):
        """Codes to images in [0, 1]; of a conditional model by labels and vectors."""
        return self.images_from(z, self.told(labels, conditions))

    def images_from(self, z, condition=None):
        """Codes, and the condition if there is one, to images in [0, 1]."""
        return ops.clip(self.decoder(beside(z, condition), training=False), 0.0, 1.0)

    def call(self, x):
        """The reconstruction of `x`; conditional models take a batch, as `(images, labels)`."""
        return self.reconstruct(unpack(x)[0], **self.settings_of(x))

    def density(self):
        return self.prior

    @property
    def sample_needs(self):
        if self.prior is None:
            return "a plain autoencoder does not define a distribution; build it with prior=priors.GaussianMixture(latent_dim)"
        return "its prior is not fitted to the codes, or it was trained since; call fit_prior(images) first"

    @available_if(lambda self: getattr(self.prior, "fitted", self.prior is not None), lambda self: self.sample_needs)
    def draw_latents(self, n, random, condition=None):
        """n codes from the prior."""
        return self.drawn_codes(n, random, condition)

    def encoded(self, x, random, training, condition=None):
        """The codes that the loss is of, with gradients."""
        return self.encoder(beside(x, condition), training=training)

    def distances_of(self, data, x, reconstructions):
        """What reconstructions are compared with, and how: `(batch,)`."""
        return self._dist(x, reconstructions)

    def objective(self, data, random, training):
        """The terms of the loss, of a batch as `fit` hands it over; and "codes", which they were computed of."""
        x, condition = self.images_of(data), self.condition_of(data)
        z = self.encoded(x if self.corruption is None else self.corruption(x, random), random, training, condition)
        reconstruction = self.distances_of(data, x, self.decoder(beside(z, condition), training=training))
        terms = {"loss": reconstruction, "reconstruction_loss": reconstruction, "codes": z}
        for each in self.regularizers:
            terms[each.term] = each(self, x, z, random, training)
            terms["loss"] = terms["loss"] + each.weight * terms[each.term]
        return terms

    def train_step(self, data):
        terms_of = lambda: self.objective(data, self.random, training=True)  # noqa: E731
        return self.track(self.minimize(terms_of, self.optimizers["optimizer"], self.optimizer))

    def test_step(self, data):
        terms_of = lambda: self.objective(data, self.random_test, training=False)  # noqa: E731
        return self.track(self.measure(terms_of, self.optimizers["optimizer"]))


def _checked(given, encoder, decoder):
    """Regularizers as a list, each of a metric of its own, and of networks they can be computed of."""
    given = regularizers.get(given)
    for each in given:
        each.check(encoder, decoder)
    terms = [each.term for each in given]
    if len(set(terms)) < len(terms):
        raise ValueError(f"regularizers have the terms {', '.join(terms)}, expected each but once; add up their weights.")
    return given


@keras.saving.register_keras_serializable("keras_genzoo")
class SmoothAutoencoder(Autoencoder):
    """The code of an image tells its neighbours: near images get near codes (Liang et al. 2015, "Representation learning with
    smooth autoencoder").

        loss = E_i[sum_j w_ij dist(x_j, decoder(encoder(x_i)))] + sum_i weight_i regularizer_i

    over the k nearest neighbours j of image i in the training set, with the weights of a Gaussian kernel that sum to 1. Both come
    with the batches, as the named extras "neighbours" and "neighbour_weights" that `gz.data.load(..., neighbours=k)` adds.
    The paper has `regularizers.SparseKL` beside it.

    Args:
        neighbours: int. How many the data are loaded with (`data_needs`). Defaults to 5.
        **others: as in `Autoencoder`.

    Example:

    >>> model = gz.build("smooth_autoencoder", image_shape=(28, 28, 1), neighbours=3)
    >>> model.fit(gz.data.load(images, batch_size=32, **model.data_needs), epochs=1, verbose=0)
    """

    def __init__(self, encoder, decoder, distance="l2", prior=None, regularizers=(), corruption=None, neighbours=5, **kwargs):
        super().__init__(encoder, decoder, distance, prior, regularizers, corruption, **kwargs)
        self.neighbours = neighbours

    @property
    def data_needs(self):
        return {**super().data_needs, "neighbours": self.neighbours}

    def distances_of(self, data, x, reconstructions):
        neighbours, weights = (self.extra_of(data, name) for name in ("neighbours", "neighbour_weights"))
        count = neighbours.shape[1]
        shown = ops.reshape(to_unit(neighbours), (-1, count, *self.image_shape))
        weights = ops.cast(weights, "float32")
        return sum(weights[:, j] * self._dist(shown[:, j], reconstructions) for j in range(count))
