"""The built pages in a real browser, on a laptop and on a phone, by day and by night, without a network."""

import itertools
import json
from urllib.parse import quote

import chromium
import pytest
from chromium import FAINT, LAPTOP, OF_COLOURS, PHONE, drain, show, violations, visit, wait
from conftest import NOTEBOOKS, page_of, toc_pages
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = chromium.NEEDED

PAGES = [*toc_pages(), "genindex", "search"]
WIDTHS = {"laptop": LAPTOP, "phone": PHONE}
THEMES = "light", "dark"
# What axe-core is asked, and when: all of its rules, and then those that see another page by night.
AXE_RULES = {("laptop", "light"): (), ("phone", "dark"): OF_COLOURS}

# Mathematics without MathJax's output, with an error, or that nothing took for mathematics.
UNTYPESET = r"""
    const article = document.querySelector("article, .bd-search-container");
    const raw = [...article.querySelectorAll(".math")].filter(math => !math.querySelector("mjx-container"));
    const failed = [...article.querySelectorAll("mjx-merror")];
    const isProse = text => text.parentElement.closest("pre, code, script, style")
        ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT;
    const prose = document.createTreeWalker(article, NodeFilter.SHOW_TEXT, isProse);
    const missed = [];
    while (prose.nextNode())
        if (/\\\(|\\\[|\$\$/.test(prose.currentNode.textContent)) missed.push(prose.currentNode);
    return [...raw, ...failed, ...missed].map(node => node.textContent);
"""

BROKEN_IMAGES = "return [...document.images].filter(image => !image.naturalWidth).map(image => image.src)"

# The parts of a page that must not scroll sideways: the window, and the frames around the text.
SIDEWAYS = """
    const article = document.querySelector("article, .bd-search-container");
    const frames = [document.documentElement, ...document.querySelectorAll("body, main, main div, article")];
    return frames
        .filter(frame => frame.contains(article) && frame.checkVisibility())
        .filter(frame => frame.scrollWidth > frame.clientWidth)
        .map(frame => `${frame.tagName} ${frame.className}: ${frame.scrollWidth} > ${frame.clientWidth}`);
"""

# What scrolls within the page is a stop of the Tab key. The theme sees to it a little after each change.
REACHABLE = """
    return [...document.querySelectorAll("article :is(pre, .cell_output > .output, .pst-scrollable-table-container)")]
        .every(frame => frame.tabIndex === 0 || frame.scrollWidth <= frame.clientWidth);
"""

# Solutions and all else that is folded.
UNFOLD = "for (const fold of document.querySelectorAll('article details')) fold.open = true"


@pytest.mark.parametrize("page", PAGES)
def test_page(browser, site, page):
    """One load, whose window then becomes a phone's and whose day a night.

    Loading is what costs. So does axe-core, which looks at all of a page once, by day, and at the colours once more by
    night; at the other two looks the page is measured alone. What it has found: arrows without a name, an index and a
    search wider than a phone.
    """
    show(browser, LAPTOP)
    drain(browser)
    visit(browser, f"{site}/{page}.html")
    browser.execute_script(UNFOLD)  # axe then sees all that it would at rest, and more
    for name, theme in itertools.product(WIDTHS, THEMES):
        show(browser, WIDTHS[name], theme)
        wait(browser, f"return document.documentElement.dataset.theme === '{theme}'")
        wait(browser, REACHABLE)
        assert browser.execute_script(SIDEWAYS) == [], (name, theme)
        assert browser.execute_script(FAINT) == [], (name, theme)
        if (name, theme) in AXE_RULES:
            assert violations(browser, rules=AXE_RULES[name, theme]) == [], (name, theme)

    # Last of all, since a quiz typesets itself half a second after its page.
    assert browser.execute_script(UNTYPESET) == []
    assert browser.execute_script(BROKEN_IMAGES) == []
    requested, failed, complaints = drain(browser)
    assert f"{site}/{page}.html" in requested
    assert [url for url in requested if not url.startswith((site, "data:", "blob:"))] == []
    assert failed == []
    assert complaints == []


def choose(browser, quiz, correct):
    choice = quiz.find_element(By.CSS_SELECTOR, f"label[data-correct={correct}]")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", choice)
    choice.click()


def enter(field, correct):
    answers = json.loads(field.get_attribute("data-answers"))
    number = next(answer["value"] for answer in answers if answer.get("correct")) if correct == "true" else -1
    field.send_keys(str(number), Keys.ENTER)


QUIZZED = [path for path in NOTEBOOKS if "quiz(" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("notebook", QUIZZED, ids=lambda path: path.stem)
def test_quizzes_answer_at_once(browser, site, notebook):
    """On a static page, without a kernel: a wrong answer gets its hint, the right one its praise."""
    show(browser, PHONE)
    visit(browser, f"{site}/{page_of(notebook)}.html")
    quizzes = browser.find_elements(By.CSS_SELECTOR, ".Quiz")
    assert quizzes
    for quiz in quizzes:
        fields = quiz.find_elements(By.TAG_NAME, "input")
        for correct, verdict in ("false", "incorrect"), ("true", "correct"):
            if fields[0].get_attribute("type") == "text":
                enter(fields[0], correct)
            else:
                choose(browser, quiz, correct)
            feedback = quiz.find_element(By.CSS_SELECTOR, ".Feedback")
            assert verdict in feedback.get_attribute("class").split()
            assert feedback.text


def test_a_formula_wider_than_a_phone_begins_in_sight(browser, site):
    show(browser, PHONE)
    visit(browser, f"{site}/notebooks/01_standard_convolution/01_4_counting_and_the_roofline.html")
    wait(browser, "return document.querySelectorAll('div.math mjx-math').length > 3")
    formulas = """
        return [...document.querySelectorAll("div.math")].map(div => [
            div.querySelector("mjx-math").getBoundingClientRect().left >= div.getBoundingClientRect().left - 1,
            div.scrollWidth > div.clientWidth || div.querySelector("mjx-container").scrollWidth > div.clientWidth]);
    """
    begins, wider = zip(*browser.execute_script(formulas), strict=True)
    assert any(wider) and all(begins)


def test_a_formula_in_a_line_of_text_scrolls_where_a_phone_is_narrower(browser, site):
    show(browser, PHONE)
    visit(browser, f"{site}/notebooks/03_lightweight_networks/03_1_mobilenet_v1_and_v2.html")
    browser.execute_script("document.querySelectorAll('details').forEach(folded => (folded.open = true))")
    wide = """
        return [...document.querySelectorAll("span.math")].filter(math => math.scrollWidth > math.clientWidth)
            .map(math => [math.tabIndex, getComputedStyle(math).overflowX]);
    """
    wait(browser, f"const found = (() => {{ {wide} }})(); return found.length && found.every(([stop]) => stop === 0)")
    assert {overflow for _, overflow in browser.execute_script(wide)} == {"auto"}


@pytest.mark.parametrize(
    ("width", "word", "wanted"),
    [
        ("laptop", "redundancy", "notebooks/08_channel_redundancy/08_1_do_channels_repeat"),
        ("phone", "misprint", "notebooks/10_reading_the_cost_table/10_1_the_parameters_solved"),
    ],
)
def test_search_finds_the_chapter(browser, site, width, word, wanted):
    """From the landing page, by the keyboard where there is one, by the button on a phone."""
    show(browser, WIDTHS[width])
    drain(browser)
    visit(browser, f"{site}/book/index.html")
    if width == "laptop":
        browser.find_element(By.TAG_NAME, "body").send_keys(Keys.CONTROL, "k")
    else:
        browser.find_element(By.CSS_SELECTOR, ".bd-header-article .search-button").click()
    wait(browser, "return document.querySelector('#pst-search-dialog').open")
    assert violations(browser, "#pst-search-dialog") == []
    field = browser.switch_to.active_element
    assert field.get_attribute("type") == "search"
    field.send_keys(word, Keys.ENTER)
    wait(browser, f"return location.href === '{site}/search.html?q={word}'")
    wait(browser, "return document.querySelector('#search-results .search-summary')?.textContent.includes('found')")
    assert browser.execute_script(SIDEWAYS) == []
    assert violations(browser) == []

    links = browser.find_elements(By.CSS_SELECTOR, "#search-results ul.search li > a")
    addresses = [link.get_attribute("href").partition("?")[0].partition("#")[0] for link in links]
    assert f"{site}/{wanted}.html" in addresses
    links[addresses.index(f"{site}/{wanted}.html")].click()
    wait(browser, f"return location.pathname === '/{wanted}.html' && document.readyState === 'complete'")

    requested, failed, complaints = drain(browser)
    assert [url for url in requested if not url.startswith((site, "data:", "blob:"))] == []
    assert failed == []
    assert complaints == []


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("EAM", "/09_eam"), ("mobilenet", "/03_"), ("dynamic convolution", "/05_"), ("install", "/how_to_read")],
)
def test_search_puts_what_a_student_wants_before_the_reference(browser, site, words, wanted):
    visit(browser, f"{site}/search.html?q={quote(words)}")
    wait(browser, "return document.querySelector('#search-results .search-summary')?.textContent.includes('found')")
    links = browser.find_elements(By.CSS_SELECTOR, "#search-results ul.search li > a")[:5]
    addresses = [link.get_attribute("href").partition("?")[0] for link in links]
    assert any(wanted in address for address in addresses), addresses
    assert [address for address in addresses[:3] if "/api/" in address] == []


@pytest.mark.parametrize("side", ["primary", "secondary"])
def test_the_drawers_of_a_phone(browser, site, side):
    """The book's contents come from the left, the page's own from the right."""
    show(browser, PHONE)
    visit(browser, f"{site}/{page_of(NOTEBOOKS[0])}.html")
    drawer = f"#pst-{side}-sidebar-modal"
    browser.find_element(By.CSS_SELECTOR, f".bd-header-article .{side}-toggle").click()
    wait(browser, f"return document.querySelector('{drawer}').open")
    for theme in THEMES:
        show(browser, PHONE, theme)
        wait(browser, f"return document.documentElement.dataset.theme === '{theme}'")
        assert violations(browser, drawer) == []
    browser.find_element(By.CSS_SELECTOR, f"{drawer} li > a").click()
    wait(browser, f"return !location.href.endsWith('{NOTEBOOKS[0].stem}.html')")


@pytest.mark.parametrize("number", [1, 7])
def test_all_of_a_chapters_card_opens_it(browser, site, number):
    show(browser, LAPTOP)
    visit(browser, f"{site}/book/index.html")
    card = browser.find_elements(By.CSS_SELECTOR, ".chapters .sd-card")[number - 1]
    assert f"\n{number:02} " in card.text  # behind what is written in its picture
    target = card.find_element(By.TAG_NAME, "a").get_attribute("href")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", card)
    corner = [5 - side // 2 for side in (card.size["width"], card.size["height"])]
    webdriver.ActionChains(browser).move_to_element_with_offset(card, *corner).click().perform()
    wait(browser, f"return location.href === '{target}'")
