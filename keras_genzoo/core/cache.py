"""What is known of real images, kept on disk: features and neighbours take longer to compute than anything that follows."""

import hashlib
import json
import os
import warnings
import zipfile

import numpy as np

from keras_genzoo.core.files import keras_home, replacing
from keras_genzoo.core.images import to_levels


def folder():
    """Where it is kept, in Keras's cache; anything in it may be removed."""
    return keras_home() / "genzoo" / "statistics"


def remembered(kind, images, settings, compute):
    """Arrays from disk if they were computed before of the same images with the same settings, or else computed and kept.

    The images themselves are in the key, by their sha256, hence data set, split, number, order and size. A file that is damaged
    or of something else is computed anew, with a warning, which a full disk costs too. Where the folder cannot be written
    nothing is kept.

    Args:
        kind: str. What the arrays are.
        images: array `(n, height, width, channels)`, `uint8` or floats in [0, 1].
        settings: dict for JSON, all else that they depend on; None keeps nothing.
        compute: callable without arguments, to a dict of arrays.

    Returns:
        The dict.
    """
    if settings is None:
        return compute()
    parts = (images[start : start + 4096] for start in range(0, len(images), 4096))
    key = {"kind": kind, "images": digest(parts), "shape": list(np.shape(images)), **settings}
    text = json.dumps(key, sort_keys=True)
    path = folder() / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
    if path.exists():
        try:
            return _read(path, text)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            warnings.warn(f"{path} is damaged or of something else ({error}) and is computed anew.", stacklevel=3)
    arrays = compute()
    if _writable(path.parent):
        try:
            with replacing(path) as temporary:
                np.savez(temporary, key=np.array(text), **arrays)
        except OSError as error:  # as of a full disk: what is computed is there all the same
            warnings.warn(f"{path} could not be kept ({error.strerror}); it is computed anew the next time.", stacklevel=3)
    return arrays


def _read(path, text):
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    if str(arrays.pop("key")) != text:
        raise ValueError("it has another key")
    return arrays


def digest(parts):
    """SHA-256 of images as uint8, hex, of parts of them one after the other."""
    found = hashlib.sha256()
    for part in parts:
        found.update(np.ascontiguousarray(to_levels(part)).tobytes())
    return found.hexdigest()


def _writable(path):
    while not path.exists():
        path = path.parent
    return os.access(path, os.W_OK)
