"""What a trained network's attention is worth, and what it takes to imitate it: ``redundancy … --imitate`` records it.

A record holds three tables:

- ``exchanged``: the exchange test, of the network's own attention, its mean and every imitation;
- ``imitated``: the divergence of each layer's imitation;
- ``baselines``: what pixels and the class tell of a layer's descriptor and attention, alone and beside a reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import fmean

import torch
import torch.nn.functional as F

from eamlib import data
from eamlib._checks import positive_int
from eamlib.book.networks import Network
from eamlib.book.redundancy_records import as_they_run, unpacked
from eamlib.layers import EAMAttention, KernelAttention
from eamlib.papers import records
from eamlib.redundancy import Reading, imitate, premise
from eamlib.training.exchanged import Exchanged, exchange
from eamlib.training.loop import normalize

__all__ = ["IMITATIONS", "lines", "measure", "published"]

IMITATIONS = {
    "rcr": partial(EAMAttention, seed=0),
    "cgr": partial(EAMAttention, select="cgr"),
    "all channels": KernelAttention,
}
"""What imitates the attention, by name. The last reads what DyNet's attention reads, in a network as large."""
READINGS = {"nothing": None, "rcr": Reading(seed=0), "cgr": Reading("cgr")}
PIXELS = 6  # an image at 6 × 6 in three colours are 108 numbers, as many as EAM's 100 at least

_BATCH = 500
_RECALIBRATED = 2_000  # training images, for the mean attention and the statistics of batch normalisation


def measure(network: Network, train: int, *, device: torch.device | str = "cpu") -> dict:
    """The three tables, each a list of dicts.

    Args:
        network: a run, with dynamic layers, and the images to test it on.
        train: how many training images to learn the imitations from, drawn at random.
        device: where it runs.

    Raises:
        ValueError: if ``train`` is below 1, or the network is no run or has no dynamic layer.

    Example:
        >>> from eamlib.book.networks import network
        >>> found = network("fashion_mnist/mobilenet_v1-x0.25-dynamic-e5-seed0", images="sample", count=4)
        >>> measure(found, 0)
        Traceback (most recent call last):
            ...
        ValueError: --imitate = 0 must be an integer of at least 1.
    """
    positive_int("--imitate", train)
    if network.trained_on is None:
        raise ValueError(f"NETWORK = {network.name!r} is no run; allowed with --imitate is a run of reproduce.")
    model = network.model.to(device)
    everything = data.load(network.trained_on)
    drawn = torch.randperm(len(everything), generator=torch.Generator().manual_seed(0))[:train]
    pixels = normalize(everything.images[drawn], network.mean, network.std)
    taught = imitate(model, pixels.split(_BATCH), network.batches(), IMITATIONS)
    found = {name: {one.layer: one for one in several} for name, several in taught.items()}
    attentions = {name: {layer: one.attention for layer, one in found[name].items()} for name in found}
    layers = [layer for layer in as_they_run(model, pixels[:1].to(device)) if layer.name in next(iter(found.values()))]
    tested = exchange(
        model,
        network.images,
        everything,
        count=_RECALIBRATED,
        attentions=("own", "mean"),
        imitations=attentions,
    )
    return {
        "exchanged": [vars(one) for one in tested],
        "imitated": [
            {
                **layer.place,
                "reads": name,
                "constant": of_layers[layer.name].constant,
                "divergence": of_layers[layer.name].divergence,
            }
            for layer in layers
            for name, of_layers in found.items()
        ],
        "baselines": list(_baselines(network, {layer.name: layer.place for layer in layers})),
    }


def _baselines(network: Network, places: dict[str, dict]) -> Iterator[dict]:
    pixels = normalize(network.images.images, network.mean, network.std)
    pixels = F.adaptive_avg_pool2d(pixels, PIXELS).flatten(1)
    label = F.one_hot(network.images.labels, len(network.images.classes))
    known = {"nothing": None, "pixels": pixels, "label": label, "pixels and label": torch.cat([pixels, label], 1)}
    for given, features in known.items():
        asked = {reading: name for name, reading in READINGS.items() if reading is not None or features is not None}
        found = premise(network.model, network.batches(), [*asked], [*places], given=features)
        for one in found:
            yield {
                **places[one.layer],
                "given": given,
                "reads": asked[one.reading],
                "mean_r2": one.mean_r2,
                "attention_r2": one.attention_r2,
            }


def published(name: str) -> dict:
    """The record of a network that comes with the book, unpacked.

    Raises:
        OSError: if it is neither in this checkout nor in the repository.

    Example:
        >>> record = published("cifar100/mobilenet_v1-x0.25-dynamic-e20-seed0")
        >>> sorted(record["imitated"][0])
        ['constant', 'depth', 'divergence', 'kind', 'layer', 'reads']
    """
    return unpacked(records.published(f"imitation/{name}.json"))


def lines(tables: dict) -> Iterator[str]:
    """The tables of :func:`measure` as text.

    Example:
        >>> tables = published("cifar100/mobilenet_v1-x0.25-dynamic-e20-seed0")
        >>> next(lines(tables)).split()[:2]
        ['attention', 'batch']
    """
    yield f"{'attention':<14} {'batch norm':<13} {'accuracy':>8} {'difference':>11}  95 % interval"
    for one in (Exchanged(**row) for row in tables["exchanged"]):
        again, interval = (
            "recalibrated" if one.recalibrated else "as trained",
            "{:+.2f} to {:+.2f}".format(*one.interval),
        )
        yield f"{one.attention:<14} {again:<13} {one.accuracy:>8.2f} {one.difference:>+11.2f}  {interval}"
    yield "\nImitations: bits per image that they lie from the layer's own attention, and the best constant.\n"
    names = list(dict.fromkeys(row["reads"] for row in tables["imitated"]))
    yield f"{'layer':<20} {'constant':>12} " + " ".join(f"{name:>12}" for name in names)
    for layer in dict.fromkeys(row["layer"] for row in tables["imitated"]):
        of_layer = [row for row in tables["imitated"] if row["layer"] == layer]
        values = [of_layer[0]["constant"], *(row["divergence"] for row in of_layer)]
        yield f"{layer:<20} " + " ".join(f"{value:>12.5f}" for value in values)
    yield "\nHeld-out R² of the descriptor and of the attention, mean of the layers, by what is known of an image.\n"
    yield f"{'given':<18} {'reads':<8} {'descriptor':>10} {'attention':>10}"
    for given, reads in dict.fromkeys((row["given"], row["reads"]) for row in tables["baselines"]):
        rows = [row for row in tables["baselines"] if (row["given"], row["reads"]) == (given, reads)]
        means = (fmean(row[value] for row in rows) for value in ("mean_r2", "attention_r2"))
        yield f"{given:<18} {reads:<8} " + " ".join(f"{value:>10.3f}" for value in means)
