"""The look of the book's figures: colour-blind safe, on white."""

from __future__ import annotations

from eamlib._extras import need


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
