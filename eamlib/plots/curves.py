"""Lines: accuracy against epochs, and numbers of layers against their depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from eamlib._checks import one_of
from eamlib.plots.look import axes, looks, name_layers
from eamlib.redundancy import Premise

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def accuracy_curves(histories: dict[str, list[dict]], ax: Axes | None = None) -> Axes:
    """Test accuracy against epochs, one line per history.

    Args:
        histories: label -> what :func:`eamlib.training.fit` returned.
        ax: where to draw; None makes a new figure.

    Example:
        >>> history = [{"epoch": 1, "test_accuracy": 61.0}, {"epoch": 2, "test_accuracy": 74.5}]
        >>> ax = accuracy_curves({"static": history})
        >>> ax.get_legend_handles_labels()[1]
        ['static, last 74.5 %']
    """
    ax = axes(ax)
    for look, (label, history) in zip(looks(), histories.items(), strict=False):
        accuracy = {line["epoch"]: line["test_accuracy"] for line in history}
        label = f"{label}, last {history[-1]['test_accuracy']:.1f} %"
        ax.plot(accuracy.keys(), accuracy.values(), marker=look["marker"], label=label)
    ax.set(xlabel="epoch", ylabel="test accuracy (%)")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False)
    return ax


def against_depth(networks: Mapping[str, Mapping[str, float]], ax: Axes | None = None, *, ylabel: str = "") -> Axes:
    """A number of each layer against the layer's depth, one line per network.

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
    if not networks or not all(networks.values()):
        raise ValueError(f"networks = {networks!r}; at least one is needed, and a layer in each.")
    ax = axes(ax)
    alike = len({tuple(layers) for layers in networks.values()}) == 1
    for look, (label, numbers) in zip(looks(), networks.items(), strict=False):
        whole = 1 if alike else max(1, len(numbers) - 1)
        ax.plot([place / whole for place in range(len(numbers))], numbers.values(), label=label, **look)
    ax.set(ylabel=ylabel, xlabel="layer" if alike else "depth, from the first layer to the last")
    if alike:
        name_layers(ax, list(numbers))
    ax.legend(frameon=False, fontsize=10)
    return ax


def premise_by_depth(found: Mapping[str, Sequence[Premise]], *, of: str = "descriptor", ax: Axes | None = None) -> Axes:
    """Held-out R² against depth, one line per way of reading.

    Args:
        found: label -> what :func:`eamlib.redundancy.premise` returned. Where it holds several readings of a layer,
            draws of RCR say, the line is their mean and a band spans all of them.
        of: what was predicted: ``"descriptor"``, every channel's mean (the mean R² of the live channels), or
            ``"attention"``, the layer's own.
        ax: where to draw; None makes a new figure.

    Raises:
        ValueError: if ``of`` is neither, there is nothing to draw, the labels are not of the same layers, or a layer
            has no attention to be predicted.

    Example:
        >>> from eamlib.redundancy import Reading, premise
        >>> model = eamlib.create_model("mobilenet_v1", "dynamic", width_mult=0.25, num_classes=10)
        >>> found = premise(model, [torch.randn(32, 3, 32, 32)], [Reading("cgr", output_size=1)])
        >>> ax = premise_by_depth({"CGR, 1 × 1": found})
        >>> ax.get_ylabel()
        'held-out R²'
    """
    value = {"descriptor": "mean_r2", "attention": "attention_r2"}[one_of("of", of, ("descriptor", "attention"))]
    lines: dict[str, dict[str, list[float]]] = {label: {} for label in found}
    for label, several in found.items():
        for one in several:
            if getattr(one, value) is None:
                raise ValueError(f"found[{label!r}]: layer {one.layer!r} has no attention; allowed is a DynamicConv2d.")
            lines[label].setdefault(one.layer, []).append(getattr(one, value))
    layers = {tuple(by_layer) for by_layer in lines.values()}
    if not any(layers):
        raise ValueError("found is empty; at least one reading of one layer is needed.")
    if len(layers) > 1:
        raise ValueError("found holds other layers under one label than under another; allowed are the same, in order.")

    ax = axes(ax)
    for look, (label, by_layer) in zip(looks(), lines.items(), strict=False):
        depth, values = range(1, len(by_layer) + 1), by_layer.values()
        [line] = ax.plot(depth, [*map(fmean, values)], ms=5, label=label, **look)
        if max(map(len, values)) > 1:
            ax.fill_between(depth, [*map(min, values)], [*map(max, values)], color=line.get_color(), alpha=0.2, lw=0)
    lowest = min(min(values) for by_layer in lines.values() for values in by_layer.values())
    ax.set(xlabel="layer, from input to output", ylabel="held-out R²", ylim=(min(0, 1.05 * lowest), 1.02))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, fontsize=9)
    return ax
