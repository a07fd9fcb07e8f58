"""The dynamic convolution: K kernels, mixed anew for every image by an attention.

Chen et al. 2020, https://arxiv.org/abs/1912.03458. Ding et al. 2021 call a network of these DyNet; the DyNet of
Zhang et al. 2020 is another operator.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eamlib._checks import feature_maps, one_of, positive_int
from eamlib.functional.tiled import is_traced
from eamlib.functional.ways import STRATEGIES, dynamic_conv2d
from eamlib.layers.attention import KernelAttention
from eamlib.layers.geometry import ConvGeometry, conv2d_arguments
from eamlib.layers.leaf import leaf


class DynamicConv2d(ConvGeometry):
    """A drop-in for :class:`torch.nn.Conv2d` whose kernel depends on the input: ``[B, C, H, W] -> [B, O, H', W']``.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as in ``nn.Conv2d``.
        num_kernels: how many kernels, K.
        attention: a module ``[B, C, H, W] -> [B, K]``. None makes a ``KernelAttention(in_channels, num_kernels)``;
            an ``EAMAttention`` makes it the convolution of EAM.
        strategy: how it is run, see :func:`eamlib.functional.dynamic_conv2d`.
        device, dtype: of the parameters that this layer makes.

    There is no 1-D, 3-D or transposed form. A signal ``[B, C, L]`` goes in as ``[B, C, 1, L]``, with
    ``kernel_size=(1, k)``; the frames of a video as a batch; in place of a transposed convolution, enlarge the maps by
    :func:`torch.nn.functional.interpolate` and convolve.

    ``weight`` is ``[K, O, C / groups, kh, kw]``, ``bias`` is ``[K, O]`` or None. Each of the K kernels is
    initialised as an ``nn.Conv2d`` of its own: an initialiser that sees the whole 5-D tensor takes the wrong fan-in.

    Raises:
        ValueError: if a count is below 1, ``groups`` does not divide the channels, a name is unknown, or the input is
            not ``[B, C, H, W]``.
        FloatingPointError: in the forward pass on a CPU, if the attention is NaN; the message says where it came from.

    Source: Chen et al. 2020, section 3.1.

    Example:
        >>> layer = DynamicConv2d(64, 128, kernel_size=3, padding=1, attention=eamlib.layers.EAMAttention(64))
        >>> layer(torch.randn(8, 64, 14, 14)).shape  # each image convolved with its own kernel
        torch.Size([8, 128, 14, 14])
        >>> layer.weight.shape
        torch.Size([4, 128, 64, 3, 3])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
        *,
        num_kernels: int = 4,
        attention: nn.Module | None = None,
        strategy: str = "auto",
        device=None,
        dtype=None,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        self.num_kernels = positive_int("num_kernels", num_kernels)
        self.strategy = one_of("strategy", strategy, ("auto", *STRATEGIES))

        factory = {"device": device, "dtype": dtype}
        shape = (num_kernels, out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, **factory))
        self.bias = nn.Parameter(torch.empty(num_kernels, out_channels, **factory)) if bias else None
        if attention is None:
            attention = KernelAttention(in_channels, num_kernels, **factory)
        self.attention = attention
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw every kernel and its bias as a fresh ``nn.Conv2d`` would."""
        for k in range(self.num_kernels):
            conv = nn.Conv2d(*conv2d_arguments(self), device=self.weight.device, dtype=self.weight.dtype)
            self.weight[k].copy_(conv.weight)
            if self.bias is not None:
                self.bias[k].copy_(conv.bias)

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        attention = self.attention(feature_maps("input", input, self.in_channels))
        # A look at a number makes the CPU wait for a GPU, breaks a graph, and fails on a fake tensor, which has none.
        is_plain = type(attention) is Tensor and attention.is_cpu and not is_traced()
        if is_plain and attention.detach().sum().isnan():
            raise FloatingPointError(self._why_nan(input))
        geometry = self.stride, self.padding, self.dilation, self.groups
        return dynamic_conv2d(input, self.weight, attention, self.bias, *geometry, strategy=self.strategy)

    def _why_nan(self, input: Tensor) -> str:
        ill = [name for name, tensor in self.attention.state_dict().items() if not tensor.isfinite().all()]
        if not input.isfinite().all():
            cause = f"input, {list(input.shape)}, already holds NaN or infinite values"
        elif ill:
            cause = f"input is finite, but {', '.join(ill)} of the attention is not"
        else:
            cause = "input and the attention's own parameters are finite, but too large"
        return f"the attention of DynamicConv2d({self.extra_repr()}) is NaN: {cause}."

    def _apply(self, fn, recurse: bool = True):
        # Module.to(memory_format=torch.channels_last) fails on a 5-D tensor. The K kernels are shown to it as one
        # 4-D weight, and stay contiguous: the mixture made of them is a new tensor for every batch anyway.
        def of_any_rank(tensor: Tensor) -> Tensor:
            if tensor.dim() != 5:
                return fn(tensor)
            return fn(tensor.flatten(0, 1)).contiguous().unflatten(0, tensor.shape[:2])

        return super()._apply(of_any_rank, recurse)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, num_kernels={self.num_kernels}, strategy={self.strategy}"
