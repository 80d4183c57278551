"""Images in HDF5, parquet, tars of WebDataset, data sets of Hugging Face, and TFRecord files that TFDS reads."""

import io
import json
import sys
import tarfile
import types

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import keras_genzoo as gz
from keras_genzoo.data import archives, mapped, tables

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (30, 6, 5, 3), np.uint8)
LABELS = np.arange(30) % 3
NAMES = ("ant", "bee", "cat")


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(np.squeeze(pixels)).save(content, "PNG")
    return content.getvalue()


def collect(*args, **kwargs):
    return gz.data.as_array(gz.data.load(*args, **{"shuffle": False, **kwargs}))


# Sources of the same 30 images, of which some files hold the last six as test images


def hdf5(folder, tested):
    with h5py.File(folder / "images.h5", "w") as file:
        parts = {"train": slice(0, 24), "test": slice(24, 30)} if tested else {"": slice(None)}
        for split, rows in parts.items():
            names = [f"{split}_{name}" if split else name for name in ("images", "labels")]
            file.create_dataset(names[0], data=IMAGES[rows], chunks=(4, 6, 5, 3), compression="gzip")
            file[names[1]] = LABELS[rows]
    return folder / "images.h5"


def parquet(folder, tested, bare=False):
    """As Hugging Face writes it, or with the bytes alone."""
    about = {"image": {"_type": "Image"}, "label": {"names": list(NAMES), "_type": "ClassLabel"}, "text": {"_type": "Value"}}
    metadata = None if bare else {b"huggingface": json.dumps({"info": {"features": about}}).encode()}
    parts = {"train-00000-of-00002": range(10), "train-00001-of-00002": range(10, 24), "test": range(24, 30)}
    parts = parts if tested else {"images": range(30)}
    (folder / "data").mkdir()
    for name, rows in parts.items():
        cells = [png(IMAGES[row]) for row in rows]
        cells = cells if bare else [{"bytes": cell, "path": None} for cell in cells]
        table = pa.table({"text": ["some"] * len(cells), "image": cells, "label": LABELS[list(rows)]})
        pq.write_table(table.replace_schema_metadata(metadata), folder / "data" / f"{name}.parquet", row_group_size=7)
    return folder if tested else folder / "data" / "images.parquet"


def tar(folder, tested):
    parts = {"train-0": range(10), "train-1": range(10, 24), "test-0": range(24, 30)} if tested else {"images": range(30)}
    for name, rows in parts.items():
        with tarfile.open(folder / f"{name}.tar", "w") as file:
            for row in rows:
                sample = {"json": b"{}", "png": png(IMAGES[row]), "cls": str(LABELS[row]).encode(), "mask.png": png(IMAGES[0])}
                for ending, content in sample.items():
                    about = tarfile.TarInfo(f"some/{row:04}.{ending}")
                    about.size = len(content)
                    file.addfile(about, io.BytesIO(content))
    return folder if tested else folder / "images.tar"


def hugging_face(folder, tested):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES)), "text": datasets.Value("string")}
    )

    def part(rows):
        columns = {"image": [{"bytes": png(IMAGES[row]), "path": None} for row in rows], "text": ["some"] * len(rows)}
        return datasets.Dataset.from_dict({**columns, "label": LABELS[list(rows)].tolist()}, features=features)

    return datasets.DatasetDict({"train": part(range(24)), "test": part(range(24, 30))}) if tested else part(range(30))


def saved(folder, tested):
    hugging_face(folder, tested).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def tfrecord(folder, tested):
    """TFRecord files of somebody else, described for TFDS."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    for split, rows in ({"train": range(24), "test": range(24, 30)} if tested else {"train": range(30)}).items():
        with tf.io.TFRecordWriter(str(folder / f"own-{split}.tfrecord-00000-of-00001")) as writer:
            for row in rows:
                feature = {
                    "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[png(IMAGES[row])])),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(LABELS[row])])),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    features = {"image": tfds.features.Image(shape=(6, 5, 3)), "label": tfds.features.ClassLabel(names=list(NAMES))}
    tfds.folder_dataset.write_metadata(data_dir=str(folder), features=tfds.features.FeaturesDict(features))
    return folder


SOURCES = {
    "HDF5": hdf5,
    "parquet": parquet,
    "parquet of bytes": lambda folder, tested: parquet(folder, tested, bare=True),
    "WebDataset": tar,
    "Hugging Face": hugging_face,
    "Hugging Face on disk": saved,
    "TFRecord": tfrecord,
}
NAMED = ("parquet", "Hugging Face", "Hugging Face on disk", "TFRecord")  # those that know names of classes


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "source").mkdir()


@pytest.mark.filterwarnings("ignore:The .* split of")  # of two images
@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_gives_its_images_and_labels_in_their_order_and_its_own_test_images(kind, tmp_path):
    source = SOURCES[kind](tmp_path / "source", tested=True)
    images, labels = collect(source, "test", labels=True, batch_size=4)
    np.testing.assert_array_equal(images, IMAGES[24:])
    np.testing.assert_array_equal(labels, LABELS[24:])
    assert labels.dtype == np.int64
    info = gz.data.info(source)
    assert info.image_shape == (6, 5, 3) and info.counts == {"train": 24 - 2, "validation": 2, "test": 6}
    assert info.class_names == (NAMES if kind in NAMED else None) and gz.data.labelled(source)
    found, of_found = zip(*(collect(source, split, labels=True) for split in ("train", "validation")), strict=True)
    pairs = {image.tobytes(): label for image, label in zip(IMAGES[:24], LABELS[:24], strict=True)}
    assert [pairs.pop(image.tobytes()) for image in np.concatenate(found)] == np.concatenate(of_found).tolist() and not pairs


@pytest.mark.filterwarnings("ignore:The .* split of")  # of three images
@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_is_the_same_in_memory_in_the_file_and_streamed(kind, tmp_path):
    source = SOURCES[kind](tmp_path / "source", tested=False)
    settings = {"image_size": (4, 3), "channels": 1, "labels": True, "batch_size": 4}
    memory, file = (gz.data.load(source, cache=cache, seed=2, **settings) for cache in (True, "file"))
    for _ in range(2):
        for one, other in zip(gz.data.as_array(memory), gz.data.as_array(file), strict=True):
            np.testing.assert_array_equal(one, other)
    assert len([path for path in mapped.home().glob("*-train-*") if path.is_dir()]) == 1
    whole, streamed = (collect(source, "validation", **settings, cache=cache) for cache in (True, False))
    for one, other in zip(whole, streamed, strict=True):
        np.testing.assert_array_equal(one, other)
    shuffled = gz.data.as_array(gz.data.load(source, cache=False, **{**settings, "batch_size": 24}))
    assert sorted(shuffled[1]) == sorted(gz.data.as_array(gz.data.load(source, **{**settings, "batch_size": 24}))[1])


def test_files_are_named_one_by_one_by_a_pattern_or_by_their_folder(tmp_path):
    folder = tar(tmp_path / "source", tested=True)
    whole = collect(folder)
    pattern = str(folder / "train-{0..1}.tar")
    assert len(collect(pattern, "all")) == len(collect(str(folder / "train-*.tar"), "all")) == 24
    assert len(collect(folder / "test-0.tar", "all")) == 6  # alone, whatever its name
    assert len(whole) == 22 and gz.data.loading.absolute(pattern) == pattern
    with pytest.raises(ValueError, match=r"There is no file .*train-2\.tar, one of the 3 of "):
        gz.data.load(str(folder / "train-{0..2}.tar"))


def test_a_folder_of_images_stays_one_though_a_table_lies_beside_them(tmp_path):
    folder = tmp_path / "source"
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png(IMAGES[number]))
    pq.write_table(pa.table({"image": [png(IMAGES[9])]}), folder / "other.parquet")
    with pytest.warns(UserWarning, match=r"left out: files of other kinds \(.parquet\) 1"):
        assert len(collect(folder, "all")) == 3


def test_a_folder_that_was_unpacked_beside_its_tar_is_the_images(tmp_path):
    folder = tar(tmp_path / "source", tested=False).parent
    (folder / "pictures").mkdir()
    (folder / "pictures" / "0.png").write_bytes(png(IMAGES[0]))
    with pytest.warns(UserWarning, match="left out"):
        assert len(collect(folder, "all")) == 1


def test_a_changed_file_is_read_anew(tmp_path):
    path = parquet(tmp_path / "source", tested=False)
    before = collect(path, "all", cache="file")
    cells = [{"bytes": png(255 - image), "path": None} for image in IMAGES]
    pq.write_table(pa.table({"image": cells, "label": LABELS}), path)
    np.testing.assert_array_equal(collect(path, "all", cache="file"), 255 - before)


def test_the_index_of_a_tar_is_made_once(tmp_path):
    path = tar(tmp_path / "source", tested=False)
    archives._samples.cache_clear()
    for split in ("train", "validation", "test"):
        gz.data.load(path, split, labels=True)
    assert archives._samples.cache_info().misses == 1


def test_names_of_the_hub_are_handed_to_the_library(monkeypatch):
    asked = []

    def load_dataset(*given, **more):
        asked.append((given, more))
        raise FileNotFoundError("Couldn't reach the Hub")

    fake = types.SimpleNamespace(load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    with pytest.raises(ValueError, match=r"hf://user/birds@v2 cannot be had: Couldn't reach the Hub"):
        gz.data.load("hf://user/birds@v2")
    with pytest.raises(ValueError, match="cannot be had"):
        gz.data.load("hf://user/birds/small")
    assert asked == [(("user/birds",), {"revision": "v2"}), (("user/birds", "small"), {"revision": None})]
    with pytest.raises(ValueError, match=r"hf://birds is no address of a data set, expected hf://user/name"):
        gz.data.load("hf://birds")


def test_without_the_library_one_sentence_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        ImportError, match=r"the package datasets is needed; `pip install 'keras_genzoo\[datasets\]'` installs it"
    ):
        gz.data.load("hf://user/birds")


def gray(folder):
    cells = [png(IMAGES[0][..., 0]), png(IMAGES[1])]
    pq.write_table(pa.table({"image": cells * 5}), folder / "gray.parquet")
    return folder / "gray.parquet"


def sizes(folder):
    pq.write_table(pa.table({"image": [png(IMAGES[0]), png(IMAGES[1][:4])] * 5}), folder / "sizes.parquet")
    return folder / "sizes.parquet"


def two_columns(folder):
    pq.write_table(pa.table({"before": [png(IMAGES[0])], "after": [png(IMAGES[1])]}), folder / "two.parquet")
    return folder / "two.parquet"


def text(path, content=b"no table"):
    path.write_bytes(content)
    return path


def no_label(folder):
    tar(folder, tested=False)
    with tarfile.open(folder / "images.tar", "a") as file:
        about = tarfile.TarInfo("some/last.png")
        about.size = len(content := png(IMAGES[0]))
        file.addfile(about, io.BytesIO(content))
    return folder / "images.tar"


def wrong_class(folder):
    with tarfile.open(folder / "wrong.tar", "w") as file:
        about = tarfile.TarInfo("a.cls")
        about.size = 3
        file.addfile(about, io.BytesIO(b"cat"))
    return folder / "wrong.tar"


def cut_off(folder):
    tar(folder, tested=False)
    content = (folder / "images.tar").read_bytes()
    second = 512 + 512 * -(-int(content[124:135], 8) // 512)  # where the header of the second file begins
    return text(folder / "cut.tar", content[: second + 100])


BAD = {
    "gray, then colour": (gray, {}, ["row 1 of", "has colours and row 0 of", "is gray", "channels="]),
    "two sizes": (sizes, {}, ["row 1 of", "4 x 5", "6 x 5", "image_size="]),
    "two columns of images": (two_columns, {}, ["before, after", "called 'image'"]),
    "no parquet": (lambda folder: text(folder / "a.parquet"), {}, ["a.parquet cannot be read as parquet", "write it again"]),
    "no tar": (lambda folder: text(folder / "a.tar"), {}, ["a.tar cannot be read as a tar", "pack it again"]),
    "tar that was cut off": (cut_off, {}, ["cut.tar cannot be read as a tar", "truncated header"]),
    "no HDF5": (lambda folder: text(folder / "a.h5"), {}, ["a.h5 cannot be read as HDF5"]),
    "class that is no number": (wrong_class, {}, ["cannot be read as a tar of images and class numbers", "'cat'"]),
    "sample without label": (no_label, {"labels": True}, ["no labels", ".cls file to each sample"]),
    "TFRecord without features": (
        lambda folder: text(folder / "own-train.tfrecord-00000-of-00001").parent,
        {},
        ["no features.json", "tfds.folder_dataset.write_metadata"],
    ),
    "missing tar": (lambda folder: str(folder / "a.tar"), {}, ["no folder or file", "a.tar"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_gets_one_sentence(case, tmp_path):
    source, settings, words = BAD[case]
    with pytest.raises(ValueError) as error:
        gz.data.load(source(tmp_path / "source"), "all", **settings)
    message = str(error.value)
    assert "\n" not in message and message.endswith(".") and len(message) < 500, message
    for word in words:
        assert word in message, message


def test_streams_of_hugging_face_are_refused():
    datasets = pytest.importorskip("datasets")
    stream = datasets.IterableDataset.from_generator(lambda: iter([{"image": 0}]))
    with pytest.raises(ValueError, match="your data set is a stream, expected one that is loaded: leave streaming=True out"):
        gz.data.load(stream)
    with pytest.raises(ValueError, match="holds the columns text, expected one of images: the feature Image"):
        gz.data.load(datasets.Dataset.from_dict({"text": ["some"]}))


def test_what_is_no_table_is_asked_no_library():
    assert not tables.is_datasets(IMAGES) and not tables.is_pattern("photos/a.png") and not tables.is_hub("mnist")
    assert not tables.is_datasets({"train": IMAGES})
