"""Exercises of chapter 12."""

from __future__ import annotations

from collections.abc import Callable

from eamlib.book.exercises._questions import Drawn, choice, number
from eamlib.book.exercises._watch import seeded, without

# Exercise 12.7: the largest unsigned byte, and where integers of 16 and of 32 bits end.
_BYTE, _PAIR, _SUM = 255, 2**15 - 1, 2**31 - 1


def _converted(C: int = 64, to: int = 128, p: int = 2, h: int = 10, shares: tuple = (0.7, 0.1, 0.1, 0.1)) -> list[dict]:
    # A 3 × 3 convolution from C to O channels, K = 4, EAM with n = 4.
    conv, attention = 9 * C * to, 4 * p * p * h + h * 4 + 4
    return [
        number(
            "How many parameters has the converted layer?",
            4 * conv + attention,
            "K kernels, then the two linear layers of the attention, of which only the second has a bias.",
            right=f"4 · {conv:,} + {4 * p * p} · {h} + {h} · 4 + 4.",
            mistakes={
                conv + attention: "K kernels are stored, not one.",
                4 * conv: "The attention has parameters, too.",
                4 * conv + attention + h: "EAM's first linear layer has no bias.",
                4 * conv + 4 * 25 * h + h * 4 + 4: f"Here p = {p}: the attention reads n · p² = {4 * p * p} numbers.",
            },
        ),
        number(
            "How many parameters has the frozen layer?",
            conv,
            "What is left of K kernels that are mixed in fixed shares, and of an attention that never runs?",
            right="One kernel and no attention, as before the conversion.",
            mistakes={4 * conv: "The K kernels are added up into one."},
        ),
        number(
            f"An attention is {shares} for every image. How long is the first step of the mixture, as a "
            "fraction of a static kernel's step?",
            round(sum(a * a for a in shares), 4),
            "The step of the mixture is Σ_k a_k · a_k G: kernel k moves by a_k G and has the share a_k.",
            right=f"{' + '.join(f'{a * a:.2f}' for a in shares)}: the more uneven the shares, the longer the step.",
            mistakes={
                0.25: "That is a uniform attention.",
                shares[0]: f"Kernel 1 moves by {shares[0]} G, and is then weighted by {shares[0]}.",
                1: "Σ a_k = 1, but here each share counts twice: in the gradient, and in the mixture.",
            },
        ),
    ]


QUIZZES = {
    "12.1": [
        choice(
            "The K kernels are equal. Why do the scores z get no gradient?",
            (
                "All ∂ℓ/∂a_bk of an image are equal, and the softmax passes on only how they differ",
                "∂ℓ/∂a_bk = ⟨G_b, W_k⟩ is one number for all k, and a_bk (g_bk − Σ_j a_bj g_bj) is then zero.",
            ),
            {
                "All ∂ℓ/∂a_bk are zero": "Each is ⟨G_b, W_k⟩, which is zero by accident at best.",
                "G_b is zero, since the network answers as before": "It answers as before, but its loss still has a "
                "gradient.",
                "The softmax is saturated": "Its derivative a(1 − a) is far from zero for an attention just drawn.",
            },
        ),
        choice(
            "An attention is the same for every image, but not for every kernel: (0.4, 0.3, 0.2, 0.1). Where are the "
            "kernels after one step of SGD?",
            (
                "On a line: all have moved in one direction, by different distances",
                "Σ_b a_k G_b = a_k Σ_b G_b: one direction, K lengths.",
            ),
            {
                "Still at one point": "The share a_k scales the gradient of kernel k, and the shares differ.",
                "Each has moved in a direction of its own": "That takes shares that differ from image to image.",
            },
        ),
        choice(
            "And after the first step of Adam, which divides each gradient by its own size (ε left out)?",
            (
                "Still at one point",
                "The share cancels: a_k G / |a_k G| does not depend on k.",
            ),
            {
                "On a line: all have moved in one direction, by different distances": "What does dividing by its "
                "own size do to a factor a_k > 0?",
                "Each has moved in a direction of its own": "The gradients are multiples of one another.",
            },
        ),
    ],
    "12.2": _converted(),
    "12.7": [
        number(
            "The sum of two products, unsigned byte times weight, has to fit in 16 bits, which end at 32,767. How "
            "large may the magnitude of a weight be? (An integer.)",
            _PAIR // (2 * _BYTE),
            "Both inputs may be 255 and both weights as large as you allow: 2 · 255 · |w| ≤ 32,767.",
            right="32,767 / 510 = 64.2: weights from −64 to 64, which are 7 bits wide.",
            mistakes={
                127: "2 · 255 · 127 = 64,770 does not fit.",
                _PAIR // _BYTE: "Two products are added, not one.",
                65: "2 · 255 · 65 = 33,150 does not fit; round down.",
            },
        ),
        number(
            "With weights up to 127, how many products can be added in 32 bits, which end at 2,147,483,647, whatever "
            "the numbers are?",
            _SUM // (_BYTE * 127),
            "Divide what 32 bits hold by the largest product, 255 · 127, and round down.",
            right="2,147,483,647 / 32,385, rounded down: more than any layer of this book adds.",
            mistakes={
                _SUM // (127 * 127): "The inputs are unsigned bytes, up to 255.",
                2**32 // (_BYTE * 127): "One of the 32 bits is the sign.",
            },
        ),
        number(
            "Weights between −0.32 and 0.32 become integers from −64 to 64. By how much may rounding change a weight?",
            0.0025,
            "The scale is 0.32 / 64, and rounding moves a number by half a step at most.",
            right="Half of the scale, 0.005 / 2.",
            mistakes={0.005: "That is the scale, a whole step.", 0.32 / 127 / 2: "That is the error with 8 bits."},
        ),
    ],
}

# What each student of a class is asked instead.
DRAWN = {
    "12.2": Drawn(
        _converted,
        "A 3 × 3 convolution from {C} to {to} channels without a bias is converted to EAM with "
        "K = 4, n = 4, p = {p}, h = {h}, and later frozen.",
        {
            "C": (48, 80, 96),
            "to": (160, 192),
            "p": (3, 4),
            "h": (8, 12),
            "shares": ((0.6, 0.2, 0.1, 0.1), (0.5, 0.3, 0.1, 0.1), (0.4, 0.4, 0.1, 0.1)),
        },
    ),
}


def _convolutions():
    """Trained convolutions of several shapes, and an input for each."""
    import torch
    from torch import nn

    torch.manual_seed(seeded(0).initial_seed())
    cases = (
        (nn.Conv2d(5, 7, 3, padding=1, bias=False), (6, 9)),
        (nn.Conv2d(6, 9, 3, stride=2, padding=1), (7, 5)),
        (nn.Conv2d(8, 8, 5, padding=2, groups=8), (5, 6)),
        (nn.Conv2d(4, 6, (1, 3), dilation=2, groups=2), (5, 8)),
    )
    return [(conv, torch.randn(3, conv.in_channels, *size)) for conv, size in cases]


@without(r"^eamlib\.analysis\.convert\.")
def _replicate(answer: Callable) -> str | None:
    import torch

    from eamlib.layers import DynamicConv2d

    for kernels, (conv, x) in zip((4, 2, 3, 1), _convolutions(), strict=True):
        layer = answer(conv, kernels)
        where = f"For {conv} and K = {kernels}"
        if not isinstance(layer, DynamicConv2d):
            return f"{where} you return a {type(layer).__name__}; a DynamicConv2d is asked for."
        if layer.num_kernels != kernels:
            return f"{where} your layer has {layer.num_kernels} kernels."
        if (layer.bias is None) != (conv.bias is None):
            return f"{where}: the convolution has {'no' if conv.bias is None else 'a'} bias, yours is the other way."
        for name in ("stride", "padding", "dilation", "groups"):
            if getattr(layer, name) != getattr(conv, name):
                return f"{where} your layer has another {name}: {getattr(layer, name)}."
        with torch.no_grad():
            yours, right = layer(x), conv(x)
        if torch.allclose(yours, right, atol=1e-5):
            continue
        if kernels > 1 and torch.allclose(layer.weight.detach() * kernels, conv.weight, atol=1e-6):
            return f"{where} you divide by K. The weights of the mixture sum to one already."
        if not torch.allclose(layer.weight.detach(), conv.weight, atol=1e-6):
            return f"{where} the kernels are not those that were trained."
        return f"{where} the kernels are right and the output is not: is every bias a copy?"
    return None


def _entropy(p):
    import torch

    return torch.special.entr(p).sum(-1)


def _information(answer: Callable) -> str | None:
    import math

    import torch

    generator = seeded(0)
    cases = [
        ("one kernel for each image", torch.eye(4)),
        ("the same row for every image", torch.tensor([[0.7, 0.2, 0.1]]).repeat(5, 1)),
        ("one kernel for all images", torch.tensor([[0.0, 1.0]]).repeat(3, 1)),
    ]
    for kernels, images in ((4, 50), (3, 7)):
        drawn = (2 * torch.randn(images, kernels, generator=generator)).softmax(1)
        cases.append((f"an attention of shape [{images}, {kernels}]", drawn))
    for what, attention in cases:
        unit = math.log(attention.shape[1])
        use, each = _entropy(attention.mean(0)).item(), _entropy(attention).mean().item()
        right, yours = (use - each) / unit, float(answer(attention.clone()))
        if math.isnan(yours):
            return f"For {what} you return NaN: 0 · log 0 counts as 0."
        if abs(yours - right) < 1e-4:
            continue
        if abs(yours - (use - each)) < 1e-4 or abs(yours - (use - each) / math.log(2)) < 1e-4:
            return f"For {what} the difference is right; measure it in units of log K."
        if abs(yours - use / unit) < 1e-4:
            return f"For {what} you return the entropy of the use alone; take off what is uncertain for one image."
        if abs(yours - each / unit) < 1e-4:
            return f"For {what} you return the mean entropy of an image; it is what to take off."
        if abs(yours + right) < 1e-4:
            return f"For {what} you return {yours:.4f}: which of the two entropies is the larger?"
        return f"For {what} it is {right:.4f}, and you return {yours:.4f}."
    return None


def _fold_norm(answer: Callable) -> str | None:
    import torch
    from torch import nn

    from eamlib import convert
    from eamlib.functional.ways import dynamic_conv2d

    for conv, x in _convolutions():
        layer = convert(conv, "dynamic", where=lambda *_: True, num_kernels=3)
        norm = nn.BatchNorm2d(conv.out_channels, eps=0.1).eval()
        with torch.no_grad():
            layer.weight += 0.1 * torch.randn_like(layer.weight)
            if layer.bias is not None:
                layer.bias += 0.1 * torch.randn_like(layer.bias)
            norm.weight.uniform_(0.5, 2), norm.bias.normal_()
            norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 3)
        weight, bias = (tensor.detach() for tensor in answer(layer, norm))
        where = f"For {conv}"
        if weight.shape != layer.weight.shape or bias.shape != (3, conv.out_channels):
            return (
                f"{where} you return shapes {list(weight.shape)} and {list(bias.shape)}; "
                f"{list(layer.weight.shape)} and {[3, conv.out_channels]} are asked for."
            )

        with torch.no_grad():
            attention, geometry = layer.attention(x), (layer.stride, layer.padding, layer.dilation, layer.groups)
            yours = dynamic_conv2d(x, weight, attention, bias, *geometry)
            if torch.allclose(yours, norm(layer(x)), atol=1e-4):
                continue
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            own = 0 if layer.bias is None else layer.bias
            shift = norm.bias - norm.running_mean * scale
            scaled = layer.weight * scale.view(-1, 1, 1, 1)
            without_eps = norm.weight / norm.running_var.sqrt()
            variance = norm.weight / (norm.running_var + norm.eps)
        if torch.allclose(weight, layer.weight * without_eps.view(-1, 1, 1, 1), atol=1e-5):
            return f"{where} you leave out eps."
        if torch.allclose(weight, layer.weight * variance.view(-1, 1, 1, 1), atol=1e-5):
            return f"{where} you divide by the variance; a batch normalisation divides by its root."
        if not torch.allclose(weight, scaled, atol=1e-5):
            return f"{where} the kernels are wrong: each of the O outputs has a scale of its own."
        if torch.allclose(bias, own * scale + shift / 3, atol=1e-5):
            return f"{where} you divide the shift by K. What do the weights of the mixture sum to?"
        if torch.allclose(bias, shift.expand(3, -1), atol=1e-5):
            return f"{where} you forget the layer's own bias."
        if torch.allclose(bias, own + shift, atol=1e-5):
            return f"{where} the layer's own bias has to be scaled, too."
        return f"{where} the kernels are right and the biases are not."
    return None


def _choose(answer: Callable) -> str | None:
    from itertools import pairwise

    from torch import nn

    def network(*widths, groups=1, bias=True):
        layers = [nn.Conv2d(c, o, 3, groups=groups if c > 4 else 1, bias=bias) for c, o in pairwise(widths)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 3))

    # A wide layer behind a narrow one: one that does not fit must not end the walk.
    cases = [
        (network(3, 16, 16, 24), 2.0),
        (network(3, 8, 40, 40, 8, bias=False), 2.5),
        (network(3, 32, 16, 64, 64, groups=4), 1.8),
        (network(3, 16, 16), 1.0),
        (network(3, 16, 32), 10.0),
    ]
    for model, limit in cases:
        before = sum(p.numel() for p in model.parameters())
        costs = {
            name: 3 * sum(p.numel() for p in conv.parameters()) + 1044
            for name, conv in model.named_modules()
            if isinstance(conv, nn.Conv2d) and conv.in_channels > 4
        }
        room, right = limit * before - before, set()
        for name in reversed(costs):
            if costs[name] <= room:
                right.add(name)
                room -= costs[name]
        yours = answer(model, limit)
        if isinstance(yours, str):
            return "Return a set of names, also if it holds one."
        yours = set(yours)
        if yours == right:
            continue
        where = f"For the convolutions {list(costs)} of {before:,} parameters and a limit of {limit:g}"
        if yours - set(costs):
            return f"{where} you name {sorted(yours - set(costs))}: no convolution of more than 4 channels."
        after = before + sum(costs[name] for name in yours)
        if after > limit * before:
            return (
                f"{where} your choice {sorted(yours)} makes {after:,} parameters, {after / before:.2f} times as many. "
                "What does a converted layer add: K − 1 kernels, and what else?"
            )
        if yours < right:
            return f"{where} there is room for {sorted(right - yours)}: go on behind a layer that does not fit."
        return f"{where} your choice is {sorted(yours)}: begin with the layer next to the output."
    return None


def _quantise(answer: Callable) -> str | None:
    import torch

    generator = seeded(0)
    noise = torch.randn(40, 5, generator=generator)
    cases = [
        ("inputs of both signs", noise + 0.7),
        ("inputs after a ReLU", noise.relu()),
        ("inputs that are all above 2", noise.abs() + 2),
        ("inputs that are all below −1", -noise.abs() - 1),
    ]
    for what, x in cases:
        q, scale, zero_point = answer(x.clone())
        if not isinstance(q, torch.Tensor) or q.dtype != torch.uint8 or q.shape != x.shape:
            return f"For {what} the first result is not a torch.uint8 of the shape of x."
        scale, zero_point = float(scale), float(zero_point)
        if zero_point != round(zero_point) or not 0 <= zero_point <= 255:
            return f"For {what} your zero point is {zero_point:g}; an integer from 0 to 255 stands for 0."
        low, high = min(x.min().item(), 0.0), max(x.max().item(), 0.0)
        right = (high - low) / 255
        if abs(scale - right) > 1e-4 * right:
            if abs(scale - (x.max() - x.min()).item() / 255) < 1e-4 * right:
                return f"For {what} your range leaves 0 out."
            if abs(scale - (high - low) / 256) < 1e-4 * right:
                return f"For {what} you divide by 256; from 0 to 255 there are 255 steps."
            return f"For {what} the scale is {right:.5f}, and yours is {scale:.5f}."
        wrong = (scale * (q.double() - zero_point) - x).abs().max().item()
        # Rounding a number and the zero point may each cost half a step at the ends.
        if wrong > 1.01 * scale:
            return f"For {what} a number comes back wrong by {wrong / scale:.0f} steps: do you clip, and add z?"
        inside = (q > 0) & (q < 255)
        wrong = (scale * (q.double() - zero_point) - x)[inside].abs().max().item()
        if wrong > 0.51 * scale:
            return f"For {what} a number is off by {wrong / scale:.2f} steps; rounding costs half a step at most."
    return None


CHECKS = {"12.3": _replicate, "12.4": _information, "12.5": _fold_norm, "12.6": _choose, "12.8": _quantise}
