import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("scipy")

from scipy import stats

from eamlib.papers.accuracy import TABLES
from eamlib.papers.statistics import (
    Improvement,
    Paired,
    Spread,
    Summary,
    dunnett,
    equivalence,
    heterogeneity,
    holm,
    improvement,
    next_run,
    paired,
    pooled,
    printed_p,
    rows_differ,
    same_images,
    seeds_needed,
    summarize,
    unanimity,
)

# Four seeds of three rows. The F tests of it, whole and without its last b, are statsmodels' (AnovaRM and anova_lm).
TABLE = {
    "a": {0: 71.0, 1: 72.0, 2: 71.5, 3: 70.2},
    "b": {0: 71.2, 1: 72.4, 2: 71.3, 3: 70.9},
    "c": {0: 71.9, 1: 72.5, 2: 72.6, 3: 70.8},
}
WITHOUT_LAST_B = TABLE | {"b": {0: 71.2, 1: 72.4, 2: 71.3}}
IMAGES = {"cifar10": 10_000, "cifar100": 10_000, "imagenet100": 5_000}
# MobileNetV1 in four widths, MobileNetV2, MobileNetV3-small and -large.
FAMILIES = ["V1"] * 4 + ["V2", "V3-small", "V3-large"]


def noise(rows, seeds, generator, sd=1.0):
    return {str(row): dict(enumerate(generator.normal(0, sd, seeds))) for row in range(rows)}


def printed():
    """DyNet, RCR and CGR of the paper's first table, ``[data, network, conv]``."""
    rows = [row for row in TABLES["baseline"].rows if row.printed and row.conv != "static"]
    return [[[row.printed[data] for row in rows[i : i + 3]] for i in range(0, len(rows), 3)] for data in IMAGES]


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


def test_the_variance_of_a_difference_is_in_rho():
    first, second = (np.random.default_rng(seed).random(5000) < 0.8 for seed in (0, 1))
    second[:3000] = first[:3000]
    found = same_images(first, second)
    p = printed_p(100 * first.mean(), 100 * second.mean(), 5000, found.rho)
    error = (first.astype(float) - second).std() / math.sqrt(5000)
    assert p == pytest.approx(2 * stats.norm.sf(abs(found.difference) / 100 / error))
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


def test_a_printed_difference_by_hand():
    # Near 75 % of 10,000 images: √(2 · 0.75 · 0.25 / 10,000) = 0.61 points at ρ = 0, and √(1 − ρ) of it at another.
    error = 100 * math.sqrt(2 * 0.75 * 0.25 / 10_000)
    assert printed_p(75.2, 74.8, 10_000) == pytest.approx(2 * stats.norm.sf(0.4 / error), abs=1e-4)
    assert printed_p(74.8, 75.2, 10_000, rho=0.75) == pytest.approx(2 * stats.norm.sf(2 * 0.4 / error), abs=1e-4)
    assert printed_p(75, 75, 10_000, rho=0.9) == 1


def test_the_more_alike_two_networks_err_the_more_a_difference_says():
    p = [printed_p(76.37, 75.94, 5_000, rho) for rho in np.linspace(0, 0.95, 20)]
    assert p == sorted(p, reverse=True) and p[0] > 0.6 and p[-1] < 0.05


@pytest.mark.parametrize(("rho", "told"), [(0, 0), (0.3, 0), (0.6, 0), (0.7, 2), (0.8, 5), (0.9, 8)])
def test_the_ablations_have_something_to_explain_if_networks_err_alike(rho, told):
    p = []
    for name, data in itertools.product(("channels", "selection", "pooling", "output-size"), IMAGES):
        rows = [row for row in TABLES[name].rows if row.printed and row.conv != "dynamic"]
        p.append(heterogeneity([row.printed[data] for row in rows], IMAGES[data], rho))
    assert len(p) == 12 and sum(value < 0.05 for value in p) == told


def test_heterogeneity_of_two_rows_is_their_difference():
    for rho in (0.0, 0.7):
        two = heterogeneity([75.2, 74.8], 10_000, rho)
        assert two == pytest.approx(printed_p(75.2, 74.8, 10_000, rho), rel=1e-3)


def test_heterogeneity_holds_its_level_where_networks_err_alike():
    generator, rho = np.random.default_rng(0), 0.6
    shared = generator.random((2000, 1, 1500)) < 0.8
    own = generator.random((2000, 3, 1500)) < 0.8
    right = np.where(generator.random((2000, 3, 1500)) < math.sqrt(rho), shared, own)  # correlation ρ of any two
    accuracies = 100 * right.mean(2)
    for assumed, level in ((rho, 0.05), (0.0, 0.0005)):
        alarms = [heterogeneity(list(row), 1500, assumed) < 0.05 for row in accuracies]
        assert np.mean(alarms) == pytest.approx(level, abs=0.015)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: printed_p(0.0, 75, 100), "first = 0.0 must be an accuracy in percent"),
        (lambda: printed_p(75, 100, 100), "second = 100 must be an accuracy in percent"),
        (lambda: printed_p(75, 74, 0), "images = 0 must be"),
        (lambda: printed_p(75, 74, 100, rho=1), "rho = 1 must be"),
        (lambda: heterogeneity([75], 100), r"accuracies = \[75\] must be of two rows"),
        (lambda: heterogeneity([75, 120], 100), "accuracies = 120 must be an accuracy"),
        (lambda: heterogeneity([75, 74], 1.5), "images = 1.5 must be"),
        (lambda: heterogeneity([75, 74], 100, rho=-0.1), "rho = -0.1 must be"),
        (lambda: unanimity([[71.0, 70.0]], ["V1"]), r"figures has shape \[1, 2\]"),
        (lambda: unanimity([[[71.0], [70.0]]], ["V1", "V2"]), r"figures has shape \[1, 2, 1\]"),
        (lambda: unanimity([[[71.0, math.nan]]], ["V1"]), "finite"),
        (lambda: unanimity([[[71.0, 70.0]]], ["V1", "V2"]), r"families = \['V1', 'V2'\] must name .* 1 networks"),
    ],
)
def test_bad_figures_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_the_papers_columns_say_depends_on_what_may_be_exchanged():
    found = unanimity(printed(), FAMILIES)
    assert (found.columns, found.unanimous) == (9, 3)
    assert found.by_cell == pytest.approx(0.00059, abs=5e-6), "0.06 %, if 21 cells were independent"
    assert found.by_family == pytest.approx(0.0362, abs=5e-5), "3.6 %, if four widths of a network are not"
    assert found.by_data == 1, "and nothing, if a data set's networks are not"
    both_v3 = unanimity(printed(), ["V1"] * 4 + ["V2", "V3", "V3"])
    assert both_v3.by_family == pytest.approx(0.0864, abs=5e-5)


def test_unanimity_is_what_counting_all_exchanges_gives():
    figures = np.random.default_rng(3).integers(0, 4, (2, 3, 3)).astype(float)  # with ties
    families = ["a", "b", "a"]

    def unanimous(table):
        signs = [np.sign(table[..., i] - table[..., j]).sum(1) for i, j in ((0, 1), (0, 2), (1, 2))]
        return int((np.abs(signs) == 3).sum())

    orders = [list(order) for order in itertools.permutations(range(3))]
    counts = []
    for chosen in itertools.product(orders, repeat=4):
        table = figures.copy()
        for (data, family), order in zip(itertools.product(range(2), "ab"), chosen, strict=True):
            members = [k for k, own in enumerate(families) if own == family]
            table[data, members] = figures[data][members][:, order]
        counts.append(unanimous(table))
    found = unanimity(figures, families)
    assert found.unanimous == unanimous(figures)
    assert found.by_family == pytest.approx(np.mean([count >= found.unanimous for count in counts]))


def test_two_names_are_a_sign_test():
    found = unanimity([[[71.0, 70.0]] * 7], range(7))
    assert found.by_cell == found.by_family == pytest.approx(stats.binomtest(7, 7).pvalue)
    assert unanimity([[[71.0, 70.0], [70.0, 70.0]]], "ab").unanimous == 0, "a tie is no vote"
