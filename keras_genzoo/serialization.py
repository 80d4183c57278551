"""The config round trip, written once: every constructor argument is an attribute of the same name."""

import copy
import inspect

import keras


class _Finishing(type(keras.Model)):
    """Calls `finish` when the last constructor has returned, when every argument has become an attribute."""

    def __call__(cls, *args, **kwargs):
        instance = super().__call__(*args, **kwargs)
        instance.finish()
        return instance


def constructor_arguments(cls):
    """Names of the arguments that `cls` and its bases take, `**kwargs` followed up to the first class of Keras."""
    names = []
    for base in cls.__mro__:
        if base.__module__.startswith("keras.src"):
            break
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        names += [p.name for p in parameters if p.name != "self" and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            break
    return list(dict.fromkeys(names))


class Configured(metaclass=_Finishing):
    """Mixin of `keras.Model` or `keras.layers.Layer`: `get_config` and `from_config` from the constructor's signature.

    Nested models, layers and registered objects travel through `keras.saving`.
    """

    def get_config(self):
        config = {name: getattr(self, name) for name in constructor_arguments(type(self))}
        config |= {"name": self.name, "dtype": self.dtype_policy}
        return {name: keras.saving.serialize_keras_object(value) for name, value in config.items()}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        arguments = {  # of a copy: Keras empties the configs of nested models as it reads them
            name: keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
            for name, value in copy.deepcopy(config).items()
        }
        return cls(**arguments)


class Part(Configured, keras.layers.Layer):
    """A part of a model that is no network: a likelihood, a prior. Its variables exist from the start and are saved."""

    def __init__(self, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)

    def add_weight(self, **settings):
        # Parts compute in full precision, also where a model of less calls them.
        return super().add_weight(autocast=False, **settings)

    def finish(self):
        self.built = True


def named(value, makers, kind, what):
    """A part by its name, or the one given.

    Args:
        value: name or instance of `kind`.
        makers: dict from names to functions that make one.
        kind: class.
        what: str. What the part is called where it is asked for.
    """
    if isinstance(value, kind):
        return value
    if isinstance(value, str) and value in makers:
        return makers[value]()
    raise ValueError(f"{what} is {value!r}, expected one of {', '.join(makers)}, or an instance of {kind.__name__}.")
