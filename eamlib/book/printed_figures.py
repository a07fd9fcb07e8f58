"""What printed figures can tell: how far rows lie apart, whether they differ at all, whether signs agree by chance."""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from eamlib._checks import number_between, positive_int
from eamlib.papers import training_runs
from eamlib.papers.accuracy import EAM, TABLES
from eamlib.papers.statistics import scipy
from eamlib.papers.training_runs import SIZES

__all__ = ["Difference", "Unanimity", "differences", "heterogeneity", "unanimity"]


@dataclass(frozen=True)
class Difference:
    """A printed difference between a row and the row that it is compared with.

    Attributes:
        title: of the row.
        data: name of the image set.
        accuracy, baseline: of both rows, in percent.
        images: of the test set that they share.

    Example:
        >>> found = differences()[3]
        >>> found.title, found.data, round(found.accuracy - found.baseline, 2)
        ('MobileNetV1 ×1.0, EAM RCR', 'cifar10', -0.38)
    """

    title: str
    data: str
    accuracy: float
    baseline: float
    images: int


def differences() -> list[Difference]:
    """All printed differences of the EAM paper between a row and its baseline, each pair of networks once.

    Example:
        >>> len(differences())
        81
    """
    plan, found = training_runs.plan("full"), {}
    for table in (table for table in TABLES.values() if table.paper == EAM):
        for row in (row for row in table.rows if row.baseline):
            baseline = table.row(row.baseline)
            pair = plan.unit(row, 0), plan.unit(baseline, 0)
            for data in (data for data in row.printed if data in baseline.printed):
                figures = row.printed[data], baseline.printed[data]
                found.setdefault((pair, data), Difference(row.title, data, *figures, SIZES[data][1]))
    return list(found.values())


def heterogeneity(accuracies: Sequence[float], images: int, rho: float = 0.0) -> float:
    """The p-value of "these printed rows are one network, and the luck of the test images is all that they differ by".

    Pearson's χ² of equal shares takes the rows to err independently. Networks that share their test images err alike
    and scatter less, by the factor 1 − ρ, so that χ² / (1 − ρ) is what counts.

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
    if len(accuracies) < 2:
        raise ValueError(f"accuracies = {accuracies!r} must be of two rows or more.")
    for accuracy in accuracies:
        if not 0 < accuracy < 100:
            raise ValueError(f"accuracies = {accuracy!r} must be an accuracy in percent, above 0 and below 100.")
    positive_int("images", images)
    number_between("rho", rho, 0, 1)
    stats, right = scipy().stats, images * np.asarray(accuracies) / 100
    squares = stats.chi2_contingency([right, images - right], correction=False).statistic
    return float(stats.chi2.sf(squares / (1 - rho), len(accuracies) - 1))


@dataclass(frozen=True)
class Unanimity:
    """How many columns of a table are unanimous, and how often as many would be if the names of its rows meant nothing.

    Attributes:
        columns: number of pairs of names and data sets.
        unanimous: how many of them have the same sign for every network.
        by_cell: the probability of so many or more if names are exchanged in each network and data set on its own.
        by_family: if they are exchanged in all networks of one family and data set together.
        by_data: if they are exchanged in all networks of a data set together. That is always 1: such an exchange
            renames the columns and changes none.

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
    """Do the names of a table's rows mean anything? What is unanimous, against all exchanges of the names.

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
    _, networks, names = table.shape
    if len(families) != networks:
        raise ValueError(f"families = {families!r} must name the family of each of {networks} networks.")
    unanimous = int(sum(np.count_nonzero(_signs(column)) for column in table))

    def p(blocks: Sequence[Hashable]) -> float:
        of_all = functools.reduce(np.convolve, (_chances(column, blocks) for column in table))
        return round(float(of_all[unanimous:].sum()), 12)  # what should be 1 is 1

    columns = len(table) * math.comb(names, 2)
    return Unanimity(columns, unanimous, p(range(networks)), p(families), p([0] * networks))


def _signs(column: np.ndarray) -> tuple[int, ...]:
    """Of each pair of names, over the networks of ``column``: 1 or −1, the sign of all differences; 0 if they do not
    agree."""
    first, second = np.triu_indices(column.shape[1], 1)
    signs = np.sign(column[:, first] - column[:, second]).astype(int)
    return tuple(np.where((signs == signs[0]).all(0), signs[0], 0).tolist())


def _chances(column: np.ndarray, blocks: Sequence[Hashable]) -> np.ndarray:
    """The probabilities of 0, 1, 2 … unanimous pairs, if the names are exchanged in each block on its own."""
    orders = [list(order) for order in itertools.permutations(range(column.shape[1]))]
    insides = [column[[own == block for own in blocks]] for block in dict.fromkeys(blocks)]
    # Of each block, in how many orders the signs come out so; then of all blocks together.
    ways = functools.reduce(_both, (Counter(_signs(inside[:, order]) for order in orders) for inside in insides))
    chances = np.zeros(math.comb(column.shape[1], 2) + 1)
    for signs, times in ways.items():
        chances[np.count_nonzero(signs)] += times / len(orders) ** len(insides)
    return chances


def _both(ways: Counter, more: Counter) -> Counter:
    both: Counter = Counter()
    for (signs, times), (others, again) in itertools.product(ways.items(), more.items()):
        both[tuple(a if a == b else 0 for a, b in zip(signs, others, strict=True))] += times * again
    return both
