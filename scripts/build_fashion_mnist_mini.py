"""Build keras_genzoo/data/shipped/fashion_mnist_mini.npz, the data set inside the package, from Fashion-MNIST.

    apt-get install dataset-fashion-mnist
    python scripts/build_fashion_mnist_mini.py [--from /usr/share/datasets/fashion-mnist]

Of every class: the first 1,000 images of the training file are `train`, its next 200 `validation`, and the first 200 of
the test file `test`, each split in the order of its file. The same files give the same bytes.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np

from keras_genzoo.core.files import replacing

OUT = Path(__file__).parents[1] / "keras_genzoo" / "data" / "shipped" / "fashion_mnist_mini.npz"
CLASS_NAMES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def read(folder, part):
    """The images `(n, 28, 28, 1)` and labels `(n,)`, both uint8, of the part "train" or "t10k" (idx format)."""
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28, 1)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return images, labels


def rank_in_class(labels):
    """How many earlier images have the class of each image: 0 for the first of its class."""
    rank = np.empty(len(labels), int)
    for label in np.unique(labels):
        chosen = labels == label
        rank[chosen] = np.arange(chosen.sum())
    return rank


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    folder = parser.parse_args().folder

    arrays = {"class_names": np.array(CLASS_NAMES)}
    for split, part, first, last in [("train", "train", 0, 1000), ("validation", "train", 1000, 1200), ("test", "t10k", 0, 200)]:
        images, labels = read(folder, part)
        rank = rank_in_class(labels)
        chosen = (first <= rank) & (rank < last)
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images[chosen], labels[chosen]
    with replacing(OUT) as temporary:
        np.savez_compressed(temporary, **arrays)
    print(OUT, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
