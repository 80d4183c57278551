"""Factories of networks: functions from sizes to a built, named, functional `keras.Model`."""

from keras_genzoo.networks.adversarial import critic, generator, patch_critic
from keras_genzoo.networks.conditions import condition_input, told
from keras_genzoo.networks.convolutional import conv_decoder, conv_encoder, grid_decoder, grid_encoder, skip_decoder
from keras_genzoo.networks.dit import dit
from keras_genzoo.networks.flows import conv_coupling, dense_coupling, dense_velocity, made, residual_coupling
from keras_genzoo.networks.mlp import dense_denoiser, mlp
from keras_genzoo.networks.pixelcnn import gated_pixelcnn, pixelcnn_pp
from keras_genzoo.networks.r3gan import r3gan_critic, r3gan_generator
from keras_genzoo.networks.residual import residual_decoder, residual_encoder
from keras_genzoo.networks.resnet import resnet_critic, resnet_generator
from keras_genzoo.networks.stylegan2 import stylegan2_critic, stylegan2_generator, stylegan2_mapping
from keras_genzoo.networks.unet import unet

__all__ = [
    "condition_input",
    "conv_coupling",
    "conv_decoder",
    "conv_encoder",
    "critic",
    "dense_coupling",
    "dense_denoiser",
    "dense_velocity",
    "dit",
    "gated_pixelcnn",
    "generator",
    "grid_decoder",
    "grid_encoder",
    "made",
    "mlp",
    "patch_critic",
    "pixelcnn_pp",
    "r3gan_critic",
    "r3gan_generator",
    "residual_coupling",
    "residual_decoder",
    "residual_encoder",
    "resnet_critic",
    "resnet_generator",
    "skip_decoder",
    "stylegan2_critic",
    "stylegan2_generator",
    "stylegan2_mapping",
    "told",
    "unet",
]
