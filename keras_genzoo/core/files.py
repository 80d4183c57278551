"""Writing files so that a crash leaves the old file or the new one, never half of one."""

import contextlib
import json
import math
import os
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"  # the file by which a folder is locked


def keras_home():
    """Keras's folder of caches: KERAS_HOME, or `~/.keras`."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")


@contextlib.contextmanager
def replacing(path):
    """Give a temporary path beside `path`, which takes the place of `path` when the block ends without an error.

    Args:
        path: str or Path. The file to write or replace; its folder is created. The temporary file has the same ending,
            for writers that choose the format by it.

    Example:

    >>> with replacing("scores.json") as temporary:
    ...     temporary.write_text("{}")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", suffix="".join(path.suffixes[-2:]), dir=path.parent)
    os.close(handle)
    temporary = Path(temporary)
    try:
        yield temporary
        sync(temporary)
        temporary.chmod(0o666 & ~umask())  # mkstemp's files are for the owner alone
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path):
    """Give a temporary folder beside `path`, which takes the place of `path` when the block ends without an error.

    Args:
        path: str or Path. The folder to write or replace; what it holds is gone then.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield temporary
        sync(temporary)
        temporary.chmod(0o777 & ~umask())
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
            path.replace(old)  # an empty folder gives way to another one
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def umask():
    """The mask of the modes of new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path):
    """Wait until a file, or what a folder lists, is on the disk."""
    if os.name == "nt" and Path(path).is_dir():  # which Windows does not open
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path, write, overwrite=True, **settings):
    """Let `write(path, overwrite=...)` of Keras write a `.keras` or `.weights.h5` file; a crash leaves the old one or the new.

    Raises:
        FileExistsError: there is such a file, and `overwrite` is False.
    """
    if not str(path).endswith((".keras", ".weights.h5")) or "://" in str(path) or settings:
        return write(path, overwrite=overwrite, **settings)  # Keras answers for other formats and stores
    if not overwrite and os.path.exists(path):
        raise FileExistsError(f"{path} exists; pass overwrite=True to replace it.")
    with replacing(path) as temporary:
        write(temporary, overwrite=True)


def plain(value):
    """What JSON can hold: numbers of Python, and None for those that are not finite."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(value, **settings):
    """JSON text of scores, rows and records, by `plain`: "NaN" and "Infinity", which Python would write, no other reader takes.

    Args:
        value: dicts, lists, texts and numbers, those of NumPy too.
        **settings: of `json.dumps`.

    Example:

    >>> to_json({"psnr": math.inf, "mse": np.float32(0)})
    '{"psnr": null, "mse": 0.0}'
    """
    return json.dumps(plain(value), allow_nan=False, **settings)


def read_json(path):
    """The dict that a JSON file holds, an empty one where there is no file.

    Raises:
        ValueError: it holds something else.
    """
    path = Path(path)
    try:
        found = json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); restore or remove it.") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, expected a dict; restore or remove it.")
    return found


def alone(path):
    """A context that one process at a time is in, of all that name this file; the others wait.

    Args:
        path: Path of the file that says so. Its folder is created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)


def locked(folder, error, reason, timeout=0, name=LOCK):
    """Keep other processes from a folder: a context whose end lets them in again.

    Args:
        folder: Path.
        error: class of the exception that is raised where another process has it.
        reason: str. What that process does, as "another process searches in runs/tune".
        timeout: float. Seconds to wait for it. Defaults to 0.
        name: str. The file that says so. Defaults to ".lock".
    """
    try:
        return alone(folder / name).acquire(timeout=timeout)
    except Timeout:
        raise error(f"{reason}; wait for it or choose another folder.") from None
