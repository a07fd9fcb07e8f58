"""Exercises of chapter 08."""

from __future__ import annotations

from collections.abc import Callable

from eamlib.book.exercises._questions import Drawn, choice, number
from eamlib.book.exercises._watch import Largest, seeded


def _sizes(C: int = 512, side: int = 14, images: int = 10_000) -> list[dict]:
    samples, pairs = images * side * side, C * (C - 1) // 2
    return [
        number(
            "How many pairs of channels does the layer have?",
            pairs,
            "Each of C channels with each of the C − 1 others; and a pair is counted once.",
            right=f"{C} · {C - 1} / 2.",
            mistakes={
                C * C: "A channel makes no pair with itself, and r(u, v) is r(v, u).",
                C * (C - 1): "Each pair is in there twice.",
            },
        ),
        number(
            "How many bytes do all values of the layer take in float32, all images together?",
            4 * samples * C,
            "Images · positions · channels, 4 bytes each.",
            right=f"{images:,} · {side * side} · {C} · 4: {4 * samples * C / 1e9:.1f} gigabytes.",
            mistakes={
                samples * C: "That is how many values; a float32 has 4 bytes.",
                4 * images * C: f"Each map has {side} · {side} positions.",
            },
        ),
        number(
            "How many bytes does the scatter take, a C × C matrix in float64?",
            8 * C * C,
            "C² numbers of 8 bytes.",
            right=f"{8 * C * C / 2**20:g} MiB, and the same for a million images.",
            mistakes={4 * C * C: "A float64 has 8 bytes.", 8 * pairs: "The matrix is square, with its diagonal."},
        ),
    ]


QUIZZES = {
    "8.1": [
        choice(
            "Which step bounds the rank of the outputs' covariance W Σ Wᵀ by C?",
            (
                "The rank of a product is at most that of any of its factors, and Σ is C × C.",
                "Whatever W is, and before any training.",
            ),
            {
                "W Σ Wᵀ is symmetric.": "So is the identity, whose rank is full.",
                "W Σ Wᵀ has O rows.": "That bounds the rank by O, which is the larger of the two.",
                "Its eigenvalues are not negative.": "True, and it does not say how many of them are zero.",
            },
        ),
        choice(
            "Two inputs, independent and of variance 1. For which W is there an output that the others do not predict?",
            (
                "Rows (1, 0), (0, 1), (0, 1)",
                "The only dependence is y₂ = y₃; the first output has no part in it.",
            ),
            {
                "Rows (1, 0), (0, 1), (1, 1)": "y₃ = y₁ + y₂ can be solved for each of the three.",
                "Rows (1, 2), (2, 4), (3, 6)": "All three are multiples of one number.",
                "None: three outputs of two inputs always predict each other": "The rank is at most 2. Does every "
                "output take part in a dependence?",
            },
        ),
        choice(
            "After the convolution a batch norm (in eval mode) follows, then a ReLU. Which of them can raise the rank?",
            ("Only the ReLU", "It is not linear; the norm scales and shifts each channel by itself."),
            {
                "Only the norm": "It multiplies by an invertible diagonal matrix; a shift changes no covariance.",
                "Both": "One of them is affine, a channel at a time.",
                "Neither": "max(0, x₁ + x₂) is no linear function of max(0, x₁) and max(0, x₂).",
            },
        ),
    ],
    "8.2": _sizes(),
}

# What each student of a class is asked instead.
DRAWN = {
    "8.2": Drawn(
        _sizes,
        "A layer has C = {C} channels on maps of {side} × {side}, and you measure over {images:,} images.",
        {"C": (128, 256, 384), "side": (7, 20, 28), "images": (5_000, 20_000)},
    ),
}


def _streamed_correlation(answer: Callable) -> str | None:
    import torch

    for channels, sizes in ((3, (4, 4, 4)), (4, (1, 9, 2, 1)), (2, (50, 3)), (6, (20,)), (2, 20 * (3,))):
        for offset in (0, 1e4):
            mix = torch.eye(channels) + 0.5 * torch.ones(channels, channels).triu()
            batches = []
            for i, size in enumerate(sizes):  # the batches' own means differ, so that they must be merged, too
                batches.append(torch.randn(size, channels) @ mix + offset + 2 * i * torch.arange(channels))
            right = torch.corrcoef(torch.cat(batches).double().T)
            parts = torch.stack([torch.cov(b.double().T, correction=0) for b in batches])
            within = (parts * torch.tensor(sizes)[:, None, None]).sum(0)
            with Largest() as largest:
                yours = torch.as_tensor(answer(iter(batches))).double()
            where = f"For C = {channels}, batches of {', '.join(map(str, sizes))}"
            if yours.shape != right.shape:
                return f"{where} the result has shape {list(yours.shape)} instead of {list(right.shape)}."
            if torch.allclose(yours, right, atol=1e-4):
                if len(sizes) > 9 and largest.numbers >= channels * sum(sizes):
                    return f"{where} you hold {largest.numbers} numbers, as many as all batches: keep none of them."
                continue
            if not offset:
                spread = within.diagonal().sqrt()
                if torch.allclose(yours, within / torch.outer(spread, spread), atol=1e-4):
                    return f"{where}: you add up each batch's own scatter. Their means differ: where does δ come in?"
                return f"{where} the values are not those of all samples together; do all samples count alike?"
            return f"{where} and means near {offset:g} digits are lost: is something large subtracted, in float32?"
    return None


def _effective_rank(answer: Callable) -> str | None:
    import torch

    from eamlib.redundancy import ChannelStatistics

    for shape in ((2, 3, 4, 5), (5, 6, 2, 2), (3, 4, 6, 1)):
        maps = torch.randn(shape)
        maps[:, 0] = 3 * maps[:, 1] + 0.1 * maps[:, 0]
        maps = maps + 5 * torch.arange(shape[1]).view(1, -1, 1, 1)  # the mean must not count
        if shape[1] == 4:
            maps[:, 3] = 1.0  # a dead channel
        statistics = ChannelStatistics(shape[1])
        statistics.update(maps)
        right = statistics.effective_rank()
        yours = float(answer(maps))
        where = f"For maps {list(shape)}" + (" with a dead channel" if shape[1] == 4 else "")
        if yours != yours:
            return f"{where} the result is NaN: 0 · ln 0 counts as 0."
        if abs(yours - right) < 1e-3:
            continue
        variances = statistics.spectrum()
        shares = variances / variances.sum()
        if abs(yours - torch.special.entr(shares).sum().exp().item()) < 1e-3:
            return f"{where} you use variances; the definition takes singular values, their roots."
        samples = maps.movedim(1, -1).flatten(0, -2).double()
        values = torch.linalg.svdvals(samples)
        if abs(yours - torch.special.entr(values / values.sum()).sum().exp().item()) < 1e-3:
            return f"{where}: centre the samples first, or the means count as a direction."
        if abs(yours - torch.special.entr((values := variances.sqrt()) / values.sum()).sum().item()) < 1e-3:
            return f"{where} that is the entropy; the rank is e to its power."
        return f"{where} you return {yours:.3f} instead of {right:.3f}. Is every pixel a row, every channel a column?"
    return None


def _explained(correlation, chosen) -> float:
    """The mean R² of all channels from the chosen ones."""
    import torch

    rows = correlation[chosen].double()
    inverse = torch.linalg.pinv(rows[:, chosen], hermitian=True)
    return (rows * (inverse @ rows)).sum(0).mean().item()


def _best_readers(answer: Callable) -> str | None:
    import torch

    for channels, n, seed in ((6, 2, 0), (9, 3, 1), (12, 4, 2), (5, 1, 3)):
        # Families of near-copies of different sizes: the best channels one by one are all of the largest family.
        draw = seeded(seed)
        family = torch.tensor([0] * (channels // 2) + list(range(1, channels - channels // 2 + 1))) % (n + 1)
        base = torch.randn(400, n + 1, generator=draw)
        samples = base[:, family] + 0.3 * torch.randn(400, channels, generator=draw)
        correlation = torch.corrcoef(samples.T.double())
        greedy: list[int] = []
        for _ in range(n):
            rest = [c for c in range(channels) if c not in greedy]
            greedy.append(max(rest, key=lambda c: _explained(correlation, [*greedy, c])))
        yours = [int(i) for i in answer(correlation.clone(), n)]
        where = f"For C = {channels}, n = {n}"
        if len(yours) != n or len(set(yours)) != n:
            return f"{where} you return {yours}: {n} different indices are wanted."
        if yours == greedy or _explained(correlation, yours) >= _explained(correlation, greedy) - 1e-9:
            continue
        alone = sorted(range(channels), key=lambda c: -_explained(correlation, [c]))[:n]
        if sorted(yours) == sorted(alone):
            return (
                f"{where} each of yours is good by itself, and they repeat each other: what does a choice leave over?"
            )
        if yours[0] != greedy[0]:
            return f"{where} the first should be channel {greedy[0]}: it has the largest mean r² with all channels."
        return (
            f"{where} yours explain {_explained(correlation, yours):.3f} on average, the greedy choice "
            f"{_explained(correlation, greedy):.3f}. Judge each candidate together with those chosen before."
        )
    return None


CHECKS = {"8.3": _streamed_correlation, "8.4": _effective_rank, "8.5": _best_readers}
