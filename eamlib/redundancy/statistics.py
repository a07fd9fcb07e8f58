"""Running moments of C channels, and the measures of redundancy that follow from them.

Pearson correlation between maps, in four bins: Zhang et al. 2020 (DyNet), https://arxiv.org/abs/2004.10694. Effective
rank: Roy & Vetterli 2007, https://ieeexplore.ieee.org/document/7098875. Participation ratio: Hu & Sompolinsky 2022,
https://doi.org/10.1371/journal.pcbi.1010327.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from eamlib._checks import positive_int

STRENGTHS = ("strong", "middle", "weak", "none")
EDGES = (0.8, 0.5, 0.2)

_AT_A_TIME = 2**22  # numbers that are turned into float64 together: 32 MiB
CONSTANT = 1e-6  # a standard deviation, as a part of the mean: what rounding to float32 leaves of a constant
_ROUNDING = 1e-12  # of float64, with room for many sums


class Duplicate(NamedTuple):
    """Channel ``channel`` is nearly ``scale`` · channel ``of`` + ``offset``; ``r`` is their correlation.

    Example:
        >>> x = torch.tensor([0.0, 1.0, 2.0, 5.0])
        >>> statistics = ChannelStatistics(2)
        >>> statistics.update(torch.stack([x, 3 * x + 1], dim=1))
        >>> [pair] = statistics.duplicates()
        >>> pair.channel, pair.of, round(pair.scale, 6), round(pair.offset, 6)
        (1, 0, 3.0, 1.0)
    """

    channel: int
    of: int
    r: float
    scale: float
    offset: float


class ChannelStatistics:
    """Mean, covariance and all that follows, of C channels that come in parts of any size.

    It keeps one matrix of C × C numbers, in float64, on the samples' device (on the CPU if that has no float64).

    A channel is *dead* if it is constant: if its standard deviation is at most a millionth of its mean's absolute
    value, which is what rounding to float32 leaves of a constant. Its correlation with any channel is set to 0.

    Args:
        channels: C.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> maps = torch.randn(10, 3, 16, 16, generator=generator)
        >>> maps[:, 2] = -2 * maps[:, 0]  # a copy, up to its scale
        >>> statistics = ChannelStatistics(3)
        >>> statistics.update(maps)
        >>> round(statistics.correlation[0, 2].item(), 6), statistics.duplicates()[0].channel
        (-1.0, 2)
        >>> round(statistics.effective_rank(standardized=True), 1), statistics.components()
        (2.0, 2)
    """

    def __init__(self, channels: int):
        self.channels = positive_int("channels", channels)
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self._scatter = torch.zeros(channels, channels, dtype=torch.float64)

    def update(self, samples: Tensor) -> None:
        """Add samples: maps ``[B, C, H, W]``, every position of every image a sample, or ``[N, C]``.

        Raises:
            ValueError: if the shape is another, or a value is NaN or infinite; nothing is then added.
        """
        if samples.dim() not in (2, 4) or samples.shape[1] != self.channels:
            raise ValueError(
                f"samples has shape {list(samples.shape)}; allowed is [B, {self.channels}, H, W] or "
                f"[N, {self.channels}]."
            )
        if not samples.numel():
            return
        samples = samples.detach()
        if not torch.stack(samples.aminmax()).isfinite().all():
            raise ValueError("samples holds NaN or infinite values; allowed are finite ones.")
        for part in samples.movedim(1, 0).flatten(1).split(max(1, _AT_A_TIME // self.channels), 1):
            part = in_float64(part)
            mean = part.mean(1)
            centred = part - mean[:, None]
            self._add(part.shape[1], mean, centred @ centred.T)

    def merge(self, other: ChannelStatistics) -> None:
        """Add the samples of another part, as if they had come here.

        Raises:
            ValueError: if ``other`` is of another number of channels.
        """
        if other.channels != self.channels:
            raise ValueError(f"other is of {other.channels} channels; allowed are {self.channels}.")
        if other.count:
            self._add(other.count, other.mean, other._scatter)

    def _add(self, n: int, mean: Tensor, scatter: Tensor) -> None:
        """Add n samples by Chan, Golub & LeVeque 1979, without the cancellation of raw moments."""
        self.mean, self._scatter = self.mean.to(mean.device), self._scatter.to(mean.device)
        total = self.count + n
        step = mean - self.mean
        self._scatter.add_(scatter).addr_(step, step, alpha=self.count * n / total)
        self.mean = self.mean + step * (n / total)
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """``[C, C]``, of the population (divided by the number of samples)."""
        return self._scatter / max(1, self.count)

    @property
    def dead(self) -> Tensor:
        """``[C]``, True where the channel is constant."""
        return self.covariance.diagonal().sqrt() <= CONSTANT * self.mean.abs()

    @property
    def correlation(self) -> Tensor:
        """Pearson's r ``[C, C]``, from −1 to 1. The rows and columns of dead channels are 0, their diagonal too."""
        covariance = self.covariance
        inverse = covariance.diagonal().rsqrt().masked_fill(self.dead, 0)
        r = (covariance * inverse[:, None] * inverse).clamp(-1, 1)
        return self._of_the_living(r.fill_diagonal_(1))

    def _of_the_living(self, matrix: Tensor) -> Tensor:
        """``matrix``, 0 in the rows and columns of dead channels."""
        return matrix.masked_fill(self.dead[:, None] | self.dead, 0)

    def strengths(self, edges: tuple[float, float, float] = EDGES) -> dict[str, float]:
        """The shares of the pairs of live channels whose ``|r|`` is strong, middle, weak or none.

        Args:
            edges: the least ``|r|`` of a strong, a middle and a weak correlation. The four bins are the DyNet paper's,
                the default edges ours.

        Returns:
            Four shares that sum to 1; all 0 where fewer than two channels live.

        Raises:
            ValueError: if the edges do not fall from at most 1 to above 0.
        """
        if len(edges) != 3 or not 1 >= edges[0] > edges[1] > edges[2] > 0:
            raise ValueError(f"edges = {edges!r} must be three numbers that fall, from at most 1 to above 0.")
        pairs = self._pairs().abs()
        counts = [(pairs >= _at_least(edge)).sum().item() for edge in edges] + [len(pairs)]
        return {
            name: (count - stronger) / max(1, len(pairs))
            for name, count, stronger in zip(STRENGTHS, counts, [0, *counts], strict=False)
        }

    def _pairs(self) -> Tensor:
        """r of every pair of live channels, once."""
        live = self.correlation[~self.dead][:, ~self.dead]
        above = torch.triu_indices(len(live), len(live), 1, device=live.device)
        return live[above[0], above[1]]

    def partnered(self, threshold: float = EDGES[0]) -> float:
        """The share of the live channels that have a partner, another channel with ``|r| >= threshold``.

        Where each of 128 channels has one double, it is 1, and the share of strong *pairs* is 0.8 %. It is 0 if all
        channels are dead.

        Raises:
            ValueError: if ``threshold`` is not above 0 and at most 1.
        """
        nearest = self.nearest()[1].abs()[~self.dead]
        return (nearest >= _least_r(threshold)).sum().item() / max(1, len(nearest))

    def _matrix(self, standardized: bool) -> Tensor:
        return self.correlation if standardized else self._of_the_living(self.covariance)

    def spectrum(self, standardized: bool = False) -> Tensor:
        """The eigenvalues of the covariance ``[C]``, falling; of the correlation where ``standardized``. Dead channels
        give zeros."""
        return torch.linalg.eigvalsh(self._matrix(standardized)).flip(0).clamp(min=0)

    def effective_rank(self, standardized: bool = False) -> float:
        """e to the entropy of the singular values of the centred samples, from 1 to C; 0 if all channels are dead.

        Source: Roy & Vetterli 2007, definition 1.
        """
        values = self.spectrum(standardized).sqrt()
        if values[0] == 0:
            return 0.0
        return torch.special.entr(values / values.sum()).sum().exp().item()

    def participation_ratio(self, standardized: bool = False) -> float:
        """(Σ λ)² / Σ λ² of the eigenvalues λ of :meth:`spectrum`, from 1 to C; 0 if all channels are dead.

        It counts directions by their variance, and so gives small ones less weight than the effective rank does.
        """
        matrix = self._matrix(standardized)
        if self.dead.all():
            return 0.0
        return (matrix.trace() ** 2 / matrix.square().sum()).item()

    def components(self, share: float = 0.99, standardized: bool = False) -> int:
        """How many principal components hold ``share`` of the variance; 0 if all channels are dead.

        Raises:
            ValueError: if ``share`` is not above 0 and at most 1.
        """
        if not 0 < share <= 1:
            raise ValueError(f"share = {share!r} must be above 0 and at most 1.")
        held = self.spectrum(standardized).cumsum(0)
        if held[-1] == 0:
            return 0
        # Up to rounding: else the whole variance would want the copies of a channel too.
        return int((held < held[-1] * _at_least(share)).sum()) + 1

    def nearest(self) -> tuple[Tensor, Tensor]:
        """Each channel's most correlated other: its index ``[C]`` and their r ``[C]``; −1 and 0 where there is none."""
        r = self.correlation.fill_diagonal_(0)
        indices = r.abs().argmax(1)
        values = r.gather(1, indices[:, None])[:, 0]
        return indices.masked_fill(values == 0, -1), values

    def duplicates(self, threshold: float = 0.95) -> list[Duplicate]:
        """The pairs that are the same up to an affine map, ``|r| >= threshold``; the closest first.

        Raises:
            ValueError: if ``threshold`` is not above 0 and at most 1.
        """
        r, covariance = self.correlation, self.covariance
        of, channel = (r.abs().triu(1) >= _least_r(threshold)).nonzero(as_tuple=True)
        scale = covariance[of, channel] / covariance[of, of]
        offset = self.mean[channel] - scale * self.mean[of]
        columns = (channel, of, r[of, channel], scale, offset)
        pairs = map(Duplicate, *(column.tolist() for column in columns))
        return sorted(pairs, key=lambda pair: -abs(pair.r))

    def predictability(self) -> Tensor:
        """``[C]``: R² of each channel from all the others, by least squares on these samples; 0 where dead."""
        # 1 / (1 − R²) is the variance inflation factor, the diagonal of the inverse correlation.
        inverse = torch.linalg.inv(ridged(self.correlation))
        return (1 - 1 / inverse.diagonal()).clamp(0, 1).masked_fill(self.dead, 0)


def in_float64(tensor: Tensor) -> Tensor:
    """``tensor`` in float64, on the CPU where its device has none."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def _at_least(bound: float) -> float:
    """``bound``, less what rounding may take from a number that is as large."""
    return bound * (1 - _ROUNDING)


def _least_r(threshold: float) -> float:
    """The least ``|r|`` that a threshold admits; a ``ValueError`` if it is not above 0 and at most 1."""
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold = {threshold!r} must be above 0 and at most 1.")
    return _at_least(threshold)


def ridged(correlation: Tensor) -> Tensor:
    """A correlation matrix that can be inverted: copies of a channel make it singular, up to rounding."""
    return correlation + 1e-6 * torch.eye(len(correlation), dtype=correlation.dtype, device=correlation.device)
