"""Perceptual distance, path length and sharpness, against closed forms and NumPy."""

import keras
import numpy as np
import pytest
import scipy.ndimage

from keras_genzoo import metrics


@pytest.fixture
def some_images():
    return np.random.default_rng(0).integers(0, 256, (70, 12, 10, 3), dtype=np.uint8)  # more than a batch


class Colours:
    """An extractor whose one layer is the image itself."""

    name, hash, resize, dim = "colours", "none", "none", 3

    def __call__(self, images):
        return np.asarray(images, "float32").mean(axis=(1, 2))

    def activations(self, images):
        return [images]


def test_the_distance_is_that_of_directions_averaged_over_places(some_images):
    x, y = some_images, some_images[::-1]
    directions = [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (x.astype(float), y.astype(float))]
    expected = ((directions[0] - directions[1]) ** 2).sum(axis=-1).mean(axis=(1, 2))
    np.testing.assert_allclose(metrics.perceptual_distance(x, y, Colours()), expected, rtol=1e-6)


def test_equal_images_are_at_no_distance_and_noise_takes_them_apart(some_images):
    assert metrics.perceptual_distance(some_images, some_images).max() == 0
    noise = np.random.default_rng(1).normal(size=some_images.shape)
    images = some_images / 255
    near, far = (np.clip(images + scale * noise, 0, 1) for scale in (0.02, 0.2))
    assert 0 < metrics.perceptual_distance(images, near).mean() < metrics.perceptual_distance(images, far).mean()


def test_images_are_seen_at_the_256_levels(some_images):
    between = np.clip((some_images + np.random.default_rng(1).uniform(-0.4, 0.4, some_images.shape)) / 255, 0, 1)
    assert metrics.perceptual_distance(some_images, between, Colours()).max() == 0
    np.testing.assert_array_equal(metrics.sharpness(between), metrics.sharpness(some_images))


def test_layers_add_up():
    fashion = metrics.get("fashion-cnn")
    images = np.random.default_rng(0).random((2, 5, 28, 28, 1)).astype("float32")
    layers = "block1_relu", "block4_relu"
    both, *each = (
        metrics.perceptual_distance(*images, metrics.FeatureExtractor(fashion.model, preprocess=fashion.preprocess, maps=maps))
        for maps in (layers, layers[:1], layers[1:])
    )
    np.testing.assert_allclose(both, sum(each), rtol=1e-6)


def test_path_length_of_a_turn_is_the_square_of_its_angle():
    # Colours (cos a, sin a): a step of da in angle moves the direction by da, and so has the squared distance da^2.
    decode = lambda angles: np.stack([np.cos(angles), np.sin(angles)], axis=-1)[:, None, None, :]  # noqa: E731
    start, end = np.full(200, 0.2), np.full(200, 1.4)
    length = metrics.perceptual_path_length(decode, start, end, Colours())
    assert length == pytest.approx(1.2**2, rel=1e-3)


def test_path_length_hardly_depends_on_its_small_step():
    decoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(64, "tanh"), keras.layers.Dense(784, "sigmoid")])
    decode = lambda codes: decoder(codes).numpy().reshape(-1, 28, 28, 1)  # noqa: E731
    ends = np.random.default_rng(0).normal(size=(2, 64, 4)).astype("float32")
    steps = [metrics.perceptual_path_length(decode, *ends, step=step) for step in (1e-2, 3e-3, 1e-3)]
    assert max(steps) < 1.1 * min(steps)


def test_sharpness_is_the_variance_of_the_laplacian(some_images):
    gray = some_images[3].astype(float).mean(axis=-1) / 255
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    expected = scipy.ndimage.convolve(gray, kernel, mode="reflect").var()
    assert metrics.sharpness(some_images)[3] == pytest.approx(expected, rel=1e-6)


def test_blurred_images_are_less_sharp(some_images):
    blurred = scipy.ndimage.gaussian_filter(some_images / 255, (0, 1, 1, 0))
    assert metrics.sharpness(blurred).mean() < 0.2 * metrics.sharpness(some_images).mean()


def test_what_cannot_be_compared_is_refused(some_images):
    with pytest.raises(ValueError, match="expected equal shapes"):
        metrics.perceptual_distance(some_images, some_images[:5])
    with pytest.raises(ValueError, match=r"floats between 0 and 255"):
        metrics.perceptual_distance(some_images, some_images.astype("float32"))

    class Blind:
        name, hash, resize, dim = "blind", "none", "none", 1

        def __call__(self, images):
            return np.zeros((len(images), 1), "float32")

    with pytest.raises(ValueError, match="no `activations`"):
        metrics.perceptual_distance(some_images, some_images, Blind())
    with pytest.raises(ValueError, match="expected equal ones"):
        metrics.perceptual_path_length(lambda codes: codes, np.zeros((2, 3)), np.zeros((3, 3)))
