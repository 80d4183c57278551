"""The families of generative models, one file each."""

from keras_genzoo.models.autoencoder import Autoencoder
from keras_genzoo.models.vae import VAE

__all__ = ["VAE", "Autoencoder"]
