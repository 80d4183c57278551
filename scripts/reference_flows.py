"""Writes tests/data/flows_reference.npz: densities and inverses of zuko 1.6.0 with the parameters of flows of this package.

It needs PyTorch, so it runs in an environment of its own:

    python3 -m venv ~/reference-venv && ~/reference-venv/bin/pip install torch==2.13.0 zuko==1.6.0
    ~/reference-venv/bin/python scripts/reference_flows.py

zuko has the transforms, the passes of the inverse, their composition and the density. The networks are written out here, by the
masks of MADE (Germain et al. 2015, arXiv:1502.03509, eq. 12 and 13), because zuko spreads degrees over units in another way. zuko
bounds the parameters of a transform by other functions, so they are handed over as what these functions make the same of.
"""

import itertools
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from zuko import distributions, transforms

OUT = Path(__file__).parents[1] / "tests" / "data" / "flows_reference.npz"
FEATURES, CONTEXT, TRANSFORMS, HIDDEN = 3, 2, 2, (7, 5)
BINS, BOUND, SMALLEST, LIMIT = 6, 4.0, 1e-3, 3.0
SLOPE = 1e-3  # zuko's bound on slopes
ROWS = 40


def masks():
    """Which unit sees which, from the inputs to the outputs: degree of the one at most that of the other."""
    spread = lambda units: np.arange(units) * FEATURES // units  # noqa: E731  from 0 on, whose units see the context alone
    degrees = [np.arange(1, FEATURES + 1), *map(spread, HIDDEN)]
    return [a[:, None] <= b[None] for a, b in itertools.pairwise(degrees)], degrees[-1]


def draw(random, *shape, size=1.0):
    """Normal numbers that float32 holds."""
    return (size * random.normal(size=shape)).astype("float32").astype("float64")


def weights(parameters, size, random):
    """Of one network: kernel and bias of the first layer, the kernel of the context, and those of all other layers; the last
    layer's are of a size."""
    hidden, last = masks()
    found = []
    for index, mask in enumerate(hidden):
        found += [draw(random, *mask.shape) * mask, draw(random, mask.shape[1], size=0.3)]
        found += [draw(random, CONTEXT, mask.shape[1])] if index == 0 else []
    mask = last[:, None] <= np.repeat(np.arange(FEATURES), parameters)[None]
    return [*found, draw(random, *mask.shape, size=size) * mask, draw(random, mask.shape[1], size=size)]


def network_of(found, context):
    """A function of rows to the parameters of every element, `(rows, features, parameters)`."""
    first, bias, of_context, *rest = (torch.tensor(each) for each in found)

    def parameters(x):
        y = torch.relu(x @ first + bias + context @ of_context)
        for kernel, offset in zip(rest[:-2:2], rest[1:-2:2], strict=True):
            y = torch.relu(y @ kernel + offset)
        return (y @ rest[-2] + rest[-1]).reshape(*x.shape, -1)

    return parameters


def unbounded(value, factor=1.0):
    """What zuko's soft clip, w / (1 + |factor w / log(slope)|), makes the value of."""
    return value / (1.0 - torch.abs(factor * value / math.log(SLOPE)))


def spline(parameters):
    widths, heights, slopes = parameters.split([BINS, BINS, BINS - 1], dim=-1)
    logits = []
    for each in (widths, heights):
        log_shares = torch.log(SMALLEST + (1.0 - SMALLEST * BINS) * F.softmax(each, dim=-1))
        # A softmax knows no constant: that in the middle keeps them where the soft clip reaches.
        middle = 0.5 * (log_shares.amax(-1, keepdim=True) + log_shares.amin(-1, keepdim=True))
        logits.append(unbounded(log_shares - middle, 2.0))
    one = math.log(math.expm1(1.0 - SMALLEST))
    logs = torch.log(SMALLEST + F.softplus(slopes + one))
    return transforms.MonotonicRQSTransform(*logits, unbounded(logs), bound=BOUND, slope=SLOPE)


def affine(parameters):
    log_scale = LIMIT * torch.tanh(parameters[..., 0] / LIMIT)
    return transforms.MonotonicAffineTransform(parameters[..., 1], unbounded(log_scale), slope=SLOPE)


def distribution(univariate, found, context):
    """The flow of all networks, the order turned round between them."""
    chain = []
    for index, each in enumerate(found):
        if index:
            chain.append(transforms.PermutationTransform(torch.arange(FEATURES - 1, -1, -1)))
        parameters = network_of(each, context)
        meta = lambda x, of=parameters: transforms.DependentTransform(univariate(of(x)), 1)  # noqa: E731
        chain.append(transforms.AutoregressiveTransform(meta, passes=FEATURES))
    base = distributions.DiagNormal(torch.zeros(FEATURES), torch.ones(FEATURES))
    return distributions.NormalizingFlow(transforms.ComposedTransform(*chain), base)


def main():
    torch.set_default_dtype(torch.float64)
    random = np.random.default_rng(0)
    x, z, context = draw(random, ROWS, FEATURES, size=1.5), draw(random, ROWS, FEATURES), draw(random, ROWS, CONTEXT)
    stored = {"x": x, "z": z, "context": context}
    # Affine maps stay small, so that no network sees a number beyond the 10 that ours bounds it by.
    for name, univariate, parameters, size in (("spline", spline, 3 * BINS - 1, 0.3), ("affine", affine, 2, 0.1)):
        found = [weights(parameters, size, random) for _ in range(TRANSFORMS)]
        flow = distribution(univariate, found, torch.tensor(context))
        stored[f"{name} log_prob"] = flow.log_prob(torch.tensor(x)).numpy()
        stored[f"{name} inverse"] = flow.transform.inv(torch.tensor(z)).numpy()
        stored |= {f"{name} {layer} {number}": each for layer, of in enumerate(found) for number, each in enumerate(of)}
    np.savez_compressed(OUT, **{key: np.asarray(value, "float32") for key, value in stored.items()})


if __name__ == "__main__":
    main()
