"""The book on paper: what `make pdf` joins, prints and writes."""

import io
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import browser as printer
import chromium
import network_costs
import pdf
import pikepdf
import pypdf
import pytest
import torch
from bs4 import BeautifulSoup
from conftest import ROOT
from PIL import Image

import eamlib

QUIZ = (
    '<div class="cell"><div class="cell_input"><pre>quiz("1.1")</pre></div><div class="cell_output">right</div></div>'
)
LONG = "<p>" + "Many words. " * 900 + "</p>"
PAGES = {
    "book/one": f"""
        <section id="one"><h1>One<a class="headerlink" href="#one">#</a></h1>
        <p>To <a href="../notebooks/two.html#summary">a summary</a>, to <a href="#summary">this one</a>,
        <a href="../notebooks/two.html">elsewhere</a>, to <a href="../index.html">the beginning</a>, to
        <a href="../genindex.html">an index</a> and <a href="https://example.org">out</a>.</p>
        <p><a href="https://colab.research.google.com/x">Open in Colab</a></p>{LONG}
        <section id="summary"><h2>Summary of one</h2><p><span class="math">\\(x^2\\)</span></p></section></section>""",
    "notebooks/two": f"""
        <section id="two"><h1>Two</h1>{QUIZ}<details><summary>Solution</summary><p>It folds.</p></details>
        <div class="explorer"><canvas></canvas></div><img src="../_images/a%20dot.png" alt="a dot">
        <table style="width: 3000px"><tr><td>wide</td></tr></table>
        <section id="summary"><h2>Summary of two</h2><p>The end.</p></section></section>""",
}
PARTS = [("First", ["book/one"]), ("Second", ["notebooks/two"])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A built book of two pages, and of MathJax, which it shares with the real one."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "_images").mkdir()
    Image.new("L", (1, 1)).save(folder / "_images" / "a dot.png")
    (folder / "_static").mkdir()
    (folder / "_static" / "pygments.css").write_text("")
    [offline] = find_spec("sphinx-mathjax-offline").submodule_search_locations
    (folder / "_static" / "mathjax").symlink_to(next(Path(offline).rglob("tex-chtml.js")).parent)
    for page, content in PAGES.items():
        (folder / page).parent.mkdir()
        (folder / f"{page}.html").write_text(f"<html><body><article>{content}</article></body></html>")
    return folder


def join(folder):
    cover = '<div class="cover" id="cover"><p class="title">A book</p></div>'
    return pdf.joined(folder, "index", PARTS, folder / "pdf", "A book", cover)


@pytest.fixture(scope="module")
def soup(folder):
    return BeautifulSoup(join(folder), "html.parser")


@pytest.fixture(scope="module")
def chrome():
    with printer.started(pdf.FONTS_ARE_FILES) as driver:
        yield driver


def test_links_of_joined_pages_stay_apart(soup):
    ids = [element["id"] for element in soup.find_all(id=True)]
    assert len(ids) == len(set(ids))
    links = [link["href"] for link in soup.select("article p a")]
    within = ["#notebooks-two--summary", "#book-one--summary", "#notebooks-two", "#cover"]
    assert links == [*within, "https://example.org"]
    assert "an index" in soup.get_text()


def test_a_link_that_leads_nowhere_is_named(folder, tmp_path):
    for page in PAGES:
        (tmp_path / page).parent.mkdir()
        text = (folder / f"{page}.html").read_text().replace('two.html#summary"', 'two.html#the-end"')
        (tmp_path / f"{page}.html").write_text(text)
    with pytest.raises(pdf.Unprintable, match="#notebooks-two--the-end leads nowhere"):
        join(tmp_path)


def test_the_contents_name_parts_chapters_and_sections(soup):
    lines = [line.get_text() for line in soup.select(".contents p")]
    assert lines == ["First", "One", "Summary of one", "Second", "Two", "Summary of two"]


def test_what_is_alive_on_the_page_has_a_form_on_paper(soup):
    assert "Open in Colab" not in soup.get_text()
    assert soup.details.has_attr("open")
    assert "live" in soup.select_one(".explorer").find_previous_sibling("p").get_text()
    assert soup.img["src"] == "../_images/a dot.png"
    assert soup.select_one(".math")["aria-label"] == "x^2"


def test_a_quiz_is_asked_and_not_answered(soup):
    asked = eamlib.book.exercises.QUIZZES["1.1"]
    shown = [question.p.get_text() for question in soup.select(".questions > li")]
    assert shown == [question["question"] for question in asked]
    choices = [choice.get_text() for choice in soup.select(".choices li")]
    assert choices == [answer["answer"] for question in asked for answer in question["answers"]]
    assert not [answer for question in asked for answer in question["answers"] if answer["feedback"] in soup.get_text()]


@chromium.NEEDED
def test_a_printed_book(folder, chrome, tmp_path):
    file = tmp_path / "book.pdf"
    pdf.write(file, pdf.printed(chrome, join(folder), folder / "pdf" / "book.html"), "A book", "Its author")
    with pikepdf.open(file) as opened, opened.open_outline() as outline:
        chapters = {chapter.title: [section.title for section in chapter.children] for chapter in outline.root}
        assert opened.docinfo["/Title"] == "A book"
        assert opened.docinfo["/Author"] == "Its author"
        assert opened.Root.Lang == "en-GB"
        assert opened.Root.MarkInfo.Marked
    assert chapters == {"Contents": [], "One": ["Summary of one"], "Two": ["Summary of two"]}

    pages = [page.extract_text() for page in pypdf.PdfReader(file).pages]
    numbers = pdf.page_numbers(file.read_bytes())
    begins = {"book-one": "One", "book-one--summary": "Summary of one", "notebooks-two": "Two"}
    assert numbers["book-one"] == 3 < numbers["book-one--summary"] < numbers["notebooks-two"] == len(pages)
    contents = re.sub(r"\s+", " ", pages[1])
    for name, title in begins.items():
        assert title in pages[numbers[name] - 1]
        assert f"{title} {numbers[name]}" in contents
        assert re.search(rf"^{numbers[name]}$", pages[numbers[name] - 1], re.MULTILINE)  # its foot
    assert not re.search(r"\\\(", "".join(pages))  # the mathematics is typeset
    assert not list(tmp_path.glob("*.half"))


@chromium.NEEDED
def test_what_is_wider_than_paper_is_named(chrome, tmp_path):
    page = '<body style="margin: 0"><div id="it"><pre style="width: 900px">too wide</pre></div>'
    with pytest.raises(pdf.Unprintable, match="PRE in #it: too wide"):
        pdf.printed(chrome, page, tmp_path / "page.html")


@chromium.NEEDED
def test_a_picture_that_is_missing_is_noticed(chrome, tmp_path):
    with pytest.raises(pdf.Unprintable, match="decode"):
        pdf.printed(chrome, '<img src="nowhere.png">', tmp_path / "page.html")


def test_a_killed_run_leaves_what_was_there(tmp_path, monkeypatch):
    def killed(self, file, **_):
        Path(file).write_bytes(b"%PDF-1.7 half")
        raise KeyboardInterrupt

    file, blank = tmp_path / "book.pdf", io.BytesIO()
    file.write_bytes(b"yesterday's")
    with pikepdf.new() as made:
        made.add_blank_page()
        made.save(blank)
    monkeypatch.setattr(pikepdf.Pdf, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        pdf.write(file, blank.getvalue(), "A book", "Its author")
    assert file.read_bytes() == b"yesterday's"


@pytest.mark.parametrize(
    ("environment", "message"), [({"PATH": ""}, "apt install chromium"), ({"CHROMIUM": "/no/where"}, "/no/where")]
)
def test_without_a_browser_it_says_what_to_install(environment, message):
    script = [sys.executable, ROOT / "book" / "tools" / "browser.py"]
    told = subprocess.run(script, env=os.environ | environment, capture_output=True, text=True)
    assert told.returncode == 1
    assert message in told.stderr
    assert len(told.stderr.splitlines()) == 1


def test_make_asks_for_the_browser_before_any_work():
    command = ["make", "--no-print-directory", "pdf", "CHROMIUM=/no/where", f"PYTHON={sys.executable}"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert told.returncode
    assert "/no/where" in told.stderr
    assert not told.stdout.strip()


# ---- the cheat sheet


@pytest.fixture(scope="module")
def sheet(html):
    return BeautifulSoup((html / "book" / "cheat_sheet.html").read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def rows(sheet):
    cells = [[cell.get_text() for cell in row("td")] for row in sheet.select(".network-costs tbody tr")]
    return {title: numbers for title, *numbers in cells if title}


@pytest.mark.parametrize(
    ("paper", "title", "network", "conv", "classes"),
    [
        (network_costs.DING, "MobileNetV1, EAM", "mobilenet_v1", "eam-rcr", 100),
        (network_costs.ZHANG, "Dy-mobile", "dy_mobile", "static", 1000),
    ],
)
def test_the_sheet_has_the_numbers_of_the_library(sheet, paper, title, network, conv, classes):
    options = {"conv": conv} if conv != "static" else {}
    counted = eamlib.cost(eamlib.create_model(network, num_classes=classes, **options))
    [table] = [table for table in sheet.select(".network-costs table") if paper in table.get_text()]
    [row] = [[cell.get_text() for cell in row("td")] for row in table("tr") if row.td and row.td.get_text() == title]
    macs = sum(counted.multiply_adds.values())
    assert row[1:] == [f"{counted.parameters:,}", f"{macs / 1e6:,.1f} M", f"{counted.flops / 1e6:,.1f} M"]


def test_networks_are_counted_once(tmp_path, monkeypatch):
    (tmp_path / "network_costs.json").write_text(json.dumps({"a paper": {}}))
    monkeypatch.delattr(network_costs, "count")
    assert network_costs.counts(tmp_path) == {"a paper": {}}


def test_the_example_of_the_sheet_runs():
    text = (ROOT / "book" / "cheat_sheet.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    torch.manual_seed(0)
    names = {"images": torch.randn(4, 3, 32, 32)}
    exec(example, names)
    assert f"# {list(names['y'].shape)}" in example
    assert not [m for m in names["static"].modules() if isinstance(m, names["DynamicConv2d"])]


@chromium.NEEDED
def test_the_sheet_is_one_page(html, chrome, tmp_path, rows):
    page = pdf.sheet(html, pdf.SHEET_PAGE, tmp_path, "The sheet", "its foot")
    printed = pypdf.PdfReader(io.BytesIO(pdf.printed(chrome, page, tmp_path / "sheet.html", pdf.SHEET_WIDTH)))
    [paper] = printed.pages
    assert sorted(float(side) for side in paper.mediabox[2:]) == pytest.approx([595, 842], abs=1)
    text = paper.extract_text()
    assert not [number for numbers in rows.values() for number in numbers if number not in text]
    assert "its foot" in text
