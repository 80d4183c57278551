"""How recipes are executed: precision, GPUs, memory that is not kept, graphs that stay small."""

import json
import tracemalloc
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from tensorflow.python.framework import ops as eager

import keras_genzoo as gz
from keras_genzoo.cli import main
from keras_genzoo.core import memory
from keras_genzoo.metrics import neighbours
from keras_genzoo.recipes import building, precision

MEASURED = {
    "times as fast": [1.5, 1.2, 1.6],
    "float32": [1.0, 1.1, 1.2],
    "mixed_bfloat16": [1.0, 1.15, 1.2],
    "cpu": "a processor",
}
IMAGES = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), dtype=np.uint8)


# Precision


@pytest.mark.parametrize(
    "flags, change, chosen, reason",
    [
        (("avx512_bf16",), {}, "mixed_bfloat16", "1.50 (1.20 to 1.60) times as fast on a processor and trained as well"),
        (("avx2",), {}, "float32", "no instructions"),
        (("amx_bf16",), {"times as fast": [1.1, 0.9, 1.3]}, "float32", "1.10 (0.90 to 1.30)"),
        (("amx_bf16",), {"mixed_bfloat16": [1.9, 2.0, 2.1]}, "float32", "trained worse"),
    ],
)
def test_auto_takes_bfloat16_where_the_processor_has_it_and_it_was_faster_and_as_good(monkeypatch, flags, change, chosen, reason):
    monkeypatch.setattr(precision, "cpu_flags", lambda: flags)
    monkeypatch.setattr(precision, "table", lambda: {"dense_autoencoder": MEASURED | change})
    said = []
    assert gz.recipes.automatic_dtype("dense_autoencoder", said.append) == chosen
    assert reason in said[0] and chosen in said[0]
    model = gz.build("dense_autoencoder", (8, 8, 3), dtype="auto", width=8)
    assert {layer.compute_dtype for layer in model.encoder.layers if "hidden" in layer.name} == {chosen.removeprefix("mixed_")}


def test_auto_is_float32_where_nothing_was_measured(monkeypatch, capsys):
    monkeypatch.setattr(precision, "cpu_flags", lambda: precision.FLAGS)
    monkeypatch.setattr(precision, "table", dict)
    gz.build("dense_autoencoder", (8, 8, 3), dtype="auto", width=8)
    assert capsys.readouterr().out == "dense_autoencoder computes in float32: nobody has measured it in bfloat16.\n"


def test_the_stored_table_is_of_recipes_that_there_are():
    for name, row in precision.table().items():
        assert gz.recipes.get(name) and set(row) >= set(MEASURED)


@pytest.mark.parametrize("capability, chosen", [((8, 0), "mixed_bfloat16"), ((7, 5), "float32"), (None, "float32")])
def test_auto_follows_the_gpu(monkeypatch, capability, chosen):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {"compute_capability": capability})
    assert gz.recipes.automatic_dtype("vae", list) == chosen


def test_train_says_the_precision_that_it_chose_and_records_it(monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "cpu_flags", lambda: ("avx512_bf16",))
    monkeypatch.setattr(precision, "table", lambda: {"dense_autoencoder": MEASURED})
    command = ["train", "dense_autoencoder", "--steps", "1", "--set", "width=8", "--mixed-precision", "auto", "--quiet"]
    result = CliRunner().invoke(main, [*command, "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "dense_autoencoder computes in mixed_bfloat16" in result.output
    assert json.loads((tmp_path / "run.json").read_text())["dtype"] == "mixed_bfloat16"


# GPUs


def test_on_a_gpu_recipes_are_compiled_and_do_ten_steps_a_call(monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["a GPU"])
    model = gz.build("autoencoder", (8, 8, 3), width=8)
    assert (model.jit_compile, model.steps_per_execution) == (True, 10)
    assert gz.build("autoencoder", (8, 8, 3), width=8, jit_compile=False, steps_per_execution=1).jit_compile is False
    with tf.distribute.OneDeviceStrategy("/CPU:0").scope():
        assert building._execution(gz.recipes.get("autoencoder")) == {}


@pytest.mark.parametrize("name", ["vae", "gan", "glow", "flow_matching", "ebm", "rbm"])
def test_an_epoch_reads_no_more_from_the_device_than_whether_data_ended(name, monkeypatch):
    read = []
    numpy = eager._EagerTensorBase._numpy
    monkeypatch.setattr(eager._EagerTensorBase, "_numpy", lambda tensor: (read.append(tensor.shape), numpy(tensor))[1])
    model = gz.build(name, (8, 8, 1), seed=0, jit_compile=False, steps_per_execution=1, **SMALL.get(name, {}))
    data = gz.data.load((IMAGES[..., :1] >= 128).astype("float32"), batch_size=4, **model.data_needs).repeat()
    model.fit(data, steps_per_epoch=1, verbose=0)
    counts = []
    for steps in (2, 6):
        read.clear()
        model.fit(data, steps_per_epoch=steps, verbose=0)
        counts.append(len(read))
    assert counts[1] - counts[0] <= 4, counts  # Keras asks once a call whether the data have ended


SMALL = {
    "gan": {"width": 8, "hidden": 8},
    "glow": {"levels": 1, "steps": 1, "width": 8, "dense": 0, "dequantisation": 0},
    "flow_matching": {"width": 8, "multipliers": (1,)},
    "ebm": {"width": 8},
}


# Memory


REMAT = {
    "dit": {"width": 32, "depth": 3, "patch": 1, "num_classes": None},
    "flow_matching": {"width": 8, "multipliers": (1, 2), "attention": (1,), "dropout": 0.1, "patch": 1},
    "glow": {"levels": 1, "steps": 3, "width": 64, "marginals": False, "dense": 0, "dequantisation": 0},
}


@pytest.mark.parametrize("name", REMAT)
def test_what_is_computed_again_trains_and_samples_alike_in_less_memory(name, tmp_path):
    found, held = [], []
    for remat in (False, True):
        model = gz.build(name, (8, 8, 3), seed=0, remat=remat, **REMAT[name])
        data = tf.data.Dataset.from_tensor_slices(IMAGES).batch(16, drop_remainder=True)
        held.append(memory.of_step(model, data) - 4 * model.count_params())
        losses = model.fit(IMAGES, batch_size=16, epochs=2, verbose=0).history["loss"]
        found.append((losses, model.sample(2, seed=0)))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-5)
    np.testing.assert_allclose(found[1][1], found[0][1], atol=1e-4)
    assert held[1] < 0.8 * held[0], held
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(gz.load(tmp_path / "model.keras").sample(2, seed=0), found[1][1])


def test_batch_statistics_are_not_computed_twice():
    network = gz.networks.residual_coupling((4, 4, 2), 4, width=4, blocks=1)
    with pytest.raises(ValueError, match="remat computes coupling twice"):
        gz.bijectors.Coupling(network, remat=True)


def test_attention_says_before_it_is_built_that_it_takes_too_much():
    with pytest.warns(UserWarning, match="attention among 128x128 pixels holds 1.0 GiB for each image of a batch; attend at"):
        gz.networks.unet((128, 128, 1), width=4, multipliers=(1,), attention=(0,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gz.networks.unet((128, 128, 1), width=4, multipliers=(1, 1, 1), attention=(2,))


def test_scores_of_neighbours_hold_a_tile_of_distances(monkeypatch):
    real, generated = np.random.default_rng(0).normal(size=(2, 3000, 8)).astype("float32")
    generated[:10] = real[:10]
    whole = neighbours.neighbour_scores(real, generated)
    monkeypatch.setattr(neighbours, "TILE", (256, 128))
    tracemalloc.start()
    try:
        tiled = neighbours.neighbour_scores(real, generated)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert tiled == whole == (*gz.metrics.precision_recall(real, generated), *gz.metrics.density_coverage(real, generated))
    assert peak < 0.1 * 8 * len(real) * len(generated), peak


# Graphs


def test_a_step_of_the_published_sampler_is_a_small_graph():
    model = gz.build("ddpm/cifar10", (32, 32, 3), width=32)  # the layers of the published one, narrower

    def step(x, times, key):
        return model.sampler.step((x,), model.denoiser(clip=model.clip), model.schedule, times[0], times[1], key)

    specs = tf.TensorSpec((None, 32, 32, 3)), tf.TensorSpec((2,)), tf.TensorSpec((2,), tf.int64)
    operations = tf.function(step, autograph=False).get_concrete_function(*specs).graph.get_operations()
    assert len(operations) < 5000 and sum(each.type == "Const" for each in operations) < 1700


def test_attention_is_that_of_keras():
    query, key, value = np.random.default_rng(0).normal(size=(3, 2, 5, 2, 3)).astype("float32")
    layer = gz.layers.SelfAttention(2)
    layer.build((None, 5, 6))
    for projection, each in zip(layer.projections, (query, key, value), strict=True):
        projection.call = lambda x, each=each: tf.reshape(each, (10, 6))
    layer.last = lambda x: x
    expected = keras.ops.dot_product_attention(query, key, value)
    np.testing.assert_allclose(layer.call(tf.zeros((2, 5, 6))), tf.reshape(expected, (2, 5, 6)), atol=1e-6)
