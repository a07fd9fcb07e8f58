"""Running moments of C channels, and the measures of redundancy that follow from them.

Pearson correlation between maps, in four bins: Zhang et al. 2020 (DyNet), https://arxiv.org/abs/2004.10694. Effective
rank: Roy & Vetterli 2007, https://ieeexplore.ieee.org/document/7098875.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from eamlib._checks import positive_int

STRENGTHS = ("strong", "middle", "weak", "none")
EDGES = (0.8, 0.5, 0.2)

_ROWS = 2**22  # numbers that are turned into float64 at a time: 32 MiB


class Duplicate(NamedTuple):
    """Channel ``channel`` is nearly ``scale`` · channel ``of`` + ``offset``; ``r`` is their correlation."""

    channel: int
    of: int
    r: float
    scale: float
    offset: float


class ChannelStatistics:
    """Mean, covariance and all that follows, of C channels that come in parts of any size.

    Two matrices of C × C numbers are all that is kept, however many samples come. They are float64, on the CPU or
    where the samples are (not on devices that have no float64), and agree with NumPy on all samples at once.

    A channel is *dead* if it is constant: if its standard deviation is below a millionth of its largest absolute
    value, which is what rounding to float32 leaves of a constant. Its correlation with any channel is set to 0.

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        self.channels = positive_int("channels", channels)
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self._scatter = torch.zeros(channels, channels, dtype=torch.float64)
        self._largest = torch.zeros(channels, dtype=torch.float64)

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
        samples = samples.detach()
        if not samples.isfinite().all():
            raise ValueError("samples holds NaN or infinite values; allowed are finite ones.")
        if samples.device.type == "mps":
            samples = samples.cpu()
        if samples.dim() == 4:
            samples = samples.movedim(1, -1).flatten(0, -2)
        for part in samples.split(max(1, _ROWS // self.channels)):
            self._merge(part.double())

    def _merge(self, part: Tensor) -> None:
        """Chan, Golub & LeVeque 1979: the moments of two parts joined, without the cancellation of raw moments."""
        self.mean, self._scatter, self._largest = (
            tensor.to(part.device) for tensor in (self.mean, self._scatter, self._largest)
        )
        n, total = len(part), self.count + len(part)
        if n == 0:
            return
        mean = part.mean(0)
        centred = part - mean
        step = mean - self.mean
        self._scatter.addmm_(centred.T, centred).addr_(step, step, alpha=self.count * n / total)
        self.mean = self.mean + step * (n / total)
        self._largest = torch.maximum(self._largest, part.abs().amax(0))
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """``[C, C]``, of the population (divided by the number of samples)."""
        return self._scatter / max(1, self.count)

    @property
    def dead(self) -> Tensor:
        """``[C]``, True where the channel is constant."""
        return self.covariance.diagonal().sqrt() <= 1e-6 * self._largest

    @property
    def correlation(self) -> Tensor:
        """Pearson's r ``[C, C]``, from −1 to 1. The rows and columns of dead channels are 0, their diagonal too."""
        covariance, dead = self.covariance, self.dead
        inverse = covariance.diagonal().rsqrt().masked_fill(dead, 0)
        r = (covariance * inverse[:, None] * inverse).clamp(-1, 1)
        return r.fill_diagonal_(1).masked_fill(dead[:, None] | dead, 0)

    def strengths(self, edges: tuple[float, float, float] = EDGES) -> dict[str, float]:
        """The shares of the pairs of live channels whose ``|r|`` is strong, middle, weak or none.

        Args:
            edges: the least ``|r|`` of a strong, a middle and a weak correlation. The DyNet paper bins into these
                four; the text of it that we hold does not say where it cuts, so that the default is ours.

        Returns:
            Four shares that sum to 1; all 0 where fewer than two channels live.

        Raises:
            ValueError: if the edges do not fall from at most 1 to above 0.
        """
        if len(edges) != 3 or not 1 >= edges[0] > edges[1] > edges[2] > 0:
            raise ValueError(f"edges = {edges!r} must be three numbers that fall, from at most 1 to above 0.")
        pairs = self._pairs().abs()
        counts = [(pairs >= edge).sum().item() for edge in edges] + [len(pairs)]
        return {
            name: (count - stronger) / max(1, len(pairs))
            for name, count, stronger in zip(STRENGTHS, counts, [0, *counts], strict=False)
        }

    def _pairs(self) -> Tensor:
        """r of every pair of live channels, once."""
        live = self.correlation[~self.dead][:, ~self.dead]
        above = torch.triu_indices(len(live), len(live), 1, device=live.device)
        return live[above[0], above[1]]

    def spectrum(self, standardized: bool = False) -> Tensor:
        """The eigenvalues of the covariance ``[C]``, falling; of the correlation where ``standardized``.

        The next layer's weights can undo any scale of a channel: standardised, that scale does not count.
        """
        matrix = self.correlation if standardized else self.covariance
        return torch.linalg.eigvalsh(matrix).flip(0).clamp(min=0)

    def effective_rank(self, standardized: bool = False) -> float:
        """e to the entropy of the singular values of the centred samples, from 1 to C; 0 if all channels are dead.

        Source: Roy & Vetterli 2007, definition 1. C equal and uncorrelated channels have C, C copies of one have 1.
        """
        values = self.spectrum(standardized).sqrt()
        if values[0] == 0:
            return 0.0
        return torch.special.entr(values / values.sum()).sum().exp().item()

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
        # A part in 10¹² is rounding: without it, the whole variance would want dead channels too.
        return int((held < held[-1] * (share - 1e-12)).sum()) + 1

    def nearest(self) -> tuple[Tensor, Tensor]:
        """Each channel's most correlated other one: its index ``[C]`` and their r ``[C]``; −1 and 0 where dead."""
        r = self.correlation.fill_diagonal_(0)
        indices = r.abs().argmax(1)
        values = r.gather(1, indices[:, None])[:, 0]
        return indices.masked_fill(values == 0, -1), values

    def duplicates(self, threshold: float = 0.95) -> list[Duplicate]:
        """The pairs that are the same up to an affine map a channel, ``|r| >= threshold``; the closest first.

        Raises:
            ValueError: if ``threshold`` is not above 0 and at most 1.
        """
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold = {threshold!r} must be above 0 and at most 1.")
        r, covariance, mean = self.correlation.cpu(), self.covariance.cpu(), self.mean.cpu()
        found = []
        for of, channel in (r.abs().triu(1) >= threshold).nonzero().tolist():
            scale = (covariance[of, channel] / covariance[of, of]).item()
            offset = (mean[channel] - scale * mean[of]).item()
            found.append(Duplicate(channel, of, r[of, channel].item(), scale, offset))
        return sorted(found, key=lambda pair: -abs(pair.r))

    def predictability(self) -> Tensor:
        """``[C]``: R² of each channel from all the others, by least squares on these samples; 0 where dead.

        1 − 1 / (diagonal of the inverse correlation): what statistics calls the variance inflation of a regressor.
        """
        dead = self.dead
        inverse = torch.linalg.inv(ridged(self.correlation + torch.diag(dead.double())))
        return (1 - 1 / inverse.diagonal()).clamp(0, 1).masked_fill(dead, 0)


def ridged(correlation: Tensor) -> Tensor:
    """A correlation matrix that can be inverted: copies of a channel make it singular, up to rounding."""
    return correlation + 1e-6 * torch.eye(len(correlation), dtype=correlation.dtype, device=correlation.device)
