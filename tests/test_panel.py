"""Memorisation, classes, intervals and extrapolation against closed forms, torch-fidelity and dgm-eval."""

import json
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from keras_genzoo import metrics

ROOT = Path(__file__).parents[1]
REFERENCE = json.loads((ROOT / "tests/data/metrics_reference.json").read_text())
SCRIPT = runpy.run_path(ROOT / "scripts/reference_metrics.py")


@pytest.fixture
def random():
    return np.random.default_rng(0)


# Memorisation


@pytest.mark.parametrize("case", REFERENCE["cases"])
def test_authenticity_is_that_of_dgm_eval(case):
    seed, *sizes = SCRIPT["CASES"][case]
    train, generated = SCRIPT["features"](seed, *sizes)
    wanted = REFERENCE["cases"][case]["authenticity"] * len(generated)
    assert metrics.authenticity(generated, train) * len(generated) == pytest.approx(np.rint(wanted), abs=1e-9)  # a count
    assert wanted == pytest.approx(np.rint(wanted), abs=1e-3)  # that a float32 percentage rounded


def test_data_copying_is_that_of_dgm_eval_but_for_its_correction_of_one_half():
    train, held_out, generated = SCRIPT["clusters"]()
    expected = REFERENCE["clusters"]
    assert [each.sum() for each in (train, held_out, generated)] == pytest.approx(expected["checksum"], rel=1e-12)
    _, n, m = np.array(SCRIPT["CLUSTERS"]).T
    halves = 0.5 / np.sqrt(n * m * (n + m + 1) / 12)  # which it adds to U, by cell; the paper does not
    wanted = expected["data_copying"] - np.average(halves, weights=n)
    assert metrics.data_copying(generated, held_out, train) == pytest.approx(wanted, rel=1e-10)


def test_train_ratio_compares_medians_of_distances_to_the_nearest_training_feature():
    train = np.arange(10.0)[:, None]
    held_out = np.array([[0.25], [3.25], [7.8]])
    assert metrics.train_ratio(np.array([[0.5], [20.0], [4.5]]), held_out, train) == pytest.approx(0.5 / 0.25)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_fresh_draws_are_as_authentic_as_neighbours_are_not_mutual(dim, random):
    # A point and its nearest neighbour are nearest to each other with probability V / (2 V - overlap): V of a unit ball, and
    # its overlap with one around a point on its border. 2/3 on a line, 0.6215 in a plane.
    mutual = 1 / (2 - special.betainc((dim + 1) / 2, 1 / 2, 3 / 4))
    train = random.uniform(size=(8000, dim))
    fresh = random.uniform(0.1, 0.9, size=(4000, dim))
    assert metrics.authenticity(fresh, train) == pytest.approx(1 - mutual, abs=0.03)  # four standard errors


def test_copies_alone_reach_the_least_value_of_the_mann_whitney_statistic(random):
    train, held_out = random.normal(size=(300, 4)), random.normal(size=(100, 4))
    least = np.sqrt(3 * 100 * 50 / (100 + 50 + 1))  # n m / 2 over its standard deviation
    assert metrics.data_copying(train[:50], held_out, train, cells=1) == pytest.approx(-least, rel=1e-12)
    assert metrics.data_copying(held_out[:50] + 1000, held_out, train, cells=1) == pytest.approx(least, rel=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_copies_are_told_from_fresh_draws(dtype, random):
    train, held_out, fresh = (random.normal(size=(n, 4)).astype(dtype) for n in (3000, 800, 800))
    memorisation = metrics.Memorisation(held_out, train)
    copies = memorisation(train[:800])
    assert copies["nearest_train"] == copies["train_ratio"] == copies["authenticity"] == 0
    assert copies["data_copying"] < -15
    near = memorisation(train[:800] + np.array(0.01, dtype) * random.normal(size=(800, 4)).astype(dtype))
    assert near["train_ratio"] < 0.2 and near["authenticity"] < 0.01 and near["data_copying"] < -15
    drawn = memorisation(fresh)
    assert drawn["train_ratio"] == pytest.approx(1, abs=0.06)
    assert 0.4 < drawn["authenticity"] < 0.6
    assert abs(drawn["data_copying"]) < 3
    far = memorisation(1.5 * fresh)
    assert far["train_ratio"] > 1.2 and far["authenticity"] > drawn["authenticity"] and far["data_copying"] > 3


def test_scores_together_are_the_scores_alone_and_take_one_search_each(random, monkeypatch):
    train, held_out, generated = random.normal(size=(300, 3)), random.normal(size=(200, 3)), 1.1 * random.normal(size=(250, 3))
    alone = {
        "nearest_train": metrics.nearest_neighbour_distances(generated, train).mean(),
        "train_ratio": metrics.train_ratio(generated, held_out, train),
        "authenticity": metrics.authenticity(generated, train),
        "data_copying": metrics.data_copying(generated, held_out, train),
    }
    searched = []
    search = metrics.memorisation.nearest
    count = lambda points, train: searched.append(0 if points is None else len(points)) or search(points, train)  # noqa: E731
    monkeypatch.setattr(metrics.memorisation, "nearest", count)
    memorisation = metrics.Memorisation(held_out, train)
    assert memorisation(generated) == pytest.approx(alone, rel=1e-12)
    assert searched.count(250) == searched.count(200) == 1
    few = sum(searched) - 450  # whose nearest training feature lies in another cell than they
    assert few < 100
    memorisation(generated)
    assert searched.count(200) == 1


def test_scores_together_leave_out_what_has_nothing_to_compare_with(random):
    train, held_out, generated = random.normal(size=(3, 100, 3))
    assert set(metrics.Memorisation(held_out, train)(generated[:10])) == {"nearest_train", "train_ratio", "authenticity"}
    assert set(metrics.Memorisation(train, train)(generated)) == {"nearest_train", "authenticity", "data_copying"}


def test_distances_in_cells_are_to_training_features_of_the_cell(random):
    train, held_out, generated = random.normal(size=(200, 2)), random.normal(size=(150, 2)), random.normal(size=(180, 2))
    memorisation = metrics.Memorisation(held_out, train, cells=4)
    real = memorisation._real
    cells, train_cells = np.linalg.norm(generated[:, None] - real["centres"], axis=-1).argmin(axis=1), real["cells"]
    distances = np.linalg.norm(generated[:, None] - train, axis=-1)
    brute = np.where(cells[:, None] == train_cells, distances, np.inf).min(axis=1)
    assert (brute > distances.min(axis=1)).any()
    ours = memorisation._within_cells(generated, cells, distances.min(axis=1), distances.argmin(axis=1))
    np.testing.assert_allclose(ours, brute, rtol=1e-12)


def test_cells_with_few_generated_features_are_left_out(random):
    near, far = random.normal(size=(2, 300, 3)) + np.array([0, 50])[:, None, None]
    train, held_out = np.concatenate([near[:200], far[:200]]), np.concatenate([near[200:], far[200:]])
    copies = np.concatenate([near[:100], far[:19]])
    expected = -np.sqrt(3 * 100 * 100 / 201)
    assert metrics.data_copying(copies, held_out, train, cells=2) == pytest.approx(expected, rel=1e-12)
    more = np.concatenate([near[:100], far[:20]])
    expected = (expected - np.sqrt(3 * 100 * 20 / 121)) / 2
    assert metrics.data_copying(more, held_out, train, cells=2) == pytest.approx(expected, rel=1e-12)


def test_memorisation_is_measured_in_any_dtype(random):
    train, held_out, generated = (random.integers(0, 256, (n, 9), dtype=np.uint8) for n in (200, 100, 100))
    scores = metrics.Memorisation(held_out, train)(generated)
    mixed = metrics.Memorisation(held_out.astype("float32"), train.astype("float64"))(generated.astype("int64"))
    assert scores == pytest.approx(mixed, rel=1e-6)


# Classes


@pytest.mark.parametrize("case", REFERENCE["logits"])
def test_inception_score_is_that_of_torch_fidelity(case):
    seed, *sizes, splits = SCRIPT["LOGITS"][case]
    logits, expected = SCRIPT["logits"](seed, *sizes), REFERENCE["logits"][case]
    assert logits.sum() == pytest.approx(expected["checksum"], rel=1e-12)
    assert metrics.inception_score(logits, splits) == pytest.approx(expected["inception_score"], rel=1e-6)


def test_inception_score_lies_between_one_and_the_number_of_classes():
    assert metrics.inception_score(np.zeros((50, 7))) == pytest.approx((1, 0))
    assert metrics.inception_score(np.tile([[5.0, 0, 0]], (50, 1))) == pytest.approx((1, 0))
    sure = 1e4 * np.tile(np.eye(5), (20, 1))  # where other probabilities are 0 in float64
    assert metrics.inception_score(sure, splits=1) == pytest.approx((5, 0))


def test_modes_are_counted_and_their_shares_compared():
    real = np.eye(6)[[0] * 4 + [1] * 2 + [2] * 2]
    generated = np.eye(6)[[0] * 3 + [1]]
    expected = 3 / 4 * np.log((3 / 4) / (1 / 2)) + 1 / 4 * np.log((1 / 4) / (1 / 4))
    assert metrics.mode_count(real, generated) == {
        "modes": 2,
        "modes_real": 3,
        "modes_foreign": 0,
        "rarest_mode": 0,
        "mode_kl": pytest.approx(expected),
    }
    assert metrics.mode_count(real, real)["mode_kl"] == pytest.approx(0, abs=1e-12)
    foreign = metrics.mode_count(generated, real)  # of a class that the data lack
    assert (foreign["modes"], foreign["modes_real"], foreign["modes_foreign"], foreign["mode_kl"]) == (2, 2, 0.25, np.inf)


def test_per_class_distances_show_the_class_that_is_off(random):
    labels = np.arange(300) % 3
    real = random.normal(size=(300, 5)) + labels[:, None]
    order = random.permutation(300)
    generated = (real + np.where(labels == 1, 2.0, 0.0)[:, None])[order]
    distances = metrics.per_class_frechet(real, labels, generated, labels[order])
    assert distances == {0: pytest.approx(0, abs=1e-6), 1: pytest.approx(20, rel=1e-6), 2: pytest.approx(0, abs=1e-6)}
    assert [type(label) for label in distances] == [int, int, int]
    with pytest.warns(UserWarning, match="class 0 from 4 images and 5 features is biased upwards, as those of 2 more") as warned:
        metrics.per_class_frechet(real[:12], labels[:12], real, labels)
    assert len(warned) == 1


def test_distances_within_classes_are_of_the_classes_that_have_enough_images(random):
    labels = np.repeat([0, 1, 2, 3], [50, 25, 5, 50])
    real, generated = random.normal(size=(2, 130, 30))
    found = metrics.within_classes(real, labels, generated, np.where(labels == 3, 0, labels), {"subsets": 3})
    assert found.keys() == {"FD", "KD"} and list(found["FD"]) == [0] and list(found["KD"]) == [0, 1]
    moments = [
        moment for each in (real[:50], generated[labels % 3 == 0]) for moment in (each.mean(0), np.cov(each, rowvar=False))
    ]
    assert found["FD"][0] == pytest.approx(metrics.frechet_distance(*moments), rel=1e-9)
    assert found["KD"][1] == metrics.kernel_distance(real[50:75], generated[50:75], subsets=3)


# The kernel distance


def test_kernel_interval_holds_the_distance_as_often_as_it_says(random):
    # E k(x, y) = 1 + 3 a^2 b^2 / dim for independent centred Gaussians of variances a^2 and b^2.
    dim, scale = 4, 1.5
    distance = 3 * (1 - scale**2) ** 2 / dim
    inside = 0
    for _ in range(200):
        mean, low, high = metrics.kernel_interval(
            random.normal(size=(400, dim)), scale * random.normal(size=(400, dim)), level=0.9
        )
        assert low < mean < high
        inside += low < distance < high
    assert 0.8 < inside / 200 < 0.97  # 0.9 and four standard errors, and skew


def test_kernel_interval_is_of_disjoint_blocks(random):
    x, y = random.normal(size=(103, 6)), random.normal(size=(90, 6)) + 0.5
    mean, low, high = metrics.kernel_interval(x, y, blocks=4, seed=3)
    draw = np.random.RandomState(3)
    i, j = draw.permutation(103)[:88].reshape(4, 22), draw.permutation(90)[:88].reshape(4, 22)
    blocks = [metrics.polynomial_mmd(x[a], y[b]) for a, b in zip(i, j, strict=True)]
    half = 3.182446 * np.std(blocks, ddof=1) / 2  # t of 3 degrees of freedom, as tabled
    assert (mean, low, high) == pytest.approx((np.mean(blocks), mean - half, mean + half), rel=1e-6)


def test_normalised_kernel_distances_are_free_of_units(random):
    x, y = random.normal(size=(300, 8)) + 1, random.normal(size=(300, 8))
    settings = dict(subsets=5, subset_size=100)
    raw = metrics.kernel_distance(x / np.sqrt(np.mean(x**2)), y / np.sqrt(np.mean(x**2)), **settings)
    for scale in (1, 1e-3, 1e3):
        assert metrics.kernel_distance(scale * x, scale * y, **settings, normalise=True) == pytest.approx(raw, rel=1e-9)
        interval = metrics.kernel_interval(scale * x, scale * y, normalise=True)
        assert interval == pytest.approx(metrics.kernel_interval(x, y, normalise=True), rel=1e-9)
    assert metrics.kernel_distance(2 * x, 2 * y, **settings) != pytest.approx(raw, rel=0.1)


def test_a_normalised_kernel_distance_of_a_stream_has_another_name(random):
    class Pixels:
        name, hash, resize, dim = "pixels", "none", "none", 4

        def __call__(self, images):
            return np.asarray(images, "float32").reshape(len(images), 4)

    real, generated = random.integers(0, 256, (2, 60, 2, 2, 1), dtype=np.uint8)
    distance = metrics.KernelDistance(Pixels(), subsets=3, subset_size=20, normalise=True)
    distance.update_real(real)
    distance.update_generated(generated)
    assert distance.name == "KD_normalised[pixels]"
    assert metrics.KernelDistance(Pixels()).name == "KD[pixels]"
    flat = (each.reshape(60, 4).astype("float64") for each in (real, generated))
    assert distance.result() == pytest.approx(metrics.kernel_distance(*flat, 3, 20, normalise=True), rel=1e-6)


# Extrapolation


@pytest.mark.parametrize(("dim", "start"), [(16, 200), (64, 200), (128, 256)])
def test_extrapolation_takes_the_bias_away(dim, start, random):
    scale, shift = 1.3, 0.1
    truth = dim * (shift**2 + (scale - 1) ** 2)
    real = metrics.GaussianStatistics(dim)  # of so many features that they have no bias: mean 0 and covariance 1
    whole = np.sqrt((2 * dim - 1) / 2) * np.concatenate([np.eye(dim), -np.eye(dim)])
    real.update(whole)
    np.testing.assert_allclose(real.covariance, np.eye(dim), atol=1e-12)
    generated = scale * random.normal(size=(2000, dim)) + shift
    score = metrics.frechet_infinity(real, generated)
    assert score.sizes[0] == start and score.sizes[-1] == 2000 and len(score.sizes) == len(score.distances) == 15
    biased = score.distances[-1]
    assert abs(score.intercept - truth) < 0.4 * (biased - truth)
    assert score.intercept == pytest.approx(truth, rel=0.06)
    assert score.slope > 0


def test_extrapolation_fits_a_line_in_one_over_n(random):
    real, generated = random.normal(size=(500, 4)), random.normal(size=(300, 4)) + 1
    score = metrics.frechet_infinity(real, generated, points=5, seed=1)
    slope, intercept = np.polyfit(1 / np.array(score.sizes), score.distances, 1)
    assert (score.slope, score.intercept) == pytest.approx((slope, intercept))
    assert score.sizes == (30, 97, 165, 232, 300)
    moments = [moment for each in (real, generated) for moment in (each.mean(axis=0), np.cov(each, rowvar=False))]
    assert score.distances[-1] == pytest.approx(metrics.frechet_distance(*moments), rel=1e-9)
    residuals = np.array(score.distances) - intercept - slope / np.array(score.sizes)
    assert score.r_squared == pytest.approx(1 - np.sum(residuals**2) / np.sum((score.distances - np.mean(score.distances)) ** 2))
    assert score == metrics.frechet_infinity(real, generated, points=5, seed=1)
    statistics = metrics.GaussianStatistics(4)
    statistics.update(real)
    assert metrics.frechet_infinity(statistics, generated, points=5, seed=1).intercept == pytest.approx(score.intercept)


def test_extrapolation_from_too_few_images_is_warned_about(random):
    real, generated = random.normal(size=(2, 100, 30))
    with pytest.warns(UserWarning, match="from 100 real and 100 generated images and 30 features cannot be extrapolated"):
        score = metrics.frechet_infinity(real, generated)
    assert score.sizes[0] == 50
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.frechet_infinity(real[:, :25], generated[:, :25])


def test_a_collapsed_generator_is_extrapolated_to_its_own_distance(random):
    real = random.normal(size=(400, 3))
    expected = np.sum(real.mean(axis=0) ** 2) + np.trace(np.cov(real, rowvar=False))
    score = metrics.frechet_infinity(real, np.zeros((100, 3)))
    assert (score.intercept, score.slope, score.r_squared) == (pytest.approx(expected), pytest.approx(0, abs=1e-9), 1)


# What is refused, and in which words

some = np.random.default_rng(1).normal(size=(60, 3))
broken = np.where(np.arange(180).reshape(60, 3) == 4, np.nan, some)
labels = np.arange(60) % 2

REFUSED = [
    (lambda: metrics.train_ratio(some, some, broken), "training features hold NaN"),
    (lambda: metrics.train_ratio(some, broken, some), "held-out features hold NaN"),
    (lambda: metrics.train_ratio(broken, some + 1, some), "generated features hold NaN"),
    (lambda: metrics.train_ratio(some, some, some), "at least half of the 60 held-out images have the features of a training"),
    (lambda: metrics.train_ratio(some[:0], some + 1, some), "0 generated images are too few: at least 1"),
    (lambda: metrics.train_ratio(some, some[:, :2], some), "held-out features have 2 dimensions and training features 3"),
    (lambda: metrics.authenticity(some, 0 * some), "the features of all 60 training images are equal"),
    (lambda: metrics.authenticity(some, some[:1]), "1 training image is too few: at least 2"),
    (lambda: metrics.authenticity(some.ravel(), some), r"generated features have shape \(180,\), expected \(n, dim\)"),
    (lambda: metrics.authenticity(broken, some), "generated features hold NaN"),
    (lambda: metrics.data_copying(some, some, 0 * some), "the features of all 60 training images are equal"),
    (lambda: metrics.data_copying(some, some, some[..., None]), r"training features have shape \(60, 3, 1\)"),
    (lambda: metrics.data_copying(some[:10], some, some), "no cell of 3 holds 20 of the 10 generated images and a held-out one"),
    (lambda: metrics.data_copying(some, some, some, cells=0), "0 cells of 60 training images came"),
    (lambda: metrics.data_copying(some, some, some, cells=61), "61 cells of 60 training images came"),
    (lambda: metrics.nearest_neighbour_distances(some, some[:0]), "0 training images are too few"),
    (lambda: metrics.inception_score(broken), "logits hold NaN"),
    (lambda: metrics.inception_score(some[:5]), "10 parts of 5 images came"),
    (lambda: metrics.inception_score(some[0]), r"logits have shape \(3,\), expected \(n, dim\)"),
    (lambda: metrics.mode_count(some, broken), "generated logits hold NaN"),
    (lambda: metrics.mode_count(some, some[:0]), r"real logits have shape \(60, 3\) and generated logits \(0, 3\)"),
    (lambda: metrics.mode_count(some, some[:, :2]), r"generated logits \(60, 2\), expected as many classes"),
    (lambda: metrics.per_class_frechet(some, labels, some, labels[:9]), r"generated labels have shape \(9,\) for 60 images"),
    (lambda: metrics.per_class_frechet(some, labels, some, 0 * labels), "class 1 needs at least two generated images, 0 came"),
    (lambda: metrics.per_class_frechet(0 * some, labels, some, labels), "class 0: the features of all 30 real images are equal"),
    (lambda: metrics.per_class_frechet(some, labels, broken, labels), "generated features hold NaN"),
    (lambda: metrics.within_classes(some, labels, some, labels[:9]), r"generated labels have shape \(9,\) for 60 images"),
    (lambda: metrics.class_count(labels / 2, labels), r"classes are float64 \(60,\) and int64 \(60,\), expected a whole number"),
    (lambda: metrics.kernel_interval(some, some, blocks=1), "1 blocks of 60 images came, expected at least 2 blocks"),
    (lambda: metrics.kernel_interval(some, some[:15]), "10 blocks of 1 images came, expected at least 2 blocks of at least 2"),
    (lambda: metrics.kernel_interval(some, some, level=95), "level is 95, expected a probability"),
    (lambda: metrics.kernel_interval(some, broken), "generated features hold NaN"),
    (lambda: metrics.kernel_interval(0 * some, some, normalise=True), "the features of all 60 real images are 0"),
    (lambda: metrics.kernel_distance(0 * some, some, normalise=True), "the features of all 60 real images are 0"),
    (lambda: metrics.frechet_infinity(some, broken), "generated features hold NaN"),
    (lambda: metrics.frechet_infinity(some[:, 0], some), r"real features have shape \(60,\)"),
    (lambda: metrics.frechet_infinity(some, some[:, :2]), "real features have 3 dimensions and generated features 2"),
    (lambda: metrics.frechet_infinity(some, some[:14]), "15 points of 14 generated images came"),
    (lambda: metrics.frechet_infinity(some, some, points=2), "2 points of 60 generated images came, expected at least 3"),
    (lambda: metrics.frechet_infinity(0 * some, some), "the features of all 60 real images are equal"),
]


@pytest.mark.parametrize(("act", "sentence"), REFUSED, ids=[sentence[:40] for _, sentence in REFUSED])
def test_bad_input_is_refused_in_one_sentence(act, sentence):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=sentence) as refusal:
            act()
    assert "\n" not in str(refusal.value)


# Published statistics


class Rows:
    """An extractor: the mean of each of the first three rows."""

    name, hash, resize, dim = "rows", "none", "none", 3

    def __call__(self, images):
        return np.asarray(images, "float32")[:, :3].mean(axis=(2, 3))


def test_statistics_of_others_are_read_and_compared_with(tmp_path, random):
    real, made = random.integers(0, 256, (2, 60, 4, 4, 1), dtype=np.uint8)
    features = [Rows()(each).astype("float64") for each in (real, made)]
    moments = [moment for each in features for moment in (each.mean(axis=0), np.cov(each, rowvar=False))]
    path = tmp_path / "reference.npz"
    np.savez(path, arr_0=real, mu=moments[0], sigma=moments[1], mu_s=np.zeros(7), sigma_s=np.eye(7))  # as a batch of ADM
    assert metrics.is_reference(path) and not metrics.is_reference(tmp_path)
    assert metrics.read_reference(path, spatial=True).dim == 7
    with pytest.raises(ValueError, match="holds statistics of 7 features, and inception-spatial has 2023; take the features"):
        metrics.reference_scores(metrics.read_reference(path, spatial=True), made, "inception-spatial")
    scores = metrics.reference_scores(metrics.read_reference(path), made, Rows())
    assert scores["FD[rows]"] == pytest.approx(metrics.frechet_distance(*moments), rel=1e-9)
    assert (scores["n_generated"], scores["features_dim"], scores["reference"]) == (60, 3, str(path))
    with pytest.raises(ValueError, match="holds statistics of 3 features, and inception has 2048; take the features"):
        metrics.reference_scores(metrics.read_reference(path), made)


STATISTICS = [
    ({"mu": np.zeros(2), "sigma": np.eye(3)}, r"holds mu \(2,\) and sigma \(3, 3\), expected \(dim,\) and \(dim, dim\)"),
    ({"mu": np.array([0, np.nan]), "sigma": np.eye(2)}, "reference.npz the mean holds NaN"),
    ({"mu": np.zeros(2), "sigma": np.array([[1, 2], [2, 1]])}, "the covariance has the negative eigenvalue -1"),
    ({"mu": np.zeros(2), "sigma": np.array([[1, 0], [1, 1]])}, "the covariance is not symmetric"),
    ({"mu": np.zeros(2), "sigma": np.array([{}, {}])}, "without pickles"),
    ({"mean": np.zeros(2)}, "holds no statistics, expected a .npz file of the arrays mu"),
]


@pytest.mark.parametrize(("arrays", "sentence"), STATISTICS, ids=[sentence[:30] for _, sentence in STATISTICS])
def test_statistics_that_are_none_are_refused(arrays, sentence, tmp_path):
    np.savez(tmp_path / "reference.npz", **arrays)
    with pytest.raises(ValueError, match=sentence):
        metrics.read_reference(tmp_path / "reference.npz")
