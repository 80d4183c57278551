"""Data sets of TensorFlow Datasets (TFDS), by name or in a folder. Nothing is downloaded except by `prepare`."""

import difflib
import hashlib
import struct
import tempfile
from pathlib import Path

import tensorflow as tf

from keras_genzoo.core.images import check_dtype
from keras_genzoo.data import arrays
from keras_genzoo.data.sources import SPLITS, Source, conform, marks_of, portion

# Debian's package of Fashion-MNIST holds the original files, except that their gzip headers lost the file's name and time.
GZIP_TIMES = {
    "train-images-idx3-ubyte.gz": 1504176606,
    "train-labels-idx1-ubyte.gz": 1504176606,
    "t10k-images-idx3-ubyte.gz": 1504176627,
    "t10k-labels-idx1-ubyte.gz": 1504176627,
}


class TFDS(Source):
    """A prepared data set of TFDS, its images being the feature `image` and its labels the feature `label`.

    Args:
        name: str. Its name.
        data_dir: str, Path or None. Where TFDS keeps its data sets.
        folder: Path or None. The folder of the TFRecord files themselves. `features.json` and `dataset_info.json` beside them say
            how to read them. The name is then what messages call it.
    """

    label_hint = "TFDS gives it no feature `label` of classes"

    def __init__(self, name, data_dir=None, folder=None):
        import tensorflow_datasets as tfds

        self.name = name
        self.builder = tfds.builder_from_directory(folder) if folder else _builder(name, data_dir)
        if not self.builder.info.splits:
            raise ValueError(
                f"The TFDS data set {name} is not prepared in {data_dir or tfds.core.constants.DATA_DIR}; run "
                f"`genzoo prepare {name}` once where there is a network, or `genzoo prepare {name} --from FOLDER` with its "
                "original files."
            )
        features = self.builder.info.features
        features = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
        if not isinstance(features.get("image"), tfds.features.Image):
            raise ValueError(f"The TFDS data set {name} has the features {list(features)}, expected an image called 'image'.")
        check_dtype(features["image"].np_dtype, f"The images of {name}")
        self.splits = set(SPLITS) & set(self.builder.info.splits)
        if "train" not in self.splits:
            raise ValueError(f"The TFDS data set {name} has the splits {list(self.builder.info.splits)}, expected 'train'.")
        self.own_splits = tuple(split for split in SPLITS if split in self.splits)
        self.labelled = isinstance(features.get("label"), tfds.features.ClassLabel)
        self.class_names = tuple(features["label"].names) if self.labelled else None
        self.licence = self.builder.info.redistribution_info.license or None

    def counts(self):
        return {split: self.builder.info.splits[self._slice(split)].num_examples for split in SPLITS}

    def image_shape(self):
        return tuple(self.builder.info.features["image"].shape)

    def size(self, split, image_size, channels):
        height, width, depth = self.builder.info.features["image"].shape
        if not image_size and None in (height, width):  # not known before, and then that of all
            height, width, depth = next(iter(self.builder.as_dataset(split="train").take(1)))["image"].shape
        count = self.builder.info.splits[self._slice(split)].num_examples
        return count, (*(image_size or (height, width)), channels or depth)

    def marks(self, split):
        yield f"{self.builder.info.full_name} {self._slice(split)}"
        yield from marks_of(path for path in sorted(Path(self.builder.data_dir).iterdir()) if path.is_file())

    def stream(self, split, image_size, channels, labels):
        if labels and not self.labelled:
            raise self.no_labels()
        what = f"The images of {self.name}"

        def pick(example):
            image = conform(example["image"], image_size, channels, what)
            return (image, tf.cast(example["label"], tf.int64)) if labels else image

        return self.builder.as_dataset(split=self._slice(split)).map(pick, tf.data.AUTOTUNE)

    def _slice(self, split):
        name, first, last = portion(self.splits, split)
        return name if (first, last) == (0, 10) else f"{name}[{first * 10}%:{last * 10}%]"


def prepare(name, source=None, data_dir=None):
    """Build a TFDS data set once, from the network or from a folder of its original files.

    Args:
        name: str. A TFDS name, as "fashion_mnist" or "imagenet_resized/32x32". A data set that ships inside the package
            needs nothing.
        source: str or Path. A folder of the files that TFDS would download; their checksums are verified. The files of
            Debian's package dataset-fashion-mnist will do.
        data_dir: str or Path. Where TFDS keeps its data sets. Defaults to TFDS's own, `~/tensorflow_datasets`.

    Raises:
        ValueError: an unknown name, files that are missing or other than TFDS expects, or no network.

    Example:

    >>> gz.data.prepare("fashion_mnist", source="/usr/share/datasets/fashion-mnist")  # doctest: +SKIP
    >>> train = gz.data.load("fashion_mnist")  # doctest: +SKIP
    """
    if name in arrays.names():
        return
    builder = _builder(name, data_dir)
    if builder.info.splits:
        return
    if source is not None and not Path(source).is_dir():
        raise ValueError(f"There is no folder {source} to prepare {name} from.")
    with tempfile.TemporaryDirectory() as temporary:
        files = None if source is None else _original_files(name, builder, Path(source), Path(temporary) / "original")
        _download_and_prepare(name, builder, files, Path(temporary))


def _builder(name, data_dir):
    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    base = name.split("/")[0].split(":")[0]
    if base not in known:
        close = difflib.get_close_matches(name, [*arrays.names(), *known], n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"inside the package are {' and '.join(arrays.names())}."
        raise ValueError(f"{name!r} is no data set of this package or of TFDS, and no file or folder; {hint}")
    try:
        return tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except (ValueError, AssertionError, tfds.core.registered.DatasetNotFoundError) as error:
        configs = ", ".join(tfds.builder_cls(base).builder_configs) or "none"
        raise ValueError(f"TFDS has the data set {base}, but not {name!r}; its configurations are: {configs}.") from error


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _with_header(path):
    """The bytes of a file, with the name and time in its gzip header that it lost."""
    content = path.read_bytes()
    if path.name not in GZIP_TIMES:
        return content
    header = b"\x1f\x8b\x08\x08" + struct.pack("<I", GZIP_TIMES[path.name]) + b"\x00\x03" + path.stem.encode() + b"\0"
    return header + content[10:]


def _original_files(name, builder, folder, temporary):
    """The folder from which TFDS takes its downloads: the user's, or one of links to it and of repaired files."""
    repaired = {}
    for url, expected in (builder.url_infos or {}).items():
        path = folder / (expected.filename or Path(url).name)
        if path.is_file() and _sha256(path) != expected.checksum:
            repaired[path.name] = _with_header(path)
            if hashlib.sha256(repaired[path.name]).hexdigest() != expected.checksum:
                raise ValueError(f"{path} is not the file that TFDS expects for {name} (its sha256 differs); get it from {url}.")
    if not repaired:
        return folder
    temporary.mkdir()
    for path in folder.iterdir():
        if path.name in repaired:
            (temporary / path.name).write_bytes(repaired[path.name])
        else:
            (temporary / path.name).symlink_to(path.resolve())
    return temporary


def _download_and_prepare(name, builder, files, temporary):
    import requests
    import tensorflow_datasets as tfds

    by_hand = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if by_hand and files is None:
        instructions = " ".join(by_hand.split())
        raise ValueError(f"{name} must be downloaded by hand, then `genzoo prepare {name} --from FOLDER`: {instructions}")
    urls = builder.url_infos or {}
    lacking = [url for url, info in urls.items() if not files or not (files / (info.filename or Path(url).name)).exists()]
    lacking = [url for url in lacking if url.startswith("http")]
    try:
        if lacking:  # without this, TFDS tries for minutes before it says that there is no network
            requests.head(lacking[0], timeout=20)
        config = tfds.download.DownloadConfig(manual_dir=files, try_download_gcs=False)
        builder.download_and_prepare(download_dir=None if files is None else temporary / "downloads", download_config=config)
    except requests.RequestException as error:
        wanted = ", ".join(sorted(urls[url].filename or url for url in lacking))
        raise ValueError(
            f"{name} cannot be downloaded, there is no network or no answer from {lacking[0]}; put {wanted} into a folder "
            f"and run `genzoo prepare {name} --from FOLDER`."
        ) from error
