"""What bijectors are, and how they are put together."""

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo.core.serialization import Part

PIECE = 128  # rows that go through a network together where values are taken from data: memory is that of a batch
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
        conditional: whether `forward`, `inverse` and `initialize` need a further argument `context`, `(batch, units)`, that the
            map depends on.
        fitted: whether it takes values from the first rows that go forward into it.
    """

    conditional = False
    fitted = False

    def call(self, x, training=False, context=None):
        """What `forward` returns."""
        return self.forward(x, training, **told(self, context))

    def forward(self, x, training=False):
        """y, and the logarithm of the absolute determinant of its Jacobian, `(batch,)`."""
        raise NotImplementedError

    def inverse(self, y):
        """The x of which `forward` makes y, as networks compute in inference."""
        raise NotImplementedError

    def initialize(self, x, context=None):
        """Called once, before training, with some rows of data; returns y. What depends on data takes its values here."""
        rows = range(0, len(x), PIECE) if tf.executing_eagerly() else ()
        if len(rows) < 2:
            return self.forward(x, **told(self, context))[0]
        pieces = ((x[at : at + PIECE], None if context is None else context[at : at + PIECE]) for at in rows)
        return ops.concatenate([self.forward(piece, **told(self, part))[0] for piece, part in pieces], axis=0)

    def _check_context(self, context):
        if self.conditional and context is None:
            raise ValueError(f"{type(self).__name__} depends on a context and was given none; pass context=, (batch, units).")


def as_of(bijector, *tensors):
    """Tensors in the precision of a bijector, a list: that of its variables, float64 for one."""
    return [ops.cast(each, bijector.variable_dtype) for each in tensors]


def forward_of(bijector, x, training=False, *context):
    """`forward` of float32, and float32 again, in whatever precision the bijector computes."""
    x, *context = as_of(bijector, x, *context)
    return [ops.cast(each, "float32") for each in bijector.forward(x, training, *context)]


def told(bijector, context):
    """The arguments that hand a context on to a bijector, where it depends on one."""
    return {"context": context} if bijector.conditional else {}


@_registered
class Chain(Bijector):
    """One after the other. A context is handed on to those that depend on one.

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
        for bijector in self.bijectors:
            x, log_det = bijector.forward(x, training, **told(bijector, context))
            total = total + log_det
        return x, total

    def inverse(self, y, context=None):
        for bijector in reversed(self.bijectors):
            y = bijector.inverse(y, **told(bijector, context))
        return y

    def initialize(self, x, context=None):
        for bijector in self.bijectors:
            x = bijector.initialize(x, **told(bijector, context))
        return x


@_registered
class Inverted(Bijector):
    """A bijector with its two directions exchanged: inverse autoregressive flow of `Autoregressive`, for one.

    Its networks compute as in inference, in training too: a batch's own statistics, and what dropout leaves, are of one
    direction alone. So batch normalisation inside of it learns no statistics.

    Args:
        bijector: `Bijector` of none that takes its values from a first batch, which it would have to see from its other side.
    """

    def __init__(self, bijector, **kwargs):
        super().__init__(**kwargs)
        self.bijector = bijector
        fitted = [type(each).__name__ for each in bijector._flatten_layers() if getattr(each, "fitted", False)]
        if fitted:
            raise ValueError(f"{fitted[0]} takes its values from what goes forward into it; put it outside of Inverted.")

    @property
    def conditional(self):
        return self.bijector.conditional

    def forward(self, x, training=False, context=None):
        y = self.bijector.inverse(x, **told(self.bijector, context))
        return y, -self.bijector.forward(y, False, **told(self.bijector, context))[1]

    def inverse(self, y, context=None):
        return self.bijector.forward(y, **told(self.bijector, context))[0]
