"""Exercises of chapter 03."""

from __future__ import annotations

import math

from eamlib.book.exercises._questions import Drawn, choice, number
from eamlib.book.exercises._watch import LIBRARY, without


def _inverted(C: int = 32, to: int = 64, t: int = 6, side: int = 28) -> list[dict]:
    # Stride 2.
    k2, positions, out = 9, side**2, (side // 2) ** 2
    wide = t * C
    expand, depthwise, project = C * wide, k2 * wide, wide * to
    weights = expand + depthwise + project
    normalised = 2 * wide + to
    macs = positions * expand + out * (depthwise + project)
    before, after = f"{side} × {side}", f"{side // 2} × {side // 2}"
    return [
        number(
            "Parameters, normalisation included?",
            weights + 2 * normalised,
            "Three layers without bias, each followed by a normalisation with two numbers a channel.",
            right=f"{weights:,} weights and 2 · ({wide} + {wide} + {to}) of normalisation.",
            mistakes={
                weights: "Batch normalisation learns two numbers a channel, a scale and a shift.",
                weights + normalised: "Batch normalisation learns two numbers a channel.",
                weights + 2 * 2 * wide: "The projection has no activation, but it is normalised.",
                weights + 4 * normalised: "The running mean and variance are not learnt: they are buffers.",
                weights + 3 * normalised: "The convolutions have no bias: the normalisation would remove it.",
                C * to * t + k2 * C + 2 * normalised: f"The hidden width is t · C = {wide}, for all three layers.",
                expand + k2 * wide**2 + project + 2 * normalised: "The 3 × 3 layer is depthwise: one kernel a channel.",
            },
        ),
        number(
            "Multiply-adds of its convolutions?",
            macs,
            "Each weight is used once per output position of its own layer. Which layer has the stride?",
            right=f"{positions} · {expand:,} + {out} · ({depthwise:,} + {project:,}).",
            mistakes={
                out * weights: f"The stride is the depthwise layer's: the expansion still sees {before} positions.",
                positions * weights: f"Stride 2: the depthwise layer and the projection see {after} positions only.",
                positions * (expand + depthwise)
                + out * project: f"The depthwise layer computes {after} positions only.",
                weights: "These are the weights. Each is used once per output position.",
                2 * macs: "One multiply-add counts once here, not as two operations.",
            },
        ),
        number(
            "Bytes of its largest map, in float32 (4 bytes a number), for one image?",
            4 * wide * positions,
            "Which of the three layers has the most output channels at the most positions?",
            right=f"{wide} channels at {positions} positions, 4 bytes each.",
            mistakes={
                wide * positions: "These are numbers; four bytes each.",
                4 * wide * out: f"Before the stride the map is {before}.",
                4 * C * positions: "This is the thin input. Inside, the block is t times as wide.",
                4 * to * out: "This is the thin output. Inside, the block is wider.",
            },
        ),
    ]


def _price(macs: int = 300, megabytes: int = 20, convolutions: int = 50) -> list[dict]:
    # In ms: a MAC at 20 ps, a byte of the maps at 200 ps, a convolution at 100 µs.
    ms_macs, ms_bytes, ms_calls = macs / 50, megabytes / 5, convolutions / 10
    ms = ms_macs + ms_bytes + ms_calls
    half = ms_macs / 4 + ms_bytes / 2 + ms_calls
    return [
        number(
            "How many milliseconds does an image take?",
            ms,
            "Add three products: MACs, bytes and convolutions, each times its price. A million ps is one µs.",
            right=f"{ms_macs:g} for the MACs, {ms_bytes:g} for the bytes, {ms_calls:g} for the convolutions.",
            mistakes={
                ms_macs + ms_bytes: f"The {convolutions} convolutions cost 100 µs each.",
                ms_macs + ms_calls: f"The {megabytes} MB of maps cost 200 ps a byte.",
                ms_macs: "These are the MACs alone.",
                1e3 * ms: "These are microseconds.",
            },
        ),
        number(
            "And at half the width?",
            half,
            "With half of the channels in and half of them out, what becomes of C · O, of the map, and of the number "
            "of layers?",
            right="A quarter of the MACs, half of the bytes, all of the convolutions: "
            f"{ms_macs / 4:g} + {ms_bytes / 2:g} + {ms_calls:g}.",
            mistakes={
                ms / 4: "Only the MACs are quartered: a map has half of its channels, and no layer is gone.",
                ms / 2: "The three items do not shrink alike: MACs follow C · O, maps follow O, calls neither.",
                half - ms_calls / 2: "Narrower layers are as many layers: the calls stay.",
                half + ms_macs / 4: "The input is half as wide, too: C · O falls to a quarter.",
                half + ms_bytes / 2: "The maps have half of their channels, so half of the bytes.",
                half - ms_calls: f"The calls still cost {ms_calls:g} ms.",
            },
        ),
        number(
            "How many times as fast can a smaller width make it, at most?",
            ms / ms_calls,
            "Let the width go to zero: which item of the price does not?",
            right=f"The {ms_calls:g} ms of the calls remain, and {ms:g} / {ms_calls:g} = {ms / ms_calls:g}.",
            mistakes={
                4: "The MACs fall to a quarter at half the width, but not the time.",
                ms_calls: "These are the milliseconds that remain.",
                ms / (ms_bytes + ms_calls): "The bytes shrink with the width, too.",
            },
        ),
    ]


QUIZZES = {
    "3.1": [
        choice(
            "With C and M fixed, which is the traffic A as a function of the number of groups g?",
            (
                "HW · C + g · M / C + M / HW",
                "O = g · M / (HW · C), so the output map grows with g; the weights, C · O / g, stay the same.",
            ),
            {
                "HW · C + M / C + M / HW": "How many output channels do g groups buy for the same M? "
                "Solve M = HW · C · O / g for O.",
                "HW · C + M / (g · C) + M / HW": "Solve M = HW · C · O / g for O: does O grow or shrink with g?",
                "HW · C + g · M / C + g · M / HW": "The output map is right. The weights are C · O / g: put O in.",
            },
        ),
        number(
            "A point of 3 coordinates goes through 4 random features and a ReLU. In how many of the 16 equally likely "
            "sign patterns can it be recovered?",
            sum(math.comb(4, i) for i in (3, 4)),
            "Three unknowns want at least three equations: count the patterns with that many positive signs.",
            right="4 patterns with three positive signs and 1 with four.",
            mistakes={
                4: "These have exactly three positive signs. More do no harm.",
                1: "All four need not be positive: three unknowns want three equations.",
                11: "This is the number of patterns in which it is lost, or two equations were taken for enough.",
                15: "One surviving equation is not enough for three unknowns.",
            },
        ),
    ],
    "3.2": _inverted(),
    "3.6": _price(),
}

# What each student of a class is asked instead.
DRAWN = {
    "3.2": Drawn(
        _inverted,
        "An inverted residual takes {C} channels to {to}, with t = {t} and stride 2, on a {side} × {side} input.",
        {"C": (24, 40, 48), "to": (56, 80, 96), "t": (3, 4, 5), "side": (20, 36, 40)},
    ),
    "3.6": Drawn(
        _price,
        "A network has {macs} million MACs, {megabytes} MB of maps and {convolutions} convolutions; the prices "
        "are those above.",
        {"macs": (250, 350, 450), "megabytes": (10, 20, 40), "convolutions": (20, 40, 80)},
    ),
}


def _right_macs(c_in: int, c_out: int, size: int, stride: int, t: int, kernel_size: int) -> tuple[int, int, int]:
    hidden, after = t * c_in, -(-size // stride)
    expand = c_in * hidden * size**2 if t > 1 else 0
    return expand, kernel_size**2 * hidden * after**2, hidden * c_out * after**2


def _inverted_residual_macs(count) -> str | None:
    for case in [
        (3, 2, 4, 1, 3, 3),
        (8, 12, 10, 2, 6, 3),
        (5, 7, 9, 2, 4, 3),
        (16, 24, 7, 1, 3, 5),
        (6, 10, 8, 2, 1, 3),
    ]:
        c_in, c_out, size, stride, t, k = case
        got = float(count(c_in, c_out, size, stride, t, k))
        expand, depthwise, project = _right_macs(*case)
        right = expand + depthwise + project
        if abs(got - right) < 0.5:
            continue
        where = f"c_in={c_in}, c_out={c_out}, size={size}, stride={stride}, t={t}, kernel_size={k}"
        after, hidden = -(-size // stride), t * c_in
        wrong = {
            2 * right: "One multiply-add counts once here, not as two operations.",
            right - depthwise: "The depthwise layer is missing.",
            right - project: "The projection is missing.",
            expand + k * hidden * after**2 + project: "A kernel has k · k positions, not k.",
            expand + depthwise * hidden + project: "The middle layer is depthwise: every output reads one channel.",
        }
        if t > 1:
            wrong[right - expand] = "The expansion is missing."
        if t == 1:
            wrong[right + c_in**2 * size**2] = "With t = 1 there is no expansion: leave its price out."
        if stride > 1:
            wrong[expand * after**2 / size**2 + depthwise + project] = (
                "The stride is the depthwise layer's: the expansion comes before it and pays for every input position."
            )
            wrong[expand + (depthwise + project) * size**2 / after**2] = (
                "After the stride the map is smaller: the depthwise layer and the projection pay for less."
            )
            down = size // stride
            wrong[expand + (depthwise + project) * down**2 / after**2] = (
                f"A side of {size} at stride {stride} leaves {after}, not {down}: round up."
            )
            wrong[expand + (depthwise + project) * (size / stride) ** 2 / after**2] = (
                f"A side of {size} at stride {stride} leaves {after}: round up to a whole number."
            )
        for value, hint in wrong.items():
            if abs(got - value) < 0.5 and abs(value - right) > 0.5:
                return hint
        return f"With {where} it gives {got:.10g}. Count the three layers one by one, each at its own positions."
    return None


@without(LIBRARY, r"channel_shuffle")
def _channel_shuffle(shuffle) -> str | None:
    import torch

    for shape, groups in [
        ((1, 6, 1, 1), 2),
        ((2, 6, 3, 5), 3),
        ((1, 12, 2, 2), 3),
        ((3, 8, 5, 1), 1),
        ((2, 10, 1, 3), 2),
    ]:
        x = torch.arange(math.prod(shape)).reshape(shape)
        y = shuffle(x, groups)
        if not isinstance(y, torch.Tensor):
            return f"A tensor is expected; yours is a {type(y).__name__}."
        if y.shape != x.shape:
            return f"The shape must stay {list(shape)}; yours is {list(y.shape)}."
        run = shape[1] // groups
        right = [c for i in range(run) for c in range(i, shape[1], run)]
        if torch.equal(y, x[:, right]):
            continue
        if groups > 1 and torch.equal(y, x):
            return "Nothing has moved: between the two reshapes, exchange the two axes."
        back = [c for i in range(groups) for c in range(i, shape[1], groups)]
        if torch.equal(y, x[:, back]):
            return (
                f"With {shape[1]} channels and groups={groups} this takes runs of {groups}. There are {groups} runs "
                f"of {run}: the first axis of the reshape is the groups. (Yours is the inverse.)"
            )
        order = sorted(map(tuple, y.flatten(2).transpose(0, 1).reshape(shape[1], -1).tolist()))
        if order != sorted(map(tuple, x.flatten(2).transpose(0, 1).reshape(shape[1], -1).tolist())):
            return "Whole channels move and stay as they are: reshape axis 1 alone."
        return f"The channels are permuted, but not right: for groups={groups} the first outputs are {right[:groups]}."
    return None


def _survives(n: int, d: int) -> float:
    return 1 - sum(math.comb(n, i) for i in range(d)) / 2**n


def _block_macs(t: int, channels: int) -> int:
    """Of a block of stride 1 on a 14 × 14 map; with t = 1 without expansion."""
    return sum(_right_macs(channels, channels, 14, 1, t, 3))


def _choice(answer) -> str | None:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return "A pair is expected: (t, C)."
    t, channels = answer
    expansions = (1, 2, 3, 4, 6)
    if t not in expansions and channels in expansions:
        return "The pair is (t, C), in this order."
    if t not in expansions:
        return f"t is one of {', '.join(map(str, expansions))}; yours is {t}."
    if channels != int(channels) or channels < 8 or channels % 8:
        return f"C is a multiple of 8; yours is {channels}."
    channels = int(channels)
    if (macs := _block_macs(t, channels)) > 8e6:
        return f"A block of ({t}, {channels}) costs {macs:,} multiply-adds: too many."
    if _survives(t * channels, channels) < 0.99:
        return f"{t * channels} features are too few for {channels} coordinates: too many points would be lost."
    best = max(
        c for t in expansions for c in range(8, 400, 8) if _block_macs(t, c) <= 8e6 and _survives(t * c, c) >= 0.99
    )
    return None if channels == best else "Both limits hold, but another pair allows a wider thin map."


CHECKS = {
    "3.3": _inverted_residual_macs,
    "3.4": _channel_shuffle,
    "3.5": _choice,
}
