"""Tars of WebDataset (https://github.com/webdataset/webdataset), which are plain tars: Python itself reads them."""

import functools
import tarfile

import numpy as np

from keras_genzoo.data.folders import ENDINGS
from keras_genzoo.data.sources import marks_of

CLASSES = ("cls", "cls.txt")  # endings of files of a class number


class Tars:
    """The samples of tars, a part of a `tables.Table`.

    A sample is the files in a row whose names are the same up to the first dot. Its image is the file that ends as images do, and
    its label is the number in the file .cls.

    Args:
        files: list of Paths.
    """

    def __init__(self, files):
        self.files = files
        self.ends = np.cumsum([len(self._index(file)[0]) for file in files])
        self.count = int(self.ends[-1])

    @staticmethod
    def _index(file):
        about = file.stat()
        return _samples(file, about.st_size, about.st_mtime_ns)

    @functools.cached_property
    def labels(self):
        found = [self._index(file)[1] for file in self.files]
        return None if any(each is None for each in found) else np.concatenate(found)

    def cells(self, rows):
        for file, end, start in zip(self.files, self.ends, [0, *self.ends[:-1]], strict=True):
            wanted = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)] - start
            if len(wanted):
                with open(file, "rb") as opened:
                    for row, (place, size) in zip(wanted, self._index(file)[0][wanted].tolist(), strict=True):
                        opened.seek(place)
                        yield f"sample {row} of {file}", opened.read(size)

    def marks(self):
        return marks_of(self.files)


@functools.lru_cache(4096)  # files: the index of a million samples takes 24 MB
def _samples(path, size, changed):
    """Where the images of a tar of this size and time lie, their places and lengths, int64 `(n, 2)`, and their labels, int64
    `(n,)`, or None where one has none."""
    places, labels = [], []
    try:
        with tarfile.open(path, "r:") as tar:
            for sample in _grouped(tar):
                images = [ending for ending in sample if f".{ending}" in ENDINGS]  # not input.png, where there is png
                images = images or [ending for ending in sample if ending.endswith(ENDINGS)]
                if images:
                    places.append(sample[images[0]])
                    labels.append(next((sample[ending] for ending in CLASSES if ending in sample), None))
    except (tarfile.TarError, ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a tar of images and class numbers ({error}); pack it again.") from error
    known = labels and None not in labels
    return np.array(places, np.int64).reshape(-1, 2), np.array(labels, np.int64) if known else None


def _grouped(tar):
    """Yield the samples of a tar, a dict of endings to places and lengths, or to the number of a class."""
    key, sample = None, {}
    while (member := tar.next()) is not None:
        tar.members = []  # it would keep them all
        folder, _, base = member.name.rpartition("/")
        stem, _, ending = base.partition(".")
        if not (member.isfile() and stem and ending):
            continue
        if (folder, stem) != key:
            yield sample
            key, sample = (folder, stem), {}
        ending = ending.lower()
        found = int(tar.extractfile(member).read()) if ending in CLASSES else (member.offset_data, member.size)
        sample[ending] = found
    if 0 < tar.fileobj.seek(0, 2) - tar.offset < tarfile.BLOCKSIZE:  # tarfile takes this for the end
        raise tarfile.ReadError("truncated header")
    yield sample
