"""The look of the book's figures: colour-blind safe, on white, and readable without colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING

from eamlib._extras import need

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

_MARKERS, _DASHES = "osD^v<>pX*", ("-", "--", "-.", ":")


def style() -> None:
    """Set the look of every figure that follows. White ground, so that a figure reads on a dark page and in print.

    Example:
        >>> style()
        >>> import matplotlib
        >>> matplotlib.rcParams["figure.facecolor"]
        'white'
    """
    need("plots", "seaborn")
    import seaborn as sns

    sns.set_theme(
        context="notebook",
        style="whitegrid",
        palette="colorblind",
        rc={
            "figure.figsize": (7, 3.6),
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "image.cmap": "viridis",
        },
    )


def pyplot():
    """The module of that name."""
    need("plots", "matplotlib")
    import matplotlib.pyplot as plt

    return plt


def axes(ax: Axes | None, **figure) -> Axes:
    """``ax``, or the axes of a new figure."""
    return pyplot().subplots(**figure)[1] if ax is None else ax


def looks() -> Iterator[dict[str, str]]:
    """Marker and dashes of one line after another, so that lines are told apart in grey print as well."""
    return ({"marker": _MARKERS[i % len(_MARKERS)], "ls": _DASHES[i % len(_DASHES)]} for i in count())


def picture(ax: Axes, values: Tensor, **options) -> Axes:
    """Draw a map ``[H, W]``, pixel by pixel, without a frame. ``options`` are those of ``Axes.imshow``."""
    ax.imshow(values.detach().cpu().numpy(), interpolation="nearest", **options)
    ax.set(xticks=[], yticks=[], frame_on=False)
    ax.grid(False)
    return ax


def name_layers(ax: Axes, names: Sequence[str]) -> None:
    """Write the layers' names below the places 0, 1, …, upright where they are long."""
    ax.set_xticks(range(len(names)), names, fontsize=10, rotation=90 if max(map(len, names)) > 3 else 0)
