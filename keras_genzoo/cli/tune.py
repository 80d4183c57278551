"""`genzoo tune`."""

import ast
import signal
import sys
from pathlib import Path

import click

from keras_genzoo.cli import options
from keras_genzoo.core import plugins
from keras_genzoo.core.files import read_json


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
                listed = options.literal(text)
                if isinstance(listed, str):
                    listed = tuple(text.split(","))
                ranges[name] = space.Choice(listed if isinstance(listed, tuple) else (listed,))
        except (ValueError, SyntaxError, TypeError) as error:
            raise click.BadParameter(
                f"{name}={text} is no range, expected LOW:HIGH or A,B,C ({error}).", ctx, parameter
            ) from None
    return ranges


def _weights(ctx, parameter, values):
    found = options.pairs(ctx, parameter, values)
    for name, weight in found.items():
        if not isinstance(weight, (int, float)):
            raise click.BadParameter(f"{name}={weight} is no weight, expected a number.", ctx, parameter)
    return found or None


@click.command(short_help="Search for better hyperparameters.")
@click.argument("recipe")
@options.data
@click.option("--out", type=options.FOLDER, help="Folder of the search.  [default: runs/tune-RECIPE]")
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
    "--set", "overrides", multiple=True, callback=options.pairs, metavar="NAME=VALUE", help="Hyperparameter that is not searched."
)
@options.image_size
@options.splits
@options.flip
@click.option("--batch-size", type=click.IntRange(1), default=128, help="Images in a training step.")
@click.option("--n", "n", type=click.IntRange(2), default=2000, help="Validation images, and samples, compared.")
@click.option("--features", help="Features of fd.  [default: by the data]")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the search, and of each trial's training.")
@options.mixed_precision
@options.device
@options.imports
@click.option("--stop-hopeless/--no-stop-hopeless", default=True, help="End trials worse than the median after a third.")
@click.option("--overwrite", is_flag=True, help="Delete another search in the folder.")
def tune(recipe, data, out, trials, oracle, ranges, overrides, image_size, mixed_precision, workers, device, imports, **settings):
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
    out = Path("runs") / f"tune-{recipe}" if out is None else out
    if not search["overwrite"]:
        plugins.import_stored(read_json(out / "search.json").get("imports", []), imports, what=str(out))
    options.use_device(device)
    shape = gz.data.load(data, "validation", image_size=image_size, splits=settings["splits"]).element_spec.shape[1:]
    hypermodel = tuning.HyperRecipe(recipe, tuple(shape), search=ranges, dtype=mixed_precision, **settings, **overrides)
    trials = trials or (None if oracle == "hyperband" else 20)
    search = tuning.Search(out, hypermodel, data, oracle=oracle, trials=trials, device=device, imports=imports, **search)
    try:
        best = search.run(workers)
    except KeyboardInterrupt:
        click.echo("stopped; the same command goes on from here", err=True)
        sys.exit(128 + signal.SIGINT)
    click.echo(f"{best['objective']} {best['value']:.4g} with {best['hyperparameters']}: {out / 'best.json'}")
