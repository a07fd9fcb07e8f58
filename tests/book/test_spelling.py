"""The house spells British. codespell, in `make lint`, finds misspelt words; here are well-spelt ones of elsewhere."""

import json
import re

import pytest
from conftest import NOTEBOOKS, ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("book/**/*.md"), *ROOT.glob("results/*.md")]
AMERICAN = re.compile(
    r"""\b(
        \w*(?:behavi|col|fav|flav|hon|lab|neighb|vap)or(?:s|ed|ing|al|able|hood|ful|less)?
      | (?:un|re)?center(?:s|ed|ing)? | fibers? | liters? | meters? | theaters?
      | \w*(?:anal|paral)yz(?:e|es|ed|ing)
      | \w*(?:general|initial|maxim|minim|normal|optim|organ|real|recogn|regular|special|standard|summar|visual|util)
        iz(?:e|es|ed|er|ers|ing|ation|ations)
      | (?:cancel|label|level|model|signal|total|travel)(?:ed|ing|er)
      | gray(?:er|ish)? | catalogs? | dialogs? | artifacts? | skeptic(?:al|s)? | defense | offense
    )\b""",
    re.VERBOSE | re.IGNORECASE,
)

NAMES = {"Gray"}  # Scott Gray, of Winograd's convolutions


def prose(text: str) -> str:
    """Without code, mathematics, directives and addresses."""
    text = re.sub(r"^ *(`{3,})[^`]*?^ *\1", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)|https?://\S+|<[^>]*>", " ", text, flags=re.DOTALL)


@pytest.mark.parametrize("path", [*NOTEBOOKS, *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_prose_is_british(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert [word for word in AMERICAN.findall(prose(text)) if word not in NAMES] == []


@pytest.mark.parametrize("word", ["color", "normalized", "labeled", "neighbor", "Optimizer", "center", "gray"])
def test_an_american_word_is_found(word):
    assert AMERICAN.findall(prose(f"The {word}, not `{word}`, of ```{word}```.")) == [word]
