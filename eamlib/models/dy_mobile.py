"""Dy-mobile: MobileNetV2 without its expansion, made of DyNet convolutions.

Zhang et al. 2020, https://arxiv.org/abs/2004.10694, section 3.3. Where MobileNetV2 widens a block sixfold to get more
features, Dy-mobile generates the ones that the image needs and stays narrow.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from eamlib.layers.convolution import ConvBuilder, ConvNormAct, Residual, static_conv
from eamlib.models.mobilenet_v2 import MobileNetV2
from eamlib.models.registry import register_model

# Input channels of each output channel of the 3 × 3 convolution: MobileNetV2's expansion, so that six times fewer
# channels cost as much.
GROUP_CHANNELS = 6


class NarrowResidual(Residual):
    """1 × 1, 3 × 3 in groups of 6 channels, 1 × 1, each to O channels; add the input if it fits.

    ``[B, C, H, W] -> [B, O, H / stride, W / stride]``; O is a multiple of 6. The stride is the 3 × 3's and, as in
    MobileNetV2, the last convolution has no activation. One predictor on the block's input serves all three.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, conv: ConvBuilder):
        groups = out_channels // GROUP_CHANNELS
        layers = [
            ConvNormAct(in_channels, out_channels, 1, conv=conv, activation=nn.ReLU6),
            ConvNormAct(out_channels, out_channels, 3, stride, groups, conv=conv, activation=nn.ReLU6),
            ConvNormAct(out_channels, out_channels, 1, conv=conv, activation=None),
        ]
        super().__init__(in_channels, out_channels, stride, layers)


class NarrowMobile(MobileNetV2):
    """``[B, 3, H, W] -> [B, num_classes]``. The map shrinks by 32, or by 8 with ``stem_stride=1``.

    The stages of MobileNetV2, their channels rounded up to a multiple of 6. The stem, the last 1 × 1 convolution and
    the classifier are MobileNetV2's and static: so the count of the paper comes out.
    """

    def __init__(self, conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int):
        def block(in_channels: int, out_channels: int, stride: int, _: int) -> NarrowResidual:
            return NarrowResidual(in_channels, out_channels, stride, conv=conv)

        super().__init__(block, GROUP_CHANNELS, static_conv, num_classes, width_mult, stem_stride)


@partial(register_model, conv="dynet")
def dy_mobile(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> NarrowMobile:
    """Dy-mobile; made of DyNet convolutions unless another ``conv`` is named. Small images as in MobileNetV2.

    Example:
        >>> counted = eamlib.cost(eamlib.create_model("dy_mobile")).multiply_adds
        >>> round(counted["convolution"] / 1e6)  # the paper prints 129 M
        129
    """
    return NarrowMobile(conv, num_classes, width_mult, stem_stride)


@register_model
def fix_mobile(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> NarrowMobile:
    """The ablation's Fix-mobile: the same narrow network, with static kernels unless another ``conv`` is named.

    Example:
        >>> round(eamlib.cost(eamlib.create_model("fix_mobile")).multiply_adds["convolution"] / 1e6)  # as of Dy-mobile
        129
    """
    return NarrowMobile(conv, num_classes, width_mult, stem_stride)
