import json
import re

import pytest
import tiny

pytest.importorskip("scipy")

from eamlib.book import report
from eamlib.papers import records
from eamlib.papers.accuracy import TABLES
from eamlib.papers.training_runs import Plan

PLAN = Plan("full", "cifar10", 200)
POOLING = TABLES["pooling"]
ACCURACY = {"dynamic": (94.0, 94.2, 94.1), "avg": (93.6, 93.9, 93.9), "max": (93.0,)}
PLACE = {"device": "a GPU", "commit": "0123456789ab"}


def write(results, plan=PLAN, table=POOLING, accuracy=ACCURACY):
    for name, values in accuracy.items():
        for seed, value in enumerate(values):
            unit = plan.unit(table.row(name), seed)
            unit.path(results).parent.mkdir(parents=True, exist_ok=True)
            records.write(tiny.record(unit, value, **PLACE), unit.path(results))


def test_the_table_by_hand(tmp_path):
    write(tmp_path)
    built = report.build(POOLING, PLAN, tmp_path)
    dynamic, average, maximum = built["rows"]
    assert dynamic["ours"]["mean"] == 94.1 and dynamic["ours"]["sd"] == 0.1 and dynamic["difference"] is None
    assert average["accuracy"] == {"0": 93.6, "1": 93.9, "2": 93.9}
    assert average["difference"]["mean"] == pytest.approx(-0.3) and average["difference"]["sd"] == pytest.approx(0.1)
    assert average["seeds_needed"] == 3 and average["records"][1] == "cifar10/mobilenet_v1-x1-eam-rcr-e200-seed1.json"
    assert maximum["difference"]["n"] == 1 and maximum["difference"]["p"] is None and maximum["seeds_needed"] is None
    assert (built["devices"], built["commits"]) == (["a GPU"], ["0123456789ab"])
    cells = [cell.strip() for cell in report.markdown(built).splitlines()[5].split("|")[1:-1]]
    assert cells[:6] == ["2", "EAM, average pooling", "93.80 ± 0.17", "93.61 (−0.38)", "3", "93.37 to 94.23"]
    assert cells[6:11] == ["1", "−0.30", "−0.55 to −0.05", "0.035", "3"]
    cells = [cell.strip() for cell in report.markdown(built).splitlines()[6].split("|")[1:-1]]
    assert cells[2] == "93.00" and cells[4:11] == ["1", "–", "1", "−1.00", "–", "–", "–"]


def test_why_it_differs(tmp_path):
    write(tmp_path)
    dynamic, average, maximum = (row["why"] for row in report.build(POOLING, PLAN, tmp_path)["rows"])
    unknown = "the paper's recipe is not known to us"
    assert dynamic == f"{unknown}; the paper's figure lies within what one more run of ours may give"
    assert average == f"{unknown}; the paper's figure lies within what one more run of ours may give"
    assert maximum == f"{unknown}; 1 of 3 seeds done"
    row, laptop = POOLING.row("avg"), Plan("laptop", "digits", 5, 2, 0.25)
    assert report.why(row, laptop, [90.0, 91.0]) == (
        "other data; width 0.25 for 1; 5 epochs, a full run has 200; no augmentation"
    )
    assert report.why(row, laptop, []) == "not run yet"
    assert "lies outside" in report.why(row, PLAN, [90.0, 90.1, 90.2])


def test_without_records_there_is_a_table_of_the_paper_alone(tmp_path):
    text = report.markdown(report.build(TABLES["fix-dy"], Plan("smoke", "digits", 6), tmp_path))
    assert "not run yet" in text and "not in the text that we hold" in text
    text = report.markdown(report.build(POOLING, Plan("smoke", "digits", 6), tmp_path))
    assert "| 93.61 (−0.38)   | 74.83 (+0.07)    | 76.37 (+0.43)" in text


def test_no_interval_goes_beyond_what_an_accuracy_can_be(tmp_path):
    write(tmp_path, accuracy={"dynamic": (99.0, 97.0), "avg": (1.0, 3.0)})
    built = report.build(POOLING, PLAN, tmp_path)
    assert built["rows"][0]["ours"]["high"] > 100 and built["rows"][1]["ours"]["low"] < 0
    text = report.markdown(built)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[4:6]]
    assert cells[0][5].endswith(" to 100.00") and cells[1][5].startswith("0.00 to ")
    assert cells[1][8].startswith("−100.00 to ") and report.CUT in text
    write(tmp_path / "others")
    assert report.CUT not in report.markdown(report.build(POOLING, PLAN, tmp_path / "others"))


def test_a_narrow_terminal_keeps_the_rows_and_ours_and_names_what_it_lacks(tmp_path):
    write(tmp_path)
    text = report.markdown(report.build(POOLING, PLAN, tmp_path))
    assert report.fitted(text, 1000).splitlines()[2:6] == text.splitlines()[2:6]
    for width in range(80, 300, 20):
        fitted = report.fitted(text, width)
        assert max(map(len, fitted.splitlines())) <= width
        lost = " ".join(fitted.split()).partition("Left out for want of width: ")[2]
        shown = [cell.strip() for cell in fitted.splitlines()[2].split("|")]
        assert {"row", "ours, CIFAR-10"} <= {*shown}
        for name in ("why it differs", "p", "difference"):
            assert (name in shown) != (name in re.split(r"; |\.", lost))


def test_a_table_has_one_precision_and_says_which(tmp_path):
    write(tmp_path)
    bf16 = Plan("full", "cifar10", 200, precision="bf16")
    assert all(not row["accuracy"] for row in report.build(POOLING, bf16, tmp_path)["rows"])
    write(tmp_path, bf16, accuracy={"avg": (93.0,)})
    built = report.build(POOLING, bf16, tmp_path)
    assert [list(row["accuracy"].values()) for row in built["rows"]] == [[], [93.0], []]
    assert "label smoothing 0.1, bf16. Devices" in report.markdown(built)
    assert report.save(built, tmp_path).name == "pooling-cifar10-full-bf16.md"
    assert "bf16" not in report.markdown(report.build(POOLING, PLAN, tmp_path))


def test_the_size_of_the_images_is_that_of_the_data(tmp_path):
    text = report.markdown(report.build(POOLING, Plan("full", "imagenet100", 200), tmp_path))
    assert "ImageNet100 at 224 × 224 pixels" in text and "paper, ImageNet100" in text


def test_a_saved_table_can_be_rebuilt_and_betrays_a_changed_record(tmp_path):
    write(tmp_path)
    path = report.save(report.build(POOLING, PLAN, tmp_path), tmp_path)
    assert path == tmp_path / "tables" / "pooling-cifar10-full.md"
    saved = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    again = report.rebuild(path.with_suffix(".json"), tmp_path)
    assert again == saved and report.markdown(again) == path.read_text(encoding="utf-8")
    record = tmp_path / saved["rows"][0]["records"][0]
    record.write_text(record.read_text().replace("94.0", "94.4"))
    assert report.rebuild(path.with_suffix(".json"), tmp_path) != saved


def test_a_record_of_another_configuration_is_refused_by_name(tmp_path):
    write(tmp_path)
    path = PLAN.unit(POOLING.row("avg"), 0).path(tmp_path)
    path.write_text(path.read_text().replace('"learning_rate": 0.1', '"learning_rate": 0.4'))
    with pytest.raises(ValueError, match=f"{path} records another run: learning_rate = 0.1 here and 0.4 there"):
        report.build(POOLING, PLAN, tmp_path)
