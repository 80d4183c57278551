"""From result rows to tables: means over seeds with their intervals, ranked by distance, controls in their place."""

import dataclasses
import math

import numpy as np
import pandas as pd
import scipy.stats

from benchmarks.results import label

GAUSSIAN = "pixel Gaussian"
NOTHING = "–"


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: str.
        keys: names of the numbers in it, of a row or of its scores; several are shown as "a / b".
        scale: float. What the numbers are multiplied by. Defaults to 1.
        whole: bool. Whether the numbers are counts, shown in full. Defaults to False.
    """

    title: str
    keys: tuple
    scale: float = 1.0
    whole: bool = False


def quality_columns(distance, scores):
    """Columns for these scores (a dict); a bound on the likelihood has a column of its own, named for it."""
    likelihoods = sorted(key for key in scores if key.startswith("bits_per_dim"))
    return [
        Column(distance, (distance,)),
        Column("in % of pixel Gaussian", ("percent",)),
        Column(distance.replace("FD", "KD", 1), (distance.replace("FD", "KD", 1),)),
        Column(f"precision / recall, k {scores.get('k_pr', '?')}", ("precision", "recall")),
        Column(f"density / coverage, k {scores.get('k_dc', '?')}", ("density", "coverage")),
        Column("nearest train image", (distance.replace("FD", "nearest_train", 1),)),
        Column("MSE", ("mse",)),
        Column("PSNR, dB", ("psnr",)),
        Column("SSIM", ("ssim",)),
        *(Column(key.replace("bits_per_dim", "bits/dim "), (key,)) for key in likelihoods),
        Column("active units, of all", ("active_units", "latent_units"), whole=True),
    ]


COST_COLUMNS = [
    Column("parameters", ("params",), whole=True),
    Column("steps", ("steps",), whole=True),
    Column("train images/s", ("train_images_per_s",)),
    Column("train s", ("train_s",)),
    Column("compile s", ("compile_s",)),
    Column("fit prior s", ("fit_prior_s",)),
    Column("ms for one image", ("latency_s",), scale=1000),
    Column("images/s of 256", ("sample_images_per_s",)),
    Column("network calls an image", ("evaluations_per_sample",), whole=True),
    Column("peak memory, MB", ("peak_memory_mb",), whole=True),
    Column("peak GPU memory, MB", ("peak_gpu_memory_mb",), whole=True),
]


def interval(values):
    """Mean and half the width of its 95 % t interval; None for the width of a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None
    return mean, float(scipy.stats.t.ppf(0.975, len(values) - 1) * scipy.stats.sem(values))


def number(value, whole=False):
    """Three significant digits, and thousands apart; counts in full."""
    if whole or value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".") if abs(value) >= 1e-4 else f"{value:.1e}"


@dataclasses.dataclass
class Entry:
    """All finished runs of one recipe or control that may be compared: a line of the table."""

    rows: list

    def __post_init__(self):
        first = self.rows[0]
        self.label, self.family, self.control = label(first), first["family"], first["kind"] == "control"
        self.distance_name = first["distance_name"]

    def values(self, key):
        found = [{**row, **row["scores"]}.get(key) for row in self.rows]
        return [value for value in found if isinstance(value, (int, float))]

    def mean(self, key):
        values = self.values(key)
        return float(np.mean(values)) if values else None

    def cell(self, column, intervals):
        texts = [self._text(key, column, intervals) for key in column.keys]
        return " /\u00a0".join(texts) if any(text != NOTHING for text in texts) else NOTHING

    def _text(self, key, column, intervals):
        values = [value * column.scale for value in self.values(key)]
        if not values:
            return NOTHING
        mean, half = interval(values)
        text = number(mean, column.whole)
        return f"{text} ±\u00a0{number(half, column.whole)}" if intervals and half else text


def comparable(row):
    """What must be equal for two distances to be compared."""
    scores = row["scores"]
    return tuple((key, scores.get(key)) for key in ("features", "features_hash", "resize", "n_real", "n_generated"))


@dataclasses.dataclass
class Ranking:
    """Entries whose scores compare, nearest to the data first; what cannot sample comes last.

    Attributes:
        terms: dict of what they were compared by.
        entries: list of `Entry`.
        distance_name: str, as "FD[fashion-cnn]".
    """

    terms: dict
    entries: list

    def __post_init__(self):
        self.distance_name = next((e.distance_name for e in self.entries if e.distance_name), "FD")
        worst = lambda entry: math.inf if entry.mean(self.distance_name) is None else entry.mean(self.distance_name)  # noqa: E731
        self.entries.sort(key=worst)
        ceiling = [entry.mean(self.distance_name) for entry in self.entries if entry.label == GAUSSIAN]
        for entry in self.entries if ceiling else ():
            for row in entry.rows:
                if row["scores"].get(self.distance_name) is not None:
                    row["percent"] = 100 * row["scores"][self.distance_name] / ceiling[0]

    def table(self, columns, controls, intervals):
        """A data frame of texts, with controls and intervals or without; columns in which nothing stands are left out."""
        entries = [entry for entry in self.entries if controls or not entry.control]
        lines = [
            {
                "name": f"{entry.label} (control)" if entry.control else entry.label,
                "family": entry.family,
                "runs": str(len(entry.rows)),
                **{column.title: entry.cell(column, intervals) for column in columns},
            }
            for entry in entries
        ]
        table = pd.DataFrame(lines)
        empty = [column.title for column in columns if lines and (table[column.title] == NOTHING).all()]
        return table.drop(columns=empty if (table["runs"] != "1").any() else [*empty, "runs"])


def rankings(rows):
    """Group finished rows: one `Ranking` for each way of comparing, the largest first."""
    groups = {}
    for row in rows:
        groups.setdefault(comparable(row), {}).setdefault(label(row), []).append(row)
    found = [Ranking(dict(terms), [Entry(rows) for rows in group.values()]) for terms, group in groups.items()]
    return sorted(found, key=lambda ranking: -len(ranking.entries))
