"""The report: `report.html`, which needs no other file and no network, and `report.md` beside the pictures."""

from keras_genzoo.benchmark import controls, exports, pages, pictures, plots, repeat, sections, tables
from keras_genzoo.benchmark.ranking import rankings
from keras_genzoo.benchmark.results import FolderError, label

TEMPLATES = "report.html.j2", "report.md.j2"
LESS, MORE = "lower and further left is better", "lower and further right is better"


def write_report(folder):
    """Write both files and the plots.

    Args:
        folder: `Folder`.

    Returns:
        Path of report.html.

    Raises:
        FolderError: there are no results yet, or the folder cannot be written.
    """
    rows = folder.rows()
    if not rows:
        raise FolderError(f"{folder.path} holds no results yet; `genzoo benchmark run --out {folder.path}` makes some.")
    page = describe(folder, rows)
    for name, spec in page["plots"].items():
        pages.write(folder.path / "plots" / f"{name}.svg", plots.svg(spec))
    for template in TEMPLATES:
        text = pages.render(template, embedded=pictures.embedded, **page)
        pages.write(folder.path / template.removesuffix(".j2"), text)
    return folder.path / "report.html"


def describe(folder, rows):
    """Everything that the templates show, as a dict."""
    finished = [row for row in rows if row["status"] == "ok"]
    asked = folder.asked()
    ranked = rankings(rows, folder.settings, asked)
    # A label may stand in several tables; it is shown once.
    entries = list({entry.label: entry for ranking in reversed(ranked) for entry in reversed(ranking.entries)}.values())[::-1]
    models = sorted(entry.label for entry in entries if not entry.control)
    drawn = {}
    parts = [_part(ranking, index, models, drawn) for index, ranking in enumerate(ranked)]
    seeds = max((len(entry.rows) for entry in entries if not entry.control), default=0)
    environments = list({str(row["environment"]): row["environment"] for row in finished if row.get("environment")}.values())
    return {
        "settings": {key: value for key, value in folder.settings.items() if value is not None},
        "length": exports.length_of(folder.settings),
        "environments": environments,
        "machines": sorted({machine(each) for each in environments}),
        "curve_n": next((row["curve_n"] for row in finished if row.get("curve_n")), None),
        "dates": sorted({row["started"][:10] for row in rows if row.get("started")}),
        "protocols": sorted({row.get("protocol", 0) for row in finished}),
        "planned": max((count for name, count in asked.items() if name not in controls.CONTROLS), default=seeds),
        "unfinished": repeat.unfinished(rows, asked),
        "answer": answer(ranked[0]) if ranked else "",
        "strip": sections.strip(folder, entries),
        "parts": parts,
        "failed": [
            {"label": label(row), "seed": row["seed"], "reason": row.get("reason") or "unknown"}
            for row in rows
            if row["status"] != "ok"
        ],
        "sections": sections.sections(folder, entries, drawn),
        "seeds": seeds,
        "reading": reading(ranked[0]) if ranked else [],
        "styles": plots.styles(models),
        "plots": drawn,
    }


def _part(ranking, index, models, drawn):
    """What the page shows of one table of comparable rows; its plots go to `drawn`, a dict of names to specifications."""
    shown = {
        "Samples": ranking.table(tables.sample_columns(ranking.distance_name, ranking.scores), controls=True, intervals=True),
        "Memory of training images": ranking.table(
            tables.memory_columns(ranking.scores), controls=True, intervals=True, failures=False
        ),
        "Reconstruction and likelihood": ranking.table(
            tables.reconstruction_columns(ranking.scores), controls=True, intervals=True, ranked=False
        ),
        "Classes": ranking.table(tables.class_columns(ranking.scores), controls=True, intervals=True, ranked=False),
        "Energies": ranking.table(tables.energy_columns(ranking.scores), controls=False, intervals=True),
        "Cost": ranking.table(tables.COST_COLUMNS, controls=False, intervals=False),
    }
    here = [entry for entry in ranking.entries if entry.kind == "recipe" and entry.rows]
    found = {
        "distance-time": ("distance against training time", "", plots.distance_against_time(here, models, ranking.distance_name))
    }
    for name, key, way in (
        ("flops", "train_flops", LESS),
        ("speed", "sample_images_per_s", MORE),
        ("parameters", "params", LESS),
    ):
        caption = f"After training, against {plots.COSTS[key]}: {way}."
        title = f"distance against {plots.COSTS[key]}"
        found[f"distance-{name}"] = title, caption, plots.distance_against_cost(ranking, models, key)
    listed = []
    for name, (title, caption, spec) in found.items():
        if spec is not None:
            drawn[f"{name}-{index}"] = spec
            listed.append({"name": f"{name}-{index}", "title": title, "caption": caption})
    return {
        "terms": ranking.terms,
        "by": ranking.by,
        "split": ranking.split,
        "why": ranking.why,
        "notes": ranking.explained(),
        "tables": {title: table for title, table in shown.items() if table is not None},
        "meanings": meanings(table for table in shown.values() if table is not None),
        "plots": listed,
        "paragraph": exports.paragraph(ranking),
        "latex": exports.as_latex([ranking]),
        "bibtex": exports.bibtex(exports.cited([ranking])),
    }


def answer(ranking):
    """Which model is the best, in one sentence, as far as the seeds tell."""
    best, models = ranking.best(), [each for each in ranking.entries if not each.control and each.mean(ranking.by) is not None]
    if len(best) == 1:
        return f"{best[0]} is the best of {len(ranking.ranks())} ranked models."
    if best:
        names = f"{', '.join(best[:-1])} and {best[-1]}"
        return f"{names} may be the best of {len(ranking.ranks())} ranked models; the seeds cannot decide."
    if not models:
        return "No model has made samples that can be compared."
    return f"Nobody can say yet: no model has a rank. The smallest mean {ranking.by} is that of {models[0].label}."


def meanings(shown):
    """What the columns of some tables say: a dict of titles to sentences."""
    return {head.title: head.meaning for table in shown for head in table.heads if head.meaning}


def reading(ranking):
    """Paragraphs that tell a reader what the numbers mean."""
    terms, name, split = ranking.terms, ranking.distance_name, ranking.split
    paragraphs = [
        f"{name} is the Frechet distance between {terms['n_generated']} generated and {terms['n_real']} {split} images, in the "
        f"features {terms['features']}. It has no unit and no absolute meaning; few images inflate it. Read it between two "
        f"controls: real train images, below which nothing honest comes, and the pixel Gaussian, which has the mean and the "
        f"covariance of the training pixels and knows nothing else. Compare it with numbers of the same features, the same "
        f"counts and the same split only.",
        "A copy of training images has the best distance. Only the scores of memory expose it: an authenticity near 0, a C_T far "
        "under -3, and a distance to the nearest training image of 0. (A real train image's neighbour is sought among the "
        "training images that are not in that control.)",
        "A budget is seconds of training; compilation, validation and scoring are not in it. The number of steps is planned "
        "beforehand from timed steps. A recipe that comes out more than a tenth off its seconds, in the median over seeds, is "
        "shown and not ranked. Speeds are of warm calls, a median of several.",
        "± is half the 95 % t interval of the mean over seeds; where it is not symmetric both ends are shown. Scores that are "
        "positive are taken on the log scale, so their means are geometric. The deviation over seeds is that of a training; the "
        "deviation over images is that of the score of one trained model, by bootstrap over test and generated images. Models "
        "whose scores cannot be told apart share their ranks. The best mean of a column is bold, which says nothing of noise.",
    ]
    if any(key.endswith("[ais]") for key in ranking.scores):
        paragraphs.append(
            "Bits/dim [ais] and log p [ais] are estimates by annealed importance sampling and no bounds: the estimate of log Z "
            "errs downwards, so they err in the model's favour, and rank with each other alone."
        )
    return paragraphs


def machine(environment):
    known = [environment.get("device"), environment.get("cpu"), f"{environment.get('cores', '?')} cores"]
    return ", ".join(str(each) for each in known if each not in (None, "CPU"))
