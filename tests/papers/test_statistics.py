import math

import numpy as np
import pytest

pytest.importorskip("scipy")

from scipy import stats

from eamlib.papers.statistics import Paired, Spread, Summary, holm, next_run, paired, seeds_needed, summarize


def test_a_sample_by_hand():
    found = summarize([90.0, 92.0, 94.0])
    half = 4.302652729911275 * 2 / math.sqrt(3)  # Student's t, 2 degrees of freedom, 97.5 %
    assert (found.n, found.mean, found.sd) == (3, 92.0, 2.0)
    assert (found.low, found.high) == pytest.approx((92 - half, 92 + half))
    assert next_run(found) == pytest.approx((92 - half * 2, 92 + half * 2))  # √(1 + 1/3) = 2 / √3


def test_too_few_values_have_no_spread():
    assert summarize([]) == Summary(0)
    assert summarize([91.0]) == Summary(1, 91.0)
    assert next_run(summarize([91.0])) is None


def test_a_paired_difference_is_scipys():
    ours, baseline = {0: 91.0, 1: 92.5, 2: 91.7, 7: 12.0}, {2: 91.1, 1: 91.2, 0: 90.7, 9: 99.0}
    found = paired(ours, baseline)
    theirs = stats.ttest_rel([91.0, 92.5, 91.7], [90.7, 91.2, 91.1])
    assert (found.n, found.p) == (3, pytest.approx(theirs.pvalue))
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert found.mean == pytest.approx((0.3 + 1.3 + 0.6) / 3)
    # t = 0.7333 / (0.5132 / √3) = 2.475; with 2 degrees of freedom p = 1 − t / √(2 + t²)
    t = found.mean / (found.sd / math.sqrt(3))
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t**2))


def test_no_pair_and_no_spread_have_no_p():
    assert paired({0: 91.0}, {1: 91.0}) == Paired(0)
    assert paired({0: 91.0}, {0: 90.0}) == Paired(1, 1.0)
    same = paired({0: 91.1, 1: 92.2, 2: 93.3}, {0: 90.1, 1: 91.2, 2: 92.3})
    assert same.mean == pytest.approx(1.0) and same.p is None


@pytest.mark.parametrize(("difference", "sd", "n"), [(0.5, 0.5, 10), (0.5, 1.0, 34), (1.0, 0.5, 5), (-1.0, 0.5, 5)])
def test_seeds_needed_are_those_of_the_tables(difference, sd, n):
    # Cohen's d of 1, 0.5 and 2: 10, 34 and 5 pairs are what the usual tables of power give at 0.8 and 5 %.
    assert seeds_needed(difference, sd) == n


def test_seeds_needed_against_a_simulation():
    generator = np.random.default_rng(0)
    n = seeds_needed(0.4, 0.5)
    power = [
        (stats.ttest_1samp(generator.normal(0.4, 0.5, (20_000, pairs)), 0, axis=1).pvalue < 0.05).mean()
        for pairs in (n - 1, n)
    ]
    assert power[0] < 0.81 and power[1] > 0.79 and power[0] < power[1]


def test_a_larger_difference_never_takes_more_seeds():
    needed = [seeds_needed(difference, 1.0) for difference in np.geomspace(0.2, 40, 60)]
    assert needed == sorted(needed, reverse=True) and needed[-1] == 2
    # Two pairs: t of 1 degree of freedom, whose noncentral tail is that of a ratio of normals.
    assert (seeds_needed(8.0, 1.0), seeds_needed(12.5, 1.0)) == (3, 2)


def test_a_stricter_level_takes_more_seeds():
    assert seeds_needed(0.5, 0.5, alpha=0.05) == seeds_needed(0.5, 0.5) == 10
    n = seeds_needed(0.5, 0.5, alpha=0.005)
    trials = np.random.default_rng(0).normal(0.5, 0.5, (20_000, n))
    assert (stats.ttest_1samp(trials, 0, axis=1).pvalue < 0.005).mean() == pytest.approx(0.82, abs=0.03)


def test_seeds_that_nobody_trains():
    assert seeds_needed(0.01, 1.0) is None and seeds_needed(0.0, 1.0) is None
    assert seeds_needed(50.0, 1.0) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"sd": 0.0}, "sd = 0.0 must be"), ({"power": 1.0}, "power = 1.0 must be"), ({"alpha": 0}, "alpha = 0 must be")],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        seeds_needed(**{"difference": 1.0, "sd": 1.0} | arguments)


def test_holm_by_hand():
    # 3 · 0.01, 2 · 0.03, 1 · 0.04; the last may not fall below the one before it. A None is not counted.
    assert holm([0.04, None, 0.01, 0.03]) == pytest.approx([0.06, None, 0.03, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([None]) == [None] and holm([]) == []


def test_holm_holds_its_level_where_there_is_nothing_to_find():
    generator = np.random.default_rng(0)
    alarms = [min(holm(list(generator.uniform(size=12)))) < 0.05 for _ in range(4000)]
    assert np.mean(alarms) == pytest.approx(1 - (1 - 0.05 / 12) ** 12, abs=0.012)


def test_a_common_spread_makes_the_interval():
    found = paired({0: 70.9, 1: 71.3, 2: 70.8}, {0: 70.5, 1: 71.0, 2: 70.4}, Spread(0.3, 10))
    half = 2.2281388519649385 * 0.3 / math.sqrt(3)  # Student's t, 10 degrees of freedom, 97.5 %
    assert half == pytest.approx(0.386, abs=5e-4)
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half))
    assert found.sd == pytest.approx(np.std([0.4, 0.3, 0.4], ddof=1)), "its own, not the common one"
    assert found.p == pytest.approx(2 * stats.t.sf(found.mean / (0.3 / math.sqrt(3)), 10))
    same = paired({0: 70.9, 1: 71.3}, {0: 70.5, 1: 70.9}, Spread(0.3, 10))
    assert same.p is not None, "differences that are all alike have the others' spread"
    assert paired({0: 71.0}, {0: 70.0}, Spread(0.3, 10)) == Paired(1, 1.0)
    assert paired({0: 71.0, 1: 71.0}, {0: 70.0, 1: 70.0}, Spread(0.0, 10)).p is None
