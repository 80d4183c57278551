"""Densities of vectors by invertible maps to noise, apart from images: given a context or not, of data or of a known density.

`flow = gz.flows.NSF(2, context=3)` is a Keras model, and `flow(context)` a distribution with `log_prob` and `sample`.
"""

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo import bijectors, networks
from keras_genzoo.bijectors.base import as_of, forward_of
from keras_genzoo.core import randomness
from keras_genzoo.core.adam import Adam
from keras_genzoo.core.checks import whole, whole_or_none
from keras_genzoo.core.serialization import Configured
from keras_genzoo.priors import StandardNormal

ROWS = 1000  # of the data, from which layers that depend on data take their values
NO_WEIGHTS = "sample weights came, and a Density takes none; repeat the rows that count more."


@keras.saving.register_keras_serializable("keras_genzoo")
class Density(Configured, keras.Model):
    """A density of vectors, p(x | context) = prior(f(x; context)) |det df/dx|, with an invertible map f.

    `fit(x, contexts)` maximises the likelihood of rows x `(n, features)`, given a context for each, `(n, context)`, where it
    depends on one. `fit_to` draws it towards a density that is known but for a factor. Rows are real numbers and not dequantised.
    `keras.saving.load_model` loads what `save` wrote.

    Args:
        bijectors: list of `bijectors.Bijector`, from vectors `(batch, features)` to as many numbers.
        features: int. Numbers in a vector.
        context: int or None. Numbers in a context, which one of the bijectors at least depends on. Defaults to None.
        prior: object with `sample(n, random)` and `log_prob(z)`; None is N(0, I). Defaults to None.
        seed: int or None. Of the noise of `fit_to`; None draws one. Defaults to None.
        **kwargs: `name`, `dtype`, as in `keras.Model`.

    Raises:
        ValueError: bijectors that put out other shapes, or that depend on a context where there is none, and the reverse.

    Example:

    >>> flow = gz.flows.NSF(2, context=1, transforms=1, hidden=(8,))
    >>> contexts = np.linspace(-1, 1, 64, dtype="float32")[:, None]
    >>> history = flow.fit(np.concatenate([contexts, -contexts], axis=1), contexts, verbose=0)
    >>> flow([0.5]).sample(10, seed=0).shape, flow(contexts).sample(10, seed=0).shape
    ((10, 2), (10, 64, 2))
    >>> flow([0.5]).log_prob([[0.5, -0.5], [0.4, -0.4]]).shape
    TensorShape([2])
    """

    def __init__(self, bijectors, features, context=None, prior=None, seed=None, **kwargs):
        super().__init__(**kwargs)
        if tf.distribute.has_strategy():
            raise ValueError("a Density trains on one device; build it outside of the strategy's scope.")
        self.bijectors, self.features, self.context = list(bijectors), whole(features=features), whole_or_none(context=context)
        self.prior = StandardNormal(self.features) if prior is None else prior
        self.seed = randomness.random_seed() if seed is None else whole(0, seed=seed)
        self._chain, self._prepared = _chain(self.bijectors), randomness.counter(self, "prepared")
        self.random = randomness.Stream(self.seed, randomness.counter(self, "random"))
        self._aim_at(None)
        self._check_bijectors()
        self._log_density = tf.function(self._log_density_of, autograph=False, reduce_retracing=True)
        self._inverse = tf.function(self._inverse_of, autograph=False, reduce_retracing=True)

    def _check_bijectors(self):
        if self._chain.conditional != (self.context is not None):
            needs = "depend on a context" if self._chain.conditional else "depend on no context"
            raise ValueError(f"context is {self.context}, and the bijectors {needs}; give both or neither a context.")
        given = () if self.context is None else (tf.zeros((1, self.context)),)
        shape = tuple(forward_of(self._chain, tf.fill((1, self.features), 0.5), False, *given)[0].shape[1:])
        if shape != (self.features,):
            raise ValueError(f"the bijectors put out shape {shape}, expected ({self.features},), as many numbers as they take.")

    def finish(self):
        self.built = True  # the bijectors are

    # What it can be asked

    def __call__(self, context=None):
        """The distribution given a context, a `Conditional`.

        Args:
            context: `(context,)`, one for all, or `(n, context)`; None where the density depends on none. Defaults to None.
        """
        return Conditional(self, context)

    def log_prob(self, x, context=None):
        """log p(x | context) in nats, `(n,)`.

        Args:
            x: `(n, features)`.
            context: `(context,)`, the same for all rows, or a row for each, `(n, context)`; None where there is none. Defaults to
                None.

        Raises:
            ValueError: another shape; no context where one is needed, or one where none is.
        """
        x = _rows(x, self.features, "x")
        context = self._context_of(context, lambda one: tf.tile(one[None], (tf.shape(x)[0], 1)))
        if context is not None and not context.shape[:1].is_compatible_with(x.shape[:1]):
            raise ValueError(f"there are {len(context)} contexts for {len(x)} rows, expected one for each, or a single one.")
        return self._log_density(x, context)

    def sample(self, n, context=None, seed=None):
        """Draw vectors.

        Args:
            n: int.
            context: `(context,)`, or m of them, `(m, context)`; None where there is none. Defaults to None.
            seed: int or None. The same seed gives the same draws. None draws one from Keras's global state. Defaults to None.

        Returns:
            float32 array `(n, features)`, or `(n, m, features)` of m contexts.
        """
        n, seed = whole(n=n), randomness.random_seed() if seed is None else whole(0, seed=seed)
        rows = self._context_of(context, lambda one: one[None])
        count = 1 if rows is None else len(rows)
        z = self.prior.sample(n * count, randomness.RowStream(seed, 0))
        x = self._inverse(z, None if rows is None else tf.tile(rows, (n, 1))).numpy()
        return x if rows is None or np.ndim(context) == 1 else x.reshape(n, count, self.features)

    def _context_of(self, context, widen):
        """Contexts as rows; `widen` makes rows of a single one."""
        if (context is None) != (self.context is None):
            needs = "no context" if self.context is None else f"a context of {self.context} numbers"
            raise ValueError(f"context is {context!r}, but {self.name!r} depends on {needs}.")
        if context is None:
            return None
        context = tf.cast(tf.convert_to_tensor(context), tf.float32)
        return _rows(widen(context) if context.shape.rank == 1 else context, self.context, "context")

    def _log_density_of(self, x, context=None, training=False):
        z, log_det = forward_of(self._chain, x, training, *_given(context))
        return self.prior.log_prob(z) + log_det

    def _inverse_of(self, z, context=None):
        return tf.cast(self._chain.inverse(*as_of(self._chain, z, *_given(context))), tf.float32)

    # Training

    def fit(self, x=None, y=None, **kwargs):
        """`keras.Model.fit` on rows x `(n, features)` and contexts y `(n, context)`, or a data set of batches of both.

        Before the first step of its life, layers that depend on data, as `bijectors.ActNorm`, take their values from some 1,000
        rows from all over x, or of a data set from the first batch.
        """
        if {"sample_weight", "class_weight"} & set(kwargs):
            raise ValueError(NO_WEIGHTS)
        x, y = (np.asarray(each, "float32") if isinstance(each, (list, tuple)) else each for each in (x, y))
        rows, contexts = self._checked(*_first(x, y))
        if not tf.convert_to_tensor(self._prepared):
            some = slice(None, None, max(1, len(rows) // ROWS))
            self._chain.initialize(*as_of(self._chain, rows[some], *(each[some] for each in _given(contexts))))
            self._prepared.assign(1)
        return super().fit(x, y, **kwargs)

    def fit_to(self, log_density, contexts=None, steps=1000, batch_size=256, **settings):
        """Draw the density towards one that is known but for a factor, by its own samples (reverse KL; Papamakarios et al. 2021,
        arXiv:1912.02762, section 2.3.2).

        Each step draws x from the density q and lowers the mean of

            log q(x | context) - log_density(x, context),

        which is KL(q || p) - log Z of p = exp(log_density) / Z: at best -log Z. It finds one mode sooner than all.

        Args:
            log_density: callable of x `(batch, features)`, and of contexts `(batch, context)` where there are any, to `(batch,)`,
                by TensorFlow or `keras.ops`, with a gradient.
            contexts: `(n, context)`, of which every step takes some; None where there are none. Defaults to None.
            steps: int. Steps an epoch. Defaults to 1000.
            batch_size: int. Draws a step. Defaults to 256.
            **settings: of `keras.Model.fit`, as `epochs`, `callbacks` and `verbose`.

        Returns:
            `keras.callbacks.History`.

        Example:

        >>> flow = gz.flows.RealNVP(2, transforms=2, hidden=(8,))
        >>> history = flow.fit_to(lambda x: -tf.reduce_sum(tf.square(x - 1.0), axis=1), steps=3, verbose=0)
        >>> sorted(history.history)
        ['loss']
        """
        contexts = self._context_of(contexts, lambda one: one[None])
        data = tf.data.Dataset.from_tensors(tf.zeros((whole(batch_size=batch_size),))).repeat()
        if contexts is not None:
            some = tf.data.Dataset.from_tensor_slices(contexts).repeat().shuffle(len(contexts), seed=self.seed)
            data = tf.data.Dataset.zip((data, some.batch(batch_size)))
        self._prepared.assign(1)  # data that come later find trained layers
        self._aim_at(log_density)
        try:
            return super().fit(data, steps_per_epoch=whole(steps=steps), **{"shuffle": False, **settings})
        finally:
            self._aim_at(None)

    def _aim_at(self, log_density):
        """Train by a density, or None, by data, in functions that are traced anew. A layer must not become a part of this one."""
        self.__dict__["_target"], self.train_function, self.test_function = log_density, None, None

    def _checked(self, x, context):
        """Rows and contexts of a batch, as tensors."""
        if (context is None) != (self.context is None):
            raise ValueError(
                f"the batches have {'no' if context is None else 'a'} second part, and the context of {self.name!r} is "
                f"{self.context}; give fit(x, contexts) the contexts that it depends on, and no others."
            )
        return _rows(x, self.features, "x"), None if context is None else _rows(context, self.context, "context")

    def _rows_loss(self, data, training):
        """What is lowered, of every row of a batch."""
        x, context, weights = keras.utils.unpack_x_y_sample_weight(data)
        if weights is not None:
            raise ValueError(NO_WEIGHTS)
        if self._target is None:
            return -self._log_density_of(*self._checked(x, context), training)
        z = tf.reshape(self.prior.sample(tf.shape(x)[0], self.random), (-1, self.features))
        x = self._inverse_of(z, context)
        log_q = self.prior.log_prob(z) + forward_of(self._chain, x, training, *_given(context))[1]
        log_p = tf.cast(self._target(x, *_given(context)), tf.float32)
        if log_p.shape.rank != 1:
            raise ValueError(f"log_density returned shape {log_p.shape}, expected (batch,), a number for each row.")
        return log_q - log_p

    def train_step(self, data):
        with tf.GradientTape() as tape:
            losses = self._rows_loss(data, training=True)
            loss = self.optimizer.scale_loss(tf.reduce_mean(losses))
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return self._logged(losses)

    def test_step(self, data):
        return self._logged(self._rows_loss(data, training=False))

    def _logged(self, losses):
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(losses)
        return {metric.name: metric.result() for metric in self.metrics}


class Conditional:
    """A `Density` given a context, or one that depends on none: what `flow(context)` returns.

    Args:
        density: `Density`.
        context: as in `Density.log_prob` and `Density.sample`.
    """

    def __init__(self, density, context=None):
        self.density, self.context = density, context

    def log_prob(self, x):
        """log p(x | context) in nats, `(n,)`, of rows `(n, features)`."""
        return self.density.log_prob(x, self.context)

    def sample(self, n, seed=None):
        """n draws, see `Density.sample`."""
        return self.density.sample(n, self.context, seed)


def _chain(bijectors_):
    return bijectors.Chain(bijectors_, dtype=bijectors_[0].dtype_policy if bijectors_ else None)


def _given(context):
    return () if context is None else (context,)


def _rows(values, size, name):
    values = tf.cast(tf.convert_to_tensor(values), tf.float32)
    if values.shape.rank != 2 or values.shape[1] != size or values.shape[0] == 0:
        raise ValueError(f"{name} has shape {values.shape}, expected (n, {size}) of at least one row.")
    if tf.executing_eagerly() and not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite values, expected finite numbers; remove or repair these rows.")
    return values


def _first(x, context):
    """All rows and contexts of arrays, or the first batch of a data set."""
    return (x, context) if hasattr(x, "shape") else keras.utils.unpack_x_y_sample_weight(next(iter(x)))[:2]


# Flows in a line. All begin with a scale and an offset for each number, by which the data are about standard normal.


def NSF(features, context=None, transforms=3, hidden=(64, 64), bins=8, bound=5.0, **settings):
    """A compiled neural spline flow: autoregressive layers of rational-quadratic splines (Durkan et al. 2019, arXiv:1906.04032).

    Args:
        features: int. Numbers in a vector.
        context: int or None. Numbers in a context; None, or 0, is none. Defaults to None.
        transforms: int. Autoregressive layers, with the numbers in turns in their order and the other way round. Defaults to 3.
        hidden: ints. Units of the hidden layers of each network. Defaults to (64, 64).
        bins: int. Pieces of a spline. Defaults to 8.
        bound: float. Splines are the identity beyond -bound and bound. Defaults to 5.
        **settings: `seed` and `name`, as in `Density`.

    Returns:
        `Density`, compiled with Adam and a learning rate of 1e-3; compile it anew for another.

    Example:

    >>> gz.flows.NSF(3, context=2).log_prob(np.zeros((5, 3)), np.zeros(2)).shape
    TensorShape([5])
    """
    return MAF(features, context, transforms, hidden, bijectors.Spline(bins, bound), **settings)


def MAF(features, context=None, transforms=3, hidden=(64, 64), elementwise="affine", **settings):
    """A compiled masked autoregressive flow (Papamakarios et al. 2017, arXiv:1705.07057): densities take a pass, draws one for
    each number.

    Args:
        features, context, transforms, hidden, settings: as in `NSF`.
        elementwise: "affine", "additive", "spline" or `bijectors.Elementwise`. Defaults to "affine".
    """
    layers = autoregressions(features, transforms, elementwise, width=hidden, depth=len(hidden), context=context or None)
    return _compiled(layers, features, context or None, **settings)


def RealNVP(features, context=None, transforms=6, hidden=(64, 64), elementwise="affine", **settings):
    """A compiled flow of couplings (Dinh et al. 2017, arXiv:1605.08803): densities and draws take a pass, so that it suits
    `fit_to`.

    Args:
        features, context, hidden, settings: as in `NSF`. At least 2 features.
        transforms: int. Couplings, of which every other one changes the other half. Defaults to 6.
        elementwise: as in `MAF`.
    """
    if whole(features=features) < 2:
        raise ValueError("features is 1, and a coupling needs a number that stays and one that changes; take gz.flows.NSF.")
    layers = couplings(features, whole(transforms=transforms), hidden, len(hidden), elementwise, context or None)
    return _compiled([bijectors.ActNorm(features), *layers], features, context or None, **settings)


def FFJORD(features, context=None, hidden=(64, 64), solver="rk4", trace="exact", **settings):
    """A compiled continuous flow (Grathwohl et al. 2019, arXiv:1810.01367), see `bijectors.Continuous`.

    Args:
        features, context, hidden, settings: as in `NSF`.
        solver, trace: as in `bijectors.Continuous`.
    """
    network = networks.dense_velocity(features, hidden, len(hidden), context=context or None)
    layers = [bijectors.ActNorm(features), bijectors.Continuous(network, solver, trace)]
    return _compiled(layers, features, context or None, **settings)


def _compiled(layers, *arguments, **settings):
    density = Density(layers, *arguments, **settings)
    density.compile(Adam(1e-3))
    return density


def autoregressions(dimensions, count, elementwise="affine", **network):
    """Autoregressive layers of vectors, the order turned round between them, each behind a scale and an offset of every number.

    Args:
        dimensions: int.
        count: int.
        elementwise: name or `bijectors.Elementwise`. Defaults to "affine".
        **network: of `networks.made`.

    Returns:
        list of `bijectors.Bijector`.
    """
    chain = []
    for index in range(whole(count=count)):
        make = bijectors.get_elementwise(elementwise)
        chain.append(bijectors.ActNorm(dimensions))
        if index:
            chain.append(bijectors.Permutation(range(dimensions)[::-1]))
        chain.append(bijectors.Autoregressive(networks.made(dimensions, make.parameters, **network), make))
    return chain


def couplings(dimensions, count, width, depth, elementwise="affine", context=None):
    """Couplings of vectors by fully connected networks, every other element changing in turn.

    Args:
        dimensions: int. Of fewer than 2 there are no couplings.
        count: int.
        width, depth, context: as in `networks.dense_coupling`.
        elementwise: name or `bijectors.Elementwise`. Defaults to "affine".

    Returns:
        list of `bijectors.Bijector`.
    """
    if dimensions < 2 or not count:
        return []
    make, half = bijectors.get_elementwise(elementwise), dimensions // 2
    chain = [bijectors.Permutation([*range(0, dimensions, 2), *range(1, dimensions, 2)])]
    for index in range(count):
        flip = index % 2 == 1
        stays = dimensions - half if flip else half
        network = networks.dense_coupling(stays, (dimensions - stays) * make.parameters, width, depth, context=context)
        chain.append(bijectors.Coupling(network, make, flip=flip))
    return chain
