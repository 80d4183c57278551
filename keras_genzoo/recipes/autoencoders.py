"""Recipes of autoencoders. Sampling is by a mixture of Gaussians over the codes, fitted after training."""

from keras_genzoo import networks
from keras_genzoo.models import Autoencoder, SmoothAutoencoder
from keras_genzoo.priors import GaussianMixture
from keras_genzoo.recipes.registry import adam, recipe, variant
from keras_genzoo.recipes.space import ACTIVATION, LEARNING_RATE, Choice, Int

SEARCH = {
    "latent_dim": Int(8, 128),
    "depth": Int(1, 3, "linear"),
    "normalization": Choice((None, "batch", "layer")),
    "activation": ACTIVATION,
    "distance": Choice(("l1", "l2")),
    "components": Choice((20, 50, 100, 200)),
    "learning_rate": LEARNING_RATE,
}


@recipe("autoencoder", {**SEARCH, "width": Choice((8, 16, 32))}, jit_compile=False)
def autoencoder(
    image_shape,
    total_steps,
    latent_dim=32,
    width=16,
    depth=2,
    normalization="batch",
    activation="relu",
    spectral=False,
    distance="l2",
    components=200,
    regularizers=None,
    corruption=None,
    learning_rate=2e-3,
    ema=None,
    seed=None,
):
    """Convolutional autoencoder; samples from a mixture of Gaussians fitted to its codes."""
    shared = dict(width=width, depth=depth, normalization=normalization, activation=activation)
    encoder = networks.conv_encoder(image_shape, latent_dim, **shared)
    decoder = networks.conv_decoder(latent_dim, image_shape, output_activation="sigmoid", spectral=spectral, **shared)
    prior = GaussianMixture(latent_dim, components) if components else None
    model = Autoencoder(encoder, decoder, distance, prior, regularizers or (), corruption, ema=ema, seed=seed)
    return model, {"optimizer": adam(learning_rate, total_steps)}


@recipe("autoencoder", {**SEARCH, "width": Choice((128, 256, 512, 1024))}, jit_compile=True, steps_per_execution=10)
def dense_autoencoder(
    image_shape,
    total_steps,
    latent_dim=24,
    width=256,
    depth=2,
    normalization=None,
    activation="silu",
    code_activation=None,
    output_activation="sigmoid",
    spectral=False,
    distance="l2",
    components=200,
    regularizers=None,
    corruption=None,
    neighbours=0,
    learning_rate=2e-3,
    ema=None,
    seed=None,
):
    """Fully connected autoencoder; samples from a mixture of Gaussians fitted to its codes."""
    shared = dict(width=width, depth=depth, normalization=normalization, activation=activation)
    encoder = networks.mlp(image_shape, latent_dim, output_activation=code_activation, name="encoder", **shared)
    decoder = networks.mlp(
        latent_dim, image_shape, output_activation=output_activation, spectral=spectral, name="decoder", **shared
    )
    prior = GaussianMixture(latent_dim, components) if components else None
    family, more = (SmoothAutoencoder, {"neighbours": neighbours}) if neighbours else (Autoencoder, {})
    model = family(encoder, decoder, distance, prior, regularizers or (), corruption, ema=ema, seed=seed, **more)
    return model, {"optimizer": adam(learning_rate, total_steps)}


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
