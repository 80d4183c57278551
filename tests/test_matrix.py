"""Every recipe in every precision, through every door: what a family is right in by itself must stay right where parts meet."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_case import SHAPE, TINY, batches, build

import keras_genzoo as gz
from keras_genzoo.core import randomness
from keras_genzoo.testing import likely, outputs

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
QUICK = "mixed_float16"  # of a narrow range: where it works, bfloat16 mostly does
IMAGES = np.random.default_rng(0).integers(0, 256, (8, *SHAPE)).astype("uint8")


def few(model, name):
    """Settings that make a likelihood cheap."""
    if name != "log_prob":
        return {}
    if hasattr(model, "log_partition"):
        return {"log_partition": 3.0}
    return {"samples": 2} if hasattr(model, "log_prob") and "samples" in inspect.signature(model.log_prob).parameters else {}


def questions(model):
    """What the model can be asked of images, name -> function of images."""
    names = [name for name in ("encode", "reconstruct", "posterior", "energy", "log_prob") if hasattr(model, name)]
    return {name: lambda x, name=name: getattr(model, name)(x, **few(model, name)) for name in names}


def check_answers(model, precision):
    """All answers are finite; images are float32 in [0, 1], likelihoods float32."""
    images = likely(model, IMAGES)
    answers = {name: ask(images) for name, ask in questions(model).items()}
    if hasattr(model, "sample"):
        answers["sample"] = model.sample(5, seed=0, batch_size=3)
    if hasattr(model, "encode") and hasattr(model, "decode"):
        answers["decode"] = model.decode(answers["encode"])
    for name, answer in answers.items():
        for part in map(np.asarray, tf.nest.flatten(answer)):
            assert np.isfinite(part.astype("float32")).all(), name
            if name in ("sample", "decode", "reconstruct"):
                assert part.dtype == np.float32 and part.min() >= 0 and part.max() <= 1, name
            if name in ("log_prob", "energy"):
                assert part.dtype == np.float32, name


# `make test` has a recipe of each family, and the rest with `make test-all` and the shares of `make test-slow`.
CELLS = [
    pytest.param(
        recipe, precision, marks=() if precision == QUICK and recipe in ("vae", "gan", "glow", "maf", "ebm") else pytest.mark.slow
    )
    for recipe in TINY
    for precision in PRECISIONS
]


@pytest.mark.parametrize("recipe, precision", CELLS)
def test_every_recipe_works_in_every_precision(recipe, precision, tmp_path):
    model = build(recipe, dtype=precision, run_eagerly=precision == QUICK)
    data = batches(recipe, IMAGES)
    history = model.fit(data, epochs=2, verbose=0).history
    assert all(np.isfinite(values).all() for key, values in history.items() if not key.endswith("gradient_norm")), history
    if hasattr(model, "fit_prior"):
        model.fit_prior(IMAGES)
    check_answers(model, precision)
    model.save(tmp_path / "model.keras")
    again = gz.load(tmp_path / "model.keras")
    first, second = (outputs(each, IMAGES, **few(model, "log_prob")) for each in (model, again))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", TINY)
def test_every_recipe_works_under_xla(recipe):
    model = build(recipe, "xla")
    model.fit(batches(recipe, IMAGES), verbose=0)
    if hasattr(model, "fit_prior"):
        model.fit_prior(IMAGES)
    images = tf.constant(likely(model, IMAGES))
    asked = dict(questions(model))
    if hasattr(model, "encode") and hasattr(model, "decode"):
        asked["decode"] = lambda x: model.decode(model.encode(x))
    for name, ask in asked.items():
        plain, compiled = ask(images), tf.function(ask, jit_compile=True, autograph=False)(images)
        for a, b in zip(tf.nest.flatten(plain), tf.nest.flatten(compiled), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3, err_msg=name)
    if hasattr(model, "sample"):
        latents = model.draw_latents(4, randomness.RowStream(0, 0))
        latents = latents if model.num_classes is None else (latents, tf.one_hot([0, 1, 2, 0], model.num_classes))
        key = {"key": randomness.row_key(0, 0, 3, 0)} if model.keyed else {}
        made = tf.function(lambda z: model.generate(z, **key), jit_compile=True, autograph=False)(latents)
        assert np.isfinite(made).all()


@pytest.fixture
def global_policy():
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


# Those of make test clip gradients together, report their norm, or hand codes to a flow.
IN_FLOAT64 = ("gan", "iaf_vae")


@pytest.mark.parametrize("recipe", [pytest.param(name, marks=() if name in IN_FLOAT64 else pytest.mark.slow) for name in TINY])
def test_every_recipe_works_under_a_global_policy_of_float64(recipe, global_policy, tmp_path):
    global_policy("float64")
    model = build(recipe, "eager", ema=0.9)
    computing = {layer.compute_dtype for layer in model._flatten_layers() if isinstance(layer, keras.layers.Conv2D)}
    assert not computing or "float64" in computing
    data = batches(recipe, IMAGES)
    history = model.fit(data, validation_data=data, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values()), history
    if hasattr(model, "fit_prior"):
        model.fit_prior(IMAGES)
    check_answers(model, "float64")
    model.save(tmp_path / "model.keras")
    expected = outputs(model, IMAGES, **few(model, "log_prob"))
    global_policy("float32")
    again = outputs(gz.load(tmp_path / "model.keras"), IMAGES, **few(model, "log_prob"))
    for name in expected:
        np.testing.assert_array_equal(expected[name], again[name], err_msg=name)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=() if name in ("vae", "glow", "planar_flow") else pytest.mark.slow) for name in TINY]
)
def test_weights_in_16_bits_are_refused_and_parts_have_none(recipe, dtype, global_policy):
    global_policy(dtype)
    if recipe in ("planar_flow", "rbm", "gaussian_rbm", "linear_autoencoder"):  # of parts, or of float32 heads, alone
        model = build(recipe, "eager")
        assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
        model.fit(batches(recipe, IMAGES), verbose=0)
        check_answers(model, dtype)
        return
    with pytest.raises(ValueError, match=f"are in {dtype}, .*'mixed_{dtype}'"):
        build(recipe, "eager")
