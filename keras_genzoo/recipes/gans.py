"""Recipes of generative adversarial networks."""

import dataclasses

import keras

from keras_genzoo import adversarial, networks
from keras_genzoo.models import GAN
from keras_genzoo.recipes import sizes
from keras_genzoo.recipes.building import adam
from keras_genzoo.recipes.common import CONDITIONS, HALVINGS, general, optimizer
from keras_genzoo.recipes.hyperparameters import Hyperparameter, arguments
from keras_genzoo.recipes.registry import recipe, variant
from keras_genzoo.recipes.space import Choice, Float, Int

AUGMENTS = ((), ("translation",), ("color", "translation", "cutout"))
WEIGHTS = Float(0.02, 50.0, when={"penalties": (("r1",), ("gp",), ("r1", "r2"))}, start=5.0)


def _penalty(penalty, weight):
    if not isinstance(penalty, str):
        return penalty
    penalty = adversarial.get_penalty(penalty)
    if weight is not None:
        penalty.weight = weight
    return penalty


@recipe("gan", jit_compile=False)
def gan(
    image_shape,
    total_steps,
    latent_dim=Hyperparameter(64, Int(16, 256), "Dimensions of the noise.", sizes.dimensions),
    size=arguments(networks.conv_encoder, width=Hyperparameter(16, Choice((16, 32, 64))), depth=HALVINGS),
    kinds=arguments(networks.generator, "kind", kind="skip"),
    told=CONDITIONS,
    hidden=arguments(
        networks.conv_encoder, hidden=Hyperparameter(256, Choice((0, 256), when={"kind": ("convolutional", "skip")}))
    ),
    generator_settings=arguments(networks.conv_encoder, "normalization", prefix="generator_"),
    critic_settings=arguments(networks.conv_encoder, prefix="critic_", normalization=None),
    kernels=arguments(networks.critic, "spectral"),
    clip=Hyperparameter(None, meaning='Bound of the critic\'s weights, of the objective "wasserstein" alone; None is its own.'),
    penalty_weight=Hyperparameter(
        None,
        WEIGHTS,
        "Weight of the penalties that are given by name, None that of each one's paper; objects have their own.",
    ),
    game=arguments(
        GAN,
        "objective",
        penalties=("r1",),
        critic_steps=Hyperparameter(1, Int(1, 5, "linear")),
        augment=Hyperparameter((), Choice(AUGMENTS)),
        augment_chance=Hyperparameter(1.0, Choice((1.0, "adaptive"), when={"augment": AUGMENTS[1:]})),
    ),
    adam_settings=optimizer(),
    critic_optimizer=optimizer(prefix="critic_"),
    betas=arguments(
        adam,
        beta_1=Hyperparameter(0.0, Choice((0.0, 0.5))),
        beta_2=Hyperparameter(0.99, Choice((0.9, 0.99, 0.999))),
    ),
    averages=general(0.999, Choice((None, 0.99, 0.999))),
):
    """GAN with the non-saturating loss, the R1 penalty, a generator of output skips and averages of its weights.

    With several `critic_steps`, load the data by `gz.data.load(..., **model.data_needs)`: batches then hold real images for each
    step of the critic. Other batches are used again in each step.

    With `critic_steps=0`, for objectives of features without penalties or classes, the features are the pixels, and what is of
    the critic's network and optimizer has no effect.
    """
    objective, penalties, critic_steps = (game[name] for name in ("objective", "penalties", "critic_steps"))
    if clip is not None and objective != "wasserstein":
        raise ValueError(f"clip is {clip}, which the objective 'wasserstein' takes, and objective is {objective!r}.")
    if not critic_steps and (given := [name for name, number in told.items() if number]):
        name = given[0]
        raise ValueError(f"{name} is {told[name]} and critic_steps is 0: a critic in closed form is told nothing; leave it out.")
    objective = adversarial.get_objective(objective) if clip is None else adversarial.Wasserstein(clip)
    penalties = (penalties,) if isinstance(penalties, (str, adversarial.Penalty)) else penalties or ()
    penalties = [_penalty(each, penalty_weight) for each in penalties]
    shared = {**size, **kinds, **told, **(hidden if kinds["kind"] in ("convolutional", "skip") else {})}
    generator = networks.generator(latent_dim, image_shape, **generator_settings, **shared)
    units = 64 if objective.features else 1
    if critic_steps:
        critic = networks.critic(image_shape, units, **critic_settings, **kernels, **shared)
    else:
        critic = keras.Sequential([keras.Input(image_shape, name="image"), keras.layers.Flatten(dtype="float32")], name="critic")
    model = GAN(generator, critic, **{**game, "objective": objective, "penalties": penalties}, **told, **averages)
    # The critic's optimizer counts its own steps.
    critic_total = None if total_steps is None else total_steps * critic_steps
    optimizers = {"optimizer": adam(total_steps, **adam_settings, **betas)}
    if critic_steps:
        optimizers["critic_optimizer"] = adam(critic_total, **critic_optimizer, **betas)
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
    search={"penalty_weight": dataclasses.replace(WEIGHTS, start=10.0)},
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
    "relativistic_gan",
    "gan",
    "Relativistic pairing with the R1 and R2 penalties, the loss of R3GAN, and the networks of `gan`.",
    **PLAIN,
    objective="relativistic",
    penalties=("r1", "r2"),
    penalty_weight=0.5,
)
variant("conditional_gan", "gan", "GAN of ten classes, with a projection critic.", num_classes=10)
