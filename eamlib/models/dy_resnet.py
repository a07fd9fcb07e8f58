"""Dy-ResNet: every convolution after the stem has half as many output channels, and is a DyNet convolution.

Zhang et al. 2020, https://arxiv.org/abs/2004.10694, section 3.3. The input of a convolution is halved with the output
of the one before, so most of them cost a quarter. The projections of the shortcuts are dynamic too.
"""

from __future__ import annotations

from functools import partial

from eamlib.layers.convolution import ConvBuilder
from eamlib.models.fcn import FCN
from eamlib.models.registry import register_model
from eamlib.models.resnet import ResNet


@partial(register_model, conv="dynet")
def dy_resnet18(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> ResNet:
    """Dy-ResNet18; made of DyNet convolutions unless another ``conv`` is named. Small images as in ResNet18.

    Example:
        >>> static, dynamic = (eamlib.cost(eamlib.create_model(name)) for name in ("resnet18", "dy_resnet18"))
        >>> saved = 1 - sum(dynamic.multiply_adds.values()) / sum(static.multiply_adds.values())
        >>> f"{saved:.1%}"  # the paper prints 67.2 %
        '67.2%'
    """
    return ResNet(18, conv, num_classes, width_mult, stem_stride, halved=True)


@partial(register_model, conv="dynet")
def dy_resnet50(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> ResNet:
    """Dy-ResNet50, as :func:`dy_resnet18`.

    Example:
        >>> counted = eamlib.cost(eamlib.create_model("dy_resnet50")).multiply_adds
        >>> f"{sum(counted.values()) / 1e9:.2f} G multiply-adds"
        '1.17 G multiply-adds'
    """
    return ResNet(50, conv, num_classes, width_mult, stem_stride, halved=True)


@partial(register_model, conv="dynet")
def fcn_dy_resnet50(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> FCN:
    """The FCN on Dy-ResNet50. Its head has as many channels as on ResNet50, and reads half as many.

    Example:
        >>> model = eamlib.create_model("fcn_dy_resnet50", num_classes=19, width_mult=0.25)
        >>> model.eval()(torch.randn(1, 3, 32, 32)).shape
        torch.Size([1, 19, 32, 32])
    """
    return FCN(50, conv, num_classes, width_mult, stem_stride, halved=True)
