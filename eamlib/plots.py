"""The book's look, and the plots that more than one chapter draws. matplotlib and seaborn, colour-blind safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor


def style() -> None:
    """Set the look of every figure that follows. White ground, so that a figure reads on a dark page and in print."""
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


def accuracy_curves(histories: dict[str, list[dict]], ax: Axes | None = None) -> Axes:
    """Test accuracy against epoch, one line a history.

    Args:
        histories: label -> what :func:`eamlib.training.fit` returned.
        ax: where to draw; None makes a new figure.
    """
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots()
    for (label, history), marker in zip(histories.items(), "osD^v<>pX*" * len(histories), strict=False):
        epochs = [line["epoch"] for line in history]
        accuracy = [line["test_accuracy"] for line in history]
        ax.plot(epochs, accuracy, marker=marker, label=f"{label}, last {accuracy[-1]:.1f} %")
    ax.set(xlabel="epoch", ylabel="test accuracy (%)")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False)
    return ax


def images(images: Tensor, titles: list[str] | None = None, columns: int = 8, cmap: str = "gray"):
    """A gallery of maps or pictures.

    Args:
        images: ``[N, H, W]``, or ``[N, 3, H, W]`` with values that matplotlib takes as RGB.
        titles: one an image.
        columns: in a row.

    Returns:
        The figure.
    """
    import matplotlib.pyplot as plt

    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    figure, axes = plt.subplots(rows, columns, figsize=(1.1 * columns, 1.25 * rows), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for i, image in enumerate(images.detach().cpu()):
        ax = axes.flat[i]
        ax.imshow(image.permute(1, 2, 0) if image.dim() == 3 else image, cmap=cmap)
        if titles is not None:
            ax.set_title(titles[i], fontsize=9)
    return figure
