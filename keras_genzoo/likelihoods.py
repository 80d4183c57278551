"""Likelihoods p(x | parameters) of an image under what a decoder puts out, in nats per image: summed over pixels and channels.

`support` says what x is: "continuous", points of the unit cube (`images.dequantise`); "levels", images in [0, 1] that stand on
one of 256 levels; "binary", 0 or 1. `parameters` has `parameters_per_channel` times the image's channels.
"""

import math

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo.core import images
from keras_genzoo.core.serialization import Part

LOG_SCALE_BOUND = 7.0  # of a learned logarithm of a scale: e^-7 is a quarter of a level


def _sum(values):
    return ops.sum(values, axis=tuple(range(1, len(values.shape))))


class Likelihood(Part):
    """Base: a continuous density around the decoder's output, with one parameter a channel, the mean."""

    support = "continuous"
    parameters_per_channel = 1

    def log_prob(self, x, parameters):
        """Nats per image, `(batch,)`."""
        raise NotImplementedError

    def training_log_prob(self, x, parameters):
        """What training maximises; `log_prob` unless the likelihood fits something of its own to the batch."""
        return self.log_prob(x, parameters)

    def mean(self, parameters):
        """The mean image, in [0, 1]."""
        return images.from_cube(parameters)


class _Scaled(Likelihood):
    """A location-scale density: the scale is one number, fixed, learned by gradient, or its optimum for the batch.

    Args:
        scale: float above 0, on the unit cube (1 is the range from black to white); "learned", a trained number that
            starts at 0.1; or "optimal", the maximum likelihood scale of each batch in training, whose running value
            (decay 0.99) stands in `log_prob`.
    """

    def __init__(self, scale, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        if scale not in ("learned", "optimal") and not (isinstance(scale, (int, float)) and scale > 0):
            raise ValueError(f"scale is {scale!r}, expected a number above 0, 'learned' or 'optimal'.")
        self.scale = scale
        if isinstance(scale, str):
            self.log_scale = self.add_weight(
                shape=(),
                dtype="float32",
                initializer=keras.initializers.Constant(math.log(0.1)),
                trainable=scale == "learned",
                aggregation="mean",  # replicas see different batches
                name="log_scale",
            )

    def _log_scale(self):
        if isinstance(self.scale, str):
            return ops.clip(self.log_scale, -LOG_SCALE_BOUND, LOG_SCALE_BOUND)
        return ops.convert_to_tensor(math.log(self.scale), "float32")

    @property
    def current_scale(self):
        """The scale as it stands, a scalar; of a Gaussian its standard deviation."""
        return ops.exp(self._log_scale())

    def log_prob(self, x, parameters):
        return self.log_density(x, parameters, self._log_scale())

    def training_log_prob(self, x, parameters):
        if self.scale != "optimal":
            return self.log_prob(x, parameters)
        best = ops.clip(self.best_log_scale(x, parameters), -LOG_SCALE_BOUND, LOG_SCALE_BOUND)
        self.log_scale.assign(0.99 * self.log_scale + 0.01 * ops.stop_gradient(best))
        return self.log_density(x, parameters, best)


@keras.saving.register_keras_serializable("keras_genzoo")
class Gaussian(_Scaled):
    """N(x; parameters, scale^2). With the optimal scale, the sigma-VAE (Rybkin et al. 2021, arXiv:2006.13202, eq. 5)."""

    def __init__(self, scale=1.0, name=None, dtype=None):
        super().__init__(scale, name=name, dtype=dtype)

    def log_density(self, x, mean, log_scale):
        return _sum(-0.5 * ops.square((x - mean) * ops.exp(-log_scale)) - log_scale - 0.5 * math.log(2 * math.pi))

    def best_log_scale(self, x, mean):
        return 0.5 * ops.log(ops.mean(ops.square(x - mean)) + 1e-12)


@keras.saving.register_keras_serializable("keras_genzoo")
class Laplace(_Scaled):
    """exp(-|x - parameters| / scale) / (2 scale). Its optimal scale is the mean absolute error."""

    def __init__(self, scale="optimal", name=None, dtype=None):
        super().__init__(scale, name=name, dtype=dtype)

    def log_density(self, x, mean, log_scale):
        return _sum(-ops.abs(x - mean) * ops.exp(-log_scale) - log_scale - math.log(2))

    def best_log_scale(self, x, mean):
        return ops.log(ops.mean(ops.abs(x - mean)) + 1e-12)


@keras.saving.register_keras_serializable("keras_genzoo")
class Bernoulli(Likelihood):
    """Each channel is 1 with probability sigmoid(parameters). A likelihood of binary images; gray ones train it all the same."""

    support = "binary"

    def log_prob(self, x, parameters):
        return _sum(x * parameters - ops.softplus(parameters))

    def mean(self, parameters):
        return ops.sigmoid(parameters)


@keras.saving.register_keras_serializable("keras_genzoo")
class DiscretizedLogistic(Likelihood):
    """The mass that a logistic distribution puts on each of the 256 levels (Kingma et al. 2016, arXiv:1606.04934, appendix C.2).

    Level k of 0..255 is the interval of width 1 / 255 around k / 255; the first and the last reach to infinity. Parameters are
    the location in [0, 1] and, behind it along the channels, the logarithm of the scale.
    """

    support = "levels"
    parameters_per_channel = 2

    def _split(self, parameters):
        location, log_scale = ops.split(parameters, 2, axis=-1)
        return location, LOG_SCALE_BOUND * ops.tanh((log_scale - 2.0) / LOG_SCALE_BOUND)  # starts at e^-2

    def log_prob(self, x, parameters):
        x, (location, log_scale) = images.on_levels(x), self._split(parameters)
        half = 0.5 / (images.LEVELS - 1)
        upper = (x - location + half) * ops.exp(-log_scale)
        lower = (x - location - half) * ops.exp(-log_scale)
        # log(sigmoid(u) - sigmoid(l)) = log sigmoid(u) + log sigmoid(-l) + log(1 - e^(l - u)): no difference of near numbers
        gap = ops.maximum(upper - lower, 1e-6)
        inside = -ops.softplus(-upper) - ops.softplus(lower) + ops.log(-ops.expm1(-gap))
        first, last = x < half, x > 1 - half
        return _sum(ops.where(first, -ops.softplus(-upper), ops.where(last, -ops.softplus(lower), inside)))

    def mean(self, parameters):
        """The location, which for the truncated distribution stands in for the mean, clipped to [0, 1]."""
        return ops.clip(self._split(parameters)[0], 0.0, 1.0)


def log_normal_cdf(x):
    """log Phi(x), far into the tail too: below -5, where erfc runs out of digits, by its asymptotic series."""
    far = ops.minimum(x, -5.0)
    square = 1.0 / ops.square(far)
    series = ops.log1p(-square + 3.0 * ops.square(square) - 15.0 * square**3)
    tail = -0.5 * ops.square(far) - ops.log(-far * math.sqrt(2.0 * math.pi)) + series
    return ops.where(x < -5.0, tail, ops.log(0.5 * tf.math.erfc(-ops.maximum(x, -5.0) / math.sqrt(2.0))))


def gaussian_level_log_prob(x, mean, std):
    """log of the mass that N(mean, std^2) puts on the level of x, the first and the last reaching to infinity (Ho et al. 2020,
    arXiv:2006.11239, eq. 13).

    Args:
        x: images in [0, 1], of which the nearest of the 256 levels is taken.
        mean, std: likewise in units of [0, 1]; tensors that broadcast against x.

    Returns:
        Nats, of x's shape.
    """
    x, half = images.on_levels(x), 0.5 / (images.LEVELS - 1)
    upper, lower = (x + half - mean) / std, (x - half - mean) / std
    # Both in the lower tail: no difference of numbers near 1.
    flipped = upper + lower > 0
    high, low = (log_normal_cdf(each) for each in (ops.where(flipped, -lower, upper), ops.where(flipped, -upper, lower)))
    inside = high + ops.log(-ops.expm1(ops.minimum(low - high, -1e-6)))
    return ops.where(x < half, log_normal_cdf(upper), ops.where(x > 1 - half, log_normal_cdf(-lower), inside))


NAMED = {
    "gaussian": Gaussian,
    "laplace": Laplace,
    "bernoulli": Bernoulli,
    "discretized_logistic": DiscretizedLogistic,
}


def get(likelihood):
    """A likelihood from its name, with default arguments, or as it is."""
    if isinstance(likelihood, Likelihood):
        return likelihood
    if likelihood in NAMED:
        return NAMED[likelihood]()
    raise ValueError(f"likelihood is {likelihood!r}, expected one of {sorted(NAMED)} or a keras_genzoo.likelihoods.Likelihood.")
