"""How long the chapters' pages are: `make sizes`.

A line a page: words that are read (code and folded solutions left out), cells, the minutes that its header promises,
seconds that it ran when the book was built, screens of a laptop and the screen on which the first picture begins.
"""

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

import nbformat
from browser import NoBrowser, started
from chromium import LAPTOP, served, show, visit
from conftest import HTML, NOTEBOOKS, page_of

NOT_READ = re.compile(r"<details>.*?</details>|<!--.*?-->|```.*?```", re.DOTALL)
SCREENS = """
    const picture = document.querySelector("article :is(img, svg, .explorer)");
    const top = picture ? picture.getBoundingClientRect().top + scrollY : NaN;
    return [document.querySelector("article").scrollHeight / innerHeight, top / innerHeight + 1];
"""


class Size(NamedTuple):
    words: int
    cells: int
    minutes: int


def size(path: Path) -> Size:
    """Of a notebook, from its source."""
    cells = nbformat.read(path, as_version=nbformat.NO_CONVERT).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    minutes = re.search(r"> \*\*Time\*\* about (\d+) minutes", text)
    return Size(len(NOT_READ.sub("", text).split()), len(cells), int(minutes[1]) if minutes else 0)


def main():
    if not (HTML / "execution.json").exists():
        sys.exit("The book is not built: run `make book`.")
    ran = json.loads((HTML / "execution.json").read_text(encoding="utf-8"))["notebooks"]
    print(f"{'page':64}{'words':>6}{'cells':>7}{'minutes':>9}{'seconds':>9}{'screens':>9}{'picture':>9}")
    with served(HTML) as site, started() as browser:
        show(browser, LAPTOP)
        for path in NOTEBOOKS:
            page = page_of(path)
            visit(browser, f"{site}/{page}.html")
            screens, picture = browser.execute_script(SCREENS)
            words, cells, minutes = size(path)
            seconds = ran[page]["runtime"]
            print(f"{page:64}{words:6,}{cells:7}{minutes:9}{seconds:9.0f}{screens:9.1f}{picture:9.1f}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except NoBrowser as missing:
        sys.exit(str(missing))
