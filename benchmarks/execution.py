"""How each recipe runs fastest on this machine: `python -m benchmarks.execution` times every way and writes a table.

The ways are plain graphs and XLA, one and ten steps a call, and bfloat16. A recipe's `execution` in `keras_genzoo/recipes`
is set by hand from the table of a CPU.
"""

import itertools
import statistics
import time
from pathlib import Path

import click
import pandas as pd

from keras_genzoo.cli import options
from keras_genzoo.core.files import replacing

ROUNDS = 5  # every way is timed in turn this often, so that a slow spell of the machine meets all of them


def steps_per_second(model, data, seconds):
    """Training steps a second; the clock is read when Keras has read the losses, and so has waited for the device."""
    calls = model.steps_per_execution
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        model.fit(data, steps_per_epoch=20 * calls if calls == 1 else 2 * calls, verbose=0)
        steps += 20 if calls == 1 else 2 * calls
    return steps / (time.perf_counter() - started)


@click.command(context_settings={"show_default": True})
@click.option("--recipes", default="", help="Recipes by comma; all without it.")
@options.data
@click.option("--batch-size", type=click.IntRange(1), default=128)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=1.0, help="Of one timing.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/execution.md"))
@options.imports
def main(recipes, data, batch_size, seconds, out, imports):
    """Time every way of running each recipe and write the table."""
    import keras_genzoo as gz
    from keras_genzoo.core.runs import environment

    names = [name for name in recipes.split(",") if name] or [n for family in gz.recipes.names().values() for n in family]
    train = gz.data.load(data, "train", batch_size=batch_size).repeat()
    shape = tuple(train.element_spec.shape[1:])
    rows = []
    for name in names:
        ways = {}
        for dtype, jit, calls in itertools.product((None, "mixed_bfloat16"), (False, True), (1, 10)):
            model = gz.build(name, shape, total_steps=10**6, dtype=dtype, jit_compile=jit, steps_per_execution=calls, seed=0)
            model.fit(train, steps_per_epoch=calls, verbose=0)
            label = f"{'XLA' if jit else 'graph'}, {calls} a call{', bfloat16' if dtype else ''}"
            ways[label] = model
        rates = {label: [] for label in ways}
        for _ in range(ROUNDS):
            for label, model in ways.items():
                rates[label].append(steps_per_second(model, train, seconds))
        milliseconds = {label: 1000 / statistics.median(values) for label, values in rates.items()}
        fastest = min(milliseconds, key=milliseconds.get)
        rows.append({"recipe": name, **{label: f"{value:.1f}" for label, value in milliseconds.items()}, "fastest": fastest})
        click.echo(f"{name}: {fastest}, {milliseconds[fastest]:.1f} ms")
    machine = environment()
    about = f"{machine['cpu']}, {machine['cores']} cores, {machine['device']}; TensorFlow {machine['tensorflow']}, "
    about += f"Keras {machine['keras']}"
    text = (
        f"# Milliseconds a training step\n\n{about}; {data}, batches of {batch_size}; median of {ROUNDS} rounds in which all "
        f"ways took turns; made by `python -m benchmarks.execution`.\n\n{pd.DataFrame(rows).to_markdown(index=False)}\n"
    )
    with replacing(out) as temporary:
        temporary.write_text(text)


if __name__ == "__main__":
    main()
