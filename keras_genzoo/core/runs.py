"""What a run knows of itself: its record, and `run.json` in its folder, which holds it."""

import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.core import devices, plugins
from keras_genzoo.core.files import plain, read_json, replacing, to_json

NAME, MODEL = "run.json", "model.keras"
PACKAGE = Path(__file__).parents[1]
NAMES = 2  # the version of recipes' names, stored with what names one; nothing was stored of the first
RENAMED = {"r3gan": "relativistic_gan"}  # what names of the first version are today, where they mean another network


def record(recipe, imports=(), command=None, **settings):
    """All by which a run can be told from others and made again.

    Args:
        recipe: str.
        imports: list of str. What was imported for it, see `plugins.import_named`.
        command: list of str or None. None is this process's own command line.
        **settings: what else it follows from: `hyperparameters`, `data`, `seed` and so on.

    Returns:
        dict that JSON can hold, with the command line, versions, the machine, and the hash of the package's code.
    """
    settings = plain(json.loads(json.dumps(settings, default=_name)))
    known = {"command": command or command_line(), "environment": environment()}
    return {"recipe": recipe, "recipe_names": NAMES, "imports": list(imports), **settings, **known}


def renamed(stored):
    """What the recipe of a stored run, search or row is called today, where its name means another network; else None.

    Args:
        stored: dict with `recipe`, and with `recipe_names` since their second version.
    """
    return RENAMED.get(stored.get("recipe")) if stored.get("recipe_names", 1) < NAMES else None


def check_name(stored, what):
    """Raise one sentence if the name of a stored recipe means another network today.

    Args:
        stored: as of `renamed`.
        what: str or Path. What holds it.
    """
    new = renamed(stored)
    if new:
        raise ValueError(
            f"{what} is of the recipe {stored['recipe']!r} of version 0.1.0, which is called {new!r} now, and today's "
            f"{stored['recipe']!r} is another network; begin anew with {new!r}."
        )


def command_line():
    """How this process was started, a list of str."""
    main = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", main.parent] if main and main.parent else [Path(sys.argv[0]).name]
    return [*program, *sys.argv[1:]]


def _name(value):
    """What JSON cannot hold, in words: a path, or an object of a hyperparameter."""
    return str(value) if isinstance(value, os.PathLike) else repr(value)


def data_record(source, images, **settings):
    """What a run was given to learn from.

    Args:
        source: str or Path. As `data.load` takes it.
        images: dict of splits to what `data.load` gave for them.
        **settings: other arguments of `data.load` that change images.
    """
    found = {name: {"count": split.images_count, "sha256": split.digest()} for name, split in images.items()}
    return {"source": source, **settings, "images": found}


def differing(stored, found, names):
    """In what two records differ: a list of texts, of these names and of hyperparameters and images by their own."""

    def flat(record):
        values = {name: record.get(name) for name in names}
        values |= values.pop("hyperparameters", None) or {}
        data = values.pop("data", None) or {}
        images = {f"the {split} images": each["sha256"] for split, each in data.get("images", {}).items()}
        return {**values, **images}

    there, here = flat(stored), flat(found)
    pairs = {name: (there.get(name), here.get(name)) for name in {**there, **here}}
    return [
        f"{name} are others" if name.endswith(" images") else f"{name} {old!r} there and {new!r} here"
        for name, (old, new) in pairs.items()
        if old != new
    ]


def write(folder, found):
    """Store a record in the folder of a run."""
    with replacing(Path(folder) / NAME) as temporary:
        temporary.write_text(to_json(found, indent=2) + "\n")


def read(folder):
    """The record in a folder, an empty dict where there is none.

    Raises:
        ValueError: the file is damaged.
    """
    return read_json(Path(folder) / NAME)


def model_file(path):
    """The file of a model: that, or the one in the folder of a run.

    Raises:
        ValueError: the folder has none.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    if not (path / MODEL).exists():
        begun = f"; its training has not ended: go on with {' '.join(read(path)['command'])}" if "command" in read(path) else ""
        raise ValueError(f"{path} holds no {MODEL}{begun or ', expected the folder of a run, or the file of a model'}.")
    return path / MODEL


def import_for(file, given=()):
    """Import what the model in a file needs, as its folder tells, see `plugins.import_stored`."""
    plugins.import_stored(read(Path(file).parent).get("imports", []), given, what=str(file))


def environment():
    """Versions and machine."""
    gpus = tf.config.get_visible_devices("GPU")
    device = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU"
    return {
        "keras_genzoo": sys.modules[PACKAGE.name].__version__,
        "python": platform.python_version(),
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "device": device,
        "cpu": devices.cpu_name(),
        "cores": devices.cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(terse=True),
        "revision": revision(),
        "code": code(),
    }


@functools.cache
def code():
    """SHA-256 of the package's code: names and contents of its modules, hex."""
    found = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        found.update(f"{path.relative_to(PACKAGE).as_posix()}\n".encode() + path.read_bytes())
    return found.hexdigest()


def revision():
    """The revision of the checkout, with "-dirty" where files differ from it; None outside of git."""
    settings = {"cwd": Path(__file__).parent, "capture_output": True, "text": True, "check": True}
    try:
        # Installed from a wheel the package may lie in a checkout of something else.
        subprocess.run(["git", "ls-files", "--error-unmatch", Path(__file__).name], **settings)
        return subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=10"], **settings).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
