"""Whatever yields batches is taken by `fit` and `evaluate`, and every image in it is looked at before it is trained on."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from toy import build_toy

import keras_genzoo as gz
from keras_genzoo import networks

SHAPE = (8, 8, 3)
IMAGES = np.random.default_rng(0).random((24, *SHAPE), dtype="float32")
LABELS = np.arange(24) % 3
BATCHES = [IMAGES[start : start + 8] for start in range(0, 24, 8)]
PAIRS = [(IMAGES[start : start + 8], LABELS[start : start + 8]) for start in range(0, 24, 8)]


def small(eager=True):
    model = gz.models.Autoencoder(networks.mlp(SHAPE, 2, width=4, depth=1), networks.mlp(2, SHAPE, width=4, depth=1), seed=0)
    model.compile("sgd", run_eagerly=eager)  # such a small one is traced longer than it trains
    return model


def endless(batches):
    while True:
        yield from batches


class Batches(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches, self.ended = batches, 0

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]

    def on_epoch_end(self):
        self.ended += 1


class Tensor:
    """As one of PyTorch."""

    def __init__(self, values):
        self.values, self.shape, self.ndim = values, values.shape, values.ndim

    def detach(self):
        return self

    def cpu(self):
        return self.values

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("of a tensor on another device, or with a gradient")

    def __len__(self):
        return len(self.values)


class DataLoader:
    """As PyTorch's, by whose name and module Keras knows it; of a list of batches, or of one without a known length."""

    __module__ = "torch.utils.data.dataloader"

    def __init__(self, batches, counted=True):
        self.batches, self.counted = batches, counted

    def __len__(self):
        if not self.counted:
            raise TypeError("object of type 'IterableDataset' has no len()")
        return len(self.batches)

    def __iter__(self):
        for batch in self.batches:
            yield [Tensor(part) for part in batch] if isinstance(batch, tuple) else Tensor(batch)


class Anew:
    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


STREAMS = {
    "data set": lambda batches: tf.data.Dataset.from_generator(lambda: batches, output_signature=spec(batches[0])),
    "list": list,
    "list of lists": lambda batches: [list(batch) if isinstance(batch, tuple) else batch for batch in batches],
    "generator": endless,
    "generator of lists": lambda batches: (list(batch) if isinstance(batch, tuple) else batch for batch in endless(batches)),
    "iterator": lambda batches: map(lambda batch: batch, endless(batches)),
    "function": lambda batches: lambda: iter(batches),
    "iterable": Anew,
    "PyDataset": Batches,
    "DataLoader": DataLoader,
    "DataLoader of unknown length": lambda batches: DataLoader(batches, counted=False),
}
ONCE = ("generator", "generator of lists", "iterator")


def spec(batch):
    return tf.nest.map_structure(lambda part: tf.TensorSpec((None, *part.shape[1:]), part.dtype), batch)


def steps(kind):
    return {"steps_per_epoch": 3} if kind in ONCE else {}


@pytest.fixture(scope="module")
def expected():
    """Weights at the start, and the history and the scores of a training on an array."""
    model = small()
    weights = model.get_weights()
    history = model.fit(IMAGES, batch_size=8, shuffle=False, validation_data=IMAGES, epochs=2, verbose=0)
    return weights, history.history, model.evaluate(IMAGES, verbose=0)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("kind", STREAMS)
def test_whatever_yields_batches_is_trained_on_in_every_epoch(kind, expected):
    weights, history, scores = expected
    model = small()
    model.set_weights(weights)
    validation = IMAGES if kind in ONCE else STREAMS[kind](BATCHES)  # of generators Keras reads ahead, and loses batches
    found = model.fit(STREAMS[kind](BATCHES), shuffle=False, validation_data=validation, epochs=2, verbose=0, **steps(kind))
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(found.history[name], history[name], rtol=1e-5)
    np.testing.assert_allclose(model.evaluate(validation, verbose=0), scores, rtol=1e-4)


@pytest.mark.parametrize("kind", ["list of lists", "generator of lists", "DataLoader"])
def test_labels_come_with_the_images_of_whatever_yields_batches(kind):
    model = build_toy(SHAPE, run_eagerly=True)
    model.fit(STREAMS[kind](PAIRS), verbose=0, **steps(kind))
    assert int(model.optimizer.iterations) == 3


def test_a_data_set_of_keras_is_told_of_the_end_of_an_epoch():
    data = Batches(BATCHES)
    small().fit(data, epochs=2, verbose=0)
    assert data.ended >= 2  # Keras tells of some end twice


def test_arrays_of_other_packages_and_pairs_of_arrays_are_taken():
    small().fit(Tensor(IMAGES), validation_data=Tensor(IMAGES), verbose=0)
    model = build_toy(SHAPE, run_eagerly=True)
    for pair in ((IMAGES, LABELS), [IMAGES, LABELS]):
        model.fit(pair, validation_data=pair, batch_size=8, verbose=0)
        np.testing.assert_allclose(model.evaluate(pair, verbose=0), model.evaluate(IMAGES, LABELS, verbose=0))
    assert int(model.optimizer.iterations) == 6


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("my_photos", "images came as str, expected an array.*gz.data.load"),
        (3, "images came as int, expected an array"),
        (list(IMAGES), r"a list that holds shape \(8, 8, 3\).*np.stack\(images\)"),
        ([IMAGES, LABELS, LABELS], r"a list that holds shape \(24,\), expected an array or a list of batches"),
        (Anew([]), "the data set is empty"),
        (Anew([{"image": IMAGES}]), "batches are dicts with keys .*image.*, expected images or"),
        (IMAGES.transpose(0, 3, 1, 2), r"\(24, 3, 8, 8\), expected \(batch, 8, 8, 3\).*transpose\(0, 2, 3, 1\)"),
        (DataLoader([IMAGES.transpose(0, 3, 1, 2)]), r"\(24, 3, 8, 8\), expected \(batch, 8, 8, 3\).*transpose\(0, 2, 3, 1\)"),
    ],
)
def test_what_yields_no_batches_of_images_is_told(data, sentence):
    for ask in (lambda model: model.fit(data, verbose=0), lambda model: model.evaluate(data, verbose=0)):
        with pytest.raises(ValueError, match=sentence):
            ask(small())


@pytest.mark.parametrize("shape", [(10, 3, 8, 8), (10, 1, 8, 9)])
def test_images_with_their_channels_first_are_not_loaded(shape):
    images = np.zeros(shape, "uint8")
    for source in (images, tf.data.Dataset.from_tensor_slices(images), tf.data.Dataset.from_tensor_slices(images).batch(2)):
        with pytest.raises(ValueError, match=r"channels come last: use `images.transpose\(0, 2, 3, 1\)`"):
            gz.data.load(source)


# Bad images behind the first batch


def spoiled(number, value):
    images = np.repeat(IMAGES, 4, axis=0)[:80].copy()
    images[number:, 3, 2, 1] = value
    return images


def in_batches(kind, images):
    return STREAMS[kind]([images[start : start + 8] for start in range(0, len(images), 8)])


BAD = [
    (70, np.nan, "hold NaN or infinite values"),
    (40, 255.0, "are floats between .* and 255"),
    (41, -1.0, "are floats between -1 and"),
]


@pytest.mark.parametrize(("number", "value", "sentence"), BAD)
def test_arrays_are_looked_at_whole(number, value, sentence):
    images = spoiled(number, value)
    for ask in (
        lambda model: model.fit(images, batch_size=8, verbose=0),
        lambda model: model.fit(tf.constant(images), batch_size=8, verbose=0),
        lambda model: model.evaluate(images, batch_size=8, verbose=0),
        lambda model: gz.data.load(images),
        lambda model: model.fit(IMAGES, validation_data=images, validation_batch_size=8, verbose=0),
        lambda model: model.fit(IMAGES, validation_data=(images,), validation_batch_size=8, verbose=0),
    ):
        with pytest.raises(ValueError, match=f"mages.* {sentence}.*the first is image {number}, counted from 0"):
            ask(small())


@pytest.mark.parametrize(
    ("kind", "number", "value", "sentence"),
    [*((kind, *BAD[0]) for kind in STREAMS), *((kind, *bad) for kind in ("data set", "generator") for bad in BAD[1:])],
)
def test_a_bad_image_in_a_stream_is_named_before_it_is_trained_on(kind, number, value, sentence):
    model, guard = small(eager=False), gz.callbacks.StopOnDivergence(every=1)
    named = f"{sentence}.*the first is image {number % 8} of batch {number // 8}, counted from 0"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that of a guard, which would blame the learning rate
        with pytest.raises(ValueError, match=f"^images {named}"):
            count = {"steps_per_epoch": 10} if kind in ONCE else {}
            model.fit(in_batches(kind, spoiled(number, value)), shuffle=False, epochs=2, verbose=0, callbacks=[guard], **count)
    assert 0 < int(model.optimizer.iterations) <= number // 8
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.parametrize(("number", "value", "sentence"), BAD)
@pytest.mark.parametrize("cache", [False, True])
def test_a_bad_image_of_a_pipeline_that_is_loaded_is_named(cache, number, value, sentence):
    pipeline = tf.data.Dataset.from_tensor_slices(spoiled(number, value))
    with pytest.raises(
        ValueError, match=f"^The images of your tf.data pipeline {sentence}.*the first is image {number}, counted"
    ):
        small().fit(gz.data.load(pipeline, batch_size=8, cache=cache), verbose=0)


@pytest.mark.parametrize("kind", ["data set", "generator", "PyDataset", "DataLoader"])
def test_a_bad_image_of_validation_and_evaluation_is_named(kind):
    count, images = (10 if kind in ONCE else None), spoiled(*BAD[0][:2])
    model = small()
    with pytest.raises(ValueError, match=r"^validation images hold NaN.*image 6 of batch 8"):
        model.fit(IMAGES, validation_data=in_batches(kind, images), validation_steps=count, verbose=0)
    with pytest.raises(ValueError, match=r"^images hold NaN.*image 6 of batch 8"):
        model.evaluate(in_batches(kind, images), steps=count, verbose=0)
