"""Every record under results/ says where its numbers come from."""

from pathlib import Path

import pytest

from eamlib import records
from eamlib.bench import BENCHES

RESULTS = Path(__file__).parents[1] / "results"
FILES = sorted(RESULTS.rglob("*.json"))


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
    history = record["history"]
    assert [line["epoch"] for line in history] == list(range(1, configuration["epochs"] + 1))
    assert all(0 <= line["test_accuracy"] <= 100 for line in history)
    name = "{model}-x{width_mult:g}-{conv}-seed{seed}".format(**configuration)
    assert (file.parent.name, file.stem) == (configuration["data"], name)


def test_there_are_records():
    assert FILES
