"""Recipes and families that others write: from installed packages, and from modules and files that a command names."""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import warnings
from pathlib import Path

GROUP = "keras_genzoo.recipes"  # the entry points of packages that bring recipes
_done = set()


def import_installed():
    """Import what installed packages offer by the entry-point group `keras_genzoo.recipes`, once.

    A package that cannot be imported is left out with a warning that says why, so that it cannot keep others from their work.
    """
    if GROUP in _done:
        return
    _done.add(GROUP)
    for point in importlib.metadata.entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:
            warnings.warn(
                f"the recipes {point.name!r} of an installed package are left out: importing {point.value} failed with "
                f"{type(error).__name__}: {error}",
                stacklevel=2,
            )


def import_named(imports):
    """Import modules and files that register recipes.

    Args:
        imports: list of names of modules, sought from the current folder too, or of paths of `.py` files.

    Returns:
        The list to store with a run: names of modules as they are, files by their whole paths.

    Raises:
        ValueError: there is no such module or file, or importing it failed.
    """
    return [_import_file(Path(each)) if is_file(each) else _import_module(str(each)) for each in imports]


def import_stored(stored, given=(), what="this"):
    """Import what a run or a search was made with. Its files are imported only where they are given again.

    A module is found on Python's path, where its owner put it. A path that a folder names could be anybody's file.

    Args:
        stored: list that `import_named` returned when it was made.
        given: list of what is given now, and imported too. Defaults to none.
        what: str. What was made with them, for the message.

    Raises:
        ValueError: a file that is not given again, or what `import_named` raises.
    """
    known = {str(Path(each).resolve()) if is_file(each) else str(each) for each in given}
    missing = [each for each in stored if is_file(each) and each not in known]
    if missing:
        raise ValueError(
            f"{what} was made with the file {missing[0]}, which is imported only if you ask: add --import {missing[0]}"
        )
    import_named(dict.fromkeys([*given, *stored]))


def is_file(name):
    """Whether this names a file and not a module."""
    return str(name).endswith(".py")


def _import_module(name):
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # last, so that nothing of the current folder stands before what is installed
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ValueError(
                f"there is no module {name!r} in {os.getcwd()} or among what is installed; give a module, or a file that ends "
                f"in .py."
            ) from None
        raise _failed(name, error) from error
    except Exception as error:
        raise _failed(name, error) from error
    return name


def _import_file(path):
    path = path.resolve()
    if not path.is_file():
        raise ValueError(f"there is no file {path}; give the path of a .py file, or the name of a module.")
    name = path.stem
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) != str(path):
        name = f"{name}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return str(path)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # for modules beside it
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _failed(path, error) from error
    return str(path)


def _failed(name, error):
    return ValueError(f"importing {name} failed with {type(error).__name__}: {error}")
