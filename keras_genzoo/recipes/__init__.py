"""Recipes: which networks, objective and hyperparameters make a family work at an image shape."""

from keras_genzoo.recipes import autoencoders, diffusions, flows, gans, vaes, waes  # noqa: F401  (they register themselves)
from keras_genzoo.recipes.registry import Recipe, build, get, names

__all__ = ["Recipe", "build", "get", "names"]
