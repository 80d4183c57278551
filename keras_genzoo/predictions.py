"""Predictions of diffusion models: what a network that sees x_t = signal(t) x + noise(t) epsilon puts out.

A prediction takes the signal and the noise of a time from the schedule that its methods are given.
"""

import keras
import numpy as np
from keras import ops

from keras_genzoo.core.checks import real
from keras_genzoo.core.serialization import Part

_registered = keras.saving.register_keras_serializable("keras_genzoo")


class Prediction(Part):
    """Base: what a network learns of x_t = signal x + noise epsilon is a combination of the two, image * x + noise * epsilon."""

    def factors(self, schedule, t):
        """The factors of x and of epsilon in the network's target at times t."""
        raise NotImplementedError

    def scale(self, schedule, t):
        """What x_t is multiplied with for the network: to about variance 1."""
        return ops.rsqrt(ops.square(schedule.signal(t)) + ops.square(schedule.noise(t)))

    def determinant(self, schedule, t):
        """Of the equations that give x and epsilon from x_t and the output; where it is 0 the output does not tell them."""
        of_image, of_noise = self.factors(schedule, t)
        return schedule.signal(t) * of_noise - schedule.noise(t) * of_image

    def target(self, schedule, x, epsilon, t):
        """What the network should put out; t broadcasts against the images."""
        of_image, of_noise = self.factors(schedule, t)
        return of_image * x + of_noise * epsilon

    def image_and_noise(self, schedule, x_t, output, t):
        """x and epsilon of the network's output: the one place where predictions are converted."""
        of_image, of_noise = self.factors(schedule, t)
        determinant = self.determinant(schedule, t)
        x = (of_noise * x_t - schedule.noise(t) * output) / determinant
        epsilon = (schedule.signal(t) * output - of_image * x_t) / determinant
        return x, epsilon

    def check(self, schedule):
        """Raise unless the output tells the image at every time of the schedule.

        Raises:
            ValueError: the prediction is undefined at the schedule's first or last time.
        """
        for t in (schedule.t_min, schedule.t_max):
            if not abs(float(self.determinant(schedule, np.float32(t)))) > 1e-6:
                name, signal = type(schedule).__name__, float(schedule.signal(np.float32(t)))
                raise ValueError(
                    f"{type(self).__name__} does not tell the image at time {t:g} of the schedule {name}, where signal is "
                    f"{signal:.2g}; take the prediction 'v', or a schedule that ends before, as Cosine(t_max=0.99)."
                )


@_registered
class Epsilon(Prediction):
    """The noise (Ho et al. 2020, eq. 14)."""

    def factors(self, schedule, t):
        return ops.zeros_like(t), ops.ones_like(t)


@_registered
class Image(Prediction):
    """The image, x_0."""

    def factors(self, schedule, t):
        return ops.ones_like(t), ops.zeros_like(t)


@_registered
class V(Prediction):
    """v = signal epsilon - noise x (Salimans and Ho 2022, arXiv:2202.00512, section 4)."""

    def factors(self, schedule, t):
        return -schedule.noise(t), schedule.signal(t)


@_registered
class Velocity(Prediction):
    """dx_t / dt = signal' x + noise' epsilon, the target of flow matching (Lipman et al. 2022, eq. 14)."""

    def factors(self, schedule, t):
        return schedule.signal_slope(t), schedule.noise_slope(t)


@_registered
class Preconditioned(Prediction):
    """EDM's F (Karras et al. 2022, eq. 7 and table 1): D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), x = x_t / signal.

    Args:
        sigma_data: float. Standard deviation of the images' pixels in [-1, 1]. Defaults to 0.5.
    """

    def __init__(self, sigma_data=0.5, **kwargs):
        super().__init__(**kwargs)
        self.sigma_data = real(above=0, sigma_data=sigma_data)

    def _constants(self, schedule, t):
        sigma = schedule.noise(t) / schedule.signal(t)
        total = ops.square(sigma) + self.sigma_data**2
        return sigma, total, self.sigma_data**2 / total, sigma * self.sigma_data / ops.sqrt(total)

    def factors(self, schedule, t):
        sigma, _, skip, out = self._constants(schedule, t)
        return (1.0 - skip) / out, -skip * sigma / out

    def scale(self, schedule, t):
        return 1.0 / (schedule.signal(t) * ops.sqrt(self._constants(schedule, t)[1]))


PREDICTIONS = {"epsilon": Epsilon, "image": Image, "v": V, "velocity": Velocity, "edm": Preconditioned}
