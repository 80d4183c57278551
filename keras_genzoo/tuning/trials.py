"""The processes of a search: KerasTuner's tuner, which asks for trials, a chief and its workers, and the process of one trial."""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import traceback
from pathlib import Path

import keras_tuner
from tqdm import tqdm

from keras_genzoo.core import devices
from keras_genzoo.core.files import read_json, replacing, to_json
from keras_genzoo.core.processes import end_with_stdin
from keras_genzoo.core.saving import load
from keras_genzoo.tuning.hypermodel import get_objective

ORACLES = {
    "random": keras_tuner.oracles.RandomSearchOracle,
    "hyperband": keras_tuner.oracles.HyperbandOracle,
    "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
}
ROUNDS = 9  # Hyperband's longest training, in its shortest ones
IMPORTS = "KERAS_GENZOO_IMPORTS"  # what a process of a search imports, as JSON
SUPERVISED = "KERAS_GENZOO_SUPERVISED"  # set for a chief and workers that `Search.run` starts, and ends with itself
ATTEMPTS = 2  # runs of one trial whose worker was killed
PROCESS = "keras_genzoo.tuning"  # what `python -m` runs in processes of their own, see __main__.py


class Trials(keras_tuner.engine.base_tuner.BaseTuner):
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
        if self._is_worker():
            return
        try:
            super().reload()
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            for path in Path(self.project_dir).rglob("*.json"):
                read_json(path)  # names the file that is no JSON
            reason = repr(error.__cause__ or error.__context__ or error)
            raise ValueError(
                f"the state of the search in {self.project_dir} is damaged ({reason}); begin anew with overwrite."
            ) from error

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
        attempts = read_json(folder / "attempts.json").get("attempts", 0) + 1
        if attempts > ATTEMPTS:
            answer(folder, {"failed": f"its worker was killed {ATTEMPTS} times"})
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
            command = [sys.executable, "-m", PROCESS, str(self.search_.folder), trial.trial_id]
            environment = _environment(self.search_)
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
            answer(folder, {"failed": f"its process ended with code {process.returncode}; {folder / 'log.txt'} says why"})
        return self._told(folder)

    @staticmethod
    def _told(folder):
        answer = read_json(folder / "result.json")
        if "failed" in answer:
            raise keras_tuner.errors.FailedTrialError(answer["failed"])
        return answer["results"]

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
        return load(Path(self.get_trial_dir(trial.trial_id)) / "model.keras")


def _environment(search):
    """Of a process of a search: its device, and the files that it may import because they were given to this one."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("KERASTUNER_")}
    return {**own, **devices.environment(search.device), IMPORTS: json.dumps(search.imports)}


def answer(folder, found):
    """Store what became of a trial."""
    with replacing(folder / "result.json") as temporary:
        temporary.write_text(to_json(found))


def _bar(search):
    return tqdm(total=search.settings["trials"], unit="trial", desc=search.hypermodel.name)


def _show(bar, search):
    ended = len(list((search.folder / "trials").glob("trial_*/result.json")))
    if ended != bar.n:
        bar.n = ended
        bar.refresh()


def supervise(search, workers):
    """A chief and workers, in processes; those that die are started again."""
    import tensorflow as tf

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    gpus = len(tf.config.list_physical_devices("GPU"))

    def start(name, index=0):
        service = {"ORACLE_IP": "127.0.0.1", "ORACLE_PORT": str(port), "TUNER_ID": name}
        environment = {**_environment(search), **{f"KERASTUNER_{key}": value for key, value in service.items()}, SUPERVISED: "1"}
        if gpus > 1:
            environment.setdefault("CUDA_VISIBLE_DEVICES", str(index % gpus))
        with open(search.folder / f"{name}.log", "a") as log:
            command = [sys.executable, "-m", PROCESS, str(search.folder)]
            # A session of its own, so that Ctrl-C reaches this process alone, which then ends the others.
            settings = {"stdin": subprocess.PIPE, "stdout": log, "stderr": log, "start_new_session": True}
            return subprocess.Popen(command, env=environment, **settings)

    chief = start("chief")
    running = {f"worker{index}": start(f"worker{index}", index) for index in range(workers)}
    deaths = dict.fromkeys(running, 0)
    try:
        with _bar(search) as bar:
            while running:
                time.sleep(0.5)
                _show(bar, search)
                if chief.poll():
                    raise ValueError(f"the chief ended with code {chief.returncode}; {search.folder / 'chief.log'} says why.")
                for index, (name, process) in enumerate(list(running.items())):
                    if process.poll() == 0:
                        del running[name]
                    elif process.poll() is not None:
                        deaths[name] += 1
                        if deaths[name] > 2 * ATTEMPTS:
                            raise ValueError(f"{name} ended {deaths[name]} times; {search.folder / name}.log says why.")
                        running[name] = start(name, index)
    finally:
        for process in (*running.values(), chief):
            process.terminate()
        for process in (*running.values(), chief):
            process.wait()


def run_trial(search, name):
    """The process of one trial: reads what to do from stdin, and ends when that does."""
    order = json.loads(sys.stdin.readline())
    end_with_stdin()
    place = search.folder / "trials" / f"trial_{name}"
    goal = get_objective(search.settings["objective"])
    sign = -1.0 if goal.direction == "max" else 1.0

    def rung(results):
        with replacing(place / "rung.json") as temporary:
            temporary.write_text(to_json(results))
        others = [read_json(each.parent / "rung.json") for each in place.parent.glob("trial_*/result.json")]
        values = [sign * each[goal.name] for each in others if goal.name in each]
        return len(values) >= 3 and sign * results[goal.name] > statistics.median(values)

    hp = keras_tuner.HyperParameters.from_config(order["hyperparameters"])
    settings = {key: order[key] for key in ("budget", "epochs")}
    try:
        model = search.hypermodel.build(hp)
        stop = rung if search.settings["stop_hopeless"] else None
        results = search.hypermodel.fit(hp, model, search.settings["data"], rung=stop, folder=place, **settings)
        search.hypermodel.model.save(place / "model.keras")
        found = {"results": results}
    except Exception as error:
        traceback.print_exc()
        found = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    answer(place, found)
    shutil.rmtree(place / "state", ignore_errors=True)
