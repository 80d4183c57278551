"""Whole models in the hands of people who use Keras: what they do to any model works, or is refused in one sentence."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_case import SHAPE, build

import keras_genzoo as gz
from keras_genzoo import priors
from keras_genzoo.core import randomness
from keras_genzoo.models.vae import VAE

layers = keras.layers


def dense_encoder(width=8, dropout=0.0, latent_dim=2):
    inputs = keras.Input(SHAPE)
    h = layers.Dense(width, activation="relu")(layers.Flatten()(inputs))
    h = layers.Dropout(dropout)(h)
    return keras.Model(inputs, [layers.Dense(latent_dim)(h), layers.Dense(latent_dim)(h)])


def dense_decoder(width=8, latent_dim=2):
    inputs = keras.Input((latent_dim,))
    h = layers.Dense(width, activation="relu")(inputs)
    return keras.Model(inputs, layers.Reshape(SHAPE)(layers.Dense(64, activation="sigmoid")(h)))


def vae(dropout=0.0, **settings):
    keras.utils.set_random_seed(0)
    model = VAE(dense_encoder(dropout=dropout), dense_decoder(), **{"seed": 0, **settings})
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    return model


def fit(model, images, epochs=2):
    return model.fit(images, epochs=epochs, batch_size=4, shuffle=False, verbose=0).history


def of_weights(model, n=4):
    """What `sample` draws, without anything that is compiled or kept."""
    return np.asarray(model.decode(model.draw_latents(n, randomness.RowStream(0, 0))))


# Graphs and averages follow the weights


def add_lora(model):
    for layer in model.decoder.layers:
        if isinstance(layer, layers.Dense):
            layer.enable_lora(2)
    model.compile(keras.optimizers.Adam(1e-1), jit_compile=False)


@pytest.mark.parametrize("ema", [0.9, pytest.param(None, marks=pytest.mark.slow)])
def test_samples_follow_low_rank_weights_and_files_keep_them(ema, images, tmp_path):
    model = vae(ema=ema)
    fit(model, images)
    before = model.sample(4, seed=0)
    add_lora(model)
    np.testing.assert_array_equal(model.sample(4, seed=0), before)
    fit(model, images, epochs=4)
    samples = model.sample(4, seed=0)
    assert np.abs(samples - before).max() > 0.01
    np.testing.assert_allclose(samples, of_weights(model), atol=1e-5)
    if ema:
        assert np.abs(samples - model.sample(4, seed=0, averaged=False)).max() > 1e-3
    model.save(tmp_path / "model.keras")
    again = gz.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.sample(4, seed=0), samples)
    assert np.isfinite(fit(again, images)["loss"]).all()  # Keras writes both weights as one: not as if never stopped


@pytest.mark.parametrize("ema", [0.9, pytest.param(None, marks=pytest.mark.slow)])
def test_samples_of_a_quantized_model_are_near_those_of_before_and_files_keep_it(ema, images, tmp_path, no_collection):
    model = vae(ema=ema)
    fit(model, images, epochs=6)
    before = model.sample(4, seed=0)
    model.quantize("int8")
    samples = model.sample(4, seed=0)
    assert 0 < np.abs(samples - before).max() < 0.03
    np.testing.assert_allclose(samples, of_weights(model), atol=1e-5)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(gz.load(tmp_path / "model.keras").sample(4, seed=0), samples)


def test_weights_that_were_given_and_never_trained_are_those_that_are_quantized(no_collection):
    model = vae(ema=0.9)
    model.decoder.set_weights([0.1 + weights for weights in model.decoder.get_weights()])
    before = model.sample(4, seed=0)
    model.quantize("int8")
    assert 0 < np.abs(model.sample(4, seed=0) - before).max() < 0.03


def test_weights_saved_as_soon_as_low_rank_weights_are_there_hold_their_averages(images, tmp_path):
    model, other = vae(ema=0.9), vae(ema=0.9)
    fit(model, images)
    for each in (model, other):
        for layer in each.decoder.layers:
            if isinstance(layer, layers.Dense):
                layer.enable_lora(2)
                layer.lora_kernel_b.assign(layer.lora_kernel_b + (0.1 if each is model else 0.0))
    model.save_weights(tmp_path / "model.weights.h5")
    other.sample(4, seed=0)
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(other.sample(4, seed=0), model.sample(4, seed=0), atol=1e-5)


def test_a_part_that_is_quantized_without_its_averages_is_refused(images, tmp_path, no_collection):
    model = vae(ema=0.9)
    fit(model, images)
    model.decoder.quantize("int8")
    for ask in (lambda: model.sample(2), lambda: model.save(tmp_path / "model.keras")):
        with pytest.raises(ValueError, match="is gone, and its average would be lost; quantize the model itself"):
            ask()


def test_samples_come_from_the_part_that_was_put_in_the_place_of_another():
    model = vae()
    before = model.sample(4, seed=0)
    model.decoder = dense_decoder()
    samples = model.sample(4, seed=0)
    assert np.abs(samples - before).max() > 0.01
    np.testing.assert_allclose(samples, of_weights(model), atol=1e-6)


def test_an_estimate_by_compiled_chains_follows_the_machine():
    model, other = build("rbm"), build("rbm", seed=5)
    other.machine.kernel.assign(3.0 * other.machine.kernel)
    before, _ = model.log_partition(samples=5, steps=5)
    model.machine = other.machine
    after, _ = model.log_partition(samples=5, steps=5)
    np.testing.assert_allclose(after, other.log_partition(samples=5, steps=5)[0], rtol=1e-6)
    assert abs(float(after - before)) > 1e-3


# What is frozen stays frozen


def frozen_vae():
    model = vae(prior=priors.TrainedMixture(2, 3), likelihood="gaussian")
    model.prior.trainable = False
    model.likelihood.trainable = False
    model.encoder.layers[2].trainable = False
    return model


def frozen_flow():
    model = build("glow")
    found = [layer for layer in model._flatten_layers() if type(layer).__name__ in ("ActNorm", "Coupling")]
    for layer in found[:2]:
        layer.trainable = False
    assert len(found) >= 2
    return model


def frozen_gan():
    model = build("gan")
    model.critic.trainable = False
    return model


@pytest.mark.parametrize("make", [frozen_vae, frozen_flow, pytest.param(frozen_gan, marks=pytest.mark.slow)])
def test_what_is_frozen_comes_back_frozen_with_the_state_of_the_optimizers(make, images, tmp_path, recwarn):
    model = make()
    model.compile(jit_compile=False)
    model.fit(images, batch_size=8, verbose=0)
    model.save(tmp_path / "model.keras")
    again = gz.load(tmp_path / "model.keras")
    assert not [str(each.message) for each in recwarn if "optimizer" in str(each.message)]
    names = [[variable.path.split("/")[-1] for variable in each.trainable_variables] for each in (model, again)]
    assert names[0] == names[1]
    for each in (model, again):
        each.fit(images, batch_size=8, shuffle=False, verbose=0)
    for first, second in zip(model.trainable_variables, again.trainable_variables, strict=True):
        np.testing.assert_allclose(first.numpy(), second.numpy(), atol=1e-6)


# Metrics and callbacks


@keras.saving.register_keras_serializable("tests")
class Counting(layers.Layer):
    """Passes on what it is given, and counts calls in training."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = keras.metrics.Sum(name="calls")

    def call(self, x, training=False):
        if training:
            self.calls.update_state(1.0)
        return x


@keras.saving.register_keras_serializable("tests")
class Watching(VAE):
    """Sums a one of each step."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.steps = keras.metrics.Sum(name="steps")

    def train_step(self, data):
        results = super().train_step(data)
        self.steps.update_state(1.0)
        return {**results, "steps": self.steps.result()}


def test_metrics_of_derived_classes_and_of_layers_are_of_one_epoch(images):
    inputs = keras.Input((2,))
    decoder = keras.Model(inputs, dense_decoder()(Counting()(inputs)))
    model = Watching(dense_encoder(), decoder, seed=0)
    model.compile(jit_compile=False)
    history = fit(model, images, epochs=3)
    assert history["steps"] == [4, 4, 4] and history["calls"] == [4, 4, 4]
    assert set(history) == {"loss", "reconstruction_loss", "kl_loss", "steps", "calls"}


@pytest.mark.parametrize(
    "make, monitor, mode",
    [
        (vae, "val_reconstruction_loss", "min"),
        (vae, "val_kl_loss", "min"),
        (lambda: build("nice"), "val_bits_per_dim", "min"),
        (lambda: build("vqvae"), "codebook_usage", "max"),
        (lambda: build("gan"), "diversity", "max"),
    ],
)
def test_callbacks_know_which_way_is_better(make, monitor, mode, images):
    watching = [keras.callbacks.EarlyStopping(monitor), keras.callbacks.ReduceLROnPlateau(monitor)]
    make().fit(images, validation_data=images, batch_size=8, verbose=0, callbacks=watching)
    expected = {"min": keras.ops.less, "max": keras.ops.greater}[mode]
    assert all(each.monitor_op is expected for each in watching)


@pytest.mark.parametrize("recipe, monitor", [("gan", "critic_loss"), ("wae_gan", "critic_loss"), ("wae_gan", "divergence_loss")])
def test_the_loss_of_a_game_has_no_better_way(recipe, monitor, images):
    with pytest.raises(ValueError, match="mode"):
        build(recipe).fit(images, batch_size=8, verbose=0, callbacks=[keras.callbacks.EarlyStopping(monitor)])


# Going on


def test_dropout_goes_on_after_loading_as_if_never_stopped(images, tmp_path):
    model = vae(dropout=0.5)
    fit(model, images)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded, filled = gz.load(tmp_path / "model.keras"), vae(dropout=0.5)
    filled.load_weights(tmp_path / "model.weights.h5")
    states = [each.encoder.layers[3].seed_generator.state.numpy() for each in (model, loaded, filled)]
    np.testing.assert_array_equal(states[0], states[1])
    np.testing.assert_array_equal(states[0], states[2])
    assert fit(model, images)["loss"] == fit(loaded, images)["loss"]
    plain = vae()
    plain.load_weights(tmp_path / "model.weights.h5")  # of a model without dropout: weights are weights


@pytest.mark.parametrize(
    "recipe, steps_per_execution",
    [("gan", 1), ("nice", 1), *(pytest.param(*each, marks=pytest.mark.slow) for each in (("vae", 1), ("vae", 2), ("gan", 2)))],
)
def test_data_of_unknown_length_are_counted_by_the_steps_that_trained(recipe, steps_per_execution, images):
    model = build(recipe, steps_per_execution=steps_per_execution, **({} if recipe == "nice" else {"ema": 0.9}))
    signature = tf.TensorSpec((None, *SHAPE), tf.uint8)
    data = tf.data.Dataset.from_generator(lambda: (images[i : i + 4] for i in (0, 4, 8)), output_signature=signature)
    model.fit(data, epochs=3, verbose=0)
    assert {int(getattr(model, name).iterations) for name in model.optimizers} == {9}
    assert {int(each.numpy()) for each in model._averages.steps.values()} <= {9}
    assert int(model.random.counter.numpy()) % 9 in (0, 1)  # one more where something was prepared


# Classes of one's own


@keras.saving.register_keras_serializable("tests")
class OwnNetworks(VAE):
    """Makes its networks by itself."""

    def __init__(self, width=8, ema=0.9, **kwargs):
        super().__init__(dense_encoder(width), dense_decoder(width), ema=ema, **kwargs)
        self.width = width


@keras.saving.register_keras_serializable("tests")
class Nearer(OwnNetworks):
    """Sets an argument of its base's base."""

    def __init__(self, **kwargs):
        super().__init__(width=6, beta=0.5, **kwargs)


@pytest.mark.parametrize(
    "make", [lambda: OwnNetworks(width=5, beta=2.0, seed=3), lambda: OwnNetworks(5, 0.8), lambda: Nearer(seed=1)]
)
def test_a_class_that_makes_its_networks_itself_is_loaded_again(make, images, tmp_path):
    model = make()
    model.compile(jit_compile=False)
    fit(model, images)
    model.save(tmp_path / "model.keras")
    again = gz.load(tmp_path / "model.keras")
    assert (again.width, again.beta, again.ema, again.seed) == (model.width, model.beta, model.ema, model.seed)
    np.testing.assert_array_equal(again.sample(3, seed=0), model.sample(3, seed=0))


@keras.saving.register_keras_serializable("tests")
class Forgetful(VAE):
    def __init__(self, size=8, **kwargs):
        super().__init__(dense_encoder(size), dense_decoder(size), **kwargs)


def unregistered():
    class Local(VAE):
        pass

    return Local(dense_encoder(), dense_decoder())


def with_a_lambda():
    encoder = dense_encoder()
    h = layers.Activation(lambda x: x)(encoder.outputs[0])
    return VAE(keras.Model(encoder.inputs, [h, encoder.outputs[1]]), dense_decoder())


@pytest.mark.parametrize(
    "make, name, message",
    [
        (unregistered, "model.keras", "Local is neither registered nor found in its module"),
        (with_a_lambda, "model.keras", "activation of .* is a lambda"),
        (vae, "model.h5", "model.h5 is to be an HDF5 file, from which no generative model can be loaded"),
    ],
)
def test_what_could_not_be_loaded_again_is_refused_when_it_is_saved(make, name, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_an_argument_without_an_attribute_of_its_name_is_refused_before_training():
    with pytest.raises(ValueError, match="Forgetful takes 'size' and keeps no attribute of that name"):
        Forgetful()
