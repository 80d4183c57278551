"""A bijector that is the flow of an ordinary differential equation."""

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo import odes
from keras_genzoo.bijectors.base import Bijector
from keras_genzoo.core import randomness
from keras_genzoo.core.checks import check_output, input_shapes, whole

_registered = keras.saving.register_keras_serializable("keras_genzoo")


@_registered
class Continuous(Bijector):
    """y = x(1) of dx/dt = network(x, t) from x(0) = x on; the inverse goes back in time (FFJORD, Grathwohl et al. 2019,
    arXiv:1810.01367).

    log |det dy/dx| is the integral of the trace of the network's Jacobian (Chen et al. 2018, arXiv:1806.07366, theorem 1). The
    network needs no other structure than smoothness. Gradients pass through every step of the solver, whose evaluations training
    keeps in memory.

    Args:
        network: keras.Model. Rows `(batch, ...)` and times `(batch,)` to rates of the rows' shape, each row by itself, as
            `networks.dense_velocity`. A third input is the context. One that puts out zeros is the identity.
        solver: name of `odes.SOLVERS` or `odes.Solver`. Its error is that of the inverse and of the log-determinant. Defaults to
            "rk4".
        trace: "exact", at the cost of as many rows as a row has numbers, or "hutchinson", an estimate without bias in training,
            by noise that every call draws anew; everything else takes the exact trace. Defaults to "exact".
        seed: int or None. Of this noise; None draws one. Defaults to None.
    """

    def __init__(self, network, solver="rk4", trace="exact", seed=None, **kwargs):
        super().__init__(**kwargs)
        if trace not in ("exact", "hutchinson"):
            raise ValueError(f"trace is {trace!r}, expected 'exact' or 'hutchinson'.")
        shapes = input_shapes(network, "the network")
        if len(shapes) not in (2, 3) or shapes[1] != ():
            raise ValueError(f"the network takes shapes {shapes}, expected rows, times of shape () and, if any, a context.")
        check_output(network, "the network", shapes[0])
        self.network = network
        self.conditional = len(shapes) == 3
        self.solver = odes.get(solver)
        self.trace = trace
        self.seed = randomness.random_seed() if seed is None else whole(0, seed=seed)
        if trace == "hutchinson":
            self._random = randomness.Stream(self.seed, randomness.counter(self, "draws"))

    def _told(self, context):
        self._check_context(context)
        return (context,) if self.conditional else ()

    def _velocity(self, training):
        return lambda x, t, *told: ops.cast(self.network([x, t, *told], training=training), x.dtype)

    def forward(self, x, training=False, context=None):
        probe = None
        if training and self.trace == "hutchinson":
            probe = tf.cast(odes.signs(self._random.uniform(tf.shape(x))), x.dtype)
        return odes.transport(self._velocity(training), x, self.solver, told=self._told(context), probe=probe)

    def inverse(self, y, context=None):
        velocity, told = self._velocity(False), self._told(context)
        return self.solver.solve(lambda t, state: [velocity(state[0], t, *told)], [y], 1.0, 0.0)[0]
