"""StyleGAN2 against the code that its authors published, and what it does: styles, lazy regularisation, truncation."""

import math
from pathlib import Path

import drawn
import keras
import numpy as np
import pytest
import tensorflow as tf
from test_case import SHAPE, TINY, batches, build
from test_residual_gans import Told, check, trained

import keras_genzoo as gz
from keras_genzoo import adversarial, networks, testing
from keras_genzoo.core import randomness
from keras_genzoo.core.optimizers import lazy, step_every
from keras_genzoo.networks import styled

# scripts/reference_stylegan2.py made it, of networks in PyTorch with the same weights.
REFERENCE = Path(__file__).parent / "data" / "stylegan2_reference.npz"
IMAGES, DIM, GAMMA, MEAN = 4, 8, 400.0, 0.3
WIDE = {"width": 16, "full": 4}
CRITICS = {"critic": {}, "plain critic": {"residual": False, "group": 2}}


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as stored:
        return dict(stored)


def filled(*parts, noise=True):
    """Weights of networks drawn by their names; the trainable variables by name. Without noise its strengths are 0."""
    found = {}
    for layer in (layer for part in parts for layer in part.layers):
        for variable in layer.weights:
            if "float" in variable.dtype:
                name = f"{layer.name}/{variable.name}"
                variable.assign(drawn.equalized(name, variable.shape) * (noise or variable.name != "strength"))
                found |= {name: variable} if variable.trainable else {}
    return found


def depth_of(size):
    return int(math.log2(size // 4))


def generator_of(size):
    mapping = networks.stylegan2_mapping(DIM, DIM, depth=3)
    return mapping, networks.stylegan2_generator(DIM, (size, size, 3), depth=depth_of(size), **WIDE)


def critic_of(size, **settings):
    return networks.stylegan2_critic((size, size, 3), depth=depth_of(size), **WIDE, **settings)


def given(size):
    """Noise and images."""
    key = f"stylegan2/{size}"
    return tf.constant(drawn.numbers(f"{key}/z", (IMAGES, DIM))), tf.constant(
        drawn.numbers(f"{key}/images", (IMAGES, size, size, 3))
    )


# Against the published code


@pytest.mark.parametrize("part", ["generator", *CRITICS])
@pytest.mark.parametrize("size", [32, 64])
def test_outputs_and_gradients_are_those_of_the_published_network(size, part, reference):
    key, (z, images) = f"stylegan2/{size}/{part}", given(size)
    if part == "generator":
        mapping, generator = generator_of(size)
        variables, x = filled(mapping, generator), z
        network = lambda z: generator(tf.repeat(mapping(z)[:, None], 2 * depth_of(size) + 2, axis=1))  # noqa: E731
    else:
        network, x = critic_of(size, **CRITICS[part]), images
        variables = filled(network)
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = network(x)
        total = tf.reduce_sum(output * drawn.numbers(f"{key}/probe", output.shape))
    gradients = tape.gradient(total, {**{name: each.value for name, each in variables.items()}, "input": x})
    np.testing.assert_allclose(drawn.thinned(output), reference[f"{key}/output"], rtol=1e-4, atol=1e-4 * np.abs(output).max())
    check(key, {**gradients, "output": output}, reference)


def game(**settings):
    (mapping, generator), critic = generator_of(32), critic_of(32)
    own, others = filled(mapping, generator, noise=False), filled(critic)
    return gz.models.StyleGAN(mapping, generator, critic, mixing=0.0, seed=0, **settings), own, others


def test_the_critics_loss_and_its_gradient_are_those_of_the_published_code(reference):
    model, _, variables = game(penalties=[adversarial.SlopePenalty(GAMMA / 2, at="real", target=0.0)])
    z, real = given(32)
    with tf.GradientTape() as tape:
        fakes = [tf.stop_gradient(model.generated(IMAGES, None, Told(z), training=True))]
        terms = model.critic_terms(real, None, fakes, Told(z), training=True)
        loss = tf.reduce_mean(terms["loss"])
    values = [tf.reduce_mean(terms["critic_loss"]), terms["penalty_loss"]]
    np.testing.assert_allclose(values, reference["stylegan2/critic step/output"][:2], rtol=1e-4)
    gradients = tape.gradient(loss, {name: each.value for name, each in variables.items()})
    check("stylegan2/critic step", gradients, reference)


def test_the_generators_loss_and_path_lengths_are_those_of_the_published_code(reference):
    model, variables, _ = game(path_length=adversarial.PathLength())
    path, (z, _) = model.path_length, given(32)
    path.mean.assign(MEAN)
    y = Told(tf.constant(drawn.numbers("stylegan2/y", (IMAGES // 2, 32, 32, 3))))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model.generator_terms(z, None, Told(z), training=True)["loss"])
        styles = model.of_layers(model.mapping(z[: IMAGES // 2]))
        penalty, mean = path(lambda styles: model.generator(styles, training=True), styles, y)
        total = loss + tf.reduce_mean(penalty)
    values = [loss, tf.reduce_mean(penalty), mean]
    np.testing.assert_allclose(values, reference["stylegan2/generator step/output"], rtol=1e-4)
    found = {name: each.value for name, each in variables.items() if not name.endswith("strength")}
    check("stylegan2/generator step", tape.gradient(total, found), reference)


def sizes_by_hand(size, full, mapping, residual, group=1):
    """Of 512 channels at the `full` coarsest sizes, and half as many at each finer one."""
    channels = [512 >> max(0, stage - full + 1) for stage in range(depth_of(size) + 1)]
    dense = lambda inputs, outputs: inputs * outputs + outputs  # noqa: E731
    modulated = lambda inputs, outputs, side: dense(512, inputs) + side**2 * inputs * outputs + outputs  # noqa: E731
    generator, critic = mapping * dense(512, 512) + 16 * 512, 3 * channels[-1] + channels[-1]
    for before, now in zip([None, *channels[:-1]], channels, strict=True):
        generator += modulated(now, now, 3) + 1 + modulated(now, 3, 1) + (modulated(before, now, 3) + 1 if before else 0)
        if before:
            critic += 9 * now * now + now + 9 * now * before + before + residual * now * before
    return generator, critic + 9 * 513 * 512 + 512 + dense(16 * 512, 512) + dense(512, 1)


PUBLISHED = {
    "cifar10": (sizes_by_hand(32, 5, 2, False), (19_947_539, 20_720_641)),
    "ffhq256": (sizes_by_hand(256, 4, 8, True), (24_767_458, 24_001_089)),
    "ffhq1024": (sizes_by_hand(1024, 5, 8, True), (30_370_060, 29_012_513)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_sizes_by_hand_are_those_of_the_published_code(name, reference):
    assert PUBLISHED[name] == (PUBLISHED[name][1],) * 2
    assert reference[f"stylegan2/{name}/parameters"].tolist() == list(PUBLISHED[name][1])


@pytest.mark.slow
@pytest.mark.parametrize("name, size", [("cifar10", 32), ("ffhq256", 256)])
def test_the_recipes_have_the_published_sizes(name, size):
    model = gz.build(f"stylegan2/{name}", (size, size, 3))
    assert (trained(model.generator) + trained(model.mapping), trained(model.critic)) == PUBLISHED[name][1]


# The layers


def test_demodulation_keeps_a_variance_of_one():
    layer, random = styled.ModulatedConv2D(64, 3), np.random.default_rng(0)
    x = random.normal(size=(4, 24, 24, 32)).astype("float32")
    style = (1 + random.normal(size=(4, 32)) * [[0.1], [1.0], [10.0], [0.001]]).astype("float32")
    inner = layer([x, style]).numpy()[:, 1:-1, 1:-1]
    np.testing.assert_allclose(inner.var(axis=(1, 2, 3)), 1, rtol=0.05)
    plain = styled.ModulatedConv2D(64, 3, demodulate=False)
    plain.build([x.shape, style.shape])
    plain.set_weights(layer.get_weights())
    assert plain([x, style]).numpy().var(axis=(1, 2, 3))[2] > 50


def test_a_style_modulates_the_kernel_of_its_own_image():
    """By equations 1 and 3, with a kernel for each image."""
    layer, random = styled.ModulatedConv2D(5, 3), np.random.default_rng(0)
    x, style = random.normal(size=(3, 6, 7, 4)).astype("float32"), random.normal(size=(3, 4)).astype("float32")
    layer.build([x.shape, style.shape])
    layer.bias.assign(random.normal(size=5))
    for image, own, found in zip(x, style, layer([x, style]).numpy(), strict=True):
        kernel = layer.kernel.numpy() * own[:, None]
        kernel = kernel / np.sqrt(np.sum(kernel**2, axis=(0, 1, 2)))
        np.testing.assert_allclose(found, tf.nn.conv2d(image[None], kernel, 1, "SAME")[0] + layer.bias, atol=1e-5)
    with pytest.raises(ValueError, match="has up=True and a kernel_size of 1, expected 3"):
        styled.ModulatedConv2D(5, 1, up=True)


def test_kernels_are_about_one_and_compute_with_the_root_of_their_inputs():
    x = np.random.default_rng(0).normal(size=(500, 100)).astype("float32")
    dense, slow = styled.EqualizedDense(200), styled.EqualizedDense(200, rate=0.01, offset=2.0)
    for layer, mean in ((dense, 0), (slow, 2)):
        y = layer(x).numpy()
        assert y.std() == pytest.approx(1, rel=0.05) and y.mean() == pytest.approx(mean, abs=0.05)
        assert layer.kernel.numpy().std() == pytest.approx(1 / layer.rate, rel=0.05)
    conv = styled.EqualizedConv2D(50, 3)
    assert conv(x.reshape(5, 10, 10, 100)).numpy()[:, 1:-1, 1:-1].std() == pytest.approx(1, rel=0.05)
    assert conv.kernel.numpy().std() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("n, members", [(8, [0, 2, 4, 6]), (3, [0, 1, 2]), (11, [0, 2, 4, 6, 8, 10]), (1, [0])])
def test_the_standard_deviation_of_a_group_is_a_channel(n, members):
    x = np.random.default_rng(0).normal(size=(n, 3, 2, 5)).astype("float32")
    y = styled.MinibatchStd(4)(x).numpy()
    np.testing.assert_array_equal(y[..., :5], x)
    np.testing.assert_allclose(y[members, ..., 5], np.sqrt(x[members].var(axis=0) + 1e-8).mean(), rtol=1e-4)


def test_noise_is_new_in_training_and_the_same_at_inference():
    layer, x = styled.NoiseInjection(seed=3), tf.zeros((4, 8, 8, 2))
    layer.build(x.shape)
    np.testing.assert_array_equal(layer(x, training=True), x)  # of strength 0
    layer.strength.assign(2.0)
    first, second = layer(x, training=True).numpy(), layer(x, training=True).numpy()
    assert first.std() == pytest.approx(2, rel=0.2) and np.abs(first - second).max() > 1 and np.abs(first[0] - first[1]).max() > 1
    np.testing.assert_array_equal(first[..., 0], first[..., 1])
    for _ in range(2):
        np.testing.assert_array_equal(layer(x), np.tile(2 * layer.map, (4, 1, 1, 2)))
    again = styled.NoiseInjection.from_config(layer.get_config())
    again.build(x.shape)
    again.set_weights(layer.get_weights())  # the count of draws among them
    np.testing.assert_array_equal(again(x, training=True), layer(x, training=True))


# Styles


def stream():
    return randomness.RowStream(5, 0)


def test_styles_are_mixed_from_a_random_layer_on():
    model = build("stylegan2", mixing=1.0, style_dim=3, depth=2)
    found, random = model.mixed_styles(200, stream(), training=True).numpy(), stream()
    first, second = (model.mapping(random.normal((200, 3))).numpy()[:, None] for _ in range(2))
    is_first, is_second = (np.abs(found - each).max(axis=-1) < 1e-6 for each in (first, second))
    assert model.layer_count == 6 and (is_first ^ is_second).all()
    counts = is_first.sum(axis=1)
    assert (is_first == (np.arange(6) < counts[:, None])).all()  # the coarser layers have the first one
    assert set(counts) == {1, 2, 3, 4, 5} and np.bincount(counts)[1:].min() > 20
    model.mixing = 0.3
    mixed = model.mixed_styles(2000, stream(), training=True).numpy()
    mixed = (mixed[:, 0] != mixed[:, -1]).any(axis=-1)
    assert mixed.mean() == pytest.approx(0.3, abs=0.05)
    np.testing.assert_array_equal(model.mixed_styles(200, stream(), training=False), np.tile(first, (1, 6, 1)))


def test_truncation_goes_to_the_mean_image(images):
    model = build("stylegan2", ema=0.5)
    model.fit(batches("stylegan2", images), epochs=3, verbose=0)
    with model.averaged_weights():
        mean = np.clip(0.5 + 0.5 * model.generator(model.of_layers(model.mean_style[None])), 0, 1)
    assert np.abs(model.mean_style).max() > 1e-3
    np.testing.assert_allclose(model.sample(5, seed=0, truncation=0), np.repeat(mean, 5, axis=0), atol=1e-6)
    z = model.draw_latents(5, stream())
    whole, half = model.style(z), model.style(z, truncation=0.5)
    np.testing.assert_allclose(half, 0.5 * (whole + model.mean_style), atol=1e-6)
    np.testing.assert_array_equal(model.sample(5, seed=0), model.sample(5, seed=0, truncation=1.0))
    spread = [model.sample(64, seed=0, truncation=psi).std(axis=0).mean() for psi in (0.3, 1.0)]
    assert 0 < spread[0] < spread[1]
    with pytest.raises(ValueError, match="truncation is None, expected a finite number"):
        model.sample(5, truncation=None)


def test_the_mean_style_follows_the_styles(images):
    model = build("stylegan2")
    model.style_decay = 0.9
    model.compile(**{name: keras.optimizers.SGD(0.0) for name in model.optimizers})
    model.fit(np.tile(images, (40, 1, 1, 1)), batch_size=16, verbose=0)
    expected = model.mapping(randomness.normal(randomness.make_key(0), (20_000, 3))).numpy()
    np.testing.assert_allclose(model.mean_style, expected.mean(axis=0), atol=0.3 * expected.std(axis=0).max())


# Lazy regularisation


def test_a_lazy_step_is_on_average_as_large_as_one_in_every_step():
    model = build("stylegan2")
    layer = model.critic.get_layer("score")
    slope = np.random.default_rng(0).normal(size=layer.kernel.shape).astype("float32")
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build(model.critic.trainable_variables)
    before, other = layer.kernel.numpy(), model.critic.get_layer("features").kernel.numpy()
    found = []
    for step in range(6):
        model._place.seen.assign([0, step])
        loss_of = lambda: (tf.reduce_sum(layer.kernel * slope), 2.0)  # noqa: E731
        found.append([float(each) for each in tf.function(lambda: step_every(model, 3, loss_of, ("critic",), optimizer))()])  # noqa: B023
    made = np.array(found).T
    assert made[0].tolist() == [1, 0, 0, 1, 0, 0] and made[2].tolist() == [2, 0, 0, 2, 0, 0]
    assert made[1][0] == pytest.approx(3 * np.sum(before * slope), rel=1e-4) and not made[1][[1, 2, 4, 5]].any()
    np.testing.assert_allclose(layer.kernel, before - 6 * slope, atol=1e-4)  # as of six steps of their own
    np.testing.assert_array_equal(model.critic.get_layer("features").kernel, other)
    assert int(optimizer.iterations.numpy()) == 2


@pytest.mark.parametrize("run_eagerly", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_lazy_penalty_is_on_average_the_penalty(run_eagerly, images):
    """With learning rates of 0 and the same images in each step."""
    found, counts = {}, {}
    for every in (1, 4):
        model = build("stylegan2", r1_every=every, gamma=50.0, path_every=2)
        model.compile(**{name: keras.optimizers.SGD(0.0) for name in model.optimizers}, run_eagerly=run_eagerly)
        log = model.fit(np.tile(images, (8, 1, 1, 1)), batch_size=16, shuffle=False, verbose=0).history
        found[every] = log["penalty_loss"][0]
        counts[every] = [int(getattr(model, name).iterations.numpy()) for name in ("critic_optimizer", "optimizer")]
        assert log["path_loss"][0] > 0
    assert found[1] > 1e-4 and found[4] == pytest.approx(found[1], rel=1e-4)
    assert counts == {1: [8, 8 + 4], 4: [8 + 2, 8 + 4]}


def test_a_lazy_penalty_of_features_sees_the_witness(images):
    penalties = [adversarial.SlopePenalty(10.0, every=2)]
    model = gz.build(
        "gan", SHAPE, width=4, depth=2, latent_dim=3, seed=0, jit_compile=False, objective="cramer", penalties=penalties
    )
    log = model.fit(np.tile(images, (4, 1, 1, 1)), batch_size=16, verbose=0).history
    assert log["penalty_loss"][0] > 0 and int(model.critic_optimizer.iterations.numpy()) == 4 + 2
    copy = adversarial.SlopePenalty.from_config(penalties[0].get_config())
    assert copy.every == 2
    with pytest.raises(ValueError, match="every is 0, expected a whole number of at least 1"):
        adversarial.SlopePenalty(every=0)


def test_the_rates_of_adam_make_up_for_the_steps_of_lazy_regularisation():
    model = build("stylegan2", learning_rate=2e-3, beta_2=0.99)
    for optimizer, share in ((model.optimizer, 4 / 5), (model.critic_optimizer, 16 / 17)):
        assert float(tf.convert_to_tensor(optimizer.learning_rate)) == pytest.approx(2e-3 * share)
        assert (optimizer.beta_1, optimizer.beta_2) == (0.0, pytest.approx(0.99**share))
    assert lazy(4, 1.0, 0.5) == [0.8, pytest.approx(0.5**0.8)]
    (penalty,) = model.penalties
    assert (penalty.weight, penalty.at, penalty.target, penalty.every) == (0.05, "real", 0.0, 16)
    assert (model.path_length.weight, model.path_length.every, model.mixing) == (2.0, 4, 0.9)
    ending = build("stylegan2", total_steps=100, decay="linear")
    assert ending.optimizer._learning_rate.decay_steps == 125 and ending.critic_optimizer._learning_rate.decay_steps == 107
    assert build("stylegan2", path_weight=0).path_length is None


def test_path_lengths_of_a_linear_generator_are_those_of_its_matrix():
    """|J' y| of images A s, with y of the root of pixels as its deviation, is on average about |A| / that root."""
    matrix = np.random.default_rng(0).normal(size=(2, 3, 6 * 4)).astype("float32")
    generator = lambda styles: tf.reshape(tf.einsum("nls,lsp->np", styles, matrix), (-1, 6, 4, 1))  # noqa: E731
    path = adversarial.PathLength(weight=3.0, decay=0.25)
    path.mean.assign(1.0)
    y = stream().normal((5000, 6, 4, 1)).numpy()
    lengths = path.lengths(generator, tf.zeros((5000, 2, 3)), stream()).numpy()
    gradients = np.einsum("np,lsp->nls", y.reshape(5000, -1), matrix) / np.sqrt(24)
    np.testing.assert_allclose(lengths, np.sqrt((gradients**2).sum(-1).mean(-1)), rtol=1e-4)
    assert (lengths**2).mean() == pytest.approx((matrix**2).sum() / 2 / 24, rel=0.05)
    penalty, mean = path(generator, tf.zeros((5000, 2, 3)), stream())
    assert float(mean) == pytest.approx(0.75 + 0.25 * lengths.mean(), rel=1e-4) and float(path.mean.numpy()) == 1
    np.testing.assert_allclose(penalty, 3 * (lengths - float(mean)) ** 2, rtol=1e-3, atol=1e-5)


# The model


def test_a_trained_model_is_saved_with_its_averages_and_trains_on(images, tmp_path):
    model, data = build("stylegan2", path_every=2), batches("stylegan2", images)
    model.fit(data, verbose=0)
    model.save(tmp_path / "model.keras")
    again = gz.load(tmp_path / "model.keras")
    for each in (model, again):
        each.fit(data, verbose=0)
        assert float(each.path_length.mean.numpy()) > 0 and np.abs(each.mean_style).max() > 0
        assert sum(int(layer.random.counter.numpy()) for layer in each.generator.layers if hasattr(layer, "map")) > 0
    for first, second in zip(testing.variables(model), testing.variables(again), strict=True):
        np.testing.assert_array_equal(first, second, err_msg=first.path)
    np.testing.assert_array_equal(model.sample(3, seed=0, truncation=0.5), again.sample(3, seed=0, truncation=0.5))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy, images):
    model = build("stylegan2", dtype=policy, path_every=2)
    assert {"float32", policy.removeprefix("mixed_")} == {layer.compute_dtype for layer in model.generator.layers}
    assert model.generator.output.dtype == model.critic.output.dtype == model.mapping.output.dtype == "float32"
    assert np.isfinite(model.fit(batches("stylegan2", images), verbose=0).history["loss"]).all()
    assert model.sample(3, seed=0).dtype == np.float32


@pytest.mark.slow
def test_steps_are_compiled_and_shared_out(images, replicas):
    logs = []
    for settings in ({"jit_compile": True}, {"steps_per_execution": 2}, {}):
        with (replicas if not settings else tf.distribute.get_strategy()).scope():
            model = build("stylegan2", r1_every=3, path_every=2, **settings)
        log = model.fit(batches("stylegan2", images), epochs=2, validation_data=batches("stylegan2", images), verbose=0).history
        assert all(np.isfinite(values).all() for values in log.values())
        counts = [int(getattr(model, name).iterations.numpy()) for name in ("critic_optimizer", "optimizer")]
        assert counts == [8 + 3, 8 + 4] and model._place.now().numpy().tolist() == [32, 8]
        logs.append(log["loss"])
    np.testing.assert_allclose(logs[0], logs[1], rtol=1e-2)


def test_a_generator_of_noise_is_refused():
    generator, critic = networks.generator(3, SHAPE, width=4), networks.critic(SHAPE, width=4)
    with pytest.raises(ValueError, match=r"the generator takes \(3,\), expected styles .* take gz.models.GAN for others"):
        gz.models.StyleGAN(networks.stylegan2_mapping(3), generator, critic)
    generator = networks.stylegan2_generator(5, SHAPE, width=4, depth=1)
    with pytest.raises(ValueError, match=r"mapping puts out shape \(64,\), expected \(5,\)"):
        gz.models.StyleGAN(networks.stylegan2_mapping(3), generator, critic)


@pytest.mark.parametrize("name", ["stylegan2/cifar10", "stylegan2/ffhq256"])
def test_the_published_settings_train_small(name, images):
    small = {**TINY["stylegan2"], "full": 2, "critic_group": 3}
    model = gz.build(name, SHAPE, seed=0, jit_compile=False, **small)
    log = model.fit(batches(name, images), verbose=0).history
    assert np.isfinite(log["loss"]).all() and ("path_loss" in log) == (name == "stylegan2/ffhq256")
