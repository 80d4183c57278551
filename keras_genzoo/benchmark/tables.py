"""From result rows to tables: means over seeds with their intervals, ranked by distance, controls in their place."""

import dataclasses
import math
import re

import numpy as np
import pandas as pd
import scipy.stats

from keras_genzoo.benchmark.results import label

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


def starting(scores, *prefixes):
    """Names of scores that start so: those named for features or for a bound, as `KD[...]`, whatever stands in brackets."""
    return sorted(key for key in scores if re.split(r"\[", key)[0] in prefixes)


def named(scores, *prefixes):
    return [Column(key.replace("path_length", "path length"), (key,)) for key in starting(scores, *prefixes)]


def sample_columns(distance, scores):
    """Columns for what these scores (a dict) say of samples."""
    return [
        Column(distance, (distance,)),
        Column("in % of pixel Gaussian", ("percent",)),
        *named(scores, "FD_inf", "FID_inf"),
        *named(scores, "KD", "KID"),
        *named(scores, "IS"),
        Column(f"precision / recall, k {scores.get('k_pr', '?')}", ("precision", "recall")),
        Column(f"density / coverage, k {scores.get('k_dc', '?')}", ("density", "coverage")),
        Column("classes met, of those of the data", ("modes", "modes_real"), whole=True),
        Column("share of the rarest class", ("rarest_mode",)),
        Column("sharpness, data 1", ("sharpness",)),
        *named(scores, "path_length"),
    ]


def memory_columns(scores):
    """Columns for what is remembered of the training images."""
    return [
        *(Column(key.replace("nearest_train", "nearest train image"), (key,)) for key in starting(scores, "nearest_train")),
        Column("the same over a test image's", ("train_ratio",)),
        Column("authenticity", ("authenticity",)),
        Column("data copying C_T", ("data_copying",)),
    ]


def likelihood_title(key):
    """The name of a likelihood's column. An estimate that errs in a model's favour says so: it is no bound to be ranked with."""
    title = key.replace("bits_per_dim", "bits/dim ").replace("log_prob", "log p, nats ")
    return f"{title}, an estimate that errs {'downwards' if 'bits' in title else 'upwards'}" if key.endswith("[ais]") else title


def energy_columns(scores):
    """Columns for what energies tell, and for the chains that sample from them."""
    return [
        *(Column(key.replace("auroc", "AUROC against "), (key,)) for key in starting(scores, "auroc")),
        Column("steps of a chain", ("chain_steps",), whole=True),
        Column("accepted", ("chain_acceptance",)),
        Column("effective draws of a chain", ("chain_ess",)),
    ]


def reconstruction_columns(scores):
    """Columns for reconstructions and likelihoods; a bound has a column of its own, named for it."""
    return [
        Column("MSE", ("mse",)),
        Column("PSNR, dB", ("psnr",)),
        Column("SSIM", ("ssim",)),
        *named(scores, "rFD", "rFID"),
        *named(scores, "PD"),
        Column("sharpness, data 1", ("reconstruction_sharpness",)),
        *(Column(likelihood_title(key), (key,)) for key in starting(scores, "bits_per_dim")),
        *(Column(likelihood_title(key), (key,)) for key in starting(scores, "log_prob") if key.endswith("[ais]")),
        *(Column("standard error of log Z, nats", (key,)) for key in starting(scores, "log_prob_error")),
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

    def ranks(self):
        """Ranks of the models by label: "2", or "2–3" for a tie, all that the 95 % intervals over seeds leave possible."""
        bounds = {}
        for entry in self.entries:
            values = entry.values(self.distance_name)
            if not entry.control and len(values) > 1:
                mean, half = interval(values)
                bounds[entry.label] = mean - half, mean + half
        ranks = {}
        for label_, (low, high) in bounds.items():
            best = 1 + sum(other_high < low for _, other_high in bounds.values())
            worst = len(bounds) - sum(other_low > high for other_low, _ in bounds.values())
            ranks[label_] = f"{best}" if best == worst else f"{best}–{worst}"
        return ranks

    def table(self, columns, controls, intervals, ranked=True):
        """A data frame of texts, with controls, their ranks and intervals or without; columns, and controls, of which nothing is
        known are left out. None where nothing is left."""
        entries = [entry for entry in self.entries if controls or not entry.control]
        entries = [each for each in entries if not each.control or any(each.cell(c, intervals) != NOTHING for c in columns)]
        ranks = self.ranks() if controls and ranked else {}
        lines = [
            {
                "name": f"{entry.label} (control)" if entry.control else entry.label,
                "family": entry.family,
                **({"rank": ranks.get(entry.label, NOTHING)} if ranks else {}),
                "runs": str(len(entry.rows)),
                **{column.title: entry.cell(column, intervals) for column in columns},
            }
            for entry in entries
        ]
        table = pd.DataFrame(lines)
        titles = [column.title for column in columns]
        empty = [title for title in titles if lines and (table[title] == NOTHING).all()]
        if not lines or len(empty) == len(titles):
            return None
        return table.drop(columns=empty if (table["runs"] != "1").any() else [*empty, "runs"])


def rankings(rows):
    """Group finished rows: one `Ranking` for each way of comparing, the largest first."""
    groups = {}
    for row in rows:
        groups.setdefault(comparable(row), {}).setdefault(label(row), []).append(row)
    found = [Ranking(dict(terms), [Entry(rows) for rows in group.values()]) for terms, group in groups.items()]
    return sorted(found, key=lambda ranking: -len(ranking.entries))
