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

    def bound_terms(self, x, index, key, variance=None, levels=True, labels=None):
        """One of the terms of the variational bound (Ho et al. 2020, eq. 5), in nats an image.

        Args:
            x: float32 images in [-1, 1], `(batch, height, width, channels)`.
            index: int32 `(batch,)`, 1 to `timesteps`: the step from the time of this index, `Schedule.time`, to the one before.
            key: of the noise.
            variance: of the steps, as in `variational_bound`.
            levels: bool. Whether the last step ends in the 256 levels (eq. 13), or in a density.
            labels: one-hot `(batch, classes)`, with vectors the whole condition, or None. Defaults to None.

        Returns:
            KL(q(x_s | x_t, x) || p(x_s | x_t)), and for index 1 -log p(x | x_1), `(batch,)`.
        """
        index = ops.cast(index, "float32")
        t = self.schedule.time(index, self.timesteps)
        wide = t[:, None, None, None]
        x_t = self.schedule.signal(wide) * x + self.schedule.noise(wide) * randomness.normal(key, ops.shape(x))
        output, v = self.heads(x_t, t, labels)
        return self.bound_of(x, x_t, output, v, index, variance, levels)

    def bound_of(self, x, x_t, output, v, index, variance=None, levels=True):
        """What `bound_terms` returns, of noisy images x_t and what the network puts out for them (`heads`); index is float32."""
        variance = ("large" if v is None else "learned") if variance is None else variance
        if variance not in ("large", "small", *([] if v is None else ["learned"])):
            raise ValueError(f"variance is {variance!r}, expected 'large', 'small', or 'learned' by a network that learns it.")
        time = lambda index: self.schedule.time(index, self.timesteps)  # noqa: E731
        before = ops.where(index < 1.5, 0.0, time(ops.maximum(index - 1.0, 1.0)))
        wide, before, first = (each[:, None, None, None] for each in (time(index), before, index < 1.5))
        image, _ = self.prediction.image_and_noise(self.schedule, x_t, output, wide)
        _, small, large = samplers.posterior(self.schedule, x_t, image, wide, before)
        mean_factor = self.schedule.signal(before) * large / ops.square(self.schedule.noise(wide))
        if variance == "learned":  # the first step has no small variance, and takes that of the second
            second = samplers.posterior(self.schedule, x_t, image, *(time(ops.full_like(wide, each)) for each in (2.0, 1.0)))[1]
            chosen = samplers.learned_variance(v, ops.where(first, second, small), large)
        else:
            chosen = ops.where(first, large, large if variance == "large" else small)
        square = ops.square(mean_factor * (x - image)) / chosen
        ratio = ops.where(first, 1.0, small / chosen)
        kl = 0.5 * (square + ratio - 1.0 - ops.log(ratio))
        if levels:
            last = -gaussian_level_log_prob(0.5 * (x + 1.0), 0.5 * (image + 1.0), 0.5 * ops.sqrt(chosen))
        else:
            last = 0.5 * (square + ops.log(2 * math.pi * chosen))
        return ops.sum(ops.where(first, last, kl), axis=(1, 2, 3))

    def variance_loss(self, x, x_t, output, v, index):
        """The bound that trains a learned variance, in bits a dimension, `(batch,)`: of one step for each image, the mean over
        steps is that of all; arguments as in `bound_of`."""
        scale = self.timesteps / (math.prod(self.image_shape) * math.log(2))
        return scale * self.bound_of(x, x_t, output, v, index)

    def prior_term(self, x):
        """KL(q(x_T | x) || p(x_T)) in nats, `(batch,)`."""
        t = ops.convert_to_tensor(np.float32(self.schedule.t_max))
        total = ops.square(self.prior_scale)
        ratio = ops.square(self.schedule.noise(t)) / total
        square = ops.square(self.schedule.signal(t) * x) / total
        return 0.5 * ops.sum(square + ratio - 1.0 - ops.log(ratio), axis=(1, 2, 3))

    @available_if(lambda self: self.timesteps is not None, "its time is continuous; build it with timesteps=1000")
    @batched
    def variational_bound(self, x, samples=64, seed=0, variance=None, levels=True, labels=None, conditions=None):
        """The lower bound on log p(x) that the chain of `timesteps` steps gives (Ho et al. 2020, eq. 5).

        Args:
            x: images.
            samples: int or None. Number of steps of the chain that are drawn for an image, evenly, beside the last; the sum over
                all steps is estimated from these without bias. None takes every step once.
            seed: int. Of the draws and the noise. Defaults to 0.
            variance: "large" or "small", as in `samplers.Ancestral`, "learned", or None: "learned" where the network learns it,
                and else "large". Defaults to None.
            levels: bool. Whether the last step ends in the 256 levels, or in a density of images in [-1, 1]. Defaults to True.
            labels, conditions: arrays `(batch,)` and `(batch, condition_dim)`, of conditional models alone; without them it is
                the bound without a condition. Default to None.

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
        told = self.told_or_none(n, labels, conditions)
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
