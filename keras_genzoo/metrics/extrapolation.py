"""The Frechet distance that endlessly many generated images would have (Chong and Forsyth 2020, arXiv:1911.07023)."""

import dataclasses
import warnings

import numpy as np

from keras_genzoo.metrics.features import CHUNK, check_features
from keras_genzoo.metrics.frechet import GaussianStatistics, statistics_distance

POINTS = 15  # of the line, unless told otherwise


@dataclasses.dataclass(frozen=True)
class Extrapolation:
    """A line through distances of several numbers of images, against 1 / n.

    Args:
        intercept: float. The score, the distance at 1 / n = 0.
        slope: float. Bias times n.
        r_squared: float. Share of the distances' variance that lies on the line.
        sizes: tuple of ints. The numbers of images n.
        distances: tuple of floats. The Frechet distances at these.
    """

    intercept: float
    slope: float
    r_squared: float
    sizes: tuple
    distances: tuple


def frechet_infinity(real, generated, points=POINTS, seed=0):
    """FD_inf: Frechet distances at several numbers n of generated features, extrapolated to 1 / n = 0.

        FD(n) = FD_inf + slope / n + ...

    since a mean and a covariance of n features are off by O(1 / n), and by more for one model than for another. Each n has
    a random subset of its own; the line is the one of least squares.

    The numbers are evenly spaced from n / 10, as in the paper, or from twice the number of features where that is more, to
    n: with fewer images the next terms of the series count, and with fewer than features the covariance has no full rank.
    Of 2,000 Gaussian features, all of one variance, at a known distance the intercept was off by

        features   from n / 10   from features   from 2 features   from 3 features   the distance at n = 2,000
              64          -1 %            -6 %              -1 %               0 %                      +12 %
             128          -5 %            -9 %              -3 %              -2 %                      +21 %
             512         -35 %           -22 %              -7 %              -4 %                      +87 %

    with R^2 above 0.99 everywhere: R^2 tells noise, not this bias. So there are to be four times as many generated images
    as features; where there are not a warning says so, and the numbers start at n / 2.

    The real side keeps the bias of its own number, the same for all models: 2,000 real images left those 128 features at
    +19 %. The intercept of a model that draws well may be negative.

    Args:
        real: array of features `(m, dim)`, or their `GaussianStatistics`, whose root is then computed once for all models.
        generated: array of features `(n, dim)`.
        points: int. Numbers of features. Defaults to 15, the paper's.
        seed: int. Of the subsets. Defaults to 0.

    Returns:
        `Extrapolation`.

    Raises:
        ValueError: features that are not finite or not `(n, dim)`, of other dimensions, too few for so many points, or real
            ones that do not vary.

    Warns:
        UserWarning: fewer than four times as many generated images as features, or fewer real ones than features.

    Example:

    >>> random = np.random.default_rng(0)
    >>> real, generated = random.normal(size=(2000, 8)), random.normal(size=(1000, 8)) + 1
    >>> score = keras_genzoo.metrics.frechet_infinity(real, generated)  # of a true distance of 8
    >>> round(score.intercept), score.sizes[0], score.sizes[-1]
    (8, 100, 1000)
    """
    from scipy.stats import linregress

    generated = check_features(generated, "generated features")
    if not isinstance(real, GaussianStatistics):
        real = _statistics(check_features(real, "real features"))
    n, dim = generated.shape
    if dim != real.dim:
        raise ValueError(f"real features have {real.dim} dimensions and generated features {dim}.")
    smallest = min(max(n // 10, 2 * dim), n // 2)
    if points < 3 or smallest < 2 or n - smallest < points - 1:
        raise ValueError(f"{points} points of {n} generated images came, expected at least 3 points and twice as many images.")
    if n < 4 * dim or real.n < dim:
        warnings.warn(
            f"the Frechet distance from {real.n} real and {n} generated images and {dim} features cannot be extrapolated: too "
            f"few for a line, however well one seems to fit. Take at least {4 * dim} images, or the kernel distance, which "
            f"has no such bias.",
            stacklevel=2,
        )
    sizes = np.linspace(smallest, n, points).astype(int)
    random = np.random.RandomState(seed)  # the legacy stream, which NumPy promises to keep
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # each point's own, of what was said above once
        distances = [statistics_distance(real, _statistics(generated[random.permutation(n)[:size]]), "FD_inf") for size in sizes]
    line = linregress(1 / sizes, distances)
    # Of a collapsed generator all distances are equal but for rounding, and a level line leaves nothing to explain.
    r = 1.0 if np.ptp(distances) <= 1e-9 * max(distances) else line.rvalue
    return Extrapolation(float(line.intercept), float(line.slope), float(r**2), tuple(sizes.tolist()), tuple(distances))


def _statistics(features):
    statistics = GaussianStatistics(features.shape[1])
    for start in range(0, len(features), CHUNK):
        statistics.update(features[start : start + CHUNK])
    return statistics
