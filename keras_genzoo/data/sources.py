"""What every kind of source has in common: splits, and bringing images to one size and number of channels."""

import hashlib
import os
import re
import warnings

import keras
import numpy as np
import tensorflow as tf

SPLITS = ("train", "validation", "test")
ALL = "all"  # a source without splits, as one
FEW = 10  # images of a class; of fewer a tenth, one at least, would be more than a tenth
PIECE = 512  # images that are decoded together


def portion(available, split):
    """Which part of which available split is `split`: `(name, first, last)`, tenths of it.

    A source that has the split gives it. A validation or test split that it lacks is a tenth of its training split, which
    then loses it; no seed takes part in this. "all" is a source that has no splits.
    """
    if split == ALL:
        if len(available) > 1:
            raise ValueError(
                f"split is 'all', but the images have the splits {', '.join(sorted(available))}; choose one of them."
            )
        return *available, 0, 10
    if split != "train" and split in available:
        return split, 0, 10
    lacking = [name for name in SPLITS[1:] if name not in available]
    kept = 10 - len(lacking)
    if split == "train":
        return "train", 0, kept
    first = kept + lacking.index(split)
    return "train", first, first + 1


def chosen(names, first, last, classes=None):
    """Indices, ascending, of the tenths `first` to `last` of `names` in the order of their checksums.

    Checksums make this a fair choice of a list sorted by class, which does not depend on where the images lie. The tenths
    at the end hold one image at least, if there are three images.

    Args:
        names: list of str.
        first, last: ints from 0 to 10.
        classes: int array of a class a name, or None. The tenths are then those of each class; classes of fewer than 10 images
            count as one. Defaults to None.
    """
    if classes is not None and len(classes):
        _, classes, counts = np.unique(classes, return_inverse=True, return_counts=True)
        classes = np.where(counts[classes] < FEW, -1, classes)
        groups = [np.flatnonzero(classes == each) for each in np.unique(classes)]
        parts = [group[chosen([names[index] for index in group], first, last)] for group in groups]
        return np.sort(np.concatenate(parts))
    n = len(names)
    tenth = max(1, round(n / 10)) if n > 2 else 0
    order = sorted(range(n), key=lambda index: hashlib.sha256(os.fsencode(names[index])).digest())
    start = 0 if first == 0 else n - (10 - first) * tenth
    return np.sort(np.array(order[start : n - (10 - last) * tenth], int))


def conform(images, image_size=None, channels=None, what="images"):
    """Bring uint8 images to a size and a number of channels.

    Args:
        images: uint8 tensor, `(batch, height, width, channels)` or `(height, width, channels)`.
        image_size: `(height, width)` or None. Other images are cropped at the centre to this aspect ratio, then resized
            with antialiasing.
        channels: 1, 3 or None. Colour becomes luminance, gray is repeated.
        what: str. What the images are called in the message.

    Returns:
        uint8 tensor of the same rank.
    """
    if channels and images.shape[-1] != channels:
        convert = {(3, 1): tf.image.rgb_to_grayscale, (1, 3): tf.image.grayscale_to_rgb}.get((images.shape[-1], channels))
        if convert is None:
            raise ValueError(
                f"{what} have {images.shape[-1] or 'an unknown number of'} channels, which cannot become {channels}; "
                "leave `channels` out."
            )
        images = convert(tf.convert_to_tensor(images))
    if image_size and tuple(images.shape[-3:-1]) != image_size:
        images = keras.ops.image.resize(
            tf.cast(images, tf.float32), image_size, antialias=True, crop_to_aspect_ratio=True, data_format="channels_last"
        )
        images = tf.cast(tf.round(images), tf.uint8)
    return images


def marks_of(paths, top=None):
    """Name, size and time of the last change of files, a text each.

    Args:
        paths: iterable of Paths.
        top: Path or None. Names are relative to it, so that a folder may be moved. Defaults to None, names alone.
    """
    for path in paths:
        about = path.stat()
        yield f"{path.relative_to(top).as_posix() if top else path.name}|{about.st_size}|{about.st_mtime_ns}"


class Source:
    """A data set before batching.

    Attributes:
        name: str. What messages call it.
        class_names: tuple of str, or None.
        licence: str or None.
        in_memory: bool. Whether the images are in memory anyway.
        labelled: bool. Whether there are labels.
        conditioned: bool. Whether there are vectors.
        own_splits: tuple of str. The splits that it has, where `load` does not take them all from its training images.
        label_hint: str. How to give labels to a source of this kind.
        watch: `streams.Watch` that looks at images as they come, or None.
    """

    class_names = None
    licence = None
    in_memory = False
    label_hint = "leave `labels` out"
    watch = None
    labelled = conditioned = False
    own_splits = ()

    def counts(self):
        """Number of images by split; None where it is not known."""
        raise NotImplementedError

    def image_shape(self):
        """`(height, width, channels)`, None where images differ."""
        raise NotImplementedError

    def size(self, split, image_size, channels):
        """The number of images of a split, and the shape `(height, width, channels)` that each of them gets.

        None where the number is not known. Sources that can be larger than memory know it, and have `marks`.
        """
        return None

    def marks(self, split):
        """Texts by which the images of a split are told from others, and from what they were before a file changed."""
        raise NotImplementedError

    def has_labels(self, split):
        """Whether the images of a split have labels."""
        return self.labelled

    def ready(self, image_size, channels):
        """Whether the images lie on disk as they are asked for, so that nothing is gained by keeping them decoded."""
        return False

    def arrays(self, split, image_size, channels, labels):
        """The images of a split, uint8 `(n, height, width, channels)`, and their labels, int64 `(n,)`, or None."""
        known = self.size(split, image_size, channels)
        if known is None:
            images, classes = zip(*self.pieces(split, image_size, channels, labels), strict=True)
            return np.concatenate(images), np.concatenate(classes) if labels else None
        images, classes, end = np.empty((known[0], *known[1]), np.uint8), [], 0  # whole at once, and never twice
        for piece, labelled in self.pieces(split, image_size, channels, labels):
            images[end : end + len(piece)] = piece
            classes.append(labelled)
            end += len(piece)
        return images[:end], np.concatenate(classes) if labels else None

    def pieces(self, split, image_size, channels, labels):
        """Yield the images of a split in their order, and their labels or None, some hundreds at a time."""
        if hasattr(self, "rows"):
            count, (read, _), classes = self.rows(split, image_size, channels, labels)
            for start in range(0, count, PIECE):
                chosen = np.arange(start, min(start + PIECE, count))
                yield read(chosen), None if classes is None else classes[chosen]
            return
        empty = True
        try:
            for batch in self.stream(split, image_size, channels, labels).batch(PIECE).as_numpy_iterator():
                empty = False
                yield batch if labels else (batch, None)
        except tf.errors.InvalidArgumentError as error:
            if self.watch is not None and self.watch.found is not None:
                raise self.watch.found from None
            if "Cannot batch" in error.message or "Cannot add tensor to the batch" in error.message:
                raise ValueError(
                    f"The images of {self.name} differ in size; give them one, as image_size=64 (--image-size 64)."
                ) from error
            reason = re.sub(r"\{\{.*?\}\} |\[Op:.*", "", error.message.splitlines()[0]).strip()  # without TensorFlow's nodes
            raise ValueError(f"The images of {self.name} cannot be read: {reason}.") from error
        if empty:
            raise self.no_images(split)

    def stream(self, split, image_size, channels, labels):
        """A `tf.data.Dataset` of single uint8 images, or of pairs with their int64 label."""
        raise NotImplementedError

    def vectors(self, split, given):
        """The vectors of the images of a split, float32 `(n, length)`, in their order.

        Args:
            split: str.
            given: True, for those of the source itself; an array, a dict of such by split, or the path of a file.
        """
        raise ValueError(f"conditions were asked for of {self.name}, and only arrays, NumPy and HDF5 files and folders have any.")

    def tell_lacking(self, split, classes, known):
        """Say which classes a split lacks.

        Args:
            split: str.
            classes: int array, of the images of the split.
            known: int array, of images of all splits.
        """
        known = np.unique(known)
        lacking = [str(self.class_names[each] if self.class_names else each) for each in np.setdiff1d(known, classes)]
        if lacking:
            named = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
            warnings.warn(
                f"The {split} split of {self.name} lacks {len(lacking)} of {len(known)} classes: {named}.", stacklevel=5
            )

    def no_images(self, split):
        return ValueError(f"There are no images in the {split!r} split of {self.name}, which holds {self.counts()}.")

    def no_labels(self):
        return ValueError(f"There are no labels in {self.name}, and labels=True asks for them; {self.label_hint}.")
