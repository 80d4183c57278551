"""Markov chains of energies, step by step, each a pure function of its state.

`state = init(x, energy)`, then `state, acceptance = step(state, energy, progress, key)`; `state[0]` is x.
`energy(x)` gives one number a row.
"""

import math
import warnings

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo.core import randomness
from keras_genzoo.core.checks import whole
from keras_genzoo.core.serialization import Part

STUCK = 0.01  # acceptance below which a chain does not move
WIDE = 2.0  # standard deviations of a step, in distances of the bounds, beyond which it ends anywhere evenly
REACH = 6.0  # standard deviations of a step that are summed over

_registered = keras.saving.register_keras_serializable("keras_genzoo")


class Chain(Part):
    """Base of Markov chains whose rows tend to the density proportional to exp(-energy / temperature).

    Class attributes:
        stochastic: True; more than the start decides on the end.
        rejects: whether proposals may be refused, so that there is an acceptance rate.
    """

    stochastic = True
    rejects = False

    def init(self, x, energy):
        """The state from which the first step begins."""
        return (x,)

    def step(self, state, energy, progress, key):
        """The next state, and the share of rows that moved, a scalar.

        Args:
            state: tuple of tensors, the first of them x `(batch, ...)`.
            energy: callable of x to `(batch,)`.
            progress: float32 scalar, the share of all steps that is done, 0 at the first and 1 at the last.
            key: int64 `(2,)`, see `randomness`, of this step.
        """
        raise NotImplementedError

    def evaluations(self, steps):
        """How often the energy is evaluated in `steps` steps."""
        return steps


@_registered
class Langevin(Chain):
    """Steps down the energy, and noise (Roberts and Tweedie 1996, "Exponential convergence of Langevin distributions"):

        x' = x - step_size grad E(x) + sqrt(2 step_size temperature) z

    A step is not refused, and so the chain's density is that of the energy but for an error of the order of `step_size`.

    Args:
        step_size: float. Defaults to 0.01.
        temperature: float. Defaults to 1.
        start: float or None. Annealing: the temperature at the first step, from which it falls geometrically to `temperature`.
            None is `temperature` all along. Defaults to None.
        start_step_size: float or None. The step size at the first step, likewise. (Song and Ermon 2019, arXiv:1907.05600,
            algorithm 1, let both fall: their square of the noise level is what here is the product.) Defaults to None.
        clip: float or None. Largest absolute value of the gradient by each pixel, as Du and Mordatch 2019 (arXiv:1903.08689) have
            it. Defaults to None.
        bounds: pair of floats or None. Values beyond them are set to them. Defaults to None.

    Raises:
        ValueError: a number that is not above 0; bounds that are no range.
    """

    def __init__(self, step_size=0.01, temperature=1.0, start=None, start_step_size=None, clip=None, bounds=None, **kwargs):
        super().__init__(**kwargs)
        self.step_size, self.temperature, self.start, self.start_step_size = step_size, temperature, start, start_step_size
        self.clip, self.bounds = clip, bounds
        for name in ("step_size", "temperature", "start", "start_step_size", "clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value!r}, expected a number above 0.")
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError(f"bounds is {bounds!r}, expected None or a lower and an upper bound, as (-1, 1).")

    def at(self, progress):
        """Step size and temperature when this share of the steps is done."""

        def between(first, last):
            return last if first is None else last * (first / last) ** (1.0 - progress)

        return between(self.start_step_size, self.step_size), between(self.start, self.temperature)

    def init(self, x, energy):
        return (self._bounded(x),)

    def _bounded(self, x):
        return x if self.bounds is None else ops.clip(x, *self.bounds)

    def _with_gradient(self, energy, x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            value = energy(x)
        gradient = tape.gradient(value, x)
        return value, gradient if self.clip is None else ops.clip(gradient, -self.clip, self.clip)

    def step(self, state, energy, progress, key):
        x = state[0]
        step_size, temperature = (ops.cast(each, x.dtype) for each in self.at(progress))
        _, gradient = self._with_gradient(energy, x)
        noise = ops.cast(randomness.normal(key, tf.shape(x)), x.dtype)
        return (self._bounded(x - step_size * gradient + ops.sqrt(2.0 * step_size * temperature) * noise),), tf.constant(1.0)


@_registered
class MALA(Langevin):
    """The Metropolis-adjusted Langevin algorithm (Roberts and Tweedie 1996): a step of `Langevin` is refused with
    the probability that makes exp(-energy / temperature) the density of the chain exactly.

    With bounds, steps are reflected at them. So the density of a step sums that of all its mirror images,

        q(x' | x) = sum over y of N(y; x - step_size grad E(x), 2 step_size temperature),  y whose reflection is x',

    for each pixel, and the chain's density is the energy's within the bounds.

    Args:
        step_size, temperature, start, start_step_size, clip: as in `Langevin`.
        bounds: pair of floats or None. Steps beyond them are reflected. Defaults to None.
    """

    rejects = True

    def init(self, x, energy):
        x = self._bounded(x)
        return (x, *self._with_gradient(energy, x))

    def _widest(self):
        """Standard deviation of the widest step, as a share of the distance of the bounds."""
        product = max(self.start_step_size or 0.0, self.step_size) * max(self.start or 0.0, self.temperature)
        return math.sqrt(2.0 * product) / (self.bounds[1] - self.bounds[0])

    def _reflected(self, x):
        """Where a walk to x ends that is reflected at the bounds."""
        if self.bounds is None:
            return x
        low, high = self.bounds
        away = ops.mod(x - low, 2.0 * (high - low))
        return low + ops.minimum(away, 2.0 * (high - low) - away)

    def _log_density(self, to, mean, variance):
        """Of a step to a point, by pixels, but for what is the same in both directions."""
        if self.bounds is None:
            return -ops.square(to - mean) / (2.0 * variance)
        low, width = self.bounds[0], self.bounds[1] - self.bounds[0]
        mean = self._reflected(mean)  # which changes nothing of the sum
        reach = math.ceil(REACH * min(self._widest(), WIDE) / 2.0)
        images = [image + 2.0 * k * width for k in range(-reach, reach + 1) for image in (to, 2.0 * low - to)]
        return ops.logsumexp(ops.stack([-ops.square(image - mean) / (2.0 * variance) for image in images]), axis=0)

    def step(self, state, energy, progress, key):
        x, value, gradient = state
        step_size, temperature = (ops.cast(each, x.dtype) for each in self.at(progress))
        variance = 2.0 * step_size * temperature
        if self.bounds is not None:  # a wider step ends anywhere within the bounds, to 3e-9, and so does this one
            variance = ops.minimum(variance, (WIDE * (self.bounds[1] - self.bounds[0])) ** 2)
        noise = ops.cast(randomness.normal(randomness.fold(key, 0), tf.shape(x)), x.dtype)
        proposal = self._reflected(x - step_size * gradient + ops.sqrt(variance) * noise)
        new_value, new_gradient = self._with_gradient(energy, proposal)
        axes = tuple(range(1, len(x.shape)))
        there = self._log_density(proposal, x - step_size * gradient, variance)
        back = self._log_density(x, proposal - step_size * new_gradient, variance)
        log_ratio = (value - new_value) / ops.cast(temperature, value.dtype) + ops.cast(
            ops.sum(back - there, axis=axes), value.dtype
        )
        uniform = randomness.uniform(randomness.fold(key, 1), tf.shape(value))
        accepted = ops.cast(ops.log(uniform), value.dtype) < log_ratio
        wide = ops.reshape(accepted, (-1, *[1] * len(axes)))
        new = ops.where(wide, proposal, x), ops.where(accepted, new_value, value), ops.where(wide, new_gradient, gradient)
        return new, ops.mean(ops.cast(accepted, "float32"))

    def evaluations(self, steps):
        return steps + 1


class Gibbs:
    """A chain of block Gibbs sampling.

    Args:
        sweep: callable of x and a key to a new x, that draws all of it anew, block by block.
    """

    stochastic, rejects = True, False

    def __init__(self, sweep):
        self.sweep = sweep

    def init(self, x, energy):
        return (x,)

    def step(self, state, energy, progress, key):
        return (self.sweep(state[0], key),), tf.constant(1.0)

    def evaluations(self, steps):
        return steps


def run_chain(chain, energy, x, steps, key, watch=None):
    """All steps of a chain as one loop on the device. Outside of a `tf.function` each call traces the energy once.

    Args:
        chain: `Chain`.
        energy: callable of x to `(batch,)`.
        x: floats `(batch, ...)`.
        steps: int of at least 1, or int32 scalar.
        key: int64 `(2,)`. Of all noise.
        watch: callable of x to a tensor, or None. What is kept of x after every step. Defaults to None.

    Returns:
        x at the end, the mean acceptance, and what was kept, `(steps, ...)`, or None.

    Raises:
        ValueError: steps that are no whole number of at least 1; rows that are no floats.

    Warns:
        UserWarning: fewer than one step in a hundred was accepted.
    """
    x = tf.convert_to_tensor(x)
    if not x.dtype.is_floating:
        raise ValueError(f"x is {x.dtype.name}, expected floats; cast it, as by tf.cast(x, tf.float32).")
    if not tf.is_tensor(steps):
        steps = whole(steps=steps)
    if not tf.executing_eagerly():
        return loop(chain, energy, x, steps, key, watch)
    # Traced anew, since the energy may depend on what Python changed between two calls.
    run = tf.function(lambda x, steps, key: loop(chain, energy, x, steps, key, watch), autograph=False)
    ended = run(x, tf.convert_to_tensor(steps, tf.int32), key)
    if chain.rejects:
        warn_of_stuck(chain, float(ended[1]), len(x) * int(steps))
    return ended


def loop(chain, energy, x, steps, key, watch=None):
    """`run_chain` as part of a graph that is being traced; eagerly, step by step in Python."""
    steps = tf.convert_to_tensor(steps, tf.int32)
    last = tf.cast(tf.maximum(steps - 1, 1), tf.float32)
    state = chain.init(x, energy)
    kept = () if watch is None else (tf.TensorArray(watch(state[0]).dtype, steps),)

    def step(index, moved, kept, *state):
        progress = tf.cast(index, tf.float32) / last
        state, acceptance = chain.step(state, energy, progress, randomness.fold(key, index))
        kept = tuple(array.write(index, watch(state[0])) for array in kept)
        return index + 1, moved + acceptance, kept, *state

    _, moved, kept, x, *_ = tf.while_loop(lambda index, *_: index < steps, step, (0, tf.constant(0.0), kept, *state))
    return x, moved / tf.cast(tf.maximum(steps, 1), tf.float32), kept[0].stack() if kept else None


def warn_of_stuck(chain, acceptance, proposals, when=""):
    """Say in a warning that a chain hardly moves, where it was refused nearly all of 100 proposals or more."""
    if acceptance < STUCK and proposals >= 100:
        warnings.warn(
            f"{type(chain).__name__} accepted {100 * acceptance:.2g} % of its steps{when}, expected at least {100 * STUCK:g} %: "
            f"its rows hardly move; lower its step size.",
            stacklevel=3,
        )


def effective_sample_size(values):
    """How many independent draws tell as much of a mean as these, by their autocorrelations, which are summed as far as pairs of
    them are positive and fall (Geyer 1992; of several chains, Vehtari et al. 2021, arXiv:1903.08008).

    Args:
        values: array `(steps, chains)`, at least 4 steps. Chains that never move count as one draw each.

    Returns:
        float, of all chains together; at most steps times chains.
    """
    values = np.asarray(values, np.float64)
    steps, chains = values.shape
    centred = values - values.mean(axis=0)
    spectrum = np.fft.rfft(centred, 2 * steps, axis=0)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[:steps] / steps
    within = covariance[0].mean() * steps / (steps - 1)
    if within == 0:
        return float(chains)
    variance = covariance[0].mean() + (values.mean(axis=0).var(ddof=1) if chains > 1 else 0.0)
    correlation = 1.0 - (within - covariance.mean(axis=1)) / variance
    correlation[0] = 1.0
    pairs = correlation[: steps // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs < 0)
    pairs = np.minimum.accumulate(pairs[: negative[0]] if len(negative) else pairs)
    return float(steps * chains / max(2.0 * pairs.sum() - 1.0, 1.0))


CHAINS = {"langevin": Langevin, "mala": MALA}
