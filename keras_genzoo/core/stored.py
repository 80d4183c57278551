"""What of a model stands in its files."""

import importlib

import keras

from keras_genzoo.core import averages
from keras_genzoo.core.files import write_whole
from keras_genzoo.core.progress import NAMES
from keras_genzoo.core.serialization import constructor_arguments, layers_of

SEEDS = "seed_generator"  # names of the states of Keras's generators, as of dropout


class Stored:
    """The part of `GenerativeModel` that writes files and reads them."""

    later, spare = (SEEDS, *NAMES), (SEEDS,)

    def save(self, filepath, overwrite=True, **kwargs):
        """`keras.Model.save`; a crash leaves the old file or the new one.

        Raises:
            ValueError: what could not be loaded again: a name that does not end in `.keras`, a class that nobody will find, or
                a function without a name in the config.
            FileExistsError: there is such a file, and `overwrite` is False.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                f"{filepath} is to be an HDF5 file, from which no generative model can be loaded; save it as name.keras, or its "
                f"weights alone by save_weights('name.weights.h5')."
            )
        _check_loadable(self)
        averages.renew(self)
        write_whole(filepath, super().save, overwrite, **kwargs)

    def save_weights(self, filepath, overwrite=True, **kwargs):
        """`keras.Model.save_weights`; a crash leaves the old file or the new one."""
        averages.renew(self)
        write_whole(filepath, super().save_weights, overwrite, **kwargs)

    def quantize(self, *args, **kwargs):
        """`keras.Model.quantize`, of the averages of the weights where the model keeps any."""
        averages.settle(self)
        super().quantize(*args, **kwargs)
        averages.renew(self, settled=True)

    def _own_variables(self):
        # Keras keeps no state of seed generators: after loading, dropout would begin anew.
        layers = [layer for name in constructor_arguments(type(self)) for layer in layers_of(getattr(self, name, None))]
        states = [generator.state for layer in dict.fromkeys(layers) for generator in layer._seed_generators]
        return super()._own_variables() | {f"{SEEDS}#{index}": state for index, state in enumerate(states)}

    def _numbered_variables(self):
        taken = {id(average) for _, average in self._averages.all} | {id(steps) for steps in self._averages.steps.values()}
        return self._averages.numbered([v for v in super()._numbered_variables() if id(v) not in taken])

    def load_weights(self, filepath, *args, **kwargs):
        """`keras.Model.load_weights`. A model without averages takes those of the file for its weights, and averages that a file
        lacks begin with its weights."""
        self._found = {}
        super().load_weights(filepath, *args, **kwargs)
        averages.take(self, self._found)

    def load_own_variables(self, store):
        if self.ema is None:
            self._found = {name: store[name][()] for name in store.keys() if name.startswith(averages.PREFIX)}
            store = {name: store[name] for name in store.keys() if name not in self._found}
        super().load_own_variables(store)
        self._averages.loaded(store)


def _check_loadable(model):
    """Raise one sentence if a file of this model could not be loaded again."""
    for layer in model._flatten_layers():
        cls = type(layer)
        registered = keras.saving.get_registered_object(keras.saving.get_registered_name(cls))
        # What a script or a notebook defines is found by no other one.
        if cls is not registered and (cls.__module__ == "__main__" or cls is not getattr(_module(cls), cls.__name__, None)):
            raise ValueError(
                f"{cls.__name__} is neither registered nor found in its module {cls.__module__}, so that the file could not be "
                f'loaded again; write @keras.saving.register_keras_serializable("your_package") above the class.'
            )
        for name, value in vars(layer).items():
            if not name.startswith("_") and getattr(value, "__name__", None) == "<lambda>":
                raise ValueError(
                    f"{name} of {layer.name!r} is a lambda, so that the file could not be loaded again; write it as a function "
                    f"with @keras.saving.register_keras_serializable()."
                )


def _module(cls):
    """The module of a class, None where there is none, as of code that a text held."""
    try:
        return importlib.import_module(cls.__module__)
    except ImportError:
        return None
