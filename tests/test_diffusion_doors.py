"""Parts of diffusion models where they meet: times and schedules, weights and draws, labels, missing pixels, bad numbers."""

import functools
import itertools
import re

import keras
import numpy as np
import pytest
import scipy.integrate
import tensorflow as tf
from test_diffusion import SCHEDULES, gaussian_model

import keras_genzoo as gz
from keras_genzoo import samplers, schedules, weightings
from keras_genzoo.core import randomness
from keras_genzoo.models import Diffusion

TINY = {"width": 8, "multipliers": (1,), "steps": 2, "seed": 0}

# Times


def test_timesteps_have_the_noise_levels_of_the_papers():
    edm, ncsn = (gz.build(name, (8, 8, 1), timesteps=steps, **TINY) for name, steps in (("edm", 1000), ("ncsn", 10)))
    t, *_ = edm.draw_times(4000, edm.random)
    # exp(-1.2 + 1.2 z) at the quartiles of a normal z (Karras et al., table 1).
    np.testing.assert_allclose(np.quantile(t, [0.25, 0.5, 0.75]), np.exp(-1.2 + 1.2 * np.array([-0.6745, 0, 0.6745])), rtol=0.02)
    t, *_ = ncsn.draw_times(4000, ncsn.random)
    np.testing.assert_allclose(np.unique(t), np.geomspace(0.01, 50, 10), rtol=1e-4)  # Song and Ermon 2019, section 4.3


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_times_keep_their_quantiles_when_they_are_a_thousand(schedule):
    for sampling in weightings.TIME_SAMPLINGS:
        if sampling == "log_normal" and not SCHEDULES[schedule]().time_is_noise:
            continue
        kwargs = {"schedule": schedule, "time_sampling": sampling}
        quantiles = []
        for timesteps in (None, 1000):
            model = gaussian_model(**kwargs, timesteps=timesteps)
            t, *_ = model.draw_times(20_000, model.random)
            quantiles.append(model.schedule.position(t).numpy())
        first, second = (np.quantile(each, np.linspace(0, 1, 21)) for each in quantiles)
        np.testing.assert_allclose(second, first, atol=2e-3, err_msg=sampling)
        # And a sampler of as many steps looks at the times that were learned.
        times = samplers.Ancestral().times(model.schedule, 1000).astype("float32")
        assert np.isclose(np.unique(t)[:, None], times, rtol=1e-4).any(axis=1).all()


def test_log_normal_times_need_a_schedule_of_noise_levels():
    for schedule in ("linear", "cosine", "rectified_flow"):
        with pytest.raises(ValueError, match=r"log-normal times .* and those of .* are not; take the schedule 'edm'"):
            gaussian_model(schedule, time_sampling="log_normal")
    with pytest.raises(ValueError, match="log-normal times are noise levels"):
        gz.build("ddpm", (8, 8, 1), time_sampling="log_normal", **TINY)


# Weights


SETTINGS = [
    ("cosine", "v", "uniform"),
    ("linear", "epsilon", "importance"),
    ("rectified_flow", "velocity", "logit_normal"),
    ("edm", "edm", "log_normal"),
    ("geometric", "epsilon", "uniform"),
]


@pytest.mark.parametrize("schedule, prediction, sampling", SETTINGS)
def test_the_sigmoid_weighs_an_integral_over_log_snr_whatever_is_drawn_and_learned(schedule, prediction, sampling):
    """Kingma and Gao 2023: of Gaussian images the best error of the noise at log SNR l is s / (s + 1), s = std^2 exp(l)."""
    std = 0.3
    for timesteps in (None, 1000):
        settings = {"loss_weight": "sigmoid", "time_sampling": sampling, "timesteps": timesteps}
        model = gaussian_model(schedule, prediction, std=std, **settings)
        model.compile(run_eagerly=True)
        images = 0.5 + 0.5 * std * np.random.default_rng(0).normal(size=(40_000, 1, 1, 1))
        found = model.evaluate(np.clip(images, 0, 1).astype("float32"), batch_size=40_000, verbose=0)
        error = lambda ratio: std**2 / (std**2 + np.exp(-ratio)) / (1 + np.exp(ratio - 2))  # noqa: E731
        first, last = (float(model.schedule.log_snr(tf.constant(t))) for t in (model.schedule.t_max, model.schedule.t_min))
        expected = scipy.integrate.quad(error, max(first, -40), min(last, 40))[0]
        loss = found[0] if isinstance(found, list) else found
        assert loss == pytest.approx(expected, rel=0.05), timesteps


# The network


@pytest.mark.parametrize("kind", ["ddpm", "ddpm++"])
def test_attention_begins_as_the_identity_and_learns(kind, images):
    network = gz.networks.unet((8, 8, 1), width=8, multipliers=(1, 2), attention=(1,), heads=2, kind=kind)
    added = network.get_layer("middle_attention")
    around = keras.Model(network.inputs, [added.input[0], added.output])
    before, after = around([np.random.default_rng(0).normal(size=(2, 8, 8, 1)), np.array([0.1, 0.7])])
    np.testing.assert_allclose(after, before, atol=1e-6)
    if kind == "ddpm":
        model = Diffusion(network, seed=0)
        model.compile(run_eagerly=True)
        model.fit(images, epochs=2, batch_size=16, verbose=0)
        assert np.abs(network.get_layer("middle_attention_heads").last.kernel).max() > 0


# Labels


def conditional(label_dropout, **settings):
    """A model of three classes, with a network of a single layer that heeds everything."""
    inputs = keras.Input((8, 8, 1)), keras.Input(()), keras.Input((3,))
    parts = [keras.layers.Flatten()(inputs[0]), keras.layers.Reshape((1,))(inputs[1]), inputs[2]]
    layer = keras.layers.Dense(64, kernel_initializer=keras.initializers.RandomNormal(stddev=0.1, seed=0))
    output = keras.layers.Reshape((8, 8, 1))(layer(keras.layers.Concatenate()(parts)))
    schedule = schedules.Linear(1e-3, 0.2, 50)
    settings = {"label_dropout": label_dropout, "timesteps": 50, "steps": 2, "seed": 0, **settings}
    return Diffusion(keras.Model(inputs, output), schedule, "epsilon", **settings)


def test_a_model_never_trained_without_labels_is_not_asked_for_what_it_would_do(images):
    model, x = conditional(0.0), images[:2]
    z = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
    for call in (
        lambda: model.encode(x),
        lambda: model.decode(z),
        lambda: model.reconstruct(x),
        lambda: model.interpolate(x, x, steps=2),
        lambda: model.log_prob(x, samples=2),
        lambda: model.bits_per_dim(x, samples=2),
        lambda: model.sample(2, guidance=2.0),
        lambda: model.inpaint(x, np.ones((8, 8)), guidance=2.0),
    ):
        with pytest.raises(ValueError, match="with label_dropout=0 the network never learned of images without labels"):
            call()
    labels = np.array([0, 2])
    assert model.reconstruct(x, labels=labels).shape == (2, 8, 8, 1)
    assert model.interpolate(x, x, steps=2, labels=labels).shape == (2, 2, 8, 8, 1)
    assert model.bits_per_dim(x, samples=2, labels=labels).shape == (2,)
    assert model.sample(2, labels=labels).shape == (2, 8, 8, 1)


def test_codes_and_likelihoods_are_those_of_the_labels(images):
    model, x, labels = conditional(0.1), images[:2], np.array([0, 1])
    log_prob = functools.partial(model.log_prob, samples=1)
    for member, of in ((model.encode, x), (model.decode, model.encode(x)), (log_prob, x)):
        first, swapped, none = member(of, labels=labels), member(of, labels=labels[::-1].copy()), member(of)
        assert np.abs(first - swapped).max() > 1e-4 and np.abs(first - none).max() > 1e-4
        # What the other label does to one image does not touch the other image.
        np.testing.assert_allclose(first[:1], member(of, labels=[0, 2])[:1], atol=1e-3)
    for bad, sentence in [
        ([[0], [1]], r"labels have shape \(2, 1\)"),
        ([0], "there are 1 labels of 2 images"),
        ([0, 3], "lie between 0 and 3, expected .* between 0 and 2"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            model.encode(x, labels=bad)
    with pytest.raises(ValueError, match=r"labels were given, but Diffusion .* has no classes"):
        gaussian_model("linear").encode(np.zeros((1, 1, 1, 1)), labels=[0])


@keras.saving.register_keras_serializable("tests")
class Silent(keras.layers.Layer):
    """Puts out zeros, and keeps the labels that it is told."""

    def build(self, *shapes):
        self.told = []

    def call(self, x, t, labels=None):
        self.told.append(labels)
        return 0.0 * x


def silent(shape, **settings):
    """A model of four classes whose network puts out zeros, and the layer that keeps labels; compiled, and not to learn."""
    inputs, layer = (keras.Input(shape), keras.Input(()), keras.Input((4,))), Silent()
    model = Diffusion(keras.Model(inputs, layer(*inputs)), seed=0, **settings)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    layer.told.clear()
    return model, layer


@pytest.mark.parametrize("latent", [False, True])
def test_the_loss_of_a_silent_network_is_that_of_its_target_and_labels_are_dropped_in_training_alone(latent):
    """Of the velocity epsilon - x the mean over pixels is 1 + x^2: 2 of white images, and of codes that were made standard."""
    n, shape = 4000, (1, 1, 6) if latent else (4, 4, 3)
    model, layer = silent(shape, label_dropout=0.3)
    images = np.ones((n, 4, 4, 3), "float32")
    if latent:
        encoder, decoder = gz.networks.mlp((4, 4, 3), 6, depth=0), gz.networks.mlp(6, (4, 4, 3), width=4)
        model = gz.models.LatentDiffusion(gz.models.Autoencoder(encoder, decoder), model, train_autoencoder=False, seed=0)
        model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        images = np.random.default_rng(0).random(images.shape).astype("float32")
    labels = np.arange(n) % 4
    assert model.train_on_batch(images, labels, return_dict=True)["loss"] == pytest.approx(2, abs=0.03)
    told = np.asarray(layer.told.pop())
    kept = told.any(axis=1)
    assert kept.mean() == pytest.approx(0.7, abs=0.03)
    np.testing.assert_array_equal(told, kept[:, None] * np.eye(4)[labels])
    if latent:
        model.normalize.moving_mean.assign(np.mean(model.encode(images), axis=0))
        model.normalize.moving_variance.assign(np.var(model.encode(images), axis=0))
    assert model.test_on_batch(images, labels, return_dict=True)["loss"] == pytest.approx(2, abs=0.03)
    np.testing.assert_array_equal(layer.told.pop(), np.eye(4)[labels])


# Missing pixels


@keras.saving.register_keras_serializable("tests")
class Together(keras.layers.Layer):
    """The best velocity for two pixels of deviation 0.3 and correlation 0.9."""

    def call(self, x, t):
        half = 0.5**0.5 * tf.constant([[1.0, 1.0], [1.0, -1.0]])
        t = t[:, None]
        x_t = x[:, 0, :, 0] * tf.sqrt((1 - t) ** 2 + t**2)  # the network is given it with variance 1
        along = tf.matmul(x_t, half)
        variance = 0.09 * tf.constant([1.9, 0.1])
        total = (1 - t) ** 2 * variance + t**2
        velocity = (t - (1 - t) * variance) / total * along
        return tf.matmul(velocity, half)[:, None, :, None]


def test_missing_pixels_are_drawn_given_the_known_ones():
    """As the algebra of the method says: E[missing | known] = slope * known, and a deviation around it."""
    inputs = keras.Input((1, 2, 1)), keras.Input(())
    model = Diffusion(keras.Model(inputs, Together()(*inputs)), seed=0)
    x = np.full((4000, 1, 2, 1), 0.5, "float32")
    x[:, 0, 0, 0] = np.clip(0.5 + 0.15 * np.random.default_rng(0).normal(size=4000), 0, 1)
    made = model.inpaint(x, np.array([[True, False]]), seed=0, steps=100)
    np.testing.assert_array_equal(made[:, 0, 0], x[:, 0, 0])
    known, missing = 2 * made[:, 0, :, 0].T - 1
    covariance, slope, variance = 0.09 * np.array([[1, 0.9], [0.9, 1]]), 0.0, 1.0
    for t, s in itertools.pairwise(np.linspace(1, 0, 101)):
        of_known, of_missing = (1 - t) * np.linalg.solve((1 - t) ** 2 * covariance + t**2 * np.eye(2), covariance)[1]
        ratio = (1 - t) / (1 - s)  # q(x_s | x_t, image) of the line: signal 1 - t, noise t
        excess = t**2 - (ratio * s) ** 2
        keep, image = ratio * s**2 / t**2, (1 - s) * excess / t**2
        slope = (keep + image * of_missing) * slope + image * of_known * (1 - t)
        variance = (keep + image * of_missing) ** 2 * variance + (image * of_known * t) ** 2 + excess * s**2 / t**2
    found = np.polyfit(known, missing, 1)[0]
    assert found == pytest.approx(slope, abs=0.03) and slope > 0.6  # of 0.9, which the method does not reach
    assert (missing - found * known).std() == pytest.approx(variance**0.5, rel=0.05)


def test_the_noise_of_known_pixels_is_not_that_of_the_step():
    class Walk(samplers.Sampler):
        def step(self, state, denoise, schedule, t, t_next, key):
            keys.append(tuple(key.numpy()))
            return state

    keys, times = [], tf.constant([1.0, 0.6, 0.3, 0.0])
    after = lambda x, t, key: keys.append(tuple(key.numpy())) or x  # noqa: E731
    samplers.solve(Walk(), None, schedules.RectifiedFlow(), tf.zeros((1, 1)), times, randomness.make_key(3), after)
    assert len(set(keys)) == len(keys) == 2 * 3


def test_in_painting_serves_conditional_models_and_clips_and_does_not_depend_on_the_batch(images):
    model = conditional(0.1, clip=True)
    mask = np.zeros((8, 8, 1))
    mask[:4] = 1
    settings = {"seed": 3, "labels": np.arange(7) % 3, "steps": 3, "guidance": 2.0}
    whole, parts = (model.inpaint(images[:7], mask, batch_size=size, **settings) for size in (7, 3))
    np.testing.assert_allclose(whole, parts, atol=1e-4)
    np.testing.assert_allclose(whole[:, :4], images[:7, :4] / np.float32(255), atol=1e-6)
    assert whole[:, 4:].std() > 0 and whole.min() >= 0 and whole.max() <= 1
    other = model.inpaint(images[:7], mask, **{**settings, "labels": (np.arange(7) + 1) % 3})
    assert np.abs(other - whole)[:, 4:].max() > 1e-3
    for sampler in ("heun", "dpm_solver", "ddim"):
        assert model.inpaint(images[:2], mask[..., 0] == 1, steps=3, sampler=sampler, seed=0).shape == (2, 8, 8, 1)
    for bad, sentence in [
        (np.ones((5, 8)), "mask has shape (5, 8, 1), expected one that broadcasts to (7, 8, 8, 1)"),
        (0.5 * mask, "mask holds other values than 0 and 1"),
    ]:
        with pytest.raises(ValueError, match=re.escape(sentence)):
            model.inpaint(images[:7], bad)
    with pytest.raises(ValueError, match="images are floats between"):
        model.inpaint(images[:7].astype("float32"), mask)


# Numbers


def test_numbers_are_checked_and_those_of_numpy_are_taken():
    classes = conditional(0.1)
    for call, sentence in [
        (lambda: samplers.Heun(churn=-3), "churn is -3, expected a finite number of at least 0"),
        (lambda: samplers.Heun(churn=float("nan")), "churn is nan"),
        (lambda: samplers.Heun(churn=1.0, churn_range=(5, 1)), "churn_range is (5, 1), expected two numbers (low, high)"),
        (lambda: samplers.Heun(churn=1.0, churn_range=3), "churn_range is 3"),
        (lambda: samplers.AnnealedLangevin(repeats=0), "repeats is 0, expected a whole number of at least 1"),
        (lambda: samplers.AnnealedLangevin(step_size=0), "step_size is 0, expected a finite number above 0 and below 2"),
        (lambda: samplers.DDIM(float("nan")), "eta is nan, expected a number between 0 and 1"),
        (lambda: schedules.EDM(rho=0), "rho is 0, expected a finite number above 0"),
        (lambda: schedules.Cosine(t_max=1.5), "t_max is 1.5, expected a finite number above 0.001 and of at most 1"),
        (lambda: schedules.Sigmoid(temperature=0), "temperature is 0"),
        (lambda: schedules.Linear(timesteps=0), "timesteps is 0, expected a whole number of at least 2"),
        (lambda: schedules.ZeroTerminalSNR(schedules.EDM()), "expected a Schedule that preserves variance"),
        (lambda: schedules.Preconditioned(0), "sigma_data is 0"),
        (lambda: weightings.MinSNR(-1), "gamma is -1, expected a finite number above 0"),
        (lambda: weightings.EDMWeight(0.0), "sigma_data is 0.0"),
        (lambda: weightings.Importance(bins=0), "bins is 0, expected a whole number of at least 1"),
        (lambda: weightings.Importance(decay=1.0), "decay is 1.0, expected a finite number of at least 0 and below 1"),
        (lambda: weightings.LogitNormal(std=0), "std is 0"),
        (lambda: classes.sample(1, guidance=float("nan")), "guidance is nan, expected a finite number"),
        (lambda: classes.sample(1, guidance=[2.0]), "guidance is [2.0], expected a finite number"),
        (lambda: gz.build("flow_matching", (8, 8, 1), spacing="even", **TINY), "spacing is 'even', expected None or one of"),
    ]:
        with pytest.raises(ValueError, match=re.escape(sentence)):
            call()
    one, half = np.int64(1), np.float32(0.5)
    parts = [samplers.Heun(one, (half, one)), samplers.AnnealedLangevin(one, half), weightings.Importance(np.int32(5))]
    parts += [schedules.EDM(half, np.float64(9), one), weightings.MinSNR(half), schedules.Cosine(t_max=half), samplers.DDIM(half)]
    for part in parts:
        again = type(part).from_config(part.get_config())
        assert again.get_config() == part.get_config()
    assert classes.sample(2, steps=np.int64(1), guidance=np.float32(1.5), seed=0).shape == (2, 8, 8, 1)
