"""Densities that are fitted to codes after training, and the codebook whose grids they are of."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo import priors
from keras_genzoo.core import randomness
from keras_genzoo.core.draws import draw_images
from keras_genzoo.models import Codebook


@pytest.fixture
def random():
    return np.random.default_rng(0)


SHAPE = (8, 8, 1)
SMALL = {"width": 8, "depth": 1, "latent_dim": 2, "seed": 0, "jit_compile": False}


# How many components, and of which kind


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_codes_of_one_gaussian_are_held_out_as_likely_as_they_can_be(kind, random):
    dim = 16
    factor = np.eye(dim) + (kind == "full") * np.tril(np.full((dim, dim), 0.5), -1)
    codes = random.normal(size=(1500, dim)) @ factor.T
    prior = priors.GaussianMixture(dim, components=200)
    found = prior.fit(codes)
    entropy = 0.5 * dim * np.log(2 * np.pi * np.e)  # of N(0, L L^T) with |L| = 1
    assert (found["components"], found["kind"]) == (1, kind)
    assert found["held_out_log_prob"] == pytest.approx(-entropy, abs=0.6)
    fresh = random.normal(size=(4000, dim)) @ factor.T
    assert float(tf.reduce_mean(prior.log_prob(fresh.astype("float32")))) == pytest.approx(-entropy, abs=0.3)


def test_as_many_gaussians_are_found_as_hold_in_codes_that_were_held_out(random):
    centres = 6 * random.normal(size=(10, 4))
    codes = centres[np.arange(2000) % 10] + 0.1 * random.normal(size=(2000, 4))
    found = priors.GaussianMixture(4, components=50).fit(codes)
    assert found["components"] == 10
    entropy = np.log(10) + 0.5 * 4 * np.log(2 * np.pi * np.e * 0.01)
    assert found["held_out_log_prob"] == pytest.approx(-entropy, abs=0.4)
    assert found["log_prob"] == pytest.approx(-entropy, abs=0.4)


def test_few_codes_have_none_held_out():
    found = priors.GaussianMixture(2, components=3).fit(np.eye(2)[[0, 1] * 3] + 0.01)
    assert found["components"] == 1 and np.isnan(found["held_out_log_prob"]) and np.isfinite(found["log_prob"])


# Densities that learn


def small_flow(dim=2, **settings):
    layers = gz.flows.couplings(dim, 4, width=32, depth=2, elementwise="spline")
    return priors.FlowPrior(gz.bijectors.Chain(layers), dim, **settings)


def small_vae(dim=2, **settings):
    encoder = gz.networks.mlp(dim, dim, width=64, heads=("mu", "log_variance"), name="encoder")
    return priors.TwoStagePrior(encoder, gz.networks.mlp(dim, dim, width=64, name="decoder"), dim, **settings)


def banana(random, n):
    """Codes whose entropy is that of a Gaussian: the second one is bent by the first."""
    u = random.normal(size=(n, 2))
    return np.stack([3 * u[:, 0], 1 + u[:, 1] + u[:, 0] ** 2], axis=1), np.log(3) + np.log(2 * np.pi * np.e)


def test_a_flow_of_bent_codes_is_as_likely_as_they_can_be(random):
    codes, entropy = banana(random, 4000)
    prior = small_flow(steps=800, learning_rate=5e-3)
    found = prior.fit(codes)
    assert found["kind"] == "flow" and prior.fitted
    fresh, _ = banana(random, 4000)
    log_prob = prior.log_prob(fresh.astype("float32")).numpy()
    assert log_prob.mean() == pytest.approx(-entropy, abs=0.12)
    assert found["held_out_log_prob"] == pytest.approx(-entropy, abs=0.2)
    gaussian = priors.GaussianMixture(2, 1)
    gaussian.fit(codes, components=1)
    assert log_prob.mean() > float(tf.reduce_mean(gaussian.log_prob(fresh.astype("float32")))) + 0.3
    drawn = prior.sample(4000, randomness.RowStream(0, 0)).numpy()
    assert np.mean(drawn[:, 1] - (drawn[:, 0] / 3) ** 2) == pytest.approx(1.0, abs=0.15)


def test_the_density_of_a_flow_integrates_to_one(random):
    codes, _ = banana(random, 500)
    prior = small_flow(steps=50)
    prior.fit(codes)
    x, y = np.meshgrid(np.linspace(-15, 15, 301), np.linspace(-12, 25, 371))
    values = np.exp(prior.log_prob(np.stack([x.ravel(), y.ravel()], axis=1).astype("float32")))
    assert values.sum() * 0.1 * 0.1 == pytest.approx(1.0, abs=0.01)


def test_a_vae_of_codes_on_a_circle_draws_codes_on_it(random):
    angle, radius = random.uniform(0, 2 * np.pi, 3000), 2 + 0.05 * random.normal(size=3000)
    codes = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    prior = small_vae(steps=2000, learning_rate=3e-3)
    found = prior.fit(codes)
    assert found["kind"] == "two_stage" and np.isfinite(found["held_out_log_prob"])
    lengths = np.linalg.norm(prior.sample(2000, randomness.RowStream(0, 0)), axis=1)
    assert np.mean(np.abs(lengths - 2) < 0.5) > 0.8  # of a Gaussian with these moments a third
    truth = np.log(2 * np.pi * 2) + 0.5 * np.log(2 * np.pi * np.e * 0.05**2)
    assert found["held_out_log_prob"] < -truth + 0.2  # a lower bound, but for the draw


@pytest.mark.parametrize("make", [small_flow, small_vae])
def test_a_density_that_learns_repeats_itself_and_takes_moments_alone_where_asked(make, random):
    codes = np.array([5.0, -2.0]) + np.array([3.0, 0.1]) * random.normal(size=(400, 2))
    first, second = make(steps=20), make(steps=20)
    second.set_weights(first.get_weights())
    begun = [value.numpy() for value in first._values()]
    quick = first.fit(codes, components=1)
    for value, before in zip(first._values(), begun, strict=True):
        np.testing.assert_array_equal(value, before)
    np.testing.assert_allclose(first.mean, [5.0, -2.0], atol=0.6)
    assert quick["components"] == 1 and first.fitted
    reports = [each.fit(codes, seed=3) for each in (first, second)]
    assert reports[0] == reports[1] and not first.trainable_variables
    np.testing.assert_array_equal(first.sample(5, randomness.RowStream(1, 0)), second.sample(5, randomness.RowStream(1, 0)))
    with pytest.raises(ValueError, match=r"expected finite numbers of shape \(n, 2\)"):
        first.fit(np.zeros((10, 3)))


@pytest.mark.parametrize("fitted", ["flow", "two_stage"])
@pytest.mark.parametrize("recipe", ["dense_autoencoder", "vae", "wae_mmd", "two_stage_vae"])
def test_models_with_codes_sample_from_a_density_that_learned(recipe, fitted, images, tmp_path, monkeypatch):
    from keras_genzoo.recipes import common

    monkeypatch.setitem(common.FLOW, "width", 8)
    monkeypatch.setitem(common.SECOND, "width", 8)
    model = gz.build(recipe, SHAPE, fitted=fitted, **SMALL)
    plain = gz.build(recipe, SHAPE, **SMALL)
    assert len(model.trainable_variables) == len(plain.trainable_variables)
    model.fit(images, epochs=1, verbose=0)
    model.density().steps = 20
    assert model.fit_prior(images)["kind"] == fitted
    drawn = model.sample(9, seed=0)
    np.testing.assert_allclose(model.sample(9, seed=0, batch_size=4), drawn, atol=1e-5)
    model.save(tmp_path / "model.keras")
    again = gz.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.sample(9, seed=0), drawn)
    assert len(again.trainable_variables) == len(plain.trainable_variables)
    model.fit(images, epochs=1, verbose=0)
    assert not model.density().fitted


def test_a_density_learns_on_two_replicas_as_on_one(images, replicas):
    drawn = []
    for strategy in (tf.distribute.get_strategy(), replicas):
        with strategy.scope():
            model = gz.build("dense_autoencoder", SHAPE, fitted="flow", **SMALL)
        model.density().steps = 20
        model.fit_prior(images)
        drawn.append(model.sample(6, seed=0))
    np.testing.assert_allclose(*drawn, atol=1e-4)


def test_what_a_density_that_learns_cannot_be_is_one_sentence():
    with pytest.raises(ValueError, match="fitted is 'spline', expected 'mixture', 'flow' or 'two_stage'"):
        gz.build("vae", SHAPE, fitted="spline", **SMALL)
    with pytest.raises(ValueError, match="latent_dim is 1, and couplings of a flow need two numbers"):
        gz.build("vae", SHAPE, fitted="flow", **{**SMALL, "latent_dim": 1})
    with pytest.raises(ValueError, match="ActNorm takes its values from data"):
        priors.FlowPrior(gz.bijectors.Chain([gz.bijectors.ActNorm(2)]), 2)
    with pytest.raises(ValueError, match="steps is 0"):
        small_flow(steps=0)


# Which images


def sorted_images(count=40):
    """As many images of each of three classes, sorted: black, gray, white."""
    return np.repeat(np.array([0, 128, 255], "uint8"), count)[:, None, None, None] * np.ones((1, *SHAPE), "uint8")


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 12

    def __getitem__(self, index):
        return (sorted_images()[10 * index : 10 * index + 10],)


DOORS = {
    "an array": sorted_images,
    "a pair": lambda: (sorted_images(), np.zeros(120)),
    "a data set": lambda: tf.data.Dataset.from_tensor_slices(sorted_images()).batch(7),
    "a data set of unknown length": lambda: tf.data.Dataset.from_tensor_slices(sorted_images()).filter(lambda x: True).batch(7),
    "a data set with labels": lambda: tf.data.Dataset.from_tensor_slices((sorted_images(), np.zeros(120))).batch(50),
    "a PyDataset": Sequence,
}


@pytest.mark.parametrize("door", DOORS)
def test_images_are_drawn_from_all_classes(door):
    found = np.concatenate(list(draw_images(DOORS[door](), 60, seed=0)))
    counts = [np.sum(found[:, 0, 0, 0] == level) for level in (0, 128, 255)]
    # 20 of each are expected, with a standard deviation of 2.6.
    assert 57 <= len(found) <= 60 and min(counts) >= 12
    assert len(np.concatenate(list(draw_images(DOORS[door](), 1000)))) == 120


def test_of_what_has_no_end_the_first_images_are_taken():
    endless = tf.data.Dataset.from_tensor_slices(sorted_images()).repeat().batch(50)
    once = (batch for batch in np.split(sorted_images(), 3))
    for source in (endless, once):
        assert len(np.concatenate(list(draw_images(source, 70)))) == 70


def test_a_data_set_that_repeats_itself_gives_each_image_once():
    endless = tf.data.Dataset.from_tensor_slices(sorted_images()).batch(40).repeat()
    endless.images_count = 120
    assert len(np.concatenate(list(draw_images(endless, 1000)))) == 120


def test_a_prior_is_fitted_to_all_classes_of_a_sorted_data_set():
    model = gz.build("dense_autoencoder", SHAPE, components=3, **SMALL)
    model.fit_prior(sorted_images(), images=60)
    codes = np.asarray(model.encode(sorted_images()))
    drawn = model.draw_latents(5000, randomness.RowStream(0, 0)).numpy()
    np.testing.assert_allclose(drawn.mean(axis=0), codes.mean(axis=0), atol=0.35 * codes.std())


BAD = {
    "floats of 0..255": (lambda: 255.0 * np.ones((4, *SHAPE)), "images / 255"),
    "NaN": (lambda: np.full((4, *SHAPE), np.nan), "NaN"),
    "nothing": (lambda: np.zeros((0, *SHAPE), "uint8"), "empty"),
    "another size": (lambda: np.zeros((4, 9, 8, 1), "uint8"), "image_shape"),
}


@pytest.mark.parametrize("bad", BAD)
def test_images_that_fit_refuses_a_prior_refuses(bad):
    images, words = BAD[bad]
    with pytest.raises(ValueError, match=words):
        gz.build("vae", SHAPE, **SMALL).fit_prior(images())


# What `sample` draws from


def test_a_model_without_a_fitted_prior_says_what_to_call(images):
    model = gz.build("dense_autoencoder", SHAPE, components=2, **SMALL)
    with pytest.raises(AttributeError, match=r"call fit_prior\(images\)"):
        model.sample(1)
    with pytest.raises(AttributeError, match=r"prior=priors\.GaussianMixture"):
        gz.build("dense_autoencoder", SHAPE, **{**SMALL, "components": 0}).sample(1)


@pytest.mark.parametrize("door", ["fit", "train_on_batch", "a callback"])
def test_training_makes_a_fitted_prior_out_of_date(door, images):
    model = gz.build("dense_autoencoder", SHAPE, components=2, **SMALL)
    model.fit_prior(images)
    if door == "a callback":
        fitting = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: model.fit_prior(images))
        model.fit(images, callbacks=[fitting], verbose=0)
    else:
        (model.fit if door == "fit" else model.train_on_batch)(images)
    assert not model.prior.fitted and not hasattr(model, "sample")
    model.fit_prior(images)
    assert model.sample(2).shape == (2, *SHAPE)


@pytest.mark.parametrize("recipe", ["vae", "planar_vae", "vamp_vae", "two_stage_vae", "wae_mmd", "gaussian_wae_mmd"])
def test_a_model_with_a_prior_samples_from_it_until_another_is_fitted(recipe, images, tmp_path):
    small = {**SMALL, "components": 2, "second_width": 8, "fitted_components": 3}
    model = gz.build(recipe, SHAPE, **{key: value for key, value in small.items() if key in gz.recipes.get(recipe).defaults})
    own = model.sample(3, seed=0)
    density = model.log_prob(images, samples=2).numpy() if hasattr(model, "log_prob") else None
    model.fit_prior(np.concatenate([images] * 4))
    fitted = model.sample(40, seed=0)
    assert np.abs(fitted[:3] - own).max() > 1e-3
    np.testing.assert_allclose(fitted, model.sample(40, seed=0, batch_size=7), atol=1e-5)
    if density is not None:
        np.testing.assert_array_equal(model.log_prob(images, samples=2), density)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(gz.load(tmp_path / "model.keras").sample(40, seed=0), fitted)
    model.fitted_prior.forget()
    np.testing.assert_array_equal(model.sample(3, seed=0), own)


def test_the_prior_of_a_vae_is_fitted_to_draws_and_not_to_means(images):
    model = gz.build("vae", SHAPE, **SMALL)
    for name, value in (("mu", 3.0), ("log_variance", -1.0)):
        head = model.encoder.get_layer(name)
        head.set_weights([np.zeros_like(head.get_weights()[0]), np.full(2, value, "float32")])
    log_variance = float(np.asarray(model.posterior(images)[1])[0, 0])  # bounded by the network
    model.fit_prior(np.concatenate([images] * 128), "gaussian")
    drawn = model.draw_latents(5000, randomness.RowStream(1, 0)).numpy()
    np.testing.assert_allclose(drawn.mean(axis=0), 3.0, atol=0.1)
    np.testing.assert_allclose(drawn.std(axis=0), np.exp(0.5 * log_variance), rtol=0.08)


def test_a_prior_is_cleared_on_two_replicas_as_on_one(images, replicas):
    with replicas.scope():
        model = gz.build("dense_autoencoder", SHAPE, components=2, **SMALL)
    model.fit_prior(images)
    model.fit(images, batch_size=8, verbose=0)
    assert not model.prior.fitted


# Grids of a codebook


def test_a_mixture_of_grids_sums_to_one_and_is_drawn_from_as_it_says(random):
    low, high = random.integers(0, 2, (400, 2)), random.integers(1, 3, (200, 2))
    prior = priors.CategoricalMixture(2, 3, components=4)
    prior.fit(np.concatenate([low, high]), components=2)
    grids = np.array(list(itertools.product(range(3), range(3))))
    probabilities = np.exp(prior.log_prob(grids))
    assert probabilities.sum() == pytest.approx(1, abs=1e-4)
    drawn = prior.sample(40_000, randomness.RowStream(0, 0)).numpy()
    frequencies = np.bincount(3 * drawn[:, 0] + drawn[:, 1], minlength=9) / len(drawn)
    np.testing.assert_allclose(frequencies, probabilities, atol=4 * np.sqrt(0.25 / len(drawn)))


def test_held_out_grids_choose_how_many_components(random):
    patterns = random.integers(0, 8, (3, 20))
    grids = patterns[np.arange(900) % 3]
    noise = random.random(grids.shape) < 0.1
    grids = np.where(noise, random.integers(0, 8, grids.shape), grids)
    found = priors.CategoricalMixture(20, 8, components=30).fit(grids)
    assert found["components"] == 3 and found["kind"] == "categorical"
    keep = 0.9 + 0.1 / 8
    entropy = np.log(3) - 20 * (keep * np.log(keep) + 7 * (0.1 / 8) * np.log(0.1 / 8))
    assert found["held_out_log_prob"] == pytest.approx(-entropy, abs=1.3)  # the mean of 180 has a standard error of 0.4


def test_the_prior_of_grids_grows_with_the_codes():
    count = lambda side: gz.build("vqvae", (side, side, 1), width=2, codes=16, components=1).prior.count_params()  # noqa: E731
    assert count(64) == 1 + 16 * 16 * 16 + 1  # a weight, 16 x 16 positions of 16 vectors, and a flag
    assert count(128) / count(64) == pytest.approx(4, rel=1e-3)


def test_numbers_beyond_the_codebook_are_one_sentence():
    with pytest.raises(ValueError, match="between 0 and 2"):
        priors.CategoricalMixture(2, 3).fit(np.full((20, 2), 3))


def test_a_dead_vector_moves_to_a_row_that_is_far_from_all():
    book = Codebook(3, 1, decay=0.5)
    for variable in (book.vectors, book.sums):
        variable.assign([[0.0], [1.0], [50.0]])
    book.counts.assign([10.0, 10.0, 1e-3])
    book.sums.assign([[0.0], [10.0], [0.05]])
    z = np.array([[0.0]] * 20 + [[1.0]] * 20 + [[9.0]], "float32")
    book.update(z, book.nearest(z), randomness.make_key(0))
    assert float(book.vectors[2, 0]) == pytest.approx(9.0)


@pytest.mark.parametrize("key", [None, randomness.make_key(0)], ids=["kept", "revived"])
def test_no_vector_shrinks_to_nothing(key):
    book = Codebook(4, 2, decay=0.5)
    for variable in (book.vectors, book.sums):
        variable.assign([[5.0, 5.0], [6.0, 5.0], [-5.0, 5.0], [0.5, -5.0]])
    z = np.array([[5.0, 5.0], [6.0, 5.0]] * 10, "float32")
    for _ in range(60):
        book.update(z, book.nearest(z), key)
    assert np.linalg.norm(book.vectors, axis=1).min() > 4.9
    assert np.isfinite(book.vectors).all()


STARTS = {
    "blank images": lambda: np.zeros((20, *SHAPE), "uint8"),
    "one image": lambda: sorted_images(1)[1:2],
    "two images": lambda: sorted_images(1)[:2],
    "images of one class": lambda: sorted_images()[-40:],
}


@pytest.mark.parametrize("start", STARTS)
def test_a_codebook_begins_soundly_whatever_is_seen_first(start):
    model = gz.build("vqvae", SHAPE, width=4, codes=8, seed=0, jit_compile=False, run_eagerly=True)
    model.fit(STARTS[start](), batch_size=20, verbose=0)
    vectors = model.codebook.vectors.numpy()
    assert np.isfinite(vectors).all() and len(np.unique(vectors, axis=0)) == 8


def test_a_codebook_begins_as_wide_as_the_codes_of_training(images):
    model = gz.build("vqvae", SHAPE, width=4, codes=16, seed=0)
    dark = np.concatenate([np.zeros((100, *SHAPE), "uint8"), images])
    model.prepare(dark[:8], dark)  # the first batch is black
    codes = np.asarray(model.encoder(model.images_of(dark), training=True)).reshape(-1, 4)
    vectors = model.codebook.vectors.numpy()
    distance = np.sqrt(np.min(np.sum((codes[:, None] - vectors) ** 2, axis=-1), axis=1))
    assert np.sqrt(np.mean(distance**2)) < 0.4 * np.sqrt(codes.var(axis=0).sum())
