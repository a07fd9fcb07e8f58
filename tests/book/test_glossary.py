"""Every term of the glossary is one that the chapter it names uses."""

import json
import re

import pytest
from conftest import ROOT

GLOSSARY = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
ENTRIES = re.search(r"```\{glossary\}\n(.*?)\n```", GLOSSARY, re.DOTALL)[1].split("\n\n")


def parts(entry: str) -> tuple[list[str], str]:
    """Its terms, which have a line each, and its explanation."""
    terms = [line for line in entry.splitlines() if not line.startswith(" ")]
    return terms, " ".join(line.strip() for line in entry.splitlines() if line.startswith(" "))


def prose(chapter: str) -> str:
    """The Markdown of a chapter or a page, one space between words, in small letters."""
    path = ROOT / "notebooks" / chapter
    pages = sorted(path.parent.glob("*.ipynb")) if path.name == "index.md" else [path]
    cells = [cell for page in pages for cell in json.loads(page.read_text(encoding="utf-8"))["cells"]]
    text = " ".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    if path.name == "index.md":
        text += path.read_text(encoding="utf-8")
    return " ".join(text.lower().split())


def test_there_are_enough_terms_and_none_twice():
    terms = [term for entry in ENTRIES for term in parts(entry)[0]]
    assert len(ENTRIES) >= 60
    assert len(terms) == len(set(terms))


def test_terms_are_in_order():
    first = [parts(entry)[0][0].lower() for entry in ENTRIES]
    assert first == sorted(first)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.splitlines()[0])
def test_a_term_occurs_in_its_chapter(entry):
    terms, explanation = parts(entry)
    assert 1 <= len(re.findall(r"[.:!?](?:\s|$)", re.sub(r"\[Chapter.*", "", explanation))) <= 4
    [chapter] = re.findall(r"\[Chapter \d\d\]\(\.\./notebooks/(.*?)\)\.$", explanation)
    text = prose(chapter)
    # Of several words for one thing, a chapter may use one.
    assert any(re.search(rf"\b{re.escape(term.lower())}", text) for term in terms), f"{terms} in {chapter}"
