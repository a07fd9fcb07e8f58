"""What the teaching guide says of the exercises, and the exam: made from the sources when the book is built."""

import sys
from pathlib import Path

from generated import GeneratedMarkdown
from sphinx.errors import ExtensionError

LAB, HOMEWORK = 90, 120  # minutes of a week, at most
TOOLS = Path(__file__).parents[1] / "tools"
sys.path.append(str(TOOLS))

import exam  # noqa: E402
import exercises  # noqa: E402


def setup(app):
    for name, directive in {
        "exercise-kinds": Kinds,
        "exercise-rubrics": Rubrics,
        "exercise-table": Table,
        "syllabus": Syllabus,
        "exam": Exam,
    }.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class FromChapters(GeneratedMarkdown):
    """Made of the chapters and of the tools that read them: where one of these changes, the page is read again."""

    def lines(self):
        for source in (*exercises.NOTEBOOKS, *TOOLS.glob("*.*"), __file__):
            self.env.note_dependency(str(source))
        return self.markdown().splitlines()

    def markdown(self) -> str:
        raise NotImplementedError


def table(head: list[str], rows: list[list]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def given(kind: exercises.Kind) -> str:
    """Who gives the points: "4 by tests, 2 by a reader"."""
    parts = {"tests": kind.automatic, "a reader": kind.manual}
    return ", ".join(f"{points} by {who}" for who, points in parts.items() if points)


class Kinds(FromChapters):
    """What an exercise of each kind counts."""

    def markdown(self):
        rows = [[f"*{name}*", kind.points, given(kind), kind.minutes] for name, kind in exercises.KINDS.items()]
        return table(["kind", "points", "given", "minutes"], rows)


class Rubrics(FromChapters):
    """What a reader gives points for."""

    def markdown(self):
        lines = []
        for kind, levels in exercises.RUBRICS.items():
            lines += [f"*{kind.capitalize()}*", "", *(f"- **{points}**: {what}" for points, what in levels.items()), ""]
        return "\n".join(lines)


class Table(FromChapters):
    """Every exercise, a chapter a row."""

    def markdown(self):
        rows, everything = [], []
        for chapter, paths in exercises.chapters().items():
            found = [exercise for path in paths for exercise in exercises.exercises(path)]
            numbers = {
                kind: ", ".join(e.id.partition(".")[2] for e in found if e.kind == kind) for kind in exercises.KINDS
            }
            listed = " · ".join(f"{number} {kind}" for kind, number in numbers.items() if number)
            first = paths[0].relative_to(exercises.ROOT).as_posix()
            rows.append([f"[{chapter}](../{first})", listed, *sizes(found)])
            everything += found
        rows.append(["all", f"{len(everything)} exercises", *sizes(everything)])
        return table(["chapter", "exercises", "points: tests + reader", "minutes"], rows)


def sizes(found: list[exercises.Exercise]) -> tuple[str, int]:
    kinds = [exercises.KINDS[exercise.kind] for exercise in found]
    points = f"{sum(kind.automatic for kind in kinds)} + {sum(kind.manual for kind in kinds)}"
    return points, sum(kind.minutes for kind in kinds)


class Syllabus(FromChapters):
    """Weeks, a line each: chapters | lecture | exercises in the lab | homework | what may be skipped."""

    has_content = True

    def markdown(self):
        of_chapter = {
            chapter: [exercise for path in paths for exercise in exercises.exercises(path)]
            for chapter, paths in exercises.chapters().items()
        }
        lines, missing = [], set(of_chapter)
        for number, line in enumerate(self.content, start=1):
            week = f"syllabus, week {number}"
            chapters, lecture, lab, homework, skipped = (part.strip() for part in line.split("|"))
            missing -= set(chapters.split())
            left = {exercise.id: exercise for chapter in chapters.split() for exercise in of_chapter[chapter]}
            planned = {}
            for part, ids, limit in ("lab", lab, LAB), ("homework", homework, HOMEWORK):
                planned[part] = [left.pop(id, None) for id in ids.split()]
                if None in planned[part]:
                    raise ExtensionError(f"{week}: {ids} should be exercises of chapters {chapters}, each named once")
                if (minutes := sizes(planned[part])[1]) > limit:
                    raise ExtensionError(f"{week}: the exercises of the {part} take {minutes} minutes of {limit}")
            lines += [
                f"**Week {number}: {' and '.join(chapters.split())}**",
                "",
                f"- Lecture: {lecture}.",
                f"- Lab: {listed(planned['lab'])}. Homework: {listed(planned['homework'])}.",
                *([f"- For those who want more: {listed([*left.values()])}."] if left else []),
                f"- May be skipped: {skipped}.",
                "",
            ]
        if missing:
            raise ExtensionError(f"syllabus: chapters {sorted(missing)} are in no week")
        return "\n".join(lines)


def listed(part: list[exercises.Exercise]) -> str:
    kinds = [exercises.KINDS[exercise.kind] for exercise in part]
    points, minutes = sum(kind.points for kind in kinds), sum(kind.minutes for kind in kinds)
    return f"{', '.join(exercise.id for exercise in part)} ({points} points, {minutes} min)"


class Exam(FromChapters):
    """The exam of seed 0, its answers folded away."""

    def markdown(self):
        return exam.exam(exam.drawn(0), 0, answers=True)
