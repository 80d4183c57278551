"""Samplers of diffusion models from noise to images, step by step, each a pure function of its state.

`state = init(x, steps)`, then `state = step(state, denoise, schedule, t, t_next, key)` from time to time; `state[0]` is x_t.
`denoise(x_t, t)` gives the pair of the image and the noise that a model sees in x_t. t is a scalar. Where a model has learned the
variance of its steps, `denoise.learns_variance` is True, and `denoise(x_t, t, variance=True)` gives its v as a third.
"""

import math

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo.core import randomness
from keras_genzoo.core.checks import interval, real, whole
from keras_genzoo.core.serialization import Part
from keras_genzoo.schedules import EDM
from keras_genzoo.spacings import SPACINGS

_registered = keras.saving.register_keras_serializable("keras_genzoo")


class Sampler(Part):
    """Base.

    Class attributes:
        stochastic: whether noise is added on the way, so that more than the first noise decides on the image.
        needs_edm: what about it needs the schedule `EDM`, where the image keeps its size and time is the noise; "" if nothing.
    """

    stochastic = False
    needs_edm = ""

    def spacing(self, schedule):
        """The name of its own spacing of the times of a schedule, of `spacings.SPACINGS`."""
        return "trailing"

    def times(self, schedule, steps, spacing=None):
        """The times of `steps` steps, `(steps + 1,)` float64, from the schedule's `t_max` to 0.

        Args:
            schedule: `Schedule`.
            steps: int.
            spacing: name of `spacings.SPACINGS`; None is its own, see `spacing`. Defaults to None.

        Raises:
            ValueError: another schedule than the one that it needs; an unknown spacing.
        """
        if self.needs_edm and not isinstance(schedule, EDM):
            raise ValueError(f"{self.needs_edm} needs the schedule EDM and was given {type(schedule).__name__}.")
        return SPACINGS[check_spacing(spacing) or self.spacing(schedule)](schedule, steps)

    def evaluations(self, steps):
        """How often the network is evaluated in `steps` steps."""
        return steps

    def steps(self, evaluations):
        """The most steps for which so many evaluations of the network suffice."""
        return evaluations

    def init(self, x, steps):
        """The state from which the first of `steps` steps begins."""
        return (x,)

    def step(self, state, denoise, schedule, t, t_next, key):
        """The state at `t_next` of that at t.

        Args:
            state: tuple of tensors.
            denoise: callable of x_t `(batch, ...)` and scalar t to the image and the noise in it.
            schedule: `Schedule`.
            t, t_next: float32 scalars.
            key: int64 `(2,)`, see `randomness`, of this step.
        """
        raise NotImplementedError


def check_spacing(spacing):
    """The name of a spacing, or None; anything else raises a ValueError."""
    if spacing is not None and spacing not in SPACINGS:
        raise ValueError(f"spacing is {spacing!r}, expected None or one of {', '.join(SPACINGS)}.")
    return spacing


def velocity(denoise, schedule, x, t):
    """dx / dt of the probability-flow equation (Song et al. 2021, arXiv:2011.13456, eq. 13)."""
    image, noise = denoise(x, t)
    return schedule.signal_slope(t) * image + schedule.noise_slope(t) * noise


def _jump(schedule, t, t_next):
    """Of q(x_next | x_t) before the image is known: the ratio of the signals, and the variance that t has over t_next."""
    ratio = schedule.signal(t) / schedule.signal(t_next)
    return ratio, ops.maximum(ops.square(schedule.noise(t)) - ops.square(ratio * schedule.noise(t_next)), 0.0)


@_registered
class Ancestral(Sampler):
    """DDPM's (Ho et al. 2020, arXiv:2006.11239, algorithm 2): a draw from q(x_next | x_t, image), with the image that is seen.

    Args:
        variance: "small", the variance of q(x_next | x_t, image), "large", that of q(x_t | x_next), or None: the one that the
            model has learned (`learned_variance`), and "small" where it has not. Defaults to None.
    """

    stochastic = True

    def __init__(self, variance=None, **kwargs):
        super().__init__(**kwargs)
        if variance not in (None, "small", "large"):
            raise ValueError(f"variance is {variance!r}, expected None, 'small' or 'large'.")
        self.variance = variance

    def step(self, state, denoise, schedule, t, t_next, key):
        x, learned = state[0], self.variance is None and getattr(denoise, "learns_variance", False)
        image, _, *v = denoise(x, t, variance=True) if learned else denoise(x, t)
        mean, small, large = posterior(schedule, x, image, t, t_next)
        variance = large if self.variance == "large" else small
        if learned:
            variance = learned_variance(*v, ops.maximum(small, 1e-20), large)
        variance = ops.where(schedule.noise(t_next) > 0, variance, 0.0)
        return (mean + ops.sqrt(variance) * randomness.normal(key, tf.shape(x)),)


def posterior(schedule, x, image, t, t_next):
    """q(x_next | x_t, image) for t_next < t (Ho et al. 2020, eq. 6 and 7; Kingma et al. 2021, arXiv:2107.00630, appendix A).

    Returns:
        Its mean, its variance, and the variance of q(x_t | x_next) that DDPM takes in its place.
    """
    ratio, excess = _jump(schedule, t, t_next)
    total, rest = ops.square(schedule.noise(t)), ops.square(schedule.noise(t_next))
    mean = (ratio * rest / total) * x + (schedule.signal(t_next) * excess / total) * image
    return mean, excess * rest / total, excess


def learned_variance(v, small, large):
    """The variance of a step that a network chooses between those of `posterior`, by its logarithm (Nichol and Dhariwal 2021,
    arXiv:2102.09672, eq. 15): the small one for v = 0, the large one for 1."""
    return ops.exp(v * ops.log(large) + (1.0 - v) * ops.log(small))


@_registered
class DDIM(Sampler):
    """Song et al. 2021 (arXiv:2010.02502, eq. 12 and 16).

    Args:
        eta: float in [0, 1]. Share of the noise that is drawn anew: 0 is deterministic, 1 is `Ancestral`. Defaults to 0.
    """

    def __init__(self, eta=0.0, **kwargs):
        super().__init__(**kwargs)
        if isinstance(eta, bool) or not 0 <= eta <= 1:
            raise ValueError(f"eta is {eta}, expected a number between 0 and 1.")
        self.eta = float(eta)

    @property
    def stochastic(self):
        return self.eta > 0

    def step(self, state, denoise, schedule, t, t_next, key):
        x = state[0]
        image, noise = denoise(x, t)
        signal, sigma = schedule.signal(t_next), schedule.noise(t_next)
        if not self.eta:
            return (signal * image + sigma * noise,)
        variance = self.eta**2 * posterior(schedule, x, image, t, t_next)[1]
        old = ops.sqrt(ops.maximum(ops.square(sigma) - variance, 0.0))
        return (signal * image + old * noise + ops.sqrt(variance) * randomness.normal(key, tf.shape(x)),)


@_registered
class Euler(Sampler):
    """Straight steps along the probability-flow equation, of first order.

    Its times are those of the schedule where slopes are finite, else even in log SNR.
    """

    def spacing(self, schedule):
        return "log_snr" if schedule.steep else "trailing"

    def step(self, state, denoise, schedule, t, t_next, key):
        x = state[0]
        return (x + (t_next - t) * velocity(denoise, schedule, x, t),)


@_registered
class Heun(Euler):
    """The trapezoidal rule on the probability-flow equation, of second order (Karras et al. 2022, arXiv:2206.00364,
    algorithms 1 and 2). The last step, to no noise, is Euler's. Times as those of `Euler`.

    Args:
        churn: float. S_churn: noise that is added at every step, up to a factor of sqrt(2) of that at hand, for schedules whose
            time is the noise (`EDM`); 0 is deterministic. Defaults to 0.
        churn_range: pair of floats. S_tmin and S_tmax, the times between which noise is added. Defaults to (0, inf).
        churn_scale: float. S_noise, the added noise's standard deviation. Defaults to 1.
    """

    def __init__(self, churn=0.0, churn_range=(0.0, math.inf), churn_scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.churn, self.churn_scale = real(at_least=0, churn=churn, churn_scale=churn_scale)
        self.churn_range = interval(churn_range, "churn_range")

    @property
    def stochastic(self):
        return self.churn > 0

    @property
    def needs_edm(self):
        return f"churn is {self.churn}, which" if self.churn else ""

    def evaluations(self, steps):
        return 2 * steps - 1

    def steps(self, evaluations):
        return (evaluations + 1) // 2

    def init(self, x, steps):
        return x, ops.minimum(self.churn / ops.cast(steps, "float32"), math.sqrt(2) - 1)

    def step(self, state, denoise, schedule, t, t_next, key):
        x, gamma = state
        if self.churn:
            low, high = self.churn_range
            more = t * ops.where((t >= low) & (t <= high), 1.0 + gamma, 1.0)
            added = ops.sqrt(ops.square(more) - ops.square(t)) * self.churn_scale
            x, t = x + added * randomness.normal(key, tf.shape(x)), more
        slope = velocity(denoise, schedule, x, t)
        there = x + (t_next - t) * slope

        def corrected():
            return x + 0.5 * (t_next - t) * (slope + velocity(denoise, schedule, there, t_next))

        return tf.cond(schedule.noise(t_next) > 0, corrected, lambda: there), gamma


@_registered
class DPMSolver(Sampler):
    """DPM-Solver++(2M), a multistep method of second order with one evaluation a step (Lu et al. 2022, arXiv:2211.01095,
    algorithm 2).

    It extrapolates the image in half the log SNR, and its times are even in that. Steps are of first order, DDIM's, where there
    is nothing to extrapolate from: the first, those from and to a time without signal or noise (a log SNR beyond 20), and steps
    more than twice as wide as the one before.
    """

    def spacing(self, schedule):
        return "log_snr"

    def init(self, x, steps):
        return x, ops.zeros_like(x), tf.constant(math.inf)

    def step(self, state, denoise, schedule, t, t_next, key):
        x, before, width_before = state
        image, _ = denoise(x, t)
        ratio, ratio_next = schedule.log_snr(t), schedule.log_snr(t_next)
        width = 0.5 * (ratio_next - ratio)
        width = ops.where(ops.maximum(ops.abs(ratio), ops.abs(ratio_next)) < 20.0, width, math.inf)
        second = tf.math.is_finite(width_before) & (width <= 2.0 * width_before)
        weight = ops.where(second, 0.5 * width / ops.where(second, width_before, 1.0), 0.0)
        extrapolated = (1.0 + weight) * image - weight * before
        signal, shrink = schedule.signal(t_next), schedule.noise(t_next) / schedule.noise(t)
        # signal_next (1 - e^-h), with e^-h from the noises, finite at both ends.
        left = signal - shrink * schedule.signal(t)
        return shrink * x + left * extrapolated, image, width


@_registered
class UniPC(DPMSolver):
    """UniPC of order 2 with B(h) = e^h - 1, which corrects each step of DPM-Solver++(2M) by the next evaluation, so that it costs
    none of its own (Zhao et al. 2023, arXiv:2302.04867, algorithms 1 and 2; of the image, appendix C).

    Times are even in the log SNR. There is nothing to correct behind a step from or to a time without signal or noise.
    """

    def init(self, x, steps):
        nothing, unknown = ops.zeros_like(x), tf.constant(math.inf)
        return x, x, nothing, nothing, tf.constant(1.0), unknown, unknown

    def step(self, state, denoise, schedule, t, t_next, key):
        x, before, first, second, t_before, width, width_before = state
        image, _ = denoise(x, t)
        shrink = schedule.noise(t) / schedule.noise(t_before)
        left = schedule.signal(t) - shrink * schedule.signal(t_before)  # signal (1 - e^-h), as in DPMSolver
        finite, twice = tf.math.is_finite(width), tf.math.is_finite(width) & tf.math.is_finite(width_before)
        of_second, of_image = _corrector(*(ops.where(twice, each, 1.0) for each in (width, width_before)))
        of_second, of_image = ops.where(twice, of_second, 0.0), ops.where(twice, of_image, 0.5)
        change = of_second * (second - first) + of_image * (image - first)
        x = ops.where(finite, shrink * before + left * (first + change), x)
        predicted, _, width_next = super().step((x, first, width), lambda *_: (image, None), schedule, t, t_next, key)
        return predicted, x, image, first, t, width_next, width


def _corrector(width, width_before):
    """What the changes of the image from that before the last step count: at the time before that, and at the end of the step
    (Zhao et al. 2023, eq. 5 and theorem 3.1: R rho B = phi for two points)."""
    ratio, b = -width_before / width, -ops.expm1(-width)
    rho_1, rho_2 = (-factor * _rest(width, order) / b for order, factor in ((1, 1.0), (2, 2.0)))
    of_second = (rho_2 - rho_1) / (ratio - 1.0)
    return of_second / ratio, rho_1 - of_second


def _rest(width, order):
    """(e^-h - the first terms of its series) / (-h)^order less the last of these: the sum of (-h)^k / (k + order)! from k = 1."""
    series = sum((-width) ** k / math.factorial(k + order) for k in range(1, 6))
    exact = ops.expm1(-width) / -width - 1.0
    exact = exact if order == 1 else exact / -width - 0.5
    return ops.where(width < 0.2, series, exact)


@_registered
class AnnealedLangevin(Sampler):
    """Langevin dynamics at one noise level after the other (Song and Ermon 2019, arXiv:1907.05600, algorithm 1), and at last the
    image that is seen (Song and Ermon 2020, arXiv:2006.09011, algorithm 1).

    Args:
        repeats: int. Steps at each level. Defaults to 5.
        step_size: float. Size of a step as a share of the level's variance. The paper's 0.1 needs the paper's 1,000 steps: in 100
            steps it makes pixels of deviation 0.3 ones of 0.76, and 0.5 makes them 0.34. Defaults to 0.5.
    """

    stochastic = True
    needs_edm = "annealed Langevin dynamics"

    def __init__(self, repeats=5, step_size=0.5, **kwargs):
        super().__init__(**kwargs)
        self.repeats = whole(repeats=repeats)
        # From 2 on, every step overshoots by more than the last.
        self.step_size = real(above=0, below=2, step_size=step_size)

    def spacing(self, schedule):
        return "log_snr"  # a geometric sequence of levels, as in the paper

    def evaluations(self, steps):
        return self.repeats * steps + 1

    def steps(self, evaluations):
        return (evaluations - 1) // self.repeats

    def step(self, state, denoise, schedule, t, t_next, key):
        sigma = schedule.noise(t)

        def langevin(repeat, x):
            _, noise = denoise(x, t)  # the score is -noise / sigma
            fresh = randomness.normal(randomness.fold(key, repeat), tf.shape(x))
            return repeat + 1, x - self.step_size * sigma * noise + math.sqrt(2 * self.step_size) * sigma * fresh

        _, x = tf.while_loop(lambda repeat, _: repeat < self.repeats, langevin, (0, state[0]))
        return (tf.cond(schedule.noise(t_next) > 0, lambda: x, lambda: denoise(x, t)[0]),)


def solve(sampler, denoise, schedule, x, times, key, after=None, trace=None):
    """All steps of a sampler as one loop on the device.

    Args:
        sampler: `Sampler`.
        denoise, schedule: as in `Sampler.step`.
        x: float32 `(batch, ...)`, at the first of the times.
        times: float32 `(steps + 1,)`. Their number may differ from call to call without a new graph.
        key: int64 `(2,)`. Of all noise that is added on the way.
        after: callable of x, the time that it is at and a key of the step, to the x that the next step begins with; or None.
        trace: int `(k,)`, rising, numbers of times at which x is kept; or None. Defaults to None.

    Returns:
        x at the last of the times; with `trace` x at these of them, `(k, batch, ...)`.
    """

    def step(index, found, *state):
        t_next, of_step = times[index + 1], randomness.fold(key, index)
        x, *rest = sampler.step(state, denoise, schedule, times[index], t_next, of_step)
        x = x if after is None else after(x, t_next, randomness.fold(of_step, -1))
        if trace is not None:
            here = tf.reshape(tf.equal(trace, index + 1), (-1, *[1] * len(x.shape)))
            found = tf.where(here, x[None], found)
        return index + 1, found, x, *rest

    steps = tf.shape(times)[0] - 1
    found = 0 if trace is None else tf.repeat(x[None], tf.shape(trace)[0], axis=0)
    _, found, x, *_ = tf.while_loop(lambda index, *_: index < steps, step, (0, found, *sampler.init(x, steps)))
    return x if trace is None else found


SAMPLERS = {
    "ddpm": Ancestral,
    "ddpm_large": lambda: Ancestral("large"),
    "ddim": DDIM,
    "euler": Euler,
    "heun": Heun,
    "dpm_solver": DPMSolver,
    "unipc": UniPC,
    "langevin": AnnealedLangevin,
}
