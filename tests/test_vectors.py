"""Densities of vectors: against zuko on the same parameters, against integrals, and against posteriors that are known."""

from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo import bijectors, flows, networks

REFERENCE = Path(__file__).parent / "data" / "flows_reference.npz"
SMALL = {"transforms": 2, "hidden": (16, 16)}
KINDS = {
    "NSF": lambda features, context=None, **settings: flows.NSF(features, context, **SMALL, **settings),
    "MAF": lambda features, context=None, **settings: flows.MAF(features, context, **SMALL, **settings),
    "RealNVP": lambda features, context=None, **settings: flows.RealNVP(features, context, **SMALL, **settings),
    "FFJORD": lambda features, context=None, **settings: flows.FFJORD(features, context, (16,), **settings),
}


def moved(flow, size=0.2, seed=0):
    """The flow with its weights moved, so that it is not the identity."""
    random = np.random.default_rng(seed)
    for variable in flow.trainable_variables:
        variable.assign(variable + size * random.normal(size=variable.shape))
    return flow


# Against another implementation


def as_stored(flow, reference, name):
    """A flow with the parameters of scripts/reference_flows.py."""
    layers = [each for each in flow.bijectors if isinstance(each, bijectors.Autoregressive)]
    for number, layer in enumerate(layers):
        kernel, bias, of_context, *rest = (reference[f"{name} {number} {index}"] for index in range(7))
        layer.network.get_layer("of_context").set_weights([of_context])
        for place, pair in (("hidden1", [kernel, bias]), ("hidden2", rest[:2]), ("parameters", rest[2:])):
            layer.network.get_layer(place).set_weights(pair)
    return flow


@pytest.mark.parametrize("name", ["spline", "affine"])
def test_densities_and_inverses_are_those_of_zuko_on_the_same_parameters(name):
    sizes = {"context": 2, "transforms": 2, "hidden": (7, 5)}
    flow = flows.NSF(3, **sizes, bins=6, bound=4.0) if name == "spline" else flows.MAF(3, **sizes)
    with np.load(REFERENCE) as reference:
        flow = as_stored(flow, reference, name)
        context = reference["context"]
        np.testing.assert_allclose(flow(context).log_prob(reference["x"]), reference[f"{name} log_prob"], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(flow._inverse(reference["z"], context), reference[f"{name} inverse"], rtol=1e-4, atol=1e-4)
        assert np.ptp(reference[f"{name} log_prob"]) > 3


# Against integrals, and themselves


@pytest.mark.parametrize("kind", KINDS)
def test_densities_given_a_context_integrate_to_one_and_depend_on_it(kind):
    flow = moved(KINDS[kind](2, 3))
    line = (np.arange(300) + 0.5) / 300 * 16 - 8
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2).astype("float32")
    contexts = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    densities = [np.exp(flow(context).log_prob(grid)) for context in contexts]
    for density in densities:
        assert density.sum() * (16 / 300) ** 2 == pytest.approx(1, abs=0.01)
    assert np.abs(densities[0] - densities[1]).max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_of_the_density(kind):
    """The mean of log p over draws and over the grid, each cell as likely as the density says, is the same."""
    flow = moved(KINDS[kind](2))
    line = (np.arange(300) + 0.5) / 300 * 16 - 8
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2).astype("float32")
    log_p = flow.log_prob(grid).numpy().astype("float64")
    expected = np.sum(np.exp(log_p) * log_p) * (16 / 300) ** 2
    draws = flow().sample(5000, seed=0)
    found = flow().log_prob(draws).numpy()
    assert draws.dtype == np.float32 and draws.shape == (5000, 2)
    assert found.mean() == pytest.approx(expected, abs=4 * found.std() / np.sqrt(5000) + 0.01)
    np.testing.assert_array_equal(draws, flow.sample(5000, seed=0))
    assert np.abs(draws - flow.sample(5000, seed=1)).max() > 0.1


def test_every_number_depends_on_the_context_and_a_single_one_too():
    for features in (1, 3):
        flow = moved(flows.MAF(features, 2, transforms=1, hidden=(8,)))
        x = np.zeros((1, features), "float32")
        first, second = (flow._inverse(x, np.full((1, 2), value, "float32")) for value in (-1.0, 1.0))
        assert np.abs(first - second).min() > 1e-3


def test_contexts_go_by_row_or_one_for_all():
    flow = moved(flows.NSF(2, 1, **SMALL))
    contexts = np.array([[-1.0], [0.5], [2.0]], "float32")
    one = flow.sample(4000, contexts[1], seed=0)
    many = flow(contexts).sample(4000, seed=0)
    assert one.shape == (4000, 2) and many.shape == (4000, 3, 2)
    np.testing.assert_allclose(many[:, 1].mean(axis=0), one.mean(axis=0), atol=0.1)
    x = np.random.default_rng(0).normal(size=(3, 2)).astype("float32")
    together = flow(contexts).log_prob(x)
    alone = [float(flow(context).log_prob(row[None])[0]) for context, row in zip(contexts, x, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)
    compiled = tf.function(lambda x: flow.log_prob(x, contexts[0]), autograph=False)  # as a target of another flow
    np.testing.assert_allclose(compiled(tf.constant(x)), flow.log_prob(x, contexts[0]), rtol=1e-5, atol=1e-5)


# Training


def test_the_scales_of_the_data_are_taken_before_the_first_step_and_once():
    flow = flows.MAF(2, transforms=1, hidden=(8,), seed=0)
    flow.compile(keras.optimizers.SGD(0.0))
    x = np.random.default_rng(0).normal([100, -3], [0.05, 20], size=(2000, 2)).astype("float32")
    loss = flow.fit(x, verbose=0).history["loss"][0]
    exact = -scipy.stats.norm([100, -3], [0.05, 20]).logpdf(x).sum(axis=1).mean()
    assert loss == pytest.approx(exact, abs=0.05)
    assert flow.evaluate(x, verbose=0) == pytest.approx(loss, abs=1e-3)
    before = flow.bijectors[0].bias.numpy()
    flow.fit(tf.data.Dataset.from_tensor_slices(x[:64] + 1).batch(32), verbose=0)
    np.testing.assert_array_equal(flow.bijectors[0].bias, before)


def test_a_continuous_flow_trains_compiled_by_xla_as_without():
    random = np.random.default_rng(0)
    x, context = random.normal(size=(64, 2)), random.normal(size=(64, 1))
    found = []
    for jit_compile in (False, True):
        flow = flows.FFJORD(2, 1, (8,), gz.odes.RungeKutta(2), seed=0)
        for index, variable in enumerate(flow.trainable_variables):
            variable.assign(0.3 * np.random.default_rng(index).normal(size=variable.shape))
        flow.compile(keras.optimizers.Adam(1e-2), jit_compile=jit_compile)
        # Lists of rows are taken too.
        found.append(flow.fit(x.tolist(), context.tolist(), epochs=3, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(*found, rtol=1e-4)


def linear_simulator(n, seed):
    """theta ~ N(0, 1), y = A theta + noise: parameters and observations."""
    random = np.random.default_rng(seed)
    theta = random.normal(size=(n, 2))
    return theta.astype("float32"), (theta @ A.T + 0.4 * random.normal(size=(n, 3))).astype("float32")


A = np.array([[1.0, 0.5], [-0.3, 0.8], [0.6, -1.0]])


@pytest.mark.slow
def test_the_posterior_of_a_linear_simulator_is_found():
    """Known in closed form: of Gaussians, with the precision 1 + A^T A / 0.4^2."""
    theta, y = linear_simulator(20_000, 0)
    flow = flows.NSF(2, context=3, transforms=2, hidden=(32, 32), seed=0)
    flow.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, 1600)), steps_per_execution=20)
    flow.fit(theta, y, batch_size=250, epochs=20, verbose=0)
    covariance = np.linalg.inv(np.eye(2) + A.T @ A / 0.16)
    theta, y = linear_simulator(2000, 1)
    exact = scipy.stats.multivariate_normal(cov=covariance).logpdf(theta - y @ A @ covariance / 0.16)
    gap = exact - flow(y).log_prob(theta).numpy()
    assert -0.01 < gap.mean() < 0.05  # the mean divergence of the posteriors, in nats
    observed = np.array([1.0, -0.5, 0.2], "float32")
    draws = flow(observed).sample(5000, seed=0)
    np.testing.assert_allclose(draws.mean(axis=0), observed @ A @ covariance / 0.16, atol=0.05)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.02)


def correlated(x):
    """log of a Gaussian in two dimensions, times a factor of e^1.5 over its integral."""
    first, second = x[:, 0] - 1.0, x[:, 1] + 0.5
    return 1.5 - 0.5 * (first**2 - 1.6 * first * second + second**2) / 0.36


LOG_Z = 1.5 + np.log(2 * np.pi * 0.6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RealNVP", "NSF"])
def test_a_known_density_is_reached_without_data_and_its_integral_with_it(kind):
    flow = KINDS[kind](2, seed=0)
    flow.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, 1500)))
    losses = flow.fit_to(correlated, steps=500, epochs=3, verbose=0).history["loss"]
    assert -losses[-1] == pytest.approx(LOG_Z, abs=0.03) and losses[-1] > -LOG_Z - 0.01
    draws = flow.sample(5000, seed=0)
    np.testing.assert_allclose(draws.mean(axis=0), [1.0, -0.5], atol=0.06)
    np.testing.assert_allclose(np.cov(draws.T), [[1, 0.8], [0.8, 1]], atol=0.08)


def test_the_reverse_divergence_is_that_of_the_density_as_it_is():
    """Of a fresh flow, N(0, 1), and N(m, 1) for each context m: half the squared distance, less the logarithm of the factor."""
    flow = flows.RealNVP(2, context=2, **SMALL, seed=0)
    flow.compile(keras.optimizers.SGD(0.0))
    contexts = np.array([[1.0, 2.0]], "float32")
    target = lambda x, m: -0.5 * tf.reduce_sum(tf.square(x - m), axis=1)  # noqa: E731
    loss = flow.fit_to(target, contexts, steps=20, batch_size=1000, verbose=0).history["loss"][0]
    assert loss == pytest.approx(2.5 - np.log(2 * np.pi), abs=0.06)
    x = np.random.default_rng(0).normal(size=(100, 2)).astype("float32")
    # What `fit` lowers after it is the likelihood of data again.
    loss = flow.fit(x, np.zeros_like(x), batch_size=100, verbose=0).history["loss"][0]
    assert loss == pytest.approx(-np.mean(flow.log_prob(x, [0.0, 0.0])), abs=1e-3)


@pytest.mark.slow
def test_a_continuous_flow_learns_two_modes_by_either_trace():
    random = np.random.default_rng(0)
    centres, std = np.array([[-1.0, 0.5], [1.0, -0.5]]), 0.4
    x, held_out = (
        (centres[random.integers(2, size=n)] + std * random.normal(size=(n, 2))).astype("float32") for n in (10_000, 2000)
    )
    parts = [scipy.stats.multivariate_normal(centre, std**2).pdf(held_out) for centre in centres]
    exact = np.log(0.5 * np.sum(parts, axis=0)).mean()
    for trace in ("exact", "hutchinson"):
        flow = flows.FFJORD(2, hidden=(32, 32), solver=gz.odes.RungeKutta(8), trace=trace, seed=0)
        flow.compile(keras.optimizers.Adam(5e-3), steps_per_execution=10)
        flow.fit(x, batch_size=250, epochs=15, verbose=0)
        found = float(np.mean(flow.log_prob(held_out)))
        assert exact - 0.12 < found < exact + 0.02, trace


# Files, and what is refused


@pytest.mark.parametrize("kind", KINDS)
def test_a_density_is_loaded_whole_and_trains_on(kind, tmp_path):
    settings = {"trace": "hutchinson"} if kind == "FFJORD" else {}
    flow = KINDS[kind](2, 1, **settings, seed=0)
    random = np.random.default_rng(0)
    x, context = random.normal(size=(64, 2)).astype("float32"), random.normal(size=(64, 1)).astype("float32")
    flow.fit(x, context, epochs=2, shuffle=False, verbose=0)
    flow.save(tmp_path / "flow.keras")
    again = keras.saving.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(again.log_prob(x, context), flow.log_prob(x, context))
    np.testing.assert_array_equal(again(context[0]).sample(5, seed=1), flow(context[0]).sample(5, seed=1))
    for each in (flow, again):
        each.fit(x, context, shuffle=False, verbose=0)
    np.testing.assert_array_equal(again.log_prob(x, context), flow.log_prob(x, context))
    assert np.isfinite(flow.log_prob(x, context)).all()


def test_what_does_not_fit_is_one_sentence(replicas):
    plain, told = flows.NSF(2, **SMALL), flows.NSF(2, 3, **SMALL)
    x = np.zeros((4, 2), "float32")
    for call, sentence in [
        (lambda: plain.log_prob(np.zeros((4, 3))), r"x has shape \(4, 3\), expected \(n, 2\) of at least one row"),
        (lambda: plain.log_prob(np.zeros(2)), r"x has shape \(2,\), expected \(n, 2\)"),
        (lambda: plain([0.0]).log_prob(x), "depends on no context"),
        (lambda: told().sample(3), "context is None, but .* depends on a context of 3 numbers"),
        (lambda: told(np.zeros((5, 3))).log_prob(x), "there are 5 contexts for 4 rows"),
        (lambda: told(np.zeros(2)).log_prob(x), r"context has shape \(4, 2\), expected \(n, 3\)"),
        (lambda: told.fit(x, verbose=0), "the batches have no second part, and the context of .* is 3"),
        (lambda: plain.fit(x, x, verbose=0), "the batches have a second part, and the context of .* is None"),
        (lambda: plain.fit(x, sample_weight=np.ones(4), verbose=0), "sample weights came"),
        (lambda: told(np.zeros((0, 3))).sample(3), r"context has shape \(0, 3\), expected \(n, 3\) of at least one row"),
        (lambda: plain.log_prob([[0.0, np.nan]]), "x holds NaN or infinite values"),
        (lambda: told([np.inf] * 3).log_prob(x), "context holds NaN or infinite values"),
        (lambda: plain.fit(np.full((5000, 2), np.nan), verbose=0), "x holds NaN or infinite values"),
        (
            lambda: plain.fit_to(lambda x: x[:, :1], steps=1, verbose=0),
            r"log_density returned shape \(.*, 1\), expected \(batch,\)",
        ),
        (lambda: plain.sample(0), "n is 0, expected a whole number of at least 1"),
        (lambda: flows.RealNVP(1), "features is 1, and a coupling needs a number that stays"),
        (lambda: flows.Density([bijectors.Planar(2, context=3)], 2), "context is None, and the bijectors depend on a context"),
        (lambda: flows.Density([bijectors.ActNorm(2)], 2, 3), "context is 3, and the bijectors depend on no context"),
        (lambda: flows.Density([bijectors.Flatten((1, 2))], 2, 0), "context is 0"),
        (lambda: networks.made(2, 2, (4, 4), depth=3), "width holds 2 numbers for depth=3"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            call()
    with replicas.scope(), pytest.raises(ValueError, match="a Density trains on one device"):
        flows.NSF(2, **SMALL)
