"""The diffusion transformer against diffusers', and its published sizes."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo.networks.conditioning import sines_of_places

ROOT = Path(__file__).parents[1]
SCRIPT = runpy.run_path(ROOT / "scripts/reference_dit.py")
REFERENCE = ROOT / "tests/data/dit_reference.npz"
PARTS = {"_attention_told": slice(0, 2), "_seen_opens": slice(2, 3), "_mlp_told": slice(3, 5), "_opens": slice(5, 6)}


def found_by(network, arrays):
    """Pairs of the variables of a DiT, and the arrays by diffusers' names in their layout."""
    width, pairs = SCRIPT["WIDTH"], []
    for name, (theirs, *_) in SCRIPT["LAYERS"].items():
        kernel, bias = arrays[f"{theirs}.weight"].T, arrays[f"{theirs}.bias"]
        layer, _, part = name.partition("/")
        if layer.startswith("block") and layer.endswith("_told"):  # one layer of theirs, four of ours
            for ending, cut in PARTS.items():
                own, cut = network.get_layer(layer.removesuffix("_told") + ending), slice(cut.start * width, cut.stop * width)
                pairs += [(own.kernel, kernel[:, cut]), (own.bias, bias[cut])]
            continue
        layer = network.get_layer(layer)
        if part:
            layer = layer.last if part == "last" else layer.projections[("query", "key", "value").index(part)]
        pairs += [(layer.kernel, kernel), (layer.bias, bias)]
    squares = arrays[f"{SCRIPT['PATCHES']}.weight"].transpose(2, 3, 1, 0).reshape(-1, width)
    patches = network.get_layer("patches")
    pairs += [(patches.kernel, squares), (patches.bias, arrays[f"{SCRIPT['PATCHES']}.bias"])]
    return [*pairs, (network.get_layer("class").table, arrays[f"{SCRIPT['TABLE']}.weight"])]


def test_outputs_and_gradients_equal_those_of_diffusers_with_the_same_weights():
    side, channels = SCRIPT["SIDE"], SCRIPT["CHANNELS"]
    sizes = {"width": SCRIPT["WIDTH"], "depth": SCRIPT["DEPTH"], "heads": SCRIPT["HEADS"], "patch": SCRIPT["PATCH"]}
    network = gz.networks.dit(
        (side, side, channels), **sizes, learned_variance=True, num_classes=SCRIPT["CLASSES"], time_embedding={"offset": -1.0}
    )
    pairs = found_by(network, SCRIPT["arrays"]())
    assert {id(variable) for variable, _ in pairs} == {id(variable) for variable in network.trainable_variables}
    for variable, value in pairs:
        variable.assign(value)
    images, weights = map(tf.constant, SCRIPT["images"]())
    times = tf.constant((SCRIPT["TIMES"] + 1) / 1000, tf.float32)
    labels = tf.one_hot(SCRIPT["LABELS"], SCRIPT["CLASSES"])  # the last is none
    with tf.GradientTape() as tape:
        tape.watch(images)
        output = network([images, times, labels])
        total = tf.reduce_sum(output * weights)
    gradients = tape.gradient(total, [images, *(variable.value for variable, _ in pairs)])
    with np.load(REFERENCE) as reference:
        expected = dict(reference)
    np.testing.assert_allclose(output, expected["output"], atol=1e-4 * np.abs(expected["output"]).max())
    np.testing.assert_allclose(gradients[0], expected["images"], atol=1e-4 * np.abs(expected["images"]).max())
    for gradient, (variable, wanted) in zip(gradients[1:], found_by(network, expected), strict=True):
        # Keys have a bias that changes nothing: its gradient is 0 but for rounding.
        scale = max(np.abs(wanted).max(), 0.1)
        np.testing.assert_allclose(gradient, wanted, atol=1e-4 * scale, err_msg=variable.path)


@pytest.mark.parametrize(
    "name, parameters", [("dit/s", 32_963_360), ("dit/b", 130_512_416), ("dit/l", 458_102_816), ("dit/xl", 675_129_632)]
)
def test_the_published_sizes_have_the_published_numbers_of_parameters(name, parameters):
    """32.96, 130.5, 458.1 and 675.13 million; the table of places, which is fixed, is among them."""
    told = gz.recipes.get(name).defaults
    sizes = {key: told[key] for key in ("width", "heads", "patch", "learned_variance", "num_classes")}
    one, two = (gz.networks.dit((32, 32, 4), depth=depth, **sizes).count_params() for depth in (1, 2))
    assert one + (told["depth"] - 1) * (two - one) == parameters


@pytest.mark.slow
def test_the_smallest_published_size_makes_a_step():
    model = gz.build("dit/s", (32, 32, 4), seed=0)
    assert model.count_params() == 32_963_360
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 4), dtype=np.uint8)
    assert np.isfinite(model.fit((images, np.array([0, 999])), verbose=0).history["loss"]).all()


@pytest.mark.parametrize("shape, patch", [((7, 9, 2), 2), ((8, 8, 1), 1), ((1, 5, 4), 3)])
def test_it_takes_any_size_and_a_fresh_one_puts_out_nothing(shape, patch):
    network = gz.networks.dit(shape, 8, 1, 2, patch, num_classes=3)
    output = network([np.ones((2, *shape)), np.array([0.1, 0.7]), np.eye(3)[:2]])
    assert output.shape == (2, *shape) and not np.any(output)
    with pytest.raises(ValueError, match="width is 10 and heads 2, expected a width that is a multiple of 4 and of the heads"):
        gz.networks.dit(shape, 10, 1, 2)


def test_places_are_told_by_sines_and_cosines_of_columns_and_rows():
    table = sines_of_places(3, 4, 8)
    angles = lambda place: np.array([place, place / 100])  # noqa: E731
    for row, column in ((0, 0), (2, 1), (1, 3)):
        expected = [np.sin(angles(column)), np.cos(angles(column)), np.sin(angles(row)), np.cos(angles(row))]
        np.testing.assert_allclose(table[row, column], np.concatenate(expected), atol=1e-12)


def test_guidance_leaves_the_variances_of_the_labels_and_samples_take_them():
    model = gz.build("dit", (4, 4, 1), width=8, depth=1, heads=2, seed=0)
    for index, variable in enumerate(model.network.trainable_variables):
        variable.assign(variable + np.random.default_rng(index).normal(0, 0.3, variable.shape))
    x, t, labels = tf.random.stateless_normal((3, 4, 4, 1), (0, 1)), tf.constant(0.5), tf.one_hot([1, 2, 3], 10)
    plain, guided = (model.denoiser(labels, guidance)(x, t, variance=True) for guidance in (None, 3.0))
    np.testing.assert_allclose(plain[2], guided[2], atol=1e-5)
    assert np.abs(plain[1] - guided[1]).max() > 1e-3
    assert model.sample(2, seed=0, steps=2, sampler="ddpm", guidance=2.0).shape == (2, 4, 4, 1)
