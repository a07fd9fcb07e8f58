"""Exercises of chapter 05."""

from __future__ import annotations

from eamlib.book.exercises._questions import Drawn, choice, number
from eamlib.book.exercises._watch import Calls, Origins, close, seeded


def _dynamic(K: int = 4, C: int = 256, side: int = 14) -> list[dict]:
    # A pointwise layer C -> C on a map of side × side, C / 4 hidden units.
    hidden, kernels = C // 4, K * C * C
    attention = C * hidden + hidden * K
    # The smallest C at which the attention of a depthwise 3 × 3 layer outgrows its K kernels.
    crossing = next(c for c in range(4, 1000) if c * (c // 4) + (c // 4) * K + K > K * 9 * c)
    outgrown = f"{crossing * (crossing // 4) + (crossing // 4) * K + K:,} against {K * 9 * crossing:,}"
    return [
        number(
            f"A dynamic pointwise layer {C} → {C}, K = {K}, no bias in the convolution: how many parameters?",
            kernels + attention + K,
            "Count the K kernels, the first linear layer (no bias), the second one and its bias.",
            right=f"{K} · {C}² + {C} · {hidden} + {hidden} · {K} + {K}.",
            mistakes={
                kernels: "The attention has parameters too.",
                kernels + attention: "The second linear layer has a bias: one number a kernel.",
                kernels + attention + K + hidden: "The first linear layer has no bias.",
                C * C + attention + K: "There are K kernels to store, not one.",
            },
        ),
        number(
            f"On a {side} × {side} map, how many MACs does it need beyond the static layer's? Leave the pooling out.",
            kernels + attention,
            "Each stored weight is touched once, and so is each of the attention's, whatever the map's size.",
            right="Every weight of the kernels and of the attention is used once an image.",
            mistakes={
                kernels: "That is the aggregation; the two linear layers multiply as well.",
                kernels + attention + K: "A bias is added, not multiplied.",
                (K - 1) * C * C * side**2: "That is the price of mixing outputs: K convolutions for one.",
            },
        ),
        number(
            f"K = {K}, a depthwise 3 × 3 layer with C channels, ⌊C/4⌋ hidden units: from which C on does "
            f"the attention hold more parameters than all {K} kernels together?",
            crossing,
            f"Compare C · C/4 + (C/4) · {K} + {K} with {K} · 9 · C: a quadratic inequality.",
            right=f"From {crossing} on: {outgrown}.",
            mistakes={
                36 * K: f"Nearly: C²/4 = {9 * K} C leaves the second linear layer and its bias out.",
                36 * K + 1: f"Nearly: C²/4 > {9 * K} C leaves the second linear layer and its bias out.",
                36: f"Compare with all {K} kernels, {K} · 9 · C, not with one.",
            },
        ),
    ]


QUIZZES = {
    "5.1": [
        choice(
            "(a) Four logits are 2, 2, 1 and 0. To what does softmax(z / T) tend as T goes to 0?",
            (
                "(½, ½, 0, 0)",
                "Divide by the largest term: the two maxima keep weight 1 each, the others vanish.",
            ),
            {
                "(1, 0, 0, 0)": "One-hot is the limit only where the largest logit is unique.",
                "(¼, ¼, ¼, ¼)": "That is the limit for a large T, where all exponents go to 0.",
                "It has no limit: e^(2/T) overflows": "Divide numerator and denominator by e^(2/T) first.",
            },
        ),
        choice(
            "(b) All images share the attention a. Which single kernel gives the outputs of the layer?",
            ("Σₖ aₖ Wₖ", "Convolution is linear in its kernel, so the sum can be carried out beforehand."),
            {
                "the mean (W₁ + … + W_K) / K": "That is right for the uniform attention only.",
                "the Wₖ with the largest aₖ": "The others still contribute, unless the attention is one-hot.",
                "none: softmax is not linear": "The softmax has been taken; its result is a constant here.",
            },
        ),
        choice(
            "(c) Which step of “f(2x) = w * 2x = 2 (w * x) = 2 f(x)” fails for a dynamic convolution?",
            (
                "the first: the kernel of f(2x) is w(2x), not w(x)",
                "The attention reads the doubled image; only for a fixed attention is the layer linear.",
            ),
            {
                "the second: convolution is not linear": "It is, for any fixed kernel.",
                "the last: f(x) is not w * x": "It is: f(x) = w(x) * x, by definition.",
                "none, the layer is linear": "Measure it, as the chapter does: f(2x) and 2 f(x) differ.",
            },
        ),
    ],
    "5.2": _dynamic(),
}

# What each student of a class is asked instead.
DRAWN = {
    "5.2": Drawn(
        _dynamic,
        "K = {K} kernels, {C} channels, a map of {side} × {side}.",
        {"K": (5, 6, 8), "C": (128, 192, 320), "side": (7, 10, 28)},
    ),
}


def _check_mix_outputs(mix_outputs):
    import torch

    from eamlib.functional.ways import dynamic_conv2d

    generator = seeded(5)
    #        B, C, O, k, padding, groups, K, H, W
    cases = [
        (1, 2, 3, 1, 0, 1, 2, 4, 4),
        (5, 3, 4, 3, 1, 1, 3, 7, 5),
        (6, 4, 6, 3, 0, 2, 3, 5, 8),
        (5, 6, 6, 5, 2, 6, 4, 9, 6),
    ]
    for B, C, out, k, padding, groups, K, H, W in cases:
        x = torch.randn(B, C, H, W, generator=generator)
        weight = torch.randn(K, out, C // groups, k, k, generator=generator)
        attention = torch.randn(B, K, generator=generator).softmax(1)
        with Calls() as calls, Origins(x=x, weight=weight, attention=attention) as origins:
            got = mix_outputs(x, weight, attention, padding=padding, groups=groups)
        right = dynamic_conv2d(x, weight, attention, padding=padding, groups=groups, strategy="loop")
        case = f"B = {B}, C = {C}, O = {out}, k = {k}, padding = {padding}, groups = {groups}, K = {K}"
        if not isinstance(got, torch.Tensor):
            return f"Return a tensor, not a {type(got).__name__}."
        if got.shape != right.shape:
            extra = " Is the sum over K missing?" if got.dim() == 5 else ""
            return f"The shape is {list(got.shape)}, it should be {list(right.shape)} ({case}).{extra}"
        if not close(got, right):
            args = {"padding": padding, "groups": groups, "strategy": "loop"}
            if close(got, dynamic_conv2d(x, weight, torch.full_like(attention, 1 / K), **args)):
                return "You average the outputs; weigh them by the attention."
            if close(got, dynamic_conv2d(x, weight, torch.ones_like(attention), **args)):
                return "You add the outputs up; weigh them by the attention."
            if close(got, dynamic_conv2d(x, weight, attention[:1].expand(B, -1), **args)):
                return "All images get the first image's attention; each has a row of its own."
            if close(got, dynamic_conv2d(x, weight, attention.softmax(1), **args)):
                return "The attention is a softmax already; do not take another."
            if groups > 1:
                return (
                    f"Right without groups, wrong with them ({case}). A grouped convolution hands out its "
                    "output channels group by group: K kernels one behind the other get the wrong groups."
                )
            return f"The values are wrong for {case}."
        if (ran := len(calls.weights)) > K:
            return f"The numbers are right, but it took {ran} convolutions; K = {K} are enough ({case})."
        # F.unfold and a product of matrices convolve as well: what has met both, but no image, is a mixed kernel.
        if any(met == {"weight", "attention"} and numbers >= weight[0].numel() for met, numbers in origins.met):
            return (
                "The numbers are right, but there is a kernel for each image: the stored kernels are mixed before they "
                f"meet an image ({case}). Convolve with the stored kernels, then mix."
            )
    return None


def _check_fold(fold):
    import torch
    from torch import nn

    from eamlib.functional.ways import dynamic_conv2d
    from eamlib.layers import DynamicConv2d

    #        C, O, k, stride, padding, dilation, groups, bias, K
    cases = [
        (3, 5, 1, 1, 0, 1, 1, False, 2),
        (4, 6, 3, 1, 1, 1, 1, True, 3),
        (4, 6, 3, 2, 1, 1, 2, False, 4),
        (6, 6, 3, 1, 2, 2, 6, True, 4),
        (2, 3, (3, 1), (1, 2), (1, 0), 1, 1, False, 3),
    ]
    for C, out, k, stride, padding, dilation, groups, bias, K in cases:
        layer = DynamicConv2d(C, out, k, stride, padding, dilation, groups, bias, num_kernels=K)
        attention = torch.linspace(0.0, 2.0, K).softmax(0).flip(0)
        before = layer.weight.detach().clone()
        conv = fold(layer, attention)
        if not isinstance(conv, nn.Conv2d):
            return f"Return an nn.Conv2d, not a {type(conv).__name__}."
        if not torch.equal(before, layer.weight):
            return "The dynamic layer's own weight has changed; leave it as it was."
        case = f"C = {C}, O = {out}, k = {k}, stride = {stride}, groups = {groups}, bias = {bias}"
        for name in ("stride", "padding", "dilation", "groups"):
            if getattr(conv, name) != getattr(layer, name):
                return f"{name} is {getattr(conv, name)}, the layer has {getattr(layer, name)} ({case})."
        if conv.weight.shape != layer.weight.shape[1:]:
            return (
                f"The weight's shape is {list(conv.weight.shape)}, "
                f"one kernel's is {list(layer.weight.shape[1:])} ({case})."
            )
        if (conv.bias is None) == bias:
            return "The layer has a bias, so the folded one needs one." if bias else "The layer has no bias."
        if not close(conv.weight, torch.einsum("k,koihw->oihw", attention, layer.weight)):
            if close(conv.weight, layer.weight.mean(0)):
                return "You average the kernels; weigh them by the attention."
            if close(conv.weight, layer.weight.sum(0)):
                return "You add the kernels up; weigh them by the attention."
            if close(conv.weight, layer.weight[attention.argmax()]):
                return "You take the favourite kernel; the others contribute too."
            return f"The kernel is not the mixture of the K kernels ({case})."
        x = torch.randn(2, C, 7, 9)
        right = dynamic_conv2d(
            x,
            layer.weight,
            attention.expand(2, -1),
            layer.bias,
            stride,
            padding,
            dilation,
            groups,
            strategy="loop",
        )
        if not close(conv(x), right):
            return "The kernel is right, the outputs are not: mix the K biases by the attention, too."
    return None


_BUDGET = 10_000_000


def _check_design(answer):
    from eamlib.models import create_model

    reductions = (4, 8, 16, 32, 64)
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return "Answer with a pair, (K, r)."
    kernels, reduction = answer
    if reduction not in reductions:
        return f"r = {reduction} is not one of {', '.join(map(str, reductions))}."
    if not isinstance(kernels, int) or isinstance(kernels, bool) or not 1 <= kernels <= 16:
        return f"K = {kernels} is not a sensible number of kernels."

    def parameters(kernels, reduction):
        network = create_model("mobilenet_v1", "dynamic", num_classes=100, num_kernels=kernels, reduction=reduction)
        return sum(p.numel() for p in network.parameters())

    count = parameters(kernels, reduction)
    if count > _BUDGET:
        return f"{count:,} parameters: that is {count - _BUDGET:,} too many."
    if any(parameters(kernels + 1, r) <= _BUDGET for r in reductions):
        return f"It fits, with {count:,} parameters. But with another r there is room for a kernel more."
    if any(parameters(kernels, r) <= _BUDGET for r in reductions if r < reduction):
        return f"It fits, with {count:,} parameters, but so does a wider attention (a smaller r) with this K."
    return None


CHECKS = {"5.3": _check_mix_outputs, "5.4": _check_fold, "5.5": _check_design}
