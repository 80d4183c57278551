"""The likelihood of diffusion models by the probability-flow equation, and the choice between it and the variational bound."""

import math

import tensorflow as tf
from keras import ops

from keras_genzoo import odes, samplers
from keras_genzoo.core import images, randomness
from keras_genzoo.core.checks import whole
from keras_genzoo.core.inference import batched
from keras_genzoo.core.serialization import HALF

SPAN = 2 * images.LEVELS / (images.LEVELS - 1)  # of the unit cube in the model's own range, where level k stands at 2 k / 255 - 1
SUPPORTS = {"ode": "continuous", "bound": "levels"}  # of the methods of `log_prob`
TRACES = "exact", "hutchinson"
ROUGH = 1e-4  # tolerance of a solver beside the noise of an estimated trace, a third of the evaluations of the default


class ProbabilityFlow:
    """The part of `Diffusion` that has likelihoods: one of dequantised images for every model, and a bound with `timesteps`."""

    def _method(self, method=None):
        if method is None:
            return "ode" if self.timesteps is None else "bound"
        if method not in SUPPORTS:
            raise ValueError(f"method is {method!r}, expected None, 'ode' or 'bound'.")
        if method == "bound" and self.timesteps is None:
            raise ValueError(
                "method is 'bound', but the model's time is continuous; take 'ode', or build it with timesteps=1000."
            )
        return method

    @property
    def support(self):
        return SUPPORTS[self._method()]

    @property
    def log_prob_label(self):
        """What `log_prob` is with its default arguments."""
        return {"ode": "ode", "bound": "elbo"}[self._method()]

    def velocity(self, x, t, labels=None):
        """dx / dt of the probability-flow equation (Song et al. 2021, arXiv:2011.13456, eq. 13).

        Args:
            x: `(batch, height, width, channels)`, at the times t.
            t: `(batch,)`.
            labels: one-hot `(batch, classes)`, with vectors the whole condition, or None. Defaults to None.
        """
        output = self.outputs(x, t, labels)
        seen = lambda x, t: self.prediction.image_and_noise(self.schedule, x, output, t)  # noqa: E731
        return samplers.velocity(seen, self.schedule, x, t[:, None, None, None])

    def log_density(self, points, labels=None, probe=None, solver=None):
        """log p of points of the unit cube, in nats, `(batch,)`.

        The equation carries them from the image at `t_min` to the noise at `t_max`, along the positions of the schedule. With
        x = 512 / 255 (point - 1 / 2), of n dimensions, it is

            log N(noise; 0, prior_scale^2) + log |det d noise / dx| + n log(512 / 255)

        Args:
            points: float32 `(batch, height, width, channels)`.
            labels: as of `velocity`. Defaults to None.
            probe: as in `odes.rate_and_trace`; None is the exact trace. Defaults to None.
            solver: name of `odes.SOLVERS`, an `odes.Solver` or None, see `log_prob`. Defaults to None.
        """

        def velocity(x, place, labels=None):
            t = self.schedule.at(place)
            return self.velocity(x, t, labels) / self.schedule.position_slope(t)[:, None, None, None]

        x, told = SPAN * (points - 0.5), () if labels is None else (labels,)
        noise, log_det = odes.transport(velocity, x, self._solver(solver, probe is None), told=told, probe=probe)
        scale, size = self.prior_scale, math.prod(self.image_shape)
        square = ops.sum(ops.square(noise / scale), axis=(1, 2, 3))
        log_prior = -0.5 * square - size * (ops.log(scale) + 0.5 * math.log(2 * math.pi))
        return log_prior + log_det + size * math.log(SPAN)

    def _solver(self, solver, exact):
        if solver is not None:
            return odes.get(solver)
        if any(layer.compute_dtype in HALF for layer in self.network._flatten_layers()):
            return odes.RungeKutta()
        return odes.DormandPrince() if exact else odes.DormandPrince(ROUGH, ROUGH)

    def _densities(self, x, trace, samples, seed, told, *solvers):
        """Means of `log_density` over draws of dequantised images, one for each solver, and the standard error of the first."""
        if trace not in TRACES:
            raise ValueError(f"trace is {trace!r}, expected 'exact' or 'hutchinson'.")
        samples, x = whole(samples=samples), self.images_of(x)
        labels = self.told_or_none(ops.shape(x)[0], **told)
        uniform = lambda *numbers: randomness.uniform(self.noise_key(seed, *numbers), tf.shape(x))  # noqa: E731

        def add(draw, squares, *means):
            points = images.dequantise(x, uniform(draw, 0))
            probe = None if trace == "exact" else odes.signs(uniform(draw, 1))
            found = [self.log_density(points, labels, probe, solver) for solver in solvers]
            count = tf.cast(draw + 1, tf.float32)
            moved = [mean + (new - mean) / count for mean, new in zip(means, found, strict=True)]
            return draw + 1, squares + (found[0] - means[0]) * (found[0] - moved[0]), *moved

        zeros = tf.zeros(tf.shape(x)[:1])
        _, squares, *means = tf.while_loop(lambda draw, *_: draw < samples, add, (0, zeros, *[zeros] * len(solvers)))
        error = tf.sqrt(squares / (samples * (samples - 1))) if samples > 1 else tf.fill(tf.shape(zeros), math.nan)
        return means, error

    @batched(compiled=True)
    def ode_log_prob(self, x, trace="hutchinson", samples=1, seed=0, solver=None, labels=None, conditions=None):
        """`log_prob` by the probability-flow equation (`method="ode"`), and how far off it may be.

        Args:
            x, trace, samples, seed, solver, labels, conditions: as in `log_prob`.

        Returns:
            Nats an image; the numerical error, as the absolute difference to a solver of about ten times the error (`coarser`);
            and the standard error of the mean over draws, NaN of a single one. Each float32 `(batch,)`.

        Example:

        >>> model = gz.build("flow_matching", image_shape=(28, 28, 1), width=8, multipliers=(1,))
        >>> log_prob, error, deviation = model.ode_log_prob(images[:2], samples=2, solver="rk4")
        >>> log_prob.shape, error.shape, deviation.shape
        (TensorShape([2]), TensorShape([2]), TensorShape([2]))
        """
        solver, told = self._solver(solver, trace == "exact"), {"labels": labels, "conditions": conditions}
        (log_prob, other), deviation = self._densities(x, trace, samples, seed, told, solver, solver.coarser())
        return log_prob, tf.abs(log_prob - other), deviation

    @batched(compiled=True)
    def log_prob(self, x, samples=None, seed=0, labels=None, method=None, trace="hutchinson", solver=None, conditions=None):
        """The log-likelihood of images: that of dequantised ones by the probability-flow equation, or a bound for their levels.

        "ode" is a log density on the unit cube at the dequantised image, averaged over draws of the noise within levels (Song et
        al. 2021, arXiv:2011.13456, appendix D.2). With `trace="exact"` it is exact but for the solver's error; the estimate of
        Hutchinson has no bias. A schedule that begins at a `t_min` above 0 takes the image for x_t at that time. It is the
        likelihood of what deterministic samplers draw; a model that is to be compared by it trains with `dequantise=True`.

        "bound" is an unbiased estimate of the variational lower bound on log P of the 256 levels, see `variational_bound`.

        Args:
            x: images.
            samples: int or None. Of "ode", draws of the noise within levels, each with a probe of the trace; None is 1. Of
                "bound", steps of the chain that are drawn for an image; None is 64. Defaults to None.
            seed: int. Defaults to 0.
            labels: int `(batch,)`, of models with classes alone. Without it and `conditions` it is the likelihood without a
                condition. Defaults to None.
            method: "ode", "bound", or None, the bound where the model has `timesteps` and else the equation. Defaults to None.
            trace: "hutchinson", or "exact", which takes the time and the memory of as many images as an image has numbers.
                Defaults to "hutchinson".
            solver: name of `odes.SOLVERS`, an `odes.Solver`, or None: `odes.DormandPrince`, with tolerances of 1e-5 for the exact
                trace and 1e-4 for the estimate, whose noise is larger; or of networks that compute in 16 bits, whose rounding
                meets no tolerance, `odes.RungeKutta()`. Defaults to None.
            conditions: float `(batch, condition_dim)`, of models that are told vectors alone. Defaults to None.

        Returns:
            Nats per image, float32 `(batch,)`. `ode_log_prob` and `variational_bound` give their errors too.

        Raises:
            ValueError: an unknown method, trace or solver; the bound of a model without `timesteps`.
        """
        told = {"labels": labels, "conditions": conditions}
        if self._method(method) == "bound":
            return self.variational_bound(x, 64 if samples is None else samples, seed, **told)[0]
        samples = 1 if samples is None else samples
        return self._densities(x, trace, samples, seed, told, solver)[0][0]

    def bits_per_dim(self, x, **kwargs):
        """-log2 P(x) per pixel and channel of images of 256 levels, `(batch,)`, by `log_prob` with these arguments.

        The density of "ode" counts the change of scale from the unit cube to the levels; the bound is of the levels themselves.
        """
        return self.to_bits_per_dim(self.log_prob(x, **kwargs), SUPPORTS[self._method(kwargs.get("method"))])
