"""Recipes of Wasserstein autoencoders, with the networks of the recipe `vae`."""

from keras_genzoo import adversarial, networks
from keras_genzoo.models import WAE, Autoencoder
from keras_genzoo.recipes.building import adam
from keras_genzoo.recipes.common import (
    CONDITIONS,
    FITTED,
    FITTED_COMPONENTS,
    GENERAL,
    PAIR,
    encoder_decoder,
    fitted_prior,
    optimizer,
    units_of,
)
from keras_genzoo.recipes.hyperparameters import Hyperparameter, arguments
from keras_genzoo.recipes.registry import recipe, variant
from keras_genzoo.recipes.space import Choice, Float

ADVERSARIAL = {"divergence": ("adversarial",)}


@recipe("wae", jit_compile=True, steps_per_execution=10)
def wae_mmd(
    image_shape,
    total_steps,
    pair=PAIR,
    gaussian=Hyperparameter(False, meaning="Whether the encoder puts out a Gaussian of each image, and not a point."),
    divergence=Hyperparameter(
        "mmd",
        meaning='How the codes are compared with the prior: as `models.WAE` takes it, or "adversarial", by a critic.',
    ),
    objective=arguments(WAE, weight=Hyperparameter(100.0, Float(0.1, 1000.0))) | arguments(Autoencoder, "distance"),
    game=arguments(adversarial.LatentGame, "objective"),
    critic_sizes=arguments(
        networks.mlp, "width", "depth", prefix="critic_", width=Hyperparameter(256, Choice((128, 256, 512), when=ADVERSARIAL))
    ),
    critic_optimizer=optimizer(1e-3, Float(1e-4, 1e-2, when=ADVERSARIAL), prefix="critic_"),
    fitted_components=FITTED_COMPONENTS,
    fitted=FITTED,
    told=CONDITIONS,
    adam_settings=optimizer(),
    beta_1=Hyperparameter(0.9, meaning="Adam's decay of the mean gradient, of both optimizers."),
    general=GENERAL,
):
    """WAE-MMD: the codes of all images are drawn to the prior by the MMD with the inverse multiquadratic kernel."""
    heads = ("mu", "log_variance") if gaussian else ("code",)
    encoder, decoder = encoder_decoder(image_shape, image_shape, heads, "sigmoid", told=told, **pair)
    optimizers = {"optimizer": adam(total_steps, beta_1=beta_1, **adam_settings)}
    if divergence == "adversarial":
        # A bias of the score cancels in some objectives, and would never be trained.
        settings = dict(heads=("score",), head_bias=False, activation="leaky_relu", name="critic")
        seen = pair["latent_dim"] + (units_of(told) or 0)
        divergence = adversarial.LatentGame(networks.mlp(seen, 1, **settings, **critic_sizes), **game)
        optimizers["critic_optimizer"] = adam(total_steps, beta_1=beta_1, **critic_optimizer)
    density = fitted_prior(pair["latent_dim"], fitted_components, fitted, **told)
    return WAE(encoder, decoder, divergence, fitted_prior=density, **objective, **told, **general), optimizers


variant("gaussian_wae_mmd", "wae_mmd", "WAE-MMD with a Gaussian encoder.", gaussian=True)
variant("rbf_wae_mmd", "wae_mmd", "WAE-MMD with Gaussian kernels.", divergence="gaussian_mmd")
variant(
    "swae",
    "wae_mmd",
    "SWAE: the codes are drawn to the prior by the sliced Wasserstein distance.",
    divergence="sliced_wasserstein",
)
variant(
    "cwae",
    "wae_mmd",
    "CWAE: the codes are drawn to the prior by the logarithm of the Cramer-Wold distance.",
    divergence="cramer_wold",
    weight=1.0,
)
variant(
    "wae_gan",
    "wae_mmd",
    "WAE-GAN: a critic tells codes from draws from the prior.",
    divergence="adversarial",
    weight=1.0,
    # With momentum all codes run from the critic together, and never settle.
    beta_1=0.0,
    critic_learning_rate=5e-4,
    learning_rate=1e-3,
)
variant("aae", "wae_gan", "Adversarial autoencoder with a Gaussian encoder.", gaussian=True)
