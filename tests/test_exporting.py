"""Models as graphs for other programs: what these compute is what the model does."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from test_case import FULL, LEAN, SHAPE, TINY, batches, build

import keras_genzoo as gz
from keras_genzoo.core.randomness import RowStream
from keras_genzoo.core.seed_sequence import key_of

IMAGES = np.random.default_rng(0).integers(0, 256, (8, *SHAPE), np.uint8) / np.float32(255)
LABELS = np.arange(8) % 3
SEED = tf.constant(2**40 + 3, tf.int64)


def trained(name, **overrides):
    """A model after an epoch, with averages that are not the weights, and with a prior where it fits one."""
    model = build(name, ema=0.9, **overrides)
    images = np.round(IMAGES) if name == "rbm" else IMAGES
    model.fit(batches(name, images), epochs=1, verbose=0)
    if hasattr(model, "fit_prior"):
        model.fit_prior(images)
    return model, images


def served(model, folder):
    model.export(folder / "saved")
    return tf.saved_model.load(folder / "saved")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in LEAN & {*FULL, "vqvae", "rbm"} else pytest.mark.slow) for name in ["toy", *TINY]],
)
def test_a_saved_model_computes_what_the_model_does_with_the_averages(name, tmp_path):
    model, images = trained(name)
    weights = [variable.numpy() for variable in model.variables]
    there = served(model, tmp_path)
    for variable, before in zip(model.variables, weights, strict=True):
        np.testing.assert_array_equal(variable.numpy(), before)
    labels = [tf.constant(LABELS, tf.int64)] if model.conditional else []
    named = {"labels": LABELS} if model.conditional else {}
    np.testing.assert_allclose(there.sample(tf.constant(70), SEED), model.sample(70, seed=int(SEED)), atol=1e-5)
    if model.num_classes is not None:
        ours = model.sample(8, seed=4, labels=LABELS)
        np.testing.assert_allclose(there.sample_labels(tf.constant(LABELS, tf.int64), tf.constant(4, tf.int64)), ours, atol=1e-5)
    if hasattr(model, "encode"):
        by_label = {} if not labels or name == "toy" else named
        codes = np.asarray(model.encode(images, **by_label))
        np.testing.assert_allclose(there.encode(images, *(labels if by_label else [])), codes, rtol=1e-4, atol=1e-4)
    if hasattr(model, "encode") and hasattr(model, "decode"):
        found = there.decode(codes, *(labels if by_label else []))
        np.testing.assert_allclose(found, model.decode(codes, **by_label), atol=1e-5)
    for method in ("encode", "decode", "log_prob", "sample"):
        assert hasattr(there, method) == hasattr(model, method)
    if hasattr(model, "log_prob"):
        np.testing.assert_allclose(there.log_prob(images, *labels), model.log_prob(images, **named), rtol=1e-4)
    np.testing.assert_allclose(there.serve(images, *labels), model((images, *labels) if labels else images), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_saved_model_runs_without_this_package_and_keras(tmp_path):
    model, _ = trained("vae")
    served(model, tmp_path)
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        "sys.modules['keras_genzoo'] = None\n"
        f"there = tf.saved_model.load({str(tmp_path / 'saved')!r})\n"
        f"np.save({str(tmp_path / 'found.npy')!r}, there.sample(tf.constant(5), tf.constant(1, tf.int64)))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), model.sample(5, seed=1), atol=1e-5)


RUNTIMES = {
    "onnx": ["vae-encode", "vae-decode", "gan-generate", "latent_diffusion-generate"],
    "litert": ["vae-decode", "gan-decode", "flow_matching-generate", "latent_diffusion-generate"],
}


@pytest.mark.parametrize("case", [f"{kind}-{case}" for kind in RUNTIMES for case in RUNTIMES[kind]])
def test_onnx_and_litert_compute_what_the_model_does(case, tmp_path):
    kind, name, endpoint = case.split("-")
    model, images = trained(name)
    rows = images if endpoint == "encode" else model.draw_latents(3, RowStream(0, 0)).numpy()
    if kind == "onnx":
        runtime = pytest.importorskip("onnxruntime")
        model.export(tmp_path / "m.onnx", format="onnx", endpoint=endpoint)
        session = runtime.InferenceSession(tmp_path / "m.onnx")
        found = session.run(None, {session.get_inputs()[0].name: rows})[0]
    else:
        interpreter = pytest.importorskip("ai_edge_litert.interpreter")
        model.export(tmp_path / "m.tflite", format="litert", endpoint=endpoint)
        runner = interpreter.Interpreter(str(tmp_path / "m.tflite"))
        place = runner.get_input_details()[0]["index"]
        runner.resize_tensor_input(place, rows.shape)
        runner.allocate_tensors()
        runner.set_tensor(place, rows)
        runner.invoke()
        found = runner.get_tensor(runner.get_output_details()[0]["index"])
    expected = getattr(model, endpoint)(
        rows, **({"key": RowStream(0, 0).key()} if endpoint == "generate" and model.keyed else {})
    )
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_cannot_be_exported_is_one_sentence_and_leaves_no_file(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    model, _ = trained("ebm")
    with pytest.raises(ValueError, match=r"ONNX lacks an operation of this endpoint of 'energy_model.*SavedModel"):
        model.export(tmp_path / "m.onnx", format="onnx", endpoint="generate")
    with pytest.raises(ValueError, match=r"endpoint is 'encode', but .* has serve, sample, generate"):
        model.export(tmp_path / "m.onnx", format="onnx", endpoint="encode")
    with pytest.raises(ValueError, match="format is 'h5', expected one of tf_saved_model, onnx, litert"):
        model.export(tmp_path / "m.h5", format="h5")
    with pytest.raises(ValueError, match="takes no endpoint="):
        model.export(tmp_path / "m", endpoint="sample")
    for format in ("tf_saved_model", "litert"):
        with pytest.raises(ValueError, match="export takes no opset_version= for the format"):
            model.export(tmp_path / "m", format=format, opset_version=18)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_concrete_functions", full)
    with pytest.raises(OSError, match="No space left"):
        build("vae").export(tmp_path / "m.tflite", format="litert")


def full(*_):
    raise OSError(28, "No space left on device")


def test_an_export_takes_the_place_of_the_one_before_and_a_loaded_model_exports(tmp_path):
    model, _ = trained("dense_autoencoder")
    model.save(tmp_path / "model.keras")
    served(model, tmp_path)
    (tmp_path / "saved" / "stale").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    for path in (tmp_path / "other", tmp_path / "model.keras"):
        with pytest.raises(FileExistsError, match="is no earlier export"):
            model.export(path)
    assert (tmp_path / "other" / "thesis.tex").exists()
    there = served(gz.load(tmp_path / "model.keras"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "other", "saved"]
    assert not (tmp_path / "saved" / "stale").exists()
    np.testing.assert_allclose(there.sample(tf.constant(3), tf.constant(1, tf.int64)), model.sample(3, seed=1), atol=1e-5)


def test_sample_within_a_graph_needs_a_seed():
    model = build("vae")
    np.testing.assert_allclose(tf.function(lambda: model.sample(3, seed=5))(), model.sample(3, seed=5), atol=1e-6)
    with pytest.raises(ValueError, match="no seed inside a tf"):
        tf.function(lambda: model.sample(3))()


def test_seeds_are_mixed_in_a_graph_as_numpy_does():
    graph = tf.function(lambda seed, draws: key_of(seed, draws, tf.range(4, dtype=tf.int64)))
    for seed in (0, 7, 2**31, 2**32 - 1, 2**32, 2**62 + 11):
        for draws in (1, 5):
            expected = [np.random.SeedSequence([seed, draws, block]).generate_state(2, "uint64") for block in range(4)]
            found = graph(tf.constant(seed, tf.int64), tf.constant(draws, tf.int64))
            np.testing.assert_array_equal(np.asarray(found).view("uint64"), expected)
