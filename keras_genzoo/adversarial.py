"""What a generator and a critic play for: objectives, and penalties on the critic.

An objective turns what the critic makes of real and of generated images, each `(batch, units)`, into a loss of the critic and
one of the generator, both to be minimised. What else it needs it says: several units (`features`), a second generated batch
(`pairs`), real images in the generator's loss too (`relative`), weights of its own (a multiplier) or bounded weights of the
critic (`constrain`). So one training step serves all.
"""

import math

import keras
import tensorflow as tf
from keras import ops

from keras_genzoo import divergences
from keras_genzoo.augmentation import augment, check_kinds, per_image
from keras_genzoo.serialization import Part, named

_registered = keras.saving.register_keras_serializable("keras_genzoo")


class Objective(Part):
    """Base: scores, one unit of the critic.

    Class attributes:
        features: whether the critic has several units, features of an image, instead of one score.
        pairs: whether the losses need a second generated batch, `other`.
        relative: whether the generator's loss looks at the critic's outputs for real images; otherwise these are not computed
            in its steps, and `real` is None there.
        probability: whether sigmoid(score) is the critic's probability that an image is real.
    """

    features = False
    pairs = False
    relative = False
    probability = False

    def critic_loss(self, real, fake, other=None):
        """What the critic minimises: a scalar, or one number an image.

        Args:
            real, fake, other: the critic's outputs `(batch, units)` for real images and two generated batches.
        """
        raise NotImplementedError

    def generator_loss(self, real, fake, other=None):
        """What the generator minimises; arguments as `critic_loss`."""
        raise NotImplementedError

    def witness(self, outputs, real, fake, other=None):
        """The function of images whose slope penalties look at, `(n,)`: by default the score itself."""
        return outputs[:, 0]

    def constrain(self, variables):
        """Called with the critic's trainable variables after every step of the critic."""

    def update(self, real, fake):
        """Called with the critic's outputs after every step of the critic, for weights of the objective's own."""


@_registered
class NonSaturating(Objective):
    """Goodfellow et al. 2014 (arXiv:1406.2661), eq. 1, with the generator's loss of section 3 that does not saturate.

    critic:     -log D(x) - log(1 - D(g)),  D = sigmoid(score)
    generator:  -log D(g)
    """

    probability = True

    def critic_loss(self, real, fake, other=None):
        return ops.softplus(-real) + ops.softplus(fake)

    def generator_loss(self, real, fake, other=None):
        return ops.softplus(-fake)


@_registered
class Minimax(NonSaturating):
    """Goodfellow et al. 2014, eq. 1 as it stands: the generator minimises log(1 - D(g)), flat where the critic is sure."""

    def generator_loss(self, real, fake, other=None):
        return -ops.softplus(fake)


@_registered
class LeastSquares(Objective):
    """LSGAN (Mao et al. 2017, arXiv:1611.04076, eq. 2).

    critic:     (D(x) - b)^2 / 2 + (D(g) - a)^2 / 2
    generator:  (D(g) - c)^2 / 2

    Args:
        a, b, c: floats. The critic's targets for generated and for real images, and the generator's. Default to 0, 1, 1;
            with b - c = 1 and b - a = 2, as (-1, 1, 0), the generator minimises the Pearson chi^2 divergence (eq. 8).
    """

    def __init__(self, a=0.0, b=1.0, c=1.0, **kwargs):
        super().__init__(**kwargs)
        self.a, self.b, self.c = a, b, c

    def critic_loss(self, real, fake, other=None):
        return 0.5 * ops.square(real - self.b) + 0.5 * ops.square(fake - self.a)

    def generator_loss(self, real, fake, other=None):
        return 0.5 * ops.square(fake - self.c)


@_registered
class Wasserstein(Objective):
    """WGAN (Arjovsky et al. 2017, arXiv:1701.07875): the critic's mean score of real images less that of generated ones.

    critic:     D(g) - D(x)
    generator:  -D(g)

    Args:
        clip: float or None. Bound on every weight of the critic (algorithm 1); None leaves the slope to a penalty. Defaults
            to None.
    """

    def __init__(self, clip=None, **kwargs):
        super().__init__(**kwargs)
        if clip is not None and not clip > 0:
            raise ValueError(f"clip is {clip!r}, expected None or a number above 0, such as 0.01.")
        self.clip = clip

    def critic_loss(self, real, fake, other=None):
        return fake - real

    def generator_loss(self, real, fake, other=None):
        return -fake

    def constrain(self, variables):
        for variable in variables if self.clip is not None else ():
            variable.assign(ops.clip(variable, -self.clip, self.clip))


@_registered
class Hinge(Objective):
    """Lim and Ye 2017 (arXiv:1705.02894), as in SNGAN (Miyato et al. 2018, arXiv:1802.05957, eq. 16 and 17).

    critic:     max(0, 1 - D(x)) + max(0, 1 + D(g))
    generator:  -D(g)
    """

    def critic_loss(self, real, fake, other=None):
        return ops.relu(1.0 - real) + ops.relu(1.0 + fake)

    def generator_loss(self, real, fake, other=None):
        return -fake


@_registered
class Relativistic(Objective):
    """Relativistic pairing (Jolicoeur-Martineau 2018, arXiv:1807.00734; R3GAN, Huang et al. 2024, arXiv:2501.05441, eq. 2).

    critic:     -log sigmoid(D(x) - D(g)), images taken in pairs
    generator:  -log sigmoid(D(g) - D(x))
    """

    relative = True

    def critic_loss(self, real, fake, other=None):
        return ops.softplus(fake - real)

    def generator_loss(self, real, fake, other=None):
        return ops.softplus(real - fake)


# Of Nowozin et al. 2016, tables 2 and 6: the output activation T of the score and the conjugate f* of it, in stable forms.
DIVERGENCES = {
    "kl": (lambda v: v, lambda v: ops.exp(v - 1.0)),
    "reverse_kl": (lambda v: -ops.exp(-v), lambda v: v - 1.0),  # -1 - log(-T)
    "pearson": (lambda v: v, lambda v: 0.25 * ops.square(v) + v),
    "squared_hellinger": (lambda v: 1.0 - ops.exp(-v), lambda v: ops.exp(v) - 1.0),  # T / (1 - T)
    "jensen_shannon": (lambda v: math.log(2.0) - ops.softplus(-v), lambda v: ops.softplus(v) - math.log(2.0)),  # -log(2 - e^T)
}


@_registered
class FDivergence(Objective):
    """f-GAN (Nowozin et al. 2016, arXiv:1606.00709): a variational lower bound on an f-divergence of the data from the model.

    critic:     -T(D(x)) + f*(T(D(g)))                       (eq. 6)
    generator:  -T(D(g)), or with `saturating` -f*(T(D(g)))  (section 3.2)

    Args:
        divergence: "kl", "reverse_kl", "pearson", "squared_hellinger" or "jensen_shannon".
        saturating: bool. Whether the generator descends the bound itself. Defaults to False.
    """

    def __init__(self, divergence, saturating=False, **kwargs):
        super().__init__(**kwargs)
        if divergence not in DIVERGENCES:
            raise ValueError(f"divergence is {divergence!r}, expected one of {', '.join(DIVERGENCES)}.")
        self.divergence, self.saturating = divergence, saturating

    def critic_loss(self, real, fake, other=None):
        activation, conjugate = DIVERGENCES[self.divergence]
        return conjugate(fake) - activation(real)

    def generator_loss(self, real, fake, other=None):
        activation, conjugate = DIVERGENCES[self.divergence]
        return -conjugate(fake) if self.saturating else -activation(fake)


@_registered
class Fisher(Objective):
    """Fisher GAN (Mroueh and Sercu 2017, arXiv:1705.09675): means apart, second moments held at 1 by a multiplier.

    critic:     -(E D(x) - E D(g)) - lambda (1 - W) + rho / 2 (W - 1)^2,  W = E D(x)^2 / 2 + E D(g)^2 / 2  (eq. 9)
    generator:  -E D(g)

    The multiplier lambda descends: lambda - rho (1 - W) after every step of the critic (algorithm 1).

    Args:
        rho: float above 0. Weight of the quadratic term, and step of the multiplier. Defaults to 1e-6, the paper's.
    """

    def __init__(self, rho=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.rho = rho
        self.multiplier = self.add_weight(
            shape=(), dtype="float32", initializer="zeros", trainable=False, aggregation="mean", name="multiplier"
        )

    def moment(self, real, fake):
        return 0.5 * ops.mean(ops.square(real)) + 0.5 * ops.mean(ops.square(fake))

    def critic_loss(self, real, fake, other=None):
        excess = self.moment(real, fake) - 1.0
        return ops.mean(fake) - ops.mean(real) + self.multiplier * excess + 0.5 * self.rho * ops.square(excess)

    def generator_loss(self, real, fake, other=None):
        return -fake

    def update(self, real, fake):
        self.multiplier.assign(self.multiplier + self.rho * (self.moment(real, fake) - 1.0))


def _distances(x, y):
    """Euclidean distances of rows, with a slope at 0."""
    return ops.sqrt(ops.sum(ops.square(x - y), axis=-1) + 1e-12)


@_registered
class Cramer(Objective):
    """Cramer GAN (Bellemare et al. 2017, arXiv:1705.10743, algorithm 1): the energy distance of the critic's features h.

    generator:  |h(x) - h(g)| + |h(x) - h(g')| - |h(g) - h(g')|
    critic:     -(f(x) - f(g)),  f(y) = |h(y) - h(g')| - |h(y)|, the witness, whose slope a penalty bounds
    """

    features = True
    pairs = True
    relative = True

    def witness(self, outputs, real, fake, other=None):
        # Penalties may ask for real and generated images at once.
        other = ops.tile(other, (ops.shape(outputs)[0] // ops.shape(other)[0], 1))
        return _distances(outputs, other) - _distances(outputs, ops.zeros_like(outputs))

    def critic_loss(self, real, fake, other=None):
        return self.witness(fake, real, fake, other) - self.witness(real, real, fake, other)

    def generator_loss(self, real, fake, other=None):
        return _distances(real, fake) + _distances(real, other) - _distances(fake, other)


@_registered
class MMD(Objective):
    """MMD GAN (Li et al. 2017, arXiv:1705.08584; Binkowski et al. 2018, arXiv:1801.01401): a kernel on learned features h.

    generator:  MMD^2(h(x), h(g)), unbiased
    critic:     -MMD^2(h(x), h(g)), with the slope of the witness f(y) = E k(h(x), h(y)) - E k(h(g), h(y)) under a penalty

    On fixed features (`GAN` with `critic_steps=0`) the witness is the best critic in closed form, evaluated on the batch: that of
    Wasserstein's game under a bound on the derivatives of f, where the kernel is a polyharmonic spline (PolyGAN, Asokan and
    Seelamantula 2023, "Euler-Lagrange analysis of generative adversarial networks").

    Args:
        kernel: "rational_quadratic" or "gaussian", sums over scales as in the papers, "inverse_multiquadratic" or "polyharmonic".
            Defaults to "rational_quadratic".
    """

    features = True
    relative = True

    def __init__(self, kernel="rational_quadratic", **kwargs):
        super().__init__(**kwargs)
        if kernel not in divergences.KERNELS:
            raise ValueError(f"kernel is {kernel!r}, expected one of {', '.join(divergences.KERNELS)}.")
        self.kernel = kernel

    def generator_loss(self, real, fake, other=None):
        return divergences.squared_mmd(real, fake, divergences.KERNELS[self.kernel])

    def critic_loss(self, real, fake, other=None):
        return -self.generator_loss(real, fake)

    def witness(self, outputs, real, fake, other=None):
        kernel = divergences.KERNELS[self.kernel]
        return ops.mean(kernel(outputs, real), axis=1) - ops.mean(kernel(outputs, fake), axis=1)


class Penalty(Part):
    """Base: a term of the critic's loss.

    Args:
        weight: float above 0.
    """

    def __init__(self, weight, **kwargs):
        super().__init__(**kwargs)
        if not weight > 0:
            raise ValueError(f"weight is {weight!r}, expected a number above 0.")
        self.weight = weight

    def __call__(self, score, real, fake, random):
        """The weighted penalty, one number an image or a scalar.

        Args:
            score: callable. Images `(n, height, width, channels)` in [-1, 1] to `(n,)`, the critic's score or the objective's
                witness.
            real, fake: images.
            random: `randomness.Stream`.
        """
        raise NotImplementedError


def slopes(score, images):
    """Squared norms of the gradient of the score in the images, `(n,)`."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(score(images))
    return ops.sum(ops.square(tape.gradient(total, images)), axis=tuple(range(1, len(images.shape))))


@_registered
class SlopePenalty(Penalty):
    """A penalty on the slope of the critic: weight * (|grad D| - target)^2, the square of its excess alone if one-sided.

    | named | at | target | source |
    |---|---|---|---|
    | "gp" | between | 1 | WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028, eq. 3) |
    | "lp" | between, one-sided | 1 | WGAN-LP (Petzka et al. 2018, arXiv:1709.08894, eq. 8) |
    | "dragan" | around | 1 | Kodali et al. 2017 (arXiv:1705.07215, eq. 3) |
    | "r1", "r2" | real, fake | 0 | Mescheder et al. 2018 (arXiv:1801.04406, eq. 9 and 10); their gamma is twice the weight |

    Args:
        weight: float above 0. Defaults to 10.
        at: where the slope is taken: "between" a real and a generated image, at a random place of their line; "around" real
            images, with uniform noise of half the batch's standard deviation on them; at "real" ones or at "fake" ones. Defaults
            to "between".
        target: float. Defaults to 1.
        one_sided: bool. Defaults to False.
    """

    def __init__(self, weight=10.0, at="between", target=1.0, one_sided=False, **kwargs):
        super().__init__(weight, **kwargs)
        if at not in ("between", "around", "real", "fake"):
            raise ValueError(f"at is {at!r}, expected 'between', 'around', 'real' or 'fake'.")
        self.at, self.target, self.one_sided = at, target, one_sided

    def places(self, real, fake, random):
        if self.at == "between":
            return real + per_image(random, real) * (fake - real)
        if self.at == "around":
            return real + 0.5 * ops.std(real) * random.uniform(ops.shape(real))
        return real if self.at == "real" else fake

    def __call__(self, score, real, fake, random):
        squares = slopes(score, self.places(real, fake, random))
        if self.target == 0:
            return self.weight * squares  # without a root, which has no slope at 0
        excess = ops.sqrt(squares + 1e-12) - self.target
        return self.weight * ops.square(ops.relu(excess) if self.one_sided else excess)


@_registered
class AdversarialLipschitz(Penalty):
    """ALP (Terjek 2020, arXiv:1907.05681, eq. 8 and 11): the slope along the direction where the critic changes most.

        weight * max(0, |D(x) - D(x + r)| / |r| - 1)^2

    at real and at generated images, with r of random length in the direction that one step of power iteration finds.

    Args:
        weight: float above 0. Defaults to 100.
        step: float. Length of the step from which the direction is found. Defaults to 10.
        lengths: pair of floats. Range of |r|, uniform. Defaults to (0.1, 10).
    """

    def __init__(self, weight=100.0, step=10.0, lengths=(0.1, 10.0), **kwargs):
        super().__init__(weight, **kwargs)
        self.step, self.lengths = step, tuple(lengths)
        if not 0 < self.lengths[0] <= self.lengths[1]:
            raise ValueError(f"lengths is {lengths!r}, expected two numbers above 0, the least and the most.")

    def __call__(self, score, real, fake, random):
        images = ops.concatenate([real, fake], axis=0)
        axes = tuple(range(1, len(images.shape)))

        def unit(v):
            return v / ops.sqrt(ops.sum(ops.square(v), axis=axes, keepdims=True) + 1e-12)

        here = score(images)
        direction = unit(random.normal(ops.shape(images)))
        with tf.GradientTape() as tape:
            tape.watch(direction)
            change = tf.reduce_sum(tf.abs(tf.stop_gradient(here) - score(images + self.step * direction)))
        low, high = self.lengths
        length = low + (high - low) * per_image(random, images)
        there = score(images + length * tf.stop_gradient(unit(tape.gradient(change, direction))))
        excess = ops.relu(ops.abs(here - there) / ops.reshape(length, (-1,)) - 1.0)
        return self.weight * ops.mean(ops.square(excess))


@_registered
class Consistency(Penalty):
    """CR-GAN (Zhang et al. 2020, arXiv:1910.12027, eq. 3): weight * (D(x) - D(T(x)))^2, T a random augmentation.

    Args:
        weight: float above 0. Defaults to 10.
        kinds: names of augmentations, see `augment`. Defaults to ("translation",).
    """

    def __init__(self, weight=10.0, kinds=("translation",), **kwargs):
        super().__init__(weight, **kwargs)
        self.kinds = check_kinds(kinds)

    def __call__(self, score, real, fake, random):
        return self.weight * ops.square(score(real) - score(augment(real, self.kinds, random)))


@_registered
class LatentGame(divergences.Divergence):
    """A critic tells codes from draws from the prior, and the encoder learns to deceive it (WAE-GAN, Tolstikhin et al. 2018,
    arXiv:1711.01558, algorithm 1; the adversarial autoencoder, Makhzani et al. 2016, arXiv:1511.05644). What it returns is the
    encoder's loss, no distance.

    Args:
        critic: keras.Model. Codes `(batch, latent_dim)` to a score `(batch, 1)`, or to features where the objective takes these.
        objective: name or `Objective` that needs no pairs. Defaults to "non_saturating".
    """

    def __init__(self, critic, objective="non_saturating", **kwargs):
        super().__init__(**kwargs)
        self.critic = critic
        self.objective = named(objective, OBJECTIVES, Objective, "objective")
        units = critic.output_shape[-1]
        if self.objective.pairs or (units != 1 and not self.objective.features):
            raise ValueError(
                f"objective is {type(self.objective).__name__} and the critic of codes puts out {units} units, expected an "
                f"objective without pairs, and 1 unit unless it takes features."
            )

    def outputs(self, z, prior, random, training):
        """The critic's outputs for draws from the prior and for codes."""
        draws = prior.sample(ops.shape(z)[0], random)
        return self.critic(draws, training=training), self.critic(z, training=training)

    def __call__(self, z, prior, random):
        return ops.mean(self.objective.generator_loss(*self.outputs(z, prior, random, False)))


OBJECTIVES = {
    "minimax": Minimax,
    "non_saturating": NonSaturating,
    "least_squares": LeastSquares,
    "wasserstein": Wasserstein,
    "hinge": Hinge,
    "relativistic": Relativistic,
    **{f"f_{name}": (lambda name=name: FDivergence(name)) for name in DIVERGENCES},
    "fisher": Fisher,
    "cramer": Cramer,
    "mmd": MMD,
    "polyharmonic": lambda: MMD("polyharmonic"),
}
PENALTIES = {
    "gp": SlopePenalty,
    "lp": lambda: SlopePenalty(one_sided=True),
    "dragan": lambda: SlopePenalty(at="around"),
    "r1": lambda: SlopePenalty(5.0, at="real", target=0.0),
    "r2": lambda: SlopePenalty(5.0, at="fake", target=0.0),
    "alp": AdversarialLipschitz,
    "consistency": Consistency,
}


def get_objective(objective):
    """An `Objective` by name, or the one given."""
    return named(objective, OBJECTIVES, Objective, "objective")


def get_penalty(penalty):
    """A `Penalty` by name, or the one given."""
    return named(penalty, PENALTIES, Penalty, "penalty")
