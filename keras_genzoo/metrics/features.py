"""What a distance between distributions of images looks at: images to vectors of features.

Whatever has `name`, `hash`, `resize` and `dim` and maps images to features when called is an extractor; `FeatureExtractor`
makes one of any keras.Model, and `get` finds the ones that come with the package by name.
"""

import functools
import hashlib

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.core.images import check_images, to_levels, to_unit

LARGEST = 1e15  # of a feature: cubes and products of squares of such numbers still mean something in float64
CHUNK = 4096  # images a stream takes in at once, so that its memory is independent of their number


class FeatureExtractor:
    """Features of images: a layer of a trained network, at inference.

    Images are first brought to the 256 levels, as real images are stored: floats in [0, 1] become `round(255 x)`, so that
    no distance rewards or punishes what an image file could not hold, and `uint8` and float images score the same.

    Args:
        model: keras.Model, functional; called with `training=False`.
        layer: str. The layer whose output is the feature vector, `(batch, dim)`; axes of space are averaged over.
            Defaults to the output of the model.
        preprocess: callable. Images `(batch, height, width, channels)`, a float32 tensor in [0, 1], to the input of the
            model; runs in the graph. Defaults to none.
        name: str. What scores are named for: `FD[name]`. Defaults to the name of the model and of the layer.
        resize: str. How `preprocess` resizes; stored beside every score. Defaults to "none".
        hash: str. Identifies the weights; stored beside every score. Defaults to 12 digits of the sha256 of the weights.
        logits: callable or None. Features `(n, dim)` to the logits of a classifier `(n, classes)`, for the scores that need
            one. Defaults to None.
        maps: sequence of str. Layers that `perceptual_distance` compares images in. Defaults to `layer` alone.
        batch_size: int. Images in a call of the network, the last ones padded; of fewer images the next power of two, so
            that few sizes are ever compiled. Defaults to 256.

    Raises:
        ValueError: the model has no such layer or several outputs; when called, see `check_images`.

    Example:

    >>> network = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(64, 64, 3))
    >>> features = keras_genzoo.metrics.FeatureExtractor(
    ...     network, preprocess=lambda x: 255 * tf.image.resize(x, (64, 64)), name="mobilenet", resize="bilinear 64")
    >>> features(np.zeros((10, 28, 28, 3), "uint8")).shape
    (10, 576)
    """

    def __init__(
        self, model, layer=None, preprocess=None, name=None, resize="none", hash=None, logits=None, maps=(), batch_size=256
    ):
        self.model = model
        self.logits = logits
        self.batch_size = batch_size
        self.kept = False  # on disk (cache.py), where name, hash and resize tell all of what happens to an image
        self.titles = {}
        self.preprocess = preprocess or (lambda images: images)
        self.name = name or (f"{model.name}/{layer}" if layer else model.name)
        self.resize = resize
        self.hash = hash or _digest(model)
        output = _output_of(model, layer)
        self.dim = output.shape[-1]
        # The policy of this moment must not cast the images that the network gets.
        network = keras.Model(model.inputs, output, dtype="float32")
        of_maps = keras.Model(model.inputs, [_output_of(model, each) for each in maps or (layer,)], dtype="float32")

        @tf.function
        def features(levels):
            values = network(self.preprocess(to_unit(levels)), training=False)
            return tf.cast(tf.reduce_mean(values, axis=list(range(1, len(values.shape) - 1))), tf.float32)

        @tf.function
        def activations(images):
            return of_maps(self.preprocess(images), training=False)

        self._features = features
        self._activations = activations

    def __call__(self, images):
        """Features of images.

        Args:
            images: array `(n, height, width, channels)`, any n, `uint8` or floats in [0, 1].

        Returns:
            float32 array `(n, dim)`.
        """
        check_images(images)
        features = np.empty((len(images), self.dim), "float32")
        size = batch_size(len(images), self.batch_size)
        for start in range(0, len(images), size):
            levels = to_levels(images[start : start + size])
            n = len(levels)
            padded = tf.pad(levels, [[0, size - n], [0, 0], [0, 0], [0, 0]])
            features[start : start + n] = self._features(padded)[:n]
        return features

    def activations(self, images):
        """What the layers `maps` make of images, float32 in [0, 1] and not rounded: a list of tensors, for small batches."""
        values = self._activations(images)
        return values if isinstance(values, list) else [values]

    def at(self, layer):
        """The same network and preprocessing read at another layer, for example `get("fashion-cnn").at("probabilities")`."""
        name = f"{self.name}/{layer}"
        return FeatureExtractor(self.model, layer, self.preprocess, name, self.resize, self.hash, batch_size=self.batch_size)

    def __deepcopy__(self, memo):
        return self  # nothing in it changes, and a tf.function cannot be copied; callbacks that hold one are copied by tuners


def batch_size(n, most):
    """How many of n images to compute at a time: `most`, or for fewer images the next power of two."""
    return min(most, 1 << max(n - 1, 0).bit_length())


def _output_of(model, layer):
    if layer is not None and layer not in (names := [each.name for each in model.layers]):
        raise ValueError(f"model `{model.name}` has no layer {layer!r}; it has {', '.join(names)}.")
    output = model.get_layer(layer).output if layer else model.output
    if isinstance(output, list | tuple | dict):
        raise ValueError(f"model `{model.name}` has several outputs; name the layer to read as `layer`.")
    return output


def _digest(model):
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return digest.hexdigest()[:12]


def _fashion_cnn():
    from keras_genzoo.metrics import fashion_cnn

    return FeatureExtractor(
        model := fashion_cnn.load(),
        layer="features",
        preprocess=fashion_cnn.preprocess,
        name="fashion-cnn",
        resize="bilinear antialiased 28x28 gray",
        hash=_file_digest(fashion_cnn.WEIGHTS),
        logits=_head(model.get_layer("probabilities")),
        maps=("block1_relu", "block2_relu", "block3_relu", "block4_relu"),
    )


def _efficientnet_lite0():
    from keras_genzoo.metrics import efficientnet_lite0

    return FeatureExtractor(
        model := efficientnet_lite0.load(),
        layer="features",
        preprocess=efficientnet_lite0.preprocess,
        name="efficientnet-lite0",
        resize="bilinear antialiased 224x224 RGB",
        hash=_file_digest(efficientnet_lite0.WEIGHTS),
        logits=_head(model.get_layer("logits")),
        maps=("block0_project", "block2_add", "block4_add", "block10_add", "head"),
        batch_size=64,
    )


def inception_features(weights=None, resize="tf1"):
    """The Inception network of 2015, whose `pool_3` features (2048) make the Frechet distance the FID.

    The weights (89 MB) are fetched on first use into Keras's cache. Images are gray or RGB, of any size. Scores are named
    FID, KID and IS, with `[clean]` behind them under that resize; weights of another file than the known one give
    `FD[inception-<hash>]` and so on.

    Args:
        weights: path of `inception-2015-12-05.tgz` or of the `classify_image_graph_def.pb` in it; None fetches the archive
            if Keras's cache has it not. Defaults to None.
        resize: str. "tf1", as FID is defined (bilinear, without half-pixel centres), or "clean", as clean-fid has it
            (bicubic, antialiased; arXiv:2104.11222): other numbers, which do not compare.

    Raises:
        OSError: no such file, or it cannot be fetched; the message says where to put it.
        ValueError: the file holds another network; another `resize`.

    Example:

    >>> features = keras_genzoo.metrics.inception_features(weights="inception-2015-12-05.tgz")  # doctest: +SKIP
    >>> distance = keras_genzoo.metrics.FrechetDistance(features)  # doctest: +SKIP
    """
    from keras_genzoo.metrics import inception as network

    if resize not in network.RESIZES:
        raise ValueError(f"resize is {resize!r}, expected one of {', '.join(network.RESIZES)}.")
    model, digest, known = network.load(weights)
    product = model.get_layer("logits_unbiased").kernel.numpy()
    clean = "-clean" if resize == "clean" else ""
    extractor = FeatureExtractor(
        model,
        layer="pool_3",
        preprocess=lambda images: network.preprocess(images, resize),
        name=f"inception{clean}" if known else f"inception-{digest[:8]}{clean}",
        resize=network.RESIZES[resize],
        hash=digest[:12],
        logits=lambda features: features @ product,
        maps=("conv_2", "conv_4", "mixed_2_join", "mixed_7_join", "mixed_10_join"),
        batch_size=32,
    )
    extractor.kept = True
    if known:
        extractor.titles = {symbol: title + clean.replace("-clean", "[clean]") for symbol, title in TITLES.items()}
    return extractor


def _head(dense):
    kernel, bias = (weight.numpy() for weight in dense.weights)
    return lambda features: features @ kernel + bias


def _file_digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


# The names that scores have on the features of Inception, and on no others.
TITLES = {"FD": "FID", "FD_inf": "FID_inf", "KD": "KID", "IS": "IS", "rFD": "rFID"}
TITLES |= {f"{which}_{symbol}": f"{which}_{TITLES[symbol]}" for which in ("class", "intra") for symbol in ("FD", "KD")}
SHIPPED = {
    "fashion-cnn": _fashion_cnn,
    "efficientnet-lite0": _efficientnet_lite0,
    "inception": inception_features,
    "inception-clean": lambda: inception_features(resize="clean"),
}
GARMENTS = ("fashion_mnist_mini", "fashion_mnist")


@functools.cache
def _shipped(name):
    extractor = SHIPPED[name]()
    extractor.kept = True
    return extractor


def names():
    """The names that `get` takes."""
    return list(SHIPPED)


def default_features(data=None, channels=None):
    """The name of the features to look at images with, where none are asked for.

    Args:
        data: str or None. Name of the data set, if it has one.
        channels: int or None. Of the images, if known: Inception sees gray and RGB ones alone.

    Returns:
        "fashion-cnn" for Fashion-MNIST, which it knows; else "inception" where its weights are on this machine, so that the
        distance is the FID, and else "efficientnet-lite0".
    """
    from keras_genzoo.metrics import inception as network

    if data in GARMENTS:
        return "fashion-cnn"
    return "inception" if channels in (None, 1, 3) and network.available() else "efficientnet-lite0"


def score_name(symbol, features):
    """What a score is called: `FD[fashion-cnn]`, or FID on Inception's features, and so on.

    Args:
        symbol: str. "FD", "KD", "IS", ...
        features: extractor.
    """
    return getattr(features, "titles", {}).get(symbol, f"{symbol}[{features.name}]")


def settings_of(features):
    """What `cache.remembered` tells an extractor by; None of one that does not come by name, whose preprocessing is not known."""
    if not getattr(features, "kept", False):
        return None
    return {"features": features.name, "features_hash": features.hash, "resize": features.resize}


def get(features):
    """An extractor by name, or the one given.

    Args:
        features: str or extractor. By name:
            - "fashion-cnn": the last layer but one (128 values) of a classifier of Fashion-MNIST that ships with the
              package; takes images of any height, width and channels (resized to 28x28, channels averaged); right for
              garments, and a rough eye for other small images.
            - "efficientnet-lite0": the 1280 features of a small classifier of ImageNet that ships with the package, for
              colour and whatever else there is.
            - "inception", "inception-clean": see `inception_features`; the ones for FID.
            Each is loaded at its first use.

    Raises:
        ValueError: an unknown name, or an object that is no extractor.
        OSError: the weights of Inception are neither here nor to be fetched.

    Example:

    >>> features = keras_genzoo.metrics.get("fashion-cnn")
    >>> features(np.zeros((2, 33, 21, 5), "uint8")).shape
    (2, 128)
    """
    if isinstance(features, str):
        if features not in SHIPPED:
            raise ValueError(f"unknown features {features!r}; there are {', '.join(SHIPPED)}, or give a FeatureExtractor.")
        return _shipped(features)
    missing = [name for name in ("name", "hash", "resize", "dim", "__call__") if not hasattr(features, name)]
    if missing:
        raise ValueError(
            f"features of type {type(features).__name__} lack {', '.join(missing)}; "
            f"give one of the names {', '.join(SHIPPED)}, or a FeatureExtractor."
        )
    return features


def extract(features, images, what="images"):
    """Features of an array of images, or of each batch of an iterable, in pieces of bounded size.

    Args:
        features: extractor.
        images: array or tensor `(n, height, width, channels)`, or an iterable of them (a `tf.data.Dataset`, a generator);
            of batches that are tuples, such as `(images, labels)`, the first member counts.
        what: str. What the images are called in messages.

    Yields:
        float32 arrays `(at most 4096, dim)`.

    Raises:
        ValueError: by `check_images`, or if the extractor returns NaN or another shape than `(n, dim)`.
    """
    if hasattr(images, "shape"):
        images = [images]
    elif isinstance(images, str | bytes) or not hasattr(images, "__iter__"):
        raise ValueError(f"{what} are {type(images).__name__}, expected an array of images or an iterable of such batches.")
    for batch in images:
        batch = np.asarray(batch[0] if isinstance(batch, list | tuple) else batch)
        check_images(batch, what)
        for start in range(0, len(batch), CHUNK):
            chunk = batch[start : start + CHUNK]
            values = np.asarray(features(chunk))
            if values.shape != (len(chunk), features.dim):
                raise ValueError(
                    f"extractor {features.name!r} returned features of shape {values.shape} for {len(chunk)} images, "
                    f"expected ({len(chunk)}, {features.dim})."
                )
            yield check_features(values, f"features {features.name!r} of {what}")


def check_features(features, what="features"):
    """The features, after one sentence is raised unless they are `(n, dim)`, finite and not beyond 1e15."""
    features = np.asarray(features)
    if features.ndim != 2:
        raise ValueError(f"{what} have shape {features.shape}, expected (n, dim).")
    if not np.isfinite(features).all():
        raise ValueError(f"{what} hold NaN or infinite values; a distance of them would mean nothing.")
    if (largest := max(float(features.max(initial=0)), -float(features.min(initial=0)))) > LARGEST:
        raise ValueError(
            f"{what} hold values up to {largest:.3g}, expected at most {LARGEST:g}; scale them, or mend what made them."
        )
    return features


def check_pair(real, generated, least=2, dtype="float64"):
    """Both arrays of features as float64, or with `dtype=None` without a copy in their common floating dtype, after one sentence
    is raised unless they can be compared."""
    real, generated = check_features(real, "real features"), check_features(generated, "generated features")
    if real.shape[1] != generated.shape[1]:
        raise ValueError(f"real features have {real.shape[1]} dimensions and generated features {generated.shape[1]}.")
    for what, n in (("real", len(real)), ("generated", len(generated))):
        if n < least:
            raise ValueError(f"{n} {what} {'image is' if n == 1 else 'images are'} too few: at least {least} are needed.")
    if dtype is None:
        common = np.result_type(real, generated, "float32")
        return real.astype(common, copy=False), generated.astype(common, copy=False)
    return real.astype(dtype), generated.astype(dtype)
