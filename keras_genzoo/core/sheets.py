"""Samples for a sheet: of a model with classes, a row for each."""

import numpy as np

ROWS = 10  # classes on a sheet, at most


def class_rows(classes, n):
    """The labels of a sheet, and how many samples a row has.

    Args:
        classes: int. How many there are; the first ten have a row each.
        n: int. The most samples on the sheet; of fewer than the rows, there are that many rows.

    Returns:
        int array of the labels, row by row, and int.
    """
    rows = min(classes, ROWS, n)
    return np.repeat(np.arange(rows), n // rows), n // rows


def samples(model, n, seed, **settings):
    """Samples of a model for `images.tile`: those of `sample(n, seed)`, or with classes as `class_rows` has them.

    Args:
        model: `GenerativeModel`.
        n: int. The most samples.
        seed: int.
        **settings: others of `sample`.

    Returns:
        float32 array `(samples, height, width, channels)`, and how many a row has, or None.
    """
    if model.num_classes is None:
        return model.sample(n, seed=seed, **settings), None
    labels, columns = class_rows(model.num_classes, n)
    return model.sample(len(labels), seed=seed, labels=labels, **settings), columns
