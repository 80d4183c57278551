"""Scores that look at images through the classes that a classifier or their labels put them in."""

import itertools
import warnings

import numpy as np

from keras_genzoo.metrics.features import check_features, check_pair
from keras_genzoo.metrics.frechet import GaussianStatistics, enough, statistics_distance
from keras_genzoo.metrics.kernel import kernel_distance
from keras_genzoo.metrics.neighbours import nearest

LEAST = 20  # images of a class on a side, below which its kernel distance is noise


def inception_score(logits, splits=10, seed=2020):
    """How sure a classifier is of each image and how unsure of all together (Salimans et al. 2016, arXiv:1606.03498).

        exp mean_x KL(p(y | x) || p(y)),  p(y) = mean_x p(y | x)

    over the images of each of several disjoint parts. It compares nothing with real images, and says nothing where the
    classes of the classifier are not those of the data: known for the network of 2015 on images like ImageNet's (the CIFAR-10
    training images score 11.24), and meaningless for faces and digits there.

    Args:
        logits: array `(n, classes)`. Of generated images.
        splits: int. Parts. Defaults to 10.
        seed: int. The images are shuffled as torch-fidelity does, whose default is 2020 too.

    Returns:
        Two floats, mean and standard deviation of the parts' scores: the mean between 1 and the number of classes.

    Raises:
        ValueError: logits that are not finite or not `(n, classes)`, or fewer images than parts.

    Example:

    >>> sure_of_ten_classes = 100 * np.tile(np.eye(10), (10, 1))
    >>> mean, spread = keras_genzoo.metrics.inception_score(sure_of_ten_classes, splits=1)
    >>> round(mean, 6), round(spread, 6)
    (10.0, 0.0)
    """
    from scipy.special import softmax
    from scipy.stats import entropy

    logits = check_features(logits, "logits")
    if not 1 <= splits <= len(logits):
        raise ValueError(f"{splits} parts of {len(logits)} images came, expected at least 1 part of at least 1.")
    order = np.random.RandomState(seed).permutation(len(logits))  # the legacy stream, which NumPy promises to keep
    probabilities = softmax(logits[order].astype("float64"), axis=1)
    bounds = np.arange(splits + 1) * len(logits) // splits
    scores = []
    for start, end in itertools.pairwise(bounds):
        part = probabilities[start:end]
        scores.append(np.exp(entropy(part, part.mean(axis=0, keepdims=True), axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def mode_count(real_logits, generated_logits):
    """How many of the data's classes generated images fall in, and how evenly (the Stacked-MNIST protocol of VEEGAN,
    arXiv:1705.07761), by a classifier: `class_count` of the largest logits.

    Args:
        real_logits, generated_logits: arrays `(n, classes)`.

    Returns:
        dict, see `class_count`. With far more classes than kinds of images (1,000 of ImageNet for faces) it tells how samples
        spread over what the classifier takes the data for, and no more.

    Raises:
        ValueError: logits that are not finite or not `(n, classes)`, no images on a side, other numbers of classes.

    Example:

    >>> keras_genzoo.metrics.mode_count(np.eye(4), np.eye(4)[:2])
    {'modes': 2, 'modes_real': 4, 'modes_foreign': 0.0, 'rarest_mode': 0.0, 'mode_kl': 0.693147...}
    """
    real, generated = check_features(real_logits, "real logits"), check_features(generated_logits, "generated logits")
    if real.shape[1] != generated.shape[1] or not (len(real) and len(generated)):
        raise ValueError(
            f"real logits have shape {real.shape} and generated logits {generated.shape}, expected as many classes and at least "
            f"one image on each side."
        )
    return class_count(real.argmax(axis=1), generated.argmax(axis=1))


def class_count(real_classes, generated_classes):
    """How many of the data's classes generated images fall in, and how evenly.

        KL(q || p) = sum_y q(y) log(q(y) / p(y)),  q and p the shares of generated and of real images in class y

    the reverse KL divergence of PacGAN (arXiv:1712.04086). Fewer images find fewer classes, so the number that as many real
    images find stands beside it.

    Args:
        real_classes, generated_classes: int arrays `(n,)`.

    Returns:
        dict: `modes_real`, the number of classes with a real image; `modes`, how many of these have a generated one;
        `modes_foreign`, the share of generated images in classes that the data lack; `rarest_mode`, the smallest share of
        generated images among the classes of real ones, 0 where one is missing; and `mode_kl` in nats: 0 for equal shares,
        log(modes_real / modes) for even shares of some of them, infinite if `modes_foreign` is not 0.

    Raises:
        ValueError: no images on a side, or classes that are not whole numbers `(n,)`.

    Example:

    >>> keras_genzoo.metrics.class_count(np.array([3, 3, 7, 7]), np.array([3, 3, 5, 3]))
    {'modes': 1, 'modes_real': 2, 'modes_foreign': 0.25, 'rarest_mode': 0.0, 'mode_kl': inf}
    """
    from scipy.stats import entropy

    sides = [np.asarray(each) for each in (real_classes, generated_classes)]
    if not all(each.ndim == 1 and len(each) and each.dtype.kind in "iu" for each in sides):
        came = " and ".join(f"{each.dtype} {each.shape}" for each in sides)
        raise ValueError(f"classes are {came}, expected a whole number for each image, and at least one image on each side.")
    _, classes = np.unique(np.concatenate(sides), return_inverse=True)
    real, generated = (np.bincount(each, minlength=classes.max() + 1) for each in np.split(classes, [len(sides[0])]))
    of_data = real > 0
    return {
        "modes": int(np.sum(generated[of_data] > 0)),
        "modes_real": int(np.sum(of_data)),
        "modes_foreign": float(generated[~of_data].sum() / generated.sum()),
        "rarest_mode": float(generated[of_data].min() / generated.sum()),
        "mode_kl": float(entropy(generated, real)),
    }


def nearest_classes(features, real, labels):
    """The class of each image by the real image nearest to it: for classes that no classifier knows.

    Args:
        features: array `(n, dim)`.
        real: array of features `(m, dim)`.
        labels: int array `(m,)`, of the real images.

    Returns:
        int array `(n,)`.
    """
    return np.asarray(labels)[nearest(*check_pair(features, real, least=1))[1][:, 0]]


def per_class_frechet(real, real_labels, generated, generated_labels):
    """Frechet distance between the real and the generated features of each class; their mean is known as the intra-class distance
    (intra FID: Miyato and Koyama 2018, arXiv:1802.05637).

    It shows which class a conditional model draws badly, and a label that it does not obey. A class has few images: each
    distance is biased upwards by that, so it is read beside the same of real training images.

    Args:
        real, generated: arrays of features `(n, dim)`.
        real_labels, generated_labels: arrays `(n,)`.

    Returns:
        dict: label to float, in the order of the labels.

    Raises:
        ValueError: features that are not finite or not `(n, dim)`, labels of another number, or a class with fewer than two
            images on a side or real features that do not vary, which it names.

    Warns:
        UserWarning: a class has fewer images than features.

    Example:

    >>> features, labels = np.random.default_rng(0).normal(size=(100, 4)), np.arange(100) % 2
    >>> distances = keras_genzoo.metrics.per_class_frechet(features, labels, features + 1, labels)
    >>> {label: round(distance, 6) for label, distance in distances.items()}  # 4 features, each off by 1
    {0: 4.0, 1: 4.0}
    """
    real, generated = check_pair(real, generated)
    real_labels, generated_labels = np.asarray(real_labels), np.asarray(generated_labels)
    for what, features, labels in (("real", real, real_labels), ("generated", generated, generated_labels)):
        if labels.shape != (len(features),):
            raise ValueError(f"{what} labels have shape {labels.shape} for {len(features)} images, expected ({len(features)},).")
    dim, few, distances = real.shape[1], [], {}
    for label in np.union1d(real_labels, generated_labels):
        gaussians = GaussianStatistics(dim), GaussianStatistics(dim)
        gaussians[0].update(real[real_labels == label])
        gaussians[1].update(generated[generated_labels == label])
        if not enough(n := min(each.n for each in gaussians), dim):
            few.append((label, n))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of this class, when one warning for all of them will do
            distances[label.item()] = statistics_distance(*gaussians, f"the Frechet distance of class {label}")
    if few:
        label, n = few[0]
        others = f", as those of {len(few) - 1} more classes are" if len(few) > 1 else ""
        warnings.warn(
            f"the Frechet distance of class {label} from {n} images and {dim} features is biased upwards{others}: take more "
            f"images of each class.",
            stacklevel=2,
        )
    return distances


def within_classes(real, real_labels, generated, generated_labels, settings=None):
    """Distances within each class that has enough images of both kinds, for samples of the labels of the real images.

    Args:
        real, generated: arrays of features `(n, dim)`.
        real_labels, generated_labels: int arrays `(n,)`.
        settings: dict or None. Of `kernel_distance`.

    Returns:
        dict of dicts by class, in order: `FD`, of classes with at least as many images as features on both sides, and `KD`, of
        those with at least 20 on both; either is left out where there is no such class.

    Example:

    >>> features, labels = np.random.default_rng(0).normal(size=(100, 30)), np.arange(100) % 2
    >>> found = keras_genzoo.metrics.within_classes(features, labels, features + 1, labels)
    >>> {name: list(each) for name, each in found.items()}
    {'FD': [0, 1], 'KD': [0, 1]}
    """
    sides = (np.asarray(real), np.asarray(real_labels)), (np.asarray(generated), np.asarray(generated_labels))
    for what, (features, labels) in zip(("real", "generated"), sides, strict=True):
        if labels.shape != (len(features),):
            raise ValueError(f"{what} labels have shape {labels.shape} for {len(features)} images, expected ({len(features)},).")
    distances, dim = {"FD": {}, "KD": {}}, np.shape(real)[1]
    for label in np.intersect1d(real_labels, generated_labels).tolist():
        pair = [features[labels == label] for features, labels in sides]
        if (n := min(map(len, pair))) >= LEAST:
            distances["KD"][label] = kernel_distance(*pair, **(settings or {}))
        if enough(n, dim) and n > 1 and np.ptp(pair[0], axis=0).any():
            distances["FD"] |= per_class_frechet(pair[0], np.full(len(pair[0]), label), pair[1], np.full(len(pair[1]), label))
    return {name: found for name, found in distances.items() if found}
