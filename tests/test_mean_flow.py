"""One-step models against the closed form of Gaussian data, whose average velocity is known."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo import weightings
from keras_genzoo.core import randomness
from keras_genzoo.models import MeanFlow
from keras_genzoo.models.mean_flow import derivative_along

STD = 0.4


def deviation(t):
    """Of z_t = (1 - t) x + t epsilon, with x from N(0, STD^2)."""
    return tf.sqrt(tf.square((1.0 - t) * STD) + tf.square(t))


def velocity(z, t):
    """Of the probability-flow equation, along which z keeps its quantile: z d log deviation / dt."""
    t = t[:, None, None, None]
    return z * (t - (1.0 - t) * STD**2) / tf.square(deviation(t))


@keras.saving.register_keras_serializable("tests")
class Average(keras.layers.Layer):
    """The average velocity between two times: (z_t - z_r) / (t - r), with z_r = z_t deviation(r) / deviation(t)."""

    def call(self, z, t, span):
        known = tf.where(span > 0, span, 1.0)[:, None, None, None]
        wide = t[:, None, None, None]
        average = z * (1.0 - deviation(wide - known) / deviation(wide)) / known
        return tf.where(span[:, None, None, None] > 0, average, velocity(z, t))


def exact(shape=(1, 1, 1), **settings):
    inputs = keras.Input(shape), keras.Input(()), keras.Input(())
    return MeanFlow(keras.Model(inputs, Average()(*inputs)), seed=0, **settings)


@pytest.mark.parametrize("end", ["drawn", "image"])
def test_the_average_velocity_of_gaussian_data_leaves_no_residual_and_one_call_maps(end):
    model = exact(end=end)
    t = tf.constant(np.linspace(0.15, 1.0, 18), tf.float32)
    r = tf.zeros_like(t) if end == "image" else t - tf.constant(np.tile([0.1, 0.15, 0.0], 6), tf.float32)
    z = tf.random.stateless_normal((18, 1, 1, 1), (0, 1)) * deviation(t)[:, None, None, None]
    residual = model.residual(z, velocity(z, t), r, t)
    np.testing.assert_allclose(residual, np.zeros(residual.shape), atol=1e-5)
    # By another velocity there is one: it is no accident.
    assert np.abs(model.residual(z, velocity(z, t) + 0.1, r, t)).max() > 0.05
    n = 2000
    images = model.sample(n, seed=0)
    noise = model.draw_latents(n, randomness.RowStream(0, 0)).numpy()
    np.testing.assert_allclose(2 * images - 1, np.clip(STD * noise, -1, 1), atol=1e-5)
    # So do several, and all the way is the same as its parts.
    np.testing.assert_allclose(model.sample(n, seed=0, steps=7), images, atol=1e-4)
    assert model.evaluations_per_sample == 1


def test_the_mean_of_the_residual_is_that_of_the_velocity_of_the_data():
    """Training sees epsilon - x, whose mean given z is the velocity: the gradient is that of the residual above."""
    model, n = exact(), 400_000
    x, epsilon = (tf.random.stateless_normal((n, 1, 1, 1), (0, seed)) for seed in (1, 2))
    t, r = tf.fill((n,), 0.6), tf.fill((n,), 0.2)
    z = 0.4 * STD * x + 0.6 * epsilon
    residual = model.residual(z, epsilon - STD * x, r, t).numpy().ravel()
    near = np.digitize(z.numpy().ravel(), [-0.6, -0.2, 0.2, 0.6])
    for place in range(5):
        found = residual[near == place]
        assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))


def test_times_are_pairs_of_which_a_share_differs():
    sampling = weightings.LogitNormal(-0.4)
    model, n = exact(share=0.25), 20_000
    r, t = (each.numpy() for each in model.draw_times(n, model.random))
    assert np.all(r <= t) and np.mean(r < t) == pytest.approx(0.25, abs=0.01)
    assert isinstance(model.time_sampling, weightings.LogitNormal) and model.time_sampling.mean == sampling.mean
    # Where they differ the later one is the larger of two draws: its distribution function is the square.
    logit = np.log(t[r < t] / (1 - t[r < t])) + 0.4
    assert scipy.stats.kstest(logit, lambda at: scipy.stats.norm.cdf(at) ** 2).pvalue > 1e-3
    r, t = (each.numpy() for each in exact(share=1.0, end="image").draw_times(n, model.random))
    assert not np.any(r) and scipy.stats.kstest(np.log(t / (1 - t)) + 0.4, "norm").pvalue > 1e-3


def test_losses_are_divided_by_a_power_of_themselves(images):
    for power in (0.0, 0.5, 1.0):
        model = gz.build("mean_flow", (8, 8, 1), width=8, multipliers=(1,), power=power, seed=0, run_eagerly=True)
        x, stream = tf.constant(images / 127.5 - 1, tf.float32), randomness.Stream(5, keras.Variable(0, dtype="int64"))
        terms = model.terms_of(x, None, stream, training=False)
        squares = 64 * terms["residual_loss"].numpy()
        np.testing.assert_allclose(terms["loss"], squares / (squares + 1e-3) ** power, rtol=1e-4)
    assert model.monitor == "residual_loss"


def test_a_derivative_along_directions_is_that_of_a_difference():
    network = gz.networks.unet((4, 4, 1), width=8, multipliers=(1, 2), attention=(1,), spans=True)
    for index, variable in enumerate(network.trainable_variables):
        variable.assign(variable + np.random.default_rng(index).normal(0, 0.2, variable.shape))
    z, v = (tf.random.stateless_normal((3, 4, 4, 1), (0, seed)) for seed in (0, 1))
    t, span = tf.constant([0.3, 0.5, 0.9]), tf.constant([0.1, 0.0, 0.9])
    function = lambda z, t: network([z, t, span])  # noqa: E731
    value, slope = tf.function(lambda: derivative_along(function, (z, t), (v, tf.ones_like(t))))()
    np.testing.assert_allclose(value, function(z, t), atol=1e-5)
    h = 1e-4
    difference = (function(z + h * v, t + h) - function(z - h * v, t - h)) / (2 * h)
    # Times are told by sines of up to a thousand times the time, and outputs are rounded.
    np.testing.assert_allclose(slope, difference, atol=0.05 * np.abs(slope).max())


def test_classes_are_told_and_networks_without_spans_are_refused(images):
    model = gz.build("mean_flow", (8, 8, 1), width=8, multipliers=(1,), num_classes=3, seed=0, run_eagerly=True)
    model.fit(images, np.arange(16) % 3, verbose=0)
    assert model.conditional and model.sample(4, seed=0, labels=[0, 1, 2, 0]).shape == (4, 8, 8, 1)
    with pytest.raises(ValueError, match="expected images, times and spans; build it with spans=True"):
        MeanFlow(gz.networks.unet((8, 8, 1), width=8, multipliers=(1,)))
    with pytest.raises(ValueError, match="which then has no derivative; build it with remat=False"):
        gz.build("mean_flow", (8, 8, 1), width=8, multipliers=(1,), remat=True)
    with pytest.raises(ValueError, match="end is 'noise', expected 'drawn' or 'image'"):
        exact(end="noise")
