"""Recipes: which networks, objective and hyperparameters make a family work at an image shape."""

# They register themselves.
from keras_genzoo.recipes import (  # noqa: F401
    autoencoders,
    autoregressive,
    diffusions,
    energies,
    flows,
    gans,
    residual_gans,
    sizes,
    space,
    style_gans,
    vaes,
    vaes_with_space,
    waes,
)
from keras_genzoo.recipes.building import adam, build
from keras_genzoo.recipes.describing import describe
from keras_genzoo.recipes.hyperparameters import Hyperparameter, arguments
from keras_genzoo.recipes.precision import automatic as automatic_dtype
from keras_genzoo.recipes.registry import RECIPES, Recipe, get, names, recipe, variant
from keras_genzoo.recipes.space import Choice, Float, Int

__all__ = [
    "RECIPES",
    "Choice",
    "Float",
    "Hyperparameter",
    "Int",
    "Recipe",
    "adam",
    "arguments",
    "automatic_dtype",
    "build",
    "describe",
    "get",
    "names",
    "recipe",
    "sizes",
    "space",
    "variant",
]
