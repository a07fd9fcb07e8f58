"""What the checks of several chapters look at: the values of an answer, and the convolutions it ran; and what they draw
their random numbers from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from eamlib.analysis._unchanged import same_random_numbers


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


class Origins(TorchDispatchMode):
    """While it is entered, follows named tensors into all that is computed of them, inside PyTorch's functions too.

    ``met`` lists, for each result, the names of the tensors that it was computed from, and how many numbers it has.
    """

    def __init__(self, **named: Tensor):
        super().__init__()
        self.met: list[tuple[frozenset[str], int]] = []
        # The tensors are kept beside their ids, for an id is given again when its owner is gone.
        self._known = {id(tensor): (tensor, frozenset({name})) for name, tensor in named.items()}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        results = function(*args, **kwargs)
        origins = frozenset().union(
            *(self._known[id(leaf)][1] for leaf in tree_leaves((args, kwargs)) if id(leaf) in self._known)
        )
        for result in tree_leaves(results):
            if isinstance(result, Tensor) and origins:
                self._known[id(result)] = result, origins
                self.met.append((origins, result.numel()))
        return results


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have one shape and, to the accuracy of float32 sums in another order, one value."""
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4)


_shift = 0


def seeded(seed: int) -> torch.Generator:
    """A check's own source of random numbers: the same in every call, but within :func:`other_numbers`."""
    return torch.Generator().manual_seed(seed + 1000 * _shift)


@contextmanager
def other_numbers(shift: int) -> Iterator[None]:
    """Let the checks ask about other numbers, the same ones for each ``shift``; 0 asks about their usual ones."""
    global _shift
    with same_random_numbers():
        torch.manual_seed(shift)
        _shift = shift
        try:
            yield
        finally:
            _shift = 0
