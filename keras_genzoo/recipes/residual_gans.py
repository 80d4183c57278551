"""Recipes of GANs of residual networks: SNGAN, WGAN-GP and BigGAN as published for CIFAR-10, and R3GAN."""

from keras_genzoo import adversarial, networks
from keras_genzoo.core.ramps import HalfLife, Ramp, RampedAdam
from keras_genzoo.models import GAN
from keras_genzoo.recipes import sizes
from keras_genzoo.recipes.building import adam
from keras_genzoo.recipes.common import CONDITIONS, RATE, general, optimizer
from keras_genzoo.recipes.gans import AUGMENTS
from keras_genzoo.recipes.hyperparameters import Hyperparameter, arguments
from keras_genzoo.recipes.registry import recipe, variant
from keras_genzoo.recipes.space import Choice, Float, Int

WIDTH = Hyperparameter(32, Choice((16, 32, 64)))
LATENT = Hyperparameter(64, Int(16, 256), "Dimensions of the noise.", sizes.dimensions)
CHANCES = Choice((1.0, "adaptive"), when={"augment": AUGMENTS[1:]})


@recipe("gan", jit_compile=False)
def sngan(
    image_shape,
    total_steps,
    latent_dim=LATENT,
    told=CONDITIONS,
    deviation=arguments(networks.resnet_generator, "deviation"),
    generator_settings=arguments(
        networks.resnet_generator,
        "normalization",
        "spectral",
        prefix="generator_",
        width=WIDTH,
        depth=Hyperparameter(3, sized=sizes.halvings_to_four),
    ),
    critic_settings=arguments(
        networks.resnet_critic,
        "blocks",
        "spectral",
        "pooling",
        "head_bias",
        prefix="critic_",
        width=WIDTH,
        depth=Hyperparameter(2, sized=sizes.halvings),
    ),
    game=arguments(
        GAN,
        objective="hinge",
        penalties=(),
        critic_steps=Hyperparameter(1, Int(1, 5, "linear")),
        augment=Hyperparameter((), Choice(AUGMENTS)),
        augment_chance=Hyperparameter(1.0, CHANCES),
    ),
    adam_settings=optimizer(1e-3),
    critic_optimizer=optimizer(1e-3, prefix="critic_"),
    shared_settings=arguments(adam, "decay", beta_1=0.0, beta_2=Hyperparameter(0.9, Choice((0.9, 0.99, 0.999)))),
    averages=general(0.999, Choice((None, 0.99, 0.999, 0.9999))),
):
    """SNGAN: residual networks, the hinge loss, all kernels of the critic of spectral norm 1.

    With several `critic_steps`, load the data by `gz.data.load(..., **model.data_needs)`: batches then hold real images for each
    step of the critic.
    """
    objective, critic_steps = adversarial.get_objective(game["objective"]), game["critic_steps"]
    shared = {**told, **deviation}
    generator = networks.resnet_generator(latent_dim, image_shape, **generator_settings, **shared)
    critic = networks.resnet_critic(image_shape, 64 if objective.features else 1, **critic_settings, **shared)
    model = GAN(generator, critic, **{**game, "objective": objective}, **told, **averages)
    critic_total = None if total_steps is None else total_steps * critic_steps
    return model, {
        "optimizer": adam(total_steps, **adam_settings, **shared_settings),
        "critic_optimizer": adam(critic_total, **critic_optimizer, **shared_settings),
    }


variant(
    "biggan",
    "sngan",
    "BigGAN of ten classes: batch normalisation by class, a projection critic, spectral norms in both networks.",
    num_classes=10,
    deviation=0.02,
    generator_spectral=True,
    beta_2=0.999,
)
# Of a published size nothing of the networks is searched.
FIXED = dict.fromkeys(("latent_dim", "generator_width", "critic_width", "critic_steps", "augment", "augment_chance"))
RATES = {"learning_rate": 2e-4, "critic_learning_rate": 2e-4}
variant(
    "sngan/cifar10",
    "sngan",
    "SNGAN as published for CIFAR-10, unconditional: 4.3 million parameters and 1.1 million, five steps of the critic.",
    search=FIXED,
    **RATES,
    latent_dim=128,
    generator_width=256,
    critic_width=128,
    critic_steps=5,
    decay="linear",
    ema=None,
)
variant(
    "wgan_gp/cifar10",
    "sngan/cifar10",
    "WGAN-GP as published for CIFAR-10, unconditional: residual networks of 1.2 and 1.1 million parameters.",
    search=FIXED,
    generator_width=128,
    critic_spectral=False,
    critic_pooling="mean",
    objective="wasserstein",
    penalties=("gp",),
)
variant(
    "biggan/cifar10",
    "biggan",
    "BigGAN as its authors' script has it for CIFAR-10: 4.3 million parameters and 4.2 million, four steps of the critic.",
    search=FIXED,
    **RATES,
    latent_dim=128,
    generator_width=256,
    critic_width=256,
    critic_head_bias=True,
    critic_steps=4,
    decay=None,
    ema=0.9999,
)


@recipe("gan", jit_compile=False)
def r3gan(
    image_shape,
    total_steps,
    latent_dim=Hyperparameter(64, Int(16, 256), "Dimensions of the noise."),
    network=arguments(
        networks.r3gan_generator,
        "num_classes",
        "expansion",
        "group",
        width=WIDTH,
        depth=Hyperparameter(3, sized=sizes.halvings_to_four),
        blocks=Hyperparameter(1, Int(1, 2, "linear")),
    ),
    augment=("blit", "geometric", ("color_affine", 0.5), "cutout"),
    augment_chance=Hyperparameter(0.3, Choice((0.0, 0.3, 0.55)), "Chance of each augmentation in the end, from 0 on."),
    gamma=Hyperparameter(
        1.0, Float(0.05, 50.0), "Twice the weight of the R1 and R2 penalties in the beginning, a tenth of it in the end."
    ),
    learning_rate=Hyperparameter(1e-3, RATE, "Step size of Adam in the beginning, of both networks; a quarter of it in the end."),
    half_life=Hyperparameter(
        20_000, Float(1_000, 100_000), "Images in which the averages of the weights forget half, in the end; from 0 on."
    ),
    decay_images=Hyperparameter(
        None,
        meaning="Images in which all of these, and Adam's beta_2 from 0.9 to 0.99, go along half a cosine to their ends; None is "
        "the planned steps, or 1,000,000 images where none are planned.",
    ),
    averages=general(None),
):
    """R3GAN: no normalisation, grouped residual blocks, learned bases, relativistic pairing with the R1 and R2 penalties.

    With `ema` the averages have this decay, and `half_life` has no effect.

    Args:
        augment: names of augmentations, or pairs of a name and a share of the chance.
    """
    steps = total_steps if decay_images is None else None
    length = {"images": decay_images or 1_000_000} if steps is None else {"steps": steps}
    ramp = lambda start, end: Ramp(start, end, **length)  # noqa: E731
    weight = ramp(gamma / 2, gamma / 20)
    penalties = [adversarial.SlopePenalty(weight, at=place, target=0.0) for place in ("real", "fake")]
    if averages["ema"] is None:
        averages = {**averages, "ema": HalfLife(ramp(0.0, half_life))}
    model = GAN(
        networks.r3gan_generator(latent_dim, image_shape, **network),
        networks.r3gan_critic(image_shape, **network),
        "relativistic",
        penalties,
        augment=augment,
        augment_chance=ramp(0.0, augment_chance),
        **averages,
    )
    optimizers = (
        RampedAdam(ramp(learning_rate, learning_rate / 4), beta_1=0.0, beta_2=ramp(0.9, 0.99)) for _ in model.optimizers
    )
    return model, dict(zip(model.optimizers, optimizers, strict=True))


variant(
    "r3gan/cifar10",
    "r3gan",
    "R3GAN as published for CIFAR-10, with ten classes: 20.8 million parameters and 21.3 million.",
    search=dict.fromkeys(("latent_dim", "width", "blocks", "augment_chance", "half_life")),
    width=768,
    blocks=2,
    num_classes=10,
    augment_chance=0.55,
    gamma=0.05,
    learning_rate=2e-4,
    half_life=5_000_000,
    decay_images=20_000_000,
)
