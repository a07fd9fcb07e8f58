"""By which weights the dynamic layers of a network mix their kernels, image by image."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from eamlib.analysis.watch import joined, watch
from eamlib.layers.dynamic import DynamicConv2d
from eamlib.layers.dynet import DyNetConv2d


def dynamic_layers(model: nn.Module, *kinds: type[nn.Module]) -> dict[str, nn.Module]:
    """The layers of these classes by name.

    Raises:
        ValueError: if there are none.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    if not layers:
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"model = {type(model).__name__} has no dynamic layer; at least one {wanted} is needed.")
    return layers


def names_of(model: nn.Module, layer: nn.Module) -> str:
    """The name of a layer, as text for a message; all of them where it stands in several places."""
    return " = ".join(repr(name) for name, module in model.named_modules(remove_duplicate=False) if module is layer)


@contextmanager
def watch_mixtures(
    model: nn.Module, layers: dict[str, DynamicConv2d | DyNetConv2d]
) -> Iterator[dict[str, list[Tensor]]]:
    """:func:`eamlib.analysis.watch.watch`, noting the attention ``[B, K]`` or DyNet's coefficients ``[B, O · g]``.

    Args:
        layers: of ``model``, by name.

    Raises:
        ValueError: while entered, when one of them is NaN.
    """

    def mixture(name: str, inputs: tuple, output: None) -> Tensor:
        # Asked anew rather than overheard: one attention may serve several layers, and here it answers for this one.
        layer, (input, *given) = layers[name], inputs
        if isinstance(layer, DynamicConv2d):
            weights = layer.attention(input)
        else:
            weights = given[0] if given and given[0] is not None else layer.coefficients(input)
        if weights.isnan().any():
            when = "already held" if not input.isfinite().all() else "held no"
            call = len(seen[name]) + 1
            raise ValueError(
                f"the attention of layer {names_of(model, layer)} is NaN in its call {call}; its input {when} NaN or "
                "infinite values."
            )
        return weights.cpu().double()

    # Before the layer runs: a dynamic convolution refuses NaN itself, and does not know its own name.
    with watch(layers, mixture, before=True) as seen:
        yield seen


def mixtures_that_ran(model: nn.Module, seen: dict[str, list[Tensor]]) -> dict[str, Tensor]:
    """What :func:`watch_mixtures` noted, as one tensor per layer; without layers that did not run.

    Warns:
        UserWarning: once, with the names of those: heads that serve training alone, for example.

    Raises:
        ValueError: if none of them ran.
    """
    idle = [name for name, calls in seen.items() if not calls]
    if idle and len(idle) < len(seen):
        names = ", ".join(names_of(model, model.get_submodule(name)) for name in idle)
        warnings.warn(
            f"{names} did not run: the model does not use it, in eval mode at least. It is left out.",
            UserWarning,
            stacklevel=3,
        )
        seen = {name: calls for name, calls in seen.items() if calls}
    return joined(seen)
