"""Likelihoods of diffusion models by the probability-flow equation, against densities that are known in closed form."""

import functools

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from test_diffusion import SCHEDULES, gaussian_model, numbers
from test_diffusion_doors import Together, conditional
from test_samplers import MEANS, STD, STDS, WEIGHTS, model_of

import keras_genzoo as gz
from keras_genzoo import odes, schedules
from keras_genzoo.core import images, randomness
from keras_genzoo.models import Diffusion

SPAN = 512 / 255  # of the unit cube in [-1, 1], where level k is at 2 k / 255 - 1
FINE = odes.DormandPrince(1e-6, 1e-6)
PAST_BENDS = odes.RungeKutta(4000)  # of DDPM's schedule, a thousand at each of which a step may err as far as its tolerance


def density(model, points, **settings):
    """`log_density` as one graph."""
    return tf.function(lambda x: model.log_density(x, **settings), autograph=False)(tf.constant(points, tf.float32)).numpy()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_density_of_gaussian_images_is_exact_on_every_schedule(schedule):
    """Along the equation x keeps its quantile: noise is x times the ratio of the deviations at both ends."""
    std, shape = 0.4, (2, 2, 1)
    model = gaussian_model(schedule, std=std, shape=shape)
    points = np.random.default_rng(0).uniform(0.2, 0.8, (6, *shape))
    signal, noise = numbers(model.schedule, [model.schedule.t_min, model.schedule.t_max])
    first, last = np.hypot(signal * std, noise)
    at_end = scipy.stats.norm(0, float(model.prior_scale)).logpdf(SPAN * (points - 0.5) * last / first)
    exact = at_end.sum(axis=(1, 2, 3)) + 4 * np.log(SPAN * last / first)
    bends = schedule in ("linear", "zero_snr")
    np.testing.assert_allclose(density(model, points, solver=PAST_BENDS if bends else FINE), exact, atol=1e-3)
    np.testing.assert_allclose(density(model, points), exact, atol=2e-3 if bends else 1e-3)  # by default
    if schedule == "rectified_flow":  # from the images themselves to nothing but noise
        data = scipy.stats.norm(0.5, std / SPAN).logpdf(points).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(exact, data, atol=1e-6)


@pytest.mark.parametrize("prediction", ["velocity", "edm"])
def test_the_density_does_not_depend_on_what_the_network_predicts(prediction):
    points, schedule = np.random.default_rng(0).uniform(0.2, 0.8, (6, 1, 1, 2)), schedules.Cosine(t_max=0.99)
    one, other = (gaussian_model(schedule, each, std=0.4, shape=(1, 1, 2)) for each in ("v", prediction))
    np.testing.assert_allclose(density(one, points, solver=FINE), density(other, points, solver=FINE), atol=1e-3)


def truth(x):
    """log p of two pixels in [-1, 1], a Gaussian one and one of a mixture."""
    mixture = scipy.stats.norm(MEANS, STDS).pdf(x[:, 1, None]) @ WEIGHTS
    return scipy.stats.norm(0, STD).logpdf(x[:, 0]) + np.log(mixture)


def drawn_points(model, levels, seed=0):
    """The points that `log_prob` makes of images in its first draw."""
    uniform = randomness.uniform(model.noise_key(seed, 0, 0), levels.shape)
    return np.asarray(images.dequantise(images.to_unit(levels), uniform), "float64")


def test_the_density_in_the_plane_is_the_true_one_and_its_errors_are_as_told():
    model = model_of("rectified_flow", Diffusion)
    levels = np.random.default_rng(0).integers(40, 216, (60, 1, 2, 1), dtype="uint8")
    exact = truth(SPAN * (drawn_points(model, levels) - 0.5)[:, 0, :, 0]) + 2 * np.log(SPAN)
    found, error, deviation = model.ode_log_prob(levels, trace="exact", solver=FINE)
    np.testing.assert_allclose(found, exact, atol=1e-3)
    assert np.isnan(deviation).all() and np.max(error) < 2e-3
    np.testing.assert_allclose(model.log_prob(levels, method="ode", trace="exact", solver=FINE), found, atol=1e-3)
    for solver in (odes.DormandPrince(), odes.RungeKutta(6)):
        found, error, _ = model.ode_log_prob(levels, trace="exact", solver=solver)
        wrong = np.abs(found - exact)
        assert wrong.max() > 1e-5  # so that there is something to tell
        assert np.sqrt(np.mean(wrong**2)) < np.sqrt(np.mean(np.square(error))) and np.mean(wrong < error + 1e-4) > 0.8
    assert np.abs(model.log_prob(levels, trace="exact") - exact).max() < 1e-3


def test_hutchinsons_estimate_has_the_mean_of_the_exact_trace_and_tells_its_deviation():
    covariance = 0.09 * np.array([[1, 0.9], [0.9, 1]])
    inputs = keras.Input((1, 2, 1)), keras.Input(())
    model = Diffusion(keras.Model(inputs, Together()(*inputs)), seed=0)
    levels = np.array([[140, 120], [90, 100], [128, 180]], "uint8")[:, None, :, None]
    points = drawn_points(model, levels)
    exact = scipy.stats.multivariate_normal(cov=covariance).logpdf(SPAN * (points - 0.5)[:, 0, :, 0]) + 2 * np.log(SPAN)
    np.testing.assert_allclose(model.log_prob(levels, trace="exact", solver=FINE), exact, atol=2e-3)
    means = {trace: model.ode_log_prob(levels, trace, samples=100, solver="rk4") for trace in ("exact", "hutchinson")}
    spread = means["hutchinson"][2].numpy()
    assert np.all(spread > 3 * means["exact"][2])  # which has the noise within levels alone
    np.testing.assert_array_less(np.abs(means["hutchinson"][0] - means["exact"][0]), 4 * spread)
    one = model.log_prob(levels, seed=1)
    assert np.abs(one - model.log_prob(levels, seed=2)).max() > 0.01
    np.testing.assert_array_equal(one, model.log_prob(levels, seed=1))


@pytest.mark.parametrize("schedule, timesteps", [("rectified_flow", None), ("linear", 1000)])
def test_the_masses_of_all_levels_add_up_to_one(schedule, timesteps):
    """Of images of one pixel: bits per dimension count the change of scale, whichever likelihood is the model's own."""
    std = 0.3
    model = gaussian_model(schedule, "v", std=std, timesteps=timesteps)
    levels = np.arange(256, dtype="uint8").reshape(256, 1, 1, 1)
    inside = 1 - 2 * scipy.stats.norm.sf(256 / 255 / std)  # the rest lies beyond black and white
    bits = model.bits_per_dim(levels, method="ode").numpy()
    assert np.sum(0.5**bits) == pytest.approx(inside, abs=5e-3)
    log_prob = model.log_prob(levels, method="ode")
    np.testing.assert_allclose(bits, 8 - log_prob / np.log(2), rtol=1e-5)
    own = model.bits_per_dim(levels)
    assert model.support == ("continuous" if timesteps is None else "levels")
    assert model.log_prob_label == ("ode" if timesteps is None else "elbo")
    if timesteps is None:
        np.testing.assert_array_equal(own, bits)
    else:
        np.testing.assert_allclose(own, -model.log_prob(levels, method="bound") / np.log(2), rtol=1e-5)


def test_training_draws_noise_within_levels_if_asked():
    """Of gray images of one level: even noise around it, as wide as a level, of variance width^2 / 12."""
    levels = np.full((4000, 1, 1, 1), 200, "uint8")
    x = 2 * 200 / 255 - 1
    for dequantise, square in ((False, x**2), (True, x**2 + (2 / 255) ** 2 / 12)):
        model = gz.build("flow_matching", (1, 1, 1), width=8, multipliers=(1,), patch=1, seed=0, dequantise=dequantise)
        seen = []
        model.errors = lambda x, *rest, seen=seen, errors=model.errors, **settings: seen.append(x) or errors(x, *rest, **settings)
        model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        for door in (model.train_on_batch, model.test_on_batch):
            door(levels)
        for drawn in map(np.asarray, seen):
            assert np.mean(drawn**2) == pytest.approx(square, rel=1e-3)
            assert np.ptp(drawn) == pytest.approx(2 / 255 if dequantise else 0, rel=0.01, abs=1e-6)


def test_likelihoods_are_of_the_labels_and_do_not_depend_on_the_batch(images):
    model = conditional(0.1, timesteps=None)
    likelihood = functools.partial(model.log_prob, solver="rk4")
    labels = np.array([0, 1, 2, 0, 1])
    for trace in ("exact", "hutchinson"):
        whole = likelihood(images[:5], labels=labels, trace=trace)
        np.testing.assert_allclose(whole, likelihood(images[:5], labels=labels, trace=trace, batch_size=2), rtol=1e-4)
        other = likelihood(images[:5], labels=[1, 1, 2, 0, 1], trace=trace)
        changed = np.abs(whole - other)
        assert changed[0] > 1e-2 and changed[1:].max() < 1e-2


def test_networks_that_round_are_solved_by_fixed_steps():
    sizes = {"width": 8, "multipliers": (1,), "seed": 0}
    rounded, fine = (gz.build("flow_matching", (8, 8, 1), dtype=dtype, **sizes) for dtype in ("mixed_bfloat16", None))
    assert isinstance(rounded._solver(None, True), odes.RungeKutta) and rounded._solver(FINE, True) is FINE
    assert [fine._solver(None, exact).rtol for exact in (True, False)] == [1e-5, 1e-4]


def test_what_a_likelihood_is_not_made_of_is_one_sentence(images):
    flow, chain = gaussian_model("rectified_flow"), gaussian_model("linear", timesteps=20)
    pixel = images[:1, :1, :1]
    for call, sentence in [
        (lambda: flow.log_prob(pixel, method="bound"), "the model's time is continuous; take 'ode'"),
        (lambda: flow.log_prob(pixel, method="sde"), "method is 'sde', expected None, 'ode' or 'bound'"),
        (lambda: flow.log_prob(pixel, trace="full"), "trace is 'full', expected 'exact' or 'hutchinson'"),
        (lambda: flow.log_prob(pixel, solver="euler"), "solver is 'euler', expected one of"),
        (lambda: flow.log_prob(pixel, samples=0), "samples is 0, expected a whole number of at least 1"),
        (lambda: chain.log_prob(pixel, samples=np.int64(0)), "samples is 0, expected a whole number of at least 1"),
        (lambda: chain.bits_per_dim(pixel, method="elbo"), "method is 'elbo'"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            call()
    assert not hasattr(flow, "variational_bound") and hasattr(chain, "variational_bound")
