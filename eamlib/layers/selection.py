"""Which channels an attention reads: the selections of EAM.

Ding et al. 2021, https://doi.org/10.3390/app11073111, section 3.3 (RCR, CGR) and the ablation over selections.
Every selection is a module ``[B, C, H, W] -> [B, n, H, W]`` that carries its n as ``out_channels`` and refuses
an input with another C than it was made for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eamlib._checks import feature_maps, one_of, positive_int
from eamlib.functional.tiled import is_traced
from eamlib.functional.ways import has_channels_last
from eamlib.layers.leaf import leaf


class _Selection(nn.Module):
    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels

    @leaf
    def forward(self, input: Tensor) -> Tensor:
        feature_maps("input", input, self.in_channels)
        if is_traced() or not has_channels_last(input):
            return self.pick(input, 1)
        # The gradient of a selection gets the layout of what was indexed. Autograd adds it to the gradient of the
        # convolution that reads the same maps, and adding two layouts takes several times as long as adding one.
        return self.pick(input.permute(0, 2, 3, 1), 3).permute(0, 3, 1, 2)

    def pick(self, maps: Tensor, dim: int) -> Tensor:
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"{self.in_channels} -> {self.out_channels}"


class RandomChannels(_Selection):
    """RCR, random channel reduction: the same n channels for every image, drawn once when the layer is made.

    Args:
        in_channels: how many channels the input has, C.
        channels: n, at most C.
        seed: of the draw. None takes the global generator, so that ``torch.manual_seed`` fixes a whole network.

    The indices are a buffer, so a checkpoint brings its own draw along. When to draw is our reading: the paper does not
    say.

    Example:
        >>> maps = torch.randn(2, 64, 7, 7)
        >>> select = RandomChannels(64, channels=4, seed=0)
        >>> select(maps).shape
        torch.Size([2, 4, 7, 7])
        >>> torch.equal(select(maps), select(maps))  # drawn once
        True
    """

    def __init__(self, in_channels: int, channels: int = 4, seed: int | None = None):
        super().__init__(in_channels, _at_most(channels, in_channels))
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        drawn = torch.randperm(in_channels, generator=generator, device="cpu")[:channels]
        self.register_buffer("indices", drawn.sort().values.to(torch.get_default_device()))

    def pick(self, maps: Tensor, dim: int) -> Tensor:
        return maps.index_select(dim, self.indices)


class ChannelGroups(_Selection):
    """CGR, channel group reduction: n groups of neighbouring channels, one map per group.

    Args:
        in_channels: how many channels the input has, C.
        channels: n, at most C. Where n does not divide C, the first groups hold one channel more.
        reduce: ``"mean"`` (CGR) or ``"max"`` (CGR-MAX) over the channels of a group.

    Example:
        >>> maps = torch.arange(6.0).view(1, 6, 1, 1)
        >>> ChannelGroups(6, channels=2)(maps).flatten()
        tensor([1., 4.])
        >>> ChannelGroups(6, channels=2, reduce="max")(maps).flatten()
        tensor([2., 5.])
    """

    def __init__(self, in_channels: int, channels: int = 4, reduce: str = "mean"):
        super().__init__(in_channels, _at_most(channels, in_channels))
        self.reduce = one_of("reduce", reduce, ("mean", "max"))

    def pick(self, maps: Tensor, dim: int) -> Tensor:
        reduce = torch.mean if self.reduce == "mean" else torch.amax
        if self.in_channels % self.out_channels == 0:  # one operation, whose gradient is written once, not n times
            # Not unflatten: PyTorch's older ONNX exporter then takes the example's height and width for everybody's.
            each = self.in_channels // self.out_channels
            groups = maps.reshape(*maps.shape[:dim], self.out_channels, each, *maps.shape[dim + 1 :])
            return reduce(groups, dim + 1)
        return torch.stack([reduce(group, dim) for group in maps.tensor_split(self.out_channels, dim)], dim)


class EveryNthChannel(_Selection):
    """Every ``step``-th channel, from channel 0: ceil(C / step) of them (the ablation "take every 4 channels").

    Example:
        >>> maps = torch.arange(10.0).view(1, 10, 1, 1)
        >>> EveryNthChannel(10)(maps).flatten()
        tensor([0., 4., 8.])
    """

    def __init__(self, in_channels: int, step: int = 4):
        positive_int("step", step)
        super().__init__(in_channels, len(range(0, in_channels, step)))
        self.step = step

    def pick(self, maps: Tensor, dim: int) -> Tensor:
        return maps[:, :: self.step] if dim == 1 else maps[..., :: self.step]


class ChannelQuarter(_Selection):
    """One contiguous quarter of the channels: 0 is the first C / 4, 3 the last (the ablation "0~1/4C" and so on).

    Example:
        >>> maps = torch.arange(8.0).view(1, 8, 1, 1)
        >>> ChannelQuarter(8, quarter=1)(maps).flatten()
        tensor([2., 3.])
    """

    def __init__(self, in_channels: int, quarter: int):
        if quarter not in range(4):
            raise ValueError(f"quarter = {quarter!r} must be 0, 1, 2 or 3.")
        if in_channels < 4:
            raise ValueError(f"in_channels = {in_channels} has no quarters; at least 4 channels are needed.")
        self.first, last = quarter * in_channels // 4, (quarter + 1) * in_channels // 4
        super().__init__(in_channels, last - self.first)

    def pick(self, maps: Tensor, dim: int) -> Tensor:
        return maps.narrow(dim, self.first, self.out_channels)


_BY_COUNT = {
    "rcr": lambda c, n, seed: RandomChannels(c, n, seed),
    "cgr": lambda c, n, seed: ChannelGroups(c, n, "mean"),
    "cgr-max": lambda c, n, seed: ChannelGroups(c, n, "max"),
}
_BY_FRACTION = {
    "stride": lambda c: EveryNthChannel(c, 4),
    **{f"slice{q}": (lambda c, q=q: ChannelQuarter(c, q)) for q in range(4)},
}
SELECTIONS = (*_BY_COUNT, *_BY_FRACTION)


def channel_selection(
    select: str, in_channels: int, channels: int | None = None, seed: int | None = None
) -> _Selection:
    """Make the selection called ``select``.

    Args:
        select: ``"rcr"``, ``"cgr"``, ``"cgr-max"`` (n channels), ``"stride"`` (every 4th channel) or ``"slice0"``
            to ``"slice3"`` (one quarter of the channels).
        in_channels: how many channels the input has, C.
        channels: n, default 4. ``"stride"`` and the slices take a quarter of C and refuse another n than the
            default.
        seed: of RCR's draw.

    Raises:
        ValueError: if ``select`` is unknown, ``channels`` is not in 1 … C, or it is given where it means nothing.

    Example:
        >>> maps = torch.randn(2, 64, 7, 7)
        >>> {name: channel_selection(name, 64)(maps).shape[1] for name in ("rcr", "cgr", "stride", "slice3")}
        {'rcr': 4, 'cgr': 4, 'stride': 16, 'slice3': 16}
    """
    positive_int("in_channels", in_channels)
    one_of("select", select, SELECTIONS)
    if select in _BY_COUNT:
        return _BY_COUNT[select](in_channels, 4 if channels is None else channels, seed)
    if channels not in (None, 4):
        raise ValueError(
            f"channels = {channels!r} means nothing to select = {select!r}, which takes a quarter of the channels; "
            "leave it out."
        )
    return _BY_FRACTION[select](in_channels)


def _at_most(channels: int, in_channels: int) -> int:
    positive_int("channels", channels)
    if channels > in_channels:
        raise ValueError(
            f"channels = {channels} selects more than the {in_channels} channels of the input; allowed is 1 to "
            f"{in_channels}. An attention on an image of 3 channels, say, takes channels=3 or fewer; EAM leaves "
            "the first convolution static for that reason."
        )
    return channels
