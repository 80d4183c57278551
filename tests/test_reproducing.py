"""Recipes in published sizes: how they are trained, what their scores are of, and the page that sets both side by side."""

import json

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from test_benchmarks import settings  # noqa: F401
from test_case import build

import keras_genzoo as gz
from keras_genzoo import benchmark
from keras_genzoo.benchmark import published, reproducing, worker
from keras_genzoo.benchmark.results import Folder
from keras_genzoo.cli.benchmark import main
from keras_genzoo.core import devices, memory

pytestmark = pytest.mark.filterwarnings("ignore:.*is biased upwards:UserWarning")
NO_GPU = pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU here")


@pytest.fixture
def cifar(tmp_path):
    """A file as that of CIFAR-10: colour images of 32x32 in ten classes, training and test images."""
    path, random = tmp_path / "cifar.npz", np.random.default_rng(0)
    parts = {f"x_{split}": random.integers(0, 256, (n, 32, 32, 3), np.uint8) for split, n in (("train", 40), ("test", 20))}
    np.savez(path, **parts, y_train=np.arange(40) % 10, y_test=np.arange(20) % 10)
    return path


def invoke(*arguments):
    return CliRunner().invoke(main, ["reproduce", "cifar10", *map(str, arguments)])


def test_every_recipe_in_the_published_size_has_its_paper():
    assert set(published.names("cifar10")) == {name for name in gz.recipes.RECIPES if name.endswith("/cifar10")}
    for name, known in published.PUBLISHED.items():
        assert {"batch_size", "flip", "where", "protocol", "scores"} <= set(known), name
        assert set(known["scores"]) <= {"FID", "IS", "bits_per_dim"} and ("steps" in known) == ("length" in known), name


def test_steps_are_those_of_the_published_images():
    steps = {name: known.get("steps") for name, known in published.PUBLISHED.items()}
    assert steps["biggan/cifar10"] == 500 * 50_000 / (50 * 4)
    assert steps["edm/cifar10"] == 200e6 / 512
    assert steps["stylegan2/cifar10"] == 100e6 / 64
    assert steps["r3gan/cifar10"] == np.ceil(250e6 / 512)


def test_training_takes_all_images_but_those_of_test(settings):  # noqa: F811
    data = worker.Data({**settings, "split": "train"})
    levels = lambda images: sorted(set(images[:, 0, 0, 0].tolist()))  # noqa: E731
    assert levels(data.train) == [*range(48), *range(100, 120)]
    assert levels(data.test) == levels(data.validation) == list(range(200, 230)) and data.n == 12
    batches = data.training_batches(0, {}).take(len(data.train) // 8)
    assert set(levels(gz.data.as_array(batches))) <= set(levels(data.train))
    assert worker.Data({**settings, "split": "train", "n": None}).n == 50_000


class Parts:
    """Stands for `worker.Data`."""

    def __init__(self, train, test):
        self.train, self.test, self.test_told = train, test, {}


def test_samples_are_compared_with_the_training_images_in_features_that_name_the_score(images):
    model = build("glow")
    found = published.scores_of(model, "own", Parts(images, images[:6]), "fashion-cnn", 20, seed=3)
    distance = gz.metrics.FrechetDistance("fashion-cnn")
    distance.update_real(images)
    distance.update_generated(model.sample(20, seed=3))
    assert found["FD[fashion-cnn]"] == pytest.approx(distance.result(), rel=1e-4) and "FID" not in found
    assert (found["n_real"], found["n_generated"], found["n_likelihood"]) == (16, 20, 6)
    assert found["bits_per_dim"] == pytest.approx(np.mean(model.bits_per_dim(images[:6])), rel=1e-4)
    logits = distance.features.logits(distance.features(model.sample(20, seed=3)))
    assert found["IS[fashion-cnn]"] == pytest.approx(gz.metrics.inception_score(logits)[0], rel=1e-3)


def test_only_what_a_paper_tells_is_computed(images):
    parts = Parts(images, images)
    assert set(published.scores_of(build("pixelcnn_pp"), "pixelcnn/cifar10", parts, "fashion-cnn", 4, 0)) == {
        *("log_prob", "bits_per_dim", "n_likelihood")
    }
    assert "log_prob" not in str(published.scores_of(build("flow_matching"), "edm/cifar10", parts, "fashion-cnn", 12, 0))


def test_a_short_training_of_the_command_is_a_row_and_not_reproduced(cifar, tmp_path):
    small = ["generator_width=4", "critic_width=4", "latent_dim=3", "critic_steps=1"]
    sets = [part for each in small for part in ("--set", f"sngan/cifar10.{each}")]
    out = tmp_path / "out"
    asked = ["--recipes", "sngan", "--from", cifar, "--steps", 6, "--batch-size", 4, "--n", 24, "--features", "fashion-cnn"]
    found = invoke(*asked, *sets, "--device", "cpu", "--no-jit", "--out", out)
    assert found.exit_code == 0, found.output
    (row,) = Folder(out / "sngan").rows()
    assert row["status"] == "ok" and row["steps"] == 6 and row["distance_name"] == "FD[fashion-cnn]"
    assert row["scores"]["n_real"] == 40 and row["scores"]["n_generated"] == 24
    assert not any(key.startswith(("FID", "KID")) for key in row["scores"])
    again = invoke(*asked, *sets, "--device", "cpu", "--no-jit", "--out", out)
    assert again.exit_code == 0 and "1 of 1 rows are in" in again.output
    assert all(not line["reproduced"] for line in published.lines("cifar10", out))


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--recipes", "vae"], "no paper is stored for 'vae/cifar10', expected one of sngan/cifar10"),
        (["--recipes", "glow"], "the paper of glow/cifar10 tells no length of training; give --steps"),
        (["--steps", 3, "--budget", 3], "--steps and --budget exclude each other"),
        (["--recipes", "ddpm", "--steps", 3, "--set", "edm/cifar10.width=8"], "edm/cifar10 is set and does not run"),
        pytest.param(["--recipes", "ddpm"], "ddpm/cifar10 trains 800,000 steps of 128 images, too many without", marks=NO_GPU),
    ],
)
def test_what_cannot_be_reproduced_is_one_sentence(arguments, sentence, cifar, tmp_path):
    found = invoke(*arguments, "--from", cifar, "--features", "fashion-cnn", "--out", tmp_path / "out")
    assert found.exit_code == 2 and sentence in " ".join(found.output.split()), found.output


def test_too_little_memory_is_one_sentence(cifar, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free", lambda: 2**30)
    with pytest.raises(benchmark.ArgumentError, match=r"need about 2\.6 GiB of memory, and 1\.0 are free"):
        reproducing.reproduce(recipes="ddpm", source=cifar, steps=3, out=tmp_path / "out")
    monkeypatch.setattr(devices, "memory_left", lambda: 2**10)
    model = build("vae")
    with pytest.raises(MemoryError, match=r"a step of vae needs at least 0\.0 GiB, and 0\.0 are left of CPU"):
        published.check_memory(model, tf.data.Dataset.from_tensors(np.zeros((4, 8, 8, 1), "uint8")), "vae")


def test_a_run_as_published_stands_beside_the_paper_with_its_command(tmp_path):
    row = {"recipe": "ddpm/cifar10", "seed": 0, "overrides": {}, "status": "ok", "batch_size": 128, "steps": 800_000}
    row |= {"scores": {"FID": 3.2, "bits_per_dim[elbo]": 3.7, "n_generated": 50_000}, "command": ["python", "-m", "x"]}
    place = tmp_path / "ddpm"
    Folder.create(place, {"split": "train"})
    for change in ({}, {"seed": 1, "steps": 10}, {"seed": 2, "overrides": {"width": 8}}, {"seed": 3, "batch_size": 4}):
        Folder(place).add(row | change)
    assert len((place / "results.jsonl").read_text().splitlines()) == 4
    told = {line["score"]: line for line in published.lines("cifar10", tmp_path) if line["recipe"] == "ddpm/cifar10"}
    assert told["FID"]["reproduced"] == "3.20" and told["FID"]["published"] == "3.17"
    assert told["bits_per_dim"]["reproduced"] == "3.70" and told["IS"]["reproduced"] == ""
    assert told["FID"]["command"] == "python -m x" and told["IS"]["command"].endswith("reproduce cifar10 --recipes ddpm")
    assert json.loads((place / "settings.json").read_text()) == {"split": "train"}


def test_a_clock_that_goes_on_within_a_segment_counts_the_seconds_before(monkeypatch):
    from keras_genzoo.core import budgets

    now, state = [0.0], None
    monkeypatch.setattr(budgets.time, "perf_counter", lambda: now[0])
    for durations in [(30, 2, 4), (10, 3)]:  # the first of a process compiles
        clock = budgets.Clock()
        if state:
            clock.set_state(json.loads(json.dumps(state)))
        clock.set_model(type("Model", (), {"optimizer": type("Optimizer", (), {"iterations": 6})}))
        clock.on_epoch_begin(0)
        for duration in durations:
            clock.on_train_batch_begin(0)
            now[0] += duration
        state = clock.get_state()
    clock.on_epoch_end(0, {"loss": 1.0})
    assert clock.laps == [9.0] and clock.train_seconds() == 9 * 5 / 3
