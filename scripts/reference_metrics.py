"""Write the numbers that other implementations give for seeded features, for the tests to compare with.

They need PyTorch, which the package and its tests do without; so this runs once, in an environment of its own:

    python3 -m venv ~/reference-venv && ~/reference-venv/bin/pip install torch==2.13.0 torch-fidelity==0.4.0 prdc==0.2
    git clone https://github.com/layer6ai-labs/dgm-eval ~/dgm-eval && git -C ~/dgm-eval checkout 74c79f7
    ~/reference-venv/bin/python scripts/reference_metrics.py ~/dgm-eval

The distances and the inception score are torch-fidelity's, precision to coverage prdc's; authenticity and C_T are those of
two files of dgm-eval, which are run where they lie.
"""

import importlib.metadata
import importlib.util
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
DGM_EVAL = "74c79f7"
LOGITS = {"even": (5, 1000, 10, 10), "uneven": (6, 777, 33, 7)}  # seed, images, classes, splits
CLUSTERS = ((300, 150, 90), (200, 120, 70), (150, 40, 200))  # training, held-out and generated features in each


def features(seed, n_real, n_generated, dim):
    """Correlated features that are never negative, as those of a network, and a second set that is shifted and narrower."""
    random = np.random.default_rng(seed)
    mix = random.normal(size=(dim, dim)) / np.sqrt(dim)
    real = random.normal(size=(n_real, dim)) @ mix + 0.5
    generated = 0.8 * random.normal(size=(n_generated, dim)) @ mix + 0.7
    return real.clip(min=0), generated.clip(min=0)


def logits(seed, n, classes):
    """Logits of a classifier that is sure of some images and not of others."""
    random = np.random.default_rng(seed)
    return random.normal(size=(n, classes)) * random.uniform(0, 10, size=(n, 1)) + random.normal(size=classes)


def clusters(seed=4, dim=6):
    """Training, held-out and generated features in clusters that k-means cannot miss: copies, fresh draws, and wide ones."""
    random = np.random.default_rng(seed)
    sides = [[], [], []]
    for cluster, sizes in enumerate(CLUSTERS):
        train, held_out, generated = (random.normal(size=(n, dim)) for n in sizes)
        if cluster == 0:
            generated = train[: len(generated)] + 0.3 * generated
        elif cluster == 2:
            generated = 1.3 * generated
        for side, features in zip(sides, (train, held_out, generated), strict=True):
            side.append(features + 20 * cluster)
    return [np.concatenate(side) for side in sides]


def dgm_eval_module(folder, name):
    spec = importlib.util.spec_from_file_location(name, Path(folder, "dgm_eval", "metrics", f"{name}.py"))
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


def main(dgm_eval):
    # torch-fidelity imports torchvision for its networks of features, which nothing here uses; the torchvision on PyPI may
    # not fit beside this torch.
    sys.modules.update({name: mock.MagicMock() for name in TORCHVISION})
    import torch
    from prdc import compute_prdc
    from scipy.stats import mannwhitneyu
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    authpct, ct = (dgm_eval_module(dgm_eval, name) for name in ("authpct", "ct"))
    # It gives columns to a function that took them for rows until SciPy 1.7.
    ct.mannwhitneyu = lambda x, y, **settings: mannwhitneyu(x.ravel(), y.ravel(), **settings)

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
            "authenticity": authpct.compute_authpct(real, generated) / 100,
            **{f"prdc_{k}": {key: float(value) for key, value in compute_prdc(real, generated, k).items()} for k in (3, 5)},
        }
    inception_scores = {}
    for name, (seed, *sizes, splits) in LOGITS.items():
        values = logits(seed, *sizes)
        score = isc_features_to_metric(torch.from_numpy(values), splits)
        inception_scores[name] = {
            "checksum": float(values.sum()),
            "inception_score": [score[KEY_METRIC_ISC_MEAN], score[KEY_METRIC_ISC_STD]],
        }
    train, held_out, generated = clusters()
    memorisation = {
        "checksum": [float(each.sum()) for each in (train, held_out, generated)],
        "data_copying": float(ct.compute_CTscore(train, held_out, generated)),
    }
    packages = ("torch", "torch-fidelity", "prdc", "numpy", "scikit-learn")
    document = {
        "versions": {each: importlib.metadata.version(each) for each in packages} | {"dgm-eval": DGM_EVAL},
        "cases": results,
        "logits": inception_scores,
        "clusters": memorisation,
    }

    replacing = runpy.run_path(ROOT / "keras_genzoo" / "files.py")["replacing"]  # the package itself is not installed here
    with replacing(OUT) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
