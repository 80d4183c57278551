"""Likelihoods p(x | parameters) of an image under what a decoder puts out, in nats per image: summed over pixels and channels.

`support` says what x is: "continuous", points of the unit cube (`images.dequantise`); "levels", images in [0, 1] that stand on
one of 256 levels; "binary", 0 or 1. `parameters` has `parameter_count(channels)` numbers a pixel. Those with `draw` are for an
`AutoregressiveModel` too.
"""

import math
import numbers

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo import divergences
from keras_genzoo.core import images
from keras_genzoo.core.checks import whole
from keras_genzoo.core.serialization import Part

LOG_SCALE_BOUND = 7.0  # of a learned logarithm of a scale: e^-7 is a quarter of a level


def _sum(values):
    return ops.sum(values, axis=tuple(range(1, len(values.shape))))


class Likelihood(Part):
    """Base: a continuous density around the decoder's output, with one parameter a channel, the mean."""

    support = "continuous"
    parameters_per_channel = 1

    def parameter_count(self, channels):
        """Number of parameters of a pixel of so many channels."""
        return channels * self.parameters_per_channel

    def log_prob(self, x, parameters):
        """Nats per image, `(batch,)`."""
        raise NotImplementedError

    def training_log_prob(self, x, parameters, log_ratio=None):
        """What training maximises; `log_prob` unless the likelihood fits something of its own to the batch.

        Args:
            x, parameters: as in `log_prob`. Where each image has k draws, these are rows one below another.
            log_ratio: `(images, k)` or None. What multiplies p(x|z_i) in the importance weight of each draw, as a logarithm;
                None where there is one draw an image. Defaults to None.
        """
        return self.log_prob(x, parameters)

    def mean(self, parameters):
        """The mean image, in [0, 1]."""
        return images.from_cube(parameters)


class _Scaled(Likelihood):
    """A location-scale density, exp(-sum |x - parameters|^power / (power scale^power)) over its integral.

    The scale is one number, fixed, learned by gradient, or its optimum for the batch.

    Args:
        scale: float above 0, on the unit cube (1 is the range from black to white); "learned", a trained number that
            starts at 0.1; or "optimal", which of each batch in training is the scale that maximises the objective
            (`best_log_scale`). Its running value stands in `log_prob`: step t, from 0, averages with decay
            min(0.99, t / (t + 10)), and a smaller batch than the largest one counts for less by its share of images.
    """

    power = None
    later = ("updates", "largest_batch")

    def __init__(self, scale, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        number = isinstance(scale, numbers.Real) and not isinstance(scale, bool)
        if scale not in ("learned", "optimal") and not (number and 0 < scale < math.inf):
            raise ValueError(f"scale is {scale!r}, expected a number above 0, 'learned' or 'optimal'.")
        self.scale = scale if isinstance(scale, str) else float(scale)
        if isinstance(scale, str):
            self.log_scale = self.add_weight(
                shape=(),
                dtype="float32",
                initializer=keras.initializers.Constant(math.log(0.1)),
                trainable=scale == "learned",
                aggregation="mean",  # replicas see different batches
                name="log_scale",
            )
        if scale == "optimal":
            settings = dict(shape=(), dtype="int64", initializer="zeros", trainable=False, aggregation="only_first_replica")
            self.updates, self.largest_batch = (self.add_weight(name=each, **settings) for each in self.later)

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

    def training_log_prob(self, x, parameters, log_ratio=None):
        if self.scale != "optimal":
            return self.log_prob(x, parameters)
        # The loss does not change with a scale at its optimum, so that no gradient passes through it.
        errors = divergences.gather(ops.stop_gradient(self.errors(x, parameters)))
        ratio = None if log_ratio is None else divergences.gather(ops.stop_gradient(log_ratio))
        best = self.best_log_scale(errors, math.prod(x.shape[1:]), ratio)
        self._follow(best, ops.cast(ops.shape(errors)[0], "int64"))
        return self.log_density(x, parameters, best)

    def errors(self, x, parameters):
        """sum |x - parameters|^power of each row, `(rows,)`."""
        return _sum(ops.abs(x - parameters) ** self.power)

    def best_log_scale(self, errors, dimensions, log_ratio=None):
        """The logarithm of the scale, within its bounds, that maximises the objective of a batch, a scalar.

        With one draw an image, scale^power is the mean of errors / dimensions. The importance-weighted bound has the slope of
        the mean in which each draw counts by its normalised weight (Burda et al. 2016, arXiv:1509.00519, section 3). The weights
        depend on the scale, so that both take turns until they agree, as in expectation maximisation.

        Args:
            errors: what `errors` returned, `(rows,)`.
            dimensions: int. Numbers in an image.
            log_ratio: as in `training_log_prob`.
        """
        of = lambda mean: ops.clip(ops.log(mean / dimensions + 1e-12) / self.power, -LOG_SCALE_BOUND, LOG_SCALE_BOUND)  # noqa: E731
        start = of(ops.mean(errors))
        if log_ratio is None:
            return start
        errors = ops.reshape(errors, ops.shape(log_ratio))

        def turn(now, before):
            weights = ops.softmax(log_ratio - errors / self.power * ops.exp(-self.power * now), axis=1)
            return of(ops.mean(ops.sum(weights * errors, axis=1))), now

        differ = lambda now, before: ops.abs(now - before) > 1e-6  # noqa: E731
        return tf.while_loop(differ, turn, (start, start + 1.0), maximum_iterations=100)[0]

    def _follow(self, best, rows):
        """Move the running value towards the optimum of a batch of so many rows."""
        step, largest = ops.cast(self.updates, "float32"), ops.maximum(ops.convert_to_tensor(self.largest_batch), rows)
        share = (1.0 - ops.minimum(0.99, step / (step + 10.0))) * ops.cast(rows, "float32") / ops.cast(largest, "float32")
        # The mean is of squared or absolute errors, as in `best_log_scale`.
        old, new = (ops.exp(self.power * each) for each in (ops.convert_to_tensor(self.log_scale), best))
        self.log_scale.assign(ops.log(old + share * (new - old)) / self.power)
        self.updates.assign(self.updates + 1)
        self.largest_batch.assign(largest)


@keras.saving.register_keras_serializable("keras_genzoo")
class Gaussian(_Scaled):
    """N(x; parameters, scale^2). With the optimal scale, the sigma-VAE (Rybkin et al. 2021, arXiv:2006.13202, eq. 5)."""

    power = 2

    def __init__(self, scale=1.0, name=None, dtype=None):
        super().__init__(scale, name=name, dtype=dtype)

    def log_density(self, x, mean, log_scale):
        return _sum(-0.5 * ops.square((x - mean) * ops.exp(-log_scale)) - log_scale - 0.5 * math.log(2 * math.pi))


@keras.saving.register_keras_serializable("keras_genzoo")
class Laplace(_Scaled):
    """exp(-|x - parameters| / scale) / (2 scale). Its optimal scale is the mean absolute error."""

    power = 1

    def __init__(self, scale="optimal", name=None, dtype=None):
        super().__init__(scale, name=name, dtype=dtype)

    def log_density(self, x, mean, log_scale):
        return _sum(-ops.abs(x - mean) * ops.exp(-log_scale) - log_scale - math.log(2))


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
        return _sum(logistic_level_log_prob(x - location, log_scale, half, x < half, x > 1 - half))

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
        return _sum(ops.logsumexp(ops.log_softmax(logits) + ops.sum(each, axis=-2), axis=-1))

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
        return _sum(-tf.nn.sparse_softmax_cross_entropy_with_logits(labels=level, logits=self._logits(parameters)))

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
