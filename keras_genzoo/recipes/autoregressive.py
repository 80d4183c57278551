"""Recipes of autoregressive models."""

from keras_genzoo import likelihoods, networks
from keras_genzoo.models import AutoregressiveModel
from keras_genzoo.recipes import sizes
from keras_genzoo.recipes.building import adam
from keras_genzoo.recipes.common import CONDITIONS, general, optimizer
from keras_genzoo.recipes.hyperparameters import Hyperparameter, arguments
from keras_genzoo.recipes.registry import recipe, variant
from keras_genzoo.recipes.space import Choice, Int

WIDTH = Hyperparameter(32, Choice((16, 32, 64)))
EMA = general(0.99, Choice((None, 0.99, 0.999, 0.9995)))


@recipe("autoregressive", jit_compile=False)
def pixelcnn(
    image_shape,
    total_steps,
    network=arguments(
        networks.gated_pixelcnn,
        "kernel",
        "first_kernel",
        width=WIDTH,
        depth=Hyperparameter(6, Int(3, 12, "linear")),
    ),
    likelihood=Hyperparameter(
        "categorical",
        Choice(("categorical", "logistic_mixture")),
        'Of a pixel: "categorical", a probability for each level of each channel in turn, or "logistic_mixture", of which no '
        "channel is seen by the network.",
    ),
    components=Hyperparameter(10, meaning='Components of the likelihood "logistic_mixture".'),
    told=CONDITIONS,
    adam_settings=optimizer(1e-3),
    averages=EMA,
):
    """Gated PixelCNN: two stacks of masked convolutions without blind spots, and a probability for each of the 256 levels."""
    if likelihood not in ("categorical", "logistic_mixture"):
        raise ValueError(f"likelihood is {likelihood!r}, expected 'categorical' or 'logistic_mixture'.")
    ordered = likelihood == "categorical"
    density = likelihoods.Categorical() if ordered else likelihoods.DiscretizedLogisticMixture(components)
    outputs = density.parameter_count(image_shape[-1])
    network = networks.gated_pixelcnn(image_shape, outputs, ordered=ordered, **told, **network)
    model = AutoregressiveModel(network, density, **told, **averages)
    return model, {"optimizer": adam(total_steps, **adam_settings)}


@recipe("autoregressive", jit_compile=False)
def pixelcnn_pp(
    image_shape,
    total_steps,
    network=arguments(
        networks.pixelcnn_pp,
        width=WIDTH,
        blocks=Hyperparameter(1, Int(1, 3, "linear")),
        halvings=Hyperparameter(2, sized=sizes.halvings),
        dropout=Hyperparameter(0.0, Choice((0.0, 0.1, 0.5))),
    ),
    mixture=arguments(likelihoods.DiscretizedLogisticMixture, components=Hyperparameter(10, Choice((5, 10, 20)))),
    told=CONDITIONS,
    adam_settings=optimizer(beta_1=0.9, beta_2=0.999),
    averages=EMA,
):
    """PixelCNN++: gated residual blocks at several sizes, and a mixture of logistic distributions, channel after channel."""
    density = likelihoods.DiscretizedLogisticMixture(**mixture)
    outputs = density.parameter_count(image_shape[-1])
    network = networks.pixelcnn_pp(image_shape, outputs, **told, **network)
    model = AutoregressiveModel(network, density, **told, **averages)
    return model, {"optimizer": adam(total_steps, **adam_settings)}


variant(
    "pixelcnn/cifar10",
    "pixelcnn_pp",
    "PixelCNN++ as published for CIFAR-10: 3 x 5 gated residual blocks of 160 channels each way, 54 million parameters.",
    search=dict.fromkeys(("width", "blocks", "dropout", "components")),
    width=160,
    blocks=5,
    dropout=0.5,
    learning_rate=1e-3,
    beta_1=0.95,
    beta_2=0.9995,
    ema=0.9995,
)
