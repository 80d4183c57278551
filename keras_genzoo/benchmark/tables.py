"""The columns of tables, and what a recipe's runs show in them."""

import dataclasses

import numpy as np

from keras_genzoo.benchmark import rounding, scores
from keras_genzoo.benchmark.cells import EMPTY, NOTHING, Cell, Head
from keras_genzoo.benchmark.results import label


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        keys: names of the numbers in it, of a row or of its scores; several are shown as "a / b".
        title: str. Defaults to what `scores.title` calls the first.
    """

    keys: tuple
    title: str = ""

    @property
    def head(self):
        """The `Head` of the column."""
        found = scores.of(self.keys[0])
        return Head(self.title or scores.title(self.keys[0]), found.meaning, found.better)


def starting(names, *prefixes):
    """Names of scores that start so: those named for features or for a bound, as `KD[...]`, whatever stands in brackets."""
    return sorted(key for key in names if scores.split(key)[0] in prefixes)


def named(names, *prefixes):
    """A column for each score that starts so."""
    return [Column((key,)) for key in starting(names, *prefixes)]


def sample_columns(distance, found):
    """Columns for what these scores (a dict) say of samples."""
    pairs = (("precision", "k_pr"), ("recall", "k_pr"), ("density", "k_dc"), ("coverage", "k_dc"))
    return [
        Column((distance,)),
        Column(("percent",)),
        Column(("seed_deviation",)),
        Column(("fd_bootstrap",)),
        *named(found, "FD_inf", "FID_inf"),
        *named(found, "KD", "KID"),
        *named(found, "IS"),
        *(Column((key,), f"{key}, k {found.get(k, '?')}") for key, k in pairs),
        Column(("modes", "modes_real")),
        Column(("rarest_mode",)),
        Column(("sharpness",)),
        *named(found, "path_length"),
    ]


def memory_columns(found):
    """Columns for what is remembered of the training images."""
    return [*named(found, "nearest_train"), *(Column((key,)) for key in ("train_ratio", "authenticity", "data_copying"))]


def energy_columns(found):
    """Columns for what energies tell, and for the chains that sample from them."""
    return [*named(found, "auroc"), *(Column((key,)) for key in ("chain_steps", "chain_acceptance", "chain_ess"))]


def reconstruction_columns(found):
    """Columns for reconstructions and likelihoods; a bound has a column of its own, named for it."""
    return [
        *(Column((key,)) for key in ("mse", "psnr", "ssim")),
        *named(found, "rFD", "rFID"),
        *named(found, "PD"),
        Column(("reconstruction_sharpness",)),
        *named(found, "bits_per_dim"),
        *(Column((key,)) for key in starting(found, "log_prob") if key.endswith("[ais]")),
        *named(found, "log_prob_error"),
        Column(("active_units", "latent_units")),
    ]


CLASSES = 10  # that have columns of their own, at most


def class_columns(found):
    """Columns for what scores say of classes: means over them, and each of the first ten."""
    by_class = starting(found, "class_FD", "class_FID", "class_KD", "class_KID", "class_bits_per_dim", "class_accuracy")
    each = [f"{key}{scores.OF_CLASS}{label}" for key in by_class for label in sorted(map(int, found[key]))[:CLASSES]]
    means = named(found, "intra_FD", "intra_FID", "intra_KD", "intra_KID", "accuracy")
    return [*means, *(Column((key,)) for key in each)]


COSTS = ("params", "steps", "planned_s", "actual_s", "train_flops", "sample_flops", "train_images_per_s", "train_s", "compile_s")
COSTS += ("fit_prior_s", "latency_s", "sample_images_per_s", "evaluations_per_sample", "peak_memory_mb", "peak_gpu_memory_mb")
COST_COLUMNS = [Column((key,)) for key in COSTS]


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

    def by_seed(self, key):
        """The finite numbers of that name, of rows or of their scores, a list of pairs of a seed and a number."""
        known = ((row["seed"], {**(row.get("plan") or {}), **row, **(row.get("scores") or {})}) for row in self.rows)
        found = [(seed, scores.number(each, key)) for seed, each in known]
        return [(seed, value) for seed, value in found if isinstance(value, (int, float)) and np.isfinite(value)]

    def values(self, key):
        """The same numbers without their seeds; of "seed_deviation" the one deviation over seeds."""
        if key == "seed_deviation":
            distances = self.values(self.distance_name) if self.distance_name else []
            logs = np.log([value for value in distances if value > 0])
            return [float(logs.std(ddof=1))] if len(logs) > 1 and not self.control else []
        return [value for _, value in self.by_seed(key)]

    def interval(self, key):
        """The mean over seeds and its interval, a tuple `(mean, low, high)`; None where no number is known."""
        values = self.values(key)
        return rounding.interval(values, scores.of(key).range) if values else None

    def mean(self, key):
        """The mean over seeds, geometric for positive scores; None where no number is known."""
        values = self.values(key)
        return rounding.centre(values, scores.of(key).range) if values else None

    def runs(self):
        """How many seeds have ended, of how many, where more were asked for."""
        ended = len(self.rows) + len(self.failed)
        return f"{ended} of {self.planned}" if self.planned and self.planned > ended else f"{ended}"

    def failures(self):
        return f"{len(self.failed)} of {len(self.rows) + len(self.failed)}"

    def cell(self, column, intervals):
        """The `Cell` of a column, with the interval over seeds or without."""
        texts = [self._text(key, intervals) for key in column.keys]
        if all(text == NOTHING for text in texts):
            return EMPTY
        key = column.keys[0]
        seeds = [(seed, _shown(value * scores.of(key).scale, scores.of(key).digits)) for seed, value in self.by_seed(key)]
        return Cell(" /\u00a0".join(texts), self.mean(key), tuple(seeds) if len(seeds) > 1 else ())

    def _text(self, key, intervals):
        score = scores.of(key)
        values = [value * score.scale for value in self.values(key)]
        if not values:
            return NOTHING
        mean, low, high = rounding.interval(values, score.range)
        if intervals and low != high and score.digits != "power":
            return rounding.uncertain(mean, low, high)
        return _shown(mean, score.digits)


def _shown(value, digits):
    return f"{value:.2e}" if digits == "power" else rounding.number(value, digits == "whole")
