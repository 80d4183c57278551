"""EfficientNet-Lite0, trained on ImageNet, behind the features `efficientnet-lite0`.

`scripts/convert_efficientnet_lite0.py` makes its weights. It is EfficientNet-B0 (arXiv:1905.11946) without
squeeze-and-excitation and with ReLU6 for swish, as tensorflow/tpu has it in models/official/efficientnet/lite.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

SIZE = 224
STEM, HEAD, CLASSES = 32, 1280, 1000
STAGES = (  # blocks, kernel, stride of the first block, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
WEIGHTS = Path(__file__).parent / "weights" / "efficientnet_lite0.npz"  # its card, a .json, and its licence lie beside it


def build():
    """The network without its trained weights, a functional keras.Model.

    RGB images `(batch, 224, 224, 3)`, `(x - 127) / 128` of the 256 levels, to logits `(batch, 1000)` of ImageNet's classes in
    their usual order; the layer named `features` gives the last convolution averaged over space, `(batch, 1280)`. The batch
    normalisations are folded into the convolutions, since nothing trains it: 4,631,000 parameters.
    """
    # float32 whatever the global policy is: a score must not depend on the precision that a model was trained in.
    layers, dtype = keras.layers, "float32"

    def conv(x, filters, name, size=1, strides=1, activation="relu6"):
        return layers.Conv2D(filters, size, strides, "same", activation=activation, dtype=dtype, name=name)(x)

    def depthwise(x, size, strides, name):
        return layers.DepthwiseConv2D(size, strides, "same", activation="relu6", dtype=dtype, name=name)(x)

    images = keras.Input((SIZE, SIZE, 3), dtype=dtype, name="images")
    x = conv(images, STEM, "stem", 3, 2)
    index = 0
    for blocks, size, stride, expansion, channels in STAGES:
        for strides in (stride, *[1] * (blocks - 1)):
            name, shortcut = f"block{index}", x
            if expansion > 1:
                x = conv(x, expansion * x.shape[-1], f"{name}_expand")
            x = conv(depthwise(x, size, strides, f"{name}_depthwise"), channels, f"{name}_project", activation=None)
            if shortcut.shape == x.shape:
                x = layers.Add(dtype=dtype, name=f"{name}_add")([x, shortcut])
            index += 1
    x = conv(x, HEAD, "head")
    features = layers.GlobalAveragePooling2D(dtype=dtype, name="features")(x)
    logits = layers.Dense(CLASSES, dtype=dtype, name="logits")(features)
    return keras.Model(images, logits, dtype=dtype, name="efficientnet_lite0")


def preprocess(images):
    """Images in [0, 1] of any height, width and channels to the network's input.

    The whole image is stretched to 224x224, bilinear, antialiased where it shrinks: nothing is cropped, since a distance must
    see all of an image. Three channels are taken for RGB; one is shown as gray, and so is the mean of any other number.
    """
    if images.shape[-1] != 3:
        images = tf.reduce_mean(images, axis=-1, keepdims=True)
    images = tf.image.resize(images, (SIZE, SIZE), antialias=True)
    if images.shape[-1] == 1:
        images = tf.repeat(images, 3, axis=-1)
    return (255.0 * images - 127.0) / 128.0


def load(path=WEIGHTS):
    """The trained network."""
    model = build()
    with np.load(path, allow_pickle=False) as stored:
        model.set_weights([stored[weight.path].astype("float32") for weight in model.weights])
    return model
