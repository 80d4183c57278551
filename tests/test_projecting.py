"""Latents: those that a user hands to `sample`, and those of images that a GAN is asked for."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image
from test_case import SHAPE, batches, build

import keras_genzoo as gz
from keras_genzoo.adversarial import nearest_latents
from keras_genzoo.adversarial.projecting import ramp
from keras_genzoo.cli import main
from keras_genzoo.models.projecting import DRAWS

STREAM = gz.randomness.RowStream


def linear_gan():
    """A GAN whose images are 1/2 + A z, with A, `(64, 3)`."""
    generator = keras.Sequential([keras.Input((3,)), keras.layers.Dense(64), keras.layers.Reshape(SHAPE)])
    critic = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(1)])
    kernel = 0.2 * np.random.default_rng(0).normal(size=(3, 64))
    generator.set_weights([kernel, np.zeros(64)])
    return gz.models.GAN(generator, critic, seed=0), kernel.T / 2


def linear_style_gan():
    """A StyleGAN whose styles are its noise, and whose images are 1/2 + A s of the styles s of both layers, with A, `(64, 6)`."""
    mapping = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, use_bias=False, kernel_initializer="identity")])
    dense = keras.layers.Dense(64)
    generator = keras.Sequential([keras.Input((2, 3)), keras.layers.Flatten(), dense, keras.layers.Reshape(SHAPE)])
    critic = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(1)])
    kernel = 0.2 * np.random.default_rng(0).normal(size=(6, 64))
    dense.set_weights([kernel, np.zeros(64)])
    return gz.models.StyleGAN(mapping, generator, critic, seed=0), kernel.T / 2


# Latents in `sample`


@pytest.mark.parametrize("name, settings", [("gan", {}), ("conditional_diffusion", {"sampler": "ddpm"}), ("ebm", {})])
def test_the_latents_that_a_seed_draws_give_its_images(name, settings):
    """And the labels and the noise on the way are those of the seed, at any batch size."""
    model = build(name)
    images, z = model.sample(7, seed=4, **settings), model.draw_latents(7, STREAM(4, 0))
    for batch_size in (256, 3):
        asked = {"seed": 4, "batch_size": batch_size, **settings}
        np.testing.assert_allclose(model.sample(latents=z, **asked), images, atol=1e-4)
        np.testing.assert_allclose(model.sample(7, latents=np.asarray(z).tolist(), **asked), images, atol=1e-4)
        np.testing.assert_allclose(np.concatenate([*model.sample_batches(latents=z, **asked)]), images, atol=1e-4)
    if model.num_classes:
        labels = model.draw_labels(7, 4)
        np.testing.assert_allclose(model.sample(latents=z, seed=4, labels=labels, **settings), images, atol=1e-4)
    other = model.sample(latents=z, seed=5, **settings)
    assert (np.abs(other - images).max() > 1e-3) == model.keyed


def test_latents_are_taken_inside_a_graph():
    model = build("conditional_gan")
    z, labels = model.draw_latents(5, STREAM(1, 0)), tf.constant([0, 2, 1, 1, 0])
    graph = tf.function(lambda z, labels: model.sample(latents=z, labels=labels, seed=0), autograph=False)
    np.testing.assert_allclose(graph(z, labels), model.sample(latents=z, labels=labels.numpy()), atol=1e-6)
    with pytest.raises(ValueError, match=r"latents have shape \(5, 2\), expected \(n, 3\)"):
        graph(z[:, :2], labels)


def test_latents_are_those_of_the_averaged_weights_unless_told_otherwise(images):
    model = build("gan", ema=0.999)
    model.fit(batches("gan", images), epochs=3, verbose=0)
    z = model.draw_latents(4, STREAM(0, 0))
    for averaged in (True, False):
        np.testing.assert_array_equal(model.sample(latents=z, averaged=averaged), model.sample(4, seed=0, averaged=averaged))
    assert np.abs(model.sample(latents=z) - model.sample(latents=z, averaged=False)).max() > 1e-4


def test_styles_are_latents_too():
    model = build("stylegan2", style_dim=4)
    model.mean_style.assign([1.0, -1.0, 0.5, 0.0])
    z = model.draw_latents(3, STREAM(0, 0))
    styles = model.of_layers(model.style(z))
    for truncation in (1.0, 0.5):
        expected = model.sample(3, seed=0, truncation=truncation)
        np.testing.assert_allclose(model.sample(latents=styles, truncation=truncation), expected, atol=1e-6)
    assert model.latent_shapes() == [(3,), (model.layer_count, 4)]
    with pytest.raises(ValueError, match=rf"latents have shape \(3, 4\), expected \(n, 3\) or \(n, {model.layer_count}, 4\)"):
        model.sample(latents=model.style(z))


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"latents": np.zeros((2, 4))}, r"latents have shape \(2, 4\), expected \(n, 3\)\."),
        ({"latents": np.zeros(3)}, r"latents have shape \(3,\), expected \(n, 3\); add the batch axis with `z\[None\]`"),
        ({"latents": np.full((2, 3), np.nan)}, "latents hold NaN or infinite values"),
        ({"n": 3, "latents": np.zeros((2, 3))}, "n is 3, but there are 2 latents; leave n out"),
        ({"latents": np.zeros((0, 3))}, "n is 0, expected a whole number of at least 1"),
        ({}, "n is None, expected a whole number of at least 1"),
    ],
)
def test_latents_that_do_not_fit_get_one_sentence(settings, sentence):
    model = build("gan")
    for ask in (model.sample, lambda **settings: [*model.sample_batches(**settings)]):
        with pytest.raises(ValueError, match=sentence):
            ask(**settings)


def test_a_temperature_beside_latents_is_refused():
    model = build("glow")
    with pytest.raises(ValueError, match=r"temperature is 0\.7, but latents were given"):
        model.sample(latents=model.draw_latents(2, STREAM(0, 0)), temperature=0.7)
    assert model.sample(2, seed=0).shape == (2, *SHAPE)


# The way back


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_latents_of_a_linear_generator_are_those_of_ridge_regression(weight):
    model, a = linear_gan()
    x = np.random.default_rng(1).uniform(0.3, 0.7, (5, *SHAPE)).astype("float32")
    found = model.project(x, weight=weight)
    expected = np.linalg.solve(a.T @ a + weight * np.eye(3), a.T @ (x.reshape(5, 64) - 0.5).T).T
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert found.dtype == tf.float32


@pytest.mark.parametrize("space", ["w", "w+", "z"])
def test_styles_of_a_linear_generator_are_those_of_least_squares(space):
    model, a = linear_style_gan()
    x = np.random.default_rng(1).uniform(0.3, 0.7, (5, *SHAPE)).astype("float32")
    found = np.asarray(model.project(x, weight=0.0, space=space))
    own = a if space == "w+" else a[:, :3] + a[:, 3:]
    expected = np.linalg.lstsq(own, (x.reshape(5, 64) - 0.5).T, rcond=None)[0].T
    expected = {"z": expected, "w": np.repeat(expected[:, None], 2, axis=1), "w+": expected.reshape(5, -1, 3)}[space]
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_the_weight_of_styles_of_all_layers_is_that_of_one():
    """Where one style for both layers is best, as for an image of the mean style."""
    model, _ = linear_style_gan()
    points_of, latents_of, copies = model.space("w+")
    z = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    one, _, _ = model.space("w")
    assert copies == 2
    np.testing.assert_allclose(np.square(points_of(z)).sum(axis=1) / copies, np.square(one(z)).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(latents_of(points_of(z)), np.repeat(z[:, None], 2, axis=1), atol=1e-5)


def test_the_learning_rate_rises_and_falls_as_published():
    times, expected = [0.025, 0.05, 0.5, 0.75, 0.875, 1.0], [0.5, 1.0, 1.0, 1.0, 0.5, 0.0]
    np.testing.assert_allclose(ramp(tf.constant(times)), expected, atol=1e-6)


@pytest.mark.parametrize("wanted, expected", [(1.0, 1 / 3), (0.5, 1 / 6)])
def test_what_is_beyond_the_range_counts_as_its_end_and_has_a_slope(wanted, expected):
    generate = lambda z: tf.tile(3.0 * z[:, None, None], (1, 2, 2, 1))  # noqa: E731
    points, objective = nearest_latents(generate, tf.fill((1, 2, 2, 1), wanted), tf.fill((1, 1), 2.0), 400, weight=0.01)
    np.testing.assert_allclose(points, [[expected]], rtol=0.01)
    np.testing.assert_allclose(objective, [0.01 * expected**2], rtol=0.05)


def test_the_best_of_all_steps_and_draws_is_kept():
    model, _ = linear_gan()
    x = model.sample(6, seed=3)

    def errors(**settings):
        return np.square(model.sample(latents=model.project(x, weight=0.0, **settings)) - x).sum(axis=(1, 2, 3))

    first = errors(steps=1, starts=1)
    wild = errors(steps=40, starts=1, learning_rate=1e3)
    assert (wild <= first + 1e-6).all() and (errors(steps=1, starts=500) < 0.5 * first).mean() > 0.5
    assert (errors(steps=200, starts=1) < 1e-4).all()


def slow(*names):
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", ["gan", "conditional_gan", "stylegan2", *slow("wgan_gp", "sngan", "biggan", "r3gan")])
def test_images_that_a_generator_made_are_found_again(name):
    """Far nearer than the best of as many random draws."""
    model, n, steps, starts = build(name), 4, 100, 16
    labels = np.arange(n) % 3 if model.conditional else None
    made = model.sample(n, seed=1, labels=labels)
    z = model.project(made, labels=labels, steps=steps, starts=starts, weight=1e-6)
    errors = np.square(model.sample(latents=z, labels=labels) - made).sum(axis=(1, 2, 3))
    draws = (steps + DRAWS) * starts
    drawn = model.sample(n * draws, seed=2, labels=None if labels is None else np.repeat(labels, draws))
    best = np.square(drawn.reshape(n, draws, *SHAPE) - made[:, None]).sum(axis=(2, 3, 4)).min(axis=1)
    assert best.min() > 1e-6 and (errors < 0.05 * best).all()


def test_latents_of_images_do_not_depend_on_the_batch_and_data_sets_are_taken():
    model = build("conditional_gan")
    labels = np.arange(7) % 3
    x = model.sample(7, seed=0, labels=labels)
    whole = model.project(x, labels=labels, steps=20, starts=2)
    stream = tf.data.Dataset.from_tensor_slices((x, labels)).batch(5)
    for again in (model.project(x, labels=labels, steps=20, starts=2, batch_size=3), model.project(stream, steps=20, starts=2)):
        np.testing.assert_allclose(again, whole, atol=5e-3)
    assert np.abs(whole - model.project(x, labels=labels, steps=20, starts=2, seed=1)).max() > 1e-2


def test_what_cannot_be_projected_gets_one_sentence():
    model, images = build("gan"), np.zeros((2, *SHAPE), "float32")
    for settings, sentence in (
        ({"steps": 0}, "steps is 0, expected a whole number of at least 1"),
        ({"starts": 0}, "starts is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, expected a finite number above 0"),
        ({"weight": -1}, "weight is -1, expected a finite number of at least 0"),
        ({"space": "w"}, "space is 'w', expected 'z' of a GAN"),
        ({"labels": [0, 1]}, "has no classes"),
    ):
        with pytest.raises(ValueError, match=sentence):
            model.project(images, **settings)
    with pytest.raises(ValueError, match="floats between"):
        model.project(255.0 * np.ones_like(images))
    with pytest.raises(ValueError, match=r"project got no labels, but GAN .* has classes; give it labels="):
        build("conditional_gan").project(images)


# Ways between


def test_ways_between_latents_are_spherical():
    model, z = build("gan"), np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    line = model.interpolate(z[:2], z[2:], steps=3)
    assert line.shape == (2, 3, *SHAPE)
    np.testing.assert_allclose(line[:, 0], model.sample(latents=z[:2]), atol=1e-6)
    np.testing.assert_allclose(line[:, 2], model.sample(latents=z[2:]), atol=1e-6)
    lengths = np.linalg.norm(z, axis=1)
    angle = np.arccos((z[:2] * z[2:]).sum(axis=1) / (lengths[:2] * lengths[2:]))
    middle = (z[:2] + z[2:]) * (np.sin(angle / 2) / np.sin(angle))[:, None]
    np.testing.assert_allclose(line[:, 1], model.sample(latents=middle), atol=1e-5)
    with pytest.raises(ValueError, match="there are 2 and 1 images"):
        model.interpolate(z[:2], z[2:3])


def test_ways_between_images_go_from_the_one_that_is_nearest_to_each():
    model = build("conditional_gan")
    labels = np.array([2, 0])
    x = model.sample(4, seed=0, labels=np.tile(labels, 2))
    line = model.interpolate(x[:2], x[2:], steps=2, labels=labels)
    for end, own in ((0, x[:2]), (1, x[2:])):
        z = model.project(own, labels=labels)
        np.testing.assert_allclose(line[:, end], model.sample(latents=z, labels=labels), atol=1e-5)
    with pytest.raises(ValueError, match="project got no labels"):
        model.interpolate(x[:2], x[2:])
    z = model.draw_latents(4, STREAM(0, 0))
    drawn = model.interpolate(z[:2], z[2:], steps=2)
    np.testing.assert_allclose(drawn[:, 1], model.sample(latents=z[2:], labels=model.draw_labels(2, 0)), atol=1e-6)


def test_ways_between_styles_are_straight():
    model = build("stylegan2")
    z = model.draw_latents(4, STREAM(0, 0))
    a, b = model.of_layers(model.style(z[:2])), model.of_layers(model.style(z[2:]))
    for ends in ((a, b), (z[:2], b)):
        line = model.interpolate(*ends, steps=3, truncation=0.8)
        np.testing.assert_allclose(line[:, 1], model.sample(latents=(a + b) / 2, truncation=0.8), atol=1e-5)
    middle = model.between(z[:2], z[2:], 0.5)
    np.testing.assert_allclose(model.interpolate(z[:2], z[2:], steps=3)[:, 1], model.sample(latents=middle), atol=1e-5)


# The command


def test_the_command_writes_a_sheet_and_latents_that_give_it(images, tmp_path):
    model = build("conditional_gan")
    model.save(tmp_path / "model.keras")
    labels = np.arange(5) % 3
    np.savez(tmp_path / "mine.npz", images=model.sample(5, seed=0, labels=labels), labels=labels)
    asked = ["project", tmp_path / "model.keras", "--images", tmp_path / "mine.npz", "--out", tmp_path / "found.png"]
    asked += ["--steps", 30, "--device", "cpu"]
    printed = CliRunner().invoke(main, [str(each) for each in asked])
    assert printed.exit_code == 0 and "5 images are in" in printed.output, printed.output
    with np.load(tmp_path / "found.npz") as found:
        made = model.sample(latents=found["latents"], labels=found["labels"])
        np.testing.assert_array_equal(found["labels"], labels)
        np.testing.assert_array_equal(found["reconstructions"], gz.images.to_levels(made))
        assert found["images"].shape == (5, *SHAPE) and np.abs(found["images"] / 255 - made).mean() < 0.1
    assert Image.open(tmp_path / "found.png").size[1] > 0
    for more, sentence in (
        (["--space", "w"], "space is 'w', expected 'z'"),
        (["--out", "found.jpg"], "expected .png"),
        (["--labels", "0,17"], "17"),
    ):
        refused = CliRunner().invoke(main, [str(each) for each in asked + more])
        assert refused.exit_code == 2 and sentence in " ".join(refused.output.split()), refused.output
    build("vae").save(tmp_path / "vae.keras")
    refused = CliRunner().invoke(main, ["project", str(tmp_path / "vae.keras"), *map(str, asked[2:])])
    assert refused.exit_code == 2 and "holds a VAE, which has no project" in " ".join(refused.output.split())


def test_the_report_of_a_gan_shows_ways_between_latents(tmp_path):
    from keras_genzoo.benchmark import shown

    shown.write_latents(build("conditional_gan"), 0, tmp_path)
    assert Image.open(tmp_path / "latents.png").size == (
        142,
        142,
    )  # eight images of 8 pixels and lines between, each pixel twice as large
