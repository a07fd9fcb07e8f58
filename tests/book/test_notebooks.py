"""The chapters' sources: clean in git, ready for Colab, with exercises that can be solved.

The build of the book is what executes them; `test_teaching` runs the exercises.
"""

import re
from functools import cache

import nbformat
import page_sizes
import pytest
from conftest import ADDRESS, NOTEBOOKS, ROOT
from exercises import chapters, exercises

from eamlib.book.exercises import CHECKS, QUIZZES


@cache
def read(path):
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


# Chapters that are cut into pages; the others are a notebook each, and longer.
PAGES = [path for path in NOTEBOOKS if path.parent.name != "notebooks"]
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each_notebook
def test_is_valid_and_clean(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5), "cells have no ids before format 4.5"
    assert notebook.metadata.kernelspec.name == "python3"
    assert not [cell.id for cell in code_cells(path) if cell.outputs or cell.execution_count]


@each_notebook
def test_opens_on_colab(path):
    notebook = read(path)
    target = f"{ADDRESS.removeprefix('https://github.com/')}/blob/main/{path.relative_to(ROOT).as_posix()}"
    assert f"(https://colab.research.google.com/github/{target})" in notebook.cells[0].source
    assert notebook.metadata.accelerator == "GPU"
    assert notebook.metadata.colab.gpuType == "T4"
    installs = [line for cell in code_cells(path) for line in cell.source.splitlines() if "pip install" in line]
    assert len(installs) == 1
    assert f'-c here.txt "eamlib[notebooks] @ git+{ADDRESS}"' in installs[0], "what is there must stay as it is"
    assert installs[0].startswith(" "), "where eamlib is there, nothing must be installed: put it under a condition"


@each_notebook
def test_begins_with_aims_prerequisites_and_minutes(path):
    box = read(path).cells[0].source
    assert all(f"> **{part}**" in box for part in ("You will be able to", "You need"))
    minutes = re.search(r"> \*\*Time\*\* about (\d+) minutes to read, ", box)[1]
    table = (ROOT / "book" / "how_to_read.md").read_text(encoding="utf-8")
    assert re.search(rf"/{re.escape(path.name)}\) \|.*\| {minutes} \|", table), "how_to_read.md says otherwise"


@each_notebook
def test_says_at_once_what_a_missing_gpu_means(path):
    trains = any(re.search(r"\b(fit|budget)\(", cell.source) for cell in code_cells(path))
    needs_none = "A GPU is not needed" in read(path).cells[0].source
    assert ("eamlib.announce()" in code_cells(path)[0].source) == (trains and not needs_none)


@each_notebook
def test_every_picture_is_described(path):
    """A figure's caption may repeat what the text says; its alternative text says what is seen."""
    captioned = [cell for cell in code_cells(path) if "figure" in cell.metadata.get("mystnb", {})]
    assert not [cell.id for cell in captioned if not cell.metadata.mystnb.get("image", {}).get("alt")]


@each_notebook
def test_no_caption_or_printed_line_has_markdown_in_it(path):
    """What a cell prints, and the caption of a table, are shown as they are."""
    code = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [source for source in code if re.search(r"\*\((recorded|paper)", source)] == []


@pytest.mark.parametrize("chapter", chapters())
def test_a_chapter_has_three_to_nine_exercises(chapter):
    """Each number once, each with its quiz or check and one folded solution: `exercises` raises where it is not so.

    Numbers are not given anew where a page is: hand-ins and teachers know an exercise by its number.
    """
    found = [exercise.id for path in chapters()[chapter] for exercise in exercises(path)]
    assert sorted(found) == [f"{int(chapter)}.{number}" for number in range(1, len(found) + 1)]
    assert 3 <= len(found) <= 9


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_takes_one_sitting(path):
    size = page_sizes.size(path)
    assert 1_000 <= size.words <= 2_200
    assert size.cells <= 45
    assert 15 <= size.minutes <= 25
    assert 1 <= len(exercises(path)) <= 3


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_shows_a_drawing_first_and_folds_its_set_up(path):
    cells = read(path).cells
    assert re.search(r"!\[[^\]]{20,}\]\([^)]*drawings/\w+\.svg\)", "\n".join(cell.source for cell in cells[:4]))
    assert "hide-input" in code_cells(path)[0].metadata.get("tags", [])
    assert max(len(line) for cell in code_cells(path)[1:] for line in cell.source.splitlines()) <= 84


def test_every_check_and_quiz_belongs_to_an_exercise():
    assert {exercise.id for path in NOTEBOOKS for exercise in exercises(path)} == CHECKS.keys() | QUIZZES.keys()
