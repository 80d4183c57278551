"""`genzoo sample` and `genzoo evaluate`: what a trained model is used for."""

import inspect
from pathlib import Path

import click

from keras_genzoo.cli import options
from keras_genzoo.core import hub, memory, runs, sheets
from keras_genzoo.core.batches import TOLD
from keras_genzoo.core.files import replacing, to_json

# Options of samples, of which a model takes its own.
OPTIONS = "steps", "sampler", "spacing", "guidance", "guidance_interval", "trace", "temperature", "truncation"

# The beginnings of the names of scores that controls are given for.
CONTROLLED = (
    "FD[",
    "KD[",
    "kd_l",
    "kd_h",
    "precision",
    "recall",
    "density",
    "coverage",
    "train_ratio",
    "authenticity",
    "data_copying",
)


def load(file, device, imports):
    """The file of a model, or of a run in a folder, and the model on a device, with what it was made with imported again."""
    import keras_genzoo as gz

    remote, file = hub.is_remote(file), hub.located(file)
    if not remote:  # a stranger does not choose what is imported here
        runs.import_for(file, imports)
    options.use_device(device)
    return file, gz.load(file)


@click.command(short_help="Draw images from a model.")
@click.argument("file", type=options.FOLDER)
@click.option("--out", type=options.FOLDER, default="samples.png", help="A .png sheet, a .npz file, or a folder.")
@click.option("-n", "n", type=click.IntRange(1), default=64, help="Number of images; at most, of a sheet with rows of classes.")
@click.option("--seed", type=click.IntRange(0), default=0, help="The same seed gives the same images.")
@click.option("--batch-size", type=click.IntRange(1), default=256, help="Images computed at a time.")
@click.option(
    "--labels",
    type=options.Numbers(),
    help="Classes between commas, taken in turn, of conditional models.  [default: drawn; of a sheet a row for each]",
)
@click.option(
    "--conditions",
    type=options.FOLDER,
    help="A .csv or .npy file of vectors, taken in turn, of models that are told vectors.  [default: those of training images]",
)
@click.option("--steps", type=click.IntRange(1), help="Steps of the sampler, of diffusion and energy-based models.")
@click.option("--sampler", help="How diffusion models sample, as heun or ddim.")
@click.option("--spacing", help="Of the times of a diffusion sampler's steps, as karras.")
@click.option("--guidance", type=float, help="Above 1, images of conditional diffusion models are more typical of their labels.")
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    help="Below 1, images of flows and autoregressive models are more typical and less varied.",
)
@click.option("--truncation", type=float, help="Below 1, images of StyleGANs have fewer faults and are more alike.")
@click.option("--guidance-interval", type=options.Interval(), help="Noise levels between which there is guidance, as 0.2,3.")
@click.option("--trace", type=click.IntRange(2), help="Images on the way of each, from noise, a row of the sheet each.")
@click.option("--images", "source", help="Draw images that look like these, of a folder or .npy/.npz file.")
@click.option("--strength", type=click.FloatRange(0, 1, min_open=True), help="How far from --images, up to 1.  [default: 0.5]")
@options.device
@options.imports
def sample(file, out, n, seed, batch_size, labels, source, strength, device, imports, **settings):
    """Draw images from the model in FILE, or in the folder of a run: a sheet (.png), an array (.npz, uint8 `images`), or one PNG
    each in a folder, which the numbered PNGs of an earlier call leave.

    Of --labels, --steps and the others each model takes its own.

    The sheet of a model with classes has a row for each of the first ten.

    \b
    Examples:
      genzoo sample runs/vae --out samples.png
      genzoo sample runs/vae/best.keras --out samples/ -n 1000 --seed 1
      genzoo sample runs/conditional_diffusion --labels 3,5 --guidance 2 --steps 20
      genzoo sample runs/stylegan2 --truncation 0.7
      genzoo sample runs/flow_matching --images my_photos/ --strength 0.6 --out like_mine.png
    """
    import numpy as np

    import keras_genzoo as gz
    from keras_genzoo.data.conditions import read_vectors

    if out.suffix not in ("", ".png", ".npz"):
        raise click.BadParameter(f"{out} ends in {out.suffix}, expected .png, .npz or a folder.", param_hint="--out")
    file, model = load(file, device, imports)
    if not hasattr(model, "sample"):
        raise click.UsageError(f"{file} holds a {type(model).__name__} that cannot sample; fit its prior with fit_prior first.")
    settings = {name: value for name, value in settings.items() if value is not None}
    if strength is not None and source is None:
        raise click.UsageError("--strength says how far from --images, and there are none.")
    if source is not None and not hasattr(model, "img2img"):
        raise click.UsageError(f"{type(model).__name__} takes no --images; diffusion models of pixels do.")
    taken, columns = inspect.signature(model.sample if source is None else model.img2img).parameters, settings.get("trace")
    if refused := [name for name in settings if name not in taken]:
        came, *known = (f"--{name.replace('_', '-')}" for name in (refused[0], *(each for each in OPTIONS if each in taken)))
        fix = f"expected {' or '.join(known)}" if known else "leave it out"
        raise click.UsageError(f"{type(model).__name__} takes no {came}, {fix}.")
    if "trace" in settings and out.suffix != ".png":
        raise click.BadParameter(f"--trace draws a sheet, and {out} is none; expected a .png.", param_hint="--out")
    if labels is not None:
        settings["labels"] = np.resize(labels, n)
    elif out.suffix == ".png" and model.num_classes is not None and source is None and columns is None:
        settings["labels"], columns = sheets.class_rows(model.num_classes, n)
        n = len(settings["labels"])
    if "conditions" in settings:
        rows = read_vectors(settings["conditions"])
        settings["conditions"] = np.resize(rows, (n, rows.shape[1]))
    if source is not None:
        photos, _ = images_like(model, source, n)
        n = len(photos)
        settings |= {name: settings[name][:n] for name in TOLD if name in settings}
        batches = [model.img2img(photos, strength or 0.5, seed, batch_size=batch_size, **settings)]
    else:
        batches = model.sample_batches(n, seed=seed, batch_size=batch_size, **settings)
    with memory.enough(f"an array of {n} images", "take a folder for --out, or fewer images"):
        rows, ways = n if out.suffix else 0, () if "trace" not in settings else (settings["trace"],)
        levels = np.empty((rows, *ways, *model.image_shape), np.uint8)
    digits, start = len(str(n - 1)), 0
    for images in batches:
        images = gz.images.to_levels(images).numpy()
        if out.suffix:
            levels[start : start + len(images)] = images
        else:
            for index, image in enumerate(images, start):
                gz.images.write_png(out / f"{index:0{digits}d}.png", image[None], scale=1)
        start += len(images)
    for path in out.glob("*.png") if not out.suffix else ():
        if path.stem.isdecimal() and not (len(path.stem) == digits and int(path.stem) < n):
            path.unlink()
    if out.suffix == ".png":
        gz.images.write_png(out, levels.reshape(-1, *model.image_shape), columns)
    elif out.suffix == ".npz":
        with replacing(out) as temporary:
            np.savez_compressed(temporary, images=levels)
    click.echo(f"{n} images are in {out}")


def images_like(model, source, n, labels=False):
    """The first n images of a source, of the shape that a model takes, all where there are fewer; and their labels, or None."""
    import keras_genzoo as gz

    height, width, channels = model.image_shape
    size = {"image_size": (height, width), "channels": channels if channels in (1, 3) else None}
    found = gz.data.as_array(gz.data.load(source, "all", shuffle=False, labels=labels, **size), n=n)
    return found if labels else (found, None)


@click.command(short_help="Score a model on images it has not seen.")
@click.argument("file", type=options.FOLDER)
@click.option("--data", help="As of `train`.  [default: what the model learned from, by the run.json beside it]")
@options.data_dir
@options.splits
@click.option("--split", type=click.Choice(["test", "validation", "train"]), default="test", help="Images to compare with.")
@click.option("--features", help="Features of the distances, as inception for FID.  [default: by the data]")
@click.option("-n", "n", type=click.IntRange(2), help="Number of images, real and generated, drawn from all.  [default: all]")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the samples and the draws of images.")
@click.option(
    "--controls", is_flag=True, help="Score real training images and the pixel Gaussian too, to read the scores beside."
)
@click.option("--out", type=options.FOLDER, help="Write the JSON to this file too.")
@options.device
@options.imports
def evaluate(file, data, data_dir, splits, split, features, n, seed, controls, out, device, imports):
    """Score the model in FILE, or in the folder of a run, on images it has not seen, and print the scores as JSON.

    Where the images have labels or vectors, a conditional model draws samples of these, and distances within classes are given.

    Samples are compared with the training images too, to see what is memorised: where the model is of a run, with those that it
    learned from, and else with those of --data.

    \b
    Examples:
      genzoo evaluate runs/vae
      genzoo evaluate runs/vae --controls
      genzoo evaluate downloaded.keras --data my_photos/
    """
    import keras_genzoo as gz

    file, model = load(file, device, imports)
    source, images, train = _images_for(file, model, data, data_dir, splits, split)
    click.echo(f"scoring on the {split} images of {source}: a minute or more", err=True)
    compared = {split: images} | ({} if train is None else {"train": train})
    about = {"file": str(file), "data": source, "split": split, "images": runs.data_record(source, compared)["images"]}
    scores = about | gz.evaluate(model, images, features=features, n=n, seed=seed, train=train)
    if scores.get("sample_labels") == "uniform":
        click.echo(f"{source} has no labels, so the samples of this conditional model are of uniform labels.", err=True)
    if controls:
        if train is None or "n_generated" not in scores:
            raise click.UsageError("--controls need training images that are not those of --split, and a model that samples.")
        scores["controls"] = _scores_of_controls(images, train, scores, seed)
    click.echo(write_scores(scores, out))


def _scores_of_controls(images, train, scores, seed):
    """What rows of the benchmark that no model made get on the same images: a dict of names to scores."""
    import keras_genzoo as gz
    from keras_genzoo.benchmark.controls import CONTROLS

    learned, found = gz.data.as_array(train), {}
    learned = learned[0] if isinstance(learned, tuple) else learned
    for name in ("real train images", "pixel Gaussian"):
        made, others = CONTROLS[name](learned, min(scores["n_real"], len(learned) // 2), seed)
        told = gz.score_samples(made, images, train=others, features=scores["features"], n=len(made))
        found[name] = {key: value for key, value in told.items() if key in scores and key.startswith(CONTROLLED)}
    return found


def write_scores(scores, out):
    """The JSON text of scores, which a file gets too, unless it is None."""
    text = to_json(scores, indent=2)
    if out is not None:
        with replacing(out) as temporary:
            temporary.write_text(text + "\n")
    return text


def _images_for(file, model, data, data_dir, splits, split):
    """The name of the data that a model is scored on, these images, and those that it learned from, or None."""
    import keras_genzoo as gz

    stored = runs.read(file.parent).get("data")
    if data is None and not stored:
        raise click.UsageError(f"there is no {runs.NAME} beside {file} that says what the model learned from; say it by --data.")
    height, width, channels = model.image_shape
    chosen = {
        "image_size": (height, width),
        "channels": channels if channels in (1, 3) else None,
        "data_dir": data_dir,
        "splits": splits,
    }
    source = stored["source"] if data is None else data
    if data is None:
        known = {name: stored[name] for name in chosen if name in stored}
        chosen |= known | ({"data_dir": data_dir} if data_dir else {}) | ({} if splits else {"splits": False})
    place = source, chosen["data_dir"], chosen["splits"]
    chosen["labels"], chosen["conditions"] = gz.data.labelled(*place), model.condition_dim and gz.data.conditioned(*place)
    images, train = (gz.data.load(source, name, shuffle=False, **chosen) for name in (split, "train"))
    if stored:
        others = [
            name
            for name, part in ((split, images), ("train", train))
            if stored["images"].get(name, {}).get("sha256") != part.digest()
        ]
        if others and data is None:
            raise click.UsageError(
                f"the {others[0]} images of {source} are not those of the run any more; --data {source} scores on them anyway."
            )
        if "train" in others:
            train = None
    return source, images, None if split == "train" else train


@click.command(short_help="Upload a model to the Hugging Face Hub.")
@click.argument("run", type=options.FOLDER)
@click.argument("repo")
@click.option("--license", help="Of the weights, as apache-2.0.")
@click.option("--private", is_flag=True, help="Let nobody else see a new repository.")
@options.imports
def push(run, repo, license, private, imports):
    """Upload the model of RUN, a folder or file, to the Hugging Face Hub as REPO, with a card and samples.

    `gz.load("hf://user/name")` and `genzoo sample hf://user/name` take it from there.

    \b
    Examples:
      genzoo push runs/vae user/vae-fashion --license apache-2.0
    """
    import tempfile

    file, model = load(run, "auto", imports)
    click.echo(f"uploading {file} to {repo}", err=True)
    with tempfile.TemporaryDirectory() as folder:
        click.echo(hub.push(model, repo, Path(folder), runs.read(file.parent), license, private))
