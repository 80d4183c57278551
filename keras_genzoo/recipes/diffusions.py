"""Recipes of diffusion models."""

from keras_genzoo import networks
from keras_genzoo.models import Diffusion
from keras_genzoo.recipes.registry import adam, recipe, variant


@recipe("diffusion", jit_compile=False)
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
    network = networks.unet(image_shape, width, multipliers, blocks, attention, heads, groups, dropout, num_classes)
    model = Diffusion(
        network, schedule, prediction, loss_weight, time_sampling, timesteps, sampler, steps, clip, ema=ema, seed=seed
    )
    return model, {"optimizer": adam(learning_rate, total_steps)}


variant(
    "ddpm",
    "flow_matching",
    "DDPM: predicts the noise at 1,000 times of the linear schedule; a bound on the likelihood.",
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
    schedule="edm",
    prediction="edm",
    time_sampling="log_normal",
)
variant("conditional_diffusion", "flow_matching", "Flow matching of ten classes, with guidance if asked.", num_classes=10)
