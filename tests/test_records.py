import errno
import io
import json
import math
import os
import re
from urllib.error import HTTPError

import pytest
import tiny

from eamlib import records
from eamlib.papers.units import Unit


def test_a_record_comes_back_as_it_was(tmp_path):
    record = {"configuration": {"seed": 0}, **records.provenance("cpu")}
    records.write(record, tmp_path / "run.json")
    assert records.read(tmp_path / "run.json") == record
    assert record["versions"]["torch"] and "thread" in record["device"] and record["date"].endswith("+00:00")
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_list_of_plain_values_takes_a_line(tmp_path):
    record = {"rows": [["a", 1, None], ["b", 0.5, True], []], "one": [1, 2], "text": ["[\n 1,\n 2\n]", "] [ x"]}
    records.write(record, tmp_path / "run.json")
    assert records.read(tmp_path / "run.json") == record
    lines = (tmp_path / "run.json").read_text().splitlines()
    assert lines[1:5] == [' "rows": [', '  ["a", 1, null],', '  ["b", 0.5, true],', "  []"]
    assert ' "one": [1, 2],' in lines


def test_no_record_is_overwritten(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(FileExistsError, match="run.json exists"):
        records.write({"a": 1}, tmp_path / "run.json")
    assert (tmp_path / "run.json").read_text() == "{}"


def test_missing_folders_and_torn_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder of .*nowhere"):
        records.write({}, tmp_path / "nowhere" / "run.json")
    (tmp_path / "torn.json").write_text('{"a": ')
    with pytest.raises(ValueError, match="torn.json is not a record"):
        records.read(tmp_path / "torn.json")


@pytest.mark.parametrize("content", ["[]", "null", "3", '"text"', "\xff", ""])
def test_what_is_no_object_is_named(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=f"{tmp_path}/run.json is not a record: "):
        records.read(tmp_path / "run.json")


UNIT = Unit("mobilenet_v1", "static", 0.25, (), "digits", 6, 0)
WHOLE = tiny.record(UNIT, 60.0, 70.0)


def changed(line, **values):
    return {"history": [old | values if i == line else old for i, old in enumerate(WHOLE["history"])]}


WRONG = {
    "test_accuracy = 150 in epoch 6; allowed is 0 to 100": changed(5, test_accuracy=150),
    "test_accuracy = nan in epoch 6": changed(5, test_accuracy=math.nan),
    "test_accuracy = '70' in epoch 1": changed(0, test_accuracy="70"),
    "test_accuracy = None in epoch 2": changed(1, test_accuracy=None),
    "loss = inf in epoch 2": changed(1, loss=math.inf),
    "seconds = -1 in epoch 1": changed(0, seconds=-1),
    "history has 3 of epochs = 6": {"history": WHOLE["history"][:3]},
    "line 1 of the history is {'epoch': 6": {"history": WHOLE["history"][::-1]},
    "line 1 of the history is None": {"history": [None] * 6},
    "history has 6 of epochs = None": {"configuration": {"model": "mobilenet_v1"}},
    "history = []": {"history": []},
    "device = None": {"device": None},
    "device = ''": {"device": ""},
    "versions = None": {"versions": None},
    "date = 2026": {"date": 2026},
    "configuration = []": {"configuration": []},
}


@pytest.mark.parametrize(("wrong", "change"), WRONG.items(), ids=WRONG)
def test_a_record_of_half_a_run_or_of_impossible_numbers_is_no_record(tmp_path, wrong, change):
    path = UNIT.path(tmp_path)
    path.parent.mkdir()
    path.write_text(json.dumps(WHOLE))
    assert records.read_run(path) == UNIT.record(tmp_path) == WHOLE
    path.write_text(json.dumps({name: value for name, value in (WHOLE | change).items() if value is not None}))
    for read in (lambda: records.read_run(path), lambda: UNIT.record(tmp_path)):
        with pytest.raises(ValueError, match=f"{path} is not a record of a run: {re.escape(wrong)}"):
            read()


def test_a_folder_that_cannot_be_written_to_is_named_before_any_work(tmp_path, monkeypatch):
    def denied(*arguments, **options):
        raise PermissionError(errno.EROFS, "Read-only file system", str(options["dir"]))

    monkeypatch.setattr(records, "TemporaryFile", denied)  # root may write whatever the permissions say
    with pytest.raises(OSError, match=f"Read-only file system: '{tmp_path}'"):
        records.refuse_existing(tmp_path / "run.json")


def test_of_two_that_write_at_once_the_first_one_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "refuse_existing", lambda path: path)  # both looked before either wrote
    for link in (os.link, lambda *_: (_ for _ in ()).throw(PermissionError("no hard links here"))):
        path = tmp_path / f"{link.__name__}.json"
        with monkeypatch.context() as patch:
            patch.setattr(os, "link", link)
            records.write({"of": "the first"}, path)
            with pytest.raises(FileExistsError):
                records.write({"of": "the second"}, path)
        assert records.read(path) == {"of": "the first"}
    assert len(list(tmp_path.iterdir())) == 2


def test_published_records_are_read_here_or_fetched_from_the_repository(monkeypatch, tmp_path):
    monkeypatch.setattr(records, "__file__", str(tmp_path / "eamlib" / "records.py"))
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        if "missing" in url:
            raise HTTPError(url, 404, "Not Found", {}, None)
        return io.BytesIO(json.dumps({"a": 1}).encode())

    monkeypatch.setattr(records, "urlopen", urlopen)
    assert records.published("set/run.json") == records.published("set/run.json") == {"a": 1}
    assert len(asked) == 1, "a record is fetched once"
    assert asked[0].startswith("https://raw.githubusercontent.com/") and asked[0].endswith("/main/results/set/run.json")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "here.json").write_text('{"b": 2}')
    assert records.published("here.json") == {"b": 2} and len(asked) == 1
    with pytest.raises(OSError, match=r"results/missing.json cannot be read: HTTP Error 404: Not Found.* in a clone"):
        records.published("missing.json")
