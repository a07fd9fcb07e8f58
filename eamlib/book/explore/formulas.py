"""What a convolution costs, by formulas that Python and the page's script evaluate alike.

Parameters and MACs are those of :func:`eamlib.cost` of the layer, without biases: fvcore's rules, by which pooling
counts one per value read and a softmax nothing. Bytes are the least that must move: weights, input and output once
each, in float32; the two layers of the depthwise separable pair each move their own.
"""

from __future__ import annotations

from typing import Any

from eamlib.book.explore.controls import Number
from eamlib.book.explore.explorer import Explorer

# What EAM reads: n maps of p × p, and the width of its hidden layer. Ding et al. 2021's defaults.
CONSTANTS = {"n": 4, "p": 5, "h": 10}

_KERNEL = "k**2 * (C // g) * O"
_SQUEEZED = "max(1, C // 4)"  # the hidden width of Ding's attention
_GROUPS = (
    ("C % g", "g = {g} groups do not divide the {C} input channels."),
    ("O % g", "g = {g} groups do not divide the {O} output channels."),
)


def _row(
    name: str, about: str, parameters: str, macs: str, maps: str = "C * H * W + O * H * W", needs=_GROUPS
) -> dict[str, Any]:
    """A row of the table: ``needs`` must come to 0, or their messages stand instead of numbers."""
    return {
        "name": name,
        "about": about,
        "needs": [("(k + 1) % 2", "k = {k} is even; only odd kernels keep the size."), *needs],
        "formulas": {
            "parameters": parameters,
            "macs": macs,
            "bytes": f"4 * (parameters + {maps})",
            "intensity": "macs / bytes",
        },
    }


ROWS = (
    _row("standard", "one kernel", _KERNEL, f"{_KERNEL} * H * W"),
    _row(
        "depthwise separable",
        "k × k per channel, then 1 × 1; g is not read",
        "k**2 * C + C * O",
        "(k**2 * C + C * O) * H * W",
        "(C + C) * H * W + (C + O) * H * W",
        needs=(),
    ),
    _row(
        "DyNet (Ding)",
        "K kernels; the attention reads the mean of every channel",
        f"K * {_KERNEL} + C * {_SQUEEZED} + {_SQUEEZED} * K + K",
        f"{_KERNEL} * H * W + K * {_KERNEL} + C * H * W + C * {_SQUEEZED} + {_SQUEEZED} * K",
    ),
    _row(
        "DyNet (Zhang)",
        "g_t kernels per output channel, each with its coefficient",
        f"g_t * {_KERNEL} + C * O * g_t + O * g_t",
        f"{_KERNEL} * H * W + g_t * {_KERNEL} + C * H * W + C * O * g_t",
    ),
    _row(
        "EAM",
        "K kernels; the attention reads n = 4 channels, 5 × 5 pixels of each",
        f"K * {_KERNEL} + n * p**2 * h + h * K + K",
        f"{_KERNEL} * H * W + K * {_KERNEL} + n * H * W + n * p**2 * h + h * K",
        needs=(*_GROUPS, ("max(0, n - C)", "EAM reads {n} channels, and the input has {C}.")),
    ),
)


# The sizes at which a slider stops: those of real networks.
_CHANNELS = tuple(sorted({part << n for part in (1, 3) for n in range(13) if part << n <= 4096}))
_SIDES = tuple(sorted({part << n for part in (1, 7) for n in range(11) if part << n <= 1024}))
_ODD = tuple(range(1, 16, 2))
_KERNELS = tuple(size for size in _CHANNELS if size <= 64)


def _layer(channels: int, out: int, kernel_size: int, side: int, groups: int = 1) -> dict[str, int]:
    return {"C": channels, "O": out, "k": kernel_size, "g": groups, "H": side, "W": side}


# For images of 224 × 224 pixels; H and W are those of the output. A test compares them with the networks.
PRESETS = {
    "ResNet18, 3 × 3 of stage 2": _layer(128, 128, 3, 28),
    "ResNet18, 3 × 3 of stage 4": _layer(512, 512, 3, 7),
    "ResNet50, pointwise of stage 1": _layer(64, 256, 1, 56),
    "MobileNetV1, first pointwise": _layer(32, 64, 1, 112),
    "MobileNetV1, last pointwise": _layer(1024, 1024, 1, 7),
    "MobileNetV1, last depthwise": _layer(1024, 1024, 3, 7, groups=1024),
    "ConvNeXt-T, first depthwise 7 × 7": _layer(96, 96, 7, 56, groups=96),
}


def cost() -> Explorer:
    """Choose a real layer or your own sizes; see what five kinds of convolution cost: bars on a logarithmic scale of
    parameters, MACs, bytes and arithmetic intensity, and the exact numbers.

    Stride 1, the size kept, no biases in the convolutions. Parameters and MACs are those of :func:`eamlib.cost`; bytes
    are the least that must move, in float32: weights, input and output once each.

    Example:
        >>> explorer = cost()
        >>> standard = explorer.data(C=64, O=128, k=3, H=14, W=14)["rows"][0]
        >>> standard["parameters"] == 128 * 64 * 3 * 3, standard["macs"] == 128 * 64 * 3 * 3 * 14 * 14
        (True, True)
    """
    return Explorer(
        name="cost",
        title="What a convolution costs",
        controls=(
            Number("C", "C, input channels", 128, _CHANNELS),
            Number("O", "O, output channels", 128, _CHANNELS),
            Number("k", "k, kernel size", 3, _ODD, most=15),
            Number("g", "g, groups", 1, _CHANNELS),
            Number("H", "H, rows", 28, _SIDES, most=1024),
            Number("W", "W, columns", 28, _SIDES, most=1024),
            Number("K", "K, kernels mixed", 4, _KERNELS, most=64),
            Number("g_t", "g_t, kernels per channel (Zhang)", 6, _KERNELS, most=64),
        ),
        parts={"rows": rows},
        fixed={"rows": ROWS, "constants": CONSTANTS},
        presets=PRESETS,
    )


def rows(C: int, O: int, k: int, g: int, K: int, g_t: int, H: int, W: int) -> list[dict[str, Any]]:  # noqa: E741
    """What each row comes to, or a message why it comes to nothing."""
    sizes = {"C": C, "O": O, "k": k, "g": g, "K": K, "g_t": g_t, "H": H, "W": W, **CONSTANTS}
    return [_evaluated(row, sizes) for row in ROWS]


def _evaluated(row: dict[str, Any], sizes: dict[str, int]) -> dict[str, Any]:
    for formula, message in row["needs"]:
        if _value(formula, sizes) != 0:
            return {"message": message.format(**sizes)}
    found: dict[str, Any] = {}
    for quantity, formula in row["formulas"].items():
        found[quantity] = _value(formula, sizes | found)
    return found


def _value(formula: str, sizes: dict[str, float]) -> float:
    """What one of the formulas above comes to. ``explorers.js`` evaluates the same text."""
    return eval(formula, {"__builtins__": {}, "max": max}, sizes)
