"""The numbers in the prose come from their sources, and the book is not built where one has drifted.

A number stands in the text as the reader sees it. A comment behind it, which neither the book nor Colab shows, says
where it comes from:

    near 94 % the standard error is 0.24<!-- = error(94, 10_000):.2f --> points

`= EXPRESSION:FORMAT`   the text is this value, in this format. `make numbers` writes it.
`~ EXPRESSION:MARGIN`   the text is within this margin of it: for what another machine computes a little otherwise.

Behind a formula the comment means the formula's last number; a comment that begins with a number, as in
`<!-- 7.39 = ... -->`, means the last place above it where that number stands. A number may be a word, `nine`.

An expression is arithmetic, and calls of the functions in `sources.py`: nothing else is run. `output("ch05-08", …)` is
what a cell of this page printed when the page was built; such a number is checked once the page has run.
"""

import ast
import json
import math
import operator
import re
from functools import partial
from pathlib import Path

import markers
import sources
from markers import WORDS, Finding, Marker, Trouble
from sphinx.util import logging

ROOT = Path(__file__).parents[2]
# Pages that no build reads; all others are Sphinx's.
BESIDE = "README.md", "results/README.md", "results/benchmarks/README.md"
# What a chapter must say somewhere in the cell of a number with such a source (book/how_to_read.md).
MARKS = {"paper": "(paper", "recorded": "(recorded run"}

_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def evaluate(expression: str, names: dict) -> float:
    """The number that an expression is.

    Raises:
        Trouble: if it is none, or has in it what is neither arithmetic nor a known function.
    """
    try:
        value = _value(ast.parse(expression, mode="eval").body, names)
    except SyntaxError as error:
        raise Trouble(f"{expression!r} is no expression: {error.msg}.") from error
    except (Trouble, sources.NotRun):
        raise
    except Exception as error:  # of a source: a missing file, a row that is not there
        raise Trouble(f"{expression}: {type(error).__name__}: {error}") from error
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Trouble(f"{expression} is {value!r} and no number.")
    return value


def _value(node: ast.expr, names: dict):
    value = partial(_value, names=names)
    match node:
        case ast.Constant(int() | float() | str()):
            return node.value
        case ast.Name(name):
            if name not in names:
                raise Trouble(f"{name} is not known. There are: {', '.join(sorted(names))}.")
            return names[name]
        case ast.BinOp(left, op, right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](value(left), value(right))
        case ast.UnaryOp(op, operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](value(operand))
        case ast.Call(ast.Name(name), args, keywords) if all(k.arg for k in keywords):
            return value(node.func)(*map(value, args), **{k.arg: value(k.value) for k in keywords})
        case ast.Attribute(of, name) if not name.startswith("_"):
            return getattr(value(of), name)
        case ast.Subscript(of, ast.Constant() | ast.UnaryOp() as index):
            return value(of)[value(index)]
        case ast.List(items) | ast.Tuple(items):
            return [value(item) for item in items]
    raise Trouble(f"{ast.unparse(node)!r} is neither arithmetic nor a call of a known function.")


def formatted(marker: Marker, value: float, text: str) -> str:
    """The value as the marker's number has to be written, in the style in which it stands in the text."""
    number = marker.number
    if number.lower() in WORDS and value in range(len(WORDS)):
        word = WORDS[int(value)]
        return word.capitalize() if number[0].isupper() else word
    try:
        new = format(value, marker.form or ("d" if isinstance(value, int) else ""))
    except ValueError as error:
        raise Trouble(f"{marker.expression}:{marker.form}: {error}.") from error
    formula = text[: marker.start].replace("$$", "$").count("$") % 2
    new = new.replace(",", "{,}") if formula else new
    return new if formula or "-" in number else new.replace("-", "−")


def wrong(marker: Marker, text: str, names: dict) -> tuple[str, str | None] | None:
    """Why a number is not what its marker says, and what should stand there (None if nobody can write it for you);
    None where all is well.

    Raises:
        Trouble: if the marker cannot be evaluated.
    """
    value = evaluate(marker.expression, names)
    if marker.exact:
        if marker.number == (right := formatted(marker, value, text)):
            return None
        return f"{marker.number} should be {right}, by {marker.expression}. `make numbers` writes it.", right
    plain = marker.number.lower()
    stands = WORDS.index(plain) if plain in WORDS else float(re.sub(r"[,{}]", "", plain).replace("−", "-"))
    if abs(stands - value) <= float(marker.form):
        return None
    return f"{marker.number} is not within {marker.form} of {value:.6g}, by {marker.expression}. Mend the text.", None


def kinds_of(marker: Marker) -> set[str]:
    """The kinds of its sources: paper, recorded, library, output."""
    return {sources.KINDS[name] for name in re.findall(r"\b([a-z]\w*)\(", marker.expression) if name in sources.KINDS}


def check(text: str, names: dict, *, of_output: bool | None = None, marks: bool = False) -> list[Finding]:
    """What is wrong with the markers of one text.

    Args:
        names: what expressions may use.
        of_output: check those alone that need the page to have run, or those alone that do not; None: all.
        marks: whether a number of a paper or a record must have its mark in the text.
    """
    found = []
    for marker in markers.find(text):
        if isinstance(marker, Finding):
            found += [marker] if not of_output else []
            continue
        if of_output is not None and marker.of_output != of_output:
            continue
        try:
            reason = wrong(marker, text, names)
        except (Trouble, sources.NotRun) as trouble:
            reason = str(trouble), None
        if reason:
            found.append(Finding("", "", marker.line, reason[0]))
        for kind in kinds_of(marker) & MARKS.keys() if marks else ():
            if MARKS[kind] not in text:
                found.append(Finding("", "", marker.line, f"{marker.number} lacks its mark, *{MARKS[kind]})*."))
    return found


def substitute(text: str, names: dict) -> str:
    """The text with the numbers that its markers say; what needs the page to have run stays where it has not.

    Raises:
        Trouble: if a marker cannot be evaluated, with its line.
    """
    edits = {}
    for marker in markers.find(text):
        if isinstance(marker, Finding):
            raise Trouble(f"line {marker.line}: {marker.what}")
        try:
            reason = wrong(marker, text, names)
        except sources.NotRun:
            continue
        except Trouble as trouble:
            raise Trouble(f"line {marker.line}: {trouble}") from trouble
        if reason and reason[1] is not None:
            edits |= dict.fromkeys(filter(None, [(marker.start, marker.end), marker.stated]), reason[1])
    for (start, end), new in sorted(edits.items(), reverse=True):  # from the end: the places before it stay
        text = text[:start] + new + text[end:]
    return text


def texts(file: Path) -> dict[str, str]:
    """The texts of a file with numbers in them: a notebook's Markdown cells by their ids, else all under ""."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".ipynb":
        return {"": text}
    cells = json.loads(text)["cells"]
    return {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"}


def names_for(file: Path, executed: Path | None = None) -> dict:
    """What the expressions of a file may use; `executed` is the folder of the notebooks that have run."""
    return sources.NAMES | {"output": partial(sources.output, file, executed)}


def check_file(file: Path, **how) -> list[Finding]:
    """What is wrong with the markers of a file, with their places; arguments as :func:`check` has."""
    names = how.pop("names", None) or names_for(file)
    shown = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else str(file)
    return [
        Finding(shown, cell, finding.line, finding.what)
        for cell, text in texts(file).items()
        for finding in check(text, names, **how)
    ]


# ---- what Sphinx sees of it

logger = logging.getLogger(__name__)


def setup(app):
    app.connect("builder-inited", check_beside)
    app.connect("source-read", check_and_strip)
    app.connect("doctree-read", check_outputs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def check_beside(app):
    """Check the pages that are no part of the book."""
    for name in BESIDE:
        if (file := Path(app.srcdir, name)).exists():
            _warn(check_file(file), None)


def check_and_strip(app, docname, source):
    """Check what needs no run of the page, and take all markers out of what the page is made of."""
    file = Path(app.env.doc2path(docname))
    for dependency in __file__, sources.__file__, markers.__file__:
        app.env.note_dependency(dependency)
    _warn(check_file(file, of_output=False, marks=True), docname)
    if file.suffix != ".ipynb":
        source[0] = markers.strip(source[0])
        return
    notebook = json.loads(source[0])
    markers.strip_cells(notebook["cells"])
    source[0] = json.dumps(notebook)


def check_outputs(app, doctree):
    """Check what the page's own cells have printed."""
    file = Path(app.env.doc2path(app.env.docname))
    if file.suffix == ".ipynb":
        names = names_for(file, Path(app.config.nb_execution_cache_path))
        _warn(check_file(file, names=names, of_output=True), app.env.docname)


def _warn(findings: list[Finding], location: str | None):
    for finding in findings:
        logger.warning("%s", finding, location=location, type="prose")
