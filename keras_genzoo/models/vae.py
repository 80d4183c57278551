"""Variational autoencoders (Kingma and Welling 2013, arXiv:1312.6114), and what people compare with them."""

import math

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo import divergences, likelihoods
from keras_genzoo.bijectors.base import as_of, forward_of
from keras_genzoo.core import images, randomness
from keras_genzoo.core.batches import apart, check_batch, first_batch, joined, rows_of, some_batch, unpack
from keras_genzoo.core.checks import check_output, check_posterior, check_told, input_shapes, real, whole
from keras_genzoo.core.conditions import Conditional, beside
from keras_genzoo.core.inference import available_if, batched, inference
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.core.tracking import added
from keras_genzoo.models.coded import Coded
from keras_genzoo.priors import StandardNormal


@keras.saving.register_keras_serializable("keras_genzoo")
class VAE(Coded, Conditional, GenerativeModel):
    """An autoencoder whose codes are random: a lower bound on log p(x) is maximised.

    With posterior q(z|x) = N(mu, sigma^2), prior p(z) and likelihood p(x|z), the loss is the negative evidence lower bound
    (eq. 3 of the paper), summed over pixels and channels and averaged over the batch, so in nats per image:

        loss = -E_q[log p(x|z)] + beta * KL(q(z|x) || p(z))

    beta other than 1 is the beta-VAE (Higgins et al. 2017) and no bound. With `importance_samples` k above 1 the loss is the
    importance-weighted bound (IWAE, Burda et al. 2016, arXiv:1509.00519, eq. 8), with z_1..z_k from q(z|x):

        loss = -log 1/k sum_i p(x|z_i) (p(z_i) / q(z_i|x))^beta

    and its terms are printed as means over the k draws. A likelihood with `support` "continuous" sees
    dequantised images, (k + u) / 256; the encoder always sees the images themselves. With classes or vectors c, all of it is
    given c but the prior: log p(x|c) is bounded, by q(z|x, c) and p(x|z, c) (Sohn et al. 2015, "Learning structured output
    representation using deep conditional generative models", with p(z|c) = p(z)).

    Args:
        encoder: keras.Model. Images `(batch, height, width, channels)` in [0, 1] to the pair `(mu, log_variance)`, each
            `(batch, latent_dim)`, the second bounded. With classes or vectors its second input is the condition, as
            `networks.told` makes it; the decoder's too.
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
        fitted_prior: what `fit_prior` fits to draws from q(z|x) after training, as in `Autoencoder`, or None. `sample` then draws
            from it instead of p(z), which the codes of all images together need not follow. `log_prob` stays the bound with
            p(z), so it is none for these samples. Defaults to None.
        **kwargs: `num_classes`, `condition_dim`, what the networks are told; `seed`, `ema`, `name`, `dtype`, as in
            `GenerativeModel`.

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
        if self.condition_units and self._shared:
            raise ValueError(
                f"the prior is a {type(self.prior).__name__}, whose pseudo-images have neither class nor vector; take another "
                f"prior, as priors.TrainedMixture, or leave out num_classes and condition_dim."
            )
        if posterior_flow is not None and getattr(self.prior, "needs_encoder", False):
            raise ValueError(
                f"the prior is a {type(self.prior).__name__} and posterior_flow is given, expected one of them, as that prior is "
                f"made of Gaussian posteriors; leave out posterior_flow, or take another prior such as priors.TrainedMixture."
            )
        check_posterior(encoder, "encoder", code, 3 if getattr(posterior_flow, "conditional", False) else 2)
        check_output(decoder, "decoder", (height, width, self.likelihood.parameter_count(channels)))
        for each, name in ((encoder, "encoder"), (decoder, "decoder")):
            check_told(each, name, self.condition_units)

    @property
    def support(self):
        return self.likelihood.support

    def _posterior(self, x, labels, conditions):
        x = self.images_of(x)
        return self.encoder(beside(x, self.told(labels, conditions)), training=False)

    @batched
    def posterior(self, x, labels=None, conditions=None):
        """Images to `(mu, log_variance)` of q(z|x), or of q(z_0|x), each `(batch, latent_dim)`."""
        return self._posterior(x, labels, conditions)[:2]

    @batched
    def encode(self, x, labels=None, conditions=None):
        """Images to the means of their codes (with `posterior_flow`, what it makes of the means), `(batch, latent_dim)`; of a
        conditional model by their labels and vectors."""
        mu, _, *context = self._posterior(x, labels, conditions)
        return mu if self.posterior_flow is None else forward_of(self.posterior_flow, mu, False, *context)[0]

    @batched
    def decode(self, z, labels=None, conditions=None):
        """Codes to the mean images of p(x|z), in [0, 1]; of a conditional model by labels and vectors."""
        return self.images_from(z, self.told(labels, conditions))

    def images_from(self, z, condition=None):
        """Codes, and the condition if there is one, to the mean images of p(x|z), in [0, 1]."""
        return self.likelihood.mean(self.decoder(beside(z, condition), training=False))

    def call(self, x):
        """The reconstruction of `x` from the mean of its code; conditional models take a batch, as `(images, labels)`."""
        return self.reconstruct(unpack(x)[0], **self.settings_of(x))

    @property
    def _shared(self):
        """What the prior is handed with every call: the encoder, where it has posteriors of its own."""
        return (self.encoder,) if getattr(self.prior, "needs_encoder", False) else ()

    @inference
    def draw_latents(self, n, random, condition=None):
        """n codes from the prior, or from what `fit_prior` fitted to the codes."""
        if self.sampling_prior() is not self.prior:
            return self.drawn_codes(n, random, condition)
        return self.prior.sample(n, random, *self._shared)

    def encoded(self, x, random, training, condition=None):
        """A draw from q(z|x) for each image in [0, 1]."""
        outputs = self.encoder(beside(x, condition), training=training)
        return self.draw(outputs, random.normal(ops.shape(outputs[0])), training)[0]

    def log_prior(self, z, key, condition=None):
        """log p(z) in nats, `(batch,)`; where it has to be estimated, with the noise of this key."""
        return self.prior.log_prob(z, *self._shared)

    def prepare(self, first_batch, dataset):
        some = some_batch(dataset, first_batch)
        x = self.images_of(some)
        if hasattr(self.prior, "prepare"):
            self.prior.prepare(x)
        if self.posterior_flow is not None:
            mu, log_variance, *context = self.encoder(beside(x, self.condition_of(some)), training=False)
            z = mu + ops.exp(0.5 * log_variance) * self.random.normal(mu.shape)
            self.posterior_flow.initialize(*as_of(self.posterior_flow, z, *context))

    @available_if(lambda self: getattr(self.likelihood, "scale", None) == "optimal", 'its likelihood has no scale="optimal"')
    def fit_scale(self, dataset, batch_size=256, seed=0):
        """Fit the scale of the likelihood to a data set, by the weights that `log_prob` uses, instead of the running value that
        training leaves. The scale is the optimum of the training objective, with `importance_samples` draws for an image.

        Args:
            dataset: images, `(images, labels)`, or a `tf.data.Dataset` of batches.
            batch_size: int. Images computed at a time; a data set has its own. Defaults to 256.
            seed: int. Of the draws. Defaults to 0.

        Returns:
            float. The scale on the unit cube.
        """
        images_, told = apart(dataset)
        first, images_ = first_batch(images_, told, batch_size)
        check_batch(self, first, "images")
        batches, draws, start = images_, [], 0
        if not hasattr(images_, "element_spec"):
            cuts = (slice(i, i + batch_size) for i in range(0, len(images_), batch_size))
            batches = (joined(images_[cut], None if told is None else rows_of(told, cut)) for cut in cuts)
        for batch in batches:
            draws.append(self._errors(self.images_of(batch), randomness.RowStream(seed, start), self.condition_of(batch)))
            start += len(draws[-1]["errors"])
        rows = {name: ops.concatenate([each[name] for each in draws]) for name in draws[0]}
        log_scale = self.likelihood.best_log_scale(dimensions=math.prod(self.image_shape), **rows)
        kept = self.likelihood.log_scale
        for variable in (kept, *(average for averaged, average in self._averages.all if averaged is kept)):
            variable.assign(log_scale)
        return math.exp(log_scale)

    @inference
    def _errors(self, x, random, condition=None):
        draws = self.draws(x, random, training=False, condition=condition)
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

    def draws(self, x, random, training, condition=None):
        """What the loss is of, a row for each of the draws of each image: "target" and "parameters" of the likelihood, "kl_loss",
        "codes", and "outputs", of the posteriors they were drawn from."""
        k = self.importance_samples
        outputs = self.encoder(beside(x, condition), training=training)
        given = {"added": {"encoder": added(self.encoder)}} if self._shared else {}  # before the prior calls it, too
        target = self.target(x, random.uniform(ops.shape(x)))
        if k > 1:
            *outputs, target = (ops.repeat(each, k, axis=0) for each in (*outputs, target))
            condition = None if condition is None else ops.repeat(condition, k, axis=0)
        z, log_q = self.draw(outputs, random.normal(ops.shape(outputs[0])), training)
        if k == 1 and self.posterior_flow is None and isinstance(self.prior, StandardNormal):
            kl = divergences.gaussian_kl(*outputs)
        else:
            kl = log_q - self.prior.log_prob(z, *self._shared)
        parameters = self.decoder(beside(z, condition), training=training)
        return {"target": target, "parameters": parameters, "kl_loss": kl, "codes": z, "outputs": outputs, **given}

    def log_ratio(self, draws, beta):
        """What multiplies p(x|z_i) in the importance weight of each draw, as a logarithm, `(batch, importance_samples)`."""
        return ops.reshape(-beta * draws["kl_loss"], (-1, self.importance_samples))

    def negative_elbo(self, x, random, beta, training, condition=None):
        """The terms of the loss; and what `draws` returns."""
        terms, k = self.draws(x, random, training, condition), self.importance_samples
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
        x, condition, beta = self.images_of(data), self.condition_of(data), self.warm_beta()
        terms_of = lambda: self.negative_elbo(x, self.random, beta, True, condition)  # noqa: E731
        return self.track(self.minimize(terms_of, self.optimizers["optimizer"], self.optimizer))

    def test_step(self, data):
        x, condition = self.images_of(data), self.condition_of(data)
        terms_of = lambda: self.negative_elbo(x, self.random_test, self.beta, False, condition)  # noqa: E731
        return self.track(self.measure(terms_of, self.optimizers["optimizer"]))

    @batched
    def log_prob(self, x, samples=64, seed=0, labels=None, conditions=None):
        """The importance-weighted lower bound on log p(x) (Burda et al. 2016, arXiv:1509.00519, eq. 8).

        It is a bound in expectation over the draws, tighter with more of them: `samples=1` is the evidence lower bound. Of a
        likelihood with continuous support it is a log density on the unit cube at the dequantised image.

        Args:
            x: images.
            samples: int. Draws from q(z|x) per image. Defaults to 64.
            seed: int. Seed of the draws. Defaults to 0.
            labels, conditions: arrays `(batch,)` and `(batch, condition_dim)`, of conditional models alone: the bound is on
                log p(x|c). Without labels it is that of images of `sample`, whose labels are uniform. Default to None.

        Returns:
            Nats per image, float32 `(batch,)`.

        Raises:
            ValueError: gray or colour images under a likelihood of binary ones.
        """
        x = self.images_of(x)
        target = self.target(x, randomness.uniform(self.noise_key(seed, 0), tf.shape(x)))
        bound = lambda condition: self.importance_weighted_bound(x, target, samples, seed, condition)  # noqa: E731
        return self.over_classes(bound, tf.shape(x)[0], labels, conditions)

    def importance_weighted_bound(self, x, target, samples, seed, condition=None):
        """log 1/k sum_i p(target|z_i) p(z_i) / q(z_i|x), with z_i from q(z|x); `(batch,)`."""
        outputs = self.encoder(beside(x, condition), training=False)

        def add_draw(index, total):
            z, log_q = self.draw(outputs, randomness.normal(self.noise_key(seed, 1, index), tf.shape(outputs[0])))
            log_prior = self.log_prior(z, self.noise_key(seed, 2, index), condition)
            log_joint = self.likelihood.log_prob(target, self.decoder(beside(z, condition), training=False)) + log_prior
            return index + 1, ops.logaddexp(total, log_joint - log_q)

        nothing = tf.fill((tf.shape(x)[0],), -math.inf)
        _, total = tf.while_loop(lambda index, _: index < samples, add_draw, (0, nothing))
        return total - math.log(samples)
