"""Augmentations that gradients pass through (DiffAugment, Zhao et al. 2020, arXiv:2006.10738, section 3.2).

Each is a function of images `(n, height, width, channels)` in [-1, 1] and a stream of noise, with chance of its own for every
image.
"""

import tensorflow as tf
from keras import ops


def per_image(random, images):
    """A uniform number an image, `(n, 1, 1, 1)`."""
    return random.uniform((ops.shape(images)[0], *[1] * (len(images.shape) - 1)))


def _colour(images, random):
    axes = tuple(range(1, len(images.shape)))
    images = images + per_image(random, images) - 0.5  # brightness
    if images.shape[-1] > 1:
        mean = ops.mean(images, axis=-1, keepdims=True)
        images = mean + 2.0 * per_image(random, images) * (images - mean)  # saturation
    mean = ops.mean(images, axis=axes, keepdims=True)
    return mean + (0.5 + per_image(random, images)) * (images - mean)  # contrast


def _translation(images, random):
    """Shift by up to an eighth of each side, by one pixel at least, black coming in."""
    shifts = []
    for axis in (1, 2):
        size = images.shape[axis]
        most = max(1, size // 8)
        shift = ops.floor(random.uniform((ops.shape(images)[0], 1)) * (2 * most + 1)) - most
        shifts.append(ops.cast(ops.arange(size), "float32")[None] + shift)  # where each row or column comes from
    for axis, places in zip((1, 2), shifts, strict=True):
        size = images.shape[axis]
        inside = ops.cast((places >= 0) & (places < size), images.dtype)
        index = ops.cast(ops.clip(places, 0, size - 1), "int32")
        images = tf.gather(images + 1.0, index, axis=axis, batch_dims=1)  # black is -1, and 0 here, as what comes in
        shape = (-1, size, 1, 1) if axis == 1 else (-1, 1, size, 1)
        images = images * ops.reshape(inside, shape) - 1.0
    return images


def _cutout(images, random):
    """A gray square of half each side, anywhere."""
    mask = 1.0
    for axis in (1, 2):
        size = images.shape[axis]
        centre = random.uniform((ops.shape(images)[0], 1)) * size
        near = ops.abs(ops.cast(ops.arange(size), "float32")[None] + 0.5 - centre) < size / 4
        shape = (-1, size, 1, 1) if axis == 1 else (-1, 1, size, 1)
        mask = mask * ops.reshape(ops.cast(near, images.dtype), shape)
    return images * (1.0 - mask)


def _mirror(images, random):
    """Left and right exchanged in half of the images (Karras et al. 2020, arXiv:2006.06676, appendix B). The critic cannot tell
    mirrored images from others then, so that mirrored ones are generated too: not for letters or right shoes."""
    return ops.where(per_image(random, images) < 0.5, images, ops.flip(images, axis=2))


AUGMENTATIONS = {"color": _colour, "translation": _translation, "cutout": _cutout, "mirror": _mirror}


def check_kinds(kinds):
    """The names, or None, as a tuple, after one sentence is raised unless all are augmentations."""
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds or ())
    unknown = [kind for kind in kinds if kind not in AUGMENTATIONS]
    if unknown:
        raise ValueError(f"there is no augmentation {unknown[0]!r}, expected some of {', '.join(AUGMENTATIONS)}.")
    return kinds


def augment(images, kinds, random):
    """Images in [-1, 1], each augmented by chance of its own; gradients pass through."""
    for kind in kinds:
        images = AUGMENTATIONS[kind](images, random)
    return images
