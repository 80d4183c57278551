"""Models of diffusers: networks that its own `save_pretrained` wrote put out and draw the same here, and go back as they came."""

import json
import runpy
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo import samplers, schedules
from keras_genzoo.core import randomness
from keras_genzoo.exchange import settings, weights

safetensors = pytest.importorskip("safetensors.numpy", reason="pip install 'keras_genzoo[hub]'")
ROOT = Path(__file__).parents[1]
SCRIPT = runpy.run_path(ROOT / "scripts/reference_diffusers.py")
FOLDER = ROOT / "tests/data/diffusers"
CIFAR10 = {  # the settings of google/ddpm-cifar10-32
    "_class_name": "UNet2DModel",
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [128, 256, 256, 256],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 32,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDER / "expected.npz") as stored:
        return dict(stored)


def labels_of(model):
    return None if model.num_classes is None else tf.one_hot(SCRIPT["LABELS"], model.num_classes)


@pytest.mark.parametrize("name", SCRIPT["MODELS"])
def test_outputs_and_a_chain_of_ddim_equal_those_of_diffusers(name, expected):
    model = gz.from_diffusers(FOLDER / name)
    x, times = tf.constant(SCRIPT["images"]()), tf.constant((np.array(SCRIPT["TIMES"]) + 1) / 1000, tf.float32)
    inputs = [x, times, *([] if model.num_classes is None else [labels_of(model)])]
    found = model.network(inputs).numpy()
    if model.learns_variance:  # here a share of the larger variance, there a number in [-1, 1]
        found[..., 2:] = 2 * found[..., 2:] - 1
    np.testing.assert_allclose(found, expected[name], atol=1e-4 * np.abs(expected[name]).max())
    walk = tf.function(
        lambda x, times: samplers.solve(
            samplers.DDIM(), model.denoiser(labels_of(model)), model.schedule, x, times, randomness.make_key(0)
        )
    )
    times = samplers.DDIM().times(model.schedule, SCRIPT["STEPS"], model.spacing)
    drawn = walk(x, tf.constant(times, tf.float32)).numpy()
    scale = np.abs(expected[f"{name} ddim"]).max()
    np.testing.assert_allclose(drawn, expected[f"{name} ddim"], atol=1e-4 * scale)


@pytest.mark.parametrize("name", SCRIPT["MODELS"])
def test_a_model_goes_back_as_it_came(name, tmp_path):
    model = gz.from_diffusers(FOLDER / name)
    gz.to_diffusers(model, tmp_path)
    weights_file = "unet/diffusion_pytorch_model.safetensors"
    before, after = (safetensors.load_file(folder / weights_file) for folder in (FOLDER / name, tmp_path))
    assert before.keys() == after.keys()
    for key in before:
        np.testing.assert_allclose(after[key], before[key], atol=1e-6, err_msg=key)
    for file, read in (("unet/config.json", settings.READ), ("scheduler/scheduler_config.json", settings.SCHEDULER_READ)):
        stood, stands = (json.loads((folder / file).read_text()) for folder in (FOLDER / name, tmp_path))
        for key in set(read) - {"sample_size", "num_train_timesteps", "downsample_padding"}:
            assert stands.get(key, read[key]) == stood.get(key, read[key]), key
    assert json.loads((tmp_path / "model_index.json").read_text())["unet"] == ["diffusers", "UNet2DModel"]
    again = gz.from_diffusers(tmp_path)
    x = SCRIPT["images"]()
    inputs = [tf.constant(x), tf.fill((4,), 0.3), *([] if model.num_classes is None else [labels_of(model)])]
    np.testing.assert_allclose(again.network(inputs), model.network(inputs), atol=1e-5)


@pytest.mark.parametrize("remat", [False, True])
def test_a_recipe_is_written_with_its_averages_and_its_steps_counted_from_0(remat, images, tmp_path):
    model = gz.build("ddpm", (8, 8, 1), width=8, multipliers=(1, 2), groups=2, patch=1, clip=False, remat=remat, seed=0)
    for index, variable in enumerate(model.network.trainable_variables):
        variable.assign(variable + np.random.default_rng(index).normal(0, 0.1, variable.shape))
    model.fit(images, epochs=2, verbose=0)
    gz.to_diffusers(model, tmp_path)
    again = gz.from_diffusers(tmp_path)
    # Steps of ours are told as 1 to 1,000, and of diffusers as 0 to 999.
    assert (model.network.get_layer("time_embedding").offset, again.network.get_layer("time_embedding").offset) == (0.0, -1.0)
    x, t = tf.constant(images / 127.5 - 1, tf.float32), tf.constant(0.7)
    with model.averaged_weights():
        seen = model.denoiser()(x, t)
    for one, other in zip(seen, again.denoiser()(x, t), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3 * np.abs(one).max())
    assert again.timesteps == 1000 and not again.clip


def test_the_published_settings_give_the_published_network():
    network = settings.network(CIFAR10, None, 1000)
    assert network.count_params() == 35_746_307 and network.input_shape[0] == (None, 32, 32, 3)
    names = {weight.name for weight in weights.of_network(network)}
    assert {"down_blocks.1.attentions.0.to_out.0.bias", "up_blocks.2.attentions.2.group_norm.weight"} <= names
    assert "mid_block.attentions.0.to_q.weight" in names and len(names) == len(network.trainable_variables)


def changed(folder, tmp_path, file, **others):
    """A copy of a folder with other settings in a file."""
    copy = tmp_path / f"changed{len(list(tmp_path.iterdir()))}"
    shutil.copytree(folder, copy)
    told = json.loads((copy / file).read_text())
    (copy / file).write_text(json.dumps({**told, **others}))
    return copy


def test_what_is_not_understood_is_refused_by_name(tmp_path):
    unet, scheduler = "unet/config.json", "scheduler/scheduler_config.json"
    for file, others, sentence in [
        (unet, {"act_fn": "gelu"}, "act_fn of UNet2DModel is 'gelu', which is not understood here, expected 'silu' or 'swish'"),
        (unet, {"time_embedding_type": "fourier"}, "time_embedding_type of UNet2DModel is 'fourier'"),
        (unet, {"cross_attention_dim": 8}, "cross_attention_dim of UNet2DModel is 8, which is not understood here"),
        (
            unet,
            {"down_block_types": ["SkipDownBlock2D", "DownBlock2D"]},
            "down_block_types of UNet2DModel holds 'SkipDownBlock2D'",
        ),
        (unet, {"up_block_types": ["UpBlock2D", "AttnUpBlock2D"]}, "up_block_types of UNet2DModel has attention at other levels"),
        (unet, {"block_out_channels": [4, 12]}, "by the settings"),
        (unet, {"layers_per_block": 2}, "the file of weights lacks"),
        (unet, {"num_class_embeds": 3}, "the file of weights lacks class_embedding.weight, which the settings ask for"),
        (unet, {"sample_size": None}, "sample_size of UNet2DModel is None; say the size by image_shape="),
        (scheduler, {"_class_name": "PNDMScheduler"}, "the scheduler is PNDMScheduler, expected DDPMScheduler or DDIMScheduler"),
        (scheduler, {"beta_schedule": "sigmoid"}, "beta_schedule of DDPMScheduler is 'sigmoid'"),
        (scheduler, {"prediction_type": "flow"}, "prediction_type of DDPMScheduler is 'flow'"),
        (scheduler, {"variance_type": "learned_range"}, "variance_type of the scheduler is 'learned_range'"),
    ]:
        with pytest.raises(ValueError) as caught:
            gz.from_diffusers(changed(FOLDER / "ddpm", tmp_path, file, **others))
        assert sentence in str(caught.value)
    without = changed(FOLDER / "ddpm", tmp_path, unet)
    (without / "unet/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="expected a folder as save_pretrained of diffusers writes it"):
        gz.from_diffusers(without)


def test_names_of_older_files_are_understood(tmp_path):
    copy = changed(FOLDER / "ddpm", tmp_path, "unet/config.json")
    file = copy / "unet/diffusion_pytorch_model.safetensors"
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    arrays = safetensors.load_file(file)
    renamed = {}
    for key, array in arrays.items():
        part = next((part for part in names if f".{part}." in key), None)
        renamed[key if part is None else key.replace(part, names[part])] = array
    assert renamed.keys() != arrays.keys()
    safetensors.save_file(renamed, file)
    older, model = gz.from_diffusers(copy), gz.from_diffusers(FOLDER / "ddpm")
    for one, other in zip(older.network.weights, model.network.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.parametrize(
    "name, settings, sentence",
    [
        ("ddpm", {"patch": 2}, "diffusers has no network with patch=2; build it without"),
        ("ddpm", {"kind": "ddpm++"}, r"diffusers has no network with kind='ddpm\+\+'"),
        ("ddpm", {"groups": 8, "multipliers": (1, 4)}, "groups of normalisations are 2, 4, 8, and diffusers has one"),
        ("ddpm", {"schedule": schedules.Linear(1e-3, 0.2, 50)}, "and timesteps=1000; expected Linear with its own timesteps"),
        ("flow_matching", {}, "diffusers has no DDPMScheduler of the schedule RectifiedFlow, the prediction Velocity"),
    ],
)
def test_what_diffusers_has_no_name_for_is_not_written(name, settings, sentence, tmp_path):
    small = {"width": 8, "multipliers": (1, 2), "groups": 2, "patch": 1, "seed": 0}
    model = gz.build(name, (8, 8, 1), **{**small, **settings})
    with pytest.raises(ValueError, match=sentence):
        gz.to_diffusers(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_networks_and_models_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="the model is a VAE, expected a Diffusion of pixels"):
        gz.to_diffusers(gz.build("vae", (8, 8, 1), width=8, latent_dim=2), tmp_path)
    inputs = keras.Input((4, 4, 1)), keras.Input(())
    network = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(inputs[0]))
    model = gz.models.Diffusion(network, "linear", "epsilon", timesteps=1000)
    with pytest.raises(ValueError, match="diffusers has no network like this one, expected one of"):
        gz.to_diffusers(model, tmp_path)
