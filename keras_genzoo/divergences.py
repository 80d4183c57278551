"""Divergences between distributions, in closed form or of samples."""

import math

from keras import ops


def gaussian_kl(mu, log_variance):
    """KL(N(mu, sigma^2) || N(0, I)) in nats, `(batch,)` (Kingma and Welling 2013, appendix B).

    Args:
        mu, log_variance: `(batch, dimensions)`.
    """
    return 0.5 * ops.sum(ops.square(mu) + ops.exp(log_variance) - 1.0 - log_variance, axis=-1)


def gaussian_log_prob(z, mu, log_variance):
    """log N(z; mu, sigma^2) in nats, `(batch,)`.

    Args:
        z, mu, log_variance: `(batch, dimensions)`.
    """
    return -0.5 * ops.sum(ops.square(z - mu) * ops.exp(-log_variance) + log_variance + math.log(2 * math.pi), axis=-1)
