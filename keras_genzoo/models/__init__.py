"""The families of generative models, one file each."""

from keras_genzoo.models.autoencoder import Autoencoder
from keras_genzoo.models.diffusion import Diffusion, LatentDiffusion
from keras_genzoo.models.energy import RBM, EnergyModel
from keras_genzoo.models.flow import Flow
from keras_genzoo.models.gan import GAN
from keras_genzoo.models.vae import VAE

__all__ = ["GAN", "RBM", "VAE", "Autoencoder", "Diffusion", "EnergyModel", "Flow", "LatentDiffusion"]
