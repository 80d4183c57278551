"""Convolutions that see no later pixels."""

import contextlib

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo.causal.shifts import padded, state
from keras_genzoo.core.checks import whole
from keras_genzoo.layers.basic import _Unquantized

CONSTANT = 1e-5  # variance below which outputs count as constant

_registered = keras.saving.register_keras_serializable("keras_genzoo")


class _Causal(_Unquantized):
    """Mixin of a convolution: with normalised weights if asked for."""

    inputs_of_kernel = (0, 1, 2)  # axes of a kernel over which a filter is normalised
    rows_above = 0

    def __init__(self, *args, normalized=False, scale=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.normalized, self.scale = normalized, scale

    def build(self, input_shape):
        self.seen = tuple(input_shape[1:])
        if self.normalized:  # before the kernel: with LoRA Keras lets nobody add a weight behind it
            start = keras.initializers.Constant(self.scale)
            self.gain = self.add_weight(shape=(self.filters,), initializer=start, autocast=False, name="gain")
        super().build(input_shape)

    def call(self, x):
        kernel = self.masked(ops.convert_to_tensor(self.kernel))
        if self.normalized:
            kernel = self._normalized(kernel, x)
        y = self.convolved(x, kernel)
        if self.use_bias:
            y = y + ops.convert_to_tensor(self.bias)
        return y if self.activation is None else self.activation(y)

    def masked(self, kernel):
        """The kernel, with zeros where it may not see."""
        return kernel

    def _normalized(self, kernel, x):
        """gain * kernel / |kernel|, for each filter."""
        wide = ops.cast(kernel, "float64" if kernel.dtype == tf.float64 else "float32")
        direction = wide * ops.rsqrt(ops.sum(ops.square(wide), axis=self.inputs_of_kernel, keepdims=True) + 1e-12)
        if state.first:
            self._begin(self.convolved(x, ops.cast(direction, kernel.dtype)))
        gain = ops.cast(ops.convert_to_tensor(self.gain), direction.dtype)
        return ops.cast(direction * (gain if self.inputs_of_kernel[-1] == 2 else gain[:, None]), kernel.dtype)

    def _begin(self, y):
        """Take the gain and bias with which outputs y, of gain 1 and bias 0, get mean 0 and deviation `scale`."""
        mean, variance = ops.moments(ops.cast(y, "float32"), axes=(0, 1, 2))
        # What is constant yet, as where a coarse grid has but one row and nothing is above, must not explode when it varies.
        gain = self.scale * ops.where(variance > CONSTANT, ops.rsqrt(variance + 1e-8), 1.0)
        self.gain.assign(gain)
        if self.use_bias:
            self.bias.assign(-mean * gain)

    def get_config(self):
        return {**super().get_config(), "normalized": self.normalized, "scale": self.scale}

    # Keras's own know of kernels and biases alone.

    def save_own_variables(self, store):
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        keras.layers.Layer.load_own_variables(self, store)


@_registered
class CausalConv2D(_Causal, keras.layers.Conv2D):
    """A convolution that sees a pixel, those before it and, if `wide`, those above to the right.

    With a mask it sees some of the pixel's own channels (van den Oord et al. 2016, arXiv:1601.06759, section 3.4). Inputs and
    filters are in groups, in order, one for each channel of the image. A filter sees inputs of earlier groups (mask "A"), or of
    its own group too ("B"). With one group "A" sees nothing of the pixel.

    Args:
        filters: int.
        kernel_size: `(rows, columns)`. The last row is the pixel's own.
        wide: bool. Whether the pixel is in the middle of the last row (the down-shifted convolution of Salimans et al. 2017,
            arXiv:1701.05517, which sees pixels to the right) or at its end (the down- and right-shifted one). A wide one takes an
            odd number of columns and no mask. Defaults to False.
        mask: None, "A" or "B". None sees all of the pixel. Defaults to None.
        mask_groups: int. Number of groups. Defaults to 1.
        mask_parts: int. The filters are so many maps one behind the other, each with its groups, as for a `Gate`. Defaults to 1.
        normalized: bool. Whether the kernel of each filter is gain * v / |v| with v and gain trained (Salimans and Kingma 2016,
            arXiv:1602.07868, eq. 2). Defaults to False.
        scale: float. The gain at first; inside of `first_values` the deviation of the outputs. Defaults to 1.
        **kwargs: of `keras.layers.Conv2D`, without `padding`.

    Raises:
        ValueError: an unknown mask; a wide kernel with a mask, or with an even number of columns.

    Example:

    >>> layer = CausalConv2D(8, (2, 3), wide=True)
    >>> layer(images[:2] / np.float32(255)).shape
    TensorShape([2, 28, 28, 8])
    """

    def __init__(self, filters, kernel_size, wide=False, mask=None, mask_groups=1, mask_parts=1, **kwargs):
        super().__init__(filters=filters, kernel_size=kernel_size, **kwargs)
        if mask not in (None, "A", "B"):
            raise ValueError(f"mask is {mask!r}, expected None, 'A' or 'B'.")
        _check_wide(wide, self.kernel_size, mask)
        self.wide, self.mask = wide, mask
        self.mask_groups, self.mask_parts = whole(mask_groups=mask_groups, mask_parts=mask_parts)

    @property
    def rows_above(self):
        """Rows above that the layer has to remember where images come some rows at a time."""
        return self.kernel_size[0] - 1

    def masked(self, kernel):
        if self.mask is None:
            return kernel
        inputs, each = kernel.shape[2], self.filters // self.mask_parts
        of_input = np.arange(inputs) * self.mask_groups // inputs
        of_filter = np.arange(self.filters) % each * self.mask_groups // each
        seen = np.ones(kernel.shape, "float32")
        compare = np.less if self.mask == "A" else np.less_equal
        seen[-1, -1] = compare(of_input[:, None], of_filter[None])
        return kernel * ops.cast(seen, kernel.dtype)

    def convolved(self, x, kernel):
        columns = self.kernel_size[1]
        sides = ((columns - 1) // 2,) * 2 if self.wide else (columns - 1, 0)
        return ops.conv(padded(self, x, self.rows_above, *sides), kernel, strides=list(self.strides), padding="valid")

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        smaller = (None if side is None else -(-side // step) for side, step in zip(sides, self.strides, strict=True))
        return batch, *smaller, self.filters

    def get_config(self):
        own = {name: getattr(self, name) for name in ("wide", "mask", "mask_groups", "mask_parts")}
        return {**super().get_config(), **own}


def _check_wide(wide, kernel_size, mask=None):
    if wide and (kernel_size[1] % 2 == 0 or mask is not None):
        raise ValueError(f"a wide kernel has {kernel_size[1]} columns and mask={mask!r}, expected an odd number and None.")


@_registered
class CausalConv2DTranspose(_Causal, keras.layers.Conv2DTranspose):
    """The way back of a strided `CausalConv2D`: a transposed convolution to twice the sides, of which no pixel sees a later one
    (Salimans et al. 2017, arXiv:1701.05517, section 2.3).

    Args:
        filters: int.
        kernel_size: `(rows, columns)`, no more rows than the stride.
        size: `(rows, columns)` of the output, at most twice those of the input; what is beyond is cut off at the bottom and on
            the right.
        wide: bool. As of `CausalConv2D`. Defaults to False.
        strides: int or pair. Defaults to 2.
        normalized, scale: as of `CausalConv2D`.
        **kwargs: of `keras.layers.Conv2DTranspose`, without `padding`.

    Raises:
        ValueError: a kernel of more rows than the stride, or a wide one of an even number of columns.

    Example:

    >>> CausalConv2DTranspose(8, (2, 2), size=(27, 28))(np.ones((1, 14, 14, 4), "float32")).shape
    TensorShape([1, 27, 28, 8])
    """

    inputs_of_kernel = (0, 1, 3)

    def __init__(self, filters, kernel_size, size, wide=False, strides=2, **kwargs):
        super().__init__(filters=filters, kernel_size=kernel_size, strides=strides, **kwargs)
        _check_wide(wide, self.kernel_size)
        if self.kernel_size[0] > self.strides[0]:
            raise ValueError(f"the kernel has {self.kernel_size[0]} rows, expected at most the stride, {self.strides[0]}.")
        self.size, self.wide = tuple(size), wide

    def convolved(self, x, kernel):
        y = ops.conv_transpose(x, kernel, strides=list(self.strides), padding="valid")
        first = (self.kernel_size[1] - 1) // 2 if self.wide else 0
        return y[:, : self.size[0], first : first + self.size[1]]

    def compute_output_shape(self, input_shape):
        return input_shape[0], *self.size, self.filters

    def get_config(self):
        return {**super().get_config(), "size": self.size, "wide": self.wide}


@contextlib.contextmanager
def first_values():
    """Inside the block each layer of normalised weights that is called takes the gain and bias with which its outputs have mean 0
    and deviation `scale` over what it is shown (Salimans and Kingma 2016, arXiv:1602.07868, section 3)."""
    state.first = True
    try:
        yield
    finally:
        state.first = False


def is_normalized(network):
    """Whether a network has layers of normalised weights."""
    return any(getattr(layer, "normalized", False) for layer in network._flatten_layers() if isinstance(layer, _Causal))
