"""Regularised and Wasserstein autoencoders and variants of VAEs: each term against a closed form, and seen to act."""

import itertools
import math

import keras
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import tensorflow as tf
from sklearn.decomposition import PCA

import keras_genzoo as gz
from keras_genzoo import adversarial, divergences, likelihoods, networks, priors, regularizers
from keras_genzoo.core import randomness
from keras_genzoo.models import VAE, VQVAE, WAE, Autoencoder, BetaTCVAE, Codebook, InfoVAE, SmoothAutoencoder, TwoStageVAE

SHAPE = (8, 8, 1)
QUICK = {"jit_compile": False, "steps_per_execution": 1}


@pytest.fixture
def random():
    return np.random.default_rng(0)


def stream(seed=0):
    return randomness.Stream(seed, keras.Variable(0, dtype="int64", trainable=False))


def train(model, images, steps):
    """On all images at once: an epoch of each step would take longer than the steps."""
    model.fit(tf.data.Dataset.from_tensors(images).repeat(), steps_per_epoch=steps, epochs=1, verbose=0)


def floats(x):
    return tf.constant(x, tf.float32)


# Divergences of samples


def direct_kernel(name, x, y):
    square = np.sum((x - y) ** 2)
    if name == "gaussian":
        return sum(np.exp(-square / (2 * s**2)) for s in (1, 2, 4, 8, 16))
    return sum(c / (c + square) for c in (2 * len(x) * s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)))


@pytest.mark.parametrize("kernel", ["gaussian", "inverse_multiquadratic"])
def test_mmd_is_the_double_sum(kernel, random):
    x, y = random.normal(size=(7, 3)), random.normal(0.5, 2, size=(5, 3))
    k = lambda a, b: direct_kernel(kernel, a, b)  # noqa: E731
    within = [sum(k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j) / len(z) / (len(z) - 1) for z in (x, y)]
    expected = sum(within) - 2 * np.mean([[k(a, b) for b in y] for a in x])
    assert float(divergences.squared_mmd(floats(x), floats(y), divergences.KERNELS[kernel])) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kernel", ["gaussian", "inverse_multiquadratic"])
def test_mmd_of_two_samples_of_one_distribution_is_zero_on_average(kernel):
    divergence, prior, random = divergences.SquaredMMD(kernel), priors.StandardNormal(4), stream()
    draw = tf.function(lambda: divergence(random.normal((32, 4)), prior, random))
    values = np.array([draw() for _ in range(200)])
    error = values.std(ddof=1) / np.sqrt(200)
    assert abs(values.mean()) < 3 * error and (values < 0).any()
    biased = 2 * sum(1 for _ in divergences.KERNELS[kernel].__defaults__[0]) / 32  # what the diagonals would add, at most
    assert error < biased / 30  # so that a bias would be seen


def test_sliced_wasserstein_is_the_exact_distance_along_each_direction(random):
    x, y = random.normal(size=(50, 3)), random.normal(1, 2, size=(50, 3))
    directions = np.linalg.qr(random.normal(size=(3, 3)))[0]
    # In one dimension the squared distance is the integral of the squared difference of quantiles; of equal numbers of points
    # the best of all assignments, which SciPy finds by another way than sorting.
    exact = []
    for direction in directions:
        cost = (x @ direction)[:, None] - (y @ direction)[None]
        exact.append((cost[scipy.optimize.linear_sum_assignment(cost**2)] ** 2).mean())
    found = float(divergences.sliced_wasserstein(floats(x), floats(y), floats(directions)))
    assert found == pytest.approx(np.mean(exact), rel=1e-4)


class Origin(priors.StandardNormal):
    """Draws that are all at the origin."""

    def sample(self, n, random, temperature=1.0):
        return 0.0 * super().sample(n, random, temperature)


def test_sliced_wasserstein_looks_along_unit_vectors_that_are_drawn_anew():
    """From a point at a distance of 6, seen along a direction of D dimensions, the squared distance is 36 / D on average."""
    divergence, random = divergences.SlicedWasserstein(directions=4000), stream()
    codes = tf.tile(floats([[2.0, -4.0, 4.0, 0.0]]), (10, 1))
    first, second = (float(divergence(codes, Origin(4), random)) for _ in range(2))
    assert first != second and first == pytest.approx(9, rel=0.06) and second == pytest.approx(9, rel=0.06)


@pytest.mark.parametrize("dimensions, error", [(1, 1e-5), (2, 1e-5), (3, 0.07), (8, 7e-3), (16, 1.4e-3)])
def test_the_mean_over_directions_is_kummers_function(dimensions, error):
    s = np.geomspace(1e-3, 1e3, 50)
    expected = scipy.special.hyp1f1(0.5, dimensions / 2, -s)
    found = divergences._mean_over_directions(floats(s), dimensions)
    np.testing.assert_allclose(found, expected, rtol=error, atol=1e-30)


@pytest.mark.parametrize("dimensions, error", [(2, 2e-3), (16, 2e-3)])
def test_cramer_wold_is_the_mean_over_directions_of_the_distance_of_smoothed_densities(dimensions, error, random):
    x, y, gamma = random.normal(size=(20, dimensions)), random.normal(0.7, 1.5, size=(20, dimensions)), 0.3
    directions = random.normal(size=(4000, dimensions))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    grid = np.linspace(-15, 15, 301)
    smooth = lambda z: scipy.stats.norm.pdf(grid, z[:, None], gamma**0.5).mean(axis=0)  # noqa: E731
    normal = scipy.stats.norm.pdf(grid, 0, (1 + gamma) ** 0.5)
    of_two, of_normal = [], []
    for direction in directions:
        of_two.append(np.trapezoid((smooth(x @ direction) - smooth(y @ direction)) ** 2, grid))
        of_normal.append(np.trapezoid((smooth(y @ direction) - normal) ** 2, grid))
    assert float(divergences.cramer_wold(floats(x), floats(y), gamma)) == pytest.approx(np.mean(of_two), abs=error)
    assert float(divergences.cramer_wold_to_normal(floats(y), gamma)) == pytest.approx(np.mean(of_normal), abs=error)


@pytest.mark.parametrize("divergence", ["mmd", "gaussian_mmd", "sliced_wasserstein", divergences.CramerWold(logarithm=False)])
@pytest.mark.parametrize("prior", [priors.StandardNormal(16), priors.GaussianMixture(16, 1)])
def test_a_divergence_falls_to_its_null_level_where_codes_are_the_priors_own(divergence, prior):
    divergence, random = divergences.get(divergence), stream()
    draw = tf.function(lambda shift: divergence(random.normal((128, 16)) + shift, prior, random))
    levels = [[float(draw(tf.constant(shift))) for _ in range(10)] for shift in (0.0, 0.3, 1.0)]
    null, near, far = map(np.mean, levels)
    spread = np.std(levels[0])
    assert null + 3 * spread < near < far
    # What is left is the finite sample's: an n-th of it for n codes, and around 0 for the unbiased ones.
    assert null < 0.2 * far


@pytest.mark.parametrize("recipe, term", [("cwae", "divergence_loss"), ("sparse_autoencoder", "sparsity_loss")])
def test_gathered_rows_are_those_of_the_whole_batch(recipe, term, replicas, images):
    """Cramer-Wold from N(0, I) draws nothing, nor does the sparsity, so two replicas must step as one device does."""

    def trained(scope):
        with scope:
            model = gz.build(recipe, SHAPE, width=8, depth=1, latent_dim=3, normalization=None, seed=0, **QUICK)
            model.encoder.set_weights(
                [np.random.default_rng(i).normal(0, 0.2, w.shape) for i, w in enumerate(model.encoder.weights)]
            )
            model.decoder.set_weights(
                [np.random.default_rng(i).normal(0, 0.2, w.shape) for i, w in enumerate(model.decoder.weights)]
            )
            model.compile(keras.optimizers.SGD(0.01), jit_compile=False)
        data = tf.data.Dataset.from_tensor_slices(images).batch(16)
        losses = model.fit(data, epochs=2, verbose=0).history[term]
        return losses, model.encoder.get_weights()

    one, two = trained(tf.distribute.get_strategy().scope()), trained(replicas.scope())
    np.testing.assert_allclose(one[0], two[0], rtol=1e-4)
    for first, second in zip(one[1], two[1], strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)


# Regularised autoencoders


def autoencoder(regularizers=(), activation="sigmoid", depth=0, latent_dim=4, **settings):
    encoder = networks.mlp(SHAPE, latent_dim, width=8, depth=depth, activation="tanh", output_activation=activation)
    decoder = networks.mlp(latent_dim, SHAPE, width=8, depth=1, output_activation="sigmoid")
    model = Autoencoder(encoder, decoder, regularizers=regularizers, seed=0, **settings)
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    return model


def test_a_trained_linear_autoencoder_reaches_the_error_of_pca(images):
    model = gz.build("linear_autoencoder", SHAPE, latent_dim=4, learning_rate=0.02, total_steps=1000, seed=0, **QUICK)
    train(model, images, 1000)
    flat = images.reshape(16, -1) / 255
    pca = PCA(4).fit(flat)
    error = ((pca.inverse_transform(pca.transform(flat)) - flat) ** 2).sum(axis=1).mean()
    assert model.evaluate(images, verbose=0, return_dict=True)["loss"] == pytest.approx(error, rel=0.01)


def numeric_jacobian(function, x, step=1e-2):
    """Central differences of one image's code, `(latent_dim, pixels)`."""
    columns = []
    for index in range(x.size):
        moved = [x.copy(), x.copy()]
        moved[0].flat[index] += step
        moved[1].flat[index] -= step
        up, down = np.asarray(function(floats(np.stack(moved))))
        columns.append((up - down) / (2 * step))
    return np.array(columns).T


def test_the_jacobians_norm_is_that_of_differences_by_every_method(images):
    model = autoencoder()
    x = floats(images[:3] / 255)
    exact = [np.sum(numeric_jacobian(model.encoder, image) ** 2) for image in np.asarray(x)]
    for method in ("closed_form", "batch_jacobian"):
        found = regularizers.Contractive(method=method)(model, x, model.encoder(x), stream(), True)
        np.testing.assert_allclose(found, exact, rtol=1e-2)
    many = tf.repeat(x, 300, axis=0)
    estimate = regularizers.Contractive(method="hutchinson", samples=2)(model, many, model.encoder(many), stream(), True)
    np.testing.assert_allclose(np.reshape(estimate, (3, 300)).mean(axis=1), exact, rtol=0.25)


def test_the_curvature_is_that_of_jacobians_of_corrupted_images(images):
    """For small noise E|J(x) - J(x + e)|^2 = scale^2 |H|^2; of one sigmoid layer H_jik = a_j'' W_ij W_kj."""
    model = autoencoder()
    x = floats(images[:3] / 255)
    kernel, bias = (np.asarray(w) for w in model.encoder.get_weights())
    a = scipy.special.expit(np.asarray(x).reshape(3, -1) @ kernel + bias)
    second = a * (1 - a) * (1 - 2 * a)
    exact = 0.05**2 * (second**2 * (kernel**2).sum(axis=0) ** 2).sum(axis=1)
    many = tf.repeat(x, 100, axis=0)
    for method in ("closed_form", "batch_jacobian", "hutchinson"):
        found = regularizers.Curvature(1.0, 0.05, 3, method)(model, many, model.encoder(many), stream(), True)
        np.testing.assert_allclose(np.reshape(found, (3, 100)).mean(axis=1), exact, rtol=0.3)


@pytest.mark.parametrize("method", ["closed_form", "batch_jacobian", "hutchinson"])
def test_training_with_the_contractive_term_lowers_the_jacobian(method, images):
    def norm(weight):
        given = [] if weight is None else [regularizers.Contractive(weight, method)]
        model = autoencoder(given)
        train(model, images, 40)
        x = floats(images / 255)
        return float(tf.reduce_mean(regularizers.Contractive(method="closed_form")(model, x, None, None, False)))

    keras.utils.set_random_seed(0)
    free = norm(None)
    keras.utils.set_random_seed(0)
    assert norm(10.0) < 0.5 * free


def test_the_mean_activation_reaches_its_target(images):
    model = autoencoder([regularizers.SparseKL(30.0, target=0.2)])
    x = images / np.float32(255)
    z = np.asarray(model.encoder(x))
    mean = z.mean(axis=0)
    expected = sum(scipy.special.rel_entr([0.2, 0.8], [m, 1 - m]).sum() for m in mean.astype("float64"))
    assert model.evaluate(x, batch_size=16, verbose=0, return_dict=True)["sparsity_loss"] == pytest.approx(expected, rel=1e-3)
    train(model, x, 150)
    np.testing.assert_allclose(np.asarray(model.encode(x)).mean(axis=0), 0.2, atol=0.02)


@pytest.mark.parametrize(
    "term",
    [
        regularizers.Curvature(100.0, scale=0.3, method="batch_jacobian"),
        regularizers.SparseL1(1.0),
        regularizers.CodeNorm(1.0),
        regularizers.DecoderDecay(0.1),
        regularizers.DecoderSlope(1.0),
    ],
    ids=lambda term: term.term,
)
def test_training_with_a_term_lowers_it(term, images):
    def value(given):
        keras.utils.set_random_seed(0)
        model = autoencoder(given, activation=None if given is None or term.term != "curvature_loss" else "sigmoid")
        train(model, images, 40)
        x = floats(images / 255)
        with tf.GradientTape() as tape:
            tape.watch(x)
            z = model.encoder(x)
        return float(tf.reduce_mean(term(model, x, z, stream(), False)))

    assert value([term]) < 0.7 * value([])


def test_terms_of_codes_and_of_the_decoder_are_their_formulas(images):
    model = autoencoder(activation=None)
    x = floats(images / 255)
    z = model.encoder(x)
    code = np.asarray(z)
    np.testing.assert_allclose(regularizers.SparseL1()(model, x, z, None, True), np.abs(code).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(regularizers.CodeNorm()(model, x, z, None, True), (code**2).sum(axis=1) / 2, rtol=1e-5)
    kernels = [w for w in model.decoder.get_weights() if w.ndim > 1]
    assert float(regularizers.DecoderDecay()(model, x, z, None, True)) == pytest.approx(
        sum((k**2).sum() for k in kernels), rel=1e-5
    )
    decode = lambda codes: tf.reshape(model.decoder(codes), (len(codes), -1))  # noqa: E731
    exact = np.sum(numeric_jacobian(decode, code[0]) ** 2)
    random = stream()
    tiled = tf.tile(z[:1], (2000, 1))
    estimates = regularizers.DecoderSlope()(model, x, tiled, random, True)
    assert np.mean(estimates) == pytest.approx(exact, rel=0.1)


def test_the_loss_is_of_the_clean_image_and_adds_every_term_by_its_weight(images):
    """With a corruption that leaves every image black, and an L1 distance."""
    given = [regularizers.CodeNorm(0.5), regularizers.SparseL1(2.0), regularizers.DecoderDecay(0.01)]
    model = autoencoder(given, activation=None, distance="l1", corruption=regularizers.Masking(1 - 1e-6))
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    model.encoder.layers[-1].bias.assign([0.5, -1.0, 0.2, 0.7])  # the code of black images
    z = model.encoder(np.zeros((1, *SHAPE), "float32"))
    made, z = model.decoder(z).numpy(), z.numpy()
    expected = {"reconstruction_loss": np.abs(images / 255 - made).sum(axis=(1, 2, 3)).mean()}
    expected |= {"code_loss": (z**2).sum() / 2, "sparsity_loss": np.abs(z).sum()}
    expected["decay_loss"] = sum((value**2).sum() for value in model.decoder.get_weights() if value.ndim > 1)
    weights = {"reconstruction_loss": 1, "code_loss": 0.5, "sparsity_loss": 2, "decay_loss": 0.01}
    expected["loss"] = sum(weights[name] * value for name, value in expected.items())
    for scores in (model.train_on_batch(images, return_dict=True), model.evaluate(images, verbose=0, return_dict=True)):
        assert {name: float(value) for name, value in scores.items()} == pytest.approx(expected, rel=1e-4)


def test_corruptions_change_the_share_of_pixels_they_say():
    x, random = tf.fill((200, *SHAPE), 0.5), stream()
    noisy = regularizers.GaussianNoise(0.2)(x, random).numpy()
    assert noisy.mean() == pytest.approx(0.5, abs=0.01) and noisy.std() == pytest.approx(0.2, abs=0.01)
    masked = regularizers.Masking(0.3)(x, random).numpy()
    assert set(np.unique(masked)) == {0.0, 0.5} and (masked == 0).mean() == pytest.approx(0.3, abs=0.02)
    both = regularizers.SaltAndPepper(0.3)(x, random).numpy()
    shares = [(both == level).mean() for level in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(shares, [0.15, 0.7, 0.15], atol=0.02)


def test_a_denoising_autoencoder_restores_what_was_masked(images):
    model = autoencoder(activation=None, corruption="masking")
    blind = model.evaluate(images, verbose=0, return_dict=True)["loss"]
    train(model, images, 200)
    assert model.evaluate(images, verbose=0, return_dict=True)["loss"] < 0.5 * blind
    clean = ((np.asarray(model.decoder(model.encoder(images / np.float32(255)))) - images / 255) ** 2).sum(axis=(1, 2, 3)).mean()
    assert clean < model.evaluate(images, verbose=0, return_dict=True)["loss"]  # the loss is of corrupted images


def test_neighbours_and_their_weights_are_those_done_by_hand():
    """Four images of one pixel, 0, 51, 153 and 255: at 0, 0.2, 0.6 and 1."""
    levels = np.array([0, 51, 153, 255], "uint8").reshape(4, 1, 1, 1)
    indices, weights = gz.data.nearest_neighbours(levels, 2, bandwidth=0.5)
    np.testing.assert_array_equal(np.sort(indices, axis=1), [[1, 2], [0, 2], [1, 3], [1, 2]])
    # w = exp(-d^2 / (2 * 0.25)): of the first image d is 0.2 and 0.6, of the last 0.4 and 0.8.
    first = np.exp([-0.08, -0.72])
    last = np.exp([-0.32, -1.28])
    np.testing.assert_allclose(weights[0], first / first.sum(), rtol=1e-4)
    np.testing.assert_allclose(weights[3], last / last.sum(), rtol=1e-4)


def test_an_image_with_copies_has_these_for_neighbours_and_never_itself(images):
    indices, weights = gz.data.nearest_neighbours(np.concatenate([images, images, images]), 2)
    assert (indices != np.arange(48)[:, None]).all()
    np.testing.assert_array_equal(np.sort(indices % 16, axis=1), np.arange(48)[:, None] % 16 * np.ones((1, 2), int))
    np.testing.assert_allclose(weights, 0.5)


def test_a_smooth_autoencoder_compares_with_weighted_neighbours(images):
    base = autoencoder()
    model = SmoothAutoencoder(base.encoder, base.decoder, neighbours=3, seed=0)
    model.compile(jit_compile=False)
    data = gz.data.load(images, batch_size=16, shuffle=False, labels=False, **model.data_needs)
    _, extras = next(iter(data))
    indices, weights = gz.data.nearest_neighbours(images, 3)
    np.testing.assert_array_equal(extras["neighbours"], images[indices])
    made = np.asarray(model.decoder(model.encoder(images / np.float32(255))))
    errors = ((images[indices] / 255 - made[:, None]) ** 2).sum(axis=(2, 3, 4))
    assert model.evaluate(data, verbose=0, return_dict=True)["loss"] == pytest.approx(
        (weights * errors).sum(axis=1).mean(), rel=1e-4
    )
    with pytest.raises(ValueError, match="neighbours=3"):
        model.fit(images, verbose=0)


# Wasserstein autoencoders


@pytest.mark.parametrize("recipe", ["wae_mmd", "swae", "cwae", pytest.param("wae_gan", marks=pytest.mark.slow)])
def test_codes_are_drawn_to_the_prior(recipe, images):
    more = {"weight": 10.0, "critic_learning_rate": 0.005} if recipe == "wae_gan" else {}
    model = gz.build(recipe, SHAPE, width=32, depth=1, latent_dim=2, learning_rate=0.005, seed=0, **more, **QUICK)
    data = np.concatenate([images] * 4)
    start = model.evaluate(data, batch_size=64, verbose=0, return_dict=True)
    train(model, data, 600 if recipe == "wae_gan" else 150)
    end = model.evaluate(data, batch_size=64, verbose=0, return_dict=True)
    assert end["latent_mmd"] < 0.5 * start["latent_mmd"]
    assert end["reconstruction_loss"] < start["reconstruction_loss"]


@pytest.mark.parametrize("divergence", ["mmd", "game"])
def test_the_loss_of_a_wasserstein_autoencoder_is_the_weighted_sum_of_its_terms(divergence, images):
    encoder, decoder, critic = (networks.mlp(*sizes, width=8) for sizes in ((SHAPE, 2), (2, SHAPE), (2, 1)))
    divergence = adversarial.LatentGame(critic) if divergence == "game" else divergence
    settings = {"weight": 7.0, "distance": "l1", "regularizers": {"code_norm": 3.0}, "seed": 0}
    model = WAE(encoder, decoder, divergence, **settings)
    model.compile(**{name: keras.optimizers.SGD(0.0) for name in model.optimizers}, run_eagerly=True)
    z = encoder(images / np.float32(255)).numpy()
    reconstruction = np.abs(images / 255 - decoder(z)).sum(axis=(1, 2, 3)).mean()
    for terms in (model.train_on_batch(images, return_dict=True), model.evaluate(images, verbose=0, return_dict=True)):
        assert terms["reconstruction_loss"] == pytest.approx(reconstruction, rel=1e-4)
        assert terms["code_loss"] == pytest.approx((z**2).sum(axis=1).mean() / 2, rel=1e-4)
        expected = reconstruction + 3 * terms["code_loss"] + 7 * terms["divergence_loss"]
        assert terms["loss"] == pytest.approx(expected, rel=1e-4)
        if model.plays:  # -log D of the codes, and of the critic -log D of the draws and -log (1 - D) of the codes
            scores = critic(z).numpy()
            assert terms["divergence_loss"] == pytest.approx(np.log1p(np.exp(-scores)).mean(), rel=1e-4)
            draws = critic(np.random.default_rng(0).normal(size=(2000, 2)).astype("float32")).numpy()
            expected = np.log1p(np.exp(-draws)).mean() + np.log1p(np.exp(scores)).mean()
            assert terms["critic_loss"] == pytest.approx(expected, abs=4 * draws.std() / 4)


def test_a_gaussian_encoder_draws_its_codes_in_training_and_means_in_encode(images):
    model = gz.build("gaussian_wae_mmd", SHAPE, width=8, latent_dim=2, seed=0, **QUICK)
    x = model.images_of(images)
    mu, log_variance = (np.asarray(each) for each in model.encoder(x))
    draws = np.asarray(model.encoded(tf.tile(x, (500, 1, 1, 1)), model.random, True)).reshape(500, 16, 2)
    np.testing.assert_allclose(draws.mean(axis=0), mu, atol=5 * np.exp(log_variance / 2).max() / 500**0.5)
    np.testing.assert_allclose(draws.std(axis=0), np.exp(log_variance / 2), rtol=0.2)
    np.testing.assert_allclose(model.encode(images), mu, atol=1e-6)


def test_a_game_of_codes_moves_the_multiplier_of_its_objective(images):
    model = gz.build("wae_gan", SHAPE, objective="fisher", width=8, depth=1, latent_dim=2, critic_width=8, seed=0, **QUICK)
    model.fit(images, batch_size=8, verbose=0)
    assert float(model.divergence.objective.multiplier) != 0


@pytest.mark.parametrize("divergence", divergences.DIVERGENCES)
def test_a_step_of_one_image_is_that_of_an_autoencoder(divergence, images):
    """Such as a last batch may be: it has no distribution, and its reconstruction counts alone."""

    def trained(kind, *more):
        keras.utils.set_random_seed(0)
        model = kind(networks.mlp(SHAPE, 2, width=8), networks.mlp(2, SHAPE, width=8), *more, seed=0)
        model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        model.train_on_batch(images)  # a first batch has to have more
        model.optimizer.learning_rate = 0.01
        model.train_on_batch(images[3:4])
        return [each.numpy() for each in model.trainable_variables]

    for one, other in zip(trained(WAE, divergence), trained(Autoencoder), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_critic_of_codes_has_an_optimizer_of_its_own(images):
    game = gz.build("wae_gan", SHAPE, width=8, latent_dim=2, critic_width=8, seed=0, **QUICK)
    assert set(game.optimizers) == {"optimizer", "critic_optimizer"}
    before = game.divergence.critic.get_weights()
    game.optimizer.learning_rate = 0.0
    encoder = game.encoder.get_weights()
    game.fit(images, verbose=0)
    assert any((a != b).any() for a, b in zip(before, game.divergence.critic.get_weights(), strict=True))
    for a, b in zip(encoder, game.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="critic_optimizer"):
        gz.build("swae", SHAPE, width=8, latent_dim=2).compile(critic_optimizer="adam")


# Variants of VAEs


def pair(latent_dim=2, **settings):
    encoder = networks.mlp(SHAPE, latent_dim, width=8, depth=1, heads=("mu", "log_variance"), name="encoder")
    return encoder, networks.mlp(latent_dim, SHAPE, width=8, depth=1, output_activation="sigmoid", name="decoder")


def test_the_importance_weighted_loss_is_the_bound_that_log_prob_estimates(images):
    encoder, decoder = pair()
    gaps = {}
    for k in (1, 20):
        model = VAE(encoder, decoder, likelihood=likelihoods.Gaussian(0.3), importance_samples=k, seed=0)
        model.compile(jit_compile=False)
        loss = model.evaluate(images, verbose=0, return_dict=True)["loss"]
        bound = np.mean(model.log_prob(np.tile(images, (10, 1, 1, 1)), samples=k))
        gaps[k] = loss
        assert -loss == pytest.approx(bound, rel=0.03)
    assert gaps[20] < gaps[1]  # tighter


def test_the_densities_of_the_aggregate_posterior_are_exact_for_a_batch_of_all_images(random):
    z, mu, log_variance = (random.normal(size=(6, 3)) for _ in range(3))
    joint, product = divergences.stratified_log_densities(*map(floats, (z, mu, log_variance)), 6)
    of_each = scipy.stats.norm.pdf(z[:, None], mu[None], np.exp(0.5 * log_variance)[None])
    np.testing.assert_allclose(joint, np.log(of_each.prod(axis=2).mean(axis=1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(product, np.log(of_each.mean(axis=1)).sum(axis=1), rtol=1e-4, atol=1e-5)


def test_the_density_is_right_on_average_over_batches_of_few_images(random):
    mu, log_variance, z = random.normal(size=(12, 2)), random.normal(0, 0.3, size=(12, 2)), random.normal(size=2)
    exact = scipy.stats.norm.pdf(z, mu, np.exp(0.5 * log_variance)).prod(axis=1).mean()
    values = []
    for others in itertools.combinations(range(1, 12), 3):  # with image 0, which z was drawn from, every batch of four
        rows = [0, *others]
        code, *posteriors = map(floats, (np.tile(z, (4, 1)), mu[rows], log_variance[rows]))
        values.append(np.exp(divergences.stratified_log_densities(code, *posteriors, 12)[0][0]))
    assert np.mean(values) == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("kind", ["array", "loaded", "batches", "endless"])
def test_the_size_of_the_data_set_comes_from_fit(kind, images):
    model = BetaTCVAE(*pair(), seed=0)
    model.compile(jit_compile=False)
    batches = tf.data.Dataset.from_tensor_slices(images).batch(4)
    data = {"array": images, "loaded": gz.data.load(images, batch_size=4), "batches": batches, "endless": batches.repeat()}[kind]
    if kind == "endless":
        with pytest.raises(ValueError, match="dataset_size"):
            model.fit(data, steps_per_epoch=2, verbose=0)
    else:
        model.fit(data, verbose=0)
        assert float(model._size) == 16


def test_the_mmd_vae_has_no_divergence_of_each_image_from_the_prior(images):
    model = InfoVAE(*pair(), alpha=1.0, weight=10.0, seed=0)
    model.compile(jit_compile=False)
    terms = model.evaluate(images, verbose=0, return_dict=True)
    assert terms["loss"] == pytest.approx(terms["reconstruction_loss"] + 10 * terms["divergence_loss"], rel=1e-4)
    assert terms["kl_loss"] > 0


def test_the_vampprior_is_the_mean_of_posteriors_and_its_samples_agree(images):
    encoder, decoder = pair()
    prior = priors.VampPrior(SHAPE, 2, components=5)
    model = VAE(encoder, decoder, prior=prior, seed=0)
    model.compile(jit_compile=False)
    model.fit(images, verbose=0)
    pseudo = scipy.special.expit(np.asarray(prior.logits))
    start = 0.05 + 0.9 * images[[0, 3, 6, 9, 12]] / 255  # where `prepare` began, but for a little noise and one step
    np.testing.assert_allclose(pseudo, start, atol=0.1)
    mu, log_variance = (np.asarray(each, "float64") for each in encoder(floats(pseudo)))
    z = np.random.default_rng(0).normal(size=(7, 2))
    expected = np.log(scipy.stats.norm.pdf(z[:, None], mu, np.exp(0.5 * log_variance)).prod(axis=2).mean(axis=1))
    np.testing.assert_allclose(prior.log_prob(floats(z), encoder), expected, rtol=1e-3, atol=1e-4)
    draws = model.draw_latents(20_000, randomness.RowStream(0, 0)).numpy()
    np.testing.assert_allclose(draws.mean(axis=0), mu.mean(axis=0), atol=0.05)
    second = (np.exp(log_variance) + mu**2).mean(axis=0)
    np.testing.assert_allclose((draws**2).mean(axis=0), second, rtol=0.05)


def test_a_trained_mixture_is_scikit_learns_density(random):
    from sklearn.mixture import GaussianMixture

    prior = priors.TrainedMixture(2, components=3)
    weights, means, log_variances = random.normal(size=3), random.normal(size=(3, 2)), random.normal(0, 0.5, size=(3, 2))
    for variable, value in zip((prior.logits, prior.means, prior.log_variances), (weights, means, log_variances), strict=True):
        variable.assign(value)
    variances = np.exp(10 * np.tanh(log_variances / 10))
    reference = GaussianMixture(3, covariance_type="diag")
    reference.weights_, reference.means_, reference.covariances_ = scipy.special.softmax(weights), means, variances
    reference.precisions_cholesky_ = variances**-0.5
    z = random.normal(size=(9, 2))
    np.testing.assert_allclose(prior.log_prob(floats(z)), reference.score_samples(z), rtol=1e-4, atol=1e-4)
    encoder, decoder = pair()
    draws = VAE(encoder, decoder, prior=prior, seed=0).draw_latents(20_000, randomness.RowStream(0, 0)).numpy()
    np.testing.assert_allclose(draws.mean(axis=0), reference.weights_ @ means, atol=0.05)
    np.testing.assert_allclose((draws**2).mean(axis=0), reference.weights_ @ (variances + means**2), rtol=0.05)


@pytest.mark.slow
def test_the_second_stage_learns_where_codes_lie(images):
    """Codes far from N(0, I), as those of a VAE with hardly any KL term: the second VAE's draws have their moments."""
    second = networks.mlp(2, 2, width=32, heads=("mu", "log_variance"), name="s"), networks.mlp(2, 2, width=32, name="t")
    model = TwoStageVAE(*pair(), *second, beta=1e-3, seed=0)
    model.compile(keras.optimizers.Adam(0.0), second_optimizer=keras.optimizers.Adam(0.005), jit_compile=False)
    scale = model.encoder.get_layer("mu")
    scale.set_weights([scale.get_weights()[0] * 3, scale.get_weights()[1] + 2.0])
    quiet = model.encoder.get_layer("log_variance")
    quiet.set_weights([np.zeros_like(quiet.get_weights()[0]), quiet.get_weights()[1] - 4.0])
    train(model, np.concatenate([images] * 4), 1500)
    u, noise = np.split(model.draw_latents(5000, randomness.RowStream(0, 0)).numpy(), 2, axis=1)
    drawn = np.asarray(model.second_decoder(u)) + float(model.second_likelihood.current_scale) * noise
    codes = np.asarray(model.encode(images))
    np.testing.assert_allclose(drawn.mean(axis=0), codes.mean(axis=0), atol=0.4 * codes.std())
    assert abs(codes.mean(axis=0)).max() > 3 * 0.4 * codes.std()  # N(0, I) would not have passed


def test_samples_of_two_stages_have_the_noise_of_both():
    """Codes N(W u + b, 0.7^2), with an image whose pixels are codes: the deviation of each is sqrt(0.7^2 + |W|^2)."""
    encoder = networks.mlp((1, 2, 1), 2, width=4, heads=("mu", "log_variance"), name="encoder")
    decoder = networks.mlp(2, (1, 2, 1), depth=0, name="decoder")
    decoder.set_weights([0.05 * np.eye(2), np.array([0.5, 0.5])])
    second = networks.mlp(2, 3, width=4, heads=("mu", "log_variance"), name="s"), networks.mlp(3, 2, depth=0, name="t")
    kernel = np.array([[1.0, 0.0], [0.0, 2.0], [0.5, 0.0]])
    second[1].get_layer("code").set_weights([kernel, np.array([1.0, -2.0])])
    model = TwoStageVAE(encoder, decoder, *second, likelihoods.Gaussian(0.7), likelihood=likelihoods.Gaussian(0.1), seed=0)
    pixels = model.sample(4000, seed=0, batch_size=4000).reshape(-1, 2)
    # 0.5 on the cube is the level 127.5 of 255.
    np.testing.assert_allclose(pixels.mean(axis=0), 0.5 + 0.05 * np.array([1.0, -2.0]), atol=0.01)
    np.testing.assert_allclose(pixels.std(axis=0), 0.05 * np.sqrt(0.7**2 + (kernel**2).sum(axis=0)), rtol=0.04)


def test_the_codes_and_the_bound_of_two_stages_are_of_noise_of_both():
    class Watched(TwoStageVAE):
        def second_terms(self, z, noise, training, condition=None):
            seen.append((np.asarray(z).ravel(), np.asarray(noise).ravel()))
            return super().second_terms(z, noise, training, condition)

    def heads(shape, mu, log_variance, name):
        network = networks.mlp(shape, 2, depth=0, heads=("mu", "log_variance"), name=name)
        for layer, bias in zip(("mu", "log_variance"), (mu, log_variance), strict=True):
            kernel, old = network.get_layer(layer).get_weights()
            network.get_layer(layer).set_weights([0 * kernel, np.full_like(old, bias)])
        return network

    seen, second = [], heads(2, 1.0, np.log(4.0), "s")
    decoder = networks.mlp(2, SHAPE, width=4, name="decoder")
    model = Watched(heads(SHAPE, 0.0, 0.0, "encoder"), decoder, second, networks.mlp(2, 2, name="t"), seed=0)
    images = np.zeros((500, *SHAPE), "uint8")
    codes = model.codes_of(model.images_of(images), randomness.RowStream(0, 0)).numpy()
    assert (codes.mean(), codes.std()) == pytest.approx((1, 2), rel=0.1)
    model.log_prob(images, samples=2, batch_size=500)
    draws = [each for pair in seen for each in pair]
    assert len(draws) == 4 and np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.2  # of z, of u, and again


def test_the_bound_of_two_stages_is_exact_where_both_posteriors_are():
    """z = w u + 0.5 + s e is N(0.5, 1), which q(z|x) is for every x, and q(u|z) the posterior: p(x) is that of any code."""
    encoder, second = (networks.mlp(shape, 1, depth=0, heads=("mu", "log_variance"), name="e") for shape in (SHAPE, 1))
    s, w = 0.5, math.sqrt(0.75)
    unbounded = 10 * math.atanh(math.log(s**2) / 10)  # which the bound on it brings to log(s^2)
    for network, slope, mu, log_variance in ((encoder, 0.0, 0.5, 0.0), (second, w, -0.5 * w, unbounded)):
        for name, kernel, bias in (("mu", slope, mu), ("log_variance", 0.0, log_variance)):
            layer = network.get_layer(name)
            layer.set_weights([np.full_like(layer.get_weights()[0], kernel), np.array([bias])])
    back, decoder = networks.mlp(1, 1, depth=0, name="b"), networks.mlp(1, (8, 8, 2), depth=0, name="d")
    back.set_weights([np.array([[w]]), np.array([0.5])])
    decoder.set_weights([np.zeros((1, 128)), np.linspace(0, 1, 128)])
    model = TwoStageVAE(encoder, decoder, second, back, likelihoods.Gaussian(s), likelihood="discretized_logistic", seed=0)
    x = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype="uint8")
    expected = model.likelihood.log_prob(floats(x / 255), decoder(np.zeros((5, 1))))
    for samples in (1, 3):
        np.testing.assert_allclose(model.log_prob(x, samples=samples), expected, rtol=1e-5)


def test_a_codebook_is_the_running_mean_of_what_is_nearest(random):
    book = Codebook(2, 1, decay=0.5)
    book.begin(np.array([[0.0], [10.0]]))
    book.vectors.assign([[0.0], [10.0]])
    book.sums.assign([[0.0], [10.0]])
    z = floats([[[1.0], [2.0]], [[9.0], [3.0]]])
    index = book.nearest(z)
    np.testing.assert_array_equal(index, [[0, 0], [1, 0]])
    book.update(z, index)
    # Counts 0.5 * 1 + 0.5 * 3 and 0.5 * 1 + 0.5 * 1; sums 0.5 * 0 + 0.5 * 6 and 0.5 * 10 + 0.5 * 9.
    np.testing.assert_allclose(book.vectors, [[3.0 / 2.0], [9.5 / 1.0]], rtol=1e-6)


def test_the_gradient_of_a_vector_quantised_code_goes_straight_through_and_draws_it_to_its_vector(images):
    encoder, decoder = networks.grid_encoder(SHAPE, 2, width=4), networks.grid_decoder(SHAPE, 2, width=4)
    model = VQVAE(encoder, decoder, Codebook(8, 2), commitment=0.4, seed=0)
    x = model.images_of(images)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.objective(x, model.random, False)["loss"])
    found = tape.gradient(loss, encoder.trainable_variables)
    z = encoder(x)
    with tf.GradientTape() as tape:
        e = model.snapped(z)
        tape.watch(e)
        reconstruction = tf.reduce_sum((x - decoder(e)) ** 2)
    slope = tape.gradient(reconstruction, e)
    assert float(loss) == pytest.approx(float(reconstruction) + 0.4 * np.sum((z - e) ** 2), rel=1e-4)
    with tf.GradientTape() as tape:
        along = tf.reduce_sum(encoder(x) * (slope + 0.4 * 2 * (z - e)))
    for a, b in zip(found, tape.gradient(along, encoder.trainable_variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_dead_vectors_move_in_training_alone_and_by_noise_of_each_step(images):
    class Watched(Codebook):
        def update(self, z, index, key=None):
            keys.append(key.numpy().tolist())
            super().update(z, index, key)

    keys, book = [], Watched(8, 2)
    encoder, decoder = networks.grid_encoder(SHAPE, 2, width=4), networks.grid_decoder(SHAPE, 2, width=4)
    model = VQVAE(encoder, decoder, book, seed=0)
    model.compile(run_eagerly=True)
    model.fit(images, batch_size=8, epochs=2, verbose=0)
    assert len(set(map(tuple, keys))) == len(keys) == 4
    vectors = book.vectors.numpy()
    model.evaluate(images, verbose=0)
    np.testing.assert_array_equal(book.vectors, vectors)
    assert len(keys) == 4


def test_a_weighted_distance_and_a_single_regularizer_are_loaded_again(images, tmp_path):
    model = autoencoder(regularizers.CodeNorm(0.1), distance=gz.distances.Weighted(l1=0.5, l2=0.25))
    model.compile()
    model.save(tmp_path / "model.keras")
    loaded = gz.load(tmp_path / "model.keras")
    assert loaded.distance.weights == {"l1": 0.5, "l2": 0.25} and [each.weight for each in loaded.regularizers] == [0.1]


@pytest.mark.parametrize("recipe", [name for name in gz.recipes.names()["autoencoder"] if "/" not in name])
def test_every_normalisation_that_is_searched_can_be_built(recipe):
    space = gz.recipes.get(recipe).search.get("normalization")
    for normalization in () if space is None else space.values:
        gz.build(recipe, SHAPE, width=4, latent_dim=2, normalization=normalization)


@pytest.mark.parametrize(
    "act, message",
    [
        (lambda: autoencoder([regularizers.CodeNorm(), regularizers.CodeNorm()]), "each but once"),
        (lambda: autoencoder({"ridge": 1.0}), "'ridge'"),
        (
            lambda: gz.build("smooth_autoencoder", SHAPE, width=4).fit(
                gz.data.load(np.zeros((8, *SHAPE), "uint8"), batch_size=4, neighbours=5),
                validation_data=np.zeros((4, *SHAPE), "uint8"),
                callbacks=[keras.callbacks.LambdaCallback(on_train_begin=lambda logs: 1 / 0)],
            ),
            "neighbours",
        ),
        (lambda: autoencoder([keras.regularizers.L2()]), "CodeNorm"),
        (lambda: autoencoder([regularizers.Contractive(method="closed_form")], depth=1), "one Dense layer"),
        (lambda: gz.build("autoencoder", SHAPE, regularizers={"contractive": 1.0}), "batch normalisation"),
        (lambda: gz.build("autoencoder", SHAPE, regularizers={"decoder_slope": 1.0}), "decoder has batch normalisation"),
        (lambda: gz.build("dense_autoencoder", SHAPE, regularizers={"sparse_kl": 1.0}), "leave .0, 1.; let it end in a sigmoid"),
        (lambda: WAE(*pair(), regularizers=[regularizers.Contractive()]), "puts out 2 vectors"),
        (lambda: autoencoder([regularizers.Contractive(method="closed_form")], activation="softmax"), "each unit's alone"),
        (lambda: WAE(*pair(), prior=priors.TrainedMixture(2, 3)), "is a TrainedMixture, which would have to be trained"),
        (lambda: gz.build("wae_mmd", SHAPE, weight=0), "weight is 0"),
        (lambda: gz.build("wae_mmd", SHAPE, divergence="kl"), "'kl'"),
        (lambda: adversarial.LatentGame(networks.mlp(2, 3), "cramer"), "without pairs"),
        (lambda: WAE(*pair(), divergence=adversarial.LatentGame(networks.mlp(2, 3))), "3 units"),
        (lambda: InfoVAE(*pair(), alpha=2.0), "alpha is 2"),
        (lambda: gz.data.load(np.zeros((4, 8, 8, 1), "uint8"), neighbours=4), "less than the 4 images"),
        (lambda: gz.build("vae", SHAPE, importance_samples=0), "importance_samples is 0"),
        (lambda: gz.build("vae", SHAPE, form="beta"), "'beta'"),
    ],
)
def test_a_wrong_argument_gets_one_sentence(act, message):
    with pytest.raises(ValueError, match=message):
        act()


@pytest.mark.parametrize("name", ["vae", "iaf_vae", "two_stage_vae", "gaussian_wae_mmd", "vqvae"])
def test_codes_for_a_prior_are_the_same_compiled_and_by_any_batch(name, images):
    model = gz.build(name, images.shape[1:], width=4, seed=0)
    run = lambda rows, start, compiled: np.asarray(  # noqa: E731
        model._run(type(model)._codes, rows, start, {"seed": 5}, compiled=compiled)
    )
    whole = run(images, 0, False)
    for compiled in (False, True):
        np.testing.assert_allclose(run(images[4:9], 4, compiled), whole[4:9], atol=1e-5)
    many = np.tile(images, (20, 1, 1, 1))  # more than a batch, through the door
    assert np.isfinite(model.fit_prior(many, "gaussian")["log_prob"]) if name != "vqvae" else model.fit_prior(many)
