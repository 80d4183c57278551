"""What a distance between distributions of images looks at: images to vectors of features.

Whatever has `name`, `hash`, `resize` and `dim` and maps images to features when called is an extractor; `FeatureExtractor`
makes one of any keras.Model, and `extractors.get` finds those that have a name.
"""

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
