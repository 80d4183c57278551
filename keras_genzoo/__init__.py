"""keras_genzoo: generative image models for Keras 3 behind one contract."""

from keras_genzoo import (
    adversarial,
    augmentation,
    bijectors,
    callbacks,
    data,
    distances,
    divergences,
    likelihoods,
    metrics,
    models,
    networks,
    priors,
    randomness,
    recipes,
    regularizers,
    samplers,
    schedules,
    weightings,
)
from keras_genzoo.base import GenerativeModel, load
from keras_genzoo.evaluation import evaluate
from keras_genzoo.recipes import build

__version__ = "0.1.0"

__all__ = [
    "GenerativeModel",
    "adversarial",
    "augmentation",
    "bijectors",
    "build",
    "callbacks",
    "data",
    "distances",
    "divergences",
    "evaluate",
    "likelihoods",
    "load",
    "metrics",
    "models",
    "networks",
    "priors",
    "randomness",
    "recipes",
    "regularizers",
    "samplers",
    "schedules",
    "weightings",
]
