"""`genzoo prepare` and `genzoo train`."""

import functools
import json
import sys
from pathlib import Path

import click

from keras_genzoo.cli import options
from keras_genzoo.core import plugins, runs


@click.command()
@click.argument("name")
@click.option("--from", "source", type=options.FOLDER, help="Folder of the original files, instead of the network.")
@options.data_dir
def prepare(name, source, data_dir):
    """Build the TFDS data set NAME once, from the network or from a folder.

    \b
    Example:
      genzoo prepare fashion_mnist --from /usr/share/datasets/fashion-mnist
    """
    import keras_genzoo as gz

    gz.data.prepare(name, source=source, data_dir=data_dir)
    click.echo(f"{name} is ready: use it with --data {name}.")


@click.command()
@click.argument("recipe")
@options.data
@options.data_dir
@click.option("--out", type=options.FOLDER, help="Folder for the model and its pictures.  [default: runs/RECIPE]")
@click.option("--epochs", type=click.IntRange(1), default=20, help="Passes over the training images.")
@click.option("--batch-size", type=click.IntRange(1), help="[default: 128, or that of --config]", show_default=False)
@click.option("--image-size", type=click.IntRange(1), help="Crop and resize images to this many pixels a side.")
@options.channels
@click.option("--splits/--no-splits", default=True, help="Take subfolders train, validation and test of a folder for splits.")
@click.option("--flip", is_flag=True, help="Mirror training images left to right at random.")
@options.overrides
@click.option("--config", type=options.FOLDER, help="Hyperparameters and batch size of `genzoo tune`: its best.json.")
@click.option("--seed", type=int, default=0)
@options.mixed_precision
@options.jit
@options.device
@options.imports
@click.option("--overwrite", is_flag=True, help="Replace a model that is already in the folder.")
def train(
    recipe,
    data,
    data_dir,
    out,
    epochs,
    batch_size,
    image_size,
    channels,
    splits,
    flip,
    overrides,
    config,
    seed,
    mixed_precision,
    jit,
    device,
    imports,
    overwrite,
):
    """Train RECIPE and write model.keras, history.csv and pictures of samples after every epoch.

    Ctrl-C ends the training early and keeps the model as it is then.

    \b
    Examples:
      genzoo train vae
      genzoo train autoencoder --data my_photos/ --image-size 64 --set latent_dim=64
      genzoo train vae --config runs/tune/best.json
    """
    import keras

    import keras_genzoo as gz

    if config is not None:
        tuned = _tuned(config, recipe)
        plugins.import_stored(tuned.get("imports", []), imports, what=str(config))
        imports = list(dict.fromkeys([*imports, *tuned.get("imports", [])]))
    gz.recipes.get(recipe)  # a wrong name before the data are read
    options.use_device(device)
    if config is not None:
        overrides = {**gz.recipes.space.tuples(tuned["hyperparameters"]), **overrides}
        batch_size = batch_size or tuned["batch_size"]
    batch_size = batch_size or 128
    out = Path("runs") / recipe if out is None else out
    if (out / "model.keras").exists() and not overwrite:
        raise click.UsageError(f"{out / 'model.keras'} exists; choose another --out, or --overwrite it.")
    shape = {"image_size": image_size, "channels": int(channels) if channels else None, "data_dir": data_dir}
    load = functools.partial(gz.data.load, data, batch_size=batch_size, splits=splits, flip=flip, **shape)
    images = load(split="train", seed=seed)
    steps = int(images.cardinality())
    shape = tuple(images.element_spec.shape[1:])

    def build(steps):
        keras.utils.set_random_seed(seed)
        total = epochs * steps if steps > 0 else None
        return gz.build(recipe, shape, total, dtype=mixed_precision, jit_compile=jit, seed=seed, **overrides)

    model = build(steps)
    if model.data_needs:
        images = load(split="train", seed=seed, **model.data_needs)
        if int(images.cardinality()) != steps:  # a batch with further images makes for fewer of them
            model = build(int(images.cardinality()))
    validation = load(split="validation", **model.data_needs)
    shown = gz.data.as_array(load(split="validation"), n=32)
    callbacks = [
        # Not before: what is wrong with the data for this model comes out as `fit` begins.
        keras.callbacks.LambdaCallback(on_train_begin=lambda logs: runs.write(out, recipe, imports)),
        gz.callbacks.SampleGrid(out / "progress", images=shown if hasattr(model, "reconstruct") else None),
        keras.callbacks.CSVLogger(str(out / "history.csv")),
        gz.callbacks.StopOnDivergence(),
    ]
    stopped = False
    try:
        model.fit(images, validation_data=validation, epochs=epochs, callbacks=callbacks)
    except KeyboardInterrupt:
        stopped = True
    if hasattr(model, "fit_prior"):
        click.echo("fitting the prior over the codes")
        model.fit_prior(images)
    model.save(out / "model.keras")
    if hasattr(model, "sample"):
        gz.images.write_png(out / "samples.png", model.sample(64, seed=seed))
    if hasattr(model, "reconstruct"):
        gz.images.write_png(out / "reconstructions.png", *gz.callbacks.pairs(model, shown))
    click.echo(f"{'stopped early; ' if stopped else ''}the model is {out / 'model.keras'}")
    sys.exit(130 if stopped else 0)


def _tuned(config, recipe):
    """What a best.json holds, checked."""
    try:
        tuned = json.loads(config.read_text())
        found = tuned["recipe"], dict(tuned["hyperparameters"]), int(tuned["batch_size"])
    except (ValueError, KeyError, TypeError):
        raise click.BadParameter(f"{config} is no best.json of `genzoo tune`.", param_hint="--config") from None
    if found[0] != recipe:
        raise click.BadParameter(f"{config} is of recipe {found[0]!r}, not of {recipe!r}.", param_hint="--config")
    return tuned
