"""Channels that repeat each other: which ones, and how many of each layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from eamlib._extras import need
from eamlib.plots.look import axes, name_layers
from eamlib.redundancy.statistics import EDGES, STRENGTHS, ChannelStatistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From dark to light, each with a hatch of its own: told apart in grey print as well.
_SHADES = {"strong": ("#08306b", ""), "middle": ("#4292c6", "//"), "weak": ("#c6dbef", ".."), "none": ("white", "")}


def correlation_map(statistics: ChannelStatistics, *, absolute: bool = False) -> Figure:
    """The correlation of every pair of channels, with like channels side by side (seaborn's clustermap).

    Rows and columns are ordered by average linkage of the distance 1 − ``|r|``. Dead channels are left out. Up to
    twelve channels have their r written into the cells.

    Args:
        statistics: of one layer.
        absolute: show ``|r|``, from 0 to 1, instead of r, from −1 to 1.

    Raises:
        ValueError: if fewer than two channels live, so that there is no pair.

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
    """The shares of strong, middle, weak and no correlation among the pairs of each layer, one stacked bar per layer.

    Args:
        statistics: label -> of one layer, from the first to the last.
        ax: where to draw; None makes a new figure.
        edges: as in :meth:`eamlib.redundancy.ChannelStatistics.strengths`.

    Raises:
        ValueError: if there is no layer, or ``edges`` are not as there.

    Example:
        >>> from eamlib.redundancy import ChannelStatistics
        >>> statistics = ChannelStatistics(5)
        >>> statistics.update(torch.randn(100, 5))
        >>> ax = strength_bars({"first": statistics, "second": statistics})
        >>> ax.get_legend_handles_labels()[1]
        ['strong', 'middle', 'weak', 'none']
    """
    if not statistics:
        raise ValueError("statistics is empty; at least one layer is needed.")
    shares = [of_layer.strengths(edges) for of_layer in statistics.values()]
    ax = axes(ax)
    bottom = [0.0] * len(shares)
    for name in STRENGTHS:
        colour, hatch = _SHADES[name]
        heights = [100 * share[name] for share in shares]
        look = {"label": name, "color": colour, "hatch": hatch, "edgecolor": "black", "lw": 0.5}
        ax.bar(range(len(shares)), heights, 0.8, bottom, **look)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    ax.set(ylabel="% of pairs", ylim=(0, 100))
    name_layers(ax, list(statistics))
    ax.grid(False)
    ax.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False, fontsize=10)
    return ax
