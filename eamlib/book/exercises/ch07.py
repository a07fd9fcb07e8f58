"""Exercises of chapter 07."""

from __future__ import annotations

from eamlib.book.exercises._questions import Drawn, choice, number
from eamlib.book.exercises._watch import Calls, Largest, close, seeded


def _ways(B: int = 16, C: int = 256, to: int = 512) -> list[dict]:
    # A pointwise layer C -> O on P positions, a batch of B, K kernels.
    K, P, MiB = 4, 4 * 4, 2**20
    M = C * to
    static, copies = B * M * P, K * B * C * P
    return [
        number(
            "Mixing the kernels first: how many multiplications, mixing included?",
            static + B * M * K,
            f"B · M · (P + K) with M = {C} · {to}.",
            right=f"{B} · {M:,} · ({P} + {K}).",
            mistakes={
                static: "That is the static layer; its kernels have to be mixed.",
                static + M * K: "Every image mixes a kernel of its own.",
                K * static: "That is K products; here each image is multiplied by one kernel.",
                (static + B * M * K) // B: f"That is one image; there are {B}.",
            },
        ),
        number(
            "How many MiB do the mixed kernels of the batch take?",
            B * M * 4 / MiB,
            "B · M numbers of 4 bytes.",
            right=f"{B} kernels of {M * 4 / MiB:g} MiB.",
            mistakes={
                M * 4 / MiB: "That is one kernel; each image has its own.",
                K * M * 4 / MiB: "Those are the K stored kernels; or did you forget that a number takes 4 bytes?",
                B * K * M * 4 / MiB: "The K are mixed: one kernel per image is left.",
            },
        ),
        number(
            "Scaling the inputs: how many multiplications, scaling included?",
            K * static + copies,
            "K whole products, and each of the K copies of the input scaled once.",
            right=f"{K} · {B} · {M:,} · {P} + {K} · {B} · {C} · {P}.",
            mistakes={
                K * static: "The copies have to be scaled: one multiplication for each number of a copy.",
                static + copies: "A sum of the wide product has K · C terms, not C.",
                K * static + K * B * to * P: "That scales the outputs, which is way 2.",
            },
        ),
        number(
            "How many MiB do the scaled copies of the input take?",
            copies * 4 / MiB,
            "K · B · C · P numbers of 4 bytes.",
            right=f"{K} · {B} · {C} · {P} numbers.",
            mistakes={
                copies / MiB: "There are K copies, and a number takes 4 bytes: one of the two is missing.",
                K * B * to * P * 4 / MiB: "That would be K outputs; the inputs have C channels.",
            },
        ),
    ]


QUIZZES = {
    "7.1": [
        choice(
            "(a) Which property of a static convolution lets a coefficient move from its output to its input?",
            (
                "it is linear in the image",
                "A(a x) = a A(x) for a number a, whatever the kernel's size, stride, padding or groups.",
            ),
            {
                "its kernels share no weights": "They may be any kernels, even equal ones.",
                "the coefficients sum to one": "A sigmoid's do not, and the ways agree all the same.",
                "its kernel is 1×1": "No: shift, stride and zero padding are linear, too.",
            },
        ),
        choice(
            "(b) K = 4, counting multiplications alone: on which maps do K whole products (ways 2 and 3) cost less?",
            (
                "on maps of a single position only",
                "P + 4 < 4 P holds from P = 2 on; at P = 1 it is 5 against 4.",
            ),
            {
                "on maps with P < 4": "There mixing is the larger half of way 1, but compare P + 4 with 4 P.",
                "on no map": "Try P = 1.",
                "on all maps with few channels": "The numbers in a kernel, M, drop out of the comparison.",
            },
        ),
        choice(
            "(c) Each mixed number is moved four times instead of twice. What becomes of P*?",
            (
                "(K + 4 s π/β) / (K − 1)",
                "The bytes double, the multiplications stay.",
            ),
            {
                "(2 K + 4 s π/β) / (K − 1)": "K stands for the multiplications of mixing: they are not repeated.",
                "(K + 2 s π/β) / (2 K − 2)": "Dearer kernels move the switch to larger maps, not to smaller ones.",
                "it stays: bytes are not multiplications": "Both take time: π and β turn them into seconds.",
            },
        ),
    ],
    "7.2": _ways(),
    "7.6": [
        choice(
            "(a) The coefficient is s_b[o] t_b[c]. Which static convolution does it need?",
            (
                "one with W, between a gate on its input and a gate on its output",
                "t_b[c] has no other index of the kernel and scales the input; s_b[o] scales the output.",
            ),
            {
                "none: it needs a kernel per image": "Both factors can leave the sum. Which way does each go?",
                "one with W, its output scaled by the product of the gates": "The sum runs over c: t_b[c] cannot "
                "leave it on the side of the output.",
                "O · C of them, one per coefficient": "A factor without u and c leaves the whole sum at once.",
            },
        ),
        choice(
            "(b) The coefficients are a matrix of rank R, W has k × k windows. How many static convolutions do?",
            (
                "R, each between two gates",
                "A matrix of rank R is a sum of R products of two vectors.",
            ),
            {
                "one": "One pair of gates gives coefficients of rank 1.",
                "R², one for each pair of factors": "The factors come in R pairs; the pairs are not mixed.",
                "C, one per input channel": "That always works, and does not use that the rank is only R.",
            },
        ),
    ],
}

# What each student of a class is asked instead.
DRAWN = {
    "7.2": Drawn(
        _ways,
        "A dynamic pointwise layer {C} → {to} on a 4 × 4 map, B = {B} images, K = 4, float32.",
        {"B": (8, 24, 32), "C": (128, 192), "to": (320, 384)},
    ),
}


def _check_scale_and_convolve(scale_and_convolve):
    import torch
    import torch.nn.functional as F

    from eamlib.functional.ways import dynamic_conv2d

    generator = seeded(7)
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
        with Calls() as calls:
            got = scale_and_convolve(x, weight, attention, padding=padding, groups=groups)
        args = {"padding": padding, "groups": groups}
        right = dynamic_conv2d(x, weight, attention, **args, strategy="loop")
        case = f"B = {B}, C = {C}, O = {out}, k = {k}, padding = {padding}, groups = {groups}, K = {K}"
        if not isinstance(got, torch.Tensor):
            return f"Return a tensor, not a {type(got).__name__}."
        if got.shape != right.shape:
            return f"The shape is {list(got.shape)}, it should be {list(right.shape)} ({case})."
        if not close(got, right):
            unscaled = sum(F.conv2d(x, kernel, **args) for kernel in weight)
            if close(got, unscaled) or close(got, unscaled / K):
                return "The copies are not scaled: copy k of image b is multiplied by attention[b, k]."
            if close(got, dynamic_conv2d(x, weight, attention[:1].expand(B, -1), **args, strategy="loop")):
                return "All images are scaled by the first image's coefficients; each has a row of its own."
            if groups > 1:
                return (
                    f"Right without groups, wrong with them ({case}). The input channels of one group must lie "
                    "together: first the K copies of group 1's channels, then those of group 2."
                )
            return (
                f"The values are wrong for {case}. Do the copies lie along the channels in the same order as the "
                "kernels along theirs?"
            )
        wide = torch.Size([out, K * C // groups, k, k])
        if calls.weights != [wide]:
            shapes = ", ".join(str(list(used)) for used in calls.weights) or "none"
            return (
                f"The numbers are right, but the convolutions' weights are {shapes}. It should be one convolution, "
                f"with the weight {list(wide)}: the same for every image ({case})."
            )
    return None


def _check_weight_gradient(weight_gradient):
    import torch

    generator = seeded(7)
    for B, K, C, out, P in [(5, 2, 11, 12, 4), (6, 3, 17, 19, 5), (4, 1, 8, 7, 6)]:
        x = torch.randn(B, C, P, generator=generator)
        G = torch.randn(B, out, P, generator=generator)
        attention = torch.randn(B, K, generator=generator).softmax(1) if K > 1 else torch.rand(B, 1)
        with Largest() as largest:
            got = weight_gradient(x, attention, G)
        case = f"B = {B}, K = {K}, C = {C}, O = {out}, P = {P}"
        if not isinstance(got, torch.Tensor):
            return f"Return a tensor, not a {type(got).__name__}."
        right = torch.einsum("bk,bop,bcp->koc", attention, G, x)
        if got.shape != right.shape:
            extra = ""
            if got.shape == (K, C, out):
                extra = " G comes first: one row per output channel."
            elif got.dim() == 4 or got.shape[:1] == (B,):
                extra = " Is the sum over the batch missing?"
            return f"The shape is {list(got.shape)}, it should be [K, O, C] = {list(right.shape)} ({case}).{extra}"
        if not close(got, right):
            unweighted = torch.einsum("bop,bcp->oc", G, x).expand(K, -1, -1)
            if close(got, unweighted) or close(got, unweighted / K):
                return "Every kernel gets the same gradient: weigh image b by attention[b, k]."
            if close(got, right / B):
                return "You average over the batch; the gradient of a sum is a sum."
            return f"The values are wrong for {case}."
        if largest.numbers >= B * out * C:
            return (
                f"The numbers are right, but you hold a tensor of {largest.numbers:,} numbers, and B · O · C is "
                f"{B * out * C:,} ({case}). Weigh G or x first, then sum over images and positions in one product."
            )
    return None


# Exercise 7.5: what P* depends on, besides K.
_CORNER, _ELEMENT_SIZE = 10, 4


def _check_design(answer):
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        return "Answer with three integers: the sides for K = 2, 4 and 8."
    if any(not isinstance(side, int) or isinstance(side, bool) or not 1 <= side <= 1000 for side in answer):
        return "A side is an integer, 1 or more."

    def mixing_wins(side, kernels):
        positions = side**2
        return positions + kernels + 2 * _ELEMENT_SIZE * _CORNER < kernels * positions

    if list(answer) != sorted(answer, reverse=True):
        return "Another kernel makes mixing the outputs dearer, not the mixed kernels: the sides cannot rise with K."
    for side, kernels in zip(answer, (2, 4, 8), strict=True):
        smallest = next(s for s in range(1, 1001) if mixing_wins(s, kernels))
        if side == smallest**2 > smallest:
            return "Answer with the side of the map, not with its number of positions."
        if side < smallest:
            return f"K = {kernels}: on {side} × {side} mixing the outputs still takes less time, by (7.4)."
        if side > smallest:
            return f"K = {kernels}: there is a smaller map than {side} × {side} on which mixing the kernels wins."
    return None


def _check_pointwise_odconv(pointwise_odconv):
    import torch
    import torch.nn.functional as F

    generator = seeded(7)
    for B, C, out, K, H, W in [(2, 3, 5, 2, 4, 6), (5, 6, 4, 3, 3, 3)]:
        x = torch.randn(B, C, H, W, generator=generator)
        weight = torch.randn(K, out, C, 1, 1, generator=generator)
        mix = torch.randn(B, K, generator=generator).softmax(1)
        gate_out, gate_in = torch.rand(B, out, generator=generator), torch.rand(B, C, generator=generator)
        with Calls() as calls:
            got = pointwise_odconv(x, weight, mix, gate_out, gate_in)
        case = f"B = {B}, C = {C}, O = {out}, K = {K}"
        if not isinstance(got, torch.Tensor):
            return f"Return a tensor, not a {type(got).__name__}."
        kernels = torch.einsum("bk,bo,bc,kocuv->bocuv", mix, gate_out, gate_in, weight)
        right = torch.cat([F.conv2d(image[None], kernel) for image, kernel in zip(x, kernels, strict=True)])
        if got.shape != right.shape:
            return f"The shape is {list(got.shape)}, it should be {list(right.shape)} ({case})."
        if not close(got, right):
            for name, gates in {
                "out": (torch.ones_like(gate_out), gate_in),
                "into": (gate_out, torch.ones_like(gate_in)),
            }.items():
                kernels = torch.einsum("bk,bo,bc,kocuv->bocuv", mix, *gates, weight)
                missing = [F.conv2d(image[None], kernel) for image, kernel in zip(x, kernels, strict=True)]
                if close(got, torch.cat(missing)):
                    return f"The gate `{name}` is not applied."
            return f"The values are wrong for {case}."
        if any(used[0] not in (out, K * out) for used in calls.weights):
            shape = list(calls.weights[0])
            return f"The numbers are right, but a convolution has a kernel per image: {shape} ({case})."
    return None


CHECKS = {
    "7.3": _check_scale_and_convolve,
    "7.4": _check_weight_gradient,
    "7.5": _check_design,
    "7.7": _check_pointwise_odconv,
}
