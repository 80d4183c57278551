"""Folders of images."""

import collections
import functools
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_genzoo.data import conditions
from keras_genzoo.data.sources import SPLITS, Source, chosen, conform, marks_of, portion

ENDINGS = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff")
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
GRAY = ("1", "L", "LA", "I;16", "I;16B", "I;16L")


class Encoded(Source):
    """Images that are files or bytes of their own, each decoded when it is asked for.

    A subclass has `_first`, the name and the size of the first image, which is that of all where `image_size` is not given, and
    `_channels`, 1 if they are gray, else 3.
    """

    def image_shape(self):
        return (*self._first[1], self._channels)

    def _shape(self, image_size, channels):
        return (*(image_size or self._first[1]), channels or self._channels)

    def _fitted(self, image, name, image_size, channels):
        """A decoded image as it is asked for.

        Args:
            image: uint8 `(height, width, 1 or 3)`.
            name: what the image is called in a message.
            image_size, channels: as `Source.arrays` takes them.
        """
        first, size = self._first
        if image_size is None and image.shape[:2] != size:
            raise ValueError(
                f"{name} has {image.shape[0]} x {image.shape[1]} pixels and {first} has {size[0]} x {size[1]}; "
                "give the images one size, as image_size=64 (--image-size 64)."
            )
        if channels is None and image.shape[-1] > self._channels:
            raise ValueError(f"{name} has colours and {first} is gray; give the images one number of channels with channels=.")
        with tf.device("CPU:0"):  # not on the GPU, where eager work goes by default
            return np.asarray(conform(image, image_size, channels or self._channels))


class Folder(Encoded):
    """Image files, found at any depth; what else lies there is left out and counted.

    Subfolders are splits if one is called train, and the others validation and test, or one of the usual names like these.
    Inside, or without such, the subfolders are the classes, unless an image lies beside them. Folders without images count
    nowhere.

    Args:
        path: Path.
        splits: bool. Whether subfolders may be splits. Defaults to True.
    """

    label_hint = "put the images of each class into a subfolder of its own"

    def __init__(self, path, splits=True):
        self.path, self.name = path, str(path)
        found, left = _images_under(path)
        named = _splits_of(path, found) if splits else {}
        self.folders = {split: path / name for split, name in named.items()} or {"train": path}
        # Of every split: paths relative to its folder.
        self.files = {"train": found}
        if named:
            self.files = {
                split: [file.relative_to(name) for file in found if file.parts[0] == name] for split, name in named.items()
            }
            left["images beside the splits"] = sum(len(file.parts) == 1 for file in found)
        everything = [file for files in self.files.values() for file in files]
        self.own_splits = tuple(named)
        left = ", ".join(f"{kind} {count}" for kind, count in left.items() if count)
        if not everything:
            raise ValueError(
                f"The folder {path} holds no images, expected files ending in {', '.join(ENDINGS)}"
                f"{left and f' (left out: {left})'}."
            )
        if left:
            warnings.warn(f"{path} holds {len(everything)} images; left out: {left}.", stacklevel=4)
        if all(len(file.parts) > 1 for file in everything):
            names = sorted({file.parts[0] for file in everything})
            self._numbers = {name: number for number, name in enumerate(names)}
            # As text that can be printed and stored: names of files may be any bytes.
            self.class_names = tuple(os.fsencode(name).decode("utf-8", "backslashreplace") for name in names)
            self.labelled = True
        self._chosen = functools.lru_cache(len(SPLITS))(self._chosen)

    def counts(self):
        return {split: len(self._chosen(split)) for split in SPLITS}

    @property
    def conditioned(self):
        return (self.path / conditions.NAME).is_file()

    def size(self, split, image_size, channels):
        return len(self._chosen(split)), self._shape(image_size, channels)

    def marks(self, split):
        folder = self.folders[portion(self.files, split)[0]]
        return marks_of((folder / file for file in self._chosen(split)), folder)

    def arrays(self, split, image_size, channels, labels):
        count, (read, _), classes = self.rows(split, image_size, channels, labels)
        return read(np.arange(count)), classes

    def rows(self, split, image_size, channels, labels):
        """The number of images of a split, a column of `order.taken` of them, and their labels, int64 `(n,)`, or None."""
        files, classes = self._examples(split, labels)
        shape = self._shape(image_size, channels)

        def read(chosen):
            result = np.empty((len(chosen), *shape), np.uint8)
            with ThreadPoolExecutor() as pool:
                found = pool.map(lambda index: self._fitted(read_image(files[index]), files[index], image_size, channels), chosen)
                for index, image in enumerate(found):
                    result[index] = image
            return result

        return len(files), (read, tf.TensorSpec(shape, tf.uint8)), classes

    def vectors(self, split, given):
        given = self.path / conditions.NAME if given is True else given
        if not isinstance(given, (str, os.PathLike)):
            raise ValueError(
                f"conditions of the folder {self.path} are a {type(given).__name__}, expected the path of a .csv file whose "
                f"first column holds the path of each image."
            )
        folder = self.folders[portion(self.files, split)[0]]
        files = [(folder / file).relative_to(self.path).as_posix() for file in self._chosen(split)]
        return conditions.by_file(given, files, f"The conditions of {self.path}")

    def _chosen(self, split):
        """Files of a split, relative to the folder of the split that holds them."""
        name, first, last = portion(self.files, split)
        files = self.files[name]
        return [files[index] for index in chosen([file.as_posix() for file in files], first, last, self._classes(files))]

    def _classes(self, files):
        """The class of each file, int64 `(n,)`; None where there are none."""
        return None if self.class_names is None else np.array([self._numbers[file.parts[0]] for file in files], np.int64)

    def _examples(self, split, labels):
        if labels and self.class_names is None:
            raise self.no_labels()
        files = self._chosen(split)
        if not files:
            raise self.no_images(split)
        folder = self.folders[portion(self.files, split)[0]]
        classes = self._classes(files)
        if classes is not None:
            self.tell_lacking(split, classes, np.arange(len(self.class_names)))
        return [folder / file for file in files], classes if labels else None

    @functools.cached_property
    def _first(self):
        split = next(split for split, files in self.files.items() if files)
        path = self.folders[split] / self.files[split][0]
        return path, read_image(path).shape[:2]

    @functools.cached_property
    def _channels(self):
        paths = (self.folders[split] / file for split, files in self.files.items() for file in files)
        return 3 if any(_opened(path, path, lambda image: image.mode not in GRAY) for path in paths) else 1


def _images_under(top):
    """Image files at any depth, paths relative to a folder, sorted; and a dict of how many of what else lie there.

    Links to folders are followed, and each folder is read once: not again by a link, which may lead to where it lies.
    """
    found, left, others = [], collections.Counter(), collections.Counter()
    folders, links, read = [str(top)], [], set()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)  # links last, lest they take the place of what they lead to
        real = os.path.realpath(folder)
        if real in read:
            left["links to folders that are read anyway"] += 1
            continue
        read.add(real)
        try:
            entries = list(os.scandir(folder))
        except OSError:
            left["folders that cannot be read"] += 1
            continue
        for entry in entries:
            link, ending = entry.is_symlink(), Path(entry.name).suffix.lower()
            if entry.name.startswith("."):
                left["hidden"] += 1
            elif os.path.isdir(entry.path) if link else entry.is_dir(follow_symlinks=False):
                (links if link else folders).append(entry.path)
            elif link and not os.path.isfile(entry.path):
                left["broken links"] += 1
            elif ending in ENDINGS:
                found.append(Path(entry.path).relative_to(top))
            elif Path(entry.path) != Path(top) / conditions.NAME:
                others[ending or "no ending"] += 1
        links.sort()
    if others:
        kinds = ", ".join(sorted(others)[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        left[f"files of other kinds ({kinds})"] = others.total()
    return sorted(found), left


def _splits_of(path, files):
    """The splits among the subfolders that hold images, a dict to their names; empty where they are classes.

    Raises:
        ValueError: there are splits, and it is not clear which they are.
    """
    inside = collections.defaultdict(set)  # of every folder: the subfolders with images
    for folder in {parent for file in files for parent in file.parents if parent.parts}:
        inside[folder.parent].add(folder.name)

    def held(names):
        found = {split: sorted(name for name in names if SPLIT_FOLDERS.get(name.lower()) == split) for split in SPLITS}
        return {split: names for split, names in found.items() if names}

    top = inside.pop(Path(), set())
    named = held(top)
    way_out = "pass splits=False (--no-splits) if all subfolders are classes"
    if "train" not in named or (len(named) == 1 and len(top) > 1):
        deeper = sorted(folder for folder, names in inside.items() if "train" in held(names) and len(held(names)) > 1)
        if deeper:
            raise ValueError(
                f"{path / deeper[0]} holds the splits {', '.join(sorted(inside[deeper[0]]))}, expected those directly in {path}; "
                f"load a folder of splits, or {way_out}."
            )
        return {}
    unknown = sorted(top - {name for names in named.values() for name in names})
    if unknown:
        raise ValueError(
            f"{path} holds splits and {', '.join(unknown)} beside them, with images too, expected folders called train, "
            f"validation and test alone; move the others away, or {way_out}."
        )
    for split, names in named.items():
        if len(names) > 1:
            raise ValueError(
                f"{path} holds {' and '.join(names)}, expected one folder of {split} images; put them together, or {way_out}."
            )
    return {split: names[0] for split, names in named.items()}


def read_image(file, name=None):
    """One image file as uint8 `(height, width, 1 or 3)`: upright, transparency over white, the first frame.

    Args:
        file: path, or file of bytes.
        name: what the image is called in a message. Defaults to None, the path.
    """
    return _opened(file, file if name is None else name, _pixels)


def _opened(file, name, look):
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            return look(image)
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} cannot be read as an image (it is of no known format); repair or remove it.") from error
    # PIL raises SyntaxError for a broken PNG, and ValueError for broken sizes.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} cannot be read as an image ({error}); repair or remove it.") from error


def _pixels(image):
    from PIL import Image, ImageOps

    gray = image.mode in GRAY
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # PIL would cut 16 bits off at 255
        return np.round(np.asarray(image) / 257).astype(np.uint8)[..., None]
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of PIL's mode {image.mode}, expected 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white
    pixels = np.asarray(image.convert("L" if gray else "RGB"))
    return pixels[..., None] if gray else pixels
