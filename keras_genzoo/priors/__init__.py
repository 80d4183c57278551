"""Priors p(z) over codes: `sample(n, random)`, `log_prob(z)`; and what can be fitted to the codes of a trained encoder.

Densities that `fit_prior` fits have `fit(codes, components=None, seed=0)`, `fitted` and `forget`. Those whose attribute
`knows_conditions` is True are fitted, and drawn from, by the condition of each code too, `condition=`, as networks are told it.
"""

from keras_genzoo.priors.conditional import ByClass, ConditionalMixture, mixture_for
from keras_genzoo.priors.densities import CategoricalMixture, GaussianMixture, StandardNormal, TrainedMixture, VampPrior
from keras_genzoo.priors.learned import FlowPrior, TwoStagePrior

__all__ = [
    "ByClass",
    "CategoricalMixture",
    "ConditionalMixture",
    "FlowPrior",
    "GaussianMixture",
    "StandardNormal",
    "TrainedMixture",
    "TwoStagePrior",
    "VampPrior",
    "mixture_for",
]
