"""Options that several commands take, and how their values are read."""

import ast
import contextlib
import re
import warnings
from pathlib import Path

import click

from keras_genzoo.core import plugins

FOLDER = click.Path(path_type=Path)
POSITIVE = click.FloatRange(min=0, min_open=True)
COUNT = click.IntRange(min=1)


@contextlib.contextmanager
def plain_warnings():
    """Inside the block, warnings for users are shown as a line each, without the place in the code, and once."""
    seen, before = set(), warnings.showwarning

    def show(message, category, *place, **more):
        if not issubclass(category, UserWarning):
            before(message, category, *place, **more)
        elif str(message) not in seen:
            seen.add(str(message))
            click.echo(f"warning: {message}", err=True)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


class OneSentence(click.Group):
    """Ends a user's mistake with exit code 2 and one sentence instead of a traceback, and shows warnings as a line each."""

    def invoke(self, ctx):
        try:
            with plain_warnings():
                return super().invoke(ctx)
        except (ValueError, OSError, MemoryError, ImportError) as error:
            if ctx.find_root().params.get("traceback"):
                raise
            raise click.UsageError(" ".join(str(error).split()), ctx) from error


def _import(ctx, parameter, values):
    try:
        return plugins.import_named(values)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from error


# Eager: the recipes must be there when the other arguments are read.
imports = click.option(
    "--import",
    "imports",
    multiple=True,
    is_eager=True,
    callback=_import,
    metavar="MODULE",
    help="Module or .py file with recipes of your own; may be repeated.",
)


def _check_device(ctx, parameter, value):
    from keras_genzoo.core import devices

    try:
        devices.check(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None
    return value


device = click.option("--device", default="auto", callback=_check_device, help="auto, cpu, gpu or gpu:NUMBER.")


def use_device(name):
    """Let this process compute on a device, and say which it is."""
    from keras_genzoo.core import devices

    click.echo(f"device: {devices.choose(name)}", err=True)


strategy = click.option(
    "--strategy",
    type=click.Choice(["mirrored", "multiworker"]),
    help="Train on all GPUs of this machine, or with other machines by TF_CONFIG (docs/guides/scaling.md).",
)


def use_strategy(name, device):
    """The strategy of a name, None for one device, which is then chosen; and say what computes. Before anything that computes."""
    import tensorflow as tf

    if name is None:
        return use_device(device)
    if device != "auto":
        raise click.UsageError(f"--strategy {name} takes all devices, and --device {device} one of them; leave one out.")
    made = tf.distribute.MirroredStrategy() if name == "mirrored" else tf.distribute.MultiWorkerMirroredStrategy()
    click.echo(f"devices: {made.num_replicas_in_sync}, by {type(made).__name__}", err=True)
    return made


class Size(click.ParamType):
    """`32`, or `HEIGHTxWIDTH`."""

    name = "size"

    def convert(self, value, param, ctx):
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", value):
            self.fail(f"{value!r} is no size, expected pixels as 32, or height and width as 32x24.", param, ctx)
        height, _, width = value.partition("x")
        return [int(height), int(width or height)]


data = click.option(
    "--data", default="fashion_mnist_mini", help="Shipped data set, folder or file of images, hf://user/name, or TFDS name."
)
data_dir = click.option("--data-dir", type=FOLDER, help="Where TFDS keeps its data sets.")
HALVES = ["mixed_bfloat16", "mixed_float16"]
mixed_precision = click.option("--mixed-precision", type=click.Choice(HALVES), help="Compute in 16 bits.")
automatic_precision = click.option(
    "--mixed-precision",
    type=click.Choice(["auto", *HALVES]),
    help="Compute in 16 bits; with auto, where that is faster and as good on this machine.",
)
jit = click.option("--jit/--no-jit", default=None, help="Compile with XLA.  [default: the recipe's choice]")
image_size = click.option("--image-size", type=Size(), help="Crop and resize images to 32, say, or height by width, as 32x24.")
channels = click.option("--channels", type=click.Choice(["1", "3"]), help="Convert images to gray or to colour.")
splits = click.option(
    "--splits/--no-splits", default=True, help="Take subfolders train, validation and test of a folder for splits."
)
flip = click.option("--flip", is_flag=True, help="Mirror training images left to right at random.")


def literal(text):
    """A value as in Python, or else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def pairs(ctx, parameter, values):
    """`NAME=VALUE`s as a dict."""
    found = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE.", ctx, parameter)
        found[name] = literal(text)
    return found


overrides = click.option(
    "--set", "overrides", multiple=True, callback=pairs, metavar="NAME=VALUE", help="Hyperparameter of the recipe."
)


class Override(click.ParamType):
    """`RECIPE.NAME=VALUE`, the value as in Python, or else a text."""

    name = "recipe.name=value"

    def convert(self, value, param, ctx):
        given = re.fullmatch(r"([\w/]+)\.(\w+)=(.+)", value)
        if not given:
            self.fail(f"{value!r} is no setting, expected one as vae.latent_dim=32.", param, ctx)
        recipe, argument, text = given.groups()
        return recipe, argument, literal(text)


of_recipes = click.option(
    "--set", "overrides", type=Override(), multiple=True, help="Hyperparameter of a recipe; makes a row of its own."
)


def by_recipe(overrides):
    """`Override`s as a dict of recipes to dicts of hyperparameters."""
    changes = {}
    for recipe, argument, value in overrides:
        changes.setdefault(recipe, {})[argument] = value
    return changes


@contextlib.contextmanager
def benchmark_errors(ctx, out):
    """Inside the block, what a benchmark in the folder `out` refuses names the option that it came by."""
    from keras_genzoo import benchmark
    from keras_genzoo.benchmark.planning import Busy
    from keras_genzoo.benchmark.running import Refused

    try:
        yield
    except benchmark.ArgumentError as error:
        hint = {"overrides": "--set"}.get(error.argument, f"--{error.argument}")
        raise click.BadParameter(str(error), ctx, param_hint=hint) from None
    except benchmark.FolderError as error:
        raise click.BadParameter(str(error), ctx, param_hint="--out") from None
    except Refused as error:
        raise click.BadParameter(str(error), ctx, param_hint="--data") from None
    except Busy as error:
        raise click.UsageError(str(error), ctx) from None
    except KeyboardInterrupt:
        click.echo(f"\nStopped. What is finished is in {out}; the same command goes on from there.", err=True)
        raise SystemExit(130) from None


class Shape(click.ParamType):
    """`HEIGHTxWIDTHxCHANNELS`."""

    name = "shape"

    def convert(self, value, param, ctx):
        if not isinstance(value, str):
            return value
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*x[1-9]\d*", value):
            self.fail(f"{value!r} is no shape, expected height, width and channels as 28x28x1.", param, ctx)
        return tuple(int(size) for size in value.split("x"))


class Interval(click.ParamType):
    """Two numbers between commas."""

    name = "interval"

    def convert(self, value, param, ctx):
        try:
            low, high = (float(each) for each in value.split(",")) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} is no interval, expected two numbers as 0.2,3.", param, ctx)
        return low, high


class Numbers(click.ParamType):
    """Whole numbers of at least `low` between commas."""

    name = "numbers"

    def __init__(self, low=0):
        self.low = low

    def convert(self, value, param, ctx):
        if not re.fullmatch(r"\d+(,\d+)*", value) or min(map(int, value.split(","))) < self.low:
            self.fail(f"{value!r} is no list of numbers of at least {self.low}, expected one as 5,10,20.", param, ctx)
        return [int(number) for number in value.split(",")]
