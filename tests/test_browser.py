"""The built pages in a real browser, on a laptop and on a phone, by day and by night, without a network."""

import functools
import json
import shutil
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import NOTEBOOKS, toc_pages
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
LAPTOP, PHONE = 1280, 375

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER),
    reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)",
)

# MathJax has begun to show its work, which it does for a whole page at once, and all pictures are there.
SETTLED = """
    return document.readyState === "complete"
        && (!document.querySelector("article .math") || document.querySelector("article mjx-container"))
        && [...document.images].every(image => image.complete);
"""

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

# Text that can hardly be told from what it stands on: a contrast below 3 : 1, by the formula of WCAG 2.
FAINT = """
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const paint = (below, color) => {
        for (canvas.fillStyle of [`rgb(${below.join()})`, color]) canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
    };
    const ground = element => element
        ? paint(ground(element.parentElement), getComputedStyle(element).backgroundColor)
        : [255, 255, 255];
    const linear = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) =>
        0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const contrast = element => {
        const below = ground(element), above = paint(below, getComputedStyle(element).color);
        const [dark, light] = [luminance(below), luminance(above)].sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
    };
    const texts = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
    const faint = new Set();
    while (texts.nextNode()) {
        const text = texts.currentNode.textContent.trim(), element = texts.currentNode.parentElement;
        const seen = text && element.checkVisibility() && !element.closest(".headerlink, button");
        if (seen && contrast(element) < 3) faint.add(text.slice(0, 60));
    }
    return [...faint];
"""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(html):
    """The address of the pages."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=html)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium that can reach nothing but this machine, and logs what it asks for."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.add_argument("--headless=new")
    options.add_argument("--no-sandbox")  # without it Chromium refuses to start as root, as in a container
    options.add_argument("--disable-dev-shm-usage")
    options.add_argument("--disable-background-networking")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    yield driver
    driver.quit()


def show(browser, width, theme="light"):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    preference = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preference})


def wait(browser, script):
    WebDriverWait(browser, 20, poll_frequency=0.05).until(lambda driver: driver.execute_script(script))


def visit(browser, address):
    browser.get(address)
    wait(browser, SETTLED)


def drain(browser):
    """What the browser asked for, what it did not get, and what it complained of, since the last call."""
    requested, failed = [], []
    for entry in browser.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.requestWillBeSent":
            requested.append(event["params"]["request"]["url"])
        elif event["method"] == "Network.loadingFailed":
            failed.append(event["params"]["errorText"])
    complaints = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    return requested, failed, complaints


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
