"""The report: `report.html`, which needs no other file and no network, and `report.md` beside the pictures."""

import base64
import re
from pathlib import Path

from matplotlib import colormaps

import keras_genzoo as gz
from keras_genzoo.benchmark import controls, plots, repeat, tables
from keras_genzoo.benchmark.ranking import rankings
from keras_genzoo.benchmark.results import FolderError, label
from keras_genzoo.core.files import replacing

TEMPLATES = "report.html.j2", "report.md.j2"


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
    environment = environment_of_templates()
    environment.filters |= {"plain": plain_markdown, "markdown": markdown_table}
    environment.filters["data_uri"] = lambda path: data_uri(folder.path / path)
    try:
        for path, svg in page["plots"].items():
            with replacing(folder.path / path) as temporary:
                temporary.write_text(svg)
        for template in TEMPLATES:
            target = folder.path / template.removesuffix(".j2")
            with replacing(target) as temporary:
                temporary.write_text(environment.get_template(template).render(**page))
    except OSError as error:
        raise FolderError(f"{folder.path} cannot be written ({error.strerror}); copy it to where it can.") from None
    return folder.path / "report.html"


def environment_of_templates():
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: ".html" in name,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def describe(folder, rows):
    """Everything that the templates show, as a dict."""
    finished = [row for row in rows if row["status"] == "ok"]
    asked = folder.asked()
    ranked = rankings(rows, folder.settings, asked)
    # A label may stand in several tables; it is shown once.
    entries = list({entry.label: entry for ranking in reversed(ranked) for entry in reversed(ranking.entries)}.values())[::-1]
    models = [entry for entry in entries if not entry.control]
    palette = colormaps["tab10"].colors
    colours = {entry.label: palette[index % len(palette)] for index, entry in enumerate(sorted(models, key=lambda e: e.label))}
    drawn = {}

    def plot(name, svg):
        drawn[f"plots/{name}.svg"] = svg
        return f"plots/{name}.svg"

    parts = []
    for index, ranking in enumerate(ranked):
        here = [entry for entry in ranking.entries if entry.kind == "recipe" and entry.rows]
        scores = {key: value for entry in ranking.entries for row in entry.rows for key, value in row["scores"].items()}
        shown = {
            "Samples": ranking.table(tables.sample_columns(ranking.distance_name, scores), controls=True, intervals=True),
            "Memory of training images": ranking.table(
                tables.memory_columns(scores), controls=True, intervals=True, failures=False
            ),
            "Reconstruction and likelihood": ranking.table(
                tables.reconstruction_columns(scores), controls=True, intervals=True, ranked=False
            ),
            "Energies": ranking.table(tables.energy_columns(scores), controls=False, intervals=True),
            "Cost": ranking.table(tables.COST_COLUMNS, controls=False, intervals=False),
        }
        part = {
            "terms": ranking.terms,
            "by": ranking.by,
            "split": ranking.settings.get("split", "test"),
            "why": ranking.why,
            "notes": ranking.explained(),
            "tables": {title: table for title, table in shown.items() if table is not None},
        }
        if here:
            time = plots.distance_against_time(here, colours, ranking.distance_name)
            part["time"] = plot(f"distance-time-{index}", time)
            part["speed"] = plot(f"distance-speed-{index}", plots.distance_against_speed(ranking, colours))
            if any(entry.mean("train_flops") for entry in here):
                part["flops"] = plot(f"distance-flops-{index}", plots.distance_against_flops(ranking, colours))
        parts.append(part)

    sections = []
    for entry in entries:
        if not entry.rows:
            continue
        row = min(entry.rows, key=lambda row: row["seed"])
        files = folder.files(row).relative_to(folder.path)
        section = {
            "label": entry.label,
            "seed": row["seed"],
            "control": entry.control,
            "summary": " ".join(filter(None, (row.get("summary") or known_summary(row), known_budget(row)))),
            "planned": repeat.planned(row),
            "commands": repeat.commands(entry.rows, folder.settings),
            "pictures": {
                name: str(files / f"{name}.png")
                for name in ("samples", "reconstructions", "interpolations", "walks")
                if (folder.path / files / f"{name}.png").exists()
            },
        }
        if row.get("curve"):
            section["curve"] = plot(f"{files.name}-curve", plots.learning_curve(row["curve"]))
        if row.get("sweep"):
            section["sweep_n"] = row["sweep_n"]
            svg = plots.distance_against_evaluations(row["sweep"], row["distance_name"])
            section["sweep"] = plot(f"{files.name}-sweep", svg)
        sections.append(section)

    seeds = max((len(entry.rows) for entry in models), default=0)
    environments = list({str(row["environment"]): row["environment"] for row in finished if row.get("environment")}.values())
    return {
        "settings": {key: value for key, value in folder.settings.items() if value is not None},
        "environments": environments,
        "machines": sorted({machine(each) for each in environments}),
        "curve_n": next((row["curve_n"] for row in finished if row.get("curve_n")), None),
        "dates": sorted({row["started"][:10] for row in rows if row.get("started")}),
        "protocols": sorted({row.get("protocol", 0) for row in finished}),
        "planned": max((count for name, count in asked.items() if name not in controls.CONTROLS), default=seeds),
        "unfinished": repeat.unfinished(rows, asked),
        "parts": parts,
        "failed": [
            {"label": label(row), "seed": row["seed"], "reason": row.get("reason") or "unknown"}
            for row in rows
            if row["status"] != "ok"
        ],
        "sections": sections,
        "seeds": seeds,
        "reading": reading(ranked[0]) if ranked else [],
        "plots": drawn,
    }


def known_summary(row):
    """Of a control, or of a recipe whose row has none, as rows of earlier versions; "" of what is not known here: a report
    imports nothing."""
    if row["kind"] == "control":
        return controls.SUMMARIES.get(row["recipe"], "")
    return gz.recipes.RECIPES[row["recipe"]].summary if row["recipe"] in gz.recipes.RECIPES else ""


def known_budget(row):
    """What is known of the budget of samples from elsewhere, in a sentence; "" of other rows."""
    known = row.get("external") or {}
    parts = [f"{known['parameters']:,} parameters"] if known.get("parameters") else []
    parts += [f"{known['seconds']:,g} s of training"] if known.get("seconds") else []
    parts += [f"on {known['device']}"] if known.get("device") else []
    return f"Known of its budget: {', '.join(parts)}." if parts else ""


def plain_markdown(value):
    """A text that Markdown shows as it is, in a cell of a table too."""
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*|$]|\](?=[(\[]))", r"\\\1", text)


def markdown_table(table):
    """A data frame of texts as a table of Markdown, whatever stands in its cells."""
    table = table.map(plain_markdown).rename(columns=plain_markdown)
    return table.to_markdown(index=False, disable_numparse=True)


def reading(ranking):
    """Paragraphs that tell a reader what the numbers mean."""
    terms, name, split = ranking.terms, ranking.distance_name, ranking.settings.get("split", "test")
    paragraphs = [
        f"{name} is the Frechet distance between {terms['n_generated']} generated and {terms['n_real']} {split} images, in the "
        f"features {terms['features']}. It has no unit and no absolute meaning; few images inflate it. Read it between two "
        f"controls: real train images, below which nothing honest comes, and the pixel Gaussian, which has the mean and the "
        f"covariance of the training pixels and knows nothing else. Compare it with numbers of the same features, the same "
        f"counts and the same split only.",
        "FD_inf (FID_inf) is that distance extrapolated to endlessly many generated images. KD (KID) is the kernel distance: "
        "unbiased, so it may be slightly negative near zero. IS, of a classifier's features, knows no real images. Precision "
        "and density say how many samples look real; recall and coverage how much of the real images' variety is reached. "
        "Sharpness is the variance of the Laplacian over the data's: blur is below 1, noise above. Path length says how much "
        "images change along lines between latents; it compares models whose latents are drawn alike.",
        "Nearest train image is the mean distance, in features, from a sample to the nearest training image; the ratio beside it "
        "compares with test images, whose ratio is 1. Far under it means copying, as do an authenticity near 0 and a C_T under "
        "-3: the control that copies has the best distance, and 0, 0 and far less than -3 here. (A real train image's neighbour "
        "is sought among the training images that are not in that control.)",
        "MSE (of images in [0, 1]), PSNR and SSIM compare test images with their reconstructions, PD compares them in the layers "
        "of the network, and rFD (rFID) is the Frechet distance of all reconstructions. PCA of the training images is "
        "the best that 16 numbers an image do by linear means. Bits/dim is the code length of test images by pixel and channel: "
        "a bound lies above the model's own; an exact one, and [ode], the estimate by the probability-flow equation, are of "
        "dequantised images where the model is a density, and lie above that of the levels. Families with other likelihoods may "
        "not define it.",
        "Bits/dim [ais] and log p [ais] are estimates by annealed importance sampling and no bounds: the estimate of log Z errs "
        "downwards, so they err in the model's favour, and rank with each other alone. AUROC is how well a model's energies tell "
        "other images (emoji, in gray where the data are; noise) from test images: 1 is always, 0.5 not at all, less that others "
        "are taken for likelier. Effective draws are what the energies along a chain amount to in independent draws.",
        "A budget is seconds of training; compilation, validation and scoring are not in it. The number of steps is planned "
        "beforehand from timed steps. A recipe that comes out more than a tenth off its seconds, in the median over seeds, is "
        "shown and not ranked. Speeds are of warm calls, a median of several.",
        "± is half the 95 % t interval of the mean over seeds; where it is not symmetric both ends are shown. Scores that are "
        "positive are taken on the log scale, so their means are geometric. The deviation over seeds is that of a training; the "
        "deviation over images is that of the score of one trained model, by bootstrap over test and generated images. Models "
        "whose scores cannot be told apart share their ranks.",
    ]
    return paragraphs


def machine(environment):
    known = [environment.get("device"), environment.get("cpu"), f"{environment.get('cores', '?')} cores"]
    return ", ".join(str(each) for each in known if each not in (None, "CPU"))


def data_uri(path):
    kind = "image/svg+xml" if path.suffix == ".svg" else "image/png"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
