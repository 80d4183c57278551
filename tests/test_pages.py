"""The pages: tables, plots and pictures without a browser, and the whole in headless Chromium where Debian's is at hand."""

import base64
import io
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_benchmarks import SETTINGS, a_failure, a_row, invoke

from keras_genzoo.benchmark import pages, pictures, plots, scores, sections, shown, tables
from keras_genzoo.benchmark.cells import Cell, Head, Line, Table, mark_best
from keras_genzoo.benchmark.ranking import rankings
from keras_genzoo.benchmark.report import write_report
from keras_genzoo.benchmark.results import Folder
from keras_genzoo.core.images import write_png

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 2'>"
COLUMNS = [getattr(tables, f"{kind}_columns") for kind in ("sample", "memory", "reconstruction", "energy", "class")]


# What is known of scores


def test_every_column_says_what_it_means():
    named = [f"{key}[x]" for key in ("FD_inf", "KD", "IS", "path_length", "nearest_train", "rFD", "PD", "bits_per_dim", "auroc")]
    found = dict.fromkeys([*named, "log_prob[ais]", "log_prob_error[ais]"], 1.0)
    found |= {"intra_FD[x]": 1.0, "accuracy": 0.5}
    by_class = {"class_FD[x]": {1: 2.0, 0: 1.0}, "class_bits_per_dim[iw64]": {"0": 3.0}, "class_accuracy": {0: 0.5}}
    columns = [*tables.sample_columns("FD[x]", found), *(column for make in COLUMNS[1:] for column in make(found | by_class))]
    assert scores.number(by_class, "class_FD[x] of class 1") == 2.0 and scores.number(by_class, "class_FD[x] of class 7") is None
    titles = [column.head.title for column in tables.class_columns(by_class)]
    assert titles == ["FD[x] of class 0", "FD[x] of class 1", "accuracy of class 0", "bits/dim [iw64] of class 0"]
    assert {each.keys[0] for each in columns} >= set(found)
    for column in [*columns, *tables.COST_COLUMNS]:
        assert column.head.meaning.endswith("."), column
        assert all(scores.of(key).meaning for key in column.keys), column


def test_the_best_model_of_a_column_is_marked_whichever_way_is_better():
    heads = [Head("a", better="lower"), Head("b", better="higher"), Head("c")]
    values = {"real": (0.0, 9.0, 1.0), "x": (2.0, 3.0, 1.0), "y": (1.0, 2.0, 5.0), "z": (None, 3.0, 0.0)}
    lines = [
        Line(name, tuple(Cell(str(value), value) for value in row), name, "control" if name == "real" else "recipe")
        for name, row in values.items()
    ]
    marked = {line.name: [cell.best for cell in line.cells] for line in mark_best(lines, heads)}
    none = [False] * 3
    assert marked == {"real": none, "x": [False, True, False], "y": [True, False, False], "z": [False, True, False]}


def test_equals_have_no_best_and_a_model_without_a_rank_competes_with_none():
    heads = [Head("a", better="lower"), Head("b", better="higher")]
    lines = [Line("x", (Cell("0", 0.0), Cell("1", 1.0))), Line("y", (Cell("0", 0.0), Cell("2", 2.0)))]
    assert [[cell.best for cell in line.cells] for line in mark_best(lines, heads)] == [[False, False], [False, True]]
    lines.append(Line("z", (Cell("-1", -1.0), Cell("3", 3.0)), why="it was trained on the features"))
    assert [[cell.best for cell in line.cells] for line in mark_best(lines, heads)] == [
        [False, False],
        [False, True],
        [False] * 2,
    ]


def test_a_table_is_a_data_frame_and_markdown():
    table = Table((Head("a|b", "", "lower"), Head("empty")), (Line("x", (Cell("1 ± 2", 1.0), Cell("–"))),))
    assert table.empty() == ["empty"] and table.without(["empty"]).frame().to_dict("records") == [{"name": "x", "a|b": "1 ± 2"}]
    assert re.search(r"^\| name +\| a\\\|b ↓ +\|$", table.without(["empty"]).markdown(), re.MULTILINE)


def test_values_of_seeds_stand_behind_their_mean():
    (ranking,) = rankings([a_row("vae", seed, distance) for seed, distance in enumerate((9.0, 11.0))])
    (line,) = ranking.table(tables.sample_columns("FD[f]", {}), controls=True, intervals=True).lines
    (cell,) = (cell for cell in line.cells if cell.seeds)
    assert cell.seeds == ((0, "9.00"), (1, "11.0")) and cell.value == pytest.approx(np.sqrt(99))


# Plots


def luminance(colour):
    """The relative luminance of WCAG 2.2."""
    levels = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_thirty_models_are_told_apart_on_the_light_and_the_dark_page():
    found = plots.styles([f"model {index}" for index in range(30)])
    assert len({json.dumps(style) for style in found.values()}) == 30
    papers = re.search(r"--paper: light-dark\((#\w+), (#\w+)\)", (pages.PAGE / "style.css").read_text()).groups()
    for colour, paper in itertools.product(plots.COLOURS, papers):
        low, high = sorted((luminance(colour), luminance(paper)))
        assert (high + 0.05) / (low + 0.05) >= 3, (colour, paper)
    for pair in itertools.combinations(plots.COLOURS, 2):
        one, other = (np.array([int(each[at : at + 2], 16) for at in (1, 3, 5)]) for each in pair)
        assert np.linalg.norm(one - other) > 60, pair


def test_a_front_holds_what_no_other_beats_in_both():
    points = [(1.0, 5.0), (2.0, 3.0), (3.0, 4.0), (4.0, 1.0)]
    pairs = lambda rises: [(row["x"], row["y"]) for row in plots._front(points, rises)]  # noqa: E731
    assert pairs(False) == [(1.0, 5.0), (2.0, 3.0), (4.0, 1.0)]
    assert pairs(True) == [(4.0, 1.0)]
    points.append((5.0, 2.0))
    assert pairs(True) == [(5.0, 2.0), (4.0, 1.0)]


def test_curves_of_seeds_are_a_mean_in_a_band():
    curve = lambda *losses: {"curve": [{"steps": at, "seconds": at / 2, "loss": loss} for at, loss in enumerate(losses, 1)]}  # noqa: E731
    first, second = plots.over_seeds([curve(1.0, 2.0), curve(3.0, None)], "loss")
    assert first == {"steps": 1, "x": 0.5, "y": 2.0, "y_low": 1.0, "y_high": 3.0, "told": "2 (1 to 3)"}
    assert (second["y"], second["y_low"], second["y_high"]) == (2.0, 2.0, 2.0)


@pytest.fixture
def ranking():
    rows = [a_row("pixel Gaussian", distance=20.0, kind="control")]
    costs = {"train_flops": 1e12, "sample_images_per_s": 50.0, "params": 1000}
    for name, distance in (("slow", 2.0), ("fast", 4.0), (HOSTILE, 8.0)):
        for seed in range(3):
            cheaper = {key: value * (3 if name == "fast" and key == "sample_images_per_s" else 1) for key, value in costs.items()}
            rows.append(a_row(name, seed, distance + seed / 10, **cheaper))
    (found,) = rankings(rows)
    return found


def test_a_model_trained_on_the_features_is_on_no_front_and_best_in_no_column():
    costs = {"train_flops": 1e12, "sample_images_per_s": 50.0, "params": 1000}
    told = {"honest": {"objective": "l2"}, "other": {"objective": "l1"}, "cheat": {"objective": "perceptual:f"}}
    rows = [
        a_row(name, seed, distance + seed / 10, hyperparameters=told[name], **costs)
        for name, distance in (("honest", 4.0), ("other", 9.0), ("cheat", 0.5))
        for seed in range(3)
    ]
    (ranking,) = rankings(rows)
    table = ranking.table(tables.sample_columns("FD[f]", ranking.scores), controls=True, intervals=True)
    at = [head.title for head in table.heads].index("FD[f]")
    assert {line.name for line in table.lines if line.cells[at].best} == {"honest"}
    assert {line.name for line in table.lines if line.why} == {"cheat"}
    (drawn,) = plots.distance_against_cost(ranking, list(told), "params")["datasets"].values()
    on_front = {row["y"] for row in drawn if "front" in row}
    assert on_front == {row["y"] for row in drawn if row.get("model") == "honest"}


@pytest.mark.parametrize("key", plots.COSTS)
def test_distances_stand_against_costs_with_their_intervals_and_the_front(key, ranking):
    spec = plots.distance_against_cost(ranking, ["fast", "slow", HOSTILE], key)
    (rows,) = spec["datasets"].values()
    models = {row["model"]: row for row in rows if "model" in row}
    low, high = ranking.entries[0].interval("FD[f]")[1:]
    assert (models["slow"]["y_low"], models["slow"]["y_high"]) == (low, high)
    front = [row["y"] for row in rows if "front" in row]
    assert len(front) == (2 if key == "sample_images_per_s" else 1) and models["slow"]["y"] in front
    assert [row["control"] for row in rows if "control" in row] == ["pixel Gaussian"]
    drawn = plots.svg(spec)
    assert drawn.startswith("<svg") and "slow" in drawn and "<script" not in drawn and "pixel Gaussian" in drawn


def test_every_plot_is_drawn():
    row = a_row("ddpm", sweep=[{"sampler": "ddim", "evaluations": each, "distance": 10.0 / each} for each in (5, 10)])
    (found,) = rankings([row, a_row("ddpm", 1)])
    trials = [
        {"trial": str(at), "hyperparameters": {"width": 8 * at, "kind": "a"}, "results": {"fd": 1.0 / at, "parameters": at}}
        for at in (1, 2, 3)
    ]
    specs = {
        "seconds of training": plots.distance_against_time(found.entries, ["ddpm"], "FD[f]"),
        "loss": plots.learning_curve([row]),
        "network calls an image": plots.distance_against_evaluations(row["sweep"], "FD[f]"),
        "trial": plots.objective_over_trials(trials, "fd", 1),
        "parameters": plots.front(trials, "parameters", "fd", 1),
        "width": plots.parallel_coordinates(trials, {"width": None, "kind": None}, "fd", 1),
    }
    for title, spec in specs.items():
        assert title in plots.svg(spec), title
    assert plots.learning_curve([a_row("vae", curve=[])]) is None


# Pictures


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def test_a_sheet_is_stored_pixel_by_pixel_and_without_loss(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype="uint8")
    write_png(tmp_path / "sheet.png", images)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    once = pictures.smallest(sheet)
    assert once.shape == (35, 35, 3) and (once.repeat(2, axis=0).repeat(2, axis=1) == sheet).all()
    np.testing.assert_array_equal(decoded(pictures.embedded(tmp_path / "sheet.png")), once)


@pytest.mark.parametrize("size", [32, 128])
def test_no_picture_is_longer_than_its_limit(size, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, size, size, 3), dtype="uint8")
    write_png(tmp_path / "sheet.png", noise)
    found = pictures.embedded(tmp_path / "sheet.png")
    assert found.startswith("data:image/webp;base64,") and len(found) <= pictures.LIMIT
    assert len(pictures.strip(noise)) <= pictures.LIMIT


def test_samples_stand_over_the_nearest_training_images(tmp_path):
    train = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1), dtype="uint8")
    samples = train[[7, 3, 9, 30, 1, 2, 5, 8, 22]]
    shown.write_nearest(samples, train, "fashion-cnn", tmp_path)
    sheet = pictures.smallest(np.asarray(Image.open(tmp_path / "nearest.png")))
    cells = [sheet[:, at * 29 : at * 29 + 28] for at in range(8)]
    for at, cell in enumerate(cells):  # of the ninth sample there is no full row
        np.testing.assert_array_equal(cell[:28], samples[at, ..., 0])
        np.testing.assert_array_equal(cell[29:], samples[at, ..., 0])


def test_classes_have_a_row_each(tmp_path):
    asked = []

    class Model:
        num_classes = 3

        def sample(self, n, seed, labels):
            asked.append((n, seed, labels.tolist()))
            return np.zeros((n, 4, 4, 1), "float32")

    shown.write_classes(Model(), 5, tmp_path)
    assert asked == [(24, 5, [0] * 8 + [1] * 8 + [2] * 8)] and (tmp_path / "classes.png").exists()


def test_pictures_are_of_one_seed_where_that_can_be():
    entries = rankings([a_row("a", 1), a_row("a", 2), a_row("b", 2), a_row("b", 1), a_row("c", 2), a_row("d", 7)])[0].entries
    assert sections.shared_seed(entries) == 2
    assert {entry.label: sections.shown_row(entry, 2)["seed"] for entry in entries} == {"a": 2, "b": 2, "c": 2, "d": 7}


# Pages


def benchmark_folder(path, names, seeds=3):
    """A folder of results with pictures, of models of these names and two controls."""
    folder, random = Folder.create(path, SETTINGS), np.random.default_rng(0)
    controls = [a_row(name, distance=far, kind="control") for name, far in (("real train images", 0.5), ("pixel Gaussian", 20.0))]
    rows = [
        a_row(
            name,
            seed,
            1.0 + at + seed / 20,
            train_flops=1e12 * (1 + at),
            sample_images_per_s=1000.0 / (1 + at),
            params=10_000 * (1 + at),
            hyperparameters={"latent_dim": 8, "network": "conv"},
            steps=900,
        )
        for at, name in enumerate(names)
        for seed in range(seeds)
    ]
    for row in [*controls, *rows]:
        share = 0.9 - row["scores"]["FD[f]"] / 100
        row["scores"] |= dict.fromkeys(("precision", "recall", "density", "coverage", "rarest_mode"), share)
        row["scores"] |= dict.fromkeys(("FD_inf[f]", "KD[f]", "IS[f]", "sharpness", "path_length[f]", "fd_bootstrap"), 1 + share)
        row["scores"] |= {"k_pr": 3, "k_dc": 5, "mse": 0.01 * row["scores"]["FD[f]"]}
        folder.add(row)
        place = folder.files(row)
        place.mkdir(parents=True)
        images = random.integers(0, 256, (64, 16, 16, 1), dtype="uint8")
        write_png(place / "samples.png", images)
        write_png(place / "nearest.png", images[:32], 8)
        shown.save_arrays(place, {"samples": images})
    return folder


def test_a_hostile_name_is_text_in_every_part_of_a_page(tmp_path):
    folder = benchmark_folder(tmp_path, ["vae", HOSTILE])
    folder.add(a_failure("gan", f"it said {HOSTILE}"))
    page = write_report(folder).read_text()
    assert "<script>window.broken" not in page and "<img src=x" not in page and "&lt;script&gt;window.broken" in page
    specs = json.loads(re.search(r'<script type="application/json" id="specs">(.*?)</script>', page, re.DOTALL)[1])
    assert any(HOSTILE in json.dumps(spec, ensure_ascii=False) for spec in specs.values())


def test_a_page_of_thirty_models_is_small(tmp_path):
    names = [f"model {index}" for index in range(30)]
    page = write_report(benchmark_folder(tmp_path, names)).read_text()
    scripts = re.findall(r"<script.*?</script>", page, re.DOTALL)
    assert len(scripts) == 3 and sum(map(len, scripts)) < 2_000_000
    sources = re.findall(r'src="(data:[^"]*)"', page)
    assert len(sources) == 31 + 2 * 32 and max(map(len, sources)) <= pictures.LIMIT
    assert "model 0 is the best" in page or "No ranks" in page


def test_a_page_begins_with_pictures_then_the_question_its_answer_and_the_table(tmp_path):
    page = write_report(benchmark_folder(tmp_path, ["vae", "gan"])).read_text()
    parts = [
        "<h1",
        'class="strip"',
        'class="question"',
        'class="answer"',
        'id="samples"',
        'id="plots"',
        'id="rows"',
        'id="paper"',
    ]
    places = [page.index(part) for part in parts]
    assert places == sorted(places) and "vae is the best of 2 ranked models." in page
    assert page.index("Samples of real train images") < page.index("Samples of vae")
    assert "genzoo benchmark run --recipes vae" in page and r"\begin{tabular}" in page and "@inproceedings{heusel2017gans" in page
    assert r"\cite{heusel2017gans}" in page and "trained for 5 s" in page


def test_a_comparison_has_a_page(tmp_path):
    folders = [benchmark_folder(tmp_path / name, names) for name, names in (("a", ["x", "y"]), ("b", ["y", "x"]))]
    result = invoke("compare", *(folder.path for folder in folders), "--page", tmp_path / "compared.html")
    assert result.exit_code == 1 and "FD[f] (lower is better), before and after:" in result.output
    page = (tmp_path / "compared.html").read_text()
    assert "Worse: x." in page and "seed 1: 1.00" in page and "application/json" not in page


# In a browser


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright, of the extra test, is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}; on Debian, `apt-get install chromium` brings it")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    names = [*(f"a recipe with a name that is rather long {index}" for index in range(11)), HOSTILE]
    return write_report(benchmark_folder(tmp_path_factory.mktemp("report"), names, seeds=5))


@pytest.fixture
def opened(browser):
    """Opens a page; a test fails by what its console says, by what its scripts raise, and by what it asks the network for."""
    contexts, said = [], []

    def open_page(path, **settings):
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
        page.goto(path.as_uri())
        if page.locator(".plot").count():
            page.wait_for_selector("html[data-plots=drawn]", state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not said


def names_of(page):
    rows = page.locator("table").first.locator("tbody tr:visible > th")
    return [text.strip() for text in rows.all_inner_texts()]


@pytest.mark.slow
def test_a_click_on_a_head_sorts_and_another_one_turns_the_order(opened, report):
    page = opened(report)
    before = names_of(page)
    head = page.locator("table").first.locator("thead button", has_text="FD[f]").first
    head.click()
    assert names_of(page) == before  # as the table was
    head.click()
    assert names_of(page) == before[::-1]
    page.locator("table").first.locator("thead button", has_text="precision").first.click()
    assert names_of(page) == before  # the better end first, which is the upper one here


@pytest.mark.slow
def test_the_filter_leaves_models_of_a_name_and_controls(opened, report):
    page = opened(report)
    page.locator("#filter").fill("LONG 3")
    left = names_of(page)
    assert [name for name in left if "(control)" not in name] == ["a recipe with a name that is rather long 3"] and len(left) == 3
    assert page.locator("section[data-model]:visible").count() == 1
    page.wait_for_function("document.querySelectorAll('.plot')[1].querySelectorAll('.mark-symbol path').length === 1")
    page.locator("#filter").fill("")
    page.locator(".key button").first.click()
    page.wait_for_function("document.querySelectorAll('.plot')[1].querySelectorAll('.mark-symbol path').length === 1")
    assert len(names_of(page)) == 14  # names beside the plots choose what the plots show


@pytest.mark.slow
def test_values_of_seeds_are_one_click_away(opened, report):
    page = opened(report)
    cell = page.locator("table").first.locator("td details").first
    assert not cell.locator("text=seed 4:").is_visible()
    cell.locator("summary").click()
    assert cell.locator("text=seed 4:").is_visible()


@pytest.mark.slow
def test_a_hostile_name_stays_text(opened, report):
    page = opened(report)
    assert page.evaluate("window.broken") is None
    assert any(HOSTILE in name for name in names_of(page))
    page.locator(".plot").nth(1).locator(".mark-symbol path").last.hover(force=True)
    page.wait_for_timeout(200)
    assert page.evaluate("window.broken") is None


@pytest.mark.slow
def test_pictures_are_enlarged_and_texts_copied(opened, report):
    page = opened(report)
    page.locator(".zooms").first.click()
    assert page.locator("#zoom img").is_visible()
    page.locator("#zoom button").click()
    assert not page.locator("#zoom img").is_visible()
    copy = page.locator(".copy").first
    copy.click()
    page.wait_for_function(
        "document.querySelector('.copy').textContent === 'Copied' || String(getSelection()).includes('genzoo')"
    )


def size_of_names(page):
    """The widths that the names of the first table take and are given, and where they end."""
    sizes = "({scrollWidth, clientWidth}, right) => [scrollWidth, clientWidth, right]"
    rows = f"rows => rows.map(row => ({sizes})(row.cells[0], row.cells[0].getBoundingClientRect().right))"
    return page.eval_on_selector_all("table >> nth=0 >> tr", rows)


VIEWS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 400, "height": 800}},
    "print": {"viewport": {"width": 1040, "height": 800}, "color_scheme": "dark"},
}


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_the_page_fits_every_view(view, opened, report, tmp_path):
    page = opened(report, **VIEWS[view])
    if view == "print":
        page.emulate_media(media="print")
        assert not page.locator(".bar").is_visible()
        widths = page.eval_on_selector_all("tbody th", "names => names.map(name => name.getBoundingClientRect().width)")
        assert min(widths) > 90  # many columns leave names whole words
    page.screenshot(path=tmp_path / f"{view}.png", full_page=True)
    assert (
        page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    )  # tables scroll, the page does not
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(21, 24, 29)" if view == "dark" else "rgb(255, 255, 255)")
    if view != "print":
        page.locator("table").first.scroll_into_view_if_needed()
        page.eval_on_selector(".scroll", "element => element.scrollLeft = 200")
        for needed, given, right in size_of_names(page):
            assert needed <= given and 0 < right <= page.viewport_size["width"]  # whole, and in sight beside what was scrolled
        page.screenshot(path=tmp_path / f"{view}-table.png")
        page.locator("#theme").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != paper


@pytest.mark.slow
def test_a_comparison_opens_too(opened, tmp_path):
    folders = [benchmark_folder(tmp_path / name, ["x", HOSTILE]) for name in "ab"]
    invoke("compare", *(folder.path for folder in folders), "--page", tmp_path / "compared.html")
    page = opened(tmp_path / "compared.html")
    assert any(HOSTILE in name for name in names_of(page)) and page.evaluate("window.broken") is None
    page.screenshot(path=tmp_path / "compared.png", full_page=True)
