import random
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import NOTEBOOKS

from eamlib.book.exercises import CHECKS, QUIZZES, check, grade, quiz
from eamlib.book.exercises._questions import choice, number
from eamlib.functional import dynamic_conv2d


def macs_ratio(out_channels, kernel_size, multiplier=1):
    """What 2.3 asks for."""
    return multiplier * (1 / out_channels + 1 / kernel_size**2)


@pytest.mark.parametrize("answer", [None, ..., lambda *args, **kwargs: None, lambda *args, **kwargs: ...])
def test_no_answer_is_neither_right_nor_wrong(answer):
    verdict = check("9.3", answer)
    assert verdict.passed is None
    assert "No answer yet" in str(verdict)


def test_errors_of_the_reader_are_a_verdict():
    def broken(*args, **kwargs):
        raise KeyError("oops")

    verdict = check("9.3", broken)
    assert verdict.passed is False
    assert "KeyError: 'oops'" in verdict._repr_html_().replace("&#x27;", "'")


@pytest.mark.parametrize(
    ("number", "near", "allowed"),
    [
        ("2.33", "2.3", "2."),
        ("02.33", "2.3", "2."),
        ("2,3", "2.3", "2."),
        ("2.3 ", "2.3", "2."),
        (2.3, "2.3", "2."),
        ("Exercise 2.3", None, "2."),
        ("2", None, "2."),
        ("12.33", "12.3", "12."),
        ("1.9", None, "1."),
        ("2.9", "2.8", "2."),
    ],
)
@pytest.mark.parametrize("ask", [quiz, lambda number: check(number, 1), lambda number: grade(number, 1)])
def test_a_wrong_number_is_named_and_answered_from_its_chapter(ask, number, near, allowed):
    with pytest.raises(ValueError, match=re.escape(f"exercise = {number!r} is unknown.")) as caught:
        ask(number)
    message = str(caught.value)
    if near:
        assert f"Did you mean '{near}'?" in message
    known = message.rpartition("Allowed: ")[2].rstrip(".").split(", ")
    assert known == sorted(each for each in CHECKS | QUIZZES if each.startswith(allowed))


@pytest.mark.parametrize("number", ["22.3", "0.3", "", None])
def test_of_a_chapter_that_is_not_there_nothing_is_suggested(number):
    message = f"exercise = {number!r} is unknown. Allowed: numbers such as '2.3', of the chapters 1 to 13."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check(number, 1)


@pytest.mark.parametrize("number", ["2.3", "02.3"])
def test_an_exercise_has_the_number_of_its_heading(number):
    assert str(check(number, ...)).startswith("2.3  … No answer yet.")
    with pytest.raises(AssertionError, match=r"^2\.3  … No answer yet\."):
        grade(number, ...)
    with pytest.raises(ValueError, match=r"^exercise = '2\.3' has no quiz: its answer goes to check\('2\.3', …\)\.$"):
        quiz(number)


def test_no_number_begins_with_a_zero_anywhere():
    assert not [key for key in CHECKS | QUIZZES if not re.fullmatch(r"[1-9]\d?\.[1-9]", key)]
    texts = [path.read_text(encoding="utf-8") for path in NOTEBOOKS]
    assert not [call for text in texts for call in re.findall(r'(?:check|quiz)\(\\"0[^)]*|Exercise 0\d\.\d', text)]


@pytest.mark.parametrize("exercise", sorted(QUIZZES))
def test_every_question_has_one_right_answer_and_a_hint_for_all_others(exercise):
    for question in QUIZZES[exercise]:
        answers = question["answers"]
        assert sum(answer.get("correct", False) for answer in answers) == 1
        assert all(len(answer["feedback"]) > len("Not yet. ") for answer in answers)
        if question["type"] == "numeric":
            assert answers[-1]["type"] == "default"
            values = [answer["value"] for answer in answers[:-1]]
            assert len(set(values)) == len(values)


def test_questions_are_what_jupyterquiz_takes():
    assert number("1 + 1?", 2, "Count.", mistakes={3: "One too many."})["answers"] == [
        {"type": "value", "value": 2, "correct": True, "feedback": "Right."},
        {"type": "value", "value": 3, "correct": False, "feedback": "Not yet. One too many."},
        {"type": "default", "feedback": "Not yet. Count."},
    ]
    assert [a["answer"] for a in choice("?", ("b", "Yes."), {"c": "No.", "a": "No."})["answers"]] == list("abc")


def test_the_answers_to_a_quiz_are_judged_with_its_hints():
    right = [next(a["value"] for a in question["answers"] if a.get("correct")) for question in QUIZZES["1.2"]]
    assert check("1.2", right).passed is True
    assert check("1.2", [right[0], ..., right[2]]).passed is None
    assert "list of 3" in check("1.2", right[:2]).message
    mistake = QUIZZES["1.2"][1]["answers"][1]
    verdict = check("1.2", [right[0], mistake["value"], right[2]])
    assert verdict.passed is False
    assert verdict.message.startswith(f"Answer 2, {mistake['value']}: ")
    assert verdict.message.endswith(mistake["feedback"].removeprefix("Not yet. "))
    hint = QUIZZES["1.2"][0]["answers"][-1]["feedback"]
    assert check("1.2", [-1, *right[1:]]).message.endswith(hint.removeprefix("Not yet. "))


def test_the_choices_of_a_quiz_are_given_by_their_texts():
    right = [next(a["answer"] for a in question["answers"] if a.get("correct")) for question in QUIZZES["5.1"]]
    assert check("5.1", right).passed is True
    assert check("5.1", ["(1, 0, 0, 0)", *right[1:]]).passed is False
    assert "none of the choices" in check("5.1", ["(2, 0)", *right[1:]]).message


def test_grade_is_silent_or_an_error():
    grade("2.3", macs_ratio)
    with pytest.raises(AssertionError, match="No answer yet"):
        grade("2.3", ...)
    with pytest.raises(AssertionError, match="Not yet"):
        grade("2.3", lambda out_channels, kernel_size, multiplier=1: multiplier)
    with pytest.raises(ValueError, match="is unknown"):
        grade("2.33", 1)


def test_grade_asks_about_other_numbers_and_leaves_the_readers_alone():
    seen, before = [], global_generators()

    def mix_outputs(x, weight, attention, padding=0, groups=1):
        seen.append(x)
        return dynamic_conv2d(x, weight, attention, padding=padding, groups=groups, strategy="fuse")

    grade("5.3", mix_outputs)
    assert global_generators() == before
    of_one_shape = [x for x in seen if x.shape == seen[0].shape]
    assert len(of_one_shape) == 2
    assert not torch.equal(of_one_shape[0], of_one_shape[1])
    check("5.3", mix_outputs)
    check("5.3", mix_outputs)
    assert torch.equal(seen[-1], seen[-1 - len(seen) // 4]), "outside of grade, the numbers are the same each time"


def global_generators():
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())


def disturb(*_, **__):
    for seed in torch.manual_seed, random.seed, np.random.seed:
        seed(3)
    raise ValueError(f"{torch.rand(())}, {random.random()}, {np.random.rand()}")


def test_a_check_leaves_the_readers_random_numbers_alone():
    before = global_generators()
    assert check("2.3", macs_ratio).passed
    assert check("2.3", disturb).passed is False
    assert global_generators() == before


IN_A_NOTEBOOK = """
import random
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from eamlib.book.exercises import quiz

InteractiveShell.instance()
pages = set()
for _ in range(2):
    random.seed(7)
    with capture_output() as captured:
        quiz("1.1")
    assert random.random() == random.Random(7).random()
    pages.add(captured.outputs[0].data["text/html"])
assert len(pages) == 2
"""


def test_a_quiz_leaves_the_readers_random_numbers_alone():
    """And two of a page have two ids, whatever the reader has seeded."""
    pytest.importorskip("IPython")
    subprocess.run([sys.executable, "-c", IN_A_NOTEBOOK], check=True)
