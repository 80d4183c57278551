"""Augmentations of ADA against closed forms, the chance of each, and the chance that follows the critic."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from test_case import batches, build

import keras_genzoo as gz
from keras_genzoo import augmentation
from keras_genzoo.augmentation import AdaptiveChance, affine
from keras_genzoo.core.randomness import Stream


@pytest.fixture
def random():
    return Stream(0, keras.Variable(0, dtype="int64", trainable=False))


NOISE = np.random.default_rng(0).uniform(-1, 1, (6, 6, 3)).astype("float32")


def many(image, n):
    return tf.constant(np.stack([image] * n))


@pytest.mark.parametrize("kind", augmentation.AUGMENTATIONS)
def test_without_chance_images_stay_and_with_it_most_change(kind, random):
    images = many(NOISE, 60)
    for chance in (0.0, tf.constant(0.0)):
        found = augmentation.augment(images, (kind,), random, chance)
        np.testing.assert_allclose(found, images, atol=2e-5)
    changed = np.abs(augmentation.augment(images, (kind,), random) - images).max(axis=(1, 2, 3)) > 1e-3
    assert changed.mean() > 0.3
    view = augmentation.view((kind,), random, tf.constant(0.5))
    np.testing.assert_array_equal(view(images), view(images))


def test_the_chance_is_that_of_an_image_and_a_share_is_a_factor(random):
    images = many(NOISE, 4000)
    for kinds, expected in ((("color",), 0.4), ((("color", 0.5),), 0.2), ({"color": 0.25}, 0.1)):
        found = augmentation.augment(images, augmentation.check_kinds(kinds), random, 0.4)
        assert (np.abs(found - images).max(axis=(1, 2, 3)) > 0).mean() == pytest.approx(expected, abs=0.03)


def test_wrong_kinds_are_one_sentence():
    for kinds, sentence in (
        ("flip", "there is no augmentation 'flip', expected some of color, translation, cutout, mirror, blit"),
        ({"blit": 2.0}, "the share of blit is 2.0, expected a finite number above 0 and of at most 1"),
    ):
        with pytest.raises(ValueError) as caught:
            augmentation.check_kinds(kinds)
        assert sentence in str(caught.value)


def test_blitted_images_are_turned_flipped_and_shifted_by_whole_pixels(random):
    side = 8
    image = np.random.default_rng(0).uniform(-1, 1, (side, side, 1)).astype("float32")
    found = augmentation.augment(many(image, 2500), ("blit",), random).numpy()
    expected = {}
    for flip in (False, True):
        for quarters in range(4):
            turned = np.rot90(image[:, ::-1] if flip else image, quarters)
            padded = np.pad(turned, ((1, 1), (1, 1), (0, 0)), mode="reflect")
            for row in range(3):
                for column in range(3):
                    expected[flip, quarters, row, column] = padded[row : row + side, column : column + side].tobytes()
    assert {each.tobytes() for each in found} == set(expected.values())  # all 72 of them, and nothing else


def test_blits_of_sides_that_differ_keep_the_shape_and_the_pixels(random):
    image = np.random.default_rng(0).uniform(-1, 1, (5, 9, 2)).astype("float32")
    found = augmentation.augment(many(image, 100), ("blit",), random).numpy()
    assert found.shape == (100, 5, 9, 2) and set(found.ravel()) <= set(image.ravel())


@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 12, 3), (1, 7, 2), (2, 1, 1)])
def test_the_identity_leaves_images_as_they_are(shape):
    images = np.random.default_rng(0).uniform(-1, 1, (3, *shape)).astype("float32")
    found = affine.transformed(tf.constant(images), tf.eye(3, batch_shape=[3]))
    np.testing.assert_allclose(found, images, atol=2e-5)


def bump(x, y):
    """A smooth spot beside the centre of a map, of places in pixels from it."""
    return np.exp(-((x - 3.0) ** 2 / 18 + (y + 2.0) ** 2 / 32))


def grid(height, width):
    return np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)


@pytest.mark.parametrize(
    "matrix",
    [
        np.array([[np.cos(0.7), -np.sin(0.7), 0], [np.sin(0.7), np.cos(0.7), 0], [0, 0, 1]]),
        np.array([[1 / 1.2, 0, 0], [0, 1 / 1.2, 0], [0, 0, 1]]),
        np.array([[1.3, 0, 0], [0, 1 / 1.3, 0], [0, 0, 1]]),
        np.array([[1, 0, 2.3], [0, 1, -1.6], [0, 0, 1]]),
        np.array([[-1, 0, 0], [0, -1, 0], [0, 0, 1]]),
    ],
)
def test_a_transformed_spot_is_the_spot_of_transformed_places(matrix):
    x, y = grid(40, 48)
    image = bump(x, y).astype("float32")[None, ..., None]
    there = np.einsum("ij,jrc->irc", matrix, np.stack([x, y, np.ones_like(x)]))
    within = [
        limit - np.abs(2 * limit - np.abs(each + limit)) for each, limit in zip(there[:2], (23.5, 19.5), strict=True)
    ]  # mirrored
    found = affine.transformed(tf.constant(image), tf.constant(matrix[None], tf.float32))[0, ..., 0]
    np.testing.assert_allclose(found, bump(*within), atol=0.01)


def test_beyond_the_borders_images_are_mirrored():
    """A line along x, shifted by 4 pixels: what comes in falls where the line rose."""
    image = np.broadcast_to(np.arange(16.0)[None, :, None], (16, 16, 1)).astype("float32")[None]
    shift = tf.constant([[[1.0, 0, 4], [0, 1, 0], [0, 0, 1]]])
    expected = 15 - np.abs(15 - (np.arange(16) + 4))
    np.testing.assert_allclose(affine.transformed(tf.constant(image), shift)[0, 5, :, 0], expected, atol=0.4)
    np.testing.assert_array_equal(affine.moved(tf.constant(image), shift)[0, 5, :, 0], expected)


def test_gradients_pass_through_all_of_ada_twice(random):
    images = many(NOISE, 4)
    look = augmentation.view(("blit", "geometric", "color_affine", "cutout"), random)

    @tf.function
    def slopes(images):
        with tf.GradientTape() as outer:
            outer.watch(images)
            with tf.GradientTape() as tape:
                tape.watch(images)
                total = tf.reduce_sum(look(images) ** 3)
            slope = tape.gradient(total, images)
            square = tf.reduce_sum(slope**2)
        return slope, outer.gradient(square, images)

    for each in slopes(images):
        assert np.isfinite(each).all() and np.abs(each).max() > 0


class Dice:
    """A stream whose numbers are told beforehand, one after the other."""

    def __init__(self, *numbers):
        self.numbers = iter(numbers)

    def uniform(self, shape):
        return tf.fill(shape, tf.constant(next(self.numbers), tf.float32))

    normal = uniform


def test_colours_are_those_of_the_matrices_of_the_paper():
    """The product of the 4x4 matrices of appendix B: brightness, contrast, luma flip, hue and saturation."""
    b, c, theta, s = 0.2 * 0.7, 2 ** (0.5 * -0.4), np.pi * (2 * 0.8 - 1), 2**0.3
    v = np.ones(3) / np.sqrt(3)
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    hue = np.outer(v, v) + (np.eye(3) - np.outer(v, v)) * np.cos(theta) + cross * np.sin(theta)
    saturation = np.outer(v, v) + (np.eye(3) - np.outer(v, v)) * s
    matrix = saturation @ hue @ (np.eye(3) - 2 * np.outer(v, v)) * c
    # Luck below a chance of 1/2, then what it gives: brightness, contrast, flip, hue, saturation.
    dice = Dice(0.1, 0.7, 0.1, -0.4, 0.1, 0.9, 0.1, 0.8, 0.1, 0.3)
    found = augmentation.augment(tf.constant(NOISE[None]), ("color_affine",), dice, 0.5)
    np.testing.assert_allclose(found[0], (NOISE + b) @ matrix.T, atol=1e-5)
    # Of gray images luma is all there is: they are shifted, stretched, and turned over.
    gray = NOISE[None, ..., :1]
    found = augmentation.augment(tf.constant(gray), ("color_affine",), Dice(0.1, 0.7, 0.1, -0.4, 0.1, 0.9, 0.1, 0.3), 0.5)
    np.testing.assert_allclose(found, -c * (gray + b), atol=1e-5)


def test_a_turn_comes_with_the_chance_that_is_asked_though_there_are_two():
    """1 - (1 - q)^2 = p for q = 1 - sqrt(1 - p): luck of 0.4 is above q of p = 0.5, which is 0.29, and below p."""
    image = tf.constant(NOISE[None])
    still = Dice(0.9, 0.0, 0.9, 0.0, 0.4, 0.5, 0.4, 0.5, 0.9, 0.0, 0.0)  # size, stretch, two angles, shift
    np.testing.assert_allclose(augmentation.augment(image, ("geometric",), still, 0.5), image, atol=1e-5)
    turned = Dice(0.9, 0.0, 0.9, 0.0, 0.2, 0.75, 0.4, 0.5, 0.9, 0.0, 0.0)  # by a quarter
    image = bump(*grid(40, 40)).astype("float32")
    found = augmentation.augment(tf.constant(image[None, ..., None]), ("geometric",), turned, 0.5)
    np.testing.assert_allclose(found[0, ..., 0], np.rot90(image), atol=0.01)


def test_p_follows_known_signs():
    chance = AdaptiveChance(target=0.6, speed=1000, every=2)
    for scores, expected in [
        ([1.0, 2.0, 0.5, 3.0], 0.0),  # waits for the second batch
        ([1.0, 2.0, 0.5, -3.0], 8 / 1000),  # 6 of 8 signs are left, 0.75 > 0.6
        ([1.0, 1.0, -1.0, -1.0], 8 / 1000),
        ([1.0, 1.0, 1.0, 1.0], 0.0),  # 0.5 < 0.6
        ([-1.0, -1.0], 0.0),
        ([-1.0, -1.0], 0.0),  # never below 0
        ([[2.0]], 0.0),
        ([[2.0], [2.0], [2.0]], 4 / 1000),
    ]:
        chance.update(tf.constant(scores))
        assert float(chance.chance) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("run", [tf.function, lambda step: tf.function(step, jit_compile=True)])
def test_p_moves_in_graphs_too(run):
    chance = AdaptiveChance(speed=64, every=1)
    step = run(chance.update)
    for count in range(1, 4):
        step(tf.ones((16, 1)))
        assert float(chance.chance) == pytest.approx(count * 16 / 64)


def test_the_chance_of_a_model_follows_its_critic():
    """Which is the mean of all pixels, and sure of white images."""
    critic = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.GlobalAveragePooling2D()])
    critic.add(keras.layers.Dense(1, use_bias=False, kernel_initializer="ones"))
    generator = gz.networks.generator(2, (8, 8, 1), width=4)
    chance = AdaptiveChance(speed=64, every=2)
    model = gz.models.GAN(generator, critic, augment="mirror", augment_chance=chance, seed=0)
    model.compile(keras.optimizers.SGD(0.0), critic_optimizer=keras.optimizers.SGD(0.0), jit_compile=False)
    history = model.fit(np.ones((16, 8, 8, 1), "float32"), batch_size=4, verbose=0).history
    assert history["augment_chance"][0] == pytest.approx(np.mean([0, 0, 8, 8]) / 64)
    assert float(model.augment_chance.chance) == pytest.approx(16 / 64)


def test_the_chance_of_a_model_is_saved(images, tmp_path):
    chance = AdaptiveChance(speed=64, every=2)
    model = build("gan", augment=("blit", ("color_affine", 0.5)), augment_chance=chance)
    model.fit(batches("gan", images), verbose=0)
    model.augment_chance.chance.assign(0.37)
    model.save(tmp_path / "model.keras")
    again = gz.load(tmp_path / "model.keras")
    assert float(again.augment_chance.chance) == pytest.approx(0.37)
    assert again.augment == model.augment == ("blit", ("color_affine", 0.5))
    for each in (model, again):
        each.fit(batches("gan", images), verbose=0)
    for first, second in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    assert "augment_chance" not in build("gan").diagnostics


@pytest.mark.parametrize("settings", [{"steps_per_execution": 2}, {"jit_compile": True}])
def test_the_chance_of_a_model_is_the_same_however_its_steps_are_compiled(settings, images):
    chances = []
    for each in ({}, settings):
        chance = AdaptiveChance(target=-0.5, speed=64, every=2)
        model = build("gan", augment=("blit", ("color_affine", 0.5)), augment_chance=chance, **each)
        log = model.fit(batches("gan", images), epochs=2, verbose=0).history
        assert np.isfinite(log["loss"]).all()
        chances.append(float(model.augment_chance.chance))
    assert chances[0] == pytest.approx(chances[1]) and chances[0] > 0


def test_adaptive_is_a_name(images):
    model = build("gan", augment="mirror", augment_chance="adaptive")
    assert isinstance(model.augment_chance, AdaptiveChance) and model.augment_chance.target == 0.6
    assert np.isfinite(model.fit(batches("gan", images), verbose=0).history["loss"]).all()


def test_angles_and_sizes_are_of_the_distributions_of_the_paper(random):
    """Of the images of a spot: how far the spot's second moments say that it was enlarged, and where its centre went."""
    x, y = grid(33, 33)
    spot = np.exp(-(x**2 + y**2) / 18)[..., None].astype("float32")
    found = augmentation.augment(many(spot, 300), ("geometric",), random).numpy()[..., 0]
    mass = found.sum(axis=(1, 2))
    centre = (found * x).sum(axis=(1, 2)) / mass
    inside = np.abs(centre) < 6  # farther out the border mirrors some of it
    expected = scipy.stats.norm(0, 33 / 8).cdf(6) * 2 - 1
    assert inside.mean() == pytest.approx(expected, abs=0.12)
    sizes = np.log2(mass / spot.sum()) / 2  # an enlarged spot has the square of the size as much mass, stretched or not
    assert np.median(sizes) == pytest.approx(0, abs=0.05) and 0.12 < sizes[inside].std() < 0.3
