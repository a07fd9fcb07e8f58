"""What EAM reads of one image, and what can be made of it: channels, pooled maps, attention weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from eamlib.analysis.watch import outputs_of
from eamlib.book.explore.controls import Choice
from eamlib.book.explore.explorer import Explorer
from eamlib.book.explore.maps import SIDE, Layers, Watched, planes, reduced
from eamlib.layers import DynamicConv2d
from eamlib.layers.selection import channel_selection
from eamlib.redundancy import Premise, Reading, premise

LARGEST = 300  # numbers of a reading: fitting a whole page of larger ones takes its readers too long
COUNTED = ("rcr", "cgr", "cgr-max")  # the selections to which n means something
SELECTIONS = {
    "RCR: n drawn at random": "rcr",
    "CGR: means of n groups": "cgr",
    "CGR-MAX: maxima of n groups": "cgr-max",
    "every 4th channel": "stride",
    "first quarter": "slice0",
    "second quarter": "slice1",
    "third quarter": "slice2",
    "last quarter": "slice3",
}


def eam(
    model: nn.Module,
    images: Tensor,
    layers: Layers,
    *,
    shown: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Explorer:
    """Choose a selection, n, p and pooling; see the channels, the pooled maps and the K attention weights.

    A trained attention has weights for its own reading and for no other. So two answers stand side by side: that of the
    trained attention, with how far it departs from its average over all images; and that of a linear attention which
    gets this reading alone, fitted by :func:`eamlib.redundancy.premise` over all ``images`` to imitate the trained one,
    with its held-out R². Readings of more than 300 numbers are left out.

    Args:
        model: a network of :class:`eamlib.layers.DynamicConv2d`, best one whose attention reads all channels.
        images: ``[N, C, H, W]``, as the model takes them. Live, each can be looked at.
        layers: names of dynamic convolutions, or text to name. What is read is their input. Live, all of the network's
            are offered.
        shown: indices of the images on the static page; None takes the first three.
        names: one text per image.
        seed: of RCR's draw.

    Raises:
        ValueError: if there are fewer than eight images, an index is out of range, there are not as many names as
            images, there is no layer, or a name is unknown or not a dynamic convolution's.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), eamlib.layers.DynamicConv2d(8, 8, 1))
        >>> explorer = eam(model, torch.rand(8, 3, 12, 12), ["1"])
        >>> [control.name for control in explorer.controls]
        ['image', 'layer', 'select', 'n', 'p', 'pool']
    """
    watched = Watched(model, images, layers, range(3) if shown is None else shown, names, "input")
    for layer in watched.layers.values():
        if not isinstance(module := model.get_submodule(layer), DynamicConv2d):
            raise ValueError(f"layers: {layer!r} is a {type(module).__name__}; allowed is a DynamicConv2d.")
    if len(images) < 8:
        raise ValueError(f"images holds {len(images)}; at least 8 are needed, to fit an attention and to judge it.")
    controls = (
        Choice("select", "Selection", SELECTIONS),
        Choice("n", "n", _texts((4, 2, 8)), finer=_texts(range(1, 17)), only=("select", COUNTED)),
        Choice("p", "p", _texts((5, 1, 3, 7)), finer=_texts(range(1, 10))),
        Choice("pool", "Pooling", {"average": "avg", "maximum": "max"}),
    )
    fitted: dict[tuple[str, Reading], Premise] = {}

    def reading_of(select: str, n: int, p: int, pool: str) -> Reading:
        return Reading(select, n if select in COUNTED else 4, pool, p, seed)

    def unread(layer: str, select: str, n: int, p: int = 0) -> str | None:
        """Why there is no such reading, if so; at p = 0, why these channels cannot be selected."""
        in_channels = watched.shapes[layer][0]
        if select in COUNTED and n > in_channels:
            return f"n = {n} is more than the {in_channels} channels of this layer."
        if select not in COUNTED and in_channels < 4:
            return f"This layer has {in_channels} channels, too few for a quarter of them."
        if p and (features := len(chosen(layer, select, n)) * p**2) > LARGEST:
            return (
                f"{features // p**2} maps of {p} × {p} are {features:,} numbers. To fit an attention to so many takes "
                f"seconds: this explorer stops at {LARGEST}, eamlib.redundancy.premise does not."
            )
        return None

    def fit(layer: str, readings: Iterable[Reading]) -> None:
        if missing := [reading for reading in dict.fromkeys(readings) if (layer, reading) not in fitted]:
            found = premise(model, watched.batches(), missing, [layer])
            fitted.update({(layer, one.reading): one for one in found})

    def fit_all() -> None:
        for layer in watched.layers.values():
            states = itertools.product(*(control.options.values() for control in controls))
            fit(layer, [reading_of(*state) for state in states if not unread(layer, *state[:3])])

    def premise_of(layer: str, reading: Reading) -> Premise:
        fit(layer, [reading])
        return fitted[layer, reading]

    @cache
    def chosen(layer: str, select: str, n: int) -> list[list[int]]:
        """For each map that is read, the channels that it is made of."""
        if unread(layer, select, n):
            return []
        numbers = torch.arange(watched.shapes[layer][0])
        if select in ("cgr", "cgr-max"):
            return [group.tolist() for group in numbers.tensor_split(n)]
        selection = channel_selection(select, len(numbers), n if select in COUNTED else None, seed)
        return [[channel] for channel in selection(numbers[None, :, None, None]).flatten().tolist()]

    def selected(image: int, layer: str, reading: Reading) -> Tensor:
        maps = watched.maps(image, layer)
        return reading.of(maps.shape[1]).to(maps.device).select(maps)

    def picked(image: int, layer: str, select: str, n: int) -> dict[str, Any] | None:
        """The maps that are read, each in its own range."""
        if unread(layer, select, n):
            return None
        return planes(reduced(selected(image, layer, reading_of(select, n, 1, "avg")), SIDE)[0])

    def pooled(image: int, layer: str, select: str, n: int, p: int, pool: str) -> dict[str, Any] | None:
        """The same maps pooled to p × p, each in the range of the map that it was made of."""
        if unread(layer, select, n, p):
            return None
        reading = reading_of(select, n, p, pool)
        maps = watched.maps(image, layer)
        small = reading.of(maps.shape[1]).to(maps.device).descriptor(maps).view(-1, p, p)
        return planes(small, like=selected(image, layer, reading)[0])

    @cache
    def answers(layer: str) -> Tensor:
        """The trained attention's weights ``[N, K]`` for all images."""
        return outputs_of(model, watched.batches(), {layer: model.get_submodule(layer).attention})[layer]

    def attention(image: int, layer: str) -> list[float]:
        """The trained attention's K weights."""
        return _rounded(answers(layer)[image])

    @cache
    def average(layer: str) -> dict[str, Any]:
        """The mean of the trained attention over all images, and how far it departs from it."""
        mean = answers(layer).mean(0)
        departures = answers(layer) - mean
        return {
            "mean": _rounded(mean),
            "spread": float(f"{departures.square().mean().sqrt().item():.2g}"),
            "largest": float(f"{departures.abs().max().item():.2g}"),
        }

    def imitated(image: int, layer: str, select: str, n: int, p: int, pool: str) -> list[float] | None:
        """The K weights of the attention that reads this alone."""
        if unread(layer, select, n, p):
            return None
        found = premise_of(layer, reading_of(select, n, p, pool))
        return _rounded(found.imitated_attention(watched.maps(image, layer))[0])

    def told(layer: str, select: str, n: int, p: int, pool: str) -> dict[str, Any]:
        """How much the reading tells, over all images."""
        if why := unread(layer, select, n, p):
            return {"message": why}
        found = premise_of(layer, reading_of(select, n, p, pool))
        return {
            "features": found.features,
            "images": found.images,
            "attention_r2": round(found.attention_r2, 3),
            "mean_r2": round(found.mean_r2, 3),
        }

    return Explorer(
        name="eam",
        title="What EAM reads, and the attention that can be made of it",
        controls=(watched.image_control(), watched.layer_control(), *controls),
        parts={
            part.__name__: part
            for part in (watched.picture, watched.drawn, chosen, picked, pooled, attention, average, imitated, told)
        },
        prepare=fit_all,
    )


def _texts(numbers: Sequence[int]) -> dict[str, int]:
    return {str(number): number for number in numbers}


def _rounded(weights: Tensor) -> list[float]:
    return [round(weight, 4) for weight in weights.tolist()]
