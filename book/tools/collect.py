"""Sort what a class has handed in into the folders that nbgrader marks: `make collect FROM=downloads`.

    downloads/Ada Lovelace/02_4_milliseconds (1).ipynb  ->  submitted/Ada_Lovelace/ch02/02_4_milliseconds.ipynb

`submitted` lies beside FROM. The first folder below FROM says whose a notebook is; where there is none, the notebook's
own cell does. Nothing is overwritten or deleted. Of several the newest counts, by the files' dates; a submission that a
newer one replaces stays beside it, under the name 02_4_milliseconds.ipynb.1.
"""

import ast
import json
import re
import shutil
import sys
from collections import defaultdict
from itertools import count
from pathlib import Path

ROOT = Path(__file__).parents[2]
STUDENT = "STUDENT = "  # begins the cell in which a notebook says whose it is
NAMES = sorted(path.stem for path in ROOT.glob("notebooks/**/*.ipynb"))
# What Colab, Drive and browsers put around a name: "Copy of 02_4_milliseconds (1).ipynb", "02_4_milliseconds-2.ipynb".
FILE = re.compile(rf"(?:.*\s)?({'|'.join(map(re.escape, NAMES))})(?:\s?\((\d+)\)|-(\d+))?\.ipynb")
ID = re.compile(r"\w[\w.@-]*")


class Refused(ValueError):
    """A file that is not sorted in. Says why."""


def collect(source: Path, target: Path) -> tuple[list[str], list[str]]:
    """Copy every student's newest notebooks from ``source`` to ``target/STUDENT/chNN``.

    Returns:
        A line for each notebook that was looked at, and one for each file that is refused.

    Raises:
        ValueError: if ``source`` is no folder.
    """
    if not source.is_dir():
        raise ValueError(f"FROM = '{source}' is no folder; allowed is the folder that the downloads are in.")
    found, spellings, refused = defaultdict(list), {}, []
    for file in sorted(source.rglob("*")):
        inside = file.relative_to(source)
        if not file.is_file() or any(part.startswith(".") for part in inside.parts):
            continue
        try:
            name, copy = _name(file)
            student = _student(inside, _texts(file), spellings)
        except Refused as why:
            refused.append(f"{inside}: {why}")
        else:
            found[student, name].append((file.stat().st_mtime, copy, file))
    lines = []
    for (student, name), files in found.items():
        *older, newest = [file for *_, file in sorted(files)]
        inside = newest.relative_to(source)
        lines += [f"{file.relative_to(source)}: older than {inside}, not taken" for file in older]
        lines.append(f"{inside}: {_put(newest, target / student / f'ch{name[:2]}' / f'{name}.ipynb')}")
    return lines, refused


def _name(file: Path) -> tuple[str, int]:
    """Which notebook of the book a file is by its name, and the number that a browser gave to a second copy."""
    if not (found := FILE.fullmatch(file.name)):
        raise Refused("no notebook of the book by its name")
    return found[1], int(found[2] or found[3] or 0)


def _texts(file: Path) -> list[str]:
    """The cells of a notebook that `make student` wrote, marked for nbgrader."""
    try:
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        marked = [cell for cell in cells if "nbgrader" in cell["metadata"]]
        texts = ["".join(cell["source"]) for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise Refused("no whole notebook; download it again") from error
    if not marked:
        raise Refused("no exercise in it has nbgrader's mark: the book's own page, or one without exercises")
    return texts


def _student(inside: Path, texts: list[str], spellings: dict[str, str]) -> str:
    """Whose a notebook is, as a folder of nbgrader's. ``spellings`` holds how each was written before."""
    if len(inside.parts) > 1:
        written = inside.parts[0]
    else:
        written = _named(next((text for text in texts if text.startswith(STUDENT)), ""))
    if not written:
        raise Refused("no name: it lies in no student's folder, and its cell for the name is empty")
    student = "_".join(written.split())
    if not ID.fullmatch(student):
        raise Refused(f"name = {written!r}; allowed are letters, digits, spaces and . _ @ - behind a letter or digit")
    if (before := spellings.setdefault(student.casefold(), written)) != written:
        raise Refused(f"name = {written!r} is {before!r} elsewhere: put what belongs to one student into one folder")
    return student


def _named(cell: str) -> str:
    """The name in the cell for it, or nothing where none can be read."""
    try:
        return str(ast.literal_eval(ast.parse(cell).body[0].value)).strip(" \n…")
    except (SyntaxError, ValueError, IndexError, AttributeError):
        return ""


def _put(file: Path, place: Path) -> str:
    """Copy a file to its place, unless what is there is as new, and say what was done."""
    kept = ""
    if place.exists():
        if place.read_bytes() == file.read_bytes():
            return f"there already, {place}"
        if place.stat().st_mtime >= file.stat().st_mtime:
            return f"not taken, {place} is newer"
        aside = next(path for i in count(1) if not (path := place.with_name(f"{place.name}.{i}")).exists())
        place.rename(aside)
        kept = f"; what was there is now {aside.name}"
    place.parent.mkdir(parents=True, exist_ok=True)
    half = place.with_name(f".{place.name}.half")
    shutil.copy2(file, half)  # with its date, by which the newest is known
    half.rename(place)
    return f"copied to {place}{kept}"


def main(arguments: list[str]) -> None:
    if len(arguments) != 1 or not arguments[0]:
        sys.exit("usage: make collect FROM=FOLDER")
    source = Path(arguments[0]).expanduser().absolute()
    try:
        lines, refused = collect(source, source.with_name("submitted"))
    except ValueError as error:
        sys.exit(str(error))
    print(*lines, sep="\n")
    if refused:
        sys.exit("\n".join([f"Refused, {len(refused)} of them:", *refused]))


if __name__ == "__main__":
    main(sys.argv[1:])
