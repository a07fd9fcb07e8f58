import pytest

from eamlib.exercises import CHECKS, QUIZZES, check, quiz
from eamlib.exercises._questions import choice, number


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [(exercise, nothing) for exercise in sorted(CHECKS) for nothing in (None, ...)]
    + [("09.3", lambda *args, **kwargs: None), ("09.3", lambda *args, **kwargs: ...)],
)
def test_no_answer_is_neither_right_nor_wrong(exercise, answer):
    verdict = check(exercise, answer)
    assert verdict.passed is None
    assert "No answer yet" in str(verdict)


def test_errors_of_the_reader_are_a_verdict():
    def broken(*args, **kwargs):
        raise KeyError("oops")

    verdict = check("09.3", broken)
    assert verdict.passed is False
    assert "KeyError: 'oops'" in verdict._repr_html_().replace("&#x27;", "'")


def test_unknown_exercises_are_named():
    with pytest.raises(ValueError, match=r"exercise = '09\.33' is unknown. Did you mean '09\.3'"):
        check("09.33", 1)
    with pytest.raises(ValueError, match=r"exercise = '9\.1' is unknown. Did you mean '09\.1'"):
        quiz("9.1")


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
