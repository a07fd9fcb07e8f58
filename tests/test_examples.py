"""Every public name is in the API reference, with an example; `pytest --doctest-modules eamlib` runs the examples."""

import importlib
import inspect
import re
from doctest import DocTestParser

import pytest
from conftest import ROOT

import eamlib

REFERENCE = "".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("book/api/*.md")))
# The modules that the reference shows, with the names that it picks where it does not show all of them.
MODULES = dict(re.findall(r"^\.\. automodule:: (\S+)\n +:members:(.*)$", REFERENCE, re.MULTILINE))


def public(name: str) -> dict[str, object]:
    """The functions and classes of a module: those of its ``__all__``; without one, what it defines."""
    module = importlib.import_module(name)
    own = [n for n, v in vars(module).items() if n[0] != "_" and getattr(v, "__module__", None) == name]
    values = {n: getattr(module, n) for n in getattr(module, "__all__", own)}
    return {n: value for n, value in values.items() if inspect.isclass(value) or inspect.isroutine(value)}


def picked(names: str) -> set[str]:
    return set(re.findall(r"\w+", names))


@pytest.mark.parametrize("module", ["eamlib", *MODULES])
def test_every_public_name_has_an_example(module):
    shown = public(module)
    shown = {name: shown[name] for name in picked(MODULES.get(module, "")) or shown}
    assert shown
    assert not [name for name, value in shown.items() if not DocTestParser().get_examples(inspect.getdoc(value) or "")]


def test_the_reference_leaves_out_no_public_name_where_it_picks_them():
    one_by_one = re.findall(r"^\.\. auto(?:function|class|exception):: (\w+)$", REFERENCE, re.MULTILINE)
    assert {*one_by_one} == {*public("eamlib")}
    assert picked(MODULES["eamlib.models"]) == public("eamlib.models").keys() - public("eamlib").keys()
    networks = [picked(names) for module, names in MODULES.items() if module.startswith("eamlib.models.")]
    assert set().union(*networks) == {*eamlib.list_models()}
