"""Mixtures fitted to codes by expectation maximisation; held-out codes choose how many components, and of which kind."""

import dataclasses
import functools

import numpy as np

HELD_OUT = 5  # one in so many codes is held out
FEWEST = 10  # codes of which some are held out
RUNGS = 1, 3, 10, 30, 100, 300, 1000  # numbers of components that are tried
CODES_PER_COMPONENT = 20  # at least, in what is tried
VARIANCE = 1e-4  # added to each variance, of codes whose mean variance is 1
STEPS = 100  # of expectation maximisation, at most
TOLERANCE = 0.01  # nats; the number of components changes the likelihood by far more
NUMBERS = 2**19  # of the features, that are computed at a time


@dataclasses.dataclass
class Fit:
    """A mixture, and how well it explains codes.

    Attributes:
        parameters: what was fitted.
        kind: str. The kind of its components.
        components: int. Their number.
        log_prob: float. Mean log density of the codes that it was fitted to, in nats.
        held_out: float. That of the codes held out; NaN where there are none.
    """

    parameters: tuple
    kind: str
    components: int
    log_prob: float
    held_out: float

    def report(self):
        """The dict that `fit_prior` returns."""
        likelihoods = {"log_prob": float(self.log_prob), "held_out_log_prob": float(self.held_out)}
        return {"components": self.components, "kind": self.kind, **likelihoods}


def split(codes, seed):
    """Codes to fit to and codes held out, a fifth of them; none of fewer than ten."""
    order = np.random.default_rng(seed).permutation(len(codes))
    count = len(codes) // HELD_OUT if len(codes) >= FEWEST else 0
    return codes[order[count:]], codes[order[:count]]


def climb(fit, most, codes):
    """The best `Fit` of growing numbers of components. The first that explains held-out codes less well ends the climb.

    Args:
        fit: callable of a number of components to a `Fit`.
        most: int. The largest number.
        codes: array of the codes to fit to; there are at least 20 for each component.
    """
    most = max(1, min(most, len(codes) // CODES_PER_COMPONENT))
    best = None
    for components in [*(number for number in RUNGS if number < most), most]:
        found = fit(components)
        if best is not None and not found.held_out > best.held_out:
            break
        best = found
    return best


def gaussian(codes, components=None, most=1, seed=0):
    """Fit a mixture of Gaussians.

    Args:
        codes: float64 array `(n, dim)`.
        components: int or None. None chooses their number, and full or diagonal covariances, by held-out likelihood.
        most: int. The largest number that is tried.
        seed: int. Of the codes held out and of k-means.

    Returns:
        `Fit`. Its likelihoods are those that decided. Its parameters are the weights `(k,)`, means `(k, dim)` and covariances
        `(k, dim, dim)` after further steps on all codes.
    """
    from threadpoolctl import threadpool_limits

    # Relative to the codes' own spread, else tiny codes would drown in the regulariser and large ones lack it.
    scale = float(codes.std()) or 1.0
    codes = codes / scale
    fitted, held_out = split(codes, seed)
    tries = [functools.partial(_tried, fitted, held_out, seed, kind) for kind in ("full", "diagonal")]
    with threadpool_limits(1):  # its many small products only wait for each other on several threads
        if components is None:
            best = max((climb(each, most, fitted) for each in tries), key=lambda each: each.held_out)
        else:
            best = tries[0](components)
        weights, means, covariances = maximise(codes, best.parameters, best.kind)
    volume = codes.shape[1] * np.log(scale)
    parameters = weights, means * scale, covariances * scale**2
    return dataclasses.replace(best, parameters=parameters, log_prob=best.log_prob - volume, held_out=best.held_out - volume)


def _tried(fitted, held_out, seed, kind, components):
    parameters = maximise(fitted, from_clusters(fitted, components, kind, seed), kind)
    log_probs = [_expectation(codes, parameters, kind)[0] if len(codes) else np.nan for codes in (fitted, held_out)]
    return Fit(parameters, kind, components, *log_probs)


def from_clusters(codes, components, kind, seed):
    """The parameters of the mixture of k-means clusters."""
    from sklearn.cluster import KMeans

    labels = KMeans(components, n_init=1, random_state=seed).fit_predict(codes) if components > 1 else np.zeros(len(codes), int)
    total = 0.0
    for rows in _chunks(codes, kind):
        total = total + _features(codes[rows], kind) @ np.eye(components)[labels[rows]]
    return _maximisation(total, codes.shape[1], kind)


def maximise(codes, parameters, kind):
    """Expectation maximisation from these parameters on, until a step gains less than a hundredth of a nat."""
    before = -np.inf
    for _ in range(STEPS):
        log_prob, total = _expectation(codes, parameters, kind)
        if log_prob - before < TOLERANCE:
            break
        before, parameters = log_prob, _maximisation(total, codes.shape[1], kind)
    return parameters


def _pairs(dim, kind):
    return np.triu_indices(dim) if kind == "full" else (np.arange(dim), np.arange(dim))


def _features(codes, kind):
    """The sufficient statistics of a Gaussian: products of coordinates, coordinates, and 1, `(features, n)`."""
    i, j = _pairs(codes.shape[1], kind)
    coordinates = np.ascontiguousarray(codes.T)
    return np.concatenate([coordinates[i] * coordinates[j], coordinates, np.ones((1, len(codes)))])


def _chunks(codes, kind):
    rows = max(1, NUMBERS // (len(_pairs(codes.shape[1], kind)[0]) + codes.shape[1] + 1))
    return (slice(start, start + rows) for start in range(0, len(codes), rows))


def _expectation(codes, parameters, kind):
    """The mean log density in nats, and the sums of the features by component, `(features, k)`."""
    coefficients = _coefficients(*parameters, kind)
    log_prob, total = 0.0, 0.0
    for rows in _chunks(codes, kind):
        features = _features(codes[rows], kind)
        joint = coefficients @ features
        highest = joint.max(axis=0)
        share = np.exp(joint - highest)
        density = share.sum(axis=0)
        log_prob += np.sum(highest + np.log(density))
        total = total + features @ (share / density).T
    return log_prob / len(codes), total


def _maximisation(total, dim, kind):
    """Weights, means and covariances from the sums of the features."""
    i, j = _pairs(dim, kind)
    counts = total[-1] + 1e-12  # a component may have lost every code
    means = (total[len(i) : -1] / counts).T
    covariances = np.zeros((len(counts), dim, dim))
    covariances[:, i, j] = (total[: len(i)] / counts).T - means[:, i] * means[:, j]
    covariances[:, j, i] = covariances[:, i, j]
    return counts / counts.sum(), means, covariances + VARIANCE * np.eye(dim)


def _coefficients(weights, means, covariances, kind):
    """What the features are multiplied with to give log w_k N(z; mu_k, Sigma_k), `(k, features)`."""
    dim = means.shape[1]
    i, j = _pairs(dim, kind)
    precisions = np.linalg.inv(covariances)
    linear = np.einsum("kij,kj->ki", precisions, means)
    squares = np.where(i == j, -0.5, -1.0) * precisions[:, i, j]
    log_volume = np.linalg.slogdet(covariances)[1] + dim * np.log(2 * np.pi)
    constant = np.log(weights) - 0.5 * (np.sum(means * linear, axis=1) + log_volume)
    return np.concatenate([squares, linear, constant[:, None]], axis=1)


def categorical(index, size, components=None, most=1, seed=0):
    """Fit a mixture of products of categorical distributions, one a position (latent class analysis).

    Args:
        index: int array `(n, positions)` of numbers below `size`.
        size: int.
        components, most, seed: as in `gaussian`.

    Returns:
        `Fit`, with the weights `(k,)` and the probabilities `(k, positions, size)`.
    """
    shape = index.shape[1], size
    fitted, held_out = (_one_hot(each, size) for each in split(index, seed))
    tried = functools.partial(_tried_categorical, fitted, held_out, shape, seed)
    best = climb(tried, most, index[: fitted.shape[0]]) if components is None else tried(components)
    _, share = _shares(_one_hot(index, size), *best.parameters)
    weights, probabilities = _frequencies(_one_hot(index, size), share, shape)
    return dataclasses.replace(best, parameters=(weights, probabilities.reshape(-1, *shape)))


def _one_hot(index, size):
    from scipy.sparse import csr_matrix

    count, positions = index.shape
    columns = (index + size * np.arange(positions)).ravel()
    ends = positions * np.arange(count + 1)
    return csr_matrix((np.ones(columns.size, np.float32), columns, ends), shape=(count, positions * size))


def _tried_categorical(fitted, held_out, shape, seed, components):
    from sklearn.cluster import KMeans

    few = KMeans(components, n_init=1, max_iter=10, random_state=seed)
    labels = few.fit_predict(fitted) if components > 1 else np.zeros(fitted.shape[0], int)
    parameters, before = _frequencies(fitted, np.eye(components, dtype="float32")[labels], shape), -np.inf
    for _ in range(STEPS):
        log_prob, share = _shares(fitted, *parameters)
        if log_prob - before < TOLERANCE * shape[0]:
            break
        before, parameters = log_prob, _frequencies(fitted, share, shape)
    held_out_log_prob = _shares(held_out, *parameters)[0] if held_out.shape[0] else np.nan
    return Fit(parameters, "categorical", components, log_prob, held_out_log_prob)


def _shares(one_hot, weights, probabilities):
    """The mean log probability in nats, and the components' posterior probabilities, `(n, k)`."""
    joint = one_hot @ np.log(probabilities).T + np.log(weights)
    highest = joint.max(axis=1, keepdims=True)
    share = np.exp(joint - highest)
    total = share.sum(axis=1, keepdims=True)
    return float(np.mean(highest + np.log(total))), share / total


def _frequencies(one_hot, share, shape):
    """Weights, and probabilities `(k, positions * size)`. Each component has seen one code more, a draw from all codes of its
    position: what it never met is not impossible.
    """
    counts = share.sum(axis=0) + 1e-6
    seen = np.asarray(one_hot.sum(axis=0)).reshape(shape)
    everywhere = ((seen + 1.0 / shape[1]) / (one_hot.shape[0] + 1.0)).ravel()
    probabilities = ((one_hot.T @ share).T + everywhere) / (counts[:, None] + 1.0)
    return (counts / counts.sum()).astype("float32"), probabilities.astype("float32")
