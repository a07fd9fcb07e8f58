"""How the book compares rows: a spread that they share, an ablation as a whole, and two networks' answers.

Two kinds of data: accuracies by seed, where each seed is a block; and two networks' answers to the same test images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eamlib._checks import one_of, positive_number
from eamlib.papers.statistics import LEVEL, Paired, Spread, Summary, paired, quantile, scipy, standard_error

__all__ = [
    "FTest",
    "Improvement",
    "SameImages",
    "dunnett",
    "equivalence",
    "improvement",
    "pooled",
    "rows_differ",
    "same_images",
]


def pooled(tables: Iterable[Mapping[str, Mapping[int, float]]]) -> Spread | None:
    """One spread of all rows of all tables, which two or three seeds of a single pair cannot give.

    Each table is fitted by an effect of the row and one of the seed. What is left over, squared and summed, has (rows −
    1) · (seeds − 1) degrees of freedom in a complete table; all tables' are added up. Rows and tables are taken to vary
    alike: leave out those that do not, such as shorter schedules, and name a run once.

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
    design, values = np.array(design, float), np.array([value for *_, value in cells])
    values -= values.mean()
    effects, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    return float(((values - design @ effects) ** 2).sum()), len(cells) - int(rank)


def equivalence(differences: Summary, margin: float, spread: Spread | None = None) -> float | None:
    """The p-value of two one-sided t tests that a difference is as large as ``margin``, to either side.

    Args:
        differences: from seed to seed.
        margin: in points.
        spread: as in :func:`eamlib.papers.statistics.paired`.

    Returns:
        The larger of the two p-values; None with fewer than two differences, and where there is no spread.

    Raises:
        ValueError: if ``margin`` is not above 0.

    Source: Schuirmann 1987, https://doi.org/10.1007/BF01068419

    Example:
        >>> from eamlib.papers.statistics import summarize
        >>> differences = summarize([0.1, -0.1, 0.05, 0.0])
        >>> equivalence(differences, margin=0.5) < 0.05  # the same to within half a point
        True
        >>> equivalence(differences, margin=0.05) < 0.05  # but not to within a twentieth
        False
    """
    positive_number("margin", margin)
    error, df = standard_error(differences, spread)
    return None if error is None else float(scipy().stats.t.sf((margin - abs(differences.mean)) / error, df))


@dataclass(frozen=True)
class Improvement:
    """How often a run of one row is better than a run of another.

    Attributes:
        n: seeds of each.
        probability: P(ours > baseline), a tie counting half; None without seeds.
        low, high: its 95 % interval; None with fewer than two seeds.

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

    It is the Mann–Whitney statistic over the number of pairs. The interval is Newcombe's fifth with Student's quantile
    of 2 n − 2 degrees of freedom for the normal one. It is made for independent rows; seeds that are good for both make
    it wider than it need be.

    Sources: Bouthillier et al. 2021, https://arxiv.org/abs/2103.03098; Newcombe 2006, https://doi.org/10.1002/sim.2324

    Example:
        >>> found = improvement({0: 71.0, 1: 71.4, 2: 70.9}, {0: 70.5, 1: 71.0, 2: 70.4})
        >>> found.n, round(found.probability, 2)  # of nine pairs seven are better, one ties and one is worse
        (3, 0.83)
        >>> round(found.low, 2), round(found.high, 2)
        (0.24, 0.99)
    """
    seeds = sorted(ours.keys() & baseline.keys())
    n = len(seeds)
    if n == 0:
        return Improvement(0)
    both = ([row[seed] for seed in seeds] for row in (ours, baseline))
    share = float(scipy().stats.mannwhitneyu(*both).statistic) / n**2
    if n == 1:
        return Improvement(1, share)
    reach = quantile(2 * n - 2)

    def beyond(p: float) -> float:  # how far the share found lies from p, less what chance allows
        variance = p * (1 - p) * (2 * n - 1 - (3 * n - 3) / ((2 - p) * (1 + p))) / n**2
        return abs(share - p) - reach * math.sqrt(variance)

    # At 0 and at 1 chance allows nothing, which is no bound.
    solve = scipy().optimize.brentq
    low = 0.0 if share == 0 else solve(beyond, 0, min(share, 1 - 1e-9))
    high = 1.0 if share == 1 else solve(beyond, max(share, 1e-9), 1)
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
    """Do the rows of an ablation differ at all? Analysis of variance with seeds as blocks.

    Args:
        table: rows with their accuracy by seed; seeds may be missing.

    Returns:
        None where there is no spread, for want of two rows that share two seeds or because rows and seeds explain every
        figure.

    Example:
        >>> table = {"a": {0: 71.0, 1: 72.0}, "b": {0: 71.2, 1: 72.4}, "c": {0: 73.0, 1: 74.1}}
        >>> found = rows_differ(table)
        >>> round(found.f, 1), found.df, found.df_error, round(found.p, 4)
        (490.3, 2, 2, 0.002)
    """
    squares, df = _left_over(table, rows=True)
    seeds_alone, df_alone = _left_over(table, rows=False)
    if df == 0 or squares <= 1e-18 * (1 + seeds_alone):
        return None
    f = (seeds_alone - squares) / (df_alone - df) / (squares / df)
    return FTest(f, df_alone - df, df, float(scipy().stats.f.sf(f, df_alone - df, df)))


def dunnett(table: Mapping[str, Mapping[int, float]], control: str) -> dict[str, Paired]:
    """Every row of an ablation against one of them: Dunnett's test with seeds as blocks.

    ``scipy.stats.dunnett`` takes the rows as independent samples, which runs of one seed are not.

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
    one_of("control", control, table)
    common = set.intersection(*({*by_seed} for by_seed in table.values()))
    table = {row: {seed: by_seed[seed] for seed in common} for row, by_seed in table.items()}
    spread = pooled([table])
    simple = {row: paired(table[row], table[control], spread) for row in table if row != control}
    if spread is None or any(found.p is None for found in simple.values()):
        return simple
    error, alarm = spread.sd / math.sqrt(len(common)), _alarm(len(simple), spread.df)
    half = error * scipy().optimize.brentq(lambda t: alarm(t) - (1 - LEVEL), 0, 1e4)
    return {
        row: replace(found, low=found.mean - half, high=found.mean + half, p=alarm(abs(found.mean) / error))
        for row, found in simple.items()
    }


def _alarm(k: int, df: int) -> Callable[[float], float]:
    """The probability that one of ``k`` differences to a control, where there is none, lies t standard errors or more
    from zero: a function of t, an integral over the control's own error and over the common spread.

    ``scipy.stats.multivariate_t`` integrates by random points: off by 5e-5, and by seconds slower.
    """
    control, weights = np.polynomial.hermite_e.hermegauss(64)
    quantiles, of_spread = np.polynomial.legendre.leggauss(128)
    spread = np.sqrt(scipy().stats.chi2.ppf((quantiles + 1) / 2, df) / df)[:, None]
    normal = scipy().special.ndtr

    def alarm(t: float) -> float:
        reach = math.sqrt(2) * t * spread
        one_inside = normal(control + reach) - normal(control - reach)
        all_inside = (of_spread / 2) @ one_inside**k @ (weights / weights.sum())
        return float(np.clip(1 - all_inside, 0, 1))

    return alarm


@dataclass(frozen=True)
class SameImages:
    """Two networks' answers to the same test images.

    Attributes:
        n: number of images.
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
    a, b = np.asarray(first), np.asarray(second)
    for name, bits in (("first", a), ("second", b)):
        if bits.ndim != 1 or not bits.size or not np.isin(bits, (0, 1)).all():
            raise ValueError(f"{name} = {bits!r} must be a row of booleans, or of 0 and 1, one per image.")
    if len(a) != len(b):
        raise ValueError(f"second has {len(b)} images; allowed are {len(a)}, as many as first has.")
    stats = scipy().stats
    n, only_a, only_b = len(a), int((a > b).sum()), int((b > a).sum())
    centre, total = (only_a - only_b) / (n + 2), (only_a + only_b + 1) / (n + 2)
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt((total - centre**2) / (n + 2))
    p = float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    rho = float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else None
    low, high = (float(np.clip(100 * bound, -100, 100)) for bound in (centre - half, centre + half))
    return SameImages(n, only_a, only_b, 100 * (only_a - only_b) / n, low, high, p, rho)
