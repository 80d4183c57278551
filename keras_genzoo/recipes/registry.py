"""How a recipe is declared, found and built."""

import contextlib
import dataclasses
import difflib
import inspect
from collections.abc import Callable

import keras
import tensorflow as tf

from keras_genzoo.core.checks import image_size, whole_or_none

RECIPES = {}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A way to make one family work: networks, objective, hyperparameters, and how it is executed.

    Attributes:
        name: str.
        family: str. The family's name, as `vae`.
        make: function of `image_shape`, `total_steps` and the hyperparameters, with their defaults, to the model and a dict
            of arguments for `compile`.
        defaults: dict. Hyperparameters by name.
        execution: dict. Arguments of `compile` on a machine without an accelerator, where they measured fastest
            (benchmarks/results/execution.md); elsewhere Keras decides.
        summary: str. One line.
        search: dict. Ranges that are searched for better hyperparameters, by name (`keras_genzoo.recipes.space`).
    """

    name: str
    family: str
    make: Callable
    defaults: dict
    execution: dict
    summary: str
    search: dict


def recipe(family, search, **execution):
    """Register the decorated function as the recipe of its name; its keyword arguments are the hyperparameters."""

    def register(make):
        parameters = inspect.signature(make).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        summary = make.__doc__.partition("\n")[0]
        RECIPES[make.__name__] = Recipe(make.__name__, family, make, defaults, execution, summary, search)
        return make

    return register


def variant(name, of, summary, execution=None, search=None, **defaults):
    """Register a recipe that is another one with other defaults, and other ranges of the search, None for none."""
    base = RECIPES[of]
    search = {**base.search, **(search or {})}
    unknown = {*defaults, *search} - set(base.defaults)
    if unknown:
        raise TypeError(f"variant {name!r}: {of!r} has no {sorted(unknown)}.")
    RECIPES[name] = dataclasses.replace(
        base,
        name=name,
        summary=summary,
        defaults={**base.defaults, **defaults},
        execution=execution or base.execution,
        search={key: each for key, each in search.items() if each is not None},
    )


def names():
    """The recipes by family: dict of lists of names."""
    families = {}
    for entry in RECIPES.values():
        families.setdefault(entry.family, []).append(entry.name)
    return families


def get(name):
    """A `Recipe` by name; an unknown name is an error that says what comes near and where they are listed."""
    if name not in RECIPES:
        near = difflib.get_close_matches(str(name), RECIPES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"there is no recipe {name!r}, expected one of the {len(RECIPES)} of `genzoo list` and `gz.recipes.names()`.{hint}"
        )
    return RECIPES[name]


def build(
    name,
    image_shape,
    total_steps=None,
    dtype=None,
    run_eagerly=False,
    jit_compile=None,
    steps_per_execution=None,
    **overrides,
):
    """Build and compile the model of a recipe.

    Args:
        name: str. A recipe, as `gz.recipes.names()` lists them.
        image_shape: `(height, width, channels)`.
        total_steps: int or None. Number of training steps planned: learning rates decay to zero over them and warm-ups take
            their share. None keeps learning rates constant and leaves warm-ups out. Defaults to None.
        dtype: dtype policy or its name for every network, as "mixed_bfloat16"; None is Keras's global policy.
        run_eagerly, jit_compile, steps_per_execution: of `compile`; None is the recipe's own choice.
        **overrides: hyperparameters of the recipe, and `seed`, `ema`.

    Returns:
        A built and compiled `GenerativeModel`.

    Raises:
        ValueError: an unknown recipe or override, or a size that is no positive whole number.

    Example:

    >>> model = gz.build("vae", image_shape=(28, 28, 1), latent_dim=16)
    """
    entry = get(name)
    image_shape = image_size(image_shape)
    unknown = sorted(set(overrides) - set(entry.defaults))
    if unknown:
        raise ValueError(f"recipe {name!r} has no argument {unknown[0]!r}, expected some of {', '.join(sorted(entry.defaults))}.")
    total_steps = whole_or_none(total_steps=total_steps)
    with _policy(dtype):
        model, settings = entry.make(image_shape, total_steps, **{**entry.defaults, **overrides})
    asked = {"jit_compile": jit_compile, "steps_per_execution": steps_per_execution}
    execution = {**_execution(entry), **{key: value for key, value in asked.items() if value is not None}}
    if run_eagerly:
        execution = {"run_eagerly": True}
    model.compile(**settings, **execution)
    return model


def _execution(entry):
    # Under tf.distribute and on accelerators the measurements on a CPU mean nothing.
    if tf.config.list_physical_devices("GPU") or tf.distribute.has_strategy():
        return {}
    return entry.execution


@contextlib.contextmanager
def _policy(dtype):
    """Let every layer made inside take this policy: on the outer model alone it would leave the networks in float32."""
    before = keras.config.dtype_policy()
    if dtype is not None:
        keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def adam(learning_rate, total_steps, **kwargs):
    """Adam; over `total_steps`, if given, a short linear warm-up and then half a cosine down to zero."""
    if not learning_rate > 0:
        raise ValueError(f"learning_rate is {learning_rate!r}, expected a number above 0.")
    if total_steps is not None:
        warmup = min(200, total_steps // 20)
        learning_rate = keras.optimizers.schedules.CosineDecay(
            learning_rate / 10 if warmup else learning_rate,
            total_steps - warmup,
            warmup_target=learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    return keras.optimizers.Adam(learning_rate, **kwargs)
