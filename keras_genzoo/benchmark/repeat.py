"""The command that makes a row again."""

import ast
import shlex

from keras_genzoo.benchmark.results import label
from keras_genzoo.core import runs


def commands(rows, settings, out="runs/again"):
    """One command for each number of steps that a recipe's seeds had: one for all where they keep to a plan.

    Args:
        rows: list of finished rows of one recipe, with the same overrides.
        settings: dict. Settings of the folder.
        out: str. Where the results would go. Defaults to "runs/again".

    Returns:
        list of str, empty for what no command makes.

    Example:

    >>> from keras_genzoo.benchmark import repeat
    >>> row = {"kind": "recipe", "recipe": "vae", "overrides": {"latent_dim": 8}, "seed": 0, "steps": 900, "jit_compile": True}
    >>> (command,) = repeat.commands([row], {"data": "fashion_mnist_mini", "batch_size": 128, "budget": 60.0, "n": None})
    >>> print(command.replace(" --batch", "\\n  --batch"))
    genzoo benchmark run --recipes vae --set vae.latent_dim=8 --data fashion_mnist_mini
      --batch-size 128 --steps 900 --jit --seeds 1 --out runs/again
    """
    rows, found = [row for row in rows if row["kind"] == "recipe" and row.get("steps")], {}
    for row in rows:
        found.setdefault((row["steps"], row.get("jit_compile"), row.get("steps_per_execution")), []).append(row)
    return [_command(group[0], sorted(row["seed"] for row in group), settings, out) for group in found.values()]


def _command(row, seeds, settings, out):
    recipe = runs.renamed(row) or row["recipe"]
    parts = ["genzoo", "benchmark", "run", "--recipes", recipe]
    for key, value in sorted(row["overrides"].items()):
        parts += ["--set", f"{recipe}.{key}={_literal(value)}"]
    size = settings.get("image_size")
    jit = row.get("jit_compile", settings.get("jit"))
    options = {
        "data": settings.get("data"),
        "data-dir": settings.get("data_dir"),
        "image-size": size and "x".join(str(each) for each in size),
        "channels": settings.get("channels"),
        "batch-size": settings.get("batch_size"),
        "n": settings.get("n"),
        "features": settings.get("features"),
        "mixed-precision": settings.get("mixed_precision"),
        "steps": row["steps"],
    }
    for name, value in options.items():
        parts += [] if value is None else [f"--{name}", str(value)]
    parts += ["--no-splits"] if settings.get("splits") is False else []
    parts += ["--split", settings["split"]] if settings.get("split", "test") != "test" else []
    parts += ["--flip"] if settings.get("flip") else []
    parts += [] if jit is None else ["--jit" if jit else "--no-jit"]
    each = row.get("steps_per_execution", settings.get("steps_per_execution"))
    parts += ["--steps-per-execution", str(each)] if each else []
    for name in row.get("imports", ()):
        parts += ["--import", name]
    first, last = seeds[0], seeds[-1]
    parts += ["--seeds", str(last - first + 1)] + (["--first-seed", str(first)] if first else [])
    return shlex.join([*parts, "--out", out])


def _literal(value):
    """Text that the command line reads as this value."""
    if not isinstance(value, str):
        return repr(value)
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return repr(value)


def planned(row):
    """What was planned for a recipe, in words; None for rows of earlier versions.

    Args:
        row: dict, finished. Its `plan` has `steps` and, for a budget of seconds, `seconds_per_step` and `prior_s`.
    """
    plan = row.get("plan")
    if not plan:
        return None
    parts = [f"{plan['steps']:,} steps"]
    if plan.get("seconds_per_step"):
        parts.append(f"of {1000 * plan['seconds_per_step']:.3g} ms")
    if plan.get("prior_s"):
        parts.append(f"and {plan['prior_s']:.3g} s for the fit of the prior")
    return " ".join(parts)


def unfinished(rows, asked):
    """What is missing of a folder's runs, in one sentence; None where nothing is, or nobody knows what was wanted.

    Args:
        rows: list of dicts, finished and failed.
        asked: dict of labels to numbers of seeds.
    """
    ended = {}
    for row in rows:
        ended.setdefault(label(row), set()).add(row["seed"])
    missing = [
        f"{name} {len(ended.get(name, ()))} of {count}" for name, count in asked.items() if len(ended.get(name, ())) < count
    ]
    if not missing:
        return None
    return f"Not finished: seeds there are, of those planned: {', '.join(missing)}. The same command goes on."
