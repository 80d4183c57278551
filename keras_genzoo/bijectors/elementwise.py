"""Maps of single numbers: by parameters that a network gives, and fixed ones, from the unit cube and back."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo.bijectors.base import Bijector, no_change, total
from keras_genzoo.core.serialization import Part, named

_registered = keras.saving.register_keras_serializable("keras_genzoo")


class Elementwise(Part):
    """Base of maps of single numbers, by parameters of their own that a coupling or an autoregressive network puts out.

    Class attributes:
        parameters: how many an element needs. All of them 0 make the map the identity; only `SigmoidAffine` is not.
    """

    parameters = 1

    def forward(self, x, parameters):
        """y and log dy/dx of x, of x's shape, with parameters of one more axis."""
        raise NotImplementedError

    def inverse(self, y, parameters):
        """The x of which `forward` makes y."""
        raise NotImplementedError


@_registered
class Additive(Elementwise):
    """y = x + t (NICE, Dinh et al. 2015, arXiv:1410.8516, eq. 7)."""

    def forward(self, x, parameters):
        return x + parameters[..., 0], ops.zeros_like(x)

    def inverse(self, y, parameters):
        return y - parameters[..., 0]


@_registered
class Affine(Elementwise):
    """y = x exp(s) + t (RealNVP, Dinh et al. 2017, arXiv:1605.08803, eq. 7), with s bounded.

    Args:
        limit: float. Bound on |s|. Defaults to 3.
    """

    parameters = 2

    def __init__(self, limit=3.0, **kwargs):
        super().__init__(**kwargs)
        self.limit = limit

    def _scale_and_shift(self, parameters):
        return self.limit * ops.tanh(parameters[..., 0] / self.limit), parameters[..., 1]

    def forward(self, x, parameters):
        log_scale, shift = self._scale_and_shift(parameters)
        return x * ops.exp(log_scale) + shift, log_scale

    def inverse(self, y, parameters):
        log_scale, shift = self._scale_and_shift(parameters)
        return (y - shift) * ops.exp(-log_scale)


@_registered
class SigmoidAffine(Elementwise):
    """y = (x + t) sigmoid(s + 2), which shrinks alone, as Glow's published code has it (Kingma and Dhariwal 2018,
    arXiv:1807.03039). Parameters of 0 multiply by sigmoid(2) = 0.88."""

    parameters = 2

    def forward(self, x, parameters):
        log_scale = -ops.softplus(-2.0 - parameters[..., 0])
        return (x + parameters[..., 1]) * ops.exp(log_scale), log_scale

    def inverse(self, y, parameters):
        return y * (1.0 + ops.exp(-2.0 - parameters[..., 0])) - parameters[..., 1]


@_registered
class Spline(Elementwise):
    """Monotone pieces of quotients of quadratics between knots (Durkan et al. 2019, arXiv:1906.04032, eq. 4 to 8); outside of
    [-bound, bound] the identity.

    Args:
        bins: int. Defaults to 8.
        bound: float. Defaults to 3.
        smallest: float. Least width and height of a bin, as a share of all, and least slope. Defaults to 1e-3.
    """

    def __init__(self, bins=8, bound=3.0, smallest=1e-3, **kwargs):
        super().__init__(**kwargs)
        if bins < 2 or not bound > 0 or not 0 < smallest * bins < 1:
            raise ValueError(
                f"bins is {bins}, bound {bound} and smallest {smallest}; expected at least 2, above 0, below 1 / bins."
            )
        self.bins, self.bound, self.smallest = bins, bound, smallest

    @property
    def parameters(self):
        return 3 * self.bins - 1

    def _knots(self, logits):
        """Where the bins begin and how wide they are, each `(..., bins)`."""
        shares = self.smallest + (1.0 - self.smallest * self.bins) * ops.softmax(logits, axis=-1)
        widths = 2.0 * self.bound * shares
        ends = ops.cumsum(widths, axis=-1)
        return ends - widths - self.bound, widths

    def _pieces(self, parameters):
        widths, heights, slopes = ops.split(parameters, [self.bins, 2 * self.bins], axis=-1)
        one = math.log(math.expm1(1.0 - self.smallest))  # whose softplus, with the least slope, is 1
        inner = self.smallest + ops.softplus(slopes + one)
        ones = ops.ones_like(inner[..., :1])
        slopes = ops.concatenate([ones, inner, ones], axis=-1)
        return *self._knots(widths), *self._knots(heights), slopes[..., :-1], slopes[..., 1:]

    def _choose(self, value, begins, pieces):
        # The last bin that begins at or before the value; sums of products with one-hot vectors are faster than gathers.
        number = ops.sum(ops.cast(value[..., None] >= begins[..., 1:], "int32"), axis=-1)
        chosen = ops.one_hot(number, self.bins, dtype=value.dtype)
        return [ops.sum(chosen * piece, axis=-1) for piece in pieces]

    def forward(self, x, parameters):
        pieces = self._pieces(parameters)
        inside = ops.abs(x) < self.bound
        value = ops.where(inside, x, ops.zeros_like(x))
        left, width, bottom, height, slope, next_slope = self._choose(value, pieces[0], pieces)
        # xi of the paper; rounded sums of widths may lead a little out of a narrow bin, where slopes are negative.
        place = ops.clip((value - left) / width, 0.0, 1.0)
        rest = place * (1.0 - place)
        steep = height / width  # s
        below = steep + (slope + next_slope - 2.0 * steep) * rest
        y = bottom + height * (steep * place**2 + slope * rest) / below  # eq. 4
        rise = steep**2 * (next_slope * place**2 + 2.0 * steep * rest + slope * (1.0 - place) ** 2)  # eq. 5
        log_slope = ops.log(rise) - 2.0 * ops.log(below)
        # Rounded sums of heights may lead out of the bounds, beyond which what follows may have no density.
        y = ops.clip(y, -self.bound, self.bound)
        return ops.where(inside, y, x), ops.where(inside, log_slope, ops.zeros_like(x))

    def inverse(self, y, parameters):
        pieces = self._pieces(parameters)
        inside = ops.abs(y) < self.bound
        value = ops.where(inside, y, ops.zeros_like(y))
        left, width, bottom, height, slope, next_slope = self._choose(value, pieces[2], pieces)
        steep = height / width
        up = value - bottom
        bend = up * (slope + next_slope - 2.0 * steep)
        a = height * (steep - slope) + bend  # eq. 6 to 8
        b = height * slope - bend
        c = -steep * up
        root = ops.sqrt(ops.maximum(b**2 - 4.0 * a * c, 0.0))
        x = left + width * ops.clip(2.0 * c / (-b - root), 0.0, 1.0)
        return ops.where(inside, ops.clip(x, -self.bound, self.bound), y)

    def fit(self, x):
        """Parameters `(..., parameters)` that make each element of a batch `(batch, ...)` about standard normal."""
        import scipy.stats

        heights = np.linspace(-self.bound, self.bound, self.bins + 1)
        knots = np.quantile(np.asarray(x, np.float64), scipy.stats.norm.cdf(heights[1:-1]), axis=0)
        ends = np.full((1, *knots.shape[1:]), self.bound)
        widths = np.diff(np.concatenate([-ends, knots.clip(-self.bound, self.bound), ends]), axis=0)
        shares = np.maximum(widths / (2.0 * self.bound), 2.0 * self.smallest)
        shares = np.moveaxis(shares / shares.sum(axis=0), 0, -1)
        steep = 1.0 / (self.bins * shares)
        slopes = np.sqrt(steep[..., 1:] * steep[..., :-1]).clip(2.0 * self.smallest, 1e3)
        # The inverses of what `_pieces` makes of parameters.
        widths = np.log(np.maximum(shares - self.smallest, 1e-12))
        slopes = np.log(np.expm1(slopes - self.smallest)) - math.log(math.expm1(1.0 - self.smallest))
        return np.concatenate([widths, np.zeros_like(widths), np.where(np.isfinite(slopes), slopes, 1e3)], axis=-1)


ELEMENTWISE = {"additive": Additive, "affine": Affine, "spline": Spline, "sigmoid": SigmoidAffine}


def get_elementwise(elementwise):
    """An `Elementwise` by its name, or the one given; anything else is an error that lists the names."""
    return named(elementwise, ELEMENTWISE, Elementwise, "elementwise")


def per_element(output, count):
    """A network's output with the `count` parameters of an element on an axis of their own."""
    shape = ops.shape(output)
    return ops.reshape(output, (*shape[:-1], output.shape[-1] // count, count))


@_registered
class Logit(Bijector):
    """y = logit(alpha + (1 - 2 alpha) x), the unit cube to all numbers (RealNVP, section 4.1).

    Args:
        alpha: float. Keeps y finite at 0 and 1. Defaults to 0.05.
    """

    def __init__(self, alpha=0.05, **kwargs):
        super().__init__(**kwargs)
        if not 0 < alpha < 0.5:
            raise ValueError(f"alpha is {alpha}, expected a number between 0 and 0.5.")
        self.alpha = alpha

    def forward(self, x, training=False):
        x = self.alpha + (1.0 - 2.0 * self.alpha) * x
        up, down = ops.log(x), ops.log1p(-x)
        return up - down, total(math.log1p(-2.0 * self.alpha) - up - down)

    def inverse(self, y):
        return (ops.sigmoid(y) - self.alpha) / (1.0 - 2.0 * self.alpha)


@_registered
class Scale(Bijector):
    """y = factor x + shift, for all elements alike.

    Args:
        factor: float, not 0.
        shift: float. Defaults to 0.
    """

    def __init__(self, factor, shift=0.0, **kwargs):
        super().__init__(**kwargs)
        if not factor:
            raise ValueError("factor is 0, expected another number.")
        self.factor, self.shift = factor, shift

    def forward(self, x, training=False):
        return self.factor * x + self.shift, math.prod(x.shape[1:]) * math.log(abs(self.factor)) + no_change(x)

    def inverse(self, y):
        return (y - self.shift) / self.factor


@_registered
class Untruncate(Bijector):
    """[-bound, bound] to all numbers: what is standard normal and cut off at the bound becomes standard normal,

        y = F^-1((F(x) - F(-bound)) / (F(bound) - F(-bound))),    F the distribution function of N(0, 1),

    which is about the identity away from the bounds. The ends, of a mass of 1e-7 each, are mapped to -5.2 and 5.2. What lies
    beyond the bounds has the density 0: its log-determinant is -infinity.

    Args:
        bound: float above 0. Defaults to 4.
    """

    LEAST = 1e-7  # float32's last place, which keeps y finite

    def __init__(self, bound=4.0, **kwargs):
        super().__init__(**kwargs)
        if not bound > 0:
            raise ValueError(f"bound is {bound!r}, expected a number above 0.")
        self.bound = bound
        self._below = math.erfc(bound * math.sqrt(0.5)) / 2.0  # F(-bound)
        self._mass = 1.0 - 2.0 * self._below

    # Both by the lower half, where distribution functions are small numbers and nothing cancels.

    def forward(self, x, training=False):
        low = -ops.minimum(ops.abs(x), self.bound)
        share = (tf.math.erfc(-low * math.sqrt(0.5)) / 2.0 - self._below) / self._mass
        y = tf.math.ndtri(ops.clip(share, self.LEAST, 0.5))
        log_slope = 0.5 * (ops.square(y) - ops.square(low)) - math.log(self._mass)
        return -ops.sign(x) * y, total(ops.where(ops.abs(x) <= self.bound, log_slope, -math.inf))

    def inverse(self, y):
        share = self._below + self._mass * tf.math.erfc(ops.abs(y) * math.sqrt(0.5)) / 2.0
        return -ops.sign(y) * tf.math.ndtri(ops.minimum(share, 0.5))
