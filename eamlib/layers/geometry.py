"""What every convolution is told of its shapes, checked and kept once."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.utils import _pair

from eamlib._checks import positive_int


class ConvGeometry(nn.Module):
    """Base of the dynamic convolutions: channels, kernel, stride, padding, dilation and groups as in ``nn.Conv2d``.

    Raises:
        ValueError: if a count is below 1, or ``groups`` does not divide the channels.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size, stride, padding, dilation, groups: int):
        super().__init__()
        self.in_channels = positive_int("in_channels", in_channels)
        self.out_channels = positive_int("out_channels", out_channels)
        self.groups = positive_int("groups", groups)
        for argument, value in (("in_channels", in_channels), ("out_channels", out_channels)):
            if value % groups:
                raise ValueError(f"groups = {groups} does not divide {argument} = {value}.")
        self.kernel_size, self.stride, self.dilation = _pair(kernel_size), _pair(stride), _pair(dilation)
        self.padding = padding if isinstance(padding, str) else _pair(padding)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, groups={self.groups}"
        )


def conv2d_arguments(layer: nn.Conv2d | ConvGeometry) -> tuple:
    """The positional arguments, ``bias`` the last, that make a convolution of any kind with the shapes of ``layer``."""
    own = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return (*own, layer.groups, layer.bias is not None)
