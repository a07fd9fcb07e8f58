"""A fully convolutional network for segmentation on a dilated ResNet.

Long et al. 2015, https://arxiv.org/abs/1411.4038 (convolutions all the way, bilinear upsampling); Yu et al. 2017,
https://arxiv.org/abs/1705.09914 (dilated residual networks). The head is torchvision's, without the auxiliary one.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from eamlib.layers.convolution import ConvBuilder, ConvNormAct
from eamlib.models.network import Network
from eamlib.models.registry import register_model
from eamlib.models.resnet import resnet_features


class FCN(Network):
    """``[B, 3, H, W] -> [B, num_classes, H, W]``: the logits of every pixel.

    The features have 1/8 of the image's height and width (1/2 with ``stem_stride=1``); the logits are upsampled.
    The head's 3 × 3 convolution is made by ``conv``, its 1 × 1 classifier is static in every network. With ``halved``
    the features are Dy-ResNet's, half as many; the head makes as many channels of them as of all.
    """

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
        features, channels = resnet_features(depth, conv, width_mult, stem_stride, dilated=True, halved=halved)
        hidden = max(1, channels // (2 if halved else 4))
        head = ConvNormAct(channels, hidden, 3, conv=conv), nn.Dropout(0.1), nn.Conv2d(hidden, num_classes, 1)
        super().__init__(features, nn.Sequential(*head))

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(super().forward(input), size=input.shape[2:], mode="bilinear", align_corners=False)


@register_model
def fcn_resnet18(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> FCN:
    """The FCN on ResNet18, for images of 64 × 64. At ``width_mult=0.25`` an image costs 52 M multiply-adds on maps of
    8 × 8, little enough for a CPU; ``stem_stride=1`` keeps maps of 32 × 32 and costs fifteen times as much.

    Example:
        >>> model = eamlib.create_model("fcn_resnet18", num_classes=11, width_mult=0.25)
        >>> model(torch.randn(2, 3, 64, 64)).shape  # logits for every pixel
        torch.Size([2, 11, 64, 64])
    """
    return FCN(18, conv, num_classes, width_mult, stem_stride)


@register_model
def fcn_resnet50(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> FCN:
    """The FCN on ResNet50, torchvision's ``fcn_resnet50``.

    Example:
        >>> model = eamlib.create_model("fcn_resnet50", num_classes=21, width_mult=0.25)
        >>> model.eval()(torch.randn(1, 3, 32, 32)).shape
        torch.Size([1, 21, 32, 32])
    """
    return FCN(50, conv, num_classes, width_mult, stem_stride)
