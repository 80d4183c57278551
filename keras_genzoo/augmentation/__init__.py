"""Augmentations that gradients pass through, and the chance with which images get them.

Each is a function of images `(n, height, width, channels)` in [-1, 1], a stream of noise, and a chance, a number in [0, 1] or a
scalar tensor, 1 unless it is given. Every image has luck of its own. "color", "translation", "cutout" and "mirror" come as a
whole with that chance; "blit", "geometric" and "color_affine" consist of several changes, and each of these comes with it.
"""

from keras_genzoo.augmentation.adaptive import AdaptiveChance, blit, chance_at, check_chance, color_affine, geometric
from keras_genzoo.augmentation.plain import color, cutout, mirror, per_image, translation
from keras_genzoo.augmentation.told import TOLD, told
from keras_genzoo.core import randomness
from keras_genzoo.core.checks import real

AUGMENTATIONS = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
    "mirror": mirror,
    "blit": blit,
    "geometric": geometric,
    "color_affine": color_affine,
}

__all__ = [
    "AUGMENTATIONS",
    "TOLD",
    "AdaptiveChance",
    "augment",
    "blit",
    "chance_at",
    "check_chance",
    "check_kinds",
    "color",
    "color_affine",
    "cutout",
    "geometric",
    "mirror",
    "per_image",
    "told",
    "translation",
    "view",
]


def check_kinds(kinds):
    """The augmentations as a tuple, after one sentence is raised unless each is a name, or a pair of a name and the share of the
    chance that it has, in (0, 1]."""
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds.items() if isinstance(kinds, dict) else kinds or ())
    for each in kinds:
        name, share = (each, 1.0) if isinstance(each, str) else each
        if name not in AUGMENTATIONS:
            raise ValueError(f"there is no augmentation {name!r}, expected some of {', '.join(AUGMENTATIONS)}.")
        real(above=0, at_most=1, **{f"the share of {name}": share})
    return tuple(each if isinstance(each, str) else tuple(each) for each in kinds)


def augment(images, kinds, random, chance=1.0):
    """Images in [-1, 1], each augmented by luck of its own; gradients pass through.

    Args:
        images: tensor `(n, height, width, channels)`.
        kinds: names of `AUGMENTATIONS`, or pairs of a name and a share of the chance, as `check_kinds` gives them.
        random: `randomness.Stream`.
        chance: float in [0, 1] or scalar tensor. Defaults to 1.
    """
    for each in kinds:
        kind, share = (each, 1.0) if isinstance(each, str) else each
        images = AUGMENTATIONS[kind](images, random, share * chance)
    return images


def view(kinds, random, chance=1.0):
    """One draw of augmentations, a function of images that augments them alike whenever it is called."""
    key = random.key()
    return lambda images: augment(images, kinds, _Again(key), chance)


class _Again:
    """A stream of noise that begins again at the same key."""

    def __init__(self, key):
        self.key, self.draws = key, 0

    def _next(self):
        self.draws += 1
        return randomness.fold(self.key, self.draws)

    def uniform(self, shape):
        return randomness.uniform(self._next(), shape)

    def normal(self, shape):
        return randomness.normal(self._next(), shape)
