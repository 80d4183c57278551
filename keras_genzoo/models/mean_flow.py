"""One-step models: mean flows and consistency training, networks that jump along the probability-flow equation."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import schedules, weightings
from keras_genzoo.core.checks import check_output, check_told, input_shapes, real, whole
from keras_genzoo.core.conditions import Conditional, parted
from keras_genzoo.core.inference import inference
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.core.serialization import named
from keras_genzoo.core.shares import places
from keras_genzoo.layers import Rematerialized

ENDS = "drawn", "image"
LINE = schedules.RectifiedFlow()


@keras.saving.register_keras_serializable("keras_genzoo")
class MeanFlow(Conditional, GenerativeModel):
    """A network learns the average velocity between two times, so that one call of it goes from noise to an image.

    Of an image x in [-1, 1] and noise epsilon there is the straight line z_t = (1 - t) x + t epsilon with velocity
    v = epsilon - x. The average velocity u(z_t, r, t) from time r to t is the way between them over t - r, and

        u(z_t, r, t) = v - (t - r) d/dt u(z_t, r, t),    d/dt u = v du/dz + du/dt
        loss = |u(z_t, r, t) - stop_gradient(v - (t - r) d/dt u(z_t, r, t))|^2

    (Geng et al. 2025, arXiv:2505.13447, eq. 6 and 9 to 11). With r = 0 it is consistency training in continuous time: z_t - t u
    is the image at the end of the way, the same from everywhere on it (Song et al. 2023, arXiv:2303.01469, section 5 and appendix
    B.2).

    Args:
        network: keras.Model. Images `(batch, height, width, channels)`, times t and spans t - r, both `(batch,)`, of a
            conditional model the condition too, as `Diffusion` has it, to outputs of the images' shape; see
            `networks.unet(spans=True)`.
        time_sampling: name or `weightings.TimeSampling` of the times of a straight line, of which two are drawn; None is
            `LogitNormal(-0.4, 1)`, that of the paper. Defaults to None.
        share: float in [0, 1]. Share of the pairs whose times differ; the others are flow matching. Defaults to 0.25.
        end: "drawn", r is the earlier of two times, or "image", r is 0. Defaults to "drawn".
        power: float of at least 0. Losses are divided by this power of themselves, so that with 1 all images count alike,
            whatever their error (section 4.3). Defaults to 1.
        steps: int. Calls of the network for an image unless told otherwise. Defaults to 1.
        **kwargs: `num_classes`, `condition_dim`, what the network is told; without them a fourth input is of one-hot labels;
            `seed`, `ema`, `name`, `dtype`, as in `GenerativeModel`.

    Raises:
        ValueError: a network without an input for spans, with outputs of another shape, or with `remat=True`; an unknown end.

    Example:

    >>> model = gz.build("mean_flow", image_shape=(28, 28, 1), width=8, multipliers=(1, 2))
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.sample(4, seed=0).shape
    (4, 28, 28, 1)
    """

    optimizers = {"optimizer": ("network",)}
    averaged = ("network",)
    terms = ("residual_loss",)
    monitor = "residual_loss"  # with a power of 1 the loss itself hardly moves
    marked = True

    def __init__(self, network, time_sampling=None, share=0.25, end="drawn", power=1.0, steps=1, **kwargs):
        super().__init__(**kwargs)
        self.network = network
        sampling = weightings.LogitNormal(-0.4) if time_sampling is None else time_sampling
        self.time_sampling = named(sampling, weightings.TIME_SAMPLINGS, weightings.TimeSampling, "time_sampling")
        self.time_sampling.check(LINE)
        if end not in ENDS:
            raise ValueError(f"end is {end!r}, expected 'drawn' or 'image'.")
        self.share, self.power = real(at_least=0, at_most=1, share=share), real(at_least=0, power=power)
        self.end, self.steps = end, whole(steps=steps)
        inputs = input_shapes(network, "network")
        if len(inputs) not in (3, 4) or inputs[1:3] != [(), ()]:
            raise ValueError(
                f"the network takes inputs of shapes {inputs}, expected images, times and spans; build it with spans=True."
            )
        check_output(network, "network", inputs[0])
        if any(isinstance(layer, Rematerialized) for layer in network._flatten_layers()):
            raise ValueError(
                "the network computes layers again for the gradient, which then has no derivative; build it with remat=False."
            )
        if len(inputs) == 4 and not self.condition_units:
            self.num_classes = inputs[3][0]
        check_told(network, "network", self.condition_units, place=3)

    @property
    def image_shape(self):
        return input_shapes(self.network, "network")[0]

    @property
    def evaluations_per_sample(self):
        """How often `sample` evaluates the network for an image unless told otherwise."""
        return self.steps

    def average_velocity(self, z, r, t, labels=None, training=False):
        """u(z_t, r, t): the way back from time t to r over t - r, `(batch, height, width, channels)`.

        Args:
            z: `(batch, height, width, channels)`, at the times t.
            r, t: `(batch,)`, with r <= t.
            labels: the condition, `(batch, condition_units)`, of conditional models alone.
            training: bool. Defaults to False.
        """
        inputs = [z, t, t - r, *([] if labels is None else [labels])]
        return self.network(inputs, training=training)

    def residual(self, z, v, r, t, labels=None, training=False):
        """What is left of the identity of the mean flow, u - stop_gradient(v - (t - r) d/dt u), by velocities v at z; it is 0
        for the average of the velocity that v is everywhere."""
        function = lambda z, t: self.average_velocity(z, r, t, labels, training)  # noqa: E731
        u, slope = derivative_along(function, (z, t), (v, ops.ones_like(t)))
        span = (t - r)[:, None, None, None]
        return u - ops.stop_gradient(v - span * slope)

    def draw_times(self, n, random):
        """n pairs of times r <= t, which are equal but for `share` of them."""
        evenly = (random.uniform(()) + places(n)) % 1.0
        one, other = (self.time_sampling.draw(uniform, LINE)[0] for uniform in (evenly, random.uniform((n,))))
        apart = random.uniform((n,)) < self.share
        if self.end == "image":
            return ops.where(apart, 0.0, one), one
        t = ops.maximum(one, other)
        return ops.where(apart, ops.minimum(one, other), t), t

    def terms_of(self, x, labels, random, training):
        r, t = self.draw_times(ops.shape(x)[0], random)
        epsilon, wide = random.normal(ops.shape(x)), t[:, None, None, None]
        z = (1.0 - wide) * x + wide * epsilon
        squares = ops.sum(ops.square(self.residual(z, epsilon - x, r, t, labels, training)), axis=(1, 2, 3))
        weight = ops.power(ops.stop_gradient(squares) + 1e-3, -self.power)
        return {"loss": weight * squares, "residual_loss": squares / math.prod(self.image_shape)}

    def train_step(self, data):
        x, labels = 2.0 * self.images_of(data) - 1.0, self.condition_of(data)
        return self.track(
            self.minimize(lambda: self.terms_of(x, labels, self.random, training=True), ("network",), self.optimizer)
        )

    def test_step(self, data):
        x, labels = 2.0 * self.images_of(data) - 1.0, self.condition_of(data)
        return self.track(self.measure(lambda: self.terms_of(x, labels, self.random_test, training=False), ("network",)))

    def call(self, x):
        """Images with a little noise taken away, in one call: the images again, if it is trained. Conditional models take
        `(images, labels)`."""
        labels, z = self.condition_of(x), 2.0 * self.images_of(x) - 1.0
        t = tf.fill((tf.shape(z)[0],), 1e-3)
        with self.averaged_weights():
            return _to_images(z - 1e-3 * self.average_velocity(z, tf.zeros_like(t), t, labels))

    def sample(self, n=None, seed=None, batch_size=256, labels=None, averaged=True, steps=None, latents=None, conditions=None):
        """Draw images.

        Args:
            n, seed, batch_size, labels, averaged, latents, conditions: as in `Conditional.sample`.
            steps: int or None. Calls of the network, each over as much time; None is the model's own number.

        Returns:
            float32 array `(n, height, width, channels)` in [0, 1].

        Raises:
            ValueError: steps below 1; labels of another number or beyond the classes.
        """
        steps = self.steps if steps is None else whole(steps=steps)
        times = tf.constant(np.linspace(1.0, 0.0, steps + 1), tf.float32)
        return super().sample(n, seed, batch_size, labels, averaged, latents, conditions=conditions, times=times)

    def draw_latents(self, n, random):
        """n times standard normal noise of the images' shape."""
        return random.normal((n, *self.image_shape))

    @inference
    def generate(self, latents, times=None):
        z, labels = parted(latents)
        times = tf.constant(np.linspace(1.0, 0.0, self.steps + 1), tf.float32) if times is None else times

        def step(index, z):  # eq. 12
            t, r = times[index], times[index + 1]
            of_all = lambda time: tf.fill((tf.shape(z)[0],), time)  # noqa: E731
            return index + 1, z - (t - r) * self.average_velocity(z, of_all(r), of_all(t), labels)

        return _to_images(tf.while_loop(lambda index, _: index < tf.shape(times)[0] - 1, step, (0, z))[1])


def _to_images(z):
    return ops.clip(0.5 * (z + 1.0), 0.0, 1.0)


def derivative_along(function, at, directions):
    """A function's value, and its derivative along directions.

    The transposed derivative is linear in what it is applied to, so that its own derivative is the derivative itself.

    Args:
        function: callable of tensors to one tensor.
        at: tuple of tensors.
        directions: tuple of tensors of their shapes.
    """
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            for each in at:
                inner.watch(each)
            value = function(*at)
        any_vector = tf.zeros_like(value)
        outer.watch(any_vector)
        transposed = inner.gradient(value, at, any_vector, unconnected_gradients="zero")
    return value, outer.gradient(transposed, any_vector, list(directions))
