"""Each family against the truth: closed forms, exact marginals, and what its arguments are said to do."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from test_case import batches, build

import keras_genzoo as gz
from keras_genzoo import bijectors, divergences, likelihoods, networks, priors
from keras_genzoo.core import randomness
from keras_genzoo.models import VAE, Autoencoder, BetaTCVAE, InfoVAE, TwoStageVAE

SHAPE = (8, 8, 1)


def constant_head(inputs, outputs, bias, name):
    """A network whose output does not depend on its input."""
    layer = keras.layers.Dense(outputs, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(bias), name=name)
    return layer(inputs)


def test_the_terms_of_the_bound_are_the_closed_forms(images):
    pixels = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(pixels)
    encoder = keras.Model(pixels, (constant_head(flat, 2, 0.5, "mu"), constant_head(flat, 2, -1.0, "log_variance")))
    code = keras.Input((2,))
    decoder = keras.Model(code, keras.layers.Reshape(SHAPE)(constant_head(code, 64, 0.3, "mean")))
    model = VAE(encoder, decoder, likelihood=likelihoods.Gaussian(0.5), beta=3.0, seed=0)
    model.compile()
    terms = model.evaluate(images, batch_size=4, verbose=0, return_dict=True)
    kl = 2 * 0.5 * (0.5**2 + np.exp(-1) - 1 + 1)  # two dimensions of KL(N(0.5, e^-1) || N(0, 1))
    assert terms["kl_loss"] == pytest.approx(kl, rel=1e-5)
    assert terms["loss"] == pytest.approx(terms["reconstruction_loss"] + 3 * kl, rel=1e-5)
    # The mean over the dequantisation of -log N((k + u) / 256; 0.3, 0.5^2), u uniform, summed over pixels.
    second_moment = (((images + 0.5) / 256 - 0.3) ** 2 + 1 / 12 / 256**2) / 0.5**2
    expected = (0.5 * second_moment + np.log(0.5) + 0.5 * np.log(2 * np.pi)).sum(axis=(1, 2, 3)).mean()
    assert terms["reconstruction_loss"] == pytest.approx(expected, abs=0.02)


def linear_gaussian_vae(weights, offset, sigma):
    """The VAE whose encoder is the exact posterior of x = W z + b + sigma e, with W's columns orthogonal."""
    pixels, latent = weights.shape
    precision = np.sum(weights**2, axis=0) + sigma**2  # the diagonal of W'W + sigma^2 I
    inputs = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(inputs)
    mu, log_variance = (keras.layers.Dense(latent, name=name) for name in ("mu", "log_variance"))
    encoder = keras.Model(inputs, (mu(flat), log_variance(flat)))
    mu.set_weights([weights / precision, -(weights / precision).T @ offset])
    log_variance.set_weights([np.zeros((pixels, latent)), np.log(sigma**2 / precision)])
    code = keras.Input((latent,))
    mean = keras.layers.Dense(pixels, name="mean")
    decoder = keras.Model(code, keras.layers.Reshape(SHAPE)(mean(code)))
    mean.set_weights([weights.T, offset])
    return VAE(encoder, decoder, likelihood=likelihoods.Gaussian(float(sigma)))


def test_the_bound_of_a_linear_gaussian_model_is_its_exact_marginal_likelihood():
    """Probabilistic PCA (Tipping and Bishop 1999): x ~ N(b, W W' + sigma^2 I); a diagonal posterior is exact."""
    random = np.random.default_rng(0)
    directions, _ = np.linalg.qr(random.normal(size=(64, 3)))
    weights, offset, sigma = directions * [2.0, 1.0, 0.5], random.normal(size=64) * 0.1, 0.3
    model = linear_gaussian_vae(weights, offset, sigma)
    x = (random.normal(size=(20, 3)) @ weights.T + offset + sigma * random.normal(size=(20, 64))).astype("float32")
    exact = scipy.stats.multivariate_normal.logpdf(x, offset, weights @ weights.T + sigma**2 * np.eye(64))
    images = x.reshape(20, *SHAPE)
    for samples in (1, 16):  # tight: every draw's weight is p(x) itself
        bound = model.importance_weighted_bound(tf.constant(images), tf.constant(images), samples, seed=0)
        np.testing.assert_allclose(bound, exact, atol=2e-3)


def test_the_bound_of_two_linear_gaussian_stages_is_their_exact_marginal_likelihood():
    """z = c + S u + 0.6 e and x = b + A z + 0.3 e', with A's columns orthogonal and S diagonal, and both posteriors exact."""
    random, sigma, scale = np.random.default_rng(0), 0.3, 0.6
    directions, _ = np.linalg.qr(random.normal(size=(64, 2)))
    weights, offset, spread, centre = directions * [2.0, 0.7], 0.1 * random.normal(size=64), np.array([1.5, 0.4]), [0.5, -1.0]
    variance = spread**2 + scale**2  # of z
    first = linear_gaussian_vae(weights, offset, sigma)
    # Of z given x the precision is |a|^2 / sigma^2 + 1 / variance, and the mean that of both.
    precision = np.sum(weights**2, axis=0) / sigma**2 + 1 / variance
    mu, log_variance = (first.encoder.get_layer(name) for name in ("mu", "log_variance"))
    mu.set_weights([weights / sigma**2 / precision, (centre / variance - weights.T @ offset / sigma**2) / precision])
    log_variance.set_weights([np.zeros((64, 2)), -np.log(precision)])
    inputs = keras.Input((2,))
    heads = [keras.layers.Dense(2, name=name) for name in ("second_mu", "second_log_variance")]
    second_encoder = keras.Model(inputs, [head(inputs) for head in heads])
    gain = spread / variance
    heads[0].set_weights([np.diag(gain), -gain * centre])
    heads[1].set_weights([np.zeros((2, 2)), np.log(scale**2 / variance)])
    second_decoder = networks.mlp(2, 2, depth=0)
    second_decoder.layers[-1].set_weights([np.diag(spread), np.array(centre)])
    model = TwoStageVAE(
        first.encoder, first.decoder, second_encoder, second_decoder, likelihoods.Gaussian(scale), likelihood=first.likelihood
    )
    x = random.normal(size=(20, 64)).astype("float32")
    covariance = weights * variance @ weights.T + sigma**2 * np.eye(64)
    exact = scipy.stats.multivariate_normal.logpdf(x, offset + weights @ centre, covariance)
    images = tf.constant(x.reshape(20, *SHAPE))
    for samples in (1, 8):
        np.testing.assert_allclose(model.importance_weighted_bound(images, images, samples, seed=0), exact, rtol=1e-4, atol=5e-3)


def test_more_draws_tighten_the_bound_of_a_loose_posterior():
    random = np.random.default_rng(0)
    directions, _ = np.linalg.qr(random.normal(size=(64, 3)))
    model = linear_gaussian_vae(directions, np.zeros(64), 0.5)
    bias = model.encoder.get_layer("log_variance")
    bias.set_weights([bias.get_weights()[0], bias.get_weights()[1] + 1.0])  # a posterior e times as wide as the exact one
    x = (random.normal(size=(5000, 3)) @ directions.T + 0.5 * random.normal(size=(5000, 64))).astype("float32")
    exact = scipy.stats.multivariate_normal.logpdf(x, np.zeros(64), directions @ directions.T + 0.25 * np.eye(64)).mean()
    images = tf.constant(x.reshape(-1, *SHAPE))
    gaps = [exact - float(tf.reduce_mean(model.importance_weighted_bound(images, images, k, seed=0))) for k in (1, 10, 200)]
    assert gaps[0] == pytest.approx(3 * 0.5 * (np.e - 2), abs=0.1)  # KL(N(0, e s^2) || N(0, s^2)) a dimension
    assert gaps[0] > gaps[1] > gaps[2] > -0.02 and gaps[2] < 0.05


def test_a_prior_without_a_closed_form_gives_the_same_divergence_on_average(images):
    encoder = networks.mlp(SHAPE, 2, width=8, heads=("mu", "log_variance"))
    decoder = networks.mlp(2, SHAPE, width=8)
    closed, estimated = (VAE(encoder, decoder, prior=prior, seed=0) for prior in (None, priors.GaussianMixture(2, 1)))
    outputs = closed.posterior(images)
    many = [tf.repeat(each, 4000, axis=0) for each in outputs]
    z, log_q = estimated.draw(many, randomness.normal(randomness.make_key(0), many[0].shape))
    kl = tf.reduce_mean(tf.reshape(log_q - estimated.prior.log_prob(z), (len(images), 4000)), axis=1)
    np.testing.assert_allclose(kl, divergences.gaussian_kl(*outputs), atol=0.1)


def test_a_posterior_flow_changes_the_code_and_its_density():
    """Half of a Gaussian's draw, doubled by the flow, has the Gaussian's density."""
    encoder, decoder = networks.mlp(SHAPE, 2, width=8, heads=("mu", "log_variance")), networks.mlp(2, SHAPE, width=8)
    plain, flowing = VAE(encoder, decoder), VAE(encoder, decoder, posterior_flow=bijectors.Scale(2.0))
    mu, log_variance, noise = (tf.constant(v, tf.float32) for v in np.random.default_rng(0).normal(size=(3, 16, 2)))
    found = flowing.draw((mu / 2, log_variance - np.float32(np.log(4))), noise)
    np.testing.assert_allclose(found[0], plain.draw((mu, log_variance), noise)[0], atol=1e-5)
    np.testing.assert_allclose(found[1], plain.draw((mu, log_variance), noise)[1], atol=1e-5)
    x = np.zeros((1, *SHAPE), np.float32)
    np.testing.assert_allclose(flowing.encode(x), 2 * plain.encode(x), atol=1e-6)


def warmed(kind):
    """A model whose beta of 2 warms up over 4 steps; and its loss by hand, of the terms that it prints and of beta."""
    encoder = networks.mlp(SHAPE, 2, width=8, heads=("mu", "log_variance"), name="encoder")
    decoder, settings = networks.mlp(2, SHAPE, width=8, name="decoder"), {"likelihood": likelihoods.Gaussian(1.0)}
    settings |= {"beta": 2.0, "beta_warmup": 4, "seed": 0}
    if kind == "vae":
        return VAE(encoder, decoder, **settings), lambda beta, rec, kl: rec + beta * kl
    if kind == "beta_tc":  # all but the reconstruction warms up, and of the total correlation there is one in the KL already
        model = BetaTCVAE(encoder, decoder, dataset_size=50, **settings)
        return model, lambda beta, rec, kl, tc: rec + beta / 2 * (kl + (2 - 1) * tc)
    if kind == "info":
        model = InfoVAE(encoder, decoder, alpha=0.25, weight=3.0, **settings)
        return model, lambda beta, rec, kl, divergence: rec + 0.75 * beta * kl + (0.25 + 3 - 1) * divergence
    second = networks.mlp(2, 3, heads=("mu", "log_variance"), name="second"), networks.mlp(3, 2, name="codes")
    return TwoStageVAE(encoder, decoder, *second, **settings), lambda beta, rec, kl, second: rec + beta * kl


@pytest.mark.parametrize("kind", ["vae", "beta_tc", "info", "two_stage"])
def test_beta_warms_up_in_training_and_not_in_validation(kind, images):
    model, loss = warmed(kind)
    model.compile(**{name: keras.optimizers.SGD(0.0) for name in model.optimizers}, run_eagerly=True)
    log = model.fit(images, batch_size=16, epochs=5, validation_data=images, verbose=0).history
    terms = lambda prefix: (np.array(log[prefix + name]) for name in model.terms)  # noqa: E731
    np.testing.assert_allclose(log["loss"], loss(np.array([0.5, 1, 1.5, 2, 2]), *terms("")), rtol=1e-5)
    np.testing.assert_allclose(log["val_loss"], loss(2.0, *terms("val_")), rtol=1e-5)
    assert np.abs(log["loss"][0] - loss(2.0, *terms(""))[0]) > 1e-2  # the terms are not all about 0


# The likelihoods themselves are held against SciPy's; `make test` trains with one that has a scale and one that has none.
@pytest.mark.parametrize(
    "likelihood",
    [name if name in ("gaussian", "bernoulli") else pytest.param(name, marks=pytest.mark.slow) for name in likelihoods.NAMED],
)
def test_every_likelihood_trains_and_decodes_to_images(likelihood, images):
    model = gz.build("vae", SHAPE, width=32, latent_dim=4, likelihood=likelihood, seed=0, jit_compile=False)
    losses = model.fit(images, epochs=50, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    reconstruction = np.asarray(model.reconstruct(images))
    assert reconstruction.min() >= 0 and reconstruction.max() <= 1
    assert model.support == likelihoods.NAMED[likelihood].support
    assert hasattr(model, "bits_per_dim") == (model.support != "binary")


def test_a_gray_image_has_no_likelihood_under_a_binary_one(images):
    model = gz.build("vae", SHAPE, width=8, latent_dim=2, likelihood="bernoulli")
    with pytest.raises(ValueError, match="binary"):
        model.log_prob(images)
    assert model.log_prob((images >= 128).astype("float32")).shape == (16,)


@pytest.mark.slow
def test_a_beta_vae_trades_divergence_for_reconstruction(images):
    results = {}
    for beta in (0.1, 10.0):
        model = gz.build(
            "vae", SHAPE, width=32, latent_dim=4, beta=beta, scale=0.3, seed=0, learning_rate=0.01, jit_compile=False
        )
        model.fit(np.tile(images, (150, 1, 1, 1)), batch_size=16, shuffle=False, verbose=0)
        results[beta] = model.evaluate(images, verbose=0, return_dict=True)
    assert results[0.1]["kl_loss"] > results[10.0]["kl_loss"] + 1
    assert results[0.1]["reconstruction_loss"] < results[10.0]["reconstruction_loss"]


@pytest.mark.parametrize("kind", ["gaussian", "mixture"])
def test_the_prior_of_an_autoencoder_has_the_moments_of_its_codes(kind, images):
    model = gz.build("dense_autoencoder", SHAPE, width=8, latent_dim=2, components=3, seed=0)
    model.fit_prior(np.concatenate([images] * 8), kind=kind)
    assert int(np.sum(model.prior.log_weights.numpy() > -1e8)) == (1 if kind == "gaussian" else 3)
    codes = np.asarray(model.encode(images))
    drawn = model.draw_latents(20_000, randomness.RowStream(0, 0)).numpy()
    spread = codes.std()
    np.testing.assert_allclose(drawn.mean(axis=0), codes.mean(axis=0), atol=0.1 * spread)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(codes.T, bias=True), atol=0.1 * spread**2)


def test_an_autoencoder_samples_only_with_a_fitted_prior(images):
    networks_of = lambda: (networks.mlp(SHAPE, 2, width=8), networks.mlp(2, SHAPE, width=8))  # noqa: E731
    bare = Autoencoder(*networks_of())
    assert not hasattr(bare, "sample") and not hasattr(bare, "fit_prior")
    model = Autoencoder(*networks_of(), prior=priors.GaussianMixture(2, 2))
    assert not hasattr(model, "sample")
    model.fit_prior(tf.data.Dataset.from_tensor_slices(images).batch(4))
    assert model.sample(3).shape == (3, *SHAPE)


SIZES = {"width": 8, "latent_dim": 2, "components": 1, "hidden": 8, "multipliers": (1, 2), "autoencoder_width": 8, "steps": 2}
SIZES |= {"sample_steps": 5, "buffer_size": 32, "layers": 2, "flow_layers": 1}
SIZES |= {"layers": 2, "flow_layers": 1, "codes": 8, "second_width": 8, "critic_width": 8, "generator_width": 8}
# `make test` tries one recipe of each way to make them, and the others are this one with other settings.
FIRST = set({entry.make: name for name, entry in reversed(gz.recipes.registry.RECIPES.items())}.values())
FIRST -= {"wae_mmd", "flow_matching"}  # networks of `vae`, and the U-Net, which tests/test_networks.py tries at every shape
USUAL = (28, 28, 1), (32, 32, 3)
ALL = [name for family in gz.recipes.names().values() for name in family if "/" not in name]


@pytest.mark.parametrize("shape", [(33, 21, 5), *(pytest.param(shape, marks=pytest.mark.slow) for shape in USUAL)])
@pytest.mark.parametrize("name", [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in ALL])
def test_every_recipe_takes_any_image_shape(name, shape, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (8, *shape), dtype="uint8")
    small = {key: value for key, value in SIZES.items() if key in gz.recipes.get(name).defaults}
    model = gz.build(name, shape, run_eagerly=True, **small)  # the one step takes less than its graph
    if "neighbours" in model.data_needs:
        model.fit(gz.data.load(x, batch_size=8, neighbours=model.neighbours), verbose=0)
    else:
        model.fit(x, np.arange(8) if model.conditional else None, verbose=0)
    if hasattr(model, "fit_prior"):
        model.fit_prior(x)
    model.save(tmp_path / "model.keras")
    assert gz.load(tmp_path / "model.keras").sample(2, seed=0).shape == (2, *shape)


def test_total_steps_brings_the_learning_rate_down_to_zero():
    with pytest.warns(UserWarning, match="warmup is 0.3, a share of a training whose length is not known"):
        gz.build("vae", SHAPE, width=8, warmup=0.3)
    model = gz.build("vae", SHAPE, total_steps=100, learning_rate=0.01, width=8, warmup=0.3)
    rates = [float(model.optimizer._learning_rate(step)) for step in range(101)]
    np.testing.assert_allclose(rates[:6], np.linspace(0.001, 0.01, 6), rtol=1e-5)  # a twentieth of the steps
    cosine = 0.005 * (1 + np.cos(np.pi * np.arange(96) / 95))
    np.testing.assert_allclose(rates[5:], cosine, rtol=1e-3, atol=1e-9)  # 0 after the last step, and not before
    assert model.beta_warmup == 30
    assert float(gz.build("vae", SHAPE, width=8, learning_rate=0.003).optimizer.learning_rate) == pytest.approx(0.003)


def test_a_policy_given_to_build_reaches_every_network_and_nothing_else():
    model = gz.build("vae", SHAPE, dtype="mixed_bfloat16", width=8)
    assert {"bfloat16", "float32"} == {layer.compute_dtype for layer in model.encoder.layers}
    assert keras.config.dtype_policy().name == "float32"


# What joins the parts: streams of noise, and the mode that networks compute in

# A recipe of each way to step, and what makes its networks heed the mode.
NORMED = {"normalization": "batch"}
WIRED = {
    "autoencoder": {},
    "denoising_autoencoder": {},
    "smooth_autoencoder": {},
    "vae": NORMED,
    "beta_tc_vae": {"dataset_size": 16},
    "info_vae": {},
    "planar_vae": {},
    "two_stage_vae": {},
    "vqvae": {},
    "kl_autoencoder": {},
    "wae_mmd": {},
    "wae_gan": {},
    "wgan_gp": {"critic_steps": 2},
    "conditional_gan": {},
    "conditional_diffusion": {},
    "latent_diffusion": {},
    "glow": {},
    "pixelcnn_pp": {"dropout": 0.5},
    "vqvae_pixelcnn": {},
    "rbm": {},
    "ebm": {},
    "score_ebm": {},
}
SILENT = {"autoencoder", "smooth_autoencoder", "vqvae", "vqvae_pixelcnn", "pixelcnn_pp"}  # their validation draws nothing
WITHOUT = {"rbm", "planar_vae"}  # the machine is no network


class Refused:
    """A stream that nobody may draw from."""

    def __getattr__(self, name):
        raise AssertionError(f"validation asks the stream of training for {name}")


@pytest.mark.parametrize("name", WIRED)
def test_validation_draws_from_its_own_stream_and_computes_as_in_inference(name, images, monkeypatch):
    model, data, modes = build(name, "eager", **WIRED[name]), batches(name, images[:8], 8), []
    if name == "latent_diffusion":  # whose autoencoder may draw too
        model.autoencoder.corruption = lambda x, random: x + 0.1 * random.normal(x.shape)
    functional = type(networks.mlp(2, 2, width=2))
    call = functional.call

    def spy(self, inputs, training=None, mask=None, **kwargs):
        modes.append((self, bool(training)))
        return call(self, inputs, training=training, mask=mask, **kwargs)

    monkeypatch.setattr(functional, "call", spy)
    model.fit(data, verbose=0)
    trained = {id(network) for network, training in modes if training}
    parts = {id(part) for part in model._flatten_layers() if isinstance(part, functional) and part.trainable_variables}
    assert trained == parts & {id(network) for network, _ in modes} or name in WITHOUT
    modes.clear()
    # What is trained is averaged, but for critics, which sampling does not ask.
    assert {part for parts in model.optimizers.values() for part in parts} - {"critic", "divergence", "game"} <= set(
        model.averaged
    )
    counters = [variable for variable in model.weights if variable.name == "random"]
    before = [int(variable) for variable in counters]
    with monkeypatch.context() as patch:
        for part in model._flatten_layers():
            if isinstance(part, gz.GenerativeModel):
                patch.setitem(part.__dict__, "random", Refused())
        scores = [model.evaluate(data, verbose=0, return_dict=True) for _ in range(2)]
    assert scores[0] == scores[1]
    assert not any(training for _, training in modes) and (modes or name == "rbm")
    assert [int(variable) for variable in counters] == before
    drawn = [int(variable) for variable in model.weights if variable.name == "random_test"]
    assert (max(drawn) > 0) is (name not in SILENT)
    # Batches of the same images are of other noise: the stream moves on between steps.
    if name not in SILENT:
        model._counters["random_test"].assign(0)
        first, second = (model.test_on_batch(*next(iter(data)), return_dict=True) for _ in range(2))
        assert first != second
    # The regularisers of what `optimizer` trains are in the loss, in validation as in training, and no others.
    owned = {id(variable) for variable in model._variables_of(model.optimizers["optimizer"], "trainable_variables")}
    for variable in model.trainable_variables:
        size = 1e4 if id(variable) in owned else 1e7
        variable.regularizer = lambda value, size=size: size + 0.0 * tf.reduce_sum(value)
    for loss in (model.fit(data, verbose=0).history["loss"][0], model.evaluate(data, verbose=0, return_dict=True)["loss"]):
        assert loss == pytest.approx(1e4 * len(owned), abs=5e3)
