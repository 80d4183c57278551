"""Every score that a model's members allow, of one set of test images."""

import inspect
import math
import os
import warnings

import numpy as np
import tensorflow as tf

from keras_genzoo import data as data_module
from keras_genzoo.core import randomness
from keras_genzoo.core.batches import check_vectors, class_numbers
from keras_genzoo.core.checks import whole_or_none
from keras_genzoo.core.images import check_images, to_unit
from keras_genzoo.core.randomness import RowStream
from keras_genzoo.metrics import (
    FrechetDistance,
    SampleMetrics,
    default_features,
    perceptual_distance,
    perceptual_path_length,
    reconstruction_scores,
    score_name,
    sharpness,
)

ACTIVE_VARIANCE = 0.01  # of a unit's mean over the data (Burda et al. 2016, section 5.2)
PERCEIVED = 500  # images, and paths between codes, at most, that are compared by a network's layers
DRAW = 0  # the seed by which some of the images are drawn: of one data set the same ones for all models


def evaluate(model, data, features=None, n=None, seed=0, train=None, batch_size=256, likelihood_images=1000):
    """Score a model on images it has not seen.

    Args:
        model: `GenerativeModel`. What it cannot do is left out of the scores.
        data: test images: array, pair `(images, labels)` or `(images, extras)`, or `tf.data.Dataset` of batches of these. Samples
            of a conditional model are of the labels and vectors of the test images, and so are its likelihoods and
            reconstructions. Without labels, samples are of uniform ones, and `sample_labels` in the scores says so; without
            vectors, of those of training images (`sample_conditions`). What the model cannot compute without is left out.
        features: str, extractor or None. What the distances look at (`metrics.get`). None is "fashion-cnn" for what
            `gz.data.load` gave of Fashion-MNIST, and else `metrics.default_features()`. Defaults to None.
        n: int or None. Number of test images, drawn from all, the same for every model and seed, and of samples; None is all.
        seed: int. Of the samples. Defaults to 0.
        train: array, dataset or None. Training images, to measure how near samples are to the nearest of them.
        batch_size: int. Images at a time. Defaults to 256.
        likelihood_images: int. Number of test images, drawn likewise, whose likelihood is computed. Defaults to 1,000.

    Returns:
        dict of numbers and of what they depend on:
            `mse`, `psnr`, `ssim`, `rFD[features]` (the Frechet distance of the reconstructions), `PD[features]` (the mean
                `metrics.perceptual_distance`) and `reconstruction_sharpness`: with `reconstruct`.
            `FD[features]`, `KD[features]`, `precision`, `recall`, `density`, `coverage`, `nearest_train[features]` and what
                `metrics.SampleMetrics` says beside them, and `sharpness`: with `sample`. Sharpness is the mean
                `metrics.sharpness` over that of the data. Of conditional models, and data with labels, also `intra_FD[features]`
                and `intra_KD[features]`, means over the classes that have enough images, and `class_FD[features]` and
                `class_KD[features]`, dicts by class.
            `path_length[features]`: `metrics.perceptual_path_length` between drawn latents; with `sample` and `decode`,
                of models that are told nothing.
            `log_prob`, in nats per image, `bits_per_dim`, and `n_likelihood`: with `log_prob`; a bound or an estimate has its
                name behind the number's, as `bits_per_dim[iw64]` or `bits_per_dim[ode]`.
            `class_bits_per_dim`, a dict by class: with `log_prob` by labels, which the data have.
            `log_prob_error`: the standard error of the estimated partition function, in nats, where `log_prob` has one; the
                estimate's name, as `log_prob[ais]`, tells it from a bound.
            `auroc[emoji32]`, `auroc[noise]`: how well the energy tells other images (`outsiders`) from the test images, the area
                under the ROC curve; with `energy`, of models of gray or colour images that are told no vectors. `chain_steps`,
                `chain_ess` and `chain_acceptance`: of the chains that `sample` runs, see the model's `chain_report`.
            `accuracy`, and the dict `class_accuracy` by class: the share of test images whose label the model finds; with
                `classify`, of data with labels.
            `active_units`: latent units whose posterior mean varies over the data by more than 0.01; with `posterior`.

    Raises:
        ValueError: images out of range or of another shape than the model's; more images asked for than there are.

    Example:

    >>> scores = gz.evaluate(model, images, features="fashion-cnn")
    >>> sorted(scores)[:2]
    ['FD[fashion-cnn]', 'IS[fashion-cnn]']
    """
    if not hasattr(model, "images_of"):
        fix = (
            f"load it by gz.load({model!r})"
            if isinstance(model, (str, os.PathLike))
            else "score what it made by gz.score_samples"
        )
        raise ValueError(
            f"model is a {type(model).__name__}, expected a GenerativeModel, as gz.build and gz.load give it; {fix}."
        )
    n = whole_or_none(2, n=n)
    images, told = _batch(data, "test images", n)
    labels = told.get("labels")
    if n is not None and n > len(images):
        raise ValueError(f"n is {n}, but there are {len(images)} test images; give n between 2 and that, or None for all.")
    features = default_features(data_module.name_of(data), images.shape[-1]) if features is None else features
    model.images_of(images[:1])
    given = told_for(model, told)
    scores, vectors = {}, getattr(model, "condition_dim", None) is not None
    if hasattr(model, "reconstruct") or hasattr(model, "sample"):
        train = None if train is None else _arrays(train, "training images")[0]
        measure = SampleMetrics(images, train, features=features, labels=labels)
        features = measure.features
    if hasattr(model, "reconstruct") and _knows(model, getattr(model, "encode", model.reconstruct), given):
        settings = taken_by(getattr(model, "encode", model.reconstruct), given)
        reconstructions = np.asarray(model.reconstruct(images, batch_size=batch_size, **settings))
        scores |= score_reconstructions(images, reconstructions, measure)
    if hasattr(model, "sample"):
        samples = model.sample(len(images), seed=seed, batch_size=batch_size, **given)
        scores |= measure(samples, given.get("labels")) | {"sample_seed": seed}
        if model.num_classes is not None:
            scores["sample_labels"] = "of the test images" if "labels" in given else "uniform"
        if vectors:
            scores["sample_conditions"] = "of the test images" if "conditions" in given else "of training images"
        scores["sharpness"] = relative_sharpness(samples, images)
        if hasattr(model, "decode") and model.num_classes is None and not vectors and hasattr(features, "activations"):
            paths = min(PERCEIVED, len(images))
            codes = np.asarray(model.draw_latents(2 * paths, RowStream(seed, 0)))
            generate = tf.function(model.generate, autograph=False)  # as models trace
            decode = lambda latents: _in_batches(generate, latents, batch_size)  # noqa: E731
            length = perceptual_path_length(decode, codes[:paths], codes[paths:], features, seed=seed)
            scores |= {score_name("path_length", features): length, "n_paths": paths}
    likely = hasattr(model, "log_prob") and (model.support != "binary" or _is_binary(images))
    if likely and _knows(model, model.log_prob, given):
        scores |= likelihood_scores(model, images, given, likelihood_images, seed, batch_size)
    if hasattr(model, "energy"):
        scores |= model.chain_report(seed=seed)
        if not vectors:
            scores |= _energy_scores(model, images, data_module.name_of(data), seed, batch_size)
    if hasattr(model, "classify") and "labels" in given and _knows(model, model.classify, given):
        scores |= _classification(model, images, labels, batch_size, taken_by(model.classify, given))
    if hasattr(model, "posterior") and _knows(model, model.posterior, given):
        means = np.asarray(model.posterior(images, batch_size=batch_size, **taken_by(model.posterior, given))[0])
        scores |= {"active_units": int(np.sum(means.var(axis=0) > ACTIVE_VARIANCE)), "latent_units": means.shape[1]}
    for name, value in scores.items():
        if isinstance(value, float) and not np.isfinite(value) and name not in ("psnr", "mode_kl"):
            warnings.warn(f"{name} is {value}; the model's output or its weights may not be finite.", stacklevel=2)
    return scores


def score_samples(samples, data, train=None, features=None, n=None, seed=DRAW):
    """Score images that anything made, as `evaluate` scores those of a model.

    Args:
        samples: array, pair `(images, labels)`, or `tf.data.Dataset` of batches of either: `uint8`, or floats in [0, 1],
            `(n, height, width, channels)`.
        data: real images that nothing was trained on, likewise, of the same size and number of channels.
        train: likewise, or None. Training images, to measure how near samples are to the nearest of them. Defaults to None.
        features: as in `evaluate`.
        n: int or None. Number of samples and of real images, drawn from all. None is as many as there are of both. Defaults to
            None.
        seed: int. Of the draws. Defaults to 0.

    Returns:
        dict: what `metrics.SampleMetrics` says, `sharpness`, and `draw_seed`. Distances within classes are there where both have
        labels.

    Raises:
        ValueError: images out of range, of other sizes, or fewer than n.

    Example:

    >>> scores = gz.score_samples(images, images[::-1], features="fashion-cnn")
    >>> scores["precision"], scores["recall"]
    (1.0, 1.0)
    """
    n, name = whole_or_none(2, n=n), data_module.name_of(data)
    found = {"samples": _arrays(samples, "samples", n, seed), "real images": _arrays(data, "real images", n, seed)}
    counts = {what: len(images) for what, (images, _) in found.items()}
    for what, count in counts.items():
        if n is not None and count < n:
            raise ValueError(
                f"n is {n}, but there are {count} {what}; give n up to {count}, or None for as many as there are of both."
            )
    n = min(counts.values())
    (made, made_labels), (images, labels) = (_drawn(n, *each, seed=seed) for each in found.values())
    train = None if train is None else _arrays(train, "training images")[0]
    for what, others in (("real images", images), ("training images", train)):
        if others is not None and others.shape[1:] != made.shape[1:]:
            sizes = ["x".join(map(str, each.shape[1:])) for each in (made, others)]
            raise ValueError(
                f"samples have {sizes[0]} pixels and channels and {what} {sizes[1]}; bring both to one size by image_size= and "
                f"channels= of gz.data.load (--image-size, --channels)."
            )
    measure = SampleMetrics(
        images, train, default_features(name, images.shape[-1]) if features is None else features, labels=labels
    )
    return measure(made, made_labels) | {"sharpness": relative_sharpness(made, images), "draw_seed": seed}


class SampleDistance:
    """The Frechet distance of a model's samples from validation images, for whoever watches a model while it trains.

    A distance that choices are made by is no longer a fair score there: tables take the test split.

    Args:
        images: array, pair `(images, labels)` or `(images, extras)`, or `tf.data.Dataset` of batches. Samples of a conditional
            model are of their labels and vectors, where they have any.
        features: str, extractor or None, see `metrics.get`; None is `metrics.default_features()` of the data. Defaults to None.
        n: int. Number of real images, drawn from all, the same every time, and of samples; of fewer images all. Distances compare
            at one n alone. Defaults to 2,000.
        seed: int. Of the samples, which are always of the same noise. Defaults to 0.

    Example:

    >>> distance = SampleDistance(images, "fashion-cnn")
    >>> distance(model) > 0  # the averaged weights, where the model has them
    True
    """

    def __init__(self, images, features=None, n=2000, seed=0):
        name = data_module.name_of(images)
        images, self.told = _batch(images, "real images", n)
        self.distance = FrechetDistance(default_features(name, images.shape[-1]) if features is None else features)
        self.distance.set_real(images)
        self.n, self.seed = self.distance.n_real, seed

    def __call__(self, model):
        """The distance; NaN where samples are not finite, and None where the model cannot sample yet."""
        if not hasattr(model, "sample"):
            return None
        samples = model.sample(self.n, seed=self.seed, **told_for(model, self.told))
        if not np.isfinite(samples).all():
            return math.nan
        self.distance.reset_generated()
        self.distance.update_generated(samples)
        return self.distance.result()


def outsiders(image_shape, n, seed=0, name=None):
    """Images of another kind than a data set's, to see whether a model tells them from it.

    Args:
        image_shape: `(height, width, channels)`.
        n: int. At most so many of each kind.
        seed: int. Of the noise. Defaults to 0.
        name: str or None. The data set's own name, which is left out. Defaults to None.

    Returns:
        dict from names to float32 images in [0, 1]: "noise", uniform, each number its own; and of 1 or 3 channels "emoji32",
        the test images of that data set, resized.
    """
    height, width, channels = image_shape
    found = {"noise": randomness.uniform(randomness.make_key(seed, 5), (n, *image_shape)).numpy()}
    if channels in (1, 3) and name != "emoji32":
        emoji = data_module.load("emoji32", "test", image_size=(height, width), channels=channels, shuffle=False)
        found["emoji32"] = to_unit(data_module.as_array(emoji, n, DRAW)).numpy()
    return found


def _energy_scores(model, images, name, seed, batch_size):
    from sklearn.metrics import roc_auc_score

    own = np.asarray(model.energy(images, batch_size=batch_size))
    scores = {}
    for kind, others in outsiders(model.image_shape, len(images), seed, name).items():
        energies = np.concatenate([own, model.energy(others, batch_size=batch_size)])
        known = np.isfinite(energies).all()
        scores[f"auroc[{kind}]"] = float(roc_auc_score(np.arange(len(energies)) >= len(own), energies)) if known else math.nan
    return scores


def likelihood_scores(model, images, given, n, seed=0, batch_size=256):
    """The scores of `evaluate` that are of likelihoods.

    Args:
        model: `GenerativeModel` with `log_prob`.
        images: test images.
        given: dict. `labels` and `conditions` of the images, of those that the model takes, see `told_for`.
        n: int. Number of images at most, drawn from all.
        seed: int. Of estimates. Defaults to 0.
        batch_size: int. Defaults to 256.
    """
    by_label = taken_by(model.log_prob, given)
    some, classes, *of_some = _drawn(n, images, by_label.get("labels"), *by_label.values())
    label, settings = f"[{model.log_prob_label}]" if model.log_prob_label else "", dict(zip(by_label, of_some, strict=True))
    scores = {}
    if hasattr(model, "log_partition"):  # once for all images
        settings["log_partition"], error = model.log_partition(seed=seed)
        scores[f"log_prob_error{label}"] = float(error)
    log_prob = np.asarray(model.log_prob(some, batch_size=batch_size, **settings))
    scores |= {f"log_prob{label}": float(log_prob.mean()), "n_likelihood": len(some)}
    if hasattr(model, "bits_per_dim"):
        bits = np.asarray(model.to_bits_per_dim(log_prob))
        scores[f"bits_per_dim{label}"] = float(bits.mean())
        if classes is not None:
            scores[f"class_bits_per_dim{label}"] = _by_class(bits, classes)
    return scores


def score_reconstructions(images, reconstructions, measure):
    """The scores of `evaluate` that compare images with their reconstructions.

    Args:
        images: test images.
        reconstructions: float array in [0, 1], likewise.
        measure: `metrics.SampleMetrics` of the images.
    """
    scores = reconstruction_scores(images, reconstructions) | measure.of_reconstructions(reconstructions)
    scores["reconstruction_sharpness"] = relative_sharpness(reconstructions, images)
    if hasattr(measure.features, "activations"):
        perceived = perceptual_distance(*_drawn(PERCEIVED, images, reconstructions), measure.features)
        scores |= {score_name("PD", measure.features): float(perceived.mean()), "n_perceptual": len(perceived)}
    return scores


def relative_sharpness(images, real):
    """The mean `metrics.sharpness` of images over that of real ones; not finite where these are flat."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(sharpness(images).mean() / sharpness(real).mean())


def told_for(model, told):
    """What a model is told of images, as keywords of its methods: their labels and vectors, those that it takes.

    Args:
        model: `GenerativeModel`.
        told: dict of `labels` and `conditions`, of those that there are.
    """
    found = {}
    if told.get("labels") is not None and model.num_classes is not None:
        labels = found["labels"] = told["labels"]
        if not np.isin(labels, np.arange(model.num_classes)).all():
            raise ValueError(
                f"the labels of the images lie between {labels.min()} and {labels.max()}, but the model has the classes 0 to "
                f"{model.num_classes - 1}; give the images alone, and samples are of uniform labels."
            )
    if told.get("conditions") is not None and getattr(model, "condition_dim", None) is not None:
        found["conditions"] = check_vectors(model, told["conditions"], "the conditions of the images")
    return found


def _knows(model, method, given):
    """Whether what a method has to be told is given; diffusion models that learned without labels need none, and likelihoods of
    others may be those of images of any class."""
    needs = {name for name in getattr(model, "data_needs", ()) if name in inspect.signature(method).parameters}
    missing, dropout = needs - set(given), getattr(model, "label_dropout", None)
    if dropout is not None:
        return not missing or (dropout > 0 and missing == needs)
    return missing <= ({"labels"} if method.__name__ == "log_prob" and hasattr(model, "over_classes") else set())


def _classification(model, images, labels, batch_size, settings):
    right = np.asarray(model.classify(images, batch_size=batch_size, **settings)).argmax(axis=1) == labels
    return {"accuracy": float(right.mean()), "class_accuracy": _by_class(right, labels)}


def _by_class(values, labels):
    """Means of numbers by class, dict."""
    return {int(label): float(values[labels == label].mean()) for label in np.unique(labels)}


def taken_by(method, given):
    """The keywords among those given that a method takes."""
    return {name: value for name, value in given.items() if name in inspect.signature(method).parameters}


def _arrays(data, what, n=None, seed=DRAW):
    """Images in memory, n at most, and their labels or None."""
    found = data_module.as_array(data, n, seed)
    images, labels = found if isinstance(found, tuple) else (np.asarray(found), None)
    check_images(images, what)
    return images, None if labels is None else class_numbers(np.asarray(labels), f"the labels of {what}")


def _batch(data, what, n=None, seed=DRAW):
    """Images in memory, n at most, and a dict of their labels and vectors, of those that there are."""
    found = data_module.as_batch(data, n, seed)
    images, told = found if isinstance(found, tuple) else (np.asarray(found), {})
    check_images(images, what)
    if "labels" in told:
        told["labels"] = class_numbers(np.asarray(told["labels"]), f"the labels of {what}")
    return images, told


def _drawn(n, *arrays, seed=DRAW):
    """Rows of arrays, n at most, the same ones of each; None stays None."""
    found = data_module.as_array(tuple(each for each in arrays if each is not None), n, seed)
    found = iter(found if isinstance(found, tuple) else (found,))
    return tuple(None if each is None else next(found) for each in arrays)


def _is_binary(images):
    return bool(np.isin(images, (0, images.max())).all())


def _in_batches(compiled, images, batch_size):
    """The compiled function of all images; the last batch is filled up so that there is one graph."""
    size = min(batch_size, len(images))
    results = []
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        padded = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
        results.append(np.asarray(compiled(tf.constant(padded)))[: len(batch)])
    return np.concatenate(results)
