"""ShuffleNetV2: half of the channels pass untouched, the other half is convolved, then all are shuffled.

Ma et al. 2018, https://arxiv.org/abs/1807.11164, figure 3 (c, d) and table 5.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from eamlib.layers.convolution import ClassifierHead, ConvBuilder, ConvNormAct
from eamlib.layers.dynet import Chain, run_chains, share_predictor
from eamlib.models.network import Network
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

    Args:
        conv: what makes the convolved branch.
        kept_conv: what makes the convolutions of the kept one; None takes ``conv``.
        parts: with stride 1, one of so many parts of the channels is convolved.
        widens_last: whether the convolved branch keeps the width of its input until its last 1 × 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        conv: ConvBuilder,
        kept_conv: ConvBuilder | None = None,
        parts: int = 2,
        widens_last: bool = False,
    ):
        super().__init__()
        made = out_channels // (parts if stride == 1 else 2)
        read = made if stride == 1 else in_channels
        width = read if widens_last else made
        self.split = (in_channels - read, read) if stride == 1 else None
        self.shortcut = Chain()
        if stride != 1:
            kept = kept_conv or conv
            self.shortcut.append(ConvNormAct(read, read, 3, stride, groups=read, conv=kept, activation=None))
            self.shortcut.append(ConvNormAct(read, made, 1, conv=kept))
        self.layers = Chain(
            ConvNormAct(read, width, 1, conv=conv),
            ConvNormAct(width, width, 3, stride, groups=width, conv=conv, activation=None),
            ConvNormAct(width, made, 1, conv=conv),
        )
        self.predictor = share_predictor(self, read)
        # Runs as long as the convolved branch, so that the next unit's share comes from all of them.
        self.runs = out_channels // made

    def forward(self, input: Tensor) -> Tensor:
        if self.split is None:
            branches = run_chains(self.predictor, input, self.shortcut, self.layers)
        else:
            kept, read = input.split(self.split, dim=1)
            branches = kept, *run_chains(self.predictor, read, self.layers)
        return channel_shuffle(torch.cat(branches, dim=1), self.runs)


class ShuffleNetV2(Network):
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
        super().__init__(layers, ClassifierHead(last, num_classes))


@register_model
def shufflenet_v2(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> ShuffleNetV2:
    """ShuffleNetV2, of width 0.5, 1.0, 1.5 or 2.0. On 32 × 32 images ``stem_stride=1`` also leaves out the max pooling,
    so that the last map is 4 × 4, as in https://github.com/kuangliu/pytorch-cifar.

    Example:
        >>> f"{eamlib.cost(eamlib.create_model('shufflenet_v2', width_mult=0.5)).parameters:,}"  # as torchvision's
        '1,366,792'
    """
    return ShuffleNetV2(conv, num_classes, width_mult, stem_stride)
