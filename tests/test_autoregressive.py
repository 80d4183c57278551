"""Autoregressive models: what a pixel sees, likelihoods by published formulas and by enumeration, and samples that follow."""

import itertools

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo import causal, likelihoods, networks
from keras_genzoo.core import randomness
from keras_genzoo.models import VQVAE, AutoregressiveModel, Codebook, ScalarCodebook

EAGER = {"run_eagerly": True}


@pytest.fixture
def random():
    return np.random.default_rng(0)


def shaken(network, size=0.2):
    """The network with weights that are no zeros and no equal ones."""
    random = np.random.default_rng(1)
    for variable in network.trainable_variables:
        variable.assign(variable + random.normal(0, size, variable.shape))
    return network


def categorical(shape, levels=256, **settings):
    """A small gated PixelCNN, whose channels are in order."""
    network = networks.gated_pixelcnn(shape, shape[-1] * levels, **{"width": 6, "depth": 3, "first_kernel": 5, **settings})
    return AutoregressiveModel(shaken(network), likelihoods.Categorical(levels), seed=0)


def mixture(shape, levels=256, components=3, **settings):
    """A small PixelCNN++."""
    density = likelihoods.DiscretizedLogisticMixture(components, levels)
    network = networks.pixelcnn_pp(shape, density.parameter_count(shape[-1]), **{"width": 4, **settings})
    return AutoregressiveModel(shaken(network), density, seed=0)


KINDS = {"gated PixelCNN": categorical, "PixelCNN++": mixture}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


# What a pixel sees


def seen(network, image_shape, groups, labels=None):
    """A bool matrix: whether parameters of group i, each channel's or each pixel's, depend on number j of the image.

    By the Jacobian of a random sum of each group's parameters at three images.
    """
    height, width, _ = image_shape
    random, found = np.random.default_rng(2), 0.0
    outputs = network.output_shape[-1]
    weights = random.normal(size=(outputs, 1)) * np.eye(groups)[np.arange(outputs) * groups // outputs]

    @tf.function
    def jacobian(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            parameters = network(x if labels is None else [x, labels], training=False)
            sums = tf.reshape(tf.matmul(parameters, tf.constant(weights, tf.float32)), (-1,))
        return tape.jacobian(sums, x, experimental_use_pfor=False)

    for _ in range(3):
        x = tf.constant(random.uniform(-1, 1, (1, *image_shape)), tf.float32)
        found = found + np.abs(jacobian(x).numpy().reshape(height * width * groups, -1))
    return found > 0


NETWORKS = {
    "gated, gray": lambda shape: networks.gated_pixelcnn(shape, 7, width=6, depth=4, first_kernel=5),
    "gated, channels in order": lambda shape: networks.gated_pixelcnn(shape, 3 * 4, width=8, depth=4, first_kernel=5),
    "gated, channels apart": lambda shape: networks.gated_pixelcnn(shape, 5, width=6, depth=4, first_kernel=5, ordered=False),
    "gated, labels": lambda shape: networks.gated_pixelcnn(shape, 7, width=6, depth=4, first_kernel=5, num_classes=2),
    "PixelCNN++": lambda shape: networks.pixelcnn_pp(shape, 6, width=4, blocks=1),
    "PixelCNN++, dropout and labels": lambda shape: networks.pixelcnn_pp(shape, 6, 4, halvings=1, dropout=0.5, num_classes=2),
}
SIZES = {"gated, gray": (5, 6, 1), "gated, labels": (4, 5, 1), "PixelCNN++": (7, 5, 3)}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_pixel_sees_itself_or_later_ones_and_all_earlier_ones_are_seen(name):
    shape = SIZES.get(name, (5, 4, 3))
    network = shaken(NETWORKS[name](shape))
    labels = tf.one_hot([1], 2) if len(network.inputs) > 1 else None
    channels = shape[-1]
    groups = channels if "gated, channels apart" != name and "gated" in name else 1
    found = seen(network, shape, groups, labels)
    pixels = shape[0] * shape[1]
    order = np.arange(pixels * channels)  # of the numbers of the image
    first = np.arange(pixels * groups) * (channels // groups)  # the number that the parameters of a group are the first of
    earlier = order[None] < first[:, None]
    assert not found[~earlier].any()
    # Pixels of the last row see them all, also those above to the right: there are no blind spots.
    last = slice(-groups * shape[1], None)
    assert found[last][earlier[last]].all()


def test_a_mask_lets_filters_see_channels_of_their_group_or_of_earlier_ones():
    x = np.ones((1, 1, 1, 3), "float32")
    for mask, expected in (("A", [[0, 1, 2]] * 2), ("B", [[1, 2, 3]] * 2), (None, [[3] * 3] * 2)):
        layer = causal.CausalConv2D(6, (1, 1), mask=mask, mask_groups=3, mask_parts=2, kernel_initializer="ones")
        np.testing.assert_array_equal(np.reshape(layer(x), (2, 3)), expected)
    # Two filters a group, of one part; and of the pixels before it a filter sees everything.
    layer = causal.CausalConv2D(6, (2, 2), mask="A", mask_groups=3, kernel_initializer="ones")
    y = np.asarray(layer(np.ones((1, 2, 2, 3), "float32")))
    np.testing.assert_array_equal(y[0, 1, 1], [9, 9, 10, 10, 11, 11])
    np.testing.assert_array_equal(y[0, 0, 0], [0, 0, 1, 1, 2, 2])


def test_normalised_weights_are_a_gain_times_a_direction(random):
    x = random.normal(size=(2, 5, 6, 3)).astype("float32")
    plain, normed = (causal.CausalConv2D(4, (2, 3), wide=True, normalized=each) for each in (False, True))
    plain(x), normed(x)
    kernel, bias = random.normal(size=(2, 3, 3, 4)), random.normal(size=4)
    gain = random.uniform(0.5, 2, 4)
    normed.gain.assign(gain), normed._kernel.assign(kernel), normed.bias.assign(bias)
    plain.set_weights([gain * kernel / np.sqrt((kernel**2).sum(axis=(0, 1, 2))), bias])
    np.testing.assert_allclose(normed(x), plain(x), atol=1e-5)


def test_first_values_give_outputs_of_mean_0_and_the_deviation_that_is_asked_for(random):
    network = networks.pixelcnn_pp((9, 7, 2), 10, width=4, num_classes=3)
    x = [random.uniform(-1, 1, (30, 9, 7, 2)).astype("float32"), np.eye(3, dtype="float32")[np.arange(30) % 3]]
    with causal.first_values():
        network(x)
    layers = [layer for layer in network.layers if getattr(layer, "normalized", False)]
    outputs = keras.Model(network.inputs, [layer.output for layer in layers])(x)
    assert len(layers) > 30 and {layer.scale for layer in layers} == {0.1, 1.0}
    for layer, output in zip(layers, outputs, strict=True):
        np.testing.assert_allclose(np.mean(output, axis=(0, 1, 2)), 0, atol=1e-3, err_msg=layer.name)
        np.testing.assert_allclose(np.std(output, axis=(0, 1, 2)), layer.scale, rtol=2e-2, err_msg=layer.name)


def test_fit_sets_first_values_by_images_of_the_data(images):
    model = gz.build("pixelcnn_pp", (8, 8, 1), width=4, halvings=1, components=2, seed=0, learning_rate=1e-9, **EAGER)
    model.fit(np.zeros_like(images), verbose=0)  # black images, but for two of noise
    assert np.isfinite(model.evaluate(images, verbose=0, return_dict=True)["loss"])
    assert np.abs(model.network.get_layer("first_rows").gain - 1.0).max() > 0.1


def test_features_that_are_constant_at_first_do_not_explode(random):
    # The coarsest grid is one pixel, whose stream of the rows above sees none.
    model = gz.build("pixelcnn_pp", (4, 4, 1), width=4, halvings=2, components=2, seed=0, **EAGER)
    x = random.integers(0, 256, (24, 4, 4, 1), "uint8")
    losses = [float(model.fit(x, batch_size=8, verbose=0).history["loss"][0]) for _ in range(2)]
    assert losses[1] < 2 * losses[0]
    for layer in model.network.layers:
        if getattr(layer, "normalized", False):
            assert np.abs(layer.gain).max() < 1000 * layer.scale, layer.name


# Rows by themselves


@pytest.mark.parametrize(
    "network, count",
    [
        (lambda: networks.gated_pixelcnn((7, 5, 2), 8, width=6, depth=3), 1),
        (lambda: networks.pixelcnn_pp((7, 5, 2), 8, width=4), 4),
        (lambda: networks.pixelcnn_pp((8, 6, 1), 8, width=4, halvings=1, num_classes=3), 2),
        (lambda: networks.pixelcnn_pp((4, 6, 1), 8, width=4), 4),
    ],
    ids=["gated", "odd sides", "labels", "no more rows than strides join"],
)
def test_a_network_computes_rows_by_themselves_as_it_computes_the_whole(network, count, random):
    network = shaken(network())
    height, *_ = shape = network.inputs[0].shape[1:]
    x = random.uniform(-1, 1, (3, *shape)).astype("float32")
    labels = [tf.one_hot([0, 1, 2], 3)] if len(network.inputs) > 1 else []
    rows = causal.Rows(network, height)
    assert rows.count == count and bool(rows.layers) == (count < height)
    padded = np.pad(x, ((0, 0), (0, -height % count), (0, 0), (0, 0)))
    above, parts = rows.above(3), []
    for start in range(0, height, count):
        part = padded[:, start : start + count]
        output, above = rows([part, *labels] if labels else part, above)
        parts.append(output)
    whole = network([tf.constant(x), *labels] if labels else x)
    np.testing.assert_allclose(np.concatenate(parts, axis=1)[:, :height], whole, rtol=1e-4, atol=2e-5)


def test_a_network_of_other_layers_is_computed_whole():
    inputs = keras.Input((5, 5, 1))
    x = causal.CausalConv2D(4, (2, 3), wide=True)(causal.Shift("down")(inputs))
    network = keras.Model(inputs, keras.layers.Conv2D(3, 1)(keras.layers.LayerNormalization()(x)))
    rows = causal.Rows(network, 5)
    assert rows.count == 5 and rows.above(2) == []
    shared = causal.CausalConv2D(1, (2, 3), wide=True)
    network = keras.Model(inputs, shared(shared(inputs)))
    rows = causal.Rows(network, 5)
    with pytest.raises(ValueError, match="is called twice, expected once"):
        rows(np.zeros((1, 1, 5, 1), "float32"), [tf.zeros((1, 1, 5, 1))] * len(rows.layers))


# Likelihoods


def log_mass_of_mixture(levels_of_pixel, parameters, components, levels):
    """log of the mass of one pixel, by the formula of the paper in float64, number by number."""
    channels = len(levels_of_pixel)
    parts = parameters.reshape(-1, components)
    weights = scipy.special.softmax(parts[0])
    x, half, total = 2 * levels_of_pixel / (levels - 1) - 1, 1 / (levels - 1), 0.0
    for i in range(components):
        mass, place = weights[i], 1 + 2 * channels
        for c in range(channels):
            location, scale = parts[1 + c, i], np.exp(np.clip(parts[1 + channels + c, i], -7, 7))
            for d in range(c):
                location += np.tanh(parts[place, i]) * x[d]
                place += 1
            upper = np.inf if levels_of_pixel[c] == levels - 1 else (x[c] + half - location) / scale
            lower = -np.inf if levels_of_pixel[c] == 0 else (x[c] - half - location) / scale
            ends = (upper, lower) if upper + lower < 0 else (-lower, -upper)  # in the tail where float64 has more digits
            mass *= scipy.special.expit(ends[0]) - scipy.special.expit(ends[1])
        total += mass
    return np.log(total)


@pytest.mark.parametrize("channels, levels", [(1, 256), (3, 256), (1, 4), (2, 2), (4, 5)])
def test_the_mixture_is_the_published_formula_edges_included(channels, levels, random):
    density = likelihoods.DiscretizedLogisticMixture(4, levels)
    count = density.parameter_count(channels)
    assert count == 4 * {1: 3, 2: 6, 3: 10, 4: 15}[channels]
    parameters = random.normal(0, 1, (6, 3, 2, count))
    parameters[..., 4 * (1 + channels) : 4 * (1 + 2 * channels)] -= 1.5  # narrow ones too
    found = random.integers(0, levels, (6, 3, 2, channels))
    found[0], found[1] = 0, levels - 1
    expected = [
        sum(log_mass_of_mixture(found[n, r, c], parameters[n, r, c], 4, levels) for r in range(3) for c in range(2))
        for n in range(6)
    ]
    log_prob = density.log_prob(tf.constant(found / (levels - 1), tf.float32), tf.constant(parameters, tf.float32))
    np.testing.assert_allclose(log_prob, expected, rtol=2e-4)


def test_one_component_of_one_channel_is_the_discretised_logistic(random):
    # Which stands in [0, 1], so that its scale is half as large, and which bends its log-scale.
    location, log_scale = random.uniform(0, 1, 40), random.uniform(-4, 0, 40)
    x = random.integers(0, 256, 40) / 255
    bent = 2.0 + 7.0 * np.arctanh((log_scale - np.log(2)) / 7.0)
    single = likelihoods.DiscretizedLogistic().log_prob(
        tf.constant(x.reshape(40, 1, 1, 1), tf.float32),
        tf.constant(np.stack([location, bent], axis=-1).reshape(40, 1, 1, 2), tf.float32),
    )
    parameters = np.stack([np.zeros(40), 2 * location - 1, log_scale], axis=-1).reshape(40, 1, 1, 3)
    mixed = likelihoods.DiscretizedLogisticMixture(1).log_prob(
        tf.constant(x.reshape(40, 1, 1, 1), tf.float32), tf.constant(parameters, tf.float32)
    )
    np.testing.assert_allclose(mixed, single, rtol=1e-4, atol=1e-4)


def all_images(shape, levels):
    """Every image of so many levels, as floats in [0, 1]."""
    numbers = np.array(list(itertools.product(range(levels), repeat=int(np.prod(shape)))))
    return (numbers / (levels - 1)).reshape(-1, *shape).astype("float32")


@pytest.mark.parametrize("size", [1.0, 1e3], ids=["usual", "extreme"])
@pytest.mark.parametrize("make", ["mixture", "categorical"])
def test_a_likelihood_sums_to_one_and_has_finite_gradients(make, size, random):
    make = likelihoods.DiscretizedLogisticMixture if make == "mixture" else likelihoods.Categorical
    density = make(**({"components": 3} if make is likelihoods.DiscretizedLogisticMixture else {}), levels=4)
    x = all_images((1, 1, 2), 4)
    one = size * random.normal(size=(5, 1, 1, density.parameter_count(2)))
    for row in one.astype("float32"):
        parameters = tf.constant(np.repeat(row[None], len(x), axis=0))
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            log_prob = density.log_prob(tf.constant(x), parameters)
            safe = tf.reduce_sum(tf.exp(log_prob) * tf.stop_gradient(log_prob))
        assert np.exp(log_prob.numpy().astype("float64")).sum() == pytest.approx(1, abs=1e-4)
        assert np.isfinite(tape.gradient(safe, parameters)).all()


@pytest.mark.parametrize("make", ["mixture", "categorical"])
def test_draws_have_the_masses_of_the_likelihood_and_the_mean(make, random):
    levels, n = 5, 60_000
    density = likelihoods.DiscretizedLogisticMixture(2, levels) if make == "mixture" else likelihoods.Categorical(levels)
    row = random.normal(size=density.parameter_count(2)) - (1.0 if make == "mixture" else 0.0)
    parameters = tf.constant(np.broadcast_to(row, (n, 1, 1, len(row))), tf.float32)
    uniform = randomness.uniform(randomness.make_key(0), (n, 1, 1, density.noise_count(2)))
    drawn = density.draw(parameters, uniform).numpy()[:, 0, 0].astype(int)
    x = all_images((1, 1, 2), levels)
    masses = np.exp(density.log_prob(tf.constant(x), parameters[: len(x)]))
    shares = np.bincount(levels * drawn[:, 0] + drawn[:, 1], minlength=levels**2) / n
    np.testing.assert_allclose(shares, masses, atol=4 * np.sqrt(0.25 / n))
    assert len(np.unique(density.draw(parameters, uniform, temperature=0.0).numpy().reshape(n, 2), axis=0)) == 1
    if make == "categorical":
        np.testing.assert_allclose(density.mean(parameters[:1])[0, 0, 0], masses @ x.reshape(-1, 2), atol=1e-4)


def test_the_mean_of_a_mixture_goes_through_its_channels():
    # Weights 3/4 and 1/4; red at 0.2 and -0.4, green at 0.1 + tanh(0.5) red and -0.2 - tanh(1) red.
    parts = [[np.log(3), 0], [0.2, -0.4], [0.1, -0.2], [-3, -3], [-3, -3], [0.5, -1.0]]
    mean = likelihoods.DiscretizedLogisticMixture(2).mean(tf.constant(np.reshape(parts, (1, 1, 1, 12)), tf.float32))
    green = 0.75 * (0.1 + np.tanh(0.5) * 0.2) + 0.25 * (-0.2 - np.tanh(1.0) * -0.4)
    np.testing.assert_allclose(np.reshape(mean, 2), [(0.75 * 0.2 - 0.25 * 0.4 + 1) / 2, (green + 1) / 2], atol=1e-6)


@pytest.mark.parametrize("likelihood", ["logistic_mixture", "categorical"])
def test_a_vae_takes_the_likelihood(likelihood, images):
    colour = np.repeat(images, 2, axis=-1)
    model = gz.build("vae", (8, 8, 2), width=8, latent_dim=2, depth=1, likelihood=likelihood, seed=0, **EAGER)
    losses = model.fit(colour, batch_size=8, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0] and model.support == "levels"
    bits = model.bits_per_dim(colour, samples=2)
    assert bits.shape == (16,) and np.isfinite(bits).all()
    assert model.decode(model.encode(colour)).shape == colour.shape


# The model


@every_kind
@pytest.mark.parametrize("shape, levels", [((2, 2, 1), 4), ((1, 2, 2), 3)], ids=["gray", "two channels"])
def test_probabilities_of_all_images_sum_to_one(make, shape, levels):
    model = make(shape, levels)
    log_prob = model.log_prob(all_images(shape, levels)).numpy().astype("float64")
    assert np.exp(log_prob).sum() == pytest.approx(1, abs=1e-4)
    assert log_prob.std() > 0.1
    np.testing.assert_allclose(model.bits_per_dim(all_images(shape, levels)), -log_prob / (4 * np.log(2)), rtol=1e-5)


def test_even_noise_has_eight_bits_a_number(images):
    model = AutoregressiveModel(networks.gated_pixelcnn((8, 8, 1), 256, width=4, depth=2), likelihoods.Categorical(), seed=0)
    for variable in model.network.get_layer("parameters").trainable_variables:
        variable.assign(0.0 * variable)
    np.testing.assert_allclose(model.bits_per_dim(images), 8, rtol=1e-6)
    model.compile(**EAGER)
    scores = model.evaluate(images, batch_size=5, verbose=0, return_dict=True)
    assert scores["bits_per_dim"] == pytest.approx(8, rel=1e-6)
    assert scores["loss"] == pytest.approx(64 * np.log(256), rel=1e-6)


@pytest.mark.parametrize("make", [categorical, pytest.param(mixture, marks=pytest.mark.slow)], ids=KINDS)
def test_samples_and_likelihoods_are_the_same_in_several_batches_and_under_xla(make):
    model = make((4, 4, 1), 16)
    samples = model.sample(7, seed=2)
    np.testing.assert_allclose(model.sample(7, seed=2, batch_size=3), samples, atol=1e-6)
    np.testing.assert_allclose(np.concatenate(list(model.sample_batches(7, seed=2, batch_size=4))), samples, atol=1e-6)
    compiled = tf.function(lambda seed: model.sample(7, seed=seed), jit_compile=True, autograph=False)
    np.testing.assert_allclose(compiled(tf.constant(2, tf.int64)), samples, atol=1e-6)
    log_prob = model.log_prob(samples)
    np.testing.assert_allclose(model.log_prob(samples, batch_size=3), log_prob, rtol=1e-5)
    compiled = tf.function(lambda x: model.log_mass(x), jit_compile=True, autograph=False)
    np.testing.assert_allclose(compiled(tf.constant(samples)), log_prob, rtol=1e-5)


@every_kind
def test_samples_follow_the_probabilities_and_have_the_likelihood_that_they_should(make):
    model, n = make((2, 2, 1), 4), 20_000
    everything = all_images((2, 2, 1), 4)
    log_prob = model.log_prob(everything).numpy().astype("float64")
    samples = model.sample(n, seed=0, batch_size=n)
    numbers = np.rint(3 * samples.reshape(n, 4)).astype(int) @ [64, 16, 4, 1]
    np.testing.assert_allclose(samples, everything[numbers], atol=1e-6)
    probabilities = np.exp(log_prob)
    shares = np.bincount(numbers, minlength=256) / n
    assert (np.abs(shares - probabilities) < 5 * np.sqrt(probabilities / n) + 2 / n).all()
    # The mean of log P over samples is the negative entropy.
    spread = np.sqrt(probabilities @ (log_prob - probabilities @ log_prob) ** 2)
    found = float(np.mean(model.log_prob(samples)))
    assert found == pytest.approx(probabilities @ log_prob, abs=4 * spread / np.sqrt(n))


def drawn_one_by_one(model, noise, temperature=1.0):
    """Levels of images, number after number, each by an evaluation of the whole network."""
    height, width, channels = model.image_shape
    most = model.likelihood.levels - 1
    levels = np.zeros((len(noise), height, width, channels), "float32")
    for row, column, channel in itertools.product(range(height), range(width), range(channels)):
        parameters = model.network(2 * levels / most - 1, training=False)
        drawn = model.likelihood.draw(parameters, noise, temperature).numpy()
        levels[:, row, column, channel] = drawn[:, row, column, channel]
    return levels


@every_kind
@pytest.mark.parametrize("shape", [(5, 3, 2), (4, 4, 1)], ids=["odd sides", "gray"])
def test_samples_are_those_that_are_drawn_number_by_number(make, shape):
    model = make(shape, 16)
    noise = model.draw_latents(5, randomness.RowStream(3, 0))
    expected = drawn_one_by_one(model, noise)
    assert np.unique(expected).size > 4
    # Rounding may decide otherwise where a number is at the border of a level.
    np.testing.assert_allclose(15 * model.generate(noise).numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(15 * model.sample(5, seed=3), expected, atol=1e-4)
    cold = drawn_one_by_one(model, noise, 0.3)
    np.testing.assert_allclose(15 * model.sample(5, seed=3, temperature=0.3), cold, atol=1e-4)


@every_kind
def test_temperature_0_leaves_nothing_to_chance(make):
    model = make((4, 4, 1), 16)
    np.testing.assert_array_equal(*(model.sample(2, seed=seed, temperature=0.0) for seed in (0, 1)))
    assert np.abs(model.sample(2, seed=0) - model.sample(2, seed=1)).max() > 0


@every_kind
def test_the_rest_of_an_image_is_drawn_given_its_first_rows(make):
    model, n = make((2, 2, 1), 4), 10_000
    everything = all_images((2, 2, 1), 4)
    probabilities = np.exp(model.log_prob(everything).numpy().astype("float64")).reshape(16, 16)
    given = 7
    image = np.broadcast_to(everything[16 * given], (n, 2, 2, 1))
    completed = model.complete(image, known=1, seed=0, batch_size=n)
    np.testing.assert_array_equal(completed[:, 0], image[:, 0])
    rest = np.rint(3 * completed[:, 1].reshape(n, 2)).astype(int) @ [4, 1]
    expected = probabilities[given] / probabilities[given].sum()
    np.testing.assert_allclose(np.bincount(rest, minlength=16) / n, expected, atol=4 * np.sqrt(0.25 / n))


@every_kind
def test_completing_keeps_what_is_known_and_draws_the_rest_as_sample_does(make, images):
    model = make((8, 8, 1))
    some = images[:3] / np.float32(255)
    np.testing.assert_allclose(model.complete(some, known=0, seed=5), model.sample(3, seed=5), atol=1e-6)
    np.testing.assert_array_equal(model.complete(images[:3], known=8, seed=5), some)
    hole = np.ones((8, 8), bool)
    hole[3:5, 3:6] = False
    made = [model.complete(images[:3], hole, seed=seed) for seed in (0, 0, 1)]
    for each in made:
        np.testing.assert_array_equal(each[:, hole], some[:, hole])
    np.testing.assert_array_equal(made[0], made[1])
    assert np.abs(made[0] - made[2])[:, ~hole].max() > 0
    # A known pixel counts as it is for those that follow: two holes with one image differ as their rows above do.
    other = some.copy()
    other[:, 2] = 1 - other[:, 2]
    assert np.abs(model.complete(other, hole, seed=0) - made[0])[:, ~hole].max() > 0


@pytest.mark.parametrize("make", [lambda: categorical((4, 4, 1), 8, num_classes=3), lambda: mixture((4, 4, 1), 8, num_classes=3)])
def test_a_conditional_model_knows_its_classes(make, random):
    model = make()
    model.compile(**EAGER)
    x = (random.integers(0, 8, (9, 4, 4, 1)) / 7).astype("float32")
    labels = np.arange(9) % 3
    by_class = np.stack([model.log_prob(x, labels=np.full(9, each)) for each in range(3)])
    assert np.abs(by_class[0] - by_class[1]).max() > 1e-3
    np.testing.assert_allclose(model.log_prob(x, labels=labels), by_class[labels, np.arange(9)], rtol=1e-5)
    np.testing.assert_allclose(model((x, labels)), by_class[labels, np.arange(9)], rtol=1e-5)
    mean = scipy.special.logsumexp(by_class.astype("float64"), axis=0) - np.log(3)
    np.testing.assert_allclose(model.log_prob(x), mean, rtol=1e-5)
    assert np.abs(model.sample(3, seed=0, labels=[0, 0, 0]) - model.sample(3, seed=0, labels=[1, 2, 1])).max() > 0
    assert model.complete(x[:2], known=2, seed=0, labels=[0, 1]).shape == (2, 4, 4, 1)
    assert np.isfinite(model.fit(x, labels, verbose=0).history["loss"]).all()
    with pytest.raises(ValueError, match="was given images alone"):
        model.fit(x, verbose=0)


@pytest.mark.slow
def test_training_comes_near_the_entropy_of_data_that_are_known():
    """Images of which each pixel is that above it with a chance of 0.9, and else one of four levels: 16 columns of 3 steps."""
    random = np.random.default_rng(0)
    rows = [random.integers(0, 4, (4000, 4))]
    for _ in range(3):
        rows.append(np.where(random.random((4000, 4)) < 0.9, rows[-1], random.integers(0, 4, (4000, 4))))
    x = (np.stack(rows, axis=1)[..., None] / 3).astype("float32")
    stay = 0.9 + 0.1 / 4
    entropy = 4 * np.log(4) - 12 * (stay * np.log(stay) + 3 * 0.025 * np.log(0.025))
    for make in KINDS.values():
        model = make((4, 4, 1), 4, width=16)
        model.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
        model.fit(x[:3000], batch_size=100, epochs=20, verbose=0)
        loss = model.evaluate(x[3000:], batch_size=100, verbose=0, return_dict=True)["loss"]
        assert entropy - 0.3 < loss < entropy + 0.5


def count_of_blocks(width, channels, blocks, components):
    """Parameters of PixelCNN++ by arithmetic: each kernel, and a gain and a bias for each filter."""
    of = lambda rows, columns, inputs, filters: rows * columns * inputs * filters + 2 * filters  # noqa: E731
    block = lambda rows, columns, other: (  # noqa: E731
        of(rows, columns, 2 * width, width)
        + (of(1, 1, 2 * other, width) if other else 0)
        + of(rows, columns, 2 * width, 2 * width)
    )
    first = of(2, 3, channels + 1, width) + of(1, 3, channels + 1, width) + of(2, 1, channels + 1, width)
    down, up = 3 * blocks, 3 * blocks + 2
    sizes = 4 * (of(2, 3, width, width) + of(2, 2, width, width))  # two ways of two changes of size, in both streams
    outputs = components * (1 + 2 * channels + channels * (channels - 1) // 2)
    return (
        first
        + down * (block(2, 3, 0) + block(2, 2, width))
        + sizes
        + up * (block(2, 3, width) + block(2, 2, 2 * width))
        + of(1, 1, width, outputs)
    )


def test_the_published_size_has_the_parameters_of_the_published_network():
    small = gz.build("pixelcnn_pp", (32, 32, 3), width=4, blocks=2, components=3)
    assert small.count_params() == count_of_blocks(4, 3, 2, 3)
    told = gz.recipes.get("pixelcnn/cifar10").defaults
    sizes = {name: told[name] for name in ("width", "blocks", "halvings", "dropout")}
    assert sizes == {"width": 160, "blocks": 5, "halvings": 2, "dropout": 0.5} and told["components"] == 10
    assert count_of_blocks(160, 3, 5, 10) == 53_659_080


@pytest.mark.slow
def test_the_published_size_makes_a_step(random):
    model = gz.build("pixelcnn/cifar10", (32, 32, 3), seed=0, **EAGER)
    assert model.count_params() == 53_659_080
    x = random.integers(0, 256, (2, 32, 32, 3), "uint8")
    assert 5 < float(model.fit(x, batch_size=2, verbose=0).history["bits_per_dim"][0]) < 15


@pytest.mark.parametrize(
    "act, message",
    [
        (lambda: AutoregressiveModel(networks.pixelcnn_pp((4, 4, 1), 30, 4), "gaussian"), "expected one of levels"),
        (
            lambda: AutoregressiveModel(networks.pixelcnn_pp((4, 4, 1), 29, 4)),
            r"puts out shape \(4, 4, 29\), expected \(4, 4, 30\)",
        ),
        (lambda: gz.build("pixelcnn", (4, 4, 1), likelihood="gaussian"), "likelihood is 'gaussian', expected 'categorical'"),
        (lambda: networks.gated_pixelcnn((4, 4, 1), 4, kernel=4), "kernel is 4 .*expected odd"),
        (lambda: networks.gated_pixelcnn((4, 4, 3), 4), "outputs is 4 for 3 channels in order"),
        (lambda: networks.gated_pixelcnn((4, 4, 3), 3, embedded=8), "expected one channel"),
        (lambda: mixture((4, 4, 1)).sample(1, temperature=-1), "temperature is -1, expected a finite number of at least 0"),
        (lambda: mixture((4, 4, 1)).complete(np.zeros((1, 4, 4, 1)), np.ones((3, 3))), "mask has shape"),
        (lambda: mixture((4, 4, 1)).complete(np.zeros((1, 4, 4, 1)), known=-1), "known is -1"),
        (lambda: mixture((4, 4, 1)).complete(np.zeros((1, 4, 4, 1)), known=5), "known is 5, expected at most 4"),
        (lambda: causal.CausalConv2D(2, (2, 2), wide=True), "a wide kernel has 2 columns"),
        (lambda: causal.CausalConv2D(2, (2, 2), mask="C"), "mask is 'C'"),
        (lambda: causal.CausalConv2DTranspose(2, (3, 2), size=(4, 4)), "has 3 rows, expected at most the stride, 2"),
        (lambda: causal.Shift("up"), "direction is 'up'"),
        (lambda: gz.build("vqvae", (8, 8, 1), width=4, prior="flow"), "prior is 'flow', expected 'mixture' or 'autoregressive'"),
        (lambda: gz.build("vqvae", (8, 8, 1), width=4, quantizer="x"), "quantizer is 'x', expected 'codebook' or 'scalar'"),
        (lambda: quantised(prior=categorical((2, 2, 1), 7)), "with 7 levels, .*expected .2, 2, 1. with 8 levels"),
    ],
)
def test_a_wrong_argument_gets_one_sentence(act, message):
    with pytest.raises(ValueError, match=message):
        act()


# Grids of vectors


def quantised(prior=None, codebook=None, **settings):
    """A vector-quantised autoencoder of 8x8 images, with grids of 2x2."""
    codebook = Codebook(8, 3) if codebook is None else codebook
    sizes = {"width": 4, "depth": 2, "normalization": None}
    encoder = shaken(networks.grid_encoder((8, 8, 1), codebook.dim, **sizes), 0.3)
    decoder = networks.grid_decoder((8, 8, 1), codebook.dim, output_activation="sigmoid", **sizes)
    return VQVAE(encoder, decoder, codebook, prior=prior, seed=0, **settings)


def test_finite_scalars_are_those_of_the_paper_and_their_numbers_name_each_vector_once(random):
    levels = [8, 5, 4, 2]
    book, counts = ScalarCodebook(levels), np.array(levels)
    z = random.normal(0, 3, (500, 4))
    # The code of the paper's appendix A.1, in float64.
    half, offset = (counts - 1) * (1 - 1e-3) / 2, np.where(counts % 2 == 1, 0.0, 0.5)
    expected = np.round(np.tanh(z + np.tan(offset / half)) * half - offset) / (counts // 2)
    bounded = book.bounded(tf.constant(z, tf.float32))
    index = book.nearest(bounded)
    np.testing.assert_allclose(book.vectors_of(index), expected, atol=1e-6)
    assert (book.size, book.dim) == (320, 4) and 0 <= np.min(index) and np.max(index) < 320
    everything = book.vectors_of(tf.range(320))
    assert len(np.unique(everything, axis=0)) == 320 and np.abs(everything).max() <= 1
    np.testing.assert_array_equal(book.nearest(everything), np.arange(320))


@pytest.mark.parametrize("codebook", [lambda: Codebook(8, 3), lambda: ScalarCodebook((5, 4))], ids=["codebook", "scalars"])
def test_numbers_of_vectors_decode_as_the_vectors_do(codebook, images):
    model = quantised(codebook=codebook())
    index = model.encode_indices(images)
    assert index.shape == (16, 2, 2) and len(np.unique(index)) > 1
    np.testing.assert_allclose(model.decode_indices(index), model.reconstruct(images), atol=1e-6)
    np.testing.assert_allclose(
        model.decode_indices(np.asarray(index)[:5], batch_size=2), model.reconstruct(images[:5]), atol=1e-5
    )
    again = model.codebook.nearest(tf.reshape(model.encode(images), (16, 2, 2, model.codebook.dim)))
    np.testing.assert_array_equal(again, index)


def test_the_gradient_of_finite_scalars_goes_straight_through_the_rounding_and_through_the_bound(images):
    model = quantised(codebook=ScalarCodebook((5, 4)), commitment=0.0)
    x = model.images_of(images)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.objective(x, model.random, False)["loss"])
    found = tape.gradient(loss, model.encoder.trainable_variables)
    with tf.GradientTape() as tape:
        bounded = model.codebook.bounded(model.encoder(x))
        snapped = model.snapped(bounded)
        tape.watch(snapped)
        reconstruction = tf.reduce_sum((x - model.decoder(snapped)) ** 2)
    slope = tape.gradient(reconstruction, snapped)
    with tf.GradientTape() as tape:
        along = tf.reduce_sum(model.codebook.bounded(model.encoder(x)) * slope)
    for a, b in zip(found, tape.gradient(along, model.encoder.trainable_variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_an_autoregressive_prior_learns_along_and_changes_nothing_of_the_autoencoder(images):
    prior = lambda: AutoregressiveModel(  # noqa: E731
        networks.gated_pixelcnn((2, 2, 1), 8, width=8, depth=2, embedded=8), likelihoods.Categorical(8), seed=0
    )
    with_prior, without = quantised(prior()), quantised()
    without.encoder.set_weights(with_prior.encoder.get_weights())
    without.decoder.set_weights(with_prior.decoder.get_weights())
    for model in (with_prior, without):
        model.compile(keras.optimizers.SGD(1e-3), **({"prior_optimizer": "adam"} if model is with_prior else {}), **EAGER)
        model.fit(images, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for one, other in zip(with_prior.encoder.get_weights(), without.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not hasattr(with_prior, "fit_prior") and hasattr(without, "sample") is False
    assert with_prior.sample(3, seed=0).shape == (3, 8, 8, 1)
    # Its loss is its own log-likelihood of the numbers, and falls.
    history = with_prior.fit(images, batch_size=16, epochs=40, validation_data=images, verbose=0).history
    index = np.asarray(with_prior.encode_indices(images))
    expected = -np.mean(with_prior.prior.log_prob((index[..., None] / 7).astype("float32")))
    assert history["val_prior_loss"][-1] == pytest.approx(expected, rel=1e-4)
    assert history["prior_loss"][-1] < history["prior_loss"][0]


def test_samples_decode_grids_of_the_autoregressive_prior(images):
    model = gz.build("fsq_vae", (8, 8, 1), width=4, depth=2, levels=(3, 3), prior_width=8, prior_depth=2, seed=0, **EAGER)
    model.fit(images, batch_size=8, verbose=0)
    noise = model.draw_latents(6, randomness.RowStream(4, 0))
    grids = np.rint(8 * model.prior.generate(noise).numpy()[..., 0]).astype(int)
    assert grids.shape == (6, 2, 2) and grids.max() < 9
    np.testing.assert_allclose(model.sample(6, seed=4), model.decode_indices(grids), atol=1e-5)
