"""Wasserstein autoencoders (Tolstikhin et al. 2018, arXiv:1711.01558)."""

import keras
from keras import ops

from keras_genzoo import adversarial, divergences
from keras_genzoo.core.checks import check_output, check_posterior, input_shapes, output_shapes
from keras_genzoo.core.inference import batched
from keras_genzoo.models.autoencoder import Autoencoder
from keras_genzoo.priors import StandardNormal


@keras.saving.register_keras_serializable("keras_genzoo")
class WAE(Autoencoder):
    """An autoencoder whose codes, of all images together, are distributed as the prior.

    The optimal transport cost between data and samples is the least cost of reconstruction by encoders with q(z) = p(z) (theorem
    1 of the paper); with a penalty in the place of the condition (eq. 4):

        loss = E_x E_q(z|x)[dist(x, decoder(z))] + weight * divergence(q(z), p(z)),    q(z) = E_x[q(z|x)]

    where a VAE draws the posterior of each image to the prior, and so blurs them. The encoder is deterministic, or Gaussian
    where it puts out mean and log-variance. `fit` prints `divergence_loss`, and for every divergence alike `latent_mmd`, the
    unbiased squared MMD between the batch's codes and draws from the prior by the inverse multiquadratic kernel, around 0 where
    they agree. On several replicas both are of the whole batch.

    Args:
        encoder: keras.Model. Images `(batch, height, width, channels)` in [0, 1] to codes `(batch, latent_dim)`, or to the pair
            `(mu, log_variance)` of q(z|x) = N(mu, sigma^2), the second bounded.
        decoder: keras.Model. Codes to images of the same shape.
        divergence: "mmd" (WAE-MMD), "gaussian_mmd", "sliced_wasserstein" (SWAE), "cramer_wold" (CWAE), another
            `divergences.Divergence`, or an `adversarial.LatentGame` (WAE-GAN), whose critic makes a step with `critic_optimizer`
            after each of the autoencoder. Defaults to "mmd".
        weight: float above 0. Weight of the divergence, the paper's lambda. Defaults to 100.
        distance: the cost c(x, y), as in `Autoencoder`. Defaults to "l2".
        prior: object with `sample(n, random)`, of fixed parameters; None is N(0, I). Defaults to None.
        fitted_prior: `priors.GaussianMixture`, `FlowPrior`, `TwoStagePrior` or None. The density that `fit_prior` fits to the
            codes after training; `sample` then draws from it, as q(z) only comes near the prior. Defaults to None.
        **kwargs: `regularizers`, `corruption`, as in `Autoencoder`; `seed`, `ema`, `name`, `dtype`, as in `GenerativeModel`.

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
        self.fitted_prior = fitted_prior
        self.divergence = divergences.get(divergence)
        self.weight = weight

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

    def check_encoder(self, code):
        self.gaussian = len(output_shapes(self.encoder, "encoder")) > 1  # whether it puts out a mean and a log-variance
        if self.gaussian:
            check_posterior(self.encoder, "encoder", code)
        else:
            check_output(self.encoder, "encoder", code)

    @batched
    def encode(self, x):
        """Images to codes, of a Gaussian encoder to their means, `(batch, latent_dim)`."""
        outputs = self.encoder(self.images_of(x), training=False)
        return outputs[0] if self.gaussian else outputs

    def encoded(self, x, random, training):
        if not self.gaussian:
            return self.encoder(x, training=training)
        mu, log_variance = self.encoder(x, training=training)
        return mu + ops.exp(0.5 * log_variance) * random.normal(ops.shape(mu))

    def objective(self, data, random, training):
        terms = super().objective(data, random, training)
        z = terms["codes"]
        rows = divergences.gather(z)
        divergence = self.divergence(z, self.prior, random)
        terms["divergence_loss"] = divergence if self.plays else divergences.of_enough(divergence, rows)
        latent_mmd = divergences.SquaredMMD()(ops.stop_gradient(z), self.prior, random)
        terms["latent_mmd"] = divergences.of_enough(latent_mmd, rows)
        terms["loss"] = terms["loss"] + self.weight * terms["divergence_loss"]
        return terms

    def critic_terms(self, z, random, training):
        outputs, more = self.divergence.scored(z, self.prior, random, training)
        loss = ops.mean(self.divergence.objective.critic_loss(*outputs))
        return {"loss": loss, "outputs": outputs, "added": {"divergence": more}}

    def train_step(self, data):
        terms_of = lambda: self.objective(data, self.random, training=True)  # noqa: E731
        terms = self.minimize(terms_of, ("encoder", "decoder"), self.optimizer)
        if self.plays:
            z = ops.stop_gradient(terms["codes"])
            critic = self.minimize(lambda: self.critic_terms(z, self.random, True), ("divergence",), self.critic_optimizer)
            self.divergence.objective.constrain(self.divergence.critic.trainable_variables)
            self.divergence.objective.update(*critic["outputs"])
            terms["critic_loss"] = critic["loss"]
        return self.track(terms)

    def test_step(self, data):
        terms = self.measure(lambda: self.objective(data, self.random_test, training=False), ("encoder", "decoder"))
        if self.plays:
            critic = self.measure(lambda: self.critic_terms(terms["codes"], self.random_test, False), ("divergence",))
            terms["critic_loss"] = critic["loss"]
        return self.track(terms)
