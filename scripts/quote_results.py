"""Write the tables that pages quote from benchmarks/results: `python scripts/quote_results.py`.

A page names a folder in a comment, and holds its table between this comment and the next one:

    <!-- results: fashion_mnist-60s -->
    <!-- end of results -->

So it does with a table of `python -m benchmarks.speed`, whose rows stand in speed.json there:

    <!-- speed: training -->
    <!-- end of speed -->

or, with `lines`, with its medians in a few lines. Published scores beside those of `python -m benchmarks reproduce cifar10 --out
benchmarks/results/cifar10` stand between

    <!-- published: cifar10 -->
    <!-- end of published -->

A test holds that the tables are those of the folders.
"""

import json
import re
import sys
from pathlib import Path

from keras_genzoo.benchmark.cells import NOTHING
from keras_genzoo.benchmark.ranking import rankings
from keras_genzoo.benchmark.results import Folder
from keras_genzoo.benchmark.tables import Column

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_extensions")]  # benchmarks and papers are not of the package
from recipes import papers  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
SPEED = RESULTS / "speed.json"
BLOCK = re.compile(r"(<!-- (results|speed|published): (\S+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)
COLUMNS = {
    "percent": "in % of pixel Gaussian",
    "coverage": "coverage",
    "authenticity": "authenticity",
    "mse": "MSE",
    "params": "parameters",
    "steps": "steps",
    "sample_images_per_s": "samples/s",
}
DATA = {"fashion_mnist": "Fashion-MNIST, 54,000 training images", "fashion_mnist_mini": "`fashion_mnist_mini`"}


def pages():
    """The pages that hold a table."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if BLOCK.search(page.read_text(encoding="utf-8"))]


def quoted(text):
    """The text of a page with its tables as the folders have them."""
    tables = {"results": lambda name: table(Folder(RESULTS / name)), "speed": speed, "published": published}
    return BLOCK.sub(lambda found: f"{found[1]}{tables[found[2]](found[3])}\n{found[4]}", text)


def speed(name):
    """A table of speed.json, `lines` of what is faster than what, or `machine`."""
    from benchmarks.speed.__main__ import machines, table_of, told

    stored = json.loads(SPEED.read_text(encoding="utf-8"))
    if name == "lines":
        lines = {table: told(table, stored) for table in ("training", "sampling", "scores")}
        return "\n".join(f"- {table.capitalize()}: {line}." for table, line in lines.items() if line)
    return machines(stored) if name == "machine" else table_of(name, stored)


def published(data):
    """Published scores beside our own, in Markdown."""
    from keras_genzoo.benchmark.published import lines

    heads = ["recipe", "paper", "there", "score", "published", "reproduced", "command"]
    rows = []
    for line in lines(data, RESULTS / data):
        paper = papers(line["recipe"], short=True).partition("; ")[0]
        own = [f"`{line['recipe']}`", paper, line["where"], line["score"].replace("bits_per_dim", "bits/dim")]
        rows.append([*own, line["published"], line["reproduced"], f"`{line['command']}`"])
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows])


def table(folder):
    """The sentence that says what a folder holds, and its first table, in Markdown."""
    ranking = rankings(folder.rows(), folder.settings, folder.asked())[0]
    rows = [row for entry in ranking.entries for row in entry.rows]
    models = [row for row in rows if row["kind"] == "recipe"]
    machine, seeds = models[0]["environment"], len({row["seed"] for row in models})
    terms, given = ranking.terms, folder.settings
    about = (
        f"{DATA.get(given['data'], given['data'])}; {given['budget']:g} s of training each, batches of {given['batch_size']}; "
        f"{seeds} seeds; {terms['n_generated']:,} samples against as many {ranking.split} images; {machine['cpu']}, "
        f"{machine['cores']} cores; revision {machine['revision']}. ± is half the 95 % interval over seeds."
    )
    columns = [Column((key,), title) for key, title in {ranking.by: ranking.by, **COLUMNS}.items()]
    ranks = ranking.ranks()
    lines = [
        [entry.name, entry.family, ranks.get(entry.label, NOTHING), *(entry.cell(column, True).text for column in columns)]
        for entry in ranking.entries
    ]
    heads = ["model", "family", "rank", *(column.title for column in columns)]
    body = [heads, ["---"] * len(heads), *lines]
    notes = [note for note in ranking.notes if note.startswith("Not ranked")]
    return "\n".join([about, "", *(f"| {' | '.join(line)} |" for line in body), *(["", *notes] if notes else [])])


def main():
    for page in pages():
        text = page.read_text(encoding="utf-8")
        page.write_text(quoted(text), encoding="utf-8")
        print(f"{page.relative_to(ROOT)}: {len(BLOCK.findall(text))} tables")


if __name__ == "__main__":
    main()
