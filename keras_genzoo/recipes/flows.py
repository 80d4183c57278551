"""Recipes of normalizing flows."""

import dataclasses
import functools
import math

from keras_genzoo import bijectors, flows, networks
from keras_genzoo.core.checks import whole
from keras_genzoo.models import Flow
from keras_genzoo.recipes import sizes
from keras_genzoo.recipes.building import adam
from keras_genzoo.recipes.common import CONDITIONS, DENSE_WIDTH, DEPTH, general, optimizer, units_of
from keras_genzoo.recipes.hyperparameters import Hyperparameter, arguments
from keras_genzoo.recipes.registry import recipe, variant
from keras_genzoo.recipes.space import Choice, Float, Int

GLOW = ("levels", "steps", "width", "kernels", "elementwise", "checkerboard", "dequantisation", "dense", "marginals", "alpha")
ELEMENTWISE = Hyperparameter("affine", meaning='How a coupling changes a number: "additive", "affine", "sigmoid" or "spline".')
CLIPNORM = Hyperparameter(
    None, Choice((None, 10.0, 100.0)), "Largest norm of the gradient, beyond which it is scaled down; None does not."
)
ALPHA = "Logits are of alpha + (1 - 2 alpha) x, so that they are finite; None has x - 1/2 in their place."
PRIORS = (
    "Whether what a level is done with has a mean and a deviation learned of what stays, and the rest in the end those of its "
    "channels."
)
GENERAL = general(None, Choice((None, 0.99, 0.999)))


def _alpha(**when):
    return Hyperparameter(0.05, Float(1e-4, 0.1, **when), ALPHA)


def _coupling(shape, elementwise, width, kernels, blocks, flip=False, mask="channels", remat=False, context=None):
    """A coupling of images with a small convolutional network, or one of residual blocks."""
    channels = shape[-1]
    if mask == "checkerboard":
        stays, changes = channels, channels
    else:
        stays = channels - channels // 2 if flip else channels // 2
        changes = channels - stays
    make = bijectors.get_elementwise(elementwise)
    shape, outputs = (*shape[:2], stays), changes * make.parameters
    if blocks:
        network = networks.residual_coupling(shape, outputs, width, blocks, context=context)
    else:
        network = networks.conv_coupling(shape, outputs, width, kernels, context=context)
    return bijectors.Coupling(network, make, mask, flip, remat)


def _levels(shape, levels, make_first, make_steps, make_last=bijectors.Flatten, make_split=lambda shape: [], scale=0):
    """Levels of images of a shape: `make_first(shape, scale)` made, 2x2 pixels joined, `make_steps(shape, scale)` made, and half
    of the channels done with, behind `make_split(shape)`. What `make_first` says of the scale behind the last level is made too,
    if it is anything. In the end `make_last(shape)` makes vectors of what is left."""
    first = make_first(shape, scale)
    rest = _joined(shape, levels, make_first, make_steps, make_last, make_split, scale) if levels else make_last(shape)
    return bijectors.Chain([*first, rest]) if first else rest


def _joined(shape, levels, make_first, make_steps, make_last, make_split, scale):
    """A level from where pixels are joined, and what follows it."""
    height, width, channels = shape
    for part, odd, kept in (("row", height % 2, (height - 1, width)), ("column", width % 2, (height, width - 1))):
        if odd and 0 not in kept:  # odd rows and columns are done with
            rest = _joined((*kept, channels), levels, make_first, make_steps, make_last, make_split, scale)
            return bijectors.FactorOut(shape, rest, part)
    scale += 1
    if 1 in (height, width):  # a line of pixels has no 2x2
        chain = make_steps(shape, scale) if channels > 1 else [bijectors.ActNorm(channels)]  # which nothing couples
        return bijectors.Chain([*chain, make_last(shape)])
    shape = height // 2, width // 2, 4 * channels
    half = *shape[:2], 2 * channels
    if levels == 1 and not make_first(half, scale):  # nothing follows for which channels would be done with
        rest = [make_last(shape)]
    else:
        rest = _levels(half, levels - 1, make_first, make_steps, make_last, make_split, scale)
        rest = [*make_split(shape), bijectors.FactorOut(shape, rest)]
    return bijectors.Chain([bijectors.Squeeze(), *make_steps(shape, scale), *rest])


def _start(image_shape, marginals, alpha):
    """From the unit cube to all numbers: by a spline for each pixel, that of its own histogram at first, by logits, or not."""
    if marginals:
        splines = bijectors.Pointwise(image_shape, bijectors.Spline(16, 4.0, 1e-4))
        return [bijectors.Scale(8.0, -4.0), splines, bijectors.Untruncate(4.0)]
    return [bijectors.Scale(1.0, -0.5) if alpha is None else bijectors.Logit(alpha)]


def _prior_of_split(shape, context=None):
    """What is done with by its mean and deviation given what stays, and a context if there is one, which a convolution puts out:
    so it has a learned prior (Kingma and Dhariwal 2018, arXiv:1807.03039, as their published code has it)."""
    half = shape[-1] // 2
    outputs = 2 * (shape[-1] - half)
    network = networks.conv_coupling((*shape[:2], half), outputs, kernels=(3,), context=context, name="prior")
    return [bijectors.Coupling(network)]


def _flow(chain, image_shape, total_steps, adam_settings, clipnorm, general, told, dequantisation=0):
    """The model of a recipe, and what it is compiled with."""
    noise = None
    if dequantisation:
        network = networks.conv_coupling(image_shape, 2 * image_shape[-1], dequantisation, name="dequantisation")
        noise = bijectors.VariationalDequantisation(network)
    model = Flow(chain, image_shape, dequantisation=noise, **told, **general)
    return model, {"optimizer": adam(total_steps, global_clipnorm=clipnorm, **adam_settings)}


MARGINALS = Hyperparameter(
    True,
    Choice((False, True)),
    "Whether a spline for each pixel, that of its histogram at first, stands at the beginning; else there are logits.",
)
WITHOUT = {"marginals": (False,)}


@recipe("flow", jit_compile=False)
def glow(
    image_shape,
    total_steps,
    levels=Hyperparameter(2, Int(1, 3, "linear"), "Levels, each of half the sides of the one before.", sizes.halvings),
    steps=Hyperparameter(4, Int(2, 8, "linear"), "Couplings a level."),
    width=Hyperparameter(64, Choice((32, 64, 128)), "Channels of the networks inside of couplings."),
    kernels=Hyperparameter((3, 1, 3), Choice(((3, 1, 3), (3, 3, 3))), "Sizes of the convolutions inside of couplings."),
    blocks=Hyperparameter(0, meaning="Residual blocks inside of couplings in the place of these convolutions; 0 is none."),
    growth=Hyperparameter(1, meaning="How many times as wide the networks are at each level as at the one before."),
    elementwise=dataclasses.replace(ELEMENTWISE, range=Choice(("additive", "affine", "spline"))),
    mixing=Hyperparameter(
        "convolution", meaning='What mixes channels between couplings: "convolution", an invertible 1x1 one, or "flip".'
    ),
    dense=Hyperparameter(
        4, Choice((0, 2, 4, 8)), "Couplings by fully connected networks, which see the whole image, of what is left in the end."
    ),
    dense_width=Hyperparameter(512, meaning="Units of the hidden layers of the dense couplings."),
    checkerboard=Hyperparameter(
        0,
        Choice((0, 2, 4)),
        "Couplings by a checkerboard of pixels that come first; a tuple is how many at each scale, that behind the last level "
        "included.",
    ),
    dequantisation=Hyperparameter(
        16, Choice((0, 16, 32)), "Channels of a network that draws the noise within levels; 0 draws it evenly."
    ),
    learned_priors=Hyperparameter(False, meaning=PRIORS),
    marginals=MARGINALS,
    alpha=_alpha(when=WITHOUT),
    remat=Hyperparameter(
        False,
        meaning="Whether couplings compute what they hold inside again for the gradient: less memory, a third more time.",
    ),
    told=CONDITIONS,
    adam_settings=optimizer(1e-3, warmup_images=None),
    clipnorm=CLIPNORM,
    general=GENERAL | arguments(Flow, "bits"),
):
    """Glow: levels of activation normalisation, invertible 1x1 convolutions and affine couplings, after a spline for each pixel.

    Glow as published has no splines, no couplings by fully connected networks and no network for the noise, see `glow/cifar10`.
    """
    levels, steps, growth = whole(levels=levels, steps=steps, growth=growth)
    if mixing not in ("convolution", "flip"):
        raise ValueError(f"mixing is {mixing!r}, expected 'convolution' or 'flip'.")
    try:
        dense, dequantisation = whole(0, dense=dense, dequantisation=dequantisation)
    except ValueError as error:
        raise ValueError(f"{str(error).rstrip('.')}; 0 is none.") from None
    checkerboards = checkerboard if isinstance(checkerboard, (tuple, list)) else (checkerboard,)
    try:
        checkerboards = [whole(0, checkerboard=count) for count in checkerboards]
    except ValueError:
        checkerboards = None
    if checkerboards is None or len(checkerboards) > levels + 1:
        numbers = f"expected at most {levels + 1} numbers for {levels} levels, each at least 0"
        raise ValueError(f"checkerboard is {checkerboard!r}, {numbers}.")

    def coupling(shape, scale, index, mask):
        flip = index % 2 == 1 and (mask == "checkerboard" or mixing == "flip")
        return _coupling(shape, elementwise, width * growth**scale, kernels, blocks, flip, mask, remat, units_of(told))

    def make_first(shape, scale):
        count = checkerboards[scale] if scale < len(checkerboards) else 0
        each = ((bijectors.ActNorm(shape[-1]), coupling(shape, scale, index, "checkerboard")) for index in range(count))
        return [bijector for pair in each for bijector in pair]

    def make_steps(shape, scale):
        chain = []
        for index in range(steps):
            chain.append(bijectors.ActNorm(shape[-1]))
            if mixing == "convolution":
                chain.append(bijectors.InvertibleConvolution(shape[-1]))
            chain.append(coupling(shape, scale, index, "channels"))
        return chain

    def make_last(shape):
        left = math.prod(shape)
        couplings = flows.couplings(left, dense, dense_width, 2, context=units_of(told))
        top = [bijectors.ActNorm(shape[-1], from_data=False)] if learned_priors else []
        return bijectors.Chain([*top, bijectors.Flatten(shape), *([bijectors.ActNorm(left)] if couplings else []), *couplings])

    split = {"make_split": functools.partial(_prior_of_split, context=units_of(told))} if learned_priors else {}
    chain = [*_start(image_shape, marginals, alpha), _levels(image_shape, levels, make_first, make_steps, make_last, **split)]
    return _flow(chain, image_shape, total_steps, adam_settings, clipnorm, general, told, dequantisation)


variant(
    "realnvp",
    "glow",
    "RealNVP: affine couplings, by a checkerboard of pixels and by channels, in levels.",
    mixing="flip",
    checkerboard=4,
)
PUBLISHED = {"marginals": False, "dequantisation": 0, "dense": 0}

variant(
    "glow/cifar10",
    "glow",
    "Glow as published for CIFAR-10: 3 levels of 32 steps, 512 wide, learned priors, no logits, 44 million parameters.",
    search=dict.fromkeys(GLOW),
    **PUBLISHED,
    levels=3,
    steps=32,
    width=512,
    elementwise="sigmoid",
    learned_priors=True,
    alpha=None,
    warmup_images=500_000,
)
variant(
    "realnvp/cifar10",
    "realnvp",
    "RealNVP as published for CIFAR-10, but for weight normalisation: couplings of 8 residual blocks, 19 million parameters.",
    search=dict.fromkeys(GLOW),
    **PUBLISHED,
    levels=1,
    steps=3,
    width=64,
    blocks=8,
    growth=2,
    checkerboard=(3, 4),
)
variant("spline_flow", "glow", "Levels as Glow's, of couplings by rational-quadratic splines.", elementwise="spline")


@recipe("flow", jit_compile=True, steps_per_execution=10)
def nice(
    image_shape,
    total_steps,
    couplings=Hyperparameter(4, Int(2, 8, "linear"), "Number of couplings."),
    network=arguments(networks.dense_coupling, width=Hyperparameter(512, DENSE_WIDTH), depth=Hyperparameter(3, DEPTH)),
    alpha=_alpha(),
    told=CONDITIONS,
    adam_settings=optimizer(1e-3),
    clipnorm=CLIPNORM,
    general=GENERAL,
):
    """NICE: additive couplings of whole images by fully connected networks, and a scale for each dimension."""
    couplings = whole(couplings=couplings)
    dimensions = math.prod(image_shape)
    chain = [bijectors.Logit(alpha), bijectors.Flatten(image_shape), bijectors.ActNorm(dimensions)]
    chain += flows.couplings(dimensions, couplings, elementwise="additive", context=units_of(told), **network)
    chain.append(bijectors.ActNorm(dimensions))
    return _flow(chain, image_shape, total_steps, adam_settings, clipnorm, general, told)


@recipe("flow", jit_compile=True, steps_per_execution=10)
def maf(
    image_shape,
    total_steps,
    layers=Hyperparameter(2, Int(1, 8, "linear"), "Number of autoregressive layers."),
    network=arguments(networks.made, width=Hyperparameter(1024, DENSE_WIDTH), depth=Hyperparameter(1, DEPTH)),
    elementwise=ELEMENTWISE,
    marginals=MARGINALS,
    alpha=_alpha(when=WITHOUT),
    told=CONDITIONS,
    adam_settings=optimizer(1e-3),
    clipnorm=dataclasses.replace(CLIPNORM, default=100.0),
    averages=general(0.999, Choice((None, 0.99, 0.999))),
):
    """Masked autoregressive flow: every pixel by all before it, the order turned round between layers; first a spline a pixel."""
    layers = whole(layers=layers)
    dimensions = math.prod(image_shape)
    chain = [*_start(image_shape, marginals, alpha), bijectors.Flatten(image_shape)]
    chain += flows.autoregressions(dimensions, layers, elementwise, context=units_of(told), **network)
    return _flow(chain, image_shape, total_steps, adam_settings, clipnorm, averages, told)


@recipe("flow", jit_compile=True, steps_per_execution=10)
def planar_flow(
    image_shape,
    total_steps,
    layers=Hyperparameter(16, Int(4, 64), "Number of planar layers."),
    alpha=_alpha(),
    told=CONDITIONS,
    adam_settings=optimizer(1e-3),
    clipnorm=CLIPNORM,
    general=GENERAL,
):
    """Planar flow: bends along single directions, after a scale for each dimension; for few dimensions."""
    layers = whole(layers=layers)
    dimensions = math.prod(image_shape)
    chain = [bijectors.Logit(alpha), bijectors.Flatten(image_shape), bijectors.ActNorm(dimensions)]
    chain += [bijectors.Planar(dimensions, context=units_of(told)) for _ in range(layers)]
    return _flow(chain, image_shape, total_steps, adam_settings, clipnorm, general, told)
