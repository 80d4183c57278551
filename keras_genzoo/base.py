"""The contract that every family of generative models keeps."""

import contextlib
import functools
import itertools
import math
import os
import types
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo import images as image_convention
from keras_genzoo import randomness
from keras_genzoo.files import replacing
from keras_genzoo.serialization import Configured, constructor_arguments


def available_if(condition, reason):
    """Make a method that exists only while `condition(self)` holds, so that `hasattr` says whether the call works.

    Args:
        condition: callable of the model, to bool.
        reason: str. What the method needs; ends the message of the AttributeError.
    """

    def decorate(method):
        @functools.wraps(method)
        def bound(self):
            if not condition(self):
                raise AttributeError(f"{type(self).__name__} {self.name!r} has no `{method.__name__}`: {reason}.")
            return types.MethodType(method, self)

        return property(bound, doc=method.__doc__)

    return decorate


def inference(method):
    """Make a method of a model compute with the averaged weights: the mark of everything but the training step."""

    @functools.wraps(method)
    def averaged(self, *args, **kwargs):
        with self.averaged_weights():
            return method(self, *args, **kwargs)

    return averaged


class GenerativeModel(Configured, keras.Model):
    """Base of all families: images at the border, one gradient step, metrics, averages of weights, sampling, saving.

    A family takes its networks, built, as constructor arguments, keeps every argument as an attribute of the same name,
    names its loss terms, and writes `call`, `train_step` and `test_step` with the pieces found here. Images come as
    `uint8` or as floats in [0, 1], `(batch, height, width, channels)`, and leave as float32 in [0, 1].

    Args:
        seed: int or None. Seed of the noise in training and validation; None draws one from Keras's global state.
            Defaults to None.
        ema: float in (0, 1) or None. Decay of the exponential moving average of the weights (`averaged` names of which
            arguments; normalisation statistics included) that everything but the training step then uses. Step t, from
            0, averages with decay min(ema, t / (t + 10)), so that a short run does not remember its start. Defaults to
            None, no average.
        name: str or None. Name of the model.
        dtype: dtype policy of the model itself; networks have their own.

    Class attributes of a family:
        terms: names of the loss terms beside `loss`.
        diagnostics: names of further values that training alone reports.
        monitor: the metric that falls as training succeeds, or None.
        limits: names of terms -> the largest absolute value that a healthy run has; see `callbacks.StopOnDivergence`.
        optimizers: argument of `compile` -> names of the constructor arguments whose variables it trains.
        averaged: names of the constructor arguments that `ema` averages.
        conditional: whether the model needs labels.
        keyed: whether `generate` takes a `key`, of the noise that sampling needs beyond the latents.
        num_classes: number of classes that `sample` can be asked for, or None; `generate` then takes the pair of what
            `draw_latents` drew and one-hot labels `(batch, num_classes)`.
        log_prob_label: what `log_prob` is with its default arguments where it is not exact, as "iw64".
    """

    terms = ()
    diagnostics = ()
    monitor = "loss"
    limits = types.MappingProxyType({})
    optimizers = {"optimizer": ()}
    averaged = ()
    conditional = False
    keyed = False
    num_classes = None
    log_prob_label = None

    def __init__(self, seed=None, ema=None, name=None, dtype=None):
        # Without autocast, which would round what a family computes in float32 where Keras calls it, and nowhere else.
        super().__init__(name=name, dtype=dtype, autocast=False)
        if ema is not None and not 0 < ema < 1:
            raise ValueError(f"ema is {ema!r}, expected None or a decay between 0 and 1, such as 0.999.")
        self.seed = randomness.random_seed() if seed is None else int(seed)
        self.ema = ema
        self._counters = {name: randomness.counter(self, name) for name in ("random", "random_test")}
        self.random = randomness.Stream(self.seed, self._counters["random"])
        # Another seed than training's, so that validation neither disturbs nor repeats training's noise.
        self.random_test = randomness.Stream(self.seed + 1, self._counters["random_test"])
        self._prepared = randomness.counter(self, "prepared")
        self.validation_data = None
        self._as_trained = False  # whether the averages are left out for now

    def finish(self):
        """End of construction: check the networks, make the metrics and the averages. Called by the metaclass."""
        for name in constructor_arguments(type(self)):
            for part in self._layers_of([name]):
                _check_network(part, name)
        self._trackers = [keras.metrics.Mean(name=name) for name in ("loss", *self.terms, *self.diagnostics)]
        self._average_pairs = []
        if self.ema is not None:
            for variable in self._variables_of(self.averaged, "variables"):
                if "float" in variable.dtype:
                    average = self.add_weight(
                        shape=variable.shape, dtype=variable.dtype, trainable=False, name=f"average_{variable.name}"
                    )
                    average.assign(variable)
                    self._average_pairs.append((variable, average))
        self.built = True  # the networks are

    def _layers_of(self, names):
        """The layers among arguments of these names; of lists, those in them."""
        values = [getattr(self, name) for name in names]
        parts = [part for value in values for part in (value if isinstance(value, (list, tuple)) else [value])]
        return [part for part in parts if isinstance(part, keras.layers.Layer)]

    def _variables_of(self, names, kind):
        variables = [v for part in self._layers_of(names) for v in getattr(part, kind)]
        return list({id(v): v for v in variables}.values())  # a layer that two networks share counts once

    # Images at the border

    @property
    def image_shape(self):
        """`(height, width, channels)` of the images the model takes and makes."""
        return tuple(self.encoder.input_shape[1:])

    @property
    def support(self):
        """What a density of the model is over: "continuous" (the unit cube), "levels" (the 256 levels) or "binary"."""
        raise AttributeError(f"{type(self).__name__} defines no density, so it has no support.")

    def images_of(self, data):
        """The images of what `fit` or a user hands over, float32 in [0, 1].

        Args:
            data: images, or `(images,)`, `(images, labels)` or `(images, extras)`, a dict of what goes with them by name, such as
                `labels`.

        Raises:
            ValueError: dicts alone, sample weights, another shape or dtype than the model's.
        """
        images = _unpack(data)[0]
        images = image_convention.to_unit(images)
        if tuple(images.shape[1:]) != self.image_shape:
            raise ValueError(
                f"images have shape {tuple(images.shape)}, expected (batch, {', '.join(map(str, self.image_shape))}); "
                f"build the model with image_shape={tuple(images.shape[1:])}, or load the data with image_size= and channels=."
            )
        return images

    def labels_of(self, data):
        """The labels of a batch `(images, labels)`; raises where a conditional model is given none."""
        labels = _unpack(data)[1]
        if labels is None:
            raise ValueError(
                f"{type(self).__name__} is conditional and was given images alone, expected batches (images, labels); "
                f"load the data with labels=True."
            )
        return labels

    def extra_of(self, data, name):
        """A named extra of a batch `(images, extras)`; raises where there is none."""
        extras = data[1] if isinstance(data, (tuple, list)) and len(data) == 2 else None
        if not isinstance(extras, dict) or name not in extras:
            needs = ", ".join(f"{key}={value!r}" for key, value in self.data_needs.items())
            raise ValueError(
                f"{type(self).__name__} needs batches (images, extras) with {name!r} among the extras, and was given none; "
                f"load the data with gz.data.load(..., {needs})."
            )
        return extras[name]

    @property
    def data_needs(self):
        """Arguments of `gz.data.load` that give what the model trains on beside images."""
        return {"labels": True} if self.conditional else {}

    def one_hot_labels_of(self, data):
        """The labels of a batch as float32 `(batch, num_classes)`; None where the model is not conditional."""
        return tf.one_hot(tf.cast(self.labels_of(data), tf.int32), self.num_classes) if self.conditional else None

    # Training

    def compile(
        self,
        optimizer=None,
        *,
        loss=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile="auto",
        auto_scale_loss=True,
        **optimizers,
    ):
        """Prepare for training.

        Args:
            optimizer: name or instance of a Keras optimizer; None is Adam with a learning rate of 1e-3.
            run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: as in `keras.Model.compile`.
            **optimizers: the family's further optimizers, such as `critic_optimizer`.

        Raises:
            ValueError: a `loss`, which is the family's own; an argument that is none of the above.
        """
        if loss is not None:
            raise ValueError(f"loss={loss!r} was given, but {type(self).__name__} defines its own; change its arguments instead.")
        given = {"optimizer": optimizer, **optimizers}
        unknown = sorted(set(given) - set(self.optimizers))
        if unknown:
            raise ValueError(
                f"compile() takes no {unknown[0]!r}; the optimizers of {type(self).__name__} are {sorted(self.optimizers)}."
            )
        settings = {
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "auto_scale_loss": auto_scale_loss,
        }
        super().compile(optimizer=None, jit_compile=jit_compile, **settings)
        for argument, names in self.optimizers.items():
            value = given.get(argument)
            chosen = keras.optimizers.get(keras.optimizers.Adam() if value is None else value)
            wrapped = isinstance(chosen, keras.optimizers.LossScaleOptimizer)
            if auto_scale_loss and not wrapped and self._computes_in_float16(names):
                chosen = keras.optimizers.LossScaleOptimizer(chosen)
            chosen.build(self._variables_of(names, "trainable_variables"))
            setattr(self, argument, chosen)
        # As given: "auto" must be decided anew by the machine that loads the model.
        self._compile_settings = {**settings, "jit_compile": jit_compile}

    def _computes_in_float16(self, names):
        layers = [layer for part in self._layers_of(names) for layer in part._flatten_layers()]
        return any(layer.compute_dtype == "float16" for layer in layers)

    def get_compile_config(self):
        if not self.compiled:
            return {}
        optimizers = {argument: getattr(self, argument) for argument in self.optimizers}
        return keras.saving.serialize_keras_object({**optimizers, **self._compile_settings})

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    def minimize(self, terms_of, networks, optimizer):
        """The one gradient step.

        Args:
            terms_of: callable without arguments, to a dict of terms that holds "loss"; each is a scalar or one number an
                image. The norm of the gradient joins them as `<network>_gradient_norm` where the family's diagnostics
                name it, of the first of the networks.
            networks: names of the constructor arguments to train.
            optimizer: the optimizer of these.

        Returns:
            The dict, with the networks' kernel regularisers added to "loss".
        """
        variables = self._variables_of(networks, "trainable_variables")
        replicas = self.distribute_strategy.num_replicas_in_sync
        with tf.GradientTape() as tape:
            terms = self._regularised(terms_of, networks)
            # Keras sums the gradients of the replicas.
            objective = optimizer.scale_loss(tf.reduce_mean(terms["loss"]) / replicas)
        gradients = tape.gradient(objective, variables)
        norm = f"{networks[0]}_gradient_norm"
        if norm in self.diagnostics:
            scale = optimizer.scale_loss(tf.constant(1.0 / replicas))
            terms[norm] = tf.linalg.global_norm(gradients) / tf.cast(scale, tf.float32)
        optimizer.apply_gradients(zip(_clip_together(gradients, optimizer, replicas), variables, strict=True))
        self._update_averages(networks, optimizer)
        return terms

    def measure(self, terms_of, networks):
        """The terms as `minimize` returns them, without a step, and of the averaged weights where there are any."""
        with self.averaged_weights():
            return self._regularised(terms_of, networks)

    def _regularised(self, terms_of, networks):
        terms = dict(terms_of())
        for part in self._layers_of(networks):
            for loss in part.losses:
                terms["loss"] = terms["loss"] + tf.cast(loss, tf.float32)
        return terms

    def track(self, terms):
        """Feed the metrics, numbers per image as well as scalars, and return what they stand at."""
        fed = [tracker for tracker in self._trackers if tracker.name in terms]
        for tracker in fed:
            tracker.update_state(terms[tracker.name])
        results = {tracker.name: tracker.result() for tracker in fed}
        if isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            # Keras reduces the results of several workers over axis 0, which a scalar lacks.
            results = {name: tf.reshape(value, (1,)) for name, value in results.items()}
        return results

    @property
    def metrics(self):
        return list(self._trackers)

    def fit(self, x=None, y=None, *args, **kwargs):
        """`keras.Model.fit` after one look at the first batch: range, shape, `prepare`.

        Raises:
            ValueError: the first batch of `x` or of `validation_data` is not what the model takes; sample or class weights.
        """
        if args:
            raise TypeError("fit() takes x and y by position and everything else by keyword.")
        for name in ("sample_weight", "class_weight"):
            if kwargs.get(name) is not None:
                raise ValueError(f"{name} was given, but generative models weigh all images alike; repeat images instead.")
        first, x = _first_batch(x, y, kwargs.get("batch_size"))
        self._check_batch(first, "images")
        validation = kwargs.get("validation_data")
        if validation is not None and not isinstance(validation, types.GeneratorType):
            batch, _ = _first_batch(*(_unpack(validation)), kwargs.get("batch_size"))
            self._check_batch(batch, "validation images")
        if isinstance(x, (tf.data.Dataset, tf.distribute.DistributedDataset, types.GeneratorType)):
            kwargs.setdefault("shuffle", False)  # Keras warns that its default, True, cannot be kept
        if not tf.convert_to_tensor(self._prepared):
            self.prepare(first, x)
            self._prepared.assign(1)
        self.validation_data = None if isinstance(validation, types.GeneratorType) else validation  # for callbacks
        try:
            return super().fit(x, y, **kwargs)
        finally:
            self.validation_data = None

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Everything is built already, and under a strategy Keras would average a batch of images over the replicas to
        # learn their shape, which several workers cannot do with uint8.
        pass

    def _check_batch(self, batch, what):
        if batch is None:
            raise ValueError(f"there are no {what}: the data set is empty.")
        images, labels = _unpack(batch)
        image_convention.check_images(images, what)
        self.images_of(images)
        for name in set(self.data_needs) - {"labels"}:
            self.extra_of(batch, name)
        if self.conditional:
            labels = np.asarray(self.labels_of((images, labels)))
            if self.num_classes and (labels.min(initial=0) < 0 or labels.max(initial=0) >= self.num_classes):
                raise ValueError(
                    f"the labels of {what} lie between {labels.min()} and {labels.max()}, expected classes between 0 and "
                    f"{self.num_classes - 1}; build the model with num_classes={labels.max() + 1}."
                )

    def prepare(self, first_batch, dataset):
        """Hook, called once in the model's life, before its first step: data-dependent initialisation.

        Args:
            first_batch: images or `(images, labels)`.
            dataset: what `fit` was given.
        """

    def evaluate(self, *args, **kwargs):
        # The same noise in every validation, so that epochs compare.
        self._counters["random_test"].assign(0)
        return super().evaluate(*args, **kwargs)

    # Averages of the weights

    def _update_averages(self, networks, optimizer):
        if self._average_pairs and any(name in self.averaged for name in networks):
            step = tf.cast(optimizer.iterations - 1, tf.float32)
            decay = tf.minimum(self.ema, step / (step + 10.0))
            trained = {id(v) for v in self._variables_of(networks, "variables")}
            for variable, average in self._average_pairs:
                if id(variable) in trained:
                    value = tf.cast(average.value, tf.float32)
                    average.assign(value + (1 - decay) * (tf.cast(variable.value, tf.float32) - value))

    @contextlib.contextmanager
    def averaged_weights(self):
        """Inside the block the networks compute with the averages of their weights, where the model keeps any."""
        if not self._average_pairs or self._as_trained:
            yield
            return
        with keras.StatelessScope(state_mapping=self._average_pairs) as scope:
            yield
        for counter in self._counters.values():  # the scope kept every assignment to itself
            value = scope.get_current_value(counter)
            if value is not None:
                counter.assign(value)

    def count_params(self):
        """Number of parameters of the networks; averages and counters are not counted."""
        return sum(math.prod(v.shape) for v in self._variables_of(constructor_arguments(type(self)), "weights"))

    # Sampling and inference

    @available_if(lambda self: hasattr(self, "draw_latents"), "it has no distribution to draw from")
    def sample(self, n, seed=None, batch_size=256, labels=None, averaged=True, **settings):
        """Draw images.

        Args:
            n: int. Number of images.
            seed: int or None. The same seed gives the same images; image i starts from noise that depends on the seed and
                i alone. None draws a seed from Keras's global state. Defaults to None.
            batch_size: int. Images computed at a time. Defaults to 256.
            labels: int array `(n,)` of classes, for conditional models alone; None draws them uniformly, by the seed too
                (`draw_labels` says which). Defaults to None.
            averaged: bool. Whether to use the averages of the weights, where the model keeps any, or the weights as trained.
                Defaults to True.
            **settings: of the family's `generate`.

        Returns:
            float32 array `(n, height, width, channels)` in [0, 1].

        Raises:
            ValueError: labels of another number, beyond the classes, or for a model that takes none.
        """
        n, batch_size = _positive(n, "n"), _positive(batch_size, "batch_size")
        seed = randomness.random_seed() if seed is None else seed
        labels = self._labels(n, seed, labels)
        images = np.empty((n, *self.image_shape), np.float32)
        for start in range(0, n, batch_size):
            random = randomness.RowStream(seed, start)
            latents = self.draw_latents(min(batch_size, n - start), random)
            if labels is not None:
                latents = (latents, tf.one_hot(labels[start : start + batch_size], self.num_classes))
            if self.keyed:
                settings["key"] = random.key()
            images[start : start + batch_size] = self._generate(latents, averaged, settings)
        return images

    @available_if(lambda self: self.num_classes is not None, "it does not sample by class")
    def draw_labels(self, n, seed):
        """The classes of `sample(n, seed)`, int64 `(n,)`, uniform."""
        # Of a stream of its own: the noise of an image does not depend on whether its label was drawn.
        uniform = randomness.uniform(randomness.make_key(seed, 2), (n,)).numpy()
        return (uniform * self.num_classes).astype(np.int64)

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

    def _generate(self, *arguments):
        # Of any number of rows (and of steps): one graph however many images are asked for.
        specs = tf.nest.map_structure(
            lambda x: tf.TensorSpec([None, *x.shape[1:]] if x.shape.rank else [], x.dtype) if tf.is_tensor(x) else x, arguments
        )
        return self._compiled_generate.get_concrete_function(*specs)(*arguments)

    @functools.cached_property
    def _compiled_generate(self):
        def generate(latents, averaged, settings):
            self._as_trained = not averaged
            try:
                return self.generate(latents, **settings)
            finally:
                self._as_trained = False

        return tf.function(generate)

    @inference
    def generate(self, latents):
        """Images from what `draw_latents` drew; the compiled part of `sample`. Defaults to `decode`."""
        return self.decode(latents)

    @available_if(lambda self: hasattr(self, "encode") and hasattr(self, "decode"), "it needs both encode and decode")
    def reconstruct(self, x):
        """Images through the code and back: float32 in [0, 1], shape as `x`."""
        return self.decode(self.encode(x))

    @available_if(lambda self: hasattr(self, "encode") and hasattr(self, "decode"), "it needs both encode and decode")
    def interpolate(self, x0, x1, steps=8):
        """Images along the straight lines between the codes of two batches.

        Args:
            x0, x1: images `(batch, height, width, channels)`.
            steps: int. Images a line, both ends included. Defaults to 8.

        Returns:
            float32 array `(batch, steps, height, width, channels)` in [0, 1].
        """
        steps = _positive(steps, "steps")
        z0, z1 = self.encode(x0), self.encode(x1)
        line = [self.decode(z0 + (z1 - z0) * position) for position in np.linspace(0, 1, steps, dtype="float32")]
        return np.stack(line, axis=1)

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

    def to_bits_per_dim(self, log_prob):
        """What `log_prob` returned, in bits per dimension."""
        bits = -log_prob / (math.prod(self.image_shape) * math.log(2))
        return bits + math.log2(image_convention.LEVELS) if self.support == "continuous" else bits

    # Files

    def save(self, filepath, overwrite=True, **kwargs):
        """`keras.Model.save`; a crash leaves the old file or the new one."""
        self._write(filepath, overwrite, super().save, kwargs)

    def save_weights(self, filepath, overwrite=True, **kwargs):
        """`keras.Model.save_weights`; a crash leaves the old file or the new one."""
        self._write(filepath, overwrite, super().save_weights, kwargs)

    @staticmethod
    def _write(filepath, overwrite, write, kwargs):
        if not str(filepath).endswith((".keras", ".weights.h5")) or "://" in str(filepath) or kwargs:
            return write(filepath, overwrite=overwrite, **kwargs)  # Keras answers for other formats and stores
        if not overwrite and os.path.exists(filepath):
            raise FileExistsError(f"{filepath} exists; pass overwrite=True to replace it.")
        with replacing(filepath) as temporary:
            write(temporary, overwrite=True)


def load(path):
    """Load a model that `save` wrote: networks, optimizers, averages, priors and the state of the noise.

    Args:
        path: str or Path of a `.keras` file.

    Returns:
        The compiled model.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no whole `.keras` file, or holds no generative model.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}; expected a .keras file that model.save wrote.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no .keras file, or was cut off; save the model again with model.save('name.keras').")
    try:
        model = keras.saving.load_model(path)
    except KeyError as error:
        raise ValueError(f"{path} is no .keras file, or was cut off ({error}); save the model again with model.save.") from error
    if not isinstance(model, GenerativeModel):
        raise ValueError(f"{path} holds a {type(model).__name__}, expected a generative model saved by keras_genzoo.")
    return model


def check_output(network, name, *expected):
    """Raise one sentence unless a network puts out tensors of the expected shapes, the batch axis left out.

    Args:
        network: keras.Model.
        name: str. What the network is called.
        *expected: tuples of ints, or None for any number, one an output.
    """
    shapes = network.output_shape if isinstance(network.output_shape, list) else [network.output_shape]
    shapes = [tuple(shape[1:]) for shape in shapes]
    if len(shapes) != len(expected) or not all(map(_fits, shapes, expected)):
        came, wanted = (" and ".join(map(str, these)) for these in (shapes, expected))
        raise ValueError(f"{name} puts out shape {came}, expected {wanted}; change its last layer or its input.")


def _positive(number, name):
    if int(number) != number or number < 1:
        raise ValueError(f"{name} is {number!r}, expected a whole number of at least 1.")
    return int(number)


def _fits(shape, expected):
    return len(shape) == len(expected) and all(wanted in (None, size) for size, wanted in zip(shape, expected, strict=True))


def _unpack(data):
    if isinstance(data, dict):
        raise ValueError(f"batches are dicts with keys {sorted(data)}, expected images or (images, labels); map the data set.")
    if isinstance(data, (tuple, list)):
        while len(data) > 1 and data[-1] is None:  # as train_on_batch hands over what it was not given
            data = data[:-1]
        if not 1 <= len(data) <= 2:
            raise ValueError(
                f"batches hold {len(data)} things, expected images or (images, labels); there are no sample weights here."
            )
        second = data[1] if len(data) == 2 else None
        return data[0], (second.get("labels") if isinstance(second, dict) else second)
    return data, None


def _first_batch(x, y, batch_size):
    """The first batch of anything `fit` takes, and `x` with that batch put back where reading used it up."""
    if isinstance(x, keras.utils.PyDataset):
        return x[0], x
    if isinstance(x, (tf.data.Dataset, tf.distribute.DistributedDataset)):
        first = next(iter(x), None)
        return tf.nest.map_structure(_local, first), x
    if isinstance(x, types.GeneratorType):
        first = next(x, None)
        return first, (batch for batch in itertools.chain([first], x))
    if isinstance(x, dict):
        return x, x
    if x is None or not len(x):
        return None, x
    size = batch_size or 32
    return (x[:size] if y is None else (x[:size], y[:size])), x


def _local(value):
    return value.values[0] if isinstance(value, tf.distribute.DistributedValues) else value


def _check_network(network, name):
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.Lambda):
            raise ValueError(
                f"{name} holds the Lambda layer {layer.name!r}, which cannot be saved and loaded safely; "
                f"write it as a keras.layers.Layer with @keras.saving.register_keras_serializable()."
            )
    if isinstance(network, keras.Model) and not network.built:
        raise ValueError(f"{name} is not built; call it once on a batch, or make it a functional keras.Model with an Input.")


def _clip_together(gradients, optimizer, replicas):
    """Clip the whole batch's gradient, not every replica's share of it, as on one device."""
    clips = (optimizer.clipnorm, optimizer.global_clipnorm, optimizer.clipvalue)
    if replicas == 1 or not any(clips) or isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return gradients
    context = tf.distribute.get_replica_context()
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
    # Every replica hands over an equal share, which the optimizer's own clipping leaves alone and its sum restores.
    return [gradient / replicas for gradient in optimizer._clip_gradients(total)]
