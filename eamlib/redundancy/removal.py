"""Removing channels, to see what accuracy says: which go first, and what stands in for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import index

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eamlib._checks import one_of
from eamlib.redundancy.measure import maps_of, pick
from eamlib.redundancy.statistics import ChannelStatistics, ridged

FILLS = ("zero", "mean", "rest")


def removal_order(statistics: ChannelStatistics) -> list[int]:
    """All channels, the most redundant first: dead ones, then always the one that the channels still there predict
    best.

    Example:
        >>> maps = torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> maps[:, 1] = 0  # dead
        >>> statistics = ChannelStatistics(3)
        >>> statistics.update(maps)
        >>> removal_order(statistics)[0]
        1
    """
    dead = statistics.dead
    live = (~dead).nonzero()[:, 0].tolist()
    order = dead.nonzero()[:, 0].tolist()
    inverse = torch.linalg.inv(ridged(statistics.correlation[live][:, live]))
    for _ in live:
        # R² from the rest is 1 − 1 / diagonal, largest where the diagonal is.
        next_ = int(inverse.diagonal().argmax())
        order.append(live[next_])
        # The inverse of the correlation without that channel, by the Schur complement; in its own place 0 is left.
        column = inverse[:, next_].clone()
        inverse.addr_(column, column / column[next_], alpha=-1)
    return order


@contextmanager
def without(
    model: nn.Module,
    removed: Mapping[str, Sequence[int]],
    statistics: Mapping[str, ChannelStatistics] | None = None,
    *,
    fill: str = "mean",
) -> Iterator[nn.Module]:
    """While entered, ``model`` runs without some output channels of some layers.

    Args:
        model: it gets hooks, which go with the context.
        removed: the channels that go, by the layer's name; may be empty.
        statistics: of those layers' outputs, as :func:`eamlib.redundancy.measure` gives them; ``"zero"`` needs none.
        fill: what stands in for a removed channel. ``"zero"``: nothing. ``"mean"``: its mean. ``"rest"``: what the
            channels that are left predict of it, pixel by pixel, by least squares.

    Raises:
        ValueError: if a layer, a channel or ``fill`` is unknown, or statistics are missing or of another layer; when
            the model runs, if a layer has no such channel or its output is not ``[B, C, H, W]``.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3))
        >>> images = torch.randn(2, 3, 5, 5)
        >>> with without(model, {"0": [1, 5]}, fill="zero"):
        ...     print(model(images).abs().sum(dim=(0, 2, 3)) == 0)
        tensor([False,  True, False, False, False,  True, False, False])
    """
    one_of("fill", fill, FILLS)
    hooks = []
    try:
        for name, layer in (pick(model, list(removed)) if removed else {}).items():
            gone = sorted({index(channel) for channel in removed[name]})
            of_layer = (statistics or {}).get(name)
            if fill != "zero" and of_layer is None:
                raise ValueError(f"statistics has no layer {name!r}, which fill = {fill!r} needs.")
            if gone:
                hooks.append(layer.register_forward_hook(_substitute(name, gone, of_layer, fill)))
        yield model
    finally:
        for hook in hooks:
            hook.remove()


def _substitute(name: str, gone: list[int], statistics: ChannelStatistics | None, fill: str) -> Callable:
    """A hook that puts something else in place of the channels of a layer's output that are gone."""
    _check(name, gone, statistics and statistics.channels)
    if fill == "rest":
        weight, bias = _from_the_rest(gone, statistics)
    else:
        bias = torch.zeros(len(gone)) if fill == "zero" else statistics.mean[gone]

    def put(layer: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        channels = maps_of(name, "output", output).shape[1]
        _check(name, gone, channels)
        if statistics is not None and statistics.channels != channels:
            raise ValueError(
                f"statistics[{name!r}] is of {statistics.channels} channels; allowed are {channels}, the layer's own."
            )
        changed = output.clone()
        if fill == "rest":
            changed[:, gone] = F.conv2d(output, weight.to(output)[:, :, None, None], bias.to(output))
        else:
            changed[:, gone] = bias.to(output)[:, None, None]
        return changed

    return put


def _check(name: str, gone: list[int], channels: int | None) -> None:
    """Raise a ``ValueError`` if one of the channels that are ``gone`` does not exist; None: as many as one likes."""
    wrong = [channel for channel in gone if channel < 0 or (channels is not None and channel >= channels)]
    if wrong:
        allowed = "at least 0" if channels is None else f"from 0 to {channels - 1}"
        raise ValueError(f"removed[{name!r}] holds channel {wrong[0]}; allowed is {allowed}.")


def _from_the_rest(gone: list[int], statistics: ChannelStatistics) -> tuple[Tensor, Tensor]:
    """``weight [gone, C]`` and ``bias [gone]`` of the least-squares prediction from the live channels that are left."""
    kept = ~statistics.dead
    kept[gone] = False
    deviation, r = statistics.covariance.diagonal().sqrt(), statistics.correlation
    weight = torch.zeros_like(r)[gone]
    weight[:, kept] = torch.linalg.solve(ridged(r[kept][:, kept]), r[kept][:, gone]).T
    weight[:, kept] *= deviation[gone][:, None] / deviation[kept]
    return weight, statistics.mean[gone] - weight @ statistics.mean
