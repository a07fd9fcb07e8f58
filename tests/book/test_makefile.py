"""The environment of `make`: made once, renewed in place for other packages, and made anew where it is not whole.

Python and pip are stand-ins that write down what they are asked.
"""

import os
import shutil
import subprocess

import pytest
from conftest import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")

PYTHON = """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 0
echo venv >> asked
mkdir -p .venv/bin
cp python .venv/bin/python
cp pip .venv/bin/pip
"""
PIP = """#!/bin/sh
echo "pip $3 $4" >> asked
[ ! -e broken ]
"""


@pytest.fixture
def book(tmp_path):
    folder = tmp_path / "a book"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    for name, text in {"requirements.txt": "torch>=2\n", "pyproject.toml": "", "python": PYTHON, "pip": PIP}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def asked(book, target=".venv/book"):
    """What making the environment does, and whether it succeeds."""
    (book / "asked").unlink(missing_ok=True)
    done = subprocess.run(["make", "PYTHON=./python", target], cwd=book, capture_output=True, text=True)
    listed = (book / "asked").read_text().splitlines() if (book / "asked").exists() else []
    return listed, done.returncode == 0


BOOK, DEV = "pip -r requirements.txt", "pip -e .[dev]"


@pytest.fixture
def made(book):
    assert asked(book) == (["venv", BOOK], True)
    return book


def test_the_environment_is_made_once_and_a_files_date_changes_nothing(made):
    assert asked(made) == ([], True)
    for name in "requirements.txt", "pyproject.toml":
        os.utime(made / name, (2e9, 2e9))
    assert asked(made) == ([], True)


def test_what_tests_need_is_added_once(made):
    assert asked(made, ".venv/dev") == ([DEV], True)
    assert asked(made, ".venv/dev") == ([], True)


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml"])
def test_other_requirements_are_installed_into_the_environment(made, name):
    assert asked(made, ".venv/dev") == ([DEV], True)
    (made / name).write_text("torch>=3\n")
    assert asked(made, ".venv/dev") == ([BOOK, DEV], True)
    assert asked(made, ".venv/dev") == ([], True)


@pytest.mark.parametrize("target", [".venv/book", ".venv/dev"])
def test_an_environment_that_was_left_half_renewed_is_made_anew(made, target):
    (made / "pyproject.toml").write_text("torch>=3\n")
    (made / "broken").touch()
    assert asked(made, target) == ([BOOK], False)
    (made / "broken").unlink()
    assert asked(made) == (["venv", BOOK], True)


def test_an_environment_that_was_moved_or_lost_its_interpreter_is_made_anew(made):
    moved = made.rename(made.with_name("elsewhere"))
    assert asked(moved) == (["venv", BOOK], True)
    (moved / ".venv" / "bin" / "python").unlink()
    assert asked(moved) == (["venv", BOOK], True)
