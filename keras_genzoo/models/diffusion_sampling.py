"""What diffusion models make of noise and of images: samples, codes and restored images."""

import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import samplers, spacings
from keras_genzoo.core import codes, randomness
from keras_genzoo.core.checks import interval, real, whole
from keras_genzoo.core.inference import batched, inference
from keras_genzoo.core.serialization import named


class Sampling:
    """The part of `Diffusion` that walks between noise and images by a sampler."""

    def _get_sampler(self, sampler):
        if sampler is None:
            return self.sampler
        sampler = named(sampler, samplers.SAMPLERS, samplers.Sampler, "sampler")
        settings = {**sampler.get_config(), "name": None}  # which is another for each
        # Always the same object for the same settings, so that its graph is found again.
        return self._samplers.setdefault(repr((type(sampler), settings)), sampler)

    @property
    def prior_scale(self):
        """Standard deviation of the noise that sampling begins with: that of x_t at `t_max` for pixels of variance 1."""
        t = ops.convert_to_tensor(np.float32(self.schedule.t_max))
        return ops.sqrt(ops.square(self.schedule.signal(t)) + ops.square(self.schedule.noise(t)))

    def sample(
        self,
        n=None,
        seed=None,
        batch_size=256,
        labels=None,
        averaged=True,
        steps=None,
        sampler=None,
        guidance=None,
        spacing=None,
        guidance_interval=None,
        trace=None,
        latents=None,
        conditions=None,
    ):
        """Draw images.

        Args:
            n, seed, batch_size, labels, averaged, latents, conditions: as in `Conditional.sample`.
            steps: int or None. Steps of the sampler; None is the model's own number. The network is evaluated
                `sampler.evaluations(steps)` times.
            sampler: name of `samplers.SAMPLERS`, a `Sampler`, or None, the model's own.
            guidance: float or None. Above 1, images are more typical of their labels and less varied; of conditional models.
                Defaults to None, no guidance.
            spacing: name of `spacings.SPACINGS`, of the times of the steps; None is the model's own, or where that is None, the
                sampler's. Defaults to None.
            guidance_interval: pair of floats or None. Noise levels, noise over signal, between which there is guidance
                (Kynkaanniemi et al. 2024, arXiv:2404.07724): without it at high levels images stay varied, and at low ones it
                only costs. Defaults to None, all levels.
            trace: int or None. Number of images on the way that are returned, the noise first and the image last, evenly among
                the steps, as many as these and one at most. Defaults to None, the image alone.

        Returns:
            float32 array `(n, height, width, channels)` in [0, 1]; with `trace` `(n, trace, height, width, channels)`, each noisy
            image scaled to the size that images have.

        Raises:
            ValueError: an unknown sampler or spacing, steps below 1, guidance that is no number, or of a model that has no
                classes or was never trained without labels; an interval without guidance; more images than steps.
        """
        settings = self.sampling_settings(steps, sampler, guidance, spacing, guidance_interval)
        if trace is not None:
            steps, trace = settings["times"].shape[0], whole(2, trace=trace)
            if trace > steps:
                raise ValueError(
                    f"trace is {trace}, expected at most {steps}, the images of {steps - 1} steps and the noise before."
                )
            settings["trace"] = tf.constant(np.round(np.linspace(0, steps - 1, trace)), tf.int32)
        return super().sample(n, seed, batch_size, labels, averaged, latents, conditions=conditions, **settings)

    def _row_shape(self, settings):
        return (*settings["trace"].shape, *self.image_shape) if "trace" in settings else super()._row_shape(settings)

    def sampling_settings(self, steps=None, sampler=None, guidance=None, spacing=None, guidance_interval=None):
        """Arguments of `generate` for those of `sample`: what changes from call to call as tensors."""
        sampler = self._get_sampler(sampler)
        steps = self.steps if steps is None else whole(steps=steps)
        times = sampler.times(self.schedule, steps, self.spacing if spacing is None else spacing)
        settings = {"times": tf.constant(times, tf.float32), "sampler": sampler}
        if guidance is None:
            if guidance_interval is not None:
                raise ValueError(f"guidance_interval is {guidance_interval!r}, and there is no guidance; give guidance too.")
            return settings
        guidance = real(guidance=guidance)
        if not self.condition_units:
            raise ValueError(f"guidance is {guidance}, but {type(self).__name__} {self.name!r} has no classes to guide to.")
        self.check_label_free(f"guidance is {guidance}")
        settings["guidance"] = tf.constant(guidance, tf.float32)
        if guidance_interval is not None:
            settings["interval"] = tf.constant(interval(guidance_interval, "guidance_interval"), tf.float32)
        return settings

    def draw_latents(self, n, random):
        """n times standard normal noise of the images' shape."""
        return random.normal((n, *self.image_shape))

    @inference
    def generate(self, latents, trace=None, **settings):
        if trace is None:
            return self._to_images(self.walk(latents, **settings))
        times = tf.gather(settings["times"], trace)
        scale = ops.sqrt(ops.square(self.schedule.signal(times)) + ops.square(self.schedule.noise(times)))
        walked = self.walk(latents, trace=trace, **settings)
        return self._to_images(ops.transpose(walked / scale[:, None, None, None, None], (1, 0, 2, 3, 4)))

    def walk(
        self,
        latents,
        key=None,
        times=None,
        sampler=None,
        guidance=None,
        known=None,
        mask=None,
        interval=None,
        begin=None,
        trace=None,
    ):
        """From noise, or the pair of noise and the condition, to what the network was trained on.

        Args:
            latents: as `draw_latents` gives them.
            key, times, sampler, guidance, interval: as in `samplers.solve` and `denoiser`; None are those of the model.
            known, mask: images in [0, 1], and bool, True where they are kept; both `(batch, height, width, channels)`, or None.
            begin: images in [0, 1], whose noisy ones at the first of the times the walk begins with; None begins with noise.
            trace: as in `samplers.solve`.
        """
        z, labels = latents if isinstance(latents, tuple) else (latents, None)
        sampler = self.sampler if sampler is None else sampler
        times = tf.constant(sampler.times(self.schedule, self.steps, self.spacing), tf.float32) if times is None else times
        key = randomness.make_key(0) if key is None else key
        denoise = self.denoiser(labels, guidance, self.clip, interval)
        x, keep = self.prior_scale * z, None
        if begin is not None:
            x = self.schedule.signal(times[0]) * (2.0 * begin - 1.0) + self.schedule.noise(times[0]) * z
        if known is not None:
            known = 2.0 * known - 1.0

            def keep(x, t, key):
                noisy = self.schedule.signal(t) * known + self.schedule.noise(t) * randomness.normal(key, tf.shape(x))
                return tf.where(mask, noisy, x)

            x = keep(x, times[0], randomness.fold(key, -1))
        return samplers.solve(sampler, denoise, self.schedule, x, times, key, keep, trace)

    def inpaint(
        self,
        images,
        mask,
        seed=None,
        labels=None,
        steps=50,
        sampler="ddpm",
        guidance=None,
        spacing=None,
        batch_size=256,
        conditions=None,
    ):
        """Make what is missing of images anew.

        A sampler walks from noise to images, and after every step the known pixels are replaced by themselves with the noise of
        that time (Song et al. 2021, arXiv:2011.13456, appendix I.2). What is made follows the known pixels, but less closely than
        it would by the model's own conditional distribution.

        Args:
            images: `(n, height, width, channels)`; what stands at missing pixels does not matter, but it must be in range.
            mask: bool, or numbers 1 where pixels are known and 0 where they are missing: `(height, width)`, one for all channels
                and images, or anything that broadcasts to the shape of the images.
            seed: int or None. Of the noise, as in `sample`. Defaults to None.
            labels: int `(n,)`, of conditional models alone; None draws them. Defaults to None.
            steps: int. Steps of the sampler. Defaults to 50.
            sampler, guidance, spacing: as in `sample`. The sampler defaults to "ddpm".
            batch_size: int. Images computed at a time. Defaults to 256.
            conditions: float `(n, condition_dim)`, of models that are told vectors alone; None draws them. Defaults to None.

        Returns:
            float32 array of the shape of `images`, in [0, 1]; known pixels are those of the images.

        Raises:
            ValueError: images or a mask of another shape or range; what `sample` refuses.

        Example:

        >>> model = gz.build("flow_matching", image_shape=(28, 28, 1), width=8, multipliers=(1,))
        >>> upper_half = np.arange(28)[:, None] < 14
        >>> model.inpaint(images[:4], upper_half, seed=0, steps=5).shape
        (4, 28, 28, 1)
        """
        settings = self.sampling_settings(steps, sampler, guidance, spacing)
        seed, told = self._told_of_images(images, seed, labels, conditions)
        return self._filled(images, mask, seed, told, batch_size, settings)

    def img2img(
        self,
        images,
        strength=0.5,
        seed=None,
        labels=None,
        steps=50,
        sampler="ddim",
        guidance=None,
        spacing=None,
        guidance_interval=None,
        batch_size=256,
        conditions=None,
    ):
        """Make other images that look like given ones (SDEdit, Meng et al. 2022, arXiv:2108.01073, section 3).

        Images get the noise of a time on the way, and the sampler walks from there: what the noise covers is made anew.

        Args:
            images: `(n, height, width, channels)`.
            strength: float in (0, 1]. Share of the steps that are made: near 0 images stay, with 1 next to nothing of them is
                left. Defaults to 0.5.
            seed: int or None. Of the noise, as in `sample`. Defaults to None.
            labels: int `(n,)`, of conditional models alone, what images are to become; None draws them. Defaults to None.
            steps: int. Steps from noise to images, of which the last ones are made. Defaults to 50.
            sampler, guidance, spacing, guidance_interval: as in `sample`. The sampler defaults to "ddim".
            batch_size: int. Images computed at a time. Defaults to 256.
            conditions: float `(n, condition_dim)`, of models that are told vectors alone; None draws them. Defaults to None.

        Returns:
            float32 array of the shape of `images`, in [0, 1].

        Raises:
            ValueError: images of another shape or range, a strength outside (0, 1]; what `sample` refuses.

        Example:

        >>> model = gz.build("flow_matching", image_shape=(28, 28, 1), width=8, multipliers=(1,))
        >>> model.img2img(images[:4], strength=0.4, seed=0, steps=5).shape
        (4, 28, 28, 1)
        """
        seed, told = self._told_of_images(images, seed, labels, conditions)
        images, strength = self.images_of(images), real(above=0, at_most=1, strength=strength)
        settings = self.sampling_settings(steps, sampler, guidance, spacing, guidance_interval)
        made = max(1, round(strength * (settings["times"].shape[0] - 1)))
        settings["times"] = settings["times"][-made - 1 :]
        of_rows = lambda rows: {"begin": images[rows]}  # noqa: E731
        return self._generated(len(images), seed, batch_size, told, settings, of_rows)

    # The probability-flow equation, there and back

    def _flow(self, x, sampler, steps, spacing, told, back):
        sampler = self._get_sampler(sampler)
        if sampler.stochastic:
            raise ValueError(f"{type(sampler).__name__} adds noise on the way, and does not come back; use 'heun' or 'ddim'.")
        steps = self.steps if steps is None else whole(steps=steps)
        spacing = samplers.check_spacing(spacing) or self.spacing or sampler.spacing(self.schedule)
        times = tf.constant(spacings.path(self.schedule, steps, spacing)[:: -1 if back else 1], tf.float32)
        labels = self.told_or_none(ops.shape(x)[0], **told)
        return samplers.solve(sampler, self.denoiser(labels), self.schedule, x, times, randomness.make_key(0))

    @batched
    def encode(self, x, steps=None, sampler="heun", spacing=None, labels=None, conditions=None):
        """Images to the noise that `decode` makes them of, along the probability-flow equation (Song et al. 2021,
        arXiv:2011.13456, section 4.3): `(batch, height, width, channels)`.

        Args:
            x: images.
            steps: int or None. The more, the nearer comes `decode(encode(x))` to x. Defaults to the model's own.
            sampler: name or object of one that adds no noise. Defaults to "heun", which comes nearest.
            spacing: as in `sample`; "trailing" is even in the schedule's position here. Defaults to None.
            labels, conditions: arrays `(batch,)` and `(batch, condition_dim)`, of conditional models alone; without them it is
                the way without a condition. Default to None.

        Raises:
            ValueError: a sampler that adds noise; no labels, of a model that was never trained without.
        """
        told = {"labels": labels, "conditions": conditions}
        return self._flow(2.0 * self.images_of(x) - 1.0, sampler, steps, spacing, told, back=True) / self.prior_scale

    @batched
    def decode(self, z, steps=None, sampler="heun", spacing=None, labels=None, conditions=None):
        """Noise to images in [0, 1] along the probability-flow equation; the way back of `encode`, with its arguments."""
        z, told = ops.convert_to_tensor(z), {"labels": labels, "conditions": conditions}
        return self._to_images(self._flow(self.prior_scale * z, sampler, steps, spacing, told, back=False))

    def between(self, z0, z1, position):
        return codes.spherical(z0, z1, position)
