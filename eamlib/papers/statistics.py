"""What a few seeds, a shared test set and a printed column can tell.

Three kinds of data, and the questions that each can answer:

- accuracies by seed: means and intervals, paired differences, a spread that several rows share, the probability of an
  improvement, all rows of an ablation at once, and how many seeds a difference takes;
- two networks' answers to the same test images: the interval of their difference, and how alike they err;
- printed figures alone: what their differences mean under a correlation that the paper does not print, and whether a
  column's signs agree more often than exchanged names would.

Two rows that share a seed share the order of the images and their augmentation: their difference is tested as a pair
(Student's t test for dependent samples).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from eamlib._checks import number_between, one_of, positive_int, positive_number
from eamlib._extras import need

LEVEL = 0.95  # of the intervals
MOST_SEEDS = 1_000

# ---- accuracies by seed


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
        p: two-sided, of the t test that there is none. None of fewer than two pairs, and where there is no spread to
            measure them by, as where all differences are the same.

    Example:
        >>> found = paired({0: 71.0, 1: 73.0}, {0: 70.0, 1: 70.0})
        >>> found.n, found.mean, round(found.p, 2)
        (2, 2.0, 0.3)
    """

    p: float | None = None


def _scipy() -> ModuleType:
    """Its packages load as they are touched."""
    need("reproduce", "scipy")
    import scipy

    return scipy


def summarize(values: Sequence[float]) -> Summary:
    """Mean, spread and the mean's 95 % interval of independent values.

    Example:
        >>> found = summarize([70.0, 71.0, 72.0])
        >>> found.mean, found.sd, round(found.low, 1), round(found.high, 1)
        (71.0, 1.0, 68.5, 73.5)
    """
    stats = _scipy().stats

    n = len(values)
    if n == 0:
        return Summary(0)
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(1, mean)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * sd / math.sqrt(n)
    return Summary(n, mean, sd, mean - half, mean + half)


@dataclass(frozen=True)
class Spread:
    """What several rows share: how the difference of two of them varies from seed to seed.

    Attributes:
        sd: standard deviation of the paired difference of any two rows, in points.
        df: its degrees of freedom: how many differences it is as good as, less one.

    Example:
        >>> Spread(sd=0.3, df=10)
        Spread(sd=0.3, df=10)
    """

    sd: float
    df: int


def pooled(tables: Iterable[Mapping[str, Mapping[int, float]]]) -> Spread | None:
    """One spread of all rows of all tables, which two or three seeds of a single pair cannot give.

    Each table is fitted by an effect of the row and one of the seed. What is left over, squared and summed, has (rows −
    1) · (seeds − 1) degrees of freedom in a complete table, and all tables' are added up. A contrast of two rows is a
    table of two: its share is the sum of squares about the mean difference.

    It takes for granted that rows and tables vary alike: leave out those that do not, such as shorter schedules. Name a
    run once: rows that several tables repeat belong in one table.

    Args:
        tables: each a mapping from rows to accuracy by seed; seeds may be missing.

    Returns:
        None where nothing is left over, for want of two rows that share two seeds.

    Example:
        >>> first = {"a": {0: 71.0, 1: 71.4, 2: 70.9}, "b": {0: 70.5, 1: 71.0, 2: 70.4}}
        >>> second = {"a": {0: 60.0, 1: 61.0}, "b": {0: 59.8, 1: 60.2}, "c": {0: 60.1, 1: 61.2}}
        >>> found = pooled([first, second])
        >>> round(found.sd, 2), found.df
        (0.27, 4)
    """
    parts = [_left_over(table, rows=True) for table in tables]
    squares, df = math.fsum(part[0] for part in parts), sum(part[1] for part in parts)
    # The difference of two rows has twice the variance of one.
    return Spread(math.sqrt(2 * squares / df), df) if df else None


def _left_over(table: Mapping[str, Mapping[int, float]], rows: bool) -> tuple[float, int]:
    """The sum of squares that seeds, and rows if asked, leave unexplained, and its degrees of freedom."""
    cells = [(row, seed, value) for row, by_seed in table.items() for seed, value in by_seed.items()]
    if not cells:
        return 0.0, 0
    seeds = sorted({seed for _, seed, _ in cells}, key=str)
    design = [[seed == own for own in seeds] + [rows and row == own for own in table] for row, seed, _ in cells]
    values = np.array([value for *_, value in cells])
    values -= values.mean()
    effects, _, rank, _ = np.linalg.lstsq(np.array(design, float), values, rcond=None)
    return float(((values - np.array(design, float) @ effects) ** 2).sum()), len(cells) - int(rank)


def paired(ours: Mapping[int, float], baseline: Mapping[int, float], spread: Spread | None = None) -> Paired:
    """The difference to a baseline, seed by seed; seeds that one of them lacks are left out.

    Args:
        ours, baseline: accuracy by seed.
        spread: of :func:`pooled`, to take interval and p from; None takes them from these differences alone. ``sd`` is
            that of these differences in either case. A single pair has no interval even so.

    Example:
        >>> ours, baseline = {0: 71.0, 1: 71.4, 2: 70.9}, {0: 70.5, 1: 71.0, 2: 70.4, 3: 70.0}
        >>> found = paired(ours, baseline)
        >>> found.n, round(found.mean, 2), round(found.p, 3)
        (3, 0.47, 0.005)
        >>> [round(bound, 2) for bound in (found.low, found.high)]
        [0.32, 0.61]
        >>> found = paired(ours, baseline, Spread(sd=0.3, df=10))
        >>> [round(bound, 2) for bound in (found.low, found.high)]
        [0.08, 0.85]
    """
    stats = _scipy().stats

    seeds = sorted(ours.keys() & baseline.keys())
    found = summarize([ours[seed] - baseline[seed] for seed in seeds])
    error, df = _error(found, spread)
    if error is None:
        return Paired(**vars(found))
    half = float(stats.t.ppf((1 + LEVEL) / 2, df)) * error
    p = 2 * float(stats.t.sf(abs(found.mean) / error, df))
    return Paired(found.n, found.mean, found.sd, found.mean - half, found.mean + half, p)


def _error(differences: Summary, spread: Spread | None) -> tuple[float | None, int]:
    """The standard error of the mean difference and its degrees of freedom; None where there is no spread."""
    if differences.n < 2:
        return None, 0
    sd, df = (differences.sd, differences.n - 1) if spread is None else (spread.sd, spread.df)
    none = sd <= 1e-9 * (1 + abs(differences.mean))
    return None if none else sd / math.sqrt(differences.n), df


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
    stats = _scipy().stats

    if sample.n < 2:
        return None
    half = float(stats.t.ppf((1 + LEVEL) / 2, sample.n - 1)) * sample.sd * math.sqrt(1 + 1 / sample.n)
    return sample.mean - half, sample.mean + half


def seeds_needed(difference: float, sd: float, power: float = 0.8, alpha: float = 1 - LEVEL) -> int | None:
    """How many seeds, each a pair of runs, a paired two-sided t test at 5 % needs to tell ``difference`` from 0.

    Args:
        difference: the true one, in points; its sign does not matter.
        sd: standard deviation of the differences from seed to seed, in points; that of :func:`pooled`, where there is
            one: two or three seeds know their own only to a factor of several.
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
    stats = _scipy().stats

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


def equivalence(differences: Summary, margin: float, spread: Spread | None = None) -> float | None:
    """The p-value of two one-sided t tests that a difference is as large as ``margin``, to either side.

    Where it is below 0.05, the 90 % interval of the difference lies between −margin and margin, and two rows may be
    called equal to within the margin. That a difference cannot be told from none does not show it.

    Args:
        differences: from seed to seed.
        margin: in points.
        spread: as in :func:`paired`.

    Returns:
        The larger of the two p-values; None of fewer than two differences, and where there is no spread.

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
    stats = _scipy().stats

    positive_number("margin", margin)
    error, df = _error(differences, spread)
    return None if error is None else float(stats.t.sf((margin - abs(differences.mean)) / error, df))


@dataclass(frozen=True)
class Improvement:
    """How often a run of one row is better than a run of another.

    Attributes:
        n: seeds of each.
        probability: P(ours > baseline), a tie counting half; None of no seed.
        low, high: its 95 % interval; None of fewer than two seeds.

    Example:
        >>> Improvement(0)
        Improvement(n=0, probability=None, low=None, high=None)
    """

    n: int
    probability: float | None = None
    low: float | None = None
    high: float | None = None


def improvement(ours: Mapping[int, float], baseline: Mapping[int, float]) -> Improvement:
    """The probability that a run of ours is better than one of the baseline's, over the seeds that both have.

    A mean difference says how much, and this how reliably. It is the Mann–Whitney statistic over the number of pairs,
    each run of the one held against each of the other.

    The interval is Newcombe's fifth, found by solving for the probability as Wilson's is for a share, with Student's
    quantile of 2 n − 2 degrees of freedom for the normal one, by which three seeds would cover in 90 % of cases only.
    Unlike a bootstrap's it does not shrink to a point where every run of the one is better. It is made for independent
    rows: seeds that are good for both make it wider than it need be.

    Sources: Bouthillier et al. 2021, https://arxiv.org/abs/2103.03098; Newcombe 2006, https://doi.org/10.1002/sim.2324

    Example:
        >>> found = improvement({0: 71.0, 1: 71.4, 2: 70.9}, {0: 70.5, 1: 71.0, 2: 70.4})
        >>> found.n, round(found.probability, 2)  # of nine pairs seven are better, one ties and one is worse
        (3, 0.83)
        >>> round(found.low, 2), round(found.high, 2)
        (0.24, 0.99)
    """
    optimize, stats = _scipy().optimize, _scipy().stats

    seeds = sorted(ours.keys() & baseline.keys())
    n = len(seeds)
    if n == 0:
        return Improvement(0)
    better = stats.mannwhitneyu([ours[seed] for seed in seeds], [baseline[seed] for seed in seeds]).statistic
    share = float(better) / n**2
    if n == 1:
        return Improvement(1, share)
    quantile = float(stats.t.ppf((1 + LEVEL) / 2, 2 * n - 2))

    def beyond(p: float) -> float:  # how far the share found lies from p, less what chance allows
        variance = p * (1 - p) * (2 * n - 1 - (3 * n - 3) / ((2 - p) * (1 + p))) / n**2
        return abs(share - p) - quantile * math.sqrt(variance)

    # At 0 and at 1 chance allows nothing, which is no bound.
    low = 0.0 if share == 0 else optimize.brentq(beyond, 0, min(share, 1 - 1e-9))
    high = 1.0 if share == 1 else optimize.brentq(beyond, max(share, 1e-9), 1)
    return Improvement(n, share, low, high)


@dataclass(frozen=True)
class FTest:
    """An analysis of variance.

    Attributes:
        f: the statistic.
        df, df_error: degrees of freedom of the rows and of what is left over.
        p: that the rows do not differ.

    Example:
        >>> FTest(f=1.0, df=2, df_error=6, p=0.42)
        FTest(f=1.0, df=2, df_error=6, p=0.42)
    """

    f: float
    df: int
    df_error: int
    p: float


def rows_differ(table: Mapping[str, Mapping[int, float]]) -> FTest | None:
    """Do the rows of an ablation differ at all? One question instead of one a pair: analysis of variance in blocks.

    Each seed is a block: what is good for all rows of a seed counts neither for nor against a row. It takes for granted
    that all rows vary alike.

    Args:
        table: rows with their accuracy by seed; seeds may be missing.

    Returns:
        None where there is nothing to measure a spread by, for want of two rows that share two seeds or because rows
        and seeds explain every figure.

    Example:
        >>> table = {"a": {0: 71.0, 1: 72.0}, "b": {0: 71.2, 1: 72.4}, "c": {0: 73.0, 1: 74.1}}
        >>> found = rows_differ(table)
        >>> round(found.f, 1), found.df, found.df_error, round(found.p, 4)
        (490.3, 2, 2, 0.002)
    """
    stats = _scipy().stats

    squares, df = _left_over(table, rows=True)
    seeds_alone, df_alone = _left_over(table, rows=False)
    if df == 0 or squares <= 1e-18 * (1 + seeds_alone):
        return None
    f = (seeds_alone - squares) / (df_alone - df) / (squares / df)
    return FTest(f, df_alone - df, df, float(stats.f.sf(f, df_alone - df, df)))


def dunnett(table: Mapping[str, Mapping[int, float]], control: str) -> dict[str, Paired]:
    """Every row of an ablation against one of them: where no row differs, one such family in twenty raises an alarm.

    Dunnett's test with seeds as blocks, as in :func:`rows_differ`: the differences are paired by seed, share one
    spread, and share the control, for which Holm's correction makes no allowance. (``scipy.stats.dunnett`` takes the
    rows as independent samples, which runs of one seed are not.)

    Args:
        table: rows with their accuracy by seed; seeds that one of the rows lacks are left out.
        control: the row that all others are compared with.

    Returns:
        The difference of each row to the control, with p and an interval that hold for all rows together. Without
        interval and p where there is no spread.

    Raises:
        ValueError: if ``control`` is no row.

    Source: Dunnett 1955, https://doi.org/10.1080/01621459.1955.10501294

    Example:
        >>> table = {"a": {0: 71.0, 1: 72.0}, "b": {0: 71.2, 1: 72.4}, "c": {0: 73.0, 1: 74.1}}
        >>> {row: (round(found.mean, 2), round(found.p, 3)) for row, found in dunnett(table, "a").items()}
        {'b': (0.3, 0.079), 'c': (2.05, 0.002)}
    """
    optimize = _scipy().optimize

    one_of("control", control, table)
    common = set.intersection(*({*by_seed} for by_seed in table.values()))
    table = {row: {seed: by_seed[seed] for seed in common} for row, by_seed in table.items()}
    others = [row for row in table if row != control]
    spread = pooled([table])
    simple = {row: paired(table[row], table[control], spread) for row in others}
    if spread is None or any(found.p is None for found in simple.values()):
        return simple
    error, alarm = spread.sd / math.sqrt(len(common)), _alarm(len(others), spread.df)
    half = error * optimize.brentq(lambda t: alarm(t) - (1 - LEVEL), 0, 1e4)
    return {
        row: replace(found, low=found.mean - half, high=found.mean + half, p=alarm(abs(found.mean) / error))
        for row, found in simple.items()
    }


def _alarm(k: int, df: int) -> Callable[[float], float]:
    """The probability that one of ``k`` differences to a control, where there is none, lies t standard errors or more
    from zero: a function of t, an integral over the control's own error and over the common spread."""
    special, stats = _scipy().special, _scipy().stats

    control, weights = np.polynomial.hermite_e.hermegauss(64)
    quantiles, of_spread = np.polynomial.legendre.leggauss(128)
    spread = np.sqrt(stats.chi2.ppf((quantiles + 1) / 2, df) / df)[:, None]

    def alarm(t: float) -> float:
        reach = math.sqrt(2) * t * spread
        one_inside = special.ndtr(control + reach) - special.ndtr(control - reach)
        all_inside = (of_spread / 2) @ one_inside**k @ (weights / weights.sum())
        return float(np.clip(1 - all_inside, 0, 1))

    return alarm


# ---- two networks on the same test images


@dataclass(frozen=True)
class SameImages:
    """Two networks' answers to the same test images.

    Attributes:
        n: how many images.
        only_first, only_second: how many of them one network alone recognises: all others say nothing.
        difference: of the accuracies, first less second, in points.
        low, high: its 95 % interval over the test images.
        p: McNemar's exact test that both are equally good.
        rho: correlation of "the first is right" and "the second is right"; None where one is always right or wrong.

    Example:
        >>> found = same_images([1, 1, 1, 0], [1, 1, 0, 0])
        >>> found.only_first, found.only_second, found.difference, round(found.rho, 2)
        (1, 0, 25.0, 0.58)
    """

    n: int
    only_first: int
    only_second: int
    difference: float
    low: float
    high: float
    p: float
    rho: float | None


def same_images(first: Sequence[bool], second: Sequence[bool]) -> SameImages:
    """Compare two *networks*, not methods: another seed of the same method is another network.

    The interval is Wald's with half an image added to each of the four kinds, so that it keeps a width where the
    networks never disagree.

    Args:
        first, second: whether each test image is recognised, in the same order: booleans, or 0 and 1.

    Raises:
        ValueError: if they are not two rows of bits of one length.

    Sources: McNemar 1947, https://doi.org/10.1007/BF02295996; Agresti and Min 2005, https://doi.org/10.1002/sim.1781

    Example:
        >>> first, second = [1] * 95 + [0] * 5, [1] * 90 + [0] * 8 + [1] * 2
        >>> found = same_images(first, second)
        >>> round(found.difference, 2), round(found.low, 2), round(found.high, 2), round(found.p, 2)
        (3.0, -2.46, 8.35, 0.45)
    """
    stats = _scipy().stats

    a, b = np.asarray(first), np.asarray(second)
    for name, bits in (("first", a), ("second", b)):
        if bits.ndim != 1 or not bits.size or not np.isin(bits, (0, 1)).all():
            raise ValueError(f"{name} = {bits!r} must be a row of booleans, or of 0 and 1, one an image.")
    if len(a) != len(b):
        raise ValueError(f"second has {len(b)} images; allowed are {len(a)}, as many as first has.")
    n, only_a, only_b = len(a), int((a > b).sum()), int((b > a).sum())
    centre, total = (only_a - only_b) / (n + 2), (only_a + only_b + 1) / (n + 2)
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt((total - centre**2) / (n + 2))
    p = float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    rho = float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else None
    low, high = (float(np.clip(100 * bound, -100, 100)) for bound in (centre - half, centre + half))
    return SameImages(n, only_a, only_b, 100 * (only_a - only_b) / n, low, high, p, rho)


# ---- printed figures alone


def printed_p(first: float, second: float, images: int, rho: float = 0.0) -> float:
    """The p-value of a printed difference of two networks on the same test images, if their correlation were ``rho``.

    The difference of two accuracies q and r, as shares, has the variance (q (1 − q) + r (1 − r) − 2 ρ √(q (1 − q) r (1
    − r))) / n. Only who has both networks' answers can tell ρ (:func:`same_images`).

    Args:
        first, second: in percent, above 0 and below 100.
        images: of the test set.
        rho: the correlation of "the first is right" and "the second is right", from 0 to below 1.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> [round(printed_p(76.37, 75.94, images=5_000, rho=rho), 2) for rho in (0, 0.5, 0.9)]  # +0.43 points
        [0.61, 0.48, 0.11]
    """
    stats = _scipy().stats

    variances = [_variance(name, value) for name, value in (("first", first), ("second", second))]
    number_between("rho", rho, 0, 1)
    covariance = rho * math.sqrt(variances[0] * variances[1])
    error = math.sqrt((sum(variances) - 2 * covariance) / positive_int("images", images))
    return 2 * float(stats.norm.sf(abs(first - second) / error))


def heterogeneity(accuracies: Sequence[float], images: int, rho: float = 0.0) -> float:
    """The p-value of "these printed rows are one network, and the luck of the test images is all that they differ by".

    The squares about the mean, over the variance of one accuracy, follow χ² if the rows err independently. Networks
    that share their test images err alike, scatter less by the factor 1 − ρ, and the same squares weigh more: χ² / (1 −
    ρ).

    Args:
        accuracies: of two rows or more, in percent, above 0 and below 100.
        images: of the test set that they share.
        rho: the correlation of any two rows' being right, from 0 to below 1.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> [round(heterogeneity([76.3, 76.9, 75.5], images=5_000, rho=rho), 3) for rho in (0, 0.5, 0.8)]
        [0.256, 0.066, 0.001]
    """
    stats = _scipy().stats

    if len(accuracies) < 2:
        raise ValueError(f"accuracies = {accuracies!r} must be of two rows or more.")
    for accuracy in accuracies:
        _variance("accuracies", accuracy)
    mean = math.fsum(accuracies) / len(accuracies)
    squares = math.fsum((accuracy - mean) ** 2 for accuracy in accuracies)
    variance = _variance("their mean", mean) / positive_int("images", images)
    return float(stats.chi2.sf(squares / variance / (1 - number_between("rho", rho, 0, 1)), len(accuracies) - 1))


def _variance(argument: str, accuracy: float) -> float:
    """Of one image, in points squared."""
    if not 0 < accuracy < 100:
        raise ValueError(f"{argument} = {accuracy!r} must be an accuracy in percent, above 0 and below 100.")
    return accuracy * (100 - accuracy)


@dataclass(frozen=True)
class Unanimity:
    """How many columns of a table are unanimous, and how often as many would be if the names of its rows meant nothing.

    Attributes:
        columns: how many pairs of names and data sets there are.
        unanimous: how many of them have the same sign for every network.
        by_cell: the probability of so many or more if names are exchanged in each network and data set on its own. It
            takes networks that differ in nothing but their width for independent trials.
        by_family: if they are exchanged in all networks of one family and data set together.
        by_data: if they are exchanged in all networks of a data set together. That is always 1, since such an exchange
            renames the columns and changes none: if all networks on one set of test images share their luck, a single
            table tests nothing.

    Example:
        >>> Unanimity(columns=9, unanimous=3, by_cell=0.0006, by_family=0.036, by_data=1.0).unanimous
        3
    """

    columns: int
    unanimous: int
    by_cell: float
    by_family: float
    by_data: float


def unanimity(figures: Sequence[Sequence[Sequence[float]]], families: Sequence[Hashable]) -> Unanimity:
    """Do the names of a table's rows mean anything? What is unanimous, against names that are exchanged.

    The answer depends on what may be exchanged, which is a statement about what is independent. So both nulls are
    computed, and the trivial third one; exactly, over all exchanges.

    Args:
        figures: ``[data, networks, names]``, finite.
        families: of each network.

    Raises:
        ValueError: if ``figures`` has another shape or holds what is no number, or ``families`` is of another length.

    Example:
        >>> below = [[71.0, 70.0], [72.0, 71.5], [60.0, 59.0], [65.0, 64.0]]  # the second name is below four times
        >>> found = unanimity([below], families=["V1", "V1", "V1", "V2"])
        >>> found.unanimous, found.by_cell, found.by_family, found.by_data
        (1, 0.125, 0.5, 1.0)
    """
    table = np.asarray(figures, float)
    if table.ndim != 3 or min(table.shape) < 1 or table.shape[2] < 2 or not np.isfinite(table).all():
        raise ValueError(
            f"figures has shape {list(table.shape)}; allowed is [data, networks, 2 names or more], finite."
        )
    if len(families) != table.shape[1]:
        raise ValueError(f"families = {families!r} must name the family of each of {table.shape[1]} networks.")
    unanimous = sum(sum(map(abs, _signs(column))) for column in table)

    def p(blocks: Sequence[Hashable]) -> float:
        of_all = np.ones(1)
        for column in table:
            of_all = np.convolve(of_all, _chances(column, blocks))
        return round(float(of_all[unanimous:].sum()), 12)  # what should be 1 is 1

    networks = range(table.shape[1])
    columns = len(table) * math.comb(table.shape[2], 2)
    return Unanimity(columns, unanimous, p(networks), p(families), p([0 for _ in networks]))


def _signs(column: np.ndarray) -> tuple[int, ...]:
    """Of each pair of names, over the networks of ``column``: 1 or −1, the sign of all differences; 0 if they do not
    agree."""
    pairs = itertools.combinations(range(column.shape[1]), 2)
    signs = (np.sign(column[:, i] - column[:, j]) for i, j in pairs)
    return tuple(int(sign[0]) if (sign == sign[0]).all() else 0 for sign in signs)


def _chances(column: np.ndarray, blocks: Sequence[Hashable]) -> np.ndarray:
    """The probabilities of 0, 1, 2 … unanimous pairs, if the names are exchanged in each block on its own."""
    orders = [list(order) for order in itertools.permutations(range(column.shape[1]))]
    insides = [column[[own == block for own in blocks]] for block in dict.fromkeys(blocks)]
    # Of each block, in how many orders the signs come out so; then of all blocks together.
    ways = functools.reduce(_both, (Counter(_signs(inside[:, order]) for order in orders) for inside in insides))
    chances = np.zeros(math.comb(column.shape[1], 2) + 1)
    for signs, times in ways.items():
        chances[sum(map(abs, signs))] += times / len(orders) ** len(insides)
    return chances


def _both(ways: Counter, more: Counter) -> Counter:
    both: Counter = Counter()
    for (signs, times), (others, again) in itertools.product(ways.items(), more.items()):
        both[tuple(a if a == b else 0 for a, b in zip(signs, others, strict=True))] += times * again
    return both
