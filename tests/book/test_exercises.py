import random
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import NOTEBOOKS
from torch import nn

from eamlib import convert
from eamlib.book.exercises import CHECKS, QUIZZES, ch01, check, grade, quiz
from eamlib.book.exercises._questions import choice, number
from eamlib.functional import dynamic_conv2d
from eamlib.layers import channel_selection
from eamlib.redundancy import ChannelStatistics
from eamlib.training.recipe import Recipe

SGD = torch.optim.SGD([torch.zeros(1)], lr=1)


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
        maps = [F.conv2d(x, kernel, padding=padding, groups=groups) for kernel in weight]
        return torch.einsum("bk,bkohw->bohw", attention, torch.stack(maps, 1))

    grade("5.3", mix_outputs)
    assert global_generators() == before
    of_one_shape = [x for x in seen if x.shape == seen[0].shape]
    assert len(of_one_shape) == 2
    assert not torch.equal(of_one_shape[0], of_one_shape[1])
    check("5.3", mix_outputs)
    check("5.3", mix_outputs)
    assert torch.equal(seen[-1], seen[-1 - len(seen) // 4]), "outside of grade, the numbers are the same each time"


def by_automatic_differentiation(w, g):
    rows, columns = g.shape[2] + w.shape[2] - 1, g.shape[3] + w.shape[3] - 1
    x = torch.zeros(len(g), w.shape[1], rows, columns, dtype=g.dtype, requires_grad=True)
    (w.flatten(1) @ F.unfold(x, w.shape[2:])).unflatten(2, g.shape[2:]).backward(g)
    return x.grad


def by_a_module(x, w, bias=None, stride=1, padding=0, dilation=1):
    layer = nn.Conv2d(w.shape[1], w.shape[0], w.shape[2:], stride, padding, dilation, bias=bias is not None)
    return layer.double()(x)


def of_the_library(maps):
    statistics = ChannelStatistics(maps.shape[1])
    statistics.update(maps)
    return statistics.effective_rank()


def looped_groups(x, n, maximum=False):
    return torch.stack([group.amax(1) if maximum else group.mean(1) for group in x.chunk(n, 1)], 1)


def looped_maps(x, weight, eta, group_size, padding=0, groups=1):
    maps = eta[:, :, None, None] * F.conv2d(x, weight, padding=padding, groups=groups)
    return sum(maps[:, i::group_size] for i in range(group_size))


@pytest.mark.parametrize(
    ("exercise", "answer", "refused"),
    [
        ("1.3", ch01._same_padding, "eamlib.book.exercises.ch01._same_padding"),
        ("1.4", F.conv2d, "torch.conv2d"),
        ("1.4", by_a_module, "torch.conv2d"),
        ("1.4", torch.ops.aten.conv2d, "torch.ops.aten.conv2d"),
        ("1.4", lambda x, w, **settings: F.conv2d(x, w) @ 1, "torch.conv2d"),
        ("1.6", lambda w, g: F.conv_transpose2d(g, w), "torch.conv_transpose2d"),
        ("1.6", by_automatic_differentiation, "torch.autograd.backward"),
        ("3.4", torch.channel_shuffle, "torch.channel_shuffle"),
        ("3.4", lambda x, groups: nn.ChannelShuffle(groups)(x), "torch.channel_shuffle"),
        (
            "4.3",
            lambda step, steps, top, up: Recipe(1, learning_rate=top, warm_up=up).learning_rate_at(step, steps),
            "eamlib.training.recipe.Recipe",
        ),
        ("4.3", lambda *_: torch.optim.lr_scheduler.LambdaLR(SGD, lambda _: 1) and 0, "torch.optim.lr_scheduler"),
        ("4.4", lambda x, y, eps: F.cross_entropy(x, y, label_smoothing=eps), "torch.nn.functional.cross_entropy"),
        ("4.4", lambda x, y, eps: nn.CrossEntropyLoss(label_smoothing=eps)(x, y), "cross_entropy"),
        ("4.4", lambda x, y, eps: torch._C._nn.cross_entropy_loss(x, y, None, 1, -100, eps), "cross_entropy_loss"),
        ("5.3", partial(dynamic_conv2d, strategy="loop"), "eamlib.functional.ways.dynamic_conv2d"),
        ("8.4", of_the_library, "eamlib.redundancy.statistics.ChannelStatistics"),
        ("9.3", lambda x, n, maximum=False: channel_selection("cgr", x.shape[1], n)(x), "channel_selection"),
        ("12.3", lambda conv, K: convert(conv, "dynamic", where=lambda *_: True, num_kernels=K), "convert.convert"),
    ],
)
def test_an_answer_that_calls_what_it_may_not_is_told_which_function(exercise, answer, refused):
    verdict = check(exercise, answer)
    assert verdict.passed is False
    assert refused in verdict.message and "is not allowed here" in verdict.message
    with pytest.raises(AssertionError, match="is not allowed here"):
        grade(exercise, answer)


@pytest.mark.parametrize(
    ("exercise", "answer", "keyword"),
    [
        ("9.3", looped_groups, "by a loop"),
        ("6.3", looped_maps, "by a loop"),
        ("8.3", lambda batches: torch.corrcoef(torch.cat([b.double() for b in batches]).T), "keep none of them"),
    ],
)
def test_a_loop_and_kept_batches_are_refused_where_the_exercise_does(exercise, answer, keyword):
    verdict = check(exercise, answer)
    assert verdict.passed is False and keyword in verdict.message


def test_what_a_check_calls_itself_is_not_laid_at_the_answers_door():
    before = sys.getprofile()
    assert check("5.3", lambda *_, **__: None).passed is None
    assert sys.getprofile() is before


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
