"""How well the other channels predict a channel on images that the prediction was not fitted to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from eamlib.redundancy.statistics import ChannelStatistics

RIDGES = (1e-6, 1e-2, 1.0)  # in units of a channel's variance


def merged(parts: Sequence[ChannelStatistics]) -> ChannelStatistics:
    """The statistics of all samples of several parts.

    Raises:
        ValueError: if there is no part, or they differ in their channels.

    Example:
        >>> parts = [ChannelStatistics(2), ChannelStatistics(2)]
        >>> parts[0].update(torch.zeros(3, 2))
        >>> parts[1].update(torch.ones(1, 2))
        >>> merged(parts).mean
        tensor([0.2500, 0.2500], dtype=torch.float64)
    """
    if not parts:
        raise ValueError("parts is empty; at least one is needed.")
    whole = ChannelStatistics(parts[0].channels)
    for part in parts:
        whole.merge(part)
    return whole


def held_out_r2(folds: Sequence[ChannelStatistics]) -> Tensor:
    """``[C]``: R² of each channel from all the others, on images that the regression has not seen; 0 where dead.

    Each part is predicted by a ridge regression on the other parts. One of these chooses the ridge, so that the part
    that is scored decides nothing. R² is below 0 where the mean would have predicted better.

    Args:
        folds: the statistics of one layer over disjoint sets of images, at least 3. All positions of an image belong to
            one part: neighbours are alike, and one would give the other away.

    Raises:
        ValueError: if there are fewer than 3 parts, one has no sample, or they differ in their channels.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> folds = [ChannelStatistics(3) for _ in range(4)]
        >>> for fold in folds:
        ...     samples = torch.randn(500, 3, generator=generator)
        ...     samples[:, 2] = samples[:, 0] + samples[:, 1]  # any two tell the third
        ...     fold.update(samples)
        >>> held_out_r2(folds).round(decimals=3).tolist()
        [1.0, 1.0, 1.0]
    """
    folds = list(folds)
    if len(folds) < 3 or not all(fold.count for fold in folds):
        counts = [fold.count for fold in folds]
        raise ValueError(f"folds hold {counts} samples; allowed are at least 3 parts, none of them empty.")
    whole = merged(folds)
    live = ~whole.dead
    # The scored part counts here, too: a channel that hardly varies in the others would be blown up beyond measure.
    scale = whole.covariance.diagonal()[live].rsqrt()
    squared, identity = torch.outer(scale, scale), torch.diag(torch.ones_like(scale))

    def errors(fitted: ChannelStatistics, judged: ChannelStatistics, ridge: float) -> Tensor:
        """Each live channel's mean squared error on ``judged``, in units of its variance."""
        inverse = torch.linalg.inv(fitted.covariance[live][:, live] * squared + ridge * identity)
        residual = inverse / inverse.diagonal()  # column c, times the centred samples, is what is left of channel c
        step = (judged.mean - fitted.mean)[live] * scale
        moment = judged.covariance[live][:, live] * squared + torch.outer(step, step)
        return (residual * (moment @ residual)).sum(0)

    error = torch.zeros_like(scale)
    for i, scored in enumerate(folds):
        judge, *rest = folds[i + 1 :] + folds[:i]
        tried = {ridge: errors(merged(rest), judge, ridge).sum().item() for ridge in RIDGES}
        ridge = min(tried, key=tried.get)
        error += scored.count / whole.count * errors(merged([judge, *rest]), scored, ridge)
    r2 = torch.zeros_like(whole.mean)
    r2[live] = 1 - error
    return r2
