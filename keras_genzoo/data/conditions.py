"""Vectors of numbers that go with images: read, and checked."""

import csv
import os
from pathlib import Path

import numpy as np

NAME = "conditions.csv"  # what a folder of images may hold


def read_table(path):
    """The rows of a CSV file or a .npy file.

    Returns:
        The names of the columns, None of a .npy file, and the rows: lists of texts of a CSV file, an array of a .npy file.

    Raises:
        ValueError: there is no such file, or it cannot be read as such.
    """
    path = Path(path).expanduser()
    if path.suffix not in (".csv", ".npy") or not path.is_file():
        raise ValueError(f"conditions are {str(path)!r}, expected a .csv or .npy file that is there, or an array.")
    try:
        if path.suffix == ".npy":
            return None, np.load(path, allow_pickle=False)
        with open(path, newline="", encoding="utf-8-sig") as file:
            names, *rows = [row for row in csv.reader(file) if row] or [[]]
    except (ValueError, OSError, EOFError, csv.Error) as error:
        raise ValueError(
            f"{path} cannot be read as conditions ({error}); save it again as UTF-8 text, or by numpy.save."
        ) from error
    wrong = next((number for number, row in enumerate(rows, 2) if len(row) != len(names)), None)
    if wrong is not None or not rows:
        came = f"line {wrong} has {len(rows[wrong - 2])} fields" if wrong else "there are no rows"
        raise ValueError(f"{path} is no table: {came}, expected {len(names)} fields, as in the first line, which names them.")
    return names, rows


def checked(table, count, what):
    """Vectors as float32 array `(count, length)`.

    Args:
        table: array, or rows of texts.
        count: int. How many there have to be.
        what: str. What they are called in a message.

    Raises:
        ValueError: another shape, or what are no finite numbers.
    """
    try:
        vectors = np.asarray(table, np.float32)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{what} hold what is no number ({error}); leave such columns out, or write classes as 0 and 1."
        ) from None
    vectors = vectors[:, None] if vectors.ndim == 1 else vectors
    if vectors.ndim != 2 or len(vectors) != count or not vectors.shape[1]:
        raise ValueError(f"{what} have shape {vectors.shape}, expected ({count}, length), a vector for each image.")
    if not np.isfinite(vectors).all():
        row = int(np.argmin(np.isfinite(vectors).all(axis=1)))
        raise ValueError(
            f"{what} hold NaN or infinite values in row {row}, counted from 0; fill them in or leave the column out."
        )
    return vectors


def by_file(path, files, what):
    """The vectors of image files, by a CSV file whose first column names them.

    Args:
        path: str or Path of the CSV file.
        files: list of str. Paths relative to the folder of the images.
        what: str. What the vectors are called in a message.
    """
    names, rows = read_table(path)
    if names is None:
        raise ValueError(f"{path} is a .npy file, expected a .csv file whose first column holds the path of each image.")
    table = {os.path.normpath(row[0]): row[1:] for row in rows}
    missing = [file for file in files if os.path.normpath(file) not in table]
    if missing:
        raise ValueError(
            f"{path} has no line for {missing[0]}"
            + (f" and {len(missing) - 1} other images" if missing[1:] else "")
            + ", expected "
            "the path of each image, relative to the folder, in the first column."
        )
    return checked([table[os.path.normpath(file)] for file in files], len(files), what)


def in_order(given, count, what):
    """The vectors of images by their order: of an array, or of a file."""
    table = read_table(given)[1] if isinstance(given, (str, os.PathLike)) else given
    return checked(table, count, what)


def read_vectors(path):
    """The vectors of a .csv or .npy file, float32 `(n, length)`."""
    table = read_table(path)[1]
    return checked(table, len(table), f"The vectors of {path}")
