"""The vector-quantised autoencoder, and its codebook."""

import math

import keras
import numpy as np
from keras import ops

from keras_genzoo import divergences
from keras_genzoo.core.checks import whole
from keras_genzoo.core.inference import batched
from keras_genzoo.core.serialization import Part
from keras_genzoo.models.autoencoder import Autoencoder


@keras.saving.register_keras_serializable("keras_genzoo")
class Codebook(Part):
    """Vectors that stand for others, each the running mean of those it is nearest to (van den Oord et al. 2017, appendix A.1).

    Args:
        size: int. Number of vectors.
        dim: int. Their dimensions.
        decay: float in (0, 1). Of the running means. Defaults to 0.99.
    """

    def __init__(self, size, dim, decay=0.99, **kwargs):
        super().__init__(**kwargs)
        if not 0 < decay < 1:
            raise ValueError(f"decay is {decay!r}, expected a number between 0 and 1.")
        self.size, self.dim, self.decay = size, dim, decay = whole(2, size=size), whole(dim=dim), decay
        # Every replica computes the same of all rows.
        settings = dict(dtype="float32", trainable=False, aggregation="mean")
        normal = keras.initializers.RandomNormal(stddev=0.1)  # as wide as codes of a fresh encoder
        self.vectors = self.add_weight(shape=(size, dim), initializer=normal, name="vectors", **settings)
        self.counts = self.add_weight(shape=(size,), initializer="ones", name="counts", **settings)
        self.sums = self.add_weight(shape=(size, dim), initializer="zeros", name="sums", **settings)
        self.sums.assign(self.vectors)

    def begin(self, rows):
        """Begin with vectors among these, float array `(n, dim)`."""
        random = np.random.default_rng(0)
        chosen = rows[random.choice(len(rows), self.size, replace=len(rows) < self.size)]
        # Those that come twice must not stay alike.
        chosen = chosen + 1e-3 * rows.std() * random.standard_normal(chosen.shape)
        self.vectors.assign(chosen)
        self.sums.assign(chosen)
        self.counts.assign(np.ones(self.size))

    def nearest(self, z):
        """Numbers of the nearest vectors, int64 `(...)`, of `(..., dim)`."""
        rows = ops.reshape(z, (-1, self.dim))
        index = ops.argmin(divergences.squared_distances(rows, ops.convert_to_tensor(self.vectors)), axis=1)
        return ops.reshape(index, ops.shape(z)[:-1])

    def vectors_of(self, index):
        return ops.take(ops.convert_to_tensor(self.vectors), index, axis=0)

    def update(self, z, index):
        """One step of the running means, of all replicas' rows."""
        rows = divergences.gather(ops.reshape(ops.stop_gradient(z), (-1, self.dim)))
        chosen = ops.one_hot(divergences.gather(ops.reshape(index, (-1,))), self.size, dtype="float32")
        counts = self.decay * self.counts + (1.0 - self.decay) * ops.sum(chosen, axis=0)
        sums = self.decay * self.sums + (1.0 - self.decay) * ops.matmul(ops.transpose(chosen), rows)
        self.counts.assign(counts)
        self.sums.assign(sums)
        self.vectors.assign(sums / ops.maximum(counts, 1e-5)[:, None])


@keras.saving.register_keras_serializable("keras_genzoo")
class VQVAE(Autoencoder):
    """An autoencoder whose code is a grid of vectors out of a codebook (van den Oord et al. 2017, arXiv:1711.00937, eq. 3).

        loss = E_x[dist(x, decoder(e))] + commitment * |encoder(x) - e|^2,    e the nearest vectors of the codebook

    e gets its gradient from the decoder straight through to the encoder, and the codebook follows by running means. It begins
    with outputs of the encoder for the first batch that `fit` sees. `fit` prints `perplexity`, the exponential of the entropy
    of how often each vector is met in a batch, and `codebook_usage`, the share of the vectors that are met.

    `sample` is by the simplest prior that keeps neighbouring vectors together: a mixture of Gaussians over the whole grid of
    vectors (`fit_prior`), whose draws `decode` snaps to the codebook. The paper's own prior is autoregressive. The
    decoder has no likelihood, so there is no `log_prob`.

    Args:
        encoder: keras.Model. Images to a grid of vectors `(batch, rows, columns, dim)`.
        decoder: keras.Model. The grid to images.
        codebook: `Codebook` of vectors of that `dim`.
        distance: as in `Autoencoder`. Defaults to "l2".
        prior: `priors.GaussianMixture` over `rows * columns * dim` numbers, or None. Defaults to None.
        commitment: float, at least 0; the paper's beta. Defaults to 0.25.
        **kwargs: `seed`, `ema`, `name`, `dtype`, as in `GenerativeModel`.

    Example:

    >>> model = gz.build("vqvae", image_shape=(28, 28, 1), width=8, depth=3, components=1)
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.fit_prior(images)
    >>> model.sample(4, seed=0).shape
    (4, 28, 28, 1)
    """

    optimizers = {"optimizer": ("encoder", "decoder", "codebook")}
    averaged = ("encoder", "decoder", "codebook")
    terms = ("reconstruction_loss", "commitment_loss", "perplexity", "codebook_usage")

    def __init__(self, encoder, decoder, codebook, distance="l2", prior=None, commitment=0.25, **kwargs):
        super().__init__(encoder, decoder, distance, prior, **kwargs)
        if self.regularizers or self.corruption is not None:
            raise ValueError("regularizers or a corruption were given, expected none: the codes are those of the codebook.")
        if commitment < 0:
            raise ValueError(f"commitment is {commitment}, expected a number of at least 0.")
        self.codebook = codebook
        self.commitment = commitment
        self._grid = tuple(decoder.input_shape[1:])
        if len(self._grid) != 3 or self._grid[-1] != codebook.dim:
            raise ValueError(
                f"the decoder takes {self._grid} and the codebook has vectors of {codebook.dim}, expected (rows, columns, "
                f"{codebook.dim})."
            )

    def prepare(self, first_batch, dataset):
        z = np.asarray(self.encoder(self.images_of(first_batch), training=False))
        self.codebook.begin(z.reshape(-1, self.codebook.dim))

    def snapped(self, z):
        return self.codebook.vectors_of(self.codebook.nearest(z))

    @batched
    def encode(self, x):
        """Images to their vectors of the codebook, side by side, `(batch, rows * columns * dim)`."""
        return ops.reshape(self.snapped(self.encoder(self.images_of(x), training=False)), (-1, math.prod(self._grid)))

    @batched
    def decode(self, z):
        """Vectors as `encode` gives them, each brought to the nearest of the codebook, to images in [0, 1]."""
        return super().decode(self.snapped(ops.reshape(z, (-1, *self._grid))))

    def objective(self, data, random, training):
        x = self.images_of(data)
        z = self.encoder(x, training=training)
        index = self.codebook.nearest(z)
        e = self.codebook.vectors_of(index)
        reconstruction = self._dist(x, self.decoder(z + ops.stop_gradient(e - z), training=training))
        commitment = ops.sum(ops.square(z - ops.stop_gradient(e)), axis=(1, 2, 3))
        share = ops.mean(ops.one_hot(ops.reshape(index, (-1,)), self.codebook.size, dtype="float32"), axis=0)
        return {
            "loss": reconstruction + self.commitment * commitment,
            "reconstruction_loss": reconstruction,
            "commitment_loss": commitment,
            "perplexity": ops.exp(-ops.sum(share * ops.log(share + 1e-10))),
            "codebook_usage": ops.mean(ops.cast(share > 0, "float32")),
            "codes": (z, index),
        }

    def train_step(self, data):
        terms_of = lambda: self.objective(data, self.random, training=True)  # noqa: E731
        terms = self.minimize(terms_of, self.optimizers["optimizer"], self.optimizer)
        self.codebook.update(*terms["codes"])
        return self.track(terms)
