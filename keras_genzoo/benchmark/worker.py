"""The process of one run: reads what to do as JSON from stdin, trains, scores, writes files and answers in JSON lines.

An answer is `{"stage": ...}`, `{"plan": {...}}` of a recipe that had none, `{"row": {...}}` for each run in
order, `{"failed": reason}`, or, of data that no run could use, `{"refused": reason}`. A row is told before the files of its run
are written: a full disk costs no score.

A recipe that was stopped in the middle of its training goes on there, on the same machine, with the same code.
"""

import json
import math
import os
import shutil
import statistics
import sys
import textwrap
import time
import traceback
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo.benchmark import controls, planning, published, shown
from keras_genzoo.benchmark.results import PROTOCOL
from keras_genzoo.benchmark.running import COMPARING
from keras_genzoo.callbacks import pairs
from keras_genzoo.core import devices, plugins, runs
from keras_genzoo.core.budgets import Clock, segment_length
from keras_genzoo.core.files import to_json
from keras_genzoo.core.images import write_png
from keras_genzoo.core.processes import end_with_stdin
from keras_genzoo.evaluation import SampleDistance, score_reconstructions

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None

VALIDATION = 500  # images that a learning curve's validation loss is taken of
CURVE_POINTS, CURVE_N, CURVE_CODES = 4, 500, 1000  # distances while training, images of each, codes for the prior
MOST = 10_000  # images compared, unless --n says otherwise
FLOOR = "real train images"  # the control whose images have labels
SPLITS = ("train", "validation", "test")
CHOSEN = ("image_size", "channels", "data_dir", "splits")  # of `data.load`
STATE = "state"  # of a training that is not done
APART = 30.0  # seconds of training between two states, about, where its seconds are planned
LATE = 600.0  # and at most, where steps or epochs are asked for
# What must be the same for a training to go on: times of two machines, or scores of two versions, would be of neither.
SAME = ("recipe", "hyperparameters", "data", "dtype", "batch_size", "flip", "budget", "epochs", "steps", "environment")


def main():
    # Libraries that print must not disturb the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    say = lambda **answer: print(to_json(answer), file=answers, flush=True)  # noqa: E731
    spec = json.loads(sys.stdin.readline())
    end_with_stdin()
    try:
        print(f"device: {devices.choose(spec['settings']['device'])}", file=sys.stderr)
        plugins.import_named(spec["imports"])
        data = Data(spec["settings"], spec["known"])
    except (ValueError, OSError) as error:
        say(refused=" ".join(str(error).split()))
        sys.exit(1)
    try:
        for run, folder in zip(spec["runs"], spec["folders"], strict=True):
            record = data.record_of(run, spec["command"]) | {"protocol": PROTOCOL}
            work = run_control if run["kind"] == "control" else run_recipe
            work(run, spec["settings"], data, Path(folder), record, say)
    except BrokenPipeError:  # the parent is gone
        sys.exit(1)
    except Exception as error:
        traceback.print_exc()
        say(failed=f"{type(error).__name__}: {textwrap.shorten(str(error), 300)}")
        sys.exit(1)


class Data:
    """The images of a data set: arrays by split, and the batches of training and validation.

    Attributes:
        n: int. How many images are compared with as many.
        test: those n of the split that is compared with, drawn once and for all, because a split may be sorted.
        test_labels, train_labels, validation_labels: int arrays, or None where there are none.
    """

    def __init__(self, settings, known=None):
        self.settings, self.source = settings, settings["data"]
        labels = {"labels": gz.data.labelled(*(settings[key] for key in ("data", "data_dir", "splits")))}
        if settings["split"] == "train":
            self.source = self._whole(labels)
        splits = {split: self._load(split, shuffle=False, **labels) for split in SPLITS}
        found = (gz.data.as_array(split) for split in splits.values())
        pairs = [each if isinstance(each, tuple) else (each, None) for each in found]
        (self.train, self.train_labels), (self.validation, self.validation_labels), tested = pairs
        test, labels = pairs[1] if settings["split"] == "validation" else tested
        chosen = {key: settings[key] for key in CHOSEN}
        self.record = runs.data_record(settings["data"], splits, **chosen)
        others = runs.differing({"data": known}, {"data": self.record}, ("data",)) if known else []
        if others:
            raise ValueError(f"{', '.join(others)} than those of the results that are there; choose a new folder for them.")
        if settings["split"] == "train":
            self.n, self.test, self.test_labels = settings["n"] or published.SAMPLES, test, labels
            return
        most = min(len(test), len(self.train))
        self.n = settings["n"] or min(most, MOST)
        if self.n > most:
            raise ValueError(
                f"--n is {self.n}, but there are {len(test)} {settings['split']} and {len(self.train)} training images."
            )
        self.test = controls.real_images(test, self.n, seed=0)[0]
        self.test_labels = None if labels is None else controls.real_images(labels, self.n, seed=0)[0]

    def record_of(self, run, command):
        """The record of a run in these data."""
        asked = {key: self.settings[key] for key in ("batch_size", "flip", "budget", "epochs", "steps")}
        if run["kind"] == "recipe":
            sized = gz.recipes.get(run["recipe"]).at(self.train.shape[1:], run["overrides"])
            asked["hyperparameters"] = {**sized.defaults, "seed": run["seed"], **run["overrides"]}
        asked |= {"image_shape": self.train.shape[1:], "dtype": self.settings["mixed_precision"], "seed": run["seed"]}
        return runs.record(run["recipe"], run.get("imports", ()), command, data=self.record, **asked)

    def _load(self, split, **kwargs):
        chosen = {key: self.settings[key] for key in (*CHOSEN, "batch_size")}
        return gz.data.load(self.source, split, **chosen, **kwargs)

    def _whole(self, labels):
        """The data as papers split them, which train on all images but those of test: these stand for validation, too."""
        parts = [gz.data.as_array(self._load(split, shuffle=False, **labels)) for split in SPLITS]
        joined = (
            [np.concatenate(each) for each in zip(*parts[:2], strict=True)] if labels["labels"] else np.concatenate(parts[:2])
        )
        return {"train": tuple(joined) if labels["labels"] else joined, "validation": parts[2], "test": parts[2]}

    def training_batches(self, seed, needs):
        """Endless; with what else a model's `data_needs` ask for."""
        batches = self._load("train", seed=seed, flip=self.settings["flip"], **needs).repeat()
        batches.images_count = len(self.train)
        return batches

    def validation_batches(self, needs):
        """Enough for a learning curve, in full batches where there are so many images: another size compiles anew. The same ones
        every time, drawn from all."""
        size = self.settings["batch_size"]
        batches = self._load("validation", shuffle=True, seed=0, drop_remainder=len(self.validation) >= size, **needs)
        return batches.take(-(-VALIDATION // size)).cache()


def run_recipe(run, settings, data, folder, record, say):
    """Train a recipe, score it, and tell its row."""
    asked = {"jit_compile": settings["jit"], "steps_per_execution": settings["steps_per_execution"]}

    def build(total_steps):
        keras.utils.set_random_seed(run["seed"])
        return gz.build(
            run["recipe"],
            data.train.shape[1:],
            total_steps=total_steps,
            dtype=settings["mixed_precision"],
            seed=run["seed"],
            **asked,
            **run["overrides"],
        )

    say(stage="building")
    plan = run.get("plan")
    if not plan or plan["device"] != record["environment"]["device"]:
        plan = planning.make(lambda: build(total_steps=1000), settings, data, run["seed"], record["environment"], say)
        say(plan=plan)
    try:
        model, row = trained(build, plan, run, settings, data, folder, record, say)
    except planning.Missed as missed:  # known from how it began, which costs less than to train to the end
        plan = missed.plan
        say(plan=plan)
        shutil.rmtree(folder / STATE, ignore_errors=True)
        model, row = trained(build, plan, run, settings, data, folder, record, say)
    if settings["budget"] and not plan.get("tried"):
        plan = planning.tried(plan, row, settings["budget"], model.steps_per_execution)
        say(plan=plan)
        if row.get("off_budget"):
            shutil.rmtree(folder / STATE)
            model, row = trained(build, plan, run, settings, data, folder, record, say)
    row["plan"] = plan
    say(stage="scoring")
    row |= sampling_speed(model)
    say(stage=COMPARING)
    scores = scores_of(model, run, data, settings)
    row |= {"scores": scores, "distance_name": distance_name(scores)}

    say(row=record | row)
    model.save(folder / runs.MODEL)
    shutil.rmtree(folder / STATE)
    shown.write(model, data, settings["features"], run["seed"], folder)


def trained(build, plan, run, settings, data, folder, record, say):
    """The model of a run after the steps of its plan and the fit of its prior, and what its row says of that."""
    steps = plan["steps"]
    model = build(total_steps=steps)
    train = data.training_batches(run["seed"], model.data_needs)
    if settings["split"] == "train":
        published.check_memory(model, train, run["recipe"])
    each = model.steps_per_execution
    length = segment_length(steps // each)
    segments = steps // each // length
    begun = runs.read(folder)
    goes_on = begun.get("total_steps") == steps and not runs.differing(begun, record, SAME)
    record |= {"total_steps": steps, "jit_compile": bool(model.jit_compile), "steps_per_execution": each}

    rare = math.ceil(APART / (length * each * plan.get("seconds_per_step", APART)))
    late = None if settings["budget"] else LATE
    keeper = gz.callbacks.Checkpoint(folder / STATE, every_epochs=rare, every_seconds=late, keep=1, fresh=not goes_on)
    curve = Curve(model, data, settings["features"], segments)

    def look(segment, done, seconds, logs):
        if segment + 1 == planning.EARLY and settings["budget"] and not plan.get("tried"):
            planning.checked(plan, settings["budget"], each, seconds / (done - each))  # without the first, which compiles
        return curve(segment, done, seconds, logs)

    clock = Clock(look, lambda begun: say(stage="training"))
    reset_peak_memory()
    guard = gz.callbacks.StopOnDivergence()
    write = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: runs.write(folder, record))
    settings_of_fit = {"steps_per_epoch": length * each, "epochs": segments, "verbose": 0}
    model.fit(train, callbacks=[guard, clock, write, keeper], **settings_of_fit)
    if guard.reason:
        model.save(folder / runs.MODEL)  # with the last good weights
        shutil.rmtree(folder / STATE)
        raise FloatingPointError(guard.reason)
    points = clock.points
    for point in points:
        point["seconds"] += (clock.train_seconds() or 0.0) / clock.executions  # the first execution, without compilation
    row = {
        "steps": steps,
        "train_flops": steps * plan["step_flops"],
        "train_s": clock.train_seconds(),
        "compile_s": clock.compile_seconds(),
        "curve": points,
        "curve_n": curve.distance.n,
        "params": model.count_params(),
        "summary": gz.recipes.get(run["recipe"]).summary,
        **peak_memory(),
    }
    if row["train_s"]:
        row["train_images_per_s"] = steps * min(planning.images_a_step(model, settings), len(data.train)) / row["train_s"]

    if hasattr(model, "fit_prior"):
        say(stage="fitting the prior")
        row["fit_prior_s"] = planning.prior_seconds(model, data)
    row |= planning.kept(plan, settings["budget"], row["train_s"], row.get("fit_prior_s", 0.0))
    return model, row


def scores_of(model, run, data, settings):
    """The scores of a trained model: those of papers where samples are compared with the training images."""
    if settings["split"] == "train":
        return published.scores_of(model, run["recipe"], data, settings["features"], data.n, run["seed"])
    test = with_labels(data.test, data.test_labels)
    return gz.evaluate(model, test, features=settings["features"], seed=run["seed"], train=data.train)


def run_control(run, settings, data, folder, record, say):
    """Score images that no model made, and tell the row."""
    say(stage=run["recipe"])
    images, others = controls.CONTROLS[run["recipe"]](data.train, data.n, run["seed"])
    # Without others, where all training images are in the control, there is no nearest one.
    others = others if len(others) else None
    metrics = gz.metrics.SampleMetrics(data.test, others, features=settings["features"], labels=data.test_labels)
    known = run["recipe"] == FLOOR and data.train_labels is not None
    scores = metrics(images, controls.real_images(data.train_labels, data.n, run["seed"])[0] if known else None)
    arrays = {"samples": images[: shown.GRID]}
    if run["recipe"] in controls.RECONSTRUCT and run["seed"] == 0:  # which no draw changes
        model = controls.RECONSTRUCT[run["recipe"]](data.train)
        scores |= score_reconstructions(data.test, model.reconstruct(data.test), metrics)
        arrays["reconstructions"], columns = pairs(model, data.test[: shown.PAIRS])
    say(row=record | {"scores": scores, "distance_name": distance_name(scores)})
    write_png(folder / "samples.png", arrays["samples"])
    if others is not None:
        shown.write_nearest(arrays["samples"], others, settings["features"], folder)
    if "reconstructions" in arrays:
        write_png(folder / "reconstructions.png", arrays["reconstructions"], columns)
    shown.save_arrays(folder, arrays)


def with_labels(images, labels):
    return images if labels is None else (images, labels)


class Curve:
    """Losses after every segment of training and, at some of them, the distance of samples on the validation split."""

    def __init__(self, model, data, features, segments):
        self.model, self.data = model, data
        self.batches = data.validation_batches(model.data_needs)
        self.looks = set(np.linspace(segments, 0, min(CURVE_POINTS, segments), endpoint=False).round().astype(int) - 1)
        self.distance = SampleDistance(with_labels(data.validation, data.validation_labels), features, CURVE_N)

    def __call__(self, segment, steps, seconds, logs):
        validation = self.model.evaluate(self.batches, verbose=0, return_dict=True)
        point = {"steps": steps, "seconds": seconds, **logs, **{f"val_{key}": value for key, value in validation.items()}}
        if segment in self.looks:
            point["distance"] = self.sample_distance()
        return point

    def sample_distance(self):
        if hasattr(self.model, "fit_prior"):
            self.model.fit_prior(self.data.train, images=CURVE_CODES)
        return self.distance(self.model)


def reset_peak_memory():
    if tf.config.get_visible_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")


def peak_memory():
    """Peaks in MB: of the whole process in the machine's memory, and of training in the GPU's."""
    peaks = {"peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024} if resource else {}
    if tf.config.get_visible_devices("GPU"):
        peaks["peak_gpu_memory_mb"] = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
    return peaks


def sampling_speed(model):
    """Seconds of one image and images a second of 256, the median of warm calls; `sample` returns when they are there."""
    if not hasattr(model, "sample"):
        return {}

    def seconds(n, repeats):
        laps = []
        for seed in range(repeats + 1):
            started = time.perf_counter()
            model.sample(n, seed=seed)
            laps.append(time.perf_counter() - started)
        return statistics.median(laps[1:])

    return {
        "latency_s": seconds(1, 10),
        "sample_images_per_s": 256 / seconds(256, 5),
        "evaluations_per_sample": getattr(model, "evaluations_per_sample", 1),
    }


def distance_name(scores):
    """The key of the Frechet distance, as "FD[fashion-cnn]"; None where the model cannot sample."""
    return next((key for key in scores if key.partition("[")[0] in ("FD", "FID", "sFID")), None)


if __name__ == "__main__":
    main()
