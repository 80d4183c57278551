"""Search for better hyperparameters of a recipe with KerasTuner.

`HyperRecipe` is a recipe as a `keras_tuner.HyperModel`, for any tuner of KerasTuner. `Search` runs one on this machine, each
trial in a process of its own, with as many workers as asked for; `genzoo tune` is its command.
"""

import contextlib
import fcntl
import importlib.util
import json
import math
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import keras
from tqdm import tqdm

from keras_genzoo import budgets, recipes
from keras_genzoo import data as data_module
from keras_genzoo.callbacks import FrechetDistanceMonitor
from keras_genzoo.files import replacing
from keras_genzoo.recipes import space as spaces

if importlib.util.find_spec("keras_tuner") is None:
    raise ImportError("keras_genzoo.tuning needs KerasTuner, which is not installed; pip install 'keras_genzoo[tuning]'.")

import keras_tuner

ORACLES = {
    "random": keras_tuner.oracles.RandomSearchOracle,
    "hyperband": keras_tuner.oracles.HyperbandOracle,
    "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
}
RUNG = 3  # a third of a trial's training is when it may be stopped
ROUNDS = 9  # Hyperband's longest training, in its shortest ones
PRIOR_IMAGES = 20_000  # at most, whose codes a prior is fitted to
SUPERVISED = "KERAS_GENZOO_SUPERVISED"  # set for a chief and workers that `Search.run` starts, and ends with itself
ATTEMPTS = 2  # runs of one trial whose worker was killed
# Beside what `fit` logs; the numbers that are better when smaller, but for those in LARGER.
MEASURED = ("fd", "parameters", "sample_seconds", "train_seconds")
LARGER = ("psnr", "ssim", "log_prob", "diversity", "active_units")


class HyperRecipe(keras_tuner.HyperModel):
    """A recipe whose hyperparameters KerasTuner chooses.

    `build` is cheap and changes nothing but the `hp` it is given. `fit` trains and returns what it measured as a dict: the
    metrics that `fit` of the model logs, of the validation images as `val_...`; `fd`, the Frechet distance of samples to
    validation images, the smaller the better; `parameters`; `sample_seconds` of 256 images; `train_seconds`; and `steps`.
    Test images are never looked at.

    Args:
        name: str. A recipe.
        image_shape: `(height, width, channels)`.
        search: dict or None. Ranges by name (`keras_genzoo.recipes.space`: `Float`, `Int`, `Choice`) that are added to the
            recipe's own or take their place; None as a range leaves that hyperparameter at its default. `batch_size` may
            be searched too.
        weights: dict or None. Numbers by name, as `{"fd": 1.0, "sample_seconds": 0.5}`, whose weighted sum `fit` adds to its
            results as `weighted`.
        n: int. Validation images, and samples, for `fd`. Defaults to 2,000 or as many as there are.
        features: str or None. Of `fd`, see `keras_genzoo.metrics.get`. None is the default of the data.
        batch_size: int. Images a batch where data are loaded here. Defaults to 128.
        seed: int. Of every trial. Defaults to 0.
        dtype, jit_compile: of `gz.build`.
        **fixed: hyperparameters of the recipe that are not searched, at these values.

    Raises:
        ImportError: KerasTuner is not installed.
        ValueError: an unknown recipe or hyperparameter, or a range that excludes the default.

    Example:

    >>> import keras_tuner
    >>> hypermodel = gz.tuning.HyperRecipe("vae", image_shape=(28, 28, 1))
    >>> tuner = keras_tuner.RandomSearch(hypermodel, gz.tuning.get_objective("fd"), max_trials=20)  # doctest: +SKIP
    >>> tuner.search("fashion_mnist_mini", budget=30)  # doctest: +SKIP
    """

    def __init__(
        self,
        name,
        image_shape,
        search=None,
        weights=None,
        n=2000,
        features=None,
        batch_size=128,
        seed=0,
        dtype=None,
        jit_compile=None,
        **fixed,
    ):
        super().__init__(name=name)
        entry = recipes.get(name)
        unknown = sorted({*fixed, *(search or {})} - {*entry.defaults, "batch_size"})
        if unknown:
            expected = ", ".join(sorted(entry.defaults))
            raise ValueError(f"recipe {name!r} has no argument {unknown[0]!r}, expected some of {expected}, batch_size.")
        chosen = {**{key: each for key, each in entry.search.items() if key not in fixed}, **(search or {})}
        self.space = {key: each for key, each in chosen.items() if each is not None}
        self.defaults = {**entry.defaults, "batch_size": batch_size, **fixed}
        for key, each in self.space.items():
            if key in fixed:
                raise ValueError(f"{key} is fixed at {fixed[key]!r} and searched in {each}; leave one of the two out.")
            if self.defaults[key] not in each:
                raise ValueError(
                    f"{key} is {self.defaults[key]!r} by default, outside of {each}; widen the range, or leave it out by None."
                )
        self.image_shape, self.weights, self.n, self.features = tuple(image_shape), weights, n, features
        self.seed, self.dtype, self.jit_compile, self.fixed = seed, dtype, jit_compile, fixed

    def get_config(self):
        """Everything `HyperRecipe(**config)` needs, as JSON can hold it but for the ranges, see `space.to_config`."""
        return {
            "name": self.name,
            "image_shape": list(self.image_shape),
            "weights": self.weights,
            "n": self.n,
            "features": self.features,
            "batch_size": self.defaults["batch_size"],
            "seed": self.seed,
            "dtype": self.dtype,
            "jit_compile": self.jit_compile,
            **self.fixed,
        }

    def values(self, hp):
        """The hyperparameters that `hp` (`keras_tuner.HyperParameters`) has chosen: dict of those that have an effect."""
        chosen = dict(self.defaults)
        searched = {}
        # Conditions first: what they are about must be known.
        for key in sorted(self.space, key=lambda key: bool(self.space[key].when)):
            each = self.space[key]
            conditions = each.when or {}
            if any(name not in self.space and chosen[name] not in allowed for name, allowed in conditions.items()):
                continue
            with contextlib.ExitStack() as scopes:
                for name, allowed in conditions.items():
                    if name in self.space:
                        written = [repr(v) for v in allowed] if isinstance(self.space[name], spaces.Choice) else list(allowed)
                        scopes.enter_context(hp.conditional_scope(name, written))
                value = each.register(hp, key, self.defaults[key])
            if all(chosen[name] in allowed for name, allowed in conditions.items()):
                chosen[key] = searched[key] = value
        return searched

    def build(self, hp, total_steps=None, steps_per_execution=None):
        """The compiled model; `total_steps` and `steps_per_execution` as in `gz.build`."""
        values = {**self.fixed, **self.values(hp)}
        values.pop("batch_size", None)
        keras.utils.set_random_seed(self.seed)  # KerasTuner clears what was set
        execution = {"dtype": self.dtype, "jit_compile": self.jit_compile, "steps_per_execution": steps_per_execution}
        return recipes.build(self.name, self.image_shape, total_steps, seed=self.seed, **execution, **values)

    def fit(
        self, hp, model, data, validation_data=None, budget=None, epochs=None, initial_epoch=0, callbacks=(), rung=None, **kwargs
    ):
        """Train the model of `hp` and measure it.

        Args:
            hp: `keras_tuner.HyperParameters`.
            model: what `build(hp)` returned; it is trained for a few steps to time them.
            data: training images, anything that `gz.data.load` takes: a name, a folder, arrays, a `tf.data.Dataset`.
            validation_data: validation images; None is the validation split of a name or a folder.
            budget: float. Seconds of training, compilation not counted.
            epochs: int. Passes over the data, instead of a budget. (Hyperband gives this argument.)
            initial_epoch: left out: every round of Hyperband trains afresh, so that schedules run to their end.
            callbacks: Keras callbacks of the training. Defaults to none.
            rung: callable of what was measured after a third of the training, which says by True that it is to end there.
            **kwargs: of `model.fit`, as `verbose`.

        Returns:
            dict of floats.

        Raises:
            ValueError: neither budget nor epochs or both, or no validation data.
            keras_tuner.errors.FailedTrialError: a number that is not finite.
        """
        _check_length(budget, epochs)
        train, validation = self._batches(hp, data, validation_data, model.data_needs)
        length, count = int(train.cardinality()), train.images_count
        train, each = train.repeat(), model.steps_per_execution
        train.images_count = count  # which some models ask for
        if budget is not None:
            executions = max(1, int(budget / budgets.seconds_per_execution(model, train, budget)))
        elif length < 0:
            raise ValueError("data are a dataset of unknown length, so epochs are unknown; give a budget.")
        else:
            each = each if epochs * length % each == 0 else 1
            executions = epochs * length // each
        del model
        parts = [max(1, executions // RUNG)] if rung is not None and executions >= RUNG else []
        parts.append(executions - sum(parts))
        model = self.build(hp, executions * each, each)
        clock = budgets.Clock()
        results = {}
        try:
            for index, part in enumerate(parts):
                kept = [clock, *callbacks]
                settings = {"epochs": 1, "steps_per_epoch": part * each, "callbacks": kept, "verbose": 0, **kwargs}
                history = model.fit(train, **settings).history
                results = {key: float(values[-1]) for key, values in history.items()} | self._measure(model, train, validation)
                results["steps"] = float(int(model.optimizer.iterations))
                results["train_seconds"] = clock.train_seconds() or 0.0
                bad = [name for name, value in results.items() if not math.isfinite(value)]
                if bad:
                    raise FloatingPointError(f"{', '.join(bad)} is not finite after {results['steps']:.0f} steps.")
                if index + 1 < len(parts) and rung(results):
                    results["stopped"] = 1.0
                    break
        except FloatingPointError as error:
            raise keras_tuner.errors.FailedTrialError(str(error)) from None
        self.model = model
        return results

    def _batches(self, hp, data, validation_data, needs):
        """Training and validation batches, with what else a model's `data_needs` ask for."""
        size = {**self.defaults, **self.values(hp)}["batch_size"]
        height, width, channels = self.image_shape
        settings = {**needs, "batch_size": size, "seed": self.seed, "image_size": (height, width)}
        if channels in (1, 3):
            settings["channels"] = channels
        if validation_data is None:
            if not isinstance(data, (str, os.PathLike, dict)):
                raise ValueError("there is no validation_data; give some, or the name of a data set that has such a split.")
            validation_data = data
        train = data_module.load(data, "train", **settings)
        return train, data_module.load(validation_data, "validation", **settings)

    def _measure(self, model, train, validation):
        """Everything that is known of a model, by name."""
        results = {f"val_{key}": float(v) for key, v in model.evaluate(validation, verbose=0, return_dict=True).items()}
        results["parameters"] = float(model.count_params())
        if hasattr(model, "fit_prior"):
            model.fit_prior(data_module.as_array(train, PRIOR_IMAGES))
        if hasattr(model, "sample"):
            monitor = FrechetDistanceMonitor(validation, n=self.n, features=self.features)
            monitor.set_model(model)
            monitor.on_train_begin()
            logs = {}
            monitor.on_epoch_end(0, logs)
            results["fd"] = float(logs["val_fd"])
            model.sample(256, seed=0)
            started = time.perf_counter()
            model.sample(256, seed=0)
            results["sample_seconds"] = time.perf_counter() - started
        if self.weights:
            results["weighted"] = float(sum(weight * results[name] for name, weight in self.weights.items()))
        return results


def _check_length(budget, epochs):
    if (budget is None) == (epochs is None) or not (budget if epochs is None else epochs) > 0:
        raise ValueError(f"budget is {budget} and epochs is {epochs}; give one of them, a number above 0.")


def get_objective(name):
    """What is searched for, as a `keras_tuner.Objective`.

    Args:
        name: str. A number that `HyperRecipe.fit` returns, as "fd" or "val_mse"; "min:NAME" or "max:NAME" where it does not
            say by itself which way is better.

    Raises:
        ValueError: a name whose direction is not known.
    """
    direction, colon, bare = name.partition(":")
    if colon:
        if direction not in ("min", "max"):
            raise ValueError(f"the objective is {name!r}, expected min:{bare} or max:{bare}.")
        return keras_tuner.Objective(bare, direction)
    stem = name.removeprefix("val_")
    if stem in LARGER:
        return keras_tuner.Objective(name, "max")
    if name in (*MEASURED, "weighted") or stem in ("loss", "mse", "distance") or stem.endswith(("_loss", "_distance")):
        return keras_tuner.Objective(name, "min")
    raise ValueError(f"it is not known whether {name!r} is to be small or large; write min:{name} or max:{name}.")


def _measured(hypermodel):
    """Names of all that `fit` of this hypermodel returns."""
    model = hypermodel.build(keras_tuner.HyperParameters())
    names = {f"{prefix}{metric.name}" for metric in model.metrics for prefix in ("", "val_")}
    samples = hasattr(model, "sample") or hasattr(model, "fit_prior")
    names |= {"parameters", "train_seconds", "steps", *(("fd", "sample_seconds") if samples else ())}
    return names | ({"weighted"} if hypermodel.weights else set())


class Search:
    """A search whose trials run each in a process of its own, and whose state is a folder.

    The same call again goes on where an interrupted search was, and runs no finished trial twice. Memory is given back after
    each trial, and a crash costs one.

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
    ):
        self.folder, self.hypermodel = Path(folder), hypermodel
        if oracle not in ORACLES:
            raise ValueError(f"the oracle is {oracle!r}, expected one of {', '.join(ORACLES)}.")
        if (oracle == "hyperband") != (trials is None):
            raise ValueError(f"trials is {trials} with oracle {oracle!r}; expected None with hyperband and a number else.")
        if trials is not None and trials < 1:
            raise ValueError(f"trials is {trials}, expected 1 at least.")
        if epochs is not None:
            budget = None
        _check_length(budget, epochs)
        if not hypermodel.space:
            raise ValueError(f"nothing of {hypermodel.name!r} is searched; give some ranges.")
        goal = get_objective(objective)
        names = _measured(hypermodel)
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
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"{self.folder} is a file, expected a folder.")
        there = _read(file)
        if there and overwrite:
            with self._lock():
                for path in self.folder.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif there and there != here:
            differing = ", ".join(key for key in here if there.get(key) != here[key])
            raise ValueError(f"{self.folder} holds another search, of other {differing}; choose another folder or overwrite it.")
        elif there:
            return
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise ValueError(f"{self.folder} holds other things than a search; choose a new or empty folder.")
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(self.settings, indent=2) + "\n")

    @classmethod
    def open(cls, folder):
        """The search of a folder, to go on with it or to read it."""
        try:
            settings = json.loads((Path(folder) / "search.json").read_text())
        except (OSError, ValueError):
            raise ValueError(f"{folder} holds no search; `genzoo tune` makes one.") from None
        config = spaces.tuples(settings.pop("hypermodel"))
        space = spaces.from_config(settings.pop("space"))
        own = recipes.get(config["name"]).search
        hypermodel = HyperRecipe(**{**config, "search": {**{key: None for key in own if key not in config}, **space}})
        return cls(folder, hypermodel, **settings)

    @contextlib.contextmanager
    def _lock(self):
        """Keep other processes from the folder."""
        with open(self.folder / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(f"another process searches in {self.folder}; wait for it or choose another folder.") from None
            yield

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
        if workers < 1:
            raise ValueError(f"workers is {workers}, expected 1 at least.")
        with self._lock():
            if workers == 1:
                _Trials(self).search()
            else:
                self._supervise(workers)
            best = self.best()
            for name, content in (("trials.json", self.results()), ("best.json", best)):
                with replacing(self.folder / name) as temporary:
                    temporary.write_text(json.dumps(content, indent=2) + "\n")
        return best

    def results(self):
        """The trials so far: list of dicts of `trial`, `status`, `hyperparameters`, `epochs` of Hyperband, `results` (what
        `HyperRecipe.fit` returned), and the `reason` of a failure."""
        rows = []
        for folder in sorted((self.folder / "trials").glob("trial_*")):
            trial = keras_tuner.engine.trial.Trial.load(str(folder / "trial.json"))
            answer = _read(folder / "result.json")
            row = {"trial": trial.trial_id, "status": trial.status.lower()}
            row["hyperparameters"] = self.hypermodel.values(trial.hyperparameters)
            row |= {"epochs": trial.hyperparameters.values.get("tuner/epochs"), "results": answer.get("results")}
            rows.append(row | {"reason": answer.get("failed")})
        return rows

    def best(self):
        """The best trial: dict of `recipe`, `hyperparameters` (of `gz.build`), `batch_size`, `objective`, `value`, `trial`.

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
            "hyperparameters": values,
            "batch_size": size,
            "objective": self.settings["objective"],
            "value": best["results"][goal.name],
            "trial": best["trial"],
        }

    def _supervise(self, workers):
        """A chief and workers, in processes; those that die are started again."""
        import tensorflow as tf

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        gpus = len(tf.config.list_physical_devices("GPU"))

        def start(name, index=0):
            service = {"ORACLE_IP": "127.0.0.1", "ORACLE_PORT": str(port), "TUNER_ID": name}
            environment = {**os.environ, **{f"KERASTUNER_{key}": value for key, value in service.items()}, SUPERVISED: "1"}
            if gpus > 1:
                environment.setdefault("CUDA_VISIBLE_DEVICES", str(index % gpus))
            with open(self.folder / f"{name}.log", "a") as log:
                command = [sys.executable, "-m", __spec__.name, str(self.folder)]
                # A session of its own, so that Ctrl-C reaches this process alone, which then ends the others.
                settings = {"stdin": subprocess.PIPE, "stdout": log, "stderr": log, "start_new_session": True}
                return subprocess.Popen(command, env=environment, **settings)

        chief = start("chief")
        running = {f"worker{index}": start(f"worker{index}", index) for index in range(workers)}
        deaths = dict.fromkeys(running, 0)
        try:
            with _bar(self) as bar:
                while running:
                    time.sleep(0.5)
                    _show(bar, self)
                    if chief.poll():
                        raise ValueError(f"the chief ended with code {chief.returncode}; {self.folder / 'chief.log'} says why.")
                    for index, (name, process) in enumerate(list(running.items())):
                        if process.poll() == 0:
                            del running[name]
                        elif process.poll() is not None:
                            deaths[name] += 1
                            if deaths[name] > 2 * ATTEMPTS:
                                raise ValueError(f"{name} ended {deaths[name]} times; {self.folder / name}.log says why.")
                            running[name] = start(name, index)
        finally:
            for process in (*running.values(), chief):
                process.terminate()
            for process in (*running.values(), chief):
                process.wait()


def _read(path):
    """What a JSON file holds, or an empty dict where there is none."""
    return json.loads(path.read_text()) if path.exists() else {}


def _bar(search):
    return tqdm(total=search.settings["trials"], unit="trial", desc=search.hypermodel.name)


def _show(bar, search):
    ended = len(list((search.folder / "trials").glob("trial_*/result.json")))
    if ended != bar.n:
        bar.n = ended
        bar.refresh()


class _Trials(keras_tuner.engine.base_tuner.BaseTuner):
    """Asks the oracle for trials and runs each in a process of its own."""

    def __init__(self, search):
        self.search_ = search
        settings = search.settings
        limit = {"max_epochs": ROUNDS} if settings["oracle"] == "hyperband" else {"max_trials": settings["trials"]}
        oracle = ORACLES[settings["oracle"]](
            objective=get_objective(settings["objective"]),
            seed=search.hypermodel.seed + 1,  # 0 would be a random one
            max_consecutive_failed_trials=None,  # some settings fail, and may do so in a row
            **limit,
        )
        oracle.verbose = 0
        super().__init__(oracle, search.hypermodel, directory=str(search.folder), project_name="trials")
        if not self._is_worker():
            # What was running when the search was interrupted comes first, whoever asks.
            oracle._retry_queue += [trial.trial_id for trial in oracle.ongoing_trials.values()]
            oracle.ongoing_trials.clear()

    def _get_tuner_fname(self):
        return os.path.join(self.project_dir, "tuner.json")  # the same for a chief and a single process

    def save(self):
        if not self._is_worker():
            super().save()

    def reload(self):
        if not self._is_worker():
            super().reload()

    def search(self):
        if self._is_worker() or "KERASTUNER_ORACLE_IP" in os.environ:
            super().search()
            return
        with _bar(self.search_) as self.bar:
            super().search()

    def run_trial(self, trial):
        folder, settings = Path(self.get_trial_dir(trial.trial_id)), self.search_.settings
        if (folder / "result.json").exists():  # it ended, but that was not yet told
            return self._told(folder)
        attempts = _read(folder / "attempts.json").get("attempts", 0) + 1
        if attempts > ATTEMPTS:
            self._answer(folder, {"failed": f"its worker was killed {ATTEMPTS} times"})
            return self._told(folder)
        with replacing(folder / "attempts.json") as temporary:
            temporary.write_text(json.dumps({"attempts": attempts}))
        budget, epochs = settings["budget"], settings["epochs"]
        rounds = trial.hyperparameters.values.get("tuner/epochs")
        if rounds is not None:
            budget = budget and budget * rounds / ROUNDS
            epochs = epochs and max(1, round(epochs * rounds / ROUNDS))
        order = {"hyperparameters": trial.hyperparameters.get_config(), "budget": budget, "epochs": epochs}
        with open(folder / "log.txt", "w") as log:
            command = [sys.executable, "-m", __spec__.name, str(self.search_.folder), trial.trial_id]
            environment = {key: value for key, value in os.environ.items() if not key.startswith("KERASTUNER_")}
            settings = {"stdin": subprocess.PIPE, "stdout": log, "stderr": log, "text": True, "start_new_session": True}
            with subprocess.Popen(command, env=environment, **settings) as process:
                try:
                    # The pipe stays open: its end tells the trial that nobody waits for it.
                    process.stdin.write(json.dumps(order) + "\n")
                    process.stdin.flush()
                    process.wait()
                except BaseException:
                    process.kill()
                    raise
        if not (folder / "result.json").exists():
            self._answer(folder, {"failed": f"its process ended with code {process.returncode}; {folder / 'log.txt'} says why"})
        return self._told(folder)

    @staticmethod
    def _told(folder):
        answer = _read(folder / "result.json")
        if "failed" in answer:
            raise keras_tuner.errors.FailedTrialError(answer["failed"])
        return answer["results"]

    @staticmethod
    def _answer(folder, answer):
        with replacing(folder / "result.json") as temporary:
            temporary.write_text(json.dumps(answer))

    def on_trial_end(self, trial):
        super().on_trial_end(trial)
        known = self.oracle.get_best_trials(10**6)
        ended = [each for each in known if each.status == "COMPLETED"]
        for worse in ended[1:]:
            (Path(self.get_trial_dir(worse.trial_id)) / "model.keras").unlink(missing_ok=True)
        if hasattr(self, "bar"):
            _show(self.bar, self.search_)
            self.bar.set_postfix_str(f"best {ended[0].score:.4g}" if ended else "none yet")

    def load_model(self, trial):
        from keras_genzoo.base import load

        return load(Path(self.get_trial_dir(trial.trial_id)) / "model.keras")


def _end_with_stdin():
    """End this process when stdin ends, for then whoever started it is gone."""
    threading.Thread(target=lambda: (sys.stdin.read(), os.kill(os.getpid(), signal.SIGKILL)), daemon=True).start()


def _trial(folder, name):
    """The process of one trial: reads what to do from stdin, and ends when that does."""
    order = json.loads(sys.stdin.readline())
    _end_with_stdin()
    search = Search.open(folder)
    place = Path(folder) / "trials" / f"trial_{name}"
    goal = get_objective(search.settings["objective"])
    sign = -1.0 if goal.direction == "max" else 1.0

    def rung(results):
        with replacing(place / "rung.json") as temporary:
            temporary.write_text(json.dumps(results))
        others = [_read(each.parent / "rung.json") for each in place.parent.glob("trial_*/result.json")]
        values = [sign * each[goal.name] for each in others if goal.name in each]
        return len(values) >= 3 and sign * results[goal.name] > statistics.median(values)

    hp = keras_tuner.HyperParameters.from_config(order["hyperparameters"])
    settings = {key: order[key] for key in ("budget", "epochs")}
    try:
        model = search.hypermodel.build(hp)
        stop = rung if search.settings["stop_hopeless"] else None
        results = search.hypermodel.fit(hp, model, search.settings["data"], rung=stop, **settings)
        search.hypermodel.model.save(place / "model.keras")
        answer = {"results": results}
    except Exception as error:
        traceback.print_exc()
        answer = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    _Trials._answer(place, answer)


def main(folder, trial=None):
    """`python -m keras_genzoo.tuning FOLDER` takes part in the search of a folder as what KerasTuner's environment variables
    say: its chief or a worker. With a trial it runs that one, as told on stdin."""
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # processes share a GPU
    if trial is not None:
        _trial(folder, trial)
    else:
        if SUPERVISED in os.environ:
            _end_with_stdin()
        _Trials(Search.open(folder)).search()


if __name__ == "__main__":
    main(*sys.argv[1:])
