"""Write tests/data/stylegan2_reference.npz: outputs, gradients, losses and sizes of StyleGAN2, of its authors' code.

The code is in PyTorch, and on a CPU it computes by plain operations; nothing of it is here:

    git clone https://github.com/NVlabs/stylegan2-ada-pytorch
    git -C stylegan2-ada-pytorch checkout d72cc7d041b42ec8e806021a205ed9349f87c6a4
    python -m venv ~/reference-venv && ~/reference-venv/bin/pip install torch==2.13.0 numpy requests setuptools
    ~/reference-venv/bin/python scripts/reference_stylegan2.py stylegan2-ada-pytorch

Every variable is drawn in Keras's layout (tests/drawn.py) and brought into that of PyTorch, and its gradient back.
"""

import importlib
import sys
from pathlib import Path

import numpy as np
import torch

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))
from drawn import equalized, numbers  # noqa: E402
from reference_gans import LAYOUTS, channels_first, channels_last, count, from_keras, sketches, to_keras, told  # noqa: E402

LAYOUTS |= {
    "maps": lambda w: w.transpose(1, 2, 0),
    "plane": lambda w: w[..., None],
    "flat": lambda w: w.reshape(len(w), -1, 4, 4).transpose(2, 3, 1, 0).reshape(-1, len(w)),  # of maps, height and width first
}
IMAGES, DIM, DEPTH = 4, 8, 3  # of a batch; of noise and styles; of the mapping
SMALL = {"channel_base": 512, "channel_max": 16}  # 16 channels up to 32 pixels, 8 at 64
GAMMA, MEAN = 400.0, 0.3  # twice the weight of R1; the moving average of path lengths before the step


def given(name, shape):
    return torch.tensor(channels_first(numbers(name, shape))).requires_grad_()


def affine(theirs, ours, kind):
    return {f"{theirs}.weight": (f"{ours}/kernel", kind), f"{theirs}.bias": (f"{ours}/bias", "vector")}


def generator_names(size):
    names = {"synthesis.b4.const": ("constant/constant", "maps")}
    for layer in range(DEPTH):
        names |= affine(f"mapping.fc{layer}", f"dense{layer + 1}", "dense")
    for stage in range(size.bit_length() - 3 + 1):
        block = f"synthesis.b{4 << stage}"
        for conv, ours in (("conv0", "up"), ("conv1", "conv"))[0 if stage else 1 :]:
            theirs, ours = f"{block}.{conv}", f"stage{stage}_{ours}"
            names |= affine(theirs, ours, "conv") | affine(f"{theirs}.affine", f"{ours}_affine", "dense")
            names[f"{theirs}.noise_strength"] = f"{ours}_noise/strength", "vector"
            names[f"{theirs}.noise_const"] = f"{ours}_noise/map", "plane"
        names |= affine(f"{block}.torgb", f"stage{stage}_image", "conv")
        names |= affine(f"{block}.torgb.affine", f"stage{stage}_image_affine", "dense")
    return names


def critic_names(size, residual):
    names = affine(f"b{size}.fromrgb", "first", "conv")
    for stage in range(size.bit_length() - 3, 0, -1):
        block, ours = f"b{4 << stage}", f"stage{stage}"
        names |= affine(f"{block}.conv0", f"{ours}_conv1", "conv") | affine(f"{block}.conv1", f"{ours}_conv2", "conv")
        names |= {f"{block}.skip.weight": (f"{ours}_skip/kernel", "conv")} if residual else {}
    return names | affine("b4.conv", "last", "conv") | affine("b4.fc", "features", "flat") | affine("b4.out", "score", "dense")


def filled(module, names, noise=True):
    """Give every parameter, and every constant noise, its drawn value; without noise its strengths are 0.

    Returns:
        dict of names here to pairs of a parameter and its kind.
    """
    parameters, buffers, found = dict(module.named_parameters()), dict(module.named_buffers()), {}
    for theirs, (name, kind) in names.items():
        tensor = parameters.pop(theirs, None)
        if tensor is not None:
            found[name] = tensor, kind
        tensor = buffers[theirs] if tensor is None else tensor
        value = equalized(name, to_keras(np.zeros(tuple(tensor.shape)), kind).shape)
        value = value * (noise or not name.endswith("strength"))
        shape = tuple(tensor.shape)
        tensor.data.copy_(from_keras(value, kind, shape) if shape else torch.tensor(value))
    assert not parameters, sorted(parameters)
    return found


def make_generator(module, size, **settings):
    settings = {"z_dim": DIM, "w_dim": DIM, "mapping_kwargs": {"num_layers": DEPTH}, "synthesis_kwargs": SMALL, **settings}
    return module.Generator(c_dim=0, img_resolution=size, img_channels=3, **settings)


def make_critic(module, size, group=4, **settings):
    settings = {**SMALL, **settings, "epilogue_kwargs": {"mbstd_group_size": group}}
    return module.Discriminator(c_dim=0, img_resolution=size, img_channels=3, **settings)


def networks_of(module, size):
    """The generator with its mapping and constant noise; the critic; and one without shortcuts and with groups of two."""
    key = f"stylegan2/{size}"
    z, images = given(f"{key}/z", (IMAGES, DIM)), given(f"{key}/images", (IMAGES, size, size, 3))
    g = make_generator(module, size)
    found = filled(g, generator_names(size))
    stored = told(f"{key}/generator", g(z, None, noise_mode="const"), z, found)
    for name, residual, group in (("critic", True, 4), ("plain critic", False, 2)):
        d = make_critic(module, size, group, architecture="resnet" if residual else "orig")
        found, images.grad = filled(d, critic_names(size, residual)), None
        stored |= told(f"{key}/{name}", d(images, None), images, found)
    return stored


def steps_of(module, losses, size=32):
    """The losses of both networks and their gradients, with R1 and path lengths, without mixing and noise."""
    z, images = (
        given(f"stylegan2/{size}/{name}", shape) for name, shape in (("z", (IMAGES, DIM)), ("images", (IMAGES, size, size, 3)))
    )
    none, reported, stored = torch.zeros(IMAGES, 0), {}, {}
    losses.training_stats.report = lambda name, value: reported.update({name: float(value.detach().mean())})
    torch.randn_like = lambda x: torch.tensor(channels_first(numbers("stylegan2/y", channels_last(x).shape)))
    for step, phase, values in (("critic step", "Dboth", "Loss/D/"), ("generator step", "Gboth", "Loss/G/")):
        g, d = make_generator(module, size), make_critic(module, size)
        found = filled(g, generator_names(size), noise=False), filled(d, critic_names(size, True))
        game = losses.StyleGAN2Loss("cpu", g.mapping, g.synthesis, d, style_mixing_prob=0, r1_gamma=GAMMA)
        game.pl_mean = torch.tensor(MEAN)
        game.accumulate_gradients(phase, images.detach(), none, z.detach(), none, True, 1)
        trained = found[1 if phase == "Dboth" else 0]
        gradients = {n: to_keras(p.grad.numpy(), kind) for n, (p, kind) in trained.items() if not n.endswith("strength")}
        stored[f"stylegan2/{step}/output"] = np.array([reported[f"{values}loss"], reported[f"{values}reg"], float(game.pl_mean)])
        stored |= sketches(f"stylegan2/{step}", gradients)
    return stored


def sizes_of(module):
    """Numbers of parameters of the configurations "cifar", "paper256" and "stylegan2" of train.py."""
    stored = {}
    for name, size, base, depth, plain in (
        ("cifar10", 32, 32768, 2, True),
        ("ffhq256", 256, 16384, 8, False),
        ("ffhq1024", 1024, 32768, 8, False),
    ):
        channels = {"channel_base": base, "channel_max": 512}
        g = make_generator(module, size, z_dim=512, w_dim=512, mapping_kwargs={"num_layers": depth}, synthesis_kwargs=channels)
        d = make_critic(module, size, architecture="orig" if plain else "resnet", **channels)
        stored[f"stylegan2/{name}/parameters"] = count(g, d)
    return stored


def main():
    sys.path.insert(0, str(Path(sys.argv[1]).resolve()))
    module, losses = (importlib.import_module(f"training.{name}") for name in ("networks", "loss"))
    stored = {**networks_of(module, 32), **networks_of(module, 64), **steps_of(module, losses), **sizes_of(module)}
    np.savez_compressed(TESTS / "data" / "stylegan2_reference.npz", **stored)
    for name, value in stored.items():
        if name.endswith("/parameters") or "step/output" in name:
            print(f"{name}: {value.tolist()}")


if __name__ == "__main__":
    main()
