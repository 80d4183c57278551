"""Recipes of variational autoencoders."""

import warnings

from keras_genzoo import bijectors, likelihoods, networks, priors
from keras_genzoo.core.checks import whole
from keras_genzoo.models import (
    VAE,
    VQVAE,
    Autoencoder,
    AutoregressiveModel,
    BetaTCVAE,
    Codebook,
    InfoVAE,
    ScalarCodebook,
    TwoStageVAE,
)
from keras_genzoo.recipes.building import adam
from keras_genzoo.recipes.common import (
    CONDITIONS,
    FITTED,
    FITTED_COMPONENTS,
    GENERAL,
    PAIR,
    encoder_decoder,
    fitted_prior,
    of_a_class,
    optimizer,
    told_pair,
)
from keras_genzoo.recipes.hyperparameters import Hyperparameter, arguments
from keras_genzoo.recipes.registry import recipe, variant
from keras_genzoo.recipes.space import Choice, Float, Int

FORMS = "elbo", "total_correlation", "info", "two_stage"
LEARNED = {"prior": ("autoregressive",)}


def _flow(kind, latent_dim, layers, width):
    """Layers of a posterior's flow, each told of the image by a context of the code's size."""
    if kind == "planar":
        return [bijectors.Planar(latent_dim, context=latent_dim) for _ in range(layers)]
    if kind != "autoregressive":
        raise ValueError(f"flow is {kind!r}, expected None, 'planar' or 'autoregressive'.")
    chain = []
    for index in range(layers):
        made = networks.made(latent_dim, 2, width, depth=1, context=latent_dim, name=f"made{index + 1}")
        if index:
            chain.append(bijectors.Permutation(range(latent_dim)[::-1]))
        chain.append(bijectors.Autoregressive(made))
    return chain


def _second(latent_dim, told, **sizes):
    """The encoder and the decoder of a second stage."""
    make = lambda name, heads: lambda size: networks.mlp(size, latent_dim, heads=heads, name=name, **sizes)  # noqa: E731
    encoder = networks.told(make("second_encoder", ("mu", "log_variance")), latent_dim, **told, name="second_encoder")
    return encoder, networks.told(make("second_decoder", ("code",)), latent_dim, **told, name="second_decoder")


def _prior(prior, image_shape, latent_dim, components):
    if prior not in ("normal", "mixture", "vamp"):
        raise ValueError(f"prior is {prior!r}, expected 'normal', 'mixture' or 'vamp'.")
    if prior == "vamp":
        return priors.VampPrior(image_shape, latent_dim, components)
    return None if prior == "normal" else priors.TrainedMixture(latent_dim, components)


@recipe("vae", jit_compile=True, steps_per_execution=10)
def vae(
    image_shape,
    total_steps,
    pair=PAIR,
    likelihood=Hyperparameter(
        "gaussian",
        meaning='p(x|z): a name of `likelihoods.NAMED`, as "laplace" or "logistic_mixture", or a `likelihoods.Likelihood`.',
    ),
    scale=Hyperparameter(
        "optimal", meaning='Of a "gaussian" or "laplace" likelihood: a number above 0, "learned", or "optimal" for each batch.'
    ),
    objective=arguments(
        VAE,
        "beta",
        "importance_samples",
        beta=Hyperparameter(1.0, Float(0.1, 10.0)),
        importance_samples=Hyperparameter(1, Choice((1, 5, 20), when={"form": ("elbo",)})),
    ),
    warmup=Hyperparameter(
        0.0,
        Choice((0.0, 0.1, 0.3)),
        "Share of the training, of `total_steps`, in which the weight of the KL term grows from 0 to `beta`.",
    ),
    flow=Hyperparameter(None, meaning='Flow that bends the posterior: "planar", "autoregressive" or None.'),
    flow_layers=Hyperparameter(4, Int(1, 12, when={"flow": ("planar", "autoregressive")}), "Layers of the posterior's flow."),
    flow_width=Hyperparameter(
        128, Choice((64, 128, 256), when={"flow": ("autoregressive",)}), "Units of the networks in an autoregressive flow."
    ),
    prior=Hyperparameter("normal", meaning='p(z): "normal", "mixture", of trained Gaussians, or "vamp", of pseudo-images.'),
    components=Hyperparameter(50, meaning='Components of the prior "mixture" or "vamp".'),
    form=Hyperparameter(
        "elbo",
        meaning='The objective: "elbo", "total_correlation" (`models.BetaTCVAE`), "info" (`models.InfoVAE`) or "two_stage" '
        "(`models.TwoStageVAE`).",
    ),
    total_correlation=arguments(BetaTCVAE, "dataset_size"),
    info=arguments(InfoVAE, "divergence", "alpha"),
    divergence_weight=Hyperparameter(
        1000.0, Float(10.0, 1e5, when={"form": ("info",)}), 'Weight of the divergence of the form "info"; the paper\'s lambda.'
    ),
    fitted_components=FITTED_COMPONENTS,
    fitted=FITTED,
    told=CONDITIONS,
    second=arguments(networks.mlp, "width", prefix="second_", width=256),
    adam_settings=optimizer(),
    general=GENERAL,
):
    """Variational autoencoder with a Gaussian likelihood whose variance is the optimal one."""
    if warmup and total_steps is None:
        warnings.warn(
            f"warmup is {warmup}, a share of a training whose length is not known: none; give total_steps=.", stacklevel=5
        )
    latent_dim = pair["latent_dim"]
    density = likelihoods.NAMED[likelihood](scale) if likelihood in ("gaussian", "laplace") else likelihoods.get(likelihood)
    height, columns, channels = image_shape
    output_shape = (height, columns, density.parameter_count(channels))
    heads = ("mu", "log_variance") if flow is None else ("mu", "log_variance", "context")
    # A location in [0, 1]; a logit or the pair of the logistic is unbounded.
    head = "sigmoid" if isinstance(density, (likelihoods.Gaussian, likelihoods.Laplace)) else None
    networks_ = encoder_decoder(image_shape, output_shape, heads, head, told=told, **pair)
    settings = dict(
        prior=_prior(prior, image_shape, latent_dim, components),
        likelihood=density,
        beta_warmup=int(warmup * (total_steps or 0)),
        posterior_flow=None if flow is None else bijectors.Chain(_flow(flow, latent_dim, flow_layers, flow_width)),
        fitted_prior=fitted_prior(latent_dim, fitted_components, fitted, **told),
        **objective,
        **told,
        **general,
    )
    optimizers = {"optimizer": adam(total_steps, **adam_settings)}
    if form not in FORMS:
        raise ValueError(f"form is {form!r}, expected 'elbo', 'total_correlation', 'info' or 'two_stage'.")
    if form == "elbo":
        model = VAE(*networks_, **settings)
    elif form == "total_correlation":
        model = BetaTCVAE(*networks_, **total_correlation, **settings)
    elif form == "info":
        model = InfoVAE(*networks_, weight=divergence_weight, **info, **settings)
    else:
        inner = dict(depth=2, normalization=pair["normalization"], activation=pair["activation"], **second)
        model = TwoStageVAE(*networks_, *_second(latent_dim, told, **inner), **settings)
        optimizers["second_optimizer"] = adam(total_steps, **adam_settings)
    return model, optimizers


variant("beta_vae", "vae", "beta-VAE: the KL term weighs four times as much.", beta=4.0)
variant("laplace_vae", "vae", "Variational autoencoder with a Laplace likelihood.", likelihood="laplace")
variant("planar_vae", "vae", "VAE whose posterior is bent by planar flows.", flow="planar", flow_layers=8)
variant("iaf_vae", "vae", "VAE whose posterior is an inverse autoregressive flow.", flow="autoregressive")
variant(
    "unit_vae",
    "vae",
    "VAE with a Gaussian likelihood of variance 1, which blurs: what Wasserstein autoencoders are held against.",
    scale=1.0,
)
variant("iwae", "vae", "Importance-weighted autoencoder: the bound of five draws.", importance_samples=5)
variant(
    "beta_tc_vae",
    "vae",
    "beta-TCVAE: the total correlation of the codes weighs four times as much.",
    form="total_correlation",
    beta=4.0,
)
variant("info_vae", "vae", "InfoVAE: half of the KL term, and the MMD of all codes from the prior.", form="info", alpha=0.5)
variant("mmd_vae", "vae", "MMD-VAE: the MMD of all codes from the prior instead of the KL term.", form="info", alpha=1.0)
variant("vamp_vae", "vae", "VAE with the VampPrior: a mixture of the posteriors of fifty trained pseudo-images.", prior="vamp")
variant("mixture_vae", "vae", "VAE with a trained mixture of fifty Gaussians as prior.", prior="mixture")
variant("two_stage_vae", "vae", "Two-stage VAE: a second VAE learns where the codes of the first lie.", form="two_stage")


def _grid_prior(positions, codes, dim, components, num_classes=None, condition_dim=None):
    """A mixture over grids: over the numbers of vectors, of each class; given conditions over the vectors themselves."""
    components = of_a_class(components, num_classes)
    if condition_dim is not None:
        return priors.mixture_for(positions * dim, components, num_classes, condition_dim)
    mixtures = [priors.CategoricalMixture(positions, codes, components) for _ in range(num_classes or 1)]
    return priors.ByClass(mixtures) if num_classes else mixtures[0]


@recipe("vae", jit_compile=False)
def vqvae(
    image_shape,
    total_steps,
    dim=Hyperparameter(4, Int(2, 32), "Dimensions of the vectors."),
    codes=Hyperparameter(128, Choice((64, 128, 256, 512)), "Number of vectors in the codebook."),
    size=arguments(
        networks.conv_encoder,
        "normalization",
        "activation",
        "depth",  # the same at every size: the code is a grid
        width=Hyperparameter(16, Choice((8, 16, 32))),
    ),
    objective=arguments(Autoencoder, "distance")
    | arguments(VQVAE, "commitment", commitment=Hyperparameter(0.25, Float(0.05, 2.0))),
    codebook=arguments(Codebook, "decay", "revive", decay=Hyperparameter(0.99, Choice((0.9, 0.99, 0.999)))),
    quantizer=Hyperparameter(
        "codebook", meaning='"codebook", of vectors that follow the encoder, or "scalar", of the values `levels` of each element.'
    ),
    levels=Hyperparameter(
        (5, 5, 5), meaning='Of the quantizer "scalar": number of values of each element, in the place of `dim` and `codes`.'
    ),
    prior=Hyperparameter(
        "mixture",
        meaning='Over grids: "mixture", which `fit_prior` fits, or "autoregressive", a gated PixelCNN that learns along.',
    ),
    components=Hyperparameter(
        50,
        meaning='Components, at most, of the prior "mixture"; with 0 there is no prior, and the model cannot sample.',
    ),
    prior_network=arguments(
        networks.gated_pixelcnn, prefix="prior_", width=Hyperparameter(64, Choice((32, 64, 128), when=LEARNED)), depth=6
    ),
    told=CONDITIONS,
    adam_settings=optimizer(),
    prior_optimizer=optimizer(1e-3, Float(1e-4, 1e-2, when=LEARNED), prefix="prior_"),
    general=GENERAL,
):
    """Vector-quantised autoencoder; samples from a mixture fitted to its grids of vectors."""
    for name, value, known in (("quantizer", quantizer, ("codebook", "scalar")), ("prior", prior, ("mixture", "autoregressive"))):
        if value not in known:
            raise ValueError(f"{name} is {value!r}, expected {known[0]!r} or {known[1]!r}.")
    book = ScalarCodebook(levels) if quantizer == "scalar" else None
    dim, codes = (dim, codes) if book is None else (book.dim, book.size)
    rows, columns = (-(-side // 2 ** whole(depth=size["depth"])) for side in image_shape[:2])
    pair = told_pair(
        lambda seen: networks.grid_encoder(seen, dim, **size),
        lambda seen: networks.grid_decoder(image_shape, seen[-1], output_activation="sigmoid", **size),
        image_shape,
        (rows, columns, dim),
        told,
    )
    optimizers = {"optimizer": adam(total_steps, **adam_settings)}
    if prior == "autoregressive":
        network = networks.gated_pixelcnn((rows, columns, 1), codes, embedded=codes, name="prior", **told, **prior_network)
        density = AutoregressiveModel(network, likelihoods.Categorical(codes), seed=0, **told)
        optimizers["prior_optimizer"] = adam(total_steps, **prior_optimizer)
    else:
        density = _grid_prior(rows * columns, codes, dim, components, **told) if components else None
    book = Codebook(codes, dim, **codebook) if book is None else book
    return VQVAE(*pair, book, prior=density, **objective, **told, **general), optimizers


variant(
    "vqvae_pixelcnn",
    "vqvae",
    "Vector-quantised autoencoder whose prior over grids is a gated PixelCNN.",
    prior="autoregressive",
)
variant(
    "fsq_vae",
    "vqvae_pixelcnn",
    "FSQ: as `vqvae_pixelcnn`, with a few values for each element of a vector instead of a codebook that is trained.",
    search=dict.fromkeys(("dim", "codes", "decay", "commitment")),
    quantizer="scalar",
    commitment=0.0,
)
