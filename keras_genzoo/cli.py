"""The command `genzoo`: train, sample, evaluate and tune without writing Python."""

import ast
import functools
import json
import sys
from pathlib import Path

import click

# Each command imports the package itself, so that --help does not wait for TensorFlow.


class _OneSentence(click.Group):
    """Ends a user's mistake with exit code 2 and one sentence instead of a traceback."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            if ctx.params.get("traceback"):
                raise
            raise click.UsageError(" ".join(str(error).split()), ctx) from error


@click.group(cls=_OneSentence, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--traceback", is_flag=True, help="Show the Python traceback of an error.")
@click.version_option(package_name="keras_genzoo")
def main(traceback):
    """Generative image models for Keras: train, sample, evaluate.

    \b
    Examples:
      genzoo train vae --out runs/vae
      genzoo sample runs/vae/model.keras --out samples.png
      genzoo evaluate runs/vae/model.keras
    """


_data_option = click.option(
    "--data", default="fashion_mnist_mini", help="Shipped data set, folder of images, .npy/.npz, or TFDS name."
)


def _data_options(command):
    options = [
        _data_option,
        click.option("--data-dir", type=click.Path(path_type=Path), help="Where TFDS keeps its data sets."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _overrides(ctx, parameter, values):
    pairs = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE.", ctx, parameter)
        try:
            pairs[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            pairs[name] = text
    return pairs


def _ranges(ctx, parameter, values):
    """`NAME=LOW:HIGH`, `NAME=LOW:HIGH:linear`, `NAME=A,B,C`, or `NAME=` for none."""
    from keras_genzoo.recipes import space

    ranges = {}
    for name, text in ((value.partition("=")[0], value.partition("=")[2]) for value in values):
        parts = text.split(":") if isinstance(text, str) else []
        try:
            if not text:
                ranges[name] = None
            elif len(parts) > 1:
                low, high = map(ast.literal_eval, parts[:2])
                kind = space.Int if isinstance(low, int) and isinstance(high, int) else space.Float
                ranges[name] = kind(low, high, *parts[2:])
            else:
                listed = _overrides(ctx, parameter, [f"{name}={text}"])[name]
                if isinstance(listed, str):
                    listed = tuple(text.split(","))
                ranges[name] = space.Choice(listed if isinstance(listed, tuple) else (listed,))
        except (ValueError, SyntaxError, TypeError) as error:
            raise click.BadParameter(
                f"{name}={text} is no range, expected LOW:HIGH or A,B,C ({error}).", ctx, parameter
            ) from None
    return ranges


def _weights(ctx, parameter, values):
    pairs = {name: weight for name, weight in _overrides(ctx, parameter, values).items()}
    for name, weight in pairs.items():
        if not isinstance(weight, (int, float)):
            raise click.BadParameter(f"{name}={weight} is no weight, expected a number.", ctx, parameter)
    return pairs or None


@main.command("list")
def list_recipes():
    """List the recipes by family, and the data sets that come with the package."""
    import keras_genzoo as gz

    for family, names in gz.recipes.names().items():
        click.echo(f"{family}:")
        for name in names:
            click.echo(f"  {name:<20} {gz.recipes.get(name).summary}")
    click.echo(f"data sets: {', '.join(gz.data.names())}, a folder, a .npy or .npz file, any TFDS name")


@main.command()
@click.argument("name")
@click.option("--from", "source", type=click.Path(path_type=Path), help="Folder of the original files, instead of the network.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where TFDS keeps its data sets.")
def prepare(name, source, data_dir):
    """Build the TFDS data set NAME once, from the network or from a folder.

    \b
    Example:
      genzoo prepare fashion_mnist --from /usr/share/datasets/fashion-mnist
    """
    import keras_genzoo as gz

    gz.data.prepare(name, source=source, data_dir=data_dir)
    click.echo(f"{name} is ready: use it with --data {name}.")


@main.command()
@click.argument("recipe")
@_data_options
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the model and its pictures.  [default: runs/RECIPE]")
@click.option("--epochs", type=click.IntRange(1), default=20, help="Passes over the training images.")
@click.option("--batch-size", type=click.IntRange(1), help="[default: 128, or that of --config]", show_default=False)
@click.option("--image-size", type=click.IntRange(1), help="Crop and resize images to this many pixels a side.")
@click.option("--channels", type=click.Choice(["1", "3"]), help="Convert images to gray or to colour.")
@click.option(
    "--set", "overrides", multiple=True, callback=_overrides, metavar="NAME=VALUE", help="Hyperparameter of the recipe."
)
@click.option("--config", type=click.Path(path_type=Path), help="Hyperparameters and batch size of `genzoo tune`: its best.json.")
@click.option("--seed", type=int, default=0)
@click.option("--mixed-precision", type=click.Choice(["mixed_bfloat16", "mixed_float16"]), help="Compute in 16 bits.")
@click.option("--jit/--no-jit", default=None, help="Compile with XLA.  [default: the recipe's choice]")
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
    overrides,
    config,
    seed,
    mixed_precision,
    jit,
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

    gz.recipes.get(recipe)  # a wrong name before the data are read
    if config is not None:
        tuned = _tuned(config, recipe)
        overrides = {**gz.recipes.space.tuples(tuned["hyperparameters"]), **overrides}
        batch_size = batch_size or tuned["batch_size"]
    batch_size = batch_size or 128
    out = Path("runs") / recipe if out is None else out
    if (out / "model.keras").exists() and not overwrite:
        raise click.UsageError(f"{out / 'model.keras'} exists; choose another --out, or --overwrite it.")
    shape = {"image_size": image_size, "channels": int(channels) if channels else None, "data_dir": data_dir}
    load = functools.partial(gz.data.load, data, batch_size=batch_size, **shape)
    images = load(split="train", seed=seed)
    steps = int(images.cardinality())
    keras.utils.set_random_seed(seed)
    model = gz.build(
        recipe,
        tuple(images.element_spec.shape[1:]),
        total_steps=epochs * steps if steps > 0 else None,
        dtype=mixed_precision,
        jit_compile=jit,
        seed=seed,
        **overrides,
    )
    if model.data_needs:
        images = load(split="train", seed=seed, **model.data_needs)
    validation = load(split="validation", **model.data_needs)
    shown = gz.data.as_array(load(split="validation"), n=32)
    callbacks = [
        # Not before: what is wrong with the data for this model comes out as `fit` begins.
        keras.callbacks.LambdaCallback(on_train_begin=lambda logs: out.mkdir(parents=True, exist_ok=True)),
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


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default="samples.png", help="A .png sheet, a .npz file, or a folder.")
@click.option("-n", "n", type=click.IntRange(1), default=64, help="Number of images.")
@click.option("--seed", type=int, default=0)
@click.option("--batch-size", type=click.IntRange(1), default=256)
def sample(file, out, n, seed, batch_size):
    """Draw images from the model in FILE: a sheet (.png), an array (.npz, uint8 `images`), or one PNG each in a folder.

    \b
    Examples:
      genzoo sample runs/vae/model.keras --out samples.png
      genzoo sample runs/vae/model.keras --out samples/ -n 1000 --seed 1
    """
    import numpy as np

    import keras_genzoo as gz

    if out.suffix not in ("", ".png", ".npz"):
        raise click.BadParameter(f"{out} ends in {out.suffix}, expected .png, .npz or a folder.", param_hint="--out")
    model = gz.load(file)
    if not hasattr(model, "sample"):
        raise click.UsageError(f"{file} holds a {type(model).__name__} that cannot sample; fit its prior with fit_prior first.")
    levels = gz.images.to_levels(model.sample(n, seed=seed, batch_size=batch_size)).numpy()
    if out.suffix == ".png":
        gz.images.write_png(out, levels)
    elif out.suffix == ".npz":
        with gz.files.replacing(out) as temporary:
            np.savez_compressed(temporary, images=levels)
    else:
        digits = len(str(n - 1))
        for index, image in enumerate(levels):
            gz.images.write_png(out / f"{index:0{digits}d}.png", image[None], scale=1)
    click.echo(f"{n} images are in {out}")


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@_data_options
@click.option("--split", type=click.Choice(["test", "validation", "train"]), default="test", help="Images to compare with.")
@click.option("--features", help="Features of the distances, as inception for FID.  [default: by the data]")
@click.option("-n", "n", type=click.IntRange(2), help="Number of images, real and generated.  [default: all]")
@click.option("--seed", type=int, default=0)
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON to this file too.")
def evaluate(file, data, data_dir, split, features, n, seed, out):
    """Score the model in FILE on images it has not seen, and print the scores as JSON.

    \b
    Example:
      genzoo evaluate runs/vae/model.keras --data fashion_mnist_mini
    """
    import keras_genzoo as gz

    model = gz.load(file)
    height, width, channels = model.image_shape
    shape = {"image_size": (height, width), "channels": channels if channels in (1, 3) else None, "data_dir": data_dir}
    images = gz.data.load(data, split, shuffle=False, **shape)
    scores = {"file": str(file), "data": str(data), "split": split} | gz.evaluate(
        model, images, features=features, n=n, seed=seed
    )
    text = json.dumps(scores, indent=2)
    if out is not None:
        with gz.files.replacing(out) as temporary:
            temporary.write_text(text + "\n")
    click.echo(text)


@main.command()
@click.argument("recipe")
@_data_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the search.  [default: runs/tune-RECIPE]")
@click.option("--objective", default="fd", help="What is best: fd, a metric as val_mse, or min:NAME or max:NAME.")
@click.option(
    "--weigh", "weights", multiple=True, callback=_weights, metavar="NAME=WEIGHT", help="Objective `weighted`: this sum."
)
@click.option(
    "--oracle", type=click.Choice(["random", "hyperband", "bayesian"]), default="random", help="How settings are chosen."
)
@click.option("--trials", type=click.IntRange(1), help="[default: 20; Hyperband has its own number]", show_default=False)
@click.option("--budget", type=click.FloatRange(0, min_open=True), help="Seconds of training a trial.  [default: 60]")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the images instead of a budget.")
@click.option("--workers", type=click.IntRange(1), default=1, help="Trials at the same time, on this machine.")
@click.option(
    "--range",
    "ranges",
    multiple=True,
    callback=_ranges,
    metavar="NAME=LOW:HIGH",
    help="Search here, or in NAME=A,B,C; NAME= leaves it out.",
)
@click.option(
    "--set", "overrides", multiple=True, callback=_overrides, metavar="NAME=VALUE", help="Hyperparameter that is not searched."
)
@click.option("--image-size", type=click.IntRange(1), help="Crop and resize images to this many pixels a side.")
@click.option("--batch-size", type=click.IntRange(1), default=128)
@click.option("--n", "n", type=click.IntRange(2), default=2000, help="Validation images, and samples, compared.")
@click.option("--features", help="Features of fd.  [default: by the data]")
@click.option("--seed", type=int, default=0)
@click.option("--mixed-precision", type=click.Choice(["mixed_bfloat16", "mixed_float16"]), help="Compute in 16 bits.")
@click.option("--stop-hopeless/--no-stop-hopeless", default=True, help="End trials worse than the median after a third.")
@click.option("--overwrite", is_flag=True, help="Delete another search in the folder.")
def tune(recipe, data, out, trials, oracle, ranges, overrides, image_size, mixed_precision, workers, **settings):
    """Search for better hyperparameters of RECIPE, and write best.json and trials.json.

    The same command again goes on with a search that was interrupted. Needs KerasTuner: pip install 'keras_genzoo[tuning]'.

    \b
    Examples:
      genzoo tune vae --budget 30 --trials 20
      genzoo tune gan --objective fd --range learning_rate=1e-4:3e-3 --range width=16,32 --set ema=0.999
      genzoo train vae --config runs/tune-vae/best.json
    """
    import keras_genzoo as gz

    try:
        tuning = gz.tuning
    except ImportError as error:
        raise click.UsageError(str(error)) from None
    search = {key: settings.pop(key) for key in ("objective", "budget", "epochs", "stop_hopeless", "overwrite")}
    if search["budget"] and search["epochs"]:
        raise click.UsageError("--budget and --epochs exclude each other; give one.")
    search["budget"] = search["budget"] or (None if search["epochs"] else 60.0)
    shape = gz.data.load(data, "validation", image_size=image_size).element_spec.shape[1:]
    hypermodel = tuning.HyperRecipe(recipe, tuple(shape), search=ranges, dtype=mixed_precision, **settings, **overrides)
    trials = trials or (None if oracle == "hyperband" else 20)
    out = Path("runs") / f"tune-{recipe}" if out is None else out
    best = tuning.Search(out, hypermodel, data, oracle=oracle, trials=trials, **search).run(workers)
    click.echo(f"{best['objective']} {best['value']:.4g} with {best['hyperparameters']}: {out / 'best.json'}")


if __name__ == "__main__":
    main()
