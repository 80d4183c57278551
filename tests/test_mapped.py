"""Images beyond memory: how much is free, the file of decoded images, and batches that are the same from it as from memory."""

import hashlib
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_genzoo as gz
from keras_genzoo.core import memory
from keras_genzoo.data import folders, mapped

SCRIPT = Path(__file__).parents[1] / "scripts" / "beyond_memory.py"
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (30, 6, 5, 3), np.uint8)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of two classes of ten images each, and a cache of its own."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for index, image in enumerate(IMAGES[:20]):
        path = tmp_path / "photos" / "ab"[index % 2] / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "photos"


def kept():
    """The folders of decoded images in the cache, without locks and what is half done."""
    found = mapped.home().iterdir() if mapped.home().exists() else []
    return sorted(path.name for path in found if not path.name.startswith("."))


# How much is free


def a_group(folder, files, limit, used, pages):
    """A control group with a limit, bytes that are used, and of these pages of files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / files[0]).write_text(f"{limit}\n")
    (folder / files[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{files[2]} {pages}\n")


@pytest.mark.parametrize("version", [2, 1])
def test_the_limit_of_a_control_group_above_counts_and_pages_of_files_are_free(version, tmp_path, monkeypatch):
    name, _, *files = memory.GROUPS[2 - version]
    (tmp_path / "cgroup").write_text({2: "0::/job/step\n", 1: "5:cpu,cpuacct:/other\n4:memory:/job/step\n"}[version])
    monkeypatch.setattr(memory, "PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "GROUPS", ((name, tmp_path / "top", *files),))
    before = memory.free()
    assert before > 1000
    a_group(tmp_path / "top" / "job" / "step", files, "max" if version == 2 else 2**63 - 4096, 700, 100)
    assert memory.free() > 1000
    a_group(tmp_path / "top" / "job", files, 900, 700, 100)
    assert memory.free() == 900 - 700 + 100
    a_group(tmp_path / "top" / "job", files, 500, 700, 100)
    assert memory.free() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no limit of data")
def test_a_limit_of_the_shell_counts():
    code = "from keras_genzoo.core import memory; import resource; soft = 2**33\n"
    code += "resource.setrlimit(resource.RLIMIT_DATA, (soft, -1)); print(memory.free() < soft)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"


# Where images are kept


def test_images_that_take_more_than_half_of_free_memory_go_to_a_file(photos, monkeypatch):
    images = 16 * 6 * 5 * 3  # of the training split
    for free, expected in ((2 * images, []), (2 * images - 1, ["file"])):
        monkeypatch.setattr(memory, "free", lambda free=free: free)
        gz.data.load(photos, batch_size=4)
        assert [re.sub(r"photos-train-[0-9a-f]{24}", "file", name) for name in kept()] == expected


SETTINGS = [{}, {"labels": True}, {"flip": True}, {"further": 1}, {"image_size": (4, 7), "channels": 1}]


@pytest.mark.parametrize("settings", [*SETTINGS, {"split": "test", "labels": True}], ids=str)
def test_batches_of_the_file_are_those_of_memory_in_the_same_order(settings, photos):
    sides = [gz.data.load(photos, batch_size=3, seed=5, cache=cache, **settings) for cache in (True, "file", "file")]
    for _ in range(2):  # epochs, each with an order of its own
        one, *others = [[list(map(np.asarray, flat(batch))) for batch in side] for side in sides]
        for other in others:
            assert len(one) == len(other) > 0
            for batch, same in zip(one, other, strict=True):
                for expected, found in zip(batch, same, strict=True):
                    np.testing.assert_array_equal(found, expected)
    assert len(kept()) == 1 and sides[0].digest() == sides[1].digest()


def flat(batch):
    if isinstance(batch, dict):
        return [each for name in sorted(batch) for each in flat(batch[name])]
    return [each for part in batch for each in flat(part)] if isinstance(batch, tuple) else [batch]


def test_a_model_trains_the_same_on_the_file(photos):
    weights = []
    for cache in (True, "file"):
        model = gz.build("dense_autoencoder", (6, 5, 3), width=4, latent_dim=2, seed=0)
        model.fit(gz.data.load(photos, batch_size=4, cache=cache), epochs=2, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_file_is_made_once_and_anew_where_a_file_or_a_setting_has_changed(photos, monkeypatch):
    reads, read = [], folders.read_image
    monkeypatch.setattr(folders, "read_image", lambda *given: reads.append(given[0]) or read(*given))

    def decoded(**settings):
        reads.clear()
        gz.data.load(photos, **{"batch_size": 4, "cache": "file", **settings})
        return len(reads) > 2  # the first image is always looked at, for the size

    assert decoded() and not decoded() and not decoded(seed=3, labels=True, flip=True, batch_size=2)
    assert decoded(image_size=4) and decoded(channels=1) and decoded(split="validation")
    os.utime(photos / folders.Folder(photos)._chosen("train")[3], ns=(0, 5))
    assert decoded() and not decoded()
    photos.rename(photos.parent / "moved")
    gz.data.load(photos.parent / "moved", batch_size=4, cache="file")
    names = [name for name in kept() if name.split("-")[1] == "train"]
    assert len({name.rsplit("-", 1)[1] for name in names}) == 4  # its key is that of before: files, and not where they lie


def test_a_stop_leaves_no_file_and_the_next_call_makes_it(photos, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):

        def stop(*given):
            raise KeyboardInterrupt

        patch.setattr(mapped.np.lib.format, "write_array_header_1_0", stop)
        gz.data.load(photos, batch_size=4, cache="file")
    assert kept() == [] and all(path.name.endswith(".lock") for path in mapped.home().iterdir())
    assert len(gz.data.as_array(gz.data.load(photos, batch_size=4, cache="file"))) == 16


def test_what_a_kill_leaves_is_removed_and_a_file_that_was_cut_off_is_made_anew(photos):
    load = lambda: gz.data.as_array(gz.data.load(photos, batch_size=4, cache="file", shuffle=False))  # noqa: E731
    expected, (name,) = load(), kept()
    unfinished = mapped.home() / f".{name}-abcd1234"
    unfinished.mkdir()
    (unfinished / "images.npy").write_bytes(b"half")
    os.truncate(mapped.home() / name / "images.npy", 500)
    np.testing.assert_array_equal(load(), expected)
    assert kept() == [name] and not unfinished.exists()


def test_those_who_ask_for_one_file_at_the_same_time_wait_for_the_first(photos, monkeypatch):
    writes, write = [], mapped._write
    monkeypatch.setattr(mapped, "_write", lambda *given: writes.append(1) or write(*given))
    found = []
    load = lambda: found.append(gz.data.as_array(gz.data.load(photos, "test", cache="file")))  # noqa: E731
    threads = [threading.Thread(target=load) for _ in range(4)]
    [each.start() for each in threads]
    [each.join() for each in threads]
    assert len(writes) == 1 and len(found) == 4
    assert all((each == found[0]).all() for each in found)


def test_the_file_is_plain_numpy_and_says_what_it_is(photos):
    data = gz.data.load(photos, batch_size=4, cache="file", labels=True, shuffle=False)
    (folder,) = mapped.home().glob("photos-*")
    images = np.load(folder / "images.npy")
    np.testing.assert_array_equal(images, gz.data.as_array(data)[0])
    np.testing.assert_array_equal(np.load(folder / "labels.npy"), gz.data.as_array(data)[1])
    about = (folder / "about.json").read_text()
    assert hashlib.sha256(images.tobytes()).hexdigest() in about and str(photos) in about


def test_a_small_disk_and_what_has_no_files_get_one_sentence(photos, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(mapped.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2**10}))
        with pytest.raises(OSError, match=r"cannot be kept in .* GiB are free\); make room there, let KERAS_HOME name another"):
            gz.data.load(photos, cache="file")
    with pytest.raises(ValueError, match=r"cache is 'file', but a tf\.data pipeline has no files"):
        gz.data.load(tf.data.Dataset.from_tensor_slices(IMAGES), cache="file")
    with pytest.raises(ValueError, match="cache is 'disk', expected 'auto', 'file', True or False"):
        gz.data.load(photos, cache="disk")
    with pytest.raises(ValueError, match="neighbours is 2, but the images are not in memory; pass cache=True"):
        gz.data.load(photos, cache="file", neighbours=2)


def test_labels_that_a_source_lacks_are_asked_for_in_vain(photos, tmp_path):
    (tmp_path / "flat").mkdir()
    for path in photos.rglob("*.png"):
        path.rename(tmp_path / "flat" / path.name)
    assert len(gz.data.as_array(gz.data.load(tmp_path / "flat", cache="file", batch_size=4))) == 16
    with pytest.raises(ValueError, match=r"There are no labels in .*flat"):
        gz.data.load(tmp_path / "flat", cache="file", labels=True)


# Arrays on disk


def test_rows_of_a_file_come_in_the_order_asked_for_and_may_repeat(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    stored = mapped.opened(tmp_path / "images.npy")
    assert stored.shape == IMAGES.shape and stored.dtype == np.uint8 and len(stored) == 30
    for rows in ([5, 0, 29, 5], [3], []):
        found = stored[np.array(rows, int)]
        np.testing.assert_array_equal(found, IMAGES[rows])
        found[...] = 0  # in memory, and a copy
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), IMAGES)


def test_an_array_on_disk_is_its_own_file(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    np.save(tmp_path / "images.npy", IMAGES)
    for settings in ({}, {"image_size": (6, 5), "channels": 3}, {"image_size": 3}):
        sides = [gz.data.load(tmp_path / "images.npy", batch_size=4, cache=cache, **settings) for cache in (True, "file")]
        np.testing.assert_array_equal(*map(gz.data.as_array, sides))
        assert len(kept()) == ("image_size" in settings and settings["image_size"] == 3)


def test_floats_on_disk_are_looked_at_as_they_are_read(tmp_path):
    images = np.full((1200, 2, 2, 1), 0.5, np.float32)
    images[700] = 9
    np.save(tmp_path / "images.npy", images)
    with pytest.raises(ValueError, match=r"floats between 0.5 and 9"):
        gz.data.load(tmp_path / "images.npy", split="all", cache=True)
    images[...] = 9
    np.save(tmp_path / "bad.npy", images)
    with pytest.raises(ValueError, match="floats between 9 and 9"):
        gz.data.load(tmp_path / "bad.npy", cache=False)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("source", ["npy", "tar"])
def test_images_train_within_less_anonymous_memory_than_they_take(source, tmp_path):
    """A small version of the script: 2.2 GB of images, and 1.5 GB of memory that is no page of a file."""
    command = [sys.executable, SCRIPT, "--images", "180000", "--limit-gb", "1.5", "--steps", "200", "--source", source]
    found = subprocess.run([*command, "--folder", tmp_path], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    assert float(re.search(r"most anonymous memory: ([\d.]+) GB", found.stdout)[1]) < 1.5
