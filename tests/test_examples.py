"""Every public name is in the API reference with an example, and the examples do what they say."""

import re

import examples
import matplotlib
import pytest
from conftest import ROOT
from matplotlib import pyplot
from sphinx.util.inventory import InventoryFile

import eamlib

matplotlib.use("agg")

# They count every network of a paper, which the tests of that paper do as well: their examples run there.
ELSEWHERE = {
    "eamlib.papers.eam.cost_table",
    "eamlib.papers.dynet.cut_table",
    "eamlib.papers.dynet.count_table",
}
DOCUMENTED = examples.documented()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty folder to write to, with the recorded runs beside."""
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.chdir(tmp_path)
    with matplotlib.rc_context():
        yield
    pyplot.close("all")


@pytest.mark.parametrize("name", sorted(DOCUMENTED.keys() - ELSEWHERE))
def test_example(name, checkout):
    examples.run(name)


@pytest.mark.parametrize(
    ("docstring", "complaint"),
    [("Example:\n    >>> 1 + 1\n    3", "Expected:\n +3\nGot:\n +2"), ("Text.", "has no example")],
)
def test_a_wrong_example_and_a_missing_one_fail(docstring, complaint, monkeypatch):
    monkeypatch.setattr(eamlib.list_models, "__doc__", docstring)
    with pytest.raises(AssertionError, match=complaint):
        examples.run("eamlib.list_models")


def test_the_examples_that_run_elsewhere_exist():
    assert DOCUMENTED.keys() >= ELSEWHERE
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "papers").glob("test_*.py"))
    assert not [name for name in ELSEWHERE if f'examples.run("{name}")' not in tests]


def test_the_reference_lists_what_is_public(html):
    with (html / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, target: target)
    # A class has an entry for the file that defines it, too: it leads to the same place.
    kinds = ("py:function", "py:class", "py:exception")
    places = {place for kind in kinds for _, _, place, _ in inventory[kind].values()}
    assert {place.partition("#")[2] for place in places if place.startswith("book/api/")} == DOCUMENTED.keys()


def test_the_reference_shows_every_example(html):
    pages = "".join(path.read_text(encoding="utf-8") for path in (html / "book" / "api").glob("*.html"))
    assert len(re.findall(r'<p class="rubric">Example</p>', pages)) == len(DOCUMENTED)
