"""What is measured of a row: functions of the settings and of what the row needs, to a dict of columns."""

import dataclasses
import json
import operator
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.speed.turns import ROOT, in_turns, interval, ratio


@dataclasses.dataclass(frozen=True)
class Settings:
    """How all rows are measured.

    Attributes:
        rounds, threads: ints.
        steps: int or None. Steps, or images, of a round; None is each row's own number.
        python: str or None. The peers' Python.
        folder: Path, of what the processes hand to each other.
    """

    rounds: int
    threads: int
    steps: int | None
    python: str | None
    folder: Path


AS_FAST = "times as fast as "


def _ratios(times):
    return {AS_FAST + title: ratio(times["ours"], each) for title, each in times.items() if title != "ours"}


def training(settings, recipe, peer, networks, steps, batch_size=128, overrides=None, told=(), more=None, third=None, **others):
    """Images a second of `fit`, how many times that is the peers', and the step's share of what a matrix product reaches.

    Args:
        settings: `Settings`.
        recipe: str.
        peer: str. The peer's work; it runs eager and compiled, or once where `compiles` is False.
        networks: dict of the peer's names to the model's attributes, whose networks the peer builds with the very weights.
        steps, batch_size: ints, of a round.
        overrides: dict of hyperparameters.
        told: names of the model's attributes that the peer is told.
        more: dict. What else the peer is told.
        third: str or None. Another peer's work.
        **others: `compiles`; `tolerance`, the share by which numbers of parameters may differ; what both sides are told.
    """
    compiles, folder = others.pop("compiles", True), settings.folder
    ours = {"work": "training", "recipe": recipe, "overrides": overrides or {}, "networks": networks, "told": told, **others}
    ours |= {"steps": settings.steps or steps, "batch_size": batch_size, "threads": settings.threads}
    ours |= {"arrays": str(folder / "training.npz")}
    peer = {"work": peer, **(more or {})}
    peers = {"PyTorch eager": peer | {"compile": False}, "compiled": peer | {"compile": True}}
    if not compiles:
        peers = {"scikit-learn": peer}
    if third:
        peers[third.partition("_")[0].rpartition(".")[2]] = {**peer, "work": third, "compile": False}
    times, peaks, told = in_turns(ours, peers, settings.rounds, settings.python)
    told = told["ours"]
    seconds = statistics.median(times["ours"]) / told["steps"]
    return {
        "images/s": round(batch_size / seconds, 1),
        **_ratios(times),
        "parameters": told["parameters"],
        "GFLOP a step": told["gflop"],
        "share of a matrix product's speed": round(told["gflop"] / seconds / told["matmul"], 3),
        **{f"peak MB of {title}": round(peak) for title, peak in peaks.items()},
    }


def loop(settings, recipe):
    """`fit` beside a bare loop over the same step and beside `fit` of one batch that is held, each for a second a round."""
    ours = {"work": "loop", "recipe": recipe, "batch_size": 64, "bare": False, "held": False, "threads": settings.threads}
    steps = settings.steps
    if steps is None:
        probe, _, told = in_turns({**ours, "steps": 10}, {}, 1, None)
        steps = max(10, int(told["ours"]["steps"] / probe["ours"][0]) // 10 * 10)
    ours["steps"] = steps
    others = {"bare": {"bare": True, "ours": True}, "held": {"held": True, "ours": True}}
    times, _, told = in_turns(ours, others, settings.rounds, None)
    low, high = interval(times["ours"], times["bare"])
    steps = told["ours"]["steps"]
    more, data = (statistics.median(map(operator.sub, times["ours"], times[side])) / steps for side in others)
    return {
        "speed of fit over a bare loop": ratio(times["ours"], times["bare"]),
        "95 % interval of the mean": [low, high],
        "ms a step": round(1000 * statistics.median(times["ours"]) / steps, 2),
        "ms a step more": round(1000 * more, 3),
        "ms of a step for the data": round(1000 * data, 3),
        "ms to begin": round(1000 * told["ours"]["begin"]),
        "steps a round": steps,
    }


def precision(settings, recipe, steps, timed, seeds=3):
    """bfloat16 beside float32: how many times as fast, and the loss of validation images after as many steps from each seed."""
    ours = {"work": "fit", "recipe": recipe, "threads": settings.threads, "timed": settings.steps or timed}
    ours |= {"steps": settings.steps or steps, "ours": True}
    losses, names, speed = {}, ("mixed_bfloat16", "float32"), None
    for seed in range(seeds):
        sides = {name: {**ours, "dtype": name, "seed": seed} for name in names}
        times, _, told = in_turns(sides[names[0]], {names[1]: sides[names[1]]}, settings.rounds if seed == 0 else 0, None)
        speed = speed or ratio(times["ours"], times[names[1]])
        for name, key in zip(names, ("ours", names[1]), strict=True):
            losses.setdefault(name, []).append(round(told[key]["loss"], 6))
    return {"times as fast": speed} | {f"losses in {name}": f"{', '.join(f'{x:g}' for x in losses[name])}" for name in names}


def sampling(settings, recipe, images, overrides=None, how=None, peer=None, fitted=True, **more):
    """Images a second of `sample`, the latency of one image, and how many times as fast it is as a peer; where the evaluations of
    the network are told, the operations of all images, and their share of what a matrix product reaches."""
    ours = {"work": "sampling", "recipe": recipe, "overrides": overrides or {}, "how": how or {}, "fitted": fitted}
    ours |= {"threads": settings.threads, "images": settings.steps or images, "evaluations": more.get("evaluations")}
    ours |= {"width": (overrides or {}).get("width")}
    peers = {peer: {"work": f"libraries.{peer}_sampling", **more}} if peer else {}
    times, peaks, told = in_turns(ours, peers, settings.rounds, settings.python)
    seconds, told = statistics.median(times["ours"]), told["ours"]
    found = {"images/s": round(ours["images"] / seconds, 1), **_ratios(times)}
    if "gflop" in told:
        found |= {"GFLOP": told["gflop"], "share of a matrix product's speed": round(told["gflop"] / seconds / told["matmul"], 3)}
        found["that share of a 3x3 convolution alone"] = round(told["convolution"] / told["matmul"], 3)
    if not peer:
        one, _, _ = in_turns(ours | {"images": 1}, {}, settings.rounds, None)
        found["ms of one image"] = round(1000 * statistics.median(one["ours"]), 1)
    return found | {f"peak MB of {title}": round(peak) for title, peak in peaks.items()}


def score(settings, work, peer=None, **told):
    """Seconds and peaks of memory of what is computed of features or images."""
    if settings.steps:  # to see that the row runs
        told |= {"n": min(told["n"], settings.steps)} | ({"dim": 64} if "dim" in told else {})
    ours = {"work": work, **told, "threads": settings.threads, "arrays": str(settings.folder / "scored.npz")}
    peers = {"the peer": {"work": f"scored.{peer}"}} if peer else {}
    times, peaks, _ = in_turns(ours, peers, settings.rounds, settings.python)
    return {
        "s": round(statistics.median(times["ours"]), 2),
        **_ratios(times),
        **{f"peak MB of {title}": round(peak) for title, peak in peaks.items()},
    }


def start(settings, recipe):
    """Seconds to the end of the first step, in a process of its own; where XLA compiles the step, once more with the programs
    that XLA kept of the first time."""
    kept = settings.folder / f"xla-{recipe.replace('/', '-')}"
    flags = f"--tf_xla_persistent_cache_directory={kept} --tf_xla_persistent_cache_read_only=false"
    first = _first(recipe)
    found = {
        "import beyond Keras, s": round(first["import"], 2),
        "build, s": round(first["build"], 1),
        "first step, s": round(first["first"], 1),
        "of these tracing and compiling, s": round(max(first["first"] - first["second"], 0), 1),
    }
    if first["compiled"]:
        _first(recipe, TF_XLA_FLAGS=flags)
        found["first step with XLA's stored programs, s"] = round(_first(recipe, TF_XLA_FLAGS=flags)["first"], 1)
    return found


def _first(recipe, **variables):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-m", "benchmarks.speed.first", recipe]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the first step of {recipe} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
