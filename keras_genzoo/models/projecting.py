"""What a GAN is asked beside samples: the latents of an image, and the images between latents."""

import numpy as np
import tensorflow as tf

from keras_genzoo.adversarial import nearest_draws, nearest_latents
from keras_genzoo.core import codes, randomness
from keras_genzoo.core.checks import real, whole
from keras_genzoo.core.inference import batched
from keras_genzoo.core.latents import checked

STARTS = 5  # of `noise_key`: what the noise is for
DRAWS = 16  # of which `project` takes the nearest for a start


class Projecting:
    """The part of `GAN` that looks for the latents of images.

    A family writes `pictures(latents)`, images in [0, 1] that are not clipped yet; of conditional models the latents are a pair
    with the condition.
    """

    spaces = ("z",)  # where `project` can look, the first unless it is told otherwise

    def space(self, name):
        """Where `project` looks for latents: a function from noise `(n, latent_dim)` to points about standard normal, one from
        points to latents, and in how many copies a draw stands in a point."""
        return lambda z: z, lambda points: points, 1

    @batched(compiled=True, size=32)
    def project(self, x, labels=None, steps=500, learning_rate=0.1, weight=0.001, starts=8, seed=0, space=None, conditions=None):
        """The latents whose generated images are nearest to images (Zhu et al. 2016, arXiv:1609.03552).

        A descent of z by Adam, from several starts at once, each the nearest of 16 draws of noise, to the least

            |G(z) - x|^2 + weight |z|^2      (Bora et al. 2017, arXiv:1703.03208)

        with sums over the pixels, in [0, 1], and over the latents. The best z of all steps and draws is kept. An image that the
        generator does not know comes back as one that it does. `adversarial.nearest_latents` has the details.

        Args:
            x: images, or a data set of them.
            labels: int `(batch,)`, of conditional models alone, which need them.
            steps: int. How often the generator is evaluated and z moved; 1 takes the best of the draws. Defaults to 500.
            learning_rate: float above 0, in standard deviations of the latents a step. Defaults to 0.1.
            weight: float of at least 0. Of the latents' size: the more, the more likely are the latents as draws, and the less
                alike the images. Defaults to 0.001.
            starts: int. Starts for each image, which are computed together. Defaults to 8.
            seed: int. Of the draws. Defaults to 0.
            space: str or None. Where to look: "z", the noise; of a `StyleGAN` also "w", one style for all layers (Karras et al.
                2020, arXiv:1912.04958, appendix D), or "w+", one for each, which finds images that the generator does not know as
                well (Abdal et al. 2019, arXiv:1904.03189). None is "w" of a `StyleGAN`, and else "z". Defaults to None.
            conditions: float `(batch, condition_dim)`, of models that are told vectors alone, which need them.

        Returns:
            float32 `(batch, latent_dim)`, or styles `(batch, layers, style_dim)`, as `sample(latents=)` takes them.

        Raises:
            ValueError: images that `fit` refuses; no labels, of a conditional model; a space that the model does not have.

        Example:

        >>> model = gz.build("gan", image_shape=(28, 28, 1), width=4, latent_dim=8)
        >>> z = model.project(images[:2], steps=20)
        >>> model.sample(latents=z).shape
        (2, 28, 28, 1)
        """
        steps, starts = whole(steps=steps, starts=starts)
        learning_rate, weight = real(above=0, learning_rate=learning_rate), real(at_least=0, weight=weight)
        if labels is None and self.conditional:
            raise ValueError(f"project got no labels, but {type(self).__name__} {self.name!r} has classes; give it labels=.")
        space = self.spaces[0] if space is None else space
        if space not in self.spaces:
            expected = " or ".join(map(repr, self.spaces))
            raise ValueError(f"space is {space!r}, expected {expected} of a {type(self).__name__}.")
        x, (points_of, latents_of, copies) = self.images_of(x), self.space(space)
        weight = weight / copies
        n, wanted = tf.shape(x)[0], tf.repeat(x, starts, axis=0)
        told = self.told(labels, conditions)
        told = None if told is None else tf.repeat(told, starts, axis=0)

        def draw(index):
            noise = randomness.normal(self.noise_key(seed, STARTS, index), (n, starts, self.latent_dim))
            return points_of(tf.reshape(noise, (-1, self.latent_dim)))

        generate = lambda points: self.pictures(self._with_labels(latents_of(points), told))  # noqa: E731
        begin = nearest_draws(generate, wanted, draw, DRAWS, weight)
        points, values = nearest_latents(generate, wanted, begin, steps, learning_rate, weight)
        best = tf.argmin(tf.reshape(values, (n, starts)), axis=1)
        return latents_of(tf.gather(tf.reshape(points, (n, starts, points.shape[-1])), best, batch_dims=1))

    def interpolate(self, x0, x1, steps=8, labels=None, conditions=None, **settings):
        """Images along the ways between latents: spherical ones (Shoemake 1985; White 2016, arXiv:1609.04468).

        Args:
            x0, x1: latents, as `sample` takes them; or images `(batch, height, width, channels)`, of which `project` finds the
                latents first, so that the ends are near to the images and not equal to them.
            steps: int. Images a line, both ends included. Defaults to 8.
            labels, conditions: arrays `(batch,)` and `(batch, condition_dim)`, the class and the vector of each line, of
                conditional models alone. Images need them; for latents None draws them. Default to None.
            **settings: others of `sample`. The `seed` is 0 unless given.

        Returns:
            float32 array `(batch, steps, height, width, channels)` in [0, 1].

        Example:

        >>> model = gz.build("gan", image_shape=(28, 28, 1), width=4, latent_dim=8)
        >>> z = np.random.default_rng(0).normal(size=(4, 8))
        >>> model.interpolate(z[:2], z[2:], steps=5).shape
        (2, 5, 28, 28, 1)
        """
        steps, own = whole(steps=steps), {"labels": labels, "conditions": conditions}
        own = {name: rows for name, rows in own.items() if rows is not None}
        ends = [checked(self, self.project(x, **own) if np.ndim(x) == 4 else x, None)[0] for x in (x0, x1)]
        return self._along(*ends, steps, lambda z: self.sample(latents=z, **{"seed": 0, **own, **settings}))

    def between(self, z0, z1, position):
        return codes.spherical(z0, z1, position)
