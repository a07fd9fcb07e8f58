"""What the architectures share: features, and behind them a classifier."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn


class Network(nn.Module):
    """``[B, 3, H, W] -> [B, num_classes]``: ``features`` one behind the other, then ``classifier``."""

    def __init__(self, features: Iterable[nn.Module], classifier: nn.Module):
        super().__init__()
        self.features = nn.Sequential(*features)
        self.classifier = classifier

    def forward(self, input: Tensor) -> Tensor:
        return self.classifier(self.features(input))
