"""Accuracy while training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eamlib._extras import need

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def accuracy_curves(histories: dict[str, list[dict]], ax: Axes | None = None) -> Axes:
    """Test accuracy against epoch, one line a history.

    Args:
        histories: label -> what :func:`eamlib.training.fit` returned.
        ax: where to draw; None makes a new figure.

    Example:
        >>> history = [{"epoch": 1, "test_accuracy": 61.0}, {"epoch": 2, "test_accuracy": 74.5}]
        >>> ax = accuracy_curves({"static": history})
        >>> ax.get_legend_handles_labels()[1]
        ['static, last 74.5 %']
    """
    need("plots", "matplotlib")
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
