"""Writing files so that a crash leaves the old file or the new one, never half of one."""

import contextlib
import os
import tempfile
from pathlib import Path


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
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp's files are for the owner alone
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
