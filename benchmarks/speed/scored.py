"""What other libraries compute of features."""

import numpy as np


def torch_fidelity_features(asked):
    """Features of Inception with the same random weights."""
    import runpy

    import torch

    torch.set_num_threads(asked["threads"])
    script = runpy.run_path(asked["script"])
    network = script["torch_fidelity"](script["constants"](script["SEED"]), ["2048"], "float32")
    with np.load(asked["arrays"]) as stored:
        pieces = torch.from_numpy(stored["images"]).permute(0, 3, 1, 2).split(asked["batch_size"])

    def work():
        with torch.no_grad():
            torch.cat([network(each)[0] for each in pieces])

    return work, {}


def features(asked):
    """Two sets of features, the same on both sides."""
    random = np.random.default_rng(0)
    shape = asked["n"], asked["dim"]
    return random.random(shape, np.float32), random.random(shape, np.float32) ** 1.1


def clean_fid(asked):
    """clean-fid's distance of features, as its `fid_from_feats`: NumPy's covariances and SciPy's root of a matrix."""
    from cleanfid import fid

    pair = features(asked)
    return lambda: fid.fid_from_feats(*pair), {}


def torch_fidelity_fid(asked):
    """The distance as torch-fidelity makes it of features."""
    import torch
    from torch_fidelity import metric_fid

    torch.set_num_threads(asked["threads"])
    pair = [torch.from_numpy(each) for each in features(asked)]

    def work():
        sides = [metric_fid.fid_features_to_statistics(each) for each in pair]
        metric_fid.fid_statistics_to_metric(*sides, verbose=False)

    return work, {}


def torch_fidelity_kid(asked):
    """100 subsets of 1,000."""
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    torch.set_num_threads(asked["threads"])
    pair = [torch.from_numpy(each) for each in features(asked)]
    return lambda: kid_features_to_metric(*pair, kid_subsets=100, kid_subset_size=1000, verbose=False), {}


def prdc(asked):
    """Precision, recall, density and coverage with five neighbours."""
    from prdc import compute_prdc

    pair = features(asked)
    return lambda: compute_prdc(*pair, nearest_k=5), {}


def faiss_nearest(asked):
    """The five nearest neighbours of each of the first features, by an exact search; the first found is the feature itself."""
    import faiss

    faiss.omp_set_num_threads(asked["threads"])
    rows = features(asked)[0]

    def work():
        index = faiss.IndexFlatL2(rows.shape[1])
        index.add(rows)
        index.search(rows, 6)

    return work, {}
