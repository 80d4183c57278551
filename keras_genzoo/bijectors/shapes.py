"""Layers that change the shape alone."""

import math

import keras
from keras import ops

from keras_genzoo.bijectors.base import Bijector, no_change, told

_registered = keras.saving.register_keras_serializable("keras_genzoo")


@_registered
class Squeeze(Bijector):
    """Every 2x2 pixels of an image become one of four times the channels (RealNVP, section 3.6). Sides must be even."""

    def forward(self, x, training=False):
        _, rows, columns, channels = x.shape
        if rows % 2 or columns % 2:
            raise ValueError(f"images of {rows}x{columns} cannot be squeezed, expected even sides; factor out a row or column.")
        x = ops.reshape(x, (-1, rows // 2, 2, columns // 2, 2, channels))
        y = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, rows // 2, columns // 2, 4 * channels))
        return y, no_change(y)

    def inverse(self, y):
        _, rows, columns, channels = y.shape
        y = ops.reshape(y, (-1, rows, columns, 2, 2, channels // 4))
        return ops.reshape(ops.transpose(y, (0, 1, 3, 2, 4, 5)), (-1, 2 * rows, 2 * columns, channels // 4))


@_registered
class Flatten(Bijector):
    """Images as vectors.

    Args:
        shape: `(height, width, channels)` of the images.
    """

    def __init__(self, shape, **kwargs):
        super().__init__(**kwargs)
        self.shape = tuple(shape)

    def forward(self, x, training=False):
        return ops.reshape(x, (-1, math.prod(self.shape))), no_change(x)

    def inverse(self, y):
        return ops.reshape(y, (-1, *self.shape))


@_registered
class FactorOut(Bijector):
    """Part of an image is done with and joins the latents; the rest goes on (RealNVP, section 3.6). Puts out vectors. A context
    is handed on to the rest, where it depends on one.

    Args:
        shape: `(height, width, channels)` of its input.
        rest: `Bijector` of what goes on, to vectors.
        part: what is done with: "channels" (the second half, rounded down), or the last "row" or "column", for levels whose sides
            are odd. Defaults to "channels".
    """

    AXES = {"row": 1, "column": 2, "channels": 3}

    def __init__(self, shape, rest, part="channels", **kwargs):
        super().__init__(**kwargs)
        if part not in self.AXES:
            raise ValueError(f"part is {part!r}, expected 'channels', 'row' or 'column'.")
        self.shape = tuple(shape)
        self.rest = rest
        self.part = part
        self._axis = self.AXES[part]
        size = self.shape[self._axis - 1]
        self._stays = size - (size // 2 if part == "channels" else 1)
        if not 0 < self._stays < size:
            raise ValueError(f"shape is {self.shape}: no {part} can be done with and some be left.")
        of = lambda part: tuple(part if axis == self._axis else each for axis, each in enumerate(self.shape, 1))  # noqa: E731
        self._kept, self._done = of(self._stays), of(size - self._stays)

    @property
    def conditional(self):
        return self.rest.conditional

    def _split(self, x):
        return ops.split(x, [self._stays], axis=self._axis)

    def _flat(self, x):
        return ops.reshape(x, (-1, math.prod(x.shape[1:])))

    def forward(self, x, training=False, context=None):
        x, done = self._split(x)
        y, log_det = self.rest.forward(x, training, **told(self.rest, context))
        return ops.concatenate([y, self._flat(done)], axis=-1), log_det

    def inverse(self, y, context=None):
        y, done = ops.split(y, [math.prod(self._kept)], axis=-1)
        kept = self.rest.inverse(y, **told(self.rest, context))
        return ops.concatenate([kept, ops.reshape(done, (-1, *self._done))], axis=self._axis)

    def initialize(self, x, context=None):
        x, done = self._split(x)
        return ops.concatenate([self.rest.initialize(x, **told(self.rest, context)), self._flat(done)], axis=-1)
