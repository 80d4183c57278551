"""Recipes: which networks, objective and hyperparameters make a family work at an image shape."""

# They register themselves.
from keras_genzoo.recipes import autoencoders, diffusions, energies, flows, gans, space, vaes, waes  # noqa: F401
from keras_genzoo.recipes.registry import Recipe, build, get, names

__all__ = ["Recipe", "build", "get", "names", "space"]
