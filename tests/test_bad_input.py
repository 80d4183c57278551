"""What a user gets for a mistake with models, recipes, networks, files and the command line: one sentence that helps.

The mistakes with data, metrics and the benchmark stand in their own tests.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from toy import build_toy

import keras_genzoo as gz
from keras_genzoo import distances, likelihoods, networks, priors
from keras_genzoo.cli import main
from keras_genzoo.models import VAE, Autoencoder
from keras_genzoo.recipes import building

SHAPE = (8, 8, 1)
GOOD = np.zeros((8, *SHAPE), "uint8")


def ten_classes():
    return gz.build("conditional_gan", SHAPE, width=4, depth=1)


def vae():
    return gz.build("vae", SHAPE, width=8, latent_dim=2, jit_compile=False)


def encoder(**kwargs):
    return networks.mlp(SHAPE, 2, width=8, depth=1, **kwargs)


def decoder(shape=SHAPE):
    return networks.mlp(2, shape, width=8, depth=1)


def lambda_encoder():
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, keras.layers.Lambda(lambda x: x[:, 0, :2, 0], output_shape=(2,))(inputs))


def flat(*outputs, shape=SHAPE, named=False):
    """An encoder with a dense layer of two units for each name, and perhaps a dict of outputs."""
    inputs = keras.Input(shape)
    x = keras.layers.GlobalAveragePooling2D()(inputs) if None in shape else keras.layers.Flatten()(inputs)
    found = {name: keras.layers.Dense(2, name=name)(x) for name in outputs}
    return keras.Model(inputs, found if named else list(found.values()))


def tied():
    first, last = keras.layers.Dense(64), keras.layers.Dense(2)
    encoder = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), first, last])
    return encoder, keras.Sequential([keras.Input((2,)), keras.layers.Dense(64), first, keras.layers.Reshape(SHAPE)])


class Holding(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, x):
        return self.layer(x)


def fitted_late():
    model = vae()
    model.fit(GOOD, sample_weight=np.ones(8), verbose=0)


BAD = {
    # images into fit, and into what a model offers
    "floats of 0..255": (lambda: vae().fit(255.0 * np.ones((8, *SHAPE))), "floats between 255 and 255", "images / 255"),
    "floats of -1..1": (lambda: vae().fit(-np.ones((8, *SHAPE))), "between -1 and -1", "(images + 1) / 2"),
    "NaN": (lambda: vae().fit(np.full((8, *SHAPE), np.nan)), "NaN", "[0, 1]"),
    "integers that are no levels": (lambda: vae().fit(np.zeros((8, *SHAPE), "int32")), "int32", "uint8"),
    "no channel axis": (lambda: vae().fit(GOOD[..., 0]), "(8, 8, 8)", "images[..., None]"),
    "another channel count": (lambda: vae().fit(np.zeros((8, 8, 8, 3), "uint8")), "(8, 8, 8, 3)", "(batch, 8, 8, 1)"),
    "another size": (lambda: vae().reconstruct(np.zeros((2, 9, 8, 1), "uint8")), "(2, 9, 8, 1)", "image_shape=(9, 8, 1)"),
    "validation images out of range": (
        lambda: vae().fit(GOOD, validation_data=(GOOD + 2.0,)),
        "validation images",
        "images / 255",
    ),
    "an empty data set": (lambda: vae().fit(tf.data.Dataset.from_tensor_slices(GOOD).batch(4).take(0)), "empty", "images"),
    "dicts": (lambda: vae().fit(tf.data.Dataset.from_tensor_slices({"a": GOOD}).batch(4)), "['a']", "(images, labels)"),
    "sample weights": (fitted_late, "sample_weight", "alike"),
    "three things a batch": (lambda: vae().images_of((GOOD, 0, 0)), "hold 3 things", "(images, labels)"),
    "labels beyond the classes": (lambda: ten_classes().fit(GOOD, np.full(len(GOOD), 12)), "12 and 12", "num_classes=13"),
    "labels beyond the classes after the first batch": (
        lambda: ten_classes().fit(np.repeat(GOOD, 8, axis=0), np.where(np.arange(8 * len(GOOD)) == 50, 12, 0)),
        "0 and 12",
        "num_classes=13",
    ),
    "one-hot labels": (lambda: ten_classes().fit(GOOD, np.eye(10)[np.arange(8)]), "(8, 10)", "labels.argmax(axis=-1)"),
    "labels missing": (lambda: build_toy(SHAPE).fit(GOOD), "conditional", "labels=True"),
    "text for labels": (lambda: ten_classes().fit(GOOD, np.array(["cat", "dog"] * 4)), "'cat'", "return_inverse=True"),
    "labels between classes": (lambda: ten_classes().fit(GOOD, np.full(len(GOOD), 1.5)), "1.5", "whole numbers"),
    "images of 0 and 1": (lambda: vae().fit(GOOD + np.uint8(1)), "0 and 1 alone", "255 * images"),
    "images of 0 and 1 to load": (lambda: gz.data.load(GOOD + np.uint8(1)), "0 and 1 alone", "255 * images"),
    "a data set of single images": (lambda: vae().fit(tf.data.Dataset.from_tensor_slices(GOOD)), "(8, 8, 1)", ".batch(128)"),
    "one image": (lambda: vae().encode(GOOD[0]), "(8, 8, 1)", "image[None]"),
    "one code": (lambda: vae().decode(np.zeros(2, "float32")), "one code", "z[None]"),
    "a name in the place of a model": (lambda: gz.evaluate("runs/vae", GOOD), "is a str", "gz.load('runs/vae')"),
    "a model of Keras": (lambda: gz.evaluate(encoder(), GOOD), "is a Functional", "score_samples"),
    "a negative seed": (lambda: vae().sample(2, seed=-1), "seed is -1", "at least 0"),
    "sheets after no epoch": (lambda: gz.callbacks.SampleGrid("runs", every=0), "every is 0", "at least 1"),
    "no samples": (lambda: vae().sample(0), "n is 0", "at least 1"),
    "half a batch": (lambda: vae().sample(4, batch_size=2.5), "batch_size is 2.5", "whole number"),
    # recipes
    "an unknown recipe": (lambda: gz.build("vea", SHAPE), "'vea'", "Did you mean 'vae'?"),
    "an unknown override": (lambda: gz.build("vae", SHAPE, latent=2), "'latent'", "latent_dim"),
    "a name of one's own": (lambda: gz.build("vae", SHAPE, name="mine"), "recipe 'vae' has no argument 'name'", "latent_dim"),
    "capitals": (lambda: gz.build("VAE", SHAPE), "'VAE'", "Did you mean 'vae'?"),
    "text for a size": (lambda: gz.build("vae", SHAPE, latent_dim="16"), "latent_dim is '16'", "as 16"),
    "text for a rate": (lambda: gz.build("vae", SHAPE, learning_rate="fast"), "learning_rate is 'fast'", "a number"),
    "text for a decay": (lambda: gz.build("vae", SHAPE, ema="long"), "ema is 'long'", "a decay"),
    "a number for levels": (lambda: gz.build("flow_matching", SHAPE, multipliers=2), "multipliers is 2", "a tuple, as (1, 2, 4)"),
    "a seed of text": (lambda: gz.build("vae", SHAPE, seed="today"), "seed is 'today'", "None or a whole number"),
    "a momentum above one": (lambda: gz.build("gan", SHAPE, beta_1=2.0), "beta_1 is 2.0", "below 1"),
    "a negative size": (lambda: gz.build("vae", SHAPE, latent_dim=-2), "latent_dim is -2", "at least 1"),
    "a width of zero": (lambda: gz.build("autoencoder", SHAPE, width=0), "width is 0", "at least 1"),
    "a shape without channels": (lambda: gz.build("vae", (8, 8)), "(8, 8)", "(height, width, channels)"),
    "a learning rate of zero": (lambda: gz.build("vae", SHAPE, learning_rate=0), "learning_rate is 0", "above 0"),
    "no steps": (lambda: gz.build("vae", SHAPE, total_steps=0), "total_steps is 0", "at least 1"),
    "an unknown network": (lambda: gz.build("vae", SHAPE, network="transformer"), "'transformer'", "dense"),
    "an unknown likelihood": (lambda: gz.build("vae", SHAPE, likelihood="poisson"), "'poisson'", "bernoulli"),
    "an unknown normalisation": (lambda: gz.build("autoencoder", SHAPE, normalization="group"), "'group'", "batch"),
    "more components than the prior holds": (
        lambda: priors.GaussianMixture(2, 3).fit(np.eye(2)[[0, 1] * 10], components=9),
        "components is 9",
        "1 to 3",
    ),
    "fewer codes than components": (
        lambda: priors.GaussianMixture(2, 30).fit(np.eye(2), components=30),
        "2 codes",
        "at least two each",
    ),
    "an unknown kind of prior": (
        lambda: gz.build("dense_autoencoder", SHAPE, width=8).fit_prior(GOOD, "flow"),
        "'flow'",
        "'gaussian' or 'mixture'",
    ),
    "a decay above one": (lambda: gz.build("vae", SHAPE, width=8, ema=2), "ema is 2", "0.999"),
    # networks and parts
    "a Lambda layer": (lambda: Autoencoder(lambda_encoder(), decoder()), "Lambda", "register_keras_serializable"),
    "an encoder of one head": (lambda: VAE(encoder(), decoder()), "encoder puts out shape (2,)", "(2,) and (2,)"),
    "a Sequential that was never called": (
        lambda: Autoencoder(keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)]), decoder()),
        "encoder is not built",
        "call it once",
    ),
    "a network that was never called": (
        lambda: Autoencoder(encoder(), Holding(decoder())),
        "decoder is not built",
        "call it once",
    ),
    "a layer without inputs": (lambda: Autoencoder(keras.layers.Dense(2), decoder()), "encoder is not built", "call it once"),
    "no network": (lambda: VAE("conv", decoder()), "encoder is 'conv'", "keras.Model"),
    "images of any size": (lambda: Autoencoder(flat("z", shape=(None, None, 1)), decoder()), "(None, None, 1)", "keras.Input("),
    "a dict of outputs": (
        lambda: VAE(flat("mu", "log_variance", named=True), decoder()),
        "encoder puts out a dict",
        "[outputs['mu'], outputs['log_variance']]",
    ),
    "outputs in another order": (
        lambda: VAE(flat("log_variance", "mu"), decoder()),
        "log_variance, mu",
        "order mu, log_variance",
    ),
    "codes in another order": (
        lambda: gz.models.WAE(flat("log_variance", "mu"), decoder()),
        "log_variance, mu",
        "order mu, log_variance",
    ),
    "inputs by name": (
        lambda: Autoencoder(
            keras.Model({"image": (x := keras.Input(SHAPE))}, keras.layers.Flatten()(x)), networks.mlp(64, SHAPE)
        ),
        "dict of inputs, image",
        "one tensor",
    ),
    "a layer in two networks": (lambda: Autoencoder(*tied()), "is in encoder and in decoder", "a layer of its own"),
    "a decoder of another shape": (lambda: Autoencoder(encoder(), decoder((9, 8, 1))), "decoder puts out", "(8, 8, 1)"),
    "a decoder of too few parameters": (
        lambda: VAE(encoder(heads=("mu", "log_variance")), decoder(), likelihood="discretized_logistic"),
        "(8, 8, 1)",
        "(8, 8, 2)",
    ),
    "a negative beta": (lambda: gz.build("vae", SHAPE, width=8, beta=-1.0), "beta is -1", "at least 0"),
    "an unknown distance": (lambda: distances.get("l3"), "'l3'", "l1"),
    "weights of no distance": (lambda: distances.get({"l1": 0.0}), "'l1': 0.0", "one above 0"),
    "a scale of zero": (lambda: likelihoods.Gaussian(0), "scale is 0", "optimal"),
    "widths of another depth": (lambda: networks.mlp(4, 2, width=[8], depth=2), "1 numbers for depth=2", "2"),
    "a loss": (lambda: vae().compile(loss="mse"), "loss='mse'", "defines its own"),
    "metrics": (lambda: vae().compile("adam", metrics=["mse"]), "metrics was given", "FrechetDistanceMonitor"),
    "an unknown optimizer": (lambda: vae().compile(critic_optimizer="adam"), "'critic_optimizer'", "['optimizer']"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_gets_one_sentence_with_what_came_and_what_was_expected(mistake):
    act, came, expected = BAD[mistake]
    with pytest.raises(ValueError) as caught:
        act()
    sentence = str(caught.value)
    assert came in sentence and expected in sentence, sentence
    assert "\n" not in sentence and len(sentence) < 400


@pytest.mark.parametrize("name, settings", [("vae", {"steps": 3}), ("gan", {"temperature": 1})])
def test_what_sample_does_not_take_is_said_with_what_it_takes(name, settings):
    model = gz.build(name, SHAPE, width=4, latent_dim=2)
    with pytest.raises(TypeError, match=f"takes no '{next(iter(settings))}'; it takes n, seed, batch_size, labels, averaged"):
        model.sample(2, **settings)


@pytest.mark.parametrize(
    ("name", "member", "sentence"),
    [
        ("gan", "encode", "GAN '{}' has no `encode`: it has no codes of images."),
        ("gan", "log_prob", "GAN '{}' has no `log_prob`: its family defines no likelihood of an image."),
        ("gan", "reconstruct", "GAN '{}' has no `reconstruct`: it needs both encode and decode."),
        ("gan", "fit_prior", "GAN '{}' has no `fit_prior`: it needs no density fitted to codes."),
        ("vae", "energy", "VAE '{}' has no `energy`: its family defines no energy of an image."),
        ("vae", "inpaint", "VAE '{}' has no `inpaint`: only diffusion models fill in images."),
        ("vae", "project", "VAE '{}' has no `project`: only GANs look for the latents of an image."),
        ("vae", "img2img", "VAE '{}' has no `img2img`: only diffusion models of pixels make images from images."),
    ],
)
def test_a_member_of_other_families_is_absent_and_says_why(name, member, sentence):
    model = gz.build(name, SHAPE, width=4, latent_dim=2)
    assert not hasattr(model, member) and not hasattr(gz.models.GAN, "log_prob")
    with pytest.raises(AttributeError) as caught:
        getattr(model, member)(GOOD)
    assert str(caught.value) == sentence.format(model.name)


@pytest.mark.parametrize("name", [name for names in gz.recipes.names().values() for name in names if "/" not in name])
def test_values_that_recipes_and_ranges_name_are_taken(name):
    """The check of kinds is by these: none of them may be refused for its kind, nor numbers of the other sort."""
    entry = gz.recipes.get(name)
    for key, each in entry.hyperparameters.items():
        for value in (each.default, getattr(each.range, "low", None), *getattr(each.range, "values", ())):
            building._check_kinds(entry, {key: value})
            if isinstance(value, float) and value.is_integer():
                building._check_kinds(entry, {key: int(value)})


def test_a_file_that_is_missing_or_no_model_is_said_to_be(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nothing\.keras"):
        gz.load(tmp_path / "nothing.keras")
    (tmp_path / "text.keras").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.keras is no \.keras file"):
        gz.load(tmp_path / "text.keras")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="holds a Sequential"):
        gz.load(tmp_path / "other.keras")


def test_a_truncated_file_is_said_to_be_cut_off(tmp_path):
    model = vae()
    model.save(tmp_path / "model.keras")
    whole = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut off"):
        gz.load(tmp_path / "cut.keras")


def test_a_folder_that_cannot_be_written_to_keeps_the_model_and_names_the_path(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):  # a file where a folder should be: also root may not write there
        vae().save(tmp_path / "file" / "model.keras")


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.keras"
    vae().save(path)
    return path


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["train", "vea"], "Did you mean 'vae'?"),
        (["train", "vae", "--data", "fashion_mnits_mini"], "fashion_mnist_mini"),
        (["train", "vae", "--set", "latent_dim"], "NAME=VALUE"),
        (["train", "vae", "--set", "latent=3"], "latent_dim"),
        (["train", "vae", "--epochs", "0"], "x>=1"),
        (["sample", "missing.keras"], "missing.keras"),
        (["sample", "MODEL", "--out", "a.jpg"], ".png, .npz or a folder"),
        (["sample", "MODEL", "-n", "0"], "x>=1"),
        (["evaluate", "MODEL", "--data", "fashion_mnist_mini", "--features", "vgg"], "fashion-cnn"),
        (["evaluate", "MODEL", "--split", "dev"], "validation"),
        (["prepare", "fashion_mnits"], "fashion_mnist"),
        (["paint"], "paint"),
    ],
)
def test_a_wrong_argument_gets_exit_code_2_and_a_sentence(arguments, sentence, saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, [str(saved) if argument == "MODEL" else argument for argument in arguments])
    assert result.exit_code == 2, result.output
    assert sentence in result.output and "Traceback" not in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras"]  # nothing half done


# Memory


class Hungry(keras.callbacks.Callback):
    """Asks the device for more than there is."""

    def on_train_batch_begin(self, batch, logs=None):
        tf.zeros((2**45,))


def test_memory_that_is_used_up_is_one_sentence(images, tmp_path):
    model = gz.build("vae", (8, 8, 1), width=8, jit_compile=False)
    with pytest.raises(MemoryError, match="training in batches of 4 needs more memory than the device has; take smaller batches"):
        model.fit(images, batch_size=4, verbose=0, callbacks=[Hungry()])
    with pytest.raises(MemoryError, match="sample in batches of 256 needs more memory than the machine has; take a smaller"):
        model.sample(10**14)
    model.fit(images, verbose=0)  # nothing is broken
    model.save(tmp_path / "model.keras")
    result = CliRunner().invoke(
        main, ["sample", str(tmp_path / "model.keras"), "--out", str(tmp_path / "a.png"), "-n", str(10**14)]
    )
    assert result.exit_code == 2 and "take a folder for --out, or fewer images" in " ".join(result.output.split())
