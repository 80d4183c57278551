"""Invertible layers of normalizing flows: `forward(x)` gives y and log |det dy/dx|, `inverse(y)` gives x again.

Forward is the direction from data to noise, the one that training computes. Layers work on vectors `(batch, dimensions)` and
on images `(batch, height, width, channels)` alike, where not said otherwise, in the precision of what they are given.
"""

from keras_genzoo.bijectors.base import Bijector, Chain, Inverted
from keras_genzoo.bijectors.channels import ActNorm, InvertibleConvolution, Permutation
from keras_genzoo.bijectors.continuous import Continuous
from keras_genzoo.bijectors.coupled import Autoregressive, Coupling, Pointwise, VariationalDequantisation
from keras_genzoo.bijectors.elementwise import (
    ELEMENTWISE,
    Additive,
    Affine,
    Elementwise,
    Logit,
    Scale,
    SigmoidAffine,
    Spline,
    Untruncate,
    get_elementwise,
)
from keras_genzoo.bijectors.shapes import FactorOut, Flatten, Squeeze
from keras_genzoo.bijectors.vectors import Planar, Radial

__all__ = [
    "ELEMENTWISE",
    "ActNorm",
    "Additive",
    "Affine",
    "Autoregressive",
    "Bijector",
    "Chain",
    "Continuous",
    "Coupling",
    "Elementwise",
    "FactorOut",
    "Flatten",
    "Inverted",
    "InvertibleConvolution",
    "Logit",
    "Permutation",
    "Planar",
    "Pointwise",
    "Radial",
    "Scale",
    "SigmoidAffine",
    "Spline",
    "Squeeze",
    "Untruncate",
    "VariationalDequantisation",
    "get_elementwise",
]
