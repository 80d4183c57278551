"""Weights of a `UNet2DModel` of diffusers: by the names that `networks.unet` gives its layers."""

import dataclasses
import math
import re

import keras
import numpy as np

from keras_genzoo import layers

PLACES = (  # patterns of our names and what they are there; on the way up, levels are counted from the deepest
    (r"first$", "conv_in"),
    (r"time_([12])$", "time_embedding.linear_{0}"),
    (r"class$", "class_embedding"),
    (r"last_norm$", "conv_norm_out"),
    (r"last$", "conv_out"),
    (r"down(\d+)_(\d+)_attention", "down_blocks.{0}.attentions.{1}"),
    (r"down(\d+)_(\d+)", "down_blocks.{0}.resnets.{1}"),
    (r"down(\d+)_halve$", "down_blocks.{0}.downsamplers.0.conv"),
    (r"down(\d+)_halve", "down_blocks.{0}.downsamplers.0"),
    (r"middle_attention", "mid_block.attentions.0"),
    (r"middle_1", "mid_block.resnets.0"),
    (r"middle_2", "mid_block.resnets.1"),
    (r"up(\d+)_(\d+)_attention", "up_blocks.{up}.attentions.{1}"),
    (r"up(\d+)_(\d+)", "up_blocks.{up}.resnets.{1}"),
    (r"up(\d+)_conv$", "up_blocks.{up}.upsamplers.0.conv"),
    (r"up(\d+)_conv", "up_blocks.{up}.upsamplers.0"),
)
PARTS = {
    "": "",
    "_1_norm": ".norm1",
    "_conv1": ".conv1",
    "_time": ".time_emb_proj",
    "_2_norm": ".norm2",
    "_conv2": ".conv2",
    "_shortcut": ".conv_shortcut",
    "_norm": ".group_norm",
    "_heads": "",
}
FORMER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # names in files of older versions


@dataclasses.dataclass(frozen=True)
class Weight:
    """A variable of ours, its name in diffusers, and how it lies there.

    Attributes:
        variable: keras.Variable.
        name: str.
        axes: tuple. Which of our axes stand there.
        swapped: bool. Whether its outputs are shifts and then scales, which stand the other way round there.
        shares: int. Last outputs that are shares in [0, 1] of the larger variance, where theirs are numbers in [-1, 1].
    """

    variable: keras.Variable
    name: str
    axes: tuple
    swapped: bool = False
    shares: int = 0

    def theirs(self, array):
        array = np.transpose(array, self.axes)
        array = np.roll(array, len(array) // 2, axis=0) if self.swapped else array
        return self._with_shares(array, lambda share: 2.0 * share - (share.ndim == 1))

    def ours(self, array):
        array = self._with_shares(array, lambda share: 0.5 * (share + (share.ndim == 1)))
        array = np.roll(array, len(array) // 2, axis=0) if self.swapped else array
        return np.transpose(array, np.argsort(self.axes))

    def _with_shares(self, array, change):
        rest = len(array) - self.shares
        return np.concatenate([array[:rest], change(array[rest:])]) if self.shares else array


def _their_name(name, levels):
    """The name of one of our layers there."""
    for pattern, place in PLACES:
        match = re.match(pattern, name)
        if match and name[match.end() :] in PARTS:
            up = levels - 1 - int(match[1]) if pattern.startswith("up") else None
            return place.format(*match.groups(), up=up) + PARTS[name[match.end() :]]
    raise ValueError(f"diffusers has no name for the layer {name!r}, expected a network of networks.unet.")


def layers_of(network):
    """The layers of a network by their names, those inside of layers that are computed again among them."""
    found = {}
    for layer in network.layers:
        again = isinstance(layer, layers.Rematerialized)
        found |= layers_of(layer.network) if again else {layer.name: layer}
    return found


def of_network(network):
    """All weights of a network of `networks.unet`, a list of `Weight`s."""
    known = layers_of(network)
    levels = len([name for name in known if re.fullmatch(r"down\d+_0_conv1", name)])
    found = []
    for layer in (each for each in known.values() if each.weights):
        name = _their_name(layer.name, levels)
        parts = [(name, layer)]
        if isinstance(layer, layers.SelfAttention):
            parts = [
                (f"{name}.{part}", each) for part, each in zip(FORMER.values(), (*layer.projections, layer.last), strict=True)
            ]
        block = layer.name.removesuffix("_time")
        swapped = block != layer.name and layer.units == 2 * known[f"{block}_conv1"].filters
        shares = layer.filters - network.input_shape[0][-1] if name == "conv_out" else 0
        found += [weight for own, part in parts for weight in _of_layer(own, part, swapped, shares)]
    return found


def _of_layer(name, layer, swapped, shares):
    if isinstance(layer, keras.layers.GroupNormalization):
        return [Weight(layer.gamma, f"{name}.weight", (0,)), Weight(layer.beta, f"{name}.bias", (0,))]
    if name == "class_embedding":  # a table of classes
        return [Weight(layer.kernel, f"{name}.weight", (0, 1))]
    axes = (3, 2, 0, 1) if isinstance(layer, keras.layers.Conv2D) else (1, 0)
    pair = (layer.kernel, "weight", axes), (layer.bias, "bias", (0,))
    return [Weight(variable, f"{name}.{ending}", axes, swapped, shares) for variable, ending, axes in pair]


def take(network, arrays):
    """Give a network the weights of diffusers.

    Args:
        network: keras.Model of `networks.unet`.
        arrays: dict of names there to arrays.

    Raises:
        ValueError: a weight that is missing, of another shape, or too many.
    """
    former = re.compile(rf"(attentions\.\d+)\.({'|'.join(FORMER)})\.")
    arrays = {former.sub(lambda match: f"{match[1]}.{FORMER[match[2]]}.", name): array for name, array in arrays.items()}
    for weight in of_network(network):
        if weight.name not in arrays:
            raise ValueError(f"the file of weights lacks {weight.name}, which the settings ask for.")
        value = weight.ours(np.asarray(arrays.pop(weight.name), "float32"))
        if value.shape != tuple(weight.variable.shape):
            raise ValueError(f"{weight.name} has shape {value.shape}, expected {tuple(weight.variable.shape)} by the settings.")
        weight.variable.assign(value)
    if arrays:
        raise ValueError(f"the file of weights holds {min(arrays)}, which is not understood here.")


def give(network, values):
    """The weights of a network by their names in diffusers: dict of arrays.

    Args:
        network: keras.Model of `networks.unet`.
        values: dict of ids of variables to the arrays that take their place.
    """
    found = {}
    for weight in of_network(network):
        array = values.get(id(weight.variable), weight.variable.numpy())
        if weight.name == "time_embedding.linear_1.weight":
            array = _counted_from_0(network.get_layer("time_embedding"), array)
        found[weight.name] = weight.theirs(array)
    return found


def _counted_from_0(embedding, kernel):
    """The kernel behind sines and cosines of steps that diffusers counts from 0, of one behind those of ours: a sine of a + d is
    cos(d) sin(a) + sin(d) cos(a)."""
    half = embedding.dim // 2
    shift = (embedding.offset + 1.0) * np.exp(-math.log(10000.0) * np.arange(half) / max(half - embedding.shift, 1))[:, None]
    sines, cosines = (kernel[half:], kernel[:half]) if embedding.cosines_first else (kernel[:half], kernel[half:])
    pair = [np.cos(shift) * sines - np.sin(shift) * cosines, np.sin(shift) * sines + np.cos(shift) * cosines]
    return np.concatenate(pair[::-1] if embedding.cosines_first else pair).astype(kernel.dtype)
