"""Networks that are computed some rows at a time."""

import math

import keras
import tensorflow as tf

from keras_genzoo.causal.convolutions import CausalConv2D, _Causal
from keras_genzoo.causal.pixelwise import AppendOnes, ConcatELU, Gate, LevelEmbedding
from keras_genzoo.causal.shifts import Shift, state
from keras_genzoo.core.checks import operations

JOINED = "Activation", "Add", "Concatenate", "Dropout"  # layers of Keras that join maps pixel by pixel
PIXELWISE = *(getattr(keras.layers, name) for name in JOINED), Gate, ConcatELU, AppendOnes, LevelEmbedding


def _by_rows(step):
    """Whether a step of a network computes a row of its own row and of rows that it remembers, or is no map of pixels at all."""
    shape = tuple(getattr(step.output, "shape", (None,) * 4))
    return isinstance(step, (_Causal, Shift, *PIXELWISE)) or len(shape) < 4 or shape[1:3] == (1, 1)


class Rows:
    """A network computed some rows at a time: one whose maps of pixels are made by layers of this module and of `JOINED`. Of any
    other network all rows are computed together.

    Args:
        network: keras.Model. Images, or a list of images and of vectors, to a map of the same sides, of which no row sees a later
            one.
        height: int. Rows of an image.

    Attributes:
        count: int. Rows that are computed together, as many as the strides make one of.
    """

    def __init__(self, network, height):
        self.network, self.count, self.layers = network, height, []
        steps = operations(network)
        if not steps or not all(map(_by_rows, steps)):
            return
        strided = [step for step in steps if isinstance(step, CausalConv2D) and step.strides[0] > 1]
        together = math.prod({step.seen[0]: step.strides[0] for step in strided}.values())
        if together < height:
            self.count = together
            self.layers = [step for step in steps if getattr(step, "rows_above", 0)]

    def above(self, n):
        """What layers remember before the first rows of n images: zeros, a list of tensors."""
        return [tf.zeros((n, layer.rows_above, *layer.seen[1:]), layer.compute_dtype) for layer in self.layers]

    def __call__(self, inputs, above):
        """The network's output for `count` rows of images, and what layers remember for the rows that follow.

        Args:
            inputs: as the network takes them, with `count` rows.
            above: what layers remember, as `above` or the call for the rows before gave it.
        """
        if not self.layers:
            return self.network(inputs, training=False), []
        state.before, state.after = {id(layer): rows for layer, rows in zip(self.layers, above, strict=True)}, {}
        try:
            # Not by `__call__`, which refuses images of another height.
            output = self.network.call(inputs, training=False)
            return output, [state.after[id(layer)] for layer in self.layers]
        finally:
            state.before = state.after = None
