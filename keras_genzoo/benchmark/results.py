"""The folder of one benchmark: `settings.json`, `plans.json`, one JSON line a run in `results.jsonl`, a folder of files a run."""

import json
import re
from pathlib import Path

from keras_genzoo.core.files import alone, locked, read_json, replacing, to_json

PROTOCOL = 1  # the version of docs/guides/benchmark.md: what a row's numbers depend on beside its settings
ASKED = "asked.json"  # how many seeds of which rows are wanted
PATIENCE = 60.0  # seconds of waiting for a run of another process, which may be of a machine that was lost
WRITING = ".writing.lock"  # held while a file of the folder is read and replaced


class FolderError(Exception):
    """The folder cannot be used, in one sentence."""


class Folder:
    """Results on disk. Every file is replaced whole, so that a crash leaves the old one or the new one.

    Any number of processes may write, on all machines that share the disk: they take turns.

    Args:
        path: str or Path of a folder that `create` made.

    Attributes:
        failed, tried: lists of rows, those of the last `run` here that failed and all that it tried.

    Raises:
        FolderError: it is no such folder.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.results, self._plans = self.path / "results.jsonl", self.path / "plans.json"
        self.failed, self.tried = [], []
        try:
            # Folders of earlier versions do not say these.
            self.settings = {"splits": True, "split": "test", "flip": False} | json.loads(
                (self.path / "settings.json").read_text()
            )
        except (OSError, ValueError):
            raise FolderError(f"{path} is no folder of a benchmark; expected one that `run --out {path}` has filled.") from None

    @classmethod
    def create(cls, path, settings):
        """Open the folder of these settings, or make it.

        Raises:
            FolderError: `path` is a file, a folder of other things, or a folder of other settings.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise FolderError(f"{path} is a file; expected a folder, new or of the same settings.")
        file = path / "settings.json"
        if not file.exists() and path.is_dir() and any(not each.name.startswith(".") for each in path.iterdir()):
            raise FolderError(f"{path} holds other things than a benchmark; choose a new or empty folder.")
        if not (path / "results.jsonl").exists():  # until there are results, settings may change
            try:
                with alone(path / WRITING), replacing(file) as temporary:
                    temporary.write_text(json.dumps(settings, indent=2) + "\n")
            except OSError as error:
                raise FolderError(f"{path} cannot be written ({error.strerror}); choose another folder.") from None
        folder = cls(path)
        differing = [key for key in settings if folder.settings.get(key) != settings[key]]
        if differing:
            change = ", ".join(f"{key} {folder.settings.get(key)} there and {settings[key]} here" for key in differing)
            raise FolderError(f"{path} is of other settings ({change}); choose a new folder, or the same settings.")
        return folder

    def lock(self):
        """A context in which no other process does all that is missing here."""
        return locked(self.path, FolderError, f"another process is adding results to {self.path}")

    def lock_run(self, run):
        """A context in which no other process does this run, all controls being one. It waits for one that is about to end."""
        control = run["kind"] == "control"
        what, name = ("the controls", "controls") if control else (f"{label(run)}, seed {run['seed']}", self.files(run).name)
        return locked(self.path / "runs", FolderError, f"another process does {what}", PATIENCE, f".{name}.lock")

    def lock_plan(self, run):
        """A context in which no other process plans the steps of a recipe; the others wait."""
        return alone(self.path / "runs" / f".{_file_name(label(run))}.lock")

    def ask(self, runs):
        """Note which runs are wanted, beside those that were wanted before."""
        seeds = {}
        for run in runs:
            seeds.setdefault(label(run), set()).add(run["seed"])
        with alone(self.path / WRITING):
            wanted = self.asked() if self.results.exists() else {}
            wanted |= {name: max(len(found), wanted.get(name, 0)) for name, found in seeds.items()}
            with replacing(self.path / ASKED) as temporary:
                temporary.write_text(json.dumps(wanted, indent=2) + "\n")

    def asked(self):
        """How many seeds of each label are wanted, a dict; of folders of earlier versions an empty one."""
        try:
            return read_json(self.path / ASKED)
        except ValueError as error:
            raise FolderError(str(error)) from None

    def rows(self):
        """The results so far, a dict a run."""
        lines = self.results.read_text().splitlines() if self.results.exists() else []
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise FolderError(f"{self.results} holds a line that is no JSON ({error}); repair or remove it.") from None

    def add(self, row):
        """Add a result; it takes the place of an earlier one of the same run."""
        with alone(self.path / WRITING):
            rows = [other for other in self.rows() if identity(other) != identity(row)] + [row]
            with replacing(self.results) as temporary:
                temporary.write_text("".join(to_json(row) + "\n" for row in rows))

    def plans(self):
        """The plan of each recipe so far by its label, see `planning.make`."""
        try:
            return read_json(self._plans)
        except ValueError as error:
            raise FolderError(str(error)) from None

    def add_plan(self, run, plan):
        """Store the plan of a recipe, which all of its further runs follow."""
        with alone(self.path / WRITING), replacing(self._plans) as temporary:
            temporary.write_text(to_json({**self.plans(), label(run): plan}, indent=2) + "\n")

    def data(self):
        """The record of the data of the results so far, or None."""
        return next((row["data"] for row in self.rows() if row.get("data")), None)

    def frame(self):
        """The results so far as a `pandas.DataFrame`: a line a run, its scores and what was set among the columns."""
        import pandas as pd

        apart = ("scores", "overrides", "environment", "curve", "sweep", "plan")
        lines = [
            {
                **{key: value for key, value in row.items() if key not in apart},
                **row.get("overrides", {}),
                **row.get("scores", {}),
            }
            for row in self.rows()
        ]
        return pd.DataFrame(lines)

    def imports(self):
        """What was imported for the runs in it, see `core.plugins.import_named`."""
        return list(dict.fromkeys(each for row in self.rows() for each in row.get("imports", ())))

    def missing(self, runs):
        """Those of the runs that have no result yet, or a failed one."""
        done = {identity(row) for row in self.rows() if row["status"] == "ok"}
        return [run for run in runs if identity(run) not in done]

    def files(self, run):
        """The folder for the files of one run."""
        return self.path / "runs" / _file_name(f"{label(run)}-seed{run['seed']}")


def _file_name(text):
    return re.sub(r"[^\w.=-]+", "_", text)


def label(run):
    """What a run is called in tables: the recipe, and what was set otherwise than the recipe has it."""
    overrides = ", ".join(f"{key}={value}" for key, value in sorted(run["overrides"].items()))
    return f"{run['recipe']} ({overrides})" if overrides else run["recipe"]


def identity(run):
    """What makes two runs the same run."""
    return label(run), run["seed"]
