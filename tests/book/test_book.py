"""The built pages, read as files. `make book` builds them and executes every notebook."""

import json
import re
from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import landing
import pytest
from bs4 import BeautifulSoup
from conftest import ADDRESS, HTML, NOTEBOOKS, ROOT, page_of, toc_pages
from pybtex.database import parse_file

from eamlib.book.steps import lineage_steps
from eamlib.papers import records

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
    """With its pictures, and without what all pages share."""
    pictures = {(file.parent / unquote(image["src"])).resolve() for image in soup(file).select("img[src*='_images/']")}
    assert file.stat().st_size + sum(picture.stat().st_size for picture in pictures) < 2_000_000


@each_page
def test_page_says_what_it_is_about(file):
    """To search engines and messengers: more than its title, and not the link to Colab."""
    head = {tag.get("name") or tag.get("property"): tag["content"] for tag in soup(file).select("head meta[content]")}
    assert head["og:description"] == head["description"]
    assert len(head["description"]) > 20 and "Colab" not in head["description"][:20]
    owner, name = ADDRESS.split("/")[-2:]
    assert head["og:url"] == f"https://{owner}.github.io/{name}/{file.relative_to(HTML).as_posix()}"
    assert (HTML / head["og:image"].removeprefix(f"https://{owner}.github.io/{name}/")).is_file()


def test_the_page_for_what_is_not_there_works_at_any_depth(html):
    """What it links to and loads is named from the root of the site, and is there."""
    root = f"/{ADDRESS.split('/')[-1]}/"
    page = soup(html / "404.html")
    assert page.find("a", href=f"{root}book/preface.html")
    for name, attribute in ("a", "href"), ("link", "href"), ("script", "src"), ("img", "src"):
        for element in page.find_all(name, **{attribute: True}):
            url = urlsplit(element[attribute])
            if not url.netloc and url.path:
                assert url.path.startswith(root), element
                assert (html / unquote(url.path.removeprefix(root))).is_file(), element


def test_landing_page_shows_the_costs_that_the_library_counts(html):
    steps = soup(html / "book" / "index.html").select("ol.lineage > li")
    assert len(steps) == 6
    for step, (name, _, cost) in zip(steps, lineage_steps(), strict=True):
        assert step.strong.text == name
        shown = [bar.text for bar in step.select(".bar")]
        assert shown == [f"{cost.parameters / 1e3:.0f} k parameters", f"{cost.flops / 1e6:.1f} M FLOPs"]
    shares = [float(bar["style"].removeprefix("--share: ")) for step in steps for bar in step.select(".parameters")]
    assert max(shares) == 1 and shares.index(1) == 4


def test_landing_page_has_a_card_for_every_chapter(html):
    cards = soup(html / "book" / "index.html").select(".chapters .sd-card")
    chapters = list(dict.fromkeys(re.match(r"notebooks/\d\d", page)[0] for page in toc_pages() if "notebooks/" in page))
    assert len(cards) == len(chapters) == 13
    for card, chapter in zip(cards, chapters, strict=True):
        assert card.a["href"].startswith(f"../{chapter}_") and card.a.text.strip()


def test_landing_page_shows_what_was_recorded(html):
    page = soup(html / "book" / "index.html")
    record = records.read(ROOT / "results" / "cifar100" / "mobilenet_v1-x0.25-eam-rcr-e20-seed0.json")
    right = {row["attention"]: row["right"] for row in record["exchange"] if row["recalibrated"]}
    shown = [[bar.text for bar in bars.select(".bar")] for bars in page.select(".shares")]
    assert shown[0] == [f"{100 * right[attention] / 10_000:.1f} %" for attention in ("own", "mean", "another")]
    assert len(shown[1]) == 3 and all(re.fullmatch(r"\d+ ms", text) for text in shown[1])
    assert len(page.select(".partners circle.means")) == 14


def test_landing_page_asks_plays_and_leads_to_chapter_01_first(html):
    """In this order, and no address that nobody has published yet."""
    article = soup(html / "book" / "index.html").find("article")
    text = str(article)
    begin = article.select_one("a.begin")
    assert article.h1.text.startswith("Should a network look at everything?")
    assert begin["href"].startswith("../notebooks/01_")
    assert text.index("<h1") < text.index('class="live') < text.index('href="' + begin["href"]) < text.index("<h2")
    published = tuple(ADDRESS.split("/")[-2:]) != landing.PLACEHOLDER
    assert bool(re.search(r"colab\.research|git\+https", text)) == published


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
        if "logo__image" in image.get("class", []):
            continue  # the title stands beside it
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
    assert ran.keys() == {page_of(path) for path in NOTEBOOKS}
    assert all(notebook["succeeded"] for notebook in ran.values())
    assert all(notebook["runtime"] > 0 for notebook in ran.values())


def test_status_page_lists_every_notebook(html):
    links = {link["href"] for link in soup(html / "book" / "status.html").select("article td a")}
    assert links == {f"../{page_of(path)}.html" for path in NOTEBOOKS}


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
        page = soup(html / f"{page_of(path)}.html")
        for link in page.select("article a.reference.external"):
            if link["href"] in addresses:
                following = link.find_next_sibling()
                assert following is not None
                assert following.select_one("a[href*='bibliography.html#']"), link["href"]
