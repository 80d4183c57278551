"""The Frechet distance between two Gaussians fitted to features (Heusel et al. 2017, arXiv:1706.08500, eq. 6)."""

import warnings

import numpy as np
import tensorflow as tf

from keras_genzoo.core.cache import remembered
from keras_genzoo.core.images import check_images
from keras_genzoo.metrics.features import LARGEST, settings_of
from keras_genzoo.metrics.streams import StreamingDistance

ROUNDING = 1e-5  # of a covariance's largest value: what float32 leaves of symmetry and of eigenvalues of 0


def frechet_distance(mu1, sigma1, mu2, sigma2):
    """Squared Frechet (2-Wasserstein) distance of two Gaussians (Dowson and Landau 1982, eq. 4).

        |mu1 - mu2|^2 + tr(sigma1 + sigma2 - 2 (sigma1 sigma2)^(1/2))

    The trace of the root is the sum of the square roots of the eigenvalues of sigma1 sigma2. LAPACK has them, in float64, of
    the symmetric L' sigma2 L with sigma1 = L L', or where a covariance has no full rank of A sigma2 A with A = sigma1^(1/2).
    Negative ones, rounding errors all, count as 0: nothing is ever complex or NaN.

    Args:
        mu1, mu2: arrays `(dim,)`. Means.
        sigma1, sigma2: arrays `(dim, dim)`. Covariances.

    Returns:
        float, never negative, in squared units of the features.

    Raises:
        ValueError: the shapes do not fit together; a value is not finite or beyond 1e15, 1e30 of a covariance; a covariance is
            not symmetric, or has a negative eigenvalue, beyond rounding (1e-5 of its largest value).

    Example:

    >>> keras_genzoo.metrics.frechet_distance(np.zeros(2), np.eye(2), np.array([3.0, 4.0]), np.eye(2))
    25.0
    """
    mu1, mu2, sigma1, sigma2 = (np.asarray(each, "float64") for each in (mu1, mu2, sigma1, sigma2))
    dim = mu1.size
    if not (mu1.shape == mu2.shape == (dim,) and sigma1.shape == sigma2.shape == (dim, dim)):
        shapes = f"means {mu1.shape} and {mu2.shape}, covariances {sigma1.shape} and {sigma2.shape}"
        raise ValueError(f"{shapes} do not fit together: expected (dim,) twice and (dim, dim) twice.")
    for side, mean, covariance in (("first", mu1, sigma1), ("second", mu2, sigma2)):
        check_gaussian(mean, covariance, f"the {side}")
    return _distance(mu1, sigma1, mu2, sigma2)


def check_gaussian(mean, covariance, which):
    """Raise one sentence unless these are the mean and the covariance of a Gaussian, as float64.

    Args:
        mean: array `(dim,)`.
        covariance: array `(dim, dim)`.
        which: str. How the message calls the Gaussian, as "the first".
    """
    for what, values, largest in (("mean", mean, LARGEST), ("covariance", covariance, LARGEST**2)):
        if not np.isfinite(values).all():
            raise ValueError(f"{which} {what} holds NaN or infinite values; compute it anew, of finite features.")
        if (found := np.abs(values).max(initial=0)) > largest:
            raise ValueError(f"{which} {what} holds values up to {found:.3g}, expected at most {largest:g}; scale the features.")
    tolerance = ROUNDING * np.abs(covariance).max(initial=0)
    if (off := np.abs(covariance - covariance.T).max(initial=0)) > tolerance:
        raise ValueError(
            f"{which} covariance is not symmetric: two mirrored values differ by {off:.3g}; take the covariance of features, as "
            f"np.cov(features, rowvar=False) gives it."
        )
    if (least := np.linalg.eigvalsh(covariance)[0]) < -tolerance:
        raise ValueError(
            f"{which} covariance has the negative eigenvalue {least:.3g}, which no covariance has; take that of features, as "
            f"np.cov(features, rowvar=False) gives it."
        )


def _distance(mu1, sigma1, mu2, sigma2):
    distance = np.sum((mu1 - mu2) ** 2) + np.trace(sigma1) + np.trace(sigma2)
    distance -= 2 * np.sqrt(_eigenvalues_of_product(sigma1, sigma2).clip(min=0)).sum()
    return max(float(distance), 0.0)


def _eigenvalues_of_product(sigma1, sigma2):
    """Eigenvalues of the product of two symmetric positive semidefinite matrices."""
    import scipy.linalg
    from threadpoolctl import threadpool_limits

    # Threads of small matrices wait for each other, and long where TensorFlow's take the cores meanwhile.
    with threadpool_limits(1 if len(sigma1) <= SMALL else None):
        try:
            return scipy.linalg.eigh(sigma2, sigma1, type=2, eigvals_only=True, check_finite=False)
        except scipy.linalg.LinAlgError:  # sigma1 has no full rank, so no Cholesky factor
            values, vectors = np.linalg.eigh(sigma1)
            root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
            return np.linalg.eigvalsh(root @ sigma2 @ root)


SMALL = 512  # features: one thread takes 0.03 s for these, two take 0.02 s where nothing else runs
RESAMPLES = 20  # a deviation of so few is known to 16 %
MOST_BOOTSTRAPPED = 256  # features: of 10,000 images and 128 features it takes 0.6 s on one core, and four times that here


def bootstrap_deviation(real, generated, resamples=RESAMPLES, seed=0):
    """Standard deviation of the logarithm of the Frechet distance over draws of the images (Efron 1979, the bootstrap).

    Both sets are resampled with replacement. The result tells how far the distance of one trained model would move with other
    images of the same number; it knows nothing of another training. Where the distance is about that of equal distributions,
    resampling inflates it, and the deviation comes out too small.

    Args:
        real, generated: arrays of features `(n, dim)`.
        resamples: int. Defaults to 20.
        seed: int. Of the resampling. Defaults to 0.

    Returns:
        float, or None with more than 256 features, for which it takes too long, or with no more images than features.

    Example:

    >>> random = np.random.default_rng(0)
    >>> deviation = gz.metrics.bootstrap_deviation(random.normal(size=(500, 3)), 1 + random.normal(size=(500, 3)))
    >>> 0.02 < deviation < 0.12
    True
    """
    n, dim = min(len(real), len(generated)), real.shape[1]
    if dim > MOST_BOOTSTRAPPED or n <= dim:
        return None
    from threadpoolctl import threadpool_limits

    random, logs = np.random.default_rng(seed), []
    # Distances do not change with a common shift; without it sums of squares keep their digits.
    shift = real.mean(axis=0, dtype=np.float64)
    sides = [(np.asarray(each, np.float64) - shift) for each in (real, generated)]
    with threadpool_limits(1):  # as in `_eigenvalues_of_product`
        for _ in range(resamples):
            moments = []
            for side in sides:
                counts = np.bincount(random.integers(0, len(side), len(side)), minlength=len(side))
                mean = counts @ side / len(side)
                drawn = side * np.sqrt(counts)[:, None]
                scatter = drawn.T @ drawn - len(side) * np.outer(mean, mean)
                moments += [mean, scatter / (len(side) - 1)]
            logs.append(np.log(max(frechet_distance(*moments), 1e-12)))
    return float(np.std(logs, ddof=1))


class GaussianStatistics:
    """Mean and covariance of a stream of features, in float64 and in memory that does not grow with it.

    Batches are merged on TensorFlow's device by the update of Chan, Golub and LeVeque (1979), stable where a sum of squares
    cancels; the covariance is the unbiased one (ddof 1), the same as `np.cov` of all features at once.

    Args:
        dim: int. Length of a feature vector.
    """

    def __init__(self, dim):
        self.dim, self.n = dim, 0
        self._mean = np.zeros(dim)
        self._scatter = np.zeros((dim, dim))  # sum of (x - mean)(x - mean)^T

    def update(self, features):
        """Take in features `(n, dim)`."""
        if not (n := len(features)):
            return
        # On a CPU NumPy's product of a matrix with its own transpose takes half the work of TensorFlow's.
        numpy = tf.experimental.numpy if tf.config.get_visible_devices("GPU") else np
        features = numpy.asarray(features, np.float64)
        mean = numpy.mean(features, axis=0)
        centred = features - mean
        shift = mean - self._mean
        gram = numpy.matmul(numpy.transpose(centred), centred)
        self._scatter = self._scatter + gram + numpy.outer(shift, shift) * (self.n * n / (self.n + n))
        self._mean = self._mean + shift * (n / (self.n + n))
        self.n += n

    @property
    def mean(self):
        return np.asarray(self._mean)

    @property
    def covariance(self):
        return np.asarray(self._scatter) / (self.n - 1)

    def arrays(self):
        """All that is known, as a dict of arrays."""
        return {"n": np.array(self.n), "mean": self.mean, "scatter": np.asarray(self._scatter)}

    @classmethod
    def from_arrays(cls, arrays):
        """The statistics that `arrays()` described."""
        statistics = cls(len(arrays["mean"]))
        statistics.n = int(arrays["n"])
        statistics._mean, statistics._scatter = arrays["mean"], arrays["scatter"]
        return statistics


class FrechetDistance(StreamingDistance):
    """Frechet distance between real and generated images, from streams of any length.

    Lower is better; what a number means depends on the features, on both numbers of images (few images inflate it) and on
    the split, so it is read beside the distance of real training images from the same real images. Only on the features of
    the Inception network of 2015 (`features="inception"`) is it known, and named, as FID.

    Args:
        features: str or extractor, see `get`. Defaults to "fashion-cnn".

    Example:

    >>> distance = keras_genzoo.metrics.FrechetDistance()
    >>> distance.update_real(images)                # an array, or batches
    >>> distance.update_generated(model.sample(1000))
    >>> print(distance.name, distance.result())
    >>> distance.reset_generated()                  # the real statistics stay
    """

    symbol = "FD"

    def _statistics(self):
        return GaussianStatistics(self.features.dim)

    def set_real(self, images):
        """Take these images, an array, for all the real ones; their statistics come from disk if they were known before."""

        def compute():
            self._real = self._statistics()
            self.update_real(images)
            return self._real.arrays()

        check_images(images, "real images")
        self._real = GaussianStatistics.from_arrays(remembered("gaussian", images, settings_of(self.features), compute))

    def result(self):
        """The distance of what has come so far, float.

        Raises:
            ValueError: fewer than two images on a side, or real features that do not vary.

        Warns:
            UserWarning: fewer images than features.
        """
        return statistics_distance(self._real, self._generated, self.name)


def enough(n, dim):
    """Whether n images have a covariance of full rank in `dim` features: with fewer, a Frechet distance ranks nothing.

    Example:

    >>> keras_genzoo.metrics.enough(375, 1280)  # compare by the kernel distance instead
    False
    """
    return n >= dim


def statistics_distance(real, generated, name):
    """`frechet_distance` of two `GaussianStatistics`, with what `FrechetDistance.result` raises and warns."""
    for what, n in (("real", real.n), ("generated", generated.n)):
        if n < 2:
            raise ValueError(f"{name} needs at least two {what} images, {n} came.")
    if not real.covariance.trace() > 0:
        raise ValueError(f"{name}: the features of all {real.n} real images are equal, so no distance can be told by them.")
    if not enough(n := min(real.n, generated.n), dim := real.dim):
        warnings.warn(
            f"{name} from {n} images and {dim} features is biased upwards: the covariance has no full rank. Take more "
            f"images, or the kernel distance, which has no such bias.",
            stacklevel=3,
        )
    return _distance(real.mean, real.covariance, generated.mean, generated.covariance)  # covariances by how they were made
