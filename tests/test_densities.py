"""Likelihoods, divergences, distances and priors against SciPy, scikit-learn and closed forms."""

import keras
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import tensorflow as tf

from keras_genzoo import distances, divergences, likelihoods, priors
from keras_genzoo.core import images, randomness


@pytest.fixture
def random():
    return np.random.default_rng(0)


def pair(random, shape=(3, 4, 5, 2)):
    return random.random(shape).astype("float32"), random.random(shape).astype("float32")


@pytest.mark.parametrize("scale", [0.05, 1.0])
def test_gaussian_and_laplace_are_the_densities_of_scipy(scale, random):
    x, mean = pair(random)
    for likelihood, scipy_one in ((likelihoods.Gaussian, scipy.stats.norm), (likelihoods.Laplace, scipy.stats.laplace)):
        expected = scipy_one.logpdf(x.astype("float64"), mean, scale).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(likelihood(scale).log_prob(x, mean), expected, rtol=1e-5)


def test_bernoulli_is_the_mass_of_scipy(random):
    x = (random.random((3, 4, 4, 1)) > 0.5).astype("float32")
    logits = random.normal(size=x.shape).astype("float32")
    expected = scipy.stats.bernoulli.logpmf(x, 1 / (1 + np.exp(-logits.astype("float64")))).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(likelihoods.Bernoulli().log_prob(x, logits), expected, rtol=1e-5)


def logistic_parameters(location, log_scale):
    likelihood = likelihoods.DiscretizedLogistic()
    bound = likelihoods.LOG_SCALE_BOUND
    raw = 2.0 + bound * np.arctanh(np.asarray(log_scale) / bound)  # the inverse of the bound that the likelihood puts on it
    return likelihood, np.stack(np.broadcast_arrays(location, raw), axis=-1).astype("float32")


def test_discretised_logistic_is_a_difference_of_distribution_functions(random):
    levels = random.integers(1, 255, (4, 3, 3, 1))
    location, log_scale = random.random(levels.shape[:-1]), random.uniform(-4, -1, levels.shape[:-1])
    likelihood, parameters = logistic_parameters(location, log_scale)
    cdf = lambda edge: scipy.stats.logistic.cdf(edge, location, np.exp(log_scale))  # noqa: E731
    x = levels[..., 0] / 255
    expected = np.log(cdf(x + 0.5 / 255) - cdf(x - 0.5 / 255)).sum(axis=(1, 2))
    np.testing.assert_allclose(likelihood.log_prob((levels / 255).astype("float32"), parameters), expected, rtol=1e-3)


@pytest.mark.parametrize("location, log_scale", [(0.5, -2.0), (0.0, -5.0), (1.3, -3.0), (0.2, 1.0)])
def test_discretised_logistic_sums_to_one_over_the_levels(location, log_scale):
    likelihood, parameters = logistic_parameters(np.full((256, 1, 1), location), log_scale)
    levels = (np.arange(256) / 255).astype("float32").reshape(256, 1, 1, 1)
    assert np.exp(likelihood.log_prob(levels, parameters).numpy().astype("float64")).sum() == pytest.approx(1, abs=1e-3)


def test_discretised_logistic_has_finite_values_and_gradients_far_from_the_data():
    likelihood = likelihoods.DiscretizedLogistic()
    x = tf.constant(np.array([0, 1, 128, 254, 255], "float32").reshape(5, 1, 1, 1) / 255)
    for location, log_scale in ((50.0, -100.0), (-50.0, 100.0), (0.5, -100.0)):
        parameters = tf.constant(np.tile([location, log_scale], (5, 1, 1, 1)).astype("float32"))
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            value = likelihood.log_prob(x, parameters)
        assert np.isfinite(value).all() and np.isfinite(tape.gradient(value, parameters)).all()


@pytest.mark.parametrize("kind", [likelihoods.Gaussian, likelihoods.Laplace])
def test_the_optimal_scale_is_the_maximum_of_the_likelihood(kind, random):
    x, mean = pair(random)
    found = scipy.optimize.minimize_scalar(
        lambda log_scale: -float(np.sum(kind(float(np.exp(log_scale))).log_prob(x, mean))), bounds=(-5, 2), method="bounded"
    )
    likelihood = kind("optimal")
    assert float(likelihood.best_log_scale(likelihood.errors(x, mean), 4 * 5 * 2)) == pytest.approx(found.x, abs=1e-3)
    assert np.sum(likelihood.training_log_prob(x, mean)) == pytest.approx(-found.fun, rel=1e-4)


def test_the_running_scale_approaches_the_optimal_one_and_stands_in_log_prob(random):
    x, mean = pair(random)
    likelihood = likelihoods.Gaussian("optimal")
    for _ in range(1000):
        likelihood.training_log_prob(x, mean)
    scale = float(np.sqrt(np.mean((x - mean) ** 2)))
    assert float(likelihood.log_scale) == pytest.approx(np.log(scale), abs=1e-3)
    np.testing.assert_allclose(likelihood.log_prob(x, mean), likelihoods.Gaussian(scale).log_prob(x, mean), rtol=1e-2)


def test_a_learned_scale_finds_the_optimal_one(random):
    x, mean = pair(random)
    likelihood = likelihoods.Gaussian("learned")
    optimizer = keras.optimizers.Adam(0.05)
    for _ in range(200):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(likelihood.training_log_prob(x, mean))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, likelihood.trainable_variables), likelihood.trainable_variables, strict=True)
        )
    assert float(likelihood.log_scale) == pytest.approx(0.5 * np.log(np.mean((x - mean) ** 2)), abs=0.02)


def test_the_closed_form_divergence_is_the_integral(random):
    mu, log_variance = random.normal(size=(4, 3)).astype("float32"), random.normal(size=(4, 3)).astype("float32")

    def integral(m, v):
        grid = np.linspace(m - 12 * v**0.5, m + 12 * v**0.5, 20_001)
        q = scipy.stats.norm.pdf(grid, m, v**0.5)
        ratio = scipy.stats.norm.logpdf(grid, m, v**0.5) - scipy.stats.norm.logpdf(grid)
        return np.trapezoid(q * ratio, grid)

    expected = np.vectorize(integral)(mu.astype("float64"), np.exp(log_variance.astype("float64"))).sum(axis=1)
    np.testing.assert_allclose(divergences.gaussian_kl(mu, log_variance), expected, rtol=1e-4)


def test_the_gaussian_log_density_is_scipys(random):
    z, mu, log_variance = random.normal(size=(3, 5, 4)).astype("float32")
    expected = scipy.stats.norm.logpdf(z, mu, np.exp(0.5 * log_variance)).sum(axis=1)
    np.testing.assert_allclose(divergences.gaussian_log_prob(z, mu, log_variance), expected, rtol=1e-5)


def test_distances_sum_over_the_image(random):
    x, y = pair(random)
    l1, l2 = np.abs(x - y).sum(axis=(1, 2, 3)), ((x - y) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(distances.get("l1")(x, y), l1, rtol=1e-5)
    np.testing.assert_allclose(distances.get("l2")(x, y), l2, rtol=1e-5)
    np.testing.assert_allclose(distances.get({"l1": 0.25, "l2": 2.0})(x, y), 0.25 * l1 + 2 * l2, rtol=1e-5)


def test_the_fitted_mixture_is_scikit_learns(random):
    from sklearn.mixture import GaussianMixture

    codes = np.concatenate([random.normal(-3, 0.5, (200, 2)), random.normal(2, 1, (300, 2)) @ [[1, 0.8], [0, 0.6]]])
    prior = priors.GaussianMixture(2, components=2)
    prior.fit(codes, seed=0)
    reference = GaussianMixture(2, random_state=0).fit(codes)
    np.testing.assert_allclose(prior.log_prob(codes.astype("float32")), reference.score_samples(codes), atol=0.02)


def test_samples_of_the_mixture_have_its_moments(random):
    codes = random.normal(size=(5000, 3)) @ np.array([[1, 0.5, 0], [0, 2, 0.3], [0, 0, 0.1]]) + [1, -2, 3]
    for components in (1, 4):
        prior = priors.GaussianMixture(3, components=4)
        prior.fit(codes, components=components)
        samples = prior.sample(50_000, randomness.RowStream(0, 0)).numpy()
        np.testing.assert_allclose(samples.mean(axis=0), codes.mean(axis=0), atol=0.05)
        np.testing.assert_allclose(np.cov(samples.T), np.cov(codes.T), atol=0.12)


def test_few_codes_use_few_components(random):
    prior = priors.GaussianMixture(2, components=10)
    prior.fit(random.normal(size=(65, 2)))
    assert np.sum(prior.log_weights.numpy() > -1e8) <= 2  # a component for 20 of the 52 that are not held out


def test_a_mixture_is_the_standard_normal_until_it_is_fitted(random):
    z = random.normal(size=(5, 3)).astype("float32")
    prior = priors.GaussianMixture(3, components=4)
    assert not prior.fitted
    expected = scipy.stats.norm.logpdf(z).sum(axis=1)
    np.testing.assert_allclose(prior.log_prob(z), expected, rtol=1e-5)
    np.testing.assert_allclose(priors.StandardNormal(3).log_prob(z), expected, rtol=1e-5)


def test_every_level_goes_into_its_interval_of_the_cube_and_back():
    levels = np.arange(256, dtype="uint8").reshape(256, 1, 1, 1)
    unit = images.to_unit(levels)
    for u in (0.001, 0.5, 0.999):
        points = images.dequantise(unit, u).numpy()
        np.testing.assert_array_equal(np.floor(points * 256)[:, 0, 0, 0], np.arange(256))
        np.testing.assert_array_equal(images.to_levels(images.from_cube(points)), levels)


def test_a_sheet_of_images_shows_each_in_its_place():
    gray = np.arange(5, dtype="uint8").reshape(5, 1, 1, 1) * np.ones((1, 2, 3, 1), "uint8")
    sheet = images.tile(gray, columns=3, gap=1)
    assert sheet.shape == (5, 11)
    assert [sheet[0, 0], sheet[0, 4], sheet[0, 8], sheet[3, 0], sheet[3, 4], sheet[3, 8]] == [0, 1, 2, 3, 4, 255]
    assert images.tile(np.zeros((4, 2, 2, 5), "uint8")).shape == (5, 5)
    rows = {n: images.tile(np.zeros((n, 1, 1, 1)), gap=0).shape for n in (1, 2, 7, 10, 16, 22, 32, 64)}
    shapes = {1: (1, 1), 2: (1, 2), 7: (3, 3), 10: (2, 5), 16: (4, 4), 22: (5, 5), 32: (4, 8), 64: (8, 8)}
    assert rows == shapes
    assert images.tile(np.zeros((4, 2, 2, 3), "uint8")).shape == (5, 5, 3)
