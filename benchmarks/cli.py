"""The command line: `python -m benchmarks run | sweep | confirm | report | list`."""

import ast
import re
from pathlib import Path

import click

# Each command imports the package itself, so that --help does not wait for TensorFlow.


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True})
def main():
    """Train recipes at equal budgets, score them beside controls, and write one page about it.

    \b
    Examples:
      python -m benchmarks run --recipes vae,autoencoder --budget 60 --seeds 3 --out runs/first
      python -m benchmarks report runs/first
    """


class Recipes(click.ParamType):
    """Names of recipes between commas; `family:NAME` and `all` stand for several."""

    name = "names"

    def convert(self, value, param, ctx):
        import keras_genzoo as gz

        families = gz.recipes.names()
        chosen = []
        for part in filter(None, (part.strip() for part in value.split(","))):
            kind, colon, family = part.partition(":")
            if part == "all":
                chosen += [name for names in families.values() for name in names]
            elif colon and (kind != "family" or family not in families):
                self.fail(
                    f"there is no family {part!r}, expected one of {', '.join(f'family:{f}' for f in families)}.", param, ctx
                )
            elif colon:
                chosen += families[family]
            else:
                chosen.append(find_recipe(self, part, param, ctx).name)
        if not chosen:
            self.fail("no recipe is named; `python -m benchmarks list` shows them.", param, ctx)
        return list(dict.fromkeys(chosen))


class Override(click.ParamType):
    """`RECIPE.NAME=VALUE`, the value as in Python, or else a text."""

    name = "recipe.name=value"

    def convert(self, value, param, ctx):
        given = re.fullmatch(r"(\w+)\.(\w+)=(.+)", value)
        if not given:
            self.fail(f"{value!r} is no setting, expected one as vae.latent_dim=32.", param, ctx)
        recipe, argument, text = given.groups()
        known = [name for name in find_recipe(self, recipe, param, ctx).defaults if name != "seed"]
        if argument not in known:
            self.fail(f"recipe {recipe!r} has no argument {argument!r}, expected one of {', '.join(known)}.", param, ctx)
        try:
            return recipe, argument, ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return recipe, argument, text


class Size(click.ParamType):
    """`32`, or `HEIGHTxWIDTH`."""

    name = "size"

    def convert(self, value, param, ctx):
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", value):
            self.fail(f"{value!r} is no size, expected pixels as 32, or height and width as 32x24.", param, ctx)
        height, _, width = value.partition("x")
        return [int(height), int(width or height)]


class Device(click.ParamType):
    """`auto`, `cpu`, `gpu` or `gpu:NUMBER`."""

    name = "device"

    def convert(self, value, param, ctx):
        import tensorflow as tf

        if not re.fullmatch(r"auto|cpu|gpu(:\d+)?", value):
            self.fail(f"{value!r} is no device, expected auto, cpu, gpu or gpu:1.", param, ctx)
        if value.startswith("gpu"):
            count = len(tf.config.list_physical_devices("GPU"))
            if int(value[4:] or 0) >= count:
                self.fail(f"there is no {value}: TensorFlow sees {count or 'no'} GPUs.", param, ctx)
        return value


def find_recipe(kind, name, param, ctx):
    import keras_genzoo as gz

    try:
        return gz.recipes.get(name)
    except ValueError as error:
        kind.fail(str(error), param, ctx)


def check(known, option, *args, **kwargs):
    """Call what raises for a bad argument, and say which option it was of."""
    try:
        return known(*args, **kwargs)
    except (ValueError, OSError) as error:
        raise click.BadParameter(" ".join(str(error).split()), param_hint=option) from None


POSITIVE = click.FloatRange(min=0, min_open=True)
COUNT = click.IntRange(min=1)
FOLDER = click.Path(path_type=Path)


@main.command()
@click.option("--recipes", type=Recipes(), default="all", help="As vae,autoencoder or family:vae or all.")
@click.option("--data", default="fashion_mnist_mini", help="Shipped data set, folder of images, .npy/.npz, or TFDS name.")
@click.option("--data-dir", help="Where TFDS keeps its data sets.")
@click.option("--image-size", type=Size(), help="Crop and resize images, as 32 or 32x24.")
@click.option("--channels", type=click.Choice(["1", "3"]), help="Convert images to gray or to colour.")
@click.option("--budget", type=POSITIVE, help="Seconds of training a run, compilation not counted.  [default: 60]")
@click.option("--epochs", type=COUNT, help="Train for so many epochs instead.")
@click.option("--steps", type=COUNT, help="Train for so many steps instead; repeats a run of a budget exactly.")
@click.option("--seeds", type=COUNT, default=1, help="Runs a recipe, with seeds 0, 1, ...")
@click.option("--batch-size", type=COUNT, default=128)
@click.option("--n", type=click.IntRange(min=6), help="Images compared.  [default: all test images, 10,000 at most]")
@click.option("--features", help="Features in which images are compared, as inception for FID.  [default: by the data]")
@click.option("--set", "overrides", type=Override(), multiple=True, help="Hyperparameter of a recipe; makes a row of its own.")
@click.option("--device", type=Device(), default="auto", help="auto, cpu, gpu or gpu:NUMBER.")
@click.option("--mixed-precision", type=click.Choice(["mixed_bfloat16", "mixed_float16"]), help="Compute in 16 bits.")
@click.option("--jit/--no-jit", default=None, help="Compile with XLA.  [default: the recipe's choice]")
@click.option("--steps-per-execution", type=COUNT, help="Steps between returns to Python.  [default: the recipe's choice]")
@click.option("--timeout", type=POSITIVE, help="Seconds after which a run is stopped and counts as failed.  [default: none]")
@click.option("--out", type=FOLDER, required=True, help="Folder of the results, new or of the same settings.")
def run(recipes, seeds, overrides, timeout, out, budget, epochs, steps, **settings):
    """Train recipes and score them.

    The same command again does only what is missing; recipes and seeds may be added.

    \b
    Examples:
      python -m benchmarks run --budget 60 --seeds 3 --out runs/first
      python -m benchmarks run --recipes family:vae --data my_photos/ --image-size 32 --out runs/photos
      python -m benchmarks run --recipes vae --set vae.latent_dim=32 --epochs 10 --out runs/wide
    """
    import keras_genzoo as gz
    from benchmarks import controls
    from benchmarks.results import Folder, FolderError
    from benchmarks.running import Refused, run_all

    if sum(value is not None for value in (budget, epochs, steps)) > 1:
        raise click.UsageError("--budget, --epochs and --steps exclude each other; give one.")
    if not (budget or epochs or steps):
        budget = 60.0
    for recipe, argument, _ in overrides:
        if recipe not in recipes:
            raise click.BadParameter(
                f"{recipe}.{argument} is of a recipe that does not run; add it to --recipes.", param_hint="--set"
            )
    info = check(gz.data.info, "--data", settings["data"], data_dir=settings["data_dir"])
    if settings["features"] is None:
        channels = int(settings["channels"] or 0) or (info.image_shape and info.image_shape[-1])
        settings["features"] = gz.metrics.default_features(settings["data"], channels)
    # By name alone: loading the network here would take the GPU from the processes of the runs.
    if settings["features"] not in gz.metrics.names():
        raise click.BadParameter(
            f"unknown features {settings['features']!r}; there are {', '.join(gz.metrics.names())}.", param_hint="--features"
        )
    if settings["features"].startswith("inception"):
        check(gz.metrics.fetch_inception, "--features")
    if Path(settings["data"]).exists():
        settings["data"] = str(Path(settings["data"]).resolve())  # the same from everywhere
    settings["channels"] = settings["channels"] and int(settings["channels"])
    settings = {"budget": budget, "epochs": epochs, "steps": steps, **settings}

    rows = [{"kind": "control", "recipe": name, "family": "control", "overrides": {}, "seed": 0} for name in controls.CONTROLS]
    for name in recipes:
        changes = {argument: value for recipe, argument, value in overrides if recipe == name}
        row = {"kind": "recipe", "recipe": name, "family": gz.recipes.get(name).family, "overrides": changes}
        rows += [{**row, "seed": seed} for seed in range(seeds)]
    try:
        folder = Folder.create(out, settings)
        with folder.lock():
            missing = folder.missing(rows)
            if len(missing) < len(rows):
                click.echo(f"{len(rows) - len(missing)} of {len(rows)} rows are in {out} already.")
            yardsticks = [row for row in missing if row["kind"] == "control"]
            jobs = [yardsticks] * bool(yardsticks) + [[row] for row in missing if row["kind"] == "recipe"]
            failed = run_all(folder, jobs, timeout)
    except FolderError as error:
        raise click.BadParameter(str(error), param_hint="--out") from None
    except Refused as error:
        raise click.BadParameter(str(error), param_hint="--data") from None
    except KeyboardInterrupt:
        click.echo(f"\nStopped. What is finished is in {out}; the same command goes on from there.", err=True)
        raise SystemExit(130) from None
    if failed:
        click.echo(f"{len(failed)} of {len(missing)} rows failed; the same command tries them again.", err=True)
    click.echo(f"Results are in {out}; `python -m benchmarks report {out}` writes the page.")
    raise SystemExit(1 if failed else 0)


class Counts(click.ParamType):
    """Whole numbers between commas."""

    name = "counts"

    def convert(self, value, param, ctx):
        if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", value):
            self.fail(f"{value!r} is no list of counts, expected one as 5,10,20.", param, ctx)
        return [int(count) for count in value.split(",")]


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--evaluations", type=Counts(), default="5,10,20,50,100", help="Most calls of the network for an image.")
@click.option("--n", type=click.IntRange(min=100), default=1000, help="Test images compared with as many samples.")
def sweep(folder, evaluations, n):
    """Measure how distances depend on the sampler and its steps, of the trained diffusion models in FOLDER.

    \b
    Example:
      python -m benchmarks sweep runs/first
    """
    from benchmarks import sweep as sweeping
    from benchmarks.results import Folder, FolderError

    try:
        opened = Folder(folder)
        with opened.lock():
            count = sweeping.sweep(opened, evaluations, n)
    except FolderError as error:
        raise click.BadParameter(str(error), param_hint="FOLDER") from None
    if not count:
        raise click.BadParameter(f"{folder} holds no trained model that is sampled in steps.", param_hint="FOLDER")
    click.echo(f"Added to the results of {count} models; `python -m benchmarks report {folder}` draws them.")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--seeds", type=click.IntRange(2), default=3)
@click.option("--timeout", type=POSITIVE, help="Seconds after which a run is stopped and counts as failed.  [default: none]")
def confirm(folder, seeds, timeout):
    """Train the winner of the search in FOLDER (`genzoo tune`) and the default anew, and score both on test images.

    \b
    Example:
      genzoo tune vae --budget 30 --out runs/tune
      python -m benchmarks confirm runs/tune
      python -m benchmarks report runs/tune
    """
    from benchmarks import searches
    from benchmarks.results import FolderError

    try:
        _, failed = searches.confirm(searches.open_search(folder), seeds, timeout)
    except (FolderError, ValueError) as error:
        raise click.BadParameter(str(error), param_hint="FOLDER") from None
    click.echo(f"Results are in {folder / 'confirm'}; `python -m benchmarks report {folder}` writes the page.")
    raise SystemExit(1 if failed else 0)


@main.command()
@click.argument("folder", type=FOLDER)
def report(folder):
    """Write report.html, which opens from disk and needs no other file, into FOLDER: of a benchmark, beside report.md, or of a
    search by `genzoo tune`.

    \b
    Example:
      python -m benchmarks report runs/first
    """
    from benchmarks import searches
    from benchmarks.report import write_report
    from benchmarks.results import Folder, FolderError

    try:
        if searches.is_search(folder):
            click.echo(f"Wrote {searches.write_report(searches.open_search(folder))}.")
            return
        page = write_report(Folder(folder))
    except FolderError as error:
        raise click.BadParameter(str(error), param_hint="FOLDER") from None
    click.echo(f"Wrote {page} and report.md beside it.")


@main.command("list")
def list_recipes():
    """List the recipes by family."""
    import keras_genzoo as gz

    for family, names in gz.recipes.names().items():
        click.echo(f"{family}:")
        for name in names:
            click.echo(f"  {name:<20} {gz.recipes.get(name).summary}")
