"""The chapters' sources: clean in git, ready for Colab, with exercises that can be solved.

The build of the book is what executes them; here nothing runs but the exercises.
"""

import ast
import re
from functools import cache

import nbformat
import pytest
from conftest import NOTEBOOKS, ROOT
from IPython.core.inputtransformer2 import TransformerManager
from test_project import ADDRESS

from eamlib.exercises import CHECKS, QUIZZES

HEADING = re.compile(r"^### Exercise (\d+)\.(\d+)\b")
SOLUTION = re.compile(r"<details>\s*<summary>Solution</summary>(.*)</details>", re.DOTALL)
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@cache
def read(path):
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def parse(source) -> ast.Module:
    """The syntax tree of a cell, magics included."""
    return ast.parse(TransformerManager().transform_cell(source))


def exercises(path) -> dict[str, list]:
    """Each exercise's cells, from its heading to the next heading, by its id ("02.3")."""
    found, current = {}, None
    for cell in read(path).cells:
        if heading := HEADING.match(cell.source):
            current = found.setdefault(f"{int(heading[1]):02d}.{heading[2]}", [])
        elif cell.cell_type == "markdown" and cell.source.startswith("#"):
            current = None
        if current is not None:
            current.append(cell)
    return found


def call(cells) -> tuple[nbformat.NotebookNode, ast.Call]:
    """The one cell of an exercise that ends with `quiz(…)` or `check(…)`, and that call."""
    calls = []
    for cell in cells:
        if cell.cell_type == "code" and (body := parse(cell.source).body):
            match body[-1]:
                case ast.Expr(ast.Call(ast.Name("quiz" | "check")) as last):
                    calls.append((cell, last))
    assert len(calls) == 1, "an exercise has one cell that ends with quiz(…) or check(…)"
    return calls[0]


def solution(cells) -> str:
    """The text of an exercise's folded solution."""
    found = [fold[1] for cell in cells if cell.cell_type == "markdown" and (fold := SOLUTION.search(cell.source))]
    assert len(found) == 1, "an exercise has one folded solution"
    return found[0]


def answer(path, code, checked: ast.Call):
    """Run `code` after nothing but the chapter's imports, and return what the check says of it."""
    namespace = {}
    for cell in code_cells(path):
        imports = [node for node in ast.walk(parse(cell.source)) if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), path.name, "exec"), namespace)
    exec(code, namespace)
    return eval(ast.unparse(checked), namespace)


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_exercise = pytest.mark.parametrize(
    ("path", "exercise"), [pytest.param(path, id, id=id) for path in NOTEBOOKS for id in exercises(path)]
)
each_code_exercise = pytest.mark.parametrize(
    ("path", "exercise"),
    [pytest.param(path, id, id=id) for path in NOTEBOOKS for id in exercises(path) if id in CHECKS],
)


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
    target = f"{ADDRESS.removeprefix('https://github.com/')}/blob/main/notebooks/{path.name}"
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
    trains = any(re.search(r"\b(fit|budget|pick_device)\(", cell.source) for cell in code_cells(path))
    needs_none = "A GPU is not needed" in read(path).cells[0].source
    assert ("eamlib.announce()" in code_cells(path)[0].source) == (trains and not needs_none)


@each_notebook
def test_every_picture_is_described(path):
    """A figure's caption may repeat what the text says; its alternative text says what is seen."""
    captioned = [cell for cell in code_cells(path) if "figure" in cell.metadata.get("mystnb", {})]
    assert not [cell.id for cell in captioned if not cell.metadata.mystnb.get("image", {}).get("alt")]


@each_notebook
def test_has_three_to_six_exercises_in_order(path):
    ids = list(exercises(path))
    assert ids == [f"{path.stem[:2]}.{number}" for number in range(1, len(ids) + 1)]
    assert 3 <= len(ids) <= 6


@each_exercise
def test_exercise_is_answered_at_once_and_has_a_solution(path, exercise):
    cells = exercises(path)[exercise]
    _, checked = call(cells)
    assert ast.literal_eval(checked.args[0]) == exercise
    assert exercise in (QUIZZES if checked.func.id == "quiz" else CHECKS)
    assert solution(cells).strip()


@each_code_exercise
def test_solution_passes_its_check(path, exercise):
    cells = exercises(path)[exercise]
    blocks = PYTHON_BLOCK.findall(solution(cells))
    assert len(blocks) == 1, "the solution of a code exercise is one python block"
    assert answer(path, blocks[0], call(cells)[1]).passed is True


@each_code_exercise
def test_unanswered_exercise_is_not_judged(path, exercise):
    stub, checked = call(exercises(path)[exercise])
    assert answer(path, stub.source, checked).passed is None


def test_every_check_and_quiz_belongs_to_an_exercise():
    assert {id for path in NOTEBOOKS for id in exercises(path)} == CHECKS.keys() | QUIZZES.keys()


@pytest.mark.parametrize("exercise", QUIZZES)
def test_quiz_says_why_an_answer_is_right_or_wrong(exercise):
    for question in QUIZZES[exercise]:
        answers = question["answers"]
        assert all(answer.get("feedback") for answer in answers)
        assert any(answer.get("correct") for answer in answers)
        assert any(not answer.get("correct") for answer in answers), "a wrong answer needs its hint, too"
