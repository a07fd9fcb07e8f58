from pathlib import Path

import numpy as np
import pytest
import tiny

pytest.importorskip("scipy")

from scipy import stats

from eamlib.book import report
from eamlib.book.claims import (
    BETTER,
    BOUNDED,
    CLAIMS,
    MARGIN,
    NOT_TESTED,
    SAME,
    SETTLED,
    Claim,
    Pair,
    conclude,
    judge,
)
from eamlib.book.comparisons import equivalence, improvement, pooled
from eamlib.papers import records
from eamlib.papers.accuracy import TABLES
from eamlib.papers.statistics import Paired, holm, paired
from eamlib.papers.training_runs import Plan

RESULTS = Path(__file__).parents[2] / "results"
PLAN = Plan("full", "cifar10", 200)
RCR_MINUS_DYNET = {
    "cifar10": [-0.38, -0.01, -0.45, -0.13, -0.02, -0.04, -0.15],
    "cifar100": [0.07, 0.34, 0.54, 0.31, -0.27, -0.96, -0.26],
    "imagenet100": [0.43, 0.53, 0.66, 1.74, 0.56, 0.43, 0.25],
}


def built(tmp_path, name, accuracy, plan=PLAN):
    """The report of a table whose rows were run with these accuracies, one a seed."""
    for row, values in accuracy.items():
        for seed, value in enumerate(values):
            unit = plan.unit(TABLES[name].row(row), seed)
            unit.path(tmp_path).parent.mkdir(parents=True, exist_ok=True)
            records.write(tiny.record(unit, value), unit.path(tmp_path))
    return {name: report.build(TABLES[name], plan, tmp_path)}


def test_every_pair_names_two_rows_that_differ_in_one_thing():
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    seen = set()
    for pair in (pair for claim in CLAIMS for pair in claim.pairs):
        first, second = (TABLES[pair.table].row(name) for name in (pair.first, pair.second))
        assert (first.network, first.width_mult) == (second.network, second.width_mult)
        assert (first.conv != second.conv) != (first.options != second.options)
        runs = frozenset((PLAN.unit(first, 0), PLAN.unit(second, 0)))
        assert len(runs) == 2 and runs not in seen, "a comparison is counted once"
        seen.add(runs)


def test_how_many_pairs_are_printed():
    found = {
        claim.name: [sum(p.printed("cifar10") is not None for p in claim.pairs), len(claim.pairs)] for claim in CLAIMS
    }
    assert found == {
        "RCR – DyNet": [7, 7],
        "CGR – DyNet": [7, 7],
        "RCR – static": [3, 7],
        "DyNet – static": [3, 7],
        "CGR – RCR": [7, 7],
        "channels": [2, 2],
        "selection": [5, 5],
        "pooling": [1, 1],
        "output size": [2, 2],
    }


@pytest.mark.parametrize("data", RCR_MINUS_DYNET)
def test_the_printed_differences_by_hand(data):
    assert [pair.printed(data) for pair in CLAIMS[0].pairs] == RCR_MINUS_DYNET[data]


def test_findings_by_hand(tmp_path):
    accuracy = {"n2": (93.0, 93.1, 93.2), "n4": (93.02, 93.09, 93.2), "n8": (94.0, 94.2, 94.3)}
    tables = built(tmp_path, "channels", accuracy)
    done = [finding for finding in judge(tables, testable={"cifar10"}) if finding.difference.n]
    assert [(f.claim.name, f.pair.first, f.pair.second) for f in done] == [
        ("channels", "n2", "n4"),
        ("channels", "n8", "n4"),
    ]
    few, many = done
    seeds = {name: dict(enumerate(accuracy[name])) for name in accuracy}
    spread = pooled([seeds])
    assert spread.df == 4
    differences = [paired(seeds[name], seeds["n4"], spread) for name in ("n2", "n8")]
    assert [vars(f.difference) for f in done] == [pytest.approx(vars(d)) for d in differences]
    assert [f.improvement for f in done] == [improvement(seeds[name], seeds["n4"]) for name in ("n2", "n8")]
    assert [few.p, many.p] == pytest.approx(holm([d.p for d in differences]))
    assert [few.p_same, many.p_same] == pytest.approx(holm([equivalence(d, MARGIN, spread) for d in differences]))
    assert few.p_same < 0.05 < many.p_same and many.p < 0.05
    assert few.verdict == many.verdict == SETTLED, "one is the same, the other is not"
    closed = [finding for finding in judge(tables, testable={"cifar100"}) if finding.difference.n]
    assert [f.verdict for f in closed] == [NOT_TESTED] * 2, "the images of these runs have passed no gate"
    assert [f.p for f in closed] == [f.p for f in done]


def test_tables_of_one_plan_share_their_spread_and_count_a_run_once(tmp_path):
    channels = {"dynamic": (93.3, 93.1, 93.4), "n2": (93.0, 93.5, 93.1), "n4": (93.1, 93.0, 93.2)}
    pooling = {"max": (93.4, 93.1, 93.3)}  # "avg" is "n4", and DyNet is in both tables
    tables = built(tmp_path, "channels", channels) | built(tmp_path, "pooling", pooling)
    found = {f.claim.name: f for f in judge(tables) if f.difference.n > 1}
    runs = {name: dict(enumerate(values)) for name, values in (channels | pooling).items()}
    spread = pooled([runs])
    assert spread.df == 6
    expected = {"channels": ("n2", "n4"), "pooling": ("max", "n4")}
    assert found.keys() == expected.keys()
    for name, (first, second) in expected.items():
        assert found[name].difference.low == pytest.approx(paired(runs[first], runs[second], spread).low)


def test_another_schedule_has_another_spread(tmp_path):
    loud = built(tmp_path / "a", "channels", {"n2": (93.0, 94.5, 92.1), "n4": (93.1, 91.0, 93.2)})
    short = Plan("full", "cifar10", 20)
    quiet = built(tmp_path / "b", "pooling", {"max": (93.0, 93.1, 93.1), "avg": (93.0, 93.0, 93.1)}, short)
    found = {f.claim.name: f.difference for f in judge(loud | quiet) if f.difference.n > 1}
    for name, values in (("channels", (-0.1, 3.5, -1.1)), ("pooling", (0.0, 0.1, 0.0))):
        own = paired(dict(enumerate(values)), dict.fromkeys(range(3), 0.0))
        assert (found[name].low, found[name].high) == pytest.approx((own.low, own.high))


def test_networks_of_other_widths_have_other_seeds(tmp_path):
    """A seed that is good for one width says nothing of another: each has blocks of its own."""
    names = [f"mobilenet_v1-x{width}-{conv}" for width in ("1", "0.5") for conv in ("eam-rcr", "dynamic")]
    values = [(94.0, 93.0, 92.1), (93.9, 92.8, 92.0), (90.0, 91.0, 92.0), (90.1, 90.9, 92.2)]
    tables = built(tmp_path, "baseline", dict(zip(names, values, strict=True)))
    runs = [dict(enumerate(of_row)) for of_row in values]
    spread = pooled([{"a": runs[0], "b": runs[1]}, {"a": runs[2], "b": runs[3]}])
    found = [f.difference for f in judge(tables, CLAIMS[:1]) if f.difference.n]
    assert [d.p for d in found] == pytest.approx([paired(*runs[:2], spread).p, paired(*runs[2:], spread).p])


def test_the_family_is_every_pair_that_was_run(tmp_path):
    short = Plan("full", "cifar10", 20)  # another plan: the spread is the pair's own in both families
    pooling = built(tmp_path / "one", "pooling", {"avg": (93.0, 93.2, 93.1), "max": (93.9, 93.8, 93.9)}, short)
    more = built(tmp_path / "two", "channels", {"n2": (93.0, 93.5), "n4": (93.1, 93.0), "n8": (93.0,)})
    alone, both = judge(pooling), judge(pooling | more)
    p = [next(f.p for f in findings if f.claim.name == "pooling") for findings in (alone, both)]
    assert p[1] == pytest.approx(2 * p[0])
    single = next(f for f in both if f.pair.first == "n8")
    assert single.difference.n == 1 and single.p is None and single.verdict == NOT_TESTED


def test_nothing_run_and_nothing_there():
    findings = judge({})
    assert len(findings) == sum(len(claim.pairs) for claim in CLAIMS)
    assert {finding.verdict for finding in findings} == {NOT_TESTED}


def test_pairs_that_a_plan_makes_one_count_once(tmp_path):
    plan = Plan("smoke", "digits", 6, width=0.25)
    tables = built(tmp_path, "baseline", {}, plan)
    assert len(judge(tables, CLAIMS[:1])) == 4  # MobileNetV1, V2, V3-small and V3-large


def test_runs_without_spread_decide_nothing(tmp_path):
    tables = built(tmp_path, "pooling", {"avg": (93.0, 93.2), "max": (94.0, 94.2)})
    [finding] = [f for f in judge(tables, testable={"cifar10"}) if f.difference.n]
    assert finding.verdict == NOT_TESTED and finding.p is None and finding.p_same is None


def test_a_margin_is_needed():
    claim = Claim("c", "", "", SAME, (Pair("pooling", "max", "avg"),))
    with pytest.raises(ValueError, match="margin = -1 must be"):
        judge({}, [claim], margin=-1)


def test_all_claims_say_what_they_compare():
    assert all(claim.statement.endswith(".") and claim.source and claim.relation in (BETTER, SAME) for claim in CLAIMS)


def difference(n=3, p=0.5):
    return Paired(n, 1.0, 0.1, 0.0, 2.0, p)


@pytest.mark.parametrize(
    ("found", "p", "p_same", "passed", "word"),
    [
        (difference(), 0.049, 1.0, True, SETTLED),  # told from none
        (difference(), 1.0, 0.049, True, SETTLED),  # shown to be smaller than the margin
        (difference(), 0.05, 0.05, True, BOUNDED),
        (difference(), 0.049, 1.0, False, NOT_TESTED),  # the data failed the gate
        (difference(n=2), 0.001, 1.0, True, NOT_TESTED),  # two seeds
        (Paired(1, 1.0), None, None, True, NOT_TESTED),
        (Paired(0), None, None, True, NOT_TESTED),
        (Paired(3, 1.0, 0.0, 1.0, 1.0, None), None, None, True, NOT_TESTED),  # no spread
    ],
)
def test_a_planned_contrast_is_settled_bounded_or_not_tested(found, p, p_same, passed, word):
    assert conclude(found, p, p_same, passed=passed) == word


def test_the_margin_is_less_than_the_papers_headline():
    gains = [Pair("baseline", f"mobilenet_{v}-x1-eam-rcr", f"mobilenet_{v}-x1-dynamic") for v in ("v1", "v2")]
    assert [pair.printed("imagenet100") for pair in gains] == [0.43, 0.56]
    assert MARGIN == 0.25 < 0.43


def test_a_comparison_with_a_static_network_needs_no_gate(tmp_path):
    rows = {"static": (94.0, 93.0, 92.1), "dynamic": (93.9, 92.8, 92.0), "eam-rcr": (94.1, 93.2, 92.0)}
    tables = built(tmp_path, "baseline", {f"mobilenet_v1-x1-{conv}": values for conv, values in rows.items()})
    verdicts = {f.claim.name: f.verdict for f in judge(tables) if f.difference.n}
    assert verdicts == {"RCR – DyNet": NOT_TESTED, "RCR – static": BOUNDED, "DyNet – static": BOUNDED}


def test_the_fifteen_p_values_of_chapter_11_are_those_of_the_records():
    """By SciPy, of the runs' own last accuracies; the pooled ones of a fit by rows and seeds."""
    short = ["channels", "selection", "pooling", "output-size"]
    files = {name: f"{name}-fashion_mnist-laptop-x0.25-e1" for name in short}
    files["baseline"] = "baseline-fashion_mnist-laptop"
    tables = {name: records.read(RESULTS / "tables" / f"{file}.json") for name, file in files.items()}
    found = [f for f in judge(tables) if f.difference.n]
    assert len(found) == 15 and {f.difference.n for f in found} == {3}

    def runs(table, row):
        plan = Plan(**tables[table]["plan"])
        units = [plan.unit(TABLES[table].row(row), seed) for seed in range(3)]
        return [unit.record(RESULTS)["history"][-1]["test_accuracy"] for unit in units]

    for f in found:
        first, second = runs(f.pair.table, f.pair.first), runs(f.pair.table, f.pair.second)
        assert f.difference.mean == pytest.approx(np.mean(first) - np.mean(second), abs=1e-5)
        p = paired(dict(enumerate(first)), dict(enumerate(second))).p
        assert p == pytest.approx(stats.ttest_rel(first, second).pvalue)
        alike = [f.pair.table] if f.pair.table == "baseline" else short
        rows = {tuple(runs(name, row["name"])) for name in alike for row in tables[name]["rows"] if row["accuracy"]}
        x = np.array(sorted(rows))
        left = x - x.mean(0) - x.mean(1, keepdims=True) + x.mean()
        df = 2 * (len(x) - 1)
        t = f.difference.mean / np.sqrt(2 * (left**2).sum() / df / 3)
        assert f.difference.p == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-4)
    assert [f.p for f in found] == pytest.approx(holm([f.difference.p for f in found]))
    assert {f.verdict for f in found if "static" not in f.claim.name} == {NOT_TESTED}
