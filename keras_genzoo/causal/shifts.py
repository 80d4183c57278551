"""Layers that see the rows above, and where these are when images come some rows at a time."""

import threading

import keras
import tensorflow as tf

_registered = keras.saving.register_keras_serializable("keras_genzoo")


class State(threading.local):
    """How the layers of this package are called at the moment."""

    before = None  # where images come some rows at a time, the rows above, by the ids of layers
    after = None  # the same for the rows that follow
    first = False  # whether weights take their first values from what layers see


state = State()


def padded(layer, x, above, left=0, right=0):
    """x with rows above it, which are zeros unless earlier rows of an image have come, and with columns of zeros."""
    if not (above or left or right):
        return x
    if state.before is None or not above:
        return tf.pad(x, ((0, 0), (above, 0), (left, right), (0, 0)))
    if id(layer) in state.after:
        raise ValueError(f"the layer {layer.name!r} is called twice, expected once, as it remembers rows; use a layer for each.")
    x = tf.concat([state.before[id(layer)], x], axis=1)
    state.after[id(layer)] = x[:, -above:]
    return tf.pad(x, ((0, 0), (0, 0), (left, right), (0, 0)))


@_registered
class Shift(keras.layers.Layer):
    """Pixels moved by one, "down" or to the "right"; zeros come in."""

    def __init__(self, direction, **kwargs):
        super().__init__(**kwargs)
        if direction not in ("down", "right"):
            raise ValueError(f"direction is {direction!r}, expected 'down' or 'right'.")
        self.direction = direction
        self.rows_above = int(direction == "down")

    def build(self, input_shape):
        self.seen = tuple(input_shape[1:])

    def call(self, x):
        if self.direction == "down":
            return padded(self, x, 1)[:, :-1]
        return padded(self, x, 0, 1)[:, :, :-1]

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "direction": self.direction}
