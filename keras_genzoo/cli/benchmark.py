"""`genzoo benchmark`, which is `python -m benchmarks` in a checkout: run | sweep | confirm | reproduce | add | report | compare |
list."""

import click

from keras_genzoo.cli import options
from keras_genzoo.cli.benchmark_add import add
from keras_genzoo.cli.benchmark_reproduce import reproduce
from keras_genzoo.cli.options import COUNT, FOLDER, POSITIVE, OneSentence
from keras_genzoo.cli.recipes import list_recipes

# Each command imports what it needs itself: only some need plots and data frames, which are extras.


@click.group(
    "benchmark",
    short_help="Train recipes at equal budgets and rank them.",
    cls=OneSentence,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
)
def main():
    """Train recipes at equal budgets, score them beside controls, and write one page about it.

    \b
    Examples:
      genzoo benchmark run --recipes vae,autoencoder --budget 60 --seeds 3 --out runs/first
      genzoo benchmark report runs/first
    """


anyway = click.option("--anyway", is_flag=True, help="Plan a budget of seconds though other processes use the cores.")


@main.command(short_help="Train recipes and score them.")
@click.option("--recipes", default="all", help="As vae,autoencoder or family:vae or all.")
@options.data
@options.data_dir
@options.image_size
@options.channels
@options.splits
@options.flip
@click.option("--budget", type=POSITIVE, help="Seconds of training a run, compilation left out.  [default: 60]")
@click.option("--epochs", type=COUNT, help="Train for so many epochs instead.")
@click.option("--steps", type=COUNT, help="Train for so many steps instead; repeats a run of a budget exactly.")
@click.option("--seeds", type=COUNT, default=1, help="Runs a recipe, with seeds 0, 1, ...")
@click.option("--first-seed", type=click.IntRange(0), default=0, help="Begin with this seed, as to choose by other ones.")
@click.option("--batch-size", type=COUNT, default=128, help="Images in a training step.")
@click.option("--split", type=click.Choice(["test", "validation"]), default="test", help="Compare with these images.")
@click.option("--n", type=click.IntRange(min=6), help="Images compared.  [default: all of the split, 10,000 at most]")
@click.option("--features", help="Features in which images are compared, as inception for FID.  [default: by the data]")
@options.of_recipes
@options.device
@options.mixed_precision
@options.jit
@click.option("--steps-per-execution", type=COUNT, help="Steps between returns to Python.  [default: the recipe's choice]")
@click.option("--timeout", type=POSITIVE, help="Seconds after which a run is stopped and counts as failed.  [default: none]")
@anyway
@options.imports
@click.option("--ray", metavar="ADDRESS", help="Let a Ray cluster do the runs: auto, local or HOST:PORT.")
@click.option("--cpus", type=COUNT, help="Cores of a run on the cluster.  [default: all of a machine, or a share for each GPU]")
@click.option("--list-runs", is_flag=True, help="Show the runs with their numbers, and do none.")
@click.option("--only", type=COUNT, metavar="NUMBER", help="Do this one of them alone, as a task of a SLURM array.")
@click.option("--out", type=FOLDER, required=True, help="Folder of the results, new or of the same settings.")
@click.pass_context
def run(ctx, out, overrides, channels, list_runs, **settings):
    """Train recipes and score them.

    The same command again does only what is missing; recipes and seeds may be added.

    \b
    Examples:
      genzoo benchmark run --budget 60 --seeds 3 --out runs/first
      genzoo benchmark run --recipes family:vae --data my_photos/ --image-size 32 --out runs/photos
      genzoo benchmark run --recipes vae --set vae.latent_dim=32 --epochs 10 --out runs/wide
      genzoo benchmark run --recipes vae,own_vae --import my_recipes.py --out runs/own
      genzoo benchmark run --budget 600 --seeds 3 --ray auto --out /shared/runs/first
    """
    from keras_genzoo import benchmark

    if sum(settings[name] is not None for name in ("budget", "epochs", "steps")) > 1:
        raise click.UsageError("--budget, --epochs and --steps exclude each other; give one.")
    changes = options.by_recipe(overrides)
    with options.benchmark_errors(ctx, out):
        if list_runs:
            asked = {name: settings[name] for name in ("recipes", "seeds", "first_seed")}
            for number, name in enumerate(benchmark.list_runs(overrides=changes, **asked), start=1):
                click.echo(f"{number} {name}")
            return
        folder = benchmark.run(out=out, overrides=changes, channels=channels and int(channels), **settings)
    if folder.failed:
        click.echo(f"{len(folder.failed)} of {len(folder.tried)} rows failed; the same command tries them again.", err=True)
    click.echo(f"Results are in {out}; `{ctx.parent.command_path} report {out}` writes the page.")
    raise SystemExit(1 if folder.failed else 0)


@main.command(short_help="Score samplers by their number of steps.")
@click.argument("folder", type=FOLDER)
@click.option("--evaluations", type=options.Numbers(1), default="5,10,20,50,100", help="Most calls of the network for an image.")
@click.option("--n", type=click.IntRange(min=100), default=1000, help="Test images compared with as many samples.")
@options.imports
@click.pass_context
def sweep(ctx, folder, evaluations, n, imports):
    """Measure how distances depend on the sampler and its steps, of the trained diffusion models in FOLDER.

    \b
    Example:
      genzoo benchmark sweep runs/first
    """
    from keras_genzoo.benchmark import sweep as sweeping
    from keras_genzoo.benchmark.results import Folder, FolderError
    from keras_genzoo.core import devices, plugins

    try:
        opened = Folder(folder)
        plugins.import_stored(opened.imports(), imports, what=str(folder))
        devices.check(opened.settings["device"])
        options.use_device(opened.settings["device"])
        with opened.lock():
            count = sweeping.sweep(opened, evaluations, n)
    except FolderError as error:
        raise click.BadParameter(str(error), ctx, param_hint="FOLDER") from None
    if not count:
        raise click.BadParameter(f"{folder} holds no trained model that is sampled in steps.", ctx, param_hint="FOLDER")
    click.echo(f"Added to the results of {count} models; `{ctx.parent.command_path} report {folder}` draws them.")


@main.command(short_help="Train the best settings of a search anew.")
@click.argument("folder", type=FOLDER)
@click.option("--seeds", type=click.IntRange(2), default=3, help="Runs of each of the two.")
@click.option("--timeout", type=POSITIVE, help="Seconds after which a run is stopped and counts as failed.  [default: none]")
@anyway
@options.device
@options.imports
@click.pass_context
def confirm(ctx, folder, seeds, timeout, anyway, device, imports):
    """Train the winner of the search in FOLDER (`genzoo tune`) and the default anew, and score both on test images.

    \b
    Example:
      genzoo tune vae --budget 30 --out runs/tune
      genzoo benchmark confirm runs/tune
      genzoo benchmark report runs/tune
    """
    from keras_genzoo.benchmark import searches
    from keras_genzoo.benchmark.planning import Busy
    from keras_genzoo.benchmark.results import FolderError

    try:
        _, failed = searches.confirm(searches.open_search(folder, imports, device), seeds, timeout, anyway)
    except Busy as error:
        raise click.UsageError(str(error), ctx) from None
    except (FolderError, ValueError) as error:
        raise click.BadParameter(str(error), ctx, param_hint="FOLDER") from None
    click.echo(f"Results are in {folder / 'confirm'}; `{ctx.parent.command_path} report {folder}` writes the page.")
    raise SystemExit(1 if failed else 0)


@main.command(short_help="Write the page about a benchmark or a search.")
@click.argument("folder", type=FOLDER)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["html", "markdown", "csv", "json", "latex"]),
    default="html",
    help="html and markdown are the page, csv and json its numbers, latex its tables and their BibTeX.",
)
@click.pass_context
def report(ctx, folder, kind):
    """Write report.html, which opens from disk and needs no other file, into FOLDER: of a benchmark, beside report.md, or of a
    search by `genzoo tune`.

    \b
    Examples:
      genzoo benchmark report runs/first
      genzoo benchmark report runs/first --format latex
    """
    from keras_genzoo.benchmark.results import Folder, FolderError

    try:
        if (folder / "search.json").exists():
            from keras_genzoo.benchmark import searches

            if kind != "html":
                raise FolderError(f"{folder} is a search, whose report is html alone; leave --format out.")
            click.echo(f"Wrote {searches.write_report(searches.read_search(folder))}.")
        elif kind in ("html", "markdown"):
            from keras_genzoo.benchmark.report import write_report

            click.echo(f"Wrote {write_report(Folder(folder))} and report.md beside it.")
        else:
            from keras_genzoo.benchmark import exports

            click.echo(f"Wrote {' and '.join(str(path) for path in exports.write(Folder(folder), kind))}.")
    except ImportError as error:
        extra = "tuning" if error.name == "keras_tuner" else "report"
        raise click.UsageError(f"the report needs {error.name}; pip install 'keras_genzoo[{extra}]'.", ctx) from None
    except FolderError as error:
        raise click.BadParameter(str(error), ctx, param_hint="FOLDER") from None


@main.command(short_help="Compare two benchmarks beyond their noise.")
@click.argument("before", type=FOLDER)
@click.argument("after", type=FOLDER)
@click.option("--score", help="Name of a score, as mse or KD[fashion-cnn].  [default: the one that ranks]")
@click.option("--page", type=FOLDER, help="An HTML file to write the comparison into, which needs no other file.")
@click.pass_context
def compare(ctx, before, after, score, page):
    """Tell what got better or worse from the results in BEFORE to those in AFTER, beyond the noise of their seeds.

    Exit code 0: nothing got worse; 1: something did; 2: the folders cannot be compared, with the reason.

    \b
    Example:
      genzoo benchmark compare runs/main runs/branch --page compared.html
    """
    from keras_genzoo.benchmark import compare as comparing
    from keras_genzoo.benchmark import scores
    from keras_genzoo.benchmark.results import Folder, FolderError

    try:
        folders = Folder(before), Folder(after)
        found = comparing.compare(*folders, score)
        if page:
            comparing.write_page(found, *folders, page)
    except ImportError as error:
        raise click.UsageError(f"the page needs {error.name}; pip install 'keras_genzoo[report]'.", ctx) from None
    except FolderError as error:
        raise click.BadParameter(str(error), ctx, param_hint="BEFORE AFTER") from None
    better = scores.of(found.score).better
    click.echo(f"{found.score}{f' ({better} is better)' if better else ''}, before and after:")
    for line in found.lines:
        click.echo(f"  {line['label']}: {line['before']}, {line['after']}: {line['verdict']}")
    for sentence in found.skipped:
        click.echo(sentence, err=True)
    raise SystemExit(1 if found.worse else 0)


main.add_command(add)
main.add_command(reproduce)
main.add_command(list_recipes, "list")
