"""What the tests ask of a page in Chromium (`book/tools/browser.py` starts it)."""

import functools
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import NoBrowser, find
from selenium.webdriver.support.wait import WebDriverWait

LAPTOP, PHONE = 1280, 375


def is_there() -> bool:
    """Whether there is a browser, and what drives it: tests fetch neither."""
    try:
        return bool(find() and shutil.which("chromedriver"))
    except NoBrowser:
        return False


NEEDED = pytest.mark.skipif(
    not is_there(), reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)"
)

# MathJax has begun to show its work, which it does for a whole page at once, and all pictures are there.
SETTLED = """
    return document.readyState === "complete"
        && (!document.querySelector("article .math") || document.querySelector("article mjx-container"))
        && [...document.images].every(image => image.complete);
"""

# axe-core 4.14.1 as npm has it, under the MPL 2.0. No package of Python brings a recent one for 3.11 but with
# Playwright, 45 MB and a second driver of browsers.
AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")

# A change of theme is a transition, in whose middle no colour is what it will be.
STILL = """
    for (const animation of document.getAnimations())
        if (animation.effect.getComputedTiming().endTime !== Infinity) animation.finish();
"""

# The rules that see another page by night.
OF_COLOURS = "color-contrast", "link-in-text-block"

# A page has thousands of coloured tokens in its listings, and axe takes a third of a millisecond for each. The colours
# follow from the class and from where the listing is: three of each kind stay, the others become plain text.
THIN = """
    const counts = {};
    for (const token of document.querySelectorAll("article .highlight pre span[class]")) {
        const kind = `${token.className} ${token.closest("div.cell_input, div.cell_output, details")?.className}`;
        counts[kind] = (counts[kind] ?? 0) + 1;
        if (counts[kind] > 3) token.replaceWith(...token.childNodes);
    }
"""

VIOLATIONS = """
    const [context, options, done] = arguments;
    axe.run(context, options).then(({violations}) => done(violations
        .filter(({impact}) => impact === "serious" || impact === "critical")
        .flatMap(({id, nodes}) => nodes.map(node => `${id}: ${node.html.slice(0, 200)} ${node.failureSummary}`))));
"""

# Text that can hardly be told from what it stands on: a contrast below 3 : 1, by the formula of WCAG 2.
FAINT = """
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const once = (known, key, make) => known.get(key) ?? (known.set(key, make()), known.get(key));
    const paints = new Map(), grounds = new Map();
    const paint = (below, color) => once(paints, `${below} ${color}`, () => {
        for (canvas.fillStyle of [`rgb(${below.join()})`, color]) canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
    });
    const ground = element => element
        ? once(grounds, element, () => paint(ground(element.parentElement), getComputedStyle(element).backgroundColor))
        : [255, 255, 255];
    const linear = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) =>
        0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const contrast = element => {
        const below = ground(element), above = paint(below, getComputedStyle(element).color);
        const [dark, light] = [luminance(below), luminance(above)].sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
    };
    const article = document.querySelector("article, .bd-search-container");
    const texts = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
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


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder's pages."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


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


def violations(browser, within="html", rules=()):
    """What axe-core calls a serious or a critical fault of the page.

    Args:
        within: a selector of the elements that are looked into.
        rules: names of axe's rules, where not all of them are asked.
    """
    if not browser.execute_script("return Boolean(window.axe)"):
        browser.execute_script(AXE)
    browser.execute_script(STILL)
    browser.execute_script(THIN)
    options = {"resultTypes": ["violations"], "preload": False} | ({"runOnly": list(rules)} if rules else {})
    return browser.execute_async_script(VIOLATIONS, within, options)


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
