"""What a plan's records say, on records made up for the purpose."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from eamlib.book.findings import findings, markdown, save
from eamlib.papers import plans
from eamlib.papers.accuracy import TABLES
from eamlib.papers.records import pack
from eamlib.papers.training_runs import Unit

PLAN = Path(__file__).parents[2] / "results" / "plans" / "attention.json"
OF_ROW = {"static": 42.0, "dynamic-uniform": 42.4, "dynamic": 44.0, "eam-rcr": 44.1, "eam-cgr": 41.0}


def record(unit: Unit, plan: plans.Protocol, accuracy: float, cost: float, **changes) -> dict:
    """Of 1,000 test images, the first ones are known; the mean attention costs ``cost`` points."""
    right = round(10 * accuracy)
    made = {
        "plan": plan.note,
        "images": {"train": 5, "test": 1_000},
        "answers": pack(torch.arange(1_000) < right),
    }
    if unit.recipe["temperature"] is not None:
        made["exchange"] = [
            {
                "attention": attention,
                "recalibrated": again,
                "images": 1_000,
                "right": right - lost,
                "lost": lost,
                "gained": 0,
            }
            for again in (False, True)
            for attention in ("own", "mean", "another", "uniform")
            for lost in [0 if attention == "own" else round(10 * cost)]
        ]
    return tiny.record(unit, right / 10, **made | changes)


@pytest.fixture
def results(tmp_path):
    """Gate, main with three seeds and half an ablation. On CIFAR-100 attention matters, on garments it does not."""
    plan = plans.read(PLAN)
    draws = np.random.default_rng(0)
    for unit in plan.units(("gate",)) + plan.units(("main", "ablation"), seeds=3):
        if unit.data not in ("cifar100", "fashion_mnist") or "slice" in unit.conv:
            continue
        noise = 0.4 * unit.seed + round(draws.normal(0, 0.05), 1)
        path = unit.path(tmp_path)
        path.parent.mkdir(exist_ok=True)
        cost = 2.0 if unit.data == "cifar100" else 0.1
        accuracy = OF_ROW.get(unit.conv, 44.0) + (2.0 if unit.options else 0.0) + noise
        path.write_text(json.dumps(record(unit, plan, accuracy, cost)))
    return tmp_path


def test_the_gate_decides_where_attentions_are_compared(results):
    found = findings(plans.read(PLAN), results)
    gates = {gate["data"]: gate for gate in found["gate"]}
    assert {data: gate["passed"] for data, gate in gates.items()} == {
        "cifar100": True,
        "cifar10": None,
        "tiny_imagenet_100": None,
        "fashion_mnist": False,
    }
    assert gates["cifar100"]["cost"] == pytest.approx(2) and gates["fashion_mnist"]["cost"] == pytest.approx(0.1)
    assert gates["cifar100"]["own"] - gates["cifar100"]["mean recalibrated"] == pytest.approx(2)


def test_the_contrasts_are_paired_by_seed(results):
    found = findings(plans.read(PLAN), results)
    of_main = {c["label"]: c for c in found["contrasts"] if c["data"] == "CIFAR-100"}
    assert [c["n"] for c in of_main.values()] == [3, 3, 3, 3]
    assert of_main["DyNet – static"]["mean"] == pytest.approx(2, abs=0.15)
    assert of_main["DyNet – static"]["verdict"] == "settled" and of_main["CGR – DyNet"]["mean"] < -2.5
    # The seeds' own share, 0.4 points from one to the next, is no part of the spread.
    assert of_main["DyNet – static"]["sd"] < 0.2
    assert of_main["RCR – DyNet"]["printed"] == 0.31 and of_main["DyNet – static"]["printed"] is None
    # Of CIFAR-10 there is no run, so that nothing is tested.
    assert {c["verdict"] for c in found["contrasts"] if c["data"] == "CIFAR-10"} == {"not tested"}


def test_one_pair_of_runs_has_no_probability(results):
    plan = plans.read(PLAN)
    for unit in plan.units(("main",), seeds=3):
        if unit.seed:
            unit.path(results).unlink()
    lines = [[cell.strip() for cell in line.split("|")] for line in markdown(findings(plan, results)).splitlines()]
    [line] = [line for line in lines if line[1:3] == ["DyNet – static", "CIFAR-100"]]
    assert line[3:5] == ["not tested", "1"] and line[6:-1] == ["–"] * 5
    [gate] = [line for line in lines if line[1:2] == ["CIFAR-100"] and line[3:4] == ["1 of 2"]]
    assert gate[2] == "open"


def test_attentions_are_not_compared_where_the_gate_was_not_passed(results):
    plan = plans.read(PLAN)
    for unit in plan.units(("gate",)):
        if unit.data == "cifar100":
            changed = record(unit, plan, 44.0, cost=0.2)
            unit.path(results).write_text(json.dumps(changed))
    of_main = {c["label"]: c["verdict"] for c in findings(plan, results)["contrasts"] if c["data"] == "CIFAR-100"}
    assert of_main["RCR – DyNet"] == of_main["CGR – DyNet"] == "not tested" != of_main["DyNet – static"]


def test_the_ablation_is_judged_together(results):
    [ablation] = findings(plans.read(PLAN), results)["ablation"]
    assert ablation["control"] == "eam-rcr" and set(ablation["rows"]) == {"n2", "n8", "p1", "p3", "p7", "max", "stride"}
    assert ablation["rows"]["n2"]["mean"] == pytest.approx(1.9, abs=0.25) and ablation["f"]["p"] < 0.05


def test_rows_err_alike(results):
    alike = {(a["first"], a["second"]): a["rho"] for a in findings(plans.read(PLAN), results)["alike"]}
    assert len(alike) == 10 and alike["dynamic", "eam-rcr"] > 0.98 > alike["static", "dynamic"]


def test_only_records_of_this_plan_count(results):
    plan = plans.read(PLAN)
    [unit, *_] = plan.units(("main",))
    path = unit.path(results)
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in whole.items() if name != "plan"}))
    done = {part["part"]: part for part in findings(plan, results)["done"]}
    assert done["main"]["done"] == 14 and done["main"]["least"] == 30


def test_answers_that_do_not_fit_are_named(results):
    plan = plans.read(PLAN)
    path = plan.units(("main",))[0].path(results)
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"history": tiny.record(plan.units(("main",))[0], 99.0)["history"]}))
    with pytest.raises(
        ValueError, match=f"{path.name}: answers hold .* right of 1000 images, and the last test accuracy"
    ):
        findings(plan, results)


def test_the_report_is_written(results):
    pytest.importorskip("matplotlib")
    found = findings(plans.read(PLAN), results)
    path = save(found, results / "report")
    text = path.read_text()
    assert "| Fashion-MNIST" in text and "not testable here" in text and "not run yet" in text
    assert json.loads(path.with_name("report.json").read_text()) == json.loads(json.dumps(found))
    for name in ("forest.svg", "grid.svg"):
        assert path.with_name(name).read_text().startswith("<?xml")
    once = path.with_name("forest.svg").read_bytes()
    save(found, results / "report")
    assert path.with_name("forest.svg").read_bytes() == once


def test_without_a_record_everything_is_still_to_come(tmp_path):
    found = findings(plans.read(PLAN), tmp_path)
    assert all(contrast["verdict"] == "not tested" for contrast in found["contrasts"]) and not found["ablation"]
    assert "0 of 30" in markdown(found)


def last_accuracies(row):
    """Of the records themselves, by seed."""
    conv = TABLES["attention"].row(row).conv
    files = sorted((PLAN.parents[1] / "cifar100").glob(f"mobilenet_v1-x0.25-{conv}-e20-seed*.json"))
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return {run["configuration"]["seed"]: run["history"][-1]["test_accuracy"] for run in found}


def test_the_report_that_chapter_11_reads_is_that_of_the_raw_records():
    """Means, words and gate, without the library's own way to them."""
    report = json.loads((PLAN.parent / "attention-report" / "report.json").read_text(encoding="utf-8"))
    of_set = {c["label"]: c for c in report["contrasts"] if c["data"] == "CIFAR-100"}
    gate = next(gate for gate in report["gate"] if gate["data"] == "cifar100")
    costs = []
    for seed in range(2):
        path = PLAN.parents[1] / "cifar100" / f"mobilenet_v1-x0.25-dynamic-e20-seed{seed}.json"
        if path.exists():
            tests = json.loads(path.read_text(encoding="utf-8"))["exchange"]
            [mean] = [one for one in tests if one["attention"] == "mean" and one["recalibrated"]]
            costs.append(100 * (mean["lost"] - mean["gained"]) / mean["images"])
    assert gate["seeds"] == len(costs) and gate["cost"] == pytest.approx(np.mean(costs), abs=1e-5)
    assert gate["passed"] == (np.mean(costs) >= 0.5 if len(costs) == 2 else None)
    for contrast in plans.read(PLAN).contrasts:
        first, second = last_accuracies(contrast.first), last_accuracies(contrast.second)
        differences = [first[seed] - second[seed] for seed in first.keys() & second.keys()]
        ours = of_set[contrast.name]
        assert ours["n"] == len(differences)
        assert ours["mean"] == (pytest.approx(np.mean(differences), abs=1e-5) if differences else None)
        if len(differences) < 3 or (contrast.of_attentions and gate["passed"] is not True):
            assert ours["verdict"] == "not tested"
        else:
            assert (ours["verdict"] == "settled") == (min(ours["p_adjusted"], ours["p_same_adjusted"]) < 0.05)
