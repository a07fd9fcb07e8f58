"""What a layer is called where somebody reads it: "block 3, pointwise" for ``features.3.1.0``."""

from __future__ import annotations

from collections import Counter

from torch import nn

from eamlib.layers import DynamicConv2d, DyNetConv2d
from eamlib.models.network import Network

CONVOLUTIONS = (nn.Conv2d, DynamicConv2d, DyNetConv2d)


def layer_names(model: nn.Module) -> dict[str, str]:
    """The names of a network's layers by their paths: the block from 1, and the kind of convolution.

    A convolution shares its name with what belongs to it alone: its normalisation, its activation, its attention. Where
    a block has several of a kind, they are numbered. A single convolution before the blocks is the stem, behind them
    the head. A path is its own name where it lies in no convolution, or in a network that is not of
    :mod:`eamlib.models`.

    Example:
        >>> names = layer_names(eamlib.create_model("mobilenet_v1", width_mult=0.25))
        >>> names["features.0.0"], names["features.3.1.0"], names["features.3.1.2"], names["classifier.3"]
        ('stem', 'block 3, pointwise', 'block 3, pointwise', 'classifier.3')
        >>> names = layer_names(eamlib.create_model("resnet18", "eam-rcr", width_mult=0.25))
        >>> names["features.2.layers.1.0"], names["features.2.layers.1.0.attention"]
        ('block 1, 3 × 3 (2)', 'block 1, 3 × 3 (2)')
    """
    names = {path: path for path, _ in model.named_modules()}
    if not isinstance(model, Network):
        return names
    blocks = 0
    for number, part in enumerate(model.features):
        convolutions = {
            f"features.{number}.{path}".rstrip("."): _kind(layer)
            for path, layer in part.named_modules()
            if isinstance(layer, CONVOLUTIONS)
        }
        if len(convolutions) == 1:
            names |= dict.fromkeys(_below(names, f"features.{number}"), "head" if blocks else "stem")
        elif convolutions:
            blocks += 1
            several, seen = Counter(convolutions.values()), Counter()
            for path, kind in convolutions.items():
                seen[kind] += 1
                order = f" ({seen[kind]})" if several[kind] > 1 else ""
                names |= dict.fromkeys(_of_one(names, path, convolutions), f"block {blocks}, {kind}{order}")
    return names


def _kind(layer: nn.Module) -> str:
    if layer.groups == layer.in_channels > 1:
        return "depthwise"
    height, width = layer.kernel_size
    return "pointwise" if height == width == 1 else f"{height} × {width}"


def _below(paths, path: str) -> list[str]:
    """A module and all that lies in it."""
    return [other for other in paths if f"{other}.".startswith(f"{path}.")]


def _of_one(paths, path: str, convolutions) -> list[str]:
    """What belongs to the convolution at ``path`` alone: the largest module with no other of the block's in it."""
    alone = path
    while (above := alone.rpartition(".")[0]) and len(_below(convolutions, above)) == 1:
        alone = above
    return _below(paths, alone)
