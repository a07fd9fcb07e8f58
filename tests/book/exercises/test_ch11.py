import itertools
import math

import numpy as np
import pytest
from conftest import NOTEBOOKS
from exercises import exercises

pytest.importorskip("scipy")

from scipy import stats

from eamlib.book.claims import MARGIN, conclude
from eamlib.book.exercises import CHECKS, QUIZZES, check
from eamlib.papers.statistics import Paired


def mcnemar(a, b, alternative="two-sided"):
    """The binomial test, with its coefficients written out."""
    x, y = int((a & ~b).sum()), int((b & ~a).sum())
    n = x + y
    weight = [math.comb(n, k) / 2**n for k in range(n + 1)]
    if alternative == "greater":
        return sum(weight[x:])
    return min(1.0, 2 * sum(weight[: min(x, y) + 1]))


def on_all_images(a, b):
    """A test that forgets that both saw the same images."""
    return stats.chi2_contingency([[a.sum(), (~a).sum() + 1], [b.sum(), (~b).sum() + 1]]).pvalue


def chi_squared(a, b):
    x, y = (a & ~b).sum(), (b & ~a).sum()
    return stats.chi2.sf((x - y) ** 2 / (x + y), 1) if x + y else 1.0


def flip_p(d, one_sided=False, strict=False):
    found = abs(np.mean(d))
    means = np.array([np.mean(np.array(s) * d) for s in itertools.product((1, -1), repeat=len(d))])
    means = means if one_sided else abs(means)
    return (means > found + 1e-9).mean() if strict else (means >= found - 1e-9).mean()


def seeds(pilot, margin, level=0.9, ddof=1, centre=None, otherwise=0):
    for n in range(2, 1001):
        middle = np.mean(pilot) if centre is None else centre
        low, high = stats.t.interval(level, n - 1, middle, np.std(pilot, ddof=ddof) / math.sqrt(n))
        if -margin < low and high < margin:
            return n
    return otherwise


RIGHT = {"11.3": mcnemar, "11.4": flip_p, "11.5": seeds}
WRONG = [
    ("11.3", lambda a, b: mcnemar(a, b, "greater"), "Two-sided"),
    ("11.3", chi_squared, "approximation"),
    ("11.3", on_all_images, "fair coins"),
    ("11.3", lambda a, b: mcnemar(a, b) if (a ^ b).any() else 0.0, "never disagree"),
    ("11.3", lambda a, b: mcnemar(a, b) if (a ^ b).all() else on_all_images(a, b), "must not count"),
    ("11.3", lambda a, b: a.agreement(b), "raised AttributeError"),
    ("11.4", lambda d: flip_p(d, one_sided=True), "one side"),
    ("11.4", lambda d: flip_p(d, strict=True), "as they were found"),
    ("11.4", lambda d: stats.ttest_1samp(d, 0).pvalue if len(d) > 1 else 1.0, "choices of signs"),
    ("11.4", lambda d: 0.5, "multiple of 1/8, but"),
    ("11.5", lambda p, m: seeds(p, m, level=0.95), "95 % interval"),
    ("11.5", lambda p, m: seeds(p, m, level=0.8), "on each side"),
    ("11.5", lambda p, m: seeds(p, m, ddof=0), "n − 1 below"),
    ("11.5", lambda p, m: seeds(p, m, centre=0), "around the mean"),
    ("11.5", lambda p, m: seeds(p, m, otherwise=1000), "return 0"),
    ("11.5", lambda p, m: 500, "fewer than 500"),
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


def test_the_first_quiz_is_right():
    """Images of any difficulty vary less from seed to seed than equally hard ones."""
    generator = np.random.default_rng(0)
    q = generator.beta(4, 1, size=400)
    accuracies = (generator.uniform(size=(20_000, 400)) < q).mean(1)
    binomial = q.mean() * (1 - q.mean()) / 400
    assert accuracies.var() == pytest.approx((q * (1 - q)).mean() / 400, rel=0.03)
    assert accuracies.var() < 0.9 * binomial
    # Where one seed in two fails on a tenth of the images together, it is not so.
    together = accuracies - 0.1 * (generator.uniform(size=20_000) < 0.5)
    assert together.var() > binomial


def test_the_numbers_of_the_second_quiz():
    generator = np.random.default_rng(0)
    error, images, bar, networks = (question["answers"][0]["value"] for question in QUIZZES["11.2"])
    assert error == pytest.approx(100 * (generator.binomial(10_000, 0.9, 40_000) / 10_000).std(), rel=0.02)
    difference = (generator.binomial(images, 0.75, 40_000) - generator.binomial(images, 0.75, 40_000)) / images
    assert 2 * difference.std() == pytest.approx(0.01, rel=0.02)
    assert bar == pytest.approx(stats.false_discovery_control([0.05] * 25).min() / 25)
    assert stats.binomtest(networks, networks).pvalue < bar < stats.binomtest(networks - 1, networks - 1).pvalue


def test_the_words_of_the_last_quiz_are_the_plans():
    cases = [(1, 2.2, None, True), (6, 0.04, 0.12, True), (6, 0.2, 0.3, True), (6, -1.0, 0.2, False)]
    for question, (n, mean, half, passed) in zip(QUIZZES["11.6"], cases, strict=True):
        p = p_same = None
        if half is not None:
            error = half / stats.t.ppf(0.975, n - 1)
            p, p_same = 2 * stats.t.sf(abs(mean) / error, n - 1), stats.t.sf((MARGIN - abs(mean)) / error, n - 1)
        [right] = [answer["answer"] for answer in question["answers"] if answer.get("correct")]
        assert conclude(Paired(n, mean, p=p), p, p_same, passed=passed) == right


def test_the_reasons_of_the_design_exercise_have_right_numbers():
    """The rubric for reasons asks for what binds, a number, an alternative's number, and other data."""
    [page] = [path for path in NOTEBOOKS if path.name.startswith("11_3")]
    [exercise] = [exercise for exercise in exercises(page) if exercise.id == "11.5"]
    pilot = [0.6, -0.2, 0.5, -0.3]
    halved = [0.15 + (d - 0.15) / 2 for d in pilot]
    for said, n in {
        "and it takes {} seeds": seeds(pilot, 0.3),
        "a margin of 0.5 would take {} seeds": seeds(pilot, 0.5),
        "a margin of 0.25 would take {}.": seeds(pilot, 0.25),
        "around a mean of zero would take {} seeds": seeds([d - 0.15 for d in pilot], 0.3),
        "{} seeds are enough at 0.3": seeds(halved, 0.3),
    }.items():
        assert said.format(n) in exercise.text
