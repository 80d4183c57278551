"""Ways between two codes, pure functions of the codes and a position from 0 to 1."""

import math

import tensorflow as tf


def straight(z0, z1, position):
    """z0 + position (z1 - z0)."""
    return z0 + (z1 - z0) * position


def spherical(z0, z1, position):
    """The spherical way for codes that are standard normal (Shoemake 1985; Song et al. 2021, arXiv:2010.02502, appendix D.5).

    A code's length hardly varies in many dimensions, and the straight way leaves it: the middle of two independent codes is
    shorter by sqrt(2), as no draw is. With theta the angle between the codes of a row,

        (sin((1 - position) theta) z0 + sin(position theta) z1) / sin(theta)

    Codes in line, of which the angle tells no way, are joined straight.

    Args:
        z0, z1: `(batch, ...)`, of equal shapes.
        position: float in [0, 1].
    """
    axes = list(range(1, len(z0.shape)))
    product = lambda a, b: tf.reduce_sum(a * b, axis=axes, keepdims=True)  # noqa: E731
    cosine = tf.math.divide_no_nan(product(z0, z1), tf.sqrt(product(z0, z0) * product(z1, z1)))
    angle = tf.acos(tf.clip_by_value(cosine, -1.0, 1.0))
    inline = tf.sin(angle) < 1e-3
    angle = tf.where(inline, 0.5 * math.pi, angle)
    turned = (tf.sin((1.0 - position) * angle) * z0 + tf.sin(position * angle) * z1) / tf.sin(angle)
    return tf.where(inline, straight(z0, z1, position), turned)
