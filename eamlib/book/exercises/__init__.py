"""Exercises that answer at once: ``quiz("1.1")`` on the page and in Colab, ``check("1.3", yours)`` under a kernel.

``check("1.2", [112, …])`` judges the answers to a quiz, too, and ``grade`` is ``check`` for a class: it fails with an
error, and asks about other numbers as well.

A chapter's questions and checks live in the module of its number (``ch01`` …), as dictionaries: ``QUIZZES``, an
exercise's list of questions, ``CHECKS``, an exercise's checker: a function of the reader's answer that returns
None where the answer is right and a hint where it is not, and ``DRAWN``, quizzes that ask each student of a class about
other numbers.
"""

from __future__ import annotations

import functools
import html
import math
import random
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from eamlib._checks import one_of
from eamlib._extras import need
from eamlib.analysis._unchanged import same_random_numbers
from eamlib.book.exercises import _watch, ch01, ch02, ch03, ch04, ch05, ch06, ch07, ch08, ch09, ch10, ch11, ch12, ch13

_CHAPTERS = (ch01, ch02, ch03, ch04, ch05, ch06, ch07, ch08, ch09, ch10, ch11, ch12, ch13)
QUIZZES: dict[str, list[dict]] = {key: value for chapter in _CHAPTERS for key, value in chapter.QUIZZES.items()}
CHECKS: dict[str, Callable] = {key: value for chapter in _CHAPTERS for key, value in chapter.CHECKS.items()}
DRAWN = {key: value for chapter in _CHAPTERS for key, value in getattr(chapter, "DRAWN", {}).items()}


class _NotAnswered(Exception):
    pass


@dataclass(frozen=True)
class Verdict:
    """The answer to an answer. ``passed`` is True, False, or None where nothing was answered yet.

    Example:
        >>> Verdict("1.3", True, "And for every stride.")
        1.3  ✓ Right. And for every stride.
    """

    exercise: str
    passed: bool | None
    message: str

    def __str__(self) -> str:
        sign = {True: "✓ Right.", False: "✗ Not yet.", None: "… No answer yet."}[self.passed]
        return f"{self.exercise}  {sign} {self.message}".rstrip()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        kind = {True: "right", False: "wrong", None: "open"}[self.passed]
        return f'<p class="verdict verdict-{kind}">{html.escape(str(self))}</p>'


def check(exercise: str, answer: object, student: str | None = None) -> Verdict:
    """Judge an answer to an exercise. The global random numbers go on afterwards as if nothing had been judged.

    Args:
        exercise: its number, "1.3" say; "01.3" is the same.
        answer: a value, a function or a class, as a code exercise asks for; to a quiz, the list of answers to its
            questions, numbers or the choices' texts. ``...`` or a function that returns ``...`` or None counts as not
            answered.
        student: a name or number, whose numbers a quiz with drawn numbers asks for; None for the book's.

    Raises:
        ValueError: if there is no such exercise, or ``student`` is empty. Errors inside the answer are not raised:
            they are the verdict.

    Example:
        >>> def half_on_each_side(size, kernel_size, stride, dilation):
        ...     return kernel_size // 2, kernel_size // 2
        >>> check("1.3", half_on_each_side)
        1.3  ✗ Not yet. size 8, kernel 4, stride 1, dilation 1: you pad 2 on both sides, but the right sum is not 4.
    """
    exercise = _numbered(exercise, CHECKS | QUIZZES)
    checker = CHECKS.get(exercise) or functools.partial(_check_quiz, _asked(exercise, student)[1])
    try:
        if answer is None or answer is ...:
            raise _NotAnswered
        is_function = callable(answer) and not isinstance(answer, type)
        if is_function:
            answer = _must_answer(answer, getattr(checker, "banned", (_watch.LIBRARY,)))
        with same_random_numbers():
            hint = checker(answer)
    except _NotAnswered:
        return Verdict(exercise, None, "Put yours in place of the dots and run the cell again.")
    except _watch.NotAllowed as refusal:
        return Verdict(exercise, False, str(refusal))
    except Exception as error:  # the reader's code may fail in any way; say how, and let them go on
        return Verdict(exercise, False, f"Your code raised {type(error).__name__}: {error}")
    return Verdict(exercise, hint is None, hint or "")


def grade(exercise: str, answer: object, student: str | None = None) -> None:
    """Accept a right answer in silence: the hidden test of the notebooks that are handed in.

    The answer is checked twice: with the numbers that ``check`` draws, and with others.

    Raises:
        AssertionError: with the hint, if the answer is wrong or missing; or if the notebook has put a function or a
            class of its own into this library, which answers are compared with.
        ValueError: if there is no such exercise, or ``student`` is empty.

    Example:
        >>> def macs_ratio(out_channels, kernel_size, multiplier=1):
        ...     return 1 / out_channels + 1 / kernel_size**2
        >>> grade("2.3", macs_ratio)
        Traceback (most recent call last):
            ...
        AssertionError: 2.3  ✗ Not yet. The multiplier is ignored: m kernels a channel cost more than one.
    """
    _refuse_replaced()
    for shift in range(2):
        with _watch.other_numbers(shift):
            verdict = check(exercise, answer, student)
        if not verdict.passed:
            raise AssertionError(str(verdict))


def _refuse_replaced() -> None:
    modules = [(name, module) for name, module in [*sys.modules.items()] if name.partition(".")[0] == "eamlib"]
    classes = [
        (f"{name}.{value.__name__}", value)
        for name, module in modules
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == name
    ]
    for place, owner in modules + classes:
        for name, value in vars(owner).items():
            if getattr(value, "__module__", None) == "__main__":
                raise AssertionError(f"{place}.{name} was replaced by the notebook's own; leave the library as it is.")


def quiz(exercise: str, student: str | None = None) -> None:
    """Show the questions of an exercise; they answer at once, without a kernel (jupyterquiz).

    Args:
        exercise: its number, "1.2" say.
        student: a name or number. The questions are then shown without their answers, and with this student's numbers
            where they are drawn.

    Raises:
        ValueError: if there is no such exercise, or it has no quiz, or ``student`` is empty.
        RuntimeError: outside of a notebook.

    Example:
        >>> quiz("1.2")  # not in a notebook
        Traceback (most recent call last):
            ...
        RuntimeError: a quiz is shown by a notebook, in Jupyter or on Colab, and this is none.
    """
    need("notebooks", "IPython", "jupyterquiz")
    from IPython import get_ipython
    from IPython.display import HTML, display
    from IPython.utils.capture import capture_output
    from jupyterquiz import display_quiz

    exercise = _numbered(exercise, CHECKS | QUIZZES)
    if exercise in CHECKS:
        raise ValueError(f"exercise = {exercise!r} has no quiz: its answer goes to check({exercise!r}, …).")
    setting, questions = _asked(exercise, student)
    if get_ipython() is None:
        raise RuntimeError("a quiz is shown by a notebook, in Jupyter or on Colab, and this is none.")
    if student is not None:
        asked = "".join(f"<li>{html.escape(question['question'])}</li>" for question in questions)
        display(HTML(f"<p>{html.escape(setting)}</p><ol>{asked}</ol>"))
        return
    with same_random_numbers(), capture_output() as captured:
        random.seed()  # jupyterquiz draws an id, and each quiz of a page needs another one
        display_quiz(questions, shuffle_answers=False)
    page, script = captured.outputs
    # jupyterquiz leaves its division open, which would swallow the rest of a static page.
    display(HTML(page.data["text/html"] + "</div>"), script)


def _numbered(exercise: object, known: Iterable[str]) -> str:
    """The number as in the exercise's heading; another one is an error that stays with the chapter it begins with."""
    if isinstance(exercise, str) and exercise.lstrip("0") in known:
        return exercise.lstrip("0")
    chapter = re.match(r"\D*0*(\d*)", str(exercise))[1]
    of_chapter = sorted(each for each in known if each.partition(".")[0] == chapter)
    if not of_chapter:
        chapters = f"the chapters 1 to {len(_CHAPTERS)}"
        raise ValueError(f"exercise = {exercise!r} is unknown. Allowed: numbers such as '2.3', of {chapters}.")
    return one_of("exercise", exercise, of_chapter)


def _asked(exercise: str, student: str | None) -> tuple[str, list[dict]]:
    """What a quiz is about, where that is drawn, and its questions."""
    if student is None:
        return "", QUIZZES[exercise]
    if not isinstance(student, str) or not (name := " ".join(student.split()).casefold().strip("…")):
        raise ValueError(f"student = {student!r}; write your name or number there, in quotes.")
    if exercise not in DRAWN:
        return "", QUIZZES[exercise]
    setting, questions = DRAWN[exercise].of(f"{exercise} {name}")
    return f"Your numbers, {student}: {setting}", questions


def _check_quiz(questions: list[dict], answers: list) -> str | None:
    if not isinstance(answers, list | tuple) or len(answers) != len(questions):
        return f"Answer with a list of {len(questions)}, one for each question."
    if any(answer is None or answer is ... for answer in answers):
        raise _NotAnswered
    for number, (question, answer) in enumerate(zip(questions, answers, strict=True), start=1):
        known = next((each for each in question["answers"] if _is(each, answer)), None)
        if known is None:
            return f"Answer {number}, {answer!r}, is none of the choices."
        if not known.get("correct"):
            return f"Answer {number}, {answer!r}: {known['feedback'].removeprefix('Not yet. ')}"
    return None


def _is(known: dict, answer: object) -> bool:
    if known.get("type") == "default":
        return True
    value = known.get("value", known.get("answer"))
    return math.isclose(value, answer) if isinstance(value, int | float) else value == answer


def _must_answer(function: Callable, banned: tuple[str, ...]) -> Callable:
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        with _watch.refusing(banned):
            result = function(*args, **kwargs)
        if result is None or result is ...:
            raise _NotAnswered
        return result

    return wrapper
