"""A family of your own, with its recipe: MADE (Germain et al. 2015, arXiv:1502.03509), an autoregressive model of binary pixels.

    p(x) = prod_i p(x_i | x_1, ..., x_i-1)

Every command takes it by `--import`:

    genzoo show made --import examples/made.py
    genzoo train made --import examples/made.py --epochs 5
    genzoo sample runs/made/model.keras --import examples/made.py
    genzoo tune made --import examples/made.py --trials 5
    genzoo benchmark run --recipes made,vae --import examples/made.py --out runs/own
"""

import math

import keras
import tensorflow as tf
from keras import ops

import keras_genzoo as gz


@keras.saving.register_keras_serializable("examples")
class MADE(gz.GenerativeModel):
    """Each pixel is black or white, with a probability that a masked network tells from the pixels before it.

    Args:
        network: keras.Model, `networks.made`: vectors of pixels to the logits of each, given those before.
        image_shape: `(height, width, channels)`.
        **kwargs: `seed`, `ema`, `name`, `dtype`, as in `GenerativeModel`.
    """

    support = "binary"
    optimizers = {"optimizer": ("network",)}
    averaged = ("network",)

    def __init__(self, network, image_shape, **kwargs):
        super().__init__(**kwargs)
        self.network = network
        self.image_shape = tuple(image_shape)

    def pixels(self, data, random):
        """Images as vectors of 0 and 1; a gray pixel is the probability of a 1."""
        x = ops.reshape(self.images_of(data), (-1, math.prod(self.image_shape)))
        return ops.cast(random.uniform(ops.shape(x)) < x, "float32")

    def terms_of(self, x, training):
        logits = self.network(x, training=training)
        return {"loss": ops.sum(tf.nn.sigmoid_cross_entropy_with_logits(x, logits), axis=1)}

    def train_step(self, data):
        x = self.pixels(data, self.random)
        return self.track(self.minimize(lambda: self.terms_of(x, training=True), ("network",), self.optimizer))

    def test_step(self, data):
        x = self.pixels(data, self.random_test)
        return self.track(self.measure(lambda: self.terms_of(x, training=False), ("network",)))

    @gz.inference
    def call(self, x):
        """The probability of each pixel to be 1, given those before, in the shape of the images."""
        x = self.images_of(x)
        return ops.reshape(ops.sigmoid(self.network(ops.reshape(x, (ops.shape(x)[0], -1)))), ops.shape(x))

    @gz.batched
    def log_prob(self, x):
        """Nats per image, exact for images of 0 and 1."""
        return -self.terms_of(ops.reshape(self.images_of(x), (-1, math.prod(self.image_shape))), training=False)["loss"]

    def draw_latents(self, n, random):
        """A uniform number for each pixel, by which it is drawn."""
        return random.uniform((n, math.prod(self.image_shape)))

    @gz.inference
    def generate(self, latents):
        """Images, one pixel after the other."""

        def draw(index, x):
            drawn = ops.cast(latents[:, index] < ops.sigmoid(self.network(x)[:, index]), "float32")
            return index + 1, x + drawn[:, None] * tf.one_hot(index, latents.shape[1])

        _, x = tf.while_loop(lambda index, _: index < latents.shape[1], draw, (0, tf.zeros_like(latents)))
        return ops.reshape(x, (-1, *self.image_shape))


@gz.recipes.recipe("autoregressive", jit_compile=False)
def made(
    image_shape,
    total_steps,
    network=gz.recipes.arguments(
        gz.networks.made, "depth", width=gz.recipes.Hyperparameter(512, gz.recipes.Choice((128, 256, 512, 1024)))
    ),
    optimizer=gz.recipes.arguments(gz.recipes.adam, learning_rate=gz.recipes.Hyperparameter(1e-3, gz.recipes.Float(1e-4, 1e-2))),
    general=gz.recipes.arguments(gz.GenerativeModel, "ema", "seed"),
):
    """MADE: every pixel of a binary image by all before it, with an exact likelihood."""
    model = MADE(gz.networks.made(math.prod(image_shape), 1, **network), image_shape, **general)
    return model, {"optimizer": gz.recipes.adam(total_steps, **optimizer)}
