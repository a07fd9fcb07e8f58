"""Two kinds of question in the form that jupyterquiz takes, and quizzes whose numbers are drawn for a student."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


def number(
    question: str, answer: float, hint: str, *, right: str = "", mistakes: dict[float, str] | None = None
) -> dict:
    """A question with a number as its answer.

    Args:
        answer: the right one.
        hint: shown on any wrong answer that ``mistakes`` does not explain.
        right: why it is right, shown with "Right."
        mistakes: an answer that a typical mistake leads to -> what went wrong.
    """
    answers = [{"type": "value", "value": answer, "correct": True, "feedback": f"Right. {right}".strip()}]
    for value, what in (mistakes or {}).items():
        answers.append({"type": "value", "value": value, "correct": False, "feedback": f"Not yet. {what}"})
    answers.append({"type": "default", "feedback": f"Not yet. {hint}"})
    return {"question": question, "type": "numeric", "answers": answers}


def choice(question: str, right: tuple[str, str], wrong: dict[str, str]) -> dict:
    """A question with one right answer among several, shown in alphabetical order.

    Args:
        right: (the answer, why it is right).
        wrong: an answer -> the hint that it deserves.
    """
    answers = [{"answer": right[0], "correct": True, "feedback": f"Right. {right[1]}".strip()}]
    answers += [{"answer": answer, "correct": False, "feedback": f"Not yet. {hint}"} for answer, hint in wrong.items()]
    return {
        "question": question,
        "type": "multiple_choice",
        "answers": sorted(answers, key=lambda a: a["answer"]),
    }


@dataclass(frozen=True)
class Drawn:
    """A quiz that asks each student about other numbers.

    Args:
        ask: makes the questions; its defaults are the book's numbers.
        setting: what the numbers mean, as a format string.
        values: what each number is drawn from.
    """

    ask: Callable[..., list[dict]]
    setting: str
    values: dict[str, tuple]

    def of(self, seed: str) -> tuple[str, list[dict]]:
        """The setting and the questions, the same ones for each ``seed``."""
        draw = random.Random(seed)
        numbers = {name: draw.choice(values) for name, values in self.values.items()}
        return self.setting.format(**numbers), self.ask(**numbers)
