"""Removing channels, to see what accuracy says: which go first, and what stands in for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from eamlib._checks import one_of
from eamlib.redundancy.measure import pick
from eamlib.redundancy.statistics import ChannelStatistics, ridged

FILLS = ("zero", "mean", "rest")


def removal_order(statistics: ChannelStatistics) -> list[int]:
    """All channels, the most redundant first: dead ones, then always the one that those still there predict best.

    Each step asks anew, of the channels that are left: of two copies one goes, and the other is then as good as alone.
    Read backwards, it begins with the channels that say most by themselves.
    """
    dead = statistics.dead
    order = dead.nonzero()[:, 0].tolist()
    left = (~dead).nonzero()[:, 0].tolist()
    inverse = torch.linalg.inv(ridged(statistics.correlation[left][:, left])) if left else None
    while left:
        # R² from the rest is 1 − 1 / diagonal, largest where the diagonal is.
        worst = int(inverse.diagonal().argmax())
        order.append(left.pop(worst))
        keep = [i for i in range(len(inverse)) if i != worst]
        # The inverse of the correlation without that channel, by the Schur complement.
        column = inverse[keep, worst]
        inverse = inverse[keep][:, keep] - column[:, None] * column / inverse[worst, worst]
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
        model: as it is; nothing of it is changed but for the hooks, which go with the context.
        removed: the channels that go, by the layer's name.
        statistics: of those layers' outputs, as :func:`eamlib.redundancy.measure` gives them; ``"zero"`` needs none.
        fill: what stands in for a removed channel. ``"zero"``: nothing. ``"mean"``: its mean. ``"rest"``: what the
            channels that are left predict of it, pixel by pixel, by least squares. A following convolution of 1 × 1
            could take in the last two by itself, with other weights and a bias: no information comes back by them.

    Raises:
        ValueError: if a layer, a channel or ``fill`` is unknown, or statistics are missing or of another layer.
    """
    one_of("fill", fill, FILLS)
    layers = pick(model, list(removed))
    stands_in = {}
    for name, channels in removed.items():
        of_layer = (statistics or {}).get(name)
        if fill != "zero" and of_layer is None:
            raise ValueError(f"statistics has no layer {name!r}, which fill = {fill!r} needs.")
        gone = sorted(set(channels))
        if of_layer is not None and gone and not 0 <= gone[0] <= gone[-1] < of_layer.channels:
            raise ValueError(f"removed[{name!r}] = {channels!r} must be from 0 to {of_layer.channels - 1}.")
        stands_in[name] = _substitute(gone, of_layer, fill)
    hooks = [
        layer.register_forward_hook(lambda _, inputs, output, put=stands_in[name]: put(output))
        for name, layer in layers.items()
    ]
    try:
        yield model
    finally:
        for hook in hooks:
            hook.remove()


def _substitute(gone: list[int], statistics: ChannelStatistics | None, fill: str):
    """A function of a layer's output that puts something else in place of the channels that are gone."""
    if fill == "rest":
        weight, kept, offset = _from_the_rest(gone, statistics)
    else:
        offset = torch.zeros(len(gone)) if fill == "zero" else statistics.mean[gone]

    def put(output: Tensor) -> Tensor:
        output = output.clone()
        constant = offset.to(output)[None, :, None, None]
        if fill == "rest":
            constant = constant + torch.einsum("rk,bkhw->brhw", weight.to(output), output[:, kept])
        output[:, gone] = constant.expand(-1, -1, *output.shape[2:]) if fill == "rest" else constant
        return output

    return put


def _from_the_rest(gone: list[int], statistics: ChannelStatistics) -> tuple[Tensor, list[int], Tensor]:
    """``weight [gone, kept]``, the live channels kept, and ``offset [gone]`` of the least-squares prediction."""
    dead = set(statistics.dead.nonzero()[:, 0].tolist())
    kept = [i for i in range(statistics.channels) if i not in dead and i not in set(gone)]
    deviation = statistics.covariance.diagonal().sqrt()
    r = statistics.correlation
    weight = torch.linalg.solve(ridged(r[kept][:, kept]), r[kept][:, gone]).T
    weight = weight * deviation[gone][:, None] / deviation[kept]
    return weight, kept, statistics.mean[gone] - weight @ statistics.mean[kept]
