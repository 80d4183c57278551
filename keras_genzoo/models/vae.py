"""Variational autoencoders (Kingma and Welling 2013, arXiv:1312.6114), and what people compare with them."""

import math

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo import divergences, likelihoods
from keras_genzoo.adversarial import LatentGame
from keras_genzoo.bijectors.base import as_of, forward_of
from keras_genzoo.core import images, randomness
from keras_genzoo.core.batches import check_batch, count, first_batch, some_images
from keras_genzoo.core.checks import check_output, check_posterior, input_shapes, real, whole, whole_or_none
from keras_genzoo.core.inference import available_if, batched, inference
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.core.tracking import added
from keras_genzoo.models.coded import Coded
from keras_genzoo.priors import StandardNormal


@keras.saving.register_keras_serializable("keras_genzoo")
class VAE(Coded, GenerativeModel):
    """An autoencoder whose codes are random: a lower bound on log p(x) is maximised.

    With posterior q(z|x) = N(mu, sigma^2), prior p(z) and likelihood p(x|z), the loss is the negative evidence lower bound
    (eq. 3 of the paper), summed over pixels and channels and averaged over the batch, so in nats per image:

        loss = -E_q[log p(x|z)] + beta * KL(q(z|x) || p(z))

    beta other than 1 is the beta-VAE (Higgins et al. 2017) and no bound. With `importance_samples` k above 1 the loss is the
    importance-weighted bound (IWAE, Burda et al. 2016, arXiv:1509.00519, eq. 8), with z_1..z_k from q(z|x):

        loss = -log 1/k sum_i p(x|z_i) (p(z_i) / q(z_i|x))^beta

    and its terms are printed as means over the k draws. A likelihood with `support` "continuous" sees
    dequantised images, (k + u) / 256; the encoder always sees the images themselves.

    Args:
        encoder: keras.Model. Images `(batch, height, width, channels)` in [0, 1] to the pair `(mu, log_variance)`, each
            `(batch, latent_dim)`, the second bounded.
        decoder: keras.Model. Codes `(batch, latent_dim)` to the parameters of p(x|z), `(batch, height, width,
            likelihood.parameter_count(channels))`.
        prior: object with `sample(n, random)` and `log_prob(z)`, as `priors.VampPrior`; None, the default, is N(0, I). The KL is
            in closed form for N(0, I), and one draw's estimate for other priors and with `posterior_flow`.
        likelihood: name of `likelihoods.NAMED`, as "laplace" or "logistic_mixture", or a `likelihoods.Likelihood`. Defaults to
            "gaussian", of unit variance.
        beta: float, at least 0. Weight of the KL term. Defaults to 1.
        beta_warmup: int. Steps over which the weight grows linearly from 0 to `beta`; validation uses `beta` throughout.
            Defaults to 0.
        posterior_flow: `bijectors.Bijector` of vectors or None. Makes of the Gaussian's draw z_0 the code z = f(z_0), whose
            posterior then is no Gaussian: log q(z|x) = log q(z_0|x) - log |det df/dz_0| (Rezende and Mohamed 2015,
            arXiv:1505.05770; Kingma et al. 2016, arXiv:1606.04934). A conditional one takes the encoder's third output as its
            context. Defaults to None.
        importance_samples: int. Draws from q(z|x) for an image in the loss. Defaults to 1.
        fitted_prior: `priors.GaussianMixture`, `FlowPrior`, `TwoStagePrior` or None. The density that `fit_prior` fits to draws
            from q(z|x) after training. `sample` then draws from it instead of p(z), which the codes of all images together need
            not follow. `log_prob` stays the bound with p(z), so it is none for these samples. Defaults to None.
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
        self,
        encoder,
        decoder,
        prior=None,
        likelihood="gaussian",
        beta=1.0,
        beta_warmup=0,
        posterior_flow=None,
        importance_samples=1,
        fitted_prior=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if beta_warmup < 0:
            raise ValueError(f"beta_warmup is {beta_warmup}, expected a number of steps of at least 0.")
        self.encoder = encoder
        self.decoder = decoder
        code = input_shapes(decoder, "decoder")[0]
        self.prior = StandardNormal(code[0]) if prior is None else prior
        self.likelihood = likelihoods.get(likelihood)
        self.beta = real(at_least=0, beta=beta)
        self.beta_warmup = beta_warmup
        self.posterior_flow = posterior_flow
        self.fitted_prior = fitted_prior
        self.importance_samples = whole(importance_samples=importance_samples)
        height, width, channels = self.image_shape
        if posterior_flow is not None and getattr(self.prior, "needs_encoder", False):
            raise ValueError(
                f"the prior is a {type(self.prior).__name__} and posterior_flow is given, expected one of them, as that prior is "
                f"made of Gaussian posteriors; leave out posterior_flow, or take another prior such as priors.TrainedMixture."
            )
        check_posterior(encoder, "encoder", code, 3 if getattr(posterior_flow, "conditional", False) else 2)
        check_output(decoder, "decoder", (height, width, self.likelihood.parameter_count(channels)))

    @property
    def support(self):
        return self.likelihood.support

    @batched
    def posterior(self, x):
        """Images to `(mu, log_variance)` of q(z|x), or of q(z_0|x), each `(batch, latent_dim)`."""
        return self.encoder(self.images_of(x), training=False)[:2]

    @batched
    def encode(self, x):
        """Images to the means of their codes (with `posterior_flow`, what it makes of the means), `(batch, latent_dim)`."""
        mu, _, *context = self.encoder(self.images_of(x), training=False)
        return mu if self.posterior_flow is None else forward_of(self.posterior_flow, mu, False, *context)[0]

    @batched
    def decode(self, z):
        """Codes to the mean images of p(x|z), in [0, 1]."""
        return self.likelihood.mean(self.decoder(z, training=False))

    def call(self, x):
        """The reconstruction of `x` from the mean of its code."""
        return self.reconstruct(x)

    @property
    def _shared(self):
        """What the prior is handed with every call: the encoder, where it has posteriors of its own."""
        return (self.encoder,) if getattr(self.prior, "needs_encoder", False) else ()

    @inference
    def draw_latents(self, n, random):
        """n codes from the prior, or from what `fit_prior` fitted to the codes."""
        if self.sampling_prior() is not self.prior:
            return self.sampling_prior().sample(n, random)
        return self.prior.sample(n, random, *self._shared)

    def encoded(self, x, random, training):
        """A draw from q(z|x) for each image in [0, 1]."""
        outputs = self.encoder(x, training=training)
        return self.draw(outputs, random.normal(ops.shape(outputs[0])), training)[0]

    def log_prior(self, z, key):
        """log p(z) in nats, `(batch,)`; where it has to be estimated, with the noise of this key."""
        return self.prior.log_prob(z, *self._shared)

    def prepare(self, first_batch, dataset):
        x = self.images_of(some_images(dataset, first_batch))
        if hasattr(self.prior, "prepare"):
            self.prior.prepare(x)
        if self.posterior_flow is not None:
            mu, log_variance, *context = self.encoder(x, training=False)
            z = mu + ops.exp(0.5 * log_variance) * self.random.normal(mu.shape)
            self.posterior_flow.initialize(*as_of(self.posterior_flow, z, *context))

    @available_if(lambda self: getattr(self.likelihood, "scale", None) == "optimal", 'its likelihood has no scale="optimal"')
    def fit_scale(self, dataset, batch_size=256, seed=0):
        """Fit the scale of the likelihood to a data set, by the weights that `log_prob` uses, instead of the running value that
        training leaves. The scale is the optimum of the training objective, with `importance_samples` draws for an image.

        Args:
            dataset: images, or a `tf.data.Dataset` of batches.
            batch_size: int. Images computed at a time; a data set has its own. Defaults to 256.
            seed: int. Of the draws. Defaults to 0.

        Returns:
            float. The scale on the unit cube.
        """
        first, dataset = first_batch(dataset, None, batch_size)
        check_batch(self, first, "images")
        slices = range(0, 0 if hasattr(dataset, "element_spec") else len(dataset), batch_size)
        draws, start = [], 0
        for batch in (dataset[i : i + batch_size] for i in slices) if slices else dataset:
            draws.append(self._errors(self.images_of(batch), randomness.RowStream(seed, start)))
            start += len(draws[-1]["errors"])
        rows = {name: ops.concatenate([each[name] for each in draws]) for name in draws[0]}
        log_scale = self.likelihood.best_log_scale(dimensions=math.prod(self.image_shape), **rows)
        kept = self.likelihood.log_scale
        for variable in (kept, *(average for averaged, average in self._averages.all if averaged is kept)):
            variable.assign(log_scale)
        return math.exp(log_scale)

    @inference
    def _errors(self, x, random):
        draws = self.draws(x, random, training=False)
        ratio = {} if self.importance_samples == 1 else {"log_ratio": self.log_ratio(draws, self.beta)}
        return {"errors": self.likelihood.errors(draws["target"], draws["parameters"]), **ratio}

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
        z, log_det = forward_of(self.posterior_flow, z, training, *context)
        return z, log_q - log_det

    def draws(self, x, random, training):
        """What the loss is of, a row for each of the draws of each image: "target" and "parameters" of the likelihood, "kl_loss",
        "codes", and "outputs", of the posteriors they were drawn from."""
        k = self.importance_samples
        outputs = self.encoder(x, training=training)
        given = {"added": {"encoder": added(self.encoder)}} if self._shared else {}  # before the prior calls it, too
        target = self.target(x, random.uniform(ops.shape(x)))
        if k > 1:
            *outputs, target = (ops.repeat(each, k, axis=0) for each in (*outputs, target))
        z, log_q = self.draw(outputs, random.normal(ops.shape(outputs[0])), training)
        if k == 1 and self.posterior_flow is None and isinstance(self.prior, StandardNormal):
            kl = divergences.gaussian_kl(*outputs)
        else:
            kl = log_q - self.prior.log_prob(z, *self._shared)
        parameters = self.decoder(z, training=training)
        return {"target": target, "parameters": parameters, "kl_loss": kl, "codes": z, "outputs": outputs, **given}

    def log_ratio(self, draws, beta):
        """What multiplies p(x|z_i) in the importance weight of each draw, as a logarithm, `(batch, importance_samples)`."""
        return ops.reshape(-beta * draws["kl_loss"], (-1, self.importance_samples))

    def negative_elbo(self, x, random, beta, training):
        """The terms of the loss; and what `draws` returns."""
        terms, k = self.draws(x, random, training), self.importance_samples
        if training:
            weighted = {} if k == 1 else {"log_ratio": self.log_ratio(terms, beta)}
            log_likelihood = self.likelihood.training_log_prob(terms["target"], terms["parameters"], **weighted)
        else:
            log_likelihood = self.likelihood.log_prob(terms["target"], terms["parameters"])
        loss = beta * terms["kl_loss"] - log_likelihood
        if k > 1:
            loss = math.log(k) - ops.logsumexp(ops.reshape(-loss, (-1, k)), axis=1)
        return {"loss": loss, "reconstruction_loss": -log_likelihood, **terms}

    def warm_beta(self):
        """The weight of the KL term in this step of training."""
        if not self.beta_warmup:
            return self.beta
        return self.beta * ops.minimum(1.0, ops.cast(self.optimizer.iterations + 1, "float32") / self.beta_warmup)

    def train_step(self, data):
        x, beta = self.images_of(data), self.warm_beta()
        terms_of = lambda: self.negative_elbo(x, self.random, beta, training=True)  # noqa: E731
        return self.track(self.minimize(terms_of, self.optimizers["optimizer"], self.optimizer))

    def test_step(self, data):
        x = self.images_of(data)
        terms_of = lambda: self.negative_elbo(x, self.random_test, self.beta, training=False)  # noqa: E731
        return self.track(self.measure(terms_of, self.optimizers["optimizer"]))

    @batched
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
        x = self.images_of(x)
        target = self.target(x, randomness.uniform(self.noise_key(seed, 0), tf.shape(x)))
        return self.importance_weighted_bound(x, target, samples, seed)

    def importance_weighted_bound(self, x, target, samples, seed):
        """log 1/k sum_i p(target|z_i) p(z_i) / q(z_i|x), with z_i from q(z|x); `(batch,)`."""
        outputs = self.encoder(x, training=False)

        def add_draw(index, total):
            z, log_q = self.draw(outputs, randomness.normal(self.noise_key(seed, 1, index), tf.shape(outputs[0])))
            log_prior = self.log_prior(z, self.noise_key(seed, 2, index))
            log_joint = self.likelihood.log_prob(target, self.decoder(z, training=False)) + log_prior
            return index + 1, ops.logaddexp(total, log_joint - log_q)

        nothing = tf.fill((tf.shape(x)[0],), -math.inf)
        _, total = tf.while_loop(lambda index, _: index < samples, add_draw, (0, nothing))
        return total - math.log(samples)


@keras.saving.register_keras_serializable("keras_genzoo")
class BetaTCVAE(VAE):
    """A VAE that asks for independent code units: the total correlation of the aggregate posterior weighs beta times as much
    (Chen et al. 2018, arXiv:1802.04942, eq. 4 with alpha = gamma = 1).

        loss = -E_q[log p(x|z)] + KL(q(z|x) || p(z)) + (beta - 1) * E[log q(z) - sum_j log q(z_j)]

    The aggregate posterior is estimated of a batch, on several replicas of all parts (`divergences.stratified_log_densities`).
    The estimate knows the size of the data set, which `fit` takes from arrays, from what `gz.data.load` gave, or from a data set
    that knows how many batches it has; `total_correlation` is printed in nats.

    Args:
        encoder, decoder: as in `VAE`.
        dataset_size: int or None. Number of training images; None leaves it to each `fit`. Defaults to None.
        beta: float. Weight of the total correlation; `beta_warmup` raises all but the reconstruction. Defaults to 4.
        **kwargs: as in `VAE`, without `posterior_flow` and `importance_samples`.

    Raises:
        ValueError: by `fit`, when the data set has no size, as an endless one, or a first batch of fewer than
            `divergences.LEAST_ROWS` images; by `train_on_batch` and `evaluate` before any `fit`, without `dataset_size`.
    """

    terms = ("reconstruction_loss", "kl_loss", "total_correlation")
    least_rows = divergences.LEAST_ROWS

    def __init__(self, encoder, decoder, dataset_size=None, beta=4.0, **kwargs):
        super().__init__(encoder, decoder, beta=beta, **kwargs)
        if self.posterior_flow is not None or self.importance_samples != 1:
            raise ValueError(
                f"posterior_flow is {self.posterior_flow!r} and importance_samples is {self.importance_samples}, expected None "
                f"and 1: the total correlation is that of Gaussian posteriors with one draw each."
            )
        self.dataset_size = dataset_size
        start = keras.initializers.Constant(float(whole_or_none(dataset_size=dataset_size) or 0))  # 0 while it is not known
        self._size = self.add_weight(shape=(), dtype="float32", initializer=start, trainable=False, name="dataset_size")

    def survey(self, first_batch, dataset):
        if self.dataset_size is None:
            size = count(dataset, self.images_of(first_batch))
            if size is None:
                raise ValueError(
                    "the number of training images is not known, as the data set is endless or a generator; give dataset_size="
                )
            self._size.assign(size)

    def check_surveyed(self):
        if not tf.convert_to_tensor(self._size) > 0:
            raise ValueError(
                "the number of training images is not known, as `fit` has not counted them yet; give dataset_size=, or call "
                "`fit` first."
            )

    def negative_elbo(self, x, random, beta, training):
        terms = super().negative_elbo(x, random, 1.0, training)
        rows = [divergences.gather(each) for each in (terms["codes"], *terms["outputs"])]
        joint, product = divergences.stratified_log_densities(*rows, self._size)
        terms["total_correlation"] = divergences.of_enough(ops.mean(joint - product), rows[0])
        excess = (self.beta - 1.0) * terms["total_correlation"]
        warm = beta / self.beta if self.beta else 1.0
        terms["loss"] = terms["reconstruction_loss"] + warm * (terms["kl_loss"] + excess)
        return terms


@keras.saving.register_keras_serializable("keras_genzoo")
class InfoVAE(VAE):
    """A VAE whose codes keep information of the image: a divergence of all codes together from the prior stands for a part of
    that of each image's (Zhao et al. 2017, arXiv:1706.02262).

        loss = -E_q[log p(x|z)] + (1 - alpha) * beta * KL(q(z|x) || p(z)) + (alpha + weight - 1) * divergence(q(z), p(z))

    alpha = 1 is the MMD-VAE. `fit` prints `divergence_loss`.

    Args:
        encoder, decoder: as in `VAE`.
        divergence: name or `divergences.Divergence`, none that trains a critic. Defaults to "mmd".
        alpha: float up to 1. Share of the KL term that the divergence takes the place of. Defaults to 1.
        weight: float above 1 - alpha; the paper's lambda. Defaults to 1000.
        **kwargs: as in `VAE`.
    """

    terms = ("reconstruction_loss", "kl_loss", "divergence_loss")
    least_rows = divergences.LEAST_ROWS

    def __init__(self, encoder, decoder, divergence="mmd", alpha=1.0, weight=1000.0, **kwargs):
        super().__init__(encoder, decoder, **kwargs)
        if not alpha <= 1 or not alpha + weight > 1 or self.importance_samples != 1 or self._shared:
            raise ValueError(
                f"alpha is {alpha}, weight is {weight} and importance_samples is {self.importance_samples}, expected at most 1, "
                f"more than 1 - alpha, and 1; and a prior that needs no encoder."
            )
        self.divergence = divergences.get(divergence)
        if isinstance(self.divergence, LatentGame):
            raise ValueError("divergence is a LatentGame, whose critic has to be trained; use a WAE with a Gaussian encoder.")
        self.alpha, self.weight = alpha, weight

    def negative_elbo(self, x, random, beta, training):
        terms = super().negative_elbo(x, random, beta * (1.0 - self.alpha), training)
        divergence = self.divergence(terms["codes"], self.prior, random)
        terms["divergence_loss"] = divergences.of_enough(divergence, divergences.gather(terms["codes"]))
        terms["loss"] = terms["loss"] + (self.alpha + self.weight - 1.0) * terms["divergence_loss"]
        return terms
