"""The lab sheets: their minutes, their exercises and their figures are those of the syllabus and of the chapters."""

import re
from decimal import Decimal
from types import SimpleNamespace

import exercises
import pytest
import teaching
from conftest import ROOT, toc_pages
from sphinx.errors import ExtensionError

from eamlib.book.exercises import QUIZZES

PAGE = ROOT / "book" / "labs.md"
TEXT = PAGE.read_text(encoding="utf-8")
WEEKS = re.split(r"^## Week \d+: .*\n", TEXT, flags=re.MULTILINE)[1:]
GUIDE = (ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
[LISTED] = re.findall(r"```\{syllabus\}\n(.*?)```", GUIDE, re.DOTALL)
SYLLABUS = [[part.split() for part in line.split("|")] for line in LISTED.splitlines()]
PAGES = {path: exercises.exercises(path) for path in exercises.NOTEBOOKS}
MINUTES = {each.id: exercises.KINDS[each.kind].minutes for found in PAGES.values() for each in found}
PAGE_OF = {each.id: path.name for path, found in PAGES.items() for each in found}

each_week = pytest.mark.parametrize(("sheet", "week"), [*zip(WEEKS, SYLLABUS, strict=True)])


def rows(sheet) -> list[tuple[int, int, str]]:
    """The lines of the table of minutes: from, to, and what is done meanwhile."""
    found = re.findall(r"^\| (\d+)–(\d+) \| (.*) \|$", sheet, re.MULTILINE)
    return [(int(begin), int(end), what) for begin, end, what in found]


def exercises_in(text) -> list[str]:
    return re.findall(r"\*\*(\d+\.\d+)\*\*", text)


def homework(sheet) -> tuple[int, list[str]]:
    [(minutes, listed)] = re.findall(r"^\*\*Homework, (\d+) minutes:\*\* (.*)\.$", sheet, re.MULTILINE)
    return int(minutes), listed.split(", ")


def test_every_week_has_its_sheet_and_the_book_the_page():
    assert re.findall(r"^## Week (\d+)", TEXT, re.MULTILINE) == [str(number + 1) for number in range(len(SYLLABUS))]
    pages = toc_pages()
    assert pages.index("book/labs") == pages.index("book/teaching") + 1


@each_week
def test_the_minutes_run_to_90_and_stop_at_the_checkpoints(sheet, week):
    begins, ends, _ = zip(*rows(sheet), strict=True)
    assert begins == (0, *ends[:-1])
    assert ends[-1] == teaching.LAB
    for minute in 30, 60:
        assert minute in ends
        assert sheet.count(f"\n**At {minute} minutes.** ") == 1


@each_week
def test_an_exercise_takes_the_minutes_of_its_kind_and_stands_on_the_page_linked_beside_it(sheet, week):
    for begin, end, what in rows(sheet):
        done = exercises_in(what)
        assert not done or end - begin == sum(MINUTES[id] for id in done)
        assert [id for id in done if PAGE_OF[id] not in what] == []
    minutes, listed = homework(sheet)
    assert minutes == sum(MINUTES[id] for id in listed) <= teaching.HOMEWORK


@each_week
def test_lab_and_homework_are_those_of_the_syllabus(sheet, week):
    chapters, _, lab, at_home, _ = week
    assert sorted(id for *_, what in rows(sheet) for id in exercises_in(what)) == sorted(lab)
    assert homework(sheet)[1] == at_home
    assert not set(lab) & set(at_home)
    mentioned = re.findall(r"(?:, for|quiz of|answer to) (\d+\.\d+)\b", sheet) + re.findall(r"(\S+) is right", sheet)
    assert set(mentioned) == set(lab)
    assert {int(id.partition(".")[0]) for id in lab + at_home} == {int(chapter) for chapter in chapters}
    assert set(lab + at_home) <= set(MINUTES)


@each_week
def test_the_checkpoints_have_the_answers_of_the_quizzes(sheet, week):
    checkpoints = "\n".join(re.findall(r"^\*\*At \d+ minutes\.\*\* .*?(?=\n\n)", sheet, re.MULTILINE | re.DOTALL))
    for id in week[2]:
        for question in QUIZZES.get(id, []):
            [right] = [answer["value"] for answer in question["answers"] if answer.get("correct")]
            printed = f"{Decimal(str(right)).normalize():,f}"
            assert re.search(rf"(?<![\d,.]){re.escape(printed)}(?!\d|[,.]\d)", checkpoints), (id, printed)


@each_week
def test_a_sheet_has_its_questions_hints_and_a_task_for_the_fast(sheet, week):
    ask, lab = sheet.split("**Bring.**")
    assert re.findall(r"^:::\{dropdown\} .*\?\n.+\n:::$", ask, re.MULTILINE) == re.findall(
        r"^:::\{dropdown\}.*?^:::$", ask, re.MULTILINE | re.DOTALL
    )
    assert ask.count(":::{dropdown}") == 3
    assert re.findall(r"Hint (\d), for", lab) in (["1", "2"], ["1", "2", "3"])
    parts = ["The question of the lab.", "At 30", "At 60", "Hint 1", "For the fast.", "} Answer", "Homework"]
    assert sorted(parts, key=lab.index) == parts


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("01 | | 1.2 2.1 | | ", "week 1: 1.2 2.1 should be exercises of chapters 01"),
        ("01 | | 1.2 | 1.1 1.2 | ", "1.1 1.2 should be exercises of chapters 01, each named once"),
        ("01 | | 1.5 1.6 1.3 1.4 1.1 | | ", "the exercises of the lab take 105 minutes of 90"),
        ("02 | | | 2.1 2.3 2.4 2.5 2.6 2.7 | ", "the exercises of the homework take 125 minutes of 120"),
        ("01 | | | | ", "chapters .*'02'.* are in no week"),
    ],
)
def test_a_week_that_does_not_fit_is_named(line, what, monkeypatch):
    monkeypatch.setattr(exercises, "exercises", PAGES.get)
    with pytest.raises(ExtensionError, match=what):
        teaching.Syllabus.markdown(SimpleNamespace(content=[line]))


def test_links_lead_to_files():
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", TEXT)
    assert len(links) > 50
    assert [link for link in links if not (PAGE.parent / link).is_file()] == []
    pages = re.findall(r"\[[Pp]age ([\d.]+)\]\(([^)]+)\)", TEXT)
    assert [number for number, link in pages if f"/{number.replace('.', '_')}_" not in link] == []
