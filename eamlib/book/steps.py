"""The six steps from the standard convolution to EAM: the bars of the landing page, and the figure of the cover."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eamlib.plots.look import pyplot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from eamlib.analysis.cost import Cost


def lineage_steps(channels: int = 128, size: int = 28) -> list[tuple[str, str, Cost]]:
    """From the standard convolution to EAM in six steps: name, idea, and cost on one reference layer.

    The layer maps ``[channels, size, size]`` to the same shape by 3 × 3 kernels. Parameters and FLOPs are counted
    here, by :func:`eamlib.cost`; nothing is trained.

    Example:
        >>> name, idea, cost = lineage_steps(channels=16, size=8)[-1]
        >>> name, idea
        ('EAM', '4 kernels, the mixer reads 4 channels')
    """
    from torch import nn

    from eamlib.analysis.cost import cost
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
        ("DyNet (Zhang)", "6 kernels per channel, mixed per channel", block("dynet")),
        ("EAM", "4 kernels, the mixer reads 4 channels", block("eam-rcr")),
    )
    return [(name, idea, cost(module, (channels, size, size))) for name, idea, module in steps]


def lineage(channels: int = 128, size: int = 28) -> Figure:
    """The six steps of :func:`lineage_steps`, each with two bars.

    Example:
        >>> figure = lineage(channels=16, size=8)
        >>> [ax.get_title(loc="left") for ax in figure.axes][-1]
        '6  EAM'
    """
    steps = lineage_steps(channels, size)
    most = max(c.parameters for *_, c in steps), max(c.flops for *_, c in steps)

    figure, grid = pyplot().subplots(3, 2, figsize=(6.4, 5.2), sharex=True)
    for i, (ax, (name, idea, c)) in enumerate(zip(grid.flat, steps, strict=True)):
        shares = [c.flops / most[1], c.parameters / most[0]]
        ax.barh([0, 1], shares, color=["C0", "C1"], height=0.6)
        ax.text(shares[0] + 0.02, 0, f"{c.flops / 1e6:.1f} M FLOPs", va="center", fontsize=10)
        ax.text(shares[1] + 0.02, 1, f"{c.parameters / 1e3:.0f} k parameters", va="center", fontsize=10)
        ax.set_title(f"{i + 1}  {name}", loc="left", fontsize=11, fontweight="bold", pad=18)
        ax.text(0, 1.04, idea, transform=ax.transAxes, fontsize=10)
        ax.set(xlim=(0, 1.75), ylim=(-0.5, 1.5), xticks=[], yticks=[], frame_on=False)
    return figure
