"""What a few seeds can tell: means and intervals, paired differences, and how many seeds a difference takes.

Two rows that share a seed share the order of the images and their augmentation, so their difference is tested as a pair
(Student's t test for dependent samples).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from types import ModuleType

import numpy as np

from eamlib._checks import number_between, positive_number
from eamlib._extras import need

__all__ = [
    "LEVEL",
    "MOST_SEEDS",
    "Paired",
    "Spread",
    "Summary",
    "holm",
    "next_run",
    "paired",
    "seeds_needed",
    "summarize",
]

LEVEL = 0.95  # of the intervals
MOST_SEEDS = 1_000


@dataclass(frozen=True)
class Summary:
    """A sample.

    Attributes:
        n: number of values.
        mean: None without values.
        sd: sample standard deviation (n − 1 below); None with fewer than two values.
        low, high: the 95 % interval of the mean; None with fewer than two values.

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
    """The differences of two rows over their common seeds.

    Attributes:
        mean, low, high: the difference and its 95 % interval.
        p: two-sided, of the t test that there is no difference; None with fewer than two pairs, and where there is no
            spread to measure it by, as where all differences are the same.

    Example:
        >>> found = paired({0: 71.0, 1: 73.0}, {0: 70.0, 1: 70.0})
        >>> found.n, found.mean, round(found.p, 2)
        (2, 2.0, 0.3)
    """

    p: float | None = None


@dataclass(frozen=True)
class Spread:
    """How the difference of any two of several rows varies from seed to seed: :func:`eamlib.book.comparisons.pooled`.

    Attributes:
        sd: standard deviation of the paired difference, in points.
        df: its degrees of freedom.

    Example:
        >>> Spread(sd=0.3, df=10)
        Spread(sd=0.3, df=10)
    """

    sd: float
    df: int


def summarize(values: Sequence[float]) -> Summary:
    """Mean, spread and the mean's 95 % interval of independent values.

    Example:
        >>> found = summarize([70.0, 71.0, 72.0])
        >>> found.mean, found.sd, round(found.low, 1), round(found.high, 1)
        (71.0, 1.0, 68.5, 73.5)
    """
    n = len(values)
    if n < 2:
        return Summary(n, *values)
    mean, sd = fmean(values), stdev(values)
    half = quantile(n - 1) * sd / math.sqrt(n)
    return Summary(n, mean, sd, mean - half, mean + half)


def paired(ours: Mapping[int, float], baseline: Mapping[int, float], spread: Spread | None = None) -> Paired:
    """The difference to a baseline, seed by seed; seeds that one of them lacks are left out.

    Args:
        ours, baseline: accuracy by seed.
        spread: a common one, which interval and p are then taken from; None takes them from these differences. A single
            pair has no interval in either case.

    Example:
        >>> ours, baseline = {0: 71.0, 1: 71.4, 2: 70.9}, {0: 70.5, 1: 71.0, 2: 70.4, 3: 70.0}
        >>> found = paired(ours, baseline)
        >>> found.n, round(found.mean, 2), round(found.low, 2), round(found.high, 2), round(found.p, 3)
        (3, 0.47, 0.32, 0.61, 0.005)
        >>> found = paired(ours, baseline, Spread(sd=0.3, df=10))
        >>> round(found.low, 2), round(found.high, 2)
        (0.08, 0.85)
    """
    seeds = sorted(ours.keys() & baseline.keys())
    found = summarize([ours[seed] - baseline[seed] for seed in seeds])
    error, df = standard_error(found, spread)
    if error is None:
        return Paired(**vars(found))
    half, p = quantile(df) * error, 2 * float(scipy().stats.t.sf(abs(found.mean) / error, df))
    return Paired(found.n, found.mean, found.sd, found.mean - half, found.mean + half, p)


def standard_error(differences: Summary, spread: Spread | None = None) -> tuple[float | None, int]:
    """The standard error of a mean difference and its degrees of freedom; None and 0 where there is no spread."""
    if differences.n < 2:
        return None, 0
    sd, df = (differences.sd, differences.n - 1) if spread is None else (spread.sd, spread.df)
    if sd <= 1e-9 * (1 + abs(differences.mean)):  # no more than rounding
        return None, 0
    return sd / math.sqrt(differences.n), df


def next_run(sample: Summary) -> tuple[float, float] | None:
    """Where one more run of the same kind falls with 95 % probability; None with fewer than two values.

    A paper's figure, a single run perhaps, is to be held against this range and not against the mean's narrower one.

    Example:
        >>> [round(bound, 1) for bound in next_run(summarize([70.0, 71.0, 72.0]))]
        [66.0, 76.0]
        >>> next_run(summarize([70.0])) is None
        True
    """
    if sample.n < 2:
        return None
    half = quantile(sample.n - 1) * sample.sd * math.sqrt(1 + 1 / sample.n)
    return sample.mean - half, sample.mean + half


def seeds_needed(difference: float, sd: float, power: float = 0.8, alpha: float = 1 - LEVEL) -> int | None:
    """How many seeds, each a pair of runs, a paired two-sided t test needs to tell ``difference`` from 0.

    Args:
        difference: the true one, in points; its sign does not matter.
        sd: standard deviation of the differences from seed to seed, in points.
        power: the probability of telling it, at most 0.99.
        alpha: the level of the test: 0.05 / m for the first of m comparisons by Holm's method.

    Returns:
        The least number, 2 or more; None where 1,000 are too few.

    Raises:
        ValueError: if ``sd`` is not above 0, or ``power`` or ``alpha`` is out of its range.

    Example:
        >>> seeds_needed(0.5, sd=0.3), seeds_needed(0.5, sd=1.0)
        (6, 34)
    """
    positive_number("sd", sd)
    number_between("power", power, 0, 0.991)
    number_between("alpha", alpha, 1e-6, 1)
    stats = scipy().stats
    # The t value is spread by the noncentral t distribution about the difference in units of its standard error.
    n = np.arange(2, MOST_SEEDS + 1)
    critical, shift = stats.t.isf(alpha / 2, n - 1), abs(difference) / sd * np.sqrt(n)
    # The other tail holds next to nothing where the shift is large, and there SciPy now and then says nan of it.
    reached = stats.nct.sf(critical, n - 1, shift) + np.nan_to_num(stats.nct.cdf(-critical, n - 1, shift))
    enough = (reached >= power) | np.isnan(reached)  # nan is what SciPy says of shifts far beyond what is enough
    return int(n[enough.argmax()]) if enough.any() else None


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values of a family of tests, in the order of ``p_values``. A None is no member and stays None.

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


def quantile(df: int) -> float:
    """Student's t for a two-sided 95 % interval with ``df`` degrees of freedom."""
    return float(scipy().stats.t.ppf((1 + LEVEL) / 2, df))


def scipy() -> ModuleType:
    """Its packages load as they are touched."""
    need("reproduce", "scipy")
    import scipy

    return scipy
