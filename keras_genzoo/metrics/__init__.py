"""Distances between images and between sets of images; they take arrays and streams and know no model."""

from keras_genzoo.metrics.classes import class_count, inception_score, mode_count, per_class_frechet, within_classes
from keras_genzoo.metrics.extractors import default_features, fetch_features, get, inception_features, names, vit_features
from keras_genzoo.metrics.extrapolation import Extrapolation, frechet_infinity
from keras_genzoo.metrics.features import FeatureExtractor, score_name
from keras_genzoo.metrics.frechet import (
    FrechetDistance,
    GaussianStatistics,
    bootstrap_deviation,
    enough,
    frechet_distance,
)
from keras_genzoo.metrics.inception import fetch as fetch_inception
from keras_genzoo.metrics.kernel import KernelDistance, kernel_distance, kernel_interval, polynomial_mmd
from keras_genzoo.metrics.memorisation import (
    Memorisation,
    authenticity,
    data_copying,
    nearest_neighbour_distances,
    train_ratio,
)
from keras_genzoo.metrics.neighbours import density_coverage, neighbour_scores, precision_recall
from keras_genzoo.metrics.perceptual import perceptual_distance, perceptual_path_length, sharpness
from keras_genzoo.metrics.reconstruction import mse, psnr, reconstruction_scores, ssim
from keras_genzoo.metrics.references import Reference, is_reference, read_reference, reference_scores
from keras_genzoo.metrics.samples import SampleMetrics, nearest_images, sample_scores

__all__ = [
    "Extrapolation",
    "FeatureExtractor",
    "FrechetDistance",
    "GaussianStatistics",
    "KernelDistance",
    "Memorisation",
    "Reference",
    "SampleMetrics",
    "authenticity",
    "bootstrap_deviation",
    "class_count",
    "data_copying",
    "default_features",
    "density_coverage",
    "enough",
    "fetch_features",
    "fetch_inception",
    "frechet_distance",
    "frechet_infinity",
    "get",
    "inception_features",
    "inception_score",
    "is_reference",
    "kernel_distance",
    "kernel_interval",
    "mode_count",
    "mse",
    "names",
    "nearest_images",
    "nearest_neighbour_distances",
    "neighbour_scores",
    "per_class_frechet",
    "perceptual_distance",
    "perceptual_path_length",
    "polynomial_mmd",
    "precision_recall",
    "psnr",
    "read_reference",
    "reconstruction_scores",
    "reference_scores",
    "sample_scores",
    "score_name",
    "sharpness",
    "ssim",
    "train_ratio",
    "vit_features",
    "within_classes",
]
