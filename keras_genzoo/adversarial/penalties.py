"""Penalties on the critic: terms of its loss that keep its slope within bounds."""

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo import divergences
from keras_genzoo.augmentation import augment, check_kinds, per_image
from keras_genzoo.core import ramps
from keras_genzoo.core.checks import whole
from keras_genzoo.core.serialization import Part, named

_registered = keras.saving.register_keras_serializable("keras_genzoo")


class Penalty(Part):
    """Base: a term of the critic's loss.

    Args:
        weight: float above 0, or `ramps.Ramp` of such.
        every: int. In one of so many steps of the model the penalty gets a step of the critic's optimizer for itself, with this
            times the weight (lazy regularisation, Karras et al. 2020, arXiv:1912.04958, section 3.1); 1 adds it to the loss of
            every step. Defaults to 1.

    Attributes:
        weight_now: the weight at hand, a number or a scalar tensor, of the images and steps that `tell` was told last.
        before: "real" or "fake" where the slope is that in these images before they are augmented, with the score of what
            becomes of them (ADA, Karras et al. 2020, arXiv:2006.06676, and R3GAN, in the code that each published); None
            where the images are those that the critic sees. Defaults to None.
    """

    before = None

    def __init__(self, weight, every=1, **kwargs):
        super().__init__(**kwargs)
        self.every = whole(every=every)
        if not min(ramps.ends(weight)) > 0:
            raise ValueError(f"weight is {weight!r}, expected a number above 0.")
        self.weight = weight
        self._seen = ramps.clock(self) if isinstance(weight, ramps.Ramp) else None

    @property
    def weight_now(self):
        return ramps.at(self.weight, self._seen)

    def tell(self, seen):
        """Let it know how many images and steps a model has seen, int64 `(2,)`; called before each step."""
        if self._seen is not None:
            self._seen.assign(seen)

    def __call__(self, score, real, fake, random):
        """The weighted penalty, one number an image or a scalar.

        Args:
            score: callable. Images `(n, height, width, channels)` in [-1, 1] to `(n,)`, the critic's score or the objective's
                witness.
            real, fake: images, augmented already unless `before` says that the score augments them.
            random: `randomness.Stream`.
        """
        raise NotImplementedError


def slopes(score, images):
    """Squared norms of the gradient of the score in the images, `(n,)`."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(score(images))
    return ops.sum(ops.square(tape.gradient(total, images)), axis=tuple(range(1, len(images.shape))))


@_registered
class SlopePenalty(Penalty):
    """A penalty on the slope of the critic: weight * (|grad D| - target)^2, the square of its excess alone if one-sided.

    | named | at | target | source |
    |---|---|---|---|
    | "gp" | between | 1 | WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028, eq. 3) |
    | "lp" | between, one-sided | 1 | WGAN-LP (Petzka et al. 2018, arXiv:1709.08894, eq. 8) |
    | "dragan" | around | 1 | Kodali et al. 2017 (arXiv:1705.07215, eq. 3) |
    | "r1", "r2" | real, fake | 0 | Mescheder et al. 2018 (arXiv:1801.04406, eq. 9 and 10); their gamma is twice the weight |

    At "real" and "fake" images it is the slope in the images before they are augmented; elsewhere places lie between or around
    images as the critic sees them.

    Args:
        weight: float above 0. Defaults to 10.
        at: where the slope is taken: "between" a real and a generated image, at a random place of their line; "around" real
            images, with uniform noise of half the batch's standard deviation on them (of all replicas' parts of it); at
            "real" ones or at "fake" ones. Defaults to "between".
        target: float. Defaults to 1.
        one_sided: bool. Defaults to False.
        **kwargs: `every`, as in `Penalty`.
    """

    def __init__(self, weight=10.0, at="between", target=1.0, one_sided=False, **kwargs):
        super().__init__(weight, **kwargs)
        if at not in ("between", "around", "real", "fake"):
            raise ValueError(f"at is {at!r}, expected 'between', 'around', 'real' or 'fake'.")
        self.at, self.target, self.one_sided = at, target, one_sided

    @property
    def before(self):
        return self.at if self.at in ("real", "fake") else None

    def places(self, real, fake, random):
        if self.at == "between":
            return real + per_image(random, real) * (fake - real)
        if self.at == "around":
            return real + 0.5 * ops.std(divergences.gather(real)) * random.uniform(ops.shape(real))
        return real if self.at == "real" else fake

    def __call__(self, score, real, fake, random):
        squares = slopes(score, self.places(real, fake, random))
        if self.target == 0:
            return self.weight_now * squares  # without a root, which has no slope at 0
        excess = ops.sqrt(squares + 1e-12) - self.target
        return self.weight_now * ops.square(ops.relu(excess) if self.one_sided else excess)


@_registered
class AdversarialLipschitz(Penalty):
    """ALP (Terjek 2020, arXiv:1907.05681, eq. 8 and 11): the slope along the direction where the critic changes most.

        weight * max(0, |D(x) - D(x + r)| / |r| - 1)^2

    at real and at generated images, with r of random length in the direction that one step of power iteration finds.

    Args:
        weight: float above 0. Defaults to 100.
        step: float. Length of the step from which the direction is found. Defaults to 10.
        lengths: pair of floats. Range of |r|, uniform. Defaults to (0.1, 10).
    """

    def __init__(self, weight=100.0, step=10.0, lengths=(0.1, 10.0), **kwargs):
        super().__init__(weight, **kwargs)
        self.step, self.lengths = step, tuple(lengths)
        if not 0 < self.lengths[0] <= self.lengths[1]:
            raise ValueError(f"lengths is {lengths!r}, expected two numbers above 0, the least and the most.")

    def __call__(self, score, real, fake, random):
        images = ops.concatenate([real, fake], axis=0)
        axes = tuple(range(1, len(images.shape)))

        def unit(v):
            return v / ops.sqrt(ops.sum(ops.square(v), axis=axes, keepdims=True) + 1e-12)

        here = score(images)
        direction = unit(random.normal(ops.shape(images)))
        with tf.GradientTape() as tape:
            tape.watch(direction)
            change = tf.reduce_sum(tf.abs(tf.stop_gradient(here) - score(images + self.step * direction)))
        low, high = self.lengths
        length = low + (high - low) * per_image(random, images)
        there = score(images + length * tf.stop_gradient(unit(tape.gradient(change, direction))))
        excess = ops.relu(ops.abs(here - there) / ops.reshape(length, (-1,)) - 1.0)
        return self.weight_now * ops.mean(ops.square(excess))


@_registered
class Consistency(Penalty):
    """CR-GAN (Zhang et al. 2020, arXiv:1910.12027, eq. 3): weight * (D(x) - D(T(x)))^2, T a random augmentation.

    Args:
        weight: float above 0. Defaults to 10.
        kinds: names of augmentations, see `augment`. Defaults to ("translation",).
    """

    def __init__(self, weight=10.0, kinds=("translation",), **kwargs):
        super().__init__(weight, **kwargs)
        self.kinds = check_kinds(kinds)

    def __call__(self, score, real, fake, random):
        return self.weight_now * ops.square(score(real) - score(augment(real, self.kinds, random)))


PENALTIES = {
    "gp": SlopePenalty,
    "lp": lambda: SlopePenalty(one_sided=True),
    "dragan": lambda: SlopePenalty(at="around"),
    "r1": lambda: SlopePenalty(5.0, at="real", target=0.0),
    "r2": lambda: SlopePenalty(5.0, at="fake", target=0.0),
    "alp": AdversarialLipschitz,
    "consistency": Consistency,
}


def get_penalty(penalty):
    """A `Penalty` by name, or the one given."""
    return named(penalty, PENALTIES, Penalty, "penalty")
