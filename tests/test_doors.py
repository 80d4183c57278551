"""What others write: recipes and families from modules, files and installed packages, by every door."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import keras_genzoo as gz
from keras_genzoo import testing
from keras_genzoo.benchmark.results import Folder
from keras_genzoo.cli import main
from keras_genzoo.core import plugins
from keras_genzoo.recipes import Choice, Hyperparameter, arguments

EXAMPLE = Path(__file__).parents[1] / "examples" / "made.py"
SMALL = ["--set", "width=16", "--set", "depth=1"]
pytestmark = pytest.mark.xdist_group("doors")  # one worker, so that one run serves all


def genzoo(*given, code=0, cwd=None):
    """A command in a process of its own, which knows nothing that this one has imported."""
    command = [sys.executable, "-m", "keras_genzoo.cli", *map(str, given)]
    path = os.pathsep.join([str(Path(gz.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, "PYTHONPATH": path})
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.fixture
def registry(monkeypatch):
    """Recipes that a test registers are gone after it."""
    monkeypatch.setattr(gz.recipes.registry, "RECIPES", dict(gz.recipes.RECIPES))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    random = np.random.default_rng(0)
    images = (255 * (random.uniform(size=(96, 6, 6, 1)) < np.linspace(0, 1, 6)[:, None, None])).astype("uint8")
    path = tmp_path_factory.mktemp("data") / "rows.npz"
    np.savez(path, train_images=images[:48], validation_images=images[48:72], test_images=images[72:])
    return path


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The example, trained by its command."""
    out = tmp_path_factory.mktemp("runs") / "made"
    given = ["--data", data, "--out", out, "--epochs", 2, "--batch-size", 8, "--device", "cpu", *SMALL]
    assert "device: CPU" in genzoo("train", "made", "--import", EXAMPLE, *given)
    return out


# The example


def example(**compiled):
    plugins.import_named([str(EXAMPLE)])
    return gz.build("made", (6, 6, 1), width=16, depth=1, ema=0.9, seed=0, **compiled)


def test_the_example_passes_the_model_test_in_every_mode(data):
    with np.load(data) as arrays:
        testing.check_model(example, arrays["train_images"][:16], modes=testing.MODES)


def test_the_model_test_takes_what_a_family_needs_beside_images(data):
    settings = {"neighbours": 2, "width": 8, "depth": 1, "latent_dim": 2, "components": 2, "jit_compile": False}
    with np.load(data) as arrays:
        images = arrays["train_images"][:16]
    batches = gz.data.load(images, batch_size=4, shuffle=False, drop_remainder=True, neighbours=2)
    make = lambda **compiled: gz.build("smooth_autoencoder", (6, 6, 1), seed=0, **{**settings, **compiled})  # noqa: E731
    testing.check_model(make, images, batches=batches)


def test_the_probabilities_of_the_example_sum_to_one():
    plugins.import_named([str(EXAMPLE)])
    model = gz.build("made", (2, 2, 1), width=8, depth=1, seed=0)
    for variable in model.network.trainable_variables:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    every = ((np.arange(16)[:, None] >> np.arange(4)) & 1).reshape(16, 2, 2, 1).astype("float32")
    probability = np.exp(model.log_prob(every))
    assert probability.sum() == pytest.approx(1.0, abs=1e-5)
    # And its samples have them: 4 standard errors of a share.
    samples = model.sample(20_000, seed=0, batch_size=20_000).reshape(-1, 4) @ (1 << np.arange(4))
    found = np.bincount(samples.astype(int), minlength=16) / 20_000
    assert (np.abs(found - probability) < 4 * np.sqrt(probability * (1 - probability) / 20_000) + 1e-6).all()


@pytest.mark.slow
def test_a_saved_model_asks_for_the_file_that_it_was_made_with(trained, tmp_path):
    record = json.loads((trained / "run.json").read_text())
    assert record["recipe"] == "made" and record["imports"] == [str(EXAMPLE)]
    said = genzoo("sample", trained / "model.keras", "--out", tmp_path / "samples.npz", code=2)
    assert f"was made with the file {EXAMPLE}, which is imported only if you ask: add --import" in " ".join(said.split())
    genzoo("sample", trained / "model.keras", "--import", EXAMPLE, "--out", tmp_path / "samples.npz", "-n", 4)
    assert np.load(tmp_path / "samples.npz")["images"].shape == (4, 6, 6, 1)
    shutil.copy(trained / "model.keras", tmp_path / "alone.keras")
    said = genzoo("sample", tmp_path / "alone.keras", "--out", tmp_path / "s.npz", code=2)
    assert "holds a MADE, a class that is not known here" in " ".join(said.split()) and "Traceback" not in said


@pytest.mark.slow
def test_a_module_is_stored_and_found_again(data, tmp_path):
    shutil.copy(EXAMPLE, tmp_path / "my_recipes.py")
    given = ["--data", data, "--out", tmp_path / "run", "--epochs", 1, "--batch-size", 8, *SMALL]
    genzoo("train", "made", "--import", "my_recipes", *given, cwd=tmp_path)
    said = genzoo("evaluate", tmp_path / "run" / "model.keras", "--data", data, "--features", "fashion-cnn", cwd=tmp_path)
    assert '"log_prob"' in said


@pytest.mark.slow
def test_the_benchmark_runs_and_reports_the_example(data, tmp_path):
    out = tmp_path / "bench"
    given = ["--data", data, "--steps", 4, "--batch-size", 8, "--features", "fashion-cnn", "--device", "cpu", "--out", out]
    settings = ["--set", "made.width=16"]
    genzoo("benchmark", "run", "--recipes", "made", "--import", EXAMPLE, *given, *settings)
    (row,) = [row for row in Folder(out).rows() if row["kind"] == "recipe"]
    assert row["status"] == "ok" and row["family"] == "autoregressive" and row["imports"] == [str(EXAMPLE)]
    assert row["scores"]["log_prob"] < 0
    assert "device: CPU" in next(out.glob("runs/made*/log.txt")).read_text()
    frame = Folder(out).frame()
    assert len(frame) == 5 and frame["FD[fashion-cnn]"].notna().all()
    with pytest.raises(ValueError, match="is imported only if you ask"):
        gz.benchmark.run("vae", data, out=out, steps=4)
    genzoo("benchmark", "report", out)  # imports nothing
    assert "MADE: every pixel of a binary image" in (out / "report.html").read_text()


@pytest.mark.slow
def test_the_tuner_searches_the_example(data, tmp_path):
    out = tmp_path / "tune"
    given = [
        "--data",
        data,
        "--epochs",
        1,
        "--trials",
        1,
        "--batch-size",
        8,
        "--n",
        16,
        "--features",
        "fashion-cnn",
        "--out",
        out,
    ]
    ranges = ["--range", "width=8,16,512", "--objective", "val_loss"]
    genzoo("tune", "made", "--import", EXAMPLE, *given, *ranges)
    best = json.loads((out / "best.json").read_text())
    assert best["recipe"] == "made" and best["imports"] == [str(EXAMPLE)]
    assert "device: " in next(out.glob("trials/*/log.txt")).read_text()
    with pytest.raises(ValueError, match="is imported only if you ask"):
        gz.tuning.Search.open(out)
    genzoo("benchmark", "report", out)  # imports nothing
    assert "val_loss" in (out / "report.html").read_text()


# What can go wrong


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("import keras_genzoo as gz\ngz.nothing", "importing {file} failed with AttributeError"),
        (
            "import keras_genzoo as gz\n@gz.recipes.recipe('vae')\ndef vae(image_shape, total_steps):\n    '''A.'''",
            "there is a recipe 'vae' already, of keras_genzoo.recipes.vaes; give yours",
        ),
        (
            "import keras_genzoo as gz\n@gz.recipes.recipe('vae')\ndef own(shape, width=3):\n    '''A.'''",
            "the recipe 'own' takes (shape, width), expected (image_shape, total_steps)",
        ),
        ("import nowhere_to_be_found", "failed with ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(source, sentence, tmp_path):
    file = tmp_path / f"recipes_{abs(hash(source))}.py"
    file.write_text(source)
    result = CliRunner().invoke(main, ["list", "--import", str(file)])
    said = " ".join(result.output.split())
    assert result.exit_code == 2 and sentence.format(file=file) in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("nowhere.py", "there is no file"),
        ("nowhere_at_all", "there is no module 'nowhere_at_all' in"),
    ],
)
def test_what_is_not_there_is_one_sentence(given, sentence):
    result = CliRunner().invoke(main, ["show", "vae", "--import", given])
    assert result.exit_code == 2 and sentence in " ".join(result.output.split())


def test_installed_packages_bring_recipes_and_a_broken_one_only_warns(tmp_path, monkeypatch, registry):
    (tmp_path / "someones_recipes.py").write_text(
        "import keras_genzoo as gz\ngz.recipes.variant('someones_vae', of='vae', summary='A VAE.', beta=2.0)\n"
    )
    (tmp_path / "broken_recipes.py").write_text("raise RuntimeError('no luck')\n")
    for name in ("someones", "broken"):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[keras_genzoo.recipes]\n{name} = {name}_recipes\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "_done", set())
    with pytest.warns(UserWarning, match="the recipes 'broken' of an installed package are left out: .* RuntimeError: no luck"):
        assert "someones_vae" in gz.recipes.names()["vae"]
    assert gz.recipes.get("someones_vae").defaults["beta"] == 2.0


# Hyperparameters


@pytest.mark.parametrize("name", [name for family in gz.recipes.names().values() for name in family])
def test_every_hyperparameter_has_a_meaning(name):
    for each in gz.recipes.describe(name)["hyperparameters"]:
        assert each["meaning"].endswith("."), each
        assert "Defaults to" not in each["meaning"], each


def test_show_tells_hyperparameters_networks_and_execution():
    result = CliRunner().invoke(main, ["show", "dense_autoencoder", "--image-shape", "8x8x1", "--set", "width=16", "--layers"])
    assert result.exit_code == 0, result.output
    for part in ("latent_dim=24", "Dimensions of the code.", "Searched: 8 to 128, log.", "hidden1 (Dense)", "jit_compile=True"):
        assert part in result.output
    model = gz.build("dense_autoencoder", (8, 8, 1), width=16)
    assert f"{model.count_params():,} parameters" in result.output
    wrong = CliRunner().invoke(main, ["show", "vae", "--image-shape", "28"])
    assert wrong.exit_code == 2 and "expected height, width and channels as 28x28x1" in wrong.output


def test_an_argument_that_is_passed_on_is_told_once(registry):
    sizes = arguments(gz.networks.mlp, "depth", prefix="inner_", width=Hyperparameter(8, Choice((8, 16))))

    @gz.recipes.recipe("autoencoder", jit_compile=False)
    def passing(image_shape, total_steps, inner=sizes, latent_dim=2):
        """An autoencoder of a few numbers,
        told in two lines.

        What more there is to say.

        Args:
            latent_dim: int. Dimensions of the code.
        """
        encoder = gz.networks.mlp(image_shape, latent_dim, **inner)
        return gz.models.Autoencoder(encoder, gz.networks.mlp(latent_dim, image_shape, **inner)), {}

    entry = gz.recipes.get("passing")
    assert entry.defaults == {"inner_depth": 2, "inner_width": 8, "latent_dim": 2}
    assert entry.hyperparameters["latent_dim"].meaning == "int. Dimensions of the code."
    assert entry.hyperparameters["inner_width"].meaning.startswith("int or sequence of `depth` ints. Units")
    assert entry.summary == "An autoencoder of a few numbers, told in two lines."
    assert entry.description == "What more there is to say."
    assert entry.search == {"inner_width": Choice((8, 16))}
    layers = gz.build("passing", (8, 8, 1), inner_depth=1, inner_width=16).encoder.layers
    assert [layer.units for layer in layers if isinstance(layer, keras.layers.Dense)] == [16, 2]
    with pytest.raises(TypeError, match="mlp has no argument 'widht'"):
        arguments(gz.networks.mlp, "widht")
    widths = arguments(gz.networks.mlp, "width")
    with pytest.raises(TypeError, match="takes 'width' twice"):
        gz.recipes.recipe("vae")(lambda image_shape, total_steps, sizes=widths, width=3: None)
    with pytest.raises(ValueError, match=r"there is no recipe 'vea', .*Did you mean 'vae'"):
        gz.recipes.variant("own", of="vea", summary="A VAE.")


def test_integers_of_numpy_are_taken_by_build_and_saved(tmp_path):
    model = gz.build("vae", np.array([8, 8, 1]), latent_dim=np.int64(3), width=np.int32(8), beta=np.float32(2.0))
    model.save(tmp_path / "vae.keras")
    assert gz.load(tmp_path / "vae.keras").decoder.input_shape == (None, 3)
    assert gz.build("flow_matching", (8, 8, 1), width=8, multipliers=(1,)).sample(1, steps=np.int64(2)).shape == (1, 8, 8, 1)


# The model test says what is broken


def broken(**changes):
    """The example's class with a promise broken."""
    plugins.import_named([str(EXAMPLE)])
    base = type(example())
    return keras.saving.register_keras_serializable("tests")(type("Broken", (base,), changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"terms": ("score",)}, "`terms` name score, which train_step does not track"),
        ({"monitor": "distance"}, "monitor is 'distance', which fit does not print"),
        ({"call": lambda self, x: self.images_of(x) / 0.0}, "call() returns NaN or infinite values"),
        ({"test_step": lambda self, data: self.train_step(data)}, "two validations in a row give"),
        ({"generate": lambda self, latents: 2.0 + 0.0 * tf.reshape(latents, (-1, 6, 6, 1))}, "sample returns images outside"),
    ],
)
def test_the_model_test_says_which_promise_is_broken(changes, sentence, data):
    kind = broken(**changes)

    def make(**compiled):
        model = kind(gz.networks.made(36, 1, width=8, depth=1), (6, 6, 1), seed=0)
        model.compile(**compiled)
        return model

    with np.load(data) as arrays, pytest.raises((AssertionError, ValueError)) as caught:
        testing.check_model(make, arrays["train_images"][:8])
    assert sentence in str(caught.value)


def test_a_family_without_an_image_shape_is_told_so():
    class Nothing(gz.GenerativeModel):
        pass

    with pytest.raises(AttributeError, match="Nothing does not say what images it takes; give it `image_shape`"):
        Nothing().image_shape  # noqa: B018
