"""How fast training, sampling and scores are, beside the usual ways, in turns within one run: `python -m benchmarks.speed`.

Every side is a process with as many threads. A round is one turn of each, and a ratio is of one round. Networks of peers are
built from ours with the very weights, and the outputs compared, before anything is timed. The peers need an environment of their
own:

    python3 -m venv ~/reference-venv
    ~/reference-venv/bin/pip install torch torch-fidelity prdc diffusers normflows pythae scikit-learn
    python -m benchmarks.speed --peer ~/reference-venv/bin/python
"""

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from benchmarks.speed.turns import in_turns, interval, ratio

PLAIN = {"ema": None}
CODED = {"encoder": "encoder", "decoder": "decoder"}
GAME = {"generator": "generator", "critic": "critic"}
LATENT = ("latent_dim",)
UNET = {"width": 16, "multipliers": (1, 2, 4), "patch": 1}
CHANNELS = {"channels": (16, 32, 64)}
GLOW = {
    "levels": 2,
    "steps": 4,
    "width": 64,
    "marginals": False,
    "dequantisation": 0,
    "dense": 0,
    "alpha": 0.05,
    "clipnorm": None,
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table of trainings.

    Attributes:
        title, recipe: strs.
        peer: str. The peer's work; it runs eager and compiled, or once where `compiles` is False.
        networks: dict of the peer's names to the model's attributes.
        steps, batch_size: ints, of a round.
        overrides: dict of hyperparameters.
        told: names of the model's attributes that the peer is told.
        more: dict. What else the peer is told.
        third: str or None. Another peer's work.
    """

    title: str
    recipe: str
    peer: str
    networks: dict
    steps: int
    batch_size: int = 128
    overrides: dict = dataclasses.field(default_factory=lambda: PLAIN)
    told: tuple = ()
    more: dict = dataclasses.field(default_factory=dict)
    third: str | None = None
    compiles: bool = True


LANGEVIN = {"chain_steps": 10, "step_size": 10.0, "noise": 0.005, "clip": 0.03, "buffer_size": 2560, "restart": 0.1}
LANGEVIN |= {"data_noise": 0.03, "energy_weight": 0.1, "gradient_norm": 1.0}
TRAININGS = [
    Row("dense autoencoder", "dense_autoencoder", "autoencoder", CODED, 500),
    Row("convolutional autoencoder", "autoencoder", "autoencoder", CODED, 100),
    Row("VAE", "vae", "vae", CODED, 500),
    Row("WAE-MMD", "wae_mmd", "wae_mmd", CODED, 300, told=("latent_dim", "weight"), third="pythae_wae"),
    Row("DCGAN", "dcgan", "gan", GAME, 100, 64, told=LATENT),
    Row("WGAN-GP", "wgan_gp", "wgan_gp", GAME, 10, 64, told=LATENT, more={"penalty_weight": 10.0}),
    Row("U-Net of DDPM", "ddpm", "diffusers_training", {}, 10, 64, {**PLAIN, **UNET}, more=CHANNELS),
    Row("Glow", "glow", "normflows_training", {}, 40, 64, {**PLAIN, **GLOW}, more={"steps_of_level": 4, "width": 64}),
    Row("EBM, 10 Langevin steps", "ebm", "ebm", {"energy": "network"}, 10, 64, more=LANGEVIN),
    Row("RBM", "rbm", "bernoulli_rbm", {}, 500, 128, {**PLAIN, "hidden": 500}, more={"hidden": 500}, compiles=False),
]
SAMPLINGS = {  # title: recipe, overrides, images, how, the peer and what it is told
    "U-Net, DDIM of 30 calls": (
        "flow_matching",
        UNET,
        256,
        {"sampler": "ddim", "steps": 30},
        ("diffusers_sampling", {**CHANNELS, "evaluations": 30}),
    ),
    "Glow": ("glow", GLOW, 1000, {}, ("normflows_sampling", {"steps_of_level": 4, "width": 64})),
}
FAMILIES = ("dense_autoencoder", "vae", "wae_mmd", "gan", "glow", "latent_diffusion", "flow_matching", "ebm", "rbm")
SCORES = {  # title: our work, what both are told, the peer's work
    "Inception's features of 500 images, against torch-fidelity": (
        "inception",
        {"n": 500, "batch_size": 50},
        "torch_fidelity_features",
    ),
    "FID of 50,000 x 2048 features, against NumPy's covariance and SciPy's root": (
        "distance",
        {"n": 50_000, "dim": 2048},
        "usual_distance",
    ),
    "KID of 10,000 x 2048 features, against torch-fidelity": ("kernel", {"n": 10_000, "dim": 2048}, "torch_fidelity_kid"),
    "precision, recall, density, coverage of 10,000 x 2048 features, against prdc": (
        "neighbours",
        {"n": 10_000, "dim": 2048},
        "prdc_scores",
    ),
}
PARTS = ("training", "loop", "sampling", "scores", "start")
FIRST = """
import sys, time
started = time.perf_counter()
import keras, tensorflow
middle = time.perf_counter()
import keras_genzoo as gz
imported = time.perf_counter()
model = gz.build(sys.argv[1], (28, 28, 1), seed=0)
data = gz.data.load("fashion_mnist_mini", "train", batch_size=64, **model.data_needs).repeat()
model.fit(data, steps_per_epoch=model.steps_per_execution, verbose=0)
print(imported - middle, time.perf_counter() - imported)
"""


def spread(pair):
    middle, low, high = pair
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def trainings(rounds, threads, python, folder, chosen):
    """Images a second of `fit`, and how many times that is a peer's."""
    for row in TRAININGS:
        if chosen and row.recipe not in chosen:
            continue
        common = {
            "steps": row.steps,
            "batch_size": row.batch_size,
            "threads": threads,
            "arrays": str(folder / f"{row.recipe}.npz"),
        }
        ours = {"work": "training", "recipe": row.recipe, "overrides": row.overrides, "networks": row.networks, "told": row.told}
        peer = {"work": row.peer, **row.more}
        peers = {"PyTorch eager": peer | {"compile": False}, "compiled": peer | {"compile": True}}
        if not row.compiles:
            peers = {"scikit-learn": peer}
        if row.third:
            peers[row.third.partition("_")[0]] = peers["PyTorch eager"] | {"work": row.third}
        times, peaks = in_turns(ours | common, peers, rounds, python)
        images = row.steps * row.batch_size / statistics.median(times["ours"])
        ratios = {title: spread(ratio(times["ours"], each)) for title, each in times.items() if title != "ours"}
        yield {"training": row.title, "images/s": f"{images:,.0f}", **ratios, "peak MB": f"{peaks['ours']:,.0f}"}


def loops(rounds, threads, python, folder, chosen):
    """`fit` beside a bare loop over the same step."""
    for recipe in FAMILIES:
        if chosen and recipe not in chosen:
            continue
        ours = {"work": "loop", "recipe": recipe, "batch_size": 64, "bare": False}
        probe, _ = in_turns({**ours, "steps": 20}, {}, 1, None)
        steps = max(20, int(20 * 2 / probe["ours"][0]) // 20 * 20)  # about two seconds
        fit, bare = pair_of_ours({**ours, "steps": steps}, {"bare": True}, max(rounds, 20))
        low, high = interval(fit, bare)
        more = 1000 * statistics.median(a - b for a, b in zip(fit, bare, strict=True)) / steps
        yield {
            "fit of": recipe,
            "speed over a bare loop, 95 % interval": f"{low:.2f} to {high:.2f}",
            "ms a step more": f"{more:.2f}",
        }


def pair_of_ours(asked, change, rounds):
    from benchmarks.speed.turns import Side

    sides = Side(asked), Side(asked | change)
    for _ in range(rounds):
        for side in sides:
            side.turn()
    for side in sides:
        side.end()
    return [side.times for side in sides]


def samplings(rounds, threads, python, folder, chosen):
    """Images a second of `sample`, of an image alone, and how many times that is a peer's."""
    for title, (recipe, overrides, images, how, (peer, more)) in SAMPLINGS.items():
        ours = {
            "work": "sampling",
            "recipe": recipe,
            "overrides": overrides,
            "images": images,
            "how": how,
            "fitted": recipe == "glow",
        }
        times, _ = in_turns(ours | {"threads": threads}, {"peer": {"work": peer, **more}}, rounds, python)
        ratios = {"times as fast": spread(ratio(times["ours"], times["peer"]))} if "peer" in times else {}
        yield {"sampling": title, "images/s": f"{images / statistics.median(times['ours']):,.0f}", **ratios}
    for recipe in FAMILIES:
        ours = {"work": "sampling", "recipe": recipe, "overrides": {}, "how": {}, "fitted": True}
        many, _ = in_turns(ours | {"images": 256}, {}, rounds, None)
        one, _ = in_turns(ours | {"images": 1}, {}, rounds, None)
        speed, latency = 256 / statistics.median(many["ours"]), 1000 * statistics.median(one["ours"])
        yield {"sampling": f"`{recipe}`, defaults", "images/s": f"{speed:,.0f}", "ms of one": f"{latency:.0f}"}


def scores(rounds, threads, python, folder, chosen):
    """Seconds and peaks of memory of what is computed of features."""
    for title, (work, told, peer) in SCORES.items():
        ours = {"work": work, **told, "threads": threads, "arrays": str(folder / "images.npz")}
        times, peaks = in_turns(ours, {"peer": {"work": peer}}, min(rounds, 3), python)
        line = {"score": title, "s": f"{statistics.median(times['ours']):.1f}", "peak MB": f"{peaks['ours']:,.0f}"}
        if "peer" in times:
            line |= {"times as fast": spread(ratio(times["ours"], times["peer"])), "peer's peak MB": f"{peaks['peer']:,.0f}"}
        yield line


def starts(rounds, threads, python, folder, chosen):
    """Seconds from the command to the end of the first step, each in a process of its own."""
    from keras_genzoo import recipes

    for name in (name for names in recipes.names().values() for name in names):
        if "/" in name or (chosen and name not in chosen):
            continue
        done = subprocess.run([sys.executable, "-c", FIRST, name], capture_output=True, text=True, check=True)
        imported, first = map(float, done.stdout.split()[-2:])
        yield {"start of": name, "import beyond Keras, s": f"{imported:.2f}", "built and first step, s": f"{first:.1f}"}


WORKS = dict(zip(PARTS, (trainings, loops, samplings, scores, starts), strict=True))


@click.command(context_settings={"show_default": True})
@click.option("--peer", "python", help="Python with the peers; without it what compares with them is left out.")
@click.option("--parts", default=",".join(PARTS), help="Tables by comma.")
@click.option("--recipes", default="", help="Recipes by comma; all without it.")
@click.option("--rounds", type=click.IntRange(2), default=7)
@click.option("--threads", type=click.IntRange(1), default=2, help="Of PyTorch; TensorFlow takes all cores.")
@click.option("--compare", type=click.Path(exists=True, path_type=Path), help="Stored lines; exit code 1 where a ratio fell.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/speed"))
def main(python, parts, recipes, rounds, threads, compare, out):
    """Time training, sampling and scores beside the usual ways, and write OUT.md and OUT.json."""
    import pandas as pd

    from keras_genzoo.core.files import replacing
    from keras_genzoo.core.runs import environment

    chosen, machine, tables = tuple(filter(None, recipes.split(","))), environment(), {}
    about = f"{machine['cpu']}, {machine['cores']} cores, {machine['device']}; TensorFlow {machine['tensorflow']}, Keras "
    about += f"{machine['keras']}; revision {machine['revision']}; {rounds} rounds in turns, medians and ranges; "
    about += "made by `python -m benchmarks.speed`."
    with tempfile.TemporaryDirectory() as folder:
        for part in parts.split(","):
            started = time.perf_counter()
            for line in WORKS[part](rounds, threads, python, Path(folder), chosen):
                tables.setdefault(part, []).append(line)
                click.echo(f"{time.perf_counter() - started:.0f} s: {line}")
                shown = "\n\n".join(pd.DataFrame(lines).fillna("–").to_markdown(index=False) for lines in tables.values())
                for path, text in ((".md", f"# Speed\n\n{about}\n\n{shown}\n"), (".json", json.dumps(tables, indent=1))):
                    with replacing(out.with_suffix(path)) as temporary:
                        temporary.write_text(text)
    if compare:
        fallen = worse(json.loads(compare.read_text()), tables)
        click.echo("\n".join(fallen) or "no ratio fell below the range that is stored")
        sys.exit(bool(fallen))


def worse(before, after):
    """Sentences on ratios whose whole range lies below that which is stored."""
    found = []
    for part, lines in after.items():
        known = {next(iter(line.values())): line for line in before.get(part, [])}
        for line in lines:
            name = next(iter(line.values()))
            for title, text in line.items():
                then = known.get(name, {}).get(title, "")
                if " (" in text and " (" in then and _range(text)[1] < _range(then)[0]:
                    found.append(f"{name}, {title}: {text}, before {then}")
    return found


def _range(text):
    return [float(each) for each in text.partition("(")[2].strip(")").split(" to ")]


if __name__ == "__main__":
    main()
