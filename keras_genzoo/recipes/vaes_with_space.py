"""Recipes of autoencoders whose codes have space: the first stages of latent diffusion."""

import math

from keras_genzoo import adversarial, networks, priors
from keras_genzoo.core.checks import real
from keras_genzoo.models import VQVAE, Autoencoder, Codebook, KLAutoencoder
from keras_genzoo.recipes import sizes
from keras_genzoo.recipes.building import adam
from keras_genzoo.recipes.common import ACTIVATION, GENERAL, KL_HEADS, fitted_prior, grid_pair, optimizer
from keras_genzoo.recipes.hyperparameters import Hyperparameter, arguments
from keras_genzoo.recipes.registry import recipe
from keras_genzoo.recipes.space import Choice, Float, Int

DOWNSAMPLING = Hyperparameter(
    4,
    Choice((2, 4, 8)),
    "How many times smaller the sides of a code are than those of its image, a power of 2.",
    sizes.downsampling,
)
CHANNELS = Hyperparameter(4, Int(2, 16), "Channels of a code.")


def patch_game(image_shape, total_steps, weight=0.5, start=0.5, width=16, depth=1, normalization="channel"):
    """The game that makes reconstructions sharp, or None.

    Args:
        weight: float of at least 0. What the game of patches counts beside the reconstruction, behind its adaptive weight; 0 is
            no game.
        start: float in [0, 1). Share of the training, of `total_steps`, before the game begins; where these are not known it
            begins at once.
        width: int. Channels of the critic's first convolution.
        depth: int. Halvings in the critic of patches: with 1 a patch has 16 x 16 pixels, with 2 34 x 34, with 3 70 x 70.
        normalization: None, "batch", "synchronized_batch", "layer" or "channel", in the critic.
    """
    weight, start = real(at_least=0, critic_weight=weight), real(at_least=0, below=1, critic_start=start)
    if not weight:
        return None
    critic = networks.patch_critic(image_shape, width, depth, normalization)
    return adversarial.PatchGame(critic, weight=weight, start=int(start * (total_steps or 0)))


def game(weight):
    """Arguments of `patch_game`."""
    return arguments(
        patch_game,
        "*",
        prefix="critic_",
        weight=Hyperparameter(weight, Float(0.1, 1.0)),
        depth=Hyperparameter(1, sized=sizes.halvings),
    )


def _optimizers(played, total_steps, settings, critic_settings):
    own = {"critic_optimizer": adam(total_steps, **critic_settings)} if played else {}
    return {"optimizer": adam(total_steps, **settings), **own}


SIZE = arguments(
    networks.conv_encoder,
    width=Hyperparameter(32, Choice((16, 32, 64))),
    normalization="channel",
    activation=Hyperparameter("silu", ACTIVATION),
) | arguments(networks.grid_encoder, blocks=Hyperparameter(1, Int(0, 2, "linear")))
CRITIC_OPTIMIZER = optimizer(1e-3, Float(1e-4, 1e-2), prefix="critic_", beta_1=0.5)


@recipe("vae", jit_compile=False)
def kl_autoencoder(
    image_shape,
    total_steps,
    downsampling=DOWNSAMPLING,
    latent_channels=CHANNELS,
    size=SIZE,
    objective=arguments(Autoencoder, distance="l1") | arguments(KLAutoencoder, "kl_weight"),
    patches=game(0.5),
    components=Hyperparameter(
        0,
        meaning="Gaussians, at most, of the mixture that `fit_prior` fits to the codes, flattened; with 0 there is no prior, and "
        "the model cannot sample.",
    ),
    adam_settings=optimizer(1e-3),
    critic_optimizer=CRITIC_OPTIMIZER,
    general=GENERAL,
):
    """Autoencoder whose codes have space, with a small KL term and a game of patches: a first stage of latent diffusion."""
    encoder, decoder = grid_pair(image_shape, downsampling, latent_channels, KL_HEADS, **size)
    played = patch_game(image_shape, total_steps, **patches)
    prior = fitted_prior(math.prod(decoder.input_shape[1:]), components)
    model = KLAutoencoder(encoder, decoder, prior=prior, game=played, **objective, **general)
    return model, _optimizers(played, total_steps, adam_settings, critic_optimizer)


@recipe("vae", jit_compile=False)
def vq_autoencoder(
    image_shape,
    total_steps,
    downsampling=DOWNSAMPLING,
    dim=Hyperparameter(4, Int(2, 32), "Dimensions of the vectors."),
    codes=Hyperparameter(512, Choice((256, 512, 1024)), "Number of vectors in the codebook."),
    size=SIZE,
    objective=arguments(Autoencoder, distance="l1") | arguments(VQVAE, "commitment"),
    codebook=arguments(Codebook, "decay", "revive"),
    patches=game(0.75),
    components=Hyperparameter(
        0, meaning="Components, at most, of the mixture over grids; with 0 there is no prior, and the model cannot sample."
    ),
    adam_settings=optimizer(1e-3),
    critic_optimizer=CRITIC_OPTIMIZER,
    general=GENERAL,
):
    """Vector-quantised autoencoder with a game of patches: a first stage of latent diffusion, which learns what the decoder then
    quantises."""
    encoder, decoder = grid_pair(image_shape, downsampling, dim, **size)
    played, (rows, columns, _) = patch_game(image_shape, total_steps, **patches), decoder.input_shape[1:]
    prior = priors.CategoricalMixture(rows * columns, codes, components) if components else None
    model = VQVAE(encoder, decoder, Codebook(codes, dim, **codebook), prior=prior, game=played, **objective, **general)
    return model, _optimizers(played, total_steps, adam_settings, critic_optimizer)
