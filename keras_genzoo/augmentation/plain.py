"""Augmentations of DiffAugment (Zhao et al. 2020, arXiv:2006.10738, section 3.2), and mirroring.

Sizes are rounded, and what comes in is gray, as in the code that the authors published.
"""

import functools

import tensorflow as tf
from keras import ops


def per_image(random, images):
    """A uniform number an image, `(n, 1, 1, 1)`."""
    return random.uniform((ops.shape(images)[0], *[1] * (len(images.shape) - 1)))


def _by_chance(augmentation):
    """An augmentation that an image gets as a whole, or not."""

    @functools.wraps(augmentation)
    def by_chance(images, random, chance=1.0):
        changed = augmentation(images, random)
        if isinstance(chance, float) and chance >= 1.0:
            return changed
        return ops.where(per_image(random, images) < chance, changed, images)

    return by_chance


@_by_chance
def color(images, random):
    """Brightness, saturation and contrast (DiffAugment, Zhao et al. 2020, arXiv:2006.10738, section 3.2)."""
    axes = tuple(range(1, len(images.shape)))
    images = images + per_image(random, images) - 0.5  # brightness
    if images.shape[-1] > 1:
        mean = ops.mean(images, axis=-1, keepdims=True)
        images = mean + 2.0 * per_image(random, images) * (images - mean)  # saturation
    mean = ops.mean(images, axis=axes, keepdims=True)
    return mean + (0.5 + per_image(random, images)) * (images - mean)  # contrast


def _nearest(share):
    """The nearest whole number, halves upwards, as the code of the paper rounds."""
    return int(share + 0.5)


@_by_chance
def translation(images, random):
    """A shift by up to an eighth of each side, gray coming in (DiffAugment); sides of fewer than 4 pixels stay."""
    for axis in (1, 2):
        size = images.shape[axis]
        most = _nearest(size / 8)
        shift = ops.floor(random.uniform((ops.shape(images)[0], 1)) * (2 * most + 1)) - most
        places = ops.cast(ops.arange(size), "float32")[None] + shift  # where each row or column comes from
        inside = ops.cast((places >= 0) & (places < size), images.dtype)
        index = ops.cast(ops.clip(places, 0, size - 1), "int32")
        images = tf.gather(images, index, axis=axis, batch_dims=1) * _along(axis, inside)  # gray is 0
    return images


@_by_chance
def cutout(images, random):
    """A gray rectangle of half of each side, centred anywhere (DiffAugment; ADA)."""
    mask = 1.0
    for axis in (1, 2):
        size = images.shape[axis]
        cut = _nearest(size / 2)
        # Of an even length it has one more place: it may be cut off at either end alike.
        centre = ops.floor(random.uniform((ops.shape(images)[0], 1)) * (size + 1 - cut % 2))
        places = ops.cast(ops.arange(size), "float32")[None] - centre + cut // 2
        mask = mask * _along(axis, ops.cast((places >= 0) & (places < cut), images.dtype))
    return images * (1.0 - mask)


def _along(axis, values):
    """Numbers of each row or column, `(batch, size)`, in the shape in which they multiply images."""
    return ops.expand_dims(values, (2, 3) if axis == 1 else (1, 3))


@_by_chance
def mirror(images, random):
    """Left and right exchanged in half of the images (Karras et al. 2020, arXiv:2006.06676, appendix B). The critic cannot tell
    mirrored images from others then, so that mirrored ones are generated too: not for letters or right shoes."""
    return ops.where(per_image(random, images) < 0.5, images, ops.flip(images, axis=2))
