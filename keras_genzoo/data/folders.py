"""Folders of images."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from keras_genzoo.data.sources import SPLITS, Source, chosen, conform, portion

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
SPLIT_FOLDERS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
GRAY = ("1", "L", "LA", "I;16", "I;16B", "I;16L")


class Folder(Source):
    """Image files, found at any depth; hidden files and other endings are left alone.

    Subfolders are splits if one is called `train` and the others validation (or val, valid) and test. Inside, or without
    such, the subfolders are the classes, unless an image lies beside them.
    """

    label_hint = "put the images of each class into a subfolder of its own"

    def __init__(self, path):
        self.path, self.name = path, str(path)
        inside = {entry.name: entry for entry in sorted(path.iterdir()) if entry.is_dir() and not entry.name.startswith(".")}
        folders = {"train": path}
        if "train" in inside and set(inside) <= set(SPLIT_FOLDERS):
            folders = {SPLIT_FOLDERS[name]: folder for name, folder in inside.items()}
        # Of every split: paths relative to its folder.
        self.files = {split: _images_under(folder) for split, folder in folders.items()}
        self.folders = folders
        everything = [file for files in self.files.values() for file in files]
        if not everything:
            raise ValueError(f"The folder {path} holds no images, expected files ending in {', '.join(ENDINGS)}.")
        if all(len(file.parts) > 1 for file in everything):
            self.class_names = tuple(sorted({file.parts[0] for file in everything}))

    def counts(self):
        return {split: len(self._chosen(split)) for split in SPLITS}

    def image_shape(self):
        return (*self._first[1], self._channels)

    def arrays(self, split, image_size, channels, labels):
        (read, _), classes = self.rows(split, image_size, channels, labels)
        return read(np.arange(len(self._chosen(split)))), classes

    def rows(self, split, image_size, channels, labels):
        """The images of a split as a column of `order.taken`, and their labels, int64 `(n,)`, or None."""
        files, classes = self._examples(split, labels)
        shape = (*(image_size or self._first[1]), channels or self._channels)

        def read(chosen):
            result = np.empty((len(chosen), *shape), np.uint8)
            with ThreadPoolExecutor() as pool:
                found = pool.map(lambda index: self._read(files[index], image_size, channels), chosen)
                for index, image in enumerate(found):
                    result[index] = image
            return result

        return (read, tf.TensorSpec(shape, tf.uint8)), classes

    def _chosen(self, split):
        """Files of a split, relative to the folder of the split that holds them."""
        name, first, last = portion(self.files, split)
        files = self.files[name]
        return [files[index] for index in chosen([file.as_posix() for file in files], first, last)]

    def _examples(self, split, labels):
        if labels and self.class_names is None:
            raise self.no_labels()
        files = self._chosen(split)
        if not files:
            raise self.no_images(split)
        folder = self.folders[portion(self.files, split)[0]]
        classes = np.array([self.class_names.index(file.parts[0]) for file in files], np.int64) if labels else None
        return [folder / file for file in files], classes

    @functools.cached_property
    def _first(self):
        """The path and the size of the first image, which is the size of all where `image_size` is not given."""
        split = next(split for split, files in self.files.items() if files)
        path = self.folders[split] / self.files[split][0]
        return path, read_image(path).shape[:2]

    @functools.cached_property
    def _channels(self):
        """1 if every image is gray, else 3."""
        paths = (self.folders[split] / file for split, files in self.files.items() for file in files)
        return 3 if any(_opened(path, lambda image: image.mode not in GRAY) for path in paths) else 1

    def _read(self, path, image_size, channels):
        image = read_image(path)
        first, size = self._first
        if image_size is None and image.shape[:2] != size:
            raise ValueError(
                f"{path} has {image.shape[0]} x {image.shape[1]} pixels and {first} has {size[0]} x {size[1]}; "
                "give the images one size with image_size=."
            )
        with tf.device("CPU:0"):  # not on the GPU, where eager work goes by default
            return np.asarray(conform(image, image_size, channels or self._channels))


def _images_under(folder):
    files = (file.relative_to(folder) for file in folder.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
    return sorted(file for file in files if not any(part.startswith(".") for part in file.parts))


def read_image(path):
    """One image file as uint8 `(height, width, 1 or 3)`: upright, transparency over white, the first frame."""
    return _opened(path, _pixels)


def _opened(path, look):
    from PIL import Image

    try:
        with Image.open(path) as image:
            return look(image)
    # PIL raises SyntaxError for a broken PNG, and ValueError for broken sizes.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}); repair or remove it.") from error


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
