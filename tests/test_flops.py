"""Operations of functions whose number is known."""

import numpy as np
import pytest
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo.core.flops import count


@pytest.mark.parametrize(
    "function, shapes, expected",
    [
        (tf.matmul, ((2, 3), (3, 5)), 60),
        (lambda a, b: tf.matmul(a, b, transpose_a=True), ((3, 2), (3, 5)), 60),
        (lambda a, b: tf.einsum("bij,bjk->bik", a, b), ((7, 2, 3), (7, 3, 5)), 420),
        (lambda a, b: tf.einsum("...ij,jk->...ik", a, b), ((7, 2, 3), (3, 5)), 420),
        (lambda x, k: tf.nn.conv2d(x, k, 2, "SAME"), ((2, 8, 6, 3), (5, 5, 3, 4)), 2 * (2 * 4 * 3 * 4) * 75),
        (lambda x, k: tf.nn.depthwise_conv2d(x, k, [1, 1, 1, 1], "SAME"), ((2, 8, 6, 3), (5, 5, 3, 2)), 2 * (2 * 8 * 6 * 6) * 25),
        (lambda x, k: tf.nn.conv2d_transpose(x, k, (2, 8, 6, 3), 2), ((2, 4, 3, 4), (5, 5, 3, 4)), 2 * (2 * 4 * 3 * 4) * 75),
        (lambda x: tf.reduce_sum(tf.exp(x) * x), ((4, 5),), 60),
        (lambda x: tf.reshape(tf.concat([x, x], 0)[1:], (5, 7)), ((3, 7),), 0),
    ],
)
def test_operations_of_one_function(function, shapes, expected):
    assert count(function, *(tf.ones(shape) for shape in shapes)) == expected


def test_gradients_count_as_what_they_compute():
    x, k = tf.ones((2, 8, 6, 3)), tf.Variable(tf.ones((5, 5, 3, 4)))

    def gradients():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.nn.conv2d(x, k, 1, "SAME")
        return tape.gradient(y, (x, k), output_gradients=tf.ones_like(y))

    assert count(gradients) == 3 * 2 * (2 * 8 * 6 * 4) * 75


def test_loops_count_as_often_as_they_are_gone_through_compiled_or_not():
    weights = tf.ones((4, 4))

    @tf.function(jit_compile=True)
    def power(x, times):
        return tf.while_loop(lambda i, x: i < times, lambda i, x: (i + 1, x @ weights), (0, x))[1]

    assert count(power, tf.ones((3, 4)), tf.constant(6)) == 6 * 96
    assert not tf.config.functions_run_eagerly()


def test_a_step_of_a_dense_autoencoder_is_three_products_a_layer_and_a_sample_its_decoder(images):
    model = gz.build("vae", (8, 8, 1), width=64, depth=1, latent_dim=3)
    kernels = [w for w in model.trainable_variables if w.path.endswith("kernel")]
    forward = 2 * sum(w.shape[0] * w.shape[1] for w in kernels)
    first = 2 * 64 * 64  # whose images need no gradient
    counted = count(model.train_step, tf.constant(np.repeat(images, 64, axis=0))) / 1024
    assert 3 * forward - first < counted < 1.4 * (3 * forward - first)  # and what is done for each number by itself
    decoder = 2 * sum(w.shape[0] * w.shape[1] for w in model.decoder.trainable_variables if w.path.endswith("kernel"))
    assert decoder < count(model.sample, 1, seed=0) < 1.4 * decoder
