"""Channels that repeat each other: which, how strongly, in which layer, and what their maps look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from eamlib._extras import need
from eamlib.redundancy.statistics import EDGES, STRENGTHS, ChannelStatistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From dark to light, each with a hatch of its own: told apart in grey print as well.
_SHADES = {"strong": ("#08306b", ""), "middle": ("#4292c6", "//"), "weak": ("#c6dbef", ".."), "none": ("white", "")}
_MARKERS = "osD^vP<>X*"


def correlation_map(statistics: ChannelStatistics, *, absolute: bool = False) -> Figure:
    """The correlation of every pair of channels, channels that are alike beside each other (seaborn's clustermap).

    Rows and columns are ordered by average linkage of the distance 1 − ``|r|``. Dead channels are left out. Up to
    twelve channels have their r written into the cells.

    Args:
        statistics: of one layer.
        absolute: show ``|r|``, from 0 to 1, instead of r, from −1 to 1.

    Raises:
        ValueError: if fewer than two channels live: there is no pair.

    Example:
        >>> from eamlib.redundancy import ChannelStatistics
        >>> statistics = ChannelStatistics(5)
        >>> statistics.update(torch.randn(100, 5))
        >>> figure = correlation_map(statistics)
        >>> type(figure).__name__
        'Figure'
    """
    need("plots", "matplotlib", "pandas", "seaborn", "scipy")
    import matplotlib.pyplot as plt
    import pandas as pd
    import seaborn as sns
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    live = (~statistics.dead).nonzero()[:, 0].cpu()
    if len(live) < 2:
        raise ValueError(f"statistics has {len(live)} live channels; at least 2 are needed for a pair.")
    r = pd.DataFrame(statistics.correlation.cpu()[live][:, live].numpy(), live.tolist(), live.tolist())
    tree = linkage(squareform((1 - r.abs()).to_numpy(), checks=False), "average")
    limits = {"vmin": 0, "vmax": 1, "cmap": "Blues"} if absolute else {"vmin": -1, "vmax": 1, "cmap": "RdBu_r"}
    few = len(live) <= 12
    with plt.rc_context({"figure.constrained_layout.use": False}):  # seaborn lays the parts out itself
        grid = sns.clustermap(
            r.abs() if absolute else r,
            row_linkage=tree,
            col_linkage=tree,
            figsize=(5.4, 5.4),
            dendrogram_ratio=0.12,
            cbar_pos=(0.01, 0.9, 0.1, 0.025),
            cbar_kws={"orientation": "horizontal", "ticks": [limits["vmin"], limits["vmax"]]},
            annot=few,
            fmt=".1f",
            annot_kws={"fontsize": 10},
            xticklabels="auto",
            yticklabels="auto",
            **limits,
        )
    grid.ax_heatmap.set(xlabel="channel", ylabel="channel")
    grid.ax_heatmap.tick_params(labelsize=10)
    grid.ax_cbar.set_title("|r|" if absolute else "r", fontsize=11)
    grid.ax_cbar.tick_params(labelsize=10)
    return grid.figure


def strength_bars(
    statistics: Mapping[str, ChannelStatistics],
    ax: Axes | None = None,
    *,
    edges: tuple[float, float, float] = EDGES,
) -> Axes:
    """The shares of strong, middle, weak and no correlation among the pairs of each layer: one stacked bar a layer.

    Args:
        statistics: label -> of one layer, from the first to the last.
        ax: where to draw; None makes a new figure.
        edges: as in :meth:`eamlib.redundancy.ChannelStatistics.strengths`.

    Raises:
        ValueError: if there is no layer, or the edges are no edges.

    Example:
        >>> from eamlib.redundancy import ChannelStatistics
        >>> statistics = ChannelStatistics(5)
        >>> statistics.update(torch.randn(100, 5))
        >>> ax = strength_bars({"first": statistics, "second": statistics})
        >>> ax.get_legend_handles_labels()[1]
        ['strong', 'middle', 'weak', 'none']
    """
    need("plots", "matplotlib")
    import matplotlib.pyplot as plt

    if not statistics:
        raise ValueError("statistics is empty; at least one layer is needed.")
    if ax is None:
        _, ax = plt.subplots()
    shares = [of_layer.strengths(edges) for of_layer in statistics.values()]
    bottom = [0.0] * len(shares)
    for name in STRENGTHS:
        colour, hatch = _SHADES[name]
        heights = [100 * share[name] for share in shares]
        ax.bar(
            range(len(shares)), heights, 0.8, bottom, label=name, color=colour, hatch=hatch, edgecolor="black", lw=0.5
        )
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    ax.set(ylabel="% of pairs", ylim=(0, 100), xticks=range(len(shares)))
    ax.set_xticklabels(statistics, fontsize=10, rotation=90 if max(map(len, statistics)) > 3 else 0)
    ax.grid(False)
    ax.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False, fontsize=10)
    return ax


def against_depth(networks: Mapping[str, Mapping[str, float]], ax: Axes | None = None, *, ylabel: str = "") -> Axes:
    """A number for each layer against its depth, one line a network.

    Args:
        networks: label -> layer -> number, from the first layer to the last. Where all networks have the same layers,
            these are the ticks; else depth is a share, 0 for the first layer and 1 for the last.
        ax: where to draw; None makes a new figure.
        ylabel: what the number is.

    Raises:
        ValueError: if there is no network, or one of them has no layer.

    Example:
        >>> ranks = {"conv1": 6.1, "conv2": 9.8, "conv3": 14.0}
        >>> ax = against_depth({"trained": ranks, "untrained": ranks}, ylabel="effective rank")
        >>> ax.get_ylabel(), [tick.get_text() for tick in ax.get_xticklabels()]
        ('effective rank', ['conv1', 'conv2', 'conv3'])
    """
    need("plots", "matplotlib")
    import matplotlib.pyplot as plt

    if not networks or not all(networks.values()):
        raise ValueError(f"networks = {networks!r}; at least one is needed, and a layer in each.")
    if ax is None:
        _, ax = plt.subplots()
    layers = [tuple(layers) for layers in networks.values()]
    alike = len(set(layers)) == 1
    for i, (label, numbers) in enumerate(networks.items()):
        last = max(1, len(numbers) - 1)
        depth = [position if alike else position / last for position in range(len(numbers))]
        dashes = ("-", "--", ":", "-.")[i % 4]
        ax.plot(depth, list(numbers.values()), dashes, marker=_MARKERS[i % len(_MARKERS)], label=label)
    ax.set(ylabel=ylabel, xlabel="layer" if alike else "depth, from the first layer to the last")
    if alike:
        ax.set_xticks(range(len(layers[0])), layers[0], rotation=90 if max(map(len, layers[0])) > 3 else 0, fontsize=10)
    ax.legend(frameon=False, fontsize=10)
    return ax


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
    need("plots", "matplotlib")
    import matplotlib.pyplot as plt

    if maps.dim() != 3:
        raise ValueError(f"maps has shape {list(maps.shape)}; allowed is [C, H, W].")
    if statistics is not None and statistics.channels != len(maps):
        raise ValueError(
            f"maps has {len(maps)} channels and statistics {statistics.channels}; both must be one layer's."
        )
    rows = -(-len(maps) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(7, 1.05 * rows + 0.1), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for channel, (ax, picture) in enumerate(zip(axes.flat, maps.detach().cpu().numpy(), strict=False)):
        ax.imshow(picture, cmap="gray")
        ax.set_title(channel, fontsize=10, pad=3)
    for number, family in enumerate(_families(statistics, threshold) if statistics is not None else []):
        letter, colour = chr(ord("A") + number % 26), f"C{number % 10}"
        for channel in family:
            ax = axes.flat[channel]
            ax.set_axis_on()
            ax.set(xticks=[], yticks=[])
            ax.set_title(f"{channel}  {letter}", fontsize=10, pad=3, color=colour, fontweight="bold")
            for spine in ax.spines.values():
                spine.set(visible=True, color=colour, linewidth=3)
    return figure


def _families(statistics: ChannelStatistics, threshold: float) -> list[list[int]]:
    """The channels that duplicates link, family by family, the largest first."""
    family_of = {channel: {channel} for channel in range(statistics.channels)}
    for pair in statistics.duplicates(threshold):
        joined = family_of[pair.channel] | family_of[pair.of]
        for channel in joined:
            family_of[channel] = joined
    families = {min(family): sorted(family) for family in family_of.values() if len(family) > 1}
    return sorted(families.values(), key=lambda family: (-len(family), family))
