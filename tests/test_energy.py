"""Energy-based models against the truth: known densities, enumerated machines, and what their arguments are said to do."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

import keras_genzoo as gz
from keras_genzoo import chains, networks
from keras_genzoo.callbacks import StopOnDivergence
from keras_genzoo.core import randomness
from keras_genzoo.models import RBM, EnergyModel, machines
from keras_genzoo.replay import ReplayBuffer
from keras_genzoo.testing import variables

SHAPE = (8, 8, 1)

# Chains on densities of the plane

MEAN, COVARIANCE = np.array([1.0, -2.0]), np.array([[1.0, 0.6], [0.6, 2.0]])
PRECISION = np.linalg.inv(COVARIANCE).astype("float32")


def gaussian_energy(x):
    centred = x - MEAN.astype("float32")
    return 0.5 * tf.reduce_sum(tf.matmul(centred, PRECISION) * centred, axis=-1)


def history(chain, energy, n, steps, seed=0, start=None):
    """Positions after every step, `(steps, n, 2)`, and the acceptance."""
    key = randomness.make_key(seed)
    x = randomness.normal(randomness.fold(key, 0), (n, 2)) if start is None else start
    run = tf.function(chains.run_chain, autograph=False)
    _, acceptance, positions = run(chain, energy, x, steps, randomness.fold(key, 1), watch=tf.identity)
    return positions.numpy(), float(acceptance)


def test_mala_has_the_mean_and_covariance_of_its_target_within_monte_carlo_error():
    positions, acceptance = history(chains.MALA(step_size=0.5), gaussian_energy, 500, 800)
    settled = positions[100:]
    assert 0.5 < acceptance < 0.99
    draws = [chains.effective_sample_size(settled[..., axis]) for axis in range(2)]
    found, covariance = settled.reshape(-1, 2).mean(axis=0), np.cov(settled.reshape(-1, 2).T)
    error = np.sqrt(np.diag(COVARIANCE) / draws)
    assert (error < 0.01).all()
    assert (np.abs(found - MEAN) < 4 * error).all()
    # Of a Gaussian's sample covariance: var = (C_ii C_jj + C_ij^2) / n.
    variance = np.outer(np.diag(COVARIANCE), np.diag(COVARIANCE)) + COVARIANCE**2
    assert (np.abs(covariance - COVARIANCE) < 4 * np.sqrt(variance / min(draws))).all()


def test_mala_is_exact_at_another_temperature_and_reflects_at_its_bounds():
    positions, _ = history(chains.MALA(step_size=0.3, temperature=2.0), gaussian_energy, 500, 600)
    np.testing.assert_allclose(np.cov(positions[150:].reshape(-1, 2).T), 2 * COVARIANCE, atol=0.15)
    flat = lambda x: 0.0 * tf.reduce_sum(x, axis=-1)  # noqa: E731
    positions, _ = history(chains.MALA(step_size=0.02, bounds=(-1.0, 1.0)), flat, 500, 600)
    settled = positions[300:].reshape(-1, 2)
    assert np.abs(settled).max() <= 1
    np.testing.assert_allclose(settled.var(axis=0), 1 / 3, atol=0.03)  # of the uniform density


def test_mala_refuses_by_chance_that_has_nothing_to_do_with_the_step():
    """Of an energy that is even, and log 4 higher wherever it is asked again: a quarter is accepted, of steps of N(0, 0.2)."""
    levels = iter([0.0, np.log(4)])
    energy = lambda x: 0.0 * tf.reduce_sum(x, axis=-1) + next(levels)  # noqa: E731
    chain = chains.MALA(0.1)
    state = chain.init(tf.zeros((40_000, 1)), energy)
    (x, *_), acceptance = chain.step(state, energy, tf.constant(0.0), randomness.make_key(0))
    moved = x.numpy()[x.numpy() != 0]
    assert len(moved) / 40_000 == pytest.approx(float(acceptance), abs=1e-3) and float(acceptance) == pytest.approx(
        0.25, abs=0.01
    )
    assert moved.mean() == pytest.approx(0, abs=0.02) and moved.var() == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("step_size", [0.01, 0.3, 20.0])
def test_mala_between_bounds_has_the_density_of_an_energy_with_a_slope_there(step_size):
    """exp(-3 x) on [-1, 1], whose chains spend much of their time at the lower bound; steps from narrow to far wider than it."""
    chain = chains.MALA(step_size=step_size, bounds=(-1.0, 1.0))
    positions, _ = history(chain, lambda x: 3.0 * tf.reduce_sum(x, axis=-1), 4000, 300 if step_size < 0.1 else 60)
    x = positions[-1].ravel()
    edges = np.linspace(-1, 1, 9)
    mass = np.exp(-3 * edges[:-1]) - np.exp(-3 * edges[1:])
    mass /= mass.sum()
    error = np.sqrt(mass * (1 - mass) / len(x))  # chains are independent of each other
    assert (np.abs(np.histogram(x, edges)[0] / len(x) - mass) < 4 * error).all()


@pytest.mark.parametrize("step_size", [1e-4, 0.05, 10.0])
def test_mala_between_bounds_moves_on_images(step_size):
    """From N(0, 1), of which a third lies beyond: nothing is refused where the energy is even."""
    start = randomness.normal(randomness.make_key(0), (4, 28, 28, 1))
    even = lambda x: 0.0 * tf.reduce_sum(x, axis=(1, 2, 3))  # noqa: E731
    x, acceptance, _ = chains.run_chain(chains.MALA(step_size, bounds=(-1.0, 1.0)), even, start, 5, randomness.make_key(1))
    assert float(acceptance) == 1 and np.abs(x).max() <= 1
    moved = np.abs(x - np.clip(start, -1, 1))
    assert (moved > 0).mean() > 0.99


def test_mala_between_bounds_has_the_mean_of_its_target_in_784_dimensions():
    """Each pixel's density is proportional to exp(-x) on [-1, 1], with the mean 1 - coth 1."""
    start = randomness.normal(randomness.make_key(0), (16, 784))
    chain, energy = chains.MALA(0.01, bounds=(-1.0, 1.0)), lambda x: tf.reduce_sum(x, axis=-1)
    _, acceptance, means = chains.run_chain(
        chain, energy, start, 800, randomness.make_key(1), watch=lambda x: tf.reduce_mean(x, axis=-1)
    )
    assert 0.6 < float(acceptance) < 0.95
    settled = means.numpy()[200:]
    # A pixel's variance is 1 - csch^2 1.
    error = np.sqrt((1 - 1 / np.sinh(1) ** 2) / 784 / chains.effective_sample_size(settled))
    assert settled.mean() == pytest.approx(1 - 1 / np.tanh(1), abs=4 * error) and error < 0.005


def test_a_chain_that_hardly_moves_says_so():
    steep = lambda x: 1e6 * tf.reduce_sum(tf.square(x), axis=-1)  # noqa: E731
    start = 0.01 * randomness.normal(randomness.make_key(0), (50, 10))
    with pytest.warns(UserWarning, match=r"MALA accepted 0 % of its steps, expected at least 1 %.*lower its step size"):
        chains.run_chain(chains.MALA(0.1), steep, start, 10, randomness.make_key(1))


def test_an_energy_model_whose_chains_hardly_move_says_so_in_training_and_sampling(images):
    network = networks.critic(SHAPE, width=4, depth=1)
    network.layers[-1].kernel.assign(1e4 * network.layers[-1].kernel)
    model = EnergyModel(network, sampler=chains.MALA(1.0), steps=2, sample_steps=10, buffer_size=32, seed=0)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    with pytest.warns(UserWarning, match="MALA accepted .* in epoch 1"):
        model.fit(images, batch_size=8, epochs=1, verbose=0, callbacks=[keras.callbacks.Callback()])
    with pytest.warns(UserWarning, match="MALA accepted .* of its steps, expected"):
        model.sample(16, seed=0)


def test_a_run_of_a_chain_is_one_loop_on_the_device():
    calls = []

    def energy(x):
        calls.append(x)
        return 0.5 * tf.reduce_sum(tf.square(x), axis=-1)

    for steps in (300, np.int64(20), tf.constant(30)):
        calls.clear()
        x, acceptance, _ = chains.run_chain(chains.MALA(0.1), energy, tf.ones((4, 2)), steps, randomness.make_key(0))
        assert len(calls) <= 3 and 0 < float(acceptance) <= 1
    # What Python changes between two calls is seen.
    pull = {}
    energy = lambda x: pull["now"] * tf.reduce_sum(x, axis=-1)  # noqa: E731
    for pull["now"] in (1.0, -1.0):
        x, *_ = chains.run_chain(chains.Langevin(0.1, 1e-9), energy, tf.zeros((1, 2)), 10, randomness.make_key(0))
        np.testing.assert_allclose(x, -pull["now"], atol=1e-3)


@pytest.mark.parametrize("chain", [chains.Langevin(0.1, start=2.0), chains.MALA(0.1, start=2.0, bounds=(-9.0, 9.0))])
def test_a_chain_of_float64_rows_stays_in_float64(chain):
    energy = lambda x: 0.5 * tf.reduce_sum(tf.square(x), axis=-1)  # noqa: E731
    start = np.ones((4, 2))
    x, _, kept = chains.run_chain(chain, energy, start, 5, randomness.make_key(0), watch=energy)
    same, *_ = chains.run_chain(chain, energy, start.astype("float32"), 5, randomness.make_key(0))
    assert x.dtype == kept.dtype == tf.float64 and kept.shape == (5, 4)
    np.testing.assert_allclose(x, same, atol=1e-4)


def test_what_a_run_of_a_chain_cannot_begin_with_is_one_sentence():
    for x, steps, words in (
        (np.ones((2, 2)), 0, "steps is 0, expected a whole number of at least 1"),
        (np.ones((2, 2)), 2.5, "steps is 2.5"),
        (np.ones((2, 2), int), 2, "x is int64, expected floats"),
    ):
        with pytest.raises(ValueError, match=words):
            chains.run_chain(chains.Langevin(), lambda x: tf.reduce_sum(x, axis=-1), x, steps, randomness.make_key(0))


def test_the_bias_of_langevin_dynamics_is_that_of_theory_and_shrinks_with_the_step():
    """Of a Gaussian with precision p the chain x' = (1 - step p) x + sqrt(2 step) z has variance 1 / (p (1 - step p / 2))."""
    eigenvalues, directions = np.linalg.eigh(np.linalg.inv(COVARIANCE))
    errors = []
    for step in (0.8, 0.4, 0.1):
        positions, acceptance = history(chains.Langevin(step_size=step), gaussian_energy, 1000, 600)
        assert acceptance == 1
        covariance = np.cov(positions[200:].reshape(-1, 2).T)
        expected = directions @ np.diag(1 / (eigenvalues * (1 - step * eigenvalues / 2))) @ directions.T
        np.testing.assert_allclose(covariance, expected, atol=0.06)
        np.testing.assert_allclose(positions[200:].mean(axis=(0, 1)), MEAN, atol=0.05)
        errors.append(np.abs(covariance - COVARIANCE).max())
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.12


def test_annealing_brings_chains_to_both_of_two_far_modes():
    centres = np.array([[-2.0, 0.0], [2.0, 0.0]], "float32")

    def energy(x):
        return -tf.reduce_logsumexp(-tf.reduce_sum(tf.square(x[:, None] - centres), axis=-1) / (2 * 0.3**2), axis=-1)

    start = tf.fill((2000, 2), -2.0)  # all in one mode
    stuck, _ = history(chains.Langevin(0.01), energy, 2000, 400, start=start)
    free, _ = history(chains.Langevin(0.01, start=30.0), energy, 2000, 400, start=start)
    shares = [np.mean(positions[-1, :, 0] > 0) for positions in (stuck, free)]
    assert shares[0] < 0.01
    assert shares[1] == pytest.approx(0.5, abs=0.1)
    assert np.std(free[-1, :, 1]) == pytest.approx(0.3, abs=0.03)  # at the end the temperature is 1


@pytest.mark.parametrize("chain", [chains.Langevin, chains.MALA])
def test_annealing_goes_geometrically_from_its_first_to_its_last_step(chain):
    """Seen where the energy is even: a step is noise of variance 2 step_size temperature, which falls from 2 * 0.5 * 8 to 2 *
    0.1 * 2."""
    even = lambda x: 0.0 * tf.reduce_sum(x, axis=-1)  # noqa: E731
    settings = {"step_size": 0.1, "temperature": 2.0, "start": 8.0, "start_step_size": 0.5}
    positions, _ = history(chain(**settings), even, 20_000, 3, start=tf.zeros((20_000, 2)))
    steps = np.diff(positions, axis=0, prepend=0).var(axis=(1, 2))
    np.testing.assert_allclose(steps, [8.0, np.sqrt(8.0 * 0.4), 0.4], rtol=0.03)
    positions, _ = history(chain(**settings), even, 20_000, 1, start=tf.zeros((20_000, 2)))
    assert positions.var() == pytest.approx(8.0, rel=0.03)  # of one step, the first


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_effective_sample_size_of_an_autoregressive_chain_is_the_closed_form(rho):
    """n (1 - rho) / (1 + rho) for x' = rho x + noise."""
    random = np.random.default_rng(0)
    x = np.empty((4000, 8))
    x[0] = random.normal(size=8)
    for step in range(1, len(x)):
        x[step] = rho * x[step - 1] + np.sqrt(1 - rho**2) * random.normal(size=8)
    assert chains.effective_sample_size(x) == pytest.approx(x.size * (1 - rho) / (1 + rho), rel=0.1)
    # Chains that do not agree with each other tell little, however long they are.
    assert chains.effective_sample_size(x + 10.0 * np.arange(8)) < 20


def test_chains_are_pure_functions_of_their_key_and_the_clip_bounds_a_step():
    start = tf.constant([[100.0, 100.0]])
    chain = chains.Langevin(0.5, temperature=1e-12, clip=2.0, bounds=(-99.5, 99.5))
    np.testing.assert_allclose(history(chain, gaussian_energy, 1, 3, start=start)[0][:, 0, 1], [98.5, 97.5, 96.5], atol=1e-3)
    first, second, other = (history(chains.MALA(0.5), gaussian_energy, 5, 10, seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0.1


@pytest.mark.parametrize("arguments", [{"step_size": 0.0}, {"temperature": -1.0}, {"bounds": (1, -1)}, {"clip": 0}])
def test_bad_arguments_of_a_chain_are_named(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        chains.Langevin(**arguments)


# Boltzmann machines


def floats(x):
    return tf.constant(x, tf.float32)


def all_states(n):
    return np.array(list(itertools.product((0.0, 1.0), repeat=n)))


def machine(kind, shape=(2, 3, 1), hidden=4, spread=1.0, seed=0):
    made = machines.MACHINES[kind](shape, hidden)
    random = np.random.default_rng(seed)
    for variable in made.variables:
        variable.assign(spread * random.normal(size=variable.shape))
    if kind == "gaussian":
        made.visible_log_scale.assign(np.log(random.uniform(0.2, 0.5, made.dimensions)))
    return made


def enumerated(made):
    """log p(v) of all binary states, from the joint energy in float64, and the states."""
    v, h = all_states(made.dimensions), all_states(made.hidden)
    kernel, c, b = (np.float64(value.numpy()) for value in (made.kernel, made.hidden_bias, made.visible_bias))
    joint = v @ b[:, None] + (h @ c[:, None]).T + v @ kernel @ h.T
    return logsumexp(joint, axis=1) - logsumexp(joint), v


def test_the_partition_function_by_hidden_states_is_that_by_all_states():
    made = machine("bernoulli")
    log_p, v = enumerated(made)
    found = -made.free_energy(tf.constant(v, tf.float32)) - made.exact_log_partition()
    np.testing.assert_allclose(found, log_p, atol=1e-4)


def test_a_gaussian_machine_is_the_mixture_of_gaussians_over_its_hidden_states():
    import scipy.stats

    made = machine("gaussian", shape=(1, 2, 1), hidden=3)
    h = all_states(3)
    kernel, c, b, s = (np.float64(value) for value in (made.kernel, made.hidden_bias, made.visible_bias, made.scale()))
    log_weights = h @ c + 0.5 * np.square(h @ kernel.T).sum(axis=1)
    log_weights -= logsumexp(log_weights)
    points = np.random.default_rng(1).normal(size=(50, 2))
    each = [scipy.stats.multivariate_normal.logpdf(points, b + s * (kernel @ row), np.diag(s**2)) for row in h]
    expected = logsumexp(np.array(each) + log_weights[:, None], axis=0)
    found = -made.free_energy(tf.constant(points, tf.float32)) - made.exact_log_partition()
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("kind", machines.MACHINES)
@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_units_are_drawn_with_the_moments_that_they_have_given_the_others(kind, beta):
    made, n = machine(kind, (1, 3, 1), hidden=4), 40_000
    kernel, c, b = (np.float64(value.numpy()) for value in (made.kernel, made.hidden_bias, made.visible_bias))
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    h, v = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 1.0])
    visible = made.draw_visible(tf.tile(floats(h)[None], (n, 1)), randomness.make_key(0), beta).numpy()
    hidden = made.draw_hidden(tf.tile(floats(v)[None], (n, 1)), randomness.make_key(1), beta).numpy()
    if kind == "gaussian":
        s = np.float64(made.scale())
        mean, deviation, seen = b + s * beta * (kernel @ h), s, (v - b) / s
    else:
        mean, seen = sigmoid(b + beta * (kernel @ h)), v
        deviation = np.sqrt(mean * (1 - mean))
    np.testing.assert_allclose(visible.mean(axis=0), mean, atol=0.015)
    np.testing.assert_allclose(visible.std(axis=0), deviation, rtol=0.02, atol=0.005)
    np.testing.assert_allclose(hidden.mean(axis=0), sigmoid(beta * (seen @ kernel + c)), atol=0.015)
    assert set(np.unique(hidden)) <= {0.0, 1.0}


@pytest.mark.parametrize(
    "kind, hidden",
    [("gaussian", 12), *(pytest.param(*each, marks=pytest.mark.slow) for each in (("bernoulli", 12), ("bernoulli", 20)))],
)
def test_annealed_importance_sampling_finds_the_enumerated_partition_function(kind, hidden):
    made = machine(kind, SHAPE, hidden=hidden, spread=0.3)
    model = RBM(made)
    exact = made.exact_log_partition()
    estimate, error = model.log_partition(samples=200, steps=2000)
    assert float(estimate) == pytest.approx(exact, abs=0.1)
    assert 0 < float(error) < 0.1 and abs(float(estimate) - exact) < 5 * float(error)
    # Few temperatures err downwards on average (Jensen), and so log_prob upwards.
    rough = [float(model.log_partition(samples=1, steps=5, seed=seed)[0]) for seed in range(100)]
    assert np.mean(rough) < exact - 0.1
    x = tf.constant(np.random.default_rng(0).integers(0, 2, (4, *SHAPE)), tf.float32)
    known = model.log_prob(x, log_partition=exact)
    np.testing.assert_allclose(model.log_prob(x), known, atol=0.2)
    np.testing.assert_allclose(known, -made.free_energy(model._units(x)) - exact, atol=1e-3)


def test_the_exact_partition_function_is_that_of_the_weights_in_use():
    model = RBM(machine("bernoulli"), ema=0.9)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    model.fit(np.zeros((2, *model.image_shape), "float32"), verbose=0)  # from the first step on there are averages
    before = float(model.exact_log_partition())
    model.machine.visible_bias.assign_add(np.ones(6))
    assert float(model.exact_log_partition()) == before < model.machine.exact_log_partition() - 0.1
    assert np.isnan(model.log_partition(samples=1, steps=5)[1])


def test_the_partition_function_by_visible_states_is_that_by_all_states():
    made = machine("bernoulli", (1, 3, 1), hidden=7)
    log_p, v = enumerated(made)
    found = -made.free_energy(tf.constant(v, tf.float32)) - made.exact_log_partition()
    np.testing.assert_allclose(found, log_p, atol=1e-4)
    many = machine("bernoulli", (3, 4, 1), hidden=500, spread=0.1)
    exact = RBM(many).exact_log_partition()
    log_p = -many.free_energy(tf.constant(all_states(12), tf.float32)) - exact
    assert float(tf.reduce_logsumexp(log_p)) == pytest.approx(0, abs=1e-3)


def test_more_units_than_can_be_enumerated_are_refused():
    for made, words in (
        (machines.BernoulliMachine((5, 5, 1), 21), "21 hidden units"),
        (machines.BernoulliMachine((5, 5, 1), 30), "25 visible units"),
        (machines.GaussianMachine((2, 2, 1), 21), "21 hidden units"),
    ):
        with pytest.raises(ValueError, match=rf"{words}.*log_partition"):
            made.exact_log_partition()


@pytest.mark.parametrize("kind", machines.MACHINES)
def test_a_machine_begins_soundly_whatever_its_first_batch(kind, images):
    """The mean of a pixel is that of the images and of two of even noise, whose mean is 1/2."""
    for count in (1, 2, 32):
        model = RBM(machines.MACHINES[kind](SHAPE, 4), seed=0)
        model.prepare(np.zeros((count, *SHAPE), "uint8"), None)
        np.testing.assert_allclose(model.machine.mean_visible(tf.zeros((1, 4))), 1 / (count + 2), atol=1e-5)
    model = RBM(machines.MACHINES[kind](SHAPE, 4), seed=0)
    model.compile(keras.optimizers.SGD(0.0))
    blank = np.zeros_like(images[:4])
    model.fit(tf.data.Dataset.from_tensor_slices(np.concatenate([blank, images])).batch(4), steps_per_epoch=1, verbose=0)
    expected = (images.sum(axis=0) / 255 + 2 * 0.5) / 22
    np.testing.assert_allclose(model.machine.mean_visible(tf.zeros((1, 4))), expected.reshape(1, 64), atol=1e-5)


def flat_gradient(model, real, samples):
    with tf.GradientTape() as tape:
        loss = model.terms_of(real, samples, randomness.make_key(0))["loss"]
    return np.concatenate([np.ravel(each) for each in tape.gradient(loss, model.machine.trainable_variables)])


def exact_gradient(made, data):
    """Of the negative log-likelihood: E_model[statistics] - E_data[statistics], enumerated in float64."""
    log_p, v = enumerated(made)
    kernel, c = np.float64(made.kernel.numpy()), np.float64(made.hidden_bias.numpy())

    def statistics(v, weights):
        h = 1 / (1 + np.exp(-(v @ kernel + c)))
        return np.concatenate([np.ravel(v.T @ (weights[:, None] * h)), weights @ h, weights @ v])

    return statistics(v, np.exp(log_p)) - statistics(data, np.full(len(data), 1 / len(data)))


def test_with_the_models_expectation_enumerated_the_gradient_is_the_exact_one():
    made = machine("bernoulli")
    model = RBM(made)
    log_p, v = enumerated(made)
    data = v[np.random.default_rng(0).integers(0, len(v), 20)]
    # Every state in its share, to 1 in 200,000.
    counts = np.round(200_000 * np.exp(log_p)).astype(int)
    samples = np.repeat(v, counts, axis=0)
    found = flat_gradient(model, tf.constant(data, tf.float32), tf.constant(samples, tf.float32))
    np.testing.assert_allclose(found, exact_gradient(made, data), atol=1e-3)


def test_the_bias_of_contrastive_divergence_shrinks_with_its_sweeps():
    made = machine("bernoulli", spread=2.0)
    _, v = enumerated(made)
    data = v[np.random.default_rng(0).integers(0, len(v), 20)]
    exact = exact_gradient(made, data)
    real = tf.constant(np.tile(data, (5000, 1)), tf.float32)
    biases = []
    for k in (1, 3, 10):
        model = RBM(made, k=k)
        samples = model.moved(real, randomness.make_key(k))
        biases.append(np.linalg.norm(flat_gradient(model, real, samples) - exact))
    assert biases[0] > 4 * biases[1] > 16 * biases[2]
    assert biases[2] < 0.01 * np.linalg.norm(exact)


@pytest.mark.parametrize("chains", [pytest.param(None, marks=pytest.mark.slow), 32])
def test_a_small_machine_learns_the_distribution_of_its_data(chains):
    """Bars: four images of 2x2 with equal shares, of 16; their entropy is log 4."""
    bars = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]], "float32").reshape(4, 2, 2, 1)
    model = RBM(machines.BernoulliMachine((2, 2, 1), 8), k=1 if chains else 5, chains=chains, seed=0)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.03, 1000)), steps_per_execution=50)
    model.fit(np.tile(bars, (2000, 1, 1, 1)), batch_size=32, epochs=4, verbose=0)
    log_p = model.log_prob(bars, log_partition=model.machine.exact_log_partition())
    assert -np.mean(log_p) < np.log(4) + 0.15
    drawn = (model.sample(500, seed=0) > 0.5).reshape(500, 4)
    assert np.mean([any((row == bar.ravel()).all() for bar in bars) for row in drawn]) > 0.8


def test_reconstruction_is_one_pass_and_gray_images_have_no_likelihood(images):
    model = RBM(machine("bernoulli", SHAPE, 5))
    binary = (images >= 128).astype("float32")
    h = model.machine.draw_hidden(tf.reshape(binary, (-1, 64)), randomness.make_key(0, 1))
    expected = 1 / (1 + np.exp(-(h @ tf.transpose(model.machine.kernel) + model.machine.visible_bias)))
    np.testing.assert_allclose(model.reconstruct(binary), np.reshape(expected, (-1, *SHAPE)), atol=1e-5)
    assert not hasattr(model, "bits_per_dim")
    with pytest.raises(ValueError, match="binary"):
        model.log_prob(images)


# Energy models


def mixture_points(n, seed=0):
    """Two Gaussians in the plane with weights 0.3 and 0.7, as images of one pixel and two channels, with their density."""
    random = np.random.default_rng(seed)
    weights, centres, sigma = np.array([0.3, 0.7]), np.array([[-0.35, -0.3], [0.35, 0.2]]), 0.2
    points = centres[random.choice(2, n, p=weights)] + sigma * random.normal(size=(n, 2))

    def density(x):
        squares = np.square(x[:, None] - centres).sum(axis=-1) / (2 * sigma**2)
        return np.exp(-squares) @ weights / (2 * np.pi * sigma**2)

    return np.clip((points + 1) / 2, 0, 1).reshape(n, 1, 1, 2).astype("float32"), density


def grid():
    line = (np.arange(60) + 0.5) / 30 - 1
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


def energy_of_the_plane(objective, **settings):
    network = networks.critic((1, 1, 2), kind="dense", width=64, depth=2, activation="silu")
    return EnergyModel(network, objective, seed=0, **settings)


def test_the_learned_density_of_a_mixture_is_the_true_one_on_a_grid():
    x, density = mixture_points(20_000)
    # No chain begins anew: it would come to a mode by where it began, and not by the mode's share.
    settings = dict(steps=10, restart=0.0, data_noise=0.0, energy_weight=0.0, buffer_size=512)
    model = energy_of_the_plane("contrastive", sampler=chains.MALA(step_size=0.02), **settings)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.02, 800)), steps_per_execution=50)
    data = tf.data.Dataset.from_tensor_slices(x).repeat().batch(256)
    log = model.fit(data, steps_per_epoch=800, epochs=1, verbose=0).history
    assert 0.5 < log["acceptance"][-1] < 1
    points = grid()
    energies = model.energy((points.reshape(-1, 1, 1, 2).astype("float32") + 1) / 2).numpy().astype("float64")
    found, true = np.exp(-energies - logsumexp(-energies)), density(points)
    assert 0.5 * np.abs(found - true / true.sum()).sum() < 0.1  # total variation
    samples = 2 * model.sample(2000, seed=0, steps=500).reshape(-1, 2) - 1
    assert np.mean(samples @ [1, 1] > 0) == pytest.approx(0.7, abs=0.1)


def test_denoising_score_matching_finds_the_score_of_noisy_data():
    """Of N(m, s^2 I) with noise sigma the score is -(x - m) / (s^2 + sigma^2), which is -grad E / sigma."""
    random = np.random.default_rng(0)
    points = 0.2 + 0.1 * random.normal(size=(20_000, 2))
    x = ((points + 1) / 2).reshape(-1, 1, 1, 2).astype("float32")
    model = energy_of_the_plane("score", noise_levels=(0.299, 0.301))
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 600)), steps_per_execution=50)
    data = tf.data.Dataset.from_tensor_slices(x).repeat().batch(512)
    loss = model.fit(data, steps_per_epoch=600, epochs=1, verbose=0).history["loss"][0]
    at = tf.constant(0.2 + 0.3 * random.normal(size=(200, 1, 1, 2)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(at)
        energies = model.energies(at)
    expected = 0.3 * (at.numpy() - 0.2) / (0.1**2 + 0.3**2)
    found = tape.gradient(energies, at).numpy()
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.1 * np.sqrt(np.mean(expected**2))
    assert loss < 0.3  # the least is s^2 / (s^2 + sigma^2) = 0.1


class Watched(EnergyModel):
    """An energy that is the same everywhere, and notes what it is asked about: the images of the data and those of the chains."""

    def energies(self, x, training=False):
        return 2.0 + 0.0 * super().energies(x, training)

    def contrast(self, real, samples, training):
        self.seen = real.numpy(), samples.numpy()
        return super().contrast(real, samples, training)


def test_an_energy_sees_data_with_noise_and_chains_that_begin_anew_and_move():
    """Of an even energy, whose chains walk at random: sqrt(2 * 5 * 0.02) further; a share of 0.3 of them from N(0, 1)."""
    n, shape = 2000, (2, 2, 1)
    settings = {"steps": 5, "buffer_size": n, "restart": 0.3, "data_noise": 0.25, "energy_weight": 0.5, "seed": 0}
    model = Watched(networks.critic(shape, width=4, depth=1), sampler=chains.Langevin(0.02), **settings)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    model._buffer.chains.assign(np.full((n, *shape), 10.0))
    gray = np.full((n, *shape), 0.75, "float32")  # 0.5 in [-1, 1]
    terms = model.train_on_batch(gray, return_dict=True)
    real, samples = model.seen
    assert real.mean() == pytest.approx(0.5, abs=0.02) and real.std() == pytest.approx(0.25, rel=0.03)
    fresh = np.abs(samples).max(axis=(1, 2, 3)) < 8
    assert fresh.mean() == pytest.approx(0.3, abs=0.04)
    assert samples[~fresh].std() == pytest.approx(0.2**0.5, rel=0.03) and samples[~fresh].mean() == pytest.approx(10, abs=0.05)
    assert samples[fresh].std() == pytest.approx(1.2**0.5, rel=0.05)
    np.testing.assert_array_equal(model._buffer.chains, samples)
    # Energies of 2: none apart, their squares 4 + 4, and half of these in the loss.
    for scores in (terms, model.evaluate(gray, batch_size=n, verbose=0, return_dict=True)):
        expected = {"loss": 4.0, "contrastive_loss": 0.0, "energy_loss": 8.0, "real_energy": 2.0, "sample_energy": 2.0}
        assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    np.testing.assert_array_equal(model.seen[1], samples)  # validation looks at the chains and leaves them
    assert model.seen[0].std() == pytest.approx(0.25, rel=0.03) and np.abs(model.seen[0] - real).max() > 0.1


def test_the_loss_of_an_even_energy_by_its_score_is_that_of_the_noise():
    """E |0 - epsilon|^2, a mean over pixels: 1."""
    model = Watched(networks.critic((4, 4, 3), width=4, depth=1), "score", noise_levels=(0.5, 4.0), seed=0)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    images = np.random.default_rng(0).random((500, 4, 4, 3)).astype("float32")
    for scores in (model.train_on_batch(images, return_dict=True), model.evaluate(images, verbose=0, return_dict=True)):
        assert scores["loss"] == pytest.approx(1, abs=0.03) and scores["real_energy"] == pytest.approx(2)


class Still(chains.Chain):
    """A chain that stays where it begins."""

    def step(self, state, energy, progress, key):
        return state, tf.constant(1.0)


@pytest.mark.parametrize("objective, first, last", [("contrastive", 1.0, 1.0), ("score", 2.0, 1 - 0.25)])
def test_chains_begin_at_the_largest_noise_and_a_score_ends_at_the_image_that_is_seen(objective, first, last):
    """Of E = |x|^2 / 2 the image seen in noise of 0.25 is x - 0.25 x."""

    class Square(EnergyModel):
        def energies(self, x, training=False):
            return 0.5 * tf.reduce_sum(tf.square(x), axis=(1, 2, 3))

    model = Square(networks.critic(SHAPE, width=4), objective, Still(), noise_levels=(0.25, 2.0), buffer_size=4, seed=0)
    x = first * last * model.draw_latents(6, randomness.RowStream(5, 0)).numpy()
    np.testing.assert_allclose(model.sample(6, seed=5, steps=3), np.clip((x + 1) / 2, 0, 1), atol=1e-5)


@pytest.mark.parametrize("chains", [None, 40])
def test_the_terms_of_a_machine_without_a_kernel_are_their_closed_forms(chains):
    """Hidden units are independent then: F(v) = -b v - 3 log 2, and a pass gives sigmoid(b) of everything."""
    made = machines.BernoulliMachine((2, 2, 1), 3)
    b = np.array([0.5, -1.0, 2.0, 0.0])
    for variable, value in ((made.kernel, np.zeros((4, 3))), (made.visible_bias, b)):
        variable.assign(value)
    model = RBM(made, k=2, chains=chains, seed=0)
    model._prepared.assign(1)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    x = np.random.default_rng(0).integers(0, 2, (40, 2, 2, 1)).astype("float32")
    v, p = x.reshape(40, 4), 1 / (1 + np.exp(-b))
    expected = {"real_energy": (-v @ b).mean() - 3 * np.log(2), "reconstruction_loss": ((v - p) ** 2).sum(axis=1).mean()}
    for act in (model.train_on_batch, model.test_on_batch):
        terms = act(x, return_dict=True)
        assert {name: terms[name] for name in expected} == pytest.approx(expected, rel=1e-4)
        assert terms["loss"] == pytest.approx(terms["real_energy"] - terms["sample_energy"], abs=1e-4)
        # Two sweeps forget where the chains began: 40 draws of units with the chances p.
        error = np.sqrt((b**2 * p * (1 - p)).sum() / 40)
        if chains is None or act == model.train_on_batch:
            assert terms["sample_energy"] == pytest.approx(-p @ b - 3 * np.log(2), abs=4 * error)


def replay(replicas, count):
    """A buffer of the chains 0 to 5, and a step in which each replica takes `count(replica)` of them, and adds 10, 20."""
    with replicas.scope():
        buffer = ReplayBuffer(6, (1,), "zeros")
    buffer.chains.assign(np.arange(6.0).reshape(6, 1))

    def each():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        taken = buffer.take(count(tf.cast(replica, tf.int32)))
        buffer.put(taken + 10.0 * tf.cast(replica + 1, tf.float32))
        return taken

    step = tf.function(lambda: replicas.run(each))
    return buffer, lambda: [value.numpy().ravel().tolist() for value in step().values]


def test_replay_takes_chains_in_turns_and_is_the_same_on_all_replicas(replicas):
    buffer, step = replay(replicas, lambda replica: 2)
    assert step() == [[0, 1], [2, 3]] and step() == [[4, 5], [10, 11]]
    copies = [copy.numpy().ravel().tolist() for copy in buffer.chains.value.values]
    assert copies[0] == copies[1] == [30, 31, 22, 23, 14, 15]


def test_replicas_whose_parts_of_a_batch_differ_take_different_chains(replicas):
    buffer, step = replay(replicas, lambda replica: 3 - 2 * replica)
    assert step() == [[0, 1, 2], [3]]
    assert buffer.chains.numpy().ravel().tolist() == [10, 11, 12, 23, 4, 5] and buffer.position.numpy() == 4


@pytest.mark.slow
def test_two_replicas_go_on_with_one_buffer_and_are_watched_alike(images, replicas):
    with replicas.scope():
        models = [
            gz.build("ebm", SHAPE, width=4, depth=2, steps=2, buffer_size=24, seed=0),
            gz.build("rbm", SHAPE, hidden=4, chains=24, seed=0),
        ]
    for model in models:
        before = model._buffer.chains.numpy()
        guard = StopOnDivergence(every=1)
        model.fit(images, batch_size=8, epochs=1, verbose=0, callbacks=[guard])
        assert guard.reason is None
        copies = [copy.numpy() for copy in model._buffer.chains.value.values]
        np.testing.assert_array_equal(copies[0], copies[1])
        changed = np.any(copies[0] != before, axis=tuple(range(1, before.ndim)))
        assert changed.tolist() == [True] * 16 + [False] * 8
        assert model._buffer.position.numpy() == 16


def test_a_run_that_diverges_is_stopped_with_its_term_named_and_its_last_good_weights_kept(images):
    model = gz.build("ebm", SHAPE, width=4, depth=2, steps=3, buffer_size=32, energy_weight=0.0, gradient_norm=None, seed=0)
    good = []

    class Spoil(keras.callbacks.Callback):
        """Keeps what the guard should keep, and then learns far too fast."""

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                good.extend(v.numpy() for v in variables(model))
                model.optimizer.learning_rate = 10.0

    guard = StopOnDivergence(every=2)
    with pytest.warns(UserWarning, match="beyond"):
        history = model.fit(images, batch_size=4, epochs=20, verbose=0, callbacks=[Spoil(), guard]).history
    assert len(history["loss"]) < 20
    assert "the end of epoch 2 put back" in guard.reason and any(name in guard.reason for name in model.limits)
    # Of the optimizer too: its moments, its step, and the learning rate that it had.
    for kept, now in zip(good, variables(model), strict=True):
        np.testing.assert_array_equal(kept, now, err_msg=now.path)


def test_spectral_norm_bounds_the_slope_of_the_energy(images):
    model = gz.build("ebm", SHAPE, width=8, depth=2, steps=2, buffer_size=32, spectral=True, learning_rate=0.05, seed=0)
    model.fit(np.tile(images, (4, 1, 1, 1)), batch_size=8, epochs=3, verbose=0)
    x = tf.constant(images, tf.float32) / 127.5 - 1
    with tf.GradientTape() as tape:
        tape.watch(x)
        energies = model.energies(x)
    slope = np.linalg.norm(tape.gradient(energies, x).numpy().reshape(len(x), -1), axis=1)
    # A convolution of stride 2 and width 4 reads a pixel four times, so its norm is at most 2 of a kernel of norm 1; silu's
    # slope is at most 1.1.
    assert slope.max() < (2 * 1.1) ** 2 * 1.05


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"objective": "likelihood"}, "contrastive, score"),
        ({"sampler": "hmc"}, "langevin, mala"),
        ({"steps": 0}, "steps is 0"),
        ({"restart": 2.0}, "restart is 2.0"),
        ({"noise_levels": (1.0, 0.1)}, "noise_levels"),
    ],
)
def test_bad_arguments_of_an_energy_model_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        EnergyModel(networks.critic(SHAPE, width=4), **arguments)


def test_an_energy_is_of_each_image_alone_and_the_score_has_a_chain_of_its_own():
    with pytest.raises(ValueError, match="the network has batch normalisation, which mixes images"):
        EnergyModel(networks.critic(SHAPE, width=4, normalization="batch"))
    chain = EnergyModel(networks.critic(SHAPE, width=4), "score", noise_levels=(0.1, 2.0)).sampler
    assert chain.temperature == 0.1 and chain.start == 2.0


@pytest.mark.filterwarnings("ignore:.*is biased upwards:UserWarning")  # of 16 images
def test_noise_and_emoji_are_told_from_images_by_an_energy_that_knows_them(images):
    class Known(EnergyModel):
        def energies(self, x, training=False):
            """High where neighbouring pixels differ."""
            return tf.reduce_mean(tf.square(x[:, 1:] - x[:, :-1]), axis=(1, 2, 3))

    model = Known(networks.critic(SHAPE, width=4), sample_steps=4, buffer_size=4)
    scores = gz.evaluate(model, images, features="fashion-cnn")
    assert scores["auroc[noise]"] == 1  # noise is rough and these images are smooth
    assert 0 <= scores["auroc[emoji32]"] <= 1 and scores["chain_steps"] == 4 and scores["chain_ess"] > 0
    assert not any(name.startswith(("log_prob", "bits_per_dim")) for name in scores)
    others = gz.evaluation.outsiders(SHAPE, 10)
    assert others["emoji32"].shape == others["noise"].shape == (10, *SHAPE)
    assert gz.evaluation.outsiders((4, 4, 5), 3).keys() == {"noise"}


@pytest.mark.filterwarnings("ignore:.*is biased upwards:UserWarning")  # of 16 images
def test_a_machine_is_scored_by_an_estimate_that_has_its_name_and_its_error(images):
    model = gz.build("gaussian_rbm", SHAPE, hidden=4, sample_steps=4, seed=0)
    model.prepare(images, images)
    scores = gz.evaluate(model, images, features="fashion-cnn")
    expected = float(np.mean(model.log_prob(images, log_partition=model.machine.exact_log_partition())))
    assert scores["log_prob[ais]"] == pytest.approx(expected, abs=0.2)
    assert scores["bits_per_dim[ais]"] == pytest.approx(8 - expected / (64 * np.log(2)), abs=0.01)
    assert 0 < scores["log_prob_error[ais]"] < 0.1 and scores["chain_steps"] == 4
    assert "chain_acceptance" not in scores
