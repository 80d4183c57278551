"""Nearest neighbours in a space of features, and the scores of fidelity and diversity that they give.

A search by |x|^2 - 2 x.y + |y|^2 is fast, and wrong in the last digits: a point has a distance to its own copy. So it only
proposes. Wherever its rounding could decide, distances are computed once more as |x - y|, which is the same number for the same
two points wherever they stand.
"""

import functools
import math

import numpy as np

from keras_genzoo.metrics.features import CHUNK, check_pair

MORE = 2  # neighbours beyond those asked for, among which the nearest are found exactly
TILE = 4096, 2048  # points and others whose distances are in memory at a time, 64 MiB


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
    return neighbour_scores(real, generated, k, None)[:2]


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
    return neighbour_scores(real, generated, None, k)[2:]


def neighbour_scores(real, generated, k_pr=3, k_dc=5):
    """`precision_recall` and `density_coverage` of one search, in half the time. Memory beside the features is that of a tile.

    Args:
        real, generated: arrays of features `(n, dim)`.
        k_pr: int or None. Neighbours of precision and recall; with None they are NaN. Defaults to 3.
        k_dc: int or None. Neighbours of density and coverage; with None they are NaN. Defaults to 5.

    Returns:
        Four floats: precision, recall, density and coverage.

    Raises:
        ValueError: as `precision_recall`.

    Example:

    >>> features = np.random.default_rng(0).normal(size=(100, 8))
    >>> keras_genzoo.metrics.neighbour_scores(features, features.copy())
    (1.0, 1.0, 1.0, 1.0)
    """
    most = max(k for k in (k_pr, k_dc) if k is not None)
    real, generated = check_pair(real, generated, least=most + 1, dtype=None)
    of_real = nearest(None, real, most)[0]
    of_generated = None if k_pr is None else nearest(None, generated, k_pr)[0][:, -1]
    precise, recalled, covered, balls = np.zeros(len(generated), bool), np.zeros(len(real), bool), np.zeros(len(real), bool), 0
    for rows, columns, within in _tiles(generated, real):
        if k_pr is not None:
            precise[rows] |= within(of_real[None, columns, k_pr - 1], border=True).any(axis=1)
            recalled[columns] |= within(of_generated[rows, None], border=True).any(axis=0)
        if k_dc is not None:
            inside = within(of_real[None, columns, k_dc - 1], border=False)
            balls += np.count_nonzero(inside)
            covered[columns] |= inside.any(axis=0)
    first = (math.nan, math.nan) if k_pr is None else (float(precise.mean()), float(recalled.mean()))
    return (
        (*first, math.nan, math.nan) if k_dc is None else (*first, float(balls / (k_dc * len(generated))), float(covered.mean()))
    )


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


def _tiles(points, others):
    """Pairs of points and others, a tile at a time: the slices of both, and a function of radii, one a row or one a column, and
    of whether the border counts, to which pairs are as near as that, a bool array."""
    rest = _squares(others)
    for start in range(0, len(points), TILE[0]):
        rows = slice(start, start + TILE[0])
        some = points[rows].astype("float64")
        own = _squares(some)
        rounding = _off(own, rest, points.shape[1])[:, None]
        for first in range(0, len(others), TILE[1]):
            columns = slice(first, first + TILE[1])
            these = others[columns].astype("float64", copy=False)
            squares = some @ these.T
            squares *= -2.0
            squares += own[:, None]
            squares += rest[columns]
            yield rows, columns, functools.partial(_within, squares, some, these, rounding)


def _within(squares, points, others, rounding, radii, border):
    """Which squared distances, off by the rounding at most, are those of pairs within radii."""
    beyond = squares - radii**2
    inside = beyond < 0
    rows, places = np.nonzero(np.abs(beyond, out=beyond) <= rounding)
    exact, limits = _lengths(points, others, rows, places), np.broadcast_to(radii, squares.shape)[rows, places]
    inside[rows, places] = exact <= limits if border else exact < limits
    return inside


def _lengths(points, others, rows, places):
    """Distances of pairs, `points[rows]` from `others[places]`, of their differences in float64."""
    distances = np.empty(len(rows))
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        difference = points[rows[part]].astype("float64") - others[places[part]]
        distances[part] = np.sqrt(np.sum(difference * difference, axis=1))
    return distances


def _rounding(points, others):
    """The most by which the square of a searched distance is off, `(points,)`."""
    return _off(_squares(points), _squares(others), points.shape[1])


def _squares(points):
    return np.einsum("ij,ij->i", points, points, dtype="float64")


def _off(squares, others, dim):
    """The rounding of sums of `dim` products in float64."""
    return 4 * (dim + 8) * np.finfo("float64").eps * (squares + others.max())
