"""Recipes of autoencoders. Sampling is by a mixture of Gaussians over the codes, fitted after training."""

from keras_genzoo import networks
from keras_genzoo.models import Autoencoder
from keras_genzoo.priors import GaussianMixture
from keras_genzoo.recipes.registry import adam, recipe
from keras_genzoo.recipes.space import ACTIVATION, LEARNING_RATE, Choice, Int

SEARCH = {
    "latent_dim": Int(8, 128),
    "depth": Int(1, 3, "linear"),
    "normalization": Choice((None, "batch", "layer")),
    "activation": ACTIVATION,
    "distance": Choice(("l1", "l2")),
    "components": Choice((50, 100, 200)),
    "learning_rate": LEARNING_RATE,
}


def _with_prior(encoder, decoder, latent_dim, components, distance, ema, seed):
    prior = GaussianMixture(latent_dim, components) if components else None
    return Autoencoder(encoder, decoder, distance=distance, prior=prior, ema=ema, seed=seed)


@recipe("autoencoder", {**SEARCH, "width": Choice((8, 16, 32))}, jit_compile=False)
def autoencoder(
    image_shape,
    total_steps,
    latent_dim=32,
    width=16,
    depth=2,
    normalization="batch",
    activation="relu",
    distance="l2",
    components=200,
    learning_rate=2e-3,
    ema=None,
    seed=None,
):
    """Convolutional autoencoder; samples from a mixture of Gaussians fitted to its codes."""
    shared = dict(width=width, depth=depth, normalization=normalization, activation=activation)
    encoder = networks.conv_encoder(image_shape, latent_dim, **shared)
    decoder = networks.conv_decoder(latent_dim, image_shape, output_activation="sigmoid", **shared)
    model = _with_prior(encoder, decoder, latent_dim, components, distance, ema, seed)
    return model, {"optimizer": adam(learning_rate, total_steps)}


@recipe("autoencoder", {**SEARCH, "width": Choice((128, 256, 512, 1024))}, jit_compile=True, steps_per_execution=10)
def dense_autoencoder(
    image_shape,
    total_steps,
    latent_dim=24,
    width=256,
    depth=2,
    normalization=None,
    activation="silu",
    distance="l2",
    components=200,
    learning_rate=2e-3,
    ema=None,
    seed=None,
):
    """Fully connected autoencoder; samples from a mixture of Gaussians fitted to its codes."""
    shared = dict(width=width, depth=depth, normalization=normalization, activation=activation)
    encoder = networks.mlp(image_shape, latent_dim, name="encoder", **shared)
    decoder = networks.mlp(latent_dim, image_shape, output_activation="sigmoid", name="decoder", **shared)
    model = _with_prior(encoder, decoder, latent_dim, components, distance, ema, seed)
    return model, {"optimizer": adam(learning_rate, total_steps)}
