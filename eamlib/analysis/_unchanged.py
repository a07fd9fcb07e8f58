"""What a look at a model, or at an answer, leaves as it was: the reader's random numbers, and the model itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Afterwards the global generators of Python, NumPy and PyTorch, on every device in use, go on as if nothing had
    been drawn."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def same_modules(model: nn.Module) -> Iterator[None]:
    """Afterwards every module of ``model`` has the attributes, hooks, parameters and buffers that it had before.

    What the modules do to their buffers in between is done to copies. Parameters are not copied.
    """
    # A scripted module keeps its state in C++, and has none of this.
    modules = [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]
    of_modules = [vars(module) for module in modules]
    held = [value for of_one in of_modules for value in of_one.values() if isinstance(value, dict | list | set)]
    before = [(holder, holder.copy()) for holder in (*of_modules, *held)]
    try:
        copies = {}
        for module in modules:
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = copies.setdefault(buffer, buffer.detach().clone())
        yield
    finally:
        for holder, content in before:
            holder.clear()
            (holder.extend if isinstance(holder, list) else holder.update)(content)
