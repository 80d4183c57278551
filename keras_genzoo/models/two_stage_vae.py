"""The two-stage VAE: a second VAE learns where the codes of the first lie."""

import keras
from keras import ops

from keras_genzoo import divergences, likelihoods
from keras_genzoo.core import randomness
from keras_genzoo.core.checks import check_output, check_posterior, check_told, input_shapes
from keras_genzoo.core.conditions import beside, parted
from keras_genzoo.core.inference import inference
from keras_genzoo.models.vae import VAE
from keras_genzoo.priors import StandardNormal


@keras.saving.register_keras_serializable("keras_genzoo")
class TwoStageVAE(VAE):
    """A VAE, and a second one of its codes, whose prior comes nearer to where they lie (Dai and Wipf 2019, arXiv:1903.05789,
    section 4).

        z ~ q(z|x);   second_loss = -E_q(u|z)[log p(z|u)] + KL(q(u|z) || N(0, I))

    Samples are decoded from z ~ p(z|u) with u ~ N(0, I). The paper trains one after the other; here the second learns in the
    same steps, with an optimizer of its own, and no gradient of its loss reaches the first. `log_prob` is a lower bound for what
    `sample` draws from: the second VAE stands in it with its own importance weight, of one draw of u for each of z.

    Args:
        encoder, decoder: as in `VAE`.
        second_encoder: keras.Model. Codes z to the pair `(mu, log_variance)` of q(u|z). With classes or vectors its second input
            is the condition, the second decoder's too.
        second_decoder: keras.Model. u to the mean of p(z|u).
        second_likelihood: `likelihoods.Gaussian`, around what the second decoder puts out; None is one with a learned scale.
            Defaults to None.
        **kwargs: as in `VAE`. A `prior` is that of the first alone; a `fitted_prior` is fitted to draws of u, and stands for
            N(0, I) in `sample`.
    """

    terms = ("reconstruction_loss", "kl_loss", "second_loss")
    optimizers = {
        "optimizer": ("encoder", "decoder", "prior", "likelihood", "posterior_flow"),
        "second_optimizer": ("second_encoder", "second_decoder", "second_likelihood"),
    }
    averaged = (*VAE.averaged, *optimizers["second_optimizer"])

    def __init__(self, encoder, decoder, second_encoder, second_decoder, second_likelihood=None, **kwargs):
        super().__init__(encoder, decoder, **kwargs)
        self.second_encoder, self.second_decoder = second_encoder, second_decoder
        self.second_likelihood = likelihoods.Gaussian("learned") if second_likelihood is None else second_likelihood
        (self._code,), (self._second_code,) = (
            input_shapes(each, name)[0] for each, name in ((decoder, "decoder"), (second_decoder, "second_decoder"))
        )
        check_posterior(second_encoder, "second_encoder", (self._second_code,))
        check_output(second_decoder, "second_decoder", (self._code,))
        for each, name in ((second_encoder, "second_encoder"), (second_decoder, "second_decoder")):
            check_told(each, name, self.condition_units)

    def draw_latents(self, n, random, condition=None):
        """n draws of u, and the noise of z given u, side by side."""
        if self.density() is None or not self.density().fitted:
            return random.normal((n, self._second_code + self._code))
        return ops.concatenate([self.drawn_codes(n, random, condition), random.normal((n, self._code))], axis=1)

    def codes_of(self, x, random, condition=None):
        """A draw of u for each image: from q(u|z), with z from q(z|x)."""
        mu, log_variance = self.second_encoder(beside(super().codes_of(x, random, condition), condition), training=False)
        return mu + ops.exp(0.5 * log_variance) * random.normal(ops.shape(mu))

    @inference
    def generate(self, latents):
        """Images from what `draw_latents` drew."""
        latents, condition = parted(latents)
        u, noise = ops.split(latents, [self._second_code], axis=1)
        z = self.second_decoder(beside(u, condition), training=False) + self.second_likelihood.current_scale * noise
        return self.images_from(z, condition)

    def second_terms(self, z, noise, training, condition=None):
        """-log p(z|u), and KL(q(u|z) || p(u)) in closed form, for one u of q(u|z); and log p(z, u) / q(u|z)."""
        mu, log_variance = self.second_encoder(beside(z, condition), training=training)
        u = mu + ops.exp(0.5 * log_variance) * noise
        log_likelihood = self.second_likelihood.training_log_prob if training else self.second_likelihood.log_prob
        reconstruction = -log_likelihood(z, self.second_decoder(beside(u, condition), training=training))
        log_ratio = StandardNormal(mu.shape[1]).log_prob(u) - divergences.gaussian_log_prob(u, mu, log_variance)
        loss = reconstruction + divergences.gaussian_kl(mu, log_variance)
        return {"loss": loss, "log_weight": log_ratio - reconstruction}

    def log_prior(self, z, key, condition=None):
        shape = ops.shape(z)[0], self._second_code
        return self.second_terms(z, randomness.normal(key, shape), False, condition)["log_weight"]

    def _second(self, terms, random, training, condition):
        noise, draws = random.normal((ops.shape(terms["codes"])[0], self._second_code)), self.importance_samples
        condition = None if condition is None else ops.repeat(condition, draws, axis=0)
        return self.second_terms(ops.stop_gradient(terms["codes"]), noise, training, condition)

    def train_step(self, data):
        x, condition, beta = self.images_of(data), self.condition_of(data), self.warm_beta()
        terms_of = lambda: self.negative_elbo(x, self.random, beta, True, condition)  # noqa: E731
        terms = self.minimize(terms_of, self.optimizers["optimizer"], self.optimizer)
        second_of = lambda: self._second(terms, self.random, True, condition)  # noqa: E731
        second = self.minimize(second_of, self.optimizers["second_optimizer"], self.second_optimizer)
        return self.track({**terms, "second_loss": second["loss"]})

    def test_step(self, data):
        x, condition = self.images_of(data), self.condition_of(data)
        terms_of = lambda: self.negative_elbo(x, self.random_test, self.beta, False, condition)  # noqa: E731
        terms = self.measure(terms_of, self.optimizers["optimizer"])
        second_of = lambda: self._second(terms, self.random_test, False, condition)  # noqa: E731
        second = self.measure(second_of, self.optimizers["second_optimizer"])
        return self.track({**terms, "second_loss": second["loss"]})
