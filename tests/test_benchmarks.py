"""The benchmark: training for a budget, controls, results on disk, tables, the report, the command line."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_genzoo.benchmark import controls, ranking, rounding, scores, tables
from keras_genzoo.benchmark.ranking import rankings
from keras_genzoo.benchmark.report import write_report
from keras_genzoo.benchmark.results import Folder, FolderError
from keras_genzoo.benchmark.running import ending
from keras_genzoo.cli.benchmark import main
from keras_genzoo.core import budgets, runs
from keras_genzoo.core.checkpoints import Checkpoint

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.xdist_group("benchmarks"),  # one worker, so that the fixture of real runs is made once
    pytest.mark.filterwarnings("ignore:.*is biased upwards:UserWarning"),  # of few images, which are quick
]


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


# Controls


def correlated_images(n):
    """Images of 2x3x2 whose values stay clear of 0 and 255, so that clipping changes nothing."""
    random = np.random.default_rng(0)
    values = 128 + random.normal(size=(n, 12)) @ (random.normal(size=(12, 12)) * 5)
    return values.clip(0, 255).astype(np.uint8).reshape(n, 2, 3, 2)


def test_pixel_gaussian_has_the_mean_and_covariance_of_the_pixels():
    images = correlated_images(2500)  # more than one chunk
    draws = controls.pixel_gaussian(images, 20_000, seed=1)
    assert draws.shape == (20_000, 2, 3, 2) and draws.dtype == np.uint8
    flat, drawn = images.reshape(2500, -1).astype(float), draws.reshape(20_000, -1).astype(float)
    deviation = flat.std(axis=0).max()
    # Four standard errors of a mean and of a covariance over 20,000 draws.
    np.testing.assert_allclose(drawn.mean(axis=0), flat.mean(axis=0), atol=4 * deviation / np.sqrt(20_000))
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(flat.T), atol=4 * deviation**2 * np.sqrt(2 / 20_000))


def test_pixel_gaussian_is_clipped_and_rounded_to_levels():
    images = np.random.default_rng(0).choice(np.uint8([0, 255]), (50, 4, 4, 1))
    draws = controls.pixel_gaussian(images, 100, seed=0)
    assert draws.min() == 0 and draws.max() == 255 and len(np.unique(draws)) > 100


def test_principal_components_are_the_best_subspace_and_its_gaussian():
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 1), dtype="uint8")
    model = controls.PrincipalComponents(images, components=3)
    flat = images.reshape(60, -1) / 255
    centred = flat - flat.mean(axis=0)
    left, size, right = np.linalg.svd(centred, full_matrices=False)
    expected = (left[:, :3] * size[:3]) @ right[:3] + flat.mean(axis=0)
    np.testing.assert_allclose(model.reconstruct(images).reshape(60, -1), np.clip(expected, 0, 1), atol=1e-4)
    covariance = (right[:3].T * size[:3] ** 2 / 59) @ right[:3]
    # Of images about the middle gray, few of whose draws are clipped.
    np.testing.assert_allclose(np.cov(model.sample(20_000, 0).reshape(20_000, -1).T), covariance, atol=0.02)


def test_walks_leave_the_mean_code_along_the_axes_that_vary_most(images):
    from keras_genzoo.benchmark import shown

    class Model:
        encode = staticmethod(lambda x: x.reshape(len(x), -1)[:, :3] * np.array([1.0, 100.0, 10.0]))
        decode = staticmethod(lambda z: np.repeat(z.sum(axis=1), 64).reshape(-1, 8, 8, 1))

    x = np.random.default_rng(0).normal(size=(100, 8, 8, 1))
    codes = Model.encode(x)
    walks = shown.latent_walks(Model, x)
    assert walks.shape == (3, shown.STEPS, 8, 8, 1)
    expected = codes.mean(axis=0).sum() + np.outer(codes.std(axis=0)[[1, 2, 0]], np.linspace(-2.5, 2.5, shown.STEPS))
    np.testing.assert_allclose(walks[:, :, 0, 0, 0], expected, rtol=1e-3)
    Model.encode = staticmethod(lambda x: x.reshape(len(x), -1))
    assert shown.latent_walks(Model, x) is None


def test_real_images_are_apart_from_those_their_neighbours_are_sought_in():
    images = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)
    chosen, others = controls.real_images(images, 30, seed=0)
    assert sorted(np.concatenate([chosen, others]).ravel()) == list(range(100)) and len(chosen) == 30


def test_copies_are_searched_among_what_they_were_copied_from():
    images = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)
    copies, others = controls.CONTROLS["copy of training images"](images, 30, 0)
    assert set(copies.ravel()) <= set(others.ravel()) and len(others) == 100
    assert set(copies.ravel()) != set(controls.real_images(images, 30, 0)[0].ravel())  # no control is another one


# Training for a budget


def test_clock_counts_neither_compilation_nor_measurement(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(budgets.time, "perf_counter", lambda: now[0])
    seen = []
    clock = budgets.Clock(measure=lambda *point: seen.append(point) or now.__setitem__(0, now[0] + 100))
    clock.set_model(type("Model", (), {"optimizer": type("Optimizer", (), {"iterations": 6})}))
    for segment, durations in enumerate([(33, 2, 4), (3, 3, 3)]):  # the first of them compiles
        clock.on_epoch_begin(segment)
        for duration in durations:
            clock.on_train_batch_begin(0)
            now[0] += duration
        clock.on_epoch_end(segment, {"loss": 1.0})
    assert [point[2] for point in seen] == [6, 15]
    assert clock.train_seconds() == 18  # 15 s of five executions, and the first as an average one
    assert clock.compile_seconds() == 30


def test_a_clock_that_goes_on_in_another_process_leaves_out_what_compiles_there(monkeypatch):
    now, state = [0.0], None
    monkeypatch.setattr(budgets.time, "perf_counter", lambda: now[0])
    for durations in [(33, 2, 4), (13, 3, 3)]:
        clock = budgets.Clock(measure=lambda segment, steps, seconds, logs: seconds)
        clock.set_model(type("Model", (), {"optimizer": type("Optimizer", (), {"iterations": 6})}))
        if state:
            clock.set_state(json.loads(json.dumps(state)))
        clock.on_epoch_begin(0)
        for duration in durations:
            clock.on_train_batch_begin(0)
            now[0] += duration
        clock.on_epoch_end(0, {"loss": 1.0})
        state = clock.get_state()
    assert clock.points == [6, 12] and clock.executions == 6
    assert clock.train_seconds() == 18 and clock.compile_seconds() == 33 + 13 - 2 * 3


def test_clock_stops_a_run_whose_loss_is_not_finite():
    clock = budgets.Clock()
    clock.on_epoch_begin(0)
    with pytest.raises(FloatingPointError, match="the training loss became nan in segment 1"):
        clock.on_epoch_end(0, {"loss": float("nan")})


def test_clock_leaves_a_run_that_was_stopped_to_who_stopped_it():
    clock = budgets.Clock(measure=lambda *point: pytest.fail("measured"))
    clock.set_model(type("Model", (), {"stop_training": True}))
    clock.on_epoch_begin(0)
    clock.on_epoch_end(0, {"loss": float("nan")})


@pytest.mark.parametrize("executions", [1, 7, 19, 20, 29, 109, 997, 12345])
def test_segments_are_six_to_twelve_and_leave_few_steps_over(executions):
    length = budgets.segment_length(executions)
    segments = executions // length
    assert min(executions, 6) <= segments <= 12
    assert executions - segments * length <= max(1, 0.05 * executions)
    # Steps that a run of a budget made are made again exactly by --steps.
    assert (segments * length) % budgets.segment_length(segments * length) == 0


# Results on disk


SETTINGS = {"data": "d", "budget": 5.0, "device": "cpu"}


def a_row(recipe, seed=0, distance=1.0, kind="recipe", overrides=None, n=100, **others):
    scores = {"FD[f]": distance, "features": "f", "features_hash": "h", "n_real": n, "n_generated": n}
    row = {
        "kind": kind,
        "recipe": recipe,
        "family": kind if kind == "control" else "vae",
        "overrides": overrides or {},
        "seed": seed,
    }
    environment = {"device": "CPU", "cpu": "a processor", "cores": 2}
    row |= {
        "status": "ok",
        "started": "2020-02-02T00:00:00",
        "environment": environment,
        "distance_name": "FD[f]",
        "scores": scores,
    }
    if kind == "recipe":
        row |= {
            "train_s": 5.0,
            "curve": [{"seconds": s, "loss": 3 - s, "val_loss": 3 - s, "distance": 9 - s} for s in (1.0, 2.0)],
        }
    return row | others


def a_failure(recipe, reason, **others):
    return {key: value for key, value in a_row(recipe, **others).items() if key != "scores"} | {
        "status": "failed",
        "reason": reason,
    }


def test_a_row_replaces_the_failed_one_of_the_same_run(tmp_path):
    folder = Folder.create(tmp_path / "runs", SETTINGS)
    folder.add(a_failure("vae", "no memory"))
    folder.add(a_row("vae", seed=1))
    folder.add(a_row("vae", overrides={"beta": 2}))
    folder.add(a_row("vae"))
    rows = [(row["overrides"], row["seed"], row["status"]) for row in Folder(tmp_path / "runs").rows()]
    assert rows == [({}, 1, "ok"), ({"beta": 2}, 0, "ok"), ({}, 0, "ok")]


def test_runs_without_a_result_or_with_a_failed_one_are_missing(tmp_path):
    folder = Folder.create(tmp_path, SETTINGS)
    folder.add(a_row("vae"))
    folder.add(a_failure("vae", "no memory", seed=1))
    runs = [a_row("vae", seed=seed) for seed in range(3)] + [a_row("vae", overrides={"beta": 2})]
    assert folder.missing(runs) == runs[1:]


def test_a_crash_while_writing_leaves_the_results_of_before(tmp_path, monkeypatch):
    folder = Folder.create(tmp_path, SETTINGS)
    folder.add(a_row("vae"))
    before = folder.results.read_bytes()

    def crash(*arguments):
        raise OSError("disk full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(os, "fsync", crash)
        folder.add(a_row("autoencoder"))
    with pytest.raises(TypeError, match="JSON"):  # what JSON cannot hold does not get there either
        folder.add(a_row("autoencoder", distance=object()))
    assert folder.results.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} - {".writing.lock"} == {"results.jsonl", "settings.json"}


def test_numbers_that_are_not_finite_are_null_in_results(tmp_path):
    folder = Folder.create(tmp_path, SETTINGS)
    folder.add(a_row("vae", distance=float("nan")) | {"curve": [{"loss": np.float32("inf")}]})
    assert "NaN" not in folder.results.read_text() and "Infinity" not in folder.results.read_text()
    (row,) = folder.rows()
    assert None in row["scores"].values() and row["curve"] == [{"loss": None}]


def test_a_torn_line_of_someone_else_is_named(tmp_path):
    folder = Folder.create(tmp_path, SETTINGS)
    folder.add(a_row("vae"))
    with open(folder.results, "a") as file:
        file.write('{"recipe": "va')
    with pytest.raises(FolderError, match="holds a line that is no JSON"):
        folder.rows()


def test_two_processes_cannot_add_to_one_folder(tmp_path):
    folder = Folder.create(tmp_path, SETTINGS)
    with folder.lock(), pytest.raises(FolderError, match="another process is adding"):
        folder.lock()
    with folder.lock():
        pass


# Tables


def test_interval_is_students():
    # t of 2 degrees of freedom at 97.5 % is 4.3027 (any table); the standard deviation of 1, 2, 3 is 1.
    half = 4.3027 / np.sqrt(3)
    assert rounding.interval([1.0, 2.0, 3.0]) == (2, pytest.approx(2 - half, rel=1e-4), pytest.approx(2 + half, rel=1e-4))
    assert rounding.interval([5.0]) == (5.0, None, None)
    # Of distances the same on the log scale.
    found = rounding.interval(np.exp([1.0, 2.0, 3.0]), rounding.POSITIVE)
    assert found == pytest.approx(np.exp([2, 2 - half, 2 + half]), rel=1e-3)


def test_intervals_stay_where_scores_can_lie():
    assert rounding.interval([0.99, 0.9], rounding.SHARE)[1:] == (pytest.approx(0.3733, abs=1e-3), 1)
    assert rounding.interval([0.01, 0.1], rounding.SHARE)[1] == 0
    assert rounding.interval([10, 6], rounding.COUNT)[1] == 0
    assert rounding.interval([0.0, 0.3], rounding.POSITIVE)[1] == 0  # a copy's distance to the nearest training image
    assert rounding.interval([0.0, 0.3])[1] < 0  # an unbiased kernel distance may be negative
    names = ("FD_inf[f]", "precision", "auroc[noise]", "modes", "KD[f]", "bits_per_dim[iw64]")
    assert [scores.of(name).range for name in names] == ["positive", "share", "share", "count", None, None]


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (12.3432, 0.5631, "12.34 ± 0.56"),
        (12.3432, 0.0996, "12.34 ± 0.10"),
        (12.3432, 0.09949, "12.343 ± 0.099"),
        (12345.6, 563.0, "12,350 ± 560"),
        (12345.6, 17.2, "12,346 ± 17"),
        (12345.6, 9.96, "12,346 ± 10"),
        (-0.00123, 0.0004567, "-0.00123 ± 0.00046"),
        (3.0, 14.2, "3 ± 14"),
        (2.1e-6, 3.3e-7, "2.1e-06 ± 3.3e-07"),
        (5.0, 0.0, "5.00"),
        (0.012, 2e-18, "0.0120"),  # equal values, up to rounding
    ],
)
def test_two_digits_of_the_uncertainty_decide_the_digits_of_the_mean(mean, half, text):
    assert rounding.uncertain(mean, mean - half, mean + half).replace("\u00a0", " ") == text


def test_an_interval_that_is_not_symmetric_shows_both_ends():
    assert rounding.uncertain(9.94, 2.79, 35.46).replace("\u00a0", " ") == "9.9 (2.8 to 35.5)"
    assert rounding.uncertain(0.98, 0.93, 1.0).replace("\u00a0", " ") == "0.980 (0.930 to 1.000)"
    assert rounding.uncertain(0.006, 0.0, 0.0125).replace("\u00a0", " ") == "0.0060 (0.0000 to 0.0125)"  # and never less than 0
    assert rounding.uncertain(5.0, None, None) == "5.00"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (12.345, "12.3"),
        (99.99, "100"),
        (0.0123456, "0.0123"),
        (-0.5, "-0.500"),
        (0, "0"),
        (2e-7, "2.0e-07"),
    ],
)
def test_numbers_are_shown_by_three_digits(value, text):
    assert rounding.number(value) == text


def test_a_ranking_puts_controls_and_means_over_seeds_in_their_place():
    rows = [
        a_row("pixel Gaussian", distance=40.0, kind="control"),
        a_row("vae", distance=9.0),
        a_row("real train images", distance=0.5, kind="control"),
        a_row("vae", seed=1, distance=11.0),
        a_row("autoencoder", distance=50.0),
    ]
    (ranking,) = rankings(rows)
    table = ranking.table(tables.sample_columns("FD[f]", rows[0]["scores"]), controls=True, intervals=True).frame()
    assert list(table["name"]) == ["real train images (control)", "vae", "pixel Gaussian (control)", "autoencoder"]
    # The geometric mean of 9 and 11 is 9.95; t of 1 degree of freedom is 12.706, the standard error of their logarithms 0.1003.
    assert list(table["FD[f]"]) == ["0.500", "9.9 (2.8\u00a0to\u00a035.6)", "40.0", "50.0"]
    assert list(table["in % of pixel Gaussian"]) == ["1.25", "25 (7\u00a0to\u00a089)", "100", "125"]
    assert list(table["deviation over seeds, %"]) == ["–", "14.2", "–", "–"]
    assert list(table["runs"]) == ["1", "2", "1", "1"] and "failed" not in table  # none has
    assert "sharpness, data 1" not in table  # nothing stands in it
    assert ranking.table(tables.memory_columns(rows[0]["scores"]), controls=True, intervals=True) is None


def test_estimates_that_err_in_a_models_favour_say_so_and_have_a_column_of_their_own():
    bound, estimate, energy = a_row("vae"), a_row("gaussian_rbm"), a_row("ebm")
    bound["scores"]["bits_per_dim[iw64]"] = 3.0
    estimate["scores"] |= {"bits_per_dim[ais]": 2.0, "log_prob[ais]": -1500.0, "log_prob_error[ais]": 0.25}
    energy["scores"] |= {"auroc[noise]": 1.0, "auroc[emoji32]": 0.75, "chain_steps": 100, "chain_ess": 2.5}
    (ranking,) = rankings([bound, estimate, energy])
    found = bound["scores"] | estimate["scores"] | energy["scores"]
    table = ranking.table(tables.reconstruction_columns(found), controls=False, intervals=True).frame().set_index("name")
    assert dict(table.loc["vae"])["bits/dim [iw64], an upper bound"] == "3.00"
    own = dict(table.loc["gaussian_rbm"])
    assert own["bits/dim [iw64], an upper bound"] == tables.NOTHING
    assert own["bits/dim [ais], an estimate that errs downwards"] == "2.00"
    assert own["log p, nats [ais], an estimate that errs upwards"] == "-1,500"
    assert own["standard error of log Z, nats"] == "0.250"
    assert "ebm" not in table.index  # nothing is known of it here
    titles = [scores.title(f"bits_per_dim{label}") for label in ("", "[ode]", "[5bit]")]
    assert titles == ["bits/dim, exact", "bits/dim [ode], an estimate without bias", "bits/dim [5bit], exact"]
    table = ranking.table(tables.energy_columns(found), controls=False, intervals=True).frame().set_index("name")
    assert dict(table.loc["ebm"].drop("family")) == {
        "AUROC against [emoji32]": "0.750",
        "AUROC against [noise]": "1.00",
        "steps of a chain": "100",
        "effective draws of a chain": "2.50",
    }


def test_scores_of_other_features_or_numbers_of_images_are_never_ranked_together():
    rows = [a_row("vae"), a_row("gan", n=50), a_row("autoencoder")]
    clean = a_row("flow")
    clean["scores"]["resize"] = "bicubic"
    assert [len(ranking.entries) for ranking in rankings([*rows, clean])] == [2, 1, 1]
    assert [[entry.label for entry in ranking.entries] for ranking in rankings(rows)] == [["vae", "autoencoder"], ["gan"]]


# The report


def test_report_of_rows_shows_them_and_needs_nothing_else(tmp_path):
    folder = Folder.create(tmp_path, SETTINGS)
    for row in (
        a_row("vae", distance=9.0),
        a_row("vae", seed=1, distance=11.0),
        a_row("pixel Gaussian", distance=20.0, kind="control"),  # none of which has pictures here
        a_failure("autoencoder", "<b>ran</b> out of memory"),
    ):
        folder.add(row)
    page = write_report(folder).read_text()
    assert "&lt;b&gt;ran&lt;/b&gt; out of memory" in page  # and is no markup
    assert "9.9 (2.8\u00a0to\u00a035.6)" in page and "95 % t interval" in page and "a processor" in page
    assert self_contained(page)
    text = (tmp_path / "report.md").read_text()
    assert "| vae " in text and "- autoencoder, seed 0, failed: &lt;b>ran&lt;/b> out of memory" in text
    assert all((tmp_path / path).exists() for path in re.findall(r"\]\((.+?)\)", text))


def test_report_of_failures_alone_says_so(tmp_path):
    folder = Folder.create(tmp_path, SETTINGS)
    folder.add(a_failure("vae", "no memory"))
    page = write_report(folder).read_text()
    assert "No run has finished" in page and "vae, seed 0, failed: no memory" in page


def self_contained(page):
    """Whether nothing outside of its scripts, which tests/test_pages.py watches, points to somewhere else."""
    page = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    sources = re.findall(r'src="([^"]*)"', page)
    links = re.findall(r'href="([^"]*)"', page)
    inside = all(source.startswith("data:image/") for source in sources) and all(link.startswith("#") for link in links)
    return inside and not re.search(r"<link|@import|url\(", page)


# The command line


def test_list_shows_recipes_by_family():
    result = invoke("list")
    assert result.exit_code == 0
    assert re.search(r"^vae:\n  vae +Variational autoencoder", result.output, re.MULTILINE)


BAD_ARGUMENTS = [
    (["--recipes", "dense_autoencoder,vea"], "there is no recipe 'vea'", "Did you mean 'vae'?"),
    (["--recipes", "family:vase"], "there is no family 'family:vase'", "family:vae"),
    (["--recipes", ","], "no recipe is named"),
    (["--budget", "0"], "--budget", "0.0 is not in the range x>0"),
    (["--budget", "-5"], "--budget", "-5.0 is not in the range x>0"),
    (["--budget", "5", "--epochs", "2"], "--budget, --epochs and --steps exclude each other"),
    (["--data", "fashion_mnist_mni"], "did you mean 'fashion_mnist_mini'?"),
    (["--data", "{empty}"], "holds no images"),
    (["--features", "vgg"], "unknown features 'vgg'; there are fashion-cnn"),
    (["--recipes", "vae", "--set", "vae.latent=3"], "recipe 'vae' has no argument 'latent', expected one of network, latent_dim"),
    (["--recipes", "vae", "--set", "autoencoder.width=3"], "autoencoder.width is of a recipe that does not run"),
    (["--set", "latent_dim=3"], "'latent_dim=3' is no setting, expected one as vae.latent_dim=32"),
    (["--image-size", "32x"], "'32x' is no size"),
    (["--device", "tpu"], "'tpu' is no device, expected auto, cpu, gpu or gpu:1"),
    (["--device", "gpu:99"], "there is no gpu:99"),
    (["--n", "2"], "2 is not in the range x>=6"),
    (["--seeds", "0"], "0 is not in the range x>=1"),
    (["--out", "{file}"], "is a file; expected a folder"),
    (["--out", "{foreign}"], "holds other things than a benchmark"),
    (["--out", "{other}"], "is of other settings (budget 5.0 there and 60.0 here"),
]


@pytest.mark.parametrize(("arguments", "sentences"), [(case[0], case[1:]) for case in BAD_ARGUMENTS])
def test_a_bad_argument_gets_one_sentence_and_exit_code_2(arguments, sentences, tmp_path):
    paths = {name: tmp_path / name for name in ("empty", "foreign", "file", "other")}
    for name in ("empty", "foreign"):
        paths[name].mkdir()
    paths["file"].touch()
    (paths["foreign"] / "thesis.tex").touch()
    Folder.create(paths["other"], SETTINGS).add(a_row("vae"))
    before = sorted(tmp_path.rglob("*"))
    arguments = [argument.format(**paths) for argument in arguments]
    result = invoke("run", *([] if "--out" in arguments else ["--out", tmp_path / "new"]), *arguments)
    assert result.exit_code == 2, result.output
    error = result.output.partition("Error: ")[2].strip()
    assert all(sentence in error for sentence in sentences) and "\n" not in error
    assert sorted(tmp_path.rglob("*")) == before


def test_report_refuses_a_folder_that_is_empty_or_of_something_else(tmp_path):
    for folder, sentence in ((tmp_path, "is no folder of a benchmark"), (tmp_path / "none", "is no folder of a benchmark")):
        result = invoke("report", folder)
        assert result.exit_code == 2 and sentence in result.output
    Folder.create(tmp_path / "new", SETTINGS)
    result = invoke("report", tmp_path / "new")
    assert result.exit_code == 2 and "holds no results yet" in result.output


@pytest.mark.parametrize(
    ("code", "reason"),
    [(-signal.SIGKILL, "killed by SIGKILL, perhaps for lack of memory"), (-signal.SIGSEGV, "killed by SIGSEGV")],
)
def test_a_signal_is_a_reason(code, reason, tmp_path):
    assert ending(code, tmp_path / "log.txt") == reason


# Processes. The tests share one run, of two recipes, of which one cannot train.


# What a run looks at


@pytest.fixture
def settings(levels_file):
    """Of runs on images that are each of one level, which names it."""
    data = str(levels_file(4, validation=20, test=30))
    given = {
        "data": data,
        "batch_size": 8,
        "n": 12,
        "steps": 20,
        "features": "fashion-cnn",
        "jit": True,
        "splits": True,
        "split": "test",
        "flip": False,
    }
    others = ("data_dir", "image_size", "channels", "budget", "epochs", "mixed_precision", "steps_per_execution")
    return {**dict.fromkeys(others), **given}


def levels(images):
    import keras_genzoo as gz

    return np.asarray(gz.data.as_array(images))[:, 0, 0, 0].tolist()


class Watched:
    """Stands for a model, and writes down what it is shown."""

    data_needs, steps_per_execution, jit_compile = {}, 1, True

    def __init__(self):
        self.seen = {"fit_prior": [], "evaluate": []}

    def fit(self, train, steps_per_epoch, epochs, callbacks, verbose):
        (clock,) = (each for each in callbacks if isinstance(each, budgets.Clock))
        (keeper,) = (each for each in callbacks if isinstance(each, Checkpoint))
        keeper.folder.mkdir()
        self.seen |= {"train": levels(train.take(steps_per_epoch * epochs)), "steps": steps_per_epoch * epochs}
        for segment in range(epochs):
            clock.points.append(clock.measure(segment, (segment + 1) * steps_per_epoch, 1.0, {"loss": 3.0}))
        clock.firsts, clock.laps, clock.executions = [1.5], [1.0] * epochs, steps_per_epoch * epochs

    def evaluate(self, batches, verbose, return_dict):
        self.seen["evaluate"].append(levels(batches))
        return {"loss": 4.0}

    def fit_prior(self, dataset, images=None):
        self.seen["fit_prior"].append((sorted(levels(dataset)), images))

    def count_params(self):
        return 5

    def save(self, path):
        path.write_text("saved")


def test_a_run_learns_from_training_watches_validation_and_is_scored_on_test_images(settings, tmp_path, monkeypatch):
    from keras_genzoo.benchmark import worker

    measured, orders, said, parts = [], [], [], {"train": list(range(48)), "validation": list(range(100, 120))}

    class Distance:
        n = 20

        def __init__(self, images, *rest):
            measured.append((sorted(levels(images)), *rest))

        def __call__(self, model):
            return 6.0

    monkeypatch.setattr(worker, "SampleDistance", Distance)
    data = worker.Data(settings)
    assert data.n == 12 and len(set(levels(data.test))) == 12 and set(levels(data.test)) <= set(range(200, 230))
    for seed in (3, 4):
        model, built, scored = Watched(), [], []
        build = lambda *args, model=model, built=built, **kwargs: built.append((args, kwargs)) or model  # noqa: E731
        score = lambda *args, scored=scored, **kwargs: scored.append((args, kwargs)) or {"FD[x]": 1.0}  # noqa: E731
        monkeypatch.setattr(worker.gz, "build", build)
        monkeypatch.setattr(worker.gz, "evaluate", score)
        run = {"kind": "recipe", "recipe": "vae", "seed": seed, "overrides": {"latent_dim": 3}}
        (tmp_path / str(seed)).mkdir()
        record = data.record_of(run, ["command"])
        run["plan"] = {"steps": 20, "step_flops": 7, "device": record["environment"]["device"]}
        worker.run_recipe(run, settings, data, tmp_path / str(seed), record, lambda **answer: said.append(answer))
        (row,) = (answer["row"] for answer in said if "row" in answer)
        said.clear()
        kwargs = {"jit_compile": True, "steps_per_execution": None, "dtype": None, "seed": seed, "latent_dim": 3}
        assert built[-1] == (("vae", (4, 4, 1)), {"total_steps": 20, **kwargs})
        assert sorted(model.seen["train"][:48]) == parts["train"] and len(model.seen["train"]) == 160
        watched = model.seen["evaluate"]
        assert watched == [watched[0]] * len(row["curve"]) and len(set(watched[0])) == 16  # in full batches
        assert set(watched[0]) < set(parts["validation"]) and sorted(watched[0]) != parts["validation"][:16]
        assert measured[-1] == (parts["validation"], "fashion-cnn", worker.CURVE_N)
        few, all_ = ((parts["train"], images) for images in (worker.CURVE_CODES, None))
        assert model.seen["fit_prior"] == [few] * worker.CURVE_POINTS + [all_]
        ((scored_model, images), asked) = scored[0]
        assert scored_model is model and levels(images) == levels(data.test)
        assert sorted(levels(asked.pop("train"))) == parts["train"] and asked == {"features": "fashion-cnn", "seed": seed}
        assert row["train_flops"] == 140 and row["plan"] == run["plan"] and "off_budget" not in row
        assert row["steps"] == model.seen["steps"] == 20 and row["curve"][-1]["val_loss"] == 4.0 and row["params"] == 5
        assert [point["steps"] for point in row["curve"] if "distance" in point][-1] == 20
        assert len([point for point in row["curve"] if "distance" in point]) == worker.CURVE_POINTS
        assert row["scores"] == {"FD[x]": 1.0} and row["distance_name"] == "FD[x]"
        orders.append(model.seen["train"])
    assert orders[0] != orders[1]


def test_a_folder_of_a_class_called_train_is_read_as_one_and_only_training_images_are_mirrored(settings, tmp_path):
    from keras_genzoo.benchmark import worker

    for level, name in enumerate(["train"] * 12 + ["test"] * 12 + ["extra"] * 12):
        (tmp_path / "classes" / name).mkdir(parents=True, exist_ok=True)
        pixels = np.full((4, 4), level, "uint8") + np.uint8([0, 0, 100, 100])
        Image.fromarray(pixels).save(tmp_path / "classes" / name / f"{level}.png")
    given = settings | {"data": str(tmp_path / "classes"), "n": 3, "channels": 1}
    with pytest.raises(ValueError, match="--no-splits"):
        worker.Data(given)
    data = worker.Data(given | {"splits": False, "flip": True})
    assert set(data.test_labels) == {0, 1, 2} and len(data.train) == 30 and data.record["splits"] is False
    mirrored = np.array(levels(data.training_batches(0, {}).take(4))) >= 100
    assert 2 < mirrored.sum() < len(mirrored) - 2
    for images in (data.train, data.test, data.validation, data.validation_batches({})):
        assert max(levels(images)) < 100


def test_recipes_are_chosen_by_validation_images(settings):
    import keras_genzoo as gz
    from keras_genzoo.benchmark import worker
    from keras_genzoo.benchmark.ranking import terms

    data = worker.Data(settings | {"split": "validation"})
    assert sorted(levels(data.test)) == sorted(set(levels(data.validation)) & set(levels(data.test))) and len(data.test) == 12
    chosen, tested = (terms({"scores": {}, "data": data.record}, settings | {"split": split}) for split in ("validation", "test"))
    images = data.record["images"]
    assert (chosen["validation images"], tested["test images"]) == tuple(
        images[split]["sha256"][:12] for split in ("validation", "test")
    )
    assert "test images" not in chosen
    with pytest.raises(ValueError, match="split is 'all', expected one of test, validation, train"):
        gz.benchmark.run("vae", split="all", steps=1)


@pytest.mark.filterwarnings("ignore:.* lacks .* classes:UserWarning")  # the splits of this file share no class
def test_labels_of_the_data_reach_the_scores(settings, tmp_path, monkeypatch):
    from keras_genzoo.benchmark import worker

    arrays = dict(np.load(settings["data"]))
    labelled = {name.replace("images", "labels"): each[:, 0, 0, 0].astype(int) // 10 for name, each in arrays.items()}
    np.savez(tmp_path / "labelled.npz", **arrays, **labelled)
    data, seen = worker.Data(settings | {"data": str(tmp_path / "labelled.npz")}), []
    assert data.test_labels.tolist() == [level // 10 for level in levels(data.test)]
    assert data.record["images"] == worker.Data(settings).record["images"]  # labels are not in it

    class Distance:
        def __init__(self, images, *rest):
            seen.append(images)

    monkeypatch.setattr(worker, "SampleDistance", Distance)
    worker.Curve(Watched(), data, "fashion-cnn", 1)
    assert (levels(seen[0][0]), seen[0][1]["labels"].tolist()) == (list(range(100, 120)), [10] * 10 + [11] * 10)
    monkeypatch.setattr(
        worker.gz.metrics, "SampleMetrics", lambda *args, labels, **kwargs: lambda *made: seen.append((labels, *made)) or {}
    )
    run = {"kind": "control", "recipe": "real train images", "seed": 0, "overrides": {}}
    worker.run_control(run, settings, data, tmp_path, {}, lambda **answer: None)
    labels, images, of_images = seen[1]
    assert labels is data.test_labels and of_images.tolist() == [level // 10 for level in levels(images)]


def test_samples_of_others_are_scored_as_the_rows_of_the_folder_are(settings, tmp_path):
    import keras_genzoo as gz
    from keras_genzoo.benchmark import worker

    folder = Folder.create(tmp_path / "bench", settings | {"device": "cpu"})
    data = worker.Data(folder.settings)
    files = [tmp_path / "s1.npz", tmp_path / "s2.npy"]
    np.savez(files[0], data.test[::-1])
    np.save(files[1], np.random.default_rng(0).random((40, 4, 4, 1), dtype="float32"))
    known = ["--parameters", 7, "--seconds", 3600, "--device", "8 V100", "--note", "of their repository"]
    given = [each for file in files for each in ("--samples", file)]
    result = invoke("add", folder.path, "--name", "StyleGAN2 (theirs)", *given, *known)
    assert result.exit_code == 0, result.output
    first, second = folder.rows()
    scores = gz.metrics.SampleMetrics(data.test, data.train, features="fashion-cnn")(data.test[::-1])
    assert {name: first["scores"][name] for name in scores} == json.loads(json.dumps(scores)) | {"mode_kl": pytest.approx(0)}
    assert (first["kind"], first["recipe"], first["seed"], second["seed"]) == ("external", "StyleGAN2 (theirs)", 0, 1)
    assert second["scores"]["n_generated"] == 12 and second["samples"]["count"] == 40 and first["params"] == 7
    assert first["external"] == {"parameters": 7, "seconds": 3600, "device": "8 V100", "note": "of their repository"}
    assert first["data"] == data.record and (folder.files(first) / "samples.png").exists()
    assert ranking.terms(first, folder.settings) == ranking.terms(second, folder.settings)
    write_report(folder)
    assert "StyleGAN2 (theirs)" in (folder.path / "report.md").read_text()

    for name, file, sentence in (
        ("vae", files[0], "'vae' is the name of a recipe"),
        ("few", tmp_path / "few.npy", "holds 5 images, but the rows of this benchmark are of 12"),
        ("large", tmp_path / "large.npy", "are 6x6x1, and those of this benchmark 4x4x1"),
        ("none", tmp_path / "none.npy", "there is no f|There is no f"),
    ):
        np.save(tmp_path / "few.npy", data.test[:5])
        np.save(tmp_path / "large.npy", np.zeros((20, 6, 6), "uint8"))
        refused = invoke("add", folder.path, "--name", name, "--samples", file)
        assert refused.exit_code == 2 and re.search(sentence, " ".join(refused.output.split())), refused.output
    assert len(folder.rows()) == 2


def test_a_control_is_of_training_images_and_compared_with_test_images(settings, tmp_path, monkeypatch):
    from keras_genzoo.benchmark import worker

    data, seen, drawn = worker.Data(settings), {}, []

    class Metrics:
        def __init__(self, real, train, features, labels):
            seen.update(real=levels(real), train=levels(train), features=features)

        def __call__(self, images, labels):
            seen["images"] = levels(images)
            return {"FD[x]": 1.0}

    monkeypatch.setattr(worker.gz.metrics, "SampleMetrics", Metrics)
    for seed in (0, 1):
        run = {"recipe": "real train images", "seed": seed}
        worker.run_control(run, settings, data, tmp_path, {}, lambda **answer: None)
        assert seen["real"] == levels(data.test) and seen["features"] == "fashion-cnn"
        assert len(seen["images"]) == 12 and sorted(seen["images"] + seen["train"]) == list(range(48))
        drawn.append(seen["images"])
    assert drawn[0] != drawn[1]


def test_training_batches_hold_what_a_model_needs_and_know_the_number_of_images(settings):
    from keras_genzoo.benchmark import worker

    batches = worker.Data(settings).training_batches(0, {"further": 2})
    images, extras = next(iter(batches))
    assert images.shape == (8, 4, 4, 1) and extras["further"].shape == (8, 2, 4, 4, 1)
    assert batches.images_count == 48  # which an endless data set does not tell


@pytest.mark.parametrize(
    "asked, further, each, executions",
    [({"steps": 20}, 0, 3, 7), ({"epochs": 3}, 0, 1, 18), ({"epochs": 3}, 2, 1, 6), ({"epochs": 3}, 2, 4, 2)],
)
def test_epochs_are_counted_in_images_and_executions_in_steps(asked, further, each, executions, settings):
    from keras_genzoo.benchmark import planning, worker

    model = Watched()
    model.data_needs, model.steps_per_execution = {"further": further} if further else {}, each
    settings = settings | {"steps": None} | asked
    assert planning.asked_executions(model, settings, worker.Data(settings)) == executions


def test_a_plan_keeps_the_seconds_of_the_priors_fit_and_is_that_of_the_budget(settings, monkeypatch):
    from keras_genzoo.benchmark import planning, worker

    monkeypatch.setattr(planning, "seconds_per_execution", lambda model, train, budget: 0.2)
    monkeypatch.setattr(planning, "prior_seconds", lambda model, data: 4.0)
    monkeypatch.setattr(planning.flops, "count", lambda function, *args, **kwargs: {"step": 70, "sample": 30}[function])
    model, said = Watched(), []
    model.steps_per_execution, model.train_step, model.sample = 2, "step", "sample"
    settings = settings | {"steps": None, "budget": 10.0}
    environment = {"device": "CPU", "cpu": "Z80", "code": "c0de", "python": "3"}
    made = planning.make(lambda: model, settings, worker.Data(settings), 0, environment, lambda **answer: said.append(answer))
    assert made == {
        "steps": 60,
        "seconds_per_step": 0.1,
        "prior_s": 4.0,
        "planned_s": 10.0,
        "step_flops": 70,
        "sample_flops": 30,
        **{key: environment[key] for key in ("device", "cpu", "code")},
    }
    assert planning.kept(made, 10.0, 6.5, 4.0) == {"planned_s": 10, "actual_s": 10.5, "prior_share": 0.4, "off_budget": False}
    assert planning.kept(made, 10.0, 7.5, 4.0)["off_budget"] and planning.kept(made, 10.0, 4.0, 4.0)["off_budget"]
    monkeypatch.setattr(planning, "prior_seconds", lambda model, data: 12.0)
    with pytest.raises(ValueError, match=r"the fit of the prior alone takes 12\.0 s of a budget of 10 s; give a longer budget"):
        planning.make(lambda: model, settings, worker.Data(settings), 0, environment, lambda **answer: None)


def test_a_first_run_that_misses_its_budget_trains_again_by_its_own_seconds(settings, tmp_path, monkeypatch):
    from keras_genzoo.benchmark import worker

    settings = settings | {"steps": None, "budget": 8.0}
    data, said, trainings = worker.Data(settings), [], []
    distance = type("Distance", (), {"n": 20, "__init__": lambda *_: None, "__call__": lambda *_: 6.0})
    monkeypatch.setattr(worker, "SampleDistance", distance)
    monkeypatch.setattr(worker.gz, "evaluate", lambda *args, **kwargs: {"FD[x]": 1.0})
    monkeypatch.setattr(budgets.Clock, "train_seconds", lambda clock: 0.1 * clock.executions)
    monkeypatch.setattr(worker.planning, "prior_seconds", lambda model, data: 2.0)

    def build(*args, total_steps, **kwargs):
        trainings.append(total_steps)
        return Watched()

    monkeypatch.setattr(worker.gz, "build", build)

    def run(seed, plan):
        (tmp_path / str(seed)).mkdir()
        run = {"kind": "recipe", "recipe": "vae", "seed": seed, "overrides": {}, "plan": plan}
        worker.run_recipe(run, settings, data, tmp_path / str(seed), data.record_of(run, []), lambda **each: said.append(each))
        return next(each["row"] for each in said[::-1] if "row" in each)

    device = data.record_of({"kind": "recipe", "recipe": "vae", "seed": 0, "overrides": {}}, [])["environment"]["device"]
    planned = {"steps": 20, "seconds_per_step": 0.2, "prior_s": 4.0, "planned_s": 8.0, "step_flops": 7, "device": device}
    checked, looks = worker.planning.checked, []
    monkeypatch.setattr(worker.planning, "checked", lambda plan, budget, each, pace: looks.append((plan["steps"], budget, each)))
    row = run(0, planned)
    assert looks == [(20, 8.0, 1)]  # of the first training of the first run alone
    told = [each["plan"] for each in said if "plan" in each]
    assert told == [row["plan"]] and trainings == [20, 60]
    assert (row["steps"], row["planned_s"], row["actual_s"], row["off_budget"], row["prior_share"]) == (60, 8.0, 8.0, False, 0.25)
    assert run(1, row["plan"])["steps"] == 60 and trainings == [20, 60, 60]
    # Later seeds that miss it, on a machine that is busy by then, are marked.
    monkeypatch.setattr(worker.planning, "prior_seconds", lambda model, data: 9.0)
    assert run(2, row["plan"])["off_budget"] and trainings == [20, 60, 60, 60]
    # A first run that begins too fast or too slowly is not trained to its end.
    monkeypatch.setattr(worker.planning, "prior_seconds", lambda model, data: 2.0)
    monkeypatch.setattr(worker.planning, "checked", lambda plan, budget, each, pace: checked(plan, budget, each, 0.1))
    del trainings[:], said[:]
    row = run(3, planned)
    assert trainings == [20, 40] and row["plan"]["tried"] and (row["steps"], row["planned_s"]) == (40, 8.0)
    assert [each["plan"]["steps"] for each in said if "plan" in each] == [40]


def test_a_pace_beyond_the_tolerance_makes_a_plan_anew():
    from keras_genzoo.benchmark import planning

    plan = {"steps": 20, "seconds_per_step": 0.2, "prior_s": 4.0, "planned_s": 8.0, "step_flops": 7}
    for pace in (0.165, 0.2, 0.235):
        planning.checked(plan, 8.0, 1, pace)
    for pace, steps in ((0.15, 24), (0.25, 16)):
        with pytest.raises(planning.Missed) as missed:
            planning.checked(plan, 8.0, 1, pace)
        found = missed.value.plan
        assert (
            abs(found["steps"] - steps) <= 2 and found["seconds_per_step"] == pace and found["tried"] and found["step_flops"] == 7
        )


def test_seconds_are_planned_once_on_a_machine_at_rest(settings, tmp_path, monkeypatch):
    from keras_genzoo.benchmark import planning, running

    folder = Folder.create(tmp_path / "out", {**settings, "steps": None, "budget": 10.0})
    plan = {"steps": 5, "cpu": running.planning.devices.cpu_name(), "code": runs.code()}
    given = []
    monkeypatch.setattr(
        running, "run_job", lambda folder, job, *rest: given.append(job[0]["plan"]) or folder.add_plan(job[0], plan)
    )
    monkeypatch.setattr(planning, "used_by_others", lambda: (1.5, "python (process 71)"))
    monkeypatch.setattr(planning, "PATIENCE", 0.0)
    jobs = [[a_row("vae", seed)] for seed in (0, 1)]
    monkeypatch.setattr(planning.wait_for_rest, "__defaults__", (0.0,))
    with pytest.raises(planning.Busy, match=r"other processes use 1\.5 of \d+ cores, most of all python \(process 71\), so that"):
        running.run_all(folder, jobs)
    assert not given
    running.run_all(folder, jobs, anyway=True)
    assert given == [None, plan] and Folder(tmp_path / "out").plans() == {"vae": plan}
    running.run_all(folder, jobs)  # which need no plan
    folder.add_plan(jobs[0][0], {**plan, "code": "other"})
    with pytest.raises(planning.Busy):
        running.run_all(folder, jobs)


def test_a_busy_machine_is_one_sentence(settings, tmp_path, monkeypatch):
    from keras_genzoo.benchmark import planning, running

    monkeypatch.setattr(planning, "used_by_others", lambda: (1.5, "python (process 71)"))
    monkeypatch.setattr(planning.wait_for_rest, "__defaults__", (0.0,))
    ran = []
    monkeypatch.setattr(running, "run_job", lambda folder, job, *rest: ran.append(job))
    command = ["run", "--recipes", "gan", "--budget", 5, "--data", settings["data"], "--device", "cpu", "--out", tmp_path / "out"]
    result = invoke(*command)
    assert result.exit_code == 2 and "other processes use 1.5 of" in result.output and "Traceback" not in result.output
    assert [job[0]["kind"] for job in ran] == ["control"]  # which need no plan
    assert invoke(*command, "--anyway").exit_code == 0 and ran[-1][0]["recipe"] == "gan"


def test_processes_that_use_the_cores_are_seen(tmp_path):
    from keras_genzoo.benchmark import planning

    # Of another parent: one's own processes do not count.
    spin = """
import os, sys, time
if os.fork():
    sys.exit()
print(os.getpid(), flush=True)
end = time.time() + 20
while time.time() < end:
    pass
"""
    with subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
    try:
        used, _ = planning.used_by_others(0.5)
        assert used > 0.1
    finally:
        os.kill(pid, signal.SIGKILL)


def test_results_of_other_images_are_refused_a_folder(settings):
    from keras_genzoo.benchmark import worker

    known = worker.Data(settings).record
    worker.Data(settings, known)
    with np.load(settings["data"]) as images:
        others = {name: images[name] for name in images.files}
    others["test_images"] = others["test_images"][::-1]
    np.savez(settings["data"], **others)
    with pytest.raises(ValueError, match="the test images are others than those of the results that are there; choose a new"):
        worker.Data(settings, known)


def test_a_sweep_is_of_the_first_seed_by_its_own_noise_on_test_images(settings, tmp_path, monkeypatch):
    from keras_genzoo.benchmark import sweep

    asked, folder = [], Folder.create(tmp_path / "out", {**settings, "device": "cpu"})
    for seed in (5, 4):
        folder.add(a_row("ddpm", seed))

    class Model:
        def sample(self, n, **given):
            asked.append({"n": n, **given})
            return n

    class Distance:
        def __init__(self, features):
            self.features, self.n_real = features, 0

        def set_real(self, images):
            asked.append((levels(images), self.features))
            self.n_real = len(images)

        reset_generated = update_generated = lambda self, samples=None: None
        result = lambda self: 2.5  # noqa: E731

    monkeypatch.setattr(sweep.gz, "load", lambda path: asked.append(path) or Model())
    monkeypatch.setattr(sweep, "Diffusion", Model)
    monkeypatch.setattr(sweep, "trials", lambda model, evaluations: [("ddim", most - 1, most) for most in evaluations])
    monkeypatch.setattr(sweep.gz.metrics, "FrechetDistance", Distance)
    monkeypatch.setattr(sweep.devices, "choose", lambda name: name)
    assert sweep.sweep(folder, [4, 6], 10) == 1
    path, (real, features), *samples = asked
    assert path == folder.files(a_row("ddpm", 4)) / "model.keras" and features == "fashion-cnn"
    assert len(set(real)) == 10 and set(real) <= set(range(200, 230))
    assert samples == [{"n": 10, "seed": 4, "sampler": "ddim", "steps": steps} for steps in (3, 5)]
    found = {row["seed"]: row.get("sweep") for row in folder.rows()}
    assert found[5] is None and [(point["steps"], point["evaluations"], point["distance"]) for point in found[4]] == [
        (3, 4, 2.5),
        (5, 6, 2.5),
    ]


def test_a_folder_of_an_earlier_version_goes_on(settings, tmp_path):
    earlier = {key: value for key, value in settings.items() if key not in ("splits", "split", "flip")}
    folder = Folder.create(tmp_path / "out", earlier)
    folder.results.write_text("")
    assert Folder.create(tmp_path / "out", settings).settings == settings
    with pytest.raises(FolderError, match="flip False there and True here"):
        Folder.create(tmp_path / "out", settings | {"flip": True})


def test_a_benchmark_stores_the_settings_that_it_was_given(settings, tmp_path, monkeypatch):
    from keras_genzoo import benchmark

    jobs = []
    monkeypatch.setattr(benchmark.running, "run_all", lambda folder, *given: jobs.append(given) or [])
    how = {"batch_size": 5, "n": 8, "image_size": (6, 5), "channels": 3, "jit": False, "steps_per_execution": 3, "device": "cpu"}
    how |= {"mixed_precision": "mixed_bfloat16", "features": "fashion-cnn", "splits": False, "split": "validation"}
    how |= {"flip": True}
    out = {"data": settings["data"], "out": tmp_path / "out", "timeout": 7, "anyway": True}
    folder = benchmark.run(["vae", "gan"], epochs=4, seeds=2, overrides={"gan": {"width": 6}}, **how, **out)
    expected = {
        **how,
        "image_size": [6, 5],
        "data": settings["data"],
        "data_dir": None,
        "epochs": 4,
        "steps": None,
        "budget": None,
    }
    assert folder.settings == expected
    ((yardsticks, *each), timeout, anyway) = jobs[0]
    assert (
        timeout == 7
        and anyway
        and [(run["recipe"], run["seed"]) for run in yardsticks]
        == [(name, seed) for seed in (0, 1) for name in controls.CONTROLS]
    )
    assert [(run["recipe"], run["seed"], run["overrides"]) for (run,) in each] == [
        *(("vae", seed, {}) for seed in (0, 1)),
        *(("gan", seed, {"width": 6}) for seed in (0, 1)),
    ]
    other = benchmark.run("vae", data=settings["data"], out=tmp_path / "other", device="cpu")
    assert (other.settings["budget"], other.settings["batch_size"], other.settings["n"]) == (60, 128, None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Noise with a mean, of a size and of a number of channels that no network was written for."""
    path = tmp_path_factory.mktemp("data") / "noise.npz"
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 11 * 7 * 5).reshape(11, 7, 5)
    images = {f"{split}_images": (ramp + random.uniform(0, 55, (200, 11, 7, 5))).astype(np.uint8) for split in ("train", "test")}
    np.savez(path, **images)
    return path


@pytest.fixture(scope="module")
def command(data):
    small = ["--set", "dense_autoencoder.width=8", "--set", "dense_autoencoder.components=2"]
    broken = ["--set", "vae.learning_rate=1e30"]
    execution = ["--device", "cpu", "--no-jit", "--steps-per-execution", "5"]
    common = ["--data", data, "--features", "fashion-cnn", "--steps", "20", "--n", "40", "--batch-size", "16"]
    return ["run", "--recipes", "dense_autoencoder,vae", *common, *execution, *small, *broken]


@pytest.fixture(scope="module")
def finished(command, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    return invoke(*command, "--out", out), out


def test_a_run_scores_recipes_and_controls_and_a_failed_one_is_a_row(finished):
    result, out = finished
    assert result.exit_code == 1
    rows = {row["recipe"]: row for row in Folder(out).rows()}
    assert set(rows) == {*controls.CONTROLS, "dense_autoencoder", "vae"}

    failed = rows.pop("vae")
    assert failed["status"] == "failed" and failed["reason"].startswith("FloatingPointError: the training loss became")
    assert "Traceback" in next(out.glob("runs/vae*/log.txt")).read_text()
    assert "vae (learning_rate=1e+30), seed 0: failed: FloatingPointError" in result.output
    assert "1 of 6 rows failed" in result.output

    for row in rows.values():
        assert row["status"] == "ok" and row["scores"]["n_real"] == row["scores"]["n_generated"] == 40
        assert {"keras", "tensorflow", "python", "cpu", "device", "revision", "code"} <= set(row["environment"])
        assert len(row["data"]["images"]["train"]["sha256"]) == 64 and row["command"] == runs.command_line()
    nearest = {name: row["scores"]["nearest_train[fashion-cnn]"] for name, row in rows.items()}
    assert nearest["copy of training images"] == pytest.approx(0, abs=1e-3)
    assert nearest["real train images"] > 0.01

    row = rows["dense_autoencoder"]
    assert row["hyperparameters"]["width"] == 8 and row["hyperparameters"]["latent_dim"] == 24  # those of the recipe too
    assert row["steps"] == 20 and row["steps_per_execution"] == 5 and row["jit_compile"] is False
    assert row["train_s"] > 0 and row["compile_s"] > 0 and row["fit_prior_s"] > 0 and row["peak_memory_mb"] > 100
    assert row["train_images_per_s"] == pytest.approx(20 * 16 / row["train_s"])
    assert row["latency_s"] > 0 and row["sample_images_per_s"] > 0 and row["evaluations_per_sample"] == 1
    assert [point["steps"] for point in row["curve"]] == [5, 10, 15, 20]
    assert all(np.isfinite([point["loss"], point["val_loss"], point["distance"]]).all() for point in row["curve"])
    assert row["scores"]["mse"] > 0 and row["scores"]["FD[fashion-cnn]"] > 0


def test_a_run_that_diverged_leaves_its_last_good_weights(finished):
    import keras_genzoo as gz

    (folder,) = finished[1].glob("runs/vae*")
    model = gz.load(folder / "model.keras")
    assert all(np.isfinite(variable.numpy()).all() for variable in (*model.weights, *model.optimizer.variables))


def test_a_run_leaves_a_model_that_makes_the_samples_shown(finished):
    import keras_genzoo as gz

    (folder,) = finished[1].glob("runs/dense_autoencoder*")
    pictures = {f"{name}.png" for name in ("samples", "nearest", "reconstructions", "interpolations", "walks")}
    assert {"model.keras", *pictures, "images.npz", "log.txt", "run.json"} == {path.name for path in folder.iterdir()}
    with np.load(folder / "images.npz") as images:
        samples = gz.load(folder / "model.keras").sample(64, seed=0)
        np.testing.assert_allclose(images["samples"] / 255, samples, atol=0.5 / 255 + 1e-4)
        assert images["reconstructions"].shape == (64, 11, 7, 5)


def test_a_model_of_a_run_is_scored_on_the_images_of_its_benchmark(finished):
    from keras_genzoo.cli import main as genzoo

    (folder,) = finished[1].glob("runs/dense_autoencoder*")
    result = CliRunner().invoke(genzoo, ["evaluate", str(folder), "--features", "fashion-cnn", "-n", "40"])
    assert result.exit_code == 0, result.output
    (row,) = (row for row in Folder(finished[1]).rows() if row["recipe"] == "dense_autoencoder")
    scores = json.loads(result.output[result.output.index("{") :])
    assert scores["data"] == row["data"]["source"] and "nearest_train[fashion-cnn]" in scores


def test_the_same_command_does_what_is_missing_and_takes_more_seeds(finished, command, monkeypatch):
    asked = []
    monkeypatch.setattr("keras_genzoo.benchmark.running.run_all", lambda folder, jobs, *rest: asked.append(jobs) or [])
    result = invoke(*command, "--out", finished[1], "--seeds", 2)
    assert result.exit_code == 0, result.output
    assert "5 of 12 rows are in" in result.output  # a second draw of each control is missing too
    yardsticks, *others = asked[0]
    assert [(run["recipe"], run["seed"]) for run in yardsticks] == [(name, 1) for name in controls.CONTROLS]
    assert [(run["recipe"], run["seed"]) for (run,) in others] == [("dense_autoencoder", 1), ("vae", 0), ("vae", 1)]
    invoke(*command, "--out", finished[1], "--seeds", 2, "--first-seed", 7)
    yardsticks, *others = asked.pop()
    assert {run["seed"] for run in yardsticks} == {1}  # of the controls as many draws, of their own seeds
    assert [(run["recipe"], run["seed"]) for (run,) in others] == [
        (name, seed) for name in ("dense_autoencoder", "vae") for seed in (7, 8)
    ]
    other = invoke(*command, "--out", finished[1], "--batch-size", 8)
    assert other.exit_code == 2 and "is of other settings (batch_size 16 there and 8 here)" in other.output
    assert len(asked) == 1


def test_report_of_a_run_shows_every_row_and_needs_no_other_file(finished, tmp_path):
    result = invoke("report", finished[1])
    assert result.exit_code == 0, result.output
    page = (finished[1] / "report.html").read_text()
    assert self_contained(page)
    for name in (*controls.CONTROLS, "dense_autoencoder", "vae (learning_rate=1e+30)", "FD[fashion-cnn]"):
        assert name in page
    assert "FloatingPointError: the training loss became" in page
    # The strip of real images and the model; samples and neighbours of four controls, pairs of one; five pictures of the model.
    assert page.count('src="data:image/webp') == 2 + 9 + 5
    assert page.count("data-plot=") == 5  # four of distances, and a curve
    table = page[page.index("<h2>Reconstruction and likelihood") : page.index("<h2>Cost")]
    assert "PCA of 16 components (control)" in table and "pixel Gaussian" not in table


def test_data_that_no_run_can_use_are_refused_at_once(tmp_path, monkeypatch):
    for name, size in (("a", 8), ("b", 9)):
        Image.new("L", (size, size)).save(tmp_path / f"{name}.png")
    command = ["run", "--data", tmp_path, "--steps", 1, "--device", "cpu", "--out", tmp_path / "out"]
    result = invoke(*command)
    assert result.exit_code == 2
    assert "give the images one size, as image_size=64 (--image-size 64)." in result.output.replace("\n", " ")
    monkeypatch.setattr("keras_genzoo.benchmark.running.run_all", lambda *given: [])
    assert invoke(*command, "--image-size", 8).exit_code == 0  # nothing was kept that would stand in the way


@pytest.mark.slow
def test_a_folder_of_results_refuses_other_images_of_the_same_name(finished, command, data, tmp_path):
    out, other = shutil.copytree(finished[1], tmp_path / "copy"), tmp_path / "noise.npz"
    with np.load(data) as images:
        np.savez(other, **{name: images[name][::-1] for name in images.files})
    (out / "settings.json").write_text((out / "settings.json").read_text().replace(str(data), str(other)))
    before = (out / "results.jsonl").read_text()
    result = invoke(*[other if each == data else each for each in command], "--out", out)
    assert result.exit_code == 2, result.output
    assert "images are others than those of the results that are there" in " ".join(result.output.split())
    assert (out / "results.jsonl").read_text() == before


def test_a_process_that_takes_too_long_is_stopped(finished, command, tmp_path):
    out = shutil.copytree(finished[1], tmp_path / "copy")
    result = invoke(*command, "--out", out, "--timeout", 0.1)
    assert result.exit_code == 1
    assert [row["reason"] for row in Folder(out).rows() if row["status"] != "ok"] == ["stopped after 0.1 s, the --timeout"]


def test_ctrl_c_ends_the_process_and_keeps_what_is_done(finished, command, tmp_path):
    out = shutil.copytree(finished[1], tmp_path / "copy")
    (log,) = out.glob("runs/vae*/log.txt")
    written = log.stat().st_mtime_ns
    before = Folder(out).rows()
    arguments = [str(argument) for argument in (*command, "--out", out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # jobs in the background ignore it
    )
    deadline = time.monotonic() + 120
    while log.stat().st_mtime_ns == written and time.monotonic() < deadline:  # until the run's process is there
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped. What is finished is in" in errors and "Traceback" not in errors
    assert Folder(out).rows() == before
    assert json.loads((out / "settings.json").read_text())["steps"] == 20


@pytest.mark.slow
def test_a_run_that_was_killed_takes_its_process_along_and_goes_on_in_the_middle(command, tmp_path):
    wanted = ["--recipes", "dense_autoencoder", "--steps", 3000]
    arguments = [str(argument) for argument in (*command[:-2], *wanted)]  # without the vae that breaks
    process = subprocess.Popen([sys.executable, "-m", "benchmarks", *arguments, "--out", tmp_path / "killed"], cwd=ROOT)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "killed").glob("runs/dense*/state/checkpoint-*/state.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    time.sleep(2)
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert not any(b"keras_genzoo.benchmark.worker" in line for line in running)
    (folder,) = (tmp_path / "killed").glob("runs/dense*")
    begun = json.loads((folder / "run.json").read_text())
    assert begun["total_steps"] == 3000 and not (folder / "model.keras").exists()

    for out in ("killed", "whole"):
        result = invoke(*arguments, "--out", tmp_path / out)
        assert result.exit_code == 0, result.output
    rows = [
        next(row for row in Folder(tmp_path / out).rows() if row["recipe"] == "dense_autoencoder") for out in ("killed", "whole")
    ]
    assert rows[0]["scores"] == rows[1]["scores"]
    losses = [[(point["steps"], point["loss"], point["val_loss"]) for point in row["curve"]] for row in rows]
    assert losses[0] == losses[1] and rows[0]["compile_s"] > 0 and not (folder / "state").exists()


def test_a_sweep_measures_every_sampler_at_the_calls_asked_for(finished, tmp_path):
    import keras_genzoo as gz

    folder = Folder(shutil.copytree(finished[1], tmp_path / "copy"))
    result = invoke("sweep", folder.path)
    assert result.exit_code == 2 and "holds no trained model that is sampled in steps" in result.output
    first = next(row for row in folder.rows() if row["recipe"] == "dense_autoencoder")
    row = {**first, "recipe": "latent_diffusion", "family": "diffusion", "overrides": {}}
    folder.add(row)
    folder.files(row).mkdir()
    small = {"latent_dim": 3, "width": 8, "autoencoder_width": 8}
    gz.build("latent_diffusion", (11, 7, 5), **small, jit_compile=False).save(folder.files(row) / "model.keras")
    result = invoke("sweep", folder.path, "--evaluations", "3,4", "--n", 100)
    assert result.exit_code == 0, (result.output, result.exception)
    (row,) = [row for row in folder.rows() if "sweep" in row]
    # Heun's rule needs two calls a step, and one for the last; annealed Langevin is not of this schedule.
    points = [(point["sampler"], point["steps"], point["evaluations"]) for point in row["sweep"]]
    assert points == [
        *((name, calls, calls) for name in ("ddpm", "ddpm_large", "ddim", "euler") for calls in (3, 4)),
        ("heun", 2, 3),
        *((name, calls, calls) for name in ("dpm_solver", "unipc") for calls in (3, 4)),
    ]
    assert row["sweep_n"] == 40 and all(point["distance"] > 0 for point in row["sweep"])
    write_report(folder)
    assert "Every sampler at several numbers of steps, 40 images" in (folder.path / "report.html").read_text()
    assert invoke("sweep", folder.path, "--evaluations", "5;6").exit_code == 2


def test_a_mode_of_a_toy_is_found_with_a_tenth_of_its_share():
    from benchmarks import toys

    centres = np.array([[0.0, 0.0], [1.0, 0.0]])
    points = np.repeat(centres, [96, 4], axis=0) + 0.02  # 4 of 50
    assert toys.modes(points, centres, 0.01) == (1, 1.0)
    points = np.repeat(centres, [94, 6], axis=0)
    points[:10] += 0.5
    assert toys.modes(points, centres, 0.01) == (2, 0.9)
    shifted = np.random.default_rng(0).normal(size=1000)
    assert toys.wasserstein_2(shifted, shifted[::-1] + 0.25) == pytest.approx(0.25)


def test_the_known_densities_integrate_to_one_and_their_draws_have_their_entropy():
    from benchmarks import densities

    line = (np.arange(200) + 0.5) / 200
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    for density in densities.DENSITIES.values():
        log_p = density.log_prob(grid)
        p = np.exp(log_p)
        assert p.mean() == pytest.approx(1, abs=0.01)
        expected = np.where(p > 0, p * np.where(p > 0, log_p, 0), 0).mean()
        drawn = density.log_prob(density.draw(2000, np.random.default_rng(0)))
        assert drawn.mean() == pytest.approx(expected, abs=0.1)
