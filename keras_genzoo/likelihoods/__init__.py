"""Likelihoods p(x | parameters) of an image under what a decoder puts out, in nats per image: summed over pixels and channels.

`support` says what x is: "continuous", points of the unit cube (`images.dequantise`); "levels", images in [0, 1] that stand on
one of 256 levels; "binary", 0 or 1. `parameters` has `parameter_count(channels)` numbers a pixel. Those with `draw` are for an
`AutoregressiveModel` too.
"""

from keras_genzoo.likelihoods.base import LOG_SCALE_BOUND, Bernoulli, Likelihood
from keras_genzoo.likelihoods.levels import (
    Categorical,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    gaussian_level_log_prob,
    log_normal_cdf,
    logistic_level_log_prob,
)
from keras_genzoo.likelihoods.scaled import Gaussian, Laplace

__all__ = [
    "LOG_SCALE_BOUND",
    "NAMED",
    "Bernoulli",
    "Categorical",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "gaussian_level_log_prob",
    "get",
    "log_normal_cdf",
    "logistic_level_log_prob",
]

NAMED = {
    "gaussian": Gaussian,
    "laplace": Laplace,
    "bernoulli": Bernoulli,
    "discretized_logistic": DiscretizedLogistic,
    "logistic_mixture": DiscretizedLogisticMixture,
    "categorical": Categorical,
}


def get(likelihood):
    """A likelihood from its name, with default arguments, or as it is."""
    if isinstance(likelihood, Likelihood):
        return likelihood
    if likelihood in NAMED:
        return NAMED[likelihood]()
    raise ValueError(f"likelihood is {likelihood!r}, expected one of {sorted(NAMED)} or a keras_genzoo.likelihoods.Likelihood.")
