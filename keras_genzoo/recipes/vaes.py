"""Recipes of variational autoencoders."""

from keras_genzoo import bijectors, likelihoods, networks
from keras_genzoo.models import VAE
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
    "flow_layers": Int(1, 12, when={"flow": ("planar", "autoregressive")}),
    "flow_width": Choice((64, 128, 256), when={"flow": ("autoregressive",)}),
    "learning_rate": LEARNING_RATE,
}


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
    learning_rate=2e-3,
    ema=None,
    seed=None,
):
    """Variational autoencoder with a Gaussian likelihood whose variance is the optimal one."""
    if network not in ("dense", "convolutional"):
        raise ValueError(f"network is {network!r}, expected 'dense' or 'convolutional'.")
    shared = dict(width=width, depth=depth, normalization=normalization, activation=activation)
    scaled = likelihood in ("gaussian", "laplace")
    density = likelihoods.NAMED[likelihood](scale) if scaled else likelihoods.get(likelihood)
    height, columns, channels = image_shape
    output_shape = (height, columns, channels * density.parameters_per_channel)
    heads = ("mu", "log_variance") if flow is None else ("mu", "log_variance", "context")
    # A location in [0, 1]; a logit or the pair of the logistic is unbounded.
    head = "sigmoid" if scaled else None
    if network == "dense":
        encoder = networks.mlp(image_shape, latent_dim, heads=heads, name="encoder", **shared)
        decoder = networks.mlp(latent_dim, output_shape, output_activation=head, name="decoder", **shared)
    else:
        encoder = networks.conv_encoder(image_shape, latent_dim, heads=heads, **shared)
        decoder = networks.conv_decoder(latent_dim, output_shape, output_activation=head, **shared)
    beta_warmup = int(warmup * (total_steps or 0))
    posterior_flow = None if flow is None else bijectors.Chain(_flow(flow, latent_dim, flow_layers, flow_width))
    model = VAE(
        encoder,
        decoder,
        likelihood=density,
        beta=beta,
        beta_warmup=beta_warmup,
        posterior_flow=posterior_flow,
        ema=ema,
        seed=seed,
    )
    return model, {"optimizer": adam(learning_rate, total_steps)}


variant("beta_vae", "vae", "beta-VAE: the KL term weighs four times as much.", beta=4.0)
variant("laplace_vae", "vae", "Variational autoencoder with a Laplace likelihood.", likelihood="laplace")
variant("planar_vae", "vae", "VAE whose posterior is bent by planar flows.", flow="planar", flow_layers=8)
variant("iaf_vae", "vae", "VAE whose posterior is an inverse autoregressive flow.", flow="autoregressive")
