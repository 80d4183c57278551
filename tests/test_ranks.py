"""What a rank means: the rule by simulation, what may be compared, exports, and comparisons of two folders."""

import csv
import io
import json
import re

import numpy as np
import pytest
from test_benchmarks import SETTINGS, a_failure, a_row, invoke

from keras_genzoo.benchmark import exports, ranks, repeat, tables
from keras_genzoo.benchmark.compare import compare
from keras_genzoo.benchmark.ranking import _of_network, rankings
from keras_genzoo.benchmark.report import write_report
from keras_genzoo.benchmark.results import Folder, FolderError

# The rule


def deviations(spread, tables, models, random):
    """Of models that are alike, differ twentyfold in between, in two groups, or in one model."""
    if spread == "twentyfold":
        return np.exp(random.uniform(0, np.log(20), (tables, models)))
    few = {"equal": 0, "two groups": models // 2, "one": 1}[spread]
    return np.where(np.arange(models) < few, 20.0, 1.0) * np.ones((tables, 1))


def errors(models, seeds, spread, count, equal=None):
    """Share of tables in which two of the equal models, drawn anew in every table, are told apart; the others lie far away."""
    random = np.random.default_rng([models, seeds])
    place = random.permuted(np.tile(np.arange(models), (count, 1)), axis=1)
    alike = place < (equal or models)
    draws = random.standard_normal((count, models, seeds)) * deviations(spread, count, models, random)[..., None]
    found = ranks.different(draws + np.where(alike, 0, 1e4 * place)[..., None])
    first, second = np.triu_indices(models, 1)
    return (found & alike[:, first] & alike[:, second]).any(axis=-1).mean()


SPREADS = "equal", "twentyfold", "two groups", "one"
SIZES = [(2, 3), (3, 3), (4, 3), (4, 5), (7, 5), (10, 5), (30, 5)]


@pytest.mark.parametrize("spread", SPREADS)
def test_a_table_of_equal_models_shows_a_false_order_in_five_percent_at_most(spread):
    # Four standard errors of a share of 5 % of 2,000 tables are 1.9 %.
    for models, seeds in ((2, 3), (4, 3), (10, 5)):
        assert errors(models, seeds, spread, 2000) <= 0.05 + 0.019, (models, seeds)
    assert errors(7, 5, spread, 2000, equal=4) <= 0.05 + 0.019


@pytest.mark.slow
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("models, seeds", [*SIZES, (4, 4), (10, 10), (30, 10)])
def test_the_family_error_holds_in_large_simulations(models, seeds, spread):
    count = min(20_000, 4_000_000 // (models * (models - 1) // 2))
    for equal in {models, (models + 1) // 2, 2}:
        assert errors(models, seeds, spread, count, equal) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / count), equal


def test_five_standard_deviations_are_found_where_welch_and_holm_miss_them():
    random = np.random.default_rng(0)
    # The shares that Welch's test with Holm's step-down finds at these sizes were 0.57 of 4 rows at 3 seeds and 0.92 of 10 at 5.
    for models, seeds, least in ((4, 3, 0.82), (10, 5, 0.98)):
        power = ranks.power(random.standard_normal((models, seeds)))
        assert power.found[5] > max(least, power.found[3]) and power.error <= 0.05


def test_the_simulation_repeats():
    values = np.random.default_rng(3).standard_normal((4, 3))
    assert ranks.power(values) == ranks.power(values)


def test_variances_borrow_as_limma_lets_them():
    # limma's fitFDist: trigamma(d0 / 2) is the variance of the logarithms less trigamma(d / 2).
    from scipy import special

    random = np.random.default_rng(0)
    variances = 4 / random.chisquare(6, 4000) * 6 * random.chisquare(4, 4000) / 4  # of d0 = 6, s0^2 = 4 and d = 4
    moderated, degrees = ranks.moderated(variances, 5)
    assert degrees[0] - 4 == pytest.approx(6, rel=0.15)
    prior = degrees[0] - 4
    assert special.polygamma(1, prior / 2) == pytest.approx(np.log(variances).var(ddof=1) - special.polygamma(1, 2), rel=1e-4)
    assert ((moderated * degrees - 4 * variances) / prior).mean() == pytest.approx(4, rel=0.1)
    own, degrees = ranks.moderated(variances[:3], 5)
    assert list(own) == list(variances[:3]) and list(degrees) == [4, 4, 4]  # three have too little to lend


def test_p_values_of_two_models_are_welchs():
    import scipy.stats

    a, b = np.random.default_rng(0).normal(size=(2, 5)) * [[1.0], [7.0]]
    expected = scipy.stats.ttest_ind(a, b, equal_var=False).pvalue
    assert ranks.p_values(np.array([a, b]))[0] == pytest.approx(expected, rel=1e-9)


def test_the_step_down_knows_which_equalities_can_hold_together():
    # Of four means, Shaffer (1986): six hypotheses, then three for each of the next three, then 2 and 1.
    assert list(ranks._true_at_most(4)) == [6, 3, 3, 3, 2, 1]
    assert list(ranks._true_at_most(3)) == [3, 1, 1]
    p = np.array([0.008, 0.02, 0.02, 0.3, 0.016, 0.3])
    assert list(ranks.rejected(p, 4, 0.05)) == [True, False, False, False, True, False]


def test_ranks_are_all_that_the_seeds_leave_possible():
    values = np.log([[1.0, 1.01, 0.99], [1.0, 1.02, 0.99], [3.0, 3.1, 2.9], [30.0, 31.0, 29.0]])
    assert ranks.possible_ranks(values) == [(1, 2), (1, 2), (3, 3), (4, 4)]
    assert ranks.possible_ranks(values[:, :3] * 0) == [(1, 4)] * 4  # equal scores of all seeds
    assert ranks.possible_ranks(values[::-1])[0] == (4, 4)


@pytest.mark.parametrize(
    "counts, sentence",
    [
        ({"a": 2, "b": 2}, "No ranks: 2 seeds a row cannot tell luck from merit; give --seeds 3 or more."),
        ({"a": 1, "b": 1}, "No ranks: 1 seed a row"),
        (dict.fromkeys("abcde", 3), "No ranks: 5 rows of 3 seeds; more than 4 rows need 5 seeds"),
        ({"a": 3, "b": 5}, "No ranks: the numbers of seeds are unequal (a 3, b 5); run the missing seeds."),
        ({"a": 5}, "No ranks: only one row can be ranked."),
        ({"a": 3, "b": 3}, None),
        (dict.fromkeys("abcde", 5), None),
    ],
)
def test_too_few_or_unequal_seeds_have_no_ranks_and_the_reason_is_told(counts, sentence):
    found = ranks.why_none(counts)
    assert found == sentence or found.startswith(sentence)
    rows = [a_row(name, seed, 1.0 + ord(name) + seed / 100) for name, count in counts.items() for seed in range(count)]
    (ranking,) = rankings(rows)
    assert bool(ranking.ranks()) == (sentence is None)
    assert sentence is None or ranking.explained()[-1].startswith(sentence)


# What may be compared


def some(name, distances, **others):
    return [a_row(name, seed, distance, **others) for seed, distance in enumerate(distances)]


GOOD, BAD = (1.0, 1.02, 0.98), (9.0, 9.2, 8.9)


def test_ranks_stand_in_the_table_and_what_they_mean_under_it():
    rows = some("a", GOOD) + some("b", BAD) + some("c", (9.1, 9.0, 9.05)) + some("pixel Gaussian", (20, 20, 21), kind="control")
    (ranking,) = rankings(rows)
    assert ranking.ranks() == {"a": "1", "b": "2–3", "c": "2–3"} and ranking.best() == ["a"]
    table = ranking.table(tables.sample_columns("FD[f]", rows[0]["scores"]), controls=True, intervals=True).frame()
    assert list(table["rank"]) == ["1", "2–3", "2–3", tables.NOTHING]
    assert table["FD[f]"].iloc[0] == "1.000 ±\u00a00.050"
    (sentence,) = ranking.explained()
    assert re.search(r"a difference of five standard deviations is found in \d+ % of cases", sentence)


@pytest.mark.parametrize(
    "others, why",
    [
        ({"data": {"images": {"test": {"sha256": "b" * 64}}}}, "test images bbbbbbbbbbbb instead of aaaaaaaaaaaa"),
        ({"protocol": 2}, "protocol 2 instead of 1"),
        ({"environment": {"device": "GPU", "cpu": "a processor", "code": "c" * 64}}, "device GPU instead of CPU"),
        ({"environment": {"device": "CPU", "cpu": "a processor", "code": "d" * 64}}, "code dddddddddddd instead of cccccccccccc"),
    ],
)
def test_rows_that_do_not_compare_stand_in_a_table_of_their_own_with_the_reason(others, why):
    images = {"images": {"test": {"sha256": "a" * 64}, "train": {"sha256": "e" * 64}}}
    known = {"data": images, "protocol": 1, "environment": {"device": "CPU", "cpu": "a processor", "code": "c" * 64}, "budget": 5}
    others = known | others
    others["data"] = {"images": images["images"] | others["data"]["images"]}
    rows = some("a", GOOD, **known) + some("b", BAD, **known) + some("c", BAD, **others)
    control = some("pixel Gaussian", (20, 20, 21), kind="control", **known)
    first, second = rankings([*rows, *control], SETTINGS)
    assert [entry.label for entry in first.entries] == ["a", "b", "pixel Gaussian"] and first.why is None
    assert second.entries[0].label == "c" and why in second.why
    # A control did not train: it stands where its images are, whatever the machine.
    assert len(second.entries) == (2 if "environment" in why or "device" in why or "code" in why else 1)
    if "code" in why:  # of a budget in steps neither machine nor code divides a table
        rows = [row | {"budget": None} for row in rows]
        assert len(rankings(rows, {"steps": 100})) == 1


def test_a_mean_over_survivors_is_not_ranked_and_failures_are_a_column():
    rows = some("a", GOOD) + some("b", BAD) + some("c", (3.0, 3.1))
    rows += [a_failure("c", "diverged", seed=2), a_failure("d", "no memory")]
    (ranking,) = rankings(rows)
    assert set(ranking.ranks()) == {"a", "b"}
    table = ranking.table(tables.sample_columns("FD[f]", rows[0]["scores"]), controls=True, intervals=True).frame()
    table = table.set_index("name")
    assert dict(table["failed"]) == {"a": "0 of 3", "c": "1 of 3", "b": "0 of 3", "d": "1 of 1"}
    text = " ".join(ranking.explained())
    assert (
        "Not ranked, because the mean over surviving seeds is not the recipe's: c (1 of 3 seeds failed), d (1 of 1 seeds" in text
    )


@pytest.mark.parametrize(
    "change, why",
    [
        (
            {"off_budget": True, "actual_s": 6.25, "train_s": 5.0},
            "training missed its budget of seconds by more than 10 %: c (1.25 of it)",
        ),
        (
            {"budget": 4.0, "train_s": 5.0},
            "training missed its budget of seconds by more than 10 %: c (1.25 of it)",
        ),  # of an earlier version
        ({"kind": "external"}, "samples from elsewhere had no budget of ours: c."),
        (
            {"hyperparameters": {"loss": "Perceptual(features='f')"}},
            "a model that was trained on the features f has an advantage in them: c.",
        ),
        ({"hyperparameters": {"loss": "of", "width": None}}, None),
        ({"off_budget": False, "actual_s": 5.2, "train_s": 9.0}, None),
    ],
)
def test_rows_that_may_not_be_ranked_are_shown_with_the_reason(change, why):
    rows = some("a", GOOD) + some("b", BAD) + some("c", (3.0, 3.1, 2.9), **change)
    found = rankings(rows, SETTINGS | {"budget": change.get("budget", 5.0)} if "budget" not in change else {})
    (ranking,) = (each for each in found if any(entry.label == "c" for entry in each.entries))
    assert ("c" in ranking.ranks()) == (why is None and len(found) == 1)
    assert why is None or f"Not ranked, because {why}" in " ".join(ranking.explained())
    name = "c (external)" if "kind" in change else "c"
    table = ranking.table(tables.sample_columns("FD[f]", {}), controls=True, intervals=True)
    assert name in [line.name for line in table.lines]
    marks = {line.label: line.why for line in table.lines}
    assert bool(marks["c"]) == (why is not None) and not marks.get("a")
    assert why is None or why.startswith(marks["c"].partition(" (")[0])


def test_a_network_is_known_under_all_names_of_its_features():
    known = _of_network
    for features in ("inception", "inception-clean", "inception-spatial"):
        assert all(known(features).search(f"Perceptual('{name}')") for name in ("inception", "inception-clean"))
        assert not known(features).search("inception-v3") and not known(features).search("my-inception")
    assert (
        known("clip").search("clip") and not known("clip").search("clip-vitl14") and not known("dinov2").search("dinov2-vits14")
    )


def test_a_recipe_off_its_budget_in_one_seed_is_marked_and_ranked():
    rows = some("a", GOOD) + some("b", BAD) + some("c", BAD)
    for row, seconds in zip(rows, (5.0, 5.2, 6.5, 4.4, 4.3, 5.0, 5.0, 5.0, 5.0), strict=True):
        row["actual_s"] = seconds
    (ranking,) = rankings(rows, SETTINGS | {"budget": 5.0})
    text = " ".join(ranking.explained())
    assert "by more than 10 %: b (0.88 of it)." in text and "at the planned steps: a seed 2 (1.30 of it)." in text
    assert set(ranking.ranks()) == {"a", "c"}


def test_samples_from_elsewhere_are_ranked_where_no_seconds_are_compared():
    rows = some("a", GOOD) + some("b", BAD) + some("theirs", (3.0, 3.1, 2.9), kind="external")
    (ranking,) = rankings(rows, {"budget": None, "steps": 100})
    assert ranking.ranks() == {"a": "1", "theirs": "2", "b": "3"}


def test_fewer_images_than_features_rank_by_the_kernel_distance():
    rows = some("a", GOOD) + some("b", BAD)
    for row, kernel in zip(rows, (0.5, 0.51, 0.49, -0.01, 0.0, 0.005), strict=True):
        row["scores"] |= {"features_dim": 128, "KD[f]": kernel}
    (ranking,) = rankings(rows)
    assert ranking.by == "KD[f]" and ranking.ranks() == {"b": "1", "a": "2"}
    assert "ranked by KD[f]: 100 images are fewer than the 128 features, so FD[f] is biased upwards" in ranking.explained()[-1]
    for row in rows:
        row["scores"]["features_dim"] = 100
    assert rankings(rows)[0].by == "FD[f]"


# The page


def page_of(rows, tmp_path, asked=()):
    folder = Folder.create(tmp_path / "out", SETTINGS)
    folder.ask(asked)
    for row in rows:
        folder.add(row)
    return write_report(folder).read_text(), (folder.path / "report.md").read_text()


NASTY = "$\\frac{$ a|b <i>`q`\nc"


def test_odd_rows_do_not_take_the_page_down(tmp_path):
    nulls = [{"seconds": 1.0 + at, "loss": None if at == 3 else 2.0, "val_loss": 1.0 + at} for at in range(8)]
    rows = [
        a_row("nobody_knows", curve=nulls),
        a_row("vae", overrides={"network": NASTY}, sweep_n=3, sweep=[{"sampler": "$", "evaluations": 3, "distance": None}]),
        a_row("no control", kind="control", family="control", environment={}),
        a_row("no distance", distance=None, curve=[]),
        a_row("no samples", scores={"mse": 1.0}, distance_name=None),
    ]
    del rows[-1]["curve"]
    page, text = page_of(rows, tmp_path)
    assert all(row["recipe"] in page and row["recipe"] in text for row in rows)


def test_a_page_without_a_number_to_show_is_a_page(tmp_path):
    row = a_row("vae", distance=None, curve=[{"seconds": None, "loss": None, "val_loss": None, "distance": None}])
    assert "vae" in page_of([row], tmp_path)[0]


def test_cells_of_the_markdown_hold_what_they_hold(tmp_path):
    _, text = page_of([a_row("vae", overrides={"network": NASTY}), a_row("gan", distance=2.0)], tmp_path)
    (line,) = (line for line in text.splitlines() if line.startswith("| vae") and "1.00" in line)
    assert r"vae (network=\$\\frac{\$ a\|b &lt;i>\`q\` c)" in line
    (other,) = (other for other in text.splitlines() if other.startswith("| gan") and "2.00" in other)
    assert len(re.findall(r"(?<!\\)\|", line)) == len(re.findall(r"(?<!\\)\|", other))


def test_a_folder_that_is_not_finished_says_how_many_seeds_there_are(tmp_path):
    asked = some("vae", (1, 1, 1)) + some("gan", (1, 1, 1))
    page, text = page_of(some("vae", (1.0, 1.1)), tmp_path, asked)
    sentence = "Not finished: seeds there are, of those planned: vae 2 of 3, gan 0 of 3. The same command goes on."
    assert sentence in page and sentence in text and "2 of 3 seeds" in page
    page, _ = page_of(asked, tmp_path, [])
    assert "Not finished" not in page


def test_every_row_has_the_command_that_repeats_it(tmp_path):
    import shlex

    from keras_genzoo.cli.benchmark import main

    row = a_row("vae", overrides={"latent_dim": 8, "network": "a b", "name": "3"}, steps=900, jit_compile=False, protocol=1)
    rows = [row, row | {"seed": 1, "steps": 800}]
    found = repeat.commands(
        rows,
        SETTINGS
        | {
            "image_size": [32, 24],
            "splits": False,
            "split": "validation",
            "flip": True,
            "mixed_precision": "mixed_bfloat16",
            "batch_size": 7,
        },
    )
    assert "--steps 900" in found[0] and found[0].endswith("--seeds 1 --out runs/again")
    assert "--steps 800" in found[1] and found[1].endswith("--seeds 1 --first-seed 1 --out runs/again")
    words = shlex.split(found[0])
    parsed = main.commands["run"].make_context("run", words[3:]).params
    assert parsed["overrides"] == (("vae", "latent_dim", 8), ("vae", "name", "3"), ("vae", "network", "a b"))
    assert (parsed["steps"], parsed["jit"], list(parsed["image_size"]), parsed["batch_size"]) == (900, False, [32, 24], 7)
    assert parsed["splits"] is False and parsed["flip"] is True and parsed["split"] == "validation"
    page, text = page_of([row], tmp_path)
    assert "--steps 900" in page and "--steps 900" in text and "Protocol 1" in page and "Protocol 1" in text


def test_distance_stands_against_the_operations_of_training(tmp_path):
    page, text = page_of([a_row("vae", train_flops=1e12), a_row("gan", distance=2.0)], tmp_path)
    assert "against floating-point operations of training" in page and "distance-flops-0.svg" in text
    assert "1.00e+12" in page
    page, _ = page_of([a_row("vae")], tmp_path / "other")
    assert "against floating-point operations of training" not in page


# Exports


@pytest.fixture
def exported(tmp_path):
    folder = Folder.create(tmp_path, SETTINGS)
    for row in some("a_b", GOOD) + some("c", BAD) + some("pixel Gaussian", (20.0,), kind="control"):
        row["scores"] |= {"precision": 0.5, "ssim": 0.9, "mse": 0.01}
        folder.add(row)
    return folder


def test_numbers_are_exported_as_csv_and_json(exported):
    assert invoke("report", exported.path, "--format", "csv").exit_code == 0
    lines = list(csv.DictReader(io.StringIO((exported.path / "report.csv").read_text())))
    (line,) = (line for line in lines if line["name"] == "a_b" and line["score"] == "FD[f]")
    assert (line["best_rank"], line["worst_rank"], line["seeds"], line["failed"]) == ("1", "1", "3", "0")
    assert float(line["mean"]) == pytest.approx(np.prod(GOOD) ** (1 / 3)) and float(line["low"]) < 1 < float(line["high"])
    assert invoke("report", exported.path, "--format", "json").exit_code == 0
    (table,) = json.loads((exported.path / "report.json").read_text())
    entries = {entry["name"]: entry for entry in table["entries"]}
    assert entries["c"]["scores"]["FD[f]"]["values"] == list(BAD) and entries["pixel Gaussian"]["best_rank"] is None
    assert table["terms"]["features"] == "f" and "five standard deviations" in table["notes"][0]


def test_latex_is_booktabs_with_the_best_in_bold_and_its_bibtex(exported):
    result = invoke("report", exported.path, "--format", "latex")
    assert result.exit_code == 0 and "report.bib" in result.output
    text = (exported.path / "report.tex").read_text()
    assert r"\textbf{a\_b}" in text and r"\textbf{c}" not in text and r"\toprule" in text and r"$\pm$" in text
    assert not re.search(r"(?<!\\)[#_](?!\w*\})", text.replace(r"\cite", ""))
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1 and len(rows) == 4
    keys = re.search(r"\\cite\{(.*?)\}", text)[1].split(",")
    bib = (exported.path / "report.bib").read_text()
    assert set(keys) == set(re.findall(r"@\w+\{(\w+),", bib)) >= {"heusel2017gans", "kynkaanniemi2019improved", "wang2004image"}
    known = set(re.findall(r"@\w+\{(\w+),", exports.bibtex([*exports.CITED, *exports.RULE])))
    assert known == {*exports.CITED, *exports.RULE} and "naeem2020reliable" not in keys


def test_an_export_of_nothing_is_a_sentence(tmp_path):
    Folder.create(tmp_path, SETTINGS).add(a_failure("vae", "no memory"))
    result = invoke("report", tmp_path, "--format", "csv")
    assert result.exit_code == 2 and "holds no finished run" in result.output


# Two folders


def filled(path, rows, **settings):
    folder = Folder.create(path, SETTINGS | settings)
    for row in rows:
        folder.add(row)
    return folder


def test_compare_tells_what_got_better_or_worse_and_its_exit_code_says_so(tmp_path):
    old = {"environment": {"device": "CPU", "cpu": "a processor", "cores": 2, "code": "c" * 64}}
    new = {"environment": old["environment"] | {"code": "d" * 64}}
    before = filled(tmp_path / "a", [*some("x", GOOD, **old), *some("y", BAD, **old), *some("z", BAD, **old), *some("v", GOOD)])
    after = filled(tmp_path / "b", [*some("x", BAD, **new), *some("y", GOOD, **new), *some("z", (9.1, 8.8, 9.1), **new)])
    verdicts = {line["label"]: line["verdict"] for line in compare(before, after).lines}
    assert verdicts == {"x": "worse", "y": "better", "z": "no difference beyond the noise"}
    result = invoke("compare", before.path, after.path)
    assert result.exit_code == 1 and re.search(r"x: 1\.000 ±\s0\.050, 9\.03 ±\s0\.38: worse", result.output)
    assert "v is in" in result.output
    result = invoke("compare", before.path, before.path)
    assert result.exit_code == 0 and "worse" not in result.output


def test_compare_knows_which_scores_should_rise(tmp_path):
    before, after = (filled(tmp_path / name, some("x", GOOD)) for name in "ab")
    for folder, value in ((before, 0.5), (after, 0.6)):
        for row in folder.rows():
            row["scores"]["recall"] = value + row["seed"] / 1000
            folder.add(row)
    assert [line["verdict"] for line in compare(before, after, "recall").lines] == ["better"]
    assert compare(after, before, "recall").worse == ["x"]


def test_more_failures_than_before_are_worse(tmp_path):
    before = filled(tmp_path / "a", some("x", GOOD))
    after = filled(tmp_path / "b", [*some("x", GOOD[:2]), a_failure("x", "diverged", seed=2)])
    assert compare(before, after).worse == ["x"]
    assert invoke("compare", before.path, after.path).exit_code == 1


@pytest.mark.parametrize(
    "rows, why",
    [
        (some("x", GOOD, n=50), "n real 100 and 50"),
        (some("x", GOOD[:2]), "3 and 2 seeds"),
        (some("x", GOOD, environment={"device": "GPU"}), "device CPU and GPU"),
        (some("x", GOOD, train_s=9.0), "training missed its budget of seconds by more than 10 % (1.80 of it)"),
        (some("w", GOOD), "no finished row of the same name"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(rows, why, tmp_path):
    before, after = filled(tmp_path / "a", some("x", GOOD)), filled(tmp_path / "b", rows)
    with pytest.raises(FolderError, match=re.escape(why)):
        compare(before, after)
    result = invoke("compare", before.path, after.path)
    assert result.exit_code == 2 and "Error: " in result.output


def test_comparisons_of_what_did_not_change_err_in_five_percent():
    from keras_genzoo.benchmark.compare import _tested

    random, wrong = np.random.default_rng(0), 0
    for _ in range(200):
        spread = np.exp(random.uniform(0, np.log(20), 5))[:, None] * 0.01
        logs = random.standard_normal((2, 5, 3)) * spread
        sides = np.exp(logs).tolist()
        lines = _tested({f"{name}": ("FD[f]", sides[0][name], sides[1][name]) for name in range(5)})
        wrong += any(line["verdict"] in ("better", "worse") for line in lines)
    assert wrong / 200 <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)
