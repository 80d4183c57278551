"""Factories: any image size, names that read well, float32 heads."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genzoo import causal, networks
from keras_genzoo import layers as own_layers
from keras_genzoo.layers import ChannelNormalization, SoftBound, TimeEmbedding
from keras_genzoo.metrics.inception import Bias
from keras_genzoo.metrics.vit import LayerScale, Tokens
from keras_genzoo.networks import conditioning, r3gan, styled
from keras_genzoo.networks.adversarial import KINDS

SHAPES = [(28, 28, 1), (32, 32, 3), (33, 21, 5), (7, 64, 2), (1, 1, 1)]
ENCODERS = {
    "conv": networks.conv_encoder,
    "skip": networks.conv_encoder,
    "residual": networks.residual_encoder,
    "mlp": lambda shape, dim, **kwargs: networks.mlp(shape, dim, name="encoder", **kwargs),
}
DECODERS = {
    "conv": networks.conv_decoder,
    "skip": networks.skip_decoder,
    "residual": networks.residual_decoder,
    "mlp": lambda dim, shape, **kwargs: networks.mlp(dim, shape, name="decoder", **kwargs),
}


def normalised(layer, x):
    """The outputs of a layer of batch normalisation in training, its gradients, and those of their squares: the second ones."""
    layer.build(x.shape)
    layer.gamma.assign([0.5, 1.0, 1.5, 2.0])
    variables = [x, layer.gamma.value, layer.beta.value]
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            outputs = layer(x, training=True)
            loss = tf.reduce_sum(tf.sin(3.0 * outputs))
        first = inner.gradient(loss, variables)
        size = tf.reduce_sum(first[0] ** 2)
    return [outputs, *first, *outer.gradient(size, variables[:2]), layer.moving_mean.value, layer.moving_variance.value]


@pytest.mark.parametrize("size", [(5, 3, 7), (1, 2, 1)])
def test_batch_normalisation_of_images_is_that_of_keras(size):
    x = 2.0 + 3.0 * tf.random.stateless_normal((*size, 4), [1, 2])
    ours, theirs = (
        normalised(kind(momentum=0.7), x) for kind in (own_layers.BatchNormalization, keras.layers.BatchNormalization)
    )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=max(1e-3 * float(tf.reduce_max(tf.abs(other))), 1e-5))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ENCODERS)
def test_encoders_and_decoders_take_any_image_shape(kind, shape):
    encoder = ENCODERS[kind](shape, 6, width=4, depth=3, heads=("mu", "log_variance"))
    decoder = DECODERS[kind](6, shape, width=4, depth=3)
    mu, log_variance = encoder(np.random.default_rng(0).random((2, *shape)))
    assert mu.shape == log_variance.shape == (2, 6)
    assert decoder(mu).shape == (2, *shape)


@pytest.mark.parametrize("normalization", [None, "batch", "layer", "channel"])
@pytest.mark.parametrize("kind", ["conv", "skip", "residual"])
def test_width_depth_normalisation_and_activation_act(kind, normalization):
    base = dict(width=4, depth=2, normalization=normalization, activation="gelu")
    encoder = ENCODERS[kind]((16, 16, 1), 3, **base)
    assert ENCODERS[kind]((16, 16, 1), 3, **{**base, "width": 8}).count_params() > encoder.count_params()
    assert len(ENCODERS[kind]((16, 16, 1), 3, **{**base, "depth": 3}).layers) > len(encoder.layers)
    layers = encoder.layers + DECODERS[kind](3, (16, 16, 1), **base).layers
    assert {layer.activation for layer in layers if isinstance(layer, keras.layers.Activation)} == {keras.activations.gelu}
    kinds = (keras.layers.BatchNormalization, keras.layers.LayerNormalization, keras.layers.GroupNormalization)
    assert any(isinstance(layer, kinds) for layer in layers) == (normalization is not None)


@pytest.mark.parametrize("kind", ENCODERS)
def test_heads_stay_in_float32_under_mixed_precision(kind):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        encoder, decoder = ENCODERS[kind]((8, 8, 1), 3, width=4), DECODERS[kind](3, (8, 8, 1), width=4)
    finally:
        keras.config.set_dtype_policy("float32")
    assert encoder.output.dtype == decoder.output.dtype == "float32"
    assert "bfloat16" in {layer.compute_dtype for layer in encoder.layers}


def test_names_say_what_a_layer_does():
    names = [layer.name for layer in networks.conv_encoder((28, 28, 1), 16, heads=("mu", "log_variance")).layers]
    assert names[:4] == ["image", "down1", "down1_norm", "down1_relu"]
    assert set(names[-3:]) == {"mu", "log_variance", "log_variance_bound"}


def test_the_log_variance_is_bounded_and_nearly_linear_near_zero():
    bound = SoftBound(10.0)
    assert np.abs(bound(np.array([-1e9, 1e9]))).max() <= 10
    np.testing.assert_allclose(bound(np.array([0.1])), [0.1], rtol=1e-3)


def test_channel_normalisation_standardises_a_whole_image():
    y = ChannelNormalization()(np.random.default_rng(0).normal(3, 5, (4, 6, 6, 2)).astype("float32")).numpy()
    np.testing.assert_allclose(y.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(1, 2, 3)), 1, atol=1e-3)


@pytest.mark.parametrize("shape", [(4, 5, 6, 6), (4, 6)])
def test_group_normalisation_scales_and_shifts_channels_as_that_of_keras(shape):
    random = np.random.default_rng(0)
    own, theirs = own_layers.GroupNormalization(3), keras.layers.GroupNormalization(3)
    for layer in (own, theirs):
        layer.build((None, *shape[1:]))
    own.set_weights([1 + random.normal(size=6), random.normal(size=6)])
    theirs.set_weights(own.get_weights())
    x = random.normal(2.0, 3.0, shape).astype("float32")
    np.testing.assert_allclose(own(x), theirs(x), atol=1e-4)


def test_times_are_told_by_sines_and_cosines_of_geometric_frequencies():
    t = np.array([0.0, 0.3, 1.0])
    angles = 20.0 * t[:, None] * 10000.0 ** -np.array([0, 0.5, 1])
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    for dim in (5, 6):
        np.testing.assert_allclose(TimeEmbedding(dim, scale=20.0)(t), expected[:, :dim], atol=1e-5)


def test_a_network_of_no_hidden_layers_is_linear():
    network = networks.mlp((4, 4, 1), 2, depth=0)
    x = np.random.default_rng(0).random((5, 4, 4, 1)).astype("float32")
    expected = x.reshape(5, 16) @ network.layers[-1].kernel.numpy()
    np.testing.assert_allclose(network(x), expected, atol=1e-5)


def test_a_skip_decoder_sums_enlarged_images_and_details():
    decoder = networks.skip_decoder(3, (16, 16, 2), width=4)
    layers = {layer.name: layer for layer in decoder.layers}
    z = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    coarse = keras.Model(decoder.input, [layers[name].output for name in ("image", "detail2", "detail1")])(z)
    expected = coarse[0]
    for detail in coarse[1:]:
        expected = tf.image.resize(expected, detail.shape[1:3]) + detail
    np.testing.assert_allclose(decoder(z), expected, atol=1e-5)


def test_residual_blocks_keep_the_identity_path():
    network = networks.residual_encoder((8, 8, 1), 2, width=4, depth=1, blocks=2)
    assert sum(isinstance(layer, keras.layers.Add) for layer in network.layers) == 2


@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (4, 7)])
def test_channel_normalisation_is_over_an_image_and_reads_the_config_of_earlier_versions(shape):
    # Those wrote the config of a LayerNormalization.
    layer = ChannelNormalization.from_config(keras.layers.LayerNormalization(epsilon=0.01).get_config())
    x = np.random.default_rng(0).normal(2.0, 3.0, shape)
    axes = tuple(range(1, len(shape)))
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 0.01)
    np.testing.assert_allclose(layer(x.astype("float32")), expected, atol=1e-5)
    assert [weight.shape for weight in layer.weights] == [shape[-1:], shape[-1:]]


# What the parts of a network are told, and what bends them

WITH_INPUTS = {
    "unet": lambda: networks.unet((4, 4, 1), width=8, multipliers=(1, 2), num_classes=3),
    "unet without classes": lambda: networks.unet((4, 4, 1), width=8, multipliers=(1,)),
    "unet of DDPM++": lambda: networks.unet((4, 4, 1), width=8, multipliers=(1, 2), num_classes=3, kind="ddpm++", patch=2),
    "unet of spans": lambda: networks.unet((4, 4, 1), width=8, multipliers=(1,), spans=True, num_classes=3),
    "unet of ADM": lambda: networks.unet((4, 4, 1), 8, (1, 2), num_classes=3, kind="adm", scale_shift=True, augmented=True),
    "dit": lambda: networks.dit((4, 4, 1), 8, 1, 2, num_classes=3),
    "dense_denoiser": lambda: networks.dense_denoiser((1, 1, 4), 8, 2, num_classes=3),
    "dense_denoiser without classes": lambda: networks.dense_denoiser((1, 1, 4), 8, 2),
    **{f"generator, {kind}": lambda kind=kind: networks.generator(3, (4, 4, 1), 3, kind, width=4) for kind in KINDS},
    **{f"critic, {kind}": lambda kind=kind: networks.critic((4, 4, 1), 2, 3, kind, width=4) for kind in KINDS},
    "resnet_generator": lambda: networks.resnet_generator(3, (4, 4, 1), 3, width=4, depth=1),
    "resnet_critic": lambda: networks.resnet_critic((4, 4, 1), 2, 3, width=4, depth=1),
    "r3gan_generator": lambda: networks.r3gan_generator(3, (4, 4, 1), 3, width=4, depth=1),
    "r3gan_critic": lambda: networks.r3gan_critic((4, 4, 1), 3, width=4, depth=1),
    "stylegan2_mapping": lambda: networks.stylegan2_mapping(3, 4),
    "stylegan2_generator": lambda: networks.stylegan2_generator(3, (4, 4, 1), width=4, depth=1),
    "stylegan2_critic": lambda: networks.stylegan2_critic((4, 4, 1), width=4, depth=1),
    "spectral critic": lambda: networks.critic((4, 4, 1), 1, 3, width=4, spectral=True),
    "conv_coupling": lambda: networks.conv_coupling((4, 4, 2), 3, 4, context=2),
    "residual_coupling": lambda: networks.residual_coupling((4, 4, 2), 3, 4, 2, context=2),
    "dense_coupling": lambda: networks.dense_coupling(4, 3, 8, context=2),
    "made": lambda: networks.made(4, 2, 8, context=2),
    "dense_velocity": lambda: networks.dense_velocity(4, 8, context=2),
    "gated_pixelcnn": lambda: networks.gated_pixelcnn((4, 4, 1), 3, 8, 2, num_classes=3),
    "pixelcnn_pp": lambda: networks.pixelcnn_pp((4, 4, 1), 3, 8, num_classes=3),
}


@pytest.mark.parametrize("name", WITH_INPUTS)
def test_every_input_of_a_network_acts_on_its_output(name):
    network, random = WITH_INPUTS[name](), np.random.default_rng(0)
    for variable in network.trainable_variables:  # what begins at zero lets nothing through
        variable.assign(variable + random.normal(0, 0.3, variable.shape))
    inputs = [random.normal(size=(2, *each.shape[1:])) for each in network.inputs]
    output = np.asarray(network(inputs))
    for index, each in enumerate(inputs):
        changed = [*inputs[:index], each + 0.5 * random.normal(size=each.shape), *inputs[index + 1 :]]
        assert np.abs(network(changed) - output).max() > 1e-3, network.inputs[index].name


HIDDEN = {  # how often the activation is called, counted by hand: by a network of depth 3 behind every layer but the last
    "mlp": (3, lambda act: networks.mlp(5, 2, width=4, depth=3, activation=act)),
    "mlp to images": (3, lambda act: networks.mlp(2, (4, 4, 1), width=(4, 5, 6), depth=3, activation=act, normalization="layer")),
    "conv_encoder": (3 + 1, lambda act: networks.conv_encoder((9, 9, 1), 2, 4, 3, act, hidden=5)),
    "conv_decoder": (1 + 1 + 2, lambda act: networks.conv_decoder(2, (9, 9, 1), 4, 3, act, None, hidden=5)),
    "skip_decoder": (1 + 1 + 3, lambda act: networks.skip_decoder(2, (9, 9, 1), 4, 3, act, hidden=5)),
    "grid_encoder": (3, lambda act: networks.grid_encoder((9, 9, 1), 2, 4, 3, act)),
    "grid_decoder": (1 + 2, lambda act: networks.grid_decoder((9, 9, 1), 2, 4, 3, act)),
    "grid_encoder of blocks": (3 + 2 * 2 + 1, lambda act: networks.grid_encoder((9, 9, 1), 2, 4, 3, act, blocks=2)),
    "grid_decoder of blocks": (1 + 2 * 2 + 1 + 2, lambda act: networks.grid_decoder((9, 9, 1), 2, 4, 3, act, blocks=2)),
    "residual_encoder": (3 * 2 * 2 + 1, lambda act: networks.residual_encoder((9, 9, 1), 2, 4, 3, 2, act)),
    "residual_decoder": (3 * 2 * 2 + 1, lambda act: networks.residual_decoder(2, (9, 9, 1), 4, 3, 2, act)),
    "critic with classes": (3 + 1, lambda act: networks.critic((9, 9, 1), 2, 3, width=4, depth=3, activation=act)),
    "generator with classes": (3, lambda act: networks.generator(2, (9, 9, 1), 3, width=4, depth=3, activation=act)),
    "conv_coupling": (3, lambda act: networks.conv_coupling((4, 4, 1), 2, 4, (3, 1, 1, 3), act)),
    "residual_coupling": (3 * 2 + 1, lambda act: networks.residual_coupling((4, 4, 1), 2, 4, 3, act)),
    "dense_coupling": (3, lambda act: networks.dense_coupling(4, 2, 4, 3, act)),
    "made": (3, lambda act: networks.made(4, 2, 4, 3, act, context=2)),
    "dense_velocity": (3, lambda act: networks.dense_velocity(4, (8, 7, 6), 3, act, context=2)),
    # Two a block, of which there are 8, and in DDPM++ two more that change the sides; time, condition and the last.
    "unet": (2 * 8 + 3, lambda act: networks.unet((4, 4, 1), 8, (1, 2))),
    "unet of DDPM++": (2 * 10 + 3, lambda act: networks.unet((4, 4, 1), 8, (1, 2), kind="ddpm++")),
    "unet of ADM": (2 * 10 + 3, lambda act: networks.unet((4, 4, 1), 8, (1, 2), kind="adm", scale_shift=True)),
    "dense_denoiser": (1 + 3 + 1, lambda act: networks.dense_denoiser((1, 1, 4), 8, 3)),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_no_hidden_layer_goes_without_its_activation(name):
    count, make = HIDDEN[name]
    act = lambda x: keras.activations.silu(x)  # noqa: E731
    found = [getattr(layer, "activation", None) for layer in make(act)._flatten_layers()]
    assert sum(each in (act, keras.activations.silu) for each in found) == count


NUMPY = np.int64(2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: networks.mlp((8, 8, 1), NUMPY, width=NUMPY, depth=NUMPY),
        lambda: networks.conv_encoder((np.int64(8), 8, 1), NUMPY, width=NUMPY, depth=NUMPY),
        lambda: networks.conv_decoder(NUMPY, (8, 8, np.int32(1)), width=NUMPY, depth=NUMPY),
        lambda: networks.skip_decoder(NUMPY, (8, 8, 1), width=NUMPY, depth=NUMPY),
        lambda: networks.residual_decoder(NUMPY, (8, 8, 1), width=NUMPY, depth=NUMPY, blocks=NUMPY),
        lambda: networks.generator(NUMPY, (8, 8, 1), num_classes=NUMPY),
        lambda: networks.critic((8, 8, 1), NUMPY, num_classes=NUMPY),
        lambda: networks.grid_encoder((8, 8, 1), NUMPY, NUMPY, NUMPY, blocks=NUMPY),
        lambda: networks.grid_decoder((8, 8, 1), NUMPY, NUMPY, NUMPY, blocks=NUMPY),
        lambda: networks.patch_critic((8, 8, 1), NUMPY, NUMPY),
        lambda: networks.resnet_generator(NUMPY, (8, 8, 1), num_classes=NUMPY, width=NUMPY, depth=NUMPY),
        lambda: networks.resnet_critic((8, 8, 1), NUMPY, num_classes=NUMPY, width=NUMPY, depth=NUMPY, blocks=NUMPY),
        lambda: networks.r3gan_generator(NUMPY, (8, 8, 1), NUMPY, width=NUMPY, depth=NUMPY, blocks=NUMPY, group=NUMPY),
        lambda: networks.r3gan_critic((8, 8, 1), NUMPY, width=NUMPY, depth=NUMPY, blocks=NUMPY, expansion=NUMPY),
        lambda: networks.stylegan2_mapping(NUMPY, NUMPY, depth=NUMPY, rate=np.float32(0.5)),
        lambda: networks.stylegan2_generator(NUMPY, (8, 8, 1), width=NUMPY, depth=NUMPY, full=NUMPY),
        lambda: networks.stylegan2_critic((8, 8, 1), width=NUMPY, depth=NUMPY, full=NUMPY, group=NUMPY),
        lambda: networks.unet((8, 8, 1), np.int64(8), (1,), np.int64(1), num_classes=NUMPY, patch=NUMPY),
        lambda: networks.dit((8, 8, 1), np.int64(8), NUMPY, NUMPY, NUMPY, NUMPY, num_classes=NUMPY),
        lambda: networks.dense_denoiser((1, 1, 4), NUMPY, NUMPY),
        lambda: networks.made(NUMPY, NUMPY, NUMPY, depth=NUMPY),
    ],
)
def test_sizes_may_be_integers_of_numpy(make, tmp_path):
    make().save(tmp_path / "network.keras")  # whose config JSON can hold


# Layers as Keras knows them

PIXELS, SOME = (None, None, None, 4), (2, 6, 6, 4)


def _rematerialized():
    image = keras.Input(PIXELS[1:])
    return own_layers.Rematerialized(keras.Model(image, keras.layers.Conv2D(3, 3, padding="same", activation="silu")(image)))


LAYERS = {  # how it is made, the shape it is built for, and the shape of an input; or lists of these
    "SoftBound": (lambda: SoftBound(3.0), PIXELS, SOME),
    "BatchNormalization": (own_layers.BatchNormalization, PIXELS, SOME),
    "SynchronizedBatchNormalization": (own_layers.SynchronizedBatchNormalization, PIXELS, SOME),
    "GroupNormalization": (lambda: own_layers.GroupNormalization(2), PIXELS, SOME),
    "ChannelNormalization": (ChannelNormalization, PIXELS, SOME),
    "SelfAttention": (lambda: own_layers.SelfAttention(2), (None, None, 4), (2, 5, 4)),
    "Rematerialized": (_rematerialized, PIXELS, SOME),
    "SpaceToDepth": (lambda: own_layers.SpaceToDepth(2), PIXELS, SOME),
    "DepthToSpace": (lambda: own_layers.DepthToSpace(2), PIXELS, SOME),
    "SpectralConv2D": (lambda: own_layers.SpectralConv2D(3, 3, strides=2), PIXELS, SOME),
    "SpectralConv2DTranspose": (lambda: own_layers.SpectralConv2DTranspose(3, 4, strides=2), PIXELS, SOME),
    "SpectralDense": (lambda: own_layers.SpectralDense(5), (None, 4), (2, 4)),
    "TimeEmbedding": (lambda: own_layers.TimeEmbedding(5), (None,), (2,)),
    "MaskedDense": (lambda: own_layers.MaskedDense(3, [1, 2], [1, 2, 2]), (None, 2), (2, 2)),
    "GroupedConv2D": (lambda: r3gan.GroupedConv2D(6, 3, groups=2), PIXELS, SOME),
    "BilinearUp": (r3gan.BilinearUp, PIXELS, SOME),
    "BilinearDown": (r3gan.BilinearDown, PIXELS, SOME),
    "Basis": (lambda: r3gan.Basis(3, 5), (None, 4), (2, 4)),
    "Coefficients": (r3gan.Coefficients, (None, 6, 6, 4), SOME),
    "Blur": (lambda: styled.Blur(2), PIXELS, SOME),
    "ScaledLeakyReLU": (styled.ScaledLeakyReLU, PIXELS, SOME),
    "PixelNormalization": (styled.PixelNormalization, (None, 4), (2, 4)),
    "Row": (lambda: styled.Row(1), (None, 3, 4), (2, 3, 4)),
    "LearnedConstant": (lambda: styled.LearnedConstant(3, 5, 2), (None, 4), (2, 4)),
    "EqualizedDense": (lambda: styled.EqualizedDense(5, 0.1, 1.0), (None, 4), (2, 4)),
    "EqualizedConv2D": (lambda: styled.EqualizedConv2D(3, 3, strides=2), PIXELS, SOME),
    "ModulatedConv2D": (lambda: styled.ModulatedConv2D(3, 3, up=True), [PIXELS, (None, 4)], [SOME, (2, 4)]),
    "NoiseInjection": (styled.NoiseInjection, (None, 6, 6, 4), SOME),
    "MinibatchStd": (lambda: styled.MinibatchStd(2), (None, 6, 6, 4), SOME),
    "ScaleShift": (conditioning.ScaleShift, [PIXELS, (None, 8)], [SOME, (2, 8)]),
    "PositionEmbedding": (conditioning.PositionEmbedding, (None, 6, 6, 4), SOME),
    "ClassEmbedding": (lambda: conditioning.ClassEmbedding(5), (None, 4), (2, 4)),
    "Bias": (Bias, (None, 4), (2, 4)),
    "LayerScale": (LayerScale, (None, 4), (2, 4)),
    "Tokens": (Tokens, (None, 3, 2, 4), (2, 3, 2, 4)),
    "CausalConv2D": (lambda: causal.CausalConv2D(6, (2, 3), wide=True, strides=2, normalized=True, scale=0.1), PIXELS, SOME),
    "CausalConv2D, masked": (lambda: causal.CausalConv2D(6, (1, 2), mask="A", mask_groups=2, mask_parts=2), PIXELS, SOME),
    "CausalConv2DTranspose": (
        lambda: causal.CausalConv2DTranspose(6, (2, 3), size=(11, 12), wide=True, normalized=True),
        PIXELS,
        SOME,
    ),
    "Shift": (lambda: causal.Shift("down"), PIXELS, SOME),
    "Gate": (lambda: causal.Gate("tanh"), PIXELS, SOME),
    "ConcatELU": (causal.ConcatELU, PIXELS, SOME),
    "AppendOnes": (causal.AppendOnes, PIXELS, SOME),
    "LevelEmbedding": (lambda: causal.LevelEmbedding(5, 3), (None, None, None, 1), (2, 6, 6, 1)),
}


def test_every_layer_is_tested_as_keras_knows_it():
    own = {
        name
        for module in (own_layers, causal, conditioning, r3gan, styled)
        for name, each in vars(module).items()
        if isinstance(each, type) and issubclass(each, keras.layers.Layer) and each.__module__.startswith(module.__name__)
    }
    assert {name.partition(",")[0] for name in LAYERS} - {"Bias", "LayerScale", "Tokens"} == own


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_says_its_shape_takes_symbols_and_is_made_anew_from_its_config(name):
    make, symbolic, shape = LAYERS[name]
    layer, random = make(), np.random.default_rng(0)
    each_of = lambda do, given: [do(each) for each in given] if isinstance(given, list) else do(given)  # noqa: E731
    x = each_of(lambda shape: random.random(shape).astype("float32"), shape)
    inputs = each_of(lambda shape: keras.Input(batch_shape=shape), symbolic)
    network = keras.Model(inputs, layer(inputs))
    y = network(x)
    assert layer.compute_output_shape(shape) == y.shape == tf.function(network)(x).shape
    assert len(network.output_shape) == len(y.shape)
    assert all(known in (None, size) for known, size in zip(network.output_shape, y.shape, strict=True))
    assert network.output.dtype == y.dtype.name
    again = type(layer).from_config(layer.get_config())
    again.build(symbolic)
    assert again.get_config() == layer.get_config()
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(x), y)
    eager = make()
    assert eager(x).shape == y.shape  # built by the call itself


@pytest.mark.parametrize(
    "make, shape",
    [
        (lambda: own_layers.SpectralDense(5), (3, 7)),
        (lambda: own_layers.SpectralConv2D(6, 3), (2, 6, 6, 4)),
        (lambda: own_layers.MaskedDense(3, [1, 2], [1, 2, 2]), (2, 2)),
        (lambda: causal.CausalConv2D(6, (2, 2), normalized=True), (2, 6, 6, 4)),
    ],
)
def test_lora_acts_gets_gradients_and_is_saved(make, shape, tmp_path):
    layer = make()
    network = keras.Sequential([keras.Input(shape[1:]), layer])
    x = np.random.default_rng(0).random(shape).astype("float32")
    before = network(x)
    layer.enable_lora(2)
    np.testing.assert_allclose(network(x), before, atol=1e-6)  # which begins at zero
    layer.lora_kernel_b.assign(np.random.default_rng(1).normal(size=layer.lora_kernel_b.shape))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(x, training=True) ** 2)
    trained = [layer.lora_kernel_a, layer.lora_kernel_b]
    assert all(np.abs(gradient).max() > 0 for gradient in tape.gradient(loss, [each.value for each in trained]))
    assert np.abs(network(x) - before).max() > 0.01
    if hasattr(layer, "direction"):
        for _ in range(30):
            network(x, training=True)
        matrix = layer.as_matrix(layer.kernel)
        layer.bias.assign(np.zeros(layer.bias.shape))
        plain = np.linalg.svd(matrix, compute_uv=False)[0]
        if len(shape) == 2:
            np.testing.assert_allclose(network(x), x @ matrix / plain, rtol=1e-3)
    network.save(tmp_path / "network.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "network.keras")(x), network(x))


@pytest.mark.parametrize("make", [lambda: own_layers.SpectralDense(4), lambda: own_layers.MaskedDense(4, [1, 2], [1, 2, 2, 2])])
def test_a_layer_that_makes_its_kernel_anew_is_not_quantised(make, no_collection):
    layer = make()
    network = keras.Sequential([keras.Input((2,)), layer, keras.layers.Dense(3)])
    x = np.random.default_rng(0).random((5, 2)).astype("float32")
    before = layer(x)
    with pytest.warns(UserWarning, match=f"{type(layer).__name__} .* cannot be quantised to int8"):
        network.quantize("int8")
    np.testing.assert_array_equal(layer(x), before)
    assert network.layers[-1].quantization_mode == "int8"
    with pytest.raises(ValueError, match="expected one that is not quantised"):
        type(layer).from_config({**layer.get_config(), "dtype": "int8_from_float32"}).build((None, 2))
