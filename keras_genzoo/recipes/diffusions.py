"""Recipes of diffusion models."""

import dataclasses
import functools

from keras_genzoo import networks
from keras_genzoo.core.ramps import HalfLife
from keras_genzoo.models import Autoencoder, Diffusion, KLAutoencoder, LatentDiffusion, MeanFlow
from keras_genzoo.recipes import sizes
from keras_genzoo.recipes.building import adam
from keras_genzoo.recipes.common import KL_HEADS, encoder_decoder, general, grid_pair, optimizer, trained
from keras_genzoo.recipes.hyperparameters import Hyperparameter, arguments
from keras_genzoo.recipes.registry import recipe, variant
from keras_genzoo.recipes.space import Choice, Int

FIXED = dict.fromkeys(("width", "multipliers", "blocks", "patch", "dropout"))  # of a published size
TIMES = Hyperparameter("uniform", Choice(("uniform", "logit_normal")))
EMA = general(0.999, Choice((0.99, 0.999, 0.9999)))
HALF_LIFE = Hyperparameter(
    None,
    meaning="Images in which the averages of the weights forget half, at most a twentieth of those so far, where `ema` is None.",
)
RATES = {"global_clipnorm": None, "decay": "cosine", "warmup_steps": None, "warmup_images": None, "finite": False}
UNET = arguments(
    networks.unet,
    "*",
    width=Hyperparameter(16, Choice((8, 16, 32))),
    multipliers=Hyperparameter((1, 2, 4), Choice(((1, 2), (1, 2, 2), (1, 2, 4))), sized=sizes.entries),
    blocks=Hyperparameter(1, Int(1, 2, "linear")),
    dropout=Hyperparameter(0.0, Choice((0.0, 0.1))),
    patch=Hyperparameter(2, Choice((1, 2))),
)
del UNET["augmented"], UNET["spans"]  # which follow from the model
# The derivative by time multiplies with the frequencies of sines, and with those of DDPM training diverges.
SLOW_SINES = dataclasses.replace(UNET["time_embedding"], default={"scale": 1.0})


def _told(network):
    """What a model is told, of the arguments of its network."""
    return {name: network[name] for name in ("num_classes", "condition_dim")}


@recipe("diffusion", jit_compile=False)
def flow_matching(
    image_shape,
    total_steps,
    network=UNET,
    diffusion=arguments(Diffusion, "*", time_sampling=TIMES),
    adam_settings=optimizer(**RATES),
    averages=EMA,
    half_life=HALF_LIFE,
):
    """Flow matching along straight lines with a small U-Net; samples by Heun's rule with 29 evaluations.

    The averages forget by `ema` or by `half_life`; one of both is None.
    """
    unet = networks.unet(image_shape, **network, augmented=diffusion["augment"] == "told")
    if half_life is not None:
        if averages["ema"] is not None:
            raise ValueError(f"ema is {averages['ema']} and half_life {half_life}, expected one of both; set the other to None.")
        averages = {**averages, "ema": HalfLife(half_life, share=0.05)}
    model = Diffusion(unet, **diffusion, **_told(network), **averages)
    return model, {"optimizer": adam(total_steps, **adam_settings)}


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
    "DDPM as published for CIFAR-10: 35.7 million parameters, 1,000 steps, images mirrored at random.",
    search=FIXED,
    time_embedding={"offset": -1.0},
    augment="mirror",
    global_clipnorm=1.0,
    warmup_steps=5000,
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
    "EDM for CIFAR-10 with DDPM++ as published: 55.7 million parameters, told of augmentation, Heun's rule, 18 steps.",
    search={**FIXED, "ema": None, "half_life": Choice((250_000, 500_000, 1_000_000))},
    time_embedding={"scale": 1.0},
    augment="told",
    finite=True,
    warmup_images=10_000_000,
    ema=None,
    half_life=500_000,
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
)


@recipe("diffusion", jit_compile=False)
def dit(
    image_shape,
    total_steps,
    network=arguments(
        networks.dit,
        "*",
        width=Hyperparameter(128, Choice((64, 128, 256))),
        depth=Hyperparameter(4, Int(2, 8, "linear")),
        heads=4,
        patch=Hyperparameter(2, Choice((2, 4)), sized=sizes.dimensions),
        learned_variance=True,
        num_classes=10,
        time_embedding={"offset": -1.0},
    ),
    diffusion=arguments(
        Diffusion,
        "*",
        schedule="linear",
        prediction="epsilon",
        timesteps=1000,
        sampler="dpm_solver",
        steps=30,
        clip=True,
    ),
    adam_settings=optimizer(1e-3, decay="cosine"),
    averages=EMA,
):
    """DiT: a transformer of patches in the place of the U-Net, with classes; predicts DDPM's noise and the variances of steps."""
    model = Diffusion(networks.dit(image_shape, **network), **diffusion, **_told(network), **averages)
    return model, {"optimizer": adam(total_steps, **adam_settings)}


DIT = {"s": (384, 12, 6, 32.96), "b": (768, 12, 12, 130.5), "l": (1024, 24, 16, 458.1), "xl": (1152, 28, 16, 675.1)}
for size, (width, depth, heads, millions) in DIT.items():
    variant(
        f"dit/{size}",
        "dit",
        f"DiT-{size.upper()}/2 as published for ImageNet: {millions} million parameters of codes of 32x32x4.",
        search=dict.fromkeys(("width", "depth", "patch")),
        width=width,
        depth=depth,
        heads=heads,
        num_classes=1000,
        clip=False,
        sampler="ddpm",
        steps=250,
        augment="mirror",
        learning_rate=1e-4,
        decay=None,
        ema=0.9999,
    )


@recipe("diffusion", jit_compile=False)
def mean_flow(
    image_shape,
    total_steps,
    network=UNET | {"time_embedding": SLOW_SINES},
    flow=arguments(MeanFlow, "*", share=Hyperparameter(0.25, Choice((0.25, 0.5, 0.75)))),
    adam_settings=optimizer(1e-3),
    averages=EMA,
):
    """Mean flow: the average velocity between two times, so that one network call makes an image."""
    model = MeanFlow(networks.unet(image_shape, **network, spans=True), **flow, **_told(network), **averages)
    return model, {"optimizer": adam(total_steps, **adam_settings)}


variant(
    "consistency",
    "mean_flow",
    "Consistency training in continuous time: every noisy image on a way leads to the image at its end, in one network call.",
    search={"share": None},
    share=1.0,
    end="image",
)


def _denoiser(kind, shape, dense, unet):
    """The network that sees noise in codes of this shape; None is a U-Net where they have space."""
    kind = ("dense" if shape[:2] == (1, 1) else "unet") if kind is None else kind
    if kind not in ("dense", "unet"):
        raise ValueError(f"denoiser is {kind!r}, expected 'dense', 'unet' or None.")
    if kind == "dense":
        return networks.dense_denoiser(shape, **dense)
    return networks.unet(shape, **_told(dense), **unet)


def _first_stage(image_shape, latent_dim, pair, downsampling, latent_channels, grids, settings):
    """An autoencoder that learns along: of vectors, or with `downsampling` of codes with space."""
    if downsampling is None:
        vectors = {"latent_dim": latent_dim, "normalization": None, "activation": "silu", **pair}
        return Autoencoder(*encoder_decoder(image_shape, image_shape, ("code",), "sigmoid", **vectors), seed=0, **settings)
    sides = grid_pair(image_shape, downsampling, latent_channels, KL_HEADS, **grids)
    return KLAutoencoder(*sides, seed=0, **settings)


@recipe("diffusion", jit_compile=True, steps_per_execution=10)
def latent_diffusion(
    image_shape,
    total_steps,
    latent_dim=Hyperparameter(64, Int(16, 128), "Dimensions of the code, where it is a vector.", sizes.dimensions),
    downsampling=Hyperparameter(
        None,
        meaning="How many times smaller the sides of codes with space are than those of images, a power of 2; their autoencoder "
        "is convolutional, with a small KL term. None codes an image as a vector.",
        sized=sizes.downsampling,
    ),
    latent_channels=Hyperparameter(4, meaning="Channels of codes with space."),
    first_stage=Hyperparameter(
        None,
        meaning="Path of a trained model with codes, or of its run, as of `kl_autoencoder`, which stays as it is. None lets an "
        "autoencoder learn along.",
    ),
    denoiser=Hyperparameter(
        None, meaning='Network that sees the noise: "dense", "unet", or None: "unet" where codes have space, else "dense".'
    ),
    network=arguments(
        networks.dense_denoiser,
        "*",
        width=Hyperparameter(512, Choice((256, 512, 1024))),
        depth=Hyperparameter(3, Int(2, 5, "linear")),
    ),
    unet=arguments(networks.unet, "blocks", "attention", "dropout", prefix="unet_", width=16, multipliers=(1, 2)),
    pair=arguments(
        encoder_decoder,
        prefix="autoencoder_",
        network=Hyperparameter("dense", sized=sizes.network),
        width=Hyperparameter(
            512, Choice((256, 512, 1024)), sized=functools.partial(sizes.width_of_network, kind="autoencoder_network")
        ),
        depth=Hyperparameter(2, sized=functools.partial(sizes.halvings_of_network, kind="autoencoder_network")),
    ),
    grids=arguments(networks.conv_encoder, prefix="grid_", width=32, normalization="channel", activation="silu")
    | arguments(networks.grid_encoder, "blocks"),
    reconstruction=arguments(Autoencoder, distance=Hyperparameter("l1", Choice(("l1", "l2")))),
    diffusion=arguments(Diffusion, "time_sampling", "sampler", "steps", "spacing", time_sampling=TIMES),
    adam_settings=optimizer(1e-3),
    autoencoder_optimizer=optimizer(prefix="autoencoder_"),
    averages=EMA,
):
    """Flow matching in the codes of an autoencoder that learns along."""
    if first_stage is None:
        inner = _first_stage(image_shape, latent_dim, pair, downsampling, latent_channels, grids, reconstruction)
    else:
        inner = trained(first_stage, image_shape)
    code = inner.decoder.input_shape[1:]
    shape = code if len(code) == 3 else (1, 1, *code)
    inside = Diffusion(_denoiser(denoiser, shape, network, unet), seed=0, **diffusion, **_told(network))
    model = LatentDiffusion(inner, inside, train_autoencoder=first_stage is None, **averages)
    return model, {
        "optimizer": adam(total_steps, **adam_settings),
        "autoencoder_optimizer": adam(total_steps, **autoencoder_optimizer),
    }


variant(
    "spatial_latent_diffusion",
    "latent_diffusion",
    "Latent diffusion of codes with space: flow matching by a U-Net in a grid of vectors.",
    execution={"jit_compile": False},
    search={
        **dict.fromkeys(("latent_dim", "width", "depth", "autoencoder_width")),
        "latent_channels": Int(2, 16),
        "grid_width": Choice((16, 32, 64)),
        "unet_width": Choice((16, 32, 64)),
    },
    downsampling=4,
)
