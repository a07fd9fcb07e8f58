"""How Dy-shuffle may be built, where the DyNet paper leaves it open: every :class:`Reading` against the printed cuts.

Zhang et al. 2020, https://arxiv.org/abs/2004.10694. Counts are multiply-adds at 3 × 224 × 224.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import torch

from eamlib._checks import one_of, positive_int
from eamlib.analysis.cost import cost
from eamlib.models import create_model
from eamlib.models.shufflenet_v2 import BLOCKS, STEM, stage_widths
from eamlib.papers.dynet import CUT_ROWS, Cut

__all__ = ["READINGS", "Reading", "ReadingRow", "reading_table"]

_KERNELS = 6  # of each output channel, the paper's g_t
_READ = {"middle": ("input", "half", "quarter"), "made": ("half", "quarter", "rest"), "predictor": ("branch", "unit")}


@dataclass(frozen=True)
class Reading:
    """One way to build Dy-shuffle, where the paper leaves it open; without an argument it is the library's.

    Attributes:
        middle: how many channels the right branch's first 1 × 1 makes at stride 2: as many as it reads ("input"), or
            "half" or a "quarter" of what the unit makes.
        made: how many that branch's last 1 × 1 makes: "half" or a "quarter" of what the unit makes, or the "rest" if
            the left branch keeps its input's width, as in the release of ShuffleNetV2's authors
            (https://github.com/megvii-model/ShuffleNet-Series).
        multiple: what the channels between the two 1 × 1 of every unit are rounded up to: 1, or Dy-mobile's 6.
        predictor: what the coefficients are predicted from: the input of the right "branch", or of the "unit".

    Raises:
        ValueError: if one of them is unknown.

    Example:
        >>> convolutions, everything = Reading().count()
        >>> convolutions == eamlib.cost(eamlib.create_model("dy_shuffle")).multiply_adds["convolution"]
        True
        >>> f"{Reading(middle='half').count()[0] / convolutions - 1:.1%}"  # as in ShuffleNetV2
        '5.0%'
    """

    middle: str = "input"
    made: str = "half"
    multiple: int = 1
    predictor: str = "branch"

    def __post_init__(self):
        for name, allowed in _READ.items():
            one_of(name, getattr(self, name), allowed)
        positive_int("multiple", self.multiple)

    def count(self, width_mult: float = 1.0) -> tuple[int, int]:
        """Multiply-adds without the classifier: of the convolutions, and with predictors and mixing.

        Raises:
            ValueError: if ShuffleNetV2 has no such width.
        """
        *stages, last = stage_widths(width_mult)
        channels, side = STEM, 56
        convolutions, overhead = 27 * STEM * 112**2, 0
        for out, blocks in zip(stages, BLOCKS, strict=True):
            widths = {"input": channels, "half": out // 2, "quarter": out // 4, "rest": out - channels}
            side //= 2
            convolutions += channels * (9 + out - widths[self.made]) * side**2  # the left branch at stride 2
            # How many units, the channels of their input, and what their right branch reads, keeps and makes; at
            # stride 2 its first 1 × 1 has a map of four times the size.
            for units, input, (read, middle, made), larger in (
                (1, channels, (channels, widths[self.middle], widths[self.made]), 4),
                (blocks - 1, out, (widths["quarter"],) * 3, 1),
            ):
                middle = -(-middle // self.multiple) * self.multiple
                first, others = read * middle, middle * (9 + made)
                predicted_from = read if self.predictor == "branch" else input
                convolutions += units * (larger * first + others) * side**2
                overhead += units * _KERNELS * (first + others + predicted_from * (2 * middle + made))
            channels = out
        convolutions += channels * last * side**2
        return convolutions, convolutions + overhead


READINGS = tuple(Reading(*choices) for choices in product(_READ["middle"], _READ["made"], (1, 6), _READ["predictor"]))


@dataclass(frozen=True)
class ReadingRow:
    """A reading, counted in one way.

    Attributes:
        classifier: whether it is counted.
        cut: against ``cut.original``.
        wider: the convolutions' multiply-adds at ×1.5; without the classifier, as all of ``COUNT_ROWS``.

    Example:
        >>> from eamlib.papers.dynet import Cut
        >>> row = ReadingRow(Reading(), True, Cut(original=1000, convolutions=600, everything=640), wider=1100)
        >>> round(row.miss, 1)  # cuts of 40.0 and 36.0 %, printed are 40.0 and 37.0 %
        1.0
    """

    reading: Reading
    classifier: bool
    cut: Cut
    wider: int

    @property
    def miss(self) -> float:
        """How far the one of the two cuts that is farther off is from the printed one, in points."""
        printed = CUT_ROWS[0]
        return max(abs(self.cut.first - printed.first), abs(self.cut.second - printed.second))


@cache
def reading_table() -> tuple[ReadingRow, ...]:
    """Every reading with the classifier and without, over ShuffleNetV2's printed count and over ours of the same kind.
    The nearest to the printed cuts come first. Counted once a process.

    Example:
        >>> table = reading_table()
        >>> len(table), {row.reading.middle for row in table if row.miss < 0.5}
        (144, {'input'})
    """
    with torch.device("meta"):
        static = cost(create_model("shufflenet_v2")).multiply_adds
    rows = []
    for reading, classifier in product(READINGS, (True, False)):
        added = static["classifier"] if classifier else 0
        convolutions, everything = (count + added for count in reading.count())
        wider, _ = reading.count(width_mult=1.5)
        for original in (CUT_ROWS[0].printed * 10**6, static["convolution"] + added):
            rows.append(ReadingRow(reading, classifier, Cut(original, convolutions, everything), wider))
    return tuple(sorted(rows, key=lambda row: row.miss))
