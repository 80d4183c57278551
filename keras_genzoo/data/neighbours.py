"""The nearest neighbours of each image among the others, found once for a data set."""

import numpy as np

from keras_genzoo.core.cache import remembered
from keras_genzoo.core.checks import whole
from keras_genzoo.core.images import to_levels

CHUNK = 500  # images whose neighbours are sought at a time, between two looks at the progress


def nearest_neighbours(images, count, bandwidth=None):
    """The nearest other images by the Euclidean distance of pixels in [0, 1], and their weights by a Gaussian kernel (Liang et
    al. 2015, "Representation learning with smooth autoencoder", section 3).

    w_ij = exp(-|x_i - x_j|^2 / (2 h^2)) / sum over the neighbours of the same

    The search is kept in Keras's cache, and is not repeated for the same images.

    Args:
        images: array `(n, height, width, channels)`, uint8 or floats in [0, 1].
        count: int. Neighbours of an image, fewer than there are images.
        bandwidth: float above 0. h; None is the mean distance between an image and its neighbours. Defaults to None.

    Returns:
        Indices, int32 `(n, count)`, nearest first, and weights, float32 `(n, count)`, which sum to 1.

    Raises:
        ValueError: a count that is no whole number between 1 and n - 1.
    """
    images = np.asarray(images)
    images = images if images.dtype == np.uint8 else np.asarray(to_levels(images))
    n = len(images)
    count = whole(neighbours=count)
    if count >= n:
        raise ValueError(f"neighbours is {count!r}, expected a whole number of at least 1 and less than the {n} images.")
    found = remembered("neighbours", images, {"count": count}, lambda: _search(images, count))
    indices, distances = found["indices"], found["distances"]
    bandwidth = (float(distances.mean()) or 1.0) if bandwidth is None else bandwidth
    # Relative to the nearest: far from all, every kernel would be 0.
    kernel = np.exp((distances[:, :1] ** 2 - distances**2) / (2.0 * bandwidth**2))
    return indices, kernel / kernel.sum(axis=1, keepdims=True)


def _search(images, count):
    from sklearn.neighbors import NearestNeighbors
    from tqdm import tqdm

    n = len(images)
    flat = images.reshape(n, -1).astype(np.float32) / 255
    search = NearestNeighbors(n_neighbors=count + 1, algorithm="brute").fit(flat)
    indices, distances = np.empty((n, count), np.int32), np.empty((n, count), np.float32)
    with tqdm(total=n, desc="nearest neighbours", unit="image", delay=1, leave=False) as progress:
        for start in range(0, n, CHUNK):
            rows = np.arange(start, min(start + CHUNK, n))
            far, found = search.kneighbors(flat[rows])
            # An image is its own neighbour, though not always the first: it may have copies, more than were found even.
            other = found != rows[:, None]
            other[other.all(axis=1), -1] = False
            indices[rows], distances[rows] = (each[other].reshape(len(rows), count) for each in (found, far))
            progress.update(len(rows))
    return {"indices": indices, "distances": distances}
