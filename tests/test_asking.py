"""What a model is asked: of any number of images, of arrays and data sets, and of what is no image."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_case import SHAPE, build

import keras_genzoo as gz

RECIPES = (
    "autoencoder",
    "vae",
    "iaf_vae",
    "vqvae",
    "wae_mmd",
    "two_stage_vae",
    "gan",
    "glow",
    "pixelcnn_pp",
    "ddpm",
    "ebm",
    "rbm",
    "latent_diffusion",
)
QUESTIONS = ("encode", "reconstruct", "log_prob", "posterior", "energy", "bits_per_dim")


def images_for(model, n=7):
    images = np.random.default_rng(0).random((n, *model.image_shape), dtype="float32")
    return np.round(images) if hasattr(model, "support") and model.support == "binary" else images


def asked(model):
    """The methods of images that the model has."""
    return [name for name in QUESTIONS if hasattr(model, name)]


def same(first, second):
    for a, b in zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4, rtol=2e-4)


def loaded_settings(model, name):
    """Few draws, and log Z once, so that the test is short."""
    if name not in ("log_prob", "bits_per_dim"):
        return {}
    if hasattr(model, "log_partition"):
        return {"log_partition": 3.0}
    return {"samples": 2} if "samples" in inspect.signature(model.log_prob).parameters else {}


@pytest.mark.parametrize("name", [pytest.param(r, marks=[pytest.mark.slow] if r == "ddpm" else []) for r in RECIPES])
def test_answers_do_not_depend_on_the_batch_and_data_sets_are_taken(name):
    model = build(name)
    images = images_for(model)
    stream = tf.data.Dataset.from_tensor_slices(images).batch(5)
    for question in asked(model):
        method, settings = getattr(model, question), loaded_settings(model, question)
        whole = method(images, **settings)
        same(whole, method(images, batch_size=3, **settings))
        same(whole, method(stream, batch_size=4, **settings))
    if hasattr(model, "encode") and hasattr(model, "decode"):
        codes = np.asarray(model.encode(images))
        same(model.decode(codes), model.decode(codes, batch_size=2))
        ends = images[:3], images[3:6]
        same(model.interpolate(*ends, steps=2), model.interpolate(*ends, steps=2, batch_size=2))


@pytest.mark.parametrize("name", RECIPES)
def test_what_fit_refuses_every_question_refuses(name):
    model = build(name)
    images = images_for(model)
    for question in asked(model):
        method = getattr(model, question)
        with pytest.raises(ValueError, match=r"floats between .* use `images / 255`"):
            method(255 * images)
        with pytest.raises(ValueError, match="hold NaN or infinite values"):
            method(np.where(images > 0.9, np.nan, images))
        with pytest.raises(ValueError, match="there are no images"):
            method(images[:0])
        with pytest.raises(ValueError, match=r"build the model with image_shape=\(4, 4, 1\)"):
            method(images[:, :4, :4])
        with pytest.raises(ValueError, match="images are int64, expected uint8"):
            method(images.astype("int64"))
        with pytest.raises(ValueError, match="batch_size is 0"):
            method(images, batch_size=0)
    if hasattr(model, "encode") and hasattr(model, "decode"):
        codes = np.asarray(model.encode(images))
        with pytest.raises(ValueError, match="codes hold NaN"):
            model.decode(np.full_like(codes, np.nan))
        with pytest.raises(ValueError, match="there are no codes"):
            model.decode(codes[:0])
        with pytest.raises(ValueError, match="there are 2 and 3 images"):
            model.interpolate(images[:2], images[:3])


def test_no_more_than_a_batch_is_computed_at_once():
    model = build("autoencoder", run_eagerly=True)
    seen, call = [], model.encoder.call
    model.encoder.call = lambda x, **settings: seen.append(len(x)) or call(x, **settings)
    model.encode(images_for(model, 300))
    model.encode(images_for(model), batch_size=3)
    assert seen == [256, 44, 3, 3, 1]


def test_a_question_is_answered_with_the_weights_and_the_parts_of_now():
    model, other = build("autoencoder"), build("autoencoder", seed=1)
    images = images_for(model)
    codes = np.asarray(model.encode(images))
    first = np.asarray(model.decode(codes, batch_size=2))
    model.decoder = other.decoder
    second = np.asarray(model.decode(codes, batch_size=2))
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_allclose(second, other.decode(codes), atol=1e-6)


def test_gradients_pass_through_a_question():
    model = build("autoencoder")
    z = tf.random.stateless_normal((2, 3), (0, 1))
    with tf.GradientTape() as tape:
        tape.watch(z)
        x = model.decode(z)
    assert np.abs(tape.gradient(x, z)).max() > 0


@pytest.mark.parametrize("recipe", ("vae", "glow", "gaussian_rbm"))
def test_images_of_16_bits_are_taken_and_likelihoods_are_of_the_nearest_levels(recipe):
    wide = np.random.default_rng(0).integers(0, 65536, (8, 8, 8, 1)).astype("uint16")
    levels = np.round(wide / 257).astype("uint8")
    model = build(recipe, **({"likelihood": "discretized_logistic"} if recipe == "vae" else {}))
    assert np.isfinite(model.fit(wide, batch_size=4, verbose=0).history["loss"]).all()
    settings = loaded_settings(model, "log_prob")
    whole = model.log_prob(levels, **settings)
    near = np.clip((levels + np.random.default_rng(1).uniform(-0.4, 0.4, levels.shape)) / 255, 0, 1).astype("float32")
    np.testing.assert_allclose(model.log_prob(near, **settings), whole, rtol=1e-4 if recipe != "vae" else 0.1)
    np.testing.assert_allclose(model.log_prob(wide, **settings), whole, rtol=1e-4 if recipe != "vae" else 0.1)
    np.testing.assert_array_equal(next(iter(gz.data.load(wide, batch_size=8, shuffle=False))), levels)


class Endless(keras.utils.PyDataset):
    """Batches without an end."""

    num_batches = None

    def __getitem__(self, index):
        return np.zeros((2, *SHAPE), "float32")


def test_a_data_set_without_an_end_is_refused():
    with pytest.raises(ValueError, match="the data set has no end"):
        build("autoencoder").encode(Endless())
