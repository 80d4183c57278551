"""The code of README and of the pages in docs/ runs, its commands are commands, and the site builds without a warning.

A block of Python runs after those before it on its page, and prints what a block of text right behind it shows; numbers with a
point may differ. A block that cannot run says why in a comment above it: `<!-- not run: needs two GPUs -->`.
"""

import contextlib
import doctest
import importlib
import importlib.util
import io
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from test_docs_families import recipes_here

import keras_genzoo as gz
from keras_genzoo.cli import main

# Few images are quick.
pytestmark = pytest.mark.filterwarnings("ignore:.*is biased upwards:UserWarning", "ignore:.*FD_inf.*:UserWarning")
REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
TUTORIALS = DOCS / "tutorials"  # pages whose commands run
NOTEBOOK = REPOSITORY / "examples" / "first_hour.ipynb"
ELSEWHERE = {*DOCS.glob("families/*.md"), DOCS / "coming_from.md"}  # their Python runs in tests/test_docs_families.py
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n\n?)?```(?P<language>\w*)\n(?P<code>.*?)^```\n"
    r"(?:\n```text\n(?P<output>.*?)^```)?",
    re.MULTILINE | re.DOTALL,
)
SHELL = ("shell", "bash", "console", "sh")
PAGES = [
    page
    for page in sorted(DOCS.rglob("*.md"))
    if any(block["language"] in ("python", *SHELL) for block in BLOCK.finditer(page.read_text("utf-8")))
]
MANY = 5  # epochs, of a training that is cut
QUICK = ("list", "show", "doctor")  # commands that run
LIKELIHOODS = {None: "exact", "iw64": "bound", "elbo": "bound", "ais": "estimate", "ode": "estimate"}  # by `log_prob_label`


@pytest.fixture
def short(monkeypatch, tmp_path, replicas):
    """In a folder of its own; every training of many epochs ends after two steps, and prints no progress."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: replicas)
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    fit = gz.GenerativeModel.fit

    def fit_shortly(self, *arguments, epochs=1, **keywords):
        if epochs >= MANY:
            keywords |= {"epochs": 1, "steps_per_epoch": 2, "verbose": 0}
            keywords |= {"validation_steps": 2} if "validation_data" in keywords else {}
        else:
            keywords["epochs"] = epochs
        return fit(self, *arguments, **keywords)

    monkeypatch.setattr(gz.GenerativeModel, "fit", fit_shortly)


def given():
    """What a page may take as given."""
    images = np.random.default_rng(0).integers(0, 256, (64, 28, 28, 1), "uint8")
    return {"gz": gz, "keras": keras, "np": np, "tf": tf, "images": images, "__name__": "page"}


def run(page):
    """Run the blocks of a page, and return how many there were."""
    names, blocks = given(), [block for block in BLOCK.finditer(page.read_text("utf-8")) if not block["reason"]]
    for block in blocks:
        if block["language"] == "python" and page not in ELSEWHERE:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block["code"], page.name, "exec"), names)
            if block["output"]:
                assert agree(block["output"], printed.getvalue()), f"{block['code']}\nprints\n{printed.getvalue()}"
        elif block["language"] in SHELL:
            for line in block["code"].replace("\\\n", " ").splitlines():
                check_command(shlex.split(line, comments=True), runs=page.parent == TUTORIALS)
    return len(blocks)


def agree(want, got):
    """Whether the outputs are equal but for numbers with a point."""
    want, got = (re.sub(r"-?\d+\.\d+(e[+-]\d+)?", "0.0", text) for text in (want, got))
    return doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)


def check_command(words, runs=False):
    """Run a short command, or any of `genzoo`; of others, see that there are such a command and such options."""
    if words[:1] == ["genzoo"]:
        parse(words[1:])
        if runs or words[1] in QUICK:
            result = CliRunner().invoke(main, cut(words[1:]))
            assert result.exit_code == 0, result.output
    elif words[:3] == ["python", "-m", "benchmarks"]:
        parse(["benchmark", *words[3:]])
    elif words[:1] == ["make"]:
        targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE))
        assert {word for word in words[1:] if "=" not in word} <= targets
    elif words[:2] == ["pip", "install"]:
        extras = re.findall(
            r"^(\w+) =$", (REPOSITORY / "setup.cfg").read_text("utf-8").partition("extras_require")[2], re.MULTILINE
        )
        assert set(re.findall(r"\w+", " ".join(re.findall(r"\[(.*?)\]", " ".join(words))))) <= set(extras)
    else:
        assert not words, f"{shlex.join(words)} is not run here; say why above the block: <!-- not run: REASON -->"


def cut(words):
    """A command that trains for two steps or an epoch where it trained for seconds, and makes two trials where it made many."""
    length = ("--epochs", "1") if words[0] == "tune" else ("--steps", "2")
    shorter = {"--budget": length, "--trials": ("--trials", "2")}
    words = list(words)
    for at, option in enumerate(words):
        if option in shorter:
            words[at : at + 2] = shorter[option]
    return words


def parse(words):
    """Parse a command of `genzoo` without running it."""
    command, context, words = main, click.Context(main, info_name="genzoo"), list(words)
    while isinstance(command, click.Group):
        name, command, words = command.resolve_command(context, words)
        context = click.Context(command, info_name=name, parent=context)
    values, rest, _ = command.make_parser(context).parse_args(words)
    assert not rest, f"{context.command_path} takes no {rest}."
    needed = [each.name for each in command.params if isinstance(each, click.Argument) and each.required]
    assert all(isinstance(values[name], str) for name in needed), f"{context.command_path} needs {needed}."


def test_the_code_of_readme_runs(short):
    assert run(REPOSITORY / "README.md") >= 4


@pytest.mark.slow
@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(DOCS))) for page in PAGES])
def test_the_code_of_the_page_runs(page, short, monkeypatch):
    monkeypatch.setattr(gz.recipes.registry, "RECIPES", dict(gz.recipes.RECIPES))
    run(page)


def pictures(notebook):
    """How many pictures the cells of a notebook show."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_the_notebook_holds_what_its_cells_show():
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1)) and pictures(notebook) > 5


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="pip install '.[docs]'")
    notebook = importlib.import_module("nbformat").read(NOTEBOOK, 4)
    stored = pictures(notebook)
    first = next(cell for cell in notebook.cells if cell.source.startswith("EPOCHS = 20"))
    first.source = first.source.replace("EPOCHS = 20", "EPOCHS = 1")
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    assert pictures(notebook) == stored


@pytest.mark.parametrize(
    "words",
    [["train", "vae", "--epoch-count", "3"], ["train"], ["evaluate", "a.keras", "b.keras"], ["trian", "vae"]],
    ids=["unknown option", "no recipe", "an argument too many", "unknown command"],
)
def test_a_wrong_command_is_found(words):
    with pytest.raises((click.UsageError, AssertionError)):
        parse(words)


def test_a_block_that_does_not_run_says_why():
    with pytest.raises(AssertionError, match="say why above the block"):
        check_command(["srun", "genzoo"])


def test_the_links_of_readme_lead_to_files():
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", (REPOSITORY / "README.md").read_text("utf-8"))
    assert [link for link in links if "://" not in link and not (REPOSITORY / link).exists()] == []


@pytest.mark.slow
def test_the_table_of_readme_says_what_models_can_do():
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", (REPOSITORY / "README.md").read_text("utf-8"), re.MULTILINE)
    assert len(rows) > 10
    for name, row in rows:
        model = gz.build(name, (28, 28, 1))
        can = {member: hasattr(model, member) for member in ("sample", "fit_prior", "reconstruct", "encode", "log_prob")}
        expected = [
            "yes" if can["sample"] else "prior" if can["fit_prior"] else "",
            "yes" if can["reconstruct"] else "",
            "yes" if can["encode"] else "",
            LIKELIHOODS[model.log_prob_label] if can["log_prob"] else "",
            "yes" if model.num_classes else "option" if "num_classes" in gz.recipes.get(name).defaults else "",
        ]
        assert [cell.strip() for cell in row.split("|")[1:]] == expected, name


def test_every_public_module_has_a_page():
    modules = {name for name in gz.__all__ if isinstance(getattr(gz, name), type(gz))} | set(gz.LAZY)
    pages = {page.stem for page in (DOCS / "reference" / "api").glob("*.md")}
    assert modules | {"keras_genzoo", "index", "recipes.sizes", "recipes.space"} == pages


def test_every_recipe_has_its_paper_and_stands_on_a_page_of_its_family():
    papers = tomllib.loads((DOCS / "_extensions" / "papers.toml").read_text("utf-8"))
    names = {name for family in recipes_here().values() for name in family}
    assert names == set(papers["recipes"])
    assert {key for keys in papers["recipes"].values() for key in keys} == set(papers["papers"])
    assert set(recipes_here()) <= {page.stem for page in (DOCS / "reference" / "recipes").glob("*.md")}


def test_every_recipe_stands_on_the_page_of_models_with_what_it_optimises_and_a_test_that_exists():
    told = tomllib.loads((DOCS / "_extensions" / "models.toml").read_text("utf-8"))
    families = recipes_here()
    names = {name for family in families.values() for name in family}
    assert names == set(told["optimises"]) == set(told["proof"])
    assert set(told["likelihood"]) <= names | set(families)
    asked = re.findall(r"<!-- models of (\w+) -->", (DOCS / "models.md").read_text("utf-8"))
    assert sorted(asked) == sorted(families)
    for test in sorted({test for tests in told["proof"].values() for test in tests}):
        file, _, function = test.partition("::")
        assert f"\ndef {function}(" in (REPOSITORY / "tests" / file).read_text("utf-8"), test


@pytest.mark.slow
def test_the_page_of_models_tells_what_their_likelihoods_are():
    told = tomllib.loads((DOCS / "_extensions" / "models.toml").read_text("utf-8"))["likelihood"]
    for family, names in recipes_here().items():
        for name in (name for name in names if "/" not in name):
            model = gz.build(name, (28, 28, 1))
            expected = LIKELIHOODS[model.log_prob_label] if hasattr(model, "log_prob") else None
            assert expected in (None, told.get(name) or told.get(family)), name


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    needed = ("sphinx", "furo", "latex2mathml", "myst_nb", "sphinx_click", "sphinx_copybutton")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed; pip install '.[docs]'")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(tmp_path / "site")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert result.returncode == 0, result.stderr


def test_pages_quote_what_the_results_say():
    spec = importlib.util.spec_from_file_location("quote_results", REPOSITORY / "scripts" / "quote_results.py")
    quote_results = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(quote_results)
    pages = quote_results.pages()
    assert DOCS / "guides" / "benchmark.md" in pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert quote_results.quoted(text) == text, f"python scripts/quote_results.py writes the tables of {page} anew"
