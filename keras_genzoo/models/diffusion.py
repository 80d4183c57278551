"""Diffusion models: denoising diffusion, score matching and flow matching as one model."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_genzoo import augmentation, samplers, schedules, weightings
from keras_genzoo.core import images
from keras_genzoo.core.checks import check_output, input_shapes, output_shapes, real, whole, whole_or_none
from keras_genzoo.core.conditions import Conditional
from keras_genzoo.core.model import GenerativeModel
from keras_genzoo.core.serialization import named
from keras_genzoo.core.shares import places
from keras_genzoo.models.diffusion_bound import VariationalBound
from keras_genzoo.models.diffusion_likelihood import SPAN, ProbabilityFlow
from keras_genzoo.models.diffusion_sampling import Sampling


@keras.saving.register_keras_serializable("keras_genzoo")
class Diffusion(Sampling, VariationalBound, ProbabilityFlow, Conditional, GenerativeModel):
    """A network learns to see the image in a noisy one, and a sampler walks from noise to an image by what it sees.

    Of an image x in [-1, 1], a time t and noise epsilon the schedule makes x_t = signal(t) x + noise(t) epsilon, and

        loss = weight(t) |target(x, epsilon, t) - network(x_t, t)|^2   (mean over pixels)

    With `schedule="linear", prediction="epsilon", timesteps=1000` it is DDPM (Ho et al. 2020, arXiv:2006.11239, algorithm 1);
    with "edm" for schedule and prediction and "log_normal" times, EDM (Karras et al. 2022, arXiv:2206.00364); by default, flow
    matching along straight lines (Lipman et al. 2022, arXiv:2210.02747; Liu et al. 2022, arXiv:2209.03003).

    Args:
        network: keras.Model. Images `(batch, height, width, channels)` and times `(batch,)`, of a conditional model one-hot
            labels `(batch, classes)` too, to outputs of the images' shape; see `networks.unet` and `networks.dit`. With vectors
            the third input is `(batch, num_classes + condition_dim + 1)`: label, vector and a 1. One that puts out twice the
            channels learns the variance of the chain's steps too: behind the prediction stands v, see
            `samplers.learned_variance`.
        schedule: name or `schedules.Schedule`. Defaults to "rectified_flow".
        prediction: name or `schedules.Prediction`, what the network puts out. Defaults to "velocity".
        loss_weight: name or `weightings.LossWeight`. Defaults to "simple".
        time_sampling: name or `weightings.TimeSampling`. Defaults to "uniform".
        timesteps: int or None. Number of times that the model is trained at, those of the schedule's chain of so many steps
            (`Schedule.time`); None is every time from `t_min` to `t_max`. With it `log_prob` is the chain's bound. Defaults to
            None.
        sampler: name or `samplers.Sampler`, of `sample` unless told otherwise. Defaults to "heun".
        steps: int. Steps of `sample`, `encode` and `decode` unless told otherwise. Defaults to 15.
        spacing: name of `spacings.SPACINGS`, of the times of these steps unless told otherwise; None is each sampler's own, see
            `Sampler.spacing`. Defaults to None.
        clip: bool. Whether the images seen on the way of sampling are clipped to [-1, 1]. Defaults to False.
        label_dropout: float. Share of the training images whose label and vector are kept from the network, so that guidance
            knows what images without them look like; of conditional models. With 0 there is no guidance, and codes and
            likelihoods need labels. Defaults to 0.1.
        dequantise: bool. Whether training draws noise within the 256 levels, as a likelihood by the probability-flow equation
            supposes: else the best network puts all density on the levels themselves. Defaults to False.
        variance_weight: float of at least 0. Where the variance is learned, what the bound on the likelihood counts in the loss,
            in bits a dimension; no gradient of it reaches the prediction (Nichol and Dhariwal 2021, arXiv:2102.09672, eq. 16).
            Defaults to 0.001.
        augment: None, "mirror" or "told". What training does to images: it exchanges left and right in half of them, as DDPM's of
            CIFAR-10; or it changes them as `augmentation.told` does, for EDM, and tells the network by its last input
            (`networks.unet(augmented=True)`), which is zeros when images are drawn. Defaults to None.
        **kwargs: `num_classes`, `condition_dim`, what the network is told; without them a third input is of one-hot labels;
            `seed`, `ema`, `name`, `dtype`, as in `GenerativeModel`.

    Raises:
        ValueError: a prediction that is undefined at an end of the schedule, as the noise where no signal is left; a time
            sampling of which the schedule has no times; a learned variance without `timesteps`; a network that cannot be told
            of augmentation, and `augment="told"`.

    Example:

    >>> model = gz.build("flow_matching", image_shape=(28, 28, 1), width=8, multipliers=(1, 2))
    >>> model.fit(images, epochs=1, verbose=0)
    >>> model.sample(4, seed=0, sampler="dpm_solver", steps=10).shape
    (4, 28, 28, 1)
    """

    optimizers = {"optimizer": ("network",)}
    averaged = ("network",)
    keyed = marked = True

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
        spacing=None,
        dequantise=False,
        variance_weight=0.001,
        augment=None,
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
        self.spacing = samplers.check_spacing(spacing)
        self.dequantise = dequantise
        self.variance_weight = real(at_least=0, variance_weight=variance_weight)
        self.prediction.check(self.schedule)
        self.time_sampling.check(self.schedule)
        self.learns_variance = self._checked_outputs()
        self.augment = augment
        self._check_condition(self._inputs_without_augmentation())
        self._samplers = {}

    def _check_condition(self, inputs):
        units = inputs[2][0] if len(inputs) == 3 else 0
        if units and not self.condition_units:
            self.num_classes = units
        if units != self.condition_units:
            raise ValueError(
                f"the network is told {units} numbers, expected {self.condition_units} of num_classes={self.num_classes} and "
                f"condition_dim={self.condition_dim}; give the same ones to the network and to the model."
            )

    def _checked_outputs(self):
        """Whether the network puts out a variance behind its prediction."""
        *sides, channels = self.image_shape
        if output_shapes(self.network, "network") != [(*sides, 2 * channels)]:
            check_output(self.network, "network", self.image_shape)
            return False
        if self.timesteps is None:
            raise ValueError(
                f"the network puts out {2 * channels} channels for images of {channels}, as one that learns the variance of a "
                f"chain's steps, and timesteps is None; give it timesteps=1000, or a network of {channels} channels."
            )
        return True

    def _inputs_without_augmentation(self):
        """The shapes of the network's inputs but for the one that is told of augmentation."""
        inputs, known = input_shapes(self.network, "network"), (None, "mirror", "told")
        if self.augment not in known:
            raise ValueError(f"augment is {self.augment!r}, expected None, 'mirror' or 'told'.")
        if self.augment == "told":
            if inputs[-1] != (augmentation.TOLD,) or len(inputs) < 3:
                raise ValueError(
                    f"augment is 'told', and the last input of the network has shape {inputs[-1]}, expected "
                    f"({augmentation.TOLD},) behind images and times; build it with augmented=True."
                )
            inputs = inputs[:-1]
        if [len(each) for each in inputs[1:]] not in ([0], [0, 1]):
            raise ValueError(
                f"the network takes inputs of shapes {inputs}, expected images, times and, of classes or vectors, a condition."
            )
        return inputs

    @property
    def image_shape(self):
        return input_shapes(self.network, "network")[0]

    @property
    def evaluations_per_sample(self):
        """How often `sample` evaluates the network for an image unless told otherwise."""
        return self.sampler.evaluations(self.steps)

    # What the network sees

    def heads(self, x_t, t, labels, training=False, how=None):
        """What the network puts out for noisy images at times t, `(batch,)`: the prediction, and the v of a learned variance or
        None. `how` tells how images were augmented, `(batch, 9)`; None is not."""
        scale = self.prediction.scale(self.schedule, t)
        inputs = [scale[:, None, None, None] * x_t, self.schedule.condition(t), *([] if labels is None else [labels])]
        if self.augment == "told":
            inputs.append(ops.zeros((ops.shape(x_t)[0], augmentation.TOLD)) if how is None else how)
        output = self.network(inputs, training=training)
        return tuple(ops.split(output, 2, axis=-1)) if self.learns_variance else (output, None)

    def outputs(self, x_t, t, labels, training=False):
        """The network's prediction for noisy images at times t, `(batch,)`."""
        return self.heads(x_t, t, labels, training)[0]

    def told_or_none(self, n, labels=None, conditions=None):
        """The condition `(n, condition_units)` of what an inference method was given, zeros for nothing; None of a model that is
        told nothing.

        Raises:
            ValueError: labels or vectors that the model does not take, or one of both alone; nothing, of a model that was never
                trained without.
        """
        if labels is None and conditions is None and self.condition_units:
            self.check_label_free(f"no {'conditions' if self.num_classes is None else 'labels'} were given")
            return tf.zeros((n, self.condition_units))
        if labels is not None and self.num_classes is not None:
            labels = self._checked_classes(n, labels)
        return self.told(labels, conditions)

    def _checked_classes(self, n, labels):
        labels = tf.cast(tf.convert_to_tensor(labels), tf.int32)
        if labels.shape.rank != 1 or (isinstance(n, int) and labels.shape[0] not in (None, n)):
            raise ValueError(f"labels have shape {labels.shape}, expected one class an image, ({n},).")
        known = tf.get_static_value(labels)
        if known is not None and not np.isin(known, np.arange(self.num_classes)).all():
            raise ValueError(f"labels lie between {known.min()} and {known.max()}, expected 0 to {self.num_classes - 1}.")
        return labels

    def check_label_free(self, asked):
        """Raise a ValueError, which begins with what was asked, if the network was never trained without labels."""
        if not self.label_dropout:
            what = "conditions" if self.num_classes is None else "labels"
            raise ValueError(
                f"{asked}, and with label_dropout=0 the network never learned of images without {what}; give {what}, or train a "
                f"model with label_dropout=0.1."
            )

    def denoiser(self, labels=None, guidance=None, clip=False, interval=None):
        """The pair of image and noise in x_t at a scalar time, for samplers, and the v of a learned variance if asked.

        Args:
            labels: one-hot `(batch, classes)`, with vectors the whole condition, or None.
            guidance: scalar or None. Outputs are moved from those without labels towards those with them, by this factor (Ho
                and Salimans 2022, arXiv:2207.12598, eq. 6, where it is 1 + w).
            clip: bool. Whether to clip the image, and to make the noise fit.
            interval: float32 `(2,)` or None. Noise levels, noise over signal, above the first and up to the second of which there
                is guidance (Kynkaanniemi et al. 2024, arXiv:2404.07724); None is at all of them.
        """

        def guided(x, times):
            both = [tf.concat(pair, axis=0) for pair in ((x, x), (times, times), (labels, tf.zeros_like(labels)))]
            output, v = self.heads(*both)
            with_labels, without = tf.split(output, 2)
            output = without + guidance * (with_labels - without)
            return output if v is None else (output, tf.split(v, 2)[0])

        def plain(x, times):
            output, v = self.heads(x, times, labels)
            return output if v is None else (output, v)

        def seen(x, times, t):
            if guidance is None:
                return plain(x, times)
            if interval is None:
                return guided(x, times)
            level = self.schedule.noise(t) / self.schedule.signal(t)
            return tf.cond((level > interval[0]) & (level <= interval[1]), lambda: guided(x, times), lambda: plain(x, times))

        def denoise(x, t, variance=False):
            output = seen(x, tf.fill((tf.shape(x)[0],), t), t)
            output, v = output if self.learns_variance else (output, None)
            image, noise = self.prediction.image_and_noise(self.schedule, x, output, t)
            if clip:
                image = ops.clip(image, -1.0, 1.0)
                noise = (x - self.schedule.signal(t) * image) / self.schedule.noise(t)
            return (image, noise, v) if variance else (image, noise)

        denoise.learns_variance = self.learns_variance
        return denoise

    def call(self, x):
        """What the network sees of images without noise at `t_min`: the images again, if it is trained. Conditional models take
        `(images, labels)`."""
        labels = self.condition_of(x)
        x = 2.0 * self.images_of(x) - 1.0
        with self.averaged_weights():
            image, _ = self.denoiser(labels)(x, tf.constant(max(self.schedule.t_min, 1e-3)))
        return self._to_images(image)

    @staticmethod
    def _to_images(x):
        return ops.clip(0.5 * (x + 1.0), 0.0, 1.0)

    # Training

    def draw_times(self, n, random):
        """n times, the same before they became one of `timesteps`, and the factors of their losses; even over the batch, which
        makes losses vary less than draws one by one (Kingma et al. 2021, arXiv:2107.00630, appendix I.1)."""
        uniform = (random.uniform(()) + places(n)) % 1.0
        drawn, factor = self.time_sampling.draw(uniform, self.schedule)
        if self.timesteps is None:
            return drawn, drawn, factor
        return self.schedule.time(self._index(drawn), self.timesteps), drawn, factor

    def _index(self, drawn):
        """The numbers, from 1, of the `timesteps` that drawn times become, as many positions for each: their quantiles stay."""
        return ops.clip(ops.floor(self.schedule.position(drawn) * self.timesteps) + 1.0, 1, self.timesteps)

    def errors(self, x, labels, random, training):
        """The weighted squared error of every image, the factor of its time, and its time, each `(batch,)`."""
        n, how = ops.shape(x)[0], None
        if training and self.augment is not None:
            x, how = augmentation.told(x, random) if self.augment == "told" else (augmentation.mirror(x, random), None)
        t, drawn, factor = self.draw_times(n, random)
        epsilon = random.normal(ops.shape(x))
        if labels is not None and training:
            labels *= ops.cast(random.uniform((n, 1)) >= self.label_dropout, labels.dtype)
        wide = t[:, None, None, None]
        x_t = self.schedule.signal(wide) * x + self.schedule.noise(wide) * epsilon
        target = self.prediction.target(self.schedule, x, epsilon, wide)
        output, v = self.heads(x_t, t, labels, training, how)
        error = self.weight(t, drawn) * ops.mean(ops.square(target - output), axis=(1, 2, 3))
        if v is not None:
            error += self.variance_weight * self.variance_loss(x, x_t, ops.stop_gradient(output), v, self._index(drawn))
        return error, factor, t

    def weight(self, t, drawn=None):
        """What the squared error of the network's output at times t counts.

        Args:
            t: `(batch,)`.
            drawn: `(batch,)`, the times before they became one of `timesteps`; None is t. Defaults to None.
        """
        weight = self.loss_weight(ops.clip(self.schedule.log_snr(t), -30.0, 30.0))
        if weight is None:
            return ops.ones_like(t)
        # Of the image, whose error is this many times the output's.
        weight *= ops.square(self.schedule.noise(t) / self.prediction.determinant(self.schedule, t))
        if self.loss_weight.of_log_snr:
            drawn = t if drawn is None else drawn
            weight *= ops.abs(self.schedule.log_snr_slope(drawn)) / self.time_sampling.density(drawn, self.schedule)
        return weight

    def _pixels(self, data, random):
        """The images of a batch in [-1, 1]; with `dequantise`, points of the levels' intervals."""
        x = self.images_of(data)
        return SPAN * (images.dequantise(x, random.uniform(ops.shape(x))) - 0.5) if self.dequantise else 2.0 * x - 1.0

    def train_step(self, data):
        x, labels = self._pixels(data, self.random), self.condition_of(data)

        def terms_of():
            error, factor, t = self.errors(x, labels, self.random, training=True)
            self.time_sampling.update(t, ops.stop_gradient(error), self.schedule)
            return {"loss": factor * error}

        return self.track(self.minimize(terms_of, ("network",), self.optimizer))

    def test_step(self, data):
        x, labels = self._pixels(data, self.random_test), self.condition_of(data)

        def terms_of():
            error, factor, _ = self.errors(x, labels, self.random_test, training=False)
            return {"loss": factor * error}

        return self.track(self.measure(terms_of, ("network",)))
