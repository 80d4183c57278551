"""Rows that no model made, between which the scores of models are to be read."""

import numpy as np


def pixel_gaussian(images, n, seed, chunk=1000):
    """Draws from the Gaussian with the images' mean and full covariance over pixels and channels.

    A draw is mean + X_c' z / sqrt(N - 1), with X_c the N centred images as rows and z N standard normal numbers, whose
    covariance is that of the images without this matrix ever being made.

    Args:
        images: uint8 array `(N, height, width, channels)`.
        n: int. How many to draw.
        seed: int.
        chunk: int. Images scaled to floats at a time. Defaults to 1000.

    Returns:
        uint8 array `(n, height, width, channels)`: clipped to [0, 1] and rounded to 8 bits.
    """
    random = np.random.default_rng(seed)
    flat = images.reshape(len(images), -1)
    mean = flat.mean(axis=0, dtype=np.float64).astype(np.float32)
    draws = np.zeros((n, flat.shape[1]), np.float32)
    for start in range(0, len(flat), chunk):
        centred = flat[start : start + chunk] - mean
        draws += random.standard_normal((n, len(centred)), np.float32) @ centred
    draws = mean + draws / np.sqrt(len(flat) - 1)
    return np.clip(np.round(draws), 0, 255).astype(np.uint8).reshape(n, *images.shape[1:])


class PrincipalComponents:
    """Principal component analysis of images, the best linear autoencoder, by scikit-learn.

    Args:
        images: uint8 array `(n, height, width, channels)`.
        components: int. The dimensions of the code, fewer where there are fewer images or pixels.
    """

    def __init__(self, images, components=16):
        from sklearn.decomposition import PCA

        flat = self.images_of(images).reshape(len(images), -1)
        self.pca = PCA(min(components, *flat.shape), random_state=0).fit(flat)
        self.image_shape = images.shape[1:]

    @staticmethod
    def images_of(images):
        """Levels to float32 in [0, 1]."""
        return images.astype(np.float32) / 255

    def decode(self, codes):
        """Codes to float32 images in [0, 1], clipped."""
        images = self.pca.inverse_transform(codes).reshape(-1, *self.image_shape)
        return np.clip(images, 0, 1).astype(np.float32)

    def reconstruct(self, images, batch_size=None):
        return self.decode(self.pca.transform(self.images_of(images).reshape(len(images), -1)))

    def sample(self, n, seed):
        """Draws from the Gaussian of the codes."""
        noise = np.random.default_rng(seed).standard_normal((n, self.pca.n_components_))
        return self.decode(noise * np.sqrt(self.pca.explained_variance_))


def real_images(images, n, seed):
    """Training images drawn without repetition, and the rest; `seed` is an int or several."""
    order = np.random.default_rng(seed).permutation(len(images))
    return images[order[:n]], images[order[n:]]


# Name -> function of the training images, n and seed, to the control's images and the images among which their nearest
# neighbours are sought.
CONTROLS = {
    # The floor: as near as images of the same kind come. A real image's neighbour is sought among the others.
    "real train images": real_images,
    "copy of training images": lambda images, n, seed: (real_images(images, n, (seed, 1))[0], images),
    "pixel Gaussian": lambda images, n, seed: (pixel_gaussian(images, n, seed), images),
    "PCA of 16 components": lambda images, n, seed: (PrincipalComponents(images).sample(n, seed), images),
}
# Of those that reconstruct: function of the training images to an object with `reconstruct`.
RECONSTRUCT = {"PCA of 16 components": PrincipalComponents}
SUMMARIES = {
    "real train images": "Training images themselves: the floor that no model can be expected to go below.",
    "copy of training images": "A model that memorised: only the distance to the nearest training image shows it.",
    "pixel Gaussian": "A Gaussian with the mean and covariance of the training pixels: what knowing nothing else gives.",
    "PCA of 16 components": "Principal component analysis, the best linear autoencoder: what its 16 numbers an image tell, and "
    "draws from the Gaussian of these numbers.",
}
