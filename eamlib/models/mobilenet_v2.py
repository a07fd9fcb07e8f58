"""MobileNetV2: inverted residuals with linear bottlenecks.

Sandler et al. 2018, https://arxiv.org/abs/1801.04381, table 2.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from eamlib.layers.convolution import ClassifierHead, ConvBuilder, ConvNormAct, Residual
from eamlib.models.registry import register_model
from eamlib.models.widths import multiple_of_eight

# (expansion t, output channels c, blocks n, stride of the first block s), the paper's table.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def schedule(width_mult: float, stem_stride: int) -> Iterator[tuple[int, int, int]]:
    """(expansion, output channels, stride) of each block. Small images keep their size in the second stage too."""
    for stage, (expansion, channels, blocks, stride) in enumerate(STAGES):
        first = stem_stride if stage == 1 else stride
        for block in range(blocks):
            yield expansion, multiple_of_eight(channels, width_mult), 1 if block else first


class InvertedResidual(Residual):
    """Expand by 1 × 1, convolve each channel by 3 × 3, project by 1 × 1 without activation; add the input if it fits.

    ``[B, C, H, W] -> [B, O, H / stride, W / stride]``. Source: Sandler et al. 2018, table 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        expansion: int,
        *,
        conv: ConvBuilder,
        expand: bool = True,
    ):
        hidden = in_channels * expansion
        layers = [
            ConvNormAct(hidden, hidden, 3, stride, groups=hidden, conv=conv, activation=nn.ReLU6),
            ConvNormAct(hidden, out_channels, 1, conv=conv, activation=None),
        ]
        if expand:
            layers.insert(0, ConvNormAct(in_channels, hidden, 1, conv=conv, activation=nn.ReLU6))
        super().__init__(in_channels, out_channels, stride, layers)


class MobileNetV2(nn.Module):
    """``[B, 3, H, W] -> [B, num_classes]``. The map shrinks by 32, or by 8 with ``stem_stride=1``."""

    def __init__(self, conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int, expand_first: bool):
        super().__init__()
        channels = multiple_of_eight(32, width_mult)
        layers = [ConvNormAct(3, channels, 3, stem_stride, activation=nn.ReLU6)]
        for expansion, out_channels, stride in schedule(width_mult, stem_stride):
            expand = expansion > 1 or expand_first
            layers.append(InvertedResidual(channels, out_channels, stride, expansion, conv=conv, expand=expand))
            channels = out_channels
        last = multiple_of_eight(1280, max(1.0, width_mult))
        layers.append(ConvNormAct(channels, last, 1, conv=conv, activation=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.classifier = ClassifierHead(last, num_classes, dropout=0.2)

    def forward(self, input: Tensor) -> Tensor:
        return self.classifier(self.features(input))


@register_model
def mobilenet_v2(
    conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int, expand_first: bool = False
) -> MobileNetV2:
    """MobileNetV2. ``expand_first=True`` adds the 1 × 1 expansion where t = 1, which expands nothing: torchvision and
    the original leave it out, the EAM paper's parameter counts contain it. On 32 × 32 images ``stem_stride=1`` also
    sets the stride of the second stage (24 channels) to 1, the usual change, as in
    https://github.com/kuangliu/pytorch-cifar: the last map is 4 × 4.

    Example:
        >>> both = [eamlib.create_model("mobilenet_v2", expand_first=first) for first in (False, True)]
        >>> [f"{eamlib.cost(model).parameters:,}" for model in both]  # the first as torchvision's
        ['3,504,872', '3,505,960']
    """
    return MobileNetV2(conv, num_classes, width_mult, stem_stride, expand_first)
