"""Arrays of images: in memory, in .npy, .npz and HDF5 files, and the data sets that ship inside the package."""

import functools
import zipfile
import zlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_genzoo.core.batches import check_whole_numbers
from keras_genzoo.core.images import check_images, check_layout, check_scale, to_levels
from keras_genzoo.core.order import column
from keras_genzoo.data import conditions, mapped
from keras_genzoo.data.sources import SPLITS, Source, chosen, conform, marks_of, portion

SHIPPED = Path(__file__).parent / "shipped"
PIECE = 1000  # images that are converted together
LOOKED_AT = 100  # images on disk, before all of them are read
LICENCES = {"fashion_mnist_mini": "MIT, Zalando SE", "emoji32": "Apache-2.0, Google LLC (Noto Emoji)"}


def names():
    """The data sets that ship inside the package, the default first."""
    return tuple(LICENCES)


def shipped(name):
    return from_file(SHIPPED / f"{name}.npz", name, LICENCES[name])


class Arrays(Source):
    """Arrays by split.

    Args:
        name: str.
        parts: dict of a split to two functions without arguments, of its images and of its labels, or None in place of it.
        as_given: bool. There is one part, and every split is the whole of it.
        kept: bool. Whether the arrays stay in memory anyway, so that to copy a part of one would be to hold it twice.
        file: Path or None. The file whose images are read when they are asked for, `mapped.OnDisk`. Defaults to None: they are
            in memory.
        told: dict of splits to functions without arguments, of the vectors that go with the images. Defaults to none.
    """

    label_hint = "pass the pair `(images, labels)`"

    def __init__(self, name, parts, as_given=False, class_names=None, licence=None, kept=False, file=None, told=()):
        self.name, self.parts, self.as_given, self.kept, self.told = name, parts, as_given, kept, dict(told)
        self.class_names, self.licence, self.file = class_names, licence, file
        self.in_memory = file is None
        self.labelled = any(labels is not None for _, labels in parts.values())
        self.own_splits = tuple(parts) if len(parts) > 1 else ()

    def counts(self):
        if self.as_given:
            return {"given": len(self._part("train")[0])}
        return {split: self._chosen(split)[0] for split in SPLITS}

    def image_shape(self):
        return self._part("train")[0].shape[1:]

    @property
    def conditioned(self):
        return bool(self.told)

    def size(self, split, image_size, channels):
        count, images, *_ = self._chosen(split)
        return count, (*(image_size or images.shape[1:3]), channels or images.shape[3])

    def marks(self, split):
        return marks_of([self.file])

    def has_labels(self, split):
        return self._chosen(split)[3] is not None

    def ready(self, image_size, channels):
        images = self._part("train")[0]
        return images.ready and images.dtype == np.uint8 and _as_asked(images, image_size, channels)

    def arrays(self, split, image_size, channels, labels):
        if not self.in_memory:
            return super().arrays(split, image_size, channels, labels)
        _, (read, _), classes = self.rows(split, image_size, channels, labels)
        return read(slice(None)), classes

    def rows(self, split, image_size, channels, labels):
        """The number of images of a split, a column of `order.taken` of them, and their labels, int64 `(n,)`, or None."""
        count, images, chosen, classes = self._chosen(split)
        if labels and classes is None:
            raise self.no_labels()
        if not count:
            raise self.no_images(split)
        if classes is not None and not self.as_given:
            everywhere = [np.asarray(found()).ravel() for _, found in self.parts.values() if found is not None]
            self.tell_lacking(
                split, classes, np.concatenate([each for each in everywhere if each.dtype.kind in "iufb"]).astype(np.int64)
            )
        if not self.in_memory:
            return count, self._lazily(images, chosen, image_size, channels), classes if labels else None
        if images.dtype != np.uint8 or image_size or channels:
            images, chosen = self._converted(count, images, chosen, image_size, channels), None
        elif chosen is not None and not self.kept:
            images, chosen = images[chosen], None
        read, spec = column(images)
        return count, (read if chosen is None else lambda rows: images[chosen[rows]], spec), classes if labels else None

    def vectors(self, split, given):
        name = "train" if self.as_given else portion(self.parts, split)[0]
        if given is True:
            given = {each: read() for each, read in self.told.items()}
            if not given:
                raise ValueError(
                    f"There are no conditions in {self.name}; pass conditions=, an array with a vector for each image, or a .csv "
                    f"or .npy file of one."
                )
        if isinstance(given, dict) and name not in given:
            raise ValueError(f"conditions are of the splits {', '.join(given)}, expected those of {name!r} too.")
        _, images, chosen, _ = self._chosen(split)
        rows = given[name] if isinstance(given, dict) else given
        found = conditions.in_order(rows, len(images), f"The conditions of {self.name}")
        return found if chosen is None else found[chosen]

    def _lazily(self, images, chosen, image_size, channels):
        """A column, for `order.taken`, of the chosen images on disk, as they are asked for."""
        what = f"The images of {self.name}"
        as_stored = images.dtype == np.uint8 and _as_asked(images, image_size, channels)

        def read(rows):
            found = images[rows if chosen is None else chosen[rows]]
            if as_stored:
                return found
            check_images(found, what)
            with tf.device("CPU:0"):
                return np.array(conform(to_levels(found), image_size, channels, what))

        return read, tf.TensorSpec(read(np.arange(1)).shape[1:], tf.uint8)

    def _converted(self, count, images, chosen, image_size, channels):
        """The chosen images as uint8, of a size and a number of channels."""
        found = None
        with tf.device("CPU:0"):  # in pieces, because they are floats for a moment
            for start in range(0, count, PIECE):
                rows = slice(start, start + PIECE)
                piece = to_levels(images[rows if chosen is None else chosen[rows]])
                piece = conform(piece, image_size, channels, f"The images of {self.name}")
                if found is None:
                    found = np.empty((count, *piece.shape[1:]), np.uint8)
                found[rows] = piece
        return found

    def _chosen(self, split):
        """The number of images of a split, the array that holds them, their indices in it, None for all, and labels or None."""
        name, first, last = ("train", 0, 10) if self.as_given else portion(self.parts, split)
        images, labels = self._part(name)
        if (first, last) == (0, 10):
            return len(images), images, None, labels
        indices = chosen([str(index) for index in range(len(images))], first, last, labels)
        return len(indices), images, indices, None if labels is None else labels[indices]

    def _part(self, split):
        if split not in self.parts:
            raise ValueError(f"There is no training split in {self.name}, which holds {', '.join(self.parts)}.")
        images, labels = (None if read is None else read() for read in self.parts[split])
        labels = None if labels is None else np.asarray(labels)
        images = images if self.file else np.asarray(images)
        what = f"The images of {self.name}"
        if images.dtype == object:
            raise ValueError(f"{what} are an array of objects, expected numbers; bring them to one size and use `np.stack`.")
        if images.ndim == 3:
            images = images.with_channel() if self.file else images[..., None]
        looked = images[_spread(len(images))] if self.file else images
        check_images(looked, what)
        check_scale(looked, what)
        check_layout(images.shape[1:], what)
        return images, None if labels is None else _labels(labels, len(images), self.name)


def _spread(count):
    """Some numbers from all over the images, ascending."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, LOOKED_AT)).astype(int))


def _as_asked(images, image_size, channels):
    return image_size in (None, tuple(images.shape[1:3])) and channels in (None, images.shape[3])


def _labels(labels, n, name):
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:  # as in Keras's CIFAR-10
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(
            f"The labels of {name} have shape {labels.shape}, expected one class number an image, ({n},); "
            "for one-hot rows use `labels.argmax(-1)`."
        )
    if len(labels) != n:
        raise ValueError(f"There are {n} images and {len(labels)} labels in {name}, expected one label an image.")
    check_whole_numbers(labels, f"The labels of {name}")
    return labels.astype(np.int64)


def from_arrays(source):
    """A source of `images`, of the pair `(images, labels)`, of two such pairs, to train and to test, or of a dict by split."""
    if isinstance(source, dict):
        unknown = [name for name in source if name not in SPLITS]
        if unknown or "train" not in source:
            raise ValueError(f"A dict of splits has the keys {list(source)}, expected 'train', 'validation', 'test'.")
        return Arrays("your dict", {split: _pair(part) for split, part in source.items()}, kept=True)
    if isinstance(source, tuple) and len(source) == 2 and all(isinstance(part, tuple) and len(part) == 2 for part in source):
        # As `keras.datasets.cifar10.load_data()` gives them.
        return Arrays("your arrays", {"train": _pair(source[0]), "test": _pair(source[1])}, kept=True)
    return Arrays("your array", {"train": _pair(source)}, as_given=True, kept=True)


def _pair(part):
    images, labels = part if isinstance(part, tuple) and len(part) == 2 else (part, None)
    if isinstance(images, tuple):
        raise ValueError(f"A tuple of {len(images)} elements came, expected the pair (images, labels).")
    return lambda: images, None if labels is None else lambda: labels


# How archives call images and labels, in this order of preference. The second is that of Keras's own mnist.npz.
IN_SPLIT = [("{}_images", "{}_labels"), ("x_{}", "y_{}"), ("{}", "{}_labels")]
WHOLE = [("images", "labels"), ("x", "y"), ("arr_0", "arr_1")]  # the last are those of `np.savez(path, images, labels)`
HDF5 = (".h5", ".hdf5", ".hdf")


def from_file(path, name=None, licence=None):
    """A source of a .npy file of images, or of a .npz archive or HDF5 file of arrays, split or not, with labels or without."""
    path = Path(path)
    name = name or str(path)
    if path.suffix in HDF5:
        return _from_hdf5(path, name)
    if not zipfile.is_zipfile(path):
        images = _checked(path, mapped.opened)
        return Arrays(name, {"train": (lambda: images, None)}, file=path)
    keys, class_names = _checked(path, _contents)
    read = lambda key: functools.partial(_checked, path, lambda path: _array(path, key))  # noqa: E731
    return Arrays(name, _named(path, keys, read, read), class_names=class_names, licence=licence, told=_told(keys, read))


def _from_hdf5(path, name):
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} cannot be read as HDF5 ({error}); write it again, or remove it.") from error
    keys = [key for key in file if isinstance(file[key], h5py.Dataset)]
    read = lambda key: lambda: file[key][()]  # noqa: E731
    parts = _named(path, keys, lambda key: lambda: _of_hdf5(file[key]), read)
    return Arrays(name, parts, file=path, told=_told(keys, read))


def _of_hdf5(dataset):
    def read(rows):
        if not len(rows):
            return np.empty((0, *dataset.shape[1:]), dataset.dtype)
        distinct, places = np.unique(rows, return_inverse=True)  # HDF5 wants them in order, and each once
        first, last = int(distinct[0]), int(distinct[-1])
        if last - first == len(distinct) - 1:
            return dataset[first : last + 1][places]
        return dataset[distinct][places]

    return mapped.OnDisk(dataset.shape, dataset.dtype, read)


def _named(path, keys, images_of, labels_of):
    """The parts of a file by the names of its arrays.

    Args:
        path: Path.
        keys: list of str. Its arrays.
        images_of, labels_of: functions of a name to the function that reads the array.
    """

    def pair(images, labels):
        return images_of(images), labels_of(labels) if labels in keys else None

    parts = {}
    for split in SPLITS:
        found = [(x.format(split), y.format(split)) for x, y in IN_SPLIT if x.format(split) in keys]
        if found:
            parts[split] = pair(*found[0])
    if "train" not in parts:
        found = [names for names in WHOLE if names[0] in keys] or [(key, "") for key in keys if len(keys) == 1]
        if not found:
            raise ValueError(
                f"{path} holds the arrays {', '.join(keys) or 'none'}, expected 'images' (and 'labels'), or 'train_images', "
                "'validation_images', 'test_images' (and labels alike)."
            )
        parts["train"] = pair(*found[0])
    return parts


def _told(keys, read):
    """The readers of the vectors that go with the images of a file, by split."""
    names = {"conditions": "train", **{f"{split}_conditions": split for split in SPLITS}}
    return {split: read(name) for name, split in names.items() if name in keys}


def _checked(path, read):
    """What a function reads of a NumPy file, or one sentence."""
    try:
        return read(path)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from error


def _contents(path):
    """The names of the arrays in an archive, and the names of the classes, or None."""
    with np.load(path, allow_pickle=False) as stored:
        keys = [key for key in stored.files if key != "class_names"]
        return keys, tuple(map(str, stored["class_names"])) if "class_names" in stored.files else None


def _array(path, key):
    with np.load(path, allow_pickle=False) as archive:
        return archive[key]


def _unreadable(path, error):
    return ValueError(f"{path} cannot be read as NumPy arrays without pickles ({error}); save it again with `np.savez`.")
