"""What attention answers to each class, at the end of a training and over its epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eamlib._checks import one_of
from eamlib._extras import need
from eamlib.analysis.diagnose import diagnosis
from eamlib.plots.look import axes, looks, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def attention_by_class(
    attention: Tensor, labels: Tensor, classes: Sequence[str], ax: Axes | None = None, **heatmap
) -> Axes:
    """The mean attention of each class as a heat map with its numbers: a row for each class, a column for each kernel.

    Args:
        attention: ``[N, K]``.
        labels: ``[N]``, indices into ``classes``; a class without an image is left blank.
        classes: names.
        ax: where to draw; None makes a new figure.
        heatmap: options of ``seaborn.heatmap``; ``vmin`` and ``vmax`` are 0 and 1 unless given.

    Raises:
        ValueError: if ``attention`` is not ``[N, K]`` with a row for each label, or a label has no name.

    Example:
        >>> attention = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
        >>> ax = attention_by_class(attention, torch.tensor([0, 0, 1]), ["boot", "bag"])
        >>> [text.get_text() for text in ax.texts]
        ['0.80', '0.20', '0.20', '0.80']
    """
    need("plots", "matplotlib", "seaborn")
    import seaborn as sns

    mean = class_means(attention, labels, len(classes)).cpu().numpy()
    ax = axes(ax, figsize=(4.6, 0.9 + 0.28 * len(classes)))
    options = {"vmin": 0, "vmax": 1, "annot": True, "fmt": ".2f", "annot_kws": {"fontsize": 9}, "cmap": "viridis"}
    sns.heatmap(mean, ax=ax, xticklabels=range(1, mean.shape[1] + 1), yticklabels=classes, **options | heatmap)
    ax.tick_params("y", rotation=0)
    ax.set_xlabel("kernel")
    return ax


def class_means(attention: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean of ``attention`` ``[N, K]`` over the images of each class: ``[classes, K]``, NaN where there is none.

    Raises:
        ValueError: as :func:`attention_by_class`.
    """
    if attention.dim() != 2 or labels.shape != attention.shape[:1]:
        raise ValueError(
            f"attention has shape {list(attention.shape)} for {len(labels)} labels; allowed is [{len(labels)}, K]."
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}; allowed is 0 to {classes - 1}.")
    return torch.stack([attention[(labels == c).to(attention.device)].mean(0) for c in range(classes)])


def attention_over_training(
    epochs: Mapping[int, Mapping[str, Tensor]],
    labels: Tensor,
    classes: Sequence[str],
    *,
    layer: str | None = None,
) -> Figure:
    """How attention came to be over the epochs: class by class in one layer, and as information in all of them.

    Above, the mean attention of each class in ``layer``, one heat map per epoch. Below, what
    :class:`eamlib.LayerAttention` calls information, against the layers from input to output, one line per epoch.

    Args:
        epochs: the epochs to show, in order: what every layer's attention ``[N, K]`` answered to the same N images, by
            the layers' names, as :func:`eamlib.analysis.watch.outputs_of` gives it.
        labels: of the images, ``[N]``.
        classes: names.
        layer: the one to show by class; None takes the one with the most information at the end.

    Raises:
        ValueError: if there is no epoch, or ``layer`` is unknown; else as :func:`attention_by_class`.

    Example:
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> at_first, at_last = torch.full((4, 2), 0.5), torch.eye(2)[labels]
        >>> figure = attention_over_training({1: {"layer": at_first}, 5: {"layer": at_last}}, labels, ["boot", "bag"])
        >>> [ax.get_title() for ax in figure.axes][:2]
        ['epoch 1', '5']
    """
    if not epochs:
        raise ValueError("epochs is empty; at least one is needed.")
    found = {epoch: information(seen) for epoch, seen in epochs.items()}
    last = found[list(epochs)[-1]]
    layer = max(last, key=last.get) if layer is None else one_of("layer", layer, last)

    plt = pyplot()
    figure = plt.figure(figsize=(6.4, 5.6))
    above, below = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    maps = above.subplots(1, len(epochs), sharey=True, squeeze=False)[0]
    for ax, (epoch, seen) in zip(maps, epochs.items(), strict=True):
        attention_by_class(seen[layer], labels, classes, ax, annot=False, cbar=False)
        ax.set_title(f"epoch {epoch}" if ax is maps[0] else f"{epoch}", fontsize=10)
        ax.tick_params(labelsize=9)
        ax.set_xlabel("")
    above.supxlabel(f"kernel of {layer}", fontsize=10)
    above.colorbar(maps[0].collections[0], ax=maps, label="mean attention", aspect=30)

    ax = below.subplots()
    shades = plt.get_cmap("viridis")(torch.linspace(0.85, 0, len(found)).tolist())
    for shade, look, (epoch, of_layer) in zip(shades, looks(), found.items(), strict=False):
        ax.plot(range(1, len(of_layer) + 1), of_layer.values(), ms=4, color=shade, label=epoch, **look)
    ax.set(xlabel="dynamic layer, from input to output", ylabel="information")
    ax.legend(title="epoch", frameon=False, fontsize=9, title_fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def information(attentions: Mapping[str, Tensor]) -> dict[str, float]:
    """The information of every layer's attention ``[N, K]``, as in :class:`eamlib.LayerAttention`."""
    return {name: diagnosis(name, attention.cpu().double()).information for name, attention in attentions.items()}
