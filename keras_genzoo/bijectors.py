"""Invertible layers of normalizing flows: `forward(x)` gives y and log |det dy/dx|, `inverse(y)` gives x again.

Forward is the direction from data to noise, the one that training computes. Layers work on vectors `(batch, dimensions)` and
on images `(batch, height, width, channels)` alike, where not said otherwise, in the precision of what they are given.
"""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo.layers import MaskedDense
from keras_genzoo.randomness import random_seed
from keras_genzoo.serialization import Part, named

_registered = keras.saving.register_keras_serializable("keras_genzoo")


def _sum(x):
    """Over all axes but the batch's."""
    return ops.sum(ops.reshape(x, (ops.shape(x)[0], -1)), axis=1)


def _no_change(x):
    """The log-determinant of what leaves volumes alone."""
    return ops.zeros((ops.shape(x)[0],), dtype=x.dtype)


class Bijector(Part):
    """Base.

    Attributes:
        conditional: whether `forward` needs a further argument `context`, `(batch, units)`, that the map depends on.
    """

    conditional = False

    def forward(self, x, training=False):
        """y, and the logarithm of the absolute determinant of its Jacobian, `(batch,)`."""
        raise NotImplementedError

    def inverse(self, y):
        """The x of which `forward` makes y."""
        raise NotImplementedError

    def initialize(self, x, context=None):
        """Called once, before training, with a first batch; returns y. What depends on data takes its values here."""
        return self.forward(x, **({} if context is None else {"context": context}))[0]

    def _check_unconditional(self):
        if self.conditional:
            raise ValueError(f"{type(self).__name__} depends on a context and has no inverse; build it without context=.")


@_registered
class Chain(Bijector):
    """One after the other.

    Args:
        bijectors: list of `Bijector`.
    """

    def __init__(self, bijectors, **kwargs):
        super().__init__(**kwargs)
        self.bijectors = list(bijectors)

    @property
    def conditional(self):
        return any(bijector.conditional for bijector in self.bijectors)

    def forward(self, x, training=False, context=None):
        total = 0.0
        for bijector, told in self._told(context):
            x, log_det = bijector.forward(x, training, **told)
            total = total + log_det
        return x, total

    def _told(self, context):
        return [(bijector, {"context": context} if bijector.conditional else {}) for bijector in self.bijectors]

    def inverse(self, y):
        for bijector in reversed(self.bijectors):
            y = bijector.inverse(y)
        return y

    def initialize(self, x, context=None):
        for bijector, told in self._told(context):
            x = bijector.initialize(x, **told)
        return x


@_registered
class Inverted(Bijector):
    """A bijector with its two directions exchanged: inverse autoregressive flow of `Autoregressive`, for one.

    Args:
        bijector: `Bijector` of none that takes its values from a first batch, which it would have to see from its other side.
    """

    def __init__(self, bijector, **kwargs):
        super().__init__(**kwargs)
        self.bijector = bijector
        fitted = [type(each).__name__ for each in bijector._flatten_layers() if isinstance(each, (ActNorm, Pointwise))]
        if fitted:
            raise ValueError(f"{fitted[0]} takes its values from what goes forward into it; put it outside of Inverted.")

    def forward(self, x, training=False):
        y = self.bijector.inverse(x)
        return y, -self.bijector.forward(y, training)[1]

    def inverse(self, y):
        return self.bijector.forward(y)[0]


# Element by element, with parameters that a network gives


class Elementwise(Part):
    """Base of maps of single numbers, by parameters of their own that a coupling or an autoregressive network puts out.

    Class attributes:
        parameters: how many an element needs. All of them 0 make the map the identity.
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
        return ops.where(inside, x, y)

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


ELEMENTWISE = {"additive": Additive, "affine": Affine, "spline": Spline}


def get_elementwise(elementwise):
    """An `Elementwise` by its name, or the one given; anything else is an error that lists the names."""
    return named(elementwise, ELEMENTWISE, Elementwise, "elementwise")


def _per_element(output, count):
    """A network's output with the `count` parameters of an element on an axis of their own."""
    shape = ops.shape(output)
    return ops.reshape(output, (*shape[:-1], output.shape[-1] // count, count))


@_registered
class Coupling(Bijector):
    """Part of x stays, and a network of it says how the rest changes (RealNVP, section 3.4).

    Args:
        network: keras.Model. What stays, `(..., channels)` (with a checkerboard all of x, zeros for what changes), to the
            parameters `(..., changing channels * elementwise.parameters)`. One that puts out zeros makes the layer the identity.
        elementwise: name or `Elementwise`: "additive", "affine" or "spline". Defaults to "affine".
        mask: "channels" or, for images, "checkerboard". Defaults to "channels".
        flip: bool. Whether the other part stays. Defaults to False: the first half of the channels, rounded down, stays, or
            the pixels whose row and column have an even sum.
    """

    def __init__(self, network, elementwise="affine", mask="channels", flip=False, **kwargs):
        super().__init__(**kwargs)
        if mask not in ("channels", "checkerboard"):
            raise ValueError(f"mask is {mask!r}, expected 'channels' or 'checkerboard'.")
        self.network = network
        self.elementwise = get_elementwise(elementwise)
        self.mask = mask
        self.flip = flip

    def _parameters(self, stays, changes, training):
        parameters = _per_element(self.network(stays, training=training), self.elementwise.parameters)
        if parameters.shape[-2] != changes.shape[-1]:
            raise ValueError(
                f"the coupling's network puts out {self.network.output_shape[-1]} channels, expected {changes.shape[-1]} that "
                f"change times {self.elementwise.parameters} parameters."
            )
        return parameters

    def _split(self, x):
        first, second = ops.split(x, [x.shape[-1] // 2], axis=-1)
        return (second, first) if self.flip else (first, second)

    def _join(self, stays, changed):
        return ops.concatenate([changed, stays] if self.flip else [stays, changed], axis=-1)

    def _stays(self, x):
        rows, columns = np.indices(x.shape[1:3])
        return ops.cast(((rows + columns + self.flip) % 2 == 0)[None, :, :, None], x.dtype)

    def forward(self, x, training=False):
        if self.mask == "channels":
            stays, changes = self._split(x)
            y, log_slope = self.elementwise.forward(changes, self._parameters(stays, changes, training))
            return self._join(stays, y), _sum(log_slope)
        stays = self._stays(x)
        y, log_slope = self.elementwise.forward(x, self._parameters(stays * x, x, training))
        return stays * x + (1.0 - stays) * y, _sum((1.0 - stays) * log_slope)

    def inverse(self, y):
        if self.mask == "channels":
            stays, changed = self._split(y)
            return self._join(stays, self.elementwise.inverse(changed, self._parameters(stays, changed, False)))
        stays = self._stays(y)
        return stays * y + (1.0 - stays) * self.elementwise.inverse(y, self._parameters(stays * y, y, False))


@_registered
class Autoregressive(Bijector):
    """Every element changes by parameters that depend on those before it (MAF, Papamakarios et al. 2017, arXiv:1705.07057).

    Forward is one call of the network, the inverse as many as there are dimensions. `Inverted`, or used forward on noise as the
    posterior of a VAE, it is inverse autoregressive flow (Kingma et al. 2016, arXiv:1606.04934).

    The network sees elements beyond `bound` as `bound`: else the inverse, each element of which depends on all before it, runs
    off to infinity once it leaves where data are, as samples of a flow that has learned little do.

    Args:
        network: keras.Model. Vectors `(batch, dimensions)` to `(batch, dimensions * elementwise.parameters)`, those of an element
            of none but the elements before it, as `networks.made`; with a second input, the context, there is no inverse.
        elementwise: name or `Elementwise`. Defaults to "affine".
        bound: float above 0. Defaults to 10, where the data are about standard normal.
    """

    def __init__(self, network, elementwise="affine", bound=10.0, **kwargs):
        super().__init__(**kwargs)
        if not bound > 0:
            raise ValueError(f"bound is {bound!r}, expected a number above 0.")
        self.network = network
        self.elementwise = get_elementwise(elementwise)
        self.bound = bound

    @property
    def conditional(self):
        return len(self.network.inputs) == 2

    def _seen(self, x):
        return ops.clip(x, -self.bound, self.bound)

    def _parameters(self, x, training=False, context=None):
        x = self._seen(x)
        output = self.network(x if context is None else [x, context], training=training)
        return _per_element(output, self.elementwise.parameters)

    def forward(self, x, training=False, context=None):
        y, log_slope = self.elementwise.forward(x, self._parameters(x, training, context))
        return y, _sum(log_slope)

    def inverse(self, y):
        self._check_unconditional()
        layers = self.network.layers[1:]
        # Of these layers alone, and with one input, a network is a chain.
        chain = all(isinstance(layer, (MaskedDense, keras.layers.Activation)) for layer in layers)
        ends = [layer for layer in (layers[0], layers[-1]) if isinstance(layer, MaskedDense)]
        if chain and len(layers) > 1 and len(ends) == 2 and layers[0].activation is keras.activations.linear:
            return self._by_elements(y, *layers)
        # Each pass makes one element more right, the first right at once.
        again = lambda index, x: (index + 1, self.elementwise.inverse(y, self._parameters(x)))  # noqa: E731
        most = y.shape[1]  # told, so that XLA can differentiate the loop
        return tf.while_loop(lambda index, _: index < most, again, (0, tf.zeros_like(y)), maximum_iterations=most)[1]

    def _by_elements(self, y, first, *middle):
        """The inverse of a chain of layers, of whose first and last a pass computes only what its element changes or needs."""
        *middle, last = middle
        count, dimensions = self.elementwise.parameters, y.shape[1]

        def again(index, total, found):
            hidden = ops.cast(total, first.compute_dtype)
            for layer in middle:
                hidden = layer(hidden)
            parameters = ops.cast(last.some(hidden, index * count, count), y.dtype)
            x = self.elementwise.inverse(tf.gather(y, index, axis=1)[:, None], parameters[:, None])
            seen = ops.cast(ops.cast(self._seen(x), first.compute_dtype), y.dtype)
            return index + 1, total + seen * ops.cast(first.of_input(index), y.dtype), found.write(index, x[:, 0])

        # Summed in full precision, as a matrix product is.
        start = tf.zeros((tf.shape(y)[0], first.units), y.dtype)
        start = start + ops.cast(first.bias, y.dtype) if first.use_bias else start
        found = tf.TensorArray(y.dtype, dimensions, element_shape=[None])
        more = lambda index, *_: index < dimensions  # noqa: E731
        *_, found = tf.while_loop(more, again, (0, start, found), maximum_iterations=dimensions)
        return ops.transpose(found.stack())


@_registered
class Pointwise(Bijector):
    """Every element by a spline of its own, which no other element changes; of the first batch, about standard normal.

    Args:
        shape: tuple, that of an element of the batch, as `(height, width, channels)`.
        spline: `Spline` or None, the default one. Defaults to None.
    """

    def __init__(self, shape, spline=None, **kwargs):
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.spline = Spline() if spline is None else spline
        self.values = self.add_weight(shape=(*self.shape, self.spline.parameters), initializer="zeros", name="values")

    def forward(self, x, training=False):
        y, log_slope = self.spline.forward(x, ops.convert_to_tensor(self.values)[None])
        return y, _sum(log_slope)

    def inverse(self, y):
        return self.spline.inverse(y, ops.convert_to_tensor(self.values)[None])

    def initialize(self, x):
        self.values.assign(self.spline.fit(x))
        return super().initialize(x)


# On all channels


@_registered
class ActNorm(Bijector):
    """y = (x + bias) exp(log_scale), a channel each; of the first batch, mean 0 and variance 1 (Glow, Kingma and Dhariwal 2018,
    arXiv:1807.03039, section 3.1). One number alone is taken to have variance 1.

    Args:
        channels: int.
    """

    def __init__(self, channels, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self.bias, self.log_scale = (
            self.add_weight(shape=(channels,), initializer="zeros", name=name) for name in ("bias", "log_scale")
        )

    def forward(self, x, training=False):
        log_scale = ops.convert_to_tensor(self.log_scale)
        pixels = math.prod(x.shape[1:-1])
        y = (x + self.bias) * ops.exp(log_scale)
        return y, pixels * ops.sum(log_scale) + _no_change(x)

    def inverse(self, y):
        return y * ops.exp(-ops.convert_to_tensor(self.log_scale)) - self.bias

    def initialize(self, x):
        axes = tuple(range(len(x.shape) - 1))
        mean, variance = ops.moments(x, axes)
        variance = ops.where(ops.size(x) > self.channels, variance, 1.0)
        self.bias.assign(-mean)
        self.log_scale.assign(-0.5 * ops.log(variance + 1e-6))
        return super().initialize(x)


@_registered
class InvertibleConvolution(Bijector):
    """y = W x at every pixel, W = P L (U + diag(sign exp(log_scale))), from a random rotation on (Glow, section 3.2, eq. 10).

    Args:
        channels: int.
    """

    def __init__(self, channels, **kwargs):
        import scipy.linalg

        super().__init__(**kwargs)
        self.channels = channels
        rotation = np.linalg.qr(np.random.default_rng(random_seed()).normal(size=(channels, channels)))[0]
        permutation, lower, upper = scipy.linalg.lu(rotation)
        diagonal = np.diag(upper)
        values = {"lower": lower, "upper": upper, "log_scale": np.log(np.abs(diagonal))}
        fixed = {"permutation": permutation, "sign": np.sign(diagonal)}
        for name, value in {**values, **fixed}.items():
            # By an initializer, since several workers share what variables begin with, and not what is assigned to them.
            initial = lambda shape, dtype, value=value: ops.convert_to_tensor(value, dtype)  # noqa: E731
            setattr(self, name, self.add_weight(shape=value.shape, initializer=initial, trainable=name in values, name=name))

    def _factors(self):
        lower, upper, log_scale = (ops.convert_to_tensor(v) for v in (self.lower, self.upper, self.log_scale))
        ones = ops.eye(self.channels, dtype=lower.dtype)
        lower = ops.tril(lower, -1) + ones
        return lower, ops.triu(upper, 1) + ops.diag(self.sign * ops.exp(log_scale)), log_scale

    def forward(self, x, training=False):
        lower, upper, log_scale = self._factors()
        matrix = ops.matmul(self.permutation, ops.matmul(lower, upper))
        return ops.matmul(x, ops.transpose(matrix)), math.prod(x.shape[1:-1]) * ops.sum(log_scale) + _no_change(x)

    def inverse(self, y):
        lower, upper, _ = self._factors()
        columns = ops.transpose(ops.reshape(y, (-1, self.channels)))
        columns = tf.linalg.triangular_solve(lower, ops.matmul(ops.transpose(self.permutation), columns))
        columns = tf.linalg.triangular_solve(upper, columns, lower=False)
        return ops.reshape(ops.transpose(columns), ops.shape(y))


@_registered
class Permutation(Bijector):
    """The channels in another order.

    Args:
        order: list of ints, of each channel of y that of x.
    """

    def __init__(self, order, **kwargs):
        super().__init__(**kwargs)
        if sorted(order) != list(range(len(order))):
            raise ValueError(f"order is {list(order)}, expected each number from 0 to {len(order) - 1} once.")
        self.order = [int(channel) for channel in order]

    def forward(self, x, training=False):
        return ops.take(x, self.order, axis=-1), _no_change(x)

    def inverse(self, y):
        return ops.take(y, np.argsort(self.order).tolist(), axis=-1)


# Shapes


@_registered
class Squeeze(Bijector):
    """Every 2x2 pixels of an image become one of four times the channels (RealNVP, section 3.6). Sides must be even."""

    def forward(self, x, training=False):
        _, rows, columns, channels = x.shape
        if rows % 2 or columns % 2:
            raise ValueError(f"images of {rows}x{columns} cannot be squeezed, expected even sides; factor out a row or column.")
        x = ops.reshape(x, (-1, rows // 2, 2, columns // 2, 2, channels))
        y = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, rows // 2, columns // 2, 4 * channels))
        return y, _no_change(y)

    def inverse(self, y):
        _, rows, columns, channels = y.shape
        y = ops.reshape(y, (-1, rows, columns, 2, 2, channels // 4))
        return ops.reshape(ops.transpose(y, (0, 1, 3, 2, 4, 5)), (-1, 2 * rows, 2 * columns, channels // 4))


@_registered
class Flatten(Bijector):
    """Images as vectors.

    Args:
        shape: `(height, width, channels)` of the images.
    """

    def __init__(self, shape, **kwargs):
        super().__init__(**kwargs)
        self.shape = tuple(shape)

    def forward(self, x, training=False):
        return ops.reshape(x, (-1, math.prod(self.shape))), _no_change(x)

    def inverse(self, y):
        return ops.reshape(y, (-1, *self.shape))


@_registered
class FactorOut(Bijector):
    """Part of an image is done with and joins the latents; the rest goes on (RealNVP, section 3.6). Puts out vectors.

    Args:
        shape: `(height, width, channels)` of its input.
        rest: `Bijector` of what goes on, to vectors.
        part: what is done with: "channels" (the second half, rounded down), or the last "row" or "column", for levels whose sides
            are odd. Defaults to "channels".
    """

    AXES = {"row": 1, "column": 2, "channels": 3}

    def __init__(self, shape, rest, part="channels", **kwargs):
        super().__init__(**kwargs)
        if part not in self.AXES:
            raise ValueError(f"part is {part!r}, expected 'channels', 'row' or 'column'.")
        self.shape = tuple(shape)
        self.rest = rest
        self.part = part
        self._axis = self.AXES[part]
        size = self.shape[self._axis - 1]
        self._stays = size - (size // 2 if part == "channels" else 1)
        if not 0 < self._stays < size:
            raise ValueError(f"shape is {self.shape}: no {part} can be done with and some be left.")
        if rest.conditional:
            raise ValueError("rest depends on a context, which FactorOut does not hand on.")
        of = lambda part: tuple(part if axis == self._axis else each for axis, each in enumerate(self.shape, 1))  # noqa: E731
        self._kept, self._done = of(self._stays), of(size - self._stays)

    def _split(self, x):
        return ops.split(x, [self._stays], axis=self._axis)

    def _flat(self, x):
        return ops.reshape(x, (-1, math.prod(x.shape[1:])))

    def forward(self, x, training=False):
        x, done = self._split(x)
        y, log_det = self.rest.forward(x, training)
        return ops.concatenate([y, self._flat(done)], axis=-1), log_det

    def inverse(self, y):
        y, done = ops.split(y, [math.prod(self._kept)], axis=-1)
        return ops.concatenate([self.rest.inverse(y), ops.reshape(done, (-1, *self._done))], axis=self._axis)

    def initialize(self, x):
        x, done = self._split(x)
        return ops.concatenate([self.rest.initialize(x), self._flat(done)], axis=-1)


# Single numbers of fixed parameters


@_registered
class VariationalDequantisation(Part):
    """The noise within a level, drawn by a network that sees the image instead of evenly (Flow++, Ho et al. 2019,
    arXiv:1902.00275, section 3.1):

        u = sigmoid(g(logit(v))),    v uniform on the unit cube,

    g a map of each element whose parameters are the network's, so that u(i) and u(j) are independent given the image. Then
    E[log p((k + u) / 256) - log q(u | k)] is a lower bound of the log-likelihood of the levels k, as it is with q = 1.

    Args:
        network: keras.Model. Images `(batch, height, width, channels)` in [0, 1] to `(batch, height, width, channels *
            elementwise.parameters)`. One that puts out zeros draws evenly.
        elementwise: g, a name or an `Elementwise`. Defaults to "affine".
    """

    def __init__(self, network, elementwise="affine", **kwargs):
        super().__init__(**kwargs)
        self.network = network
        self.elementwise = get_elementwise(elementwise)
        *sides, channels = network.input_shape[1:]
        expected = (*sides, channels * self.elementwise.parameters)
        if tuple(network.output_shape[1:]) != expected:
            raise ValueError(f"the network puts out shape {tuple(network.output_shape[1:])}, expected {expected} for its images.")

    def __call__(self, x, uniform, training=False):
        """u of images in [0, 1], with noise of their shape; and log q(u | x), `(batch,)`."""
        log_slope_of_sigmoid = lambda a: -ops.softplus(a) - ops.softplus(-a)  # noqa: E731
        v = ops.clip(uniform, 1e-6, 1.0 - 1e-6)
        logit = ops.log(v) - ops.log1p(-v)
        parameters = _per_element(self.network(x, training=training), self.elementwise.parameters)
        y, log_slope = self.elementwise.forward(logit, parameters)
        return ops.sigmoid(y), _sum(log_slope_of_sigmoid(logit) - log_slope - log_slope_of_sigmoid(y))


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
        return up - down, _sum(math.log1p(-2.0 * self.alpha) - up - down)

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
        return self.factor * x + self.shift, math.prod(x.shape[1:]) * math.log(abs(self.factor)) + _no_change(x)

    def inverse(self, y):
        return (y - self.shift) / self.factor


# Whole vectors, inverted by bisection


def _bisect(rising, slope, low, high, steps):
    """Where a rising function of one number, of this slope, is 0, `(batch, 1)`, between bounds."""

    def halve(index, low, high):
        middle = 0.5 * (low + high)
        above = rising(middle) > 0
        return index + 1, ops.where(above, low, middle), ops.where(above, middle, high)

    _, low, high = tf.while_loop(lambda index, *_: index < steps, halve, (0, low, high))
    root = ops.stop_gradient(0.5 * (low + high))
    return root - rising(root) / slope(root)  # Newton's step, which brings the gradient of the root


def _steps(dtype):
    return 80 if tf.as_dtype(dtype) == tf.float64 else 40  # halvings until no bit is left


@_registered
class Planar(Bijector):
    """y = x + u tanh(w x + b) of vectors (Rezende and Mohamed 2015, arXiv:1505.05770, eq. 10), u so that it is invertible
    (appendix A.1, with the softplus shifted so that a small u stays small).

    Args:
        dimensions: int.
        context: int or None. With units of a context, u, w and b are a linear function of it, for every vector its own, and there
            is no inverse. Defaults to None.
    """

    def __init__(self, dimensions, context=None, **kwargs):
        super().__init__(**kwargs)
        self.dimensions = dimensions
        self.context = context
        normal = keras.initializers.RandomNormal(stddev=0.1, seed=random_seed())
        self.values = self.add_weight(shape=(2 * dimensions + 1,), initializer=normal, name="values")
        if context is not None:
            self.of_context = self.add_weight(shape=(context, 2 * dimensions + 1), initializer="zeros", name="of_context")

    @property
    def conditional(self):
        return self.context is not None

    def _constants(self, context=None):
        """u and w, `(1 or batch, dimensions)`, 1 + u w and b, `(1 or batch, 1)`."""
        values = ops.convert_to_tensor(self.values)[None]
        if context is not None:
            values = values + ops.matmul(context, self.of_context)
        u, w, b = ops.split(values, [self.dimensions, 2 * self.dimensions], axis=-1)
        product = ops.sum(u * w, axis=-1, keepdims=True)
        above = ops.softplus(product + math.log(math.e - 1.0)) + 1e-30  # 1 + u w, which must be above 0
        return u + (above - 1.0 - product) * w / (ops.sum(w * w, axis=-1, keepdims=True) + 1e-12), w, above, b

    def forward(self, x, training=False, context=None):
        u, w, above, b = self._constants(context)
        bent = ops.tanh(ops.sum(x * w, axis=-1, keepdims=True) + b)
        return x + u * bent, ops.log(self._slope(bent, above))[:, 0]

    @staticmethod
    def _slope(bent, above):
        """1 + (u w) tanh', written so that nothing cancels where u w is near -1."""
        return bent**2 + (1.0 - bent**2) * above

    def inverse(self, y):
        self._check_unconditional()
        u, w, above, b = self._constants()
        along = ops.sum(y * w, axis=-1, keepdims=True)
        # w x = a solves a + (w u) tanh(a + b) = w y; the left side rises with a, since w u > -1.
        rising = lambda a: a + (above - 1.0) * ops.tanh(a + b) - along  # noqa: E731
        slope = lambda a: self._slope(ops.tanh(a + b), above)  # noqa: E731
        reach = ops.abs(above - 1.0) + 1.0
        a = _bisect(rising, slope, along - reach, along + reach, _steps(y.dtype))
        return y - u * ops.tanh(a + b)


@_registered
class Radial(Bijector):
    """y = x + beta (x - x0) / (alpha + |x - x0|) of vectors (Rezende and Mohamed 2015, eq. 14), beta > -alpha (appendix A.2).

    Args:
        dimensions: int.
    """

    def __init__(self, dimensions, **kwargs):
        super().__init__(**kwargs)
        self.dimensions = dimensions
        normal = keras.initializers.RandomNormal(seed=random_seed())
        self.centre = self.add_weight(shape=(dimensions,), initializer=normal, name="centre")
        self.log_alpha = self.add_weight(shape=(), initializer="zeros", name="log_alpha")
        self.strength = self.add_weight(shape=(), initializer=keras.initializers.Constant(0.5413), name="strength")

    def _constants(self):
        alpha = ops.exp(ops.convert_to_tensor(self.log_alpha))
        return alpha, ops.softplus(ops.convert_to_tensor(self.strength)) - alpha

    def forward(self, x, training=False):
        alpha, beta = self._constants()
        away = x - self.centre
        radius = ops.sqrt(ops.sum(away**2, axis=-1, keepdims=True) + 1e-30)
        share = beta / (alpha + radius)
        along = 1.0 + share - share * radius / (alpha + radius)  # of the radius; all other directions stretch by 1 + share
        log_det = (self.dimensions - 1) * ops.log1p(share) + ops.log(along)
        return x + share * away, log_det[:, 0]

    def inverse(self, y):
        alpha, beta = self._constants()
        away = y - self.centre
        reached = ops.sqrt(ops.sum(away**2, axis=-1, keepdims=True) + 1e-30)
        rising = lambda radius: radius * (1.0 + beta / (alpha + radius)) - reached  # noqa: E731
        slope = lambda radius: 1.0 + alpha * beta / (alpha + radius) ** 2  # noqa: E731
        radius = _bisect(rising, slope, ops.zeros_like(reached), reached + ops.maximum(-beta, 0.0), _steps(y.dtype))
        return self.centre + away / (1.0 + beta / (alpha + radius))
