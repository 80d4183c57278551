"""Write what diffusers' DiT gives with seeded random weights, outputs and gradients, for the tests to compare with.

It needs PyTorch, which the package and its tests do without; so this runs once, in an environment of its own:

    python3 -m venv ~/reference-venv && ~/reference-venv/bin/pip install torch==2.13.0 diffusers==0.42.1
    ~/reference-venv/bin/python scripts/reference_dit.py

diffusers gives every block an embedding of its own for time and class; here all blocks share the first one, as in the code that
the authors of DiT published. The frequencies of times are those of that code too, where diffusers shifts them by one.
"""

import zlib
from pathlib import Path

import numpy as np

OUT = Path(__file__).parents[1] / "tests" / "data" / "dit_reference.npz"
SIDE, CHANNELS, WIDTH, DEPTH, HEADS, PATCH, CLASSES = 8, 3, 12, 2, 2, 2, 4
TIMES, LABELS = np.array([0, 17, 500, 999]), np.array([0, 3, 1, CLASSES])  # the last label is none

# Layers of ours, with their name in diffusers, inputs and units; those that ours has in several, with which of their parts.
LAYERS = {
    "time_1": ("transformer_blocks.0.norm1.emb.timestep_embedder.linear_1", 256, WIDTH),
    "time_2": ("transformer_blocks.0.norm1.emb.timestep_embedder.linear_2", WIDTH, WIDTH),
    "last_told": ("proj_out_1", WIDTH, 2 * WIDTH),
    "last": ("proj_out_2", WIDTH, PATCH**2 * 2 * CHANNELS),
}
for index in range(DEPTH):
    block, ours = f"transformer_blocks.{index}", f"block{index + 1}"
    LAYERS |= {
        f"{ours}_told": (f"{block}.norm1.linear", WIDTH, 6 * WIDTH),
        f"{ours}_mlp_1": (f"{block}.ff.net.0.proj", WIDTH, 4 * WIDTH),
        f"{ours}_mlp_2": (f"{block}.ff.net.2", 4 * WIDTH, WIDTH),
    }
    LAYERS |= {
        f"{ours}_heads/{part}": (f"{block}.attn1.{theirs}", WIDTH, WIDTH)
        for part, theirs in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("last", "to_out.0"))
    }
PATCHES, TABLE = "pos_embed.proj", "transformer_blocks.0.norm1.emb.class_embedder.embedding_table"


def draw(name, shape, scale):
    # Of all of NumPy's streams RandomState is the one that never changes.
    return (scale * np.random.RandomState(zlib.crc32(name.encode())).normal(size=shape)).astype("float32")


def arrays():
    """Random weights by diffusers' names, in PyTorch's layout: float32 arrays."""
    found = {
        f"{PATCHES}.weight": draw(f"{PATCHES}.weight", (WIDTH, CHANNELS, PATCH, PATCH), 0.3),
        f"{PATCHES}.bias": draw(f"{PATCHES}.bias", (WIDTH,), 0.1),
        f"{TABLE}.weight": draw(f"{TABLE}.weight", (CLASSES + 1, WIDTH), 0.5),
    }
    for name, inputs, units in LAYERS.values():
        found[f"{name}.weight"] = draw(f"{name}.weight", (units, inputs), inputs**-0.5)
        found[f"{name}.bias"] = draw(f"{name}.bias", (units,), 0.1)
    return found


def images():
    """Noisy images, and what their outputs are multiplied with for gradients, both with channels last."""
    return draw("images", (len(TIMES), SIDE, SIDE, CHANNELS), 1.0), draw("weights", (len(TIMES), SIDE, SIDE, 2 * CHANNELS), 1.0)


def main():
    import torch
    from diffusers import DiTTransformer2DModel

    model = DiTTransformer2DModel(
        num_attention_heads=HEADS,
        attention_head_dim=WIDTH // HEADS,
        in_channels=CHANNELS,
        out_channels=2 * CHANNELS,
        num_layers=DEPTH,
        sample_size=SIDE,
        patch_size=PATCH,
        num_embeds_ada_norm=CLASSES,
        norm_eps=1e-6,
    ).eval()
    shared = model.transformer_blocks[0].norm1.emb
    shared.time_proj.downscale_freq_shift = 0
    for block in model.transformer_blocks:
        block.norm1.emb = shared
    state = {name: torch.from_numpy(array) for name, array in arrays().items()}
    parameters = dict(model.named_parameters())
    assert set(parameters) == set(state), set(parameters) ^ set(state)
    model.load_state_dict(state, strict=False)  # the fixed table of places is not among them
    model = model.double()
    x, weights = (torch.from_numpy(each).double().permute(0, 3, 1, 2) for each in images())
    x.requires_grad_()
    output = model(x, timestep=torch.from_numpy(TIMES), class_labels=torch.from_numpy(LABELS)).sample
    (output * weights).sum().backward()
    expected = {"output": output.permute(0, 2, 3, 1), "images": x.grad.permute(0, 2, 3, 1)}
    expected |= {name: parameter.grad for name, parameter in parameters.items()}
    values = {name: value.detach().numpy().astype("float32") for name, value in expected.items()}
    np.savez_compressed(OUT, **values)
    print(OUT, OUT.stat().st_size, "bytes; largest output", np.abs(values["output"]).max())


if __name__ == "__main__":
    main()
