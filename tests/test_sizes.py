"""Recipes at other sizes than 28 x 28: what follows the size of the images, and that every one of them trains."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

import keras_genzoo as gz
from keras_genzoo.cli import main
from keras_genzoo.core import memory

NAMES = [name for names in gz.recipes.names().values() for name in names]
# One of each make; with networks that are small but as deep as at full width.
MAKES = {
    "autoencoder": {"width": 2, "components": 2},
    "dense_autoencoder": {"width": 4, "components": 2},
    "vae": {"width": 2},
    "vqvae": {"width": 2, "components": 2},
    "kl_autoencoder": {"width": 2, "critic_width": 2},
    "vq_autoencoder": {"width": 2, "codes": 8, "critic_width": 2},
    "wae_mmd": {"width": 2},
    "gan": {"width": 2, "hidden": 4},
    "dcgan": {"width": 2},
    "sngan": {"generator_width": 2, "critic_width": 2},
    "r3gan": {"width": 2},
    "stylegan2": {"width": 2},
    "flow_matching": {"width": 4, "steps": 2},
    "mean_flow": {"width": 4, "steps": 2},
    "dit": {"width": 8, "depth": 1, "heads": 2, "num_classes": None, "steps": 2},
    "latent_diffusion": {"width": 8, "autoencoder_width": 2},
    "ebm": {"width": 2, "steps": 2, "buffer_size": 8, "sample_steps": 2},
    "score_ebm": {"width": 2, "sample_steps": 2},
    "rbm": {"hidden": 4},
    "glow": {"width": 2, "steps": 1, "dense_width": 2, "dequantisation": 2},
    "nice": {"width": 2, "couplings": 2},
    "maf": {"width": 2},
    "pixelcnn": {"width": 4, "depth": 2},
    "pixelcnn_pp": {"width": 4, "components": 2},
}


@pytest.mark.parametrize("name", NAMES)
def test_recipes_are_as_they_were_at_28_and_32_and_every_default_is_in_its_range_at_every_size(name):
    entry = gz.recipes.get(name)
    for side in (1, 28, 32):
        assert entry.at((side, side, 1)).defaults == entry.defaults and entry.at((side, side, 1)).search == entry.search
    for shape in ((33, 20, 3), (64, 64, 3), (256, 256, 3)):
        sized = entry.at(shape)
        assert all(sized.defaults[key] in each for key, each in sized.search.items())


def grids(model):
    """The sides of the coarsest feature map of each network that has any."""
    found = {}
    for part in ("encoder", "decoder", "generator", "critic", "network"):
        network = getattr(model, part, None)
        sides = [
            layer.output.shape[1:3] for layer in getattr(network, "layers", ()) if len(getattr(layer.output, "shape", ())) == 4
        ]
        sides = [each for each in sides if max(each) > 1]  # that of a time is no map
        if sides:
            found[part] = min(sides, key=math.prod)
    return found


@pytest.mark.parametrize(
    "name", ["autoencoder", "vae", "wae_mmd", "gan", "sngan", "r3gan", "stylegan2", "latent_diffusion", "flow_matching", "ebm"]
)
def test_the_coarsest_grid_has_four_to_eight_pixels(name):
    for shape in ((40, 48, 3), (64, 64, 1), (96, 128, 3), (256, 256, 3)):
        model = gz.build(name, shape, **MAKES.get(name, {"width": 2}))
        found = grids(model.autoencoder if name == "latent_diffusion" else model)
        assert found and all(4 <= max(sides) <= 8 for sides in found.values()), (shape, found)


def test_what_follows_the_size_depends_on_what_is_given():
    vae, size = gz.recipes.get("vae"), (128, 100, 3)
    found = vae.at(size).defaults
    assert (found["network"], found["width"], found["depth"], found["latent_dim"]) == ("convolutional", 32, 4, 64)
    found = vae.at(size, {"network": "dense"}).defaults
    assert (found["width"], found["depth"], found["latent_dim"]) == (512, 2, 64)
    assert vae.at((28, 28, 1), {"network": "convolutional"}).defaults["width"] == 32
    sized = gz.recipes.get("flow_matching").at(size)
    assert sized.defaults["multipliers"] == (1, 2, 4, 4, 4) and (1, 2, 2, 2) in sized.search["multipliers"]
    assert gz.recipes.get("autoencoder").at(size).search["depth"].words() == "3 to 5, linear"
    assert gz.build("autoencoder", (64, 64, 1), depth=1, width=2, latent_dim=3).encoder.count_params() < 7000


@pytest.mark.parametrize("shape", [(7, 9, 1), (33, 21, 5)])
@pytest.mark.parametrize("name", MAKES)
def test_a_step_of_every_make_at_odd_sizes(name, shape):
    one_step(name, shape, **MAKES[name])


@pytest.mark.slow
@pytest.mark.parametrize("side", [64, 128, 256])
@pytest.mark.parametrize("name", MAKES)
def test_a_step_of_every_make_at_large_sizes(name, side):
    # Of full width flows have hundreds of millions of weights, and autoregressive models draw for an hour.
    small = MAKES[name] if name in ("maf", "nice", "glow", "pixelcnn", "pixelcnn_pp") else {}
    one_step(name, (side, side, 3), **({"num_classes": None} if name == "dit" else small))


def one_step(name, shape, **settings):
    batch = 4 if name == "wae_mmd" else 1  # it compares the images of a batch
    model = gz.build(name, shape, jit_compile=False, steps_per_execution=1, seed=0, **settings)
    images = np.random.default_rng(0).integers(0, 256, (batch, *shape), "uint8")
    loss = model.fit(images, batch_size=batch, verbose=0).history["loss"]
    assert np.isfinite(loss).all()
    if hasattr(model, "sample"):
        assert model.sample(1, seed=0).shape == (1, *shape)


def test_show_tells_what_follows_the_size_and_what_memory_a_step_takes():
    shown = [
        CliRunner().invoke(main, ["show", "autoencoder", "--image-shape", "64x64x1", "--batch-size", size, "--set", "width=4"])
        for size in ("8", "256")
    ]
    assert [each.exit_code for each in shown] == [0, 0], shown[0].output
    assert "depth=3\n" in shown[0].output and "Follows the size of the images." in shown[0].output
    small, large = (float(each.output.split("images holds ")[1].split(" MiB")[0].replace(",", "")) for each in shown)
    assert 2 < small < 10 and 5 * small < large


def test_the_memory_of_a_step_is_what_lives_at_once():
    """Of a linear autoencoder: the batch, its codes and reconstruction and their gradients, beside weights and Adam's moments."""
    shape, n = (32, 32, 1), 1000
    model = gz.build("linear_autoencoder", shape, latent_dim=1, components=0)
    image = 4 * n * math.prod(shape)
    found = memory.of_step(model, gz.data.load(np.zeros((n, *shape), "uint8"), batch_size=n))
    assert 2 * image < found < 6 * image


def test_a_run_stores_the_hyperparameters_of_its_size(tmp_path):
    np.savez(
        tmp_path / "images.npz", train_images=np.zeros((8, 40, 36, 1), "uint8"), test_images=np.zeros((4, 40, 36, 1), "uint8")
    )
    command = ["train", "autoencoder", "--data", str(tmp_path / "images.npz"), "--out", str(tmp_path / "run"), "--epochs", "1"]
    result = CliRunner().invoke(main, [*command, "--batch-size", "4", "--set", "width=2", "--set", "components=0"])
    assert result.exit_code == 0, result.output
    stored = json.loads((tmp_path / "run" / "run.json").read_text())["hyperparameters"]
    assert (stored["depth"], stored["latent_dim"], stored["width"]) == (3, 64, 2)
