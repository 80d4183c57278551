"""What bijectors are, and how they are put together."""

import keras
from keras import ops

from keras_genzoo.core.serialization import Part

_registered = keras.saving.register_keras_serializable("keras_genzoo")


def total(x):
    """Over all axes but the batch's."""
    return ops.sum(ops.reshape(x, (ops.shape(x)[0], -1)), axis=1)


def no_change(x):
    """The log-determinant of what leaves volumes alone."""
    return ops.zeros((ops.shape(x)[0],), dtype=x.dtype)


class Bijector(Part):
    """Base.

    Attributes:
        conditional: whether `forward` needs a further argument `context`, `(batch, units)`, that the map depends on.
        fitted: whether it takes values from the first batch that goes forward into it.
    """

    conditional = False
    fitted = False

    def forward(self, x, training=False):
        """y, and the logarithm of the absolute determinant of its Jacobian, `(batch,)`."""
        raise NotImplementedError

    def inverse(self, y):
        """The x of which `forward` makes y."""
        raise NotImplementedError

    def initialize(self, x, context=None):
        """Called once, before training, with a first batch; returns y. What depends on data takes its values here."""
        return self.forward(x, **({} if context is None else {"context": context}))[0]

    def _check_unconditional(self):
        if self.conditional:
            raise ValueError(f"{type(self).__name__} depends on a context and has no inverse; build it without context=.")


@_registered
class Chain(Bijector):
    """One after the other.

    Args:
        bijectors: list of `Bijector`.
    """

    def __init__(self, bijectors, **kwargs):
        super().__init__(**kwargs)
        self.bijectors = list(bijectors)

    @property
    def conditional(self):
        return any(bijector.conditional for bijector in self.bijectors)

    def forward(self, x, training=False, context=None):
        total = 0.0
        for bijector, told in self._told(context):
            x, log_det = bijector.forward(x, training, **told)
            total = total + log_det
        return x, total

    def _told(self, context):
        return [(bijector, {"context": context} if bijector.conditional else {}) for bijector in self.bijectors]

    def inverse(self, y):
        for bijector in reversed(self.bijectors):
            y = bijector.inverse(y)
        return y

    def initialize(self, x, context=None):
        for bijector, told in self._told(context):
            x = bijector.initialize(x, **told)
        return x


@_registered
class Inverted(Bijector):
    """A bijector with its two directions exchanged: inverse autoregressive flow of `Autoregressive`, for one.

    Args:
        bijector: `Bijector` of none that takes its values from a first batch, which it would have to see from its other side.
    """

    def __init__(self, bijector, **kwargs):
        super().__init__(**kwargs)
        self.bijector = bijector
        fitted = [type(each).__name__ for each in bijector._flatten_layers() if getattr(each, "fitted", False)]
        if fitted:
            raise ValueError(f"{fitted[0]} takes its values from what goes forward into it; put it outside of Inverted.")

    def forward(self, x, training=False):
        y = self.bijector.inverse(x)
        return y, -self.bijector.forward(y, training)[1]

    def inverse(self, y):
        return self.bijector.forward(y)[0]
