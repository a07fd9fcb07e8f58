"""The decks of slides: the rules by which a cell becomes a slide, and every slide of every deck in a browser."""

import base64
import re

import chromium
import nbformat
import pytest
import slides
from bs4 import BeautifulSoup
from chromium import drain, wait
from conftest import HTML, NOTEBOOKS
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from selenium.webdriver.common.by import By

TITLE = """# 09 A title

**[Open](https://colab.research.google.com/github/x)**

> **You will be able to** see."""

# 200 × 100 pixels, as far as a header tells.
PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes([0, 0, 0, 200, 0, 0, 0, 100]) + bytes(40)).decode()


def cell(make, source, outputs=None, **slideshow):
    metadata = {"slideshow": slideshow} if slideshow else {}
    return make(source, metadata=metadata, **({"outputs": outputs} if outputs else {}))


def text(source, **slideshow):
    return cell(new_markdown_cell, source, **slideshow)


def code(source, *outputs, **slideshow):
    return cell(new_code_cell, source, list(outputs), **slideshow)


def deck(*cells):
    return slides.deck(new_notebook(cells=[text(TITLE, slide_type="slide"), *cells]), "09_name")


def words(blocks):
    return " ".join(BeautifulSoup("".join(blocks), "html.parser").get_text(" ").split())


def complaints(*cells):
    with pytest.raises(ExceptionGroup) as caught:
        deck(*cells)
    return [str(error) for error in caught.value.exceptions]


def test_the_title_slide_has_the_box_and_the_link():
    [slide] = deck()
    assert slide.title == "A title"
    assert "You will be able to see." in words(slide.shown)
    assert "colab.research.google.com" in "".join(slide.shown)


def test_prose_is_said_and_the_rest_is_shown():
    source = """## Costs

It costs a lot. Nobody says so.

**Parameters** are numbers to learn. They are stored.

*Paper.* It prints one. It hides others.

$$ a^2 \\tag{9.1} $$

| a | b |
|---|---|
| 1 | 2 |

- **One** thing more, all here. And why.
- two
"""
    slide = deck(text(source, slide_type="slide"))[1]
    shown, notes = words(slide.shown), words(slide.notes)
    assert slide.title == "Costs"
    assert shown == "Parameters are numbers to learn. Paper. It prints one. a^2 a b 1 2 One thing more, all here. two"
    assert "It costs a lot. Nobody says so." in notes
    assert "It hides others." in notes
    assert "a^2" not in notes


def test_chosen_sentences_are_shown_instead():
    source = "## Costs\n\n**It** costs $a. B$ a lot, e.g. here. Nobody says: *Two. Three.* Four."
    slide = deck(text(source, slide_type="slide", sentences=["Nobody"]))[1]
    assert words(slide.shown) == "Nobody says: Two. Three."
    assert slides.sentences(source.splitlines()[-1])[0] == "**It** costs $a. B$ a lot, e.g. here."
    assert complaints(text(source, slide_type="slide", sentences=["Everybody"]))[0].endswith("begins with “Everybody”")


def test_what_stands_before_a_heading_is_said_of_the_slide_before():
    first = text("## One\n\n*Shown.* Said.", slide_type="slide")
    second = text("And so on.\n\n$$x$$\n\n### Two\n\n$$y$$", slide_type="subslide")
    _, one, two = deck(first, second)
    assert words(one.notes) == "Shown. Said. And so on. x"
    assert (two.title, two.level, words(two.shown)) == ("Two", "subslide", "y")


def test_unmarked_cells_are_not_shown_and_notes_are_said():
    cells = text("## One\n\n$$x$$", slide_type="slide"), text("Unmarked."), text("Said.", slide_type="notes")
    _, slide = deck(*cells, code("1", new_output("stream", text="printed"), slide_type="notes"))
    assert words(slide.shown) == "x"
    assert words(slide.notes) == "Said. printed"


def test_a_code_cell_shows_its_output_its_code_or_both():
    stream = new_output("stream", text="seven")
    warning = new_output("stream", name="stderr", text="UserWarning")
    start = text("## One\n\n$$x$$", slide_type="slide")
    for show, expected in (None, "x seven"), ("code", "x 3 + 4"), ("both", "x 3 + 4 seven"):
        marked = {"slide_type": "-"} | ({"show": show} if show else {})
        assert words(deck(start, code("3 + 4", stream, warning, **marked))[1].shown) == expected
    assert "class='fragment'" in "".join(deck(start, code("3 + 4", slide_type="fragment"))[1].shown)


def test_a_figure_is_described_and_stands_beside_text_unless_it_is_wide():
    picture = new_output("display_data", data={"image/png": PICTURE})
    figure = code("plot()", picture, slide_type="slide", title="A figure")
    assert "alternative text" in complaints(figure)[0]
    figure.metadata.mystnb = {"image": {"alt": "A curve that rises."}}
    slide = deck(figure)[1]
    assert 'alt="A curve that rises."' in slide.shown[0]
    assert "wide" in slide.shown[0]
    square = PICTURE.replace(PICTURE[24:32], base64.b64encode(bytes([0, 200, 0, 0, 0, 200])).decode())
    figure.outputs[0].data["image/png"] = square
    figure.metadata.slideshow = {"slide_type": "-"}
    beside = deck(text("## One\n\n*Text.* And more words.", slide_type="slide"), figure)[1]
    assert [len(column) for column in beside.columns] == [1, 1]


def test_links_into_the_book_become_text():
    source = "## One\n\n*See* [chapter 05](05_x.ipynb) and [Chen](https://example.org)."
    shown = "".join(deck(text(source, slide_type="slide"))[1].shown)
    assert "chapter 05" in shown
    assert "ipynb" not in shown
    assert 'href="https://example.org"' in shown


def test_a_quiz_is_asked_and_answered_in_the_notes():
    slide = deck(code('quiz("9.1")', slide_type="slide"))[1]
    [right] = [answer for answer in slides.QUIZZES["9.1"][0]["answers"] if answer["correct"]]
    assert right["answer"] in words(slide.shown)
    assert right["feedback"] in words(slide.notes)
    assert right["feedback"] not in words(slide.shown)


def test_what_a_question_is_about_stands_above_it():
    slide = deck(code('quiz("9.1")', slide_type="slide", title="Which?", points=["Four channels."]))[1]
    assert slide.title == "Which?"
    assert words(slide.shown).startswith("Four channels. " + slides.QUIZZES["9.1"][0]["question"][:20])


INDEX = """# 09 A chapter

Is it so?

| page | minutes |
|---|---|
| one | 25 |
"""


def test_a_core_deck_has_the_marked_slides_between_the_question_and_the_points_that_matter():
    points = text(
        "## Summary\n\n- *One* is $x$.\n- Two.\n\n## More\n\n- more", slide_type="slide", closing=["Two", "One is x"]
    )
    one = deck(
        text("## One\n\n$$x$$", slide_type="slide"),
        text("## Two\n\n$$y$$\n\n## Three\n\n$$z$$", slide_type="subslide", core=True),
        code("1", new_output("stream", text="seven"), slide_type="-"),
        text("## Exercises\n\n- one", slide_type="slide", core=True),
    )
    two = deck(points, text("## Last\n\n- end", slide_type="slide"))
    found = slides.core(INDEX, [one, two])
    assert [slide.title for slide in found] == ["A chapter", "Two", "Three", "Summary"]
    assert [slide.level for slide in found] == ["slide"] * 4
    assert words(found[0].shown) == "Chapter 9 Is it so?"
    assert words(found[2].shown) == "z seven"
    assert words(found[3].shown) == "Two. One is x ."
    assert words(found[3].notes) == "One is x . Two."


def test_a_chapter_without_core_slides_is_named():
    marked = deck(text("## One\n\n$$x$$", slide_type="slide", core=True))
    for pages, complaint in ([], "no slide is marked as core"), ([marked], "no summary has a closing item"):
        with pytest.raises(slides.BadMetadata, match=f"A chapter: {complaint}"):
            slides.core(INDEX, pages)


def test_exercises_are_listed_with_their_kind():
    task = text("### Exercise 9.1 (prove)\n\nProve that it holds for all shapes and for all sizes of maps. And more.")
    slide = deck(text("## Exercises", slide_type="slide"), task)[1]
    assert words(slide.shown) == "9.1 prove Prove that it holds for all shapes and for all sizes of maps."


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (text("## One", slide_type="sliding"), "'sliding' is not one of ['slide', "),
        (text("## One", slide_type="slide", heading="x"), "unexpected). Allowed here: slide_type, title, points, sent"),
        (text("## One", slide_type="slide", points="x"), "'x' is not of type 'array'"),
        (text("No heading.", slide_type="slide"), "a slide without a heading has a title"),
        (text("Said.", slide_type="notes", sentences=["Said"]), "unexpected). Allowed here: slide_type."),
        (code("1", slide_type="slide"), "a slide that begins with code has a title"),
        (code("1", slide_type="-", show="all"), "'all' is not one of ['output', "),
        (code("1", slide_type="-", show="output"), "no output to show"),
        (code("1\n" * 15, slide_type="-"), "15 lines of code are shown"),
        (code('quiz("9.1")', slide_type="slide", show="code"), "('show' was unexpected)"),
        (code("1", slide_type="-", core=True), "('core' was unexpected). Allowed here: slide_type, points, show."),
        (text("Said.", slide_type="notes", core=True), "('core' was unexpected). Allowed here: slide_type."),
        (text("## One\n\n$$x$$", slide_type="slide", core="yes"), "True was expected"),
        (code("1", slide_type="slide", title="x", closing=["x"]), "('closing' was unexpected)"),
        (text("## One\n\n- x", slide_type="slide", closing=["y"]), "no item of its lists begins with “y”"),
        (text("## Nothing", slide_type="slide"), "nothing stands on the slide “Nothing”"),
    ],
)
def test_bad_metadata_are_named_with_notebook_and_cell(bad, complaint):
    [found] = complaints(bad)
    assert complaint in found
    assert found.startswith("09_name")
    assert "Nothing" in found or f"cell {bad.id}" in found


def test_all_that_is_wrong_is_said_at_once():
    assert len(complaints(text("a", slide_type="x"), text("b", slide_type="y"))) == 2


def test_a_notebook_without_slides_is_named():
    with pytest.raises(ExceptionGroup) as caught:
        slides.deck(new_notebook(cells=[text("# Title")]), "09_name")
    assert "no cell has the metadata of a slide" in str(caught.value.exceptions[0])


# The chapters' decks ----------------------------------------------------------------------------------------------

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
CHAPTERS = sorted({path.parent for path in NOTEBOOKS})


@pytest.fixture(scope="module")
def made(html, tmp_path_factory):
    """The folder of the slides, and the decks in it."""
    [cache] = HTML.parent.glob("executed/*/global.db")
    decks = {path.stem: slides.deck(slides.executed(path, cache.parent), path.stem) for path in NOTEBOOKS}
    folder = tmp_path_factory.mktemp("made") / "slides"
    slides.write(decks, folder)
    return folder, decks


@pytest.fixture(scope="module")
def core(made):
    """The chapters' core decks."""
    pages = {folder: [made[1][path.stem] for path in sorted(folder.glob("*.ipynb"))] for folder in CHAPTERS}
    return {f.name: slides.core((f / "index.md").read_text(encoding="utf-8"), pages[f]) for f in CHAPTERS}


def test_slides_are_no_part_of_the_key_in_the_cache(html):
    """Else a change of a slide would execute its notebook again."""
    path = NOTEBOOKS[0]
    [cache] = HTML.parent.glob("executed/*/global.db")
    notebook = nbformat.read(path, as_version=4)
    assert any("slideshow" in cell.metadata for cell in notebook.cells if cell.cell_type == "code")
    assert any(cell.get("outputs") for cell in slides.executed(path, cache.parent).cells)


@each_notebook
def test_a_page_has_a_deck(made, path):
    deck = made[1][path.stem]
    assert 5 <= len(deck) <= 40
    assert sum(len(words(slide.notes).split()) >= 10 for slide in deck) >= 0.75 * len(deck)
    titles = [slide.title for slide in deck]
    assert [title for title in titles if titles.count(title) > 1] == []
    assert {"Exercises", "Summary"} <= set(titles)


@pytest.mark.parametrize("chapter", [folder.name for folder in CHAPTERS])
def test_a_chapter_has_a_core_deck_for_a_lecture(core, chapter):
    deck = core[chapter]
    assert 10 <= len(deck) <= 18
    assert deck[0].kind == "opening"
    assert deck[-1].title == "Summary"
    titles = [slide.title for slide in deck]
    assert [title for title in titles if titles.count(title) > 1] == []
    assert 1 <= sum(slide.kind == "question" or slide.title.startswith("Exercise") for slide in deck) <= 3


def test_the_core_decks_of_a_week_fit_its_lecture(core):
    guide = (slides.ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
    weeks = [week.split() for week in re.findall(r"^((?:\d\d )+)\|", guide, re.MULTILINE)]
    length = {chapter[:2]: len(deck) for chapter, deck in core.items()}
    assert sorted(chapter for week in weeks for chapter in week) == sorted(length)
    assert [week for week in weeks if 3 * sum(length[chapter] for chapter in week) > 90] == []


def test_a_core_deck_leads_to_its_explorers(core):
    """In the published book, whose pages are those of the built one."""
    shown = "".join(block for deck in core.values() for slide in deck for block in slide.shown)
    links = [link["href"] for link in BeautifulSoup(shown, "html.parser").select("a[href*='.github.io/']")]
    cells = {path.stem: nbformat.read(path, as_version=4).cells for path in NOTEBOOKS}
    calls = re.compile(r"^explore\.", re.MULTILINE)
    pages = [name for name in cells if any(c.cell_type == "code" and calls.search(c.source) for c in cells[name])]
    assert [re.search(r"(\w+)\.html", link)[1] for link in links] == pages
    for link in links:
        address, _, anchor = link.partition("#")
        page = (HTML / address.split("/", 4)[4]).read_text(encoding="utf-8")
        assert not anchor or f'id="{anchor}"' in page


@each_notebook
def test_a_deck_loads_what_lies_beside_it_and_nothing_else(made, path):
    folder, _ = made
    page = BeautifulSoup((folder / f"{path.stem}.html").read_text(encoding="utf-8"), "html.parser")
    loaded = page.select("script[src], img[src], link[href], iframe[src], source[src]")
    for address in [element.get("src") or element["href"] for element in loaded]:
        assert address.startswith("data:") or (folder / address).is_file(), address
    assert not page.select(".output script")
    for image in page.select("img"):
        assert image["alt"].strip()


def test_the_list_leads_to_every_deck(made):
    folder, decks = made
    page = BeautifulSoup((folder / "index.html").read_text(encoding="utf-8"), "html.parser")
    links = [link["href"] for link in page.select("li a")]
    assert links == [f"{name}.html" for name in decks]


# In a browser -----------------------------------------------------------------------------------------------------

READY = "return document.documentElement.dataset.ready === 'yes'"

# Formulas that MathJax has not set, or set as an error.
UNTYPESET = r"""
    const all = [...document.querySelectorAll(".slide .math")];
    const failed = all.filter(math => !math.querySelector("mjx-container, math"));
    const wrong = document.querySelectorAll("mjx-merror, merror, [data-mjx-error]");
    const missed = [...document.querySelectorAll(".slide :is(p, li, td, th, h2)")]
        .filter(element => !element.closest("pre, .output") && /\$[^$]+\$|\\[a-z]+\{/.test(element.innerText));
    return [...failed, ...wrong, ...missed].map(element => element.textContent.slice(0, 80));
"""

LEAVES = """
    return [...document.querySelectorAll(".slide")]
        .filter(slide => slide.dataset.overflow > 1)
        .map(slide => `${slide.querySelector("h1, h2").textContent}: ${slide.dataset.overflow} pixels`);
"""

# Measured once more where the audience sees it, not where slides.js measured.
CUT = """
    const slide = Reveal.getCurrentSlide(), body = slide.querySelector(".body").getBoundingClientRect();
    return [...slide.querySelectorAll(".body :is(.column > *, table, figure, li, mjx-math)")]
        .map(part => part.getBoundingClientRect())
        .some(box => !box.width || !box.height || box.bottom > body.bottom + 2 || box.right > body.right + 2
                     || box.top < body.top - 2 || box.left < body.left - 2);
"""


def present(browser, page, theme="light"):
    """Open a deck as a projector shows it."""
    metrics = {"width": 1280, "height": 720, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    preference = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preference})
    browser.get(page)
    wait(browser, READY)


def fits(browser, page, deck):
    drain(browser)
    present(browser, page.as_uri())

    assert browser.execute_script(LEAVES) == []
    assert browser.execute_script(UNTYPESET) == []
    cut = []
    for number, slide in enumerate(deck):
        show = "const { h, v } = Reveal.getIndices(document.querySelectorAll('.slide')[arguments[0]]);"
        browser.execute_script(show + "Reveal.slide(h, v, 99)", number)
        cut += [slide.title] * browser.execute_script(CUT)
    assert cut == []

    requested, failed, errors = drain(browser)
    assert [url for url in requested if not re.match(r"file:|data:|blob:", url)] == []
    assert failed == []
    assert errors == []


@chromium.NEEDED
@each_notebook
def test_every_slide_fits_and_is_set(made, browser, path):
    folder, decks = made
    fits(browser, folder / f"{path.stem}.html", decks[path.stem])


@chromium.NEEDED
def test_how_a_core_deck_begins_and_ends_fits(core, browser, tmp_path):
    """All else on it is on the page's deck as well."""
    ends = [slide for deck in core.values() for slide in (deck[0], deck[-1])]
    slides.write({"ends": ends}, tmp_path / "made", "chapter")
    fits(browser, tmp_path / "made" / "ends.html", ends)


@chromium.NEEDED
def test_slides_are_dark_for_those_who_like_it(made, browser):
    look = "const { color, backgroundColor } = getComputedStyle(document.body); return [color, backgroundColor]"
    page = (made[0] / "09_1_select_pool_predict.html").as_uri()
    shades = {}
    for theme in "light", "dark":
        present(browser, page, theme)
        ink, paper = ([int(n) for n in re.findall(r"\d+", colour)[:3]] for colour in browser.execute_script(look))
        shades[theme] = sum(paper) - sum(ink)
        assert browser.execute_script(LEAVES) == []
    assert shades["light"] > 500
    assert shades["dark"] < -500


@chromium.NEEDED
def test_the_speakers_window_shows_the_notes(made, browser):
    folder, decks = made
    name = "09_1_select_pool_predict"
    present(browser, (folder / f"{name}.html").as_uri())
    # reveal.js never says that it has written the whole window, for which a switch to it would wait.
    browser.execute_script("const open = window.open; window.open = (...how) => window.notes = open(...how)")
    try:
        browser.find_element(By.TAG_NAME, "body").send_keys("s")
        for slide in decks[name][:3]:
            begin = words(slide.notes).split("$")[0][:20]
            said = "(notes.document.querySelector('.speaker-controls-notes .value')?.innerText ?? '')"
            wait(browser, f"return {said}.replace(/\\s+/g, ' ').startsWith({begin!r})")
            browser.find_element(By.TAG_NAME, "body").send_keys(" ")
        assert browser.execute_script("return notes.document.querySelectorAll('math').length > 0")
    finally:
        browser.execute_script("notes?.close()")


@chromium.NEEDED
def test_a_deck_prints_a_page_a_slide(made, browser):
    folder, decks = made
    present(browser, (folder / "01_1_from_scratch.html").as_uri() + "?print-pdf")
    wait(browser, "return document.querySelectorAll('.pdf-page').length")
    pages = browser.execute_script("return document.querySelectorAll('.pdf-page').length")
    assert pages == len(decks["01_1_from_scratch"])
