"""A deck of reveal.js slides for every chapter, from its notebook as it was executed for the book: ``make slides``.

The metadata `slideshow` of a cell says what is shown; a cell without them is not. CONTRIBUTING.md has the keys. Of a
Markdown cell a slide shows what can be taken in at a glance, and the speaker notes hold its running prose: what a
teacher says is what the chapter says.
"""

import base64
import html
import importlib.util
import json
import re
import shutil
import struct
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import jinja2
import nbformat
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
import uses  # noqa: E402

from eamlib.book.exercises import QUIZZES  # noqa: E402

TYPES = {
    "slide": "begins a slide",
    "subslide": "begins a slide below the last one",
    "fragment": "goes on the last slide, at the next key",
    "-": "goes on the last slide",
    "notes": "goes to the notes of the last slide",
    "skip": "is not shown",
}
KEYS = {"slide_type": str, "title": str, "sentences": list, "points": list, "show": str, "question": int}
SHOWN = "output", "code", "both"
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

    @property
    def columns(self) -> list[list[str]]:
        """Text on the left of a figure that is not wide; all else stands in one column."""
        if len(self.shown) > 1 and FIGURE in self.shown[-1] and not any(SIGHT.search(b) for b in self.shown[:-1]):
            return [self.shown[:-1], self.shown[-1:]]
        return [self.shown]


# Markdown ---------------------------------------------------------------------------------------------------------


@cache
def markdown() -> MarkdownIt:
    """The book's Markdown, less what chapters do not use."""
    parser = MarkdownIt("commonmark", {"html": True, "highlight": lambda code, language, _: paint(code, language)})
    parser.enable("table").use(dollarmath_plugin, renderer=mathematics, allow_space=True).use(amsmath_plugin)
    parser.add_render_rule(
        "amsmath", lambda self, tokens, i, *_: mathematics(tokens[i].content, {"display_mode": True})
    )
    parser.core.ruler.push("plain_links", plain_links)
    return parser


def mathematics(tex: str, options: dict) -> str:
    """What slides.js hands to MathJax."""
    display = options["display_mode"]
    return f"<{'div' if display else 'span'} class='math'>{html.escape(tex)}</{'div' if display else 'span'}>"


def plain_links(state):
    """A link into the book is text on a slide, which may lie anywhere; a link to elsewhere stays one."""
    for token in state.tokens:
        kept, inside = [], []
        for child in token.children or ():
            if child.type == "link_open":
                inside.append(child.attrs["href"].startswith(("https://", "http://")))
            stays = child.type not in ("link_open", "link_close") or inside[-1]
            if child.type == "link_close":
                inside.pop()
            if stays:
                kept.append(child)
        if token.children:
            token.children = kept


def paint(code: str, language: str = "python") -> str:
    return highlight(code, get_lexer_by_name(language or "text"), HtmlFormatter(cssclass="code"))


def rendered(node: SyntaxTreeNode) -> str:
    return markdown().renderer.render(node.to_tokens(), markdown().options, {})


def inline(source: str) -> str:
    return markdown().renderInline(source)


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

    def key(paragraph):
        if chosen is None:
            return leading(paragraph)
        picked = []
        for sentence in sentences(paragraph):
            for words in left:
                if plain(sentence).startswith(words):
                    picked.append(sentence)
                    left.remove(words)
                    break
        return picked

    for node in SyntaxTreeNode(markdown().parse(source)).children:
        if node.type == "heading":
            found.append(Part(rendered(node.children[0])))
            continue
        part, block = found[-1], "" if node.type == "html_block" else rendered(node)
        part.whole.append(block)
        match node.type:
            case "paragraph" if node.children[0].children[0].type == "image":
                part.shown.append(block)
            case "paragraph":
                part.shown += [f"<p>{inline(sentence)}</p>" for sentence in key(node.children[0].content)]
                part.notes.append(block)
            case "bullet_list" | "ordered_list":
                items = [item.children[0].children[0].content for item in node.children]
                shown = [" ".join(leading(item) or [item]) for item in items]
                tag = "ul" if node.type == "bullet_list" else "ol"
                part.shown.append(f"<{tag}>{''.join(f'<li>{inline(item)}</li>' for item in shown)}</{tag}>")
                if shown != items:
                    part.notes.append(block)
            case "blockquote":
                part.notes.append(block)
            case "math_block" | "amsmath" | "table" | "fence":
                part.shown.append(block)
            case "html_block" | "hr":
                pass
            case other:
                raise BadMetadata(f"no slide can show a {other}")
    if left:
        raise BadMetadata(f"no sentence of the cell begins with “{left[0]}”")
    # A heading right before another one has nothing to show.
    return [part for part in found[:-1] if part.whole] + found[-1:]


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


def code_cell(cell, show: str | None) -> list[str]:
    found = output(cell)
    show = show or ("output" if found else "code")
    if show in ("output", "both") and not found:
        raise BadMetadata("it has no output to show")
    return ([code(cell)] if show != "output" else []) + (found if show != "code" else [])


def asked(cell) -> str | None:
    """The exercise whose quiz a cell asks."""
    found = cell.cell_type == "code" and re.search(r'^quiz\("(\d+\.\d)"\)', cell.source, re.MULTILINE)
    return found[1] if found else None


def question(exercise: str, number: int) -> Slide:
    """A question to ask the room; the answer is in the notes."""
    questions = QUIZZES[exercise]
    if not 1 <= number <= len(questions):
        raise BadMetadata(f"exercise {exercise} has {len(questions)} questions, not {number}")
    asks = questions[number - 1]
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


def marks(cell) -> dict:
    """A cell's `slideshow` metadata, checked."""
    found = cell.metadata.get("slideshow", {})
    if not found:
        return {"slide_type": "skip"}
    if not isinstance(found, dict):
        raise BadMetadata("its slideshow is no object")
    for key, value in found.items():
        if key not in KEYS:
            raise BadMetadata(f"unknown key “{key}” in slideshow; there are {', '.join(KEYS)}")
        if not isinstance(value, KEYS[key]) or (KEYS[key] is list and not all(isinstance(v, str) for v in value)):
            raise BadMetadata(
                f"slideshow's “{key}” is a {'list of strings' if KEYS[key] is list else KEYS[key].__name__}"
            )
    if found.get("slide_type") not in TYPES:
        raise BadMetadata(f"unknown slide_type “{found.get('slide_type')}”; there are {', '.join(TYPES)}")
    if found.get("show", "output") not in SHOWN:
        raise BadMetadata(f"unknown show “{found['show']}”; there are {', '.join(SHOWN)}")
    begins = found["slide_type"] in ("slide", "subslide")
    allowed = {
        "title": begins,
        "sentences": cell.cell_type == "markdown" and (begins or found["slide_type"] in ("-", "fragment")),
        "points": begins or found["slide_type"] in ("-", "fragment"),
        "show": cell.cell_type == "code" and asked(cell) is None,
        "question": asked(cell) is not None,
    }
    for key, may in allowed.items():
        if key in found and not may:
            raise BadMetadata(f"“{key}” says nothing in this cell")
    return found


def fragment(blocks: list[str], yes: bool) -> list[str]:
    return [f"<div class='fragment'>{block}</div>" if yes else block for block in blocks]


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
            notes += [f"<p><b>{found[1]}</b></p>", markdown().render(found[3])]
    return Slide("Exercises", shown=[f"<table class='exercises'>{''.join(rows)}</table>"], notes=notes)


def opening(cell) -> Slide:
    """The title slide: title, link, and the box with objectives, prerequisites and time."""
    [part] = parts(cell.source)
    number, _, title = part.title.partition(" ")
    link = [block for block in part.whole if "colab.research.google.com" in block]
    box = [block for block in part.whole if block.startswith("<blockquote")]
    return Slide(title, shown=[f"<p class='number'>Chapter {int(number)}</p>", *box, *link], notes=box, kind="opening")


def deck(notebook, name: str) -> list[Slide]:
    """The slides of an executed notebook; raises an ExceptionGroup of all that is wrong with its metadata."""
    slides, wrong = [], []
    for cell in notebook.cells:
        try:
            add(cell, slides, notebook)
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


def add(cell, slides: list[Slide], notebook):
    """Put a cell on the slides."""
    mark = marks(cell)
    kind = mark["slide_type"]
    if kind == "skip":
        return
    begins = kind in ("slide", "subslide")
    if not slides and not (begins and cell.source.startswith("# ")):
        raise BadMetadata("the first slide is the chapter's title")
    if not slides:
        slides.append(opening(cell))
        return
    if exercise := asked(cell):
        if not begins:
            raise BadMetadata("a quiz is a slide of its own")
        slides.append(question(exercise, mark.get("question", 1)))
        slides[-1].title = inline(mark["title"]) if "title" in mark else slides[-1].title
        return

    points = (
        [f"<ul>{''.join(f'<li>{inline(point)}</li>' for point in mark['points'])}</ul>"] if "points" in mark else []
    )
    if cell.cell_type == "code":
        if begins:
            if "title" not in mark:
                raise BadMetadata("a slide that begins with code has a title in its metadata")
            slides.append(Slide(inline(mark["title"]), kind))
        if kind != "notes":
            slides[-1].shown += fragment(points + code_cell(cell, mark.get("show")), kind == "fragment")
        else:
            slides[-1].notes += code_cell(cell, None)
        return

    found = parts(cell.source, mark.get("sentences"))
    if kind == "notes":
        for part in found:
            slides[-1].notes += part.whole
        return
    if begins and "title" in mark and found[0].title is None:
        found[0].title = inline(mark["title"])
    elif begins and found[0].title is None and len(found) == 1:
        raise BadMetadata("a slide without a heading has a title in its metadata")
    elif begins and "title" in mark:  # instead of the heading
        next(part for part in found if part.title is not None).title = inline(mark["title"])
    for part in found:
        if part.title == "Exercises":
            slides.append(exercises(notebook))
            continue
        if part.title is not None:
            slides.append(Slide(part.title, kind if begins else "subslide"))
        elif begins:  # what stands before a heading ends the last slide
            slides[-1].notes += part.whole
            continue
        step = kind == "fragment" and part.title is None
        slides[-1].shown += fragment(part.shown + points, step)
        slides[-1].notes += part.notes
        points = []


# Files ------------------------------------------------------------------------------------------------------------


def executed(path: Path, folder: Path):
    """A notebook with its outputs, from the book's cache, which does not know of slides."""
    text = path.read_text(encoding="utf-8")
    shows = [cell["metadata"].get("slideshow") for cell in json.loads(text)["cells"]]
    notebook = nbformat.reads(uses.as_run(text, ROOT), as_version=4)
    try:
        _, notebook = get_cache(folder).merge_match_into_notebook(notebook)
    except KeyError:
        sys.exit(f"{path.name} is not what the book has executed: run `make book` first")
    for cell, show in zip(notebook.cells, shows, strict=True):
        if show is not None:
            cell.metadata["slideshow"] = show
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


def write(decks: dict[str, list[Slide]], to: Path):
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
    index = pages.get_template("slides_index.html").render(decks=decks)
    (aside / "index.html").write_text(index, encoding="utf-8")
    shutil.rmtree(to, ignore_errors=True)
    aside.replace(to)


def main(build: Path = ROOT / "_build"):
    caches = list(build.glob("executed/*/global.db"))
    if len(caches) != 1:
        sys.exit("The book is not built: run `make book` first")
    decks, wrong = {}, []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        try:
            decks[path.stem] = deck(executed(path, caches[0].parent), path.stem)
        except ExceptionGroup as group:
            wrong += group.exceptions
    if wrong:
        sys.exit("\n".join(map(str, wrong)))
    write(decks, build / "slides")
    for name, slides in decks.items():
        words = len(re.sub(r"<[^>]+>", " ", " ".join(note for slide in slides for note in slide.notes)).split())
        print(f"{name}: {len(slides)} slides, {words:,} words of notes")
    print("The slides:", (build / "slides" / "index.html").resolve().as_uri())


if __name__ == "__main__":
    main()
