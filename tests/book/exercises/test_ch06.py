"""Chapter 06: its checks tell right answers from wrong ones, its numbers are what PyTorch computes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eamlib.book.exercises import QUIZZES, check
from eamlib.layers import DyNetConv2d


def right_number(exercise, question):
    return next(a["value"] for a in QUIZZES[exercise][question]["answers"] if a.get("correct"))


def right_answer(exercise, question):
    return next(a["answer"] for a in QUIZZES[exercise][question]["answers"] if a.get("correct"))


def fusing(combine):
    """An answer to 6.3 from its last step, a function of eta, the maps and the group size."""

    def fuse_maps(x, weight, eta, group_size, padding=0, groups=1):
        return combine(eta[:, :, None, None], F.conv2d(x, weight, padding=padding, groups=groups), group_size)

    return fuse_maps


def by_einsum(x, weight, eta, group_size, padding=0, groups=1):
    maps = F.conv2d(x, weight=weight, padding=padding, groups=groups).unflatten(1, (-1, group_size))
    return torch.einsum("bog,boghw->bohw", eta.unflatten(1, (-1, group_size)), maps)


def fuse_kernels(x, weight, eta, group_size, padding=0, groups=1):
    kernels = (eta[:, :, None, None, None] * weight).unflatten(1, (-1, group_size)).sum(2)
    samples = zip(x, kernels, strict=True)
    return torch.stack([F.conv2d(sample, kernel, padding=padding, groups=groups) for sample, kernel in samples])


def image_by_image(x, weight, eta, group_size, padding=0, groups=1):
    args = group_size, padding, groups
    return torch.cat([by_einsum(x[b : b + 1], weight, eta[b : b + 1], *args) for b in range(len(x))])


@pytest.mark.parametrize("answer", [by_einsum, fusing(lambda e, m, g: (e * m).unflatten(1, (-1, g)).sum(2))])
def test_fuse_maps_right(answer):
    assert check("6.3", answer).passed is True


@pytest.mark.parametrize(
    ("answer", "keyword"),
    [
        (fusing(lambda e, m, g: e * m), "Add up"),
        (fusing(lambda e, m, g: (e * m).unflatten(1, (g, -1)).sum(1)), "neighbours"),
        (fusing(lambda e, m, g: (e * m).unflatten(1, (-1, g)).mean(2)), "average"),
        (fusing(lambda e, m, g: m.unflatten(1, (-1, g)).sum(2)), "weigh them"),
        (fusing(lambda e, m, g: (e[:1] * m).unflatten(1, (-1, g)).sum(2)), "row of its own"),
        (fusing(lambda e, m, g: 0 * m.unflatten(1, (-1, g)).sum(2)), "values"),
        (fuse_kernels, "stored kernels"),
        (image_by_image, "whole batch"),
        (lambda x, weight, eta, group_size, padding=0, groups=1: 3, "tensor"),
        (lambda x: x, "TypeError"),
    ],
)
def test_fuse_maps_wrong(answer, keyword):
    verdict = check("6.3", answer)
    assert verdict.passed is False
    assert keyword in verdict.message


class Coefficients(nn.Module):
    def __init__(self, attention, tie):
        super().__init__()
        self.attention, self.tie = attention, tie

    def forward(self, x):
        return self.tie(self.attention(x))


def converting(
    weight=lambda w: w.transpose(0, 1).flatten(0, 1),
    bias=lambda b: b.T.flatten(),
    tie=lambda a, out: a.repeat(1, out),
    keep=True,
):
    """An answer to 6.4 from parts, so that each part can be wrong."""

    def as_zhang(layer):
        out = layer.out_channels
        twin = DyNetConv2d(
            layer.in_channels,
            out,
            layer.kernel_size,
            layer.stride if keep else 1,
            layer.padding,
            layer.dilation,
            layer.groups,
            bias=layer.bias is not None and bias is not None,
            group_size=layer.num_kernels,
            coefficients=Coefficients(layer.attention, lambda a: tie(a, out)),
        )
        twin.weight.data.copy_(weight(layer.weight.data))
        if twin.bias is not None:
            twin.bias.data.copy_(bias(layer.bias.data))
        return twin

    return as_zhang


def changing_the_layer(layer):
    twin = converting()(layer)
    layer.weight.data.zero_()
    return twin


def with_another_group_size(layer):
    channels = layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride
    return DyNetConv2d(*channels, layer.padding, layer.dilation, layer.groups, group_size=layer.num_kernels + 1)


def test_as_zhang_right():
    assert check("6.4", converting()).passed is True


@pytest.mark.parametrize(
    ("answer", "keyword"),
    [
        (converting(weight=lambda w: w.flatten(0, 1)), "Transpose"),
        (converting(weight=lambda w: 0 * w.flatten(0, 1)), "hold"),
        (converting(bias=None), "bias"),
        (converting(bias=lambda b: b.flatten()), "transposed"),
        (converting(tie=lambda a, out: a.repeat_interleave(out, dim=1)), "order of the coefficients"),
        (converting(tie=lambda a, out: torch.full_like(a.repeat(1, out), 0.25)), "old attention"),
        (converting(tie=lambda a, out: a), "shape"),
        (converting(keep=False), "stride"),
        (with_another_group_size, "group_size"),
        (changing_the_layer, "leave it"),
        (lambda layer: layer, "DyNetConv2d"),
    ],
)
def test_as_zhang_wrong(answer, keyword):
    verdict = check("6.4", answer)
    assert verdict.passed is False
    assert keyword in verdict.message


def test_design_right():
    assert check("6.5", (3, 13, "neither")).passed is True


@pytest.mark.parametrize(
    ("answer", "keyword"),
    [
        ((6, 13, "neither"), "too much"),
        ((3, 14, "neither"), "14 × 14"),
        ((2, 13, "neither"), "room"),
        ((3, 12, "neither"), "room"),
        ((3, 13, "7"), "Count again"),
        ((3, 13, "both"), "Count again"),
        ((3, 13, "x"), "not one of"),
        ((3.0, 13, "neither"), "sensible"),
        ((3, 13), "triple"),
        (3, "triple"),
    ],
)
def test_design_wrong(answer, keyword):
    verdict = check("6.5", answer)
    assert verdict.passed is False
    assert keyword in verdict.message


def unanswered(*args, **kwargs): ...


@pytest.mark.parametrize("exercise", ["6.3", "6.4", "6.5"])
def test_dots_are_no_answer(exercise):
    assert check(exercise, ...).passed is None


@pytest.mark.parametrize("exercise", ["6.3", "6.4"])
def test_a_function_of_dots_is_no_answer(exercise):
    assert check(exercise, unanswered).passed is None


LAYER = 96, 96, 1  # that of exercise 6.2, on a map of 14 × 14


def test_parameters_of_the_pointwise_layer():
    assert right_number("6.2", 0) == sum(p.numel() for p in DyNetConv2d(*LAYER).parameters()) == 111_168


def test_extra_macs_of_the_pointwise_layer():
    layer, macs = DyNetConv2d(*LAYER), 0

    def count(module, args, output):
        nonlocal macs
        macs += output.numel() * module.in_features

    layer.coefficients.predict[0].register_forward_hook(count)
    layer(torch.zeros(1, 96, 14, 14))
    assert right_number("6.2", 1) == macs + layer.weight.numel()  # each stored number times its coefficient


def test_macs_with_maps_fused():
    layer = DyNetConv2d(*LAYER)
    maps = F.conv2d(torch.zeros(1, 96, 14, 14), layer.weight)
    assert right_number("6.2", 2) == maps.numel() * layer.weight[0].numel() + maps.numel()


def test_what_a_layer_of_halves_is():
    layer, x = DyNetConv2d(4, 3, 3), torch.randn(2, 4, 6, 5)
    half = F.conv2d(x, layer.weight.unflatten(0, (3, 6)).sum(1) / 2)
    torch.testing.assert_close(layer(x, torch.full((2, 18), 0.5)), half, rtol=1e-4, atol=1e-5)
    assert "half the sum" in right_answer("6.1", 1)


@pytest.mark.parametrize(
    ("draw", "correlation"),
    [(lambda size: torch.rand(size).round(), right_number("6.6", 0)), (torch.rand, 0.75)],
)
def test_how_alike_generated_kernels_are(draw, correlation):
    torch.manual_seed(0)
    one, other = draw((2, 20_000))  # coefficients of orthogonal kernels, for two images
    assert F.cosine_similarity(one, other, dim=0).item() == pytest.approx(correlation, abs=0.02)


def test_generated_kernels_of_a_trained_layer_are_alike():
    one, other = 0.5 + 0.05 * torch.randn(2, 20_000, generator=torch.Generator().manual_seed(0))
    assert float(right_answer("6.6", 1)) == pytest.approx(F.cosine_similarity(one, other, dim=0).item(), abs=0.002)
