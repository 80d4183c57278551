"""Recipes of Wasserstein autoencoders, with the networks of the recipe `vae`."""

from keras_genzoo import adversarial, networks
from keras_genzoo.models import WAE
from keras_genzoo.recipes.registry import adam, recipe, variant
from keras_genzoo.recipes.space import ACTIVATION, LEARNING_RATE, Choice, Float, Int
from keras_genzoo.recipes.vaes import encoder_decoder

ADVERSARIAL = {"divergence": ("adversarial",)}
SEARCH = {
    "latent_dim": Int(4, 64),
    "width": Choice((128, 256, 512, 1024), when={"network": ("dense",)}),
    "depth": Int(1, 3, "linear"),
    "normalization": Choice((None, "batch", "layer")),
    "activation": ACTIVATION,
    "weight": Float(0.1, 1000.0),
    "critic_width": Choice((128, 256, 512), when=ADVERSARIAL),
    "critic_learning_rate": Float(1e-4, 1e-2, when=ADVERSARIAL),
    "learning_rate": LEARNING_RATE,
}


@recipe("wae", SEARCH, jit_compile=True, steps_per_execution=10)
def wae_mmd(
    image_shape,
    total_steps,
    network="dense",
    latent_dim=16,
    width=512,
    depth=2,
    normalization="layer",
    activation="relu",
    gaussian=False,
    divergence="mmd",
    weight=100.0,
    distance="l2",
    objective="non_saturating",
    critic_width=256,
    critic_depth=2,
    critic_learning_rate=1e-3,
    learning_rate=2e-3,
    beta_1=0.9,
    ema=None,
    seed=None,
):
    """WAE-MMD: the codes of all images are drawn to the prior by the MMD with the inverse multiquadratic kernel."""
    shared = dict(width=width, depth=depth, normalization=normalization, activation=activation)
    heads = ("mu", "log_variance") if gaussian else ("code",)
    pair = encoder_decoder(network, image_shape, image_shape, latent_dim, heads, "sigmoid", **shared)
    optimizers = {"optimizer": adam(learning_rate, total_steps, beta_1=beta_1)}
    if divergence == "adversarial":
        sizes = dict(width=critic_width, depth=critic_depth, activation="leaky_relu")
        # A bias of the score cancels in some objectives, and would never be trained.
        critic = networks.mlp(latent_dim, 1, heads=("score",), head_bias=False, name="critic", **sizes)
        divergence = adversarial.LatentGame(critic, objective)
        optimizers["critic_optimizer"] = adam(critic_learning_rate, total_steps, beta_1=beta_1)
    return WAE(*pair, divergence, weight, distance, ema=ema, seed=seed), optimizers


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
