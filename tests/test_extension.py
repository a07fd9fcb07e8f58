"""The book's own Sphinx extension, without Sphinx."""

import json
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import eambook
import pytest
import reference
from conftest import ROOT
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from nbformat.v4 import new_code_cell, new_notebook
from sphinx.errors import ExtensionError

from eamlib.__main__ import main


@pytest.fixture
def app(tmp_path):
    """As much of a Sphinx application as the extension looks at, for a book with a library of one file."""
    (tmp_path / "eamlib").mkdir()
    (tmp_path / "eamlib" / "layers.py").write_text("KERNELS = 4\n")
    (tmp_path / "references.bib").write_text("@article{chen2020, title={T}, url={https://example.org/paper}}\n")
    env = SimpleNamespace(doc2path=lambda docname: docname, note_dependency=lambda path: None)
    config = SimpleNamespace(bibtex_bibfiles=["references.bib"])
    build = tmp_path / "_build"
    places = {"srcdir": tmp_path, "outdir": build / "html", "doctreedir": build / ".doctrees"}
    return SimpleNamespace(**places, env=env, config=config)


def cache_of(app):
    eambook.describe_build(app, app.config)
    return app.config.nb_execution_cache_path


def test_the_same_build_has_the_same_cache(app):
    assert cache_of(app) == cache_of(app)


@pytest.mark.parametrize("file", ["eamlib/layers.py", "eamlib/tiled.c", "results/benchmarks/cpu.json"])
def test_a_change_of_what_pages_read_makes_a_new_cache(app, file):
    before = cache_of(app)
    (app.srcdir / file).parent.mkdir(parents=True, exist_ok=True)
    (app.srcdir / file).write_text("5\n")
    assert cache_of(app) != before


def test_compiled_python_is_not_read(app):
    before = cache_of(app)
    (app.srcdir / "eamlib" / "__pycache__").mkdir()
    (app.srcdir / "eamlib" / "__pycache__" / "layers.pyc").write_bytes(b"5")
    assert cache_of(app) == before


def test_a_change_of_the_budget_makes_a_new_cache(app, monkeypatch):
    monkeypatch.setenv("EAMLIB_BUDGET", "smoke")
    before = cache_of(app)
    monkeypatch.setenv("EAMLIB_BUDGET", "laptop")
    assert cache_of(app) != before


def test_the_versions_of_all_that_chapters_import_are_noted():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["notebooks"]
    assert {re.match(r"[\w-]+", requirement)[0] for requirement in wanted} == set(eambook.PACKAGES)


def test_outdated_caches_are_removed(app):
    outdated = app.srcdir / "_build" / "executed" / "0123"
    outdated.mkdir(parents=True)
    cache_of(app)
    assert not outdated.exists()


def cut(path, rest):
    path.write_bytes(path.read_bytes()[:rest])


@pytest.mark.parametrize(
    ("spoil", "whole"),
    [
        (lambda cache: None, True),
        (lambda cache: cut(cache / "global.db", 0), False),
        (lambda cache: cut(cache / "global.db", 5000), False),
        (lambda cache: (cache / "global.db").write_bytes(b"no database at all" * 99), False),
        (lambda cache: cut(next(cache.glob("executed/*/base.ipynb")), 20), False),
        (lambda cache: next(cache.glob("executed/*/base.ipynb")).unlink(), False),
        (lambda cache: (cache / "network_costs.json").write_text('{"eam": '), False),
    ],
    ids=["whole", "empty", "cut", "another", "half a notebook", "no notebook", "half the costs"],
)
def test_a_damaged_cache_is_made_anew_and_all_pages_are_read(app, spoil, whole):
    cache = Path(cache_of(app))
    notebook = new_notebook(cells=[new_code_cell("6 * 7")])
    get_cache(cache).cache_notebook_bundle(CacheBundleIn(notebook, "01.ipynb"), check_validity=False)
    pages = app.doctreedir / "environment.pickle"
    pages.parent.mkdir(parents=True)
    pages.touch()
    spoil(cache)
    assert cache_of(app) == str(cache)
    assert cache.exists() == pages.exists() == whole
    get_cache(cache).cache_notebook_bundle(CacheBundleIn(notebook, "01.ipynb"), check_validity=False, overwrite=True)
    assert get_cache(cache).match_cache_notebook(notebook).uri == "01.ipynb"


def cited(app, text, kind="markdown"):
    """A notebook's one cell, as the book reads it."""
    source = [json.dumps({"cells": [{"cell_type": kind, "source": [text]}]})]
    eambook.read_references(app, app.config)
    eambook.add_citations(app, "notebook.ipynb", source)
    return "".join(json.loads(source[0])["cells"][0]["source"])


def test_a_link_to_a_reference_becomes_a_citation(app):
    link = "see [Chen et al., 2020](https://example.org/paper)."
    assert cited(app, link) == "see [Chen et al., 2020](https://example.org/paper) {cite:p}`chen2020`."


@pytest.mark.parametrize("text", ["[another](https://example.org/other)", "![a picture](https://example.org/paper)"])
def test_other_links_stay(app, text):
    assert cited(app, text) == text


def test_code_stays(app):
    code = '"[Chen et al., 2020](https://example.org/paper)"'
    assert cited(app, code, kind="code") == code


def test_widgets_leave_no_state_on_a_page(app, monkeypatch):
    files = {"ipywidgets_state": (None, {"body": "{}"}), "other": ("other.js", {})}
    monkeypatch.setattr(eambook.NbMetadataCollector, "get_js_files", lambda env, docname: files)
    eambook.drop_widget_state(app, "page", "page.html", {}, None)
    assert files.keys() == {"other"}


@pytest.mark.parametrize("command", [(), ("train",), ("reproduce",)])
def test_help_is_what_the_program_prints(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", reference.COLUMNS)
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    assert reference.help_of(main, *command) == capsys.readouterr().out.rstrip()


def test_help_of_no_command_fails_the_build():
    with pytest.raises(ExtensionError, match="there is no command 'walk'"):
        reference.help_of(main, "walk")


def test_the_reference_has_every_command():
    commands = re.search(r"\{([\w,]+)\}", reference.help_of(main))[1].split(",")
    page = (ROOT / "book" / "api" / "command_line.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)\n\n```\{command-help\} (\w+)\n", page, re.MULTILINE) == [(c, c) for c in commands]
