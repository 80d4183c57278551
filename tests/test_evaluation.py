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


def drawn(images, n):
    """n images as any seeded draw of them takes them: whatever the batches are, the same ones in their order."""
    numbers = np.random.default_rng(0).random(len(images))
    return images[np.sort(np.argsort(numbers)[:n])]


def test_scores_are_of_the_images_drawn_and_of_the_samples_of_the_seed(monkeypatch):
    monkeypatch.setattr(gz.evaluation, "PERCEIVED", 6)
    few = drawn(IMAGES, 10)
    assert not (few == IMAGES[:10]).all()
    model, x, fewer = Known(), few / 255, drawn(few, 6)
    data = gz.data.load(IMAGES, "test", batch_size=4)
    scores = gz.evaluate(model, data, Colours(), n=10, seed=5, train=TRAIN, batch_size=4, likelihood_images=6)
    samples, reconstructions = model.sample(10, seed=5), model.reconstruct(few)
    measure = metrics.SampleMetrics(few, TRAIN, features=Colours())
    expected = measure(samples) | measure.of_reconstructions(reconstructions)
    expected |= {"sample_seed": 5, "mse": np.mean((x - (1 - x) / 2) ** 2)}
    expected["reconstruction_sharpness"] = metrics.sharpness(reconstructions).mean() / metrics.sharpness(few).mean()
    expected["sharpness"] = metrics.sharpness(samples).mean() / metrics.sharpness(few).mean()
    expected["PD[colours]"] = metrics.perceptual_distance(fewer, drawn(reconstructions, 6), Colours()).mean()
    codes = np.asarray(model.draw_latents(12, RowStream(5, 0)))
    expected["path_length[colours]"] = metrics.perceptual_path_length(model.generate, codes[:6], codes[6:], Colours(), seed=5)
    expected |= {
        "n_paths": 6,
        "n_perceptual": 6,
        "n_likelihood": 6,
        "n_real": 10,
        "n_generated": 10,
        "n_train": 20,
        "features_dim": 3,
    }
    expected["log_prob[iw8]"] = -fewer.mean()
    expected |= {"bits_per_dim[iw8]": 3 * fewer.mean(), "active_units": 2, "latent_units": 4}
    for name, value in expected.items():
        assert scores[name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), name
    assert scores.keys() - expected.keys() == {"psnr"}


class ByClass(Likelihood):
    """A model that draws what its labels say: images of the level 60 y; uniform labels are all 0."""

    num_classes, image_shape = 3, SHAPE

    def sample(self, n, seed=None, batch_size=256, labels=None):
        labels = np.zeros(n, int) if labels is None else labels
        noise = np.random.default_rng(seed).integers(0, 60, (n, *SHAPE))
        return ((60 * labels[:, None, None, None] + noise) / 255).astype("float32")

    def log_prob(self, images, batch_size=256, labels=None):
        return np.zeros(len(images)) if labels is None else labels.astype(float)


def test_a_conditional_model_is_scored_with_the_labels_of_the_test_images():
    labels = np.repeat([0, 1, 2], [90, 8, 52])  # sorted, as a folder is
    images = (255 * ByClass().sample(150, 7, labels=labels)).round().astype("uint8")
    data = gz.data.load((images, labels), "test", labels=True, batch_size=64)
    scores = gz.evaluate(ByClass(), data, Colours(), likelihood_images=30)
    assert scores["sample_labels"] == "of the test images" and scores["FD[colours]"] < 1e-3 and scores["classes"] == "labels"
    assert scores["log_prob"] == drawn(labels, 30).mean()
    assert list(scores["class_FD[colours]"]) == [0, 1, 2] and list(scores["class_KD[colours]"]) == [
        0,
        2,
    ]  # of 8 images it is noise
    assert scores["intra_FD[colours]"] == pytest.approx(np.mean(list(scores["class_FD[colours]"].values())))
    uniform = gz.evaluate(ByClass(), images, Colours())
    assert uniform["sample_labels"] == "uniform" and uniform["FD[colours]"] > 0.03 and "classes" not in uniform
    with pytest.raises(ValueError, match="lie between 0 and 5, but the model has the classes 0 to 2; give the images alone"):
        gz.evaluate(ByClass(), (images, np.where(labels == 2, 5, labels)), Colours())
    # Models without classes are told which of the classes they met.
    assert gz.evaluate(Known(), (images, labels), Colours(), n=60)["modes_real"] == 3
    watched = gz.evaluation.SampleDistance((images, labels), Colours())
    assert watched(ByClass()) == pytest.approx(scores["FD[colours]"])


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
    for n, sentence in (
        (1, "n is 1, expected None or a whole number of at least 2"),
        (15, "n is 15, but there are 14 test images"),
    ):
        with pytest.raises(ValueError, match=sentence):
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
    assert scores["log_prob"] == pytest.approx(-drawn(IMAGES, 10).mean() - 2) and scores["log_prob_error"] == 0.25


def test_noise_of_other_seeds_is_other_noise():
    noise = [gz.evaluation.outsiders((4, 4, 2), 3, seed=seed)["noise"] for seed in (0, 1, 1)]
    assert (noise[0] != noise[1]).all() and (noise[1] == noise[2]).all()
    emoji = gz.evaluation.outsiders(SHAPE, 5)["emoji32"]
    test = drawn(gz.data.as_array(gz.data.load("emoji32", "test", image_size=4)), 5)
    np.testing.assert_allclose(emoji, test / np.float32(255), atol=1e-6)
    assert gz.evaluation.outsiders(SHAPE, 2, name="emoji32").keys() == {"noise"}
