"""What the checks of several chapters look at: the values of an answer, and the convolutions it ran."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Convolutions(TorchFunctionMode):
    """While it is entered, notes the shape of every weight that ``conv2d`` is called with, in ``weights``."""

    def __init__(self):
        super().__init__()
        self.weights: list[torch.Size] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") == "conv2d":
            self.weights.append((kwargs["weight"] if "weight" in kwargs else args[1]).shape)
        return function(*args, **kwargs)


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have one shape and, to the accuracy of float32 sums in another order, one value."""
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4)
