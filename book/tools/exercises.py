"""The chapters' exercises, for a class: notebooks without solutions, notebooks for the teacher, and what they count.

    python book/tools/exercises.py student      # _build/student: to hand out
    python book/tools/exercises.py student URL  # the same, with links to Colab: URL is where they will lie on GitHub
    python book/tools/exercises.py solutions    # _build/solutions: to teach from, and the source of an nbgrader course

A chapter says nothing of grading: an exercise's heading names its kind, from which the rest follows. The teacher's
notebook is made first, with nbgrader's metadata, solutions and hidden tests; nbgrader makes the student's of it.
"""

import ast
import re
import shutil
import sys
import tomllib
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import markers  # noqa: E402
from collect import STUDENT  # noqa: E402

from eamlib.book.exercises import CHECKS, DRAWN, QUIZZES  # noqa: E402

NOTEBOOKS = sorted(ROOT.glob("notebooks/**/*.ipynb"), key=str)
RELATIVE = re.compile(r"\]\((?![a-z]+:|#|/)([^)\s]+)\)")
CONFIG = Path(__file__).with_name("nbgrader_config.py")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ADDRESS = PROJECT["project"]["urls"]["Repository"]


@dataclass(frozen=True)
class Kind:
    """What an exercise of one kind counts: points by hidden tests, points by a reader, and a student's minutes."""

    automatic: int
    manual: int
    minutes: int
    asks: str

    @property
    def points(self) -> int:
        return self.automatic + self.manual


KINDS = {
    "prove": Kind(0, 2, 15, "**Your proof** ({points}):"),
    "count": Kind(2, 0, 10, ""),
    "code": Kind(4, 0, 20, ""),
    "design": Kind(4, 2, 30, "**Your reasons** ({points}): what binds, what you weighed, what would change your mind."),
}

# What a reader gives points for, the most first.
RUBRICS = {
    "prove": {
        2: "Every step follows from a definition or from a step before it, and the assumption that decides is named "
        "where it is used. Where the statement has a limit, a counterexample with numbers shows it.",
        1: "The deciding step is there, but a case, a reason or the counterexample is missing; or one part of several.",
        0: "The statement said again, an example in place of a proof, or the quiz's answers without their reasons.",
    },
    "design": {
        2: "Names the limit that binds, gives a number for the choice and for at least one alternative, and says on "
        "what other device, budget or data the choice would be another one.",
        1: "The reason is right, but there is no number, or nothing that it was compared with.",
        0: "What the code does, told again; or a reason that the check's numbers contradict.",
    },
}

KEYS = tomllib.loads(Path(__file__).with_name("keys.toml").read_text(encoding="utf-8"))

# The numbers of a quiz are drawn from this name. The teacher's answers are those for "the teacher".
WHOSE = f"""{STUDENT}"…"  # your name or number
### BEGIN SOLUTION
{STUDENT}"the teacher"
### END SOLUTION"""

# A hidden test reads the grader from its files: what a cell above may have put in its place is forgotten.
AFRESH = """import sys

[sys.modules.pop(module) for module in [*sys.modules] if module.startswith("eamlib.book.exercises")]
from eamlib.book.exercises import grade
"""

HEADING = re.compile(r"### Exercise (\d+)\.(\d+) \((\w+)\)")
SOLUTION = re.compile(r"<details>\s*<summary>Solution</summary>(.*)</details>", re.DOTALL)
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```\n?", re.DOTALL | re.MULTILINE)
FOLDER = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:/tree/([\w.-]+(?:/[\w.-]+)*))?/?")
COLAB_LINK = re.compile(r"^\*\*\[.*\]\(https://colab\.research\.google\.com/.*\)\*\*$", re.MULTILINE)


class BadSource(ValueError):
    """A chapter's exercise is not what it should be. Says which notebook, which cell, and what is wrong."""

    def __init__(self, path: Path, index: int, cell: NotebookNode, what: str):
        super().__init__(f"{path.name}, cell {index} ({cell.id}): {what}")


@dataclass(frozen=True)
class Exercise:
    """An exercise of a chapter: where its cells are, and what they say."""

    id: str
    kind: str
    heading: int
    stub: int
    call: ast.Call
    solution: int
    text: str
    code: str | None

    @property
    def slug(self) -> str:
        return self.id.replace(".", "-")  # nbgrader's ids and Python's names have no dot


def rubric(exercise: Exercise) -> dict[int, str]:
    """What a reader gives an exercise's points for, the most first."""
    return RUBRICS[exercise.kind] | {int(points): what for points, what in KEYS[exercise.id].items()}


def parse(source: str) -> ast.Module:
    """The syntax tree of a cell, magics included."""
    return ast.parse(TransformerManager().transform_cell(source))


def read(path: Path) -> NotebookNode:
    """A chapter, its numbers without the markers that say where they come from."""
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    markers.strip_cells(notebook.cells)
    return notebook


def chapters() -> dict[str, list[Path]]:
    """The notebooks of each chapter, by its number, "07": one, or a folder of pages."""
    found: dict[str, list[Path]] = {}
    for path in NOTEBOOKS:
        found.setdefault(path.stem[:2], []).append(path)
    return found


def exercises(path: Path, notebook: NotebookNode | None = None) -> list[Exercise]:
    """The exercises of a page, in order.

    Raises:
        BadSource: if one has no solution or two, or none of what it needs to be judged, or a number twice.
    """
    cells = (notebook or read(path)).cells
    found = []
    current, begun = [], False
    for index, cell in enumerate([*cells, new_markdown_cell("# end")]):
        is_exercise = cell.source.startswith("### Exercise")
        if is_exercise or (cell.cell_type == "markdown" and cell.source.startswith("#")):
            if begun:
                found.append(_exercise(path, cells, current))
            current, begun = [], is_exercise
        if not begun and SOLUTION.search(cell.source):
            raise BadSource(path, index, cell, "a solution, and no exercise above it.")
        current.append(index)
    chapter, before = int(path.stem[:2]), 0
    for exercise in found:
        of, number = map(int, exercise.id.split("."))
        if of != chapter or number <= before:
            what = f"exercise {exercise.id}, where one of chapter {chapter} above {chapter}.{before} should be."
            raise BadSource(path, exercise.heading, cells[exercise.heading], what)
        before = number
    return found


def _exercise(path: Path, cells: list[NotebookNode], indices: list[int]) -> Exercise:
    first = indices[0]
    heading = HEADING.match(cells[first].source)
    if not heading or heading[3] not in KINDS:
        raise BadSource(path, first, cells[first], f"begin with '### Exercise 2.3 (kind)'; kinds: {', '.join(KINDS)}.")
    id, kind = f"{heading[1]}.{heading[2]}", heading[3]

    calls, solutions = [], []
    for index in indices:
        cell = cells[index]
        if cell.cell_type == "code":
            match parse(cell.source).body:
                case [*_, ast.Expr(ast.Call(ast.Name("quiz" | "check")) as call)]:
                    calls.append((index, call))
        elif solution := SOLUTION.search(cell.source):
            solutions.append((index, solution[1].strip()))
    if len(calls) != 1:
        raise BadSource(path, first, cells[first], f"{len(calls)} cells end with quiz(…) or check(…), and one should.")
    if len(solutions) != 1 or not solutions[0][1]:
        raise BadSource(path, first, cells[first], f"{len(solutions)} folded solutions, and one should be there.")

    (stub, call), (solution, text) = calls[0], solutions[0]
    known = QUIZZES if call.func.id == "quiz" else CHECKS
    asked = ast.literal_eval(call.args[0])
    if asked != id:
        raise BadSource(path, stub, cells[stub], f"{call.func.id}({asked!r}) under the heading of exercise {id}.")
    if id not in known:
        where = f"{'QUIZZES' if known is QUIZZES else 'CHECKS'} of eamlib/book/exercises/ch{int(heading[1]):02}.py"
        raise BadSource(path, stub, cells[stub], f"{where} has no {id!r}: put it there, or call the other function.")
    if KINDS[kind].manual and id not in KEYS:
        raise BadSource(
            path, first, cells[first], f"book/tools/keys.toml has no {id!r}: say what earns 2 points and 1."
        )
    blocks = PYTHON_BLOCK.findall(text)
    if known is CHECKS and len(blocks) != 1:
        raise BadSource(path, solution, cells[solution], f"{len(blocks)} blocks of Python; the check takes one.")
    if known is CHECKS:
        text, code = PYTHON_BLOCK.sub("", text).strip(), blocks[0].strip()
    else:
        code = None
        if kind in ("count", "design") and any(question["type"] != "numeric" for question in QUIZZES[id]):
            raise BadSource(path, stub, cells[stub], f"the quiz of a {kind} exercise asks for numbers alone.")
    return Exercise(id, kind, first, stub, call, solution, text, code)


def teachers(path: Path, source: NotebookNode | None = None, colab: str | None = None) -> NotebookNode:
    """The teacher's notebook of a chapter: solved, with hidden tests, ready to be the source of an assignment.

    Where ``colab`` is given, :func:`on_colab` of a folder, it and its links to other notebooks open there.
    """
    notebook = deepcopy(source or read(path))
    found = exercises(path, notebook)
    replaced = {}
    for exercise in found:
        stub, heading = notebook.cells[exercise.stub], notebook.cells[exercise.heading]
        kind = f"({exercise.kind}"
        heading.source = heading.source.replace(f"{kind})", f"{kind}, {KINDS[exercise.kind].points} points)", 1)
        _mark(heading, f"exercise-{exercise.slug}", locked=True)
        replaced[exercise.stub] = _answer_cells(exercise, stub)
        replaced[exercise.solution] = _text_cells(exercise)
    cells = [new for index, cell in enumerate(notebook.cells) for new in replaced.get(index, [cell])]
    badge = f"**[▶ Open in Colab]({colab}/{path.name})**\n\n" if colab else ""
    cells[0].source = COLAB_LINK.sub(badge + _to_hand_in(found), cells[0].source)
    name = new_code_cell(WHOSE, id=f"student-{path.stem}")
    _mark(name, f"student-{path.stem}", solution=True)
    cells.insert(1, name)
    warning = "**The teacher's notebook**: with solutions and hidden tests. Hand out the one of `make student`."
    notebook.cells = [_guarded(f"teachers-{path.stem[:2]}", warning), *cells]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = links_handed_out(path, cell.source, colab)
    return notebook


def on_colab(url: str) -> str:
    """The address below which Colab opens the notebooks of a folder on GitHub.

    Raises:
        ValueError: if ``url`` is no address of a repository or of one of its folders.
    """
    if not (found := FOLDER.fullmatch(url)):
        allowed = "https://github.com/OWNER/NAME or https://github.com/OWNER/NAME/tree/BRANCH/FOLDER"
        raise ValueError(f"URL = '{url}' is no folder on GitHub; allowed: {allowed}.")
    return f"https://colab.research.google.com/github/{found[1]}/blob/{found[2] or 'main'}"


def links_handed_out(path: Path, text: str, colab: str | None = None) -> str:
    """The text of a page, whose relative links lead on from where it is handed out."""
    return RELATIVE.sub(lambda link: f"]({_handed_out(path, link[1], colab)})", text)


def _handed_out(path: Path, target: str, colab: str | None) -> str:
    """Where a link of a page leads from what is handed out: to a notebook beside it, or to the repository."""
    name, hash, anchor = target.partition("#")
    there = (path.parent / name).resolve()
    if there.suffix == ".ipynb":
        return f"{colab}/{there.name}" if colab else f"{there.name}{hash}{anchor}"
    return f"{ADDRESS}/blob/main/{there.relative_to(ROOT).as_posix()}{hash}{anchor}"


def _to_hand_in(found: list[Exercise]) -> str:
    automatic = sum(KINDS[exercise.kind].automatic for exercise in found)
    manual = sum(KINDS[exercise.kind].manual for exercise in found)
    return (
        f"**To hand in**: {len(found)} exercises, {automatic + manual} points, {automatic} of them given by tests and "
        f"{manual} by a reader. First write your name or number into the next cell: what you count is drawn from it. "
        "Answer in the cells that have dots or say so, and leave the others as they are. Write yourself what an "
        "exercise asks for: its check refuses a call of the library's own. Before you hand in, restart the kernel and "
        "run all cells."
    )


def _answer_cells(exercise: Exercise, cell: NotebookNode) -> list[NotebookNode]:
    """The student's cell, solved, and the hidden test that gives the points."""
    if not KINDS[exercise.kind].automatic:
        return [cell]  # the quiz of a proof: a help on the way, and not graded
    if exercise.code is None:
        name = f"answers_{exercise.slug.replace('-', '_')}"
        drawn = DRAWN.get(exercise.id)
        asked = drawn.of(f"{exercise.id} the teacher")[1] if drawn else QUIZZES[exercise.id]
        right = [next(a["value"] for a in q["answers"] if a.get("correct")) for q in asked]
        lines = cell.source.splitlines()
        cell.source = "\n".join([*lines[: exercise.call.lineno - 1], f'quiz("{exercise.id}", STUDENT)'])
        stub = f"{name} = [{', '.join('...' for _ in right)}]  # your numbers, in the quiz's order"
        # Where a page has quizzes alone, its set-up does not import what is asked here.
        answer = f'from eamlib.book.exercises import check\n\ncheck("{exercise.id}", {name}, STUDENT)'
        solution = f"{name} = {right}"
        shown, cell = [cell], new_code_cell(id=f"{cell.id}-answers")
    else:
        lines, last = cell.source.splitlines(), exercise.call.lineno - 1
        stub, solution, answer = "\n".join(lines[:last]).rstrip(), exercise.code, "\n".join(lines[last:])
        name, shown = ast.unparse(exercise.call.args[1]), []
    whose = ", STUDENT" if exercise.code is None else ""
    cell.source = f"{stub}\n### BEGIN SOLUTION\n{solution}\n### END SOLUTION\n\n{answer}"
    _mark(cell, f"answer-{exercise.slug}", solution=True)
    test = new_code_cell(
        f"# {KINDS[exercise.kind].automatic} points, given by a hidden test. Leave this cell as it is.\n"
        "### BEGIN HIDDEN TESTS\n"
        f'{AFRESH}\ngrade("{exercise.id}", {name}{whose})\n'
        "### END HIDDEN TESTS",
        id=f"{cell.id}-test",
    )
    _mark(test, f"test-{exercise.slug}", grade=True, locked=True, points=KINDS[exercise.kind].automatic)
    return [*shown, cell, test]


def _text_cells(exercise: Exercise) -> list[NotebookNode]:
    """The solution's text: in the place of the student's answer if there is one, else in a cell of the teacher's."""
    kind = KINDS[exercise.kind]
    if not kind.manual:
        return [_guarded(f"solution-{exercise.slug}", f"**Solution**\n\n{exercise.text}")] if exercise.text else []
    key = "\n".join(f"- **{points}**: {what}" for points, what in rubric(exercise).items())
    asks = kind.asks.format(points=f"{kind.manual} points")
    text = f"{asks}\n\n<!-- ### BEGIN SOLUTION -->\n{exercise.text}\n\n{key}\n<!-- ### END SOLUTION -->"
    cell = new_markdown_cell(text, id=f"text-{exercise.slug}")
    _mark(cell, f"text-{exercise.slug}", grade=True, solution=True, points=kind.manual)
    return [cell]


def _guarded(id: str, text: str) -> NotebookNode:
    """A cell for the teacher alone. nbgrader stops at its marks unless the step that removes it has been there."""
    guarded = f"<!-- ### BEGIN SOLUTION -->\n{text}\n<!-- ### END SOLUTION -->"
    return new_markdown_cell(guarded, id=id, metadata={"tags": ["solution"]})


def _mark(cell: NotebookNode, id: str, *, grade=False, locked=False, solution=False, points=None) -> None:
    mark = {"grade": grade, "grade_id": id, "locked": locked, "schema_version": 3, "solution": solution, "task": False}
    mark |= {"cell_type": cell.cell_type} if locked else {}
    mark |= {"points": points} if grade else {}
    cell.metadata["nbgrader"] = mark


def students(teachers_notebook: NotebookNode) -> NotebookNode:
    """What nbgrader releases of a teacher's notebook: the steps of its configuration, without the gradebook."""
    from nbgrader.preprocessors import SaveCells
    from traitlets.config import PyFileConfigLoader

    config = PyFileConfigLoader(CONFIG.name, path=str(CONFIG.parent)).load_config()
    notebook, resources = deepcopy(teachers_notebook), {}
    for step in config.GenerateAssignment.preprocessors:
        if step is not SaveCells:
            notebook, resources = step(config=config).preprocess(notebook, resources)
    return notebook


def write(what: str, folder: Path, paths: list[Path] = NOTEBOOKS, colab: str | None = None) -> None:
    """Write the students' or the teacher's notebooks into `folder`, all of them or, where one is bad, none."""
    notebooks = {path.name: teachers(path, colab=colab) for path in paths}
    if what == "student":
        notebooks = {name: students(notebook) for name, notebook in notebooks.items()}
    half = folder.with_name(f"{folder.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    for name, notebook in notebooks.items():
        nbformat.validate(notebook)
        nbformat.write(notebook, half / name)
    if what == "solutions":
        shutil.copy(CONFIG, half)
    shutil.rmtree(folder, ignore_errors=True)
    half.rename(folder)


def main(arguments: list[str]) -> None:
    if arguments != ["solutions"] and (arguments[:1] != ["student"] or len(arguments) > 2):
        sys.exit("usage: exercises.py student [URL] | solutions")
    what, *url = arguments
    folder = ROOT / "_build" / what
    try:
        write(what, folder, colab=on_colab(*url) if url else None)
    except ValueError as error:
        sys.exit(f"Nothing was written. {error}")
    print(f"{len(NOTEBOOKS)} notebooks in {folder}")


if __name__ == "__main__":
    main(sys.argv[1:])
