"""What distances between two streams of images share: features in, statistics of each side, one side that starts anew."""

import numpy as np

from keras_genzoo.metrics.extractors import get
from keras_genzoo.metrics.features import check_features, extract, score_name


class StreamingDistance:
    """A distance named `symbol[features]`; a subclass gives `_statistics()`, of which each side has one, and `result()`.

    Args:
        features: str or extractor, see `get`. Defaults to "fashion-cnn".
    """

    symbol = None

    def __init__(self, features="fashion-cnn"):
        self.features = get(features)
        self._real = self._statistics()
        self.reset_generated()

    @property
    def name(self):
        return score_name(self.symbol, self.features)

    @property
    def n_real(self):
        return self._real.n

    @property
    def n_generated(self):
        return self._generated.n

    def update_real(self, images):
        """Take in real images: an array `(n, height, width, channels)`, `uint8` or floats in [0, 1], or an iterable of such
        batches, alone or as `(images, labels)`."""
        for features in extract(self.features, images, "real images"):
            self._real.update(features)

    def update_generated(self, images):
        """Take in generated images, as `update_real`."""
        for features in extract(self.features, images, "generated images"):
            self._generated.update(features)

    def update_features(self, features):
        """Take in features of generated images, `(n, dim)`, that are known already."""
        self._generated.update(check_features(features, "features of generated images"))

    def reset_generated(self):
        """Forget the generated images; the real ones stay."""
        self._generated = self._statistics()

    def result(self):
        raise NotImplementedError

    def _statistics(self):
        raise NotImplementedError


class FeatureStore:
    """All features of a stream.

    Args:
        dim: int. Length of a feature vector.
    """

    def __init__(self, dim):
        self._pieces = [np.empty((0, dim), "float32")]

    def update(self, features):
        """Take in features `(n, dim)`."""
        self._pieces.append(features)

    @property
    def n(self):
        return sum(len(piece) for piece in self._pieces)

    @property
    def features(self):
        self._pieces = [np.concatenate(self._pieces)]
        return self._pieces[0]
