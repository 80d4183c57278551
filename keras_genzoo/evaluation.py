"""Every score that a model's members allow, of one set of test images."""

import warnings

import numpy as np
import tensorflow as tf

from keras_genzoo import data as data_module
from keras_genzoo.images import check_images
from keras_genzoo.metrics import SampleMetrics, reconstruction_scores

ACTIVE_VARIANCE = 0.01  # of a unit's mean over the data (Burda et al. 2016, section 5.2)


def evaluate(model, data, features="fashion-cnn", n=None, seed=0, train=None, batch_size=256, likelihood_images=1000):
    """Score a model on images it has not seen.

    Args:
        model: `GenerativeModel`. What it cannot do is left out of the scores.
        data: test images: array, or `tf.data.Dataset` of batches.
        features: str or extractor, what the sample distances look at (`metrics.get`). Defaults to "fashion-cnn".
        n: int or None. Number of test images, the first ones, and of samples, always the same; None is all test images.
        seed: int. Of the samples. Defaults to 0.
        train: array, dataset or None. Training images, to measure how near samples are to the nearest of them.
        batch_size: int. Images at a time. Defaults to 256.
        likelihood_images: int. Number of test images, the first ones, whose likelihood is computed. Defaults to 1,000.

    Returns:
        dict of numbers and of what they depend on:
            `mse`, `psnr`, `ssim`: with `reconstruct`.
            `FD[features]`, `KD[features]`, `precision`, `recall`, `density`, `coverage`, `nearest_train[features]` and what
            `metrics.SampleMetrics` says beside them: with `sample`.
            `log_prob`, in nats per image, `bits_per_dim`, and `n_likelihood`: with `log_prob`; a bound has its name behind
            the number's, as `bits_per_dim[iw64]`.
            `active_units`: latent units whose posterior mean varies over the data by more than 0.01; with `posterior`.

    Raises:
        ValueError: images out of range or of another shape than the model's; more images asked for than there are.

    Example:

    >>> scores = gz.evaluate(model, images)
    >>> sorted(scores)[:2]
    ['FD[fashion-cnn]', 'KD[fashion-cnn]']
    """
    images = _array(data, "test images")
    if n is not None and not 2 <= n <= len(images):
        raise ValueError(f"n is {n}, but there are {len(images)} test images; give n between 2 and that, or None for all.")
    images = images[:n]
    model.images_of(images[:1])
    scores = {}
    if hasattr(model, "reconstruct"):
        scores |= reconstruction_scores(images, _in_batches(model.reconstruct, images, batch_size))
    if hasattr(model, "sample"):
        train = None if train is None else _array(train, "training images")
        measure = SampleMetrics(images, train, features=features)
        scores |= measure(model.sample(len(images), seed=seed, batch_size=batch_size)) | {"sample_seed": seed}
    if hasattr(model, "log_prob") and (model.support != "binary" or _is_binary(images)):
        some = images[:likelihood_images]
        log_prob = _in_batches(model.log_prob, some, batch_size)
        label = f"[{model.log_prob_label}]" if model.log_prob_label else ""
        scores |= {f"log_prob{label}": float(log_prob.mean()), "n_likelihood": len(some)}
        if hasattr(model, "bits_per_dim"):
            scores[f"bits_per_dim{label}"] = float(np.mean(model.to_bits_per_dim(log_prob)))
    if hasattr(model, "posterior"):
        means = _in_batches(lambda batch: model.posterior(batch)[0], images, batch_size)
        scores |= {"active_units": int(np.sum(means.var(axis=0) > ACTIVE_VARIANCE)), "latent_units": means.shape[1]}
    for name, value in scores.items():
        if isinstance(value, float) and not np.isfinite(value) and name != "psnr":
            warnings.warn(f"{name} is {value}; the model's output or its weights may not be finite.", stacklevel=2)
    return scores


def _array(data, what):
    if isinstance(data, tf.data.Dataset):
        data = data_module.as_array(data)
    images = data[0] if isinstance(data, tuple) else np.asarray(data)
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
