"""Every score of a set of generated images against real ones, their features extracted once."""

from keras_genzoo.metrics.features import check_pair, extract, get
from keras_genzoo.metrics.frechet import GaussianStatistics, statistics_distance
from keras_genzoo.metrics.kernel import kernel_distance
from keras_genzoo.metrics.neighbours import density_coverage, nearest_neighbour_distances, precision_recall
from keras_genzoo.metrics.streams import FeatureStore


def sample_scores(real, generated, train=None, name="features", k_pr=3, k_dc=5, subsets=100, subset_size=1000, seed=2020):
    """Every score of generated features against real ones.

    Args:
        real, generated: arrays of features `(n, dim)`.
        train: array `(m, dim)`. Features of the training images, for the distance to the nearest of them. Defaults to none.
        name: str. What the scores are named for.
        k_pr, k_dc: ints. Neighbours for precision and recall, for density and coverage.
        subsets, subset_size, seed: see `kernel_distance`.

    Returns:
        dict: `FD[name]`, `KD[name]`, `precision`, `recall`, `k_pr`, `density`, `coverage`, `k_dc`, `n_real`,
        `n_generated`, `kd_subsets`, `kd_subset_size`, and with `train` the mean `nearest_train[name]` and `n_train`.

    Raises:
        ValueError: features that are not finite or not `(n, dim)`, no more than k on a side, real features all equal.
    """
    real, generated = check_pair(real, generated, least=max(k_pr, k_dc) + 1)
    gaussians = GaussianStatistics(real.shape[1]), GaussianStatistics(real.shape[1])
    for statistics, features in zip(gaussians, (real, generated), strict=True):
        statistics.update(features)
    precision, recall = precision_recall(real, generated, k_pr)
    density, coverage = density_coverage(real, generated, k_dc)
    scores = {
        f"FD[{name}]": statistics_distance(*gaussians, f"FD[{name}]"),
        f"KD[{name}]": kernel_distance(real, generated, subsets, subset_size, seed),
        "precision": precision,
        "recall": recall,
        "k_pr": k_pr,
        "density": density,
        "coverage": coverage,
        "k_dc": k_dc,
        "n_real": len(real),
        "n_generated": len(generated),
        "kd_subsets": subsets,
        "kd_subset_size": min(subset_size, len(real), len(generated)),
    }
    if train is not None:
        scores[f"nearest_train[{name}]"] = float(nearest_neighbour_distances(generated, train).mean())
        scores["n_train"] = len(train)
    return scores


class SampleMetrics:
    """`sample_scores` of images, against real images whose features are extracted once for all models.

    Scores that differ in features, hash, resize, the numbers of images or the split are never ranked together; all but the
    split are in the dict.

    Args:
        real_images: array `(n, height, width, channels)` or an iterable of batches. The images to compare with: the test
            split for a table, the validation split for a choice.
        train_images: array or iterable of batches. The images that models learned from, to see copies. Defaults to none.
        features: str or extractor, see `get`. Defaults to "fashion-cnn".
        **settings: `k_pr`, `k_dc`, `subsets`, `subset_size`, `seed` of `sample_scores`.

    Example:

    >>> metrics = keras_genzoo.metrics.SampleMetrics(test_images, train_images)
    >>> scores = metrics(model.sample(len(test_images), seed=0))
    >>> scores["FD[fashion-cnn]"], scores["coverage"]
    """

    def __init__(self, real_images, train_images=None, features="fashion-cnn", **settings):
        self.features = get(features)
        self.settings = settings
        self.real = self.extract(real_images, "real images")
        self.train = None if train_images is None else self.extract(train_images, "training images")

    def extract(self, images, what="images"):
        """All features of images, float32 `(n, dim)`."""
        store = FeatureStore(self.features.dim)
        for features in extract(self.features, images, what):
            store.update(features)
        return store.features

    def __call__(self, generated_images):
        """The dict of `sample_scores`, with `features`, `features_hash` and `resize`."""
        generated = self.extract(generated_images, "generated images")
        scores = sample_scores(self.real, generated, self.train, self.features.name, **self.settings)
        about = {"features": self.features.name, "features_hash": self.features.hash, "resize": self.features.resize}
        return scores | about
