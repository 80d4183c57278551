"""What people ask of a trained diffusion model, against the closed forms of Gaussian data: images from images, images on the way,
guidance between noise levels, and steps that are corrected."""

import keras
import numpy as np
import pytest
import scipy.integrate
import tensorflow as tf
from click.testing import CliRunner
from test_diffusion import gaussian_model, numbers, walker

import keras_genzoo as gz
from keras_genzoo import samplers
from keras_genzoo.cli import main


@pytest.mark.parametrize("schedule, sampler, steps", [("rectified_flow", "heun", 40), ("linear", "dpm_solver", 60)])
def test_images_from_images_have_the_mean_and_deviation_of_what_the_noise_leaves(schedule, sampler, steps):
    """x_t = signal v + noise z of an image v goes along its quantile to x_t std / sqrt(signal^2 std^2 + noise^2)."""
    std, value, strength, n = 0.3, 0.4, 0.5, 4000
    model = gaussian_model(schedule, std=std)
    images = np.full((n, 1, 1, 1), 0.5 * (value + 1), "float32")
    found = 2 * model.img2img(images, strength, seed=0, steps=steps, sampler=sampler, batch_size=n).ravel() - 1
    times = samplers.SAMPLERS[sampler]().times(model.schedule, steps)
    (signal,), (noise,) = numbers(model.schedule, [times[-round(strength * steps) - 1]])
    shrink = std / np.hypot(signal * std, noise)
    mean, deviation = signal * value * shrink, noise * shrink
    assert 0.02 < deviation < std and abs(mean - value) > 0.01
    assert found.mean() == pytest.approx(mean, abs=4 * deviation / np.sqrt(n) + 0.005)
    assert found.std() == pytest.approx(deviation, abs=4 * deviation / np.sqrt(2 * n) + 0.005)


def test_with_full_strength_nothing_of_the_images_is_left_and_with_little_they_stay():
    model = gaussian_model("rectified_flow", std=0.3, shape=(2, 2, 1))
    images = np.random.default_rng(0).uniform(0.3, 0.7, (5, 2, 2, 1)).astype("float32")
    drawn = model.sample(5, seed=3, steps=8, sampler="heun")
    np.testing.assert_allclose(model.img2img(images, 1.0, seed=3, steps=8, sampler="heun"), drawn, atol=1e-5)
    np.testing.assert_allclose(model.img2img(images, 0.01, seed=3, steps=100), images, atol=0.03)
    # The batch does not matter, and levels are images too.
    one, other = (model.img2img(images, 0.5, seed=3, steps=4, batch_size=size) for size in (2, 5))
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert model.img2img((255 * images).astype("uint8"), 0.5, seed=3, steps=4).shape == images.shape
    for strength in (0, 1.5):
        with pytest.raises(ValueError, match="strength is"):
            model.img2img(images, strength)
    with pytest.raises(ValueError, match=r"images have shape \(1, 3, 3, 1\)"):
        model.img2img(np.zeros((1, 3, 3, 1)))


def test_images_on_the_way_are_those_of_the_flow():
    """x_t = z sqrt(signal^2 std^2 + noise^2), of noise z, in units of what images have at that time."""
    std, steps, n = 0.3, 40, 64
    model = gaussian_model("rectified_flow", std=std)
    ways = model.sample(n, seed=0, steps=steps, sampler="heun", trace=5)
    assert ways.shape == (n, 5, 1, 1, 1)
    times = samplers.Heun().times(model.schedule, steps)[[0, 10, 20, 30, 40]]
    z = model.draw_latents(n, gz.randomness.RowStream(0, 0)).numpy().ravel()
    signal, noise = numbers(model.schedule, times)
    expected = z[:, None] * np.hypot(signal * std, noise) / np.hypot(signal, noise)
    np.testing.assert_allclose(2 * ways[..., 0, 0, 0] - 1, np.clip(expected, -1, 1), atol=5e-3)
    images = model.sample(n, seed=0, steps=steps, sampler="heun")
    np.testing.assert_allclose(ways[:, -1], images, atol=1e-5)
    np.testing.assert_allclose(
        np.concatenate(list(model.sample_batches(9, 0, 4, steps=steps, sampler="heun", trace=5))), ways[:9], atol=1e-5
    )
    for trace, sentence in ((1, "trace is 1, expected a whole number of at least 2"), (7, "trace is 7, expected at most 6")):
        with pytest.raises(ValueError, match=sentence):
            model.sample(1, steps=5, trace=trace)


def test_guidance_is_between_the_noise_levels_that_were_asked_for():
    model = gz.build("conditional_diffusion", (8, 8, 1), width=8, multipliers=(1,), seed=0, ema=None)
    for index, variable in enumerate(model.network.trainable_variables):
        variable.assign(variable + 0.1 * np.random.default_rng(index).normal(size=variable.shape))
    x, labels, interval = tf.random.stateless_normal((3, 8, 8, 1), (0, 1)), tf.one_hot([1, 2, 3], 10), tf.constant([0.25, 1.5])
    guided, plain = (model.denoiser(labels, guidance) for guidance in (4.0, None))
    within = model.denoiser(labels, 4.0, interval=interval)
    # On a straight line the level is t / (1 - t): 0.2 at 1/6, 0.25 at 1/5, 1 at 1/2, 1.5 at 3/5 and 4 at 4/5.
    for t, expected in ((1 / 6, plain), (0.2001, guided), (0.5, guided), (0.5999, guided), (0.8, plain), (1.0, plain)):
        found, other = (each(x, tf.constant(t, tf.float32))[0] for each in (within, expected))
        np.testing.assert_allclose(found, other, atol=1e-4, err_msg=str(t))
    images = {
        interval: model.sample(3, seed=0, labels=[1, 2, 3], steps=4, sampler="ddim", guidance=4.0, guidance_interval=interval)
        for interval in (None, (0.0, np.inf), (0.25, 1.5), (50.0, 60.0))
    }
    plain = model.sample(3, seed=0, labels=[1, 2, 3], steps=4, sampler="ddim")
    np.testing.assert_allclose(images[None], images[0.0, np.inf], atol=1e-5)
    np.testing.assert_allclose(images[50.0, 60.0], plain, atol=1e-5)
    assert min(np.abs(images[0.25, 1.5] - each).max() for each in (plain, images[None])) > 1e-3
    for settings, sentence in (
        ({"guidance_interval": (0.2, 3)}, r"guidance_interval is \(0.2, 3\), and there is no guidance; give guidance too"),
        ({"guidance": 2.0, "guidance_interval": (3, 1)}, r"guidance_interval is \(3, 1\), expected two numbers \(low, high\)"),
    ):
        with pytest.raises(ValueError, match=sentence):
            model.sample(1, **settings)


def test_unipc_is_of_third_order_and_nearer_than_the_solver_that_it_corrects():
    model = gaussian_model("edm", std=0.3)
    times = lambda steps: np.linspace(5.0**0.5, 0.1**0.5, steps + 1) ** 2  # noqa: E731
    exact, start = 1000 * np.hypot(0.3, 0.1) / np.hypot(0.3, 5.0), np.full((1, 1, 1, 1), 1000.0)
    errors = {}
    for name in ("dpm_solver", "unipc"):
        walk = walker(model, samplers.SAMPLERS[name]())
        errors[name] = np.array([abs(walk(times(steps), start).item() - exact) for steps in (80, 160, 320)])
    orders = np.log2(errors["unipc"][:-1] / errors["unipc"][1:])
    assert orders.min() > 2.4, (errors, orders)
    assert np.all(errors["unipc"] < 0.5 * errors["dpm_solver"]), errors


def test_the_corrector_is_exact_where_the_image_is_a_line_in_the_log_snr():
    """Then x(t) = shrink x(s) + signal(t) times the integral of e^(l - lambda_t) image(l), which two points tell."""
    width, width_before = 0.7, 0.4
    of_second, of_image = samplers._corrector(tf.constant(width), tf.constant(width_before))
    line = lambda at: 2.0 + 3.0 * at  # noqa: E731  of the half log SNR since the step began
    exact = scipy.integrate.quad(lambda at: np.exp(at - width) * line(at), 0, width)[0] / (1 - np.exp(-width))
    found = line(0) + float(of_second) * (line(-width_before) - line(0)) + float(of_image) * (line(width) - line(0))
    assert found == pytest.approx(exact, rel=1e-5)
    # Narrow steps are told by the series of what cancels.
    narrow = [float(each) for each in samplers._corrector(tf.constant(1e-3), tf.constant(1e-3))]
    assert narrow == pytest.approx([-1 / 12, 5 / 12], rel=1e-2)


def test_the_commands_draw_what_was_asked_for(images, tmp_path):
    model = gz.build("flow_matching", (8, 8, 1), width=8, multipliers=(1,), steps=2, seed=0)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "photos.npy", images)

    def run(*options):
        command = ["sample", str(tmp_path / "model.keras"), *map(str, options)]
        return CliRunner().invoke(main, command)

    out = tmp_path / "like.npz"
    result = run("--images", tmp_path / "photos.npy", "--strength", 0.5, "-n", 5, "--steps", 4, "--out", out)
    assert result.exit_code == 0, result.output
    expected = gz.images.to_levels(model.img2img(images[:5], 0.5, seed=0, steps=4)).numpy()
    assert np.abs(np.load(out)["images"].astype(int) - expected).max() <= 1
    result = run("--trace", 3, "-n", 2, "--out", tmp_path / "ways.png")
    assert result.exit_code == 0, result.output
    picture = keras.utils.load_img(tmp_path / "ways.png")
    assert picture.width > picture.height  # a row of three for each of two images
    for options, sentence in (
        (("--strength", 0.5), "--strength says how far from --images, and there are none"),
        (("--trace", 3, "--out", tmp_path / "ways.npz"), "--trace draws a sheet"),
        (("--guidance-interval", "3"), "'3' is no interval, expected two numbers as 0.2,3"),
        (("--images", tmp_path / "photos.npy", "--trace", 3), "Diffusion takes no --trace"),
    ):
        result = run(*options)
        assert result.exit_code == 2 and sentence in " ".join(result.output.split()), result.output
