"""Exercises of chapter 06."""

from __future__ import annotations

from eamlib.book.exercises._questions import Drawn, choice, number
from eamlib.book.exercises._watch import Calls, close, seeded, without


def _dynet(C: int = 96, g: int = 6, side: int = 14) -> list[dict]:
    # A pointwise layer C -> C with g kernels a channel, on a map of side × side.
    kernels, coefficients = g * C * C, g * C  # and as many weights in the predictor as in the kernels
    static = side**2 * C * C
    return [
        number(
            "How many parameters has the layer, its predictor included?",
            2 * kernels + coefficients,
            "Count the fixed kernels, the predictor's matrix and its biases.",
            right=f"{g} · {C}² for the kernels, {g} · {C} · {C} + {g} · {C} for the predictor.",
            mistakes={
                2 * kernels: "The predictor's linear layer has biases: one a coefficient.",
                kernels: "The predictor has parameters too.",
                kernels + C * g + g: f"There are {g} coefficients for every output channel.",
                C * C + kernels + coefficients: f"Each output channel keeps {g} kernels, not one.",
            },
        ),
        number(
            "Kernels fused: how many MACs does it need beyond the static layer's? Leave the pooling out.",
            2 * kernels,
            "Every stored number of a kernel and every weight of the predictor is multiplied once an image.",
            right=f"Mixing and predicting cost as much as each other, {g} · {C}² each.",
            mistakes={
                kernels: "That is one of two parts: the mixing, and the predictor.",
                2 * kernels + coefficients: "A bias is added, not multiplied.",
                2 * kernels + static: "Beyond the static layer's: its own are in that number.",
            },
        ),
        number(
            "Maps fused: how many MACs do the convolution and the fusion of its maps need together?",
            g * static + coefficients * side**2,
            f"A static convolution with {g} · {C} output channels, then one product a value of its output.",
            right=f"{side**2} · {g} · {C}² for the convolution, {g} · {C} · {side**2} for the fusion.",
            mistakes={
                g * static: f"The {g} maps of a channel are then weighted: one product a value.",
                static + coefficients * side**2: f"All {g} kernels of a channel are convolved.",
                g * static + coefficients * side**2 + kernels: "Leave the predictor out here.",
            },
        ),
    ]


QUIZZES = {
    "6.1": [
        choice(
            "(a) Why may ηᵢ be moved out of the sum over the kernel's entries?",
            (
                "it depends neither on the input channel nor on the offset",
                "It is a common factor of all terms of that sum.",
            ),
            {
                "it is positive": "A factor of any sign can be moved out of a sum.",
                "it does not depend on the image": "It does. But for one image and one output it is one number.",
                "the coefficients sum to one": "A sigmoid does not care, and linearity does not need it.",
            },
        ),
        choice(
            "(b) A layer with six kernels a channel, all coefficients equal to ½: what is it?",
            (
                "a static convolution with half the sum of each channel's kernels",
                "Constant coefficients can be multiplied out, for any group size.",
            ),
            {
                "a static convolution with each channel's mean kernel": "The coefficients sum to 3, not to 1.",
                "a static convolution with gated output channels": "A gate differs by image, this η does not.",
                "still a dynamic convolution": "The same kernels for every image: what is dynamic about it?",
            },
        ),
        choice(
            "(c) C = 1 input channel, O = 2, group size 1, η = (1, ½). Can one gate on the input do the same?",
            (
                "no: the gate would multiply both output maps by the same number",
                "All output channels read the gated input; the gates η_t differ from one to the next.",
            ),
            {
                "yes, with the gate 1": "Then the second output map is twice as large as it should be.",
                "yes, with the gate ¾": "Neither map is right then: they want 1 and ½.",
                "yes, gates on inputs and outputs are the same by linearity": "By linearity a gate on the input "
                "reaches every output alike.",
            },
        ),
    ],
    "6.2": _dynet(),
    "6.6": [
        number(
            "(a) A coefficient is 0 for half of the images and 1 for the other half. Which correlation follows?",
            0.5,
            "The mean is ½. What is the mean square of a number that is 0 or 1?",
            right="m² = ¼ and m² + s² = ½. No coefficient with mean ½ moves more.",
            mistakes={
                0.75: "That is the coefficient that is uniform on (0, 1).",
                0.25: "That is m²; divide by the mean square.",
                0: "Two images may have the same kernel: all coefficients are 0 or positive.",
            },
        ),
        choice(
            "(b) A trained layer has m = 0.5 and s = 0.05. How alike are two of its generated kernels?",
            ("0.99", "0.25 / (0.25 + 0.0025)."),
            {
                "0.95": "The spread enters squared, and in relation to m².",
                "0.9": "That is 1 − 2s; the spread enters squared.",
                "0.75": "That is the uniform coefficient, which moves nearly six times as far.",
            },
        ),
        choice(
            "(c) Which squashing lets two generated kernels be uncorrelated on average?",
            ("a tanh with mean 0", "m = 0, so the numerator vanishes."),
            {
                "a sigmoid with larger logits": "At best it is 0 or 1: question (a).",
                "a softmax": "Its coefficients are positive, too.",
                "a sigmoid times 10": "m and s grow alike, and the quotient stays.",
            },
        ),
    ],
}

# What each student of a class is asked instead.
DRAWN = {
    "6.2": Drawn(
        _dynet,
        "{C} → {C} channels, g_t = {g}, a map of {side} × {side}; the rest is as above.",
        {"C": (64, 80, 112), "g": (3, 4, 5), "side": (7, 10, 20)},
    ),
}


def _check_fuse_maps(fuse_maps):
    import torch
    import torch.nn.functional as F

    generator = seeded(6)
    #        B, C, O, k, padding, groups, g_t, H, W
    cases = [
        (2, 3, 4, 1, 0, 1, 2, 4, 4),
        (3, 3, 5, 3, 1, 1, 6, 7, 5),
        (4, 4, 6, 3, 0, 2, 3, 5, 8),
        (3, 5, 5, 5, 2, 5, 1, 9, 6),
        (5, 3, 7, 3, 1, 1, 4, 7, 5),  # more images and channels than the second, fewer maps of each: to find loops
    ]
    counts = []
    for B, C, out, k, padding, groups, group_size, H, W in cases:
        x = torch.randn(B, C, H, W, generator=generator)
        weight = torch.randn(out * group_size, C // groups, k, k, generator=generator)
        eta = torch.rand(B, out * group_size, generator=generator)
        with Calls() as calls:
            got = fuse_maps(x, weight, eta, group_size, padding=padding, groups=groups)
        counts.append(calls.count)
        maps = F.conv2d(x, weight, padding=padding, groups=groups)
        weighted = eta[:, :, None, None] * maps
        right = weighted.unflatten(1, (out, group_size)).sum(2)
        case = f"B = {B}, C = {C}, O = {out}, k = {k}, padding = {padding}, groups = {groups}, g_t = {group_size}"
        if not isinstance(got, torch.Tensor):
            return f"Return a tensor, not a {type(got).__name__}."
        if got.shape != right.shape:
            extra = " Add up the g_t maps of every channel." if got.shape[1:2] == maps.shape[1:2] else ""
            return f"The shape is {list(got.shape)}, it should be {list(right.shape)} ({case}).{extra}"
        if not close(got, right):
            if close(got, weighted.unflatten(1, (group_size, out)).sum(1)):
                return "The g_t kernels of a channel are neighbours: maps t · g_t to t · g_t + g_t − 1 belong together."
            if close(got, weighted.unflatten(1, (out, group_size)).mean(2)):
                return "You average the weighted maps; the coefficients are not divided by g_t."
            if close(got, maps.unflatten(1, (out, group_size)).sum(2)):
                return "You add the maps up; weigh them by the coefficients."
            if close(got, (eta[:1, :, None, None] * maps).unflatten(1, (out, group_size)).sum(2)):
                return "All images get the first image's coefficients; each has a row of its own."
            return f"The values are wrong for {case}."
        kernels = [used[0] for used in calls.weights]
        if kernels != [out * group_size]:
            return (
                f"The numbers are right, but by {len(kernels)} convolution(s) with "
                f"{kernels} output channels: run all {out * group_size} stored kernels at once, as they "
                "are, over the whole batch."
            )
    if counts[1] != counts[-1]:
        return f"The numbers are right, but by a loop: {counts[1]} or {counts[-1]} calls of PyTorch's, by the sizes."
    return None


@without()  # its layer is this library's
def _check_as_zhang(as_zhang):
    import torch

    from eamlib.layers import DynamicConv2d, DyNetConv2d

    #        C, O, k, stride, padding, dilation, groups, bias, K
    cases = [
        (4, 5, 1, 1, 0, 1, 1, False, 2),
        (4, 6, 3, 1, 1, 1, 1, False, 4),
        (4, 6, 3, 2, 1, 1, 2, False, 4),
        (6, 6, 3, 1, 2, 2, 6, True, 3),
        (5, 3, (3, 1), (1, 2), (1, 0), 1, 1, True, 3),
    ]
    generator = seeded(6)
    for C, out, k, stride, padding, dilation, groups, bias, K in cases:
        layer = DynamicConv2d(C, out, k, stride, padding, dilation, groups, bias, num_kernels=K).eval()
        with torch.no_grad():  # coefficients that differ from kernel to kernel and from image to image
            for parameter in layer.attention.parameters():
                parameter.copy_(3 * torch.randn(parameter.shape, generator=generator))
        before = layer.weight.detach().clone()
        twin = as_zhang(layer)
        if not isinstance(twin, DyNetConv2d):
            return f"Return a DyNetConv2d, not a {type(twin).__name__}."
        if not torch.equal(before, layer.weight):
            return "The dynamic layer's own weight has changed; leave it as it was."
        case = f"C = {C}, O = {out}, k = {k}, stride = {stride}, groups = {groups}, bias = {bias}, K = {K}"
        for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
            if getattr(twin, name) != getattr(layer, name):
                return f"{name} is {getattr(twin, name)}, the layer has {getattr(layer, name)} ({case})."
        if twin.group_size != K:
            return f"group_size is {twin.group_size}; every output channel has K = {K} kernels ({case})."
        if not close(twin.weight, layer.weight.transpose(0, 1).flatten(0, 1)):
            if close(twin.weight, layer.weight.flatten(0, 1)):
                return "The order of the kernels: first all K of channel 1, then all K of channel 2. Transpose."
            return f"The weight does not hold the layer's kernels ({case})."
        if (twin.bias is None) == bias:
            return "The layer has a bias, so the twin needs one." if bias else "The layer has no bias."
        for x in torch.randn(2, 3, C, 7, 9, generator=generator):
            a, eta = layer.attention(x), twin.coefficients(x)
            if eta.shape != (3, out * K):
                return f"The coefficients have the shape {list(eta.shape)}, not [B, O · K] = {[3, out * K]} ({case})."
            if not close(eta, a.repeat(1, out)):
                if close(eta, a.repeat_interleave(out, dim=1)):
                    return "The order of the coefficients: a₁ … a_K, then a₁ … a_K again for the next channel."
                return f"The coefficients are not the old attention's, once for every output channel ({case})."
            if not close(twin(x), layer(x)):
                return "Weight and coefficients are right, the outputs are not: is the bias [K, O] transposed, too?"
    return None


_SHARE, _WIDTH = 0.15, 96


def _check_design(answer):
    from eamlib.analysis.cost import cost
    from eamlib.layers import conv_builder
    from eamlib.models.dy_mobile import NarrowResidual

    if not isinstance(answer, tuple | list) or len(answer) != 3:
        return 'Answer with a triple, (g_t on 7 × 7, g_t on 14 × 14, "neither", "7", "14" or "both").'
    *group_sizes, smaller = answer
    for group_size in group_sizes:
        if not isinstance(group_size, int) or isinstance(group_size, bool) or not 1 <= group_size <= 100:
            return f"g_t = {group_size} is not a sensible number of kernels."
    if smaller not in ("neither", "7", "14", "both"):
        return f'{smaller!r} is not one of "neither", "7", "14" and "both".'

    def overhead(group_size, side):
        block = NarrowResidual(_WIDTH, _WIDTH, 1, conv=conv_builder("dynet", group_size=group_size))
        macs = cost(block, (_WIDTH, side, side)).multiply_adds
        return (macs["attention"] + macs["aggregation"]) / macs["convolution"]

    for group_size, side in zip(group_sizes, (7, 14), strict=True):
        share = overhead(group_size, side)
        if share > _SHARE:
            return f"g_t = {group_size} on {side} × {side} adds {100 * share:.1f} %: too much."
        if overhead(group_size + 1, side) <= _SHARE:
            return f"g_t = {group_size} on {side} × {side} adds {100 * share:.1f} %. There is room for more."
    kernels = 2 * _WIDTH**2 + 54 * _WIDTH  # generated in a block, whatever the group size
    maps = {side: 3 * _WIDTH * g * side**2 for g, side in zip(group_sizes, (7, 14), strict=True)}
    fits = [str(side) for side in maps if maps[side] < kernels]
    if smaller != ({0: "neither", 2: "both"}.get(len(fits)) or fits[0]):
        return (
            "The group sizes are right. Count again what is made on the way: one generated kernel an output channel, "
            "or g_t maps an output channel; 2 · 96² + 54 · 96 numbers in all the kernels of a block."
        )
    return None


CHECKS = {"6.3": _check_fuse_maps, "6.4": _check_as_zhang, "6.5": _check_design}
