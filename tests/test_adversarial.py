"""Objectives, penalties and augmentations against the formulas of their papers; spectral norms against NumPy's."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import sklearn.metrics.pairwise
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo import adversarial, augmentation, divergences
from keras_genzoo.core import batches
from keras_genzoo.core.randomness import Stream
from keras_genzoo.layers import SpectralConv2D, SpectralConv2DTranspose, SpectralDense


@pytest.fixture
def random():
    return Stream(0, keras.Variable(0, dtype="int64", trainable=False))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# Objective, score of a real and of a generated image -> the critic's loss and its slopes in both, the generator's loss and
# its slope in the generated score, each by the paper's formula.
R, F = 0.5, -1.2
D = sigmoid
TABLE = {
    "minimax": (-np.log(D(R)) - np.log(1 - D(F)), D(R) - 1, D(F), np.log(1 - D(F)), -D(F)),
    "non_saturating": (-np.log(D(R)) - np.log(1 - D(F)), D(R) - 1, D(F), -np.log(D(F)), D(F) - 1),
    "least_squares": (((R - 1) ** 2 + F**2) / 2, R - 1, F, (F - 1) ** 2 / 2, F - 1),
    "wasserstein": (F - R, -1, 1, -F, -1),
    "hinge": (max(0, 1 - R) + max(0, 1 + F), -1, 0, -F, -1),
    "relativistic": (-np.log(D(R - F)), D(R - F) - 1, 1 - D(R - F), -np.log(D(F - R)), D(F - R) - 1),
    "f_kl": (-R + np.exp(F - 1), -1, np.exp(F - 1), -F, -1),
    "f_reverse_kl": (np.exp(-R) - 1 + F, -np.exp(-R), 1, np.exp(-F), -np.exp(-F)),
    "f_pearson": (-R + F**2 / 4 + F, -1, F / 2 + 1, -F, -1),
    "f_squared_hellinger": (-(1 - np.exp(-R)) + np.exp(F) - 1, -np.exp(-R), np.exp(F), -(1 - np.exp(-F)), -np.exp(-F)),
    "f_jensen_shannon": (
        -np.log(2 * D(R)) - np.log(2 - 2 * D(F)),
        D(R) - 1,
        D(F),
        -np.log(2 * D(F)),
        D(F) - 1,
    ),
}


@pytest.mark.parametrize("name", adversarial.OBJECTIVES)
def test_the_generators_loss_needs_real_images_where_the_objective_says_so(name):
    objective = adversarial.get_objective(name)
    real, fake, other = tf.random.stateless_normal((3, 5, 4 if objective.features else 1), seed=(0, 1))
    with tf.GradientTape() as tape:
        tape.watch(real)
        loss = tf.reduce_sum(objective.generator_loss(real, fake, other))
    assert (tape.gradient(loss, real) is not None) == objective.relative
    if not objective.relative:
        assert float(tf.reduce_sum(objective.generator_loss(None, fake, other))) == float(loss)


@pytest.mark.parametrize("name", TABLE)
def test_losses_and_slopes_are_those_of_the_paper(name):
    objective = adversarial.get_objective(name)
    real, fake = tf.constant([[R]]), tf.constant([[F]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([real, fake])
        critic, generator = objective.critic_loss(real, fake), objective.generator_loss(real, fake)
    found = [
        critic,
        *tape.gradient(critic, [real, fake], unconnected_gradients="zero"),
        generator,
        tape.gradient(generator, fake),
    ]
    np.testing.assert_allclose([float(np.squeeze(value)) for value in found], TABLE[name], rtol=1e-5, atol=1e-6)


def test_least_squares_takes_its_targets():
    objective = adversarial.LeastSquares(-1.0, 1.0, 0.0)
    real, fake = tf.constant([[R]]), tf.constant([[F]])
    assert float(objective.critic_loss(real, fake)[0, 0]) == pytest.approx(((R - 1) ** 2 + (F + 1) ** 2) / 2)
    assert float(objective.generator_loss(real, fake)[0, 0]) == pytest.approx(F**2 / 2)


P, Q = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.1, 0.3, 0.2, 0.4])


def value(objective, scores):
    """What the critic of a distribution on four points reaches with these scores."""
    scores = tf.constant(scores[:, None], tf.float64)
    zero = tf.zeros_like(scores)
    # A loss that is a sum of a term of the real and a term of the generated score, so each can be had alone.
    real = objective.critic_loss(scores, zero) - objective.critic_loss(zero, zero)
    total = P @ real.numpy()[:, 0] + Q @ objective.critic_loss(zero, scores).numpy()[:, 0]
    return -total


def test_the_best_critic_reaches_the_jensen_shannon_divergence():
    m = (P + Q) / 2
    divergence = (P @ np.log(P / m) + Q @ np.log(Q / m)) / 2
    for name in ("minimax", "non_saturating"):
        found = value(adversarial.get_objective(name), np.log(P / Q))  # sigmoid of it is P / (P + Q)
        assert found == pytest.approx(2 * divergence - np.log(4), rel=1e-6)


@pytest.mark.parametrize(
    "name, best, divergence",
    [  # the critic's best score, T^-1(f'(p / q)), and the divergence sum q f(p / q); Nowozin et al., tables 1, 2 and 6
        ("kl", 1 + np.log(P / Q), P @ np.log(P / Q)),
        ("reverse_kl", np.log(P / Q), Q @ np.log(Q / P)),
        ("pearson", 2 * (P / Q - 1), np.sum((P - Q) ** 2 / Q)),
        ("squared_hellinger", np.log(P / Q) / 2, np.sum((np.sqrt(P) - np.sqrt(Q)) ** 2)),
        ("jensen_shannon", np.log(P / Q), P @ np.log(2 * P / (P + Q)) + Q @ np.log(2 * Q / (P + Q))),
    ],
)
def test_the_best_critic_reaches_the_f_divergence_and_no_other_goes_beyond(name, best, divergence):
    objective = adversarial.FDivergence(name)
    assert value(objective, best) == pytest.approx(divergence, rel=1e-6)
    for shift in np.random.default_rng(0).normal(size=(20, 4)):
        assert value(objective, best + 0.3 * shift) < divergence
    saturating = adversarial.FDivergence(name, saturating=True)
    scores, zero = tf.constant([[0.3]]), tf.zeros((1, 1))
    descended = saturating.generator_loss(zero, scores) - saturating.generator_loss(zero, zero)  # what is left of the bound
    bound = objective.critic_loss(zero, zero) - objective.critic_loss(zero, scores)
    np.testing.assert_allclose(descended, bound, atol=1e-6)


def test_wasserstein_clipping_bounds_every_weight():
    variables = [keras.Variable(np.linspace(-1, 1, 5)), keras.Variable([0.005])]
    adversarial.Wasserstein(clip=0.01).constrain(variables)
    np.testing.assert_allclose(variables[0].numpy(), np.clip(np.linspace(-1, 1, 5), -0.01, 0.01), rtol=1e-6)
    assert variables[1].numpy()[0] == pytest.approx(0.005)
    free = keras.Variable([3.0])
    adversarial.Wasserstein().constrain([free])
    assert free.numpy()[0] == 3


class Counted(adversarial.Wasserstein):
    """Counts what the step calls, and what with."""

    def constrain(self, variables):
        self.calls.append(len(list(variables)))
        super().constrain(variables)

    def update(self, real, fake):
        self.calls.append((real.shape[0], fake.shape[0]))


@pytest.mark.parametrize("family", ["gan", "wae"])
def test_a_step_of_a_critic_is_followed_by_its_clipping_and_its_update(family, images):
    objective = Counted(clip=0.02)
    objective.calls, steps = [], 3 if family == "gan" else 1
    if family == "gan":
        networks = (
            gz.networks.generator(2, (8, 8, 1), width=4, kind="dense"),
            gz.networks.critic((8, 8, 1), width=4, kind="dense"),
        )
        model, critic = gz.models.GAN(*networks, objective, critic_steps=steps, seed=0), networks[1]
    else:
        encoder, decoder, critic = (gz.networks.mlp(*sizes, width=4) for sizes in (((8, 8, 1), 2), (2, (8, 8, 1)), (2, 1)))
        model = gz.models.WAE(encoder, decoder, adversarial.LatentGame(critic, objective), seed=0)
    model.compile(**{name: keras.optimizers.SGD(0.1) for name in model.optimizers}, run_eagerly=True)
    model.fit(images, batch_size=8, verbose=0)
    assert objective.calls == 2 * steps * [len(critic.trainable_variables), (8, 8)]
    weights = np.concatenate([np.ravel(value) for value in critic.get_weights()])
    assert np.abs(weights).max() == pytest.approx(0.02) and np.abs(weights).min() < 0.02
    before = critic.get_weights()
    model.evaluate(images, verbose=0)
    assert all(map(np.array_equal, before, critic.get_weights())) and len(objective.calls) == 4 * steps


def test_fisher_adds_the_multiplier_and_moves_it():
    objective = adversarial.Fisher(rho=0.1)
    objective.multiplier.assign(0.7)
    real, fake = np.array([[2.0], [1.0]], "float32"), np.array([[-1.0], [0.5]], "float32")
    moment = (real**2).mean() / 2 + (fake**2).mean() / 2
    bound = real.mean() - fake.mean() + 0.7 * (1 - moment) - 0.05 * (moment - 1) ** 2  # eq. 9
    assert float(objective.critic_loss(tf.constant(real), tf.constant(fake))) == pytest.approx(-bound, rel=1e-6)
    objective.update(tf.constant(real), tf.constant(fake))
    assert objective.multiplier.numpy() == pytest.approx(0.7 + 0.1 * (moment - 1), rel=1e-6)


def fisher(real, fake, other):
    moment = (real**2).mean() / 2 + (fake**2).mean() / 2
    return -(real.mean() - fake.mean() + 0.7 * (1 - moment) - 5e-7 * (moment - 1) ** 2)


def cramer(real, fake, other):
    norm = lambda x: np.linalg.norm(x, axis=1).mean()  # noqa: E731
    return norm(fake - other) - norm(fake) - norm(real - other) + norm(real)


def mmd(real, fake, other):
    square = lambda a, b: ((a[:, None] - b[None]) ** 2).sum(axis=-1)  # noqa: E731
    kernel = lambda a, b: sum(np.exp(-square(a, b) / (2 * s**2)) for s in (1, 2, 4, 8, 16))  # noqa: E731
    pairs = ~np.eye(len(real), dtype=bool)
    return 2 * kernel(real, fake).mean() - kernel(real, real)[pairs].mean() - kernel(fake, fake)[pairs].mean()


@pytest.mark.parametrize("name, formula, units", [("fisher", fisher, 1), ("cramer", cramer, 2), ("mmd", mmd, 2)])
def test_slopes_of_integral_probability_metrics_are_those_of_their_formulas(name, formula, units):
    objective = adversarial.MMD("gaussian") if name == "mmd" else adversarial.get_objective(name)
    if name == "fisher":
        objective.multiplier.assign(0.7)
    outputs = np.random.default_rng(0).normal(size=(3, 5, units))
    with tf.GradientTape() as tape:
        tensors = [tf.constant(each, tf.float32) for each in outputs[: 3 if objective.pairs else 2]]
        tape.watch(tensors)
        loss = tf.reduce_mean(objective.critic_loss(*tensors))
    assert float(loss) == pytest.approx(formula(*outputs), rel=1e-4)
    expected = scipy.optimize.approx_fprime(outputs.ravel(), lambda flat: formula(*flat.reshape(outputs.shape)), 1e-6)
    for found, slope in zip(tape.gradient(loss, tensors), expected.reshape(outputs.shape), strict=False):
        np.testing.assert_allclose(found, slope, atol=1e-4)


def test_cramer_is_the_energy_distance_of_features():
    draws = np.random.default_rng(0)
    real, fake, other = (draws.normal(size=(20000, 3)) * [1, 1, 2] + shift for shift in ([0, 0, 0], [1, 0, 0], [1, 0, 0]))
    another = draws.normal(size=(20000, 3)) * [1, 1, 2]
    found = adversarial.Cramer().generator_loss(*(tf.constant(each) for each in (real, fake, other))).numpy().mean()
    norm = lambda x, y: np.linalg.norm(x - y, axis=1).mean()  # noqa: E731
    # E|h(x) - h(x')| is in the energy distance and does not depend on the generator.
    assert found - norm(real, another) == pytest.approx(2 * norm(real, fake) - norm(real, another) - norm(fake, other), abs=0.03)
    critic = adversarial.Cramer().critic_loss(*(tf.constant(each) for each in (real, fake, other))).numpy().mean()
    witness = lambda x: norm(x, other) - np.linalg.norm(x, axis=1).mean()  # noqa: E731
    assert critic == pytest.approx(witness(fake) - witness(real), rel=1e-6)


def test_mmd_is_unbiased_and_of_the_kernels_named():
    x, y = np.random.default_rng(0).normal(size=(2, 6, 3))
    y = y[:5] + 1
    rbf = sklearn.metrics.pairwise.rbf_kernel
    kernel = lambda a, b: sum(rbf(a, b, gamma=1 / (2 * s**2)) for s in (1, 2, 4, 8, 16))  # noqa: E731
    off = lambda a: (kernel(a, a).sum() - np.trace(kernel(a, a))) / (len(a) * (len(a) - 1))  # noqa: E731
    expected = off(x) + off(y) - 2 * kernel(x, y).mean()
    tensors = tf.constant(x, tf.float32), tf.constant(y, tf.float32)
    objective = adversarial.MMD("gaussian")
    assert float(objective.generator_loss(*tensors)) == pytest.approx(expected, rel=1e-5)
    assert float(objective.critic_loss(*tensors)) == pytest.approx(-expected, rel=1e-5)
    witness = kernel(x, x).mean(axis=1) - kernel(x, y).mean(axis=1)
    np.testing.assert_allclose(objective.witness(tensors[0], *tensors), witness, rtol=1e-4, atol=1e-5)
    squares = sklearn.metrics.pairwise.euclidean_distances(x, y, squared=True)
    quadratic = sum((1 + squares / (2 * a)) ** -a for a in (0.2, 0.5, 1, 2, 5))
    np.testing.assert_allclose(divergences.rational_quadratic_kernel(*tensors), quadratic, rtol=1e-5)


# Penalties

IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 6, 4, 4, 2)).astype("float32")


def linear(slope):
    direction = np.random.default_rng(1).normal(size=(4, 4, 2)).astype("float32")
    direction *= slope / np.linalg.norm(direction)
    return lambda x: tf.reduce_sum(x * direction, axis=(1, 2, 3)) + 3


@pytest.mark.parametrize(
    "name, expected",
    [
        ("gp", lambda s: 10 * (s - 1) ** 2),
        ("lp", lambda s: 10 * max(0, s - 1) ** 2),
        ("dragan", lambda s: 10 * (s - 1) ** 2),
        ("r1", lambda s: 5 * s**2),
        ("r2", lambda s: 5 * s**2),
        ("alp", lambda s: 100 * max(0, s - 1) ** 2),
    ],
)
def test_penalties_on_a_critic_of_one_slope_have_a_closed_form(name, expected, random):
    penalty = adversarial.get_penalty(name)
    for slope in (1.0, 0.5, 3.0):
        found = np.mean(penalty(linear(slope), *(tf.constant(each) for each in IMAGES), random))
        assert found == pytest.approx(expected(slope), rel=1e-3, abs=1e-4)


class Dice:
    """A stream that has fallen already."""

    def __init__(self, normal, uniform):
        self.normal, self.uniform = (lambda shape, value=value: tf.constant(value, tf.float32) for value in (normal, uniform))


@pytest.mark.parametrize("step", [0.3, 10.0])
def test_the_direction_of_alp_is_found_by_a_step_of_the_length_it_is_told(step):
    """Of a quadratic score, by hand: the direction is that of the slope at the end of a step, and |r| is as drawn."""
    curvature = np.array([3.0, 0.5, -1.0, 0.2]).reshape(2, 2, 1)
    score = lambda x: 0.5 * (curvature * x**2).sum(axis=(1, 2, 3))  # noqa: E731
    unit = lambda v: v / np.sqrt((v**2).sum(axis=(1, 2, 3), keepdims=True))  # noqa: E731
    random = np.random.default_rng(0)
    images, noise = random.normal(size=(6, 2, 2, 1)), random.normal(size=(6, 2, 2, 1))
    chance = random.uniform(size=(6, 1, 1, 1))
    found = adversarial.AdversarialLipschitz(weight=7.0, step=step, lengths=(0.5, 2.0))(
        lambda x: tf.reduce_sum(0.5 * tf.constant(curvature, tf.float32) * x**2, axis=(1, 2, 3)),
        *(tf.constant(each, tf.float32) for each in (images[:4], images[4:])),
        Dice(noise, chance),
    )
    away = images + step * unit(noise)
    sign = np.sign(score(away) - score(images)).reshape(-1, 1, 1, 1)
    length = 0.5 + 1.5 * chance
    there = images + length * unit(sign * curvature * away)
    excess = np.maximum(np.abs(score(there) - score(images)) / length.ravel() - 1, 0)
    assert (excess > 0).any() and float(found) == pytest.approx(7 * np.mean(excess**2), rel=1e-3)


def test_slopes_are_taken_where_the_penalty_says(random):
    real, fake = (tf.constant(each) for each in IMAGES)
    places = {
        at: adversarial.SlopePenalty(at=at).places(real, fake, random).numpy() for at in ("between", "around", "real", "fake")
    }
    np.testing.assert_array_equal(places["real"], IMAGES[0])
    np.testing.assert_array_equal(places["fake"], IMAGES[1])
    position = (places["between"] - IMAGES[0]) / (IMAGES[1] - IMAGES[0])
    np.testing.assert_allclose(position, position[:, :1, :1, :1] * np.ones_like(position), atol=1e-3)  # one line an image
    assert np.all((position > -1e-4) & (position < 1)) and np.ptp(position[:, 0, 0, 0]) > 0.1
    noise = (places["around"] - IMAGES[0]) / IMAGES[0].std()
    assert noise.min() >= 0 and 0.45 < noise.max() < 0.5


def test_a_penalty_reaches_the_weights_of_the_critic(random):
    layers = keras.layers.Flatten(), keras.layers.Dense(5, "softplus"), keras.layers.Dense(1)
    critic = keras.Sequential([keras.Input((4, 4, 2)), *layers])
    layers[-1].kernel.assign(20 * layers[-1].kernel)  # a slope above 1, below which some penalties rest
    for name in adversarial.PENALTIES:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(adversarial.get_penalty(name)(lambda x: critic(x)[:, 0], *map(tf.constant, IMAGES), random))
        gradient = tape.gradient(loss, critic.trainable_variables[0])
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, name


def test_consistency_compares_an_image_with_its_augmentation(random):
    penalty = adversarial.Consistency(weight=2.0, kinds="color")
    brightness = lambda x: tf.reduce_mean(x, axis=(1, 2, 3))  # noqa: E731
    real = tf.zeros((2000, 4, 4, 1))
    # Brightness moves by a uniform number of [-1/2, 1/2], whose square is 1/12 on average; contrast leaves flat images alone.
    assert np.mean(penalty(brightness, real, None, random)) == pytest.approx(2 / 12, rel=0.1)


# Augmentations


@pytest.mark.parametrize("side, most", [(28, 4), (12, 2), (4, 1), (3, 0)])
def test_translation_shifts_by_a_rounded_eighth_at_most_and_gray_comes_in(side, most, random):
    """As the code of the paper does: int(side * 0.125 + 0.5) pixels, over a padding of zeros."""
    image = np.random.default_rng(0).uniform(-0.9, 0.9, (16, side, 1)).astype("float32")
    moved = augmentation.augment(tf.constant(np.stack([image] * 500)), ("translation",), random).numpy()
    padded = np.pad(image, ((2, 2), (most, most), (0, 0)))
    windows = [padded[i : i + 16, j : j + side] for i in range(5) for j in range(2 * most + 1)]
    which = [next(k for k, window in enumerate(windows) if np.array_equal(window, each)) for each in moved]
    assert len(set(which)) == 5 * (2 * most + 1)  # and every shift comes


@pytest.mark.parametrize("side, cut", [(16, 8), (7, 4), (5, 3), (6, 3)])
def test_cutout_clears_a_rounded_half_of_the_sides_or_what_of_it_is_inside(side, cut, random):
    """As the code of the paper does: int(side * 0.5 + 0.5) pixels, its place uniform, cut off at the borders."""
    found = augmentation.augment(tf.ones((4000, side, 16, 3)), ("cutout",), random).numpy()
    assert set(np.unique(found)) == {0, 1}
    rows = (found[..., 0] == 0).any(axis=2).sum(axis=1)
    lengths = [len(set(range(side)) & set(range(at - cut // 2, at - cut // 2 + cut))) for at in range(side + 1 - cut % 2)]
    assert rows.max() == cut and rows.min() == min(lengths)
    assert rows.mean() == pytest.approx(np.mean(lengths), rel=0.02)


def test_mirror_exchanges_left_and_right_of_about_half_of_the_images(random):
    image = np.random.default_rng(0).uniform(-1, 1, (4, 6, 3)).astype("float32")
    mirrored = augmentation.augment(tf.constant(np.stack([image] * 400)), ("mirror",), random).numpy()
    as_it_was = (mirrored == image).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(mirrored[~as_it_was], np.broadcast_to(image[:, ::-1], (sum(~as_it_was), 4, 6, 3)))
    assert 150 < as_it_was.sum() < 250


def test_colour_keeps_the_shape_of_an_image_and_gradients_pass(random):
    images = tf.constant(IMAGES[0])
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(augmentation.augment(images, ("color", "translation", "cutout", "mirror"), random) ** 2)
    assert np.abs(tape.gradient(total, images)).max() > 0
    gray = augmentation.augment(tf.constant(IMAGES[0][..., :1]), ("color",), random).numpy()
    for before, after in zip(IMAGES[0][..., 0], gray[..., 0], strict=True):
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] == pytest.approx(1, abs=1e-4)


# Spectral norm


@pytest.mark.parametrize("layer, shape", [(SpectralDense(5), (3, 7)), (SpectralConv2D(6, 3), (2, 8, 8, 4))])
def test_kernels_have_spectral_norm_one_and_gradients_see_it(layer, shape):
    x = tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)
    for _ in range(200):
        y = layer(x, training=True)
    kernel = layer._kernel.numpy()
    sigma = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
    plain = keras.layers.Dense(5) if len(shape) == 2 else keras.layers.Conv2D(6, 3)
    plain.build(shape)
    plain._kernel.assign(kernel / sigma)
    np.testing.assert_allclose(y, plain(x), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(layer(x), y, rtol=1e-4, atol=1e-5)  # the same at inference
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(x, training=False) ** 2)
    gradient = tape.gradient(total, layer._kernel.value)
    # The output does not change when the kernel is scaled, so the gradient stands at right angles to it.
    assert abs(np.sum(gradient * kernel)) < 1e-3 * np.linalg.norm(gradient) * np.linalg.norm(kernel)


def test_a_transposed_kernel_has_spectral_norm_one_over_its_outputs():
    layer, plain = SpectralConv2DTranspose(6, 3, strides=2), keras.layers.Conv2DTranspose(6, 3, strides=2)
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 5, 4)), tf.float32)
    for _ in range(200):
        y = layer(x, training=True)
    kernel, bias = layer.get_weights()[:2]
    assert kernel.shape == (3, 3, 6, 4)  # outputs before inputs
    plain.build(x.shape)
    plain.set_weights([kernel / np.linalg.norm(np.moveaxis(kernel, 2, 0).reshape(6, -1), 2), bias])
    np.testing.assert_allclose(y, plain(x), rtol=1e-3, atol=1e-5)


def test_a_convolutional_decoder_may_be_spectral_throughout():
    decoder = gz.networks.conv_decoder(3, (8, 8, 1), width=4, hidden=5, spectral=True)
    kinds = [type(layer) for layer in decoder.layers if hasattr(layer, "kernel")]
    assert kinds == [SpectralDense, SpectralDense, SpectralConv2DTranspose, SpectralConv2DTranspose]
    decoder = gz.networks.skip_decoder(3, (8, 8, 1), width=4, hidden=5, spectral=True)
    kinds = [type(layer) for layer in decoder.layers if hasattr(layer, "kernel")]
    assert set(kinds) == {SpectralDense, SpectralConv2D} and len(kinds) == 7


def test_wrong_arguments_get_one_sentence():
    for call, sentence in [
        (lambda: adversarial.get_objective("wgan"), "objective is 'wgan', expected one of minimax, non_saturating"),
        (lambda: adversarial.get_penalty("r3"), "penalty is 'r3', expected one of gp, lp"),
        (lambda: adversarial.FDivergence("total"), "divergence is 'total'"),
        (lambda: adversarial.SlopePenalty(0), "weight is 0, expected a number above 0"),
        (lambda: adversarial.SlopePenalty(at="here"), "at is 'here'"),
        (lambda: adversarial.Wasserstein(clip=-1), "clip is -1"),
        (lambda: adversarial.MMD("linear"), "kernel is 'linear'"),
        (
            lambda: gz.build("wgan_gp", (8, 8, 1), width=4, critic_normalization="batch"),
            "the critic has batch normalisation, which mixes images",
        ),
        (lambda: gz.build("wgan", (8, 8, 1), objective="hinge"), "clip is 0.03, which the objective 'wasserstein' takes"),
        (
            lambda: gz.build("gan", (8, 8, 1), width=4, critic_steps=0),
            "critic_steps is 0, expected at least 1",
        ),
        (
            lambda: gz.build("gan", (8, 8, 1), width=4, critic_steps=-1),
            "critic_steps is -1, expected a whole number",
        ),
        (
            lambda: gz.build("conditional_gan", (8, 8, 1), objective="polyharmonic", penalties=(), critic_steps=0),
            "num_classes is 10 and critic_steps is 0",
        ),
        (lambda: adversarial.AdversarialLipschitz(lengths=(0.0, 1.0)), "lengths is (0.0, 1.0)"),
        (lambda: augmentation.check_kinds("flip"), "no augmentation 'flip', expected some of color"),
    ]:
        with pytest.raises(ValueError) as caught:
            call()
        assert sentence in str(caught.value)


def test_penalties_keep_their_own_weight_unless_they_come_by_name():
    given = adversarial.SlopePenalty(0.25, at="real", target=0.0)
    model = gz.build("gan", (8, 8, 1), width=4, penalties=(given, "gp"), penalty_weight=3.0)
    assert [each.weight for each in model.penalties] == [0.25, 3.0]


def test_penalties_by_name_have_the_weights_of_their_papers_unless_one_is_given():
    weights = lambda *args, **kwargs: [each.weight for each in gz.build(*args, **kwargs).penalties]  # noqa: E731
    every = tuple(adversarial.PENALTIES)
    expected = {"gp": 10, "lp": 10, "dragan": 10, "r1": 5, "r2": 5, "alp": 100, "consistency": 10}
    assert weights("gan", (8, 8, 1), width=4, penalties=every) == [expected[name] for name in every]
    assert weights("gan", (8, 8, 1), width=4, penalties="alp") == [100]
    assert weights("gan", (8, 8, 1), width=4) == [5] and weights("wgan_gp", (8, 8, 1), width=4) == [10]
    assert weights("relativistic_gan", (8, 8, 1), width=4) == [0.5, 0.5]


def test_penalties_are_of_the_images_that_the_critic_sees(random):
    class Seen(adversarial.Penalty):
        def __call__(self, score, real, fake, random):
            self.real, self.fake = real, fake
            return 0.0

    networks = gz.networks.generator(2, (8, 8, 1), width=4), gz.networks.critic((8, 8, 1), width=4)
    model = gz.models.GAN(*networks, penalties=Seen(1.0), augment="cutout", seed=0)
    images = tf.ones((4, 8, 8, 1))
    model.critic_terms(images, None, [0.5 * images], random, training=True)
    for seen, value in ((model.penalties[0].real, 1.0), (model.penalties[0].fake, 0.5)):
        assert set(np.unique(seen)) == {0.0, value}
    assert gz.models.GAN(*networks, penalties=None, augment=None).augment == ()


def flat_critic(shape, value):
    """The sum of all pixels, times a number."""
    layers = keras.layers.Flatten(), keras.layers.Dense(1, use_bias=False, kernel_initializer=keras.initializers.Constant(value))
    return keras.Sequential([keras.Input(shape), *layers])


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_slopes_at_real_and_generated_images_go_through_the_augmentation(name, images):
    """Of the sum of all pixels, the squared slope is the number of pixels that cutout leaves: 48 to 60 of 64."""
    found = {}
    for augment in ("cutout", "mirror"):
        networks = gz.networks.generator(2, (8, 8, 1), width=4), flat_critic((8, 8, 1), 1.0)
        model = gz.models.GAN(*networks, penalties=name, augment=augment, seed=0)
        model.compile(keras.optimizers.SGD(0.0), critic_optimizer=keras.optimizers.SGD(0.0))
        found[augment] = model.fit(images, batch_size=16, verbose=0).history["penalty_loss"][-1] / 5.0
    assert 48 < found["cutout"] < 60
    assert found["cutout"] * 16 == pytest.approx(round(found["cutout"] * 16), abs=1e-2)  # whole pixels
    assert found["mirror"] == pytest.approx(64, rel=1e-5)


def test_the_slope_is_that_of_the_augmented_image_whose_score_is_taken(random):
    images = tf.constant(IMAGES[0])
    look = augmentation.view(("color", "translation", "cutout", "mirror"), random)
    np.testing.assert_array_equal(look(images), look(images))
    assert np.abs(look(images) - augmentation.view(("color",), random)(images)).max() > 0.1


class Seen(adversarial.Penalty):
    """Notes the gray levels of the real images that each step of the critic sees."""

    def __call__(self, score, real, fake, random):
        self.steps.append(np.round(127.5 * (real[:, 0, 0, 0].numpy() + 1)).astype(int).tolist())
        return 0.0


@pytest.mark.parametrize("conditional", [False, True])
def test_each_step_of_the_critic_sees_real_images_of_its_own(conditional):
    """Algorithm 1 of WGAN, line 3; of batches without further images all steps see the same."""
    images = np.arange(24, dtype="uint8")[:, None, None, None] * np.ones((1, 8, 8, 1), "uint8")
    seen, classes = Seen(1.0), 3 if conditional else None
    seen.steps = []
    tiny = dict(kind="dense", width=4, depth=1, latent_dim=2, num_classes=classes, seed=0, run_eagerly=True)
    model = gz.build("wgan_gp", (8, 8, 1), penalties=seen, critic_steps=3, **tiny)
    model.fit(gz.data.load((images, np.arange(24) % 3), batch_size=4, shuffle=False, **model.data_needs), verbose=0)
    assert seen.steps[:3] == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    assert sorted(np.ravel(seen.steps)) == list(range(24)) and int(model.optimizer.iterations) == 2
    seen.steps.clear()
    model.fit(*[images, np.arange(24) % 3][: 1 + conditional], batch_size=12, shuffle=False, verbose=0)
    assert seen.steps == 3 * [list(range(12))] + 3 * [list(range(12, 24))]


class Halves(adversarial.Penalty):
    """Sees that the score of two batches at once is that of each: labels and witnesses go with their rows."""

    def __call__(self, score, real, fake, random):
        apart = np.concatenate([score(real), score(fake)])
        np.testing.assert_allclose(score(tf.concat([real, fake], axis=0)), apart, rtol=1e-3, atol=1e-5)
        assert np.ptp(apart) > 1e-3
        self.seen = True
        return 0.0


class Ledger(adversarial.Objective):
    """A loss of 2 for the critic and of 3 for the generator, and a list of the critic's outputs that they were asked of."""

    relative = True

    def critic_loss(self, real, fake, other=None):
        self.critic.append((real.numpy().ravel(), fake.numpy().ravel()))
        return 2.0 + 0.0 * fake

    def generator_loss(self, real, fake, other=None):
        self.generator.append((real.numpy().ravel(), fake.numpy().ravel()))
        return 3.0 + 0.0 * fake


class Constant(adversarial.Penalty):
    """Its weight, or with `rows` numbers whose mean it is."""

    def __init__(self, weight, rows=False, **kwargs):
        super().__init__(weight, **kwargs)
        self.rows = rows

    def __call__(self, score, real, fake, random):
        return self.weight * (tf.linspace(0.0, 2.0, len(real)) if self.rows else tf.constant(1.0))


def test_a_game_is_joined_as_its_parts_say():
    """Of images 0.1 z, a critic that adds up pixels, and white images of which cutout leaves 48 to 60 of 64 pixels."""
    noise = keras.Input((64,))
    layer = keras.layers.Dense(64, use_bias=False, kernel_initializer=keras.initializers.Identity(0.1))
    generator, objective = keras.Model(noise, keras.layers.Reshape((8, 8, 1))(layer(noise))), Ledger()
    penalties = [Constant(0.25), Constant(0.5, rows=True)]
    model = gz.models.GAN(generator, flat_critic((8, 8, 1), 1.0), objective, penalties, augment="cutout", seed=0)
    model.compile(keras.optimizers.SGD(0.0), critic_optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    white = np.ones((500, 8, 8, 1), "float32")
    for training in (True, False):
        objective.critic, objective.generator = [], []
        act = model.train_on_batch if training else model.test_on_batch
        terms = act(white, return_dict=True)
        # What is logged as the loss is the generator's.
        assert (terms["loss"], terms["critic_loss"]) == pytest.approx((3, 2))
        assert terms.get("penalty_loss", 0.75) == pytest.approx(0.75) and ("penalty_loss" in terms) is training
        # The mean distance of two normal numbers is 2 / sqrt(pi); of images in [0, 1] it is half of that in [-1, 1].
        assert terms["diversity"] == pytest.approx(0.1 / np.sqrt(np.pi), rel=0.03)
        for real, fake in (*objective.critic, *objective.generator):
            assert 48 <= real.min() < real.max() <= 60 and set(real) <= set(range(65))
            assert fake.std() == pytest.approx(0.1 * np.sqrt(real.mean()), rel=0.1)
        (real, fake), (again, other) = objective.critic[0], objective.generator[0]
        assert np.abs(np.corrcoef([real, again, fake, other]) - np.eye(4)).max() < 0.2  # each of noise of its own


GAME_OF_CLASSES = (gz.networks.generator, (2, (8, 8, 1))), (gz.networks.critic, ((8, 8, 1),))


class Labelled(gz.models.GAN):
    """Notes the classes of generated images and of the real ones that they are compared with."""

    def generated(self, n, labels, random, training):
        self.classes.append(np.argmax(labels, axis=1).tolist())
        return super().generated(n, labels, random, training)

    def critic_terms(self, real, labels, fakes, random, training):
        assert self.classes[-1] == np.argmax(labels, axis=1).tolist()
        return super().critic_terms(real, labels, fakes, random, training)


def test_the_images_of_each_step_of_the_critic_are_generated_of_its_own_labels(images):
    networks = (make(*sizes, num_classes=3, kind="dense", width=4) for make, sizes in GAME_OF_CLASSES)
    model = Labelled(*networks, "hinge", critic_steps=3, seed=0)
    model.classes = []
    model.compile(run_eagerly=True)
    labels = np.array([0, 1, 2, 2, 2, 1, 0, 1, 1, 0, 0, 2])
    model.fit(gz.data.load((images[:12], labels), batch_size=4, shuffle=False, **model.data_needs), verbose=0)
    assert len(model.classes) == 4 and len(set(map(tuple, model.classes[:3]))) == 3
    assert model.classes[3] == model.classes[0]  # the generator's step has those of the first


@pytest.mark.parametrize("objective", ["hinge", "cramer", "mmd"])
def test_penalties_of_two_batches_at_once_see_each_row_with_its_own_label_and_partner(objective, images):
    penalty = Halves(1.0)
    settings = dict(kind="dense", width=8, depth=1, latent_dim=2, num_classes=3, seed=0, run_eagerly=True)
    model = gz.build("conditional_gan", (8, 8, 1), objective=objective, penalties=penalty, **settings)
    model.fit(images, np.arange(16) % 3, batch_size=8, shuffle=False, verbose=0)
    assert penalty.seen


@pytest.mark.parametrize("objective", ["mmd", pytest.param("cramer", marks=pytest.mark.slow)])
def test_each_feature_of_a_conditional_critic_knows_the_class(objective, images):
    model = gz.build("conditional_gan", (8, 8, 1), width=4, latent_dim=2, objective=objective, penalties=("gp",), seed=0)
    first, second = (model((images, np.full(16, label))).numpy() for label in (0, 1))
    change = second - first
    assert change.shape == (16, 64)
    assert np.ptp(change, axis=1).min() > 0.1 * np.abs(change).mean()  # not one number for all features
    class_, score = (model.critic.get_layer(name).kernel.numpy() for name in ("class", "score"))
    phi = keras.Model(model.critic.inputs, model.critic.get_layer("phi").output)
    x = 2 * images.astype("float32") / 255 - 1
    features = phi([x, np.eye(10, dtype="float32")[np.ones(16, int)]]).numpy()
    expected = np.einsum("nk,ku->nu", features, score + class_[1].reshape(128, 64))
    np.testing.assert_allclose(second, expected, rtol=1e-3, atol=1e-5)
    before = [each.copy() for each in model.critic.get_weights()]
    log = model.fit(images, np.arange(16) % 10, batch_size=8, verbose=0).history
    assert np.isfinite(list(log.values())).all()
    assert not any(map(np.array_equal, before, model.critic.get_weights()))


def test_a_critic_that_does_not_learn_stays_as_it_is(images):
    critic = gz.networks.critic((8, 8, 1), 5, width=4, normalization="batch", spectral=True)
    before = critic.get_weights()
    model = gz.models.GAN(gz.networks.generator(2, (8, 8, 1), width=4), critic, "mmd", critic_steps=0, seed=0)
    model.compile(run_eagerly=True)
    model.fit(images, batch_size=8, verbose=0)
    for old, new in zip(before, critic.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_diversity_of_a_conditional_model_is_within_classes():
    levels = np.array([0.0, 0.6, -0.2, 0.6, 0.1, 0.6, 0.9], "float32")[:, None, None, None] * np.ones((1, 2, 2, 1), "float32")
    labels = tf.one_hot([0, 1, 0, 1, 0, 1, 2], 3)
    differences = gz.models.gan._differences
    # 0 -> -0.2 -> 0.1 -> 0 in the first class, none in the second, and one image alone, which gets the mean of the six.
    expected = np.array([0.2, 0, 0.3, 0, 0.1, 0, 0.1]) / 2
    for compute in (differences, tf.function(differences, jit_compile=True)):
        np.testing.assert_allclose(compute(tf.constant(levels), labels), expected, atol=1e-6)
    assert differences(levels[:1], None).shape == (0,) and differences(levels[:2], labels[:2]).shape == (0,)
    np.testing.assert_allclose(differences(levels[:3], None), np.array([0.6, 0.8, 0.2]) / 2, atol=1e-6)


def test_a_last_batch_of_one_image_does_not_bend_what_is_watched(images):
    model = gz.build("gan", (8, 8, 1), kind="dense", objective="polyharmonic", penalties=(), critic_steps=0, seed=0)
    whole, more = (model.evaluate(np.resize(images, (n, 8, 8, 1)), batch_size=64, return_dict=True, verbose=0) for n in (64, 65))
    assert float(more["diversity"]) == pytest.approx(float(whole["diversity"]), rel=0.02)
    assert 0 < more["loss"] < whole["loss"]


# Of objectives that need the same of the step, one in `make test`.
ALIKE = {"minimax", "least_squares", "hinge", *(name for name in adversarial.OBJECTIVES if name.startswith("f_"))} - {"f_kl"}


@pytest.mark.parametrize(
    "objective", [pytest.param(name, marks=pytest.mark.slow) if name in ALIKE else name for name in adversarial.OBJECTIVES]
)
def test_both_networks_train_by_every_objective(objective, images):
    settings = dict(kind="dense", width=8, depth=1, latent_dim=2, objective=objective, penalties=("gp",), augment=())
    model = gz.build("gan", (8, 8, 1), seed=0, **settings)
    before = model.generator.get_weights(), model.critic.get_weights()
    model.compile(run_eagerly=True)
    log = model.fit(images, batch_size=8, verbose=0).history
    assert np.isfinite(list(log.values())).all()
    after = model.generator.get_weights(), model.critic.get_weights()
    for old, new in zip(before, after, strict=True):
        assert not any(map(np.array_equal, old, new))


def test_a_pair_of_residual_networks_trains(images):
    model = gz.build("gan", (8, 8, 1), kind="residual", width=4, latent_dim=2, num_classes=2, seed=0)
    before = model.generator.get_weights(), model.critic.get_weights()
    model.fit(images, np.arange(16) % 2, batch_size=8, verbose=0)
    after = model.generator.get_weights(), model.critic.get_weights()
    for old, new in zip(before, after, strict=True):
        assert not all(map(np.array_equal, old, new)) and all(np.isfinite(each).all() for each in new)
    assert model.sample(3, seed=0, labels=[0, 1, 1]).shape == (3, 8, 8, 1)


def test_the_polyharmonic_critic_in_closed_form_is_that_of_the_energy_distance():
    x, y = np.random.default_rng(0).normal(size=(2, 9, 1)).astype("float32")
    kernel = lambda a, b: float(np.mean(divergences.polyharmonic_kernel(a, b)))  # noqa: E731
    assert kernel(x, x) + kernel(y, y) - 2 * kernel(x, y) == pytest.approx(
        scipy.stats.energy_distance(x[:, 0], y[:, 0]) ** 2, rel=1e-4
    )
    objective = adversarial.get_objective("polyharmonic")
    with tf.GradientTape() as tape:
        fake = tf.constant(y)
        tape.watch(fake)
        loss = objective.generator_loss(tf.constant(x), fake)
    # The witness at g, of a batch of 9 whose own pairs leave g out: its slope, by differences, is half of the generator's.
    witness = lambda g, others: np.abs(g - others).mean() - np.abs(g - x[:, 0]).mean()  # noqa: E731
    slopes = [
        (witness(g + 1e-3, np.delete(y[:, 0], i)) - witness(g - 1e-3, np.delete(y[:, 0], i))) / 2e-3
        for i, g in enumerate(y[:, 0].astype("float64"))
    ]
    np.testing.assert_allclose(tape.gradient(loss, fake)[:, 0], -2 / 9 * np.array(slopes), atol=1e-4)


def test_a_generator_follows_a_critic_in_closed_form(images):
    model = gz.build("gan", (8, 8, 1), kind="dense", objective="polyharmonic", penalties=(), critic_steps=0, seed=0)
    assert not model.critic.trainable_variables and set(model.optimizers) == {"optimizer"}
    bright = np.concatenate([images // 4, 192 + images // 4])  # two clouds
    before = model.evaluate(bright, batch_size=32, verbose=0, return_dict=True)["loss"]
    model.fit(np.tile(bright, (300, 1, 1, 1)), batch_size=32, shuffle=False, verbose=0)
    assert model.evaluate(bright, batch_size=32, verbose=0, return_dict=True)["loss"] < 0.1 * before
    means = model.sample(200, seed=0).mean(axis=(1, 2, 3))
    assert 60 < (means < 0.5).sum() < 140 and (abs(means - 0.5) > 0.2).mean() > 0.7


def test_the_critic_learns_to_the_last_step_however_many_it_makes():
    model = gz.build("wgan_gp", (8, 8, 1), total_steps=50, width=4, latent_dim=2)
    rates = [model.critic_optimizer._learning_rate(5 * step) for step in (20, 40, 49)]
    expected = [model.optimizer._learning_rate(step) for step in (20, 40, 49)]
    np.testing.assert_allclose(rates, expected, rtol=0.1, atol=2e-5)
    assert min(rates) > 0


@pytest.mark.parametrize("recipe", ["conditional_gan", "conditional_diffusion"])
def test_a_label_beyond_the_classes_is_found_in_every_batch(recipe, images):
    tiny = dict(width=4, latent_dim=2) if recipe == "conditional_gan" else dict(width=8, multipliers=(1,), steps=2)
    model = gz.build(recipe, (8, 8, 1), num_classes=3, seed=0, run_eagerly=True, **tiny)
    columns = np.arange(16)[:, None] % 3  # (n, 1), as Keras's data sets have them
    assert np.isfinite(model.fit(images, columns, batch_size=8, verbose=0).history["loss"]).all()
    labels = np.where(np.arange(16) == 13, 3, np.arange(16) % 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="none of the classes 0 to 2"):
        model.fit(tf.data.Dataset.from_tensor_slices((images, labels)).batch(8), verbose=0)


def test_xla_which_leaves_assertions_out_makes_nan_of_a_label_that_is_no_class():
    graph = tf.function(lambda labels: batches.one_hot(labels, 3))
    compiled = tf.function(lambda labels: batches.one_hot(labels, 3), jit_compile=True)
    for labels in ([2, 0, 1], [[2], [0], [1]]):
        np.testing.assert_array_equal(graph(tf.constant(labels)), np.eye(3)[[2, 0, 1]])
    for labels in ([2, 3], [2, -1], [2.0, 0.5]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="none of the classes 0 to 2"):
            graph(tf.constant(labels))
        np.testing.assert_array_equal(compiled(tf.constant(labels)), [[0, 0, 1], [np.nan] * 3])


def steady(scope, objective, normalization=None, penalties=()):
    """A game without chance, whose generator ignores its noise, from weights that are the same each time."""
    with scope:
        layers = keras.layers.Rescaling(0.0), keras.layers.Dense(16, "tanh"), keras.layers.Reshape((4, 4, 1))
        generator = keras.Sequential([keras.Input((2,)), *layers])
        objective = adversarial.Fisher(rho=0.5) if objective == "fisher" else adversarial.get_objective(objective)
        settings = dict(kind="dense", width=6, depth=1, normalization=normalization)
        critic = gz.networks.critic((4, 4, 1), 3 if objective.features else 1, **settings)
        for index, weight in enumerate([*generator.trainable_weights, *critic.trainable_weights]):
            weight.assign(np.random.default_rng(index).normal(0, 0.2, weight.shape))
        model = gz.models.GAN(generator, critic, objective, penalties, seed=0)
        model.compile(keras.optimizers.SGD(0.1), critic_optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective, settings",
    [
        ("mmd", {}),
        pytest.param("mmd", {"penalties": adversarial.SlopePenalty(1.0, at="real", target=0.0)}, marks=pytest.mark.slow),
        pytest.param("fisher", {}, marks=pytest.mark.slow),
        pytest.param("wasserstein", {"normalization": "synchronized_batch"}, marks=pytest.mark.slow),
    ],
)
def test_two_replicas_play_as_one_device_does_with_the_whole_batch(objective, settings, images, replicas):
    data = tf.data.Dataset.from_tensor_slices(images[:9, ::2, ::2]).batch(8)  # the last one leaves a replica without images
    found = []
    for scope in (tf.distribute.get_strategy().scope(), replicas.scope()):
        model = steady(scope, objective, **settings)
        log = model.fit(data, epochs=2, verbose=0).history
        found.append(([log[name] for name in ("critic_loss", "real_score", "diversity")], model.get_weights()))
    (one, weights), (two, others) = found
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)
    for first, second in zip(weights, others, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-4)


REPEATED = """
import keras, numpy as np, tensorflow as tf
import keras_genzoo as gz
tf.config.experimental.enable_op_determinism()
tf.config.threading.set_inter_op_parallelism_threads(4)
images = np.random.default_rng(0).integers(0, 256, (48, 8, 8, 1), "uint8")
model = gz.build("gan", (8, 8, 1), seed=0, jit_compile=False, width=8, steps_per_execution=3)
variables = [*model.variables, *model.optimizer.variables, *model.critic_optimizer.variables]
first = [variable.numpy().copy() for variable in variables]
histories = []
for _ in range(10):
    keras.utils.set_random_seed(0)
    for variable, value in zip(variables, first):
        variable.assign(value.copy())
    histories.append(model.fit(gz.data.load(images, batch_size=4, seed=0), epochs=12, verbose=0).history["penalty_loss"])
assert all(history == histories[0] for history in histories), histories
"""


@pytest.mark.slow
def test_no_weight_is_updated_before_the_penalty_of_its_step_has_read_it():
    """In a process of its own, as users have it: those of the tests do one operation after another."""
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "PYTEST_XDIST_WORKER")}
    subprocess.run([sys.executable, "-c", REPEATED], check=True, env=environment)
