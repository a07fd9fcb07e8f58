"""Which channels of a layer repeat each other: every map, and beside a chosen one its nearest duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from eamlib.book.explore.explorer import Explorer
from eamlib.book.explore.maps import Layers, Watched, encoded
from eamlib.redundancy import measure


def channels(
    model: nn.Module,
    images: Tensor,
    layers: Layers,
    *,
    shown: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
) -> Explorer:
    """Choose an image, a layer and a channel; see the channel's nearest duplicates, and count them above a threshold.

    Two channels are as near as their maps correlate, by Pearson's ``|r|`` over every pixel of all ``images``: at 1 they
    are the same up to an affine map. A channel without any variation is dead and has no duplicate.

    Args:
        model: any network; it runs in eval mode, and its mode is restored.
        images: ``[N, C, H, W]``, as the model takes them. All of them are measured; live, each can be looked at.
        layers: names as in ``model.named_modules()``, or text to name; what is shown is their output. Live, all layers
            of their classes are offered.
        shown: indices of the images on the static page; None takes the first six.
        names: one text per image.

    Raises:
        ValueError: if there is no image, an index is out of range, there are not as many names as images, there is no
            layer, a name is unknown, or a layer has no maps ``[B, C, H, W]``.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> explorer = channels(model, torch.rand(4, 3, 12, 12), ["1"])
        >>> [control.label for control in explorer.controls]
        ['Image', 'Layer']
    """
    first = range(min(6, len(images))) if shown is None else shown
    watched = Watched(model, images, layers, first, names, "output")

    @cache
    def statistics(layer: str) -> dict[str, Any]:
        found = measure(model, watched.batches(), [layer])[layer]
        return {
            "channels": found.channels,
            "images": len(images),
            "r": encoded(in_ten_thousandths(found.correlation)),
            "dead": found.dead.nonzero().flatten().tolist(),
        }

    return Explorer(
        name="channels",
        title="Channels that repeat each other",
        controls=(watched.image_control(), watched.layer_control()),
        parts={part.__name__: part for part in (watched.picture, watched.drawn, statistics)},
    )


def in_ten_thousandths(correlation: Tensor) -> Tensor:
    """The upper triangle of r, row by row, as int16 of 1/10000 and rounded towards 0.

    Rounded so, ``|r| >= t`` holds of these numbers exactly where it holds of r, for any threshold t of two decimals.
    """
    rows, columns = torch.triu_indices(*correlation.shape, 1)
    r = correlation.cpu()[rows, columns]
    levels = torch.arange(10_001, dtype=torch.float64) / 10_000
    above = torch.searchsorted(levels, r.abs(), right=True) - 1
    return (above * r.sign()).to(torch.int16)
