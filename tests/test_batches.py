"""What is read of data before training: images from all over it, with nothing used up."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genzoo.core.batches import first_batch, some_images

LEVELS = np.arange(200, dtype="uint8").reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 1), "uint8")


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 20

    def __getitem__(self, index):
        return (LEVELS[10 * index : 10 * index + 10],)


def levels(data, count=50):
    first, data = first_batch(data, None, 10)
    images = some_images(data, first, count)
    assert images.dtype == np.uint8 and images.shape[1:] == (2, 2, 1)
    return images[:, 0, 0, 0].tolist(), data


@pytest.mark.parametrize("data", [LEVELS, tf.constant(LEVELS), Batches()], ids=["array", "tensor", "PyDataset"])
def test_images_are_read_from_all_over_what_has_rows(data):
    found, _ = levels(data)
    assert len(set(found)) == 50 and min(found) < 50 and max(found) >= 150
    assert found == levels(data)[0] and len(levels(data, 1000)[0]) == 200


def test_images_of_a_data_set_are_its_first():
    found, _ = levels(tf.data.Dataset.from_tensor_slices((LEVELS, np.arange(200))).repeat().batch(20))
    assert found == list(range(60))


def test_a_generator_gives_its_first_batch_and_keeps_it():
    found, data = levels((LEVELS[10 * index : 10 * index + 10],) for index in range(20))
    assert found == list(range(10))
    assert [int(batch[0][0, 0, 0, 0]) for batch in data] == list(range(0, 200, 10))


def test_a_bad_image_behind_the_first_batch_is_told():
    images = np.linspace(0, 2, 100, dtype="float32").reshape(-1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"images are floats between 0 and 2.*images / 255"):
        some_images(images, images[:10])
