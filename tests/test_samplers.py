"""Samplers through `model.sample()`, with the times that they choose, against closed forms on every schedule.

The network is the best there can be: of the two pixels of an image, it knows that one is Gaussian and one a mixture of three.
"""

import functools
import itertools

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo import samplers, schedules
from keras_genzoo.core import codes, randomness
from keras_genzoo.models import Diffusion

SCHEDULES = {**schedules.SCHEDULES, "zero_snr": lambda: schedules.ZeroTerminalSNR(schedules.Linear())}
STD = 0.3
WEIGHTS, MEANS, STDS = np.array([0.3, 0.4, 0.3]), np.array([-0.5, 0.1, 0.5]), np.array([0.2, 0.2, 0.2])
N = 1000
UNIFORM = (np.arange(N) + 0.5) / N
NOISE = 0.003  # less than the standard errors of 4,000 images


@keras.saving.register_keras_serializable("tests")
class Known(keras.layers.Layer):
    """The mean of the target given x_t, for a Gaussian pixel and one of a mixture."""

    def __init__(self, schedule, prediction, **kwargs):
        super().__init__(**kwargs)
        self.schedule, self.prediction = schedule, prediction

    def call(self, x, told):
        t = tf.exp(4.0 * told) if isinstance(self.schedule, schedules.EDM) else told
        t = t[:, None, None, None]
        x_t, (signal, noise) = x / self.prediction.scale(self.schedule, t), (self.schedule.signal(t), self.schedule.noise(t))
        first, second = tf.split(x_t, 2, axis=2)
        total = signal**2 * STD**2 + noise**2
        images, noises = [signal * STD**2 / total * first], [noise / total * first]
        total = signal**2 * STDS**2 + noise**2  # of each component, on the channel axis
        far = second - signal * MEANS
        shares = tf.nn.softmax(tf.constant(np.log(WEIGHTS), tf.float32) - 0.5 * tf.math.log(total) - 0.5 * far**2 / total)
        average = lambda each: tf.reduce_sum(shares * each, axis=-1, keepdims=True)  # noqa: E731
        images.append(average(MEANS + signal * STDS**2 / total * far))
        noises.append(average(noise / total * far))
        image, epsilon = tf.concat(images, axis=2), tf.concat(noises, axis=2)
        return self.prediction.target(self.schedule, image, epsilon, t)


class Quantiles(Diffusion):
    """Starts from the quantiles of noise instead of draws, so that nothing but a sampler's own error is left."""

    def draw_latents(self, n, random):
        rows = scipy.stats.norm.ppf(UNIFORM[random.start : random.start + n])
        return tf.constant(np.tile(rows[:, None, None, None], (1, 1, 2, 1)), tf.float32)


@functools.cache
def model_of(schedule, kind=Quantiles, prediction="v", **settings):
    schedule, prediction = SCHEDULES[schedule](), schedules.PREDICTIONS[prediction]()
    inputs = keras.Input((1, 2, 1)), keras.Input(())
    return kind(keras.Model(inputs, Known(schedule, prediction)(*inputs)), schedule, prediction, seed=0, **settings)


@functools.cache
def mixture_quantiles():
    grid = np.linspace(-2, 2, 100_001)
    return np.interp(UNIFORM, scipy.stats.norm.cdf((grid[:, None] - MEANS) / STDS) @ WEIGHTS, grid)


def errors(schedule, sampler, calls, **settings):
    """Of the standard deviation of the Gaussian, and the mixture's 1-Wasserstein distance, at most so many calls."""
    model = model_of(schedule)
    steps = samplers.SAMPLERS[sampler]().steps(calls)
    x = 2 * model.sample(N, seed=0, batch_size=N, steps=steps, sampler=sampler, **settings)[:, 0, :, 0] - 1
    normal = np.clip(STD * scipy.stats.norm.ppf(UNIFORM), -1, 1)
    mixture = np.clip(mixture_quantiles(), -1, 1)
    return np.array([abs(x[:, 0].std() - normal.std()), np.abs(np.sort(x[:, 1]) - mixture).mean()])


ORDERS = {
    "euler": (1.8, 40),
    "ddim": (1.8, 40),
    "heun": (3.3, 40),
    "dpm_solver": (3.3, 20),
    "unipc": (3.3, 20),
}  # and calls to begin with
LATER = {(schedule, sampler) for schedule in ("geometric", "zero_snr", "sigmoid") for sampler in ("euler", "heun")}
PAIRS = [
    pytest.param(schedule, sampler, marks=[pytest.mark.slow] if (schedule, sampler) in LATER else [])
    for schedule in SCHEDULES
    for sampler in ORDERS
]


@pytest.mark.parametrize("schedule, sampler", PAIRS)
def test_twice_the_calls_divide_the_error_by_the_order_until_noise_hides_it(schedule, sampler):
    least, first = ORDERS[sampler]
    found = np.array([errors(schedule, sampler, calls) for calls in (first, 2 * first, 4 * first)])
    assert np.all((found[:-1] >= least * found[1:]) | (found[:-1] < NOISE)), found
    assert np.all(found[-1] < (0.01 if least < 2 else NOISE)), found


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_dpm_solver_is_nearer_than_ddim_at_few_calls_and_thrice_as_near_at_thirty(schedule):
    ten, thirty = (errors(schedule, "dpm_solver", calls) / errors(schedule, "ddim", calls) for calls in (10, 30))
    assert np.all(ten <= 1) and np.all(thirty <= 1 / 3), (ten, thirty)


def test_the_samples_of_a_clipped_ddpm_have_the_deviation_of_the_images():
    model = model_of("linear", Diffusion, "epsilon", clip=True, sampler="dpm_solver", timesteps=1000)
    for steps, error in ((10, 0.02), (20, 0.012), (30, 0.01), (100, 0.01)):
        pixels = 2 * model.sample(4000, seed=0, batch_size=4000, steps=steps)[:, 0, 0, 0] - 1
        # Of 4,000 draws the deviation is known to 0.0034.
        assert pixels.std() == pytest.approx(STD, abs=error), steps


STOCHASTIC = {
    "ddpm": (samplers.Ancestral(), 1000),
    "ddpm_large": (samplers.Ancestral("large"), 1000),
    "ddim": (samplers.DDIM(0.5), 1000),
    "churn": (samplers.Heun(churn=40.0), 500),
    "langevin": (samplers.AnnealedLangevin(), 200),
}
SOME = [("linear", "ddpm"), ("cosine", "ddpm_large"), ("rectified_flow", "ddim"), ("edm", "churn"), ("geometric", "langevin")]
ALL = [(schedule, name) for name, (sampler, _) in STOCHASTIC.items() for schedule in SCHEDULES]
ALL = [pair for pair in ALL if pair[0] in ("edm", "geometric") or not STOCHASTIC[pair[1]][0].needs_edm]


@pytest.mark.parametrize(
    "schedule, name", [pytest.param(*pair, marks=[] if pair in SOME else [pytest.mark.slow]) for pair in ALL]
)
def test_stochastic_samplers_are_within_three_standard_errors_at_1000_calls(schedule, name):
    sampler, steps = STOCHASTIC[name]
    n = 2000
    x = 2 * model_of(schedule, Diffusion).sample(n, seed=1, batch_size=n, steps=steps, sampler=sampler)[:, 0, :, 0] - 1
    normal, mixture = x.T
    assert abs(normal.mean()) < 3 * STD / np.sqrt(n)
    assert abs(normal.std() - STD) < 3 * STD / np.sqrt(2 * n)
    assert abs(mixture.mean() - WEIGHTS @ MEANS) < 3 * mixture.std() / np.sqrt(n)
    # All of the distribution at once, as rare as three standard errors: of a few hundred shares one is beyond them by chance.
    exact = lambda x: scipy.stats.norm.cdf((x[:, None] - MEANS) / STDS) @ WEIGHTS  # noqa: E731
    assert scipy.stats.kstest(mixture, exact).pvalue > 0.0027


def test_steps_are_the_most_that_so_many_evaluations_suffice_for():
    for sampler in (*(make() for make in samplers.SAMPLERS.values()), samplers.AnnealedLangevin(3)):
        for calls in range(6, 30):
            steps = sampler.steps(calls)
            assert sampler.evaluations(steps) <= calls < sampler.evaluations(steps + 1), type(sampler)
    # And they are the calls that are made: one by one, as the loop runs in Python.
    schedule, image = schedules.EDM(), tf.zeros((1, 1, 1, 1))
    for sampler in (samplers.Heun(), samplers.AnnealedLangevin(3), samplers.DPMSolver()):
        calls = []
        denoise = lambda x, t: calls.append(1) or (image, x / t)  # noqa: B023, E731
        times = tf.constant(sampler.times(schedule, 4), tf.float32)
        samplers.solve(sampler, denoise, schedule, image, times, randomness.make_key(0))
        assert len(calls) == sampler.evaluations(4)


# Spacings


def test_spacings_go_from_the_first_time_to_the_image_as_the_papers_say():
    for name, make in SCHEDULES.items():
        for spacing in gz.spacings.SPACINGS:
            for steps in (1, 2, 7):
                times = samplers.DDIM().times(make(), steps, spacing)
                assert times.shape == (steps + 1,) and times[-1] == 0, (name, spacing)
                assert times[0] == make().t_max or spacing == "leading", (name, spacing)
                assert np.all(np.diff(times) < 0), (name, spacing)
    # Of 1,000 timesteps, ten: 1000, 900, ..., 100 (Lin et al., table 2).
    np.testing.assert_allclose(gz.spacings.trailing(schedules.Linear(), 10), np.arange(10, -1, -1) / 10)
    # And 901, 801, ..., 1 from the other end; of a chain of 50 every sixth.
    np.testing.assert_allclose(gz.spacings.leading(schedules.Linear(), 10), [*np.arange(901, 0, -100) / 1000, 0])
    np.testing.assert_allclose(gz.spacings.leading(schedules.Linear(timesteps=50), 8), [*np.arange(43, 0, -6) / 50, 0])
    with pytest.raises(ValueError, match="there are 51 steps, expected at most the 50 of the chain"):
        gz.spacings.leading(schedules.Linear(timesteps=50), 51)
    # log SNR of a straight line is 2 log((1 - t) / t), and its ends have none.
    np.testing.assert_allclose(
        gz.spacings.log_snr(schedules.RectifiedFlow(), 5)[1:5], 1 / (1 + np.exp([-2.5, 0, 2.5, 5])), rtol=1e-5
    )
    np.testing.assert_allclose(gz.spacings.log_snr(schedules.EDM(), 5), [*np.geomspace(80, 0.002, 5), 0], rtol=1e-5)
    sigmas = (80 ** (1 / 7) + np.arange(6) / 5 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7  # Karras et al., eq. 5
    np.testing.assert_allclose(gz.spacings.karras(schedules.EDM(), 6), [*sigmas, 0], rtol=1e-5)
    linear = schedules.Linear()
    times = tf.constant(gz.spacings.karras(linear, 6)[:-1], tf.float32)
    roots = (linear.noise(times) / linear.signal(times)).numpy() ** (1 / 7)
    np.testing.assert_allclose(np.diff(roots[1:]), np.diff(roots)[-1], rtol=1e-3)
    assert linear.log_snr(tf.constant(1.0)) < -10  # so that the first is further


def test_a_spacing_is_chosen_for_a_model_or_for_a_call():
    images = {spacing: model_of("linear").sample(8, seed=0, steps=4, spacing=spacing) for spacing in gz.spacings.SPACINGS}
    assert not np.allclose(images["log_snr"], images["karras"]) and not np.allclose(images["log_snr"], images["trailing"])
    # Heun's rule has log SNR of its own on this schedule; a model may have another.
    np.testing.assert_allclose(model_of("linear").sample(8, seed=0, steps=4), images["log_snr"], atol=1e-6)
    # Codes too: each sampler has its own.
    model, x = model_of("linear"), np.full((2, 1, 2, 1), 0.6, "float32")
    for sampler, own in (("euler", "log_snr"), ("ddim", "trailing")):
        codes = {spacing: np.asarray(model.encode(x, 4, sampler, spacing=spacing)) for spacing in ("log_snr", "trailing")}
        assert not np.allclose(codes["log_snr"], codes["trailing"], atol=1e-2)
        np.testing.assert_allclose(model.encode(x, 4, sampler), codes[own], atol=1e-5)
        np.testing.assert_allclose(model.decode(x, 4, sampler), model.decode(x, 4, sampler, spacing=own), atol=1e-5)
    model = model_of("linear", spacing="karras")
    np.testing.assert_allclose(model.sample(8, seed=0, steps=4), images["karras"], atol=1e-6)
    for recipe in ("ddpm", "latent_diffusion"):
        built = gz.build(recipe, (8, 8, 1), width=8, spacing="karras", **({"multipliers": (1,)} if recipe == "ddpm" else {}))
        assert getattr(built, "diffusion", built).spacing == "karras"
    for call in (model.sample, model.encode):
        with pytest.raises(ValueError, match="spacing is 'leading', expected None or one of trailing, log_snr, karras"):
            call(1 if call == model.sample else np.zeros((1, 1, 2, 1)), spacing="leading")


def test_steps_of_first_order_are_taken_where_nothing_is_to_be_extrapolated(monkeypatch):
    """Against DDIM: the first step, one from where no signal is, one twice as wide as the last, and the one to no noise."""
    cosine, seen = schedules.Cosine(), []

    def denoise(x, t):
        image = tf.sin(3.0 * x) * t
        return image, (x - cosine.signal(t) * image) / cosine.noise(t)

    x, solver, ddim = tf.constant([[0.3, -1.1]]), samplers.DPMSolver(), samplers.DDIM()
    times = [1.0, 0.9, 0.8, 0.75, 0.4, 0.3, 0.0]
    state = solver.init(x, len(times) - 1)
    for t, t_next in itertools.pairwise(times):
        t, t_next = tf.constant(t), tf.constant(t_next)
        first = ddim.step((state[0],), denoise, cosine, t, t_next, None)[0]
        state = solver.step(state, denoise, cosine, t, t_next, None)
        seen.append(np.allclose(first, state[0], atol=1e-6))
    assert seen == [True, True, False, True, False, True]


# Codes


def test_the_middle_of_two_codes_is_as_long_as_they_are(images):
    for model in (model_of("rectified_flow"), gz.build("glow", (8, 8, 1), width=8, steps=1, seed=0)):
        z = [tf.random.normal((4, 8, 8, 1) if isinstance(model, Diffusion) else (4, 64), 0.0, 0.6, seed=seed) for seed in (0, 1)]
        middle = model.between(*z, 0.5).numpy()
        assert middle.std() == pytest.approx(0.6, abs=0.03)  # half their sum has 0.6 / sqrt(2) = 0.42
        np.testing.assert_allclose(model.between(*z, 0.0), z[0], atol=1e-6)
        np.testing.assert_allclose(model.between(*z, 1.0), z[1], atol=1e-6)
        np.testing.assert_allclose(model.between(z[0], z[0], 0.3), z[0], atol=1e-6)
        np.testing.assert_allclose(model.between(z[0], -z[0], 0.5), tf.zeros_like(z[0]), atol=1e-6)
    a, b = np.cos([0.2, 1.4]), np.sin([0.2, 1.4])  # on a circle the way is the arc
    way = codes.spherical(tf.constant([[a[0], b[0]]]), tf.constant([[a[1], b[1]]]), 0.25).numpy()
    np.testing.assert_allclose(way, [[np.cos(0.5), np.sin(0.5)]], rtol=1e-6)


def test_images_between_two_images_keep_their_contrast():
    """Of Gaussian images, which the straight way would make gray in the middle."""
    model = model_of("rectified_flow", Diffusion)
    x = np.clip(0.5 + 0.15 * np.random.default_rng(0).normal(size=(400, 1, 2, 1)), 0, 1).astype("float32")
    line = model.interpolate(x[:200], x[200:], steps=3)
    first, middle = (2 * line[:, step, 0, 0, 0] - 1 for step in (0, 1))
    assert middle.std() > 0.85 * first.std()  # the straight way: 0.71
