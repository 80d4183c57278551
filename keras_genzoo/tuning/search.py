"""A search on this machine: a folder that holds its settings and its trials."""

import json
import os
import shutil
from pathlib import Path

import keras_tuner

from keras_genzoo import recipes
from keras_genzoo.core import plugins, runs
from keras_genzoo.core.checks import whole, whole_or_none
from keras_genzoo.core.files import LOCK, locked, read_json, replacing, to_json
from keras_genzoo.recipes import space as spaces
from keras_genzoo.tuning.hypermodel import HyperRecipe, Recorded, check_length, get_objective, measured
from keras_genzoo.tuning.trials import ORACLES, Trials, supervise


class Search:
    """A search whose trials run each in a process of its own, and whose state is a folder.

    The same call again goes on where an interrupted search was, within the trial that ran too, and runs no finished trial twice;
    with more trials it goes on where a search has ended. Memory is given back after each trial, and a crash costs one.

    Args:
        folder: str or Path. Of this search alone, new or of the same settings.
        hypermodel: `HyperRecipe`.
        data: str. Name, folder or file of images, as `gz.data.load` takes.
        objective: str, see `get_objective`. Defaults to "fd".
        oracle: "random", "hyperband" or "bayesian". Defaults to "random".
        trials: int. Defaults to 20. None with Hyperband, which has 23 of its own, in the time of ten whole ones.
        budget: float. Seconds of training a trial, compilation not counted. Defaults to 60.
        epochs: int. Instead of a budget. Defaults to none.
        stop_hopeless: bool. Whether a trial ends after a third of its training where the objective is worse than the
            median of the finished trials' at that time (the median rule of Golovin et al. 2017, Google Vizier, section
            3.2.1). Its objective is then that of a third. Not with Hyperband, which has its own. Defaults to True.
        overwrite: bool. Whether another search in the folder is deleted. Defaults to False.
        imports: list of modules, and of paths of `.py` files, with recipes of your own, which trials import too. Defaults to
            none.
        device: "auto", "cpu", "gpu" or "gpu:NUMBER", of the trials. Defaults to "auto".

    Raises:
        ValueError: what does not fit together, or a folder of another search or of other things.

    Example:

    >>> hypermodel = gz.tuning.HyperRecipe("vae", (28, 28, 1))
    >>> search = gz.tuning.Search("runs/tune", hypermodel, "fashion_mnist_mini", budget=30)  # doctest: +SKIP
    >>> best = search.run()  # doctest: +SKIP
    >>> model = gz.build("vae", (28, 28, 1), **best["hyperparameters"])  # doctest: +SKIP
    """

    def __init__(
        self,
        folder,
        hypermodel,
        data="fashion_mnist_mini",
        objective="fd",
        oracle="random",
        trials=20,
        budget=60.0,
        epochs=None,
        stop_hopeless=True,
        overwrite=False,
        imports=(),
        device="auto",
    ):
        self.folder, self.hypermodel, self.device = Path(folder), hypermodel, device
        self.imports = plugins.import_named(imports)
        if oracle not in ORACLES:
            raise ValueError(f"the oracle is {oracle!r}, expected one of {', '.join(ORACLES)}.")
        if (oracle == "hyperband") != (trials is None):
            raise ValueError(f"trials is {trials} with oracle {oracle!r}; expected None with hyperband and a number else.")
        trials = whole_or_none(trials=trials)
        if epochs is not None:
            budget = None
        check_length(budget, epochs)
        if not hypermodel.space:
            raise ValueError(f"nothing of {hypermodel.name!r} is searched; give some ranges.")
        goal = get_objective(objective)
        names = measured(hypermodel)
        if goal.name not in names:
            raise ValueError(f"there is no objective {goal.name!r}, expected one of {', '.join(sorted(names))}.")
        for name in hypermodel.weights or ():
            if name not in names - {"weighted"}:
                raise ValueError(f"there is no {name!r} to weigh, expected some of {', '.join(sorted(names - {'weighted'}))}.")
        self.settings = {
            "hypermodel": hypermodel.get_config(),
            "space": spaces.to_config(hypermodel.space),
            "data": os.fspath(data),
            "objective": objective,
            "oracle": oracle,
            "trials": trials,
            "budget": budget,
            "epochs": epochs,
            "stop_hopeless": stop_hopeless and oracle != "hyperband",
        }
        self._take_folder(overwrite)

    def _take_folder(self, overwrite):
        file, here = self.folder / "search.json", json.loads(json.dumps(self.settings))
        defaults = json.loads(to_json(self.hypermodel.defaults, default=repr))
        stored = {**here, "recipe_names": runs.NAMES, "imports": self.imports, "defaults": defaults}
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"{self.folder} is a file, expected a folder.")
        there = {} if overwrite else read_json(file)
        _check_name(there, self.folder)
        for key in ("recipe_names", "imports", "defaults"):
            there.pop(key, None)
        if overwrite and file.exists():
            with self._lock():
                for path in self.folder.iterdir():
                    if path.name != LOCK:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif there and {**there, "trials": here["trials"]} == here and (there["trials"] or 0) <= (here["trials"] or 0):
            if there == here:
                return
        elif there:
            differing = ", ".join(key for key in here if there.get(key) != here[key])
            raise ValueError(f"{self.folder} holds another search, of other {differing}; choose another folder or overwrite it.")
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise ValueError(f"{self.folder} holds other things than a search; choose a new or empty folder.")
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(stored, indent=2) + "\n")

    @classmethod
    def open(cls, folder, imports=(), device="auto"):
        """The search of a folder, to go on with it or to read it.

        Args:
            folder: str or Path.
            imports, device: as in `Search`. Modules that the search was made with are imported again without being given,
                `.py` files are not.

        Raises:
            ValueError: the folder holds no search, or one made with a file that is not given.
        """
        settings = _stored(folder)
        settings.pop("defaults", None)
        stored = settings.pop("imports", [])
        plugins.import_stored(stored, imports, what=str(folder))
        config = spaces.tuples(settings.pop("hypermodel"))
        space = spaces.from_config(settings.pop("space"))
        own = recipes.get(config["name"]).search
        hypermodel = HyperRecipe(**{**config, "search": {**{key: None for key in own if key not in config}, **space}})
        return cls(folder, hypermodel, imports=list(dict.fromkeys([*stored, *imports])), device=device, **settings)

    @classmethod
    def read(cls, folder):
        """The search of a folder, for its `results` and `best` alone: nothing is imported, and it cannot be gone on with.

        Raises:
            ValueError: the folder holds no search.
        """
        settings = _stored(folder)
        config, space = spaces.tuples(settings.pop("hypermodel")), spaces.from_config(settings.pop("space"))
        defaults = spaces.tuples(settings.pop("defaults", None))
        if defaults is None:  # of an earlier version, whose recipes are those of the package
            defaults = {**recipes.get(config["name"]).defaults, "batch_size": config["batch_size"]}
        search = cls.__new__(cls)
        search.folder, search.settings, search.imports = Path(folder), settings, settings.pop("imports", [])
        fixed = {name: value for name, value in config.items() if name in defaults and name not in ("batch_size", "seed")}
        search.hypermodel = Recorded(config["name"], space, defaults, fixed)
        return search

    def _lock(self):
        """Keep other processes from the folder."""
        return locked(self.folder, ValueError, f"another process searches in {self.folder}")

    def run(self, workers=1):
        """Search to the end.

        Args:
            workers: int. Processes on this machine that try settings at the same time. With several, a chief and they talk
                by KerasTuner's own service; one that is killed is started again, and runs its trial again. They share the
                machine, so times are then of a busy one. Defaults to 1.

        Returns:
            dict, see `best`.

        Raises:
            ValueError: no trial came to an end, or another process searches here.
        """
        workers = whole(workers=workers)
        with self._lock():
            if workers == 1:
                Trials(self).search()
            else:
                supervise(self, workers)
            best = self.best()
            for name, content in (("trials.json", self.results()), ("best.json", best)):
                with replacing(self.folder / name) as temporary:
                    temporary.write_text(to_json(content, indent=2) + "\n")
        return best

    def results(self):
        """The trials so far: list of dicts of `trial`, `status`, `hyperparameters`, `epochs` of Hyperband, `results` (what
        `HyperRecipe.fit` returned), and the `reason` of a failure."""
        rows = []
        for folder in sorted((self.folder / "trials").glob("trial_*")):
            trial = _trial(folder / "trial.json")
            answer = read_json(folder / "result.json")
            row = {"trial": trial.trial_id, "status": trial.status.lower()}
            row["hyperparameters"] = self.hypermodel.values(trial.hyperparameters)
            row |= {"epochs": trial.hyperparameters.values.get("tuner/epochs"), "results": answer.get("results")}
            rows.append(row | {"reason": answer.get("failed")})
        return rows

    def best(self):
        """The best trial: dict of `recipe`, `recipe_names` (the version of its name), `hyperparameters` (of `gz.build`),
        `batch_size`, `objective`, `value`, `trial`, `imports`.

        Raises:
            ValueError: no trial came to an end.
        """
        goal = get_objective(self.settings["objective"])
        rows = self.results()
        ended = [row for row in rows if row["status"] == "completed"]
        if not ended:
            reasons = "; ".join(dict.fromkeys(row["reason"] or row["status"] for row in rows))
            raise ValueError(f"none of {len(rows)} trials came to an end: {reasons or 'none was started'}.")
        sign = -1.0 if goal.direction == "max" else 1.0
        best = min(ended, key=lambda row: sign * row["results"][goal.name])
        values = {**self.hypermodel.fixed, **best["hyperparameters"]}
        size = values.pop("batch_size", self.hypermodel.defaults["batch_size"])
        return {
            "recipe": self.hypermodel.name,
            "recipe_names": runs.NAMES,
            "hyperparameters": values,
            "batch_size": size,
            "objective": self.settings["objective"],
            "value": best["results"][goal.name],
            "trial": best["trial"],
            "imports": self.imports,
        }


def _trial(file):
    """What KerasTuner wrote of a trial."""
    try:
        return keras_tuner.engine.trial.Trial.load(str(file))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is damaged ({error}); remove its folder, and the trial runs again.") from error


def _stored(folder):
    """What the folder of a search knows of it."""
    found = read_json(Path(folder) / "search.json")
    if not found:
        raise ValueError(f"{folder} holds no search; `genzoo tune` makes one.")
    lacking = [key for key in ("hypermodel", "space", "data", "objective", "oracle") if key not in found]
    if lacking:
        raise ValueError(f"{folder}/search.json lacks {lacking[0]!r}; restore it, or begin anew with overwrite.")
    _check_name(found, folder)
    found.pop("recipe_names", None)
    return found


def _check_name(found, folder):
    """Raise one sentence if the recipe of what was found of a search is called otherwise today."""
    name = found.get("hypermodel", {}).get("name")
    runs.check_name({"recipe": name, "recipe_names": found.get("recipe_names", 1)}, folder)
