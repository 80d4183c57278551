"""Write the models of a family into the page that asks for them by `<!-- models of FAMILY -->`.

Each fact has one place: names and families are those of the registry, papers stand in papers.toml, what a model can do stands on
the page of its family, and what it optimises and what proves it in models.toml.
"""

import re
import tomllib
from pathlib import Path

from recipes import cell, label, papers, table

import keras_genzoo as gz

HERE = Path(__file__).parent
TOLD = tomllib.loads((HERE / "models.toml").read_text("utf-8"))
FAMILIES = HERE.parent / "families"
ROW = re.compile(r"^\| `(?P<name>[\w/]+)` \|.*\| (?P<can>[SRELC](?: [SRELC])*) \|$", re.MULTILINE)


def abilities():
    """Names of recipes to the letters of what they can do, from the tables of the families' pages."""
    pages = (page.read_text("utf-8") for page in sorted(FAMILIES.glob("*.md")))
    return {row["name"]: row["can"].split() for page in pages for row in ROW.finditer(page)}


def likelihood(name, family):
    """What the likelihood of a model that has one is."""
    return TOLD["likelihood"].get(name) or TOLD["likelihood"][family]


def proof(test):
    """A test, as file::function, as a sentence."""
    file, _, function = test.partition("::")
    return f"{function.removeprefix('test_').replace('_', ' ')} (`tests/{file}`)"


def rows(family):
    """The models of a family, a row each."""
    can = abilities()
    for name in gz.recipes.names()[family]:
        if not gz.recipes.get(name).make.__module__.startswith("keras_genzoo."):
            continue  # of another package that is installed here
        yes = lambda letter, name=name: "yes" if letter in can[name] else ""  # noqa: E731
        yield [
            f"[{name}](#{label(name)})",
            papers(name, short=True),
            cell(TOLD["optimises"][name]),
            yes("S"),
            yes("E"),
            likelihood(name, family) if "L" in can[name] else "",
            yes("C") or ("option" if "num_classes" in gz.recipes.get(name).defaults else ""),
            cell("; ".join(map(proof, TOLD["proof"][name]))),
        ]


def insert(app, docname, source):
    def markdown(match):
        for file in (HERE / "models.toml", *FAMILIES.glob("*.md")):
            app.env.note_dependency(str(file))
        head = ["recipe", "paper", "what it optimises", "sample", "encode", "likelihood", "classes", "what proves it"]
        return table(head, list(rows(match[1])))

    source[0] = re.sub(r"<!-- models of (\w+) -->", markdown, source[0])


def setup(app):
    app.connect("source-read", insert)
    return {"parallel_read_safe": True}
