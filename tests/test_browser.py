"""The built pages in a real browser, on a laptop and on a phone, by day and by night, without a network."""

import json
import time

import chromium
import pytest
from chromium import FAINT, LAPTOP, PHONE, drain, show, visit, wait
from conftest import NOTEBOOKS, toc_pages
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = chromium.NEEDED

# Mathematics without MathJax's output, with an error, or that nothing took for mathematics.
UNTYPESET = r"""
    const article = document.querySelector("article");
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
    const frames = [document.documentElement, ...document.querySelectorAll("body, main, main div, article")];
    return frames
        .filter(frame => frame.contains(document.querySelector("article")) && frame.checkVisibility())
        .filter(frame => frame.scrollWidth > frame.clientWidth)
        .map(frame => `${frame.tagName} ${frame.className}: ${frame.scrollWidth} > ${frame.clientWidth}`);
"""


@pytest.mark.parametrize("page", toc_pages())
@pytest.mark.parametrize("width", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_page(browser, site, page, width):
    show(browser, width)
    drain(browser)
    visit(browser, f"{site}/{page}.html")
    # A quiz typesets itself half a second after its page.
    if browser.find_elements(By.CSS_SELECTOR, ".Quiz"):
        time.sleep(0.7)

    assert browser.execute_script(UNTYPESET) == []
    assert browser.execute_script(BROKEN_IMAGES) == []
    for theme in "light", "dark":
        show(browser, width, theme)
        wait(browser, f"return document.documentElement.dataset.theme === '{theme}'")
        assert browser.execute_script(SIDEWAYS) == []
        assert browser.execute_script(FAINT) == []

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
