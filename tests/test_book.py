"""The built pages, read as files. `make book` builds them and executes every notebook."""

import json
import re
from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from conftest import NOTEBOOKS, ROOT, toc_pages
from pybtex.database import parse_file

REFERENCES = parse_file(ROOT / "book" / "references.bib").entries
each_page = pytest.mark.parametrize("page", toc_pages())


@cache
def soup(path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path) -> set[str]:
    return {element["id"] for element in soup(path).find_all(id=True)}


class Divisions(HTMLParser):
    """Counts how many <div> are open; an output that leaves one open swallows the rest of its page."""

    depth = 0

    def handle_starttag(self, tag, attrs):
        self.depth += tag == "div"

    def handle_endtag(self, tag):
        self.depth -= tag == "div"
        assert self.depth >= 0, f"a </div> too many at line {self.getpos()[0]}"


@pytest.fixture
def file(html, page):
    return html / f"{page}.html"


@each_page
def test_page_exists_and_is_light(file):
    assert file.stat().st_size < 2_000_000


@each_page
def test_every_internal_link_leads_somewhere(file):
    for link in soup(file).find_all("a", href=True):
        url = urlsplit(link["href"])
        if url.scheme or url.netloc:
            continue
        target = (file.parent / unquote(url.path)).resolve() if url.path else file
        assert target.is_file(), link["href"]
        if url.fragment and target.suffix == ".html":
            assert unquote(url.fragment) in anchors(target), link["href"]


@each_page
def test_every_image_is_there_and_described(file):
    for image in soup(file).find_all("img"):
        source = image["src"]
        assert source.startswith("data:") or (file.parent / unquote(source)).is_file(), source
        # Sphinx puts the file's name where a description is missing.
        description = image.get("alt", "").strip()
        assert description, source
        assert not re.search(r"\.(png|jpe?g|svg|gif)$", description), f"{source} has no alternative text"


@each_page
def test_nothing_is_loaded_from_a_network(file):
    loaders = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
    for element in soup(file).find_all(list(loaders)):
        # A canonical or licence link only names an address; the others are fetched.
        if element.name == "link" and not {"stylesheet", "preload", "icon"} & set(element.get("rel", [])):
            continue
        address = element.get(loaders[element.name], "")
        assert not re.match(r"(https?:)?//", address), address


@each_page
def test_divisions_are_closed(file):
    divisions = Divisions()
    divisions.feed(file.read_text(encoding="utf-8"))
    assert divisions.depth == 0


def test_every_notebook_ran(html):
    ran = json.loads((html / "execution.json").read_text(encoding="utf-8"))["notebooks"]
    assert ran.keys() == {f"notebooks/{path.stem}" for path in NOTEBOOKS}
    assert all(notebook["succeeded"] for notebook in ran.values())
    assert all(notebook["runtime"] > 0 for notebook in ran.values())


def test_status_page_lists_every_notebook(html):
    links = {link["href"] for link in soup(html / "book" / "status.html").select("article td a")}
    assert links == {f"../notebooks/{path.stem}.html" for path in NOTEBOOKS}


def test_every_reference_is_cited_and_rendered(html):
    """The bibliography lists what is cited, so an entry that nobody cites is not on its page."""
    entries = soup(html / "book" / "bibliography.html").select("article div.citation")
    assert len(entries) == len(REFERENCES)
    links = {link["href"] for entry in entries for link in entry.find_all("a", href=True)}
    assert links >= {entry.fields["url"] for entry in REFERENCES.values()}


def test_a_link_to_a_reference_is_a_citation(html):
    """The chapters cite by plain links, which the book's extension completes."""
    addresses = {entry.fields["url"] for entry in REFERENCES.values()}
    for path in NOTEBOOKS:
        page = soup(html / "notebooks" / f"{path.stem}.html")
        for link in page.select("article a.reference.external"):
            if link["href"] in addresses:
                following = link.find_next_sibling()
                assert following is not None
                assert following.select_one("a[href*='bibliography.html#']"), link["href"]
