"""Nearest neighbours in a space of features, and the scores of fidelity and diversity that they give.

A search by |x|^2 - 2 x.y + |y|^2 is fast, and wrong in the last digits: a point has a distance to its own copy. So it only
proposes. Wherever its rounding could decide, distances are computed once more as |x - y|, which is the same number for the same
two points wherever they stand.
"""

import math

import numpy as np

from keras_genzoo.metrics.features import CHUNK, check_pair

MORE = 2  # neighbours beyond those asked for, among which the nearest are found exactly
BLOCK = 128  # MiB of distances at a time


def precision_recall(real, generated, k=3):
    """Improved precision and recall (Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2).

    A set covers the balls around its members that reach to their k-th nearest neighbour in the set, border included.
    Precision is the share of generated features that the real set covers, recall the share of real ones that the generated
    set covers. Two samples of one distribution do not score 1: in high dimensions about 0.5.

    Args:
        real, generated: arrays of features `(n, dim)`.
        k: int. Defaults to 3, the convention.

    Returns:
        Two floats in [0, 1], precision and recall.

    Raises:
        ValueError: features that are not finite or not `(n, dim)`, or no more than k on a side.

    Example:

    >>> features = np.random.default_rng(0).normal(size=(100, 8))
    >>> keras_genzoo.metrics.precision_recall(features, features.copy())
    (1.0, 1.0)
    """
    real, generated = check_pair(real, generated, least=k + 1)
    precision, recall = (_covered(*pair, k) for pair in ((generated, real), (real, generated)))
    return float(precision.mean()), float(recall.mean())


def density_coverage(real, generated, k=5):
    """Density and coverage (Naeem et al. 2020, arXiv:2002.09797, eq. 2 and 3), which outliers move less.

    With the balls around real features as in `precision_recall`, border excluded: density is the number of balls that a
    generated feature lies in, over k, on average; coverage the share of balls that hold a generated feature.

    Args:
        real, generated: arrays of features `(n, dim)`.
        k: int. Defaults to 5, the convention.

    Returns:
        Two floats, density (at least 0, about 1 for equal distributions, above it where samples crowd) and coverage, in
        [0, 1]. Both are 1 for an array and its copy, unless distances in it are equal.

    Raises:
        ValueError: features that are not finite or not `(n, dim)`, or no more than k on a side.

    Example:

    >>> features = np.random.default_rng(0).normal(size=(100, 8))
    >>> keras_genzoo.metrics.density_coverage(features, features.copy())
    (1.0, 1.0)
    """
    real, generated = check_pair(real, generated, least=k + 1)
    balls, covered = 0, np.zeros(len(real), bool)
    for inside in _within(generated, real, _radii(real, k), border=False):
        balls += inside.sum()
        covered |= inside.any(axis=0)
    return float(balls / (k * len(generated))), float(covered.mean())


def nearest(points, others, k=1):
    """The k nearest of other points, nearest first; of equal distances, above 0, those that come first.

    Args:
        points: array `(n, dim)`, or None: each of the others, whose own place does not count.
        others: array `(m, dim)`, of the same dtype, float32 or float64.
        k: int. Defaults to 1.

    Returns:
        float64 array of Euclidean distances `(n, k)`, 0 for a copy, and the places among the others, int array `(n, k)`.
    """
    from sklearn.neighbors import NearestNeighbors

    own = points is None
    there = len(others) - own
    search = NearestNeighbors(n_neighbors=min(k + MORE, there), algorithm="brute").fit(others)
    reach, places = search.kneighbors(points)
    points = others if own else points
    distances = _lengths(points, others, np.repeat(np.arange(len(points)), places.shape[1]), places.ravel())
    distances = distances.reshape(places.shape)
    order = np.lexsort((places, distances))[:, :k]
    distances, places = (np.take_along_axis(each, order, axis=1) for each in (distances, places))
    if there > k + MORE:
        # Others than the proposed ones may be as near, but none nearer than 0.
        last = distances[:, -1]
        doubtful = (last > 0) & (reach[:, -1] ** 2 <= last**2 + _rounding(points, others))
        for row in np.flatnonzero(doubtful):
            found = _lengths(points, others, np.full(len(others), row), np.arange(len(others)))
            found[row] = math.inf if own else found[row]
            places[row] = np.argsort(found, kind="stable")[:k]
            distances[row] = found[places[row]]
    return distances, places


def _radii(features, k):
    """Distance of each feature to its k-th nearest neighbour among the others."""
    return nearest(None, features, k)[0][:, -1]


def _covered(points, centres, k):
    """Which points lie in the ball of a centre that reaches to its k-th nearest neighbour, bool `(points,)`."""
    return np.concatenate([inside.any(axis=1) for inside in _within(points, centres, _radii(centres, k), border=True)])


def _within(points, centres, radii, border):
    """Which points lie in which balls, their borders included or not: bool arrays `(some points, centres)`, in blocks."""
    from sklearn.metrics import pairwise_distances_chunked

    start = 0
    for distances in pairwise_distances_chunked(points, centres, working_memory=BLOCK):
        some = points[start : start + len(distances)]
        start += len(distances)
        beyond = distances**2 - radii**2
        inside = beyond < 0
        rows, balls = np.nonzero(np.abs(beyond) <= _rounding(some, centres)[:, None])
        exact = _lengths(some, centres, rows, balls)
        inside[rows, balls] = exact <= radii[balls] if border else exact < radii[balls]
        yield inside


def _lengths(points, others, rows, places):
    """Distances of pairs, `points[rows]` from `others[places]`, of their differences in float64."""
    distances = np.empty(len(rows))
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        difference = points[rows[part]].astype("float64") - others[places[part]]
        distances[part] = np.sqrt(np.sum(difference * difference, axis=1))
    return distances


def _rounding(points, others):
    """The most by which the square of a searched distance is off, `(points,)`: of sums of `dim` products in float64."""
    squares = [np.einsum("ij,ij->i", each, each, dtype="float64") for each in (points, others)]
    return 4 * (points.shape[1] + 8) * np.finfo("float64").eps * (squares[0] + squares[1].max())
