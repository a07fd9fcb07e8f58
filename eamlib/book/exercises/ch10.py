"""Exercises of chapter 10."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from eamlib.book.exercises._questions import choice, number

# Exercise 10.2: MobileNetV1 with EAM, hidden width h in 26 layers; n p^2 = 100 features and K = 4 outputs.
_LAYERS, _INPUTS = 26, 9920
_STEP = _LAYERS * (100 + 4)
_AT_TEN = 12_889_292
_LEFT = sum(12_885_000 <= _AT_TEN + _STEP * (h - 10) < 12_895_000 for h in range(1, 65))
_STEP_EVERY_4TH = 25 * _INPUTS // 4 + _LAYERS * 4

QUIZZES = {
    "10.1": [
        choice(
            "Which condition is necessary and sufficient?",
            ("a ≥ u", "Totals lie a apart, and a half-open interval of length u holds at most one of them."),
            {
                "a ≥ 2u": "Enough, but more than needed: how long is the interval that rounds to one figure?",
                "a ≥ u/2": "Half a unit to either side makes an interval of what length?",
                "a is a multiple of u": "Then it works, but 3 u / 2 would, too.",
            },
        ),
        choice(
            "Two figures are printed for two totals, a h + b and c h + d, both with steps a and c below u. Can the "
            "pair still determine h?",
            (
                "Yes, it may",
                "Each leaves several values, and these sets may have only one in common. That is what the search used.",
            ),
            {
                "No, never": "Each figure leaves a few values. Must both leave the same ones?",
                "Yes, always": "With a = c and b = d the second figure says nothing new.",
            },
        ),
    ],
    "10.2": [
        number(
            "By how many parameters does the network grow when h grows by one?",
            _STEP,
            "In each of the 26 layers a unit has weights in and weights out, and no bias.",
            right="26 · (100 + 4).",
            mistakes={
                _LAYERS * 100: "A unit has weights out as well, one for each kernel.",
                _LAYERS * 105: "The first linear layer has no bias.",
                104: "That is one layer.",
            },
        ),
        number(
            "At h = 10 it has 12,889,292. How many values of h does the figure 12.89 M allow?",
            _LEFT,
            "Which totals print as 12.89? Walk from 12,889,292 in your steps, down and up.",
            right="9, 10, 11 and 12.",
            mistakes={
                1: "It is more than one: a step is smaller than the rounding.",
                3: "Go up as far as 12,895,000, which is not included.",
            },
        ),
        number(
            "And by how many does it grow for each hidden unit where every fourth channel is read?",
            _STEP_EVERY_4TH,
            "C/4 channels give 25 numbers each; the input channels add up to 9,920.",
            right="25 · 9920/4 + 26 · 4.",
            mistakes={
                25 * _INPUTS + _LAYERS * 4: "Only every fourth channel is read.",
                25 * _INPUTS // 4: "The unit's weights to the four kernels are missing.",
            },
        ),
    ],
    "10.6": [
        number(
            "Of 2,000 pairs of bands at random places in the window, how many do you expect to be explained?",
            20,
            "A counter explains the bands that lie around it: a rectangle of 0.008 by 0.010. Which share of the window "
            "do 180 of them fill?",
            right="180 · 0.008 · 0.010 / 1.2² = 1 %.",
            mistakes={
                1: "That is the share in percent.",
                0.01: "That is the share.",
                180: "A counter explains only bands that lie around it.",
            },
        ),
        number(
            "The figures are printed with one decimal less. By which factor does that chance grow, as long as the "
            "rectangles do not overlap?",
            100,
            "How much longer is each of the two bands, and how much larger is the rectangle?",
            right="Both bands are ten times as long.",
            mistakes={10: "That is the length of one band, and there are two."},
        ),
        number(
            "Back to the first question. Seven searches are made, independent of each other. In how many of 100 such "
            "efforts does luck succeed at least once? Round to a whole number.",
            7,
            "With which probability do all seven fail?",
            right="1 − 0.99⁷.",
            mistakes={1: "That is one search alone.", 93: "That is how often all seven fail."},
        ),
    ],
}


def _survivors_of(answer: Callable) -> str | None:
    totals = [
        ("12.89", lambda h: 12_889_292 + 2704 * (h - 10), range(1, 65)),
        ("13.48", lambda h: 13_483_292 + 62_104 * (h - 10), range(1, 65)),
        ("12.9", lambda h: 12_889_292 + 2704 * (h - 10), range(1, 65)),
        ("12.90", lambda h: 12_889_292 + 2704 * (h - 10), range(1, 65)),
        ("3", lambda h: 250_001 * h, [14, 9, 10, 11, 12, 13]),
        ("0.500", lambda h: 1000 * h, [7, 8]),
        ("8.98", lambda h: 12_889_292 + 2704 * (h - 10), range(1, 65)),
    ]
    for printed, total, values in totals:
        decimals = len(printed.partition(".")[2])
        right = [v for v in values if f"{total(v) / 1e6:.{decimals}f}" == printed]
        yours = list(answer(printed, total, values))
        if yours == right:
            continue
        unit = 10**6 // 10**decimals
        if yours == [v for v in values if total(v) // unit == round(float(printed) * 10**decimals)]:
            return f'For "{printed}" you cut the digits off; they are rounded.'
        if yours == [v for v in values if round(total(v) / 1e6, 2) == float(printed)]:
            return f'For "{printed}" you round to two decimals: how many were printed?'
        if sorted(yours) == sorted(right):
            return f'For "{printed}" the right values, in another order: keep that of `values`.'
        return f'For "{printed}" and values {list(values)[:3]} … {len(right)} survive; you return {len(yours)}.'
    return None


def _dynet_v1_parameters(answer: Callable) -> str | None:
    from eamlib.models import create_model

    for width, classes in ((1.0, 100), (0.5, 100), (0.25, 10), (0.75, 100), (0.1, 7), (0.3, 100)):
        model = create_model("mobilenet_v1", "dynamic", num_classes=classes, width_mult=width)
        right = sum(p.numel() for p in model.parameters())
        yours = answer(width, classes)
        if yours == right:
            continue
        where = f"For width {width:g} and {classes} classes"
        sizes = [m for name, m in model.named_modules() if name.endswith("attention")]
        hidden = sum(m.predict[0].out_features for m in sizes)
        normalisation = sum(
            p.numel() for m in model.modules() if "BatchNorm" in type(m).__name__ for p in m.parameters()
        )
        first = model.features[0][0].weight.numel()
        typical = {
            hidden: "the attention's first layer has no bias",
            -normalisation: "batch normalisation has two parameters a channel",
            -classes: "the classifier has a bias",
            -4 * len(sizes): "the attention's second layer has a bias",
            3 * first: "the stem is static: one kernel",
        }
        if yours - right in typical:
            return f"{where}: {typical[yours - right]}."
        if width != 1.0:
            return f"{where} you return {yours:,}. Full width is right: how are channels and hidden units rounded?"
        return f"{where} you return {yours:,}; the chapter's figure is {right:,}. Which part differs?"
    return None


def _decimals_needed(answer: Callable) -> str | None:
    pairs = [
        (12_889_292, 14_267_372),
        (12_889_292, 12_889_188),
        (12_884_999, 12_885_001),
        (8_977_108, 8_976_900),
        (8_977_108, 11_252_148),
        (12_300_000, 12_900_000),
        (1_000_000, 1_000_001),
    ]
    for a, b in (*pairs, *((b, a) for a, b in pairs)):
        right = next(d for d in range(10) if f"{a / 1e6:.{d}f}" != f"{b / 1e6:.{d}f}")
        yours = answer(a, b)
        if yours == right:
            continue
        if yours < right:
            return f"With {yours} decimals {a:,} and {b:,} print alike."
        if yours == right + 1:
            return f"For {a:,} and {b:,} one decimal fewer is enough: begin with none."
        return f"For {a:,} and {b:,} fewer decimals are enough: they may lie on either side of a border."
    return _of_equal_totals(answer)


def _of_equal_totals(answer: Callable) -> str | None:
    try:
        with _at_most_steps(1000):
            answer(_AT_TEN, _AT_TEN)
    except ValueError:
        return None
    except _TooLong:
        return "For two equal totals your function never returns: compare them first, and raise a ValueError."
    except Exception:
        pass  # another error, or no answer: neither says what is wrong with the totals
    return "Two equal totals print alike with any number of decimals: raise a ValueError."


class _TooLong(BaseException):
    """No Exception, so that an answer which catches all of those is stopped as well."""


@contextmanager
def _at_most_steps(limit: int) -> Iterator[None]:
    """Stop what runs more lines of Python than this: a search for a difference between equals has no end."""

    def count(frame, event, argument):
        nonlocal limit
        limit -= 1
        if limit < 0:
            raise _TooLong
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(before)


CHECKS = {"10.3": _survivors_of, "10.4": _dynet_v1_parameters, "10.5": _decimals_needed}
