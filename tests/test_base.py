"""What base promises beyond the shared model test: noise, averages, replicas, precision, regularisers, files."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from test_case import batches, build
from toy import build_toy

import keras_genzoo as gz
from keras_genzoo import augmentation
from keras_genzoo.core import randomness
from keras_genzoo.core.files import replacing
from keras_genzoo.core.serialization import constructor_arguments

SHAPE = (8, 8, 1)
LABELS = np.arange(16) % 3


def toy(**kwargs):
    return build_toy(SHAPE, **kwargs)


def stream(seed=0):
    return randomness.Stream(seed, keras.Variable(0, dtype="int64", trainable=False))


# Noise


def test_draws_are_standard_normal_and_uniform():
    assert scipy.stats.kstest(stream().normal((100_000,)).numpy(), "norm").pvalue > 1e-3
    assert scipy.stats.kstest(stream().uniform((100_000,)).numpy(), "uniform").pvalue > 1e-3


def test_no_draw_is_ever_infinite_or_one(monkeypatch):
    extremes = tf.constant([0, 2**32 - 1], tf.uint32)
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda *args, **kwargs: extremes)
    key = randomness.make_key(0)
    np.testing.assert_allclose(randomness.normal(key, (2,)), scipy.stats.norm.ppf([2**-24, 1 - 2**-24]), rtol=1e-4)
    assert randomness.uniform(key, (2,)).numpy().tolist() == [0.0, 1 - 2**-24]


def test_draws_advance_and_do_not_depend_on_xla():
    plain, compiled = stream(), stream()
    # The counter is a variable, so that nothing can be computed ahead, outside XLA.
    draw = tf.function(lambda: compiled.normal((50,)), jit_compile=True)
    first, second = plain.normal((50,)), plain.normal((50,))
    np.testing.assert_allclose(first, draw(), atol=1e-4)
    np.testing.assert_allclose(second, draw(), atol=1e-4)
    assert np.abs(first - second).max() > 0.1


def test_replicas_draw_different_noise(replicas):
    with replicas.scope():
        shared = stream()
    first, second = replicas.experimental_local_results(replicas.run(lambda: shared.normal((20,))))
    assert np.abs(first - second).max() > 0.1
    third, fourth = replicas.experimental_local_results(tf.function(lambda: replicas.run(lambda: shared.normal((20,))))())
    assert min(np.abs(first - third).max(), np.abs(second - fourth).max()) > 0.1
    keys = [replicas.experimental_local_results(replicas.run(shared.shared_key)) for _ in range(2)]
    assert keys[0][0].numpy().tolist() == keys[0][1].numpy().tolist() != keys[1][0].numpy().tolist()


@pytest.mark.parametrize("shape", ((), (3,), (5, 5, 3)))
def test_rows_of_a_key_are_those_of_the_whole_with_and_without_xla(shape):
    whole = randomness.uniform(randomness.fold(randomness.make_key(-5, 6), 4), (100, *shape)).numpy()
    draw = lambda start: randomness.uniform(randomness.fold(randomness.row_key(start, -5, 6), 4), (20, *shape))  # noqa: E731
    for start in (0, 37):
        np.testing.assert_array_equal(draw(start), whole[start : start + 20])
        compiled = tf.function(draw, jit_compile=True)(tf.constant(start, tf.int64))
        np.testing.assert_array_equal(compiled, whole[start : start + 20])


def test_a_row_of_noise_depends_on_its_number_alone():
    whole = randomness.RowStream(7, 0).normal((100, 3)).numpy()
    np.testing.assert_array_equal(randomness.RowStream(7, 37).normal((20, 3)), whole[37:57])
    assert len(np.unique(whole)) == whole.size


def test_no_two_draws_are_alike():
    """Of one stream, of streams of two seeds, of the streams of a model, and of one key's children."""
    model, rows = toy(seed=3), randomness.RowStream(3, 0)
    again = augmentation._Again(randomness.make_key(13))
    streams = model.random, model.random_test, stream(1), stream(2), again
    draws = [source.uniform((40,)) for source in streams for _ in range(3)]
    draws += [rows.uniform((40,)), rows.uniform((40,)), randomness.RowStream(4, 0).uniform((40,))]
    draws += [randomness.uniform(rows.key(), (40,))]
    for key in (randomness.make_key(9), randomness.row_key(0, 11)):
        draws += [randomness.uniform(randomness.fold(key, *numbers), (40,)) for numbers in ((), (0,), (1,), (0, 1), (1, 0))]
    draws += [randomness.uniform(model.random.shared_key(), (40,)) for _ in range(2)]
    np.testing.assert_array_less(np.corrcoef(np.array(draws)) - np.eye(len(draws)), 0.75)
    # A stream of noise goes on where the last one ended, for `normal`, `uniform` and `key` alike.
    one, other = stream(5), stream(5)
    one.uniform((1,)), one.key()
    other.normal((2, 2)), other.normal(())
    np.testing.assert_array_equal(one.normal((7,)), other.normal((7,)))


def test_validation_repeats_its_noise_and_leaves_training_alone(images):
    one, other = toy(), toy()
    other.set_weights(one.get_weights())
    data = tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(4)
    first = one.evaluate(data, verbose=0, return_dict=True)
    assert first == one.evaluate(data, verbose=0, return_dict=True)
    assert int(one._counters["random_test"]) == 4  # each batch drew its own noise, though averages were in use
    one.fit(data, verbose=0)
    other.fit(data, verbose=0)
    np.testing.assert_array_equal(one(images), other(images))


# Averages of the weights


def test_the_average_is_the_one_that_was_promised(images):
    model = toy(ema=0.15)
    model.compile(optimizer=keras.optimizers.SGD(0.001))
    kernel = model.decoder.layers[-2].kernel
    expected = np.zeros(kernel.shape)
    for step in range(4):
        model.fit(images, LABELS, batch_size=16, verbose=0)
        decay = min(0.15, step / (step + 10))
        expected = decay * expected + (1 - decay) * kernel.numpy()
    average = next(average for variable, average in model._averages.all if variable is kernel)
    np.testing.assert_allclose(average, expected, rtol=1e-5)
    assert np.abs(average - kernel).max() > 0


def test_inference_uses_the_averages_and_training_the_weights(images):
    model = toy(ema=0.9)
    model.fit(images, LABELS, epochs=3, verbose=0)
    averaged = np.asarray(model(images))
    raw = np.clip(model.decoder(model.encoder(model.images_of(images))), 0, 1)
    assert np.abs(averaged - raw).max() > 1e-5
    for variable, average in model._averages.all:
        variable.assign(average)
    np.testing.assert_allclose(model(images), averaged, atol=1e-6)


def test_averages_are_not_counted_as_parameters():
    assert (
        toy(ema=0.9).count_params()
        == toy(ema=None).count_params()
        == 64 * 16 + 16 + 16 * 4 + 4 + (4 * 16 + 16 + 16 * 64 + 64) + (64 * 8 + 8 + 8 * 3 + 3)
    )


def test_normalisation_statistics_are_averaged_too():
    model = gz.build("autoencoder", SHAPE, width=4, components=0, ema=0.9)
    averaged = {variable.path.split("/")[-1] for variable, _ in model._averages.all}
    assert {"kernel", "moving_mean", "moving_variance"} <= averaged


# The gradient step


@pytest.mark.parametrize(
    "clip", [{"global_clipnorm": 0.5}, *(pytest.param(clip, marks=pytest.mark.slow) for clip in ({}, {"clipvalue": 0.01}))]
)
def test_two_replicas_step_as_one_device_does_on_the_whole_batch(clip, images, replicas):
    def train():
        model = toy(ema=0.9)
        model.noise = 0.0
        model.compile(optimizer=keras.optimizers.SGD(0.01, **clip), critic_optimizer=keras.optimizers.SGD(0.01))
        return model

    alone = train()
    start = alone.get_weights()
    with replicas.scope():
        together = train()
    together.set_weights(start)
    data = tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(8)
    for model in (alone, together):
        model.fit(data, epochs=2, verbose=0)
    for one, other in zip(alone.get_weights(), together.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_float16_scales_the_loss_of_every_optimizer_and_trains(images):
    model = toy(dtype="mixed_float16")
    for argument in model.optimizers:
        assert isinstance(getattr(model, argument), keras.optimizers.LossScaleOptimizer)
    history = model.fit(images, LABELS, epochs=20, verbose=0).history["loss"]
    assert np.isfinite(history).all() and history[-1] < history[0]


def test_kernel_regularisers_of_every_layer_count_in_training_and_validation(images):
    """Of two layers of one network and one of the other, each with a weight of its own."""
    l2, kernels = keras.regularizers.L2, []

    def stack(shape, *layers):
        kernels.extend((layer, float(layer.kernel_regularizer.l2)) for layer in layers if hasattr(layer, "kernel_regularizer"))
        return keras.Sequential([keras.Input(shape), *layers])

    dense = keras.layers.Dense
    encoder = stack(SHAPE, keras.layers.Flatten(), dense(4, kernel_regularizer=l2(0.1)), dense(2, kernel_regularizer=l2(0.3)))
    decoder = stack((2,), dense(64, kernel_regularizer=l2(0.7)), keras.layers.Reshape(SHAPE))
    model = gz.models.Autoencoder(encoder, decoder)
    model.compile(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    penalty = sum(weight * float(np.sum(np.square(layer.kernel))) for layer, weight in kernels)
    for scores in (model.evaluate(images, verbose=0, return_dict=True), model.train_on_batch(images, return_dict=True)):
        assert scores["loss"] - scores["reconstruction_loss"] == pytest.approx(penalty, rel=1e-4)
    # And their gradient is in the step: of weights that the reconstruction leaves alone it is 2 * 0.7 * kernel.
    model.compile(optimizer=keras.optimizers.SGD(0.5), run_eagerly=True)
    encoder.set_weights([np.zeros_like(value) for value in encoder.get_weights()])  # codes of zero
    before = decoder.layers[0].kernel.numpy()
    model.train_on_batch(images)
    np.testing.assert_allclose(decoder.layers[0].kernel, (1 - 0.5 * 2 * 0.7) * before, atol=1e-6)


@keras.saving.register_keras_serializable("tests")
class Adding(keras.layers.Layer):
    """Adds its one weight, 0.5, to the loss of the network that it is in."""

    def build(self, input_shape):
        self.amount = self.add_weight(shape=(), initializer=keras.initializers.Constant(0.5))

    def call(self, x):
        self.add_loss(self.amount + 0.0 * keras.ops.mean(x))
        return x


def with_adding(part, where, layer):
    """The part of a model, made anew with the layer in front of the network at `where`."""
    if where:
        arguments = {name: getattr(part, name) for name in constructor_arguments(type(part))}
        return type(part)(**{**arguments, where[0]: with_adding(arguments[where[0]], where[1:], layer)})
    inputs = [keras.Input(each.shape[1:]) for each in part.inputs]
    seen = [layer(inputs[0]), *inputs[1:]]
    return keras.Model(inputs, part(seen if len(seen) > 1 else seen[0]))


@pytest.mark.parametrize(
    "name, where, term",
    [
        ("toy", "classifier", "classifier_loss"),
        ("gan", "critic", "critic_loss"),
        ("gan", "generator", "loss"),
        ("wae_gan", "divergence.critic", "critic_loss"),
        ("two_stage_vae", "second_encoder", "second_loss"),
        ("latent_diffusion", "autoencoder.encoder", "autoencoder_loss"),
        ("vamp_vae", "encoder", "loss"),  # which the prior calls again
    ],
)
def test_what_a_layer_adds_is_minimised_and_logged_once(name, where, term, images):
    plain = build(name, "eager", ema=0.9)
    layer, data = Adding(), batches(name, images[:4])
    model = with_adding(plain, where.split("."), layer)
    for each in (plain, model):
        each.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    scores = [each.evaluate(data, verbose=0, return_dict=True) for each in (plain, model)]
    for key in scores[0]:
        expected = scores[0][key] + (0.5 if key == term else 0.0)
        assert scores[1][key] == pytest.approx(expected, abs=1e-4, rel=1e-4), key
    for optimizer in plain.optimizers:
        getattr(plain, optimizer).learning_rate = 0.0
    batch = next(iter(data))
    before, after = (each.train_on_batch(*batch, return_dict=True) for each in (plain, model))
    # A step of the critic comes before the generator's.
    assert after[term] - before[term] == pytest.approx(0.5, abs=0.1 if name == "gan" and term == "loss" else 1e-3)
    assert layer.amount.numpy() == pytest.approx(0.49, abs=1e-6)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_kernel_regularisers_of_a_critic_are_in_its_logged_loss(ema, images):
    model = build("gan", "eager", ema=ema)
    inputs = keras.Input(SHAPE)
    kernel = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(3.0))
    critic = keras.Model(inputs, kernel(keras.layers.Flatten()(inputs)))
    losses = []
    for regularizer in (None, kernel.kernel_regularizer):
        kernel.kernel.regularizer = regularizer
        gan = gz.models.GAN(keras.models.clone_model(model.generator), critic, ema=ema, seed=0)
        gan.generator.set_weights(model.generator.get_weights())
        gan.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        logs = gan.evaluate(images, verbose=0, return_dict=True), gan.train_on_batch(images, return_dict=True)
        losses.append(np.array([each["critic_loss"] for each in logs]))
    np.testing.assert_allclose(losses[1] - losses[0], 3.0 * np.sum(np.square(kernel.kernel.numpy())), rtol=1e-4)


def test_the_loss_of_an_epoch_weighs_images_alike_when_the_last_batch_is_smaller(images):
    model = gz.build("dense_autoencoder", SHAPE, width=8, components=0)
    whole = model.evaluate(images[:10], batch_size=10, verbose=0)
    parts = model.evaluate(images[:10], batch_size=4, verbose=0)
    np.testing.assert_allclose(whole, parts, rtol=1e-5)


# Compilation and fit


def test_auto_is_decided_by_the_machine_that_loads(tmp_path):
    model = toy(jit_compile="auto", steps_per_execution=3)
    model.save(tmp_path / "model.keras")
    config = gz.load(tmp_path / "model.keras").get_compile_config()
    assert config["jit_compile"] == "auto" and config["steps_per_execution"] == 3


def test_prepare_is_called_once_in_a_models_life(images, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(gz.GenerativeModel, "prepare", lambda self, batch, dataset: calls.append(batch[0].shape))
    model = toy()
    model.fit(images, LABELS, batch_size=4, verbose=0)
    model.fit(images, LABELS, batch_size=4, verbose=0)
    model.save(tmp_path / "model.keras")
    gz.load(tmp_path / "model.keras").fit(images, LABELS, verbose=0)
    assert calls == [(4, *SHAPE)]


def test_a_generator_loses_no_batch_to_the_look_at_the_first(images):
    model = toy()
    seen = []
    step = model.train_step
    model.train_step = lambda data: seen.append(data[0].numpy()) or step(data)
    model.compile(run_eagerly=True)
    model.fit(((images[i : i + 4], LABELS[i : i + 4]) for i in range(0, 16, 4)), steps_per_epoch=4, verbose=0)
    np.testing.assert_array_equal(np.concatenate(seen), images)


def test_levels_and_unit_floats_are_the_same_images(images):
    model = toy()
    np.testing.assert_allclose(model(images), model(images.astype("float32") / 255), atol=1e-6)


def test_a_uniform_model_of_256_levels_has_exactly_8_bits_per_dimension(images):
    class Uniform(gz.GenerativeModel):
        image_shape = SHAPE
        support = "continuous"

        def log_prob(self, x):
            return tf.zeros(len(x))

    np.testing.assert_array_equal(Uniform().bits_per_dim(images), np.full(16, 8.0))


def test_sampling_compiles_once_for_all_sizes():
    model = gz.build("vae", SHAPE, width=8, latent_dim=2)
    for n in (1, 2, 3, 4, 5, 6, 7, 8, 300, 301, 555):
        model.sample(n, seed=0)
    _, graphs = model._graphs
    assert graphs["generate"].experimental_get_tracing_count() == 1


# Files


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    model = toy()
    model.save(path)
    before = path.read_bytes()

    def crash(*args, **kwargs):
        Path(args[0] if isinstance(args[0], (str, Path)) else args[1]).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "save", crash)
    with pytest.raises(KeyboardInterrupt):
        model.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


def test_a_replaced_file_can_be_read_by_others(tmp_path):
    with replacing(tmp_path / "a" / "file.json") as temporary:
        temporary.write_text("{}")
    assert (tmp_path / "a" / "file.json").stat().st_mode & 0o444 == 0o444


# The house


LAYERS = [  # imports run from later to earlier lines alone
    {"core"},
    {"distances", "augmentation", "layers", "divergences", "metrics", "data", "predictions", "mixtures", "odes"},
    {"causal", "likelihoods", "priors", "adversarial", "schedules", "spacings", "weightings", "regularizers", "bijectors"},
    {"samplers", "chains", "replay"},
    {"networks"},
    {"flows"},
    {"models"},
    {"recipes", "exchange"},
    {"evaluation"},
    {"callbacks", "testing"},
    {"tuning"},
    {"benchmark"},
    {"cli"},
]


def test_no_two_classes_are_registered_under_one_name():
    for path in sorted((Path(gz.__file__).parent).rglob("*.py")):
        module = ".".join(("keras_genzoo", *path.relative_to(Path(gz.__file__).parent).with_suffix("").parts))
        if path.stem not in ("__init__", "__main__"):
            for each in vars(importlib.import_module(module)).values():
                if isinstance(each, type) and keras.saving.get_registered_name(each).startswith("keras_genzoo>"):
                    assert keras.saving.get_registered_object(keras.saving.get_registered_name(each)) is each, each


def test_imports_run_one_way():
    level = {name: index for index, names in enumerate(LAYERS) for name in names}
    package = Path(gz.__file__).parent
    for file in package.rglob("*.py"):
        room = file.relative_to(package).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_genzoo"):
                parts = node.module.split(".")[1:]
                imported = parts[:1] or [alias.name for alias in node.names]
                for name in imported:
                    assert name == room or level[name] < level[room], (file, name)
        assert room in level, file


def test_importing_the_package_imports_nothing_heavy_beyond_keras_and_tensorflow():
    code = (
        "import sys, keras, tensorflow; before = set(sys.modules); import keras_genzoo;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names);"
        "print(sorted(new - {'keras', 'tensorflow', 'numpy'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['filelock', 'keras_genzoo']"
