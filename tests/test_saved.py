"""Files of models: what earlier versions saved computes what it did, and what is damaged or of something else is said."""

import json
import os
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from test_case import batches, build

import keras_genzoo as gz
from keras_genzoo.core.serialization import constructor_arguments
from keras_genzoo.testing import forward

BUILT = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "build_saved_models.py"))
FOLDER, outputs = BUILT["FOLDER"], BUILT["outputs"]
# Saved again: variables of a prior, of a second model inside, of a game, of a buffer. test_case.py saves models of all recipes.
AGAIN = ("autoencoder", "vae", "two_stage_vae", "wae_gan", "ebm")


def minor(version):
    return tuple(int(part) for part in version.split(".")[:2])


with zipfile.ZipFile(FOLDER / "vae.keras") as saved:
    KERAS = json.loads(saved.read("metadata.json"))["keras_version"]
readable = pytest.mark.skipif(minor(keras.__version__) < minor(KERAS), reason=f"the files are of Keras {KERAS}, newer than this")


# One of each way in which own variables stand in a file.
OLD = ("vae", "gan", "vqvae", "glow", "rbm", "latent_diffusion")


@readable
@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in OLD else pytest.mark.slow) for name in BUILT["RECIPES"]])
def test_a_model_saved_by_version_0_1_0_is_loaded_with_equal_outputs(name, tmp_path):
    model = gz.load(FOLDER / f"{name}.keras")
    with np.load(FOLDER / f"{name}.npz") as expected:
        found = outputs(model)
        assert set(expected.files) <= {"state", *found}  # a later version may be asked for more
        for key in set(expected.files) - {"state"}:
            np.testing.assert_allclose(found[key], expected[key], rtol=1e-4, atol=1e-4, err_msg=key)
        state = BUILT["state"](model)
        np.testing.assert_allclose(np.sort(state), np.sort(expected["state"]), rtol=1e-6)
    if name not in AGAIN:
        return
    # And its file of today holds the same.
    model.save(tmp_path / "again.keras")
    for key, value in outputs(gz.load(tmp_path / "again.keras")).items():
        np.testing.assert_array_equal(value, found[key], err_msg=key)


@keras.saving.register_keras_serializable("tests")
class Younger(gz.models.VAE):
    """A VAE of a later version, with one more variable before the others."""

    later = ("clock",)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.clock = self.add_weight(shape=(), initializer="ones", name="clock", trainable=False)


def as_younger(source, target):
    """A file in which the class is called otherwise."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                config |= {"module": None, "class_name": "Younger", "registered_name": "tests>Younger"}
                content = json.dumps(config).encode()
            new.writestr(name, content)
    return target


@readable
@pytest.mark.parametrize("saved_by", ["0.1.0", "today"])
def test_variables_that_a_file_lacks_keep_their_first_values(saved_by, tmp_path):
    source = FOLDER / "vae.keras"
    if saved_by == "today":
        gz.load(source).save(tmp_path / "today.keras")
        source = tmp_path / "today.keras"
    model = gz.load(as_younger(source, tmp_path / "younger.keras"))
    # The averages of weights come behind it.
    assert isinstance(model, Younger) and float(model.clock) == 1.0 and model._averages.all
    with np.load(FOLDER / "vae.npz") as expected:
        np.testing.assert_allclose(outputs(model)["sample"], expected["sample"], atol=1e-4)


def test_variables_that_a_class_lacks_are_one_sentence():
    class Older(gz.priors.TrainedMixture):
        def _own_variables(self):
            return {name: v for name, v in super()._own_variables().items() if name != "means"}

    store = {}
    gz.priors.TrainedMixture(2, 3).save_own_variables(store)
    with pytest.raises(ValueError, match=r"the file holds variables means of .* load it with the version"):
        Older(2, 3).load_own_variables(store)


def test_a_class_that_is_not_known_is_one_sentence(tmp_path):
    content = as_younger(FOLDER / "vae.keras", tmp_path / "unknown.keras")
    registry = keras.saving.get_custom_objects()
    known = registry.pop("tests>Younger")
    try:
        with pytest.raises(ValueError, match="holds a Younger, a class that is not known here; import the module"):
            gz.load(content)
    finally:
        registry["tests>Younger"] = known


@keras.saving.register_keras_serializable("tests")
class Own(keras.Model):
    """A network written as a class around another one."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, inputs, training=False):
        return self.inner(inputs, training=training)

    def get_config(self):
        return {**super().get_config(), "inner": keras.saving.serialize_keras_object(self.inner)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config.pop("inner")), **config)


def own(part):
    """The network as a class, called once; anything else as it is."""
    if not hasattr(part, "operations"):
        return part
    network = Own(part)
    shapes = [(2, *each.shape[1:]) for each in part.inputs]
    network([np.zeros(shape, "float32") for shape in shapes] if len(shapes) > 1 else np.zeros(shapes[0], "float32"))
    return network


@pytest.mark.parametrize(
    "name", ["vae", "wae_mmd", "two_stage_vae", "conditional_gan", "conditional_diffusion", "ebm", "vqvae", "autoencoder"]
)
def test_networks_that_are_classes_are_taken_and_loaded(name, images, tmp_path):
    like = build(name, "eager")
    arguments = {each: getattr(like, each) for each in constructor_arguments(type(like))}
    model = type(like)(**{each: own(value) for each, value in arguments.items()})
    assert any(isinstance(getattr(model, each), Own) for each in arguments)
    assert (model.image_shape, model.num_classes, model.conditional) == (like.image_shape, like.num_classes, like.conditional)
    model.compile(run_eagerly=True)
    model.fit(batches(name, images[:4]), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = gz.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(forward(model, images[:4]), forward(loaded, images[:4]))


def test_a_sequential_that_was_called_once_is_taken_and_loaded(images, tmp_path):
    encoder = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    encoder(images[:1].astype("float32"))
    model = gz.models.Autoencoder(encoder, gz.networks.mlp(3, (8, 8, 1), width=8))
    model.compile(run_eagerly=True)
    model.fit(images[:8], batch_size=4, verbose=0)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(images), gz.load(tmp_path / "model.keras")(images))


def test_a_closed_form_is_of_functional_networks_alone():
    encoder = own(keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])._functional)
    with pytest.raises(ValueError, match="expected one Dense layer"):
        gz.models.Autoencoder(
            encoder, gz.networks.mlp(3, (8, 8, 1), width=8), regularizers=[gz.regularizers.Contractive(method="closed_form")]
        )


# Files that are not what they should be


def test_a_damaged_file_is_one_sentence_or_the_same_model(tmp_path):
    content = (FOLDER / "vae.keras").read_bytes()
    draw, path, kinds = np.random.default_rng(0), tmp_path / "damaged.keras", {"loaded": 0, "refused": 0}
    for place in [*range(0, 40, 7), *draw.integers(0, len(content), 40), *range(len(content) - 20, len(content), 5)]:
        changed = bytearray(content)
        changed[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(changed)
        try:
            gz.load(path)
            kinds["loaded"] += 1  # a byte that says nothing, as of the time of a file
        except ValueError as error:
            kinds["refused"] += 1
            assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 600
    assert kinds["refused"] > kinds["loaded"]
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"is no .keras file, or is damaged or cut off"):
        gz.load(path)


def test_a_config_of_something_else_is_one_sentence(tmp_path):
    for config in (
        "garbage",
        "{}",
        "[]",
        '{"class_name": "Dense"}',
        json.dumps({"class_name": "Nobody", "registered_name": "a>b"}),
    ):
        path = tmp_path / "other.keras"
        with zipfile.ZipFile(FOLDER / "vae.keras") as source, zipfile.ZipFile(path, "w") as other:
            for name in source.namelist():
                other.writestr(name, config if name == "config.json" else source.read(name))
        with pytest.raises(ValueError) as caught:
            gz.load(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_classes_of_ones_own_are_given_by_name(tmp_path):
    as_younger(FOLDER / "vae.keras", tmp_path / "own.keras")
    registry = keras.saving.get_custom_objects()
    known = registry.pop("tests>Younger")
    try:
        assert isinstance(gz.load(tmp_path / "own.keras", custom_objects={"tests>Younger": known}), known)
    finally:
        registry["tests>Younger"] = known


def test_a_class_of_a_script_is_refused_when_it_is_saved(images, tmp_path):
    class Script(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    Script.__module__ = "__main__"
    encoder = keras.Sequential([keras.Input((8, 8, 1)), Script(), keras.layers.Flatten(), keras.layers.Dense(2)])
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(64), keras.layers.Reshape((8, 8, 1))])
    model = gz.models.Autoencoder(encoder, decoder)
    with pytest.raises(ValueError, match="Script is neither registered nor found"):
        model.save(tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("recipe", ["vae", "gan"])
def test_weights_with_averages_and_without_load_into_each_other(recipe, images, tmp_path):
    build = lambda **settings: gz.build(recipe, (8, 8, 1), seed=1, jit_compile=False, width=8, **settings)  # noqa: E731
    with_averages, without = build(ema=0.9), build(ema=None)
    with_averages.fit(images, batch_size=4, epochs=2, verbose=0)
    with_averages.save_weights(tmp_path / "with.weights.h5")
    without.load_weights(tmp_path / "with.weights.h5")
    np.testing.assert_allclose(without.sample(4, seed=0), with_averages.sample(4, seed=0), atol=1e-6)
    assert np.abs(without.sample(4, seed=0) - with_averages.sample(4, seed=0, averaged=False)).max() > 1e-4

    without.fit(images, batch_size=4, verbose=0)
    without.save_weights(tmp_path / "without.weights.h5")
    for again in (with_averages, build(ema=0.9)):
        again.load_weights(tmp_path / "without.weights.h5")
        np.testing.assert_allclose(again.sample(4, seed=0), without.sample(4, seed=0), atol=1e-6)
        again.fit(images, batch_size=4, verbose=0)  # from which its averages begin


def test_another_backend_is_one_sentence(monkeypatch):
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    ended = subprocess.run([sys.executable, "-c", "import keras_genzoo"], env=environment, capture_output=True, text=True)
    assert "ImportError: Keras's backend is 'jax', and keras_genzoo computes with 'tensorflow' alone" in ended.stderr
