"""Chapter 02: typical mistakes get their hints, and the quizzes' numbers come out of a count."""

import pytest
import torch
from torch import nn

import eamlib
from eamlib.book.exercises import CHECKS, QUIZZES, check
from eamlib.book.exercises.ch02 import _mobilenet_v1
from eamlib.layers import DepthwiseSeparable


def right(o, k, m=1):
    return m * (1 / o + 1 / k**2)


def merge(depthwise, pointwise, in_channels):
    D = depthwise[:, 0].unflatten(0, (in_channels, -1))
    P = pointwise[:, :, 0, 0].unflatten(1, (in_channels, -1))
    return torch.einsum("ocm,cmij->ocij", P, D)


def merge_multiplier_one(depthwise, pointwise, in_channels):
    return pointwise[:, :in_channels] * depthwise[:in_channels].transpose(0, 1)


def merge_other_order(depthwise, pointwise, in_channels):
    D = depthwise[:, 0].unflatten(0, (-1, in_channels))
    P = pointwise[:, :, 0, 0].unflatten(1, (-1, in_channels))
    return torch.einsum("omc,mcij->ocij", P, D)


def separable(weight, scaled=True):
    U, S, Vh = torch.linalg.svd(weight.flatten(2).transpose(0, 1), full_matrices=False)
    left = U[:, :, 0] * S[:, :1] if scaled else U[:, :, 0]
    return Vh[:, 0].reshape(-1, 1, *weight.shape[2:]), left.T[:, :, None, None]


def scales(norm, eps=True, root=True):
    """What a norm in evaluation mode does to a channel: s x + t."""
    variance = norm.running_var + (norm.eps if eps else 0)
    s = norm.weight / (variance.sqrt() if root else variance)
    return s, norm.bias - s * norm.running_mean


def fold_before(weight, norm, **changed):
    s, t = scales(norm, **changed)
    return weight * s[None, :, None, None], weight[:, :, 0, 0] @ t


def fold_as_if_after(weight, norm):
    s, t = scales(norm)
    return weight * s[: len(weight), None, None, None], t


def fold_with_bias(bias):
    return lambda weight, norm: (fold_before(weight, norm)[0], bias(weight[:, :, 0, 0], norm))


WRONG = [
    ("2.3", lambda o, k, m=1: 1 / right(o, k, m), "upside down"),
    ("2.3", lambda o, k, m=1: 1 / k**2, "depthwise half costs"),
    ("2.3", lambda o, k, m=1: 1 / o, "pointwise half costs"),
    ("2.3", lambda o, k, m=1: m * (1 / o + 1 / k), "k · k"),
    ("2.3", lambda o, k, m=1: right(o, k), "ignored"),
    ("2.3", lambda o, k, m=1: m / o + 1 / k**2, "pointwise half is dearer"),
    ("2.3", lambda o, k, m=1: 1 / o + m / k**2, "depthwise half is dearer"),
    ("2.3", lambda o, k, m=1: 17.0, "cancel"),
    ("2.3", lambda o, k, m=1: 1 / 0, "ZeroDivisionError"),
    ("2.4", merge_multiplier_one, "m = 2"),
    ("2.4", merge_other_order, "order"),
    ("2.4", lambda d, p, c: merge(d, p, c).transpose(0, 1), "shape"),
    ("2.4", lambda d, p, c: 2 * merge(d, p, c), "numbers"),
    ("2.4", lambda d, p, c: [1, 2], "tensor"),
    ("2.5", lambda w: separable(w, scaled=False), "singular values"),
    ("2.5", lambda w: (w[:1].transpose(0, 1), torch.ones(*w.shape[:2], 1, 1)), "nearer"),
    ("2.5", lambda w: separable(w)[::-1], "depthwise has the shape"),
    ("2.5", lambda w: w, "Two tensors"),
    ("2.6", (1, 128), "parameters"),
    ("2.6", (0.75, 192), "multiply-adds are too many"),
    ("2.6", (0.5, 224), "Another pair"),
    ("2.6", (160, 0.75), "in this order"),
    ("2.6", 0.75, "pair"),
    ("2.7", fold_as_if_after, "input channels"),
    ("2.7", lambda w, n: fold_before(w, n, root=False), "standard deviation"),
    ("2.7", lambda w, n: fold_before(w, n, eps=False), "eps"),
    ("2.7", fold_with_bias(lambda matrix, norm: scales(norm)[1]), "mixes them"),
    ("2.7", fold_with_bias(lambda matrix, norm: matrix @ norm.bias), "running mean"),
    ("2.7", fold_with_bias(lambda matrix, norm: -(matrix @ scales(norm)[1])), "sum over c"),
    ("2.7", fold_with_bias(lambda matrix, norm: matrix), "one number per output"),
    ("2.7", lambda w, n: (2 * w, n.bias), "what is s_c"),
    ("2.7", lambda w, n: (w[:, :, 0, 0], n.bias), "same shape"),
    ("2.7", lambda w, n: w, "Two tensors"),
]


@pytest.mark.parametrize(("exercise", "answer", "keyword"), WRONG)
def test_wrong_answer_gets_its_hint(exercise, answer, keyword):
    verdict = check(exercise, answer)
    assert verdict.passed is False
    assert keyword in verdict.message


RIGHT = [("2.3", right), ("2.4", merge), ("2.5", separable), ("2.6", (0.75, 160)), ("2.7", fold_before)]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_right_answer_passes(exercise, answer):
    assert check(exercise, answer).passed is True


@pytest.mark.parametrize("exercise", ["2.3", "2.4", "2.5", "2.6", "2.7"])
def test_dots_are_no_answer(exercise):
    assert check(exercise, ...).passed is None


def test_ratio_check_agrees_with_a_count():
    """Also for the multiplier, which the closed form of the check is derived for."""

    def counted(out_channels, kernel_size, multiplier):
        C, k, m = 4, kernel_size, multiplier
        pair = nn.Sequential(nn.Conv2d(C, m * C, k, padding=k // 2, groups=C), nn.Conv2d(m * C, out_channels, 1))
        standard = nn.Conv2d(C, out_channels, k, padding=k // 2)
        return eamlib.cost(pair, (C, 8, 8)).flops / eamlib.cost(standard, (C, 8, 8)).flops

    assert CHECKS["2.3"](counted) is None  # the counter is this library's, and banned


def answers(exercise):
    return [next(a for a in q["answers"] if a.get("correct")) for q in QUIZZES[exercise]]


def test_numbers_of_the_count():
    block = DepthwiseSeparable(64, 128, stride=2)
    counted = (
        eamlib.cost(block, (64, 56, 56)).by_part["convolution"],
        nn.Conv2d(64, 128, 3, groups=4, bias=False).weight.numel(),
        sum(p.numel() for p in block.parameters()),
    )
    assert tuple(a["value"] for a in answers("2.2")) == counted


@pytest.mark.parametrize("exercise", ["2.2", "2.8"])
def test_no_mistake_is_listed_twice(exercise):
    for question in QUIZZES[exercise]:
        values = [a["value"] for a in question["answers"] if a["type"] == "value"]
        assert len(values) == len(set(values))


@pytest.mark.parametrize("m", [1, 2, 4, 9, 20])
def test_rank_of_a_pair(m):
    """The proof's answer, min(m, O, k²), by trying."""
    C, out_channels, k = 2, 12, 3
    D, P = torch.randn(m * C, 1, k, k).double(), torch.randn(out_channels, m * C, 1, 1).double()
    ranks = torch.linalg.matrix_rank(merge(D, P, C).flatten(2).transpose(0, 1), rtol=1e-8)
    assert ranks.tolist() == [min(m, out_channels, k * k)] * C
    assert answers("2.1")[0]["answer"] == "min(m, O, k²)"


@pytest.mark.parametrize(("alpha", "size"), [(1, 224), (0.75, 160), (0.25, 128)])
def test_the_two_dials_are_counted_as_fvcore_does(alpha, size):
    model = eamlib.create_model("mobilenet_v1", width_mult=alpha)
    cost = eamlib.cost(model, (3, size, size))
    macs = cost.by_part["convolution"] + model.classifier[-1].weight.numel()
    assert _mobilenet_v1(alpha, size) == (macs, cost.parameters)


def test_the_dials_answer_is_the_best_of_all():
    pairs = {(a, r): _mobilenet_v1(a, r) for a in (1, 0.75, 0.5, 0.25) for r in (224, 192, 160, 128)}
    fitting = {pair: macs for pair, (macs, parameters) in pairs.items() if macs <= 200e6 and parameters <= 3e6}
    assert max(fitting, key=fitting.get) == (0.75, 160)


def test_times_of_the_pair():
    """Exercise 2.8 by division: multiply-adds per position over a rate, C = O = 64."""
    standard, depthwise, pointwise = 9 * 64 * 64 / 96, 9 * 64 / 9, 64 * 64 / 32
    wanted = 64 * 64 / (standard / 4 - depthwise)
    assert [a["value"] for a in answers("2.8")] == [standard / (depthwise + pointwise), standard / pointwise, wanted]
