"""Write what torch-fidelity's Inception network gives with seeded random weights, for the tests to compare with.

It needs PyTorch, which the package and its tests do without; so this runs once, in an environment of its own:

    python3 -m venv ~/reference-venv && ~/reference-venv/bin/pip install torch==2.13.0 torch-fidelity==0.4.0 prdc==0.2
    ~/reference-venv/bin/python scripts/reference_inception.py

The random weights have the names and shapes of the constants in the frozen graph of 2015, so the tests give the package's own
network the same ones: that proves its architecture, its resize and its reading of the graph without the graph.
"""

import runpy
import sys
import tempfile
import zlib
from pathlib import Path
from unittest import mock

import numpy as np

ROOT = Path(__file__).parents[1]
OUT = ROOT / "tests" / "data" / "inception_reference.npz"
TORCHVISION = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
SEED = 0
SIZES = {(32, 32): 2, (64, 48): 2, (299, 299): 1, (320, 350): 1}  # how many images of each height and width
FEATURES = ["2048", "logits_unbiased", "logits"]  # torch-fidelity's names

# Kernel, channels in and out of every convolution, by its names in the graph and in torch-fidelity.
STEM = {
    "conv": ("Conv2d_1a_3x3", (3, 3, 3, 32)),
    "conv_1": ("Conv2d_2a_3x3", (3, 3, 32, 32)),
    "conv_2": ("Conv2d_2b_3x3", (3, 3, 32, 64)),
    "conv_3": ("Conv2d_3b_1x1", (1, 1, 64, 80)),
    "conv_4": ("Conv2d_4a_3x3", (3, 3, 80, 192)),
}


def block_35(c, pooled):
    """Of a 35x35 grid of c channels."""
    return {
        "conv": ("branch1x1", (1, 1, c, 64)),
        "tower/conv": ("branch5x5_1", (1, 1, c, 48)),
        "tower/conv_1": ("branch5x5_2", (5, 5, 48, 64)),
        "tower_1/conv": ("branch3x3dbl_1", (1, 1, c, 64)),
        "tower_1/conv_1": ("branch3x3dbl_2", (3, 3, 64, 96)),
        "tower_1/conv_2": ("branch3x3dbl_3", (3, 3, 96, 96)),
        "tower_2/conv": ("branch_pool", (1, 1, c, pooled)),
    }


def block_17(c):
    """Of a 17x17 grid, c channels between the factors of the 7x7 convolutions."""
    return {
        "conv": ("branch1x1", (1, 1, 768, 192)),
        "tower/conv": ("branch7x7_1", (1, 1, 768, c)),
        "tower/conv_1": ("branch7x7_2", (1, 7, c, c)),
        "tower/conv_2": ("branch7x7_3", (7, 1, c, 192)),
        "tower_1/conv": ("branch7x7dbl_1", (1, 1, 768, c)),
        "tower_1/conv_1": ("branch7x7dbl_2", (7, 1, c, c)),
        "tower_1/conv_2": ("branch7x7dbl_3", (1, 7, c, c)),
        "tower_1/conv_3": ("branch7x7dbl_4", (7, 1, c, c)),
        "tower_1/conv_4": ("branch7x7dbl_5", (1, 7, c, 192)),
        "tower_2/conv": ("branch_pool", (1, 1, 768, 192)),
    }


def block_8(c):
    """Of an 8x8 grid of c channels."""
    return {
        "conv": ("branch1x1", (1, 1, c, 320)),
        "tower/conv": ("branch3x3_1", (1, 1, c, 384)),
        "tower/mixed/conv": ("branch3x3_2a", (1, 3, 384, 384)),
        "tower/mixed/conv_1": ("branch3x3_2b", (3, 1, 384, 384)),
        "tower_1/conv": ("branch3x3dbl_1", (1, 1, c, 448)),
        "tower_1/conv_1": ("branch3x3dbl_2", (3, 3, 448, 384)),
        "tower_1/mixed/conv": ("branch3x3dbl_3a", (1, 3, 384, 384)),
        "tower_1/mixed/conv_1": ("branch3x3dbl_3b", (3, 1, 384, 384)),
        "tower_2/conv": ("branch_pool", (1, 1, c, 192)),
    }


BLOCKS = {
    "mixed": ("Mixed_5b", block_35(192, 32)),
    "mixed_1": ("Mixed_5c", block_35(256, 64)),
    "mixed_2": ("Mixed_5d", block_35(288, 64)),
    "mixed_3": (
        "Mixed_6a",
        {
            "conv": ("branch3x3", (3, 3, 288, 384)),
            "tower/conv": ("branch3x3dbl_1", (1, 1, 288, 64)),
            "tower/conv_1": ("branch3x3dbl_2", (3, 3, 64, 96)),
            "tower/conv_2": ("branch3x3dbl_3", (3, 3, 96, 96)),
        },
    ),
    "mixed_4": ("Mixed_6b", block_17(128)),
    "mixed_5": ("Mixed_6c", block_17(160)),
    "mixed_6": ("Mixed_6d", block_17(160)),
    "mixed_7": ("Mixed_6e", block_17(192)),
    "mixed_8": (
        "Mixed_7a",
        {
            "tower/conv": ("branch3x3_1", (1, 1, 768, 192)),
            "tower/conv_1": ("branch3x3_2", (3, 3, 192, 320)),
            "tower_1/conv": ("branch7x7x3_1", (1, 1, 768, 192)),
            "tower_1/conv_1": ("branch7x7x3_2", (1, 7, 192, 192)),
            "tower_1/conv_2": ("branch7x7x3_3", (7, 1, 192, 192)),
            "tower_1/conv_3": ("branch7x7x3_4", (3, 3, 192, 192)),
        },
    ),
    "mixed_9": ("Mixed_7b", block_8(1280)),
    "mixed_10": ("Mixed_7c", block_8(2048)),
}
CONVOLUTIONS = STEM | {
    f"{block}/{node}": (f"{name}.{branch}", shape)
    for block, (name, branches) in BLOCKS.items()
    for node, (branch, shape) in branches.items()
}
PARTS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def constants(seed):
    """Random constants as the graph has them: a float32 array by the name of every node.

    He's scale keeps the activations of one size through the layers. Kernels without the mean of their inputs, and a beta
    below zero, keep the features of two images apart: in a random network they would else become all but equal, and no test
    could tell one resize from another by them.
    """

    def draw(name):
        # Of all of NumPy's streams RandomState is the one that never changes.
        return np.random.RandomState([seed, zlib.crc32(name.encode())])

    arrays = {}
    for node, (_, shape) in CONVOLUTIONS.items():
        fan_in, channels = np.prod(shape[:-1]), shape[-1]
        name = f"{node}/conv2d_params"
        kernel = draw(name).uniform(-1, 1, shape)
        kernel -= kernel.mean(axis=(0, 1, 2))
        arrays[name] = kernel * np.sqrt(6 / fan_in)
        norm = draw(f"{node}/batchnorm")
        arrays[f"{node}/batchnorm/beta"] = norm.uniform(-0.4, 0.2, channels)
        arrays[f"{node}/batchnorm/gamma"] = norm.uniform(0.8, 1.4, channels)
        arrays[f"{node}/batchnorm/moving_mean"] = norm.uniform(-0.2, 0.2, channels)
        arrays[f"{node}/batchnorm/moving_variance"] = norm.uniform(0.5, 1.5, channels)
    arrays["softmax/weights"] = draw("softmax/weights").uniform(-1, 1, (2048, 1008)) * np.sqrt(3 / 2048)
    arrays["softmax/biases"] = draw("softmax/biases").uniform(-0.5, 0.5, 1008)
    return {name: array.astype("float32") for name, array in arrays.items()}


def images(seed):
    """Batches of uint8 images `(n, height, width, 3)`, one for each of `SIZES`: random colours in patches, and noise."""
    random = np.random.RandomState(seed)
    batches = []
    for (height, width), n in SIZES.items():
        patches = random.randint(0, 256, (n, 8, 8, 3)).repeat(-(-height // 8), 1).repeat(-(-width // 8), 2)
        noise = random.randint(0, 256, (n, height, width, 3))
        batches.append(((3 * patches[:, :height, :width] + noise) // 4).astype("uint8"))
    return batches


def state_dict(arrays):
    """The constants as torch-fidelity names and lays them out."""
    import torch

    state = {}
    for node, (name, _) in CONVOLUTIONS.items():
        state[f"{name}.conv.weight"] = arrays[f"{node}/conv2d_params"].transpose(3, 2, 0, 1)
        state |= {f"{name}.bn.{theirs}": arrays[f"{node}/batchnorm/{ours}"] for ours, theirs in PARTS.items()}
    state |= {"fc.weight": arrays["softmax/weights"].T, "fc.bias": arrays["softmax/biases"]}
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in state.items()}


def torch_fidelity(arrays, features, dtype):
    """torch-fidelity's network with the constants: a function of uint8 tensors `(n, 3, height, width)`."""
    # It imports torchvision for other networks than this; the torchvision on PyPI may not fit beside this torch.
    sys.modules.update({name: mock.MagicMock() for name in TORCHVISION})
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with tempfile.NamedTemporaryFile(suffix=".pth") as weights:
        torch.save(state_dict(arrays), weights.name)
        return FeatureExtractorInceptionV3("inception", features, weights.name, dtype)


def main():
    import torch

    network = torch_fidelity(constants(SEED), FEATURES, "float64")
    rows = [network(torch.from_numpy(batch).permute(0, 3, 1, 2)) for batch in images(SEED)]
    expected = {name: torch.cat(values).numpy() for name, values in zip(FEATURES, zip(*rows, strict=True), strict=True)}
    for name, values in expected.items():
        spread = np.linalg.norm(values - values.mean(axis=0)) / np.linalg.norm(values)
        print(f"{name}: {values.shape}, rms {np.sqrt(np.mean(values**2)):.3g}, between images {spread:.3g} of it")

    replacing = runpy.run_path(ROOT / "keras_genzoo" / "files.py")["replacing"]  # the package itself is not installed here
    with replacing(OUT) as temporary:
        np.savez_compressed(temporary, **{name: values.astype("float32") for name, values in expected.items()})
    print(OUT, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
