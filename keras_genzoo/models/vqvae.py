"""The vector-quantised autoencoder, and its codebooks."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import divergences
from keras_genzoo.core import randomness
from keras_genzoo.core.batches import some_batch, unpack
from keras_genzoo.core.checks import input_shapes, whole
from keras_genzoo.core.conditions import beside, parted
from keras_genzoo.core.inference import available_if, batched, inference
from keras_genzoo.core.serialization import Part
from keras_genzoo.models.autoencoder import Autoencoder
from keras_genzoo.models.autoregressive import AutoregressiveModel

MOST_ROWS = 20_000  # that k-means++ looks at


@keras.saving.register_keras_serializable("keras_genzoo")
class Codebook(Part):
    """Vectors that stand for others, each the running mean of those it is nearest to (van den Oord et al. 2017, appendix A.1).

    A vector is dead where its running count of rows is below a share of the mean count. It moves to a row of the batch, which is
    drawn with a chance in proportion to the squared distance from the row's nearest vector.

    Args:
        size: int. Number of vectors.
        dim: int. Their dimensions.
        decay: float in (0, 1). Decay of the running means. Defaults to 0.99.
        revive: float in [0, 1). Share of the mean running count below which a vector is dead; 0 moves none. Defaults to 0.03.
    """

    def __init__(self, size, dim, decay=0.99, revive=0.03, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= revive < 1:
            raise ValueError(f"revive is {revive!r}, expected a number of at least 0 and below 1.")
        self.revive = revive
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
        """Begin with vectors among these, float array `(n, dim)`, chosen far from each other by k-means++."""
        from sklearn.cluster import kmeans_plusplus

        random = np.random.default_rng(0)
        rows = random.permutation(np.asarray(rows, np.float64))[: max(MOST_ROWS, self.size)]
        count = min(self.size, len(rows))
        chosen = np.resize(kmeans_plusplus(rows, count, random_state=0)[0], (self.size, self.dim))
        # Those that come twice must not stay alike.
        chosen = chosen + 1e-3 * (rows.std() or 1.0) * random.standard_normal(chosen.shape)
        self.vectors.assign(chosen)
        self.sums.assign(chosen)
        self.counts.assign(np.ones(self.size))

    def bounded(self, z):
        """Outputs of an encoder as they are compared with vectors."""
        return z

    def nearest(self, z):
        """Numbers of the nearest vectors, int32 `(...)`, of `(..., dim)`."""
        rows = ops.reshape(z, (-1, self.dim))
        index = ops.argmin(divergences.squared_distances(rows, ops.convert_to_tensor(self.vectors)), axis=1)
        return ops.reshape(index, ops.shape(z)[:-1])

    def vectors_of(self, index):
        return ops.take(ops.convert_to_tensor(self.vectors), index, axis=0)

    def update(self, z, index, key=None):
        """One step of the running means, of all replicas' rows.

        Args:
            z: what the encoder puts out, `(..., dim)`.
            index: numbers of the nearest vectors, `(...)`.
            key: of the noise by which dead vectors move, the same on every replica; None moves none. Defaults to None.
        """
        rows = divergences.gather(ops.reshape(ops.stop_gradient(z), (-1, self.dim)))
        index = divergences.gather(ops.reshape(index, (-1,)))
        chosen = ops.one_hot(index, self.size, dtype="float32")
        counts = self.decay * self.counts + (1.0 - self.decay) * ops.sum(chosen, axis=0)
        sums = self.decay * self.sums + (1.0 - self.decay) * ops.matmul(ops.transpose(chosen), rows)
        if self.revive and key is not None:
            counts, sums = self._revived(counts, sums, rows, self._far(rows, index, key))
        # What stands for next to nothing stays where it is, and does not shrink to 0.
        used = counts[:, None] > 1e-5
        self.vectors.assign(ops.where(used, sums / ops.maximum(counts, 1e-5)[:, None], self.vectors))
        self.counts.assign(counts)
        self.sums.assign(ops.where(used, sums, self.vectors * counts[:, None]))

    def _far(self, rows, index, key):
        """Numbers of rows for each vector, drawn in proportion to their squared distances from their nearest vectors."""
        far = tf.cumsum(ops.sum(ops.square(rows - self.vectors_of(index)), axis=1) + 1e-12)
        wanted = randomness.uniform(key, (self.size,)) * far[-1]
        return ops.minimum(tf.searchsorted(far, wanted, side="right"), ops.shape(rows)[0] - 1)

    def _revived(self, counts, sums, rows, far):
        """Counts and sums in which dead vectors are the rows of these numbers, with twice the count under which they are dead."""
        mean = ops.mean(counts)
        dead = counts < self.revive * mean
        moved = ops.where(dead, 2.0 * self.revive * mean, counts)
        return moved, ops.where(dead[:, None], ops.take(rows, far, axis=0) * moved[:, None], sums)


@keras.saving.register_keras_serializable("keras_genzoo")
class ScalarCodebook(Part):
    """All vectors whose elements have a few values each, evenly from -1 on: a codebook that is not trained, for finite scalar
    quantisation (FSQ, Mentzer et al. 2024, arXiv:2309.15505, section 3 and appendix A.1). A tanh bounds an encoder's outputs, and
    each element is rounded.

    Args:
        levels: ints of at least 2. Number of values of each element; there are as many vectors as their product.

    Example:

    >>> book = ScalarCodebook((3, 5))
    >>> book.size, book.dim
    (15, 2)
    """

    def __init__(self, levels, **kwargs):
        super().__init__(**kwargs)
        self.levels = tuple(whole(2, levels=each) for each in levels)
        self.size, self.dim = math.prod(self.levels), len(self.levels)
        self._counts = np.array(self.levels, "int32")
        self._steps = np.cumprod([1, *self.levels[:-1]], dtype="int32")  # of the number of a vector, for a step of each element

    def begin(self, rows):
        """Nothing: the vectors are given."""

    def update(self, z, index, key=None):
        """Nothing: the vectors stay."""

    def bounded(self, z):
        """Outputs of an encoder, `(..., dim)`, within what is rounded to the values. Of an even number of values one more lies
        below 0 than above."""
        half, offset = (self._counts - 1) * (1.0 - 1e-3) / 2.0, np.where(self._counts % 2 == 1, 0.0, 0.5)
        shift, half, offset, below = np.array([np.tan(offset / half), half, offset, self._counts // 2], "float32")
        return (ops.tanh(z + shift) * half - offset) / below

    def nearest(self, z):
        """Numbers of the nearest vectors, int32 `(...)`, of `(..., dim)`."""
        below = self._counts // 2
        digits = ops.cast(ops.round(z * below.astype("float32")), "int32") + below
        return ops.sum(ops.clip(digits, 0, self._counts - 1) * self._steps, axis=-1)

    def vectors_of(self, index):
        digits, below = ops.cast(index, "int32")[..., None] // self._steps % self._counts, self._counts // 2
        return ops.cast(digits - below, "float32") / below.astype("float32")


@keras.saving.register_keras_serializable("keras_genzoo")
class VQVAE(Autoencoder):
    """An autoencoder whose code is a grid of vectors out of a codebook (van den Oord et al. 2017, arXiv:1711.00937, eq. 3).

        loss = E_x[dist(x, decoder(e))] + commitment * |encoder(x) - e|^2,    e the nearest vectors of the codebook

    e gets its gradient from the decoder straight through to the encoder, and the codebook follows by running means. It begins
    with outputs of the encoder, in training mode, for some 1,000 images of what `fit` is given. `fit` prints `perplexity`, the
    exponential of the entropy of how often each vector is met in a batch, and `codebook_usage`, the share that is met.

    With a `ScalarCodebook` encoder(x) is what it makes of the output, within bounds. It has nothing to learn, and its paper no
    commitment.

    `sample` draws from a prior over grids. A mixture over whole grids is fitted by `fit_prior` after training. An
    `AutoregressiveModel` of the numbers of the vectors, the paper's own kind of prior, learns in the same steps by its own loss,
    `prior_loss` in nats a grid, and optimizer; no gradient of it reaches the encoder. The decoder has no likelihood, so there is
    no `log_prob`.

    Args:
        encoder: keras.Model. Images to a grid of vectors `(batch, rows, columns, dim)`. With classes or vectors its second input
            is the condition, the decoder's too.
        decoder: keras.Model. The grid to images.
        codebook: `Codebook` or `ScalarCodebook` of vectors of that `dim`.
        distance: as in `Autoencoder`. Defaults to "l2".
        prior: `priors.CategoricalMixture` of `rows * columns` positions; or an `AutoregressiveModel` of images `(rows, columns,
            1)` with as many levels as there are vectors, without `ema`, told what the model is told; or None. For small grids,
            `priors.GaussianMixture` of `rows * columns * dim` numbers works too: `decode` snaps its draws to the codebook.
            Defaults to None.
        commitment: float, at least 0. Weight of the commitment loss, the paper's beta. Defaults to 0.25.
        **kwargs: `num_classes`, `condition_dim`, what the networks are told, and `game`, as in `Autoencoder`; `seed`, `ema`,
            `name`, `dtype`, as in `GenerativeModel`.

    Example:

    >>> model = gz.build("vqvae", image_shape=(28, 28, 1), width=8, depth=3, components=1)
    >>> model.fit(images, epochs=1, verbose=0)
    >>> fitted = model.fit_prior(images)
    >>> model.sample(4, seed=0).shape
    (4, 28, 28, 1)
    """

    rising = ("perplexity", "codebook_usage")

    def __init__(self, encoder, decoder, codebook, distance="l2", prior=None, commitment=0.25, **kwargs):
        super().__init__(encoder, decoder, distance, prior, **kwargs)
        if self.regularizers or self.corruption is not None:
            raise ValueError("regularizers or a corruption were given, expected none: the codes are those of the codebook.")
        if commitment < 0:
            raise ValueError(f"commitment is {commitment}, expected a number of at least 0.")
        self.codebook = codebook
        self.commitment = commitment
        self._grid = input_shapes(decoder, "decoder")[0]
        if self._learns_prior:
            self._check_prior()
        if len(self._grid) != 3 or self._grid[-1] != codebook.dim:
            raise ValueError(
                f"the decoder takes {self._grid} and the codebook has vectors of {codebook.dim}, expected (rows, columns, "
                f"{codebook.dim})."
            )

    def _check_prior(self):
        levels, wanted = self.prior.likelihood.levels, (*self._grid[:2], 1)
        told = self.prior.condition_units != self.condition_units
        if self.prior.image_shape != wanted or levels != self.codebook.size or self.prior.ema or told:
            raise ValueError(
                f"the prior is of shape {self.prior.image_shape} with {levels} levels, ema={self.prior.ema} and "
                f"{self.prior.condition_units} numbers of a condition, expected {wanted} with {self.codebook.size} levels, None "
                f"and {self.condition_units}."
            )

    @property
    def _learns_prior(self):
        """Whether the prior learns in the steps of the model."""
        return isinstance(self.prior, AutoregressiveModel)

    @property
    def terms(self):
        own = ["prior_loss"] if self._learns_prior else []
        return (*super().terms, "commitment_loss", "perplexity", "codebook_usage", *own)

    @property
    def optimizers(self):
        own = {"prior_optimizer": ("prior",)} if self._learns_prior else {}
        return {"optimizer": ("encoder", "decoder", "codebook"), **own, **self._optimizer_of_the_game}

    @property
    def averaged(self):
        return ("encoder", "decoder", "codebook", *(["prior"] if self._learns_prior else []))

    def density(self):
        return None if self._learns_prior else self.prior

    def prepare(self, first_batch, dataset):
        some = some_batch(dataset, first_batch)
        x, condition = np.asarray(unpack(some)[0]), self.condition_of(some)
        z = []
        # In training mode: running statistics of a normalisation have not seen anything yet.
        for rows in np.array_split(np.arange(len(x)), -(-len(x) // 128)):
            own = None if condition is None else tf.gather(condition, rows)
            z.append(np.asarray(self.encoder(beside(self.images_of(x[rows]), own), training=True), np.float32))
        self.codebook.begin(np.concatenate(z).reshape(-1, self.codebook.dim))

    def snapped(self, z):
        return self.codebook.vectors_of(self.codebook.nearest(z))

    def _nearest(self, x, condition, training=False):
        """What the encoder makes of images in [0, 1], within bounds, and the numbers of the nearest vectors."""
        z = self.codebook.bounded(self.encoder(beside(x, condition), training=training))
        return z, self.codebook.nearest(z)

    @batched
    def encode(self, x, labels=None, conditions=None):
        """Images to their vectors of the codebook, side by side, `(batch, rows * columns * dim)`; of a conditional model by their
        labels and vectors."""
        index = self.encode_indices(x, labels=labels, conditions=conditions)
        return ops.reshape(self.codebook.vectors_of(index), (-1, math.prod(self._grid)))

    @batched
    def encode_continuous(self, x, labels=None, conditions=None):
        """Images to what the encoder puts out before vectors of the codebook take its place, `(batch, rows, columns, dim)`; of a
        conditional model as `encode`.

        It is what a diffusion model learns, and `decode` brings its samples to the codebook (Rombach et al. 2022,
        arXiv:2112.10752, section 3.1 and appendix G).
        """
        return self._nearest(self.images_of(x), self.told(labels, conditions))[0]

    @batched
    def encode_indices(self, x, labels=None, conditions=None):
        """Images to the numbers of their vectors, int32 `(batch, rows, columns)`; of a conditional model as `encode`."""
        return self._nearest(self.images_of(x), self.told(labels, conditions))[1]

    @batched
    def decode_indices(self, z, labels=None, conditions=None):
        """Numbers of vectors `(batch, rows, columns)`, as `encode_indices` gives them, to images in [0, 1]."""
        return self._of_indices(z, self.told(labels, conditions))

    def _of_indices(self, index, condition):
        return super().images_from(self.codebook.vectors_of(index), condition)

    def images_from(self, z, condition=None):
        """Vectors as `encode` or `encode_continuous` gives them, each brought to the nearest of the codebook, to images."""
        return super().images_from(self.snapped(ops.reshape(z, (-1, *self._grid))), condition)

    @available_if(lambda self: getattr(self.prior, "fitted", self.prior is not None), lambda self: self.sample_needs)
    @inference
    def draw_latents(self, n, random, condition=None):
        """n codes from the prior; the noise of which `generate` draws them where the prior is an `AutoregressiveModel`."""
        if self._learns_prior:
            return self.prior.draw_latents(n, random)
        z = self.drawn_codes(n, random, condition)
        if not getattr(self.prior, "discrete", False):
            return z
        return ops.reshape(self.codebook.vectors_of(z), (n, math.prod(self._grid)))

    @inference
    def generate(self, latents):
        z, condition = parted(latents)
        if not self._learns_prior:
            return self.images_from(z, condition)
        return self._of_indices(ops.cast(self.prior.draw_levels(latents)[..., 0], "int32"), condition)

    def codes_of(self, x, random, condition=None):
        """What the prior is fitted to: numbers of vectors, or the vectors themselves, `(batch, numbers)`."""
        _, index = self._nearest(x, condition)
        found = index if getattr(self.prior, "discrete", False) else self.codebook.vectors_of(index)
        return ops.reshape(found, (ops.shape(x)[0], -1))

    def objective(self, data, random, training):
        x, condition = self.images_of(data), self.condition_of(data)
        z, index = self._nearest(x, condition, training)
        e = self.codebook.vectors_of(index)
        terms = self.decoding(data, x, z + ops.stop_gradient(e - z), training, condition)
        commitment = ops.sum(ops.square(z - ops.stop_gradient(e)), axis=(1, 2, 3))
        met = ops.one_hot(divergences.gather(ops.reshape(index, (-1,))), self.codebook.size, dtype="float32")
        share = ops.mean(met, axis=0)
        return {
            **terms,
            "loss": terms["loss"] + self.commitment * commitment,
            "commitment_loss": commitment,
            "perplexity": ops.exp(-ops.sum(share * ops.log(share + 1e-10))),
            "codebook_usage": ops.mean(ops.cast(share > 0, "float32")),
            "codes": (z, index),
            "condition": condition,
        }

    def prior_terms(self, terms, training):
        """The loss of the prior for the numbers of vectors that `objective` found, in nats a grid."""
        index = terms["codes"][1]
        levels = ops.cast(index[..., None], "float32") / (self.codebook.size - 1)
        loss = -self.prior.log_mass(levels, terms["condition"], training=training)
        return {"loss": loss, "prior_loss": loss}

    def train_step(self, data):
        terms_of = lambda: self.objective(data, self.random, training=True)  # noqa: E731
        terms, prior = self.minimize(terms_of, self.optimizers["optimizer"], self.optimizer), {}
        if self._learns_prior:
            prior_of = lambda: self.prior_terms(terms, training=True)  # noqa: E731
            prior = self.minimize(prior_of, ("prior",), self.prior_optimizer)
        # Of a key that replicas share, as they do the codebook.
        self.codebook.update(*terms["codes"], self.random.shared_key())
        return self.track({**prior, **terms, **self.play(terms, training=True)})

    def test_step(self, data):
        terms_of = lambda: self.objective(data, self.random_test, training=False)  # noqa: E731
        terms, prior = self.measure(terms_of, self.optimizers["optimizer"]), {}
        if self._learns_prior:
            prior = self.measure(lambda: self.prior_terms(terms, training=False), ("prior",))
        return self.track({**prior, **terms, **self.play(terms, training=False)})
