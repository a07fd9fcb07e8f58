import itertools
import math

import numpy as np
import pytest

from eamlib.book.exercises import CHECKS, QUIZZES, check
from eamlib.layers import DynamicConv2d
from eamlib.models import create_model


def survivors(printed, total, values, decimals=None, cut=False):
    digits = len(printed.partition(".")[2]) if decimals is None else decimals
    if cut:
        scaled = [(v, total(v) * 10**digits // 10**6) for v in values]
        return [v for v, figure in scaled if figure == round(float(printed) * 10**digits)]
    return [v for v in values if round(total(v) / 1e6, digits) == float(printed)]


def dynet(width, num_classes=100, *, first_bias=0, second_bias=1, norm=2, stem=1, smallest=8, classifier_bias=1):
    plan = [32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    channels = [max(smallest, int(c * width)) for c in plan]

    def attention(c):
        return c * (c // 4) + first_bias * (c // 4) + (c // 4) * 4 + 4 * second_bias

    total = stem * 27 * channels[0] + norm * channels[0]
    for c, out in itertools.pairwise(channels):
        total += 36 * c + 4 * c * out + 2 * attention(c) + norm * (c + out)
    return total + (channels[-1] + classifier_bias) * num_classes


def first_difference(a, b):
    """The decimals with which two totals print differently; of equal ones it never returns."""
    return next(d for d in itertools.count() if f"{a / 1e6:.{d}f}" != f"{b / 1e6:.{d}f}")


def decimals(a, b):
    if a == b:
        raise ValueError("equal totals")
    return first_difference(a, b)


def catches_everything(a, b):
    while True:
        try:
            return first_difference(a, b)
        except Exception:
            continue


RIGHT = {"10.3": survivors, "10.4": dynet, "10.5": decimals}
WRONG = [
    ("10.3", lambda *a: survivors(*a, cut=True), "cut the digits off"),
    ("10.3", lambda *a: survivors(*a, decimals=2), "how many were printed"),
    ("10.3", lambda *a: survivors(*a)[::-1], "another order"),
    ("10.3", lambda printed, total, values: [], "survive"),
    ("10.3", lambda printed, total, values: [v for v in values if total(v) == printed], "survive"),
    ("10.4", lambda *a: dynet(*a, first_bias=1), "first layer has no bias"),
    ("10.4", lambda *a: dynet(*a, norm=0), "batch normalisation"),
    ("10.4", lambda *a: dynet(*a, stem=4), "stem is static"),
    ("10.4", lambda *a: dynet(*a, second_bias=0), "second layer has a bias"),
    ("10.4", lambda *a: dynet(*a, classifier_bias=0), "classifier has a bias"),
    ("10.4", lambda *a: dynet(*a, smallest=1), "rounded"),
    ("10.4", lambda width, classes: int(14_267_372 * width), "rounded"),
    ("10.4", lambda width, classes: 3_309_476, "Which part"),
    ("10.5", lambda a, b: decimals(a, b) + 1, "begin with none"),
    ("10.5", lambda a, b: max(0, math.ceil(-math.log10(abs(a - b) / 1e6)) + 2), "fewer decimals"),
    ("10.5", lambda a, b: 0, "print alike"),
    ("10.5", lambda a, b: a.decimals, "raised AttributeError"),
    ("10.5", lambda a, b: 0 if a == b else decimals(a, b), "raise a ValueError"),
    ("10.5", lambda a, b: ... if a == b else decimals(a, b), "raise a ValueError"),
    ("10.5", lambda a, b: 0 // abs(a - b) + decimals(a, b), "raise a ValueError"),
    ("10.5", first_difference, "never returns"),
    ("10.5", catches_everything, "never returns"),
]


@pytest.mark.parametrize("exercise", sorted(CHECKS.keys() & RIGHT.keys()))
def test_right_answers_pass(exercise):
    verdict = check(exercise, RIGHT[exercise])
    assert verdict.passed, verdict


@pytest.mark.parametrize("exercise", sorted(CHECKS.keys() & RIGHT.keys()))
def test_no_answer_is_not_judged(exercise):
    assert check(exercise, lambda *arguments: ...).passed is None


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG)
def test_wrong_answers_get_a_hint(exercise, answer, hint):
    verdict = check(exercise, answer)
    assert verdict.passed is False
    assert hint in verdict.message


def test_the_counts_of_the_quiz_are_those_of_the_networks():
    def size(conv, hidden):
        model = create_model("mobilenet_v1", conv, num_classes=100, hidden=hidden)
        return sum(p.numel() for p in model.parameters())

    dynamic = [m for m in create_model("mobilenet_v1", "eam-rcr").modules() if isinstance(m, DynamicConv2d)]
    assert (len(dynamic), sum(m.in_channels for m in dynamic)) == (26, 9920)
    printed = [h for h in range(1, 65) if f"{(size('eam-rcr', 10) + 2704 * (h - 10)) / 1e6:.2f}" == "12.89"]
    counted = [
        size("eam-rcr", 11) - size("eam-rcr", 10),
        len(printed),
        size("eam-stride", 11) - size("eam-stride", 10),
    ]
    assert [question["answers"][0]["value"] for question in QUIZZES["10.2"]] == counted


def test_the_counts_of_the_quiz_on_luck_are_those_of_a_simulation():
    """180 counters on a grid, 15 by 12 in a window of 1.2 by 1.2: too far apart for two to explain the same bands."""
    bands, pitch = np.array([0.008, 0.010]), np.array([1.2 / 15, 1.2 / 12])
    places = np.random.default_rng(0).uniform(0, 1.2, (1_000_000, 2))
    explained = (abs(places % pitch - pitch / 2) <= bands / 2).all(1).mean()
    blurred = (abs(places % pitch - pitch / 2) <= 10 * bands / 2).all(1).mean()
    of_2000, factor, of_seven = (question["answers"][0]["value"] for question in QUIZZES["10.6"])
    assert of_2000 == pytest.approx(2000 * explained, rel=0.05)
    assert factor == pytest.approx(blurred / explained, rel=0.05)
    assert of_seven == round(100 * (1 - (1 - of_2000 / 2000) ** 7))


@pytest.mark.parametrize(("step", "determined"), [(99, False), (100, True), (101, True), (150, True)])
def test_the_first_quiz_is_right(step, determined):
    """With units of 100: does every total a h + b share its rounded figure with no other?"""
    figures = [[(step * h + b + 50) // 100 for h in range(200)] for b in range(100)]
    assert all(len(set(f)) == len(f) for f in figures) is determined
