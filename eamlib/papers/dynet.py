"""Figures of Zhang et al. 2020, https://arxiv.org/abs/2004.10694, and of its first version (September 2019).

The two versions print different cuts for the same networks. The first counted the convolutions alone; the second also
counted what makes a convolution dynamic, the predictors and the mixing of the kernels. Ours: multiply-adds at
3 × 224 × 224 with 1000 classes; "convolutions" has the static classifier's in it, which is in the original's count too.

What the paper leaves open of Dy-shuffle is searched in :mod:`eamlib.book.dy_shuffle`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch

from eamlib.analysis.cost import Cost, cost
from eamlib.models import create_model


@dataclass(frozen=True)
class CutRow:
    """A network, its dynamic counterpart, and the share of the FLOPs (%) that each version says it saves.

    Attributes:
        printed: the original's multiply-adds in millions, as the paper that introduced it prints them.

    Example:
        >>> [(row.dynamic, row.second) for row in CUT_ROWS]
        [('dy_shuffle', 37.0), ('dy_mobile', 54.7), ('dy_resnet18', 67.2), ('dy_resnet50', 71.3)]
    """

    network: str
    original: str
    dynamic: str
    printed: int
    first: float
    second: float
    remark: str = ""


_STRIDE_2 = (
    "how the paper builds the units with stride 2 is not known to us. In ours the right branch keeps the width of\n"
    "  its input until its last 1 × 1; of the readings below, only such come near both cuts. The 146 M are those of\n"
    "  the release by ShuffleNetV2's authors, whose first unit makes 24 + 92 channels and not 58 + 58: 145.8 M. At\n"
    "  ×1.5 the convolutions fall 3.9 % short of the printed 171 M; this is unexplained."
)
CUT_ROWS = (
    CutRow("Dy-shuffle ×1.0", "shufflenet_v2", "dy_shuffle", 146, 40.0, 37.0, _STRIDE_2),
    CutRow("Dy-mobile ×1.0", "mobilenet_v2", "dy_mobile", 300, 56.7, 54.7),
    CutRow("Dy-ResNet18", "resnet18", "dy_resnet18", 1800, 68.2, 67.2),
    CutRow("Dy-ResNet50", "resnet50", "dy_resnet50", 3800, 72.4, 71.3),
)


@dataclass(frozen=True)
class CountRow:
    """A network and the multiply-adds that the paper prints for it, in millions; ours are the convolutions'.

    Example:
        >>> row = COUNT_ROWS[1]
        >>> row.network, row.printed
        ('Dy-mobile ×1.0', 129)
    """

    network: str
    model: str
    printed: float
    width_mult: float = 1.0
    num_classes: int = 1000
    pixels: int = 224
    remark: str = ""


_IMAGES = (
    "at 3 × 768 × 768 with 19 classes, Cityscapes': the size that the static network's count needs. The 0.2 % that\n"
    "   are left are unexplained."
)
_HEAD = (
    "the paper's head is not known to us. Ours keeps its 512 channels on Dy-ResNet50; halved like all else, it would\n"
    "    leave 79.1 G in all. The printed figure lies between the two."
)
COUNT_ROWS = (
    CountRow("Fix-mobile ×1.0", "fix_mobile", 129),
    CountRow("Dy-mobile ×1.0", "dy_mobile", 129),
    CountRow("Fix-shuffle ×1.5", "fix_shuffle", 171, width_mult=1.5),
    CountRow("Dy-shuffle ×1.5", "dy_shuffle", 171, width_mult=1.5),
    CountRow("FCN, ResNet50", "fcn_resnet50", 310_800, num_classes=19, pixels=768, remark=_IMAGES),
    CountRow("FCN, Dy-ResNet50", "fcn_dy_resnet50", 95_600, num_classes=19, pixels=768, remark=_HEAD),
)


@dataclass(frozen=True)
class Cut:
    """Ours for one :class:`CutRow`: multiply-adds, and the share (%) that is saved.

    Attributes:
        original: of the static network.
        convolutions: of the dynamic network's convolutions and classifier, as the first version counted.
        everything: also of its predictors and of the mixing of kernels, as the second version counted.
        first, second: the two cuts.

    Example:
        >>> cut = Cut(original=1000, convolutions=300, everything=320)
        >>> round(cut.first, 1), round(cut.second, 1)
        (70.0, 68.0)
        >>> round(cut.over(800).second, 1)  # against another count of the original
        60.0
    """

    original: int
    convolutions: int
    everything: int

    @property
    def first(self) -> float:
        return 100 * (1 - self.convolutions / self.original)

    @property
    def second(self) -> float:
        return 100 * (1 - self.everything / self.original)

    def over(self, original: int) -> Cut:
        """The same counts as shares of another ``original``."""
        return replace(self, original=original)


@cache
def cut_table() -> tuple[tuple[CutRow, Cut], ...]:
    """Every headline cut of the paper beside ours; counted once per process.

    Example:
        >>> for row, ours in cut_table():
        ...     print(f"{row.network:<18} {row.second:4.1f} % {ours.second:4.1f} %")
        Dy-shuffle ×1.0    37.0 % 36.7 %
        Dy-mobile ×1.0     54.7 % 54.6 %
        Dy-ResNet18        67.2 % 67.2 %
        Dy-ResNet50        71.3 % 71.3 %
    """
    table = []
    for row in CUT_ROWS:
        with torch.device("meta"):  # nothing but the count is wanted
            original = cost(create_model(row.original)).multiply_adds
            dynamic = cost(create_model(row.dynamic)).multiply_adds
        convolutions = dynamic["convolution"] + dynamic["classifier"]
        table.append((row, Cut(sum(original.values()), convolutions, sum(dynamic.values()))))
    return tuple(table)


@cache
def count_table() -> tuple[tuple[CountRow, Cost], ...]:
    """Every printed count of the ablation and of the segmentation beside ours; counted once per process.

    Example:
        >>> row, ours = count_table()[1]
        >>> row.network, row.printed, round(ours.multiply_adds["convolution"] / 1e6)
        ('Dy-mobile ×1.0', 129, 129)
    """
    table = []
    for row in COUNT_ROWS:
        with torch.device("meta"):
            model = create_model(row.model, num_classes=row.num_classes, width_mult=row.width_mult)
        table.append((row, cost(model, (3, row.pixels, row.pixels))))
    return tuple(table)
