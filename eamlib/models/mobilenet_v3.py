"""MobileNetV3: inverted residuals with squeeze-and-excitation, found by architecture search.

Howard et al. 2019, https://arxiv.org/abs/1905.02244, tables 1 (large) and 2 (small).
"""

from __future__ import annotations

from functools import partial

from torch import nn

from eamlib.layers.attention import SqueezeExcitation
from eamlib.layers.convolution import ConvBuilder, ConvNormAct, Residual
from eamlib.models.network import Network
from eamlib.models.registry import register_model
from eamlib.models.widths import multiple_of_eight

# (kernel, expanded channels, output channels, squeeze-and-excitation, activation, stride), the papers' rows.
RE, HS = nn.ReLU, nn.Hardswish
LARGE = (
    (3, 16, 16, False, RE, 1),
    (3, 64, 24, False, RE, 2),
    (3, 72, 24, False, RE, 1),
    (5, 72, 40, True, RE, 2),
    (5, 120, 40, True, RE, 1),
    (5, 120, 40, True, RE, 1),
    (3, 240, 80, False, HS, 2),
    (3, 200, 80, False, HS, 1),
    (3, 184, 80, False, HS, 1),
    (3, 184, 80, False, HS, 1),
    (3, 480, 112, True, HS, 1),
    (3, 672, 112, True, HS, 1),
    (5, 672, 160, True, HS, 2),
    (5, 960, 160, True, HS, 1),
    (5, 960, 160, True, HS, 1),
)
SMALL = (
    (3, 16, 16, True, RE, 2),
    (3, 72, 24, False, RE, 2),
    (3, 88, 24, False, RE, 1),
    (5, 96, 40, True, HS, 2),
    (5, 240, 40, True, HS, 1),
    (5, 240, 40, True, HS, 1),
    (5, 120, 48, True, HS, 1),
    (5, 144, 48, True, HS, 1),
    (5, 288, 96, True, HS, 2),
    (5, 576, 96, True, HS, 1),
    (5, 576, 96, True, HS, 1),
)

# The reference implementation's epsilon. Its running averages (decay 0.99) are not taken over: after the few hundred
# steps of a short training they would still be near their start, and eval mode would classify by chance.
_norm = partial(nn.BatchNorm2d, eps=0.001)


class Bneck(Residual):
    """Expand by 1 × 1, convolve each channel, gate the channels, project by 1 × 1; add the input if it fits.

    ``[B, C, H, W] -> [B, O, H / stride, W / stride]``. The expansion is left out where it would not expand. Source:
    Howard et al. 2019, figure 4; the gate's hidden layer has a quarter of the expanded channels (section 5.3).
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        *,
        conv: ConvBuilder,
        squeeze: bool,
        activation: type[nn.Module],
    ):
        part = partial(ConvNormAct, conv=conv, norm=_norm)
        layers = []
        if hidden != in_channels:
            layers.append(part(in_channels, hidden, 1, activation=activation))
        layers.append(part(hidden, hidden, kernel_size, stride, groups=hidden, activation=activation))
        if squeeze:
            layers.append(SqueezeExcitation(hidden, hidden=multiple_of_eight(hidden // 4), gate=nn.Hardsigmoid))
        layers.append(part(hidden, out_channels, 1, activation=None))
        super().__init__(in_channels, out_channels, stride, layers)


class MobileNetV3(Network):
    """``[B, 3, H, W] -> [B, num_classes]``. The map shrinks by 16 · stem_stride.

    Args:
        rows: the network's table.
        head: width of the linear layer before the last one.
    """

    def __init__(
        self, rows: tuple, head: int, conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int
    ):
        channels = multiple_of_eight(16, width_mult)
        layers = [ConvNormAct(3, channels, 3, stem_stride, activation=HS, norm=_norm)]
        for kernel_size, hidden, out_channels, squeeze, activation, stride in rows:
            hidden, out_channels = multiple_of_eight(hidden, width_mult), multiple_of_eight(out_channels, width_mult)
            options = {"conv": conv, "squeeze": squeeze, "activation": activation}
            layers.append(Bneck(channels, hidden, out_channels, kernel_size, stride, **options))
            channels = out_channels
        layers.append(ConvNormAct(channels, 6 * channels, 1, conv=conv, activation=HS, norm=_norm))
        head = multiple_of_eight(head, width_mult)
        classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6 * channels, head),
            nn.Hardswish(),
            nn.Dropout(0.2),
            nn.Linear(head, num_classes),
        )
        super().__init__(layers, classifier)


@register_model
def mobilenet_v3_small(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> MobileNetV3:
    """MobileNetV3-small. On 32 × 32 images ``stem_stride=1`` alone leaves a last map of 2 × 2, as in MobileNetV1; the
    paper has no such images.

    Example:
        >>> f"{eamlib.cost(eamlib.create_model('mobilenet_v3_small')).parameters:,}"  # as torchvision's
        '2,542,856'
    """
    return MobileNetV3(SMALL, 1024, conv, num_classes, width_mult, stem_stride)


@register_model
def mobilenet_v3_large(conv: ConvBuilder, num_classes: int, width_mult: float, stem_stride: int) -> MobileNetV3:
    """MobileNetV3-large. On 32 × 32 images as :func:`mobilenet_v3_small`.

    Example:
        >>> f"{eamlib.cost(eamlib.create_model('mobilenet_v3_large')).parameters:,}"  # as torchvision's
        '5,483,032'
    """
    return MobileNetV3(LARGE, 1280, conv, num_classes, width_mult, stem_stride)
