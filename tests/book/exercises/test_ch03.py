"""Chapter 03: typical mistakes get their hints, and the quizzes' numbers come out of a count."""

import math
from itertools import product

import pytest
import torch

import eamlib
from eamlib.book.exercises import CHECKS, QUIZZES, check
from eamlib.layers.convolution import static_conv
from eamlib.models.mobilenet_v2 import InvertedResidual


def channel_shuffle(x, groups):
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def macs(c_in, c_out, size, stride=1, t=6, k=3, *, expansion=True, before=None, after=None, kernel=None):
    """Right without the keywords; each of them makes one mistake."""
    before = size if before is None else before
    after = math.ceil(size / stride) if after is None else after
    expand = c_in * t * c_in * before**2 if t > 1 or not expansion else 0
    return expand + t * c_in * ((kernel or k**2) + c_out) * after**2


def down(size, stride):
    return size // stride


WRONG = [
    ("3.3", lambda i, o, n, s, t, k: 2 * macs(i, o, n, s, t, k), "not as two"),
    ("3.3", lambda i, o, n, s, t, k: macs(i, o, n, s, t, k, kernel=k), "k · k"),
    ("3.3", lambda i, o, n, s, t, k: macs(i, o, n, s, t, k, before=math.ceil(n / s)), "before it"),
    ("3.3", lambda i, o, n, s, t, k: macs(i, o, n, s, t, k, after=n), "smaller"),
    ("3.3", lambda i, o, n, s, t, k: macs(i, o, n, s, t, k, after=down(n, s)), "round up"),
    ("3.3", lambda i, o, n, s, t, k: macs(i, o, n, s, t, k, after=n / s), "whole number"),
    ("3.3", lambda i, o, n, s, t, k: macs(i, o, n, s, t, k, expansion=False), "no expansion"),
    ("3.3", lambda i, o, n, s, t, k: macs(i, 0, n, s, t, k), "projection is missing"),
    ("3.3", lambda i, o, n, s, t, k: macs(i, o, n, s, t, k, before=0), "expansion is missing"),
    ("3.3", lambda i, o, n, s, t, k: macs(i, o, n, s, t, 0), "depthwise layer is missing"),
    ("3.3", lambda i, o, n, s, t, k: macs(i, o, n, s, t, k, kernel=k**2 * t * i), "reads one channel"),
    ("3.3", lambda i, o, n, s, t, k: 17, "one by one"),
    ("3.3", lambda i, o, n, s, t, k: 1 / 0, "ZeroDivisionError"),
    ("3.4", lambda x, g: x, "Nothing has moved"),
    ("3.4", lambda x, g: channel_shuffle(x, x.shape[1] // g), "inverse"),
    ("3.4", lambda x, g: x.flip(1), "permuted"),
    ("3.4", lambda x, g: x.flatten().view(g, -1).T.flatten().view(x.shape), "Whole channels"),
    ("3.4", lambda x, g: x.unflatten(1, (g, -1)).transpose(1, 2), "shape"),
    ("3.4", lambda x, g: [1], "tensor"),
    ("3.5", (6, 56), "wider"),
    ("3.5", (2, 96), "too few"),
    ("3.5", (3, 88), "too many"),
    ("3.5", (80, 3), "in this order"),
    ("3.5", (5, 64), "one of"),
    ("3.5", (3, 78), "multiple of 8"),
    ("3.5", 80, "pair"),
]


@pytest.mark.parametrize(("exercise", "answer", "keyword"), WRONG)
def test_wrong_answer_gets_its_hint(exercise, answer, keyword):
    verdict = check(exercise, answer)
    assert verdict.passed is False
    assert keyword in verdict.message


@pytest.mark.parametrize(("exercise", "answer"), [("3.3", macs), ("3.4", channel_shuffle), ("3.5", (3, 80))])
def test_right_answer_passes(exercise, answer):
    assert check(exercise, answer).passed is True


@pytest.mark.parametrize("exercise", ["3.3", "3.4", "3.5"])
def test_dots_are_no_answer(exercise):
    assert check(exercise, ...).passed is None


def test_the_count_agrees_with_fvcore():
    def counted(c_in, c_out, size, stride, t, kernel_size):
        if kernel_size != 3:  # the library's block has 3 × 3 alone
            return macs(c_in, c_out, size, stride, t, kernel_size)
        block = InvertedResidual(c_in, c_out, stride, t, conv=static_conv, expand=t > 1)
        return eamlib.cost(block, (c_in, size, size)).by_part["convolution"]

    assert CHECKS["3.3"](counted) is None  # the counter is this library's, and banned


def answers(exercise):
    return [next(a for a in q["answers"] if a.get("correct")) for q in QUIZZES[exercise]]


def test_numbers_of_the_count():
    block = InvertedResidual(32, 64, 2, 6, conv=static_conv)
    sizes = []
    for module in block.modules():
        module.register_forward_hook(lambda layer, inputs, output: sizes.append(output.nbytes))
    block(torch.zeros(1, 32, 28, 28))
    parameters = sum(p.numel() for p in block.parameters())
    counted = [parameters, eamlib.cost(block, (32, 28, 28)).by_part["convolution"], max(sizes)]
    assert [a["value"] for a in answers("3.2")] == counted


def test_number_of_patterns_that_leave_enough_equations():
    """A point is recovered where the rows of the positive features span all three coordinates."""
    A = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    ranks = [
        torch.linalg.matrix_rank(A[torch.tensor(signs)]) if any(signs) else 0
        for signs in product([True, False], repeat=4)
    ]
    assert answers("3.1")[1]["value"] == sum(rank == 3 for rank in ranks)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_traffic_of_groups(groups):
    """The proof's answer, by counting the numbers of a layer."""
    C, HW, M = 8, 25, 25 * 8 * 16
    out_channels = groups * M // (HW * C)
    weight = torch.nn.Conv2d(C, out_channels, 1, groups=groups, bias=False).weight
    assert weight.numel() * HW == M
    assert HW * (C + out_channels) + weight.numel() == HW * C + groups * M / C + M / HW
    assert answers("3.1")[0]["answer"] == "HW · C + g · M / C + M / HW"


def test_milliseconds_of_three_prices():
    """By counting a pointwise layer that narrows, and then scaling the network's items as the layer's."""

    def count(width):
        layer = torch.nn.Conv2d(width, width, 1, bias=False)
        return layer.weight.numel(), layer(torch.zeros(1, width, 1, 1)).numel()

    (macs, numbers), (fewer_macs, fewer_numbers) = count(64), count(32)

    def ms(mac_share=1, byte_share=1):
        return 1e3 * (300e6 * 20e-12 * mac_share + 20e6 * 200e-12 * byte_share + 50 * 100e-6)

    expected = [ms(), ms(fewer_macs / macs, fewer_numbers / numbers), ms() / ms(0, 0)]
    assert [a["value"] for a in answers("3.6")] == pytest.approx(expected)


@pytest.mark.parametrize("exercise", ["3.1", "3.2", "3.6"])
def test_no_mistake_is_listed_twice(exercise):
    for question in QUIZZES[exercise]:
        values = [a["value"] for a in question["answers"] if a.get("type") == "value"]
        assert len(values) == len(set(values))


def test_the_design_is_the_widest_of_all():
    """By brute force; how many points survive is drawn, not computed."""
    generator = torch.Generator().manual_seed(0)

    def survive(t, C):
        signs = torch.rand(4000, t * C, generator=generator) < 0.5
        return (signs.sum(1) >= C).float().mean() >= 0.985

    fitting = []
    for t, C in product((1, 2, 3, 4, 6), range(48, 136, 8)):
        block = InvertedResidual(C, C, 1, t, conv=static_conv, expand=t > 1)
        if sum(p.numel() for p in block.parameters() if p.dim() == 4) * 196 <= 8e6 and survive(t, C):
            fitting.append((C, t))
    assert max(fitting) == (80, 3)
