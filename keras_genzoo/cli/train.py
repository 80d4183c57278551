"""`genzoo train`: a run in a folder, which the same command takes up again."""

import contextlib
import functools
import json
import math
import re
import shutil
import signal
import sys
from pathlib import Path

import click

from keras_genzoo.cli import options
from keras_genzoo.core import hub, plugins, runs, sheets, workers
from keras_genzoo.core.batches import TOLD
from keras_genzoo.core.budgets import seconds_per_execution

STATE, BEST, PROGRESS, HISTORY = "state", "best.keras", "progress", "history.csv"
LEAST, MOST = 10, 300  # seconds between two states
SHEETS = 50  # of samples, about, at most
# What makes two commands the same run, beside the number of epochs.
SAME = ("recipe", "hyperparameters", "dtype", "batch_size", "flip", "data", "from")


@click.command(short_help="Train a recipe.")
@click.argument("recipe")
@options.data
@options.data_dir
@click.option("--out", type=options.FOLDER, help="Folder of the run.  [default: runs/RECIPE]")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training images.  [default: 20]")
@click.option("--steps", type=click.IntRange(1), help="Train for so many steps instead, rounded up to whole epochs.")
@click.option(
    "--budget", type=click.FloatRange(0, min_open=True), help="Train for so many seconds instead, by timing steps first."
)
@click.option("--batch-size", type=click.IntRange(1), help="[default: that of --config, or 128, and less of few images]")
@options.image_size
@options.channels
@options.splits
@options.flip
@options.overrides
@click.option("--config", type=options.FOLDER, help="Hyperparameters and batch size of `genzoo tune`: its best.json.")
@click.option("--from", "source", type=options.FOLDER, help="Begin with the weights of this model, or run, that fit.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the weights, the noise and the order of images.")
@click.option("--constant-rates", is_flag=True, help="No decay of learning rates, so that more --epochs may follow.")
@options.automatic_precision
@options.jit
@options.device
@options.strategy
@options.imports
@click.option("--keep-best", metavar="METRIC", help="Keep best.keras, by the smallest val_fd or val_loss, say.")
@click.option("--fresh", is_flag=True, help="Begin anew; what a run left in the folder is removed.")
@click.option("--animate", is_flag=True, help="Join the pictures of the epochs as an animation, progress/samples.gif.")
@click.option("--tensorboard", is_flag=True, help="Write curves and pictures for TensorBoard, into the folder tensorboard.")
@click.option("--wandb", is_flag=True, help="Report the run to Weights & Biases.")
@click.option("--mlflow", is_flag=True, help="Report the run to MLflow.")
@click.option("--quiet", is_flag=True, help="Do not show how the training goes.")
@click.option("--verbose", is_flag=True, help="Show the layers of the networks first.")
def train(
    recipe,
    data,
    data_dir,
    out,
    epochs,
    steps,
    budget,
    batch_size,
    image_size,
    channels,
    splits,
    flip,
    overrides,
    config,
    source,
    seed,
    constant_rates,
    mixed_precision,
    jit,
    device,
    strategy,
    imports,
    keep_best,
    fresh,
    animate,
    tensorboard,
    wandb,
    mlflow,
    quiet,
    verbose,
):
    """Train RECIPE and write run.json, model.keras, history.csv and pictures of samples after every epoch, or some 50 times.

    The state of the training is kept every five minutes, and at the end of an epoch if the last state is ten seconds old. The
    same command goes on from there. Ctrl-C and SIGTERM end the training after the step at hand, and keep the model as it is then
    beside its state.

    \b
    Examples:
      genzoo train vae
      genzoo train autoencoder --data my_photos/ --image-size 64 --set latent_dim=64
      genzoo train gan --data my_photos/ --budget 600
      genzoo train vae --config runs/tune/best.json
      genzoo train vae --data my_photos/ --image-size 28 --channels 1 --from runs/vae --out runs/tuned --keep-best val_fd
    """
    import keras

    import keras_genzoo as gz
    from keras_genzoo.cli import lengths, watching
    from keras_genzoo.data.loading import absolute, find

    if sum(value is not None for value in (epochs, steps, budget)) > 1:
        raise click.UsageError("--epochs, --steps and --budget exclude each other; give one.")
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other; give one.")

    if config is not None:
        tuned = _tuned(config, recipe)
        plugins.import_stored(tuned.get("imports", []), imports, what=str(config))
        imports = list(dict.fromkeys([*imports, *tuned.get("imports", [])]))
    entry = gz.recipes.get(recipe)  # a wrong name before the data are read
    strategy = options.use_strategy(strategy, device)
    chief = strategy is None or workers.is_chief(strategy)
    if config is not None:
        overrides = {**gz.recipes.space.tuples(tuned["hyperparameters"]), **overrides}
        batch_size = batch_size or tuned["batch_size"]
    info = gz.data.info(data, data_dir, splits=splits)
    batch_size, overrides = batch_size or lengths.fitting_batch(info.counts.get("train")), {"seed": seed, **overrides}
    out = Path("runs") / recipe if out is None else out
    chosen = {"image_size": image_size, "channels": int(channels) if channels else None, "data_dir": data_dir, "splits": splits}
    load = functools.partial(gz.data.load, data, batch_size=batch_size, flip=flip, **chosen)
    seed = overrides["seed"]
    if mixed_precision == "auto":
        mixed_precision = gz.recipes.automatic_dtype(recipe, click.echo)
    images, validation = load(split="train", seed=seed), load(split="validation")
    shape = tuple(images.element_spec.shape[1:])

    def build(total_steps):
        keras.utils.set_random_seed(seed)
        with strategy.scope() if strategy else contextlib.nullcontext():
            return gz.build(recipe, shape, total_steps, dtype=mixed_precision, jit_compile=jit, **overrides)

    def passes(images):
        """Epochs that are asked for."""
        if budget is not None:
            before = {} if fresh else runs.read(out)
            if before.get("budget") == budget and "epochs" in before:
                return before["epochs"]
            timed = build(total_steps=1000)
            batches = load(split="train", seed=seed, **timed.data_needs) if timed.data_needs else images
            seconds = seconds_per_execution(timed, batches.repeat(), budget) / timed.steps_per_execution
            return max(1, int(budget / (seconds * _length(batches))))
        return math.ceil(steps / _length(images)) if steps is not None else epochs or 20

    def planned(images, epochs):
        steps = int(images.cardinality())
        return epochs * steps if steps > 0 and not constant_rates else None

    epochs = passes(images)
    total_steps = planned(images, epochs)
    model = build(total_steps)
    if model.data_needs:
        images = load(split="train", seed=seed, **model.data_needs)
        epochs = passes(images) if steps is not None else epochs
        if planned(images, epochs) != total_steps:  # a batch with further images makes for fewer of them
            total_steps = planned(images, epochs)
            model = build(total_steps)

    parts = {"train": images, "validation": validation}
    if info.counts.get("test"):
        parts["test"] = load(split="test")
    record = runs.record(
        recipe,
        imports,
        hyperparameters={**entry.at(shape, overrides).defaults, **overrides},
        data=runs.data_record(absolute(data), parts, **chosen),
        flip=flip,
        batch_size=batch_size,
        image_shape=shape,
        dtype=mixed_precision,
        epochs=epochs,
        budget=budget,
        total_steps=total_steps,
        **{"from": source},
    )
    stored = {} if fresh else _stored(out, record)
    if stored.get("diverged"):
        click.echo(f"{out} has ended: {stored['diverged']} Begin anew by --fresh.")
        return
    if stored.get("trained_epochs", 0) >= epochs:
        click.echo(f"{out} has trained its {stored['trained_epochs']} epochs; give more --epochs, or --fresh to begin anew.")
        return
    if stored and stored["total_steps"] != total_steps and _plan(model) != _plan(build(stored["total_steps"])):
        raise click.UsageError(
            f"the rates of the run in {out} were planned for {stored['epochs']} epochs, not {epochs}; begin anew by --fresh, or "
            f"go on from its weights by --from {out} and another --out."
        )
    if source is not None and not stored:
        file = hub.located(source)
        if not hub.is_remote(source):
            runs.import_for(file, imports)
        click.echo(gz.take_weights(model, gz.load(file)))

    if chief and not quiet:
        counts = {name: part.images_count for name, part in parts.items()}
        by_name = bool(find(data, data_dir, splits).own_splits)
        length = int(images.cardinality())
        click.echo(lengths.told(counts, shape, info, by_name, batch_size, length if length > 0 else None, epochs), err=True)
    if chief and verbose:
        model.summary(expand_nested=True, line_length=100, print_fn=click.echo)
    validation = load(split="validation", **model.data_needs) if model.data_needs else validation
    told = {name: value for name, value in model.data_needs.items() if name in TOLD}
    shown = gz.data.as_batch(load(split="validation", **told), n=32, seed=0)  # of a sorted folder the first are of one kind
    guard = gz.callbacks.StopOnDivergence()
    keeper = gz.callbacks.Checkpoint(out / STATE, least_seconds=LEAST, every_seconds=MOST, fresh=fresh)

    def begin(logs):
        if fresh:
            for name in (runs.NAME, runs.MODEL, BEST, HISTORY):
                (out / name).unlink(missing_ok=True)
            shutil.rmtree(out / PROGRESS, ignore_errors=True)
            keeper.clear()
        elif keeper.begun != (0, 0) and not keeper.finished:
            click.echo(f"going on from {_where(keeper.begun)} of {epochs}")
        runs.write(out, record)

    callbacks = [guard, keeper]
    if chief:
        every = math.ceil(epochs / SHEETS)
        if fresh:  # now, as TensorBoard opens its files before `fit` begins
            shutil.rmtree(out / watching.TENSORBOARD, ignore_errors=True)
        grid = gz.callbacks.SampleGrid(
            out / PROGRESS,
            images=shown if hasattr(model, "reconstruct") else None,
            every=every,
            tensorboard=out / watching.TENSORBOARD if tensorboard else None,
            animate=animate,
        )
        reported = [name for name, asked in (("tensorboard", tensorboard), ("wandb", wandb), ("mlflow", mlflow)) if asked]
        callbacks = [
            # Not before: what is wrong with the data for this model comes out as `fit` begins.
            keras.callbacks.LambdaCallback(on_train_begin=begin),
            *([watching.Stages(every, int(validation.cardinality()))] if sys.stderr.isatty() and not quiet else []),
            grid,
            *(_keepers_of_the_best(model, keep_best, out) if keep_best else []),
            keras.callbacks.CSVLogger(str(out / HISTORY)),
            *watching.trackers(reported, out, record, fresh or not stored),
            *callbacks,
        ]
    ended, trained = 0, {}
    try:
        # A bar on a terminal, elsewhere a line an epoch.
        verbose = 0 if quiet else 1 if sys.stdout.isatty() else 2
        history = model.fit(images, validation_data=validation, epochs=epochs, callbacks=callbacks, verbose=verbose)
        trained = {"trained_epochs": len(history.epoch), "diverged": guard.reason}
    except KeyboardInterrupt:
        ended = 128 + signal.SIGINT
    except SystemExit as error:
        ended = error.code
    if ended:
        click.echo("stopped; the same command goes on from here", err=True)
    if not chief:
        sys.exit(ended)
    if hasattr(model, "fit_prior"):
        click.echo("fitting the prior over the codes")
        model.fit_prior(load(split="train", shuffle=False, **model.data_needs))
    model.save(out / runs.MODEL)
    runs.write(out, {**record, **trained})
    if hasattr(model, "sample"):
        gz.images.write_png(out / "samples.png", *sheets.samples(model, 64, seed))
    if hasattr(model, "reconstruct"):
        gz.images.write_png(out / "reconstructions.png", *gz.callbacks.pairs(model, shown))
    if not quiet and (sentence := lengths.risen(out / HISTORY, model.monitor)):
        click.echo(sentence, err=True)
    click.echo(f"{'stopped early; ' if ended else ''}the model is {out / runs.MODEL}")
    sys.exit(ended)


def _length(images):
    """Steps an epoch, which must be known to count epochs."""
    length = int(images.cardinality())
    if length < 1:
        raise click.UsageError("how many images there are is not known, so steps make no epochs; give --epochs.")
    return length


def _where(begun):
    epoch, batch = begun
    return f"batch {batch + 1} of epoch {epoch + 1}" if batch else f"epoch {epoch + 1}"


def _stored(out, record):
    """The record of the run in a folder, an empty dict where there is none; it must be of the same run."""
    stored = runs.read(out)
    if not stored and any((out / name).exists() for name in (runs.MODEL, STATE)):
        raise click.UsageError(f"{out} holds a model, and nothing that says of which run; choose another --out, or --fresh.")
    runs.check_name(stored, out)
    if stored and "data" not in stored:
        raise click.UsageError(f"{out} holds a run of an earlier version; choose another --out, or --fresh to begin anew.")
    differing = runs.differing(stored, record, SAME) if stored else []
    if differing:
        raise click.UsageError(
            f"{out} holds another run ({'; '.join(differing)}); choose another --out, or --fresh to begin anew."
        )
    return stored


def _plan(model):
    """How a model is trained, as text; without the numbers that Keras puts behind names."""
    config = {"model": model.get_config(), "compile": model.get_compile_config()}
    return re.sub(r'_\d+"', '"', json.dumps(config, sort_keys=True, default=repr))


def _keepers_of_the_best(model, metric, out):
    """Callbacks that keep the model of the epoch in which a metric of the validation images is smallest."""
    import keras

    import keras_genzoo as gz

    known = ["val_fd", *(f"val_{each.name}" for each in model.metrics)]
    if metric not in known:
        raise click.BadParameter(f"there is no {metric!r}, expected one of {', '.join(known)}.", param_hint="--keep-best")
    best = keras.callbacks.ModelCheckpoint(out / BEST, monitor=metric, mode="min", save_best_only=True)
    return [*([gz.callbacks.FrechetDistanceMonitor()] if metric == "val_fd" else []), best]


def _tuned(config, recipe):
    """What a best.json holds, checked."""
    try:
        tuned = json.loads(config.read_text())
        found = tuned["recipe"], dict(tuned["hyperparameters"]), int(tuned["batch_size"])
    except (ValueError, KeyError, TypeError):
        raise click.BadParameter(f"{config} is no best.json of `genzoo tune`.", param_hint="--config") from None
    runs.check_name(tuned, config)
    if found[0] != recipe:
        raise click.BadParameter(f"{config} is of recipe {found[0]!r}, not of {recipe!r}.", param_hint="--config")
    return tuned
