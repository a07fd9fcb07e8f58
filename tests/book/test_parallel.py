"""Notebooks executed two at a time, into the cache that the pages then read."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import parallel
import pytest
import uses
from conftest import ROOT
from jupyter_cache import get_cache
from nbformat import write
from nbformat.v4 import new_code_cell, new_notebook
from sphinx.errors import ExtensionError

SOURCES = {"one": "6 * 7", "two": "print(6 + 7)", "wrong": "1 / 0"}
# A build's part in it, in a process of its own, as a build is: the clients of kernels leave event loops behind.
BUILD = """
import sys
from pathlib import Path
from types import SimpleNamespace

import eambook, parallel, uses

folder = Path(sys.argv[1])
paths = sorted(folder.glob("notebooks/*.ipynb"))
app = SimpleNamespace(notebooks_to_run={path: uses.read(path, folder) for path in paths})
eambook.silence_kernels()
parallel.execute(app, SimpleNamespace(nb_execution_cache_path=str(folder / "executed"), nb_execution_timeout=60))
"""


def test_what_succeeds_is_cached_and_found_without_its_slides(tmp_path):
    (tmp_path / "notebooks").mkdir()
    for name, source in SOURCES.items():
        cell = new_code_cell(source, metadata={"slideshow": {"slide_type": "slide"}})
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        write(new_notebook(cells=[cell], metadata={"kernelspec": kernel}), tmp_path / "notebooks" / f"{name}.ipynb")
    environment = os.environ | {"JOBS": "2", "PYTHONPATH": str(ROOT / "book" / "_ext")}
    command = [sys.executable, "-c", BUILD, tmp_path]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert "WARNING" not in done.stderr
    cache = get_cache(tmp_path / "executed")
    assert {Path(record.uri).name for record in cache.list_cache_records()} == {"one.ipynb", "two.ipynb"}
    _, notebook = cache.merge_match_into_notebook(uses.read(tmp_path / "notebooks" / "one.ipynb", tmp_path))
    assert notebook.cells[0].outputs[0].data["text/plain"] == "42"


@pytest.mark.parametrize("said", ["two", "0", "-1", ""])
def test_a_wrong_number_of_jobs_is_named(monkeypatch, said):
    monkeypatch.setenv("JOBS", said)
    with pytest.raises(ExtensionError, match=f"JOBS = '{said}' .* integers from 1"):
        parallel.execute(SimpleNamespace(), SimpleNamespace())
