"""GANs whose noise becomes a style first (Karras et al. 2020, arXiv:1912.04958)."""

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo.core import codes, randomness, shares
from keras_genzoo.core.checks import check_output, input_shapes, real
from keras_genzoo.core.inference import batched, inference
from keras_genzoo.core.optimizers import step_every
from keras_genzoo.models.gan import GAN

STYLES = 10_000  # of which `project` takes the mean and the deviation


@keras.saving.register_keras_serializable("keras_genzoo")
class StyleGAN(GAN):
    """A `GAN` of two networks in the generator's place: a mapping f of noise to a style w = f(z), and a generator that takes one
    style for each of its layers.

    - Style mixing: with the chance `mixing`, the layers from a random one on have the style of other noise (Karras et al. 2019,
      arXiv:1812.04948, section 3.1), each image by luck of its own.
    - Path length regularisation, lazily (`adversarial.PathLength`). R1 is lazy where the penalty says so:
      `adversarial.SlopePenalty(5.0, at="real", target=0.0, every=16)`.
    - Truncation: `sample(n, truncation=psi)` draws with the styles m + psi (w - m), m the moving average of styles. With a psi
      below 1 images are more alike and have fewer faults; 0 gives the mean image alone.
    - `sample(latents=)` takes noise, `(n, latent_dim)`, or styles of all layers, `(n, layers, style_dim)`. `project` looks for
      one style (as in appendix D of the paper) and repeats it for all layers, or by `space="w+"` for one for each layer. Ways
      between styles are straight.

    The optimizer of the generator trains the mapping too.

    Args:
        mapping: keras.Model. Noise `(batch, latent_dim)` to styles `(batch, style_dim)`.
        generator: keras.Model. Styles `(batch, layers, style_dim)` to images `(batch, height, width, channels)` in [-1, 1].
        critic: keras.Model. Images in [-1, 1] to one score `(batch, 1)`.
        path_length: `adversarial.PathLength` or None. Defaults to None.
        mixing: float in [0, 1]. The chance that an image has two styles in training. Defaults to 0.9.
        style_decay: float in [0, 1). Decay of the moving average of styles. Defaults to 0.995.
        **kwargs: as in `GAN`.

    Example:

    >>> model = gz.build("stylegan2", image_shape=(28, 28, 1), width=4)
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.sample(16, seed=0, truncation=0.7).shape
    (16, 28, 28, 1)
    """

    averaged = ("generator", "mapping")
    spaces = ("w", "w+", "z")

    def __init__(self, mapping, generator, critic, path_length=None, mixing=0.9, style_decay=0.995, **kwargs):
        super().__init__(generator, critic, **kwargs)
        self.mapping, self.path_length = mapping, path_length
        self.mixing = real(at_least=0, at_most=1, mixing=mixing)
        self.style_decay = real(at_least=0, below=1, style_decay=style_decay)
        inputs = input_shapes(generator, "generator")
        if self.condition_units or len(inputs[0]) != 2:
            came = " and ".join(map(str, inputs))
            raise ValueError(
                f"the generator takes {came}, expected styles (layers, style_dim) alone; take gz.models.GAN for others."
            )
        self.layer_count, style_dim = inputs[0]
        check_output(mapping, "mapping", (style_dim,))
        (self.latent_dim,) = input_shapes(mapping, "mapping")[0]
        self.mean_style = self.add_weight(
            shape=(style_dim,), dtype="float32", initializer="zeros", trainable=False, aggregation="mean", name="mean_style"
        )

    @property
    def diagnostics(self):
        """What training alone reports; `path_loss` where paths are regularised."""
        return (*super().diagnostics, *(("path_loss",) if self.path_length is not None else ()))

    @property
    def optimizers(self):
        return {**super().optimizers, "optimizer": ("generator", "mapping")}

    # What sampling needs

    def of_layers(self, style):
        """One style for all layers, `(batch, layers, style_dim)`."""
        return ops.repeat(style[:, None], self.layer_count, axis=1)

    def latent_shapes(self):
        """The shapes of latents without the batch axis: of noise, and of styles."""
        return [*super().latent_shapes(), (self.layer_count, *self.mean_style.shape)]

    def _truncated(self, styles, truncation):
        mean = tf.convert_to_tensor(self.mean_style)
        return mean + real(truncation=truncation) * (styles - mean)

    @batched
    def style(self, z, truncation=1.0):
        """The styles of noise, `(batch, style_dim)`.

        Args:
            z: noise `(batch, latent_dim)`.
            truncation: float. How far from the mean style, as a share of the whole way. Defaults to 1.
        """
        return self._truncated(self.mapping(z, training=False), truncation)

    def pictures(self, z, truncation=1.0):
        """Images in [0, 1] that are not clipped yet; arguments as of `decode`."""
        styles = self._truncated(z, truncation) if len(z.shape) == 3 else self.of_layers(self.style(z, truncation=truncation))
        return 0.5 * (self.generator(styles, training=False) + 1.0)

    @batched
    def decode(self, z, truncation=1.0):
        """Noise, or styles of all layers, to images in [0, 1], by styles that are truncated as `style` has it."""
        return ops.clip(self.pictures(z, truncation), 0.0, 1.0)

    @inference
    def generate(self, latents, truncation=1.0):
        """Images of latents, truncated; the compiled part of `sample`, which takes `truncation` too."""
        return self.decode(latents, truncation=truncation)

    def sample(self, n=None, seed=None, batch_size=256, labels=None, averaged=True, truncation=1.0, latents=None):
        """Draw images.

        Args:
            n, seed, batch_size, averaged, latents: as in `GenerativeModel.sample`. Latents are noise or styles.
            labels: None; the model has no classes.
            truncation: float. How far styles are from their mean, as a share of the whole way: below 1, images have fewer faults
                and are more alike. Defaults to 1.

        Returns:
            float32 array `(n, height, width, channels)` in [0, 1].
        """
        return super().sample(n, seed, batch_size, labels, averaged, latents, truncation=real(truncation=truncation))

    def space(self, name):
        """As of a `GAN`; points of "w" are styles, less their mean and divided by their deviation, a scalar, by 10,000 draws, and
        points of "w+" such of all layers, side by side."""
        if name == "z":
            return super().space(name)
        draws = self.mapping(randomness.normal(randomness.make_key(0), (STYLES, self.latent_dim)), training=False)
        mean = ops.mean(draws, axis=0)
        deviation = ops.sqrt(ops.mean(ops.square(draws - mean)))
        points_of = lambda z: (self.mapping(z, training=False) - mean) / deviation  # noqa: E731
        if name == "w":
            return points_of, lambda points: self.of_layers(mean + deviation * points), 1
        split = lambda points: ops.reshape(points, (-1, self.layer_count, mean.shape[0]))  # noqa: E731
        spread = lambda z: ops.tile(points_of(z), (1, self.layer_count))  # noqa: E731
        return spread, lambda points: mean + deviation * split(points), self.layer_count

    def between(self, z0, z1, position):
        if len(z0.shape) == len(z1.shape) == 2:
            return super().between(z0, z1, position)
        styles = (z if len(z.shape) == 3 else self.of_layers(self.style(z)) for z in (z0, z1))
        return codes.straight(*styles, position)

    # Training

    def mixed_styles(self, n, random, training):
        """Styles of n images of new noise, one for each layer, mixed in training, `(n, layers, style_dim)`."""
        noise = lambda: random.normal((n, self.latent_dim))  # noqa: E731
        first = self.of_layers(self.mapping(noise(), training=training))
        if not training or not self.mixing or self.layer_count < 2:
            return first
        second = self.of_layers(self.mapping(noise(), training=training))
        cut = 1.0 + ops.floor(random.uniform((n, 1)) * (self.layer_count - 1))
        cut = ops.where(random.uniform((n, 1)) < self.mixing, cut, self.layer_count)
        own = ops.arange(self.layer_count, dtype="float32")[None] < cut
        return ops.where(own[..., None], first, second)

    def generated(self, n, labels, random, training):
        return self.generator(self.mixed_styles(n, random, training), training=training)

    def train_step(self, data):
        self._follow_styles(ops.shape(self.images_of(data))[0])
        return super().train_step(data)

    def _follow_styles(self, n):
        """Move the moving average of styles by those of n images of new noise."""
        style = self.mapping(self.random.normal((n, self.latent_dim)), training=False)
        mean = tf.convert_to_tensor(self.mean_style)
        self.mean_style.assign(mean + (1.0 - self.style_decay) * (ops.mean(shares.gather(style), axis=0) - mean))

    def smoothness_terms(self, n):
        path = self.path_length
        if path is None:
            return {}

        def loss_of():
            styles = self.mixed_styles(n, self.random, training=True)[: ops.maximum(n // path.shrink, 1)]
            return path(lambda styles: self.generator(styles, training=True), styles, self.random)

        due, loss, mean = step_every(self, path.every, loss_of, self.optimizers["optimizer"], self.optimizer)
        mean = ops.mean(shares.gather(mean[None]))
        path.mean.assign(tf.where(due, mean, tf.convert_to_tensor(path.mean)))
        return {"path_loss": loss}
