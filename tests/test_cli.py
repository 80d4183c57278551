"""The command line from data to scores, as a user types it."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types

import click
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import keras_genzoo as gz
from keras_genzoo.cli import main, watching

SMALL = ["--set", "width=8", "--set", "latent_dim=2", "--no-jit"]


def genzoo(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 40 small colour images, as a user's own."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for index in range(40):
        Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype="uint8")).save(folder / f"{index}.png")
    return folder


@pytest.mark.slow
def test_the_learning_rate_falls_to_zero_though_batches_hold_images_for_each_step_of_the_critic(photos, tmp_path):
    arguments = ["--data", photos, "--image-size", 12, "--epochs", 2, "--batch-size", 2, "--set", "kind='dense'"]
    genzoo("train", "wgan_gp", *arguments, *SMALL, "--out", tmp_path)
    model = gz.load(tmp_path / "model.keras")
    # 32 training images make three batches of two, with four further images for each
    assert int(model.optimizer.iterations) == 6 and int(model.critic_optimizer.iterations) == 30
    assert float(model.optimizer.learning_rate) == pytest.approx(0, abs=1e-9)


@pytest.mark.filterwarnings("ignore:.*is biased upwards:UserWarning")  # of 32 images
def test_train_sample_and_evaluate_on_a_folder_of_photos(photos, tmp_path):
    out = tmp_path / "run"
    arguments = ["--data", photos, "--image-size", 12, "--epochs", 2, "--batch-size", 8, "--set", "components=1"]
    genzoo("train", "dense_autoencoder", *arguments, *SMALL, "--out", out)
    assert {path.name for path in out.iterdir()} >= {"model.keras", "history.csv", "samples.png", "reconstructions.png"}
    assert len((out / "history.csv").read_text().splitlines()) == 3
    assert (out / "progress" / "reconstructions-0002.png").exists()

    genzoo("sample", out / "model.keras", "--out", tmp_path / "sheet.png", "-n", 9)
    assert Image.open(tmp_path / "sheet.png").size == (76, 76)  # 3 images of 12 pixels, 2 lines, each pixel twice as large
    genzoo("sample", out / "model.keras", "--out", tmp_path / "array.npz", "-n", 12, "--seed", 5)
    array = np.load(tmp_path / "array.npz")["images"]
    assert array.shape == (12, 12, 12, 3) and array.dtype == np.uint8
    genzoo("sample", out / "model.keras", "--out", tmp_path / "folder", "-n", 12, "--seed", 5)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "folder" / "07.png")), array[7])

    chosen = ["--data", photos, "--split", "train", "--features", "fashion-cnn"]
    printed = genzoo("evaluate", out / "model.keras", *chosen, "--out", tmp_path / "scores.json")
    scores = json.loads(printed[printed.index("{") :])  # behind the line of the device, which goes to stderr
    assert scores == json.loads((tmp_path / "scores.json").read_text())
    assert scores["split"] == "train" and scores["mse"] > 0 and scores["FD[fashion-cnn]"] > 0
    assert scores["n_real"] == scores["n_generated"] == len(gz.data.as_array(gz.data.load(photos, "train", image_size=12)))


@pytest.mark.parametrize(
    "recipe, settings",
    [
        ("smooth_autoencoder", ["components=1", "neighbours=2"]),
        pytest.param("conditional_gan", ["num_classes=2", "depth=1", "hidden=8"], marks=pytest.mark.slow),
    ],
)
def test_train_loads_what_a_model_needs_beside_images(recipe, settings, photos, tmp_path):
    for index, photo in enumerate(sorted(photos.iterdir())):
        folder = tmp_path / "photos" / f"class{index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / photo.name).symlink_to(photo)
    arguments = ["--data", tmp_path / "photos", "--image-size", 8, "--epochs", 1, "--batch-size", 8]
    arguments += [argument for setting in settings for argument in ("--set", setting)]
    genzoo("train", recipe, *arguments, *SMALL, "--out", tmp_path / "run")
    genzoo("sample", tmp_path / "run" / "model.keras", "--out", tmp_path / "samples.npz", "-n", 4)
    assert np.load(tmp_path / "samples.npz")["images"].shape == (4, 8, 8, 3)


def test_labels_of_too_many_classes_leave_no_folder(photos, tmp_path):
    for index, photo in enumerate(sorted(photos.iterdir())):
        folder = tmp_path / "photos" / f"class{index % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / photo.name).symlink_to(photo)
    arguments = ["train", "conditional_gan", "--data", tmp_path / "photos", "--image-size", 8, "--out", tmp_path / "run", *SMALL]
    result = CliRunner().invoke(main, [str(argument) for argument in [*arguments, "--set", "num_classes=2"]])
    assert result.exit_code == 2 and "build the model with num_classes=3" in result.output
    assert not (tmp_path / "run").exists()


def refused(*arguments):
    """The sentence with which a command is refused."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def shades(tmp_path_factory):
    """An archive of gray images, four batches of eight for training."""
    path = tmp_path_factory.mktemp("shades") / "shades.npz"
    random = np.random.default_rng(0)
    np.savez(path, **{f"{name}_images": random.integers(0, 256, (n, 8, 8), "uint8") for name, n in [("train", 32), ("test", 8)]})
    return path


@pytest.fixture(scope="module")
def vae(shades, tmp_path_factory):
    """A command that trains for three epochs, without its --out, and the folder of a run that it ended."""
    command = ["train", "vae", "--data", shades, "--epochs", 3, "--batch-size", 8, *SMALL, "--set", "ema=0.9"]
    out = tmp_path_factory.mktemp("vae")
    genzoo(*command, "--out", out)
    return command, out


def values_of(folder):
    model = gz.load(folder / "model.keras")
    return [np.array(variable) for variable in (*model.variables, *model.optimizer.variables)]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_the_same_command_goes_on_where_a_signal_ended_it(number, vae, tmp_path, monkeypatch):
    command, whole = vae
    with monkeypatch.context() as patch:
        patch.setattr(gz.callbacks.SampleGrid, "on_epoch_end", lambda self, epoch, logs: epoch and os.kill(os.getpid(), number))
        result = CliRunner().invoke(main, [*map(str, command), "--out", str(tmp_path)])
    assert result.exit_code == 128 + number and "the same command goes on" in result.output
    assert gz.load(tmp_path / "model.keras").optimizer.iterations == 6  # what it was then
    assert "going on from epoch 3 of 3" in genzoo(*command, "--out", tmp_path)
    assert (tmp_path / "history.csv").read_text() == (whole / "history.csv").read_text()
    for one, other in zip(values_of(tmp_path), values_of(whole), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_knows_what_it_is(vae, shades):
    _, out = vae
    record = json.loads((out / "run.json").read_text())
    assert record["recipe"] == "vae" and record["hyperparameters"]["latent_dim"] == 2 and record["hyperparameters"]["beta"] == 1
    assert record["data"]["source"] == str(shades) and record["hyperparameters"]["seed"] == 0
    train = np.load(shades)["train_images"]
    used = gz.data.as_array(gz.data.load(shades, "train", shuffle=False))
    assert record["data"]["images"]["train"] == {"count": len(used), "sha256": hashlib.sha256(used.tobytes()).hexdigest()}
    assert len(used) < len(train) and set(record["data"]["images"]) == {"train", "validation", "test"}
    assert record["environment"]["keras"] == keras.__version__ and len(record["environment"]["code"]) == 64
    assert record["trained_epochs"] == 3


def test_a_folder_is_of_one_run(vae, shades, tmp_path):
    command, out = vae
    before = (out / "model.keras").read_bytes()
    assert "has trained its 3 epochs" in genzoo(*command, "--out", out)
    assert "planned for 3 epochs, not 4" in refused(*command, "--epochs", 4, "--out", out)
    assert "latent_dim 2 there and 3 here" in refused(*command, "--set", "latent_dim=3", "--out", out)
    assert "batch_size 8 there and 4 here" in refused(*command, "--batch-size", 4, "--out", out)
    np.savez(tmp_path / "others.npz", train_images=np.load(shades)["train_images"], test_images=np.zeros((8, 8, 8), "uint8"))
    assert "the test images are others" in refused(*command, "--data", tmp_path / "others.npz", "--out", out)
    assert (out / "model.keras").read_bytes() == before
    (tmp_path / "model.keras").touch()
    assert "nothing that says of which run" in refused(*command, "--out", tmp_path)
    (tmp_path / "run.json").write_text("{")
    assert "run.json is no JSON" in refused(*command, "--out", tmp_path)


def test_a_run_that_diverged_says_so_again(shades, tmp_path, monkeypatch):
    command = ["train", "vae", "--data", shades, "--batch-size", 8, *SMALL, "--set", "learning_rate=1e30", "--out", tmp_path]
    with monkeypatch.context() as patch:
        patch.setattr(gz.GenerativeModel, "save", lambda *args, **kwargs: sys.exit(1))  # killed before it is told
        result = CliRunner().invoke(main, [str(argument) for argument in command])
    assert result.exit_code == 1 and "warning: " in result.output and "Lower the learning rate" in result.output
    genzoo(*command)
    assert "has ended: the training loss became" in genzoo(*command)
    assert np.isfinite(np.concatenate([value.ravel() for value in values_of(tmp_path)])).all()


def test_a_fresh_run_removes_the_one_before(shades, tmp_path):
    command = [
        "train",
        "dense_autoencoder",
        "--data",
        shades,
        "--batch-size",
        8,
        *SMALL,
        "--set",
        "components=1",
        "--out",
        tmp_path,
    ]
    genzoo(*command, "--epochs", 2)
    assert "there is no 'val_speed', expected one of val_fd, val_loss" in refused(*command, "--fresh", "--keep-best", "val_speed")
    before = values_of(tmp_path)
    assert "the run in" in refused(*command, "--epochs", 3)
    genzoo(*command, "--epochs", 1, "--fresh", "--keep-best", "val_loss", "--seed", 1)
    assert [path.name for path in (tmp_path / "progress").iterdir()] == ["reconstructions-0001.png"]
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 2
    after = values_of(tmp_path)
    assert not all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    best = gz.load(tmp_path / "best.keras")
    np.testing.assert_array_equal(best.encoder.get_weights()[0], gz.load(tmp_path / "model.keras").encoder.get_weights()[0])


@pytest.mark.slow
def test_more_epochs_go_on_where_rates_are_constant(shades, tmp_path):
    command = ["train", "dcgan", "--data", shades, "--batch-size", 8, "--set", "width=8", "--no-jit", "--constant-rates"]
    genzoo(*command, "--epochs", 1, "--out", tmp_path / "parts")
    assert "going on from epoch 2 of 2" in genzoo(*command, "--epochs", 2, "--out", tmp_path / "parts")
    genzoo(*command, "--epochs", 2, "--out", tmp_path / "whole")
    for one, other in zip(values_of(tmp_path / "parts"), values_of(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_begins_from_the_weights_of_another(vae, shades, tmp_path):
    command, out = vae
    unmoved = ["--set", "learning_rate=1e-30", "--epochs", 1]
    told = genzoo(*command, *unmoved, "--from", out, "--set", "latent_dim=3", "--out", tmp_path / "run")
    assert "weights; new are encoder" in told
    source, model = gz.load(out / "model.keras"), gz.load(tmp_path / "run" / "model.keras")
    averages = {id(variable): average for variable, average in source._averages.all}
    kernel = source.encoder.weights[0]
    assert not np.allclose(kernel, averages[id(kernel)])
    np.testing.assert_allclose(model.encoder.weights[0], averages[id(kernel)], rtol=1e-6)
    assert "no weights of the VAE fit" in refused(
        "train", "rbm", *command[2:6], *unmoved, "--from", out, "--out", tmp_path / "rbm"
    )


def test_a_model_is_scored_on_the_images_of_its_run(vae, shades, tmp_path):
    _, out = vae
    scored = lambda *arguments: json.loads("{" + genzoo("evaluate", *arguments).partition("{")[2])  # noqa: E731
    scores = scored(out, "--features", "fashion-cnn")
    assert scores["data"] == str(shades) and scores["n_real"] == 8 and "nearest_train[fashion-cnn]" in scores
    between = scored(out, "--features", "fashion-cnn", "--controls")["controls"]
    floor, ceiling = between["real train images"], between["pixel Gaussian"]
    assert floor["KD[fashion-cnn]"] < ceiling["KD[fashion-cnn]"] and set(floor) == set(ceiling) >= {"authenticity", "coverage"}
    others = scored(out, "--features", "fashion-cnn", "--data", "fashion_mnist_mini", "-n", 20)
    assert others["n_real"] == 20 and "nearest_train[fashion-cnn]" not in others  # it did not learn from those
    shutil.copy(out / "model.keras", tmp_path / "model.keras")
    assert "say it by --data" in refused("evaluate", tmp_path)
    assert "holds no model.keras" in refused("evaluate", tmp_path.parent)
    shutil.copy(out / "run.json", tmp_path / "run.json")
    record = json.loads((out / "run.json").read_text())
    np.savez(tmp_path / "shades.npz", train_images=np.zeros((32, 8, 8), "uint8"), test_images=np.zeros((8, 8, 8), "uint8"))
    record["data"]["source"] = str(tmp_path / "shades.npz")
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert "are not those of the run any more" in refused("evaluate", tmp_path / "model.keras")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Samples that something else made: sorted images of two classes, as a file and as a folder."""
    folder, random = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    labels = np.repeat([0, 1], 30)
    images = (100 * labels[:, None, None, None] + random.integers(0, 100, (60, 6, 6, 1))).astype("uint8")
    np.savez(folder / "made.npz", images, labels)
    np.savez(folder / "real.npz", images=images[::-1], labels=labels[::-1])
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / "folder" / "ab"[label] / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)
    return folder


@pytest.mark.filterwarnings("ignore:.*is biased upwards:UserWarning")  # of 60 images
def test_images_of_any_origin_are_scored(made, tmp_path):
    settings = ["--against", made / "real.npz", "--features", "fashion-cnn"]
    printed = genzoo(
        "score", made / "made.npz", *settings, "--train", made / "folder", "--json", "--out", tmp_path / "scores.json"
    )
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert json.loads(printed[printed.index("{") :]) == scores and scores["split"] == "all"
    assert scores["precision"] == scores["coverage"] == 1 == pytest.approx(scores["sharpness"]) and scores["n_real"] == 60
    assert scores["classes"] == "labels" and scores["modes"] == 2 and list(scores["class_KD[fashion-cnn]"]) == ["0", "1"]
    assert scores["nearest_train[fashion-cnn]"] == pytest.approx(0, abs=1e-5) and scores["n_train"] == 60
    images = {name: each["sha256"] for name, each in scores["images"].items()}
    assert images["samples"] == images["train"] != images["against"] and scores["features_dim"] == 128

    table = genzoo("score", made / "folder", *settings, "-n", 40, "--seed", 1)
    lines = dict(line.split(maxsplit=1) for line in table.splitlines() if line.startswith(("n_", "modes", "FD")))
    assert lines["n_generated"] == lines["n_real"] == "40" and lines["modes"] == "2"  # of a sorted folder both classes are drawn

    mismatch = refused("score", made / "made.npz", "--against", "fashion_mnist_mini")
    assert "samples have 6x6x1 pixels and channels and real images 28x28x1" in mismatch and "--image-size" in mismatch
    assert "there is no file or folder" in refused("score", made / "none.npz", *settings)
    np.save(tmp_path / "signed.npy", np.linspace(-1, 1, 6 * 36).reshape(6, 6, 6, 1))
    assert "use `(images + 1) / 2`" in refused("score", tmp_path / "signed.npy", *settings)
    np.save(tmp_path / "first.npy", np.zeros((6, 3, 6, 6), "uint8"))
    assert "channels come last" in refused("score", tmp_path / "first.npy", *settings)


def test_images_are_scored_against_statistics_alone(made, tmp_path):
    features = gz.metrics.get("fashion-cnn")(np.load(made / "real.npz")["images"]).astype("float64")
    np.savez(tmp_path / "stats.npz", mu=features.mean(axis=0), sigma=np.cov(features, rowvar=False))
    printed = genzoo("score", made / "made.npz", "--against", tmp_path / "stats.npz", "--features", "fashion-cnn", "--json")
    assert printed.count("from 60 images and 128 features is biased") == 1
    scores = json.loads(printed[printed.index("{") : printed.rindex("}") + 1])
    assert scores["FD[fashion-cnn]"] == pytest.approx(0, abs=1e-3) and "KID" in scores["not_computed"]
    assert "has 2048; take the features" in refused("score", made / "made.npz", "--against", tmp_path / "stats.npz")
    sentence = refused("score", made / "made.npz", "--against", tmp_path / "stats.npz", "--train", made / "folder")
    assert "holds statistics of images and no images, so --train means nothing" in sentence


def test_list_names_every_recipe_and_shipped_data_set():
    output = genzoo("list")
    for name in [*(name for names in gz.recipes.names().values() for name in names), *gz.data.names()]:
        assert name in output
    family = output.partition("autoencoder:\n")[2].partition(":\n")[0].splitlines()
    autoencoders = [line for line in family if "_autoencoder " in line and line.startswith("  ")]
    assert len({len(line) - len(line.split(maxsplit=1)[1]) for line in autoencoders}) == 1  # summaries begin below each other


def test_help_tells_each_command_in_a_whole_sentence():
    for group in ((), ("benchmark",)):
        told = genzoo(*group, "--help").partition("Commands:\n")[2].strip().splitlines()
        assert len(told) > 5 and all(line.endswith(".") and not line.endswith("...") for line in told), told


def test_help_tells_what_every_option_means():
    def options(command, path):
        found = [(path, option.opts[0]) for option in command.params if isinstance(option, click.Option) and not option.help]
        return sum((options(each, f"{path} {name}") for name, each in getattr(command, "commands", {}).items()), found)

    assert options(main, "genzoo") == []


def test_show_tells_of_every_hyperparameter_more_than_its_type():
    bare = re.compile(r"(int|float|bool|str)\b( or None)?(,? (above|at least|up to|in) [^.;]*)?(; the paper's \w+)?\.")
    for name, entry in gz.recipes.RECIPES.items():
        assert [key for key, each in entry.hyperparameters.items() if bare.fullmatch(each.meaning)] == [], name


def test_help_has_an_example_for_every_command_that_takes_arguments():
    for command in ("prepare", "train", "sample", "evaluate", "score"):
        assert f"genzoo {command}" in genzoo(command, "--help")


def test_an_interrupt_keeps_the_model_trained_so_far(photos, tmp_path):
    command = [
        sys.executable,
        "-m",
        "keras_genzoo.cli",
        "train",
        "vae",
        "--data",
        photos,
        "--image-size",
        "8",
        "--batch-size",
        "8",
    ]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        [*map(str, command), "--epochs", "100000", *SMALL, "--out", str(tmp_path)],
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # jobs in the background ignore it
    )
    try:
        deadline = time.monotonic() + 120
        history = tmp_path / "history.csv"
        while not history.exists() or len(history.read_text().splitlines()) < 2:  # an epoch has ended
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
    finally:
        process.kill()
    assert gz.load(tmp_path / "model.keras").optimizer.iterations > 0


# What the commands hand on


@pytest.fixture
def named(levels_file):
    return levels_file(8, validation=12, test=10)


def levels(images):
    return np.asarray(gz.data.as_array(images))[:, 0, 0, 0].tolist()


class Recorder:
    """Stands for a model, and writes down what is done with it."""

    data_needs, image_shape, num_classes = {}, (8, 8, 1), None
    monitor = condition_dim = None

    def __init__(self):
        self.seen = {}

    def fit(self, images, validation_data, epochs, callbacks, verbose):
        self.seen |= {
            "verbose": verbose,
            "train": levels(images),
            "batch": len(next(iter(images))),
            "validation": levels(validation_data),
        }
        self.seen |= {"epochs": epochs, "callbacks": callbacks}
        return types.SimpleNamespace(epoch=list(range(epochs)))

    def fit_prior(self, images):
        self.seen["prior"] = levels(images)

    def reconstruct(self, images):
        self.seen["shown"] = levels(images)
        return np.zeros(images.shape, "float32")

    def images_of(self, images):
        return images / np.float32(255)

    def sample(self, n, seed, batch_size=None):
        self.seen["sample"] = n, seed, batch_size
        return np.random.default_rng(seed).random((n, 8, 8, 1), dtype="float32")

    def sample_batches(self, n, seed, batch_size, **settings):
        yield self.sample(n, seed, batch_size)

    def save(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("saved")


def test_train_learns_from_training_images_and_watches_validation_images(named, tmp_path, monkeypatch):
    orders = []
    for seed in (3, 4):
        keras.utils.set_random_seed(0)  # which the command before has set
        model, built = Recorder(), []
        monkeypatch.setattr(gz, "build", lambda *args, model=model, built=built, **kwargs: built.append((args, kwargs)) or model)
        common = ["--data", named, "--epochs", 3, "--batch-size", 8, "--seed", seed, "--set", "latent_dim=5", "--jit"]
        genzoo("train", "vae", *common, "--mixed-precision", "mixed_bfloat16", "--out", tmp_path / f"run{seed}")
        expected = {"dtype": "mixed_bfloat16", "jit_compile": True, "seed": seed, "latent_dim": 5}
        assert built == [(("vae", (8, 8, 1), 18), expected)]
        seen = model.seen
        assert sorted(seen["train"]) == sorted(seen["prior"]) == list(range(48))
        assert seen["validation"] == seen["shown"] == list(range(100, 112))
        assert (seen["batch"], seen["epochs"], seen["sample"]) == (8, 3, (64, seed, None))
        (grid,) = (each for each in seen["callbacks"] if isinstance(each, gz.callbacks.SampleGrid))
        assert levels(grid.images) == list(range(100, 112))
        assert any(isinstance(each, gz.callbacks.StopOnDivergence) for each in seen["callbacks"])
        orders.append(seen["train"])
        gz.images.write_png(tmp_path / "expected.png", Recorder().sample(64, seed))
        assert (tmp_path / f"run{seed}" / "samples.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
    assert orders[0] != orders[1]


def test_train_takes_subfolders_for_classes_and_mirrors_images_if_told_so(tmp_path, monkeypatch):
    for level, name in enumerate(["train"] * 8 + ["test"] * 8 + ["extra"] * 8):
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        pixels = np.full((8, 8), level, "uint8") + np.uint8([0] * 4 + [100] * 4)
        Image.fromarray(pixels).save(tmp_path / "data" / name / f"{level}.png")
    command = ["train", "vae", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--batch-size", "2"]
    model = Recorder()
    monkeypatch.setattr(gz, "build", lambda *args, **kwargs: model)
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2 and "extra beside them" in result.output and "--no-splits" in result.output
    genzoo(*command, "--no-splits")
    assert len(model.seen["train"]) == 20 and {level // 8 for level in model.seen["train"]} == {0, 1, 2}
    genzoo(*command, "--no-splits", "--flip", "--fresh")
    assert 2 < sum(level >= 100 for level in model.seen["train"]) < 18
    assert max(model.seen["validation"]) < 100


def write_levels(folder, count, classes=("a", "b")):
    for index in range(count):
        path = folder / classes[index % len(classes)] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), index % 256, "uint8")).save(path)
    return str(folder)


def test_train_says_what_it_sees_and_chooses_batches_that_suit_it(tmp_path, monkeypatch):
    model = Recorder()
    monkeypatch.setattr(gz, "build", lambda *args, **kwargs: model)
    command = ["train", "vae", "--data", write_levels(tmp_path / "data", 500), "--channels", "1", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    told = (
        "400 train / 50 validation / 50 test images of 8x8x1, 2 classes, split here; 12 steps of 32 an epoch, 240 in all: few; "
    )
    assert f"{told}try --epochs 250\n" in result.output
    assert model.seen["batch"] == 32 and model.seen["epochs"] == 20 and model.seen["verbose"] == 2
    stored = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (stored["batch_size"], stored["epochs"], stored["total_steps"]) == (32, 20, 240)
    result = CliRunner().invoke(main, [*command, "--fresh", "--batch-size", "128", "--quiet"])
    assert "images of" not in result.output and (model.seen["batch"], model.seen["verbose"]) == (128, 0)
    result = CliRunner().invoke(main, [*command, "--fresh", "--batch-size", "128", "--epochs", "30"])
    assert "3 steps of 128 an epoch, 90 in all: few; try --batch-size 32 --epochs 250" in result.output
    (tmp_path / "data" / "a" / "notes.txt").write_text("cats")
    warned = CliRunner().invoke(main, [*command, "--fresh"]).output
    assert warned.count("warning: ") == warned.count("left out") == 1 and "UserWarning" not in warned


def test_train_takes_steps_or_seconds_and_a_budget_is_planned_once(tmp_path, monkeypatch):
    model, timed = Recorder(), []
    model.steps_per_execution = 2
    monkeypatch.setattr(gz, "build", lambda *args, **kwargs: model)
    monkeypatch.setattr(
        sys.modules["keras_genzoo.cli.train"], "seconds_per_execution", lambda *args: timed.append(args[2]) or 0.5
    )
    data = write_levels(tmp_path / "data", 100)

    def run(*more):
        result = CliRunner().invoke(
            main, ["train", "vae", "--data", data, "--channels", "1", "--out", str(tmp_path / "run"), *more]
        )
        return result, model.seen.get("epochs")

    assert run("--steps", "7", "--batch-size", "16")[1] == 2  # of 5 steps each
    result, epochs = run("--budget", "5", "--batch-size", "16", "--fresh")
    assert result.exit_code == 0 and epochs == 4 and timed == [5.0]  # 5 steps of 0.25 s
    result, _ = run("--budget", "5", "--batch-size", "16")
    assert "has trained its 4 epochs" in result.output and timed == [5.0]
    result, _ = run("--budget", "5", "--epochs", "3")
    assert result.exit_code == 2 and "exclude each other" in result.output
    sheets = next(each for each in model.seen["callbacks"] if isinstance(each, gz.callbacks.SampleGrid))
    assert sheets.every == 1
    keeper = next(each for each in model.seen["callbacks"] if isinstance(each, gz.callbacks.Checkpoint))
    assert (keeper.every_epochs, keeper.least_seconds, keeper.every_seconds) == (1, 10, 300)
    run("--epochs", "300", "--fresh")
    assert next(each for each in model.seen["callbacks"] if isinstance(each, gz.callbacks.SampleGrid)).every == 6


def test_train_takes_settings_of_a_search_unless_others_are_given(named, tmp_path, monkeypatch):
    tuned = {"recipe": "vae", "hyperparameters": {"latent_dim": 7, "width": 9}, "batch_size": 6}
    (tmp_path / "best.json").write_text(json.dumps(tuned))
    given = {"tuned": [], "own": ["--batch-size", 12, "--set", "width=3", "--channels", 3]}
    for name, batch, width, channels in (("tuned", 6, 9, 1), ("own", 12, 3, 3)):
        model, built = Recorder(), []
        model.image_shape = (8, 8, channels)
        monkeypatch.setattr(gz, "build", lambda *args, model=model, built=built, **kwargs: built.append((args, kwargs)) or model)
        command = ["train", "vae", "--data", named, "--config", tmp_path / "best.json", "--out", tmp_path / name]
        genzoo(*command, *given[name])
        ((_, shape, _), settings) = built[0]
        assert model.seen["batch"] == batch and settings["latent_dim"] == 7 and settings["width"] == width
        assert shape == (8, 8, channels)


def test_evaluate_and_sample_hand_on_what_they_are_told(named, tmp_path, monkeypatch):
    asked, model = [], Recorder()
    monkeypatch.setattr(gz, "load", lambda file: asked.append(file) or model)

    def evaluate(model, images, train, **kwargs):
        asked.append((model, levels(images), {**kwargs, "train": levels(train) if train is not None else None}))
        return {"mse": 0.5}

    monkeypatch.setattr(gz, "evaluate", evaluate)
    for split, expected in (("train", range(48)), ("validation", range(100, 112)), ("test", range(200, 210))):
        told = ["--features", "fashion-cnn", "-n", 9, "--seed", 4]
        printed = genzoo("evaluate", tmp_path / "model.keras", "--data", named, "--split", split, *told)
        assert asked[-2] == tmp_path / "model.keras"
        train = None if split == "train" else list(range(48))
        assert asked[-1] == (model, list(expected), {"features": "fashion-cnn", "n": 9, "seed": 4, "train": train})
        scores = json.loads(printed[printed.index("{") :])
        assert scores.pop("images").keys() == {split, "train"}
        assert scores == {"file": str(tmp_path / "model.keras"), "data": str(named), "split": split, "mse": 0.5}
    genzoo("evaluate", tmp_path / "model.keras", "--data", named)
    assert asked[-1][1:] == (list(range(200, 210)), {"features": None, "n": None, "seed": 0, "train": list(range(48))})
    genzoo("sample", tmp_path / "model.keras", "--out", tmp_path / "s.npz", "-n", 5, "--seed", 6, "--batch-size", 2)
    assert model.seen["sample"] == (5, 6, 2)
    expected = np.round(255 * np.random.default_rng(6).random((5, 8, 8, 1), dtype="float32"))
    np.testing.assert_array_equal(np.load(tmp_path / "s.npz")["images"], expected)


def test_sample_takes_what_the_model_takes_and_leaves_no_stale_files(tmp_path, monkeypatch):
    model = gz.build("conditional_diffusion", (8, 8, 1), width=4, multipliers=(1,), patch=1, steps=2, seed=0)
    monkeypatch.setattr(gz, "load", lambda file: model)
    command = ["sample", tmp_path / "m.keras", "-n", 12, "--seed", 3]
    asked = ["--labels", "3,5", "--steps", 3, "--sampler", "euler", "--guidance", 2, "--spacing", "trailing"]
    genzoo(*command, *asked, "--out", tmp_path / "a.npz")
    settings = {"labels": np.resize([3, 5], 12), "steps": 3, "sampler": "euler", "guidance": 2.0, "spacing": "trailing"}
    expected = gz.images.to_levels(model.sample(12, seed=3, **settings))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["images"], expected)
    assert "Diffusion takes no --temperature, expected --steps or --sampler" in refused(*command, "--temperature", 0.5)
    assert "classes between 0 and 9" in refused(*command, "--labels", "12")
    folder = tmp_path / "folder"
    genzoo(*command, "--out", folder)
    (folder / "notes.png").touch()
    genzoo(*command[:2], "-n", 3, "--out", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["0.png", "1.png", "2.png", "notes.png"]


def test_the_sheet_of_a_model_with_classes_has_a_row_for_each(tmp_path, monkeypatch):
    model = gz.build("conditional_gan", (8, 8, 1), width=4, depth=1, latent_dim=2, num_classes=3, seed=0)
    monkeypatch.setattr(gz, "load", lambda file: model)
    command = ["sample", tmp_path / "m.keras", "-n", 8, "--seed", 3, "--out", tmp_path / "sheet.png"]
    assert "6 images are in" in genzoo(*command)
    labels = [0, 0, 1, 1, 2, 2]
    gz.images.write_png(tmp_path / "expected.png", model.sample(6, seed=3, labels=labels), 2)
    assert (tmp_path / "sheet.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
    assert "8 images are in" in genzoo(*command, "--labels", "1,0")
    gz.images.write_png(tmp_path / "expected.png", model.sample(8, seed=3, labels=[1, 0] * 4))
    assert (tmp_path / "sheet.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


def test_sample_hands_the_truncation_on(tmp_path, monkeypatch):
    model = gz.build("stylegan2", (8, 8, 1), width=4, depth=1, latent_dim=2, style_dim=2, seed=0)
    monkeypatch.setattr(gz, "load", lambda file: model)
    genzoo("sample", tmp_path / "m.keras", "-n", 5, "--truncation", 0.3, "--out", tmp_path / "a.npz")
    expected = gz.images.to_levels(model.sample(5, seed=0, truncation=0.3))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["images"], expected)
    assert "StyleGAN takes no --steps, expected --truncation" in refused("sample", tmp_path / "m.keras", "--steps", 3)


def test_doctor_tells_versions_devices_data_and_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    output = genzoo("doctor")
    for part in (f"keras {keras.__version__}", "cores", "GPU", "10,000 train", "emoji32", "efficientnet-lite0", "no weights in"):
        assert part in output, part


def test_tune_hands_on_what_it_is_told(named, tmp_path, monkeypatch):
    pytest.importorskip("keras_tuner")
    made = []

    class Search:
        def __init__(self, out, hypermodel, data, **settings):
            made.append((out, hypermodel, data, settings))

        def run(self, workers):
            made.append(workers)
            return {"objective": "fd", "value": 1.0, "hyperparameters": {}}

    monkeypatch.setattr(gz.tuning, "Search", Search)
    hyper = "--set depth=1 --range latent_dim=2:32 --range width= --image-size 4x3 --batch-size 24 --n 30 --seed 5"
    hyper += " --no-splits --flip"
    how = "--objective val_loss --oracle bayesian --trials 7 --epochs 2 --workers 3 --no-stop-hopeless --weigh fd=2"
    genzoo("tune", "vae", "--data", named, "--out", tmp_path / "t", *hyper.split(), *how.split(), "--features", "fashion-cnn")
    (out, recipe, data, settings), workers = made
    config = recipe.get_config()
    assert (out, data, workers) == (tmp_path / "t", str(named), 3)
    assert config | {"dtype": None} == {
        **{
            "name": "vae",
            "image_shape": [4, 3, 1],
            "splits": False,
            "flip": True,
            "weights": {"fd": 2},
            "n": 30,
            "features": "fashion-cnn",
        },
        **{"batch_size": 24, "seed": 5, "dtype": None, "jit_compile": None, "depth": 1},
    }
    assert "width" not in recipe.space and (recipe.space["latent_dim"].low, recipe.space["latent_dim"].high) == (2, 32)
    assert settings == {
        **{"objective": "val_loss", "oracle": "bayesian", "trials": 7, "budget": None, "epochs": 2},
        **{"stop_hopeless": False, "overwrite": False, "device": "auto", "imports": []},
    }
    for oracle, trials in (("random", 20), ("hyperband", None)):
        made.clear()
        genzoo("tune", "vae", "--data", named, "--out", tmp_path / "t", "--oracle", oracle)
        assert made[0][3]["trials"] == trials and made[0][3]["budget"] == 60 and made[0][3]["stop_hopeless"] is True

    def interrupted(self, workers):
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, "run", interrupted)
    result = CliRunner().invoke(main, ["tune", "vae", "--data", str(named), "--out", str(tmp_path / "t")])
    assert result.exit_code == 130 and result.output.strip().endswith("stopped; the same command goes on from here")


def test_benchmark_hands_on_what_it_is_told(monkeypatch, tmp_path):
    from keras_genzoo import benchmark

    asked = []
    monkeypatch.setattr(benchmark, "run", lambda **given: asked.append(given) or types.SimpleNamespace(failed=[], tried=[]))
    what = "--recipes vae,gan --image-size 9x7 --channels 3 --seeds 2 --batch-size 5 --n 8 --features inception --device cpu"
    how = "--steps 30 --set vae.width=4 --set vae.depth=2 --set gan.width=6 --steps-per-execution 3 --timeout 9 --no-jit --anyway"
    how += " --no-splits --split validation --flip --first-seed 5 --ray head:6379 --cpus 4"
    genzoo("benchmark", "run", "--out", tmp_path, "--data", "some", *what.split(), *how.split())
    assert asked == [
        {
            **{"recipes": "vae,gan", "data": "some", "data_dir": None, "image_size": [9, 7], "channels": 3, "seeds": 2},
            **{
                "first_seed": 5,
                "batch_size": 5,
                "n": 8,
                "features": "inception",
                "device": "cpu",
                "budget": None,
                "epochs": None,
                "steps": 30,
            },
            **{"overrides": {"vae": {"width": 4, "depth": 2}, "gan": {"width": 6}}, "steps_per_execution": 3, "timeout": 9.0},
            **{
                "jit": False,
                "mixed_precision": None,
                "imports": [],
                "out": tmp_path,
                "anyway": True,
                "splits": False,
                "split": "validation",
                "flip": True,
                "ray": "head:6379",
                "cpus": 4,
                "only": None,
            },
        }
    ]


def test_a_command_begins_without_notes_of_tensorflow_and_with_its_errors():
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    found = subprocess.run(
        [sys.executable, "-m", "keras_genzoo.cli", "--version"], env=environment, capture_output=True, text=True
    )
    assert found.returncode == 0 and "version" in found.stdout
    assert not [line for line in found.stderr.splitlines() if line.startswith(("I0000", "WARNING: All log messages"))]
    missing = [sys.executable, "-c", "import sys; sys.argv = ['genzoo']; sys.modules['tensorflow'] = None; import keras_genzoo"]
    assert "Error" in subprocess.run(missing, env=environment, capture_output=True, text=True).stderr


def test_a_run_is_reported_to_other_programs_and_its_pictures_are_joined(photos, tmp_path, monkeypatch):
    out = tmp_path / "run"
    command = ["train", "dense_autoencoder", "--data", str(photos), "--out", str(out), "--epochs", "2", *SMALL]
    shown = CliRunner().invoke(main, [*command, "--tensorboard", "--animate", "--verbose"])
    assert shown.exit_code == 0, shown.output
    assert "Total params" in shown.output and "\b" not in shown.output
    assert list((out / "tensorboard" / "train").glob("events*")) and list((out / "tensorboard").glob("events*"))
    with Image.open(out / "progress" / "reconstructions.gif") as animation:
        assert animation.n_frames == 2
    old = set((out / "tensorboard").rglob("events*"))
    again = CliRunner().invoke(main, [*command, "--tensorboard", "--fresh"])
    assert again.exit_code == 0, again.output
    new = set((out / "tensorboard").rglob("events*"))
    assert len(new) == len(old) == 3 and not new & old and all(path.stat().st_size > 500 for path in new)
    # The sheets that are there belong to it as far as the training has come.
    model, images = gz.load(out / "model.keras"), np.zeros((4, 20, 24, 3), np.uint8)
    again = gz.callbacks.SampleGrid(out / "progress", images=images, animate=True)
    model.fit(images, initial_epoch=2, epochs=3, verbose=0, callbacks=[again])
    with Image.open(out / "progress" / "reconstructions.gif") as animation:
        assert animation.n_frames == 3
    model.fit(images, initial_epoch=9999, epochs=10001, verbose=0, callbacks=[again])
    assert [path.stem for path in again._sheets("reconstructions")][-2:] == ["reconstructions-10000", "reconstructions-10001"]
    monkeypatch.setitem(sys.modules, "wandb", None)
    refused = CliRunner().invoke(main, [*command, "--fresh", "--wandb"])
    assert refused.exit_code == 2 and "pip install 'keras_genzoo[wandb]'" in refused.output
    assert "exclude each other" in CliRunner().invoke(main, [*command, "--quiet", "--verbose"]).output


def test_reports_go_on_as_one_run_and_faults_of_other_programs_are_a_sentence(tmp_path, monkeypatch):
    class Other(types.ModuleType):
        started = []

    wandb, integration, callbacks = (Other(name) for name in ("wandb", "wandb.integration", "wandb.integration.keras"))
    wandb.init = lambda **settings: Other.started.append(settings)
    callbacks.WandbMetricsLogger = type("WandbMetricsLogger", (keras.callbacks.Callback,), {})
    for module in (wandb, integration, callbacks):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for fresh in (True, False, True):
        (made,) = watching.trackers(["wandb"], tmp_path, {"recipe": "vae"}, fresh)
        assert type(made) is callbacks.WandbMetricsLogger
    first, second, third = (settings["id"] for settings in Other.started)
    assert first == second != third and Other.started[0]["config"] == {"recipe": "vae"}

    def fail(**settings):
        raise RuntimeError("no server")

    wandb.init = fail
    with pytest.raises(ValueError, match="--wandb cannot be used: no server"):
        watching.trackers(["wandb"], tmp_path, {}, True)


def test_a_terminal_shows_validation_and_drawing_and_keeps_the_line(tmp_path):
    stream = io.StringIO()
    model = gz.build("dense_autoencoder", (8, 8, 1), width=8, depth=1, seed=0)
    images = np.zeros((8, 8, 8, 1), np.uint8)
    model.fit(images, validation_data=images, epochs=2, verbose=0, callbacks=[watching.Stages(2, 1, stream)])
    shown = stream.getvalue().split("\r\033[K")
    assert "validating: 1 of 1 batches" in shown and shown.count("drawing samples") == 1 and shown[-1] == ""


def test_a_validation_loss_that_rises_is_told(tmp_path):
    from keras_genzoo.cli.lengths import risen

    history = tmp_path / "history.csv"

    def of(values):
        history.write_text("epoch,loss,val_loss\n" + "\n".join(f"{n},0,{value}" for n, value in enumerate(values)) + "\n")
        return risen(history, "loss")

    assert "val_loss was lowest, 2, in epoch 9 of 12 and is 4 now" in of([10, 9, 8, 7, 6, 5, 4, 3, 2, 3, 3, 4])
    assert of([10, 9, 8, 7, 6, 5, 4, 3, 2.2, 2.4, 2, 2.5]) is None  # noise
    assert of([10, 2, 10]) is None and of([2] * 12) is None and of(range(12)) is None
    assert risen(history, None) is None and risen(tmp_path / "nothing.csv", "loss") is None
