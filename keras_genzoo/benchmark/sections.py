"""What the page shows of each row of its tables: pictures, curves, settings, and the command that repeats it."""

import collections

import numpy as np

from keras_genzoo import recipes
from keras_genzoo.benchmark import controls, pictures, plots, repeat
from keras_genzoo.core import runs

KINDS = {
    "samples": "Samples, not selected",
    "nearest": "Rows of samples, under each the nearest training image in the features of the table",
    "classes": "A row of samples for each class",
    "reconstructions": "Rows of images that it was not trained on, under each its reconstructions",
    "interpolations": "Rows from one such image to another, along the line between their codes",
    "latents": "Rows from one sample to another, along the way between their latents",
    "walks": "Rows along the eight axes of the code that vary most, 2.5 standard deviations both ways from the mean code",
}
REAL = "real train images"  # the control whose samples are real


def sections(folder, entries, drawn):
    """The sections of a page, a list of dicts.

    Args:
        folder: `Folder`.
        entries: list of `Entry`.
        drawn: dict. Specifications of plots by name, to which those of the sections are added.
    """
    shared = shared_seed(entries)
    return [_section(folder, entry, index, shared, drawn) for index, entry in enumerate(entries) if entry.rows]


def shared_seed(entries):
    """The seed that most entries have, the smallest of equals: pictures of one seed compare. None where there is none."""
    counts = collections.Counter(row["seed"] for entry in entries for row in entry.rows)
    return min(counts, key=lambda seed: (-counts[seed], seed), default=None)


def shown_row(entry, shared):
    """The row of an entry that is shown: that of the shared seed, or else its first."""
    return min(entry.rows, key=lambda row: (row["seed"] != shared, row["seed"]))


def _section(folder, entry, index, shared, drawn):
    row = shown_row(entry, shared)
    files = folder.files(row)
    place = files.relative_to(folder.path)

    def plot(kind, spec):
        if spec is None:
            return None
        drawn[f"{files.name}-{kind}"] = spec
        return f"{files.name}-{kind}"

    sweep = row.get("sweep")
    return {
        "id": f"row-{index}",
        "label": entry.label,
        "seed": row["seed"],
        "seeds": len(entry.rows),
        "control": entry.control,
        "family": entry.family,
        "summary": " ".join(filter(None, (told_summary(row), known_budget(row)))),
        "planned": repeat.planned(row),
        "commands": repeat.commands(entry.rows, folder.settings),
        "settings": settings_of(row),
        "pictures": [
            {"kind": kind, "path": str(place / f"{kind}.png"), "file": files / f"{kind}.png", "caption": caption}
            for kind, caption in KINDS.items()
            if (files / f"{kind}.png").exists()
        ],
        "curve": plot("curve", plots.learning_curve(entry.rows)),
        "sweep": plot("sweep", plots.distance_against_evaluations(sweep, row["distance_name"])) if sweep else None,
        "sweep_n": row.get("sweep_n"),
    }


def settings_of(row):
    """The hyperparameters of a row: a list of triples of a name, its value as a text, and whether it was set otherwise than the
    recipe has it."""
    found = row.get("hyperparameters") or row["overrides"]
    return [(name, str(value), name in row["overrides"]) for name, value in found.items()]


def strip(folder, entries):
    """The first samples of every row that has some, real images before all: a list of dicts of `label`, `control` and `uri`."""
    shared, found = shared_seed(entries), []
    for entry in sorted((each for each in entries if each.rows), key=lambda entry: entry.label != REAL):
        file = folder.files(shown_row(entry, shared)) / "images.npz"
        if (entry.control and entry.label != REAL) or not file.exists():
            continue
        with np.load(file, allow_pickle=False) as arrays:
            if "samples" in arrays:
                found.append({"label": entry.label, "control": entry.control, "uri": pictures.strip(arrays["samples"])})
    return found


def told_summary(row):
    """What a row is of, in a sentence or two; of a recipe that is called otherwise today, that too."""
    new = runs.renamed(row)
    if new:
        return f"Today this recipe is called {new!r}, and {row['recipe']!r} is another network."
    return row.get("summary") or known_summary(row)


def known_summary(row):
    """Of a control, or of a recipe whose row has none, as rows of earlier versions; "" of what is not known here: a report
    imports nothing."""
    if row["kind"] == "control":
        return controls.SUMMARIES.get(row["recipe"], "")
    return recipes.RECIPES[row["recipe"]].summary if row["recipe"] in recipes.RECIPES else ""


def known_budget(row):
    """What is known of the budget of samples from elsewhere, in a sentence; "" of other rows."""
    known = row.get("external") or {}
    parts = [f"{known['parameters']:,} parameters"] if known.get("parameters") else []
    parts += [f"{known['seconds']:,g} s of training"] if known.get("seconds") else []
    parts += [f"on {known['device']}"] if known.get("device") else []
    return f"Known of its budget: {', '.join(parts)}." if parts else ""
