"""The markers behind the numbers of the prose: what they look like, found and taken out.

Nothing but the standard library is needed for that. What they mean stands in `prose.py`.
"""

import re
from dataclasses import dataclass

WORDS = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty",
)

NUMBER = r"(?:(?<![\w})])[+−-])?(?<![\d.,])(?:\d{1,3}(?:(?:,|\{,\})\d{3})+|\d+)(?:\.\d+)?"
_MARKER = re.compile(rf"<!--[ ]*(?P<stated>{NUMBER})?[ ]*(?P<kind>[=~])(?P<inner>.*?)(?P<end>-->|$)", re.MULTILINE)
_BEFORE = re.compile(rf"(?P<number>{NUMBER}|\b(?:{'|'.join(WORDS)})\b)(?P<closed>[*_]*)$", re.IGNORECASE)
_FORMULA = re.compile(r"(?P<dollars>\$\$?)(?P<formula>[^$]+)(?P=dollars)[*_]*$")


class Trouble(ValueError):
    """A marker that says nothing that can be checked."""


@dataclass(frozen=True)
class Marker:
    """A number in a text and what it says it is.

    Attributes:
        start, end: of the number in the text.
        number: as it stands there.
        stated: where the comment repeats it, if it does.
        exact: whether it must be the value in a format, or only near it.
        expression, form: what it is, and the format or the margin.
        line: of the comment, from 1.
    """

    start: int
    end: int
    number: str
    stated: tuple[int, int] | None
    exact: bool
    expression: str
    form: str
    line: int

    @property
    def of_output(self) -> bool:
        """Whether it is known only once its page has run."""
        return bool(re.search(r"\boutput\(", self.expression))


@dataclass(frozen=True)
class Finding:
    """What is wrong, and where: a file, a cell's id where it has cells, a line from 1."""

    file: str
    cell: str
    line: int
    what: str

    def __str__(self):
        place = f"cell {self.cell}, line" if self.cell else "line"
        return f"{self.file}, {place} {self.line}: {self.what}"


def strip(text: str) -> str:
    """The text without its markers, as a reader sees it."""
    return _MARKER.sub(lambda found: "" if found["end"] else found[0], text)


def strip_cells(cells: list[dict]) -> None:
    """Take the markers out of a notebook's Markdown cells."""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            cell["source"] = strip("".join(cell["source"]))


def find(text: str) -> list[Marker | Finding]:
    """Every marker of a text, in order; a finding without a file for each that is none."""
    found = []
    for comment in _MARKER.finditer(text):
        line = text.count("\n", 0, comment.start()) + 1
        try:
            found.append(_marker(text, comment, line))
        except Trouble as trouble:
            found.append(Finding("", "", line, str(trouble)))
    return found


def _marker(text: str, comment: re.Match, line: int) -> Marker:
    if not comment["end"]:
        raise Trouble(f"{comment[0].strip()!r} is not closed by --> on its line.")
    expression, colon, form = (part.strip() for part in comment["inner"].rpartition(":"))
    if not colon or re.search(r"[\"')\]]", form):  # the colon stands within the expression
        expression, form = comment["inner"].strip(), ""
    if not expression:
        raise Trouble(f"{comment[0]!r} names no source.")
    exact = comment["kind"] == "="
    if not exact and not re.fullmatch(r"\d*\.?\d+", form):
        raise Trouble(f"{comment[0]!r} needs a margin, a number behind a colon at its end.")
    start, end, stated = _number(text, comment)
    return Marker(start, end, text[start:end], stated, exact, expression, form, line)


def _number(text: str, comment: re.Match) -> tuple[int, int, tuple[int, int] | None]:
    """Where the number of a comment stands, and where the comment repeats it."""
    before = text[: comment.start()]
    if comment["stated"]:
        whole = rf"(?<![\d.,]){re.escape(comment['stated'])}(?![\d]|[.,]\d)"
        if not (places := list(re.finditer(whole, _blanked(before)))):
            raise Trouble(f"{comment['stated']} does not stand above {comment[0]!r}.")
        return *places[-1].span(), comment.span("stated")
    formula = _FORMULA.search(before)
    if formula and (places := list(re.finditer(NUMBER, formula["formula"]))):
        offset = formula.start("formula")
        return places[-1].start() + offset, places[-1].end() + offset, None
    if found := _BEFORE.search(before):
        return *found.span("number"), None
    raise Trouble(f"there is no number before {comment[0]!r}.")


def _blanked(text: str) -> str:
    """The text with spaces in the place of its markers."""
    return _MARKER.sub(lambda found: " " * len(found[0]), text)
