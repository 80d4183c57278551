"""What models take from data beside weights: optimal scales, sizes of data sets, first values; by every door of a model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_genzoo as gz
from keras_genzoo import likelihoods, networks
from keras_genzoo.core import progress
from keras_genzoo.divergences import LEAST_ROWS
from keras_genzoo.models import VAE, TwoStageVAE

SHAPE = (8, 8, 1)
DENSE = {"width": 16, "depth": 1, "latent_dim": 3}
EAGER = {"run_eagerly": True, "jit_compile": False, "steps_per_execution": 1}
QUICK = {"jit_compile": False, "steps_per_execution": 1}
IMPORTANCE = {"iwae": {}, "iwae of Laplace": {"likelihood": "laplace"}, "iwae of beta": {"beta": 4.0}}
IMPORTANCE |= {"iwae of a flow": {"flow": "planar", "flow_layers": 2}, "iwae of a mixture": {"prior": "mixture", "components": 2}}
OBJECTIVES = {
    **{name: {} for name in ("vae", "laplace_vae", "beta_vae", "info_vae", "mmd_vae")},
    "beta_tc_vae": {"dataset_size": 16},
    **{name: {"components": 2} for name in ("mixture_vae", "vamp_vae")},
    "planar_vae": {"flow_layers": 2},
    "iaf_vae": {"flow_layers": 2, "flow_width": 8},
    "two_stage_vae": {"second_width": 8},
    **IMPORTANCE,
}


def stepped(objective, images, weights, scale="optimal"):
    """A model after one step of plain gradient descent from these weights, and the loss of this step."""
    model = gz.build(objective.partition(" ")[0], SHAPE, **{**DENSE, "seed": 0, "scale": scale, **OBJECTIVES[objective]})
    optimizers = {name: keras.optimizers.SGD(1e-4) for name in model.optimizers}
    model.compile(**optimizers, run_eagerly=True)
    networks = [part for name in ("encoder", "decoder", "prior", "posterior_flow") if (part := getattr(model, name)) is not None]
    weights = weights or [part.get_weights() for part in networks]
    for part, values in zip(networks, weights, strict=True):
        # So that draws of one image differ, and flows bend.
        part.set_weights([2.0 * value for value in values])
    return model, model.train_on_batch(images, return_dict=True)["loss"], weights


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_slope_of_the_loss_at_the_optimal_scale_is_zero(objective, images):
    """The loss around it, by models whose scale is fixed; and no gradient of the networks passes through it."""
    model, loss, weights = stepped(objective, images, None)
    best = float(model.likelihood.current_scale)  # of one batch, the running scale is the batch's
    fixed, same, _ = stepped(objective, images, weights, best)
    assert same == pytest.approx(loss, rel=1e-5)
    start, ends = 2.0 * weights[1][0], [each.decoder.get_weights()[0] for each in (model, fixed)]
    np.testing.assert_allclose(ends[0] - start, ends[1] - start, atol=2e-3 * np.abs(ends[1] - start).max())
    below, above = (stepped(objective, images, weights, best * factor)[1] for factor in (np.exp(-0.05), np.exp(0.05)))
    curvature = below + above - 2 * loss
    assert curvature > 0
    # Where a parabola has its minimum; the third derivative moves it by 0.001.
    assert abs(0.5 * 0.05 * (below - above) / curvature) < 3e-3


def test_the_slope_at_the_optimal_scale_of_a_second_stage_is_zero(images):
    def second_loss(scale):
        parts = model.encoder, model.decoder, model.second_encoder, model.second_decoder
        made = TwoStageVAE(*parts, likelihoods.Gaussian(scale), likelihood=likelihoods.Gaussian(0.3), seed=0)
        made.compile(keras.optimizers.SGD(0.0), second_optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
        return made.train_on_batch(images, return_dict=True)["second_loss"], float(made.second_likelihood.current_scale)

    model = gz.build("two_stage_vae", SHAPE, **DENSE, second_width=8, seed=0)
    loss, best = second_loss("optimal")
    below, same, above = (second_loss(best * factor)[0] for factor in (np.exp(-0.05), 1.0, np.exp(0.05)))
    assert same == pytest.approx(loss, rel=1e-5)
    assert abs(0.5 * 0.05 * (below - above) / (below + above - 2 * loss)) < 3e-3


def gray(scale="optimal", rate=0.0, **settings):
    """A VAE that reconstructs every image in mid-gray, and does not learn."""
    encoder = networks.mlp(SHAPE, 2, width=4, depth=1, heads=("mu", "log_variance"), name="encoder")
    decoder = networks.mlp(2, SHAPE, width=4, depth=1, output_activation="sigmoid", name="decoder")
    decoder.set_weights([np.zeros_like(value) for value in decoder.get_weights()])
    kind = settings.pop("kind", likelihoods.Gaussian)
    model = VAE(encoder, decoder, likelihood=kind(scale), seed=0, **settings)
    model.compile(keras.optimizers.SGD(rate), jit_compile=False)
    return model


def errors(images):
    """Squared distances of the dequantised images from mid-gray, and the variance of the noise in them."""
    return np.square((images + 0.5) / 256 - 0.5) + 1 / 12 / 256**2


@pytest.mark.parametrize("kind", [likelihoods.Gaussian, likelihoods.Laplace])
def test_the_running_scale_of_a_short_training_is_that_of_the_data(kind, images):
    model = gray(kind=kind)
    loss = model.fit(images, batch_size=4, epochs=5, shuffle=False, verbose=0).history["loss"][-1]
    exact = errors(images).mean() ** 0.5 if kind is likelihoods.Gaussian else np.abs((images + 0.5) / 256 - 0.5).mean()
    # The last batches count for a little more.
    assert float(model.likelihood.current_scale) == pytest.approx(exact, rel=0.02)
    assert model.evaluate(images, verbose=0, return_dict=True)["loss"] == pytest.approx(loss, abs=2.0)


def test_a_batch_counts_in_the_running_scale_by_its_images(images):
    images = np.concatenate([np.full((15, *SHAPE), 160, "uint8"), np.full((1, *SHAPE), 255, "uint8")])
    model = gray()
    model.fit(images, batch_size=5, shuffle=False, verbose=0)
    usual, last = errors(images[0]).mean(), errors(images[-1]).mean()
    share = 10 / 13 / 5  # step 3 takes 1 - 3 / 13, and its batch is a fifth of the largest
    assert float(model.likelihood.current_scale) ** 2 == pytest.approx(usual + share * (last - usual), rel=0.02)


def test_the_scale_of_two_replicas_is_that_of_all_rows(replicas, images):
    images = np.concatenate([np.full((3, *SHAPE), 140, "uint8"), np.full((2, *SHAPE), 255, "uint8")])  # shares of 3 and 2
    with replicas.scope():
        model = gray()
    model.fit(images, batch_size=5, verbose=0)
    assert float(model.likelihood.current_scale) == pytest.approx(errors(images).mean() ** 0.5, rel=1e-2)


def test_the_scale_goes_on_where_a_saved_training_stood(images, tmp_path):
    model = gray()
    model.fit(images, batch_size=4, epochs=3, verbose=0)
    model.save(tmp_path / "gray.keras")
    loaded = gz.load(tmp_path / "gray.keras")
    assert (int(loaded.likelihood.updates), int(loaded.likelihood.largest_batch)) == (12, 4)
    assert gray().count_params() == gray("learned").count_params()  # counters are no parameters


@pytest.mark.parametrize("given", ["array", "batches"])
def test_the_scale_can_be_fitted_to_a_whole_data_set(given, images):
    model = gray(ema=0.9)
    model.fit(images[:4], verbose=0)
    data = images if given == "array" else tf.data.Dataset.from_tensor_slices(images).batch(5)
    exact = errors(images).mean() ** 0.5
    assert model.fit_scale(data, batch_size=3) == pytest.approx(exact, rel=3e-3)
    with model.averaged_weights():
        assert float(model.likelihood.current_scale) == pytest.approx(exact, rel=3e-3)
    fixed = gray(exact)
    fixed.encoder.set_weights(model.encoder.get_weights())
    expected = np.mean(fixed.log_prob(images, samples=1))
    assert np.mean(model.log_prob(images, samples=1)) == pytest.approx(expected, abs=0.05)
    assert not hasattr(gray("learned"), "fit_scale") and not hasattr(gray(0.1), "fit_scale")


def test_the_fitted_scale_of_importance_weights_is_the_optimum_of_the_bound(images):
    model = gz.build("iwae", SHAPE, **DENSE, **QUICK, seed=0, importance_samples=20, learning_rate=1e-2)
    model.fit(images, batch_size=16, epochs=30, verbose=0)
    best, losses = model.fit_scale(np.tile(images, (20, 1, 1, 1))), []
    for factor in (0.93, 1.0, 1.07):
        model.likelihood.log_scale.assign(np.log(best * factor))
        losses.append(model.evaluate(np.tile(images, (20, 1, 1, 1)), batch_size=320, verbose=0, return_dict=True)["loss"])
    assert losses[1] == min(losses)


@pytest.mark.parametrize("scale", [0, -1.0, np.nan, np.inf, "best", True, None])
def test_a_scale_that_is_none_is_one_sentence(scale):
    with pytest.raises(ValueError, match="expected a number above 0, 'learned' or 'optimal'"):
        likelihoods.Gaussian(scale)
    assert likelihoods.Gaussian(np.float32(0.5)).get_config()["scale"] == likelihoods.Gaussian(np.int64(1)).scale / 2


@pytest.mark.parametrize("flow", ["planar", "autoregressive"])
def test_the_vampprior_and_a_flow_exclude_each_other(flow):
    with pytest.raises(ValueError, match=r"VampPrior and posterior_flow .* leave out posterior_flow"):
        gz.build("vae", SHAPE, **DENSE, prior="vamp", flow=flow)


# What `fit` takes from data, by other doors

PREPARED = {
    "vamp_vae": {**DENSE, "components": 4},
    "iaf_vae": {**DENSE, "flow_layers": 2, "flow_width": 8},
    "vqvae": {"width": 4, "depth": 2, "codes": 8},
    "glow": {"width": 8, "steps": 1, "dense": 1, "dense_width": 8, "dequantisation": 4},
    "pixelcnn_pp": {"width": 8, "halvings": 1, "components": 2},
    "rbm": {"hidden": 8, "sample_steps": 5},
    "gaussian_rbm": {"hidden": 8, "sample_steps": 5},
}


@pytest.mark.parametrize("name", PREPARED)
def test_a_first_step_by_train_on_batch_is_that_of_fit(name, images):
    by_fit, by_batch = (gz.build(name, SHAPE, **{**PREPARED[name], **EAGER, "seed": 0}) for _ in range(2))
    by_batch.set_weights(by_fit.get_weights())
    by_fit.fit(images, batch_size=16, shuffle=False, verbose=0)
    by_batch.train_on_batch(images)
    for variable, other in zip(by_fit.weights, by_batch.weights, strict=True):
        if variable.name not in progress.NAMES:  # a batch by itself is no pass
            np.testing.assert_allclose(variable, other, rtol=1e-5, atol=1e-6, err_msg=variable.path)


def test_each_fit_counts_its_own_data_set(images):
    model = gz.build("beta_tc_vae", SHAPE, **DENSE, **QUICK, seed=0)
    for data, size in ((images[:8], 8), (images, 16), (tf.data.Dataset.from_tensor_slices(images[:12]).batch(4), 12)):
        model.fit(data, batch_size=8 if isinstance(data, np.ndarray) else None, verbose=0)
        assert float(model._size) == size
    with pytest.raises(ValueError, match="dataset_size"):
        model.fit(tf.data.Dataset.from_tensor_slices(images).batch(4).repeat(), steps_per_epoch=1, verbose=0)


@pytest.mark.parametrize("door", ["train_on_batch", "test_on_batch", "evaluate"])
def test_a_door_that_misses_the_size_of_the_data_set_says_so(door, images):
    with pytest.raises(ValueError, match=r"number of training images is not known.*dataset_size=, or call `fit`"):
        getattr(gz.build("beta_tc_vae", SHAPE, **DENSE, **EAGER), door)(images)
    told = gz.build("beta_tc_vae", SHAPE, **DENSE, **EAGER, dataset_size=6000)
    terms = getattr(told, door)(images, return_dict=True)
    assert terms["total_correlation"] != 0
    told.fit(images, verbose=0)
    assert float(told._size) == 6000


@pytest.mark.parametrize("door", ["train_on_batch", "test_on_batch", "evaluate"])
@pytest.mark.parametrize("name", ["vae", "wae_mmd", "gan", "rbm"])
def test_every_door_refuses_images_that_fit_refuses(name, door, images):
    sizes = {"gan": {"width": 4, "depth": 2, "latent_dim": 3}, "rbm": {"hidden": 8}}.get(name, DENSE)
    model = gz.build(name, SHAPE, **sizes, **EAGER)
    before = [value.copy() for value in model.get_weights()]
    floats = images.astype("float32")
    for wrong, message in ((floats, "between 0 and 25"), (floats / 255 * np.nan, "NaN"), (images[:, :4], "expected \\(batch, 8")):
        with pytest.raises(ValueError, match=message):
            getattr(model, door)(wrong)
    with pytest.raises(ValueError, match=r"empty|no images"):
        getattr(model, door)(images[:0])
    assert all(map(np.array_equal, before, model.get_weights()))


# Statistics of a batch

STATISTICS = {
    "beta_tc_vae": ("total_correlation", {"dataset_size": 6000}),
    "info_vae": ("divergence_loss", {}),
    "mmd_vae": ("divergence_loss", {}),
    "wae_mmd": ("divergence_loss", {}),
    "swae": ("latent_mmd", {}),
    "cwae": ("divergence_loss", {}),
    "sparse_autoencoder": ("sparsity_loss", {}),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_a_last_batch_of_one_image_is_left_out_of_a_statistic_of_the_batch(name, images):
    term, settings = STATISTICS[name]
    model = gz.build(name, SHAPE, **{**DENSE, **EAGER, "seed": 0, **settings})
    model.fit(images, verbose=0)
    alone = model.evaluate(images, batch_size=16, verbose=0, return_dict=True)[term]
    more = model.evaluate(np.concatenate([images, images[:1]]), batch_size=16, verbose=0, return_dict=True)[term]
    assert more == pytest.approx(16 / 17 * alone, rel=1e-3, abs=1e-6)
    # And a step with it moves the weights by the other terms alone, to finite numbers.
    loss = model.train_on_batch(images[:1], return_dict=True)
    assert np.isfinite(list(loss.values())).all() and loss[term] == 0
    for act in (lambda few: model.fit(few, verbose=0), lambda few: model.evaluate(few, verbose=0)):
        with pytest.raises(ValueError, match=f"holds {LEAST_ROWS - 1} of them, expected at least {LEAST_ROWS}"):
            act(images[: LEAST_ROWS - 1])


def test_a_scalar_beside_numbers_per_image_counts_by_the_images(images):
    model = gz.build("vqvae", SHAPE, width=4, depth=2, codes=8, seed=0, **EAGER)
    model.fit(images, verbose=0)
    parts = [model.evaluate(rows, verbose=0, return_dict=True)["perplexity"] for rows in (images[:12], images[12:])]
    whole = model.evaluate(images, batch_size=12, verbose=0, return_dict=True)["perplexity"]
    assert parts[0] != parts[1] and whole == pytest.approx((12 * parts[0] + 4 * parts[1]) / 16, rel=1e-5)
