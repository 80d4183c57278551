"""Write what the vision transformers of transformers give with seeded random weights, for the tests to compare with.

It needs PyTorch, which the package and its tests do without; so this runs once, in an environment of its own:

    python3 -m venv ~/reference-venv && ~/reference-venv/bin/pip install torch==2.13.0 transformers==5.23.0 safetensors
    ~/reference-venv/bin/python scripts/reference_vit.py

The random weights have the names and shapes of the published files, of networks that are small: the tests give the package's own
networks the same ones. That proves their architecture and their reading of the files without these.
"""

import tempfile
import zlib
from pathlib import Path

import numpy as np

OUT = Path(__file__).parents[1] / "tests" / "data" / "vit_reference.npz"
SEED, IMAGES = 0, 3
# Width, blocks, heads, patch, patches of a side, and what CLIP projects to.
DINOV2 = {"width": 24, "depth": 3, "heads": 3, "patch": 4, "grid": 5}
CLIP = {"width": 24, "depth": 3, "heads": 2, "patch": 4, "grid": 5, "projection": 10}
POSITIONS = {"side": 9, "grid": 4, "offset": 0.1}  # of resampling, from a side to a grid of patches


def draw(name, *shape, scale=1.0, shift=0.0):
    """Numbers by their name alone. Of all of NumPy's streams RandomState is the one that never changes."""
    random = np.random.RandomState([SEED, zlib.crc32(name.encode())])
    return (shift + scale * random.uniform(-1, 1, shape)).astype("float32")


def images(width):
    return draw("images", IMAGES, width, width, 3, scale=2.0)


def _dense(arrays, name, inner, outer):
    arrays[f"{name}.weight"] = draw(f"{name}.weight", outer, inner, scale=np.sqrt(3 / inner))
    arrays[f"{name}.bias"] = draw(f"{name}.bias", outer, scale=0.3)


def _norm(arrays, name, width):
    arrays[f"{name}.weight"] = draw(f"{name}.weight", width, scale=0.5, shift=1.0)
    arrays[f"{name}.bias"] = draw(f"{name}.bias", width, scale=0.3)


def dinov2():
    """Arrays by the names of facebook/dinov2-*."""
    width, patch, arrays = DINOV2["width"], DINOV2["patch"], {}
    arrays["embeddings.cls_token"] = draw("token", 1, 1, width)
    arrays["embeddings.mask_token"] = draw("mask", 1, width)
    arrays["embeddings.position_embeddings"] = draw("positions", 1, DINOV2["grid"] ** 2 + 1, width)
    arrays["embeddings.patch_embeddings.projection.weight"] = draw("patches", width, 3, patch, patch, scale=0.2)
    arrays["embeddings.patch_embeddings.projection.bias"] = draw("patches bias", width, scale=0.3)
    for index in range(DINOV2["depth"]):
        block = f"encoder.layer.{index}"
        for part in (
            "attention.attention.query",
            "attention.attention.key",
            "attention.attention.value",
            "attention.output.dense",
        ):
            _dense(arrays, f"{block}.{part}", width, width)
        _dense(arrays, f"{block}.mlp.fc1", width, 4 * width)
        _dense(arrays, f"{block}.mlp.fc2", 4 * width, width)
        for number in (1, 2):
            _norm(arrays, f"{block}.norm{number}", width)
            arrays[f"{block}.layer_scale{number}.lambda1"] = draw(f"{block} scale {number}", width, scale=0.5, shift=1.0)
    _norm(arrays, "layernorm", width)
    return arrays


def clip():
    """Arrays by the names of openai/clip-vit-*, of the image tower."""
    width, patch, arrays = CLIP["width"], CLIP["patch"], {}
    top = "vision_model"
    arrays[f"{top}.embeddings.class_embedding"] = draw("token", width)
    arrays[f"{top}.embeddings.patch_embedding.weight"] = draw("patches", width, 3, patch, patch, scale=0.2)
    arrays[f"{top}.embeddings.position_embedding.weight"] = draw("positions", CLIP["grid"] ** 2 + 1, width)
    for name in ("pre_layrnorm", "post_layernorm"):
        _norm(arrays, f"{top}.{name}", width)
    for index in range(CLIP["depth"]):
        block = f"{top}.encoder.layers.{index}"
        for part in "qkv":
            _dense(arrays, f"{block}.self_attn.{part}_proj", width, width)
        _dense(arrays, f"{block}.self_attn.out_proj", width, width)
        _dense(arrays, f"{block}.mlp.fc1", width, 4 * width)
        _dense(arrays, f"{block}.mlp.fc2", 4 * width, width)
        for number in (1, 2):
            _norm(arrays, f"{block}.layer_norm{number}", width)
    arrays["visual_projection.weight"] = draw("projection", CLIP["projection"], width, scale=0.3)
    return arrays


def positions(width=6):
    return draw("resampled", POSITIONS["side"] ** 2 + 1, width)


def _loaded(make, config, arrays):
    """A network of transformers with these arrays, all of which it must take."""
    from safetensors.numpy import save_file

    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        save_file(arrays, f"{folder}/model.safetensors", metadata={"format": "pt"})
        network, report = make.from_pretrained(folder, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    return network.double().eval()


def main():
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, Dinov2Config, Dinov2Model

    def config(make, about, **more):
        size = {"image_size": about["patch"] * about["grid"], "patch_size": about["patch"]}
        depth = {"num_hidden_layers": about["depth"], "num_attention_heads": about["heads"]}
        return make(hidden_size=about["width"], **size, **depth, **more)

    dino = _loaded(Dinov2Model, config(Dinov2Config, DINOV2, mlp_ratio=4), dinov2())
    settings = {"intermediate_size": 4 * CLIP["width"], "projection_dim": CLIP["projection"], "hidden_act": "quick_gelu"}
    tower = _loaded(CLIPVisionModelWithProjection, config(CLIPVisionConfig, CLIP, **settings), clip())
    pixels = torch.from_numpy(images(DINOV2["patch"] * DINOV2["grid"])).double().permute(0, 3, 1, 2)
    grid = torch.from_numpy(positions()[1:]).double().reshape(1, POSITIONS["side"], POSITIONS["side"], -1).permute(0, 3, 1, 2)
    scale = (POSITIONS["grid"] + POSITIONS["offset"]) / POSITIONS["side"]
    with torch.no_grad():
        resampled = torch.nn.functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
        expected = {
            "dinov2": dino(pixels).last_hidden_state[:, 0],
            "clip": tower(pixels).image_embeds,
            "positions": resampled.permute(0, 2, 3, 1).reshape(POSITIONS["grid"] ** 2, -1),
        }
    for name, values in expected.items():
        print(f"{name}: {tuple(values.shape)}, rms {values.square().mean().sqrt():.3g}, between rows {values.std(0).mean():.3g}")
    np.savez_compressed(OUT, **{name: values.numpy() for name, values in expected.items()})
    print(OUT, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
