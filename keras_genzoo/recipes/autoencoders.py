"""Recipes of autoencoders. Sampling is by a mixture of Gaussians over the codes, fitted after training."""

import dataclasses

from keras_genzoo import networks
from keras_genzoo.models import Autoencoder, SmoothAutoencoder
from keras_genzoo.recipes import sizes
from keras_genzoo.recipes.building import adam
from keras_genzoo.recipes.common import (
    ACTIVATION,
    COMPONENTS,
    DENSE_WIDTH,
    DEPTH,
    FITTED,
    GENERAL,
    HALVINGS,
    NORMALIZATION,
    fitted_prior,
    optimizer,
)
from keras_genzoo.recipes.hyperparameters import Hyperparameter, arguments
from keras_genzoo.recipes.registry import recipe, variant
from keras_genzoo.recipes.space import Choice, Int

OBJECTIVE = arguments(
    Autoencoder, "distance", "regularizers", "corruption", distance=Hyperparameter("l2", Choice(("l1", "l2"))), regularizers=None
)


def _latent_dim(default):
    return Hyperparameter(default, Int(8, 128), "Dimensions of the code.", sizes.dimensions)


def _size(factory, width, depth, normalization, activation):
    """The sizes that encoder and decoder share."""
    return arguments(
        factory,
        width=width,
        depth=depth,
        normalization=Hyperparameter(normalization, NORMALIZATION),
        activation=Hyperparameter(activation, ACTIVATION),
    )


@recipe("autoencoder", jit_compile=False)
def autoencoder(
    image_shape,
    total_steps,
    latent_dim=_latent_dim(32),
    size=_size(
        networks.conv_encoder,
        Hyperparameter(16, Choice((8, 16, 32))),
        dataclasses.replace(HALVINGS, range=DEPTH),
        "batch",
        "relu",
    ),
    decoding=arguments(networks.conv_decoder, "spectral"),
    components=COMPONENTS,
    fitted=FITTED,
    objective=OBJECTIVE,
    adam_settings=optimizer(),
    general=GENERAL,
):
    """Convolutional autoencoder; samples from a mixture of Gaussians fitted to its codes."""
    encoder = networks.conv_encoder(image_shape, latent_dim, **size)
    decoder = networks.conv_decoder(latent_dim, image_shape, output_activation="sigmoid", **decoding, **size)
    prior = fitted_prior(latent_dim, components, fitted)
    return Autoencoder(encoder, decoder, prior=prior, **objective, **general), {"optimizer": adam(total_steps, **adam_settings)}


@recipe("autoencoder", jit_compile=True, steps_per_execution=10)
def dense_autoencoder(
    image_shape,
    total_steps,
    latent_dim=_latent_dim(24),
    size=_size(networks.mlp, Hyperparameter(256, DENSE_WIDTH), Hyperparameter(2, DEPTH), None, "silu"),
    code_activation=Hyperparameter(None, meaning="Activation of the code: a name, a callable or None."),
    output_activation=Hyperparameter("sigmoid", meaning="Activation of the image: a name, a callable or None."),
    decoding=arguments(networks.conv_decoder, "spectral"),
    components=COMPONENTS,
    fitted=FITTED,
    objective=OBJECTIVE,
    neighbours=Hyperparameter(0, meaning="Nearest training images that the code of an image tells too; 0 is none."),
    adam_settings=optimizer(),
    general=GENERAL,
):
    """Fully connected autoencoder; samples from a mixture of Gaussians fitted to its codes."""
    encoder = networks.mlp(image_shape, latent_dim, output_activation=code_activation, name="encoder", **size)
    decoder = networks.mlp(latent_dim, image_shape, output_activation=output_activation, name="decoder", **decoding, **size)
    prior = fitted_prior(latent_dim, components, fitted)
    family, more = (SmoothAutoencoder, {"neighbours": neighbours}) if neighbours else (Autoencoder, {})
    model = family(encoder, decoder, prior=prior, **objective, **more, **general)
    return model, {"optimizer": adam(total_steps, **adam_settings)}


variant(
    "linear_autoencoder",
    "dense_autoencoder",
    "Linear autoencoder: principal component analysis by gradient descent.",
    search=dict.fromkeys(("depth", "width", "normalization", "activation")),
    depth=0,
    output_activation=None,
    latent_dim=16,
)
variant(
    "sparse_autoencoder",
    "dense_autoencoder",
    "Sparse autoencoder: code units between 0 and 1 that are active a twentieth of the time, by the KL divergence.",
    latent_dim=64,
    components=20,
    code_activation="sigmoid",
    regularizers={"sparse_kl": 3.0},
)
variant(
    "l1_autoencoder",
    "dense_autoencoder",
    "Sparse autoencoder with the absolute values of the code as penalty.",
    latent_dim=64,
    components=20,
    regularizers={"sparse_l1": 0.1},
)
# Batch normalisation leaves an image without a Jacobian of its own.
UNMIXED = {"normalization": Choice((None, "layer"))}

variant(
    "contractive_autoencoder",
    "dense_autoencoder",
    "Contractive autoencoder: the norm of the encoder's Jacobian, estimated, as penalty.",
    search=UNMIXED,
    regularizers={"contractive": 0.05},
)
variant(
    "higher_order_contractive_autoencoder",
    "dense_autoencoder",
    "Contractive autoencoder with the norm of the encoder's Hessian, estimated, beside the Jacobian's.",
    search=UNMIXED,
    regularizers={"contractive": 0.05, "curvature": 0.05},
)
variant(
    "denoising_autoencoder",
    "dense_autoencoder",
    "Denoising autoencoder: images of which three tenths of the pixels are blackened are restored.",
    corruption="masking",
)
variant(
    "smooth_autoencoder",
    "dense_autoencoder",
    "Smooth autoencoder: the code of an image tells its nearest neighbours.",
    neighbours=5,
)
# The networks of the recipe `vae`, with which the paper of these compares them.
variant(
    "rae_l2",
    "dense_autoencoder",
    "Regularised autoencoder: bounded codes, and decay of the decoder's weights.",
    latent_dim=16,
    width=512,
    normalization="layer",
    activation="relu",
    regularizers={"code_norm": 0.02, "decoder_decay": 1e-4},
)
variant(
    "rae_gp",
    "rae_l2",
    "Regularised autoencoder: bounded codes, and a gradient penalty on the decoder.",
    search=UNMIXED,
    regularizers={"code_norm": 0.02, "decoder_slope": 1e-3},
)
variant(
    "rae_sn",
    "rae_l2",
    "Regularised autoencoder: bounded codes, and kernels of the decoder of spectral norm 1.",
    spectral=True,
    normalization=None,
    regularizers={"code_norm": 0.02},
)
