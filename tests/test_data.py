"""Images in: every kind of source, the splits, the order, and one sentence for whatever does not fit."""

import functools
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_genzoo as gz
from keras_genzoo.data import arrays

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (30, 6, 5, 3), np.uint8)
LABELS = np.arange(30) % 3


def write_image(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path)
    return path


def collect(*args, **kwargs):
    return gz.data.as_array(gz.data.load(*args, **{"shuffle": False, **kwargs}))


def same_sets(*parts):
    """The images of the parts as one sorted list of bytes."""
    return sorted(image.tobytes() for part in parts for image in part)


# The data sets inside the package

SHA256 = {
    "fashion_mnist_mini": "d58a45d1ff99d77a9a70422c133fc6a4db1d246620a06893afc1ab749120de11",
    "emoji32": "8431c96428612fcf6f2d8df4629cedfdd4111f34642c8fe7355393903ddebdbb",
}


def test_every_shipped_file_is_the_one_its_script_wrote_and_has_its_licence_beside_it():
    assert set(SHA256) == set(gz.data.names())
    for name, expected in SHA256.items():
        assert hashlib.sha256((arrays.SHIPPED / f"{name}.npz").read_bytes()).hexdigest() == expected
        assert "licen" in (arrays.SHIPPED / f"{name}.LICENSE.txt").read_text().lower()


@pytest.mark.parametrize(("split", "each"), [("train", 1000), ("validation", 200), ("test", 200)])
def test_fashion_mnist_mini_is_balanced(split, each):
    images, labels = collect(split=split, labels=True)
    assert images.shape == (10 * each, 28, 28, 1) and images.dtype == np.uint8 and labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [each] * 10


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_mini_begins_with_the_first_images_of_each_class_of_the_original():
    import gzip

    original = np.frombuffer(gzip.open(DEBIAN / "train-images-idx3-ubyte.gz").read(784 * 500 + 16), np.uint8, offset=16)
    # Of the first 500, every class has far fewer than 1,000: all of them are in the training split, in order.
    np.testing.assert_array_equal(collect()[:500, ..., 0], original.reshape(-1, 28, 28))


def test_emoji32_counts_every_emoji_and_skin_tone_once():
    counts = gz.data.info("emoji32").counts
    assert sum(counts.values()) == 3786  # the number of images of emoji-datasource-google 16.0.0
    assert 0.09 < counts["validation"] / 3786 < 0.11 and 0.09 < counts["test"] / 3786 < 0.11


def test_no_emoji_and_no_picture_is_in_two_splits_of_emoji32():
    with np.load(arrays.SHIPPED / "emoji32.npz") as stored:
        for what in ("emoji", "images"):
            sides = [{entry.tobytes() for entry in stored[f"{split}_{what}"]} for split in ("train", "validation", "test")]
            if what == "emoji":
                sides = [set(stored[f"{split}_emoji"].tolist()) for split in ("train", "validation", "test")]
            assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_every_category_of_emoji32_is_in_every_split():
    for split in ("train", "validation", "test"):
        assert np.unique(collect("emoji32", split, labels=True)[1]).tolist() == list(range(10))


def test_info_tells_shape_counts_classes_and_licence():
    info = gz.data.info("fashion_mnist_mini")
    assert info.image_shape == (28, 28, 1)
    assert info.counts == {"train": 10000, "validation": 2000, "test": 2000}
    assert info.class_names[9] == "Ankle boot" and "MIT" in info.licence


# Order and batches


@pytest.mark.parametrize("cache", [True, False])
def test_the_same_seed_gives_the_same_epochs_and_every_epoch_has_another_order(cache):
    source = tf.data.Dataset.from_tensor_slices(IMAGES)
    first, second = (gz.data.load(source, seed=3, batch_size=8, cache=cache) for _ in range(2))
    epochs = [gz.data.as_array(first) for _ in range(2)]
    np.testing.assert_array_equal(epochs, [gz.data.as_array(second) for _ in range(2)])
    assert (epochs[0] != epochs[1]).any()
    assert (gz.data.as_array(gz.data.load(source, seed=4, batch_size=8, cache=cache)) != epochs[0]).any()


def test_images_keep_their_labels_when_shuffled():
    images, labels = collect((IMAGES, LABELS), labels=True, shuffle=True, batch_size=7, drop_remainder=False)
    pairs = {image.tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}
    assert [pairs[image.tobytes()] for image in images] == labels.tolist() and len(images) == 30


def test_training_batches_are_full_and_evaluation_sees_every_image_in_order():
    assert [len(batch) for batch in gz.data.load(IMAGES, batch_size=8)] == [8, 8, 8]
    assert [len(batch) for batch in gz.data.load(IMAGES, "test", batch_size=8)] == [8, 8, 8, 6]
    np.testing.assert_array_equal(gz.data.as_array(gz.data.load(IMAGES, "test", batch_size=8)), IMAGES)
    assert gz.data.load(IMAGES, batch_size=8).element_spec.shape == (8, 6, 5, 3)


@pytest.mark.parametrize("source", [IMAGES, tf.data.Dataset.from_tensor_slices(IMAGES)], ids=["array", "pipeline"])
def test_fewer_images_than_a_batch_are_one_batch(source):
    assert [len(batch) for batch in gz.data.load(source, batch_size=128)] == [30]


def test_tensorflow_tunes_pipelines_that_read_files_alone():
    streamed, cached = (gz.data.load(tf.data.Dataset.from_tensor_slices(IMAGES), cache=cache) for cache in (False, True))
    assert [batches.options().autotune.enabled for batches in (streamed, cached)] == [None, False]


def test_as_array_gives_at_most_n_images():
    data = gz.data.load((IMAGES, LABELS), "test", batch_size=8, labels=True)
    images, labels = gz.data.as_array(data, n=10)
    np.testing.assert_array_equal(images, IMAGES[:10])
    np.testing.assert_array_equal(labels, LABELS[:10])
    assert len(gz.data.as_array(data, n=1000)[0]) == 30


# Arrays and files of arrays


def test_floats_become_the_nearest_level():
    np.testing.assert_array_equal(collect(IMAGES / np.float32(255)), IMAGES)
    assert collect(np.full((1, 2, 2, 1), 0.5)).max() == 128  # 127.5, to even


def test_gray_arrays_get_a_channel_axis():
    np.testing.assert_array_equal(collect(IMAGES[..., 0]), IMAGES[..., :1])


def test_an_array_is_one_split_as_given():
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(collect(IMAGES, split), IMAGES)


@pytest.mark.parametrize("cache", [True, False])
def test_further_images_come_with_each_and_every_image_comes_once(cache):
    images = np.arange(40, dtype="uint8")[:, None, None, None] * np.ones((1, 4, 4, 1), "uint8")
    source = (images, np.arange(40)) if cache else tf.data.Dataset.from_tensor_slices((images, np.arange(40)))
    settings = dict(batch_size=4, labels=True, further=2, cache=cache)
    seen = []
    for first, extras in gz.data.load(source, **settings):
        assert first.shape == (4, 4, 4, 1) and extras["further"].shape == (4, 2, 4, 4, 1)
        together = np.concatenate([first[:, None], extras["further"]], axis=1)[:, :, 0, 0, 0]
        np.testing.assert_array_equal(together[:, 0], extras["labels"])
        np.testing.assert_array_equal(together[:, 1:], extras["further_labels"])
        seen.extend(together.ravel())
    assert len(seen) == len(set(seen)) == 36  # full batches of the 13 rows of three
    validation = gz.data.load(source, "validation", **settings)
    assert sum(len(first) for first, _ in validation) == 40  # the split "train" alone has them
    with pytest.raises(ValueError, match="neighbours is 1 and further is 2"):
        gz.data.load(images, neighbours=1, further=2)


# Images that have an edge left or right: level 10 n at the left, and 10 n + 1 at the right.
EDGED = (10 * np.arange(24)[:, None, None, None] + np.arange(2)[None, None, :, None]).repeat(3, 1).astype("uint8")


def edged_folder(folder):
    for number, image in enumerate(EDGED):
        write_image(folder / "train" / f"{number:02}.png", image[..., 0])
        write_image(folder / "test" / f"{number:02}.png", image[..., 0])
    return folder


FLIPPED = {
    "array": (lambda _: (EDGED, np.arange(24)), {"labels": True}),
    "pipeline": (lambda _: tf.data.Dataset.from_tensor_slices((EDGED, np.arange(24))), {"labels": True}),
    "unshuffled pipeline": (lambda _: tf.data.Dataset.from_tensor_slices(EDGED), {"shuffle": False}),
    "folder": (edged_folder, {}),
    "folder of files": (edged_folder, {"cache": False}),
}


@pytest.mark.parametrize("kind", FLIPPED)
def test_training_images_are_mirrored_at_random_by_the_seed_and_the_epoch(kind, tmp_path):
    source, arguments = FLIPPED[kind][0](tmp_path), {"batch_size": 5, "drop_remainder": False, **FLIPPED[kind][1]}

    def epochs(count=6, **others):
        data = gz.data.load(source, **arguments, **others)
        found = [gz.data.as_array(data) for _ in range(count)]
        return np.array([each[0] if isinstance(each, tuple) else each for each in found]), found

    plain, flipped, again = epochs(), epochs(flip=True), epochs(flip=True)
    np.testing.assert_array_equal(flipped[0], again[0])
    mirrored = flipped[0][:, :, 0, 0, 0] % 10 == 1
    expected = np.where(mirrored[..., None, None, None], plain[0][:, :, :, ::-1], plain[0])
    np.testing.assert_array_equal(flipped[0], expected)  # in the order of those that are not
    assert 0.4 < mirrored.mean() < 0.6 and len(np.unique(mirrored, axis=0)) == 6
    assert (epochs(flip=True, seed=1)[0] != flipped[0]).any()
    if arguments.get("labels"):
        assert all((images[:, 0, :, 0].min(1) // 10 == labels).all() for images, labels in flipped[1])
    for split in ("validation", "test"):
        held = gz.data.load(source, split, flip=True, **arguments)
        np.testing.assert_array_equal(*(gz.data.as_array(each)[0] for each in (held, gz.data.load(source, split, **arguments))))


def test_further_images_are_mirrored_each_for_itself_and_neighbours_with_their_image():
    first, extras = next(iter(gz.data.load((EDGED, np.arange(24)), batch_size=8, labels=True, further=2, flip=True)))
    together = np.concatenate([first[:, None], extras["further"]], axis=1)[:, :, 0, :, 0]
    assert len(np.unique(together[:, :, 0] % 10, axis=0)) > 2  # not all alike, nor all of a row
    np.testing.assert_array_equal(together.min(2)[:, 1:] // 10, extras["further_labels"])
    first, extras = next(iter(gz.data.load(EDGED, batch_size=24, neighbours=2, flip=True)))
    mirrored = first[:, 0, 0, 0] % 10 == 1
    assert 4 < np.sum(mirrored) < 20
    np.testing.assert_array_equal(extras["neighbours"][:, :, 0, 0, 0] % 10 == 1, np.repeat(mirrored[:, None], 2, axis=1))


@pytest.mark.parametrize("kind", ["array", "folder of files"])
def test_a_training_that_goes_on_sees_the_mirrored_images_that_it_would_have_seen(kind, tmp_path):
    source = FLIPPED[kind][0](tmp_path)
    data = gz.data.load(source[0] if kind == "array" else source, batch_size=5, flip=True, cache=False)
    whole = seen_in_training(data, epochs=3)
    parts = seen_in_training(data, epochs=1, file=tmp_path / "model.keras")
    parts += seen_in_training(data, epochs=2, file=tmp_path / "model.keras")
    np.testing.assert_array_equal(whole, parts)
    assert any((one != other).any() for one, other in zip(whole[:4], whole[4:], strict=False))


class Seeing(gz.models.Autoencoder):
    def train_step(self, data):
        self.seen.append(np.asarray(data))
        return super().train_step(data)


def seen_in_training(data, epochs, file=None):
    """The batches that a model trains on, which is read from a file, if that is there, and written to it."""
    networks = gz.networks.mlp((3, 2, 1), 2, width=2, depth=1), gz.networks.mlp(2, (3, 2, 1), width=2, depth=1)
    model = Seeing(*networks)
    model.seen = []
    model.compile(run_eagerly=True)
    if file and file.exists():
        model.load_weights(file)
    model.fit(data, epochs=epochs, verbose=0)
    if file:
        model.save(file)
    return list(model.seen)


def test_neighbours_come_with_the_image_and_the_label_that_they_are_of():
    images = np.arange(0, 200, 5, dtype="uint8")[:, None, None, None] * np.ones((1, 4, 4, 1), "uint8")
    for first, extras in gz.data.load((images, np.arange(40)), batch_size=8, labels=True, neighbours=2):
        own, near = first[:, 0, 0, 0].numpy().astype(int), extras["neighbours"][..., 0, 0, 0].numpy().astype(int)
        np.testing.assert_array_equal(own, 5 * extras["labels"])
        distances = np.sort(abs(near - own[:, None]), axis=1)
        assert (distances == np.where(((own == 0) | (own == 195))[:, None], [5, 10], 5)).all()
        np.testing.assert_allclose(tf.reduce_sum(extras["neighbour_weights"], axis=1), 1, rtol=1e-5)


def test_batches_know_the_name_and_the_number_of_their_images():
    shipped, own = gz.data.load("emoji32", "test", batch_size=50), gz.data.load(IMAGES, batch_size=8)
    assert shipped.data_name == "emoji32" and shipped.images_count == gz.data.info("emoji32").counts["test"]
    assert own.data_name is None and own.images_count == 30
    assert gz.data.load(tf.data.Dataset.from_tensor_slices(IMAGES)).images_count is None


def test_labels_may_be_a_column():
    np.testing.assert_array_equal(collect((IMAGES, LABELS[:, None]), labels=True)[1], LABELS)


def test_a_dict_gives_its_splits_and_a_missing_one_is_cut_from_training():
    source = {"train": IMAGES[:20], "test": IMAGES[20:]}
    train, validation, test = (collect(source, split) for split in ("train", "validation", "test"))
    np.testing.assert_array_equal(test, IMAGES[20:])
    assert len(validation) == 2 and same_sets(train, validation) == same_sets(IMAGES[:20])


def test_a_file_of_one_array_is_cut_in_three_the_same_way_every_time(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    parts = [collect(tmp_path / "images.npy", split, seed=seed) for seed, split in enumerate(("train", "validation", "test"))]
    assert [len(part) for part in parts] == [24, 3, 3]
    assert same_sets(*parts) == same_sets(IMAGES)
    np.testing.assert_array_equal(parts[2], collect(str(tmp_path / "images.npy"), "test", seed=9))


@pytest.mark.parametrize(
    "names", [("train_images", "train_labels", "test_images"), ("x_train", "y_train", "x_test")], ids=["ours", "keras"]
)
def test_archives_may_hold_splits_and_labels(tmp_path, names):
    np.savez(tmp_path / "data.npz", **dict(zip(names, (IMAGES, LABELS, IMAGES[:4]), strict=True)))
    images, labels = collect(tmp_path / "data.npz", "validation", labels=True)
    assert images.shape == (3, 6, 5, 3) and labels.shape == (3,)
    np.testing.assert_array_equal(collect(tmp_path / "data.npz", "test"), IMAGES[:4])


def test_archives_may_hold_one_set_of_images_and_labels(tmp_path):
    np.savez(tmp_path / "data.npz", images=IMAGES, labels=LABELS)
    assert gz.data.info(tmp_path / "data.npz").counts == {"train": 24, "validation": 3, "test": 3}
    assert collect(tmp_path / "data.npz", labels=True)[1].shape == (24,)


@pytest.mark.filterwarnings("ignore:The .* split of")  # of classes of an image or two
@pytest.mark.parametrize("given", [(), ("test",), ("validation",)], ids=["none", "test", "validation"])
@pytest.mark.parametrize("in_file", [True, False])
def test_splits_that_are_cut_are_apart_and_hold_every_image_with_its_label(given, in_file, tmp_path):
    """Every image is of one level, which names it and tells its label."""
    levels = np.arange(40, dtype="uint8")  # sorted, as files by class are
    own = {"train": levels, **{split: levels[:5] + 100 for split in given}}
    images = {split: each[:, None, None, None] * np.ones((1, 3, 2, 1), "uint8") for split, each in own.items()}
    labels = {split: each.astype(int) * 7 % 31 for split, each in own.items()}
    source = {split: (images[split], labels[split]) for split in own}
    if in_file:
        arrays_ = {f"{split}_images": images[split] for split in own} | {f"{split}_labels": labels[split] for split in own}
        np.savez(tmp_path / "cut.npz", **arrays_)
        source = tmp_path / "cut.npz"
    seen = {}
    for split in ("train", "validation", "test"):
        found, classes = collect(source, split, labels=True, batch_size=3)
        seen[split] = found[:, 0, 0, 0].tolist()
        assert classes.tolist() == [level * 7 % 31 for level in seen[split]]
        np.testing.assert_array_equal(collect(source, split), found)
    cut = [split for split in seen if split not in given]
    assert [len(seen[split]) for split in cut] == [40 - 4 * (len(cut) - 1), *[4] * (len(cut) - 1)]
    assert sorted(level for split in cut for level in seen[split]) == levels.tolist()
    assert all(max(seen[split]) - min(seen[split]) > 10 for split in cut)  # from everywhere, not a piece of the sorted ones
    assert all(seen[split] == own[split].tolist() for split in given)


def test_many_images_are_converted_in_pieces_in_their_order():
    levels = (np.arange(2100) % 251).astype("float32")[:, None, None, None] / 255
    np.testing.assert_array_equal(collect(levels, image_size=2)[:, 0, 0, 0], np.arange(2100) % 251)


def test_resizing_is_antialiased_and_keeps_the_aspect_ratio():
    board = np.indices((64, 64)).sum(0)[None, ..., None].astype(np.uint8) % 2 * 255
    resized = collect(board, image_size=16)  # without antialiasing it would stay black and white
    assert resized.shape == (1, 16, 16, 1) and abs(resized.astype(int) - 127).max() < 24
    wide = np.zeros((1, 8, 24, 1), np.uint8)
    wide[:, :, 8:16] = 200  # the middle third is what a square shows
    np.testing.assert_array_equal(collect(wide, image_size=4), np.full((1, 4, 4, 1), 200))
    assert collect(IMAGES, image_size=(3, 7)).shape == (30, 3, 7, 3)


def test_channels_convert_both_ways():
    np.testing.assert_array_equal(collect(IMAGES[..., :1], channels=3), IMAGES[..., :1].repeat(3, -1))
    luminance = IMAGES @ [0.299, 0.587, 0.114]  # ITU-R 601
    assert abs(collect(IMAGES, channels=1)[..., 0] - luminance).max() < 1.1
    assert collect(IMAGES, channels=1).dtype == np.uint8


# Folders


def test_a_flat_folder_is_cut_in_three_by_the_names_of_its_files(tmp_path):
    for index, image in enumerate(IMAGES):
        write_image(tmp_path / "first" / f"{index:02}.png", image)
    parts = [collect(tmp_path / "first", split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [24, 3, 3]
    assert same_sets(*parts) == same_sets(IMAGES)
    (tmp_path / "first").rename(tmp_path / "second")  # wherever the folder lies
    np.testing.assert_array_equal(collect(str(tmp_path / "second"), "test", seed=5), parts[2])


def test_subfolders_are_classes_with_and_without_splits(tmp_path):
    for index, image in enumerate(IMAGES):
        write_image(tmp_path / "classes" / "abc"[LABELS[index]] / f"{index}.png", image)
        write_image(tmp_path / "splits" / ("train" if index < 27 else "test") / "abc"[LABELS[index]] / f"{index}.png", image)
    assert gz.data.info(tmp_path / "classes").class_names == ("a", "b", "c")
    expected = {image.tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}
    for folder in ("classes", "splits"):
        for split in ("train", "validation", "test"):
            images, labels = collect(tmp_path / folder, split, labels=True)
            assert [expected[image.tobytes()] for image in images] == labels.tolist()
    assert same_sets(collect(tmp_path / "splits", "test")) == same_sets(IMAGES[27:])
    assert gz.data.info(tmp_path / "splits").counts == {"train": 24, "validation": 3, "test": 3}


@pytest.mark.parametrize("name", ["validation", "val", "valid"])
def test_a_folder_of_validation_images_has_several_names(name, tmp_path):
    for index, part in enumerate(("train", name, "test")):
        for image in IMAGES[10 * index : 10 * index + 2]:
            write_image(tmp_path / part / f"{image.sum()}.png", image)
    for index, split in enumerate(("train", "validation", "test")):
        assert same_sets(collect(tmp_path, split)) == same_sets(IMAGES[10 * index : 10 * index + 2])


def tree(top, **counts):
    """A folder of images of one level each, from 0 on, so many in each subfolder."""
    level = 0
    for name, count in counts.items():
        (top / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            write_image(top / name / f"{number:03}.png", np.full((4, 4), level, np.uint8))
            level += 1
    return top


def levels(*args, **kwargs):
    return sorted(collect(*args, **kwargs)[:, 0, 0, 0].tolist())


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("test", ["test", "Test", "testing"])
@pytest.mark.parametrize("beside", ["annotations", "test/empty", "train/a"])
def test_splits_have_usual_names_in_any_case_and_folders_without_images_do_not_count(train, test, beside, tmp_path):
    tree(tmp_path, **{train: 10, test: 3, beside: 0})
    (tmp_path / beside / "boxes.xml").write_text("no image")
    with pytest.warns(UserWarning, match=r"holds 13 images; left out: files of other kinds \(.xml\) 1."):
        assert gz.data.info(tmp_path).counts == {"train": 9, "validation": 1, "test": 3}
        assert gz.data.info(tmp_path).class_names is None
        assert levels(tmp_path, "test") == [10, 11, 12]


def test_a_class_called_train_is_no_split(tmp_path):
    tree(tmp_path, train=1, bus=1)
    assert gz.data.info(tmp_path).class_names == ("bus", "train")


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ({"train": 2, "test": 1, "extra": 1, "more": 1}, ["extra, more beside them", "move the others away"]),
        ({"train": 2, "Train": 1, "val": 1}, ["Train and train", "one folder of train images"]),
        ({"train": 2, "val": 1, "valid": 1}, ["val and valid", "one folder of validation images"]),
        ({"cats/train": 2, "cats/test": 1, "dogs/train": 2, "dogs/test": 1}, ["cats holds the splits test, train"]),
        ({"photos/train": 2, "photos/val": 1}, ["photos holds the splits train, val", "directly in"]),
    ],
)
def test_splits_that_are_not_clear_are_refused_unless_all_subfolders_are_classes(folders, words, tmp_path):
    tree(tmp_path, **folders)
    with pytest.raises(ValueError) as error:
        gz.data.load(tmp_path)
    for word in [*words, "splits=False", "--no-splits"]:
        assert word in str(error.value)
    assert gz.data.info(tmp_path, splits=False).class_names == tuple(sorted({name.split("/")[0] for name in folders}))
    assert len(collect(tmp_path, splits=False, batch_size=1)) + 2 == sum(folders.values())


def test_splits_that_are_cut_of_classes_hold_a_tenth_of_each(tmp_path):
    counts = {"a": 100, "b": 20, "c": 10, **{f"few{number:02}": 1 for number in range(30)}}
    names = [name for name, count in counts.items() for _ in range(count)]
    numbers = np.unique(names, return_inverse=True)[1]
    images = np.arange(len(names), dtype="uint8")[:, None, None, None] * np.ones((1, 4, 4, 1), "uint8")
    tree(tmp_path / "folder", **counts)
    np.savez(tmp_path / "file.npz", images=images, labels=numbers)
    for source in (tmp_path / "folder", tmp_path / "file.npz", {"train": (images, numbers)}):
        seen = {}
        for split, expected in {"train": (80, 16, 8, 24), "validation": (10, 2, 1, 3), "test": (10, 2, 1, 3)}.items():
            with pytest.warns(UserWarning, match=f"The {split} split of .* lacks {30 - expected[-1]} of 33 classes: "):
                found, labels = collect(source, split, labels=True, batch_size=1)
            seen[split] = found[:, 0, 0, 0].tolist()
            held = [names[level] for level in seen[split]]
            assert (*(held.count(name) for name in "abc"), sum(name.startswith("few") for name in held)) == expected
            assert labels.tolist() == numbers[seen[split]].tolist()
            with pytest.warns(UserWarning, match="lacks"):
                assert levels(source, split, seed=7, batch_size=1) == sorted(seen[split])
        assert sorted(level for split in seen.values() for level in split) == list(range(len(names)))


def test_a_class_that_a_given_split_lacks_is_told(tmp_path, recwarn):
    tree(tmp_path, **{"train/a": 3, "train/b": 3, "test/b": 3, "val/a": 3, "val/b": 3})
    collect(tmp_path, "validation")
    collect((IMAGES[:2], LABELS[:2]), labels=True)  # of one split nothing is known to lack
    assert not recwarn
    with pytest.warns(UserWarning, match="The test split of .* lacks 1 of 2 classes: a."):
        collect(tmp_path, "test")
    with pytest.warns(UserWarning, match="The test split of your dict lacks 2 of 3 classes: 0, 2."):
        collect({"train": (IMAGES, LABELS), "test": (IMAGES[:1], [1])}, "test")


@pytest.mark.parametrize("ending", ["png", "jpg", "jpeg", "jfif", "JFIF", "bmp", "gif", "tif", "tiff", "webp", "PNG"])
def test_a_folder_may_hold_every_usual_format(tmp_path, ending):
    picture = Image.fromarray(np.full((8, 8, 3), 100, np.uint8))
    picture.save(tmp_path / f"one.{ending}", format={"jfif": "JPEG"}.get(ending.lower()))
    assert abs(collect(tmp_path).astype(int) - 100).max() <= 3


def test_what_a_folder_holds_beside_images_is_counted_in_one_line(tmp_path):
    tree(tmp_path, **{"train": 2, "test": 1, "train/.cache": 3})
    for name in ("notes.txt", "movie.mp4", "train/README", "._one.png"):  # the last is what macOS leaves behind
        (tmp_path / name).write_bytes(b"no image")
    write_image(tmp_path / "preview.png", IMAGES[0])
    (tmp_path / "train" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.warns(UserWarning) as told:
        assert levels(tmp_path) == [0, 1] and levels(tmp_path, "test") == [2]
    lines = {str(each.message) for each in told}
    expected = "files of other kinds (.mp4, .txt, no ending) 3, images beside the splits 1."
    (line,) = lines
    assert line.endswith(expected) and "holds 3 images" in line and "hidden 2" in line and "broken links 1" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_counted(tmp_path):
    tree(tmp_path, a=2, b=1)
    (tmp_path / "b").chmod(0)
    try:
        with pytest.warns(UserWarning, match="folders that cannot be read 1"):
            assert levels(tmp_path) == [0, 1]
    finally:
        (tmp_path / "b").chmod(0o700)


def test_links_to_folders_are_followed_and_no_folder_is_read_twice(tmp_path):
    tree(tmp_path / "elsewhere", **{"x": 3, "x/deep": 2})
    data = tree(tmp_path / "data", b=0)
    (data / "a").symlink_to(tmp_path / "elsewhere" / "x")
    (tmp_path / "elsewhere" / "x" / "deep" / "loop").symlink_to(tmp_path / "elsewhere")  # to what lies above it
    (data / "b" / "itself").symlink_to(data / "b" / "itself")
    write_image(data / "b" / "1.png", np.full((4, 4), 9, np.uint8))
    (data / "again").symlink_to(data / "b")  # before b by name
    with pytest.warns(UserWarning, match="left out: .*links to folders that are read anyway 2"):
        parts = [collect(data, split, labels=True, batch_size=1) for split in ("train", "validation", "test")]
    seen = [(int(image[0, 0, 0]), int(label)) for images, labels in parts for image, label in zip(images, labels, strict=True)]
    assert sorted(seen) == [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (9, 1)]


def test_a_folder_is_gray_if_all_its_images_are(tmp_path):
    write_image(tmp_path / "1.png", IMAGES[0, ..., 0])
    assert collect(tmp_path).shape == (1, 6, 5, 1)
    write_image(tmp_path / "2.png", IMAGES[1])
    assert collect(tmp_path).shape == (2, 6, 5, 3)
    assert collect(tmp_path, channels=1).shape == (2, 6, 5, 1)


def test_transparency_is_put_over_white_sixteen_bits_are_scaled_and_photos_stand_upright(tmp_path):
    write_image(tmp_path / "a" / "1.png", np.zeros((4, 4, 4), np.uint8))
    assert (collect(tmp_path / "a") == 255).all()
    write_image(tmp_path / "b" / "1.png", np.full((4, 4), 257 * 77, np.uint16))
    assert (collect(tmp_path / "b") == 77).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    (tmp_path / "c").mkdir()
    Image.fromarray(IMAGES[0]).save(tmp_path / "c" / "1.png", exif=exif)
    np.testing.assert_array_equal(collect(tmp_path / "c")[0], np.rot90(IMAGES[0], -1))


def test_images_of_many_sizes_become_one_cached_or_not(tmp_path):
    for index in range(12):
        write_image(tmp_path / "ab"[index % 2] / f"{index}.png", np.full((5 + index, 9, 3), index, np.uint8))
    cached, streamed = (collect(tmp_path, image_size=(4, 6), labels=True, cache=cache) for cache in (True, False))
    for one, other in zip(cached, streamed, strict=True):
        np.testing.assert_array_equal(one, other)
    assert cached[0].shape == (10, 4, 6, 3) and (cached[0][:, 0, 0, 0] % 2 == cached[1]).all()


# Pipelines


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("cache", [False, True])
def test_a_pipeline_may_be_batched_or_not(batched, cache):
    source = tf.data.Dataset.from_tensor_slices((IMAGES / np.float32(255), LABELS))
    source = source.batch(7) if batched else source
    images, labels = collect(source, labels=True, batch_size=4, cache=cache)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    assert collect(source, cache=cache, image_size=4, channels=1).shape == (30, 4, 4, 1)
    assert gz.data.info(source).image_shape == (6, 5, 3)


def test_a_pipeline_keeps_its_augmentation_unless_it_is_cached():
    rng = tf.random.Generator.from_seed(0)
    source = tf.data.Dataset.from_tensor_slices(IMAGES).map(
        lambda image: image + tf.cast(rng.uniform((), 0, 9, tf.int32), tf.uint8)
    )
    fresh, frozen = gz.data.load(source, "test"), gz.data.load(source, "test", cache=True)
    assert (gz.data.as_array(fresh) != gz.data.as_array(fresh)).any()
    np.testing.assert_array_equal(gz.data.as_array(frozen), gz.data.as_array(frozen))


def test_a_pipeline_without_end_is_taken_as_it_comes():
    endless = tf.data.Dataset.from_tensor_slices(IMAGES).repeat()
    assert len(gz.data.as_array(gz.data.load(endless, "test", batch_size=8).take(10))) == 80


# TensorFlow Datasets


@pytest.fixture(scope="module")
def tfds_folder(tmp_path_factory):
    """TFDS's own Fashion-MNIST, built from the files of Debian's package: the first 500 images of each split."""
    if not DEBIAN.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patch:  # all 70,000 take a minute
        few = functools.partial(tfds.download.DownloadConfig, max_examples_per_split=500)
        patch.setattr(tfds.download, "DownloadConfig", few)
        gz.data.prepare("fashion_mnist", DEBIAN, data_dir=folder)
    return folder


def test_tfds_fashion_mnist_is_built_from_debians_files(tfds_folder):
    train, validation, test = (
        collect("fashion_mnist", split, labels=True, data_dir=tfds_folder) for split in ("train", "validation", "test")
    )
    assert [len(images) for images, _ in (train, validation, test)] == [450, 50, 500]
    shipped = {image.tobytes(): label for image, label in zip(*collect(labels=True), strict=True)}
    for images, labels in (train, validation):  # the first 500 are in the shipped set as well
        assert [shipped[image.tobytes()] for image in images] == labels.tolist()


def test_tfds_data_are_the_same_cached_or_not_and_shuffled_from_the_seed(tfds_folder):
    load = functools.partial(gz.data.load, "fashion_mnist", data_dir=tfds_folder, batch_size=50)
    np.testing.assert_array_equal(gz.data.as_array(load(split="test")), gz.data.as_array(load(split="test", cache=False)))
    np.testing.assert_array_equal(gz.data.as_array(load(seed=1)), gz.data.as_array(load(seed=1)))
    assert load(image_size=14, channels=3).element_spec.shape == (50, 14, 14, 3)
    info = gz.data.info("fashion_mnist", tfds_folder)
    assert info.class_names[0] == "T-shirt/top" and info.image_shape == (28, 28, 1)


def test_preparing_what_is_prepared_or_shipped_needs_nothing(tfds_folder):
    gz.data.prepare("fashion_mnist", data_dir=tfds_folder)
    gz.data.prepare("emoji32")


@pytest.mark.slow
def test_all_of_tfds_fashion_mnist_is_built_from_debians_files(tfds_folder, tmp_path):
    gz.data.prepare("fashion_mnist", DEBIAN, data_dir=tmp_path)
    assert gz.data.info("fashion_mnist", tmp_path).counts == {"train": 54000, "validation": 6000, "test": 10000}


# What does not fit


def two_sizes(folder):
    write_image(folder / "0.png", IMAGES[0])
    for index in range(1, 12):
        write_image(folder / f"{index}.png", IMAGES[index, :4])
    return folder


def corrupt(folder):
    path = write_image(folder / "broken.png", RANDOM.integers(0, 256, (32, 32, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:-800])
    return folder


def archive(folder, **content):
    np.savez(folder / "data.npz", **content)
    return folder / "data.npz"


def saved(folder, content):
    np.save(folder / "data.npy", content, allow_pickle=True)
    return folder / "data.npy"


def text(path, content=b"no image"):
    path.write_bytes(content)
    return path


def pipeline(*content):
    return tf.data.Dataset.from_tensor_slices(content if len(content) > 1 else content[0])


BAD = {
    # what: (source of a folder, arguments of load, words of the sentence)
    "empty folder": (lambda folder: folder, {}, ["no images", ".png"]),
    "missing folder": (lambda folder: folder / "nowhere", {}, ["no folder or file", "nowhere"]),
    "missing file": (lambda folder: "nowhere.npz", {}, ["no folder or file", "nowhere.npz"]),
    "corrupt image": (corrupt, {}, ["broken.png", "truncated", "repair or remove"]),
    "no image in spite of its name": (lambda folder: text(folder / "a.png") and folder, {}, ["a.png", "cannot be read"]),
    "images of two sizes": (two_sizes, {}, ["1.png has 4 x 5", "0.png has 6 x 5", "image_size="]),
    "one image, asked to be held out": (
        lambda folder: write_image(folder / "a.png", IMAGES[0]).parent,
        {"split": "test"},
        ["no images", "'test'", "'train': 1"],
    ),
    "folder without classes": (
        lambda folder: write_image(folder / "a.png", IMAGES[0]).parent,
        {"labels": True},
        ["no labels", "subfolder"],
    ),
    "file of another kind": (lambda folder: text(folder / "a.txt"), {}, ["a.txt", ".npz"]),
    "corrupt archive": (lambda folder: text(folder / "a.npz"), {}, ["a.npz", "cannot be read"]),
    "truncated archive": (
        lambda folder: text(folder / "a.npz", archive(folder, images=IMAGES).read_bytes()[:-100]),
        {},
        ["a.npz", "cannot be read"],
    ),
    "archive without images": (lambda folder: archive(folder, a=1, b=2), {}, ["a, b", "'train_images'"]),
    "pickled array": (lambda folder: saved(folder, np.array([IMAGES, None], object)), {}, ["data.npy", "without pickles"]),
    "floats 0..255": (lambda _: IMAGES.astype("float32"), {}, ["[0, 1]", "images / 255", "astype('uint8')"]),
    "floats in [-1, 1]": (lambda _: IMAGES / 127.5 - 1, {}, ["[0, 1]", "(images + 1) / 2"]),
    "NaN": (lambda _: np.full((2, 4, 4, 1), np.nan), {}, ["NaN"]),
    "rank 2": (lambda _: np.zeros((4, 4)), {}, ["(4, 4)", "(batch, height, width, channels)"]),
    "rank 5": (lambda _: np.zeros((1, 2, 4, 4, 1)), {}, ["(1, 2, 4, 4, 1)"]),
    "int32": (lambda _: IMAGES.astype("int32"), {}, ["int32", "uint8"]),
    "objects": (lambda _: np.array([IMAGES[0], None], object), {}, ["objects", "np.stack"]),
    "no images": (lambda _: IMAGES[:0], {}, ["no images"]),
    "list": (lambda _: list(IMAGES), {}, ["list", "np.stack"]),
    "triple": (lambda _: (IMAGES, LABELS, LABELS), {}, ["3 elements", "(images, labels)"]),
    "dict of other splits": (lambda _: {"train": IMAGES, "dev": IMAGES}, {}, ["'dev'", "'validation'"]),
    "too few labels": (lambda _: (IMAGES, LABELS[:29]), {"labels": True}, ["30 images", "29 labels"]),
    "one-hot labels": (lambda _: (IMAGES, np.eye(3)[LABELS]), {"labels": True}, ["(30, 3)", "argmax"]),
    "labels between numbers": (lambda _: (IMAGES, LABELS + 0.5), {"labels": True}, ["0.5", "whole numbers"]),
    "labels missing": (lambda _: IMAGES, {"labels": True}, ["no labels", "(images, labels)"]),
    "multispectral to gray": (lambda _: np.zeros((2, 4, 4, 5)), {"channels": 1}, ["5 channels", "leave `channels` out"]),
    "pipeline of dicts": (lambda _: pipeline(IMAGES).map(lambda x: {"image": x}), {}, ["image", ".map"]),
    "pipeline of triples": (lambda _: pipeline(IMAGES, LABELS, LABELS), {}, ["(images, labels)"]),
    "pipeline of rank 2": (lambda _: pipeline(IMAGES[..., 0]), {}, ["(6, 5)", "(height, width, channels)"]),
    "pipeline of int32": (lambda _: pipeline(IMAGES.astype("int32")), {}, ["int32", "uint8"]),
    "pipeline of floats 0..255": (lambda _: pipeline(IMAGES * 1.0), {}, ["[0, 1]", "images / 255"]),
    "pipeline of NaN": (lambda _: pipeline(np.full((2, 4, 4, 1), np.nan)), {}, ["NaN"]),
    "pipeline that goes bad later": (
        lambda _: pipeline(np.concatenate([np.zeros((5, 4, 4, 1)), np.ones((5, 4, 4, 1)) * 2])),
        {"cache": True},
        ["between 2 and 2 (the first is image 5, counted from 0)"],
    ),
    "pipeline of many sizes": (
        lambda _: tf.data.Dataset.range(1, 9).map(lambda n: tf.zeros((n, 4, 1), tf.uint8)),
        {"cache": True},
        ["differ in size", "image_size="],
    ),
    "pipeline without labels": (lambda _: pipeline(IMAGES), {"labels": True}, ["no labels"]),
    "unknown name": (lambda _: "fashion_mnits", {}, ["'fashion_mnits'", "did you mean 'fashion_mnist'"]),
    "unknown name near a shipped one": (lambda _: "emoji_32", {}, ["did you mean 'emoji32'"]),
    "nothing like any name": (lambda _: "qqqqqqqq", {}, ["'qqqqqqqq'", "fashion_mnist_mini and emoji32"]),
    "empty name": (lambda _: "", {}, ["''"]),
    "unknown configuration": (lambda _: "imagenet_resized/33x33", {}, ["imagenet_resized", "32x32"]),
    "TFDS not prepared": (lambda _: "mnist", {}, ["mnist is not prepared", "genzoo prepare mnist --from FOLDER"]),
    "unknown split": (lambda _: IMAGES, {"split": "dev"}, ["'dev'", "'validation'"]),
    "batch size 0": (lambda _: IMAGES, {"batch_size": 0}, ["batch_size is 0", "at least 1"]),
    "batch size 1.5": (lambda _: IMAGES, {"batch_size": 1.5}, ["batch_size is 1.5"]),
    "image size -1": (lambda _: IMAGES, {"image_size": -1}, ["image_size is -1", "(height, width)"]),
    "image size of three": (lambda _: IMAGES, {"image_size": (8, 8, 3)}, ["image_size is (8, 8, 3)"]),
    "channels 2": (lambda _: IMAGES, {"channels": 2}, ["channels is 2", "1 or 3"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_gets_one_sentence(case, tmp_path):
    source, arguments, words = BAD[case]
    with pytest.raises(ValueError) as error:
        gz.data.load(source(tmp_path), data_dir=tmp_path / "tfds", **{"batch_size": 4, **arguments})
    message = str(error.value)
    assert "\n" not in message and message.endswith((".", "?")) and len(message) < 500, message
    for word in words:
        assert word in message, message


def test_a_pipeline_that_goes_bad_while_it_streams_says_so_too():
    data = gz.data.load(pipeline(np.repeat([0.0, 2.0], 200)[:, None, None, None]), "test", batch_size=100)
    with pytest.raises(tf.errors.InvalidArgumentError, match="outside"):
        gz.data.as_array(data)


def test_preparing_without_network_says_at_once_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody answers there
    with pytest.raises(ValueError, match=r"no network .* train-images-idx3-ubyte.gz.* --from FOLDER"):
        gz.data.prepare("fashion_mnist", data_dir=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no network .* train-images-idx3-ubyte.gz.* --from FOLDER"):
        gz.data.prepare("fashion_mnist", tmp_path / "empty", data_dir=tmp_path)


def test_preparing_from_other_files_than_tfds_expects_is_refused(tmp_path):
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte.gz is not the file that TFDS expects"):
        gz.data.prepare("fashion_mnist", tmp_path, data_dir=tmp_path)
    with pytest.raises(ValueError, match="no folder"):
        gz.data.prepare("fashion_mnist", tmp_path / "nowhere", data_dir=tmp_path)
    with pytest.raises(ValueError, match="by hand"):
        gz.data.prepare("celeb_a_hq", data_dir=tmp_path)


# Draws, and sources as one


def test_a_draw_is_of_all_images_whatever_the_batches_and_keeps_labels():
    images = np.arange(200, dtype="uint8")[:, None, None, None] * np.ones((1, 2, 2, 1), "uint8")
    labels = np.arange(200) // 100
    whole = gz.data.as_array((images, labels), 20, seed=3)
    assert len(np.unique(whole[0][:, 0, 0, 0])) == 20 and (np.diff(whole[0][:, 0, 0, 0].astype(int)) > 0).all()
    assert (whole[1] == whole[0][:, 0, 0, 0] // 100).all() and 0 < whole[1].mean() < 1
    for size in (7, 64):
        batches = gz.data.load((images, labels), "test", batch_size=size, labels=True)
        for one, other in zip(gz.data.as_array(batches, 20, seed=3), whole, strict=True):
            np.testing.assert_array_equal(one, other)
    assert (gz.data.as_array(images, 20, seed=4) != whole[0]).any()
    np.testing.assert_array_equal(gz.data.as_array(images, 500, seed=4), images)
    with pytest.raises(ValueError, match="drawn from a data set without an end"):
        gz.data.as_array(gz.data.load(images, "test").repeat(), 20, seed=0)


def test_the_two_pairs_of_keras_datasets_are_training_and_test_images():
    labels = np.array(LABELS)[:, None]
    given = (IMAGES[:20], labels[:20]), (IMAGES[20:], labels[20:].astype(float))
    found, of_found = collect(given, "test", labels=True)
    assert same_sets(found) == same_sets(IMAGES[20:]) and sorted(of_found) == sorted(labels[20:, 0])
    assert gz.data.info(given).counts == {"train": 18, "validation": 2, "test": 10}


def test_a_source_without_splits_is_taken_as_one(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 3), dtype="uint8")
    np.savez(tmp_path / "samples.npz", images, np.arange(30) % 3)  # arr_0 and arr_1
    whole, labels = gz.data.as_array(gz.data.load(tmp_path / "samples.npz", "all", shuffle=False, labels=True))
    np.testing.assert_array_equal(whole, images)
    np.testing.assert_array_equal(labels, np.arange(30) % 3)
    assert gz.data.labelled(tmp_path / "samples.npz") and not gz.data.labelled(images)
    for name in ("train", "test"):
        (tmp_path / "folder" / name).mkdir(parents=True)
        Image.fromarray(images[0]).save(tmp_path / "folder" / name / "0.png")
    with pytest.raises(ValueError, match="split is 'all', but the images have the splits test, train; choose one"):
        gz.data.load(tmp_path / "folder", "all")
    assert len(gz.data.as_array(gz.data.load(tmp_path / "folder", "all", splits=False))) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are text")
def test_names_of_files_may_be_any_bytes(tmp_path):
    for kind in (b"a", b"caf\xe9"):
        (folder := Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9/" + kind))).mkdir(parents=True)
        for index in range(10):
            pixels = np.full((4, 4), index, np.uint8)
            Image.fromarray(pixels).save(folder / os.fsdecode(b"im\xe9ge%d.png" % index))
    images = gz.data.load(folder.parent, labels=True, batch_size=4)
    assert sum(len(batch) for batch, _ in images) == 16
    info = gz.data.info(folder.parent)
    assert info.class_names == ("a", "caf\\xe9") and json.dumps(info.class_names).isascii()
