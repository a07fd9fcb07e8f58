"""ResNet: convolutions around which a shortcut carries the input.

He et al. 2016, https://arxiv.org/abs/1512.03385, table 1. As in torchvision, the stride of a bottleneck sits on its
3 × 3 convolution and not on the first 1 × 1.
"""

from __future__ import annotations

from torch import Tensor, nn

from eamlib.layers.convolution import ClassifierHead, ConvBuilder, ConvNormAct
from eamlib.layers.dynet import Chain, run_chains, share_predictor
from eamlib.models.network import Network
from eamlib.models.registry import register_model
from eamlib.models.widths import scaled


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions added to the input: ``[B, C, H, W] -> [B, expansion · channels, H / stride, W / stride]``.

    The shortcut is the identity where the shapes agree, else a 1 × 1 convolution, made by ``conv`` like the others.
    Source: He et al. 2016, figure 5.
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, dilations: tuple[int, int], *, conv: ConvBuilder):
        super().__init__()
        out_channels = self.expansion * channels
        self.layers = Chain(*self.body(in_channels, channels, stride, dilations, conv))
        fits = stride == 1 and in_channels == out_channels
        self.shortcut = (
            Chain() if fits else ConvNormAct(in_channels, out_channels, 1, stride, conv=conv, activation=None)
        )
        # Two linear layers with a quarter of the channels between them: Zhang et al. 2020, section 3.3.
        self.predictor = share_predictor(self, in_channels, hidden=max(1, in_channels // 4))

    @staticmethod
    def body(
        in_channels: int, channels: int, stride: int, dilations: tuple[int, int], conv: ConvBuilder
    ) -> list[nn.Module]:
        before, after = dilations  # where a dilation stands for a stride, it begins behind the strided convolution
        return [
            ConvNormAct(in_channels, channels, 3, stride, dilation=before, conv=conv),
            ConvNormAct(channels, channels, 3, dilation=after, conv=conv, activation=None),
        ]

    def forward(self, input: Tensor) -> Tensor:
        output, carried = run_chains(self.predictor, input, self.layers, self.shortcut)
        return (output + carried).relu()


class Bottleneck(BasicBlock):
    """1 × 1 to ``channels``, 3 × 3, 1 × 1 to four times as many; otherwise a :class:`BasicBlock`."""

    expansion = 4

    @staticmethod
    def body(
        in_channels: int, channels: int, stride: int, dilations: tuple[int, int], conv: ConvBuilder
    ) -> list[nn.Module]:
        return [
            ConvNormAct(in_channels, channels, 1, conv=conv),
            ConvNormAct(channels, channels, 3, stride, dilation=dilations[0], conv=conv),
            ConvNormAct(channels, Bottleneck.expansion * channels, 1, conv=conv, activation=None),
        ]


# Depth: the block and how many of it a stage has.
STAGES = {18: (BasicBlock, (2, 2, 2, 2)), 50: (Bottleneck, (3, 4, 6, 3))}


def resnet_features(
    depth: int, conv: ConvBuilder, width_mult: float, stem_stride: int, *, dilated: bool = False, halved: bool = False
) -> tuple[nn.Sequential, int]:
    """The network without its classifier, and how many channels it ends with.

    Args:
        depth: 18 or 50.
        stem_stride: 2 makes the 7 × 7 stem with its max pooling; 1 a 3 × 3 stem and no pooling, which is what
            He et al. 2016 (section 4.2) do on CIFAR's 32 × 32 images.
        dilated: the last two stages keep the size of their input and dilate their 3 × 3 convolutions by 2 and 4
            instead (Yu et al. 2017, https://arxiv.org/abs/1705.09914), each from behind the convolution that would
            have had the stride, as in torchvision: with the same weights the strided map is every second, then every
            fourth value of the dilated one.
        halved: after the stem every convolution has half as many output channels, as in Dy-ResNet.

    The map shrinks by 32 (by 8 with ``stem_stride=1``); dilated, by 8 (by 2).
    """
    block, blocks = STAGES[depth]
    channels = scaled(64, width_mult)
    width = scaled(32 if halved else 64, width_mult)
    layers = [ConvNormAct(3, channels, 7 if stem_stride == 2 else 3, stem_stride)]
    if stem_stride == 2:
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    dilation = 1
    for stage, count in enumerate(blocks):
        keeps_size = stage == 0 or (dilated and stage >= 2)
        next_dilation = 2 * dilation if dilated and stage >= 2 else dilation
        layers.append(block(channels, width << stage, 1 if keeps_size else 2, (dilation, next_dilation), conv=conv))
        channels = block.expansion * (width << stage)
        dilation = next_dilation
        layers += [block(channels, width << stage, 1, (dilation, dilation), conv=conv) for _ in range(count - 1)]
    return nn.Sequential(*layers), channels


class ResNet(Network):
    """``[B, 3, H, W] -> [B, num_classes]``; see :func:`resnet_features`."""

    def __init__(
        self,
        depth: int,
        conv: ConvBuilder,
        num_classes: int,
        width_mult: float,
        stem_stride: int,
        *,
        halved: bool = False,
    ):
        features, channels = resnet_features(depth, conv, width_mult, stem_stride, halved=halved)
        super().__init__(features, ClassifierHead(channels, num_classes))


@register_model
def resnet18(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> ResNet:
    """ResNet18. ``stem_stride=1`` makes a 3 × 3 stem and no max pooling, the usual change for 32 × 32 images
    (He et al. 2016, section 4.2): the last map is 4 × 4.

    Example:
        >>> f"{eamlib.cost(eamlib.create_model('resnet18')).parameters:,}"  # as torchvision's
        '11,689,512'
    """
    return ResNet(18, conv, num_classes, width_mult, stem_stride)


@register_model
def resnet50(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> ResNet:
    """ResNet50. On 32 × 32 images as :func:`resnet18`.

    Example:
        >>> f"{eamlib.cost(eamlib.create_model('resnet50')).parameters:,}"  # as torchvision's
        '25,557,032'
    """
    return ResNet(50, conv, num_classes, width_mult, stem_stride)
