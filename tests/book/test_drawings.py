"""The drawings that open the pages: legible by day and night, on a phone, and to those who cannot see them."""

import re
from xml.etree import ElementTree

import pytest
from conftest import ROOT

DRAWINGS = sorted((ROOT / "book" / "_static" / "drawings").iterdir())
SVG = "{http://www.w3.org/2000/svg}"
BYTES, WORDS = 8_000, 20
SMALLEST = 11 / 350  # of the drawing's width: 11 px where a phone shows it 350 px wide


@pytest.fixture(params=DRAWINGS, ids=lambda path: path.stem)
def drawing(request):
    return request.param.read_text(encoding="utf-8")


@pytest.fixture
def root(drawing):
    return ElementTree.fromstring(drawing)


def test_there_is_one_for_every_page():
    assert len(DRAWINGS) >= 35
    assert {path.suffix for path in DRAWINGS} == {".svg"}


def test_drawing_is_small_and_whole(drawing):
    assert len(drawing.encode()) <= BYTES
    assert not re.search(r"<script|<image|\bon\w+=|url\(|href|@import", drawing)


def test_drawing_changes_nothing_of_the_page_it_is_inlined_in(drawing):
    # `svg:root` is the drawing in a file of its own, and nothing on a page. Two drawings on a page may share no id.
    style = re.search(r"<style>(.*?)</style>", drawing, re.DOTALL)[1]
    assert re.findall(r"[^{}]+(?= {)", style.replace("\n", "")) == [
        "    svg:root",
        "    @media (prefers-color-scheme: dark)",
        " svg:root",
    ]
    assert not re.search(r'\b(id|class)="', drawing)


def test_drawing_fits_its_column(root):
    assert root.tag == f"{SVG}svg" and not {"width", "height"} & set(root.attrib)
    left, top, width, height = map(float, root.get("viewBox").split())
    assert (left, top) == (0, 0) and height < width
    sizes = [float(element.get("font-size")) for element in root.iter() if element.get("font-size")]
    assert min(sizes) >= SMALLEST * width


def test_ink_follows_the_theme(root):
    paints = {element.get(name) for element in root.iter() for name in ("fill", "stroke", "color")} - {None}
    assert paints <= {"none", "currentColor", "var(--drawing-new, #c8641b)"} and "currentColor" in paints


def test_drawing_says_what_it_shows(root):
    assert root.get("role") == "img"
    title, description = (root.findtext(f"{SVG}{name}") for name in ("title", "desc"))
    assert 5 < len(title) < 70
    assert len(description) > len(title) and description.endswith((".", "?"))


def test_few_words(root):
    labels = " ".join("".join(element.itertext()) for element in root.iter(f"{SVG}text"))
    assert len(re.findall(r"[a-zA-Z]{2,}", labels)) <= WORDS


def test_no_title_twice():
    titles = [ElementTree.parse(path).getroot().findtext(f"{SVG}title") for path in DRAWINGS]
    assert len(set(titles)) == len(titles)
