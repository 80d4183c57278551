"""What got better or worse between two folders of results, beyond the noise of their seeds."""

import collections
import dataclasses
from pathlib import Path

import numpy as np

from keras_genzoo.benchmark import pages, ranks, rounding, scores
from keras_genzoo.benchmark.cells import NOTHING, Cell, Head, Line, Table
from keras_genzoo.benchmark.ranking import rankings
from keras_genzoo.benchmark.results import FolderError

BETTER, WORSE, SAME = "better", "worse", "no difference beyond the noise"
DIFFERENT = "different"  # of a score of which neither way is better
MAY_DIFFER = {"code"}  # its effect is what is asked for


@dataclasses.dataclass
class Comparison:
    """What `compare` found.

    Attributes:
        score: str. What was compared.
        lines: list of dicts `label, before, after, verdict, p, seeds`; before and after are texts, p is adjusted, None without a
            test, and seeds holds the numbers before and after, two lists.
        skipped: list of sentences, why other rows were not compared.
    """

    score: str
    lines: list
    skipped: list

    @property
    def worse(self):
        """Labels of what got worse, list of str."""
        return [line["label"] for line in self.lines if line["verdict"].startswith(WORSE)]

    @property
    def table(self):
        """The lines as a `cells.Table`."""
        better = scores.of(self.score).better
        heads = (
            Head("before", "", better),
            Head("after", "", better),
            Head("verdict"),
            Head("p", "Adjusted for the rows.", "lower"),
        )
        return Table(heads, tuple(self._line(each) for each in self.lines))

    def _line(self, line):
        sides = [tuple(enumerate(map(rounding.number, side), 1)) for side in line["seeds"]]
        means = [float(np.mean(side)) if side else None for side in line["seeds"]]
        found = [Cell(line[key], mean, side) for key, mean, side in zip(("before", "after"), means, sides, strict=True)]
        p = Cell(NOTHING) if line["p"] is None else Cell(rounding.number(line["p"]), line["p"])
        return Line(line["label"], (*found, Cell(line["verdict"]), p), line["label"])


def compare(first, second, score=None):
    """Compare the rows of the same name in two folders, by the test that ranks (`ranks.p_values`) and Holm's step-down.

    The family error is 5 %: if nothing has changed, any row is called better or worse with at most that probability. A row of
    which more seeds failed than before is worse.

    Args:
        first, second: `Folder`. Before and after.
        score: str or None. Name of a score of the rows, as "mse"; None is the distance, or where there are fewer images than
            features the kernel distance.

    Returns:
        `Comparison`.

    Raises:
        FolderError: nothing in them can be compared, with the reason.
    """
    sides = [_entries(folder) for folder in (first, second)]
    names = [name for name in sides[0] if name in sides[1]]
    if not names:
        raise FolderError(f"{first.path} and {second.path} have no finished row of the same name, so nothing can be compared.")
    pairs, lines, skipped = {}, [], []
    for name in [*sides[0], *sides[1]]:
        if (name in sides[0]) != (name in sides[1]):
            skipped.append(f"{name} is in {(first if name in sides[0] else second).path} alone.")
    for name in names:
        (ranking, before), (other, after) = sides[0][name], sides[1][name]
        key = score or ranking.by
        reason = _why_not(ranking, before, other, after, key)
        broken = len(after.failed) > len(before.failed)
        if broken:
            lines.append({"label": name, "verdict": f"{WORSE}: {after.failures()} seeds failed", "p": None, "seeds": ([], [])})
            lines[-1] |= {"before": f"{before.failures()} failed", "after": f"{after.failures()} failed"}
        elif reason:
            skipped.append(f"{name} is not compared: {reason}.")
        else:
            pairs[name] = key, before.values(key), after.values(key)
    # The test is of equal numbers of seeds in all rows: that which most rows have.
    usual = collections.Counter(len(values) for _, values, _ in pairs.values()).most_common(1)
    for name in [name for name, (_, values, _) in pairs.items() if len(values) != usual[0][0]]:
        skipped.append(f"{name} is not compared: it has {len(pairs.pop(name)[1])} seeds and other rows have {usual[0][0]}.")
    if not pairs and not lines:
        raise FolderError(f"Nothing can be compared: {' '.join(skipped)}")
    return Comparison(score or sides[0][names[0]][0].by, lines + _tested(pairs), skipped)


def write_page(found, before, after, path):
    """Write a page of a comparison, which needs no other file and no network.

    Args:
        found: `Comparison`.
        before, after: `Folder`. What was compared.
        path: str or Path. The file to write.

    Raises:
        FolderError: it cannot be written.
    """
    named = {"before": str(before.path), "after": str(after.path)}
    page = {"score": found.score, "table": found.table, "worse": found.worse, "skipped": found.skipped, "plots": {}}
    pages.write(Path(path), pages.render("compare.html.j2", **named, **page))


def _entries(folder):
    """Models by name, with the table each stands in; of a name in several tables the first."""
    found = {}
    for ranking in rankings(folder.rows(), folder.settings, folder.asked()):
        for entry in ranking.entries:
            if entry.kind == "recipe":
                found.setdefault(entry.label, (ranking, entry))
    return found


def _why_not(ranking, before, other, after, key):
    """Why two rows cannot be compared, in words; None where they can."""
    names = [name for name in {**ranking.terms, **other.terms} if name not in MAY_DIFFER]
    differing = [name for name in names if ranking.terms.get(name) != other.terms.get(name)]
    if differing:
        return ", ".join(f"{name.replace('_', ' ')} {ranking.terms.get(name)} and {other.terms.get(name)}" for name in differing)
    for table, entry in ((ranking, before), (other, after)):
        if reason := table.why_unranked(entry):
            return reason[0] + f" ({reason[1]})" * bool(reason[1])
    counts = len(before.values(key)), len(after.values(key))
    if min(counts) < ranks.LEAST_SEEDS:
        return f"{counts[0]} and {counts[1]} seeds with {key}, and {ranks.LEAST_SEEDS} are needed"
    if counts[0] != counts[1]:
        return f"{counts[0]} and {counts[1]} seeds"
    return None


def _tested(pairs):
    """A line for each name, with a verdict."""
    if not pairs:
        return []
    values, kinds = [], [scores.of(key).range for key, _, _ in pairs.values()]
    for kind, (_, *sides) in zip(kinds, pairs.values(), strict=True):
        logs = kind == scores.POSITIVE and min(map(min, sides)) > 0
        values.append([np.log(side) if logs else np.array(side) for side in sides])
    values = np.array(values)  # (names, 2, seeds)
    models, seeds = 2 * len(values), values.shape[-1]
    first, second = np.triu_indices(models, 1)
    own = (first % 2 == 0) & (second == first + 1)
    p = ranks.p_values(values.reshape(models, seeds))[own]
    adjusted = ranks.holm(p) * ranks.ALPHA / ranks.level(models, seeds)
    lines = []
    for index, (name, (key, before, after)) in enumerate(pairs.items()):
        verdict = SAME if adjusted[index] > ranks.ALPHA else _verdict(key, values[index, 1].mean() < values[index, 0].mean())
        texts = [rounding.uncertain(*rounding.interval(side, kinds[index])) for side in (before, after)]
        line = {"label": name, "before": texts[0], "after": texts[1], "verdict": verdict, "p": min(1.0, adjusted[index])}
        lines.append(line | {"seeds": (before, after)})
    return lines


def _verdict(key, falls):
    """What a difference beyond the noise means for a score."""
    better = scores.of(key).better
    return DIFFERENT if better is None else BETTER if falls == (better == scores.LOWER) else WORSE
