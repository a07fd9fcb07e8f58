"""The rooms of the library: an import runs down this list, never up, and in no circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import eamlib

ROOMS = (
    "functional",
    "layers",
    "models",
    "data",
    "analysis",
    "redundancy",
    "training",
    "plots",
    "papers",
    "bench",
    "book",
    "commands",
    "__main__",
)
LIBRARY = Path(eamlib.__file__).parent
MODULES = sorted(LIBRARY.rglob("*.py"))


def room(module: str) -> int:
    """Its place in the list; what lies beside the rooms is below all of them."""
    first = module.removeprefix("eamlib").lstrip(".").partition(".")[0]
    return ROOMS.index(first) if first in ROOMS else -1


def imported(path: Path) -> set[str]:
    """The modules and packages of the library that a file imports, inside its functions, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if _is_module(name) else node.module)
    return {name for name in found if name.partition(".")[0] == "eamlib"}


def _is_module(name: str) -> bool:
    path = LIBRARY.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


# But for the door, from which all rooms are seen.
@pytest.mark.parametrize("path", MODULES[1:], ids=lambda path: str(path.relative_to(LIBRARY)))
def test_no_import_runs_up(path):
    here = room(".".join(path.relative_to(LIBRARY).with_suffix("").parts))
    up = {name for name in imported(path) if room(name) > here}
    assert not up, f"{path.relative_to(LIBRARY)} imports {up}, which stand above it"


def test_all_rooms_are_there_and_no_other():
    found = {path.name for path in LIBRARY.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found == {*ROOMS} - {"__main__"}


def test_no_import_runs_in_a_circle():
    """Packages apart, which hand on what their modules hold."""
    inside = {".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts): path for path in MODULES}
    graph = {name: imported(path) & inside.keys() for name, path in inside.items()}
    order = [*TopologicalSorter(graph).static_order()]  # raises CycleError, which names the circle
    assert len(order) == len(graph)
