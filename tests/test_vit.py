"""DINOv2 and the image tower of CLIP: against transformers, against NumPy, and how their files and images are read."""

import itertools
import math
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from PIL import Image

from keras_genzoo import metrics
from keras_genzoo.core import hub
from keras_genzoo.metrics import vit

ROOT = Path(__file__).parents[1]
SCRIPT = runpy.run_path(ROOT / "scripts/reference_vit.py")
REFERENCE = ROOT / "tests/data/vit_reference.npz"
FAMILIES = ("dinov2", "clip")


def small(family):
    about = {key: value for key, value in SCRIPT[family.upper()].items() if key != "grid"}
    return vit.Network(family, "some/where", **about)


def size(family):
    return SCRIPT[family.upper()]["patch"] * SCRIPT[family.upper()]["grid"]


@pytest.fixture(scope="module", params=FAMILIES)
def network(request):
    """A family, a small network of it with random weights, and what it makes of images."""
    family = request.param
    model = vit.build(small(family), size(family))
    vit.set_arrays(model, small(family), SCRIPT[family]())
    return family, model, model(SCRIPT["images"](size(family)), training=False).numpy()


def test_features_are_those_of_transformers_with_the_same_weights(network):
    family, _, found = network
    with np.load(REFERENCE) as reference:
        np.testing.assert_allclose(found, reference[family], rtol=1e-4, atol=1e-4)


def test_positions_are_resampled_as_pytorch_does():
    positions = SCRIPT["positions"]()
    found = vit.resampled(positions, SCRIPT["POSITIONS"]["grid"])
    np.testing.assert_array_equal(found[0], positions[0])
    with np.load(REFERENCE) as reference:
        np.testing.assert_allclose(found[1:], reference["positions"], rtol=1e-5, atol=1e-6)


def test_features_are_those_of_the_equations_with_the_same_weights(network):
    """In NumPy, in float64, one image and one head at a time, by the papers: arXiv:2010.11929, eqs. 1 to 4, arXiv:2304.07193."""
    family, _, found = network
    arrays = {name: each.astype("float64") for name, each in SCRIPT[family]().items()}
    pixels = SCRIPT["images"](size(family)).astype("float64")
    np.testing.assert_allclose(found, [by_equations(family, arrays, image) for image in pixels], rtol=1e-4, atol=1e-4)


def by_equations(family, arrays, image):
    about, clip = SCRIPT[family.upper()], family == "clip"
    names = vit.NAMES[family]
    width, heads, patch, grid = (about[key] for key in ("width", "heads", "patch", "grid"))
    kernel, bias = arrays[f"{names['patches']}.weight"], arrays.get(f"{names['patches']}.bias", 0)
    cells = [
        image[patch * row : patch * (row + 1), patch * column : patch * (column + 1)]
        for row, column in itertools.product(range(grid), range(grid))
    ]
    patches = [np.einsum("oihw,hwi->o", kernel, cell) + bias for cell in cells]
    token, positions = (arrays[name].reshape(-1, width) for name in names["tokens"])
    x = np.concatenate([token, patches]) + positions

    def norm(x, name):
        variance = ((x - x.mean(-1, keepdims=True)) ** 2).mean(-1, keepdims=True)
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(variance + (1e-5 if clip else 1e-6))
        return x * arrays[f"{name}.weight"] + arrays[f"{name}.bias"]

    def dense(x, name):
        return x @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]

    def attention(x, parts):
        query, key, value = (dense(x, part) for part in parts[:3])
        mixed = []
        for head in range(heads):
            own = slice(head * width // heads, (head + 1) * width // heads)
            scores = query[:, own] @ key[:, own].T / math.sqrt(width // heads)
            mixed.append(scipy.special.softmax(scores, axis=-1) @ value[:, own])
        return dense(np.concatenate(mixed, axis=-1), parts[3])

    x = norm(x, names["norm_before"]) if clip else x
    for index in range(about["depth"]):
        block = names["block"].format(index)
        scale = [1.0 if clip else arrays[block + names[f"scale{number}"]] for number in (1, 2)]
        x = x + scale[0] * attention(norm(x, block + names["norm1"]), [block + part for part in names["attention"]])
        y = dense(norm(x, block + names["norm2"]), block + names["dense1"])
        y = y * scipy.special.expit(1.702 * y) if clip else y * scipy.special.ndtr(y)
        x = x + scale[1] * dense(y, block + names["dense2"])
    if clip:
        return norm(x[0], names["norm_after"]) @ arrays["visual_projection.weight"].T
    return norm(x[0], names["features"])


def test_the_cubic_filter_has_known_weights_and_keeps_constants_and_equal_grids():
    np.testing.assert_allclose(32 * vit._cubic(np.array([1.5, 0.5, 0.5, 1.5])), [-3, 19, 19, -3])  # half way, a = -3/4
    np.testing.assert_array_equal(vit._cubic(np.array([0.0, 1.0, 2.0, 2.5])), [1, 0, 0, 0])
    random = np.random.default_rng(0)
    positions = random.normal(size=(82, 3))
    np.testing.assert_array_equal(vit.resampled(positions, 9), positions)
    found = vit.resampled(np.concatenate([positions[:1], np.ones((81, 3))]), 4)
    np.testing.assert_array_equal(found[0], positions[0])
    np.testing.assert_allclose(found[1:], np.ones((16, 3)))
    # Rows and columns are not exchanged.
    by_row = np.repeat(np.arange(9.0), 9)[:, None]
    found = vit.resampled(np.concatenate([[[0.0]], by_row]), 4)[1:].reshape(4, 4)
    assert (np.ptp(found, axis=1) < 1e-9).all() and (np.diff(found[:, 0]) > 1).all()


# As the authors and the Hub state them, with the token of masked patches and positions of 37 x 37 patches for DINOv2.
PARAMETERS = {"dinov2": 304_368_640, "dinov2-vitb14": 86_580_480, "dinov2-vits14": 22_056_576}


@pytest.mark.slow
@pytest.mark.parametrize("name", PARAMETERS)
def test_dinov2_has_the_published_number_of_parameters(name):
    network = vit.NETWORKS[name]
    ours = vit.build(network).count_params()
    assert ours + network.width * (37**2 - 16**2) + network.width == PARAMETERS[name]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "expected"), [("clip", 87_849_216), ("clip-vitl14", 303_966_208)])
def test_the_tower_of_clip_has_the_published_number_of_parameters(name, expected):
    assert vit.build(vit.NETWORKS[name]).count_params() == expected


def test_every_network_gives_the_features_that_it_is_said_to(network):
    family, model, found = network
    width = {"dinov2": 24, "clip": 10}[family]
    assert found.shape == (3, width) and model.get_layer("features").output.shape == (None, width)
    expected = {"dinov2": 1024, "dinov2-vitb14": 768, "dinov2-vits14": 384, "clip": 512, "clip-vitl14": 768}
    assert {name: each.projection or each.width for name, each in vit.NETWORKS.items()} == expected
    assert set(vit.NETWORKS) < set(metrics.names())


def along_rows_first(picture, width, height):
    """As Pillow resized when scores were published. Version 13 goes along the columns first where the height shrinks more."""
    return picture.resize((width, picture.height), Image.BICUBIC).resize((width, height), Image.BICUBIC)


@pytest.mark.parametrize("shape", [(1, 32, 32, 3), (2, 300, 260, 3), (1, 40, 64, 1)])
@pytest.mark.parametrize("family", FAMILIES)
def test_images_are_prepared_as_pil_and_the_authors_do(family, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = vit.preprocess(tf.constant(images, tf.float32) / 255, family).numpy()
    assert found.shape == (shape[0], 224, 224, 3)
    for image, own in zip(images, found, strict=True):
        picture = Image.fromarray(np.squeeze(image)).convert("RGB")
        if family == "clip":
            short = min(picture.size)
            width, height = (int(224 * side / short) for side in picture.size)
            left, top = (round((side - 224) / 2.0) for side in (width, height))
            picture = along_rows_first(picture, width, height).crop((left, top, left + 224, top + 224))
        else:
            picture = along_rows_first(picture, 224, 224)
        mean, deviation = (np.array(each) for each in vit.COLOURS[family])
        levels = 255 * (own * deviation + mean)
        # PIL's weights have fewer digits, so that a level may be rounded the other way.
        difference = np.abs(levels - np.asarray(picture, "float64"))
        assert difference.max() < 2.1 and difference.mean() < 0.05


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match="images have 5 channels; dinov2 sees gray"):
        vit.preprocess(tf.zeros((1, 8, 8, 5)), "dinov2")


# Files


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file of a small DINOv2, which takes the place of the large one."""
    numpy = pytest.importorskip("safetensors.numpy")
    monkeypatch.setitem(vit.NETWORKS, "dinov2-vits14", small("dinov2"))
    monkeypatch.setattr(vit, "SIZE", 24)
    arrays = SCRIPT["dinov2"]() | {"text_model.some": np.zeros(3, "float32")}
    numpy.save_file(arrays, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_an_extractor_reads_the_published_file_and_is_named_for_it(file):
    features = metrics.vit_features("dinov2-vits14", file)
    images = np.random.default_rng(0).integers(0, 256, (5, 9, 8, 1), np.uint8)
    found = features(images)
    assert found.shape == (5, 24) and features.dim == 24 and np.isfinite(found).all()
    assert metrics.score_name("FD", features) == "FD[dinov2-vits14]" and len(features.hash) == 12
    np.testing.assert_allclose(features(np.repeat(images, 3, axis=-1)), found, rtol=1e-4, atol=1e-4)
    assert metrics.perceptual_distance(images, images, features).max() == 0
    # Weights of 5 x 5 positions for images of 24 pixels, 6 patches of 4 a side.
    assert features.model.get_layer("tokens").positions.shape == (6**2 + 1, 24)


def test_files_of_other_networks_get_one_sentence(file, tmp_path):
    arrays = SCRIPT["dinov2"]()
    model = vit.build(small("dinov2"), size("dinov2"))
    lacking = {name: each for name, each in arrays.items() if name != "encoder.layer.1.mlp.fc1.bias"}
    with pytest.raises(ValueError, match=r"holds nothing as encoder.layer.1.mlp.fc1.bias, expected an array of shape \(96,\)"):
        vit.set_arrays(model, small("dinov2"), lacking)
    with pytest.raises(ValueError, match=r"expected \(24,\) and \(positions, 24\)"):
        vit.set_arrays(model, small("dinov2"), arrays | {"embeddings.cls_token": np.zeros((1, 1, 7))})
    (tmp_path / "other").write_bytes(b"no such file")
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        metrics.vit_features("dinov2-vits14", tmp_path / "other")
    with pytest.raises(OSError):
        metrics.vit_features("dinov2-vits14", tmp_path / "missing")
    with pytest.raises(ValueError, match="name is 'dinov3', expected one of dinov2, dinov2-vitb14"):
        metrics.vit_features("dinov3")


def test_weights_are_taken_from_the_cache_or_asked_of_the_hub_by_name_and_revision(file, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "fetched", lambda *given: asked.append(given) or file)
    with monkeypatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path))
        vit.cache_path("clip").parent.mkdir()
        vit.cache_path("clip").touch()
        assert vit.fetch("clip") == tmp_path / "genzoo" / "clip.safetensors" and not asked
    vit.fetch("clip")
    metrics.fetch_features("dinov2")
    metrics.fetch_features("efficientnet-lite0")
    assert metrics.vit_features("dinov2-vits14").dim == 24
    assert asked == [
        ("openai/clip-vit-base-patch32", "model.safetensors", "refs/pr/15"),
        ("facebook/dinov2-large", "model.safetensors", None),
        ("some/where", "model.safetensors", None),
    ]


def test_offline_one_sentence_says_what_to_do(monkeypatch):
    def refuse(*given):
        raise OSError("cannot fetch it")

    monkeypatch.setattr(hub, "fetched", refuse)
    with pytest.raises(OSError) as caught:
        metrics.get("clip-vitl14")
    message = f"put model.safetensors of openai/clip-vit-large-patch14 at {vit.cache_path('clip-vitl14')}, or give weights=PATH"
    assert message in str(caught.value)


def test_the_networks_are_float32_under_any_policy():
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = vit.build(small("clip"), size("clip"))
        assert model.output.dtype == "float32" and {each.compute_dtype for each in model.layers[1:]} == {"float32"}
    finally:
        keras.config.set_dtype_policy(policy)
