"""Trainings by `genzoo train` that are killed again and again, and end as if they never had been."""

import json
import os
import random
import signal
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest

KILLER = '''
"""Kills this process where KILL says, and trains in executions of three steps with states five times a second."""

import importlib
import os
import shutil
import signal
import threading

import keras_genzoo as gz
from keras_genzoo.core import checkpoints, progress

# The package has the command under this name.
command = importlib.import_module("keras_genzoo.cli.train")
command.LEAST, command.MOST = 0, 0.2
gz.recipes.get(os.environ["RECIPE"]).execution["steps_per_execution"] = 3
kind, count, milliseconds = (os.environ.get("KILL") or "never:0:0").split(":")
left = int(count)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def later():
    threading.Timer(int(milliseconds) / 1000, die).start()


def before(owner, name, kill):
    inner = getattr(owner, name)

    def outer(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            kill()
        return inner(*args, **kwargs)

    setattr(owner, name, outer)


if kind == "batch":
    before(progress.Placing, "on_train_batch_begin", die)
if kind == "write":  # some time within it
    before(checkpoints.Checkpoint, "_write", later)
if kind == "moved":
    before(checkpoints, "_read", die)
if kind == "removing":
    before(checkpoints.shutil, "rmtree", later)
if kind == "save":
    before(gz.GenerativeModel, "save", later)
'''
SETTINGS = {
    "dense_autoencoder": ["components=2", "width=8", "depth=1"],
    "vae": ["width=8", "depth=1", "warmup=0.5"],
    "wae_mmd": ["width=8", "depth=1"],
    "gan": ["width=8"],
    "maf": ["width=8"],
    "flow_matching": ["width=8"],
    "ebm": ["width=8"],
}


def variables(path):
    """All arrays of an HDF5 file of weights, or of that in a model."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, each: found.update({name: each[()]}) if isinstance(each, h5py.Dataset) else None)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("recipe", SETTINGS)
def test_a_training_that_is_killed_twenty_times_ends_as_one_that_never_was(recipe, tmp_path):
    draw = random.Random(0)
    images = np.random.default_rng(0).integers(0, 256, (48, 8, 8), "uint8")
    np.savez(tmp_path / "images.npz", train_images=images, validation_images=images[:8], test_images=images[:8])
    (tmp_path / "killer.py").write_text(KILLER)
    command = [
        "train",
        recipe,
        "--data",
        "images.npz",
        "--batch-size",
        "4",
        "--epochs",
        "20",
        "--no-jit",
        "--import",
        "killer.py",
    ]
    command += [part for setting in [*SETTINGS[recipe], "ema=0.9"] for part in ("--set", setting)]

    def run(out, kill):
        environment = {**os.environ, "KILL": kill, "RECIPE": recipe, "CUDA_VISIBLE_DEVICES": ""}
        with open(tmp_path / f"{out}.log", "a") as log:
            arguments = [sys.executable, "-m", "keras_genzoo.cli", *command, "--out", out]
            return subprocess.run(arguments, cwd=tmp_path, env=environment, stdout=log, stderr=log).returncode

    # 80 executions in all; so many are done between two kills at most.
    kills = [f"batch:{draw.randint(1, 7)}:0" for _ in range(10)]
    kills += [f"write:{draw.randint(1, 2)}:{milliseconds}" for milliseconds in (1, 5, 10, 20, 40, 80)]
    kills += ["moved:1:0", "moved:2:0", "removing:3:1"]
    draw.shuffle(kills)
    codes = [run("killed", kill) for kill in kills]
    codes.append(run("killed", "save:1:10"))
    assert run("killed", "") == 0 and run("whole", "") == 0
    assert codes == [-signal.SIGKILL] * 20
    assert "going on from batch" in (tmp_path / "killed.log").read_text()  # in the middle of an epoch too

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert (killed / "history.csv").read_text() == (whole / "history.csv").read_text()
    assert json.loads((killed / "run.json").read_text())["trained_epochs"] == 20
    states = [sorted(folder.glob("state/checkpoint-*"))[-1] / "state.weights.h5" for folder in (killed, whole)]
    for folder in (killed, whole):
        with zipfile.ZipFile(folder / "model.keras") as archive:
            archive.extract("model.weights.h5", folder)
        states.append(folder / "model.weights.h5")
    for one, other in (states[:2], states[2:]):
        ours, theirs = variables(one), variables(other)
        assert ours.keys() == theirs.keys() and len(ours) > 10
        for name, value in ours.items():
            np.testing.assert_array_equal(value, theirs[name], err_msg=name)
