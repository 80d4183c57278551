"""Recipes of normalizing flows."""

import math

from keras_genzoo import bijectors, networks
from keras_genzoo.models import Flow
from keras_genzoo.networks.common import positive
from keras_genzoo.recipes.registry import adam, recipe, variant
from keras_genzoo.recipes.space import EMA, LEARNING_RATE, Choice, Float, Int

SEARCH = {
    "alpha": Float(1e-4, 0.1),
    "learning_rate": LEARNING_RATE,
    "clipnorm": Choice((None, 10.0, 100.0)),
    "ema": EMA,
}
GLOW = {
    "levels": Int(1, 3, "linear"),
    "steps": Int(2, 8, "linear"),
    "width": Choice((32, 64, 128)),
    "kernels": Choice(((3, 1, 3), (3, 3, 3))),
    "elementwise": Choice(("additive", "affine", "spline")),
    "checkerboard": Choice((0, 2, 4)),
}
MARGINALS = {"marginals": Choice((False, True)), "alpha": Float(1e-4, 0.1, when={"marginals": (False,)})}
DENSE = {"width": Choice((128, 256, 512, 1024)), "depth": Int(1, 3, "linear")}


def _coupling(shape, elementwise, width, kernels, flip=False, mask="channels"):
    """A coupling of images with a small convolutional network."""
    channels = shape[-1]
    if mask == "checkerboard":
        stays, changes = channels, channels
    else:
        stays = channels - channels // 2 if flip else channels // 2
        changes = channels - stays
    make = bijectors.get_elementwise(elementwise)
    network = networks.conv_coupling((*shape[:2], stays), changes * make.parameters, width, kernels)
    return bijectors.Coupling(network, make, mask, flip)


def _levels(shape, levels, make_steps):
    """Levels of images of a shape: odd rows and columns are done with, 2x2 pixels joined, `make_steps(shape)` made, and half of
    the channels done with."""
    height, width, channels = shape
    if not levels:
        return bijectors.Flatten(shape)
    for part, odd, kept in (("row", height % 2, (height - 1, width)), ("column", width % 2, (height, width - 1))):
        if odd and 0 not in kept:
            return bijectors.FactorOut(shape, _levels((*kept, channels), levels, make_steps), part)
    if 1 in (height, width):  # a line of pixels has no 2x2
        return bijectors.Chain([*(make_steps(shape) if channels > 1 else []), bijectors.Flatten(shape)])
    shape = height // 2, width // 2, 4 * channels
    rest = _levels((*shape[:2], 2 * channels), levels - 1, make_steps)
    rest = bijectors.FactorOut(shape, rest) if levels > 1 else bijectors.Flatten(shape)
    return bijectors.Chain([bijectors.Squeeze(), *make_steps(shape), rest])


def _start(image_shape, marginals, alpha):
    """From pixels to the line: by a spline for each pixel, that of its own histogram at first, or by logits."""
    if marginals:
        return [bijectors.Scale(8.0, -4.0), bijectors.Pointwise(image_shape, bijectors.Spline(16, 4.0, 1e-4))]
    return [bijectors.Logit(alpha)]


def _flow(chain, image_shape, total_steps, learning_rate, clipnorm, ema, seed):
    """The model of a recipe, and what it is compiled with."""
    return Flow(chain, image_shape, ema=ema, seed=seed), {"optimizer": adam(learning_rate, total_steps, global_clipnorm=clipnorm)}


@recipe("flow", {**SEARCH, **MARGINALS, **GLOW}, jit_compile=False)
def glow(
    image_shape,
    total_steps,
    levels=2,
    steps=4,
    width=64,
    kernels=(3, 1, 3),
    elementwise="affine",
    mixing="convolution",
    checkerboard=0,
    marginals=False,
    alpha=0.05,
    learning_rate=1e-3,
    clipnorm=None,
    ema=None,
    seed=None,
):
    """Glow: levels of activation normalisation, invertible 1x1 convolutions and affine couplings."""
    positive(levels=levels, steps=steps)
    if mixing not in ("convolution", "flip"):
        raise ValueError(f"mixing is {mixing!r}, expected 'convolution' or 'flip'.")

    def make_steps(shape):
        for index in range(steps):
            yield bijectors.ActNorm(shape[-1])
            if mixing == "convolution":
                yield bijectors.InvertibleConvolution(shape[-1])
            yield _coupling(shape, elementwise, width, kernels, flip=mixing == "flip" and index % 2 == 1)

    first = [_coupling(image_shape, elementwise, width, kernels, index % 2 == 1, "checkerboard") for index in range(checkerboard)]
    chain = [*_start(image_shape, marginals, alpha), *first, _levels(image_shape, levels, lambda shape: list(make_steps(shape)))]
    return _flow(chain, image_shape, total_steps, learning_rate, clipnorm, ema, seed)


variant(
    "realnvp",
    "glow",
    "RealNVP: affine couplings, by a checkerboard of pixels and by channels, in levels.",
    mixing="flip",
    checkerboard=4,
)
variant(
    "glow/cifar10",
    "glow",
    "Glow as published for CIFAR-10: 3 levels of 32 steps, 512 wide, 44 million parameters.",
    search=dict.fromkeys(GLOW),
    levels=3,
    steps=32,
    width=512,
)
variant("spline_flow", "glow", "Levels as Glow's, of couplings by rational-quadratic splines.", elementwise="spline")


@recipe("flow", {**SEARCH, **DENSE, "couplings": Int(2, 8, "linear")}, jit_compile=True, steps_per_execution=10)
def nice(
    image_shape,
    total_steps,
    couplings=4,
    width=512,
    depth=3,
    alpha=0.05,
    learning_rate=1e-3,
    clipnorm=None,
    ema=None,
    seed=None,
):
    """NICE: additive couplings of whole images by fully connected networks, and a scale for each dimension."""
    positive(couplings=couplings)
    dimensions = math.prod(image_shape)
    half = dimensions // 2
    # Every other pixel stays.
    chain = [bijectors.Logit(alpha), bijectors.Flatten(image_shape), bijectors.ActNorm(dimensions)]
    order = [*range(0, dimensions, 2), *range(1, dimensions, 2)]
    chain.append(bijectors.Permutation(order))
    for index in range(couplings):
        flip = index % 2 == 1
        stays = dimensions - half if flip else half
        network = networks.dense_coupling(stays, dimensions - stays, width, depth)
        chain.append(bijectors.Coupling(network, "additive", flip=flip))
    chain.append(bijectors.ActNorm(dimensions))
    return _flow(chain, image_shape, total_steps, learning_rate, clipnorm, ema, seed)


@recipe("flow", {**SEARCH, **MARGINALS, **DENSE, "layers": Int(1, 8, "linear")}, jit_compile=True, steps_per_execution=10)
def maf(
    image_shape,
    total_steps,
    layers=2,
    width=1024,
    depth=1,
    elementwise="affine",
    marginals=True,
    alpha=0.05,
    learning_rate=1e-3,
    clipnorm=100.0,
    ema=0.999,
    seed=None,
):
    """Masked autoregressive flow: every pixel by all before it, the order turned round between layers; first a spline a pixel."""
    positive(layers=layers)
    dimensions = math.prod(image_shape)
    chain = [*_start(image_shape, marginals, alpha), bijectors.Flatten(image_shape)]
    for index in range(layers):
        make = bijectors.get_elementwise(elementwise)
        chain.append(bijectors.ActNorm(dimensions))
        if index:
            chain.append(bijectors.Permutation(range(dimensions)[::-1]))
        chain.append(bijectors.Autoregressive(networks.made(dimensions, make.parameters, width, depth), make))
    return _flow(chain, image_shape, total_steps, learning_rate, clipnorm, ema, seed)


@recipe("flow", {**SEARCH, "layers": Int(4, 64)}, jit_compile=True, steps_per_execution=10)
def planar_flow(image_shape, total_steps, layers=16, alpha=0.05, learning_rate=1e-3, clipnorm=None, ema=None, seed=None):
    """Planar flow: bends along single directions, after a scale for each dimension; for few dimensions."""
    positive(layers=layers)
    dimensions = math.prod(image_shape)
    chain = [bijectors.Logit(alpha), bijectors.Flatten(image_shape), bijectors.ActNorm(dimensions)]
    chain += [bijectors.Planar(dimensions) for _ in range(layers)]
    return _flow(chain, image_shape, total_steps, learning_rate, clipnorm, ema, seed)
