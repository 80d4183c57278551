"""What every trained model can be asked: images drawn, coded and told again, and likelihoods in bits."""

import functools
import inspect
import math

import numpy as np
import tensorflow as tf

from keras_genzoo.core import averages, codes, memory, randomness
from keras_genzoo.core import images as image_convention
from keras_genzoo.core.batches import TOLD, by_row, pieces
from keras_genzoo.core.checks import whole
from keras_genzoo.core.latents import checked
from keras_genzoo.core.members import Absent, available_if, inference
from keras_genzoo.core.serialization import constructor_arguments


def batched(method=None, *, compiled=False, size=256):
    """Make a method of images, or of codes, one of any number of them; with the averaged weights, as `inference` does.

    The method is written for one batch, and is called so within a graph and by other such methods. A user hands it an array of
    any length or a data set, and `batch_size=` (`size` unless told otherwise); of more than one batch it is compiled. Images and
    codes are checked first. `noise_key` gives noise that depends on the row and not on the batch.

    Args:
        method: of a tensor, called `x` where it is images and `z` where it is codes, and of settings; its results have a row
            for each of the tensor's. Among the settings may be `labels` and `conditions`, which go by row.
        compiled: bool. Whether it is compiled for a single batch too, as pays for long loops: `@batched(compiled=True)`. Defaults
            to False.
        size: int. Rows of a batch unless a user says otherwise. Defaults to 256.
    """
    if method is None:
        return functools.partial(batched, compiled=compiled, size=size)
    body, signature = inference(method), inspect.signature(method)
    first = list(signature.parameters)[1]

    @functools.wraps(method)
    def asked(self, *args, batch_size=size, **settings):
        if tf.inside_function() or self._row is not None:
            return body(self, *args, **settings)
        batch_size = whole(batch_size=batch_size)
        settings = signature.bind(self, *args, **settings).arguments
        rest = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), None)
        settings |= settings.pop(rest, {})
        del settings["self"]
        rows, results = settings.pop(first), []
        given = {name: settings.pop(name, None) for name in TOLD}
        given = {name: value for name, value in given.items() if value is not None}
        for row, piece, told, more in pieces(rows, batch_size, first == "x", given):
            self._check_rows(piece, first == "x", method.__name__)
            settings |= by_row(self, {name: told[name] for name in told if name in signature.parameters}, given)
            as_graph = (more or compiled) and not self.run_eagerly
            with _enough_memory(method.__name__, len(piece)):
                results.append(self._run(body, piece, row, settings, compiled=as_graph))
        if len(results) == 1:
            return results[0]
        with tf.device("CPU"):  # where memory is
            return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *results)

    parameters = list(signature.parameters.values())
    place = len(parameters) - (parameters[-1].kind is inspect.Parameter.VAR_KEYWORD)
    parameters.insert(place, inspect.Parameter("batch_size", inspect.Parameter.KEYWORD_ONLY, default=size))
    asked.__signature__ = signature.replace(parameters=parameters)
    return asked


def _enough_memory(name, size):
    return memory.enough(f"{name} in batches of {size}", "take a smaller batch_size, or fewer images")


class Inference:
    """The part of `GenerativeModel` that is made of a family's `draw_latents`, `generate`, `encode`, `decode` and `log_prob`.

    Methods that take images or codes take arrays of any length and data sets, and compute `batch_size` of them at a time.
    """

    _row = None  # the number of the first row while a method of `batched` runs
    _first = 0  # the number of the first image that `sample` draws

    encode = Absent("it has no codes of images")
    decode = Absent("it has no codes to make images of")
    log_prob = Absent("its family defines no likelihood of an image")
    energy = Absent("its family defines no energy of an image")
    fit_prior = Absent("it needs no density fitted to codes")
    inpaint = Absent("only diffusion models fill in images")
    project = Absent("only GANs look for the latents of an image")
    img2img = Absent("only diffusion models of pixels make images from images")

    sample_needs = "it has no distribution to draw from"  # what `sample` says where it is absent

    @available_if(lambda self: hasattr(self, "draw_latents"), lambda self: self.sample_needs)
    def sample(self, n=None, seed=None, batch_size=256, labels=None, averaged=True, latents=None, **settings):
        """Draw images.

        Args:
            n: int or None. Number of images; None is that of `latents`.
            seed: int or None. The same seed gives the same images; image i starts from noise that depends on the seed and
                i alone. None draws a seed from Keras's global state. Defaults to None.
            batch_size: int. Images computed at a time. Defaults to 256.
            labels: int array `(n,)` of classes, for conditional models alone; None draws them uniformly, by the seed too
                (`draw_labels` says which). Defaults to None.
            averaged: bool. Whether to use the averages of the weights, where the model keeps any, or the weights as trained.
                Defaults to True.
            latents: float array `(n, ...)` of what images are made of, of the shape that `draw_latents` draws; None draws them.
                Labels, and noise on the way of models that need it, still follow the seed. Defaults to None.
            **settings: of the family's `generate`.

        Returns:
            float32 array `(n, height, width, channels)` in [0, 1]. Inside a `tf.function`, where `n` and `seed` may be scalar
            tensors and `seed` has to be given, a tensor of all images at once.

        Raises:
            ValueError: labels of another number, beyond the classes, or for a model that takes none; latents of another shape or
                number.
        """
        given, n = checked(self, latents, n)
        if tf.inside_function():
            return self._sample_in_graph(n, seed, labels, averaged, settings, given)
        n = whole(n=n)
        parameters = list(inspect.signature(type(self).generate).parameters.values())[2:]
        known = [each.name for each in parameters]
        any_name = any(each.kind is each.VAR_KEYWORD for each in parameters)  # of a family whose own `sample` has checked them
        if not any_name and (unknown := sorted(set(settings) - set(known))):
            told = ("labels",) if self.condition_dim is None else TOLD
            common = "n", "seed", "batch_size", *told, "averaged", "latents"
            taken = ", ".join(name for name in (*common, *known) if name != "key")
            raise TypeError(f"sample of {type(self).__name__} {self.name!r} takes no {unknown[0]!r}; it takes {taken}.")
        return self._generated(n, seed, batch_size, labels, settings, averaged=averaged, latents=given)

    def _row_shape(self, settings):
        """The shape of what `generate` makes of a row of noise with these settings."""
        return self.image_shape

    def _generated(self, n, seed, batch_size, labels, settings, of_rows=lambda rows: {}, averaged=True, latents=None):
        """What `generate` makes of n draws of noise, batch by batch, `(n, height, width, channels)`.

        Args:
            n, seed, batch_size, labels, averaged, latents: as of `sample`.
            settings: dict. Others of `generate`.
            of_rows: callable of a slice to more of them, for these rows. Defaults to none.
        """
        batch_size, seed = whole(batch_size=batch_size), randomness.random_seed() if seed is None else whole(0, seed=seed)
        labels = self._labels(n, seed, labels)
        with _enough_memory("sample", batch_size):
            found = np.empty((n, *self._row_shape(settings)), np.float32)
        for start in range(0, n, batch_size):
            row, rows = self._first + start, slice(start, min(start + batch_size, n))
            own, z = (None if each is None else each[rows] for each in (labels, latents))
            drawn, given = self._drawn(rows.stop - start, randomness.RowStream(seed, row), own, settings, z)
            with _enough_memory("sample", batch_size):
                found[rows] = self._run(type(self).generate, drawn, row, {**given, **of_rows(rows)}, averaged)
        return found

    def _sample_in_graph(self, n, seed, labels, averaged, settings, given):
        if seed is None:
            raise ValueError("sample got no seed inside a tf.function, where it would be the same in every call; give it one.")
        if labels is None and self.num_classes is not None:
            labels = self._draw_labels(n, seed)
        latents, settings = self._drawn(n, randomness.RowStream(seed, 0), labels, settings, given)
        return self._of_rows(type(self).generate, latents, 0, settings, averaged)

    def _drawn(self, n, random, labels, settings, given=None):
        """What `generate` takes: latents, those given or of a stream's rows, and their labels if there are any; and settings."""
        latents = self.draw_latents(n, random) if given is None else tf.convert_to_tensor(given)
        if labels is not None:
            latents = (latents, tf.one_hot(labels, self.num_classes))
        return latents, {**settings, "key": random.key()} if self.keyed else settings

    @available_if(lambda self: hasattr(self, "sample"), lambda self: self.sample_needs)
    def sample_batches(self, n=None, seed=None, batch_size=256, labels=None, latents=None, **settings):
        """The images of `sample`, one batch after the other, for more of them than memory holds.

        Args:
            n, seed, batch_size, labels, latents: as in `sample`.
            **settings: others of `sample`.

        Yields:
            float32 arrays `(batch, height, width, channels)` in [0, 1].

        Example:

        >>> [len(images) for images in model.sample_batches(10, seed=0, batch_size=4)]
        [4, 4, 2]
        """
        latents, n = checked(self, latents, n)
        n, batch_size = whole(n=n, batch_size=batch_size)
        seed = randomness.random_seed() if seed is None else seed
        labels = self._labels(n, seed, labels)
        for start in range(0, n, batch_size):
            cut = slice(start, min(start + batch_size, n))
            self._first = start
            try:
                more = {} if latents is None else {"latents": latents[cut]}  # which a family's own `sample` may not take
                own = None if labels is None else labels[cut]
                images = self.sample(cut.stop - start, seed, batch_size, labels=own, **more, **settings)
            finally:
                self._first = 0
            yield images

    def latent_shapes(self):
        """The shapes of the latents that `sample` takes, without the batch axis, as a list of tuples."""
        return [tuple(self.draw_latents(1, randomness.RowStream(0, 0)).shape[1:])]

    def _filled(self, images, mask, seed, labels, batch_size, settings):
        """Images whose missing pixels are made anew by `generate`, which takes `known`, images in [0, 1], and `mask`, bool.

        Args:
            images: as a user hands them over.
            mask: as of `images.full_mask`.
            seed, labels, batch_size: as of `sample`.
            settings: dict. Others of `generate`.
        """
        image_convention.check_images(images, expected=self.image_shape)
        images = self.images_of(images)
        mask = image_convention.full_mask(mask, images.shape)
        of_rows = lambda rows: {"known": images[rows], "mask": tf.constant(mask[rows])}  # noqa: E731
        return np.where(mask, images, self._generated(len(images), seed, batch_size, labels, settings, of_rows))

    @available_if(lambda self: self.num_classes is not None, "it does not sample by class")
    def draw_labels(self, n, seed):
        """The classes of `sample(n, seed)`, int64 `(n,)`, uniform."""
        return self._draw_labels(n, seed).numpy()

    def _draw_labels(self, n, seed):
        # Of a stream of its own: the noise of an image does not depend on whether its label was drawn.
        return tf.cast(randomness.uniform(randomness.make_key(seed, 2), (n,)) * self.num_classes, tf.int64)

    def _labels(self, n, seed, labels):
        if self.num_classes is None:
            if labels is not None:
                raise ValueError(f"labels were given, but {type(self).__name__} {self.name!r} has no classes.")
            return None
        labels = self.draw_labels(n, seed) if labels is None else np.asarray(labels)
        if labels.shape != (n,) or not np.isin(labels, np.arange(self.num_classes)).all():
            raise ValueError(
                f"labels have shape {labels.shape} and lie between {labels.min(initial=0)} and {labels.max(initial=0)}, expected "
                f"({n},) and classes between 0 and {self.num_classes - 1}."
            )
        return labels

    def noise_key(self, *numbers):
        """The key of a method's noise, of integers such as its seed: of the rows at hand, see `randomness.row_key`."""
        return randomness.row_key(0 if self._row is None else self._row, *numbers)

    def _check_rows(self, rows, are_images, what):
        if not are_images:
            if any(each.ndim == 1 for each in map(np.asarray, tf.nest.flatten(rows))):
                raise ValueError("one code came, expected a batch of them, (batch, ...); add the batch axis with `z[None]`.")
            if not all(np.isfinite(each).all() for each in tf.nest.flatten(rows)):
                raise ValueError("codes hold NaN or infinite values, expected finite numbers.")
            return
        image_convention.check_images(rows, expected=self.image_shape)
        if what.endswith("log_prob") and self.support == "binary" and not np.isin(self.images_of(rows), (0, 1)).all():
            raise ValueError("the likelihood is of binary images and these are not; pass `(images >= 0.5).astype('float32')`.")

    def _run(self, method, rows, row, settings, averaged=True, compiled=True):
        """A method of one batch, of which `row` is the number of the first."""
        run = functools.partial(self._of_rows, method)
        if not compiled or tf.config.functions_run_eagerly():
            return run(rows, row, settings, averaged)
        # Of any number of rows (and of steps) and any seed: one graph however many images are asked for. Numbers of NumPy would
        # become tensors.
        settings = {name: value.item() if isinstance(value, np.generic) else value for name, value in settings.items()}
        if "seed" in settings:
            settings = {**settings, "seed": tf.constant(settings["seed"], tf.int64)}
        arguments = tf.nest.map_structure(tf.convert_to_tensor, rows), tf.constant(row, tf.int64), settings, averaged
        specs = tf.nest.map_structure(
            lambda x: tf.TensorSpec([None, *x.shape[1:]] if x.shape.rank else [], x.dtype) if tf.is_tensor(x) else x, arguments
        )
        if "key" in settings:
            specs[2]["key"] = tf.TensorSpec([3], tf.int64)
        return self._graph(method.__name__, run).get_concrete_function(*specs)(*arguments)

    def _of_rows(self, method, rows, row, settings, averaged):
        self._row, self._as_trained = row, not averaged
        try:
            return method(self, rows, **settings)
        finally:
            self._row, self._as_trained = None, False

    def _graph(self, name, run):
        """`run` compiled, as it was before unless the model has got other weights since, as by `quantize`."""
        weights = list(self.weights)
        known, graphs = self.__dict__.get("_graphs", ([], {}))
        if len(known) != len(weights) or any(a is not b for a, b in zip(known, weights, strict=True)):
            graphs = {}
            averages.renew(self)
            weights = list(self.weights)
        self.__dict__["_graphs"] = weights, graphs
        # As Keras traces steps; converting the code takes longer than tracing it.
        return graphs.setdefault(name, tf.function(run, autograph=False))

    def __setattr__(self, name, value):
        if name in constructor_arguments(type(self)) or (name == "predict_function" and value is None):
            self.__dict__.pop("_graphs", None)  # made of what was there before
        super().__setattr__(name, value)

    @inference
    def generate(self, latents):
        """Images from what `draw_latents` drew; the compiled part of `sample`. Defaults to `decode`."""
        return self.decode(latents)

    @available_if(lambda self: hasattr(self, "encode") and hasattr(self, "decode"), "it needs both encode and decode")
    @batched
    def reconstruct(self, x, labels=None, conditions=None, **settings):
        """Images through the code and back: float32 in [0, 1], shape as `x`.

        Args:
            x: images.
            labels: int array `(batch,)`, of conditional models alone. Defaults to None.
            conditions: float array `(batch, condition_dim)`, of models that are told vectors alone. Defaults to None.
            **settings: of both `encode` and `decode`.
        """
        told = {"labels": labels, "conditions": conditions}
        settings |= {name: rows for name, rows in told.items() if rows is not None}
        return self.decode(self.encode(x, **settings), **settings)

    @available_if(lambda self: hasattr(self, "encode") and hasattr(self, "decode"), "it needs both encode and decode")
    def interpolate(self, x0, x1, steps=8, **settings):
        """Images along the ways between the codes of two batches: straight ones, and spherical ones where codes are standard
        normal.

        Args:
            x0, x1: images `(batch, height, width, channels)`.
            steps: int. Images a line, both ends included. Defaults to 8.
            **settings: of both `encode` and `decode`, as `batch_size`, or the `labels` and `conditions` of the lines.

        Returns:
            float32 array `(batch, steps, height, width, channels)` in [0, 1].
        """
        steps = whole(steps=steps)
        z0, z1 = self.encode(x0, **settings), self.encode(x1, **settings)
        return self._along(z0, z1, steps, lambda z: self.decode(z, **settings))

    def _along(self, z0, z1, steps, decode):
        """Images that `decode` makes of codes along the ways between two batches of them, `(batch, steps, *image)`."""
        if len(z0) != len(z1):
            raise ValueError(f"there are {len(z0)} and {len(z1)} images, expected as many at both ends of the lines.")
        ways = (self.between(z0, z1, position) for position in np.linspace(0, 1, steps, dtype="float32"))
        return np.stack([decode(z) for z in ways], axis=1)

    def between(self, z0, z1, position):
        """The codes at a position from 0 to 1 of the ways between two batches of codes."""
        return codes.straight(z0, z1, position)

    @available_if(
        lambda self: hasattr(self, "log_prob") and self.support != "binary",
        "it needs a log_prob of gray or colour images",
    )
    def bits_per_dim(self, x, **kwargs):
        """-log2 P(x) per pixel and channel of images of 256 levels, `(batch,)`; bounds as `log_prob` does.

        A density p on the unit cube gives log P(x) >= E_u[log p((x + u) / 256)] - dimensions * log 256 (Theis et al. 2016,
        arXiv:1511.01844, eq. 3); a probability mass is taken as it is.
        """
        return self.to_bits_per_dim(self.log_prob(x, **kwargs))

    def to_bits_per_dim(self, log_prob, support=None):
        """What `log_prob` returned, in bits per dimension; `support` is what it is over, where it is not the model's own."""
        bits = -log_prob / (math.prod(self.image_shape) * math.log(2))
        continuous = (self.support if support is None else support) == "continuous"
        return bits + math.log2(image_convention.LEVELS) if continuous else bits
