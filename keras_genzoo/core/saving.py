"""Files of models: written whole, loaded whole, and what a damaged or foreign file gets."""

import re
import zipfile
from pathlib import Path

import keras

from keras_genzoo.core import plugins
from keras_genzoo.core.model import GenerativeModel


def load(path):
    """Load a model that `save` wrote: networks, optimizers, averages, priors and the state of the noise.

    Variables that a file of an earlier version lacks keep the values of a fresh model.

    Args:
        path: str or Path of a `.keras` file.

    Returns:
        The compiled model.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no whole `.keras` file, holds no generative model, or one of a class that is not known here.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}; expected a .keras file that model.save wrote.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no .keras file, or was cut off; save the model again with model.save('name.keras').")
    plugins.import_installed()
    try:
        model = keras.saving.load_model(path)
    except TypeError as error:
        unknown = re.search(r"Could not locate class '(.+?)'", str(error))
        if unknown is None:
            raise
        raise ValueError(
            f"{path} holds a {unknown[1]}, a class that is not known here; import the module that defines it first (`import` in "
            f"Python, --import MODULE of the commands)."
        ) from error
    except KeyError as error:
        raise ValueError(f"{path} is no .keras file, or was cut off ({error}); save the model again with model.save.") from error
    if not isinstance(model, GenerativeModel):
        raise ValueError(f"{path} holds a {type(model).__name__}, expected a generative model saved by keras_genzoo.")
    return model
