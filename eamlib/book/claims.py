"""What the EAM paper claims or asks of accuracy, as data, and what runs say of it.

Of the text of Ding et al. 2021 we hold the tables and the list of contributions. The first three claims follow from
the latter; the others are what a reader asks of a table, in our words. Each is a set of pairs of rows, so that it can
be held against the printed figures and against recorded runs alike.

There is one question with three answers: :func:`conclude` says how much is known of a difference, whether it was
planned before its runs (:mod:`eamlib.book.findings`) or belongs to a claim (:func:`judge`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from eamlib._checks import positive_number
from eamlib.book.comparisons import Improvement, equivalence, improvement, pooled
from eamlib.papers.accuracy import TABLES
from eamlib.papers.statistics import Paired, Spread, holm, paired
from eamlib.papers.training_runs import Plan

BETTER, SAME = "better", "same"
MARGIN = 0.25  # points: what is "the same" must be less than what the paper's cost table calls a gain, +0.43 and +0.56
LEVEL = 0.05
LEAST_SEEDS = 3  # of a comparison that counts as tested

SETTLED, BOUNDED, NOT_TESTED = "settled", "bounded", "not tested"


@dataclass(frozen=True)
class Pair:
    """Two rows of a table.

    Attributes:
        table: its name in :data:`eamlib.papers.accuracy.TABLES`.
        first, second: names of rows; the difference is the first's accuracy less the second's.

    Example:
        >>> Pair("channels", "n4", "n2").printed("cifar100")
        0.33
    """

    table: str
    first: str
    second: str

    def printed(self, data: str) -> float | None:
        """The difference of the printed figures, in points; None where one of them is not printed."""
        first, second = (TABLES[self.table].row(name).printed.get(data) for name in (self.first, self.second))
        return None if first is None or second is None else round(first - second, 2)


@dataclass(frozen=True)
class Claim:
    """A statement about pairs of rows.

    Attributes:
        name: short.
        statement: in our words.
        source: what of the paper it comes from.
        relation: ``"better"``, the first row of each pair is the more accurate; or ``"same"``, it makes no difference
            as large as a margin.
        pairs: what it says it of.

    Example:
        >>> claim = CLAIMS[0]
        >>> claim.statement, claim.relation, len(claim.pairs)
        ('EAM with RCR is more accurate than DyNet (Ding).', 'better', 7)
    """

    name: str
    statement: str
    source: str
    relation: str
    pairs: tuple[Pair, ...]


def _in_baseline(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[Pair, ...]:
    """A pair for every network and width; of several convolutions the one that the table has there."""
    rows = TABLES["baseline"].rows
    return tuple(
        Pair("baseline", one.name, other.name)
        for one in rows
        for other in rows
        if (one.network, one.width_mult) == (other.network, other.width_mult)
        and one.conv in first
        and other.conv in second
    )


def _in_ablation(table: str, second: str, *first: str) -> tuple[Pair, ...]:
    return tuple(Pair(table, name, second) for name in first)


_STATIC, _DYNET, _RCR, _CGR = ("static",), ("dynamic",), ("eam-rcr",), ("eam-cgr", "eam-cgr-max")
_CONTRIBUTION = "contributions, third point"
_NETWORKS = "table of networks"
CLAIMS = (
    Claim(
        "RCR – DyNet",
        "EAM with RCR is more accurate than DyNet (Ding).",
        _CONTRIBUTION,
        BETTER,
        _in_baseline(_RCR, _DYNET),
    ),
    Claim(
        "CGR – DyNet",
        "EAM with CGR or CGR-MAX is more accurate than DyNet (Ding).",
        _CONTRIBUTION,
        BETTER,
        _in_baseline(_CGR, _DYNET),
    ),
    Claim(
        "RCR – static",
        "EAM with RCR is more accurate than the static network.",
        _CONTRIBUTION,
        BETTER,
        _in_baseline(_RCR, _STATIC),
    ),
    Claim(
        "DyNet – static",
        "DyNet (Ding) is more accurate than the static network.",
        _NETWORKS,
        BETTER,
        _in_baseline(_DYNET, _STATIC),
    ),
    Claim(
        "CGR – RCR",
        "Drawing channels (RCR) or grouping them (CGR, CGR-MAX) makes no difference.",
        _NETWORKS,
        SAME,
        _in_baseline(_CGR, _RCR),
    ),
    Claim(
        "channels",
        "How many channels are drawn, 2, 4 or 8, makes no difference.",
        "ablation of channels",
        SAME,
        _in_ablation("channels", "n4", "n2", "n8"),
    ),
    Claim(
        "selection",
        "Which channels are read makes no difference.",
        "ablation of selection",
        SAME,
        _in_ablation("selection", "rcr", "stride", "slice0", "slice1", "slice2", "slice3"),
    ),
    Claim(
        "pooling",
        "Pooling the mean or the maximum makes no difference.",
        "ablation of pooling",
        SAME,
        _in_ablation("pooling", "avg", "max"),
    ),
    Claim(
        "output size",
        "The size that is pooled to, 3, 5 or 7, makes no difference.",
        "ablation of output size",
        SAME,
        _in_ablation("output-size", "p5", "p3", "p7"),
    ),
)
"""The claims. CGR against RCR stands in the ablation of selection, too, with the same two networks."""


@dataclass(frozen=True)
class Finding:
    """What runs say of one pair of a claim.

    Attributes:
        claim, pair: of which.
        difference: over the seeds that both rows have; interval and p by the spread of all rows that were run on the
            same data for as many epochs (:func:`eamlib.book.comparisons.pooled`).
        improvement: how often a run of the first is better than one of the second.
        p: that there is no difference, adjusted for all findings of the family.
        p_same: that it is as large as the margin, adjusted likewise.
        verdict: :func:`conclude`.

    Example:
        >>> found = judge({}, claims=CLAIMS[:1])
        >>> found[0].pair.first, found[0].verdict
        ('mobilenet_v1-x1-eam-rcr', 'not tested')
    """

    claim: Claim
    pair: Pair
    difference: Paired
    improvement: Improvement
    p: float | None
    p_same: float | None
    verdict: str


def judge(
    tables: Mapping[str, dict],
    claims: Iterable[Claim] = CLAIMS,
    margin: float = MARGIN,
    testable: Collection[str] = (),
) -> list[Finding]:
    """Hold claims against runs. All pairs together are one family of comparisons, adjusted by Holm's method.

    All networks that were run on the same data for as many epochs share one spread; seeds are blocks within a network
    and width. It takes for granted that they vary alike.

    Args:
        tables: name -> what :func:`eamlib.book.report.build` returned; a claim whose table is missing is not tested.
        margin: in points, of what counts as the same.
        testable: data sets that passed the gate; on any other, two attentions are not compared.

    Returns:
        A finding for each pair of each claim; pairs of one claim that the plan makes the same two networks count once.

    Raises:
        ValueError: if ``margin`` is not above 0.

    Example:
        >>> found = judge({})  # without a run, nothing is tested
        >>> {finding.verdict for finding in found}
        {'not tested'}
    """
    positive_number("margin", margin)
    asked = [(claim, pair) for claim in claims for pair in _distinct(tables, claim.pairs)]
    spreads = _spreads(tables, {pair.table for _, pair in asked})
    of_pairs = [spreads.get(pair.table) for _, pair in asked]
    runs = [[_accuracy(tables, pair.table, row) for row in (pair.first, pair.second)] for _, pair in asked]
    differences = [paired(*rows, spread) for rows, spread in zip(runs, of_pairs, strict=True)]
    p = holm([difference.p for difference in differences])
    p_same = holm([equivalence(d, margin, spread) for d, spread in zip(differences, of_pairs, strict=True)])
    return [
        Finding(
            claim,
            pair,
            differences[i],
            improvement(*runs[i]),
            p[i],
            p_same[i],
            conclude(differences[i], p[i], p_same[i], passed=_may_be_tested(tables, pair, testable)),
        )
        for i, (claim, pair) in enumerate(asked)
    ]


def conclude(difference: Paired, p: float | None, p_same: float | None, *, passed: bool = True) -> str:
    """What is known of a difference, in one of three words.

    Settled: it is told from none, or shown to be smaller than the margin. Bounded: neither, and its interval is the
    answer. Not tested: fewer than three seeds of both rows, no spread to make an interval with, or data that failed the
    gate, on which attention does nothing that could be compared.

    Args:
        difference: in points, with its interval: of :func:`eamlib.papers.statistics.paired`.
        p, p_same: that there is no difference, and that it is as large as the margin
            (:func:`eamlib.book.comparisons.equivalence`), each adjusted for all comparisons of the family.
        passed: whether the data passed the gate.

    Example:
        >>> from eamlib.papers.statistics import paired
        >>> difference = paired({0: 71.0, 1: 72.0, 2: 71.5}, {0: 70.0, 1: 71.1, 2: 70.4})
        >>> conclude(difference, p=0.01, p_same=0.9), conclude(difference, p=0.2, p_same=0.9)
        ('settled', 'bounded')
        >>> conclude(difference, p=0.01, p_same=0.9, passed=False)
        'not tested'
    """
    if not passed or difference.n < LEAST_SEEDS or difference.p is None:
        return NOT_TESTED
    return SETTLED if any(value is not None and value < LEVEL for value in (p, p_same)) else BOUNDED


def _may_be_tested(tables: Mapping[str, dict], pair: Pair, testable: Collection[str]) -> bool:
    """A comparison with a static network may be made anywhere."""
    static = any(TABLES[pair.table].row(name).conv == "static" for name in (pair.first, pair.second))
    return static or (pair.table in tables and tables[pair.table]["plan"]["data"] in testable)


def _distinct(tables: Mapping[str, dict], pairs: Iterable[Pair]) -> list[Pair]:
    """Without those that repeat another under the table's plan, in which all rows may have one width."""
    kept = {}
    for pair in pairs:
        key = pair
        if pair.table in tables:
            plan = Plan(**tables[pair.table]["plan"])
            key = tuple(plan.unit(TABLES[pair.table].row(name), 0) for name in (pair.first, pair.second))
        kept.setdefault(key, pair)
    return list(kept.values())


def _accuracy(tables: Mapping[str, dict], table: str, row: str) -> dict[str, float]:
    rows = {row["name"]: row["accuracy"] for row in tables[table]["rows"]} if table in tables else {}
    return rows.get(row, {})


def _spreads(tables: Mapping[str, dict], names: set[str]) -> dict[str, Spread | None]:
    """By table: the spread of all networks that were run on the same data for as many epochs. A run that several
    tables show counts once."""
    places, runs = {}, {}
    for name in names & tables.keys():
        plan = Plan(**tables[name]["plan"])
        places[name] = plan.data, plan.epochs
        for row in tables[name]["rows"]:
            unit = plan.unit(TABLES[name].row(row["name"]), 0)
            family = runs.setdefault(places[name], {}).setdefault((unit.model, unit.width_mult), {})
            family[unit] = row["accuracy"]
    common = {place: pooled(families.values()) for place, families in runs.items()}
    return {name: common[place] for name, place in places.items()}
