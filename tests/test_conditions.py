"""Classes and vectors that models of all families are told: data, doors, and densities against closed forms."""

import contextlib

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image
from test_case import SHAPE, TINY
from test_diffusion import Optimal

import keras_genzoo as gz
from keras_genzoo import bijectors, chains, likelihoods, networks, priors, schedules, testing
from keras_genzoo.cli import main
from keras_genzoo.core.batches import some_batch
from keras_genzoo.core.randomness import RowStream
from keras_genzoo.models import VAE, AutoregressiveModel, Diffusion, EnergyModel, Flow, LatentDiffusion

EAGER = {"run_eagerly": True}


@pytest.fixture
def random():
    return np.random.default_rng(0)


# Data


@pytest.fixture
def levels():
    """40 images of one level each, labels by tens, and vectors that name the image."""
    numbers = np.arange(40)
    images = np.broadcast_to(numbers[:, None, None, None], (40, 4, 4, 1)).astype("uint8")
    return images, numbers // 10, np.stack([numbers, -2.0 * numbers], axis=1)


def assert_told(dataset):
    """Every vector of a data set names its image; returns the images' numbers."""
    seen = []
    for images, extras in dataset.as_numpy_iterator():
        numbers = images[:, 0, 0, 0].astype(float)
        np.testing.assert_array_equal(extras["conditions"], np.stack([numbers, -2 * numbers], axis=1))
        assert extras["conditions"].dtype == np.float32
        if "labels" in extras:
            np.testing.assert_array_equal(extras["labels"], numbers // 10)
        seen += numbers.astype(int).tolist()
    return seen


def test_vectors_go_with_their_images_in_every_order(levels):
    images, labels, vectors = levels
    data = gz.data.load((images, labels), batch_size=7, labels=True, conditions=vectors, drop_remainder=False)
    first, second = assert_told(data), assert_told(data)
    assert sorted(first) == sorted(second) == list(range(40)) and first != second
    assert assert_told(gz.data.load(images, "test", batch_size=7, conditions=vectors)) == list(range(40))


def test_vectors_go_with_further_images_and_with_neighbours(levels):
    images, labels, vectors = levels
    for batch, extras in gz.data.load((images, labels), batch_size=5, labels=True, conditions=vectors, further=1):
        assert batch.shape == (5, 4, 4, 1)
        np.testing.assert_array_equal(extras["further_conditions"][:, 0, 0], extras["further"][:, 0, 0, 0, 0])
        np.testing.assert_array_equal(extras["further_labels"][:, 0], extras["further"][:, 0, 0, 0, 0] // 10)
    near = gz.data.load(images, batch_size=5, conditions=vectors, neighbours=2)
    assert set(near.element_spec[1]) == {"conditions", "neighbours", "neighbour_weights"}
    assert_told(near)


@pytest.mark.parametrize("ending", [".npz", ".h5"])
def test_files_hold_vectors_of_their_own_and_splits_share_them_out(levels, tmp_path, ending):
    images, labels, vectors = levels
    path = tmp_path / f"levels{ending}"
    if ending == ".npz":
        np.savez(path, images=images, labels=labels, conditions=vectors)
    else:
        import h5py

        with h5py.File(path, "w") as file:
            file["images"], file["labels"], file["conditions"] = images, labels, vectors
    found = [
        assert_told(gz.data.load(path, split, batch_size=4, labels=True, conditions=True, shuffle=False, drop_remainder=False))
        for split in ("train", "validation", "test")
    ]
    assert sorted(np.concatenate(found)) == list(range(40)) and len(found[1]) == len(found[2]) == 4
    for cache in ("file", False):
        assert sorted(assert_told(gz.data.load(path, "test", conditions=True, cache=cache))) == found[2]


def test_arrays_and_tables_may_stand_beside_a_source(levels, tmp_path):
    images, _, vectors = levels
    np.savez(tmp_path / "levels.npz", train_images=images[:30], test_images=images[30:])
    np.save(tmp_path / "vectors.npy", vectors)
    (tmp_path / "vectors.csv").write_text("n,twice\n" + "".join(f"{a:g},{b:g}\n" for a, b in vectors))
    for given in (vectors, tmp_path / "vectors.npy", str(tmp_path / "vectors.csv")):
        assert assert_told(gz.data.load(images, "test", conditions=given)) == list(range(40))
    by_split = {"train": vectors[:30], "test": vectors[30:]}
    for split, expected in (("train", range(30)), ("test", range(30, 40))):
        found = assert_told(gz.data.load(tmp_path / "levels.npz", split, conditions=by_split, drop_remainder=False))
        assert set(found) <= set(expected)
    lone = gz.data.load(images, "test", conditions=vectors[:, 0])
    assert lone.element_spec[1]["conditions"].shape[1] == 1


def test_a_folder_has_a_table_of_vectors_by_file(levels, tmp_path):
    images, _, vectors = levels
    lines = ["file,n,twice"]
    for number in np.random.default_rng(0).permutation(20):
        path = f"{'even' if number % 2 == 0 else 'odd'}/{number}.png"
        (tmp_path / path).parent.mkdir(exist_ok=True)
        Image.fromarray(images[number, :, :, 0]).save(tmp_path / path)
        lines.append(f"{path},{vectors[number, 0]:g},{vectors[number, 1]:g}")
    (tmp_path / "conditions.csv").write_text("\n".join(lines) + "\n")
    found = []
    for split in ("train", "validation", "test"):
        for batch, extras in gz.data.load(tmp_path, split, conditions=True, labels=True, drop_remainder=False):
            numbers = batch.numpy()[:, 0, 0, 0].astype(float)
            np.testing.assert_array_equal(extras["conditions"], np.stack([numbers, -2 * numbers], axis=1))
            np.testing.assert_array_equal(extras["labels"], numbers % 2)
            found += numbers.tolist()
    assert sorted(found) == list(range(20))
    (tmp_path / "conditions.csv").write_text("\n".join(lines[:-2]) + "\n")
    with pytest.raises(ValueError, match="has no line for"):
        for split in ("train", "validation", "test"):
            gz.data.load(tmp_path, split, conditions=True)


BAD = {
    "too few": (lambda v, p: v[:-1], "have shape .39, 2., expected .40, length."),
    "texts": (lambda v, p: np.full((40, 1), "red"), "hold what is no number"),
    "not finite": (lambda v, p: np.where(v == 6, np.nan, v), "hold NaN or infinite values in row 6"),
    "three axes": (lambda v, p: v[..., None], "have shape .40, 2, 1."),
    "no such file": (lambda v, p: p / "none.csv", "expected a .csv or .npy file that is there"),
    "no vectors": (lambda v, p: True, "There are no conditions in your array; pass conditions="),
    "another split": (lambda v, p: {"test": v}, "conditions are of the splits test, expected those of 'train' too"),
}


@pytest.mark.parametrize("name", BAD)
def test_vectors_that_do_not_fit_are_refused(name, levels, tmp_path):
    images, _, vectors = levels
    make, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence):
        gz.data.load(images, conditions=make(vectors, tmp_path))


def test_a_pipeline_has_no_vectors_and_says_so(levels):
    with pytest.raises(ValueError, match=r"conditions were asked for of your tf\.data pipeline"):
        gz.data.load(tf.data.Dataset.from_tensor_slices(levels[0]), conditions=levels[2])


def test_a_data_set_is_collected_with_what_goes_with_it(levels):
    images, labels, vectors = levels
    data = gz.data.load((images, labels), "test", batch_size=7, labels=True, conditions=vectors)
    found, told = gz.data.as_batch(data, n=9, seed=1)
    assert len(found) == 9 and set(told) == {"labels", "conditions"}
    np.testing.assert_array_equal(told["conditions"][:, 0], found[:, 0, 0, 0])
    np.testing.assert_array_equal(told["labels"], found[:, 0, 0, 0] // 10)
    np.testing.assert_array_equal(gz.data.as_array(data, n=9, seed=1), found)
    assert set(gz.data.as_batch((images, labels))[1]) == {"labels"}
    np.testing.assert_array_equal(gz.data.as_batch(images), images)


# Doors


def told_vae(**overrides):
    sizes = {**TINY["vae"], "num_classes": 3, "condition_dim": 2, "seed": 0}
    return gz.build("vae", SHAPE, jit_compile=False, **{**sizes, **overrides})


@pytest.fixture
def told(images, random):
    return images, np.arange(16) % 3, random.normal(size=(16, 2)).astype("float32")


def test_arrays_with_labels_and_vectors_train_as_data_sets_do(told):
    images, labels, vectors = told
    extras = {"labels": labels, "conditions": vectors}
    first, second, third = (told_vae() for _ in range(3))
    first.fit(images, extras, batch_size=4, validation_data=(images, extras), epochs=2, verbose=0)
    second.fit((images, extras), batch_size=4, validation_data=(images, extras), epochs=2, verbose=0)
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    third.fit(gz.data.load((images, labels), batch_size=4, conditions=vectors, labels=True), verbose=0)
    assert np.isfinite(third.evaluate(images, extras, verbose=0)).all()
    assert np.isfinite(third.train_on_batch(images, extras)).all()


def test_vectors_of_samples_that_are_not_given_are_those_of_training_images(told):
    images, labels, vectors = told
    model = told_vae()
    with pytest.raises(ValueError, match="which was never trained, has seen none; pass conditions="):
        model.sample(2, seed=0)
    model.fit(images, {"labels": labels, "conditions": vectors}, verbose=0)
    drawn = model.draw_conditions(50, seed=3)
    known = {tuple(row) for row in vectors.tolist()}
    assert {tuple(row) for row in drawn.tolist()} <= known and len(np.unique(drawn, axis=0)) > 5
    given = model.sample(50, seed=3, labels=model.draw_labels(50, 3), conditions=drawn)
    np.testing.assert_array_equal(model.sample(50, seed=3), given)
    np.testing.assert_allclose(model.sample(50, seed=3, batch_size=7), given, atol=1e-5)
    batches = model.sample_batches(50, seed=3, batch_size=8, conditions=drawn)
    np.testing.assert_allclose(np.concatenate(list(batches)), given, atol=1e-5)
    in_graph = tf.function(lambda n, seed: model.sample(n, seed))(tf.constant(50), tf.constant(3, tf.int64))
    np.testing.assert_allclose(in_graph, given, atol=1e-5)


def test_every_door_takes_labels_and_vectors_of_arrays_and_of_data_sets(told):
    images, labels, vectors = told
    model, by = told_vae(), {"labels": labels, "conditions": vectors}
    data = gz.data.load((images, labels), "test", batch_size=5, labels=True, conditions=vectors)
    for method in (model.encode, model.reconstruct, model.log_prob, model.bits_per_dim):
        np.testing.assert_allclose(method(data), method(images, **by), rtol=1e-4, atol=1e-5)
        other = method(images, labels=labels, conditions=vectors + 1)
        assert np.abs(np.asarray(other) - method(images, **by)).max() > 0
    np.testing.assert_allclose(model((images, by)), model.reconstruct(images, **by), atol=1e-6)
    codes = np.asarray(model.encode(images, **by))  # Keras refuses arrays beside tensors
    np.testing.assert_allclose(model.decode(codes, **by), model.reconstruct(images, **by), atol=1e-6)
    assert model.interpolate(images[:2], images[2:4], 3, labels=labels[:2], conditions=vectors[:2]).shape == (2, 3, *SHAPE)


def test_latents_of_a_user_go_with_labels_and_vectors(told, random):
    images, labels, vectors = told
    model, z = told_vae(), random.normal(size=(5, 3)).astype("float32")
    by = {"labels": labels[:5], "conditions": vectors[:5]}
    model.fit(images, {"labels": labels, "conditions": vectors}, verbose=0)
    made = model.sample(latents=z, **by)
    np.testing.assert_allclose(made, model.decode(z, **by), atol=1e-5)
    batches = list(model.sample_batches(latents=z, batch_size=2, **by))
    assert [len(each) for each in batches] == [2, 2, 1]
    np.testing.assert_allclose(np.concatenate(batches), made, atol=1e-5)
    drawn = {"labels": model.draw_labels(5, 3), "conditions": model.draw_conditions(5, 3)}
    np.testing.assert_allclose(model.sample(latents=z, seed=3), model.decode(z, **drawn), atol=1e-5)
    graph = tf.function(lambda z, y, v: model.sample(latents=z, seed=0, labels=y, conditions=v), autograph=False)
    np.testing.assert_allclose(graph(z, tf.constant(labels[:5]), tf.constant(vectors[:5])), made, atol=1e-5)
    with pytest.raises(ValueError, match=r"expected \(5,\) and classes"):
        model.sample(latents=z, labels=labels[:4], conditions=vectors[:5])
    model.fit_prior((images, {"labels": labels, "conditions": vectors}))  # which knows of conditions
    assert model.latent_shapes() == [(3,)]
    np.testing.assert_allclose(model.sample(4, seed=1), model.sample(latents=testing.latents_of(model, 4, 1), seed=1), atol=1e-5)


DOORS = {
    "labels of other classes": (lambda m, x, y, v: m.sample(2, labels=[0, 3], conditions=v[:2]), "expected .2,. and classes"),
    "vectors of another length": (lambda m, x, y, v: m.sample(2, conditions=v[:2, :1]), "expected .2, 2., a vector for each"),
    "another number of vectors": (lambda m, x, y, v: m.sample(3, conditions=v[:2]), "have shape .2, 2., expected .3, 2."),
    "no vectors to encode by": (lambda m, x, y, v: m.encode(x, labels=y), "no conditions were given, which VAE .* pass condit"),
    "no labels to encode by": (lambda m, x, y, v: m.encode(x, conditions=v), "no labels were given, which VAE"),
    "images alone": (lambda m, x, y, v: m.fit(x, y), "needs batches .images, extras. with 'conditions' among the extras"),
    "vectors that are NaN": (
        lambda m, x, y, v: m.fit(x, {"labels": y, "conditions": np.where(v == v[3], np.nan, v)}),
        "conditions of images hold NaN or infinite values .the first in row 3.",
    ),
    "longer vectors": (
        lambda m, x, y, v: m.fit(x, {"labels": y, "conditions": np.tile(v, 2)}),
        "build the model with condition_dim=4",
    ),
    "vectors beside a data set": (
        lambda m, x, y, v: m.encode(gz.data.load(x), conditions=v),
        "conditions were given beside a data set; give a data set of .images, extras.",
    ),
    "an autoencoder that is told nothing": (
        lambda m, x, y, v: gz.build("vae", SHAPE, **TINY["vae"]).sample(2, conditions=v[:2]),
        "conditions were given, but VAE .* takes none",
    ),
    "a network that is told nothing": (
        lambda m, x, y, v: VAE(*pair(None), num_classes=3),
        "encoder takes 1 inputs, expected 2, the last of shape .3,.",
    ),
    "a network that is told too much": (lambda m, x, y, v: VAE(*pair(3)), "give num_classes= or condition_dim="),
    "pseudo-images": (
        lambda m, x, y, v: gz.build("vamp_vae", SHAPE, **TINY["vamp_vae"], num_classes=3),
        "whose pseudo-images have neither class nor vector",
    ),
    "a Jacobian": (
        lambda m, x, y, v: gz.build("contractive_autoencoder", SHAPE, **TINY["contractive_autoencoder"], num_classes=3),
        "is of networks that are told nothing",
    ),
    "a flow without a context": (
        lambda m, x, y, v: Flow([bijectors.Flatten(SHAPE)], SHAPE, num_classes=3),
        "the condition has 3 numbers, and the flow takes no context",
    ),
    "a diffusion model of other vectors": (
        lambda m, x, y, v: Diffusion(networks.unet(SHAPE, 8, (1,), condition_dim=2), condition_dim=3),
        "the network is told 3 numbers, expected 4 of num_classes=None and condition_dim=3",
    ),
    "codes of an autoencoder that is told classes": (
        lambda m, x, y, v: LatentDiffusion(m, Diffusion(networks.dense_denoiser((1, 1, 3)), clip=False), train_autoencoder=False),
        "the autoencoder is told 5 numbers of classes and vectors, expected none",
    ),
    "guidance of a network that always knew": (
        lambda m, x, y, v: denoiser(condition_dim=2, label_dropout=0.0).sample(2, guidance=2.0, conditions=v[:2]),
        "the network never learned of images without conditions; give conditions",
    ),
    "no vectors to look for latents by": (
        lambda m, x, y, v: gz.build("gan", SHAPE, **TINY["gan"], condition_dim=2).project(x, steps=1),
        "no conditions were given, which GAN",
    ),
    "energies of no vectors": (
        lambda m, x, y, v: gz.build("ebm", SHAPE, **TINY["ebm"], condition_dim=2).energy(x),
        "no conditions were given, which EnergyModel",
    ),
    "a flow with another context": (
        lambda m, x, y, v: Flow([bijectors.Flatten(SHAPE), bijectors.Planar(64, context=4)], SHAPE, num_classes=3),
        "the flow takes a context of 4 numbers; build it with context=3",
    ),
}


def denoiser(**settings):
    return gz.build("flow_matching", SHAPE, **{**TINY["flow_matching"], "seed": 0, "ema": None, **settings})


def pair(num_classes):
    encoder = networks.told(lambda s: networks.mlp(s, 2, 4, heads=("mu", "log_variance")), SHAPE, num_classes)
    return encoder, networks.told(lambda s: networks.mlp(s, SHAPE, 4), 2, num_classes)


@pytest.mark.parametrize("name", DOORS)
def test_what_is_told_wrongly_is_answered_in_one_sentence(name, told):
    ask, sentence = DOORS[name]
    with pytest.raises(ValueError, match=sentence):
        ask(told_vae(), *told)


def test_some_images_keep_their_labels_and_vectors(told):
    images, _, vectors = told
    marked = np.broadcast_to(np.arange(16)[:, None, None, None], images.shape).astype("uint8")
    extras = {"labels": np.arange(16), "conditions": vectors}
    found, known = some_batch((marked, extras), (marked[:4], {name: rows[:4] for name, rows in extras.items()}), count=9)
    assert len(found) == 9
    np.testing.assert_array_equal(known["labels"], found[:, 0, 0, 0])
    np.testing.assert_array_equal(known["conditions"], vectors[found[:, 0, 0, 0]])


# Every family, by the shared test

CONDITIONAL = {
    "autoencoder": {},
    "vae": {},
    "two_stage_vae": {},
    "iaf_vae": {},
    "info_vae": {},
    "vqvae": {"condition_dim": None},
    "vqvae_pixelcnn": {},
    "wae_mmd": {},
    "aae": {},
    "glow": {"learned_priors": True},
    "nice": {},
    "maf": {},
    "planar_flow": {},
    "pixelcnn": {},
    "pixelcnn_pp": {},
    "ebm": {},
    "score_ebm": {"num_classes": None},
    "gan": {},
    "sngan": {},
    "flow_matching": {},
    "ddpm": {"num_classes": None},
    "dit": {},
    "latent_diffusion": {},
    "mean_flow": {},
}
FAST = "vae", "glow"


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in CONDITIONAL])
def test_conditional_models_of_every_family_keep_the_promises(name, told):
    images, labels, vectors = told
    told_of = {"num_classes": 3, "condition_dim": 2, **CONDITIONAL[name]}
    settings = {name: number for name, number in told_of.items() if number is not None}

    def make(**compiled):
        mode = {"jit_compile": False, "steps_per_execution": 1, "seed": 0, **compiled}
        return gz.build(name, SHAPE, **{**TINY[name], **settings, **mode})

    testing.check_model(make, images, labels, conditions=vectors if "condition_dim" in settings else None)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["xla", "two steps a call", "mixed_bfloat16", "replicas"])
@pytest.mark.parametrize("name", ["vae", "wae_mmd", "vqvae_pixelcnn", "glow", "pixelcnn_pp", "flow_matching", "gan", "ebm"])
def test_conditional_models_train_in_every_mode(name, mode, told, replicas):
    images, labels, vectors = told
    settings = {"jit_compile": False, "steps_per_execution": 1, **testing.MODES.get(mode, {}), **TINY[name]}
    settings |= {"dtype": mode} if mode == "mixed_bfloat16" else {}
    with replicas.scope() if mode == "replicas" else contextlib.nullcontext():
        model = gz.build(name, SHAPE, num_classes=3, condition_dim=2, seed=0, **settings)
    batches = tf.data.Dataset.from_tensor_slices((images, {"labels": labels, "conditions": vectors})).batch(
        4, drop_remainder=True
    )
    testing.check_training(model, batches)
    if hasattr(model, "fit_prior"):
        model.fit_prior((images, {"labels": labels, "conditions": vectors}))
    assert np.isfinite(model.sample(3, seed=0, labels=[0, 1, 2], conditions=vectors[:3])).all()


# Densities


def test_a_mixture_by_vector_is_the_conditional_of_the_joint_gaussian(random):
    c = random.normal(1.0, 2.0, (4000, 2))
    codes = c @ random.normal(size=(2, 3)) + random.normal(size=(4000, 3)) @ random.normal(size=(3, 3)) + 1.0
    density = priors.ConditionalMixture(3, 2, components=1)
    density.fit(codes, components=1, condition=c)
    scale = np.concatenate([density.spread, np.ones(3)])  # of the vectors as they are fitted
    factor = scale[:, None] * np.asarray(density.joint.factors[0], "float64")
    mean, covariance = scale * np.asarray(density.joint.means[0]), factor @ factor.T
    mean[:2] += np.asarray(density.centre)
    joint = np.concatenate([c, codes], axis=1)
    np.testing.assert_allclose(mean, joint.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(covariance, np.cov(joint.T), atol=0.02 * np.abs(covariance).max())
    gain = covariance[2:, :2] @ np.linalg.inv(covariance[:2, :2])
    rest = covariance[2:, 2:] - gain @ covariance[:2, 2:]
    at = np.tile([[3.0, -1.0]], (4, 1)).astype("float32")
    centre = mean[2:] + gain @ (at[0] - mean[:2])
    z = random.normal(size=(4, 3)).astype("float32") + centre.astype("float32")
    expected = scipy.stats.multivariate_normal(centre, rest).logpdf(z)
    np.testing.assert_allclose(density.log_prob(z, condition=at), expected, rtol=1e-3)
    drawn = np.asarray(density.sample(20_000, RowStream(0, 0), condition=np.tile(at[:1], (20_000, 1))))
    np.testing.assert_allclose(drawn.mean(axis=0), centre, atol=4 * np.sqrt(np.diag(rest).max() / 20_000))
    np.testing.assert_allclose(np.cov(drawn.T), rest, atol=0.05 * np.abs(rest).max())


def test_a_mixture_by_vector_has_the_weights_of_bayes(random):
    labels = random.integers(0, 2, 4000)
    c = (8.0 * labels - 4.0 + random.normal(size=4000))[:, None]
    codes = np.where(labels[:, None] > 0, 5.0, -5.0) + random.normal(size=(4000, 1))
    density = priors.ConditionalMixture(1, 1, components=2)
    density.fit(codes, components=2, condition=c)
    for at, centre in ((-4.0, -5.0), (4.0, 5.0)):
        drawn = np.asarray(density.sample(500, RowStream(0, 0), condition=np.full((500, 1), at, "float32")))
        np.testing.assert_allclose([drawn.mean(), drawn.std()], [centre, 1.0], atol=0.2)
    grid = np.linspace(-12, 12, 4001, dtype="float32")[:, None]
    mass = np.exp(density.log_prob(grid, condition=np.zeros_like(grid))).sum() * (24 / 4000)
    assert mass == pytest.approx(1, abs=1e-3)


def test_densities_by_class_are_those_of_each_class_alone(random):
    labels = np.repeat([0, 1, 2], [300, 400, 5])
    codes = random.normal(size=(705, 2)) + 6.0 * labels[:, None]
    one_hot = np.eye(3, dtype="float32")[labels]
    density = priors.mixture_for(2, 3, num_classes=3)
    report = density.fit(codes, components=1, condition=one_hot)
    assert density.fitted and report["components"] == 3 and report["kind"] == "by class"
    z = random.normal(size=(6, 2)).astype("float32")
    alone = []
    for rows in (labels == 0, labels == 1, slice(None)):  # the last has too few codes for a density of its own
        each = priors.GaussianMixture(2, 3)
        each.fit(codes[rows], components=1)
        alone.append(each.log_prob(z))
    chosen = np.array([0, 1, 2, 2, 1, 0])
    found = density.log_prob(z, condition=np.eye(3, dtype="float32")[chosen])
    np.testing.assert_allclose(found, np.stack(alone)[chosen, np.arange(6)], rtol=1e-5)
    drawn = np.asarray(density.sample(300, RowStream(0, 0), condition=np.tile(np.eye(3, dtype="float32")[:1], (300, 1))))
    assert np.abs(drawn.mean(axis=0)).max() < 0.3
    with pytest.raises(ValueError, match="was given none; pass condition="):
        density.sample(3, RowStream(0, 0))


def linear(inputs, outputs, kernels, bias):
    """A network of a sum of linear maps of its inputs."""
    inputs = [keras.Input((each,)) if isinstance(each, int) else each for each in inputs]
    layer = [keras.layers.Dense(outputs, use_bias=not i, name=f"of{i}") for i in range(len(kernels))]
    flat = [keras.layers.Flatten()(each) for each in inputs]
    network = keras.Model(inputs, keras.layers.Add()([f(x) for f, x in zip(layer, flat, strict=True)]))
    for each, kernel in zip(layer, kernels, strict=True):
        each.set_weights([kernel, bias] if each.use_bias else [kernel])
    return network


def test_the_likelihood_of_a_linear_vae_given_a_condition_is_the_gaussian_in_closed_form(random):
    """x = W z + V c + b + s noise, whose exact posterior the encoder knows: one draw then tells log p(x | c)."""
    s, shape = 0.5, (2, 2, 1)
    W = np.linalg.qr(random.normal(size=(4, 2)))[0] * [0.5, 0.8]  # orthogonal columns, so that the posterior is diagonal
    V, b = random.normal(size=(4, 5)) * 0.2, random.normal(size=4) * 0.2
    precision = (W**2).sum(axis=0) / s**2 + 1.0
    gain = (W / s**2) / precision
    image, condition = keras.Input(shape), keras.Input((5,))
    mu = linear([image, condition], 2, [gain, -(V.T @ gain)], -b @ gain)([image, condition])
    spread = keras.layers.Dense(2, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(0.0))
    log_variance = spread(keras.layers.Flatten()(image))
    spread.bias.assign(-np.log(precision))
    encoder = keras.Model([image, condition], [mu, log_variance])
    code, told = keras.Input((2,)), keras.Input((5,))
    mean = linear([code, told], 4, [W.T, V.T], b)([code, told])
    decoder = keras.Model([code, told], keras.layers.Reshape(shape)(mean))
    model = VAE(encoder, decoder, likelihood=likelihoods.Gaussian(s), num_classes=3, condition_dim=2, seed=0)
    model.compile(**EAGER)

    x, labels = random.uniform(size=(6, *shape)).astype("float32"), np.arange(6) % 3
    vectors = random.normal(size=(6, 2)).astype("float32")

    def exact(labels):
        c = np.concatenate([np.eye(3)[labels], vectors], axis=1)
        noise = W @ W.T + s**2 * np.eye(4)
        return np.array([scipy.stats.multivariate_normal(V @ c[i] + b, noise).logpdf(x[i].ravel()) for i in range(6)])

    points = tf.constant(x)
    bound = model.importance_weighted_bound(points, points, 1, 0, model.told(labels, vectors))
    np.testing.assert_allclose(bound, exact(labels), atol=1e-4)
    # At the door the image is dequantised, within one of 256 levels.
    found = model.log_prob(x, samples=50, labels=labels, conditions=vectors)
    np.testing.assert_allclose(found, exact(labels), atol=0.05)
    any_class = scipy.special.logsumexp([exact(np.full(6, each)) for each in range(3)], axis=0) - np.log(3)
    np.testing.assert_allclose(model.log_prob(x, samples=50, conditions=vectors), any_class, atol=0.05)


@pytest.mark.parametrize("bits", [8, 5])
def test_the_density_of_a_flow_given_a_class_is_that_of_a_flow_built_for_the_class(bits, random):
    shape, of_stays, of_class = (1, 2, 2), random.normal(size=(2, 4)) * 0.5, random.normal(size=(3, 4))
    bias = random.normal(size=4) * 0.1

    def flow(network, **settings):
        chain = [bijectors.Scale(4.0, -2.0), bijectors.Flatten(shape), bijectors.Coupling(network)]
        model = Flow(chain, shape, bits=bits, seed=0, **settings)
        model.compile(**EAGER)
        return model

    images = random.integers(0, 256, (7, *shape), dtype=np.uint8)
    model = flow(linear([2, 3], 4, [of_stays, of_class], bias), num_classes=3)
    each = [flow(dense(of_stays, bias + of_class[label])) for label in range(3)]
    apart = np.stack([one.log_prob(images) for one in each])
    labels = np.arange(7) % 3
    np.testing.assert_allclose(model.log_prob(images, labels=labels), apart[labels, np.arange(7)], rtol=1e-4)
    mixed = scipy.special.logsumexp(apart.astype("float64"), axis=0) - np.log(3)
    np.testing.assert_allclose(model.log_prob(images), mixed, rtol=1e-4)
    np.testing.assert_allclose(model((images, labels)), np.stack([one(images) for one in each])[labels, np.arange(7)], rtol=1e-4)
    for label in range(3):
        drawn = model.sample(5, seed=2, labels=[label] * 5)
        np.testing.assert_allclose(drawn, each[label].sample(5, seed=2), atol=1e-5)
        np.testing.assert_allclose(model.encode(images, labels=[label] * 7), each[label].encode(images), atol=1e-4)


def dense(kernel, bias):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4)])
    network.layers[0].set_weights([kernel, bias])
    return network


SMALL = {"maf": {"width": 16}, "glow": {"width": 16, "steps": 2, "dense": 2, "dense_width": 16}}


@pytest.mark.parametrize("recipe", SMALL)
def test_densities_given_a_class_and_a_vector_integrate_to_one_and_differ(recipe, random):
    model = gz.build(recipe, (1, 1, 2), num_classes=2, condition_dim=1, seed=0, **SMALL[recipe])
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1 * random.normal(size=variable.shape))
    line = (np.arange(400) + 0.5) / 400
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 1, 1, 2).astype("float32")
    found = []
    for row in ([1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [1.0, 0.0, -1.5]):
        condition = tf.tile(tf.constant([row]), (len(points), 1))
        found.append(np.exp(model.log_density(tf.constant(points), condition=condition)))
        assert found[-1].mean() == pytest.approx(1, abs=0.01)
    assert min(np.abs(found[0] - found[1]).max(), np.abs(found[0] - found[2]).max()) > 0.01


def test_probabilities_of_a_small_image_sum_to_one_for_every_vector(random):
    network = networks.gated_pixelcnn((2, 2, 1), 3, width=6, depth=2, first_kernel=3, condition_dim=2)
    for variable in network.trainable_variables:
        variable.assign(variable + random.normal(0, 0.3, variable.shape))
    model = AutoregressiveModel(network, likelihoods.Categorical(3), condition_dim=2, seed=0)
    model.compile(**EAGER)
    every = np.stack(np.meshgrid(*[np.arange(3)] * 4, indexing="ij"), axis=-1).reshape(-1, 2, 2, 1).astype("float32") / 2
    tables = []
    for vector in ([0.0, 0.0], [1.5, -1.0]):
        tables.append(np.exp(np.asarray(model.log_prob(every, conditions=np.tile([vector], (81, 1))), "float64")))
        assert tables[-1].sum() == pytest.approx(1, abs=1e-5)
    assert np.abs(tables[0] - tables[1]).max() > 1e-3
    drawn = model.sample(3000, seed=0, conditions=np.tile([[1.5, -1.0]], (3000, 1)))
    numbers = (2 * drawn).round().astype(int).reshape(3000, 4) @ [27, 9, 3, 1]
    counts = np.bincount(numbers, minlength=81)
    assert np.abs(counts / 3000 - tables[1]).max() < 5 * np.sqrt(tables[1].max() / 3000)


@keras.saving.register_keras_serializable("tests")
class OptimalGiven(Optimal):
    """The best a network can put out for data N(m, std^2), with m a linear function of what it is told."""

    def call(self, x, t, told):
        mean = (told @ tf.constant(OF_MEAN, tf.float32))[:, None, None]
        wide = t[:, None, None, None]
        of_mean = self.prediction.target(self.schedule, mean, tf.zeros_like(mean), wide)
        # x is scaled as the network sees it.
        return super().call(x - self.prediction.scale(self.schedule, wide) * self.schedule.signal(wide) * mean, t) + of_mean


OF_MEAN = [[-0.2, 0.1], [0.0, 0.2], [0.2, -0.1], [0.3, 0.0], [0.1, -0.2], [0.05, 0.1]]  # by class, vector and the 1 behind them


def test_the_likelihood_of_a_diffusion_model_given_a_condition_is_that_of_the_gaussian_in_closed_form(random):
    schedule, prediction = schedules.SCHEDULES["rectified_flow"](), schedules.PREDICTIONS["velocity"]()
    inputs = keras.Input((1, 1, 2)), keras.Input(()), keras.Input((6,))
    network = keras.Model(inputs, OptimalGiven(schedule, prediction, 0.2)(*inputs))
    model = Diffusion(network, schedule, prediction, num_classes=3, condition_dim=2, seed=0)
    model.compile(**EAGER)
    labels, vectors = np.arange(6) % 3, random.uniform(-1, 1, (6, 2)).astype("float32")
    means = np.concatenate([np.eye(3)[labels], vectors, np.ones((6, 1))], axis=1) @ OF_MEAN
    x = means + 0.2 * random.normal(size=(6, 2))  # in the model's own range, of which the unit cube is this share
    span = 512 / 255
    points = tf.constant((x / span + 0.5).reshape(6, 1, 1, 2), tf.float32)
    expected = scipy.stats.norm(means, 0.2).logpdf(x).sum(axis=1) + 2 * np.log(span)
    np.testing.assert_allclose(model.log_density(points, model.told(labels, vectors)), expected, atol=0.02)
    for row in (0, 4):
        by = {"labels": labels[row : row + 1].repeat(2000), "conditions": vectors[row : row + 1].repeat(2000, axis=0)}
        drawn = 2 * model.sample(2000, seed=0, **by).reshape(2000, 2) - 1
        np.testing.assert_allclose(drawn.mean(axis=0), means[row], atol=0.02)
        np.testing.assert_allclose(drawn.std(axis=0), 0.2, rtol=0.1)
    images = np.clip((x + 1) / 2, 0, 1).reshape(6, 1, 1, 2).astype("float32")
    by = {"labels": labels, "conditions": vectors}
    codes = np.asarray(model.encode(images, steps=60, **by))
    np.testing.assert_allclose(model.decode(codes, steps=60, **by), images, atol=5e-3)
    found = model.log_prob(images, trace="exact", samples=20, **by)  # of the dequantised image
    np.testing.assert_allclose(found, expected, atol=0.15)


def test_a_vector_of_zeros_is_another_thing_than_no_vector_and_guidance_leads_away_from_none(random):
    model = denoiser(condition_dim=2)
    model.network.set_weights([w + 0.1 * random.normal(size=w.shape) for w in model.network.get_weights()])
    x, t = tf.constant(random.normal(size=(3, *SHAPE)), tf.float32), tf.constant(0.6)
    condition = model.told(conditions=np.zeros((3, 2), "float32"))
    np.testing.assert_array_equal(condition, np.tile([[0.0, 0.0, 1.0]], (3, 1)))
    told, none = (model.denoiser(each)(x, t)[0].numpy() for each in (condition, tf.zeros((3, 3))))
    assert np.abs(told - none).max() > 1e-3
    np.testing.assert_allclose(model.denoiser(condition, 3.0)(x, t)[0], none + 3.0 * (told - none), atol=1e-4)
    free = model.encode(np.full((3, *SHAPE), 100, "uint8"))
    assert np.abs(free - model.encode(np.full((3, *SHAPE), 100, "uint8"), conditions=np.zeros((3, 2)))).max() > 1e-3


def test_training_keeps_a_share_of_the_conditions_from_a_diffusion_model(random, monkeypatch):
    model, seen = denoiser(num_classes=3, condition_dim=2, label_dropout=0.25), []
    heads = model.heads
    monkeypatch.setattr(model, "heads", lambda x, t, told, *rest: seen.append(told.numpy()) or heads(x, t, told, *rest))
    condition = model.told(np.arange(400) % 3, random.normal(size=(400, 2)))
    model.errors(tf.zeros((400, *SHAPE)), condition, model.random, training=True)
    dropped = ~seen[0].any(axis=1)
    assert 0.15 < dropped.mean() < 0.35
    np.testing.assert_array_equal(seen[0][~dropped], condition.numpy()[~dropped])


# Games


def test_each_step_of_the_critic_has_the_vectors_of_its_own_images(levels):
    images, labels, vectors = levels
    tiny = dict(kind="dense", width=4, depth=1, latent_dim=2, seed=0, run_eagerly=True)
    model, seen = gz.build("gan", (4, 4, 1), num_classes=4, condition_dim=2, critic_steps=2, **tiny), []
    critic_terms = model.critic_terms

    def watched(real, told, *rest, **settings):
        seen.append((np.asarray(real)[:, 0, 0, 0] * 127.5 + 127.5, np.asarray(told)))
        return critic_terms(real, told, *rest, **settings)

    object.__setattr__(model, "critic_terms", watched)
    model.fit(gz.data.load((images, labels), batch_size=5, **{**model.data_needs, "conditions": vectors}), verbose=0)
    assert len(seen) == 2 * 4
    for numbers, told in seen:
        number = numbers.round().astype(int)
        np.testing.assert_array_equal(told, np.concatenate([np.eye(4)[number // 10], vectors[number]], axis=1))


def test_the_score_of_a_critic_is_a_linear_function_of_the_vector(random):
    """So that it can be the log density of vectors which are normal around a function of the image (Miyato and Koyama 2018)."""
    for make in (networks.critic, networks.resnet_critic):
        critic = make(SHAPE, width=4, depth=1, condition_dim=2)
        x, v = random.uniform(-1, 1, (3, *SHAPE)).astype("float32"), random.normal(size=(2, 3, 2)).astype("float32")
        score = lambda told, x=x, critic=critic: critic([x, told]).numpy()  # noqa: E731
        np.testing.assert_allclose(score(v[0] + v[1]), score(v[0]) + score(v[1]) - score(0 * v[0]), atol=1e-4)
        assert np.abs(score(v[0]) - score(v[1])).max() > 1e-4


def test_latents_are_found_and_joined_by_the_vectors_of_their_images(told):
    vectors = told[2]
    model = gz.build("gan", SHAPE, **TINY["gan"], condition_dim=2, seed=0)
    made = model.sample(3, seed=0, conditions=vectors[:3])
    z = model.project(made, conditions=vectors[:3], steps=100, starts=4, weight=1e-6)
    error = lambda images: np.abs(images - made).mean()  # noqa: E731
    found, others = (model.sample(3, seed=1, conditions=vectors[:3], **each) for each in ({"latents": z}, {}))
    assert error(found) < 0.5 * error(others)
    line = model.interpolate(z[:2], z[1:], steps=3, conditions=vectors[:2])
    np.testing.assert_allclose(line[:, 0], model.sample(latents=z[:2], conditions=vectors[:2]), atol=1e-5)


# Classifiers and energies by a vector


def test_logits_of_a_classifier_are_energies_and_its_accuracy_is_reported(told):
    images, labels, _ = told
    settings = {**TINY["ebm"], "num_classes": 3, "data_noise": 0.0, "classification_weight": 2.0, "seed": 0, "ema": None}
    model = gz.build("ebm", SHAPE, jit_compile=False, **settings)
    model.fit(images, labels, verbose=0)
    logits = np.asarray(model.network(2 * images.astype("float32") / 255 - 1), "float64")
    np.testing.assert_allclose(model.energy(images), -scipy.special.logsumexp(logits, axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.energy(images, labels=labels), -logits[np.arange(16), labels], rtol=1e-4, atol=1e-5)
    probabilities = scipy.special.softmax(logits, axis=1)
    np.testing.assert_allclose(model.classify(images), probabilities, rtol=1e-4, atol=1e-6)
    right, cross = logits.argmax(axis=1) == labels, -np.log(probabilities[np.arange(16), labels])
    found = model.evaluate(images, labels, verbose=0, return_dict=True)
    assert found["accuracy"] == pytest.approx(right.mean())
    assert found["classification_loss"] == pytest.approx(cross.mean(), rel=1e-4)
    size = model.energy_weight * found["energy_loss"]
    assert found["loss"] == pytest.approx(found["contrastive_loss"] + size + 2.0 * cross.mean(), rel=1e-3)
    scores = gz.evaluate(model, (images, labels), Quarters())
    assert scores["accuracy"] == pytest.approx(right.mean())
    assert scores["class_accuracy"] == {each: pytest.approx(right[labels == each].mean()) for each in range(3)}
    assert not hasattr(gz.build("ebm", SHAPE, **TINY["ebm"]), "classify")
    with pytest.raises(ValueError, match="expected classes of the objective 'contrastive' alone"):
        EnergyModel(model.network, "score", num_classes=3)


def test_chains_of_a_class_draw_from_the_density_given_the_class():
    """Logits -|x - m_y|^2 / (2 s^2), so that p(x | y) is N(m_y, s^2)."""
    centres, s = np.array([[-0.4, 0.3], [0.5, 0.0]]), 0.15
    image = keras.Input((1, 1, 2))
    flat = keras.layers.Flatten()(image)
    head = keras.layers.Dense(2)
    network = keras.Model(image, head(keras.layers.Concatenate()([flat, keras.layers.Multiply()([flat, flat])])))
    kernel = np.concatenate([centres.T, np.full((2, 2), -0.5)]) / s**2
    head.set_weights([kernel, -(centres**2).sum(axis=1) / (2 * s**2)])
    model = EnergyModel(network, sampler=chains.Langevin(0.004), sample_steps=300, num_classes=2, seed=0)
    model.compile(**EAGER)
    for label in range(2):
        drawn = 2 * model.sample(2000, seed=0, labels=np.full(2000, label)).reshape(2000, 2) - 1
        np.testing.assert_allclose(drawn.mean(axis=0), centres[label], atol=0.02)
        np.testing.assert_allclose(drawn.std(axis=0), s, rtol=0.15)


def test_chains_of_a_vector_draw_from_the_density_given_the_vector():
    """E(x, c) = |x - c|^2 / (2 s^2), so that p(x | c) is N(c, s^2)."""
    s, image, vector = 0.15, keras.Input((1, 1, 2)), keras.Input((2,))
    flat = keras.layers.Flatten()(image)
    product = keras.layers.Multiply
    head = keras.layers.Dense(1, use_bias=False)
    parts = [product()([flat, flat]), product()([flat, vector]), product()([vector, vector])]
    network = keras.Model([image, vector], head(keras.layers.Concatenate()(parts)))
    head.set_weights([np.repeat([[0.5], [-1.0], [0.5]], 2, axis=0) / s**2])
    model = EnergyModel(network, sampler=chains.Langevin(0.004), sample_steps=300, condition_dim=2, seed=0)
    model.compile(**EAGER)
    x, told = np.array([[[[0.2, 0.9]]]], "float32"), np.array([[0.5, 0.0]], "float32")
    expected = np.square(2 * x.ravel() - 1 - told[0]).sum() / (2 * s**2)
    np.testing.assert_allclose(model.energy(x, conditions=told), [expected], rtol=1e-4)
    np.testing.assert_allclose(model((x, {"conditions": told})), [expected], rtol=1e-4)
    for centre in ([-0.4, 0.3], [0.5, 0.0]):
        drawn = 2 * model.sample(2000, seed=0, conditions=np.tile([centre], (2000, 1))).reshape(2000, 2) - 1
        np.testing.assert_allclose(drawn.mean(axis=0), centre, atol=0.02)
        np.testing.assert_allclose(drawn.std(axis=0), s, rtol=0.15)


def test_chains_of_training_keep_their_vectors(told):
    images, _, vectors = told
    known = {tuple(row) for row in vectors.tolist()}
    for restart in (0.0, 1.0):
        model = gz.build("ebm", SHAPE, **TINY["ebm"], condition_dim=2, restart=restart, seed=0, run_eagerly=True)
        kept = model._kept_vectors.chains
        model.train_on_batch(images[:8], {"conditions": vectors[:8]})
        before = kept.numpy()
        assert {tuple(row) for row in before.tolist()} <= known
        model.train_on_batch(images[8:], {"conditions": vectors[8:]})
        np.testing.assert_array_equal(kept[:8], before[:8])
        np.testing.assert_array_equal(kept[8:16], before[8:16] if restart == 0 else vectors[8:])
    assert {"chain_ess", "chain_steps"} <= set(model.chain_report(n=4))


# Learning


def test_a_conditional_vae_learns_what_it_is_told(random):
    labels, vectors = random.integers(0, 2, 256), random.uniform(-1, 1, (256, 1)).astype("float32")
    rows = np.where(np.arange(8)[None, :, None, None] < 4, labels[:, None, None, None], 1 - labels[:, None, None, None])
    images = np.broadcast_to(0.1 + rows * (0.5 + 0.3 * vectors[:, :, None, None]), (256, 8, 8, 1)).astype("float32")
    sizes = {**TINY["vae"], "width": 32, "num_classes": 2, "condition_dim": 1, "learning_rate": 1e-2, "seed": 0}
    model = gz.build("vae", SHAPE, jit_compile=False, **sizes)
    model.fit(images, {"labels": labels, "conditions": vectors}, batch_size=64, epochs=50, verbose=0)
    made = {
        (label, vector): model.sample(20, seed=0, labels=[label] * 20, conditions=np.full((20, 1), vector)).mean(axis=0)
        for label in (0, 1)
        for vector in (-0.8, 0.8)
    }
    for label in (0, 1):
        upper, lower = (slice(None, 4), slice(4, None)) if label else (slice(4, None), slice(None, 4))
        means = [(made[label, vector][upper].mean(), made[label, vector][lower].mean()) for vector in (-0.8, 0.8)]
        (faint, dark), (bright, other) = means
        assert bright - faint > 0.2 and max(dark, other) < 0.3 and faint - dark > 0.05, means


def test_samples_of_an_autoencoder_follow_the_codes_of_their_class(random):
    """Networks that make nothing of the label: what samples are of a class comes from the density of its codes alone."""
    labels = np.arange(200) % 2
    images = np.clip(random.normal(0.2 + 0.6 * labels[:, None], 0.03, (200, 2)), 0, 1).reshape(-1, 1, 2, 1).astype("float32")
    encoder = linear([keras.Input((1, 2, 1)), keras.Input((2,))], 2, [np.eye(2), np.zeros((2, 2))], np.zeros(2))
    code, told = keras.Input((2,)), keras.Input((2,))
    flat = linear([code, told], 2, [np.eye(2), np.zeros((2, 2))], np.zeros(2))([code, told])
    decoder = keras.Model([code, told], keras.layers.Reshape((1, 2, 1))(flat))
    model = gz.models.Autoencoder(encoder, decoder, prior=priors.mixture_for(2, 1, num_classes=2), num_classes=2, seed=0)
    model.compile(**EAGER)
    model.fit_prior((images, labels), "gaussian")
    for label in (0, 1):
        assert model.sample(50, seed=0, labels=[label] * 50).mean() == pytest.approx(0.2 + 0.6 * label, abs=0.03)


# Scores


class Quarters:
    """Features: the mean of each quarter of a gray image of 8x8."""

    name, hash, resize, dim = "quarters", "none", "none", 4

    def __call__(self, images):
        scale = 255 if images.dtype == np.uint8 else 1
        return np.asarray(images, "float32").reshape(-1, 2, 4, 2, 4).mean(axis=(2, 4)).reshape(-1, 4) / scale


def test_models_are_scored_by_the_labels_and_vectors_of_the_test_images(told):
    images, labels, vectors = told
    model = told_vae()
    model.fit(images, {"labels": labels, "conditions": vectors}, verbose=0)
    data = gz.data.load((images, labels), "test", batch_size=5, labels=True, conditions=vectors)
    scores = gz.evaluate(model, data, Quarters())
    assert scores["sample_labels"] == scores["sample_conditions"] == "of the test images"
    expected = np.mean(model.log_prob(images, labels=labels, conditions=vectors))
    assert scores["log_prob[iw64]"] == pytest.approx(expected, rel=1e-4) and "mse" in scores
    alone = gz.evaluate(model, images, Quarters())
    assert (alone["sample_labels"], alone["sample_conditions"]) == ("uniform", "of training images")
    assert not {"mse", "log_prob[iw64]", "active_units"} & set(alone)


def test_a_saved_graph_is_told_labels_and_vectors(told, tmp_path):
    images, labels, vectors = told
    model = told_vae()
    model.fit(images, {"labels": labels, "conditions": vectors}, verbose=0)
    model.export(tmp_path / "saved")
    there = tf.saved_model.load(tmp_path / "saved")
    x, given = (images / 255).astype("float32"), (tf.constant(labels, tf.int64), tf.constant(vectors))
    by = {"labels": labels, "conditions": vectors}
    np.testing.assert_allclose(there.encode(x, *given), model.encode(images, **by), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(there.serve(x, *given), model.reconstruct(images, **by), atol=1e-5)
    np.testing.assert_allclose(there.sample_conditions(*given, tf.constant(4, tf.int64)), model.sample(16, 4, **by), atol=1e-5)
    np.testing.assert_allclose(there.sample(tf.constant(5), tf.constant(4, tf.int64)), model.sample(5, 4), atol=1e-5)


@pytest.mark.slow
def test_the_command_line_trains_and_samples_by_the_vectors_of_a_file(told, tmp_path):
    images, _, vectors = told
    np.savez(tmp_path / "told.npz", images=np.tile(images, (3, 1, 1, 1)), conditions=np.tile(vectors, (3, 1)))
    (tmp_path / "asked.csv").write_text("first,second\n0.5,1\n-2,0\n")
    sizes = [word for name, value in {**TINY["vae"], "condition_dim": 2}.items() for word in ("--set", f"{name}={value}")]
    run = ["train", "vae", "--data", tmp_path / "told.npz", "--out", tmp_path / "run", "--steps", 2, "--batch-size", 8, *sizes]
    asked = ["sample", tmp_path / "run", "--conditions", tmp_path / "asked.csv", "-n", 5, "--out", tmp_path / "made.npz"]
    for words in (run, asked):
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == 0, result.output
    with np.load(tmp_path / "made.npz") as made:
        assert made["images"].shape == (5, *SHAPE)
    assert (tmp_path / "run" / "reconstructions.png").exists()
    (tmp_path / "asked.csv").write_text("first\n0.5\n")
    result = CliRunner().invoke(main, [str(word) for word in asked])
    assert result.exit_code != 0 and "have shape (5, 1), expected (5, 2)" in f"{result.output}{result.exception}"
