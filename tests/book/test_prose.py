"""The numbers in the prose: what their markers say of them, and that a changed source makes a build fail."""

import json
import shutil
from functools import partial
from pathlib import Path

import markers
import prose
import pytest
import sources
import write_numbers
from conftest import ROOT
from markers import strip
from sphinx.testing.util import SphinxTestApp

NAMES = {"nine": 9, "half": 0.5, "gain": -1.27, "many": 12_889_292, "table": lambda row: {"mean": {"a": 2.5}[row]}}
PAGES = write_numbers.pages()


def findings(text, **how):
    return [finding.what for finding in prose.check(text, NAMES, **how)]


@pytest.mark.parametrize(
    "text",
    [
        "0.5<!-- = half:.1f --> points",
        "0.50<!--= half:.2f-->",
        "**0.5**<!-- = half:.1f --> and *0.5*<!-- = half:.1f -->",
        "a gain of −1.27<!-- = gain:.2f -->, or $-1.27$<!-- = gain:.2f --> points",
        "12,889,292<!-- = many:, --> or $12{,}889{,}292$<!-- = many:, -->",
        "$9 \\cdot 1 = 9$<!-- = nine --> and $-1.3\\,\\%$<!-- = gain:.1f -->",
        "$$\na = 9 \\text{ M}.\n$$<!-- = nine -->",
        "nine<!-- = nine --> rows. Nine<!-- = 3 * 3 --> rows",
        '| 9<!-- = nine --> | 2.5<!-- = table("a")["mean"]:.1f --> |',
        "near 10<!-- ~ nine:1 --> and 0.6<!-- ~ half: 0.2 -->, eight<!-- ~ nine:1 -->",
        "```python\nx = 9  # of 12,889,292\n```\n<!-- 12,889,292 = many:, -->\n<!-- 9 = nine -->",
        "an ordinary <!-- comment --> and <!-- another: 9 -->",
        "−0.5<!-- = -half:.1f -->, +0.5<!-- = half:+.1f -->, top-9<!-- = nine -->",
    ],
)
def test_a_number_that_is_right(text):
    assert findings(text) == []
    assert prose.substitute(text, NAMES) == text


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("0.6<!-- = half:.1f -->", "0.6 should be 0.5, by half"),
        ("0.5<!-- = half:.2f -->", "0.5 should be 0.50"),
        ("1.27<!-- = gain:.2f -->", "1.27 should be −1.27"),
        ("$12{,}889{,}293$<!-- = many:, -->", "should be 12{,}889{,}292"),
        ("Eight<!-- = nine -->", "Eight should be Nine"),
        ("10.5<!-- ~ nine:1 -->", "10.5 is not within 1 of 9"),
        ("<!-- = nine -->", "no number before"),
        ("word<!-- = nine -->", "no number before"),
        ("9 rows<!-- = nine -->", "no number before"),
        ("8 of 90 <!-- 9 = nine -->", "9 does not stand above"),
        ("9<!-- = -->", "names no source"),
        ("9<!-- = nine", "is not closed"),
        ("9<!-- ~ nine -->", "needs a margin"),
        ("9<!-- = ten -->", "ten is not known. There are: gain, half"),
        ("9<!-- = nine + -->", "is no expression"),
        ("9<!-- = nine:.1q -->", "nine:.1q: "),
        ("9<!-- = table -->", "no number"),
        ("9<!-- = table(3) -->", "KeyError: 3"),
        ("9<!-- = table('a').__class__ -->", "neither arithmetic nor a call of a known function"),
        ("9<!-- = [n for n in table] -->", "neither arithmetic"),
        ("9<!-- = (lambda: 9)() -->", "neither arithmetic"),
        ("9<!-- = nine / 0 -->", "ZeroDivisionError"),
        ("9<!-- = 1e400 -->", "no number"),
    ],
)
def test_a_number_that_is_wrong(text, what):
    [found] = findings(f"one line\n{text}")
    assert what in found
    assert prose.check(f"one line\n{text}", NAMES)[0].line == text.count("\n") + 2


def test_numbers_are_written_in_the_style_in_which_they_stand():
    text = "0.6<!-- = half:.1f -->, −1<!-- = gain:.2f -->, Eight<!-- = nine -->"
    text += ", $1{,}000$<!-- = many:, -->, $1$<!-- = gain:.1f -->"
    new = prose.substitute(text, NAMES)
    assert strip(new) == "0.5, −1.27, Nine, $12{,}889{,}292$, $-1.3$"
    assert findings(new) == []


def test_numbers_that_comments_repeat_are_written_twice():
    text = "$$\n1.5 - 0.25 = 1.25\n$$\n<!-- 1.5 = nine:.2f -->\n<!-- 0.25 = half:.1f -->\n<!-- 1.25 = gain:.2f -->"
    new = prose.substitute(text, NAMES)
    assert strip(new).strip() == "$$\n9.00 - 0.5 = -1.27\n$$"
    assert findings(new) == []


def test_what_is_only_near_is_never_written():
    assert prose.substitute("12<!-- ~ nine:1 -->", NAMES) == "12<!-- ~ nine:1 -->"


def test_markers_are_stripped_and_other_comments_stay():
    assert strip("9<!-- = nine --> of <!-- what? --> 10<!-- ~ nine:1 -->.") == "9 of <!-- what? --> 10."


def test_a_number_of_a_paper_or_a_record_has_its_mark():
    text = '93.99<!-- = paper("baseline", "mobilenet_v1-x1-dynamic", "cifar10"):.2f --> %'
    recorded = '1.27<!-- = -row("tricks-fashion_mnist-laptop", "augment")["difference"]["mean"]:.2f -->'
    for number, mark in ((text, "*(paper)*"), (recorded, "*(recorded run)*")):
        [found] = prose.check(number, sources.NAMES, marks=True)
        assert "lacks its mark" in found.what
        assert prose.check(f"{number} {mark}", sources.NAMES, marks=True) == []


def test_there_are_numbers():
    """Which the build holds to their sources."""
    found = [m for page in PAGES for text in prose.texts(page).values() for m in markers.find(text)]
    assert len(found) > 200 and sum(marker.of_output for marker in found) > 50


# ---- what a cell has printed


def notebook(*cells):
    return {"cells": [{"metadata": {}, **cell} for cell in cells], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def ran(tmp_path):
    """A notebook of one cell and the folder of those that ran, in which a table and a line are its outputs."""
    code = {"cell_type": "code", "id": "ch99-02", "source": ["print(1)"], "execution_count": 1}
    rows = "<tr><th>static</th><td>1,234</td><td>-0.50</td></tr><tr><th>static, wide</th><td>7e-03</td></tr>"
    data = {"text/html": [f"<table>{rows}</table>"], "text/plain": ["<Styler>"]}
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["12 of 26 layers\n", "no number\n"]},
        {"output_type": "display_data", "metadata": {}, "data": data},
    ]
    text = {"cell_type": "markdown", "id": "ch99-01", "source": ["Twelve."]}
    file, executed = tmp_path / "99.ipynb", tmp_path / "executed"
    file.write_text(json.dumps(notebook(text, code | {"outputs": []})))
    (executed / "executed" / "0").mkdir(parents=True)
    (executed / "executed" / "0" / "base.ipynb").write_text(json.dumps(notebook(text, code | {"outputs": outputs})))
    return partial(sources.output, file, executed), file


@pytest.mark.parametrize(
    ("where", "number"),
    [
        ((), 12),
        (("", 1), 26),
        (("12 of",), 26),
        (("static",), 1234),
        (("static", -1), -0.5),
        (("static, wide",), 0.007),
    ],
)
def test_a_number_that_a_cell_printed(ran, where, number):
    output, _ = ran
    assert output("ch99-02", *where) == number


def test_what_was_not_printed_is_named(ran):
    output, file = ran
    with pytest.raises(ValueError, match="no code cell ch99-03"):
        output("ch99-03")
    with pytest.raises(ValueError, match="has printed no line 'dynamic'"):
        output("ch99-02", "dynamic")
    file.write_text(file.read_text().replace("print(1)", "print(2)"))
    with pytest.raises(sources.NotRun, match="has not run as it stands"):
        output("ch99-02")


# ---- the build, and `make numbers`


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of one page, whose number comes from a record of its own."""
    results = tmp_path / "results"
    (results / "set").mkdir(parents=True)
    (results / "set" / "net-seed0.json").write_text('{"history": [{"test_accuracy": 91.94}]}')
    page = tmp_path / "index.md"
    page.write_text('# Page\n\nIt reaches 91.9<!-- = accuracy("set/net"):.1f --> % *(recorded run)*.\n')
    (tmp_path / "conf.py").write_text('extensions = ["myst_parser", "prose"]\n')
    monkeypatch.setattr(sources, "RESULTS", results)
    for name in ("record", "accuracy"):
        sources.NAMES[name].cache_clear()
    yield page
    for name in ("record", "accuracy"):
        sources.NAMES[name].cache_clear()


def build(page):
    """What Sphinx complains of, and the page that it makes."""
    shutil.rmtree(page.parent / "_build", ignore_errors=True)
    app = SphinxTestApp(srcdir=page.parent, freshenv=True)
    try:
        app.build()
        return app.warning.getvalue(), (Path(app.outdir) / "index.html").read_text(encoding="utf-8")
    finally:
        app.cleanup()


@pytest.mark.filterwarnings("default::DeprecationWarning", "default::PendingDeprecationWarning")
def test_a_changed_record_makes_the_build_fail_and_make_numbers_mends_it(book, capsys):
    warnings, html = build(book)
    assert warnings == "" and "It reaches 91.9 % " in html and "accuracy" not in html

    record = book.parent / "results" / "set" / "net-seed0.json"
    record.write_text(record.read_text().replace("91.94", "92.04"))
    for name in ("record", "accuracy"):
        sources.NAMES[name].cache_clear()
    warnings, _ = build(book)
    assert "WARNING" in warnings and "line 3: 91.9 should be 92.0" in warnings

    assert write_numbers.main([book]) is None
    assert "1 changed" in capsys.readouterr().out
    warnings, html = build(book)
    assert warnings == "" and "It reaches 92.0 % " in html


def test_nothing_is_written_where_a_marker_cannot_be_evaluated(book, tmp_path):
    before = book.read_text()
    book.write_text(before.replace("91.9<", "0.0<"))
    other = tmp_path / "other.md"
    other.write_text("one\n9<!-- = accuracy('set/none') -->\n")
    complaint = write_numbers.main([book, other])
    assert "other.md, line 2: " in complaint and "no record results/set/none-seed" in complaint
    assert complaint.endswith("Nothing was written.")
    assert "0.0<" in book.read_text()


def test_a_notebook_keeps_its_form(tmp_path):
    original = ROOT / "notebooks" / "09_eam" / "09_2_what_it_saves.ipynb"
    copy = tmp_path / original.name
    copy.write_text(original.read_text(encoding="utf-8").replace("prints 8.98<", "prints 9.98<"), encoding="utf-8")
    assert write_numbers.main([copy]) is None
    assert copy.read_text(encoding="utf-8") == original.read_text(encoding="utf-8")


def test_the_sources_of_numbers_have_a_kind():
    assert set(sources.KINDS.values()) == {"paper", "recorded", "library", "output"}
