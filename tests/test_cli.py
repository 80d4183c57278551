"""The command line from data to scores, as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import keras_genzoo as gz
from keras_genzoo.cli import main

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
    [("smooth_autoencoder", ["components=1", "neighbours=2"]), ("conditional_gan", ["num_classes=2", "depth=1", "hidden=8"])],
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


def test_a_trained_model_is_not_overwritten_unasked(photos, tmp_path):
    arguments = ["train", "vae", "--data", photos, "--image-size", 8, "--epochs", 1, "--batch-size", 8, *SMALL, "--out", tmp_path]
    genzoo(*arguments)
    before = (tmp_path / "model.keras").read_bytes()
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 2 and "--overwrite" in result.output
    assert (tmp_path / "model.keras").read_bytes() == before
    genzoo(*arguments, "--overwrite")


def test_list_names_every_recipe_and_shipped_data_set():
    output = genzoo("list")
    for name in [*(name for names in gz.recipes.names().values() for name in names), *gz.data.names()]:
        assert name in output


def test_help_has_an_example_for_every_command_that_takes_arguments():
    for command in ("prepare", "train", "sample", "evaluate"):
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
        while not (tmp_path / "progress" / "samples-0001.png").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 130
    finally:
        process.kill()
    assert gz.load(tmp_path / "model.keras").optimizer.iterations > 0
