"""A process of its own, so that what is measured of its memory is that of one task."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch


def alone(function: Callable, *arguments: object) -> object:
    """What ``function``, of a module's top level, answers in a process of its own, with as many threads as here."""
    # Started afresh: a copy of this process would begin at the peak that this one has reached.
    start = {"mp_context": multiprocessing.get_context("spawn"), "initializer": torch.set_num_threads}
    with ProcessPoolExecutor(1, initargs=(torch.get_num_threads(),), **start) as process:
        return process.submit(function, *arguments).result()


def peak(device: torch.device) -> int:
    """The most memory so far, in bytes: of this process, and on CUDA what is allocated there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        # Linux's own getrusage would begin at the peak of the process that started this one.
        status = Path("/proc/self/status").read_text()
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    except (OSError, StopIteration):
        from resource import RUSAGE_SELF, getrusage

        return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
