"""Numbers as tables show them: intervals that stay in the possible range, and as many digits as the uncertainty carries."""

import math

import numpy as np

from keras_genzoo.benchmark.scores import COUNT, POSITIVE, SHARE


def centre(values, kind=None):
    """The mean; of positive numbers the geometric one, which is the mean of their logarithms."""
    values = np.asarray(values, float)
    return float(np.exp(np.log(values).mean()) if kind == POSITIVE and values.min() > 0 else values.mean())


def interval(values, kind=None):
    """The mean over seeds and its 95 % t interval, which stays where the numbers can lie.

    Positive numbers are taken on the log scale, so the mean is the geometric one. Shares are cut at 0 and 1, counts, and positive
    numbers with a zero among them, at 0.

    Args:
        values: list of floats.
        kind: `POSITIVE`, `SHARE`, `COUNT` or None, the range of a `scores.Score`.

    Returns:
        tuple of floats `(mean, low, high)`; low and high are None for a single value.

    Example:

    >>> from keras_genzoo.benchmark import rounding
    >>> mean, low, high = rounding.interval([0.9, 0.95, 0.99], "share")
    >>> round(mean, 4), round(low, 4), high
    (0.9467, 0.8347, 1.0)
    """
    import scipy.stats

    values = np.asarray(values, float)
    logs = kind == POSITIVE and values.min() > 0
    used = np.log(values) if logs else values
    middle = centre(values, kind)
    if len(values) < 2:
        return middle, None, None
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * scipy.stats.sem(used)
    low, high = used.mean() - half, used.mean() + half
    if logs:
        return middle, float(np.exp(low)), float(np.exp(min(high, 700)))
    least, most = {SHARE: (0, 1), COUNT: (0, np.inf), POSITIVE: (0, np.inf)}.get(kind, (-np.inf, np.inf))
    return middle, float(max(low, least)), float(min(high, most))


def number(value, whole=False):
    """Three significant digits, and thousands apart; counts in full."""
    if whole or value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".") if abs(value) >= 1e-4 else f"{value:.1e}"


def decimals(uncertainty):
    """Decimals that leave two significant digits of an uncertainty, negative for tens and hundreds."""
    place = 1 - math.floor(math.log10(uncertainty))
    # 0.0996 becomes 0.10, which has its two digits one place earlier.
    return place - 1 if round(uncertainty, place) >= 10 ** (2 - place) else place


def fixed(value, places):
    """A number with so many decimals, rounded to tens and hundreds where they are negative."""
    return f"{round(value, places) + 0.0:,.{max(places, 0)}f}"


def uncertain(mean, low, high):
    """A mean with its interval, rounded so that the uncertainty, on its smaller side, has two digits.

    Args:
        mean, low, high: floats; low and high may be None.

    Returns:
        str: "12.34 ± 0.56" where both sides are about equal, else "12.3 (9.1 to 16.7)".

    Example:

    >>> from keras_genzoo.benchmark import rounding
    >>> rounding.uncertain(12.3432, 11.7801, 12.9063).replace("\\u00a0", " ")
    '12.34 ± 0.56'
    >>> rounding.uncertain(12.3432, 9.1, 16.7).replace("\\u00a0", " ")
    '12.3 (9.1 to 16.7)'
    """
    if low is None or high - low <= 1e-9 * abs(mean):  # of equal values rounding errors are left
        return number(mean)
    half = (high - low) / 2
    if not math.isfinite(half):
        return f"{number(mean)} (from\u00a0{number(low)})"
    places = decimals(half)
    if max(abs(half), abs(mean)) < 1e-4:  # as 1.2e-06: decimals would be noughts
        return f"{mean:.1e} ±\u00a0{half:.1e}"
    skew, cut = abs((high - mean) - (mean - low)), low == 0 or high == 1
    if skew <= (1e-9 if cut else 0.2) * half:
        return f"{fixed(mean, places)} ±\u00a0{fixed(half, places)}"
    places = decimals(min(high - mean, mean - low) or half)
    return f"{fixed(mean, places)} ({fixed(low, places)}\u00a0to\u00a0{fixed(high, places)})"
