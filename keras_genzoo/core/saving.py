"""Models from files, and weights from models; and what a damaged or foreign file gets."""

import json
import re
import textwrap
import zipfile
import zlib
from itertools import zip_longest

import keras

from keras_genzoo.core import averages, hub, plugins, pretrained
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.core.serialization import constructor_arguments, layers_of


def load(path, custom_objects=None):
    """Load a model that `save` wrote: networks, optimizers, averages, priors and the state of the noise.

    Variables that a file of an earlier version lacks keep the values of a fresh model.

    Args:
        path: str or Path of a `.keras` file, or of the folder of a run or of `save_pretrained`; or "hf://user/name", a model on
            the Hugging Face Hub, with "@revision" behind it where it is to be a certain one.
        custom_objects: dict of names to classes and functions of your own that are not registered, as of
            `keras.saving.load_model`. Defaults to None.

    Returns:
        The compiled model.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the Hub does not answer, or has no such model.
        ValueError: the file is no whole `.keras` file, holds no generative model, or one of a class that is not known here.
    """
    path = hub.located(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; expected a .keras file that model.save wrote.")
    config = _check_whole(path)
    plugins.import_installed()
    try:
        model = keras.saving.load_model(path, custom_objects=custom_objects)
    except (TypeError, ValueError, KeyError, AttributeError, OSError) as error:
        unknown = re.search(r"Could not locate (?:class|function) '(.+?)'", str(error))
        if unknown:
            raise ValueError(
                f"{path} holds a {unknown[1]}, a class that is not known here; import the module that defines it first (`import` "
                f"in Python, --import MODULE of the commands), or give it in custom_objects=."
            ) from error
        raise ValueError(f"{path} cannot be loaded: {textwrap.shorten(str(error), 400)}") from error
    if not isinstance(model, GenerativeModel):
        raise ValueError(f"{path} holds a {type(model).__name__}, expected a generative model saved by keras_genzoo.")
    if config.get(pretrained.COMPILED):
        model.compile_from_config(config[pretrained.COMPILED])
    return model


def load_pretrained(name):
    """Load a model that comes trained with the package, without any network.

    Its folder holds a card: data and licence, recipe, budget, scores with their intervals, and limits.

    Args:
        name: str. Recipe and data, as "gan/fashion_mnist"; `genzoo list --pretrained` lists them.

    Returns:
        The model, compiled as it was trained, so that `fit` trains it further.

    Raises:
        ValueError: no model of this name comes with the package, or its file is damaged.

    Example:

    >>> gz.load_pretrained("gan/fashion_mnist").sample(4).shape  # doctest: +SKIP
    (4, 28, 28, 1)
    """
    return load(pretrained.located(name))


def _check_whole(path):
    """The configuration of a `.keras` archive, a dict; raise one sentence unless the file is as it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise zipfile.BadZipFile(f"the checksum of {damaged} differs")
            return json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ValueError(
            f"{path} is no .keras file, or is damaged or cut off ({error}); save the model again with model.save."
        ) from error


def take_weights(model, source):
    """Give a model the weights of another one where they fit, to train it further on other images, say.

    Layers answer to each other in the same argument of the constructor, the first of a class to the first, and so on; their
    weights are taken where number and shapes agree. Of averages those are taken, not the weights as trained.

    Args:
        model: `GenerativeModel`. Changed in place.
        source: `GenerativeModel`. Its weights become their averages, where it has any.

    Returns:
        str. What was taken, and what was not.

    Raises:
        ValueError: nothing fits.

    Example:

    >>> larger = gz.build("vae", image_shape=(28, 28, 1), latent_dim=32)
    >>> gz.take_weights(larger, model)  # doctest: +SKIP
    'took 26 of 30 weights; new are encoder/dense/kernel, ...'
    """
    averages.settle(source)
    taken, new = 0, []
    for name in constructor_arguments(type(model)):
        others = _by_class(layers_of(getattr(source, name, None)))
        for kind, layers in _by_class(layers_of(getattr(model, name, None))).items():
            for layer, other in zip_longest(layers, others.get(kind, [])[: len(layers)]):
                here, there = _own(layer), _own(other)
                if [tuple(each.shape) for each in here] != [tuple(each.shape) for each in there]:
                    new += [f"{name}: {each.path}" for each in here]
                    continue
                taken += len(here)
                for variable, value in zip(here, there, strict=True):
                    variable.assign(value)
    if not taken:
        raise ValueError(
            f"no weights of the {type(source).__name__} fit this {type(model).__name__}; build one of its kind and sizes."
        )
    return f"took {taken} of {taken + len(new)} weights" + (f"; new are {', '.join(new)}" if new else "")


def _by_class(layers):
    found = {}
    for layer in dict.fromkeys(layers):
        found.setdefault(type(layer), []).append(layer)
    return found


def _own(layer):
    """The weights that a layer holds itself; none where there is no layer."""
    return [] if layer is None else [*layer._trainable_variables, *layer._non_trainable_variables]
