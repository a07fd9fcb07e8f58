"""The book's own Sphinx extension, without Sphinx."""

import json
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import eambook
import landing
import nbformat
import pytest
import reference
import uses
from conftest import NOTEBOOKS, ROOT
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


def state_of(app):
    """What decides whether all pages are read again."""
    eambook.describe_build(app, app.config)
    return app.config.book_state


def test_the_same_build_has_the_same_cache(app):
    assert cache_of(app) == cache_of(app)
    assert state_of(app) == state_of(app)


@pytest.mark.parametrize("file", ["eamlib/layers.py", "eamlib/tiled.c", "results/benchmarks/cpu.json"])
def test_a_change_of_what_pages_may_read_has_them_read_again(app, file):
    before, cache = state_of(app), cache_of(app)
    (app.srcdir / file).parent.mkdir(parents=True, exist_ok=True)
    (app.srcdir / file).write_text("5\n")
    assert state_of(app) != before
    assert cache_of(app) == cache


@pytest.mark.parametrize("file", ["eamlib/__pycache__/layers.pyc", "eamlib/README.md", "results/README.md"])
def test_what_no_page_reads_changes_nothing(app, file):
    before = state_of(app)
    (app.srcdir / file).parent.mkdir(parents=True, exist_ok=True)
    (app.srcdir / file).write_bytes(b"5")
    assert state_of(app) == before


LIBRARY = {
    "eamlib/__init__.py": "import importlib\nfrom eamlib.layers import conv\n",
    "eamlib/layers.py": "def conv():\n    from eamlib import tiled\n",
    "eamlib/tiled.py": "SOURCE = 'tiled.c'\n",
    "eamlib/tiled.c": "int tiled;\n",
    "eamlib/records.py": "def published(name):\n    return f'results/{name}', 'published.txt'\n",
    "eamlib/published.txt": "0\n",
    "eamlib/weights.py": "from eamlib.records import published\n\nFOLDER = 'weights'\n",
    "eamlib/book/exercises/__init__.py": "from eamlib.book.exercises import ch01, ch02\n",
    "eamlib/book/exercises/ch01.py": "",
    "eamlib/book/exercises/ch02.py": "from eamlib import segmentation\n",
    "eamlib/segmentation.py": "",
    "eamlib/__main__.py": "from eamlib import bench\n",
    "eamlib/bench.py": "",
    "eamlib/README.md": "",
    "results/tables/tricks.json": "{}",
    "results/tables/tricks.md": "",
    "results/digits/run.json": "{}",
    "results/weights/digits/net.safetensors": "",
}
ALWAYS = {"eamlib/__init__.py", "eamlib/layers.py", "eamlib/tiled.py", "eamlib/tiled.c"}


@pytest.fixture
def library(tmp_path):
    for name, text in LIBRARY.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("cells", "more"),
    [
        (["import eamlib"], set()),
        (["%matplotlib inline\nimport torch", "from eamlib.layers import conv"], set()),
        (["import eamlib", "eamlib.segmentation.iou"], {"eamlib/segmentation.py"}),
        (["!python -m eamlib cost"], {"eamlib/__main__.py", "eamlib/bench.py"}),
        (
            ["from eamlib.book.exercises import check", 'check("1.2", ...)'],
            {"eamlib/book/exercises/__init__.py", "eamlib/book/exercises/ch01.py"},
        ),
        (
            ["from eamlib.book.exercises import check", 'check("2.3", ...)'],
            {"eamlib/book/exercises/__init__.py", "eamlib/book/exercises/ch02.py", "eamlib/segmentation.py"},
        ),
        (["from eamlib import records", "data = 'digits'"], {"eamlib/records.py"}),
        (
            ["from eamlib import records", 'records.published("tables/tricks.json")'],
            {"eamlib/records.py", "results/tables/tricks.json"},
        ),
        (
            ["from eamlib import weights"],
            {"eamlib/weights.py", "eamlib/records.py", "results/weights/digits/net.safetensors"},
        ),
        (
            ["from eamlib import layers", 'next((root / "results" / "digits").glob("*"))'],
            {"results/digits/run.json"},
        ),
    ],
)
def test_a_notebook_uses_what_its_code_names_and_what_that_names(library, cells, more):
    found = uses.uses(cells, library)
    library_itself = ALWAYS if any("eamlib" in cell for cell in cells) else set()
    assert found.keys() == library_itself | more
    for file in found:
        (library / file).write_text("\n# another\n")
        assert [name for name, was in uses.uses(cells, library).items() if found.get(name) != was] == [file]
        (library / file).write_text(LIBRARY[file])


def test_a_chapter_uses_its_own_part_of_the_library():
    def used(number):
        notebook = json.loads(next(path for path in NOTEBOOKS if path.name.startswith(number)).read_text("utf-8"))
        return uses.uses(["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"], ROOT)

    of_ten, of_thirteen = used("10"), used("13")
    assert {
        "eamlib/book/exercises/ch10.py",
        "eamlib/models/mobilenet_v1.py",
        "eamlib/functional/tiled.c",
    } <= of_ten.keys()
    assert not any(name.startswith(("results/", "eamlib/bench/", "eamlib/training")) for name in of_ten)
    assert {"eamlib/book/exercises/ch13.py", "eamlib/data/segmentation.py"} <= of_thirteen.keys()
    assert "eamlib/data/segmentation.py" not in of_ten and "eamlib/book/exercises/ch10.py" not in of_thirteen


@pytest.fixture
def book(app, library):
    """A built book of two notebooks, and what a build says of which run."""
    for name, code in {"01_layers": "import eamlib", "02_records": "from eamlib import records"}.items():
        path = library / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(new_notebook(cells=[new_code_cell(code, metadata={"slideshow": {}})]), path)

    def build(caplog):
        eambook.describe_build(app, app.config)
        with caplog.at_level("INFO"):
            eambook.say_what_runs(app, app.config)
        cache = get_cache(app.config.nb_execution_cache_path)
        for path in sorted(library.glob("notebooks/*.ipynb")):
            notebook = uses.read(path, library)
            cache.cache_notebook_bundle(CacheBundleIn(notebook, str(path)), check_validity=False, overwrite=True)
        return caplog.messages[-1]

    return build


def changed(path, text):
    path.write_text(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: None, "0 of 2 notebooks run."),
        (lambda root: changed(root / "eamlib" / "README.md", "new"), "0 of 2 notebooks run."),
        (
            lambda root: changed(root / "eamlib" / "records.py", "# new"),
            "1 of 2 notebooks run: 02_records (changed: eamlib/records.py).",
        ),
        (
            lambda root: changed(root / "eamlib" / "layers.py", "# new"),
            "2 of 2 notebooks run: 01_layers, 02_records (changed: eamlib/layers.py, eamlib/tiled.c, eamlib/tiled.py).",
        ),
        (
            lambda root: nbformat.write(
                new_notebook(cells=[new_code_cell("import eamlib, torch")]), root / "notebooks" / "01_layers.ipynb"
            ),
            "1 of 2 notebooks run: 01_layers (its code changed).",
        ),
        (
            lambda root: nbformat.write(
                new_notebook(cells=[new_code_cell("import eamlib", metadata={"slideshow": {"slide_type": "-"}})]),
                root / "notebooks" / "01_layers.ipynb",
            ),
            "0 of 2 notebooks run.",
        ),
    ],
    ids=["nothing", "a README", "a module of one page", "a module of all", "a page", "its slides"],
)
def test_a_build_says_which_notebooks_run_and_why(book, library, app, caplog, change, said):
    unknown = "not yet run with these versions, this device and this budget"
    assert book(caplog) == f"2 of 2 notebooks run: 01_layers, 02_records ({unknown})."
    change(library)
    assert book(caplog) == said
    assert len(get_cache(app.config.nb_execution_cache_path).list_cache_records()) == 2  # what is out of date is gone
    assert book(caplog) == "0 of 2 notebooks run."


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
    outdated = [app.srcdir / "_build" / folder / "0123" for folder in ("executed", "made")]
    for folder in outdated:
        folder.mkdir(parents=True)
    cache_of(app)
    assert not any(folder.exists() for folder in outdated)


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
        (lambda cache: cut(next(cache.parent.parent.glob("made/*/network_costs.json")), 5), False),
    ],
    ids=["whole", "empty", "cut", "another", "half a notebook", "no notebook", "half the costs"],
)
def test_a_damaged_cache_is_made_anew_and_all_pages_are_read(app, spoil, whole):
    cache, made = Path(cache_of(app)), Path(app.config.book_state)
    made.mkdir(parents=True)
    (made / "network_costs.json").write_text('{"eam": {}}')
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


@pytest.mark.parametrize("index", sorted(ROOT.glob("notebooks/*/index.md")), ids=lambda path: path.parent.name)
def test_a_chapters_card_says_what_its_index_says(index):
    text = index.read_text(encoding="utf-8")
    first, *options, minutes, end = (line for line in landing.card("notebooks/x/index", text) if line)
    title, *_ = text.splitlines()
    assert first == f":::{{grid-item-card}} {title.removeprefix('# ')}"
    assert options[0] == ":link: ../notebooks/x/index" and end == ":::"
    assert any(option.startswith(":img-top: _static/drawings/") for option in options)
    assert options[-1].endswith("?") and all(part in text for part in re.split(r"(?<=[?.]) ", options[-1]))
    rows = [line.split("|")[-2] for line in text.splitlines() if ".ipynb" in line]
    assert minutes == f"*{len(rows)} pages, {sum(map(int, rows))} minutes*"


def test_a_short_question_comes_with_what_it_asks_of():
    paragraph = "A layer has 0.5 M channels. Most are alike, they say. Do they? For whom? It depends. And can they go?"
    assert landing.questions(paragraph) == "Most are alike, they say. Do they? For whom? And can they go?"
    assert landing.questions("What does it cost? Nothing.") == "What does it cost?"
    assert landing.questions("No question.") == ""


@pytest.mark.parametrize(
    ("address", "tags"),
    [(f"https://github.com/{'/'.join(landing.PLACEHOLDER)}/", []), ("https://github.com/me/fork", ["published"])],
)
def test_a_placeholder_is_not_published(address, tags):
    found = []
    landing.tell_whether_published(
        SimpleNamespace(tags=SimpleNamespace(add=found.append)),
        SimpleNamespace(html_theme_options={"repository_url": address}),
    )
    assert found == tags
