"""Statistics of real images on disk: found again, computed anew when damaged, and never those of something else."""

import warnings

import numpy as np
import pytest

from keras_genzoo import data, metrics
from keras_genzoo.core import cache
from keras_genzoo.metrics import features


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))


@pytest.fixture
def some_images():
    return np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)


def kept():
    return sorted(cache.folder().glob("*.npz")) if cache.folder().exists() else []


def counted(monkeypatch):
    """A list that gets an entry whenever features are extracted."""
    calls = []
    call = features.FeatureExtractor.__call__
    monkeypatch.setattr(features.FeatureExtractor, "__call__", lambda self, images: calls.append(1) or call(self, images))
    return calls


def test_statistics_are_computed_once_and_equal_from_disk(some_images, monkeypatch):
    calls = counted(monkeypatch)
    first, second = metrics.FrechetDistance("fashion-cnn"), metrics.FrechetDistance("fashion-cnn")
    first.set_real(some_images)
    second.set_real(some_images)
    assert len(calls) == 1 and len(kept()) == 1 and second.n_real == 20
    for distance in (first, second):
        with pytest.warns(UserWarning, match="biased"):
            distance.update_generated(255 - some_images)
            distance.value = distance.result()
    assert first.value == second.value


def test_features_of_a_panel_are_computed_once(some_images, monkeypatch):
    calls = counted(monkeypatch)
    panels = [metrics.SampleMetrics(some_images, 255 - some_images) for _ in range(2)]
    assert len(calls) == 2 and len(kept()) == 2
    np.testing.assert_array_equal(panels[0].real, panels[1].real)


def test_other_images_other_numbers_and_other_features_have_entries_of_their_own(some_images):
    fashion = metrics.get("fashion-cnn")
    other = fashion.at("block4_relu")
    other.kept = True
    for images, extractor in (
        (some_images, fashion),
        (some_images[:10], fashion),
        (some_images[::-1], fashion),
        (some_images, other),
    ):
        metrics.SampleMetrics(images, features=extractor)
    assert len(kept()) == 4


def test_float_images_of_the_same_levels_share_the_entry(some_images):
    metrics.SampleMetrics(some_images)
    metrics.SampleMetrics((some_images / 255).astype("float32"))
    assert len(kept()) == 1


def test_extractors_of_the_users_own_are_not_kept(some_images):
    fashion = metrics.get("fashion-cnn")
    own = metrics.FeatureExtractor(fashion.model, "features", lambda images: 1 - fashion.preprocess(images))
    metrics.SampleMetrics(some_images, features=own)
    assert not kept()


def test_neighbours_are_sought_once_for_a_data_set(some_images, monkeypatch):
    first = data.nearest_neighbours(some_images, 3)
    monkeypatch.setattr("sklearn.neighbors.NearestNeighbors.kneighbors", None)
    for one, other in zip(first, data.nearest_neighbours(some_images, 3), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(TypeError):
        data.nearest_neighbours(some_images, 2)
    assert len(kept()) == 1


def test_neighbours_of_floats_are_those_of_their_levels(some_images):
    floats = (some_images / 255).astype("float32")
    first = data.nearest_neighbours(floats, 3, bandwidth=0.5)
    kept()[0].unlink()
    for one, other in zip(first, data.nearest_neighbours(some_images, 3, bandwidth=0.5), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("content", [b"", b"no archive at all", "truncated", "foreign", "pickle"])
def test_a_damaged_or_foreign_file_is_computed_anew_and_said_so(some_images, content):
    expected = metrics.SampleMetrics(some_images).real
    (path,) = kept()
    if content == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif content == "foreign":
        np.savez(path, key=np.array("another"), features=np.zeros((20, 128), "float32"))
    elif content == "pickle":
        np.savez(path, key=np.array([{}], dtype=object), features=np.zeros((20, 128), "float32"))
    else:
        path.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged or of something else"):
        found = metrics.SampleMetrics(some_images).real
    np.testing.assert_array_equal(found, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.SampleMetrics(some_images)  # and it is whole again


def test_a_full_disk_costs_a_warning(some_images, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.np, "savez", full)
    with pytest.warns(UserWarning, match="could not be kept .No space left on device.; it is computed anew the next time"):
        found = cache.remembered("sums", some_images, {"a": 1}, lambda: {"sum": np.array(7)})
    assert found["sum"] == 7 and not list(cache.folder().glob("sums*"))


def test_a_folder_that_cannot_be_written_is_done_without(some_images, monkeypatch):
    monkeypatch.setattr(cache.os, "access", lambda path, mode: False)
    assert metrics.SampleMetrics(some_images).real.shape == (20, 128)
    assert not kept()
