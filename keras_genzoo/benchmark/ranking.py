"""Which rows may be compared, and how those that may are ranked."""

import dataclasses
import math
import re
import statistics

import numpy as np

from keras_genzoo.benchmark import ranks
from keras_genzoo.benchmark.cells import EMPTY, Cell, Head, Line, Table, mark_best
from keras_genzoo.benchmark.planning import TOLERANCE
from keras_genzoo.benchmark.results import label
from keras_genzoo.benchmark.tables import Entry, starting

GAUSSIAN = "pixel Gaussian"
FAMILY, RUNS = Head("family", "The family of the recipe."), Head("runs", "Seeds that have ended.")
RANK = Head("rank", "All ranks that the seeds leave possible. Models whose ranks overlap may be equal.", "lower")
FAILED = Head("failed", "Seeds that failed.")
READINGS = "-clean|-spatial"
# Of features in rows of earlier versions, which do not tell the number.
DIMENSIONS = {"fashion-cnn": 128, "efficientnet-lite0": 1280, "inception": 2048, "inception-clean": 2048}


def terms(row, settings):
    """What must be equal for the scores of two rows to be compared, a dict. Of images without a digest the name must do."""
    scores, images = row["scores"], (row.get("data") or {}).get("images") or {}
    compared = {key: scores.get(key) for key in ("features", "features_hash", "resize", "n_real", "n_generated")}
    digests = {
        f"{split} images": ((images.get(split) or {}).get("sha256") or "")[:12] or None
        for split in (settings.get("split", "test"), "train")
    }
    name = None if any(digests.values()) else settings.get("data")
    return {**compared, **digests, "data": name, "protocol": row.get("protocol", 0)}


def terms_of_budget(row, settings):
    """What else must be equal for models that trained for a time, a dict; empty for other budgets and for what did not train."""
    seconds = row.get("budget", settings.get("budget"))
    if row["kind"] != "recipe" or not seconds:
        return {}
    machine = row.get("environment") or {}
    code = machine.get("code")
    return {"budget": seconds, "device": machine.get("device"), "processor": machine.get("cpu"), "code": code and code[:12]}


def off_budget(rows, settings):
    """By which factor trainings of a recipe missed their budget, the median over seeds; None where that is within the tolerance
    or there is no budget of seconds.

    All seeds make the same steps, so that what differs between them is how busy the machine was, and no model is another one.
    """
    shares = [share for row in rows if row["kind"] == "recipe" and (share := _share_of_budget(row, settings))]
    median = statistics.median(shares) if shares else 1.0
    return median if abs(median - 1) > TOLERANCE else None


def _share_of_budget(row, settings):
    budget = row.get("budget", settings.get("budget"))
    actual = row.get("actual_s") or row.get("train_s")  # of earlier versions without the fit of a prior
    return actual / budget if budget and actual else None


@dataclasses.dataclass
class Ranking:
    """Entries whose scores compare, nearest to the data first; what cannot sample comes last.

    Attributes:
        terms: dict of what they were compared by.
        entries: list of `Entry`.
        settings: dict of the folder's settings.
        why: str or None. Why these rows are no part of the first table.
        distance_name: str, as "FD[fashion-cnn]".
        scores: dict. Every score that a row has, with the number of one of them.
        split: str. The split whose images are compared with.
        by: str. The score that ranks: the distance, or the kernel distance where there are fewer images than features.
        apart: dict of labels to a reason and its details: models that have no rank of their own.
        notes: list of sentences: why rows, or all, have no rank.
    """

    terms: dict
    entries: list
    settings: dict = dataclasses.field(default_factory=dict)
    why: str | None = None

    def __post_init__(self):
        self.distance_name = next((each.distance_name for each in self.entries if each.distance_name), "FD")
        self.scores = {key: value for entry in self.entries for row in entry.rows for key, value in row["scores"].items()}
        self.split = self.settings.get("split", "test")
        self.by, self.notes = self._score()
        worst = lambda entry: math.inf if entry.mean(self.by) is None else entry.mean(self.by)  # noqa: E731
        self.entries.sort(key=worst)
        ceiling = [entry.mean(self.distance_name) for entry in self.entries if entry.label == GAUSSIAN]
        for entry in self.entries if ceiling and ceiling[0] else ():
            for row in entry.rows:
                if row["scores"].get(self.distance_name) is not None:
                    row["percent"] = 100 * row["scores"][self.distance_name] / ceiling[0]
        self._ranks = self._rank()

    def _score(self):
        """The score that ranks, and a note where that is not the distance."""
        dimension = self.scores.get("features_dim") or DIMENSIONS.get(self.terms.get("features"))
        n = min((self.terms.get(key) or math.inf for key in ("n_real", "n_generated")), default=math.inf)
        kernel = starting(self.scores, "KD", "KID", "KD_normalised")
        if not dimension or n >= dimension or not kernel:
            return self.distance_name, []
        note = (
            f"Ordered and ranked by {kernel[0]}: {n} images are fewer than the {dimension} features, so {self.distance_name} is "
            f"biased upwards and is shown without ranks."
        )
        return kernel[0], [note]

    def why_unranked(self, entry):
        """Why a model's entry has no rank of its own: a reason and its details, texts; None where it may have one."""
        off = off_budget(entry.rows, self.settings)
        features = self.terms.get("features")
        if entry.kind == "external" and self.settings.get("budget"):
            return "samples from elsewhere had no budget of ours", ""
        if entry.failed:
            return "the mean over surviving seeds is not the recipe's", f"{entry.failures()} seeds failed"
        if off:
            return f"training missed its budget of seconds by more than {100 * TOLERANCE:.0f} %", f"{off:.2f} of it"
        given = [str(value) for row in entry.rows for value in (row.get("hyperparameters") or {}).values()]
        if features and any(_of_network(features).search(text) for text in given):
            return f"a model that was trained on the features {features} has an advantage in them", ""
        if 0 < len(entry.values(self.by)) < len(entry.rows):
            return f"{self.by} of some seeds is not finite", ""
        return None

    def _rank(self):
        """Ranks by label, see `ranks`; what is missing for them goes to the notes."""
        models = [entry for entry in self.entries if not entry.control and (entry.values(self.by) or entry.failed)]
        self.apart = apart = {entry.label: why for entry in models if (why := self.why_unranked(entry))}
        for reason in dict.fromkeys(reason for reason, _ in apart.values()):
            names = [f"{name} ({more})" if more else name for name, (why, more) in apart.items() if why == reason]
            self.notes.append(f"Not ranked, because {reason}: {', '.join(names)}.")
        models = [entry for entry in models if entry.label not in apart]
        marked = [
            f"{entry.label} seed {row['seed']} ({share:.2f} of it)"
            for entry in models
            for row in entry.rows
            if (share := off_budget([row], self.settings))
        ]
        if marked:
            more = f"Off the budget of seconds by more than {100 * TOLERANCE:.0f} %, at the planned steps"
            self.notes.append(f"{more}: {', '.join(marked)}.")
        counts = {entry.label: len(entry.values(self.by)) for entry in models}
        reason = ranks.why_none(counts)
        self.power = None
        if reason or not models:
            self.notes += [reason] if reason else []
            return {}
        values = np.array([entry.values(self.by) for entry in models], float)
        if self.by == self.distance_name:
            values = np.log(np.maximum(values, 1e-12))
        self.values = values
        found = ranks.possible_ranks(values)
        return {entry.label: pair for entry, pair in zip(models, found, strict=True)}

    def ranks(self):
        """Ranks of the models by label: "2", or "2–3" for all that the seeds leave possible."""
        return {name: f"{best}" if best == worst else f"{best}–{worst}" for name, (best, worst) in self._ranks.items()}

    def rank_of(self, entry):
        """The best and the worst possible rank of an entry, a pair of ints; None where it has no rank."""
        return self._ranks.get(entry.label)

    def best(self):
        """Labels of the models that may be the best."""
        return [name for name, (best, _) in self._ranks.items() if best == 1]

    def explained(self):
        """What the ranks of this table mean, sentences; the error and the power are simulated here."""
        if not self._ranks:
            return self.notes
        if self.power is None:
            self.power = ranks.power(self.values)
        models, seeds = self.values.shape
        five, three, error = (100 * each for each in (self.power.found[5], self.power.found[3], self.power.error))
        return [
            f"Ranks are all that {seeds} seeds leave possible, with 95 % for all {models} rows together. With these rows' "
            f"deviations and {seeds} seeds, a difference of five standard deviations is found in {five:.0f} % of cases and one "
            f"of three in {three:.0f} %; {error:.1f} % of tables of equal models show a false order "
            f"({self.power.tables} simulated tables).",
            *self.notes,
        ]

    def table(self, columns, controls, intervals, ranked=True, failures=True):
        """A `cells.Table` with controls, their ranks, failures and intervals or without; columns, and lines, of which nothing is
        known are left out, except for models in tables of samples. None where nothing is left."""
        found = self.ranks() if controls and ranked else {}
        heads = [FAMILY, *([RANK] if found else []), RUNS, *([FAILED] if controls and ranked and failures else [])]
        about, lines = len(heads), []
        heads += [column.head for column in columns]
        for entry in self.entries:
            shown = [entry.cell(column, intervals) for column in columns]
            unknown = all(cell is EMPTY for cell in shown)
            if (entry.control and not controls) or (unknown and (entry.control or not (controls and ranked))):
                continue
            texts = {FAMILY: Cell(entry.family), RANK: self._rank_cell(entry), RUNS: Cell(entry.runs(), len(entry.rows))}
            texts[FAILED] = EMPTY if entry.control else Cell(entry.failures(), len(entry.failed))
            cells = [*(texts[head] for head in heads[:about]), *shown]
            reason, more = self.apart.get(entry.label, ("", ""))
            lines.append(Line(entry.name, tuple(cells), entry.label, entry.kind, f"{reason} ({more})" if more else reason))
        table = Table(tuple(heads), tuple(mark_best(lines, heads)))
        empty = table.empty()
        if not {head.title for head in heads[about:]} - set(empty):
            return None
        empty += [RUNS.title] * all(line.cells[heads.index(RUNS)].text == "1" for line in lines)
        empty += [FAILED.title] * (not any(entry.failed for entry in self.entries))
        return table.without(empty)

    def _rank_cell(self, entry):
        pair = self.rank_of(entry)
        return Cell(self.ranks()[entry.label], sum(pair) / 2, best=pair[0] == 1) if pair else EMPTY


def rankings(rows, settings=None, planned=None):
    """Group rows: one `Ranking` for each way of comparing, the largest first.

    Controls stand in every table whose images and features are theirs, and so do rows of samples from elsewhere.

    Args:
        rows: list of dicts, finished and failed ones.
        settings: dict. Settings of the folder, for what rows of earlier versions do not tell. Defaults to none.
        planned: dict of labels to how many seeds were asked for. Defaults to none.

    Returns:
        list of `Ranking`, empty where nothing has finished.
    """
    settings, planned, groups = settings or {}, planned or {}, {}
    finished = [row for row in rows if row["status"] == "ok" and row.get("scores")]
    models = [row for row in finished if row["kind"] == "recipe"]
    for row in models:
        key = tuple(terms(row, settings).items()), tuple(terms_of_budget(row, settings).items())
        groups.setdefault(key, []).append(row)
    for row in finished:
        if row["kind"] == "recipe":
            continue
        own = terms(row, settings)
        free = ("train images", "protocol") if row["kind"] == "external" else ()
        fits = [key for key in groups if all(own[name] == value for name, value in key[0] if name not in free)]
        for key in fits or [(tuple(own.items()), ())]:
            groups.setdefault(key, []).append(row)
    ordered = sorted(groups.items(), key=lambda group: -len({label(row) for row in group[1]}))
    failed, found = [row for row in rows if row["status"] != "ok"], []
    shown = {label(row) for row in finished}
    for index, ((base, budget), members) in enumerate(ordered):
        by_label = {}
        for row in members:
            by_label.setdefault(label(row), []).append(row)
        broken = {}
        for row in failed:
            if label(row) in by_label or (index == 0 and label(row) not in shown):
                broken.setdefault(label(row), []).append(row)
        entries = [
            Entry(by_label.get(name, []), broken.get(name, []), planned.get(name)) for name in dict.fromkeys([*by_label, *broken])
        ]
        here = {**dict(base), **dict(budget)}
        why = _why_apart(found[0].terms, here) if found else None
        found.append(Ranking(here, entries, settings, why))
    return found


def _why_apart(first, other):
    """Why rows stand in another table than the first, in one sentence."""
    parts = [
        f"{name.replace('_', ' ')} {_known(other.get(name))} instead of {_known(first.get(name))}"
        for name in {**first, **other}
        if first.get(name) != other.get(name)
    ]
    return f"A table of its own, because these rows do not compare with the first table's: {', '.join(parts)}."


def _known(value):
    return "unknown" if value is None else value


def _of_network(features):
    """What finds the name of the network of some features, read in whatever way, in the text of a hyperparameter."""
    network = re.sub(rf"(?:{READINGS})$", "", features)
    return re.compile(rf"(?<![\w-]){re.escape(network)}(?:{READINGS})?(?![\w-])")
