"""How long a reader waits for each page, and for how much: `make speed`.

Every page of the table of contents is opened in headless Chromium from a server on this machine, at the widths of a
laptop and of a phone, each time with an empty cache. A line a page, medians of three visits: milliseconds from the
request to the first contentful paint and to the load event; kilobytes of the page with its pictures, and of all that a
first visit loads. Nothing is compressed, as a server on the web would.
"""

import statistics
import sys

from browser import NoBrowser, started
from chromium import LAPTOP, PHONE, served, show, visit, wait
from conftest import HTML, toc_pages

# A picture belongs to its page; what lies in _static, and the index of the search, is loaded once for all.
FIGURES = """
    const [page] = performance.getEntriesByType("navigation");
    const loaded = performance.getEntriesByType("resource");
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    const size = entries => page.encodedBodySize + entries.reduce((sum, entry) => sum + entry.encodedBodySize, 0);
    return paint && page.loadEventEnd && [
        paint.startTime, page.loadEventEnd, size(loaded.filter(({name}) => name.includes("/_images/"))), size(loaded),
    ];
"""


def measure(browser, address):
    """Of one visit: paint and load in ms, the page's own bytes and all bytes."""
    browser.get("about:blank")
    visit(browser, address)
    wait(browser, FIGURES)
    return browser.execute_script(FIGURES)


def main():
    if not (HTML / "execution.json").exists():
        sys.exit("The book is not built: run `make book`.")
    print(f"{'page':44}{'width':>6}{'paint ms':>10}{'load ms':>9}{'page kB':>9}{'all kB':>8}")
    slowest = []
    with served(HTML) as site, started() as browser:
        browser.execute_cdp_cmd("Network.enable", {})
        browser.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
        for page in toc_pages():
            for width in LAPTOP, PHONE:
                show(browser, width)
                visits = [measure(browser, f"{site}/{page}.html") for _ in range(3)]
                paint, load, own, everything = map(statistics.median, zip(*visits, strict=True))
                slowest.append((paint, page, width))
                print(f"{page:44}{width:6}{paint:10.0f}{load:9.0f}{own / 1e3:9.0f}{everything / 1e3:8.0f}", flush=True)
    print("The slowest first paint: {:.0f} ms, {} at {} pixels.".format(*max(slowest)))


if __name__ == "__main__":
    try:
        main()
    except NoBrowser as missing:
        sys.exit(str(missing))
