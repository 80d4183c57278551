"""Recipes of energy-based models."""

from keras_genzoo import networks
from keras_genzoo.chains import Langevin
from keras_genzoo.core.conditions import Conditional
from keras_genzoo.models import RBM, EnergyModel, machines
from keras_genzoo.models.energy import annealed
from keras_genzoo.recipes import sizes
from keras_genzoo.recipes.building import adam
from keras_genzoo.recipes.common import CONDITIONS, GENERAL, general, optimizer
from keras_genzoo.recipes.hyperparameters import Hyperparameter, arguments
from keras_genzoo.recipes.registry import recipe, variant
from keras_genzoo.recipes.space import Choice, Float, Int


@recipe("energy", jit_compile=True, steps_per_execution=10)
def rbm(
    image_shape,
    total_steps,
    kind=Hyperparameter("bernoulli", meaning='Visible units: "bernoulli", of binary images, or "gaussian".'),
    machine=arguments(machines.Machine, hidden=Hyperparameter(500, Int(50, 1000))),
    chains=arguments(RBM, "k", "sample_steps", k=Hyperparameter(1, Int(1, 20)), chains=128),
    adam_settings=optimizer(1e-3, Float(1e-5, 1e-2)),
    general=GENERAL,
):
    """Restricted Boltzmann machine of binary pixels, by persistent contrastive divergence."""
    if kind not in machines.MACHINES:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(machines.MACHINES)}.")
    model = RBM(machines.MACHINES[kind](image_shape, **machine), **chains, **general)
    return model, {"optimizer": adam(total_steps, **adam_settings)}


variant(
    "gaussian_rbm",
    "rbm",
    "Restricted Boltzmann machine of Gaussian pixels, by contrastive divergence.",
    kind="gaussian",
    chains=None,
)


def _network(width):
    """Sizes of the network of an energy."""
    return arguments(
        networks.conv_encoder,
        "hidden",
        width=Hyperparameter(width, Choice((8, 16, 32, 64))),
        depth=Hyperparameter(3, Int(2, 4, "linear"), sized=sizes.halvings_to_four),
    )


def _energy(image_shape, size, num_classes=None, condition_dim=None, **settings):
    """The network of an energy, that is told vectors if there are any; with classes of logits, which need a bias."""
    if settings["kind"] != "convolutional":
        size = {name: each for name, each in size.items() if name != "hidden"}
    logits = {} if num_classes is None else {"units": num_classes, "head_bias": True}
    make = lambda shape: networks.critic(shape, name="energy", **logits, **size, **settings)  # noqa: E731
    return networks.told(make, image_shape, condition_dim=condition_dim, name="energy")


@recipe("energy", jit_compile=False)
def ebm(
    image_shape,
    total_steps,
    size=_network(16),
    network=arguments(networks.critic, "kind", spectral=Hyperparameter(False, Choice((False, True)))),
    activation=arguments(networks.conv_encoder, activation="silu"),
    step_size=Hyperparameter(10.0, Float(1.0, 100.0), "Step size of the Langevin dynamics, of images in [-1, 1]."),
    noise=Hyperparameter(0.005, meaning="Standard deviation of the noise in each of its steps."),
    clip=Hyperparameter(0.03, meaning="Largest move of a pixel in a step."),
    energy=arguments(
        EnergyModel,
        steps=Hyperparameter(10, Int(5, 60)),
        sample_steps=100,
        buffer_size=2560,
        restart=Hyperparameter(0.1, Float(0.01, 1.0)),
        data_noise=Hyperparameter(0.03, Float(0.001, 0.1)),
        energy_weight=Hyperparameter(0.1, Float(0.01, 1.0)),
        classification_weight=1.0,
    ),
    told=CONDITIONS,
    adam_settings=optimizer(1e-3),
    gradient_norm=Hyperparameter(1.0, meaning="Largest norm of the gradient, beyond which it is scaled down; None does not."),
    averages=general(0.99, Choice((None, 0.99, 0.999))),
):
    """Convolutional energy of an image, by short runs of Langevin dynamics from a replay buffer."""
    sampler = Langevin(step_size, noise**2 / (2 * step_size), clip=clip, bounds=(-1.0, 1.0))
    # A chain is gone on with for steps / restart steps, on average, before it begins anew: as many as sample takes from noise.
    network = _energy(image_shape, size, **told, **network, **activation)
    model = EnergyModel(network, "contrastive", sampler, **energy, **told, **averages)
    return model, {"optimizer": adam(total_steps, beta_1=0.0, beta_2=0.99, global_clipnorm=gradient_norm, **adam_settings)}


@recipe("energy", jit_compile=False)
def score_ebm(
    image_shape,
    total_steps,
    size=_network(32),
    network=arguments(networks.critic, "kind"),
    step_size=Hyperparameter(0.2, meaning="Step size of the Langevin dynamics, as a share of the variance at each noise level."),
    energy=arguments(EnergyModel, "noise_levels", sample_steps=Hyperparameter(200, Int(50, 500))),
    told=arguments(Conditional, "condition_dim"),
    adam_settings=optimizer(1e-3),
    averages=general(0.999, Choice((0.99, 0.999))),
):
    """Convolutional energy of an image, by denoising score matching; annealed Langevin dynamics."""
    network = _energy(image_shape, size, activation="silu", **told, **network)
    model = EnergyModel(network, "score", annealed(energy["noise_levels"], step_size), **energy, **told, **averages)
    return model, {"optimizer": adam(total_steps, **adam_settings)}
