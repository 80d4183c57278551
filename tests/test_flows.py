"""Bijectors against their own inverses and automatic differentiation; flows against known densities."""

import math
import resource

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_genzoo as gz
from keras_genzoo import bijectors, networks
from keras_genzoo.recipes.building import policy
from keras_genzoo.recipes.flows import _levels
from keras_genzoo.recipes.vaes import _flow

IMAGE, VECTOR = (2, 4, 3), (5,)


def conv(elementwise, inputs=1, outputs=2, size=IMAGE):
    return networks.conv_coupling((*size[:2], inputs), outputs * bijectors.ELEMENTWISE[elementwise]().parameters, 4)


def coupling(elementwise, flip=False):
    stays = 3 - 1 if flip else 1
    return bijectors.Coupling(conv(elementwise, stays, 3 - stays), elementwise, flip=flip)


def checkerboard(elementwise, flip=False):
    return bijectors.Coupling(conv(elementwise, 3, 3), elementwise, "checkerboard", flip)


def autoregressive(elementwise):
    return bijectors.Autoregressive(networks.made(5, bijectors.ELEMENTWISE[elementwise]().parameters, 16), elementwise)


def levels():
    make_steps = lambda shape, scale: [bijectors.ActNorm(shape[-1]), bijectors.InvertibleConvolution(shape[-1])]  # noqa: E731
    return _levels((5, 7, 2), 2, lambda shape, scale: [], make_steps)


BIJECTORS = {  # name -> function that makes it, and the shape it takes
    "additive coupling": (lambda: coupling("additive"), IMAGE),
    "affine coupling": (lambda: coupling("affine"), IMAGE),
    "affine coupling, flipped": (lambda: coupling("affine", flip=True), IMAGE),
    "spline coupling": (lambda: coupling("spline"), IMAGE),
    "sigmoid coupling": (lambda: coupling("sigmoid"), IMAGE),
    "affine checkerboard": (lambda: checkerboard("affine"), IMAGE),
    "spline checkerboard, flipped": (lambda: checkerboard("spline", flip=True), IMAGE),
    "dense coupling": (lambda: bijectors.Coupling(networks.dense_coupling(2, 6, 8)), VECTOR),
    "masked autoregressive": (lambda: autoregressive("affine"), VECTOR),
    "masked autoregressive spline": (lambda: autoregressive("spline"), VECTOR),
    "inverse autoregressive": (lambda: bijectors.Inverted(autoregressive("affine")), VECTOR),
    "inverted planar": (lambda: bijectors.Inverted(bijectors.Planar(5)), VECTOR),
    "inverted radial": (lambda: bijectors.Inverted(bijectors.Radial(5)), VECTOR),
    "pointwise spline": (lambda: bijectors.Pointwise(IMAGE), IMAGE),
    "activation normalisation": (lambda: bijectors.ActNorm(3), IMAGE),
    "activation normalisation of vectors": (lambda: bijectors.ActNorm(5), VECTOR),
    "channels scaled and shifted": (lambda: bijectors.ActNorm(3, from_data=False), IMAGE),
    "1x1 convolution": (lambda: bijectors.InvertibleConvolution(3), IMAGE),
    "1x1 convolution of vectors": (lambda: bijectors.InvertibleConvolution(5), VECTOR),
    "permutation": (lambda: bijectors.Permutation([2, 0, 1]), IMAGE),
    "squeeze": (bijectors.Squeeze, IMAGE),
    "flatten": (lambda: bijectors.Flatten(IMAGE), IMAGE),
    "channels factored out": (lambda: bijectors.FactorOut(IMAGE, bijectors.Flatten((2, 4, 2))), IMAGE),
    "a row factored out": (lambda: bijectors.FactorOut(IMAGE, bijectors.Flatten((1, 4, 3)), "row"), IMAGE),
    "a column factored out": (lambda: bijectors.FactorOut(IMAGE, bijectors.Flatten((2, 3, 3)), "column"), IMAGE),
    "logit": (lambda: bijectors.Logit(0.05), IMAGE),
    "untruncated": (lambda: bijectors.Untruncate(4.0), IMAGE),
    "scale": (lambda: bijectors.Scale(-3.0, 0.5), IMAGE),
    "planar": (lambda: bijectors.Planar(5), VECTOR),
    "radial": (lambda: bijectors.Radial(5), VECTOR),
    "chain": (lambda: bijectors.Chain([bijectors.ActNorm(3), coupling("affine"), bijectors.Flatten(IMAGE)]), IMAGE),
    "levels of an odd image": (levels, (5, 7, 2)),
}


def made_with(name, dtype, seed=0):
    """The bijector in a precision, its weights moved so that it is nobody's identity, and inputs of its domain."""
    make, shape = BIJECTORS[name]
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        bijector = make()
    finally:
        keras.config.set_dtype_policy(before)
    random = np.random.default_rng(seed)
    for variable in bijector.trainable_variables:
        variable.assign(variable + 0.3 * random.normal(size=variable.shape))
    x = random.uniform(size=(4, *shape)) if name == "logit" else 1.5 * random.normal(size=(4, *shape))
    return bijector, x.astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["planar", "1x1 convolution", "chain"])
def test_a_bijector_that_is_called_goes_forward(name, dtype):
    make, shape = BIJECTORS[name]
    with policy(dtype):
        bijector = make()
    x = np.random.default_rng(0).random((4, *shape)).astype("float32")
    for called, forward in zip(bijector(x), bijector.forward(tf.constant(x)), strict=True):
        assert called.dtype == forward.dtype
        np.testing.assert_array_equal(called, forward)


def test_a_bijector_with_a_context_is_called_with_it():
    bijector, context = bijectors.Planar(3, context=2), np.ones((4, 2), "float32")
    x = np.random.default_rng(0).random((4, 3)).astype("float32")
    np.testing.assert_array_equal(bijector(x, context=context)[0], bijector.forward(x, context=context)[0])
    with pytest.raises(ValueError, match="depends on a context and was given none"):
        bijector(x)


def log_determinant(bijector, x):
    """log |det| of the Jacobian by automatic differentiation, `(batch,)`."""
    size = x[0].size
    # Each input so many times as it has outputs, and of the i-th copy the gradient of the i-th: one pass back for all rows.
    with tf.GradientTape() as tape:
        inputs = tf.constant(np.repeat(x, size, axis=0))
        tape.watch(inputs)
        outputs = tf.reshape(bijector.forward(inputs)[0], (len(x), size, size))
        each = tf.linalg.diag_part(outputs)
    jacobian = tape.gradient(each, inputs).numpy().astype("float64")
    return np.linalg.slogdet(jacobian.reshape(len(x), size, size))[1]


def there_and_back(x, bijector):
    y, log_det = bijector.forward(x)
    return (y, log_det), bijector.inverse(y)


@pytest.mark.parametrize("name", BIJECTORS)
def test_the_inverse_undoes_and_the_log_determinant_is_that_of_the_jacobian(name):
    for dtype, tolerance in (("float32", 1e-4), ("float64", 1e-9)):
        bijector, x = made_with(name, dtype)
        y, log_det = bijector.forward(tf.constant(x))
        assert y.dtype == log_det.dtype == dtype and log_det.shape == (4,)
        np.testing.assert_allclose(bijector.inverse(y), x, atol=tolerance, rtol=tolerance)
        exact = log_determinant(bijector, x)
        np.testing.assert_allclose(log_det, exact, atol=1e-4 if dtype == "float32" else 1e-6)
        for jit_compile in (False, True) if dtype == "float32" else ():
            (again, same), back = tf.function(there_and_back, jit_compile=jit_compile)(x, bijector)
            np.testing.assert_allclose(again, y, atol=1e-4, rtol=1e-4)
            np.testing.assert_allclose(same, exact, atol=1e-4)
            np.testing.assert_allclose(back, x, atol=1e-4, rtol=1e-4)


COUPLINGS = [name for name in BIJECTORS if ("coupling" in name or "autoregressive" in name) and "sigmoid" not in name]


@pytest.mark.parametrize("name", COUPLINGS)
def test_a_fresh_coupling_is_the_identity(name):
    make, shape = BIJECTORS[name]
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    y, log_det = make().forward(x)
    np.testing.assert_allclose(y, x, atol=1e-5)
    np.testing.assert_allclose(log_det, 0, atol=1e-4)


def test_splines_are_monotone_and_the_identity_in_their_tails():
    spline = bijectors.Spline(bins=5, bound=2.0)
    parameters = tf.constant(3 * np.random.default_rng(0).normal(size=(1, spline.parameters)), tf.float64)
    x = np.linspace(-4, 4, 200_001)
    y, log_slope = (v.numpy() for v in spline.forward(tf.constant(x), parameters))
    assert np.all(np.diff(y) > 0)
    np.testing.assert_array_equal(y[np.abs(x) >= 2], x[np.abs(x) >= 2])
    np.testing.assert_array_equal(log_slope[np.abs(x) >= 2], 0)
    middle = np.abs(x) < 1.99
    np.testing.assert_allclose(np.exp(log_slope)[middle], np.gradient(y, x)[middle], rtol=0.02)
    np.testing.assert_allclose(spline.inverse(tf.constant(y), parameters), x, atol=1e-9)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_an_inverted_autoregressive_layer_has_gradients(jit_compile):
    layer, x = made_with("inverse autoregressive", "float32")

    def loss(x):
        y, log_det = layer.forward(x)
        return tf.reduce_sum(y**2) - tf.reduce_sum(log_det)

    def gradients(x):
        with tf.GradientTape() as tape:
            value = loss(x)
        return tape.gradient(value, layer.trainable_variables)

    found = tf.function(gradients, jit_compile=jit_compile)(x)
    variable, gradient, step = layer.trainable_variables[0], found[0], 1e-2
    values = []
    for sign in (1, -1):
        variable.assign_add(sign * step * gradient / tf.norm(gradient))
        values.append(float(loss(x)))
        variable.assign_add(-sign * step * gradient / tf.norm(gradient))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(tf.norm(gradient)), rel=0.02)


def test_log_scales_of_couplings_are_bounded():
    x = tf.ones((3, 2))
    for size in (-1e6, 1e6):
        y, log_slope = bijectors.Affine(limit=3.0).forward(x, tf.fill((3, 2, 2), size))
        np.testing.assert_allclose(log_slope, np.sign(size) * 3.0, rtol=1e-5)
        assert np.isfinite(y).all()


def test_an_autoregressive_inverse_stays_finite_where_no_data_are():
    layer = bijectors.Autoregressive(networks.made(400, 2, 32))
    random = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign(random.normal(size=variable.shape))  # not trained
    y = tf.constant(3 * random.normal(size=(4, 400)), tf.float32)
    assert np.abs(layer.inverse(y)).max() < 1e7


def test_degrees_of_few_units_reach_as_far_as_those_of_many():
    network = networks.made(40, 1, width=4, depth=1)
    network.set_weights([np.ones(w.shape) for w in network.get_weights()])
    with tf.GradientTape() as tape:
        x = tf.ones((1, 40))
        tape.watch(x)
        last = network(x)[0, -1]
    assert np.flatnonzero(tape.gradient(last, x)[0]).tolist() == list(range(30))  # units of degrees 1, 10, 20, 30


def test_an_autoregressive_layer_of_other_layers_comes_back():
    from keras_genzoo.layers import MaskedDense

    degrees, elements = [1, 1, 2, 2], [1, 2, 3]
    inputs = keras.Input((3,))
    hidden = MaskedDense(4, elements, degrees, activation="tanh", name="hidden")(inputs)
    outputs = MaskedDense(6, degrees, [0, 0, 1, 1, 2, 2], name="last")(hidden)
    layer = bijectors.Autoregressive(keras.Model(inputs, outputs))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    np.testing.assert_allclose(layer.inverse(layer.forward(tf.constant(x))[0]), x, atol=1e-5)


def test_planar_knows_its_slope_where_it_is_nearly_flat():
    layer = bijectors.Planar(2)
    layer.values.assign([-30.0, 0.0, 1.0, 0.0, 0.0])  # u, w, b: w u = -30 before it is made allowed
    y, log_det = layer.forward(tf.constant([[0.0, 1.0], [1e-5, 1.0], [0.5, -2.0]]))
    above = np.log1p(np.exp(-30.0) * (np.e - 1))  # 1 + w u, the slope at 0; u is about (-1, 0) then
    np.testing.assert_allclose(y, [[0.0, 1.0], [0.0, 1.0], [0.5 - np.tanh(0.5), -2.0]], atol=1e-6)
    np.testing.assert_allclose(log_det, np.log(np.tanh([0.0, 1e-5, 0.5]) ** 2 + above), rtol=1e-3)


def test_splines_of_narrow_bins_are_finite_in_float32_wherever_they_are_asked():
    spline, random = bijectors.Spline(16, 4.0, 1e-4), np.random.default_rng(0)
    parameters = tf.constant(8 * random.normal(size=(300, 1, spline.parameters)), tf.float32)
    begins, widths = (each.numpy() for each in spline._knots(parameters[..., :16]))
    knots = np.concatenate([begins, begins + widths], axis=-1)[:, 0]
    near = [np.nextafter(knots, -9, dtype="float32"), knots, np.nextafter(knots, 9, dtype="float32")]
    x = tf.constant(np.concatenate([*near, random.uniform(-4, 4, (300, 200))], axis=1), tf.float32)
    y, log_slope = spline.forward(x, parameters)
    assert np.isfinite(y).all() and np.isfinite(log_slope).all()
    assert np.isfinite(spline.inverse(y, parameters)).all()


def test_made_sees_none_but_the_elements_before():
    network = networks.made(6, 3, width=32, depth=2)
    network.set_weights([np.random.default_rng(i).normal(size=w.shape) for i, w in enumerate(network.get_weights())])
    with tf.GradientTape(persistent=True) as tape:
        x = tf.constant(np.random.default_rng(0).normal(size=(1, 6)), tf.float32)
        tape.watch(x)
        outputs = tf.reshape(network(x), (1, 6, 3))
    sees = np.abs(tape.batch_jacobian(outputs, x, experimental_use_pfor=False)[0]).max(axis=1) > 0
    np.testing.assert_array_equal(sees, np.tril(np.ones((6, 6), bool), -1))


def test_activation_normalisation_makes_the_first_batch_standard():
    norm = bijectors.ActNorm(3)
    x = np.random.default_rng(0).normal([1, -5, 20], [0.1, 2, 7], size=(64, 4, 4, 3)).astype("float32")
    y = norm.initialize(tf.constant(x))
    np.testing.assert_allclose(np.mean(y, axis=(0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(np.std(y, axis=(0, 1, 2)), 1, atol=1e-3)


@pytest.mark.parametrize("rows", [np.zeros((32, 3)), np.ones((32, 3)), np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 4.0]])])
def test_activation_normalisation_of_few_or_equal_vectors_begins_with_bounded_scales(rows):
    norm = bijectors.ActNorm(3)
    y = norm.initialize(tf.constant(rows, tf.float32))
    assert np.abs(y).max() < 10 and np.abs(norm.log_scale).max() < np.log(10)


def test_activation_normalisation_of_one_vector_keeps_its_scale():
    norm = bijectors.ActNorm(3)
    np.testing.assert_allclose(norm.initialize(tf.constant([[1.0, 2.0, 3.0]])), 0, atol=1e-6)
    np.testing.assert_allclose(norm.log_scale, 0, atol=1e-6)


def test_activation_normalisation_takes_its_values_on_every_replica(replicas, images):
    with replicas.scope():
        chain = [bijectors.ActNorm(1), bijectors.Flatten((8, 8, 1))]
        model = gz.models.Flow(chain, (8, 8, 1), seed=0)
        model.compile(keras.optimizers.SGD(0.0))
    model.fit(images, batch_size=8, shuffle=False, verbose=0)
    points = (images + 0.5) / 256
    # With two images of even noise, each pixel of which is once 1/4 and once 3/4.
    mean, second = ((16 * each + 2 * of_noise) / 18 for each, of_noise in ((points.mean(), 1 / 2), ((points**2).mean(), 5 / 16)))
    for bias, log_scale in zip(chain[0].bias.value.values, chain[0].log_scale.value.values, strict=True):
        assert float(bias[0]) == pytest.approx(-mean, abs=1e-3)
        assert float(log_scale[0]) == pytest.approx(-0.5 * np.log(second - mean**2), abs=1e-2)


def test_the_flow_of_a_posterior_takes_its_values_from_the_first_codes(images):
    norm = bijectors.ActNorm(3)
    encoder = networks.mlp((8, 8, 1), 3, width=8, depth=1, heads=("mu", "log_variance"), name="encoder")
    model = gz.models.VAE(encoder, networks.mlp(3, (8, 8, 1), width=8, depth=1, output_activation="sigmoid"), posterior_flow=norm)
    model.compile(keras.optimizers.SGD(0.0))
    model.fit(images, batch_size=16, epochs=1, verbose=0)
    assert np.abs(norm.bias).min() > 0
    mu, log_variance = encoder(images / np.float32(255))
    spread = np.sqrt(np.var(mu, axis=0) + np.mean(np.exp(log_variance), axis=0))
    np.testing.assert_allclose(np.exp(-norm.log_scale), spread, rtol=0.6)  # of few draws


def test_pointwise_splines_make_the_first_batch_normal():
    random = np.random.default_rng(0)
    x = np.stack([random.uniform(0, 0.1, 5000), random.beta(0.5, 0.5, 5000), random.normal(size=5000) ** 3 / 20], axis=1)
    layer = bijectors.Pointwise((3,), bijectors.Spline(16, smallest=1e-4))
    y = layer.initialize(tf.constant(x - 0.3, tf.float32)).numpy()
    for level in (0.05, 0.3, 0.5, 0.8, 0.95):
        np.testing.assert_allclose(np.quantile(y, level, axis=0), scipy.stats.norm.ppf(level), atol=0.1)


def test_planar_and_radial_stay_invertible_wherever_their_weights_go():
    x = tf.constant(3 * np.random.default_rng(1).normal(size=(50, 5)), tf.float64)
    for name in ("planar", "radial"):
        for seed in range(5):
            bijector, _ = made_with(name, "float64", seed)
            for variable in bijector.trainable_variables:
                variable.assign(5 * np.random.default_rng(seed).normal(size=variable.shape))
            y, log_det = bijector.forward(x)
            assert np.isfinite(log_det).all()
            np.testing.assert_allclose(bijector.inverse(y), x, atol=1e-8)


@settings(max_examples=12, deadline=None)
@given(st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 2)), st.integers(0, 2), st.sampled_from([(0,), (1, 2)]))
@pytest.mark.slow
def test_levels_take_images_of_any_size(shape, levels, checkerboard):
    sizes = {"levels": max(levels, 1), "steps": 1, "width": 4, "dense_width": 4}
    model = gz.build("glow", shape, seed=0, **sizes, checkerboard=checkerboard[: levels + 1])
    chain = bijectors.Chain(model.bijectors)
    random = np.random.default_rng(0)
    for variable in chain.trainable_variables:
        variable.assign(variable + 0.1 * random.normal(size=variable.shape))
    x = random.uniform(0.1, 0.9, size=(2, *shape)).astype("float32")
    y, log_det = chain.forward(tf.constant(x))
    assert y.shape == (2, math.prod(shape))
    np.testing.assert_allclose(chain.inverse(y), x, atol=1e-4)
    np.testing.assert_allclose(log_det, log_determinant(chain, x), atol=1e-4, rtol=1e-4)


def of_context(make, dtype="float64", seed=0):
    """A bijector that depends on a context of three numbers, in a precision, its weights moved."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        bijector = make()
    finally:
        keras.config.set_dtype_policy(before)
    random = np.random.default_rng(seed)
    for variable in bijector.trainable_variables:
        variable.assign(variable + 0.3 * random.normal(size=variable.shape))
    return bijector


def told_coupling():
    return bijectors.Coupling(networks.dense_coupling(2, 6, 8, context=3))


def told_levels():
    rest = bijectors.Chain([bijectors.Flatten((2, 4, 2)), bijectors.Planar(16, context=3)])
    network = networks.conv_coupling((2, 4, 1), 4, 4, context=3)
    return bijectors.Chain([bijectors.ActNorm(3), bijectors.Coupling(network), bijectors.FactorOut(IMAGE, rest)])


def told_residuals():
    return bijectors.Coupling(networks.residual_coupling(IMAGE, 6, 4, 1, normalization=None, context=3), mask="checkerboard")


def of_other_layers():
    """Autoregressive, and no chain of layers: a context that is added twice."""
    network = networks.made(5, 2, 16, context=3)
    of_outputs = keras.layers.Dense(10, use_bias=False)(network.inputs[1])
    return bijectors.Autoregressive(keras.Model(network.inputs, network.outputs[0] + of_outputs))


WITH_CONTEXT = {
    "planar": (lambda: bijectors.Planar(5, context=3), VECTOR),
    "autoregressive": (lambda: bijectors.Autoregressive(networks.made(5, 2, 16, context=3)), VECTOR),
    "autoregressive splines": (lambda: bijectors.Autoregressive(networks.made(5, 23, 16, context=3), "spline"), VECTOR),
    "autoregressive of other layers": (of_other_layers, VECTOR),
    "inverse autoregressive": (
        lambda: bijectors.Inverted(bijectors.Autoregressive(networks.made(5, 2, 16, context=3))),
        VECTOR,
    ),
    "coupling": (told_coupling, VECTOR),
    "inverted coupling": (lambda: bijectors.Inverted(told_coupling()), VECTOR),
    "checkerboard": (told_residuals, IMAGE),
    "levels": (told_levels, IMAGE),
    "planar flow of a posterior": (lambda: bijectors.Chain(_flow("planar", 3, 2, 16)), (3,)),
    "autoregressive flow of a posterior": (lambda: bijectors.Chain(_flow("autoregressive", 3, 2, 16)), (3,)),
}


@pytest.mark.parametrize("name", WITH_CONTEXT)
def test_a_bijector_with_a_context_goes_both_ways_and_knows_its_determinant(name):
    make, shape = WITH_CONTEXT[name]
    bijector = of_context(make)
    random = np.random.default_rng(0)
    x, context = tf.constant(random.normal(size=(4, *shape))), tf.constant(random.normal(size=(4, 3)))
    assert bijector.conditional
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, context])
        y, log_det = bijector.forward(x, context=context)
    of_x, of_context_ = (tape.batch_jacobian(y, each, experimental_use_pfor=False) for each in (x, context))
    size = math.prod(shape)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(np.reshape(of_x, (4, size, size)))[1], atol=1e-6)
    assert np.abs(of_context_).max() > 1e-3
    np.testing.assert_allclose(bijector.inverse(y, context=context), x, atol=1e-8)
    np.testing.assert_allclose(bijector.initialize(x, context=context).shape, y.shape)


def mixing_network(inputs, outputs):
    """Of the layers that compute otherwise in training."""
    x = stays = keras.Input((inputs,))
    for layer in (keras.layers.Dense(16), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)):
        x = layer(x)
    return keras.Model(stays, keras.layers.Dense(outputs)(keras.layers.Activation("tanh")(x)))


def test_an_inverted_layer_knows_its_determinant_in_training_too():
    bijector = bijectors.Inverted(bijectors.Coupling(mixing_network(2, 6)))
    x = tf.constant(2 * np.random.default_rng(0).normal(size=(16, 5)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y, log_det = bijector.forward(x, training=True)
    jacobian = tape.batch_jacobian(y, x, experimental_use_pfor=False)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-4)


def dropping(network):
    """A network that puts out more than zeros, behind dropout."""
    random = np.random.default_rng(0)
    network.set_weights([weight + 0.3 * random.normal(size=weight.shape) for weight in network.get_weights()])
    return keras.Model(network.inputs, keras.layers.Dropout(0.5)(network.output))


IN_MODES = {
    "coupling": (lambda: bijectors.Coupling(dropping(conv("affine"))), IMAGE),
    "checkerboard": (lambda: bijectors.Coupling(dropping(conv("affine", 3, 3)), mask="checkerboard"), IMAGE),
    "autoregressive": (lambda: bijectors.Autoregressive(dropping(networks.made(5, 2, 16))), VECTOR),
}


@pytest.mark.parametrize("name", IN_MODES)
def test_dropout_acts_where_a_layer_goes_forward_in_training_and_nowhere_else(name):
    make, shape = IN_MODES[name]
    bijector, x = make(), tf.constant(np.random.default_rng(0).normal(size=(4, *shape)), tf.float32)
    y, _ = bijector.forward(x)
    np.testing.assert_array_equal(bijector(x)[0], y)
    np.testing.assert_allclose(bijector.inverse(y), x, atol=1e-4)
    for dropped, _ in (bijector.forward(x, training=True), bijector(x, training=True)):
        assert np.abs(dropped - y).max() > 1e-2


@pytest.mark.parametrize("elementwise", ["affine", pytest.param("spline", marks=pytest.mark.slow)])
@pytest.mark.parametrize("policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_a_masked_autoregressive_flow_samples_and_comes_back_in_16_bits(policy, elementwise, images):
    model = gz.build("maf", (8, 8, 1), seed=0, width=16, elementwise=elementwise, dtype=policy, run_eagerly=True)
    model.fit(images, epochs=2, batch_size=8, verbose=0)
    samples = model.sample(4, seed=0)
    assert np.isfinite(samples).all() and samples.std() > 0.05
    # What 16 bits round, they round both ways alike.
    np.testing.assert_allclose(model.reconstruct(images), images / 255, atol=1e-3)


def test_a_slice_of_a_masked_layer_is_that_of_the_whole_in_16_bits():
    from keras_genzoo.layers import MaskedDense

    layer = MaskedDense(6, [1, 2, 3], [0, 1, 1, 2, 3, 3], dtype="mixed_bfloat16")
    x = tf.constant(np.random.default_rng(0).normal(size=(5, 3)), tf.bfloat16)
    layer.build((5, 3))
    layer.bias.assign(np.arange(6.0))
    whole = layer(x)
    assert layer.some(tf.cast(x, tf.float32), 2, 3).dtype == layer.of_input(1).dtype == tf.bfloat16
    np.testing.assert_array_equal(tf.cast(layer.some(x, 2, 3), tf.float32), tf.cast(whole[:, 2:5], tf.float32))
    added = sum(tf.cast(x[:, i, None] * layer.of_input(i), tf.float32) for i in range(3)) + np.arange(6)
    np.testing.assert_allclose(added, tf.cast(whole, tf.float32), atol=0.05)


# Densities


def plane(recipe, **overrides):
    """A flow of points in the unit square, as images of one pixel and two channels."""
    return gz.build(recipe, (1, 1, 2), seed=0, **overrides)


SMALL = {
    "nice": {"width": 16},
    **{name: {"width": 16, "steps": 2, "dense": 2, "dense_width": 16} for name in ("realnvp", "glow", "spline_flow")},
    "maf": {"width": 16},
    "planar_flow": {},
}


def square(n, beyond=0.0):
    """The middles of n x n cells of the unit square and what lies so far around it."""
    line = (1 + 2 * beyond) * (np.arange(n) + 0.5) / n - beyond
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 1, 1, 2).astype("float32")


@pytest.mark.parametrize("recipe", SMALL)
def test_densities_integrate_to_one(recipe):
    model = plane(recipe, **SMALL[recipe])
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1 * random.normal(size=variable.shape))
    # The logit of alpha + (1 - 2 alpha) x takes a little more than the square; behind splines nothing lies around it.
    logits = recipe in ("nice", "planar_flow")
    beyond = 0.05 / 0.9 if logits else 0.5
    points = square(700, beyond)
    density, inside = np.exp(model.log_density(tf.constant(points))), ((points > 0) & (points < 1)).all(axis=(1, 2, 3))
    assert np.mean(density) * (1 + 2 * beyond) ** 2 == pytest.approx(1, abs=0.01)
    assert logits or np.mean(density[inside]) == pytest.approx(1, abs=0.01)


def test_a_uniform_model_of_256_levels_has_eight_bits_a_dimension():
    # The logistic distribution's quantiles are the logits of the unit cube: what is left is uniform.
    class Logistic(gz.priors.StandardNormal):
        def log_prob(self, z):
            return tf.reduce_sum(-z - 2.0 * tf.nn.softplus(-z), axis=-1)

    chain = [bijectors.Scale(1 - 2e-6, 1e-6), bijectors.Logit(1e-7), bijectors.Flatten((4, 4, 3))]
    model = gz.models.Flow(chain, (4, 4, 3), Logistic(48))
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    np.testing.assert_allclose(model.bits_per_dim(images), 8, atol=1e-3)


def test_log_prob_is_that_of_the_change_of_variables():
    model = gz.models.Flow([bijectors.Scale(4.0, -1.0), bijectors.Flatten((2, 1, 1))], (2, 1, 1))
    points = np.array([[0.3, 0.9]], np.float32).reshape(1, 2, 1, 1)
    exact = scipy.stats.norm(0.25, 0.25).logpdf(points).sum()
    np.testing.assert_allclose(model.log_density(tf.constant(points)), exact, rtol=1e-5)


# Dequantisation


@pytest.mark.parametrize("elementwise", ["affine", "spline"])
def test_the_density_of_drawn_noise_is_the_slope_of_its_distribution_function(elementwise):
    v = np.linspace(0.02, 0.98, 2001, dtype="float32").reshape(-1, 1, 1, 1)
    network = networks.conv_coupling((1, 1, 1), bijectors.get_elementwise(elementwise).parameters, 8)
    random = np.random.default_rng(0)
    network.set_weights([weight + 0.3 * random.normal(size=weight.shape) for weight in network.get_weights()])
    u, log_q = bijectors.VariationalDequantisation(network, elementwise)(tf.fill(v.shape, 0.3), v)
    slopes = np.gradient(v.ravel().astype("float64"), np.asarray(u, "float64").ravel())
    np.testing.assert_allclose(np.exp(log_q), slopes, rtol=4e-2)
    assert np.ptp(slopes) > 0.1  # it is not even


def test_the_likelihood_of_a_level_is_that_over_drawn_noise_whatever_draws_it():
    """E_q[p(k + u) / q(u | k)] is the mean of p over the level k. Points are normal about its middle, as in the test below."""
    network = networks.conv_coupling((1, 1, 1), 2, 8)
    network.set_weights([weight + 0.1 for weight in network.get_weights()])
    chain = [bijectors.Scale(1024.0, -4 * 100.5), bijectors.Flatten((1, 1, 1))]
    model = gz.models.Flow(chain, (1, 1, 1), dequantisation=bijectors.VariationalDequantisation(network), seed=0)
    exact = np.log(scipy.stats.norm.cdf(2) - scipy.stats.norm.cdf(-2)) + np.log(256)
    ratios = np.exp(model.log_prob(np.full((20_000, 1, 1, 1), 100, np.uint8)) - exact)
    assert ratios.mean() == pytest.approx(1, abs=0.03)


def test_a_fresh_network_draws_even_noise():
    v = np.random.default_rng(0).uniform(size=(50, 1, 1, 2)).astype("float32")
    network = networks.conv_coupling((1, 1, 2), 4, 8)
    u, log_q = bijectors.VariationalDequantisation(network)(v, v)
    np.testing.assert_allclose(u, v, atol=1e-5)
    np.testing.assert_allclose(log_q, 0, atol=1e-4)


@pytest.mark.slow
def test_drawn_noise_brings_the_bound_nearer_to_the_likelihood_of_a_level():
    # Points are normal about the middle of the level 100, with a deviation of a quarter of it.
    chain = [bijectors.Scale(1024.0, -4 * 100.5), bijectors.Flatten((1, 1, 1))]
    network = networks.conv_coupling((1, 1, 1), 2, 8)
    model = gz.models.Flow(chain, (1, 1, 1), dequantisation=bijectors.VariationalDequantisation(network), seed=0)
    model.compile(keras.optimizers.Adam(0.02))
    images = np.full((256, 1, 1, 1), 100, np.uint8)
    exact = np.log(scipy.stats.norm.cdf(2) - scipy.stats.norm.cdf(-2)) + np.log(256)
    even, gap = np.log(1024) + scipy.stats.norm.logpdf(np.linspace(-2, 2, 10001)).mean(), 0.015
    assert np.mean(model.log_prob(images, samples=200)) == pytest.approx(even, abs=0.01) and even < exact - 10 * gap
    model.fit(images, epochs=40, batch_size=64, verbose=0)
    assert exact - gap < np.mean(model.log_prob(images, samples=200)) < exact + gap / 2
    copy = gz.models.Flow.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(copy.log_prob(images), model.log_prob(images))


RESIDUAL = {"width": 4, "steps": 2, "dense": 0, "blocks": 1, "growth": 2, "checkerboard": (1, 2, 1)}


@pytest.mark.parametrize(
    "recipe, sizes",
    [
        pytest.param(recipe, sizes, marks=() if recipe in ("nice", "maf") else pytest.mark.slow)
        for recipe, sizes in [*SMALL.items(), ("realnvp", RESIDUAL)]
    ],
)
def test_a_trained_flow_comes_back_within_a_thousandth_of_the_range(recipe, sizes, images):
    model = gz.build(recipe, (8, 8, 1), seed=0, **sizes, run_eagerly=True)  # ten steps take less than a graph
    model.fit(images, epochs=5, batch_size=8, verbose=0)
    np.testing.assert_allclose(model.reconstruct(images), images / 255, atol=1e-3)


@pytest.mark.parametrize("recipe", ["glow", *(pytest.param(name, marks=pytest.mark.slow) for name in ("spline_flow", "maf"))])
def test_after_training_the_log_determinant_is_that_of_the_jacobian(recipe):
    # Points of which many lie where the flow has little to say.
    random = np.random.default_rng(0)
    points = np.clip(random.normal(0.5, 0.1, (256, 1, 2, 2)), 0, 1).astype("float32")
    model = gz.build(recipe, (1, 2, 2), seed=0, **SMALL[recipe], jit_compile=False, steps_per_execution=1)
    model.fit(points, epochs=10, verbose=0)
    chain = bijectors.Chain(model.bijectors)
    x = random.uniform(0.02, 0.98, (6, 1, 2, 2)).astype("float32")
    np.testing.assert_allclose(chain.forward(tf.constant(x))[1], log_determinant(chain, x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(8, 1, 1), (1, 5, 1), (1, 1, 1)])
@pytest.mark.parametrize("recipe", ["glow", "nice"])
def test_images_of_a_line_have_a_density_too(recipe, shape):
    model = gz.build(recipe, shape, seed=0, width=8, run_eagerly=True)
    x = np.random.default_rng(0).integers(0, 256, (16, *shape), dtype=np.uint8)
    assert np.isfinite(model.fit(x, verbose=0).history["loss"]).all()
    np.testing.assert_allclose(model.reconstruct(x), x / 255, atol=1e-3)


def test_temperature_draws_nearer_to_the_middle():
    model = plane("glow", width=16)
    spread = [np.std(model.sample(500, seed=0, temperature=temperature)) for temperature in (0.5, 1.0)]
    assert spread[0] < 0.8 * spread[1]


def test_a_prior_scales_its_own_deviations_by_the_temperature():
    mixture, one = gz.priors.TrainedMixture(1, 2), gz.priors.GaussianMixture(1, 1)
    mixture.means.assign([[-20.0], [20.0]])
    one.fit(20.0 + np.random.default_rng(0).normal(size=(1000, 1)))
    for prior, far in ((mixture, 20.0), (one, 20.0)):
        chain = [bijectors.Scale(100.0, -50.0), bijectors.Flatten((1, 1, 1))]  # a pixel is -0.5 to 0.5, times 100
        model = gz.models.Flow(chain, (1, 1, 1), prior=prior, seed=0)
        z = 100.0 * (model.sample(4000, seed=0, temperature=0.7) * 255 / 256 + 0.5 / 256) - 50.0
        assert np.mean(np.abs(z)) == pytest.approx(far, abs=0.1)
        assert np.std(np.abs(z)) == pytest.approx(0.7, abs=0.05)
    assert np.abs(model.sample(5, seed=0, temperature=np.float32(0)) - model.sample(1, seed=1, temperature=0)).max() == 0


def test_a_prior_of_ones_own_without_a_temperature_is_drawn_at_one_alone():
    class Own(gz.priors.StandardNormal):
        def sample(self, n, random):
            return random.normal((n, self.latent_dim))

    model = gz.models.Flow([bijectors.Scale(8.0, -4.0), bijectors.Flatten((1, 1, 2))], (1, 1, 2), prior=Own(2))
    assert model.sample(3, seed=0).shape == (3, 1, 1, 2)
    with pytest.raises(ValueError, match=r"temperature is 0.5, but Own.sample takes none; give it an argument temperature=1.0"):
        model.sample(3, temperature=0.5)


@pytest.mark.parametrize("recipe", ["glow", "maf", "spline_flow"])
def test_black_and_white_have_a_density_whatever_a_flow_with_marginals_has_learned(recipe):
    """Rounded sums of heights lead out of the bounds of a spline, where `Untruncate` ends: a training met it sooner or later."""
    model = gz.build(recipe, (8, 8, 1), seed=0, **SMALL[recipe], run_eagerly=True)
    splines, random = model.bijectors[1], np.random.default_rng(0)
    for _ in range(5):
        splines.values.assign(random.normal(size=splines.values.shape))
        black_and_white = np.float32([0, 1])[:, None, None, None] * np.ones((2, 8, 8, 1), np.float32)
        ends = gz.images.dequantise(black_and_white, black_and_white * 0.9999999)
        assert np.isfinite(model.log_density(ends)).all()


def test_a_spline_stays_within_its_bounds():
    spline = bijectors.Spline(16, 4.0, 1e-4)
    parameters = np.random.default_rng(0).normal(size=(10_000, spline.parameters)).astype("float32")
    for way in (spline.forward, spline.inverse):
        for end in (-np.nextafter(np.float32(4), np.float32(0)), np.nextafter(np.float32(4), np.float32(0))):
            there = way(tf.fill((10_000,), end), parameters)
            assert np.abs(there[0] if way == spline.forward else there).max() <= 4


@pytest.mark.parametrize("recipe", ["glow", "maf", "spline_flow"])
def test_all_that_a_flow_with_marginals_makes_lies_in_the_unit_cube(recipe, images):
    model = gz.build(recipe, (8, 8, 1), seed=0, **SMALL[recipe], run_eagerly=True)
    model.fit(images, batch_size=8, verbose=0)
    assert model.mass_inside(100) == 1


def test_the_mass_inside_of_the_unit_cube_is_that_of_the_prior_there():
    model = gz.models.Flow([bijectors.Scale(2.0, -1.0), bijectors.Flatten((1, 2, 1))], (1, 2, 1))
    assert model.mass_inside(4000) == pytest.approx((scipy.stats.norm.cdf(1) - scipy.stats.norm.cdf(-1)) ** 2, abs=0.03)


def test_a_normal_that_is_cut_off_is_made_whole():
    layer = bijectors.Untruncate(2.0)
    x = np.linspace(-1.99, 1.99, 101).reshape(-1, 1)
    y, log_det = layer.forward(tf.constant(x))
    cut = scipy.stats.truncnorm(-2, 2)
    np.testing.assert_allclose(y, scipy.stats.norm.ppf(cut.cdf(x)), atol=1e-9)
    np.testing.assert_allclose(log_det, (cut.logpdf(x) - scipy.stats.norm.logpdf(y))[:, 0], atol=1e-9)
    y, log_det = layer.forward(tf.constant([[-2.0], [2.0], [2.1]]))
    np.testing.assert_allclose(y[:2], [[-5.2], [5.2]], atol=0.01)
    assert np.isfinite(log_det[:2]).all() and log_det[2] == -np.inf  # nothing lies beyond
    np.testing.assert_allclose(layer.inverse(tf.constant([[-40.0], [0.0], [40.0]])), [[-2], [0], [2]], atol=1e-6)


# First values

FIRST = {  # what a first batch may be, of what follows
    "good": lambda x: x[:32],
    "blank": lambda x: np.zeros_like(x[:32]),
    "two": lambda x: x[:2],
    "one": lambda x: x[:1],
}


def blobs(n):
    """Images of 6x6, float32: blobs at random places."""
    centres = np.random.default_rng(0).uniform(1, 5, (n, 2, 1, 1))
    rows, columns = np.mgrid[:6, :6]
    return np.exp(-((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2) / 3)[..., None].astype("float32")


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("kind", ["data set", "generator"])
@pytest.mark.parametrize("recipe", ["nice", pytest.param("maf", marks=pytest.mark.slow)])
def test_a_flow_begins_soundly_whatever_its_first_batch(recipe, kind, first):
    x = blobs(1024)
    model = gz.build(recipe, (6, 6, 1), seed=0, width=16, learning_rate=1e-9, run_eagerly=True)
    begin = FIRST[first](x)
    if kind == "data set":
        rest = tf.data.Dataset.from_tensor_slices(x).batch(32)
        model.fit(tf.data.Dataset.from_tensors(begin).concatenate(rest), steps_per_epoch=1, verbose=0)
    else:
        model.fit(((begin,) for _ in range(2)), steps_per_epoch=1, verbose=0)
    bits = np.mean(model.bits_per_dim(x))
    # The even density has 8 bits; of a bad batch alone little is known.
    assert bits < (8 if kind == "data set" or first == "good" else 12)


def test_bad_arguments_get_one_sentence():
    for call, sentence in [
        (
            lambda: bijectors.Coupling(networks.dense_coupling(2, 6, 8), "cubic"),
            "elementwise is 'cubic', expected one of",
        ),
        (lambda: bijectors.Coupling(networks.dense_coupling(2, 6, 8), mask="rows"), "mask is 'rows'"),
        (lambda: bijectors.Permutation([0, 2]), "order is [0, 2], expected each number from 0 to 1 once"),
        (lambda: bijectors.FactorOut((4, 4, 1), bijectors.Flatten((4, 4, 1))), "no channels can be done with"),
        (
            lambda: bijectors.VariationalDequantisation(networks.conv_coupling((4, 4, 3), 3, 8)),
            "puts out shape (4, 4, 3), expected (4, 4, 6)",
        ),
        (lambda: bijectors.Inverted(bijectors.ActNorm(3)), "ActNorm takes its values from what goes forward into it"),
        (lambda: bijectors.Autoregressive(networks.made(3, 2, 8), bound=0), "bound is 0, expected a number above 0"),
        (
            lambda: bijectors.Chain([bijectors.Planar(2, context=3)]).forward(tf.zeros((1, 2))),
            "Planar depends on a context and was given none; pass context=",
        ),
        (
            lambda: bijectors.Autoregressive(networks.made(2, 2, 8, context=3)).inverse(tf.zeros((1, 2))),
            "Autoregressive depends on a context and was given none; pass context=",
        ),
        (
            lambda: bijectors.Coupling(networks.dense_coupling(2, 2, 8)).forward(tf.zeros((1, 5))),
            "network puts out 2 channels, expected 3 that change times 2 parameters",
        ),
        (lambda: plane("glow").log_prob(square(2), samples=0), "samples is 0, expected a whole number of at least 1"),
        (lambda: bijectors.Logit(0.5), "alpha is 0.5, expected a number between 0 and 0.5"),
        (lambda: bijectors.Spline(1), "bins is 1"),
        (lambda: bijectors.Planar(2, context=3).inverse(np.zeros((1, 2))), "depends on a context and was given none"),
        (lambda: bijectors.Squeeze().forward(tf.zeros((1, 3, 4, 1))), "images of 3x4 cannot be squeezed"),
        (lambda: gz.models.Flow([bijectors.Logit()], (4, 4, 1)), "put out shape (4, 4, 1), expected (16,)"),
        (lambda: gz.models.Flow([bijectors.Flatten((4, 4, 1)), bijectors.Planar(16, context=3)], (4, 4, 1)), "on a context"),
        (lambda: gz.build("glow", (8, 8, 1), mixing="shuffle"), "mixing is 'shuffle'"),
        (lambda: gz.build("glow", (8, 8, 1), checkerboard=(1, 1, 1, 1)), "(1, 1, 1, 1), expected at most 3 numbers"),
        (
            lambda: gz.build("glow", (8, 8, 1), checkerboard=-1),
            "checkerboard is -1, expected at most 3 numbers for 2 levels, each at",
        ),
        (lambda: plane("glow", elementwise="cubic"), "elementwise is 'cubic', expected one of additive, affine, spline"),
        (lambda: plane("maf", elementwise="cubic"), "elementwise is 'cubic', expected one of additive, affine, spline"),
        (lambda: gz.build("glow", (8, 8, 1), kernels=()), "kernels is (), expected sizes of at least one convolution"),
        (lambda: plane("glow", dense=-1), "dense is -1, expected a whole number of at least 0; 0 is none"),
        (lambda: plane("glow", dequantisation=0.5), "dequantisation is 0.5, expected a whole number of at least 0"),
        (lambda: plane("glow", steps=0), "steps is 0, expected a whole number of at least 1"),
        (lambda: plane("nice", couplings=0), "couplings is 0, expected a whole number of at least 1"),
        (lambda: plane("planar_flow", layers=0), "layers is 0, expected a whole number of at least 1"),
        (lambda: gz.build("vae", (8, 8, 1), flow="spline"), "flow is 'spline', expected None, 'planar' or 'autoregressive'"),
        (lambda: plane("glow").sample(1, labels=[0]), "has no classes"),
        (lambda: plane("nice").sample(1, temperature=-1), "temperature is -1, expected a number of at least 0"),
        (lambda: plane("nice").sample(1, temperature=math.nan), "temperature is nan, expected a number of at least 0"),
        (lambda: plane("nice").sample(1, temperature=[1.0]), "temperature is [1.0], expected a number of at least 0"),
        (lambda: bijectors.Untruncate(0), "bound is 0, expected a number above 0"),
    ]:
        with pytest.raises((ValueError, TypeError)) as caught:
            call()
        assert sentence in str(caught.value)


def test_a_sigmoid_coupling_shrinks_as_glows_published_code_has_it():
    parameters = tf.constant([[[0.0, 0.0], [1.5, -0.3]]])
    y, log_slope = bijectors.SigmoidAffine().forward(tf.constant([[0.7, -1.2]]), parameters)
    scale = 1 / (1 + np.exp([-2.0, -3.5]))
    np.testing.assert_allclose(y, [[0.7 * scale[0], (-1.2 - 0.3) * scale[1]]], rtol=1e-5)
    np.testing.assert_allclose(log_slope, [np.log(scale)], rtol=1e-4)


def test_glow_with_learned_priors_has_the_density_of_its_splits_and_of_its_top():
    """Half of the channels are normal given the others, and what is left has a mean and a deviation for each channel."""
    settings = {"levels": 2, "steps": 1, "width": 4, "dense": 0, "dequantisation": 0, "marginals": False, "alpha": None}
    model = gz.build("glow", (4, 4, 1), **settings, learned_priors=True, elementwise="sigmoid", seed=0)
    plain = gz.build("glow", (4, 4, 1), **settings, elementwise="sigmoid", seed=0)
    x = np.random.default_rng(0).uniform(size=(6, 4, 4, 1)).astype("float32")
    np.testing.assert_allclose(model.call(x), plain.call(x), rtol=1e-5)  # at first they are standard normal
    split = next(
        each for each in model._flatten_layers() if isinstance(each, bijectors.Coupling) and each.network.name == "prior"
    )
    top = next(each for each in model._flatten_layers() if isinstance(each, bijectors.ActNorm) and not each.from_data)
    before, log_density = np.asarray(model.encode(x)), np.asarray(model.call(x))
    split.network.weights[1].assign([0.4, -0.5, 0.2, 0.3])  # biases: a log scale and a shift of each of two channels
    top.bias.assign(np.full(top.channels, 0.7))
    top.log_scale.assign(np.full(top.channels, -0.2))
    after, density = np.asarray(model.encode(x)), np.asarray(model.call(x))
    # 2 x 2 pixels of two channels are done with at the first level, and come last; the other eight numbers go on to the top.
    scales = 3 * np.tanh(np.array([0.4, 0.2]) / 3)
    done = (before[:, 8:].reshape(6, 4, 2) * np.exp(scales) + [-0.5, 0.3]).reshape(6, 8)
    np.testing.assert_allclose(after[:, 8:], done, atol=1e-5)
    kept = (before[:, :8] + 0.7) * np.exp(-0.2)
    np.testing.assert_allclose(after[:, :8], kept, atol=1e-4)
    normal = lambda z: scipy.stats.norm.logpdf(z).sum(axis=1)  # noqa: E731
    moved = normal(after) - normal(before) + 4 * scales.sum() + 8 * -0.2
    np.testing.assert_allclose(density - log_density, moved, atol=1e-3)
    np.testing.assert_allclose(model.decode(after), x, atol=1e-4)


def test_five_bits_take_eight_neighbouring_levels_for_one():
    x = tf.constant(np.arange(256).reshape(1, 16, 16, 1) / 255, tf.float32)
    points = gz.images.dequantise(x, tf.fill(x.shape, 0.5), 32)
    np.testing.assert_allclose(points, (np.arange(256).reshape(x.shape) // 8 + 0.5) / 32, rtol=1e-6)
    np.testing.assert_allclose(gz.images.to_cube(x, 32), points, rtol=1e-6)
    chain = [bijectors.Scale(1.0, -0.5), bijectors.Flatten((16, 16, 1))]
    model = gz.models.Flow(chain, (16, 16, 1), bits=5, seed=0)
    found = model.dequantised_log_prob(x, tf.fill(x.shape, 0.25))
    expected = scipy.stats.norm.logpdf((np.arange(256) // 8 + 0.25) / 32 - 0.5).sum()
    np.testing.assert_allclose(found, [expected], rtol=1e-5)
    assert float(model.to_bits_per_dim(0.0)) == 5.0 and model.log_prob_label == "5bit"
    assert gz.models.Flow(chain, (16, 16, 1)).log_prob_label is None
    with pytest.raises(ValueError, match="bits is 9, expected at most 8"):
        gz.models.Flow(chain, (16, 16, 1), bits=9)


@pytest.mark.slow
def test_realnvp_of_the_published_size_builds_makes_a_step_and_comes_back():
    model = gz.build("realnvp/cifar10", (32, 32, 3), seed=0)
    # By hand, of the kernels in couplings alone: three of 32 x 32 x 3 by a checkerboard, three of 16 x 16 x 12 by channels, four
    # of 16 x 16 x 6 by a checkerboard; each a convolution, 8 blocks of two, what the output sees of the nine, and the output.
    kernels = lambda c, out, w: 9 * c * w + 8 * 2 * 9 * w * w + 9 * w * w + w * out  # noqa: E731
    couplings = 3 * kernels(3, 6, 64) + 3 * kernels(6, 12, 128) + 4 * kernels(6, 12, 128)
    assert couplings < model.count_params() < 1.01 * couplings and round(couplings / 1e6) == 19
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    assert np.isfinite(model.fit(images, batch_size=4, verbose=0).history["loss"]).all()
    np.testing.assert_allclose(model.reconstruct(images), images / 255, atol=1e-3)


@pytest.mark.slow
def test_glow_of_the_published_size_builds_and_makes_a_step():
    model = gz.build("glow/cifar10", (32, 32, 3), seed=0)
    # By hand, of the couplings alone, biases left out: 32 steps of c/2 -> 512 -> 512 -> c channels, c = 12, 24, 48.
    couplings = 32 * sum(9 * c // 2 * 512 + 512 * 512 + 9 * 512 * c for c in (12, 24, 48))
    assert couplings < model.count_params() < 1.01 * couplings and round(couplings / 1e6) == 44
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    assert np.isfinite(model.fit(images, batch_size=1, verbose=0).history["loss"]).all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 24 * 2**20  # KiB


@pytest.mark.parametrize("name", ["glow", "maf", "nice"])
def test_the_ends_of_the_dequantisation_noise_leave_finite_likelihoods(name):
    # float32 rounds 255 + u to 256 where u is within 8e-6 of 1, as it is for some white pixel of every few hundred batches.
    ends = np.array([0.0, 1 - 2.0**-24], np.float32)
    images = np.stack([np.zeros((8, 8, 1)), np.ones((8, 8, 1))]).astype("float32")
    points = gz.images.dequantise(images, tf.constant(ends[:, None, None, None] * np.ones((2, 8, 8, 1), np.float32))).numpy()
    assert 0 < points.min() and points.max() < 1
    model = gz.build(name, (8, 8, 1), seed=0, **({"width": 8, "steps": 1} if name == "glow" else {"width": 16}))
    noise = tf.constant(np.broadcast_to(ends[:, None, None, None], (2, 8, 8, 1)))
    assert np.isfinite(model.dequantised_log_prob(tf.constant(images), noise)).all()
