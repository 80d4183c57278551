"""Vision transformers (Dosovitskiy et al. 2021, arXiv:2010.11929) that images are compared in: DINOv2 (Oquab et al. 2023,
arXiv:2304.07193) and the image tower of CLIP (Radford et al. 2021, arXiv:2103.00020).

They do not come with the package. Their weights are the files `model.safetensors` of the Hugging Face Hub.
"""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from keras_genzoo.core import hub
from keras_genzoo.core.files import keras_home

SIZE, FILE = 224, "model.safetensors"
# Mean and deviation of each colour: those of ImageNet, and those of CLIP's own images.
COLOURS = {
    "dinov2": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
RESIZES = {"dinov2": "PIL bicubic 224x224", "clip": "PIL bicubic 224, centre crop 224x224"}
OFFSET = 0.1  # added to the number of patches where DINOv2 resamples its positions (models/vision_transformer.py there)


@dataclasses.dataclass(frozen=True)
class Network:
    """What one network differs in from others.

    Args:
        family: str. "dinov2" or "clip".
        repo: str. Where its weights are on the Hugging Face Hub.
        width, depth, heads, patch: ints. Channels, blocks, heads of attention, and pixels of the side of a patch.
        projection: int or None. Features, where they are a projection of the class token, as in CLIP.
        revision: str or None. Of the repository; None is the newest.
    """

    family: str
    repo: str
    width: int
    depth: int
    heads: int
    patch: int
    projection: int | None = None
    revision: str | None = None


NETWORKS = {
    "dinov2": Network("dinov2", "facebook/dinov2-large", 1024, 24, 16, 14),
    "dinov2-vitb14": Network("dinov2", "facebook/dinov2-base", 768, 12, 12, 14),
    "dinov2-vits14": Network("dinov2", "facebook/dinov2-small", 384, 12, 6, 14),
    # The main branch of this repository holds a pickle alone.
    "clip": Network("clip", "openai/clip-vit-base-patch32", 768, 12, 12, 32, 512, revision="refs/pr/15"),
    "clip-vitl14": Network("clip", "openai/clip-vit-large-patch14", 1024, 24, 16, 14, 768),
}
# The names of layers here, those of blocks without their number, and of the same in the published files.
NAMES = {
    "dinov2": {
        "tokens": ("embeddings.cls_token", "embeddings.position_embeddings"),
        "patches": "embeddings.patch_embeddings.projection",
        "block": "encoder.layer.{}.",
        "norm1": "norm1",
        "attention": tuple(
            f"attention.{part}" for part in ("attention.query", "attention.key", "attention.value", "output.dense")
        ),
        "scale1": "layer_scale1.lambda1",
        "norm2": "norm2",
        "dense1": "mlp.fc1",
        "dense2": "mlp.fc2",
        "scale2": "layer_scale2.lambda1",
        "features": "layernorm",
    },
    "clip": {
        "tokens": ("vision_model.embeddings.class_embedding", "vision_model.embeddings.position_embedding.weight"),
        "patches": "vision_model.embeddings.patch_embedding",
        "norm_before": "vision_model.pre_layrnorm",
        "block": "vision_model.encoder.layers.{}.",
        "norm1": "layer_norm1",
        "attention": tuple(f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")),
        "norm2": "layer_norm2",
        "dense1": "mlp.fc1",
        "dense2": "mlp.fc2",
        "norm_after": "vision_model.post_layernorm",
        "features": "visual_projection",
    },
}


@keras.saving.register_keras_serializable("keras_genzoo")
class Tokens(keras.layers.Layer):
    """A grid of patches as a sequence behind a class token, with the position of each added.

    `(batch, height, width, channels)` becomes `(batch, height * width + 1, channels)`.
    """

    def build(self, input_shape):
        _, height, width, channels = input_shape
        self.token = self.add_weight(shape=(channels,), initializer="zeros", name="token")
        self.positions = self.add_weight(shape=(height * width + 1, channels), initializer="zeros", name="positions")

    def call(self, x):
        _, height, width, channels = x.shape
        patches = keras.ops.reshape(x, (-1, height * width, channels))
        token = keras.ops.zeros_like(patches[:, :1]) + self.token
        return keras.ops.concatenate([token, patches], axis=1) + self.positions

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return batch, height * width + 1, channels


@keras.saving.register_keras_serializable("keras_genzoo")
class LayerScale(keras.layers.Layer):
    """Multiply each channel by a number that is learned (LayerScale: Touvron et al. 2021, arXiv:2103.17239, eq. 6)."""

    def build(self, input_shape):
        self.scale = self.add_weight(shape=input_shape[-1:], initializer="ones", name="scale")

    def call(self, x):
        return x * self.scale

    def compute_output_shape(self, input_shape):
        return input_shape


def build(network, size=SIZE):
    """The network without its trained weights, a functional keras.Model.

    Images `(batch, size, size, 3)`, as `preprocess` gives them, to the layer named `features`: of DINOv2 the class token after
    the last normalisation, `(batch, width)`, and of CLIP its projection, `(batch, projection)`.

    Args:
        network: `Network`.
        size: int. Pixels of the side of an image. Defaults to 224.
    """
    # float32 whatever the global policy is: a score must not depend on the precision that a model was trained in.
    layers, clip = keras.layers, network.family == "clip"

    def norm(x, name):
        return layers.LayerNormalization(epsilon=1e-5 if clip else 1e-6, dtype="float32", name=name)(x)

    images = keras.Input((size, size, 3), dtype="float32", name="images")
    patches = layers.Conv2D(network.width, network.patch, network.patch, use_bias=not clip, dtype="float32", name="patches")
    x = Tokens(dtype="float32", name="tokens")(patches(images))
    x = norm(x, "norm_before") if clip else x
    for index in range(network.depth):
        x = _block(x, network, f"block{index}", norm)
    if clip:
        x = norm(x[:, 0], "norm_after")
        x = layers.Dense(network.projection, use_bias=False, dtype="float32", name="features")(x)
    else:
        x = norm(x[:, 0], "features")
    return keras.Model(images, x, dtype="float32", name=network.family)


def _block(x, network, name, norm):
    """Attention and a dense network of two layers, each of what is normalised, and added."""
    layers, clip = keras.layers, network.family == "clip"

    def scaled(x, number):
        return x if clip else LayerScale(dtype="float32", name=f"{name}_scale{number}")(x)

    def dense(x, units, number):
        return layers.Dense(units, dtype="float32", name=f"{name}_dense{number}")(x)

    y = norm(x, f"{name}_norm1")
    heads = layers.MultiHeadAttention(network.heads, network.width // network.heads, dtype="float32", name=f"{name}_attention")
    x = layers.Add(dtype="float32", name=f"{name}_add1")([x, scaled(heads(y, y), 1)])
    y = dense(norm(x, f"{name}_norm2"), 4 * network.width, 1)
    # CLIP has the approximation of Hendrycks and Gimpel (2016, arXiv:1606.08415), x sigmoid(1.702 x).
    y = y * keras.ops.sigmoid(1.702 * y) if clip else keras.ops.gelu(y, approximate=False)
    return layers.Add(dtype="float32", name=f"{name}_add2")([x, scaled(dense(y, network.width, 2), 2)])


def preprocess(images, family):
    """Images in [0, 1] of the 256 levels, gray or RGB, of any size, to the input of a network, `(batch, 224, 224, 3)`.

    Both are resized as the bicubic filter of PIL resizes 8-bit images, along the rows first. Pillow 13 goes along the columns
    first where the height shrinks more. For DINOv2 an image is stretched to the square, as Stein et al. (2023,
    arXiv:2306.04675) do, whose Frechet distances these are. For CLIP its shorter side becomes 224 and the square in the middle
    is taken, as CLIP's own preprocessing does.

    Args:
        images: float32 tensor `(batch, height, width, 1 or 3)`.
        family: str. "dinov2" or "clip".
    """
    _, height, width, channels = images.shape
    if channels not in (1, 3):
        raise ValueError(f"images have {channels} channels; {family} sees gray (1) or RGB (3) images alone.")
    size = (SIZE, SIZE)
    if family == "clip":
        shorter = min(height, width)
        size = SIZE * height // shorter, SIZE * width // shorter
    levels = 255.0 * images
    for part in ((height, size[1]), size):  # along the rows first, and PIL rounds and clips each time
        levels = tf.image.resize(levels, part, "bicubic", antialias=True)
        levels = tf.round(tf.clip_by_value(levels, 0.0, 255.0))
    top, left = (round((side - SIZE) / 2) for side in size)
    levels = levels[:, top : top + SIZE, left : left + SIZE]
    levels = tf.repeat(levels, 3, axis=-1) if channels == 1 else levels
    mean, deviation = COLOURS[family]
    return (levels / 255.0 - mean) / deviation


def set_arrays(model, network, arrays):
    """Give a network the weights of a published file.

    Args:
        model: what `build` returns.
        network: `Network`.
        arrays: dict of arrays by their names in the file, as PyTorch lays them out.

    Raises:
        ValueError: an array is missing or has another shape.
    """
    names = NAMES[network.family]

    def read(name, *shape):
        found = arrays.get(name)
        if found is None or found.shape != shape:
            came = "nothing" if found is None else f"an array of shape {found.shape}"
            raise ValueError(
                f"the file holds {came} as {name}, expected an array of shape {shape}, as {FILE} of {network.repo} has."
            )
        return np.asarray(found, "float32")

    for layer in model.layers:
        block, _, part = layer.name.partition("_")
        numbered = block.startswith("block")
        name = names.get(part if numbered else layer.name)
        if name is None:
            continue
        prefix = names["block"].format(block.removeprefix("block")) if numbered else ""
        if isinstance(layer, Tokens):
            _set_tokens(layer, name, arrays, read)
        elif isinstance(layer, LayerScale):
            layer.scale.assign(read(prefix + name, *layer.scale.shape))
        elif isinstance(layer, keras.layers.LayerNormalization):
            layer.set_weights([read(f"{prefix}{name}.{each}", network.width) for each in ("weight", "bias")])
        elif isinstance(layer, keras.layers.MultiHeadAttention):
            _set_attention(layer, [prefix + each for each in name], network, read)
        else:
            _set_kernel(layer, prefix + name, read)


def _set_tokens(layer, names, arrays, read):
    count, width = layer.positions.shape
    # DINOv2's file has axes of one in front.
    token, positions = (np.squeeze(arrays[name]) if name in arrays else read(name, width) for name in names)
    if token.shape != (width,) or positions.ndim != 2 or positions.shape[1] != width:
        raise ValueError(
            f"the file holds {names[0]} and {names[1]} of shapes {token.shape} and {positions.shape}, expected ({width},) and "
            f"(positions, {width}); give the weights of this network."
        )
    layer.token.assign(token)
    layer.positions.assign(resampled(np.asarray(positions, "float64"), math.isqrt(count - 1)))


def _set_attention(layer, names, network, read):
    width, heads = network.width, (network.heads, network.width // network.heads)
    for dense, name in zip((layer.query_dense, layer.key_dense, layer.value_dense), names[:3], strict=True):
        kernel = read(f"{name}.weight", width, width).T.reshape(width, *heads)
        dense.set_weights([kernel, read(f"{name}.bias", width).reshape(heads)])
    kernel = read(f"{names[3]}.weight", width, width).T.reshape(*heads, width)
    layer.output_dense.set_weights([kernel, read(f"{names[3]}.bias", width)])


def _set_kernel(layer, name, read):
    """Of a convolution or a dense layer: PyTorch has the axis of what goes out in front, and that of what comes in behind it."""
    *space, inner, outer = layer.kernel.shape
    kernel = read(f"{name}.weight", outer, inner, *space)
    weights = [kernel.transpose(*range(2, kernel.ndim), 1, 0)]
    layer.set_weights([*weights, read(f"{name}.bias", outer)] if layer.use_bias else weights)


def resampled(positions, grid):
    """Positions of a square grid of patches for another one, as DINOv2 resamples them: by PyTorch's bicubic filter (a = -3/4, not
    antialiased), with an offset in its scale.

    Args:
        positions: array `(side^2 + 1, width)`, that of the class token first.
        grid: int. Patches of a side.
    """
    token, patches = positions[:1], positions[1:]
    side = math.isqrt(len(patches))
    if side == grid:
        return positions
    places = (np.arange(grid) + 0.5) * side / (grid + OFFSET) - 0.5
    first = np.floor(places).astype(int)
    matrix = np.zeros((grid, side))
    for step in (-1, 0, 1, 2):
        weights = _cubic(np.abs(places - first - step))
        np.add.at(matrix, (np.arange(grid), np.clip(first + step, 0, side - 1)), weights)
    patches = np.einsum("ia,jb,abc->ijc", matrix, matrix, patches.reshape(side, side, -1))
    return np.concatenate([token, patches.reshape(grid * grid, -1)])


def _cubic(distance, a=-0.75):
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def cache_path(name):
    """Where the weights of a network are looked for first: Keras's cache, `~/.keras` unless KERAS_HOME says otherwise."""
    return keras_home() / "genzoo" / f"{name}.safetensors"


def fetch(name):
    """The path of the weights of a network: in Keras's cache, or in that of the Hugging Face Hub, into which they are fetched.

    Raises:
        ImportError: huggingface_hub is missing.
        OSError: they cannot be fetched.
    """
    network = NETWORKS[name]
    if cache_path(name).exists():
        return cache_path(name)
    try:
        return hub.fetched(network.repo, FILE, network.revision)
    except OSError as error:
        raise OSError(
            f"the weights of {name} are not here ({error}): put {FILE} of {network.repo} at {cache_path(name)}, or give "
            f"weights=PATH of it; until then use features='efficientnet-lite0'."
        ) from error


def read_arrays(path):
    """The arrays of a .safetensors file by their names, without those of CLIP's text tower.

    Raises:
        ImportError: safetensors is missing.
        ValueError: it is no such file.
        OSError: there is no such file.
    """
    try:
        import safetensors
    except ImportError as error:
        raise ImportError(
            f"to read {path} the package safetensors is needed; `pip install 'keras_genzoo[hub]'` installs it."
        ) from error
    try:
        with safetensors.safe_open(str(path), framework="np") as file:
            return {name: file.get_tensor(name) for name in file.keys() if not name.startswith("text_model.")}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} cannot be read as safetensors ({error}); expected {FILE} of the Hub.") from error


def load(name, weights=None):
    """The trained network of a name of `NETWORKS`; its weights are fetched where no path is given."""
    network = NETWORKS[name]
    arrays = read_arrays(fetch(name) if weights is None else weights)
    model = build(network, SIZE)
    set_arrays(model, network, arrays)
    return model
