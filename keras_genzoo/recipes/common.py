"""Hyperparameters and networks that recipes of several families share."""

from keras_genzoo import bijectors, networks, priors
from keras_genzoo.core.conditions import Conditional
from keras_genzoo.core.model import GenerativeModel
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


CONDITIONS = arguments(Conditional, "num_classes", "condition_dim")
FITTED = "mixture", "flow", "two_stage"


def units_of(told):
    """How many numbers networks are told, of a dict of `num_classes` and `condition_dim`; None where they are told nothing."""
    return sum(number or 0 for number in told.values()) or None


def dense_couplings(dimensions, count, width, depth, elementwise="affine", context=None):
    """Couplings of vectors by fully connected networks, every other element changing in turn."""
    if dimensions < 2 or not count:
        return []
    make, half = bijectors.get_elementwise(elementwise), dimensions // 2
    chain = [bijectors.Permutation([*range(0, dimensions, 2), *range(1, dimensions, 2)])]
    for index in range(count):
        flip = index % 2 == 1
        stays = dimensions - half if flip else half
        network = networks.dense_coupling(stays, (dimensions - stays) * make.parameters, width, depth, context=context)
        chain.append(bijectors.Coupling(network, make, flip=flip))
    return chain


def fitted_prior(latent_dim, components, kind="mixture", steps=2000, num_classes=None, condition_dim=None):
    """The density that is fitted to the codes after training, or None.

    Args:
        latent_dim: int. Dimensions of the codes.
        components: int. Gaussians, at most, of a mixture; 0 makes no density at all.
        kind: str. What `fit_prior` fits to the codes: "mixture", of Gaussians, "flow", of couplings by splines, or "two_stage", a
            second VAE.
        steps: int. Steps of the fit of a "flow" or of "two_stage".
        num_classes, condition_dim: ints or None, those of the model.
    """
    if kind not in FITTED:
        raise ValueError(f"fitted_kind is {kind!r}, expected one of {', '.join(FITTED)}.")
    if not components:
        return None
    told = {"num_classes": num_classes, "condition_dim": condition_dim}
    if kind == "mixture":
        return priors.mixture_for(latent_dim, components, **told)
    if kind == "flow":
        chain = dense_couplings(latent_dim, 6, 128, 2, "spline", units_of(told))
        # A coupling needs two numbers.
        chain = chain or [bijectors.ActNorm(latent_dim)]
        return priors.FlowPrior(bijectors.Chain(chain), latent_dim, steps=steps)
    second = second_pair(latent_dim, told, width=256)
    return priors.SecondStage(*second, steps=steps)


def second_pair(latent_dim, told, **sizes):
    """The encoder and the decoder of a second stage, by `networks.mlp`."""
    make = lambda name, heads: lambda size: networks.mlp(size, latent_dim, heads=heads, name=name, **sizes)  # noqa: E731
    encoder = networks.told(make("second_encoder", ("mu", "log_variance")), latent_dim, **told, name="second_encoder")
    return encoder, networks.told(make("second_decoder", ("code",)), latent_dim, **told, name="second_decoder")


DENSITY = arguments(fitted_prior, "kind", "steps", prefix="fitted_")


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
