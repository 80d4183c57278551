"""The benchmark: runs recipes at equal budgets, scores them beside controls, and writes the report.

`run` is all of it from Python; `genzoo benchmark` and, in a checkout, `python -m benchmarks` are its commands.
"""

import contextlib
from pathlib import Path

from keras_genzoo import data as data_module
from keras_genzoo import metrics, recipes
from keras_genzoo.benchmark import cluster, controls, running
from keras_genzoo.benchmark.results import PROTOCOL, Folder, FolderError
from keras_genzoo.core import devices, plugins, runs
from keras_genzoo.core.checks import whole, whole_or_none
from keras_genzoo.data.loading import absolute

__all__ = ["PROTOCOL", "ArgumentError", "Folder", "FolderError", "choose_recipes", "list_runs", "reproduce", "run"]

LEAST = 6  # images that can be compared
SPLITS = ("test", "validation", "train")


class ArgumentError(ValueError):
    """An argument that cannot be used, in one sentence.

    Attributes:
        argument: str. Its name.
    """

    def __init__(self, argument, sentence):
        super().__init__(sentence)
        self.argument = argument


def run(
    recipes="all",
    data="fashion_mnist_mini",
    budget=None,
    epochs=None,
    steps=None,
    seeds=1,
    first_seed=0,
    out="runs/benchmark",
    batch_size=128,
    n=None,
    features=None,
    overrides=None,
    image_size=None,
    channels=None,
    splits=True,
    split="test",
    flip=False,
    data_dir=None,
    device="auto",
    mixed_precision=None,
    jit=None,
    steps_per_execution=None,
    timeout=None,
    imports=(),
    anyway=False,
    ray=None,
    cpus=None,
    only=None,
):
    """Train recipes at an equal budget and score them beside controls, each run in a process of its own.

    The same call again does only what is missing; recipes and seeds may be added.

    Args:
        recipes: list of names, or a str of names between commas; `family:NAME` and `all` stand for several. Defaults to "all".
        data: str or Path. Shipped data set, folder of images, `.npy` or `.npz` file, or TFDS name, see `gz.data.load`.
        budget: float. Seconds of training a run, the fit of a prior over codes included, compilation not. The first run of a
            recipe plans its steps, which all of its seeds take. Defaults to 60, unless `epochs` or `steps` is given.
        epochs, steps: int. Train for so many epochs or steps instead; `steps` repeats a run of a budget exactly.
        seeds: int. Runs a recipe, with seeds `first_seed`, `first_seed + 1`, ... Defaults to 1.
        first_seed: int. Choose recipes by other seeds than those that are reported. Defaults to 0.
        out: str or Path. Folder of the results, new or of the same settings. Defaults to "runs/benchmark".
        batch_size: int. Defaults to 128.
        n: int or None. Images compared, at least 6; None is all of the split, 10,000 at most.
        features: str or None. What images are compared in, as "inception" for FID; None is chosen by the data.
        overrides: dict of recipes to dicts of hyperparameters, as `{"vae": {"latent_dim": 32}}`, or None. What is set otherwise
            than the recipe has it makes a row of its own.
        image_size: `(height, width)` or None. Crop and resize images.
        channels: 1, 3 or None. Convert images to gray or to colour.
        splits: bool. Whether subfolders train, validation and test of a folder are its splits. Defaults to True.
        split: "test", "validation" or "train". The images that are compared. Choose recipes by validation images and other seeds,
            and report them by test images. "train" is what papers do, see `reproduce`: training takes all images but those of
            test, samples are compared with them, and there are no controls. Defaults to "test".
        flip: bool. Mirror training images left to right at random. Defaults to False.
        data_dir: str, Path or None. Where TFDS keeps its data sets.
        device: "auto", "cpu", "gpu" or "gpu:NUMBER". Defaults to "auto".
        mixed_precision: "mixed_bfloat16", "mixed_float16" or None.
        jit, steps_per_execution: of `compile`; None is the recipe's own choice.
        timeout: float or None. Seconds after which a run is stopped and counts as failed.
        imports: list of modules, and of paths of `.py` files, with recipes of your own. Their names are stored with the rows.
        anyway: bool. Plan steps for a budget of seconds though other processes use the cores. Defaults to False.
        ray: str or None. The address of a Ray cluster, "auto" or HOST:PORT, whose machines do the runs. They share the disk of
            `out` and of the images. Defaults to None, this machine.
        cpus: int or None. Cores of a run on the cluster. Defaults to None: all of a machine, or the share of one of its GPUs.
        only: int or None. Do this run alone, by its number in `list_runs`; other processes may do others meanwhile. Defaults to
            None, all runs.

    Returns:
        `Folder` of the results: `rows()`, a dict a run, and `frame()`, the same as a data frame. Its `failed` is the list of
        rows of this call that failed. `genzoo benchmark report OUT` writes the page.

    Raises:
        ArgumentError: an argument that cannot be used.
        FolderError: a folder of other settings or of other things.
        planning.Busy: other processes use the cores while a budget of seconds is to be planned.
        ImportError, OSError: Ray, or the cluster, is not there.

    Example:

    >>> folder = gz.benchmark.run("dense_autoencoder", steps=20, out="runs/first")  # doctest: +SKIP
    >>> folder.frame()[["recipe", "seed", "FD[fashion-cnn]"]]  # doctest: +SKIP
    """
    imports = plugins.import_named(imports)
    if (Path(out) / "settings.json").exists():
        plugins.import_stored(Folder(out).imports(), imports, what=str(out))
    chosen, overrides = choose_recipes(recipes), overrides or {}
    for name in overrides:
        _check_overrides(name, overrides[name], chosen)
    seeds, batch_size = whole(seeds=seeds, batch_size=batch_size)
    first_seed = whole(0, first_seed=first_seed)
    n, steps_per_execution = whole_or_none(LEAST, n=n), whole_or_none(steps_per_execution=steps_per_execution)
    if sum(value is not None for value in (budget, epochs, steps)) > 1:
        raise ArgumentError("budget", "budget, epochs and steps exclude each other; give one.")
    if budget is not None and not budget > 0:
        raise ArgumentError("budget", f"budget is {budget!r}, expected seconds above 0.")
    if split not in SPLITS:
        raise ArgumentError("split", f"split is {split!r}, expected one of {', '.join(SPLITS)}.")
    devices.check(device)
    if budget is None and epochs is None and steps is None:
        budget = 60.0
    settings = {
        "budget": budget,
        "epochs": whole_or_none(epochs=epochs),
        "steps": whole_or_none(steps=steps),
        "data": absolute(data),  # the same from everywhere
        "data_dir": data_dir and str(data_dir),
        "image_size": image_size and list(image_size),
        "channels": channels,
        "splits": splits,
        "split": split,
        "flip": flip,
        "batch_size": batch_size,
        "n": n,
        "features": _checked_features(features, data, data_dir, channels, splits),
        "device": device,
        "mixed_precision": mixed_precision,
        "jit": jit,
        "steps_per_execution": steps_per_execution,
    }
    wanted = _rows(chosen, range(first_seed, first_seed + seeds), overrides, imports, yardsticks=split != "train")
    jobs = _one(_jobs(wanted), only)
    if ray is not None and only is not None:
        raise ArgumentError("only", f"only is {only} and ray {ray!r}, and each shares out the runs; give one of them.")
    folder = Folder.create(out, settings)
    for row in folder.rows():
        if row["recipe"] in chosen and row["status"] == "ok":
            runs.check_name(row, f"a row of {out}")
    with contextlib.nullcontext() if only else folder.lock():
        folder.ask(wanted)
        rows = [row for job in jobs for row in job]
        missing = folder.missing(rows)
        if len(missing) < len(rows):
            print(f"{len(rows) - len(missing)} of {len(rows)} rows are in {out} already.")
        jobs = _jobs(missing)
        if ray is None:
            folder.failed = running.run_all(folder, jobs, timeout, anyway)
        else:
            folder.failed = cluster.run_all(folder, jobs, ray, timeout, anyway, whole_or_none(cpus=cpus))
    folder.tried = missing
    return folder


def list_runs(recipes="all", seeds=1, first_seed=0, overrides=None):
    """The runs that `run` with these arguments does, in words; `only` takes their numbers, from 1 on.

    Args:
        recipes, seeds, first_seed, overrides: as in `run`.

    Returns:
        list of str. The first is all controls.

    Example:

    >>> gz.benchmark.list_runs("vae,gan", seeds=2)
    ['controls', 'vae, seed 0', 'vae, seed 1', 'gan, seed 0', 'gan, seed 1']
    """
    rows = _rows(choose_recipes(recipes), range(first_seed, first_seed + seeds), overrides or {}, ())
    return [running.job_name(job) for job in _jobs(rows)]


def _jobs(rows):
    """Rows by the process that makes them: all controls in one, and each recipe and seed in one of its own."""
    yardsticks = [row for row in rows if row["kind"] == "control"]
    return [yardsticks] * bool(yardsticks) + [[row] for row in rows if row["kind"] == "recipe"]


def _one(jobs, number):
    """The job of a number, from 1 on, in a list; all of them where there is none."""
    if number is None:
        return jobs
    if whole(only=number) > len(jobs):
        raise ArgumentError("only", f"only is {number}, but there are {len(jobs)} runs; give a number up to that.")
    return jobs[number - 1 : number]


def choose_recipes(given):
    """Names of recipes, of a list or of a text with commas, in which `family:NAME` and `all` stand for several."""
    families, chosen = recipes.names(), []
    parts = given.split(",") if isinstance(given, str) else given
    for part in filter(None, (part.strip() for part in parts)):
        kind, colon, family = part.partition(":")
        if part == "all":
            chosen += [name for names in families.values() for name in names]
        elif colon and (kind != "family" or family not in families):
            known = ", ".join(f"family:{each}" for each in families)
            raise ArgumentError("recipes", f"there is no family {part!r}, expected one of {known}.")
        elif colon:
            chosen += families[family]
        else:
            try:
                chosen.append(recipes.get(part).name)
            except ValueError as error:
                raise ArgumentError("recipes", str(error)) from None
    if not chosen:
        raise ArgumentError("recipes", "no recipe is named; `genzoo list` shows them.")
    return list(dict.fromkeys(chosen))


def _check_overrides(name, values, chosen):
    known = [each for each in recipes.get(name).defaults if each != "seed"]
    for argument in values:
        if argument not in known:
            expected = ", ".join(known)
            raise ArgumentError("overrides", f"recipe {name!r} has no argument {argument!r}, expected one of {expected}.")
        if name not in chosen:
            raise ArgumentError("overrides", f"{name}.{argument} is of a recipe that does not run; add it to the recipes.")


def _checked_features(features, data, data_dir, channels, splits):
    """The name of the features, which must be had, as must the data."""
    try:
        info = data_module.info(data, data_dir=data_dir, splits=splits)
    except (ValueError, OSError) as error:
        raise ArgumentError("data", str(error)) from None
    if features is None:
        features = metrics.default_features(data, channels or (info.image_shape and info.image_shape[-1]))
    # By name alone: loading the network here would take the GPU from the processes of the runs.
    if features not in metrics.names():
        raise ArgumentError("features", f"unknown features {features!r}; there are {', '.join(metrics.names())}.")
    try:
        metrics.fetch_features(features)
    except (ValueError, OSError, ImportError) as error:
        raise ArgumentError("features", str(error)) from None
    return features


def _rows(chosen, seeds, overrides, imports, yardsticks=True):
    """What a finished folder holds: a control or a recipe with a seed each, of controls as many draws as models have seeds."""
    control = {"kind": "control", "family": "control", "overrides": {}}
    rows = [{**control, "recipe": name, "seed": seed} for seed in range(len(seeds)) for name in controls.CONTROLS if yardsticks]
    for name in chosen:
        row = {"kind": "recipe", "recipe": name, "family": recipes.get(name).family, "overrides": overrides.get(name, {})}
        rows += [{**row, "seed": seed, "imports": imports} for seed in seeds]
    return rows


from keras_genzoo.benchmark.reproducing import reproduce  # noqa: E402, which calls `run`
