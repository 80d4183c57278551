"""Latents that a user hands to `sample` in the place of drawn ones."""

import numpy as np
import tensorflow as tf


def checked(model, latents, n):
    """Latents of a user and how many there are, or one sentence that says what is wrong with them.

    Args:
        model: `GenerativeModel`.
        latents: array `(n, ...)` of one of the model's `latent_shapes`, inside a graph a tensor; or None.
        n: int, scalar tensor or None. The number of images that was asked for.

    Returns:
        float32 array or tensor, and its number of rows; `(None, n)` where no latents were given.

    Raises:
        ValueError: another shape, numbers that are not finite, or an `n` that is not their number.
    """
    if latents is None:
        return None, n
    in_graph = tf.inside_function()
    latents = tf.cast(latents, tf.float32) if in_graph else np.asarray(latents, np.float32)
    shape, expected = tuple(latents.shape), model.latent_shapes()
    if shape[1:] not in expected:
        wanted = " or ".join(f"(n, {', '.join(map(str, each))})" for each in expected)
        fix = "; add the batch axis with `z[None]`" if shape in expected else ""
        raise ValueError(f"latents have shape {shape}, expected {wanted}{fix}.")
    if not in_graph and not np.isfinite(latents).all():
        raise ValueError("latents hold NaN or infinite values, expected finite numbers.")
    count = tf.shape(latents)[0] if shape[0] is None else shape[0]
    if isinstance(count, int) and n is not None and not tf.is_tensor(n) and n != count:
        raise ValueError(f"n is {n!r}, but there are {count} latents; leave n out, or give as many.")
    return latents, count
