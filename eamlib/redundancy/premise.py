"""The premise of EAM: how much of what the usual attention reads do a few channels tell?

Ding et al. 2021, https://doi.org/10.3390/app11073111, take it that a few channels, pooled to p × p, are enough. Here a
linear map predicts the full descriptor, every channel's mean, from that reading, and is judged on images that it was
not fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from eamlib._checks import integer_within, one_of, positive_int
from eamlib.analysis.watch import Batch
from eamlib.layers.attention import EAMAttention
from eamlib.layers.dynamic import DynamicConv2d
from eamlib.layers.selection import SELECTIONS
from eamlib.redundancy.measure import Layers, means, pick, run
from eamlib.redundancy.statistics import CONSTANT, in_float64

# In units of a standardised feature's variance. Images that are not scored decide which one a target gets.
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class Reading:
    """What an attention reads: n channels, pooled to p × p. The options of :class:`eamlib.layers.EAMAttention`.

    Attributes:
        select, channels, pool, output_size: as there; ``channels`` is for RCR, CGR and CGR-MAX.
        seed: of RCR's draw.

    Raises:
        ValueError: if a name is unknown, a count is below 1, or the seed is no integer.

    Example:
        >>> reading = Reading("cgr", channels=4, output_size=5)
        >>> reading.of(64).descriptor(torch.randn(2, 64, 14, 14)).shape  # 4 · 5²
        torch.Size([2, 100])
    """

    select: str = "rcr"
    channels: int = 4
    pool: str = "avg"
    output_size: int = 5
    seed: int = 0

    def __post_init__(self):
        one_of("select", self.select, SELECTIONS)
        positive_int("channels", self.channels)
        one_of("pool", self.pool, ("avg", "max"))
        positive_int("output_size", self.output_size)
        integer_within("seed", self.seed, 0)  # with None, no two uses of a reading would be of the same channels

    def of(self, in_channels: int) -> EAMAttention:
        """The attention whose ``descriptor`` is this reading of ``in_channels`` channels.

        Raises:
            ValueError: if there are fewer channels than the reading takes.
        """
        with torch.random.fork_rng(devices=[]):  # its weights are drawn, though nobody reads them
            return EAMAttention(in_channels, **asdict(self))


@dataclass(frozen=True, eq=False)
class Premise:
    """What one reading tells about one layer's input.

    Attributes:
        layer: its name.
        reading: what was read; None if nothing was, but what is ``given``.
        channels: C, of the layer's input.
        features: numbers that the prediction is made from: n · p² of the reading, and those that are given.
        images: number of images, each scored once, by a fit without it. One that passes the layer twice counts twice.
        r2: ``[C]``, held-out R² of every channel's mean; NaN for the channels that are dead in these images.
        attention_r2: the same for the layer's own attention, as centred logarithms of its K weights, over all K
            together; 0 where that attention is the same for all images, None where the layer has none.
        weight, bias: of the prediction fitted to all images, ``[C (+ K), features]`` and ``[C (+ K)]``.

    Example:
        >>> model = nn.Sequential(nn.Identity(), eamlib.layers.DynamicConv2d(4, 8, 1))
        >>> images = torch.randn(64, 4, 6, 6, generator=torch.Generator().manual_seed(0))
        >>> [all_of_them] = premise(model, [images], [Reading("cgr", channels=4, output_size=1)])
        >>> all_of_them.features, round(all_of_them.mean_r2, 2)  # four channels tell all of four channels
        (4, 1.0)
    """

    layer: str
    reading: Reading | None
    channels: int
    features: int
    images: int
    r2: Tensor
    attention_r2: float | None
    weight: Tensor
    bias: Tensor

    @property
    def dead(self) -> int:
        """Number of channels that have the same mean in all images."""
        return int(self.r2.isnan().sum())

    @property
    def mean_r2(self) -> float:
        """The mean of ``r2`` over the live channels; 0 if there are none."""
        live = self.r2[~self.r2.isnan()]
        return live.mean().item() if len(live) else 0.0

    def imitated_attention(self, maps: Tensor) -> Tensor:
        """The K weights ``[B, K]`` that the reading of the layer's input ``maps`` ``[B, C, H, W]`` predicts.

        Raises:
            ValueError: if the layer has no attention to imitate, the prediction is made from more than a reading, or
                ``maps`` are of another shape.
        """
        if self.attention_r2 is None:
            raise ValueError(f"layer = {self.layer!r} has no attention; allowed is a DynamicConv2d.")
        reader = self.reading and self.reading.of(self.channels).to(maps.device)
        if reader is None or reader.predict[0].in_features < self.features:
            raise ValueError(
                f"layer = {self.layer!r} was predicted from more than its maps; allowed is a reading alone."
            )
        read = _read(reader, maps)
        weight, bias = self.weight[self.channels :].to(read), self.bias[self.channels :].to(read)
        return (read @ weight.T + bias).softmax(1).to(maps)


def premise(
    model: nn.Module,
    batches: Iterable[Batch],
    readings: Sequence[Reading | None],
    layers: Layers = DynamicConv2d,
    *,
    folds: int = 4,
    given: Tensor | None = None,
) -> list[Premise]:
    """For every layer and reading: how much of the full pooled descriptor of the layer's input can be predicted.

    The images are dealt to ``folds`` parts. Each part is predicted by a ridge regression on the others, which also
    choose the ridge of each target; only the features' scale is that of all images. Batches are added to sums, so that
    memory does not grow with the images: each layer and reading keeps ``folds`` · n · p² · (n · p² + C) numbers of 8
    bytes. Where a reading takes a share of the channels, n · p² may be in the thousands, and so may be the seconds.

    Args:
        model: it runs in eval mode, without gradients; its mode is restored.
        batches: images ``[B, C, H, W]``, or pairs of these and labels.
        readings: what is read. None reads nothing: what ``given`` tells by itself.
        layers: as in :func:`eamlib.redundancy.measure`; what is read is their input.
        folds: parts, at least 3.
        given: what is known of every image beside the reading, ``[N, features]`` in the order of the batches: its
            pixels, say, or its class. How much a reading tells that is not known already is then the difference of
            two R².

    Returns:
        One :class:`Premise` per layer and reading, the layers in the model's order.

    Raises:
        ValueError: as :func:`eamlib.redundancy.measure`; and if ``folds`` is below 3, there is no reading, a layer has
            fewer channels than a reading takes, there are fewer than two images per fold, ``given`` is not of as many
            rows as there are images, or is missing where a reading is None.

    Example:
        >>> model = eamlib.create_model("mobilenet_v1", "dynamic", width_mult=0.25, num_classes=10)
        >>> images = torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> found = premise(model, [images], [Reading(output_size=1), Reading("cgr", output_size=1)])
        >>> len(found), found[0].reading.select, found[0].r2.shape  # 26 layers, two readings
        (52, 'rcr', torch.Size([8]))
    """
    integer_within("folds", folds, 3)
    readings = list(dict.fromkeys(readings))
    if not readings:
        raise ValueError("readings is empty; at least one Reading is needed.")
    if given is None and None in readings:
        raise ValueError("readings holds None, which reads nothing; allowed with given alone.")
    chosen = pick(model, layers)
    sums: dict[str, dict[Reading | None, _Sums]] = {name: {} for name in chosen}
    readers: dict[tuple[str, Reading | None], EAMAttention | None] = {}

    def note(name: str, maps: Tensor) -> None:
        targets = in_float64(means(maps))
        if isinstance(chosen[name], DynamicConv2d):
            attention = chosen[name].attention(maps)
            # Less than the smallest normal number is rounding, and 0 has no logarithm.
            logs = in_float64(attention.clamp(min=torch.finfo(attention.dtype).tiny)).log()
            targets = torch.cat([targets, logs - logs.mean(1, keepdim=True)], 1)
        if not targets.isfinite().all():
            raise ValueError("its input, or its attention, holds NaN or infinite values; allowed are finite ones.")
        for reading in readings:
            if reading not in sums[name]:
                readers[name, reading] = reading and reading.of(maps.shape[1]).to(maps.device)
                sums[name][reading] = _Sums(folds, maps.shape[1])
            of_reading, reader = sums[name][reading], readers[name, reading]
            known = [] if reader is None else [_read(reader, maps)]
            if given is not None:
                rows = given[of_reading.count : of_reading.count + len(maps)]
                if len(rows) < len(maps):
                    raise ValueError(f"given holds {len(given)} rows; allowed is one for each image.")
                known.append(in_float64(rows).to(targets.device))
            of_reading.add(torch.cat(known, 1), targets)

    run(model, batches, chosen, note, "input")
    images = {of_reading.count for of_layer in sums.values() for of_reading in of_layer.values()}
    if given is not None and images != {len(given)}:
        raise ValueError(f"given holds {len(given)} rows for {max(images)} images; allowed is one for each.")
    return [_judge(name, reading, of_layer) for name in chosen for reading, of_layer in sums[name].items()]


def _read(reader: EAMAttention, maps: Tensor) -> Tensor:
    """The reading ``[B, n · p²]`` in float64, computed in float32 at least."""
    return in_float64(reader.descriptor(maps.to(torch.promote_types(maps.dtype, torch.float32))))


class _Sums:
    """For each fold the sums from which every regression and its errors follow, of samples (features x, targets y).

    They are taken about the first batch's mean, so that a large mean does not drown a small variance.
    """

    def __init__(self, folds: int, channels: int):
        self.folds, self.channels = folds, channels
        self.count = 0

    def add(self, x: Tensor, y: Tensor) -> None:
        if self.count == 0:
            self.origin = x.mean(0), y.mean(0)
            self.products = x.new_zeros(self.folds, 1 + x.shape[1], 1 + x.shape[1] + y.shape[1])
            self.squares = y.new_zeros(self.folds, y.shape[1])
        x, y = x - self.origin[0], y - self.origin[1]
        x = torch.cat([torch.ones_like(x[:, :1]), x], 1)  # the constant is a feature
        for fold in range(self.folds):
            part = slice((fold - self.count) % self.folds, None, self.folds)
            self.products[fold].addmm_(x[part].T, torch.cat([x[part], y[part]], 1))
            self.squares[fold] += y[part].square().sum(0)
        self.count += len(x)

    def of(self, folds: Sequence[int]) -> _Moments:
        """The moments of these folds together."""
        products, squares = self.products[list(folds)].sum(0), self.squares[list(folds)].sum(0)
        n, features = products[0, 0], len(products)
        return _Moments(n, products[:, :features] / n, products[:, features:] / n, squares / n)


class _Moments(NamedTuple):
    """Means of products over n samples: xx [1 + F, 1 + F], xy [1 + F, T] and yy [T]; the constant comes first."""

    n: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor

    def regression(self, inverse: Tensor) -> Callable[[Tensor | float], Tensor]:
        """The ridge regression of features times ``inverse``: a function from a ridge, or one per target, to the
        coefficients ``[1 + F, T]``, the constant's first."""
        x, y = self.xx[0, 1:], self.xy[0]
        values, vectors = torch.linalg.eigh((self.xx[1:, 1:] - torch.outer(x, x)) * inverse[:, None] * inverse)
        turned = vectors.T @ ((self.xy[1:] - torch.outer(x, y)) * inverse[:, None])

        def fit(ridges: Tensor | float) -> Tensor:
            weight = inverse[:, None] * (vectors @ (turned / (values.clamp(min=0)[:, None] + ridges)))
            return torch.cat([(y - x @ weight)[None], weight])

        return fit

    def errors(self, coefficients: Tensor) -> Tensor:
        """The mean squared error of each target on these samples."""
        return (self.yy + (coefficients * (self.xx @ coefficients - 2 * self.xy)).sum(0)).clamp(min=0)


def _judge(layer: str, reading: Reading, sums: _Sums) -> Premise:
    if sums.count < 2 * sums.folds:
        raise ValueError(
            f"layer {layer!r}: batches holds {sums.count} images; at least {2 * sums.folds} are needed for "
            f"{sums.folds} folds."
        )
    channels, (x_origin, y_origin) = sums.channels, sums.origin
    every = sums.of(range(sums.folds))
    x, y = every.xx[0, 1:], every.xy[0]
    variance = (every.yy - y.square()).clamp(min=0)
    scale = (y_origin + y).abs()
    scale[channels:] = 1  # of the logarithms: what rounding leaves of them does not shrink with their mean
    live = variance.sqrt() > CONSTANT * scale
    # What standardises the features; 0 for those that are constant, which then have no weight. Of all images, the
    # scored ones too: a feature that hardly varies in the others would be blown up beyond measure.
    deviation = (every.xx.diagonal()[1:] - x.square()).clamp(min=0).sqrt()
    inverse = deviation.reciprocal().masked_fill(deviation <= CONSTANT * (x_origin + x).abs(), 0)

    errors, ridges = torch.zeros_like(variance), []
    for fold in range(sums.folds):
        *fitted, judge = [(fold + i) % sums.folds for i in range(1, sums.folds)]
        fit = sums.of(fitted).regression(inverse)
        tried = torch.stack([sums.of([judge]).errors(fit(ridge)) for ridge in RIDGES])
        ridges.append(tried.new_tensor(RIDGES)[tried.argmin(0)])
        scored = sums.of([fold])
        errors += scored.errors(sums.of([*fitted, judge]).regression(inverse)(ridges[-1])) * scored.n / every.n
    r2 = torch.where(live, 1 - errors / variance, torch.nan)
    constant, weight = every.regression(inverse)(torch.stack(ridges).median(0).values).T.split([1, len(x)], 1)

    attention_r2 = None
    if len(r2) > channels:
        mixed = live[channels:]
        share = errors[channels:][mixed].sum() / variance[channels:][mixed].sum()
        attention_r2 = (1 - share).item() if mixed.any() else 0.0
    return Premise(
        layer,
        reading,
        channels,
        features=len(x),
        images=sums.count,
        r2=r2[:channels].cpu(),
        attention_r2=attention_r2,
        weight=weight.cpu(),
        bias=(y_origin + constant[:, 0] - weight @ x_origin).cpu(),
    )
