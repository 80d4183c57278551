"""Divergences between distributions, in closed form or of samples; and those that draw codes to a prior, as objects."""

import math

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo.core.checks import whole
from keras_genzoo.core.serialization import Part, named
from keras_genzoo.core.shares import gather

LEAST_ROWS = 4  # of a batch whose images are compared with each other


def gaussian_kl(mu, log_variance):
    """KL(N(mu, sigma^2) || N(0, I)) in nats, `(batch,)` (Kingma and Welling 2013, appendix B).

    Args:
        mu, log_variance: `(batch, ...)`.
    """
    axes = tuple(range(1, len(mu.shape)))
    return 0.5 * ops.sum(ops.square(mu) + ops.exp(log_variance) - 1.0 - log_variance, axis=axes)


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
    """Sum of (1 + |x - y|^2 / (2 a))^-a over a, `(n, m)` (Binkowski et al. 2018, arXiv:1801.01401, eq. 6 and section 5)."""
    squares = squared_distances(x, y)
    return sum((1.0 + squares / (2.0 * a)) ** -a for a in alphas)


def inverse_multiquadratic_kernel(x, y, scales=(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)):
    """Sum of c / (c + |x - y|^2) over scales s, c = 2 d s for rows of d numbers, `(n, m)`.

    2 d is the expected |x - y|^2 of two draws from N(0, I); the sum over scales is that of the code of Tolstikhin et al. 2018
    (arXiv:1711.01558, section 4).
    """
    squares = squared_distances(x, y)
    return sum(c / (c + squares) for c in (2.0 * x.shape[1] * s for s in scales))


def polyharmonic_kernel(x, y):
    """-|x - y|, `(n, m)`: the polyharmonic spline of order 1, whose squared MMD is the energy distance (Sejdinovic et al. 2013,
    arXiv:1207.6076, example 15)."""
    return -ops.sqrt(squared_distances(x, y) + 1e-12)  # with a slope at 0


KERNELS = {
    "gaussian": gaussian_kernel,
    "rational_quadratic": rational_quadratic_kernel,
    "inverse_multiquadratic": inverse_multiquadratic_kernel,
    "polyharmonic": polyharmonic_kernel,
}


def squared_mmd(x, y, kernel):
    """Unbiased squared maximum mean discrepancy of two samples, a scalar (Gretton et al. 2012, eq. 3).

    It is no mean over images: on several replicas it is of each one's part of the batch, unless the rows are gathered first. Of
    a sample of one row, as a last batch may be, which has no pairs of its own, it is 0.

    Args:
        x, y: `(n, dimensions)`, `(m, dimensions)`.
        kernel: callable, rows and rows to the matrix of their kernels.
    """

    def within(z):
        n = ops.cast(ops.shape(z)[0], "float32")
        values = kernel(z, z)
        return (ops.sum(values) - ops.sum(ops.diagonal(values))) / ops.maximum(n * (n - 1.0), 1.0)

    pairs = ops.cast(ops.minimum(ops.shape(x)[0], ops.shape(y)[0]) > 1, "float32")
    return pairs * (within(x) + within(y) - 2.0 * ops.mean(kernel(x, y)))


def sliced_wasserstein(x, y, directions):
    """Mean over directions of the squared 2-Wasserstein distance of the projections, a scalar (Kolouri et al. 2019,
    arXiv:1804.01947): in one dimension the optimal plan pairs sorted samples.

    Args:
        x, y: `(n, dimensions)`, as many rows each.
        directions: `(k, dimensions)`, unit vectors.
    """
    x, y = (ops.sort(ops.matmul(directions, ops.transpose(z)), axis=1) for z in (x, y))
    return ops.mean(ops.square(x - y))


def _mean_over_directions(s, dimensions):
    """phi(s) = 1F1(1/2; D/2; -s), the mean of exp(-s v_1^2) over unit vectors v of D dimensions.

    Exact for one and two dimensions; from three on by (1 + 4 s / D + c^2 s^2)^(-1/4), which has the right slope at 0 and the
    right tail, (c s)^(-1/2), and is off by 6 % at most at three dimensions, 0.6 % at eight, and 0.13 % at 16. The form of Knop et
    al. 2020, (1 + 4 s / (2 D - 3))^(-1/2), is off by 13 %, 3 % and 1.3 %.
    """
    if dimensions == 1:
        return ops.exp(-s)
    if dimensions == 2:
        return tf.math.bessel_i0e(0.5 * s)
    tail = math.exp(2.0 * (math.lgamma(0.5 * (dimensions - 1)) - math.lgamma(0.5 * dimensions)))
    return (1.0 + 4.0 * s / dimensions + ops.square(tail * s)) ** -0.25


def _silverman(n):
    """The bandwidth of the papers: (4 / 3n)^(2/5)."""
    return (4.0 / (3.0 * ops.cast(n, "float32"))) ** 0.4


def cramer_wold(x, y, bandwidth=None):
    """Squared Cramer-Wold distance of two samples, a scalar (Knop et al. 2020, arXiv:1805.09235, theorem 1).

    The squared L2 distance of the smoothed densities of their projections, meant over all directions, in closed form. It is a
    biased estimate: above 0 for two samples of one distribution.

    Args:
        x, y: `(n, dimensions)`, as many rows each.
        bandwidth: float or None. Variance of the Gaussian that smoothes; None is Silverman's (4 / 3n)^(2/5).
    """
    gamma = _silverman(ops.shape(x)[0]) if bandwidth is None else bandwidth
    pairs = lambda a, b: ops.mean(_mean_over_directions(squared_distances(a, b) / (4.0 * gamma), x.shape[1]))  # noqa: E731
    return (pairs(x, x) + pairs(y, y) - 2.0 * pairs(x, y)) / (2.0 * ops.sqrt(math.pi * gamma))


def cramer_wold_to_normal(x, bandwidth=None):
    """Squared Cramer-Wold distance of a sample from N(0, I), a scalar, in closed form (Knop et al. 2020, theorem 3).

    Args:
        x: `(n, dimensions)`.
        bandwidth: as in `cramer_wold`.
    """
    n, dimensions = ops.shape(x)[0], x.shape[1]
    gamma = _silverman(n) if bandwidth is None else bandwidth
    within = ops.mean(_mean_over_directions(squared_distances(x, x) / (4.0 * gamma), dimensions)) / gamma**0.5
    norms = ops.sum(ops.square(x), axis=1)
    between = ops.mean(_mean_over_directions(norms / (2.0 + 4.0 * gamma), dimensions)) / ops.sqrt(gamma + 0.5)
    return (within + 1.0 / ops.sqrt(1.0 + gamma) - 2.0 * between) / (2.0 * math.sqrt(math.pi))


def stratified_log_densities(z, mu, log_variance, dataset_size):
    """log q(z), and the sum of log q(z_j) over dimensions j, of the aggregate posterior q, each `(batch,)`, estimated of a batch.

    q is the mixture of the posteriors of all N images. As in minibatch stratified sampling (Chen et al. 2018, arXiv:1802.04942,
    appendix C.2), the posterior that z was drawn from has its weight 1 / N, and the others of the batch share that of all
    others, so that q(z) itself is estimated without bias, and of a batch of all images exact.

    Args:
        z: codes `(batch, dimensions)`.
        mu, log_variance: of the posteriors that z were drawn from, row by row, likewise.
        dataset_size: number or scalar tensor. N.
    """
    log_q = -0.5 * (ops.square(z[:, None] - mu) * ops.exp(-log_variance) + log_variance + math.log(2 * math.pi))
    total = ops.cast(dataset_size, "float32")
    others = ops.maximum(ops.cast(ops.shape(mu)[0], "float32") - 1.0, 1.0)
    weights = (1.0 - tf.eye(tf.shape(mu)[0])) * (total - 1.0) / others + tf.eye(tf.shape(mu)[0])
    log_weights = ops.log(ops.maximum(weights, 1e-30)) - ops.log(total)
    joint = ops.logsumexp(ops.sum(log_q, axis=2) + log_weights, axis=1)
    return joint, ops.sum(ops.logsumexp(log_q + log_weights[:, :, None], axis=1), axis=1)


class Given:
    """A prior of codes beside the condition of each, for a divergence of both together.

    Args:
        prior: of codes that do not depend on the condition.
        condition: `(batch, units)`, scaled.
    """

    def __init__(self, prior, condition):
        self.prior, self.condition = prior, condition

    def sample(self, n, random):
        """Draws from the prior, each beside the condition of a row, `(batch, latent_dim + units)`."""
        return ops.concatenate([self.prior.sample(n, random), self.condition], axis=1)


def given(condition, z, prior):
    """What a divergence compares so that the codes of each condition are drawn to the prior: codes and draws from the prior, both
    beside the condition, as the critic of Makhzani et al. 2016 (arXiv:1511.05644, section 2.3) sees the label.

    The condition is scaled by the root of the codes' dimensions: two classes are then as far from each other as two draws of
    N(0, I), and kernels tell them apart.

    Args:
        condition: `(batch, units)`, or None: codes and prior stay what they are.
        z: codes `(batch, latent_dim)`.
        prior: of `priors`.

    Returns:
        The pair of rows and prior that `Divergence` takes.
    """
    if condition is None:
        return z, prior
    scaled = math.sqrt(z.shape[1]) * condition
    return ops.concatenate([z, scaled], axis=1), Given(prior, scaled)


def of_enough(statistic, rows):
    """A statistic of a batch, as it is, or 0 of fewer than `LEAST_ROWS` rows, such as a short last batch leaves: it is biased
    there. The total correlation of one row of d units and N images is (d - 1) log N whatever the codes are.

    Args:
        statistic: scalar.
        rows: what it is of, `(n, ...)`, of all replicas (`gather`).
    """
    return ops.where(ops.shape(rows)[0] >= LEAST_ROWS, statistic, 0.0)


class Divergence(Part):
    """Base: how far the aggregate posterior of codes is from a prior. On several replicas it is that of the whole batch."""

    def __call__(self, z, prior, random):
        """A scalar, with gradients.

        Args:
            z: codes `(batch, latent_dim)`, float32.
            prior: of `priors`.
            random: `randomness.Stream`.
        """
        raise NotImplementedError


_registered = keras.saving.register_keras_serializable("keras_genzoo")


@_registered
class SquaredMMD(Divergence):
    """The unbiased squared maximum mean discrepancy, `squared_mmd`, of codes from as many draws from the prior (Tolstikhin et al.
    2018, algorithm 2). Around 0, so negative too, where the distributions agree.

    Args:
        kernel: "inverse_multiquadratic", "gaussian" or "rational_quadratic", sums over scales, or "polyharmonic". Defaults to
            "inverse_multiquadratic".
    """

    def __init__(self, kernel="inverse_multiquadratic", **kwargs):
        super().__init__(**kwargs)
        if kernel not in KERNELS:
            raise ValueError(f"kernel is {kernel!r}, expected one of {', '.join(KERNELS)}.")
        self.kernel = kernel

    def __call__(self, z, prior, random):
        draws = prior.sample(ops.shape(z)[0], random)
        return squared_mmd(gather(z), gather(draws), KERNELS[self.kernel])


@_registered
class SlicedWasserstein(Divergence):
    """`sliced_wasserstein` of codes from as many draws from the prior, along directions drawn anew each time (SWAE, Kolouri et
    al. 2019, algorithm 1).

    Args:
        directions: int. Defaults to 50.
    """

    def __init__(self, directions=50, **kwargs):
        super().__init__(**kwargs)
        self.directions = whole(directions=directions)

    def __call__(self, z, prior, random):
        draws = prior.sample(ops.shape(z)[0], random)
        directions = random.normal((self.directions, z.shape[1]), shared=True)
        directions /= ops.sqrt(ops.sum(ops.square(directions), axis=1, keepdims=True) + 1e-12)
        return sliced_wasserstein(gather(z), gather(draws), directions)


@_registered
class CramerWold(Divergence):
    """The squared Cramer-Wold distance (CWAE, Knop et al. 2020): of codes from N(0, I) in closed form, `cramer_wold_to_normal`,
    and from another prior by as many draws from it, `cramer_wold`.

    Args:
        logarithm: bool. Whether the logarithm of the distance is minimised, as the paper does, whose slope does not fade as
            the distance falls. Distances under 1e-6 count as 1e-6. Defaults to True.
    """

    def __init__(self, logarithm=True, **kwargs):
        super().__init__(**kwargs)
        self.logarithm = logarithm

    def __call__(self, z, prior, random):
        if getattr(prior, "standard", False):
            distance = cramer_wold_to_normal(gather(z))
        else:
            draws = prior.sample(ops.shape(z)[0], random)
            distance = cramer_wold(gather(z), gather(draws))
        return ops.log(ops.maximum(distance, 1e-6)) if self.logarithm else distance


DIVERGENCES = {
    "mmd": SquaredMMD,
    "gaussian_mmd": lambda: SquaredMMD("gaussian"),
    "sliced_wasserstein": SlicedWasserstein,
    "cramer_wold": CramerWold,
}


def get(divergence):
    """A `Divergence` by name, or the one given."""
    return named(divergence, DIVERGENCES, Divergence, "divergence")
