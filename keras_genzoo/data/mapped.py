"""Images beyond memory: rows of files, and decoded images kept in one file that is mapped into memory.

Nothing is held but pages of the file, which the system drops whenever it needs memory.
"""

import hashlib
import json
import math
import os
import re
import shutil
import weakref

import numpy as np

from keras_genzoo.core import memory
from keras_genzoo.core.files import alone, keras_home, read_json, replacing_folder, sync, to_json

SHARE = 0.5  # of free memory, that the images of a split may take under cache="auto"
FORMAT = 1  # a change of what is kept, or of how images are decoded and resized, raises it
IMAGES, LABELS, ABOUT = "images.npy", "labels.npy", "about.json"


def fits(count, shape):
    """Whether so many uint8 images of a shape fit into the share of free memory that they may take."""
    return count * math.prod(shape) <= SHARE * memory.free()


def home():
    """Where decoded images are kept, in Keras's cache; any folder in it may be removed while nothing reads it."""
    return keras_home() / "genzoo" / "images"


class OnDisk:
    """An array on disk whose rows are read when they are asked for, as `array[rows]`.

    Args:
        shape: tuple of ints.
        dtype: of NumPy.
        read: function of indices `(n,)`, in any order, to an array of those rows in memory.
        ready: bool. Whether rows can be read as fast as those of a mapped file. Defaults to False.
    """

    def __init__(self, shape, dtype, read, ready=False):
        self.shape, self.dtype, self.ready = tuple(shape), np.dtype(dtype), ready
        self._read = read

    @property
    def ndim(self):
        return len(self.shape)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        return self._read(rows)

    def with_channel(self):
        """The same images, gray, with an axis of one channel behind."""
        return OnDisk((*self.shape, 1), self.dtype, lambda rows: self._read(rows)[..., None], self.ready)


def opened(path):
    """The array in a .npy file, `OnDisk`. Rows are read in the order of the file, and the system is told of all of them first."""
    # As a plain array: to take a row of a `memmap` costs more than to copy it.
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    array, start, size = np.asarray(mapped), mapped.offset, math.prod(mapped.shape[1:]) * mapped.itemsize
    if not hasattr(os, "posix_fadvise"):  # as on macOS
        return OnDisk(array.shape, array.dtype, lambda rows: array[rows], ready=True)
    file = os.open(path, os.O_RDONLY)

    def read(rows):
        rows = np.asarray(rows)
        order = np.argsort(rows, kind="stable")
        for place in order:
            os.posix_fadvise(file, start + int(rows[place]) * size, size, os.POSIX_FADV_WILLNEED)
        found = np.empty((len(rows), *array.shape[1:]), array.dtype)
        for place in order:
            found[place] = array[rows[place]]
        return found

    stored = OnDisk(array.shape, array.dtype, read, ready=True)
    weakref.finalize(read, os.close, file)
    return stored


def kept(source, split, image_size, channels):
    """The images of a split, decoded and resized, from the file that keeps them. It is made first where there is none.

    Processes that ask for one file wait for the first of them, which makes it. A stop leaves no file, or a whole one. A file
    that was cut off is made anew.

    Args:
        source: `Source` with `marks`, by which files that have changed are told.
        split, image_size, channels: as `Source.rows` takes them.

    Returns:
        `OnDisk`, uint8 `(n, height, width, channels)`; labels, int64 `(n,)`, or None; and the SHA-256 of all images.

    Raises:
        OSError: the disk is too small, or Keras's cache cannot be written.
    """
    key = _key(source, split, image_size, channels)
    name = re.sub(r"\W+", "_", str(source.name).rsplit(os.sep, 1)[-1])[:40]
    folder = home() / f"{name}-{split}-{key}"
    try:
        if not _is_whole(folder):
            with alone(home() / f".{folder.name}.lock"):
                if not _is_whole(folder):  # nor made by another process in the meantime
                    for unfinished in home().glob(f".{folder.name}-*"):  # of a process that was killed
                        shutil.rmtree(unfinished)
                    _write(folder, source, split, image_size, channels)
    except OSError as error:
        raise OSError(
            f"the decoded images of {source.name} cannot be kept in {home()} ({error.strerror or error}); make room there, let "
            "KERAS_HOME name another folder, or pass cache=False."
        ) from error
    labels = np.load(folder / LABELS, allow_pickle=False) if (folder / LABELS).exists() else None
    return opened(folder / IMAGES), labels, read_json(folder / ABOUT)["sha256"]


def _is_whole(folder):
    """Whether the images are there, and as many bytes as were written."""
    about = read_json(folder / ABOUT)
    return bool(about) and (folder / IMAGES).exists() and (folder / IMAGES).stat().st_size == about["bytes"]


def _key(source, split, image_size, channels):
    found = hashlib.sha256(json.dumps([FORMAT, split, image_size, channels]).encode())
    for mark in source.marks(split):
        found.update(os.fsencode(mark) + b"\0")
    return found.hexdigest()[:24]


def _write(folder, source, split, image_size, channels):
    from tqdm import tqdm

    count, shape = source.size(split, image_size, channels)
    needed, free = count * math.prod(shape), shutil.disk_usage(folder.parent).free
    if needed > free:
        raise OSError(f"they take {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free")
    labelled = source.has_labels(split)
    with replacing_folder(folder) as temporary:
        classes, digest = [], hashlib.sha256()
        with open(temporary / IMAGES, "wb") as file:
            _begin(file, count, shape)
            with tqdm(total=count, desc=f"decoding {source.name}", unit="image", delay=1) as progress:
                for images, labels in source.pieces(split, image_size, channels, labelled):
                    flat = np.ascontiguousarray(images).reshape(-1)
                    file.write(flat)
                    digest.update(flat)
                    classes.append(labels)
                    progress.update(len(images))
            read = progress.n
            file.seek(0)
            _begin(file, read, shape)
        sync(temporary / IMAGES)
        if labelled:
            np.save(temporary / LABELS, np.concatenate(classes))
        about = {"source": str(source.name), "split": split, "shape": [read, *shape], "sha256": digest.hexdigest()}
        about["bytes"] = (temporary / IMAGES).stat().st_size
        (temporary / ABOUT).write_text(to_json(about, indent=2) + "\n")


def _begin(file, count, shape):
    """The header of a .npy file, which NumPy pads so that its length does not depend on the number of rows."""
    about = {"descr": "|u1", "fortran_order": False, "shape": tuple(map(int, (count, *shape)))}
    np.lib.format.write_array_header_1_0(file, about)
