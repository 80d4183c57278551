"""Fully connected networks."""

import math
import numbers

import keras
from keras import layers

from keras_genzoo.core.checks import whole, whole_or_none
from keras_genzoo.layers import TimeEmbedding
from keras_genzoo.networks.common import code_heads, dense, normalized, widths_of
from keras_genzoo.networks.conditions import told_vector


def mlp(
    input_shape,
    output_shape,
    width=512,
    depth=2,
    activation="relu",
    normalization=None,
    output_activation=None,
    heads=("code",),
    spectral=False,
    head_bias=True,
    name="mlp",
):
    """A multilayer perceptron between any two shapes: an encoder, a decoder, a critic of codes.

    Args:
        input_shape: int or tuple. Shape of the input without the batch axis, such as `(28, 28, 1)` or `32`.
        output_shape: int or tuple. Likewise of the output. An int makes the outputs codes, one a head.
        width: int or sequence of `depth` ints. Units of the hidden layers. Defaults to 512.
        depth: int. Number of hidden layers; 0 is a linear network. Defaults to 2.
        activation: name or callable, of the hidden layers. Defaults to "relu".
        normalization: None, "batch", "synchronized_batch" or "layer". Defaults to None.
        output_activation: name, callable or None, of the image or the codes that are put out. Defaults to None.
        heads: names of the outputs where `output_shape` is an int; "log_variance" is bounded to +-10.
        spectral: bool. Whether the kernels have spectral norm 1. Defaults to False.
        head_bias: bool. Whether the heads of a network that puts out codes have a bias. Defaults to True.
        name: str. Name of the network. Defaults to "mlp".

    Returns:
        A built `keras.Model` with float32 outputs.

    Example:

    >>> encoder = mlp((28, 28, 1), 16, heads=("mu", "log_variance"), name="encoder")
    >>> decoder = mlp(16, (28, 28, 1), output_activation="sigmoid", name="decoder")
    """
    depth = whole(0, depth=depth)
    to_codes = isinstance(output_shape, numbers.Integral)
    inputs = keras.Input((input_shape,) if isinstance(input_shape, numbers.Integral) else tuple(input_shape), name="input")
    x = layers.Flatten(name="flatten")(inputs) if len(inputs.shape) > 2 else inputs
    for index, units in enumerate(widths_of(width, depth), 1):
        x = dense(spectral)(units, use_bias=normalization is None, name=f"hidden{index}")(x)
        x = normalized(x, normalization, activation, f"hidden{index}")
    if to_codes:
        return keras.Model(inputs, code_heads(x, output_shape, heads, spectral, head_bias, output_activation), name=name)
    x = dense(spectral)(math.prod(output_shape), activation=output_activation, dtype="float32", name="output")(x)
    x = layers.Reshape(tuple(output_shape), dtype="float32", name="image")(x)
    return keras.Model(inputs, x, name=name)


def dense_denoiser(image_shape, width=512, depth=3, num_classes=None, name="denoiser", condition_dim=None):
    """Noisy images or codes and times to outputs of their shape: a fully connected stand-in for `unet`.

    Args:
        image_shape: `(height, width, channels)`; of codes `(1, 1, latent_dim)`.
        width: int. Units of the layers. Defaults to 512.
        depth: int. Number of residual blocks. Defaults to 3.
        num_classes: int or None. With classes a third input takes one-hot labels; zeros stand for no label. Defaults to None.
        name: str. Defaults to "denoiser".
        condition_dim: int or None. As of `unet`. Defaults to None.

    Returns:
        A built `keras.Model` of `(images, times)`, or `(images, times, condition)`, as `unet`. A fresh one puts out zeros.

    Example:

    >>> dense_denoiser((1, 1, 64), width=256)
    """
    width, depth = whole(width=width, depth=depth)
    num_classes, condition_dim = whole_or_none(num_classes=num_classes, condition_dim=condition_dim)
    inputs = [keras.Input(tuple(image_shape), name="image"), keras.Input((), name="time")]
    told = layers.Dense(width, "silu", name="time_1")(TimeEmbedding(128, name="time_embedding")(inputs[1]))
    if condition_dim is not None:
        condition, of_condition = told_vector(num_classes, condition_dim, width)
        inputs.append(condition)
        told = layers.Add(name="time_and_told")([told, of_condition])
    elif num_classes is not None:
        inputs.append(keras.Input((num_classes,), name="labels"))
        told = layers.Add(name="time_and_class")([told, layers.Dense(width, use_bias=False, name="class")(inputs[2])])
    x = layers.Dense(width, name="first")(layers.Flatten(name="flatten")(inputs[0]))
    for index in range(1, depth + 1):
        y = layers.Dense(width, name=f"block{index}_in")(layers.LayerNormalization(name=f"block{index}_norm")(x))
        y = layers.Add(name=f"block{index}_told")([y, layers.Dense(width, name=f"block{index}_time")(told)])
        y = layers.Dense(width, name=f"block{index}_out")(layers.Activation("silu", name=f"block{index}_act")(y))
        x = layers.Add(name=f"block{index}")([x, y])
    x = layers.Activation("silu", name="last_act")(layers.LayerNormalization(name="last_norm")(x))
    x = layers.Dense(math.prod(image_shape), kernel_initializer="zeros", dtype="float32", name="last")(x)
    return keras.Model(inputs, layers.Reshape(tuple(image_shape), dtype="float32", name="output")(x), name=name)
