"""The config round trip, written once: every constructor argument is an attribute of the same name."""

import copy
import functools
import inspect

import keras


class _Finishing(type(keras.Model)):
    """Calls `finish` when the last constructor has returned, when every argument has become an attribute."""

    def __call__(cls, *args, **kwargs):
        instance = super().__call__(*args, **kwargs)
        instance.kept_arguments()
        instance.finish()
        return instance


@functools.cache
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


def layers_of(value):
    """The layers in an argument, a layer or a list with layers in it, and the layers in these."""
    parts = value if isinstance(value, (list, tuple)) else [value]
    return [layer for part in parts if isinstance(part, keras.layers.Layer) for layer in part._flatten_layers()]


def _recorded(init):
    """A constructor that notes which arguments it takes by name, and which of those of `**kwargs` too it was given."""
    signature = inspect.signature(init)
    named = frozenset(p.name for p in signature.parameters.values() if p.kind != p.VAR_KEYWORD)
    rest = next((p.name for p in signature.parameters.values() if p.kind == p.VAR_KEYWORD), None)

    @functools.wraps(init)
    def recorded(self, *args, **kwargs):
        given = dict(signature.bind(self, *args, **kwargs).arguments)
        given |= given.pop(rest, {})
        self.__dict__.setdefault("_received", []).append((named, set(given)))
        init(self, *args, **kwargs)

    recorded.__signature__ = signature  # Keras reads it, and looks at no wrapped function
    return recorded


def _handed_on(received):
    """The arguments that constructors gave to those of their bases and do not take themselves."""
    found = set()
    for level in range(1, len(received)):
        taken = set().union(*(named for named, _ in received[:level]))
        found |= received[level][1] - received[level - 1][1] - taken
    return found


class Configured(metaclass=_Finishing):
    """Mixin of `keras.Model` or `keras.layers.Layer`: `get_config` and `from_config` from the constructor's signature, and files
    in which own variables stand by name.

    Nested models, layers and registered objects travel through `keras.saving`. What a derived class by itself hands on to its
    base is no part of the config.

    Class attributes:
        later: names of own variables that version 0.1.0 did not have, whose files hold the others by number.
        spare: names of own variables of a file that an object without them may be given.
    """

    later = spare = ()

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _recorded(cls.__init__)

    def kept_arguments(self):
        """Names of the arguments that the config holds; raises where one could not be found again."""
        handed_on = _handed_on(self.__dict__["_received"])
        names = [name for name in constructor_arguments(type(self)) if name not in handed_on]
        for name in names:
            if not hasattr(self, name):
                raise ValueError(
                    f"{type(self).__name__} takes {name!r} and keeps no attribute of that name, so it could not be loaded again; "
                    f"set self.{name} in its constructor."
                )
        return names

    def get_config(self):
        config = {name: getattr(self, name) for name in self.kept_arguments()}
        config |= {"name": self.name, "dtype": self.dtype_policy, "trainable": self.trainable}
        # Keras thaws what is frozen within a network when it makes the network anew.
        layers = {name: layers_of(getattr(self, name, None)) for name in constructor_arguments(type(self))}
        frozen = {name: [i for i, layer in enumerate(each) if not layer.trainable] for name, each in layers.items()}
        if any(frozen.values()):
            config["frozen"] = {name: indices for name, indices in frozen.items() if indices}
        return {name: keras.saving.serialize_keras_object(value) for name, value in config.items()}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        arguments = {  # of a copy: Keras empties the configs of nested models as it reads them
            name: keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
            for name, value in copy.deepcopy(config).items()
        }
        trainable, frozen = arguments.pop("trainable", True), arguments.pop("frozen", {})
        made = cls(**arguments)
        for name, indices in frozen.items():
            layers = layers_of(getattr(made, name))
            for index in indices:
                layers[index].trainable = False
        if not trainable:
            made.trainable = False
        return made

    def _own_variables(self):
        """The variables that are held by no other layer, by names that are each used once."""
        named = {}
        for variable in (*self._trainable_variables, *self._non_trainable_variables):
            count = sum(key.partition("#")[0] == variable.name for key in named)
            named[f"{variable.name}#{count}" if count else variable.name] = variable
        return named

    def _numbered_variables(self):
        """The list of them that files of version 0.1.0 hold, by number."""
        later = {name for base in type(self).__mro__ for name in getattr(base, "later", ())}
        return [variable for name, variable in self._own_variables().items() if name.partition("#")[0] not in later]

    def save_own_variables(self, store):
        for name, variable in self._own_variables().items():
            store[name] = variable

    def load_own_variables(self, store):
        """Take the values of a file; variables that it lacks keep the values that they have in a fresh object."""
        named = self._own_variables()
        if "0" in store:
            named = {str(index): variable for index, variable in enumerate(self._numbered_variables())}
        unknown = sorted(name for name in store.keys() if name not in named and name.partition("#")[0] not in self.spare)
        if unknown:
            raise ValueError(
                f"the file holds variables {', '.join(unknown)} of {self.name!r}, which has {', '.join(named) or 'none'}; "
                f"load it with the version of keras_genzoo that wrote it."
            )
        for name in set(store.keys()) & set(named):
            named[name].assign(store[name])


HALF = "float16", "bfloat16"


class Part(Configured, keras.layers.Layer):
    """A part of a model that is no network: a likelihood, a prior. Its variables exist from the start and are saved."""

    def __init__(self, name=None, dtype=None):
        if dtype is None and keras.config.dtype_policy().variable_dtype in HALF:
            dtype = "float32"
        super().__init__(name=name, dtype=dtype, autocast=False)

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
