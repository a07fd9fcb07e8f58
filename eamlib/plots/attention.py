"""What an attention reads, what it answers, and how much the reading tells of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eamlib._checks import one_of
from eamlib._extras import need
from eamlib.analysis.diagnose import diagnosis
from eamlib.redundancy import Premise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 4  # maps of a selection; a quarter of the channels may be many more
LINES = ("-", "--", "-.", ":")
MARKS = "osD^v<>pX*"


def readings(
    image: Tensor, maps: Tensor, selections: Mapping[str, nn.Module], *, sizes: Sequence[int] = (5, 1)
) -> Figure:
    """What selections of channels read from one image at one layer: a row each, its maps and their summaries.

    Of a selection of more than four channels the first four are shown. The four pictures of one summary have one scale
    of brightness, from 0, or from the least value if that is negative, to the largest.

    Args:
        image: what the network was given, ``[C, H, W]``: drawn in grey, the mean of its channels.
        maps: the input of the layer for that image, ``[1, C, H, W]``.
        selections: label -> module ``[1, C, H, W] -> [1, n, H, W]``, as :func:`eamlib.layers.channel_selection` makes
            them.
        sizes: the p of each summary p × p, by average pooling.

    Raises:
        ValueError: if ``image`` or ``maps`` has another shape, or there is no selection.

    Example:
        >>> from eamlib.layers import channel_selection
        >>> maps = torch.rand(1, 16, 14, 14)
        >>> chosen = {name: channel_selection(name, 16) for name in ("rcr", "cgr")}
        >>> figure = readings(torch.rand(3, 28, 28), maps, chosen)
        >>> len(figure.axes)  # the image; of each selection 4 maps, 4 of 5 × 5 and 4 of 1 × 1
        25
    """
    need("plots", "matplotlib")
    import matplotlib.pyplot as plt

    if image.dim() != 3:
        raise ValueError(f"image has shape {list(image.shape)}; allowed is [C, H, W].")
    if maps.dim() != 4 or len(maps) != 1:
        raise ValueError(f"maps has shape {list(maps.shape)}; allowed is [1, C, H, W], of one image.")
    if not selections:
        raise ValueError("selections is empty; at least one is needed.")
    with torch.no_grad():
        chosen = {label: select(maps.cpu())[0] for label, select in selections.items()}
    titles = ["its maps", *(f"{p} × {p}" for p in sizes)]

    # Narrow columns and a row are left empty: between the groups of four, and for the titles. Labels stand on the left.
    columns = [1.0] * SHOWN + ([0.3] + [1.0] * SHOWN) * len(sizes)
    rows = [2.0, 0.5] + [1.0] * len(chosen)
    unit, margin = 0.37, 0.95  # inches
    width, height = margin + unit * sum(columns), unit * 1.1 * sum(rows)
    figure = plt.figure(figsize=(width, height), layout="none")
    grid = figure.add_gridspec(
        len(rows),
        len(columns),
        width_ratios=columns,
        height_ratios=rows,
        left=margin / width,
        right=0.995,
        top=0.995,
        bottom=0.01,
        wspace=0.06,
        hspace=0.12,
    )

    def picture(row: int, column: int | slice, values: Tensor, **scale) -> Axes:
        ax = figure.add_subplot(grid[row, column])
        ax.imshow(values.cpu().numpy(), interpolation="nearest", **scale)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.set_frame_on(False)
        return ax

    first = picture(0, slice(0, 2), image.float().mean(0), cmap="gray")
    first.set_ylabel("image", fontsize=10, rotation=0, ha="right", va="center")
    for row, (label, picked) in enumerate(chosen.items(), start=2):
        for group, summary in enumerate([picked, *(F.adaptive_avg_pool2d(picked, p) for p in sizes)]):
            shown = summary[:SHOWN]
            scale = {"vmin": min(0, shown.min().item()), "vmax": shown.max().item()}
            for i, values in enumerate(shown):
                ax = picture(row, group * (SHOWN + 1) + i, values, **scale)
                if row == 2 and i == 0:
                    ax.set_title(titles[group], fontsize=10, loc="left", pad=3)
                if group == 0 and i == 0:
                    ax.set_ylabel(label, fontsize=10, rotation=0, ha="right", va="center")
    return figure


def attention_by_class(
    attention: Tensor, labels: Tensor, classes: Sequence[str], ax: Axes | None = None, **heatmap
) -> Axes:
    """The mean attention of each class as a heat map with its numbers: a row a class, a column a kernel.

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
    import matplotlib.pyplot as plt
    import seaborn as sns

    mean = class_means(attention, labels, len(classes))
    if ax is None:
        _, ax = plt.subplots(figsize=(4.6, 0.9 + 0.28 * len(classes)))
    options = {"vmin": 0, "vmax": 1, "annot": True, "fmt": ".2f", "annot_kws": {"fontsize": 9}, "cmap": "viridis"}
    sns.heatmap(mean.cpu().numpy(), ax=ax, **options | heatmap)
    ax.set_yticks([i + 0.5 for i in range(len(classes))], classes, rotation=0)
    ax.set_xticks([k + 0.5 for k in range(mean.shape[1])], range(1, mean.shape[1] + 1))
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
    """How attention came to be: class by class in one layer, and as information in all of them, over the epochs.

    Above, the mean attention of each class in ``layer``, one heat map an epoch. Below, what
    :class:`eamlib.LayerAttention` calls information, against the layers from input to output, one line an epoch.

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
    need("plots", "matplotlib")
    import matplotlib.pyplot as plt

    if not epochs:
        raise ValueError("epochs is empty; at least one is needed.")
    found = {epoch: information(seen) for epoch, seen in epochs.items()}
    last = found[list(epochs)[-1]]
    layer = max(last, key=last.get) if layer is None else one_of("layer", layer, last)

    figure = plt.figure(figsize=(6.4, 5.6))
    above, below = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    axes = above.subplots(1, len(epochs), sharey=True, squeeze=False)[0]
    for ax, (epoch, seen) in zip(axes, epochs.items(), strict=True):
        mean = class_means(seen[layer], labels, len(classes)).cpu()
        drawn = ax.imshow(mean.numpy(), vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        ax.set_title(f"epoch {epoch}" if ax is axes[0] else f"{epoch}", fontsize=10)
        ax.set(xticks=range(mean.shape[1]), yticks=range(len(classes)))
        ax.set_xticklabels(range(1, mean.shape[1] + 1), fontsize=9)
        ax.set_yticklabels(classes, fontsize=9)
        ax.grid(False)
    above.supxlabel(f"kernel of {layer}", fontsize=10)
    above.colorbar(drawn, ax=axes, label="mean attention", aspect=30)

    ax = below.subplots()
    for i, (epoch, of_layer) in enumerate(found.items()):
        shade = plt.get_cmap("viridis")(0.85 * (1 - i / max(1, len(found) - 1)))
        depth = range(1, len(of_layer) + 1)
        ax.plot(depth, list(of_layer.values()), marker=MARKS[i % 10], ms=4, ls=LINES[i % 4], color=shade, label=epoch)
    ax.set(xlabel="dynamic layer, from input to output", ylabel="information")
    ax.legend(title="epoch", frameon=False, fontsize=9, title_fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def information(attentions: Mapping[str, Tensor]) -> dict[str, float]:
    """The information of every layer's attention ``[N, K]``, as in :class:`eamlib.LayerAttention`."""
    return {name: diagnosis(name, attention.cpu().double()).information for name, attention in attentions.items()}


def premise_by_depth(found: Mapping[str, Sequence[Premise]], *, of: str = "descriptor", ax: Axes | None = None) -> Axes:
    """Held-out R² against depth, one line for each way of reading.

    Args:
        found: label -> what :func:`eamlib.redundancy.premise` returned. Of several readings of one layer, draws of RCR
            say, the line is the mean and a band spans all of them.
        of: what was predicted: ``"descriptor"``, every channel's mean (the mean R² of the live channels), or
            ``"attention"``, the layer's own.
        ax: where to draw; None makes a new figure.

    Raises:
        ValueError: if ``of`` is another, there is nothing to draw, the labels are not of the same layers, or a layer
            has no attention to be predicted.

    Example:
        >>> from eamlib.redundancy import Reading, premise
        >>> model = eamlib.create_model("mobilenet_v1", "dynamic", width_mult=0.25, num_classes=10)
        >>> found = premise(model, [torch.randn(32, 3, 32, 32)], [Reading("cgr", output_size=1)])
        >>> ax = premise_by_depth({"CGR, 1 × 1": found})
        >>> ax.get_ylabel()
        'held-out R²'
    """
    need("plots", "matplotlib")
    import matplotlib.pyplot as plt

    value = {"descriptor": "mean_r2", "attention": "attention_r2"}[one_of("of", of, ("descriptor", "attention"))]
    lines = {}
    for label, several in found.items():
        by_layer: dict[str, list[float]] = {}
        for one in several:
            if getattr(one, value) is None:
                raise ValueError(f"found[{label!r}]: layer {one.layer!r} has no attention; allowed is a DynamicConv2d.")
            by_layer.setdefault(one.layer, []).append(getattr(one, value))
        lines[label] = by_layer
    layers = [list(by_layer) for by_layer in lines.values()]
    if not layers or not layers[0]:
        raise ValueError("found is empty; at least one reading of one layer is needed.")
    if any(names != layers[0] for names in layers):
        raise ValueError("found holds other layers under one label than under another; allowed are the same, in order.")

    if ax is None:
        _, ax = plt.subplots()
    depth = range(1, len(layers[0]) + 1)
    for i, (label, by_layer) in enumerate(lines.items()):
        mean = [sum(values) / len(values) for values in by_layer.values()]
        [line] = ax.plot(depth, mean, marker=MARKS[i % 10], ms=5, ls=LINES[i % 4], label=label)
        if any(len(values) > 1 for values in by_layer.values()):
            low, high = ([pick(values) for values in by_layer.values()] for pick in (min, max))
            ax.fill_between(depth, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    ax.set(xlabel="layer, from input to output", ylabel="held-out R²")
    lowest = min(min(values) for by_layer in lines.values() for values in by_layer.values())
    ax.set_ylim(min(0, 1.05 * lowest), 1.02)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, fontsize=9)
    return ax
