"""Elements changed by what a network makes of others: couplings, autoregression, and the noise of dequantisation."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo.bijectors.base import Bijector, total
from keras_genzoo.bijectors.elementwise import Spline, get_elementwise, per_element
from keras_genzoo.core.checks import check_output, input_shapes, operations
from keras_genzoo.core.serialization import Part
from keras_genzoo.layers import MaskedDense, check_rematerialized

_registered = keras.saving.register_keras_serializable("keras_genzoo")


@_registered
class Coupling(Bijector):
    """Part of x stays, and a network of it says how the rest changes (RealNVP, section 3.4).

    Args:
        network: keras.Model. What stays, `(..., channels)` (with a checkerboard all of x, zeros for what changes), to the
            parameters `(..., changing channels * elementwise.parameters)`. One that puts out zeros makes the layer the identity.
            A second input is the context.
        elementwise: name or `Elementwise`: "additive", "affine" or "spline". Defaults to "affine".
        mask: "channels" or, for images, "checkerboard". Defaults to "channels".
        flip: bool. Whether the other part stays. Defaults to False: the first half of the channels, rounded down, stays, or
            the pixels whose row and column have an even sum.
        remat: bool. Whether what the layer holds inside is computed again for the gradient and not kept: less memory, a third
            more time. Defaults to False.

    Raises:
        ValueError: `remat` of a network that counts how often it is called, as batch normalisation does.
    """

    def __init__(self, network, elementwise="affine", mask="channels", flip=False, remat=False, **kwargs):
        super().__init__(**kwargs)
        if mask not in ("channels", "checkerboard"):
            raise ValueError(f"mask is {mask!r}, expected 'channels' or 'checkerboard'.")
        self.network = network
        self.conditional = len(input_shapes(network, "the network", any_size=True)) == 2
        self.elementwise = get_elementwise(elementwise)
        self.mask = mask
        self.flip = flip
        self.remat = remat
        if remat:
            check_rematerialized(network)

    def _parameters(self, stays, changes, training, context):
        self._check_context(context)
        output = self.network([stays, context] if self.conditional else stays, training=training)
        parameters = per_element(ops.cast(output, changes.dtype), self.elementwise.parameters)
        if parameters.shape[-2] != changes.shape[-1]:
            raise ValueError(
                f"the coupling's network puts out {output.shape[-1]} channels, expected {changes.shape[-1]} that "
                f"change times {self.elementwise.parameters} parameters."
            )
        return parameters

    def _split(self, x):
        first, second = ops.split(x, [x.shape[-1] // 2], axis=-1)
        return (second, first) if self.flip else (first, second)

    def _join(self, stays, changed):
        return ops.concatenate([changed, stays] if self.flip else [stays, changed], axis=-1)

    def _stays(self, x):
        rows, columns = np.indices(x.shape[1:3])
        return ops.cast(((rows + columns + self.flip) % 2 == 0)[None, :, :, None], x.dtype)

    def forward(self, x, training=False, context=None):
        if not self.remat:
            return self._forward(x, training, context)
        told = [] if context is None else [context]
        return keras.remat(lambda x, context=None: self._forward(x, training, context))(x, *told)

    def _forward(self, x, training, context):
        if self.mask == "channels":
            stays, changes = self._split(x)
            y, log_slope = self.elementwise.forward(changes, self._parameters(stays, changes, training, context))
            return self._join(stays, y), total(log_slope)
        stays = self._stays(x)
        y, log_slope = self.elementwise.forward(x, self._parameters(stays * x, x, training, context))
        return stays * x + (1.0 - stays) * y, total((1.0 - stays) * log_slope)

    def inverse(self, y, context=None):
        if self.mask == "channels":
            stays, changed = self._split(y)
            return self._join(stays, self.elementwise.inverse(changed, self._parameters(stays, changed, False, context)))
        stays = self._stays(y)
        changed = self.elementwise.inverse(y, self._parameters(stays * y, y, False, context))
        return stays * y + (1.0 - stays) * changed


@_registered
class Autoregressive(Bijector):
    """Every element changes by parameters that depend on those before it (MAF, Papamakarios et al. 2017, arXiv:1705.07057).

    Forward is one call of the network, the inverse as many as there are dimensions. `Inverted`, or used forward on noise as the
    posterior of a VAE, it is inverse autoregressive flow (Kingma et al. 2016, arXiv:1606.04934).

    The network sees elements beyond `bound` as `bound`: else the inverse, each element of which depends on all before it, runs
    off to infinity once it leaves where data are, as samples of a flow that has learned little do.

    Args:
        network: keras.Model. Vectors `(batch, dimensions)` to `(batch, dimensions * elementwise.parameters)`, those of an element
            of none but the elements before it, as `networks.made`. A second input is the context.
        elementwise: name or `Elementwise`. Defaults to "affine".
        bound: float above 0. Defaults to 10, where the data are about standard normal.
    """

    def __init__(self, network, elementwise="affine", bound=10.0, **kwargs):
        super().__init__(**kwargs)
        if not bound > 0:
            raise ValueError(f"bound is {bound!r}, expected a number above 0.")
        self.network = network
        self.conditional = len(input_shapes(network, "the network", any_size=True)) == 2
        self.elementwise = get_elementwise(elementwise)
        self.bound = bound

    def _seen(self, x):
        return ops.clip(x, -self.bound, self.bound)

    def _parameters(self, x, training=False, context=None):
        self._check_context(context)
        x = self._seen(x)
        output = self.network([x, context] if self.conditional else x, training=training)
        return per_element(ops.cast(output, x.dtype), self.elementwise.parameters)

    def forward(self, x, training=False, context=None):
        y, log_slope = self.elementwise.forward(x, self._parameters(x, training, context))
        return y, total(log_slope)

    def inverse(self, y, context=None):
        self._check_context(context)
        first, *middle, of_context = self._as_chain()
        if first is not None:
            return self._by_elements(y, first, *middle, told=None if of_context is None else of_context(context))
        # Each pass makes one element more right, the first right at once.
        again = lambda index, x: (index + 1, self.elementwise.inverse(y, self._parameters(x, False, context)))  # noqa: E731
        most = y.shape[1]  # told, so that XLA can differentiate the loop
        return tf.while_loop(lambda index, _: index < most, again, (0, tf.zeros_like(y)), maximum_iterations=most)[1]

    def _as_chain(self):
        """The layers of a network that is a chain of them, and the layer of the context that is added to what the first puts out,
        or None; of another network (None, None)."""
        layers = operations(self.network) or []
        chain = [layer for layer in layers if isinstance(layer, (MaskedDense, keras.layers.Activation))]
        others = [layer for layer in layers if layer not in chain]
        ends = len(chain) > 1 and all(isinstance(layer, MaskedDense) for layer in (chain[0], chain[-1]))
        if not ends or chain[0].activation is not keras.activations.linear:
            return None, None
        if not others and not self.conditional:  # with one input, of these layers alone, it is nothing else
            return *chain, None
        added = next((layer for layer in others if isinstance(layer, keras.layers.Add)), None)
        dense = next((layer for layer in others if isinstance(layer, keras.layers.Dense)), None)
        if len(others) != 2 or added is None or dense is None or dense.input is not self.network.inputs[1]:
            return None, None
        joined = {id(tensor) for tensor in added.input} == {id(chain[0].output), id(dense.output)}
        return (*chain, dense) if joined else (None, None)

    def _by_elements(self, y, first, *middle, told=None):
        """The inverse of a chain of layers, of whose first and last a pass computes only what its element changes or needs."""
        *middle, last = middle
        count, dimensions, dtype = self.elementwise.parameters, y.shape[1], first.compute_dtype
        added = [ops.cast(part, dtype) for part in (first.bias if first.use_bias else None, told) if part is not None]

        def again(index, total, found):
            hidden = ops.cast(total, dtype)  # and rounded where the layers round
            for part in added:
                hidden = hidden + part
            for layer in middle:
                hidden = layer(hidden)
            parameters = ops.cast(last.some(hidden, index * count, count), y.dtype)
            x = self.elementwise.inverse(tf.gather(y, index, axis=1)[:, None], parameters[:, None])
            seen = ops.cast(ops.cast(self._seen(x), dtype), y.dtype)
            return index + 1, total + seen * ops.cast(first.of_input(index), y.dtype), found.write(index, x[:, 0])

        start = tf.zeros((tf.shape(y)[0], first.units), y.dtype)  # summed in full precision, as a matrix product is
        found = tf.TensorArray(y.dtype, dimensions, element_shape=[None])
        more = lambda index, *_: index < dimensions  # noqa: E731
        *_, found = tf.while_loop(more, again, (0, start, found), maximum_iterations=dimensions)
        return ops.transpose(found.stack())


@_registered
class Pointwise(Bijector):
    """Every element by a spline of its own, which no other element changes; of the first batch, about standard normal.

    Args:
        shape: tuple, that of an element of the batch, as `(height, width, channels)`.
        spline: `Spline` or None, the default one. Defaults to None.
    """

    fitted = True

    def __init__(self, shape, spline=None, **kwargs):
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.spline = Spline() if spline is None else spline
        self.values = self.add_weight(shape=(*self.shape, self.spline.parameters), initializer="zeros", name="values")

    def forward(self, x, training=False):
        y, log_slope = self.spline.forward(x, ops.convert_to_tensor(self.values)[None])
        return y, total(log_slope)

    def inverse(self, y):
        return self.spline.inverse(y, ops.convert_to_tensor(self.values)[None])

    def initialize(self, x):
        self.values.assign(self.spline.fit(x))
        return super().initialize(x)


@_registered
class VariationalDequantisation(Part):
    """The noise within a level, drawn by a network that sees the image instead of evenly (Flow++, Ho et al. 2019,
    arXiv:1902.00275, section 3.1):

        u = sigmoid(g(logit(v))),    v uniform on the unit cube,

    g a map of each element whose parameters are the network's, so that u(i) and u(j) are independent given the image. Then
    E[log p((k + u) / 256) - log q(u | k)] is a lower bound of the log-likelihood of the levels k, as it is with q = 1.

    Args:
        network: keras.Model. Images `(batch, height, width, channels)` in [0, 1] to `(batch, height, width, channels *
            elementwise.parameters)`. One that puts out zeros draws evenly.
        elementwise: g, a name or an `Elementwise`. Defaults to "affine".
    """

    def __init__(self, network, elementwise="affine", **kwargs):
        super().__init__(**kwargs)
        self.network = network
        self.elementwise = get_elementwise(elementwise)
        *sides, channels = input_shapes(network, "the network")[0]
        check_output(network, "the network", (*sides, channels * self.elementwise.parameters))

    def __call__(self, x, uniform, training=False):
        """u of images in [0, 1], with noise of their shape; and log q(u | x), `(batch,)`."""
        log_slope_of_sigmoid = lambda a: -ops.softplus(a) - ops.softplus(-a)  # noqa: E731
        v = ops.clip(uniform, 1e-6, 1.0 - 1e-6)
        logit = ops.log(v) - ops.log1p(-v)
        output = ops.cast(self.network(x, training=training), logit.dtype)
        parameters = per_element(output, self.elementwise.parameters)
        y, log_slope = self.elementwise.forward(logit, parameters)
        return ops.sigmoid(y), total(log_slope_of_sigmoid(logit) - log_slope - log_slope_of_sigmoid(y))
