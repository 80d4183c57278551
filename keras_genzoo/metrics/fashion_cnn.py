"""The small classifier of Fashion-MNIST behind the features `fashion-cnn`; `scripts/train_fashion_cnn.py` trains it."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.core.files import replacing

SIZE = 28
CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
WEIGHTS = Path(__file__).parent / "weights" / "fashion_cnn.npz"  # its card, a .json, lies beside it


def build():
    """The untrained classifier, a functional keras.Model.

    Gray images `(batch, 28, 28, 1)` in [0, 1] to class probabilities `(batch, 10)`; the layer named `features` gives the
    last convolution averaged over space, `(batch, 128)`. Four 3x3 convolutions (32, 64, 64 and 128 channels), each with
    batch normalisation and ReLU: 131,754 parameters.
    """
    # float32 whatever the global policy is: a score must not depend on the precision that a model was trained in.
    layers, dtype = keras.layers, "float32"

    def block(x, filters, name, strides=1):
        x = layers.Conv2D(filters, 3, strides, "same", use_bias=False, dtype=dtype, name=f"{name}_conv")(x)
        x = layers.BatchNormalization(dtype=dtype, name=f"{name}_norm")(x)
        return layers.ReLU(dtype=dtype, name=f"{name}_relu")(x)

    images = keras.Input((SIZE, SIZE, 1), dtype=dtype, name="images")
    x = block(images, 32, "block1")
    x = layers.MaxPooling2D(dtype=dtype, name="block1_pool")(x)
    x = block(x, 64, "block2")
    x = block(x, 64, "block3", strides=2)
    x = block(x, 128, "block4")
    features = layers.GlobalAveragePooling2D(dtype=dtype, name="features")(x)
    probabilities = layers.Dense(len(CLASSES), activation="softmax", dtype=dtype, name="probabilities")(features)
    return keras.Model(images, probabilities, name="fashion_cnn")


def preprocess(images):
    """Images in [0, 1] of any height, width and channels to gray 28x28: channels averaged, antialiased bilinear resize."""
    return tf.image.resize(tf.reduce_mean(images, axis=-1, keepdims=True), (SIZE, SIZE), antialias=True)


def save(model, path=WEIGHTS):
    """Write the classifier's weights by name, as plain arrays (no pickle)."""
    with replacing(path) as temporary:
        np.savez(temporary, **{weight.path: weight.numpy() for weight in model.weights})


def load(path=WEIGHTS):
    """The trained classifier."""
    model = build()
    with np.load(path, allow_pickle=False) as stored:
        model.set_weights([stored[weight.path] for weight in model.weights])
    return model
