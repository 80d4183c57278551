"""The columns of tables, and what a recipe's runs show in them."""

import dataclasses
import re

import numpy as np

from keras_genzoo.benchmark import rounding
from keras_genzoo.benchmark.results import label

NOTHING = "–"


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: str.
        keys: names of the numbers in it, of a row or of its scores; several are shown as "a / b".
        scale: float. What the numbers are multiplied by. Defaults to 1.
        whole: bool. Whether the numbers are counts, shown in full. Defaults to False.
        power: bool. Whether the numbers are so large that they are shown by powers of ten. Defaults to False.
    """

    title: str
    keys: tuple
    scale: float = 1.0
    whole: bool = False
    power: bool = False


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
        Column("deviation over seeds, %", ("seed_deviation",), scale=100),
        Column("deviation over images, %", ("fd_bootstrap",), scale=100),
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
    """The name of a likelihood's column: what it is, and which way it errs. One that errs in a model's favour is no bound to be
    ranked with."""
    title, bits = key.replace("bits_per_dim", "bits/dim ").replace("log_prob", "log p, nats ").strip(), "bits" in key
    if key.endswith("[ais]"):
        return f"{title}, an estimate that errs {'downwards' if bits else 'upwards'}"
    if key.endswith("[ode]"):
        return f"{title}, an estimate without bias"
    return f"{title}, {'an upper' if bits else 'a lower'} bound" if key.endswith("]") else f"{title}, exact"


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
    Column("planned s", ("planned_s",)),
    Column("actual s", ("actual_s",)),
    Column("training FLOPs", ("train_flops",), power=True),
    Column("FLOPs a sample", ("sample_flops",), power=True),
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


class Entry:
    """All runs of one recipe or control that may be compared: a line of the table.

    Args:
        rows: list of finished rows.
        failed: list of rows of the same runs that failed.
        planned: int or None. How many seeds were asked for.

    Attributes:
        label, name, family, kind: strs; the name is the label, with what it is where it is no recipe.
        control: bool.
        distance_name: str or None, as "FD[fashion-cnn]".
    """

    def __init__(self, rows, failed=(), planned=None):
        self.rows, self.failed, self.planned = rows, list(failed), planned
        first = (self.rows or self.failed)[0]
        self.label, self.family, self.kind = label(first), first["family"], first["kind"]
        self.control = self.kind == "control"
        self.name = self.label if self.kind == "recipe" else f"{self.label} ({self.kind})"
        self.distance_name = first.get("distance_name") if self.rows else None

    def values(self, key):
        """The finite numbers of that name, of rows or of their scores, a list of at most one a seed."""
        if key == "seed_deviation":
            logs = np.log([value for value in self.values(self.distance_name) if value > 0])
            return [float(logs.std(ddof=1))] if len(logs) > 1 and not self.control else []
        found = [{**(row.get("plan") or {}), **row, **(row.get("scores") or {})}.get(key) for row in self.rows]
        return [value for value in found if isinstance(value, (int, float)) and np.isfinite(value)]

    def mean(self, key):
        values = self.values(key)
        return rounding.centre(values, rounding.possible(key)) if values else None

    def runs(self):
        """How many seeds have ended, of how many, where more were asked for."""
        ended = len(self.rows) + len(self.failed)
        return f"{ended} of {self.planned}" if self.planned and self.planned > ended else f"{ended}"

    def failures(self):
        return f"{len(self.failed)} of {len(self.rows) + len(self.failed)}"

    def cell(self, column, intervals):
        """The text of a column, with the interval over seeds or without."""
        texts = [self._text(key, column, intervals) for key in column.keys]
        return " /\u00a0".join(texts) if any(text != NOTHING for text in texts) else NOTHING

    def _text(self, key, column, intervals):
        values = [value * column.scale for value in self.values(key)]
        if not values:
            return NOTHING
        kind = rounding.COUNT if column.whole else rounding.possible(key)
        mean, low, high = rounding.interval(values, kind)
        if column.power:
            return f"{mean:.2e}"
        return rounding.uncertain(mean, low, high) if intervals and low != high else rounding.number(mean, column.whole)
