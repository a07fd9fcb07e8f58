"""Exercises of chapter 13."""

from __future__ import annotations

from collections.abc import Callable

from eamlib.book.exercises._questions import Drawn, choice, number
from eamlib.book.exercises._watch import seeded


def _dilated(size: int = 768, out: int = 512) -> list[dict]:
    # ResNet50's head on an image of size × size, at output stride 8.
    side = size // 8
    head = 9 * 2048 * out * side**2
    return [
        number(
            "By which factor does the cost of a 3 × 3 convolution at the end of the last stage grow?",
            16,
            "The number of taps stays the same; count the positions of the map.",
            right="Four times as many positions along each axis.",
            mistakes={
                4: "Along each axis, yes.",
                1: "The number of taps is as before, but the number of positions is not.",
            },
        ),
        number(
            "And the cost of one in the middle of the last stage but one?",
            4,
            "How many of the removed strides lie in front of it?",
            right="One removed stride: twice as many positions along each axis.",
            mistakes={16: "Only one of the two removed strides lies in front of it.", 2: "Along each axis, yes."},
        ),
        number(
            f"How many multiply-adds has the head's 3 × 3 convolution from 2048 to {out} channels, on an image of "
            f"{size} × {size} at output stride 8?",
            head,
            "k · k · C · O · H' · W'.",
            right=f"9 · 2048 · {out} · {side}².",
            mistakes={
                9 * 2048 * out * side: f"The map has {side} · {side} positions.",
                9 * 2048 * out * (size // 32) ** 2: "That is output stride 32.",
                9 * 2048 * out * size**2: "The convolution runs on the map, not on the image.",
                2048 * out * side**2: "The kernel has 3 · 3 taps.",
            },
        ),
    ]


QUIZZES = {
    "13.1": [
        choice(
            "Put the subsampled signal into the convolution: which sample of x does tap j read for output i?",
            ("x[s·i + s·d·j]", "The subsampled signal at i + d·j is x at s times that."),
            {
                "x[i + s·d·j]": "Output i of the subsampled signal stands at s·i in x.",
                "x[s·i + d·j]": "The taps are steps on the subsampled signal, too, and each step is s samples.",
                "x[s·i + (s + d)·j]": "(↓x)[i + d·j] = x[s · (i + d·j)]; multiply it out.",
            },
        ),
        choice(
            "A network has two strides of 2, and both are removed. By how much are the layers behind the second one "
            "dilated?",
            ("4", "Each removed stride doubles the dilation of all that follows: 2 · 2."),
            {
                "2": "That is right between the first and the second of them.",
                "3": "Do the factors add up, or multiply?",
                "8": "Two strides of 2 give a step of how many positions?",
            },
        ),
        choice(
            "Which operation between the two convolutions would break the argument?",
            (
                "A 3 × 3 maximum over neighbours that is not dilated as well",
                "It would compare other neighbours than before. Dilated as well, it would do no harm.",
            ),
            {
                "A ReLU": "It acts on each position alone, and so commutes with subsampling.",
                "Batch normalisation in eval mode": "A scale and a shift for each channel, the same at all positions.",
                "An odd number of channels": "The sum over channels is taken at each position, however many there are.",
            },
        ),
    ],
    "13.2": _dilated(),
}

# What each student of a class is asked instead.
DRAWN = {
    "13.2": Drawn(
        _dilated,
        "An image of {size} × {size}, and {out} output channels of the head.",
        {"size": (512, 640, 1024), "out": (256, 384)},
    ),
}


def _mean_iou(answer: Callable) -> str | None:
    import torch

    from eamlib.data import segmentation

    generator = seeded(0)
    hand = torch.tensor([[0, 0, 1], [0, 1, 1], [0, 0, 0]]), torch.tensor([[0, 1, 1], [0, 1, 0], [0, 0, 0]])
    cases = [(hand[1], hand[0], 2)]
    for shape, classes, used in (((7, 5), 3, 3), ((2, 9, 4), 5, 5), ((6, 6), 6, 4), ((3, 3), 1, 1)):
        truth, noise = (torch.randint(used, shape, generator=generator) for _ in range(2))
        keep = torch.rand(shape, generator=generator) < 0.6
        cases.append((torch.where(keep, truth, noise), truth, classes))
    for prediction, truth, classes in cases:
        matrix = segmentation.confusion(prediction, truth, classes)
        each = segmentation.iou(matrix)
        right = 100 * each.nanmean().item()
        yours = float(answer(prediction.clone(), truth.clone(), classes))
        where = f"For {classes} classes and masks of shape {list(truth.shape)}"
        if abs(yours - right) < 1e-3:
            continue
        if abs(100 * yours - right) < 1e-3:
            return "In percent, please."
        if abs(yours - 100 * (prediction == truth).float().mean().item()) < 1e-3:
            return "That is the pixel accuracy; compute a ratio for each class."
        if yours != yours:
            return f"{where} you return NaN: what is 0/0 for a class that never occurs?"
        if abs(yours - 100 * each.nansum().item() / classes) < 1e-3:
            return f"{where} you count a class that never occurs; leave it out of the mean."
        recall = (matrix.diagonal() / matrix.sum(1)).nanmean().item()
        if abs(yours - 100 * recall) < 1e-3:
            return "You divide by the true pixels alone; the union also holds the pixels that were wrongly called so."
        return f"{where} the mean IoU is {right:.2f} % and you return {yours:.2f}."
    return None


def _field(layers) -> int:
    field, step = 1, 1
    for kernel, stride, dilation in layers:
        field += dilation * (kernel - 1) * step
        step *= stride
    return field


def _receptive_field(answer: Callable) -> str | None:
    stacks = [
        [(3, 1, 1)],
        [(3, 1, 1), (3, 1, 1)],
        [(3, 2, 1), (3, 1, 1)],
        [(3, 1, 1), (3, 1, 2), (3, 1, 4)],
        [(7, 2, 1), (3, 2, 1), (1, 1, 1), (3, 2, 1), (5, 1, 3)],
        [(2, 2, 1), (2, 2, 1), (2, 2, 1)],
        [],
    ]
    for layers in stacks:
        right, yours = _field(layers), answer(list(layers))
        if yours == right:
            continue
        if layers and yours == _field([(k, s, 1) for k, s, _ in layers]):
            return f"For {layers} you return {yours}: a dilated kernel's taps lie further apart."
        if layers and yours == _field([(k, 1, d) for k, _, d in layers]):
            return f"For {layers} you return {yours}: behind a stride, one step spans several pixels."
        if layers and yours == right - 1:
            return f"For {layers} you return {yours}: count the pixels from the first tap to the last, both included."
        # The typical mistake: the step grows by a layer's own stride before its taps are placed.
        early, step = 1, 1
        for kernel, stride, dilation in layers:
            step *= stride
            early += dilation * (kernel - 1) * step
        if yours == early:
            return f"For {layers} you return {yours}: a layer's own stride does not move its own taps apart."
        return f"For {layers} the receptive field is not {yours}; sum up what each layer adds."
    return None


def _local_dynamic(answer: Callable) -> str | None:
    import torch
    import torch.nn.functional as F

    generator = seeded(0)
    for batch, kernels, out, channels, k, height, width in (
        (2, 4, 6, 3, 3, 5, 7),
        (1, 2, 3, 4, 1, 4, 4),
        (3, 3, 2, 2, 5, 6, 9),
    ):
        x = torch.randn(batch, channels, height, width, generator=generator)
        weight = torch.randn(kernels, out, channels, k, k, generator=generator)
        a = torch.randn(batch, kernels, height, width, generator=generator).softmax(1)
        maps = torch.stack([F.conv2d(x, kernel, padding=k // 2) for kernel in weight], 1)
        right = (a[:, :, None] * maps).sum(1)
        yours = answer(x, weight, a)
        where = f"B = {batch}, K = {kernels}, k = {k}, maps of {height} × {width}"
        if yours.shape != right.shape:
            return f"For {where} the result has shape {list(yours.shape)} instead of {list(right.shape)}."
        if torch.allclose(yours, right, atol=1e-4):
            continue
        mean = (a.mean((2, 3))[:, :, None, None, None] * maps).sum(1)
        if torch.allclose(yours, mean, atol=1e-4):
            return "You average the attention over the image: every position gets the same kernel."
        scattered = sum(F.conv2d(a[:, i : i + 1] * x, weight[i], padding=k // 2) for i in range(kernels))
        if torch.allclose(yours, scattered, atol=1e-4):
            return (
                "You weight the input, so each tap is weighted by its own position. Weight the outputs of the kernels."
            )
        return f"For {where} the shape is right and the values are not: mix the K maps, position by position."
    return None


CHECKS = {"13.3": _mean_iou, "13.4": _receptive_field, "13.5": _local_dynamic}
