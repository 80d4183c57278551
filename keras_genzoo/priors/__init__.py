"""Priors p(z) over codes: `sample(n, random)`, `log_prob(z)`; and what can be fitted to the codes of a trained encoder."""

from keras_genzoo.priors.densities import (
    CategoricalMixture,
    GaussianMixture,
    StandardNormal,
    TrainedMixture,
    VampPrior,
)
from keras_genzoo.priors.learned import FlowPrior, TwoStagePrior

__all__ = [
    "CategoricalMixture",
    "FlowPrior",
    "GaussianMixture",
    "StandardNormal",
    "TrainedMixture",
    "TwoStagePrior",
    "VampPrior",
]
