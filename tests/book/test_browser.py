"""The built pages in a real browser, on a laptop and on a phone, by day and by night, without a network."""

import itertools
import json
import time

import chromium
import pytest
from chromium import FAINT, LAPTOP, OF_COLOURS, PHONE, drain, show, violations, visit, wait
from conftest import NOTEBOOKS, toc_pages
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = chromium.NEEDED

PAGES = [*toc_pages(), "genindex", "search"]
WIDTHS = {"laptop": LAPTOP, "phone": PHONE}
THEMES = "light", "dark"
VISITS = list(itertools.product(PAGES, WIDTHS, THEMES))
visited = set()

each_width = pytest.mark.parametrize("width", WIDTHS)

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
@each_width
def test_page(browser, site, page, width):
    show(browser, WIDTHS[width])
    drain(browser)
    visit(browser, f"{site}/{page}.html")
    # A quiz typesets itself half a second after its page.
    if browser.find_elements(By.CSS_SELECTOR, ".Quiz"):
        time.sleep(0.7)

    assert browser.execute_script(UNTYPESET) == []
    assert browser.execute_script(BROKEN_IMAGES) == []
    browser.execute_script(UNFOLD)  # axe then sees all that it would at rest, and more
    wait(browser, REACHABLE)
    assert violations(browser) == []
    for theme in THEMES:
        show(browser, WIDTHS[width], theme)
        wait(browser, f"return document.documentElement.dataset.theme === '{theme}'")
        assert browser.execute_script(SIDEWAYS) == []
        assert browser.execute_script(FAINT) == []
        if theme != THEMES[0]:  # what is not colour is the same by night
            assert violations(browser, rules=OF_COLOURS) == []
        visited.add((page, width, theme))

    requested, failed, complaints = drain(browser)
    assert f"{site}/{page}.html" in requested
    assert [url for url in requested if not url.startswith((site, "data:", "blob:"))] == []
    assert failed == []
    assert complaints == []


@pytest.mark.parametrize("count", [len(VISITS)], ids=[f"{len(PAGES)}_pages_2_widths_2_themes_{len(VISITS)}_visits"])
def test_every_page_was_seen_at_both_widths_by_day_and_by_night(request, count):
    """Counts what the tests above went through, and so fails with any of them."""
    if sum(item.originalname == "test_page" for item in request.session.items) < len(PAGES) * len(WIDTHS):
        pytest.skip("only some of the pages are tested")
    assert visited == set(VISITS) and len(visited) == count == len(PAGES) * 2 * 2


def choose(browser, quiz, correct):
    choice = quiz.find_element(By.CSS_SELECTOR, f"label[data-correct={correct}]")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", choice)
    choice.click()


def enter(field, correct):
    answers = json.loads(field.get_attribute("data-answers"))
    number = next(answer["value"] for answer in answers if answer.get("correct")) if correct == "true" else -1
    field.send_keys(str(number), Keys.ENTER)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_quizzes_answer_at_once(browser, site, notebook):
    """On a static page, without a kernel: a wrong answer gets its hint, the right one its praise."""
    show(browser, PHONE)
    visit(browser, f"{site}/notebooks/{notebook.stem}.html")
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


@each_width
@pytest.mark.parametrize("word", ["redundancy", "misprint"])
def test_search_finds_the_chapter(browser, site, width, word):
    """From the landing page, by the keyboard where there is one, by the button on a phone."""
    wanted = {"redundancy": "notebooks/08_channel_redundancy", "misprint": "notebooks/10_reading_the_cost_table"}[word]
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


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("side", ["primary", "secondary"])
def test_the_drawers_of_a_phone(browser, site, side, theme):
    """The book's contents come from the left, the page's own from the right."""
    show(browser, PHONE, theme)
    visit(browser, f"{site}/notebooks/{NOTEBOOKS[0].stem}.html")
    drawer = f"#pst-{side}-sidebar-modal"
    browser.find_element(By.CSS_SELECTOR, f".bd-header-article .{side}-toggle").click()
    wait(browser, f"return document.querySelector('{drawer}').open")
    assert violations(browser, drawer) == []
    browser.find_element(By.CSS_SELECTOR, f"{drawer} li > a").click()
    wait(browser, f"return !location.href.endsWith('{NOTEBOOKS[0].stem}.html')")


@pytest.mark.parametrize("name", ["Read", "Run", "Teach"])
def test_all_of_a_door_opens_it(browser, site, name):
    show(browser, LAPTOP)
    visit(browser, f"{site}/book/index.html")
    [card] = browser.find_elements(
        By.XPATH, f"//*[contains(@class, 'doors')]//*[contains(@class, 'sd-card ')][.//*[normalize-space() = '{name}']]"
    )
    target = card.find_element(By.TAG_NAME, "a").get_attribute("href")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", card)
    corner = [5 - side // 2 for side in (card.size["width"], card.size["height"])]
    webdriver.ActionChains(browser).move_to_element_with_offset(card, *corner).click().perform()
    wait(browser, f"return location.href === '{target}'")
