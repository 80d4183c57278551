"""The pictures of a run, written into its folder by the process that trained."""

import numpy as np

import keras_genzoo as gz
from keras_genzoo.callbacks import pairs
from keras_genzoo.core import sheets
from keras_genzoo.core.batches import rows_of, with_told
from keras_genzoo.core.files import replacing
from keras_genzoo.core.images import to_levels, to_unit, write_png
from keras_genzoo.core.randomness import RowStream
from keras_genzoo.evaluation import taken_by, told_for

GRID, PAIRS = 64, 32  # images shown of every run
LINES, STEPS = 8, 8  # of interpolations and walks
REACH = 2.5  # of a walk, in standard deviations of the code, both ways
NEAREST = 16  # samples that are shown beside the nearest training image
OF_A_CLASS = 8  # samples of each class of conditional models


def write(model, data, features, seed, folder):
    """Write what a trained model has to show: `samples.png`, `nearest.png`, `classes.png`, `reconstructions.png`,
    `interpolations.png`, `latents.png` and `walks.png`, as far as it can, and `images.npz`.

    Args:
        model: `GenerativeModel`.
        data: `worker.Data`.
        features: str. In which training images are near.
        seed: int. Of the samples.
        folder: Path.
    """
    shown = {}
    if hasattr(model, "sample"):
        shown["samples"] = model.sample(GRID, seed=seed)
        write_png(folder / "samples.png", shown["samples"])
        write_nearest(shown["samples"], data.train, features, folder)
        if model.num_classes is not None:
            write_classes(model, seed, folder)
        if hasattr(model, "project"):
            write_latents(model, seed, folder)
    if hasattr(model, "reconstruct"):
        shown["reconstructions"], columns = pairs(model, with_told(data.test[:PAIRS], rows_of(data.test_told, slice(PAIRS))))
        write_png(folder / "reconstructions.png", shown["reconstructions"], columns)
    if hasattr(model, "encode") and hasattr(model, "interpolate") and len(data.test) >= 2 * LINES:
        told = taken_by(model.encode, told_for(model, data.test_told))
        of_lines = rows_of(told, slice(LINES))
        lines = model.interpolate(data.test[:LINES], data.test[LINES : 2 * LINES], steps=STEPS, **of_lines)
        write_png(folder / "interpolations.png", lines.reshape(-1, *model.image_shape), STEPS)
        lines = latent_walks(model, data.test, told)
        if lines is not None:
            write_png(folder / "walks.png", lines.reshape(-1, *model.image_shape), STEPS)
    save_arrays(folder, shown)


def write_nearest(samples, train, features, folder):
    """Write `nearest.png`: rows of samples, and under each the training image that is nearest in these features.

    Args:
        samples: uint8, or floats in [0, 1], `(n, height, width, channels)`. The first 16 are shown.
        train: likewise. Training images.
        features: str or extractor.
        folder: Path.
    """
    samples = np.asarray(to_unit(samples[:NEAREST]))
    if not np.isfinite(samples).all():
        return
    _, places = gz.metrics.nearest_images(samples, train, features)
    columns = min(8, len(samples))
    whole = len(samples) // columns * columns
    near = np.asarray(to_unit(train[places[:whole, 0]]))
    rows = [each[:whole].reshape(-1, 1, columns, *samples.shape[1:]) for each in (samples, near)]
    write_png(folder / "nearest.png", np.concatenate(rows, axis=1).reshape(-1, *samples.shape[1:]), columns)


def write_classes(model, seed, folder):
    """Write `classes.png`: a row of samples for each of the first ten classes."""
    n = OF_A_CLASS * min(sheets.ROWS, model.num_classes)
    write_png(folder / "classes.png", *sheets.samples(model, n, seed))


def write_latents(model, seed, folder):
    """Write `latents.png`: rows from one drawn latent to another, of a model without an encoder."""
    z = model.draw_latents(2 * LINES, RowStream(seed, 0))
    lines = model.interpolate(z[:LINES], z[LINES:], steps=STEPS, seed=seed)
    write_png(folder / "latents.png", lines.reshape(-1, *model.image_shape), STEPS)


def latent_walks(model, images, told=None):
    """Images along the axes of the code that vary most over the images, from their mean, `(axes, STEPS, *image)`; of a
    conditional model by what is told of the first image, of a dict of labels and vectors of all.

    None of models whose code is no vector shorter than an image.
    """
    told, cuts = told or {}, [slice(start, start + 250) for start in range(0, min(1000, len(images)), 250)]
    codes = np.concatenate([np.asarray(model.encode(images[cut], **rows_of(told, cut))) for cut in cuts])
    if codes.ndim != 2 or codes.shape[1] >= images[0].size:
        return None
    spread = codes.std(axis=0)
    axes = np.argsort(-spread)[:LINES]
    positions = np.linspace(-REACH, REACH, STEPS)[None, :, None]
    walks = codes.mean(axis=0) + positions * spread * np.eye(codes.shape[1])[axes][:, None]
    walks = walks.reshape(-1, codes.shape[1]).astype(np.float32)
    made = model.decode(walks, **{name: np.repeat(rows[:1], len(walks), axis=0) for name, rows in told.items()})
    return np.asarray(made).reshape(len(axes), STEPS, *images.shape[1:])


def save_arrays(folder, arrays):
    """Write `images.npz`, the shown images themselves."""
    with replacing(folder / "images.npz") as temporary:
        np.savez_compressed(temporary, **{name: to_levels(images).numpy() for name, images in arrays.items()})
