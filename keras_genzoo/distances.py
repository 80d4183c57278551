"""Distances between an image and its reconstruction, summed over pixels and channels: one number an image."""

import keras
from keras import ops


def l1(x, y):
    """Sum of |x - y| over everything but the batch axis, `(batch,)`."""
    return ops.sum(ops.abs(x - y), axis=tuple(range(1, len(x.shape))))


def l2(x, y):
    """Sum of (x - y)^2 over everything but the batch axis, `(batch,)`. The square of the Euclidean distance."""
    return ops.sum(ops.square(x - y), axis=tuple(range(1, len(x.shape))))


NAMED = {"l1": l1, "l2": l2}


@keras.saving.register_keras_serializable("keras_genzoo")
class Weighted:
    """A weighted sum of named distances, `sum_i w_i d_i(x, y)`.

    Args:
        **weights: float by the name of a distance, at least one above 0.

    Example:

    >>> gz.distances.Weighted(l1=0.5, l2=0.5)(x, y).shape
    TensorShape([4])
    """

    def __init__(self, **weights):
        unknown = sorted(set(weights) - set(NAMED))
        if unknown or not weights or min(weights.values()) < 0 or max(weights.values()) == 0:
            raise ValueError(f"weights are {weights}, expected non-negative numbers, one above 0, for some of {sorted(NAMED)}.")
        self.weights = dict(weights)

    def __call__(self, x, y):
        return sum(weight * NAMED[name](x, y) for name, weight in self.weights.items())

    def get_config(self):
        return self.weights

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def get(distance):
    """A distance from its name, a dict of weights by name, or a callable `(x, y) -> (batch,)`."""
    if isinstance(distance, dict):
        return Weighted(**distance)
    if callable(distance):
        return distance
    if distance in NAMED:
        return NAMED[distance]
    raise ValueError(f"distance is {distance!r}, expected one of {sorted(NAMED)}, a dict of weights for them, or a callable.")
