"""Recipes of StyleGAN2."""

from keras_genzoo import adversarial, networks
from keras_genzoo.core.optimizers import lazy
from keras_genzoo.core.ramps import HalfLife
from keras_genzoo.models import GAN, StyleGAN
from keras_genzoo.recipes import sizes
from keras_genzoo.recipes.building import adam
from keras_genzoo.recipes.common import RATE, general
from keras_genzoo.recipes.gans import AUGMENTS
from keras_genzoo.recipes.hyperparameters import Hyperparameter, arguments
from keras_genzoo.recipes.registry import recipe, variant
from keras_genzoo.recipes.space import Choice, Float, Int


@recipe("gan", jit_compile=False)
def stylegan2(
    image_shape,
    total_steps,
    latent_dim=Hyperparameter(64, Int(16, 512), "Dimensions of the noise."),
    style_dim=Hyperparameter(64, Int(16, 512), "Dimensions of a style."),
    mapping=arguments(networks.stylegan2_mapping, prefix="mapping_", depth=Hyperparameter(2, Int(1, 8, "linear"))),
    network=arguments(
        networks.stylegan2_generator,
        "full",
        width=Hyperparameter(32, Choice((16, 32, 64))),
        depth=Hyperparameter(3, sized=sizes.halvings_to_four),
    ),
    critic_settings=arguments(networks.stylegan2_critic, "residual", "group", prefix="critic_"),
    styles=arguments(StyleGAN, mixing=Hyperparameter(0.9, Choice((0.0, 0.9)))),
    gamma=Hyperparameter(0.1, Float(0.001, 50.0), "Twice the weight of the R1 penalty."),
    r1_every=Hyperparameter(16, meaning="Steps of which one has the R1 penalty, that many times as large."),
    path_weight=Hyperparameter(2.0, meaning="Weight of the path length regularisation; 0 leaves it out."),
    path_every=Hyperparameter(4, meaning="Steps of which one has the path length regularisation, that many times as large."),
    game=arguments(
        GAN,
        augment=Hyperparameter((), Choice(AUGMENTS)),
        augment_chance=Hyperparameter(1.0, Choice((1.0, "adaptive"), when={"augment": AUGMENTS[1:]})),
    ),
    learning_rate=Hyperparameter(
        2.5e-3, RATE, "Step size of Adam, of both networks, before it is corrected for the steps of lazy regularisation."
    ),
    beta_2=Hyperparameter(0.99, meaning="Adam's decay of the mean squared gradient, likewise."),
    decay=arguments(adam, decay=None),
    half_life=Hyperparameter(20_000, Float(1_000, 1_000_000), "Images in which the averages of the weights forget half."),
    half_life_share=Hyperparameter(0.05, meaning="The half-life is at most this share of the images so far; None is no limit."),
    averages=general(None),
):
    """StyleGAN2: styles that modulate convolutions, output skips, a residual critic, and lazy regularisation.

    With `ema` the averages have this decay, and `half_life` has no effect. The rates of Adam are corrected for `path_every` also
    where `path_weight` is 0, as in the published code. `sample(n, truncation=0.7)` draws images that are more alike.
    """
    if averages["ema"] is None:
        averages = {**averages, "ema": HalfLife(half_life, half_life_share)}
    model = StyleGAN(
        networks.stylegan2_mapping(latent_dim, style_dim, **mapping),
        networks.stylegan2_generator(style_dim, image_shape, **network),
        networks.stylegan2_critic(image_shape, **network, **critic_settings),
        adversarial.PathLength(path_weight, path_every) if path_weight else None,
        penalties=[adversarial.SlopePenalty(gamma / 2, at="real", target=0.0, every=r1_every)],
        **styles,
        **game,
        **averages,
    )
    optimizers = {}
    for name, every in (("optimizer", path_every), ("critic_optimizer", r1_every)):
        rate, second = lazy(every, learning_rate, beta_2)
        steps = None if total_steps is None else total_steps + -(-total_steps // every)
        optimizers[name] = adam(steps, rate, beta_1=0.0, beta_2=second, **decay)
    return model, optimizers


# Of a published size nothing of the networks is searched.
FIXED = dict.fromkeys(("latent_dim", "style_dim", "mapping_depth", "width", "mixing", "augment", "augment_chance", "half_life"))
LARGE = {"latent_dim": 512, "style_dim": 512, "width": 512}
variant(
    "stylegan2/cifar10",
    "stylegan2",
    "StyleGAN2 with ADA as published for CIFAR-10, unconditional: no shortcuts, style mixing or path length regularisation.",
    search=FIXED,
    **LARGE,
    full=5,
    critic_residual=False,
    critic_group=32,
    mixing=0.0,
    gamma=0.01,
    path_weight=0.0,
    augment=("blit", "geometric", "color_affine"),
    augment_chance="adaptive",
    half_life=500_000,
)
variant(
    "stylegan2/ffhq256",
    "stylegan2",
    "StyleGAN2 as published for FFHQ of 256 pixels: 24.8 million parameters and 24.0 million.",
    search=FIXED,
    **LARGE,
    mapping_depth=8,
    critic_group=8,
    gamma=1.0,
    half_life=20_000,
    half_life_share=None,
)
