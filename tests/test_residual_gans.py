"""SNGAN, WGAN-GP, BigGAN and R3GAN against the code that their authors and others published, and the names of recipes."""

import json
import math
from pathlib import Path

import drawn
import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from test_case import SHAPE, batches, build

import keras_genzoo as gz
from keras_genzoo import adversarial, networks
from keras_genzoo.benchmark import repeat, sections
from keras_genzoo.cli import main
from keras_genzoo.core import runs
from keras_genzoo.networks import r3gan
from keras_genzoo.recipes import building

# scripts/reference_gans.py made it, of networks in PyTorch with the same weights.
REFERENCE = Path(__file__).parent / "data" / "gan_reference.npz"
CLASSES, GAMMA = 3, 0.8
LABELS = np.eye(CLASSES, dtype="float32")[[2, 0]]
R3GAN = {"num_classes": CLASSES, "width": 16, "depth": 4, "blocks": 1}
BIGGAN = {"num_classes": CLASSES, "width": 16, "deviation": 0.02}
NETWORKS = {  # and the shapes of what they are given
    "sngan/generator": (lambda: networks.resnet_generator(128, (32, 32, 3)), (2, 128)),
    "sngan/critic": (lambda: networks.resnet_critic((32, 32, 3)), (2, 32, 32, 3)),
    "wgan_gp/generator": (lambda: networks.resnet_generator(128, (32, 32, 3)), (2, 128)),
    "wgan_gp/critic": (lambda: networks.resnet_critic((32, 32, 3), spectral=False, head_bias=True), (2, 32, 32, 3)),
    "biggan/generator": (lambda: networks.resnet_generator(16, (32, 32, 3), spectral=True, **BIGGAN), (2, 16)),
    "biggan/critic": (lambda: networks.resnet_critic((32, 32, 3), head_bias=True, **BIGGAN), (2, 32, 32, 3)),
    "r3gan/generator": (lambda: networks.r3gan_generator(8, (64, 64, 3), **R3GAN), (2, 8)),
    "r3gan/critic": (lambda: networks.r3gan_critic((64, 64, 3), **R3GAN), (2, 64, 64, 3)),
}


def filled(make, dtype="float32"):
    """A network with weights drawn by their names, its power iterations at their end; and its trainable variables by name."""
    with building.policy(dtype):
        network, found = make(), {}
    for layer in network.layers:
        for variable in layer.trainable_variables:
            name = f"{layer.name}/{variable.name}"
            variable.assign(drawn.weight(name, variable.shape))
            found[name] = variable
        if hasattr(layer, "direction"):
            layer.direction.assign(drawn.direction(layer._kernel.numpy()))
    return network, found


def given(key):
    """The drawn input of a network, and its labels where there are classes."""
    pair, _, part = key.partition("/")
    x = tf.constant(drawn.numbers(f"{pair}/{'z' if part == 'generator' else 'images'}", NETWORKS[key][1]))
    return x, (tf.constant(LABELS) if pair in ("biggan", "r3gan") else None)


def check(key, arrays, reference, tolerance=1e-4):
    """Compare sketches of arrays by name with the stored ones: relative to each one's norm, or where that is but rounding, as of
    a bias before a normalisation, to that of the largest."""
    names, expected = reference[f"{key}/names"], reference[f"{key}/sketches"]
    assert set(names) == set(arrays)
    largest = expected[:, 0].max()
    for name, stored in zip(names, expected, strict=True):
        found = drawn.sketch(name, arrays[name])
        np.testing.assert_allclose(found, stored, rtol=0, atol=tolerance * stored[0] + 1e-5 * largest, err_msg=f"{key} {name}")


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as stored:
        return dict(stored)


@pytest.mark.parametrize("key", NETWORKS)
def test_outputs_and_gradients_are_those_of_the_published_network(key, reference):
    x, labels = given(key)
    for dtype in ("float32", "float64"):  # gradients in float64: of units near 0 another sign gives others
        network, variables = filled(NETWORKS[key][0], dtype)
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = network(x if labels is None else (x, labels), training=True)
            total = tf.reduce_sum(output * drawn.numbers(f"{key}/probe", output.shape))
        found, expected = drawn.thinned(output), reference[f"{key}/output"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    gradients = tape.gradient(total, {**{name: each.value for name, each in variables.items()}, "input": x})
    check(key, {**gradients, "output": output}, reference)


class Told:
    """A stream whose normal numbers are those given."""

    def __init__(self, z):
        self.normal, self.key = (lambda shape: z), (lambda: tf.zeros(2, tf.int64))


@pytest.mark.parametrize("step", ["critic step", "generator step"])
def test_the_losses_of_r3gan_and_their_gradients_are_those_of_its_code(step, reference):
    (generator, own), (critic, others) = (filled(NETWORKS[f"r3gan/{part}"][0], "float64") for part in ("generator", "critic"))
    penalties = [adversarial.SlopePenalty(GAMMA / 2, at=place, target=0.0) for place in ("real", "fake")]
    model = gz.models.GAN(generator, critic, "relativistic", penalties, seed=0)
    z, labels = given("r3gan/generator")
    real = given("r3gan/critic")[0]
    variables = others if step == "critic step" else own
    with tf.GradientTape() as tape:
        if step == "critic step":
            fakes = [tf.stop_gradient(generator((z, labels), training=True))]
            terms = model.critic_terms(real, labels, fakes, Told(z), training=True)
            values = [tf.reduce_mean(terms["critic_loss"]), terms["penalty_loss"]]
        else:
            terms = model.generator_terms(real, labels, Told(z), training=True)
            values = [tf.reduce_mean(terms["loss"])]
        loss = tf.reduce_mean(terms["loss"])
    np.testing.assert_allclose(values, reference[f"r3gan/{step}/output"], rtol=1e-4)
    gradients = tape.gradient(loss, {name: each.value for name, each in variables.items()})
    check(f"r3gan/{step}", gradients, reference)


# Sizes


def trained(network):
    return sum(math.prod(variable.shape) for variable in network.trainable_variables)


def conv(inputs, outputs, side=3):
    return side**2 * inputs * outputs + outputs


def sizes_by_hand():
    """Of the tables of the papers: a generator of three blocks that double, and a critic of four, of which two halve."""

    def generator(width, per_norm):
        block = 2 * conv(width, width) + conv(width, width, 1) + 2 * per_norm * width
        return 128 * 16 * width + 16 * width + 3 * block + 2 * width + conv(width, 3)

    def critic(width):
        first = conv(3, width) + conv(width, width) + conv(3, width, 1)
        return first + (2 * conv(width, width) + conv(width, width, 1)) + 4 * conv(width, width) + width

    return {
        "sngan/cifar10": (generator(256, 2), critic(128)),
        "wgan_gp/cifar10": (generator(128, 2), critic(128)),
        "biggan/cifar10": (generator(256, 20), critic(256) + 1 + 10 * 256),  # ten classes each for scale and offset
    }


def settings_of(name):
    defaults = gz.recipes.get(name).defaults
    shared = {"num_classes": defaults["num_classes"], "deviation": defaults["deviation"]}
    parts = "spectral", "width", "depth", "blocks", "pooling", "head_bias"
    return [
        {**shared, **{part: defaults[f"{prefix}_{part}"] for part in parts if f"{prefix}_{part}" in defaults}}
        for prefix in ("generator", "critic")
    ]


@pytest.mark.parametrize("name", ["sngan/cifar10", "wgan_gp/cifar10", "biggan/cifar10"])
def test_the_residual_networks_have_the_published_sizes(name, reference):
    generator, critic = settings_of(name)
    found = (
        trained(networks.resnet_generator(128, (32, 32, 3), **generator)),
        trained(networks.resnet_critic((32, 32, 3), **critic)),
    )
    assert found == sizes_by_hand()[name]
    if name != "wgan_gp/cifar10":  # whose reimplementation is twice as wide as the table of the paper
        assert list(found) == reference[f"{name.split('/')[0]}/parameters"].tolist()


def test_the_sizes_by_hand_are_these():
    assert sizes_by_hand() == {
        "sngan/cifar10": (4_276_739, 1_053_824),
        "wgan_gp/cifar10": (1_204_483, 1_053_824),
        "biggan/cifar10": (4_304_387, 4_207_361),
    }


@pytest.mark.slow
def test_r3gan_has_the_published_size(reference):
    defaults = gz.recipes.get("r3gan/cifar10").defaults
    settings = {name: defaults[name] for name in ("num_classes", "expansion", "group", "width", "depth", "blocks")}
    found = (
        trained(networks.r3gan_generator(64, (32, 32, 3), **settings)),
        trained(networks.r3gan_critic((32, 32, 3), **settings)),
    )
    assert found == (20_781_952, 21_280_512)  # by hand
    assert list(found) == reference["r3gan/parameters"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in gz.recipes.names()["gan"] if "/" in name])
def test_a_step_at_the_published_size(name):
    model = gz.build(name, (32, 32, 3), seed=0, jit_compile=False)
    images = np.random.default_rng(0).integers(0, 256, (2 * max(1, model.critic_steps), 32, 32, 3), "uint8")
    labels = np.arange(len(images)) % 10
    data = gz.data.load((images, labels) if model.conditional else images, batch_size=2, shuffle=False, **model.data_needs)
    assert np.isfinite(model.fit(data, verbose=0).history["loss"]).all()
    assert model.sample(2, seed=0, labels=[0, 9] if model.conditional else None).shape == (2, 32, 32, 3)


# The parts of R3GAN


def test_convolutions_in_groups_are_those_of_keras():
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 7, 6)), tf.float32)
    own, theirs = r3gan.GroupedConv2D(9, (3, 1), groups=3), keras.layers.Conv2D(9, (3, 1), groups=3, padding="same")
    found = []
    for layer in (own, theirs):
        layer.build(x.shape)
        layer.set_weights([drawn.numbers("kernel", (3, 1, 2, 9)), drawn.numbers("bias", (9,))])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            total = tf.reduce_sum(y**3)
        found.append([y, *tape.gradient(total, [x, layer._kernel.value])])
    for first, second in zip(*found, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-4 * np.abs(second).max())
    with pytest.raises(ValueError, match=r"strides of \(2, 2\).* take keras.layers.Conv2D"):
        r3gan.GroupedConv2D(4, 3, strides=2, groups=2)


@pytest.mark.parametrize("axis", [1, 2])
def test_sides_are_doubled_and_halved_by_the_filter(axis):
    line = np.random.default_rng(0).normal(size=6).astype("float32")
    x = np.moveaxis(np.ones((1, 4, 6, 2), "float32") * line[:, None], 2, axis)
    along = lambda y: np.moveaxis(np.asarray(y), axis, 2)[0, 1, :, 0]  # noqa: E731  away from the other side's edges
    zeros = np.zeros(11)
    zeros[::2] = line
    np.testing.assert_allclose(along(r3gan.BilinearUp()(x)), np.convolve(zeros, [0.25, 0.75, 0.75, 0.25])[1:13], atol=1e-6)
    filtered = np.convolve(line, np.array([1, 3, 3, 1]) / 8)[2::2][:3]
    np.testing.assert_allclose(along(r3gan.BilinearDown()(np.concatenate([x, x], axis=3 - axis)))[:3], filtered, atol=1e-6)


def test_a_fresh_network_of_r3gan_is_without_its_blocks_and_as_large_as_its_depth_says():
    generator = networks.r3gan_generator(8, (16, 16, 3), width=64, depth=2, blocks=3)
    layers = {layer.name: layer for layer in generator.layers}
    blocks = [name for name in layers if name.endswith("_reduce")]
    assert len(blocks) == 9 and not any(np.any(layers[name].kernel) for name in blocks)
    gain = np.sqrt(2 / 1.04) * 9**-0.25
    for name, fan in (("stage1_block2_expand", 64), ("stage1_block2_grouped", 9 * 16), ("factors", 8 * gain**2)):
        kernel = layers[name].kernel.numpy()
        assert kernel.std() == pytest.approx(gain / np.sqrt(fan), rel=0.1)
    assert layers["basis"].basis.numpy().std() == pytest.approx(1, rel=0.1) and layers["basis"].basis.shape == (4, 4, 64)
    assert layers["stage0_block1_grouped"].groups == 8
    critic = networks.r3gan_critic((16, 16, 3), width=64, depth=2)
    assert critic.get_layer("coefficients").basis.numpy().std() == pytest.approx(1 / 4, rel=0.1)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in generator.layers + critic.layers)


def test_finer_stages_have_fewer_channels():
    # As the preset for images of 256 pixels.
    assert [r3gan._channels(768, stage) for stage in range(7)] == [768, 768, 768, 768, 384, 192, 96]


def test_what_begins_a_game_of_r3gan_is_as_published():
    model = gz.build("r3gan", SHAPE, width=4, depth=1, decay_images=1000, gamma=2.0, learning_rate=4e-4)
    assert isinstance(model.objective, adversarial.Relativistic)
    assert [(each.at, each.target, each.weight.start, each.weight.end) for each in model.penalties] == [
        ("real", 0.0, 1.0, 0.1),
        ("fake", 0.0, 1.0, 0.1),
    ]
    for optimizer in (model.optimizer, model.critic_optimizer):
        rate, beta_2 = optimizer._learning_rate, optimizer._beta_2
        assert (rate.start, rate.end, beta_2.start, beta_2.end, optimizer.beta_1) == (4e-4, 1e-4, 0.9, 0.99, 0.0)
    assert (model.augment_chance.start, model.augment_chance.end) == (0.0, 0.3)
    assert gz.build("r3gan", SHAPE, width=4, depth=1, ema=0.9).ema == 0.9


def test_learning_rates_of_residual_gans_fall_along_a_line_or_stay():
    rates = {}
    for decay in ("linear", None, "cosine"):
        model = gz.build("sngan", SHAPE, 100, generator_width=4, critic_width=4, critic_steps=2, decay=decay)
        rates[decay] = [float(tf.convert_to_tensor(each.learning_rate)) for each in (model.optimizer, model.critic_optimizer)]
        if decay == "linear":
            assert float(model.optimizer._learning_rate(50)) == float(model.critic_optimizer._learning_rate(100))
            assert float(model.optimizer._learning_rate(50)) == pytest.approx(0.5e-3, rel=1e-5)
            assert float(model.optimizer._learning_rate(100)) == 0
    assert rates["linear"] == pytest.approx([1e-3, 1e-3]) and rates[None] == pytest.approx([1e-3, 1e-3])
    assert max(rates["cosine"]) < 5e-4  # which warms up
    with pytest.raises(ValueError, match="decay is 'square', expected 'cosine', 'linear' or None"):
        gz.build("sngan", SHAPE, 100, decay="square")


def test_batch_normalisation_by_class_scales_and_shifts():
    generator = networks.resnet_generator(4, (8, 8, 1), num_classes=3, width=4, depth=1)
    last = generator.get_layer("up1_2_class").output
    norm = generator.get_layer("up1_2_norm").output
    z, labels = np.random.default_rng(0).normal(size=(6, 4)), np.eye(3)[[0, 1, 2, 0, 1, 2]]
    normed, found = (np.asarray(each) for each in keras.Model(generator.inputs, [norm, last])((z, labels)))
    scale, offset = (labels @ generator.get_layer(f"up1_2_{what}").kernel.numpy() for what in ("scale", "offset"))
    np.testing.assert_allclose(found, normed * (1 + scale[:, None, None]) + offset[:, None, None], atol=1e-5)


# The name that another network had


OLD = {"recipe": "r3gan", "hyperparameters": {"width": 8}, "batch_size": 4}
SENTENCE = "is called 'relativistic_gan' now, and today's 'r3gan' is another network"


def test_the_old_name_of_a_stored_recipe_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=SENTENCE):
        runs.check_name(OLD, "it")
    for stored in ({"recipe": "vae"}, {}, runs.record("r3gan"), {**OLD, "recipe_names": runs.NAMES}):
        runs.check_name(stored, "it")
        assert runs.renamed(stored) is None


def test_a_run_and_a_search_of_the_old_name_are_not_gone_on_with(tmp_path, images):
    np.savez(tmp_path / "images.npz", train_images=images, validation_images=images[:4], test_images=images[:4])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps(OLD))
    (tmp_path / "best.json").write_text(json.dumps(OLD))
    command = ["train", "r3gan", "--data", str(tmp_path / "images.npz"), "--epochs", "1", "--batch-size", "4"]
    for more in (["--out", str(tmp_path / "run")], ["--out", str(tmp_path / "new"), "--config", str(tmp_path / "best.json")]):
        result = CliRunner().invoke(main, [*command, *more, "--set", "width=4", "--set", "depth=1"])
        assert result.exit_code == 2 and SENTENCE in " ".join(result.output.split()), result.output
    assert not (tmp_path / "new").exists()
    hypermodel = gz.tuning.HyperRecipe("r3gan", SHAPE, n=16, features="fashion-cnn")
    settings = dict(data=str(tmp_path / "images.npz"), trials=1, epochs=1, budget=None)
    search = gz.tuning.Search(tmp_path / "search", hypermodel, **settings)
    gz.tuning.Search.open(tmp_path / "search")  # which is of today's
    file = tmp_path / "search" / "search.json"
    stored = json.loads(file.read_text())
    assert stored.pop("recipe_names") == runs.NAMES
    file.write_text(json.dumps(stored))
    for again in (
        lambda: gz.tuning.Search(tmp_path / "search", hypermodel, **settings),
        lambda: gz.tuning.Search.open(tmp_path / "search"),
        lambda: gz.tuning.Search.read(tmp_path / "search"),
    ):
        with pytest.raises(ValueError, match=SENTENCE):
            again()
    assert search.folder == tmp_path / "search"


def test_rows_of_the_old_name_are_shown_and_not_added_to(tmp_path, images):
    np.savez(tmp_path / "images.npz", train_images=images, validation_images=images[:8], test_images=images[:8])
    asked = {"steps": 1, "data": tmp_path / "images.npz", "features": "fashion-cnn", "out": tmp_path / "out"}
    row = {"kind": "recipe", "recipe": "r3gan", "family": "gan", "overrides": {}, "seed": 0, "status": "ok", "steps": 9}
    assert "'relativistic_gan'" in sections.told_summary(row)
    assert sections.told_summary({**row, "recipe_names": runs.NAMES}) != sections.told_summary(row)
    (command,) = repeat.commands([{**row, "overrides": {"width": 8}}], {"data": "fashion_mnist_mini", "batch_size": 4})
    assert "--recipes relativistic_gan --set relativistic_gan.width=8" in command
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gz.benchmark.running, "run_all", lambda *arguments: [])
        folder = gz.benchmark.run("r3gan", **asked)
        folder.add(row)
        with pytest.raises(ValueError, match=SENTENCE):
            gz.benchmark.run("r3gan", **asked)
        gz.benchmark.run("relativistic_gan", **asked)


def test_the_loss_of_r3gan_in_other_networks_is_a_recipe_of_its_own(images):
    model = build("relativistic_gan")
    assert isinstance(model.objective, adversarial.Relativistic) and len(model.penalties) == 2
    assert np.isfinite(model.fit(batches("relativistic_gan", images), verbose=0).history["loss"]).all()
