"""Hyperparameters and networks that recipes of several families share."""

from keras_genzoo import bijectors, flows, networks
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.priors import FlowPrior, GaussianMixture, TwoStagePrior
from keras_genzoo.recipes import sizes
from keras_genzoo.recipes.building import adam
from keras_genzoo.recipes.hyperparameters import Hyperparameter, arguments
from keras_genzoo.recipes.space import Choice, Float, Int

GENERAL = arguments(GenerativeModel, "ema", "seed")
ACTIVATION = Choice(("relu", "silu", "gelu"))
DEPTH = Int(1, 3, "linear")
HALVINGS = Hyperparameter(2, sized=sizes.halvings)
NORMALIZATION = Choice((None, "batch", "layer"))
RATE = Float(1e-4, 1e-2)
DENSE_WIDTH = Choice((128, 256, 512, 1024))
COMPONENTS = Hyperparameter(
    200,
    meaning="Gaussians, at most, of the mixture that `fit_prior` fits to the codes; with 0 there is no prior, and the model "
    "cannot sample.",
)
FITTED_COMPONENTS = Hyperparameter(
    100,
    meaning="Gaussians, at most, of the mixture that `fit_prior` fits to the codes, and `sample` then draws from; with 0 there "
    "is none, and `sample` always draws from the prior.",
)


FITTED = Hyperparameter(
    "mixture",
    meaning='The density that `fit_prior` fits to the codes: "mixture", of Gaussians, "flow" (`priors.FlowPrior`) or '
    '"two_stage", a VAE of codes (`priors.TwoStagePrior`).',
)
FLOW = {"count": 4, "width": 128, "depth": 2, "elementwise": "spline"}
SECOND = {"width": 256, "depth": 2}


def fitted_prior(latent_dim, components, density="mixture"):
    """The density that is fitted to the codes after training, or None where there are no components."""
    if density not in ("mixture", "flow", "two_stage"):
        raise ValueError(f"fitted is {density!r}, expected 'mixture', 'flow' or 'two_stage'.")
    if not components:
        return None
    if density == "flow":
        if latent_dim < 2:
            raise ValueError("latent_dim is 1, and couplings of a flow need two numbers at least; take fitted='mixture'.")
        return FlowPrior(bijectors.Chain(flows.couplings(latent_dim, **FLOW)), latent_dim)
    if density == "two_stage":
        encoder = networks.mlp(latent_dim, latent_dim, heads=("mu", "log_variance"), name="prior_encoder", **SECOND)
        return TwoStagePrior(encoder, networks.mlp(latent_dim, latent_dim, name="prior_decoder", **SECOND), latent_dim)
    return GaussianMixture(latent_dim, components)


def general(ema=None, range=None):
    """`ema` and `seed`, with another default and a range of `ema`."""
    return arguments(GenerativeModel, "ema", "seed", ema=Hyperparameter(ema, range))


def optimizer(learning_rate=2e-3, range=RATE, prefix="", **others):
    """The learning rate of Adam, and what else is given."""
    return arguments(adam, "learning_rate", prefix=prefix, learning_rate=Hyperparameter(learning_rate, range), **others)


def encoder_decoder(
    image_shape,
    output_shape,
    heads,
    output_activation,
    network="dense",
    latent_dim=16,
    width=512,
    depth=2,
    normalization="layer",
    activation="relu",
):
    """The pair of networks that VAEs, WAEs and latent diffusion have in common.

    Args:
        image_shape: `(height, width, channels)` of the images.
        output_shape: `(height, width, channels)` of what the decoder puts out.
        heads: names of the encoder's outputs.
        output_activation: of the decoder.
        network: "dense" (`networks.mlp`) or "convolutional" (`networks.conv_encoder` and `networks.conv_decoder`).
        latent_dim: int. Dimensions of the code.
        width: int. Units of the hidden layers, or channels of the first convolution.
        depth: int. Number of hidden layers, or of halvings of the sides.
        normalization: None, "batch", "synchronized_batch", "layer" or "channel".
        activation: name or callable, of the hidden layers.
    """
    if network not in ("dense", "convolutional"):
        raise ValueError(f"network is {network!r}, expected 'dense' or 'convolutional'.")
    shared = dict(width=width, depth=depth, normalization=normalization, activation=activation)
    if network == "dense":
        encoder = networks.mlp(image_shape, latent_dim, heads=heads, name="encoder", **shared)
        decoder = networks.mlp(latent_dim, output_shape, output_activation=output_activation, name="decoder", **shared)
    else:
        encoder = networks.conv_encoder(image_shape, latent_dim, heads=heads, **shared)
        decoder = networks.conv_decoder(latent_dim, output_shape, output_activation=output_activation, **shared)
    return encoder, decoder


PAIR = arguments(
    encoder_decoder,
    "*",
    network=Hyperparameter("dense", sized=sizes.network),
    latent_dim=Hyperparameter(16, Int(4, 64), sized=sizes.dimensions),
    width=Hyperparameter(512, Choice((128, 256, 512, 1024)), sized=sizes.width_of_network),
    depth=Hyperparameter(2, DEPTH, sized=sizes.halvings_of_network),
    normalization=Hyperparameter("layer", NORMALIZATION),
    activation=Hyperparameter("relu", ACTIVATION),
)
