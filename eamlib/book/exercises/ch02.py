"""Exercises of chapter 02."""

from __future__ import annotations

from eamlib.book.exercises._questions import Drawn, choice, number
from eamlib.book.exercises._watch import close, seeded

# Exercise 2.8: a 3 × 3 layer of 64 channels and its pair, multiply-adds per position, and rates in GMAC/s.
_WIDE, _DEEP, _POINT = 9 * 64 * 64, 9 * 64, 64 * 64
_WIDE_RATE, _DEEP_RATE, _POINT_RATE = 96, 9, 32
_PAIR_TIME = _DEEP // _DEEP_RATE + _POINT // _POINT_RATE


def _separable(C: int = 64, to: int = 128, side: int = 56) -> list[dict]:
    # 3 × 3, stride 2.
    k2, positions, out = 9, side**2, (side // 2) ** 2
    pair = k2 * C + C * to
    half, places = side // 2, f"{side // 2} × {side // 2}"
    return [
        number(
            "Multiply-adds of the depthwise separable layer (multiplier 1)?",
            out * pair,
            "Add the two halves: 9 per channel and output position, then C · O per output position.",
            right=f"{half}² · {C} · (9 + {to}).",
            mistakes={
                out * k2 * C * to: "This is the standard convolution.",
                positions * pair: f"Stride 2: there are {places} output positions, not {side} × {side}.",
                positions * k2 * C + out * C * to: "The stride is the depthwise layer's, so it, too, computes "
                f"{places} positions only.",
                out * k2 * C: "This is the depthwise half alone.",
                out * C * to: "This is the pointwise half alone.",
                pair: "These are the weights. Each is used once per output position.",
                2 * out * pair: "One multiply-add counts once here, not as two operations.",
            },
        ),
        number(
            "Weights of a grouped 3 × 3 convolution with g = 4 (no bias)?",
            k2 * (C // 4) * to,
            "The weight has the shape [O, C / g, k, k].",
            right=f"{to} · {C // 4} · 9.",
            mistakes={
                k2 * C * to: "This is g = 1. Each output channel reads a quarter of the input channels.",
                k2 * (C // 4) * (to // 4): "This is one of the four groups. There are four.",
                k2 * C * to * 4: "Groups make the weight smaller: divide where you multiplied.",
                pair: "This is the separable pair.",
            },
        ),
        number(
            f"Parameters of the library's DepthwiseSeparable({C}, {to}, stride=2), normalisation included?",
            pair + 2 * C + 2 * to,
            "Weights of both halves, and two numbers for each channel that is normalised, after each half.",
            right=f"{pair:,} weights and 2 · ({C} + {to}) of batch normalisation.",
            mistakes={
                pair: "Batch normalisation learns two numbers a channel, a scale and a shift.",
                pair + 2 * to: "There is a batch normalisation after the depthwise half, too.",
                pair + C + to: "Batch normalisation learns two numbers a channel, a scale and a shift.",
                pair + 4 * C + 4 * to: "The running mean and variance are not learnt: they are buffers.",
                pair + 3 * C + 3 * to: "The convolutions have no bias: the normalisation would remove it.",
            },
        ),
    ]


QUIZZES = {
    "2.1": [
        choice(
            "Depthwise with multiplier m, then pointwise, nothing between. For one input channel the O "
            "effective kernels are the rows of a matrix of shape [O, k²]. Its largest possible rank?",
            (
                "min(m, O, k²)",
                "Every row is a mixture of the channel's m depthwise kernels, so the rows span at most m "
                "dimensions; and no O × k² matrix has a rank above O or k².",
            ),
            {
                "1": "That is the case m = 1. With m depthwise kernels a row is a sum of m terms.",
                "k²": "That is what a standard convolution can reach. How many vectors are mixed here?",
                "m · C": "The pointwise layer reads m · C channels, but only m of them come from this one.",
            },
        ),
        choice(
            "The layers grow wider and wider at k = 3. Which fraction of the standard multiply-adds does the "
            "separable pair (multiplier 1) approach?",
            ("1/9", "1/O vanishes and 1/k² stays: the pointwise half alone costs that much."),
            {
                "0": "Is there a part of the bill that the width does not make relatively smaller?",
                "1/3": "The kernel has k · k positions, not k.",
                "1/O": "This is the depthwise half's share of the price. It goes to 0; what is left?",
            },
        ),
    ],
    "2.2": _separable(),
    "2.8": [
        number(
            "How many times as fast as the standard layer is the pair?",
            _WIDE // _WIDE_RATE // _PAIR_TIME,
            "A time is multiply-adds divided by a rate. Add the two halves' times before you divide.",
            right="384 against 64 + 128, in the same units.",
            mistakes={
                3: "This leaves the depthwise half out.",
                6: "This leaves the pointwise half out.",
                7.9: "This is what the multiply-adds promise. The rates differ.",
                0.5: "Upside down.",
            },
        ),
        number(
            "And if the depthwise half took no time at all?",
            _WIDE // _WIDE_RATE // (_POINT // _POINT_RATE),
            "Then only the pointwise half's time is left.",
            right="384 / 128: the pointwise half alone keeps it from 9.",
            mistakes={
                9: "That needs a pointwise half at the standard layer's rate as well.",
                2: "This still counts the depthwise half's time.",
                6: "This is a free pointwise half.",
            },
        ),
        number(
            "At how many GMAC/s must the pointwise half run to make the pair four times as fast as the standard layer?",
            _POINT // (_WIDE // _WIDE_RATE // 4 - _DEEP // _DEEP_RATE),
            "Four times as fast leaves a quarter of 384 for both halves together.",
            right="96 − 64 = 32 units are left for 4,096 multiply-adds.",
            mistakes={
                64: "Doubling the rate halves one half's time only: 384 / (64 + 64) is 3.",
                96: "At the standard layer's rate the pointwise half takes 43: 384 / (64 + 43) is 3.6.",
                43: "This gives the pointwise half all of the 96 units.",
            },
        ),
    ],
}

# What each student of a class is asked instead.
DRAWN = {
    "2.2": Drawn(
        _separable,
        "A layer takes {C} channels of {side} × {side} to {to} channels with a 3 × 3 kernel, stride 2 and padding 1.",
        {"C": (48, 80, 96), "to": (160, 192, 256), "side": (40, 48, 64, 80)},
    ),
}


def _macs_ratio(ratio) -> str | None:
    for out_channels, k, m in [(64, 3, 1), (1, 3, 1), (96, 5, 1), (10, 7, 2), (64, 3, 8)]:
        got, right = float(ratio(out_channels, k, m)), m * (1 / out_channels + 1 / k**2)
        if abs(got - right) < 1e-9:
            continue
        where = f"out_channels={out_channels}, kernel_size={k}, multiplier={m}"
        if abs(got * right - 1) < 1e-9:
            return "This is the standard layer's cost as a fraction of the pair's: upside down."
        if m > 1 and abs(got - (1 / out_channels + 1 / k**2)) < 1e-9:
            return "The multiplier is ignored: m kernels a channel cost more than one."
        if m > 1 and abs(got - (m / out_channels + 1 / k**2)) < 1e-9:
            return "The pointwise half is dearer as well: how many channels does it read now?"
        if m > 1 and abs(got - (1 / out_channels + m / k**2)) < 1e-9:
            return "The depthwise half is dearer as well: it computes m outputs for every input channel."
        if abs(got - m / k**2) < 1e-9 or abs(got - 1 / k**2) < 1e-9:
            return "This is the pointwise half. The depthwise half costs something, too."
        if abs(got - m / out_channels) < 1e-9 or abs(got - 1 / out_channels) < 1e-9:
            return "This is the depthwise half. The pointwise half costs something, too."
        if abs(got - m * (1 / out_channels + 1 / k)) < 1e-9:
            return "A kernel has k · k positions, not k."
        return f"With {where} it gives {got:.4g}. Write down both bills and divide; C and the map cancel."
    return None


def _merge(merge) -> str | None:
    import torch
    import torch.nn.functional as F

    generator = seeded(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.double)

    for C, m, out_channels, k in [(3, 1, 5, 3), (1, 1, 2, 1), (4, 2, 3, 5), (3, 3, 7, 3)]:
        D, P, x = random(m * C, 1, k, k), random(out_channels, m * C, 1, 1), random(2, C, 7, 8)
        W = merge(D, P, C)
        if not isinstance(W, torch.Tensor):
            return f"A tensor is expected; yours is a {type(W).__name__}."
        if list(W.shape) != [out_channels, C, k, k]:
            return (
                f"For D {list(D.shape)} and P {list(P.shape)} the kernel has the shape "
                f"{[out_channels, C, k, k]}; yours has {list(W.shape)}."
            )
        pair = F.conv2d(F.conv2d(x, D, groups=C), P)
        if torch.allclose(F.conv2d(x, W.double()), pair, rtol=1e-4, atol=1e-4):
            continue
        if m == 1:
            return "The shape is right, the numbers are not. Output o weighs channel c's kernel by P[o, c]."
        D_mixed, P_mixed = D[:, 0].unflatten(0, (m, C)), P[:, :, 0, 0].unflatten(1, (m, C))
        if torch.allclose(W.double(), torch.einsum("omc,mcij->ocij", P_mixed, D_mixed), rtol=1e-4, atol=1e-4):
            return "Right for m = 1. For m = 2 mind the order: outputs 0 and 1 belong to input channel 0."
        return f"Right for m = 1, but not for m = {m}: every input channel has m kernels, to be added up."
    return None


def _best_separable(best) -> str | None:
    import torch

    generator = seeded(0)
    for out_channels, C, k in [(6, 4, 3), (2, 3, 3), (5, 1, 5), (7, 3, 1)]:
        W = torch.randn(out_channels, C, k, k, generator=generator)
        pair = best(W)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            return "Two tensors are expected: depthwise, pointwise."
        D, P = pair
        if list(D.shape) != [C, 1, k, k]:
            shape = [C, 1, k, k]
            return f"For a kernel {list(W.shape)}, depthwise has the shape {shape}; yours {list(D.shape)}."
        if list(P.shape) != [out_channels, C, 1, 1]:
            shape = [out_channels, C, 1, 1]
            return f"For a kernel {list(W.shape)}, pointwise has the shape {shape}; yours {list(P.shape)}."
        matrices = W.flatten(2).transpose(0, 1)
        yours = torch.einsum("oc,cij->ocij", P[:, :, 0, 0], D[:, 0]).flatten(2).transpose(0, 1)
        least = torch.linalg.svdvals(matrices)[:, 1:].square().sum()
        if (matrices - yours).square().sum() <= least * (1 + 1e-3) + 1e-6:
            continue
        # The right direction at the wrong length?
        along = (matrices * yours).sum((1, 2), keepdim=True) / yours.square().sum((1, 2), keepdim=True)
        if (matrices - along * yours).square().sum() <= least * (1 + 1e-3) + 1e-6:
            return "The directions are right, the lengths are not: what became of the singular values?"
        return "The shapes are right, but a nearer kernel exists. Take one SVD per input channel."
    return None


def _mobilenet_v1(alpha: float, size: int) -> tuple[int, int]:
    """Multiply-adds and parameters with 1000 classes."""
    from eamlib.models.mobilenet_v1 import BLOCKS

    channels, size = int(32 * alpha), size // 2
    macs, parameters = 27 * channels * size**2, 29 * channels
    for block_channels, stride in BLOCKS:
        out_channels, size = int(block_channels * alpha), size // stride
        pair = 9 * channels + channels * out_channels
        macs, parameters = macs + pair * size**2, parameters + pair + 2 * channels + 2 * out_channels
        channels = out_channels
    return macs + 1000 * channels, parameters + 1000 * channels + 1000


def _dials(answer) -> str | None:
    widths, sizes = (1, 0.75, 0.5, 0.25), (224, 192, 160, 128)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return "A pair is expected: (alpha, resolution)."
    alpha, size = answer
    if alpha not in widths or size not in sizes:
        return f"Allowed are alpha in {widths} and a resolution in {sizes}, in this order."
    macs, parameters = _mobilenet_v1(alpha, size)
    if parameters > 3e6:
        return f"{parameters / 1e6:.1f} million parameters are too many. Which of the two dials changes them?"
    if macs > 200e6:
        return f"{macs / 1e6:.0f} million multiply-adds are too many."
    if (alpha, size) != (0.75, 160):
        return f"It fits, but uses {macs / 1e6:.0f} of the 200 million multiply-adds. Another pair uses more."
    return None


def _fold_before(fold) -> str | None:
    import torch
    from torch import nn

    generator = seeded(0)
    for C, out_channels in [(4, 4), (3, 5), (1, 2)]:
        weight = torch.randn(out_channels, C, 1, 1, generator=generator)
        norm = nn.BatchNorm2d(C, eps=0.1).eval()
        with torch.no_grad():
            for numbers in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                numbers.copy_(torch.rand(C, generator=generator) + 0.2)
            variance = norm.running_var + norm.eps
            s = norm.weight / variance.sqrt()
            t = norm.bias - s * norm.running_mean
        folded = fold(weight, norm)
        if not isinstance(folded, tuple | list) or len(folded) != 2:
            return "Two tensors are expected: new weight, bias."
        new, bias = (part.detach() for part in folded)
        if new.shape != weight.shape:
            return f"For a weight {list(weight.shape)} the new weight has the same shape; yours {list(new.shape)}."
        if list(bias.shape) != [out_channels]:
            return f"The bias has one number per output channel, {[out_channels]}; yours has {list(bias.shape)}."
        if close(new, weight * norm.weight.detach()[:, None, None] / variance[:, None, None]):
            return "Divide by the standard deviation, not by the variance."
        if close(new, weight * (norm.weight.detach() / norm.running_var.sqrt())[:, None, None]):
            return "norm.eps is missing under the square root."
        if not close(new, weight * s[:, None, None]):
            if out_channels == C and close(new, weight * s[:, None, None, None]):
                return "The norm stands before: s_c belongs to the input channels, the weight's second dimension."
            return "The new weight is not right. The norm maps channel c to s_c x_c + t_c; what is s_c?"
        matrix = weight[:, :, 0, 0]
        if close(bias, matrix @ t):
            continue
        if out_channels == C and close(bias, t):
            return "The weight is right. The shifts pass through the convolution, which mixes them like channels."
        if close(bias, matrix @ norm.bias.detach()):
            return "The weight is right. The bias lacks the running mean, which is subtracted from every pixel."
        return "The weight is right, the bias is not: output o receives the sum over c of W[o, c] t_c."
    return None


CHECKS = {"2.3": _macs_ratio, "2.4": _merge, "2.5": _best_separable, "2.6": _dials, "2.7": _fold_before}
