"""Every score of `gz.evaluate` against numbers by hand, of a model whose answers are known."""

import numpy as np
import pytest
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo import metrics
from keras_genzoo.core.randomness import RowStream

pytestmark = pytest.mark.filterwarnings("ignore:.*is biased upwards:UserWarning")  # of few images
SHAPE = (4, 4, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (14, *SHAPE), dtype=np.uint8)
TRAIN = np.random.default_rng(1).integers(0, 256, (20, *SHAPE), dtype=np.uint8)
VARIANCES = (0.5, 0.011, 0.009, 0.0)  # of the units of the code; 0.01 makes an active one


class Colours:
    """An extractor that costs nothing: the mean colour, and as its one layer the image itself."""

    name, hash, resize, dim = "colours", "none", "none", 3

    def __call__(self, images):
        return np.asarray(images, "float32").mean(axis=(1, 2)) / (255 if images.dtype == np.uint8 else 1)

    def activations(self, images):
        return [images]


class Likelihood:
    """A model of a likelihood alone."""

    image_shape, num_classes, support, log_prob_label = SHAPE, None, "levels", ""

    def __init__(self):
        self.asked = {}

    def images_of(self, images):
        return images / 255

    def log_prob(self, images, batch_size=256):
        self.asked["log_prob"] = batch_size
        return -images.mean(axis=(1, 2, 3))


class Known(Likelihood):
    """A model that does all there is, and tells what it was asked for."""

    log_prob_label = "iw8"

    def to_bits_per_dim(self, log_prob):
        return -3 * log_prob

    bits_per_dim = decode = None  # that there are such is all that is asked

    def sample(self, n, seed=None, batch_size=256):
        self.asked["sample"] = batch_size
        return np.random.default_rng(seed).random((n, *SHAPE), dtype="float32")

    def reconstruct(self, images, batch_size=256):
        self.asked["reconstruct"] = batch_size
        return ((255 - images) / 510).astype("float32")

    def posterior(self, images, batch_size=256):
        self.asked["posterior"] = batch_size
        signs = np.where(np.arange(len(images)) % 2, 1.0, -1.0)
        return 3 + signs[:, None] * np.sqrt(VARIANCES), np.ones((len(images), len(VARIANCES)))

    def draw_latents(self, n, random):
        return random.normal((n, 48))

    def generate(self, latents):
        return tf.reshape(tf.sigmoid(latents), (-1, *SHAPE))


def test_scores_are_of_the_first_images_and_of_the_samples_of_the_seed(monkeypatch):
    monkeypatch.setattr(gz.evaluation, "PERCEIVED", 6)
    model, few, x = Known(), IMAGES[:10], IMAGES[:10] / 255
    data = gz.data.load(IMAGES, "test", batch_size=4)
    scores = gz.evaluate(model, data, Colours(), n=10, seed=5, train=TRAIN, batch_size=4, likelihood_images=6)
    samples, reconstructions = model.sample(10, seed=5), model.reconstruct(few)
    measure = metrics.SampleMetrics(few, TRAIN, features=Colours())
    expected = measure(samples) | measure.of_reconstructions(reconstructions)
    expected |= {"sample_seed": 5, "mse": np.mean((x - (1 - x) / 2) ** 2), "reconstruction_sharpness": 0.25}
    expected["sharpness"] = metrics.sharpness(samples).mean() / metrics.sharpness(few).mean()
    expected["PD[colours]"] = metrics.perceptual_distance(few[:6], reconstructions[:6], Colours()).mean()
    codes = np.asarray(model.draw_latents(12, RowStream(5, 0)))
    expected["path_length[colours]"] = metrics.perceptual_path_length(model.generate, codes[:6], codes[6:], Colours(), seed=5)
    expected |= {"n_paths": 6, "n_perceptual": 6, "n_likelihood": 6, "n_real": 10, "n_generated": 10, "n_train": 20}
    expected["log_prob[iw8]"] = -IMAGES[:6].mean()
    expected |= {"bits_per_dim[iw8]": 3 * IMAGES[:6].mean(), "active_units": 2, "latent_units": 4}
    for name, value in expected.items():
        assert scores[name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), name
    assert scores.keys() - expected.keys() == {"psnr"}


def test_every_question_is_asked_in_batches_of_the_size_given():
    model = Known()
    model.draw_latents = lambda n, random: np.zeros((n, 48), "float32")
    model.generate = lambda latents: tf.fill((tf.shape(latents)[0], *SHAPE), 0.5)
    gz.evaluate(model, IMAGES, Colours(), batch_size=7)
    assert model.asked == dict.fromkeys(("sample", "reconstruct", "posterior", "log_prob"), 7)


def test_what_a_model_lacks_is_left_out_and_levels_between_have_no_binary_likelihood():
    model = Likelihood()
    assert gz.evaluate(model, IMAGES) == {"log_prob": pytest.approx(-IMAGES.mean()), "n_likelihood": 14}
    model.support = "binary"
    assert gz.evaluate(model, IMAGES) == {}
    black_and_white = np.where(IMAGES < 100, 0, 255).astype("uint8")
    assert gz.evaluate(model, black_and_white)["log_prob"] == pytest.approx(-black_and_white.mean())
    with pytest.warns(UserWarning, match="log_prob is nan; the model's output or its weights may not be finite"):
        model.log_prob = lambda images, batch_size: np.full(len(images), np.nan)
        gz.evaluate(model, black_and_white)
    for n in (1, 15):
        with pytest.raises(ValueError, match=f"n is {n}, but there are 14 test images"):
            gz.evaluate(model, IMAGES, n=n)


def test_energies_and_chains_are_asked_with_the_seed(monkeypatch):
    asked = {}

    class Chains(Likelihood):
        def energy(self, images, batch_size=256):
            return images.reshape(len(images), -1).mean(axis=1) / (255 if images.dtype == np.uint8 else 1)

        def chain_report(self, seed):
            asked["chain_report"] = seed
            return {"chain_steps": 7}

        def log_partition(self, seed):
            asked["log_partition"] = seed
            return 2.0, 0.25

        def log_prob(self, images, batch_size=256, log_partition=0.0):
            return super().log_prob(images) - log_partition

    def outsiders(image_shape, n, seed=0, name=None):
        asked["outsiders"] = image_shape, n, seed, name
        return {"mixed": np.ones((4, *SHAPE), "float32") * np.array([1, 1, 1, 0]).reshape(4, 1, 1, 1)}

    monkeypatch.setattr(gz.evaluation, "outsiders", outsiders)
    scores = gz.evaluate(Chains(), IMAGES, n=10, seed=6)
    assert asked == {"chain_report": 6, "log_partition": 6, "outsiders": (SHAPE, 10, 6, None)}
    assert scores["auroc[mixed]"] == 0.75 and scores["chain_steps"] == 7
    assert scores["log_prob"] == pytest.approx(-IMAGES[:10].mean() - 2) and scores["log_prob_error"] == 0.25


def test_noise_of_other_seeds_is_other_noise():
    noise = [gz.evaluation.outsiders((4, 4, 2), 3, seed=seed)["noise"] for seed in (0, 1, 1)]
    assert (noise[0] != noise[1]).all() and (noise[1] == noise[2]).all()
    emoji = gz.evaluation.outsiders(SHAPE, 5)["emoji32"]
    test = gz.data.as_array(gz.data.load("emoji32", "test", image_size=4))[:5]
    np.testing.assert_allclose(emoji, test / np.float32(255), atol=1e-6)
    assert gz.evaluation.outsiders(SHAPE, 2, name="emoji32").keys() == {"noise"}
