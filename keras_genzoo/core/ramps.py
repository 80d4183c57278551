"""Numbers that change with the images, or the steps, that a model has trained on; and Adam and averages that follow them.

A model counts its images and steps in a variable that is saved with it, and tells its optimizers and penalties. So a training
that goes on finds every ramp where it was.
"""

import math

import keras
from keras import ops

from keras_genzoo.core.adam import Adam
from keras_genzoo.core.checks import real

__all__ = ["HalfLife", "Ramp", "RampedAdam"]

_registered = keras.saving.register_keras_serializable("keras_genzoo")
SHAPES = ("cosine", "linear")


@_registered
class Ramp(keras.optimizers.schedules.LearningRateSchedule):
    """A number that goes from `start` to `end` while a model trains, and stays there.

        value = start + (end - start) * share,  share = (1 - cos(pi * min(seen / length, 1))) / 2

    or, where it is linear, share = min(seen / length, 1). With a cosine it is the schedule of R3GAN (Huang et al. 2024,
    arXiv:2501.05441) for learning rates, penalties, Adam's beta_2, averages and augmentation.

    Args:
        start, end: floats. The number before the first image, and that after `length`.
        images: float above 0 or None. The length in images of training. Defaults to None.
        steps: float above 0 or None. The length in steps of training instead, of the generator where a critic makes several.
            Defaults to None.
        shape: "cosine" or "linear". Defaults to "cosine".

    Raises:
        ValueError: both lengths, or none; another shape.

    Example:

    >>> ramp = gz.ramps.Ramp(0.0, 0.5, images=1_000_000)
    >>> [round(float(ramp(seen)), 3) for seen in (0, 500_000, 2_000_000)]
    [0.0, 0.25, 0.5]
    """

    def __init__(self, start, end, images=None, steps=None, shape="cosine"):
        self.start, self.end = real(start=start, end=end)
        if (images is None) == (steps is None):
            raise ValueError(f"images is {images!r} and steps is {steps!r}, expected one of them, the length of the ramp.")
        if shape not in SHAPES:
            raise ValueError(f"shape is {shape!r}, expected one of {', '.join(SHAPES)}.")
        self.images, self.steps, self.shape = images, steps, shape
        self.length = real(above=0, **({"steps": steps} if images is None else {"images": images}))

    def __call__(self, seen):
        """The number, a float32 scalar.

        Args:
            seen: int tensor `(2,)`, the images and the steps so far; or a number, which is of the ramp's own unit.
        """
        seen = ops.cast(ops.convert_to_tensor(seen), "float32")
        if len(seen.shape):
            seen = seen[0 if self.steps is None else 1]
        share = ops.clip(seen / self.length, 0.0, 1.0)
        if self.shape == "cosine":
            share = 0.5 - 0.5 * ops.cos(math.pi * share)
        return self.start + (self.end - self.start) * share

    def get_config(self):
        return {name: getattr(self, name) for name in ("start", "end", "images", "steps", "shape")}


def at(value, seen):
    """A number, that of a `Ramp` where a training has `seen` so much; anything else as it is."""
    return value(seen) if isinstance(value, Ramp) else value


def ends(value):
    """The first and the last number of a `Ramp`, or a number alone, as a tuple."""
    return (value.start, value.end) if isinstance(value, Ramp) else (value,)


def clock(part):
    """A variable of a part of a model for the images and the steps so far, which the model sets; int64 `(2,)`."""
    return part.add_weight(shape=(2,), dtype="int64", initializer="zeros", trainable=False, name="seen")


@_registered
class RampedAdam(Adam):
    """Adam of Keras whose learning rate and beta_2 may be `Ramp`s.

    A model tells it how much it has seen before each step, so that it counts the images, and the steps of the generator, also
    where it is a critic's. The bias is corrected by the present beta_2, as in the code of R3GAN.

    Args:
        learning_rate: float or `Ramp`. Defaults to 1e-3.
        beta_1: float. Defaults to 0.9.
        beta_2: float or `Ramp`. Defaults to 0.999.
        epsilon: float. Defaults to 1e-8.
        finite: bool. Whether NaN in gradients counts as 0, and what is infinite as 100,000, as in the code of EDM. Defaults to
            False.
        **kwargs: of `keras.optimizers.Adam`.

    Example:

    >>> rate = gz.ramps.Ramp(2e-4, 5e-5, images=20_000_000)
    >>> model.compile(gz.ramps.RampedAdam(rate, beta_1=0.0, beta_2=gz.ramps.Ramp(0.9, 0.99, images=20_000_000)))
    """

    def __init__(self, learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-8, finite=False, **kwargs):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **kwargs)
        self.finite = finite
        self.seen = self.add_variable((2,), dtype="int64", name="seen")

    @property
    def beta_2(self):
        return at(self._beta_2, self.seen) if isinstance(self._beta_2, Ramp) else self._beta_2

    @beta_2.setter
    def beta_2(self, value):
        self._beta_2 = value

    def _get_current_learning_rate(self):
        rate = self._learning_rate
        if isinstance(getattr(rate, "schedule", rate), Ramp):  # the ramp itself, or a multiple of it
            return rate(self.seen)
        return super()._get_current_learning_rate()

    def _clip_gradients(self, grads):
        if self.finite:
            known = lambda gradient: ops.clip(ops.where(ops.isnan(gradient), 0.0, gradient), -1e5, 1e5)  # noqa: E731
            grads = [None if gradient is None else known(gradient) for gradient in grads]
        return super()._clip_gradients(grads)

    def get_config(self):
        beta_2 = self._beta_2
        given = keras.saving.serialize_keras_object(beta_2) if isinstance(beta_2, Ramp) else beta_2
        return {**super().get_config(), "beta_2": given, "finite": self.finite}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        if isinstance(config["beta_2"], dict):
            config = {**config, "beta_2": keras.saving.deserialize_keras_object(config["beta_2"], custom_objects)}
        return super().from_config(config, custom_objects)


@_registered
class HalfLife:
    """How fast an average of weights forgets, by images: 0.5^(batch / half-life) of it is left after each step, as in StyleGAN2
    (Karras et al. 2020, arXiv:1912.04958), EDM and R3GAN.

    Args:
        images: float above 0, or `Ramp` from at least 0. The half-life in images.
        share: float above 0 or None. At most this share of the images so far, so that an average forgets how it began. None is
            no such limit. Defaults to None.

    Example:

    >>> model = gz.build("gan", (28, 28, 1), width=4, ema=gz.ramps.HalfLife(20_000, share=0.05))
    """

    def __init__(self, images, share=None):
        if isinstance(images, Ramp):
            real(at_least=0, images=min(ends(images)))
        else:
            images = real(above=0, images=images)
        self.images, self.share = images, None if share is None else real(above=0, share=share)

    def kept(self, seen, batch):
        """What is left of the average after a step, in [0, 1), a float32 scalar.

        Args:
            seen: int tensor `(2,)`, images and steps before the step.
            batch: int or scalar tensor, the images of the step.
        """
        half_life = ops.cast(at(self.images, seen), "float32")
        if self.share is not None:
            half_life = ops.minimum(half_life, self.share * ops.cast(seen[0], "float32"))
        return ops.power(0.5, ops.cast(batch, "float32") / ops.maximum(half_life, 1e-8))

    def get_config(self):
        return {"images": keras.saving.serialize_keras_object(self.images), "share": self.share}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["images"]), config["share"])
