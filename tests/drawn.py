"""Weights, inputs and gradients of networks by their names, for two implementations to compare: scripts/reference_gans.py and
tests/test_residual_gans.py. Arrays are in Keras's layout; nothing but NumPy is imported."""

import zlib

import numpy as np


def numbers(name, shape):
    """Standard normal numbers that follow from a name alone, float32."""
    return np.random.default_rng(zlib.crc32(name.encode())).normal(size=tuple(shape)).astype("float32")


def weight(name, shape):
    """Of a variable, by the names of its layer and its own: scales about 1, offsets about 0, kernels that keep the variance."""
    own, drawn = name.rpartition("/")[2], numbers(name, shape)
    if own == "gamma":
        return 1 + 0.1 * drawn
    return drawn * (0.1 if own in ("bias", "beta") else 1.0 if own == "basis" else np.float32(np.prod(drawn.shape[:-1]) ** -0.5))


def sketch(name, array):
    """What is kept of an array: its norm, and its products with three arrays of normal numbers; each is about as large."""
    array = np.asarray(array, "float64")
    found = [np.sum(array * numbers(f"{name}, direction {index}", array.shape)) for index in range(3)]
    return np.array([np.sqrt(np.sum(array**2)), *found])


def thinned(array):
    """An output itself, of images every fourth row and column."""
    array = np.asarray(array)
    return array[:, ::4, ::4] if array.ndim == 4 else array


def direction(kernel):
    """The right singular vector of a kernel's largest singular value, as a matrix of all inputs by outputs."""
    return np.linalg.svd(np.asarray(kernel, "float64").reshape(-1, kernel.shape[-1]), full_matrices=False)[2][0].astype("float32")


def equalized(name, shape):
    """Of a variable of StyleGAN2, whose kernels are about 1, and of its mapping, which learns a hundredth as fast, about 100."""
    (layer, _, own), drawn = name.rpartition("/"), numbers(name, shape)
    if own == "bias":
        return 1 + 0.1 * drawn if layer.endswith("_affine") else drawn * (10.0 if layer.startswith("dense") else 0.1)
    return drawn * (100.0 if layer.startswith("dense") else 0.3 if own == "strength" else 1.0)
