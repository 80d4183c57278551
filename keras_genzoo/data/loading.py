"""From a source to batches."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_genzoo.core.cache import digest
from keras_genzoo.core.checks import whole
from keras_genzoo.core.order import Order, Passes, column, taken
from keras_genzoo.data import arrays, mapped, tables
from keras_genzoo.data.folders import Folder
from keras_genzoo.data.neighbours import nearest_neighbours
from keras_genzoo.data.pipelines import Pipeline
from keras_genzoo.data.sources import ALL, SPLITS
from keras_genzoo.data.tfds import TFDS

# What the shuffle of a stream holds, whichever is less.
BUFFER_IMAGES, BUFFER_BYTES = 10_000, 2**28
FILES = (".npy", ".npz", *arrays.HDF5, *tables.SHARDS)
READERS = 2  # batches that are read at a time from a mapped file, so that the disk is not idle between them


def load(
    source="fashion_mnist_mini",
    split="train",
    batch_size=128,
    image_size=None,
    channels=None,
    labels=False,
    shuffle=None,
    seed=0,
    drop_remainder=None,
    data_dir=None,
    cache="auto",
    neighbours=0,
    further=0,
    splits=True,
    flip=False,
    conditions=None,
):
    """Load images as a `tf.data.Dataset` of uint8 batches.

    Args:
        source: where the images come from:
            - the name of a data set inside the package, see `names()`;
            - a folder of images (png, jpg, jfif, bmp, gif, tif, webp), at any depth and behind links. Subfolders are classes;
              subfolders train, validation and test are splits, and may hold classes: names in any case, val, valid,
              training and testing too. What is left out is counted in a warning. Transparency is put over white;
            - a .npy file of images, or a .npz or HDF5 file of `images` and `labels`, or of `train_images`, `train_labels`,
              `test_images` and so on (Keras's `x_train`, `y_train` too);
            - a file, a folder or a pattern (`train-{000..099}.tar`) of tars of WebDataset, or of parquet files with a column of
              images. The split of a file is a word of its name;
            - a `datasets.Dataset` or `DatasetDict` of Hugging Face, a folder of `save_to_disk`, or "hf://user/name" of the Hub;
            - a folder of TFRecord files with the `features.json` and `dataset_info.json` of TFDS;
            - images as an array, a pair `(images, labels)`, or a dict of such by split;
            - a `tf.data.Dataset` of images or pairs, batched or not;
            - the name of a TFDS data set that is prepared, see `prepare`. A folder of this name goes before it.

            Arrays are uint8, or floating point in [0, 1], which becomes uint8 by rounding 255 x;
            `(n, height, width, channels)`, or gray `(n, height, width)`. Labels are class numbers.
        split: "train", "validation", "test" or "all". Of a file, folder, dict or TFDS data set that lacks validation or test,
            each is a fixed tenth of the training images, which then lose it; no seed takes part. Where there are classes,
            it is a tenth of each, and those of fewer than 10 images count as one. A warning names the classes that a split
            lacks. An array or a pipeline is one split as it is: all of it comes, whatever the split. "all" is every image of a
            file or folder that has no splits of its own.
        batch_size: int.
        image_size: int or `(height, width)`. Other images are cropped at the centre to this aspect ratio, then resized
            with antialiasing. Needed where images differ in size.
        channels: 1 or 3. Colour becomes gray, or gray colour. A folder is gray if all its images are.
        labels: bool. Whether to yield `(images, labels)`, labels being int64 `(batch,)`.
        shuffle: bool. Defaults to `split == "train"`. Every epoch has another order, which follows from the seed and the number
            of the epoch alone. `fit` reads that number from the model, so that a model that was loaded goes on where it was.
        seed: int.
        drop_remainder: bool. Whether to leave out a last batch that is not full. Defaults to True where batches are
            shuffled and there is at least one full one.
        data_dir: str or Path. Where TFDS keeps its data sets.
        cache: "auto", "file", True or False. Where decoded and resized images are kept:
            - "auto" is memory, if the split takes at most half of what is free (of the machine, or of the limit of a container),
              and "file" otherwise. A pipeline, whose random augmentation would freeze, is not kept;
            - "file" is one file in Keras's cache, made once, which is mapped into memory. Files that have changed since are
              decoded anew. `~/.keras/genzoo/images` may be emptied at any time;
            - True is memory, False is nowhere. Then images of a folder are decoded in every epoch, and pipelines, TFDS data sets
              and tables are shuffled in a buffer of 10,000 images, or of 256 MB.

            Batches are the same in the same order from memory and from the file.
        neighbours: int. Number of nearest neighbours of each image in its split that come with it; 0 is none. They are sought
            once for a data set, and kept in Keras's cache. Needs the images in memory.
        further: int. Number of further images that come with each one, so that a batch holds `1 + further` times as many, all
            different: a model that takes several steps a batch takes each of them on images of its own. Of the split "train"
            alone; the last images, too few for one more row, are left out.
        splits: bool. Whether subfolders train, validation and test of a folder are splits. False makes all subfolders classes.
        flip: bool. Whether to mirror images left to right, each with probability 1/2, anew in every epoch: by the seed, the
            number of the epoch and the position, as the order. Of the split "train" alone. The neighbours of an image are
            mirrored with it.
        conditions: vectors of numbers that go with the images, for models with a `condition_dim`. An array `(n, length)` in the
            order of all images of the source, or a dict of such by split; the path of a .npy file of one, or of a .csv file
            whose first line names its columns. Of a folder a .csv file, whose first column holds the path of each image in the
            folder. True takes those of the source itself: `conditions`, or `train_conditions` and so on, of a .npz or HDF5 file,
            and the file conditions.csv of a folder. Defaults to None, no vectors.

    Returns:
        `tf.data.Dataset` of uint8 `(batch, height, width, channels)`, or of pairs with labels. With conditions, of pairs
        `(images, extras)`: a dict of `conditions`, float32 `(batch, length)`, and `labels`, if asked for. With neighbours
        likewise: `neighbours`, uint8 `(batch, neighbours, height, width, channels)`, nearest first, and their
        `neighbour_weights`, float32 `(batch, neighbours)` (`data.nearest_neighbours`). With further images likewise: `further`,
        uint8 `(batch, further, height, width, channels)`, `further_labels`, int64 `(batch, further)`, and `further_conditions`,
        float32 `(batch, further, length)`.

    Raises:
        ValueError: one sentence that says what came, what was expected and what to do.

    Example:

    >>> train = gz.data.load("fashion_mnist_mini", split="train", batch_size=128)
    >>> next(iter(train)).shape
    TensorShape([128, 28, 28, 1])
    """
    if split not in (*SPLITS, ALL):
        raise ValueError(f"split is {split!r}, expected 'train', 'validation', 'test' or 'all'.")
    batch_size, neighbours, further = whole(batch_size=batch_size), whole(0, neighbours=neighbours), whole(0, further=further)
    further = further if split == "train" else 0
    if neighbours and further:
        raise ValueError(f"neighbours is {neighbours} and further is {further}, expected one of them to be 0.")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels is {channels!r}, expected 1 or 3.")
    image_size = _size(image_size)
    name, source = source, find(source, data_dir, splits)
    shuffle = split == "train" if shuffle is None else shuffle

    settings = {"batch_size": batch_size, "shuffled": shuffle, "seed": seed, "drop_remainder": drop_remainder, "row": 1 + further}
    settings |= {"flip": True} if flip and split == "train" else {}
    vectors = None if conditions is None or conditions is False else source.vectors(split, conditions)
    place = _place(source, cache, split, image_size, channels)
    if neighbours and place not in ("arrays", "memory"):
        raise ValueError(f"neighbours is {neighbours}, but the images are not in memory; pass cache=True, or neighbours=0.")
    if neighbours or place == "memory":
        images, classes = source.arrays(split, image_size, channels, labels)
        found = nearest_neighbours(images, neighbours) if neighbours else None
        batches = _from_rows(len(images), column(images), classes, settings, found, vectors=vectors)
    elif place == "file":
        if labels and not source.has_labels(split):
            raise source.no_labels()
        images, classes, known = mapped.kept(source, split, image_size, channels)
        classes = classes if labels else None
        batches = _from_rows(len(images), column(images), classes, settings, parallel=READERS, vectors=vectors)
        batches.digest = lambda: known
    elif hasattr(source, "rows"):
        count, images, classes = source.rows(split, image_size, channels, labels)
        parallel = {"arrays": None, "mapped": READERS}.get(place, tf.data.AUTOTUNE)
        batches = _from_rows(count, images, classes, settings, parallel=parallel, vectors=vectors)
    else:
        batches = _from_stream(source.stream(split, image_size, channels, labels), settings)
    batches.data_name, batches.watch = name if isinstance(name, str) else None, source.watch
    return batches


def _place(source, cache, split, image_size, channels):
    """From where batches are read: "arrays" that are there, "memory", a "file" of decoded images, a file that is "mapped" as it
    is, or the "source"."""
    if cache not in ("auto", "file", True, False):
        raise ValueError(f"cache is {cache!r}, expected 'auto', 'file', True or False.")
    if source.in_memory:
        return "arrays"
    if isinstance(source, Pipeline):
        if cache == "file":
            raise ValueError("cache is 'file', but a tf.data pipeline has no files whose changes are seen; pass True or False.")
        return "memory" if cache is True else "source"
    if cache == "auto":
        cache = True if mapped.fits(*source.size(split, image_size, channels)) else "file"
    if cache == "file" and source.ready(image_size, channels):
        return "mapped"
    return "file" if cache == "file" else "memory" if cache else "source"


def absolute(source):
    """A source as another folder than this one finds it: the path of a file or folder from the root, anything else as it is."""
    if tables.is_pattern(source):
        return os.path.abspath(os.path.expanduser(source))
    path = Path(source).expanduser()
    return str(source) if source in arrays.names() or not path.exists() else str(path.resolve())


def name_of(data):
    """The name under which `load` found a data set; None for arrays, and for pipelines made from what `load` returned."""
    return getattr(data, "data_name", None)


def _from_rows(count, images, classes, settings, found=None, parallel=None, vectors=None):
    """Batches of images that can be had by their number: a column of `order.taken`."""
    further = settings["row"] > 1
    if settings["drop_remainder"] is None:
        settings["drop_remainder"] = settings["shuffled"] and count // settings["row"] >= settings["batch_size"]
    told = {name: rows for name, rows in (("labels", classes), ("conditions", vectors)) if rows is not None}
    columns = [images, *map(column, told.values())]
    if found is not None:
        (rows, spec), (near, weights) = images, found
        shape = (near.shape[1], *spec.shape)
        columns += [(lambda chosen: rows(near[chosen].reshape(-1)).reshape(-1, *shape), tf.TensorSpec(shape, spec.dtype))]
        columns += [column(weights)]

    def combine(images, *others):
        extras = dict(zip(told, others, strict=False))  # behind them neighbours
        if further:
            return _with_further(images, extras)
        if found is not None:
            return images, {"neighbours": others[-2], "neighbour_weights": others[-1], **extras}
        if vectors is not None:
            return images, extras
        return (images, extras["labels"]) if extras else images

    order = Order(count, **settings)
    columns = order.columns(columns)
    batches = taken(order.dataset(), columns, combine, parallel)
    if parallel != tf.data.AUTOTUNE:
        # There is nothing to tune, and the end of an iterator can wait for seconds for the thread that tunes.
        options = tf.data.Options()
        options.autotune.enabled = False
        batches = batches.with_options(options)
    batches = batches.prefetch(tf.data.AUTOTUNE)
    batches.images_count, batches.order, batches.made_of = count, order, (columns, combine, parallel)
    rows, _ = images
    batches.digest = lambda: digest(rows(np.arange(start, min(start + 512, count))) for start in range(0, count, 512))
    return batches


def _with_further(images, told):
    """A batch of rows of several images, and of what is told beside them, each: the first of each, and the others as extras."""
    extras = {"further": images[:, 1:]}
    for name, rows in told.items():
        extras |= {name: rows[:, 0], f"further_{name}": rows[:, 1:]}
    return images[:, 0], extras


def _from_stream(stream, settings):
    """Batches of images that come one after the other, shuffled in a buffer."""
    size, row, drop_remainder = settings["batch_size"], settings["row"], settings["drop_remainder"]
    count = int(stream.cardinality())
    if drop_remainder is None:
        enough = count >= size * row if count >= 0 else sum(1 for _ in stream.take(size * row)) == size * row
        drop_remainder = settings["shuffled"] and enough

    def batched(images):
        if row > 1:
            rows = images.batch(row, drop_remainder=True).batch(size, drop_remainder)
            return rows.map(lambda first, *labels: _with_further(first, dict(zip(("labels",), labels, strict=False))))
        return images.batch(size, drop_remainder)

    looked, order, flip = batched(stream), None, settings.get("flip", False)
    if settings["shuffled"] or flip:
        spec = stream.element_spec
        numbers = (spec[0] if isinstance(spec, tuple) else spec).shape.num_elements() or 2**18
        buffer = min(BUFFER_IMAGES, max(1, BUFFER_BYTES // numbers)) if settings["shuffled"] else 1
        rows = count // row
        order = Passes(
            (rows // size if drop_remainder else -(-rows // size)) if count >= 0 else None, (count, *settings.values())
        )
        stream = order.shuffled(stream, buffer, settings["seed"], flip)
    batches = batched(stream).prefetch(tf.data.AUTOTUNE)
    batches.images_count, batches.order, batches.looked_at = None, order, looked
    return batches


def find(source, data_dir=None, splits=True):
    """The `Source` that the argument `source` of `load` means; names go before files, and files before TFDS."""
    if isinstance(source, tf.data.Dataset):
        return Pipeline(source)
    if tables.is_datasets(source):  # some of which are dicts
        return tables.of_datasets(source)
    if isinstance(source, (dict, tuple)) or hasattr(source, "__array__"):
        return arrays.from_arrays(source)
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(
            f"The source of images is a {type(source).__name__}, expected a name, a folder, a file, an array, a pair "
            "(images, labels), a tf.data.Dataset or a datasets.Dataset; bring a list of images into one array with `np.stack`."
        )
    if source in arrays.names():
        return arrays.shipped(source)
    if tables.is_hub(source):
        return tables.of_hub(source)
    if tables.is_pattern(source):
        return tables.of_pattern(source)
    path = Path(source).expanduser()
    if source and path.is_dir():  # Path('') is the current folder
        return tables.in_folder(path) or Folder(path, splits)
    if path.is_file() and path.suffix in FILES:
        return tables.of_files([path], str(path)) if path.suffix in tables.SHARDS else arrays.from_file(path)
    if path.is_file():
        raise ValueError(
            f"{path} is a file ending in {path.suffix or 'nothing'}, expected a folder of images, or a file ending in "
            f"{', '.join(FILES)}."
        )
    if isinstance(source, os.PathLike) or path.is_absolute() or source.startswith((".", "~")) or path.suffix in FILES:
        raise ValueError(f"There is no folder or file {source}.")
    return TFDS(source, data_dir)


@dataclasses.dataclass(frozen=True)
class Info:
    """What is known of a data set without batching it.

    Attributes:
        name: str.
        image_shape: `(height, width, channels)`; of a folder that of its first image, None where images differ.
        counts: dict of split to number of images, None where it is not known. An array or a pipeline is the one split
            "given".
        class_names: tuple of str, or None.
        licence: str, or None.
    """

    name: str
    image_shape: tuple
    counts: dict
    class_names: tuple | None = None
    licence: str | None = None


def info(source="fashion_mnist_mini", data_dir=None, splits=True):
    """What is known of a data set: an `Info`.

    Args:
        source: as in `load`.
        data_dir, splits: as in `load`.

    Raises:
        ValueError: as in `load`.

    Example:

    >>> gz.data.info("emoji32").image_shape
    (32, 32, 3)
    """
    source = find(source, data_dir, splits)
    return Info(source.name, source.image_shape(), source.counts(), source.class_names, source.licence)


def labelled(source="fashion_mnist_mini", data_dir=None, splits=True):
    """Whether `load(source, labels=True)` has labels to give. Arguments as in `load`.

    Example:

    >>> gz.data.labelled("fashion_mnist_mini")
    True
    """
    return find(source, data_dir, splits).labelled


def conditioned(source="fashion_mnist_mini", data_dir=None, splits=True):
    """Whether `load(source, conditions=True)` has vectors to give. Arguments as in `load`.

    Example:

    >>> gz.data.conditioned("fashion_mnist_mini")
    False
    """
    return find(source, data_dir, splits).conditioned


def same_classes(samples, source, data_dir=None, splits=True):
    """Whether samples, a path, and real images have labels of the same classes: by their names, or by number where one side has
    no names.

    Raises:
        ValueError: there are no such samples.
    """
    if not Path(samples).exists():
        raise ValueError(f"there is no file or folder {samples}, expected a folder of images, or a .npy or .npz file of them.")
    sides = find(Path(samples), splits=False), find(source, data_dir, splits)
    names = [side.class_names for side in sides]
    return all(side.labelled for side in sides) and (None in names or names[0] == names[1])


def _size(image_size):
    """`(height, width)`, or None."""
    if image_size is None:
        return None
    try:
        height, width = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
        return tuple(whole(height=height, width=width))
    except ValueError:
        raise ValueError(
            f"image_size is {image_size!r}, expected a whole number of at least 1, or a pair (height, width)."
        ) from None
