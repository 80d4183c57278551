"""Augmentations of ADA (Karras et al. 2020, arXiv:2006.06676, appendix B), and the chance that follows how sure the critic is.

Every change of an image comes with the chance, by luck of its own.
"""

import math

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo.augmentation import affine
from keras_genzoo.core import ramps, shares
from keras_genzoo.core.checks import real, whole
from keras_genzoo.core.serialization import Part


def _drawn(random, n, chance, draw, neutral):
    """What `draw` gives for each of n images, `(n,)`, or what changes nothing where luck has it so."""
    return ops.where(random.uniform((n,)) < chance, draw(), neutral)


def _below(random, n, count):
    """Whole numbers from 0 to below `count`, as floats `(n,)`."""
    return ops.floor(random.uniform((n,)) * count)


def _angles(random, n):
    """Any angles, `(n,)`."""
    return math.pi * (2.0 * random.uniform((n,)) - 1.0)


def blit(images, random, chance=1.0):
    """Pixels that change places and stay as they are: left and right exchanged in half of the images, a turn by a multiple of 90
    degrees, and a shift by up to an eighth of each side, mirrored at the borders (ADA, Karras et al. 2020, arXiv:2006.06676,
    appendix B, "pixel blitting")."""
    n, (height, width) = ops.shape(images)[0], images.shape[1:3]
    sign = _drawn(random, n, chance, lambda: 1.0 - 2.0 * _below(random, n, 2), 1.0)
    quarters = tf.cast(_drawn(random, n, chance, lambda: _below(random, n, 4), 0.0), tf.int32)
    cosine, sine = (tf.gather(tf.constant(table), quarters) for table in ([1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, -1.0]))
    shifted = random.uniform((n,)) < chance
    x, y = (ops.where(shifted, ops.round((2.0 * random.uniform((n,)) - 1.0) * side / 8), 0.0) for side in (width, height))
    return affine.moved(images, affine.scaling(sign, 1.0) @ affine.rotation(cosine, sine) @ affine.shift(x, y))


def geometric(images, random, chance=1.0):
    """Larger or smaller, turned by any angle, stretched along any direction, and shifted by parts of pixels, mirrored at the
    borders (ADA, appendix B, "general geometric transformations")."""
    n, (height, width) = ops.shape(images)[0], images.shape[1:3]
    size = 2.0 ** _drawn(random, n, chance, lambda: 0.2 * random.normal((n,)), 0.0)
    stretch = 2.0 ** _drawn(random, n, chance, lambda: 0.2 * random.normal((n,)), 0.0)
    # Before or after it is stretched: of both together the chance is as asked.
    once = 1.0 - ops.sqrt(1.0 - ops.clip(ops.cast(chance, "float32"), 0.0, 1.0))
    angles = [_drawn(random, n, once, lambda: _angles(random, n), 0.0) for _ in range(2)]
    before, after = (affine.rotation(ops.cos(angle), ops.sin(angle)) for angle in angles)
    shifted = random.uniform((n,)) < chance
    x, y = (ops.where(shifted, 0.125 * side * random.normal((n,)), 0.0) for side in (width, height))
    scaled = affine.scaling(1.0 / size, 1.0 / size) @ before @ affine.scaling(1.0 / stretch, stretch) @ after
    return affine.transformed(images, scaled @ affine.shift(x, y))


def color_affine(images, random, chance=1.0):
    """Brightness, contrast, light and dark exchanged in half of the images, the hue of three channels, and saturation
    (ADA, appendix B, "color transformations")."""
    n = ops.shape(images)[0]
    drawn = lambda draw, neutral: ops.reshape(_drawn(random, n, chance, draw, neutral), (-1, 1, 1, 1))  # noqa: E731
    images = images + drawn(lambda: 0.2 * random.normal((n,)), 0.0)
    images = images * drawn(lambda: 2.0 ** (0.5 * random.normal((n,))), 1.0)
    mean = ops.mean(images, axis=-1, keepdims=True)
    images = images - 2.0 * mean * drawn(lambda: _below(random, n, 2), 0.0)  # reflected across the plane of no luma
    if images.shape[-1] == 3:
        angle = drawn(lambda: _angles(random, n), 0.0)
        images = _turned_around_gray(images, angle)
    mean = ops.mean(images, axis=-1, keepdims=True)
    return mean + (images - mean) * drawn(lambda: 2.0 ** random.normal((n,)), 1.0)


def _turned_around_gray(images, angle):
    """Colours turned by an angle around the line of gray, (1, 1, 1) / sqrt(3), by the formula of Rodrigues."""
    mean = ops.mean(images, axis=-1, keepdims=True)
    across = (ops.roll(images, -2, axis=-1) - ops.roll(images, -1, axis=-1)) / math.sqrt(3)  # the cross product with that line
    return mean + (images - mean) * ops.cos(angle) + across * ops.sin(angle)


@keras.saving.register_keras_serializable("keras_genzoo")
class AdaptiveChance(Part):
    """The chance of ADA (Karras et al. 2020, arXiv:2006.06676, section 3.1), which follows how sure the critic is of real images.

        r_t = E[sign(D(x))]   of the real images of `every` batches
        p  <- max(p + sign(r_t - target) * images / speed, 0)

    with the images of these batches. Where the critic knows them by heart, r_t comes near 1, and augmentation grows. p begins at
    0, is a weight, `chance`, and is saved with the model.

    Args:
        target: float in (-1, 1). Defaults to 0.6.
        speed: float above 0. Images in which p can go from 0 to 1. Defaults to 500,000.
        every: int. Batches between two changes. Defaults to 4.

    Example:

    >>> chance = gz.augmentation.AdaptiveChance(speed=100_000)
    >>> model = gz.build("gan", (28, 28, 1), width=4, augment=("blit", "geometric"), augment_chance=chance)
    >>> float(model.augment_chance.chance)
    0.0
    """

    def __init__(self, target=0.6, speed=500_000, every=4, **kwargs):
        super().__init__(**kwargs)
        self.target, self.speed = real(above=-1, below=1, target=target), real(above=0, speed=speed)
        self.every = whole(every=every)
        self.chance = self._number("chance", "float32")
        self.signs, self.images, self.batches = (self._number(name, "int64") for name in ("signs", "images", "batches"))

    def _number(self, name, dtype):
        return self.add_weight(shape=(), dtype=dtype, initializer="zeros", trainable=False, name=name)

    def update(self, scores):
        """Take in the critic's scores of the real images of a batch, `(n,)` or `(n, 1)`; on several replicas, of all of them."""
        scores = tf.reshape(shares.gather(scores), (-1,))
        signs = tf.convert_to_tensor(self.signs) + tf.reduce_sum(tf.cast(tf.sign(scores), tf.int64))
        images = tf.convert_to_tensor(self.images) + tf.size(scores, tf.int64)
        batches, chance = tf.convert_to_tensor(self.batches) + 1, tf.convert_to_tensor(self.chance)
        due, nothing = batches >= self.every, tf.constant(0, tf.int64)
        count = tf.cast(images, tf.float32)
        moved = chance + tf.sign(tf.math.divide_no_nan(tf.cast(signs, tf.float32), count) - self.target) * count / self.speed
        self.chance.assign(tf.where(due, tf.maximum(moved, 0.0), chance))
        for variable, value in ((self.signs, signs), (self.images, images), (self.batches, batches)):
            variable.assign(tf.where(due, nothing, value))


def check_chance(chance):
    """The chance, after one sentence is raised unless it is a number or a `ramps.Ramp` in [0, 1], an `AdaptiveChance`, or
    "adaptive", the name of one."""
    if isinstance(chance, AdaptiveChance):
        return chance
    if isinstance(chance, str) and chance == "adaptive":
        return AdaptiveChance()
    ends = [real(at_least=0, at_most=1, augment_chance=end) for end in ramps.ends(chance)]
    return chance if isinstance(chance, ramps.Ramp) else ends[0]


def chance_at(chance, seen):
    """The chance now, a number or a scalar tensor, where a training has `seen` so many images and steps."""
    return tf.convert_to_tensor(chance.chance) if isinstance(chance, AdaptiveChance) else ramps.at(chance, seen)
