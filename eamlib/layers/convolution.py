"""Static bricks of the lightweight networks: conv-norm-activation, the depthwise separable block, the head.

Howard et al. 2017, https://arxiv.org/abs/1704.04861 (the block, figure 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor, nn

from eamlib.layers.dynet import Chain, run_chains, share_predictor

ConvBuilder = Callable[..., nn.Module]


def padded(layer: Callable[..., nn.Module]) -> ConvBuilder:
    """What builds ``layer`` as the networks use it: with an odd kernel, padded to keep the size at stride 1."""

    def build(
        in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1, dilation: int = 1
    ) -> nn.Module:
        padding = dilation * (kernel_size // 2)
        return layer(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)

    return build


static_conv = padded(partial(nn.Conv2d, bias=False))


class ConvNormAct(Chain):
    """Convolution, batch normalisation, activation: ``[B, C, H, W] -> [B, O, H / stride, W / stride]``.

    Args:
        conv: what builds the convolution from (in_channels, out_channels, kernel_size, stride, groups, dilation).
        activation: a module class, or None for a linear output.
        norm: what builds the normalisation from its number of channels.

    Example:
        >>> ConvNormAct(3, 32, kernel_size=3, stride=2)(torch.randn(1, 3, 32, 32)).shape
        torch.Size([1, 32, 16, 16])
        >>> ConvNormAct(3, 8, 1, activation=None)
        ConvNormAct(
          (0): Conv2d(3, 8, kernel_size=(1, 1), stride=(1, 1), bias=False)
          (1): BatchNorm2d(8, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
        )
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        *,
        conv: ConvBuilder = static_conv,
        activation: Callable[[], nn.Module] | None = nn.ReLU,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ):
        parts = [conv(in_channels, out_channels, kernel_size, stride, groups, dilation), norm(out_channels)]
        if activation is not None:
            parts.append(activation())
        super().__init__(*parts)


class DepthwiseSeparable(nn.Sequential):
    """One 3 × 3 convolution per channel, then a 1 × 1 convolution across channels, each normalised and rectified.

    ``[B, C, H, W] -> [B, O, H / stride, W / stride]``. It costs C · H' · W' · (9 + O) multiply-adds where the
    standard convolution costs C · H' · W' · 9 · O.

    Args:
        conv: what both convolutions are made of; see :func:`eamlib.layers.conv_builder`.

    Source: Howard et al. 2017, section 3.1.

    Example:
        >>> block = DepthwiseSeparable(64, 128)
        >>> block(torch.randn(1, 64, 14, 14)).shape
        torch.Size([1, 128, 14, 14])
        >>> [conv.weight.numel() for conv in block.modules() if isinstance(conv, nn.Conv2d)]  # C · 9, then C · O
        [576, 8192]
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, *, conv: ConvBuilder = static_conv):
        super().__init__(
            ConvNormAct(in_channels, in_channels, 3, stride, groups=in_channels, conv=conv),
            ConvNormAct(in_channels, out_channels, 1, conv=conv),
        )
        self.predictor = share_predictor(self, in_channels)

    def forward(self, input: Tensor) -> Tensor:
        [output] = run_chains(self.predictor, input, self._both)
        return output

    def _both(self, input: Tensor, coefficients: Iterator[Tensor] | None = None) -> Tensor:
        return self[1](self[0](input, coefficients), coefficients)


class Residual(nn.Module):
    """Layers in sequence, and the input added where it fits; their DyNet convolutions, if any, share one predictor.

    ``[B, C, H, W] -> [B, O, H / stride, W / stride]``; it fits where stride = 1 and O = C. What the inverted residuals
    of MobileNetV2 and V3 and Dy-mobile's blocks share.

    Example:
        >>> maps = torch.randn(1, 16, 8, 8)
        >>> doubled = Residual(16, 16, 1, [nn.Identity()])
        >>> torch.equal(doubled(maps), 2 * maps)
        True
        >>> Residual(16, 32, 1, [nn.Conv2d(16, 32, 1)]).adds_input  # O is not C
        False
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, layers: list[nn.Module]):
        super().__init__()
        self.layers = Chain(*layers)
        self.predictor = share_predictor(self, in_channels)
        self.adds_input = stride == 1 and in_channels == out_channels

    def forward(self, input: Tensor) -> Tensor:
        [output] = run_chains(self.predictor, input, self.layers)
        return input + output if self.adds_input else output


class ClassifierHead(nn.Sequential):
    """Global average pool, dropout, linear: ``[B, C, H, W] -> [B, num_classes]`` (logits).

    Example:
        >>> ClassifierHead(64, num_classes=10)(torch.randn(2, 64, 7, 7)).shape
        torch.Size([2, 10])
    """

    def __init__(self, in_channels: int, num_classes: int, dropout: float = 0.0):
        super().__init__(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(in_channels, num_classes)
        )
