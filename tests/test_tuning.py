"""Searches for hyperparameters: what KerasTuner is given, what comes back, and what happens when something dies."""

import io
import json
import math
import os
import re
import resource
import signal
import sys
import time
import types
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest
from click.testing import CliRunner

import keras_genzoo as gz
from keras_genzoo.benchmark import planning, plots, running, searches
from keras_genzoo.cli import main as genzoo
from keras_genzoo.cli.benchmark import main as benchmarks
from keras_genzoo.evaluation import SampleDistance
from keras_genzoo.recipes import space

SHAPE = (8, 8, 1)
tuning = gz.tuning
SMALL = {"width": 8, "depth": 1, "n": 16, "features": "fashion-cnn", "batch_size": 8, "jit_compile": False}
pytestmark = [
    pytest.mark.xdist_group("tuning"),  # one worker, so that the fixture of a search is made once
    pytest.mark.filterwarnings("ignore:.*is biased upwards:UserWarning"),  # of few images, which are quick
]


def hypermodel(name="vae", **kwargs):
    search = {"latent_dim": space.Int(2, 16), "learning_rate": space.Float(1e-3, 1e-2)}
    own = {key: None for key in gz.recipes.get(name).search if key not in SMALL and key not in kwargs}
    return tuning.HyperRecipe(name, SHAPE, **{"search": {**own, **search}, **SMALL, **kwargs})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file of 48 training and 16 validation images."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:8, :8]
    centres = random.uniform(1, 7, (64, 2, 1, 1))
    blobs = np.exp(-((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2) / 4)
    images = (255 * blobs[..., None]).astype("uint8")
    path = tmp_path_factory.mktemp("data") / "blobs.npz"
    np.savez(path, train_images=images[:48], validation_images=images[48:], test_images=images[:16])
    return str(path)


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    """The folder of a search of two trials, by the command."""
    folder = tmp_path_factory.mktemp("search") / "tune"
    arguments = "--epochs 1 --trials 2 --n 16 --batch-size 8 --features fashion-cnn --set depth=1 --set jit_compile=False"
    ranges = (
        "--range width=8,16,512 --range latent_dim=2:16 --range beta= --range warmup= --range activation= --range normalization="
    )
    command = ["tune", "vae", "--data", data, "--out", folder, *arguments.split(), *ranges.split()]
    result = CliRunner().invoke(genzoo, [str(each) for each in command], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder


@pytest.mark.parametrize("name", [name for names in gz.recipes.names().values() for name in names])
def test_every_recipe_declares_a_search_space_that_holds_its_defaults(name):
    model = tuning.HyperRecipe(name, (28, 28, 1))
    assert "learning_rate" in model.space and len(model.space) >= (2 if "/" in name else 3)
    values = model.values(keras_tuner.HyperParameters())
    defaults = {key: gz.recipes.get(name).defaults[key] for key in values}
    starts = {
        key: model.space[key].start for key, value in defaults.items() if value is None and hasattr(model.space[key], "start")
    }
    assert values and values == defaults | starts
    again = space.from_config(json.loads(json.dumps(space.to_config(model.space))))
    assert again == model.space


@pytest.mark.parametrize("name", ["beta_tc_vae", "smooth_autoencoder"])
def test_a_model_is_handed_what_it_needs_beside_images(name, data):
    recipe, hp = hypermodel(name, search=dict.fromkeys(gz.recipes.get(name).search)), keras_tuner.HyperParameters()
    results = recipe.fit(hp, recipe.build(hp), data, epochs=1, verbose=0)
    assert math.isfinite(results["val_loss"]) and results["steps"] == 6


def test_a_choice_may_be_of_none_and_of_tuples():
    hp = keras_tuner.HyperParameters()
    choice = space.Choice((None, (1, 2), "batch"))
    assert choice.register(hp, "a", (1, 2)) == (1, 2)
    hp.values["a"] = "None"
    assert choice.register(hp, "a", (1, 2)) is None


def test_a_range_has_an_effect_only_under_its_condition():
    search = {"penalties": space.Choice((("r1",), ())), "penalty_weight": gz.recipes.get("gan").search["penalty_weight"]}
    model = hypermodel("gan", search={**dict.fromkeys(gz.recipes.get("gan").search), **search})
    hp = keras_tuner.HyperParameters()
    assert set(model.values(hp)) == {"penalties", "penalty_weight"}
    assert model.values(hp)["penalty_weight"] == 5  # where the search begins: the default, None, is each penalty's own
    hp.values["penalties"] = "()"
    assert set(model.values(hp)) == {"penalties"}
    assert "penalty_weight" not in tuning.HyperRecipe("dcgan", SHAPE).values(keras_tuner.HyperParameters())


def test_building_changes_nothing_but_the_hyperparameters():
    before = keras.config.dtype_policy().name
    model = hypermodel(dtype="mixed_bfloat16").build(keras_tuner.HyperParameters())
    assert model.compiled and model.encoder.layers[-1].compute_dtype in ("bfloat16", "float32")
    assert {"bfloat16"} <= {layer.compute_dtype for layer in model.encoder.layers}
    assert keras.config.dtype_policy().name == before


class Counter(keras.callbacks.Callback):
    epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        Counter.epochs += 1


# KerasTuner puts back weights into a model of another schedule, whose optimizer has another number of variables.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning")
def test_any_tuner_of_keras_tuner_takes_a_recipe(images, tmp_path):
    """Batch size is searched, validation images are an array, and one seed gives one proposal."""
    search = {**dict.fromkeys(gz.recipes.get("vae").search), "batch_size": space.Choice((4, 8)), "latent_dim": space.Int(2, 16)}
    found = []
    for name in "ab":
        tuner = keras_tuner.RandomSearch(
            hypermodel(search=search), tuning.get_objective("fd"), max_trials=1, seed=1, directory=tmp_path, project_name=name
        )
        counter = Counter()
        tuner.search(images, validation_data=images, epochs=1, verbose=0, callbacks=[counter])
        assert Counter.epochs and counter.model is None  # KerasTuner gives every trial a copy
        found.append(tuner.oracle.get_best_trials()[0])
    assert found[0].hyperparameters.values == found[1].hyperparameters.values
    assert found[0].score == pytest.approx(found[1].score, rel=1e-4)
    size = found[0].hyperparameters.values["batch_size"]
    assert found[0].metrics.get_best_value("steps") == 16 // int(size)
    assert tuner.get_best_models()[0].sample(2, seed=0).shape == (2, *SHAPE)


def test_the_best_model_of_any_tuner_samples_from_the_prior_that_was_measured(images, tmp_path):
    ranges = {**dict.fromkeys(gz.recipes.get("dense_autoencoder").search), "latent_dim": space.Int(2, 32)}
    recipe = hypermodel("dense_autoencoder", components=2, search=ranges)
    tuner = keras_tuner.RandomSearch(recipe, tuning.get_objective("fd"), max_trials=1, seed=1, directory=tmp_path)
    tuner.search(x=images, validation_data=images, epochs=1, verbose=0)
    model = tuner.get_best_models(1)[0]
    assert model.prior.fitted
    distance = SampleDistance(gz.data.load(images, "validation", batch_size=8), "fashion-cnn", 16)(model)
    assert distance == pytest.approx(tuner.oracle.get_best_trials()[0].score, rel=1e-3)


@pytest.mark.parametrize(
    "mistake, message",
    [
        ({"epochs": 1}, "there are no training images"),
        ({"x": "nowhere", "epochs": 1}, "nowhere"),
        ({"x": np.zeros((8, *SHAPE), "uint8"), "epochs": 1}, "there is no validation_data"),
        ({"x": np.zeros((8, *SHAPE), "uint8")}, "give one of them"),
    ],
)
def test_what_fails_every_trial_ends_the_search_with_its_reason(mistake, message, tmp_path):
    tuner = keras_tuner.RandomSearch(hypermodel(), tuning.get_objective("fd"), max_trials=1, directory=tmp_path)
    with pytest.raises(keras_tuner.errors.FatalValueError, match=message):
        tuner.search(verbose=0, **mistake)


def test_a_number_that_is_not_finite_fails_the_trial(images):
    """KerasTuner would take infinity for a score, and NaN for a reason to try again."""
    model = hypermodel(search={**dict.fromkeys(gz.recipes.get("vae").search), "learning_rate": space.Float(1e-3, 1e30)})
    hp = keras_tuner.HyperParameters()
    hp.values["learning_rate"] = 1e30
    with pytest.raises(keras_tuner.errors.FailedTrialError, match=r"finite|nan"):
        model.fit(hp, model.build(hp), images, validation_data=images, epochs=3)


def test_a_trial_reads_a_folder_as_it_is_told_and_mirrors_training_images_alone(tmp_path, monkeypatch):
    for level, name in enumerate(["train"] * 20 + ["other"] * 20):
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(tmp_path / "data" / name / f"{level}.png", np.full((8, 8, 1), level), scale=False)
    loads, load = [], gz.data.load
    monkeypatch.setattr(gz.data, "load", lambda *args, **given: loads.append((args[1], given)) or load(*args, **given))
    model, hp = hypermodel(splits=False, flip=True), keras_tuner.HyperParameters()
    model.fit(hp, model.build(hp), str(tmp_path / "data"), epochs=1, folder=tmp_path / "trial")
    record = json.loads((tmp_path / "trial" / "run.json").read_text())
    assert record["data"]["images"]["train"]["count"] == 32 and record["data"]["splits"] is False and record["flip"] is True
    assert {each.get("flip", False) for split, each in loads if split == "train" and each.get("shuffle", True)} == {True}
    assert not any(each.get("flip") for split, each in loads if split == "validation" or not each.get("shuffle", True))


def test_a_weighted_objective_is_the_sum(images):
    model = hypermodel(weights={"fd": 2.0, "parameters": 0.5})
    hp = keras_tuner.HyperParameters()
    results = model.fit(hp, model.build(hp), images, validation_data=images, epochs=1)
    assert results["weighted"] == pytest.approx(2 * results["fd"] + 0.5 * results["parameters"])
    assert results["parameters"] == model.build(hp).count_params()


def test_a_budget_trains_for_its_seconds_with_the_schedule_run_to_its_end(images):
    model = hypermodel()
    hp = keras_tuner.HyperParameters()
    results = model.fit(hp, model.build(hp), images, validation_data=images, budget=0.2)
    schedule = model.model.optimizer._learning_rate
    assert float(schedule(results["steps"])) == pytest.approx(0.0, abs=1e-9)
    assert 0.02 < results["train_seconds"] < 2.0  # noisy machines


def test_a_trial_may_end_after_a_third(images):
    model = hypermodel()
    hp = keras_tuner.HyperParameters()
    seen = []
    results = model.fit(
        hp, model.build(hp), images, validation_data=images, epochs=30, rung=lambda found: bool(seen.append(found) or True)
    )
    assert results["stopped"] == 1.0 and results["steps"] == seen[0]["steps"] == 20  # of 60


@pytest.mark.parametrize(
    "name, found", [("fd", "min"), ("val_mse", "min"), ("val_kl_loss", "min"), ("val_psnr", "max"), ("max:val_x", "max")]
)
def test_directions_are_known(name, found):
    assert tuning.get_objective(name).direction == found


def test_a_search_writes_what_it_found(folder):
    trials, best = (json.loads((folder / name).read_text()) for name in ("trials.json", "best.json"))
    assert [trial["status"] for trial in trials] == ["completed"] * 2
    values = [trial["results"]["fd"] for trial in trials]
    assert best["value"] == min(values) and best["recipe"] == "vae" and best["batch_size"] == 8
    model = gz.build("vae", SHAPE, **best["hyperparameters"])
    assert model.encoder.output[0].shape[-1] == best["hyperparameters"]["latent_dim"]
    kept = sorted(path.parent.name for path in folder.glob("trials/*/model.keras"))
    assert kept == [f"trial_{best['trial']}"]  # losers' are gone
    assert gz.load(next(folder.glob("trials/*/model.keras"))).sample(2).shape == (2, *SHAPE)


def test_the_winner_trains_by_its_file(folder, data, tmp_path):
    best = json.loads((folder / "best.json").read_text())
    command = ["train", "vae", "--data", data, "--config", folder / "best.json", "--epochs", 1, "--out", tmp_path / "out"]
    result = CliRunner().invoke(genzoo, [str(each) for each in command])
    assert result.exit_code == 0, result.output
    assert gz.load(tmp_path / "out" / "model.keras").encoder.output[0].shape[-1] == best["hyperparameters"]["latent_dim"]
    command[1] = "beta_vae"
    result = CliRunner().invoke(genzoo, [str(each) for each in [*command[:-1], tmp_path / "other"]])
    assert result.exit_code == 2 and "recipe 'vae', not" in " ".join(re.sub("[│╭╮╰╯─]", " ", result.output).split())


def test_a_search_that_has_ended_runs_nothing_again(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json")}
    tuning.Search.open(folder).run()
    assert {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json")} == before


def test_the_report_shows_trials_and_fronts(folder):
    result = CliRunner().invoke(benchmarks, ["report", str(folder)])
    assert result.exit_code == 0, result.output
    page = (folder / "report.html").read_text()
    assert page.count("data-plot=") == 4 and "Pareto front" in page and "latent_dim" in page and "best so far" in page


def test_a_table_of_trials_ends_with_the_failed():
    results = {"fd": 2.0, "steps": 5.0, "parameters": 10.0}
    rows = [
        {"trial": "0", "status": "failed", "hyperparameters": {"a": 1}, "results": None, "reason": "it broke"},
        {"trial": "1", "status": "completed", "hyperparameters": {"a": 0.5}, "results": results, "reason": None},
        {"trial": "2", "status": "completed", "hyperparameters": {"a": 2}, "results": {**results, "fd": 1.0}, "reason": None},
    ]
    table = searches.table_of_trials(rows, "fd", 1).frame()
    assert table["name"].tolist() == ["2", "1", "0"] and table["state"].tolist()[-1] == "it broke"


def test_axes_of_the_picture_keep_values_apart_from_what_has_no_effect():
    assert plots._heights([1, 10, plots.MISSING, 100])[0] == pytest.approx([0, 0.5, None, 1])
    assert plots._heights(["batch", None, plots.MISSING]) == ([1.0, 0.0, None], [(0.0, "None"), (1.0, "batch")])


def interrupted(folder, data, workers=1, trials=3, ready=1, victim=None):
    """Start a search in a process of its own, kill one when so many trials have begun, and return what was killed."""
    import subprocess

    code = (
        "import sys, json, keras_genzoo as gz; from keras_genzoo.recipes import space\n"
        f"model = gz.tuning.HyperRecipe('vae', {SHAPE}, search={{**dict.fromkeys(gz.recipes.get('vae').search),"
        f" 'latent_dim': space.Int(2, 16)}}, **{SMALL})\n"
        f"gz.tuning.Search({str(folder)!r}, model, {data!r}, trials={trials}, epochs=2).run({workers})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    started = time.time()
    while len(list(folder.glob("trials/trial_*/attempts.json"))) < ready:
        assert time.time() - started < 120 and process.poll() is None
        time.sleep(0.2)
    return process


@pytest.mark.slow
def test_a_trial_goes_on_where_it_was_stopped(data, tmp_path):
    hp, found = keras_tuner.HyperParameters(), {}
    own = hypermodel(ema=0.9, warmup=0.5, seed=3)

    class Stopped(Exception):
        pass

    class Stop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == 7:  # of nine, behind the third after which there is a look
                raise Stopped

    for name, callbacks in (("whole", []), ("stopped", [Stop()])):
        rungs = []
        trial = lambda callbacks, rungs=rungs, name=name: own.fit(  # noqa: E731
            hp, own.build(hp), data, epochs=2, callbacks=callbacks, rung=lambda r: rungs.append(r["loss"]), folder=tmp_path / name
        )
        if callbacks:
            with pytest.raises(Stopped):
                trial(callbacks)
        found[name] = trial([]), rungs
    (whole, looks), (resumed, looks_again) = found["whole"], found["stopped"]
    timed = {"train_seconds", "sample_seconds"}
    assert {key: resumed[key] for key in resumed.keys() - timed} == {key: whole[key] for key in whole.keys() - timed}
    assert looks_again == 2 * looks and len(looks) == 1  # it was stopped behind the look, which the same numbers pass again
    record = json.loads((tmp_path / "stopped" / "run.json").read_text())
    assert record["recipe"] == "vae" and record["hyperparameters"]["ema"] == 0.9 and record["total_steps"] == 12


def test_a_search_that_has_ended_is_extended_by_more_trials(data, tmp_path, answers):
    search = lambda trials: tuning.Search(tmp_path, hypermodel(), data, trials=trials, budget=1.0)  # noqa: E731
    assert len(search(2).run() and search(2).results()) == 2
    first = [row["hyperparameters"] for row in search(2).results()]
    search(4).run()
    rows = tuning.Search.open(tmp_path).results()
    assert [row["status"] for row in rows] == ["completed"] * 4 and len(answers.orders) == 4
    assert [row["hyperparameters"] for row in rows][:2] == first
    with pytest.raises(ValueError, match="holds another search, of other trials"):
        search(3)


@pytest.mark.parametrize("name", ["search.json", "trials/oracle.json", "trials/trial_0/trial.json"])
@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_damaged_files_of_a_search_are_named_and_overwritten_unread(name, content, data, tmp_path, answers):
    search = lambda **settings: tuning.Search(tmp_path, hypermodel(), data, trials=2, budget=1.0, **settings)  # noqa: E731
    search().run()
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))) as caught:
        found = tuning.Search.open(tmp_path)
        found.results()
        found.run()
    assert "\n" not in str(caught.value) and ("json" in str(caught.value) or "damaged" in str(caught.value))
    search(overwrite=True).run()
    assert len(tuning.Search.open(tmp_path).results()) == 2


@pytest.mark.slow
def test_an_interrupted_search_goes_on_where_it_was(data, tmp_path):
    process = interrupted(tmp_path / "tune", data, ready=2)  # the second trial runs
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    first = next((tmp_path / "tune").glob("trials/trial_0/result.json")).stat().st_mtime_ns
    search = tuning.Search.open(tmp_path / "tune")
    search.run()
    assert [row["status"] for row in search.results()] == ["completed"] * 3
    assert next((tmp_path / "tune").glob("trials/trial_0/result.json")).stat().st_mtime_ns == first
    counts = [json.loads(path.read_text())["attempts"] for path in sorted((tmp_path / "tune").glob("trials/*/attempts.json"))]
    assert counts == [1, 2, 1]


@pytest.mark.slow
def test_a_killed_worker_does_not_stop_the_search(data, tmp_path):
    folder = tmp_path / "tune"
    process = interrupted(folder, data, workers=2, ready=2)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"KERASTUNER_TUNER_ID=worker0" in environment and str(folder).encode() in command:
            os.kill(int(pid), signal.SIGKILL)
    assert process.wait(timeout=300) == 0
    search = tuning.Search.open(folder)
    assert [row["status"] for row in search.results()] == ["completed"] * 3
    assert (folder / "best.json").exists()


class Watched:
    """A model that writes down what it is shown: of images that are each of one level, the levels."""

    data_needs, steps_per_execution, metrics = {}, 1, []

    def __init__(self):
        self.optimizer, self.seen = types.SimpleNamespace(iterations=0), {}

    def fit(self, train, steps_per_epoch, **kwargs):
        self.optimizer.iterations += steps_per_epoch
        self.seen["fit"] = levels(train.take(steps_per_epoch))
        return types.SimpleNamespace(history={"loss": [9.0, 3.0]})

    def evaluate(self, validation, verbose, return_dict):
        self.seen["evaluate"] = levels(validation)
        return {"loss": 4.0}

    def fit_prior(self, train):
        self.seen["fit_prior"] = levels(train)

    def count_params(self):
        return 5

    def sample(self, n, seed):
        return np.zeros((n, *SHAPE), "float32")


def levels(batches):
    return gz.data.as_array(batches)[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("source", ["file", "dict", "two"])
def test_trials_learn_from_training_images_and_are_measured_on_validation_images(source, tmp_path, monkeypatch):
    """Test images are never looked at, and order, weights and samples follow from the seed."""
    firsts, lengths = {"train": 0, "validation": 100, "test": 200}, {"train": 48, "validation": 16, "test": 16}
    names = {split: np.arange(first, first + lengths[split], dtype="uint8") for split, first in firsts.items()}
    images = {split: each[:, None, None, None] * np.ones((1, *SHAPE), "uint8") for split, each in names.items()}
    np.savez(tmp_path / "levels.npz", **{f"{split}_images": each for split, each in images.items()})
    data = {"file": str(tmp_path / "levels.npz"), "dict": images, "two": images["train"]}[source]
    validation = images["validation"] if source == "two" else None
    built, distances = [], []
    monkeypatch.setattr(tuning.hypermodel.recipes, "build", lambda *args, **kwargs: built.append((args, kwargs)) or Watched())
    monkeypatch.setattr(
        tuning.hypermodel, "SampleDistance", lambda *args: distances.append((levels(args[0]), *args[1:])) or (lambda model: 7.0)
    )
    orders = []
    for seed in (3, 4):
        recipe, hp = hypermodel(seed=seed, n=11, activation="tanh"), keras_tuner.HyperParameters()
        results = recipe.fit(hp, recipe.build(hp), data, validation_data=validation, epochs=2)
        (name, shape, steps), settings = built[-1]
        assert (name, shape, steps) == ("vae", SHAPE, 12) and settings["seed"] == seed and settings["activation"] == "tanh"
        seen = recipe.model.seen
        assert sorted(seen["fit"]) == sorted(2 * names["train"].tolist())
        assert sorted(seen["fit_prior"]) == names["train"].tolist()
        assert seen["evaluate"] == distances[-1][0] == names["validation"].tolist()
        assert distances[-1][1:] == ("fashion-cnn", 11)
        assert results | {"sample_seconds": 0.0} == {
            **{"loss": 3.0, "val_loss": 4.0, "parameters": 5.0, "fd": 7.0},
            **{"sample_seconds": 0.0, "steps": 12.0, "train_seconds": 0.0},
        }
        orders.append(seen["fit"])
    assert orders[0] != orders[1]


@pytest.mark.parametrize("objective, sign", [("fd", 1), ("val_psnr", -1)])
def test_a_trial_is_hopeless_where_it_is_worse_than_the_median_of_those_that_ended(objective, sign, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning.trials, "end_with_stdin", lambda: None)

    def judged(value, stop_hopeless=True, others=(1, 2, 9)):
        for index, other in enumerate(others):
            (tmp_path / "trials" / f"trial_{index}").mkdir(parents=True, exist_ok=True)
            (tmp_path / "trials" / f"trial_{index}" / "rung.json").write_text(json.dumps({objective: sign * other}))
            (tmp_path / "trials" / f"trial_{index}" / "result.json").write_text("{}")
        for trial in ("trial_8", "trial_9"):  # the one that is judged, and one that has not ended
            (tmp_path / "trials" / trial).mkdir(parents=True, exist_ok=True)
        (tmp_path / "trials" / "trial_8" / "rung.json").write_text(json.dumps({objective: sign * 100}))
        (tmp_path / "trials" / "trial_9" / "result.json").unlink(missing_ok=True)
        found = []

        class Recipe:
            model = types.SimpleNamespace(save=lambda path: None)
            build = staticmethod(lambda hp: None)

            def fit(self, hp, model, data, rung, folder, budget, epochs):
                found.append((rung and rung({objective: sign * value}), data, budget, epochs))
                return {objective: sign * value}

        settings = {"objective": objective, "stop_hopeless": stop_hopeless, "data": "some"}
        search = types.SimpleNamespace(folder=tmp_path, settings=settings, hypermodel=Recipe())
        order = {"hyperparameters": {"space": [], "values": {}}, "budget": 5.0, "epochs": None}
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(order) + "\n"))
        tuning.trials.run_trial(search, "9")
        ((hopeless, *rest),) = found
        assert rest == ["some", 5.0, None]
        told = json.loads((tmp_path / "trials" / "trial_9" / "result.json").read_text())
        assert told == {"results": {objective: sign * value}}
        return hopeless

    assert judged(50, others=(1, 2)) is False  # of two there is no telling
    assert [judged(value) for value in (-5, 2, 2.5, 50)] == [False, False, True, True]
    assert judged(50, stop_hopeless=False) is None


class Answers(io.StringIO):
    """Stands for the process of a trial: answers at once, and nothing is trained."""

    orders, failing = [], 0

    def __init__(self, command, **settings):
        super().__init__()
        self.place = Path(command[-2]) / "trials" / f"trial_{command[-1]}"
        self.stdin, self.returncode = self, 0

    def wait(self):
        order = json.loads(self.getvalue())
        self.orders.append(order)
        good = {"results": {"fd": float(order["hyperparameters"]["values"]["latent_dim"]), "steps": 1.0}}
        answer = good if len(self.orders) > self.failing else {"failed": "it broke"}
        (self.place / "result.json").write_text(json.dumps(answer))
        (self.place / "model.keras").touch()


@pytest.fixture
def answers(monkeypatch):
    monkeypatch.setattr(tuning.trials.subprocess, "Popen", Answers)
    monkeypatch.setattr(Answers, "orders", [])
    return Answers


def test_memory_stays_flat_over_fifty_trials(data, tmp_path, monkeypatch, answers):
    """A trial's process gives all of its memory back; this one only waits for it, and keeps nothing of it."""
    search = tuning.Search(tmp_path / "tune", hypermodel(), data, trials=60, epochs=1)
    peaks, end = [], tuning.trials.Trials.on_trial_end
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # noqa: E731
    monkeypatch.setattr(tuning.trials.Trials, "on_trial_end", lambda self, trial: (end(self, trial), peaks.append(peak())))
    assert search.run()["value"] == min(row["results"]["fd"] for row in search.results())
    assert len(peaks) == 60 and peaks[59] - peaks[9] < 50  # MB, over 50 trials


def test_failures_in_a_row_do_not_end_a_search_and_a_seed_of_zero_is_one(data, tmp_path, monkeypatch, answers):
    monkeypatch.setattr(answers, "failing", 4)
    values = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        search = tuning.Search(tmp_path / name, hypermodel(seed=seed), data, trials=6, epochs=1)
        search.run()
        values.append([row["hyperparameters"] for row in search.results()])
        if name == "a":
            assert [row["status"] for row in search.results()] == ["failed"] * 4 + ["completed"] * 2
            assert search.results()[0]["reason"] == "it broke"
    assert values[0] == values[1] != values[2]


def test_the_largest_is_the_best_where_that_is_asked_for_and_is_confirmed_beside_the_default(
    data, tmp_path, monkeypatch, answers
):
    recipe = hypermodel()
    recipe.space["batch_size"] = space.Choice((4, 6, 8))
    search = tuning.Search(tmp_path / "tune", recipe, data, objective="max:fd", trials=5, epochs=1)
    best = search.run()
    values = {row["trial"]: row["results"]["fd"] for row in search.results()}
    assert best["value"] == values[best["trial"]] == max(values.values()) > min(values.values())
    assert best["hyperparameters"]["latent_dim"] == best["value"] and best["hyperparameters"]["width"] == 8
    assert best["batch_size"] != recipe.defaults["batch_size"]
    (kept,) = (tmp_path / "tune").glob("trials/*/model.keras")
    assert values[kept.parent.name.removeprefix("trial_")] == best["value"]

    jobs = []
    monkeypatch.setattr(searches, "run_all", lambda folder, *given: jobs.append(given) or [])
    folder, failed = searches.confirm(search, seeds=2, timeout=9)
    expected = {"epochs": 1, "budget": None, "batch_size": best["batch_size"], "data": data, "image_size": [8, 8], "channels": 1}
    assert not failed and folder.settings | expected | {"n": None, "features": "fashion-cnn"} == folder.settings
    ((runs, timeout, anyway),) = jobs
    assert (
        timeout == 9
        and not anyway
        and [(run["seed"], run["overrides"]) for (run,) in runs]
        == [(seed, overrides) for seed in (1, 2) for overrides in (search.hypermodel.fixed, best["hyperparameters"])]
    )
    scores = {"FD[f]": 2.0, "features": "f", "n_real": 9, "n_generated": 9}
    for (run,) in runs:
        folder.add({**run, "status": "ok", "scores": scores, "distance_name": "FD[f]", "environment": {}})
    page = searches.write_report(search).read_text()
    assert "No ranks: 2 seeds a row cannot tell luck from merit" in page and "2.00" in page


@pytest.mark.parametrize(
    "broken, sentence",
    [
        ({"used_by_others": lambda: (1.5, "python (process 71)")}, "other processes use 1.5 of"),
        (
            {"wait_for_rest": lambda say: (_ for _ in ()).throw(running.Refused("the test images are others"))},
            "images are others",
        ),
    ],
)
def test_a_confirmation_that_cannot_be_run_is_one_sentence(broken, sentence, data, tmp_path, monkeypatch, answers):
    tuning.Search(tmp_path / "tune", hypermodel(), data, trials=2, budget=9.0).run()
    monkeypatch.setattr(planning.wait_for_rest, "__defaults__", (0.0,))
    for name, value in broken.items():
        monkeypatch.setattr(planning, name, value)
    result = CliRunner().invoke(genzoo, ["benchmark", "confirm", str(tmp_path / "tune"), "--device", "cpu"])
    assert result.exit_code == 2 and sentence in " ".join(result.output.split()), (result.output, result.exception)
    ran = []
    monkeypatch.setattr(running, "run_job", lambda folder, job, *rest: ran.append(job))
    assert (
        CliRunner().invoke(genzoo, ["benchmark", "confirm", str(tmp_path / "tune"), "--device", "cpu", "--anyway"]).exit_code == 0
    )
    assert len(ran) == 6


def test_all_trials_failing_is_one_sentence(data, tmp_path, monkeypatch, answers):
    monkeypatch.setattr(answers, "failing", 10)
    with pytest.raises(ValueError, match="none of 2 trials came to an end: it broke"):
        tuning.Search(tmp_path / "tune", hypermodel(), data, trials=2, epochs=1).run()


def test_one_process_alone_is_the_chief(data, tmp_path, monkeypatch):
    """To KerasTuner any id with "chief" in it is one; and the folder is cleared before the processes start, by none of them."""
    started = []

    class Process:
        def __init__(self, command, env, **settings):
            assert not (tmp_path / "tune" / "old").exists() and command[2:] == ["keras_genzoo.tuning", str(tmp_path / "tune")]
            started.append(env["KERASTUNER_TUNER_ID"])
            self.code = None if len(started) == 1 else 0
            self.poll, self.terminate, self.wait = lambda: self.code, lambda: None, lambda: self.code

    tuning.Search(tmp_path / "tune", hypermodel(), data, trials=2, epochs=1)
    (tmp_path / "tune" / "old").touch()
    monkeypatch.setattr(tuning.trials.subprocess, "Popen", Process)
    with pytest.raises(ValueError, match="none was started"):
        tuning.Search(tmp_path / "tune", hypermodel(), data, trials=2, epochs=1, overwrite=True).run(workers=3)
    assert started == ["chief", "worker0", "worker1", "worker2"]


@pytest.mark.parametrize("oracle, trials, count", [("hyperband", None, 23), ("bayesian", 6, 6)])
def test_oracles_run_to_their_end_within_the_budget(oracle, trials, count, data, tmp_path, answers):
    search = tuning.Search(tmp_path / "tune", hypermodel(), data, oracle=oracle, trials=trials, budget=9.0)
    search.run()
    budgets = [order["budget"] for order in answers.orders]
    assert len(search.results()) == len(budgets) == count
    assert set(budgets) == ({1.0, 3.0, 9.0} if oracle == "hyperband" else {9.0})
    assert search.settings["stop_hopeless"] == (oracle != "hyperband")


def fails(match, **kwargs):
    with pytest.raises(ValueError, match=match):
        tuning.Search(**kwargs)


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, data):
    good = {"folder": tmp_path / "new", "hypermodel": hypermodel(), "data": data}
    fails("no objective 'val_mse'.*val_kl_loss", **good, objective="val_mse")
    fails("min:nonsense or max:nonsense", **good, objective="nonsense")
    fails("budget is 0", **good, budget=0)
    fails("oracle is 'grid'", **good, oracle="grid")
    fails("trials is 5 with oracle 'hyperband'", **good, oracle="hyperband", trials=5)
    fails("no 'speed' to weigh", **{**good, "hypermodel": hypermodel(weights={"speed": 1.0})}, objective="weighted")
    assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match="latent_dim is 16 by default, outside of"):
        hypermodel(search={"latent_dim": space.Int(2, 8)})
    with pytest.raises(ValueError, match="no argument 'latent'"):
        hypermodel(latent=3)
    with pytest.raises(ValueError, match="low below high"):
        space.Float(1.0, 0.1)
    with pytest.raises(ValueError, match="no validation_data"):
        hypermodel().fit(
            keras_tuner.HyperParameters(),
            hypermodel().build(keras_tuner.HyperParameters()),
            np.zeros((8, *SHAPE), "uint8"),
            epochs=1,
        )


def test_a_folder_of_another_search_is_refused_and_overwritten_if_asked(tmp_path, data):
    kwargs = {"folder": tmp_path / "tune", "hypermodel": hypermodel(), "data": data, "epochs": 1}
    tuning.Search(**kwargs, trials=3)
    (tmp_path / "tune" / "trials").mkdir()
    fails("another search, of other trials", **kwargs, trials=1)
    tuning.Search(**kwargs, trials=4, overwrite=True)
    assert not (tmp_path / "tune" / "trials").exists()
    assert tuning.Search.open(tmp_path / "tune").settings["trials"] == 4
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").touch()
    fails("other things than a search", **{**kwargs, "folder": tmp_path / "other"})
    with pytest.raises(ValueError, match="holds no search"):
        tuning.Search.open(tmp_path / "other")


def test_without_keras_tuner_one_sentence_names_the_extra(monkeypatch, tmp_path):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "keras_tuner" else real(name, *rest))
    monkeypatch.delitem(sys.modules, "keras_genzoo.tuning")
    monkeypatch.delattr(gz, "tuning")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(genzoo, ["tune", "vae"])
    assert result.exit_code == 2 and "keras_genzoo[tuning]" in result.output and "Traceback" not in result.output


def test_hyperband_gives_short_trials_a_share_of_the_budget():
    oracle = keras_tuner.oracles.HyperbandOracle(objective=tuning.get_objective("fd"), max_epochs=tuning.trials.ROUNDS)
    sizes = [oracle._get_size(bracket, number) for bracket in range(oracle._get_num_brackets()) for number in range(bracket + 1)]
    assert sum(sizes) == 23 and math.isclose(math.log(tuning.trials.ROUNDS, 3), 2)
