"""The book's look, and the plots that more than one chapter draws. matplotlib and seaborn, colour-blind safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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


def lineage(channels: int = 128, size: int = 28):
    """From the standard convolution to EAM in six steps, each with its cost on one reference layer.

    The layer maps ``[channels, size, size]`` to the same shape by 3 × 3 kernels. Parameters and FLOPs are counted
    here, by :func:`eamlib.cost`; nothing is trained.

    Returns:
        The figure.
    """
    import matplotlib.pyplot as plt
    from torch import nn

    from eamlib.cost import cost
    from eamlib.layers import DepthwiseSeparable, conv_builder

    def block(conv: str) -> nn.Module:
        return DepthwiseSeparable(channels, channels, conv=conv_builder(conv))

    plain = conv_builder("static")
    bare = nn.Sequential(plain(channels, channels, 3, groups=channels), plain(channels, channels, 1))
    steps = (
        ("Standard convolution", "every output reads every input", plain(channels, channels, 3)),
        ("Depthwise separable", "space and channels apart", bare),
        ("MobileNet", "a norm and a ReLU after each half", block("static")),
        ("Dynamic = DyNet (Ding)", "4 kernels, mixed anew for each image", block("dynamic")),
        ("DyNet (Zhang)", "6 kernels a channel, mixed a channel", block("dynet")),
        ("EAM", "4 kernels, the mixer reads 4 channels", block("eam-rcr")),
    )
    costs = [cost(module, (channels, size, size)) for _, _, module in steps]
    most = max(c.parameters for c in costs), max(c.flops for c in costs)

    figure, axes = plt.subplots(3, 2, figsize=(6.4, 5.2), sharex=True)
    for i, (ax, (name, idea, _), c) in enumerate(zip(axes.flat, steps, costs, strict=True)):
        shares = [c.flops / most[1], c.parameters / most[0]]
        ax.barh([0, 1], shares, color=["C0", "C1"], height=0.6)
        ax.text(shares[0] + 0.02, 0, f"{c.flops / 1e6:.1f} M FLOPs", va="center", fontsize=10)
        ax.text(shares[1] + 0.02, 1, f"{c.parameters / 1e3:.0f} k parameters", va="center", fontsize=10)
        ax.set_title(f"{i + 1}  {name}", loc="left", fontsize=11, fontweight="bold", pad=18)
        ax.text(0, 1.04, idea, transform=ax.transAxes, fontsize=10)
        ax.set(xlim=(0, 1.75), ylim=(-0.5, 1.5), xticks=[], yticks=[], frame_on=False)
    return figure
