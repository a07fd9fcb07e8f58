"""For torch.fx a layer of this library is one node, as the layers of ``torch.nn`` are."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch


def leaf(forward: Callable) -> Callable:
    """The ``forward`` of a module that torch.fx records as one call of the module.

    Our layers look at the shape and the numbers of their input and choose by them; a graph of torch.fx has no branches.
    Tracers leave modules of ``torch.nn`` whole by their name, so a layer of ours has to say so itself.
    """

    @functools.wraps(forward)
    def one_node(self, input, *arguments, **named):
        if isinstance(input, torch.fx.Proxy):
            tracer = input.tracer
            return tracer.create_proxy("call_module", tracer.path_of_module(self), (input, *arguments), named)
        return forward(self, input, *arguments, **named)

    return one_node
