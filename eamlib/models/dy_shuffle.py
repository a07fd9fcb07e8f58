"""Dy-shuffle: ShuffleNetV2 in which a quarter of the channels is convolved, by DyNet convolutions.

Zhang et al. 2020, https://arxiv.org/abs/2004.10694, section 3.3.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from eamlib.layers.convolution import ConvBuilder, ConvNormAct, static_conv
from eamlib.layers.dynet import Chain, predicted, share_predictor
from eamlib.models.registry import register_model
from eamlib.models.shufflenet_v2 import ShuffleNetV2, channel_shuffle


class NarrowShuffleUnit(nn.Module):
    """Keep three quarters of the channels, convolve the last one (1 × 1, 3 × 3 each channel, 1 × 1), shuffle.

    ``[B, C, H, W] -> [B, O, H / stride, W / stride]``. With stride 2 nothing is split: each branch reads all channels
    and makes O / 2, as in ShuffleNetV2. The right branch is made by ``conv``, with one predictor on its input; the
    left one, where it convolves, is static.

    The right branch keeps the width of its input until its last 1 × 1. How the paper builds stride 2 is not known to
    us. ShuffleNetV2 goes to O / 2 at once, which only the first unit notices: later ones have C = O / 2. Of the
    readings in :mod:`eamlib.book.dy_shuffle`, those that go near both printed cuts keep the width, and this is the
    plainest of them: it rounds nothing, and its branches make halves.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, conv: ConvBuilder):
        super().__init__()
        if stride == 1:
            read = made = out_channels // 4
            self.shortcut = nn.Identity()
        else:
            read, made = in_channels, out_channels // 2
            self.shortcut = nn.Sequential(
                ConvNormAct(read, read, 3, stride, groups=read, activation=None), ConvNormAct(read, made, 1)
            )
        self.layers = Chain(
            ConvNormAct(read, read, 1, conv=conv),
            ConvNormAct(read, read, 3, stride, groups=read, conv=conv, activation=None),
            ConvNormAct(read, made, 1, conv=conv),
        )
        self.predictor = share_predictor(self, read)
        self.split = (in_channels - read, read) if stride == 1 else None
        # Runs as long as the right branch, so that the next unit's share comes from all of them.
        self.runs = out_channels // made

    def forward(self, input: Tensor) -> Tensor:
        left, right = input.split(self.split, dim=1) if self.split else (input, input)
        output = self.layers(right, predicted(self.predictor, right))
        return channel_shuffle(torch.cat((self.shortcut(left), output), dim=1), self.runs)


# Widths, stem, last convolution and classifier are ShuffleNetV2's, the last three static.
narrow_shuffle = partial(ShuffleNetV2, unit=NarrowShuffleUnit, last_conv=static_conv)


@partial(register_model, conv="dynet")
def dy_shuffle(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> ShuffleNetV2:
    """Dy-shuffle, of width 0.5, 1.0, 1.5 or 2.0; made of DyNet convolutions unless another ``conv`` is named.
    Small images as in ShuffleNetV2.

    Example:
        >>> counted = eamlib.cost(eamlib.create_model("dy_shuffle")).multiply_adds
        >>> saved = 1 - sum(counted.values()) / 146e6  # of the 146 M that ShuffleNetV2's paper prints
        >>> f"{saved:.1%}"  # the paper prints 37.0 %
        '37.2%'
    """
    return narrow_shuffle(conv, num_classes, width_mult, stem_stride)


@register_model
def fix_shuffle(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> ShuffleNetV2:
    """The ablation's Fix-shuffle: the same narrow network, with static kernels unless another ``conv`` is named.

    Example:
        >>> static = eamlib.cost(eamlib.create_model("fix_shuffle")).multiply_adds
        >>> static["convolution"] == eamlib.cost(eamlib.create_model("dy_shuffle")).multiply_adds["convolution"]
        True
        >>> static["attention"]  # nothing predicts a coefficient
        0
    """
    return narrow_shuffle(conv, num_classes, width_mult, stem_stride)
