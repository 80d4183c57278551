"""Distance of samples against evaluations of the network, of the trained models of a folder, for every sampler."""

from tqdm import tqdm

import keras_genzoo as gz
from keras_genzoo import samplers, schedules
from keras_genzoo.benchmark import controls
from keras_genzoo.benchmark.results import label
from keras_genzoo.benchmark.worker import Data
from keras_genzoo.core import devices
from keras_genzoo.models import Diffusion, LatentDiffusion


def trials(model, evaluations):
    """What can be tried of a model: name of the sampler, number of steps, and evaluations of the network, at most those given.

    Args:
        model: `Diffusion` or `LatentDiffusion`.
        evaluations: ints.
    """
    schedule = getattr(model, "diffusion", model).schedule
    for name, make in samplers.SAMPLERS.items():
        sampler = make()
        if not sampler.needs_edm or isinstance(schedule, schedules.EDM):
            steps = dict.fromkeys(sampler.steps(most) for most in evaluations)
            yield from ((name, count, sampler.evaluations(count)) for count in steps if count)


def sweep(folder, evaluations, n):
    """Add to the rows of models that are sampled in steps what distance every sampler reaches; the first seed of each.

    Args:
        folder: `Folder`.
        evaluations: ints. Most evaluations of the network for an image, each tried.
        n: int. Test images compared with as many samples.

    Returns:
        Number of models.
    """
    devices.choose(folder.settings["device"])
    rows = sorted(
        (row for row in folder.rows() if row["status"] == "ok" and row["kind"] == "recipe"), key=lambda row: row["seed"]
    )
    first = list({label(row): row for row in reversed(rows)}.values())
    models = [(row, gz.load(folder.files(row) / "model.keras")) for row in first]
    models = [(row, model) for row, model in models if isinstance(model, (Diffusion, LatentDiffusion))]
    if not models:
        return 0
    data = Data(folder.settings)
    distance = gz.metrics.FrechetDistance(folder.settings["features"])
    distance.set_real(controls.real_images(data.test, min(n, data.n), seed=0)[0])
    for row, model in models:
        points = []
        for name, steps, count in tqdm(list(trials(model, evaluations)), desc=label(row)):
            distance.reset_generated()
            distance.update_generated(model.sample(distance.n_real, seed=row["seed"], sampler=name, steps=steps))
            points.append({"sampler": name, "steps": steps, "evaluations": count, "distance": distance.result()})
        folder.add({**row, "sweep": points, "sweep_n": distance.n_real})
    return len(models)
