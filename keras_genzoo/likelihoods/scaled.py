"""Densities around a location, of one scale for all pixels."""

import math
import numbers

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo import divergences
from keras_genzoo.likelihoods.base import LOG_SCALE_BOUND, Likelihood, summed


class _Scaled(Likelihood):
    """A location-scale density, exp(-sum |x - parameters|^power / (power scale^power)) over its integral.

    The scale is one number, fixed, learned by gradient, or its optimum for the batch.

    Args:
        scale: float above 0, on the unit cube (1 is the range from black to white); "learned", a trained number that
            starts at 0.1; or "optimal", which of each batch in training is the scale that maximises the objective
            (`best_log_scale`). Its running value stands in `log_prob`: step t, from 0, averages with decay
            min(0.99, t / (t + 10)), and a smaller batch than the largest one counts for less by its share of images.
    """

    power = None
    later = ("updates", "largest_batch")

    def __init__(self, scale, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        number = isinstance(scale, numbers.Real) and not isinstance(scale, bool)
        if scale not in ("learned", "optimal") and not (number and 0 < scale < math.inf):
            raise ValueError(f"scale is {scale!r}, expected a number above 0, 'learned' or 'optimal'.")
        self.scale = scale if isinstance(scale, str) else float(scale)
        if isinstance(scale, str):
            self.log_scale = self.add_weight(
                shape=(),
                dtype="float32",
                initializer=keras.initializers.Constant(math.log(0.1)),
                trainable=scale == "learned",
                aggregation="mean",  # replicas see different batches
                name="log_scale",
            )
        if scale == "optimal":
            settings = dict(shape=(), dtype="int64", initializer="zeros", trainable=False, aggregation="only_first_replica")
            self.updates, self.largest_batch = (self.add_weight(name=each, **settings) for each in self.later)

    def _log_scale(self):
        if isinstance(self.scale, str):
            return ops.clip(self.log_scale, -LOG_SCALE_BOUND, LOG_SCALE_BOUND)
        return ops.convert_to_tensor(math.log(self.scale), "float32")

    @property
    def current_scale(self):
        """The scale as it stands, a scalar; of a Gaussian its standard deviation."""
        return ops.exp(self._log_scale())

    def log_prob(self, x, parameters):
        return self.log_density(x, parameters, self._log_scale())

    def training_log_prob(self, x, parameters, log_ratio=None):
        if self.scale != "optimal":
            return self.log_prob(x, parameters)
        # The loss does not change with a scale at its optimum, so that no gradient passes through it.
        errors = divergences.gather(ops.stop_gradient(self.errors(x, parameters)))
        ratio = None if log_ratio is None else divergences.gather(ops.stop_gradient(log_ratio))
        best = self.best_log_scale(errors, math.prod(x.shape[1:]), ratio)
        self._follow(best, ops.cast(ops.shape(errors)[0], "int64"))
        return self.log_density(x, parameters, best)

    def errors(self, x, parameters):
        """sum |x - parameters|^power of each row, `(rows,)`."""
        return summed(ops.abs(x - parameters) ** self.power)

    def best_log_scale(self, errors, dimensions, log_ratio=None):
        """The logarithm of the scale, within its bounds, that maximises the objective of a batch, a scalar.

        With one draw an image, scale^power is the mean of errors / dimensions. The importance-weighted bound has the slope of
        the mean in which each draw counts by its normalised weight (Burda et al. 2016, arXiv:1509.00519, section 3). The weights
        depend on the scale, so that both take turns until they agree, as in expectation maximisation.

        Args:
            errors: what `errors` returned, `(rows,)`.
            dimensions: int. Numbers in an image.
            log_ratio: as in `training_log_prob`.
        """
        of = lambda mean: ops.clip(ops.log(mean / dimensions + 1e-12) / self.power, -LOG_SCALE_BOUND, LOG_SCALE_BOUND)  # noqa: E731
        start = of(ops.mean(errors))
        if log_ratio is None:
            return start
        errors = ops.reshape(errors, ops.shape(log_ratio))

        def turn(now, before):
            weights = ops.softmax(log_ratio - errors / self.power * ops.exp(-self.power * now), axis=1)
            return of(ops.mean(ops.sum(weights * errors, axis=1))), now

        differ = lambda now, before: ops.abs(now - before) > 1e-6  # noqa: E731
        return tf.while_loop(differ, turn, (start, start + 1.0), maximum_iterations=100)[0]

    def _follow(self, best, rows):
        """Move the running value towards the optimum of a batch of so many rows."""
        step, largest = ops.cast(self.updates, "float32"), ops.maximum(ops.convert_to_tensor(self.largest_batch), rows)
        share = (1.0 - ops.minimum(0.99, step / (step + 10.0))) * ops.cast(rows, "float32") / ops.cast(largest, "float32")
        # The mean is of squared or absolute errors, as in `best_log_scale`.
        old, new = (ops.exp(self.power * each) for each in (ops.convert_to_tensor(self.log_scale), best))
        self.log_scale.assign(ops.log(old + share * (new - old)) / self.power)
        self.updates.assign(self.updates + 1)
        self.largest_batch.assign(largest)


@keras.saving.register_keras_serializable("keras_genzoo")
class Gaussian(_Scaled):
    """N(x; parameters, scale^2). With the optimal scale, the sigma-VAE (Rybkin et al. 2021, arXiv:2006.13202, eq. 5)."""

    power = 2

    def __init__(self, scale=1.0, name=None, dtype=None):
        super().__init__(scale, name=name, dtype=dtype)

    def log_density(self, x, mean, log_scale):
        return summed(-0.5 * ops.square((x - mean) * ops.exp(-log_scale)) - log_scale - 0.5 * math.log(2 * math.pi))


@keras.saving.register_keras_serializable("keras_genzoo")
class Laplace(_Scaled):
    """exp(-|x - parameters| / scale) / (2 scale). Its optimal scale is the mean absolute error."""

    power = 1

    def __init__(self, scale="optimal", name=None, dtype=None):
        super().__init__(scale, name=name, dtype=dtype)

    def log_density(self, x, mean, log_scale):
        return summed(-ops.abs(x - mean) * ops.exp(-log_scale) - log_scale - math.log(2))
