"""keras_genzoo: generative image models for Keras 3 behind one contract."""

import importlib
import os

from keras_genzoo.core import startup

startup.begin()

# Asked first, because Keras itself cannot be imported where a backend is missing.
_backend = os.environ.get("KERAS_BACKEND") or importlib.import_module("keras").backend.backend()
if _backend != "tensorflow":
    raise ImportError(
        f"Keras's backend is {_backend!r}, and keras_genzoo computes with 'tensorflow' alone; set KERAS_BACKEND to it."
    )

from keras_genzoo import (
    adversarial,
    augmentation,
    bijectors,
    callbacks,
    causal,
    chains,
    data,
    distances,
    divergences,
    flows,
    likelihoods,
    metrics,
    models,
    networks,
    odes,
    predictions,
    priors,
    recipes,
    regularizers,
    replay,
    samplers,
    schedules,
    spacings,
    weightings,
)
from keras_genzoo.core import images, ramps, randomness
from keras_genzoo.core.inference import available_if, batched, inference
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.core.saving import load, take_weights
from keras_genzoo.evaluation import evaluate, score_samples
from keras_genzoo.exchange import from_diffusers, to_diffusers
from keras_genzoo.models import machines as boltzmann
from keras_genzoo.recipes import build

__version__ = "0.1.0"
LAZY = ("tuning", "benchmark", "testing")


def __getattr__(name):
    """Import the modules of LAZY when they are first used: they need packages that the rest does not."""
    if name in LAZY:
        return importlib.import_module(f"keras_genzoo.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "GenerativeModel",
    "adversarial",
    "augmentation",
    "available_if",
    "batched",
    "bijectors",
    "boltzmann",
    "build",
    "callbacks",
    "causal",
    "chains",
    "data",
    "distances",
    "divergences",
    "evaluate",
    "flows",
    "from_diffusers",
    "images",
    "inference",
    "likelihoods",
    "load",
    "metrics",
    "models",
    "networks",
    "odes",
    "predictions",
    "priors",
    "ramps",
    "randomness",
    "recipes",
    "regularizers",
    "replay",
    "samplers",
    "schedules",
    "score_samples",
    "spacings",
    "take_weights",
    "to_diffusers",
    "weightings",
]
