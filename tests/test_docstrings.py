"""The examples in docstrings run, and give what they say."""

import doctest
import importlib
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_genzoo as gz

# The examples are of 64 images, which are quick.
pytestmark = pytest.mark.filterwarnings("ignore:.*is biased upwards:UserWarning")
MODULES = ["keras_genzoo", *(module.name for module in pkgutil.walk_packages(gz.__path__, "keras_genzoo."))]
EXAMPLES = [
    example
    for name in MODULES
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name), name)
    if example.examples
]


class Checker(doctest.OutputChecker):
    """An example that shows no output may have some, such as a progress bar."""

    def check_output(self, want, got, optionflags):
        return not want or super().check_output(want, got, optionflags)


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the examples take as given: images and a small model."""
    monkeypatch.chdir(tmp_path)
    images = gz.data.as_array(gz.data.load(split="test", batch_size=64), n=64)
    return {
        "gz": gz,
        "keras_genzoo": gz,
        "keras": keras,
        "np": np,
        "tf": tf,
        "images": images,
        "train_images": images[:32],
        "test_images": images[32:],
        "x": images[:4] / np.float32(255),
        "y": images[4:8] / np.float32(255),
        "batch": 4,
        "train": tf.data.Dataset.from_tensor_slices(images).batch(32),
        "model": gz.build("vae", image_shape=(28, 28, 1), width=16, latent_dim=4, jit_compile=False, steps_per_execution=1),
    }


@pytest.fixture(autouse=True)
def recipes(monkeypatch):
    """Recipes that an example registers are gone after it."""
    monkeypatch.setattr(gz.recipes.registry, "RECIPES", dict(gz.recipes.RECIPES))


# The model test itself runs in tests/test_doors.py, and for every recipe in tests/test_case.py.
SLOW = {"keras_genzoo.testing.check_model"}
# Nor do those of the larger families show more than the tests of these.
SLOW |= {f"keras_genzoo.models.{name}" for name in ("diffusion.Diffusion", "latent_diffusion.LatentDiffusion", "flow.Flow")}
SLOW |= {f"keras_genzoo.models.{name}" for name in ("wae.WAE", "rbm.RBM", "vqvae.VQVAE", "energy.EnergyModel")}
SLOW |= {"keras_genzoo.models.autoregressive.AutoregressiveModel"}


@pytest.mark.parametrize(
    "example",
    [pytest.param(each, id=each.name, marks=pytest.mark.slow if each.name in SLOW else ()) for each in EXAMPLES],
)
def test_the_example_runs(example, names):
    example.globs = {**vars(importlib.import_module(example.globs["__name__"])), **names}
    runner = doctest.DocTestRunner(Checker(), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    report = []
    runner.run(example, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
