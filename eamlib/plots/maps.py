"""Pictures of maps: all maps of a layer, and what selections of channels read from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eamlib.plots.look import picture, pyplot
from eamlib.redundancy import ChannelStatistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 4  # maps of a selection; a quarter of the channels may be many more


def gallery(
    maps: Tensor, statistics: ChannelStatistics | None = None, threshold: float = 0.95, *, columns: int = 8
) -> Figure:
    """The maps of one image, each in its own range of grey. Near-duplicates have a frame and a letter in common.

    Two channels are near-duplicates where their ``|r|`` is at least ``threshold``, and so are those that are linked by
    a chain of such pairs.

    Args:
        maps: ``[C, H, W]``.
        statistics: of the layer, over many images; None frames nothing.
        threshold: as in :meth:`eamlib.redundancy.ChannelStatistics.duplicates`.
        columns: maps in a row.

    Raises:
        ValueError: if the maps have another shape, or another number of channels than the statistics.

    Example:
        >>> figure = gallery(torch.rand(16, 12, 12), columns=8)
        >>> len(figure.axes)
        16
    """
    if maps.dim() != 3:
        raise ValueError(f"maps has shape {list(maps.shape)}; allowed is [C, H, W].")
    if statistics is not None and statistics.channels != len(maps):
        raise ValueError(
            f"maps has {len(maps)} channels and statistics {statistics.channels}; both must be one layer's."
        )
    rows = -(-len(maps) // columns)
    figure, grid = pyplot().subplots(rows, columns, figsize=(7, 1.05 * rows + 0.1), squeeze=False)
    for channel, (ax, values) in enumerate(zip(grid.flat, maps, strict=False)):
        picture(ax, values, cmap="gray").set_title(channel, fontsize=10, pad=3)
    for ax in grid.flat[len(maps) :]:
        ax.set_axis_off()
    for number, family in enumerate(_families(statistics, threshold) if statistics is not None else []):
        letter, colour = chr(ord("A") + number % 26), f"C{number % 10}"
        for channel in family:
            ax = grid.flat[channel]
            ax.set_title(f"{channel}  {letter}", fontsize=10, pad=3, color=colour, fontweight="bold")
            ax.set_frame_on(True)
            ax.spines[:].set(visible=True, color=colour, linewidth=3)
    return figure


def _families(statistics: ChannelStatistics, threshold: float) -> list[list[int]]:
    """The channels that duplicates link, family by family, the largest first."""
    family_of = {channel: {channel} for channel in range(statistics.channels)}
    for pair in statistics.duplicates(threshold):
        joined = family_of[pair.channel] | family_of[pair.of]
        family_of |= dict.fromkeys(joined, joined)
    families = {min(family): sorted(family) for family in family_of.values() if len(family) > 1}
    return sorted(families.values(), key=lambda family: (-len(family), family))


def readings(
    image: Tensor, maps: Tensor, selections: Mapping[str, nn.Module], *, sizes: Sequence[int] = (5, 1)
) -> Figure:
    """What selections of channels read from one image at one layer: one row each, with the maps and their summaries.

    Of a selection of more than four channels the first four are shown. The four pictures of a summary share one scale
    of brightness, from 0, or from the least value if that is negative, to the largest.

    Args:
        image: what the network was given, ``[C, H, W]``: drawn in grey, the mean of its channels.
        maps: the input of the layer for that image, ``[1, C, H, W]``.
        selections: label -> module ``[1, C, H, W] -> [1, n, H, W]``, as :func:`eamlib.layers.channel_selection` makes
            them.
        sizes: the p of each summary p × p, by average pooling.

    Raises:
        ValueError: if ``image`` or ``maps`` has another shape, or there is no selection.

    Example:
        >>> from eamlib.layers import channel_selection
        >>> maps = torch.rand(1, 16, 14, 14)
        >>> chosen = {name: channel_selection(name, 16) for name in ("rcr", "cgr")}
        >>> figure = readings(torch.rand(3, 28, 28), maps, chosen)
        >>> len(figure.axes)  # the image; of each selection 4 maps, 4 of 5 × 5 and 4 of 1 × 1
        25
    """
    if image.dim() != 3:
        raise ValueError(f"image has shape {list(image.shape)}; allowed is [C, H, W].")
    if maps.dim() != 4 or len(maps) != 1:
        raise ValueError(f"maps has shape {list(maps.shape)}; allowed is [1, C, H, W], of one image.")
    if not selections:
        raise ValueError("selections is empty; at least one is needed.")

    # Narrow columns and a row are left empty: between the groups of four, and for the titles. Labels stand on the left.
    columns = [1.0] * SHOWN + ([0.3] + [1.0] * SHOWN) * len(sizes)
    rows = [2.0, 0.5] + [1.0] * len(selections)
    unit, margin = 0.37, 0.95  # inches
    width, height = margin + unit * sum(columns), unit * 1.1 * sum(rows)
    figure = pyplot().figure(figsize=(width, height), layout="none")
    edges = {"left": margin / width, "right": 0.995, "top": 0.995, "bottom": 0.01, "wspace": 0.06, "hspace": 0.12}
    grid = figure.add_gridspec(len(rows), len(columns), width_ratios=columns, height_ratios=rows, **edges)
    beside = {"fontsize": 10, "rotation": 0, "ha": "right", "va": "center"}

    picture(figure.add_subplot(grid[0, :2]), image.float().mean(0), cmap="gray").set_ylabel("image", **beside)
    for row, (label, select) in enumerate(selections.items(), start=2):
        with torch.no_grad():
            picked = select(maps.cpu())[0]
        summaries = {"its maps": picked} | {f"{p} × {p}": F.adaptive_avg_pool2d(picked, p) for p in sizes}
        for group, (title, summary) in enumerate(summaries.items()):
            shown = summary[:SHOWN]
            scale = {"vmin": min(0, shown.min().item()), "vmax": shown.max().item()}
            first, *_ = (
                picture(figure.add_subplot(grid[row, group * (SHOWN + 1) + i]), values, **scale)
                for i, values in enumerate(shown)
            )
            if row == 2:
                first.set_title(title, fontsize=10, loc="left", pad=3)
            if group == 0:
                first.set_ylabel(label, **beside)
    return figure
