"""What a recipe consists of, as data."""

import numpy as np

from keras_genzoo import data
from keras_genzoo.core import memory
from keras_genzoo.core.checks import image_size, whole
from keras_genzoo.core.serialization import constructor_arguments
from keras_genzoo.recipes.building import ON_GPU, build
from keras_genzoo.recipes.registry import get

MEMBERS = (
    "sample",
    "encode",
    "decode",
    "reconstruct",
    "interpolate",
    "project",
    "log_prob",
    "bits_per_dim",
    "complete",
    "energy",
    "fit_prior",
)


def describe(name, image_shape=None, batch_size=None, **overrides):
    """Everything that is known of a recipe before it is trained.

    Args:
        name: str. A recipe.
        image_shape: `(height, width, channels)`, at which the networks are described too, or None. Defaults to None.
        batch_size: int or None. Images in a step whose memory is told. It takes some seconds to find out. Defaults to None.
        **overrides: hyperparameters, for these networks.

    Returns:
        dict of `name`, `family`, `summary`, `description`, `module` (where it is declared), `execution` (arguments of `compile`
        on a CPU), and `hyperparameters`: a list of dicts of `name`, `default`, `meaning`, `range` (a `space` range, or None) and
        `sized` (whether default and range follow the size of the images; without an `image_shape` they are those of 32 pixels).
        With an `image_shape` also of `model` (its class), `parameters`, `networks` (a list of dicts of `name`, `kind`, `layers`,
        `parameters`), `optimizers` (of each the networks that it trains), `metrics` that `fit` prints, and `members` that it
        has; with a `batch_size` of `step_bytes`, which a step of training holds at once, at least.

    Raises:
        ValueError: an unknown recipe or override, or a size that is no positive whole number.

    Example:

    >>> [each["name"] for each in gz.recipes.describe("planar_flow")["hyperparameters"]][:3]
    ['layers', 'alpha', 'num_classes']
    >>> gz.recipes.describe("linear_autoencoder", (28, 28, 1))["networks"][0]["parameters"]
    12560
    """
    entry = get(name) if image_shape is None else get(name).at(image_size(image_shape), overrides)
    sized = {key for key, each in get(name).hyperparameters.items() if each.sized is not None}
    about = {
        "name": name,
        "family": entry.family,
        "summary": entry.summary,
        "description": entry.description,
        "module": entry.make.__module__,
        "execution": dict(entry.execution),
        "execution_on_gpu": dict(ON_GPU),
        "hyperparameters": [
            {"name": key, "default": each.default, "meaning": each.meaning, "range": each.range, "sized": key in sized}
            for key, each in entry.hyperparameters.items()
        ],
    }
    if image_shape is None:
        return about
    model = build(name, image_shape, **overrides)
    parts = {part: model._layers_of([part]) for part in constructor_arguments(type(model))}
    networks = [
        {
            "name": part if len(layers) == 1 else f"{part}[{index}]",
            "kind": type(layer).__name__,
            "layers": len(layer.layers) if hasattr(layer, "layers") else len(layer._flatten_layers()),
            "parameters": layer.count_params(),
            "network": layer,
        }
        for part, layers in parts.items()
        for index, layer in enumerate(layers)
    ]
    if batch_size is not None:
        about["step_bytes"] = memory.of_step(model, _batches(model, whole(batch_size=batch_size)))
    return about | {
        "model": type(model).__name__,
        "parameters": model.count_params(),
        "networks": networks,
        "optimizers": {argument: [part for part in trained if parts.get(part)] for argument, trained in model.optimizers.items()},
        "metrics": [metric.name for metric in model.metrics],
        "members": [member for member in MEMBERS if hasattr(model, member)],
    }


def _batches(model, size):
    """Batches as the model takes them, of black images."""
    images = np.zeros((size * (1 + model.data_needs.get("further", 0)), *model.image_shape), "uint8")
    arrays = images if model.num_classes is None else (images, np.zeros(len(images), "int64"))
    vectors = {} if model.condition_dim is None else {"conditions": np.zeros((len(images), model.condition_dim), "float32")}
    return data.load(arrays, batch_size=size, **model.data_needs | vectors)
