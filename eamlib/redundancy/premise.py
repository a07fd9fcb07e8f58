"""The premise of EAM: how much of what the usual attention reads do a few channels tell?

Ding et al. 2021, https://doi.org/10.3390/app11073111, take it that a few channels, pooled to p × p, are enough. Here a
linear map predicts the full descriptor, every channel's mean, from that reading, and is judged on images that it was
not fitted to. Linear: what it finds is there for a first linear layer to use; more may be there for another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eamlib._checks import integer_within
from eamlib.layers.attention import EAMAttention
from eamlib.layers.dynamic import DynamicConv2d
from eamlib.redundancy.measure import Layers, pick, run
from eamlib.watch import Batch

# Of the ridge, in units of a standardised feature's variance; which one is taken, images decide that are not scored.
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class Reading:
    """What an attention reads: n channels, pooled to p × p. The options of :class:`eamlib.layers.EAMAttention`.

    Attributes:
        select, channels, pool, output_size: as there; ``channels`` is for RCR, CGR and CGR-MAX.
        seed: of RCR's draw.
    """

    select: str = "rcr"
    channels: int = 4
    pool: str = "avg"
    output_size: int = 5
    seed: int = 0

    def of(self, in_channels: int) -> EAMAttention:
        """The attention that reads so, of ``in_channels`` channels: its ``descriptor`` is the reading."""
        return EAMAttention(
            in_channels,
            select=self.select,
            channels=self.channels,
            pool=self.pool,
            output_size=self.output_size,
            seed=self.seed,
        )


@dataclass(frozen=True, eq=False)
class Premise:
    """What one reading tells of one layer's input.

    Attributes:
        layer: its name.
        reading: what was read.
        channels: C, of the layer's input.
        features: how many numbers the reading has, n · p².
        images: how many were run; each was scored once, by a fit without it.
        r2: ``[C]``, held-out R² of every channel's mean: 1, nothing is lost; 0, no better than always guessing its
            average; below 0, worse. NaN for the channels that are dead in these images.
        attention_r2: the same of the layer's own attention, as centred logarithms of its K weights, over all K
            together; 0 where that attention is the same for all images, None where the layer has none.
        weight, bias: of the prediction fitted to all images, ``[C (+ K), n · p²]`` and ``[C (+ K)]``.
    """

    layer: str
    reading: Reading
    channels: int
    features: int
    images: int
    r2: Tensor
    attention_r2: float | None
    weight: Tensor
    bias: Tensor

    @property
    def dead(self) -> int:
        """How many channels have the same mean in all images."""
        return int(self.r2.isnan().sum())

    @property
    def mean_r2(self) -> float:
        """The mean of ``r2`` over the live channels; 0 if there are none."""
        live = self.r2[~self.r2.isnan()]
        return live.mean().item() if len(live) else 0.0

    def imitated_attention(self, maps: Tensor) -> Tensor:
        """The K weights ``[B, K]`` that the reading of the layer's input ``maps`` ``[B, C, H, W]`` predicts.

        Raises:
            ValueError: if the layer has no attention to imitate.
        """
        if self.attention_r2 is None:
            raise ValueError(f"layer = {self.layer!r} has no attention; allowed is a DynamicConv2d.")
        read = self.reading.of(self.channels).to(maps.device).descriptor(maps).double()
        predicted = read @ self.weight.to(read).T + self.bias.to(read)
        return predicted[:, self.channels :].softmax(1)


def premise(
    model: nn.Module,
    batches: Iterable[Batch],
    readings: Sequence[Reading],
    layers: Layers = DynamicConv2d,
    *,
    folds: int = 4,
) -> list[Premise]:
    """For every layer and reading: how much of the full pooled descriptor of the layer's input can be predicted.

    The images are dealt to ``folds`` parts. Each part is predicted by a ridge regression on the others, which also
    choose its ridge. All of it is computed from sums that the batches are added to, so that memory does not grow with
    the images: a layer and reading keeps ``folds`` · (n · p²)² numbers of 8 bytes, and ``folds`` · n · p² · C.

    Args:
        model: it runs in eval mode, without gradients; its mode is restored.
        batches: images ``[B, C, H, W]``, or pairs of these and labels.
        readings: what is read.
        layers: as in :func:`eamlib.redundancy.measure`; what is read is their input.
        folds: parts, at least 3.

    Returns:
        One :class:`Premise` a layer and reading, the layers in the model's order.

    Raises:
        ValueError: if ``folds`` is below 3, there is no reading, a layer has fewer channels than a reading wants or
            does not run, or there are fewer than two images a fold.
    """
    integer_within("folds", folds, 3)
    if not readings:
        raise ValueError("readings is empty; at least one Reading is needed.")
    chosen = pick(model, layers)
    sums: dict[str, dict[Reading, _Sums]] = {name: {} for name in chosen}
    attentions: dict[tuple[str, Reading], EAMAttention] = {}

    def note(name: str, inputs: tuple, output: None) -> None:
        maps = inputs[0]
        target = maps.mean((2, 3)).double()
        if isinstance(chosen[name], DynamicConv2d):
            logits = chosen[name].attention(maps).double().clamp(min=1e-30).log()
            target = torch.cat([target, logits - logits.mean(1, keepdim=True)], 1)
        for reading in readings:
            if reading not in sums[name]:
                attentions[name, reading] = reading.of(maps.shape[1]).to(maps.device)
                sums[name][reading] = _Sums(folds, maps.shape[1])
            sums[name][reading].add(attentions[name, reading].descriptor(maps).double(), target)

    run(model, batches, chosen, note, before=True)
    return [_judge(name, reading, of_layer) for name in chosen for reading, of_layer in sums[name].items()]


class _Sums:
    """For each fold the sums from which every regression and its errors follow, of samples (features, targets).

    They are taken about the first batch's mean, so that a large mean does not drown a small variance.
    """

    def __init__(self, folds: int, channels: int):
        self.folds, self.channels = folds, channels
        self.count = 0

    def add(self, features: Tensor, targets: Tensor) -> None:
        if self.count == 0:
            self.origin = features.mean(0), targets.mean(0)
            f, t = features.shape[1], targets.shape[1]
            self.n = features.new_zeros(self.folds)
            self.x, self.y = features.new_zeros(self.folds, f), features.new_zeros(self.folds, t)
            self.xx, self.xy = features.new_zeros(self.folds, f, f), features.new_zeros(self.folds, f, t)
            self.yy = features.new_zeros(self.folds, t)
        features, targets = features - self.origin[0], targets - self.origin[1]
        fold_of = torch.arange(self.count, self.count + len(features), device=features.device) % self.folds
        for fold in range(self.folds):
            x, y = features[fold_of == fold], targets[fold_of == fold]
            self.n[fold] += len(x)
            self.x[fold] += x.sum(0)
            self.y[fold] += y.sum(0)
            self.xx[fold].addmm_(x.T, x)
            self.xy[fold].addmm_(x.T, y)
            self.yy[fold] += y.square().sum(0)
        self.count += len(features)

    def of(self, folds: Sequence[int]) -> _Moments:
        """The moments of these folds together."""
        return _Moments(*(tensor[list(folds)].sum(0) for tensor in (self.n, self.x, self.y, self.xx, self.xy, self.yy)))


@dataclass(frozen=True)
class _Moments:
    n: Tensor
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor

    def about(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """xx, xy and yy about another origin."""
        return (
            self.xx - torch.outer(self.x, x) - torch.outer(x, self.x) + self.n * torch.outer(x, x),
            self.xy - torch.outer(self.x, y) - torch.outer(x, self.y) + self.n * torch.outer(x, y),
            self.yy - 2 * self.y * y + self.n * y.square(),
        )

    def fits(self) -> Iterator[_Fit]:
        """The regressions on these moments, one a ridge of :data:`RIDGES`."""
        x, y = self.x / self.n, self.y / self.n
        xx, xy, _ = (total / self.n for total in self.about(x, y))
        deviation = xx.diagonal().clamp(min=0).sqrt()
        inverse = deviation.reciprocal().masked_fill(deviation <= 1e-9 * deviation.max(), 0)
        values, vectors = torch.linalg.eigh(xx * inverse[:, None] * inverse)
        turned = vectors.T @ (xy * inverse[:, None])
        for ridge in RIDGES:
            weight = inverse[:, None] * (vectors @ (turned / (values.clamp(min=0) + ridge)[:, None]))
            yield _Fit(weight, x, y)

    def errors(self, fit: _Fit) -> Tensor:
        """The sums of squared errors of a fit on these moments, a target each."""
        xx, xy, yy = self.about(fit.x, fit.y)
        return yy - 2 * (fit.weight * xy).sum(0) + (fit.weight * (xx @ fit.weight)).sum(0)


@dataclass(frozen=True)
class _Fit:
    weight: Tensor
    x: Tensor
    y: Tensor


def _judge(layer: str, reading: Reading, sums: _Sums) -> Premise:
    if sums.count < 2 * sums.folds:
        raise ValueError(
            f"batches holds {sums.count} images; at least {2 * sums.folds} are needed for {sums.folds} folds."
        )
    every = range(sums.folds)
    whole = sums.of(every)
    spread = whole.about(whole.x / whole.n, whole.y / whole.n)[2].clamp(min=0)
    # The largest deviation from the mean of a constant is rounding.
    scale = (sums.origin[1] + whole.y / whole.n).abs()
    live = (spread / whole.n).sqrt() > 1e-6 * scale
    unit = spread.where(live, torch.inf)

    def chosen(fitted: Sequence[int], judged: int) -> int:
        """Which ridge is best when ``fitted`` predict ``judged``."""
        judge = sums.of([judged])
        return min(
            enumerate((judge.errors(fit) / unit).sum().item() for fit in sums.of(fitted).fits()),
            key=lambda pair: pair[1],
        )[0]

    errors = torch.zeros_like(spread)
    votes = []
    for fold in every:
        inner = (fold + 1) % sums.folds
        votes.append(chosen([f for f in every if f not in (fold, inner)], inner))
        fit = list(sums.of([f for f in every if f != fold]).fits())[votes[-1]]
        errors += sums.of([fold]).errors(fit)
    r2 = 1 - errors / spread.where(live, torch.nan)

    final = list(whole.fits())[sorted(votes)[len(votes) // 2]]
    weight = final.weight.T
    bias = final.y + sums.origin[1] - weight @ (final.x + sums.origin[0])
    c = sums.channels
    attention_r2 = None
    if len(r2) > c:
        attention_r2 = (1 - errors[c:].sum() / spread[c:].sum()).item() if spread[c:].sum() > 0 else 0.0
    return Premise(layer, reading, c, len(whole.x), sums.count, r2[:c].cpu(), attention_r2, weight.cpu(), bias.cpu())
