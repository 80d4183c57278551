"""Numbers that follow the images of a training: ramps, Adam and averages by half-lives, against closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_case import SHAPE, batches, build

import keras_genzoo as gz
from keras_genzoo.core.ramps import HalfLife, Ramp, RampedAdam


def test_a_ramp_is_half_a_cosine_or_a_line_and_stays_at_its_end():
    seen = np.array([0, 25, 50, 75, 100, 900])
    share = np.minimum(seen / 100, 1)
    for shape, expected in (("cosine", (1 - np.cos(np.pi * share)) / 2), ("linear", share)):
        ramp = Ramp(3.0, -1.0, images=100, shape=shape)
        np.testing.assert_allclose([float(ramp(each)) for each in seen], 3 - 4 * expected, atol=1e-6)


def test_a_ramp_is_of_images_or_of_steps():
    seen = tf.constant([64, 2], tf.int64)
    assert float(Ramp(0.0, 1.0, images=128)(seen)) == pytest.approx(0.5)
    assert float(Ramp(0.0, 1.0, steps=8, shape="linear")(seen)) == pytest.approx(0.25)


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: Ramp(0.0, 1.0), "images is None and steps is None, expected one of them"),
        (lambda: Ramp(0.0, 1.0, images=5, steps=5), "images is 5 and steps is 5, expected one of them"),
        (lambda: Ramp(0.0, 1.0, images=0), "images is 0, expected a finite number above 0"),
        (lambda: Ramp(0.0, 1.0, images=5, shape="square"), "shape is 'square', expected one of cosine, linear"),
        (lambda: HalfLife(0), "images is 0, expected a finite number above 0"),
        (lambda: HalfLife(Ramp(-1.0, 5.0, images=5)), "images is -1.0, expected a finite number of at least 0"),
        (lambda: gz.build("gan", SHAPE, width=4, ema=2.0), "ema is 2.0, expected None or a decay between 0 and 1"),
        (lambda: gz.build("gan", SHAPE, width=4, augment_chance=1.5), "augment_chance is 1.5, expected a finite number of at"),
        (lambda: gz.adversarial.SlopePenalty(Ramp(1.0, 0.0, images=5)), "expected a number above 0"),
    ],
)
def test_a_wrong_argument_is_one_sentence(make, sentence):
    with pytest.raises(ValueError) as caught:
        make()
    assert sentence in str(caught.value)


class Counted(gz.GenerativeModel):
    """Its one weight w has a slope of the step's number, 1, 2, ..., whatever the images."""

    image_shape, averaged = SHAPE, ("network",)
    optimizers = {"optimizer": ("network",)}

    def __init__(self, network, **kwargs):
        super().__init__(**kwargs)
        self.network = network

    def call(self, x):
        return self.network(self.images_of(x))

    def train_step(self, data):
        step = tf.cast(self._place.now()[1] + 1, tf.float32)
        terms = lambda: {"loss": step * tf.reduce_sum(self.network.trainable_variables[0])}  # noqa: E731
        return self.track(self.minimize(terms, ("network",), self.optimizer))


def counted(optimizer, **settings):
    layers = keras.layers.Flatten(), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = Counted(keras.Sequential([keras.Input(SHAPE), *layers]), seed=0, **settings)
    model.compile(optimizer, jit_compile=False)
    return model


def test_adam_follows_its_ramps_by_images(images):
    """With beta_1 = 0 a step is -rate * g / sqrt(v / (1 - beta_2^t)), v by the beta_2 of the step."""
    rate, beta_2 = Ramp(0.2, 0.05, images=12), Ramp(0.5, 0.9, images=12)
    model = counted(RampedAdam(rate, beta_1=0.0, beta_2=beta_2))
    weight = variance = 0.0
    for step in range(1, 5):
        model.fit(images[:4], batch_size=4, verbose=0)
        share = (1 - np.cos(np.pi * min(4 * (step - 1) / 12, 1))) / 2
        b, lr = 0.5 + 0.4 * share, 0.2 - 0.15 * share
        variance = b * variance + (1 - b) * step**2
        weight -= lr * step / np.sqrt(variance / (1 - b**step))
        np.testing.assert_allclose(model.network.trainable_variables[0], weight, rtol=1e-5)
    assert model._place.now().numpy().tolist() == [16, 4]
    assert model.optimizer.seen.numpy().tolist() == [12, 3]  # as it was told before its last step


def test_adam_without_ramps_is_that_of_keras(images):
    theirs, own = keras.optimizers.Adam(0.1, 0.5, 0.9, 1e-8), RampedAdam(0.1, 0.5, 0.9)
    found = [counted(each) for each in (theirs, own)]
    for model in found:
        model.fit(images, batch_size=4, verbose=0)
    first, second = (model.network.get_weights()[0] for model in found)
    np.testing.assert_allclose(first, second, rtol=1e-6)


@pytest.mark.parametrize("half_life", [HalfLife(8.0), HalfLife(Ramp(0.0, 8.0, images=12)), HalfLife(8.0, share=0.5)])
def test_an_average_forgets_half_in_its_half_life(half_life, images):
    model = counted(keras.optimizers.SGD(0.1), ema=half_life)
    weight = expected = 0.0
    for step in range(1, 5):
        model.fit(images[:4], batch_size=4, verbose=0)
        weight -= 0.1 * step
        seen = 4 * (step - 1)
        length = 8.0 if half_life.images == 8.0 else 4 * (1 - np.cos(np.pi * min(seen / 12, 1)))
        length = length if half_life.share is None else min(length, 0.5 * seen)
        kept = 0.0 if length == 0 else 0.5 ** (4 / length)
        expected = kept * expected + (1 - kept) * weight
        ((_, average),) = model._averages.all
        np.testing.assert_allclose(average, expected, rtol=1e-5)


def test_where_ramps_are_is_saved(images, tmp_path):
    model = build("r3gan", decay_images=40, half_life=16)
    data = batches("r3gan", images)
    model.fit(data, verbose=0)
    model.save(tmp_path / "model.keras")
    again = gz.load(tmp_path / "model.keras")
    share = (1 - np.cos(np.pi * 12 / 40)) / 2  # of the last of four steps of 4 images
    for each in (model, again):
        assert float(each.penalties[0].weight_now) == pytest.approx(0.5 - 0.45 * share, rel=1e-5)
        assert float(each.critic_optimizer.learning_rate) == pytest.approx(1e-3 - 0.75e-3 * share, rel=1e-5)
        assert float(each.optimizer.beta_2) == pytest.approx(0.9 + 0.09 * share, rel=1e-5)
        assert each._place.now().numpy().tolist() == [16, 4]
        assert each.fit(data, verbose=0).history["augment_chance"][0] == pytest.approx(
            np.mean([0.15 * (1 - np.cos(np.pi * seen / 40)) for seen in (16, 20, 24, 28)]), rel=1e-5
        )
    for first, second in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_ramps_go_along_the_planned_steps_unless_images_are_told():
    model = gz.build("r3gan", SHAPE, total_steps=70, width=4, depth=1)
    assert model.penalties[0].weight.steps == model.optimizer._learning_rate.steps == model.augment_chance.steps == 70
    model = gz.build("r3gan", SHAPE, total_steps=70, width=4, depth=1, decay_images=500)
    assert (model.ema.images.images, model.ema.images.steps) == (500, None)


@pytest.mark.slow
def test_two_devices_count_the_images_of_the_whole_batch(images, replicas):
    found = []
    for scope in (tf.distribute.get_strategy().scope(), replicas.scope()):
        with scope:
            model = build("r3gan", decay_images=16)
        model.fit(batches("r3gan", images[:9], drop_remainder=False), verbose=0)
        assert model._place.now().numpy().tolist() == [9, 3]
        found.append(float(model.optimizer.beta_2))
    assert found[0] == pytest.approx(found[1]) and found[0] == pytest.approx(0.9 + 0.09 * (1 - np.cos(np.pi * 8 / 16)) / 2)
