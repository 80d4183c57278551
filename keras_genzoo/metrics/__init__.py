"""Distances between images and between sets of images; they take arrays and streams and know no model."""

from keras_genzoo.metrics.features import FeatureExtractor, get
from keras_genzoo.metrics.frechet import FrechetDistance, GaussianStatistics, frechet_distance
from keras_genzoo.metrics.kernel import KernelDistance, kernel_distance, polynomial_mmd
from keras_genzoo.metrics.neighbours import density_coverage, nearest_neighbour_distances, precision_recall
from keras_genzoo.metrics.reconstruction import mse, psnr, reconstruction_scores, ssim
from keras_genzoo.metrics.samples import SampleMetrics, sample_scores

__all__ = [
    "FeatureExtractor",
    "FrechetDistance",
    "GaussianStatistics",
    "KernelDistance",
    "SampleMetrics",
    "density_coverage",
    "frechet_distance",
    "get",
    "kernel_distance",
    "mse",
    "nearest_neighbour_distances",
    "polynomial_mmd",
    "precision_recall",
    "psnr",
    "reconstruction_scores",
    "sample_scores",
    "ssim",
]
