"""MobileNetV1: a stem and thirteen depthwise separable blocks.

Howard et al. 2017, https://arxiv.org/abs/1704.04861, table 1.
"""

from __future__ import annotations

from eamlib.layers.convolution import ClassifierHead, ConvBuilder, ConvNormAct, DepthwiseSeparable
from eamlib.models.network import Network
from eamlib.models.registry import register_model
from eamlib.models.widths import scaled

# (output channels, stride of the depthwise convolution), in the order of the paper's table.
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


class MobileNetV1(Network):
    """``[B, 3, H, W] -> [B, num_classes]``. The map shrinks by 16 · stem_stride."""

    def __init__(self, conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int):
        channels, *widths = (max(8, scaled(width, width_mult)) for width in (32, *(width for width, _ in BLOCKS)))
        layers = [ConvNormAct(3, channels, 3, stem_stride)]
        for width, (_, stride) in zip(widths, BLOCKS, strict=True):
            layers.append(DepthwiseSeparable(channels, width, stride, conv=conv))
            channels = width
        super().__init__(layers, ClassifierHead(channels, num_classes))


@register_model
def mobilenet_v1(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> MobileNetV1:
    """MobileNetV1; no layer has fewer than 8 channels. On 32 × 32 images the usual change is ``stem_stride=1`` alone,
    as in https://github.com/kuangliu/pytorch-cifar: the last map is 2 × 2.

    Example:
        >>> f"{eamlib.cost(eamlib.create_model('mobilenet_v1')).parameters:,}"  # the 4.2 million of its paper
        '4,231,976'
    """
    return MobileNetV1(conv, num_classes, width_mult, stem_stride)
