"""Models that come trained with the package, and the small files that hold them: weights in 16 bits, and no state of training."""

import difflib
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np

from keras_genzoo.core import averages, runs
from keras_genzoo.core.files import replacing

FOLDER = Path(__file__).parents[1] / "pretrained"
WEIGHTS, CONFIG = "model.weights.h5", "config.json"
COMPILED = "shipped_compile_config"  # under its own name Keras would look for optimizers' states in the file
KEPT = 1024  # numbers of a variable up to which it keeps 32 bits: biases and moments, which 16 bits might flatten
LARGEST = float(np.finfo(np.float16).max)


def names():
    """The names of the models that come with the package, as "gan/fashion_mnist", a list of str.

    Example:

    >>> from keras_genzoo.core import pretrained
    >>> all("/" in name for name in pretrained.names())
    True
    """
    return sorted(path.parent.relative_to(FOLDER).as_posix() for path in FOLDER.rglob(runs.NAME))


def named(name):
    """The folder of one of these models, by its name in either order, or None.

    Args:
        name: str, as "gan/fashion_mnist" or "fashion_mnist/gan".
    """
    found = {turned: each for each in names() for turned in (each, "/".join(reversed(each.rsplit("/", 1))))}
    return FOLDER / found[str(name)] if str(name) in found else None


def located(name):
    """The file of one of these models.

    Raises:
        ValueError: no model of this name comes with the package, or its file is not the one that was shipped.
    """
    folder = named(name)
    if folder is None:
        close = difflib.get_close_matches(str(name), names(), 1)
        hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(names()) or 'none'}."
        raise ValueError(f"no trained model {str(name)!r} comes with the package; {hint}")
    check(folder)
    return folder / runs.MODEL


def check(folder):
    """Raise one sentence unless the file in the folder of such a model has the digest that its record tells."""
    found, known = digest(folder / runs.MODEL), runs.read(folder)["sha256"]
    if found != known:
        raise ValueError(
            f"{folder / runs.MODEL} has the SHA-256 {found[:12]}..., expected {known[:12]}...; install the package anew."
        )


def digest(path):
    """SHA-256 of a file, hex."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def shrink(model, path):
    """Write a model to a small `.keras` file: averages for weights where it keeps any, large weights in 16 bits, no optimizer.

    `gz.load` compiles the model as it was compiled here.

    Args:
        model: `GenerativeModel`. Its weights become their averages.
        path: str or Path, ending in `.keras`.
    """
    import tempfile

    averages.settle(model)
    with tempfile.TemporaryDirectory() as folder, replacing(path) as temporary:
        whole = Path(folder) / "whole.keras"
        model.save(whole)
        with zipfile.ZipFile(whole) as source, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
            config = json.loads(source.read(CONFIG))
            config[COMPILED] = config.pop("compile_config", None)
            source.extract(WEIGHTS, folder)
            _halve(Path(folder) / WEIGHTS, Path(folder) / "small.h5", set(model.optimizers))
            for name in source.namelist():
                if name not in (CONFIG, WEIGHTS):
                    target.writestr(name, source.read(name))
            target.writestr(CONFIG, json.dumps(config))
            target.write(Path(folder) / "small.h5", WEIGHTS)


def _halve(path, to, optimizers):
    """Copy weights without the states of optimizers and without averages, large ones in 16 bits."""
    import h5py

    with h5py.File(path) as source, h5py.File(to, "w") as target:

        def copy(name, found):
            place, _, last = name.rpartition("/")
            if name.partition("/")[0] in optimizers or (place == "vars" and last.startswith(averages.PREFIX)):
                return
            if isinstance(found, h5py.Group):
                target.require_group(name).attrs.update(found.attrs)
                return
            values = found[()]
            if values.dtype == np.float32 and values.size > KEPT and np.abs(values).max() < LARGEST:
                values = values.astype(np.float16)
            target[name] = values

        source.visititems(copy)
