"""The contract that every family of generative models keeps."""

import math
import numbers
import types

import keras
import tensorflow as tf

from keras_genzoo.core import averages, optimizers, progress, randomness, shares
from keras_genzoo.core import images as image_convention
from keras_genzoo.core.batches import extra, one_hot, unpack
from keras_genzoo.core.checks import check_network, check_precision, check_unshared, input_shapes, whole
from keras_genzoo.core.doors import Doors
from keras_genzoo.core.exporting import Exporting
from keras_genzoo.core.fitting import Fitting
from keras_genzoo.core.hub import Pretrained
from keras_genzoo.core.inference import Inference
from keras_genzoo.core.ramps import HalfLife
from keras_genzoo.core.serialization import Configured, constructor_arguments
from keras_genzoo.core.stored import Stored
from keras_genzoo.core.tracking import added, counted


class _Default:
    """A property that an attribute of the object, or of a class that is derived, takes the place of."""

    def __init__(self, compute):
        self.compute, self.__doc__ = compute, compute.__doc__

    def __get__(self, instance, owner):
        return self if instance is None else self.compute(instance)


class GenerativeModel(Inference, Fitting, Doors, Stored, Pretrained, Exporting, Configured, keras.Model):
    """Base of all families: images at the border, one gradient step, metrics, averages of weights, sampling, saving.

    A family takes its networks, built, as constructor arguments, keeps every argument as an attribute of the same name,
    names its loss terms, and writes `call`, `train_step` and `test_step` with the pieces found here. Images come as
    `uint8` or as floats in [0, 1], `(batch, height, width, channels)`, and leave as float32 in [0, 1].

    A family must write:
        `@keras.saving.register_keras_serializable("its_package")` above the class.
        `__init__`: passes `**kwargs` on to this one, and checks its arguments (`core.checks`). Networks come built.
        `image_shape`: `(height, width, channels)`, an attribute or a property. Only a family with an `encoder` has it from here.
        `call(x)`: the natural forward map of images as `images_of` gives them, in float32.
        `train_step(data)`: takes images by `images_of(data)` (labels by `labels_of`), draws noise from `self.random`, a row or
            several an image (`shared=True` where rows are not of images), makes a step by `minimize`, and returns `track(terms)`.
        `test_step(data)`: the same terms by `measure`, with noise from `self.random_test`.
    It may write, and what it does not write is absent, so that `hasattr` says what a model can do:
        `draw_latents(n, random)`: noise for n images by `random.normal` and `random.uniform`, one row an image; gives `sample`.
        `generate(latents)`: these to images in [0, 1]; `decode` unless it says otherwise. With `keyed`, it takes a `key` too.
        `encode(x)` and `decode(z)`: to codes and back; give `reconstruct` and `interpolate`.
        `log_prob(x)`: nats per image, with `support`: "continuous", "levels" or "binary"; gives `bits_per_dim`.
        `prepare(first_batch, dataset)`: what depends on data and is done once, as an initialisation.
        `survey(first_batch, dataset)`: what depends on the whole data set and is done at each `fit`, as its size; with
            `check_surveyed()`, which raises one sentence where a step comes before it.
        `supplement(dataset)`: the data set with what is computed of its images once, and stays as it is.
    Everything but the training step computes with the averages of the weights: mark such methods with `@gz.inference`; those of
    images or codes, as `encode`, `decode` and `log_prob`, with `@gz.batched`, which gives them `batch_size=` too; and those that
    exist only under a condition with `@gz.available_if`. `gz.testing.check_model` says which promise a family breaks, and
    examples/ has a whole one.

    Args:
        seed: int or None. Seed of the noise in training and validation; None draws one from Keras's global state.
            Defaults to None.
        ema: float in (0, 1), `ramps.HalfLife` or None. Decay of the exponential moving average of the weights (`averaged` names
            of which arguments; normalisation statistics included) that everything but the training step then uses. Step t, from
            0, averages with decay min(ema, t / (t + 10)), so that a short run does not remember its start, or by a half-life in
            images; the model counts and saves these steps. Before the first there is no average. Defaults to None, none at all.
        name: str or None. Name of the model.
        dtype: dtype policy of the model itself; networks have their own.

    Class attributes of a family:
        terms: names of the loss terms beside `loss`.
        diagnostics: names of further values that training alone reports.
        monitor: the metric that falls as training succeeds, or None.
        rising: names of terms that rise as it does; those that end in `_loss` fall, unless there is no `monitor`.
        least_rows: the fewest images that a first batch may hold, for models that compare the images of a batch.
        limits: names of terms -> the largest absolute value that a healthy run has; see `callbacks.StopOnDivergence`.
        optimizers: argument of `compile` -> names of the constructor arguments whose variables it trains.
        averaged: names of the constructor arguments that `ema` averages.
        conditional: whether the model needs labels. Defaults to whether it has classes.
        data_spared: names among `data_needs` that a batch may lack.
        keyed: whether `generate` takes a `key`, of the noise that sampling needs beyond the latents.
        num_classes: number of classes that `sample` can be asked for, or None; `generate` then takes the pair of what
            `draw_latents` drew and one-hot labels `(batch, num_classes)`.
        condition_dim: length of the vectors that the model is told, or None; see `core.conditions.Conditional`.
        log_prob_label: what `log_prob` is with its default arguments where it is not exact, as "iw64"; None where it is.
    """

    terms = ()
    diagnostics = ()
    monitor = "loss"
    rising = ()
    least_rows = 1
    limits = types.MappingProxyType({})
    optimizers = {"optimizer": ()}
    averaged = ()
    data_spared = ()
    keyed = False
    num_classes = None
    condition_dim = None
    log_prob_label = None

    def __init__(self, seed=None, ema=None, name=None, dtype=None):
        # Without autocast, which would round what a family computes in float32 where Keras calls it, and nowhere else.
        super().__init__(name=name, dtype=dtype, autocast=False)
        if not (ema is None or isinstance(ema, HalfLife) or (isinstance(ema, numbers.Real) and 0 < ema < 1)):
            raise ValueError(f"ema is {ema!r}, expected None or a decay between 0 and 1, such as 0.999, or a HalfLife.")
        self.seed = randomness.random_seed() if seed is None else whole(0, seed=seed)
        self.ema = ema
        self._counters = {name: randomness.counter(self, name) for name in ("random", "random_test")}
        self.random = randomness.Stream(self.seed, self._counters["random"])
        # Another seed than training's, so that validation neither disturbs nor repeats training's noise.
        self.random_test = randomness.Stream(self.seed + 1, self._counters["random_test"])
        self._prepared = randomness.counter(self, "prepared")
        self._place = progress.Place(self)
        self.validation_data = None
        self._as_trained = False  # whether the averages are left out for now

    def reseed(self, seed):
        """Draw noise of another seed from here on, as a model that was built with it.

        Args:
            seed: int.
        """
        if seed != self.seed:
            self.seed = self.random.seed = whole(0, seed=seed)
            self.random_test.seed = self.seed + 1
            self.train_function = self.test_function = None  # which hold the old one

    def finish(self):
        """End of construction: check the networks, make the metrics and the averages. Called by the metaclass."""
        parts = [(name, part) for name in constructor_arguments(type(self)) for part in self._layers_of([name])]
        for name, part in parts:
            check_network(part, name)
            check_precision(part, name)
        check_unshared(parts)
        self._trackers = [keras.metrics.Mean(name=name) for name in ("loss", *self.terms, *self.diagnostics)]
        self._averages = averages.pairs(self)
        self.built = True  # the networks are

    def _layers_of(self, names):
        """The layers among arguments of these names; of lists, those in them."""
        values = [getattr(self, name) for name in names]
        parts = [part for value in values for part in (value if isinstance(value, (list, tuple)) else [value])]
        return [part for part in parts if isinstance(part, keras.layers.Layer)]

    @property
    def _statistics(self):
        """Statistics of shares of batches, of each of several replicas its own, and their averages."""
        parts = self._layers_of(constructor_arguments(type(self)))
        found = shares.statistics([layer for part in parts for layer in part._flatten_layers()])
        averaged = {id(variable): average for variable, average in self._averages.all}
        return [*found, *(averaged[id(variable)] for variable in found if id(variable) in averaged)]

    def _variables_of(self, names, kind):
        variables = [v for part in self._layers_of(names) for v in getattr(part, kind)]
        return list({id(v): v for v in variables}.values())  # a layer that two networks share counts once

    # Images at the border

    @_Default
    def conditional(self):
        """Whether the model needs labels; unless a family says otherwise, where it has classes."""
        return self.num_classes is not None

    @_Default
    def image_shape(self):
        """`(height, width, channels)` of the images the model takes and makes."""
        if "encoder" not in constructor_arguments(type(self)):
            raise AttributeError(
                f"{type(self).__name__} does not say what images it takes; give it `image_shape`, an attribute or a property."
            )
        return input_shapes(self.encoder, "encoder")[0]

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
        images = image_convention.to_unit(shares.share(unpack(data)[0]))
        shape = tuple(images.shape[1:])
        if shape != self.image_shape:
            fix = f"build the model with image_shape={shape}, or load the data with image_size= and channels="
            if shape == (*self.image_shape[2:], *self.image_shape[:2]):
                fix = "channels come last: use `images.transpose(0, 2, 3, 1)`"
            expected = ", ".join(map(str, self.image_shape))
            raise ValueError(f"images have shape {tuple(images.shape)}, expected (batch, {expected}); {fix}.")
        return images

    def labels_of(self, data):
        """The labels of a batch `(images, labels)`; raises where a conditional model is given none."""
        labels = unpack(data)[1]
        if labels is None:
            raise ValueError(
                f"{type(self).__name__} is conditional and was given images alone, expected batches (images, labels); "
                f"load the data with labels=True."
            )
        return shares.share(labels)

    def extra_of(self, data, name):
        """A named extra of a batch `(images, extras)`; raises where there is none."""
        value = extra(data, name)
        if value is None:
            needs = ", ".join(f"{key}={value!r}" for key, value in self.data_needs.items())
            raise ValueError(
                f"{type(self).__name__} needs batches (images, extras) with {name!r} among the extras, and was given none; "
                f"load the data with gz.data.load(..., {needs})."
            )
        return shares.share(value)

    @property
    def data_needs(self):
        """Arguments of `gz.data.load` that give what the model trains on beside images."""
        return {"labels": True} if self.conditional else {}

    def one_hot_labels_of(self, data):
        """The labels of a batch as float32 `(batch, num_classes)`; None where the model is not conditional."""
        return one_hot(self.labels_of(data), self.num_classes) if self.conditional else None

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
        **others,
    ):
        """Prepare for training.

        Args:
            optimizer: name or instance of a Keras optimizer; None is Adam with a learning rate of 1e-3.
            run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: as in `keras.Model.compile`.
            **others: the family's further optimizers, such as `critic_optimizer`. One that is not given is a copy of `optimizer`,
                and keeps the ratio of the learning rates where the model was compiled before. Callbacks that change the
                learning rate of `optimizer` change the others' in their ratio.

        Raises:
            ValueError: a `loss`, which is the family's own; an argument that is none of the above; one object for two optimizers.
        """
        if loss is not None:
            raise ValueError(f"loss={loss!r} was given, but {type(self).__name__} defines its own; change its arguments instead.")
        given = {"optimizer": optimizer, **others}
        unknown = sorted(set(given) - set(self.optimizers))
        if scored := sorted({"metrics", "weighted_metrics", "loss_weights"} & set(unknown)):
            raise ValueError(
                f"{scored[0]} was given, but {type(self).__name__} logs the terms of its own loss; for scores of samples while "
                f"it trains, give `fit` the callback gz.callbacks.FrechetDistanceMonitor()."
            )
        if unknown:
            raise ValueError(
                f"compile() takes no {unknown[0]!r}; the optimizers of {type(self).__name__} are {sorted(self.optimizers)}."
            )
        settings = {
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "auto_scale_loss": auto_scale_loss,
        }
        averages.renew(self)
        chosen = optimizers.companions(self, given)
        super().compile(optimizer=None, jit_compile=jit_compile, **settings)
        for argument, optimizer in chosen.items():
            wrapped = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
            if auto_scale_loss and not wrapped and self._computes_in_float16(self.optimizers[argument]):
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            optimizer.build(self._variables_of(self.optimizers[argument], "trainable_variables"))
            setattr(self, argument, optimizer)
        self._rates, self._rate_ratios = optimizers.rates(self), optimizers.ratios_of(self)
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
                image. "added" may hold by name what layers of networks add by `add_loss`, where it is not that of the last call
                (`tracking.added`). The norm of the gradient joins them as `<network>_gradient_norm` where the family's
                diagnostics name it, of the first of the networks.
            networks: names of the constructor arguments to train.
            optimizer: the optimizer of these.

        Returns:
            The dict, with the networks' kernel regularisers, and what their layers add by `add_loss`, added to "loss", and to
            "<network>_loss", of the first of the networks, where the family has such a term.
        """
        variables = self._variables_of(networks, "trainable_variables")
        known = optimizers.known_variables(optimizer)
        thawed = [variable.path for variable in variables if id(variable) not in known]
        if thawed:
            raise ValueError(f"{thawed[0]} was not trainable when the model was compiled, and is now; call compile() again.")
        replicas = self.distribute_strategy.num_replicas_in_sync
        weight = shares.weight()
        with tf.GradientTape() as tape:
            terms = self._regularised(terms_of, networks)
            # Keras sums the gradients of the replicas.
            objective = optimizer.scale_loss(tf.reduce_mean(terms["loss"]) * weight)
        gradients = tape.gradient(objective, variables)
        if any(gradient is not None for gradient in gradients):
            # All of them before the first step: TensorFlow's dependency optimizer lets the update of a weight whose gradient is
            # ready pass the reading of that weight by a penalty on the slope.
            gradients = tf.tuple(gradients, control_inputs=[objective])
        norm = f"{networks[0]}_gradient_norm"
        if norm in self.diagnostics:
            scale = optimizer.scale_loss(tf.convert_to_tensor(weight))
            terms[norm] = tf.math.divide_no_nan(optimizers.global_norm(gradients), tf.cast(scale, tf.float32))
        if variables:  # unless all is frozen
            optimizers.tell(optimizer, self._place.now())
            before = tf.identity(tf.convert_to_tensor(optimizer.iterations))
            optimizer.apply_gradients(zip(optimizers.clip_together(gradients, optimizer, replicas), variables, strict=True))
            # Not where gradients are still gathered, or were not finite.
            averages.update(self, networks, tf.convert_to_tensor(optimizer.iterations) > before)
        return terms

    def measure(self, terms_of, networks):
        """The terms as `minimize` returns them, without a step, and of the averaged weights where there are any."""
        with self.averaged_weights():
            return self._regularised(terms_of, networks)

    def _regularised(self, terms_of, networks):
        terms = dict(terms_of())
        given = terms.pop("added", {})
        more = sum(given[name] if name in given else sum(map(added, self._layers_of([name]))) for name in networks)
        return terms | {term: terms[term] + more for term in ("loss", f"{networks[0]}_loss") if term in terms}

    def track(self, terms):
        """Feed the metrics, numbers per image as well as scalars, and return what they stand at."""
        fed = {tracker: tf.convert_to_tensor(terms[tracker.name]) for tracker in self._trackers if tracker.name in terms}
        rows = next((tf.shape(value)[0] for value in fed.values() if value.shape.rank), 1)
        for tracker, value in fed.items():
            tracker.update_state(*counted(self, tracker.name, value, rows))
        others = [metric for metric in self.metrics if metric not in self._trackers]  # of derived classes, and of layers
        results = {metric.name: metric.result() for metric in (*fed, *others)}
        if isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            # Keras reduces the results of several workers over axis 0, which a scalar lacks.
            results = {name: tf.reshape(value, (1,)) for name, value in results.items()}
        return results

    @property
    def metrics(self):
        return [metric for metric in super().metrics if metric is not self._loss_tracker]  # Keras's own, which nothing feeds

    def _get_metrics_result_or_logs(self, logs):
        # Keras takes the mean of what replicas return, by images or not, where a step does not feed every metric.
        if self.distribute_strategy.num_replicas_in_sync == 1 or not isinstance(logs, dict):
            return super()._get_metrics_result_or_logs(logs)
        results = self.get_metrics_result()
        return {name: results.get(name, value) for name, value in logs.items()}

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Everything is built already, and under a strategy Keras would average a batch of images over the replicas to
        # learn their shape, which several workers cannot do with uint8.
        pass

    def averaged_weights(self):
        """Inside the block the networks compute with the averages of their weights, where the model keeps any."""
        return averages.in_place(self)

    def count_params(self):
        """Number of parameters of the networks; averages and counters are not counted."""
        weights = self._variables_of(constructor_arguments(type(self)), "weights")
        return sum(math.prod(v.shape) for v in weights if "int" not in v.dtype)
