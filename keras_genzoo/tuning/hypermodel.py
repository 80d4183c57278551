"""A recipe as KerasTuner searches it, and what a search may look for."""

import contextlib
import functools
import math
import os
import time
from pathlib import Path

import keras
import keras_tuner
from keras_tuner.src.engine.tuner_utils import SaveBestEpoch

from keras_genzoo import data as data_module
from keras_genzoo import recipes
from keras_genzoo.core import budgets, runs
from keras_genzoo.core.checkpoints import Checkpoint
from keras_genzoo.evaluation import SampleDistance
from keras_genzoo.recipes import space as spaces

# What must be the same for a trial to go on, see the benchmark's.
SAME = ("recipe", "hyperparameters", "data", "dtype", "flip", "budget", "epochs", "environment")
RUNG = 3  # a third of a trial's training is when it may be stopped
# Beside what `fit` logs; the numbers that are better when smaller, but for those in LARGER.
MEASURED = ("fd", "parameters", "sample_seconds", "train_seconds")
LARGER = ("psnr", "ssim", "log_prob", "diversity", "active_units")


class Ranges:
    """Where hyperparameters of a recipe are searched.

    Attributes:
        space: dict of names to ranges.
        defaults: dict of all hyperparameters, and of `batch_size`.
        fixed: dict of those at other values than the recipe's.
    """

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


class Recorded(Ranges):
    """What a folder says of the recipe that was searched, which itself need not be there."""

    def __init__(self, name, space, defaults, fixed):
        self.name, self.space, self.defaults, self.fixed = name, space, defaults, fixed


class HyperRecipe(Ranges, keras_tuner.HyperModel):
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
        splits, flip: of `gz.data.load`, of data that are loaded here. Default to True and False.
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
        splits=True,
        flip=False,
        **fixed,
    ):
        super().__init__(name=name)
        entry = recipes.get(name).at(tuple(image_shape), fixed)
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
        self.splits, self.flip = splits, flip

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
            # Searches of earlier versions do not say these.
            **({} if self.splits else {"splits": False}),
            **({"flip": True} if self.flip else {}),
            **self.fixed,
        }

    def build(self, hp, total_steps=None, steps_per_execution=None):
        """The compiled model; `total_steps` and `steps_per_execution` as in `gz.build`."""
        values = {**self.fixed, **self.values(hp)}
        values.pop("batch_size", None)
        keras.utils.set_random_seed(self.seed)  # KerasTuner clears what was set
        execution = {"dtype": self.dtype, "jit_compile": self.jit_compile, "steps_per_execution": steps_per_execution}
        return recipes.build(self.name, self.image_shape, total_steps, seed=self.seed, **execution, **values)

    def fit(
        self,
        hp,
        model,
        x=None,
        validation_data=None,
        budget=None,
        epochs=None,
        initial_epoch=0,
        callbacks=(),
        rung=None,
        folder=None,
        **kwargs,
    ):
        """Train the model of `hp` and measure it.

        Args:
            hp: `keras_tuner.HyperParameters`.
            model: what `build(hp)` returned; it is trained for a few steps to time them.
            x: training images, anything that `gz.data.load` takes: a name, a folder, arrays, a `tf.data.Dataset`.
            validation_data: validation images; None is the validation split of a name or a folder.
            budget: float. Seconds of training, compilation not counted.
            epochs: int. Passes over the data, instead of a budget. (Hyperband gives this argument.)
            initial_epoch: left out: every round of Hyperband trains afresh, so that schedules run to their end.
            callbacks: Keras callbacks of the training. Defaults to none.
            rung: callable of what was measured after a third of the training, which says by True that it is to end there.
            folder: str, Path or None. Where the training keeps its state and its record, by which it goes on if it is stopped,
                see `callbacks.Checkpoint`. Defaults to None, nowhere.
            **kwargs: of `model.fit`, as `verbose`.

        Returns:
            dict of floats.

        Raises:
            keras_tuner.errors.FatalValueError: neither budget nor epochs or both, no training or validation data, or data that
                cannot be loaded: no trial would do better.
            keras_tuner.errors.FailedTrialError: a number that is not finite.
        """
        try:
            check_length(budget, epochs)
            train, validation, codes = self._batches(hp, x, validation_data, model.data_needs)
        except (ValueError, OSError) as error:
            raise keras_tuner.errors.FatalValueError(str(error)) from error
        record = self._record(hp, x, train, validation, budget, epochs) if folder is not None else {}
        begun = runs.read(folder) if record else {}
        goes_on = bool(begun) and not runs.differing(begun, record, SAME)
        length, count = int(train.cardinality()), train.images_count
        train, each = train.repeat(), model.steps_per_execution
        train.images_count = count  # which some models ask for
        if goes_on:
            each = begun["steps_per_execution"]
            executions = begun["total_steps"] // each
        elif budget is not None:
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
        clock, kept = budgets.Clock(), []
        if record:
            runs.write(folder, record | {"total_steps": executions * each, "steps_per_execution": each})
            kept = [Checkpoint(Path(folder) / "state", every_seconds=60, keep=1, fresh=not goes_on)]
        results = {}
        try:
            for index, part in enumerate(parts):
                settings = {"epochs": index + 1, "initial_epoch": index, "steps_per_epoch": part * each, "verbose": 0}
                settings |= {"callbacks": [clock, *callbacks, *kept], **kwargs}
                history = model.fit(train, **settings).history
                if kept and kept[0].begun > (index + 1, 0):  # what followed was begun too
                    continue
                results = {key: float(values[-1]) for key, values in history.items()} | self._measure(model, codes, validation)
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
        for callback in callbacks:  # KerasTuner keeps the weights at the end of an epoch, and the prior was fitted since
            if isinstance(callback, SaveBestEpoch):
                model.save_weights(callback.filepath)
        self.model = model
        return results

    def _record(self, hp, data, train, validation, budget, epochs):
        images = {"train": train, "validation": validation}
        settings = {"hyperparameters": {**self.defaults, "seed": self.seed, **self.values(hp)}, "image_shape": self.image_shape}
        settings |= {"dtype": self.dtype, "flip": self.flip, "budget": budget, "epochs": epochs, "seed": self.seed}
        source = data_module.loading.absolute(data) if isinstance(data, (str, os.PathLike)) else data_module.name_of(train)
        return runs.record(self.name, data=runs.data_record(source, images, splits=self.splits), **settings)

    def _batches(self, hp, data, validation_data, needs):
        """Batches to train and validate, with what else a model's `data_needs` ask for, and what gives the first unshuffled."""
        size = {**self.defaults, **self.values(hp)}["batch_size"]
        height, width, channels = self.image_shape
        settings = {**needs, "batch_size": size, "seed": self.seed, "image_size": (height, width), "splits": self.splits}
        if channels in (1, 3):
            settings["channels"] = channels
        if data is None:
            raise ValueError("there are no training images; give search() a name, a folder, an array or a data set as x.")
        if validation_data is None:
            if not isinstance(data, (str, os.PathLike, dict)):
                raise ValueError("there is no validation_data; give some, or the name of a data set that has such a split.")
            validation_data = data
        train = data_module.load(data, "train", **settings, flip=self.flip)
        # In an order that does not depend on how far the training is.
        codes = functools.partial(data_module.load, data, "train", **settings, shuffle=False)
        return train, data_module.load(validation_data, "validation", **settings), codes

    def _measure(self, model, codes, validation):
        """Everything that is known of a model, by name; `codes` gives the images of whose codes a prior is fitted."""
        results = {f"val_{key}": float(v) for key, v in model.evaluate(validation, verbose=0, return_dict=True).items()}
        results["parameters"] = float(model.count_params())
        if hasattr(model, "fit_prior"):
            model.fit_prior(codes())
        if hasattr(model, "sample"):
            results["fd"] = SampleDistance(validation, self.features, self.n)(model)
            model.sample(256, seed=0)
            started = time.perf_counter()
            model.sample(256, seed=0)
            results["sample_seconds"] = time.perf_counter() - started
        if self.weights:
            results["weighted"] = float(sum(weight * results[name] for name, weight in self.weights.items()))
        return results


def check_length(budget, epochs):
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


def measured(hypermodel):
    """Names of all that `fit` of this hypermodel returns."""
    model = hypermodel.build(keras_tuner.HyperParameters())
    names = {f"{prefix}{metric.name}" for metric in model.metrics for prefix in ("", "val_")}
    samples = hasattr(model, "sample") or hasattr(model, "fit_prior")
    names |= {"parameters", "train_seconds", "steps", *(("fd", "sample_seconds") if samples else ())}
    return names | ({"weighted"} if hypermodel.weights else set())
