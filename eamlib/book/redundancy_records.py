"""How redundant one network is, layer by layer: what ``python -m eamlib redundancy`` measures, prints and records.

The measures themselves are those of :mod:`eamlib.redundancy`. A record holds four tables:

- ``layers``: the maps that a convolution or the classifier's pooling reads, by their pixels and by their means;
- ``kernels``: the filters as they are learned, and those that a dynamic convolution mixes for an image;
- ``premise``: what a few channels tell of all that a convolution reads, by selection, n, p and pooling;
- ``skipped``: which of these readings a layer or the images were too small for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import mean

import torch
from torch import Tensor, nn

from eamlib._checks import integer_within
from eamlib.analysis.names import CONVOLUTIONS
from eamlib.analysis.watch import evaluating, watch
from eamlib.book.networks import Network
from eamlib.layers import DynamicConv2d
from eamlib.papers import records
from eamlib.redundancy import STRENGTHS, ChannelStatistics, Reading, held_out_r2, kernels, merged, premise
from eamlib.redundancy import measure as measure_channels
from eamlib.training.loop import evaluate

__all__ = ["lines", "measure", "packed", "published", "unpacked"]

COUNTS = (2, 4, 8)
SIZES = (1, 3, 5, 7)
SEEDS = range(5)
# The quarters of the channels are many channels: what they are pooled to stays small.
QUARTERS, QUARTER_SIZES = ("stride", "slice0", "slice1", "slice2", "slice3"), (1, 3)

VIEWS = ("pixels", "means")

_FOLDS = 4  # the images are dealt to them in turn
_LEAST_CHANNELS = 8  # of what a static convolution reads, for the premise
_AT_ONCE = 6  # layers whose regressions are added up in one run: all of them would take gigabytes
_MIXED = 32  # images whose mixed filters are looked at


@dataclass(frozen=True)
class Layer:
    """A layer as it ran: how many convolutions had begun by then (``depth``, from 1), and what kind it is."""

    name: str
    kind: str
    depth: int
    in_channels: int

    @property
    def place(self) -> dict:
        """Its columns in every table."""
        return {"layer": self.name, "kind": self.kind, "depth": self.depth}


def measure(network: Network, *, channels: Sequence[int] = COUNTS, device: torch.device | str = "cpu") -> dict:
    """The four tables, each a list of dicts; ``accuracy`` on the images, None where it means nothing.

    Args:
        network: the network and its images.
        channels: n, of the readings that choose it; the quarters of the channels are read where 4 is among them. None
            at all leaves the premise out.
        device: where it runs.

    Raises:
        ValueError: if a number of ``channels`` is not an integer of at least 1, or there are fewer than 8 images.

    Example:
        >>> from eamlib.book.networks import network
        >>> found = network("fashion_mnist/mobilenet_v1-x0.25-static-e5-seed0", images="sample", count=20)
        >>> tables = measure(found, channels=[])  # without the premise
        >>> tables["layers"][0]["layer"], tables["layers"][0]["channels"], len(tables["kernels"])
        ('features.0.0', 3, 27)
    """
    for n in channels:
        integer_within("--channels", n, 1)
    model = network.model.to(device)
    count = len(network.images)
    if count < 8:
        raise ValueError(f"{count} images are too few; at least 8 are needed.")
    layers = as_they_run(model, next(iter(network.batches()))[:1].to(device))
    premises, skipped = _premise(network, layers, readings(channels), count)
    accuracy = evaluate(model, network.images, mean=network.mean, std=network.std) if network.labelled else None
    return {
        "accuracy": accuracy,
        "layers": list(_layers(network, layers)),
        "kernels": list(_kernels(network, layers)),
        "premise": premises,
        "skipped": skipped,
    }


def as_they_run(model: nn.Module, image: Tensor) -> list[Layer]:
    """The convolutions of ``model``, in the order in which they run, and the pooling before the classifier."""
    found: list[Layer] = []

    def note(name: str, inputs: tuple, output: None) -> None:
        module = chosen[name]
        depth = sum(layer.kind != "pooling" for layer in found) + (not isinstance(module, nn.AdaptiveAvgPool2d))
        found.append(Layer(name, _kind(module), depth, inputs[0].shape[1]))

    kinds = (*CONVOLUTIONS, nn.AdaptiveAvgPool2d)
    chosen = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    with evaluating(model), watch(chosen, note, before=True):
        model(image)
    return found


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return "pooling"
    if module.groups == module.in_channels > 1:
        return "depthwise"
    return "pointwise" if tuple(module.kernel_size) == (1, 1) else "standard"


def _layers(network: Network, layers: list[Layer]) -> Iterator[dict]:
    names = [layer.name for layer in layers]
    parts = [replace(network, images=network.images.subset(slice(i, None, _FOLDS))) for i in range(_FOLDS)]
    for view in VIEWS:
        folds = [measure_channels(part.model, part.batches(), names, side="input", view=view) for part in parts]
        for name, layer in zip(names, layers, strict=True):
            yield layer.place | {"view": view} | of_channels([fold[name] for fold in folds])


def of_channels(folds: Sequence[ChannelStatistics]) -> dict:
    """The measures of a layer's channels, by the names that they have in a record.

    Args:
        folds: of disjoint sets of images.
    """
    statistics = merged(folds)
    live = ~statistics.dead
    nearest, r2 = statistics.nearest()[1].abs()[live], held_out_r2(folds)[live]
    return {
        "channels": statistics.channels,
        "dead": int(statistics.dead.sum()),
        "partnered": statistics.partnered(),
        "nearest": nearest.median().item() if live.any() else 0.0,
        **statistics.strengths(),
        "participation_ratio": statistics.participation_ratio(),
        "participation_ratio_standardized": statistics.participation_ratio(standardized=True),
        "effective_rank": statistics.effective_rank(),
        "effective_rank_standardized": statistics.effective_rank(standardized=True),
        "components": statistics.components(),
        "held_out_r2": r2.mean().item() if live.any() else 0.0,
    }


def _kernels(network: Network, layers: list[Layer]) -> Iterator[dict]:
    convolutions = [layer for layer in layers if layer.kind != "pooling"]
    learned = kernels(network.model, [layer.name for layer in convolutions])
    dynamic = {name: module for name, module in network.model.named_modules() if isinstance(module, DynamicConv2d)}
    images = next(network.batches())[:_MIXED].to(next(network.model.parameters()).device)
    with (
        evaluating(network.model),
        watch(dynamic, lambda name, inputs, _: dynamic[name].attention(inputs[0]), before=True) as attention,
    ):
        network.model(images)
    for layer in convolutions:
        yield layer.place | {"filters": "learned"} | _of_filters([learned[layer.name]])
        if layer.name in dynamic:
            mixed = _mixed(dynamic[layer.name].weight.detach(), attention[layer.name][0])
            yield layer.place | {"filters": "mixed"} | _of_filters(mixed)


def _mixed(weight: Tensor, attention: Tensor) -> Iterator[ChannelStatistics]:
    """The filters that ``weight [K, O, C/g, k, k]`` becomes for each image of ``attention [B, K]``."""
    for of_image in attention @ weight.flatten(1):
        statistics = ChannelStatistics(weight.shape[1])
        statistics.update(of_image.view(weight.shape[1], -1).T)
        yield statistics


def _of_filters(several: Iterable[ChannelStatistics]) -> dict:
    """Means over ``several`` images of what is said of their filters."""
    rows = [
        {"count": one.channels, "dead": int(one.dead.sum()), **one.strengths(), "effective_rank": one.effective_rank()}
        for one in several
    ]
    return {name: rows[0][name] if name == "count" else mean(row[name] for row in rows) for name in rows[0]}


def readings(channels: Sequence[int] = COUNTS) -> list[Reading]:
    """What is read: every selection with every n and p for which it means something; see :func:`measure`."""
    found = []
    for n in dict.fromkeys(channels):
        found += [reading for p in SIZES for reading in _by_count(n, "avg", p)]
    if 4 in channels:
        found += [Reading(select, output_size=p) for select in QUARTERS for p in QUARTER_SIZES]
        found += [reading for reading in _by_count(4, "max", 5) if reading.select != "cgr-max"]
    return found


def _by_count(n: int, pool: str, p: int) -> Iterator[Reading]:
    yield from (Reading("rcr", n, pool, p, seed) for seed in SEEDS)
    yield from (Reading(select, n, pool, p) for select in ("cgr", "cgr-max"))


def _premise(network: Network, layers: list[Layer], wanted: list[Reading], count: int) -> tuple[list, list]:
    dynamic = {name for name, module in network.model.named_modules() if isinstance(module, DynamicConv2d)}
    asked = [
        layer
        for layer in layers
        if (layer.name in dynamic if dynamic else layer.kind != "pooling" and layer.in_channels >= _LEAST_CHANNELS)
    ]
    skipped, together = [], {}
    for layer in asked:
        fitting = []
        for reading in wanted:
            if not (why := _too_small(layer, reading, count)):
                fitting.append(reading)
            elif reading.seed == SEEDS[0]:
                skipped.append({"layer": layer.name, "reading": _label(reading), "why": why})
        together.setdefault(tuple(fitting), []).append(layer)
    found = []
    for fitting, of_these in together.items():
        for start in range(0, len(of_these) if fitting else 0, _AT_ONCE):
            some = [layer.name for layer in of_these[start : start + _AT_ONCE]]
            found += premise(network.model, network.batches(), fitting, some)
    places = {layer.name: layer for layer in asked}
    rows = [
        {
            **places[one.layer].place,
            "channels": one.channels,
            "dead": one.dead,
            "select": one.reading.select,
            "n": one.features // one.reading.output_size**2,
            "p": one.reading.output_size,
            "pool": one.reading.pool,
            "seed": one.reading.seed if one.reading.select == "rcr" else None,
            "mean_r2": one.mean_r2,
            "median_r2": one.r2.nanmedian().nan_to_num().item(),
            "attention_r2": one.attention_r2,
        }
        for one in found
    ]
    order = {layer.name: i for i, layer in enumerate(asked)}
    return sorted(rows, key=lambda row: order[row["layer"]]), skipped


def _too_small(layer: Layer, reading: Reading, count: int) -> str | None:
    """Why a reading is left out; None if it is not."""
    if reading.select not in QUARTERS and reading.channels > layer.in_channels:
        return f"{layer.in_channels} channels"
    features = reading.of(layer.in_channels).predict[0].in_features
    # A fit that chooses its ridge has half of the images.
    return f"{features} numbers, {count} images" if features > count / 2 else None


def _label(reading: Reading) -> str:
    """``rcr n4 p5``, ``cgr n4 p5 max``, ``slice0 p3``."""
    parts = [reading.select, *([] if reading.select in QUARTERS else [f"n{reading.channels}"])]
    parts += [f"p{reading.output_size}", *(["max"] if reading.pool == "max" else [])]
    return " ".join(parts)


def packed(tables: dict, digits: int = 4) -> dict:
    """Tables, such as :func:`measure` gives, as a record holds them: a table's columns once, then its rows.

    Numbers are rounded to so many digits behind the point; what is None is left out.

    Example:
        >>> packed({"accuracy": None, "layers": [{"layer": "stem", "strong": 0.123456}]})
        {'layers': {'columns': ['layer', 'strong'], 'data': [['stem', 0.1235]]}}
    """
    return {name: _packed(found, digits) for name, found in tables.items() if found is not None}


def _packed(found: object, digits: int) -> object:
    if isinstance(found, list):
        columns = list(found[0]) if found else []
        return {"columns": columns, "data": [[_packed(row[c], digits) for c in columns] for row in found]}
    return round(found, digits) if isinstance(found, float) else found


def unpacked(record: dict) -> dict:
    """A record with each of its tables as a list of dicts, one a row, which ``pandas.DataFrame`` takes as it is.

    Example:
        >>> table = {"columns": ["layer", "dead"], "data": [["stem", 0], ["conv", 2]]}
        >>> unpacked({"layers": table})["layers"]
        [{'layer': 'stem', 'dead': 0}, {'layer': 'conv', 'dead': 2}]
    """
    tables = {name: found for name, found in record.items() if isinstance(found, dict) and "columns" in found}
    rows = {
        name: [dict(zip(table["columns"], row, strict=True)) for row in table["data"]] for name, table in tables.items()
    }
    return record | rows


def published(name: str) -> dict:
    """The record of a network that comes with the book, unpacked: ``published("efficientnet_lite0")["layers"]``.

    Args:
        name: the network's, as the command takes it.

    Raises:
        OSError: if it is neither in this checkout nor in the repository.

    Example:
        >>> record = published("efficientnet_lite0")
        >>> record["layers"][0]["layer"], record["layers"][0]["channels"]
        ('_conv_stem', 32)
    """
    return unpacked(records.published(f"redundancy/{name}.json"))


# What is printed of a layer's maps. The oldest records have a side instead of a view, and lack some measures.
_OF_LAYERS = {
    "channels": ("channels", "d"),
    "dead": ("dead", "d"),
    "partner": ("partnered", ".1%"),
    "|r|": ("nearest", ".2f"),
    **{name: (name, ".1%") for name in STRENGTHS},
    "part.": ("participation_ratio", ".1f"),
    "rank": ("effective_rank", ".1f"),
    "99 %": ("components", "d"),
    "R²": ("held_out_r2", ".3f"),
}


def lines(tables: dict) -> Iterator[str]:
    """The tables of :func:`measure` as text.

    Example:
        >>> from eamlib.book.networks import network
        >>> found = network("fashion_mnist/mobilenet_v1-x0.25-static-e5-seed0", images="sample", count=20)
        >>> *_, last = lines(measure(found, channels=[]))
        >>> last.split()[:3]  # the last layer's filters
        ['features.13.1.0', 'pointwise', 'learned']
    """
    width = max(len(row["layer"]) for row in tables["layers"])
    if tables.get("accuracy") is not None:
        yield f"It says {tables['accuracy']:.2f} % of the labels right.\n"
    yield "Maps that a layer reads, by pixels and by means. Of the channels the share with a partner, |r| ≥ 0.8, and"
    yield "the median of their nearest |r|. Of all pairs the share that is strong (|r| ≥ 0.8), middle (≥ 0.5), weak"
    yield "(≥ 0.2) or none. Participation ratio, effective rank, components for 99 % of the variance. The mean R² of"
    yield "a channel from the others, in images held out.\n"
    yield f"{'layer':<{width}} {'kind':<9} {'view':<6} " + " ".join(f"{name:>8}" for name in _OF_LAYERS)
    for row in tables["layers"]:
        cells = [format(row[key], form) if key in row else "–" for key, form in _OF_LAYERS.values()]
        view = row.get("view") or row["side"]
        yield f"{row['layer']:<{width}} {row['kind']:<9} {view:<6} " + " ".join(f"{cell:>8}" for cell in cells)
    strengths = " ".join(f"{name:>6}" for name in STRENGTHS)
    yield "\nFilters: as learned, all K of a dynamic convolution together; and as mixed for an image.\n"
    yield f"{'layer':<{width}} {'kind':<9} {'':<7} {'filters':>7} {strengths} {'rank':>6}"
    for row in tables["kernels"]:
        yield (
            f"{row['layer']:<{width}} {row['kind']:<9} {row['filters']:<7} {row['count']:>7} {_shares(row)} "
            f"{row['effective_rank']:>6.1f}"
        )
    if tables["premise"]:
        yield from _premise_lines(tables["premise"], width)
    if tables["skipped"]:
        yield "\nLeft out:"
        together = {}
        for row in tables["skipped"]:
            together.setdefault((row["layer"], row["why"]), []).append(row["reading"])
        yield from (f"{layer:<{width}} {', '.join(names)}: {why}" for (layer, why), names in together.items())


def _shares(row: dict) -> str:
    return " ".join(f"{100 * row[name]:>6.1f}" for name in STRENGTHS)


# What is printed of the premise; the rest is in the record.
_COLUMNS = {
    "rcr 1×1": ("rcr", 1),
    "rcr 5×5": ("rcr", 5),
    "cgr 1×1": ("cgr", 1),
    "cgr 5×5": ("cgr", 5),
    "max 5×5": ("cgr-max", 5),
    "stride": ("stride", 1),
    "slice0": ("slice0", 1),
}


def _premise_lines(rows: list[dict], width: int) -> Iterator[str]:
    counts = {row["n"] for row in rows if row["select"] not in QUARTERS}
    n = 4 if 4 in counts else min(counts)
    yield f"\nPremise. Held-out R² of a channel's mean, the median of all channels, from {n} of them (RCR: mean of the"
    yield "draws), every 4th or the first quarter, 1×1; then the same of the layer's own attention, if it has one.\n"
    yield f"{'layer':<{width}} {'channels':>8} {'dead':>4} " + " ".join(f"{name:>8}" for name in _COLUMNS)
    for layer in dict.fromkeys(row["layer"] for row in rows):
        of_layer = [row for row in rows if row["layer"] == layer and row["pool"] == "avg"]
        for measured in ("median_r2", "attention_r2"):
            cells = []
            for select, p in _COLUMNS.values():
                values = [
                    row[measured]
                    for row in of_layer
                    if (row["select"], row["p"]) == (select, p) and (select in QUARTERS or row["n"] == n)
                ]
                cells.append(f"{mean(values):>8.3f}" if values and None not in values else f"{'–':>8}")
            if measured == "median_r2":
                yield f"{layer:<{width}} {of_layer[0]['channels']:>8} {of_layer[0]['dead']:>4} " + " ".join(cells)
            elif of_layer[0]["attention_r2"] is not None:
                yield f"{'  its attention':<{width}} {'':>8} {'':>4} " + " ".join(cells)
