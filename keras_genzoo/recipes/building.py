"""From a recipe to a model that is ready to train."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.core import randomness
from keras_genzoo.core.adam import Adam
from keras_genzoo.core.checks import image_size, real, whole_or_none
from keras_genzoo.core.ramps import Ramp, RampedAdam
from keras_genzoo.recipes import precision
from keras_genzoo.recipes.registry import RECIPES, get

# A GPU waits for the host between two calls, and takes longer to begin an operation than to compute a small one.
ON_GPU = {"jit_compile": True, "steps_per_execution": 10}


def build(
    recipe,
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
        recipe: str. A recipe, as `gz.recipes.names()` lists them.
        image_shape: `(height, width, channels)`.
        total_steps: int or None. Number of training steps planned: learning rates decay to zero over them and warm-ups take
            their share. None keeps learning rates constant and leaves warm-ups out: how long `fit` trains is not known here,
            and a model may be fitted again. `genzoo train` and the benchmark give it. Defaults to None.
        dtype: dtype policy or its name for every network, as "mixed_bfloat16"; None is Keras's global policy. "auto" prints and
            takes "mixed_bfloat16" where this machine computes the recipe faster and as well in it, else "float32".
        run_eagerly, jit_compile, steps_per_execution: of `compile`; None is the recipe's own choice.
        **overrides: hyperparameters of the recipe, which `gz.recipes.describe(name)` lists. `seed` fixes the initial weights too,
            whatever was drawn before, and leaves the global generators of Python, NumPy and Keras where they are; without it
            the weights follow `keras.utils.set_random_seed`.

    Returns:
        A built and compiled `GenerativeModel`.

    Raises:
        ValueError: an unknown recipe or override, or a size that is no positive whole number.

    Example:

    >>> model = gz.build("vae", image_shape=(28, 28, 1), latent_dim=16)
    """
    entry = get(recipe)
    image_shape, total_steps = image_size(image_shape), whole_or_none(total_steps=total_steps)
    unknown = sorted(set(overrides) - set(entry.defaults))
    if unknown:
        raise ValueError(
            f"recipe {recipe!r} has no argument {unknown[0]!r}, expected some of {', '.join(sorted(entry.defaults))}."
        )
    _check_kinds(entry, overrides)
    # Numbers of Python, which a saved config can hold.
    overrides = {key: value.item() if isinstance(value, np.generic) else value for key, value in overrides.items()}
    values = {**entry.at(image_shape, overrides).defaults, **overrides}
    whole_or_none(0, seed=values.get("seed"))
    if dtype == "auto":
        dtype = precision.automatic(recipe)
    with policy(dtype), randomness.seeded(values.get("seed")):
        model, settings = entry.call(image_shape, total_steps, values)
    asked = {"jit_compile": jit_compile, "steps_per_execution": steps_per_execution}
    execution = {**_execution(entry), **{key: value for key, value in asked.items() if value is not None}}
    if run_eagerly:
        execution = {"run_eagerly": True}
    model.compile(**settings, **execution)
    return model


def _check_kinds(entry, overrides):
    """Raise one sentence where a number is expected and a text came, or a tuple and a number: by all values that are known of a
    hyperparameter, its defaults in the recipes of one make and its ranges."""
    for name, value in overrides.items():
        told = [each.hyperparameters[name] for each in RECIPES.values() if each.make is entry.make]
        known = [
            value
            for each in told
            for value in (each.default, *getattr(each.range, "values", (getattr(each.range, "low", None),)))
        ]
        kinds = {type(each) for each in known if each is not None}
        example = next((each for each in known if each is not None), None)
        numbers = kinds and kinds <= {int, float}
        if (numbers and isinstance(value, (str, list, tuple, dict))) or (kinds == {tuple} and isinstance(value, (int, float))):
            raise ValueError(f"{name} is {value!r}, expected a {'number' if numbers else 'tuple'}, as {example!r}.")


def _execution(entry):
    # Under tf.distribute and on accelerators the measurements on a CPU mean nothing.
    if tf.distribute.has_strategy():
        return {}
    if tf.config.get_visible_devices("GPU"):
        return ON_GPU
    return entry.execution


@contextlib.contextmanager
def policy(dtype):
    """Let every layer made inside take this policy: on the outer model alone it would leave the networks in float32."""
    before = keras.config.dtype_policy()
    if dtype is not None:
        keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def adam(
    total_steps,
    learning_rate=1e-3,
    beta_1=0.9,
    beta_2=0.999,
    global_clipnorm=None,
    decay="cosine",
    warmup_steps=None,
    warmup_images=None,
    finite=False,
):
    """Adam; over `total_steps`, if given, a short linear warm-up and then half a cosine down to zero.

    Args:
        total_steps: int or None. Training steps planned.
        learning_rate: float above 0. The largest step size of Adam, at the end of the warm-up. Defaults to 1e-3.
        beta_1: float. Adam's decay of the mean gradient. Defaults to 0.9.
        beta_2: float. Adam's decay of the mean squared gradient. Defaults to 0.999.
        global_clipnorm: float or None. Largest norm of the whole gradient; None does not clip. Defaults to None.
        decay: "cosine", "linear" (to zero too, without warm-up) or None (constant). How the learning rate falls over the planned
            steps. Defaults to "cosine".
        warmup_steps: int or None. Steps in which the learning rate rises from 0; then it stays, and `decay` has no part. Defaults
            to None.
        warmup_images: int or None. The same in images of training. Defaults to None.
        finite: bool. Whether NaN in gradients counts as 0, and infinity as 100,000. Defaults to False.
    """
    if decay not in ("cosine", "linear", None):
        raise ValueError(f"decay is {decay!r}, expected 'cosine', 'linear' or None.")
    learning_rate = real(above=0, learning_rate=learning_rate)
    beta_1, beta_2 = real(at_least=0, below=1, beta_1=beta_1, beta_2=beta_2)
    if warmup_steps or warmup_images:
        ramp = Ramp(0.0, learning_rate, images=warmup_images, steps=warmup_steps, shape="linear")
        return RampedAdam(ramp, beta_1, beta_2, finite=finite, global_clipnorm=global_clipnorm)
    if total_steps is not None and decay == "linear":
        learning_rate = keras.optimizers.schedules.PolynomialDecay(learning_rate, total_steps, end_learning_rate=0.0)
    elif total_steps is not None and decay == "cosine":
        warmup = min(200, total_steps // 20)
        learning_rate = keras.optimizers.schedules.CosineDecay(
            learning_rate / 10 if warmup else learning_rate,
            total_steps - warmup,
            warmup_target=learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    if finite:
        return RampedAdam(learning_rate, beta_1, beta_2, finite=True, global_clipnorm=global_clipnorm)
    return Adam(learning_rate, beta_1, beta_2, global_clipnorm=global_clipnorm)
