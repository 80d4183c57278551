"""Scores by nearest neighbours in a space of features: fidelity and diversity apart."""

import numpy as np

from keras_genzoo.metrics.features import check_pair


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
    """
    real, generated = check_pair(real, generated, least=k + 1)
    return float(_covered(generated, real, k).mean()), float(_covered(real, generated, k).mean())


def density_coverage(real, generated, k=5):
    """Density and coverage (Naeem et al. 2020, arXiv:2002.09797, eq. 2 and 3), which outliers move less.

    With the balls around real features as in `precision_recall`, border excluded: density is the number of balls that a
    generated feature lies in, over k, on average; coverage the share of balls that hold a generated feature.

    Args:
        real, generated: arrays of features `(n, dim)`.
        k: int. Defaults to 5, the convention.

    Returns:
        Two floats, density (at least 0, about 1 for equal distributions, above it where samples crowd) and coverage, in
        [0, 1].

    Raises:
        ValueError: features that are not finite or not `(n, dim)`, or no more than k on a side.
    """
    real, generated = check_pair(real, generated, least=k + 1)
    radii = _radii(real, k)
    balls, covered = 0, np.zeros(len(real), bool)
    for distances in _distances(generated, real):
        inside = distances < radii
        balls += inside.sum()
        covered |= inside.any(axis=0)
    return float(balls / (k * len(generated))), float(covered.mean())


def _covered(points, centres, k):
    """Which points lie in the ball of a centre that reaches to its k-th nearest neighbour, bool `(points,)`."""
    radii = _radii(centres, k)
    return np.concatenate([(distances <= radii).any(axis=1) for distances in _distances(points, centres)])


def _radii(features, k):
    """Distance of each feature to its k-th nearest neighbour among the others."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(features).kneighbors()[0][:, -1]


def _distances(points, centres):
    """Distances `(some points, all centres)`, in blocks of points that fit scikit-learn's working memory."""
    from sklearn.metrics import pairwise_distances_chunked

    return pairwise_distances_chunked(points, centres)
