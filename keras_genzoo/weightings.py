"""Which times a diffusion model learns from, and how much an error at each of them counts."""

import math

import keras
from keras import ops

from keras_genzoo.core.checks import real, whole
from keras_genzoo.core.serialization import Part
from keras_genzoo.core.shares import gather

_registered = keras.saving.register_keras_serializable("keras_genzoo")


class LossWeight(Part):
    """Base.

    Class attributes:
        of_log_snr: whether it weighs an integral over the log signal-to-noise ratio, whatever times are drawn, so that each loss
            is divided by the density of its ratio among those drawn; else it is of the loss at each time drawn.
    """

    of_log_snr = False

    def __call__(self, log_snr):
        """The weight of the squared error of the image, for a log signal-to-noise ratio; None, of the network's own output."""
        raise NotImplementedError


@_registered
class Simple(LossWeight):
    """The squared error of what the network puts out (Ho et al. 2020, arXiv:2006.11239, eq. 14)."""

    def __call__(self, log_snr):
        return None


@_registered
class MinSNR(LossWeight):
    """min(SNR, gamma) (Hang et al. 2023, arXiv:2303.09556, eq. 8).

    Args:
        gamma: float. Defaults to 5.
    """

    def __init__(self, gamma=5.0, **kwargs):
        super().__init__(**kwargs)
        self.gamma = real(above=0, gamma=gamma)

    def __call__(self, log_snr):
        return ops.minimum(ops.exp(log_snr), self.gamma)


@_registered
class EDMWeight(LossWeight):
    """(sigma^2 + sigma_data^2) / (sigma sigma_data)^2 = SNR + 1 / sigma_data^2 (Karras et al. 2022, arXiv:2206.00364, table 1).

    Args:
        sigma_data: float. Defaults to 0.5.
    """

    def __init__(self, sigma_data=0.5, **kwargs):
        super().__init__(**kwargs)
        self.sigma_data = real(above=0, sigma_data=sigma_data)

    def __call__(self, log_snr):
        return ops.exp(log_snr) + self.sigma_data**-2


@_registered
class SigmoidWeight(LossWeight):
    """The sigmoid of Kingma and Gao 2023 (arXiv:2303.00848), of the squared error of the noise at the log SNR lambda:

        loss = integral of sigmoid(bias - lambda) |epsilon - epsilon(x_lambda)|^2 d lambda

    which is the mean over times drawn of sigmoid(bias - lambda) |error|^2 / p(lambda), p the density of lambda at these times, so
    that neither the schedule nor the draw of times changes what is learned.

    Args:
        bias: float. Defaults to 2.
    """

    of_log_snr = True

    def __init__(self, bias=2.0, **kwargs):
        super().__init__(**kwargs)
        self.bias = real(bias=bias)

    def __call__(self, log_snr):
        return ops.exp(log_snr) * ops.sigmoid(self.bias - log_snr)


class TimeSampling(Part):
    """Base: a map of uniform numbers to times."""

    def check(self, schedule):
        """Raise a ValueError unless the schedule is one of which it draws times."""

    def draw(self, uniform, schedule):
        """Times and the factors of their losses, from uniform numbers in [0, 1), both `(batch,)`."""
        raise NotImplementedError

    def density(self, t, schedule):
        """The density at t over which losses, each times its factor, are averaged; by default every position is as likely."""
        return schedule.position_slope(t)

    def update(self, t, loss, schedule):
        """Called after drawing with the losses at times t, both `(batch,)`."""


@_registered
class Uniform(TimeSampling):
    """Every position is as likely: every time, or every step of a geometric sequence, as the schedule spaces them."""

    def draw(self, uniform, schedule):
        return schedule.at(uniform), ops.ones_like(uniform)


def _normal(uniform):
    return -ops.sqrt(2.0) * ops.erfinv(1.0 - 2.0 * ops.clip(uniform, 1e-6, 1 - 1e-6))


def _normal_density(x, mean, std):
    return ops.exp(-0.5 * ops.square((x - mean) / std)) / (std * math.sqrt(2 * math.pi))


@_registered
class LogitNormal(TimeSampling):
    """Positions like sigmoid(mean + std z) (Esser et al. 2024, arXiv:2403.03206, section 3.1).

    Args:
        mean, std: floats. Default to 0 and 1.
    """

    def __init__(self, mean=0.0, std=1.0, **kwargs):
        super().__init__(**kwargs)
        self.mean, self.std = real(mean=mean), real(above=0, std=std)

    def draw(self, uniform, schedule):
        return schedule.at(ops.sigmoid(self.mean + self.std * _normal(uniform))), ops.ones_like(uniform)

    def density(self, t, schedule):
        # No draw is nearer to an end than 1e-6.
        position = ops.clip(schedule.position(t), 1e-6, 1 - 1e-6)
        logit = ops.log(position) - ops.log1p(-position)
        return _normal_density(logit, self.mean, self.std) / (position * (1.0 - position)) * schedule.position_slope(t)


@_registered
class LogNormal(TimeSampling):
    """log t like mean + std z, for times that are noise levels (Karras et al. 2022, table 1).

    Args:
        mean, std: floats. Default to -1.2 and 1.2.
    """

    def __init__(self, mean=-1.2, std=1.2, **kwargs):
        super().__init__(**kwargs)
        self.mean, self.std = real(mean=mean), real(above=0, std=std)

    def check(self, schedule):
        if not schedule.time_is_noise:
            raise ValueError(
                f"log-normal times are noise levels, and those of {type(schedule).__name__} are not; take the schedule 'edm', or "
                f"the time sampling 'logit_normal'."
            )

    def draw(self, uniform, schedule):
        times = ops.exp(self.mean + self.std * _normal(uniform))
        return ops.clip(times, schedule.t_min, schedule.t_max), ops.ones_like(uniform)

    def density(self, t, schedule):
        return _normal_density(ops.log(t), self.mean, self.std) / t


@_registered
class Importance(TimeSampling):
    """Times where losses are large, each loss divided by their density (Nichol and Dhariwal 2021, arXiv:2102.09672, eq. 18).

    Positions are cut into bins, of which a running mean of the squared loss is kept; the density is its root, and for
    a hundredth even.

    Args:
        bins: int. Defaults to 50.
        decay: float. Of the running mean, a draw. Defaults to 0.99.
    """

    def __init__(self, bins=50, decay=0.99, **kwargs):
        super().__init__(**kwargs)
        self.bins = bins = whole(bins=bins)
        self.decay = real(at_least=0, below=1, decay=decay)
        self.squares = self.add_weight(
            shape=(bins,), dtype="float32", initializer="ones", trainable=False, aggregation="mean", name="squares"
        )

    def _shares(self):
        root = ops.sqrt(ops.convert_to_tensor(self.squares))
        return 0.99 * root / ops.sum(root) + 0.01 / self.bins

    def draw(self, uniform, schedule):
        shares = self._shares()
        ends = ops.cumsum(shares)
        index = ops.sum(ops.cast(uniform[:, None] >= ends[None, :-1], "int32"), axis=1)
        share = ops.take(shares, index)
        place = ops.cast(index, "float32") + (uniform - ops.take(ends - shares, index)) / share
        position = ops.clip(place / self.bins, 0.0, 1.0)
        return schedule.at(position), 1.0 / (share * self.bins)

    def update(self, t, loss, schedule):
        t, loss = gather(t), gather(loss)
        index = ops.clip(ops.cast(schedule.position(t) * self.bins, "int32"), 0, self.bins - 1)
        seen = ops.one_hot(index, self.bins)
        count = ops.sum(seen, axis=0)
        mean = ops.sum(seen * ops.square(loss)[:, None], axis=0) / ops.maximum(count, 1.0)
        before = ops.convert_to_tensor(self.squares)
        self.squares.assign(ops.where(count > 0, self.decay * before + (1 - self.decay) * mean, before))


LOSS_WEIGHTS = {"simple": Simple, "min_snr": MinSNR, "edm": EDMWeight, "sigmoid": SigmoidWeight}
TIME_SAMPLINGS = {"uniform": Uniform, "logit_normal": LogitNormal, "log_normal": LogNormal, "importance": Importance}
