"""Diffusion models: denoising diffusion, score matching and flow matching as one model."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import samplers, schedules, weightings
from keras_genzoo.core import randomness
from keras_genzoo.core.checks import check_output, whole, whole_or_none
from keras_genzoo.core.inference import available_if, batched, inference
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.core.serialization import named
from keras_genzoo.likelihoods import gaussian_level_log_prob


@keras.saving.register_keras_serializable("keras_genzoo")
class Diffusion(GenerativeModel):
    """A network learns to see the image in a noisy one, and a sampler walks from noise to an image by what it sees.

    Of an image x in [-1, 1], a time t and noise epsilon the schedule makes x_t = signal(t) x + noise(t) epsilon, and

        loss = weight(t) |target(x, epsilon, t) - network(x_t, t)|^2   (mean over pixels)

    With `schedule="linear", prediction="epsilon", timesteps=1000` it is DDPM (Ho et al. 2020, arXiv:2006.11239, algorithm 1);
    with "edm" for schedule and prediction and "log_normal" times, EDM (Karras et al. 2022, arXiv:2206.00364); by default, flow
    matching along straight lines (Lipman et al. 2022, arXiv:2210.02747; Liu et al. 2022, arXiv:2209.03003).

    Args:
        network: keras.Model. Images `(batch, height, width, channels)` and times `(batch,)`, of a conditional model one-hot
            labels `(batch, classes)` too, to outputs of the images' shape; see `networks.unet`.
        schedule: name or `schedules.Schedule`. Defaults to "rectified_flow".
        prediction: name or `schedules.Prediction`, what the network puts out. Defaults to "velocity".
        loss_weight: name or `weightings.LossWeight`. Defaults to "simple".
        time_sampling: name or `weightings.TimeSampling`. Defaults to "uniform".
        timesteps: int or None. Number of times that the model knows; None is every time from `t_min` to `t_max`. With it there
            is a `log_prob`. Defaults to None.
        sampler: name or `samplers.Sampler`, of `sample` unless told otherwise. Defaults to "heun".
        steps: int. Steps of `sample`, `encode` and `decode` unless told otherwise. Defaults to 15.
        clip: bool. Whether the images seen on the way of sampling are clipped to [-1, 1]. Defaults to False.
        label_dropout: float. Share of the training images whose label is kept from the network, so that guidance knows what
            images without one look like; of conditional models. Defaults to 0.1.
        **kwargs: `seed`, `ema`, `name`, `dtype`, as in `GenerativeModel`.

    Raises:
        ValueError: a prediction that is undefined at an end of the schedule, as the noise where no signal is left.

    Example:

    >>> model = gz.build("flow_matching", image_shape=(28, 28, 1), width=8, multipliers=(1, 2))
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.sample(4, seed=0, sampler="dpm_solver", steps=10).shape
    (4, 28, 28, 1)
    """

    optimizers = {"optimizer": ("network",)}
    averaged = ("network",)
    keyed = True
    support = "levels"
    log_prob_label = "elbo"

    def __init__(
        self,
        network,
        schedule="rectified_flow",
        prediction="velocity",
        loss_weight="simple",
        time_sampling="uniform",
        timesteps=None,
        sampler="heun",
        steps=15,
        clip=False,
        label_dropout=0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.network = network
        self.schedule = named(schedule, schedules.SCHEDULES, schedules.Schedule, "schedule")
        self.prediction = named(prediction, schedules.PREDICTIONS, schedules.Prediction, "prediction")
        self.loss_weight = named(loss_weight, weightings.LOSS_WEIGHTS, weightings.LossWeight, "loss_weight")
        self.time_sampling = named(time_sampling, weightings.TIME_SAMPLINGS, weightings.TimeSampling, "time_sampling")
        self.sampler = named(sampler, samplers.SAMPLERS, samplers.Sampler, "sampler")
        if not 0 <= label_dropout < 1:
            raise ValueError(f"label_dropout is {label_dropout}, expected a share of at least 0 and below 1.")
        self.timesteps = whole_or_none(2, timesteps=timesteps)
        self.steps = whole(steps=steps)
        self.clip = clip
        self.label_dropout = label_dropout
        self.prediction.check(self.schedule)
        check_output(network, "network", self.image_shape)
        self.num_classes = network.inputs[2].shape[1] if len(network.inputs) == 3 else None
        self._samplers = {}

    @property
    def image_shape(self):
        return tuple(self.network.inputs[0].shape[1:])

    @property
    def conditional(self):
        return self.num_classes is not None

    @property
    def evaluations_per_sample(self):
        """How often `sample` evaluates the network for an image unless told otherwise."""
        return self.sampler.evaluations(self.steps)

    # What the network sees

    def outputs(self, x_t, t, labels, training=False):
        """The network's output for noisy images at times t, `(batch,)`."""
        scale = self.prediction.scale(self.schedule, t)
        inputs = [scale[:, None, None, None] * x_t, self.schedule.condition(t)]
        return self.network(inputs if labels is None else [*inputs, labels], training=training)

    def denoiser(self, labels=None, guidance=None, clip=False):
        """The pair of image and noise in x_t at a scalar time, for samplers.

        Args:
            labels: one-hot `(batch, classes)` or None.
            guidance: scalar or None. Outputs are moved from those without labels towards those with them, by this factor (Ho
                and Salimans 2022, arXiv:2207.12598, eq. 6, where it is 1 + w).
            clip: bool. Whether to clip the image, and to make the noise fit.
        """

        def denoise(x, t):
            times = tf.fill((tf.shape(x)[0],), t)
            if guidance is None:
                output = self.outputs(x, times, labels)
            else:
                both = [tf.concat(pair, axis=0) for pair in ((x, x), (times, times), (labels, tf.zeros_like(labels)))]
                with_labels, without = tf.split(self.outputs(*both), 2)
                output = without + guidance * (with_labels - without)
            image, noise = self.prediction.image_and_noise(self.schedule, x, output, t)
            if clip:
                image = ops.clip(image, -1.0, 1.0)
                noise = (x - self.schedule.signal(t) * image) / self.schedule.noise(t)
            return image, noise

        return denoise

    def call(self, x):
        """What the network sees of images without noise at `t_min`: the images again, if it is trained."""
        labels = self.one_hot_labels_of(x)
        x = 2.0 * self.images_of(x) - 1.0
        with self.averaged_weights():
            image, _ = self.denoiser(labels)(x, tf.constant(max(self.schedule.t_min, 1e-3)))
        return self._to_images(image)

    @staticmethod
    def _to_images(x):
        return ops.clip(0.5 * (x + 1.0), 0.0, 1.0)

    # Training

    def draw_times(self, n, random):
        """n times and the factors of their losses; even over the batch, which makes losses vary less than draws one by one
        (Kingma et al. 2021, arXiv:2107.00630, appendix I.1)."""
        uniform = (random.uniform(()) + ops.arange(n, dtype="float32") / ops.cast(n, "float32")) % 1.0
        t, factor = self.time_sampling.draw(uniform, self.schedule)
        if self.timesteps is not None:
            index = ops.clip(ops.floor(self.schedule.position(t) * self.timesteps) + 1.0, 1, self.timesteps)
            t = index * (self.schedule.t_max / self.timesteps)
        return t, factor

    def errors(self, x, labels, random, training):
        """The weighted squared error of every image, the factor of its time, and its time, each `(batch,)`."""
        n = ops.shape(x)[0]
        t, factor = self.draw_times(n, random)
        epsilon = random.normal(ops.shape(x))
        if labels is not None and training:
            labels *= ops.cast(random.uniform((n, 1)) >= self.label_dropout, labels.dtype)
        wide = t[:, None, None, None]
        x_t = self.schedule.signal(wide) * x + self.schedule.noise(wide) * epsilon
        target = self.prediction.target(self.schedule, x, epsilon, wide)
        error = ops.mean(ops.square(target - self.outputs(x_t, t, labels, training)), axis=(1, 2, 3))
        return self.weight(t) * error, factor, t

    def weight(self, t):
        """What the squared error of the network's output at times t counts."""
        weight = self.loss_weight(ops.clip(self.schedule.log_snr(t), -30.0, 30.0))
        if weight is None:
            return ops.ones_like(t)
        # Of the image, whose error is this many times the output's.
        return weight * ops.square(self.schedule.noise(t) / self.prediction.determinant(self.schedule, t))

    def train_step(self, data):
        x, labels = 2.0 * self.images_of(data) - 1.0, self.one_hot_labels_of(data)

        def terms_of():
            error, factor, t = self.errors(x, labels, self.random, training=True)
            self.time_sampling.update(t, ops.stop_gradient(error), self.schedule)
            return {"loss": factor * error}

        return self.track(self.minimize(terms_of, ("network",), self.optimizer))

    def test_step(self, data):
        x, labels = 2.0 * self.images_of(data) - 1.0, self.one_hot_labels_of(data)

        def terms_of():
            error, factor, _ = self.errors(x, labels, self.random_test, training=False)
            return {"loss": factor * error}

        return self.track(self.measure(terms_of, ("network",)))

    # Sampling

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

    def sample(self, n, seed=None, batch_size=256, labels=None, averaged=True, steps=None, sampler=None, guidance=None):
        """Draw images.

        Args:
            n, seed, batch_size, labels, averaged: as in `GenerativeModel.sample`.
            steps: int or None. Steps of the sampler; None is the model's own number. The network is evaluated
                `sampler.evaluations(steps)` times.
            sampler: name of `samplers.SAMPLERS`, a `Sampler`, or None, the model's own.
            guidance: float or None. Above 1, images are more typical of their labels and less varied; of conditional models.
                Defaults to None, no guidance.

        Returns:
            float32 array `(n, height, width, channels)` in [0, 1].

        Raises:
            ValueError: an unknown sampler, steps below 1, guidance of a model without classes.
        """
        settings = self.sampling_settings(steps, sampler, guidance)
        return super().sample(n, seed, batch_size, labels, averaged, **settings)

    def sampling_settings(self, steps=None, sampler=None, guidance=None):
        """Arguments of `generate` for those of `sample`: what changes from call to call as tensors."""
        if guidance is not None and not self.conditional:
            raise ValueError(f"guidance is {guidance}, but {type(self).__name__} {self.name!r} has no classes to guide to.")
        sampler = self._get_sampler(sampler)
        times = sampler.times(self.schedule, self.steps if steps is None else whole(steps=steps))
        settings = {"times": tf.constant(times, tf.float32), "sampler": sampler}
        return settings if guidance is None else {**settings, "guidance": tf.constant(guidance, tf.float32)}

    def draw_latents(self, n, random):
        """n times standard normal noise of the images' shape."""
        return random.normal((n, *self.image_shape))

    @inference
    def generate(self, latents, **settings):
        return self._to_images(self.walk(latents, **settings))

    def walk(self, latents, key=None, times=None, sampler=None, guidance=None):
        """From noise, or the pair of noise and one-hot labels, to what the network was trained on."""
        z, labels = latents if isinstance(latents, tuple) else (latents, None)
        sampler = self.sampler if sampler is None else sampler
        times = tf.constant(sampler.times(self.schedule, self.steps), tf.float32) if times is None else times
        key = randomness.make_key(0) if key is None else key
        denoise = self.denoiser(labels, guidance, self.clip)
        return samplers.solve(sampler, denoise, self.schedule, self.prior_scale * z, times, key)

    # The probability-flow equation, there and back

    def _flow(self, x, times, sampler):
        sampler = self._get_sampler(sampler)
        if sampler.stochastic:
            raise ValueError(f"{type(sampler).__name__} adds noise on the way, and does not come back; use 'heun' or 'ddim'.")
        labels = tf.zeros((tf.shape(x)[0], self.num_classes)) if self.conditional else None
        times = tf.constant(times, tf.float32)
        return samplers.solve(sampler, self.denoiser(labels), self.schedule, x, times, randomness.make_key(0))

    @batched
    def encode(self, x, steps=None, sampler="heun"):
        """Images to the noise that `decode` makes them of, along the probability-flow equation (Song et al. 2021,
        arXiv:2011.13456, section 4.3): `(batch, height, width, channels)`. Of conditional models without a label.

        Args:
            x: images.
            steps: int or None. The more, the nearer comes `decode(encode(x))` to x. Defaults to the model's own.
            sampler: name or object of one that adds no noise. Defaults to "heun", which comes nearest.
        """
        times = self.schedule.grid(1 + (self.steps if steps is None else whole(steps=steps)))[::-1]
        return self._flow(2.0 * self.images_of(x) - 1.0, times, sampler) / self.prior_scale

    @batched
    def decode(self, z, steps=None, sampler="heun"):
        """Noise to images in [0, 1] along the probability-flow equation; the way back of `encode`."""
        times = self.schedule.grid(1 + (self.steps if steps is None else whole(steps=steps)))
        return self._to_images(self._flow(self.prior_scale * ops.convert_to_tensor(z), times, sampler))

    # Likelihood

    def bound_terms(self, x, index, key, variance="large", levels=True):
        """One of the terms of the variational bound (Ho et al. 2020, eq. 5), in nats an image.

        Args:
            x: float32 images in [-1, 1], `(batch, height, width, channels)`.
            index: int32 `(batch,)`, 1 to `timesteps`: the step from time index / timesteps to the one before.
            key: of the noise.
            variance: "large" or "small", of the steps, as in `samplers.Ancestral`.
            levels: bool. Whether the last step ends in the 256 levels (eq. 13), or in a density.

        Returns:
            KL(q(x_s | x_t, x) || p(x_s | x_t)), and for index 1 -log p(x | x_1), `(batch,)`.
        """
        unit = self.schedule.t_max / self.timesteps
        t = unit * ops.cast(index, "float32")
        wide = t[:, None, None, None]
        before = wide - unit
        x_t = self.schedule.signal(wide) * x + self.schedule.noise(wide) * randomness.normal(key, ops.shape(x))
        labels = ops.zeros((ops.shape(x)[0], self.num_classes)) if self.conditional else None
        image, _ = self.prediction.image_and_noise(self.schedule, x_t, self.outputs(x_t, t, labels), wide)
        first = wide < 1.5 * unit
        before = ops.where(first, 0.0, before)
        _, small, large = samplers.posterior(self.schedule, x_t, image, wide, before)
        mean_factor = self.schedule.signal(before) * large / ops.square(self.schedule.noise(wide))
        chosen = ops.where(first, large, large if variance == "large" else small)
        square = ops.square(mean_factor * (x - image)) / chosen
        ratio = ops.where(first, 1.0, small / chosen)
        kl = 0.5 * (square + ratio - 1.0 - ops.log(ratio))
        if levels:
            last = -gaussian_level_log_prob(0.5 * (x + 1.0), 0.5 * (image + 1.0), 0.5 * ops.sqrt(chosen))
        else:
            last = 0.5 * (square + ops.log(2 * math.pi * chosen))
        return ops.sum(ops.where(first, last, kl), axis=(1, 2, 3))

    def prior_term(self, x):
        """KL(q(x_T | x) || p(x_T)) in nats, `(batch,)`."""
        t = ops.convert_to_tensor(np.float32(self.schedule.t_max))
        total = ops.square(self.prior_scale)
        ratio = ops.square(self.schedule.noise(t)) / total
        square = ops.square(self.schedule.signal(t) * x) / total
        return 0.5 * ops.sum(square + ratio - 1.0 - ops.log(ratio), axis=(1, 2, 3))

    @available_if(lambda self: self.timesteps is not None, "its time is continuous; build it with timesteps=1000")
    def variational_bound(self, x, samples=64, seed=0, variance="large", levels=True):
        """The lower bound on log p(x) that the chain of `timesteps` steps gives (Ho et al. 2020, eq. 5).

        Args:
            x: images.
            samples: int or None. Number of steps of the chain that are drawn for an image, evenly, beside the last; the sum over
                all steps is estimated from these without bias. None takes every step once.
            seed: int. Of the draws and the noise. Defaults to 0.
            variance: "large" or "small", as in `samplers.Ancestral`. Defaults to "large".
            levels: bool. Whether the last step ends in the 256 levels, or in a density of images in [-1, 1]. Defaults to True.

        Returns:
            Nats an image, and the standard error that the choice of steps gives it (as if they were drawn one by one, so rather
            too large; of all steps 0, of a single one not known), both float32 `(batch,)`. The noise of each step is drawn once,
            which is not counted: over images it averages out.

        Raises:
            ValueError: `samples` is below 1.
        """
        samples = None if samples is None else whole(samples=samples)
        with self.averaged_weights():
            x = 2.0 * self.images_of(x) - 1.0
            n, rest = ops.shape(x)[0], self.timesteps - 1
            count = rest if samples is None else samples
            start = randomness.uniform(randomness.make_key(seed, 0), (n,))

            def add(draw, total, squares):
                if samples is None:
                    index = tf.fill((n,), draw + 2)
                else:
                    position = (tf.cast(draw, tf.float32) + start) / count
                    index = tf.minimum(tf.cast(position * rest, tf.int32) + 2, self.timesteps)
                term = rest * self.bound_terms(x, index, randomness.make_key(seed, 1, draw), variance, levels)
                return draw + 1, total + term, squares + tf.square(term)

            zeros = tf.zeros((n,))
            _, total, squares = tf.while_loop(lambda draw, *_: draw < count, add, (0, zeros, zeros))
            mean = total / count
            variance_of_terms = tf.maximum(squares / count - tf.square(mean), 0.0)
            error = zeros if samples is None else tf.sqrt(variance_of_terms / count) if count > 1 else tf.fill((n,), math.nan)
            # The last step weighs by far the most, and is always counted.
            last = self.bound_terms(x, tf.ones((n,), tf.int32), randomness.make_key(seed, 2), variance, levels)
            return -(mean + last + self.prior_term(x)), error

    @available_if(lambda self: self.timesteps is not None, "its time is continuous; build it with timesteps=1000")
    def log_prob(self, x, samples=64, seed=0):
        """An unbiased estimate of the variational lower bound on log P(x) of the 256 levels, see `variational_bound`.

        Args:
            x: images.
            samples: int or None. Steps of the chain that are drawn for an image; None is all. Defaults to 64.
            seed: int. Defaults to 0.

        Returns:
            Nats per image, float32 `(batch,)`.
        """
        return self.variational_bound(x, samples, seed)[0]
