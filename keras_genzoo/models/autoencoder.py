"""Autoencoders (Hinton and Salakhutdinov 2006), and what keeps them from learning the identity."""

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo import distances, divergences, regularizers
from keras_genzoo.core.batches import unpack
from keras_genzoo.core.checks import check_output, check_posterior, check_told, input_shapes, real
from keras_genzoo.core.conditions import Conditional, beside
from keras_genzoo.core.images import to_unit
from keras_genzoo.core.inference import available_if, batched
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.models.coded import Coded, GaussianCodes
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
        encoder: keras.Model. Images `(batch, height, width, channels)` in [0, 1] to codes `(batch, latent_dim)`, or to codes with
            space, `(batch, rows, columns, channels)`. With classes or vectors its second input is the condition, as
            `networks.told` makes it; the decoder's too.
        decoder: keras.Model. Codes to images of the same shape.
        distance: "l1", "l2" (the squared one), a dict of weights such as `{"l1": 0.5, "l2": 0.5}`, or a registered callable
            `(x, y) -> (batch,)`. Defaults to "l2".
        prior: what `fit_prior` fits to the codes, those with space flattened: `priors.GaussianMixture`, `FlowPrior` or
            `TwoStagePrior`, of a conditional model what `priors.mixture_for` gives; or None. Defaults to None.
        regularizers: list of `regularizers.Regularizer`, each of another term, or a dict of weights by name, such as
            `{"code_norm": 0.1}`. Defaults to none.
        corruption: "gaussian", "masking", "salt_and_pepper", a `regularizers.Corruption` or None. Defaults to None.
        game: `adversarial.PatchGame` or None. Adds a term by which reconstructions get sharp. Its critic makes a step with
            `critic_optimizer` after each of the autoencoder. `fit` prints `adversarial_loss`, `critic_loss`, and in training
            `game_weight`, the adaptive weight lambda; the `loss` of validation leaves the game out. Defaults to None.
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

    averaged = ("encoder", "decoder")

    def __init__(self, encoder, decoder, distance="l2", prior=None, regularizers=(), corruption=None, game=None, **kwargs):
        super().__init__(**kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.distance = distance
        self.prior = prior
        self.regularizers = _checked(regularizers, encoder, decoder)
        self.corruption = get_corruption(corruption)
        self.game = game
        self._dist = distances.get(distance)
        self._code = input_shapes(decoder, "decoder")[0]
        self.check_encoder(self._code)
        check_output(decoder, "decoder", self.image_shape)
        for name in ("encoder", "decoder"):
            check_told(getattr(self, name), name, self.condition_units)
        if game is not None:
            game.check(self.image_shape)

    def check_encoder(self, code):
        """Raise one sentence unless the encoder puts out codes of this shape."""
        check_output(self.encoder, "encoder", code)

    @property
    def terms(self):
        own = () if self.game is None else ("adversarial_loss", "critic_loss")
        return ("reconstruction_loss", *(each.term for each in self.regularizers), *own)

    @property
    def diagnostics(self):
        """What training alone reports."""
        return () if self.game is None else ("game_weight",)

    @property
    def monitor(self):
        """A game's losses do not tell; the reconstruction does."""
        return "loss" if self.game is None else "reconstruction_loss"

    @property
    def optimizers(self):
        return {"optimizer": ("encoder", "decoder"), **self._optimizer_of_the_game}

    @property
    def _optimizer_of_the_game(self):
        return {} if self.game is None else {"critic_optimizer": ("game",)}

    @property
    def least_rows(self):
        return max((each.least_rows for each in self.regularizers), default=1)

    @batched
    def encode(self, x, labels=None, conditions=None):
        """Images to codes, `(batch, ...)` as the decoder takes them; of a conditional model by their labels and vectors."""
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
        z = self.drawn_codes(n, random, condition)
        return z if len(self._code) == 1 else ops.reshape(z, (-1, *self._code))

    def encoding(self, x, random, training, condition=None):
        """The "codes" that the loss is of, with gradients; and what else is known of them."""
        return {"codes": self.encoder(beside(x, condition), training=training)}

    def encoded(self, x, random, training, condition=None):
        """The codes of `encoding`."""
        return self.encoding(x, random, training, condition)["codes"]

    def distances_of(self, data, x, reconstructions):
        """What reconstructions are compared with, and how: `(batch,)`."""
        return self._dist(x, reconstructions)

    def decoding(self, data, x, z, training, condition=None):
        """What the reconstructions of images x from codes z add to the loss: "loss", "reconstruction_loss", and where there is a
        game its terms, and "shown", the pair that its critic compares."""
        if self.game is None:
            reconstruction = self.distances_of(data, x, self.decoder(beside(z, condition), training=training))
            return {"loss": reconstruction, "reconstruction_loss": reconstruction}
        with tf.GradientTape(persistent=True) as tape:
            y = self.decoder(beside(z, condition), training=training)
            reconstruction, adversarial = self.distances_of(data, x, y), self.game.generator_loss(x, y, training)
            means = ops.mean(reconstruction), adversarial
        terms = {"reconstruction_loss": reconstruction, "adversarial_loss": adversarial, "shown": (x, y)}
        if not training:
            return {"loss": reconstruction, **terms}
        kernels = [variable for variable in self.decoder.trainable_variables if len(variable.shape) > 1]
        balance = self.game.balance(tape, *means, kernels[-1]) if kernels else ops.convert_to_tensor(0.0)
        played = self.game.weight * self.game.share(self._place.now()) * balance * adversarial
        return {"loss": reconstruction + played, "game_weight": balance, **terms}

    def objective(self, data, random, training):
        """The terms of the loss, of a batch as `fit` hands it over; and "codes", which they were computed of."""
        x, condition = self.images_of(data), self.condition_of(data)
        encoding = self.encoding(x if self.corruption is None else self.corruption(x, random), random, training, condition)
        z = encoding["codes"]
        terms = {**self.decoding(data, x, z, training, condition), **encoding}
        for each in self.regularizers:
            terms[each.term] = each(self, x, z, random, training)
            terms["loss"] = terms["loss"] + each.weight * terms[each.term]
        return terms

    def play(self, terms, training):
        """The critic's turn, where there is a game: its loss for what a step of the autoencoder has shown."""
        if self.game is None:
            return {}
        x, y = (ops.stop_gradient(each) for each in terms["shown"])
        share = self.game.share(self._place.now()) if training else 1.0
        critic_of = lambda: self.game.critic_terms(x, y, share, training)  # noqa: E731
        if not training:
            return {"critic_loss": self.measure(critic_of, ("game",))["loss"]}
        critic = self.minimize(critic_of, ("game",), self.critic_optimizer)
        self.game.settle(critic["outputs"])
        return {"critic_loss": critic["loss"]}

    def train_step(self, data):
        terms_of = lambda: self.objective(data, self.random, training=True)  # noqa: E731
        terms = self.minimize(terms_of, self.optimizers["optimizer"], self.optimizer)
        return self.track({**terms, **self.play(terms, training=True)})

    def test_step(self, data):
        terms_of = lambda: self.objective(data, self.random_test, training=False)  # noqa: E731
        terms = self.measure(terms_of, self.optimizers["optimizer"])
        return self.track({**terms, **self.play(terms, training=False)})


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
class KLAutoencoder(GaussianCodes, Autoencoder):
    """The first stage of latent diffusion whose codes are held near N(0, I) by a small KL term (Rombach et al. 2022,
    arXiv:2112.10752, section 3.1 and appendix G, eq. 25).

        loss = E_q[dist(x, decoder(z))] + kl_weight * KL(q(z|x) || N(0, I)) + the term of the game,    q(z|x) = N(mu, sigma^2)

    The distance, "l1" in the paper, is summed over pixels and channels of images in [0, 1], and the KL over all numbers of the
    code, as in the code that goes with the paper, whose images are in [-1, 1]. So small a weight leaves reconstructions as good
    as they are without it, and keeps codes from growing. They do not follow N(0, I): draw them by `LatentDiffusion`, or by a
    `prior` that `fit_prior` fits. The paper adds a distance in the features of a network, which is not here: the networks that
    ship with the package score images, and what was trained on features cannot be ranked by them.

    Args:
        encoder: keras.Model. Images `(batch, height, width, channels)` in [0, 1] to the pair `(mu, log_variance)`, each `(batch,
            rows, columns, channels)`, the second bounded; or each a vector.
        decoder: keras.Model. Codes to images of the same shape.
        kl_weight: float of at least 0. Weight of the KL term. Defaults to 1e-6.
        distance: as in `Autoencoder`. Defaults to "l1".
        **kwargs: `prior`, `regularizers`, `corruption`, `game`, as in `Autoencoder`; `seed`, `ema`, `name`, `dtype`, as in
            `GenerativeModel`.

    Example:

    >>> model = gz.build("kl_autoencoder", image_shape=(28, 28, 1), width=8, critic_width=8)
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.encode(images).shape
    TensorShape([64, 7, 7, 4])
    """

    def __init__(self, encoder, decoder, kl_weight=1e-6, distance="l1", **kwargs):
        super().__init__(encoder, decoder, distance=distance, **kwargs)
        self.kl_weight = real(at_least=0, kl_weight=kl_weight)

    def check_encoder(self, code):
        self.gaussian = True
        check_posterior(self.encoder, "encoder", code)

    @property
    def terms(self):
        return (*super().terms, "kl_loss")

    def objective(self, data, random, training):
        terms = super().objective(data, random, training)
        terms["kl_loss"] = divergences.gaussian_kl(*terms["outputs"])
        terms["loss"] = terms["loss"] + self.kl_weight * terms["kl_loss"]
        return terms


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
