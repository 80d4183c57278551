"""Where a hyperparameter is told: its name, default, meaning and range, once.

A recipe is a function, and its arguments are its hyperparameters. One that the recipe passes on to a factory or a model is told
by that one's signature and docstring (`arguments`); one of the recipe's own by a `Hyperparameter` as its default. `gz.build`,
`genzoo show`, searches and the documentation read them from there.
"""

import dataclasses
import functools
import inspect
import re


@dataclasses.dataclass(frozen=True)
class Hyperparameter:
    """What a recipe can be asked to do otherwise.

    Args:
        default: what it is unless told otherwise.
        range: where it is searched, a `space.Float`, `space.Int` or `space.Choice`, or None: not unless asked. Defaults to None.
        meaning: str. A sentence; of an argument that is passed on, that of its docstring. Defaults to none.
        sized: callable of a value, the `image_shape`, and a dict of the values of the hyperparameters before it, to the value
            at that size, see `recipes.sizes`; None is the same at every size. Defaults to None.

    Example:

    >>> Hyperparameter(0.1, gz.recipes.Float(0.01, 1.0), "Width of the kernel.").default
    0.1
    """

    default: object
    range: object = None
    meaning: str = ""
    sized: object = None

    def at(self, image_shape, values):
        """This one at an image shape, of the values of those before it: with a default and a range that follow it."""
        if self.sized is None:
            return self
        follow = functools.partial(self.sized, image_shape=image_shape, values=values)
        return dataclasses.replace(self, default=follow(self.default), range=self.range and self.range.map(follow), sized=None)


class Arguments(dict):
    """Arguments that a recipe passes on: dict of their names to `Hyperparameter`s.

    Attributes:
        prefix: str. What stands before these names in the recipe's own.
    """

    prefix = ""

    def __or__(self, others):
        """These and others, to be passed on together."""
        both = Arguments({**self, **others})
        both.prefix = self.prefix
        return both


def arguments(function, *names, prefix="", **changed):
    """Arguments of a factory or a model that become hyperparameters of a recipe, told as its docstring tells them.

    Args:
        function: function or class, whose docstring has them under "Args:".
        *names: str. Which of its arguments; "*" is all with defaults, but for `name` and `dtype`. Those in `changed` need no
            mention.
        prefix: str. What the recipe calls them begins with this, as "critic_". Defaults to "".
        **changed: by name, another default, or a `Hyperparameter` with a default and a range.

    Returns:
        `Arguments`, to stand as the default of an argument of the recipe, which then gets a dict to be passed on.

    Raises:
        TypeError: the function has no such argument, or its docstring says nothing of it.

    Example:

    >>> sizes = arguments(gz.networks.conv_encoder, "width", "depth", width=Hyperparameter(16, gz.recipes.Choice((8, 16, 32))))
    >>> sizes["width"].default, sizes["depth"].default
    (16, 2)
    """
    parameters = inspect.signature(function.__init__ if inspect.isclass(function) else function).parameters
    if "*" in names:
        names = [p.name for p in parameters.values() if p.default is not p.empty and p.name not in ("name", "dtype")]
    told = Arguments()
    told.prefix = prefix
    meanings = meanings_of(function)
    for name in dict.fromkeys([*names, *changed]):
        if name not in parameters or name not in meanings:
            raise TypeError(f"{function.__name__} has no argument {name!r}, or its docstring does not tell what it is.")
        changes = changed.get(name, parameters[name].default)
        given = changes if isinstance(changes, Hyperparameter) else Hyperparameter(changes)
        told[name] = given if given.meaning else dataclasses.replace(given, meaning=meanings[name])
    return told


def meanings_of(function):
    """What a docstring says of each argument under "Args:", without its default: dict of names to sentences."""
    lines = iter((inspect.getdoc(function) or "").splitlines())
    section, meanings, names = [], {}, ()
    for line in lines:
        if line.strip() == "Args:":
            section = list(_section(lines))
    for line in section:
        begins = re.match(r"([\w*][\w, *]*): (.*)", line)
        if begins:
            names = [name.strip(" *") for name in begins[1].split(",")]
            meanings |= dict.fromkeys(names, begins[2])
        else:
            meanings |= {name: f"{meanings[name]} {line.strip()}" for name in names}
    return {name: re.sub(r"\s*Defaults to [^.]*(\.\d[^.]*)*\.$", "", text) for name, text in meanings.items()}


def _section(lines):
    """The lines of a section, without its indentation."""
    for line in lines:
        if not line.strip():
            return
        yield line[4:]
