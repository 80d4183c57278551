"""Encoded images in tables and archives: data sets of Hugging Face, parquet files, and tars of WebDataset.

Each is read by the library made for it. Where that is not installed, one sentence says what to install.
"""

import concurrent.futures
import functools
import glob
import io
import itertools
import json
import os
import re
import textwrap
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_genzoo.data.archives import Tars
from keras_genzoo.data.folders import ENDINGS, SPLIT_FOLDERS, Encoded, read_image
from keras_genzoo.data.sources import PIECE, SPLITS, chosen, marks_of, portion
from keras_genzoo.data.tfds import TFDS

IMAGE_NAMES, LABEL_NAMES = ("image", "img"), ("label", "labels")  # of columns, where there are several
HUB = re.compile("hf:/+")  # `Path` makes one stroke of two
BATCH = 256  # cells that are read together
SHARDS = (".parquet", ".tar")
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")  # of the numbers of shards, as in train-{000..099}.tar


class Table(Encoded):
    """Encoded images in parts by split.

    Args:
        name: str.
        parts: dict of a split to what holds its images: `count`; `labels`, int64 `(count,)` or None; `cells(rows)`, which yields
            the name and the bytes of each of the rows, ascending; and `marks()`, texts as of `Source.marks`.
        class_names: tuple of str, or None.
        hint: str. How to give labels where there are none.
    """

    def __init__(self, name, parts, class_names=None, hint="call a column of class numbers 'label'"):
        self.name, self.parts, self.class_names, self.label_hint = str(name), parts, class_names, hint
        if not any(part.count for part in parts.values()):
            raise ValueError(f"{name} holds no images, expected one at least.")
        self.labelled = all(part.labels is not None for part in parts.values())
        self.own_splits = tuple(parts) if len(parts) > 1 else ()

    def counts(self):
        return {split: len(self._chosen(split)[1]) for split in SPLITS}

    def size(self, split, image_size, channels):
        return len(self._chosen(split)[1]), self._shape(image_size, channels)

    def marks(self, split):
        return self._chosen(split)[0].marks()

    def pieces(self, split, image_size, channels, labels):
        part, rows, classes = self._examples(split, labels)
        cells = part.cells(rows)
        fitted = lambda cell: self._fitted(read_image(io.BytesIO(cell[1]), cell[0]), cell[0], image_size, channels)  # noqa: E731
        shape = self._shape(image_size, channels)  # which looks at the first image, and not in each thread
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for start in range(0, len(rows), PIECE):
                images = list(pool.map(fitted, itertools.islice(cells, PIECE)))
                yield np.stack(images).reshape(-1, *shape), None if classes is None else classes[start : start + PIECE]

    def stream(self, split, image_size, channels, labels):
        self._examples(split, labels)  # what is wrong is said now

        def pieces():
            for images, classes in self.pieces(split, image_size, channels, labels):
                yield (images, classes) if labels else images

        count, shape = self.size(split, image_size, channels)
        spec = tf.TensorSpec((None, *shape), tf.uint8)
        spec = (spec, tf.TensorSpec((None,), tf.int64)) if labels else spec
        images = tf.data.Dataset.from_generator(pieces, output_signature=spec).unbatch()
        return images.apply(tf.data.experimental.assert_cardinality(count))

    def _chosen(self, split):
        """The part that holds a split, and the rows of it, ascending."""
        if "train" not in self.parts:
            raise ValueError(f"There is no training split in {self.name}, which holds {', '.join(self.parts) or 'no split'}.")
        name, first, last = portion(self.parts, split)
        part = self.parts[name]
        if (first, last) == (0, 10):
            return part, np.arange(part.count)
        return part, chosen([str(row) for row in range(part.count)], first, last, part.labels)

    def _examples(self, split, labels):
        if labels and not self.labelled:
            raise self.no_labels()
        part, rows = self._chosen(split)
        if not len(rows):
            raise self.no_images(split)
        if self.labelled:
            known = np.concatenate([each.labels for each in self.parts.values()])
            self.tell_lacking(split, part.labels[rows], known)
        return part, rows, part.labels[rows] if labels else None

    @functools.cached_property
    def _looked_at(self):
        """The name and the pixels of the first image."""
        name, content = next(next(part for part in self.parts.values() if part.count).cells(np.arange(1)))
        return name, read_image(io.BytesIO(content), name)

    @property
    def _first(self):
        name, image = self._looked_at
        return name, image.shape[:2]

    @property
    def _channels(self):
        return self._looked_at[1].shape[-1]


def is_pattern(source):
    """Whether a source is a text that stands for several files, as train-{000..099}.tar or data/*.parquet."""
    return isinstance(source, str) and source.endswith(SHARDS) and bool(re.search(r"[*?\[]|\{\d+\.\.\d+\}", source))


def of_pattern(source):
    """The source of the files that a pattern stands for."""
    numbers, texts = RANGE.search(source), [source]
    if numbers:
        first, last = numbers.groups()
        counted = [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
        texts = [source[: numbers.start()] + number + source[numbers.end() :] for number in counted]
    paths = [Path(found) for text in map(os.path.expanduser, texts) for found in (glob.glob(text) or [text])]
    return of_files(paths, source)


def of_files(paths, name, top=None):
    """The source of parquet files or of tars.

    Args:
        paths: list of Paths, with one ending. The split of each is a word of its name, as in train-00000-of-00004.parquet.
            Without one, and of a single file, it is "train".
        name: str. What messages call them.
        top: Path or None. A folder above, below which names of folders are words too. Defaults to None.
    """
    if lacking := [path for path in paths if not path.is_file()]:
        raise ValueError(f"There is no file {lacking[0]}, one of the {len(paths)} of {name}.")
    files = {}
    for path in sorted(paths):
        words = re.split(r"[^a-z]+", str(path.relative_to(top) if top else path.name).lower())
        split = next((SPLIT_FOLDERS[word] for word in reversed(words) if word in SPLIT_FOLDERS), "train")
        files.setdefault(split if len(paths) > 1 else "train", []).append(path)
    if paths[0].suffix == ".parquet":
        return _of_parquet(files, name)
    return Table(name, {split: Tars(each) for split, each in files.items()}, hint="add a .cls file to each sample")


def in_folder(path):
    """The source of a folder of tables or archives, None where it is none.

    It is one of `Dataset.save_to_disk`, of TFRecord files that TFDS can read, of parquet files or of tars.
    """
    names = {entry.name for entry in os.scandir(path)}
    if {"features.json", "dataset_info.json"} <= names:
        return TFDS(str(path), folder=path)
    if "dataset_dict.json" in names or {"state.json", "dataset_info.json"} <= names:
        return of_datasets(_datasets(path).load_from_disk(str(path)), str(path))
    if any(".tfrecord" in name for name in names):
        raise ValueError(
            f"{path} holds TFRecord files, but no features.json, which says what is in them; write it once with "
            "tfds.folder_dataset.write_metadata, or give a tf.data pipeline that parses them."
        )
    for ending in SHARDS:
        if paths := _shards(path, ending):
            return of_files(paths, str(path), path)
    return None


def _shards(path, ending):
    """The files with an ending in a folder, and in its folders of splits; none where there are images or other folders beside."""
    shown = lambda folder: [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]  # noqa: E731
    entries = shown(path)
    inner = [entry for entry in entries if entry.is_dir() and entry.name.lower() in ("data", *SPLIT_FOLDERS)]
    entries = [*(entry for entry in entries if entry not in inner), *(entry for each in inner for entry in shown(each.path))]
    if any(entry.is_dir() or entry.name.lower().endswith(ENDINGS) for entry in entries):
        return []
    return [Path(entry.path) for entry in entries if entry.name.endswith(ending) and entry.name != "metadata.parquet"]


# Hugging Face


def is_datasets(source):
    """Whether this is an object of Hugging Face's library, which is not imported for the question."""
    return type(source).__module__.partition(".")[0] == "datasets"


def is_hub(source):
    """Whether a source is the name of a data set of the Hugging Face Hub."""
    return isinstance(source, str) and bool(HUB.match(source))


def _datasets(what):
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            f"to read {what} the package datasets is needed; `pip install 'keras_genzoo[datasets]'` installs it."
        ) from error
    return datasets


def of_hub(source):
    """The source of a data set of the Hub: hf://user/name, hf://user/name/configuration, and either with @revision."""
    name, _, revision = HUB.sub("", source).partition("@")
    if not 1 <= name.count("/") <= 2:
        raise ValueError(f"{source} is no address of a data set, expected hf://user/name or hf://user/name/configuration.")
    user, name, *configuration = name.split("/")
    try:
        found = _datasets(source).load_dataset(f"{user}/{name}", *configuration, revision=revision or None)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"{source} cannot be had: {textwrap.shorten(str(error), 300)}") from error
    return of_datasets(found, source)


def of_datasets(source, name="your data set"):
    """The source of a `datasets.Dataset` or `datasets.DatasetDict`."""
    datasets = _datasets(name)
    if isinstance(source, (datasets.IterableDataset, datasets.IterableDatasetDict)):
        raise ValueError(f"{name} is a stream, expected one that is loaded: leave streaming=True out.")
    named = source if isinstance(source, datasets.DatasetDict) else {"train": source}
    named = {SPLIT_FOLDERS.get(split.lower(), split): part for split, part in named.items()}
    named = {split: part for split, part in named.items() if split in SPLITS} or named
    features = next(iter(named.values())).features
    images = [column for column, feature in features.items() if isinstance(feature, datasets.Image)]
    classes = [column for column, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    whole = [column for column, feature in features.items() if str(getattr(feature, "dtype", "")).startswith(("int", "uint"))]
    image, label = _column(images, IMAGE_NAMES), _label(classes, whole)
    if image is None:
        raise _no_column(name, list(features), images)
    class_names = tuple(features[label].names) if label in classes else None
    return Table(name, {split: Rows(part, image, label) for split, part in named.items()}, class_names)


class Rows:
    """The rows of a `datasets.Dataset`, see `Table`."""

    def __init__(self, dataset, image, label):
        import datasets

        self.count, self.image, self.label, self.dataset = len(dataset), image, label, dataset
        encoded = dataset.with_format(None).select_columns([image])
        self.encoded = encoded.cast_column(image, datasets.Image(decode=False))

    @functools.cached_property
    def labels(self):
        if self.label is None:
            return None
        column = self.dataset.select_columns([self.label]).with_format("numpy")[:][self.label]
        return np.asarray(column).astype(np.int64)

    def cells(self, rows):
        for start in range(0, len(rows), BATCH):
            numbers = rows[start : start + BATCH].tolist()
            for number, cell in zip(numbers, self.encoded[numbers][self.image], strict=True):
                content = cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
                yield f"row {number} of {self.image}", content

    def marks(self):
        yield f"{self.dataset._fingerprint} {self.image} {self.label}"


def _column(names, preferred):
    """The one name, or of several the one that is preferred; None where there is none."""
    return names[0] if len(names) == 1 else next((name for name in preferred if name in names), None)


def _label(classes, whole):
    """The column of classes: of those that are known to be classes, or else of whole numbers by its name."""
    return _column(classes, LABEL_NAMES) or next((name for name in LABEL_NAMES if name in whole), None)


def _no_column(name, columns, images):
    if images:
        found = f"the columns of images {', '.join(images)}"
        return ValueError(f"{name} holds {found}, expected one, or one that is called 'image'; rename it with `rename_column`.")
    return ValueError(
        f"{name} holds the columns {', '.join(columns)}, expected one of images: the feature Image, or bytes of files."
    )


# Parquet


def _of_parquet(files, name):
    import pyarrow as pa  # which TFDS needs too
    import pyarrow.parquet as pq

    try:
        image, label, class_names = _columns_of(pq.read_schema(next(iter(files.values()))[0]), name)
        parts = {split: Parquet(each, image, label) for split, each in files.items()}
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{name} cannot be read as parquet ({error}); write it again, or remove it.") from error
    return Table(name, parts, class_names)


def _columns_of(schema, name):
    """Of a schema: the column of images, bytes or structs of bytes as Hugging Face writes them; that of labels, and the names of
    classes, or None."""
    import pyarrow as pa

    def encoded(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)] if pa.types.is_struct(kind) else []
        return encoded_bytes(kind) or any(field.name == "bytes" and encoded_bytes(field.type) for field in fields)

    encoded_bytes = lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind)  # noqa: E731
    images = [field.name for field in schema if encoded(field.type)]
    image = _column(images, IMAGE_NAMES)
    if image is None:
        raise _no_column(name, schema.names, images)
    about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = about.get("info", {}).get("features") or {}
    kinds = {column: feature.get("_type") for column, feature in features.items() if isinstance(feature, dict)}
    classes = [column for column, kind in kinds.items() if kind == "ClassLabel"]
    label = _label(classes, [field.name for field in schema if pa.types.is_integer(field.type)])
    names = features.get(label, {}).get("names") if label in classes else None
    return image, label, names and tuple(names)


class Parquet:
    """The rows of parquet files, one after the other, see `Table`."""

    def __init__(self, files, image, label):
        import pyarrow.parquet as pq

        self.files, self.image, self.label = files, image, label
        self.ends = np.cumsum([pq.read_metadata(file).num_rows for file in files])
        self.count = int(self.ends[-1])

    @functools.cached_property
    def labels(self):
        import pyarrow.parquet as pq

        if self.label is None:
            return None
        columns = [pq.read_table(file, columns=[self.label])[self.label].to_numpy() for file in self.files]
        return np.concatenate(columns).astype(np.int64)

    def cells(self, rows):
        import pyarrow.parquet as pq

        for file, end, start in zip(self.files, self.ends, [0, *self.ends[:-1]], strict=True):
            wanted = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)]
            if len(wanted):
                with pq.ParquetFile(file) as opened:
                    yield from self._of_batches(opened.iter_batches(BATCH, columns=[self.image]), start, wanted, file)

    def _of_batches(self, batches, start, rows, file):
        first = start
        for batch in batches:
            for row in rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + len(batch))]:
                cell = batch.column(0)[int(row - first)].as_py()
                content = cell["bytes"] if isinstance(cell, dict) else cell
                name = f"row {row - start} of {file}"
                if content is None:
                    raise ValueError(f"{name} holds no image, expected the bytes of one; leave such rows out.")
                yield name, content
            first += len(batch)

    def marks(self):
        yield f"{self.image} {self.label}"
        yield from marks_of(self.files)
