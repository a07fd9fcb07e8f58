"""Attentions: over channels (squeeze-and-excitation) and over the K kernels of a dynamic convolution.

Hu et al. 2018, https://arxiv.org/abs/1709.01507 (squeeze-and-excitation); Chen et al. 2020,
https://arxiv.org/abs/1912.03458 (attention over kernels, temperature); Ding et al. 2021,
https://doi.org/10.3390/app11073111 (EAM: the same attention, reading a few channels).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eamlib._checks import feature_maps, one_of, positive_int, temperature_of
from eamlib.layers.leaf import leaf
from eamlib.layers.selection import channel_selection


class SqueezeExcitation(nn.Module):
    """Scale every channel by a gate in (0, 1) computed from all channels' means: ``[B, C, H, W]`` to the same.

    Global average pool, FC(C -> C / reduction), ReLU, FC(C / reduction -> C), sigmoid, multiply.

    Args:
        channels: how many, C.
        reduction: the hidden layer has C // reduction units, at least 1.
        hidden: its units by number instead; ``reduction`` is then not read.
        gate: what maps the result to 0 … 1, a module class. MobileNetV3 takes ``nn.Hardsigmoid``.

    Raises:
        ValueError: if a count is below 1.

    Source: Hu et al. 2018, section 3; the cheaper gate: Howard et al. 2019, section 5.2.

    Example:
        >>> maps = torch.rand(2, 32, 7, 7)
        >>> gated = SqueezeExcitation(32, reduction=4)(maps)
        >>> gated.shape
        torch.Size([2, 32, 7, 7])
        >>> bool((gated <= maps).all())  # a gate lets through at most all
        True
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        *,
        hidden: int | None = None,
        gate: Callable[[], nn.Module] = nn.Sigmoid,
    ):
        super().__init__()
        self.channels = positive_int("channels", channels)
        if hidden is None:
            hidden = max(1, channels // positive_int("reduction", reduction))
        positive_int("hidden", hidden)
        self.excite = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), gate())

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        means = F.adaptive_avg_pool2d(feature_maps("input", input, self.channels), 1).flatten(1)
        return input * self.excite(means)[:, :, None, None]


class _SoftmaxAttention(nn.Module):
    """descriptor -> FC (no bias) -> ReLU -> FC -> softmax at a temperature: ``[B, C, H, W] -> [B, K]``.

    What the two attentions of the book share. That the first linear layer has no bias is what the EAM paper's
    parameter counts require; the second one's few biases are too small to show in them, and are our choice.
    """

    def __init__(self, features: int, hidden: int, num_kernels: int, temperature: float, device, dtype):
        super().__init__()
        factory = {"device": device, "dtype": dtype}
        self.predict = nn.Sequential(
            nn.Linear(features, hidden, bias=False, **factory),
            nn.ReLU(),
            nn.Linear(hidden, positive_int("num_kernels", num_kernels), **factory),
        )
        # A buffer, so that a network saved in the middle of an annealing schedule comes back as it was.
        start = temperature_of(temperature, torch.get_default_dtype() if dtype is None else dtype)
        self.register_buffer("temperature", torch.tensor(start, **factory))

    def descriptor(self, input: Tensor) -> Tensor:
        """What the attention sees of the input, ``[B, C, H, W] -> [B, features]``."""
        raise NotImplementedError

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(self.predict(self.descriptor(input)) / self.temperature, dim=1)


class KernelAttention(_SoftmaxAttention):
    """Attention over K kernels that reads the mean of every channel: ``[B, C, H, W] -> [B, K]``, rows sum to 1.

    Global average pool, FC(C -> C / reduction), ReLU, FC(C / reduction -> K), softmax(· / temperature).

    Args:
        in_channels: how many channels the input has, C.
        num_kernels: how many kernels, K.
        reduction: the hidden layer has C // reduction units, at least 1.
        temperature: above 1 flattens the softmax. Kept in the state dict; see :func:`set_temperature`.

    Raises:
        ValueError: if a count is below 1, or ``temperature`` is not a finite number above 0 that ``dtype`` holds.

    Source: Chen et al. 2020, section 3.2; it is the attention of what Ding et al. 2021 call DyNet.

    Example:
        >>> attention = KernelAttention(64, num_kernels=4)
        >>> weights = attention(torch.randn(2, 64, 7, 7))
        >>> weights.shape
        torch.Size([2, 4])
        >>> torch.allclose(weights.sum(dim=1), torch.ones(2))
        True
    """

    def __init__(
        self,
        in_channels: int,
        num_kernels: int = 4,
        reduction: int = 4,
        temperature: float = 1.0,
        *,
        device=None,
        dtype=None,
    ):
        hidden = max(1, positive_int("in_channels", in_channels) // positive_int("reduction", reduction))
        super().__init__(in_channels, hidden, num_kernels, temperature, device, dtype)
        self.in_channels = in_channels

    def descriptor(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(feature_maps("input", input, self.in_channels), 1).flatten(1)


class EAMAttention(_SoftmaxAttention):
    """Attention over K kernels that reads n channels, pooled to p × p: ``[B, C, H, W] -> [B, K]``, rows sum to 1.

    Select n of the C channels, adaptive pool to p × p, flatten (n · p² numbers), FC(n · p² -> hidden), ReLU,
    FC(hidden -> K), softmax(· / temperature). Its size does not grow with C, except for the selections that take a
    fraction of the channels.

    Args:
        in_channels: how many channels the input has, C.
        num_kernels: how many kernels, K.
        select: ``"rcr"``, ``"cgr"``, ``"cgr-max"``, ``"stride"`` (every 4th channel) or ``"slice0"`` … ``"slice3"``
            (one quarter of the channels); see :func:`channel_selection`.
        channels: n, for RCR, CGR and CGR-MAX.
        pool: ``"avg"`` or ``"max"``.
        output_size: the p of p × p. A map smaller than p × p is not an error: adaptive pooling then repeats pixels.
        hidden: width of the hidden layer. The paper does not print it; 10 is the width its parameter counts need.
        temperature: as in :class:`KernelAttention`.
        seed: of RCR's draw; None takes the global generator.

    Raises:
        ValueError: if n is larger than C, a count is below 1, ``temperature`` is as in :class:`KernelAttention`, or a
            name is unknown.

    Source: Ding et al. 2021, section 3.3.

    Example:
        >>> maps = torch.randn(2, 512, 14, 14)
        >>> attention = EAMAttention(512, select="cgr", channels=4, output_size=5)
        >>> attention.descriptor(maps).shape, attention(maps).shape  # it reads 4 · 5 · 5 numbers
        (torch.Size([2, 100]), torch.Size([2, 4]))
        >>> count = lambda module: sum(parameter.numel() for parameter in module.parameters())
        >>> count(attention), count(KernelAttention(512))
        (1044, 66052)
    """

    def __init__(
        self,
        in_channels: int,
        num_kernels: int = 4,
        *,
        select: str = "rcr",
        channels: int = 4,
        pool: str = "avg",
        output_size: int = 5,
        hidden: int = 10,
        temperature: float = 1.0,
        seed: int | None = None,
        device=None,
        dtype=None,
    ):
        selection = channel_selection(select, in_channels, channels, seed)
        features = selection.out_channels * positive_int("output_size", output_size) ** 2
        super().__init__(features, positive_int("hidden", hidden), num_kernels, temperature, device, dtype)
        self.select = selection.to(device)
        self.pool = one_of("pool", pool, ("avg", "max"))
        self.output_size = output_size

    def descriptor(self, input: Tensor) -> Tensor:
        return _adaptive_pool2d(self.select(input), self.output_size, self.pool).flatten(1)

    def extra_repr(self) -> str:
        return f"pool={self.pool}, output_size={self.output_size}"


class UniformAttention(nn.Module):
    """No attention: every kernel weighs 1 / K, whatever the input. ``[B, C, H, W] -> [B, K]``.

    The placebo of an experiment: a dynamic convolution with it has K kernels, trained as any, and one mixture for every
    image.

    Args:
        in_channels: how many channels the input has, C.
        num_kernels: how many kernels, K.

    Raises:
        ValueError: if a count is below 1.

    Example:
        >>> UniformAttention(64, num_kernels=4)(torch.randn(2, 64, 7, 7))
        tensor([[0.2500, 0.2500, 0.2500, 0.2500],
                [0.2500, 0.2500, 0.2500, 0.2500]])
    """

    def __init__(self, in_channels: int, num_kernels: int = 4, *, device=None, dtype=None):
        super().__init__()
        self.in_channels = positive_int("in_channels", in_channels)
        self.num_kernels = positive_int("num_kernels", num_kernels)

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        batch = feature_maps("input", input, self.in_channels).shape[0]
        return input.new_full((batch, self.num_kernels), 1 / self.num_kernels)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, num_kernels={self.num_kernels}"


def _adaptive_pool2d(input: Tensor, size: int, kind: str) -> Tensor:
    """Adaptive pooling to size × size, ``kind`` "avg" or "max"."""
    if not (torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()):
        return (F.adaptive_avg_pool2d if kind == "avg" else F.adaptive_max_pool2d)(input, size)
    # ONNX has neither where size does not divide the map. PyTorch's exporters refuse, or write out the windows of the
    # example in hundreds of nodes, which fit no other height and width. A compiled graph would compute what is pooled
    # anew for every window.
    rows, columns = (_windows(pixels, size, input.device) for pixels in input.shape[2:])
    if kind == "avg":
        rows, columns = (windows / windows.sum(1, keepdim=True) for windows in (rows.to(input), columns.to(input)))
        return rows @ input @ columns.t()
    input = input.unsqueeze(2).masked_fill(~rows[:, :, None], -torch.inf).amax(3)
    return input.unsqueeze(3).masked_fill(~columns, -torch.inf).amax(4)


def _windows(pixels: int, size: int, device: torch.device) -> Tensor:
    """Which pixels the windows of an adaptive pooling cover, ``[size, pixels]``: from floor(i n / p) to
    ceil((i + 1) n / p). Computed by the graph, where the exporter leaves ``pixels`` open."""
    window, pixel = torch.arange(size, device=device)[:, None], torch.arange(pixels, device=device)
    return (window * pixels // size <= pixel) & (pixel < ((window + 1) * pixels + size - 1) // size)


def set_temperature(module: nn.Module, temperature: float) -> None:
    """Set the softmax temperature of every kernel attention inside ``module``.

    Chen et al. 2020 (section 3.2) start at 30, where all kernels are used nearly alike, and come down to 1 over
    the first epochs.

    Raises:
        ValueError: if ``temperature`` is not a finite number above 0 that the attentions' dtype holds, or ``module``
            holds no kernel attention.

    Example:
        >>> attention, maps = KernelAttention(16), torch.randn(1, 16, 5, 5)
        >>> sharp = attention(maps).max().item()
        >>> set_temperature(attention, 30)
        >>> 1 / 4 <= attention(maps).max().item() <= sharp  # towards four equal weights
        True
    """
    attentions = [m for m in module.modules() if isinstance(m, _SoftmaxAttention)]
    if not attentions:
        raise ValueError(f"module = {type(module).__name__} holds no kernel attention; nothing has a temperature.")
    for dtype in {attention.temperature.dtype for attention in attentions}:  # all, before the first is changed
        temperature_of(temperature, dtype)
    for attention in attentions:
        attention.temperature.fill_(temperature)
