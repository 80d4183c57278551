"""The families of generative models, one file each."""

from keras_genzoo.models.autoencoder import Autoencoder, SmoothAutoencoder
from keras_genzoo.models.diffusion import Diffusion, LatentDiffusion
from keras_genzoo.models.energy import RBM, EnergyModel
from keras_genzoo.models.flow import Flow
from keras_genzoo.models.gan import GAN
from keras_genzoo.models.vae import VAE, VQVAE, BetaTCVAE, Codebook, InfoVAE, TwoStageVAE
from keras_genzoo.models.wae import WAE

__all__ = [
    "GAN",
    "RBM",
    "VAE",
    "VQVAE",
    "WAE",
    "Autoencoder",
    "BetaTCVAE",
    "Codebook",
    "Diffusion",
    "EnergyModel",
    "Flow",
    "InfoVAE",
    "LatentDiffusion",
    "SmoothAutoencoder",
    "TwoStageVAE",
]
