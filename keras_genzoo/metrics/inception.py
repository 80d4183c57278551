"""The Inception network of 2015, whose `pool_3` features alone make a Frechet distance the FID (arXiv:1706.08500).

It is neither `keras.applications.InceptionV3` nor the network of the Inception v3 paper (arXiv:1512.00567): other weights,
1008 classes, a maximum instead of an average in the pooling branch of the last block, and TensorFlow 1's resize inside.
Layers are named as the nodes of the frozen graph that holds the weights, with `_` for `/`.
"""

import hashlib
import tarfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.core.files import keras_home

ARCHIVE = "inception-2015-12-05.tgz"
MEMBER = "classify_image_graph_def.pb"
URL = f"https://storage.googleapis.com/download.tensorflow.org/models/image/imagenet/{ARCHIVE}"
# Bytes of the two files as everyone who downloaded them prints them; the server publishes no checksum.
ARCHIVE_BYTES, GRAPH_BYTES = 88_931_400, 95_673_916
SIZE = 299
RESIZES = {"tf1": "TF1 bilinear 299x299", "clean": "bicubic antialiased 299x299, clipped"}
SPATIAL = 7  # channels of `mixed_6/conv` that sFID looks at
EPSILON = 1e-3  # of the graph's batch normalisations


def build():
    """The network without its trained weights, a functional keras.Model.

    RGB images `(batch, 299, 299, 3)`, `(x - 128) / 128` of the 256 levels, to logits `(batch, 1008)`. The layer `pool_3`
    gives the 2048 features of the FID and `logits_unbiased` what the Inception score takes the softmax of, the logits
    without their bias, as the score's own code did. Batch normalisation is folded into the convolutions.
    """
    x = inputs = keras.Input((SIZE, SIZE, 3), dtype="float32", name="images")
    x = _conv(x, "conv", 32, 3, 2, "valid")
    x = _conv(x, "conv_1", 32, 3, padding="valid")
    x = _conv(x, "conv_2", 64, 3)
    x = _max(x, "pool")
    x = _conv(x, "conv_3", 80, 1, padding="valid")
    x = _conv(x, "conv_4", 192, 3, padding="valid")
    x = _max(x, "pool_1")
    for name, pooled in (("mixed", 32), ("mixed_1", 64), ("mixed_2", 64)):
        x = _join(
            name,
            _conv(x, f"{name}/conv", 64, 1),
            _convs(x, f"{name}/tower", (48, 1), (64, 5)),
            _convs(x, f"{name}/tower_1", (64, 1), (96, 3), (96, 3)),
            _conv(_average(x, name), f"{name}/tower_2/conv", pooled, 1),
        )
    x = _join(
        "mixed_3",
        _conv(x, "mixed_3/conv", 384, 3, 2, "valid"),
        _conv(_convs(x, "mixed_3/tower", (64, 1), (96, 3)), "mixed_3/tower/conv_2", 96, 3, 2, "valid"),
        _max(x, "mixed_3/pool"),
    )
    for name, c in (("mixed_4", 128), ("mixed_5", 160), ("mixed_6", 160), ("mixed_7", 192)):
        x = _join(
            name,
            _conv(x, f"{name}/conv", 192, 1),
            _convs(x, f"{name}/tower", (c, 1), (c, (1, 7)), (192, (7, 1))),
            _convs(x, f"{name}/tower_1", (c, 1), (c, (7, 1)), (c, (1, 7)), (c, (7, 1)), (192, (1, 7))),
            _conv(_average(x, name), f"{name}/tower_2/conv", 192, 1),
        )
    seven = _convs(x, "mixed_8/tower_1", (192, 1), (192, (1, 7)), (192, (7, 1)))
    x = _join(
        "mixed_8",
        _conv(_conv(x, "mixed_8/tower/conv", 192, 1), "mixed_8/tower/conv_1", 320, 3, 2, "valid"),
        _conv(seven, "mixed_8/tower_1/conv_3", 192, 3, 2, "valid"),
        _max(x, "mixed_8/pool"),
    )
    # The maximum in the last block is what the graph has where the paper has an average.
    for name, pool in (("mixed_9", _average), ("mixed_10", _max_same)):
        x = _join(
            name,
            _conv(x, f"{name}/conv", 320, 1),
            _fork(_conv(x, f"{name}/tower/conv", 384, 1), f"{name}/tower/mixed"),
            _fork(_convs(x, f"{name}/tower_1", (448, 1), (384, 3)), f"{name}/tower_1/mixed"),
            _conv(pool(x, name), f"{name}/tower_2/conv", 192, 1),
        )
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="pool_3")(x)
    x = keras.layers.Dense(1008, use_bias=False, dtype="float32", name="logits_unbiased")(x)
    x = Bias(dtype="float32", name="logits")(x)
    return keras.Model(inputs, x, name="inception_2015")


@keras.saving.register_keras_serializable("keras_genzoo")
class Bias(keras.layers.Layer):
    """Add a vector: apart from the product before it, which the Inception score reads."""

    def build(self, input_shape):
        self.bias = self.add_weight(shape=input_shape[-1:], initializer="zeros", name="bias")

    def call(self, x):
        return x + self.bias

    def compute_output_shape(self, input_shape):
        return input_shape


def spatial(model):
    """The network read at the features of sFID: the first seven channels of `mixed_6/conv`, flat, `(batch, 2023)`.

    So the evaluation of ADM has it (openai/guided-diffusion, evaluations/evaluator.py).
    """
    channels = model.get_layer("mixed_6_conv").output[..., :SPATIAL]
    return keras.Model(
        model.inputs, keras.layers.Flatten(dtype="float32", name="spatial")(channels), name="inception_2015_spatial"
    )


def _name(node):
    return node.replace("/", "_")


def _conv(x, node, filters, size, strides=1, padding="same"):
    layer = keras.layers.Conv2D(filters, size, strides, padding, activation="relu", dtype="float32", name=_name(node))
    return layer(x)


def _convs(x, tower, *layers):
    """The convolutions `conv`, `conv_1`, ... of a tower."""
    for i, (filters, size) in enumerate(layers):
        x = _conv(x, f"{tower}/conv_{i}" if i else f"{tower}/conv", filters, size)
    return x


def _fork(x, node):
    return _join(node, _conv(x, f"{node}/conv", 384, (1, 3)), _conv(x, f"{node}/conv_1", 384, (3, 1)))


def _join(node, *branches):
    return keras.layers.Concatenate(dtype="float32", name=f"{_name(node)}_join")(branches)


def _max(x, node):
    return keras.layers.MaxPooling2D(3, 2, dtype="float32", name=_name(node))(x)


def _max_same(x, block):
    return keras.layers.MaxPooling2D(3, 1, "same", dtype="float32", name=f"{block}_tower_2_pool")(x)


def _average(x, block):
    # As TensorFlow averages: the padding does not count.
    return keras.layers.AveragePooling2D(3, 1, "same", dtype="float32", name=f"{block}_tower_2_pool")(x)


def preprocess(images, resize="tf1"):
    """Images in [0, 1] of the 256 levels, gray or RGB, of any size, to the network's input.

    Args:
        images: float32 tensor `(batch, height, width, 1 or 3)`.
        resize: str. "tf1", the bilinear resize inside the graph, without half-pixel centres, as FID is defined; or "clean",
            bicubic with antialiasing on floats, clipped but not rounded, as clean-fid does (arXiv:2104.11222).
    """
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"images have {images.shape[-1]} channels; Inception sees gray (1) or RGB (3) images alone.")
    levels = 255.0 * images
    if resize == "tf1":
        levels = tf.raw_ops.ResizeBilinear(images=levels, size=(SIZE, SIZE), align_corners=False, half_pixel_centers=False)
    else:
        levels = tf.clip_by_value(tf.image.resize(levels, (SIZE, SIZE), "bicubic", antialias=True), 0.0, 255.0)
    if images.shape[-1] == 1:
        levels = tf.repeat(levels, 3, axis=-1)
    return (levels - 128.0) / 128.0


def set_constants(model, constants):
    """Give the network the weights of the frozen graph.

    Args:
        model: what `build` returns.
        constants: dict of arrays by the names of the graph's nodes, as `read_constants` returns.

    Raises:
        ValueError: a node is missing, has another shape, or is a convolution that the network does not have.
    """
    by_layer = {_name(node): array for node, array in constants.items()}

    def constant(name, shape):
        if name not in by_layer or by_layer[name].shape != tuple(shape):
            found = f"an array of shape {by_layer[name].shape}" if name in by_layer else "nothing"
            raise ValueError(f"the graph has {found} as {name}, expected the Inception network's array of shape {tuple(shape)}.")
        return by_layer[name].astype("float64")

    kernels = {_name(node) for node in constants if node.endswith("/conv2d_params")}
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    if surplus := sorted(kernels - {f"{layer.name}_conv2d_params" for layer in convolutions}):
        raise ValueError(
            f"the graph has {len(surplus)} convolutions that the Inception network of 2015 has not, as {surplus[0]}."
        )
    for layer in convolutions:
        kernel = constant(f"{layer.name}_conv2d_params", layer.kernel.shape)
        beta, gamma, mean, variance = (
            constant(f"{layer.name}_batchnorm_{part}", layer.bias.shape)
            for part in ("beta", "gamma", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + EPSILON)
        layer.kernel.assign(kernel * scale)
        layer.bias.assign(beta - mean * scale)
    product, bias = model.get_layer("logits_unbiased"), model.get_layer("logits")
    product.kernel.assign(constant("softmax_weights", product.kernel.shape))
    bias.bias.assign(constant("softmax_biases", bias.bias.shape))


def cache_path():
    """Where the archive is looked for, and put when it is fetched: Keras's cache, `~/.keras` unless KERAS_HOME says otherwise."""
    return keras_home() / "genzoo" / ARCHIVE


def available():
    """Whether the weights are on this machine already."""
    return cache_path().exists()


def fetch():
    """Fetch the archive into Keras's cache unless it is there, and return its path.

    Raises:
        OSError: it cannot be fetched, or what came has not the archive's size.
    """
    path = cache_path()
    if not path.exists():
        try:
            keras.utils.get_file(ARCHIVE, URL, cache_subdir="genzoo", cache_dir=str(keras_home()))
        except Exception as error:  # get_file raises a bare Exception where there is no network
            raise OSError(
                f"the Inception weights are not here and cannot be fetched ({error}): put {ARCHIVE} from {URL} at {path}, or "
                f"give weights=PATH of it; until then use features='efficientnet-lite0', whose distances are no FID."
            ) from error
    if (size := path.stat().st_size) != ARCHIVE_BYTES:
        raise OSError(f"{path} has {size:,} bytes, expected {ARCHIVE_BYTES:,}: remove it, and it will be fetched anew.")
    return path


def read_graph(path):
    """The bytes of the frozen graph, of the archive (.tgz) or of the graph's own file (.pb)."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; expected {ARCHIVE} of {URL}, or {MEMBER} out of it.")
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            if MEMBER not in archive.getnames():
                raise ValueError(f"{path} holds no {MEMBER}; expected {ARCHIVE} or that file itself.")
            return archive.extractfile(MEMBER).read()
    return path.read_bytes()


def read_constants(graph):
    """The arrays of a frozen graph, by the names of its nodes.

    Args:
        graph: bytes of a serialised GraphDef.

    Raises:
        ValueError: the bytes are no GraphDef.
    """
    definition = tf.compat.v1.GraphDef()
    try:
        definition.ParseFromString(graph)
    except Exception as error:  # protobuf's DecodeError has no public home
        raise ValueError(f"these {len(graph):,} bytes are no frozen graph ({error}); expected {ARCHIVE} or {MEMBER}.") from error
    return {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in definition.node if node.op == "Const"}


def load(weights=None):
    """The trained network and the sha256 of its graph.

    Args:
        weights: path of the archive or of the graph in it; None fetches the archive on first use. Defaults to None.

    Returns:
        keras.Model; hexadecimal digest; bool, whether the graph has the size of the one that FID is defined on.

    Raises:
        OSError: no such file, or it cannot be fetched.
        ValueError: the file holds another network.
    """
    graph = read_graph(fetch() if weights is None else weights)
    model = build()
    set_constants(model, read_constants(graph))
    return model, hashlib.sha256(graph).hexdigest(), len(graph) == GRAPH_BYTES
