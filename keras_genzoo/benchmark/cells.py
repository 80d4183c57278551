"""A table as data, and its renderings: texts of a data frame, Markdown. The page and LaTeX read it as it is."""

import dataclasses
import re

NOTHING = "–"
ARROWS = {"lower": "↓", "higher": "↑", None: ""}


@dataclasses.dataclass(frozen=True)
class Head:
    """The head of a column.

    Attributes:
        title: str.
        meaning: str. What the column says, a sentence, or "".
        better: "lower", "higher" or None, which way is better.
    """

    title: str
    meaning: str = ""
    better: str | None = None

    @property
    def arrow(self):
        """An arrow in the direction that is better, or ""."""
        return ARROWS[self.better]


@dataclasses.dataclass(frozen=True)
class Cell:
    """What stands in a column of a line.

    Attributes:
        text: str.
        value: float or None. What sorts; None sorts last, and texts without a value by themselves.
        seeds: tuple of pairs of a seed and a text, the values over which the text is a mean.
        best: bool. Whether it is the best of its column.
    """

    text: str
    value: float | None = None
    seeds: tuple = ()
    best: bool = False


EMPTY = Cell(NOTHING)


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        name: str. Its first cell.
        cells: tuple of `Cell`, one for each head.
        label: str. The row's label, which is the same in all tables.
        kind: "recipe", "control" or "external".
        why: str. Why it has no rank, or "".
    """

    name: str
    cells: tuple
    label: str = ""
    kind: str = "recipe"
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """Lines under heads; the names of the lines have no head.

    Attributes:
        heads: tuple of `Head`.
        lines: tuple of `Line`.
    """

    heads: tuple
    lines: tuple

    def without(self, titles):
        """The table without the columns of these titles."""
        kept = [index for index, head in enumerate(self.heads) if head.title not in titles]
        lines = (dataclasses.replace(line, cells=tuple(line.cells[index] for index in kept)) for line in self.lines)
        return Table(tuple(self.heads[index] for index in kept), tuple(lines))

    def empty(self):
        """Titles of the columns in which nothing stands."""
        filled = {at for line in self.lines for at, cell in enumerate(line.cells) if cell.text != NOTHING}
        return [head.title for at, head in enumerate(self.heads) if at not in filled]

    def rows(self):
        """The texts, a list of lists with the name first."""
        return [[line.name, *(cell.text for cell in line.cells)] for line in self.lines]

    def frame(self):
        """A `pandas.DataFrame` of the texts, whose first column is `name`."""
        import pandas as pd

        return pd.DataFrame(self.rows(), columns=["name", *(head.title for head in self.heads)])

    def markdown(self):
        """A table of Markdown, whatever stands in its cells."""
        from tabulate import tabulate

        heads = ["name", *(plain(f"{head.title} {head.arrow}".strip()) for head in self.heads)]
        rows = [[plain(text) for text in row] for row in self.rows()]
        return tabulate(rows, heads, tablefmt="pipe", disable_numparse=True)


def plain(value):
    """A text that Markdown shows as it is, in a cell of a table too."""
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*|$]|\](?=[(\[]))", r"\\\1", text)


def mark_best(lines, heads):
    """The lines with the best model of each column marked: of those that are no control, may
    have a rank, and whose value is known.

    Args:
        lines: list of `Line`.
        heads: list of `Head`.

    Returns:
        list of `Line`.
    """

    def competes(line):
        return line.kind != "control" and not line.why

    best = {}
    for at, head in enumerate(heads):
        values = [line.cells[at].value for line in lines if competes(line) and line.cells[at].value is not None]
        if head.better and len(set(values)) > 1:
            best[at] = min(values) if head.better == "lower" else max(values)
    return [
        dataclasses.replace(
            line,
            cells=tuple(
                dataclasses.replace(cell, best=True) if at in best and cell.value == best[at] else cell
                for at, cell in enumerate(line.cells)
            ),
        )
        if competes(line)
        else line
        for line in lines
    ]
