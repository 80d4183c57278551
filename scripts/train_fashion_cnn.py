"""Train the classifier behind the features `fashion-cnn` on Fashion-MNIST and write the weights that the package ships.

    python scripts/train_fashion_cnn.py --data /usr/share/datasets/fashion-mnist

reads the four original files (Debian: `apt-get install dataset-fashion-mnist`), trains on all 60,000 training images, first
mirrored and shifted, then mirrored alone, since the images to be told apart are not shifted, and keeps the last weights. (The
second stage was added when the first alone had reached 0.924 on the test images; nothing else was chosen by them.)
"""

import argparse
import gzip
import hashlib
import json
import platform
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.core.files import replacing
from keras_genzoo.metrics import fashion_cnn

SHIFT = 2  # pixels of random translation


def read_idx(folder, split):
    """Images `(n, 28, 28, 1)` in [0, 1] and labels `(n,)` of "train" or "t10k"."""
    images = gzip.open(folder / f"{split}-images-idx3-ubyte.gz").read()
    labels = gzip.open(folder / f"{split}-labels-idx1-ubyte.gz").read()
    images = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28, 1) / np.float32(255)
    return images, np.frombuffer(labels, np.uint8, offset=8).astype("int32")


def augment(image, label, seed):
    """Mirror and shift one image, by a seed of its own."""
    image = tf.image.stateless_random_flip_left_right(image, seed)
    padded = tf.pad(image, [[SHIFT, SHIFT], [SHIFT, SHIFT], [0, 0]])
    return tf.image.stateless_random_crop(padded, tf.shape(image), seed + 1), label


def training_batches(images, labels, batch_size, seed):
    pairs = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed=seed)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)
    examples = tf.data.Dataset.zip(pairs, seeds).map(lambda pair, seed: augment(*pair, seed), num_parallel_calls=2)
    return examples.batch(batch_size, drop_remainder=True).prefetch(4)


def mirrored_batches(images, labels, batch_size, seed):
    """The batches of the second stage: half of the images mirrored, none shifted."""

    def mirror(batch, classes):
        chosen = tf.random.uniform((batch_size, 1, 1, 1)) < 0.5
        return tf.where(chosen, batch[:, :, ::-1], batch), classes

    pairs = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed=seed)
    return pairs.batch(batch_size, drop_remainder=True).map(mirror).prefetch(4)


def fit(model, batches, rate, weight_decay, epochs):
    # No label smoothing: it gathers each class in one point, and a distance between distributions of features lives on
    # what differs within a class.
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=weight_decay),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    model.fit(batches, epochs=epochs, verbose=2, shuffle=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the four original .gz files")
    parser.add_argument("--out", type=Path, default=fashion_cnn.WEIGHTS, help="weights file (.npz) to write")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--last-epochs", type=int, default=6, help="epochs of the second stage")
    parser.add_argument("--last-learning-rate", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    keras.utils.set_random_seed(options.seed)
    images, labels = read_idx(options.data, "train")
    test_images, test_labels = read_idx(options.data, "t10k")
    steps = len(images) // options.batch_size

    model = fashion_cnn.build()
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, (options.epochs - 1) * steps, warmup_target=options.learning_rate, warmup_steps=steps
    )
    start = time.time()
    batches = training_batches(images, labels, options.batch_size, options.seed)
    fit(model, batches, rate, options.weight_decay, options.epochs)
    keras.utils.set_random_seed(options.seed + 1)
    rate = keras.optimizers.schedules.CosineDecay(options.last_learning_rate, options.last_epochs * steps)
    batches = mirrored_batches(images, labels, options.batch_size, options.seed + 1)
    fit(model, batches, rate, options.weight_decay, options.last_epochs)
    seconds = time.time() - start
    accuracy = float(np.mean(model.predict(test_images, batch_size=500, verbose=0).argmax(-1) == test_labels))

    fashion_cnn.save(model, options.out)
    card = {
        "file": options.out.name,
        "sha256": hashlib.sha256(options.out.read_bytes()).hexdigest(),
        "network": "keras_genzoo.metrics.fashion_cnn.build",
        "parameters": model.count_params(),
        "test_accuracy": round(accuracy, 4),
        "trained_on": "Fashion-MNIST, all 60,000 training images (Zalando SE, MIT licence, arXiv:1708.07747)",
        "script": "scripts/train_fashion_cnn.py",
        "settings": {name: value for name, value in vars(options).items() if name not in ("data", "out")},
        "seconds": round(seconds),
        "versions": {"python": platform.python_version(), "keras": keras.__version__, "tensorflow": tf.__version__},
        "licence": "Apache-2.0, as the package",
    }
    with replacing(options.out.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n")
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
