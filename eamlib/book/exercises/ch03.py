"""Exercises of chapter 03."""

from __future__ import annotations

import math

from eamlib.book.exercises._questions import choice, number

# Exercise 3.2: an inverted residual, 32 channels of 28 × 28 to 64, t = 6, stride 2.
_C, _O, _T, _K2, _IN, _OUT = 32, 64, 6, 9, 28 * 28, 14 * 14
_WIDE = _T * _C
_EXPAND, _DEPTHWISE, _PROJECT = _C * _WIDE, _K2 * _WIDE, _WIDE * _O
_WEIGHTS = _EXPAND + _DEPTHWISE + _PROJECT
_NORMALISED = 2 * _WIDE + _O
_MACS = _IN * _EXPAND + _OUT * (_DEPTHWISE + _PROJECT)

# Exercise 3.6, in ms: 300 million MACs at 20 ps, 20 MB of maps at 200 ps a byte, 50 convolutions at 100 µs.
_MS_MACS, _MS_BYTES, _MS_CALLS = 6.0, 4.0, 5.0
_MS = _MS_MACS + _MS_BYTES + _MS_CALLS
_MS_HALF = _MS_MACS / 4 + _MS_BYTES / 2 + _MS_CALLS

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
    "3.2": [
        number(
            "Parameters, normalisation included?",
            _WEIGHTS + 2 * _NORMALISED,
            "Three layers without bias, each followed by a normalisation with two numbers a channel.",
            right="20,160 weights and 2 · (192 + 192 + 64) of normalisation.",
            mistakes={
                _WEIGHTS: "Batch normalisation learns two numbers a channel, a scale and a shift.",
                _WEIGHTS + _NORMALISED: "Batch normalisation learns two numbers a channel.",
                _WEIGHTS + 2 * 2 * _WIDE: "The projection has no activation, but it is normalised.",
                _WEIGHTS + 4 * _NORMALISED: "The running mean and variance are not learnt: they are buffers.",
                _WEIGHTS + 3 * _NORMALISED: "The convolutions have no bias: the normalisation would remove it.",
                _C * _O * _T + _K2 * _C + 2 * _NORMALISED: "The hidden width is t · C = 192, for all three layers.",
                _EXPAND + _K2 * _WIDE**2 + _PROJECT + 2 * _NORMALISED: "The 3 × 3 layer is depthwise: one kernel a "
                "channel.",
            },
        ),
        number(
            "Multiply-adds of its convolutions?",
            _MACS,
            "Each weight is used once per output position of its own layer. Which layer has the stride?",
            right="784 · 6,144 + 196 · (1,728 + 12,288).",
            mistakes={
                _OUT * _WEIGHTS: "The stride is the depthwise layer's: the expansion still sees 28 × 28 positions.",
                _IN * _WEIGHTS: "Stride 2: the depthwise layer and the projection see 14 × 14 positions only.",
                _IN * (_EXPAND + _DEPTHWISE) + _OUT * _PROJECT: "The depthwise layer computes 14 × 14 positions only.",
                _WEIGHTS: "These are the weights. Each is used once per output position.",
                2 * _MACS: "One multiply-add counts once here, not as two operations.",
            },
        ),
        number(
            "Bytes of its largest map, in float32 (4 bytes a number), for one image?",
            4 * _WIDE * _IN,
            "Which of the three layers has the most output channels at the most positions?",
            right="192 channels at 784 positions, 4 bytes each.",
            mistakes={
                _WIDE * _IN: "These are numbers; four bytes each.",
                4 * _WIDE * _OUT: "Before the stride the map is 28 × 28.",
                4 * _C * _IN: "This is the thin input. Inside, the block is t times as wide.",
                4 * _O * _OUT: "This is the thin output. Inside, the block is wider.",
            },
        ),
    ],
    "3.6": [
        number(
            "How many milliseconds does an image take?",
            _MS,
            "Add three products: MACs, bytes and convolutions, each times its price. A million ps is one µs.",
            right="6 for the MACs, 4 for the bytes, 5 for the convolutions.",
            mistakes={
                _MS_MACS + _MS_BYTES: "The 50 convolutions cost 100 µs each.",
                _MS_MACS + _MS_CALLS: "The 20 MB of maps cost 200 ps a byte.",
                _MS_MACS: "These are the MACs alone.",
                1e3 * _MS: "These are microseconds.",
            },
        ),
        number(
            "And at half the width?",
            _MS_HALF,
            "With half of the channels in and half of them out, what becomes of C · O, of the map, and of the number "
            "of layers?",
            right="A quarter of the MACs, half of the bytes, all of the convolutions: 1.5 + 2 + 5.",
            mistakes={
                _MS / 4: "Only the MACs are quartered: a map has half of its channels, and no layer is gone.",
                _MS / 2: "The three items do not shrink alike: MACs follow C · O, maps follow O, calls neither.",
                _MS_HALF - _MS_CALLS / 2: "Narrower layers are as many layers: the calls stay.",
                _MS_HALF + _MS_MACS / 4: "The input is half as wide, too: C · O falls to a quarter.",
                _MS_HALF + _MS_BYTES / 2: "The maps have half of their channels, so half of the bytes.",
                _MS_HALF - _MS_CALLS: "The calls still cost 5 ms.",
            },
        ),
        number(
            "How many times as fast can a smaller width make it, at most?",
            _MS / _MS_CALLS,
            "Let the width go to zero: which item of the price does not?",
            right="The 5 ms of the calls remain, and 15 / 5 = 3.",
            mistakes={
                4: "The MACs fall to a quarter at half the width, but not the time.",
                _MS_CALLS: "These are the milliseconds that remain.",
                _MS / (_MS_BYTES + _MS_CALLS): "The bytes shrink with the width, too.",
            },
        ),
    ],
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
