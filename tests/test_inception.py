"""The Inception network of 2015 against torch-fidelity's, its weights file, and the names of its scores."""

import io
import runpy
import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_genzoo import metrics
from keras_genzoo.metrics import inception

ROOT = Path(__file__).parents[1]
SCRIPT = runpy.run_path(ROOT / "scripts/reference_inception.py")
REFERENCE = ROOT / "tests/data/inception_reference.npz"
WEIGHTS = inception.cache_path()  # before the tests get a cache of their own
pytestmark = pytest.mark.xdist_group("inception")  # one worker, so that its network is made once
CIFAR10 = Path.home() / ".keras/datasets/cifar-10-batches-bin"  # of cifar-10-binary.tar.gz, which holds no pickle


@pytest.fixture(scope="module")
def constants():
    return SCRIPT["constants"](SCRIPT["SEED"])


@pytest.fixture(scope="module")
def network(constants):
    model = inception.build()
    inception.set_constants(model, constants)
    return model


@pytest.fixture(scope="module")
def graph(constants):
    """The bytes of a frozen graph with these constants, and another node or two."""
    definition = tf.compat.v1.GraphDef()
    definition.node.add(name="ExpandDims/dim", op="Const").attr["value"].tensor.CopyFrom(tf.make_tensor_proto(0))
    definition.node.add(name="softmax", op="Softmax")
    for name, array in constants.items():
        definition.node.add(name=name, op="Const").attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
    return definition.SerializeToString()


def archive(path, member, content):
    with tarfile.open(path, "w:gz", compresslevel=1) as file:
        about = tarfile.TarInfo(member)
        about.size = len(content)
        file.addfile(about, io.BytesIO(content))
    return path


def test_features_and_logits_equal_torch_fidelitys_with_the_same_weights(network):
    outputs = [network.get_layer(name).output for name in ("pool_3", "logits", "logits_unbiased")]
    model = keras.Model(network.inputs, outputs)
    batches = [inception.preprocess(images.astype("float32") / 255) for images in SCRIPT["images"](SCRIPT["SEED"])]
    rows = [model(batch, training=False) for batch in batches]
    with np.load(REFERENCE) as reference:
        for name, values in zip(("2048", "logits", "logits_unbiased"), zip(*rows, strict=True), strict=True):
            found, expected = np.concatenate(values), reference[name]
            assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
            assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)


def test_weights_come_from_the_archive_and_from_the_graph_in_it(graph, network, tmp_path):
    (tmp_path / inception.MEMBER).write_bytes(graph)
    packed = archive(tmp_path / inception.ARCHIVE, inception.MEMBER, graph)
    for path in (tmp_path / inception.MEMBER, packed):
        model, digest, known = inception.load(path)
        assert not known and len(digest) == 64
        for found, expected in zip(model.weights, network.weights, strict=True):
            np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_only_the_known_graph_is_called_fid(graph, tmp_path, monkeypatch):
    path = tmp_path / "graph.pb"
    path.write_bytes(graph)
    other = metrics.inception_features(path)
    assert other.name.startswith("inception-") and metrics.score_name("FD", other) == f"FD[{other.name}]"
    monkeypatch.setattr(inception, "GRAPH_BYTES", len(graph))
    for resize, behind in (("tf1", ""), ("clean", "[clean]")):
        features = metrics.inception_features(path, resize)
        names = [metrics.score_name(symbol, features) for symbol in ("FD", "KD", "IS", "rFD", "FD_inf")]
        assert names == [name + behind for name in ("FID", "KID", "IS", "rFID", "FID_inf")]
        assert features.hash == other.hash and features.dim == 2048
    assert metrics.FrechetDistance(features).name == "FID[clean]"
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 1), dtype=np.uint8)
    values = features(images)
    assert values.shape == (3, 2048) and features.logits(values).shape == (3, 1008)
    np.testing.assert_allclose(values, features(np.repeat(images, 3, axis=-1)), rtol=1e-5)  # gray is replicated


def test_spatial_features_are_seven_channels_of_a_layer_and_give_sfid(graph, network, tmp_path, monkeypatch):
    path = tmp_path / "graph.pb"
    path.write_bytes(graph)
    other = metrics.inception_features(path, spatial=True)
    assert other.name.startswith("inception-spatial-") and metrics.score_name("FD", other) == f"FD[{other.name}]"
    monkeypatch.setattr(inception, "GRAPH_BYTES", len(graph))
    features = metrics.inception_features(path, spatial=True)
    names = [metrics.score_name(symbol, features) for symbol in ("FD", "KD")]
    assert names == ["sFID", "KD[inception-spatial]"] and features.dim == 17 * 17 * 7 == 2023 and features.logits is None
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3), dtype=np.uint8)
    layer = keras.Model(network.inputs, network.get_layer("mixed_6_conv").output)
    expected = np.asarray(layer(inception.preprocess(images.astype("float32") / 255)))
    np.testing.assert_allclose(features(images), expected[..., :7].reshape(2, -1), rtol=1e-4, atol=1e-5)


def test_the_clean_resize_is_pillows_bicubic_on_floats():
    random = np.random.default_rng(0)
    for shape in ((32, 32, 3), (28, 28, 1), (400, 333, 3)):
        image = random.integers(0, 256, shape, dtype=np.uint8)
        channels = [
            Image.fromarray(image[..., c].astype("float32"), "F").resize((299, 299), Image.BICUBIC) for c in range(shape[2])
        ]
        expected = np.stack([np.asarray(channel).clip(0, 255) for channel in channels], axis=-1)
        found = 128 * inception.preprocess(image[None].astype("float32") / 255, "clean")[0].numpy() + 128
        assert np.abs(found - expected).max() < 0.01  # of 255


def test_offline_one_sentence_says_where_the_weights_go_and_what_to_use_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def refuse(*args, **kwargs):
        raise Exception("URL fetch failure")  # what Keras raises

    monkeypatch.setattr(keras.utils, "get_file", refuse)
    with pytest.raises(OSError) as caught:
        metrics.get("inception")
    message = str(caught.value)
    assert inception.ARCHIVE in message and str(tmp_path / "genzoo") in message and "efficientnet-lite0" in message
    assert metrics.default_features() == "efficientnet-lite0"
    monkeypatch.setattr(inception, "available", lambda: True)
    found = [metrics.default_features(channels=channels) for channels in (None, 1, 3, 5)]
    assert found == ["inception", "inception", "inception", "efficientnet-lite0"]  # which sees gray and RGB alone
    assert metrics.default_features("fashion_mnist_mini", 1) == "fashion-cnn"


def test_a_torn_download_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "genzoo").mkdir()
    inception.cache_path().write_bytes(b"half")
    with pytest.raises(OSError, match="4 bytes, expected 88,931,400: remove it"):
        inception.fetch()


def test_files_that_are_not_the_network_are_refused(constants, network, tmp_path):
    path = tmp_path / "file.pb"
    path.write_bytes(b"not a graph")
    with pytest.raises(ValueError, match="no frozen graph"):
        inception.load(path)
    with pytest.raises(ValueError, match="holds no classify_image_graph_def"):
        inception.load(archive(tmp_path / "other.tgz", "readme.txt", b"hello"))
    with pytest.raises(OSError):
        inception.load(tmp_path / "missing.tgz")
    lacking = {name: array for name, array in constants.items() if name != "mixed_5/conv/conv2d_params"}
    with pytest.raises(ValueError, match="has nothing as mixed_5_conv_conv2d_params"):
        inception.set_constants(network, lacking)
    with pytest.raises(ValueError, match="1 convolutions that the Inception network of 2015 has not"):
        inception.set_constants(network, constants | {"extra/conv2d_params": np.zeros((1, 1, 3, 3))})
    with pytest.raises(ValueError, match="resize is 'nearest'"):
        metrics.inception_features(path, resize="nearest")
    with pytest.raises(ValueError, match="5 channels"):
        inception.preprocess(tf.zeros((1, 8, 8, 5)))


@pytest.mark.slow
@pytest.mark.skipif(
    not (WEIGHTS.exists() and CIFAR10.exists()),
    reason=f"needs {WEIGHTS} and CIFAR-10's binary version at {CIFAR10}",
)
def test_cifar10_scores_equal_torch_fidelitys_golden_numbers():
    def images(files, n):
        records = np.concatenate([np.fromfile(CIFAR10 / file, np.uint8).reshape(-1, 3073) for file in files])
        chosen = np.sort(np.random.RandomState(2020).choice(n, 5000, replace=False))
        return records[chosen, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)

    train = images([f"data_batch_{i}.bin" for i in range(1, 6)], 50_000)
    test = images(["test_batch.bin"], 10_000)
    scores = metrics.SampleMetrics(test, features=metrics.inception_features(WEIGHTS))(train)
    assert scores["FID"] == pytest.approx(10.3233274, abs=1e-3)
    assert scores["IS"] == pytest.approx(10.75051, abs=1e-2)
    assert scores["KID"] == pytest.approx(-2.907863e-05, abs=1e-7)
    assert scores["precision"] == pytest.approx(0.6852, abs=1e-3) and scores["recall"] == pytest.approx(0.6908, abs=1e-3)


def test_a_file_of_weights_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"there is no file .*nothere.tgz; expected {inception.ARCHIVE}"):
        metrics.inception_features(weights=tmp_path / "nothere.tgz")
