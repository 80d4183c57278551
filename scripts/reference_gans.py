"""Write tests/data/gan_reference.npz: outputs and gradients of published GANs at weights drawn by name, and their sizes.

The networks are those of their authors' code, or of a well known reimplementation, in PyTorch; nothing of that code is here:

    git clone https://github.com/brownvc/R3GAN && git -C R3GAN checkout 19a7ddf463fbac2bd39b4c1c73d63f1c441c7403
    git clone https://github.com/ajbrock/BigGAN-PyTorch && git -C BigGAN-PyTorch checkout 98459431a5d618d644d54cd1e9fceb1e5045648d
    git clone https://github.com/w86763777/pytorch-gan-collections
    git -C pytorch-gan-collections checkout 860e90bd882eb5737103de55bcf0e977d6952343
    python -m venv ~/reference-venv && ~/reference-venv/bin/pip install torch==2.13.0 numpy requests setuptools
    ~/reference-venv/bin/python scripts/reference_gans.py R3GAN BigGAN-PyTorch pytorch-gan-collections

Every variable is drawn in Keras's layout (tests/drawn.py) and brought into that of PyTorch, and its gradient back. All is in
float64: in float32 some unit near 0 of a wide network may have the other sign, and a gradient of its own.
"""

import importlib
import sys
from pathlib import Path

import numpy as np
import torch

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))
from drawn import direction, numbers, sketch, thinned, weight  # noqa: E402

CLASSES = 3
LABELS = np.array([2, 0])
GAMMA = 0.8
# From PyTorch's layout to Keras's, by the kind of a parameter.
LAYOUTS = {
    "conv": lambda w: w.transpose(2, 3, 1, 0),
    "dense": lambda w: w.T,
    "vector": lambda w: w,
    "table": lambda w: w,  # an embedding is a dense layer of one-hot labels
    "grid": lambda w: w.reshape(-1, 4, 4, *w.shape[1:]).transpose(*((3, 1, 2, 0) if w.ndim == 2 else (1, 2, 0))),
    "basis": lambda w: w.reshape(-1, 4, 4).transpose(1, 2, 0),
}


def to_keras(array, kind):
    found = LAYOUTS[kind](array)
    return found.reshape(*found.shape[: 1 if array.ndim == 2 else 0], -1) if kind == "grid" else found


def from_keras(array, kind, shape):
    """The inverse of `to_keras`: it says where each entry comes from."""
    found = np.empty(np.prod(shape), "float32")
    found[to_keras(np.arange(found.size).reshape(shape), kind).ravel()] = array.ravel()
    return torch.tensor(found.reshape(shape))


def filled(module, names):
    """Give every parameter of a module its drawn value; spectral norms their largest singular vectors.

    Args:
        names: dict of the module's names to pairs of a name here and a kind.

    Returns:
        dict of names here to pairs of a parameter and its kind.
    """
    parameters, found = dict(module.named_parameters()), {}
    for theirs, (name, kind) in names.items():
        parent, _, own = theirs.rpartition(".")
        parameter = parameters.pop(theirs, None)
        parameter = parameters.pop(f"{theirs}_orig") if parameter is None else parameter
        shape = tuple(parameter.shape)
        value = weight(name, to_keras(np.zeros(shape), kind).shape)
        parameter.data.copy_(from_keras(value, kind, shape))
        holder, matrix = module.get_submodule(parent), parameter.detach().reshape(shape[0], -1)
        kernel = matrix.numpy().T if kind in ("table", "grid") else value
        u = torch.tensor(direction(kernel)).double() if own == "weight" else None
        if own == "weight" and hasattr(holder, "weight_u"):  # PyTorch's
            holder.weight_u.copy_(u)
            holder.weight_v.copy_(torch.nn.functional.normalize(matrix.T @ u, dim=0))
        if own == "weight" and hasattr(holder, "u0"):  # BigGAN's
            holder.u0.copy_(u[None])
        found[name] = parameter, kind
    assert not parameters, sorted(parameters)
    return found


def told(key, output, inputs, found):
    """What is stored of a network: its output, and sketches of the gradients of a weighted sum of it."""
    (output * torch.tensor(channels_first(numbers(f"{key}/probe", channels_last(output).shape)))).sum().backward()
    gradients = {name: to_keras(parameter.grad.numpy(), kind) for name, (parameter, kind) in found.items()}
    gradients["input"] = channels_last(inputs.grad)
    return {
        f"{key}/output": thinned(channels_last(output)).astype("float32"),
        **sketches(key, {**gradients, "output": channels_last(output)}),
    }


def sketches(key, arrays):
    return {f"{key}/names": np.array(list(arrays)), f"{key}/sketches": np.array([sketch(n, a) for n, a in arrays.items()])}


def channels_last(tensor):
    array = tensor.detach().numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def channels_first(array):
    return array.transpose(0, 3, 1, 2).copy() if array.ndim == 4 else array


def given(name, shape):
    return torch.tensor(channels_first(numbers(name, shape)), dtype=torch.float64).requires_grad_()


def count(*modules):
    return np.array([sum(each.numel() for each in module.parameters()) for module in modules])


def resnet_names(blocks, conv, shortcut, norms=()):
    """Names of a stack of residual blocks of pytorch-gan-collections."""
    names = {}
    for theirs, name in blocks:
        for index, position in enumerate(conv, 1):
            for own, kind, ours in (("weight", "conv", "kernel"), ("bias", "vector", "bias")):
                names[f"{theirs}.residual.{position}.{own}"] = f"{name}_conv{index}/{ours}", kind
        for index, position in enumerate(norms, 1):
            names[f"{theirs}.residual.{position}.weight"] = f"{name}_{index}_norm/gamma", "vector"
            names[f"{theirs}.residual.{position}.bias"] = f"{name}_{index}_norm/beta", "vector"
        if shortcut is not None:
            names[f"{theirs}.shortcut.{shortcut}.weight"] = f"{name}_shortcut/kernel", "conv"
            names[f"{theirs}.shortcut.{shortcut}.bias"] = f"{name}_shortcut/bias", "vector"
    return names


def resnets(module, prefix, head_bias):
    """The generator and the critic of SNGAN and of WGAN-GP: both of pytorch-gan-collections."""
    up = [(f"blocks.{index}", f"up{3 - index}") for index in range(3)]
    generator = {
        "linear.weight": ("grid_dense/kernel", "grid"),
        "linear.bias": ("grid_dense/bias", "grid"),
        **resnet_names(up, (3, 6), 1, (0, 4)),
        "output.0.weight": ("last_norm/gamma", "vector"),
        "output.0.bias": ("last_norm/beta", "vector"),
        "output.2.weight": ("image/kernel", "conv"),
        "output.2.bias": ("image/bias", "vector"),
    }
    critic = {
        **resnet_names([("model.0", "block1")], (0, 2), 1),
        **resnet_names([("model.1", "block2")], (1, 3), 0),
        **resnet_names([("model.2", "block3"), ("model.3", "block4")], (1, 3), None),
        "linear.weight": ("score/kernel", "dense"),
        **({"linear.bias": ("score/bias", "vector")} if head_bias else {}),
    }
    g, d = module.ResGenerator32(128), module.ResDiscriminator32()
    found = filled(g, generator), filled(d, critic)
    z, images = given(f"{prefix}/z", (2, 128)), given(f"{prefix}/images", (2, 32, 32, 3))
    return {
        **told(f"{prefix}/generator", g(z), z, found[0]),
        **told(f"{prefix}/critic", d(images), images, found[1]),
        f"{prefix}/parameters": count(g, d),
    }


def biggan(module):
    """The generator and the critic of BigGAN-PyTorch with the arguments of scripts/launch_cifar_ema.sh, but of 16 channels."""
    generator = {"linear.weight": ("grid_dense/kernel", "grid"), "linear.bias": ("grid_dense/bias", "grid")}
    convs = (("conv1", "conv1"), ("conv2", "conv2"), ("conv_sc", "shortcut"))
    both = (("weight", "conv", "kernel"), ("bias", "vector", "bias"))
    for index in range(3):
        theirs, name = f"blocks.{index}.0", f"up{3 - index}"
        generator |= {f"{theirs}.{c}.{own}": (f"{name}_{o}/{ours}", kind) for c, o in convs for own, kind, ours in both}
        for norm in (1, 2):
            generator[f"{theirs}.bn{norm}.gain.weight"] = f"{name}_{norm}_scale/kernel", "table"
            generator[f"{theirs}.bn{norm}.bias.weight"] = f"{name}_{norm}_offset/kernel", "table"
    generator |= {"output_layer.0.gain": ("last_norm/gamma", "vector"), "output_layer.0.bias": ("last_norm/beta", "vector")}
    generator |= {f"output_layer.2.{own}": (f"image/{ours}", kind) for own, kind, ours in both}
    critic = {
        f"blocks.{index}.0.{c}.{own}": (f"block{index + 1}_{o}/{ours}", kind)
        for index in range(4)
        for c, o in convs[: 3 if index < 2 else 2]
        for own, kind, ours in both
    }
    critic |= {"linear.weight": ("score/kernel", "dense"), "linear.bias": ("score/bias", "vector")}
    critic["embed.weight"] = "class/kernel", "table"
    cifar = {"resolution": 32, "n_classes": CLASSES, "G_shared": False, "no_optim": True}
    cifar |= {"G_attn": "0", "D_attn": "0", "G_init": "N02", "D_init": "N02"}
    g, d = module.Generator(G_ch=4, dim_z=16, **cifar), module.Discriminator(D_ch=4, **cifar)
    found = filled(g, generator), filled(d, critic)
    z, images, labels = given("biggan/z", (2, 16)), given("biggan/images", (2, 32, 32, 3)), torch.tensor(LABELS)
    large = module.Generator(G_ch=64, dim_z=128, **{**cifar, "n_classes": 10}), module.Discriminator(**{**cifar, "n_classes": 10})
    return {
        **told("biggan/generator", g(z, labels), z, found[0]),
        **told("biggan/critic", d(images, labels), images, found[1]),
        "biggan/parameters": count(*large),
    }


def r3gan_names(depth, blocks, changes):
    """Names of both networks; `changes` are the stages, 0 the coarsest, that have other channels than the one before."""
    generator = {
        "EmbeddingLayer.weight": ("class/kernel", "dense"),
        "MainLayers.0.Layers.0.LinearLayer.weight": ("factors/kernel", "dense"),
        "MainLayers.0.Layers.0.Basis": ("basis/basis", "basis"),
        "AggregationLayer.Layer.weight": ("image/kernel", "conv"),
    }
    critic = {
        "ExtractionLayer.Layer.weight": ("first/kernel", "conv"),
        f"MainLayers.{depth}.Layers.{blocks}.Basis.weight": ("coefficients/basis", "basis"),
        f"MainLayers.{depth}.Layers.{blocks}.LinearLayer.weight": ("features/kernel", "dense"),
        "EmbeddingLayer.weight": ("class/kernel", "dense"),
    }
    inner = {
        "LinearLayer1.Layer.weight": ("expand/kernel", "conv"),
        "NonLinearity1.Bias": ("expand/bias", "vector"),
        "LinearLayer2.Layer.weight": ("grouped/kernel", "conv"),
        "NonLinearity2.Bias": ("grouped/bias", "vector"),
        "LinearLayer3.Layer.weight": ("reduce/kernel", "conv"),
    }
    for stage in range(depth + 1):
        for block in range(1, blocks + 1):
            for theirs, (name, kind) in inner.items():
                ours = f"stage{stage}_block{block}_{name}", kind
                generator[f"MainLayers.{stage}.Layers.{block}.{theirs}"] = ours
                critic[f"MainLayers.{depth - stage}.Layers.{block - 1}.{theirs}"] = ours
        if stage in changes:
            transition = "LinearLayer.Layer.weight"
            generator[f"MainLayers.{stage}.Layers.0.{transition}"] = f"up{stage}_channels/kernel", "conv"
            critic[f"MainLayers.{depth - stage}.Layers.{blocks}.{transition}"] = f"down{stage}_channels/kernel", "conv"
    return generator, critic


def r3gan_pair(module, widths, cardinality, blocks, noise, classes):
    """The generator and the critic of R3GAN, of stages from the coarsest on."""
    settings = {"ExpansionFactor": 2, "ConditionDimension": classes}
    g = module.Generator(noise, widths, cardinality, [blocks] * len(widths), ConditionEmbeddingDimension=noise, **settings)
    d = module.Discriminator(
        widths[::-1], cardinality[::-1], [blocks] * len(widths), ConditionEmbeddingDimension=widths[0], **settings
    )
    for stage in (*g.MainLayers, *d.MainLayers):
        stage.DataType = torch.float64
        for layer in stage.Layers:
            if hasattr(layer, "Resampler"):
                layer.Resampler.Kernel.data = layer.Resampler.Kernel.data.float()  # as its code asks for; it is exact
    return g, d


def r3gan(module, trainer):
    """R3GAN at 64 pixels with 16 channels and 8 in the last stage; and its two losses with penalties, without augmentation."""
    make = lambda: r3gan_pair(module, [16, 16, 16, 16, 8], [2, 2, 2, 2, 1], 1, 8, CLASSES)  # noqa: E731
    g, d = make()
    names = r3gan_names(4, 1, {4})
    found = filled(g, names[0]), filled(d, names[1])
    z, images = given("r3gan/z", (2, 8)), given("r3gan/images", (2, 64, 64, 3))
    labels = torch.tensor(np.eye(CLASSES)[LABELS])
    stored = {
        **told("r3gan/generator", g(z, labels), z, found[0]),
        **told("r3gan/critic", d(images, labels)[:, None], images, found[1]),
        "r3gan/parameters": count(*r3gan_pair(module, [768] * 4, [96] * 4, 2, 64, 10)),
    }
    for key in ("critic step", "generator step"):
        g, d = make()
        found = filled(g, names[0]), filled(d, names[1])
        game = trainer.AdversarialTraining(g, d)
        if key == "critic step":
            loss, _, *penalties = game.AccumulateDiscriminatorGradients(z.detach(), images.detach(), labels, GAMMA)
            values = [loss.mean(), GAMMA / 2 * sum(penalties).mean()]
        else:
            values = [game.AccumulateGeneratorGradients(z.detach(), images.detach(), labels)[0].mean()]
        trained = found[1 if key == "critic step" else 0]
        gradients = {name: to_keras(parameter.grad.numpy(), kind) for name, (parameter, kind) in trained.items()}
        stored |= {f"r3gan/{key}/output": np.array([float(each) for each in values]), **sketches(f"r3gan/{key}", gradients)}
    return stored


def main():
    torch.set_default_dtype(torch.float64)
    roots = [str(Path(each).resolve()) for each in sys.argv[1:]]
    sys.path[:0] = roots
    load = importlib.import_module
    collections = {name: load(f"source.models.{name}") for name in ("sngan", "wgangp")}
    stored = {
        **resnets(collections["sngan"], "sngan", head_bias=False),
        **resnets(collections["wgangp"], "wgan_gp", head_bias=True),
        **biggan(load("BigGAN")),
        **r3gan(load("R3GAN.Networks"), load("R3GAN.Trainer")),
    }
    np.savez_compressed(TESTS / "data" / "gan_reference.npz", **stored)
    print(*(f"{name}: {value.tolist()}" for name, value in stored.items() if name.endswith("/parameters")), sep="\n")


if __name__ == "__main__":
    main()
