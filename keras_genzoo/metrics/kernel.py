"""The kernel distance between two sets of features (Binkowski et al. 2018, arXiv:1801.01401, section 4)."""

import numpy as np

from keras_genzoo.metrics.features import check_pair
from keras_genzoo.metrics.streams import FeatureStore, StreamingDistance


def polynomial_mmd(x, y):
    """Unbiased squared maximum mean discrepancy under the kernel k(x, y) = (x.y / dim + 1)^3.

        sum_{i != j} [k(x_i, x_j) + k(y_i, y_j)] / (n (n - 1))  -  2 sum_{i, j} k(x_i, y_j) / n^2

    for as many x as y (Gretton et al. 2012, eq. 3; arXiv:1801.01401, eq. 4). Unbiased, hence negative at times.

    Args:
        x, y: arrays of features, both `(n, dim)`.

    Returns:
        float.
    """
    x, y = check_pair(x, y, dtype=None)
    if len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} features came, expected as many of both.")
    return _mmd(x, y)


def kernel_distance(real, generated, subsets=100, subset_size=1000, seed=2020, normalise=False):
    """Mean of `polynomial_mmd` over random subsets; on Inception's features it is known as KID.

    Its expectation does not depend on the number of images, so it suits small sets. The subsets overlap: their spread is
    no confidence interval of the mean, see `kernel_interval`.

    Args:
        real, generated: arrays of features `(n, dim)`.
        subsets: int. Defaults to 100.
        subset_size: int. Features drawn from each side, without replacement; all of the smaller side where it has fewer.
            Defaults to 1000.
        seed: int. The subsets are those that torch-fidelity draws, whose default is 2020 too.
        normalise: bool. Divide both sides by the root mean square of the real features, so that x.x / dim is 1 on average
            and each power in the kernel counts, whatever the scale of the features; the distance is then free of units.
            For features whose squares are not of order 1: of much larger ones the kernel sees third moments alone, of
            much smaller ones means alone. Defaults to False, as KID is defined; scores with it are other ones.

    Returns:
        float. Negative values are legitimate: they say that the two sets cannot be told apart.

    Raises:
        ValueError: features that are not finite or not `(n, dim)`, fewer than two on a side, no subsets; with `normalise`,
            real features that are all 0.
    """
    real, generated = _scaled(*check_pair(real, generated, dtype=None), normalise)
    if subsets < 1 or subset_size < 2:
        raise ValueError(f"{subsets} subsets of {subset_size} came, expected at least 1 subset of at least 2.")
    size = min(subset_size, len(real), len(generated))
    # The legacy stream, which NumPy promises to keep: a score of today can be had again in years.
    random = np.random.RandomState(seed)

    draws = [[random.choice(n, size, replace=False) for n in (len(real), len(generated))] for _ in range(subsets)]
    if max(len(real), len(generated)) ** 2 > subsets * size**2 / 4:  # also bounds the memory of what follows
        return float(np.mean([_mmd(real[i], generated[j]) for i, j in draws]))
    members = np.zeros((subsets, len(real))), np.zeros((subsets, len(generated)))
    for side in (0, 1):
        np.put_along_axis(members[side], np.array([draw[side] for draw in draws]), 1.0, axis=1)
    return float(_mmds(real, generated, *members).mean())


def kernel_interval(real, generated, blocks=10, level=0.95, seed=2020, normalise=False):
    """Mean of `polynomial_mmd` over disjoint random blocks, with a confidence interval.

    Blocks share no image, so their distances are independent and of one expectation, the distance of the distributions;
    the interval is Student's t. It says how much of a difference between two scores these numbers of images can show.

    Args:
        real, generated: arrays of features `(n, dim)`. A block has as many of each, of the smaller side all but a remainder.
        blocks: int. Defaults to 10.
        level: float in (0, 1). Probability that the interval holds the distance. Defaults to 0.95.
        seed: int. Of the blocks. Defaults to 2020.
        normalise: see `kernel_distance`.

    Returns:
        Three floats: mean, lower and upper end.

    Raises:
        ValueError: as `kernel_distance`; fewer than two blocks, or of fewer than two images.

    Example:

    >>> random = np.random.default_rng(0)
    >>> mean, low, high = keras_genzoo.metrics.kernel_interval(random.normal(size=(500, 8)), random.normal(size=(500, 8)))
    >>> low < 0 < high
    True
    """
    from scipy import stats

    real, generated = _scaled(*check_pair(real, generated, dtype=None), normalise)
    size = min(len(real), len(generated)) // max(blocks, 1)
    if blocks < 2 or size < 2:
        raise ValueError(f"{blocks} blocks of {size} images came, expected at least 2 blocks of at least 2.")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a probability between 0 and 1.")
    random = np.random.RandomState(seed)
    members = [random.permutation(len(side))[: blocks * size].reshape(blocks, size) for side in (real, generated)]
    distances = [_mmd(real[i], generated[j]) for i, j in zip(*members, strict=True)]
    mean, half = np.mean(distances), stats.t.ppf((1 + level) / 2, blocks - 1) * stats.sem(distances)
    return float(mean), float(mean - half), float(mean + half)


def _scaled(real, generated, normalise):
    """Both sides divided by the root mean square of the real one, or as they came."""
    if not normalise:
        return real, generated
    scale = np.sqrt(np.mean(np.square(real, dtype="float64")))
    if not scale > 0:
        raise ValueError(f"the features of all {len(real)} real images are 0, so nothing can be scaled by them.")
    return (real / scale).astype(real.dtype), (generated / scale).astype(real.dtype)


def _kernel(x, y):
    """k of all pairs, in the features' own dtype: its rounding is one of each pair, and vanishes in a mean in float64."""
    base = x @ y.T
    base /= x.shape[1]
    base += 1
    kernel = base * base
    kernel *= base  # a third of the time of `base**3`
    return kernel


def _mmd(x, y):
    """`polynomial_mmd` of arrays that can be compared."""
    others = [kernel.sum(dtype="float64") - np.trace(kernel, dtype="float64") for kernel in (_kernel(x, x), _kernel(y, y))]
    return float(sum(others) / (len(x) * (len(x) - 1)) - 2 * _kernel(x, y).mean(dtype="float64"))


def _mmds(x, y, in_x, in_y):
    """`polynomial_mmd` of many subsets, every pair of features computed once.

    Args:
        x, y: arrays `(n, dim)`, `(m, dim)`.
        in_x, in_y: arrays `(subsets, n)`, `(subsets, m)`. 1 for the members of a subset, 0 for others; as many of each side.
    """

    def sums(a, b, in_a, in_b, diagonal=True):
        kernel = _kernel(a, b)
        if not diagonal:
            np.fill_diagonal(kernel, 0)
        return np.sum(in_a @ kernel * in_b, axis=1)

    n = in_x.sum(axis=1)
    within = sums(x, x, in_x, in_x, diagonal=False) + sums(y, y, in_y, in_y, diagonal=False)
    return within / (n * (n - 1)) - 2 * sums(x, y, in_x, in_y) / n**2


class KernelDistance(StreamingDistance):
    """Kernel distance between real and generated images; unbiased, so the choice for few images.

    Keeps the features of all images, `4 n dim` bytes: subsets are drawn of them.

    Args:
        features: str or extractor, see `get`. Defaults to "fashion-cnn".
        subsets, subset_size, seed, normalise: see `kernel_distance`; with `normalise` the name is `KD_normalised[features]`,
            on any features.

    Example:

    >>> distance = keras_genzoo.metrics.KernelDistance(subset_size=500)
    >>> distance.update_real(images)
    >>> distance.update_generated(model.sample(500))
    >>> print(distance.name, distance.result())
    """

    symbol = "KD"

    def __init__(self, features="fashion-cnn", subsets=100, subset_size=1000, seed=2020, normalise=False):
        super().__init__(features)
        self.subsets = subsets
        self.subset_size = subset_size
        self.seed = seed
        self.normalise = normalise
        if normalise:
            self.symbol = "KD_normalised"

    def _statistics(self):
        return FeatureStore(self.features.dim)

    def result(self):
        """The distance of what has come so far, float; raises as `kernel_distance`."""
        real, generated = self._real.features, self._generated.features
        return kernel_distance(real, generated, self.subsets, self.subset_size, self.seed, self.normalise)
