"""Several devices compute what one would: each a share of a batch, ragged and empty ones too."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import test_case as case

import keras_genzoo as gz
from keras_genzoo import networks
from keras_genzoo.core import randomness, shares
from keras_genzoo.layers import BatchNormalization, SynchronizedBatchNormalization

SCALING = Path(__file__).parents[1] / "docs" / "guides" / "scaling.md"
# What has batch normalisation, of each replica's share, and nothing else that differs.
OTHERS = {name for name in gz.recipes.names()["gan"] if name.startswith(("r3gan", "stylegan2"))}
MIXED = {"autoencoder", "vqvae", "vqvae_pixelcnn", "fsq_vae", *gz.recipes.names()["gan"], "realnvp/cifar10"} - OTHERS
GROUPED = {"stylegan2"}  # whose critic compares images of one device
TINY_MIXED = sorted(MIXED & set(case.TINY))
ONE = tf.distribute.get_strategy()


def trained(name, images, strategy, overrides=dict, **settings):
    """A model after three batches, of 4, 4 and 1 images, and their validation; and the logs. `overrides` is called where it is
    built."""
    with strategy.scope():
        model = case.build(name, ema=0.9, **overrides())
        if settings:
            optimizers = {argument: keras.optimizers.SGD(**settings) for argument in model.optimizers}
            model.compile(**optimizers, jit_compile=False)
    data = case.batches(name, images[:9], drop_remainder=False)
    return model, model.fit(data, validation_data=data, verbose=0).history


def difference(name, images, replicas, **settings):
    """The largest difference of a weight, averages and statistics included, between one device and two; and their logs."""
    (one, log), (two, other) = (trained(name, images, strategy, **settings) for strategy in (ONE, replicas))
    assert all(np.isfinite(value).all() for value in two.get_weights())
    return max(np.abs(a - b).max() for a, b in zip(one.get_weights(), two.get_weights(), strict=True)), log, other


def check_alike(name, images, replicas, **settings):
    found, log, other = difference(name, images, replicas, **settings)
    assert found < 1e-5
    for key in log:
        if not key.endswith(("gradient_norm", "diversity")):
            assert log[key] == pytest.approx(other[key], rel=1e-3, abs=1e-5), key


@pytest.fixture
def synchronized(monkeypatch):
    """Batch normalisation over the whole batch in the place of that over shares."""
    monkeypatch.setattr(networks.common, "BatchNormalization", SynchronizedBatchNormalization)


# A scale that follows the errors of a batch; statistics of codes, and noise levels spread over a batch.
FAST = ("vae", "latent_diffusion")
# The first gradient of scales that make a pixel's variance 1 is zero but for rounding, and Adam divides it by its own size; as it
# does those of the layers before one that begins at zero.
ROUNDED = {"planar_flow": {"learning_rate": 0.001}, "r3gan": {"learning_rate": 0.001}}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in case.TINY if name not in MIXED | GROUPED],
)
def test_two_devices_train_as_one(name, images, replicas):
    check_alike(name, images, replicas, **ROUNDED.get(name, {}))


# What no recipe does unless it is told to.
TOLD = {
    "learned variances": ("ddpm", lambda: {"learned_variance": True}),
    "augmentation told to the network": ("edm", lambda: {"augment": "told"}),
    "classes of a mean flow": ("mean_flow", lambda: {"num_classes": 3}),
    "classes of R3GAN": ("r3gan", lambda: {"num_classes": 3}),
    "an adaptive chance": ("relativistic_gan", lambda: {"augment": ("blit", "color_affine"), "augment_chance": quick_chance()}),
}


def quick_chance():
    return gz.augmentation.AdaptiveChance(target=-0.5, speed=16, every=1)


@pytest.mark.slow
@pytest.mark.parametrize("what", TOLD)
def test_two_devices_do_what_they_are_told_as_one(what, images, replicas, synchronized):
    name, overrides = TOLD[what]
    check_alike(name, images, replicas, overrides=overrides, learning_rate=0.001)


def test_two_devices_follow_the_critic_as_one(images, replicas):
    """Of eight images and one: the chance is that of all their signs."""
    chances = []
    for strategy in (ONE, replicas):
        model, log = trained("gan", images, strategy, lambda: {"augment": "mirror", "augment_chance": quick_chance()})
        chances.append((float(tf.convert_to_tensor(model.augment_chance.chance)), log["augment_chance"][0]))
    assert chances[0] == pytest.approx(chances[1]) and chances[0][0] > 0


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name == "gan" else pytest.mark.slow) for name in TINY_MIXED])
def test_but_for_batch_normalisation_two_devices_train_as_one(name, images, replicas, synchronized):
    # Adam would make steps of what is left by rounding of gradients that are 0, of biases before a normalisation.
    check_alike(name, images, replicas, learning_rate=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY_MIXED)
def test_batch_normalisation_of_shares_differs(name, images, replicas):
    assert difference(name, images, replicas, learning_rate=0.001)[0] > 1e-4


def test_the_documentation_names_the_recipes_that_differ():
    listed = SCALING.read_text().partition("recipes with batch normalisation")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([\w/]+)`", listed)) == MIXED


@pytest.mark.slow
def test_no_other_recipe_has_batch_normalisation():
    for name, recipe in gz.recipes.RECIPES.items():
        if recipe.make.__module__.startswith("keras_genzoo."):
            few = {"depth": 1} if name.startswith("dit/") else {}  # of layers, all alike
            layers = gz.build(name, (32, 32, 3) if "/" in name else case.SHAPE, **few)._flatten_layers()
            assert (name in MIXED) == any(type(layer) is BatchNormalization for layer in layers), name


# Shares


def test_a_share_knows_its_place_in_the_whole_batch():
    assert shares.starts(tf.constant([3, 2, 2, 0], tf.int64), 4).numpy().tolist() == [0, 3, 5, 7]
    # Two workers with two devices each: shares are dealt to one worker after the other.
    assert shares.starts(tf.constant([3, 2, 3, 0], tf.int64), 2).numpy().tolist() == [0, 6, 3, 8]
    assert shares.starts(tf.constant([1, 1], tf.int64), 1).numpy().tolist() == [0, 1]


def stepped(replicas, step, rows):
    """What a step returns on each replica for its share of a batch of these rows."""
    iterator = iter(replicas.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices(rows).batch(len(rows))))
    return tf.function(lambda: replicas.run(step, (next(iterator),)))()


@pytest.mark.parametrize("counts", [(3, 2), (1, 0)])
def test_replicas_draw_together_what_one_device_draws(counts, replicas):
    def draws():
        counter = tf.Variable(0, dtype=tf.int64)
        stream = randomness.Stream(5, counter)
        return counter, lambda rows: [
            stream.normal((rows, 3)),
            stream.uniform((2 * rows, 2)),  # two rows an image
            randomness.uniform(randomness.fold(stream.key(), 7), (rows,)),
            stream.uniform(()),
            stream.normal((5, 2), shared=True),
            shares.places(rows),
        ]

    total = sum(counts)
    expected = [value.numpy() for value in draws()[1](total)]
    with replicas.scope():
        _, of = draws()

    def step(images):
        with shares.taken(images):
            rows = tf.shape(shares.share(images))[0]
            return of(rows), shares.weight()

    results, weights = stepped(replicas, step, np.zeros((total, 2)))
    starts = np.cumsum([0, *counts])
    for replica, count in enumerate(counts):
        *of_rows, number, shared, places = (replicas.experimental_local_results(each)[replica] for each in results)
        assert float(replicas.experimental_local_results(weights)[replica]) == pytest.approx(count / total)
        np.testing.assert_array_equal(number, expected[3])
        np.testing.assert_array_equal(shared, expected[4])
        if count:
            for value, whole in zip([*of_rows, places], [*expected[:3], expected[5]], strict=True):
                each = len(whole) // total
                np.testing.assert_array_equal(value, whole[each * starts[replica] : each * starts[replica + 1]])


def normalised():
    """An autoencoder whose first layer normalises the images themselves."""
    norm = keras.layers.BatchNormalization(momentum=0.5, name="norm")
    encoder = keras.Sequential([keras.Input(case.SHAPE), norm, keras.layers.Flatten(), keras.layers.Dense(2)])
    decoder = networks.mlp(2, case.SHAPE, width=4, depth=1, output_activation="sigmoid")
    model = gz.models.Autoencoder(encoder, decoder, seed=0, ema=0.9)
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    return model, norm


@pytest.mark.parametrize("eagerly", [False, True])
def test_statistics_of_shares_are_weighted_by_their_images(eagerly, images, replicas):
    """Of 5 images the shares hold 3 and 2, and of a last one 1 and none."""
    with replicas.scope():
        model, norm = normalised()
    model.run_eagerly = eagerly
    means = (images[:6] / 255).mean(axis=(1, 2, 3))
    model.fit(images[:6], batch_size=5, shuffle=False, verbose=0)
    expected = 0.5 * (0.5 * means[:5].mean()) + 0.5 * means[5]
    copies = [copy.numpy() for copy in norm.moving_mean.value.values]
    np.testing.assert_allclose(copies, [[expected]] * 2, rtol=1e-5)
    average = next(average for variable, average in model._averages.all if variable is norm.moving_mean)
    assert np.ptp([copy.numpy() for copy in average.value.values]) == 0.0


def test_a_replica_without_images_adds_nothing_to_synchronized_statistics(replicas, monkeypatch):
    monkeypatch.setattr(shares, "counts", lambda: tf.distribute.get_replica_context().replica_id_in_sync_group == 0)
    with replicas.scope():
        layer = SynchronizedBatchNormalization(momentum=0.0)
        layer.build((None, 2))
    rows = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")
    stepped(replicas, lambda each: layer(each, training=True), rows)
    np.testing.assert_allclose(layer.moving_mean, rows[:3].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, rows[:3].var(axis=0), rtol=1e-4)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is SynchronizedBatchNormalization and again.synchronized
