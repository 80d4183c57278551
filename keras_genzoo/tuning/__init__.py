"""Search for better hyperparameters of a recipe with KerasTuner.

`HyperRecipe` is a recipe as a `keras_tuner.HyperModel`, for any tuner of KerasTuner. `Search` runs one on this machine, each
trial in a process of its own, with as many workers as asked for; `genzoo tune` is its command.
"""

import importlib.util

if importlib.util.find_spec("keras_tuner") is None:
    raise ImportError("keras_genzoo.tuning needs KerasTuner, which is not installed; pip install 'keras_genzoo[tuning]'.")

from keras_genzoo.tuning.hypermodel import HyperRecipe, get_objective
from keras_genzoo.tuning.search import Search

__all__ = ["HyperRecipe", "Search", "get_objective"]
