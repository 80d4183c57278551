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


def squared_distances(x, y):
    """|x_i - y_j|^2 of all pairs of rows, `(n, m)`."""
    squares = ops.sum(ops.square(x), axis=1)[:, None] + ops.sum(ops.square(y), axis=1)[None]
    return ops.maximum(squares - 2.0 * ops.matmul(x, ops.transpose(y)), 0.0)


def gaussian_kernel(x, y, bandwidths=(1.0, 2.0, 4.0, 8.0, 16.0)):
    """Sum of exp(-|x - y|^2 / (2 s^2)) over bandwidths s, `(n, m)` (Li et al. 2017, arXiv:1705.08584, section 5)."""
    squares = squared_distances(x, y)
    return sum(ops.exp(-squares / (2.0 * s**2)) for s in bandwidths)


def rational_quadratic_kernel(x, y, alphas=(0.2, 0.5, 1.0, 2.0, 5.0)):
    """Sum of (1 + |x - y|^2 / (2 a))^-a over a, `(n, m)` (Binkowski et al. 2018, arXiv:1801.01401, section 2.3)."""
    squares = squared_distances(x, y)
    return sum((1.0 + squares / (2.0 * a)) ** -a for a in alphas)


KERNELS = {"gaussian": gaussian_kernel, "rational_quadratic": rational_quadratic_kernel}


def squared_mmd(x, y, kernel):
    """Unbiased squared maximum mean discrepancy of two samples, a scalar (Gretton et al. 2012, eq. 3).

    It is no mean over images: on several replicas each has the discrepancy of its own part of the batch.

    Args:
        x, y: `(n, dimensions)`, `(m, dimensions)`, at least two rows each.
        kernel: callable, rows and rows to the matrix of their kernels.
    """

    def within(z):
        n = ops.cast(ops.shape(z)[0], "float32")
        values = kernel(z, z)
        return (ops.sum(values) - ops.sum(ops.diagonal(values))) / (n * (n - 1.0))

    return within(x) + within(y) - 2.0 * ops.mean(kernel(x, y))
