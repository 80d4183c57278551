"""The families of generative models, one file each."""

from keras_genzoo.models.aggregate_vaes import BetaTCVAE, InfoVAE
from keras_genzoo.models.autoencoder import Autoencoder, KLAutoencoder, SmoothAutoencoder
from keras_genzoo.models.autoregressive import AutoregressiveModel
from keras_genzoo.models.diffusion import Diffusion
from keras_genzoo.models.energy import EnergyModel
from keras_genzoo.models.flow import Flow
from keras_genzoo.models.gan import GAN
from keras_genzoo.models.latent_diffusion import LatentDiffusion
from keras_genzoo.models.mean_flow import MeanFlow
from keras_genzoo.models.rbm import RBM
from keras_genzoo.models.style_gan import StyleGAN
from keras_genzoo.models.two_stage_vae import TwoStageVAE
from keras_genzoo.models.vae import VAE
from keras_genzoo.models.vqvae import VQVAE, Codebook, ScalarCodebook
from keras_genzoo.models.wae import WAE

__all__ = [
    "GAN",
    "RBM",
    "VAE",
    "VQVAE",
    "WAE",
    "Autoencoder",
    "AutoregressiveModel",
    "BetaTCVAE",
    "Codebook",
    "Diffusion",
    "EnergyModel",
    "Flow",
    "InfoVAE",
    "KLAutoencoder",
    "LatentDiffusion",
    "MeanFlow",
    "ScalarCodebook",
    "SmoothAutoencoder",
    "StyleGAN",
    "TwoStageVAE",
]
