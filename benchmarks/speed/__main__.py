"""How fast training, sampling and scores are, beside the usual ways, in turns within one run: `python -m benchmarks.speed`.

Every side is a process on the same cores. A round is one turn of each, and a ratio is of one round. Networks of peers are
built from ours with the very weights, and the outputs compared, before anything is timed; where a library has networks of its
own, the numbers of parameters are compared. The peers need an environment of their own:

    python3 -m venv ~/reference-venv
    ~/reference-venv/bin/pip install torch torch-fidelity clean-fid prdc diffusers normflows zuko pythae scikit-learn
    python -m benchmarks.speed --peer ~/reference-venv/bin/python

A row is stored when it is measured, and a later call measures what is missing.
"""

import dataclasses
import fnmatch
import json
import sys
import tempfile
import time
from pathlib import Path

import click

from benchmarks.speed.measures import AS_FAST, Settings
from benchmarks.speed.rows import TABLES, rows


@click.command(context_settings={"show_default": True})
@click.option("--peer", help="Python with the peers; without it, what compares with them is left out.")
@click.option("--only", default="*", help="Rows by comma, with * as in names of files: training/vae, start/*.")
@click.option("--list", "listed", is_flag=True, help="Print the names of the rows and what OUT has of them, and end.")
@click.option("--again", is_flag=True, help="Measure what OUT has already.")
@click.option("--rounds", type=click.IntRange(2), default=7)
@click.option("--steps", type=click.IntRange(1), help="Steps, images or features of a round; each row has its own number.")
@click.option("--threads", type=click.IntRange(1), default=2, help="Cores that a side may use.")
@click.option("--compare", type=click.Path(exists=True, path_type=Path), help="Stored rows; exit code 1 where a ratio fell.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/speed"), help="OUT.json and OUT.md are written.")
def main(peer, only, listed, again, rounds, steps, threads, compare, out):
    """Time training, sampling and scores beside the usual ways."""
    chosen = choose(only)
    stored = read(out)
    if listed:
        click.echo("\n".join(f"{name}: {row.title}{' (measured)' if name in stored else ''}" for name, row in chosen.items()))
        return
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(rounds, threads, steps, peer, Path(folder))
        missing = [row for name, row in chosen.items() if again or name not in stored]
        failed = [row.name for row in missing if not measure(row, settings, stored, out)]
    if failed:
        click.echo(f"not measured, see above: {', '.join(failed)}")
        sys.exit(1)
    if compare:
        fallen = worse(json.loads(compare.read_text()), {name: stored[name] for name in chosen})
        click.echo("\n".join(fallen) or "no ratio fell below the range that is stored")
        sys.exit(bool(fallen))


def measure(row, settings, stored, out):
    """Measure a row and store it; whether that went well."""
    started = time.perf_counter()
    settings = settings if row.most is None else dataclasses.replace(settings, rounds=min(settings.rounds, row.most))
    try:
        columns = row.measure(settings)
    except RuntimeError as error:
        click.echo(f"{row.name}: {error}", err=True)
        return False
    seconds = round(time.perf_counter() - started)
    how = {"rounds": settings.rounds, "steps": settings.steps, "seconds": seconds}
    stored[row.name] = {"title": row.title, "columns": columns, **how, **about()}
    write(out, stored)
    click.echo(f"{row.name}, {seconds} s: {columns}")
    return True


def choose(only):
    """The rows of names and patterns by comma.

    Raises:
        click.BadParameter: a pattern that no row has.
    """
    known, found = rows(), {}
    for pattern in only.split(","):
        some = {name: row for name, row in known.items() if fnmatch.fnmatchcase(name, pattern.strip())}
        if not some:
            raise click.BadParameter(f"--only is {pattern!r}, which no row is named; --list shows the names.")
        found |= some
    return found


def about():
    """The machine and the code that a row was measured with."""
    from keras_genzoo.core.runs import environment

    machine = environment()
    return {name: machine[name] for name in ("cpu", "cores", "device", "tensorflow", "keras", "revision")}


def read(out):
    path = out.with_suffix(".json")
    return json.loads(path.read_text()) if path.exists() else {}


def write(out, stored):
    """Both files, whole."""
    from keras_genzoo.core.files import replacing

    out.parent.mkdir(parents=True, exist_ok=True)
    for suffix, text in ((".json", json.dumps(stored, indent=1) + "\n"), (".md", shown(stored))):
        with replacing(out.with_suffix(suffix)) as temporary:
            temporary.write_text(text)


def shown(stored):
    """The tables of rows as Markdown."""
    parts = ["# Speed", machines(stored)]
    for table, function in TABLES.items():
        if section := table_of(table, stored):
            parts += [f"## {function.__doc__.rstrip('.')}", section]
    return "\n\n".join(parts) + "\n"


def table_of(table, stored):
    """The rows of a table that are stored, with notes on them, as Markdown; "" where there is none."""
    import pandas as pd

    known = {name: row for name, row in rows().items() if name in stored and row.table == table}
    lines = [{"": row.title} | {k: _text(v) for k, v in stored[name]["columns"].items()} for name, row in known.items()]
    notes = "\n".join(f"- {row.title}: {row.about}" for row in known.values() if row.about)
    body = pd.DataFrame(lines).fillna("–").to_markdown(index=False, disable_numparse=True) if lines else ""
    return "\n\n".join(filter(None, (body, notes)))


def told(table, stored):
    """How many times as fast as others each row of a table is, in one line: the medians."""
    found = []
    for name, row in rows().items():
        columns = stored[name]["columns"] if name in stored and row.table == table else {}
        ratios = {title.removeprefix(AS_FAST): value[0] for title, value in columns.items() if title.startswith(AS_FAST)}
        if ratios:
            named = (f"{ratio:.2f}" + f" ({title})" * (title != "the peer") for title, ratio in ratios.items())
            found.append(f"{row.title} {', '.join(named)}")
    return "; ".join(found)


def machines(stored):
    """What the rows were measured with: a sentence for each that differs, and which rows it is of."""
    sentences = {}
    for name, row in stored.items():
        made = f"{row['cpu']}, {row['cores']} cores, {row['device']}; TensorFlow {row['tensorflow']}, Keras {row['keras']}"
        rounds = f"{row['rounds']} rounds" if row["rounds"] > 1 else "1 round"
        rounds += f" in turns, medians and ranges{'; shortened' if row['steps'] else ''}"
        sentences.setdefault(f"{made}; revision {row['revision']}; {rounds}.", []).append(name)
    paragraphs = [f"{sentence} Of {', '.join(f'`{name}`' for name in names)}." for sentence, names in sentences.items()]
    return "\n\n".join([*paragraphs, "Made by `python -m benchmarks.speed`."])


def _text(value):
    if isinstance(value, list):
        *middle, low, high = value
        return f"{middle[0]:.2f} ({low:.2f} to {high:.2f})" if middle else f"{low:.2f} to {high:.2f}"
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if value >= 100 else f"{value:g}"


def worse(before, after):
    """Sentences on ratios whose whole range lies below that which is stored."""
    found = []
    for name, row in after.items():
        for title, value in row["columns"].items():
            then = before.get(name, {}).get("columns", {}).get(title)
            if isinstance(value, list) and isinstance(then, list) and value[-1] < then[-2]:
                found.append(f"{name}, {title}: {_text(value)}, before {_text(then)}")
    return found


if __name__ == "__main__":
    main()
