"""How many channels a layer has at a width multiplier."""

from __future__ import annotations

from eamlib._checks import positive_int


def scaled(channels: int, width_mult: float) -> int:
    """``channels · width_mult``, rounded down.

    Raises:
        ValueError: if that leaves the layer without a channel.
    """
    width = int(positive_int("channels", channels) * width_mult)
    if width < 1:
        raise ValueError(
            f"width_mult = {width_mult!r} leaves a layer of {channels} channels without any; "
            f"allowed is {1 / channels:g} or more."
        )
    return width


def multiple_of_eight(channels: int, width_mult: float = 1.0) -> int:
    """The multiple of 8 nearest to ``channels · width_mult``, at least 8 and never below 90 % of it.

    The rounding of MobileNetV2's and V3's authors. Raises as :func:`scaled` does.
    """
    scaled(channels, width_mult)
    rounded = max(8, int(channels * width_mult + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width_mult else rounded
