"""Which channels of a layer repeat each other: every map, beside a chosen one its nearest duplicates, and what is lost
without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from eamlib.analysis.watch import evaluating, outputs_of, predictions
from eamlib.book.explore.controls import Choice
from eamlib.book.explore.explorer import Explorer
from eamlib.book.explore.maps import Layers, Watched, encoded, planes
from eamlib.redundancy import ChannelStatistics, measure, without
from eamlib.redundancy.measure import means

NEAR = 0.9  # |r| of a duplicate, where the threshold stands at first
TESTED = 200  # images that are classified without a channel
DOTS = 60  # images whose means are drawn against each other


def channels(
    model: nn.Module,
    images: Tensor,
    layers: Layers,
    *,
    untrained: nn.Module | None = None,
    labels: Tensor | None = None,
    shown: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
) -> Explorer:
    """Choose an image, a layer and a channel; see the channel's nearest duplicates, and count them above a threshold.

    Two channels are as near as they correlate, by Pearson's ``|r|`` over all ``images``: over every pixel of their
    maps, or over the maps' means, which an attention reads. At 1 they are the same up to an affine map. A channel
    without any variation is dead and has no duplicate. A curve shows the share of channels with a duplicate in every
    layer of the offered kinds; the explorer opens where that share is largest, the first of the ``layers`` left aside.

    Args:
        model: any network; it runs in eval mode, and its mode is restored.
        images: ``[N, C, H, W]``, as the model takes them. All of them are measured; live, each can be looked at.
        layers: names as in ``model.named_modules()``, or text to name, from the first to the last; what is shown is
            their output. Live, all layers of their classes are offered.
        untrained: the same network before its training, to compare with.
        labels: ``[N]``, the class of each image. With them each channel can be removed, its mean put in its place, and
            the first 200 images are classified without it.
        shown: indices of the images on the static page; None takes the first six, or three where there is an
            ``untrained`` network.
        names: one text per image.

    Raises:
        ValueError: if there is no image, an index is out of range, there are not as many names or labels as images,
            there is no layer, a name is unknown, a layer has no maps ``[B, C, H, W]``, or the layers of ``untrained``
            are others.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> explorer = channels(model, torch.rand(4, 3, 12, 12), ["1"])
        >>> [control.label for control in explorer.controls]
        ['Image', 'Layer', 'Compared by', 'Network']
    """
    first = range(min(6 if untrained is None else 3, len(images))) if shown is None else shown
    watched = {"trained": Watched(model, images, layers, first, names, "output")}
    offered, shapes = watched["trained"].layers, watched["trained"].shapes
    if untrained is not None:
        watched["untrained"] = Watched(untrained, images, list(offered.values()), first, names, "output")
        if watched["untrained"].shapes != shapes:
            raise ValueError("untrained has other layers than model; allowed is the same network before its training.")
    if labels is not None and labels.shape != (len(images),):
        raise ValueError(f"labels has shape {list(labels.shape)}; allowed is [{len(images)}], one per image.")
    in_curve = watched["trained"].alike()

    def measured(wanted: Sequence[str], view: str, network: str) -> dict[str, ChannelStatistics]:
        one = watched[network]
        return measure(one.model, one.batches(), wanted, view=view)

    @cache
    def together(view: str, network: str) -> dict[str, ChannelStatistics]:
        return measured(list(in_curve.values()), view, network)

    @cache
    def of(layer: str, view: str, network: str) -> ChannelStatistics:
        if layer in in_curve.values():
            return together(view, network)[layer]
        return measured([layer], view, network)[layer]

    def picture(image: int) -> dict[str, Any]:
        return watched["trained"].picture(image)

    def drawn(image: int, layer: str, network: str) -> dict[str, Any]:
        return watched[network].drawn(image, layer)

    @cache
    def statistics(layer: str, view: str, network: str) -> dict[str, Any]:
        found = of(layer, view, network)
        rows, columns = torch.triu_indices(found.channels, found.channels, 1)
        return {
            "channels": found.channels,
            "images": len(images),
            "r": encoded(in_ten_thousandths(found.correlation.cpu()[rows, columns])),
            "dead": found.dead.nonzero().flatten().tolist(),
        }

    @cache
    def curve(view: str) -> list[dict[str, Any]]:
        """Of every layer and network, how near each live channel's nearest one is."""
        return [
            {
                "layer": text,
                "nearest": {
                    network: encoded(in_ten_thousandths(nearest(of(layer, view, network)))) for network in watched
                },
            }
            for text, layer in in_curve.items()
        ]

    @cache
    def dots(layer: str, network: str) -> dict[str, Any]:
        """The means of a layer's maps, image by image."""
        one = watched[network]
        chosen = {layer: one.model.get_submodule(layer)}
        found = outputs_of(one.model, [images[:DOTS]], chosen, lambda name, inputs, output: means(output))[layer]
        return planes(found.T[:, None])

    @cache
    def removal(layer: str) -> dict[str, Any]:
        """How many images the trained network classifies correctly, and how many without each channel."""
        return right_without(model, layer, of(layer, "pixels", "trained"), images[:TESTED], labels[:TESTED])

    def share(layer: str) -> float:
        near = nearest(of(layer, "pixels", "trained"))
        return (near >= NEAR).double().mean().item() if len(near) else 0.0

    image, layer = watched["trained"].image_control(), watched["trained"].layer_control()
    candidates = list(offered.values())[1:] or list(offered.values())
    parts = (picture, drawn, statistics, curve, dots, *([] if labels is None else [removal]))
    return Explorer(
        name="channels",
        title="Channels that repeat each other",
        controls=(
            image,
            replace(layer, first=max(candidates, key=share)),
            Choice("view", "Compared by", {"every pixel": "pixels", "each map's mean": "means"}),
            Choice("network", "Network", {network: network for network in watched}),
        ),
        parts={part.__name__: part for part in parts},
    )


def nearest(statistics: ChannelStatistics) -> Tensor:
    """Of each live channel the largest ``|r|`` with another one."""
    live = ~statistics.dead
    return statistics.correlation.abs().fill_diagonal_(0).cpu()[live.cpu()].amax(1)


def right_without(
    model: nn.Module, layer: str, statistics: ChannelStatistics, images: Tensor, labels: Tensor
) -> dict[str, Any]:
    def right() -> int:
        [(_, wanted, logits)] = predictions(model, [(images, labels)])
        return int((logits.argmax(1) == wanted).sum())

    found = []
    with evaluating(model):
        for channel in range(statistics.channels):
            with without(model, {layer: [channel]}, {layer: statistics}):
                found.append(right())
        return {"images": len(images), "right": right(), "without": found}


def in_ten_thousandths(r: Tensor) -> Tensor:
    """Correlations as int16 of 1/10000, rounded towards 0.

    Rounded so, ``|r| >= t`` holds of these numbers exactly where it holds of r, for any threshold t of two decimals.
    """
    levels = torch.arange(10_001, dtype=torch.float64) / 10_000
    above = torch.searchsorted(levels, r.abs(), right=True) - 1
    return (above * r.sign()).to(torch.int16)
