"""Spacings: at which times samplers of diffusion models look at the image on their way from noise.

A spacing is a function of a schedule and a number of steps to the times between the steps: `(steps + 1,)` float64, from the
schedule's `t_max` to 0. The last step, to 0, goes to the image that is seen.
"""

import math

import numpy as np
import tensorflow as tf

LIMIT = (
    10.0  # log SNR that stands in for one beyond it at an end: a share of e^-5 of noise in the image, or of the image in noise
)
RHO = 7.0


def trailing(schedule, steps):
    """The times of the schedule's own chain of so many steps, see `Schedule.time`: t_max * i / steps, the trailing spacing of Lin
    et al. 2024 (arXiv:2305.08891, table 2); of `EDM`, those of its paper or a geometric sequence."""
    return schedule.times(steps)


def leading(schedule, steps):
    """Of a chain of 1,000 steps, or of as many as the schedule has, every so many from the first on (Lin et al. 2024, table 2),
    as DDIM's authors and the schedulers of diffusers take them. So the first time is less than `t_max`.

    Raises:
        ValueError: more steps than the chain has.
    """
    chain = getattr(schedule, "timesteps", 1000)
    if steps > chain:
        raise ValueError(
            f"there are {steps} steps, expected at most the {chain} of the chain that spacing 'leading' takes some of."
        )
    index = np.arange(steps - 1, -1, -1, dtype="float64") * (chain // steps) + 1.0
    return np.append(schedule.time(index, chain), 0.0)


def log_snr(schedule, steps):
    """Even in the log signal-to-noise ratio, which the authors of DPM-Solver advise for small images (Lu et al. 2022,
    arXiv:2206.00927).

    From the ratio at `t_max`, or -10 if that is less, to that at `t_min`, or 10 if `t_min` is 0. The first time is `t_max` in
    either case.
    """
    return _between(schedule, steps, lambda first, last, share: first + (last - first) * share)


def karras(schedule, steps):
    """Noise levels sigma = noise / signal of which sigma^(1/7) is even (Karras et al. 2022, arXiv:2206.00364, eq. 5), with the
    ends of `log_snr`."""

    def levels(first, last, share):
        high, low = (math.exp(-end / (2 * RHO)) for end in (first, last))
        return -2 * RHO * np.log(high + (low - high) * share)

    return _between(schedule, steps, levels)


def path(schedule, steps, spacing):
    """Times from `t_max` to the image and back, for codes: `(steps + 1,)`, to `t_min`, at which the image is taken for x_t.

    Args:
        schedule: `Schedule`.
        steps: int.
        spacing: name of `SPACINGS`; "trailing" is even in the schedule's position here, which ends at `t_min`.
    """
    if schedule.t_min == 0:
        return SPACINGS[spacing](schedule, steps)
    if spacing == "trailing":
        return schedule.grid(steps + 1)
    return SPACINGS[spacing](schedule, steps + 1)[:-1]


def _between(schedule, steps, ratios):
    first = max(float(_log_snr(schedule, schedule.t_max)), -LIMIT)
    last = float(_log_snr(schedule, schedule.t_min)) if schedule.t_min > 0 else LIMIT
    times = _time_of(schedule, ratios(first, last, np.linspace(0.0, 1.0, steps)))
    return np.concatenate([[schedule.t_max], times[1:], [0.0]])


def _time_of(schedule, ratios):
    """The times of log signal-to-noise ratios, by bisection of the schedule's position, on which the ratio falls."""
    low, high = np.zeros_like(ratios), np.ones_like(ratios)
    for _ in range(40):
        middle = 0.5 * (low + high)
        earlier = _log_snr(schedule, schedule.at(middle)) > ratios
        low, high = np.where(earlier, middle, low), np.where(earlier, high, middle)
    return schedule.at(0.5 * (low + high))


def _log_snr(schedule, t):
    with tf.init_scope():  # numbers, also while a graph is traced
        return schedule.log_snr(tf.constant(t, tf.float32)).numpy().astype("float64")


SPACINGS = {"trailing": trailing, "log_snr": log_snr, "karras": karras, "leading": leading}
