"""Notebooks executed ahead of their pages, two at a time, into the cache that the pages then read."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import ahead
import pytest
from conftest import ROOT
from jupyter_cache import get_cache
from nbformat import write
from nbformat.v4 import new_code_cell, new_notebook
from sphinx.errors import ExtensionError

SOURCES = {"one": "6 * 7", "two": "print(6 + 7)", "wrong": "1 / 0"}


@pytest.fixture
def book(tmp_path):
    """A folder of three notebooks, one of which fails, and as much of a configuration as is looked at."""
    (tmp_path / "notebooks").mkdir()
    for name, source in SOURCES.items():
        cell = new_code_cell(source, metadata={"slideshow": {"slide_type": "slide"}})
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        write(new_notebook(cells=[cell], metadata={"kernelspec": kernel}), tmp_path / "notebooks" / f"{name}.ipynb")
    config = SimpleNamespace(nb_execution_cache_path=str(tmp_path / "executed"), nb_execution_timeout=60)
    return SimpleNamespace(srcdir=tmp_path), config


def built(book):
    """A build's part in it, in a process of its own, as a build is: the clients of kernels leave event loops behind."""
    srcdir, config = book[0].srcdir, vars(book[1])
    book_of = f"SimpleNamespace(srcdir={str(srcdir)!r}), SimpleNamespace(**{config!r})"
    program = (
        "from types import SimpleNamespace\nimport ahead, eambook\n"
        f"eambook.silence_kernels()\nahead.execute_ahead({book_of})"
    )
    environment = os.environ | {"JOBS": "2", "PYTHONPATH": str(ROOT / "book" / "_ext")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert "WARNING" not in done.stderr
    records = get_cache(config["nb_execution_cache_path"]).list_cache_records()
    return {Path(record.uri).name: record.pk for record in records}


def test_what_succeeds_is_cached_once_and_found_without_its_slides(book):
    kept = built(book)
    assert kept.keys() == {"one.ipynb", "two.ipynb"}
    asked = ahead.read(book[0].srcdir / "notebooks" / "one.ipynb", book[0].srcdir)
    _, notebook = get_cache(book[1].nb_execution_cache_path).merge_match_into_notebook(asked)
    assert notebook.cells[0].outputs[0].data["text/plain"] == "42"
    assert built(book) == kept


def test_one_job_leaves_all_to_the_pages(book, monkeypatch):
    monkeypatch.setenv("JOBS", "1")
    ahead.execute_ahead(*book)
    assert not (book[0].srcdir / "executed").exists()


@pytest.mark.parametrize("said", ["two", "0", "-1", ""])
def test_a_wrong_number_of_jobs_is_named(book, monkeypatch, said):
    monkeypatch.setenv("JOBS", said)
    with pytest.raises(ExtensionError, match=f"JOBS = '{said}' .* integers from 1"):
        ahead.execute_ahead(*book)
