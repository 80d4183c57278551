"""The shared model test: what the contract promises of every family, for those of others too.

`check_model` runs all of it; each promise is a function of its own. What is broken is said in words, by an AssertionError.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_genzoo.core.batches import with_told
from keras_genzoo.core.checks import image_size
from keras_genzoo.core.conditions import Conditional
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.core.randomness import RowStream
from keras_genzoo.core.saving import load
from keras_genzoo.evaluation import taken_by

MODES = {
    "graph": {},
    "eager": {"run_eagerly": True},
    "xla": {"jit_compile": True},
    "two steps a call": {"steps_per_execution": 2},
}


def check_model(make, images, labels=None, batches=None, modes=("graph",), conditions=None):
    """Check that a family keeps the promises of `GenerativeModel`.

    Args:
        make: callable of keyword arguments of `compile`, or of none, to a new, compiled model, small and with a fixed seed.
        images: array `(n, height, width, channels)`, at least 8, that the model takes.
        labels: int array `(n,)` for conditional models, or None.
        batches: `tf.data.Dataset` of several batches, where the family trains on more than images and labels (`data_needs`), or
            None. Defaults to None.
        modes: names of `MODES` in which training is tried. Defaults to graphs alone.
        conditions: float array `(n, condition_dim)` for models that are told vectors, or None. Defaults to None.

    Raises:
        AssertionError: a promise that is broken, in one sentence.

    Example:

    >>> small = {"width": 8, "latent_dim": 2, "seed": 0}
    >>> make = lambda **compiled: gz.build("vae", (28, 28, 1), **{"jit_compile": False, **small, **compiled})
    >>> gz.testing.check_model(make, images[:8])
    """
    if batches is None:
        told = {name: rows for name, rows in (("labels", labels), ("conditions", conditions)) if rows is not None}
        batches = tf.data.Dataset.from_tensor_slices(with_told(images, told)).batch(4, drop_remainder=True)
    for mode in modes:
        check_training(make(**MODES[mode]), batches)
    check_gradients(make(run_eagerly=True), batches)
    check_config(make())
    model = make()
    check_members(model, images, labels, conditions)
    check_saving(model, batches, images, labels, conditions)
    check_validation(model, batches)  # of a trained model: one that needs to see its data set refuses before
    check_sampling(model)


def promise(kept, sentence):
    """Raise an AssertionError with the sentence unless the promise is kept."""
    if not kept:
        raise AssertionError(sentence)


def check_members(model, images, labels=None, conditions=None):
    """It is a built and compiled GenerativeModel that knows its image shape, and what it has works."""
    name = type(model).__name__
    promise(isinstance(model, GenerativeModel), f"{name} is no gz.GenerativeModel; derive it from that.")
    promise(model.built and model.compiled, f"{name} is not built or not compiled; hand it built networks and call compile().")
    shape = image_size(model.image_shape)
    promise(shape == tuple(images.shape[1:]), f"image_shape is {shape}, and the images are of {tuple(images.shape[1:])}.")
    told = told_of(model, images, labels, conditions)
    answer = np.asarray(forward(model, images, labels, conditions))
    promise(np.isfinite(answer).all(), "call() returns NaN or infinite values.")
    promise(answer.dtype == np.float32, f"call() returns {answer.dtype}, expected float32.")
    if hasattr(model, "reconstruct"):
        by = taken_by(getattr(model, "encode", model.reconstruct), told)
        again = np.asarray(model.reconstruct(images, **by))
        promise(again.shape == images.shape, f"reconstruct returns shape {again.shape}, expected {images.shape}.")
        promise(0 <= again.min() and again.max() <= 1, "reconstruct returns images outside [0, 1].")
    if hasattr(model, "encode") and hasattr(model, "decode"):
        of_two = {name: rows[:2] for name, rows in taken_by(model.encode, told).items()}
        line = model.interpolate(images[:2], images[2:4], steps=5, **of_two)
        promise(line.shape == (2, 5, *shape), f"interpolate returns shape {line.shape}, expected {(2, 5, *shape)}.")
        same = np.abs(line[:, 0] - np.asarray(model.reconstruct(images[:2], **of_two))).max() < 1e-5
        promise(same, "the first image of interpolate is not the reconstruction of the first image.")
    if hasattr(model, "log_prob"):
        promise(
            model.support in ("continuous", "levels", "binary"),
            f"support is {model.support!r}, expected 'continuous', 'levels' or 'binary' where there is a log_prob.",
        )
        nats = np.asarray(model.log_prob(likely(model, images), **taken_by(model.log_prob, told)))
        promise(nats.shape == (len(images),), f"log_prob returns shape {nats.shape}, expected one number an image.")
        promise(np.isfinite(nats).all(), "log_prob returns NaN or infinite values.")
        promise(hasattr(model, "bits_per_dim") == (model.support != "binary"), "bits_per_dim is there for binary images alone.")


def check_training(model, batches):
    """`fit` gives finite losses, under the names that the class declares, of validation too."""
    history = model.fit(batches, validation_data=batches, epochs=2, verbose=0).history
    first = model.metrics[0].name
    promise(first == "loss" and "loss" in history, f"the metrics begin with {first!r}, expected 'loss' first, and tracked.")
    promise(
        model.monitor is None or model.monitor in history,
        f"monitor is {model.monitor!r}, which fit does not print; it prints {', '.join(history)}.",
    )
    for key, values in history.items():
        promise(np.isfinite(values).all(), f"{key} became {values} in training.")
    trained = {key for key in history if not key.startswith("val_")}
    missing = set(model.terms) - trained
    promise(not missing, f"`terms` name {', '.join(sorted(missing))}, which train_step does not track.")
    validated, expected = {key[4:] for key in history if key.startswith("val_")}, trained - set(model.diagnostics)
    promise(
        validated == expected,
        f"validation gives {sorted(validated)} and training, without its `diagnostics`, {sorted(expected)}; test_step must track "
        f"the same terms.",
    )


def check_gradients(model, batches):
    """Every trainable variable gets a gradient in three steps, and is handed to an optimizer. The model runs eagerly."""
    seen = {}

    def spied(optimizer):
        apply = optimizer.apply_gradients

        def spy(pairs, **settings):
            pairs = list(pairs)
            for gradient, variable in pairs:
                promise(gradient is not None, f"the loss does not depend on {variable.path}: its gradient is None.")
                seen[variable.path] = seen.get(variable.path, 0.0) + float(np.abs(np.asarray(gradient)).max())
            return apply(pairs, **settings)

        return spy

    for argument in model.optimizers:
        optimizer = getattr(model, argument)
        object.__setattr__(optimizer, "apply_gradients", spied(optimizer))
    model.fit(batches.repeat(3).take(3), verbose=0)
    missing = sorted({variable.path for variable in model.trainable_variables} - set(seen))
    promise(not missing, f"{missing} are trainable and no optimizer trains them; name their networks in `optimizers`.")
    others = sorted(set(seen) - {variable.path for variable in model.trainable_variables})
    promise(not others, f"{others} are trained and not trainable.")
    still = sorted(path for path, size in seen.items() if not size > 0)
    promise(not still, f"the gradients of {still} are all zero in three steps.")


def check_validation(model, batches):
    """Validation repeats its noise, and changes nothing of the weights and of what training draws."""
    before = [variable.numpy() for variable in model.weights if variable.name != "random_test"]
    first, second = (model.evaluate(batches, verbose=0, return_dict=True) for _ in range(2))
    promise(
        all(float(first[key]) == float(second[key]) for key in first),
        f"two validations in a row give {first} and {second}; test_step must draw from `self.random_test`.",
    )
    after = [variable.numpy() for variable in model.weights if variable.name != "random_test"]
    promise(all(map(np.array_equal, before, after)), "validation changes the weights, or the noise of training.")


def check_saving(model, batches, images, labels=None, conditions=None):
    """A trained model that is loaded gives equal outputs, and trains on as if never stopped."""
    model.fit(batches, verbose=0)
    if hasattr(model, "fit_prior"):
        model.fit_prior(with_told(images, told_of(model, images, labels, conditions)))
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        loaded = load(Path(folder) / "model.keras")
    answers = [outputs(each, images, labels, conditions) for each in (model, loaded)]
    _promise_same(*answers, "a loaded model gives another {}")
    _promise_same(state(model), state(loaded), "a loaded model has another {}")
    for each in (model, loaded):
        each.fit(batches, verbose=0)
    _promise_same(state(model), state(loaded), "a model that was loaded and trained on has another {}")


def check_sampling(model):
    """Samples are images, repeat with their seed, and do not depend on the size of the batch."""
    if not hasattr(model, "sample"):
        return
    samples = model.sample(40, seed=3)
    shape = (40, *model.image_shape)
    promise(samples.shape == shape and samples.dtype == np.float32, f"sample returns {samples.shape} {samples.dtype}.")
    promise(np.isfinite(samples).all(), "sample returns NaN or infinite values.")
    promise(0 <= samples.min() and samples.max() <= 1, "sample returns images outside [0, 1].")
    promise(np.array_equal(samples, model.sample(40, seed=3)), "the same seed gives other samples.")
    others = model.sample(40, seed=3, batch_size=7), model.sample(5, seed=3)
    same = all(np.allclose(samples[: len(each)], each, atol=1e-4) for each in others)
    promise(same, "samples depend on the size of the batch; an image's noise must be of `draw_latents` and `key` alone.")
    latents = latents_of(model, 40, 3)
    if getattr(latents, "dtype", None) in ("float32", tf.float32):  # not of a family whose latents are several arrays
        same = np.allclose(samples, model.sample(latents=latents, seed=3), atol=1e-4)
        promise(same, "`sample(latents=)` of what a seed draws gives other images than the seed.")
    drawn = np.concatenate(list(model.sample_batches(10, seed=3, batch_size=4)))
    promise(np.allclose(samples[:10], drawn, atol=1e-4), "`sample_batches` gives other samples than `sample`.")
    promise(np.abs(samples - model.sample(40, seed=4)).max() > 1e-5, "another seed gives the same samples.")
    promise(np.abs(samples[0] - samples[1]).max() > 1e-5, "the samples of one seed are all alike.")


def check_config(model):
    """The config survives JSON, and makes a model of the same shape."""
    config = json.loads(json.dumps(model.get_config()))
    copy = type(model).from_config(config)
    promise(json.loads(json.dumps(copy.get_config())) == config, "a model made of the config has another config.")
    shapes = [[tuple(variable.shape) for variable in each.weights] for each in (model, copy)]
    promise(shapes[0] == shapes[1], "a model made of the config has weights of other shapes.")


def told_of(model, images, labels=None, conditions=None):
    """What a conditional model is told of images, by name: the labels, or 0, 1, 2 in turns; the vectors, or numbers at random."""
    found = {}
    if model.num_classes is not None:
        found["labels"] = np.arange(len(images)) % min(3, model.num_classes) if labels is None else np.asarray(labels)
    if model.condition_dim is not None:
        drawn = np.random.default_rng(0).normal(size=(len(images), model.condition_dim)).astype("float32")
        found["conditions"] = drawn if conditions is None else np.asarray(conditions)
    return found


def forward(model, images, labels=None, conditions=None):
    """What `call` gives; a conditional model is told what `told_of` says."""
    told = told_of(model, images, labels, conditions)
    return model((images, told["labels"]) if [*told] == ["labels"] else with_told(images, told))


def latents_of(model, n, seed):
    """The latents of `sample(n, seed)`."""
    told = model._told(n, seed, None, None) if isinstance(model, Conditional) else None
    return model.draw_latents(n, RowStream(seed, 0)) if told is None else model.latents_for(n, RowStream(seed, 0), told.rows)[0]


def likely(model, images):
    """The images as `log_prob` takes them: in black and white where the model is of such."""
    if not hasattr(model, "log_prob") or model.support != "binary":
        return images
    return (np.asarray(images) >= (128 if images.dtype == np.uint8 else 0.5)).astype("float32")


def outputs(model, images, labels=None, conditions=None, **likelihood):
    """What a user can ask of the model, as arrays, to compare two models by; `likelihood` are arguments of `log_prob`, which gets
    those that it takes."""
    results = {"call": forward(model, images, labels, conditions)}
    if hasattr(model, "fit_prior"):
        fitted = model.density() if hasattr(model, "density") else model.prior
        results |= {variable.name: variable.numpy() for variable in fitted.variables}
    if hasattr(model, "sample"):
        results["sample"] = model.sample(3, seed=1)
    if hasattr(model, "log_prob"):
        told = told_of(model, images, labels, conditions)
        results["log_prob"] = model.log_prob(likely(model, images), **taken_by(model.log_prob, {**told, **likelihood}))
    return {name: np.asarray(value) for name, value in results.items()}


def variables(model):
    """All variables: weights, averages, counters, optimizers."""
    return [*model.weights, *(v for argument in model.optimizers for v in getattr(model, argument).variables)]


def state(model):
    """Values of all variables, by number and path."""
    return {f"{index} {variable.path}": variable.numpy() for index, variable in enumerate(variables(model))}


def _promise_same(first, second, sentence):
    promise(first.keys() == second.keys(), f"{sentence.format('set of outputs or variables')}.")
    for name in first:
        promise(np.array_equal(first[name], second[name], equal_nan=True), f"{sentence.format(name)}.")
