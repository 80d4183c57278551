"""Recipes of energy-based models."""

from keras_genzoo import chains, networks
from keras_genzoo.models import RBM, EnergyModel, machines
from keras_genzoo.models.energy import annealed
from keras_genzoo.recipes.registry import adam, recipe, variant
from keras_genzoo.recipes.space import LEARNING_RATE, Choice, Float, Int

MACHINE = {"hidden": Int(50, 1000), "k": Int(1, 20), "learning_rate": Float(1e-5, 1e-2)}
NETWORK = {"width": Choice((8, 16, 32, 64)), "depth": Int(2, 4, "linear"), "learning_rate": LEARNING_RATE}
CONTRASTIVE = {
    "step_size": Float(1.0, 100.0),
    "steps": Int(5, 60),
    "restart": Float(0.01, 1.0),
    "data_noise": Float(0.001, 0.1),
    "energy_weight": Float(0.01, 1.0),
    "spectral": Choice((False, True)),
    "ema": Choice((None, 0.99, 0.999)),
}


@recipe("energy", MACHINE, jit_compile=False)
def rbm(
    image_shape,
    total_steps,
    kind="bernoulli",
    hidden=500,
    k=1,
    chains=128,
    sample_steps=200,
    learning_rate=1e-3,
    ema=None,
    seed=None,
):
    """Restricted Boltzmann machine of binary pixels, by persistent contrastive divergence."""
    model = RBM(machines.MACHINES[kind](image_shape, hidden), k, chains, sample_steps, ema=ema, seed=seed)
    return model, {"optimizer": adam(learning_rate, total_steps)}


variant(
    "gaussian_rbm",
    "rbm",
    "Restricted Boltzmann machine of Gaussian pixels, by contrastive divergence.",
    kind="gaussian",
    chains=None,
)


def _network(image_shape, kind, width, depth, hidden, **settings):
    if kind == "convolutional":
        settings["hidden"] = hidden
    return networks.critic(image_shape, kind=kind, width=width, depth=depth, name="energy", **settings)


@recipe("energy", {**NETWORK, **CONTRASTIVE}, jit_compile=False)
def ebm(
    image_shape,
    total_steps,
    width=16,
    depth=3,
    hidden=0,
    kind="convolutional",
    activation="silu",
    spectral=False,
    step_size=10.0,
    noise=0.005,
    clip=0.03,
    steps=10,
    sample_steps=100,
    buffer_size=2560,
    restart=0.1,
    data_noise=0.03,
    energy_weight=0.1,
    learning_rate=1e-3,
    gradient_norm=1.0,
    ema=0.99,
    seed=None,
):
    """Convolutional energy of an image, by short runs of Langevin dynamics from a replay buffer."""
    network = _network(image_shape, kind, width, depth, hidden, activation=activation, spectral=spectral)
    sampler = chains.Langevin(step_size, noise**2 / (2 * step_size), clip=clip, bounds=(-1.0, 1.0))
    # A chain is gone on with for steps / restart steps, on average, before it begins anew: as many as sample takes from noise.
    model = EnergyModel(
        network, "contrastive", sampler, steps, sample_steps, buffer_size, restart, data_noise, energy_weight, ema=ema, seed=seed
    )
    return model, {"optimizer": adam(learning_rate, total_steps, beta_1=0.0, beta_2=0.99, global_clipnorm=gradient_norm)}


@recipe("energy", {**NETWORK, "sample_steps": Int(50, 500), "ema": Choice((0.99, 0.999))}, jit_compile=False)
def score_ebm(
    image_shape,
    total_steps,
    width=32,
    depth=3,
    kind="convolutional",
    hidden=0,
    noise_levels=(0.05, 1.0),
    step_size=0.2,
    sample_steps=200,
    learning_rate=1e-3,
    ema=0.999,
    seed=None,
):
    """Convolutional energy of an image, by denoising score matching; annealed Langevin dynamics."""
    network = _network(image_shape, kind, width, depth, hidden, activation="silu")
    model = EnergyModel(
        network,
        "score",
        annealed(noise_levels, step_size),
        sample_steps=sample_steps,
        noise_levels=noise_levels,
        ema=ema,
        seed=seed,
    )
    return model, {"optimizer": adam(learning_rate, total_steps)}
