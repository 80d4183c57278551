"""Published statistics of real images: what others computed the FID of their papers against."""

import dataclasses
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from keras_genzoo.metrics.extractors import get
from keras_genzoo.metrics.features import extract, score_name
from keras_genzoo.metrics.frechet import GaussianStatistics, check_gaussian, statistics_distance

KEYS, SPATIAL_KEYS = ("mu", "sigma"), ("mu_s", "sigma_s")
INCEPTION = 2048  # features of `pool_3`
DIMENSIONS = {"inception": INCEPTION, "inception-clean": INCEPTION, "inception-spatial": 2023}
# What else there is in a panel, and needs the features of the real images, or others than those of `pool_3`.
LACKING = (
    "KID, precision, recall, density, coverage, classes met and FID_inf need real images, and sFID needs spatial features "
    "(inception-spatial)"
)


@dataclasses.dataclass(frozen=True)
class Reference:
    """A Gaussian of features, of real images that are not at hand.

    Args:
        mean: float64 array `(dim,)`.
        covariance: float64 array `(dim, dim)`.
        source: str. The file.
    """

    mean: np.ndarray
    covariance: np.ndarray
    source: str
    n: float = math.inf  # it is not stored how many there were

    @property
    def dim(self):
        return len(self.mean)


def is_reference(path):
    """Whether a path is a .npz file that holds the arrays `mu` and `sigma`."""
    path = Path(path)
    if path.suffix != ".npz" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{key}.npy" for key in KEYS} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False  # who reads it as images says what is wrong


def read_reference(path, spatial=False):
    """Statistics from the `.npz` files of pytorch-fid, clean-fid and EDM (`mu`, `sigma`), and from the reference batches of ADM,
    which hold images (`arr_0`) and statistics of spatial features (`mu_s`, `sigma_s`) beside them. Pickles are not read.

    Args:
        path: str or Path.
        spatial: bool. Whether to read `mu_s` and `sigma_s`, for sFID on the features "inception-spatial". Defaults to False.

    Returns:
        `Reference`.

    Raises:
        ValueError: the file cannot be read, lacks `mu` or `sigma`, or they are no mean and covariance (`frechet_distance`).

    Example:

    >>> np.savez("stats.npz", mu=np.zeros(8), sigma=np.eye(8))  # doctest: +SKIP
    >>> keras_genzoo.metrics.read_reference("stats.npz").dim  # doctest: +SKIP
    8
    """
    keys = SPATIAL_KEYS if spatial else KEYS
    try:
        with np.load(path, allow_pickle=False) as stored:
            mean, covariance = (np.asarray(stored[key], "float64") for key in keys)
    except (KeyError, TypeError, AttributeError):
        raise ValueError(
            f"{path} holds no statistics, expected a .npz file of the arrays {keys[0]} (dim,) and {keys[1]} (dim, dim)."
        ) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read as NumPy arrays without pickles ({error}); save it by `np.savez`.") from error
    if mean.ndim != 1 or not len(mean) or covariance.shape != (len(mean), len(mean)):
        raise ValueError(f"{path} holds mu {mean.shape} and sigma {covariance.shape}, expected (dim,) and (dim, dim).")
    check_gaussian(mean, covariance, f"in {path} the")
    return Reference(mean, covariance, str(path))


def reference_scores(reference, images, features="inception"):
    """The Frechet distance of images from published statistics, FID on the features of Inception, and nothing else.

    The file does not say which features and which resize it is of. Statistics of ADM, and of clean-fid's `legacy_tensorflow`, go
    with "inception", those of clean-fid's `clean` with "inception-clean". pytorch-fid resizes as PyTorch does, to which
    "inception" is close and not equal.

    Args:
        reference: `Reference`.
        images: array or iterable of batches.
        features: str or extractor, see `get`. Defaults to "inception".

    Returns:
        dict: `FID` (`sFID` on spatial features, `FD[X]` on others), `n_generated`, `features_dim`, `features`, `features_hash`,
        `resize`, `reference`, the file, and `not_computed`, a sentence.

    Raises:
        ValueError: statistics of another number of features; see `check_images`.

    Warns:
        UserWarning: fewer images than features.
    """
    dim = DIMENSIONS.get(features) if isinstance(features, str) else None
    dim = dim or get(features).dim  # known of Inception before the network is fetched
    if reference.dim != dim:
        raise ValueError(
            f"{reference.source} holds statistics of {reference.dim} features, and {getattr(features, 'name', features)} has "
            f"{dim}; take the features that they were made of, `inception` for {INCEPTION}."
        )
    features = get(features)
    generated = GaussianStatistics(features.dim)
    for each in extract(features, images, "generated images"):
        generated.update(each)
    name = score_name("FD", features)
    return {
        name: statistics_distance(reference, generated, name),
        "n_generated": generated.n,
        "features_dim": features.dim,
        "features": features.name,
        "features_hash": features.hash,
        "resize": features.resize,
        "reference": reference.source,
        "not_computed": f"{LACKING}: score against the images themselves for these",
    }
