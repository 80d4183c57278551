"""Write the numbers that other implementations give for seeded features, for the tests to compare with.

They need PyTorch, which the package and its tests do without; so this runs once, in an environment of its own:

    python3 -m venv /tmp/reference && /tmp/reference/bin/pip install torch==2.13.0 torch-fidelity==0.4.0 prdc==0.2
    /tmp/reference/bin/python scripts/reference_metrics.py
"""

import importlib.metadata
import json
import runpy
import sys
from pathlib import Path
from unittest import mock

import numpy as np

ROOT = Path(__file__).parents[1]
OUT = ROOT / "tests" / "data" / "metrics_reference.json"
CASES = {  # seed, real and generated images, dimensions
    "square": (1, 900, 900, 32),
    "more_real": (2, 1500, 700, 48),
    "narrow": (3, 600, 800, 5),
}
TORCHVISION = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
SUBSETS, SUBSET_SIZE, SUBSET_SEED = 20, 400, 7


def features(seed, n_real, n_generated, dim):
    """Correlated features that are never negative, as those of a network, and a second set that is shifted and narrower."""
    random = np.random.default_rng(seed)
    mix = random.normal(size=(dim, dim)) / np.sqrt(dim)
    real = random.normal(size=(n_real, dim)) @ mix + 0.5
    generated = 0.8 * random.normal(size=(n_generated, dim)) @ mix + 0.7
    return real.clip(min=0), generated.clip(min=0)


def main():
    # torch-fidelity imports torchvision for its networks of features, which nothing here uses; the torchvision on PyPI may
    # not fit beside this torch.
    sys.modules.update({name: mock.MagicMock() for name in TORCHVISION})
    import torch
    from prdc import compute_prdc
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    results = {}
    for name, (seed, *sizes) in CASES.items():
        real, generated = features(seed, *sizes)
        real_tensor, generated_tensor = torch.from_numpy(real), torch.from_numpy(generated)
        statistics = fid_features_to_statistics(real_tensor), fid_features_to_statistics(generated_tensor)
        settings = dict(kid_subsets=SUBSETS, kid_subset_size=SUBSET_SIZE, rng_seed=SUBSET_SEED, verbose=False)
        neighbours = prc_features_to_metric(generated_tensor, real_tensor, verbose=False)  # its own k, 3
        results[name] = {
            "checksum": [float(real.sum()), float(generated.sum())],
            "frechet_distance": fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID],
            "kernel_distance": kid_features_to_metric(real_tensor, generated_tensor, **settings)[KEY_METRIC_KID_MEAN],
            "torch_fidelity_precision_recall": [neighbours[KEY_METRIC_PRECISION], neighbours[KEY_METRIC_RECALL]],
            **{f"prdc_{k}": {key: float(value) for key, value in compute_prdc(real, generated, k).items()} for k in (3, 5)},
        }
    packages = ("torch", "torch-fidelity", "prdc", "numpy", "scikit-learn")
    document = {"versions": {each: importlib.metadata.version(each) for each in packages}, "cases": results}

    replacing = runpy.run_path(ROOT / "keras_genzoo" / "files.py")["replacing"]  # the package itself is not installed here
    with replacing(OUT) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
