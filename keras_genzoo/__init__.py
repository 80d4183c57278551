"""keras_genzoo: generative image models for Keras 3 behind one contract."""

import importlib

from keras_genzoo import (
    adversarial,
    augmentation,
    bijectors,
    boltzmann,
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


def __getattr__(name):
    """`tuning` is imported when it is first used, because it needs KerasTuner."""
    if name == "tuning":
        return importlib.import_module("keras_genzoo.tuning")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "GenerativeModel",
    "adversarial",
    "augmentation",
    "bijectors",
    "boltzmann",
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
