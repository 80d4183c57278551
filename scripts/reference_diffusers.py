"""Write small U-Nets of diffusers by its own `save_pretrained`, and what they put out and draw, for the tests to compare with.

It needs PyTorch, which the package and its tests do without; so this runs once, in an environment of its own:

    python3 -m venv ~/reference-venv && ~/reference-venv/bin/pip install torch==2.13.0 diffusers==0.42.1 safetensors==0.8.0
    ~/reference-venv/bin/python scripts/reference_diffusers.py

With --read FOLDER it prints the largest difference between the outputs of the network in a folder that `gz.to_diffusers` wrote,
and those of the network of a name here: of `gz.to_diffusers(gz.from_diffusers("tests/data/diffusers/ddpm"), FOLDER)`, for one.
"""

import argparse
import zlib
from pathlib import Path

import numpy as np

OUT = Path(__file__).parents[1] / "tests" / "data" / "diffusers"
SIDE, STEPS, TIMES = 8, 20, (0, 37, 500, 999)
SHARED = {"sample_size": SIDE, "in_channels": 2, "layers_per_block": 1, "block_out_channels": (4, 8), "norm_num_groups": 2}
MODELS = {
    # As google/ddpm-cifar10-32, but small: a single head, sines first, halving padded behind.
    "ddpm": {
        "out_channels": 2,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": None,
        "downsample_padding": 0,
        "freq_shift": 1,
        "flip_sin_to_cos": False,
        "norm_eps": 1e-6,
    },
    # The library's own defaults: cosines first, padding around, heads of a width.
    "defaults": {
        "out_channels": 2,
        "down_block_types": ("AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D"),
        "attention_head_dim": 2,
    },
    # The features of ADM: classes, variances, scales of what is normalised, blocks that change sides.
    "adm": {
        "out_channels": 4,
        "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        "attention_head_dim": 4,
        "resnet_time_scale_shift": "scale_shift",
        "attn_norm_num_groups": 2,
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "num_class_embeds": 3,
    },
}


def draw(name, shape, scale=1.0):
    # Of all of NumPy's streams RandomState is the one that never changes.
    return (scale * np.random.RandomState(zlib.crc32(name.encode())).normal(size=shape)).astype("float32")


def images():
    """Noise to see and to begin with, `(4, 8, 8, 2)`."""
    return draw("images", (len(TIMES), SIDE, SIDE, 2))


LABELS = np.array([0, 2, 1, 2])


def outputs(model, x, torch):
    """The outputs of a network at `TIMES`, an image each."""
    labels = torch.from_numpy(LABELS) if model.config.num_class_embeds else None
    with torch.no_grad():
        return model(x, torch.tensor(TIMES), class_labels=labels).sample.permute(0, 2, 3, 1).numpy()


def chain(model, scheduler, x, torch):
    """The images that 20 steps of DDIM end in."""
    scheduler.set_timesteps(STEPS)
    labels = torch.from_numpy(LABELS) if model.config.num_class_embeds else None
    with torch.no_grad():
        for timestep in scheduler.timesteps:
            seen = model(x, timestep, class_labels=labels).sample[:, : x.shape[1]]
            x = scheduler.step(seen, timestep, x).prev_sample
    return x.permute(0, 2, 3, 1).numpy()


def made(name, torch):
    """A network of `MODELS` with seeded random weights."""
    from diffusers import UNet2DModel

    model = UNet2DModel(**SHARED, **MODELS[name]).eval()
    for key, parameter in model.named_parameters():
        scale = 0.1 if parameter.ndim == 1 else np.prod(parameter.shape[1:]) ** -0.5
        value = draw(key, tuple(parameter.shape), scale) + (1.0 if "norm" in key and key.endswith("weight") else 0.0)
        parameter.data = torch.from_numpy(value.astype("float32"))
    return model


def main():
    import torch
    from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

    parser = argparse.ArgumentParser()
    parser.add_argument("--read", type=Path, help="a folder that gz.to_diffusers wrote")
    parser.add_argument("--name", choices=MODELS, default="ddpm", help="the network here that it is of")
    given = parser.parse_args()
    x = torch.from_numpy(images()).permute(0, 3, 1, 2).contiguous()
    if given.read is not None:
        again = UNet2DModel.from_pretrained(given.read / "unet").eval()
        print(np.abs(outputs(again, x, torch) - outputs(made(given.name, torch), x, torch)).max())
        return
    expected = {}
    for name in MODELS:
        model = made(name, torch)
        variance = "learned_range" if name == "adm" else "fixed_large"
        scheduler = DDPMScheduler(variance_type=variance, clip_sample=False)
        model.save_pretrained(OUT / name / "unet", safe_serialization=True)
        scheduler.save_pretrained(OUT / name / "scheduler")
        ddim = DDIMScheduler(clip_sample=False)
        expected |= {name: outputs(model, x, torch), f"{name} ddim": chain(model, ddim, x, torch)}
        print(name, sum(parameter.numel() for parameter in model.parameters()), np.abs(expected[name]).max())
    np.savez_compressed(OUT / "expected.npz", **expected)
    print(sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file()), "bytes in", OUT)


if __name__ == "__main__":
    main()
