"""What a class gets: notebooks without solutions, the teacher's with hidden tests, and nbgrader that marks them."""

import ast
import html
import itertools
import math
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from copy import deepcopy
from functools import cache
from pathlib import Path

import collect
import exercises
import nbformat
import pytest
from conftest import NOTEBOOKS
from exercises import CONFIG, KINDS, RUBRICS, BadSource, parse, read, students, teachers

import eamlib.book.exercises
from eamlib.book.exercises import DRAWN, QUIZZES, grade

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@cache
def found(path) -> list[exercises.Exercise]:
    return exercises.exercises(path)


@cache
def solved(path) -> nbformat.NotebookNode:
    return teachers(path)


@cache
def handed_out(path) -> nbformat.NotebookNode:
    return students(solved(path))


def right_numbers(exercise, student) -> list[float]:
    """The right answers to a count, with the numbers of a student."""
    _, asked = eamlib.book.exercises._asked(exercise, student)
    return [next(a["value"] for a in question["answers"] if a.get("correct")) for question in asked]


def graded(notebook, id) -> nbformat.NotebookNode:
    """The cell of a mark of nbgrader's."""
    [cell] = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == id]
    return cell


def normalised(line) -> str:
    return re.sub(r"\s+", "", line)


@each_notebook
def test_no_solution_is_handed_out(path):
    notebook = handed_out(path)
    everything = normalised(nbformat.writes(notebook).replace("\\n", "\n").replace('\\"', '"'))
    assert not re.search(r"<summary>Solution|BEGINSOLUTION|HIDDENTESTS|\*\*Solution", everything)
    chapter = read(path)
    for exercise in found(path):
        elsewhere = normalised("".join(c.source for i, c in enumerate(chapter.cells) if i != exercise.solution))
        lines = [*(exercise.code or "").splitlines(), *exercise.text.splitlines()]
        lines = [line for line in map(normalised, lines) if len(line) >= 12]
        assert lines
        assert [line for line in lines if line in everything and line not in elsewhere] == []


@each_notebook
def test_what_is_handed_out_is_the_chapter_and_runs_where_it_runs(path):
    chapter, notebook = read(path), handed_out(path)
    nbformat.validate(notebook)
    assert notebook.metadata == chapter.metadata
    assert not [cell for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]
    assert not re.search(r"colab\.research\.google\.com|\]\(\.\./", nbformat.writes(notebook))
    replaced = {i for e in found(path) for i in (e.heading, e.stub, e.solution)} | {0}
    read_on = {"markdown": lambda text: exercises.links_handed_out(path, text), "code": str}
    kept = {c.id: read_on[c.cell_type](c.source) for i, c in enumerate(chapter.cells) if i not in replaced}
    assert {cell.id: cell.source for cell in notebook.cells if cell.id in kept} == kept
    assert sum("pip install" in cell.source for cell in notebook.cells) == 1


def test_a_link_leads_to_the_notebook_beside_it_or_to_the_repository():
    page = exercises.ROOT / "notebooks" / "07_ways" / "07_1_counts.ipynb"
    text = "[a](../05_attention.ipynb#why), [b](07_2_measured.ipynb), [c](../../book/glossary.md), [d](#here), [e](https://a.b)"
    there = f"{exercises.ADDRESS}/blob/main/book/glossary.md"
    right = f"[a](05_attention.ipynb#why), [b](07_2_measured.ipynb), [c]({there}), [d](#here), [e](https://a.b)"
    assert exercises.links_handed_out(page, text) == right


def test_with_a_teachers_address_links_open_the_teachers_copies_on_colab():
    path = next(path for path in NOTEBOOKS if path.name.startswith("02_4"))
    there = exercises.on_colab("https://github.com/me/course/tree/2027/student")
    assert there == "https://colab.research.google.com/github/me/course/blob/2027/student"
    text = "\n".join(cell.source for cell in students(teachers(path, colab=there)).cells)
    opened = re.findall(r"\]\((https://colab\.research\.google\.com/[^)]*)\)", text)
    assert {f"{there}/{path.name}", f"{there}/02_1_depthwise_and_pointwise.ipynb"} <= {*opened}
    assert not [link for link in opened if not link.startswith(f"{there}/")]
    assert exercises.on_colab("https://github.com/me/course/").endswith("/github/me/course/blob/main")


@pytest.mark.parametrize("url", ["", "me/course", "https://github.com/me", "https://gitlab.com/me/course"])
def test_an_address_that_colab_cannot_open_is_refused(url):
    with pytest.raises(ValueError, match=f"^URL = '{url}' is no folder on GitHub; allowed: "):
        exercises.on_colab(url)


def test_a_handed_out_notebook_has_a_cell_for_the_name_that_collecting_reads(tmp_path):
    notebook = deepcopy(handed_out(NOTEBOOKS[0]))
    cell = next(cell for cell in notebook.cells if cell.source.startswith(collect.STUDENT))
    name = f"{NOTEBOOKS[0].stem}.ipynb"
    nbformat.write(notebook, tmp_path / name)
    lines, refused = collect.collect(tmp_path, tmp_path / "submitted")
    assert not lines and [line.partition(":")[0] for line in refused] == [name]
    cell.source = cell.source.replace("…", "Ada Lovelace")
    nbformat.write(notebook, tmp_path / name)
    collect.collect(tmp_path, tmp_path / "submitted")
    assert (tmp_path / "submitted" / "Ada_Lovelace" / f"ch{name[:2]}" / name).exists()


@each_notebook
def test_points_are_those_of_the_kinds_and_what_tests_do_not_give_a_reader_does(path):
    marks = {cell.metadata.nbgrader.grade_id: cell for cell in handed_out(path).cells if "nbgrader" in cell.metadata}
    for exercise in found(path):
        kind = KINDS[exercise.kind]
        assert f"({exercise.kind}, {kind.points} points)" in marks[f"exercise-{exercise.slug}"].source
        given = {name: marks.get(f"{name}-{exercise.slug}") for name in ("test", "text")}
        assert (given["test"].metadata.nbgrader.points if given["test"] else 0) == kind.automatic
        assert (given["text"].metadata.nbgrader.points if given["text"] else 0) == kind.manual
        assert sorted(RUBRICS.get(exercise.kind, {})) == list(range(kind.manual + 1 if kind.manual else 0))
        if kind.manual:
            own = [exercises.KEYS[exercise.id][str(points)] for points in (2, 1)]
            assert own[0] != own[1]
            key = graded(solved(path), f"text-{exercise.slug}").source
            assert all(f"- **{points}**: {what}" in key for points, what in exercises.rubric(exercise).items())
            assert list(exercises.rubric(exercise)) == [2, 1, 0]
            assert not [what for what in own if what in nbformat.writes(handed_out(path))]


@pytest.mark.parametrize(
    ("path", "exercise"),
    [pytest.param(p, e, id=e.id) for p in NOTEBOOKS for e in exercises.exercises(p) if KINDS[e.kind].automatic],
)
def test_solution_passes_its_hidden_test_and_the_stub_does_not(path, exercise):
    """After nothing but the chapter's imports, as the book's tests have it."""
    imports = []
    for cell in read(path).cells:
        if cell.cell_type == "code":
            imports += [n for n in ast.walk(parse(cell.source)) if isinstance(n, ast.Import | ast.ImportFrom)]
    test = graded(solved(path), f"test-{exercise.slug}").source
    assert "BEGIN HIDDEN TESTS" in test
    for notebook, passes in (solved(path), True), (handed_out(path), False):
        names = {"STUDENT": "the teacher"}
        exec(compile(ast.Module(imports, []), path.name, "exec"), names)
        exec(graded(notebook, f"answer-{exercise.slug}").source, names)
        if passes:
            exec(test, names)
        else:
            with pytest.raises(AssertionError, match="No answer yet"):
                exec(test, names)


CHEATS = {
    "the names of the notebook": "grade = check = print",
    "the grader": "import eamlib.book.exercises as e\ne.grade = e.check = print",
    "what it returns": "import eamlib.book.exercises as e\ne.Verdict = lambda *a: type('', (), {'passed': True})",
    "its tables": "from eamlib.book.exercises import CHECKS, QUIZZES\nfor key in CHECKS: CHECKS[key] = lambda _: None\n"
    "for questions in QUIZZES.values():\n  for question in questions: question['answers'][-1]['correct'] = True",
    "a chapter's tables": "from eamlib.book.exercises import ch05\nfor key in ch05.CHECKS: ch05.CHECKS[key] = print",
    "what the checks call": "from eamlib.book.exercises import _watch\n_watch.close = lambda *a: True",
    "the module": "import sys, types\nsys.modules['eamlib.book.exercises'] = types.SimpleNamespace(grade=print)",
    "the module's place": "import eamlib.book, types\neamlib.book.exercises = types.SimpleNamespace(grade=print)",
}


@pytest.fixture
def library_to_spoil():
    """The exercises as a student's kernel imports them; afterwards those of the tests again."""

    def take_out():
        return {name: sys.modules.pop(name) for name in [*sys.modules] if name.startswith("eamlib.book.exercises")}

    kept = take_out()
    yield
    take_out()
    sys.modules.update(kept)
    eamlib.book.exercises = kept["eamlib.book.exercises"]


@pytest.mark.parametrize("wrong", ["5.2", "5.3", "5.4"])
@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cell_that_replaces_the_grader_gains_nothing(cheat, wrong, library_to_spoil):
    path, exercise = next((path, each) for path in NOTEBOOKS for each in found(path) if each.id == wrong)
    test = graded(solved(path), f"test-{exercise.slug}").source
    [call] = [
        node for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Call) and ast.unparse(node.func) == "grade"
    ]
    names = {
        ast.unparse(call.args[1]): [-1] * len(QUIZZES[exercise.id]) if exercise.code is None else lambda *a, **k: a[0]
    }
    names["STUDENT"] = "Ada"
    exec(CHEATS[cheat], names)
    with pytest.raises(AssertionError, match="Not yet"):
        exec(test, names)


@pytest.mark.parametrize(
    ("owner", "name"),
    [("eamlib.functional", "dynamic_conv2d"), ("eamlib.layers.dynamic.DynamicConv2d", "forward")],
)
def test_what_answers_are_compared_with_is_the_librarys_own(owner, name, monkeypatch):
    answers = {"__name__": "__main__"}  # as in a kernel
    exec("def same(x, *arguments, **options):\n    return x", answers)
    monkeypatch.setattr(f"{owner}.{name}", answers["same"])
    with pytest.raises(AssertionError, match=f"{owner}.{name} was replaced by the notebook's own"):
        grade("5.3", answers["same"])


COUNTS = [(path, e) for path in NOTEBOOKS for e in exercises.exercises(path) if e.kind == "count"]


@pytest.mark.parametrize(("path", "exercise"), [pytest.param(*each, id=each[1].id) for each in COUNTS])
def test_a_count_is_asked_of_a_student_and_its_answers_are_not_handed_out(path, exercise):
    cells = {cell.id: cell.source for cell in handed_out(path).cells}
    quiz = read(path).cells[exercise.stub].id
    assert cells[quiz].endswith(f'quiz("{exercise.id}", STUDENT)')
    assert cells[f"{quiz}-answers"].endswith(
        f'check("{exercise.id}", answers_{exercise.slug.replace("-", "_")}, STUDENT)'
    )
    assert QUIZZES[exercise.id][0]["answers"][-1]["feedback"] not in nbformat.writes(handed_out(path))
    test = graded(solved(path), f"test-{exercise.slug}").source
    names = {f"answers_{exercise.slug.replace('-', '_')}": right_numbers(exercise.id, "Ada"), "STUDENT": "Ada"}
    exec(test, names)
    with pytest.raises(ValueError, match="student = '…'; write your name"):
        exec(test, names | {"STUDENT": "…"})


@pytest.mark.parametrize("exercise", sorted(DRAWN))
def test_the_numbers_of_the_book_and_of_another_student_are_no_answer(exercise):
    book = [next(a["value"] for a in question["answers"] if a.get("correct")) for question in QUIZZES[exercise]]
    students = [right_numbers(exercise, str(number)) for number in range(20)]
    assert len({str(answers) for answers in students}) > 1
    assert book not in students
    mine = students[0]
    assert mine == right_numbers(exercise, " 0  ")
    grade(exercise, mine, "0")
    another = next(answers for answers in students if answers != mine)
    for other in (book, another):
        with pytest.raises(AssertionError, match="Not yet"):
            grade(exercise, other, "0")


@pytest.mark.parametrize("exercise", sorted(DRAWN))
def test_no_typical_mistake_is_right_with_other_numbers(exercise):
    drawn = DRAWN[exercise]
    assert drawn.ask() == QUIZZES[exercise]
    for numbers in itertools.product(*drawn.values.values()):
        for question in drawn.ask(**dict(zip(drawn.values, numbers, strict=True))):
            right, *wrong = [a["value"] for a in question["answers"] if "value" in a]
            assert not [value for value in wrong if math.isclose(value, right)], numbers


SHOWN = """
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from eamlib.book.exercises import quiz

InteractiveShell.instance()
for exercise in "2.2", "2.8":
    with capture_output() as captured:
        quiz(exercise, "Ada")
    [shown] = captured.outputs
    print(shown.data["text/html"])
"""


def test_what_a_student_is_shown_does_not_hold_the_answers():
    done = subprocess.run([sys.executable, "-c", SHOWN], check=True, capture_output=True, text=True).stdout
    for exercise in "2.2", "2.8":
        setting, asked = eamlib.book.exercises._asked(exercise, "Ada")
        assert setting in done
        for question in asked:
            assert html.escape(question["question"]) in done
            assert not [a for a in question["answers"] if a["feedback"] in done]
    assert "script" not in done and "Your numbers, Ada: A layer takes" in done


def edited(edit) -> tuple[Path, nbformat.NotebookNode]:
    """The page of exercises 5.2 and 5.3, with `edit` done to the cells of the second."""
    path, at = next((path, each) for path in NOTEBOOKS for each in found(path) if each.id == "5.3")
    notebook = deepcopy(read(path))
    edit(notebook.cells, at)
    return path, notebook


def forget_the_solution(cells, at):
    del cells[at.solution]


def leave_it_empty(cells, at):
    cells[at.solution].source = "<details><summary>Solution</summary>\n\n</details>"


def solve_twice(cells, at):
    cells.insert(at.solution, nbformat.v4.new_markdown_cell(cells[at.solution].source))


def forget_the_heading(cells, at):
    cells[at.heading].source = "## Something else"


def number_it_twice(cells, at):
    cells[at.heading].source = cells[at.heading].source.replace("5.3", "5.2")
    cells[at.stub].source = cells[at.stub].source.replace("5.3", "5.4")


def call_it_otherwise(cells, at):
    cells[at.heading].source = cells[at.heading].source.replace("(code)", "(coding)")


def have_it_read_without_a_key(cells, at):
    cells[at.heading].source = cells[at.heading].source.replace("(code)", "(design)")


def check_another(cells, at):
    cells[at.stub].source = cells[at.stub].source.replace("5.3", "5.4")


def ask_what_is_not_there(cells, at):
    cells[at.stub].source = cells[at.stub].source.replace("check(", "quiz(")


def check_nothing(cells, at):
    cells[at.stub].source = "1 + 1"


def solve_in_two_blocks(cells, at):
    cells[at.solution].source = cells[at.solution].source.replace("</details>", "```python\nx = 1\n```\n\n</details>")


@pytest.mark.parametrize(
    ("edit", "where", "what"),
    [
        (forget_the_solution, "heading", "0 folded solutions"),
        (leave_it_empty, "heading", "folded solutions"),
        (solve_twice, "heading", "2 folded solutions"),
        (forget_the_heading, "solution", "no exercise above it"),
        (number_it_twice, "stub", "under the heading of exercise 5.2"),
        (call_it_otherwise, "heading", "kinds: prove, count, code, design"),
        (have_it_read_without_a_key, "heading", "keys.toml has no '5.3'"),
        (check_another, "stub", "under the heading of exercise 5.3"),
        (ask_what_is_not_there, "stub", "QUIZZES of eamlib/book/exercises/ch05.py has no '5.3'"),
        (check_nothing, "heading", "0 cells end with quiz"),
        (solve_in_two_blocks, "solution", "2 blocks of Python"),
    ],
)
def test_a_bad_exercise_is_named_before_anything_is_written(edit, where, what, tmp_path):
    path, notebook = edited(edit)
    source = tmp_path / "notebooks" / path.name
    source.parent.mkdir()
    nbformat.write(notebook, source)
    before = tmp_path / "student"
    before.mkdir()
    (before / "old").touch()
    with pytest.raises(BadSource, match=re.escape(what)) as caught:
        exercises.write("student", before, [NOTEBOOKS[0], source])
    id = read(path).cells[getattr(found(path)[1], where)].id
    assert str(caught.value).startswith(f"{path.name}, cell ")
    assert f"({id})" in str(caught.value)
    assert [file.name for file in before.iterdir()] == ["old"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["notebooks", "student"]


def test_exercises_out_of_order_are_named():
    path, notebook = edited(lambda cells, at: cells.insert(at.heading, deepcopy(cells[at.heading])))
    with pytest.raises(BadSource, match="0 cells end with"):
        exercises.exercises(path, notebook)
    chapter = read(path)
    first, second = found(path)[:2]
    again = chapter.cells[first.heading : second.heading]
    chapter = deepcopy(chapter)
    chapter.cells[second.heading : second.heading] = deepcopy(again)
    with pytest.raises(BadSource, match=r"exercise 5\.2, where one of chapter 5 above 5\.2 should be"):
        exercises.exercises(path, chapter)


def test_both_folders_are_written_whole_and_hold_nothing_else(tmp_path):
    names = [path.name for path in NOTEBOOKS]
    for what, others in ("student", []), ("solutions", [CONFIG.name]):
        (tmp_path / what).mkdir()
        (tmp_path / what / "left over").touch()
        exercises.write(what, tmp_path / what)
        assert sorted(file.name for file in (tmp_path / what).iterdir()) == sorted(names + others)
    assert len(list(tmp_path.iterdir())) == 2


def test_nbgrader_refuses_the_teachers_notebook_without_its_configuration():
    from nbgrader.preprocessors import ClearSolutions

    with pytest.raises(RuntimeError, match="Solution region detected in a non-solution cell"):
        ClearSolutions().preprocess(deepcopy(solved(NOTEBOOKS[0])), {})


def test_a_class_is_marked_by_nbgrader(tmp_path):
    """Released, handed in and autograded with the commands of the teaching guide: five exercises, one of each fate."""
    path, *others = (path for path in NOTEBOOKS if path.name.startswith("05"))
    notebook = deepcopy(solved(path))
    imports = nbformat.v4.new_code_cell("import torch\n\nfrom eamlib.book.exercises import check", id="imports")
    cells = [cell for page in (path, *others) for cell in solved(page).cells if "nbgrader" in cell.metadata]
    notebook.cells = [notebook.cells[0], imports, *deepcopy(cells)]
    shutil.copy(CONFIG, tmp_path)
    source = tmp_path / "source" / "week" / path.name
    source.parent.mkdir(parents=True)
    nbformat.write(notebook, source)
    nbgrader(tmp_path, "generate_assignment", "week")
    released = read(tmp_path / "release" / "week" / path.name)
    assert released == students(notebook)

    submission = deepcopy(released)
    for id in "text-5-1", "answer-5-3":  # right, as far as tests can tell
        graded(submission, id).source = graded(notebook, id).source
    for page in (path, *others):
        named = graded(submission, f"student-{page.stem}")
        named.source = named.source.replace("…", "Ada")
    answers = graded(submission, "answer-5-2")
    answers.source = answers.source.replace("[..., ..., ...]", str(right_numbers("5.2", "Ada")))
    # Wrong, and not honest: neither another `check` nor another test may help. 5.5 stays blank.
    dishonest = "fold = torch.nn.Conv2d\ncheck = print\nimport eamlib.book.exercises as e\ne.grade = e.check = print"
    graded(submission, "answer-5-4").source = dishonest
    graded(submission, "test-5-4").source = "pass"
    folder = tmp_path / "submitted" / "ada" / "week"
    folder.mkdir(parents=True)
    nbformat.write(submission, folder / path.name)
    nbgrader(tmp_path, "autograde", "week")

    with closing(sqlite3.connect(tmp_path / "gradebook.db")) as gradebook:
        grades = gradebook.execute(
            "SELECT base_cell.name, grade.auto_score, max_score, needs_manual_grade FROM grade "
            "JOIN base_cell ON base_cell.id = grade.cell_id JOIN grade_cells ON grade_cells.id = grade.cell_id"
        ).fetchall()
    assert sorted(grades) == [
        ("test-5-2", 2, 2, 0),
        ("test-5-3", 4, 4, 0),
        ("test-5-4", 0, 4, 0),
        ("test-5-5", 0, 4, 0),
        ("text-5-1", None, 2, 1),  # for a reader
        ("text-5-5", 0, 2, 0),  # nothing to read
    ]


def nbgrader(course, *command):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it calls alembic by its name
    environment = os.environ | {"PATH": path, "HOME": str(course), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *command], cwd=course, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tool_says_what_it_takes():
    with pytest.raises(SystemExit, match=r"student \[URL\] \| solutions"):
        exercises.main(["students"])
    with pytest.raises(SystemExit, match=r"Nothing was written\. URL = 'me/course' is no folder on GitHub"):
        exercises.main(["student", "me/course"])
