"""The way back through a generator: latents whose image is nearest to a given one."""

import math

import tensorflow as tf

RISE, FALL = 0.05, 0.25  # shares of the steps in which the learning rate rises at first, and falls at last
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # of Adam


def nearest_latents(generate, x, z, steps, learning_rate=0.1, weight=0.001):
    """Descend from points z to such whose images are near to x, each row by itself.

    The objective is that of Bora et al. 2017 (arXiv:1703.03208) with all pixels measured,

        min_z |generate(z) - x|^2 + weight |z|^2      (sums over pixels and over z)

    which is -log p(x|z) - log p(z) but for a factor and constants, where z is standard normal and pixels are normal with the
    deviation sqrt(weight). The descent is by Adam. As in Karras et al. 2020 (arXiv:1912.04958, appendix D), its learning rate
    rises along a line in the first twentieth of the steps, and falls along a cosine in the last quarter. What is generated
    beyond [0, 1] counts as the nearest of 0 and 1, and still has a slope.

    Args:
        generate: callable. Points `(n, dim)` to images `(n, height, width, channels)` in [0, 1], not clipped.
        x: images in [0, 1], `(n, height, width, channels)`.
        z: points to begin with, float32 `(n, dim)`.
        steps: int. Evaluations of `generate`; 1 finds nothing new.
        learning_rate: float. Its height between rise and fall. Defaults to 0.1.
        weight: float of at least 0. Defaults to 0.001.

    Returns:
        The best points of all steps, `(n, dim)`, and their objective, `(n,)`.

    Example:

    >>> brighten = lambda z: tf.tile(z[:, None, None], (1, 2, 2, 1))
    >>> points, _ = gz.adversarial.nearest_latents(brighten, tf.fill((1, 2, 2, 1), 0.3), tf.zeros((1, 1)), steps=200)
    >>> round(float(points[0, 0]), 2)
    0.3
    """

    def step(index, z, first, second, best, least):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(z)
            values = objective(generate, x, z, weight)
        slope, (best, least) = tape.gradient(values, z), nearer((z, values), (best, least))
        first, second = BETA_1 * first + (1 - BETA_1) * slope, BETA_2 * second + (1 - BETA_2) * tf.square(slope)
        t = tf.cast(index + 1, tf.float32)
        move = first / (1 - BETA_1**t) / (tf.sqrt(second / (1 - BETA_2**t)) + EPSILON)
        return index + 1, z - learning_rate * ramp(t / steps) * move, first, second, best, least

    start = 0, z, tf.zeros_like(z), tf.zeros_like(z), z, tf.fill((tf.shape(z)[0],), math.inf)
    *_, best, least = tf.while_loop(lambda index, *_: index < steps, step, start, maximum_iterations=steps)
    return best, least


def nearest_draws(generate, x, draw, count, weight=0.001):
    """Of several draws the points whose images are nearest to x, each row by itself, `(n, dim)`; where `nearest_latents` begins.

    Args:
        generate, x, weight: as of `nearest_latents`.
        draw: callable. The number of a draw, a scalar, to points `(n, dim)`.
        count: int. How many draws.

    Example:

    >>> brighten, levels = lambda z: tf.tile(z[:, None, None], (1, 2, 2, 1)), tf.constant([[[0.9]], [[0.4]], [[0.1]]])
    >>> points = gz.adversarial.nearest_draws(brighten, tf.fill((1, 2, 2, 1), 0.3), lambda index: levels[index], 3)
    >>> round(float(points[0, 0]), 2)
    0.4
    """

    def look(index, best, least):
        z = draw(index)
        return index + 1, *nearer((z, objective(generate, x, z, weight)), (best, least))

    first = draw(0)
    start = 1, first, objective(generate, x, first, weight)
    return tf.while_loop(lambda index, *_: index < count, look, start, maximum_iterations=count)[1]


def objective(generate, x, z, weight):
    """What `nearest_latents` makes small, `(n,)`. Images are clipped to [0, 1], with the slope of those that are not."""
    images = generate(z)
    clipped = images + tf.stop_gradient(tf.clip_by_value(images, 0.0, 1.0) - images)
    return tf.reduce_sum(tf.square(clipped - x), axis=(1, 2, 3)) + weight * tf.reduce_sum(tf.square(z), axis=-1)


def nearer(one, other):
    """Of two pairs of points and their objective the better one, row by row; the other where the one's is NaN."""
    better = one[1] < other[1]
    return tf.where(better[:, None], one[0], other[0]), tf.where(better, one[1], other[1])


def ramp(t):
    """The share of the learning rate at t, a part of all steps from 0 to 1: up a line, along at 1, and down a cosine to 0."""
    fall = 0.5 - 0.5 * tf.cos(math.pi * tf.minimum(1.0, (1.0 - t) / FALL))
    return fall * tf.minimum(1.0, t / RISE)
