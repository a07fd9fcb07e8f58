"""What a few seeds can tell: intervals by Student's t, and differences between runs of the same seed.

Two rows that share a seed share the order of the images and their augmentation, so that their difference varies less
than either: it is tested as a pair (Student's t test for dependent samples).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eamlib._checks import number_between, positive_number

LEVEL = 0.95  # of the intervals
MOST_SEEDS = 1_000


@dataclass(frozen=True)
class Summary:
    """A sample.

    Attributes:
        n: how many values.
        mean: theirs; None of none.
        sd: sample standard deviation (n − 1 below); None of fewer than two.
        low, high: the 95 % interval of the mean; None of fewer than two.

    Example:
        >>> Summary(0)
        Summary(n=0, mean=None, sd=None, low=None, high=None)
    """

    n: int
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Paired(Summary):
    """The differences of two rows over their common seeds; ``mean`` is the difference, ``low`` and ``high`` its
    interval.

    Attributes:
        p: two-sided, of the t test that there is none. None of fewer than two pairs, and where all differences are
            the same: there is then no spread to measure them by.

    Example:
        >>> found = paired({0: 71.0, 1: 73.0}, {0: 70.0, 1: 70.0})
        >>> found.n, found.mean, round(found.p, 2)
        (2, 2.0, 0.3)
    """

    p: float | None = None


def summarize(values: Sequence[float]) -> Summary:
    """Mean, spread and the mean's 95 % interval of independent values.

    Example:
        >>> found = summarize([70.0, 71.0, 72.0])
        >>> found.mean, found.sd, round(found.low, 1), round(found.high, 1)
        (71.0, 1.0, 68.5, 73.5)
    """
    from scipy import stats

    n = len(values)
    if n == 0:
        return Summary(0)
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(1, mean)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * sd / math.sqrt(n)
    return Summary(n, mean, sd, mean - half, mean + half)


def paired(ours: Mapping[int, float], baseline: Mapping[int, float]) -> Paired:
    """The difference to a baseline, seed by seed; seeds that one of them lacks are left out.

    Args:
        ours, baseline: accuracy by seed.

    Example:
        >>> ours, baseline = {0: 71.0, 1: 71.4, 2: 70.9}, {0: 70.5, 1: 71.0, 2: 70.4, 3: 70.0}
        >>> found = paired(ours, baseline)
        >>> found.n, round(found.mean, 2), round(found.p, 3)
        (3, 0.47, 0.005)
    """
    from scipy import stats

    seeds = sorted(ours.keys() & baseline.keys())
    found = summarize([ours[seed] - baseline[seed] for seed in seeds])
    p = None
    if found.n > 1 and found.sd > 1e-9 * (1 + abs(found.mean)):
        p = float(stats.ttest_rel([ours[seed] for seed in seeds], [baseline[seed] for seed in seeds]).pvalue)
    return Paired(**vars(found), p=p)


def next_run(sample: Summary) -> tuple[float, float] | None:
    """Where one more run of the same kind falls with 95 % probability; None of fewer than two values.

    A paper prints one figure, a single run perhaps: it is this range that the figure is to be held against, not the
    narrower one of the mean.

    Example:
        >>> [round(bound, 1) for bound in next_run(summarize([70.0, 71.0, 72.0]))]
        [66.0, 76.0]
        >>> next_run(summarize([70.0])) is None
        True
    """
    from scipy import stats

    if sample.n < 2:
        return None
    half = float(stats.t.ppf((1 + LEVEL) / 2, sample.n - 1)) * sample.sd * math.sqrt(1 + 1 / sample.n)
    return sample.mean - half, sample.mean + half


def seeds_needed(difference: float, sd: float, power: float = 0.8, alpha: float = 1 - LEVEL) -> int | None:
    """How many seeds, each a pair of runs, a paired two-sided t test at 5 % needs to tell ``difference`` from 0.

    Args:
        difference: the true one, in points; its sign does not matter.
        sd: standard deviation of the differences from seed to seed, in points.
        power: the probability of seeing it, at most 0.99.
        alpha: another level than 5 %: 0.05 / m, say, where it is the first of m comparisons by Holm's method.

    Returns:
        The least number, 2 or more; None where 1,000 do not do, for nobody trains that many.

    Raises:
        ValueError: if ``sd`` is not above 0, or ``power`` or ``alpha`` is out of its range.

    Example:
        >>> seeds_needed(0.5, sd=0.3), seeds_needed(0.5, sd=1.0)
        (6, 34)
    """
    from scipy import stats

    positive_number("sd", sd)
    number_between("power", power, 0, 0.991)
    number_between("alpha", alpha, 1e-6, 1)
    # The t value is spread by the noncentral t distribution about the difference in units of its standard error.
    n = np.arange(2, MOST_SEEDS + 1)
    critical, shift = stats.t.isf(alpha / 2, n - 1), abs(difference) / sd * np.sqrt(n)
    # The other tail holds next to nothing where the shift is large, and there SciPy now and then says nan of it.
    reached = stats.nct.sf(critical, n - 1, shift) + np.nan_to_num(stats.nct.cdf(-critical, n - 1, shift))
    enough = (reached >= power) | np.isnan(reached)  # nan is what SciPy says of shifts far beyond what is enough
    return int(n[enough.argmax()]) if enough.any() else None


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values, in the order of ``p_values``: at most one in twenty such families holds a value below 0.05
    where there is nothing at all to find.

    The smallest of m values is multiplied by m, the next by m − 1, and so on; none may fall below the one before it. A
    None is no member of the family and stays None.

    Source: Holm 1979, https://www.jstor.org/stable/4615733

    Example:
        >>> [None if p is None else round(p, 2) for p in holm([0.04, 0.01, None, 0.03])]
        [0.06, 0.03, None, 0.06]
    """
    family = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(family):
        largest = max(largest, min(1.0, (len(family) - rank) * p))
        adjusted[place] = largest
    return adjusted


def equivalence(differences: Summary, margin: float) -> float | None:
    """The p-value of two one-sided t tests that a difference is as large as ``margin``, to either side.

    Where it is below 0.05, the 90 % interval of the difference lies between −margin and margin, and two rows may be
    called equal to within the margin. That a difference cannot be told from none does not show it.

    Returns:
        The larger of the two p-values; None of fewer than two differences, and where all of them are the same.

    Raises:
        ValueError: if ``margin`` is not above 0.

    Source: Schuirmann 1987, https://doi.org/10.1007/BF01068419

    Example:
        >>> differences = summarize([0.1, -0.1, 0.05, 0.0])
        >>> equivalence(differences, margin=0.5) < 0.05  # the same to within half a point
        True
        >>> equivalence(differences, margin=0.05) < 0.05  # but not to within a twentieth
        False
    """
    from scipy import stats

    positive_number("margin", margin)
    if differences.n < 2 or differences.sd <= 1e-9 * (1 + abs(differences.mean)):
        return None
    error = differences.sd / math.sqrt(differences.n)
    return float(stats.t.sf((margin - abs(differences.mean)) / error, differences.n - 1))
