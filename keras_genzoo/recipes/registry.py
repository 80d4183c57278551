"""How a recipe is declared and found."""

import dataclasses
import difflib
import inspect
import types
from collections.abc import Callable

from keras_genzoo.core import plugins
from keras_genzoo.recipes.hyperparameters import Arguments, Hyperparameter, meanings_of

RECIPES = {}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A way to make one family work: networks, objective, hyperparameters, and how it is executed.

    Attributes:
        name: str.
        family: str. The family's name, as `vae`.
        make: function of `image_shape`, `total_steps` and the hyperparameters, to the model and a dict of arguments for
            `compile`.
        hyperparameters: dict of names to `Hyperparameter`s.
        execution: dict. Arguments of `compile` on a machine without an accelerator, where they measured fastest
            (`python -m benchmarks.execution`); elsewhere Keras decides.
        summary: str. One line.
        description: str. What more there is to say, or "".
        parts: dict of arguments of `make` to names of hyperparameters: a name, or a dict of names that are passed on together.
    """

    name: str
    family: str
    make: Callable
    hyperparameters: dict
    execution: dict
    summary: str
    description: str
    parts: dict

    @property
    def defaults(self):
        """The hyperparameters' defaults, by name."""
        return {name: each.default for name, each in self.hyperparameters.items()}

    @property
    def search(self):
        """Ranges that are searched for better hyperparameters, by name."""
        return {name: each.range for name, each in self.hyperparameters.items() if each.range is not None}

    def at(self, image_shape, values=()):
        """This recipe at an image shape: with the defaults and ranges that follow its size.

        Args:
            image_shape: `(height, width, channels)`.
            values: dict of hyperparameters that are given, on which others may depend. Defaults to none.
        """
        found, values = {}, dict(values)
        for name, each in self.hyperparameters.items():
            found[name] = each.at(image_shape, values)
            values.setdefault(name, found[name].default)
        return dataclasses.replace(self, hyperparameters=types.MappingProxyType(found))

    def call(self, image_shape, total_steps, values):
        """The model and the arguments for `compile`, of hyperparameters by name, all of them."""
        given = {
            part: {own: values[name] for own, name in names.items()} if isinstance(names, dict) else values[names]
            for part, names in self.parts.items()
        }
        return self.make(image_shape, total_steps, **given)


def recipe(family, **execution):
    """Register the decorated function as the recipe of its name.

    The function takes `image_shape`, `(height, width, channels)`, `total_steps`, the number of training steps planned or None,
    and its hyperparameters, each with a default: a plain value, which the docstring tells under "Args:"; a
    `Hyperparameter`, with its range and its meaning; or `arguments` of a factory, of which it gets a dict to pass on. It returns
    the model, built and not compiled, and a dict of arguments for its `compile`.

    Args:
        family: str. The family's name, under which `gz.recipes.names()` lists it.
        **execution: arguments of `compile` on a machine without an accelerator, such as `jit_compile=True`.

    Raises:
        ValueError: there is a recipe of this name already.
        TypeError: the function takes other arguments, or one without a default.

    Example:

    >>> @gz.recipes.recipe("autoencoder", jit_compile=False)
    ... def narrow(image_shape, total_steps, sizes=gz.recipes.arguments(gz.networks.mlp, "depth", width=8)):
    ...     '''An autoencoder of two numbers.'''
    ...     encoder = gz.networks.mlp(image_shape, 2, name="encoder", **sizes)
    ...     decoder = gz.networks.mlp(2, image_shape, name="decoder", **sizes)
    ...     return gz.models.Autoencoder(encoder, decoder), {"optimizer": "adam"}
    >>> gz.build("narrow", (28, 28, 1), depth=1).count_params()
    13378
    """

    def register(make):
        parameters = list(inspect.signature(make).parameters.values())
        if [p.name for p in parameters[:2]] != ["image_shape", "total_steps"] or any(
            p.default is p.empty for p in parameters[2:]
        ):
            raise TypeError(
                f"the recipe {make.__name__!r} takes ({', '.join(p.name for p in parameters)}), expected (image_shape, "
                f"total_steps) and then hyperparameters, each with a default."
            )
        meanings, hyperparameters, parts = meanings_of(make), {}, {}
        for parameter in parameters[2:]:
            told = parameter.default
            if isinstance(told, Arguments):
                parts[parameter.name] = {name: f"{told.prefix}{name}" for name in told}
                own = {f"{told.prefix}{name}": each for name, each in told.items()}
            else:
                parts[parameter.name] = parameter.name
                given = told if isinstance(told, Hyperparameter) else Hyperparameter(told)
                meaning = given.meaning or meanings.get(parameter.name, "")
                own = {parameter.name: dataclasses.replace(given, meaning=meaning)}
            twice = sorted(set(own) & set(hyperparameters))
            if twice:
                raise TypeError(f"the recipe {make.__name__!r} takes {twice[0]!r} twice; give one of them a prefix.")
            hyperparameters |= own
        summary, _, rest = (inspect.getdoc(make) or "").partition("Args:")[0].partition("\n\n")
        _add(Recipe(make.__name__, family, make, hyperparameters, execution, " ".join(summary.split()), rest.strip(), parts))
        return make

    return register


def variant(name, of, summary, execution=None, search=None, **defaults):
    """Register a recipe that is another one with other defaults, and other ranges.

    Args:
        name: str.
        of: str. The other recipe.
        summary: str. One line.
        execution: dict or None. As of `recipe`; None is the other's. Defaults to None.
        search: dict or None. Ranges by name that take the place of the other's; None as a range is none. Defaults to none.
        **defaults: hyperparameters.

    Raises:
        ValueError: there is a recipe of this name already, or none of the other.
        TypeError: the other has no such hyperparameter.

    Example:

    >>> gz.recipes.variant("beta_vae_16", of="beta_vae", summary="beta-VAE with a stronger KL term.", beta=16.0)
    >>> gz.recipes.get("beta_vae_16").defaults["beta"]
    16.0
    """
    base, search = get(of), search or {}
    unknown = sorted({*defaults, *search} - set(base.hyperparameters))
    if unknown:
        raise TypeError(f"variant {name!r}: {of!r} has no {unknown}.")
    changed = {
        key: dataclasses.replace(each, default=defaults.get(key, each.default), range=search.get(key, each.range))
        for key, each in base.hyperparameters.items()
    }
    # The order in which they are told is that of the base.
    _add(dataclasses.replace(base, name=name, summary=summary, hyperparameters=changed, execution=execution or base.execution))


def _add(entry):
    taken = RECIPES.get(entry.name)
    if taken is not None:
        raise ValueError(
            f"there is a recipe {entry.name!r} already, of {taken.make.__module__}; give yours, of {entry.make.__module__}, "
            f"another name."
        )
    RECIPES[entry.name] = dataclasses.replace(entry, hyperparameters=types.MappingProxyType(entry.hyperparameters))


def names():
    """The recipes by family, those of installed packages included: dict of lists of names."""
    plugins.import_installed()
    families = {}
    for entry in RECIPES.values():
        families.setdefault(entry.family, []).append(entry.name)
    return families


def get(name):
    """A `Recipe` by name; an unknown name is an error that says what comes near and where they are listed."""
    if name not in RECIPES:
        plugins.import_installed()
    if name not in RECIPES:
        near = difflib.get_close_matches(str(name).lower(), RECIPES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"there is no recipe {name!r}, expected one of the {len(RECIPES)} of `genzoo list` and `gz.recipes.names()`, or one "
            f"of your own: import its module first (--import MODULE of the commands).{hint}"
        )
    return RECIPES[name]
