"""Print the built book as one PDF, and its cheat sheet as another: `make pdf`.

The pages that `make book` made are joined into one, whose links stay within it, and headless Chromium prints that:
what is on paper is what was on the page, and nothing is run or rendered twice. What answers to a mouse is put into
words or stands still.
"""

import base64
import html
import io
import json
import posixpath
import re
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from urllib.parse import unquote, urlsplit

import browser
import matplotlib
import pikepdf
import yaml
from bs4 import BeautifulSoup, Tag

from eamlib.book.exercises import QUIZZES

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
PDF = ROOT / "_build" / "pdf"
BOOK, SHEET = PDF / "convolution-attention-redundancy.pdf", PDF / "cheat-sheet.pdf"
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
ADDRESS = CITATION["repository-code"]
SHEET_PAGE = "book/cheat_sheet"
LANGUAGE = "en-GB"
BOOK_WIDTH, SHEET_WIDTH = 170, 281  # millimetres between the margins, which `pdf.css` and `sheet` set
FONTS_ARE_FILES = "--allow-file-access-from-files"  # those of the mathematics
SHORT = 24  # lines of code that are kept on one page

# Everything is there: the fonts, the pictures, the mathematics. A picture that is not says so.
SETTLED = """
    const done = arguments[0];
    const parts = [document.fonts.ready, ...[...document.images].map(image => image.decode())];
    if (document.querySelector(".math")) parts.push(MathJax.startup.promise);
    Promise.all(parts).then(() => done(null), error => done(String(error)));
"""
# What is wider than the paper is made smaller, and what still is wider is named.
FIT = """
    const room = element => {
        const {paddingLeft, paddingRight} = getComputedStyle(element.parentElement);
        return element.parentElement.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
    };
    for (const wide of document.querySelectorAll("table, mjx-container[display]")) {
        if (wide.parentElement.closest("table")) continue;
        const ratio = room(wide) / Math.max(wide.scrollWidth, wide.offsetWidth);
        if (ratio < 1) wide.style.zoom = ratio * 0.995;
    }
    const paper = document.body.getBoundingClientRect().right + 1;
    return [...document.querySelectorAll("img, pre, table, p, mjx-container, .explorer *")]
        .filter(element => element.checkVisibility() && element.getBoundingClientRect().right > paper)
        .map(element => `${element.tagName} in #${element.closest("[id]")?.id}: ${element.textContent.slice(0, 60)}`);
"""
NUMBER = """
    for (const [target, page] of Object.entries(arguments[0]))
        document.querySelector(`.contents a[href="#${CSS.escape(target)}"] ~ .number`).textContent = page;
"""
# As the built pages have it; but a formula is read aloud as its TeX, which `article` lays beside it.
MATHEMATICS = {
    "processHtmlClass": "tex2jax_process|mathjax_process|math|output_area",
    "enableAssistiveMml": False,
}
# What has hardly a colour of its own in code, and makes four fifths of its elements: each would be one in the PDF.
PLAIN = re.compile(r'<span class="(?:n|nn|o|p|w)">([^<]*)</span>')


class Unprintable(Exception):
    """What was printed is not what was wanted."""


def main() -> None:
    if not (HTML / "execution.json").exists():
        sys.exit("The book is not built: run `make book`.")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    title, author = config["title"], config["author"]
    root, parts = table_of_contents(ROOT / "_toc.yml")
    try:
        with browser.started(FONTS_ARE_FILES) as chromium:
            page = joined(HTML, root, parts, PDF, title, cover(title, author))
            write(BOOK, printed(chromium, page, PDF / "book.html"), title, author)
            footer = f"{title} · {ADDRESS} · CC BY 4.0"
            page = sheet(HTML, SHEET_PAGE, PDF, f"{title}: the cheat sheet", footer)
            one = printed(chromium, page, PDF / "cheat_sheet.html", SHEET_WIDTH)
            if (pages := len(pikepdf.open(io.BytesIO(one)).pages)) != 1:
                raise Unprintable(f"The cheat sheet has {pages} pages. It must fit on one: shorten {SHEET_PAGE}.md.")
            write(SHEET, one, f"{title}: the cheat sheet", author)
    except (browser.NoBrowser, Unprintable) as problem:
        sys.exit(str(problem))
    for file in BOOK, SHEET:
        pages = len(pikepdf.open(file).pages)
        print(f"{file.relative_to(ROOT)}: {pages} page{'s' * (pages > 1)}, {file.stat().st_size / 1e6:.1f} MB")


def table_of_contents(file: Path) -> tuple[str, list[tuple[str, list[str]]]]:
    """The first page, and of every part its caption and its pages."""

    def pages(entries: list[dict]) -> Iterator[str]:
        for entry in entries:
            if "file" in entry:
                yield entry["file"]
            yield from pages(entry.get("sections", []))

    toc = yaml.safe_load(file.read_text(encoding="utf-8"))
    return toc["root"], [(part["caption"], list(pages(part["chapters"]))) for part in toc["parts"]]


# ---- one page of many


def joined(folder: Path, root: str, parts: list[tuple[str, list[str]]], into: Path, title: str, cover: str) -> str:
    """The pages of a built book as one, to be written to the folder ``into``.

    The first page is not among them: it leads to the others, and here the cover and the contents do.
    """
    pages = [page for _, chapters in parts for page in chapters]
    names = {root: "cover"} | {page: name_of(page) for page in pages}
    chapters = {page: article(folder, page, names, into) for page in pages}
    contents, headers = BeautifulSoup('<nav class="contents" id="contents"><h1>Contents</h1></nav>', "html.parser"), []
    for caption, within in parts:
        contents.nav.append(contents.new_tag("p", attrs={"class": "part"}, string=caption))
        for page in within:
            contents.nav.append(line_of_contents(chapters[page].h1, names[page], "chapter"))
            for heading in chapters[page].find_all("h2"):
                contents.nav.append(line_of_contents(heading, heading.find_parent(id=True)["id"], "section"))
            running = json.dumps(chapters[page].h1.get_text().strip(), ensure_ascii=False)
            headers.append(f"@page {names[page]} {{ @top-left {{ content: {running} }} }}")
            headers.append(f"#{names[page]} {{ page: {names[page]} }}")
    body = BeautifulSoup(cover, "html.parser")
    body.extend([contents, *chapters.values()])
    check_links(body)
    return document(folder, into, title, str(body), "\n".join(headers))


def sheet(folder: Path, page: str, into: Path, title: str, footer: str) -> str:
    """One page of a built book by itself, links to others taken out."""
    alone = article(folder, page, {page: name_of(page)}, into)
    alone["class"] = "sheet"
    footer = json.dumps(footer, ensure_ascii=False)
    paper = f"@page {{ size: A4 landscape; margin: 8mm 8mm 11mm; @bottom-center {{ content: {footer} }} }}"
    return document(folder, into, title, str(alone), paper)


def name_of(page: str) -> str:
    return re.sub(r"[^\w-]", "-", page)


def article(folder: Path, page: str, names: dict[str, str], into: Path) -> Tag:
    """What a built page says, made ready for paper; its ids begin with the page's name."""
    text = (folder / f"{page}.html").read_text(encoding="utf-8")
    for emoji, sign in {"✅": "✓", "❌": "✗"}.items():  # few machines have a font with the status page's emoji
        text = text.replace(emoji, sign)
    soup = BeautifulSoup(PLAIN.sub(r"\1", text), "html.parser")
    found = soup.select_one("article")
    found.attrs = {"id": names[page], "class": "page"}
    for cell in found.select(".cell"):
        ask_on_paper(cell)
    for useless in found.select(".headerlink, .toctree-wrapper, noscript, button, .verdict-open"):
        useless.decompose()
    for badge in found.select('p a[href^="https://colab.research.google.com"]'):
        badge.find_parent("p").decompose()
    for folded in found.select("details"):
        folded["open"] = ""
    for explorer in found.select(".explorer"):
        words = "The page of this chapter has this picture live, with controls that move; here is how it begins."
        explorer.insert_before(soup.new_tag("p", attrs={"class": "still"}, string=words))
    for formula in found.select(".math"):
        formula["role"], formula["aria-label"] = "img", formula.get_text().strip().strip("\\()[]")
    for code in found.select("pre"):
        if code.get_text().count("\n") < SHORT:
            code["class"] = [*code.get("class", []), "short"]
    for element in found.find_all(True):
        relocate(element, folder, page, names, into)
    return found


def ask_on_paper(cell: Tag) -> None:
    """Replace a cell that shows a quiz: the questions, what there is to choose from, no solution."""
    asked = re.fullmatch(r'quiz\("([\d.]+)"\)', (cell.select_one(".cell_input") or cell).get_text().strip())
    if not asked:
        return
    items = []
    for question in QUIZZES[asked[1]]:
        item = f"<li><p>{html.escape(question['question'])}</p>"
        if question["type"] == "numeric":
            item += '<p class="blank">Answer:</p>'
        else:
            choices = "".join(f"<li>{html.escape(str(answer['answer']))}</li>" for answer in question["answers"])
            item += f'<ol class="choices">{choices}</ol>'
        items.append(f"{item}</li>")
    cell.replace_with(BeautifulSoup(f'<ol class="questions">{"".join(items)}</ol>', "html.parser"))


def relocate(element: Tag, folder: Path, page: str, names: dict[str, str], into: Path) -> None:
    """Let ids, links and pictures of a page mean the same in the one that holds all pages."""
    here = posixpath.dirname(page)
    # Styled tables name their own ids in a style sheet. They are random, and nothing else refers to them.
    if element.has_attr("id") and not element.find_parent(class_="text_html") and element["id"] != names[page]:
        element["id"] = f"{names[page]}--{element['id']}"
    for attribute in "aria-labelledby", "aria-describedby", "for":
        if element.has_attr(attribute):
            del element[attribute]
    if element.has_attr("src") and not re.match(r"[a-z]+:", element["src"]):
        source = (folder / here / unquote(element["src"])).resolve()
        element["src"] = Path(posixpath.relpath(source.as_posix(), into.resolve().as_posix())).as_posix()
    if element.name != "a" or not element.has_attr("href"):
        return
    link = urlsplit(element["href"])
    if link.scheme:
        return
    target = posixpath.normpath(posixpath.join(here, unquote(link.path))) if link.path else f"{page}.html"
    name = names.get(target.removesuffix(".html"))
    if name is None or element.img:  # a page without a place in the book, or a picture that leads to itself
        element.unwrap()
    elif name == "cover":
        element["href"] = "#cover"
    else:
        element["href"] = f"#{name}--{link.fragment}" if link.fragment else f"#{name}"


def line_of_contents(heading: Tag, target: str, kind: str) -> BeautifulSoup:
    """A link to a heading, and room for its page's number."""
    line = (
        f'<p class="{kind}"><a href="#{target}">{heading.decode_contents()}</a><span></span><b class="number"></b></p>'
    )
    soup = BeautifulSoup(line, "html.parser")
    for inner in soup.a.select("a"):
        inner.unwrap()
    for inner in soup.a.find_all(id=True):
        del inner["id"]
    return soup


def check_links(body: Tag) -> None:
    """Every link leads to one place."""
    ids = Counter(element["id"] for element in body.find_all(id=True))
    wrong = [f"#{name} is there twice" for name, times in ids.items() if times > 1]
    wrong += [f"{a['href']} leads nowhere" for a in body.select('a[href^="#"]') if unquote(a["href"][1:]) not in ids]
    if wrong:
        raise Unprintable("Links of the book in one page: " + "; ".join(wrong))


def document(folder: Path, into: Path, title: str, body: str, style: str) -> str:
    """A page around ``body``, with the style sheet for paper and the MathJax of the built pages."""
    up = posixpath.relpath(folder.resolve().as_posix(), into.resolve().as_posix())
    return (
        f'<!doctype html><html lang="{LANGUAGE}" data-theme="light"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title>"
        f'<link rel="stylesheet" href="{up}/_static/pygments.css"><style>{for_paper()}\n{style}</style>'
        f"<script>window.MathJax = {{options: {json.dumps(MATHEMATICS)}}}</script>"
        f'<script src="{up}/_static/mathjax/tex-chtml.js"></script></head><body>{body}</body></html>'
    )


def for_paper() -> str:
    """The style sheet, with the place of its fonts."""
    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf").as_uri()
    return Path(__file__).with_name("pdf.css").read_text(encoding="utf-8").replace("FONTS", fonts)


def cover(title: str, author: str) -> str:
    """Title, authors, figure, licences, and of which state of the book this is."""
    facts = json.loads((HTML / "execution.json").read_text(encoding="utf-8"))
    subtitle = CITATION["title"].removeprefix(title).lstrip(": ")
    return f"""<div class="cover" id="cover">
        <p class="title">{html.escape(title)}</p><p class="subtitle">{html.escape(subtitle)}</p>
        <img src="../lineage.png" alt="From the standard convolution to EAM, in six steps with their costs">
        <p class="author">{html.escape(author)}</p>
        <p>Printed {date.today().strftime("%d %B %Y").lstrip("0")} from pages of commit {facts["commit"]}.<br>
        Their code was run on {html.escape(facts["device"])}, budget <code>{facts["budget"]}</code>,
        with PyTorch {facts["torch"]} and Python {facts["python"]}.</p>
        <p>The book, to read on a screen and to run: <a href="{ADDRESS}">{ADDRESS}</a><br>
        Text and figures: <a href="https://creativecommons.org/licenses/by/4.0/">CC BY 4.0</a>. Code: MIT.</p>
        </div>"""


# ---- paper


def printed(chromium, page: str, file: Path, width: int = BOOK_WIDTH) -> bytes:
    """Print a page, twice where it has a table of contents: only print knows the numbers of its pages.

    Raises:
        Unprintable: if a picture is missing, something is wider than the paper, or the contents lack a number.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    # The browser shows what it will print, at the width that is left between the margins.
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    metrics = {"width": int(width / 25.4 * 96), "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    chromium.set_script_timeout(300)
    chromium.get(file.as_uri())
    if problem := chromium.execute_async_script(SETTLED):
        raise Unprintable(f"{file.name}: {problem}")
    if cut := chromium.execute_script(FIT):
        raise Unprintable(f"{file.name} is wider than its paper: " + "; ".join(cut))
    if 'class="contents"' not in page:
        return once(chromium)
    numbers = page_numbers(once(chromium, structure=False))  # in less than half the time
    listed = {a["href"][1:] for a in BeautifulSoup(page, "html.parser").select(".contents a")}
    if lost := listed - numbers.keys():
        raise Unprintable(f"{file.name}: no page for {', '.join(sorted(lost))}")
    chromium.execute_script(NUMBER, {name: numbers[name] for name in listed})
    pdf = once(chromium)
    if page_numbers(pdf) != numbers:
        raise Unprintable(f"{file.name}: its pages moved when their numbers were filled in")
    return pdf


def once(chromium, structure: bool = True) -> bytes:
    options = {"printBackground": True, "preferCSSPageSize": True}
    options |= {"generateTaggedPDF": structure, "generateDocumentOutline": structure}
    return base64.b64decode(chromium.execute_cdp_cmd("Page.printToPDF", options)["data"])


def page_numbers(pdf: bytes) -> dict[str, int]:
    """The page of everything that a link leads to, counted from 1."""
    with pikepdf.open(io.BytesIO(pdf)) as opened:
        places = opened.Root.get("/Dests", pikepdf.Dictionary())
        return {name.removeprefix("/"): pikepdf.Page(place[0]).index + 1 for name, place in places.items()}


def write(file: Path, pdf: bytes, title: str, author: str) -> None:
    """Add who, what and in which language; then write the file aside and rename it."""
    half = file.with_suffix(".half")
    with pikepdf.open(io.BytesIO(pdf)) as opened:
        opened.docinfo["/Title"], opened.docinfo["/Author"] = title, author
        opened.Root.Lang = pikepdf.String(LANGUAGE)
        opened.Root.ViewerPreferences = pikepdf.Dictionary(DisplayDocTitle=True)
        with opened.open_outline() as outline:
            if outline.root:
                opened.Root.PageMode = pikepdf.Name.UseOutlines
            correct(outline.root)
        opened.save(half, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    half.replace(file)


def correct(bookmarks: list[pikepdf.OutlineItem]) -> None:
    """Chromium writes some titles twice, "PrefacePreface"."""
    for bookmark in bookmarks:
        once = bookmark.title[: len(bookmark.title) // 2]
        if bookmark.title == once * 2:
            bookmark.title = once
        correct(bookmark.children)


if __name__ == "__main__":
    main()
