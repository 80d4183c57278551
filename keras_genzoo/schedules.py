"""Noise schedules of diffusion models; they know no network.

A schedule says what becomes of an image x with time: x_t = signal(t) x + noise(t) epsilon, with epsilon standard normal, from
almost the image at `t_min` to almost nothing of it at `t_max`. The predictions of `predictions` can be had from here too.
"""

import math

import keras
import numpy as np
from keras import ops

from keras_genzoo.core.checks import real, whole
from keras_genzoo.core.serialization import Part
from keras_genzoo.predictions import PREDICTIONS, Epsilon, Image, Preconditioned, Prediction, V, Velocity  # noqa: F401

_registered = keras.saving.register_keras_serializable("keras_genzoo")


class Schedule(Part):
    """Base.

    Attributes:
        t_min: float. The time at which sampling takes the last look at the image; if above 0, one step to 0 follows.
        t_max: float. The time at which sampling begins, with nothing but noise.

    Class attributes:
        steep: whether noise rises from 0 like the root of time, as where variance is preserved: with an infinite slope, for
            which rules that follow slopes need times of their own.
        time_is_noise: whether times are noise levels, noise(t) / signal(t) = t.
    """

    t_min, t_max = 1e-3, 1.0
    steep, time_is_noise = True, False

    def signal(self, t):
        """The factor of the image at times t, of t's shape."""
        raise NotImplementedError

    def noise(self, t):
        """The standard deviation of the noise at times t. Where not given, of a process that preserves variance 1."""
        return ops.sqrt(ops.maximum(1.0 - ops.square(self.signal(t)), 0.0))

    def signal_slope(self, t):
        """The derivative of `signal` in t."""
        raise NotImplementedError

    def noise_slope(self, t):
        """The derivative of `noise` in t; the default is that of signal^2 + noise^2 = 1."""
        return -self.signal(t) * self.signal_slope(t) / self.noise(t)

    def log_snr(self, t):
        """log(signal^2 / noise^2)."""
        return 2.0 * (ops.log(self.signal(t)) - ops.log(self.noise(t)))

    def log_snr_slope(self, t):
        """The derivative of `log_snr` in t, finite: signal and noise count as at least e^-15."""
        signal, noise = (ops.maximum(each, math.exp(-15)) for each in (self.signal(t), self.noise(t)))
        return 2.0 * (self.signal_slope(t) / signal - self.noise_slope(t) / noise)

    def condition(self, t):
        """What a network is told of the time, about 0 to 1."""
        return t

    def at(self, position):
        """The time at a position between 0, `t_min`, and 1, `t_max`, by which samplers and training space them."""
        return self.t_min + (self.t_max - self.t_min) * position

    def position(self, t):
        """The inverse of `at`."""
        return (t - self.t_min) / (self.t_max - self.t_min)

    def position_slope(self, t):
        """The derivative of `position` in t."""
        return ops.ones_like(t) / (self.t_max - self.t_min)

    def grid(self, n):
        """n times from `t_max` to `t_min`, float64."""
        return self.at(np.linspace(1.0, 0.0, n))

    def time(self, index, steps):
        """The time of an index from 1 to `steps` in a chain of so many steps, which ends at time 0 with index 0.

        The default is t_max * index / steps, of which a chain of fewer steps takes every so many from the last on: the trailing
        spacing (Lin et al. 2024, arXiv:2305.08891, table 2). Training at a number of times, the bound on the likelihood and
        samplers have their times from here.
        """
        return self.t_max / steps * index

    def times(self, steps):
        """The times between which a chain makes its steps: `(steps + 1,)` float64, from `t_max` to 0."""
        return np.append(self.time(np.arange(steps, 0, -1, dtype="float64"), steps), 0.0)


@_registered
class Linear(Schedule):
    """DDPM's (Ho et al. 2020, arXiv:2006.11239, section 4): variances beta_1 ... beta_T of the steps that grow linearly.

    signal(i / T)^2 = (1 - beta_1) ... (1 - beta_i), in between by a straight line of its logarithm.

    Args:
        beta_start, beta_end: floats. beta_1 and beta_T. Default to 1e-4 and 0.02.
        timesteps: int. T. Defaults to 1000.
    """

    def __init__(self, beta_start=1e-4, beta_end=0.02, timesteps=1000, **kwargs):
        super().__init__(**kwargs)
        if not 0 < beta_start <= beta_end < 1:
            raise ValueError(f"beta_start is {beta_start} and beta_end {beta_end}, expected 0 < beta_start <= beta_end < 1.")
        timesteps = whole(2, timesteps=timesteps)
        self.beta_start, self.beta_end, self.timesteps = beta_start, beta_end, timesteps
        self.t_min = 1 / timesteps
        steps = 0.5 * np.log1p(-np.linspace(beta_start, beta_end, timesteps))
        self._slopes = (steps * timesteps).astype("float32")
        self._logs = np.cumsum(np.concatenate([[0.0], steps])).astype("float32")

    def _log_signal(self, t):
        place = ops.clip(t * self.timesteps, 0, self.timesteps)
        index = ops.clip(ops.cast(ops.ceil(place - 1e-3) - 1, "int32"), 0, self.timesteps - 1)  # i / T is of the step to i
        slope = ops.take(self._slopes, index)
        return ops.take(self._logs, index) + slope * (place - ops.cast(index, "float32")) / self.timesteps, slope

    def signal(self, t):
        return ops.exp(self._log_signal(t)[0])

    def noise(self, t):
        return ops.sqrt(-ops.expm1(2.0 * self._log_signal(t)[0]))

    def signal_slope(self, t):
        log_signal, slope = self._log_signal(t)
        return slope * ops.exp(log_signal)


@_registered
class Cosine(Schedule):
    """Improved DDPM's (Nichol and Dhariwal 2021, arXiv:2102.09672, eq. 17): signal(t) = cos(phi(t)) / cos(phi(0)).

    phi(t) = (t + offset) / (1 + offset) * pi / 2. At t = 1 no signal is left.

    Args:
        offset: float. Keeps the first steps from being too small. Defaults to 0.008.
        t_max: float. Defaults to 1; a prediction of the noise needs one below, as 0.99.
    """

    def __init__(self, offset=0.008, t_max=1.0, **kwargs):
        super().__init__(**kwargs)
        self.offset = offset = real(at_least=0, offset=offset)
        self.t_max = real(above=self.t_min, at_most=1, t_max=t_max)
        self._start = offset / (1 + offset) * math.pi / 2
        self._speed = math.pi / 2 / (1 + offset)

    def signal(self, t):
        return ops.maximum(ops.cos(self._start + self._speed * t), 0.0) / math.cos(self._start)

    def noise(self, t):
        # sin^2(phi) - sin^2(start), as a product that keeps its digits near t = 0.
        turned = self._speed * t
        return ops.sqrt(ops.sin(turned) * ops.sin(turned + 2.0 * self._start)) / math.cos(self._start)

    def signal_slope(self, t):
        return -self._speed * ops.sin(self._start + self._speed * t) / math.cos(self._start)


@_registered
class Sigmoid(Schedule):
    """Jabri et al. 2022 (arXiv:2212.11972, algorithm 3): signal^2 falls from 1 to 0 like a sigmoid.

    signal(t)^2 = (s(end) - s(start + (end - start) t)) / (s(end) - s(start)),  s(v) = sigmoid(v / temperature)

    Args:
        start, end: floats. Default to -3 and 3.
        temperature: float. Defaults to 1.
        t_max: float. Defaults to 0.999: at 1 no signal is left, and its slope is infinite.
    """

    def __init__(self, start=-3.0, end=3.0, temperature=1.0, t_max=0.999, **kwargs):
        super().__init__(**kwargs)
        self.start, self.temperature = start, temperature = real(start=start), real(above=0, temperature=temperature)
        self.end = end = real(above=start, end=end)
        self.t_max = real(above=self.t_min, at_most=1, t_max=t_max)
        self._low, self._high = (1 / (1 + math.exp(-v / temperature)) for v in (start, end))

    def _sigmoid(self, t):
        return ops.sigmoid((self.start + (self.end - self.start) * t) / self.temperature)

    def signal(self, t):
        return ops.sqrt(ops.maximum(self._high - self._sigmoid(t), 0.0) / (self._high - self._low))

    def noise(self, t):
        return ops.sqrt(ops.maximum(self._sigmoid(t) - self._low, 0.0) / (self._high - self._low))

    def _square_slope(self, t):
        s = self._sigmoid(t)
        return s * (1.0 - s) * (self.end - self.start) / self.temperature / (self._high - self._low)

    def signal_slope(self, t):
        return -0.5 * self._square_slope(t) / self.signal(t)

    def noise_slope(self, t):
        return 0.5 * self._square_slope(t) / self.noise(t)


@_registered
class RectifiedFlow(Schedule):
    """The straight line from image to noise (Liu et al. 2022, arXiv:2209.03003; Lipman et al. 2022, arXiv:2210.02747).

    signal(t) = 1 - t,  noise(t) = t
    """

    t_min = 0.0
    steep = False

    def signal(self, t):
        return 1.0 - t

    def noise(self, t):
        return t

    def signal_slope(self, t):
        return -ops.ones_like(t)

    def noise_slope(self, t):
        return ops.ones_like(t)


@_registered
class EDM(Schedule):
    """Karras et al. 2022 (arXiv:2206.00364): the image keeps its size and time is the noise, signal = 1, noise = t.

    Samplers' times are (sigma_max^(1/rho) + i / (n - 1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho (eq. 5).

    Args:
        sigma_min, sigma_max: floats, of images in [-1, 1]. Default to 0.002 and 80.
        rho: float; infinity makes times a geometric sequence, as the levels of NCSN (Song and Ermon 2019, arXiv:1907.05600).
            Defaults to 7.
    """

    steep, time_is_noise = False, True

    def __init__(self, sigma_min=0.002, sigma_max=80.0, rho=7.0, **kwargs):
        super().__init__(**kwargs)
        if not 0 < sigma_min < sigma_max < math.inf:
            raise ValueError(f"sigma_min is {sigma_min} and sigma_max {sigma_max}, expected 0 < sigma_min < sigma_max.")
        self.sigma_min, self.sigma_max = real(sigma_min=sigma_min, sigma_max=sigma_max)
        self.rho = math.inf if rho == math.inf else real(above=0, rho=rho)
        self.t_min, self.t_max = self.sigma_min, self.sigma_max

    def signal(self, t):
        return ops.ones_like(t)

    def noise(self, t):
        return t

    def signal_slope(self, t):
        return ops.zeros_like(t)

    def noise_slope(self, t):
        return ops.ones_like(t)

    def condition(self, t):
        return 0.25 * ops.log(t)  # c_noise of table 1

    def at(self, position):
        if math.isinf(self.rho):
            return self.t_min * (self.t_max / self.t_min) ** position
        low, high = (t ** (1 / self.rho) for t in (self.t_min, self.t_max))
        return (low + (high - low) * position) ** self.rho

    def position(self, t):
        if math.isinf(self.rho):
            return ops.log(t / self.t_min) / math.log(self.t_max / self.t_min)
        low, high = (t ** (1 / self.rho) for t in (self.t_min, self.t_max))
        return (t ** (1 / self.rho) - low) / (high - low)

    def position_slope(self, t):
        if math.isinf(self.rho):
            return 1.0 / (t * math.log(self.t_max / self.t_min))
        low, high = (t ** (1 / self.rho) for t in (self.t_min, self.t_max))
        return t ** (1 / self.rho - 1.0) / (self.rho * (high - low))

    def time(self, index, steps):
        """sigma of eq. 5, from `sigma_min` at index 1 to `sigma_max` at index `steps`."""
        return self.at(1.0 - (steps - index) / max(steps - 1, 1))


@_registered
class ZeroTerminalSNR(Schedule):
    """Another schedule with its signal shifted and scaled so that none is left at `t_max` (Lin et al. 2024, arXiv:2305.08891,
    algorithm 1), while it stays 1 at 0.

    Args:
        schedule: `Schedule` that preserves variance, such as `Linear()`.
    """

    def __init__(self, schedule, **kwargs):
        super().__init__(**kwargs)
        if not (isinstance(schedule, Schedule) and schedule.steep):
            raise ValueError(f"schedule is {schedule!r}, expected a Schedule that preserves variance, as Linear().")
        self.schedule = schedule
        self.t_min, self.t_max = schedule.t_min, schedule.t_max
        self._last = float(schedule.signal(np.float32(schedule.t_max)))

    def signal(self, t):
        return (self.schedule.signal(t) - self._last) / (1.0 - self._last)

    def signal_slope(self, t):
        return self.schedule.signal_slope(t) / (1.0 - self._last)


SCHEDULES = {
    "linear": Linear,
    "cosine": Cosine,
    "sigmoid": Sigmoid,
    "rectified_flow": RectifiedFlow,
    "edm": EDM,
    "geometric": lambda: EDM(0.01, 50.0, rho=math.inf),  # NCSN's
}
