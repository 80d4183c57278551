"""Objectives: what a generator and a critic play for.

An objective turns what the critic makes of real and of generated images, each `(batch, units)`, into a loss of the critic and
one of the generator, both to be minimised. What else it needs it says: several units (`features`), a second generated batch
(`pairs`), real images in the generator's loss too (`relative`), weights of its own (a multiplier) or bounded weights of the
critic (`constrain`). So one training step serves all.
"""

import math

import keras
from keras import ops

from keras_genzoo import divergences
from keras_genzoo.core.serialization import Part, named

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
        """W, of the scores of all replicas: its square in eq. 9 is no sum over them."""
        real, fake = divergences.gather(real), divergences.gather(fake)
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

    On several replicas the features are those of the whole batch.

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
        return divergences.squared_mmd(divergences.gather(real), divergences.gather(fake), divergences.KERNELS[self.kernel])

    def critic_loss(self, real, fake, other=None):
        return -self.generator_loss(real, fake)

    def witness(self, outputs, real, fake, other=None):
        kernel, real, fake = divergences.KERNELS[self.kernel], divergences.gather(real), divergences.gather(fake)
        return ops.mean(kernel(outputs, real), axis=1) - ops.mean(kernel(outputs, fake), axis=1)


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


def get_objective(objective):
    """An `Objective` by name, or the one given."""
    return named(objective, OBJECTIVES, Objective, "objective")
