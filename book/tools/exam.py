"""An exam over all chapters, with other questions and numbers for each seed; its answers are computed by eamlib.

    python book/tools/exam.py 7                         # _build/exam: exam-7 and exam-7-answers, Markdown and PDF
    python book/tools/exam.py 7 --bank mine.md --sheet  # with questions of one's own; the cheat sheet is allowed

The questions are those of `exam.md`, and a bank of one's own is written in the same form. Seed 0 is the book's page.

    # Title (chapters 01, 02)       A question begins with its title,
    ```python … ```                 what computes its numbers, where it has any,
    text with [[name:format]]       and what is given.
    ## a: count                     A part: letter and kind, one of `PARTS`. Of those with one letter one is drawn.
    text
    ### Answer                      A reader's answer ends with what earns two points, one and none:
    - 2: text                       three lines that begin so.
"""

import argparse
import html
import random
import re
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from exercises import KINDS, PYTHON_BLOCK
from torch import nn

from eamlib import cost

TEXT = Path(__file__).with_suffix(".md")
FOLDER = Path(__file__).parents[2] / "_build" / "exam"
MINUTES = 90
PART = re.compile(r"## ([a-z]): (\w+)")
SLOT = re.compile(r"\[\[(\w+):?(.*?)\]\]")
KEY = re.compile(r"^- (\d): ", re.MULTILINE)


@dataclass(frozen=True)
class Kind:
    """A kind of part: its points, the exercises whose minutes per point it takes, and its room on paper."""

    points: int
    exercise: str
    millimetres: int

    @property
    def minutes(self) -> float:
        return self.points * KINDS[self.exercise].minutes / KINDS[self.exercise].points


PARTS = {"count": Kind(1, "count", 30), "reason": Kind(2, "design", 65), "prove": Kind(2, "prove", 110)}


class BadBank(ValueError):
    """A bank of questions is not what it should be. Says which file, which line, what is wrong and what is allowed."""

    def __init__(self, file: Path, line: int, what: str):
        super().__init__(f"{file}, line {line}: {what}")


@dataclass
class Part:
    letter: str
    kind: Kind
    line: int
    text: str
    answer: str = ""


@dataclass
class Question:
    file: Path
    line: int
    title: str
    code: str
    text: str
    parts: dict[str, list[Part]] = field(default_factory=dict)

    @property
    def minutes(self) -> float:
        return sum(variants[0].kind.minutes for variants in self.parts.values())

    @property
    def points(self) -> int:
        return sum(variants[0].kind.points for variants in self.parts.values())


# ---- a bank is read


def read(file: Path) -> list[Question]:
    """The questions of a bank.

    Raises:
        BadBank: where it cannot be read, has another form than the one above, or its numbers cannot be computed.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadBank(file, 1, f"cannot be read ({error}); allowed is a text file in UTF-8.") from error
    questions: list[Question] = []
    part = None
    for line, heading, body in sections(file, lines):
        if heading.startswith("# "):
            code, text = "", body
            if block := PYTHON_BLOCK.search(body):
                above = line + body[: block.start(1)].count("\n")  # so that errors name the file's own lines
                code, text = "\n" * above + block[1], body[: block.start()] + body[block.end() :]
            part = None
            questions.append(Question(file, line, heading[2:], code, text.strip()))
        elif questions and (found := PART.fullmatch(heading)) and found[2] in PARTS:
            part = Part(found[1], PARTS[found[2]], line, body.strip())
            questions[-1].parts.setdefault(part.letter, []).append(part)
        elif part and heading == "### Answer" and not part.answer:
            part.answer = body.strip()
        else:
            kinds = " | ".join(PARTS)
            allowed = f"'# Title', under it '## a: {kinds}', and under each of these one '### Answer'"
            raise BadBank(file, line, f"{heading!r} cannot stand here; allowed are {allowed}.")
    if not questions:
        raise BadBank(file, 1, "no question; one begins with '# Title'.")
    for question in questions:
        check(question)
    return questions


def sections(file: Path, lines: list[str]) -> list[tuple[int, str, str]]:
    """Each heading with its line and the text below it."""
    found: list[tuple[int, str, list[str]]] = []
    fenced = False
    for number, line in enumerate(lines, start=1):
        fenced ^= line.startswith("```")
        if not fenced and re.match("#+ ", line):
            found.append((number, line.strip(), []))
        elif found:
            found[-1][2].append(line)
        elif line.strip():
            raise BadBank(file, number, "text above the first question; one begins with '# Title'.")
    return [(number, heading, "\n".join(body) + "\n") for number, heading, body in found]


def check(question: Question) -> None:
    """Whether a question has all that it needs, with numbers for seed 0."""
    if not question.parts:
        raise BadBank(question.file, question.line, f"no part; allowed is '## a: {' | '.join(PARTS)}'.")
    numbers = values(question, 0)
    for variants in question.parts.values():
        for part in variants:
            if part.kind != variants[0].kind:
                what = f"not of the kind of the other part {part.letter} in line {variants[0].line}, and it should be."
                raise BadBank(question.file, part.line, what)
            if not part.text or not part.answer:
                raise BadBank(question.file, part.line, "needs a text, and under '### Answer' another one.")
            if part.kind.points == 2 and KEY.findall(part.answer) != ["2", "1", "0"]:
                what = "its answer needs three lines that begin with '- 2: ', '- 1: ' and '- 0: ', in this order."
                raise BadBank(question.file, part.line, what)
            for text in question.text, part.text, part.answer:
                filled(text, numbers, question.file, part.line)


# ---- an exam is drawn


def values(question: Question, seed: int) -> dict:
    """The numbers of a question, those of its answers among them.

    Its code has `draw`, which takes one of several; `parameters` of a module; and `macs` of a module for a square map.
    """
    names = {"draw": random.Random(f"{seed} {question.title}").choice, "parameters": parameters, "macs": macs}
    try:
        exec(compile(question.code, question.file, "exec"), names)
    except Exception as error:
        line, trace = question.line, error.__traceback__
        while trace:
            line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(question.file) else line
            trace = trace.tb_next
        line = error.lineno if isinstance(error, SyntaxError) else line
        raise BadBank(question.file, line, f"its Python ends with {type(error).__name__}: {error}") from error
    return names


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def macs(module: nn.Module, channels: int, side: int, *parts: str) -> int:
    counted = cost(module, (channels, side, side)).multiply_adds
    return sum(counted[part] for part in parts or ["convolution"])


def filled(text: str, numbers: dict, file: Path, line: int) -> str:
    """A text with numbers in the place of its slots."""

    def number(slot: re.Match) -> str:
        try:
            return format(numbers[slot[1]], slot[2])
        except KeyError:
            raise BadBank(file, line, f"{slot[0]} is no name that the question's Python gives.") from None
        except (TypeError, ValueError) as error:
            raise BadBank(file, line, f"{slot[0]} cannot be written: {error}") from None

    return SLOT.sub(number, text)


def variant(seed: int, question: Question, letter: str) -> Part:
    """One of the n parts with a letter. The seeds from a multiple of n to the next one draw each of them once."""
    of = list(question.parts[letter])
    block, place = divmod(seed, len(of))
    random.Random(f"{block} {question.title} {letter}").shuffle(of)
    return of[place]


def drawn(seed: int, bank: Path | None = None) -> list[Question]:
    """The questions of an exam: all of the bank's, and as many of the book's as there is time for beside them.

    Raises:
        BadBank: if the bank is not what it should be, or takes longer than an exam.
    """
    own, book = read(bank) if bank else [], read(TEXT)
    left = MINUTES - sum(question.minutes for question in own)
    if left < 0:
        raise BadBank(bank, 1, f"its questions take {MINUTES - left:g} minutes; allowed are {MINUTES}.")
    asked = []
    for question in random.Random(seed).sample(book, len(book)):
        if question.minutes <= left:
            left -= question.minutes
            asked.append(question)
    return sorted(asked, key=book.index) + own


def exam(asked: list[Question], seed: int, *, answers: bool) -> str:
    """The exam as Markdown, with the answers folded away or with room for them."""
    text = ""
    for number, question in enumerate(asked, start=1):
        numbers = values(question, seed)
        text += f"**{number}. {question.title}** ({question.points} points)\n\n"
        text += filled(question.text, numbers, question.file, question.line) + "\n\n"
        for letter in question.parts:
            part = variant(seed, question, letter)
            points = f" *({part.kind.points} point{'s' * (part.kind.points > 1)})*"
            text += filled(f"({letter}) {part.text}{points}\n\n", numbers, question.file, part.line)
            if answers:
                answer = filled(part.answer, numbers, question.file, part.line)
                text += f"<details><summary>Solution</summary>\n\n{answer}\n\n</details>\n\n"
            else:
                text += f'<div class="room" style="height: {part.kind.millimetres}mm"></div>\n\n'
    return text


# ---- and written


def write(seed: int, folder: Path = FOLDER, *, bank: Path | None = None, sheet: bool = False) -> list[Path]:
    """Write the questions, and apart from them the questions with answers."""
    asked = drawn(seed, bank)
    minutes, points = sum(question.minutes for question in asked), sum(question.points for question in asked)
    head = (
        f"# Exam {seed}\n\n{minutes:g} minutes, {points} points. Paper, pencil and a pocket calculator; no computer. "
        f"The book's cheat sheet is {'' if sheet else 'not '}allowed. A number counts with its derivation.\n\n"
        "Name:\n\n"
    )
    texts = {f"exam-{seed}{name}.md": head + exam(asked, seed, answers=bool(name)) for name in ("", "-answers")}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def on_paper(files: list[Path]) -> list[Path]:
    """Print Markdown as PDF, beside it.

    Raises:
        NoBrowser: if there is none to print with.
    """
    import browser
    import pdf

    printed = [file.with_suffix(".pdf") for file in files]
    with browser.started(pdf.FONTS_ARE_FILES) as chromium:
        for file, paper in zip(files, printed, strict=True):
            page = file.with_suffix(".html")
            pdf.write(paper, pdf.printed(chromium, as_page(file), page), file.stem, author="")
            page.unlink()
    return printed


def as_page(file: Path) -> str:
    """Markdown as a page for paper; formulas between dollars, which a bank may have, are set by the book's MathJax."""
    import pdf
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    def formula(tex: str, options: dict) -> str:
        return html.escape(rf"\[{tex}\]" if options["display_mode"] else rf"\({tex}\)")

    markdown = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, renderer=formula)
    body = markdown.render(file.read_text(encoding="utf-8")).replace("<details>", "<details open>")
    mathjax = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax" / "tex-chtml.js"
    return (
        f'<!doctype html><html lang="{pdf.LANGUAGE}"><head><meta charset="utf-8"><title>{file.stem}</title>'
        f'<style>{pdf.for_paper()}</style><script src="{mathjax.as_uri()}"></script></head><body>{body}</body></html>'
    )


def main(arguments: list[str]) -> None:
    from browser import NoBrowser

    parser = argparse.ArgumentParser(usage="make exam SEED=7 [BANK=my_questions.md] [SHEET=allowed]")
    parser.add_argument("seed")
    parser.add_argument("--bank", type=lambda path: Path(path).expanduser())
    parser.add_argument("--sheet", action="store_true")
    options = parser.parse_args(arguments)
    if not options.seed.isdecimal():
        parser.error(f"SEED={options.seed}; allowed is an integer of at least 0")
    try:
        files = write(int(options.seed), bank=options.bank, sheet=options.sheet)
    except BadBank as error:
        sys.exit(f"Nothing was written. {error}")
    print(*files, sep="\n")
    try:
        print(*on_paper(files), sep="\n")
    except NoBrowser as missing:
        print(f"Not printed as PDF; the Markdown is there. {missing}")


if __name__ == "__main__":
    main(sys.argv[1:])
