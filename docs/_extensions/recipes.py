"""Write the recipes into the pages that ask for them by `<!-- recipes: FAMILY -->`, from the registry and papers.toml."""

import re
import tomllib
from pathlib import Path

import keras_genzoo as gz

TABLES = tomllib.loads(Path(__file__).with_name("papers.toml").read_text("utf-8"))


def papers(name, short=False):
    """The papers of a recipe as Markdown, without their titles if short."""
    if name not in TABLES["recipes"]:
        raise ValueError(f"the recipe {name!r} has no paper, expected one in docs/_extensions/papers.toml.")
    cited = []
    for key in TABLES["recipes"][name]:
        authors, year, title, url = TABLES["papers"][key]
        who = f"{authors} {year}"
        told = (f"[{who}]({url})" if url else who) if short else f"{who}, [{title}]({url})" if url else f"{who}, {title}"
        cited.append(told)
    return "; ".join(cited)


def label(name):
    return f"recipe-{name.replace('/', '-')}"


def cell(text):
    """Text for a cell of a table, in which a bar and a star mean themselves outside of code, and a bar inside."""
    parts = re.split(r"(`[^`]*`)", " ".join(str(text).split()))
    return "".join(re.sub(r"([*|$<])" if index % 2 == 0 else r"(\|)", r"\\\1", part) for index, part in enumerate(parts))


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def hyperparameters(each):
    """The table of hyperparameters: dict of names to `Hyperparameter`s."""
    rows = []
    for name, about in each.items():
        meaning = f"{about.meaning} Follows the size of the images." if about.sized is not None else about.meaning
        searched = cell(about.range.words()) if about.range is not None else ""
        rows.append([f"`{name}`", cell(f"`{about.default!r}`"), cell(meaning), searched])
    return table(["name", "default", "meaning", "searched"], rows)


def base_of(name):
    """The recipe of which this is a variant, or None."""
    make = gz.recipes.get(name).make
    first = next(other for other in gz.recipes.RECIPES.values() if other.make is make)
    return None if first.name == name else first


def described(name):
    """One recipe as Markdown."""
    entry, base = gz.recipes.get(name), base_of(name)
    lines = [f"({label(name)})=", f"## {name}", "", cell(entry.summary), ""]
    lines += [cell(entry.description), ""] if entry.description and base is None else []
    lines += [f"Paper: {papers(name)}.", ""]
    if base is None:
        return "\n".join([*lines, hyperparameters(entry.hyperparameters), ""])
    own = {key: each for key, each in entry.hyperparameters.items() if each != base.hyperparameters[key]}
    lines.append(f"A variant of [{base.name}](#{label(base.name)}). These differ, and the others are the same:")
    return "\n".join([*lines, "", hyperparameters(own), ""])


def overview(family):
    rows = [
        [f"[{name}](#{label(name)})", cell(gz.recipes.get(name).summary), papers(name)] for name in gz.recipes.names()[family]
    ]
    return table(["recipe", "what it is", "paper"], rows)


def insert(app, docname, source):
    def markdown(match):
        for file in Path(gz.recipes.__file__).parent.glob("*.py"):
            app.env.note_dependency(str(file))
        what, family = match.groups()
        return overview(family) if what == "overview" else "\n".join(map(described, gz.recipes.names()[family]))

    source[0] = re.sub(r"<!-- recipes: (overview|all) of (\w+) -->", markdown, source[0])


def setup(app):
    app.connect("source-read", insert)
    return {"parallel_read_safe": True}
