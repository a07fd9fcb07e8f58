"""Exercises of chapter 07."""

from __future__ import annotations

from eamlib.book.exercises._questions import choice, number
from eamlib.book.exercises._watch import Convolutions, close, seeded

# Exercise 7.2: a pointwise layer C -> O on P positions, a batch of B, K kernels.
_B, _K, _C, _O, _P = 16, 4, 256, 512, 4 * 4
_M = _C * _O
_STATIC = _B * _M * _P
_COPIES = _K * _B * _C * _P
_MIB = 2**20

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
    "7.2": [
        number(
            "Mixing the kernels first: how many multiplications, mixing included?",
            _STATIC + _B * _M * _K,
            "B · M · (P + K) with M = 256 · 512.",
            right="16 · 131,072 · (16 + 4).",
            mistakes={
                _STATIC: "That is the static layer; its kernels have to be mixed.",
                _STATIC + _M * _K: "Every image mixes a kernel of its own.",
                _K * _STATIC: "That is K products; here each image is multiplied by one kernel.",
                (_STATIC + _B * _M * _K) // _B: "That is one image; there are 16.",
            },
        ),
        number(
            "How many MiB do the mixed kernels of the batch take?",
            _B * _M * 4 / _MIB,
            "B · M numbers of 4 bytes.",
            right="16 kernels of half a MiB.",
            mistakes={
                _M * 4 / _MIB: "That is one kernel; each image has its own.",
                _K * _M * 4 / _MIB: "Those are the K stored kernels; or did you forget that a number takes 4 bytes?",
                _B * _K * _M * 4 / _MIB: "The K are mixed: one kernel per image is left.",
            },
        ),
        number(
            "Scaling the inputs: how many multiplications, scaling included?",
            _K * _STATIC + _COPIES,
            "K whole products, and each of the K copies of the input scaled once.",
            right="4 · 16 · 131,072 · 16 + 4 · 16 · 256 · 16.",
            mistakes={
                _K * _STATIC: "The copies have to be scaled: one multiplication for each number of a copy.",
                _STATIC + _COPIES: "A sum of the wide product has K · C terms, not C.",
                _K * _STATIC + _K * _B * _O * _P: "That scales the outputs, which is way 2.",
            },
        ),
        number(
            "How many MiB do the scaled copies of the input take?",
            _COPIES * 4 / _MIB,
            "K · B · C · P numbers of 4 bytes.",
            right="4 · 16 · 256 · 16 numbers.",
            mistakes={
                _COPIES / _MIB: "There are K copies, and a number takes 4 bytes: one of the two is missing.",
                _K * _B * _O * _P * 4 / _MIB: "That would be K outputs; the inputs have C channels.",
            },
        ),
    ],
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
        with Convolutions() as convolutions:
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
        if convolutions.weights != [wide]:
            shapes = ", ".join(str(list(used)) for used in convolutions.weights) or "none"
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
        largest = _Largest()
        with largest:
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


def _Largest():
    """A mode that notes how many numbers the largest tensor made under it holds."""
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for tensor in tree_leaves(result):
                if isinstance(tensor, Tensor):  # the memory behind it: an expanded view takes none
                    size = tensor.untyped_storage().nbytes() // tensor.element_size()
                    self.numbers = max(self.numbers, size)
            return result

    return Largest()


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
        with Convolutions() as convolutions:
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
        if any(used[0] not in (out, K * out) for used in convolutions.weights):
            shape = list(convolutions.weights[0])
            return f"The numbers are right, but a convolution has a kernel per image: {shape} ({case})."
    return None


CHECKS = {
    "7.3": _check_scale_and_convolve,
    "7.4": _check_weight_gradient,
    "7.5": _check_design,
    "7.7": _check_pointwise_odconv,
}
