"""Energies of visible and hidden binary units: what a restricted Boltzmann machine is made of.

Of visible units v and hidden units h in {0, 1} the joint density at the inverse temperature beta is

    p_beta(v, h) = exp(a(v) + beta (v W h + c h)) / Z_beta

with a of the visible units alone. beta = 1 is the machine itself, beta = 0 has independent units and a known Z: between the two
annealed importance sampling walks.
"""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo.core import images, randomness
from keras_genzoo.core.serialization import Part

_registered = keras.saving.register_keras_serializable("keras_genzoo")
ENUMERABLE = 20  # units, at most, whose states are gone through one by one


def _float64(variable):
    return np.asarray(ops.convert_to_tensor(variable), np.float64)  # of the average, where averages are in use


class Machine(Part):
    """Base.

    Visible units are vectors `(batch, dimensions)`. Computes in float32 whatever the dtype policy.

    Args:
        image_shape: `(height, width, channels)`.
        hidden: int. Number of hidden units.

    Class attributes:
        support: what the visible units are of images, as in `GenerativeModel`.
    """

    support = None

    def __init__(self, image_shape, hidden, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.image_shape, self.hidden = tuple(image_shape), hidden
        self.dimensions = math.prod(self.image_shape)
        spread = keras.initializers.RandomNormal(stddev=0.01)  # Hinton 2012, "A practical guide", section 8
        self.kernel = self._weight((self.dimensions, hidden), spread, "kernel")
        self.hidden_bias = self._weight((hidden,), "zeros", "hidden_bias")
        self.visible_bias = self._weight((self.dimensions,), "zeros", "visible_bias")

    def _weight(self, shape, initializer, name):
        return self.add_weight(shape=shape, dtype="float32", initializer=initializer, name=name)

    def adapt(self, x):
        """Let the units begin with the mean of images in [0, 1]."""
        raise NotImplementedError

    def visible(self, x, uniform):
        """Visible units of images in [0, 1], with uniform noise of the images' shape."""
        raise NotImplementedError

    def to_images(self, v):
        """Images in [0, 1] of visible units, or of their means."""
        raise NotImplementedError

    def own_log_weight(self, v):
        """a(v), `(batch,)`."""
        raise NotImplementedError

    def to_unit(self, v):
        """v as it stands in v W h."""
        return v

    def mean_visible(self, h, beta=1.0):
        """E[v | h] at the inverse temperature beta."""
        raise NotImplementedError

    def draw_visible(self, h, key, beta=1.0):
        """A draw of v given h."""
        raise NotImplementedError

    def log_base(self):
        """log Z at beta = 0."""
        raise NotImplementedError

    def log_weight_of_hidden(self, h):
        """log of p(h) Z of rows of a NumPy array, in float64."""
        raise NotImplementedError

    def enumerable(self):
        """Of the side whose states can be gone through: its name, its number of units, and log of p Z of rows of a NumPy array of
        its states, in float64."""
        return "hidden", self.hidden, self.log_weight_of_hidden

    def hidden_logits(self, v):
        return ops.matmul(self.to_unit(v), ops.convert_to_tensor(self.kernel)) + ops.convert_to_tensor(self.hidden_bias)

    def draw_hidden(self, v, key, beta=1.0):
        """A draw of h given v."""
        logits = beta * self.hidden_logits(v)
        return ops.cast(randomness.uniform(key, ops.shape(logits)) < ops.sigmoid(logits), "float32")

    def sweep(self, v, key, beta=1.0):
        """Block Gibbs sampling, once there and back: h given v, and v given h."""
        return self.draw_visible(self.draw_hidden(v, randomness.fold(key, 0), beta), randomness.fold(key, 1), beta)

    def free_energy(self, v, beta=1.0):
        """-log of p_beta(v) Z_beta, the hidden units summed out, `(batch,)`."""
        return -self.own_log_weight(v) - ops.sum(ops.softplus(beta * self.hidden_logits(v)), axis=-1)

    def exact_log_partition(self, chunk=2**12):
        """log Z by going through all states of one side: the hidden units, or binary visible ones where these are fewer.

        Raises:
            ValueError: more than 20 units on that side.
        """
        side, units, log_weight = self.enumerable()
        if units > ENUMERABLE:
            raise ValueError(
                f"{units} {side} units have 2^{units} states, expected at most {ENUMERABLE} units; estimate it by log_partition."
            )
        total = -np.inf
        for start in range(0, 2**units, chunk):
            numbers = np.arange(start, min(start + chunk, 2**units))
            states = (numbers[:, None] >> np.arange(units) & 1).astype(np.float64)
            total = np.logaddexp(total, np.logaddexp.reduce(log_weight(states)))
        return float(total)

    def annealed_log_weights(self, n, steps, key):
        """Annealed importance sampling (Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief
        networks"): weights whose expectation is Z_1 / Z_0.

        Args:
            n: int. Number of runs.
            steps: int or int32 scalar. Number of inverse temperatures from 0 to 1, evenly spaced.
            key: of the noise.

        Returns:
            Logarithms of the weights, float32 `(n,)`.
        """
        width = 1.0 / tf.cast(steps, tf.float32)
        nothing = tf.zeros((n, self.hidden))
        start = self.draw_visible(nothing, randomness.fold(key, 0), 0.0)

        def step(index, v, total):
            beta = width * tf.cast(index + 1, tf.float32)
            total += self.free_energy(v, beta - width) - self.free_energy(v, beta)
            return index + 1, self.sweep(v, randomness.fold(key, 1, index), beta), total

        return tf.while_loop(lambda index, *_: index < steps, step, (0, start, tf.zeros((n,))))[2]


@_registered
class BernoulliMachine(Machine):
    """Binary visible units, a(v) = b v; the pixels of gray images are taken as probabilities, of which units are drawn."""

    support = "binary"

    def adapt(self, x):
        # As the guide's section 8.1 has it: log p / (1 - p).
        mean = ops.clip(ops.reshape(ops.mean(x, axis=0), (-1,)), 0.01, 0.99)
        self.visible_bias.assign(ops.log(mean) - ops.log1p(-mean))

    def visible(self, x, uniform):
        return ops.reshape(ops.cast(uniform < x, "float32"), (-1, self.dimensions))

    def to_images(self, v):
        return ops.reshape(v, (-1, *self.image_shape))

    def own_log_weight(self, v):
        return ops.matmul(v, ops.convert_to_tensor(self.visible_bias)[:, None])[:, 0]

    def mean_visible(self, h, beta=1.0):
        field = beta * ops.matmul(h, ops.transpose(ops.convert_to_tensor(self.kernel)))
        return ops.sigmoid(field + ops.convert_to_tensor(self.visible_bias))

    def draw_visible(self, h, key, beta=1.0):
        mean = self.mean_visible(h, beta)
        return ops.cast(randomness.uniform(key, ops.shape(mean)) < mean, "float32")

    def log_base(self):
        return ops.sum(ops.softplus(ops.convert_to_tensor(self.visible_bias))) + self.hidden * math.log(2)

    def enumerable(self):
        if self.hidden <= self.dimensions:
            return super().enumerable()
        return "visible", self.dimensions, self.log_weight_of_visible

    def log_weight_of_hidden(self, h):
        kernel, bias, visible = map(_float64, (self.kernel, self.hidden_bias, self.visible_bias))
        return h @ bias + np.logaddexp(0, h @ kernel.T + visible).sum(axis=1)

    def log_weight_of_visible(self, v):
        """log of p(v) Z of rows of a NumPy array, in float64."""
        kernel, bias, visible = map(_float64, (self.kernel, self.hidden_bias, self.visible_bias))
        return v @ visible + np.logaddexp(0, v @ kernel + bias).sum(axis=1)


@_registered
class GaussianMachine(Machine):
    """Visible units that are Gaussian given the hidden ones: v = b + s u, with u ~ N(W h, I), so that a = -|u|^2 / 2 and u takes
    the place of v in v W h (Hinton 2012, "A practical guide", section 13.2, there v / s in u's place, which moves the hidden
    biases alone). The deviations s, each pixel's own, are learned by their logarithm (as Cho et al. 2011, "Improved learning of
    Gaussian-Bernoulli restricted Boltzmann machines", section 3.1, do with variances) and bounded below.

    v is the image on the unit cube, dequantised, and densities are of it.

    Args:
        image_shape, hidden: as in `Machine`.
        smallest_scale: float. Lower bound of s. Defaults to 0.05.
    """

    support = "continuous"

    def __init__(self, image_shape, hidden, smallest_scale=0.05, **kwargs):
        super().__init__(image_shape, hidden, **kwargs)
        self.smallest_scale = smallest_scale
        start = keras.initializers.Constant(math.log(0.3))
        self.visible_log_scale = self._weight((self.dimensions,), start, "visible_log_scale")

    def scale(self):
        return self.smallest_scale + ops.exp(ops.convert_to_tensor(self.visible_log_scale))

    def adapt(self, x):
        flat = ops.reshape(x, (-1, self.dimensions))
        self.visible_bias.assign(ops.mean(flat, axis=0))
        # Half of what pixels deviate from their mean: hidden units soon explain as much.
        self.visible_log_scale.assign(ops.log(ops.clip(0.5 * ops.std(flat, axis=0) - self.smallest_scale, 0.01, 1.0)))

    def visible(self, x, uniform):
        return ops.reshape(images.dequantise(x, uniform), (-1, self.dimensions))

    def to_images(self, v):
        return ops.reshape(images.from_cube(v), (-1, *self.image_shape))

    def to_unit(self, v):
        return (v - ops.convert_to_tensor(self.visible_bias)) / self.scale()

    def own_log_weight(self, v):
        return -0.5 * ops.sum(ops.square(self.to_unit(v)), axis=-1)

    def mean_visible(self, h, beta=1.0):
        unit = beta * ops.matmul(h, ops.transpose(ops.convert_to_tensor(self.kernel)))
        return ops.convert_to_tensor(self.visible_bias) + self.scale() * unit

    def draw_visible(self, h, key, beta=1.0):
        mean = self.mean_visible(h, beta)
        return mean + self.scale() * randomness.normal(key, ops.shape(mean))

    def log_base(self):
        return 0.5 * self.dimensions * math.log(2 * math.pi) + ops.sum(ops.log(self.scale())) + self.hidden * math.log(2)

    def log_weight_of_hidden(self, h):
        kernel, bias = map(_float64, (self.kernel, self.hidden_bias))
        volume = 0.5 * self.dimensions * np.log(2 * np.pi) + np.log(_float64(self.scale())).sum()
        return h @ bias + 0.5 * np.square(h @ kernel.T).sum(axis=1) + volume


MACHINES = {"bernoulli": BernoulliMachine, "gaussian": GaussianMachine}
