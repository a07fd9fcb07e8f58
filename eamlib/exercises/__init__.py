"""Exercises that answer at once: ``quiz("01.1")`` on the page and in Colab, ``check("01.3", yours)`` under a kernel.

A chapter's questions and checks live in the module of its number (``ch01`` …), as two dictionaries: ``QUIZZES``, an
exercise's list of questions, and ``CHECKS``, an exercise's checker: a function of the reader's answer that returns
None where the answer is right and a hint where it is not.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from dataclasses import dataclass

from eamlib._checks import one_of
from eamlib.exercises import ch01, ch02, ch03, ch04, ch05, ch06, ch07, ch08, ch09, ch10, ch11, ch12, ch13

_CHAPTERS = (ch01, ch02, ch03, ch04, ch05, ch06, ch07, ch08, ch09, ch10, ch11, ch12, ch13)
QUIZZES: dict[str, list[dict]] = {key: value for chapter in _CHAPTERS for key, value in chapter.QUIZZES.items()}
CHECKS: dict[str, Callable] = {key: value for chapter in _CHAPTERS for key, value in chapter.CHECKS.items()}


class _NotAnswered(Exception):
    pass


@dataclass(frozen=True)
class Verdict:
    """The answer to an answer. ``passed`` is True, False, or None where nothing was answered yet.

    Example:
        >>> Verdict("01.3", True, "And for every stride.")
        01.3  ✓ Right. And for every stride.
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


def check(exercise: str, answer: object) -> Verdict:
    """Judge an answer to a code exercise.

    Args:
        exercise: its number, "01.3" say.
        answer: a value, a function or a class, as the exercise asks for. ``...`` or a function that returns ``...``
            or None counts as not answered.

    Raises:
        ValueError: if there is no such exercise. Errors inside the answer are not raised: they are the verdict.

    Example:
        >>> def half_on_each_side(size, kernel_size, stride, dilation):
        ...     return kernel_size // 2, kernel_size // 2
        >>> check("01.3", half_on_each_side)
        01.3  ✗ Not yet. size 8, kernel 4, stride 1, dilation 1: you pad 2 on both sides, but the right sum is not 4.
    """
    checker = CHECKS[one_of("exercise", exercise, CHECKS)]
    try:
        if answer is None or answer is ...:
            raise _NotAnswered
        is_function = callable(answer) and not isinstance(answer, type)
        hint = checker(_must_answer(answer) if is_function else answer)
    except _NotAnswered:
        return Verdict(exercise, None, "Put yours in place of the dots and run the cell again.")
    except Exception as error:  # the reader's code may fail in any way; say how, and let them go on
        return Verdict(exercise, False, f"Your code raised {type(error).__name__}: {error}")
    return Verdict(exercise, hint is None, hint or "")


def quiz(exercise: str) -> None:
    """Show the questions of an exercise; they answer at once, without a kernel (jupyterquiz).

    Raises:
        ValueError: if there is no such exercise.
        RuntimeError: outside of a notebook.

    Example:
        >>> quiz("01.2")  # not in a notebook
        Traceback (most recent call last):
            ...
        RuntimeError: a quiz is shown by a notebook, in Jupyter or on Colab, and this is none.
    """
    from IPython import get_ipython
    from IPython.display import HTML, display
    from IPython.utils.capture import capture_output
    from jupyterquiz import display_quiz

    questions = QUIZZES[one_of("exercise", exercise, QUIZZES)]
    if get_ipython() is None:
        raise RuntimeError("a quiz is shown by a notebook, in Jupyter or on Colab, and this is none.")
    with capture_output() as captured:
        display_quiz(questions, shuffle_answers=False)
    page, script = captured.outputs
    # jupyterquiz leaves its division open, which would swallow the rest of a static page.
    display(HTML(page.data["text/html"] + "</div>"), script)


def _must_answer(function: Callable) -> Callable:
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        result = function(*args, **kwargs)
        if result is None or result is ...:
            raise _NotAnswered
        return result

    return wrapper
