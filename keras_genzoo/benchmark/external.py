"""Rows of models that were trained elsewhere: their samples, scored as those of the folder's own rows."""

import datetime

from tqdm import tqdm

import keras_genzoo as gz
from keras_genzoo.benchmark import controls, shown
from keras_genzoo.benchmark.results import PROTOCOL, FolderError, label
from keras_genzoo.benchmark.worker import Data, distance_name
from keras_genzoo.core import devices, runs
from keras_genzoo.core.images import write_png
from keras_genzoo.data.loading import same_classes
from keras_genzoo.evaluation import relative_sharpness

KIND = "external"


def add(folder, name, samples, parameters=None, seconds=None, device=None, note=None):
    """Score files of samples on the images of a benchmark, and put a row for each into its results.

    Features, test images and their number n are the folder's. Of a file with more images, n are drawn. What is known of the
    budget is stored and not judged: no row of another budget is comparable by it.

    Args:
        folder: `Folder`.
        name: str. What the model is called in tables. Rows that were added under this name before are replaced.
        samples: list of paths, of one seed of the model each, as `genzoo score` takes them.
        parameters: int or None. Parameters of the model.
        seconds: float or None. Its training took so long.
        device: str or None. And on this device.
        note: str or None. Whatever else is known of it, a sentence for the report.

    Returns:
        list of the rows.

    Raises:
        FolderError: the name is that of a recipe, a control or a row of another kind.
        ValueError: a file of fewer images than n, or of another size or number of channels.
    """
    own = {label(row) for row in folder.rows() if row["kind"] != KIND}
    if name in own or name in gz.recipes.RECIPES or name in controls.CONTROLS:
        raise FolderError(
            f"{name!r} is the name of a recipe or of a row in {folder.path}; choose another, as {name + ' (theirs)'!r}."
        )
    settings = folder.settings
    devices.choose(settings["device"])
    data = Data(settings, folder.data())
    files = [_checked(path, data, settings) for path in samples]
    metrics = gz.metrics.SampleMetrics(data.test, data.train, features=settings["features"], labels=data.test_labels)
    known = {"parameters": parameters, "seconds": seconds, "device": device, "note": note}
    rows = []
    for seed, (path, made, about) in enumerate(tqdm(files, desc=name, unit="file")):
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        images, labels = made if isinstance(made, tuple) else (made, None)
        scores = metrics(images, labels)
        scores["sharpness"] = relative_sharpness(images, data.test)
        record = runs.record(
            name, image_shape=data.train.shape[1:], data=data.record, samples={"file": str(path), **about}, seed=seed
        )
        row = {"kind": KIND, "family": KIND, "overrides": {}, "started": started, "status": "ok", **record, "protocol": PROTOCOL}
        row |= {"scores": scores, "distance_name": distance_name(scores), KIND: known, "curve": []}
        row |= {"params": parameters, "summary": note or "A model that was trained elsewhere; its samples alone are known."}
        folder.add(row)
        rows.append(row)
        place = folder.files(row)
        place.mkdir(parents=True, exist_ok=True)
        first = images[: shown.GRID]
        write_png(place / "samples.png", first)
        shown.write_nearest(first, data.train, settings["features"], place)
        shown.save_arrays(place, {"samples": first})
    return rows


def _checked(path, data, settings):
    """A path, n images of it, with labels where they are of the classes of the data, and the checksum of all of them."""
    chosen = {key: settings[key] for key in ("image_size", "channels")}
    labels = data.test_labels is not None and same_classes(path, *(settings[key] for key in ("data", "data_dir", "splits")))
    made = gz.data.load(path, "all", shuffle=False, splits=False, labels=labels, **chosen)
    (about,) = runs.data_record(path, {"samples": made})["images"].values()
    if about["count"] < data.n:
        raise ValueError(
            f"{path} holds {about['count']} images, but the rows of this benchmark are of {data.n}; make at least as many, or "
            f"run a benchmark with --n {about['count']}."
        )
    made = gz.data.as_array(made, data.n, seed=0)
    shape, expected = (made[0] if labels else made).shape[1:], data.train.shape[1:]
    if shape != expected:
        sizes = ["x".join(map(str, each)) for each in (shape, expected)]
        raise ValueError(
            f"the images of {path} are {sizes[0]}, and those of this benchmark {sizes[1]}; make samples of this size."
        )
    return path, made, about
