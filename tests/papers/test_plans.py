import json
import subprocess
from pathlib import Path

import pytest
import tiny

from eamlib.papers import plans
from eamlib.papers.accuracy import TABLES
from eamlib.papers.reproduce import run_unit
from eamlib.papers.training_runs import check, plan

PLANS = sorted((Path(__file__).parents[2] / "results" / "plans").glob("*.json"))
SMALL = {
    "question": "Does it?",
    "parts": [
        {
            "name": "first",
            "purpose": "to try",
            "data": ["digits"],
            "rows": ["attention/static", "attention/dynamic"],
            "epochs": 1,
            "seeds": 1,
            "most": 2,
            "width": None,
        },
        {
            "name": "second",
            "purpose": "to try",
            "data": ["digits"],
            "rows": ["channels/n2", "attention/dynamic"],
            "epochs": 1,
            "seeds": 2,
            "most": 2,
            "width": 0.25,
        },
    ],
    "contrasts": [
        {"name": "one", "table": "attention", "first": "dynamic", "second": "static", "of_attentions": False}
    ],
    "margin": 0.25,
    "gate": 0.5,
    "rules": {"settled": "never"},
}


def written(folder: Path, **changes) -> Path:
    path = folder / "small.json"
    path.write_text(json.dumps(SMALL | changes))
    return path


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_the_plans_of_the_book_can_be_run(path):
    plan = plans.read(path)
    units = plan.units()
    check(units)
    assert len(units) == len(set(units)) and plan.contrasts
    for unit in units:
        plan.refuse_unplanned(unit)


def test_runs_come_in_the_plans_order_each_once(tmp_path):
    plan = plans.read(written(tmp_path))
    assert [unit.name for unit in plan.units()] == [
        "mobilenet_v1-x0.25-static-e1-seed0",
        "mobilenet_v1-x0.25-dynamic-e1-seed0",
        "mobilenet_v1-x0.25-eam-rcr-n2-e1-seed0",
        "mobilenet_v1-x0.25-eam-rcr-n2-e1-seed1",
        "mobilenet_v1-x0.25-dynamic-e1-seed1",
    ]
    assert len(plan.units(("first",))) == 2 and len(plan.units(("first",), seeds=7)) == 4


def test_what_is_not_in_the_plan_is_refused(tmp_path):
    planned = plans.read(written(tmp_path))
    row = TABLES["attention"].row("static")
    planned.refuse_unplanned(plan("smoke", epochs=1, seeds=2).unit(row, 1))  # beyond the least, and yet planned
    for other in (plan("smoke", epochs=1).unit(row, 2), plan("smoke", epochs=2).unit(row, 0)):
        with pytest.raises(ValueError, match=f"digits/{other.name} is not in plan small"):
            planned.refuse_unplanned(other)
        with pytest.raises(ValueError, match=f"digits/{other.name} is not in plan small"):  # before it is trained
            run_unit(other, results=tmp_path, work=tmp_path, plan=planned)


def test_a_run_that_the_plan_does_not_list_is_not_of_it_whatever_its_record_says(tmp_path):
    planned = plans.read(written(tmp_path))
    row, once = TABLES["attention"].row("static"), plan("smoke", epochs=1)
    within, *beyond = [once.unit(row, 1), once.unit(row, 2), plan("smoke", epochs=2).unit(row, 0)]
    for unit in (within, *beyond):  # the first is beyond the least, and yet planned
        unit.path(tmp_path).parent.mkdir(exist_ok=True)
        unit.path(tmp_path).write_text(json.dumps(tiny.record(unit, 50.0, plan=planned.note)))
    assert [unit for unit, _ in planned.records(tmp_path)] == [within]


def test_a_record_belongs_to_the_plan_that_it_names(tmp_path):
    path = written(tmp_path)
    planned = plans.read(path)
    unit, other = planned.units(("first",))
    for of_unit, note in ((unit, planned.note), (other, {"name": "small", "digest": "another"})):
        record = tiny.record(of_unit, 50.0, plan=note)
        of_unit.path(tmp_path).parent.mkdir(exist_ok=True)
        of_unit.path(tmp_path).write_text(json.dumps(record))
    assert [found for found, _ in planned.records(tmp_path)] == [unit]
    assert list(plans.read(written(tmp_path, margin=1.0)).records(tmp_path)) == []  # an edited plan is another


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"margin": 0}, "small.json: margin = 0"),
        ({"gate": "much"}, "gate = 'much'"),
        ({"rules": None}, "is no plan"),
        ({"contrasts": [{"name": "one"}]}, "is no plan"),
        ({"contrasts": [SMALL["contrasts"][0] | {"first": "dinamic"}]}, "row = 'dinamic' is unknown. Did you mean"),
        ({"contrasts": [SMALL["contrasts"][0] | {"table": "none"}]}, "table = 'none' is unknown"),
        ({"parts": [SMALL["parts"][0] | {"rows": ["attention/all"]}]}, "row = 'all' is unknown"),
        ({"parts": [SMALL["parts"][0] | {"rows": ["attentive/static"]}]}, "table = 'attentive' is unknown"),
        ({"parts": [SMALL["parts"][0] | {"data": ["cifar1000"]}]}, "data = 'cifar1000' is unknown"),
        ({"parts": [SMALL["parts"][0] | {"epochs": 0}]}, "epochs = 0"),
        ({"parts": [SMALL["parts"][0] | {"seeds": 3}]}, "most = 2 must be a number of at least 3"),
        ({"parts": [SMALL["parts"][0] | {"colour": "red"}]}, "is no plan: .*colour"),
        ({"parts": [{"name": "first"}]}, "is no plan"),
    ],
)
def test_what_is_no_plan_is_named(changes, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        plans.read(written(tmp_path, **changes))


def test_text_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "torn.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="torn.json is no plan"):
        plans.read(path)
    with pytest.raises(FileNotFoundError, match="none.json. is no file. Plans and records come with the repository"):
        plans.read(tmp_path / "none.json")


def test_a_plan_is_committed_before_its_runs(tmp_path):
    path = written(tmp_path)
    plans.refuse_uncommitted(path)  # outside a checkout there is nothing to ask

    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    with pytest.raises(ValueError, match="small.json is not committed as it is; a plan comes before its runs"):
        plans.refuse_uncommitted(path)
    git("add", ".")
    git("commit", "-m", "plan")
    plans.refuse_uncommitted(path)
    written(tmp_path, margin=1.0)
    with pytest.raises(ValueError, match="not committed as it is"):
        plans.refuse_uncommitted(path)
