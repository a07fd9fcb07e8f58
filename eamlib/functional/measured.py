"""``strategy="auto"`` by measurement: the first call of a kind tries the ways, and the fastest is remembered.

As cuDNN does with ``torch.backends.cudnn.benchmark``. A model ranks the ways of a processor that it was fitted to; a
GPU has too many kinds, and too many libraries below each way, for five numbers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch
from torch import Tensor

from eamlib.functional.tiled import is_traced

SWITCH = "EAMLIB_AUTOTUNE"
_ROUNDS = 3
_HOPELESS = 3.0  # a way that took so many times as long as the best in the first round is not tried again
_SHARE = 4  # a way may make at most one of so many free bytes
_FREE = 4 << 30  # bytes, where the device does not say


def is_wanted(input: Tensor) -> bool:
    """Whether ``"auto"`` measures: on CUDA unless ``EAMLIB_AUTOTUNE=0``, elsewhere if ``EAMLIB_AUTOTUNE=1``.

    Never while a graph is traced or captured, on tensors that hold no numbers, or where PyTorch is asked to be
    deterministic: which way is the fastest may change from run to run, and with it the last digits.

    Raises:
        ValueError: if the variable holds anything else.
    """
    asked = os.environ.get(SWITCH, "")
    if asked not in ("", "0", "1"):
        raise ValueError(f"{SWITCH} = {asked!r}; allowed is 0, the model, or 1, the measurement.")
    if asked != "1" and (asked == "0" or input.device.type != "cuda"):
        return False
    if is_traced() or type(input) not in (Tensor, torch.nn.Parameter) or input.is_meta:
        return False
    if torch.are_deterministic_algorithms_enabled():
        return False
    return not (input.is_cuda and torch.cuda.is_current_stream_capturing())


def fastest(ways: dict[str, Callable[..., Tensor]], bytes_made: dict[str, float], *tensors: Tensor) -> str:
    """The fastest of ``ways``, each run on copies of ``tensors`` that share their memory.

    Forward, and backward as well where a gradient is wanted. A first round warms up; what was hopelessly slow in it, or
    ran out of memory, is not tried again.

    Args:
        ways: what to run, by name, the likeliest first.
        bytes_made: what each makes beyond its output; one that would take more than a quarter of the free memory is
            left out, but for the first.
        tensors: input, weight and attention.

    Raises:
        torch.OutOfMemoryError: if there is room for none of them.
    """
    device, training = tensors[0].device, torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    room = _free(device) / _SHARE
    likeliest, *others = ways
    tried = [likeliest, *(name for name in others if bytes_made[name] * (2 if training else 1) <= room)]

    def seconds(name: str) -> float:
        operands = [t.detach().requires_grad_(training and t.requires_grad) for t in tensors]
        _finish(device)
        start = time.perf_counter()
        with torch.set_grad_enabled(training):
            output = ways[name](*operands)
            if training:
                torch.autograd.backward(output, output.detach())
        _finish(device)
        return time.perf_counter() - start

    first, refused = {}, None
    for name in tried:
        try:
            seconds(name)  # warms up: libraries load and choose
            first[name] = seconds(name)
        except torch.OutOfMemoryError as error:
            refused = error
    if not first:
        raise refused
    best = min(first.values())
    left = [name for name, took in first.items() if took <= _HOPELESS * best]
    least = {name: first[name] for name in left}
    for _ in range(_ROUNDS - 1):
        for name in left:
            least[name] = min(least[name], seconds(name))
    return min(least, key=least.get)


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _FREE


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
