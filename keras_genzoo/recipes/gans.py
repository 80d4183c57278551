"""Recipes of generative adversarial networks."""

import keras

from keras_genzoo import adversarial, networks
from keras_genzoo.models import GAN
from keras_genzoo.recipes.registry import adam, recipe, variant
from keras_genzoo.recipes.space import EMA, LEARNING_RATE, Choice, Float, Int

SEARCH = {
    "latent_dim": Int(16, 256),
    "width": Choice((16, 32, 64)),
    "hidden": Choice((0, 256), when={"kind": ("convolutional", "skip")}),
    "penalty_weight": Float(0.02, 50.0, when={"penalties": (("r1",), ("gp",), ("r1", "r2"))}),
    "critic_steps": Int(1, 5, "linear"),
    "augment": Choice(((), ("translation",), ("color", "translation", "cutout"))),
    "learning_rate": LEARNING_RATE,
    "critic_learning_rate": LEARNING_RATE,
    "beta_1": Choice((0.0, 0.5)),
    "beta_2": Choice((0.9, 0.99, 0.999)),
    "ema": EMA,
}


def _penalty(penalty, weight):
    if isinstance(penalty, str):
        penalty = adversarial.get_penalty(penalty)
        penalty.weight = weight
    return penalty


@recipe("gan", SEARCH, jit_compile=False)
def gan(
    image_shape,
    total_steps,
    latent_dim=64,
    width=16,
    depth=2,
    kind="skip",
    hidden=256,
    generator_normalization="batch",
    critic_normalization=None,
    spectral=False,
    objective="non_saturating",
    clip=None,
    penalties=("r1",),
    penalty_weight=5.0,
    critic_steps=1,
    augment=(),
    num_classes=None,
    learning_rate=2e-3,
    critic_learning_rate=2e-3,
    beta_1=0.0,
    beta_2=0.99,
    ema=0.999,
    seed=None,
):
    """GAN with the non-saturating loss, the R1 penalty, a generator of output skips and averages of its weights.

    `penalty_weight` is that of penalties given by name; objects have their own. `clip` is of the objective "wasserstein" alone.
    With `critic_steps=0`, for objectives of features without penalties or classes, the features are the pixels, and what is of
    the critic's network and optimizer has no effect.
    """
    if clip is not None and objective != "wasserstein":
        raise ValueError(f"clip is {clip}, which the objective 'wasserstein' takes, and objective is {objective!r}.")
    if num_classes and not critic_steps:
        raise ValueError(f"num_classes is {num_classes} and critic_steps is 0: a critic in closed form knows of no classes.")
    objective = adversarial.get_objective(objective) if clip is None else adversarial.Wasserstein(clip)
    penalties = (penalties,) if isinstance(penalties, (str, adversarial.Penalty)) else penalties or ()
    penalties = [_penalty(each, penalty_weight) for each in penalties]
    shared = dict(width=width, depth=depth, num_classes=num_classes, kind=kind)
    if kind in ("convolutional", "skip"):
        shared["hidden"] = hidden
    generator = networks.generator(latent_dim, image_shape, normalization=generator_normalization, **shared)
    units = 64 if objective.features else 1
    if critic_steps:
        critic = networks.critic(image_shape, units, normalization=critic_normalization, spectral=spectral, **shared)
    else:
        critic = keras.Sequential([keras.Input(image_shape, name="image"), keras.layers.Flatten(dtype="float32")], name="critic")
    model = GAN(generator, critic, objective, penalties, critic_steps, augment, ema=ema, seed=seed)
    betas = dict(beta_1=beta_1, beta_2=beta_2)
    # The critic's optimizer counts its own steps.
    critic_total = None if total_steps is None else total_steps * critic_steps
    optimizers = {"optimizer": adam(learning_rate, total_steps, **betas)}
    if critic_steps:
        optimizers["critic_optimizer"] = adam(critic_learning_rate, critic_total, **betas)
    return model, optimizers


# What the variants below were measured with; the networks and rates of `gan` were tried with its own penalty alone.
PLAIN = {"kind": "convolutional", "width": 32, "learning_rate": 1e-3, "critic_learning_rate": 1e-3}

variant(
    "dcgan",
    "gan",
    "DCGAN: the non-saturating loss, batch normalisation in both networks, no penalty.",
    **PLAIN,
    hidden=0,
    penalties=(),
    critic_normalization="batch",
    beta_1=0.5,
)
variant("lsgan", "dcgan", "LSGAN: least squares.", objective="least_squares")
variant(
    "wgan",
    "gan",
    "WGAN: the Wasserstein distance, the critic's weights clipped, five steps of the critic.",
    **PLAIN,
    hidden=0,
    objective="wasserstein",
    penalties=(),
    search={"clip": Float(0.003, 0.1)},
    clip=0.03,
    critic_normalization="batch",
    critic_steps=5,
)
variant(
    "wgan_gp",
    "gan",
    "WGAN-GP: the Wasserstein distance with the gradient penalty, five steps of the critic.",
    **PLAIN,
    objective="wasserstein",
    penalties=("gp",),
    penalty_weight=10.0,
    critic_steps=5,
    beta_2=0.9,
)
variant(
    "sngan_hinge",
    "gan",
    "SNGAN: the hinge loss, kernels of the critic of spectral norm 1.",
    **PLAIN,
    objective="hinge",
    penalties=(),
    spectral=True,
    beta_2=0.9,
)
variant(
    "r3gan",
    "gan",
    "R3GAN: relativistic pairing with the R1 and R2 penalties.",
    **PLAIN,
    objective="relativistic",
    penalties=("r1", "r2"),
    penalty_weight=0.5,
)
variant("conditional_gan", "gan", "GAN of ten classes, with a projection critic.", num_classes=10)
