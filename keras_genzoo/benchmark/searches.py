"""What a search for hyperparameters (`genzoo tune`) found: its winner trained again beside the default, and its page."""

import math

from keras_genzoo import recipes, tuning
from keras_genzoo.benchmark import exports, pages, plots, rounding, tables
from keras_genzoo.benchmark.cells import EMPTY, Cell, Head, Line, Table, mark_best
from keras_genzoo.benchmark.ranking import rankings
from keras_genzoo.benchmark.results import Folder, FolderError
from keras_genzoo.benchmark.running import run_all
from keras_genzoo.metrics import default_features


def open_search(path, imports=(), device="auto"):
    """The `tuning.Search` of a folder, see `tuning.Search.open`; a `FolderError` where there is none."""
    try:
        return tuning.Search.open(path, imports, device)
    except ValueError as error:
        raise FolderError(str(error)) from None


def read_search(path):
    """The `tuning.Search` of a folder as `tuning.Search.read` gives it; a `FolderError` where there is none."""
    try:
        return tuning.Search.read(path)
    except ValueError as error:
        raise FolderError(str(error)) from None


def confirm(search, seeds, timeout=None, anyway=False):
    """Train the default and the best of a search anew with several seeds, and score both on test images.

    The best of many trials owes some of its score to luck; what is left of it shows here.

    Args:
        search: `tuning.Search` that has ended.
        seeds: int.
        timeout: float or None. Seconds after which a run is stopped.
        anyway: bool. Plan steps for a budget of seconds though other processes use the cores. Defaults to False.

    Returns:
        `Folder` of the runs, and the list of those that failed.
    """
    best = search.best()
    height, width, channels = search.hypermodel.image_shape
    settings = {
        "budget": search.settings["budget"],
        "epochs": search.settings["epochs"],
        "steps": None,
        "batch_size": best["batch_size"],
        "data": search.settings["data"],
        "data_dir": None,
        "image_size": [height, width],
        "channels": channels if channels in (1, 3) else None,
        "splits": search.hypermodel.splits,
        "split": "test",
        "flip": search.hypermodel.flip,
        "n": None,
        "features": search.hypermodel.features or default_features(search.settings["data"], channels),
        "device": search.device,
        "mixed_precision": search.hypermodel.dtype,
        "jit": search.hypermodel.jit_compile,
        "steps_per_execution": None,
    }
    name = search.hypermodel.name
    row = {"kind": "recipe", "recipe": name, "family": recipes.get(name).family, "imports": search.imports}
    each = [{**row, "overrides": overrides} for overrides in (search.hypermodel.fixed, best["hyperparameters"])]
    # The search's own seed chose the winner: another look at it would be lucky again.
    first = search.hypermodel.seed + 1
    rows = [{**row, "seed": seed} for seed in range(first, first + seeds) for row in each]
    folder = Folder.create(search.folder / "confirm", settings)
    with folder.lock():
        folder.ask(rows)
        return folder, run_all(folder, [[row] for row in folder.missing(rows)], timeout, anyway)


def write_report(search):
    """Write report.html into the folder of a search: the trials, how they came about, and the winner beside the default.

    Returns:
        Path of report.html.
    """
    rows = search.results()
    ended = [row for row in rows if row["status"] == "completed"]
    if not ended:
        raise FolderError(f"{search.folder} holds no finished trial yet; `genzoo tune` goes on with it.")
    goal = tuning.get_objective(search.settings["objective"])
    sign = -1 if goal.direction == "max" else 1
    shown = plots_of(search, ended, goal.name, sign)
    page = {
        "name": search.hypermodel.name,
        "settings": {key: value for key, value in search.settings.items() if value is not None and key != "hypermodel"},
        "length": exports.length_of(search.settings),
        "objective": goal.name,
        "direction": "largest" if sign < 0 else "smallest",
        "best": search.best(),
        "trials": table_of_trials(rows, goal.name, sign),
        "plots": {name: spec for name, (_, spec) in shown.items()},
        "shown": [{"name": name, "caption": caption} for name, (caption, _) in shown.items()],
        "confirmed": confirmed(search),
    }
    path = search.folder / "report.html"
    pages.write(path, pages.render("search.html.j2", **page))
    return path


def plots_of(search, ended, name, sign):
    """The plots of a search: a dict of names to pairs of a caption and a specification."""
    found = {
        "trials": (
            "The objective of every trial, and the best so far, dashed",
            plots.objective_over_trials(ended, name, sign),
        ),
        "parallel": (
            "Every line is a trial, the stronger the better",
            plots.parallel_coordinates(ended, search.hypermodel.space, name, sign),
        ),
    }
    for cost in ("sample_seconds", "parameters"):
        if cost != name and all(cost in row["results"] for row in ended):
            title = f"{name} against {cost.replace('_', ' ')}: no trial is better in both than those on the Pareto front, dashed"
            found[cost] = title, plots.front(ended, cost, name, sign)
    return found


def table_of_trials(rows, name, sign):
    """The `cells.Table` of all trials, the best first and the failed last."""
    score = lambda row: sign * row["results"][name] if row["results"] else math.inf  # noqa: E731
    searched = list(dict.fromkeys(key for row in rows for key in row["hyperparameters"]))
    costs = {"steps": "steps", "parameters": "parameters", "sample_seconds": "s for 256 samples"}
    heads = [
        Head(name, better="lower" if sign > 0 else "higher"),
        *map(Head, searched),
        *map(Head, costs.values()),
        Head("state"),
    ]
    lines = []
    for row in sorted(rows, key=score):
        results = row["results"] or {}
        state = row["reason"] or ("ended after a third" if results.get("stopped") else row["status"])
        cells = [_number(results, name), *(_hyperparameter(row["hyperparameters"], key) for key in searched)]
        cells += [_number(results, key, whole=key != "sample_seconds") for key in costs]
        lines.append(Line(row["trial"], (*cells, Cell(state))))
    return Table(tuple(heads), tuple(mark_best(lines, heads)))


def _number(results, key, whole=False):
    return Cell(rounding.number(results[key], whole), results[key]) if key in results else EMPTY


def _hyperparameter(values, key):
    if key not in values:
        return EMPTY
    value = values[key]
    counts = isinstance(value, (int, float)) and not isinstance(value, bool)
    return Cell(f"{value:.3g}" if isinstance(value, float) else str(value), value if counts else None)


def confirmed(search):
    """The table of the winner beside the default and sentences on its ranks; None where they have not been trained again."""
    if not (search.folder / "confirm" / "results.jsonl").exists():
        return None
    folder = Folder(search.folder / "confirm")
    found = rankings(folder.rows(), folder.settings, folder.asked())
    if not found:
        return None
    columns = tables.sample_columns(found[0].distance_name, found[0].scores)
    return found[0].table(columns, controls=True, intervals=True), found[0].explained()
