"""Solvers of differential equations against closed forms, and the volumes that flows carry along."""

import itertools

import keras
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

from keras_genzoo import bijectors, networks, odes

MATRIX = np.array([[0.3, -1.2, 0.5], [0.8, -0.4, 0.1], [-0.3, 0.6, 0.9]])


def linear(x, t, *told):
    """dx/dt = A x, which ends in exp(A) x."""
    return tf.matmul(x, tf.constant(MATRIX.T, x.dtype))


def waves(frequencies):
    """x'' = -w^2 x as two equations, each row of its own frequency."""
    square = np.square(frequencies)
    return lambda t, state: [tf.stack([state[0][:, 1], -square.astype(state[0].dtype.name) * state[0][:, 0]], axis=1)]


def turned(frequencies, t):
    w = np.asarray(frequencies)
    return np.stack([np.cos(w * t), -w * np.sin(w * t)], axis=1)


def test_the_pair_of_dormand_and_prince_meets_its_order_conditions():
    stages = [np.array(row) for row in odes.STAGES]
    np.testing.assert_allclose([row.sum() for row in stages], odes.NODES, atol=1e-12)
    nodes, fifth = np.array([0.0, *odes.NODES]), np.array([*odes.STAGES[-1], 0.0])
    fourth = fifth - np.array(odes.ERROR)
    for power in range(5):
        assert fifth @ nodes**power == pytest.approx(1 / (power + 1), abs=1e-12)
        if power < 4:
            assert fourth @ nodes**power == pytest.approx(1 / (power + 1), abs=1e-12)
    # One condition of order 4 and one of order 5 that no power of the nodes tells: sum b_i a_ij c_j^2 and sum b_i a_ij c_j^3.
    square = np.zeros((7, 7))
    for index, row in enumerate(stages, 1):
        square[index, : len(row)] = row
    assert fourth @ square @ nodes**2 == pytest.approx(1 / 12, abs=1e-12)
    assert fifth @ square @ nodes**3 == pytest.approx(1 / 20, abs=1e-12)


def test_the_classical_rule_has_order_4_forwards_and_back():
    frequencies, start = [1.0, 3.0], tf.constant(turned([1.0, 3.0], 0.0))
    for end, exact in ((2.0, turned(frequencies, 2.0)), (-1.0, turned(frequencies, -1.0))):
        errors = []
        for steps in (20, 40, 80):
            (found,) = odes.RungeKutta(steps).solve(waves(frequencies), [start], 0.0, end)
            errors.append(np.abs(found - exact).max())
        assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.3)
        assert np.log2(errors[1] / errors[2]) == pytest.approx(4, abs=0.2)


@pytest.mark.parametrize("compiled", [False, True])
def test_tolerances_bound_the_error_of_every_row_whatever_else_is_in_the_batch(compiled):
    frequencies = [0.5, 3.0, 11.0]
    solver, coarse = odes.DormandPrince(1e-7, 1e-7), odes.DormandPrince(1e-4, 1e-4)

    def solve(solver, rows):
        run = lambda x: solver.solve(waves([frequencies[row] for row in rows]), [x], 0.0, 2.0)[0]  # noqa: E731
        run = tf.function(run, autograph=False) if compiled else run
        return run(tf.constant(turned(frequencies, 0.0)[rows])).numpy()

    exact = turned(frequencies, 2.0)
    found, rough = solve(solver, [0, 1, 2]), solve(coarse, [0, 1, 2])
    np.testing.assert_allclose(found, exact, atol=1e-4)
    assert 30 * np.abs(found - exact).max() < np.abs(rough - exact).max() < 0.2
    for row in range(3):
        np.testing.assert_allclose(solve(solver, [row])[0], found[row], atol=1e-12)
    assert np.abs(found - rough).max() > np.abs(found - exact).max()  # what `coarser` changes is more than the error


def test_rows_that_do_not_arrive_are_not_numbers_and_leave_others_alone():
    explode = lambda t, state: [tf.square(state[0])]  # noqa: E731  x / (1 - x t), at t = 1 / x infinite
    (found,) = odes.DormandPrince(1e-6, 1e-6).solve(explode, [tf.constant([[1.0], [-1.0], [np.nan]])], 0.0, 2.0)
    assert np.isnan(found[0]).all() and np.isnan(found[2]).all()
    np.testing.assert_allclose(found[1], -1 / 3, atol=1e-4)
    (found,) = odes.DormandPrince(1e-6, 1e-6, most_steps=3).solve(waves([9.0]), [tf.constant([[1.0, 0.0]])], 0.0, 5.0)
    assert np.isnan(found).all()


@pytest.mark.parametrize("solver", [odes.RungeKutta(40), odes.DormandPrince(1e-8, 1e-8)])
def test_volumes_are_those_of_the_matrix_exponential(solver):
    x = tf.constant(np.random.default_rng(0).normal(size=(4, 3)))
    y, log_det = odes.transport(linear, x, solver)
    np.testing.assert_allclose(y, x @ scipy.linalg.expm(MATRIX).T, atol=1e-6)
    np.testing.assert_allclose(log_det, np.trace(MATRIX), atol=1e-6)
    back, other = odes.transport(linear, y, solver, 1.0, 0.0)
    np.testing.assert_allclose(back, x, atol=1e-6)
    np.testing.assert_allclose(other, -np.trace(MATRIX), atol=1e-6)


def test_the_estimate_of_the_trace_is_exact_in_the_mean_over_all_signs():
    def bent(x, t, shift):
        return tf.matmul(tf.tanh(x + shift), tf.constant(MATRIX.T)) * (1.0 + t[:, None])

    random = np.random.default_rng(1)
    x, shift, t = random.normal(size=(5, 3)), random.normal(size=(5, 3)), random.uniform(size=5)
    exact = (1 + t) * ((1 - np.tanh(x + shift) ** 2) @ np.diag(MATRIX))
    given = tf.constant(x), tf.constant(t), (tf.constant(shift),)
    rate, trace = odes.rate_and_trace(bent, *given)
    np.testing.assert_allclose(trace, exact, atol=1e-12)
    np.testing.assert_allclose(rate, bent(*given[:2], *given[2]), atol=1e-12)
    signs = [tf.constant(np.tile(each, (5, 1)), tf.float64) for each in itertools.product((-1.0, 1.0), repeat=3)]
    estimates = [odes.rate_and_trace(bent, *given, probe)[1] for probe in signs]
    np.testing.assert_allclose(np.mean(estimates, axis=0), exact, atol=1e-12)
    assert np.std(estimates, axis=0).min() > 0.01
    assert set(odes.signs(tf.constant([0.0, 0.49, 0.5, 0.99])).numpy()) == {-1.0, 1.0}


@pytest.mark.parametrize("jit_compile", [None, False, True])
@pytest.mark.parametrize("solver", [odes.RungeKutta(10), odes.DormandPrince(1e-5, 1e-5, most_steps=30)])
def test_gradients_pass_through_all_steps(solver, jit_compile):
    """Of x exp(a) and its volume: y^2 / 2 + log |det| has the derivative y^2 + 1 in a, and y exp(a) in x."""
    a, x = tf.constant(0.7), tf.constant([[0.5], [-1.5]])

    def gradients(a, x):
        with tf.GradientTape() as tape:
            tape.watch([a, x])
            y, log_det = odes.transport(lambda x, t: a * x, x, solver)
            value = tf.reduce_sum(0.5 * y**2) + tf.reduce_sum(log_det)
        return y, *tape.gradient(value, [a, x])

    run = gradients if jit_compile is None else tf.function(gradients, jit_compile=jit_compile, autograph=False)
    y, of_a, of_x = run(a, x)
    np.testing.assert_allclose(y, np.exp(0.7) * x, rtol=1e-3)
    assert float(of_a) == pytest.approx(float(np.sum(np.square(y)) + 2), rel=2e-3)
    np.testing.assert_allclose(of_x, y * np.exp(0.7), rtol=2e-3)


def test_solvers_go_by_name_and_refuse_what_is_no_number():
    assert isinstance(odes.get("rk4"), odes.RungeKutta) and odes.get("dormand_prince").rtol == 1e-5
    for solver in (odes.RungeKutta(7), odes.DormandPrince(1e-3, 1e-5, 20)):
        again = type(solver).from_config(solver.get_config())
        assert again.get_config() == solver.get_config()
    assert odes.RungeKutta(7).coarser().steps == 3 and odes.DormandPrince(1e-6).coarser().rtol == pytest.approx(1e-5)
    for call, sentence in [
        (lambda: odes.get("euler"), "solver is 'euler', expected one of dormand_prince, rk4"),
        (lambda: odes.RungeKutta(0), "steps is 0, expected a whole number of at least 1"),
        (lambda: odes.DormandPrince(rtol=0.0), "rtol is 0.0, expected a finite number above 0"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            call()


# As a bijector


@keras.saving.register_keras_serializable("tests")
class Linear(keras.layers.Layer):
    """A x + c (context), whose flow from 0 to 1 without a context is exp(A) x."""

    def call(self, x, t, context=None):
        rate = linear(x, t)
        return rate if context is None else rate + tf.cast(context, x.dtype)


def of_matrix(context=None, **settings):
    inputs = [keras.Input((3,), dtype="float64"), keras.Input((), dtype="float64")]
    inputs += [] if context is None else [keras.Input((3,), dtype="float64")]
    network = keras.Model(inputs, Linear(dtype="float64")(*inputs))
    return bijectors.Continuous(network, odes.DormandPrince(1e-10, 1e-10), dtype="float64", **settings)


def test_a_continuous_flow_of_a_matrix_is_its_exponential():
    bijector, x = of_matrix(), tf.constant(np.random.default_rng(0).normal(size=(4, 3)))
    y, log_det = bijector.forward(x)
    np.testing.assert_allclose(y, x @ scipy.linalg.expm(MATRIX).T, atol=1e-7)
    np.testing.assert_allclose(log_det, np.trace(MATRIX), atol=1e-7)
    np.testing.assert_allclose(bijector.inverse(y), x, atol=1e-7)


def test_a_continuous_flow_takes_a_context_both_ways():
    bijector, random = of_matrix(context=3), np.random.default_rng(0)
    x, context = tf.constant(random.normal(size=(4, 3))), tf.constant(random.normal(size=(4, 3)))
    exponential = scipy.linalg.expm(MATRIX)
    # Of x' = A x + c: exp(A) x + A^-1 (exp(A) - 1) c.
    shift = context @ (np.linalg.inv(MATRIX) @ (exponential - np.eye(3))).T
    y, _ = bijector.forward(x, context=context)
    np.testing.assert_allclose(y, x @ exponential.T + shift, atol=1e-7)
    np.testing.assert_allclose(bijector.inverse(y, context=context), x, atol=1e-7)
    with pytest.raises(ValueError, match="depends on a context and was given none"):
        bijector.forward(x)


def test_hutchinsons_noise_is_drawn_anew_in_training_and_nowhere_else():
    bijector, x = of_matrix(trace="hutchinson", seed=0), tf.constant(np.random.default_rng(0).normal(size=(500, 3)))
    exact = bijector.forward(x)[1]
    np.testing.assert_allclose(exact, np.trace(MATRIX), atol=1e-7)
    first, second = (bijector.forward(x, training=True)[1].numpy() for _ in range(2))
    assert np.abs(first - second).max() > 0.1
    assert first.mean() == pytest.approx(np.trace(MATRIX), abs=4 * first.std() / np.sqrt(500))
    assert int(bijector._random.counter) == 2
    np.testing.assert_array_equal(bijector.forward(x)[1], exact)


def test_a_fresh_continuous_flow_is_the_identity_and_its_config_makes_it_anew():
    bijector = bijectors.Continuous(networks.dense_velocity(3, (8, 5), context=2))
    random = np.random.default_rng(0)
    x, context = random.normal(size=(4, 3)).astype("float32"), random.normal(size=(4, 2)).astype("float32")
    y, log_det = bijector.forward(tf.constant(x), context=tf.constant(context))
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(log_det, 0)
    again = type(bijector).from_config(bijector.get_config())
    assert again.get_config() == bijector.get_config() and again.conditional
    with pytest.raises(ValueError, match="expected rows, times of shape"):
        bijectors.Continuous(networks.dense_coupling(3, 3, 8))
    with pytest.raises(ValueError, match="trace is 'full', expected 'exact' or 'hutchinson'"):
        bijectors.Continuous(networks.dense_velocity(3), trace="full")
