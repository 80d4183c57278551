"""The variational bound on the likelihood of diffusion models with a number of times."""

import functools
import math

import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import samplers
from keras_genzoo.core import randomness
from keras_genzoo.core.checks import whole
from keras_genzoo.core.inference import available_if, batched
from keras_genzoo.likelihoods import gaussian_level_log_prob


class VariationalBound:
    """The part of `Diffusion` that bounds the likelihood of images by its chain of `timesteps` steps."""

    def bound_terms(self, x, index, key, variance="large", levels=True, labels=None):
        """One of the terms of the variational bound (Ho et al. 2020, eq. 5), in nats an image.

        Args:
            x: float32 images in [-1, 1], `(batch, height, width, channels)`.
            index: int32 `(batch,)`, 1 to `timesteps`: the step from the time of this index, `Schedule.time`, to the one before.
            key: of the noise.
            variance: "large" or "small", of the steps, as in `samplers.Ancestral`.
            levels: bool. Whether the last step ends in the 256 levels (eq. 13), or in a density.
            labels: the condition, `(batch, condition_units)`, or None. Defaults to None.

        Returns:
            KL(q(x_s | x_t, x) || p(x_s | x_t)), and for index 1 -log p(x | x_1), `(batch,)`.
        """
        index = ops.cast(index, "float32")
        time = lambda index: self.schedule.time(index, self.timesteps)  # noqa: E731
        t, first = time(index), index < 1.5
        before = ops.where(first, 0.0, time(ops.maximum(index - 1.0, 1.0)))
        wide, before, first = (each[:, None, None, None] for each in (t, before, first))
        x_t = self.schedule.signal(wide) * x + self.schedule.noise(wide) * randomness.normal(key, ops.shape(x))
        image, _ = self.prediction.image_and_noise(self.schedule, x_t, self.outputs(x_t, t, labels), wide)
        _, small, large = samplers.posterior(self.schedule, x_t, image, wide, before)
        mean_factor = self.schedule.signal(before) * large / ops.square(self.schedule.noise(wide))
        chosen = ops.where(first, large, large if variance == "large" else small)
        square = ops.square(mean_factor * (x - image)) / chosen
        ratio = ops.where(first, 1.0, small / chosen)
        kl = 0.5 * (square + ratio - 1.0 - ops.log(ratio))
        if levels:
            last = -gaussian_level_log_prob(0.5 * (x + 1.0), 0.5 * (image + 1.0), 0.5 * ops.sqrt(chosen))
        else:
            last = 0.5 * (square + ops.log(2 * math.pi * chosen))
        return ops.sum(ops.where(first, last, kl), axis=(1, 2, 3))

    def prior_term(self, x):
        """KL(q(x_T | x) || p(x_T)) in nats, `(batch,)`."""
        t = ops.convert_to_tensor(np.float32(self.schedule.t_max))
        total = ops.square(self.prior_scale)
        ratio = ops.square(self.schedule.noise(t)) / total
        square = ops.square(self.schedule.signal(t) * x) / total
        return 0.5 * ops.sum(square + ratio - 1.0 - ops.log(ratio), axis=(1, 2, 3))

    @available_if(lambda self: self.timesteps is not None, "its time is continuous; build it with timesteps=1000")
    @batched
    def variational_bound(self, x, samples=64, seed=0, variance="large", levels=True, labels=None, conditions=None):
        """The lower bound on log p(x) that the chain of `timesteps` steps gives (Ho et al. 2020, eq. 5).

        Args:
            x: images.
            samples: int or None. Number of steps of the chain that are drawn for an image, evenly, beside the last; the sum over
                all steps is estimated from these without bias. None takes every step once.
            seed: int. Of the draws and the noise. Defaults to 0.
            variance: "large" or "small", as in `samplers.Ancestral`. Defaults to "large".
            levels: bool. Whether the last step ends in the 256 levels, or in a density of images in [-1, 1]. Defaults to True.
            labels, conditions: int `(batch,)`, float `(batch, condition_dim)`, for conditional models alone; None is the bound
                without. Default to None.

        Returns:
            Nats an image, and the standard error that the choice of steps gives it (as if they were drawn one by one, so rather
            too large; of all steps 0, of a single one not known), both float32 `(batch,)`. The noise of each step is drawn once,
            which is not counted: over images it averages out.

        Raises:
            ValueError: `samples` is below 1; no labels, of a model that was never trained without.
        """
        samples = None if samples is None else whole(samples=samples)
        x = 2.0 * self.images_of(x) - 1.0
        n, rest = ops.shape(x)[0], self.timesteps - 1
        told = self.told(n, labels, conditions)
        term_of = functools.partial(self.bound_terms, x, variance=variance, levels=levels, labels=told)
        count = rest if samples is None else samples
        start = randomness.uniform(self.noise_key(seed, 0), (n,))

        def add(draw, total, squares):
            if samples is None:
                index = tf.fill((n,), draw + 2)
            else:
                position = (tf.cast(draw, tf.float32) + start) / count
                index = tf.minimum(tf.cast(position * rest, tf.int32) + 2, self.timesteps)
            term = rest * term_of(index, self.noise_key(seed, 1, draw))
            return draw + 1, total + term, squares + tf.square(term)

        zeros = tf.zeros((n,))
        _, total, squares = tf.while_loop(lambda draw, *_: draw < count, add, (0, zeros, zeros))
        mean = total / count
        variance_of_terms = tf.maximum(squares / count - tf.square(mean), 0.0)
        error = zeros if samples is None else tf.sqrt(variance_of_terms / count) if count > 1 else tf.fill((n,), math.nan)
        # The last step weighs by far the most, and is always counted.
        last = term_of(tf.ones((n,), tf.int32), self.noise_key(seed, 2))
        return -(mean + last + self.prior_term(x)), error

    @available_if(lambda self: self.timesteps is not None, "its time is continuous; build it with timesteps=1000")
    @batched
    def log_prob(self, x, samples=64, seed=0, labels=None, conditions=None):
        """An unbiased estimate of the variational lower bound on log P(x) of the 256 levels, see `variational_bound`.

        Args:
            x: images.
            samples: int or None. Steps of the chain that are drawn for an image; None is all. Defaults to 64.
            seed: int. Defaults to 0.
            labels, conditions: int `(batch,)`, float `(batch, condition_dim)`, for conditional models alone; None is the bound
                without. Default to None.

        Returns:
            Nats per image, float32 `(batch,)`.
        """
        return self.variational_bound(x, samples, seed, labels=labels, conditions=conditions)[0]
