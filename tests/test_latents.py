"""Codes with space: the first stages of latent diffusion, the game of patches, and diffusion in grids of codes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo import networks
from keras_genzoo.adversarial import PatchGame
from keras_genzoo.core import randomness
from keras_genzoo.models import WAE, Autoencoder, Diffusion, KLAutoencoder, LatentDiffusion
from keras_genzoo.models.latent_diffusion import CODES

SHAPE = (8, 8, 1)
FIRST = {"width": 4, "blocks": 0, "critic_width": 4, "jit_compile": False, "seed": 0}


# The first stages


def test_the_kl_of_a_grid_is_the_closed_form(images):
    def head(bias, name):
        bias = keras.initializers.Constant(bias)
        return keras.layers.Conv2D(3, 4, strides=4, kernel_initializer="zeros", bias_initializer=bias, name=name)

    pixels, grid = keras.Input(SHAPE), keras.Input((2, 2, 3))
    encoder = keras.Model(pixels, (head(0.5, "mu")(pixels), head(-1.0, "log_variance")(pixels)))
    decoder = keras.Model(grid, keras.layers.Conv2DTranspose(1, 4, strides=4)(grid))
    model = KLAutoencoder(encoder, decoder, kl_weight=2.0, seed=0)
    model.compile(run_eagerly=True)
    terms = model.evaluate(images, verbose=0, return_dict=True)
    kl = 2 * 2 * 3 * 0.5 * (0.5**2 + np.exp(-1) - 1 + 1)  # of each number KL(N(0.5, e^-1) || N(0, 1))
    assert terms["kl_loss"] == pytest.approx(kl, rel=1e-5)
    assert terms["loss"] == pytest.approx(terms["reconstruction_loss"] + 2 * kl, rel=1e-5)
    np.testing.assert_allclose(model.encode(images), np.full((16, 2, 2, 3), 0.5), atol=1e-6)
    stream = randomness.Stream(0, keras.Variable(0, dtype="int64", trainable=False))
    drawn = model.encoded(tf.zeros((4000, *SHAPE)), stream, training=True).numpy()
    assert drawn.mean() == pytest.approx(0.5, abs=0.02) and drawn.var() == pytest.approx(np.exp(-1), abs=0.02)
    with pytest.raises(ValueError, match="encoder puts out shape"):
        KLAutoencoder(keras.Model(pixels, encoder.outputs[0]), decoder)


@pytest.mark.parametrize(
    "shape, code",
    [((28, 28, 1), (7, 7)), ((32, 32, 3), (8, 8)), ((33, 21, 5), (5, 3)), ((64, 64, 1), (8, 8)), ((7, 9, 1), (2, 3))],
)
@pytest.mark.parametrize("name", ["kl_autoencoder", "vq_autoencoder"])
def test_codes_have_space_at_any_size(name, shape, code):
    model = gz.build(name, shape, **FIRST)
    x = np.random.default_rng(0).random((2, *shape), dtype="float32")
    codes = getattr(model, "encode_continuous", model.encode)(x)
    assert codes.shape == (2, *code, 4)
    assert model.decode(codes).shape == x.shape and not hasattr(model, "sample") and not hasattr(model, "fit_prior")


def test_the_factor_of_the_sides_is_a_power_of_two():
    for factor, side in ((2, 4), (4, 2), (8, 1)):
        assert gz.build("kl_autoencoder", SHAPE, downsampling=factor, **FIRST).decoder.input_shape == (None, side, side, 4)
    for recipe in ("kl_autoencoder", "vq_autoencoder", "latent_diffusion"):
        with pytest.raises(ValueError, match="downsampling is 3, expected a power of 2, as 4"):
            gz.build(recipe, SHAPE, downsampling=3)


def test_a_mixture_of_grids_is_fitted_and_drawn_where_asked_for(images):
    model = gz.build("kl_autoencoder", SHAPE, components=2, **FIRST)
    assert not hasattr(model, "sample")
    model.fit_prior(images, "gaussian")
    drawn, means = model.draw_latents(4000, randomness.RowStream(0, 0)).numpy(), model.prior.means[0].numpy().reshape(2, 2, 4)
    assert drawn.shape == (4000, 2, 2, 4) and model.sample(3, seed=0).shape == (3, *SHAPE)
    np.testing.assert_allclose(drawn.mean(axis=0), means, atol=0.1)


def test_what_a_quantised_autoencoder_gives_to_diffusion_is_not_quantised_yet(images):
    model = gz.build("vq_autoencoder", SHAPE, **FIRST, codes=4)
    model.fit(images, verbose=0)
    before, after = model.encode_continuous(images).numpy(), model.encode(images).numpy().reshape(16, 2, 2, 4)
    distances = np.square(before[..., None, :] - model.codebook.vectors.numpy()).sum(axis=-1)
    np.testing.assert_array_equal(after, model.codebook.vectors.numpy()[distances.argmin(axis=-1)])
    assert np.abs(before - after).max() > 1e-4
    np.testing.assert_allclose(model.decode(before), model.reconstruct(images), atol=1e-6)


# The game of patches


def game(slope=0.3, **settings):
    """A game whose critic scores each pixel by `slope` times its value in [-1, 1]."""
    pixels, kernel = keras.Input(SHAPE), keras.initializers.Constant(slope)
    scores = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer=kernel)(pixels)
    return PatchGame(keras.Model(pixels, scores), **settings)


def linear(**settings):
    """A linear autoencoder of three numbers, which is stepped by plain descent."""
    encoder = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(3)])
    decoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(64, use_bias=False), keras.layers.Reshape(SHAPE)])
    model = Autoencoder(encoder, decoder, seed=0, **settings)
    model.compile(**{name: keras.optimizers.SGD(0.01) for name in model.optimizers}, run_eagerly=True)
    return model


def test_the_losses_of_the_game_and_its_adaptive_weight_are_their_formulas(images):
    model = linear(game=game(weight=2.0))
    x, kernel = images / 255.0, model.decoder.layers[-2].kernel
    h, before = model.encoder(x.astype("float32")).numpy(), kernel.numpy()
    y = (h @ before).reshape(x.shape)
    validation = model.test_on_batch(images, return_dict=True)
    model.reset_metrics()
    terms = model.train_on_batch(images, return_dict=True)
    expected = {
        "reconstruction_loss": np.square(y - x).sum(axis=(1, 2, 3)).mean(),
        "adversarial_loss": -np.mean(0.3 * (2 * y - 1)),
        "critic_loss": np.maximum(0, 1 - 0.3 * (2 * x - 1)).mean() + np.maximum(0, 1 + 0.3 * (2 * y - 1)).mean(),
    }
    for name, value in expected.items():
        assert terms[name] == pytest.approx(value, rel=1e-4), name
        assert validation[name] == pytest.approx(value, rel=1e-4), name
    slopes = h.T @ (2 * (y - x)).reshape(16, 64) / 16, h.T @ np.full((16, 64), -0.6 / 64) / 16  # of both by the last kernel
    balance = np.linalg.norm(slopes[0]) / (np.linalg.norm(slopes[1]) + 1e-4)
    assert terms["game_weight"] == pytest.approx(balance, rel=1e-3)
    whole = expected["reconstruction_loss"] + 2 * balance * expected["adversarial_loss"]
    assert terms["loss"] == pytest.approx(whole, rel=1e-3)
    assert validation["loss"] == pytest.approx(expected["reconstruction_loss"], rel=1e-4) and "game_weight" not in validation
    # And the step is that of the sum, with the adaptive weight taken for a number.
    np.testing.assert_allclose(kernel, before - 0.01 * (slopes[0] + 2 * balance * slopes[1]), atol=1e-5)
    # While the critic's slope goes up in bright images and down in bright reconstructions.
    critic = model.game.critic.layers[-1].kernel.numpy().item()
    assert critic == pytest.approx(0.3 + 0.01 * ((2 * x - 1).mean() - (2 * y - 1).mean()), abs=1e-5)


def test_the_game_begins_when_it_is_told_to(images):
    plain, late = linear(), linear(game=game(start=2))
    for one, other in ((plain.encoder, late.encoder), (plain.decoder, late.decoder)):
        other.set_weights(one.get_weights())
    kernel = late.game.critic.layers[-1].kernel
    for step in range(3):
        plain.reset_metrics(), late.reset_metrics()
        first, second = (model.train_on_batch(images, return_dict=True) for model in (plain, late))
        assert (second["loss"] == pytest.approx(first["loss"], rel=1e-5)) is (step < 2)
        assert (kernel.numpy().item() == pytest.approx(0.3, abs=1e-7)) is (step < 2)
    late.reset_metrics()
    assert late.test_on_batch(images, return_dict=True)["critic_loss"] > 1


def test_patches_have_the_published_sizes():
    for depth, expected in ((1, 16), (2, 34), (3, 70)):
        critic = networks.patch_critic((96, 96, 1), 2, depth, normalization=None)
        critic.set_weights([np.ones_like(each) for each in critic.get_weights()])
        x = tf.ones((1, 96, 96, 1))
        with tf.GradientTape() as tape:
            tape.watch(x)
            scores = critic(x)
            score = scores[0, scores.shape[1] // 2, scores.shape[2] // 2, 0]
        seen = np.asarray(tape.gradient(score, x))[0, :, :, 0] > 0
        assert seen.any(axis=0).sum() == seen.any(axis=1).sum() == expected
    # pix2pix's discriminator of RGB images has 2,765,633 parameters, of which one is the bias of the scores.
    published = networks.patch_critic((256, 256, 3))
    assert sum(int(np.prod(each.shape)) for each in published.trainable_variables) == 2_765_632


@pytest.mark.parametrize(
    "act, sentence",
    [
        (lambda: PatchGame(networks.critic(SHAPE, width=2)), r"puts out shape \(1,\), expected \(rows, columns, 1\)"),
        (lambda: game(objective="cramer"), "objective is Cramer, expected one of scores, without pairs"),
        (lambda: game(weight=0.0), r"weight is 0\.0, expected a finite number above 0"),
        (lambda: game(start=-1), "start is -1, expected a whole number of at least 0"),
        (lambda: linear(game=PatchGame(networks.patch_critic((9, 8, 1), 2, 1))), r"takes \[\(9, 8, 1\)\], expected images"),
        (
            lambda: WAE(networks.mlp(SHAPE, 2, width=4), networks.mlp(2, SHAPE, width=4), game=game()),
            "a game of patches was given, expected None",
        ),
        (lambda: gz.build("kl_autoencoder", SHAPE, critic_start=1.0), r"critic_start is 1\.0, expected a finite number"),
    ],
)
def test_a_game_that_cannot_be_played_is_one_sentence(act, sentence):
    with pytest.raises(ValueError, match=sentence):
        act()


@pytest.mark.parametrize("objective", ["relativistic", "least_squares", "wasserstein", "fisher", "f_kl"])
def test_objectives_of_scores_are_played_with_patches(objective, images):
    model = linear(game=game(objective=objective))
    before = model.game.critic.layers[-1].kernel.numpy()
    terms = model.train_on_batch(images, return_dict=True)
    assert all(np.isfinite(value) for value in terms.values())
    assert np.abs(model.game.critic.layers[-1].kernel.numpy() - before).max() > 0


def test_a_recipe_plans_the_game_by_the_steps_of_the_training():
    assert gz.build("kl_autoencoder", SHAPE, total_steps=100, **FIRST).game.start == 50
    assert gz.build("kl_autoencoder", SHAPE, **FIRST).game.start == 0
    assert gz.build("kl_autoencoder", SHAPE, critic_weight=0.0, **FIRST).game is None


# Diffusion in codes with space


def stage(**settings):
    """A first stage without a game, of fixed weights."""
    return gz.build("kl_autoencoder", SHAPE, critic_weight=0.0, **{**FIRST, **settings})


def frozen(first=None, dense=True, num_classes=None, **settings):
    """Latent diffusion in the codes of a first stage that stays as it is."""
    keras.utils.set_random_seed(0)
    first = stage() if first is None else first
    shape = first.decoder.input_shape[1:]
    network = networks.dense_denoiser(shape, 8, 1, num_classes) if dense else networks.unet(shape, 8, (1,))
    model = LatentDiffusion(first, Diffusion(network, steps=2, seed=0), train_autoencoder=False, seed=0, **settings)
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    return model


@pytest.mark.parametrize("shape, code", [((28, 28, 1), (7, 7, 4)), ((33, 20, 3), (5, 3, 4)), ((64, 64, 1), (8, 8, 4))])
def test_latent_diffusion_with_space_is_built_trained_asked_saved_and_loaded(shape, code, tmp_path):
    small = {"grid_width": 2, "unet_width": 8, "unet_multipliers": (1, 2), "steps": 2, "seed": 0, "jit_compile": False}
    model = gz.build("latent_diffusion", shape, downsampling=4 if shape[0] == 28 else 8, steps_per_execution=1, **small)
    x = np.random.default_rng(0).integers(0, 256, (4, *shape), "uint8")
    history = model.fit(x, validation_data=x, verbose=0).history
    assert np.isfinite(history["loss"] + history["val_loss"] + history["reconstruction_loss"]).all()
    latents = np.asarray(model.draw_latents(3, randomness.RowStream(0, 0)))
    assert latents.shape == (3, *code) and model.latent_shapes() == [code] and model.encode(x).shape == (4, *code)
    samples = model.sample(3, seed=0)
    assert samples.shape == (3, *shape)
    np.testing.assert_allclose(model.sample(latents=latents, seed=0), samples, atol=1e-4)
    assert model.interpolate(x[:2], x[2:], steps=3).shape == (2, 3, *shape)
    with pytest.raises(AttributeError, match="no `img2img`: only diffusion models of pixels make images from images"):
        model.img2img(x)
    with pytest.raises(TypeError, match="trace"):
        model.sample(2, trace=2)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(gz.load(tmp_path / "model.keras").sample(3, seed=0), samples)


def test_every_channel_of_a_grid_is_made_standard_and_comes_back(images):
    model = frozen(dense=False)
    model.normalize.momentum = 0.5
    model.fit(images, epochs=20, batch_size=16, verbose=0)
    codes = model.encode(images).numpy()
    np.testing.assert_allclose(model.normalize.moving_mean, codes.mean(axis=(0, 1, 2)), atol=1e-3)
    np.testing.assert_allclose(model.normalize.moving_variance, codes.var(axis=(0, 1, 2)), rtol=1e-2, atol=1e-4)
    model.normalize.moving_mean.assign([1.0, -2.0, 0.5, 0.0])
    model.normalize.moving_variance.assign([4.0, 0.25, 1.0, 9.0])
    latents = model.draw_latents(4, randomness.RowStream(0, 0))
    walked = model.diffusion.walk(latents).numpy()
    expected = model.autoencoder.decode((walked * [2.0, 0.5, 1.0, 3.0] + [1.0, -2.0, 0.5, 0.0]).astype("float32"))
    np.testing.assert_allclose(model.generate(latents), expected, atol=1e-3)


@pytest.mark.parametrize("kind", ["kl", "vq", "vq as vectors"])
def test_a_frozen_first_stage_does_not_change_and_its_decoder_quantises(kind, images):
    first = stage() if kind == "kl" else gz.build("vq_autoencoder", SHAPE, codes=4, **FIRST)
    if kind != "kl":
        first.fit(images, verbose=0)
    model = frozen(first)
    if kind == "vq as vectors":
        network = networks.dense_denoiser((1, 1, 16), 8, 1)
        model = LatentDiffusion(first, Diffusion(network, steps=2, seed=0), train_autoencoder=False, ema=0.9, seed=0)
        model.compile(jit_compile=False)
    before, denoiser = first.get_weights(), model.diffusion.network.get_weights()
    model.fit(images, epochs=2, validation_data=images, verbose=0)
    assert all(map(np.array_equal, before, first.get_weights()))
    assert not all(map(np.array_equal, denoiser, model.diffusion.network.get_weights()))
    np.testing.assert_array_equal(model.encode(images), getattr(first, "encode_continuous", first.encode)(images))
    np.testing.assert_allclose(model.reconstruct(images), first.reconstruct(images), atol=1e-6)
    assert model.sample(3, seed=0).shape == (3, *SHAPE)


def weights(model):
    return [np.asarray(value) for value in model.get_weights()]


@pytest.mark.parametrize("given", ["arrays", "loaded", "mirrored", "labels"])
def test_cached_codes_give_the_steps_that_encoding_in_every_step_gives(given, images):
    labels, classes = (np.arange(16) % 3, 3) if given == "labels" else (None, None)

    def data():
        if given in ("loaded", "mirrored"):
            return gz.data.load(images, batch_size=5, seed=3, flip=given == "mirrored", drop_remainder=False)
        return images

    trained = []
    for cached in (True, False):
        model = frozen(num_classes=classes, cache_codes=cached)
        seen, supplement = [], model.supplement
        model.supplement = lambda dataset, seen=seen, supplement=supplement: seen.append(supplement(dataset)) or seen[-1]
        model.fit(data(), labels, epochs=3, **({} if given in ("loaded", "mirrored") else {"batch_size": 5}), verbose=0)
        spec = seen[0].element_spec
        assert (isinstance(spec, tuple) and isinstance(spec[1], dict) and CODES in spec[1]) is cached
        trained.append(weights(model))
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_codes_of_a_batch_are_those_of_its_images_mirrored_ones_too(images):
    model = frozen()
    data = gz.data.load((images, np.arange(16)), batch_size=4, labels=True, flip=True, seed=1)
    data.order.start(2)
    plain = list(data)
    data.order.start(2)
    mirrored = 0
    for (expected, labels), (x, extras) in zip(plain, model.supplement(data), strict=True):
        np.testing.assert_array_equal(x, expected)
        np.testing.assert_array_equal(extras["labels"], labels)
        np.testing.assert_allclose(extras[CODES], model.encode(x.numpy()), atol=1e-5)
        mirrored += sum(not np.array_equal(one, images[label]) for one, label in zip(x.numpy(), labels.numpy(), strict=True))
    assert 0 < mirrored < 16


def test_images_that_have_no_numbers_are_encoded_in_every_step(images):
    model = frozen()
    pipeline = tf.data.Dataset.from_tensor_slices(images).map(tf.image.random_flip_left_right).batch(4)
    for data in (pipeline, gz.data.load(pipeline, batch_size=4), gz.data.load(images, batch_size=2, further=1)):
        assert model.supplement(data) is data
    before = weights(model.autoencoder)
    assert np.isfinite(model.fit(pipeline, verbose=0).history["loss"]).all()
    assert all(map(np.array_equal, before, weights(model.autoencoder)))


def test_codes_that_do_not_fit_into_memory_are_not_kept(images, monkeypatch):
    monkeypatch.setattr("keras_genzoo.core.memory.free", lambda: 100)
    data = gz.data.load(images, batch_size=4)
    assert frozen().supplement(data) is data


def test_a_training_on_cached_codes_goes_on_where_it_was(images, tmp_path):
    whole, part = frozen(ema=0.9), frozen(ema=0.9)
    for model in (whole, part):
        model.fit(gz.data.load(images, batch_size=4), epochs=1, verbose=0)
    part.save(tmp_path / "model.keras")
    part = gz.load(tmp_path / "model.keras")
    for model in (whole, part):
        model.fit(gz.data.load(images, batch_size=4), epochs=2, verbose=0)
    for one, other in zip(weights(whole), weights(part), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_first_stage_is_trained_saved_and_taken_by_its_path(images, tmp_path):
    first = gz.build("kl_autoencoder", SHAPE, ema=0.5, **FIRST)
    first.fit(images, batch_size=4, verbose=0)
    first.save(tmp_path / "first.keras")
    small = {"unet_width": 8, "unet_multipliers": (1,), "steps": 2, "jit_compile": False, "seed": 1}
    model = gz.build("latent_diffusion", SHAPE, first_stage=str(tmp_path / "first.keras"), **small)
    assert model.autoencoder.game is None and model.autoencoder.ema is None and not model.train_autoencoder
    np.testing.assert_allclose(model.encode(images), first.encode(images), atol=1e-6)  # of its averages
    model.fit(images, verbose=0)
    model.save(tmp_path / "model.keras")
    (tmp_path / "first.keras").unlink()
    np.testing.assert_array_equal(gz.load(tmp_path / "model.keras").sample(2, seed=0), model.sample(2, seed=0))
    first.save(tmp_path / "first.keras")
    with pytest.raises(ValueError, match=r"takes images of shape \(8, 8, 1\), expected \(28, 28, 1\)"):
        gz.build("latent_diffusion", (28, 28, 1), first_stage=tmp_path / "first.keras")
    with pytest.raises(ValueError, match="denoiser is 'dit', expected 'dense', 'unet' or None"):
        gz.build("latent_diffusion", SHAPE, denoiser="dit")


def test_a_first_stage_with_a_game_does_not_learn_along():
    first = gz.build("kl_autoencoder", SHAPE, **FIRST)
    diffusion = Diffusion(networks.dense_denoiser((2, 2, 4), 8, 1), seed=0)
    with pytest.raises(ValueError, match="the autoencoder has a game, and cannot learn along; train it first"):
        LatentDiffusion(first, diffusion)
    with pytest.raises(ValueError, match=r"of shape \(2, 2, 4\) with clip=False, expected \(1, 1, 4\)"):
        LatentDiffusion(gz.build("autoencoder", SHAPE, width=2, latent_dim=4), diffusion)
