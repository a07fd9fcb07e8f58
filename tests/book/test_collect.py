"""A class's downloads, sorted: whose they are, which is the newest, what is refused, and that nothing is lost."""

import json
import os

import collect
import pytest
from collect import NAMES, STUDENT

NAME = next(name for name in NAMES if name.startswith("02_4"))


def download(file, text="an answer", student=None, marked=True, date=1_000):
    """A notebook as a student's browser leaves it."""
    asks = [{"cell_type": "code", "metadata": {}, "source": [f"{STUDENT}{student or '…'!r}  # here"]}]
    answer = {"cell_type": "code", "metadata": {"nbgrader": {}} if marked else {}, "source": [text], "outputs": []}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"cells": [*asks, answer], "nbformat": 4, "nbformat_minor": 0}), encoding="utf-8")
    os.utime(file, (date, date))
    return file


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "downloads").mkdir()
    return tmp_path / "downloads"


def submitted(folder):
    """What lies in `submitted`, by path, as its answer."""
    root = folder.with_name("submitted")
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): json.loads(path.read_text())["cells"][-1]["source"][0] for path in files}


def sort(folder):
    return collect.collect(folder, folder.with_name("submitted"))


@pytest.mark.parametrize(
    "name", [f"{NAME}.ipynb", f"{NAME} (1).ipynb", f"{NAME}(2).ipynb", f"Copy of {NAME}.ipynb", f"{NAME}-2.ipynb"]
)
def test_a_notebook_is_known_by_the_name_within_its_files(folder, name):
    download(folder / "Ada Lovelace" / "week 2" / name)
    assert sort(folder)[1] == []
    assert submitted(folder) == {f"Ada_Lovelace/ch02/{NAME}.ipynb": "an answer"}


def test_the_cell_says_whose_it_is_where_no_folder_does(folder):
    download(folder / f"{NAME}.ipynb", student="s1234567")
    download(folder / "Emmy" / f"{NAME}.ipynb", student="s7654321")
    assert sort(folder)[1] == []
    assert sorted(submitted(folder)) == [f"Emmy/ch02/{NAME}.ipynb", f"s1234567/ch02/{NAME}.ipynb"]


def test_the_newest_is_taken_and_said(folder):
    download(folder / "Ada" / f"{NAME}.ipynb", "older", date=1_000)
    download(folder / "Ada" / f"{NAME} (1).ipynb", "newer", date=2_000)
    download(folder / "Emmy" / f"{NAME} (2).ipynb", "tenth", date=1_000)
    download(folder / "Emmy" / f"{NAME} (10).ipynb", "eleventh", date=1_000)  # of the same date: the browser's number
    lines, _ = sort(folder)
    assert submitted(folder) == {f"Ada/ch02/{NAME}.ipynb": "newer", f"Emmy/ch02/{NAME}.ipynb": "eleventh"}
    assert f"Ada/{NAME}.ipynb: older than Ada/{NAME} (1).ipynb, not taken" in lines


def test_what_was_handed_in_is_never_lost(folder):
    file = download(folder / "Ada" / f"{NAME}.ipynb", "first", date=1_000)
    sort(folder)
    assert "there already" in sort(folder)[0][0]
    download(file, "late copy of an old state", date=500)
    assert "is newer" in sort(folder)[0][0]
    assert submitted(folder) == {f"Ada/ch02/{NAME}.ipynb": "first"}
    for date, text in (2_000, "second"), (3_000, "third"):
        download(file, text, date=date)
        assert "what was there is now" in sort(folder)[0][0]
    place = f"Ada/ch02/{NAME}.ipynb"
    assert submitted(folder) == {place: "third", f"{place}.1": "first", f"{place}.2": "second"}
    assert file.exists()


def test_what_is_refused_is_named_and_the_rest_is_sorted(folder):
    download(folder / "Ada" / f"{NAME}.ipynb")
    download(folder / "Ada" / "homework.ipynb")
    download(folder / "Ada" / f"{NAME}.ipynb.crdownload")
    download(folder / "Ada" / ".ipynb_checkpoints" / f"{NAME}.ipynb")
    download(folder / "Bo" / f"{NAME}.ipynb", marked=False)
    download(folder / f"{NAME}.ipynb")
    download(folder / f"{NAME} (1).ipynb", student="../Ada")
    download(folder / "E N" / f"{NAME}.ipynb")
    download(folder / "E_N" / f"{NAME}.ipynb")
    (folder / "Cy").mkdir()
    (folder / "Cy" / f"{NAME}.ipynb").write_text('{"cells": [')
    (folder / "Cy" / f"{NAME} (1).ipynb").write_text("[]")
    allowed = "allowed are letters, digits, spaces and . _ @ - behind a letter or digit"
    assert dict(line.split(": ", 1) for line in sort(folder)[1]) == {
        "Ada/homework.ipynb": "no notebook of the book by its name",
        f"Ada/{NAME}.ipynb.crdownload": "no notebook of the book by its name",
        f"Bo/{NAME}.ipynb": "no exercise in it has nbgrader's mark: the book's own page, or one without exercises",
        f"{NAME}.ipynb": "no name: it lies in no student's folder, and its cell for the name is empty",
        f"{NAME} (1).ipynb": f"name = '../Ada'; {allowed}",
        f"E_N/{NAME}.ipynb": "name = 'E_N' is 'E N' elsewhere: put what belongs to one student into one folder",
        f"Cy/{NAME}.ipynb": "no whole notebook; download it again",
        f"Cy/{NAME} (1).ipynb": "no whole notebook; download it again",
    }
    assert submitted(folder) == dict.fromkeys([f"Ada/ch02/{NAME}.ipynb", f"E_N/ch02/{NAME}.ipynb"], "an answer")


def test_the_command_says_what_was_refused_and_what_it_takes(folder, capsys):
    download(folder / "Ada" / f"{NAME}.ipynb")
    collect.main([str(folder)])
    assert f"copied to {folder.with_name('submitted')}" in capsys.readouterr().out
    download(folder / "Ada" / "homework.ipynb")
    with pytest.raises(SystemExit, match=r"^Refused, 1 of them:\nAda/homework\.ipynb: no notebook"):
        collect.main([str(folder)])
    with pytest.raises(SystemExit, match=r"nowhere' is no folder"):
        collect.main([str(folder / "nowhere")])
    for arguments in [], [""], ["a", "b"]:
        with pytest.raises(SystemExit, match="^usage: make collect FROM=FOLDER"):
            collect.main(arguments)
