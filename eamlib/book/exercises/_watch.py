"""What the checks of several chapters look at: the values of an answer, and what it called and held; and what they draw
their random numbers from."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from eamlib.analysis._unchanged import same_random_numbers

# Names of functions that an answer may not call, as regular expressions. This library's are the answers themselves.
LIBRARY = r"^eamlib\."
CONVOLUTION = r"^torch\..*conv(\dd|olution|_transpose)"
DIFFERENTIATION = r"^torch\.autograd\.(grad|backward)$"


def without(*banned: str) -> Callable:
    """Mark a checker: an answer to its exercise may call nothing that one of these regular expressions finds.

    A checker without a mark bans ``LIBRARY``.
    """

    def mark(checker: Callable) -> Callable:
        checker.banned = banned
        return checker

    return mark


class NotAllowed(Exception):
    """An answer has called what its exercise bans. Says which function."""


@contextmanager
def refusing(banned: tuple[str, ...]) -> Iterator[None]:
    """Raise :class:`NotAllowed` at the end if a function of PyTorch's or of this library's that is banned was called,
    however the caller had come by it.
    """
    pattern, found = re.compile("|".join(banned) or "(?!)"), []

    def notice(frame, event, argument):
        if not found and (name := _called(frame, event, argument)) and pattern.search(name):
            found.append(name)

    before = sys.getprofile()
    sys.setprofile(notice)
    try:
        yield
    finally:
        sys.setprofile(before)
        if found:  # also where the answer fails, for it was not to call this anyway
            raise NotAllowed(f"{found[0]} is not allowed here: write yourself what the exercise asks for.")


def _called(frame, event: str, argument) -> str | None:
    """The dotted name of the function that an event of ``sys.setprofile`` tells of, or None if it does not matter."""
    if event == "c_call":
        return f"{argument.__module__ or 'torch.Tensor'}.{argument.__name__}"
    module, name = frame.f_globals.get("__name__") or "", frame.f_code.co_qualname
    if event != "call" or module.partition(".")[0] not in ("torch", "eamlib"):
        return None
    if module == "torch._ops" and name.endswith(
        ".__call__"
    ):  # torch.ops.aten.conv2d: an object of one class for all of them
        return f"torch.ops.{next(iter(frame.f_locals.values()), '')}"
    if module == __name__ or "<locals>" in name or frame.f_code.co_filename.startswith("<"):
        return None  # the watching itself, what a check or a function that was seen has made, what no file holds
    return f"{module}.{name}"


class Calls(TorchFunctionMode):
    """While it is entered, notes the shape of every weight that ``conv2d`` is called with, in ``weights``, and how many
    functions of PyTorch's are called in all, in ``count``."""

    def __init__(self):
        super().__init__()
        self.weights: list[torch.Size] = []
        self.count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        self.count += 1
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


class Largest(TorchDispatchMode):
    """While it is entered, notes in ``numbers`` how many numbers the largest tensor that was made holds."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):  # the memory behind it: an expanded view takes none
                size = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.numbers = max(self.numbers, size)
        return result


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
