"""MobileNetV1: a stem and thirteen depthwise separable blocks.

Howard et al. 2017, https://arxiv.org/abs/1704.04861, table 1.
"""

from __future__ import annotations

from torch import Tensor, nn

from eamlib.layers.convolution import ClassifierHead, ConvBuilder, ConvNormAct, DepthwiseSeparable
from eamlib.models.registry import register_model
from eamlib.models.widths import scaled

# (output channels, stride of the depthwise convolution), in the order of the paper's table.
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)


class MobileNetV1(nn.Module):
    """``[B, 3, H, W] -> [B, num_classes]``. The map shrinks by 16 · stem_stride."""

    def __init__(self, conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int):
        super().__init__()

        def width(channels: int) -> int:
            return max(8, scaled(channels, width_mult))

        channels = width(32)
        layers = [ConvNormAct(3, channels, 3, stem_stride)]
        for out_channels, stride in BLOCKS:
            layers.append(DepthwiseSeparable(channels, width(out_channels), stride, conv=conv))
            channels = width(out_channels)
        self.features = nn.Sequential(*layers)
        self.classifier = ClassifierHead(channels, num_classes)

    def forward(self, input: Tensor) -> Tensor:
        return self.classifier(self.features(input))


@register_model
def mobilenet_v1(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> MobileNetV1:
    """MobileNetV1; no layer has fewer than 8 channels. On 32 × 32 images the usual change is ``stem_stride=1`` alone,
    as in https://github.com/kuangliu/pytorch-cifar: the last map is 2 × 2.

    Example:
        >>> f"{eamlib.cost(eamlib.create_model('mobilenet_v1')).parameters:,}"  # the 4.2 million of its paper
        '4,231,976'
    """
    return MobileNetV1(conv, num_classes, width_mult, stem_stride)
