"""Chapter 07: its checks tell right answers from wrong ones, its numbers are what PyTorch computes."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from eamlib.book.exercises import QUIZZES, check


def right_number(exercise, question):
    return next(a["value"] for a in QUIZZES[exercise][question]["answers"] if a.get("correct"))


def scaling(scale=lambda a: a, by_group=True, wide=lambda w: w.transpose(0, 1).flatten(1, 2)):
    """A solution of 7.3 from parts, so that each part can be wrong."""

    def scale_and_convolve(x, weight, attention, padding=0, groups=1):
        coefficients = scale(attention).expand(len(x), -1)
        if by_group:
            copies = x.unflatten(1, (groups, 1, -1)) * coefficients[:, None, :, None, None, None]
            copies = copies.flatten(1, 3)
        else:
            copies = (x[:, None] * coefficients[:, :, None, None, None]).flatten(1, 2)
        return F.conv2d(copies, wide(weight), padding=padding, groups=groups)

    return scale_and_convolve


def k_convolutions(x, weight, attention, padding=0, groups=1):
    pairs = zip(attention.t(), weight, strict=True)
    return sum(F.conv2d(x * a[:, None, None, None], kernel, padding=padding, groups=groups) for a, kernel in pairs)


def a_kernel_for_each_image(x, weight, attention, padding=0, groups=1):
    kernels = torch.einsum("bk,koihw->boihw", attention, weight).flatten(0, 1)
    maps = F.conv2d(x.flatten(0, 1)[None], kernels, padding=padding, groups=len(x) * groups)
    return maps.unflatten(1, (len(x), -1))[0]


def test_scale_and_convolve_right():
    assert check("7.3", scaling()).passed is True


@pytest.mark.parametrize(
    ("answer", "keyword"),
    [
        (scaling(scale=torch.ones_like), "not scaled"),
        (scaling(scale=lambda a: torch.full_like(a, 1 / a.shape[1])), "not scaled"),
        (scaling(scale=lambda a: a[:1]), "row of its own"),
        (scaling(scale=lambda a: a.flip(1)), "same order"),
        (scaling(by_group=False), "lie together"),
        (k_convolutions, "one convolution"),
        (a_kernel_for_each_image, "the same for every image"),
        (lambda x, weight, attention, padding=0, groups=1: x[:, :1, :1, :1], "shape"),
        (lambda x, weight, attention, padding=0, groups=1: 3, "tensor"),
        (lambda x: x, "TypeError"),
    ],
)
def test_scale_and_convolve_wrong(answer, keyword):
    verdict = check("7.3", answer)
    assert verdict.passed is False
    assert keyword in verdict.message


def scaled_gradients(x, attention, G):
    scaled = attention.t()[:, :, None, None] * G
    left = scaled.permute(0, 2, 1, 3).flatten(0, 1).flatten(1)
    return (left @ x.permute(0, 2, 1).flatten(0, 1)).unflatten(0, (attention.shape[1], -1))


def scaled_inputs(x, attention, G):
    scaled = (attention.t()[:, :, None, None] * x).permute(0, 1, 3, 2).flatten(1, 2)
    return G.permute(1, 0, 2).flatten(1) @ scaled


def through_outer_products(x, attention, G):
    return torch.einsum("bk,boc->koc", attention, torch.einsum("bop,bcp->boc", G, x))


@pytest.mark.parametrize("answer", [scaled_gradients, scaled_inputs])
def test_weight_gradient_right(answer):
    assert check("7.4", answer).passed is True


@pytest.mark.parametrize(
    ("answer", "keyword"),
    [
        (through_outer_products, "B · O · C"),
        (lambda x, a, G: torch.einsum("bk,bop,bcp->bkoc", a, G, x), "over the batch"),
        (lambda x, a, G: scaled_gradients(x, a, G).mT, "G comes first"),
        (lambda x, a, G: scaled_gradients(x, torch.ones_like(a), G), "weigh"),
        (lambda x, a, G: scaled_gradients(x, a, G) / len(x), "average"),
        (lambda x, a, G: scaled_gradients(x, a.flip(1), G.flip(0)), "wrong"),
        (lambda x, a, G: 3, "tensor"),
        (lambda x: x, "TypeError"),
    ],
)
def test_weight_gradient_wrong(answer, keyword):
    verdict = check("7.4", answer)
    assert verdict.passed is False
    assert keyword in verdict.message


SIDES = 10, 6, 4  # P* = (K + 80) / (K - 1) is 82, 28 and 12.6


def test_design_right():
    assert check("7.5", SIDES).passed is True


@pytest.mark.parametrize(
    ("answer", "keyword"),
    [
        (SIDES[::-1], "cannot rise"),
        ((SIDES[0] + 1, *SIDES[1:]), "smaller map"),
        ((SIDES[0] - 1, *SIDES[1:]), "still takes less"),
        ((SIDES[0] ** 2, SIDES[1] ** 2, SIDES[2] ** 2), "number of positions"),
        ((float(SIDES[0]), *SIDES[1:]), "integer"),
        ((0, 0, 0), "integer"),
        (SIDES[:2], "three"),
        (4, "three"),
    ],
)
def test_design_wrong(answer, keyword):
    verdict = check("7.5", answer)
    assert verdict.passed is False
    assert keyword in verdict.message


def unanswered(*args, **kwargs): ...


@pytest.mark.parametrize("exercise", ["7.3", "7.4", "7.5"])
def test_dots_are_no_answer(exercise):
    assert check(exercise, ...).passed is None


@pytest.mark.parametrize("exercise", ["7.3", "7.4"])
def test_a_function_of_dots_is_no_answer(exercise):
    assert check(exercise, unanswered).passed is None


@pytest.fixture
def layer():
    """Exercise 7.2's: kernels [K, O, C], coefficients [B, K], inputs [B, C, P]."""
    return torch.zeros(4, 512, 256), torch.zeros(16, 4), torch.zeros(16, 256, 16)


def test_mixing_the_kernels(layer):
    weight, attention, x = layer
    with FlopCounterMode(display=False) as counter:
        mixed = torch.einsum("bk,koc->boc", attention, weight)
        mixed @ x
    assert right_number("7.2", 0) == counter.get_total_flops() // 2 == 41_943_040
    assert right_number("7.2", 1) == mixed.nbytes / 2**20 == 8


def test_scaling_the_inputs(layer):
    weight, attention, x = layer
    copies = attention[:, :, None, None] * x[:, None]
    with FlopCounterMode(display=False) as counter:
        weight.transpose(0, 1).flatten(1) @ copies.flatten(1, 2)
    assert right_number("7.2", 2) == counter.get_total_flops() // 2 + copies.numel() == 134_479_872
    assert right_number("7.2", 3) == copies.nbytes / 2**20 == 1


def test_a_map_of_one_position_is_the_only_one_where_whole_products_cost_less():
    assert [P for P in range(1, 100) if 4 * P < P + 4] == [1]
    right = next(a["answer"] for a in QUIZZES["7.1"][1]["answers"] if a.get("correct"))
    assert right == "on maps of a single position only"


def odconv(x, W, one_of_K, out, into):
    maps = F.conv2d(into[:, :, None, None] * x, W.flatten(0, 1)).unflatten(1, W.shape[:2])
    return out[:, :, None, None] * torch.einsum("bk,bkohw->bohw", one_of_K, maps)


def odconv_of_kernels(x, W, one_of_K, out, into):
    kernels = torch.einsum("bk,bo,bc,kocuv->bocuv", one_of_K, out, into, W).flatten(0, 1)
    return F.conv2d(x.flatten(0, 1)[None], kernels, groups=len(x)).unflatten(1, (len(x), -1))[0]


def test_pointwise_odconv_right():
    assert check("7.7", odconv).passed is True


@pytest.mark.parametrize(
    ("answer", "keyword"),
    [
        (lambda x, W, a, out, into: odconv(x, W, a, torch.ones_like(out), into), "`out` is not applied"),
        (lambda x, W, a, out, into: odconv(x, W, a, out, torch.ones_like(into)), "`into` is not applied"),
        (lambda x, W, a, out, into: odconv(x, W, a.flip(1), out, into), "values"),
        (odconv_of_kernels, "a kernel per image"),
        (lambda x, W, a, out, into: x[:, :1], "shape"),
        (lambda x, W, a, out, into: 3, "tensor"),
    ],
)
def test_pointwise_odconv_wrong(answer, keyword):
    verdict = check("7.7", answer)
    assert verdict.passed is False
    assert keyword in verdict.message
