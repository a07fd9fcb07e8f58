"""Exercises of chapter 09."""

from __future__ import annotations

from collections.abc import Callable

from eamlib.exercises._questions import choice, number

# Exercise 9.2: a pointwise dynamic convolution.
_C, _O, _K = 512, 512, 4
_KERNELS = _K * _C * _O
_USUAL = _C * (_C // 4) + (_C // 4) * _K + _K
_EAM = 4 * 25 * 10 + 10 * _K + _K

QUIZZES = {
    "09.1": [
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
    "09.2": [
        number(
            "How many parameters are in its kernels?",
            _KERNELS,
            "K kernels of C · O · 1 · 1 weights.",
            right="4 · 512 · 512.",
            mistakes={_C * _O: "That is one kernel; there are K = 4."},
        ),
        number(
            "And in its attention, if it is the usual one?",
            _USUAL,
            "C · C/4 without biases, then C/4 · K and K biases.",
            right="512 · 128 + 128 · 4 + 4.",
            mistakes={
                _USUAL + _C // 4: "The first linear layer has no bias.",
                _USUAL - _K: "The second linear layer has a bias.",
            },
        ),
        number(
            "And if it is EAM's, with n = 4, p = 5 and h = 10?",
            _EAM,
            "n · p² numbers go into 10 units, and 10 units into K, with K biases.",
            right="100 · 10 + 10 · 4 + 4, whatever C is.",
            mistakes={
                4 * 5 * 10 + 10 * _K + _K: "A map of p × p has p² numbers.",
                _EAM + 10: "The first linear layer has no bias.",
            },
        ),
    ],
}


def _group_reduce(answer: Callable) -> str | None:
    import torch

    from eamlib.layers import channel_selection

    for channels, n in ((4, 2), (12, 3), (12, 4), (6, 1), (5, 5)):
        x = torch.randn(2, channels, 3, 4)
        for maximum in (False, True):
            mine = channel_selection("cgr-max" if maximum else "cgr", channels, n)(x)
            yours = answer(x, n, maximum=maximum)
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


def _tells_most(answer: Callable) -> str | None:
    import torch

    for channels, n in ((3, 2), (4, 3), (5, 2)):
        # Families of noisy copies: the first has the most members, the last the largest variance.
        copies = [2 * (channels - source) for source in range(channels)]
        sources = torch.linalg.qr(torch.randn(400, channels + sum(copies)))[0]
        noise, columns, owner = sources[:, channels:], [], []
        for source, count in enumerate(copies):
            for _ in range(count):
                # The first of each family is the source itself, which tells most of the others.
                clean = owner.count(source) == 0
                column = sources[:, source] + (0 if clean else 0.6) * noise[:, len(columns)]
                columns.append(column * 3**source)
                owner.append(source)
        order = torch.randperm(len(columns))
        means = torch.stack(columns, 1)[:, order] + torch.randn(len(columns))
        owner = [owner[i] for i in order.tolist()]
        expected = _greedy(means, n)
        yours = torch.as_tensor(answer(means, n)).flatten().tolist()
        if yours == expected:
            continue
        if sorted(yours) == sorted(means.var(0).topk(n).indices.tolist()):
            return "Those vary most. Scaled by 100 a channel varies more and tells no more of the others."
        families = [owner[i] for i in yours if 0 <= i < len(owner)]
        if len(set(families)) < len(families):
            return "Two of yours tell the same. What does the second add, once the first is known?"
        if sorted(yours) == sorted(expected):
            return "The right channels, in another order: begin with the one that tells most."
        return "Judge a candidate by the mean R² of all channels, predicted from those chosen so far and this one."
    return None


def _greedy(means, n: int) -> list[int]:
    import torch

    scaled = (means - means.mean(0)).double()
    scaled = scaled / scaled.norm(dim=0)
    chosen: list[int] = []
    for _ in range(n):
        left = [c for c in range(scaled.shape[1]) if c not in chosen]
        errors = []
        for candidate in left:
            read = scaled[:, [*chosen, candidate]]
            errors.append((scaled - read @ torch.linalg.lstsq(read, scaled).solution).square().sum())
        chosen.append(left[int(torch.stack(errors).argmin())])
    return chosen


CHECKS = {"09.3": _group_reduce, "09.4": _crossing_width, "09.5": _most_varying, "09.6": _tells_most}
