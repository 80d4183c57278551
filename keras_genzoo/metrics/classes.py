"""Scores that look at images through the classes that a classifier or their labels put them in."""

import itertools
import warnings

import numpy as np

from keras_genzoo.metrics.features import check_features, check_pair
from keras_genzoo.metrics.frechet import GaussianStatistics, statistics_distance


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
    """How many classes generated images fall in, and how evenly (the Stacked-MNIST protocol of VEEGAN, arXiv:1705.07761).

        KL(q || p) = sum_y q(y) log(q(y) / p(y)),  q and p the shares of generated and of real images with largest logit y

    the reverse KL divergence, as PacGAN (arXiv:1712.04086) reports it too. On Stacked-MNIST, 1,000 classes, both draw 26,000
    images; fewer images find fewer classes, so the number that as many real images find stands beside it.

    Args:
        real_logits, generated_logits: arrays `(n, classes)`.

    Returns:
        dict: `modes` and `modes_real`, the numbers of classes with a generated and with a real image; `rarest_mode`, the smallest
        share of generated images among the classes of real ones, 0 where one is missing; and `mode_kl` in nats: 0 for equal
        shares, log(modes_real / modes) for even shares of some of them, infinite if a generated image falls in a class that no
        real one does.

    Raises:
        ValueError: logits that are not finite or not `(n, classes)`, no images on a side, other numbers of classes.

    Example:

    >>> keras_genzoo.metrics.mode_count(np.eye(4), np.eye(4)[:2])
    {'modes': 2, 'modes_real': 4, 'rarest_mode': 0.0, 'mode_kl': 0.693147...}
    """
    from scipy.stats import entropy

    real, generated = check_features(real_logits, "real logits"), check_features(generated_logits, "generated logits")
    if real.shape[1] != generated.shape[1] or not (len(real) and len(generated)):
        raise ValueError(
            f"real logits have shape {real.shape} and generated logits {generated.shape}, expected as many classes and at least "
            f"one image on each side."
        )
    real, generated = (np.bincount(logits.argmax(axis=1), minlength=logits.shape[1]) for logits in (real, generated))
    return {
        "modes": int(np.sum(generated > 0)),
        "modes_real": int(np.sum(real > 0)),
        "rarest_mode": float(generated[real > 0].min() / generated.sum()),
        "mode_kl": float(entropy(generated, real)),
    }


def per_class_frechet(real, real_labels, generated, generated_labels):
    """Frechet distance between the real and the generated features of each class.

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
        if (n := min(each.n for each in gaussians)) < dim:
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
