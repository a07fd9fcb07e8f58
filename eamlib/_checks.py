"""Checks of arguments. Every message names the argument, the value that came and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def one_of(argument: str, value: object, allowed: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``allowed``, else raise a ``ValueError`` that suggests the nearest."""
    allowed = list(allowed)
    if isinstance(value, str) and value in allowed:
        return value
    raise ValueError(f"{argument} = {value!r} is unknown.{did_you_mean(value, allowed)} Allowed: {', '.join(allowed)}.")


def did_you_mean(value: object, allowed: Iterable[str], likeness: float = 0.5) -> str:
    """What a message says of the nearest of ``allowed``; empty if none is as near as ``likeness``, from 0 to 1."""
    near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=likeness)
    return f" Did you mean {near[0]!r}?" if near else ""


def positive_int(argument: str, value: object) -> int:
    """Return ``value`` if it is an integer of at least 1, else raise a ``ValueError``."""
    return integer_within(argument, value, 1)


def integer_within(argument: str, value: object, least: int, most: int | None = None) -> int:
    """Return ``value`` if it is an integer from ``least`` to ``most`` (None: any size), else raise a ``ValueError``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{argument} = {value!r} must be an integer {bounds}.")
    return value


def positive_number(argument: str, value: object) -> float:
    """Return ``value`` as a float if it is a finite number above 0, else raise a ``ValueError``."""
    return _number(argument, value, lambda number: 0 < number < float("inf"), "finite number above 0")


def number_between(argument: str, value: object, low: float, high: float) -> float:
    """Return ``value`` as a float if it is a number from ``low`` to below ``high``, else raise a ``ValueError``."""
    allowed = f"number of at least {low} and below {high}"
    return _number(argument, value, lambda number: low <= number < high, allowed)


def temperature_of(value: object, dtype: torch.dtype = torch.float32) -> float:
    """Return a softmax's ``value`` as a float if ``dtype`` holds it, else raise a ``ValueError``.

    What rounds to zero or to infinity there, or nearly to zero, divides the logits to NaN.
    """
    held = torch.finfo(dtype)
    name = str(dtype).removeprefix("torch.")
    allowed = f"finite number above 0 that {name} holds: from {held.tiny:.3g} to {held.max:.3g}"
    return _number("temperature", value, lambda number: held.tiny <= number <= held.max, allowed)


def _number(argument: str, value: object, is_allowed: Callable[[float], bool], allowed: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_allowed(value):
        raise ValueError(f"{argument} = {value!r} must be a {allowed}.")
    return float(value)


# What may have been meant, by the number of dimensions.
_INSTEAD = {
    3: " One image goes in as [1, C, H, W]. There is no 1-D form: a signal [B, C, L] goes in as [B, C, 1, L], "
    "with kernel_size=(1, k).",
    5: " There is no 3-D form: the frames of a video go in as a batch, [B · T, C, H, W].",
}


def feature_maps(argument: str, value: Tensor, channels: int | None = None) -> Tensor:
    """Return ``value`` if its shape is ``[B, channels, H, W]``, with B alone 0 if any, else raise a ``ValueError``.

    ``channels`` None allows any number of channels.
    """
    fits = value.dim() == 4 and channels in (None, value.shape[1])
    in_a_graph = torch.compiler.is_compiling() or torch.jit.is_tracing()  # which may leave height and width open
    if fits and (in_a_graph or 0 not in value.shape[1:]):
        return value
    allowed = f"[B, {'C' if channels is None else channels}, H, W]{', where only B may be 0' if fits else ''}"
    raise ValueError(f"{argument} has shape {list(value.shape)}; allowed is {allowed}.{_INSTEAD.get(value.dim(), '')}")


def some_images(argument: str, value: object) -> Tensor:
    """Return ``value`` if it is a tensor ``[N, C, H, W]`` of at least one image, else raise a ``ValueError``."""
    if not isinstance(value, Tensor) or value.dim() != 4 or len(value) == 0:
        what = f"has shape {list(value.shape)}" if isinstance(value, Tensor) else f"is a {type(value).__name__}"
        raise ValueError(f"{argument} {what}; allowed is a tensor [N, C, H, W] with at least one image.")
    return value


def no_hooks(name: str, layer: nn.Module) -> None:
    """Raise a ``ValueError`` if ``layer`` carries hooks, which would be lost with it when another takes its place."""
    kinds = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    if any(getattr(layer, kind) for kind in kinds):
        raise ValueError(
            f"layer {name!r} carries hooks, which its replacement would lose; allowed is a layer without. Pruning, and "
            "weight_norm and spectral_norm of torch.nn.utils, are hooks too, each with a function that removes it."
        )


def differences(here: dict, there: dict) -> str:
    """What two configurations do not share, for a message; empty if they are the same."""
    return "; ".join(
        f"{name} = {here.get(name)!r} here and {there.get(name)!r} there"
        for name in here | there
        if here.get(name) != there.get(name)
    )
