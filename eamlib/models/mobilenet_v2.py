"""MobileNetV2: inverted residuals with linear bottlenecks.

Sandler et al. 2018, https://arxiv.org/abs/1801.04381, table 2.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from eamlib.layers.convolution import ClassifierHead, ConvBuilder, ConvNormAct, Residual
from eamlib.models.network import Network
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


class MobileNetV2(Network):
    """``[B, 3, H, W] -> [B, num_classes]``. The map shrinks by 32, or by 8 with ``stem_stride=1``, which keeps the size
    in the second stage too.

    Args:
        block: what makes a block of (in_channels, out_channels, stride, expansion).
        multiple: what the output channels of a block are rounded up to a multiple of.
        last_conv: what makes the last 1 × 1 convolution.
    """

    def __init__(
        self,
        block: Callable[[int, int, int, int], nn.Module],
        multiple: int,
        last_conv: ConvBuilder,
        num_classes: int,
        width_mult: float,
        stem_stride: int,
    ):
        channels = multiple_of_eight(32, width_mult)
        layers = [ConvNormAct(3, channels, 3, stem_stride, activation=nn.ReLU6)]
        for stage, (expansion, width, blocks, stride) in enumerate(STAGES):
            out_channels = -(-multiple_of_eight(width, width_mult) // multiple) * multiple
            for first in (stem_stride if stage == 1 else stride, *[1] * (blocks - 1)):
                layers.append(block(channels, out_channels, first, expansion))
                channels = out_channels
        last = multiple_of_eight(1280, max(1.0, width_mult))
        layers.append(ConvNormAct(channels, last, 1, conv=last_conv, activation=nn.ReLU6))
        super().__init__(layers, ClassifierHead(last, num_classes, dropout=0.2))


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

    def block(in_channels: int, out_channels: int, stride: int, expansion: int) -> InvertedResidual:
        expand = expansion > 1 or expand_first
        return InvertedResidual(in_channels, out_channels, stride, expansion, conv=conv, expand=expand)

    return MobileNetV2(block, 1, conv, num_classes, width_mult, stem_stride)
