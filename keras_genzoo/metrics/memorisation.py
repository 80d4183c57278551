"""Whether generated images were drawn or remembered: scores of their distances to the nearest training images.

No distance between distributions sees a copy of the training images; these do, and only these. All of them are functions of
features, arrays `(n, dim)`. float32 ones stay float32, since the searches widen them block by block: all scores of 50,000
generated against 50,000 training and 10,000 held-out features of 2,048 numbers took 2.3 GiB, and eight minutes of two cores.
"""

import functools
import math

import numpy as np

from keras_genzoo.metrics.features import check_features
from keras_genzoo.metrics.neighbours import nearest

LEAST = 20  # generated features in a cell, below which the normal law of its Mann-Whitney statistic is no longer near


def nearest_neighbour_distances(generated, train):
    """Distance of each generated image to the nearest training image; near 0 for a copy.

    Read it beside the same number of unseen real images, or take `train_ratio`: generated images that lie closer to the
    training images than those do are remembered, not drawn.

    Args:
        generated: array `(n, ...)`, features or pixels; axes after the first are flattened.
        train: array `(m, ...)`.

    Returns:
        float64 array `(n,)`, Euclidean.

    Raises:
        ValueError: values that are not finite, another number of values a row, or no training images.
    """
    train, generated = (np.reshape(each, (len(each), math.prod(np.shape(each)[1:]))) for each in (train, generated))
    return _nearest(*_comparable((generated, "generated", 1), (train, "training", 1)))[0]


def train_ratio(generated, held_out, train):
    """How near generated images are to the training images, for real images they have not seen.

        median_i min_t |g_i - t|  /  median_j min_t |h_j - t|

    About 1 for fresh draws of the data's distribution, near 0 for copies; above 1 where generated images lie off the data.

    Args:
        generated: array of features `(n, dim)`.
        held_out: array of features `(m, dim)`, of real images that no model was trained on: the test split.
        train: array of features `(l, dim)`. All training images, or as many for all models.

    Returns:
        float, at least 0.

    Raises:
        ValueError: features that are not finite or not `(n, dim)`, a side without any, training features that are all equal,
            or half of the held-out features among the training features.

    Example:

    >>> train, held_out = np.arange(10.0)[:, None], np.array([[0.25], [1.25], [2.75]])
    >>> keras_genzoo.metrics.train_ratio(np.array([[0.5], [4.5]]), held_out, train)
    2.0
    """
    return Memorisation(held_out, train).train_ratio(generated)


def authenticity(generated, train):
    """Share of generated features that are no copies (Alaa et al. 2022, arXiv:2102.08921).

    A feature is authentic if it lies farther from its nearest training feature than that one lies from its own nearest
    other training feature; dgm-eval calls the share in percent AuthPct.

    Fresh draws do not score 1, since some of them and their nearest training feature are nearest to each other: where the
    density is flat at the scale of these distances they score 1/3 on a line, 0.38 in a plane, and towards 1/2 in many
    dimensions. Real features are not so even (2,000 test images of Fashion-MNIST score 0.66 against 10,000 training images
    on `fashion-cnn`), so it is read beside the score of held-out images. Copies score 0.

    Args:
        generated: array of features `(n, dim)`.
        train: array of features `(m, dim)`.

    Returns:
        float in [0, 1].

    Raises:
        ValueError: features that are not finite or not `(n, dim)`, fewer than two training features, or all of them equal.

    Example:

    >>> train = np.array([[0.0], [1.0], [5.0]])
    >>> keras_genzoo.metrics.authenticity(np.array([[0.1], [2.5], [5.0], [9.5]]), train)  # 2.5 and 9.5 are
    0.5
    """
    generated, train = _comparable((generated, "generated", 1), (train, "training", 2))
    return _authentic(*_nearest(generated, train), _nearest(None, train)[0])


def data_copying(generated, held_out, train, cells=3, seed=0):
    """C_T, a three-sample test of data copying (Meehan, Chaudhuri and Dasgupta 2020, arXiv:2004.05675).

        C_T = sum_c P(c) Z_c / sum_c P(c),  Z_c = (U_c - n m / 2) / sqrt(n m (n + m + 1) / 12)

    over cells c of the space of features, with P(c) the share of the held-out features in a cell, n held-out and m generated
    features there, and U_c the Mann-Whitney statistic: the number of pairs in which the generated feature lies farther from
    the nearest training feature of the cell than the held-out one does. Below -3: the generated images lie closer to the
    training images than unseen real images do, and are copies; above 3: farther, so the model underfits; between, neither
    shows.

    The cells are those of k-means on the training features; cells with fewer than 20 generated features are left out. The
    default of 3 cells, that of dgm-eval, leaves hundreds on each side of a cell with 2,000 generated, 2,000 held-out and
    10,000 training images, where the normal law of Z holds and few copies suffice: of Fashion-MNIST on `fashion-cnn`, fresh
    images scored between -1 and 2, copies -35, and a quarter of copies among fresh images -8 (10 cells: -4). The score grows
    with the numbers of images (copies alone have -sqrt(3 n / 2) in a cell of n each), so it is compared at equal numbers.
    Features are taken as they are, while dgm-eval first projects those of more than 64 dimensions on 64 principal components.

    Args:
        generated: array of features `(n, dim)`.
        held_out: array of features `(m, dim)`, of real images that no model was trained on: the test split.
        train: array of features `(l, dim)`.
        cells: int. Defaults to 3.
        seed: int. Of k-means. Defaults to 0.

    Returns:
        float; that of fresh draws varies around 0 by about 1 / sqrt(cells).

    Raises:
        ValueError: features that are not finite or not `(n, dim)`, training features that are all equal or fewer than cells,
            or no cell with 20 generated features and any held-out one.

    Example:

    >>> random = np.random.default_rng(0)
    >>> train, held_out, fresh = (random.normal(size=(n, 8)) for n in (500, 200, 200))
    >>> keras_genzoo.metrics.data_copying(train[:200], held_out, train) < -3
    True
    >>> abs(keras_genzoo.metrics.data_copying(fresh, held_out, train)) < 3
    True
    """
    return Memorisation(held_out, train, cells, seed).data_copying(generated)


class Memorisation:
    """The scores of this module for many sets of generated features, each search for neighbours made once.

    Everything that depends on the real images alone (neighbours of the held-out and of the training features among the
    training features, cells) is computed at its first use and kept; a set of generated features then takes one search.

    Args:
        held_out: array of features `(m, dim)`, of real images that no model was trained on: the test split.
        train: array of features `(l, dim)`.
        cells, seed: see `data_copying`.
        remember: callable of a callable without arguments, to a dict of arrays, that may have its result from an earlier
            process. Defaults to calling it.

    Raises:
        ValueError: as the functions of the same names.

    Example:

    >>> random = np.random.default_rng(0)
    >>> train, held_out = random.normal(size=(500, 8)), random.normal(size=(200, 8))
    >>> sorted(keras_genzoo.metrics.Memorisation(held_out, train)(train[:100]))
    ['authenticity', 'data_copying', 'nearest_train', 'train_ratio']
    """

    def __init__(self, held_out, train, cells=3, seed=0, remember=lambda compute: compute()):
        self.held_out, self.train = _comparable((held_out, "held-out", 1), (train, "training", 2))
        if not 1 <= cells <= len(self.train):
            raise ValueError(f"{cells} cells of {len(self.train)} training images came, expected between 1 and as many.")
        self.cells, self.seed, self.remember = cells, seed, remember

    def __call__(self, generated):
        """All scores: a dict of `nearest_train` (the mean distance), `train_ratio`, `authenticity` and `data_copying`, the
        second where most held-out images are no training images, the last where there are images enough for it."""
        generated = self._take(generated)
        found = _nearest(generated, self.train)
        scores = {
            "nearest_train": float(found[0].mean()),
            "train_ratio": self._ratio(found[0]),
            "authenticity": _authentic(*found, self._real["own"]),
            "data_copying": self._copying(generated, *found),
        }
        return {name: score for name, score in scores.items() if score is not None}

    def train_ratio(self, generated):
        """See the function `train_ratio`."""
        ratio = self._ratio(_nearest(self._take(generated), self.train)[0])
        if ratio is None:
            raise ValueError(
                f"at least half of the {len(self.held_out)} held-out images have the features of a training image, so "
                f"distances cannot be told by them; hold images out that are not among the training images."
            )
        return ratio

    def data_copying(self, generated):
        """See the function `data_copying`."""
        generated = self._take(generated)
        score = self._copying(generated, *_nearest(generated, self.train))
        if score is None:
            raise ValueError(
                f"no cell of {self.cells} holds {LEAST} of the {len(generated)} generated images and a held-out one; take more "
                f"images or fewer cells."
            )
        return score

    def _take(self, generated):
        return _comparable((generated, "generated", 1), (self.train, "training", 2), dtype=self.train.dtype)[0]

    @functools.cached_property
    def _real(self):
        """What depends on the real images alone: `distances` and `places` of the nearest training features of the held-out ones,
        distances of the training features to the nearest `own` one, their `cells` and the `centres` of these."""

        def compute():
            from sklearn.cluster import KMeans

            found = KMeans(self.cells, n_init=10, random_state=self.seed).fit(self.train)
            distances, places = _nearest(self.held_out, self.train)
            own = _nearest(None, self.train)[0]
            cells, centres = found.labels_, found.cluster_centers_
            return {"distances": distances, "places": places, "own": own, "cells": cells, "centres": centres}

        return self.remember(compute)

    def _ratio(self, distances):
        median = np.median(self._real["distances"])
        return float(np.median(distances) / median) if median > 0 else None

    def _copying(self, generated, distances, nearest):
        from scipy.stats import ranksums
        from sklearn.metrics import pairwise_distances_argmin

        centres = self._real["centres"]
        generated_cells, held_out_cells = (pairwise_distances_argmin(each, centres) for each in (generated, self.held_out))
        of_generated = self._within_cells(generated, generated_cells, distances, nearest)
        of_held_out = self._within_cells(self.held_out, held_out_cells, self._real["distances"], self._real["places"])
        weights, scores = [], []
        for cell in range(self.cells):
            here, there = of_generated[generated_cells == cell], of_held_out[held_out_cells == cell]
            if len(here) >= LEAST and len(there):
                weights.append(len(there))
                scores.append(ranksums(here, there).statistic)  # the standardised U
        return float(np.average(scores, weights=weights)) if weights else None

    def _within_cells(self, points, cells, distances, nearest):
        """Distances to the nearest training feature in the same cell: those already known, unless it lies in another."""
        train_cells = self._real["cells"]
        abroad = train_cells[nearest] != cells
        distances = distances.copy()
        for cell in np.unique(cells[abroad]):
            some = abroad & (cells == cell)
            distances[some] = _nearest(points[some], self.train[train_cells == cell])[0]
        return distances


def _comparable(*sides, dtype=None):
    """The arrays, of one float dtype, after one sentence is raised unless they are features that can be compared.

    Args:
        *sides: tuples of an array, what its images are called, and the least number of them; the last are the training
            features.
        dtype: what the arrays become. Defaults to float32 if it holds all of them, else float64.
    """
    arrays = [check_features(each, f"{what} features") for each, what, _ in sides]
    train = arrays[-1]
    for each, (_, what, least) in zip(arrays, sides, strict=True):
        if each.shape[1] != train.shape[1]:
            raise ValueError(f"{what} features have {each.shape[1]} dimensions and training features {train.shape[1]}.")
        if (n := len(each)) < least:
            raise ValueError(f"{n} {what} {'image is' if n == 1 else 'images are'} too few: at least {least} are needed.")
    if sides[-1][2] > 1 and (train == train[0]).all():
        raise ValueError(f"the features of all {len(train)} training images are equal, so no distance can be told by them.")
    # One dtype, float32 or float64, and contiguous: else scikit-learn's search is a slower one that takes more memory.
    dtype = dtype or np.result_type("float32", *(each.dtype for each in arrays))
    return [np.ascontiguousarray(each, dtype) for each in arrays]


def _nearest(points, train):
    """Distance of each point to the nearest training feature, and which one that is; of None, of each training feature to the
    nearest other one."""
    distances, places = nearest(points, train)
    return distances[:, 0], places[:, 0]


def _authentic(distances, nearest, own):
    return float(np.mean(distances > own[nearest]))
