import io
import json
from urllib.error import HTTPError

import pytest

from eamlib import records


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
