"""Decks of reveal.js slides, one for every page, from its notebook as it was executed for the book: ``make slides``.

With ``CORE=1`` there is one for every chapter instead, of the slides that a lecture has time for.

The metadata `slideshow` of a cell says what is shown; a cell without them is not. CONTRIBUTING.md has the keys. Of a
Markdown cell a slide shows what can be taken in at a glance, and the speaker notes hold its running prose: what a
teacher says is what the chapter says.
"""

import base64
import html
import importlib.util
import re
import shutil
import struct
import sys
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import jinja2
import nbformat
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match
from jupyter_cache import get_cache
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import markers  # noqa: E402
import pages as book_pages  # noqa: E402
import uses  # noqa: E402

from eamlib.book.exercises import QUIZZES  # noqa: E402

STRINGS = {"type": "array", "items": {"type": "string"}}
BEGINS = "slide", "subslide"
# What a cell's metadata may say: `checked` knows where, and CONTRIBUTING.md what it means.
KEYS = {
    "slide_type": {"enum": [*BEGINS, "fragment", "-", "notes", "skip"]},
    "title": {"type": "string"},
    "core": {"const": True},
    "closing": STRINGS,
    "points": STRINGS,
    "sentences": STRINGS,
    "show": {"enum": ["output", "code", "both"]},
}
LINES = 14  # of code, at most
FIGURE = '<figure class="compact"'
SIGHT = re.compile("<(figure|table|pre)")


class BadMetadata(ValueError):
    """Metadata from which no slide can be made."""


@dataclass
class Slide:
    """One slide, in HTML."""

    title: str
    level: str = "slide"  # or "subslide"
    shown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kind: str = ""  # a class for the style sheet
    core: bool = False  # part of the chapter's core deck
    closing: list[str] = field(default_factory=list)  # what that deck's last slide takes from this one, in Markdown

    @property
    def columns(self) -> list[list[str]]:
        """Text on the left of a figure that is not wide; all else stands in one column."""
        if len(self.shown) > 1 and FIGURE in self.shown[-1] and not any(SIGHT.search(b) for b in self.shown[:-1]):
            return [self.shown[:-1], self.shown[-1:]]
        return [self.shown]


# Markdown ---------------------------------------------------------------------------------------------------------


def drawn(text: str) -> str:
    """A drawing is part of the deck, as it is of the page."""
    return book_pages.with_drawings(text, ROOT)


@cache
def markdown() -> MarkdownIt:
    """The book's Markdown, less what chapters do not use."""
    parser = MarkdownIt("commonmark", {"html": True, "highlight": lambda code, language, _: paint(code, language)})
    parser.enable("table").use(dollarmath_plugin, renderer=mathematics, allow_space=True).use(amsmath_plugin)
    parser.add_render_rule(
        "amsmath", lambda self, tokens, i, *_: mathematics(tokens[i].content, {"display_mode": True})
    )
    return parser


def mathematics(tex: str, options: dict) -> str:
    """What slides.js hands to MathJax: without the equation's number, which nothing on a slide refers to."""
    display = options["display_mode"]
    tex = re.sub(r"\\tag\{[^}]*\}", "", tex)
    return f"<{'div' if display else 'span'} class='math'>{html.escape(tex)}</{'div' if display else 'span'}>"


def paint(code: str, language: str = "python") -> str:
    return highlight(code, get_lexer_by_name(language or "text"), HtmlFormatter(cssclass="code"))


def unlinked(page: str) -> str:
    """A link into the book is text on a slide, which may lie anywhere; a link to elsewhere stays one."""
    return re.sub(r'<a href="(?!https?://)[^>]*>(.*?)</a>', r"\1", page, flags=re.DOTALL)


def rendered(node: SyntaxTreeNode) -> str:
    return drawn(unlinked(markdown().renderer.render(node.to_tokens(), markdown().options, {})))


def block(source: str) -> str:
    return drawn(unlinked(markdown().render(source)))


def inline(source: str) -> str:
    return drawn(unlinked(markdown().renderInline(source)))


def listed(items: list[str], tag: str = "ul") -> str:
    return f"<{tag}>{''.join(f'<li>{inline(item)}</li>' for item in items)}</{tag}>"


PROTECTED = re.compile(r"\$[^$]+\$|`[^`]+`|\[[^\]]*\]\([^)]*\)|\b(?:e\.g|i\.e|et al|vs)\.")
SENTENCE_END = re.compile(r"(?<=[.?!])([*_\"”)]*)\s+")


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph, in Markdown.

    >>> sentences("**RCR** draws $n$ channels, e.g. four. Which ones? $n$ is small.")
    ['**RCR** draws $n$ channels, e.g. four.', 'Which ones?', '$n$ is small.']
    """
    kept = []

    def keep(match):
        kept.append(match[0])
        return f"\x00{len(kept) - 1}\x01"

    source = PROTECTED.sub(keep, " ".join(paragraph.split()))
    parts = []
    for part in SENTENCE_END.sub(r"\1\n", source).split("\n"):
        if parts and len(re.findall(r"\*+", parts[-1])) % 2:  # an emphasis goes on
            part = f"{parts.pop()} {part}"
        parts.append(part)
    return [re.sub(r"\x00(\d+)\x01", lambda match: kept[int(match[1])], part) for part in parts]


def plain(source: str) -> str:
    """Words without marks of emphasis, by which a sentence is found."""
    return " ".join(re.sub(r"[*_`\"“”$]", "", source).split())


def leading(paragraph: str) -> list[str]:
    """The first sentence of a paragraph that begins with an emphasis, and the second after a run-in head."""
    first = sentences(paragraph)
    if not re.match(r"\*\*?\w", paragraph):
        return []
    return [" ".join(first[:2] if len(plain(first[0]).split()) < 5 else first[:1])]


@dataclass
class Part:
    """What stands under one heading of a Markdown cell."""

    title: str | None
    shown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # the prose
    whole: list[str] = field(default_factory=list)  # prose, and all that would be shown


def parts(source: str, chosen: list[str] | None = None) -> list[Part]:
    """Split a Markdown cell into what is shown and what is said.

    Headings, formulas, lists, tables and code are shown. Of a paragraph that begins with an emphasis, as definitions
    and run-in heads do, its first sentence is; with `chosen`, the sentences that begin with these words are instead.
    """
    found, left = [Part(None)], [plain(words) for words in chosen or ()]

    def picked(paragraph):
        if chosen is None:
            return leading(paragraph)
        kept = []
        for sentence in sentences(paragraph):
            if begin := next(filter(plain(sentence).startswith, left), None):
                left.remove(begin)
                kept.append(sentence)
        return kept

    for node in SyntaxTreeNode(markdown().parse(source)).children:
        if node.type == "heading":
            found.append(Part(rendered(node.children[0])))
            continue
        if node.type in ("html_block", "hr"):
            continue
        part, text = found[-1], rendered(node)
        part.whole.append(text)
        match node.type:
            case "paragraph" if node.children[0].children[0].type == "image":
                part.shown.append(text)
            case "paragraph":
                part.shown += [f"<p>{inline(sentence)}</p>" for sentence in picked(node.children[0].content)]
                part.notes.append(text)
            case "bullet_list" | "ordered_list":
                items = [item.children[0].children[0].content for item in node.children]
                shown = [" ".join(leading(item) or [item]) for item in items]
                part.shown.append(listed(shown, "ul" if node.type == "bullet_list" else "ol"))
                if shown != items:
                    part.notes.append(text)
            case "blockquote":
                part.notes.append(text)
            case "math_block" | "amsmath" | "table" | "fence":
                part.shown.append(text)
            case other:
                raise BadMetadata(f"no slide can show a {other}")
    if left:
        raise BadMetadata(f"no sentence of the cell begins with “{left[0]}”")
    # A heading right before another one has nothing to show.
    return [part for part in found[:-1] if part.whole] + found[-1:]


def items(source: str, chosen: list[str]) -> list[str]:
    """The items of a cell's lists that begin with these words, in this order."""
    nodes = SyntaxTreeNode(markdown().parse(source)).walk()
    found = [node.children[0].children[0].content for node in nodes if node.type == "list_item"]
    kept = []
    for words in chosen:
        begins = [item for item in found if plain(item).startswith(plain(words))]
        if not begins:
            raise BadMetadata(f"no item of its lists begins with “{words}”")
        kept += begins[:1]
    return kept


# Code cells -------------------------------------------------------------------------------------------------------


def code(cell) -> str:
    lines = cell.source.rstrip(";\n").splitlines()
    if len(lines) > LINES:
        raise BadMetadata(f"{len(lines)} lines of code are shown, and a slide has room for {LINES}")
    return paint("\n".join(lines))


def picture(data: str, alt: str) -> str:
    width, height = struct.unpack(">II", base64.b64decode(data[:64])[16:24])
    shape = "wide" if width > 1.4 * height else "compact"
    image = f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt, quote=True)}">'
    return f'<figure class="{shape}" style="--ratio: {width / height:.2f}">{image}</figure>'


def output(cell) -> list[str]:
    """What a cell returned, in HTML; what it warned of is left out."""
    shown = []
    for item in cell.outputs:
        if item.output_type == "stream":
            if item.name == "stdout":
                shown.append(f"<pre class='printed'>{html.escape(item.text.rstrip())}</pre>")
            continue
        data = {kind: "".join(value) for kind, value in item.data.items() if isinstance(value, str | list)}
        if "image/png" in data:
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            if not alt:
                raise BadMetadata("its picture has no alternative text")
            shown.append(picture("".join(data["image/png"].split()), alt))
        elif "text/html" in data:
            shown.append(f"<div class='output'>{data['text/html']}</div>")
        elif "text/plain" in data:
            shown.append(f"<pre class='printed'>{html.escape(data['text/plain'])}</pre>")
    return shown


def code_and_output(cell, show: str | None = None) -> list[str]:
    """A cell's output, its code or both; without a word its output, or its code where there is none."""
    found = output(cell)
    if show in ("output", "both") and not found:
        raise BadMetadata("it has no output to show")
    if show == "both":
        return [code(cell), *found]
    return [code(cell)] if show == "code" or not found else found


def asked(cell) -> str | None:
    """The exercise whose quiz a cell asks."""
    found = cell.cell_type == "code" and re.search(r'^quiz\("(\d+\.\d)"\)', cell.source, re.MULTILINE)
    return found[1] if found else None


def question(exercise: str) -> Slide:
    """The first question of a quiz, to ask the room; the answer is in the notes."""
    asks = QUIZZES[exercise][0]
    slide = Slide("Ask the room", "subslide", [f"<p>{inline(asks['question'])}</p>"], kind="question")
    letters = iter("ABCDEFGH")
    for answer in asks["answers"]:
        feedback = inline(answer["feedback"])
        if "answer" in answer:
            letter = next(letters)
            slide.shown.append(f"<p class='answer'><b>{letter}</b> {inline(str(answer['answer']))}</p>")
            slide.notes.append(f"<p><b>{letter}</b> {feedback}</p>")
        else:
            slide.notes.append(f"<p><b>{answer.get('value', 'Otherwise')}</b>: {feedback}</p>")
    return slide


# A notebook -------------------------------------------------------------------------------------------------------


def points(mark: dict) -> list[str]:
    return [listed(mark["points"])] if "points" in mark else []


def stepwise(blocks: list[str], mark: dict) -> list[str]:
    """What appears one after another, where a cell is a fragment."""
    return [f"<div class='fragment'>{each}</div>" for each in blocks] if mark["slide_type"] == "fragment" else blocks


def checked(cell) -> dict:
    """A cell's `slideshow` metadata."""
    found = cell.metadata.get("slideshow") or {"slide_type": "skip"}
    kind, is_text, keys = found.get("slide_type"), cell.cell_type == "markdown", ["slide_type"]
    if kind in BEGINS:
        keys.append("title")
    if kind not in ("notes", "skip"):
        keys.append("points")
        if not asked(cell):
            keys.append("sentences" if is_text else "show")
    if kind in BEGINS:
        keys += ["core", "closing"] if is_text else ["core"]
    allowed = {key: KEYS[key] for key in keys}
    schema = {"type": "object", "properties": allowed, "required": ["slide_type"], "additionalProperties": False}
    if error := best_match(Draft7Validator(schema).iter_errors(found)):
        raise BadMetadata(f"its slideshow: {error.message}. Allowed here: {', '.join(keys)}.")
    return found


def exercises(notebook) -> Slide:
    """The list of exercises, each with its kind and how it begins."""
    rows, notes = [], []
    for cell in notebook.cells:
        found = re.match(r"### Exercise (\d+\.\d+) \((\w+)\)[^\n]*\n+(.*)", cell.source, re.DOTALL)
        if cell.cell_type == "markdown" and found:
            task = sentences(found[3].split("\n\n")[0])
            first = task.pop(0)
            while task and len(first.split()) < 12:
                first += " " + task.pop(0)
            rows.append(f"<tr><td>{found[1]}</td><td><em>{found[2]}</em></td><td>{inline(first)}</td></tr>")
            notes += [f"<p><b>{found[1]}</b></p>", block(found[3])]
    return Slide("Exercises", shown=[f"<table class='exercises'>{''.join(rows)}</table>"], notes=notes)


def opening(cell) -> Slide:
    """The title slide: title, link, and the box with objectives, prerequisites and time."""
    [part] = parts(cell.source)
    number, _, title = part.title.partition(" ")
    link = [block for block in part.whole if "colab.research.google.com" in block]
    box = [block for block in part.whole if block.startswith("<blockquote")]
    return Slide(
        title, shown=[f"<p class='number'>Chapter {number.lstrip('0')}</p>", *box, *link], notes=box, kind="opening"
    )


def deck(notebook, name: str) -> list[Slide]:
    """The slides of an executed notebook; raises an ExceptionGroup of all that is wrong with its metadata."""
    slides, wrong = [], []
    for cell in notebook.cells:
        try:
            add(cell, checked(cell), slides, notebook)
        except BadMetadata as error:
            wrong.append(BadMetadata(f"{name}, cell {cell.id}: {error}"))
    for slide in slides:
        if not slide.shown:
            wrong.append(BadMetadata(f"{name}: nothing stands on the slide “{slide.title}”"))
    if not slides and not wrong:
        wrong.append(BadMetadata(f"{name}: no cell has the metadata of a slide"))
    if wrong:
        raise ExceptionGroup("no slides can be made", wrong)
    return slides


def add(cell, mark: dict, slides: list[Slide], notebook) -> None:
    """Put a cell on the slides."""
    kind, is_code, before = mark["slide_type"], cell.cell_type == "code", len(slides)
    if kind == "skip":
        return
    if not slides:
        if not cell.source.startswith("# "):
            raise BadMetadata("the first slide is the chapter's title")
        slides.append(opening(cell))
    elif exercise := asked(cell):
        slides.append(question(exercise))
        slides[-1].title = inline(mark.get("title", slides[-1].title))
        slides[-1].shown[:0] = points(mark)
    elif kind == "notes":
        said = code_and_output(cell) if is_code else [text for part in parts(cell.source) for text in part.whole]
        slides[-1].notes += said
    elif is_code:
        add_code(cell, mark, slides)
    else:
        add_text(cell, mark, slides, notebook)
    for slide in slides[before:]:
        slide.core = "core" in mark and slide.title != "Exercises"
    if "closing" in mark:
        slides[before].closing = items(cell.source, mark["closing"])


def add_code(cell, mark: dict, slides: list[Slide]) -> None:
    if mark["slide_type"] in BEGINS:
        if "title" not in mark:
            raise BadMetadata("a slide that begins with code has a title in its metadata")
        slides.append(Slide(inline(mark["title"]), mark["slide_type"]))
    slides[-1].shown += stepwise(points(mark) + code_and_output(cell, mark.get("show")), mark)


def add_text(cell, mark: dict, slides: list[Slide], notebook) -> None:
    """A slide for each heading; what stands before the first one ends the slide before, unless it has a title."""
    begins = mark["slide_type"] in BEGINS
    found, first = parts(cell.source, mark.get("sentences")), points(mark)
    if "title" in mark:
        found[0].title = inline(mark["title"])
    elif begins and found[0].title is None and len(found) == 1:
        raise BadMetadata("a slide without a heading has a title in its metadata")
    for part in found:
        if part.title == "Exercises":
            slides.append(exercises(notebook))
        elif part.title is None and begins:
            slides[-1].notes += part.whole
        else:
            if part.title is not None:
                slides.append(Slide(part.title, mark["slide_type"] if begins else "subslide"))
            slides[-1].shown += part.shown + first if part.title else stepwise(part.shown + first, mark)
            slides[-1].notes += part.notes
            first = []


# A chapter --------------------------------------------------------------------------------------------------------


def cover(index: str) -> Slide:
    """The title slide of a chapter: its title and its question, which are the first words of its list of pages."""
    [part] = parts(index)
    number, _, title = part.title.partition(" ")
    shown = [f"<p class='number'>Chapter {number.lstrip('0')}</p>", part.whole[0]]
    return Slide(title, shown=shown, notes=part.whole[1:], kind="opening")


def core(index: str, decks: list[list[Slide]]) -> list[Slide]:
    """The slides of a chapter's pages that are marked as core, between its question and a summary."""
    pages = [slide for deck in decks for slide in deck]
    kept = [replace(slide, level="slide") for slide in pages if slide.core]
    closing = [item for slide in pages for item in slide.closing]
    first = cover(index)
    if not kept or not closing:
        raise BadMetadata(f"{first.title}: {'no summary has a closing item' if kept else 'no slide is marked as core'}")
    said = [block for slide in pages if slide.closing for block in slide.shown]
    return [first, *kept, Slide("Summary", shown=[listed(closing)], notes=said)]


# Files ------------------------------------------------------------------------------------------------------------


def executed(path: Path, folder: Path):
    """A notebook with its outputs, from the book's cache, which does not know of slides."""
    notebook = nbformat.read(path, as_version=4)
    try:
        _, ran = get_cache(folder).merge_match_into_notebook(uses.read(path, ROOT))
    except KeyError:
        sys.exit(f"{path.name} is not what the book has executed: run `make book` first")
    for cell, found in zip(notebook.cells, ran.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs = found.outputs
    markers.strip_cells(notebook.cells)
    return notebook


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported."""
    return Path(importlib.util.find_spec(name).submodule_search_locations[0])


def copy_assets(to: Path):
    """reveal.js and MathJax, from the Python packages that bring them, and the look of the slides."""
    reveal = package("sphinx_revealjs") / "_static" / "revealjs"
    for file in "LICENSE", "dist/reset.css", "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js":
        (to / "reveal" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(reveal / file, to / "reveal" / file)
    mathjax = package("sphinx-mathjax-offline") / "static" / "mathjax"
    for file in "tex-chtml.js", "output/chtml/fonts":
        (to / "mathjax" / file).parent.mkdir(parents=True, exist_ok=True)
        if (mathjax / file).is_dir():
            shutil.copytree(mathjax / file, to / "mathjax" / file)
        else:
            shutil.copyfile(mathjax / file, to / "mathjax" / file)
    here = Path(__file__).parent
    shutil.copyfile(here / "slides.js", to / "slides.js")
    painted = [HtmlFormatter(style=f"a11y-high-contrast-{look}").get_style_defs(".code") for look in ("light", "dark")]
    sheet = (here / "slides.css").read_text(encoding="utf-8")
    dark = f"@media screen and (prefers-color-scheme: dark) {{\n{painted[1]}\n}}\n"
    (to / "slides.css").write_text(f"{painted[0]}\n{dark}{sheet}", encoding="utf-8")


def stacks(slides: list[Slide]) -> list[list[Slide]]:
    """Each slide with the subslides below it."""
    found = []
    for slide in slides:
        if slide.level == "subslide" and len(found) > 1:
            found[-1].append(slide)
        else:
            found.append([slide])
    return found


def write(decks: dict[str, list[Slide]], to: Path, of: str = "page"):
    """Write a page for each deck, their list and what they load, in place of what was there."""
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True
    )
    aside = to.with_suffix(".half")  # killed here, the old slides stand
    shutil.rmtree(aside, ignore_errors=True)
    copy_assets(aside / "assets")
    for name, slides in decks.items():
        title = html.unescape(re.sub(r"<[^>]+>", "", slides[0].title))
        page = pages.get_template("slides.html").render(title=title, stacks=stacks(slides))
        (aside / f"{name}.html").write_text(page, encoding="utf-8")
    index = pages.get_template("slides_index.html").render(decks=decks, of=of)
    (aside / "index.html").write_text(index, encoding="utf-8")
    shutil.rmtree(to, ignore_errors=True)
    aside.replace(to)


def main(of: str = "page", build: Path = ROOT / "_build"):
    caches = list(build.glob("executed/*/global.db"))
    if len(caches) != 1:
        sys.exit("The book is not built: run `make book` first")
    pages, decks, wrong = {}, {}, []
    for path in sorted((ROOT / "notebooks").glob("**/*.ipynb")):
        try:
            decks[path.stem] = deck(executed(path, caches[0].parent), path.stem)
            pages.setdefault(path.parent, []).append(decks[path.stem])
        except ExceptionGroup as group:
            wrong += group.exceptions
    if of == "chapter" and not wrong:
        decks = {}
        for folder, of_pages in pages.items():
            try:
                decks[folder.name] = core((folder / "index.md").read_text(encoding="utf-8"), of_pages)
            except BadMetadata as error:
                wrong.append(error)
    if wrong:
        sys.exit("\n".join(map(str, wrong)))
    to = build / ("slides_core" if of == "chapter" else "slides")
    write(decks, to, of)
    for name, slides in decks.items():
        words = len(re.sub(r"<[^>]+>", " ", " ".join(note for slide in slides for note in slide.notes)).split())
        print(f"{name}: {len(slides)} slides, {words:,} words of notes")
    print("The slides:", (to / "index.html").resolve().as_uri())


if __name__ == "__main__":
    main(*sys.argv[1:])
