"""A term of the generator's loss: how far an image moves where its style does."""

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo.core.checks import real, whole
from keras_genzoo.core.serialization import Part


@keras.saving.register_keras_serializable("keras_genzoo")
class PathLength(Part):
    """Path length regularisation (Karras et al. 2020, arXiv:1912.04958, eq. 4): steps of one length in the styles shall change
    images equally much.

        weight * (|J^T y| - a)^2

    J is the Jacobian of the image by its style, y an image of normal noise, and a the moving average of these lengths, which is
    `mean`, a weight that is saved with the model. As in the published code, |J^T y|^2 is the mean over layers where each has a
    style of its own, and y is divided by the root of the number of pixels. The term is computed lazily: in one of `every` steps,
    with so many times the weight.

    Args:
        weight: float above 0. Defaults to 2.
        every: int. Defaults to 4.
        decay: float in (0, 1]. The share of a new length in the moving average. Defaults to 0.01.
        shrink: int. One of so many images of a batch is looked at. Defaults to 2.

    Example:

    >>> model = gz.build("stylegan2", (28, 28, 1), width=4)
    >>> float(model.path_length.mean)
    0.0
    """

    def __init__(self, weight=2.0, every=4, decay=0.01, shrink=2, **kwargs):
        super().__init__(**kwargs)
        self.weight, self.decay = real(above=0, weight=weight), real(above=0, at_most=1, decay=decay)
        self.every, self.shrink = whole(every=every, shrink=shrink)
        self.mean = self.add_weight(
            shape=(), dtype="float32", initializer="zeros", trainable=False, aggregation="mean", name="mean"
        )

    def lengths(self, generator, styles, random):
        """|J^T y| for each image, `(n,)`.

        Args:
            generator: callable. Styles to images `(n, height, width, channels)`.
            styles: tensor `(n, layers, style_dim)`.
            random: `randomness.Stream`.
        """
        with tf.GradientTape() as tape:
            tape.watch(styles)
            images = generator(styles)
            _, height, width, _ = images.shape
            y = random.normal(ops.shape(images)) / (height * width) ** 0.5
            total = tf.reduce_sum(images * y)
        gradient = tape.gradient(total, styles)
        squares = ops.mean(ops.sum(ops.square(gradient), axis=-1), axis=-1)
        return ops.sqrt(squares + 1e-12)  # which has a slope at 0

    def __call__(self, generator, styles, random):
        """The weighted penalty for each image, `(n,)`, and the moving average that it was compared with, which takes in these
        lengths and is not kept yet; arguments as of `lengths`."""
        lengths = self.lengths(generator, styles, random)
        mean = tf.convert_to_tensor(self.mean)
        mean = mean + self.decay * (ops.mean(lengths) - mean)
        return self.weight * ops.square(lengths - mean), mean
