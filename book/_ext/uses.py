"""What the results of a notebook depend on besides its code, read from the code without running it.

- **The library**: the modules that its cells import or name, the modules that these import, and so on, wherever in a
  module the import stands; and the files beside a module that the module names, its C for one. The check of an
  exercise lives in the module of its chapter: of these count the ones whose exercises the cells ask for.
- **The records**: where the cells or one of these modules read ``results/``, every folder of it that they name, as
  ``"tables/…"``, as a part of a path, or as a constant.

Rather too much than too little: a folder counts as a whole, and a name that is never reached counts as well.
"""

import ast
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

KEY = "uses"
CHAPTER = re.compile(r"eamlib\.book\.exercises\.ch(\d+)")
# By these names `results/` is read: the functions of eamlib.papers.records, and the folder itself.
READERS = {"published", "published_bytes", "results"}
# What an installed library holds downloads to; a checkout reads its own records, and no digest of theirs.
NOT_READ = {"published.txt"}


class Code(NamedTuple):
    """What a piece of Python names: parts of the library, other names, strings, and of these the parts of paths."""

    library: frozenset[str]
    names: frozenset[str]
    strings: frozenset[str]
    parts: frozenset[str]

    @property
    def reads_results(self) -> bool:
        return bool(READERS & (self.names | self.strings))


def as_run(text: str, root: Path) -> str:
    """A notebook as it is executed and looked up in the cache, whose key are the code cells with their metadata.

    What the cells say of slides is no part of it; what the results depend on is, in the first one.
    """
    notebook = json.loads(text)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        cell["metadata"].pop("slideshow", None)
    for cell in cells[:1]:
        cell["metadata"][KEY] = uses(["".join(each["source"]) for each in cells], root)
    return json.dumps(notebook)


def read(path: Path, root: Path) -> nbformat.NotebookNode:
    """A notebook by which the cache is asked."""
    return nbformat.reads(as_run(path.read_text(encoding="utf-8"), root), as_version=4)


def uses(cells: list[str], root: Path) -> dict[str, str]:
    """The files below ``root`` that the results of these cells depend on, each with the start of its SHA-256."""
    page = named(without_magics(tuple(cells)))
    chapters = {int(number[1]) for text in page.strings if (number := re.fullmatch(r"(\d+)\.\d+", text))}
    files, codes, waiting = set(), [page], set(page.library)
    if any("-m eamlib" in text for text in page.strings):  # a command
        waiting.add("eamlib.__main__")
    while waiting:
        module = waiting.pop()
        path = file_of(module, root)
        if path is None or path in files:
            continue
        code = named(path.read_text(encoding="utf-8"))
        beside = {path.with_name(name) for name in code.strings - NOT_READ if re.fullmatch(r"\w+\.\w+", name)}
        files |= {path} | {file for file in beside if file.is_file()}
        codes.append(code)
        waiting |= {name for name in code.library if not is_of_another_chapter(name, chapters)}
    for folder in results_of(codes, root):
        files |= {file for file in folder.rglob("*") if file.is_file() and file.suffix != ".md"}
    return {file.relative_to(root).as_posix(): digest(file, file.stat().st_mtime_ns) for file in sorted(files)}


@cache
def without_magics(cells: tuple[str, ...]) -> str:
    return "\n".join(TransformerManager().transform_cell(cell) for cell in cells)


@cache
def named(code: str) -> Code:
    library, names, strings, parts = set(), set(), set(), set()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Import(imported):
                library |= {alias.name for alias in imported}
            case ast.ImportFrom(module=str(module), names=imported):
                library |= {module} | {f"{module}.{alias.name}" for alias in imported}
                names |= {alias.name for alias in imported}
            case ast.Attribute(ast.Name("eamlib"), name):
                library.add(f"eamlib.{name}")
            case ast.Attribute(ast.Attribute(ast.Name("eamlib"), package), name):
                library.add(f"eamlib.{package}.{name}")
            case ast.Assign(value=ast.Constant(str(text))) | ast.BinOp(op=ast.Div(), right=ast.Constant(str(text))):
                parts.add(text)
            case ast.Constant(str(text)):
                strings.add(text)
        match node:
            case ast.Name(name) | ast.Attribute(attr=name):
                names.add(name)
    with_packages = {".".join(name.split(".")[:n]) for name in library for n in range(1, name.count(".") + 2)}
    ours = frozenset(name for name in with_packages if name.partition(".")[0] == "eamlib")
    return Code(ours, frozenset(names), frozenset(strings), frozenset(parts))


def file_of(module: str, root: Path) -> Path | None:
    path = root.joinpath(*module.split("."))
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def is_of_another_chapter(module: str, chapters: set[int]) -> bool:
    found = CHAPTER.fullmatch(module)
    return found is not None and int(found[1]) not in chapters


def results_of(codes: list[Code], root: Path) -> list[Path]:
    """The folders of ``results/`` that a page and its modules read; the page stands first."""
    readers = [code for code in codes if code.reads_results]
    if not readers:
        return []
    named = {part for code in readers for part in code.parts}
    named |= {text.partition("/")[0] for code in [codes[0], *readers] for text in code.strings if "/" in text}
    return [folder for folder in sorted(root.glob("results/*")) if folder.is_dir() and folder.name in named]


@cache
def digest(file: Path, modified: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
