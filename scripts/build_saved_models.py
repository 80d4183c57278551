"""Train a tiny model of each family and keep its file and outputs in tests/data/saved, which later versions must reproduce.

Made once, by version 0.1.0 before its modules moved; run again only to add a family: files that are there stay.

    python scripts/build_saved_models.py
"""

from pathlib import Path

import numpy as np
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo.core import progress

FOLDER = Path(__file__).parents[1] / "tests" / "data" / "saved"
SHAPE = (8, 8, 1)
DENSE = {"width": 8, "depth": 1, "latent_dim": 3}
RECIPES = {
    "autoencoder": {"width": 4, "depth": 2, "latent_dim": 3, "components": 2},
    "vae": DENSE,
    "vamp_vae": {**DENSE, "components": 2},
    "iaf_vae": {**DENSE, "flow_layers": 2, "flow_width": 8},
    "two_stage_vae": {**DENSE, "second_width": 8},
    "vqvae": {"width": 4, "depth": 2, "codes": 8},
    "wae_gan": {**DENSE, "critic_width": 8},
    "gan": {"width": 4, "depth": 2, "latent_dim": 3, "hidden": 4},
    "conditional_gan": {"width": 2, "depth": 1, "latent_dim": 3, "hidden": 4},
    "glow": {"width": 8, "steps": 1, "dense": 1, "dense_width": 8, "dequantisation": 4},
    "maf": {"width": 8, "layers": 2},
    "flow_matching": {"width": 4, "multipliers": (1,), "attention": (0,), "steps": 2},
    "latent_diffusion": {**DENSE, "autoencoder_width": 8, "steps": 3},
    "rbm": {"hidden": 8, "sample_steps": 5},
    "ebm": {"width": 4, "depth": 2, "steps": 3, "sample_steps": 5, "buffer_size": 16},
}


def images():
    """16 smooth images, uint8, and their labels."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:8, :8]
    centres = random.uniform(1, 7, (16, 2, 1, 1))
    blobs = np.exp(-((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2) / 4)
    return (255 * blobs[..., None]).astype("uint8"), np.arange(16) % 3


def outputs(model):
    """What the model says of the images, as arrays."""
    x, labels = images()
    binary = hasattr(model, "log_prob") and model.support == "binary"
    density = (x >= 128).astype("float32") if binary else x
    asked = {
        "call": lambda: model((x, labels) if model.num_classes else x),
        "encode": lambda: model.encode(x),
        "reconstruct": lambda: model.reconstruct(x),
        "energy": lambda: model.energy(x),
        "log_prob": lambda: model.log_prob(density, samples=2),
        # Units of the Boltzmann machine are 0 or 1 by a threshold, which the last bit of a sum may cross on another machine.
        "sample": lambda: None if binary else model.sample(3, seed=1),
    }
    found = {name: ask() for name, ask in asked.items() if name == "call" or hasattr(model, name)}
    return {name: np.asarray(value) for name, value in found.items() if value is not None}


def state(model):
    """The sums of the absolute values of the weights and of the optimizers' variables: what training goes on from."""
    optimizers = [variable for name in model.optimizers for variable in getattr(model, name).variables]
    # 0.1.0 had none of these.
    later = ("updates", "largest_batch", *progress.NAMES, *(f"average_steps_of_{name}" for name in model.optimizers))
    weights = [variable for variable in model.weights if variable.name not in later]
    return np.array([float(np.sum(np.abs(v.numpy().astype("float64")))) for v in (*weights, *optimizers)])


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, sizes in RECIPES.items():
        file = FOLDER / f"{name}.keras"
        if file.exists():
            continue
        model = gz.build(name, SHAPE, seed=0, jit_compile=False, steps_per_execution=1, **{"ema": 0.9, **sizes})
        x, labels = images()
        model.fit(tf.data.Dataset.from_tensor_slices((x, labels)).batch(8), epochs=2, verbose=0)
        if hasattr(model, "fit_prior"):
            model.fit_prior(x)
        model.save(file)
        np.savez_compressed(file.with_suffix(".npz"), state=state(model), **outputs(model))
        print(name, file.stat().st_size)


if __name__ == "__main__":
    main()
