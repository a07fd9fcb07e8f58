"""Every record under results/ says where its numbers come from, and every table there is made of the records."""

import json
from pathlib import Path

import pytest
import tables

from eamlib.bench import BENCHES
from eamlib.book import findings, imitation_records, redundancy_records, report
from eamlib.papers import plans, records
from eamlib.papers.training_runs import Unit
from eamlib.redundancy import STRENGTHS

RESULTS = Path(__file__).parents[2] / "results"
TABLES = sorted(RESULTS.glob("tables/*.json"))
PLANS = sorted(RESULTS.glob("plans/*.json"))
REPORTS = sorted(RESULTS.glob("plans/*/report.json"))
FILES = sorted({*RESULTS.rglob("*.json")} - {*TABLES, *PLANS, *REPORTS, *RESULTS.glob("images/*.json")})


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_record_is_whole(file):
    record = records.read(file)
    assert record["device"] and record["versions"]["torch"] and record["date"]
    assert record["commit"] and not record["commit"].endswith("-dirty")
    configuration = record["configuration"]
    if file.parent.name == "benchmarks":
        bench = configuration["bench"]
        assert file.stem.split("-")[0] == bench
        head = f"{record['device']}, PyTorch {record['versions']['torch']}"
        tables = ("\n".join(["", *BENCHES[bench].lines(result)]) for result in record["results"])
        assert file.with_suffix(".txt").read_text() == "\n".join([head, *tables, ""])
        return
    if file.is_relative_to(RESULTS / "redundancy"):
        name = file.relative_to(RESULTS / "redundancy").with_suffix("").as_posix()
        assert name.removeprefix("tiny_imagenet/") == configuration["network"]
        check_redundancy(redundancy_records.unpacked(record))
        assert file.stat().st_size < 300_000
        return
    if file.is_relative_to(RESULTS / "imitation"):
        assert file.relative_to(RESULTS / "imitation").with_suffix("").as_posix() == configuration["network"]
        check_imitation(redundancy_records.unpacked(record))
        return
    records.read_run(file)
    if "options" in configuration:  # of `reproduce`
        name = Unit.of(configuration).name
    else:  # of `train --json`
        name = "{model}-x{width_mult:g}-{conv}-seed{seed}".format(**configuration)
    assert (file.parent.name, file.stem) == (configuration["data"], name)
    if "plan" in record:
        plan = plans.read(RESULTS / "plans" / f"{record['plan']['name']}.json")
        assert record["plan"] == plan.note  # the plan is as it was when the run began
        assert Unit.of(configuration) in plan.possible
        assert len(records.unpack(record)) == record["images"]["test"]
        assert ("exchange" in record) == (configuration["temperature"] is not None)


def check_imitation(record):
    names = {*imitation_records.IMITATIONS}
    assert {row["attention"] for row in record["exchanged"]} == {"own", "mean", *names}
    assert {row["images"] for row in record["exchanged"]} == {record["configuration"]["count"]}
    assert {row["reads"] for row in record["imitated"]} == names
    # A divergence is never negative.
    assert all(min(row["divergence"], row["constant"]) >= 0 for row in record["imitated"])
    assert all(row["mean_r2"] <= 1 for row in record["baselines"])
    assert len(list(imitation_records.lines(record))) > len(record["exchanged"])


def check_redundancy(record):
    assert record["layers"] and record["kernels"]
    for row in (*record["layers"], *record["kernels"]):
        # Rounded to 4 digits; dead layers have no pairs.
        assert sum(row[name] for name in STRENGTHS) in (pytest.approx(1, abs=3e-4), 0)
    for row in record["layers"]:
        assert 0 <= row["effective_rank"] <= row["channels"] - row["dead"] + 1e-3
        if "view" in row:  # not in the oldest records
            assert 0 <= row["participation_ratio"] <= row["channels"] - row["dead"] + 1e-3
            assert 0 <= row["nearest"] <= 1 and row["held_out_r2"] <= 1
            assert (row["partnered"] > 0) >= (row["strong"] > 0)
    asked = {row["layer"] for row in (*record["premise"], *record["skipped"])}
    assert asked <= {row["layer"] for row in record["kernels"]} and bool(asked) == bool(
        record["configuration"]["channels"]
    )
    assert all(row["mean_r2"] <= 1 for row in record["premise"])
    # It can be shown.
    assert len(list(redundancy_records.lines(record))) > len(record["layers"]) + len(record["kernels"])


@pytest.mark.parametrize("file", REPORTS, ids=lambda file: file.parent.name)
def test_a_report_is_made_of_the_records(file):
    plan = plans.read(RESULTS / "plans" / f"{file.parent.name.removesuffix('-report')}.json")
    found = findings.findings(plan, RESULTS)
    assert json.loads(file.read_text(encoding="utf-8")) == json.loads(json.dumps(found))
    assert file.with_suffix(".md").read_text(encoding="utf-8") == findings.markdown(found)


def test_there_are_records():
    assert FILES


@pytest.mark.parametrize("file", TABLES, ids=lambda file: file.stem)
def test_a_table_is_made_of_the_records(file):
    pytest.importorskip("scipy")
    built = report.rebuild(file, RESULTS)
    remedy = f"{file.stem} is not made of today's rows and records: `make numbers` writes it anew"
    assert built == records.read(file), remedy
    assert report.markdown(built) == file.with_suffix(".md").read_text(encoding="utf-8"), remedy


def test_make_numbers_writes_the_tables(tmp_path):
    pytest.importorskip("scipy")
    for folder in RESULTS.iterdir():
        if folder.name != "tables" and folder.is_dir():
            (tmp_path / folder.name).symlink_to(folder)
    (tmp_path / "tables").mkdir()
    spoilt = tmp_path / "tables" / "tricks-digits-smoke.json"
    right = records.read(RESULTS / "tables" / spoilt.name)
    spoilt.write_text(json.dumps(right | {"rows": []}))
    tables.write(tmp_path)
    assert records.read(spoilt) == right
    assert spoilt.with_suffix(".md").read_text() == (RESULTS / "tables" / "tricks-digits-smoke.md").read_text()


def test_every_table_has_its_source():
    assert {path.stem for path in RESULTS.glob("tables/*.md")} == {path.stem for path in TABLES}
