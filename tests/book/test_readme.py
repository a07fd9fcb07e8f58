"""What the README and "How to read this book" tell a newcomer to type, does what they say."""

import re
import shlex
import shutil

import matplotlib
import pytest
from conftest import PROJECT, ROOT

from eamlib import __main__, _extras

README = (ROOT / "README.md").read_text(encoding="utf-8")
HOW_TO = (ROOT / "book" / "how_to_read.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line, comments=True)[3:] for line in README.splitlines() if line.startswith("python -m eamlib ")
]
# What takes longer than a test may, with less to do. Of the rest, tests of their own run it.
SMALLER = {"cost": [], "train": ["--epochs", "1", "--width", "0.125", "--batch-size", "256"], "reproduce report": []}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_it_begins_with_the_clone_and_the_two_commands():
    first, *_ = blocks("bash")
    assert [line.split(" #")[0].strip() for line in first.splitlines()] == [
        f"git clone {_extras.ADDRESS} && cd {_extras.ADDRESS.rpartition('/')[2]}",
        "make book",
        "make test",
    ]


def test_a_trained_network_becomes_dynamic():
    pytest.importorskip("timm")
    example, _ = blocks("python")
    names = {}
    exec(example, names)  # it compares the outputs itself
    counted = [names["cost"](names[network]).flops / 1e6 for network in ("static", "dynamic")]
    assert "{:.1f} M and {:.1f} M".format(*counted) in example


def test_the_layer_and_the_network_are_what_it_says():
    _, example = blocks("python")
    names = {}
    exec(example, names)
    assert names["layer"](names["torch"].randn(2, 64, 28, 28)).shape == (2, 128, 28, 28)
    assert f"{names['cost'](names['model']).parameters:,}" in example


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_is_one(command):
    assert __main__._parsed(command).command == command[0]


@pytest.mark.parametrize("name", SMALLER)
def test_a_command_runs(name, tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    command = next(command for command in COMMANDS if " ".join(command).startswith(name))
    (tmp_path / "results").mkdir()
    for folder in (ROOT / "results").iterdir():  # what it writes is not to be written into the repository
        (tmp_path / "results" / folder.name).symlink_to(folder)
    (tmp_path / "results" / "plans").unlink()
    shutil.copytree(ROOT / "results" / "plans", tmp_path / "results" / "plans")
    monkeypatch.chdir(tmp_path)
    with matplotlib.rc_context({"backend": "agg"}):
        assert __main__.main([*command, *SMALLER[name]]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("text", [README, HOW_TO], ids=["README", "how_to_read"])
def test_every_target_of_make_is_one(text):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE))
    assert named >= {"book", "test"} and named <= {*targets}


def test_it_installs_what_its_examples_need():
    assert _extras.installing("all") in README
    extras = PROJECT["project"]["optional-dependencies"].keys()
    [sentence] = re.findall(r"The extras ([^.]+) bring", README)
    assert {*re.findall(r"`(\w+)`", sentence)} <= extras
