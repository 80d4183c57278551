"""What a rank means: which differences between models exceed the noise of their seeds, and which ranks that leaves possible.

Distances enter as logarithms. All pairs of models are tested by Welch's test, whose deviations may differ between models. The
deviation of a few seeds is uncertain, so from four models on variances borrow from one another (Smyth 2004,
doi:10.2202/1544-6115.1027). Shaffer's step-down (1986, JASA 81, 826-831) keeps the family error: the probability that a table
holds any false order is at most 5 %. From the significant pairs follow simultaneous intervals of ranks (Al Mohamad, Goeman and
van Zwet 2018, arXiv:1812.05507): all ranks of a table hold together with probability 95 %.
"""

import dataclasses
import functools

import numpy as np

ALPHA = 0.05  # the family error
LEAST_SEEDS = 3
MANY, SEEDS_OF_MANY = 4, 5  # more rows than that need so many seeds
BORROW = 4  # from so many models on variances are moderated: fewer have too little to lend
SHIFTS = 3, 5  # standard deviations between two models whose detection is simulated
COST = 600_000  # tests of pairs in one simulation


def level(models, seeds):
    """The nominal family level of the step-down.

    Moderated variances assume that the models' variances are spread by an inverse chi-squared distribution. Where deviations
    differ twentyfold in other ways, a nominal 5 % becomes up to 9 % (3 seeds, 4 models). The factor (seeds - 2) / (seeds + 0.5)
    brings the error back to 5 % in the worst case simulated: docs/guides/benchmark.md shows the table, a slow test repeats it.

    Args:
        models, seeds: ints.

    Returns:
        float. Of fewer than four models, whose variances are their own, almost 0.05: Welch's test of three seeds errs in 5.5 %.

    Example:

    >>> from keras_genzoo.benchmark import ranks
    >>> round(ranks.level(3, 3), 4), round(ranks.level(10, 5), 4)
    (0.0455, 0.0273)
    """
    return ALPHA * (seeds / (seeds + 0.3) if models < BORROW else (seeds - 2) / (seeds + 0.5))


def moderated(variances, seeds):
    """Variances drawn towards their common value, and the degrees of freedom that they then have.

    The prior's degrees of freedom d0 and variance s0^2 follow from the mean and the variance of log variances by the digamma and
    trigamma functions (Smyth 2004; the same estimators as `fitFDist` of limma). A model's variance becomes
    (d0 s0^2 + d s^2) / (d0 + d) with d = seeds - 1. d0 is small where variances differ much, and never exceeds what the other
    models have.

    Args:
        variances: array `(..., models)` of sample variances.
        seeds: int, at least 2.

    Returns:
        arrays `(..., models)` of variances and of degrees of freedom.
    """
    from scipy import special

    own, models = seeds - 1, variances.shape[-1]
    # Equal scores of all seeds would be certainty: a floor far below the others' variances keeps logarithms finite.
    variances = np.maximum(variances, 1e-6 * np.median(variances, axis=-1, keepdims=True) + 1e-24)
    if models < BORROW:
        return variances, np.full(variances.shape, float(own))
    logs = np.log(variances) - special.digamma(own / 2) + np.log(own / 2)
    excess = logs.var(axis=-1, ddof=1, keepdims=True) - special.polygamma(1, own / 2)
    most = (models - 1) * own
    prior = np.minimum(2 * _inverse_trigamma(np.maximum(excess, 1e-3)), 2e3)
    centre = np.exp(logs.mean(axis=-1, keepdims=True) + special.digamma(prior / 2) - np.log(prior / 2))
    prior = np.minimum(prior, most)
    return (prior * centre + own * variances) / (prior + own), np.broadcast_to(prior + own, variances.shape)


def _inverse_trigamma(values):
    """x with trigamma(x) = value, by Newton's method on 1 / trigamma, which is nearly linear."""
    from scipy import special

    x = 0.5 + 1 / values
    for _ in range(8):
        trigamma = special.polygamma(1, x)
        x = x + trigamma * (1 - trigamma / values) / special.polygamma(2, x)
    return x


def p_values(values):
    """Two-sided p-values of the differences between all pairs of models, by Welch's test with moderated variances.

    Args:
        values: array `(..., models, seeds)`. Logarithms of distances, or other scores with about normal noise.

    Returns:
        array `(..., pairs)`, in the order of `np.triu_indices(models, 1)`.
    """
    from scipy import special

    models, seeds = values.shape[-2:]
    means = values.mean(axis=-1)
    variances, degrees = moderated(values.var(axis=-1, ddof=1), seeds)
    first, second = np.triu_indices(models, 1)
    left, right = variances[..., first] / seeds, variances[..., second] / seeds
    # Welch-Satterthwaite; no more degrees than all seeds together have.
    freedom = (left + right) ** 2 / (left**2 / degrees[..., first] + right**2 / degrees[..., second])
    freedom = np.minimum(freedom, models * (seeds - 1))
    return 2 * special.stdtr(freedom, -np.abs(means[..., first] - means[..., second]) / np.sqrt(left + right))


@functools.cache
def _true_at_most(models):
    """How many of the pairs' hypotheses can still be true when 0, 1, 2, ... of them are false.

    Equal models come in groups, and groups of sizes a, b, ... make a(a-1)/2 + b(b-1)/2 + ... true hypotheses, no other numbers
    (Shaffer 1986).
    """
    possible = [{0}, {0}]
    for size in range(2, models + 1):
        possible.append({group * (group - 1) // 2 + rest for group in range(1, size + 1) for rest in possible[size - group]})
    pairs = models * (models - 1) // 2
    return np.array([max(count for count in possible[models] if count <= pairs - false) for false in range(pairs)])


def rejected(p, models, at):
    """Which hypotheses of equal pairs Shaffer's step-down rejects at a family level.

    Args:
        p: array `(..., pairs)`.
        models: int.
        at: float. The family level.

    Returns:
        bool array `(..., pairs)`.
    """
    order = np.argsort(p, axis=-1)
    adjusted = np.take_along_axis(p, order, axis=-1) * _true_at_most(models)
    found = np.zeros(p.shape, bool)
    np.put_along_axis(found, order, np.logical_and.accumulate(adjusted <= at, axis=-1), axis=-1)
    return found


def holm(p):
    """Adjusted p-values of Holm's step-down (1979), of tests that have nothing to do with one another's hypotheses.

    Args:
        p: array `(tests,)`.

    Returns:
        array `(tests,)`, which may exceed 1.

    Example:

    >>> from keras_genzoo.benchmark import ranks
    >>> ranks.holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, float)
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return adjusted


def different(values):
    """Which pairs of models differ by more than the noise of their seeds, bool `(..., pairs)`, see `p_values`."""
    models, seeds = values.shape[-2:]
    return rejected(p_values(values), models, level(models, seeds))


def possible_ranks(values):
    """The ranks that the differences leave possible, all of them together with probability 95 %.

    The best rank of a model is one more than the number of models that are significantly better; the worst is the number of
    models less those that are significantly worse.

    Args:
        values: array `(models, seeds)`, at least two models; smaller is better.

    Returns:
        list of pairs of ints `(best, worst)`.

    Example:

    >>> import numpy as np
    >>> from keras_genzoo.benchmark import ranks
    >>> ranks.possible_ranks(np.log([[1.0, 1.1, 0.9], [1.05, 1.0, 1.1], [9.0, 9.5, 8.8]]))
    [(1, 2), (1, 2), (3, 3)]
    """
    values = np.asarray(values, float)
    models, means = len(values), values.mean(axis=-1)
    better, worse = np.zeros(models, int), np.zeros(models, int)
    pairs = np.transpose(np.triu_indices(models, 1))[different(values)]
    for pair in pairs:
        first, second = sorted(pair, key=lambda index: means[index])
        worse[first] += 1
        better[second] += 1
    return [(1 + int(above), models - int(below)) for above, below in zip(better, worse, strict=True)]


def why_none(counts):
    """Why rows of these numbers of seeds have no ranks, in one sentence; None where they have.

    Args:
        counts: dict of labels to numbers of seeds.

    Returns:
        str or None.

    Example:

    >>> from keras_genzoo.benchmark import ranks
    >>> ranks.why_none({"vae": 3, "gan": 2})
    'No ranks: the numbers of seeds are unequal (vae 3, gan 2); run the missing seeds.'
    """
    numbers = set(counts.values())
    if len(counts) < 2:
        return None if not counts else "No ranks: only one row can be ranked."
    if len(numbers) > 1:
        few = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:6])
        return f"No ranks: the numbers of seeds are unequal ({few}{', ...' if len(counts) > 6 else ''}); run the missing seeds."
    (seeds,) = numbers
    if seeds < LEAST_SEEDS:
        return f"No ranks: {seeds} seed{'s' * (seeds > 1)} a row cannot tell luck from merit; give --seeds {LEAST_SEEDS} or more."
    if len(counts) > MANY and seeds < SEEDS_OF_MANY:
        return (
            f"No ranks: {len(counts)} rows of {seeds} seeds; more than {MANY} rows need {SEEDS_OF_MANY} seeds, "
            f"or differences of five standard deviations are missed too often."
        )
    return None


@dataclasses.dataclass(frozen=True)
class Power:
    """How often the rule errs and finds, simulated.

    Attributes:
        error: float. Share of tables of equal models in which any two are told apart.
        found: dict of a difference in standard deviations to the share of tables in which it is found.
        tables: int. How many were simulated.
    """

    error: float
    found: dict
    tables: int


def power(values, seed=0):
    """Simulate the error and the power of the rule for models with the moderated deviations of these.

    For the error all models are equal. For the power one model, another one in every table, is moved away from the others, by 3
    or 5 times the root mean square of its deviation and that of a second model. The difference of these two must be found.

    Args:
        values: array `(models, seeds)`.
        seed: int. Of the simulation. Defaults to 0.

    Returns:
        `Power`.
    """
    values, random = np.asarray(values, float), np.random.default_rng(seed)
    models, seeds = values.shape
    deviations = np.sqrt(moderated(values.var(axis=-1, ddof=1), seeds)[0])
    first, second = np.triu_indices(models, 1)
    tables = max(200, min(4000, COST // len(first)))

    def equal():
        return random.standard_normal((tables, models, seeds)) * deviations[:, None]

    error, found, index = float(different(equal()).any(axis=-1).mean()), {}, np.arange(tables)
    for shift in SHIFTS:
        moved, other = random.permuted(np.tile(np.arange(models), (tables, 1)), axis=1)[:, :2].T
        draws = equal()
        draws[index, moved] += shift * np.sqrt((deviations[moved] ** 2 + deviations[other] ** 2) / 2)[:, None]
        pair = (first == np.minimum(moved, other)[:, None]) & (second == np.maximum(moved, other)[:, None])
        found[shift] = float(different(draws)[pair].mean())
    return Power(error, found, tables)
