"""Train the models that the package ships, and write them with their cards.

    python scripts/train_pretrained.py gan/fashion_mnist vae/emoji32 --budget 300

trains each by `genzoo train` for so many seconds, shrinks its file, and scores what is left: the weights in 16 bits that people
get, on all test images, with samples of several seeds. A training that has ended is not repeated; its folder is in --runs.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import keras_genzoo as gz
from keras_genzoo.benchmark import rounding, scores
from keras_genzoo.core import pretrained, runs
from keras_genzoo.core.hub import CARD, card

MOST = 8 * 2**20  # bytes of a file
DRAWS = range(5)  # seeds of the samples that are scored
LICENSE = "apache-2.0"
LICENCES = {
    "fashion_mnist": "The images are Fashion-MNIST, by Zalando SE, under the MIT licence (arXiv:1708.07747).",
    "emoji32": "The images are Noto Emoji, by Google LLC, under the Apache licence 2.0.",
}
LIMITS = (
    "It knows the images of its data set alone, at their size. It was trained for minutes on two cores of a CPU, and is small: "
    "longer training and larger networks do better."
)
CITE = "Cite the paper of its recipe (`genzoo show RECIPE` names it) and the version of keras_genzoo."


def train(recipe, data, budget, seed, folder):
    """Train by the command that a user has; the folder of the run."""
    settings = ["--data", data, "--budget", str(budget), "--seed", str(seed), "--out", str(folder)]
    if not (folder / runs.MODEL).exists():
        subprocess.run([sys.executable, "-m", "keras_genzoo.cli", "train", recipe, *settings], check=True)
    return folder


def ship(run, folder, n=None):
    """Write the files of one model: `model.keras`, small, `run.json`, the card, and a picture of samples.

    Args:
        run: Path. The folder of the run.
        folder: Path. Where the files go.
        n: int or None. Images that are scored; None is all test images.
    """
    record, model = runs.read(run), gz.load(run)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, record, LICENSE)
    pretrained.shrink(model, folder / runs.MODEL)
    size = (folder / runs.MODEL).stat().st_size
    if size > MOST:
        raise SystemExit(f"{folder / runs.MODEL} has {size:,} bytes, expected at most {MOST:,}; take a smaller recipe.")
    small, source = gz.load(folder / runs.MODEL), record["data"]["source"]
    found = score(small, source, n)
    record |= {
        "sha256": pretrained.digest(folder / runs.MODEL),
        "image_shape": list(small.image_shape),
        "scores": found["scores"],
        "scored_n": found["n"],
        "scored_split": "test",
        "about": [LICENCES.get(source, f"The images are {source}."), LIMITS, CITE],
    }
    runs.write(folder, record)
    (folder / CARD).write_text(card(small, record, LICENSE))


def score(model, source, n=None, draws=DRAWS):
    """The scores of a model by several seeds of samples: a dict of `n` and of `scores`, names to a mean and both ends."""
    test = gz.data.load(source, "test", batch_size=256)
    train = gz.data.load(source, "train", batch_size=256)
    rows = [gz.evaluate(model, test, n=n, seed=seed, train=train) for seed in draws]
    names = ["FD", "FID", "KD", "KID", "coverage", "authenticity", "mse", "bits_per_dim"]
    told = [key for name in names for key in rows[0] if scores.split(key)[0] == name and rows[0][key] is not None]
    found = {}
    for key in told:
        mean, low, high = rounding.interval([row[key] for row in rows], scores.of(key).range)
        found[key] = [mean, mean if low is None else low, mean if high is None else high]
    return {"n": rows[0].get("n_generated", n), "scores": found}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", help="recipe/data, as gan/fashion_mnist")
    parser.add_argument("--budget", type=float, default=300.0, help="seconds of training each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, help="test images that are scored")
    parser.add_argument("--runs", type=Path, default=Path("runs/pretrained"))
    parser.add_argument("--out", type=Path, default=pretrained.FOLDER)
    given = parser.parse_args()
    for name in given.names:
        recipe, _, data = name.rpartition("/")
        ship(train(recipe, data, given.budget, given.seed, given.runs / name), given.out / name, given.n)
        print(f"{name}: {(given.out / name / runs.MODEL).stat().st_size / 2**20:.1f} MiB", flush=True)


if __name__ == "__main__":
    main()
