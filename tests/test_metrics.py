"""Distances against closed forms, NumPy, scikit-image, torch-fidelity and prdc; `fashion-cnn` against its promises."""

import ast
import copy
import gzip
import hashlib
import json
import runpy
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import skimage.metrics
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo import metrics
from keras_genzoo.metrics import fashion_cnn

ROOT = Path(__file__).parents[1]
REFERENCE = json.loads((ROOT / "tests/data/metrics_reference.json").read_text())["cases"]
SCRIPT = runpy.run_path(ROOT / "scripts/reference_metrics.py")
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

needs_fashion_mnist = pytest.mark.skipif(
    not FASHION_MNIST.exists(), reason=f"no {FASHION_MNIST}: apt-get install dataset-fashion-mnist"
)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def fashion_mnist(split, n):
    with gzip.open(FASHION_MNIST / f"{split}-images-idx3-ubyte.gz") as images:
        images = np.frombuffer(images.read(16 + n * 784), np.uint8, offset=16).reshape(-1, 28, 28, 1)
    with gzip.open(FASHION_MNIST / f"{split}-labels-idx1-ubyte.gz") as labels:
        return images, np.frombuffer(labels.read(8 + n), np.uint8, offset=8)


def noise(n=40, height=16, width=16, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


class PixelMeans:
    """The smallest extractor: the mean of each row of pixels."""

    name, hash, resize, dim = "rows", "none", "none", 16

    def __call__(self, images):
        return np.asarray(images, "float32").mean(axis=(2, 3))


def spd(dim, seed):
    mix = np.random.default_rng(seed).normal(size=(dim, dim))
    return mix @ mix.T / dim + 0.1 * np.eye(dim)


# The Frechet distance


def test_frechet_distance_of_equal_covariances_is_the_squared_distance_of_the_means(random):
    mu1, mu2, sigma = random.normal(size=20), random.normal(size=20), spd(20, 1)
    assert metrics.frechet_distance(mu1, sigma, mu2, sigma) == pytest.approx(np.sum((mu1 - mu2) ** 2), rel=1e-10)


def test_frechet_distance_of_diagonal_covariances_has_a_closed_form(random):
    mu1, mu2 = random.normal(size=(2, 20))
    scale1, scale2 = random.uniform(0, 3, size=(2, 20))
    expected = np.sum((mu1 - mu2) ** 2) + np.sum((scale1 - scale2) ** 2)
    distance = metrics.frechet_distance(mu1, np.diag(scale1**2), mu2, np.diag(scale2**2))
    assert distance == pytest.approx(expected, rel=1e-10)


def test_frechet_distance_of_scaled_covariances_has_a_closed_form():
    sigma = spd(20, 2)  # sqrt(sigma * 4 sigma) = 2 sigma, so tr(sigma + 4 sigma - 4 sigma) is left
    distance = metrics.frechet_distance(np.zeros(20), sigma, np.zeros(20), 4 * sigma)
    assert distance == pytest.approx(np.trace(sigma), rel=1e-10)


def test_frechet_distance_is_symmetric_and_zero_for_equal_gaussians_of_any_rank(random):
    low_rank = np.cov(random.normal(size=(5, 30)), rowvar=False)
    mu = random.normal(size=30)
    there = metrics.frechet_distance(mu, low_rank, 0 * mu, spd(30, 3))
    assert there == pytest.approx(metrics.frechet_distance(0 * mu, spd(30, 3), mu, low_rank), rel=1e-6)
    assert metrics.frechet_distance(mu, low_rank, mu, low_rank) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("sizes", [[500], [1] * 500, [2, 498], [100, 0, 150, 250], [499, 1]], ids=str)
def test_streamed_statistics_equal_those_of_all_features_at_once(sizes, random):
    features = random.normal(size=(500, 12)) @ spd(12, 4) + 1000  # a large mean, where a sum of squares would cancel
    statistics = metrics.GaussianStatistics(12)
    for batch in np.split(features, np.cumsum(sizes)[:-1]):
        statistics.update(batch)
    assert statistics.n == 500
    np.testing.assert_allclose(statistics.mean, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.covariance, np.cov(features, rowvar=False), rtol=1e-9, atol=1e-10)


# Other implementations on the same features


@pytest.mark.parametrize("case", REFERENCE)
def test_distances_agree_with_torch_fidelity_and_prdc(case):
    seed, *sizes = SCRIPT["CASES"][case]
    real, generated = SCRIPT["features"](seed, *sizes)
    expected = REFERENCE[case]
    assert [real.sum(), generated.sum()] == pytest.approx(expected["checksum"], rel=1e-12)  # else NumPy's stream changed

    moments = [moment for each in (real, generated) for moment in (each.mean(axis=0), np.cov(each, rowvar=False))]
    assert metrics.frechet_distance(*moments) == pytest.approx(expected["frechet_distance"], rel=1e-6)
    subsets = dict(subsets=SCRIPT["SUBSETS"], subset_size=SCRIPT["SUBSET_SIZE"], seed=SCRIPT["SUBSET_SEED"])
    assert metrics.kernel_distance(real, generated, **subsets) == pytest.approx(expected["kernel_distance"], rel=1e-6)

    counts = np.array([len(generated), len(real)])
    pair = np.array(metrics.precision_recall(real, generated, k=3))
    # torch-fidelity stores float32; a count is a whole number, so rounding restores it.
    np.testing.assert_array_equal(np.rint(pair * counts), np.rint(np.array(expected["torch_fidelity_precision_recall"]) * counts))
    for k in (3, 5):
        theirs = expected[f"prdc_{k}"]
        ours = metrics.precision_recall(real, generated, k) + metrics.density_coverage(real, generated, k)
        scale = np.array([len(generated), len(real), k * len(generated), len(real)])
        wanted = np.array([theirs[name] for name in ("precision", "recall", "density", "coverage")])
        np.testing.assert_array_equal(np.rint(ours * scale), np.rint(wanted * scale))
        np.testing.assert_allclose(ours, wanted, rtol=1e-12)


def test_both_ways_of_computing_the_kernel_distance_agree(random):
    x, y = random.normal(size=(2, 300, 8))
    draw = np.random.RandomState(5).choice
    by_hand = []
    for _ in range(3):
        i, j = draw(300, 20, replace=False), draw(300, 20, replace=False)
        by_hand.append(metrics.polynomial_mmd(x[i], y[j]))
    few_large = metrics.kernel_distance(x, y, subsets=3, subset_size=200, seed=5)  # every pair once
    few_small = metrics.kernel_distance(x, y, subsets=3, subset_size=20, seed=5)  # each subset for itself
    assert few_small == pytest.approx(np.mean(by_hand), rel=1e-12)
    draw = np.random.RandomState(5).choice
    pairs = [(draw(300, 200, replace=False), draw(300, 200, replace=False)) for _ in range(3)]
    assert few_large == pytest.approx(np.mean([metrics.polynomial_mmd(x[i], y[j]) for i, j in pairs]), rel=1e-9)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_kernels_of_float32_features_are_those_of_float64(random, scale, normalise):
    x, y = (scale * random.random((2000, 64)) ** power for power in (1.0, 1.1))
    narrow = x.astype("float32"), y.astype("float32")
    for size in (100, 1500):  # each subset for itself, and every pair once
        settings = {"subsets": 5, "subset_size": size, "normalise": normalise}
        wide = metrics.kernel_distance(*(each.astype("float64") for each in narrow), **settings)
        assert metrics.kernel_distance(*narrow, **settings) == pytest.approx(wide, rel=1e-4)


def test_polynomial_mmd_follows_its_formula(random):
    x, y = random.normal(size=(2, 4, 3))

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    within = sum(k(s[i], s[j]) for s in (x, y) for i in range(4) for j in range(4) if i != j) / 12
    across = sum(k(a, b) for a in x for b in y) / 16
    assert metrics.polynomial_mmd(x, y) == pytest.approx(within - 2 * across, rel=1e-10)


def test_kernel_distance_of_one_distribution_is_centred_on_zero_at_any_size(random):
    distances = [metrics.kernel_distance(*random.normal(size=(2, 50, 8)), subsets=1) for _ in range(200)]
    error = np.std(distances) / np.sqrt(len(distances))
    assert abs(np.mean(distances)) < 4 * error
    assert min(distances) < 0


# Nearest neighbours


def test_precision_falls_for_outliers_and_recall_and_coverage_for_collapse(random):
    real = random.normal(size=(400, 4))
    outliers = real + 100
    collapsed = np.tile(real[:1], (400, 1)) + 1e-3 * random.normal(size=(400, 4))
    assert metrics.precision_recall(real, outliers) == (0, 0)
    assert metrics.density_coverage(real, outliers) == (0, 0)
    precision, recall = metrics.precision_recall(real, collapsed)
    assert precision == 1 and recall < 0.02
    assert metrics.density_coverage(real, collapsed)[1] < 0.05


def test_copies_of_training_images_are_seen(random):
    train = random.normal(size=(100, 4, 4, 1))
    generated = np.concatenate([train[:3], train[:2] + 1])
    distances = metrics.nearest_neighbour_distances(generated, train)
    assert (distances[:3] == 0).all()
    brute = np.linalg.norm((generated[:, None] - train[None]).reshape(5, 100, -1), axis=-1).min(axis=1)
    np.testing.assert_allclose(distances, brute, rtol=1e-12)


# Reconstruction


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (33, 21, 5), (11, 40, 2)], ids=str)
def test_reconstruction_scores_are_those_of_scikit_image(shape, random):
    x = random.uniform(size=(300, *shape))
    y = np.clip(x + 0.1 * random.normal(size=x.shape) * random.uniform(size=(300, 1, 1, 1)), 0, 1)
    settings = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=-1)
    theirs = skimage.metrics
    expected = {
        "mse": np.mean([theirs.mean_squared_error(a, b) for a, b in zip(x, y, strict=True)]),
        "psnr": np.mean([theirs.peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(x, y, strict=True)]),
        "ssim": np.mean([theirs.structural_similarity(a, b, **settings) for a, b in zip(x, y, strict=True)]),
    }
    scores = metrics.reconstruction_scores(x, y)
    assert scores == pytest.approx(expected, rel=1e-6)
    assert scores["mse"] == metrics.mse(x, y) and scores["psnr"] == metrics.psnr(x, y) and scores["ssim"] == metrics.ssim(x, y)


def test_levels_and_floats_reconstruct_alike_and_a_perfect_image_is_infinitely_good():
    x, y = noise(seed=1), noise(seed=2)
    assert metrics.mse(x, y / np.float32(255)) == pytest.approx(np.mean((x / 255 - y / 255) ** 2), rel=1e-6)
    assert metrics.reconstruction_scores(x, x / 255) == {"mse": pytest.approx(0, abs=1e-14), "psnr": np.inf, "ssim": 1}


def test_ssim_is_left_out_where_its_window_does_not_fit():
    assert set(metrics.reconstruction_scores(noise(height=8), noise(height=8))) == {"mse", "psnr"}


# Streams of images


def test_a_stream_gives_one_result_in_any_shape_it_comes():
    real, generated = noise(50), noise(40, seed=1) // 2
    once = metrics.FrechetDistance(PixelMeans())
    once.update_real(real)
    once.update_generated(generated)
    pieces = metrics.FrechetDistance(PixelMeans())
    pieces.update_real(tf.data.Dataset.from_tensor_slices((real, np.zeros(50))).batch(7))
    pieces.update_generated(generated[i : i + 13] for i in range(0, 40, 13))
    assert pieces.n_real == 50 and pieces.n_generated == 40
    assert pieces.name == "FD[rows]"
    assert pieces.result() == pytest.approx(once.result(), rel=1e-9)


@pytest.mark.parametrize("distance", [metrics.FrechetDistance, metrics.KernelDistance])
def test_generated_images_start_anew_while_the_real_ones_stay(distance):
    stream = distance(PixelMeans())
    stream.update_real(noise(50))
    stream.update_generated(noise(40, seed=1) // 4)
    far = stream.result()
    stream.reset_generated()
    assert (stream.n_real, stream.n_generated) == (50, 0)
    stream.update_generated(noise(40, seed=1))
    near = stream.result()
    assert near < far
    stream.reset_generated()
    stream.update_generated(noise(40, seed=1) // 4)
    assert stream.result() == far


def test_a_collapsed_generator_gets_a_number():
    distance = metrics.FrechetDistance(PixelMeans())
    distance.update_real(noise(50))
    distance.update_generated(np.zeros((50, 16, 16, 1), "uint8"))
    assert distance.result() > 100


def test_few_images_are_warned_about_with_the_way_out():
    distance = metrics.FrechetDistance(PixelMeans())
    distance.update_real(noise(50))
    distance.update_generated(noise(10))
    with pytest.warns(UserWarning, match=r"FD\[rows\] from 10 images and 16 features is biased upwards.*kernel distance"):
        distance.result()


def test_the_bootstrap_finds_how_far_the_distance_moves_with_other_images(random):
    def drawn():
        return random.normal(size=(400, 3)), 1 + random.normal(size=(500, 3))

    def distance(real, generated):
        return metrics.frechet_distance(*(moment for each in (real, generated) for moment in (each.mean(axis=0), np.cov(each.T))))

    true = np.std([np.log(distance(*drawn())) for _ in range(300)], ddof=1)
    found = [metrics.bootstrap_deviation(*drawn(), seed=seed) for seed in range(10)]
    assert np.mean(found) == pytest.approx(true, rel=0.25)
    assert metrics.bootstrap_deviation(*drawn(), seed=1) != metrics.bootstrap_deviation(*drawn(), seed=2)
    assert metrics.bootstrap_deviation(np.zeros((300, 257)), np.zeros((300, 257))) is None  # too dear
    assert metrics.bootstrap_deviation(np.zeros((5, 5)), np.zeros((9, 5))) is None  # no full rank


def test_sample_scores_carry_all_that_a_table_stores():
    real, train = noise(200), noise(300, seed=1)
    scores = metrics.SampleMetrics(real, train, PixelMeans(), subsets=3, k_pr=2)(train[:150])
    assert set(scores) == {
        *("FD[rows]", "FD_inf[rows]", "fd_inf_r2", "KD[rows]", "kd_low", "kd_high", "kd_subsets", "kd_subset_size"),
        *("precision", "recall", "k_pr", "density", "coverage", "k_dc", "n_real", "n_generated", "features_dim"),
        *("nearest_train[rows]", "train_ratio", "authenticity", "data_copying", "n_train"),
        *("features", "features_hash", "resize", "fd_bootstrap"),
    }
    assert (scores["n_real"], scores["n_generated"], scores["n_train"], scores["kd_subset_size"]) == (200, 150, 300, 150)
    assert (scores["k_pr"], scores["k_dc"], scores["features_hash"]) == (2, 5, "none")
    assert scores["nearest_train[rows]"] == scores["train_ratio"] == scores["authenticity"] == 0 > -3 > scores["data_copying"]
    assert scores["kd_low"] < scores["KD[rows]"] < scores["kd_high"]
    json.dumps(scores)

    streamed = metrics.FrechetDistance(PixelMeans())
    streamed.update_real(real)
    streamed.update_generated(train[:150])
    assert scores["FD[rows]"] == pytest.approx(streamed.result(), rel=1e-9)
    few = metrics.SampleMetrics(real, features=PixelMeans(), subsets=1)(train[:40])
    assert not {"nearest_train[rows]", "FD_inf[rows]"} & set(few)
    with pytest.warns(UserWarning, match="biased"):
        fewest = metrics.SampleMetrics(real, features=metrics.get("fashion-cnn"), subsets=1, normalise=True)(train[:6])
    assert "KD_normalised[fashion-cnn]" in fewest and "modes" in fewest
    assert not {"KD[fashion-cnn]", "kd_low", "IS[fashion-cnn]", "FD_inf[fashion-cnn]"} & set(fewest)


def test_sample_scores_are_those_of_each_function_with_the_settings_given(random):
    real, generated = random.normal(size=(120, 3)), 0.3 + 0.6 * random.normal(size=(90, 3))
    kernel = {"subsets": 4, "subset_size": 20, "seed": 3}
    moments = [moment for each in (real, generated) for moment in (each.mean(axis=0), np.cov(each, rowvar=False))]
    for normalise, name in ((False, "KD[some]"), (True, "KD_normalised[some]")):
        scores = metrics.sample_scores(real, generated, features="some", k_pr=2, k_dc=4, normalise=normalise, **kernel)
        _, low, high = metrics.kernel_interval(real, generated, 10, normalise=normalise)
        infinity = metrics.frechet_infinity(real, generated)
        expected = {
            "FD[some]": metrics.frechet_distance(*moments),
            "fd_bootstrap": metrics.bootstrap_deviation(real, generated),
            name: metrics.kernel_distance(real, generated, normalise=normalise, **kernel),
            **dict(zip(("precision", "recall"), metrics.precision_recall(real, generated, 2), strict=True)),
            **dict(zip(("density", "coverage"), metrics.density_coverage(real, generated, 4), strict=True)),
            **{"kd_low": low, "kd_high": high, "FD_inf[some]": infinity.intercept, "fd_inf_r2": infinity.r_squared},
            **{"k_pr": 2, "k_dc": 4, "kd_subsets": 4, "kd_subset_size": 20},
            **{"n_real": 120, "n_generated": 90, "features_dim": 3},
        }
        assert scores == {key: pytest.approx(value, rel=1e-6) for key, value in expected.items()}
    for n in (29, 30):  # too few for the points of a line, and enough
        assert ("FD_inf[some]" in metrics.sample_scores(real, generated[:n], features="some")) == (n == 30)


def test_sample_scores_of_a_classifier_with_labels_add_classes_in_one_pass(monkeypatch):
    fashion = metrics.get("fashion-cnn")
    calls = []
    call = metrics.FeatureExtractor.__call__
    monkeypatch.setattr(
        metrics.FeatureExtractor, "__call__", lambda self, images: calls.append(len(images)) or call(self, images)
    )
    test = gz.data.load("fashion_mnist_mini", "test", shuffle=False, labels=True)
    images, labels = gz.data.as_array(test, 800)
    measure = metrics.SampleMetrics(images[:400], features=fashion, labels=labels[:400], subsets=3)
    scores = measure(images[400:], labels[400:])
    assert calls == [400, 400]
    probabilities = tf.nn.softmax(fashion.logits(fashion(images))).numpy()
    np.testing.assert_allclose(probabilities, fashion.at("probabilities")(images), atol=1e-5)
    assert np.mean(probabilities.argmax(axis=1) == labels) > 0.85  # it knows garments
    assert (scores["modes"], scores["modes_real"]) == (10, 10) and 0 <= scores["mode_kl"] < 0.05
    assert 6 < scores["IS[fashion-cnn]"] < 10 and scores["classes"] == "10 of fashion-cnn" and scores["modes_foreign"] == 0
    by_class = scores["class_KD[fashion-cnn]"]
    assert list(by_class) == list(range(10)) and scores["intra_KD[fashion-cnn]"] == pytest.approx(
        np.mean(list(by_class.values()))
    )
    assert "class_FD[fashion-cnn]" not in scores  # of 40 images in 128 features


def test_classes_are_the_labels_where_the_classifier_knows_others():
    fashion = metrics.get("fashion-cnn")
    test = gz.data.as_array(gz.data.load("fashion_mnist_mini", "test", shuffle=False), 600)
    kinds = fashion.logits(fashion(test)).argmax(axis=1)
    shoes = np.isin(kinds, (5, 7, 9))  # one class in a folder of two
    measure = metrics.SampleMetrics(test[:400], features=fashion, labels=shoes[:400].astype(int), subsets=2)
    scores = measure(test[400:][~shoes[400:]])
    assert scores["classes"] == "labels" and scores["modes_real"] == 2 and scores["rarest_mode"] < 0.05
    assert not {name for name in scores if name.startswith(("class_", "intra_"))}  # nothing says which class a sample is to be of


def test_an_array_and_its_copy_score_exactly():
    real = np.random.default_rng(0).normal(size=(300, 20))
    for features in (real, 1e3 + real, real.astype("float32")):
        assert (
            metrics.precision_recall(features, features.copy()) == metrics.density_coverage(features, features.copy()) == (1, 1)
        )
        assert metrics.authenticity(features.copy(), features) == 0
        assert metrics.nearest_neighbour_distances(features.copy(), features).max() == 0


def test_equal_distances_are_equal_wherever_they_are_computed():
    points = np.random.default_rng(0).integers(0, 6, (400, 3)) / 10
    distances = np.sqrt(((points[:, None] - points) ** 2).sum(axis=-1))
    own = np.where(np.eye(400, dtype=bool), np.inf, distances)
    found, places = metrics.neighbours.nearest(None, points, 5)
    np.testing.assert_array_equal(found, np.sort(own, axis=1)[:, :5])
    np.testing.assert_array_equal(np.take_along_axis(own, places, axis=1), found)
    inside = distances < found[:, -1]
    density, coverage = metrics.density_coverage(points, points)
    assert (density, coverage) == (inside.sum() / 5 / 400, inside.any(axis=0).mean())


def test_the_distance_of_reconstructions_is_named_and_zero_for_the_images_themselves():
    images, others = noise(40), noise(40, seed=1) // 2
    measure = metrics.SampleMetrics(images, features=PixelMeans())
    scores = measure.of_reconstructions(images)
    assert scores["rFD[rows]"] == pytest.approx(0, abs=1e-6) and scores["n_real"] == 40
    moments = [
        moment for each in map(PixelMeans(), (images, others)) for moment in (each.mean(axis=0), np.cov(each, rowvar=False))
    ]
    expected = metrics.frechet_distance(*moments)
    assert measure.of_reconstructions(others)["rFD[rows]"] == pytest.approx(expected, rel=1e-4)


# Extractors


def small_network(preprocess=None):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(6, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(keras.layers.Flatten()(x)), name="small")
    return metrics.FeatureExtractor(model, "conv", preprocess)


def test_any_model_becomes_an_extractor():
    extractor = small_network()
    assert (extractor.name, extractor.dim, len(extractor.hash)) == ("small/conv", 6, 12)
    images = noise(300, 8, 8)
    conv = extractor.model.get_layer("conv")(images / np.float32(255))
    np.testing.assert_allclose(extractor(images), np.mean(conv, axis=(1, 2)), atol=1e-5)
    head = extractor.at("head")
    np.testing.assert_allclose(head(images), extractor.model(images / np.float32(255)), atol=1e-5)
    assert head.hash == extractor.hash
    assert metrics.get(extractor) is extractor
    extractor.model.layers[1].bias.assign_add(np.ones(6, "float32"))
    assert metrics.FeatureExtractor(extractor.model).hash != extractor.hash


def test_an_extractor_is_traced_for_few_sizes_of_each_image_shape():
    traces = []

    def preprocess(images):
        traces.append(images.shape)
        return images[:, :8, :8, :1]

    extractor = small_network(preprocess)
    for n in (256, 300, 200, 1000, 0, 3, 4):
        assert extractor(noise(n, 9, 9, 2)).shape == (n, 6)
    extractor(noise(5, 12, 9, 2))
    assert traces == [(256, 9, 9, 2), (4, 9, 9, 2), (8, 12, 9, 2)]


def test_distances_survive_the_copy_that_tuners_make_of_callbacks():
    distance = metrics.FrechetDistance()
    distance.update_real(noise(20))
    copied = copy.deepcopy(distance)
    copied.update_generated(noise(20))
    assert (copied.n_real, copied.n_generated, distance.n_generated) == (20, 20, 0)


def test_importing_metrics_imports_no_library_beside_keras_and_its_own():
    for path in (ROOT / "keras_genzoo/metrics").glob("*.py"):
        for statement in ast.parse(path.read_text()).body:  # the top level of the module
            names = [each.name for each in getattr(statement, "names", ()) if isinstance(statement, ast.Import)]
            names += [statement.module] if isinstance(statement, ast.ImportFrom) else []
            roots = {name.split(".")[0] for name in names}
            assert roots <= {"keras", "tensorflow", "numpy", "keras_genzoo"} | sys.stdlib_module_names, path


# fashion-cnn


def test_fashion_cnn_is_small_and_its_card_is_true():
    card = json.loads(fashion_cnn.WEIGHTS.with_suffix(".json").read_text())
    assert fashion_cnn.WEIGHTS.stat().st_size <= 2_000_000
    assert hashlib.sha256(fashion_cnn.WEIGHTS.read_bytes()).hexdigest() == card["sha256"]
    assert card["sha256"].startswith(metrics.get("fashion-cnn").hash)
    assert card["test_accuracy"] >= 0.93
    assert card["parameters"] == fashion_cnn.build().count_params()
    assert metrics.get("fashion-cnn") is metrics.get("fashion-cnn")


@pytest.mark.parametrize("shape", [(33, 21, 5), (32, 32, 3), (28, 28, 1), (5, 64, 2)], ids=str)
def test_fashion_cnn_takes_any_image_and_scores_levels_and_floats_alike(shape):
    images = noise(10, *shape)
    extractor = metrics.get("fashion-cnn")
    features = extractor(images)
    assert features.shape == (10, extractor.dim) and features.dtype == np.float32
    np.testing.assert_array_equal(features, extractor(images))
    for dtype in ("float32", "float64"):
        np.testing.assert_array_equal(features, extractor(images / np.array(255, dtype)))
    np.testing.assert_allclose(features[3:4], extractor(images[3:4]), rtol=1e-5, atol=1e-6)


def test_fashion_cnn_averages_channels_and_resizes_smoothly():
    gray = noise(4, 28, 28)
    extractor = metrics.get("fashion-cnn")
    np.testing.assert_allclose(extractor(np.repeat(gray, 3, axis=-1)), extractor(gray), rtol=1e-4, atol=1e-5)
    large = gray.repeat(4, axis=1).repeat(4, axis=2)
    error = np.linalg.norm(extractor(large) - extractor(gray)) / np.linalg.norm(extractor(gray))
    assert error < 0.5  # antialiasing blurs noise a little; without it every fourth pixel would be left
    flat = np.full((1, 112, 112, 1), 77, "uint8")
    np.testing.assert_allclose(extractor(flat), extractor(flat[:, :28, :28]), rtol=1e-4, atol=1e-5)


def test_fashion_cnn_is_the_same_under_any_precision_policy():
    images = noise(4)
    features = metrics.get("fashion-cnn")(images)
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        again = metrics.extractors._fashion_cnn()(images)
    finally:
        keras.config.set_dtype_policy(policy)
    np.testing.assert_array_equal(features, again)


@needs_fashion_mnist
def test_fashion_cnn_classifies_93_percent_of_the_test_images():
    images, labels = fashion_mnist("t10k", 10_000)
    probabilities = metrics.get("fashion-cnn").at("probabilities")(images)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
    assert np.mean(probabilities.argmax(axis=-1) == labels) >= 0.93


@needs_fashion_mnist
def test_real_images_are_far_closer_to_real_images_than_noise_is():
    test, train = fashion_mnist("t10k", 2000)[0], fashion_mnist("train", 2000)[0]
    score = metrics.SampleMetrics(test, train, subsets=10)
    floor, ceiling = score(train), score(noise(2000, 28, 28))
    assert floor["FD[fashion-cnn]"] < 0.01 * ceiling["FD[fashion-cnn]"]
    assert floor["KD[fashion-cnn]"] < 0.01 * ceiling["KD[fashion-cnn]"]
    assert floor["coverage"] > 0.9 and ceiling["coverage"] < 0.05
    assert floor["precision"] > 0.4 and ceiling["precision"] < 0.05
    assert floor["nearest_train[fashion-cnn]"] == 0


# What is refused, and in which words

good = noise()
unequal = np.arange(30.0).reshape(10, 3), np.arange(40.0).reshape(10, 4)
broken = np.where(np.arange(30).reshape(10, 3) == 4, np.nan, 1.0)


def streamed(real, generated, extractor=None):
    distance = metrics.FrechetDistance(extractor or PixelMeans())
    distance.update_real(real)
    distance.update_generated(generated)
    return distance.result()


class Broken(PixelMeans):
    def __call__(self, images):
        return self.value(np.asarray(images, "float32").mean(axis=(2, 3)))

    def __init__(self, value):
        self.value = value


REFUSED = [
    (lambda: streamed(good, good[:1]), r"FD\[rows\] needs at least two generated images, 1 came"),
    (lambda: streamed(good[:0], good), r"FD\[rows\] needs at least two real images, 0 came"),
    (lambda: streamed(good.astype("float32"), good), r"real images are floats between 0 and 255, expected floats in \[0, 1\]"),
    (lambda: streamed(good, np.full((4, 16, 16, 1), np.nan)), "generated images hold NaN or infinite values"),
    (lambda: streamed(good, good.astype("int64")), "generated images are int64, expected uint8"),
    (lambda: streamed(good[..., 0], good), r"real images have shape \(40, 16, 16\), expected \(batch, height, width, channels\)"),
    (lambda: streamed([good, good[0]], good), r"real images have shape \(16, 16, 1\), expected"),
    (lambda: streamed("images", good), "real images are str, expected an array of images or an iterable"),
    (lambda: streamed(None, good), "real images are NoneType, expected an array of images or an iterable"),
    (lambda: streamed(0 * good, good), r"FD\[rows\]: the features of all 40 real images are equal"),
    (lambda: streamed(good, good, Broken(lambda f: f * np.nan)), "features 'rows' of real images hold NaN"),
    (lambda: streamed(good, good, Broken(lambda f: f[:, :3])), r"returned features of shape \(40, 3\) for 40 images"),
    (lambda: metrics.get("vgg"), "unknown features 'vgg'; there are fashion-cnn"),
    (lambda: metrics.get(len), "features of type builtin_function_or_method lack name, hash, resize, dim"),
    (lambda: small_network().at("nothing"), "model `small` has no layer 'nothing'; it has .*conv.*head"),
    (lambda: metrics.frechet_distance(np.zeros(2), np.eye(2), np.zeros(3), np.eye(3)), "do not fit together"),
    (lambda: metrics.frechet_distance(np.zeros(2), np.nan * np.eye(2), np.zeros(2), np.eye(2)), "first covariance holds NaN"),
    (lambda: metrics.kernel_distance(*unequal), "real features have 3 dimensions and generated features 4"),
    (lambda: metrics.kernel_distance(unequal[0], broken), "generated features hold NaN"),
    (lambda: metrics.kernel_distance(unequal[0], unequal[0][:1]), "1 generated image is too few: at least 2 are needed"),
    (lambda: metrics.kernel_distance(unequal[0], unequal[0], subsets=0), "0 subsets of 1000 came"),
    (lambda: metrics.polynomial_mmd(unequal[0], unequal[0][:5]), "10 and 5 features came, expected as many of both"),
    (
        lambda: metrics.frechet_distance(np.zeros(2), np.eye(2), np.zeros(2), np.array([[1, 0.5], [0, 1]])),
        "second covariance is not sy",
    ),
    (
        lambda: metrics.frechet_distance(np.zeros(2), np.diag([1, -0.1]), np.zeros(2), np.eye(2)),
        "first covariance has the negative e",
    ),
    (
        lambda: metrics.frechet_distance(np.zeros(2), np.eye(2), np.array([0, 1e20]), np.eye(2)),
        r"second mean holds values up to 1e\+20",
    ),
    (
        lambda: metrics.sample_scores(1e20 * unequal[0], unequal[0]),
        r"real features hold values up to .*, expected at most 1e\+15",
    ),
    (lambda: metrics.precision_recall(unequal[0][:3], unequal[0]), "3 real images are too few: at least 4 are needed"),
    (lambda: metrics.density_coverage(unequal[0], unequal[0][:5]), "5 generated images are too few: at least 6"),
    (lambda: metrics.sample_scores(unequal[0].ravel(), unequal[0]), r"real features have shape \(30,\), expected \(n, dim\)"),
    (lambda: metrics.mse(good, good[:3]), r"images have shape \(40, 16, 16, 1\) and reconstructions \(3, 16, 16, 1\)"),
    (lambda: metrics.psnr(good, good * 1.0), "reconstructions are floats between 0 and 255"),
    (lambda: metrics.mse(good[:0], good[:0]), "there is nothing to compare"),
    (lambda: metrics.ssim(good[:, :8], good[:, :8]), "images of 8x16 pixels are smaller than SSIM's window of 11x11"),
]


@pytest.mark.parametrize(("act", "sentence"), REFUSED, ids=[sentence[:40] for _, sentence in REFUSED])
def test_bad_input_is_refused_in_one_sentence(act, sentence):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=sentence) as refusal:
            act()
    assert "\n" not in str(refusal.value)
