"""Every score that a model's members allow, of one set of test images."""

import math
import warnings

import numpy as np
import tensorflow as tf

from keras_genzoo import data as data_module
from keras_genzoo.core import randomness
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
PERCEIVED = 1000  # images, and paths between codes, at most, that are compared by a network's layers


def evaluate(model, data, features=None, n=None, seed=0, train=None, batch_size=256, likelihood_images=1000):
    """Score a model on images it has not seen.

    Args:
        model: `GenerativeModel`. What it cannot do is left out of the scores.
        data: test images: array, or `tf.data.Dataset` of batches.
        features: str, extractor or None. What the distances look at (`metrics.get`). None is "fashion-cnn" for what
            `gz.data.load` gave of Fashion-MNIST, and else `metrics.default_features()`. Defaults to None.
        n: int or None. Number of test images, the first ones, and of samples, always the same; None is all test images.
        seed: int. Of the samples. Defaults to 0.
        train: array, dataset or None. Training images, to measure how near samples are to the nearest of them.
        batch_size: int. Images at a time. Defaults to 256.
        likelihood_images: int. Number of test images, the first ones, whose likelihood is computed. Defaults to 1,000.

    Returns:
        dict of numbers and of what they depend on:
            `mse`, `psnr`, `ssim`, `rFD[features]` (the Frechet distance of the reconstructions), `PD[features]` (the mean
            `metrics.perceptual_distance`) and `reconstruction_sharpness`: with `reconstruct`.
            `FD[features]`, `KD[features]`, `precision`, `recall`, `density`, `coverage`, `nearest_train[features]` and what
            `metrics.SampleMetrics` says beside them, and `sharpness`: with `sample`. Sharpness is the mean
            `metrics.sharpness` over that of the data.
            `path_length[features]`: `metrics.perceptual_path_length` between drawn latents; with `sample` and `decode`,
            of models without classes.
            `log_prob`, in nats per image, `bits_per_dim`, and `n_likelihood`: with `log_prob`; a bound has its name behind
            the number's, as `bits_per_dim[iw64]`.
            `log_prob_error`: the standard error of the estimated partition function, in nats, where `log_prob` has one; the
            estimate's name, as `log_prob[ais]`, tells it from a bound.
            `auroc[emoji32]`, `auroc[noise]`: how well the energy tells other images (`outsiders`) from the test images, the area
            under the ROC curve; with `energy`, of models of gray or colour images. `chain_steps`, `chain_ess` and
            `chain_acceptance`: of the chains that `sample` runs, see the model's `chain_report`.
            `active_units`: latent units whose posterior mean varies over the data by more than 0.01; with `posterior`.

    Raises:
        ValueError: images out of range or of another shape than the model's; more images asked for than there are.

    Example:

    >>> scores = gz.evaluate(model, images, features="fashion-cnn")
    >>> sorted(scores)[:2]
    ['FD[fashion-cnn]', 'IS[fashion-cnn]']
    """
    images = _array(data, "test images")
    features = default_features(data_module.name_of(data), images.shape[-1]) if features is None else features
    if n is not None and not 2 <= n <= len(images):
        raise ValueError(f"n is {n}, but there are {len(images)} test images; give n between 2 and that, or None for all.")
    images = images[:n]
    model.images_of(images[:1])
    scores = {}
    if hasattr(model, "reconstruct") or hasattr(model, "sample"):
        train = None if train is None else _array(train, "training images")
        measure = SampleMetrics(images, train, features=features)
        features, real_sharpness = measure.features, sharpness(images).mean()
    if hasattr(model, "reconstruct"):
        reconstructions = np.asarray(model.reconstruct(images, batch_size=batch_size))
        scores |= score_reconstructions(images, reconstructions, measure)
    if hasattr(model, "sample"):
        samples = model.sample(len(images), seed=seed, batch_size=batch_size)
        scores |= measure(samples) | {"sample_seed": seed}
        scores["sharpness"] = float(sharpness(samples).mean() / real_sharpness)
        if hasattr(model, "decode") and model.num_classes is None and hasattr(features, "activations"):
            paths = min(PERCEIVED, len(images))
            codes = np.asarray(model.draw_latents(2 * paths, RowStream(seed, 0)))
            decode = lambda latents: _in_batches(model.generate, latents, batch_size)  # noqa: E731
            length = perceptual_path_length(decode, codes[:paths], codes[paths:], features, seed=seed)
            scores |= {score_name("path_length", features): length, "n_paths": paths}
    if hasattr(model, "log_prob") and (model.support != "binary" or _is_binary(images)):
        some = images[:likelihood_images]
        label, settings = f"[{model.log_prob_label}]" if model.log_prob_label else "", {}
        if hasattr(model, "log_partition"):  # once for all images
            settings["log_partition"], error = model.log_partition(seed=seed)
            scores[f"log_prob_error{label}"] = float(error)
        log_prob = np.asarray(model.log_prob(some, batch_size=batch_size, **settings))
        scores |= {f"log_prob{label}": float(log_prob.mean()), "n_likelihood": len(some)}
        if hasattr(model, "bits_per_dim"):
            scores[f"bits_per_dim{label}"] = float(np.mean(model.to_bits_per_dim(log_prob)))
    if hasattr(model, "energy"):
        scores |= model.chain_report(seed=seed) | _energy_scores(model, images, data_module.name_of(data), seed, batch_size)
    if hasattr(model, "posterior"):
        means = np.asarray(model.posterior(images, batch_size=batch_size)[0])
        scores |= {"active_units": int(np.sum(means.var(axis=0) > ACTIVE_VARIANCE)), "latent_units": means.shape[1]}
    for name, value in scores.items():
        if isinstance(value, float) and not np.isfinite(value) and name not in ("psnr", "mode_kl"):
            warnings.warn(f"{name} is {value}; the model's output or its weights may not be finite.", stacklevel=2)
    return scores


class SampleDistance:
    """The Frechet distance of a model's samples from validation images, for whoever watches a model while it trains.

    A distance that choices are made by is no longer a fair score there: tables take the test split.

    Args:
        images: array or `tf.data.Dataset` of real images.
        features: str, extractor or None, see `metrics.get`; None is `metrics.default_features()` of the data. Defaults to None.
        n: int. Number of real images, the first ones, and of samples; of fewer images all. Distances compare at one n alone.
            Defaults to 2,000.
        seed: int. Of the samples, which are always of the same noise. Defaults to 0.

    Example:

    >>> distance = SampleDistance(images, "fashion-cnn")
    >>> distance(model) > 0  # the averaged weights, where the model has them
    True
    """

    def __init__(self, images, features=None, n=2000, seed=0):
        name = data_module.name_of(images)
        images = data_module.as_array(images, n)
        images = images[0] if isinstance(images, tuple) else images
        self.distance = FrechetDistance(default_features(name, images.shape[-1]) if features is None else features)
        self.distance.set_real(images)
        self.n, self.seed = self.distance.n_real, seed

    def __call__(self, model):
        """The distance; NaN where samples are not finite, and None where the model cannot sample yet."""
        if not hasattr(model, "sample"):
            return None
        samples = model.sample(self.n, seed=self.seed)
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
        found["emoji32"] = to_unit(data_module.as_array(emoji)[:n]).numpy()
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


def score_reconstructions(images, reconstructions, measure):
    """The scores of `evaluate` that compare images with their reconstructions.

    Args:
        images: test images.
        reconstructions: float array in [0, 1], likewise.
        measure: `metrics.SampleMetrics` of the images.
    """
    scores = reconstruction_scores(images, reconstructions) | measure.of_reconstructions(reconstructions)
    scores["reconstruction_sharpness"] = float(sharpness(reconstructions).mean() / sharpness(images).mean())
    if hasattr(measure.features, "activations"):
        perceived = perceptual_distance(images[:PERCEIVED], reconstructions[:PERCEIVED], measure.features)
        scores |= {score_name("PD", measure.features): float(perceived.mean()), "n_perceptual": len(perceived)}
    return scores


def _array(data, what):
    images = data_module.as_array(data)
    images = images[0] if isinstance(images, tuple) else np.asarray(images)
    check_images(images, what)
    return images


def _is_binary(images):
    return bool(np.isin(images, (0, images.max())).all())


def _in_batches(function, images, batch_size):
    """The function of all images; compiled, the last batch filled up so that there is one graph."""
    compiled = tf.function(function)
    size = min(batch_size, len(images))
    results = []
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        padded = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
        results.append(np.asarray(compiled(tf.constant(padded)))[: len(batch)])
    return np.concatenate(results)
