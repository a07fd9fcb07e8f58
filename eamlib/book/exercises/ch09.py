"""Exercises of chapter 09."""

from __future__ import annotations

from collections.abc import Callable

from eamlib.book.exercises._questions import Drawn, choice, number
from eamlib.book.exercises._watch import Calls


def _attentions(C: int = 512, to: int = 512, K: int = 4, p: int = 5, h: int = 10) -> list[dict]:
    kernels = K * C * to
    usual = C * (C // 4) + (C // 4) * K + K
    eam = 4 * p * p * h + h * K + K
    return [
        number(
            "How many parameters are in its kernels?",
            kernels,
            "K kernels of C · O · 1 · 1 weights.",
            right=f"{K} · {C} · {to}.",
            mistakes={C * to: f"That is one kernel; there are K = {K}."},
        ),
        number(
            "And in its attention, if it is the usual one?",
            usual,
            "C · C/4 without biases, then C/4 · K and K biases.",
            right=f"{C} · {C // 4} + {C // 4} · {K} + {K}.",
            mistakes={
                usual + C // 4: "The first linear layer has no bias.",
                usual - K: "The second linear layer has a bias.",
            },
        ),
        number(
            f"And if it is EAM's, with n = 4, p = {p} and h = {h}?",
            eam,
            f"n · p² numbers go into {h} units, and {h} units into K, with K biases.",
            right=f"{4 * p * p} · {h} + {h} · {K} + {K}, whatever C is.",
            mistakes={
                4 * p * h + h * K + K: "A map of p × p has p² numbers.",
                eam + h: "The first linear layer has no bias.",
            },
        ),
    ]


QUIZZES = {
    "9.1": [
        choice(
            "For which setting is EAM's descriptor exactly that of the usual attention?",
            ("n = C and p = 1", "Every channel is kept, and each is averaged to one number."),
            {
                "n = 4 and p = 1": "Four channels cannot be all C of them.",
                "n = C and p = 5": "The usual attention keeps one number a channel.",
                "Never": "Keep all the channels, and pool as coarsely as you can.",
            },
        ),
        choice(
            "Two images are mirror images of each other, and so are their maps. Which attention is sure to be the "
            "same for both?",
            (
                "The usual one",
                "Mirroring moves the pixels of a channel and keeps their mean: the descriptor is the same.",
            ),
            {
                "EAM with CGR": "A mean over channels keeps the layout, and the 5 × 5 pool keeps it coarsely.",
                "EAM with RCR": "Its descriptor holds left and right apart.",
                "None of them": "What does a global mean do when pixels change places?",
            },
        ),
        choice(
            "One pixel of one channel changes. Which attention may not notice it, however large the change?",
            ("EAM with RCR", "If the channel was not drawn, nothing of it is read."),
            {
                "EAM with CGR": "Each channel is part of a group's mean.",
                "The usual one": "The pixel is part of its channel's mean.",
            },
        ),
    ],
    "9.2": _attentions(),
}

# What each student of a class is asked instead.
DRAWN = {
    "9.2": Drawn(
        _attentions,
        "C = {C} input channels, O = {to} output channels and K = {K} kernels.",
        {"C": (256, 384, 640), "to": (320, 448), "K": (3, 5, 6), "p": (3, 4), "h": (8, 12)},
    ),
}


def _group_reduce(answer: Callable) -> str | None:
    import torch

    from eamlib.layers import channel_selection

    counts = {}
    for channels, n in ((4, 2), (12, 3), (12, 4), (6, 1), (5, 5)):
        x = torch.randn(2, channels, 3, 4)
        for maximum in (False, True):
            mine = channel_selection("cgr-max" if maximum else "cgr", channels, n)(x)
            with Calls() as calls:
                yours = answer(x, n, maximum=maximum)
            counts[channels, n, maximum] = calls.count
            where = f"C = {channels}, n = {n}, maximum={maximum}"
            if yours.shape != mine.shape:
                return f"For {where} the result has shape {list(yours.shape)} instead of {list(mine.shape)}."
            strided = x.unflatten(1, (-1, n))
            if torch.allclose(yours, strided.amax(1) if maximum else strided.mean(1)) and not torch.allclose(
                yours, mine
            ):
                return f"For {where} your groups are every n-th channel; they should be neighbours."
            if not torch.allclose(yours, mine, atol=1e-6):
                return f"For {where} the shape is right and the values are not: which channels form group 0?"
    for maximum in (False, True):
        few, more = counts[12, 3, maximum], counts[12, 4, maximum]
        if few != more:
            return f"The numbers are right, but by a loop: {few} calls of PyTorch's for n = 3 and {more} for n = 4."
    return None


def _crossing_width(answer: Callable) -> str | None:
    for n, p, hidden, kernels in ((4, 5, 10, 4), (2, 5, 10, 4), (8, 7, 10, 4), (4, 3, 16, 8), (1, 1, 1, 1)):
        eam = n * p * p * hidden + hidden * kernels + kernels
        width = next(c for c in range(4, 10_000, 4) if c * (c // 4) + (c // 4) * kernels + kernels > eam)
        yours = answer(n, p, hidden, kernels)
        where = f"n = {n}, p = {p}, hidden = {hidden}, K = {kernels}"
        if yours % 4:
            return f"For {where} you return {yours}, which is no multiple of 4."
        if yours == width - 4:
            return f"For {where}: at the width that you return, EAM is not smaller yet."
        if yours != width:
            return f"For {where}: count both layers of both attentions, the biases of the second ones too."
    return None


def _most_varying(answer: Callable) -> str | None:
    import torch

    for batch, channels, n in ((16, 8, 3), (7, 12, 4), (5, 4, 4)):
        # Channel c varies between images by spread[c]; within an image it varies the other way round.
        spread = torch.randperm(channels).float() + 1
        between = torch.linspace(-1, 1, batch).view(-1, 1, 1, 1) * spread.view(1, -1, 1, 1)
        ripple = torch.tensor([1.0, -1.0]).repeat(8).view(1, 1, 4, 4) * (2 * channels / spread).view(1, -1, 1, 1)
        offset = torch.randn(1, channels, 1, 1) * 50
        expected = spread.topk(n).indices.tolist()
        yours = torch.as_tensor(answer(between + ripple + offset, n)).flatten().tolist()
        if yours == expected:
            continue
        if sorted(yours) == sorted(expected):
            return "The right channels, in another order: begin with the one that varies most."
        if sorted(yours) == sorted((between + offset).mean((0, 2, 3)).topk(n).indices.tolist()):
            return "Those have the largest means; how much does each mean change from image to image?"
        return "Take each image's global mean of a channel first; then compare the images, not the pixels."
    return None


def _grouped_r2(answer: Callable) -> str | None:
    import torch

    hints = (
        (lambda group: group, None),
        (
            lambda group: torch.zeros_like(group),
            "That is fitted to the images that it judges. Predict each group by a map fitted to the other groups.",
        ),
        (
            lambda group: torch.arange(len(group)) % 4,
            "Images of one group stand on both sides of your folds. Let `group` itself be the folds.",
        ),
    )
    for groups, features, channels in ((10, 3, 4), (7, 5, 2)):
        group = torch.arange(25 * groups).remainder(groups)[torch.randperm(25 * groups)]
        # What a group has of its own, which tells nothing of another group, and what holds in all of them.
        of_group = 2 * torch.randn(groups, features), 2 * torch.randn(groups, channels)
        reading = of_group[0][group] + torch.randn(len(group), features)
        descriptor = of_group[1][group] + reading @ torch.randn(features, channels)
        yours = torch.as_tensor(answer(reading, descriptor, group)).double()
        if yours.shape != (channels,):
            return f"One R² a channel, [C] = [{channels}]; yours has shape {list(yours.shape)}."
        hint = next(
            (
                hint
                for folds, hint in hints
                if torch.allclose(yours, _r2(reading.double(), descriptor.double(), folds(group)), rtol=0, atol=0.02)
            ),
            "Each group is predicted once, by the others; then all errors are added up, and R² is taken once.",
        )
        if hint:
            return hint
    return None


def _r2(reading, descriptor, fold, ridge: float = 0.01):
    """Each fold predicted by the others, [C]; a single fold is predicted by itself."""
    import torch

    errors = 0
    for k in fold.unique():
        judge = fold == k
        fit = ~judge if (~judge).any() else judge
        r = (reading - reading[fit].mean(0)) / reading[fit].std(0)
        d = descriptor - descriptor[fit].mean(0)
        gram = r[fit].T @ r[fit] / fit.sum() + ridge * torch.eye(r.shape[1])
        errors = errors + (d[judge] - r[judge] @ torch.linalg.solve(gram, r[fit].T @ d[fit] / fit.sum())).square().sum(
            0
        )
    return 1 - errors / (descriptor - descriptor.mean(0)).square().sum(0)


CHECKS = {"9.3": _group_reduce, "9.4": _crossing_width, "9.5": _most_varying, "9.6": _grouped_r2}
