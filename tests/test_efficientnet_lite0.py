"""The features `efficientnet-lite0`: against efficientnet-lite-pytorch, and on photographs whose class anyone can see."""

import hashlib
import json
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from keras_genzoo.core.images import to_unit
from keras_genzoo.metrics import efficientnet_lite0

ROOT = Path(__file__).parents[1]
SCRIPT = runpy.run_path(ROOT / "scripts/convert_efficientnet_lite0.py")
# Photographs inside scikit-image and ImageNet's classes of them: Egyptian cat, espresso, tripod (the image is gray), missile.
PHOTOGRAPHS = {"chelsea": 285, "coffee": 967, "camera": 872, "rocket": 657}


def noise(n, height, width, channels):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def look(network, images):
    """Features and logits of images of the 256 levels."""
    both = keras.Model(network.inputs, [network.get_layer("features").output, network.output], dtype="float32")
    features, logits = both(efficientnet_lite0.preprocess(to_unit(images)), training=False)
    return features.numpy(), logits.numpy()


def relative(values, expected):
    return np.linalg.norm(values - expected) / np.linalg.norm(expected)


@pytest.fixture(scope="module")
def network():
    return efficientnet_lite0.load()


def test_features_and_logits_are_those_of_efficientnet_lite_pytorch(network):
    with np.load(SCRIPT["REFERENCE"], allow_pickle=False) as stored:
        expected = dict(stored)
    features, logits = look(network, SCRIPT["images"](SCRIPT["SEED"]))
    assert relative(features, expected["rounded_features"]) < 1e-4  # both with the weights that ship
    assert relative(logits, expected["rounded_logits"]) < 1e-4
    assert relative(features, expected["features"]) < 2e-3  # with the original weights, before large kernels became float16
    # Else the images would be too alike to tell a wrong network from the right one.
    assert relative(features[0], features[1]) > 0.1


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_photograph_is_classified_as_what_it_shows(name, network):
    photograph = getattr(skimage.data, name)()
    height, width = photograph.shape[:2]
    side = min(height, width)  # the largest square at the centre: the network was not trained on what is stretched
    top, left = (height - side) // 2, (width - side) // 2
    square = photograph.reshape(1, height, width, -1)[:, top : top + side, left : left + side]
    assert look(network, square)[1].argmax() == PHOTOGRAPHS[name]


def test_its_file_is_small_and_its_card_is_true(network):
    path = efficientnet_lite0.WEIGHTS
    card = json.loads(path.with_suffix(".json").read_text())
    assert path.stat().st_size < 10_000_000
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card["sha256"]
    assert card["parameters"] == network.count_params()
    assert card["licence"].startswith("Apache-2.0, Copyright (c) 2020, ML Illustrated")
    assert "Copyright (c) 2020, ML Illustrated" in path.with_suffix(".LICENSE.txt").read_text()


def test_its_file_holds_one_plain_array_for_every_weight_and_large_ones_in_float16(network):
    with np.load(efficientnet_lite0.WEIGHTS, allow_pickle=False) as stored:
        arrays = dict(stored)
    assert {name: array.shape for name, array in arrays.items()} == {each.path: tuple(each.shape) for each in network.weights}
    for array in arrays.values():
        assert array.dtype == (np.float32 if array.size < SCRIPT["SMALL"] else np.float16) and np.isfinite(array).all()


@pytest.mark.parametrize("shape", [(28, 28, 1), (33, 21, 5), (32, 32, 3), (300, 240, 2)], ids=str)
def test_it_takes_images_of_any_height_width_and_channels(shape, network):
    features, logits = look(network, noise(2, *shape))
    assert features.shape == (2, 1280) and logits.shape == (2, 1000)
    assert features.dtype == np.float32 and np.isfinite(features).all() and relative(*features) > 0.01


def test_gray_is_repeated_and_channels_that_are_no_colours_are_averaged():
    gray = to_unit(noise(2, 28, 28, 1))
    seen = efficientnet_lite0.preprocess(gray)
    assert seen.shape == (2, 224, 224, 3)
    np.testing.assert_allclose(seen, efficientnet_lite0.preprocess(tf.repeat(gray, 3, axis=-1)), atol=1e-6)
    five = to_unit(noise(2, 28, 28, 5))
    mean = tf.reduce_mean(five, axis=-1, keepdims=True)
    np.testing.assert_allclose(efficientnet_lite0.preprocess(five), efficientnet_lite0.preprocess(mean), atol=1e-6)


def test_levels_reach_the_network_in_the_range_it_was_trained_on_and_large_images_shrink_smoothly():
    for level in (0, 127, 255):
        seen = efficientnet_lite0.preprocess(to_unit(np.full((1, 9, 9, 3), level, "uint8")))
        np.testing.assert_allclose(seen, np.full((1, 224, 224, 3), (level - 127) / 128), atol=1e-6)
    stripes = np.zeros((1, 896, 896, 1), "uint8")
    stripes[:, :, ::2] = 255
    seen = efficientnet_lite0.preprocess(to_unit(stripes))[:, :, 2:-2]  # gray but for the edges
    np.testing.assert_allclose(seen, np.full(seen.shape, (127.5 - 127) / 128), atol=1e-5)


def test_it_is_the_same_under_any_precision_policy(network):
    images = noise(2, 32, 32, 3)
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        again = efficientnet_lite0.load()
        logits = again(efficientnet_lite0.preprocess(to_unit(images)), training=False)
    finally:
        keras.config.set_dtype_policy(policy)
    np.testing.assert_array_equal(look(network, images)[1], logits)
