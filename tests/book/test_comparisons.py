import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("scipy")

from scipy import stats

from eamlib.book.comparisons import (
    Improvement,
    dunnett,
    equivalence,
    improvement,
    pooled,
    rows_differ,
    same_images,
)
from eamlib.papers.statistics import Paired, Spread, paired, summarize

# Four seeds of three rows. The F tests of it, whole and without its last b, are statsmodels' (AnovaRM and anova_lm).
TABLE = {
    "a": {0: 71.0, 1: 72.0, 2: 71.5, 3: 70.2},
    "b": {0: 71.2, 1: 72.4, 2: 71.3, 3: 70.9},
    "c": {0: 71.9, 1: 72.5, 2: 72.6, 3: 70.8},
}
WITHOUT_LAST_B = TABLE | {"b": {0: 71.2, 1: 72.4, 2: 71.3}}


def noise(rows, seeds, generator, sd=1.0):
    return {str(row): dict(enumerate(generator.normal(0, sd, seeds))) for row in range(rows)}


def test_equivalence_is_two_one_sided_tests():
    differences = [0.1, -0.2, 0.15, 0.05]
    below = stats.ttest_1samp(differences, -0.5, alternative="greater").pvalue
    above = stats.ttest_1samp(differences, 0.5, alternative="less").pvalue
    assert equivalence(summarize(differences), 0.5) == pytest.approx(max(below, above))
    found = summarize(differences)
    half = stats.t.ppf(0.95, 3) * found.sd / 2
    margin = abs(found.mean) + half  # where the 90 % interval ends
    assert equivalence(found, margin) == pytest.approx(0.05)
    assert equivalence(summarize([-x for x in differences]), 0.5) == equivalence(found, 0.5)
    assert equivalence(summarize([0.9, 1.1, 1.0]), 0.5) > 0.95


def test_equivalence_needs_a_spread():
    assert equivalence(summarize([0.1]), 0.5) is None and equivalence(summarize([0.1, 0.1]), 0.5) is None
    with pytest.raises(ValueError, match="margin = 0 must be"):
        equivalence(summarize([0.1, 0.2]), 0)


def test_a_pooled_spread_by_hand():
    # Differences 0.5, 0.4, 0.5 and 1.0, 0.4, 1.1, −0.2: variances 0.01 / 3 and 0.3492 with 2 and 3 degrees of freedom.
    first = {"a": {0: 71.0, 1: 71.4, 2: 70.9}, "b": {0: 70.5, 1: 71.0, 2: 70.4}}
    second = {"a": {0: 61.0, 1: 60.4, 2: 61.1, 3: 60.3}, "b": {0: 60.0, 1: 60.0, 2: 60.0, 3: 60.5}}
    variances = [np.var([0.5, 0.4, 0.5], ddof=1), np.var([1.0, 0.4, 1.1, -0.2], ddof=1)]
    found = pooled([first, second])
    assert found.df == 5
    assert found.sd**2 == pytest.approx((2 * variances[0] + 3 * variances[1]) / 5)


def test_the_spread_of_two_rows_is_that_of_their_differences():
    pair = {name: TABLE[name] for name in "ab"}
    assert pooled([pair]) == Spread(pytest.approx(paired(TABLE["a"], TABLE["b"]).sd), 3)


def test_the_spread_of_a_table_is_what_rows_and_seeds_leave():
    values = np.array([list(by_seed.values()) for by_seed in TABLE.values()])
    left = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    assert pooled([TABLE]) == Spread(pytest.approx(math.sqrt(2 * (left**2).sum() / 6)), 6)
    assert pooled([WITHOUT_LAST_B]).df == 5
    assert pooled([WITHOUT_LAST_B]).sd == pytest.approx(math.sqrt(2 * 0.384861 / 5), rel=1e-5)


@given(st.floats(-20, 20), st.floats(-20, 20))
def test_a_good_row_and_a_good_seed_leave_the_spread_alone(of_row, of_seed):
    moved = {row: {s: v + of_row * (row == "b") + of_seed * (s == 2) for s, v in TABLE[row].items()} for row in TABLE}
    assert pooled([moved]) == Spread(pytest.approx(pooled([TABLE]).sd), 6)


def test_a_spread_needs_two_rows_that_share_two_seeds():
    alone = {"a": {0: 70.0, 1: 71.0, 2: 72.0}}
    apart = {"a": {0: 70.0, 1: 71.0}, "b": {2: 70.0, 3: 71.0}, "c": {0: 70.0}}
    assert pooled([]) is pooled([{}]) is pooled([alone]) is pooled([alone, apart]) is None
    assert pooled([alone, TABLE]) == pooled([TABLE])


def test_a_common_spread_holds_its_level():
    generator = np.random.default_rng(0)
    tables = [noise(4, 3, generator) for _ in range(2000)]
    alarms = [paired(table["0"], table["1"], pooled([table])).p < 0.05 for table in tables]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.015)


def test_equivalence_by_a_common_spread():
    differences = summarize([0.1, -0.2, 0.15, 0.05])
    error = 0.3 / 2
    expected = stats.t.sf((0.5 - 0.025) / error, 10)
    assert equivalence(differences, 0.5, Spread(0.3, 10)) == pytest.approx(expected)
    assert equivalence(summarize([0.1]), 0.5, Spread(0.3, 10)) is None


def test_an_improvement_is_mann_and_whitneys():
    ours, baseline = {0: 71.0, 1: 71.4, 2: 70.9, 5: 0.0}, {0: 70.5, 1: 71.0, 2: 70.4, 7: 99.0}
    found = improvement(ours, baseline)
    # 71.0 beats two and ties with one, 71.4 beats three, 70.9 two.
    assert (found.n, found.probability) == (3, pytest.approx(7.5 / 9))
    other = improvement(baseline, ours)
    assert (other.probability, other.low, other.high) == pytest.approx(
        (1 - found.probability, 1 - found.high, 1 - found.low)
    )


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=8))
def test_the_interval_of_an_improvement_solves_newcombes_equation(pairs):
    found = improvement(*(dict(enumerate(map(float, row))) for row in zip(*pairs, strict=True)))
    n = len(pairs)
    wins = sum((a > b) + (a == b) / 2 for (a, _), (_, b) in itertools.product(pairs, pairs))
    assert found.probability == pytest.approx(wins / n**2)
    assert 0 <= found.low <= found.probability <= found.high <= 1 and found.high - found.low > 0.1
    for bound in {found.low, found.high} - {0, 1}:
        # Hanley and McNeil's variance, of which Newcombe's fifth is the mean over equal sizes.
        q1, q2 = bound / (2 - bound), 2 * bound**2 / (1 + bound)
        variance = bound * (1 - bound) + (n - 1) * (q1 + q2 - 2 * bound**2)
        reach = stats.t.ppf(0.975, 2 * n - 2) ** 2 * variance / n**2
        assert (found.probability - bound) ** 2 == pytest.approx(reach, abs=1e-8)


def test_an_improvement_of_few_seeds():
    assert improvement({0: 71.0}, {1: 70.0}) == Improvement(0)
    assert improvement({0: 71.0}, {0: 70.0}) == Improvement(1, 1.0)
    always = improvement({0: 71.0, 1: 72.0, 2: 73.0}, {0: 60.0, 1: 61.0, 2: 62.0})
    assert (always.probability, always.high) == (1, 1) and always.low == pytest.approx(0.34, abs=0.01), (
        "three of three are no certainty"
    )
    never = improvement({0: 60.0, 1: 61.0, 2: 62.0}, {0: 71.0, 1: 72.0, 2: 73.0})
    assert (never.probability, never.low) == (0, 0) and never.high == pytest.approx(1 - always.low)


def test_the_interval_of_an_improvement_covers():
    generator = np.random.default_rng(0)
    for n, shift in ((3, 0.0), (5, 1.0), (10, 1.0)):
        true = stats.norm.cdf(shift / math.sqrt(2))
        found = [
            improvement(*(dict(enumerate(generator.normal(mean, 1, n))) for mean in (shift, 0))) for _ in range(300)
        ]
        assert np.mean([interval.low <= true <= interval.high for interval in found]) > 0.94


def test_rows_that_differ_are_statsmodels():
    found = rows_differ(TABLE)
    assert (found.df, found.df_error) == (2, 6)
    assert (found.f, found.p) == (pytest.approx(5.991914, abs=1e-6), pytest.approx(0.037137, abs=1e-6))
    found = rows_differ(WITHOUT_LAST_B)
    assert (found.df, found.df_error) == (2, 5)
    assert (found.f, found.p) == (pytest.approx(8.846084, abs=1e-6), pytest.approx(0.022790, abs=1e-6))


def test_two_rows_differ_as_a_pair_does():
    pair = {name: TABLE[name] for name in "ac"}
    found, differences = rows_differ(pair), paired(TABLE["a"], TABLE["c"])
    assert found.p == pytest.approx(differences.p)
    assert found.f == pytest.approx((differences.mean / differences.sd) ** 2 * 4)


def test_rows_without_a_spread_cannot_be_told_apart():
    assert (
        rows_differ({}) is rows_differ({"a": {0: 71.0, 1: 72.0}}) is rows_differ({"a": {0: 1.0}, "b": {0: 2.0}}) is None
    )
    assert rows_differ({"a": {0: 71.1, 1: 72.2, 2: 73.3}, "b": {0: 70.1, 1: 71.2, 2: 72.3}}) is None


@pytest.mark.parametrize(
    ("rows", "seeds", "t"), [(2, 11, 2.23), (3, 6, 2.57), (6, 5, 2.73), (5, 6, 2.65), (4, 3, 3.10)]
)
def test_dunnetts_limits_are_those_of_the_tables(rows, seeds, t):
    # Two-sided 5 %, as printed since 1964: k = 1, 2, 5, 4 and 3 comparisons, 10, 10, 20, 20 and 6 degrees of freedom.
    table = noise(rows, seeds, np.random.default_rng(0))
    found, error = dunnett(table, "0")["1"], pooled([table]).sd / math.sqrt(seeds)
    assert (found.high - found.low) / 2 / error == pytest.approx(t, abs=0.006)
    # A row that lies exactly so far away has p = 0.05.
    far = table | {"1": {seed: value - found.mean + (found.high - found.low) / 2 for seed, value in table["1"].items()}}
    assert dunnett(far, "0")["1"].p == pytest.approx(0.05, abs=1e-6)


def test_dunnett_with_one_row_is_a_paired_test():
    found = dunnett({name: TABLE[name] for name in "ab"}, "b")["a"]
    expected = paired(TABLE["a"], TABLE["b"])
    assert vars(found) == pytest.approx(vars(expected), rel=1e-4)


def test_dunnett_holds_its_level():
    # By its limit for four rows beside the control and 12 degrees of freedom.
    table = noise(5, 4, np.random.default_rng(1))
    found = dunnett(table, "2")["0"]
    limit = (found.high - found.low) / 2 / (pooled([table]).sd / 2)
    values = np.random.default_rng(0).normal(size=(20_000, 5, 4))
    left = values - values.mean(1, keepdims=True) - values.mean(2, keepdims=True) + values.mean((1, 2), keepdims=True)
    error = np.sqrt(2 * (left**2).sum((1, 2)) / 12) / 2
    means = values.mean(2)
    furthest = np.abs(means[:, 1:] - means[:, :1]).max(1) / error
    assert (furthest > limit).mean() == pytest.approx(0.05, abs=0.005)


def test_dunnett_is_less_strict_than_holm():
    generator = np.random.default_rng(0)
    tables = [noise(5, 4, generator) for _ in range(40)]
    least = [min(found.p for found in dunnett(table, "2").values()) for table in tables]
    strict = [4 * min(paired(table[r], table["2"], pooled([table])).p for r in table if r != "2") for table in tables]
    assert all(p <= q + 1e-4 for p, q in zip(least, strict, strict=True))


def test_dunnett_keeps_seeds_that_all_rows_have():
    found = dunnett(WITHOUT_LAST_B, "a")
    whole = {row: {seed: by_seed[seed] for seed in (0, 1, 2)} for row, by_seed in TABLE.items()}
    assert found == dunnett(whole, "a") and found["c"].n == 3
    assert dunnett({"a": {0: 1.0}, "b": {0: 2.0}}, "a") == {"b": Paired(1, 1.0)}
    assert dunnett({"a": {0: 1.0, 1: 2.0}}, "a") == {}
    with pytest.raises(ValueError, match=r"control = 'd' is unknown\..* Allowed: a, b, c"):
        dunnett(TABLE, "d")


def test_two_networks_on_the_same_images_by_hand():
    first = [True] * 90 + [True] * 5 + [False] * 2 + [False] * 3
    second = [True] * 90 + [False] * 5 + [True] * 2 + [False] * 3
    found = same_images(first, second)
    assert (found.n, found.only_first, found.only_second, found.difference) == (100, 5, 2, 3.0)
    assert found.p == pytest.approx(2 * (1 + 7 + 21) / 128)  # statsmodels' mcnemar, exact
    assert found.rho == pytest.approx((90 * 3 - 5 * 2) / math.sqrt(95 * 5 * 92 * 8))
    centre, half = 3 / 102, 1.959963984540054 * math.sqrt(8 - 9 / 102) / 102
    assert (found.low, found.high) == pytest.approx((100 * (centre - half), 100 * (centre + half)))
    mirrored = same_images(np.array(second), np.array(first))
    assert (mirrored.low, mirrored.high, mirrored.rho) == pytest.approx((-found.high, -found.low, found.rho))


def test_the_interval_on_the_same_images_is_that_of_their_differences():
    first, second = (np.random.default_rng(seed).random(5000) < 0.8 for seed in (0, 1))
    second[:3000] = first[:3000]
    found = same_images(first, second)
    error = (first.astype(float) - second).std() / math.sqrt(5000)
    assert (found.high - found.low) / 2 == pytest.approx(100 * 1.96 * error, rel=1e-3)


def test_networks_that_never_disagree_have_an_interval():
    found = same_images([1, 1, 0, 1], [1, 1, 0, 1])
    assert (found.difference, found.p, found.rho) == (0.0, 1.0, pytest.approx(1.0)) and found.low < 0 < found.high
    assert same_images([1, 1], [1, 0]).rho is None
    assert same_images([1], [0]).high == 100


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1, 2], [1, 0], "first = .* must be a row of booleans"),
        ([1, 0], [[1, 0]], "second = .* must be a row of booleans"),
        ([], [], "first = .* must be a row"),
        ([1, 0], [1, 0, 1], "second has 3 images; allowed are 2"),
    ],
)
def test_answers_are_rows_of_bits(first, second, message):
    with pytest.raises(ValueError, match=message):
        same_images(first, second)
