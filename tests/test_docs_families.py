"""The pages of docs/families agree with the recipes, and their code runs."""

import operator
import re
from pathlib import Path

import numpy as np
import pytest

import keras_genzoo as gz

FAMILIES = Path(__file__).parents[1] / "docs" / "families"
PAGES = {
    "autoencoder": "autoencoders",
    "vae": "vaes",
    "wae": "waes",
    "gan": "gans",
    "flow": "flows",
    "diffusion": "diffusion",
    "energy": "energies",
    "autoregressive": "autoregressive",
}
SHAPE = (28, 28, 1)
ABILITIES = {"R": "reconstruct", "E": "encode", "L": "log_prob"}
PARTS = ("The idea", "The recipes", "Train one", "What healthy training looks like", "The knobs that matter", "What goes wrong")


def recipes_here():
    """Names of the package's own recipes by family: another test of this process may have imported more."""
    ours = lambda name: gz.recipes.get(name).make.__module__.startswith("keras_genzoo.")  # noqa: E731
    found = {family: [name for name in names if ours(name)] for family, names in gz.recipes.names().items()}
    return {family: names for family, names in found.items() if names}


def text_of(family):
    return (FAMILIES / f"{PAGES[family]}.md").read_text(encoding="utf-8")


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def tables(text):
    """Every table of a page, as lists of rows of cells, the first of them the header."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        header, _, *rows = block.splitlines()
        yield [cells(header), *map(cells, rows)]


def recipes_of(text):
    """The rows of the table of recipes: names to what the last column says."""
    (table,) = (table for table in tables(text) if table[0][0] == "recipe" and table[0][-1] == "can")
    return {row[0].strip("`"): row[-1] for row in table[1:]}


def knobs_of(text):
    """Rows (recipe, name, default, range) of the tables of knobs."""
    for header, *rows in tables(text):
        if named := re.fullmatch(r"knob of `(.+)`", header[0]):
            yield from ((named[1], row[0].strip("`"), row[1], row[2]) for row in rows)


def test_every_family_has_a_page():
    assert set(recipes_here()) == set(PAGES)
    assert {path.stem for path in FAMILIES.glob("*.md")} == set(PAGES.values())


@pytest.mark.parametrize("family", PAGES)
def test_the_table_of_a_page_names_the_recipes_of_its_family(family):
    assert set(recipes_of(text_of(family))) == set(recipes_here()[family])


@pytest.mark.parametrize("family", PAGES)
def test_a_page_has_its_parts_in_order(family):
    headings = re.findall(r"^## (.+)$", text_of(family), re.MULTILINE)
    assert tuple(headings[: len(PARTS)]) == PARTS and headings[-1] == "References"


@pytest.mark.parametrize("family", PAGES)
def test_the_knobs_of_a_page_have_the_defaults_and_ranges_of_the_recipe(family):
    rows = list(knobs_of(text_of(family)))
    assert rows
    for recipe, name, default, searched in rows:
        told = gz.recipes.get(recipe).hyperparameters[name]
        words = told.range.words().split(";")[0] if told.range else ""
        assert (default, searched) == (repr(told.default), words), f"{name} of {recipe}"


@pytest.mark.parametrize("family", PAGES)
def test_a_page_tells_what_a_model_logs_and_what_it_can_do(family):
    text = text_of(family)
    logged = {
        name for table in tables(text) if table[0][0] == "logged" for row in table[1:] for name in re.findall(r"`(\w+)`", row[0])
    }
    for name, can in recipes_of(text).items():
        if "/" in name:  # of a published size, with the abilities of the small one, and perhaps with classes
            small = recipes_of(text)[name.split("/")[0]].removesuffix(" C")
            assert can == f"{small} C" if gz.recipes.get(name).defaults.get("num_classes") else can == small
            continue
        model = gz.build(name, SHAPE)
        assert {"loss", *model.terms, *model.diagnostics} <= logged, name
        samples = hasattr(model, "sample") or hasattr(model, "fit_prior")
        able = [letter for letter, method in ABILITIES.items() if hasattr(model, method)]
        assert can.split() == [*(["S"] if samples else []), *able, *(["C"] if model.num_classes else [])], name


def anchors_of(text):
    """The anchors of a page's headings."""
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", [*(f"families/{page}" for page in PAGES.values()), "coming_from"])
def test_the_links_of_a_page_lead_somewhere(page):
    path = FAMILIES.parent / f"{page}.md"
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", path.read_text(encoding="utf-8")):
        file = path.parent / target if target else path
        assert file.exists(), target
        assert not anchor or anchor in anchors_of(file.read_text(encoding="utf-8")), anchor


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the code of a page, compare what it prints with the comments beside it, and return its names."""

    def run(page):
        monkeypatch.chdir(tmp_path)
        text, names = text_of(page) if page in PAGES else (FAMILIES.parent / f"{page}.md").read_text(encoding="utf-8"), {}
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(block, names)
            printed = capsys.readouterr().out.splitlines()
            assert set(re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)) <= set(printed)
        return names

    return run


def test_the_code_of_the_page_on_autoencoders_runs(run):
    names = run("autoencoder")
    assert names["model"].terms == ("reconstruction_loss", "contractive_loss", "curvature_loss")
    assert names["samples"].shape == (64, *SHAPE)


def test_the_code_of_the_page_on_vaes_runs(run):
    assert 0 < run("vae")["scale"] < 1


@pytest.mark.parametrize("family", ["wae", "gan"])
def test_the_code_of_the_page_runs(family, run):
    assert run(family)["model"].sample(4, seed=0).shape == (4, *SHAPE)


def test_the_code_of_the_page_on_flows_makes_a_flow_that_comes_back(run):
    names = run("flow")
    model, images = names["model"], next(iter(names["train"]))[:8]
    model.fit(images, batch_size=4, verbose=0)
    np.testing.assert_allclose(model.reconstruct(images), images / 255, atol=1e-3)


def test_the_code_of_the_page_on_diffusion_restores_what_is_missing(run):
    names = run("diffusion")
    kept, made = names["mask"] == 1, names["restored"]
    np.testing.assert_allclose(made[kept], names["photos"][kept], atol=1e-3)
    assert made.shape == names["photos"].shape and np.abs(made - names["photos"])[~kept].max() > 0.1


def test_the_code_of_the_page_on_energies_runs(run):
    names = run("energy")
    assert names["x"].shape == (100, 2) and 0.5 < float(names["acceptance"]) < 1
    assert 1000 < names["draws"] <= 100 * 200 and names["error"] >= 0


def test_the_code_of_the_page_on_autoregressive_models_completes_images(run):
    names = run("autoregressive")
    known, made = names["images"][:, :14] / np.float32(255), names["completed"]
    np.testing.assert_allclose(made[:, :14], known, atol=1e-6)
    assert made.shape == names["images"].shape and np.abs(made[:, 14:] - names["images"][:, 14:] / 255).max() > 0.1


@pytest.mark.parametrize("page", [*(f"families/{page}" for page in PAGES.values()), "coming_from"])
def test_the_names_of_a_page_are_those_of_the_package(page):
    text = (FAMILIES.parent / f"{page}.md").read_text(encoding="utf-8")
    for name in set(re.findall(r"\bgz((?:\.\w+)+)", text)):
        operator.attrgetter(name[1:])(gz)
    for name in set(re.findall(r"gz\.build\(\"([^\"]+)\"", text)):
        assert name in gz.recipes.RECIPES


def test_the_code_for_those_who_come_from_another_library_runs(run):
    assert run("coming_from")["vae"].sample(4, seed=0).shape == (4, *SHAPE)
