"""Models that come trained with the package: their files, their cards, and the doors by which a user meets them."""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import keras_genzoo as gz
from keras_genzoo.cli import main
from keras_genzoo.core import averages, pretrained, runs
from keras_genzoo.core.hub import CARD

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import train_pretrained

MODELS = {
    "gan": {"width": 4},
    "vae": {"width": 64, "depth": 1},
    "latent_diffusion": {"width": 64},
    "glow": {"width": 8, "steps": 1},
    "ebm": {"width": 4},
    "autoencoder": {"width": 4},
}


def command(*parts):
    result = CliRunner().invoke(main, [str(part) for part in parts])
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def images():
    return gz.data.as_array(gz.data.load("fashion_mnist_mini", "test"), n=256, seed=0)


def trained(recipe, images, **settings):
    """A model after an epoch of a few steps."""
    model = gz.build(recipe, (28, 28, 1), seed=0, **settings)
    model.fit(images, batch_size=64, epochs=1, verbose=0)
    if hasattr(model, "fit_prior") and not hasattr(model, "sample"):
        model.fit_prior(images)
    return model


@pytest.mark.parametrize("recipe", MODELS)
def test_a_small_file_holds_the_averages_and_how_the_model_was_compiled(recipe, images, tmp_path):
    model = trained(recipe, images, **MODELS[recipe])
    model.save(tmp_path / "whole.keras")
    pretrained.shrink(model, tmp_path / "small.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        small = gz.load(tmp_path / "small.keras")
    assert (tmp_path / "small.keras").stat().st_size < 0.6 * (tmp_path / "whole.keras").stat().st_size
    assert small.get_compile_config() == model.get_compile_config()
    averages.settle(model)
    if hasattr(model, "sample"):
        kept = model.sample(8, seed=3)
        assert np.abs(small.sample(8, seed=3) - kept).mean() < 0.1 * kept.std()  # 16 bits, and no other model
    else:
        np.testing.assert_allclose(small.reconstruct(images[:8]), model.reconstruct(images[:8]), atol=0.02)
    before = small.evaluate(images[:64], verbose=0, return_dict=True)
    history = small.fit(images, batch_size=64, epochs=2, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values()) and before  # it learns on


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A folder of shipped models with one of a run of a step, made as those of the package are."""
    place = tmp_path_factory.mktemp("pretrained")
    settings = ["--steps", 1, "--batch-size", 2000, "--set", "width=4", "--no-jit", "--quiet"]
    code, told = command("train", "vae", "--data", "fashion_mnist_mini", "--out", place / "run", *settings)
    assert code == 0, told
    train_pretrained.ship(place / "run", place / "shipped" / "vae" / "fashion_mnist_mini", n=64)
    return place / "shipped"


@pytest.fixture
def here(shipped, monkeypatch):
    monkeypatch.setattr(pretrained, "FOLDER", shipped)
    return shipped / "vae" / "fashion_mnist_mini"


def test_a_name_is_all_that_a_user_needs(here, tmp_path):
    model = gz.load_pretrained("vae/fashion_mnist_mini")
    np.testing.assert_array_equal(model.sample(2, seed=1), gz.load("fashion_mnist_mini/vae").sample(2, seed=1))
    code, told = command("list", "--pretrained")
    assert code == 0 and "vae/fashion_mnist_mini" in told and "28x28x1" in told and "MiB" in told
    code, told = command("sample", "vae/fashion_mnist_mini", "-n", 4, "--out", tmp_path / "samples.png")
    assert code == 0 and (tmp_path / "samples.png").exists(), told
    code, told = command("evaluate", "vae/fashion_mnist_mini", "-n", 64)
    assert code == 0 and json.loads(told[told.index("{") :])["data"] == "fashion_mnist_mini", told


def test_training_begins_with_its_weights(here, tmp_path):
    settings = ["--steps", 1, "--batch-size", 2000, "--set", "width=4", "--no-jit", "--quiet", "--out", tmp_path / "further"]
    code, told = command("train", "vae", "--from", "vae/fashion_mnist_mini", *settings)
    assert code == 0 and "took" in told and "new are" not in told, told
    assert runs.read(tmp_path / "further")["from"] == "vae/fashion_mnist_mini"


def test_a_card_tells_data_recipe_budget_scores_and_limits(here):
    card, record = (here / CARD).read_text(), runs.read(here)
    parts = ("license: apache-2.0", "# vae", "| width | `4` |", "95 % intervals", "10,000 train", "| FD[fashion-cnn] |", "Cite")
    for part in (*parts, train_pretrained.LIMITS):
        assert part in card
    assert record["sha256"] == pretrained.digest(here / "model.keras")
    mean, low, high = record["scores"]["FD[fashion-cnn]"]
    assert low < mean < high


def test_its_scores_are_those_of_its_card(here):
    found = train_pretrained.score(gz.load_pretrained("vae/fashion_mnist_mini"), "fashion_mnist_mini", n=64)
    known = runs.read(here)["scores"]
    assert found["scores"].keys() == known.keys()
    for name, values in found["scores"].items():
        np.testing.assert_allclose(values, known[name], rtol=1e-3, atol=1e-6, err_msg=name)


def test_a_file_that_is_not_the_shipped_one_is_refused(here, monkeypatch, tmp_path):
    folder = tmp_path / "vae" / "fashion_mnist_mini"
    folder.mkdir(parents=True)
    for file in here.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    whole = bytearray((folder / "model.keras").read_bytes())
    whole[len(whole) // 2] ^= 1
    (folder / "model.keras").write_bytes(whole)
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    for load in (gz.load_pretrained, gz.load):
        with pytest.raises(ValueError, match=r"has the SHA-256 .*, expected .*; install the package anew"):
            load("vae/fashion_mnist_mini")
    code, told = command("sample", "vae/fashion_mnist_mini", "--out", tmp_path / "samples.png")
    assert code == 2 and "SHA-256" in told and not (tmp_path / "samples.png").exists()


def test_a_wrong_name_gets_one_sentence(here):
    with pytest.raises(ValueError, match=r"no trained model 'vae/fashion_mnist' comes with the package; did you mean 'vae/"):
        gz.load_pretrained("vae/fashion_mnist")


def test_a_folder_of_ones_own_goes_before_a_shipped_name(here, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    own = gz.build("dense_autoencoder", (8, 8, 1), width=4)
    own.save_pretrained("vae/fashion_mnist_mini")
    assert gz.load("vae/fashion_mnist_mini").image_shape == (8, 8, 1)


# Those of the package


def test_all_shipped_models_are_small_whole_and_told():
    sizes = []
    for name in pretrained.names():
        pretrained.check(pretrained.FOLDER / name)
        sizes.append((pretrained.FOLDER / name / runs.MODEL).stat().st_size)
        assert (pretrained.FOLDER / name / CARD).exists() and runs.read(pretrained.FOLDER / name)["scores"]
    assert max(sizes, default=0) <= train_pretrained.MOST and sum(sizes) <= 30 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize("name", pretrained.names())
def test_a_shipped_model_scores_what_its_card_says(name):
    record = runs.read(pretrained.FOLDER / name)
    found = train_pretrained.score(gz.load_pretrained(name), record["data"]["source"], record["scored_n"], draws=range(1))
    for score, (mean, low, high) in record["scores"].items():
        margin = max(high - low, 0.02 * abs(mean))
        assert low - margin <= found["scores"][score][0] <= high + margin, score
