import errno
import json
import math
import os
import re
import subprocess
from email.message import Message
from types import SimpleNamespace

import published
import pytest
import tiny
from conftest import ROOT

from eamlib import _assets
from eamlib.papers import records
from eamlib.papers.training_runs import Unit


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


def test_installed_in_somebodys_repository_it_does_not_carry_their_commit(monkeypatch, tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    author = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com"]
    subprocess.run(["git", "-C", tmp_path, *author, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    package = tmp_path / ".venv" / "site" / "eamlib"
    package.mkdir(parents=True)
    installed = SimpleNamespace(metadata=Message(), version="1.2.3", read_text={"direct_url.json": None}.get)
    installed.metadata["Project-URL"] = "Repository, https://github.com/some/book"
    monkeypatch.setattr(_assets, "distribution", lambda name: {"eamlib": installed}[name])
    monkeypatch.setattr(records, "__file__", str(package / "papers" / "records.py"))
    assert records.provenance("cpu")["commit"] == "v1.2.3"
    (tmp_path / ".venv" / "site" / ".git").symlink_to(tmp_path / ".git")  # as in our own checkout
    assert records.provenance("cpu")["commit"].removesuffix("-dirty") != "v1.2.3"


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("origin", "ref"),
    [
        (f'{{"url": "https://github.com/some/fork", "vcs_info": {{"vcs": "git", "commit_id": "{COMMIT}"}}}}', COMMIT),
        ('{"url": "file:///some/folder", "dir_info": {}}', "v1.2.3"),
        (None, "v1.2.3"),
    ],
)
def test_an_installed_library_fetches_what_was_published_with_it(origin, ref, monkeypatch, tmp_path):
    urls = Message()
    urls["Project-URL"] = "Repository, https://github.com/some/book"
    urls["Project-URL"] = "Other, https://example.com"
    installed = SimpleNamespace(metadata=urls, version="1.2.3", read_text={"direct_url.json": origin}.get)
    monkeypatch.setattr(_assets, "distribution", lambda name: {"eamlib": installed}[name])
    monkeypatch.setattr(_assets, "__file__", str(tmp_path / "site" / "eamlib" / "_assets.py"))
    monkeypatch.setenv("EAMLIB_DATA", str(tmp_path / "kept"))
    (tmp_path / "site" / "eamlib").mkdir(parents=True)
    (tmp_path / "site" / "eamlib" / "published.txt").write_text("other.json beef\nset/run.json f00d\n")
    asked = []

    def fetch(url, known_hash, path):
        asked.append((url, known_hash, path))
        path.parent.mkdir(parents=True)
        path.write_text('{"a": 1}')

    monkeypatch.setattr(_assets, "fetch", fetch)
    assert records.published("set/run.json") == {"a": 1}
    url = f"https://raw.githubusercontent.com/some/book/{ref}/results/set/run.json"
    assert asked == [(url, "f00d", tmp_path / "kept" / "published" / ref / "set" / "run.json")]
    with pytest.raises(FileNotFoundError, match="'missing.json' does not come with this eamlib"):
        records.published("missing.json")
    assert len(asked) == 1


def test_a_checkout_reads_its_own_records(monkeypatch, tmp_path):
    monkeypatch.setattr(_assets, "__file__", str(tmp_path / "eamlib" / "_assets.py"))
    monkeypatch.setattr(_assets, "fetch", lambda *_: pytest.fail("it is there"))
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "here.json").write_text('{"b": 2}')
    assert records.published("here.json") == {"b": 2}


def test_the_list_of_what_is_published_is_that_of_the_results():
    """Else an installed library could not fetch it: `make numbers` writes the list."""
    assert published.LIST.read_text(encoding="utf-8") == published.listed(ROOT / "results")
    assert {"images/cifar100-test-2000.webp", "redundancy/efficientnet_lite0.json"} <= _assets.published_hashes().keys()


def test_pages_and_pictures_are_not_fetched(tmp_path):
    for name in ("z.json", "a/b.txt", "README.md", "a/plot.svg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert published.listed(tmp_path) == f"a/b.txt {empty}\nz.json {empty}\n"
