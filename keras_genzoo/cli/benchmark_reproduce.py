"""`genzoo benchmark reproduce`: training as published."""

import click

from keras_genzoo.cli import options
from keras_genzoo.cli.options import COUNT, FOLDER, POSITIVE


@click.command(short_help="Train as published, and score as papers do.")
@click.argument("data", type=click.Choice(["cifar10"]))
@click.option("--recipes", default="all", help="As sngan,ddpm; all are those whose length of training is published.")
@click.option("--from", "source", type=FOLDER, help="A file or folder of the images.  [default: the data set of TFDS]")
@options.data_dir
@click.option("--steps", type=COUNT, help="Train for so many steps, as for a try.  [default: as published]")
@click.option("--budget", type=POSITIVE, help="Train for so many seconds instead.")
@click.option("--batch-size", type=COUNT, help="Images in a training step.  [default: as published]")
@click.option("--n", type=click.IntRange(min=10), default=50_000, help="Samples.")
@click.option("--features", default="inception", help="A distance in other features than these is not called FID.")
@click.option("--seeds", type=COUNT, default=1, help="Runs a recipe, with seeds 0, 1, ...")
@options.of_recipes
@options.device
@options.mixed_precision
@options.jit
@click.option("--steps-per-execution", type=COUNT, help="Steps between returns to Python.  [default: the recipe's choice]")
@click.option("--timeout", type=POSITIVE, help="Seconds after which a run is stopped and counts as failed.  [default: none]")
@click.option("--anyway", is_flag=True, help="Train the published length without a GPU, or while others use the cores.")
@click.option("--out", type=FOLDER, default="runs/reproduce", help="Folder of the results, with a folder for each recipe.")
@click.pass_context
def reproduce(ctx, data, recipes, source, out, overrides, **settings):
    """Train recipes in the size that papers publish for DATA as their authors did, and compare 50,000 samples with the training
    images.

    The same command again goes on where it was stopped. docs/published.md shows the results beside those of the papers.

    \b
    Examples:
      genzoo benchmark reproduce cifar10 --recipes ddpm,edm --out runs/reproduce
      genzoo benchmark reproduce cifar10 --recipes sngan --steps 200 --n 1000 --out runs/try
    """
    from keras_genzoo.benchmark import reproducing

    if settings["steps"] is not None and settings["budget"] is not None:
        raise click.UsageError("--steps and --budget exclude each other; give one.")
    with options.benchmark_errors(ctx, out):
        changes = options.by_recipe(overrides)
        folders = reproducing.reproduce(data, recipes, source, out=out, overrides=changes, **settings)
    failed = sum(len(folder.failed) for folder in folders)
    if failed:
        click.echo(f"{failed} runs failed; the same command tries them again.", err=True)
    click.echo(f"Results are in {', '.join(str(folder.path) for folder in folders)}.")
    raise SystemExit(1 if failed else 0)
