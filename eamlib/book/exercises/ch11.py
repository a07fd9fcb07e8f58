"""Exercises of chapter 11."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from eamlib._extras import need
from eamlib.book.exercises._questions import Drawn, choice, number


def _envelope(q: float = 0.9, images: int = 10_000, near: float = 0.75, comparisons: int = 25) -> list[dict]:
    error = math.sqrt(q * (1 - q) / images)
    enough = round(4 * 2 * near * (1 - near) / 0.01**2)
    bar = 0.05 / comparisons
    networks = next(m for m in range(1, 99) if 2 * 0.5**m < bar)
    half = 2 ** (networks - 1)
    return [
        number(
            f"The standard error, in points, of an accuracy of {100 * q:g} % on {images:,} images?",
            round(100 * error, 6),
            "√(q (1 − q) / N), and 0.01 is one point.",
            right=f"√({q:g} · {1 - q:g} / {images}) = {error:g}.",
            mistakes={
                round(error, 8): "In points, please: percent.",
                round(q * (1 - q), 6): "That is the variance of one flip; take the root of it over N.",
            },
        ),
        number(
            f"Two networks near {100 * near:g} % err independently. How many test images make a difference "
            "of one point equal to two standard errors?",
            enough,
            f"The variances of both add up: 2 · {near:g} · {1 - near:g} / N. Set twice its root to 0.01.",
            right=f"4 · {2 * near * (1 - near):g} / 0.0001.",
            mistakes={
                enough // 2: "That is for one network; the variances of two add up.",
                enough // 4: "Two standard errors, not one.",
            },
        ),
        number(
            f"Of {comparisons} comparisons, how small must the smallest p-value be for Holm's method to accept it "
            "at 5 %?",
            bar,
            "The smallest is multiplied by the number of comparisons.",
            right=f"0.05 / {comparisons}.",
            mistakes={0.05: "That would be without any correction."},
        ),
        number(
            "How many networks, all with the same sign, does a two-sided sign test need to get below that?",
            networks,
            f"2 · (1/2)^m: for which m is it below {bar:g}?",
            right=f"2 / {2**networks} = {2 / 2**networks:.3g}.",
            mistakes={
                networks - 1: f"1/{half} is the one-sided p-value of that many, and the two-sided one is 2/{half}."
            },
        ),
    ]


QUIZZES = {
    "11.1": [
        choice(
            "The spread over seeds is …",
            (
                "never larger; equal if all images are equally hard",
                "What is left out is the variance of the qᵢ over the images.",
            ),
            {
                "never smaller; equal if all images are equally hard": "Take half of the images with qᵢ = 1, the "
                "others with qᵢ = 0: how much does that accuracy vary from seed to seed?",
                "always the same": "Take half of the images with qᵢ = 1, the others with qᵢ = 0.",
                "larger or smaller, as the images happen to be": "The function q (1 − q) is concave. What does that "
                "say of the mean of its values?",
            },
        ),
        choice(
            "Over seeds, sd is found to be larger than the binomial standard error. What follows?",
            (
                "For a given seed, the images are not independent",
                "Some seeds make the whole network better or worse, so that many images flip together.",
            ),
            {
                "There is an error in the code": "Perhaps. But the bound has an assumption that a bad seed breaks.",
                "The test set is too small": "Both sides fall with N in the same way.",
                "Nothing, the bound is not exact": "Under its assumption it is exact. Which assumption fails?",
            },
        ),
    ],
    "11.2": _envelope(),
    "11.6": [
        choice(
            "One seed each: RCR is 2.2 points above DyNet, and McNemar's p is below 0.001.",
            ("not tested", "These two networks differ. Of the methods one seed says nothing."),
            {
                "settled": "McNemar's test is of two networks. What would the next seed give?",
                "bounded": "An interval over seeds needs seeds.",
            },
        ),
        choice(
            "Six seeds, the gate is passed: RCR − DyNet is +0.04, 95 % interval −0.08 to +0.16.",
            ("settled", "Not told from none, but shown to be smaller than a quarter of a point."),
            {
                "bounded": "The interval reaches zero. Does it also reach the margin?",
                "not tested": "Six seeds of both rows, on data that passed the gate: what is missing?",
            },
        ),
        choice(
            "Six seeds, the gate is passed: CGR − DyNet is +0.20, 95 % interval −0.10 to +0.50.",
            ("bounded", "It reaches from below zero beyond the margin: the interval is the answer."),
            {
                "settled": "Zero lies in the interval, and so does 0.25.",
                "not tested": "It was tested, and the answer is an interval.",
            },
        ),
        choice(
            "Six seeds on data where the mean attention costs DyNet 0.2 points: RCR − DyNet is −1.0, −1.2 to −0.8.",
            ("not tested", "The data failed the gate, so that attentions are not compared there."),
            {
                "settled": "Told from none it is. But which rule comes first?",
                "bounded": "Neither margin nor zero is the matter here. What does the exchange cost?",
            },
        ),
    ],
}

# What each student of a class is asked instead.
DRAWN = {
    "11.2": Drawn(
        _envelope,
        "an accuracy of {q:.0%} on {images:,} images; two networks near {near:.0%}; {comparisons} comparisons.",
        {"q": (0.8, 0.64, 0.98), "images": (2_500, 40_000), "near": (0.6, 0.7, 0.8), "comparisons": (10, 20, 50)},
    ),
}


def _mcnemar(answer: Callable) -> str | None:
    need("notebooks", "scipy")
    import numpy as np
    from scipy import stats

    def arrays(both: int, only_a: int, only_b: int, neither: int):
        a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
        b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
        order = np.random.default_rng(0).permutation(len(a))
        return a[order], b[order]

    cases = [(0, 8, 2, 0), (90, 8, 2, 5), (50, 2, 9, 1), (300, 30, 31, 3), (7, 0, 5, 0), (12, 0, 0, 4)]
    for both, only_a, only_b, neither in cases:
        yours, where = float(answer(*arrays(both, only_a, only_b, neither))), f"only a: {only_a}, only b: {only_b}"
        n = only_a + only_b
        right = stats.binomtest(only_a, n).pvalue if n else 1.0
        if math.isclose(yours, right, abs_tol=1e-9):
            continue
        if n and math.isclose(yours, stats.binomtest(only_a, n, alternative="greater").pvalue, abs_tol=1e-9):
            return f"Two-sided, please: either network may be the better one ({where})."
        if not n:
            return "If they never disagree, the p-value is 1."
        if only_a and only_b and math.isclose(yours, stats.chi2.sf((only_a - only_b) ** 2 / n, 1), abs_tol=1e-9):
            return f"That is the approximation by χ²; it is to be exact ({where})."
        if both or neither:
            return f"Images on which both agree must not count ({where}, both: {both}, neither: {neither})."
        return f"Of {n} images, a recognises {only_a}: how likely is that, or something rarer, for fair coins?"
    return None


def _flip_p(answer: Callable) -> str | None:
    cases = ([0.4, 0.1, 0.7], [0.2, -0.5, 0.3, 0.25, 0.1], [-0.3, -0.2, -0.6, -0.1, -0.4, -0.2], [0.5], [0.1, -0.1])
    for differences in cases:
        n, found = len(differences), abs(sum(differences)) / len(differences)
        means = [
            sum(s * d for s, d in zip(signs, differences, strict=True)) / n
            for signs in itertools.product((1, -1), repeat=n)
        ]
        yours, right = float(answer(list(differences))), sum(abs(m) >= found - 1e-9 for m in means) / 2**n
        if math.isclose(yours, right, abs_tol=1e-9):
            continue
        if math.isclose(yours, sum(m >= found - 1e-9 for m in means) / 2**n, abs_tol=1e-9):
            return f"For {differences} you count one side; means that are as far below zero count, too."
        if math.isclose(yours, sum(abs(m) > found + 1e-9 for m in means) / 2**n, abs_tol=1e-9):
            return f"For {differences}: the signs as they were found are one of the choices, and count."
        if yours * 2**n == round(yours * 2**n):
            return f"For {differences} the share is a multiple of 1/{2**n}, but {yours:g} is not the right one."
        return (
            f"For {differences} there are {2**n} choices of signs: the share is a multiple of 1/{2**n}, not {yours:g}."
        )
    return None


def _seeds_to_show_equal(answer: Callable) -> str | None:
    need("notebooks", "scipy")
    from statistics import mean, pstdev, stdev

    from scipy import stats

    def least(
        pilot: Sequence[float], margin: float, level: float = 0.95, spread: Callable = stdev, first: int = 2
    ) -> int:
        fits = (
            n
            for n in range(first, 1001)
            if abs(mean(pilot)) + stats.t.ppf(level, n - 1) * spread(pilot) / math.sqrt(n) < margin
        )
        return next(fits, 0)

    def centred(pilot: Sequence[float], margin: float) -> int:
        return least([d - mean(pilot) for d in pilot], margin)

    cases = [
        ([0.6, -0.2, 0.5, -0.3], 0.3),
        ([0.1, -0.2, 0.3], 0.5),
        ([0.9, -0.6, 0.2, 0.1], 0.4),
        ([0.6, 0.8, 0.7], 0.5),
        ([-0.52, -0.5, -0.5], 0.5),
        ([2.0, -2.0, 0.1], 0.05),
    ]
    for pilot, margin in cases:
        yours, right = answer(list(pilot), margin), least(pilot, margin)
        if yours == right:
            continue
        if right == 0:
            return f"For {pilot} and a margin of {margin} no n up to 1000 would do: return 0, not {yours}."
        if yours == least(pilot, margin, level=0.975):
            return "That is the 95 % interval; equivalence at 5 % needs the 90 % interval."
        if yours == least(pilot, margin, level=0.9):
            return "A 90 % interval leaves 5 % on each side: which point of Student's distribution is that?"
        if yours == least(pilot, margin, spread=pstdev):
            return "The standard deviation of a sample has n − 1 below."
        if yours == centred(pilot, margin):
            return f"The interval lies around the mean of the pilot, {mean(pilot):.3g}, not around zero."
        return f"For {pilot} and a margin of {margin} it takes {'fewer' if yours > right else 'more'} than {yours}."
    return None


CHECKS = {"11.3": _mcnemar, "11.4": _flip_p, "11.5": _seeds_to_show_equal}
