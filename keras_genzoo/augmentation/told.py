"""Augmentation that a network is told of, so that it learns of changed images and is asked for unchanged ones."""

import math

import tensorflow as tf
from keras import ops

from keras_genzoo.augmentation import affine
from keras_genzoo.augmentation.adaptive import _angles, _below, _drawn

TOLD = 9  # numbers that tell of an image's changes


def told(images, random, chance=0.12):
    """Images changed as EDM's training changes them, and what was done (Karras et al. 2022, arXiv:2206.00364, appendix F.2).

    Half of the images are exchanged left and right. With the chance each, an image is turned upside down in half of the cases,
    made larger or smaller, turned by any angle, stretched along any direction, and shifted; mirrored at the borders.

    Args:
        images: tensor `(n, height, width, channels)`.
        random: `randomness.Stream`.
        chance: float in [0, 1]. Defaults to 0.12, that of EDM's models of CIFAR-10.

    Returns:
        The images, and float32 `(n, 9)`, zeros for images that did not change.
    """
    n, (height, width) = ops.shape(images)[0], images.shape[1:3]
    drawn = lambda draw, chance=chance: _drawn(random, n, chance, draw, 0.0)  # noqa: E731
    across, down = drawn(lambda: _below(random, n, 2), 1.0), drawn(lambda: _below(random, n, 2))
    for axis, flipped in ((2, across), (1, down)):
        images = ops.where(ops.reshape(flipped, (-1, 1, 1, 1)) > 0.5, ops.flip(images, axis), images)
    size, turn = drawn(lambda: random.normal((n,))), drawn(lambda: _angles(random, n))
    stretch, along = drawn(lambda: random.normal((n,))), drawn(lambda: _angles(random, n), 0.5)
    shifted = random.uniform((n,)) < chance
    x, y = (ops.where(shifted, random.normal((n,)), 0.0) for _ in range(2))
    images = affine.transformed(images, _matrices(size, turn, stretch, along, x * width, y * height))
    told = (across, down, size, ops.cos(turn) - 1.0, ops.sin(turn), stretch * ops.cos(along), stretch * ops.sin(along), x, y)
    return images, tf.stack(told, axis=1)


def _matrices(size, turn, stretch, along, x, y):
    """Of each place of a changed image, where it comes from: sizes and stretches are powers of 2 with deviation 0.2, shifts an
    eighth of what they are of."""
    rotation = lambda angle: affine.rotation(ops.cos(angle), ops.sin(angle))  # noqa: E731
    smaller, narrower = (ops.exp(-0.2 * math.log(2) * each) for each in (size, stretch))
    stretched = rotation(-along) @ affine.scaling(narrower, 1.0 / narrower) @ rotation(along)
    return affine.scaling(smaller, smaller) @ rotation(turn) @ stretched @ affine.shift(-x / 8, -y / 8)
