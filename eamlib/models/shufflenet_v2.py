"""ShuffleNetV2: half of the channels pass untouched, the other half is convolved, then all are shuffled.

Ma et al. 2018, https://arxiv.org/abs/1807.11164, figure 3 (c, d) and table 5.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from eamlib.layers.convolution import ClassifierHead, ConvBuilder, ConvNormAct
from eamlib.layers.dynet import Chain, predicted, share_predictor
from eamlib.models.registry import register_model

# Output channels of the three stages and of the last convolution, by width; the paper's table, which is no multiple.
WIDTHS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
BLOCKS = (4, 8, 4)
STEM = 24


def stage_widths(width_mult: float) -> tuple[int, int, int, int]:
    """The row of :data:`WIDTHS`.

    Raises:
        ValueError: if there is none.
    """
    if width_mult not in WIDTHS:
        allowed = ", ".join(map(str, WIDTHS))
        raise ValueError(f"width_mult = {width_mult!r} is no width of shufflenet_v2. Allowed: {allowed}.")
    return WIDTHS[width_mult]


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Interleave ``groups`` runs of channels: a1 a2 b1 b2 becomes a1 b1 a2 b2. ``[B, C, H, W]`` to the same."""
    return input.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class ShuffleUnit(nn.Module):
    """Convolve one half of the channels (1 × 1, 3 × 3 each channel, 1 × 1), keep the other half, shuffle the two.

    ``[B, C, H, W] -> [B, O, H / stride, W / stride]``. With stride 2 both branches read all channels and the kept one
    is convolved too (3 × 3 each channel, 1 × 1); with stride 1, C = O. Source: Ma et al. 2018, figure 3 (c, d).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, conv: ConvBuilder):
        super().__init__()
        half = out_channels // 2
        self.splits = stride == 1
        read = half if self.splits else in_channels
        self.shortcut = (
            Chain()
            if self.splits
            else Chain(
                ConvNormAct(read, read, 3, stride, groups=read, conv=conv, activation=None),
                ConvNormAct(read, half, 1, conv=conv),
            )
        )
        self.layers = Chain(
            ConvNormAct(read, half, 1, conv=conv),
            ConvNormAct(half, half, 3, stride, groups=half, conv=conv, activation=None),
            ConvNormAct(half, half, 1, conv=conv),
        )
        self.predictor = share_predictor(self, read)

    def forward(self, input: Tensor) -> Tensor:
        left, right = input.chunk(2, dim=1) if self.splits else (input, input)
        coefficients = predicted(self.predictor, right)
        branches = self.shortcut(left, coefficients), self.layers(right, coefficients)
        return channel_shuffle(torch.cat(branches, dim=1), 2)


class ShuffleNetV2(nn.Module):
    """``[B, 3, H, W] -> [B, num_classes]``. The map shrinks by 32, or by 8 with ``stem_stride=1``.

    Args:
        unit: what the stages are made of.
        last_conv: what builds the last 1 × 1 convolution; None takes ``conv``.
    """

    def __init__(
        self,
        conv: ConvBuilder,
        num_classes: int,
        width_mult: float,
        stem_stride: int,
        *,
        unit: Callable[..., nn.Module] = ShuffleUnit,
        last_conv: ConvBuilder | None = None,
    ):
        super().__init__()
        *stages, last = stage_widths(width_mult)
        layers = [ConvNormAct(3, STEM, 3, stem_stride)]
        if stem_stride == 2:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        channels = STEM
        for out_channels, blocks in zip(stages, BLOCKS, strict=True):
            for block in range(blocks):
                layers.append(unit(channels, out_channels, stride=1 if block else 2, conv=conv))
                channels = out_channels
        layers.append(ConvNormAct(channels, last, 1, conv=last_conv or conv))
        self.features = nn.Sequential(*layers)
        self.classifier = ClassifierHead(last, num_classes)

    def forward(self, input: Tensor) -> Tensor:
        return self.classifier(self.features(input))


@register_model
def shufflenet_v2(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> ShuffleNetV2:
    """ShuffleNetV2, of width 0.5, 1.0, 1.5 or 2.0. On 32 × 32 images ``stem_stride=1`` also leaves out the max pooling,
    so that the last map is 4 × 4, as in https://github.com/kuangliu/pytorch-cifar.

    Example:
        >>> f"{eamlib.cost(eamlib.create_model('shufflenet_v2', width_mult=0.5)).parameters:,}"  # as torchvision's
        '1,366,792'
    """
    return ShuffleNetV2(conv, num_classes, width_mult, stem_stride)
