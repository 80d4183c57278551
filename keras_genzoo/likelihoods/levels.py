"""Probabilities of the levels of images."""

import math

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo.core import images
from keras_genzoo.core.checks import whole
from keras_genzoo.likelihoods.base import LOG_SCALE_BOUND, Likelihood, summed


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
        return summed(logistic_level_log_prob(x - location, log_scale, half, x < half, x > 1 - half))

    def mean(self, parameters):
        """The location, which for the truncated distribution stands in for the mean, clipped to [0, 1]."""
        return ops.clip(self._split(parameters)[0], 0.0, 1.0)


def logistic_level_log_prob(distance, log_scale, half, first, last):
    """Nats of the mass that a logistic distribution, of a log-scale within +-7, puts on a level at a distance from its location;
    `half` is half of the distance between levels, and the first level and the last reach to infinity."""
    steepness = ops.exp(-log_scale)
    upper, lower = (distance + half) * steepness, (distance - half) * steepness
    # log(sigmoid(u) - sigmoid(l)) = log sigmoid(u) + log sigmoid(-l) + log(1 - e^(l - u)): no difference of near numbers
    inside = -ops.softplus(-upper) - ops.softplus(lower) + ops.log(-ops.expm1(-2.0 * half * steepness))
    return ops.where(first, -ops.softplus(-upper), ops.where(last, -ops.softplus(lower), inside))


@keras.saving.register_keras_serializable("keras_genzoo")
class DiscretizedLogisticMixture(Likelihood):
    """The mass that a mixture of logistic distributions puts on each level, channels one after the other (Salimans et al. 2017,
    arXiv:1701.05517, sections 2.1 and 2.2).

        P(x) = sum_i pi_i prod_c [sigma((x_c + h - m_ci) / s_ci) - sigma((x_c - h - m_ci) / s_ci)]     of a pixel x
        m_ci = mu_ci + sum_(d < c) tanh(a_cdi) x_d

    with levels even in [-1, 1] and h half of their distance. The first level and the last reach to infinity. All channels of a
    pixel are of one component i. Parameters are the logits of pi, mu, log s, which is brought within +-7, and a, in this order.

    Args:
        components: int. Components of the mixture. Defaults to 10.
        levels: int. Number of levels; images are k / (levels - 1). Defaults to 256.
    """

    support = "levels"

    def __init__(self, components=10, levels=images.LEVELS, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.components, self.levels = whole(components=components), whole(2, levels=levels)

    def parameter_count(self, channels):
        return self.components * (1 + 2 * channels + channels * (channels - 1) // 2)

    def noise_count(self, channels):
        """Uniform numbers that `draw` takes for a pixel."""
        return 1 + channels

    def _split(self, parameters):
        """Logits `(..., components)`; locations and log-scales `(..., channels, components)`; coefficients, those of channel c
        from c (c - 1) / 2 on."""
        count = parameters.shape[-1]
        channels = next(c for c in range(1, count + 1) if self.parameter_count(c) >= count)
        parts = ops.reshape(parameters, (-1, *parameters.shape[1:-1], count // self.components, self.components))
        locations, log_scales = parts[..., 1 : 1 + channels, :], parts[..., 1 + channels : 1 + 2 * channels, :]
        coefficients = ops.tanh(parts[..., 1 + 2 * channels :, :])
        return parts[..., 0, :], locations, ops.clip(log_scales, -LOG_SCALE_BOUND, LOG_SCALE_BOUND), coefficients

    def log_prob(self, x, parameters):
        x, half = 2.0 * images.on_levels(x, self.levels) - 1.0, 1.0 / (self.levels - 1)
        logits, locations, log_scales, coefficients = self._split(parameters)
        distance = x[..., None] - locations
        shifts = [sum(a * x[..., d, None] for d, a in _before(c, coefficients)) for c in range(1, x.shape[-1])]
        if shifts:
            distance = distance - ops.stack([ops.zeros_like(shifts[0]), *shifts], axis=-2)
        x = x[..., None]
        each = logistic_level_log_prob(distance, log_scales, half, x < half - 1.0, x > 1.0 - half)
        return summed(ops.logsumexp(ops.log_softmax(logits) + ops.sum(each, axis=-2), axis=-1))

    def draw(self, parameters, uniform, temperature=1.0):
        """Levels, whole numbers from 0 to `levels - 1` as float32, with uniform noise `(..., noise_count(channels))`; logits over
        `temperature`, and scales times it."""
        logits, locations, log_scales, coefficients = self._split(parameters)
        of_component = ops.one_hot(_chosen(logits, uniform[..., 0], temperature), self.components, dtype="float32")
        of = lambda each: ops.sum(each * of_component, axis=-1)  # noqa: E731
        u = ops.clip(uniform[..., 1:], 2.0**-25, 1.0 - 2.0**-24)
        noise, found = temperature * (ops.log(u) - ops.log1p(-u)), []
        for c in range(locations.shape[-2]):
            value = of(locations[..., c, :]) + ops.exp(of(log_scales[..., c, :])) * noise[..., c]
            value += sum(of(a) * (2.0 * found[d] / (self.levels - 1) - 1.0) for d, a in _before(c, coefficients))
            found.append(ops.clip(ops.round(0.5 * (value + 1.0) * (self.levels - 1)), 0, self.levels - 1))
        return ops.stack(found, axis=-1)

    def mean(self, parameters):
        """The mean of the mixture before it is brought to levels, clipped to [0, 1]."""
        logits, locations, _, coefficients = self._split(parameters)
        found = []
        for c in range(locations.shape[-2]):
            found.append(locations[..., c, :] + sum(a * found[d] for d, a in _before(c, coefficients)))
        means = ops.sum(ops.softmax(logits)[..., None, :] * ops.stack(found, axis=-2), axis=-1)
        return ops.clip(0.5 * (means + 1.0), 0.0, 1.0)


def _before(channel, coefficients):
    """The channels before one, with the coefficients by which it depends on them."""
    return [(d, coefficients[..., channel * (channel - 1) // 2 + d, :]) for d in range(channel)]


def _chosen(logits, uniform, temperature):
    """Numbers by their logits over a temperature: of the first whose probabilities together exceed a uniform number."""
    below = ops.cumsum(ops.softmax(logits / ops.maximum(temperature, 1e-6)), axis=-1)[..., :-1]
    return ops.sum(ops.cast(uniform[..., None] >= below, "int32"), axis=-1)


@keras.saving.register_keras_serializable("keras_genzoo")
class Categorical(Likelihood):
    """A probability for each level of each channel, whose logits stand side by side (van den Oord et al. 2016, arXiv:1601.06759,
    section 2.2).

    Args:
        levels: int. Number of levels; images are k / (levels - 1). Defaults to 256.
    """

    support = "levels"

    def __init__(self, levels=images.LEVELS, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.levels = self.parameters_per_channel = whole(2, levels=levels)

    def noise_count(self, channels):
        """Uniform numbers that `draw` takes for a pixel."""
        return channels

    def _logits(self, parameters):
        return ops.reshape(parameters, (-1, *parameters.shape[1:-1], parameters.shape[-1] // self.levels, self.levels))

    def log_prob(self, x, parameters):
        level = ops.cast(ops.round(x * (self.levels - 1)), "int32")
        return summed(-tf.nn.sparse_softmax_cross_entropy_with_logits(labels=level, logits=self._logits(parameters)))

    def draw(self, parameters, uniform, temperature=1.0):
        """Levels, whole numbers from 0 to `levels - 1` as float32, with uniform noise `(..., channels)`; logits over
        `temperature`."""
        return ops.cast(_chosen(self._logits(parameters), uniform, temperature), "float32")

    def mean(self, parameters):
        probabilities = ops.softmax(self._logits(parameters))
        return ops.clip(ops.sum(probabilities * ops.arange(self.levels, dtype="float32"), axis=-1) / (self.levels - 1), 0.0, 1.0)


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
