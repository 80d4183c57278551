"""Schedules, predictions, samplers and bounds against closed forms: for Gaussian data everything is known."""

import itertools
import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo import augmentation, samplers, schedules, weightings
from keras_genzoo.augmentation import affine
from keras_genzoo.augmentation.told import _matrices
from keras_genzoo.core import randomness
from keras_genzoo.core.ramps import HalfLife, RampedAdam
from keras_genzoo.layers import SelfAttention
from keras_genzoo.likelihoods import gaussian_level_log_prob
from keras_genzoo.models import Autoencoder, Diffusion

REFERENCE = json.loads((Path(__file__).parent / "data" / "diffusion_reference.json").read_text())
SCHEDULES = {**schedules.SCHEDULES, "zero_snr": lambda: schedules.ZeroTerminalSNR(schedules.Linear())}
OTHERS = {  # arguments other than defaults
    "linear/50": lambda: schedules.Linear(1e-3, 0.2, 50),
    "cosine/0.9": lambda: schedules.Cosine(0.05, t_max=0.9),
    "sigmoid/0.7": lambda: schedules.Sigmoid(-2.0, 4.0, temperature=0.7),
    "edm/3": lambda: schedules.EDM(0.01, 5.0, rho=3.0),
    "zero_snr/cosine": lambda: schedules.ZeroTerminalSNR(schedules.Cosine(t_max=0.95)),
}


@keras.saving.register_keras_serializable("tests")
class Optimal(keras.layers.Layer):
    """The best a network can put out for data N(0, std^2): the mean of its target given x_t."""

    def __init__(self, schedule, prediction, std, **kwargs):
        super().__init__(**kwargs)
        self.schedule, self.prediction, self.std = schedule, prediction, std

    def call(self, x, told):
        t = tf.exp(4.0 * told) if isinstance(self.schedule, schedules.EDM) else told
        t = t[:, None, None, None]
        x_t = x / self.prediction.scale(self.schedule, t)
        signal, noise = self.schedule.signal(t), self.schedule.noise(t)
        total = signal**2 * self.std**2 + noise**2
        return self.prediction.target(self.schedule, signal * self.std**2 / total * x_t, noise / total * x_t, t)


def gaussian_model(schedule, prediction="v", std=0.5, shape=(1, 1, 1), **settings):
    schedule = SCHEDULES[schedule]() if isinstance(schedule, str) else schedule
    prediction = schedules.PREDICTIONS[prediction]()
    inputs = keras.Input(shape), keras.Input(())
    network = keras.Model(inputs, Optimal(schedule, prediction, std)(*inputs))
    return Diffusion(network, schedule, prediction, seed=0, **settings)


def numbers(schedule, t):
    t = tf.constant(t, tf.float32)
    return schedule.signal(t).numpy().astype(float), schedule.noise(t).numpy().astype(float)


# Schedules


def test_signals_are_those_of_the_papers():
    t = np.linspace(0.01, 0.99, 50)
    linear = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    np.testing.assert_allclose(numbers(schedules.Linear(), np.arange(1, 1001) / 1000)[0] ** 2, linear, rtol=2e-5)
    f = lambda t: np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2  # noqa: E731
    np.testing.assert_allclose(numbers(schedules.Cosine(), t)[0] ** 2, f(t) / f(0), rtol=1e-4)
    s = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    np.testing.assert_allclose(numbers(schedules.Sigmoid(), t)[0] ** 2, (s(3) - s(6 * t - 3)) / (s(3) - s(-3)), rtol=1e-4)
    cool = (s(4 / 0.7) - s((6 * t - 2) / 0.7)) / (s(4 / 0.7) - s(-2 / 0.7))
    np.testing.assert_allclose(numbers(OTHERS["sigmoid/0.7"](), t)[0] ** 2, cool, rtol=1e-3)
    root = np.sqrt(linear)
    shifted = (root - root[-1]) / (
        1 - root[-1]
    )  # Lin et al. scale by what keeps the first; here the one before the first stays 1
    np.testing.assert_allclose(numbers(SCHEDULES["zero_snr"](), np.arange(1, 1001) / 1000)[0], shifted, atol=1e-5)
    sigmas = (80 ** (1 / 7) + np.arange(18) / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(schedules.EDM().times(18), [*sigmas, 0], rtol=1e-9)
    geometric = schedules.EDM(0.01, 50, rho=np.inf)
    np.testing.assert_allclose(geometric.grid(7), np.geomspace(50, 0.01, 7), rtol=1e-9)
    np.testing.assert_allclose(geometric.position(tf.constant([0.01, 0.5])), [0, np.log(50) / np.log(5000)], atol=1e-6)


@pytest.mark.parametrize("name", [*SCHEDULES, *OTHERS])
def test_slopes_are_derivatives_and_variance_is_kept_where_it_should_be(name):
    schedule = {**SCHEDULES, **OTHERS}[name]()
    t = tf.constant(schedule.at(np.linspace(0.05, 0.95, 9)) + 3e-4, tf.float32)
    for value, slope in ((schedule.signal, schedule.signal_slope), (schedule.noise, schedule.noise_slope)):
        with tf.GradientTape() as tape:
            tape.watch(t)
            y = value(t)
        np.testing.assert_allclose(slope(t), tape.gradient(y, t, unconnected_gradients="zero"), rtol=2e-3, atol=1e-5)
    if name not in ("edm", "edm/3", "geometric", "rectified_flow"):
        np.testing.assert_allclose(schedule.signal(t) ** 2 + schedule.noise(t) ** 2, 1, atol=1e-5)
    for value, slope in ((schedule.log_snr, schedule.log_snr_slope), (schedule.position, schedule.position_slope)):
        with tf.GradientTape() as tape:
            tape.watch(t)
            y = value(t)
        np.testing.assert_allclose(slope(t), tape.gradient(y, t), rtol=5e-3)
    np.testing.assert_allclose(schedule.at(schedule.position(t)), t, rtol=1e-4)
    first, last = numbers(schedule, [schedule.t_min, schedule.t_max])
    assert first[0] > 0.99 and last[1] > 0.99 * first[1]  # the image at one end, noise at the other


def test_a_chain_of_steps_has_the_marginals_of_the_schedule():
    for schedule in (schedules.Linear(), schedules.Cosine(), schedules.RectifiedFlow()):
        times = np.linspace(0, schedule.t_max, 21)
        signal, variance = 1.0, 0.0
        for before, t in itertools.pairwise(times[:-1]):
            ratio, excess = samplers._jump(schedule, *(tf.constant(each, tf.float32) for each in (t, before)))
            signal, variance = signal * float(ratio), variance * float(ratio) ** 2 + float(excess)
            assert (signal, variance**0.5) == pytest.approx(tuple(float(v) for v in numbers(schedule, t)), rel=1e-4)


# Predictions


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction", schedules.PREDICTIONS)
def test_predictions_give_back_image_and_noise(schedule, prediction):
    schedule, prediction = SCHEDULES[schedule](), schedules.PREDICTIONS[prediction]()
    x, epsilon = np.random.default_rng(0).normal(size=(2, 7, 5)).astype("float32")
    t = tf.constant(schedule.at(np.linspace(0.1, 0.8, 7))[:, None], tf.float32)
    x_t = schedule.signal(t) * x + schedule.noise(t) * epsilon
    output = prediction.target(schedule, x, epsilon, t)
    again = prediction.image_and_noise(schedule, x_t, output, t)
    scale = float(tf.reduce_max(tf.abs(output)))
    np.testing.assert_allclose(again[0], x, atol=2e-4 * scale)
    np.testing.assert_allclose(again[1], epsilon, atol=2e-4 * scale)


def test_targets_are_those_of_the_papers():
    t, x, epsilon = tf.constant(0.3), 0.7, -1.1
    cosine, line, edm = schedules.Cosine(), schedules.RectifiedFlow(), schedules.EDM()
    signal, noise = (float(v) for v in numbers(cosine, 0.3))
    assert float(schedules.V().target(cosine, x, epsilon, t)) == pytest.approx(signal * epsilon - noise * x, rel=1e-5)
    assert float(schedules.Velocity().target(line, x, epsilon, t)) == pytest.approx(epsilon - x, rel=1e-6)
    skip, out = 0.25 / (0.09 + 0.25), 0.3 * 0.5 / np.sqrt(0.09 + 0.25)
    expected = (x - skip * (x + 0.3 * epsilon)) / out  # F of eq. 7
    assert float(schedules.Preconditioned().target(edm, x, epsilon, t)) == pytest.approx(expected, rel=1e-5)
    assert float(schedules.Preconditioned().scale(edm, t)) == pytest.approx(1 / np.sqrt(0.09 + 0.25), rel=1e-6)


def test_a_prediction_that_does_not_tell_the_image_is_refused():
    for schedule in ("cosine", "zero_snr", "rectified_flow"):
        with pytest.raises(ValueError, match=r"Epsilon does not tell the image at time 1 .*take the prediction 'v'"):
            gaussian_model(schedule, "epsilon")
    with pytest.raises(ValueError, match="Image does not tell the image at time 0"):
        gaussian_model("rectified_flow", "image")
    gaussian_model(schedules.Cosine(t_max=0.99), "epsilon")


# Weights and times


TANGENT = 2 * np.pi * 0.989  # the slope of -2 log tan(pi t / 2) is 2 pi / sin(pi t), and the density of times 1 / 0.989


def test_weights_are_those_of_the_papers_in_units_of_the_output():
    t = tf.constant([0.1, 0.4, 0.8])
    snr = lambda model: np.exp(model.schedule.log_snr(t).numpy())  # noqa: E731
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    for schedule, prediction, weight, expected in [
        ("linear", "epsilon", "simple", lambda snr: np.ones(3)),
        ("linear", "epsilon", "min_snr", lambda snr: np.minimum(snr, 5) / snr),  # Hang et al., section 3.4
        ("linear", "v", "min_snr", lambda snr: np.minimum(snr, 5) / (snr + 1)),
        ("edm", "edm", "edm", lambda snr: np.ones(3)),  # lambda c_out^2 = 1 (Karras et al., table 1)
        ("linear", "epsilon", weightings.MinSNR(0.5), lambda snr: np.minimum(snr, 0.5) / snr),
        ("edm", "epsilon", weightings.EDMWeight(0.8), lambda snr: (snr + 0.8**-2) / snr),
        ("tangent", "epsilon", weightings.SigmoidWeight(-1), lambda snr: sigmoid(-1 - np.log(snr)) * TANGENT / np.sin(np.pi * t)),
        # Of uniform times, whose log SNR is -2 log tan(pi t / 2), with the slope -2 pi / sin(pi t), divided by their density.
        ("tangent", "epsilon", "sigmoid", lambda snr: sigmoid(2 - np.log(snr)) * TANGENT / np.sin(np.pi * t)),
    ]:
        schedule = schedules.Cosine(offset=0.0, t_max=0.99) if schedule == "tangent" else schedule
        model = gaussian_model(schedule, prediction, loss_weight=weight)
        np.testing.assert_allclose(model.weight(t), expected(snr(model)), rtol=1e-3)


def test_times_have_the_densities_they_claim():
    uniform = tf.constant((np.arange(1000) + 0.5) / 1000, tf.float32)
    line, edm = schedules.RectifiedFlow(), schedules.EDM()
    np.testing.assert_allclose(weightings.Uniform().draw(uniform, line)[0], uniform)
    found, _ = weightings.LogitNormal(0.3, 1.2).draw(uniform, line)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-scipy.stats.norm(0.3, 1.2).ppf(uniform))), rtol=1e-3)
    found, _ = weightings.LogNormal().draw(uniform, edm)
    np.testing.assert_allclose(found, np.exp(scipy.stats.norm(-1.2, 1.2).ppf(uniform)), rtol=1e-3)


def test_importance_draws_where_losses_are_large_and_stays_unbiased():
    sampling, line = weightings.Importance(bins=10, decay=0.5), schedules.RectifiedFlow()
    uniform = tf.constant((np.arange(20000) + 0.5) / 20000, tf.float32)
    for _ in range(40):
        t, factor = sampling.draw(uniform, line)
        sampling.update(t, tf.where(t < 0.2, 3.0, 1.0), line)
    np.testing.assert_allclose(sampling.squares, [9, 9, *[1] * 8], rtol=1e-3)
    t, factor = sampling.draw(uniform, line)
    assert np.mean(t < 0.2) == pytest.approx(0.99 * 6 / 14 + 0.01 * 0.2, abs=1e-3)  # root mean squares, a hundredth even
    for power in (0, 1, 3):
        assert np.mean(factor * t**power) == pytest.approx(1 / (power + 1), rel=1e-3)


def test_importance_weighs_losses_and_keeps_a_running_mean_of_their_squares():
    """Of three bins and a network that puts out zeros: of gray images the loss is that of the noise alone."""
    sampling = weightings.Importance(bins=3, decay=0.8)
    model = gz.build("flow_matching", (2, 2, 1), width=8, multipliers=(1,), time_sampling=sampling, learning_rate=1e-9, seed=5)
    model.compile(model.optimizer, run_eagerly=True)
    gray, before = np.full((12, 2, 2, 1), 0.5, "float32"), np.array([1.0, 9.0, 4.0])
    density = 3 * (0.99 * np.sqrt(before) / 6 + 0.01 / 3)
    for training, seed in ((False, 6), (True, 5)):
        sampling.squares.assign(before)
        random = randomness.Stream(seed, keras.Variable(0, dtype="int64", trainable=False))
        error, _, t = model.errors(tf.zeros((12, 2, 2, 1)), None, random, training)
        bins = np.floor(3 * t.numpy()).astype(int)
        assert len(set(bins)) == 3
        loss = (model.train_on_batch if training else model.test_on_batch)(gray, return_dict=True)["loss"]
        assert loss == pytest.approx(np.mean(error / density[bins]), rel=1e-4)
        squares = np.array([np.mean(error.numpy()[bins == index] ** 2) for index in range(3)])
        after = 0.8 * before + 0.2 * squares if training else before  # validation changes nothing
        np.testing.assert_allclose(sampling.squares, after, rtol=1e-4)


# Samplers


def walker(model, sampler, seed=0):
    """A function of times and x; one graph for any number of times."""
    key = randomness.make_key(seed)
    specs = tf.TensorSpec([None]), tf.TensorSpec([None] * 4)
    solve = tf.function(lambda times, x: samplers.solve(sampler, model.denoiser(), model.schedule, x, times, key), specs)
    return lambda times, x: solve(tf.constant(times, tf.float32), tf.constant(x, tf.float32)).numpy()


def walk(model, sampler, times, x):
    return walker(model, sampler)(times, x)


@pytest.mark.parametrize(
    "schedule", ["edm", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rectified_flow", "cosine"))]
)
@pytest.mark.parametrize("name, order", [("euler", 1), ("ddim", 1), ("heun", 2), ("dpm_solver", 2)])
def test_deterministic_samplers_have_the_order_they_claim(schedule, name, order):
    model = gaussian_model(schedule, std=0.3)
    high, low = (5.0, 0.1) if schedule == "edm" else (0.9, 0.1)
    times = lambda steps: np.linspace(high**0.5, low**0.5, steps + 1) ** 2  # noqa: E731
    (signal, last_signal), (noise, last_noise) = numbers(model.schedule, [high, low])
    # Along the probability-flow equation x keeps its quantile. From far out, for the sake of float32: the network is linear.
    exact = 1000 * np.hypot(0.3 * last_signal, last_noise) / np.hypot(0.3 * signal, noise)
    start = np.full((1, 1, 1, 1), 1000.0)
    walk = walker(model, samplers.SAMPLERS[name]())
    errors = [abs(walk(times(steps), start).item() - exact) for steps in (40, 80, 160)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[-1] == pytest.approx(order, abs=0.25), (errors, orders)


def moments(model, times, step):
    """Variance after all steps, by float64 algebra: `step(t, t_next)` gives the factor of x and the variance added."""
    variance = 1.0
    for t, t_next in itertools.pairwise(times):
        factor, added = step(t, t_next)
        variance = factor**2 * variance + added
    return variance


def test_stochastic_samplers_have_the_exact_mean_and_covariance():
    schedule, times = schedules.Linear(), np.append(np.linspace(1, 0.05, 12), 0)
    # Of correlated data; in the directions of the columns of `rotation` each number goes its own way.
    mean, stds, rotation = np.array([0.8, -0.4]), np.array([0.5, 1.2]), np.array([[0.8, -0.6], [0.6, 0.8]])
    value = lambda t: tuple(float(v) for v in numbers(schedule, t))  # noqa: E731

    def denoise(x, t):
        signal, noise = schedule.signal(t), schedule.noise(t)
        along = tf.matmul(x[:, 0, 0] - signal * mean, tf.constant(rotation, tf.float32))
        along *= signal * stds**2 / (signal**2 * stds**2 + noise**2)
        image = (mean + tf.matmul(along, tf.constant(rotation.T, tf.float32)))[:, None, None]
        return image, (x - signal * image) / noise

    def seen(t):  # factors in the image and the noise that the best network sees, of how far x_t is from its mean
        signal, noise = value(t)
        total = signal**2 * stds**2 + noise**2
        return signal * stds**2 / total, noise / total

    def bayes(t, t_next):  # q(x_next | x_t, image) by adding precisions
        (signal, noise), (signal_next, noise_next) = value(t), value(t_next)
        if noise_next == 0:
            return 0.0, 1.0, 0.0
        ratio = signal / signal_next
        excess = noise**2 - ratio**2 * noise_next**2
        precision = 1 / noise_next**2 + ratio**2 / excess
        return ratio / excess / precision, signal_next / noise_next**2 / precision, 1 / precision

    # Each gives the factor, the variance that is added, and the signal by which the mean is multiplied then.
    def ancestral(t, t_next):
        of_x, of_image, variance = bayes(t, t_next)
        return of_x + of_image * seen(t)[0], variance, value(t_next)[0]

    def ddim(t, t_next):
        image, noise = seen(t)
        variance = 0.7**2 * bayes(t, t_next)[2]
        signal, noise_next = value(t_next)
        return signal * image + np.sqrt(noise_next**2 - variance) * noise, variance, signal

    def langevin(t, t_next):
        image, noise = seen(t)
        (signal, sigma), factor, added = value(t), 1.0, 0.0
        for _ in range(3):
            keep = 1 - 0.2 * sigma * noise
            factor, added = factor * keep, added * keep**2 + 2 * 0.2 * sigma**2
        return (factor * image, added * image**2, 1.0) if t_next == 0 else (factor, added, signal)

    x = np.random.default_rng(0).normal(size=(200_000, 1, 1, 2))
    solve = lambda sampler: samplers.solve(  # noqa: E731
        sampler, denoise, schedule, tf.constant(x, tf.float32), tf.constant(times, tf.float32), randomness.make_key(0)
    )
    for sampler, step in [
        (samplers.Ancestral(), ancestral),
        (samplers.DDIM(0.7), ddim),
        (samplers.AnnealedLangevin(3, 0.2), langevin),
    ]:
        assert sampler.steps(sampler.evaluations(7)) == 7
        of_data, middle, variances = rotation.T @ mean, np.zeros(2), np.ones(2)
        for t, t_next in itertools.pairwise(times):
            factor, added, signal = step(t, t_next)
            middle = factor * (middle - value(t)[0] * of_data) + signal * of_data
            variances = factor**2 * variances + added
        found = tf.function(solve)(sampler).numpy()[:, 0, 0]
        np.testing.assert_allclose(found.mean(axis=0), rotation @ middle, atol=0.01, err_msg=str(sampler))
        covariance = rotation * variances @ rotation.T
        np.testing.assert_allclose(np.cov(found.T), covariance, atol=0.02 * np.abs(covariance).max(), err_msg=str(sampler))
    # And of data N(0, 1), whose steps are kept by the larger variance.
    model = gaussian_model("linear", "epsilon", std=1.0)
    assert walk(model, samplers.Ancestral("large"), times[:-1], x).var() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("schedule", ["rectified_flow", "linear", "edm"])
def test_the_last_step_is_to_the_image_that_is_seen_and_adds_no_noise(schedule):
    """Of a network that sees the same image everywhere, every sampler ends in it, whatever the key."""
    schedule = SCHEDULES[schedule]()
    image = tf.constant(np.random.default_rng(0).uniform(-1, 1, (3, 2, 2, 1)), tf.float32)
    denoise = lambda x, t: (image, (x - schedule.signal(t) * image) / schedule.noise(t))  # noqa: E731
    others = {"eta": samplers.DDIM(0.6), "repeats": samplers.AnnealedLangevin(2, 0.3), "churn": samplers.Heun(5.0)}
    for name, sampler in {**{name: make() for name, make in samplers.SAMPLERS.items()}, **others}.items():
        if (sampler.needs_edm and not schedule.time_is_noise) or (schedule.steep and name in ("euler", "heun")):
            continue  # of a steep schedule a straight step to the end ends elsewhere
        for seed in (0, 1):
            x = randomness.normal(randomness.make_key(seed, 5), image.shape)
            times = tf.constant([schedule.at(0.4), schedule.at(0.2), 0.0], tf.float32)
            found = samplers.solve(sampler, denoise, schedule, x, times, randomness.make_key(seed))
            np.testing.assert_allclose(found, image, atol=2e-5, err_msg=f"{name} of seed {seed}")


def test_an_image_that_is_clipped_comes_with_the_noise_that_fits_it():
    model = gaussian_model("cosine", std=3.0, shape=(2, 2, 1), clip=True)
    x, t = 4.0 * tf.random.stateless_normal((50, 2, 2, 1), (0, 1)), tf.constant(0.3)
    image, noise = model.denoiser(clip=True)(x, t)
    free, other = model.denoiser()(x, t)
    np.testing.assert_allclose(image, np.clip(free, -1, 1), atol=1e-6)
    assert (np.abs(free) > 1).mean() > 0.5 and np.abs(noise - other).max() > 0.1
    (signal,), (sigma,) = numbers(model.schedule, [0.3])
    np.testing.assert_allclose(signal * image + sigma * noise, x, atol=1e-4)


def test_churn_adds_the_noise_of_the_paper():
    model = gaussian_model("edm", "edm", std=0.5)
    sampler, times, std = samplers.Heun(churn=4.0, churn_range=(0.05, 3.0), churn_scale=1.01), np.geomspace(5, 0.02, 9), 0.5
    slope = lambda t: t / (std**2 + t**2)  # noqa: E731  dx/dt = (x - D(x; t)) / t

    def step(t, t_next):
        more = t * (1 + (min(4 / 8, np.sqrt(2) - 1) if 0.05 <= t <= 3 else 0))
        added = (more**2 - t**2) * 1.01**2
        width = t_next - more
        factor = 1 + 0.5 * width * (slope(more) + (1 + width * slope(more)) * slope(t_next))
        return factor, factor**2 * added

    x = np.random.default_rng(0).normal(size=(200_000, 1, 1, 1))
    assert walk(model, sampler, times, x).var() == pytest.approx(moments(model, times, step), rel=0.02)
    with pytest.raises(ValueError, match=r"churn is 4\.0, which needs the schedule EDM and was given Linear"):
        sampler.times(schedules.Linear(), 5)
    with pytest.raises(ValueError, match=r"annealed Langevin dynamics needs the schedule EDM and was given Cosine"):
        samplers.AnnealedLangevin().times(schedules.Cosine(), 5)


class Stub:
    """The stand-in for a network of scripts/reference_diffusion.py."""

    schedule = schedules.Linear()

    def denoiser(self):
        def denoise(x, t):
            noise = 0.5 * tf.tanh(x) + 0.1 * x + 0.2 * tf.cos(10.0 * t)
            return (x - self.schedule.noise(t) * noise) / self.schedule.signal(t), noise

        return denoise


def test_ddim_dpm_solver_and_unipc_give_what_diffusers_gives(monkeypatch):
    x = np.reshape(REFERENCE["x"], (2, 1, 2, 3))
    alphas = numbers(schedules.Linear(), (np.array([0, 1, 9, 99, 499, 998, 999]) + 1) / 1000)[0] ** 2
    np.testing.assert_allclose(alphas, REFERENCE["alphas_cumprod"], rtol=3e-5)
    times = np.linspace(1, 0, 11)
    for name in ("ddim", "dpm_solver", "unipc"):
        found = walk(Stub(), samplers.SAMPLERS[name](), times, x)
        np.testing.assert_allclose(found.ravel(), REFERENCE[name], rtol=2e-4, atol=2e-4, err_msg=name)
    noise = tf.constant(np.reshape(REFERENCE["noise"], x.shape), tf.float32)
    monkeypatch.setattr(randomness, "normal", lambda key, shape: noise)
    found = walk(Stub(), samplers.DDIM(0.7), [0.5, 0.4], x)
    np.testing.assert_allclose(found.ravel(), REFERENCE["ddim eta 0.7 from 499"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "schedule, sampler",
    [
        ("edm", "heun"),
        ("linear", "ddim"),
        pytest.param("rectified_flow", "heun", marks=pytest.mark.slow),
        pytest.param("linear", "heun", marks=pytest.mark.slow),
        pytest.param("cosine", "ddim", marks=pytest.mark.slow),
    ],
)
def test_encoding_and_decoding_come_back_the_closer_the_more_steps(schedule, sampler):
    images = np.random.default_rng(0).uniform(0.2, 0.8, (3, 4, 4, 1)).astype("float32")
    model = gaussian_model(schedule, shape=(4, 4, 1), std=0.3)

    @tf.function(autograph=False)
    def there_and_back(x, steps):
        noise = model.encode(x, steps, sampler)
        return model.decode(noise, steps, sampler), noise

    ways = [there_and_back(images, steps) for steps in (4, 16, 64)]
    errors = [float(np.abs(back - images).max()) for back, _ in ways]
    order = 2 if sampler == "heun" else 1
    assert errors[2] < 0.55**order * errors[1] < 0.55 ** (2 * order) * errors[0], errors
    assert errors[2] < (5e-3 if order == 2 else 5e-2)
    assert np.std(ways[-1][1]) == pytest.approx(np.std(2 * images - 1) / 0.3, rel=0.1)


def test_one_graph_serves_every_number_of_images_and_steps_and_every_guidance(monkeypatch):
    traces = []
    generate = Diffusion.generate
    monkeypatch.setattr(Diffusion, "generate", lambda self, *args, **kw: traces.append(1) or generate(self, *args, **kw))
    model = gz.build("conditional_diffusion", (8, 8, 1), width=8, multipliers=(1,), seed=0)
    for n, steps, guidance in [(3, 2, 1.0), (5, 4, 1.0), (17, 3, 2.5), (300, 1, 0.0)]:
        assert model.sample(n, seed=0, steps=steps, guidance=guidance, sampler="ddim").shape == (n, 8, 8, 1)
    assert len(traces) == 1
    model.sample(3, seed=0, steps=2, sampler="ddim")
    model.sample(4, seed=0, steps=3, sampler="ddim")
    assert len(traces) == 2  # without guidance there is half the work
    for steps in (2, 3):
        model.sample(3, seed=0, steps=steps, sampler=samplers.DDIM(0.5))
    assert len(traces) == 3  # of a sampler made anew with the same settings too
    with pytest.raises(ValueError, match="DDIM adds noise on the way, and does not come back"):
        model.encode(np.zeros((1, 8, 8, 1), np.uint8), sampler=samplers.DDIM(0.5))


def test_guidance_moves_from_the_output_without_labels_to_the_one_with_them():
    model = gz.build("conditional_diffusion", (8, 8, 1), width=8, multipliers=(1,), seed=0, ema=None)
    model.network.set_weights(
        [w + 0.1 * np.random.default_rng(i).normal(size=w.shape) for i, w in enumerate(model.network.get_weights())]
    )
    x, t = tf.random.normal((4, 8, 8, 1), seed=0), tf.constant(0.6)
    labels = tf.one_hot([1, 2, 3, 1], 10)
    image = lambda labels, guidance=None: model.denoiser(labels, guidance)(x, t)[0].numpy()  # noqa: E731
    with_labels, without = image(labels), image(tf.zeros_like(labels))
    assert np.abs(with_labels - without).max() > 1e-3
    for guidance in (0.0, 1.0, 3.0):
        np.testing.assert_allclose(image(labels, guidance), without + guidance * (with_labels - without), atol=1e-4)


# Likelihood


def test_the_mass_of_a_level_is_the_normal_distributions():
    levels = np.arange(256) / 255
    for mean, std in ((0.3, 0.2), (0.99, 0.004), (-0.2, 0.05)):
        found = gaussian_level_log_prob(tf.constant(levels, tf.float32), mean, std).numpy()
        edges = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
        normal = scipy.stats.norm(mean, std)
        inside = np.where(
            edges[:-1] < mean, normal.cdf(edges[1:]) - normal.cdf(edges[:-1]), normal.sf(edges[:-1]) - normal.sf(edges[1:])
        )
        assert np.exp(found).sum() == pytest.approx(1, abs=1e-4)
        sure = inside > 1e-200
        np.testing.assert_allclose(found[sure], np.log(inside[sure]), rtol=2e-3, atol=2e-3)


def bound(model, x, variance="large"):
    """Minus all terms of the bound on the log density at x, mean over x."""
    total = model.prior_term(x)
    for index in range(1, model.timesteps + 1):
        total += model.bound_terms(x, tf.fill((len(x),), index), randomness.make_key(7, index), variance, levels=False)
    return -float(tf.reduce_mean(total))


def test_the_bound_is_the_likelihood_of_standard_normal_data():
    model = gaussian_model(schedules.Linear(1e-3, 0.3, 20), "epsilon", std=1.0, timesteps=20)
    x = np.random.default_rng(0).normal(size=(400_000, 1, 1, 1)).astype("float32")
    exact = scipy.stats.norm.logpdf(x).mean()
    assert bound(model, x) == pytest.approx(exact, abs=0.004)
    assert float(tf.reduce_mean(model.prior_term(x))) > 0.012  # which would be missed


def levels_of(schedule, steps):
    """Times of a chain as the papers have them: of DDPM i / T, of NCSN a geometric sequence; and time 0."""
    return np.arange(steps + 1) / steps if schedule == "linear" else np.append(0.0, np.geomspace(0.01, 50.0, steps))


@pytest.mark.parametrize("name", [pytest.param("linear", marks=pytest.mark.slow), "geometric"])
def test_the_gap_of_the_bound_is_the_sum_of_the_steps_and_shrinks_with_their_number(name):
    std, gaps = 0.1, []
    x = std * np.random.default_rng(0).normal(size=(200_000, 1, 1, 1)).astype("float32")
    for steps in (20, 80):
        schedule = schedules.Linear(0.02 / steps, 6 / steps, steps) if name == "linear" else name
        model = gaussian_model(schedule, "epsilon", std=std, timesteps=steps)
        kl = lambda ratio: 0.5 * (ratio - 1 - np.log(ratio))  # noqa: E731  of two normals with one mean
        signal, noise = numbers(model.schedule, levels_of(name, steps))
        marginal = signal**2 * std**2 + noise**2
        gap = kl(marginal[-1] / float(model.prior_scale) ** 2)
        for i in range(1, steps + 1):
            ratio = signal[i] / signal[i - 1]
            excess = noise[i] ** 2 - ratio**2 * noise[i - 1] ** 2
            gap += kl(1 / (1 / marginal[i - 1] + ratio**2 / excess) / excess)
        found = scipy.stats.norm(0, std).logpdf(x).mean() - bound(model, x)
        assert found == pytest.approx(gap, rel=0.05)
        gaps.append(found)
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.35)


@pytest.mark.slow
def test_the_estimate_of_the_bound_is_unbiased_and_knows_its_error(images):
    model = gz.build("ddpm", (8, 8, 1), width=8, multipliers=(1,), seed=0, schedule=schedules.Linear(1e-3, 0.2, 50), timesteps=50)
    model.compile(run_eagerly=True)  # the five steps take less than their graph
    model.fit(images, epochs=5, verbose=0)
    exact, nothing = tf.function(lambda: model.variational_bound(images[:4], samples=None))()
    assert np.all(nothing.numpy() == 0)
    assert np.isnan(model.variational_bound(images[:4], samples=1)[1]).all()
    with pytest.raises(ValueError, match="samples is 0, expected a whole number of at least 1"):
        model.log_prob(images[:4], samples=0)
    estimate = tf.function(lambda seed: model.variational_bound(images[:4], samples=8, seed=seed))
    found = [estimate(tf.constant(seed)) for seed in range(40)]
    estimates, errors = (np.array([each[i] for each in found]) for i in (0, 1))
    spread = estimates.std(axis=0)
    np.testing.assert_array_less(np.abs(estimates.mean(axis=0) - exact), 5 * spread / np.sqrt(40) + 1)
    assert np.all(spread < 1.5 * errors.mean(axis=0))
    np.testing.assert_allclose(model.log_prob(images[:4], samples=8, seed=3), estimates[3], rtol=1e-5)
    assert not hasattr(gz.build("flow_matching", (8, 8, 1), width=8, multipliers=(1,)), "variational_bound")


# Networks


@pytest.mark.slow
def test_the_published_sizes_build_and_make_a_step():
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    ddpm, edm = gz.build("ddpm/cifar10", (32, 32, 3), seed=0), gz.build("edm/cifar10", (32, 32, 3), seed=0)
    assert (ddpm.network.count_params(), edm.network.count_params()) == (35_746_307, 55_733_891)
    for model in (ddpm, edm):
        assert np.isfinite(model.fit(images, verbose=0).history["loss"]).all()


def test_the_published_settings_of_training_are_those_of_the_papers():
    """Ho et al. 2020, appendix B, and Karras et al. 2022, table 7 and the published code."""
    small = {"width": 8, "multipliers": (1,), "blocks": 1, "attention": (), "seed": 0}
    ddpm, edm = (gz.build(f"{name}/cifar10", (8, 8, 3), **small) for name in ("ddpm", "edm"))
    for model, rates in ((ddpm, {0: 0.0, 2500: 1e-4, 5000: 2e-4, 800_000: 2e-4}), (edm, {0: 0.0, 5_000_000: 5e-4, 10**8: 1e-3})):
        assert isinstance(model.optimizer, RampedAdam)
        for seen, rate in rates.items():
            model.optimizer.seen.assign([seen, seen])
            assert float(model.optimizer.learning_rate) == pytest.approx(rate, rel=1e-5, abs=1e-9)
    assert (ddpm.optimizer.global_clipnorm, ddpm.ema, ddpm.augment) == (1.0, 0.9999, "mirror")
    assert (edm.optimizer.global_clipnorm, edm.optimizer.finite, edm.augment) == (None, True, "told")
    assert isinstance(edm.ema, HalfLife) and (edm.ema.images, edm.ema.share) == (500_000, 0.05)
    # The network is told of c_noise as it is, and of DDPM's steps from 0.
    assert edm.network.get_layer("time_embedding").scale == 1.0 and ddpm.network.get_layer("time_embedding").offset == -1.0


def test_gradients_that_are_no_numbers_count_as_zero_where_asked():
    variable = keras.Variable([1.0, 1.0, 1.0])
    optimizer = RampedAdam(0.5, finite=True)
    optimizer.build([variable])
    optimizer.apply_gradients([(tf.constant([math.nan, math.inf, 0.0]), variable)])
    np.testing.assert_allclose(variable, [1.0, 0.5, 1.0], atol=1e-5)
    assert RampedAdam.from_config(optimizer.get_config()).finite


def test_the_u_nets_have_the_published_numbers_of_parameters():
    network = gz.networks.unet((32, 32, 3), width=128, multipliers=(1, 2, 2, 2), blocks=2, attention=(1,), groups=32, dropout=0.1)
    assert network.count_params() == 35_746_307  # of Ho et al.'s published checkpoint for CIFAR-10
    network = gz.networks.unet((32, 32, 3), width=128, multipliers=(2, 2, 2), blocks=4, attention=(1,), groups=32, kind="ddpm++")
    # Of the network in Karras et al.'s published code for CIFAR-10, without the layer that is told of augmentations.
    assert network.count_params() == 55_732_739
    told = gz.networks.unet((32, 32, 3), width=8, multipliers=(1,), augmented=True)
    assert told.count_params() - gz.networks.unet((32, 32, 3), width=8, multipliers=(1,)).count_params() == 9 * 8


@pytest.mark.parametrize("shape", [(7, 9, 2), (16, 16, 1), (1, 5, 4)])
@pytest.mark.parametrize("kind", ["ddpm", "ddpm++", "adm"])
def test_the_u_net_takes_any_size_and_a_fresh_one_puts_out_nothing(shape, kind):
    network = gz.networks.unet(shape, width=8, multipliers=(1, 2, 3), attention=(2,), num_classes=3, kind=kind)
    output = network([np.ones((2, *shape)), np.array([0.1, 0.7]), np.eye(3)[:2]])
    assert output.shape == (2, *shape) and not np.any(output)


@pytest.mark.parametrize("kind", ["ddpm", "ddpm++", "adm"])
def test_a_fresh_block_is_its_shortcut(kind):
    """So that a network begins as a plain one: what each block and each attention adds is zero."""
    network = gz.networks.unet((8, 8, 1), width=8, multipliers=(1, 2), attention=(1,), num_classes=3, kind=kind)
    changes = [layer.output for layer in network.layers if layer.name.endswith(("_conv2", "_attention_pixels"))]
    # Two blocks on the way down, two in the middle and four on the way up; attention at level 1; but in DDPM two for the sides.
    assert len(changes) == {"ddpm": 8 + 4, "ddpm++": 10 + 3, "adm": 10 + 4}[kind]
    inputs = [np.random.default_rng(0).normal(size=(2, 8, 8, 1)), np.array([0.1, 0.7]), np.eye(3)[:2]]
    assert not any(np.any(each) for each in keras.Model(network.inputs, changes)(inputs))


def test_the_features_of_adm_are_where_they_were_asked_for():
    """Wider levels have more heads, attention is where sides say so, and time scales what is normalised."""
    settings = {
        "width": 8,
        "multipliers": (1, 2, 4),
        "kind": "adm",
        "scale_shift": True,
        "head_width": 8,
        "attention_sides": (8, 4),
    }
    network = gz.networks.unet((16, 12, 1), **settings)
    heads = {layer.name: layer.heads for layer in network.layers if isinstance(layer, SelfAttention)}
    assert heads["down1_0_attention_heads"] == 2 and heads["down2_0_attention_heads"] == heads["middle_attention_heads"] == 4
    assert not any(name.startswith(("down0", "up0")) for name in heads) and len(heads) == 2 + 1 + 4
    assert network.get_layer("down1_0_time").units == 2 * 16
    without = gz.networks.unet((16, 12, 1), **settings, middle_attention=False)
    assert without.count_params() < network.count_params() and "middle_attention_heads" not in {
        each.name for each in without.layers
    }
    kernels = [layer.name for layer in network.layers if layer.name.endswith("_shortcut")]
    assert not any("halve" in name or "conv" in name for name in kernels)  # sides change without a convolution
    plus = gz.networks.unet((16, 12, 1), **{**settings, "kind": "ddpm++"})
    assert "down0_halve_shortcut" in {layer.name for layer in plus.layers}


def test_training_mirrors_images_or_tells_the_network_how_it_changed_them(images):
    x, stream = tf.constant(2.0 * images / 255 - 1, tf.float32), randomness.Stream(3, keras.Variable(0, dtype="int64"))
    changed, told = augmentation.told(x, stream, chance=0.0)
    across = told.numpy()[:, 0] == 1
    assert 0 < across.mean() < 1 and not np.any(told[:, 1:])
    np.testing.assert_allclose(changed, np.where(across[:, None, None, None], x[:, :, ::-1], x), atol=1e-4)
    for augment in ("mirror", "told"):
        model = gz.build("flow_matching", (8, 8, 1), width=8, multipliers=(1,), augment=augment, seed=0, run_eagerly=True)
        seen, call = [], model.network.call
        model.network.call = lambda inputs, call=call, seen=seen, **rest: seen.append(inputs) or call(inputs, **rest)
        model.fit(images, verbose=0)
        model.denoiser()(x[:2], tf.constant(0.5))
        assert len(seen[0]) == (3 if augment == "told" else 2)
        if augment == "told":
            assert np.any(seen[0][2]) and not np.any(seen[-1][2])  # images are drawn as if nothing was changed
    with pytest.raises(ValueError, match="augment is 'told', and the last input of the network has shape"):
        Diffusion(gz.networks.unet((8, 8, 1), width=8, multipliers=(1,)), augment="told")
    with pytest.raises(ValueError, match="augment is 'flip', expected None, 'mirror' or 'told'"):
        Diffusion(gz.networks.unet((8, 8, 1), width=8, multipliers=(1,)), augment="flip")


def test_changes_of_images_are_those_of_edm():
    """Where a point of an image comes to, by hand: made larger, turned, stretched along a direction, and shifted at last."""
    size, turn, stretch, along, x, y = (
        np.array(each, "float32") for each in ([1, -2], [0.3, 2], [-1, 1.5], [0.7, -2], [3, 0], [0, 8])
    )
    matrices = _matrices(*map(tf.constant, (size, turn, stretch, along, x, y))).numpy()  # from the result to the image
    for index in range(2):
        turned = lambda angle: np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # noqa: E731
        point = np.array([2.0, -1.0])
        there = turned(-turn[index]) @ (2 ** (0.2 * size[index]) * point)
        factors = np.diag([2 ** (0.2 * stretch[index]), 2 ** (-0.2 * stretch[index])])
        there = turned(-along[index]) @ factors @ turned(along[index]) @ there + np.array([x[index], y[index]]) / 8
        np.testing.assert_allclose(matrices[index] @ [*there, 1.0], [*point, 1.0], atol=1e-5)
    # And an image is changed by its numbers: of a shift alone, by whole pixels.
    image = np.random.default_rng(0).uniform(-1, 1, (1, 8, 8, 1)).astype("float32")
    shifted = affine.transformed(tf.constant(image), _matrices(*(tf.constant([each]) for each in (0.0, 0.0, 0.0, 0.0, 8.0, 0.0))))
    np.testing.assert_allclose(shifted[:, :, 1:], image[:, :, :-1], atol=1e-3)
    changed, told = augmentation.told(tf.constant(image), randomness.Stream(0, keras.Variable(0, dtype="int64")), chance=1.0)
    assert changed.shape == image.shape and told.shape == (1, 9) and np.all(told.numpy()[:, [2, 3, 4, 5, 7, 8]] != 0)


def test_a_fresh_dense_denoiser_puts_out_nothing():
    assert not np.any(gz.networks.dense_denoiser((1, 1, 5), 8, 2)([np.ones((2, 1, 1, 5)), np.array([0.1, 0.7])]))


def test_bad_arguments_get_one_sentence():
    for call, sentence in [
        (lambda: gaussian_model("linear", schedule_name=1), "schedule_name"),
        (lambda: gz.build("ddpm", (8, 8, 1), schedule="quadratic"), "schedule is 'quadratic', expected one of linear, cosine"),
        (lambda: gz.build("ddpm", (8, 8, 1), timesteps=1), "timesteps is 1, expected None or a whole number of at least 2"),
        (lambda: gz.build("flow_matching", (8, 8, 1), steps=0), "steps is 0, expected a whole number of at least 1"),
        (lambda: gz.build("flow_matching", (8, 8, 1), width=8, attention=(3,)), "expected levels from 0 to 2"),
        (lambda: gaussian_model("linear").sample(1, guidance=2.0), "has no classes to guide to"),
        (lambda: gaussian_model("linear").sample(1, sampler="rk4"), "sampler is 'rk4', expected one of ddpm"),
        (lambda: samplers.DDIM(2.0), "eta is 2.0, expected a number between 0 and 1"),
        (lambda: schedules.EDM(1.0, 0.5), "expected 0 < sigma_min < sigma_max"),
    ]:
        with pytest.raises((ValueError, TypeError)) as caught:
            call()
        assert sentence in str(caught.value)


# Codes


def latent(**settings):
    encoder, decoder = gz.networks.mlp((8, 8, 1), 3, width=8, name="encoder"), gz.networks.mlp(3, (8, 8, 1), width=8)
    settings = {"train_autoencoder": True, "clip": False, "codes": 3, "ema": None, **settings}
    network = gz.networks.dense_denoiser((1, 1, settings["codes"]), 8, 1, settings.get("num_classes"))
    diffusion = Diffusion(network, clip=settings["clip"], seed=0)
    autoencoder = settings.get("autoencoder") or Autoencoder(encoder, decoder, ema=settings["ema"])
    model = gz.models.LatentDiffusion(autoencoder, diffusion, settings["train_autoencoder"])
    model.compile(run_eagerly=True)  # of few steps, which take less than their graph
    return model


def test_a_trained_autoencoder_is_left_alone_if_asked(images):
    for trains in (True, False):
        model = latent(train_autoencoder=trains)
        before, denoiser = model.autoencoder.get_weights(), model.diffusion.network.get_weights()
        model.fit(images, epochs=3, verbose=0)
        assert all(map(np.array_equal, before, model.autoencoder.get_weights())) is not trains
        assert not all(map(np.array_equal, denoiser, model.diffusion.network.get_weights()))


def test_the_codes_may_be_those_of_any_trained_model(images):
    vae = gz.build("vae", (8, 8, 1), width=8, latent_dim=3, run_eagerly=True, seed=0)
    vae.fit(images, verbose=0)
    with pytest.raises(ValueError, match="a VAE cannot learn along, as an Autoencoder can; train it first"):
        latent(autoencoder=vae)
    model = latent(autoencoder=vae, train_autoencoder=False)
    assert set(model.fit(images, validation_data=images, verbose=0).history) == {"loss", "val_loss"}
    np.testing.assert_array_equal(model.encode(images), vae.encode(images))
    np.testing.assert_array_equal(model.reconstruct(images), vae.reconstruct(images))
    assert model.sample(4, seed=0, steps=2).shape == (4, 8, 8, 1)


def test_codes_are_made_standard_and_come_back_with_their_own_mean_and_spread(images):
    model = latent(train_autoencoder=False)
    model.normalize.momentum = 0.5
    model.fit(images, epochs=20, batch_size=16, verbose=0)
    codes = model.encode(images).numpy()
    np.testing.assert_allclose(model.normalize.moving_mean, codes.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(model.normalize.moving_variance, codes.var(axis=0), atol=1e-4)


def test_the_losses_of_codes_are_times_the_factors_of_their_times(images):
    class Twice(weightings.Uniform):
        def draw(self, uniform, schedule):
            t, factor = super().draw(uniform, schedule)
            return t, 2.0 * factor

    losses = []
    for sampling in (weightings.Uniform(), Twice()):
        keras.utils.set_random_seed(0)
        model = latent(train_autoencoder=False)
        model.diffusion.time_sampling = sampling
        losses.append([door(images, return_dict=True)["loss"] for door in (model.test_on_batch, model.train_on_batch)])
    np.testing.assert_allclose(losses[1], 2 * np.array(losses[0]), rtol=1e-4)


def test_latent_diffusion_draws_by_class_and_is_guided_as_its_diffusion(images):
    model = latent(num_classes=3)
    model.fit(images, np.arange(16) % 3, verbose=0)
    for index, variable in enumerate(model.diffusion.network.trainable_variables):  # what begins at zero heeds no label
        variable.assign(np.random.default_rng(index).normal(0, 0.3, variable.shape))
    sample = lambda labels, guidance=None: model.sample(4, 0, labels=labels, guidance=guidance, steps=2)  # noqa: E731
    labels, others = [0, 1, 2, 0], [1, 1, 2, 0]
    changed = np.abs(sample(labels) - sample(others)).max(axis=(1, 2, 3))
    assert changed[0] > 1e-3 and changed[1:].max() < 1e-5  # of the image whose label is another
    np.testing.assert_allclose(sample(labels, 1.0), sample(labels), atol=1e-5)
    np.testing.assert_allclose(sample(labels, 0.0), sample(others, 0.0), atol=1e-5)
    assert np.abs(sample(labels, 3.0) - sample(labels)).max() > 1e-3
    # What is decoded are the codes of the walk with the mean and deviation that the running averages hold.
    model.normalize.moving_mean.assign([1.0, -2.0, 0.5])
    model.normalize.moving_variance.assign([4.0, 0.25, 1.0])
    latents = model.draw_latents(4, randomness.RowStream(0, 0)), tf.one_hot(labels, 3)
    codes = model.diffusion.walk(latents)[:, 0, 0].numpy()
    expected = model.autoencoder.decode((codes * [2.0, 0.5, 1.0] + [1.0, -2.0, 0.5]).astype("float32"))
    np.testing.assert_allclose(model.generate(latents), expected, atol=1e-3)


def test_latent_diffusion_refuses_parts_that_do_not_fit():
    for settings, sentence in [
        ({"codes": 4}, r"of shape \(1, 1, 4\) with clip=False, expected \(1, 1, 3\)"),
        ({"clip": True}, "with clip=True"),
        ({"ema": 0.9}, "Autoencoder has ema=0.9 of its own; give ema to LatentDiffusion alone"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            latent(**settings)


def test_every_one_of_the_timesteps_is_as_likely():
    model = gaussian_model(schedules.Linear(1e-3, 0.3, 20), "epsilon", timesteps=20)
    t, *_ = model.draw_times(20_000, model.random)
    index, count = np.unique(np.round(t.numpy() * 20, 3), return_counts=True)
    np.testing.assert_allclose(index, np.arange(1, 21), atol=1e-2)
    np.testing.assert_allclose(count, 1000, atol=2)


def test_averages_have_one_decay():
    settings = {"width": 4, "multipliers": (1,), "half_life": 1000}
    with pytest.raises(ValueError, match=r"ema is 0\.999 and half_life 1000, expected one of both; set the other to None"):
        gz.build("ddpm", (8, 8, 1), **settings)
    assert gz.build("ddpm", (8, 8, 1), ema=None, **settings).ema.images == 1000
