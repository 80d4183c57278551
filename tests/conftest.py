"""Two logical devices on one CPU, so that replicas are tested without a GPU; and few threads, since workers share cores."""

import gc
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import ops

pytest_plugins = ["rotation"]

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
# Graphs are made of many objects, and what is imported of many more, which the collector need not go through again and again.
gc.set_threshold(100_000, 20, 10)
gc.freeze()
if "UNOPTIMIZED" in os.environ:  # `make test`: to optimise graphs of networks this small takes longer than to run them
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
if "PYTEST_XDIST_WORKER" in os.environ:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Keep the tests of an `xdist_group` on one worker: pytest 9.2 does not read where pytest-xdist 3.8 names the group."""
    for item in items:
        named = getattr(item, "_nodeid", item.nodeid)
        if named != item.nodeid:
            item._id = type(item._id).parse(named)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """What the package keeps in Keras's cache stays with these tests, and nothing of earlier runs is taken from it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        yield


def _resident():
    """Bytes of memory that this process holds; 0 where the system does not say."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.exists() else 0


LIMIT = [2e9]


def _grown():
    """Whether this process has grown so much that the graphs of earlier tests, and then their kernels, have to go."""
    if _resident() < LIMIT[0]:
        return False
    gc.collect()
    LIMIT[0] = max(LIMIT[0], _resident() + 0.5e9)
    return True


@pytest.fixture(autouse=True)
def same_seed():
    """Every test starts from the same global seed."""
    with pytest.MonkeyPatch.context() as patch:
        if not _grown():
            # With a new seed TensorFlow would forget the kernels of all graphs, and make them anew for each test that shares one.
            patch.setattr(context.pywrap_tfe, "TFE_ContextClearCaches", lambda handle: None)
        keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def forgotten_gradients():
    """TensorFlow keeps the gradients of every graph in which gradients are reduced, and the graphs with them, for ever."""
    yield
    registered = ops.gradient_registry._registry
    for name in [name for name in registered if name.startswith("CustomGradient-")]:
        del registered[name]


@pytest.fixture
def no_collection(monkeypatch):
    """For tests that quantize: Keras collects garbage with every weight that goes, among the graphs of hundreds of tests."""
    monkeypatch.setattr(gc, "collect", lambda *generation: 0)


@pytest.fixture
def images():
    """16 smooth gray images of 8x8, uint8: blobs at random places."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:8, :8]
    centres = random.uniform(1, 7, (16, 2, 1, 1))
    blobs = np.exp(-((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2) / 4)
    return (255 * blobs[..., None]).astype("uint8")


@pytest.fixture
def levels_file(tmp_path):
    """Writes a file of images of one level each, which names them: from 0 for training, 100 for validation, 200 for test."""

    def write(side, validation, test):
        path, splits = tmp_path / "levels.npz", {"train": (0, 48), "validation": (100, validation), "test": (200, test)}
        ones = np.ones((side, side, 1), "uint8")
        images = {name: np.arange(first, first + n, dtype="uint8")[:, None, None, None] for name, (first, n) in splits.items()}
        np.savez(path, **{f"{name}_images": levels * ones for name, levels in images.items()})
        return path

    return write


@pytest.fixture(scope="session")
def replicas():
    """A strategy of two replicas. One for all tests: TensorFlow's second on the same devices repeats the first's keys."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
