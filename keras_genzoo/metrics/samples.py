"""Every score of a set of generated images against real ones, their features extracted once."""

import types

import numpy as np

from keras_genzoo.core.cache import digest, remembered
from keras_genzoo.core.images import check_images
from keras_genzoo.metrics.classes import class_count, inception_score, mode_count, nearest_classes, within_classes
from keras_genzoo.metrics.extractors import get
from keras_genzoo.metrics.extrapolation import POINTS, frechet_infinity
from keras_genzoo.metrics.features import check_pair, extract, score_name, settings_of
from keras_genzoo.metrics.frechet import GaussianStatistics, bootstrap_deviation, statistics_distance
from keras_genzoo.metrics.kernel import kernel_distance, kernel_interval
from keras_genzoo.metrics.memorisation import Memorisation
from keras_genzoo.metrics.neighbours import nearest, neighbour_scores
from keras_genzoo.metrics.streams import FeatureStore

BLOCKS = 10  # of the kernel distance's interval


def sample_scores(
    real,
    generated,
    train=None,
    features="features",
    k_pr=3,
    k_dc=5,
    subsets=100,
    subset_size=1000,
    seed=2020,
    normalise=False,
    labels=None,
):
    """Every score of generated features against real ones.

    Args:
        real, generated: arrays of features `(n, dim)`.
        train: array `(m, dim)`, or a `Memorisation` of it. Features of the training images, for the scores of memorisation.
            Defaults to none.
        features: str or extractor. What the scores are named for; an extractor with `logits` adds the scores of classes.
        k_pr, k_dc: ints. Neighbours for precision and recall, for density and coverage.
        subsets, subset_size, seed, normalise: see `kernel_distance`.
        labels: pair of int arrays `(n,)`, of the real and of the generated images, or None in place of the latter. Defaults to
            none.

    Returns:
        dict. With X standing for the name of the features, and FID, KID, IS for Inception's:
            `FD[X]`, and with 30 generated images, at least four times as many as features, `FD_inf[X]` and `fd_inf_r2`: the
            distance, its extrapolation and how well a line fits that.
            `fd_bootstrap`: the standard deviation of the distance's logarithm over draws of images (`bootstrap_deviation`).
            `KD[X]` (`KD_normalised[X]`), `kd_subsets`, `kd_subset_size`, and with 20 images `kd_low`, `kd_high`: the distance
            and the 95 % interval of its mean over disjoint blocks.
            `precision`, `recall`, `k_pr`, `density`, `coverage`, `k_dc`, `n_real`, `n_generated`.
            `features_dim`: the number of features. With fewer images than that `FD[X]` ranks nothing (`enough`), `KD[X]` does.
            `modes`, `modes_real`, `modes_foreign`, `rarest_mode`, `mode_kl`, see `class_count`, and `classes`, which they are:
            with logits or `labels`. They are the labels ("labels"), by which a generated image has the class of the real image
            nearest to it, or those of the classifier ("10 of fashion-cnn"): of images without labels, and where it puts more
            than half of the real images into the class of their label.
            `IS[X]`, `is_std`: with logits and 10 images.
            `nearest_train[X]`, `train_ratio`, `authenticity`, `data_copying`, `n_train`: with `train`.
            `class_FD[X]`, `class_KD[X]`, dicts by class (`within_classes`), and their means `intra_FD[X]`, `intra_KD[X]`: with
            `labels` of both sides.

    Raises:
        ValueError: features that are not finite or not `(n, dim)`, no more than k on a side, real features all equal.
    """
    if isinstance(features, str):
        features = types.SimpleNamespace(name=features)
    name = lambda symbol: score_name(symbol, features)  # noqa: E731
    check_pair(real, generated, least=max(k_pr, k_dc) + 1)
    gaussians = GaussianStatistics(real.shape[1]), GaussianStatistics(real.shape[1])
    for statistics, each in zip(gaussians, (real, generated), strict=True):
        statistics.update(each)
    distance = statistics_distance(*gaussians, name("FD"))
    precision, recall, density, coverage = neighbour_scores(real, generated, k_pr, k_dc)
    kd = name("KD_normalised" if normalise else "KD")
    scores = {
        name("FD"): distance,
        kd: kernel_distance(real, generated, subsets, subset_size, seed, normalise),
        "precision": precision,
        "recall": recall,
        "k_pr": k_pr,
        "density": density,
        "coverage": coverage,
        "k_dc": k_dc,
        "n_real": len(real),
        "n_generated": len(generated),
        "features_dim": real.shape[1],
        "kd_subsets": subsets,
        "kd_subset_size": min(subset_size, len(real), len(generated)),
    }
    deviation = bootstrap_deviation(real, generated)
    scores |= {} if deviation is None else {"fd_bootstrap": deviation}
    n = min(len(real), len(generated))
    if n >= 2 * BLOCKS:
        _, scores["kd_low"], scores["kd_high"] = kernel_interval(real, generated, BLOCKS, normalise=normalise)
    if len(generated) >= max(4 * generated.shape[1], 2 * POINTS) and len(real) >= real.shape[1]:  # else biased, see there
        infinity = frechet_infinity(gaussians[0], generated)
        scores |= {name("FD_inf"): infinity.intercept, "fd_inf_r2": infinity.r_squared}
    logits = getattr(features, "logits", None)
    if logits is not None and len(generated) >= 10:  # the parts of the score
        scores[name("IS")], scores["is_std"] = inception_score(logits(generated))
    scores |= _classes(real, generated, features.name, logits, labels and labels[0])
    if train is not None:
        memory = train if isinstance(train, Memorisation) else Memorisation(real, train)
        found = memory(generated)
        scores |= {name("nearest_train") if key == "nearest_train" else key: value for key, value in found.items()}
        scores["n_train"] = len(memory.train)
    if labels is not None and labels[1] is not None:
        settings = {"subsets": subsets, "subset_size": subset_size, "seed": seed, "normalise": normalise}
        for symbol, found in within_classes(real, labels[0], generated, labels[1], settings).items():
            symbol = "KD_normalised" if symbol == "KD" and normalise else symbol
            scores |= {name(f"class_{symbol}"): found, name(f"intra_{symbol}"): float(np.mean(list(found.values())))}
    return scores


def _classes(real, generated, name, logits, labels):
    """How generated images spread over the classes of the data, see `sample_scores`."""
    if logits is not None:
        by_logits = logits(real), logits(generated)
        if labels is None or np.mean(by_logits[0].argmax(axis=1) == labels) > 0.5:
            return mode_count(*by_logits) | {"classes": f"{by_logits[0].shape[1]} of {name}"}
    if labels is None:
        return {}
    return class_count(labels, nearest_classes(generated, real, labels)) | {"classes": "labels"}


class SampleMetrics:
    """`sample_scores` of images, against real images whose features are extracted once for all models, and kept on disk.

    Scores that differ in features, hash, resize, the numbers of images or the split are never ranked together; all but the
    split are in the dict.

    Args:
        real_images: array `(n, height, width, channels)` or an iterable of batches. The images to compare with: the test
            split for a table, the validation split for a choice.
        train_images: array or iterable of batches. The images that models learned from, to see copies. Defaults to none.
        features: str or extractor, see `get`. Defaults to "fashion-cnn".
        labels: int array `(n,)`, of the real images, for the classes met and distances in each class. Defaults to none.
        **settings: `k_pr`, `k_dc`, `subsets`, `subset_size`, `seed`, `normalise` of `sample_scores`.

    Example:

    >>> metrics = keras_genzoo.metrics.SampleMetrics(test_images, train_images)
    >>> scores = metrics(model.sample(len(test_images), seed=0))
    >>> scores["FD[fashion-cnn]"], scores["coverage"]
    """

    def __init__(self, real_images, train_images=None, features="fashion-cnn", labels=None, **settings):
        self.features = get(features)
        self.settings = settings
        self.real = self.extract(real_images, "real images", keep=True)
        self.labels = None if labels is None else np.asarray(labels)
        if labels is not None and self.labels.shape != (n := len(self.real),):
            raise ValueError(f"labels have shape {self.labels.shape}, but there are {n} real images; give one label for each.")
        train = None if train_images is None else self.extract(train_images, "training images", keep=True)
        self.memory = (
            None if train is None else Memorisation(self.real, train, remember=self._remember(real_images, train_images))
        )

    def extract(self, images, what="images", keep=False):
        """All features of images, float32 `(n, dim)`; with `keep`, those of an array come from disk if they were known."""
        return _features(self.features, images, what, keep)

    def _remember(self, real_images, train_images):
        """What keeps on disk how training and real images lie to each other, where both are arrays."""
        if not (hasattr(real_images, "shape") and hasattr(train_images, "shape") and settings_of(self.features)):
            return lambda compute: compute()
        settings = {**settings_of(self.features), "held_out": digest([np.asarray(real_images)])}
        return lambda compute: remembered("memorisation", np.asarray(train_images), settings, compute)

    def __call__(self, generated_images, labels=None):
        """The dict of `sample_scores`, with `features`, `features_hash` and `resize`.

        Args:
            generated_images: array or iterable of batches.
            labels: int array `(n,)`, of the generated images, for distances in each class. Defaults to none.
        """
        generated = self.extract(generated_images, "generated images")
        both = None if self.labels is None else (self.labels, labels)
        scores = sample_scores(self.real, generated, self.memory, self.features, labels=both, **self.settings)
        return scores | self._about

    def of_reconstructions(self, reconstructions):
        """The Frechet distance of reconstructions from the real images, as `rFD[...]`, with what it depends on."""
        features = self.extract(reconstructions, "reconstructions")
        sides = GaussianStatistics(self.features.dim), GaussianStatistics(self.features.dim)
        for statistics, each in zip(sides, (self.real, features), strict=True):
            statistics.update(each)
        name = score_name("rFD", self.features)
        distance = statistics_distance(*sides, name)
        return {name: distance, "n_real": len(self.real), "features_dim": self.features.dim} | self._about

    @property
    def _about(self):
        return {"features": self.features.name, "features_hash": self.features.hash, "resize": self.features.resize}


def nearest_images(images, train, features="fashion-cnn", k=1):
    """The training images that are nearest to images, in features.

    Args:
        images: `uint8`, or floats in [0, 1], `(n, height, width, channels)`.
        train: likewise, `(m, height, width, channels)`.
        features: str or extractor, see `get`. Defaults to "fashion-cnn".
        k: int. Defaults to 1.

    Returns:
        float64 array of Euclidean distances `(n, k)`, nearest first, and the places among the training images, an int array
        `(n, k)`.

    Raises:
        ValueError: by `check_images`.

    Example:

    >>> keras_genzoo.metrics.nearest_images(images[:2], images)[1].tolist()
    [[0], [1]]
    """
    features = get(features)
    found, there = _features(features, images, "images"), _features(features, train, "training images", keep=True)
    return nearest(found, there, k)


def _features(features, images, what, keep=False):
    """All features of images, see `SampleMetrics.extract`."""

    def compute():
        store = FeatureStore(features.dim)
        for some in extract(features, images, what):
            store.update(some)
        return {"features": store.features}

    if not (keep and hasattr(images, "shape")):
        return compute()["features"]
    check_images(images, what)
    return remembered("features", np.asarray(images), settings_of(features), compute)["features"]
