"""Training as published, and scores as papers have them: `python -m benchmarks reproduce`."""

from pathlib import Path

import tensorflow as tf

from keras_genzoo import benchmark
from keras_genzoo import data as data_module
from keras_genzoo.benchmark import published
from keras_genzoo.core import devices, memory

COPIES = 4  # of the images: as read, joined, in their order, and in batches
NUMBERS = 3072  # of a sample that are kept: features and logits of Inception, some 12 kB
BASE = 2 * 2**30  # bytes of TensorFlow with the network of the features


def reproduce(
    data="cifar10",
    recipes="all",
    source=None,
    steps=None,
    budget=None,
    batch_size=None,
    n=published.SAMPLES,
    features="inception",
    overrides=None,
    out="runs/reproduce",
    anyway=False,
    **settings,
):
    """Train recipes in a published size as their authors did, and score them as their papers do.

    A recipe trains on all images but those of test, for the published steps with the published batches. Then 50,000 samples of
    the averaged weights are compared with the training images (FID), and the likelihoods of the test images are taken, as far as
    the paper tells either. The same call again goes on where a training was stopped, and does only what is missing.

    Args:
        data: "cifar10".
        recipes: list of names, or a str of names between commas, with or without `/cifar10`. "all" are all with a published
            length, or with `steps` or `budget` all. Defaults to "all".
        source: str or Path. A file or folder of the images, as `gz.data.load` takes it. None is the data set of TFDS. Defaults
            to None.
        steps: int or None. Train for so many steps, for a try; None is the published number. Defaults to None.
        budget: float or None. Train for so many seconds instead. Defaults to None.
        batch_size: int or None. None is the published one. Defaults to None.
        n: int. Samples, and test images at most. Defaults to 50,000.
        features: str. Defaults to "inception". A distance in other features is not called FID.
        overrides: dict of recipes to dicts of hyperparameters, or None, as in `benchmark.run`. Defaults to None.
        out: str or Path. A folder, which gets one of a benchmark for each recipe. Defaults to "runs/reproduce".
        anyway: bool. Do it though there is no GPU for the published length. Defaults to False.
        **settings: others of `benchmark.run`.

    Returns:
        list of `Folder`, one a recipe.

    Raises:
        benchmark.ArgumentError: an argument that cannot be used; no GPU, or too little memory.

    Example:

    >>> gz.benchmark.reproduce(recipes="ddpm,edm")  # doctest: +SKIP
    >>> gz.benchmark.reproduce(recipes="sngan", steps=100, n=1000, out="runs/try")  # doctest: +SKIP
    """
    short = steps is not None or budget is not None
    chosen, overrides, source = choose(data, recipes, short), overrides or {}, data if source is None else source
    for name in overrides:
        if name not in chosen:
            raise benchmark.ArgumentError("overrides", f"{name} is set and does not run; expected one of {', '.join(chosen)}.")
    _check_machine(chosen, source, settings, n, short or anyway)
    folders = []
    for name in chosen:
        known = published.PUBLISHED[name]
        length = {"steps": steps, "budget": budget} if short else {"steps": known["steps"]}
        folders.append(
            benchmark.run(
                [name],
                source,
                batch_size=batch_size or known["batch_size"],
                flip=known["flip"],
                split="train",
                n=n,
                features=features,
                overrides={name: overrides[name]} if name in overrides else None,
                out=Path(out) / name.partition("/")[0],
                anyway=anyway,
                **length,
                **settings,
            )
        )
    return folders


def choose(data, recipes, short):
    """Names of recipes, see `reproduce`; each has a published length unless the training is short."""
    known = published.names(data)
    if not known:
        raise benchmark.ArgumentError("data", f"data is {data!r}, expected 'cifar10', for which there are published recipes.")
    parts = [part.strip() for part in recipes.split(",")] if isinstance(recipes, str) else list(recipes)
    if parts == ["all"]:
        return [name for name in known if short or "steps" in published.PUBLISHED[name]]
    chosen = [name if "/" in name else f"{name}/{data}" for name in filter(None, parts)]
    for name in chosen:
        if name not in known:
            raise benchmark.ArgumentError("recipes", f"no paper is stored for {name!r}, expected one of {', '.join(known)}.")
        if not short and "steps" not in published.PUBLISHED[name]:
            raise benchmark.ArgumentError("steps", f"the paper of {name} tells no length of training; give --steps.")
    return list(dict.fromkeys(chosen))


def _check_machine(chosen, source, settings, n, short):
    """Raise one sentence if the machine lacks a GPU for a training of the published length, or memory for images and samples."""
    device = settings.get("device", "auto")
    devices.check(device)
    if not short and (device == "cpu" or not tf.config.list_physical_devices("GPU")):
        known = published.PUBLISHED[chosen[0]]
        why = "--device cpu chooses none." if device == "cpu" else devices.missing_reason()
        raise benchmark.ArgumentError(
            "device",
            f"{chosen[0]} trains {known['steps']:,} steps of {known['batch_size']} images, too many without a GPU: {why} Give "
            f"--steps or --budget for a try, or --anyway.",
        )
    info = data_module.info(source, settings.get("data_dir"))
    counts, (height, width, channels) = info.counts.values(), info.image_shape or (32, 32, 3)
    needed = BASE + COPIES * sum(filter(None, counts)) * height * width * channels + 4 * NUMBERS * n
    if memory.free() < needed:
        raise benchmark.ArgumentError(
            "n",
            f"images, {n:,} samples' features and TensorFlow need about {needed / 2**30:.1f} GiB of memory, and "
            f"{memory.free() / 2**30:.1f} are free; end other processes, or take fewer samples.",
        )
