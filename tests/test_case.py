"""The one model test: what the contract promises of every recipe, and of a toy family that needs all of base."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf
from toy import build_toy

import keras_genzoo as gz
from keras_genzoo import testing
from keras_genzoo.testing import forward, outputs, state, variables

# Tiny networks: the promises do not depend on size. `full` marks one recipe of each family, tried in every mode by `make test`.
SHAPE = (8, 8, 1)
DENSE = {"width": 16, "depth": 1, "latent_dim": 3}
MIXTURE = {**DENSE, "components": 2}
GAME = {**DENSE, "critic_width": 8}
CONVOLUTIONAL = {"width": 4, "depth": 2, "latent_dim": 3}
RESIDUAL = {"generator_width": 4, "generator_depth": 1, "critic_width": 4, "critic_depth": 1, "critic_blocks": 1, "latent_dim": 3}
FLOW = {"width": 8, "steps": 1, "dense": 1, "dense_width": 8, "dequantisation": 4}
UNET = {"width": 8, "multipliers": (1,), "steps": 2}
TINY = {
    "autoencoder": {**CONVOLUTIONAL, "components": 2},
    "dense_autoencoder": MIXTURE,
    "linear_autoencoder": {"latent_dim": 3, "components": 2},
    **dict.fromkeys(("sparse_autoencoder", "l1_autoencoder", "contractive_autoencoder"), MIXTURE),
    **dict.fromkeys(("higher_order_contractive_autoencoder", "denoising_autoencoder"), MIXTURE),
    **dict.fromkeys(("smooth_autoencoder", "rae_l2", "rae_gp", "rae_sn"), MIXTURE),
    **dict.fromkeys(("vae", "beta_vae", "laplace_vae", "unit_vae", "iwae", "beta_tc_vae", "info_vae", "mmd_vae"), DENSE),
    **dict.fromkeys(("vamp_vae", "mixture_vae"), MIXTURE),
    "two_stage_vae": {**DENSE, "second_width": 8},
    "vqvae": {"width": 4, "depth": 2, "codes": 8},
    "vqvae_pixelcnn": {"width": 4, "depth": 2, "codes": 8, "prior_width": 8, "prior_depth": 2},
    "fsq_vae": {"width": 4, "depth": 2, "levels": (3, 3), "prior_width": 8, "prior_depth": 2},
    "kl_autoencoder": {"width": 4, "critic_width": 4},
    "vq_autoencoder": {"width": 4, "codes": 8, "critic_width": 4},
    **dict.fromkeys(("wae_mmd", "gaussian_wae_mmd", "rbf_wae_mmd", "swae", "cwae", "wae_gan", "aae"), GAME),
    **dict.fromkeys(("gan", "dcgan", "lsgan", "wgan", "wgan_gp", "sngan_hinge", "relativistic_gan"), CONVOLUTIONAL),
    "conditional_gan": CONVOLUTIONAL,
    **dict.fromkeys(("sngan", "biggan"), RESIDUAL),
    "r3gan": CONVOLUTIONAL | {"depth": 1},
    "stylegan2": {"width": 4, "depth": 1, "latent_dim": 3, "style_dim": 3},
    **dict.fromkeys(("flow_matching", "ddpm", "edm", "conditional_diffusion", "ncsn"), UNET),
    **dict.fromkeys(("mean_flow", "consistency"), UNET),
    "dit": {"width": 16, "depth": 1, "heads": 2, "steps": 2},
    "planar_vae": {**DENSE, "flow_layers": 2},
    "iaf_vae": {**DENSE, "flow_layers": 2, "flow_width": 8},
    **dict.fromkeys(("glow", "realnvp", "spline_flow"), FLOW),
    "nice": {"width": 16, "depth": 1},
    "maf": {"width": 16, "layers": 2},
    "planar_flow": {"layers": 3},
    "pixelcnn": {"width": 8, "depth": 2, "first_kernel": 3},
    "pixelcnn_pp": {"width": 8, "halvings": 1, "components": 2},
    "rbm": {"hidden": 8, "sample_steps": 5},
    "gaussian_rbm": {"hidden": 8, "sample_steps": 5},
    "ebm": {"width": 4, "depth": 2, "steps": 3, "sample_steps": 5, "buffer_size": 32},
    "score_ebm": {"width": 4, "depth": 2, "sample_steps": 5},
    "latent_diffusion": {**DENSE, "autoencoder_width": 16, "steps": 3},
    "spatial_latent_diffusion": {"grid_width": 4, "unet_width": 8, "unet_multipliers": (1,), "steps": 2},
}
# A WAE with a game steps as an autoencoder with a second optimizer, which the toy family tries in every mode.
FULL = ("toy", "autoencoder", "vae", "gan", "flow_matching", "glow", "pixelcnn_pp", "ebm")
MODES = {
    "graph": {"jit_compile": False, "steps_per_execution": 1},
    "eager": {"run_eagerly": True},
    "xla": {"jit_compile": True, "steps_per_execution": 1},
    "two_steps": {"jit_compile": False, "steps_per_execution": 2},
    "bfloat16": {"dtype": "mixed_bfloat16", "jit_compile": False, "steps_per_execution": 1},
    "replicas": {"jit_compile": False, "steps_per_execution": 1},
}


def build(name, mode="graph", **overrides):
    settings = {**MODES[mode], "seed": 0, **overrides}
    if name == "toy":
        return build_toy(SHAPE, **settings)
    return gz.build(name, SHAPE, **{**TINY[name], **settings})


def batches(name, images, batch_size=4, drop_remainder=True):
    """A data set in a fixed order, with labels, or with what else the recipe needs."""
    if name == "smooth_autoencoder":
        return gz.data.load(images, batch_size=batch_size, shuffle=False, drop_remainder=drop_remainder, neighbours=2)
    return tf.data.Dataset.from_tensor_slices((images, np.arange(len(images)) % 3)).batch(batch_size, drop_remainder)


# The lean pass of `make test`: all but variants of the families that take longest, whose code another recipe runs.
SLOW = {"edm", "ncsn", "consistency", "ddpm", "conditional_diffusion", "realnvp", "spline_flow", "gaussian_rbm", "score_ebm"}
# Objectives and penalties are held against numbers by themselves.
SLOW |= {"lsgan", "wgan", "wgan_gp", "dcgan", "relativistic_gan", "sngan_hinge", "biggan"}
# Variants of autoencoders, VAEs and WAEs differ by a term of the loss, which tests of its own see act.
SLOW |= {name for family in ("autoencoder", "vae", "wae") for name in gz.recipes.names()[family]} - {
    *("autoencoder", "dense_autoencoder", "vae", "iaf_vae", "vqvae", "kl_autoencoder", "wae_gan"),
}
LEAN = {"toy", *TINY} - SLOW


def in_make_test(names):
    # One worker for a recipe, and one recipe after another, so that what is compiled once serves all of its tests.
    marks = {name: [pytest.mark.xdist_group(name), *([] if name in names else [pytest.mark.slow])] for name in ["toy", *TINY]}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=marks[name]) for name in marks], scope="module")


# How a step is compiled and shared out concerns all families alike: `make test` tries two of them in every mode.
every, full, two = in_make_test(LEAN), in_make_test(FULL), in_make_test(("toy", "vae"))


@pytest.fixture(scope="module")
def compiled(name):
    """A model of the recipe, with averages, and its variables as they are at first."""
    model = build(name, ema=0.9)
    return model, [variable.numpy() for variable in variables(model)]


@pytest.fixture
def model(compiled):
    """A new model, but for its graphs: their tracing takes longer than all else."""
    return anew(*compiled)


def anew(model, values):
    for variable, value in zip(variables(model), values, strict=True):
        variable.assign(value)
    model._initial_epoch = None  # BackupAndRestore leaves it where the run had ended
    return model


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_every_recipe_is_tested():
    # "ddpm/cifar10" is "ddpm" with the published sizes.
    own = {name for name, each in gz.recipes.RECIPES.items() if each.make.__module__.startswith("keras_genzoo.")}
    assert set(TINY) == {name for name in own if "/" not in name}


def generators():
    keras_state = keras.src.random.seed_generator.global_seed_generator().state.numpy().tolist()
    return random.getstate(), str(np.random.get_state()), keras_state  # noqa: NPY002


@full
def test_the_seed_fixes_the_initial_weights_and_global_generators_stay(name):
    if name == "toy":
        pytest.skip("its networks are made before it")
    weights = []
    for seed, before in ((3, 0), (3, 1), (4, 1)):
        keras.utils.set_random_seed(before)
        stood = generators()
        weights.append(build(name, seed=seed).get_weights())
        assert generators() == stood
    for first, second in zip(*weights[:2], strict=True):
        np.testing.assert_array_equal(first, second)
    assert not all(map(np.array_equal, weights[0], weights[2]))


@pytest.mark.parametrize("mode", ["graph", "eager"])
@full
def test_fit_works_in_graphs_and_without(name, mode, images, request):
    check_fit(name, mode, images, request)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in ("graph", "eager")])
@two
def test_fit_works_in_every_mode(name, mode, images, request):
    check_fit(name, mode, images, request)


def check_fit(name, mode, images, request):
    if mode == "replicas":
        with request.getfixturevalue("replicas").scope():
            model = build(name, mode)
    else:
        model = request.getfixturevalue("model") if mode == "graph" else build(name, mode)
    # Eager steps are slow, and an epoch has four.
    epochs = 1 if mode == "eager" else 2
    # A last batch of one image leaves a replica without any.
    data = batches(name, images[:9], drop_remainder=False) if mode == "replicas" else batches(name, images)
    history = model.fit(data, validation_data=data, epochs=epochs, verbose=0).history
    assert "loss" in history and (model.monitor is None or model.monitor in history)
    for key, values in history.items():
        assert np.isfinite(values).all(), (key, values)
    assert all(np.isfinite(variable.numpy()).all() for variable in variables(model))
    trained = {key for key in history if not key.startswith("val_")}
    assert {key[4:] for key in history if key.startswith("val_")} == trained - set(model.diagnostics)
    assert forward(model, images).dtype == tf.float32
    if mode == "bfloat16":
        kinds = keras.layers.Dense, keras.layers.Conv2D
        computing = {layer.compute_dtype for layer in model._flatten_layers() if isinstance(layer, kinds)}
        if computing:  # planar flows and Boltzmann machines are made of other layers
            assert "float32" in computing  # heads
            assert "bfloat16" in computing or name == "linear_autoencoder"  # hidden layers, of all others
    if mode == "xla":
        assert model.jit_compile is True


@full
def test_training_lowers_the_monitored_value(name, model, images):
    if model.monitor is None:
        pytest.skip("none of its losses tells")
    for optimizer in model.optimizers:
        getattr(model, optimizer).learning_rate = 0.003
    # Epochs of twelve steps: each takes a while to begin and to end.
    history = model.fit(batches(name, images).repeat(3), epochs=10, verbose=0).history[model.monitor]
    assert np.mean(history[-2:]) < np.mean(history[:2])


@every
def test_every_trainable_variable_gets_a_gradient(name, images):
    testing.check_gradients(build(name, "eager"), batches(name, images))


@full
def test_a_trained_model_is_loaded_whole_and_trains_on_as_if_never_interrupted(name, model, images, tmp_path):
    data = batches(name, images)
    model.fit(data, validation_data=data, verbose=0)
    if hasattr(model, "fit_prior"):
        model.fit_prior(images)
    model.save(tmp_path / "model.keras")
    loaded = gz.load(tmp_path / "model.keras")
    assert_same(outputs(model, images, samples=2), outputs(loaded, images, samples=2))
    assert_same(state(model), state(loaded))
    for each in (model, loaded):
        each.fit(data, verbose=0)
    assert_same(state(model), state(loaded))
    assert model.optimizer.iterations == 8


@two
def test_weights_alone_carry_a_trained_model_over(name, model, images, tmp_path):
    model.fit(batches(name, images), verbose=0)
    model.save_weights(tmp_path / "model.weights.h5")
    other = build(name, ema=0.9)
    assert not np.array_equal(forward(model, images), forward(other, images))
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same(outputs(model, images, samples=2), outputs(other, images, samples=2))


@two
def test_the_callbacks_of_keras_work(name, model, images, tmp_path):
    callbacks = keras.callbacks
    rates, scheduled = [], name != "r3gan"  # whose rate is a ramp, and Keras sets none that is a schedule
    scheduler = [callbacks.LearningRateScheduler(lambda epoch: 0.01 / (epoch + 1))] if scheduled else []
    model.fit(
        batches(name, images),
        validation_data=batches(name, images),
        epochs=3,
        verbose=0,
        callbacks=[
            callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_loss", save_best_only=True),
            callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True),
            *scheduler,
            callbacks.TensorBoard(tmp_path / "logs"),
            callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: rates.append(float(model.optimizer.learning_rate))),
        ],
    )
    assert not scheduled or rates == pytest.approx([0.01, 0.005, 0.01 / 3][: len(rates)])
    assert list((tmp_path / "logs").rglob("events.out.tfevents.*"))
    assert gz.load(tmp_path / "best.keras").image_shape == SHAPE


@two
def test_backup_and_restore_resumes_an_interrupted_run(name, compiled, model, images, tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def train(model, *callbacks):
        model.fit(batches(name, images), epochs=3, verbose=0, callbacks=[*callbacks])
        return model

    expected = outputs(train(model), images, samples=2)
    anew(*compiled)
    with pytest.raises(KeyboardInterrupt):
        train(model, Interrupt(), keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False))
    # For the toy a new model, as there is in a new process; of the others one that has forgotten everything.
    again = build(name, ema=0.9) if name == "toy" else anew(model, [2 * value for value in compiled[1]])
    train(again, keras.callbacks.BackupAndRestore(tmp_path / "backup"))
    assert again.optimizer.iterations == 12
    assert_same(expected, outputs(again, images, samples=2))


@every
def test_sampling_repeats_with_its_seed_at_any_batch_size(name, model, images):
    if hasattr(model, "fit_prior"):
        assert hasattr(model, "sample") == (model.density() is not model.prior)  # the model has a prior of its own
        model.fit_prior(images)
    testing.check_sampling(model)


@every
def test_the_config_survives_json(name, model):
    testing.check_config(model)


@full
def test_what_is_defined_works_and_what_is_not_is_absent(name, model, images):
    testing.check_members(model, images)
    codes = hasattr(model, "encode") and hasattr(model, "decode")
    assert hasattr(model, "interpolate") == (codes or hasattr(model, "project"))
    assert hasattr(model, "bits_per_dim") == (hasattr(model, "log_prob") and model.support != "binary")
