"""Wasserstein autoencoders (Tolstikhin et al. 2018, arXiv:1711.01558)."""

import keras
from keras import ops

from keras_genzoo import adversarial, divergences
from keras_genzoo.core.checks import input_shapes
from keras_genzoo.models.autoencoder import Autoencoder
from keras_genzoo.models.coded import GaussianCodes
from keras_genzoo.priors import StandardNormal


@keras.saving.register_keras_serializable("keras_genzoo")
class WAE(GaussianCodes, Autoencoder):
    """An autoencoder whose codes, of all images together, are distributed as the prior.

    The optimal transport cost between data and samples is the least cost of reconstruction by encoders with q(z) = p(z) (theorem
    1 of the paper); with a penalty in the place of the condition (eq. 4):

        loss = E_x E_q(z|x)[dist(x, decoder(z))] + weight * divergence(q(z), p(z)),    q(z) = E_x[q(z|x)]

    where a VAE draws the posterior of each image to the prior, and so blurs them. The encoder is deterministic, or Gaussian
    where it puts out mean and log-variance. `fit` prints `divergence_loss`, and for every divergence alike `latent_mmd`, the
    unbiased squared MMD between the batch's codes and draws from the prior by the inverse multiquadratic kernel, around 0 where
    they agree. On several replicas both are of the whole batch. With classes or vectors c the divergence is that of q(z, c) from
    p(z) q(c) (`divergences.given`), so that the codes of each class are drawn to the prior; `latent_mmd` stays that of z.

    Args:
        encoder: keras.Model. Images `(batch, height, width, channels)` in [0, 1] to codes `(batch, latent_dim)`, or to the pair
            `(mu, log_variance)` of q(z|x) = N(mu, sigma^2), the second bounded. With classes or vectors its second input is the
            condition, the decoder's too, and the critic of a game takes the condition behind the codes.
        decoder: keras.Model. Codes to images of the same shape.
        divergence: "mmd" (WAE-MMD), "gaussian_mmd", "sliced_wasserstein" (SWAE), "cramer_wold" (CWAE), another
            `divergences.Divergence`, or an `adversarial.LatentGame` (WAE-GAN), whose critic makes a step with `critic_optimizer`
            after each of the autoencoder. Defaults to "mmd".
        weight: float above 0. Weight of the divergence, the paper's lambda. Defaults to 100.
        distance: the cost c(x, y), as in `Autoencoder`. Defaults to "l2".
        prior: object with `sample(n, random)`, of fixed parameters; None is N(0, I). Defaults to None.
        fitted_prior: what `fit_prior` fits to the codes after training, as the `prior` of an `Autoencoder`, or None; `sample`
            then draws from it, as q(z) only comes near the prior. Defaults to None.
        **kwargs: `regularizers`, `corruption`, `num_classes`, `condition_dim`, as in `Autoencoder`; `seed`, `ema`, `name`,
            `dtype`, as in `GenerativeModel`.

    Example:

    >>> model = gz.build("wae_mmd", image_shape=(28, 28, 1), latent_dim=8)
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.sample(16, seed=0).shape
    (16, 28, 28, 1)
    """

    def __init__(self, encoder, decoder, divergence="mmd", weight=100.0, distance="l2", prior=None, fitted_prior=None, **kwargs):
        if not weight > 0:
            raise ValueError(f"weight is {weight!r}, expected a number above 0.")
        prior = StandardNormal(input_shapes(decoder, "decoder")[0][0]) if prior is None else prior
        if getattr(prior, "trainable_variables", ()) or getattr(prior, "needs_encoder", False):
            raise ValueError(f"the prior is a {type(prior).__name__}, which would have to be trained; a WAE's prior is fixed.")
        super().__init__(encoder, decoder, distance=distance, prior=prior, **kwargs)
        if self.game is not None:
            raise ValueError("a game of patches was given, expected None: the game of a WAE is one of codes.")
        self.fitted_prior = fitted_prior
        self.divergence = divergences.get(divergence)
        self.weight = weight
        if self.plays:
            seen, code = input_shapes(self.divergence.critic, "the critic of codes")[0], input_shapes(decoder, "decoder")[0][0]
            if seen != (code + self.condition_units,):
                raise ValueError(
                    f"the critic of codes takes shape {seen}, expected ({code + self.condition_units},): {code} numbers of a "
                    f"code and {self.condition_units} of its condition."
                )

    def density(self):
        return self.fitted_prior

    @property
    def plays(self):
        """Whether the divergence is a game with a critic, which learns too."""
        return isinstance(self.divergence, adversarial.LatentGame)

    @property
    def terms(self):
        return (*super().terms, "divergence_loss", "latent_mmd", *(["critic_loss"] if self.plays else []))

    @property
    def monitor(self):
        """A game's losses do not tell; the reconstruction does."""
        return "reconstruction_loss" if self.plays else "loss"

    @property
    def optimizers(self):
        critic = {"critic_optimizer": ("divergence",)} if self.plays else {}
        return {"optimizer": ("encoder", "decoder"), **critic}

    @property
    def least_rows(self):
        return super().least_rows if self.plays else divergences.LEAST_ROWS

    def objective(self, data, random, training):
        terms = super().objective(data, random, training)
        z = terms["codes"]
        rows = divergences.gather(z)
        divergence = self.divergence(*divergences.given(self.condition_of(data), z, self.prior), random)
        terms["divergence_loss"] = divergence if self.plays else divergences.of_enough(divergence, rows)
        latent_mmd = divergences.SquaredMMD()(ops.stop_gradient(z), self.prior, random)
        terms["latent_mmd"] = divergences.of_enough(latent_mmd, rows)
        terms["loss"] = terms["loss"] + self.weight * terms["divergence_loss"]
        return terms

    def critic_terms(self, z, random, training, condition=None):
        outputs, more = self.divergence.scored(*divergences.given(condition, z, self.prior), random, training)
        loss = ops.mean(self.divergence.objective.critic_loss(*outputs))
        return {"loss": loss, "outputs": outputs, "added": {"divergence": more}}

    def train_step(self, data):
        terms_of = lambda: self.objective(data, self.random, training=True)  # noqa: E731
        terms = self.minimize(terms_of, ("encoder", "decoder"), self.optimizer)
        if self.plays:
            z, condition = ops.stop_gradient(terms["codes"]), self.condition_of(data)
            critic_of = lambda: self.critic_terms(z, self.random, True, condition)  # noqa: E731
            critic = self.minimize(critic_of, ("divergence",), self.critic_optimizer)
            self.divergence.objective.constrain(self.divergence.critic.trainable_variables)
            self.divergence.objective.update(*critic["outputs"])
            terms["critic_loss"] = critic["loss"]
        return self.track(terms)

    def test_step(self, data):
        terms = self.measure(lambda: self.objective(data, self.random_test, training=False), ("encoder", "decoder"))
        if self.plays:
            condition = self.condition_of(data)
            critic_of = lambda: self.critic_terms(terms["codes"], self.random_test, False, condition)  # noqa: E731
            critic = self.measure(critic_of, ("divergence",))
            terms["critic_loss"] = critic["loss"]
        return self.track(terms)
