"""What papers tell of recipes in a published size, by `published.toml`, and the scores that compare with it."""

import tomllib
from pathlib import Path

from keras_genzoo import metrics
from keras_genzoo.benchmark.results import Folder
from keras_genzoo.core import devices, memory
from keras_genzoo.evaluation import likelihood_scores, told_for
from keras_genzoo.metrics.features import extract
from keras_genzoo.metrics.streams import FeatureStore

PUBLISHED = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
SAMPLES = 50_000  # that papers take
PARTS = 10  # of the Inception score
WHOLE = 0.99  # of the published steps, which come in segments
SYMBOLS = {"FID": "FD", "IS": "IS"}  # of scores of samples


def names(data):
    """Recipes in the published size for a data set, as "cifar10"."""
    return [name for name in PUBLISHED if name.endswith(f"/{data}")]


def scores_of(model, recipe, data, features, n, seed, batch_size=256):
    """The scores that the paper of a recipe tells, and all that are known here of one without a paper.

    Samples are compared with all images that the model was trained on, as papers do: the distance is below that from test images.
    Labels of conditional models are uniform. Likelihoods are of the test images.

    Args:
        model: `GenerativeModel`.
        recipe: str.
        data: `worker.Data`.
        features: str. As "inception"; the Frechet distance is called FID on these alone.
        n: int. Samples.
        seed: int. Of the samples.
        batch_size: int. Images at a time. Defaults to 256.
    """
    wanted = PUBLISHED.get(recipe, {}).get("scores", (*SYMBOLS, "bits_per_dim"))
    found = {}
    if set(SYMBOLS) & set(wanted) and hasattr(model, "sample"):
        batches = model.sample_batches(n, seed=seed, batch_size=batch_size)
        found |= sample_scores(batches, data.train, features) | {"sample_seed": seed}
    if "bits_per_dim" in wanted and hasattr(model, "log_prob"):
        given = told_for(model, data.test_told)
        found |= likelihood_scores(model, data.test, given, min(n, len(data.test)), seed, batch_size)
    return found


def sample_scores(batches, real, features):
    """FID, or the Frechet distance in other features, and the Inception score of batches of samples, which are not kept."""
    distance = metrics.FrechetDistance(features)
    distance.set_real(real)
    store = FeatureStore(distance.features.dim)
    for each in extract(distance.features, batches, "samples"):
        store.update(each)
    distance.update_features(store.features)
    about = distance.features
    found = {distance.name: distance.result(), "n_real": distance.n_real, "n_generated": store.n}
    found |= {"features": about.name, "features_hash": about.hash, "features_dim": about.dim, "resize": about.resize}
    logits = getattr(about, "logits", None)
    if logits is not None and store.n >= PARTS:
        found[metrics.score_name("IS", about)], found["is_std"] = metrics.inception_score(logits(store.features), PARTS)
    return found


def check_memory(model, batches, recipe):
    """Raise one sentence if a step of training cannot fit into the memory of the device."""
    needed, left = memory.of_step(model, batches), devices.memory_left()
    if left is not None and needed > left:
        raise MemoryError(
            f"a step of {recipe} needs at least {needed / 2**30:.1f} GiB, and {left / 2**30:.1f} are left of "
            f"{devices.describe()}; take a larger device, or a smaller --batch-size, which is not as published."
        )


def lines(data, folder, command="python -m benchmarks reproduce"):
    """What the table of published beside reproduced scores says: a dict a line of `recipe`, `where`, `protocol`, `score`,
    `published`, `reproduced` and `command`, all texts.

    Args:
        data: str. As "cifar10".
        folder: Path. That of `reproduce`. A value stands where a run had the published length, or a length of its own where none
            is published, and no setting of its own.
        command: str. What repeats a line that nobody has filled.
    """
    for name in names(data):
        known, rows = PUBLISHED[name], reproduced(name, folder)
        length = "" if "steps" in known else " --steps STEPS"
        again = f"{command} {data} --recipes {name.partition('/')[0]}{length}"
        for score, value in known["scores"].items():
            values = [_value(row, score) for row in rows]
            told = [f"{each:.2f}" for each in values if each is not None]
            commands = [" ".join(row["command"]) for row, each in zip(rows, values, strict=True) if each is not None]
            yield {
                "recipe": name,
                "where": known["where"],
                "protocol": known["protocol"],
                "score": score,
                "published": f"{value:g}",
                "reproduced": ", ".join(told),
                "command": commands[0] if commands else again,
            }


def reproduced(name, folder):
    """The finished rows of a recipe that are as published, one a seed."""
    place = Path(folder) / name.partition("/")[0]
    if not (place / "settings.json").exists():
        return []
    rows = [row for row in Folder(place).rows() if row["status"] == "ok" and row["recipe"] == name and not row["overrides"]]
    known = PUBLISHED[name]
    return [
        row
        for row in rows
        if row["batch_size"] == known["batch_size"]
        and row["steps"] >= WHOLE * known.get("steps", 1)
        and row["scores"].get("n_generated", SAMPLES) >= SAMPLES
    ]


def _value(row, score):
    """The score of a row by the name that papers have for it, or None."""
    keys = [key for key in row["scores"] if key == score or (score == "bits_per_dim" and key.partition("[")[0] == score)]
    return row["scores"][keys[0]] if keys else None
