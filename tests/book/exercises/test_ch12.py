import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eamlib import convert, freeze
from eamlib.book.exercises import CHECKS, QUIZZES, check
from eamlib.layers import DynamicConv2d


def replicate(conv, K, scale=1.0, bias=True, **changes):
    geometry = {name: getattr(conv, name) for name in ("stride", "padding", "dilation", "groups")} | changes
    has_bias = bias and conv.bias is not None
    layer = DynamicConv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, **geometry, bias=has_bias, num_kernels=K
    )
    layer.weight.data = scale * conv.weight.detach().expand(K, -1, -1, -1, -1).clone()
    if has_bias:
        layer.bias.data = conv.bias.detach().expand(K, -1).clone()
    return layer


def drawn_bias(conv, K):
    layer = replicate(conv, K)
    if layer.bias is not None:
        layer.bias.data.normal_()
    return layer


def information(a, unit=None, use=1.0, each=1.0, zero=1e-30):
    """The entropies with logarithms written out."""
    a = a.double()

    def entropy(p):
        return -(p * torch.log(p.clamp(min=zero))).sum(-1)

    difference = use * entropy(a.mean(0)) - each * entropy(a).mean()
    return difference / (math.log(a.shape[1]) if unit is None else unit)


def with_nan(a):
    return -(a * a.log()).sum()


def fold_norm(layer, norm, eps=True, root=True, own=1, share=1):
    variance = norm.running_var + (norm.eps if eps else 0)
    scale = norm.weight / (variance.sqrt() if root else variance)
    shift = (norm.bias - norm.running_mean * scale) * share
    bias = torch.zeros(layer.num_kernels, layer.out_channels) if layer.bias is None else layer.bias
    own_part = {0: 0, 1: bias * scale, "unscaled": bias}[own]
    weight = torch.einsum("o,ko...->ko...", scale, layer.weight)
    return weight, (own_part + shift).expand(layer.num_kernels, -1)


def choose(model, limit, reverse=True, stop=False, each=1044, copies=3, least=5):
    """What fits is asked of the converted network itself, layer by layer."""
    before = sum(p.numel() for p in model.parameters())
    convs = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.in_channels >= least}
    chosen, size = set(), before
    for name in reversed(convs) if reverse else convs:
        more = copies * sum(p.numel() for p in convs[name].parameters()) + each
        if size + more <= limit * before:
            chosen.add(name)
            size += more
        elif stop:
            break
    return chosen


def quantise(x, floor=0.0, ceiling=0.0, steps=255, shift=True, rounded=True, dtype=torch.uint8):
    """In NumPy, with one scale and one zero point."""
    values = x.numpy()
    low, high = min(values.min(), floor), max(values.max(), ceiling)
    scale = (high - low) / steps
    zero_point = np.clip(np.rint(-low / scale), 0, 255) if rounded else -low / scale
    q = (np.rint(values / scale) if rounded else np.floor(values / scale)) + (zero_point if shift else 0)
    return torch.tensor(np.clip(q, 0, 255)).to(dtype), scale, zero_point


def truncated(x):
    _, scale, zero_point = quantise(x)
    down = np.floor(x.numpy() / scale) + zero_point
    return torch.tensor(np.clip(down, 0, 255)).to(torch.uint8), scale, zero_point


RIGHT = {"12.3": replicate, "12.4": information, "12.5": fold_norm, "12.6": choose, "12.8": quantise}
WRONG = [
    ("12.3", lambda conv, K: conv, "DynamicConv2d is asked for"),
    ("12.3", lambda conv, K: replicate(conv, K + 1), "kernels"),
    ("12.3", lambda conv, K: replicate(conv, K, scale=1 / K), "divide by K"),
    ("12.3", lambda conv, K: replicate(conv, K, scale=2), "not those that were trained"),
    ("12.3", lambda conv, K: replicate(conv, K, bias=False), "bias"),
    ("12.3", lambda conv, K: replicate(conv, K, stride=1), "another stride"),
    ("12.3", drawn_bias, "every bias a copy"),
    ("12.4", lambda a: information(a, unit=1), "units of log K"),
    ("12.4", lambda a: information(a, unit=math.log(2)), "units of log K"),
    ("12.4", lambda a: information(a, each=0), "take off what is uncertain"),
    ("12.4", lambda a: information(a, use=0, each=-1), "what to take off"),
    ("12.4", lambda a: -information(a), "which of the two"),
    ("12.4", with_nan, "NaN"),
    ("12.4", lambda a: a.mean(), "you return"),
    ("12.5", lambda layer, norm: fold_norm(layer, norm, eps=False), "eps"),
    ("12.5", lambda layer, norm: fold_norm(layer, norm, root=False), "root"),
    ("12.5", lambda layer, norm: fold_norm(layer, norm, own=0), "own bias"),
    ("12.5", lambda layer, norm: fold_norm(layer, norm, own="unscaled"), "scaled, too"),
    ("12.5", lambda layer, norm: fold_norm(layer, norm, share=1 / 3), "sum to"),
    ("12.5", lambda layer, norm: (layer.weight, fold_norm(layer, norm)[1]), "scale of its own"),
    ("12.5", lambda layer, norm: (layer.weight, norm.bias), "shapes"),
    ("12.5", lambda layer, norm: (fold_norm(layer, norm)[0], norm.bias.expand(3, -1)), "biases are not"),
    ("12.6", lambda model, limit: choose(model, limit, each=0), "what else"),
    ("12.6", lambda model, limit: choose(model, limit, copies=2), "what else"),
    ("12.6", lambda model, limit: choose(model, limit, stop=True), "go on behind"),
    ("12.6", lambda model, limit: choose(model, limit, reverse=False), "next to the output"),
    ("12.6", lambda model, limit: choose(model, limit, least=1), "more than 4 channels"),
    ("12.6", lambda model, limit: "2", "set of names"),
    ("12.8", lambda x: quantise(x, dtype=torch.int8), "torch.uint8"),
    ("12.8", lambda x: quantise(x, floor=math.inf, ceiling=-math.inf), "leaves 0 out"),
    ("12.8", lambda x: quantise(x, steps=256), "255 steps"),
    ("12.8", lambda x: quantise(x, floor=-9.0), "the scale is"),
    ("12.8", lambda x: quantise(x, rounded=False), "stands for 0"),
    ("12.8", truncated, "half a step at most"),
    ("12.8", lambda x: quantise(x, shift=False), "clip, and add z"),
    ("12.8", lambda x: (x, 1.0, 0), "torch.uint8"),
]


@pytest.mark.parametrize("exercise", RIGHT)
def test_right_answers_pass(exercise):
    verdict = check(exercise, RIGHT[exercise])
    assert verdict.passed, verdict
    assert check(exercise, ...).passed is None
    assert exercise in CHECKS


@pytest.mark.parametrize(("exercise", "answer", "hint"), WRONG)
def test_wrong_answers_get_a_hint(exercise, answer, hint):
    verdict = check(exercise, answer)
    assert verdict.passed is False
    assert hint in verdict.message, verdict


def answers(exercise):
    return [
        next(a.get("value", a.get("answer")) for a in question["answers"] if a.get("correct"))
        for question in QUIZZES[exercise]
    ]


def converted(shares=None):
    torch.manual_seed(0)
    layer = convert(nn.Conv2d(6, 5, 3), "dynamic")
    if shares is not None:
        last = layer.attention.predict[-1].requires_grad_(False)
        nn.init.zeros_(last.weight)
        last.bias.copy_(torch.tensor(shares).log())
    return layer, torch.randn(7, 6, 5, 5)


def step(layer, x, optimizer):
    F.mse_loss(layer(x), torch.zeros(7, 5, 3, 3)).backward()
    optimizer.step()


def test_the_scores_get_no_gradient_among_equals():
    assert answers("12.1")[0].startswith("All ∂ℓ/∂a_bk of an image are equal")
    layer, x = converted()
    step(layer, x, torch.optim.SGD(layer.parameters(), lr=0.1))
    of_scores = max(p.grad.abs().max() for p in layer.attention.parameters())
    assert of_scores < 1e-6 * layer.weight.grad.abs().max()


def test_unequal_shares_part_the_kernels_along_a_line_and_adam_does_not():
    assert answers("12.1")[1:] == [
        "On a line: all have moved in one direction, by different distances",
        "Still at one point",
    ]
    layer, x = converted((0.4, 0.3, 0.2, 0.1))
    step(layer, x, torch.optim.SGD([layer.weight], lr=0.1))
    steps = layer.weight.grad.flatten(1)
    torch.testing.assert_close(steps, torch.tensor([[1.0], [0.75], [0.5], [0.25]]) * steps[:1])
    assert not torch.equal(layer.weight[0], layer.weight[1])

    layer, x = converted((0.4, 0.3, 0.2, 0.1))
    step(layer, x, torch.optim.Adam([layer.weight], lr=0.1, eps=0))
    torch.testing.assert_close(layer.weight.detach(), layer.weight.detach()[:1].expand_as(layer.weight))


def test_the_parameters_are_those_of_the_layers():
    layer = convert(nn.Conv2d(64, 128, 3, bias=False), "eam-rcr", num_kernels=4, channels=4, output_size=2, hidden=10)
    frozen = freeze(layer, [torch.randn(2, 64, 5, 5)]).model
    assert answers("12.2")[:2] == [sum(p.numel() for p in m.parameters()) for m in (layer, frozen)]


def test_pairs_and_sums_reach_as_far_as_the_quiz_says():
    weight, products, error = answers("12.7")
    top = np.iinfo(np.int16).max
    assert 2 * 255 * weight <= top < 2 * 255 * (weight + 1)
    assert products * 255 * 127 <= np.iinfo(np.int32).max < (products + 1) * 255 * 127
    weights = np.linspace(-0.32, 0.32, 100_001)
    scale = 0.32 / 64
    assert np.abs(scale * np.rint(weights / scale) - weights).max() == pytest.approx(error, rel=1e-3)


def test_the_step_is_as_short_as_the_quiz_says():
    layer, x = converted((0.7, 0.1, 0.1, 0.1))
    static = nn.Conv2d(6, 5, 3)
    static.load_state_dict({"weight": layer.weight[0], "bias": layer.bias[0]})
    for model in (layer, static):
        F.mse_loss(model(x), torch.zeros(7, 5, 3, 3)).backward()
    moved = torch.einsum("k,koihw->oihw", layer.attention(x)[0].detach(), layer.weight.grad)
    assert (moved.norm() / static.weight.grad.norm()).item() == pytest.approx(answers("12.2")[2], rel=1e-5)
