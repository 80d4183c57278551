"""Ordinary differential equations dx/dt = f(x, t) of batches, their solvers, and the volumes that they carry along.

A density that flows along such an equation changes by the trace of the Jacobian (Chen et al. 2018, arXiv:1806.07366, theorem 1):

    d log p(x_t) / dt = -tr(df/dx)

`velocity(x, t, *told)` is f: rows `(rows, ...)`, a time for each row `(rows,)`, and what else f depends on, to dx/dt.
"""

import math

import keras
import tensorflow as tf

from keras_genzoo.core.checks import real, whole
from keras_genzoo.core.serialization import Part, named

FIRST, LEAST = 0.01, 1e-6  # widths of the first step and of the narrowest, as shares of the whole way
SAFETY, NARROWER, WIDER = 0.9, 0.2, 5.0  # of the next step's width (Hairer et al. 1993, section II.4, eq. 4.13)
_registered = keras.saving.register_keras_serializable("keras_genzoo")

# The pair of orders 5 and 4 (Dormand and Prince 1980, "A family of embedded Runge-Kutta formulae", table 2). The last row of
# STAGES is the solution of order 5, so that the last slope is the first of the next step; ERROR is its difference to order 4.
NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


class Solver(Part):
    """Base: `solve` goes from one time to another, all rows of a batch at once, each as it would alone."""

    def solve(self, slope, state, start=0.0, end=1.0):
        """The state at time `end`.

        Args:
            slope: callable of times `(rows,)` and a state, to the derivatives of the state, a list likewise.
            state: list of tensors at time `start`, each with a row for every row of the batch.
            start, end: floats. `end` may come before `start`.

        Returns:
            list of tensors. Gradients pass through every step.
        """
        width = end - start

        def scaled(place, state):
            slopes = [width * each for each in slope(start + width * place, list(state))]
            for each, part in zip(slopes, state, strict=True):
                each.set_shape(part.shape)
            return slopes

        # In a graph all stages of a step call one function, which is traced once.
        scaled = tf.function(scaled, autograph=False) if tf.inside_function() else scaled
        return list(self.walk(scaled, list(state)))

    def walk(self, slope, state):
        """The state at place 1 of a way whose places go from 0 to 1; arguments as in `solve`."""
        raise NotImplementedError

    def coarser(self):
        """The same rule with about ten times the error: what changes with it estimates the error from above."""
        raise NotImplementedError


@_registered
class RungeKutta(Solver):
    """The classical rule of order 4, with steps of equal width and four evaluations each.

    Args:
        steps: int. Defaults to 20.
    """

    def __init__(self, steps=20, **kwargs):
        super().__init__(**kwargs)
        self.steps = whole(steps=steps)

    def walk(self, slope, state):
        width, rows = 1.0 / self.steps, _zeros(state[0])

        def step(index, *state):
            place = rows + tf.cast(index, rows.dtype) * width
            first = slope(place, list(state))
            second = slope(place + 0.5 * width, _moved(state, [(0.5 * width, first)]))
            third = slope(place + 0.5 * width, _moved(state, [(0.5 * width, second)]))
            fourth = slope(place + width, _moved(state, [(width, third)]))
            weights = (width / 6, width / 3, width / 3, width / 6)
            return index + 1, *_moved(state, zip(weights, (first, second, third, fourth), strict=True))

        return tf.while_loop(lambda index, *_: index < self.steps, step, (0, *state), maximum_iterations=self.steps)[1:]

    def coarser(self):
        return RungeKutta(max(self.steps // 2, 1))


@_registered
class DormandPrince(Solver):
    """Orders 5 and 4 with steps as wide as the tolerances allow, six evaluations each (Dormand and Prince 1980).

    Every row has steps of its own, so that its result does not depend on the rest of the batch. A step is taken if the error of
    each part of the state, as the root mean square over its numbers of

        error / (atol + rtol max(|before|, |after|)),

    is 1 at most. Errors of many steps add up: where f jumps often, as at the thousand bends of `schedules.Linear`, smaller
    tolerances help little. Rows that do not arrive, because of values that are not finite or of more steps than allowed, are NaN.

    Args:
        rtol, atol: floats above 0. Relative and absolute tolerance of a step. Default to 1e-5; much less is below the digits of
            float32.
        most_steps: int. Steps at most, those not taken included. Gradients of compiled training keep memory for all of them.
            Defaults to 1,000.
    """

    def __init__(self, rtol=1e-5, atol=1e-5, most_steps=1000, **kwargs):
        super().__init__(**kwargs)
        self.rtol, self.atol = real(above=0, rtol=rtol, atol=atol)
        self.most_steps = whole(most_steps=most_steps)

    def walk(self, slope, state):
        place = _zeros(state[0])
        start = (place, place + FIRST, slope(place, state), state)

        def on_the_way(place, width, slopes, state):
            return tf.reduce_any((place < 1.0) & (width > LEAST))

        place, _, _, state = tf.while_loop(
            on_the_way, lambda *now: self._step(slope, *now), start, maximum_iterations=self.most_steps
        )
        return [tf.where(_as_wide(place >= 1.0, each), each, tf.constant(math.nan, each.dtype)) for each in state]

    def _step(self, slope, place, width, slopes, state):
        """Try one step of every row; rows that have arrived stay where they are."""
        left = 1.0 - place
        ends = width >= left
        end = tf.where(ends, tf.ones_like(place), place + width)
        used = end - place  # not `width`, which rounding of `end` leaves out of step with the places
        stages = [slopes]
        for node, row in zip(NODES, STAGES, strict=True):
            after = _moved(state, [(used * share, each) for share, each in zip(row, stages, strict=True) if share])
            stages.append(slope(place + node * used, after))
        nothing = [tf.zeros_like(each) for each in state]
        change = _moved(nothing, [(used * share, each) for share, each in zip(ERROR, stages, strict=True) if share])
        error = self._size(change, state, after)
        taken = error <= 1.0  # not of NaN
        factor = tf.clip_by_value(SAFETY * tf.pow(error, -0.2), NARROWER, WIDER)
        factor = tf.where(tf.math.is_finite(error), factor, NARROWER * tf.ones_like(factor))
        choose = lambda new, old: tf.where(_as_wide(taken, old), new, old)  # noqa: E731
        return (
            choose(end, place),
            used * factor,
            [choose(new, old) for new, old in zip(stages[-1], slopes, strict=True)],
            [choose(new, old) for new, old in zip(after, state, strict=True)],
        )

    def _size(self, change, before, after):
        """The error of a step over its tolerance, `(rows,)`, without a gradient: widths of steps are no part of the result."""
        sizes = []
        for error, old, new in zip(change, before, after, strict=True):
            share = error / (self.atol + self.rtol * tf.maximum(tf.abs(old), tf.abs(new)))
            sizes.append(tf.sqrt(tf.reduce_mean(tf.square(tf.reshape(share, (tf.shape(share)[0], -1))), axis=1)))
        return tf.stop_gradient(tf.reduce_max(tf.stack(sizes), axis=0))

    def coarser(self):
        return DormandPrince(10.0 * self.rtol, 10.0 * self.atol, self.most_steps)


def _zeros(state):
    """A zero for every row of a part of the state, `(rows,)`."""
    return tf.zeros(tf.shape(state)[:1], state.dtype)


def _as_wide(values, like):
    """Values by row, `(rows,)`, with as many axes as another tensor."""
    return values[(slice(None), *[None] * (len(like.shape) - 1))]


def _moved(state, weighted):
    """The state plus slopes, each times a weight, a number or one for each row: `weighted` are pairs of weight and slopes."""
    moved = list(state)
    for weight, slopes in weighted:
        moved = [
            each + (_as_wide(weight, slope) if tf.is_tensor(weight) else weight) * slope
            for each, slope in zip(moved, slopes, strict=True)
        ]
    return moved


SOLVERS = {"dormand_prince": DormandPrince, "rk4": RungeKutta}


def get(solver):
    """A solver by its name, with default arguments, or the one given."""
    return named(solver, SOLVERS, Solver, "solver")


def signs(uniform):
    """Numbers -1 and 1, as likely, of uniform ones in [0, 1): a probe for `rate_and_trace`."""
    return tf.where(uniform < 0.5, -1.0, 1.0)


def rate_and_trace(velocity, x, t, told=(), probe=None):
    """dx/dt of every row, and the trace of its Jacobian by x, `(rows,)`.

    Args:
        velocity: callable of x, t and `*told`, see above, which computes each row by itself.
        x: tensor `(rows, ...)`.
        t: tensor `(rows,)`.
        told: tuple of tensors, with a row for each of x. Defaults to none.
        probe: tensor v of x's shape, of numbers of mean 0 and variance 1 that are independent of each other. Then the trace is
            v^T J v, whose mean over probes it is (Hutchinson 1990; Grathwohl et al. 2019, arXiv:1810.01367, section 3.1), for one
            evaluation and one pass back. None is the exact trace, by v = e_1, e_2, ... side by side: it takes the time and the
            memory of as many rows as x has numbers. Defaults to None.
    """
    rows, size, copies = tf.shape(x)[0], math.prod(x.shape[1:]), 1
    if probe is None:
        copies = size
        x, t, *told = (_repeated(each, size) for each in (x, t, *told))
        probe = tf.reshape(tf.tile(tf.eye(size, dtype=x.dtype), (rows, 1)), (-1, *x.shape[1:]))
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        rate = tf.cast(velocity(x, t, *told), x.dtype)
        along = tf.reduce_sum(rate * probe)
    slopes = tape.gradient(along, x, unconnected_gradients="zero")
    return rate[::copies], tf.reduce_sum(tf.reshape(slopes * probe, (rows, copies * size)), axis=1)


def _repeated(each, count):
    """Every row `count` times, one below the other."""
    # XLA compiles the gradient of a product within a loop, but not that of `tile`.
    copies = each[:, None] * tf.ones((1, count, *[1] * (len(each.shape) - 1)), each.dtype)
    return tf.reshape(copies, (-1, *each.shape[1:]))


def transport(velocity, x, solver, start=0.0, end=1.0, told=(), probe=None):
    """Carry rows along an equation, and follow the volumes around them.

    Args:
        velocity, told, probe: as in `rate_and_trace`; a probe stays the same all the way.
        x: tensor `(rows, ...)`, at time `start`.
        solver: `Solver`. Its tolerances are of x, and of the logarithm of the volume by dimension.
        start, end: floats. Default to 0 and 1.

    Returns:
        y, what x becomes at time `end`, and log |det dy/dx|, the integral of the trace, `(rows,)`. With it log p_start(x) =
        log p_end(y) + log |det dy/dx|.

    Example:

    >>> double = lambda x, t: math.log(2) * x  # doubles every number in a unit of time
    >>> y, log_det = transport(double, tf.ones((1, 3)), DormandPrince())
    >>> np.round(y, 3).tolist(), np.round(np.exp(log_det), 2).tolist()
    ([[2.0, 2.0, 2.0]], [8.0])
    """
    size = math.prod(x.shape[1:])

    def slope(t, state):
        rate, trace = rate_and_trace(velocity, state[0], t, told, probe)
        return [rate, trace / size]

    y, log_det = solver.solve(slope, [x, _zeros(x)], start, end)
    return y, size * log_det
