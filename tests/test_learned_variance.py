"""The variance of a chain's steps that a network learns, against what is best for Gaussian data."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from test_diffusion import Optimal, bound, gaussian_model, numbers, walk

import keras_genzoo as gz
from keras_genzoo import samplers, schedules
from keras_genzoo.core import randomness
from keras_genzoo.models import Diffusion

STEPS, STD = 5, 0.4
SCHEDULE = schedules.Linear(0.05, 0.6, STEPS)  # few and wide steps, in which a fixed variance is far from the best


def best_v():
    """The v of the best variance of the steps 1 to 5 (Nichol and Dhariwal 2021, eq. 15)."""
    signal, noise = numbers(SCHEDULE, np.arange(STEPS + 1) / STEPS)
    ratio = signal[1:] / signal[:-1]
    large = noise[1:] ** 2 - ratio**2 * noise[:-1] ** 2
    small = large * noise[:-1] ** 2 / noise[1:] ** 2
    unknown = STD**2 * noise[1:] ** 2 / (signal[1:] ** 2 * STD**2 + noise[1:] ** 2)  # of the image given x_t
    best = small + (signal[:-1] * large / noise[1:] ** 2) ** 2 * unknown
    small[0] = small[1]
    return np.log(best / small) / np.log(large / small)


V = best_v()


@keras.saving.register_keras_serializable("tests")
class OptimalVariance(Optimal):
    """The best output and the best v."""

    def call(self, x, told):
        index = tf.cast(tf.round(told * STEPS), tf.int32) - 1
        v = tf.gather(tf.constant(V, tf.float32), tf.clip_by_value(index, 0, STEPS - 1))[:, None, None, None]
        return tf.concat([super().call(x, told), v + 0.0 * x], axis=-1)


def best_model(**settings):
    inputs = keras.Input((1, 1, 1)), keras.Input(())
    prediction = schedules.PREDICTIONS["epsilon"]()
    network = keras.Model(inputs, OptimalVariance(SCHEDULE, prediction, STD)(*inputs))
    return Diffusion(network, SCHEDULE, prediction, timesteps=STEPS, seed=0, **settings)


def test_the_variance_lies_between_those_of_ddpm_on_a_scale_of_logarithms():
    small, large = 0.02, 0.5
    for v, expected in ((0.0, small), (1.0, large), (0.5, np.sqrt(small * large)), (-1.0, small**2 / large)):
        assert float(samplers.learned_variance(tf.constant(v), small, large)) == pytest.approx(expected, rel=1e-5)


def test_the_best_variance_makes_the_bound_of_gaussian_data_their_likelihood():
    """The chain that goes back is Gaussian too, so that no step loses anything; only its end is not quite noise."""
    model = best_model()
    x = STD * np.random.default_rng(0).normal(size=(200_000, 1, 1, 1)).astype("float32")
    signal, noise = numbers(SCHEDULE, 1.0)
    ratio = (signal**2 * STD**2 + noise**2) / float(model.prior_scale) ** 2
    exact = scipy.stats.norm(0, STD).logpdf(x).mean() - 0.5 * (ratio - 1 - np.log(ratio))
    assert bound(model, x, variance=None) == pytest.approx(exact, abs=0.012)
    for variance in ("large", "small"):
        assert bound(model, x, variance) < exact - 0.05
    fixed = gaussian_model(SCHEDULE, "epsilon", std=STD, timesteps=STEPS)
    assert bound(fixed, x, variance=None) == pytest.approx(bound(model, x, "large"), abs=1e-4)
    with pytest.raises(ValueError, match=r"variance is 'learned', expected 'large', 'small', or 'learned' by a network"):
        bound(fixed, x[:2], "learned")


def test_the_loss_draws_the_variance_to_the_best_and_leaves_the_prediction_alone():
    n, model = 100_000, best_model()
    random = np.random.default_rng(0)
    x, epsilon = STD * random.normal(size=(n, 1, 1, 1)), random.normal(size=(n, 1, 1, 1))
    for index in (2, 4):
        signal, noise = numbers(SCHEDULE, index / STEPS)
        x_t = tf.constant(signal * x + noise * epsilon, tf.float32)
        output, _ = model.heads(x_t, tf.fill((n,), index / STEPS), None)
        slopes = []
        for away in (-0.3, 0.0, 0.3):
            v = tf.constant(V[index - 1] + away, tf.float32)
            with tf.GradientTape() as tape:
                tape.watch(v)
                every = v + tf.zeros((n, 1, 1, 1))
                loss = tf.reduce_mean(
                    model.variance_loss(tf.constant(x, tf.float32), x_t, output, every, tf.fill((n,), 1.0 * index))
                )
            slopes.append(float(tape.gradient(loss, v)))
        assert slopes[0] < 0 < slopes[2] and abs(slopes[1]) < 0.1 * min(-slopes[0], slopes[2]), slopes


def gradients(weight, images):
    """Of the last layer of a small U-Net, from noise that is the same each time; of the prediction, and of the variance."""
    model = gz.build("ddpm", (8, 8, 1), width=8, multipliers=(1,), patch=1, seed=0, learned_variance=True, variance_weight=weight)
    for index, variable in enumerate(model.network.trainable_variables):
        variable.assign(np.random.default_rng(index).normal(0, 0.1, variable.shape))
    stream = randomness.Stream(3, keras.Variable(0, dtype="int64", trainable=False))
    kernel = model.network.get_layer("last").kernel
    with tf.GradientTape() as tape:
        error, *_ = model.errors(2.0 * model.images_of(images) - 1.0, None, stream, training=True)
        loss = tf.reduce_mean(error)
    return np.split(tape.gradient(loss, kernel.value).numpy(), 2, axis=-1)


def test_no_gradient_of_the_bound_reaches_the_prediction(images):
    (first, none), (second, some) = (gradients(weight, images) for weight in (0.0, 1.0))
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6)
    assert np.abs(first).max() > 1e-3 and not np.any(none) and np.abs(some).max() > 1e-3


def test_ancestral_sampling_with_the_best_variance_keeps_the_exact_deviation_in_few_steps():
    model, times = best_model(), np.array([1.0, 0.8, 0.6, 0.4, 0.2])
    (first, last), (first_noise, last_noise) = numbers(SCHEDULE, [1.0, 0.2])
    start = np.hypot(first * STD, first_noise) * np.random.default_rng(0).normal(size=(200_000, 1, 1, 1))
    exact = last**2 * STD**2 + last_noise**2
    assert walk(model, samplers.Ancestral(), times, start).var() == pytest.approx(exact, rel=0.02)
    for variance in ("small", "large"):
        assert abs(walk(model, samplers.Ancestral(variance), times, start).var() / exact - 1) > 0.05


def test_ddpm_learns_its_variance_if_asked(images, tmp_path):
    sizes = {"width": 8, "multipliers": (1,), "steps": 3, "seed": 0, "learned_variance": True}
    model = gz.build("ddpm", (8, 8, 1), timesteps=20, sampler="ddpm", **sizes, run_eagerly=True)
    assert np.isfinite(model.fit(images, epochs=2, verbose=0).history["loss"]).all()
    assert model.network.output_shape == (None, 8, 8, 2) and model.sample(3, seed=0).shape == (3, 8, 8, 1)
    assert np.isfinite(model.log_prob(images[:2], samples=2)).all()
    model.save(tmp_path / "model.keras")
    again = gz.load(tmp_path / "model.keras")
    np.testing.assert_allclose(again.log_prob(images[:2], samples=2), model.log_prob(images[:2], samples=2), rtol=1e-5)
    classes = gz.build("ddpm", (8, 8, 1), timesteps=20, sampler="ddpm", num_classes=3, **sizes)
    assert classes.sample(3, seed=0, labels=[0, 1, 2], guidance=2.0).shape == (3, 8, 8, 1)
    with pytest.raises(ValueError, match=r"the network puts out 2 channels for images of 1, .* timesteps is None"):
        gz.build("flow_matching", (8, 8, 1), **sizes)
    with pytest.raises(ValueError, match="variance_weight is -1"):
        gz.build("ddpm", (8, 8, 1), variance_weight=-1, **sizes)
