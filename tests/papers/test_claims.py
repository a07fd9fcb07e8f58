import pytest

pytest.importorskip("scipy")

from eamlib import records
from eamlib.papers import report
from eamlib.papers.accuracy import TABLES
from eamlib.papers.claims import (
    BETTER,
    CLAIMS,
    CONTRADICTED,
    NOT_RUN,
    OPEN,
    SAME,
    SUPPORTED,
    Claim,
    Pair,
    decide,
    judge,
    overall,
)
from eamlib.papers.statistics import Paired, holm, paired, seeds_needed
from eamlib.papers.units import Plan

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
            record = {"configuration": unit.configuration, "history": [{"test_accuracy": value}]}
            records.write(record | {"device": "a GPU", "commit": None}, unit.path(tmp_path))
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


@pytest.mark.parametrize(
    ("relation", "mean", "p", "p_same", "verdict"),
    [
        (BETTER, 0.4, 0.01, None, SUPPORTED),
        (BETTER, -0.4, 0.01, None, CONTRADICTED),
        (BETTER, 0.4, 0.06, 0.01, OPEN),
        (BETTER, 0.4, None, None, OPEN),
        (SAME, 0.1, 0.5, 0.01, SUPPORTED),
        (SAME, 0.1, 0.01, 0.01, SUPPORTED),  # told from none, and yet smaller than the margin
        (SAME, 0.8, 0.01, 0.9, CONTRADICTED),
        (SAME, 0.1, 0.5, 0.5, OPEN),
        (SAME, 0.1, None, None, OPEN),
    ],
)
def test_a_verdict(relation, mean, p, p_same, verdict):
    assert decide(relation, Paired(3, mean), p, p_same) == verdict
    assert decide(relation, Paired(0), None, None) == NOT_RUN


def test_findings_by_hand(tmp_path):
    accuracy = {"n2": (93.0, 93.1, 93.2), "n4": (93.02, 93.09, 93.2), "n8": (94.0, 94.2, 94.3)}
    findings = judge(built(tmp_path, "channels", accuracy))
    done = [finding for finding in findings if finding.verdict != NOT_RUN]
    assert [(f.claim.name, f.pair.first, f.pair.second) for f in done] == [
        ("channels", "n2", "n4"),
        ("channels", "n8", "n4"),
    ]
    few, many = done
    seeds = [dict(enumerate(accuracy[name])) for name in ("n2", "n4", "n8")]
    differences = [paired(seeds[0], seeds[1]), paired(seeds[2], seeds[1])]
    assert [f.difference.mean for f in done] == pytest.approx([d.mean for d in differences])
    assert [few.p, many.p] == pytest.approx(holm([d.p for d in differences]))
    assert few.p_same < 0.05 < many.p_same and many.p < 0.05
    assert (few.verdict, many.verdict) == (SUPPORTED, CONTRADICTED)
    assert overall(done) == CONTRADICTED and overall([few]) == SUPPORTED
    assert [f.seeds_needed for f in done] == [seeds_needed(0.5, d.sd, alpha=0.025) for d in differences]


def test_the_family_is_every_pair_that_was_run(tmp_path):
    alone = judge(built(tmp_path / "one", "pooling", {"avg": (93.0, 93.2, 93.1), "max": (93.9, 93.8, 93.9)}))
    more = built(tmp_path / "two", "channels", {"n2": (93.0, 93.5), "n4": (93.1, 93.0), "n8": (93.0,)})
    both = judge(built(tmp_path / "three", "pooling", {"avg": (93.0, 93.2, 93.1), "max": (93.9, 93.8, 93.9)}) | more)
    p = [next(f.p for f in findings if f.claim.name == "pooling") for findings in (alone, both)]
    assert p[1] == pytest.approx(2 * p[0])
    single = next(f for f in both if f.pair.first == "n8")
    assert single.difference.n == 1 and single.p is single.seeds_needed is None and single.verdict == OPEN


def test_nothing_run_and_nothing_there():
    findings = judge({})
    assert len(findings) == sum(len(claim.pairs) for claim in CLAIMS)
    assert {finding.verdict for finding in findings} == {NOT_RUN} and overall(findings) == NOT_RUN


def test_pairs_that_a_plan_makes_one_count_once(tmp_path):
    plan = Plan("smoke", "digits", 6, width=0.25)
    tables = built(tmp_path, "baseline", {}, plan)
    assert len(judge(tables, CLAIMS[:1])) == 4  # MobileNetV1, V2, V3-small and V3-large


def test_runs_without_spread_decide_nothing(tmp_path):
    tables = built(tmp_path, "pooling", {"avg": (93.0, 93.2), "max": (94.0, 94.2)})
    [finding] = [f for f in judge(tables) if f.verdict != NOT_RUN]
    assert finding.verdict == OPEN and finding.p is None and finding.p_same is None


def test_a_margin_is_needed():
    claim = Claim("c", "", "", SAME, (Pair("pooling", "max", "avg"),))
    with pytest.raises(ValueError, match="margin = -1 must be"):
        judge({}, [claim], margin=-1)


def test_all_claims_say_what_they_compare():
    assert all(claim.statement.endswith(".") and claim.source and claim.relation in (BETTER, SAME) for claim in CLAIMS)
