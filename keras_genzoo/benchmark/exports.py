"""The tables for other programs: CSV and JSON with numbers, LaTeX with booktabs and the BibTeX of its scores."""

import csv
import io
import json
import re
from pathlib import Path

from keras_genzoo.benchmark import scores, tables
from keras_genzoo.benchmark.ranking import rankings
from keras_genzoo.benchmark.results import FolderError
from keras_genzoo.core.files import replacing

# Scores and the entries of metrics.bib that a paper cites for them.
CITED = {
    "heusel2017gans": ("FD", "FID", "rFD", "rFID"),
    "chong2020effectively": ("FD_inf", "FID_inf"),
    "binkowski2018demystifying": ("KD", "KD_normalised", "KID"),
    "salimans2016improved": ("IS",),
    "kynkaanniemi2019improved": ("precision", "recall"),
    "naeem2020reliable": ("density", "coverage"),
    "alaa2022faithful": ("authenticity",),
    "meehan2020nonparametric": ("data_copying",),
    "wang2004image": ("ssim",),
    "zhang2018unreasonable": ("PD",),
    "karras2019style": ("path_length",),
}
RULE = ("shaffer1986modified", "smyth2004linear", "almohamad2018simultaneous")  # of the ranks
SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {each: f"\\{each}" for each in "&%$#_{}"} | {"±": r"$\pm$", "–": "--", "\u00a0": "~", "<": r"$<$", ">": r"$>$"}


def write(folder, kind):
    """Write the tables of a folder into it.

    Args:
        folder: `Folder`.
        kind: "csv" (report.csv, a line an entry and score), "json" (report.json, the same beside what was compared) or "latex"
            (report.tex, for `\\usepackage{booktabs}`, and report.bib).

    Returns:
        list of Paths.

    Raises:
        FolderError: nothing has finished, or the folder cannot be written.
    """
    found = rankings(folder.rows(), folder.settings, folder.asked())
    if not found:
        raise FolderError(f"{folder.path} holds no finished run, so there is no table to export.")
    texts = {
        "csv": lambda: {"report.csv": as_csv(found)},
        "json": lambda: {"report.json": json.dumps(as_dicts(found), indent=2, allow_nan=False) + "\n"},
        "latex": lambda: {"report.tex": as_latex(found), "report.bib": bibtex(cited(found))},
    }[kind]()
    try:
        for name, text in texts.items():
            with replacing(folder.path / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FolderError(f"{folder.path} cannot be written ({error.strerror}); copy it to where it can.") from None
    return [folder.path / name for name in texts]


def as_dicts(found):
    """The tables as data: a dict a table, with its terms, notes and entries, whose scores have mean, low, high and values."""
    listed = []
    for index, ranking in enumerate(found):
        entries = []
        for entry in ranking.entries:
            names, known = sorted({key for row in entry.rows for key in row["scores"]} | set(tables.COSTS)), {}
            for name in names:
                if values := entry.values(name):
                    mean, low, high = entry.interval(name)
                    known[name] = {"mean": mean, "low": low, "high": high, "values": values}
            best, worst = ranking.rank_of(entry) or (None, None)
            about = {"name": entry.label, "family": entry.family, "kind": entry.kind, "seeds": len(entry.rows)}
            entries.append(about | {"failed": len(entry.failed), "best_rank": best, "worst_rank": worst, "scores": known})
        about = {"table": index + 1, "ranked_by": ranking.by, "terms": ranking.terms, "why_apart": ranking.why}
        listed.append(about | {"notes": ranking.explained(), "entries": entries})
    return listed


def as_csv(found):
    """A line for every entry and score."""
    out = io.StringIO()
    about = ("table", "name", "family", "kind", "seeds", "failed", "best_rank", "worst_rank")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*about, "score", "mean", "low", "high"])
    for table in as_dicts(found):
        for entry in table["entries"]:
            known = [table["table"], *(entry[key] for key in about[1:])]
            for score, each in entry["scores"].items():
                writer.writerow([*known, score, each["mean"], each["low"], each["high"]])
    return out.getvalue()


def escaped(text):
    """Text that LaTeX shows as it is."""
    return "".join(SPECIAL.get(character, character) for character in re.sub(r"[\n\t ]+", " ", str(text)))


def cited(found):
    """Keys of metrics.bib for the scores of these tables, list of str."""
    names = {scores.split(key)[0] for each in found for entry in each.entries for row in entry.rows for key in row["scores"]}
    papers = [key for key, prefixes in CITED.items() if names & set(prefixes)]
    return papers + [key for key in RULE if any(each.ranks() for each in found)]


def bibtex(keys):
    """The entries of metrics.bib with these keys, in its order."""
    entries = re.findall(r"@\w+\{(\w+),.*?\n\}\n", text := (Path(__file__).parent / "metrics.bib").read_text("utf-8"), re.DOTALL)
    parts = re.findall(r"@\w+\{.*?\n\}\n", text, re.DOTALL)
    return "\n".join(part for key, part in zip(entries, parts, strict=True) if key in keys)


def as_latex(found):
    """A `table` with booktabs for each ranking. Bold are all models that may be the best."""
    return "\n".join(_latex_table(ranking, index, len(found)) for index, ranking in enumerate(found))


def _latex_table(ranking, index, count):
    columns = [
        *(
            column
            for column in tables.sample_columns(ranking.distance_name, ranking.scores)
            if "deviation" not in column.head.title
        ),
        *(each for each in tables.reconstruction_columns(ranking.scores) if each.keys[0] == "mse" or "bits" in each.keys[0]),
    ]
    table = ranking.table(columns, controls=True, intervals=True)
    if table is None:
        return ""
    arrows = {"lower": r" $\downarrow$", "higher": r" $\uparrow$", None: ""}
    heads = [escaped(head.title) + arrows[head.better] for head in table.heads]
    body = []
    for line in table.lines:
        name = rf"\textbf{{{escaped(line.name)}}}" if line.label in ranking.best() else escaped(line.name)
        body.append(" & ".join([name, *(escaped(cell.text) for cell in line.cells)]) + r" \\")
    number = f", table {index + 1} of {count}" if count > 1 else ""
    terms = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in ranking.terms.items() if value is not None)
    bold = " Bold: models that may be the best." if ranking.best() else ""
    notes = " ".join([*([ranking.why] if ranking.why else []), *ranking.explained()])
    cite = rf" Scores: \cite{{{','.join(cited([ranking]))}}}." if cited([ranking]) else ""
    return "\n".join(
        [
            r"% \usepackage{booktabs,graphicx}",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{Ordered by {escaped(ranking.by)}{number}.{bold}{cite}}}",
            r"  \resizebox{\linewidth}{!}{%",
            rf"  \begin{{tabular}}{{ll{'r' * (len(heads) - 1)}}}",
            r"    \toprule",
            f"    {' & '.join(['', *heads])} " + r"\\",
            r"    \midrule",
            *(f"    {line}" for line in body),
            r"    \bottomrule",
            r"  \end{tabular}}",
            r"  \par\medskip\footnotesize\raggedright",
            f"  {escaped(notes)} Compared by: {escaped(terms)}.",
            r"\end{table}",
            "",
        ]
    )


def paragraph(ranking):
    """What a paper says of the scores of a table, in LaTeX with citations of metrics.bib.

    Args:
        ranking: `Ranking`.
    """
    terms, seeds = ranking.terms, max(len(entry.rows) for entry in ranking.entries)
    images = f"{terms.get('n_generated')} generated and {terms.get('n_real')} {ranking.split} images"
    name = r"Fr\'echet inception distance" if ranking.distance_name.startswith("FID") else r"Fr\'echet distance"
    sentences = [
        rf"We report {escaped(ranking.distance_name)}, the {name}~\cite{{heusel2017gans}} between {images} in the features "
        f"{escaped(terms.get('features'))} (resize: {escaped(terms.get('resize'))})."
    ]
    if ranking.by != ranking.distance_name:
        sentences.append(
            rf"There are fewer images than features, so models are ranked by the kernel distance "
            rf"{escaped(ranking.by)}~\cite{{binkowski2018demystifying}}."
        )
    if "k_pr" in ranking.scores:
        sentences.append(
            rf"Precision and recall~\cite{{kynkaanniemi2019improved}} use {ranking.scores['k_pr']} neighbours, density and "
            rf"coverage~\cite{{naeem2020reliable}} {ranking.scores.get('k_dc')}."
        )
    sentences += [f"Every model was trained {escaped(length_of(ranking.settings))}, compilation not counted."]
    if seeds > 1:
        sentences.append(
            rf"Cells show means over {seeds} seeds with 95\,\% $t$ intervals, on the log scale for scores that are positive."
        )
    if ranking.ranks():
        sentences.append(
            r"Ranks are simultaneous 95\,\% intervals~\cite{almohamad2018simultaneous} from Welch's test with moderated "
            r"variances~\cite{smyth2004linear} and Shaffer's step-down~\cite{shaffer1986modified}."
        )
    return " ".join(sentences)


def length_of(settings):
    """How long a folder's models train, in words, as "for 60 s".

    Example:

    >>> from keras_genzoo.benchmark import exports
    >>> exports.length_of({"budget": 60.0}), exports.length_of({"steps": 500})
    ('for 60 s', 'for 500 steps')
    """
    if settings.get("budget"):
        return f"for {settings['budget']:g} s"
    name = "epochs" if settings.get("epochs") else "steps"
    if not settings.get(name):
        return "for a length that the folder does not tell"
    return f"for {settings[name]} {name if settings[name] != 1 else name[:-1]}"
