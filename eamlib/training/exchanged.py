"""The exchange test: what a trained network loses where its attention is exchanged for another.

A network whose attention matters loses accuracy when every image is mixed by the mean attention of all images, by that
of another image, or by none at all. Where it loses nothing, a comparison of attentions compares noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from eamlib._checks import integer_within, one_of, positive_int
from eamlib.analysis._unchanged import same_modules
from eamlib.analysis.mixtures import dynamic_layers
from eamlib.analysis.watch import evaluating, outputs_of, predictions
from eamlib.data.sets import ImageSet
from eamlib.layers import DynamicConv2d
from eamlib.training.loop import normalize, pixel_statistics

__all__ = ["EXCHANGES", "Exchanged", "exchange"]

EXCHANGES = ("own", "mean", "another", "uniform")
"""What the test compares, in order. Each image's own attention, the mean over the training images, another image's,
and 1 / K."""


@dataclass(frozen=True)
class Exchanged:
    """A network's answers with an exchanged attention, held against those with its own.

    Attributes:
        attention: one of :data:`EXCHANGES`, or the name of an imitation.
        recalibrated: whether batch normalisation's statistics were taken anew, under this attention.
        images: how many were tested, n.
        right: how many of them are classified correctly.
        lost, gained: how many are so with the network's own attention alone, and with this one alone.

    Example:
        >>> found = Exchanged("mean", recalibrated=True, images=10_000, right=4_300, lost=400, gained=300)
        >>> found.accuracy, found.difference
        (43.0, -1.0)
        >>> [round(bound, 2) for bound in found.interval]
        [-1.52, -0.48]
    """

    attention: str
    recalibrated: bool
    images: int
    right: int
    lost: int
    gained: int

    @property
    def accuracy(self) -> float:
        """In percent."""
        return 100 * self.right / self.images

    @property
    def difference(self) -> float:
        """To the network as it is, in points; below 0 where the exchange costs accuracy."""
        return 100 * (self.gained - self.lost) / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of :attr:`difference`, of two proportions of the same images.

        Source: Agresti and Min 2005, https://doi.org/10.1002/sim.1781: Wald's interval with half an image more in each
        of the four cells.
        """
        n, more, less = self.images + 2, self.gained + 0.5, self.lost + 0.5
        difference = (more - less) / n
        half = 1.96 * math.sqrt((more + less) / n - difference**2) / math.sqrt(n)
        return 100 * (difference - half), 100 * (difference + half)


def exchange(
    model: nn.Module,
    test: ImageSet,
    train: ImageSet,
    *,
    count: int = 5_000,
    batch_size: int = 500,
    seed: int = 0,
    attentions: Sequence[str] = EXCHANGES,
    imitations: Mapping[str, Mapping[str, nn.Module]] | None = None,
) -> list[Exchanged]:
    """Test a network with its own attention, the mean, another image's and a uniform one, as it is and recalibrated.

    The attentions of every image are noted first, in the network as it is. Whose attention an image gets is then
    decided once for all layers.

    Args:
        model: with :class:`~eamlib.layers.DynamicConv2d` layers, each of which runs once per image and whose attention
            returns ``[B, K]``; it is left as it is.
        test: the images to classify, all of them.
        train: the training images, from which the mean attention and the statistics are taken.
        count: how many of the training images to draw, at most.
        batch_size: images run at once; recalibration takes the mean over such batches.
        seed: of both draws, of training images and of whose attention an image gets.
        attentions: which of :data:`EXCHANGES` to test.
        imitations: further attentions by a name: a module for each of some layers, ``[B, C, H, W] -> [B, K]``, which
            stands there in place of the layer's own (:func:`eamlib.redundancy.imitate`).

    Returns:
        One :class:`Exchanged` for each of ``attentions`` and of ``imitations`` as the network is, then for each
        recalibrated. The first is the network itself; ``"own"`` recalibrated shows what recalibration alone does.

    Raises:
        ValueError: if ``model`` has no such layer, ``count`` or ``batch_size`` is below 1, ``seed`` is below 0, a
            set has fewer than two images, an attention is unknown, or an imitation has a name of :data:`EXCHANGES` or
            an unknown layer.

    Example:
        >>> model = eamlib.create_model("mobilenet_v1", "dynamic", width_mult=0.25, num_classes=10, stem_stride=1)
        >>> train, test = eamlib.data.load("digits"), eamlib.data.load("digits", train=False)
        >>> found = exchange(model, test, train, count=200)
        >>> [(one.attention, one.recalibrated) for one in found[3:6]]
        [('uniform', False), ('own', True), ('mean', True)]
        >>> found[0].lost, found[0].gained
        (0, 0)
    """
    positive_int("count", count)
    positive_int("batch_size", batch_size)
    integer_within("seed", seed, 0)
    for name, images in (("test", test), ("train", train)):
        if len(images) < 2:
            raise ValueError(f"{name} holds {len(images)} images; allowed are at least 2, to exchange among.")
    layers, imitations = dynamic_layers(model, DynamicConv2d), imitations or {}
    for attention in attentions:
        one_of("attentions", attention, EXCHANGES)
    for name, of_layers in imitations.items():
        if name in EXCHANGES:
            raise ValueError(f"imitations holds {name!r}, which the test makes itself; allowed are other names.")
        for layer in of_layers:
            one_of(f"imitations[{name!r}]: layer", layer, layers)
    draws = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    statistics = pixel_statistics(train)
    drawn = torch.randperm(len(train), generator=draws)[:count]
    pixels = {"train": train.images[drawn], "test": test.images}
    others = {of: _others(len(images), draws) for of, images in pixels.items()}

    def batches(of: str) -> Iterator[Tensor]:
        return (normalize(batch.to(device), *statistics) for batch in pixels[of].split(batch_size))

    def attention_of(name: str, inputs: tuple, _: None) -> Tensor:
        return layers[name].attention(inputs[0])

    noted = {of: outputs_of(model, batches(of), layers, attention_of, before=True) for of in pixels}

    def logits(of: str, attention: str) -> Tensor:
        """``[N, classes]``; the layers keep the ``attention`` that they are given for it."""
        if attention in imitations:
            for name, imitation in imitations[attention].items():
                layers[name].attention = imitation
        elif attention != "own":
            for name, own in noted[of].items():
                mean = noted["train"][name].mean(0, keepdim=True)
                layers[name].attention = _Answers(_exchanged(attention, own, mean, others[of]))
        return torch.cat([answer for _, _, answer in predictions(model, batches(of))])

    labels, found = test.labels.to(device), []
    with evaluating(model):
        own_known = logits("test", "own").argmax(1) == labels
        for recalibrated in (False, True):
            for attention in (*attentions, *imitations):
                with same_modules(model):
                    if recalibrated:
                        _recalibrate(model, partial(logits, "train", attention))
                    known = logits("test", attention).argmax(1) == labels
                lost, gained = int((own_known & ~known).sum()), int((known & ~own_known).sum())
                found.append(Exchanged(attention, recalibrated, len(test), int(known.sum()), lost, gained))
    return found


def _exchanged(attention: str, own: Tensor, mean: Tensor, others: Tensor) -> Tensor:
    """``[N, K]`` in the place of ``own``; ``others`` names each image's other one."""
    if attention == "mean":
        return mean.expand_as(own)
    return own[others] if attention == "another" else torch.full_like(own, 1 / own.shape[1])


class _Answers(nn.Module):
    """In an attention's place: the next rows of ``[N, K]``, whatever the images."""

    def __init__(self, rows: Tensor):
        super().__init__()
        self.rows, self.start = rows, 0

    def forward(self, input: Tensor) -> Tensor:
        self.start += len(input)
        return self.rows[self.start - len(input) : self.start]


def _others(count: int, draws: torch.Generator) -> Tensor:
    """For each image another one, no two the same: a random cycle through all of them, ``[count]``."""
    cycle = torch.randperm(count, generator=draws)
    others = torch.empty(count, dtype=torch.long)
    others[cycle] = cycle.roll(1)
    return others


def _recalibrate(model: nn.Module, run: Callable[[], object]) -> None:
    """Take the statistics of batch normalisation anew while ``run`` runs the network: the mean over its batches."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # each batch counts alike
        norm.train()
    run()
    for norm in norms:
        norm.eval()
