"""Recipes of variational autoencoders."""

from keras_genzoo import bijectors, likelihoods, networks, priors
from keras_genzoo.models import VAE, VQVAE, BetaTCVAE, Codebook, InfoVAE, TwoStageVAE
from keras_genzoo.recipes.registry import adam, recipe, variant
from keras_genzoo.recipes.space import ACTIVATION, LEARNING_RATE, Choice, Float, Int


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


SEARCH = {
    "latent_dim": Int(4, 64),
    "width": Choice((128, 256, 512, 1024), when={"network": ("dense",)}),
    "depth": Int(1, 3, "linear"),
    "normalization": Choice((None, "batch", "layer")),
    "activation": ACTIVATION,
    "beta": Float(0.1, 10.0),
    "warmup": Choice((0.0, 0.1, 0.3)),
    "divergence_weight": Float(10.0, 1e5, when={"form": ("info",)}),
    "importance_samples": Choice((1, 5, 20), when={"form": ("elbo",)}),
    "flow_layers": Int(1, 12, when={"flow": ("planar", "autoregressive")}),
    "flow_width": Choice((64, 128, 256), when={"flow": ("autoregressive",)}),
    "learning_rate": LEARNING_RATE,
}


def encoder_decoder(network, image_shape, output_shape, latent_dim, heads, output_activation, **shared):
    """The pair of networks that VAEs and WAEs have in common."""
    if network not in ("dense", "convolutional"):
        raise ValueError(f"network is {network!r}, expected 'dense' or 'convolutional'.")
    if network == "dense":
        encoder = networks.mlp(image_shape, latent_dim, heads=heads, name="encoder", **shared)
        decoder = networks.mlp(latent_dim, output_shape, output_activation=output_activation, name="decoder", **shared)
    else:
        encoder = networks.conv_encoder(image_shape, latent_dim, heads=heads, **shared)
        decoder = networks.conv_decoder(latent_dim, output_shape, output_activation=output_activation, **shared)
    return encoder, decoder


def _prior(prior, image_shape, latent_dim, components):
    if prior not in ("normal", "mixture", "vamp"):
        raise ValueError(f"prior is {prior!r}, expected 'normal', 'mixture' or 'vamp'.")
    if prior == "vamp":
        return priors.VampPrior(image_shape, latent_dim, components)
    return None if prior == "normal" else priors.TrainedMixture(latent_dim, components)


@recipe("vae", SEARCH, jit_compile=True, steps_per_execution=10)
def vae(
    image_shape,
    total_steps,
    network="dense",
    latent_dim=16,
    width=512,
    depth=2,
    normalization="layer",
    activation="relu",
    likelihood="gaussian",
    scale="optimal",
    beta=1.0,
    warmup=0.0,
    flow=None,
    flow_layers=4,
    flow_width=128,
    prior="normal",
    components=50,
    importance_samples=1,
    form="elbo",
    dataset_size=None,
    divergence="mmd",
    divergence_weight=1000.0,
    alpha=1.0,
    second_width=256,
    learning_rate=2e-3,
    ema=None,
    seed=None,
):
    """Variational autoencoder with a Gaussian likelihood whose variance is the optimal one."""
    shared = dict(width=width, depth=depth, normalization=normalization, activation=activation)
    named = likelihood in ("gaussian", "laplace")
    density = likelihoods.NAMED[likelihood](scale) if named else likelihoods.get(likelihood)
    height, columns, channels = image_shape
    output_shape = (height, columns, channels * density.parameters_per_channel)
    heads = ("mu", "log_variance") if flow is None else ("mu", "log_variance", "context")
    # A location in [0, 1]; a logit or the pair of the logistic is unbounded.
    head = "sigmoid" if isinstance(density, (likelihoods.Gaussian, likelihoods.Laplace)) else None
    pair = encoder_decoder(network, image_shape, output_shape, latent_dim, heads, head, **shared)
    settings = dict(
        prior=_prior(prior, image_shape, latent_dim, components),
        likelihood=density,
        beta=beta,
        beta_warmup=int(warmup * (total_steps or 0)),
        posterior_flow=None if flow is None else bijectors.Chain(_flow(flow, latent_dim, flow_layers, flow_width)),
        importance_samples=importance_samples,
        ema=ema,
        seed=seed,
    )
    optimizers = {"optimizer": adam(learning_rate, total_steps)}
    if form == "elbo":
        model = VAE(*pair, **settings)
    elif form == "total_correlation":
        model = BetaTCVAE(*pair, dataset_size, **settings)
    elif form == "info":
        model = InfoVAE(*pair, divergence, alpha, divergence_weight, **settings)
    elif form == "two_stage":
        inner = dict(width=second_width, depth=2, normalization=normalization, activation=activation)
        second_encoder = networks.mlp(latent_dim, latent_dim, heads=("mu", "log_variance"), name="second_encoder", **inner)
        second_decoder = networks.mlp(latent_dim, latent_dim, name="second_decoder", **inner)
        model = TwoStageVAE(*pair, second_encoder, second_decoder, **settings)
        optimizers["second_optimizer"] = adam(learning_rate, total_steps)
    else:
        raise ValueError(f"form is {form!r}, expected 'elbo', 'total_correlation', 'info' or 'two_stage'.")
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


GRID = {
    "dim": Int(2, 32),
    "codes": Choice((64, 128, 256, 512)),
    "width": Choice((8, 16, 32)),
    "commitment": Float(0.05, 2.0),
    "decay": Choice((0.9, 0.99, 0.999)),
    "learning_rate": LEARNING_RATE,
}


@recipe("vae", GRID, jit_compile=False)
def vqvae(
    image_shape,
    total_steps,
    dim=4,
    codes=128,
    width=16,
    depth=2,
    normalization="batch",
    activation="relu",
    distance="l2",
    commitment=0.25,
    decay=0.99,
    components=1,
    learning_rate=2e-3,
    ema=None,
    seed=None,
):
    """Vector-quantised autoencoder; samples from a Gaussian fitted to its grids of vectors, snapped to the codebook."""
    shared = dict(width=width, depth=depth, normalization=normalization, activation=activation)
    encoder = networks.grid_encoder(image_shape, dim, **shared)
    decoder = networks.grid_decoder(image_shape, dim, output_activation="sigmoid", **shared)
    rows, columns, _ = encoder.output_shape[1:]
    prior = priors.GaussianMixture(rows * columns * dim, components) if components else None
    model = VQVAE(encoder, decoder, Codebook(codes, dim, decay), distance, prior, commitment, ema=ema, seed=seed)
    return model, {"optimizer": adam(learning_rate, total_steps)}
