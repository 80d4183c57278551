"""Variational autoencoders (Kingma and Welling 2013, arXiv:1312.6114)."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import divergences, images, likelihoods, randomness
from keras_genzoo.base import GenerativeModel, check_output, inference
from keras_genzoo.priors import StandardNormal


@keras.saving.register_keras_serializable("keras_genzoo")
class VAE(GenerativeModel):
    """An autoencoder whose codes are random: a lower bound on log p(x) is maximised.

    With posterior q(z|x) = N(mu, sigma^2), prior p(z) and likelihood p(x|z), the loss is the negative evidence lower bound
    (eq. 3 of the paper), summed over pixels and channels and averaged over the batch, so in nats per image:

        loss = -E_q[log p(x|z)] + beta * KL(q(z|x) || p(z))

    beta other than 1 is the beta-VAE (Higgins et al. 2017) and no bound. A likelihood with `support` "continuous" sees
    dequantised images, (k + u) / 256; the encoder always sees the images themselves.

    Args:
        encoder: keras.Model. Images `(batch, height, width, channels)` in [0, 1] to the pair `(mu, log_variance)`, each
            `(batch, latent_dim)`, the second bounded.
        decoder: keras.Model. Codes `(batch, latent_dim)` to the parameters of p(x|z), `(batch, height, width, channels *
            likelihood.parameters_per_channel)`.
        prior: object with `sample(n, random)` and `log_prob(z)`; None is N(0, I). The KL is in closed form for N(0, I) and
            one draw's estimate for other priors, and with `posterior_flow`. Defaults to None.
        likelihood: "gaussian", "laplace", "bernoulli", "discretized_logistic" or a `likelihoods.Likelihood`. Defaults to
            "gaussian", of unit variance.
        beta: float, at least 0. Weight of the KL term. Defaults to 1.
        beta_warmup: int. Steps over which the weight grows linearly from 0 to `beta`; validation uses `beta` throughout.
            Defaults to 0.
        posterior_flow: `bijectors.Bijector` of vectors or None. Makes of the Gaussian's draw z_0 the code z = f(z_0), whose
            posterior then is no Gaussian: log q(z|x) = log q(z_0|x) - log |det df/dz_0| (Rezende and Mohamed 2015,
            arXiv:1505.05770, eq. 13; Kingma et al. 2016, arXiv:1606.04934). A conditional one takes the encoder's third output
            as its context. Defaults to None.
        **kwargs: `seed`, `ema`, `name`, `dtype`, as in `GenerativeModel`.

    Example:

    >>> model = gz.build("vae", image_shape=(28, 28, 1), latent_dim=16)
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.sample(16, seed=0).shape
    (16, 28, 28, 1)
    >>> model.bits_per_dim(images, samples=8).shape
    TensorShape([64])
    """

    terms = ("reconstruction_loss", "kl_loss")
    optimizers = {"optimizer": ("encoder", "decoder", "prior", "likelihood", "posterior_flow")}
    averaged = ("encoder", "decoder", "prior", "likelihood", "posterior_flow")
    log_prob_label = "iw64"

    def __init__(
        self, encoder, decoder, prior=None, likelihood="gaussian", beta=1.0, beta_warmup=0, posterior_flow=None, **kwargs
    ):
        super().__init__(**kwargs)
        if beta < 0:
            raise ValueError(f"beta is {beta}, expected a number of at least 0.")
        if beta_warmup < 0:
            raise ValueError(f"beta_warmup is {beta_warmup}, expected a number of steps of at least 0.")
        self.encoder = encoder
        self.decoder = decoder
        code = tuple(decoder.input_shape[1:])
        self.prior = StandardNormal(code[0]) if prior is None else prior
        self.likelihood = likelihoods.get(likelihood)
        self.beta = beta
        self.beta_warmup = beta_warmup
        self.posterior_flow = posterior_flow
        height, width, channels = self.image_shape
        check_output(encoder, "encoder", *[code] * (2 if posterior_flow is None or not posterior_flow.conditional else 3))
        check_output(decoder, "decoder", (height, width, channels * self.likelihood.parameters_per_channel))

    @property
    def support(self):
        return self.likelihood.support

    @inference
    def posterior(self, x):
        """Images to `(mu, log_variance)` of q(z|x), or of q(z_0|x), each `(batch, latent_dim)`."""
        return self.encoder(self.images_of(x), training=False)[:2]

    @inference
    def encode(self, x):
        """Images to the means of their codes (with `posterior_flow`, what it makes of the means), `(batch, latent_dim)`."""
        mu, _, *context = self.encoder(self.images_of(x), training=False)
        return mu if self.posterior_flow is None else self.posterior_flow.forward(mu, False, *context)[0]

    @inference
    def decode(self, z):
        """Codes to the mean images of p(x|z), in [0, 1]."""
        return self.likelihood.mean(self.decoder(z, training=False))

    def call(self, x):
        """The reconstruction of `x` from the mean of its code."""
        return self.reconstruct(x)

    def draw_latents(self, n, random):
        """n codes from the prior."""
        return self.prior.sample(n, random)

    def target(self, x, uniform):
        """What the likelihood is a density of: images dequantised for a density on the cube, else images."""
        return images.dequantise(x, uniform) if self.support == "continuous" else x

    def draw(self, outputs, noise, training=False):
        """A code of q(z|x) from the encoder's outputs and standard normal noise, and log q(z|x) in nats, `(batch,)`."""
        mu, log_variance, *context = outputs
        z = mu + ops.exp(0.5 * log_variance) * noise  # eq. 10
        log_q = divergences.gaussian_log_prob(z, mu, log_variance)
        if self.posterior_flow is None:
            return z, log_q
        z, log_det = self.posterior_flow.forward(z, training, *context)
        return z, log_q - log_det

    def negative_elbo(self, x, random, beta, training):
        outputs = self.encoder(x, training=training)
        z, log_q = self.draw(outputs, random.normal(ops.shape(outputs[0])), training)
        if self.posterior_flow is None and isinstance(self.prior, StandardNormal):
            kl = divergences.gaussian_kl(*outputs)
        else:
            kl = log_q - self.prior.log_prob(z)
        parameters = self.decoder(z, training=training)
        log_likelihood = self.likelihood.training_log_prob if training else self.likelihood.log_prob
        reconstruction = -log_likelihood(self.target(x, random.uniform(ops.shape(x))), parameters)
        return {"loss": reconstruction + beta * kl, "reconstruction_loss": reconstruction, "kl_loss": kl}

    def train_step(self, data):
        x = self.images_of(data)
        beta = self.beta
        if self.beta_warmup:
            beta *= ops.minimum(1.0, ops.cast(self.optimizer.iterations + 1, "float32") / self.beta_warmup)
        networks = self.optimizers["optimizer"]
        return self.track(
            self.minimize(lambda: self.negative_elbo(x, self.random, beta, training=True), networks, self.optimizer)
        )

    def test_step(self, data):
        x = self.images_of(data)
        terms_of = lambda: self.negative_elbo(x, self.random_test, self.beta, training=False)  # noqa: E731
        return self.track(self.measure(terms_of, self.optimizers["optimizer"]))

    @inference
    def log_prob(self, x, samples=64, seed=0):
        """The importance-weighted lower bound on log p(x) (Burda et al. 2016, arXiv:1509.00519, eq. 8).

        It is a bound in expectation over the draws, tighter with more of them: `samples=1` is the evidence lower bound. Of a
        likelihood with continuous support it is a log density on the unit cube at the dequantised image.

        Args:
            x: images.
            samples: int. Draws from q(z|x) per image. Defaults to 64.
            seed: int. Seed of the draws. Defaults to 0.

        Returns:
            Nats per image, float32 `(batch,)`.

        Raises:
            ValueError: gray or colour images under a likelihood of binary ones.
        """
        if self.support == "binary" and tf.executing_eagerly() and not np.isin(self.images_of(x), (0, 1)).all():
            raise ValueError("the likelihood is of binary images and these are not; pass `(images >= 0.5).astype('float32')`.")
        x = self.images_of(x)
        return self.importance_weighted_bound(
            x, self.target(x, randomness.uniform(randomness.make_key(seed, 0), tf.shape(x))), samples, seed
        )

    def importance_weighted_bound(self, x, target, samples, seed):
        """log 1/k sum_i p(target|z_i) p(z_i) / q(z_i|x), with z_i from q(z|x); `(batch,)`."""
        outputs = self.encoder(x, training=False)

        def add_draw(index, total):
            z, log_q = self.draw(outputs, randomness.normal(randomness.make_key(seed, 1, index), tf.shape(outputs[0])))
            log_joint = self.likelihood.log_prob(target, self.decoder(z, training=False)) + self.prior.log_prob(z)
            return index + 1, ops.logaddexp(total, log_joint - log_q)

        nothing = tf.fill((tf.shape(x)[0],), -math.inf)
        _, total = tf.while_loop(lambda index, _: index < samples, add_draw, (0, nothing))
        return total - math.log(samples)
