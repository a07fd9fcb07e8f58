"""A copy of a network with other modules in the place of some."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def copied(model: nn.Module, replacements: Mapping[nn.Module, nn.Module | None]) -> nn.Module:
    """A deep copy of ``model`` in which every reference to a replaced module is one to its replacement.

    What a forward pass left in an attribute belongs to a graph, which ``deepcopy`` refuses to copy: here it is copied
    without one.
    """
    # What the memo holds counts as copied.
    memo = {id(module): replacement for module, replacement in replacements.items()}
    with _WithoutGraph():
        return copy.deepcopy(model, memo)


class _WithoutGraph(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            return memo.setdefault(id(tensor), tensor.detach().clone())
        return function(*args, **(kwargs or {}))
