"""The exchange test: what a trained network loses where its attention is exchanged for another.

A network whose attention matters loses accuracy when every image is mixed by the mean attention of all images, by that
of another image, or by none at all. Where it loses nothing, a comparison of attentions compares noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eamlib._checks import integer_within, positive_int
from eamlib.analysis._unchanged import same_modules
from eamlib.analysis.mixtures import dynamic_layers
from eamlib.analysis.watch import evaluating
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
        attention: one of :data:`EXCHANGES`.
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
) -> list[Exchanged]:
    """Test a network with its own attention, the mean, another image's and a uniform one, as it is and recalibrated.

    Whose attention an image gets is decided for all layers at once: the attentions of every image are noted first, in
    the network as it is, and those of the image that a permutation names stand in for its own.

    Args:
        model: with :class:`~eamlib.layers.DynamicConv2d` layers, whose attentions answer ``[B, K]``; left as it is.
        test: the images that are classified, all of them.
        train: the training images, of which the mean attention and the statistics are taken.
        count: how many of the training images, drawn at random; fewer if there are fewer.
        batch_size: images run at once; recalibration is slightly finer with more.
        seed: of both draws, of training images and of whose attention an image gets.

    Returns:
        One :class:`Exchanged` for each of :data:`EXCHANGES`, as it is, then for each recalibrated. The first is the
        network itself. ``"own"`` recalibrated tells what recalibration alone does.

    Raises:
        ValueError: if ``model`` has no such layer, ``count`` or ``batch_size`` is below 1, or there are fewer than two
            images to exchange among.

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
    attentions = list(dict.fromkeys(layer.attention for layer in dynamic_layers(model, DynamicConv2d).values()))
    draws = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    statistics = [statistic.to(device) for statistic in pixel_statistics(train)]
    chosen = torch.randperm(len(train), generator=draws)[:count]
    of_train, of_test = train.images[chosen], test.images

    def run(images: Tensor, answer: _Answer | None = None) -> Tensor:
        """The logits of all ``images``, ``[N, classes]``; ``answer`` takes the attentions' place."""
        logits = []
        for batch in torch.arange(len(images)).split(batch_size):
            with _answering(attentions, answer, batch):
                logits.append(model(normalize(images[batch].to(device), *statistics)))
        return torch.cat(logits)

    with evaluating(model):
        noted = _Notes()
        run(of_train, noted)
        own_of_train = noted.joined()
        noted = _Notes()
        logits = run(of_test, noted)
        own_of_test = noted.joined()
        means = [answers.mean(0, keepdim=True) for answers in own_of_train]
        others = {id(own): _others(len(own[0]), draws) for own in (own_of_train, own_of_test)}

        def answer_of(attention: str, own: list[Tensor]) -> _Answer | None:
            return {
                "own": None,
                "mean": lambda call, answer, batch: means[call].expand_as(answer),
                "another": lambda call, answer, batch: own[call][others[id(own)][batch]],
                "uniform": lambda call, answer, batch: torch.full_like(answer, 1 / answer.shape[1]),
            }[attention]

        labels = test.labels.to(device)
        own_known = logits.argmax(1) == labels
        found = []
        for recalibrated in (False, True):
            for attention in EXCHANGES:
                with same_modules(model):
                    if recalibrated:
                        _recalibrate(model, lambda: run(of_train, answer_of(attention, own_of_train)))  # noqa: B023
                    known = run(of_test, answer_of(attention, own_of_test)).argmax(1) == labels
                lost, gained = int((own_known & ~known).sum()), int((known & ~own_known).sum())
                found.append(Exchanged(attention, recalibrated, len(test), int(known.sum()), lost, gained))
    return found


_Answer = Callable[[int, Tensor, Tensor], Tensor]
"""(number of the call in a forward pass, the attention's own answer ``[B, K]``, which images ``[B]``) -> ``[B, K]``."""


class _Notes:
    """An answer that leaves the attentions as they are and remembers them."""

    def __init__(self):
        self.calls: dict[int, list[Tensor]] = {}

    def __call__(self, call: int, answer: Tensor, batch: Tensor) -> Tensor:
        self.calls.setdefault(call, []).append(answer)
        return answer

    def joined(self) -> list[Tensor]:
        """Of each call ``[N, K]``."""
        return [torch.cat(answers) for _, answers in sorted(self.calls.items())]


@contextmanager
def _answering(attentions: list[nn.Module], answer: _Answer | None, batch: Tensor) -> Iterator[None]:
    """While entered, ``answer`` has the last word on what ``attentions`` answer."""
    calls = 0

    def hook(module: nn.Module, inputs: tuple, own: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return answer(calls - 1, own, batch)

    hooks = [] if answer is None else [attention.register_forward_hook(hook) for attention in attentions]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


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
