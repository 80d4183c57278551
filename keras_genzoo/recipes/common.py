"""Hyperparameters and networks that recipes of several families share."""

from keras_genzoo import bijectors, flows, networks, priors
from keras_genzoo.core import averages
from keras_genzoo.core.checks import whole
from keras_genzoo.core.conditions import Conditional
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.core.saving import load, take_weights
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
KL_HEADS = "mu", "log_variance"  # of the encoder of a Gaussian posterior
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


CONDITIONS = arguments(Conditional, "num_classes", "condition_dim")
FITTED = Hyperparameter(
    "mixture",
    meaning='The density that `fit_prior` fits to the codes: "mixture", of Gaussians, "flow" (`priors.FlowPrior`) or '
    '"two_stage", a VAE of codes (`priors.TwoStagePrior`).',
)
FLOW = {"count": 4, "width": 128, "depth": 2, "elementwise": "spline"}
SECOND = {"width": 256, "depth": 2}


def units_of(told):
    """How many numbers networks are told, of a dict of `num_classes` and `condition_dim`; None where they are told nothing."""
    return sum(number or 0 for number in told.values()) or None


def of_a_class(components, num_classes=None):
    """Components of a mixture for each class, of those of all together."""
    return -(-components // (num_classes or 1))


def fitted_prior(latent_dim, components, density="mixture", num_classes=None, condition_dim=None):
    """The density that is fitted to the codes after training, a mixture of a conditional model by the condition; or None where
    there are no components."""
    if density not in ("mixture", "flow", "two_stage"):
        raise ValueError(f"fitted is {density!r}, expected 'mixture', 'flow' or 'two_stage'.")
    if not components:
        return None
    if density == "mixture":
        return priors.mixture_for(latent_dim, of_a_class(components, num_classes), num_classes, condition_dim)
    if num_classes or condition_dim:
        raise ValueError(f"fitted is {density!r}, a density that knows no conditions; take fitted='mixture' beside them.")
    if density == "flow":
        if latent_dim < 2:
            raise ValueError("latent_dim is 1, and couplings of a flow need two numbers at least; take fitted='mixture'.")
        return priors.FlowPrior(bijectors.Chain(flows.couplings(latent_dim, **FLOW)), latent_dim)
    encoder = networks.mlp(latent_dim, latent_dim, heads=("mu", "log_variance"), name="prior_encoder", **SECOND)
    return priors.TwoStagePrior(encoder, networks.mlp(latent_dim, latent_dim, name="prior_decoder", **SECOND), latent_dim)


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
    told=(),
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
        told: dict of `num_classes` and `condition_dim`, what both are told. Defaults to nothing.
    """
    if network not in ("dense", "convolutional"):
        raise ValueError(f"network is {network!r}, expected 'dense' or 'convolutional'.")
    shared = dict(width=width, depth=depth, normalization=normalization, activation=activation)
    encode, decode = (networks.mlp,) * 2 if network == "dense" else (networks.conv_encoder, networks.conv_decoder)
    return told_pair(
        lambda size: encode(size, latent_dim, heads=heads, name="encoder", **shared),
        lambda size: decode(size, output_shape, output_activation=output_activation, name="decoder", **shared),
        image_shape,
        latent_dim,
        told,
    )


def told_pair(encode, decode, image_shape, code_shape, told=()):
    """An encoder and a decoder that are told the same (`networks.told`), of callables of the shapes that they see."""
    told = dict(told)
    encoder = networks.told(encode, image_shape, **told, name="encoder")
    return encoder, networks.told(decode, code_shape, **told, name="decoder")


PAIR = arguments(
    encoder_decoder,
    network=Hyperparameter("dense", sized=sizes.network),
    latent_dim=Hyperparameter(16, Int(4, 64), sized=sizes.dimensions),
    width=Hyperparameter(512, Choice((128, 256, 512, 1024)), sized=sizes.width_of_network),
    depth=Hyperparameter(2, DEPTH, sized=sizes.halvings_of_network),
    normalization=Hyperparameter("layer", NORMALIZATION),
    activation=Hyperparameter("relu", ACTIVATION),
)


def grid_pair(image_shape, downsampling, channels, heads=("grid",), **settings):
    """An encoder and a decoder of codes with space, whose sides are so many times smaller than the image's.

    Args:
        image_shape: `(height, width, channels)`.
        downsampling: int. A power of 2.
        channels: int. Of a code.
        heads: names of the encoder's outputs. Defaults to one.
        **settings: of `networks.grid_encoder`: `width`, `blocks`, `normalization`, `activation`.
    """
    depth = whole(2, downsampling=downsampling).bit_length() - 1
    if downsampling != 2**depth:
        raise ValueError(f"downsampling is {downsampling}, expected a power of 2, as 4.")
    encoder = networks.grid_encoder(image_shape, channels, depth=depth, heads=heads, **settings)
    return encoder, networks.grid_decoder(image_shape, channels, depth=depth, output_activation="sigmoid", **settings)


def trained(path, image_shape):
    """The autoencoder of a file, or of the folder of a run, without averages, optimizers and the critic of a game.

    Raises:
        ValueError: it takes images of another shape.
    """
    found = load(path)
    if found.image_shape != tuple(image_shape):
        raise ValueError(f"the model of {path} takes images of shape {found.image_shape}, expected {tuple(image_shape)}.")
    averages.settle(found)
    config = {**found.get_config(), "ema": None}
    model = type(found).from_config({**config, **({"game": None} if "game" in config else {})})
    take_weights(model, found)
    return model
