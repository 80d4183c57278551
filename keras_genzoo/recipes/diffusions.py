"""Recipes of diffusion models."""

from keras_genzoo import networks
from keras_genzoo.models import Autoencoder, Diffusion, LatentDiffusion
from keras_genzoo.recipes.registry import adam, recipe, variant
from keras_genzoo.recipes.space import LEARNING_RATE, Choice, Int

SEARCH = {
    "width": Choice((8, 16, 32)),
    "multipliers": Choice(((1, 2), (1, 2, 2), (1, 2, 4))),
    "blocks": Int(1, 2, "linear"),
    "patch": Choice((1, 2)),
    "dropout": Choice((0.0, 0.1)),
    "learning_rate": LEARNING_RATE,
    "ema": Choice((0.99, 0.999, 0.9999)),
}
FIXED = dict.fromkeys(("width", "multipliers", "blocks", "patch", "dropout"))  # of a published size
TIMES = {"time_sampling": Choice(("uniform", "logit_normal"))}
LATENT = {
    "latent_dim": Int(16, 128),
    "width": Choice((256, 512, 1024)),
    "depth": Int(2, 5, "linear"),
    "autoencoder_width": Choice((256, 512, 1024)),
    "distance": Choice(("l1", "l2")),
    "learning_rate": LEARNING_RATE,
    "autoencoder_learning_rate": LEARNING_RATE,
    "ema": Choice((0.99, 0.999, 0.9999)),
}


@recipe("diffusion", {**SEARCH, **TIMES}, jit_compile=False)
def flow_matching(
    image_shape,
    total_steps,
    width=16,
    multipliers=(1, 2, 4),
    blocks=1,
    attention=(),
    heads=1,
    groups=8,
    dropout=0.0,
    num_classes=None,
    patch=2,
    kind="ddpm",
    schedule="rectified_flow",
    prediction="velocity",
    loss_weight="simple",
    time_sampling="uniform",
    timesteps=None,
    sampler="heun",
    steps=15,
    clip=False,
    learning_rate=2e-3,
    ema=0.999,
    seed=None,
):
    """Flow matching along straight lines with a small U-Net; samples by Heun's rule with 29 evaluations."""
    network = networks.unet(image_shape, width, multipliers, blocks, attention, heads, groups, dropout, num_classes, patch, kind)
    model = Diffusion(
        network, schedule, prediction, loss_weight, time_sampling, timesteps, sampler, steps, clip, ema=ema, seed=seed
    )
    return model, {"optimizer": adam(learning_rate, total_steps)}


variant(
    "ddpm",
    "flow_matching",
    "DDPM: predicts the noise at 1,000 times of the linear schedule; a bound on the likelihood.",
    search={"time_sampling": None},
    schedule="linear",
    prediction="epsilon",
    timesteps=1000,
    sampler="dpm_solver",
    steps=30,
    clip=True,
)
variant(
    "edm",
    "flow_matching",
    "EDM: preconditioned denoising at log-normal noise levels.",
    search={"time_sampling": None},
    schedule="edm",
    prediction="edm",
    time_sampling="log_normal",
)
variant("conditional_diffusion", "flow_matching", "Flow matching of ten classes, with guidance if asked.", num_classes=10)
variant(
    "ncsn",
    "flow_matching",
    "NCSN: denoising score matching at noise levels of a geometric sequence, annealed Langevin dynamics.",
    search={"time_sampling": None},
    schedule="geometric",
    prediction="epsilon",
    sampler="langevin",
    steps=20,
)
variant(
    "ddpm/cifar10",
    "ddpm",
    "DDPM as published for CIFAR-10: 35.7 million parameters, 1,000 steps.",
    search=FIXED,
    width=128,
    patch=1,
    multipliers=(1, 2, 2, 2),
    blocks=2,
    attention=(1,),
    groups=32,
    dropout=0.1,
    sampler="ddpm_large",
    steps=1000,
    learning_rate=2e-4,
    ema=0.9999,
)
variant(
    "edm/cifar10",
    "edm",
    "EDM for CIFAR-10 with DDPM++ as published, without augmentation: 55.7 million parameters, Heun's rule, 18 steps.",
    search=FIXED,
    width=128,
    patch=1,
    multipliers=(2, 2, 2),
    kind="ddpm++",
    blocks=4,
    attention=(1,),
    groups=32,
    dropout=0.13,
    steps=18,
    learning_rate=1e-3,
    ema=0.9999,
)


@recipe("diffusion", {**LATENT, **TIMES}, jit_compile=True, steps_per_execution=10)
def latent_diffusion(
    image_shape,
    total_steps,
    latent_dim=64,
    width=512,
    depth=3,
    autoencoder_width=512,
    autoencoder_depth=2,
    distance="l1",
    num_classes=None,
    time_sampling="uniform",
    sampler="heun",
    steps=15,
    learning_rate=1e-3,
    autoencoder_learning_rate=2e-3,
    ema=0.999,
    seed=None,
):
    """Flow matching in the codes of a fully connected autoencoder that learns along."""
    shared = dict(width=autoencoder_width, depth=autoencoder_depth, activation="silu")
    encoder = networks.mlp(image_shape, latent_dim, name="encoder", **shared)
    decoder = networks.mlp(latent_dim, image_shape, output_activation="sigmoid", name="decoder", **shared)
    network = networks.dense_denoiser((1, 1, latent_dim), width, depth, num_classes)
    diffusion = Diffusion(network, time_sampling=time_sampling, sampler=sampler, steps=steps, seed=0)
    model = LatentDiffusion(Autoencoder(encoder, decoder, distance, seed=0), diffusion, ema=ema, seed=seed)
    return model, {
        "optimizer": adam(learning_rate, total_steps),
        "autoencoder_optimizer": adam(autoencoder_learning_rate, total_steps),
    }
